//! What survives a power cut.
//!
//! Each pending unit (a write, a new length, a name that came or went) is kept, lost, or, if it is
//! a write, torn: some of its sectors arrived, or only its length did.

use std::fmt;
use std::str::FromStr;

use super::disk::Random;
use super::image::{Change, PAGE, SECTOR};

/// Which pending units survive a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Keep {
    /// None: what was not synced is lost.
    Nothing,
    /// All: the disk was faster than the power cut.
    Everything,
    /// Each by the dice of this seed, without regard to order: whole, not at all, its length
    /// only, or some of its 512-byte sectors or 4-KiB pages.
    Random(u64),
    /// The first so many in the order they were made.
    Prefix(usize),
    /// Of the first 64 those whose bit is set; no others.
    Subset(u64),
    /// All but this one.
    Without(usize),
    /// This one alone.
    Only(usize),
    /// All, and of this one, if it is a write, some sectors.
    Torn(usize, Tear),
    /// Bytes and lengths of files; no names.
    Bytes,
    /// Names; no bytes and no lengths.
    Names,
}

/// Which part of a write arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tear {
    /// The first half of its sectors.
    Head,
    /// The second half.
    Tail,
    /// All but those in the middle third.
    Hole,
    /// None; but the file is as long as if all had.
    Length,
}

impl fmt::Display for Tear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Tear::Head => "head",
            Tear::Tail => "tail",
            Tear::Hole => "hole",
            Tear::Length => "length",
        })
    }
}

/// What [`Keep`]'s `FromStr` reads back.
impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Keep::Nothing => f.write_str("nothing"),
            Keep::Everything => f.write_str("everything"),
            Keep::Random(seed) => write!(f, "random:{seed}"),
            Keep::Prefix(units) => write!(f, "prefix:{units}"),
            Keep::Subset(bits) => write!(f, "subset:{bits}"),
            Keep::Without(unit) => write!(f, "without:{unit}"),
            Keep::Only(unit) => write!(f, "only:{unit}"),
            Keep::Torn(unit, tear) => write!(f, "torn:{unit}:{tear}"),
            Keep::Bytes => f.write_str("bytes"),
            Keep::Names => f.write_str("names"),
        }
    }
}

impl FromStr for Keep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let number = |text: &str| text.parse::<u64>().ok();
        let unit = |text: &str| text.parse::<usize>().ok();
        let keep = match parts.as_slice() {
            ["nothing"] => Some(Keep::Nothing),
            ["everything"] => Some(Keep::Everything),
            ["bytes"] => Some(Keep::Bytes),
            ["names"] => Some(Keep::Names),
            ["random", seed] => number(seed).map(Keep::Random),
            ["prefix", units] => unit(units).map(Keep::Prefix),
            ["subset", bits] => number(bits).map(Keep::Subset),
            ["without", n] => unit(n).map(Keep::Without),
            ["only", n] => unit(n).map(Keep::Only),
            ["torn", n, tear] => {
                let tears = [Tear::Head, Tear::Tail, Tear::Hole, Tear::Length];
                let tear = tears.into_iter().find(|known| known.to_string() == *tear);
                unit(n).zip(tear).map(|(n, tear)| Keep::Torn(n, tear))
            }
            _ => None,
        };
        keep.ok_or_else(|| format!("no way out of a power cut is called {text:?}"))
    }
}

/// What a crash makes of one unit.
pub(super) enum Fate {
    Lost,
    Kept,
    /// Only these parts of the write.
    Parts(Vec<Change>),
    /// Only the length of the write.
    Grown,
}

/// What a crash may do to one unit, as far as [`Keep::ways`] must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// A write over several sectors.
    Wide,
    /// A write into one sector.
    Narrow,
    /// A length.
    Length,
    /// A name.
    Name,
}

