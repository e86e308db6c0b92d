//! Batches: the payload of a group. A batch is one commit; its writes happen together or not at
//! all, and have one sequence number: the group's first, plus the batch's place in the group.

use crate::error::{DecodeError, Result};
use crate::ids::{DatabaseId, Kind, SYSTEM_DATABASE};
use crate::layout::{Field, Layout, field, set};
use crate::limits::{MAX_BATCH_LEN, MAX_KEY_LEN, MAX_VALUE_LEN};
use crate::varint::{self, u32_at, u64_at};

/// Bytes of a batch before its ops.
pub const HEADER_LEN: usize = 8;

const LEN: usize = 0;
const COUNT: usize = 4;

const FIELDS: &[Field] = &[field(LEN, 4, "length"), field(COUNT, 4, "op count")];

/// The layout of a batch's head.
pub const LAYOUT: Layout = Layout { name: "batch", len: HEADER_LEN, fields: FIELDS };

/// Flag of an op: an expiry is present.
const EXPIRY: u8 = 1;

/// Bytes before the key of an op, at most: kind, flags, three varints, expiry.
const OP_HEAD: usize = 32;

/// One write of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op<'a> {
    /// What it does.
    pub kind: Kind,
    /// The database it does it in.
    pub database: DatabaseId,
    /// The key, at most [`MAX_KEY_LEN`] bytes.
    pub key: &'a [u8],
    /// The value, at most [`MAX_VALUE_LEN`] bytes; empty for a delete. Of a range delete it is the end: a greater key, or
    /// empty.
    pub value: &'a [u8],
    /// When the entry expires, in milliseconds since 1970; at least 1.
    pub expiry: Option<u64>,
}

/// Reserves the head of a batch at the end of `out` and gives its start. Ops are pushed next.
#[inline]
pub fn begin(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_LEN]);
    start
}

/// Bytes that an op takes.
pub fn op_len(op: &Op<'_>) -> usize {
    let varint = |of: u64| varint::len(of);
    let expiry = if op.expiry.is_some() { 8 } else { 0 };
    let lengths = varint(op.key.len() as u64) + varint(op.value.len() as u64);
    2 + varint(u64::from(op.database.0)) + lengths + expiry + op.key.len() + op.value.len()
}

/// Appends an op. The caller has held its lengths against the limits; an expiry of 0 becomes 1.
#[inline]
pub fn push(out: &mut Vec<u8>, op: &Op<'_>) {
    push_key(out, op);
    out.extend_from_slice(op.value);
}

/// Appends an op up to its value, which comes next.
#[inline]
pub fn push_key(out: &mut Vec<u8>, op: &Op<'_>) {
    debug_assert!(op.key.len() <= MAX_KEY_LEN && op.value.len() <= MAX_VALUE_LEN);
    debug_assert!(op.kind != Kind::Delete || op.value.is_empty());
    let mut head = [0; OP_HEAD];
    head[0] = op.kind as u8;
    let mut len = 2;
    varint::put_at(&mut head, &mut len, u64::from(op.database.0));
    varint::put_at(&mut head, &mut len, op.key.len() as u64);
    varint::put_at(&mut head, &mut len, op.value.len() as u64);
    if let Some(expiry) = op.expiry {
        head[1] = EXPIRY;
        head[len..len + 8].copy_from_slice(&expiry.max(1).to_le_bytes());
        len += 8;
    }
    // All of it at once, and then what there is: a copy of a fixed length needs no call.
    out.reserve(OP_HEAD + op.key.len() + op.value.len());
    let start = out.len();
    out.extend_from_slice(&head);
    out.truncate(start + len);
    out.extend_from_slice(op.key);
}

