//! What can be typed: the commands, their arguments and their help.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::failure::Failure;

/// Look inside, load, dump, verify and try out Orlop stores.
#[derive(Debug, Parser)]
#[command(name = "orlop", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 fine; 1 the answer is no (get: no such key; verify: findings); \
2 could not run.\nKeys that begin with a dash: put them behind `--`.\nNew here? `orlop tour`"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what a store does, on your own files, a real crash included
    Tour(Tour),
    /// The process that `tour` kills
    #[command(name = "tour-child", hide = true)]
    TourChild(TourChild),
    /// Write one value; the store and the database are created if missing
    Put(Put),
    /// Print the value of a key, byte for byte; exit 1 if there is none
    Get(Get),
    /// Delete a key, or a range of keys; it is no error if they are not there
    Delete(Delete),
    /// List the databases of a store
    Databases(Databases),
    /// Drop a database and everything in it
    Drop(Drop),
    /// Print the entries of a database in key order, or a range of them
    Scan(Scan),
    /// Store the entries of a file; run it again to resume after an interruption
    Load(Load),
    /// Print every entry of a database, in a form that `load` takes
    Dump(Dump),
    /// Merge all sstables into one level: the smallest and fastest shape
    Compact(StoreOnly),
    /// Print the figures of a store, and its files by kind
    Stats(StoreAndJson),
    /// Check every byte of every file of a store, also of one that does not open
    Verify(StoreAndJson),
    /// Print what is in one file of a store, field by field
    Inspect(Inspect),
}

/// What clap says over many lines, in two: what is wrong, and what to do.
pub(crate) fn bad_usage(error: &clap::Error) -> Failure {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Failure::with_hint(
            "no command",
            "`orlop --help` lists them; new here? `orlop tour`",
        );
    }
    let text = error.to_string();
    let mut paragraphs = text
        .split("\n\n")
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    let what = paragraphs.next().unwrap_or_default();
    let what = what.strip_prefix("error: ").unwrap_or(&what).to_owned();
    let hints: Vec<String> = paragraphs.filter(|text| !text.starts_with("For more")).collect();
    let hint = hints.into_iter().next().unwrap_or("`orlop --help` says how".to_owned());
    Failure::with_hint(what, hint)
}

/// What a commit is worth when it is acknowledged. The end of a command syncs in any case.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Durability {
    /// In the process
    Memory,
    /// In memory that the kernel owns: survives a kill
    Buffered,
    /// On the device: survives power loss
    Synced,
}

impl From<Durability> for orlop::Durability {
    fn from(durability: Durability) -> Self {
        match durability {
            Durability::Memory => Self::Memory,
            Durability::Buffered => Self::Buffered,
            Durability::Synced => Self::Synced,
        }
    }
}

/// The forms that are read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TextFormat {
    /// key, a tab, value; control bytes, backslash and what is not UTF-8 escaped: \t \n \r \\ \xNN
    Tsv,
    /// {"key":"…","value":"…"}, or key_b64, value_b64 for what is not UTF-8
    Ndjson,
}

/// The forms that are only written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScanFormat {
    /// key, a tab, value; control bytes, backslash and what is not UTF-8 escaped: \t \n \r \\ \xNN
    Tsv,
    /// {"key":"…","value":"…"}, or key_b64, value_b64 for what is not UTF-8
    Ndjson,
    /// key, a tab, value, both in hexadecimal
    Hex,
}

