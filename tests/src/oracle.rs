//! The oracle: what a crash or a fault has left must equal one state of the history, not older than
//! what was promised, through every read path, and its files must be sound.

use std::fmt;

use orlop::env::SimEnv;
use orlop::{Error, Store};

use crate::history::{Promise, Tree, open, open_read_only};
use crate::model::{self, Difference, Model};

/// What is wrong with what a crash or a fault has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// It does not open.
    Unopenable(String),
    /// It lacks commits that were promised.
    Lost(String),
    /// It equals no prefix of the history.
    NoPrefix(String),
    /// Two reads do not agree, or the structure is not sound.
    Read(String),
    /// A read failed.
    Told(String),
    /// It acknowledged what it could not keep.
    FalseAck(String),
}

impl Wrong {
    /// The count that it raises.
    pub fn count(&self) -> &'static str {
        match self {
            Wrong::Unopenable(_) => "unopenable",
            Wrong::Lost(_) => "lost",
            Wrong::NoPrefix(_) => "half",
            Wrong::Read(_) | Wrong::Told(_) => "wrong",
            Wrong::FalseAck(_) => "false_acks",
        }
    }
}

impl From<Difference> for Wrong {
    fn from(difference: Difference) -> Self {
        match difference {
            Difference::Failed(error) => Wrong::Told(error),
            Difference::Found(what) => Wrong::Read(what),
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Unopenable(what) => write!(f, "unopenable: {what}"),
            Wrong::Lost(what) => write!(f, "lost: {what}"),
            Wrong::NoPrefix(what) => write!(f, "no prefix: {what}"),
            Wrong::Read(what) => write!(f, "wrong read: {what}"),
            Wrong::Told(what) => write!(f, "failed read: {what}"),
            Wrong::FalseAck(what) => write!(f, "false acknowledgement: {what}"),
        }
    }
}

/// Opens what a crash has left, read-only and for writing, and finds the commit that it equals,
/// between `least` and the last one that was begun.
///
/// # Errors
/// What is [`Wrong`], in one line.
pub fn recovered(
    env: &SimEnv,
    tree: Tree,
    promise: &Promise,
    least: usize,
) -> Result<(Store, usize), Wrong> {
    let possible = promise.states.get(..=promise.begun).unwrap_or(&promise.states);
    examine(env, tree, possible, least)
}

/// As [`recovered`], given the states that are possible.
///
/// # Errors
/// As [`recovered`].
pub fn examine(
    env: &SimEnv,
    tree: Tree,
    possible: &[Model],
    least: usize,
) -> Result<(Store, usize), Wrong> {
    let told = |error: Error| Wrong::Told(error.to_string());
    let read_only = match open_read_only(env) {
        Ok(store) => Some(model::contents(&store).map_err(told)?),
        Err(Error::StoreMissing { .. }) if least == 0 => None,
        Err(error) => return Err(Wrong::Unopenable(format!("read-only: {error}"))),
    };
    let store = open(env, tree).map_err(|error| Wrong::Unopenable(error.to_string()))?;
    let found = model::contents(&store).map_err(told)?;
    if read_only.is_some_and(|seen| seen != found) {
        return Err(Wrong::Read("the read-only open saw something else than recovery".to_owned()));
    }
    // States can repeat: the latest that fits is the one to compare with.
    let Some(k) = possible.iter().rposition(|state| *state == found) else {
        let shape: Vec<_> = found.iter().map(|(name, entries)| (name, entries.len())).collect();
        return Err(Wrong::NoPrefix(format!("it holds {shape:?}")));
    };
    if k < least {
        let what = format!("only {k} commits are there, {least} were promised");
        return Err(Wrong::Lost(what));
    }
    model::check(&store, &found).map_err(Wrong::from)?;
    orlop::sim::structure(&store).map_err(|error| Wrong::Read(error.to_string()))?;
    Ok((store, k))
}
