//! One thread with many durable commits on their way.
//!
//! A commit that is waited for takes as long as the device does. [`orlop::Batch::submit`] gives a handle at
//! once, and the commits that are on their way share syncs:
//!
//! ```sh
//! cargo run --release -p orlop --example pending -- DIR
//! ```
//!
//! It makes a store in DIR, or in a temporary directory that goes at the end, and says how many synced commits
//! a second one thread makes of it, by how many of them are on their way.

use std::collections::VecDeque;
use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use orlop::{Database, Durability, Store};

/// How long each depth is measured.
const TIME: Duration = Duration::from_secs(1);

/// Commits in a second, with so many on their way.
fn rate(store: &Store, events: &Database, depth: usize) -> orlop::Result<f64> {
    let mut on_their_way = VecDeque::with_capacity(depth);
    let (begun, mut count) = (Instant::now(), 0_u64);
    while begun.elapsed() < TIME {
        let mut batch = store.batch();
        batch.put(events, count.to_be_bytes(), [7; 100])?;
        on_their_way.push_back(batch.submit_with(Durability::Synced));
        count += 1;
        if on_their_way.len() == depth
            && let Some(oldest) = on_their_way.pop_front()
        {
            oldest.wait()?;
        }
    }
    for commit in on_their_way {
        commit.wait()?;
    }
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}

fn main() -> Result<(), Box<dyn Error>> {
    let temporary = tempfile::tempdir()?;
    let dir = std::env::args_os().nth(1).map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let store = Store::open(dir.join("pending.orlop"))?;
    let events = store.database("events")?;
    println!("on their way | commits a second, all on the device");
    for depth in [1, 4, 16, 64, 256, 1024] {
        println!("{depth:>12} | {:.0}", rate(&store, &events, depth)?);
    }
    store.close()?;
    Ok(())
}
