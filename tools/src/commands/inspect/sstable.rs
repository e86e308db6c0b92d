//! An sstable: footer, partitions, properties, and the blocks in between.

use orlop_formats::block::Block;
use orlop_formats::checksum::{self, Place};
use orlop_formats::error::DecodeError;
use orlop_formats::file_header::FileHeader;
use orlop_formats::sstable::{
    Expiries, FOOTER_LEN, Footer, Handle, Partition, Properties, decode_partitions,
};

use super::Inspected;
use super::record::{Field, Record, Sink};
use crate::failure::Failure;

struct Table<'a> {
    bytes: &'a [u8],
    place: Place,
    entries: bool,
    damage: Vec<DecodeError>,
}

pub(super) fn inspect(
    sink: &mut Sink,
    bytes: &[u8],
    header: &FileHeader,
    entries: bool,
) -> Inspected {
    let place = Place { store: header.store, file: header.number };
    let Some((before, last)) = bytes.split_last_chunk::<FOOTER_LEN>() else {
        let found = format!("{} bytes", bytes.len());
        return Ok(vec![DecodeError::corrupt("sstable", 0, "a header and a footer", found)]);
    };
    let at = before.len() as u64;
    let footer = match Footer::decode(last, &place, at) {
        Ok(footer) => footer,
        Err(error) => return Ok(vec![error]),
    };
    let mut table = Table { bytes, place, entries, damage: Vec::new() };
    let partitions = table.region(footer.partitions, "partitions", decode_partitions);
    let mut indexes = Vec::new();
    for partition in partitions.iter().flatten() {
        indexes.extend(table.partition(sink, partition)?);
    }
    for index in indexes {
        sink.record(index)?;
    }
    if let Some(lines) = table.region(footer.filter, "filter", |lines| Ok(lines.len() / 64)) {
        let fields = vec![Field::number("lines", lines as u64)];
        sink.record(Record::new(footer.filter.0, footer.filter.1, "filter", fields))?;
    }
    if let Some(partitions) = &partitions {
        table.partitions(sink, footer.partitions, partitions)?;
    }
    if let Some(properties) = table.region(footer.properties, "properties", Properties::decode) {
        sink.record(properties_record(footer.properties, &properties))?;
    }
    let region = |(offset, len): (u64, u64)| format!("{len} at {offset}");
    sink.record(Record::new(
        at,
        FOOTER_LEN as u64,
        "footer",
        vec![
            Field::number("file length", footer.file_len),
            Field::number("data end", footer.data_end),
            Field::text("filter", region(footer.filter)),
            Field::text("partitions", region(footer.partitions)),
            Field::text("properties", region(footer.properties)),
            Field::text("id", footer.id.to_string()),
            Field::text("checksum", format!("{:016x}", Footer::checksum_of(last))),
        ],
    ))?;
    Ok(table.damage)
}

impl<'a> Table<'a> {
    fn keep<T>(&mut self, result: Result<T, DecodeError>) -> Option<T> {
        result.map_err(|error| self.damage.push(error)).ok()
    }

