//! A made-up run for tests: several engines that differ from each other and from workload to
//! workload, with noise, in the classes in which a real run has them.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::catalog::{Figure, Group, WORKLOADS, Workload};
use crate::engine::{Class, Table};
use crate::options::Options;
use crate::record::{
    EngineFacts, Latency, Machine, Measurement, Noise, Outcome, Resources, Round, Run,
};
use crate::shape::{KeyShape, Shape};

struct Engine {
    name: &'static str,
    speed: f64,
    shipped: Class,
    compression: Option<&'static str>,
}

const fn engine(name: &'static str, speed: f64, shipped: Class) -> Engine {
    Engine { name, speed, shipped, compression: Some("LZ4") }
}

/// sled has no buffered writes and LMDB no compression.
const ENGINES: [Engine; 7] = [
    engine("orlop", 1.0, Class::Synced),
    engine("rocksdb", 0.75, Class::Buffered),
    engine("fjall", 0.5, Class::Buffered),
    engine("redb", 0.3, Class::Synced),
    Engine { compression: None, ..engine("lmdb", 0.9, Class::Synced) },
    engine("sled", 0.25, Class::Memory),
    engine("null", 30.0, Class::Memory),
];

const ENTRIES: u64 = 100_000;

/// A whole run of so many rounds.
pub(super) fn run(rounds: u32) -> (Run, Vec<Round>) {
    let run = Run {
        options: options(rounds),
        machine: machine(),
        command:
            "cargo run --release -p orlop-benches --features fjall,rocksdb -- run --peers all \
                  --out published"
                .to_owned(),
        engines: ENGINES.iter().map(facts).collect(),
    };
    let mut random = fastrand::Rng::with_seed(5);
    let mut all = Vec::new();
    for round in 1..=rounds {
        for table in &run.options.tables {
            for workload in WORKLOADS {
                add(&mut all, &mut random, round, *table, workload);
            }
        }
    }
    (run, all)
}

/// Gives engines exact rates in a workload.
pub(super) fn set_rates(rounds: &mut [Round], workload: &str, rates: &[(&str, f64)]) {
    change(rounds, workload, rates, |measurement, rate| {
        measurement.operations = rate.round() as u64;
        measurement.seconds = 1.0;
    });
}

/// Gives engines exact times in a workload.
pub(super) fn set_seconds(rounds: &mut [Round], workload: &str, times: &[(&str, f64)]) {
    change(rounds, workload, times, |measurement, seconds| measurement.seconds = seconds);
}

/// Gives engines so many timed operations in a workload.
pub(super) fn set_samples(rounds: &mut [Round], workload: &str, samples: &[(&str, u64)]) {
    for round in rounds.iter_mut().filter(|round| round.workload == workload) {
        let value = samples.iter().find(|(engine, _)| *engine == round.engine);
        if let (Some((_, samples)), Outcome::Measured(measurement)) = (value, &mut round.outcome)
            && let Some(latency) = &mut measurement.latency
        {
            latency.samples = *samples;
        }
    }
}

/// Lets each round with a fixed load carry a share of it.
pub(super) fn set_carried(rounds: &mut [Round], share: impl Fn(&Round) -> f64) {
    for round in rounds {
        let share = share(round);
        let Outcome::Measured(measurement) = &mut round.outcome else { continue };
        if let Some(load) = measurement.extra.get("load") {
            measurement.operations = (share * load * measurement.seconds).round() as u64;
        }
        if let Some(load) = measurement.extra.get("writer_load").copied() {
            measurement.extra.insert("writer_rate".to_owned(), share * load);
        }
    }
}

/// Calls a workload something else.
pub(super) fn rename(rounds: &mut [Round], workload: &str, name: &str) {
    let renamed = rounds.iter_mut().filter(|round| round.workload == workload);
    renamed.for_each(|round| round.workload = name.to_owned());
}

/// Lets others disturb one round of an engine, in the uncompressed table.
pub(super) fn make_loud(rounds: &mut [Round], workload: &str, engine: &str, number: u32) {
    for round in rounds.iter_mut().filter(|round| round.round == number) {
        if round.engine == engine
            && round.workload == workload
            && round.table == Table::Uncompressed
            && let Outcome::Measured(measurement) = &mut round.outcome
        {
            measurement.noise.steal = 0.5;
        }
    }
}

