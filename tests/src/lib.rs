//! What the suites share: a model of a store, histories of operations, the check that a recovered
//! store equals one prefix of its history, and the long runs behind `orlop-tests soak`.

pub mod history;
pub mod model;
pub mod process;
pub mod tally;
