//! One damage to a reference store: its name, which reproduces it, and what it makes of the files.

use std::fmt;
use std::str::FromStr;

use super::fields::Fields;
use super::image::Changes;
use super::reference::Set;

/// What is swapped and zeroed as one.
pub const SECTOR: usize = 512;

/// One damage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mutant {
    /// `bit:FILE:OFFSET:BIT`: a bit is another.
    Bit(String, usize, u8),
    /// `cut:FILE:LENGTH`: what is behind is gone.
    Cut(String, usize),
    /// `append:FILE:zeros|garbage:LENGTH`: there is more.
    Append(String, Tail, usize),
    /// `zero:FILE:SIZE:SECTOR`: a sector of so many bytes holds zeros.
    Zero(String, usize, usize),
    /// `old:FILE:SIZE:SECTOR:VERSION`: a sector holds what it held earlier: a lost write.
    Old(String, usize, usize, usize),
    /// `swap:FILE:SECTOR:FILE:SECTOR`: two sectors changed places.
    Swap(Sector, Sector),
    /// `over:FILE:SECTOR:FILE:SECTOR`: the first holds the second: a write to a wrong place.
    Over(Sector, Sector),
    /// `move:FILE:OFFSET:LENGTH:FILE:OFFSET`: the first bytes are what the second ones are;
    /// `move:FILE:OFFSET:LENGTH:twin`: what those of the twin store are at the same place.
    Move(String, usize, usize, Option<(String, usize)>),
    /// `missing:FILE`.
    Missing(String),
    /// `exchange:FILE:FILE`: two files have each other's name.
    Exchange(String, String),
    /// `twin:FILE`: the file of the twin store.
    Twin(String),
    /// `older:FILE:VERSION`: the whole file as it was earlier.
    Older(String, usize),
    /// `twice:FILE:NAME`: the file is there under a second name.
    Twice(String, String),
    /// `field:SITE:VALUE`: a number has a hostile value, and every checksum over it is right.
    Field(usize, u64),
}

/// A file and the number of a sector of it.
pub type Sector = (String, usize);

/// What stands behind the end of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// Zeros.
    Zeros,
    /// Anything, the same each time.
    Garbage,
}

impl Mutant {
    /// What the damage makes of the files of a set; nothing if it changes no byte.
    pub fn changes(&self, set: &Set, fields: &Fields) -> Changes {
        let bytes = |file: &str| set.files.get(file).cloned().unwrap_or_default();
        let one = |file: &str, bytes: Vec<u8>| vec![(file.to_owned(), Some(bytes))];
        match self {
            Mutant::Bit(file, at, bit) => {
                let mut bytes = bytes(file);
                if let Some(byte) = bytes.get_mut(*at) {
                    *byte ^= 1 << (bit % 8);
                }
                one(file, bytes)
            }
            Mutant::Cut(file, len) => {
                let mut bytes = bytes(file);
                bytes.truncate(*len);
                one(file, bytes)
            }
            Mutant::Append(file, tail, len) => {
                let mut bytes = bytes(file);
                bytes.extend((0..*len).map(|at| match tail {
                    Tail::Zeros => 0,
                    Tail::Garbage => (at.wrapping_mul(0x9E37_79B1) >> 13) as u8,
                }));
                one(file, bytes)
            }
            Mutant::Zero(file, size, sector) => one(file, with(bytes(file), *size, *sector, &[])),
            Mutant::Old(file, size, sector, version) => {
                let older = set.older.get(file).and_then(|older| older.get(*version));
                let older = older.map(Vec::as_slice).unwrap_or_default();
                one(file, with(bytes(file), *size, *sector, sector_of(older, *size, *sector)))
            }
            Mutant::Swap(left, right) => swapped(set, left, right),
            Mutant::Over((file, sector), (from, from_sector)) => {
                let source = bytes(from);
                let source = sector_of(&source, SECTOR, *from_sector);
                one(file, with(bytes(file), SECTOR, *sector, source))
            }
            Mutant::Move(file, at, len, from) => {
                let (source, start) = match from {
                    Some((from, start)) => (set.files.get(from), *start),
                    None => (set.twin.get(file), *at),
                };
                let source = source.and_then(|source| source.get(start..start + len));
                let mut bytes = bytes(file);
                if let (Some(source), Some(place)) = (source, bytes.get_mut(*at..at + len)) {
                    place.copy_from_slice(source);
                }
                one(file, bytes)
            }
            Mutant::Missing(file) => vec![(file.clone(), None)],
            Mutant::Exchange(left, right) => {
                vec![(left.clone(), Some(bytes(right))), (right.clone(), Some(bytes(left)))]
            }
            Mutant::Twin(file) => vec![(file.clone(), set.twin.get(file).cloned())],
            Mutant::Older(file, version) => {
                let older = set.older.get(file).and_then(|older| older.get(*version));
                vec![(file.clone(), Some(older.cloned().unwrap_or_default()))]
            }
            Mutant::Twice(file, name) => vec![(name.clone(), Some(bytes(file)))],
            Mutant::Field(site, value) => fields.changes(set, *site, *value),
        }
    }
}

