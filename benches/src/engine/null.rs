//! The engine that does nothing: what is left is the cost of the harness itself.
//!
//! It says yes to every write and finds nothing. Its rate stands in every table and is subtracted
//! from none.

use super::{Class, Direction, Engine, Found, Kind, Reads, Session};
use crate::failure::Result;

pub(super) const KIND: Kind = Kind {
    name: "null",
    package: "orlop-benches",
    feature: None,
    open: Some(|_| Ok(Box::new(Null))),
    classes: &[Class::Memory, Class::Buffered, Class::Synced],
    shipped_class: Class::Memory,
    compression: Some("none, of nothing"),
    settings: "Does nothing: its rate is what the harness alone can do. Subtracted from no row.",
    answers: false,
};

struct Null;

impl Engine for Null {
    fn session(&self, _reads: Reads) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(Null))
    }

    fn bulk_load(&self, entries: &mut dyn Iterator<Item = (&[u8], &[u8])>) -> Result<()> {
        entries.for_each(|entry| {
            std::hint::black_box(entry);
        });
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

impl Session for Null {
    fn select(&mut self, _space: usize) -> Result<()> {
        Ok(())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        std::hint::black_box((key, value));
        Ok(())
    }

    fn put_as(&mut self, _class: Class, key: &[u8], value: &[u8]) -> Result<()> {
        self.put(key, value)
    }

    fn put_batch(&mut self, entries: &[(&[u8], &[u8])]) -> Result<()> {
        std::hint::black_box(entries);
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        std::hint::black_box(key);
        Ok(())
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<u64>> {
        std::hint::black_box(key);
        Ok(None)
    }

    fn scan(&mut self, from: Option<&[u8]>, direction: Direction, limit: u64) -> Result<Found> {
        std::hint::black_box((from, direction, limit));
        Ok(Found::default())
    }
}
