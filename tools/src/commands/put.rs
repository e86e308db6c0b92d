//! `orlop put`: write one value.

use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

use orlop::{Expiry, Store};
use orlop_formats::limits::MAX_VALUE_LEN;

use crate::cli;
use crate::failure::{Answer, Failure};
use crate::keys;

pub(crate) fn run(args: &cli::Put) -> Result<Answer, Failure> {
    // Everything that can be refused is refused before a store is created.
    keys::check_name(&args.database)?;
    let key = keys::parse(&args.key, args.notation, "KEY")?;
    let value = value(args)?;
    keys::check_value(value.len())?;

    let store = Store::open(&args.store)?;
    let database = store.database(&args.database)?;
    let durability = args.durability.map_or_else(|| database.durability(), Into::into);
    match expiry(args) {
        Some(expiry) => database.put_expiring_with(key, value, expiry, durability)?,
        None => database.put_with(key, value, durability)?,
    }
    store.close()?;
    Ok(Answer::Yes)
}

fn expiry(args: &cli::Put) -> Option<Expiry> {
    let after = args.expires_in.map(|time| Expiry::After(Duration::from_millis(time)));
    after.or(args.expires_at.map(Expiry::At))
}

fn value(args: &cli::Put) -> Result<Vec<u8>, Failure> {
    if let Some(path) = &args.value_file {
        let fail = |error| Failure::input(path, &error);
        let file = File::open(path).map_err(fail)?;
        let len = file.metadata().map_err(fail)?.len();
        keys::check_value(usize::try_from(len).unwrap_or(usize::MAX))?;
        return read_bounded(file).map_err(fail);
    }
    match &args.value {
        Some(value) if value == "-" => read_bounded(io::stdin().lock())
            .map_err(|error| Failure::new(format!("cannot read the value from stdin: {error}"))),
        Some(value) => Ok(value.as_encoded_bytes().to_vec()),
        None => Err(Failure::new("no value: name one, or - for stdin, or --value-file FILE")),
    }
}

/// Reads no more than what shows that a value is over the limit.
fn read_bounded(from: impl Read) -> io::Result<Vec<u8>> {
    let mut value = Vec::new();
    from.take(MAX_VALUE_LEN as u64 + 1).read_to_end(&mut value)?;
    Ok(value)
}
