//! A write that is held on its way to the device, while something else is done.
//!
//! On the disk all is as without it, but for the order: what is done meanwhile is there before the write has
//! landed.

use std::fmt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use orlop::env::{Env, SimEnv};

use crate::watched::WatchedEnv;

/// What is done meanwhile may wait for the write itself: then it lands after this time.
const LONGEST: Duration = Duration::from_millis(200);

/// Who waits for a write says so, and is told when it may land.
type Hold = (Sender<()>, Receiver<()>);

/// Where writes are held.
#[derive(Default)]
pub struct Gate {
    next: Arc<Mutex<Option<Hold>>>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

impl Gate {
    /// The disk with this gate before it.
    pub fn before(&self, env: &SimEnv) -> Arc<dyn Env> {
        let next = Arc::clone(&self.next);
        let watch = move |operation: &'static str| {
            if operation == "reap"
                && let Some((arrived, may_land)) = take(&next)
            {
                // Who is not there any more waits for nothing.
                let _ = arrived.send(());
                let _ = may_land.recv_timeout(LONGEST);
            }
        };
        Arc::new(WatchedEnv { env: env.clone(), watch: Arc::new(watch) })
    }

    /// Does `work`, and before the first write that it waits for has landed, on a thread of its own, something
    /// else; not at all if it waits for none.
    pub fn meanwhile<T, U: Send>(
        &self,
        work: impl FnOnce() -> T,
        other: impl FnOnce() -> U + Send,
    ) -> (T, Option<U>) {
        let (arrived, arrival) = channel();
        let (land, may_land) = channel();
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some((arrived, may_land));
        #[cfg(feature = "seeded-bugs")]
        let bug = orlop::seeded::here();
        thread::scope(|scope| {
            let other = scope.spawn(move || {
                #[cfg(feature = "seeded-bugs")]
                orlop::seeded::plant(bug);
                arrival.recv().ok()?;
                let done = other();
                drop(land);
                Some(done)
            });
            let done = work();
            // Where nothing was waited for, nobody arrives any more.
            drop(take(&self.next));
            match other.join() {
                Ok(other) => (done, other),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

fn take(next: &Mutex<Option<Hold>>) -> Option<Hold> {
    next.lock().unwrap_or_else(PoisonError::into_inner).take()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn what_is_done_meanwhile_is_there_first() {
        let (env, gate) = (SimEnv::new(1), Gate::default());
        let held = gate.before(&env);
        let mut file = held.create_log(Path::new("/a"), 4096).unwrap();
        let write = || {
            file.submit(0, vec![1; 512], true).unwrap();
            file.reap().unwrap();
        };
        let other = gate.meanwhile(write, || held.sync_dir(Path::new("/")).unwrap());
        assert_eq!(other, ((), Some(())));
        let trace = env.trace();
        assert_eq!(trace[1..], ["submit a 0+512 sync", "sync-dir /", "reap a sync"]);
        assert_eq!(gate.meanwhile(|| 1, || 2), (1, None), "nothing is waited for");
    }
}
