//! Readers that look while something is written: at every call to the operating system one sees
//! all acknowledged commits, and nothing of the one that is being written.

use std::sync::{Arc, Mutex, PoisonError};

use orlop::Store;
use orlop::env::{Env, SimEnv};

use super::{Budget, play};
use crate::crash::workload::Workload;
use crate::history::{self, Step};
use crate::model::{self, Model};
use crate::watched::WatchedEnv;

/// What a reader must see while a step runs.
#[derive(Default)]
struct Inside {
    store: Option<Store>,
    expected: Model,
    looks: u64,
    found: Option<String>,
}

impl Inside {
    fn look(inside: &Mutex<Inside>) {
        let lock = || inside.lock().unwrap_or_else(PoisonError::into_inner);
        let (store, expected) = {
            let inside = lock();
            (inside.store.clone(), inside.expected.clone())
        };
        let Some(store) = store else { return };
        let seen = model::contents(&store);
        let mut inside = lock();
        inside.looks += 1;
        match seen {
            Ok(seen) if seen == expected => {}
            Ok(_) => inside.found = Some("sees a commit that is not acknowledged".to_owned()),
            Err(error) => inside.found = Some(error.to_string()),
        }
    }
}

pub(super) fn run(budget: &mut Budget) -> Result<u64, String> {
    for script in Workload::scripts() {
        if budget.is_over() {
            break;
        }
        watched(budget, &script).map_err(|found| format!("{script}: {found}"))?;
    }
    Ok(budget.cases())
}

fn watched(budget: &mut Budget, script: &Workload) -> Result<(), String> {
    let inside = Arc::new(Mutex::new(Inside::default()));
    let lock = || inside.lock().unwrap_or_else(PoisonError::into_inner);
    let watch = {
        let inside = Arc::clone(&inside);
        Arc::new(move |_: &'static str| Inside::look(&inside))
    };
    let env: Arc<dyn Env> = Arc::new(WatchedEnv { env: SimEnv::new(5), watch });
    let open = || history::open_on(Arc::clone(&env), script.tree);
    let mut store = open().map_err(|error| error.to_string())?;
    for (at, step) in history::one_by_one(&script.steps).iter().enumerate() {
        lock().store = Some(store.clone()).filter(|_| !matches!(step, Step::Reopen));
        let mut next = lock().expected.clone();
        let done = play::step(&mut store, open, &mut next, step);
        let mut now = lock();
        now.store = None;
        now.expected = next;
        budget.add(std::mem::take(&mut now.looks));
        let found = now.found.take().or(done.err().map(|error| error.to_string()));
        if let Some(found) = found {
            return Err(format!("during step {at} a reader {found}"));
        }
    }
    Ok(())
}