impl Sort {
    pub(super) fn of(change: &Change) -> Self {
        match change {
            Change::Write { offset, bytes, .. } => {
                let last = (offset + bytes.len() as u64).saturating_sub(1);
                if offset / SECTOR == last / SECTOR { Sort::Narrow } else { Sort::Wide }
            }
            Change::SetLen { .. } => Sort::Length,
            _ => Sort::Name,
        }
    }
}

/// With so many units or fewer, every subset is a way.
const EXHAUSTIVE: usize = 6;

impl Keep {
    /// The ways out of a power cut that are worth trying with these units pending. Every subset
    /// when they are few; otherwise all, none, each prefix, each one lost or kept alone, names
    /// without bytes and bytes without names; always writes torn in several ways, and dice.
    pub(super) fn ways(units: &[Sort], seed: u64) -> Vec<Keep> {
        let mut ways = vec![Keep::Nothing];
        if units.is_empty() {
            return ways;
        }
        ways.push(Keep::Everything);
        if units.len() <= EXHAUSTIVE {
            ways.extend((1..(1 << units.len()) - 1).map(Keep::Subset));
        } else {
            ways.extend([Keep::Bytes, Keep::Names]);
            ways.extend((1..units.len()).map(Keep::Prefix));
            ways.extend((0..units.len()).map(Keep::Without));
            ways.extend((0..units.len()).map(Keep::Only));
        }
        let writes = units.iter().enumerate().rev();
        let writes = writes.filter(|(_, sort)| matches!(sort, Sort::Wide | Sort::Narrow)).take(2);
        for (n, sort) in writes {
            ways.push(Keep::Torn(n, Tear::Length));
            if *sort == Sort::Wide {
                ways.extend([Tear::Head, Tear::Tail, Tear::Hole].map(|tear| Keep::Torn(n, tear)));
            }
        }
        if units.len() > 1 || units.contains(&Sort::Wide) {
            ways.extend((0..4).map(|round| Keep::Random(seed.wrapping_mul(4).wrapping_add(round))));
        }
        ways
    }

    /// What becomes of unit `n`.
    pub(super) fn fate(self, n: usize, change: &Change, dice: &mut Random) -> Fate {
        let kept = match self {
            Keep::Nothing => false,
            Keep::Everything => true,
            Keep::Prefix(units) => n < units,
            Keep::Subset(bits) => n < 64 && bits >> n & 1 == 1,
            Keep::Without(unit) => n != unit,
            Keep::Only(unit) => n == unit,
            Keep::Bytes => Sort::of(change) != Sort::Name,
            Keep::Names => Sort::of(change) == Sort::Name,
            Keep::Torn(unit, tear) if n == unit => return torn(change, tear),
            Keep::Torn(..) => true,
            Keep::Random(_) => return random(change, dice),
        };
        if kept { Fate::Kept } else { Fate::Lost }
    }
}

fn torn(change: &Change, tear: Tear) -> Fate {
    if !matches!(change, Change::Write { .. }) {
        return Fate::Kept;
    }
    let pieces = change.pieces(SECTOR);
    let len = pieces.len();
    let kept = |n: usize| match tear {
        Tear::Head => n < len.div_ceil(2),
        Tear::Tail => n >= len.div_ceil(2),
        Tear::Hole => n < len / 3 || n >= len - len / 3,
        Tear::Length => false,
    };
    match tear {
        Tear::Length => Fate::Grown,
        _ => Fate::Parts(
            pieces.into_iter().enumerate().filter(|(n, _)| kept(*n)).map(|(_, p)| p).collect(),
        ),
    }
}

/// Half of the units whole or not at all: a coin for each sector alone would never keep a large
/// write.
fn random(change: &Change, dice: &mut Random) -> Fate {
    match dice.next() % 8 {
        0..2 => Fate::Kept,
        2..4 => Fate::Lost,
        4 => Fate::Grown,
        5 => Fate::Parts(change.pieces(PAGE).into_iter().filter(|_| dice.coin()).collect()),
        _ => Fate::Parts(change.pieces(SECTOR).into_iter().filter(|_| dice.coin()).collect()),
    }
}