fn change(
    rounds: &mut [Round],
    workload: &str,
    values: &[(&str, f64)],
    to: impl Fn(&mut Measurement, f64),
) {
    for round in rounds.iter_mut().filter(|round| round.workload == workload) {
        let value = values.iter().find(|(engine, _)| *engine == round.engine);
        if let (Some((_, value)), Outcome::Measured(measurement)) = (value, &mut round.outcome) {
            to(measurement, *value);
        }
    }
}

fn options(rounds: u32) -> Options {
    Options {
        engines: ENGINES.iter().map(|engine| engine.name.to_owned()).collect(),
        workloads: WORKLOADS.iter().map(|workload| workload.name.to_owned()).collect(),
        tables: vec![Table::Uncompressed, Table::Compressed, Table::Shipped],
        rounds,
        entries: ENTRIES,
        shape: Shape { key_shape: KeyShape::Decimal, key_size: 16, value_size: 100 },
        seconds: 1.5,
        fill_seconds: 10.0,
        cache: 1 << 30,
        read_load: 50_000.0,
        write_load: 20_000.0,
        sync_load: 2_000.0,
        seed: 1,
    }
}

fn machine() -> Machine {
    Machine {
        processor: "Some Processor (model 1, 3.0 GHz)".to_owned(),
        cores: 4,
        memory_bytes: 16 << 30,
        kernel: "Linux 6.18.0".to_owned(),
        filesystem: "ext4 (rw,noatime)".to_owned(),
        device: "vda, scheduler none, read-ahead 128 KiB, cache write back".to_owned(),
        compiler: "rustc 1.95.0, release, built for x86_64 with AVX2 and newer instructions"
            .to_owned(),
        commit: "0123456789ab".to_owned(),
        date: "2026-11-21".to_owned(),
    }
}

fn facts(engine: &Engine) -> EngineFacts {
    EngineFacts {
        name: engine.name.to_owned(),
        version: "1.2.3".to_owned(),
        settings: format!("As the documentation of {} says.", engine.name),
        compression: engine.compression.map(str::to_owned),
        shipped_class: engine.shipped,
    }
}

/// One round of a workload on every engine, in the order in which they are declared.
fn add(
    rounds: &mut Vec<Round>,
    random: &mut fastrand::Rng,
    round: u32,
    table: Table,
    workload: &'static Workload,
) {
    // What slows all engines of a round down alike.
    let together = spread(random, 0.1);
    for engine in &ENGINES {
        for (class, refused) in places(engine, table, workload) {
            let outcome = match refused {
                Some(why) => Outcome::Unsupported(why.to_owned()),
                None => Outcome::Measured(Box::new(measure(random, engine, workload, together))),
            };
            rounds.push(Round {
                round,
                engine: engine.name.to_owned(),
                workload: workload.name.to_owned(),
                table,
                class,
                started: 1_800_000_000 + rounds.len() as u64,
                outcome,
            });
        }
    }
}

/// The classes in which an engine takes part, and why it cannot where it cannot.
fn places(
    engine: &Engine,
    table: Table,
    workload: &Workload,
) -> Vec<(Class, Option<&'static str>)> {
    let in_table = match table {
        Table::Uncompressed => true,
        Table::Compressed => workload.compressed,
        Table::Shipped => ["fillrandom", "readrandom"].contains(&workload.name),
    };
    match (table, engine.name) {
        _ if !in_table => vec![],
        (Table::Shipped, _) => vec![(engine.shipped, None)],
        (Table::Compressed, "lmdb") => vec![(Class::Buffered, Some("has no compression"))],
        _ if matches!(workload.group, Group::Sync | Group::Mixed) => vec![(Class::Synced, None)],
        (Table::Compressed, "sled") => vec![(Class::Memory, None)],
        (_, "sled") if workload.writes => {
            let why = "has no buffered writes; see its class";
            vec![(Class::Buffered, Some(why)), (Class::Memory, None)]
        }
        (Table::Uncompressed, "orlop" | "null") if workload.writes => {
            vec![(Class::Buffered, None), (Class::Memory, None)]
        }
        (_, "sled") => vec![(Class::Memory, None)],
        _ => vec![(Class::Buffered, None)],
    }
}