    /// Opens a sealed region and decodes it; damage is kept for the end.
    fn region<T>(
        &mut self,
        (offset, len): (u64, u64),
        what: &'static str,
        decode: impl FnOnce(&'a [u8]) -> Result<T, DecodeError>,
    ) -> Option<T> {
        let end = offset.saturating_add(len);
        let sealed = self.bytes.get(offset as usize..end as usize).unwrap_or_default();
        let body = checksum::open(sealed, &self.place, offset, what);
        self.keep(body.and_then(|body| decode(body).map_err(|error| error.at(offset))))
    }

    fn block(&mut self, handle: Handle, what: &'static str) -> Option<Block<'a>> {
        self.region((handle.offset, u64::from(handle.len)), what, Block::parse)
    }

    /// The data blocks of a database. Gives the record of its index, which lies behind the data
    /// of all databases.
    fn partition(
        &mut self,
        sink: &mut Sink,
        partition: &Partition,
    ) -> Result<Option<Record<'static>>, Failure> {
        let Some(index) = self.block(partition.index, "index block") else { return Ok(None) };
        let mut values = Vec::new();
        let decompressed = index.decompress_values(&mut values);
        if self.keep(decompressed.map_err(|e| e.at(partition.index.offset))).is_none() {
            return Ok(None);
        }
        for at in 0..index.len() {
            let handle = index
                .value_range(at)
                .and_then(|range| Handle::decode(values.get(range).unwrap_or_default()));
            let Some(handle) = self.keep(handle.map_err(|e| e.at(partition.index.offset))) else {
                continue;
            };
            let Some(block) = self.block(handle, "data block") else { continue };
            self.data_block(sink, partition, handle, &block)?;
        }
        let fields = vec![
            Field::number("database", u64::from(partition.database.0)),
            Field::number("blocks", index.len() as u64),
        ];
        let len = u64::from(partition.index.len);
        Ok(Some(Record::new(partition.index.offset, len, "index block", fields)))
    }

    fn data_block(
        &mut self,
        sink: &mut Sink,
        partition: &Partition,
        handle: Handle,
        block: &Block<'_>,
    ) -> Result<(), Failure> {
        let (mut first, mut last) = (Vec::new(), Vec::new());
        let keys = block
            .key_into(0, &mut first)
            .and_then(|()| block.key_into(block.len().saturating_sub(1), &mut last));
        self.keep(keys.map_err(|error| error.at(handle.offset)));
        let values = match block.is_compressed() {
            true => "snappy",
            false => "plain",
        };
        sink.record(Record::new(
            handle.offset,
            u64::from(handle.len),
            "data block",
            vec![
                Field::number("database", u64::from(partition.database.0)),
                Field::number("entries", block.len() as u64),
                Field::text("values", values),
                Field::bytes("first", first),
                Field::bytes("last", last),
            ],
        ))?;
        if self.entries {
            self.list(sink, handle, block)?;
        }
        Ok(())
    }

    fn list(&mut self, sink: &mut Sink, handle: Handle, block: &Block<'_>) -> Result<(), Failure> {
        let mut values = Vec::new();
        let decompressed = block.decompress_values(&mut values);
        if self.keep(decompressed.map_err(|error| error.at(handle.offset))).is_none() {
            return Ok(());
        }
        let mut key = Vec::new();
        for at in 0..block.len() {
            let entry = block
                .key_into(at, &mut key)
                .and_then(|()| Ok((block.kind(at)?, block.value_range(at)?)));
            let Some((kind, range)) = self.keep(entry.map_err(|e| e.at(handle.offset))) else {
                continue;
            };
            let mut fields = vec![
                Field::number("row", at as u64),
                Field::number("seqno", block.seqno(at)),
                Field::text("kind", format!("{kind:?}")),
                Field::bytes("key", key.as_slice()),
            ];
            if kind != orlop_formats::ids::Kind::Delete {
                fields.push(Field::bytes("value", values.get(range).unwrap_or_default()));
            }
            let expiry = block.expiry(at);
            fields.extend(expiry.map(|expiry| Field::number("expiry ms", expiry)));
            // A block is columns: an entry has a row, but no one place.
            sink.record(Record::new(handle.offset, 0, "entry", fields).inside(1))?;
        }
        Ok(())
    }

    fn partitions(
        &self,
        sink: &mut Sink,
        (offset, len): (u64, u64),
        partitions: &[Partition],
    ) -> Result<(), Failure> {
        let count = vec![Field::number("count", partitions.len() as u64)];
        sink.record(Record::new(offset, len, "partitions", count))?;
        for (at, partition) in partitions.iter().enumerate() {
            let fields = vec![
                Field::number("database", u64::from(partition.database.0)),
                Field::number("entries", partition.entries),
                Field::number("tombstones", partition.tombstones),
                Field::number("blocks", u64::from(partition.blocks)),
                Field::number("data bytes", partition.data_bytes),
                Field::number("index", partition.index.offset),
            ];
            let offset = offset + 4 + 44 * at as u64;
            sink.record(Record::new(offset, 44, "partition", fields).inside(1))?;
        }
        Ok(())
    }
}

fn properties_record((offset, len): (u64, u64), properties: &Properties) -> Record<'_> {
    let mut fields = vec![
        Field::number("entries", properties.entries),
        Field::number("tombstones", properties.tombstones),
        Field::number("blocks", properties.blocks),
        Field::number("min seqno", properties.min_seqno),
        Field::number("max seqno", properties.max_seqno),
        Field::number("raw key bytes", properties.raw_key_bytes),
        Field::number("raw value bytes", properties.raw_value_bytes),
        Field::number("filter bits", u64::from(properties.filter_bits)),
        Field::text("compression", format!("{:?}", properties.compression).to_lowercase()),
        Field::number("first database", u64::from(properties.smallest.0.0)),
        Field::bytes("smallest", properties.smallest.1.as_slice()),
        Field::number("last database", u64::from(properties.largest.0.0)),
        Field::bytes("largest", properties.largest.1.as_slice()),
    ];
    if let Some(Expiries { entries, eighths: [first, .., last] }) = properties.expiries {
        fields.push(Field::number("entries with an expiry", entries));
        fields.push(Field::number("an eighth has expired ms", first));
        fields.push(Field::number("all have expired ms", last));
    }
    fields.push(Field::number("cleared seqno", properties.cleared_to));
    Record::new(offset, len, "properties", fields)
}
