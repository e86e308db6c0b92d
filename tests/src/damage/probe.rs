//! What the engine makes of a damaged store:
//!
//! 1. open read-only, read everything
//! 2. open for writing, read everything, compact, read everything again, close
//! 3. open read-only again, read everything: also when 2 was refused and 1 was not
//! 4. if nothing was found amiss so far: open, write, do all the background's work, close, and read
//!    what was written
//!
//! "Everything": the names of the databases; of each a scan in both directions, a get of every key
//! that ever was, and of twice as many that never were. Each answer is an error, or it is held
//! against every state that the store may show; the states that it rules out stay ruled out. A
//! wrong answer leaves none.

use std::path::Path;
use std::sync::Arc;

use orlop::env::{Keep, SimEnv};
use orlop::{Background, Error, Progress, Store};

use super::image::{self, Changes, DIR};
use super::reference::{Questions, Set};
use crate::model::{Contents, Model};

/// What was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Opens that were refused.
    pub refused: u32,
    /// Reads, compactions and closes that failed.
    pub failed: u32,
    /// The first error.
    pub error: Option<String>,
    /// The first answer that no allowed state gives.
    pub wrong: Option<String>,
    /// How many commits are seen at least; all of them, if nothing speaks against that.
    pub commits: usize,
    /// Everything was read right and written, or an open for writing was refused that came behind a
    /// read-only one that was not; and then the store did not open again.
    pub broken: bool,
}

/// Reads and compacts a damaged store; see the module. `allowed`: how many commits it may show.
pub fn probe(set: &Set, changes: &Changes, allowed: &[usize]) -> Seen {
    let env = set.disk.crash(Keep::Everything);
    let alive = allowed.to_vec();
    let mut probe = Probe { set, alive, seen: Seen::default(), phase: "" };
    match image::apply(&env, changes) {
        Ok(()) => probe.all(&env),
        Err(error) => probe.seen.wrong = Some(format!("the disk refused the damage: {error}")),
    }
    let Probe { alive, mut seen, .. } = probe;
    seen.commits = alive.last().copied().unwrap_or(0);
    seen
}

/// Steps of the background, at most.
const STEPS: usize = 40;

struct Probe<'a> {
    set: &'a Set,
    /// Numbers of commits whose state gives every answer so far, ascending.
    alive: Vec<usize>,
    seen: Seen,
    phase: &'static str,
}

/// How the probe opens a store for writing: large tables, so that a compaction is quick.
fn open(env: &SimEnv) -> orlop::Result<Store> {
    Store::builder()
        .env(Arc::new(env.clone()))
        .background(Background::Manual)
        .create(false)
        .open(Path::new(DIR))
}

fn open_read_only(env: &SimEnv) -> orlop::Result<Store> {
    Store::builder().env(Arc::new(env.clone())).open_read_only(Path::new(DIR))
}

