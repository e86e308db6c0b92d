//! Versions of keys: a header, an expiry if there is one, the key, the value, in one piece of the arena.
//!
//! The versions of one key are a list, newest first. Each but the first of a key also knows one
//! further back (Myers, "An applicative random-access stack", 1983), so that an old one among many
//! is found in as many steps as their number has digits.

use std::alloc::Layout;
use std::ptr::NonNull;
use std::slice;

use orlop_formats::batch::Op;
use orlop_formats::ids::{DatabaseId, Kind, Seqno};

use super::arena::{Arena, Placed, Resident};
use super::key::Key;

/// What stands before the key of a version.
pub(super) struct Header {
    seqno: Seqno,
    older: Option<Placed<Header>>,
    database: DatabaseId,
    key_len: u32,
    value_len: u32,
    kind: Kind,
    expires: bool,
}

// SAFETY: a header never changes once it is shared, and what it points to neither.
unsafe impl Sync for Header {}

impl Resident for Header {}

/// Between the header and the key of a version with older ones.
struct Jump {
    /// One of the older ones; of the last but one the last.
    to: Placed<Header>,
    /// How many are older.
    depth: u64,
}

/// Bytes before the expiry, or before the key if there is none.
const fn before_expiry(older: bool) -> usize {
    size_of::<Header>() + if older { size_of::<Jump>() } else { 0 }
}

/// Bytes before the key.
const fn before_key(older: bool, expires: bool) -> usize {
    before_expiry(older) + if expires { size_of::<u64>() } else { 0 }
}

/// A version of a key.
pub(super) type Record = Placed<Header>;

/// Writes a version into the arena, in front of the older ones of its key.
pub(super) fn write(arena: &mut Arena, op: &Op<'_>, seqno: Seqno, older: Option<Record>) -> Record {
    let Op { kind, database, key, value, expiry } = *op;
    let start = before_key(older.is_some(), expiry.is_some());
    let size = (start + key.len() + value.len()).next_multiple_of(align_of::<Header>());
    let Ok(layout) = Layout::from_size_align(size, align_of::<Header>()) else {
        // Keys and values are slices, and together they fit into memory twice.
        unreachable!("a record of {size} bytes");
    };
    let place = arena.take(layout);
    let header = Header {
        seqno,
        older,
        database,
        key_len: key.len() as u32,
        value_len: value.len() as u32,
        kind,
        expires: expiry.is_some(),
    };
    // SAFETY: the piece is fresh, aligned for a header, a jump and an expiry, and as long as all parts.
    unsafe {
        place.cast::<Header>().write(header);
        if let Some(older) = older {
            place.cast::<Header>().add(1).cast::<Jump>().write(jump_over(older));
        }
        if let Some(expiry) = expiry {
            place.add(before_expiry(older.is_some())).cast::<u64>().write(expiry);
        }
        let bytes = place.add(start);
        bytes.copy_from_nonoverlapping(start_of(key), key.len());
        bytes.add(key.len()).copy_from_nonoverlapping(start_of(value), value.len());
    }
    // SAFETY: a header was written there just now; who asked for it owns the arena.
    unsafe { Placed::of(place.cast()) }
}

fn start_of(bytes: &[u8]) -> NonNull<u8> {
    NonNull::from(bytes).cast()
}

/// Where a version in front of `older` jumps: as far as two jumps from there, if they are equally
/// far, and otherwise to that one itself.
fn jump_over(older: Record) -> Jump {
    let depth = older.depth() + 1;
    if let Some(Jump { to: first, .. }) = older.jump()
        && let Some(Jump { to: second, .. }) = first.jump()
        && older.depth() - first.depth() == first.depth() - second.depth()
    {
        return Jump { to: *second, depth };
    }
    Jump { to: older, depth }
}

impl Record {
    pub(super) fn seqno(self) -> Seqno {
        self.head().seqno
    }

    pub(super) fn kind(self) -> Kind {
        self.head().kind
    }

