//! What do the slowest puts wait for?
//!
//! ```sh
//! cargo run --release -p orlop-benches --example spike-stalls -- --rounds 3
//! ```
//!
//! One thread puts 100 bytes at a time over a million keys, `Buffered` and paced; a put counts from when it was due.
//! Of each put that took longer than `--late` it is told how long its thread ran meanwhile, how long it waited for a
//! processor that somebody else had, and how long it slept; a thread that the host stopped seems to run.

use std::error::Error;
use std::fmt::Write;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;
use orlop::{Compression, Durability, Store};

use rustix::time::{ClockId, clock_gettime};

use parts::figures::quantile;

mod parts {
    pub(crate) mod figures;
}

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Parser)]
struct Args {
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Puts a second.
    #[arg(long, default_value_t = 150_000.0)]
    pace: f64,
    /// Microseconds from which on a put is late.
    #[arg(long, default_value_t = 200.0)]
    late: f64,
    /// Keys.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Seconds of puts as fast as they go beforehand, whose compactions then go on beside the paced ones.
    #[arg(long, default_value_t = 0.0)]
    burst: f64,
    /// Opens the store anew before the paced puts: nothing is warm then.
    #[arg(long)]
    reopen: bool,
    /// Milliseconds between the open and the first paced put.
    #[arg(long, default_value_t = 0)]
    pause: u64,
    /// Shows every late put.
    #[arg(long)]
    each: bool,
    /// Where to make directories for the stores.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

/// How long this thread ran, and waited for a processor.
struct Account(File);

impl Account {
    fn open() -> Outcome<Self> {
        Ok(Self(File::open("/proc/thread-self/schedstat")?))
    }

    fn read(&mut self) -> Outcome<(Duration, Duration)> {
        let mut text = [0; 64];
        self.0.rewind()?;
        let len = self.0.read(&mut text)?;
        let mut words = text[..len].split(|byte| byte.is_ascii_whitespace());
        let waited = std::str::from_utf8(words.nth(1).ok_or("a short schedstat")?)?.parse()?;
        let ran = clock_gettime(ClockId::ThreadCPUTime);
        let ran = Duration::new(ran.tv_sec as u64, ran.tv_nsec as u32);
        Ok((ran, Duration::from_nanos(waited)))
    }
}

/// Where the time of late puts went, in milliseconds.
#[derive(Default, Clone, Copy)]
struct Late {
    puts: usize,
    took: f64,
    ran: f64,
    waited: f64,
}

/// The clocks are read as often, if no put is due.
const INTERVAL: Duration = Duration::from_micros(100);

fn round(args: &Args) -> Outcome<([f64; 4], Late)> {
    let home = tempfile::tempdir_in(&args.dir)?;
    let open = || {
        let store = Store::builder().durability(Durability::Buffered);
        store.compression(Compression::None).open(home.path().join("store"))
    };
    let mut store = open()?;
    let mut database = store.database("d")?;
    let value = [7; 100];
    for number in 0..args.keys {
        database.put(format!("{number:016}"), value)?;
    }
    store.settle()?;
    if args.reopen {
        drop(database);
        store.close()?;
        store = open()?;
        database = store.database("d")?;
    }
    let burst = Instant::now();
    while burst.elapsed().as_secs_f64() < args.burst {
        database.put(format!("{:016}", fastrand::u64(..args.keys)), value)?;
    }
    std::thread::sleep(Duration::from_millis(args.pause));
    let mut account = Account::open()?;
    // Nothing is allocated meanwhile: who allocates can wait for others that do.
    let mut took = Vec::with_capacity((args.pace * args.seconds) as usize + 1);
    let (mut key, mut late) = (String::with_capacity(16), Late::default());
    let clock = Instant::now();
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let (mut read_at, mut before) = (clock.elapsed(), account.read()?);
    for number in 0_u64.. {
        let due = Duration::from_secs_f64(number as f64 / args.pace);
        if due.as_secs_f64() > args.seconds {
            break;
        }
        if clock.elapsed() < due && read_at + INTERVAL < due {
            (before, read_at) = (account.read()?, clock.elapsed());
        }
        while clock.elapsed() < due {
            std::hint::spin_loop();
        }
        let begun = clock.elapsed();
        key.clear();
        write!(key, "{:016}", fastrand::u64(..args.keys))?;
        database.put(&key, value)?;
        let end = clock.elapsed();
        took.push((end - due).as_secs_f64() * 1e6);
        if (end - begun).as_secs_f64() * 1e6 < args.late {
            continue;
        }
        let after = account.read()?;
        let (took, ran) = (millis(end - begun), millis(after.0 - before.0));
        let ran = (ran - millis(begun - read_at)).max(0.0);
        let waited = millis(after.1 - before.1);
        if args.each {
            let at = millis(begun);
            eprintln!("{at:9.1} ms: {took:.2} ms, ran {ran:.2}, waited {waited:.2}");
        }
        late.puts += 1;
        late.took += took;
        late.ran += ran;
        late.waited += waited;
        (before, read_at) = (after, clock.elapsed());
    }
    let mut of = |part| quantile(&mut took, part);
    Ok(([of(0.5), of(0.99), of(0.999), of(1.0)], late))
}

fn main() -> Outcome<()> {
    let args = Args::parse();
    println!(
        "{:>9}{:>9}{:>9}{:>10}{:>7}{:>9}{:>9}{:>9}{:>9}",
        "p50 us", "p99", "p99.9", "max", "late", "took ms", "ran", "waited", "slept"
    );
    for _ in 0..args.rounds {
        let done = std::thread::scope(|scope| scope.spawn(|| round(&args)).join());
        let ([p50, p99, p999, max], late) = done.map_err(|_| "the writer panicked")??;
        let Late { puts, took, ran, waited } = late;
        let slept = (took - ran - waited).max(0.0);
        println!(
            "{p50:>9.2}{p99:>9.1}{p999:>9.0}{max:>10.0}{puts:>7}{took:>9.1}{ran:>9.1}{waited:>9.1}{slept:>9.1}"
        );
    }
    Ok(())
}
