//! A real ext4 of our own: an image file in memory, mounted through a loop device.
//!
//! Only for a process in a mount namespace of its own: then the mount ends with the process, however
//! that ends, and the loop device (which frees itself) with the mount.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::shutdown::{self, Flush};

/// Bytes of an image; most of them are never written.
const SIZE: u64 = 96 << 20;

/// An image, and where it is mounted.
#[derive(Debug)]
pub struct Disk {
    /// Holds the image.
    memory: TempDir,
    /// Holds the mount point.
    home: TempDir,
    options: &'static str,
    mounted: bool,
}

/// Runs a program of the system to its end.
fn run(program: &str, arguments: &[&Path]) -> io::Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| io::Error::new(error.kind(), format!("no {program}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ");
    Err(io::Error::other(format!("{program}: {text}")))
}

impl Disk {
    /// Makes an image with an empty ext4 and mounts it with these options.
    ///
    /// # Errors
    /// When this machine has not what it takes: mkfs.ext4, loop devices, the right to mount.
    pub fn new(options: &'static str) -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix("orlop-power-");
        let home = builder.tempdir()?;
        // Fast, where there is such a thing.
        let memory = builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir())?;
        let mut disk = Self { memory, home, options, mounted: false };
        fs::create_dir(disk.point())?;
        File::create(disk.image())?.set_len(SIZE)?;
        let quick = ["-q", "-F", "-m", "0", "-J", "size=4", "-E", "nodiscard"].map(Path::new);
        run("mkfs.ext4", &[&quick[..], &[&disk.image()]].concat())?;
        disk.mount()?;
        Ok(disk)
    }

    fn image(&self) -> PathBuf {
        self.memory.path().join("image")
    }

    /// Where it is mounted.
    pub fn point(&self) -> PathBuf {
        self.home.path().join("mount")
    }

    /// How it is mounted.
    pub fn options(&self) -> &'static str {
        self.options
    }

    /// Leaves the image where it is, for somebody to look at.
    pub fn keep(mut self) -> PathBuf {
        let _ = self.unmount();
        self.memory.disable_cleanup(true);
        self.image()
    }

    /// Mounts the image: the journal is replayed.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn mount(&mut self) -> io::Result<()> {
        let options = format!("loop,{}", self.options);
        let arguments = ["-t", "ext4", "-o", &options].map(Path::new);
        run("mount", &[&arguments[..], &[&self.image(), &self.point()]].concat())?;
        self.mounted = true;
        Ok(())
    }

    /// Unmounts it, as soon as the last descriptor is gone: a ring gives up its own a little after
    /// its process has ended.
    ///
    /// # Errors
    /// When it stays busy.
    pub fn unmount(&mut self) -> io::Result<()> {
        if !self.mounted {
            return Ok(());
        }
        let mut outcome = Ok(());
        for _ in 0..200 {
            outcome = run("umount", &[&self.point()]);
            if outcome.is_ok() {
                self.mounted = false;
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        outcome
    }

    /// Cuts its power. Before that it is made sure that what is mounted there is our image, and
    /// that the descriptor lies on it: never a file system of the machine.
    ///
    /// # Errors
    /// When it is not ours, or the system refuses.
    pub fn cut(&self, flush: Flush) -> io::Result<()> {
        let root = File::open(self.point())?;
        self.check_ours(&root)?;
        shutdown::shut_down(&root, flush)
    }

    fn check_ours(&self, root: &File) -> io::Result<()> {
        let not_ours = |why: &str| Err(io::Error::other(format!("not our file system: {why}")));
        let device = root.metadata()?.dev();
        if device == fs::metadata(self.home.path())?.dev() {
            return not_ours("nothing is mounted there");
        }
        let device = format!("{}:{}", libc::major(device), libc::minor(device));
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let point = self.point();
        let ours = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .rfind(|fields| fields.get(4).is_some_and(|found| Path::new(found) == point));
        let Some(fields) = ours else { return not_ours("no such mount") };
        let behind = fields.iter().position(|field| *field == "-").unwrap_or(fields.len());
        let (Some(&"ext4"), Some(source)) = (fields.get(behind + 1), fields.get(behind + 2)) else {
            return not_ours("it is no ext4");
        };
        if fields.get(2) != Some(&device.as_str()) {
            return not_ours("the descriptor lies elsewhere");
        }
        let name = source.strip_prefix("/dev/").unwrap_or_default();
        let backing = fs::read_to_string(format!("/sys/block/{name}/loop/backing_file"))?;
        if Path::new(backing.trim_end()) != self.image() {
            return not_ours("its image is another one");
        }
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What cannot be unmounted ends with the namespace.
        let _ = self.unmount();
    }
}
