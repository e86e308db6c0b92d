//! The target of a whole store: the input becomes files, which the engine opens, reads, writes and
//! compacts. The first byte says how:
//!
//! - 0, 3, …: the input is the files, each a name, a length and bytes
//! - 1, 4, …: the input changes bytes of the closed reference store
//! - 2, 5, …: the same, and every checksum is made right again
//!
//! Nothing is asked of the answers, since the input may be any store; only that there are some.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use orlop::env::{Keep, SimEnv};
use orlop::{Background, Store};

use crate::damage::anatomy::{self, Anatomy};
use crate::damage::image::{self, Changes, DIR, Files};
use crate::damage::reference::{self, Set};
use crate::damage::seals;

/// Names that an input can give to its files.
const NAMES: [&str; 10] = [
    "SUPER",
    "LOCK",
    "000001.manifest",
    "000002.log",
    "000003.log",
    "000004.sst",
    "000005.sst",
    "000012.manifest",
    "SUPER.tmp",
    "README",
];

fn base() -> &'static (Set, Anatomy) {
    static BASE: OnceLock<(Set, Anatomy)> = OnceLock::new();
    BASE.get_or_init(|| {
        let set = reference::closed().expect("the script runs as the damage tests show");
        let anatomy = anatomy::dissect(&set.files).expect("as they show, too");
        (set, anatomy)
    })
}

/// A whole store.
pub fn store(input: &[u8]) -> bool {
    let Some((mode, rest)) = input.split_first() else { return false };
    let env = match mode % 3 {
        0 => image::disk_of(&spelled(rest)),
        how => {
            let (set, anatomy) = base();
            let mut files = set.files.clone();
            patch(&mut files, rest);
            if how == 2 {
                seals::everything(&mut files, anatomy);
            }
            let changed =
                files.into_iter().filter(|(name, bytes)| set.files.get(name) != Some(bytes));
            let changes: Changes = changed.map(|(name, bytes)| (name, Some(bytes))).collect();
            let env = set.disk.crash(Keep::Everything);
            image::apply(&env, &changes).map(|()| env)
        }
    };
    let env = env.expect("a simulated disk takes files");
    let read = open(&env, true).is_some_and(|store| read(&store));
    let Some(store) = open(&env, false) else { return read };
    write(&store);
    drop(store);
    let again = open(&env, true).is_some_and(|store| self::read(&store));
    read || again
}

/// Files as an input spells them: a name of the table, a length, bytes.
fn spelled(mut input: &[u8]) -> Files {
    let mut files = Files::new();
    while let Some((head, rest)) = input.split_first_chunk::<3>() {
        let name = NAMES[usize::from(head[0]) % NAMES.len()];
        let len = usize::from(u16::from_le_bytes([head[1], head[2]])).min(rest.len());
        let (bytes, behind) = rest.split_at(len);
        files.insert(name.to_owned(), bytes.to_vec());
        input = behind;
    }
    files
}

/// Changes bytes: a file, an offset, up to 16 bytes that are written there, again and again.
fn patch(files: &mut Files, mut input: &[u8]) {
    while let Some((head, rest)) = input.split_first_chunk::<4>() {
        let [file, low, high, len] = *head;
        let (new, behind) = rest.split_at(usize::from(len % 17).min(rest.len()));
        input = behind;
        let file = usize::from(file) % files.len().max(1);
        let Some(bytes) = files.values_mut().nth(file).filter(|bytes| !bytes.is_empty()) else {
            continue;
        };
        let start = usize::from(u16::from_le_bytes([low, high])) % bytes.len();
        let end = (start + new.len()).min(bytes.len());
        bytes[start..end].copy_from_slice(&new[..end - start]);
    }
}

fn open(env: &SimEnv, read_only: bool) -> Option<Store> {
    let builder = Store::builder().env(Arc::new(env.clone())).background(Background::Manual);
    let opened = if read_only {
        builder.open_read_only(Path::new(DIR))
    } else {
        builder.open(Path::new(DIR))
    };
    opened.ok()
}

/// Reads everything; errors are answers.
fn read(store: &Store) -> bool {
    let mut all = true;
    for name in store.databases().unwrap_or_default() {
        let Ok(database) = store.database(&name) else { continue };
        for entry in database.iter() {
            match entry {
                Ok((key, value)) => drop((database.get(&key), value)),
                Err(_) => all = false,
            }
        }
        all &= database.iter().rev().all(|entry| entry.is_ok());
    }
    all
}

/// Writes, flushes, compacts; errors are answers.
fn write(store: &Store) {
    if let Ok(database) = store.database("alpha") {
        let _ = database.put("k", "v");
        let _ = store.flush();
        let _ = database.delete("k");
    }
    let _ = store.compact();
    read(store);
}

/// The input that changes bytes of the reference store, for seeds.
pub fn patches(mode: u8, patches: &[(u8, u16, &[u8])]) -> Vec<u8> {
    let mut out = vec![mode];
    for (file, at, bytes) in patches {
        out.push(*file);
        out.extend_from_slice(&at.to_le_bytes());
        out.push(bytes.len().min(16) as u8);
        out.extend_from_slice(&bytes[..bytes.len().min(16)]);
    }
    out
}

/// The input that spells files, for seeds.
pub fn spelling(files: &[(u8, &[u8])]) -> Vec<u8> {
    let mut out = vec![0];
    for (name, bytes) in files {
        out.push(*name);
        out.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
        out.extend_from_slice(bytes);
    }
    out
}
