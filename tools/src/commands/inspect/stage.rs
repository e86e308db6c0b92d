//! A stage: its ring. Which segment the bytes in it are of shows only beside that segment.

use orlop_formats::limits::SECTOR;
use orlop_formats::stage::{self, PROLOGUE_LEN};

use super::Inspected;
use super::record::{Field, Record, Sink};

pub(super) fn inspect(sink: &mut Sink, bytes: &[u8]) -> Inspected {
    if let Err(error) = stage::check(bytes) {
        return Ok(vec![error]);
    }
    let ring = bytes.get(PROLOGUE_LEN as usize..).unwrap_or_default();
    let used = ring.chunks(SECTOR as usize).filter(|sector| sector.iter().any(|byte| *byte != 0));
    let fields = vec![
        Field::number("sectors", ring.len() as u64 / SECTOR),
        Field::number("sectors in use", used.count() as u64),
    ];
    sink.record(Record::new(PROLOGUE_LEN, ring.len() as u64, "ring", fields))?;
    Ok(Vec::new())
}
