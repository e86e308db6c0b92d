//! A value that was read.

use std::fmt;
use std::ops::{Deref, Range};

use crate::env::Mapping;
use crate::files::sstable::Plain;
use crate::state::memtable::{Found, Kept};
use crate::sync::Arc;

/// Values up to this many bytes are copied out, larger ones pin what holds them.
const INLINE: usize = 128;

/// Values in a memtable up to this many bytes are copied, too: a value that is kept for long would
/// keep all of the memtable.
const COPIED: usize = 64 << 10;

/// A value that is less than one part in so many of its decompressed block is copied, for the same reason.
const KEPT_PART: usize = 64;

/// The bytes of a value. Derefs to `[u8]`, is `Send`, `Sync` and `'static`.
///
/// Small values are copied. Larger ones are not: the value then keeps the mapping of its sstable, the decompressed block
/// or the memtable that it is in, alive for as long as it lives. Where a device cannot read mapped bytes any more there
/// is no error to tell: looking at them ends the process ([`catch_faults`](crate::catch_faults) says where).
#[derive(Clone)]
pub struct Value(Repr);

#[derive(Clone)]
enum Repr {
    Inline { len: u8, bytes: [u8; INLINE] },
    Memory(Kept),
    Mapped { map: Mapping, range: Range<usize> },
    Plain { plain: Arc<Plain>, range: Range<usize> },
    Owned(Arc<[u8]>),
}

impl Value {
    /// Copies a small value; `None` when it is too large for that.
    fn inline(value: &[u8]) -> Option<Self> {
        let mut bytes = [0; INLINE];
        bytes.get_mut(..value.len())?.copy_from_slice(value);
        Some(Self(Repr::Inline { len: value.len() as u8, bytes }))
    }

    pub(crate) fn from_memory(found: Found<'_>) -> Self {
        let value = found.value();
        if value.len() <= COPIED { Self::copy_of(value) } else { Self(Repr::Memory(found.keep())) }
    }

    /// A small value is copied here, so that this is for whoever looks at the engine's maps.
    pub(crate) fn from_mapping(map: &Mapping, range: Range<usize>) -> Self {
        let value = map.bytes().get(range.clone()).unwrap_or_default();
        Self::inline(value).unwrap_or_else(|| Self(Repr::Mapped { map: map.clone(), range }))
    }

    pub(crate) fn from_plain(plain: &Arc<Plain>, range: Range<usize>) -> Self {
        let value = plain.bytes().get(range.clone()).unwrap_or_default();
        if value.len() * KEPT_PART < plain.bytes().len() {
            return Self::copy_of(value);
        }
        let kept = || Self(Repr::Plain { plain: Arc::clone(plain), range });
        Self::inline(value).unwrap_or_else(kept)
    }

    pub(crate) fn copy_of(value: &[u8]) -> Self {
        Self::inline(value).unwrap_or_else(|| Self(Repr::Owned(value.into())))
    }
}

impl Deref for Value {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Repr::Memory(kept) => kept,
            Repr::Mapped { map, range } => map.lent().get(range.clone()).unwrap_or_default(),
            Repr::Plain { plain, range } => plain.part(range),
            Repr::Owned(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

impl<T: AsRef<[u8]> + ?Sized> PartialEq<T> for Value {
    fn eq(&self, other: &T) -> bool {
        **self == *other.as_ref()
    }
}

impl Eq for Value {}

impl From<Value> for Vec<u8> {
    fn from(value: Value) -> Self {
        value.to_vec()
    }
}
