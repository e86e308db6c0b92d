//! What machine this is, in words for the published page.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::record::Machine;

/// Describes the machine, and the filesystem that `dir` lies on. What cannot be found out is said
/// to be unknown.
pub(crate) fn describe(dir: &Path) -> Machine {
    let mount = mount_of(dir);
    Machine {
        processor: processor(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        memory_bytes: memory(),
        kernel: kernel(),
        filesystem: mount.as_ref().map_or_else(unknown, Mount::describe),
        device: mount.as_ref().and_then(|mount| device(&mount.source)).unwrap_or_else(unknown),
        compiler: compiler(),
        commit: env!("ORLOP_BENCHES_COMMIT").to_owned(),
        date: said("date", &["-u", "+%Y-%m-%d"]).unwrap_or_else(unknown),
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// The text behind `name` in a file of "name : text" lines.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn processor() -> String {
    let read = |name| field("/proc/cpuinfo", name);
    let name = read("model name").unwrap_or_else(unknown);
    match (read("model\t"), read("cpu MHz")) {
        (Some(model), Some(clock)) => {
            let clock: f64 = clock.parse().unwrap_or(0.0);
            format!("{name} (model {model}, {:.1} GHz)", clock / 1000.0)
        }
        _ => name,
    }
}

fn memory() -> u64 {
    let total = field("/proc/meminfo", "MemTotal").unwrap_or_default();
    total.split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) << 10
}

fn kernel() -> String {
    let name = rustix::system::uname();
    format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy())
}

struct Mount {
    source: String,
    kind: String,
    options: String,
}

impl Mount {
    fn describe(&self) -> String {
        format!("{} ({})", self.kind, self.options)
    }
}

/// The mount whose place is the longest prefix of `dir`.
fn mount_of(dir: &Path) -> Option<Mount> {
    let dir = dir.canonicalize().ok()?;
    let table = fs::read_to_string("/proc/self/mounts").ok()?;
    let mounts = table.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (source, place) = (fields.next()?, fields.next()?);
        let (kind, options) = (fields.next()?, fields.next()?);
        dir.starts_with(place).then(|| {
            let mount = Mount {
                source: source.to_owned(),
                kind: kind.to_owned(),
                options: options.to_owned(),
            };
            (place.len(), mount)
        })
    });
    // Of two mounts on one place the later one is seen.
    mounts.max_by_key(|(length, _)| *length).map(|(_, mount)| mount)
}

fn device(source: &str) -> Option<String> {
    let name = source.strip_prefix("/dev/")?;
    let queue = |what: &str| {
        let text = fs::read_to_string(format!("/sys/class/block/{name}/queue/{what}")).ok()?;
        Some(text.trim().to_owned())
    };
    let scheduler = queue("scheduler")?;
    let scheduler = match (scheduler.find('['), scheduler.find(']')) {
        (Some(from), Some(to)) if from < to => scheduler[from + 1..to].to_owned(),
        _ => scheduler,
    };
    let ahead = queue("read_ahead_kb")?;
    let cache = queue("write_cache").unwrap_or_else(unknown);
    Some(format!("{name}, scheduler {scheduler}, read-ahead {ahead} KiB, cache {cache}"))
}

/// What a program says on its first line, if it is there and content.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.lines().next().unwrap_or_default().to_owned())
}

/// The compiler now on the path, and what this program was built for.
fn compiler() -> String {
    let version = said("rustc", &["--version"]).unwrap_or_else(|| "rustc unknown".to_owned());
    let build = if cfg!(debug_assertions) { "debug assertions on" } else { "release" };
    let target = if cfg!(target_feature = "avx2") { "AVX2 and newer" } else { "baseline" };
    format!("{version}, {build}, built for {} with {target} instructions", std::env::consts::ARCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_can_be_described() {
        let machine = describe(Path::new("."));
        assert!(machine.cores > 0 && machine.memory_bytes > 1 << 20);
        assert_ne!(machine.filesystem, "unknown");
        assert!(machine.kernel.starts_with("Linux "), "{}", machine.kernel);
    }
}
