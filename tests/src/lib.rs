//! What the suites share: a model of a store, histories of operations, and the check that a
//! recovered store equals one prefix of its history.

pub mod history;
pub mod model;
