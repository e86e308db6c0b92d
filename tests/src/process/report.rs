//! What a child tells its parent while it runs: records of one size through a pipe, each written
//! with one system call, so that a kill cuts between two of them.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::{SystemTime, UNIX_EPOCH};

use orlop::Durability;

/// Bytes of a record.
pub const LEN: usize = 24;

/// The last bytes of every record.
const MARK: [u8; 4] = *b"orlo";

/// The writer's number in records about the whole store: a sync, an open, a close.
pub const KEEPER: u8 = u8::MAX;

/// The same for flushes and compactions. A store that is poisoned can still say that it has nothing
/// in memory to flush.
pub const FLUSHER: u8 = KEEPER - 1;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The store is open; the number is 1 when an io_uring serves its log.
    Ready,
    /// A commit, or a sync, is about to be asked for.
    Begin,
    /// It has returned: it is worth what its durability says.
    Ack,
    /// It has failed with an error that says that nothing of it happened.
    Refused,
    /// It has failed with an error that leaves open what happened.
    Unknown,
    /// The store says that it is poisoned.
    Poisoned,
    /// The store says that its background work has met an error.
    Background,
    /// The store could not be opened.
    OpenFailed,
    /// The store was closed, and the close reports success.
    Closed,
    /// The close reports an error.
    CloseFailed,
    /// The child saw something that must not be; the text is on its stderr.
    Fatal,
}

const EVENTS: [Event; 11] = [
    Event::Ready,
    Event::Begin,
    Event::Ack,
    Event::Refused,
    Event::Unknown,
    Event::Poisoned,
    Event::Background,
    Event::OpenFailed,
    Event::Closed,
    Event::CloseFailed,
    Event::Fatal,
];

/// The durabilities, from weak to strong.
const DURABILITIES: [Durability; 3] =
    [Durability::Memory, Durability::Buffered, Durability::Synced];

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// What happened.
    pub event: Event,
    /// To whom.
    pub writer: u8,
    /// What the commit is worth once acknowledged.
    pub durability: Durability,
    /// Which commit.
    pub number: u64,
    /// When, in microseconds since 1970: the clock that strace tells, too.
    pub micros: u64,
}

impl Record {
    fn encode(&self) -> [u8; LEN] {
        let position = |at: Option<usize>| at.unwrap_or_default() as u8;
        let mut bytes = [0; LEN];
        bytes[0] = position(EVENTS.iter().position(|event| *event == self.event));
        bytes[1] = self.writer;
        bytes[2] = position(DURABILITIES.iter().position(|d| *d == self.durability));
        bytes[4..12].copy_from_slice(&self.number.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.micros.to_le_bytes());
        bytes[20..].copy_from_slice(&MARK);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Record> {
        let word = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        (bytes.get(20..LEN)? == MARK).then_some(())?;
        Some(Record {
            event: *EVENTS.get(usize::from(bytes[0]))?,
            writer: bytes[1],
            durability: *DURABILITIES.get(usize::from(bytes[2]))?,
            number: word(4)?,
            micros: word(12)?,
        })
    }
}

/// The records in what came through the pipe.
///
/// # Errors
/// One line, when it is no row of records: then the harness itself is wrong.
pub fn decode_all(bytes: &[u8]) -> Result<Vec<Record>, String> {
    if !bytes.len().is_multiple_of(LEN) {
        return Err(format!("the pipe ended inside a record, after {} bytes", bytes.len()));
    }
    let record = |(at, bytes)| Record::decode(bytes).ok_or(format!("record {at} is none"));
    bytes.chunks(LEN).enumerate().map(record).collect()
}

/// Microseconds since 1970.
pub fn now() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since_1970.as_micros() as u64
}

/// The child's end of the pipe: its stdout, without a buffer.
#[derive(Debug)]
pub struct Reporter {
    pipe: File,
}

impl Reporter {
    /// Takes stdout for the pipe.
    ///
    /// # Errors
    /// When there is no stdout.
    pub fn on_stdout() -> io::Result<Self> {
        Ok(Self { pipe: File::from(io::stdout().as_fd().try_clone_to_owned()?) })
    }

    /// Tells something. Without anybody to tell it to, the child ends.
    pub fn tell(&self, event: Event, writer: u8, durability: Durability, number: u64) {
        let record = Record { event, writer, durability, number, micros: now() };
        if (&self.pipe).write_all(&record.encode()).is_err() {
            std::process::exit(4);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_the_pipe_and_a_broken_one_is_noticed() {
        let mut bytes = Vec::new();
        let mut records = Vec::new();
        for (number, event) in EVENTS.into_iter().enumerate() {
            let durability = DURABILITIES[number % 3];
            let record = Record { event, writer: 2, durability, number: number as u64, micros: 77 };
            bytes.extend(record.encode());
            records.push(record);
        }
        assert_eq!(decode_all(&bytes), Ok(records));
        assert!(decode_all(&bytes[1..]).is_err());
        bytes[LEN] = 99;
        assert!(decode_all(&bytes).is_err());
    }
}