    /// When it expires, in milliseconds since 1970.
    pub(super) fn expiry(self) -> Option<u64> {
        let Header { expires, ref older, .. } = *self.head();
        if !expires {
            return None;
        }
        let start = before_expiry(older.is_some());
        // SAFETY: `write` put an expiry there, aligned as the header is and as long as nothing else comes between, for
        // every record that says so.
        Some(unsafe { self.place().cast::<u8>().add(start).cast::<u64>().read() })
    }

    /// The next older version.
    pub(super) fn older(self) -> Option<Record> {
        self.head().older
    }

    /// For as long as the memtable is held.
    pub(super) fn key<'a>(self) -> Key<'a> {
        let Header { database, key_len, ref older, expires, .. } = *self.head();
        Key { database, bytes: self.bytes(before_key(older.is_some(), expires), key_len) }
    }

    /// For as long as the memtable is held.
    pub(super) fn value<'a>(self) -> &'a [u8] {
        let Header { key_len, value_len, ref older, expires, .. } = *self.head();
        self.bytes(before_key(older.is_some(), expires) + key_len as usize, value_len)
    }

    /// The newest of this version and the older ones that `seqno` can see.
    pub(super) fn as_of(self, seqno: Seqno) -> Option<Record> {
        let mut at = self;
        while at.seqno() > seqno {
            at = at.towards(seqno)?;
        }
        Some(at)
    }

    /// An older version, as old as can be and not older than the one that `seqno` sees.
    fn towards(self, seqno: Seqno) -> Option<Record> {
        match self.jump() {
            Some(Jump { to, .. }) if to.seqno() > seqno => Some(*to),
            _ => self.older(),
        }
    }

    fn head(&self) -> &Header {
        self
    }

    fn bytes<'a>(self, start: usize, len: u32) -> &'a [u8] {
        // SAFETY: `write` initialised so many bytes there, in one piece with the header, before it
        // shared the record; nobody changes them, and they live as long as the arena, which whoever
        // has a record holds on to.
        unsafe {
            slice::from_raw_parts(self.place().cast::<u8>().add(start).as_ptr(), len as usize)
        }
    }

    fn jump(&self) -> Option<&Jump> {
        self.head().older?;
        // SAFETY: `write` put a jump behind the header of every record with older ones.
        Some(unsafe { self.place().add(1).cast::<Jump>().as_ref() })
    }

    fn depth(self) -> u64 {
        self.jump().map_or(0, |jump| jump.depth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Arc;

    /// Of each third version.
    fn expiry(n: u64) -> Option<u64> {
        n.is_multiple_of(3).then_some(n << 40 | 7)
    }

    fn versions(arena: &mut Arena, count: u64) -> Record {
        let mut newest = None;
        for n in 0..count {
            let (value, expiry) = (n.to_le_bytes(), expiry(n));
            let database = DatabaseId(16);
            let op = Op { kind: Kind::Put, database, key: b"key", value: &value, expiry };
            newest = Some(write(arena, &op, 10 + 2 * n, newest));
        }
        newest.unwrap()
    }

    #[test]
    fn every_version_is_found_among_all() {
        let count = if cfg!(miri) { 40 } else { 3_000 };
        let mut arena = Arena::new(Arc::default());
        let newest = versions(&mut arena, count);
        assert!(newest.as_of(9).is_none());
        for n in 0..count {
            for seqno in [10 + 2 * n, 11 + 2 * n] {
                let found = newest.as_of(seqno).unwrap();
                assert_eq!((found.seqno(), found.value()), (10 + 2 * n, &n.to_le_bytes()[..]));
                assert_eq!((found.key().bytes, found.expiry()), (&b"key"[..], expiry(n)));
            }
        }
        assert_eq!(newest.as_of(Seqno::MAX).unwrap().seqno(), 8 + 2 * count);
    }

    #[test]
    fn an_old_version_among_many_is_few_steps_away() {
        let mut arena = Arena::new(Arc::default());
        let newest = versions(&mut arena, 2_000);
        let (mut at, mut steps) = (newest, 0);
        while at.seqno() > 10 {
            at = at.towards(10).unwrap();
            steps += 1;
        }
        assert!(steps < 60, "{steps}");
    }
}
