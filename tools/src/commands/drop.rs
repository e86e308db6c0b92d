//! `orlop drop`: drop a database.

use crate::cli;
use crate::commands::{existing, open_writing};
use crate::failure::{Answer, Failure};
use crate::keys;

pub(crate) fn run(args: &cli::Drop) -> Result<Answer, Failure> {
    keys::check_name(&args.database)?;
    let store = open_writing(&args.store)?;
    existing(&store, &args.store, &args.database)?;
    store.drop_database(&args.database)?;
    store.close()?;
    Ok(Answer::Yes)
}
