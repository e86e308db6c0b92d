//! What the suites share: a model of a store, histories of operations, the check that a recovered
//! store equals one prefix of its history, and the long runs behind `orlop-tests soak`.

pub mod changes;
pub mod checks;
pub mod crash;
pub mod damage;
pub mod dice;
pub mod fuzz;
pub mod held;
pub mod history;
pub mod model;
pub mod oracle;
pub mod process;
#[cfg(feature = "shuttle")]
pub mod schedules;
#[cfg(feature = "seeded-bugs")]
pub mod seeded;
pub mod soak;
pub mod tally;
pub mod watched;
pub mod ways;