/// The bytes of a sector, as far as the file has them.
pub fn sector_of(bytes: &[u8], size: usize, sector: usize) -> &[u8] {
    let start = (sector * size).min(bytes.len());
    &bytes[start..(start + size).min(bytes.len())]
}

/// A file with other bytes in one of its sectors: zeros where there are too few. Its length stays.
fn with(mut bytes: Vec<u8>, size: usize, sector: usize, new: &[u8]) -> Vec<u8> {
    let start = (sector * size).min(bytes.len());
    let end = (start + size).min(bytes.len());
    for (at, byte) in bytes[start..end].iter_mut().enumerate() {
        *byte = new.get(at).copied().unwrap_or(0);
    }
    bytes
}

fn swapped(set: &Set, left: &Sector, right: &Sector) -> Changes {
    let bytes = |file: &str| set.files.get(file).cloned().unwrap_or_default();
    let (a, b) = (bytes(&left.0), bytes(&right.0));
    let (from_a, from_b) = (sector_of(&a, SECTOR, left.1), sector_of(&b, SECTOR, right.1));
    if left.0 == right.0 {
        let once = with(a.clone(), SECTOR, left.1, from_b);
        return vec![(left.0.clone(), Some(with(once, SECTOR, right.1, from_a)))];
    }
    vec![
        (left.0.clone(), Some(with(a.clone(), SECTOR, left.1, from_b))),
        (right.0.clone(), Some(with(b.clone(), SECTOR, right.1, from_a))),
    ]
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mutant::Bit(file, at, bit) => write!(f, "bit:{file}:{at}:{bit}"),
            Mutant::Cut(file, len) => write!(f, "cut:{file}:{len}"),
            Mutant::Append(file, Tail::Zeros, len) => write!(f, "append:{file}:zeros:{len}"),
            Mutant::Append(file, Tail::Garbage, len) => write!(f, "append:{file}:garbage:{len}"),
            Mutant::Zero(file, size, sector) => write!(f, "zero:{file}:{size}:{sector}"),
            Mutant::Old(file, size, sector, version) => {
                write!(f, "old:{file}:{size}:{sector}:{version}")
            }
            Mutant::Swap(a, b) => write!(f, "swap:{}:{}:{}:{}", a.0, a.1, b.0, b.1),
            Mutant::Over(a, b) => write!(f, "over:{}:{}:{}:{}", a.0, a.1, b.0, b.1),
            Mutant::Move(file, at, len, None) => write!(f, "move:{file}:{at}:{len}:twin"),
            Mutant::Move(file, at, len, Some((from, start))) => {
                write!(f, "move:{file}:{at}:{len}:{from}:{start}")
            }
            Mutant::Missing(file) => write!(f, "missing:{file}"),
            Mutant::Exchange(a, b) => write!(f, "exchange:{a}:{b}"),
            Mutant::Twin(file) => write!(f, "twin:{file}"),
            Mutant::Older(file, version) => write!(f, "older:{file}:{version}"),
            Mutant::Twice(file, name) => write!(f, "twice:{file}:{name}"),
            Mutant::Field(site, value) => write!(f, "field:{site}:{value}"),
        }
    }
}

