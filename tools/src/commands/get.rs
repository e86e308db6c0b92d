//! `orlop get`: print the value of a key.

use crate::cli;
use crate::commands::open_reading;
use crate::failure::{Answer, Failure};
use crate::keys;
use crate::output::Output;

pub(crate) fn run(args: &cli::Get) -> Result<Answer, Failure> {
    let key = keys::parse(&args.key, args.notation, "KEY")?;
    let (_store, database) = open_reading(&args.store, &args.database)?;
    let Some(value) = database.get(key)? else { return Ok(Answer::No) };
    let mut out = Output::new();
    out.bytes(&value)?;
    out.flush()?;
    Ok(Answer::Yes)
}
