//! `orlop load`: store the entries of a file of text, in batches, or sorted as one bulk load.
//!
//! Each batch is one commit, the end is a sync. Whatever was interrupted is resumed by running
//! the same command again: storing an entry twice gives the same store. A bulk load is one commit, at the end.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use indicatif::ProgressBar;
use orlop::{Batch, BulkLoad, Database, DatabaseOptions, Error, Expiry, Store};

use crate::cli;
use crate::failure::{Answer, Failure};
use crate::keys;
use crate::output::{Output, count, counted, size, time};
use crate::progress;
use crate::text::{self, Line, Lines};

/// Bytes at which a commit ends before it has all its entries.
const BATCH_BYTES: usize = 4 << 20;

/// Bytes of the file that are read at once.
const READ_BYTES: usize = 256 << 10;

/// Bad lines that are printed when they are skipped.
const PRINTED: usize = 10;

pub(crate) fn run(args: &cli::Load) -> Result<Answer, Failure> {
    // The file first: without it no store is created.
    keys::check_name(&args.database)?;
    let (reader, bar) = open_input(&args.file)?;
    let store = Store::open(&args.store)?;
    let database = store.database(&args.database)?;
    let start = std::time::Instant::now();
    let sink = match args.sorted {
        true => Sink::Sorted(begin(&database, args)?),
        false => Sink::Batches { batch: store.batch(), bytes: 0 },
    };
    let mut loader = Loader {
        sink,
        store: &store,
        database,
        args,
        bar,
        stored: 0,
        stored_bytes: 0,
        bad: Bad::default(),
    };
    let outcome = loader.run(reader);
    let Loader { stored, stored_bytes, bad, sink, bar, .. } = loader;
    let outcome = sink.end(outcome, &store, &args.database);
    bar.finish_and_clear();
    if outcome.is_ok() && !store.database(&args.database)?.exists()? {
        // An empty file is the dump of an empty database.
        store.create_database(&args.database, DatabaseOptions::default())?;
    }
    // What came before a bad line is stored, and synced like everything else.
    store.close()?;
    outcome?;
    if args.skip_bad {
        bad.print();
    }
    let mut out = Output::new();
    let took = time(start.elapsed());
    let entries = counted(stored, "entry", "entries");
    out.line(format!("{entries} of {} stored and synced in {took}", size(stored_bytes)))?;
    out.flush()?;
    Ok(Answer::Yes)
}

/// Begins a bulk load, if no other was left unfinished in the database.
fn begin(database: &Database, args: &cli::Load) -> Result<BulkLoad, Failure> {
    if args.discard {
        return Ok(database.bulk_load()?);
    }
    let load = database.resume_bulk_load()?;
    match load.last_key() {
        None => Ok(load),
        Some(last) => {
            let last = crate::text::escape(last);
            let what =
                format!("a bulk load into {} was not finished: it is at \"{last}\"", args.database);
            let hint = "let the program that has begun it finish it, or add --discard";
            Err(Failure::with_hint(what, hint))
        }
    }
}

fn open_input(path: &Path) -> Result<(Box<dyn BufRead>, ProgressBar), Failure> {
    if path == Path::new("-") {
        let stdin = BufReader::with_capacity(READ_BYTES, io::stdin());
        return Ok((Box::new(stdin), progress::counter("bytes loaded")));
    }
    let fail = |error| Failure::input(path, &error);
    let file = File::open(path).map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    if metadata.is_dir() {
        return Err(fail(io::ErrorKind::IsADirectory.into()));
    }
    let bar = match metadata.len() {
        0 => progress::counter("bytes loaded"),
        len => progress::bytes(len, "loading"),
    };
    Ok((Box::new(BufReader::with_capacity(READ_BYTES, file)), bar))
}

struct Loader<'a> {
    store: &'a Store,
    database: Database,
    args: &'a cli::Load,
    bar: ProgressBar,
    sink: Sink,
    stored: u64,
    stored_bytes: u64,
    bad: Bad,
}

/// Where entries go.
enum Sink {
    /// Into batches, each of which is committed when it is large enough.
    Batches { batch: Batch, bytes: usize },
    /// Into tables.
    Sorted(BulkLoad),
}

impl Sink {
    /// Whether it is time for a commit.
    fn is_full(&self, batch_len: usize) -> bool {
        match self {
            Sink::Batches { batch, bytes } => batch.len() >= batch_len || *bytes >= BATCH_BYTES,
            Sink::Sorted(_) => false,
        }
    }

