//! One step after the other, on a store and on its model.

use orlop::Store;

use crate::history::{self, Step};
use crate::model::Model;

/// Does one step. `open` is asked when the step is a reopen.
pub(super) fn step(
    store: &mut Store,
    open: impl FnOnce() -> orlop::Result<Store>,
    model: &mut Model,
    step: &Step,
) -> orlop::Result<()> {
    match step {
        Step::Commit(changes, durability) => {
            history::batch(store, changes, model)?.commit_with(*durability)
        }
        Step::Flight(..) | Step::Beside(..) => Ok(()), // whoever plays has taken it apart
        Step::Load(name, changes, is_finished) => {
            model.entry(name.clone()).or_default();
            if *is_finished {
                changes.iter().for_each(|change| change.apply(model));
            }
            history::load(store, name, changes, *is_finished)
        }
        Step::Sync => store.sync(),
        Step::Flush => store.flush(),
        Step::Compact => store.compact(),
        Step::Background => store.step().map(drop),
        Step::Snapshot => Ok(()), // whoever plays holds snapshots of its own
        Step::Reopen => {
            store.clone().close()?;
            *store = open()?;
            Ok(())
        }
    }
}
