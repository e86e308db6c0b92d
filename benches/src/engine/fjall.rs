//! fjall.
//!
//! Its defaults are what its documentation recommends, so little is set: the cache of the budget,
//! one worker for each of two cores, no compression where the table has none, memtables that share
//! the budget for write buffers, and large values apart from their keys, as the documentation says
//! for large blobs.
//!
//! By default a write ends in `write(2)`. `persist(SyncData)` behind it makes it a synced one: that
//! is how the documentation does it, and batches that sync measured no faster. A journal that is
//! persisted by hand leaves a write in a buffer of 8 KiB in the process, and that is the class
//! memory. A keyspace remembers which of the two it was created with, whatever a later open says,
//! so its name tells.
//!
//! There is no seek: a scan makes an iterator. There is no call for many keys at once either.

use std::thread;
use std::time::Duration;

use fjall::config::CompressionPolicy;
use fjall::{
    AbstractTree, CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions,
    OwnedWriteBatch, PersistMode,
};

use super::{Class, Direction, Engine, Found, Kind, Reads, Session, Settings, Table, touch};
use crate::failure::Result;

pub(super) const KIND: Kind = Kind {
    name: "fjall",
    package: "fjall",
    feature: Some("fjall"),
    open: Some(open),
    classes: &[Class::Memory, Class::Buffered, Class::Synced],
    shipped_class: Class::Buffered,
    compression: Some("LZ4"),
    settings: "",
    answers: true,
};

/// Its documentation recommends memtables of 8 to 64 MiB.
const LEAST_MEMTABLE: u64 = 8 << 20;
const MOST_MEMTABLE: u64 = 64 << 20;

/// What the memtables of all keyspaces share.
const WRITE_BUFFERS: u64 = 128 << 20;

/// Values from this size on go to blob files.
const LARGE_VALUE: usize = 4096;

/// One for each core of the reference machine, which is also the default there.
const WORKERS: usize = 2;

/// Between two looks at whether the background is done.
const PAUSE: Duration = Duration::from_millis(1);

fn open(settings: &Settings) -> Result<Box<dyn Engine>> {
    let mut builder = Database::builder(&settings.dir);
    if settings.table != Table::Shipped {
        builder = builder.cache_size(settings.cache).worker_threads(WORKERS);
    }
    if settings.table == Table::Uncompressed {
        builder = builder.journal_compression(CompressionType::None);
    }
    let db = builder.open()?;
    let by_hand = if db.keyspace_exists(&name(0, true)) {
        true
    } else if db.keyspace_exists(&name(0, false)) {
        false
    } else {
        settings.table != Table::Shipped && settings.class == Class::Memory
    };
    let spaces = (0..settings.spaces)
        .map(|space| db.keyspace(&name(space, by_hand), || options(settings, by_hand)));
    let spaces = spaces.collect::<Result<_, _>>()?;
    Ok(Box::new(Fjall { spaces, db, class: settings.class, by_hand }))
}

/// The name of a key space, which says how its journal is persisted.
fn name(space: usize, by_hand: bool) -> String {
    if by_hand { format!("{space}.by-hand") } else { space.to_string() }
}

fn options(settings: &Settings, by_hand: bool) -> KeyspaceCreateOptions {
    let mut options = KeyspaceCreateOptions::default();
    if settings.table == Table::Shipped {
        return options;
    }
    let memtable = WRITE_BUFFERS / settings.spaces.max(1) as u64;
    options = options
        .manual_journal_persist(by_hand)
        .max_memtable_size(memtable.clamp(LEAST_MEMTABLE, MOST_MEMTABLE));
    let mut blobs = KvSeparationOptions::default();
    if settings.table == Table::Uncompressed {
        options = options.data_block_compression_policy(CompressionPolicy::disabled());
        blobs = blobs.compression(CompressionType::None);
    }
    if settings.shape.value_size >= LARGE_VALUE {
        options = options.with_kv_separation(Some(blobs));
    }
    options
}

struct Fjall {
    spaces: Vec<Keyspace>,
    db: Database,
    class: Class,
    /// Whether writes stay in the process until they are persisted.
    by_hand: bool,
}

