//! The lines of `SimEnv::trace`, taken apart.

/// One operation of the simulated disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Op {
    Create(String),
    /// A file, an offset, a length.
    Submit(String, u64, u64, Sync),
    /// The same with nothing but zeros.
    Fill(String, Sync),
    Reap(String),
    Write(String, u64, u64),
    SetLen(String),
    Sync(String),
    SyncDir(String),
    Rename(String, String),
    Remove(String),
    Lock,
    /// What no rule looks at.
    Other,
}

/// Whether a write is to be synced.
pub(super) type Sync = bool;

impl Op {
    /// What a line of the trace says.
    pub(super) fn of(line: &str) -> Op {
        let mut words = line.split(' ');
        let verb = words.next().unwrap_or_default();
        let name = words.next().unwrap_or_default().to_owned();
        let rest = words.next().unwrap_or_default();
        let (offset, len) = rest.split_once('+').unwrap_or_default();
        let number = |text: &str| text.parse().unwrap_or(0);
        let (offset, len) = (number(offset), number(len));
        match verb {
            "create" => Op::Create(name),
            "submit" => match words.next() {
                Some("zeros") => Op::Fill(name, words.next() == Some("sync")),
                sync => Op::Submit(name, offset, len, sync == Some("sync")),
            },
            "reap" => Op::Reap(name),
            "write" => Op::Write(name, offset, len),
            "set-len" => Op::SetLen(name),
            "sync" => Op::Sync(name),
            "sync-dir" => Op::SyncDir(name),
            "rename" => Op::Rename(name, rest.to_owned()),
            "remove" => Op::Remove(name),
            "lock" => Op::Lock,
            _ => Op::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_apart() {
        let log = || "000001.log".to_owned();
        assert_eq!(Op::of("submit 000001.log 128+64 sync"), Op::Submit(log(), 128, 64, true));
        assert_eq!(Op::of("submit 000001.log 128+64"), Op::Submit(log(), 128, 64, false));
        assert_eq!(Op::of("submit 000001.log 0+64 zeros sync"), Op::Fill(log(), true));
        assert_eq!(Op::of("sync-dir store"), Op::SyncDir("store".to_owned()));
        assert_eq!(Op::of("rename A B"), Op::Rename("A".to_owned(), "B".to_owned()));
        assert_eq!(Op::of("create-dir store"), Op::Other);
    }
}