/// Fills in the head of the batch that [`begin`] began at `start` and that `out` ends with.
///
/// # Panics
/// If `start` is not where [`begin`] left room; if the batch is longer than [`MAX_BATCH_LEN`]
/// (the caller has refused it before): bytes that cannot be read back are never made.
#[inline]
pub fn finish(out: &mut [u8], start: usize, count: u32) {
    let batch = &mut out[start..];
    finish_before(batch, count, batch.len() - HEADER_LEN);
}

/// The same where `head` are the first bytes of the batch, and its ops have `len` bytes.
///
/// # Panics
/// As [`finish`].
#[inline]
pub fn finish_before(head: &mut [u8], count: u32, len: usize) {
    let fits = HEADER_LEN.checked_add(len).is_some_and(|len| len <= MAX_BATCH_LEN);
    assert!(fits, "a batch must be at most {MAX_BATCH_LEN} bytes");
    set(head, LEN, &(len as u32).to_le_bytes());
    set(head, COUNT, &count.to_le_bytes());
}

/// Reads the payload of a group of `count` batches. Offsets of errors count from the payload.
pub fn read_batches(payload: &[u8], count: u32) -> Batches<'_> {
    Batches { payload, at: 0, left: count, done: false }
}

/// The batches of a group in commit order; after an error nothing more comes.
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    payload: &'a [u8],
    at: usize,
    left: u32,
    done: bool,
}

impl<'a> Batches<'a> {
    fn read(&mut self) -> Result<Ops<'a>> {
        let (ops, len) = Ops::first(&self.payload[self.at..]).map_err(|e| e.at(self.at as u64))?;
        let ops = Ops { base: self.at + HEADER_LEN, ..ops };
        self.at += len;
        self.left -= 1;
        Ok(ops)
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<Ops<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        if self.left > 0 {
            let batch = self.read();
            self.done = batch.is_err();
            return Some(batch);
        }
        self.done = true;
        let rest = self.payload.len() - self.at;
        let error = || {
            DecodeError::corrupt("group", self.at as u64, "its end", format!("{rest} more bytes"))
        };
        (rest > 0).then(|| Err(error()))
    }
}

/// The ops of one batch in order; after an error nothing more comes.
#[derive(Clone, Debug)]
pub struct Ops<'a> {
    bytes: &'a [u8],
    at: usize,
    left: u32,
    /// Where `bytes` begin in what offsets of errors count from.
    base: usize,
    done: bool,
}

impl<'a> Ops<'a> {
    /// The ops of exactly one batch, its head included. Offsets of errors count from the head.
    pub fn of(batch: &'a [u8]) -> Result<Self> {
        let (ops, len) = Self::first(batch)?;
        if len == batch.len() {
            return Ok(ops);
        }
        let found = format!("{} more bytes", batch.len() - len);
        Err(DecodeError::corrupt(LAYOUT.name, len as u64, "the end of the batch", found))
    }

    /// How many ops are still to come, if the batch is whole.
    pub fn remaining(&self) -> u32 {
        self.left
    }

    /// The batch that `bytes` begin with, and its length.
    fn first(bytes: &'a [u8]) -> Result<(Self, usize)> {
        let corrupt = |at: usize, expected: &str, found: String| {
            Err(DecodeError::corrupt(LAYOUT.name, at as u64, expected, found))
        };
        let (Some(len), Some(count)) = (u32_at(bytes, LEN), u32_at(bytes, COUNT)) else {
            return corrupt(0, "a head of 8 bytes", format!("{} bytes", bytes.len()));
        };
        let len = len as usize;
        if len > MAX_BATCH_LEN - HEADER_LEN {
            return corrupt(LEN, "a length below the limit", len.to_string());
        }
        let Some(ops) = bytes[HEADER_LEN..].get(..len) else {
            let found = format!("{len} bytes, and {} are left", bytes.len() - HEADER_LEN);
            return corrupt(LEN, "a batch inside the group", found);
        };
        let ops = Self { bytes: ops, at: 0, left: count, base: HEADER_LEN, done: false };
        Ok((ops, HEADER_LEN + len))
    }

