//! The order of a run: round by round, and inside a round group by group, each on all engines in a
//! random order. So what is compared ran shortly after each other (A B A B ...), and no engine
//! always comes first.

use std::collections::HashSet;
use std::fmt;
use std::time::SystemTime;

use fastrand::Rng;

use crate::catalog::{self, Group, SHIPPED, Workload};
use crate::engine::{self, Class, Kind, Table};
use crate::failure::Result;
use crate::options::Options;
use crate::record::{Outcome, Round};

/// The groups in the order in which a round takes them. Those on the base store come last, in the
/// order in which they work on it.
const ORDER: &[Group] = &[
    Group::FillSeq,
    Group::FillBatch,
    Group::FillRandom,
    Group::BulkLoad,
    Group::Sync,
    Group::Mixed,
    Group::Large,
    Group::Spaces,
    Group::Prefix,
    Group::Crash,
    Group::Load,
    Group::Read,
    Group::Cold,
    Group::Open,
    Group::Update,
];

/// One process, or two for a crash: a group of workloads on one engine.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) round: u32,
    pub(super) engine: String,
    pub(super) group: Group,
    pub(super) table: Table,
    pub(super) class: Class,
    pub(super) workloads: Vec<String>,
    /// Why the engine cannot do this at all, if it cannot.
    pub(super) refused: Option<String>,
    /// Whether nothing of this round works on the base store after it.
    pub(super) ends_base: bool,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "round {} {} {} {}", self.round, self.engine, self.table, self.class)
    }
}

/// What tells one round of one workload from all others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Name {
    round: u32,
    engine: String,
    table: Table,
    class: Class,
    workload: String,
}

impl Name {
    pub(super) fn of(round: &Round) -> Self {
        Self {
            round: round.round,
            engine: round.engine.clone(),
            table: round.table,
            class: round.class,
            workload: round.workload.clone(),
        }
    }
}

impl Step {
    /// Whether everything that it measures has been.
    pub(super) fn is_done(&self, done: &HashSet<Name>) -> bool {
        self.workloads.iter().all(|workload| {
            done.contains(&Name {
                round: self.round,
                engine: self.engine.clone(),
                table: self.table,
                class: self.class,
                workload: workload.clone(),
            })
        })
    }

    /// The rounds of a step that cannot be.
    pub(super) fn refuse(&self, why: &str) -> Vec<Round> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let round = |workload: &String| Round {
            round: self.round,
            engine: self.engine.clone(),
            workload: workload.clone(),
            table: self.table,
            class: self.class,
            started: now.as_ref().map_or(0, |time| time.as_secs()),
            outcome: Outcome::Unsupported(why.to_owned()),
        };
        self.workloads.iter().map(round).collect()
    }
}

/// Every step of a run, in order.
pub(super) fn steps(options: &Options) -> Result<Vec<Step>> {
    let kinds: Vec<_> =
        options.engines.iter().map(|name| engine::find(name)).collect::<Result<_>>()?;
    let mut steps = Vec::new();
    for round in 1..=options.rounds {
        for table in &options.tables {
            let from = steps.len();
            let groups: &[Group] = if *table == Table::Shipped { &[Group::Shipped] } else { ORDER };
            for group in groups {
                add_group(&mut steps, options, &kinds, (round, *table, *group))?;
            }
            mark_ends(&mut steps[from..]);
        }
    }
    Ok(steps)
}

