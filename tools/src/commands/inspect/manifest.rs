//! A manifest: its edits, one a line, and the tables that they add.

use orlop_formats::file_header::FileHeader;
use orlop_formats::frame::{self, Walk};
use orlop_formats::manifest::{PROLOGUE_LEN, RangeDelete, TableMeta, VersionEdit};

use super::Inspected;
use super::log::tail;
use super::record::{Field, Record, Sink};

pub(super) fn inspect(sink: &mut Sink, bytes: &[u8], header: &FileHeader) -> Inspected {
    let mut damage = Vec::new();
    let mut edits = 0;
    let mut walk = Walk::new(bytes, PROLOGUE_LEN, u64::MAX, header.id).expecting(1);
    for frame in walk.by_ref() {
        edits += 1;
        let len = frame.end() - frame.offset;
        match VersionEdit::decode(frame.payload) {
            Ok(edit) => {
                sink.record(Record::new(frame.offset, len, "edit", fields(frame.first, &edit)))?;
                for (what, tables) in [("added", &edit.added), ("loading", &edit.loading)] {
                    for table in tables {
                        sink.record(table_record(frame.offset, what, table))?;
                    }
                }
                for (what, numbers) in [("removed", &edit.removed), ("load ended", &edit.loaded)] {
                    for number in numbers {
                        let number = vec![Field::number("number", *number)];
                        sink.record(Record::new(frame.offset, 0, what, number).inside(1))?;
                    }
                }
                let added = ("range delete", &edit.added_range_deletes);
                for (what, ranges) in [added, ("range delete gone", &edit.removed_range_deletes)] {
                    for range in ranges {
                        sink.record(range_record(frame.offset, what, range))?;
                    }
                }
                for end in &edit.segment_ends {
                    let fields = vec![
                        Field::number("number", end.number),
                        Field::number("end", end.end),
                        Field::number("last seqno", end.last_seqno),
                    ];
                    sink.record(Record::new(frame.offset, 0, "segment end", fields).inside(1))?;
                }
            }
            Err(error) => damage.push(error.at(frame.offset + frame::HEADER_LEN as u64)),
        }
    }
    damage.extend(tail(sink, bytes, &walk, &header.id, edits)?);
    Ok(damage)
}

fn fields(number: u64, edit: &VersionEdit) -> Vec<Field<'static>> {
    let mut fields = vec![Field::number("number", number)];
    if edit.snapshot {
        fields.push(Field::text("kind", "snapshot"));
    }
    let numbers = [
        ("next file", edit.next_file_number),
        ("log", edit.log_number),
        ("flushed seqno", edit.flushed_seqno),
        ("last seqno", edit.last_seqno),
        ("loaded seqno", edit.loaded_seqno),
        ("next database", edit.next_database_id.map(u64::from)),
        ("clock ms", edit.clock_ms),
    ];
    for (name, number) in numbers {
        fields.extend(number.map(|number| Field::number(name, number)));
    }
    let counts = [
        ("added", edit.added.len()),
        ("removed", edit.removed.len()),
        ("range deletes", edit.added_range_deletes.len()),
        ("range deletes gone", edit.removed_range_deletes.len()),
        ("loading", edit.loading.len()),
        ("loads ended", edit.loaded.len()),
    ];
    for (name, count) in counts {
        if count > 0 {
            fields.push(Field::number(name, count as u64));
        }
    }
    fields
}

fn range_record<'a>(offset: u64, what: &'static str, range: &'a RangeDelete) -> Record<'a> {
    let mut fields = vec![
        Field::number("seqno", range.seqno),
        Field::number("database", u64::from(range.database.0)),
        Field::bytes("start", range.start.as_slice()),
    ];
    fields.extend(range.end.as_deref().map(|end| Field::bytes("end", end)));
    Record::new(offset, 0, what, fields).inside(1)
}

fn table_record<'a>(offset: u64, what: &'static str, table: &'a TableMeta) -> Record<'a> {
    let (smallest, largest) = (&table.smallest, &table.largest);
    let fields = vec![
        Field::number("number", table.number),
        Field::number("level", u64::from(table.level)),
        Field::number("run", table.run),
        Field::number("size", table.size),
        Field::number("entries", table.entries),
        Field::number("tombstones", table.tombstones),
        Field::text("seqnos", format!("{}..={}", table.min_seqno, table.max_seqno)),
        Field::number("first database", u64::from(smallest.0.0)),
        Field::bytes("smallest", smallest.1.as_slice()),
        Field::number("last database", u64::from(largest.0.0)),
        Field::bytes("largest", largest.1.as_slice()),
        Field::text("id", table.id.to_string()),
        Field::text("footer checksum", format!("{:016x}", table.footer_checksum)),
    ];
    Record::new(offset, 0, what, fields).inside(1)
}
