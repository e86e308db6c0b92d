//! Corruption, the quick part: a sample of every kind of damage to both reference stores, and that
//! the harness sees what it is there to see.
//!
//! `cargo run --release -p orlop-tests -- damage` tries all of it.

use std::time::Duration;

use orlop_tests::damage::{self, Scope};
use orlop_tests::tally::Limits;

#[global_allocator]
static MEMORY: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;

#[test]
fn a_sample_of_every_damage_is_told_or_harmless() {
    let scope = Scope { every: 61, ..Scope::default() };
    let tally = damage::run_scope(&Limits::of(Duration::from_secs(60), 7, 2), &scope);
    println!("{tally}");
    assert!(tally.failures().is_empty(), "{tally}");
}
