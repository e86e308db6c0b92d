//! `orlop delete`: delete a key. It is no error if it is not there, but the database must be.

use crate::cli;
use crate::commands::{existing, open_writing};
use crate::failure::{Answer, Failure};
use crate::keys;

pub(crate) fn run(args: &cli::Delete) -> Result<Answer, Failure> {
    keys::check_name(&args.database)?;
    let key = keys::parse(&args.key, args.notation, "KEY")?;
    let store = open_writing(&args.store)?;
    let database = existing(&store, &args.store, &args.database)?;
    let durability = args.durability.map_or_else(|| database.durability(), Into::into);
    database.delete_with(key, durability)?;
    store.close()?;
    Ok(Answer::Yes)
}
