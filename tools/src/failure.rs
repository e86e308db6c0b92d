//! How a command ends: with an answer, or with a failure that says what to do.

use std::fmt;
use std::io;
use std::path::Path;

/// What a command that could run has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Exit code 0.
    Yes,
    /// Exit code 1.
    No,
}

/// Why a command could not run. Exit code 2, but for the closed pipe.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The engine refused.
    Engine(orlop::Error),
    /// Nobody reads what is printed: the reader has seen enough.
    ClosedPipe,
    /// Anything else: what it is, and on a second line what to do.
    Other { what: String, hint: Option<String> },
}

impl Failure {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Failure::Other { what: what.into(), hint: None }
    }

    pub(crate) fn with_hint(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Failure::Other { what: what.into(), hint: Some(hint.into()) }
    }

    /// Writing to stdout failed.
    pub(crate) fn output(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::ClosedPipe,
            io::ErrorKind::StorageFull => Failure::with_hint(
                "the disk is full: the output is incomplete",
                "free some space and run the command again",
            ),
            _ => Failure::new(format!("cannot write the output: {error}")),
        }
    }

    /// Reading a file that the user named failed.
    pub(crate) fn input(path: &Path, error: &io::Error) -> Self {
        let path = path.display();
        match error.kind() {
            io::ErrorKind::NotFound => {
                Failure::with_hint(format!("there is no file {path}"), "check the path")
            }
            io::ErrorKind::IsADirectory => {
                Failure::with_hint(format!("{path} is a directory"), "name a file")
            }
            _ => Failure::new(format!("cannot read {path}: {error}")),
        }
    }

    /// A database that a command needs does not exist.
    pub(crate) fn no_database(name: &str, store: &Path) -> Self {
        Failure::with_hint(
            format!("no database {name:?} in {}", store.display()),
            format!("`orlop databases {}` lists those there are", store.display()),
        )
    }
}

impl From<orlop::Error> for Failure {
    fn from(error: orlop::Error) -> Self {
        Failure::Engine(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Engine(error) => {
                error.fmt(f)?;
                hint(error).map_or(Ok(()), |hint| write!(f, "\n       {hint}"))
            }
            Failure::ClosedPipe => f.write_str("nobody reads the output"),
            Failure::Other { what, hint: None } => f.write_str(what),
            Failure::Other { what, hint: Some(hint) } => write!(f, "{what}\n       {hint}"),
        }
    }
}

/// What to do about an error of the engine, where its own words do not say it.
fn hint(error: &orlop::Error) -> Option<&'static str> {
    match error {
        orlop::Error::Io { op, source, .. } => match source.kind() {
            io::ErrorKind::NotFound if *op == "create directory" => {
                Some("only the last part of a path is created: make the directories above it first")
            }
            io::ErrorKind::NotFound if *op == "open" || *op == "read" => {
                Some("the store has lost a file: `orlop verify` lists what is missing")
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Some("check owner and permissions; commands that only read need no right to write")
            }
            _ => None,
        },
        orlop::Error::DiskFull { .. } => Some("once there is space, run the command again"),
        orlop::Error::NotAStore { found, .. } if found.contains("SUPER") => {
            Some("restore SUPER from a copy; `orlop inspect` reads the other files one by one")
        }
        orlop::Error::NotAStore { .. } => {
            Some("name the directory of a store, or a path that does not exist to create one")
        }
        _ => None,
    }
}