fn measure(
    random: &mut fastrand::Rng,
    engine: &Engine,
    workload: &Workload,
    together: f64,
) -> Measurement {
    let character = 2.0 * hashed(&(engine.name, workload.name)) - 1.0;
    let speed = engine.speed * (1.2 * character).exp() * together * spread(random, 0.04);
    let full = 400_000.0 * (0.1 + hashed(&workload.name)) * speed;
    let (operations, seconds, extra) = match workload.figure {
        Figure::Rate => ((full * 1.5) as u64, 1.5, BTreeMap::new()),
        Figure::Time => (1, 0.02 / speed, BTreeMap::new()),
        Figure::Latency => {
            let extra = [("load".to_owned(), 20_000.0)].into();
            ((30_000.0 * (2.0 * speed).min(1.0)) as u64, 1.5, extra)
        }
    };
    let user_bytes = if workload.writes { operations * 116 } else { 0 };
    let base = workload.group == Group::Load || workload.group.needs_base();
    let user_bytes = if workload.name == "settle" { ENTRIES * 116 } else { user_bytes };
    let stored = if base { ENTRIES * 116 } else { user_bytes } as f64;
    let mut measurement = Measurement {
        operations,
        seconds,
        threads: 1,
        checked: operations,
        user_bytes,
        latency: Some(latency(random, workload, speed)),
        timeline: timeline(random, engine, operations, seconds),
        resources: Resources {
            cpu_seconds: seconds * 1.1,
            read_bytes: 0,
            written_bytes: (user_bytes as f64 * (1.0 + 3.0 * hashed(&engine.name))) as u64,
            anonymous_bytes: 80 << 20,
            mapped_bytes: 120 << 20,
            disk_bytes: (stored * (1.0 + hashed(&engine.name))) as u64,
        },
        noise: Noise { steal: 0.001, foreign: 0.004 },
        extra,
        remark: workload.writes.then(|| format!("{} says that all is well", engine.name)),
    };
    if workload.name == "readwhilewriting" {
        measurement.extra.insert("writer_rate".to_owned(), 19_950.0);
        measurement.extra.insert("writer_load".to_owned(), 20_000.0);
    }
    if workload.name == "readrandomcold" {
        measurement.extra.insert("store_read".to_owned(), 0.87);
    }
    measurement
}

fn latency(random: &mut fastrand::Rng, workload: &Workload, speed: f64) -> Latency {
    let typical = 2500.0 / speed * spread(random, 0.05);
    let at = |nines: f64| (typical * 3.0_f64.powf(nines)) as u64;
    let curve = (0..=16).map(|step| f64::from(step) / 4.0);
    Latency {
        samples: 100_000,
        open_loop: workload.figure == Figure::Latency,
        mean: typical * 1.2,
        p50: at(0.3),
        p90: at(1.0),
        p99: at(2.0),
        p999: at(3.0),
        max: at(5.0),
        curve: curve.map(|nines| (1.0 - 10.0_f64.powf(-nines), at(nines))).collect(),
    }
}

/// Steady work, with a stall now and then for engines that compact.
fn timeline(
    random: &mut fastrand::Rng,
    engine: &Engine,
    operations: u64,
    seconds: f64,
) -> Vec<u64> {
    let tenths = (seconds * 10.0) as usize;
    let each = operations as f64 / tenths.max(1) as f64;
    let stalls = !matches!(engine.name, "lmdb" | "null");
    (0..tenths)
        .map(|at| {
            let stalled = stalls && at % 9 == 7;
            let share = if stalled { 0.05 } else { spread(random, 0.1) };
            (each * share) as u64
        })
        .collect()
}

/// A factor around 1.
fn spread(random: &mut fastrand::Rng, deviation: f64) -> f64 {
    // The sum of twelve even draws is close enough to a normal one.
    let normal = (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
    (deviation * normal).exp()
}

/// A number from 0 to 1 that is the same in every test.
fn hashed(what: &impl Hash) -> f64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish() as f64 / u64::MAX as f64
}
