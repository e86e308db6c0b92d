//! `orlop delete`: delete a key, or a range of keys. It is no error if they are not there, but the database must be.

use std::ops::Bound;

use crate::cli;
use crate::commands::{existing, open_writing};
use crate::failure::{Answer, Failure};
use crate::keys::{self, Bounds};

pub(crate) fn run(args: &cli::Delete) -> Result<Answer, Failure> {
    keys::check_name(&args.database)?;
    let key = args.key.as_ref().map(|key| keys::parse(key, args.notation, "KEY")).transpose()?;
    let bounds = Bounds::parse(&args.bounds, args.notation)?;
    let store = open_writing(&args.store)?;
    let database = existing(&store, &args.store, &args.database)?;
    let durability = args.durability.map_or_else(|| database.durability(), Into::into);
    match key {
        Some(key) => database.delete_with(key, durability)?,
        None => {
            let end = bounds.end.map_or(Bound::Unbounded, Bound::Excluded);
            database.delete_range_with((Bound::Included(bounds.start), end), durability)?;
        }
    }
    store.close()?;
    Ok(Answer::Yes)
}
