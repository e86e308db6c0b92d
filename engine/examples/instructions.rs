//! The reads whose instructions are counted.
//!
//! ```sh
//! .ci/instructions
//! ```
//!
//! `instructions get 20000`: that many gets from a settled store in memory, every block of which was read before. Run
//! under callgrind with two numbers; the difference is what the reads cost, on any machine and however busy it is.

use std::hint::black_box;

use orlop::{Background, Compression, Database, Durability, Progress, Store};

const ENTRIES: u64 = 40_000;

fn key(number: u64) -> [u8; 16] {
    let mut key = *b"0000000000000000";
    let mut rest = number;
    for digit in key.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

/// Numbers in no order, the same each time.
fn numbers() -> impl Iterator<Item = u64> {
    let mut state = 7_u64;
    std::iter::repeat_with(move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % ENTRIES
    })
}

/// Runs of the tables that nobody has merged.
const RUNS: u64 = 4;

/// A store whose entries are settled, or in several runs.
fn filled(settled: bool) -> orlop::Result<(Store, Database)> {
    let builder = Store::builder().durability(Durability::Memory).compression(Compression::None);
    // What a thread of its own does would count as well.
    let store = builder.background(Background::Manual).in_memory()?;
    let database = store.database("counted")?;
    for number in 0..ENTRIES {
        // Every second number; 7919 has no divisor in common with them.
        database.put(key(number * 7919 % ENTRIES * 2), [number as u8; 100])?;
        if !settled && (number + 1) % (ENTRIES / RUNS) == 0 {
            store.flush()?;
        }
    }
    store.flush()?;
    while settled && store.step()? != Progress::Idle {}
    let mut cursor = database.cursor()?;
    while cursor.next()?.is_some() {}
    Ok((store, database))
}

fn read(what: &str, reads: usize, database: &Database) -> orlop::Result<bool> {
    let numbers = numbers().take(reads);
    match what {
        "get" => {
            for number in numbers {
                black_box(database.get(key(number * 2))?);
            }
        }
        "get_with" => {
            for number in numbers {
                black_box(database.get_with(key(number * 2), |value| value[99])?);
            }
        }
        "get of an absent key" => {
            for number in numbers {
                black_box(database.get(key(number * 2 + 1))?);
            }
        }
        "seek" => {
            let mut cursor = database.cursor()?;
            for number in numbers {
                cursor.seek(key(number * 2))?;
                black_box(cursor.next()?);
            }
        }
        "step back" => {
            let mut cursor = database.cursor()?;
            for _ in 0..reads {
                if black_box(cursor.prev()?).is_none() {
                    cursor.seek_last();
                }
            }
        }
        "step" | "step in runs" => {
            let mut cursor = database.cursor()?;
            for _ in 0..reads {
                if black_box(cursor.next()?).is_none() {
                    cursor.seek_first();
                }
            }
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: instructions 'get' | 'get_with' | 'get of an absent key' | 'seek' | 'step' | 'step back' | \
                 'step in runs' READS";
    let (Some(what), Some(reads)) = (arguments.next(), arguments.next()) else {
        return Err(usage.into());
    };
    let (store, database) = filled(what != "step in runs")?;
    if !read(&what, reads.parse()?, &database)? {
        return Err(usage.into());
    }
    Ok(store.close()?)
}
