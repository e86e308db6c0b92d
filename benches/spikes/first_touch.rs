//! What does it cost to ask the system for a block before it is touched?
//!
//! ```sh
//! cargo run --release -p orlop-benches --example spike-first-touch
//! ```
//!
//! Blocks of a mapped file are touched for the first time, one byte of each page, in order and in no order, with and
//! without `Mapping::populate` before. Warm: the file is in the page cache. Cold: `dd` has thrown it out. Medians of
//! rounds, nanoseconds a block.

use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use orlop::env::{Env, PosixEnv};

const FILE: usize = 128 << 20;
/// A block of 4 KiB with its checksum, which begins anywhere in a page.
const BLOCK: usize = 4104;
const BLOCKS: usize = FILE / BLOCK;
const ROUNDS: usize = 7;
/// Of a cold file only so many blocks are touched in a round.
const COLD: usize = 2000;

fn throw_out(path: &Path) -> std::io::Result<()> {
    let file = format!("if={}", path.display());
    Command::new("dd").args([&file, "iflag=nocache", "count=0"]).output().map(drop)
}

/// The order of the blocks.
fn order(shuffled: bool) -> impl Iterator<Item = usize> {
    (0..BLOCKS).map(move |at| if shuffled { at * 7919 % BLOCKS } else { at })
}

fn round(path: &Path, cold: bool, shuffled: bool, ask: bool) -> std::io::Result<f64> {
    if cold {
        throw_out(path)?;
    }
    let map = PosixEnv::new().map(path)?;
    let count = if cold { COLD } else { BLOCKS };
    let begin = Instant::now();
    for at in order(shuffled).take(count) {
        let range = at * BLOCK..(at + 1) * BLOCK;
        if ask {
            map.populate(range.clone())?;
        }
        let bytes = map.bytes().get(range).unwrap_or_default();
        black_box(bytes.iter().step_by(512).fold(0_u64, |sum, byte| sum + u64::from(*byte)));
    }
    Ok(begin.elapsed().as_nanos() as f64 / count as f64)
}

fn main() -> std::io::Result<()> {
    let dir = tempfile::tempdir_in(".")?;
    let path = dir.path().join("f");
    let bytes: Vec<u8> = (0..FILE).map(|at| (at * 31) as u8).collect();
    std::fs::write(&path, bytes)?;
    std::fs::File::open(&path)?.sync_all()?;
    for cold in [false, true] {
        for shuffled in [false, true] {
            let mut medians = [0.0; 2];
            let mut figures = [const { Vec::new() }; 2];
            for _ in 0..ROUNDS {
                for (ask, figures) in [false, true].into_iter().zip(&mut figures) {
                    figures.push(round(&path, cold, shuffled, ask)?);
                }
            }
            for (median, figures) in medians.iter_mut().zip(&mut figures) {
                figures.sort_by(f64::total_cmp);
                *median = figures.get(ROUNDS / 2).copied().unwrap_or_default();
            }
            let [touched, asked] = medians;
            println!(
                "{} {}: touched {touched:.0} ns, asked for and touched {asked:.0} ns",
                if cold { "cold" } else { "warm" },
                if shuffled { "in no order" } else { "in order" },
            );
        }
    }
    Ok(())
}
