//! The stores that are damaged, each with what must be read from it.
//!
//! They are written by the engine itself, by a script, on a simulated disk; every commit changes
//! what is read, so that a state names one prefix of the commits. After each step the files are
//! looked at, so that what a sector held before is known ("its older self"). A twin of each store,
//! of the same script with other ids and other values, gives foreign files of the same shape.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use orlop::env::{Env, SimEnv};
use orlop::{Background, DatabaseOptions, Durability, Error, Progress, Store};
use orlop_formats::filename::FileName;

use super::image::{self, DIR, Files};
use crate::history::{self, Change};
use crate::model::{self, Model};
use crate::watched::{Watch, WatchedEnv};

/// A store to damage.
pub struct Set {
    /// `closed`, `flushed` or `crashed`.
    pub name: &'static str,
    /// Whether the store was closed: then no commit may be missed without an error.
    pub closed: bool,
    /// Whether every byte of it is damaged, those in long runs of zeros, too.
    pub every_byte: bool,
    /// Its files.
    pub files: Files,
    /// What each of its files held at earlier moments, oldest first.
    pub older: BTreeMap<String, Vec<Vec<u8>>>,
    /// The files of its twin.
    pub twin: Files,
    /// What it held after 0, 1, 2, … commits. The last one is what must be read from `files`.
    pub states: Vec<Model>,
    /// What is asked of every database that there ever was.
    pub questions: BTreeMap<String, Questions>,
    /// The disk with the files.
    pub disk: SimEnv,
}

/// Keys to get from one database.
#[derive(Debug, Clone, Default)]
pub struct Questions {
    /// Keys that are or once were there.
    pub keys: Vec<Vec<u8>>,
    /// Keys that never were: twice as many.
    pub misses: Vec<Vec<u8>>,
}

/// What goes wrong while a reference store is made is a bug of the script: it is told in words.
type Made<T> = Result<T, String>;

fn told(what: &'static str) -> impl Fn(Error) -> String {
    move |error| format!("{what}: {error}")
}

/// How a store of the script is opened.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    level_base: u64,
    filter_bits: u32,
}

const SIZES: Sizes = Sizes { level_base: 1 << 20, filter_bits: 10 };

/// What is to happen once, while a commit is on its way to the device.
type Meanwhile = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// Runs a script and takes its notes.
struct Scribe {
    env: SimEnv,
    meanwhile: Meanwhile,
    states: Vec<Model>,
    older: BTreeMap<String, Vec<Vec<u8>>>,
    salt: u64,
}

impl Scribe {
    fn new(seed: u64) -> Self {
        let env = SimEnv::new(seed);
        let (states, older) = (vec![Model::new()], BTreeMap::new());
        Self { env, meanwhile: Meanwhile::default(), states, older, salt: seed }
    }

    fn open(&self, sizes: Sizes) -> Made<Store> {
        let meanwhile = Arc::clone(&self.meanwhile);
        let watch: Watch = Arc::new(move |operation| {
            let mut meanwhile = meanwhile.lock().unwrap_or_else(PoisonError::into_inner);
            let due = if operation == "reap" { meanwhile.take() } else { None };
            drop(meanwhile);
            if let Some(due) = due {
                due();
            }
        });
        Store::builder()
            .env(Arc::new(WatchedEnv { env: self.env.clone(), watch }))
            .background(Background::Manual)
            .durability(Durability::Buffered)
            .memtable_size(1 << 20)
            .stage_size(32 << 10)
            .table_size(4 << 10)
            .level_base(sizes.level_base)
            .block_size(512)
            .filter_bits(sizes.filter_bits)
            .open(Path::new(DIR))
            .map_err(told("open"))
    }

    fn latest(&self) -> Model {
        self.states.last().cloned().unwrap_or_default()
    }

    /// Looks at the files: what they hold now is what they held before, later.
    fn look(&mut self) -> Made<()> {
        for (name, bytes) in image::files_of(&self.env).map_err(|error| error.to_string())? {
            let versions = self.older.entry(name).or_default();
            if versions.last() != Some(&bytes) {
                versions.push(bytes);
            }
        }
        Ok(())
    }