impl Probe<'_> {
    fn all(&mut self, env: &SimEnv) {
        self.phase = "read-only open";
        match open_read_only(env) {
            Ok(store) => self.everything(&store),
            Err(error) => self.refused(&error),
        }
        let readable = self.seen.refused == 0;
        self.phase = "open for writing";
        let store = match open(env) {
            Ok(store) => store,
            Err(error) => {
                self.refused(&error);
                if readable {
                    self.again(env, true);
                }
                return;
            }
        };
        self.everything(&store);
        self.phase = "compaction";
        if let Err(error) = store.compact() {
            self.failed(&error);
        }
        self.everything(&store);
        self.phase = "close";
        if let Err(error) = store.close() {
            self.failed(&error);
        }
        let readable = self.seen.refused + self.seen.failed == 0;
        self.again(env, readable);
    }

    /// The last open; `readable`: it must not be refused.
    fn again(&mut self, env: &SimEnv, readable: bool) {
        self.phase = "second open";
        match open_read_only(env) {
            Ok(store) => {
                self.everything(&store);
                drop(store);
                if self.seen == Seen::default() {
                    self.phase = "writing on";
                    match self.go_on(env) {
                        // What a store has used up, such as ids, is no damage.
                        Ok(()) | Err(Error::InvalidArgument { .. }) => {}
                        Err(error) => self.failed(&error),
                    }
                }
            }
            Err(error) => {
                self.seen.broken = readable;
                self.refused(&error);
            }
        }
    }

    /// Where nothing was found amiss: writes, does all the background's work, and reads it again.
    fn go_on(&mut self, env: &SimEnv) -> orlop::Result<()> {
        let store = open(env)?;
        store.database("later")?.put("key", "value")?;
        for _ in 0..STEPS {
            if store.step()? == Progress::Idle {
                break;
            }
        }
        store.close()?;
        let found = open_read_only(env)?.database("later")?.get("key")?;
        if found.as_deref() != Some(b"value") {
            self.seen.wrong = Some(format!("{}: a new commit reads {found:?}", self.phase));
        }
        Ok(())
    }

    fn refused(&mut self, error: &Error) {
        self.seen.refused += 1;
        self.note(error);
    }

    fn failed(&mut self, error: &Error) {
        self.seen.failed += 1;
        self.note(error);
    }

    fn note(&mut self, error: &Error) {
        self.seen.error.get_or_insert_with(|| format!("{}: {error}", self.phase));
    }

    /// An answer; `fits` says whether a state gives it.
    fn hold(&mut self, what: impl FnOnce() -> String, fits: impl Fn(&Model) -> bool) {
        self.alive.retain(|commits| fits(&self.set.states[*commits]));
        if self.alive.is_empty() && self.seen.wrong.is_none() {
            self.seen.wrong = Some(format!("{}: {}", self.phase, what()));
        }
    }

    fn everything(&mut self, store: &Store) {
        if self.seen.wrong.is_some() {
            return;
        }
        match store.databases() {
            Ok(names) => self.hold(|| format!("databases {names:?}"), |m| m.keys().eq(&names)),
            Err(error) => self.failed(&error),
        }
        for (name, questions) in &self.set.questions {
            self.database(store, name, questions);
            if self.seen.wrong.is_some() {
                return;
            }
        }
    }

    fn database(&mut self, store: &Store, name: &str, questions: &Questions) {
        let found = store.database(name).and_then(|database| Ok((database.exists()?, database)));
        let database = match found {
            Ok((there, database)) => {
                let what = || format!("database {name} exists: {there}");
                self.hold(what, |model| model.contains_key(name) == there);
                if !there {
                    return;
                }
                database
            }
            Err(error) => return self.failed(&error),
        };
        self.scan(name, database.iter(), false);
        self.scan(name, database.iter().rev(), true);
        for key in questions.keys.iter().chain(&questions.misses) {
            match database.get(key) {
                Ok(value) => self.hold(
                    || format!("get of {:?} in {name}", key.escape_ascii().to_string()),
                    |model| wanted(model, name, key) == value.as_deref(),
                ),
                Err(error) => self.failed(&error),
            }
        }
    }

    fn scan(
        &mut self,
        name: &str,
        entries: impl Iterator<Item = orlop::Result<orlop::Entry>>,
        reverse: bool,
    ) {
        let mut read = Vec::new();
        let (mut error, mut told) = (None, 0);
        for entry in entries {
            match entry {
                Ok(entry) if error.is_none() => read.push(entry),
                Ok(_) => {
                    let what = || format!("{name}: a scan went on behind its error");
                    return self.hold(what, |_| false);
                }
                // It may tell again what went wrong; one that never ends would be a hang of ours.
                Err(_) if error.is_some() && told > 3 => break,
                Err(first) => {
                    told += 1;
                    error.get_or_insert(first);
                }
            }
        }
        let whole = error.is_none();
        let fits = |contents: &Contents| {
            let same = |((key, value), (wanted_key, wanted_value)): (
                &orlop::Entry,
                (&Vec<u8>, &Vec<u8>),
            )| key == wanted_key && **value == wanted_value[..];
            let all = read.len() == contents.len() || !whole && read.len() < contents.len();
            all && if reverse {
                read.iter().zip(contents.iter().rev()).all(same)
            } else {
                read.iter().zip(contents).all(same)
            }
        };
        let what = || format!("{name}: {} entries, reverse {reverse}, whole {whole}", read.len());
        self.hold(what, |model| model.get(name).is_some_and(fits));
        if let Some(error) = error {
            self.failed(&error);
        }
    }
}

fn wanted<'a>(model: &'a Model, name: &str, key: &[u8]) -> Option<&'a [u8]> {
    model.get(name)?.get(key).map(Vec::as_slice)
}
