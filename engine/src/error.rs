//! The one error of the engine: what went wrong, where, what was expected, what to do.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use orlop_formats::error::{DecodeError, Reason};

use crate::sync::Arc;

/// What an operation on a store can fail with.
///
/// Every variant names the place and, in its `Display`, says what to do next. The error is
/// `Clone`, because one failed sync is told to every commit that waited for it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused an operation.
    Io {
        /// What was being done, as a verb: "create", "sync", …
        op: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The disk is full. Nothing was lost; freeing space resumes work without a reopen.
    DiskFull {
        /// The file that could not grow.
        path: PathBuf,
    },
    /// Bytes on disk are not what was written.
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// What, at which offset, expected and found.
        source: DecodeError,
    },
    /// There is nothing at this path.
    StoreMissing {
        /// The path that was opened.
        path: PathBuf,
    },
    /// There is something at this path, but it is not a store.
    NotAStore {
        /// The path that was opened.
        path: PathBuf,
        /// What was found there.
        found: String,
    },
    /// The store was written by a newer version.
    TooNew {
        /// The file that says so.
        path: PathBuf,
        /// What this version can read.
        expected: String,
        /// What the file asks for.
        found: String,
    },
    /// Another process, or another handle of this one, has the store open for writing.
    Locked {
        /// The store.
        path: PathBuf,
        /// The process that holds the lock, when it said so.
        pid: Option<u32>,
    },
    /// A write to a store that was opened read-only.
    ReadOnly,
    /// The store was closed.
    Closed,
    /// A log write or sync failed earlier: the store takes no more writes, reads go on.
    Poisoned {
        /// The failure that poisoned it.
        cause: String,
    },
    /// A key, value, name or batch over its limit.
    TooLarge {
        /// What was too large.
        what: &'static str,
        /// The limit in bytes.
        limit: u64,
        /// The size that was given, in bytes.
        found: u64,
    },
    /// A database name that the store does not take.
    InvalidName {
        /// The name as given.
        name: String,
        /// Which rule it breaks.
        why: &'static str,
    },
    /// The handle's database was dropped or renamed.
    DatabaseDropped {
        /// The name of the database.
        name: String,
    },
    /// No database has this name.
    DatabaseMissing {
        /// The name that was asked for.
        name: String,
    },
    /// A database with this name exists already.
    DatabaseExists {
        /// The name that was asked for.
        name: String,
    },
    /// A handle of one store was used with another store.
    WrongStore,
    /// An option or argument outside its range.
    InvalidArgument {
        /// Which one.
        what: &'static str,
        /// What is expected of it.
        expected: String,
        /// What was given.
        found: String,
    },
}

/// What the engine's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Wraps a failure of the operating system; a full disk becomes [`Error::DiskFull`], except
    /// when a sync reports it: then bytes that were taken are lost, which is worse.
    pub(crate) fn io(op: &'static str, path: &Path, source: io::Error) -> Self {
        let full =
            matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        if full && !op.starts_with("sync") {
            return Error::DiskFull { path: path.to_owned() };
        }
        Error::Io { op, path: path.to_owned(), source: Arc::new(source) }
    }

    /// Wraps bytes of `path` that could not be decoded.
    pub(crate) fn decode(path: &Path, source: DecodeError) -> Self {
        match source.reason {
            Reason::TooNew => Error::TooNew {
                path: path.to_owned(),
                expected: source.expected,
                found: source.found,
            },
            _ => Error::Corrupt { path: path.to_owned(), source },
        }
    }

    /// Corruption that the engine found itself, outside any decoder.
    pub(crate) fn corrupt(
        path: &Path,
        what: &'static str,
        offset: u64,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Error::Corrupt {
            path: path.to_owned(),
            source: DecodeError::corrupt(what, offset, expected, found),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { op, path, source } => write!(f, "cannot {op} {}: {source}", path.display()),
            Error::DiskFull { path } => write!(
                f,
                "disk full while writing {}: free some space, the store resumes by itself",
                path.display()
            ),
            Error::Corrupt { path, source } => write!(
                f,
                "corrupt file {}: {source}; `orlop verify` lists every damaged place",
                path.display()
            ),
            Error::StoreMissing { path } => {
                write!(
                    f,
                    "no store at {}: check the path, or create one by writing",
                    path.display()
                )
            }
            Error::NotAStore { path, found } => {
                write!(f, "{} is not a store: {found}", path.display())
            }
            Error::TooNew { path, expected, found } => write!(
                f,
                "{} was written by a newer version: expected {expected}, found {found}; upgrade to open it",
                path.display()
            ),
            Error::Locked { path, pid: Some(pid) } => {
                write!(
                    f,
                    "store {} is locked by pid {pid}: close it there, or open read-only",
                    path.display()
                )
            }
            Error::Locked { path, pid: None } => {
                write!(f, "store {} is locked: close it there, or open read-only", path.display())
            }
            Error::ReadOnly => write!(f, "the store is open read-only: open it for writing"),
            Error::Closed => write!(f, "the store is closed: open it again"),
            Error::Poisoned { cause } => write!(
                f,
                "the store takes no more writes since a log write or sync failed ({cause}): reads go on, reopen to write"
            ),
            Error::TooLarge { what, limit, found } => {
                write!(f, "{what} of {found} bytes is over the limit of {limit} bytes")
            }
            Error::InvalidName { name, why } => {
                write!(f, "invalid database name {name:?}: {why}")
            }
            Error::DatabaseDropped { name } => {
                write!(
                    f,
                    "database {name:?} was dropped or renamed: ask the store for a new handle"
                )
            }
            Error::DatabaseMissing { name } => {
                write!(f, "no database {name:?} in this store: `databases` lists them")
            }
            Error::DatabaseExists { name } => {
                write!(f, "database {name:?} exists already: drop it first or take another name")
            }
            Error::WrongStore => write!(f, "the handle belongs to another store"),
            Error::InvalidArgument { what, expected, found } => {
                write!(f, "invalid {what}: expected {expected}, found {found}")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source.as_ref()),
            Error::Corrupt { source, .. } => Some(source),
            _ => None,
        }
    }
}
