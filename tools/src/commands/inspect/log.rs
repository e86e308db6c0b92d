//! A log segment: its groups, their batches, their ops.

use orlop_formats::batch::{self, Op};
use orlop_formats::error::DecodeError;
use orlop_formats::file_header::{self, FileHeader};
use orlop_formats::frame::{self, Frame, FrameKind, Walk};
use orlop_formats::ids::{FileId, Kind};
use orlop_formats::log::{self, PROLOGUE_LEN};
use orlop_formats::varint;

use super::Inspected;
use super::record::{Field, Record, Sink};
use crate::failure::Failure;

pub(super) fn inspect(sink: &mut Sink, bytes: &[u8], header: &FileHeader) -> Inspected {
    let at = file_header::HEADER_LEN as u64;
    let segment = match log::decode_prologue(bytes, header.number, Some(header.store)) {
        Ok((_, segment)) => segment,
        Err(error) => return Ok(vec![error]),
    };
    sink.record(Record::new(
        at,
        log::HEADER_LEN as u64,
        "segment header",
        vec![
            Field::number("predecessor", segment.predecessor),
            Field::number("predecessor end", segment.predecessor_end),
            Field::number("first seqno", segment.first_seqno),
        ],
    ))?;
    let mut damage = Vec::new();
    let mut last = segment.first_seqno.saturating_sub(1);
    let mut walk =
        Walk::new(bytes, PROLOGUE_LEN, u64::MAX, header.id).expecting(segment.first_seqno);
    for frame in walk.by_ref() {
        damage.extend(group(sink, &frame)?);
        last = frame.next_first() - 1;
    }
    damage.extend(tail(sink, bytes, &walk, &header.id, last)?);
    Ok(damage)
}

fn group(sink: &mut Sink, frame: &Frame<'_>) -> Result<Option<DecodeError>, Failure> {
    if frame.kind != FrameKind::Group {
        let found = format!("{:?}", frame.kind);
        return Ok(Some(DecodeError::corrupt("frame", frame.offset, "a group", found)));
    }
    sink.record(Record::new(
        frame.offset,
        frame.end() - frame.offset,
        "group",
        vec![
            Field::number("first seqno", frame.first),
            Field::number("batches", u64::from(frame.count)),
            Field::number("synced", frame.synced),
            Field::number("previous end", frame.previous_end),
        ],
    ))?;
    let payload = frame.offset + frame::HEADER_LEN as u64;
    let mut at = 0;
    for (seqno, ops) in
        numbers_from(frame.first).zip(batch::read_batches(frame.payload, frame.count))
    {
        let ops = match ops {
            Ok(ops) => ops,
            Err(error) => return Ok(Some(error.at(payload))),
        };
        let body = varint::u32_at(frame.payload, at).unwrap_or_default() as usize;
        let len = batch::HEADER_LEN + body;
        let fields =
            vec![Field::number("seqno", seqno), Field::number("ops", u64::from(ops.remaining()))];
        sink.record(Record::new(payload + at as u64, len as u64, "batch", fields).inside(1))?;
        let mut op_at = payload + (at + batch::HEADER_LEN) as u64;
        for op in ops {
            match op {
                Ok(op) => {
                    let len = encoded_len(&op);
                    sink.record(op_record(op_at, len, &op))?;
                    op_at += len;
                }
                Err(error) => return Ok(Some(error.at(payload))),
            }
        }
        at += len;
    }
    Ok(None)
}

/// Bytes of an op: its varints have one spelling only.
fn encoded_len(op: &Op<'_>) -> u64 {
    let numbers = [u64::from(op.database.0), op.key.len() as u64, op.value.len() as u64];
    let varints: usize = numbers.into_iter().map(varint::len).sum();
    let expiry = if op.expiry.is_some() { 8 } else { 0 };
    (2 + varints + expiry + op.key.len() + op.value.len()) as u64
}

fn op_record<'a>(offset: u64, len: u64, op: &Op<'a>) -> Record<'a> {
    let mut fields = vec![
        Field::text("kind", format!("{:?}", op.kind)),
        Field::number("database", u64::from(op.database.0)),
        Field::bytes("key", op.key),
    ];
    match op.kind {
        Kind::Delete => {}
        Kind::RangeDelete if op.value.is_empty() => {}
        Kind::RangeDelete => fields.push(Field::bytes("end", op.value)),
        _ => fields.push(Field::bytes("value", op.value)),
    }
    fields.extend(op.expiry.map(|expiry| Field::number("expiry ms", expiry)));
    Record::new(offset, len, "op", fields).inside(2)
}

/// What stands behind the last frame: free space, a torn tail, or damage. `last` is the highest
/// number in a good frame.
pub(super) fn tail(
    sink: &mut Sink,
    bytes: &[u8],
    walk: &Walk<'_>,
    id: &FileId,
    last: u64,
) -> Result<Option<DecodeError>, Failure> {
    let end = walk.end();
    let left = (bytes.len() as u64).saturating_sub(end);
    let stop = walk.stop();
    let mut show = |state: &str| {
        let state = vec![Field::text("state", state.to_owned())];
        sink.record(Record::new(end, left, "tail", state))
    };
    if let Some((offset, synced)) = frame::later_proof(bytes, end, id, last) {
        show("lost frames")?;
        let found = stop.map_or("free space".to_owned(), ToString::to_string);
        let expected =
            format!("a frame: the one at {offset} says that everything up to {synced} was synced");
        return Ok(Some(DecodeError::corrupt("frame", end, expected, found)));
    }
    match stop {
        Some(stop) => show(&format!("torn, or left behind by a clean close: {stop}"))?,
        None if left > 0 => show("free space")?,
        None => {}
    }
    Ok(None)
}

/// Sequence numbers from this one on, as many as there are.
fn numbers_from(first: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(first), |number| number.checked_add(1))
}
