//! What the process uses, and what others use meanwhile, as the kernel counts it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::files;
use crate::record::{Noise, Resources};

/// The kernel's counters at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meters {
    cpu: Duration,
    read_bytes: u64,
    written_bytes: u64,
    /// Clock ticks of the whole machine.
    all: u64,
    steal: u64,
    /// ... outside the kernel, of everybody and of this process. What others do inside it cannot be
    /// told from what it does for us, such as writing back.
    user: u64,
    own_user: u64,
}

impl Meters {
    /// Reads them. What this kernel does not tell counts as nothing.
    pub(crate) fn now() -> Self {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
        let machine = fs::read_to_string("/proc/stat").unwrap_or_default();
        // "cpu  user nice system idle iowait irq softirq steal guest guest_nice"
        let ticks: Vec<u64> = machine.lines().next().map(numbers).unwrap_or_default();
        let tick = |at: usize| ticks.get(at).copied().unwrap_or(0);
        // Guest time is part of user time.
        let all = ticks.iter().take(8).sum();
        Self {
            cpu: Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32),
            read_bytes: named(&io, "read_bytes:"),
            // Pages of files that were removed before the kernel wrote them count, too: how many
            // there are depends on its timing, not on the engine.
            written_bytes: named(&io, "write_bytes:"),
            all,
            steal: tick(7),
            user: tick(0) + tick(1),
            own_user: own_user_ticks(),
        }
    }

    /// What was used since `self`, by a process whose store is in `store`.
    pub(crate) fn used(&self, store: &Path) -> (Resources, Noise) {
        let now = Self::now();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resources = Resources {
            cpu_seconds: now.cpu.saturating_sub(self.cpu).as_secs_f64(),
            read_bytes: now.read_bytes.saturating_sub(self.read_bytes),
            written_bytes: now.written_bytes.saturating_sub(self.written_bytes),
            anonymous_bytes: named(&status, "RssAnon:") << 10,
            mapped_bytes: (named(&status, "RssFile:") + named(&status, "RssShmem:")) << 10,
            disk_bytes: files::allotted(store),
        };
        let all = now.all.saturating_sub(self.all).max(1) as f64;
        let user = now.user.saturating_sub(self.user);
        let own = now.own_user.saturating_sub(self.own_user);
        let noise = Noise {
            steal: now.steal.saturating_sub(self.steal) as f64 / all,
            // A tick of rounding each way is nothing.
            foreign: user.saturating_sub(own + 2) as f64 / all,
        };
        (resources, noise)
    }
}

/// The numbers of a line, whatever stands between.
fn numbers(line: &str) -> Vec<u64> {
    line.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// The number behind `name` in a list of named numbers.
fn named(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Clock ticks that this process spent outside the kernel.
fn own_user_ticks() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field, the program's name in brackets, may hold anything; the 14th is asked for.
    let fields = stat.rsplit(") ").next().unwrap_or_default();
    fields.split(' ').nth(11).and_then(|ticks| ticks.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn work_is_seen() {
        let before = Meters::now();
        let start = Instant::now();
        let mut sum = 0_u64;
        while start.elapsed() < Duration::from_millis(60) {
            sum = std::hint::black_box(sum.wrapping_mul(31) + 1);
        }
        let (resources, noise) = before.used(Path::new("."));
        assert!(resources.cpu_seconds > 0.005, "{resources:?}");
        assert!(resources.anonymous_bytes > 0);
        assert!((0.0..=1.0).contains(&noise.steal) && (0.0..=1.0).contains(&noise.foreign));
    }

    #[test]
    fn named_numbers_are_found() {
        let text = "rchar: 12\nread_bytes: 34\nwrite_bytes: 56\ncancelled_write_bytes: 7\n";
        assert_eq!(named(text, "read_bytes:"), 34);
        assert_eq!(named(text, "write_bytes:"), 56);
        assert_eq!(named(text, "absent:"), 0);
    }
}
