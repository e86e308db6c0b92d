//! `orlop databases`: list the databases of a store.

use orlop::Store;

use crate::cli;
use crate::failure::{Answer, Failure};
use crate::output::Output;
use crate::text;

pub(crate) fn run(args: &cli::Databases) -> Result<Answer, Failure> {
    let names = Store::open_read_only(&args.store)?.databases()?;
    let mut out = Output::new();
    if args.json {
        out.json(&serde_json::json!(names))?;
    } else {
        for name in names {
            // One line each, whatever is in a name.
            out.line(text::escape(name.as_bytes()))?;
        }
    }
    out.flush()?;
    Ok(Answer::Yes)
}