impl Fjall {
    /// What makes a write that has been made worth `class`.
    fn persist_mode(&self, class: Class) -> Option<PersistMode> {
        match class {
            Class::Memory => None,
            Class::Buffered => self.by_hand.then_some(PersistMode::Buffer),
            Class::Synced => Some(PersistMode::SyncData),
        }
    }

    /// Waits for background work, and fails where the background has failed.
    fn wait_until(&self, done: impl Fn() -> bool) -> Result<()> {
        while !done() {
            self.db.persist(PersistMode::Buffer)?;
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Returns when no compaction of `space` is due.
    ///
    /// The workers look for one after each flush and not again after it, so what is still due then
    /// waits for the next flush. It is done here, by the strategy of the keyspace.
    fn compact(&self, space: &Keyspace) -> Result<()> {
        let idle = || self.db.active_compactions() == 0;
        loop {
            self.wait_until(idle)?;
            let before = space.tree.current_version().id();
            let strategy = space.config.compaction_strategy.clone();
            let horizon = self.db.supervisor.snapshot_tracker.get_seqno_safe_to_gc();
            space.tree.compact(strategy, horizon)?;
            if idle() && space.tree.current_version().id() == before {
                return Ok(());
            }
        }
    }
}

impl Engine for Fjall {
    fn session(&self, _reads: Reads) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(Open { engine: self, space: &self.spaces[0] }))
    }

    fn bulk_load(&self, entries: &mut dyn Iterator<Item = (&[u8], &[u8])>) -> Result<()> {
        let mut ingestion = self.spaces[0].start_ingestion()?;
        for (key, value) in entries {
            ingestion.write(key, value)?;
        }
        Ok(ingestion.finish()?)
    }

    fn settle(&self) -> Result<()> {
        for space in &self.spaces {
            space.rotate_memtable()?;
        }
        self.wait_until(|| {
            self.db.outstanding_flushes() == 0
                && self.spaces.iter().all(|space| space.sealed_memtable_count() == 0)
        })?;
        for space in &self.spaces {
            self.compact(space)?;
        }
        Ok(self.db.persist(PersistMode::SyncAll)?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        // Dropping it does the rest, but cannot say what went wrong.
        Ok(self.db.persist(PersistMode::SyncAll)?)
    }
}

struct Open<'a> {
    engine: &'a Fjall,
    space: &'a Keyspace,
}

impl Open<'_> {
    /// Makes a write that has been made worth `class`.
    fn persist(&self, class: Class) -> Result<()> {
        if let Some(mode) = self.engine.persist_mode(class) {
            self.engine.db.persist(mode)?;
        }
        Ok(())
    }
}

impl Session for Open<'_> {
    fn select(&mut self, space: usize) -> Result<()> {
        self.space = &self.engine.spaces[space];
        Ok(())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.space.insert(key, value)?;
        self.persist(self.engine.class)
    }

    fn put_as(&mut self, class: Class, key: &[u8], value: &[u8]) -> Result<()> {
        self.space.insert(key, value)?;
        self.persist(class)
    }

    fn put_batch(&mut self, entries: &[(&[u8], &[u8])]) -> Result<()> {
        let mode = match self.engine.class {
            Class::Memory => None,
            Class::Buffered => Some(PersistMode::Buffer),
            Class::Synced => Some(PersistMode::SyncData),
        };
        let db = self.engine.db.clone();
        let mut batch = OwnedWriteBatch::with_capacity(db, entries.len()).durability(mode);
        for (key, value) in entries {
            batch.insert(self.space, *key, *value);
        }
        Ok(batch.commit()?)
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.space.remove(key)?;
        self.persist(self.engine.class)
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<u64>> {
        Ok(self.space.get(key)?.map(|value| touch(&value)))
    }

    fn scan(&mut self, from: Option<&[u8]>, direction: Direction, limit: u64) -> Result<Found> {
        let mut entries = match (from, direction) {
            (None, _) => self.space.iter(),
            (Some(from), Direction::Forward) => self.space.range(from..),
            (Some(from), Direction::Backward) => self.space.range(..=from),
        };
        let mut found = Found::default();
        while found.entries < limit {
            let entry = match direction {
                Direction::Forward => entries.next(),
                Direction::Backward => entries.next_back(),
            };
            let Some(entry) = entry else { break };
            let (key, value) = entry.into_inner()?;
            std::hint::black_box(&*key);
            found.add(&value);
        }
        Ok(found)
    }
}

