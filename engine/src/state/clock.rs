//! The time of a store.
//!
//! Entries expire by it. It follows the system's clock, but never goes back: not behind a time that it has told, nor,
//! in a later open, behind the last one that the manifest has noted. So what has expired for one reader has expired for
//! all that come later, and what a compaction has left out nobody could see again.

use crate::env::Env;
use crate::sync::{Arc, AtomicU64, Ordering};

/// See the module. Times are milliseconds since 1970.
pub(crate) struct Clock {
    env: Arc<dyn Env>,
    /// The latest time that was told.
    latest: AtomicU64,
}

impl Clock {
    /// A clock that goes on from a time that was noted.
    pub(crate) fn new(env: Arc<dyn Env>, noted: u64) -> Self {
        Self { env, latest: AtomicU64::new(noted) }
    }

    /// The time.
    pub(crate) fn now(&self) -> u64 {
        let now = self.env.now_ms();
        seeded!(ClockGoesBack => return now);
        let latest = self.latest.load(Ordering::Acquire);
        // Seldom news, and looking is cheaper than writing.
        if now <= latest { latest } else { now.max(self.latest.fetch_max(now, Ordering::AcqRel)) }
    }
}

/// The time of one reader.
#[derive(Clone, Copy)]
pub(crate) enum Now<'a> {
    /// One that was looked at before.
    At(u64),
    /// To be looked at if an entry can expire, which most cannot.
    Of(&'a Clock),
}

impl Now<'_> {
    /// Whether an entry with this expiry has expired.
    #[inline]
    pub(crate) fn has_passed(self, expiry: Option<u64>) -> bool {
        match expiry {
            None => false,
            Some(expiry) => expiry <= self.look(),
        }
    }

    #[cold]
    fn look(self) -> u64 {
        match self {
            Now::At(now) => now,
            Now::Of(clock) => clock.now(),
        }
    }
}

#[cfg(test)]
#[cfg(not(any(loom, feature = "shuttle")))]
mod tests {
    use super::*;
    use crate::env::SimEnv;

    #[test]
    fn it_never_goes_back() {
        let env = SimEnv::new(1);
        env.set_now(50);
        let clock = Clock::new(Arc::new(env.clone()), 70);
        assert_eq!(clock.now(), 70);
        env.set_now(90);
        assert_eq!(clock.now(), 90);
        env.set_now(80);
        assert_eq!(clock.now(), 90);
        for (expiry, has_passed) in [(None, false), (Some(90), true), (Some(91), false)] {
            assert_eq!(Now::Of(&clock).has_passed(expiry), has_passed);
            assert_eq!(Now::At(90).has_passed(expiry), has_passed);
        }
    }
}
