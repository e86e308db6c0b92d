//! A memory cgroup of a program's own, of either version.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";

/// Removed again when it is dropped; by then nobody may be in it.
pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes one whose processes share `limit` bytes.
    ///
    /// # Errors
    /// What the first place that was tried said.
    pub(crate) fn new(limit: u64) -> io::Result<Self> {
        let mut refusal = None;
        for (parent, knob) in places(&fs::read_to_string("/proc/self/cgroup")?) {
            match Self::make(&parent, knob, limit) {
                Ok(cgroup) => return Ok(cgroup),
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        Err(refusal.unwrap_or_else(|| io::Error::other("there is no hierarchy for memory")))
    }

    fn make(parent: &Path, knob: &str, limit: u64) -> io::Result<Self> {
        let dir = parent.join(format!("orlop-spike-{}", std::process::id()));
        fs::create_dir(&dir)?;
        let cgroup = Self(dir);
        fs::write(cgroup.0.join(knob), limit.to_string())?;
        Ok(cgroup)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.0
    }

    /// Moves this process into the cgroup in `dir`.
    pub(crate) fn join(dir: &Path) -> io::Result<()> {
        fs::write(dir.join("cgroup.procs"), std::process::id().to_string())
    }

    /// Bytes of the processes' own and of files that the cgroup in `dir` holds.
    pub(crate) fn held(dir: &Path) -> io::Result<[u64; 2]> {
        let text = fs::read_to_string(dir.join("memory.stat"))?;
        let of = |names: [&str; 2]| {
            let mut lines = text.lines().filter_map(|line| line.split_once(' '));
            let line = lines.find(|(name, _)| names.contains(name));
            line.and_then(|(_, bytes)| bytes.parse().ok()).unwrap_or(0)
        };
        Ok([of(["rss", "anon"]), of(["cache", "file"])])
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // What cannot be removed is empty and does no harm.
        let _ = fs::remove_dir(&self.0);
    }
}

/// Where one might be made, and the name of its limit.
fn places(own: &str) -> Vec<(PathBuf, &'static str)> {
    let mut places = Vec::new();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let path = path.trim_start_matches('/');
        if controllers.split(',').any(|controller| controller == "memory") {
            let root = Path::new(ROOT).join("memory");
            // In a container the path may be the host's, and only the root is there.
            places.push((root.join(path), "memory.limit_in_bytes"));
            places.push((root, "memory.limit_in_bytes"));
        } else if controllers.is_empty() {
            // A group with processes has none with a limit below it: so first beside this one.
            let own = Path::new(ROOT).join(path);
            let beside = own.parent().filter(|parent| parent.starts_with(ROOT));
            places.extend(beside.map(|parent| (parent.to_owned(), "memory.max")));
            places.push((own, "memory.max"));
        }
    }
    places
}