    fn commit(&mut self, store: &Store, changes: &[Change], durability: Durability) -> Made<()> {
        let mut next = self.latest();
        let batch = history::batch(store, changes, &mut next).map_err(told("batch"))?;
        batch.commit_with(durability).map_err(told("commit"))?;
        self.states.push(next);
        self.look()
    }

    fn load(&mut self, store: &Store, name: &str, changes: &[Change]) -> Made<()> {
        history::load(store, name, changes, true).map_err(told("load"))?;
        self.committed(|next| changes.iter().for_each(|change| change.apply(next)))
    }

    /// A commit that the batches of the histories do not know.
    fn committed(&mut self, change: impl FnOnce(&mut Model)) -> Made<()> {
        let mut next = self.latest();
        change(&mut next);
        self.states.push(next);
        self.look()
    }

    fn flush(&mut self, store: &Store) -> Made<()> {
        store.flush().map_err(told("flush"))?;
        self.look()
    }

    fn close(&mut self, store: Store) -> Made<()> {
        store.close().map_err(told("close"))?;
        self.look()
    }

    /// Bytes that no compressor shortens, others for every salt and number.
    fn noise(&self, number: u64, len: usize) -> Vec<u8> {
        let mut state = self.salt.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (number << 20);
        let mut next = || {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            ((z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 33) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    /// Text that compresses well.
    fn text(&self, number: u64, len: usize) -> Vec<u8> {
        let line = format!("line {number} of {} in words. ", self.salt);
        line.bytes().cycle().take(len).collect()
    }

    fn put(&self, name: &str, key: impl Display, number: u64, len: usize) -> Change {
        Change::Put(name.to_owned(), key.to_string().into_bytes(), self.noise(number, len))
    }

    /// One that expires, and not soon.
    fn put_until(&self, name: &str, key: impl Display, number: u64, len: usize) -> Change {
        let value = model::until(history::START + 1_000_000, &self.noise(number, len));
        Change::Until(name.to_owned(), key.to_string().into_bytes(), value)
    }

    fn put_text(&self, name: &str, key: impl Display, number: u64, len: usize) -> Change {
        Change::Put(name.to_owned(), key.to_string().into_bytes(), self.text(number, len))
    }
}

fn delete(name: &str, key: impl Display) -> Change {
    Change::Delete(name.to_owned(), key.to_string().into_bytes())
}

fn delete_range(name: &str, start: &str, end: Option<&str>) -> Change {
    Change::DeleteRange(name.to_owned(), start.into(), end.map(Into::into))
}

const ALPHA: &str = "alpha";
const BETA: &str = "beta";
const GONE: &str = "gone";
const PARTED: &str = "parted";
const CALM: &str = "calm";
const QUIET: &str = "quiet";

/// A cleanly closed store with every kind of file and block.
///
/// # Errors
/// When the script does not run as it was written for.
pub fn closed() -> Made<Set> {
    let set = Set::new("closed", (closed_script(1)?, closed_script(2)?))?;
    Ok(Set { closed: true, every_byte: true, ..set })
}

/// A store that was closed behind a flush: nothing in a log tells of the tables that its last
/// edits name, so that only the superblock knows how many edits there must be.
///
/// # Errors
/// When the script does not run as it was written for.
pub fn flushed() -> Made<Set> {
    let set = Set::new("flushed", (flushed_script(5)?, flushed_script(6)?))?;
    Ok(Set { closed: true, ..set })
}

/// A store whose process was killed: its log has a tail that nothing in the manifest vouches for.
///
/// # Errors
/// When the script does not run as it was written for.
pub fn crashed() -> Made<Set> {
    Set::new("crashed", (crashed_script(3)?, crashed_script(4)?))
}

/// Every set.
///
/// # Errors
/// When a script does not run as it was written for.
pub fn all() -> Made<[Set; 3]> {
    Ok([closed()?, flushed()?, crashed()?])
}

/// Creates a database with options.
fn create(scribe: &mut Scribe, store: &Store, name: &str) -> Made<()> {
    let options =
        DatabaseOptions { durability: Some(Durability::Buffered), ..DatabaseOptions::default() };
    store.create_database(name, options).map_err(told("create"))?;
    scribe.committed(|model| drop(model.insert(name.to_owned(), model::Contents::new())))
}

/// Settled data, compressed, of which one block has values of more than 64 KiB.
fn settled(scribe: &mut Scribe) -> Made<()> {
    let store = scribe.open(Sizes { level_base: 1 << 10, ..SIZES })?;
    let mut changes: Vec<Change> =
        (0..14).map(|n| scribe.put_text(ALPHA, format_args!("text/{n:04}"), n, 90)).collect();
    changes.push(scribe.put_text(ALPHA, "wide", 90, 66_000));
    scribe.commit(&store, &changes, Durability::Buffered)?;
    let changes: Vec<Change> =
        (0..8).map(|n| scribe.put_text(BETA, format_args!("b{n}"), 100 + n, 60)).collect();
    scribe.commit(&store, &changes, Durability::Synced)?;
    create(scribe, &store, CALM)?;
    store.compact().map_err(told("compact"))?;
    store.settle().map_err(told("settle"))?;
    scribe.close(store)
}

/// Four runs that become one level: tombstones, long keys, many versions of one key for the sake
/// of snapshots, a database that is dropped.
fn merged(scribe: &mut Scribe) -> Made<()> {
    let store = scribe.open(SIZES)?;
    let mut snapshots = Vec::new();
    for round in 0..4_u64 {
        let mut changes: Vec<Change> = (0..9)
            .map(|n| {
                let number = n * 4 + round;
                let key = format!("users/{:03}/profile of a person/{number}", number * 7 % 50);
                scribe.put(ALPHA, key, 1_000 + number, 110)
            })
            .collect();
        changes.push(delete(ALPHA, format_args!("text/{:04}", round * 3)));
        changes.push(scribe.put(GONE, format_args!("lost {round}"), 1_100 + round, 150));
        changes.push(scribe.put(BETA, format_args!("b{round}"), 1_200 + round, 30));
        scribe.commit(&store, &changes, Durability::Buffered)?;
        for version in 0..3 {
            snapshots.push(store.snapshot());
            let number = 1_300 + round * 10 + version;
            let changes = [scribe.put(ALPHA, "versions", number, 150)];
            scribe.commit(&store, &changes, Durability::Buffered)?;
        }
        scribe.flush(&store)?;
    }
    while store.step().map_err(told("step"))? != Progress::Idle {}
    scribe.commit(&store, &[Change::Drop(GONE.to_owned())], Durability::Synced)?;
    let changes = [
        scribe.put(ALPHA, "large", 1_400, 5_000),
        delete_range(ALPHA, "users/020", Some("users/025")),
        scribe.put_until(BETA, "b7", 1_450, 40),
        delete(ALPHA, "users/007/profile of a person/1"),
        delete(BETA, "b6"),
        scribe.put(PARTED, "left behind", 1_500, 100),
    ];
    scribe.commit(&store, &changes, Durability::Synced)?;
    scribe.flush(&store)?;
    drop(snapshots);
    let loaded = [
        scribe.put(BETA, "b1", 1_600, 60),
        delete(BETA, "b2"),
        scribe.put_until(BETA, "loaded", 1_601, 90),
    ];
    scribe.load(&store, BETA, &loaded)?;
    scribe.close(store)
}

fn closed_script(seed: u64) -> Made<Scribe> {
    let mut scribe = Scribe::new(seed);
    settled(&mut scribe)?;
    merged(&mut scribe)?;
    // A table without a filter; then a log that the close leaves.
    let store = scribe.open(Sizes { filter_bits: 0, ..SIZES })?;
    let changes = [
        scribe.put(ALPHA, "unfiltered", 2_000, 200),
        delete(ALPHA, "text/0001"),
        Change::Drop(PARTED.to_owned()),
    ];
    scribe.commit(&store, &changes, Durability::Buffered)?;
    scribe.flush(&store)?;
    tail(&mut scribe, &store, 2_100)?;
    scribe.close(store)?;
    // One compaction, more log, changes of the catalog.
    let store = scribe.open(Sizes { level_base: level_one(&scribe)? - 1, ..SIZES })?;
    let step = store.step().map_err(told("step"))?;
    if step != Progress::Compacted {
        return Err(format!("the last open was to begin with a compaction, it {step:?}"));
    }
    scribe.look()?;
    create(&mut scribe, &store, "late")?;
    store.rename_database("late", QUIET).map_err(told("rename"))?;
    scribe.committed(|model| {
        let contents = model.remove("late").unwrap_or_default();
        model.insert(QUIET.to_owned(), contents);
    })?;
    tail(&mut scribe, &store, 2_200)?;
    crowd(&mut scribe, &store, 2_300)?;
    scribe.close(store)?;
    Ok(scribe)
}

/// Bytes of level 1.
fn level_one(scribe: &Scribe) -> Made<u64> {
    let env = Arc::new(scribe.env.clone());
    let store = Store::builder().env(env).open_read_only(DIR).map_err(told("open read-only"))?;
    let levels = store.stats().levels;
    let level = levels.iter().find(|level| level.level == 1).ok_or("level 1 is empty")?;
    Ok(level.runs.iter().map(|run| run.bytes).sum())
}

/// Commits of all durabilities: frames of one batch and of several, in the middle of sectors and
/// at their start, vouched for and not.
fn tail(scribe: &mut Scribe, store: &Store, number: u64) -> Made<()> {
    use Durability::{Buffered, Memory, Synced};
    let mix =
        [Buffered, Buffered, Synced, Memory, Memory, Buffered, Synced, Buffered, Buffered, Synced];
    for (n, durability) in (number..).zip(mix) {
        let mut changes = vec![scribe.put(BETA, format_args!("t{n}"), n, 40)];
        if n % 3 == 0 {
            changes.push(delete(ALPHA, format_args!("users/{:03}/profile of a person/2", n % 50)));
        }
        if n % 4 == 0 {
            changes.push(scribe.put(ALPHA, format_args!("tail/{n}"), n, 300));
        }
        scribe.commit(store, &changes, durability)?;
    }
    Ok(())
}

/// How long it takes at most until a commit has lined up.
const LINE_UP: Duration = Duration::from_millis(30);

/// Two commits that line up behind a third, one after the other, and become one group.
fn crowd(scribe: &mut Scribe, store: &Store, number: u64) -> Made<()> {
    for attempt in 0..20 {
        let values = [0, 1, 2].map(|n| scribe.noise(number + 3 * attempt + n, 30));
        let put = |value: Vec<u8>| {
            let store = store.clone();
            move || store.database(BETA)?.put_with("crowd", &value, Durability::Synced)
        };
        let followers = Arc::new(Mutex::new(Vec::new()));
        let (later, starts) = (Arc::clone(&followers), values[1..].to_vec());
        let lined_up: Vec<_> = starts.into_iter().map(put).collect();
        let lined_up = Box::new(move || {
            for follower in lined_up {
                let started = std::thread::spawn(follower);
                later.lock().unwrap_or_else(PoisonError::into_inner).push(started);
                std::thread::sleep(LINE_UP);
            }
        });
        *scribe.meanwhile.lock().unwrap_or_else(PoisonError::into_inner) = Some(lined_up);
        let before = store.stats();
        put(values[0].clone())().map_err(told("commit"))?;
        for follower in followers.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            follower.join().map_err(|_| "a commit panicked")?.map_err(told("commit"))?;
        }
        for value in values {
            scribe.committed(|model| {
                model.entry(BETA.to_owned()).or_default().insert(b"crowd".to_vec(), value);
            })?;
        }
        let after = store.stats();
        if after.commit_groups - before.commit_groups < after.commits - before.commits {
            return Ok(());
        }
    }
    Err("no group of two has come about".to_owned())
}

fn flushed_script(seed: u64) -> Made<Scribe> {
    let mut scribe = Scribe::new(seed);
    let store = scribe.open(SIZES)?;
    for round in 0..2 {
        let puts = (0..5).map(|n| scribe.put(ALPHA, format_args!("f{n}"), round * 10 + n, 50));
        let mut changes: Vec<Change> = puts.collect();
        changes.push(delete(BETA, format_args!("nothing {round}")));
        scribe.commit(&store, &changes, Durability::Synced)?;
        scribe.flush(&store)?;
    }
    scribe.close(store)?;
    Ok(scribe)
}

fn crashed_script(seed: u64) -> Made<Scribe> {
    let mut scribe = Scribe::new(seed);
    let store = scribe.open(SIZES)?;
    let changes: Vec<Change> =
        (0..12).map(|n| scribe.put(ALPHA, format_args!("k{n:02}"), n, 60)).collect();
    scribe.commit(&store, &changes, Durability::Buffered)?;
    store.compact().map_err(told("compact"))?;
    scribe.close(store)?;
    let store = scribe.open(SIZES)?;
    let range = delete_range(ALPHA, "k05", Some("k08"));
    let changes = [scribe.put(BETA, "first", 50, 400), delete(ALPHA, "k03"), range];
    scribe.commit(&store, &changes, Durability::Synced)?;
    scribe.flush(&store)?;
    tail(&mut scribe, &store, 100)?;
    crowd(&mut scribe, &store, 150)?;
    // A full disk stops the next flush when its memtable and its segment have ended already: from
    // here on the log has two segments.
    scribe.env.set_full(true);
    match store.flush() {
        Err(Error::DiskFull { .. }) => {}
        other => return Err(format!("a flush on a full disk gave {other:?}")),
    }
    scribe.env.set_full(false);
    tail(&mut scribe, &store, 200)?;
    scribe.commit(&store, &[delete_range(ALPHA, "k10", None)], Durability::Synced)?;
    let image = scribe.env.kill();
    // What a drop would still write, the killed process did not.
    scribe.env.cut_after(scribe.env.operations());
    drop(store);
    // All is in its segments, and so the stage heals what is damaged there. Another crash takes it.
    for entry in image.list(Path::new(DIR)).map_err(|error| error.to_string())? {
        if let Some(FileName::Stage(_)) = FileName::parse(&entry.name) {
            image.remove(&Path::new(DIR).join(entry.name)).map_err(|error| error.to_string())?;
        }
    }
    scribe.env = image;
    Ok(scribe)
}

impl Set {
    /// The set that a script made, beside its twin: as if it had been killed.
    fn new(name: &'static str, (scribe, twin): (Scribe, Scribe)) -> Made<Self> {
        let files = image::files_of(&scribe.env).map_err(|error| error.to_string())?;
        let twin = image::files_of(&twin.env).map_err(|error| error.to_string())?;
        let Scribe { mut older, states, .. } = scribe;
        older.retain(|name, _| files.contains_key(name));
        let disk = image::disk_of(&files).map_err(|error| error.to_string())?;
        let disk = disk.crash(orlop::env::Keep::Everything);
        let questions = questions(&states);
        let (closed, every_byte) = (false, false);
        let set = Self { name, closed, every_byte, files, older, twin, states, questions, disk };
        set.check()?;
        Ok(set)
    }

    /// The undamaged store reads as it must, and a state is one prefix.
    fn check(&self) -> Made<()> {
        let env = Arc::new(self.disk.crash(orlop::env::Keep::Everything));
        let store =
            Store::builder().env(env).open_read_only(DIR).map_err(told("open read-only"))?;
        let last = self.states.len() - 1;
        model::check(&store, &self.states[last]).map_err(|difference| difference.to_string())?;
        let seqno = store.snapshot().seqno();
        if seqno != last as u64 {
            return Err(format!("{last} commits, and the last has sequence number {seqno}"));
        }
        for (at, state) in self.states.iter().enumerate() {
            if self.states[..at].contains(state) {
                return Err(format!("the state after commit {at} was there before"));
            }
        }
        Ok(())
    }

    /// How many commits there are to be read.
    pub fn commits(&self) -> usize {
        self.states.len() - 1
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> usize {
        self.files.values().map(Vec::len).sum()
    }
}

fn questions(states: &[Model]) -> BTreeMap<String, Questions> {
    let mut questions: BTreeMap<String, Questions> = BTreeMap::new();
    for (name, contents) in states.iter().flatten() {
        let questions = questions.entry(name.clone()).or_default();
        questions.keys.extend(contents.keys().cloned());
    }
    for Questions { keys, misses } in questions.values_mut() {
        keys.sort();
        keys.dedup();
        for key in &*keys {
            let mut before = key.clone();
            before.pop();
            before.extend_from_slice(b"\xff\xff");
            misses.extend([before, [key.as_slice(), b"\0"].concat()]);
        }
        misses.retain(|miss| keys.binary_search(miss).is_err());
    }
    questions
}
