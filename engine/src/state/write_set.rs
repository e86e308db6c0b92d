//! What one commit carries, and the limits that every door checks.

use std::cell::Cell;
use std::ops::Range;

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
    /// What was prepared of a large one.
    pub(crate) bulk: Option<Box<Bulk>>,
}

/// One item of a [`WriteSet`].
#[derive(Debug)]
pub(crate) enum Item {
    Write { target: usize, kind: Kind, key: Range<usize>, value: Range<usize> },
    Catalog(CatalogOp),
}

/// One write to a database that exists, which nobody has copied yet: for commits that carry nothing else.
pub(crate) struct OneWrite<'a> {
    pub(crate) slot: &'a Arc<Slot>,
    pub(crate) kind: Kind,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
}

impl OneWrite<'_> {
    /// Holds it against the limits.
    pub(crate) fn check(&self) -> Result<()> {
        check_key(self.key)?;
        too_large("value", MAX_VALUE_LEN, self.value.len())
    }

    /// Bytes that this takes in the log at most.
    pub(crate) fn encoded_bound(&self) -> usize {
        self.key.len() + self.value.len() + ITEM_OVERHEAD + of_birth(self.slot.name())
    }

    /// The same, as what can wait in line.
    pub(crate) fn to_set(&self) -> Result<WriteSet> {
        let mut set = WriteSet::spare();
        set.write(Target::Slot(Arc::clone(self.slot)), self.kind, self.key, self.value)?;
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
    pub(crate) fn writes(&self) -> impl Iterator<Item = (Kind, &[u8], &[u8])> {
        let slice = |range: &Range<usize>| self.data.get(range.clone()).unwrap_or_default();
        self.items.iter().filter_map(move |item| match item {
            Item::Write { kind, key, value, .. } => Some((*kind, slice(key), slice(value))),
            Item::Catalog(_) => None,
        })
    }

    /// The same with the database of each, where these are those of the targets.
    pub(crate) fn writes_to<'a>(
        &'a self,
        ids: &'a [DatabaseId],
    ) -> impl Iterator<Item = (DatabaseId, Kind, &'a [u8], &'a [u8])> {
        let targets = self.items.iter().filter_map(|item| match item {
            Item::Write { target, .. } => ids.get(*target).copied(),
            Item::Catalog(_) => None,
        });
        targets.zip(self.writes()).map(|(id, (kind, key, value))| (id, kind, key, value))
    }

    pub(crate) fn write(
        &mut self,
        target: Target,
        kind: Kind,
        key: &[u8],
        value: &[u8],
    ) -> Result<()> {
        let is_new = self.find(&target).is_none();
        self.make_room(key, value, if is_new { of_birth(target.name()) } else { 0 })?;
        let target = self.target(target);
        self.add(target, kind, key, value);
        Ok(())
    }

    /// Whether the last target is this slot: [`WriteSet::write_there`] writes to it without a look at others.
    pub(crate) fn ends_in(&self, slot: &Arc<Slot>) -> bool {
        matches!(self.targets.last(), Some(Target::Slot(last)) if Arc::ptr_eq(last, slot))
    }

    /// A write to the last target.
    pub(crate) fn write_there(&mut self, kind: Kind, key: &[u8], value: &[u8]) -> Result<()> {
        self.make_room(key, value, 0)?;
        self.add(self.targets.len() - 1, kind, key, value);
        Ok(())
    }

    /// Holds an item against the limits; all is as before if it is too large.
    fn make_room(&mut self, key: &[u8], value: &[u8], overhead: usize) -> Result<()> {
        check_key(key)?;
        too_large("value", MAX_VALUE_LEN, value.len())?;
        self.grow(key.len() + value.len() + ITEM_OVERHEAD + overhead)
    }

    fn add(&mut self, target: usize, kind: Kind, key: &[u8], value: &[u8]) {
        let start = self.data.len();
        self.data.extend_from_slice(key);
        let middle = self.data.len();
        self.data.extend_from_slice(value);
        self.items.push(Item::Write {
            target,
            kind,
            key: start..middle,
            value: middle..self.data.len(),
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
    use orlop_formats::batch::{self, Op};
    use orlop_formats::ids::SYSTEM_DATABASE;
    use proptest::prelude::*;

    use super::*;
    use crate::options::GROUP_BYTES;
    use crate::state::catalog::{Catalog, DatabaseOptions, Staged};

    #[test]
    fn a_spare_write_set_is_empty_and_not_large() {
        for len in [10, 300 << 10] {
            let mut writes = WriteSet::spare();
            let target = Target::Name("name".into());
            writes.write(target, Kind::Put, b"key", &vec![1; len]).unwrap();
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
        writes.write(one.clone(), Kind::Put, b"key", b"value").unwrap();
        // Room for an item, but not for a database that is not named yet.
        writes.encoded_bound = MAX_BATCH_LEN - ENTRY_OVERHEAD;
        assert!(writes.write(other, Kind::Put, b"key", b"value").is_err());
        assert_eq!((writes.targets.len(), writes.items.len()), (1, 1));
        assert_eq!(writes.encoded_bound, MAX_BATCH_LEN - ENTRY_OVERHEAD);
        writes.write(one, Kind::Put, b"key", b"value").unwrap();
        assert!(matches!(&writes.items[1], Item::Write { target: 0, .. }));
    }

    #[test]
    fn one_write_is_the_same_as_a_set_of_one() {
        let catalog = catalog(&["events".into()]);
        let slot = catalog.slot("events").unwrap();
        let one = OneWrite { slot, kind: Kind::Put, key: b"key", value: b"value" };
        let set = one.to_set().unwrap();
        assert_eq!(one.encoded_bound(), set.encoded_bound);
        assert_eq!(set.writes().collect::<Vec<_>>(), [(Kind::Put, &b"key"[..], &b"value"[..])]);
        let long = vec![0; MAX_KEY_LEN + 1];
        assert!(OneWrite { key: &long, ..one }.check().is_err());
    }

    #[test]
    fn a_group_has_room_for_many_small_commits() {
        let catalog = catalog(&["events".into()]);
        let mut writes = WriteSet::default();
        let target = Target::Slot(Arc::clone(catalog.slot("events").unwrap()));
        writes.write(target, Kind::Put, &[0; 8], &[0; 8]).unwrap();
        let commits = GROUP_BYTES / writes.encoded_bound;
        assert!(commits > 9_000, "{commits} of {} bytes", writes.encoded_bound);
    }

    /// A catalog with these databases; the slot of the first is vacant.
    fn catalog(names: &[Arc<str>]) -> Catalog {
        let mut catalog = Catalog::new(0);
        let options = DatabaseOptions { durability: Some(crate::Durability::Synced) };
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
        let mut ops: Vec<(DatabaseId, Kind, &[u8], &[u8])> = Vec::new();
        for item in &writes.items {
            match item {
                Item::Catalog(op) => staged.apply(op).ok()?,
                Item::Write { target, kind, key, value } => {
                    let id = staged.resolve(&writes.targets[*target]).ok()?;
                    let (key, value) = (&writes.data[key.clone()], &writes.data[value.clone()]);
                    ops.push((id, *kind, key, value));
                }
            }
        }
        let system = staged.system_writes();
        for (key, record) in &system {
            let kind = if record.is_some() { Kind::Put } else { Kind::Delete };
            ops.push((SYSTEM_DATABASE, kind, key, record.as_deref().unwrap_or_default()));
        }
        let mut bytes = Vec::new();
        let start = batch::begin(&mut bytes);
        for (database, kind, key, value) in &ops {
            let (database, kind) = (*database, *kind);
            batch::push(&mut bytes, &Op { kind, database, key, value, expiry: None });
        }
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
        let options = DatabaseOptions { durability: Some(crate::Durability::Memory) };
        let added = match what {
            0..4 => writes.write(bound, Kind::Put, key, value),
            4..7 => writes.write(by_name, Kind::Put, key, value),
            7 => writes.write(bound, Kind::Delete, data, b""),
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