    /// Behind the last entry, or a failure. Of batches everything is committed then.
    fn end(
        self,
        outcome: Result<(), Failure>,
        store: &Store,
        database: &str,
    ) -> Result<(), Failure> {
        let Sink::Sorted(load) = self else { return outcome };
        let ended = match outcome {
            Ok(()) => load.finish().map_err(Failure::from),
            Err(failure) => {
                drop(load);
                Err(failure)
            }
        };
        if ended.is_err() {
            // Nobody will go on with it. What stays where this fails, too, is told by the next one.
            let left = store.database(database).and_then(|database| database.resume_bulk_load());
            let _ = left.and_then(BulkLoad::abandon);
        }
        ended
    }
}

/// Lines of a bulk load between two looks at the progress.
const GLANCE: u64 = 10_000;

impl Loader<'_> {
    fn run(&mut self, reader: impl BufRead) -> Result<(), Failure> {
        let mut lines = Lines::new(reader, text::max_line_len(self.args.format));
        let mut number = 0;
        loop {
            let line = match lines.next() {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(error) => {
                    self.commit()?;
                    return Err(Failure::input(&self.args.file, &error));
                }
            };
            number += 1;
            if let Err(why) = self.line(line)? {
                if !self.args.skip_bad {
                    self.commit()?;
                    return Err(self.bad_line(number, &why));
                }
                self.bad.add(number, why);
            }
            let is_full = self.sink.is_full(self.args.batch as usize);
            if is_full {
                self.commit()?;
            }
            if is_full || number % GLANCE == 0 {
                self.bar.set_position(lines.bytes_read());
            }
        }
        self.commit()
    }

    /// Adds a line's entry to the batch; the inner error says why the line is bad.
    fn line(&mut self, line: Line<'_>) -> Result<Result<(), String>, Failure> {
        let Line::Bytes(line) = line else {
            return Ok(Err("longer than any entry can be".to_owned()));
        };
        let entry = match text::parse(self.args.format, line) {
            Ok(entry) => entry,
            Err(why) => return Ok(Err(why)),
        };
        let len = entry.key.len() + entry.value.len();
        if matches!(&self.sink, Sink::Batches { bytes, .. } if bytes + len > BATCH_BYTES) {
            self.commit()?;
        }
        // As it was dumped, whatever the database would have it by default.
        let expiry = entry.expiry.map_or(Expiry::Never, Expiry::At);
        match &mut self.sink {
            Sink::Batches { batch, bytes } => {
                batch.put_expiring(&self.database, &entry.key, &entry.value, expiry)?;
                *bytes += len;
            }
            Sink::Sorted(load) => match load.put_expiring(&entry.key, &entry.value, expiry) {
                // It is not in order.
                Err(error @ Error::InvalidArgument { .. }) => return Ok(Err(error.to_string())),
                put => {
                    put?;
                    self.stored += 1;
                    self.stored_bytes += len as u64;
                }
            },
        }
        Ok(Ok(()))
    }

    fn commit(&mut self) -> Result<(), Failure> {
        let Sink::Batches { batch, bytes } = &mut self.sink else { return Ok(()) };
        if batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::replace(batch, self.store.batch());
        let (entries, bytes) = (batch.len() as u64, std::mem::take(bytes) as u64);
        batch.commit_with(self.args.durability.into())?;
        self.stored += entries;
        self.stored_bytes += bytes;
        Ok(())
    }

    fn bad_line(&self, number: u64, why: &str) -> Failure {
        let name = match self.args.file.to_str() {
            Some("-") => "stdin".to_owned(),
            _ => self.args.file.display().to_string(),
        };
        let before = match self.stored {
            _ if self.args.sorted => "no entry of it is stored".to_owned(),
            0 => "nothing stands before it".to_owned(),
            1 => "the entry before it is stored".to_owned(),
            stored => format!("the {} entries before it are stored", count(stored)),
        };
        Failure::with_hint(
            format!("{name}, line {number}: {why}"),
            format!("{before}; mend the line and run this again, or add --skip-bad"),
        )
    }
}

/// The bad lines that were skipped.
#[derive(Default)]
struct Bad {
    count: u64,
    first: Vec<(u64, String)>,
}

impl Bad {
    fn add(&mut self, number: u64, why: String) {
        self.count += 1;
        if self.first.len() < PRINTED {
            self.first.push((number, why));
        }
    }

    fn print(&self) {
        let mut err = io::stderr().lock();
        // Stderr may be closed; the entries are stored all the same.
        let _ = writeln!(err, "{} skipped", counted(self.count, "bad line", "bad lines"));
        for (number, why) in &self.first {
            let _ = writeln!(err, "  line {number}: {why}");
        }
        let more = self.count - self.first.len() as u64;
        if more > 0 {
            let _ = writeln!(err, "  and {} more", count(more));
        }
    }
}