fn add_group(
    steps: &mut Vec<Step>,
    options: &Options,
    kinds: &[&'static Kind],
    (round, table, group): (u32, Table, Group),
) -> Result<()> {
    let workloads = wanted(options, table, group)?;
    if workloads.is_empty() {
        return Ok(());
    }
    let seed = options.seed ^ (u64::from(round) << 16) ^ ((group as u64) << 8) ^ table as u64;
    let mut random = Rng::with_seed(seed);
    for class in classes(kinds, table, group) {
        let mut order = kinds.to_vec();
        random.shuffle(&mut order);
        for kind in order {
            let (class, refused) = match place(kinds, kind, table, group, class) {
                Place::Elsewhere => continue,
                Place::Here(class) => (class, None),
                Place::Nowhere(why) => (class, Some(why)),
            };
            steps.push(Step {
                round,
                engine: kind.name.to_owned(),
                group,
                table,
                class,
                workloads: workloads.clone(),
                refused,
                ends_base: false,
            });
        }
    }
    Ok(())
}

/// The workloads of a group that were asked for and belong into the table.
fn wanted(options: &Options, table: Table, group: Group) -> Result<Vec<String>> {
    let chosen = options.workloads.iter().map(|name| catalog::find(name));
    let chosen: Vec<&Workload> = chosen.collect::<Result<_>>()?;
    let fits = |workload: &&&Workload| match table {
        Table::Uncompressed => workload.group == group,
        Table::Compressed => workload.group == group && workload.compressed,
        Table::Shipped => SHIPPED.contains(&workload.name),
    };
    Ok(chosen.iter().filter(fits).map(|workload| workload.name.to_owned()).collect())
}

/// The durability classes that a group is measured in.
fn classes(kinds: &[&Kind], table: Table, group: Group) -> Vec<Class> {
    match group {
        Group::Sync | Group::Mixed => vec![Class::Synced],
        // What a killed process had in its memory nobody expects to find again.
        Group::Shipped | Group::Crash => vec![Class::Buffered],
        _ if table == Table::Compressed => vec![Class::Buffered],
        _ if kinds.iter().any(|kind| !kind.can(Class::Buffered)) => {
            vec![Class::Buffered, Class::Memory]
        }
        _ => vec![Class::Buffered],
    }
}

enum Place {
    /// It is measured, with writes of this class.
    Here(Class),
    /// It cannot be, and why.
    Nowhere(String),
    /// It is measured in another class.
    Elsewhere,
}

/// Whether and how an engine takes part in a group's row of `class`.
///
/// Engines without buffered writes stand in rows of the memory class, and Orlop beside them; in
/// what only reads, the class of the store does not matter and every engine is there once.
fn place(kinds: &[&Kind], kind: &Kind, table: Table, group: Group, class: Class) -> Place {
    if table == Table::Shipped {
        return Place::Here(kind.shipped_class);
    }
    if table == Table::Compressed && kind.compression.is_none() {
        return match class {
            Class::Buffered => Place::Nowhere("has no compression".to_owned()),
            _ => Place::Elsewhere,
        };
    }
    let buffered = kind.can(Class::Buffered);
    let only_reads = !catalog::of(group).any(|workload| workload.writes);
    match class {
        Class::Synced if kind.can(class) => Place::Here(class),
        Class::Synced => Place::Nowhere("has no synced writes".to_owned()),
        Class::Buffered if buffered => Place::Here(class),
        Class::Buffered if only_reads => Place::Elsewhere,
        Class::Buffered if table == Table::Compressed => Place::Here(weakest(kind)),
        Class::Buffered => Place::Nowhere("has no buffered writes; see its class".to_owned()),
        Class::Memory if !buffered => Place::Here(weakest(kind)),
        Class::Memory if only_reads => Place::Elsewhere,
        Class::Memory => {
            let beside = matches!(kind.name, "orlop" | "null") || kinds.len() == 1;
            if beside && kind.can(class) { Place::Here(class) } else { Place::Elsewhere }
        }
    }
}

fn weakest(kind: &Kind) -> Class {
    kind.classes.iter().copied().min().unwrap_or(Class::Memory)
}

/// Finds the last step on each base store.
fn mark_ends(steps: &mut [Step]) {
    let mut seen = HashSet::new();
    for step in steps.iter_mut().rev() {
        let on_base = step.group == Group::Load || step.group.needs_base();
        if on_base && step.refused.is_none() {
            step.ends_base = seen.insert((step.engine.clone(), step.class));
        }
    }
}