    fn corrupt(&self, at: usize, expected: &str, found: impl Into<String>) -> DecodeError {
        DecodeError::corrupt("op", (self.base + at) as u64, expected, found)
    }

    fn varint(&self, at: &mut usize, max: usize, expected: &str) -> Result<usize> {
        let start = *at;
        let v = varint::get(self.bytes, at)
            .ok_or_else(|| self.corrupt(start, expected, "no varint"))?;
        let v = usize::try_from(v).ok().filter(|v| *v <= max);
        v.ok_or_else(|| self.corrupt(start, expected, "a greater one"))
    }

    /// What holds for the head of a range delete.
    fn check_range_delete(
        &self,
        start: usize,
        flags: u8,
        (database, end_at, end_len): (usize, usize, usize),
    ) -> Result<()> {
        if flags != 0 {
            return Err(self.corrupt(start + 1, "flags 0 of a range delete", flags.to_string()));
        }
        if database == SYSTEM_DATABASE.0 as usize {
            return Err(self.corrupt(start + 2, "a database other than the catalog", "0"));
        }
        if end_len > MAX_KEY_LEN {
            return Err(self.corrupt(end_at, "the length of a key", end_len.to_string()));
        }
        Ok(())
    }

    fn read(&mut self) -> Result<Op<'a>> {
        let start = self.at;
        let head = self.bytes.get(start..).and_then(|rest| rest.first_chunk::<2>());
        let Some(&[kind, flags]) = head else {
            return Err(self.corrupt(start, "an op", "the end of the batch"));
        };
        let Some(kind) = Kind::from_byte(kind) else {
            return Err(self.corrupt(start, "a kind of 1 to 5", kind.to_string()));
        };
        if flags & !EXPIRY != 0 {
            return Err(self.corrupt(start + 1, "flags 0 or 1", flags.to_string()));
        }
        let mut at = start + 2;
        let database = self.varint(&mut at, u32::MAX as usize, "a database id of 32 bits")?;
        let key_len = self.varint(&mut at, MAX_KEY_LEN, "a key length below the limit")?;
        let value_at = at;
        let value_len = self.varint(&mut at, MAX_VALUE_LEN, "a value length below the limit")?;
        if kind == Kind::Delete && value_len > 0 {
            return Err(self.corrupt(value_at, "no value of a delete", value_len.to_string()));
        }
        if kind == Kind::RangeDelete {
            self.check_range_delete(start, flags, (database, value_at, value_len))?;
        }
        let mut expiry = None;
        if flags & EXPIRY != 0 {
            expiry = u64_at(self.bytes, at).filter(|expiry| *expiry > 0);
            if expiry.is_none() {
                return Err(self.corrupt(at, "an expiry of 8 bytes, at least 1", "none"));
            }
            at += 8;
        }
        let rest = &self.bytes[at..];
        let (Some(key), Some(value)) =
            (rest.get(..key_len), rest.get(key_len..key_len + value_len))
        else {
            let found = format!("{} bytes are left", rest.len());
            return Err(self.corrupt(at, "a key and a value inside the batch", found));
        };
        if kind == Kind::RangeDelete && !value.is_empty() && value <= key {
            return Err(self.corrupt(at + key_len, "an end behind the start", "another order"));
        }
        self.at = at + key_len + value_len;
        self.left -= 1;
        Ok(Op { kind, database: DatabaseId(database as u32), key, value, expiry })
    }
}

impl<'a> Iterator for Ops<'a> {
    type Item = Result<Op<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        if self.left > 0 {
            let op = self.read();
            self.done = op.is_err();
            return Some(op);
        }
        self.done = true;
        let rest = self.bytes.len() - self.at;
        let error = || self.corrupt(self.at, "the end of the batch", format!("{rest} more bytes"));
        (rest > 0).then(|| Err(error()))
    }
}

#[cfg(test)]
mod tests;
