//! The way up for many keys at once.
//!
//! A get waits for memory three or four times, one after the other. Here a group of keys waits together:
//!
//! 1. what is in memtables is known at once; of the others the filters are asked for
//! 2. of each the first table that may have it is found, and the head of the block asked for
//! 3. the blocks are searched; where a filter was mistaken, the next table
//!
//! Where a block must come from the device, the others of the group are asked for there, too, before it is waited for.

use std::time::Duration;

use orlop_formats::ids::{AsOf, DatabaseId};

use crate::env::faults;
use crate::error::Result;
use crate::files::sstable::Pins;
use crate::flow::ahead::{Ahead, Asked, Candidate};
use crate::flow::read::{self, Place};
use crate::state::clock::Now;
use crate::state::value::Value;
use crate::state::view::View;
use crate::sync::Stopwatch;

/// Keys of a group: more have no room on their way to a processor.
const GROUP: usize = 16;

/// The same where blocks come from a device, which has room for more.
const COLD_GROUP: usize = 128;

/// A key that took longer has waited for a device.
const COLD: Duration = Duration::from_micros(25);

/// The values of keys as of one moment, in the order of the keys. Whether a device is waited for the clock tells, if it is
/// asked; else every run is the same run.
pub(crate) fn get<K: AsRef<[u8]>>(
    view: &View,
    database: DatabaseId,
    keys: &[K],
    as_of: AsOf,
    by_clock: bool,
) -> Result<Vec<Option<Value>>> {
    faults::inside(|| get_inside(view, database, keys, as_of, by_clock))
}

fn get_inside<K: AsRef<[u8]>>(
    view: &View,
    database: DatabaseId,
    keys: &[K],
    as_of: AsOf,
    by_clock: bool,
) -> Result<Vec<Option<Value>>> {
    let mut values = Vec::with_capacity(keys.len());
    let mut is_cold = false;
    let mut left = keys;
    while !left.is_empty() {
        let len = left.len().min(if is_cold { COLD_GROUP } else { GROUP });
        let (group, behind) = left.split_at(len);
        let pins = Pins::default();
        let mut lookups = Vec::with_capacity(group.len());
        for key in group {
            lookups.push(Lookup::begin(view, database, key.as_ref(), as_of));
        }
        for lookup in &mut lookups {
            lookup.find_candidate(0, is_cold)?;
        }
        let clock = by_clock.then(Stopwatch::start);
        for lookup in lookups {
            values.push(lookup.finish(&pins)?);
        }
        is_cold = clock.is_some_and(|clock| clock.elapsed() > COLD * len as u32);
        left = behind;
    }
    Ok(values)
}

/// One key on its way.
struct Lookup<'v, 'k> {
    view: &'v View,
    asked: Asked<'k>,
    now: u64,
    tables: Ahead<'v>,
    /// There are more tables than `tables` has.
    has_more: bool,
    state: State<'v>,
}

enum State<'v> {
    Found(Place<'v>),
    May(Candidate<'v>),
    Nowhere,
}

impl<'v, 'k> Lookup<'v, 'k> {
    fn begin(view: &'v View, database: DatabaseId, key: &'k [u8], as_of: AsOf) -> Self {
        let asked = Asked::new(database, key, as_of.seqno);
        let mut tables = Ahead::default();
        let (state, has_more) = match read::in_memory(view, &asked) {
            Some(version) => (State::Found(Place::Memory(version)), false),
            None => (State::Nowhere, tables.fill(&mut view.version.runs(), &asked)),
        };
        Self { view, asked, now: as_of.now, tables, has_more, state }
    }

    /// Looks for a table from number `from` on, and asks for what is to be read there.
    fn find_candidate(&mut self, from: usize, from_device: bool) -> Result<()> {
        if matches!(self.state, State::Found(_)) {
            return Ok(());
        }
        self.state = match self.tables.candidate(from, &self.asked)? {
            Some(candidate) => {
                candidate.table.ask_for(candidate.at, from_device);
                State::May(candidate)
            }
            None => State::Nowhere,
        };
        Ok(())
    }

    fn finish(mut self, pins: &'v Pins) -> Result<Option<Value>> {
        loop {
            match std::mem::replace(&mut self.state, State::Nowhere) {
                State::Found(place) => {
                    let is_left = place.is_there(Now::At(self.now))?
                        && !read::is_deleted(self.view, &self.asked, place.seqno());
                    return Ok(is_left.then(|| place.into_value()));
                }
                State::May(Candidate { number, table, at }) => {
                    match table.get(at, self.asked.key, self.asked.seqno, pins)? {
                        Some(found) => self.state = State::Found(Place::Table(table, found)),
                        None => self.find_candidate(number + 1, false)?,
                    }
                }
                // Beside sixteen runs and more it is found alone.
                State::Nowhere if self.has_more => {
                    let Asked { database, key, seqno, .. } = self.asked;
                    return read::get(self.view, database, key, seqno, Now::At(self.now));
                }
                State::Nowhere => return Ok(None),
            }
        }
    }
}
