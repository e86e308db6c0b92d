//! What one commit carries, and the limits that every door checks.

use std::cell::Cell;
use std::ops::Range;

use orlop_formats::batch::Op;
use orlop_formats::ids::{DatabaseId, Kind};
use orlop_formats::limits::{MAX_BATCH_LEN, MAX_KEY_LEN, MAX_NAME_LEN, MAX_VALUE_LEN};

use crate::error::{Error, Result};
use crate::state::bulk::Bulk;
use crate::state::catalog::{CatalogOp, Slot, Target};
use crate::sync::Arc;

/// What one item costs in the log at most, beside its key and value.
const ITEM_OVERHEAD: usize = 32;

/// What an entry of the catalog costs in the log at most, beside its name.
const ENTRY_OVERHEAD: usize = ITEM_OVERHEAD + 16;

/// What a change of the catalog costs in the log at most: the entries of two names.
const CHANGE_OVERHEAD: usize = 2 * (MAX_NAME_LEN + ENTRY_OVERHEAD);

/// The writes of one commit, in order. The bytes stand in `data`, the items point there.
#[derive(Debug, Default)]
pub(crate) struct WriteSet {
    pub(crate) items: Vec<Item>,
    pub(crate) targets: Vec<Target>,
    pub(crate) data: Vec<u8>,
    /// Bytes this takes in the log at most.
    pub(crate) encoded_bound: usize,
    /// Whether any item is a change of the catalog.
    pub(crate) has_catalog_ops: bool,
    /// … or deletes a range.
    pub(crate) has_range_deletes: bool,
    /// What was prepared of a large one.
    pub(crate) bulk: Option<Box<Bulk>>,
}

/// One item of a [`WriteSet`].
#[derive(Debug)]
pub(crate) enum Item {
    Write { target: usize, kind: Kind, key: Range<usize>, value: Range<usize>, lifetime: Lifetime },
    Catalog(CatalogOp),
}

/// A write to some database, where its caller has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Write<'a> {
    pub(crate) kind: Kind,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    pub(crate) lifetime: Lifetime,
}

/// When what is written expires, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// Then, or never.
    Known(Option<u64>),
    /// As its database has it, from this time on. Which one that is, the commit finds out.
    Default { from: u64 },
}

impl Lifetime {
    /// That of an entry that stays.
    pub(crate) const EVER: Self = Self::Known(None);

    /// Now that its database is known, and for how many milliseconds that keeps entries.
    pub(crate) fn settle(&mut self, time_to_live: Option<u64>) {
        if let Self::Default { from } = *self {
            *self = Self::Known(time_to_live.map(|time| from.saturating_add(time)));
        }
    }
}

impl<'a> Write<'a> {
    pub(crate) fn put(key: &'a [u8], value: &'a [u8], lifetime: Lifetime) -> Self {
        Self { kind: Kind::Put, key, value, lifetime }
    }

    pub(crate) fn delete(key: &'a [u8]) -> Self {
        Self { kind: Kind::Delete, key, value: b"", lifetime: Lifetime::EVER }
    }

    /// A delete of all keys from `start` on, and before `end`, if there is one: a greater key, then.
    pub(crate) fn delete_range(start: &'a [u8], end: Option<&'a [u8]>) -> Self {
        let (kind, value) = (Kind::RangeDelete, end.unwrap_or_default());
        Self { kind, key: start, value, lifetime: Lifetime::EVER }
    }

    /// Holds key and value against the limits.
    pub(crate) fn check(&self) -> Result<()> {
        check_key(self.key)?;
        match self.kind {
            Kind::RangeDelete => check_key(self.value),
            _ => too_large("value", MAX_VALUE_LEN, self.value.len()),
        }
    }

    /// The same in this database, its lifetime settled.
    pub(crate) fn to(self, database: DatabaseId) -> Op<'a> {
        let Self { kind, key, value, lifetime } = self;
        let expiry = match lifetime {
            Lifetime::Known(expiry) => expiry,
            Lifetime::Default { .. } => None,
        };
        Op { kind, database, key, value, expiry }
    }
}

/// One write to a database that exists, which nobody has copied yet: for commits that carry nothing else.
pub(crate) struct OneWrite<'a> {
    pub(crate) slot: &'a Arc<Slot>,
    pub(crate) write: Write<'a>,
}

