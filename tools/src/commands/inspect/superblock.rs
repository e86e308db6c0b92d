//! SUPER: both slots, and which of them is in force.

use orlop_formats::error::DecodeError;
use orlop_formats::file_header::FileHeader;
use orlop_formats::limits::SECTOR;
use orlop_formats::superblock::{self, SLOT_LEN, Superblock};

use super::Inspected;
use super::record::{Field, Record, Sink};

pub(super) fn inspect(sink: &mut Sink, bytes: &[u8], header: &FileHeader) -> Inspected {
    let newest = superblock::decode_file(bytes);
    let mut damage = Vec::new();
    for offset in [SECTOR, 2 * SECTOR] {
        match slot(bytes, header, offset) {
            Ok(Some(found)) => {
                let in_force = newest.as_ref().is_ok_and(|decoded| decoded.newest == found);
                sink.record(record(offset, &found, in_force))?;
            }
            Ok(None) => {
                let state = Field::text("state", "never written");
                sink.record(Record::new(offset, SLOT_LEN as u64, "slot", vec![state]))?;
            }
            Err(error) => damage.push(error),
        }
    }
    if let Err(error) = newest
        && !damage.contains(&error)
    {
        damage.insert(0, error);
    }
    Ok(damage)
}

/// Reads one slot, as if the other one had never been written.
fn slot(bytes: &[u8], header: &FileHeader, offset: u64) -> Result<Option<Superblock>, DecodeError> {
    let (start, end) = (offset as usize, offset as usize + SLOT_LEN);
    let Some(slot) = bytes.get(start..end) else {
        let found = format!("{} bytes", bytes.len());
        return Err(DecodeError::corrupt("superblock slot", offset, "a slot of 4096 bytes", found));
    };
    if slot.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let mut alone = vec![0; superblock::FILE_LEN];
    let encoded = header.encode();
    if let Some(head) = alone.get_mut(..encoded.len()) {
        head.copy_from_slice(&encoded);
    }
    if let Some(place) = alone.get_mut(start..end) {
        place.copy_from_slice(slot);
    }
    superblock::decode_file(&alone).map(|decoded| Some(decoded.newest))
}

fn record(offset: u64, slot: &Superblock, in_force: bool) -> Record<'static> {
    let origin = slot.origin.map_or("none".to_owned(), |origin| origin.to_string());
    Record::new(
        offset,
        SLOT_LEN as u64,
        "slot",
        vec![
            Field::text("state", if in_force { "in force" } else { "superseded" }),
            Field::number("generation", slot.generation),
            Field::number("manifest", slot.manifest_number),
            Field::text("manifest id", slot.manifest_id.to_string()),
            Field::text("store", slot.store.to_string()),
            Field::text("origin", origin),
            Field::number("sector", u64::from(slot.sector_size)),
            Field::number("edits", slot.edits),
        ],
    )
}
