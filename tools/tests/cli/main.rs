//! The command line as a person or a script meets it: output, exit codes, what is left on disk.

#![allow(
    clippy::unwrap_used,
    reason = "a test panics; its helpers are outside of what clippy counts as one"
)]

mod basics;
mod bounds;
mod harness;
mod inspect;
mod refusals;
mod text;
mod tour;
mod verify;