impl OneWrite<'_> {
    /// Holds it against the limits.
    pub(crate) fn check(&self) -> Result<()> {
        self.write.check()
    }

    /// Bytes that this takes in the log at most.
    pub(crate) fn encoded_bound(&self) -> usize {
        let Write { key, value, .. } = self.write;
        key.len() + value.len() + ITEM_OVERHEAD + of_birth(self.slot.name())
    }

    /// The same, as what can wait in line.
    pub(crate) fn to_set(&self) -> Result<WriteSet> {
        let mut set = WriteSet::spare();
        set.write(Target::Slot(Arc::clone(self.slot)), self.write)?;
        Ok(set)
    }
}

/// Space that a spare write set keeps, in bytes of data and in items.
const SPARE: (usize, usize) = (256 << 10, 2 << 10);

thread_local! {
    /// The space of the thread's last commit, for its next one.
    static LAST: Cell<Option<WriteSet>> = const { Cell::new(None) };
}

impl WriteSet {
    /// An empty one, with the space of one that was let go of.
    pub(crate) fn spare() -> Self {
        LAST.try_with(Cell::take).ok().flatten().unwrap_or_default()
    }

    /// Lets go of it, but for its space where that is not large.
    pub(crate) fn let_go(self) {
        if self.data.capacity() > SPARE.0 || self.items.capacity() > SPARE.1 {
            return;
        }
        let Self { mut items, mut targets, mut data, .. } = self;
        items.clear();
        targets.clear();
        data.clear();
        let empty = Self { items, targets, data, ..Self::default() };
        // A thread that ends has no next commit.
        let _ = LAST.try_with(|last| last.set(Some(empty)));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// What is written, in order, without the changes of the catalog.
    pub(crate) fn writes(&self) -> impl Iterator<Item = Write<'_>> {
        let slice = |range: &Range<usize>| self.data.get(range.clone()).unwrap_or_default();
        self.items.iter().filter_map(move |item| match item {
            Item::Write { kind, key, value, lifetime, .. } => {
                let (key, value) = (slice(key), slice(value));
                Some(Write { kind: *kind, key, value, lifetime: *lifetime })
            }
            Item::Catalog(_) => None,
        })
    }

    /// Whether the commit has to find out when something expires.
    pub(crate) fn has_defaults(&self) -> bool {
        let has_default =
            |item: &Item| matches!(item, Item::Write { lifetime: Lifetime::Default { .. }, .. });
        self.items.iter().any(has_default)
    }

    /// The same with the database of each, where these are those of the targets.
    pub(crate) fn writes_to<'a>(&'a self, ids: &'a [DatabaseId]) -> impl Iterator<Item = Op<'a>> {
        let targets = self.items.iter().filter_map(|item| match item {
            Item::Write { target, .. } => ids.get(*target).copied(),
            Item::Catalog(_) => None,
        });
        targets.zip(self.writes()).map(|(id, write)| write.to(id))
    }

    pub(crate) fn write(&mut self, target: Target, write: Write<'_>) -> Result<()> {
        let is_new = self.find(&target).is_none();
        self.make_room(&write, if is_new { of_birth(target.name()) } else { 0 })?;
        let target = self.target(target);
        self.add(target, write);
        Ok(())
    }

    /// Whether the last target is this slot: [`WriteSet::write_there`] writes to it without a look at others.
    pub(crate) fn ends_in(&self, slot: &Arc<Slot>) -> bool {
        matches!(self.targets.last(), Some(Target::Slot(last)) if Arc::ptr_eq(last, slot))
    }

    /// A write to the last target.
    pub(crate) fn write_there(&mut self, write: Write<'_>) -> Result<()> {
        self.make_room(&write, 0)?;
        self.add(self.targets.len() - 1, write);
        Ok(())
    }

    /// Holds an item against the limits; all is as before if it is too large.
    fn make_room(&mut self, write: &Write<'_>, overhead: usize) -> Result<()> {
        let Write { key, value, .. } = write;
        write.check()?;
        self.grow(key.len() + value.len() + ITEM_OVERHEAD + overhead)
    }

    fn add(&mut self, target: usize, write: Write<'_>) {
        let Write { kind, key, value, lifetime } = write;
        self.has_range_deletes |= kind == Kind::RangeDelete;
        let start = self.data.len();
        self.data.extend_from_slice(key);
        let middle = self.data.len();
        self.data.extend_from_slice(value);
        self.items.push(Item::Write {
            target,
            kind,
            key: start..middle,
            value: middle..self.data.len(),
            lifetime,
        });
    }

    pub(crate) fn catalog(&mut self, op: CatalogOp) -> Result<()> {
        self.grow(CHANGE_OVERHEAD)?;
        self.has_catalog_ops = true;
        self.items.push(Item::Catalog(op));
        Ok(())
    }

