//! Strategies for property tests (proptest) of programs that stand on Orlop.
//!
//! ```
//! use orlop::sim::strategies;
//! use proptest::prelude::*;
//!
//! proptest!(|(key in strategies::key(), value in strategies::value())| {
//!     let store = orlop::Store::in_memory().unwrap();
//!     let database = store.database("d").unwrap();
//!     database.put(&key, &value).unwrap();
//!     let found = database.get(&key).unwrap();
//!     prop_assert_eq!(found.as_deref(), Some(&value[..]));
//! });
//! ```

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::Index;

use super::{Crash, Death, FaultKind, Moment, SimEnv};
use crate::options::Durability;

/// Keys of 0 to some hundred bytes: few enough to collide often, with shared beginnings, with the
/// bytes 0 and 255, one the beginning of another. They shrink to short ones.
pub fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (0..40_u32).prop_map(|n| format!("key{n:03}").into_bytes()),
        2 => vec(prop_oneof![Just(0_u8), Just(b'k'), Just(255)], 0..5),
        1 => (vec(any::<u8>(), 0..3), 100..300_usize).prop_map(|(tail, shared)| {
            let mut key = vec![b'k'; shared];
            key.extend(tail);
            key
        }),
    ]
}

/// Values of 0 to 40,000 bytes, mostly short, some across sectors, pages and blocks.
pub fn value() -> impl Strategy<Value = Vec<u8>> {
    let of_len = |(byte, len): (u8, usize)| (0..len).map(|at| byte ^ (at / 7) as u8).collect();
    prop_oneof![
        8 => (any::<u8>(), 0..60_usize).prop_map(of_len),
        3 => (any::<u8>(), 480..540_usize).prop_map(of_len),
        2 => (any::<u8>(), 4_000..4_200_usize).prop_map(of_len),
        1 => (any::<u8>(), 5_000..40_000_usize).prop_map(of_len),
    ]
}

/// A durability; it shrinks to [`Durability::Synced`], which promises most.
pub fn durability() -> impl Strategy<Value = Durability> {
    prop_oneof![Just(Durability::Synced), Just(Durability::Buffered), Just(Durability::Memory)]
}

/// A way in which an operation can fail without a lie of the device, for
/// [`SimEnv::fail_at`](super::SimEnv::fail_at).
pub fn fault() -> impl Strategy<Value = FaultKind> {
    prop_oneof![
        Just(FaultKind::Io),
        Just(FaultKind::StorageFull),
        Just(FaultKind::Reverted),
        Just(FaultKind::Late),
        Just(FaultKind::TooManyFiles),
    ]
}

/// A crash somewhere in a run whose length is not known yet.
#[derive(Debug, Clone)]
pub struct AnyCrash {
    moment: Index,
    death: Index,
}

impl AnyCrash {
    /// The crash of a run, and the disk that it leaves. `None` if there are no moments: see
    /// [`SimEnv::keep_moments`](super::SimEnv::keep_moments).
    pub fn of<'a>(&self, moments: &'a [Moment]) -> Option<(Crash, &'a Moment, SimEnv)> {
        if moments.is_empty() {
            return None;
        }
        let moment = self.moment.get(moments);
        let ways = Death::ways(moment, 1);
        let death = *self.death.get(&ways);
        let crash = Crash { operation: moment.operation, death, then: None };
        Some((crash, moment, death.image(&moment.disk)))
    }
}

/// A crash somewhere in a run; it shrinks towards the beginning and towards losing everything.
pub fn crash() -> impl Strategy<Value = AnyCrash> {
    (any::<Index>(), any::<Index>()).prop_map(|(moment, death)| AnyCrash { moment, death })
}