impl FromStr for Mutant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("{text:?} is no mutant: see orlop-tests damage --help");
        let parts: Vec<&str> = text.split(':').collect();
        let number =
            |at: usize| parts.get(at).and_then(|part| part.parse().ok()).ok_or_else(refused);
        let file = |at: usize| parts[at].to_owned();
        Ok(match parts.as_slice() {
            ["bit", _, _, bit] => {
                Mutant::Bit(file(1), number(2)?, bit.parse().map_err(|_| refused())?)
            }
            ["cut", ..] if parts.len() == 3 => Mutant::Cut(file(1), number(2)?),
            ["append", _, "zeros", _] => Mutant::Append(file(1), Tail::Zeros, number(3)?),
            ["append", _, "garbage", _] => Mutant::Append(file(1), Tail::Garbage, number(3)?),
            ["zero", _, _, _] => Mutant::Zero(file(1), number(2)?, number(3)?),
            ["old", _, _, _, _] => Mutant::Old(file(1), number(2)?, number(3)?, number(4)?),
            ["swap", _, _, _, _] => Mutant::Swap((file(1), number(2)?), (file(3), number(4)?)),
            ["over", _, _, _, _] => Mutant::Over((file(1), number(2)?), (file(3), number(4)?)),
            ["move", _, _, _, "twin"] => Mutant::Move(file(1), number(2)?, number(3)?, None),
            ["move", _, _, _, _, _] => {
                Mutant::Move(file(1), number(2)?, number(3)?, Some((file(4), number(5)?)))
            }
            ["missing", _] => Mutant::Missing(file(1)),
            ["exchange", _, _] => Mutant::Exchange(file(1), file(2)),
            ["twin", _] => Mutant::Twin(file(1)),
            ["older", ..] if parts.len() == 3 => Mutant::Older(file(1), number(2)?),
            ["twice", _, _] => Mutant::Twice(file(1), file(2)),
            ["field", _, value] => Mutant::Field(number(1)?, value.parse().map_err(|_| refused())?),
            _ => return Err(refused()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reproduces_its_mutant() {
        for name in [
            "bit:000004.sst:1234:5",
            "cut:SUPER:0",
            "append:LOCK:garbage:512",
            "append:LOCK:zeros:1",
            "zero:000001.manifest:4096:2",
            "old:SUPER:512:3:1",
            "swap:a:0:b:1",
            "over:a:0:a:1",
            "move:a:64:100:b:128",
            "move:a:64:100:twin",
            "missing:x",
            "exchange:x:y",
            "twin:x",
            "older:x:3",
            "twice:x:000099.log",
            "field:17:18446744073709551615",
        ] {
            let mutant: Mutant = name.parse().unwrap();
            assert_eq!(mutant.to_string(), name);
        }
        for bad in ["", "bit", "bit:a:b:c", "cut:a", "zero:a:1", "what:a"] {
            assert!(bad.parse::<Mutant>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_sector_is_replaced_as_far_as_the_file_goes() {
        let bytes: Vec<u8> = (0..SECTOR + 4).map(|at| at as u8).collect();
        assert_eq!(sector_of(&bytes, SECTOR, 1), [0, 1, 2, 3]);
        assert!(sector_of(&bytes, SECTOR, 2).is_empty());
        let replaced = with(bytes.clone(), SECTOR, 1, &[9, 9]);
        assert_eq!((&replaced[SECTOR..], replaced.len()), (&[9, 9, 0, 0][..], bytes.len()));
        assert_eq!(replaced[..SECTOR], bytes[..SECTOR]);
    }
}