#[cfg(test)]
mod experiment {
    use super::*;
    use crate::shape::{KeyShape, Shape, Values};
    use std::time::Instant;

    #[test]
    #[ignore]
    #[allow(clippy::unwrap_used)]
    fn exp() {
        let env = |name: &str, default: u64| {
            std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
        };
        let n = env("N", 1_000_000);
        let value_size = env("VS", 100) as usize;
        let shape = Shape { key_shape: KeyShape::Decimal, key_size: 16, value_size };
        let class = match env("CLASS", 1) {
            0 => Class::Memory,
            1 => Class::Buffered,
            _ => Class::Synced,
        };
        let table = match env("TABLE", 0) {
            0 => Table::Uncompressed,
            1 => Table::Compressed,
            _ => Table::Shipped,
        };
        let values = Values::new(value_size);
        let dir = tempfile::tempdir_in(std::env::var("DIR").unwrap_or("/work/main/target".into()))
            .unwrap();
        let settings = Settings {
            dir: dir.path().to_path_buf(),
            class,
            table,
            cache: 1 << 30,
            shape,
            spaces: 1,
            sessions: env("S", 4) as usize,
            cold: false,
        };
        let what = std::env::var("WHAT").unwrap_or("fill,settle,get,miss,scan,seek,multi".into());
        let threads = env("T", 1);
        let mut numbers: Vec<u64> = (0..n).collect();
        fastrand::Rng::with_seed(1).shuffle(&mut numbers);
        let mut engine = Some(KIND.open(&settings).unwrap());
        for what in what.split(',') {
            let start = Instant::now();
            let mut ops = n;
            match what {
                "fill" | "fillseq" => {
                    let e = engine.as_ref().unwrap();
                    std::thread::scope(|scope| {
                        for t in 0..threads {
                            let numbers = &numbers;
                            let values = &values;
                            scope.spawn(move || {
                                let mut s = e.session(Reads::Current).unwrap();
                                let mut lat = Vec::with_capacity(n as usize);
                                for i in (t..n).step_by(threads as usize) {
                                    let number =
                                        if what == "fill" { numbers[i as usize] } else { i };
                                    let at = Instant::now();
                                    s.put(&shape.key(number), values.of(number)).unwrap();
                                    lat.push(at.elapsed().as_nanos() as u64);
                                }
                                lat.sort_unstable();
                                let q = |p: f64| {
                                    lat[((lat.len() - 1) as f64 * p) as usize] as f64 / 1000.0
                                };
                                println!(
                                    "   p50 {:.1} p99 {:.1} p99.9 {:.1} p99.99 {:.1} max {:.1} us",
                                    q(0.5),
                                    q(0.99),
                                    q(0.999),
                                    q(0.9999),
                                    q(1.0)
                                );
                            });
                        }
                    });
                }
                "batch" => {
                    let e = engine.as_ref().unwrap();
                    let mut s = e.session(Reads::Current).unwrap();
                    for chunk in numbers.chunks(1000) {
                        let keys: Vec<_> = chunk.iter().map(|n| shape.key(*n)).collect();
                        let entries: Vec<_> =
                            keys.iter().zip(chunk).map(|(k, n)| (&k[..], values.of(*n))).collect();
                        s.put_batch(&entries).unwrap();
                    }
                }
                "bulk" => {
                    let keys: Vec<Vec<u8>> = (0..n).map(|i| shape.key(i)).collect();
                    let start = Instant::now();
                    let mut it = keys.iter().zip(0..).map(|(k, n)| (&k[..], values.of(n)));
                    engine.as_ref().unwrap().bulk_load(&mut it).unwrap();
                    println!("   bulk inner {:.0}/s", n as f64 / start.elapsed().as_secs_f64());
                }
                "sync" => {
                    ops = 2000 * threads;
                    let e = engine.as_ref().unwrap();
                    std::thread::scope(|scope| {
                        for t in 0..threads {
                            let numbers = &numbers;
                            let values = &values;
                            scope.spawn(move || {
                                let mut s = e.session(Reads::Current).unwrap();
                                for i in 0..2000 {
                                    let number = numbers[((i * threads + t) % n) as usize];
                                    s.put_as(Class::Synced, &shape.key(number), values.of(number))
                                        .unwrap();
                                }
                            });
                        }
                    });
                }
                "settle" => engine.as_ref().unwrap().settle().unwrap(),
                "reopen" => {
                    engine.take().unwrap().close().unwrap();
                    println!("   close {:?}", start.elapsed());
                    engine = Some(KIND.open(&settings).unwrap());
                }
                "get" | "getcur" => {
                    let e = engine.as_ref().unwrap();
                    let reads = if what == "get" { Reads::Fixed } else { Reads::Current };
                    ops = n.min(500_000) * threads;
                    std::thread::scope(|scope| {
                        for t in 0..threads {
                            let numbers = &numbers;
                            let values = &values;
                            scope.spawn(move || {
                                let mut s = e.session(reads).unwrap();
                                for i in 0..n.min(500_000) {
                                    let number = numbers[((i * 7919 + t * 31) % n) as usize];
                                    let got = s.get(&shape.key(number)).unwrap();
                                    if i % 64 == 0 {
                                        assert_eq!(got, Some(touch(values.of(number))));
                                    }
                                }
                            });
                        }
                    });
                }
                "miss" => {
                    ops = n.min(500_000);
                    let mut s = engine.as_ref().unwrap().session(Reads::Fixed).unwrap();
                    for i in 0..ops {
                        let mut k = shape.key(numbers[i as usize]);
                        k.push(b'x');
                        assert!(s.get(&k).unwrap().is_none());
                    }
                }
                "multi" => {
                    ops = n.min(500_000) / 32 * 32;
                    let mut s = engine.as_ref().unwrap().session(Reads::Fixed).unwrap();
                    for c in numbers[..ops as usize].chunks(32) {
                        let keys: Vec<_> = c.iter().map(|n| shape.key(*n)).collect();
                        let keys: Vec<_> = keys.iter().map(|k| &k[..]).collect();
                        assert_eq!(s.multi_get(&keys).unwrap().entries, 32);
                    }
                }
                "scan" | "rscan" => {
                    let mut s = engine.as_ref().unwrap().session(Reads::Fixed).unwrap();
                    let d = if what == "scan" { Direction::Forward } else { Direction::Backward };
                    let f = s.scan(None, d, u64::MAX).unwrap();
                    assert_eq!(f.entries, n);
                }
                "seek" | "seekcur" => {
                    ops = n.min(100_000);
                    let mut s = engine
                        .as_ref()
                        .unwrap()
                        .session(if what == "seek" { Reads::Fixed } else { Reads::Current })
                        .unwrap();
                    for i in 0..ops {
                        let _ = s
                            .scan(Some(&shape.key(numbers[i as usize])), Direction::Forward, 10)
                            .unwrap();
                    }
                }
                _ => panic!("{what}"),
            }
            let t = start.elapsed().as_secs_f64();
            let disk =
                std::process::Command::new("du").arg("-sk").arg(dir.path()).output().unwrap();
            let disk = String::from_utf8_lossy(&disk.stdout)
                .split_whitespace()
                .next()
                .unwrap_or("")
                .to_owned();
            println!(
                "{:>8}: {:>10.0}/s  {:.3} s  {:.2} us  disk {} MB",
                what,
                ops as f64 / t,
                t,
                t * 1e6 / ops as f64,
                disk.parse::<u64>().unwrap_or(0) / 1024
            );
        }
        engine.take().unwrap().close().unwrap();
    }
}
