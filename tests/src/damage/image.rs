//! The files of a store as bytes: taken from a disk, changed, put onto another disk.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use orlop::env::{Env, SimEnv};

/// Where the store lies on a simulated disk.
pub const DIR: &str = "/store";

/// The files of a store, by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// What damage makes of some files: their new bytes; `None`: the file is gone.
pub type Changes = Vec<(String, Option<Vec<u8>>)>;

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

/// All files of the store on a disk.
///
/// # Errors
/// When the directory or a file of it cannot be read.
pub fn files_of(env: &SimEnv) -> io::Result<Files> {
    let entries = env.list(Path::new(DIR))?;
    entries
        .into_iter()
        .map(|entry| Ok((entry.name.clone(), env.read(&path(&entry.name))?)))
        .collect()
}

/// A disk that holds these files. Its random numbers are none that the seed of a store gives.
///
/// # Errors
/// None that a simulated disk without planned faults can give.
pub fn disk_of(files: &Files) -> io::Result<SimEnv> {
    let env = SimEnv::new(u64::MAX / 3);
    env.create_dir(Path::new(DIR))?;
    for (name, bytes) in files {
        env.create(&path(name))?.write_at(0, bytes)?;
    }
    Ok(env)
}

/// Puts changed files onto a disk.
///
/// # Errors
/// None that a simulated disk without planned faults can give.
pub fn apply(env: &SimEnv, changes: &Changes) -> io::Result<()> {
    for (name, bytes) in changes {
        if let Err(error) = env.remove(&path(name))
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        if let Some(bytes) = bytes {
            env.create(&path(name))?.write_at(0, bytes)?;
        }
    }
    Ok(())
}

/// The bytes of a file after the changes; `None`: it is not there.
pub fn changed<'a>(files: &'a Files, changes: &'a Changes, name: &str) -> Option<&'a [u8]> {
    match changes.iter().rev().find(|(changed, _)| changed == name) {
        Some((_, bytes)) => bytes.as_deref(),
        None => files.get(name).map(Vec::as_slice),
    }
}