    fn grow(&mut self, bytes: usize) -> Result<()> {
        too_large("batch", MAX_BATCH_LEN, self.encoded_bound + bytes)?;
        self.encoded_bound += bytes;
        Ok(())
    }

    /// The index of a target; items of one database that follow each other share it.
    fn target(&mut self, target: Target) -> usize {
        self.find(&target).unwrap_or_else(|| {
            self.targets.push(target);
            self.targets.len() - 1
        })
    }

    fn find(&self, target: &Target) -> Option<usize> {
        self.targets.iter().rposition(|other| match (other, target) {
            (Target::Slot(a), Target::Slot(b)) => Arc::ptr_eq(a, b),
            (Target::Name(a), Target::Name(b)) => a == b,
            _ => false,
        })
    }
}

/// What it costs in the log at most if the commit creates the database: one that nobody has made yet, or whose
/// slot a swap has left vacant, which it may still do before the commit.
fn of_birth(name: &str) -> usize {
    ENTRY_OVERHEAD + name.len()
}

/// Refuses a key over the limit, at every door.
pub(crate) fn check_key(key: &[u8]) -> Result<()> {
    too_large("key", MAX_KEY_LEN, key.len())
}

fn too_large(what: &'static str, limit: usize, found: usize) -> Result<()> {
    if found <= limit {
        return Ok(());
    }
    Err(Error::TooLarge { what, limit: limit as u64, found: found as u64 })
}

#[cfg(test)]
mod tests {
    use orlop_formats::batch;
    use orlop_formats::ids::SYSTEM_DATABASE;
    use proptest::prelude::*;
    use std::time::Duration;

    use super::*;
    use crate::options::GROUP_BYTES;
    use crate::state::catalog::{Catalog, DatabaseOptions, Staged};

    const VALUE: Write<'_> =
        Write { kind: Kind::Put, key: b"key", value: b"value", lifetime: Lifetime::Known(Some(9)) };

    #[test]
    fn a_spare_write_set_is_empty_and_not_large() {
        for len in [10, 300 << 10] {
            let mut writes = WriteSet::spare();
            let target = Target::Name("name".into());
            writes.write(target, Write::put(b"key", &vec![1; len], Lifetime::EVER)).unwrap();
            writes.catalog(CatalogOp::Drop { name: "name".into() }).unwrap();
            writes.let_go();
            let spare = WriteSet::spare();
            assert!(spare.is_empty() && spare.targets.is_empty() && spare.data.is_empty());
            assert_eq!((spare.encoded_bound, spare.has_catalog_ops), (0, false));
            assert_eq!(spare.data.capacity() > 0, len == 10);
        }
    }

    #[test]
    fn a_write_that_is_too_large_leaves_no_trace() {
        let (one, other) = (Target::Name("one".into()), Target::Name("other".into()));
        let mut writes = WriteSet::default();
        writes.write(one.clone(), VALUE).unwrap();
        // Room for an item, but not for a database that is not named yet.
        writes.encoded_bound = MAX_BATCH_LEN - ENTRY_OVERHEAD;
        assert!(writes.write(other, VALUE).is_err());
        assert_eq!((writes.targets.len(), writes.items.len()), (1, 1));
        assert_eq!(writes.encoded_bound, MAX_BATCH_LEN - ENTRY_OVERHEAD);
        writes.write(one, VALUE).unwrap();
        assert!(matches!(&writes.items[1], Item::Write { target: 0, .. }));
    }

    #[test]
    fn one_write_is_the_same_as_a_set_of_one() {
        let catalog = catalog(&["events".into()]);
        let slot = catalog.slot("events").unwrap();
        let one = OneWrite { slot, write: VALUE };
        let set = one.to_set().unwrap();
        assert_eq!(one.encoded_bound(), set.encoded_bound);
        assert_eq!(set.writes().collect::<Vec<_>>(), [VALUE]);
        let long = vec![0; MAX_KEY_LEN + 1];
        assert!(OneWrite { write: Write::delete(&long), ..one }.check().is_err());
    }

    #[test]
    fn a_group_has_room_for_many_small_commits() {
        let catalog = catalog(&["events".into()]);
        let mut writes = WriteSet::default();
        let target = Target::Slot(Arc::clone(catalog.slot("events").unwrap()));
        writes.write(target, Write::put(&[0; 8], &[0; 8], Lifetime::EVER)).unwrap();
        let commits = GROUP_BYTES / writes.encoded_bound;
        assert!(commits > 9_000, "{commits} of {} bytes", writes.encoded_bound);
    }