/// How keys and bounds are written.
#[derive(Debug, Clone, Copy, Args)]
#[group(multiple = false)]
pub(crate) struct Notation {
    /// Keys and bounds are given in hexadecimal
    #[arg(long)]
    pub(crate) hex: bool,
    /// Keys and bounds are given in base64
    #[arg(long)]
    pub(crate) base64: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Tour {
    /// Where the store goes; run it twice on one DIR to see it grow [default: a new one in the
    /// system's temporary directory]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct TourChild {
    pub(crate) store: PathBuf,
    pub(crate) prefix: String,
}

#[derive(Debug, Args)]
pub(crate) struct Put {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// The database
    pub(crate) database: String,
    /// The key
    pub(crate) key: OsString,
    /// The value, or `-` to read it from stdin
    #[arg(required_unless_present = "value_file")]
    pub(crate) value: Option<OsString>,
    /// Read the value from a file
    #[arg(long, value_name = "FILE", conflicts_with = "value")]
    pub(crate) value_file: Option<PathBuf>,
    /// The value is gone after so many milliseconds
    #[arg(long, value_name = "MS", conflicts_with = "expires_at")]
    pub(crate) expires_in: Option<u64>,
    /// The value is gone at this time, in milliseconds since 1970
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) expires_at: Option<u64>,
    #[command(flatten)]
    pub(crate) notation: Notation,
    /// What the commit is worth before the final sync [default: that of the database]
    #[arg(long)]
    pub(crate) durability: Option<Durability>,
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// The database
    pub(crate) database: String,
    /// The key
    pub(crate) key: OsString,
    #[command(flatten)]
    pub(crate) notation: Notation,
}

/// Bounds of keys as they are typed.
#[derive(Debug, Args)]
pub(crate) struct TypedBounds {
    /// Only keys that begin with this
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) prefix: Option<OsString>,
    /// Only this key and greater ones
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) from: Option<OsString>,
    /// Only keys less than this one
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) to: Option<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// The database
    pub(crate) database: String,
    /// The key
    #[arg(required_unless_present_any = ["prefix", "from", "to"], conflicts_with_all = ["prefix", "from", "to"])]
    pub(crate) key: Option<OsString>,
    #[command(flatten)]
    pub(crate) bounds: TypedBounds,
    #[command(flatten)]
    pub(crate) notation: Notation,
    /// What the commit is worth before the final sync [default: that of the database]
    #[arg(long)]
    pub(crate) durability: Option<Durability>,
}

#[derive(Debug, Args)]
pub(crate) struct Databases {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// Print a JSON array
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Drop {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// The database
    pub(crate) database: String,
}

#[derive(Debug, Args)]
pub(crate) struct Scan {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// The database
    pub(crate) database: String,
    #[command(flatten)]
    pub(crate) bounds: TypedBounds,
    #[command(flatten)]
    pub(crate) notation: Notation,
    /// From the greatest key down
    #[arg(long)]
    pub(crate) reverse: bool,
    /// Print at most so many entries
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Leave the values out
    #[arg(long)]
    pub(crate) keys_only: bool,
    /// How entries are printed
    #[arg(long, default_value = "tsv")]
    pub(crate) format: ScanFormat,
}

#[derive(Debug, Args)]
pub(crate) struct Load {
    /// The store's directory; created if missing
    pub(crate) store: PathBuf,
    /// The database; created if missing
    pub(crate) database: String,
    /// The file, or `-` for stdin
    pub(crate) file: PathBuf,
    /// How entries are written in the file
    #[arg(long, default_value = "tsv")]
    pub(crate) format: TextFormat,
    /// The lines are in the order of their keys, of which no two are alike: all are one commit, and go straight into tables
    #[arg(long, conflicts_with_all = ["durability", "batch"])]
    pub(crate) sorted: bool,
    /// With --sorted: give up what an unfinished bulk load has left in the database
    #[arg(long, requires = "sorted")]
    pub(crate) discard: bool,
    /// What each commit is worth; the end syncs in any case
    #[arg(long, default_value = "buffered")]
    pub(crate) durability: Durability,
    /// Entries in one commit, which also ends at 4 MiB
    #[arg(long, value_name = "N", default_value = "1000",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batch: u32,
    /// Go on behind bad lines; count them and print the first ten
    #[arg(long)]
    pub(crate) skip_bad: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Dump {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// The database
    pub(crate) database: String,
    /// How entries are printed
    #[arg(long, default_value = "tsv")]
    pub(crate) format: TextFormat,
}

#[derive(Debug, Args)]
pub(crate) struct StoreOnly {
    /// The store's directory
    pub(crate) store: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct StoreAndJson {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The file
    pub(crate) path: PathBuf,
    /// Print one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
    /// Also list the entries of an sstable
    #[arg(long)]
    pub(crate) entries: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
