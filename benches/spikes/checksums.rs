//! Which checksum for which length: crc32 or xxh3?
//!
//! ```sh
//! cargo run --release -p orlop-benches --example spike-checksums
//! ```
//!
//! One call for each span of bytes, which are in the processor's cache. Medians of rounds.

use std::hint::black_box;
use std::time::Instant;

use clap::Parser;
use xxhash_rust::xxh3::xxh3_64;

use parts::figures::quantile;

mod parts {
    pub(crate) mod figures;
}

const LENGTHS: [usize; 6] = [64, 116, 128, 512, 4096, 65536];
/// Bytes to sum for one measurement.
const BYTES: usize = 64 << 20;

#[derive(Parser)]
struct Args {
    #[arg(long, default_value_t = 9)]
    rounds: usize,
}

/// Nanoseconds a call.
fn measure<T>(bytes: &[u8], sum: impl Fn(&[u8]) -> T) -> f64 {
    // Short spans cost more for each byte: not so many of them.
    let calls = (BYTES / bytes.len()).min(200_000);
    let begin = Instant::now();
    for _ in 0..calls {
        black_box(sum(black_box(bytes)));
    }
    begin.elapsed().as_nanos() as f64 / calls as f64
}

fn main() {
    let args = Args::parse();
    let mut bytes = vec![0; LENGTHS[LENGTHS.len() - 1]];
    fastrand::fill(&mut bytes);
    println!("| bytes | crc32 ns | GB/s | xxh3 ns | GB/s |\n|---|---|---|---|---|");
    for length in LENGTHS {
        let bytes = &bytes[..length];
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..args.rounds {
            times[0].push(measure(bytes, crc32fast::hash));
            times[1].push(measure(bytes, xxh3_64));
        }
        let [crc32, xxh3] = times.map(|mut times| quantile(&mut times, 0.5));
        let rate = |nanoseconds: f64| length as f64 / nanoseconds;
        print!("| {length} | {crc32:.1} | {:.1} |", rate(crc32));
        println!(" {xxh3:.1} | {:.1} |", rate(xxh3));
    }
}
