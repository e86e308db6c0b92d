//! Faults on mapped memory, with real signals: files of tables are cut short behind the back of an open store, which
//! is to the processor what a device that fails is. (A device that does would need a device mapper.)
//!
//! Each scenario is a process of its own, this program again with the scenario's name in its environment: some end by a
//! signal, and a handler is for a whole process.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::env;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use orlop::{Background, Compression, Database, Durability, Error, Store, Value};

const SCENARIO: &str = "ORLOP_FAULT_SCENARIO";

/// Runs a scenario in a process of its own.
fn run(scenario: &str) -> Output {
    let program = env::current_exe().unwrap();
    let mut child = Command::new(program);
    child.args(["--exact", "scenario", "--nocapture"]).env(SCENARIO, scenario);
    child.output().unwrap()
}

fn passes(scenario: &str) {
    let output = run(scenario);
    assert!(output.status.success(), "{scenario}: {output:#?}");
}

/// The scenario ends by a signal; what it has said until then.
fn dies(scenario: &str, signal: i32) -> String {
    let output = run(scenario);
    assert_eq!(output.status.signal(), Some(signal), "{scenario}: {output:#?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Not a test of its own: what the children do.
#[test]
fn scenario() {
    match env::var(SCENARIO).as_deref() {
        Err(_) => {}
        Ok("first touch") => first_touch(),
        Ok("warm") => warm(),
        Ok("threads") => threads(),
        Ok("value") => look_at_a_value(false),
        Ok("caught value") => look_at_a_value(true),
        Ok("caught cursor") => look_at_what_is_lent(true),
        Ok("caught get_with") => look_at_what_is_lent(false),
        Ok("caught too late") => caught_too_late(),
        Ok("chained with info") => foreign(Before::WithInfo),
        Ok("chained") => foreign(Before::Plain),
        Ok("chained to none") => foreign(Before::Default),
        Ok("chained to ignored") => foreign(Before::Ignored),
        Ok("sent") => sent(libc::SIG_DFL),
        Ok("sent and ignored") => sent(libc::SIG_IGN),
        Ok(other) => panic!("no scenario {other}"),
    }
}

const ENTRIES: u32 = 4000;

fn key(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

/// Values that say whose they are; small ones are copied by a get, large ones are not.
fn value(database: &str, number: u32) -> Vec<u8> {
    let len = if database == "large" { 3000 } else { 100 };
    let seed = database.len() as u32 * 7919 + number;
    (0..len)
        .map(|at| (seed.wrapping_mul(2_654_435_761).rotate_left(at % 31) >> 3) as u8 | 1)
        .collect()
}

/// A store whose databases `ill`, `large` and `well` have a table each, opened anew, so that nothing was touched in
/// this open but what an open reads.
struct Ward {
    dir: tempfile::TempDir,
    store: Store,
    ill: Database,
    large: Database,
    well: Database,
    /// The tables of `ill` and of `large`.
    tables: [PathBuf; 2],
}

fn tables(dir: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.extension().is_some_and(|end| end == "sst")).collect()
}

impl Ward {
    fn open() -> Ward {
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            let builder = Store::builder().background(Background::Manual);
            let builder = builder.durability(Durability::Buffered).compression(Compression::None);
            builder.open(dir.path().join("store")).unwrap()
        };
        let store = open();
        // The catalog is in the first table, with `well`: whoever looks a database up touches no other.
        for name in ["well", "ill", "large"] {
            store.database(name).unwrap().put(key(0), "old").unwrap();
        }
        let mut files = Vec::new();
        for name in ["well", "ill", "large"] {
            let before = tables(&dir.path().join("store"));
            let database = store.database(name).unwrap();
            for number in 0..entries(name) {
                database.put(key(number), value(name, number)).unwrap();
            }
            store.flush().unwrap();
            let mut new = tables(&dir.path().join("store"));
            new.retain(|path| !before.contains(path));
            assert_eq!(new.len(), 1);
            files.append(&mut new);
        }
        store.close().unwrap();
        let store = open();
        let [ill, large, well] = ["ill", "large", "well"].map(|name| store.database(name).unwrap());
        let tables = [files[1].clone(), files[2].clone()];
        Ward { dir, store, ill, large, well, tables }
    }

    /// Nothing of the file is left, as of a device that is gone. At once: no page of it is whole and stays.
    fn cut(&self, table: usize) {
        File::options().write(true).open(&self.tables[table]).unwrap().set_len(0).unwrap();
    }

    fn names_it<T: std::fmt::Debug>(&self, table: usize, answer: Result<T, Error>) {
        let error = answer.unwrap_err();
        assert!(matches!(error, Error::Io { op: "read", .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(self.tables[table].to_str().unwrap()), "{text}");
        assert!(text.contains("offset") && text.contains("cut short"), "{text}");
    }

    fn read_well(&self) {
        all_is_read(&self.well, "well");
    }
}

fn entries(name: &str) -> u32 {
    if name == "large" { ENTRIES / 10 } else { ENTRIES }
}

fn keys(name: &str) -> Vec<[u8; 4]> {
    (0..entries(name)).map(key).collect()
}

/// Every way to read finds everything.
fn all_is_read(database: &Database, name: &str) {
    for number in 0..entries(name) {
        assert_eq!(database.get(key(number)).unwrap().unwrap(), value(name, number));
    }
    let many = database.multi_get(&keys(name)).unwrap();
    let right =
        |(found, number): (&Option<Value>, u32)| found.as_ref().unwrap() == &value(name, number);
    assert!(many.iter().zip(0..).all(right));
    let mut cursor = database.cursor().unwrap();
    for number in 0..entries(name) {
        let expected = value(name, number);
        assert_eq!(cursor.next().unwrap(), Some((&key(number)[..], &expected[..])));
    }
    assert_eq!(cursor.next().unwrap(), None);
    assert_eq!(database.iter().rev().map(Result::unwrap).count(), entries(name) as usize);
}

/// No way to read finds anything.
fn nothing_is_read(ward: &Ward, database: &Database, table: usize, name: &str) {
    for number in (0..entries(name)).step_by(97) {
        ward.names_it(table, database.get(key(number)));
        ward.names_it(table, database.get_with(key(number), <[u8]>::len));
        ward.names_it(table, database.contains(key(number)));
        ward.names_it(table, database.multi_get(&[key(number), key(number + 1)]));
    }
    let mut cursor = database.cursor().unwrap();
    ward.names_it(table, cursor.next());
    ward.names_it(table, cursor.next());
    cursor.seek(key(entries(name) / 2)).unwrap();
    ward.names_it(table, cursor.prev());
    ward.names_it(table, database.iter().next().unwrap());
    ward.names_it(table, database.range(key(9)..).next_back().unwrap());
}

#[test]
fn the_first_touch_of_a_block_is_an_error_without_a_handler() {
    passes("first touch");
}

fn first_touch() {
    let ward = Ward::open();
    ward.cut(0);
    nothing_is_read(&ward, &ward.ill, 0, "ill");
    ward.names_it(0, ward.store.compact());
    ward.read_well();
    all_is_read(&ward.large, "large");
    ward.ill.put(key(0), "new").unwrap();
    assert_eq!(ward.ill.get(key(0)).unwrap().unwrap(), "new");
    ward.store.flush().unwrap();
    ward.store.close().unwrap();
}

#[test]
fn a_fault_in_the_engine_is_an_error_with_a_handler() {
    passes("warm");
}

fn warm() {
    orlop::catch_faults().unwrap();
    orlop::catch_faults().unwrap();
    let ward = Ward::open();
    for (database, name) in [(&ward.ill, "ill"), (&ward.large, "large"), (&ward.well, "well")] {
        all_is_read(database, name);
    }
    for (table, database, name) in [(0, &ward.ill, "ill"), (1, &ward.large, "large")] {
        let mut standing = database.cursor().unwrap();
        let mut range = database.iter();
        let mut healthy = ward.well.cursor().unwrap();
        for number in 0..100 {
            assert_eq!(standing.next().unwrap().unwrap().0, key(number));
            assert_eq!(range.next().unwrap().unwrap().1, value(name, number));
            assert_eq!(healthy.next().unwrap().unwrap().0, key(number));
        }
        ward.cut(table);
        // The cursor that stands in a block goes no further; the others' own fault is not needed for that.
        ward.names_it(table, standing.next());
        ward.names_it(table, standing.prev());
        ward.names_it(table, range.next().unwrap());
        assert!(range.next().is_none());
        nothing_is_read(&ward, database, table, name);
        ward.names_it(table, ward.store.compact());
        for number in 100..ENTRIES {
            let expected = value("well", number);
            assert_eq!(healthy.next().unwrap(), Some((&key(number)[..], &expected[..])));
        }
        ward.read_well();
    }
    ward.well.put(key(0), "new").unwrap();
    ward.store.flush().unwrap();
    ward.store.close().unwrap();
}

#[test]
fn threads_that_read_meanwhile_hear_of_it_or_are_right() {
    passes("threads");
}

fn threads() {
    orlop::catch_faults().unwrap();
    let (right, told) = (AtomicU64::new(0), AtomicU64::new(0));
    let end = Instant::now() + Duration::from_secs(10);
    for round in 0..40 {
        if Instant::now() > end {
            break;
        }
        let ward = Ward::open();
        // Warm, so that nobody is told by a first touch.
        for (database, name) in [(&ward.ill, "ill"), (&ward.large, "large")] {
            all_is_read(database, name);
        }
        let stop = AtomicBool::new(false);
        let (ward, stop, counts) = (&ward, &stop, (&right, &told));
        std::thread::scope(|scope| {
            for reader in 0..6 {
                scope.spawn(move || read_until(ward, reader, stop, counts));
            }
            std::thread::sleep(Duration::from_micros(2000 + round * 137));
            ward.cut(0);
            std::thread::sleep(Duration::from_millis(2));
            ward.cut(1);
            std::thread::sleep(Duration::from_millis(20));
            stop.store(true, Ordering::Relaxed);
        });
    }
    let (right, told) = (right.into_inner(), told.into_inner());
    assert!(right > 100 && told > 100, "{right} right answers, {told} errors");
}

/// Every answer is right, or it is an error. What a get of a large value returns is not looked at: that is for
/// other scenarios.
fn read_until(
    ward: &Ward,
    reader: u32,
    stop: &AtomicBool,
    (right, told): (&AtomicU64, &AtomicU64),
) {
    let judge = |ok: bool, is_error: bool| {
        assert!(ok || is_error);
        (if is_error { told } else { right }).fetch_add(1, Ordering::Relaxed);
    };
    let mut number = reader * 131;
    while !stop.load(Ordering::Relaxed) {
        number = (number * 31 + 17) % (ENTRIES - 40);
        let of_large = number % (entries("large") - 40);
        let expected = |n| value("ill", n);
        match reader % 6 {
            0 | 1 => match ward.ill.get(key(number)) {
                Ok(found) => judge(found.unwrap() == expected(number), false),
                error => judge(false, error.is_err()),
            },
            2 => {
                let keys: Vec<_> = (number..number + 40).map(key).collect();
                match ward.ill.multi_get(&keys) {
                    Ok(found) => {
                        let mut all = found.iter().zip(number..);
                        judge(all.all(|(f, n)| f.as_ref().unwrap() == &expected(n)), false);
                    }
                    error => judge(false, error.is_err()),
                }
            }
            3 => {
                let mut at = number;
                for entry in ward.ill.range(key(number)..key(number + 300)).take(300) {
                    match entry {
                        Ok((found, value)) => {
                            judge(found == key(at) && value == expected(at), false);
                            at += 1;
                        }
                        Err(_) => {
                            at = 0;
                            judge(false, true);
                        }
                    }
                }
                assert!(at == 0 || at == (number + 300).min(ENTRIES), "a scan that ended early");
            }
            4 => {
                for entry in ward.large.range(..key(of_large + 40)).rev().take(40) {
                    match entry {
                        Ok((_, found)) => judge(found.len() == 3000 && !found.contains(&0), false),
                        Err(_) => judge(false, true),
                    }
                }
            }
            _ => match ward.large.get(key(of_large)) {
                Ok(found) => judge(found.unwrap().len() == 3000, false),
                error => judge(false, error.is_err()),
            },
        }
        assert_eq!(ward.well.get(key(number)).unwrap().unwrap(), value("well", number));
    }
}

/// Whether the handler's line names a place in the value that [`tell_where`] has told of.
fn names_the_place(said: &str) -> bool {
    let line = said.lines().find(|line| line.starts_with("orlop: ")).unwrap_or_default();
    let place = said.lines().find_map(|line| line.strip_prefix("it lies at ")).unwrap_or_default();
    let (path, from, to) = match place.split(' ').collect::<Vec<_>>()[..] {
        [path, from, to] => (path, from.parse::<u64>().unwrap(), to.parse::<u64>().unwrap()),
        _ => return false,
    };
    let offset = line
        .strip_prefix(&format!("orlop: {path}: the device cannot read the bytes at "))
        .and_then(|rest| rest.strip_suffix("; a value that lies there was looked at"))
        .and_then(|offset| offset.parse::<u64>().ok());
    offset.is_some_and(|offset| (from..to).contains(&offset))
}

/// Says where a value is in the table of large ones.
fn tell_where(ward: &Ward, number: u32) {
    let bytes = fs::read(&ward.tables[1]).unwrap();
    let value = value("large", number);
    let at = bytes.windows(value.len()).position(|window| window == value).unwrap();
    eprintln!("it lies at {} {at} {}", ward.tables[1].display(), at + value.len());
}

fn look_at_a_value(caught: bool) {
    if caught {
        orlop::catch_faults().unwrap();
    }
    let ward = Ward::open();
    all_is_read(&ward.large, "large");
    let held = ward.large.get(key(77)).unwrap().unwrap();
    tell_where(&ward, 77);
    ward.cut(1);
    if caught {
        // Zeros in the engine's map are none in the value.
        ward.names_it(1, ward.large.get(key(77)));
        ward.names_it(1, ward.large.get(key(77)));
    }
    assert_eq!(held, value("large", 77));
    unreachable!("{:?}", ward.dir);
}

#[test]
fn a_value_ends_the_process_and_with_a_handler_says_where() {
    dies("value", libc::SIGBUS);
    let said = dies("caught value", libc::SIGABRT);
    assert!(names_the_place(&said), "{said}");
}

fn look_at_what_is_lent(by_cursor: bool) {
    orlop::catch_faults().unwrap();
    let ward = Ward::open();
    all_is_read(&ward.large, "large");
    tell_where(&ward, 5);
    let look = |lent: &[u8]| {
        ward.cut(1);
        ward.names_it(1, ward.large.multi_get(&keys("large")));
        assert_eq!(lent, value("large", 5));
    };
    if by_cursor {
        let mut cursor = ward.large.cursor().unwrap();
        cursor.seek(key(5)).unwrap();
        look(cursor.next().unwrap().unwrap().1);
    } else {
        ward.large.get_with(key(5), look).unwrap();
    }
    unreachable!();
}

#[test]
fn so_does_what_a_cursor_or_get_with_lends() {
    for scenario in ["caught cursor", "caught get_with"] {
        let said = dies(scenario, libc::SIGABRT);
        assert!(names_the_place(&said), "{scenario}: {said}");
    }
}

fn caught_too_late() {
    let ward = Ward::open();
    all_is_read(&ward.ill, "ill");
    orlop::catch_faults().unwrap();
    ward.cut(0);
    let _ = ward.ill.get(key(0));
}

#[test]
fn files_that_were_open_before_are_named_too() {
    let said = dies("caught too late", libc::SIGABRT);
    assert!(said.contains(".sst: the device cannot read the bytes at "), "{said}");
    assert!(said.contains("opened before faults were caught"), "{said}");
}

/// What a program does with `SIGBUS` before faults are caught.
enum Before {
    WithInfo,
    Plain,
    Default,
    Ignored,
}

static EXPECTED: AtomicU64 = AtomicU64::new(0);

extern "C" fn with_info(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the system, or the handler in between, hands a valid one on; leaving is allowed here.
    unsafe {
        let right = (*info).si_addr() as u64 == EXPECTED.load(Ordering::Relaxed);
        libc::_exit(if right { 77 } else { 78 })
    }
}

extern "C" fn plain(_: i32) {
    // SAFETY: leaving is allowed in a handler.
    unsafe { libc::_exit(79) }
}

/// Touches a map that is not the engine's, behind the end of its file.
fn foreign(before: Before) {
    // SAFETY: an action of zeros is one; the handlers are of the kind that the flags say.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        match before {
            Before::WithInfo => {
                action.sa_flags = libc::SA_SIGINFO;
                action.sa_sigaction = with_info as *const () as usize;
            }
            Before::Plain => action.sa_sigaction = plain as *const () as usize,
            Before::Default => action.sa_sigaction = libc::SIG_DFL,
            Before::Ignored => action.sa_sigaction = libc::SIG_IGN,
        }
        assert_eq!(libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut()), 0);
    }
    orlop::catch_faults().unwrap();
    let ward = Ward::open();
    all_is_read(&ward.ill, "ill");
    ward.cut(0);
    nothing_is_read(&ward, &ward.ill, 0, "ill");
    let file = tempfile::tempfile().unwrap();
    file.set_len(8192).unwrap();
    // SAFETY: a new map of a file that nobody else has, which is read while it is there.
    unsafe {
        let (read, shared) = (libc::PROT_READ, libc::MAP_SHARED);
        let map = libc::mmap(std::ptr::null_mut(), 8192, read, shared, file.as_raw_fd(), 0);
        assert_ne!(map, libc::MAP_FAILED);
        file.set_len(0).unwrap();
        let place = map.cast::<u8>().add(5000);
        EXPECTED.store(place as u64, Ordering::Relaxed);
        unreachable!("{}", place.read_volatile());
    }
}

#[test]
fn faults_of_others_go_to_the_handler_that_was_there_before() {
    assert_eq!(run("chained with info").status.code(), Some(77));
    assert_eq!(run("chained").status.code(), Some(79));
    dies("chained to none", libc::SIGBUS);
    dies("chained to ignored", libc::SIGBUS);
}

/// Somebody sends the signal, which is no fault.
fn sent(before: libc::sighandler_t) {
    // SAFETY: these calls take numbers.
    unsafe {
        libc::signal(libc::SIGBUS, before);
        orlop::catch_faults().unwrap();
        libc::raise(libc::SIGBUS);
    }
}

#[test]
fn a_signal_that_was_sent_does_what_it_did_before() {
    dies("sent", libc::SIGBUS);
    passes("sent and ignored");
}
