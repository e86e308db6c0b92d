//! Why a measurement did not come about.

use std::error::Error;
use std::fmt;
use std::io;

/// The outcome of everything that can fail here.
pub(crate) type Result<T, F = Failure> = std::result::Result<T, F>;

/// Why something was not measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The engine has no such thing. No mishap: the table says "n/a" and why.
    Unsupported(String),
    /// The caller asked for what cannot be; says what to ask for instead.
    Usage(String),
    /// The device that holds the stores is full.
    DiskFull(String),
    /// An engine gave a wrong answer. Its rates are worth nothing.
    Wrong(String),
    /// Anything else, from the engine or the system.
    Other(String),
}

impl Failure {
    pub(crate) fn unsupported(why: impl Into<String>) -> Self {
        Self::Unsupported(why.into())
    }

    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::Usage(what.into())
    }

    pub(crate) fn wrong(what: impl Into<String>) -> Self {
        Self::Wrong(what.into())
    }

    pub(crate) fn other(what: impl Into<String>) -> Self {
        Self::Other(what.into())
    }

    /// The same failure, with what was being done in front.
    pub(crate) fn during(self, what: impl fmt::Display) -> Self {
        match self {
            Self::Unsupported(text) => Self::Unsupported(text),
            Self::Usage(text) => Self::Usage(text),
            Self::DiskFull(text) => Self::DiskFull(format!("{what}: {text}")),
            Self::Wrong(text) => Self::Wrong(format!("{what}: {text}")),
            Self::Other(text) => Self::Other(format!("{what}: {text}")),
        }
    }
}

impl Failure {
    /// The text alone, without what [`Display`](fmt::Display) puts around it.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Unsupported(text)
            | Self::Usage(text)
            | Self::DiskFull(text)
            | Self::Wrong(text)
            | Self::Other(text) => text,
        }
    }

    /// What a process that met it exits with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Other(_) => 1,
            Self::Usage(_) => 2,
            Self::DiskFull(_) => 3,
            Self::Wrong(_) => 4,
            Self::Unsupported(_) => 5,
        }
    }

    /// The failure of a process that exited with `code` and said `text`.
    pub(crate) fn from_exit_code(code: i32, text: String) -> Self {
        match code {
            2 => Self::Usage(text),
            3 => Self::DiskFull(text),
            4 => Self::Wrong(text),
            5 => Self::Unsupported(text),
            _ => Self::Other(text),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DiskFull(text) => write!(f, "the disk is full: {text}"),
            Self::Wrong(text) => write!(f, "wrong answer: {text}"),
            Self::Unsupported(text) | Self::Usage(text) | Self::Other(text) => f.write_str(text),
        }
    }
}

/// Every error of every engine becomes a text; a full disk is told apart.
///
/// `Failure` itself is no [`Error`], so that this can take all of them.
impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let text = error.to_string();
        if is_disk_full(&error) { Self::DiskFull(text) } else { Self::Other(text) }
    }
}

fn is_disk_full(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let of_io = error.downcast_ref::<io::Error>().is_some_and(|error| {
            // What an io error wraps is not its source.
            matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
                || error.get_ref().is_some_and(|inner| is_disk_full(inner))
        });
        let of_orlop = error
            .downcast_ref::<orlop::Error>()
            .is_some_and(|error| matches!(error, orlop::Error::DiskFull { .. }));
        // Engines written in C++ hand over a text.
        if of_io || of_orlop || error.to_string().contains("No space left on device") {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_crosses_a_process_unchanged() {
        let makes = [
            Failure::Usage,
            Failure::DiskFull,
            Failure::Wrong,
            Failure::Unsupported,
            Failure::Other,
        ];
        for make in makes {
            let failure = make("so".to_owned());
            let code = i32::from(failure.exit_code());
            assert_eq!(Failure::from_exit_code(code, failure.text().to_owned()), failure);
        }
    }

    #[test]
    fn a_full_disk_is_told_apart_wherever_it_comes_from() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let of_orlop = orlop::Error::DiskFull { path: "f".into() };
        assert!(matches!(Failure::from(full()), Failure::DiskFull(_)));
        assert!(matches!(Failure::from(io::Error::other(full())), Failure::DiskFull(_)));
        assert!(matches!(Failure::from(of_orlop), Failure::DiskFull(_)));
        assert!(matches!(Failure::from(io::Error::other("x")), Failure::Other(_)));
    }
}