    /// A catalog with these databases; the slot of the first is vacant.
    fn catalog(names: &[Arc<str>]) -> Catalog {
        let mut catalog = Catalog::new(0);
        let options = DatabaseOptions {
            durability: Some(crate::Durability::Synced),
            time_to_live: Some(Duration::MAX),
        };
        let mut create = names.iter().map(|name| CatalogOp::Create { name: name.clone(), options });
        let mut staged = Staged::new(&mut catalog);
        create.try_for_each(|op| staged.apply(&op)).unwrap();
        staged.commit(1, 1);
        if let [first, _, ..] = names {
            let mut staged = Staged::new(&mut catalog);
            let swap = CatalogOp::Swap { first: first.clone(), second: "elsewhere".into() };
            staged.apply(&swap).unwrap();
            staged.commit(2, 2);
        }
        catalog
    }

    /// The bytes of its batch in the log; `None` if it cannot be.
    fn encoded(writes: &WriteSet, catalog: &mut Catalog) -> Option<usize> {
        let mut staged = Staged::new(catalog);
        let mut ids = Vec::new();
        for item in &writes.items {
            match item {
                Item::Catalog(op) => staged.apply(op).ok()?,
                Item::Write { target, .. } => {
                    ids.push(staged.resolve(&writes.targets[*target]).ok()?.0);
                }
            }
        }
        let own = writes.writes().zip(ids).map(|(write, id)| write.to(id));
        let system = staged.system_writes();
        let of_catalog = system.iter().map(|(key, record)| match record {
            Some(record) => Write::put(key, record, Lifetime::EVER).to(SYSTEM_DATABASE),
            None => Write::delete(key).to(SYSTEM_DATABASE),
        });
        let ops: Vec<Op<'_>> = own.chain(of_catalog).collect();
        let mut bytes = Vec::new();
        let start = batch::begin(&mut bytes);
        ops.iter().for_each(|op| batch::push(&mut bytes, op));
        batch::finish(&mut bytes, start, ops.len() as u32);
        Some(bytes.len())
    }

    /// Adds something to a batch: a write by a handle that is bound, one by a name, a change of the catalog.
    fn add(writes: &mut WriteSet, catalog: &Catalog, what: u8, of: &[Arc<str>; 2], data: &[u8]) {
        let [name, other] = of.clone();
        let by_name = Target::Name(Arc::clone(&name));
        let bound = catalog.slot(&name).map(|slot| Target::Slot(Arc::clone(slot)));
        let bound = bound.unwrap_or_else(|| by_name.clone());
        let (key, value) = data.split_at(data.len() / 3);
        let options = DatabaseOptions {
            durability: Some(crate::Durability::Memory),
            time_to_live: Some(Duration::MAX),
        };
        let added = match what {
            0..4 => writes.write(bound, Write::put(key, value, Lifetime::EVER)),
            4..7 => {
                let lifetime = Lifetime::Known(Some(u64::MAX));
                writes.write(by_name, Write::put(key, value, lifetime))
            }
            7 => writes.write(bound, Write::delete(data)),
            8 => writes.catalog(CatalogOp::Clear { target: bound }),
            9 => writes.catalog(CatalogOp::Create { name, options }),
            10 => writes.catalog(CatalogOp::Drop { name }),
            11 => writes.catalog(CatalogOp::Rename { from: name, to: other }),
            _ => writes.catalog(CatalogOp::Swap { first: name, second: other }),
        };
        added.unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3_000))]

        /// Whatever a commit makes of its names, it has room.
        #[test]
        fn no_commit_takes_more_than_it_has_said(
            long in 1..=MAX_NAME_LEN,
            writes in 0..4_u8,
            steps in prop::collection::vec((0..13_u8, 0..5_usize, 0..5_usize, 0..400_usize), 1..12),
        ) {
            let name = |letter: &str, len| -> Arc<str> { letter.repeat(len).into() };
            let names =
                [name("v", MAX_NAME_LEN), name("a", 1), name("b", long), name("n", 1), name("m", long)];
            let mut catalog = catalog(&names[..3]);
            let mut set = WriteSet::default();
            for (what, one, other, len) in steps {
                // Most batches are nothing but writes; then nothing hides behind the changes.
                let what = if writes > 0 { what % 8 } else { what };
                let of = [names[one].clone(), names[other].clone()];
                add(&mut set, &catalog, what, &of, &vec![7; len]);
            }
            if let Some(len) = encoded(&set, &mut catalog) {
                let bound = set.encoded_bound + batch::HEADER_LEN;
                prop_assert!(len <= bound, "{len} bytes, {bound} were promised");
            }
        }
    }
}
