//! What the simulated disk keeps and what it loses.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use super::*;

pub(super) fn path(name: &str) -> &Path {
    Path::new(name)
}

pub(super) fn write(env: &SimEnv, name: &str, bytes: &[u8]) -> io::Result<Box<dyn WriteFile>> {
    let mut file = env.create(path(name))?;
    file.write_at(0, bytes)?;
    Ok(file)
}

/// A file durable in bytes and name.
pub(super) fn durable(env: &SimEnv, name: &str, bytes: &[u8]) {
    write(env, name, bytes).unwrap().sync().unwrap();
    env.sync_dir(path(name).parent().unwrap()).unwrap();
}

pub(super) fn read(env: &SimEnv, name: &str) -> Option<Vec<u8>> {
    match env.read(path(name)) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::NotFound);
            None
        }
    }
}

/// All files of a disk with their bytes.
pub(super) fn contents(env: &SimEnv) -> Vec<(String, Vec<u8>)> {
    let files = env.list(path("/")).unwrap();
    let bytes = |name: String| read(env, &name).map(|bytes| (name, bytes));
    files.into_iter().filter_map(|entry| bytes(entry.name)).collect()
}

/// What crashes with the dice of many seeds make of one file.
pub(super) fn outcomes(env: &SimEnv, name: &str) -> BTreeSet<Option<Vec<u8>>> {
    (0..400).map(|seed| read(&env.crash(Keep::Random(seed)), name)).collect()
}

#[test]
fn synced_bytes_stay_and_unsynced_go() {
    let env = SimEnv::new(1);
    durable(&env, "f", b"synced");
    let mut file = env.open_write(path("f")).unwrap();
    file.write_at(0, b"LOST").unwrap();
    file.write_at(6, b" tail").unwrap();
    assert_eq!(read(&env, "f").unwrap(), b"LOSTed tail");
    assert_eq!(read(&env.crash(Keep::Nothing), "f").unwrap(), b"synced");
    assert_eq!(read(&env.crash(Keep::Everything), "f").unwrap(), b"LOSTed tail");
    file.set_len(2).unwrap();
    assert_eq!(read(&env.crash(Keep::Nothing), "f").unwrap(), b"synced");
    file.sync().unwrap();
    assert_eq!(env.pending(), 0);
    assert_eq!(read(&env.crash(Keep::Nothing), "f").unwrap(), b"LO");
}

#[test]
fn a_name_is_lost_without_a_directory_sync() {
    let env = SimEnv::new(1);
    let mut file = write(&env, "f", b"bytes").unwrap();
    file.sync().unwrap();
    assert_eq!(read(&env.crash(Keep::Nothing), "f"), None);
    env.sync_dir(path("/")).unwrap();
    assert_eq!(read(&env.crash(Keep::Nothing), "f").unwrap(), b"bytes");
}

#[test]
fn bytes_are_lost_without_a_file_sync() {
    let env = SimEnv::new(1);
    let mut log = env.create_log(path("log"), 4096).unwrap();
    env.sync_dir(path("/")).unwrap();
    // The name is durable, neither the bytes nor the length are.
    assert_eq!(read(&env.crash(Keep::Nothing), "log").unwrap(), b"");
    log.sync().unwrap();
    assert_eq!(read(&env.crash(Keep::Nothing), "log").unwrap(), vec![0; 4096]);
}

#[test]
fn a_lost_directory_takes_its_files_with_it() {
    let env = SimEnv::new(1);
    env.create_dir(path("store")).unwrap();
    env.create_dir(path("store/inner")).unwrap();
    durable(&env, "store/inner/f", b"deep");
    durable(&env, "store/f", b"bytes");
    let lost = env.crash(Keep::Nothing);
    assert_eq!(read(&lost, "store/f"), None);
    assert!(lost.list(path("store")).is_err());
    // Nothing of it shines through when the directory is made again.
    lost.create_dir(path("store")).unwrap();
    assert_eq!(lost.list(path("store")).unwrap(), []);

    env.sync_dir(path("/")).unwrap();
    let kept = env.crash(Keep::Nothing);
    assert_eq!(read(&kept, "store/f").unwrap(), b"bytes");
    assert_eq!(read(&kept, "store/inner/f").unwrap(), b"deep");
}

#[test]
fn a_lost_remove_resurrects_the_file() {
    let env = SimEnv::new(1);
    durable(&env, "f", b"dead");
    env.remove(path("f")).unwrap();
    assert_eq!(read(&env, "f"), None);
    assert_eq!(read(&env.crash(Keep::Nothing), "f").unwrap(), b"dead");
    assert_eq!(outcomes(&env, "f").len(), 2);
    env.sync_dir(path("/")).unwrap();
    assert_eq!(read(&env.crash(Keep::Nothing), "f"), None);
}

#[test]
fn a_lost_rename_leaves_both_files_as_they_were() {
    let env = SimEnv::new(1);
    durable(&env, "old", b"old");
    durable(&env, "new", b"new");
    env.rename(path("new"), path("old")).unwrap();
    let lost = env.crash(Keep::Nothing);
    assert_eq!(read(&lost, "old").unwrap(), b"old");
    assert_eq!(read(&lost, "new").unwrap(), b"new");
    // Never half of it.
    for seed in 0..100 {
        let crashed = env.crash(Keep::Random(seed));
        let renamed = read(&crashed, "new").is_none();
        assert_eq!(read(&crashed, "old").unwrap(), if renamed { b"new" } else { b"old" });
    }
    env.sync_dir(path("/")).unwrap();
    assert_eq!(contents(&env.crash(Keep::Nothing)), [("old".into(), b"new".to_vec())]);
}

#[test]
fn a_rename_between_directories_takes_two_syncs() {
    let env = SimEnv::new(1);
    env.create_dir(path("store")).unwrap();
    durable(&env, "f", b"moved");
    env.rename(path("f"), path("store/f")).unwrap();
    env.sync_dir(path("store")).unwrap();
    let both = env.crash(Keep::Nothing);
    assert!(read(&both, "f").is_some() && read(&both, "store/f").is_some());
    env.sync_dir(path("/")).unwrap();
    let one = env.crash(Keep::Nothing);
    assert!(read(&one, "f").is_none() && read(&one, "store/f").is_some());
}

#[test]
fn a_link_is_one_file_with_two_names_after_a_crash_too() {
    let env = SimEnv::new(1);
    durable(&env, "a", b"one");
    env.link(path("a"), path("b")).unwrap();
    assert_eq!(read(&env.crash(Keep::Nothing), "b"), None);
    env.sync_dir(path("/")).unwrap();
    let crashed = env.crash(Keep::Nothing);
    crashed.open_write(path("a")).unwrap().write_at(0, b"ONE").unwrap();
    assert_eq!(read(&crashed, "b").unwrap(), b"ONE");
}

#[test]
fn a_prefix_keeps_units_in_order() {
    let env = SimEnv::new(1);
    durable(&env, "f", b"....");
    let mut file = env.open_write(path("f")).unwrap();
    for (at, byte) in [(2, b"a"), (0, b"b"), (3, b"c")] {
        file.write_at(at, byte).unwrap();
    }
    assert_eq!(env.pending(), 3);
    let kept: Vec<_> = (0..5).map(|n| read(&env.crash(Keep::Prefix(n)), "f").unwrap()).collect();
    assert_eq!(kept, [b"....", b"..a.", b"b.a.", b"b.ac", b"b.ac"]);
}

#[test]
fn random_tears_writes_at_sectors_and_forgets_order() {
    let env = SimEnv::new(1);
    durable(&env, "f", &[b'.'; 1536]);
    let mut file = env.open_write(path("f")).unwrap();
    file.write_at(500, &[b'x'; 536]).unwrap(); // sectors 0, 1 and 2, parts of 0 and 2
    let outcomes = outcomes(&env, "f");
    assert_eq!(outcomes.len(), 8, "all subsets of three sectors");
    for outcome in outcomes.into_iter().flatten() {
        assert!(outcome[..500].iter().chain(&outcome[1036..]).all(|&b| b == b'.'));
        for sector in [500..512, 512..1024, 1024..1036] {
            let first = outcome[sector.start];
            assert!(outcome[sector].iter().all(|&b| b == first), "torn inside a sector");
        }
    }
    // The younger of two files may survive alone.
    env.create(path("older")).unwrap();
    env.create(path("younger")).unwrap();
    let names = |seed| {
        let crashed = env.crash(Keep::Random(seed));
        [read(&crashed, "older").is_some(), read(&crashed, "younger").is_some()]
    };
    assert_eq!((0..100).map(names).collect::<BTreeSet<_>>().len(), 4);
    assert_eq!(contents(&env.crash(Keep::Random(3))), contents(&env.crash(Keep::Random(3))));
}

#[test]
fn a_lost_sector_before_a_kept_one_reads_as_zeros() {
    let env = SimEnv::new(1);
    durable(&env, "f", b"");
    env.open_write(path("f")).unwrap().write_at(0, &[1; 1024]).unwrap();
    let mut torn = vec![0; 512];
    torn.extend([1; 512]);
    assert!(outcomes(&env, "f").contains(&Some(torn)));
}

#[test]
fn a_submit_is_not_durable_before_its_reap() {
    let env = SimEnv::new(1);
    let mut log = env.create_log(path("log"), 4).unwrap();
    log.sync().unwrap();
    env.sync_dir(path("/")).unwrap();
    log.submit(0, b"sync".to_vec(), true).unwrap();
    log.sync().unwrap(); // covers what was reaped: nothing
    assert_eq!(read(&env.crash(Keep::Nothing), "log").unwrap(), [0; 4]);
    assert_eq!(outcomes(&env, "log").len(), 2);
    log.reap().unwrap();
    assert_eq!(read(&env.crash(Keep::Nothing), "log").unwrap(), b"sync");

    // Without a sync, the reap changes nothing; the sync of the next write covers it.
    log.submit(0, b"lost".to_vec(), false).unwrap();
    log.reap().unwrap();
    assert_eq!(read(&env.crash(Keep::Nothing), "log").unwrap(), b"sync");
    log.submit(4, b"!".to_vec(), true).unwrap();
    log.reap().unwrap();
    assert_eq!(read(&env.crash(Keep::Nothing), "log").unwrap(), b"lost!");

    // Dropped in flight: done, but the sync was told to nobody.
    log.submit(0, b"DROP".to_vec(), true).unwrap();
    drop(log);
    assert_eq!(read(&env.crash(Keep::Nothing), "log").unwrap(), b"lost!");
    assert_eq!(read(&env, "log").unwrap(), b"DROP!");
}

#[test]
fn a_kill_keeps_the_page_cache_and_makes_nothing_durable() {
    let env = SimEnv::new(1);
    let lock = env.lock(path("LOCK")).unwrap();
    let mut log = env.create_log(path("log"), 0).unwrap();
    log.submit(0, b"written".to_vec(), true).unwrap();
    let next = env.kill();
    assert_eq!(read(&next, "log").unwrap(), b"written");
    assert_eq!(next.operations(), 0);
    assert_eq!(contents(&next.crash(Keep::Nothing)), []);
    next.lock(path("LOCK")).unwrap(); // the holder died
    drop(lock);
    // The next process can make it durable, and the old one no longer touches this disk.
    next.open_write(path("log")).unwrap().sync().unwrap();
    next.sync_dir(path("/")).unwrap();
    log.reap().unwrap();
    log.submit(0, b"zombie!".to_vec(), true).unwrap();
    log.reap().unwrap();
    assert_eq!(read(&next.crash(Keep::Nothing), "log").unwrap(), b"written");
}

#[test]
fn a_crashed_disk_is_a_disk_of_its_own() {
    let env = SimEnv::new(1);
    durable(&env, "f", b"before");
    let _lock = env.lock(path("LOCK")).unwrap();
    env.set_now(99);
    env.cut_after(0);
    env.fail_at(1, FaultKind::Io);
    let crashed = env.crash(Keep::Everything);
    assert_eq!((crashed.operations(), crashed.trace().len(), crashed.now_ms()), (0, 0, 99));
    assert!(!crashed.is_cut());
    crashed.lock(path("LOCK")).unwrap();
    crashed.open_write(path("f")).unwrap().write_at(0, b"after!").unwrap();
    assert_eq!(read(&env, "f").unwrap(), b"before");
    assert_eq!(read(&crashed, "f").unwrap(), b"after!");
    // Ids made after a crash must not be those made before it.
    let (id, after) = (SimEnv::new(1).random(), crashed.random());
    assert_eq!(id, after, "none was drawn before");
    assert_ne!(crashed.crash(Keep::Nothing).random(), after);
}

#[test]
fn a_mapping_is_an_image_of_its_moment() {
    let env = SimEnv::new(1);
    durable(&env, "f", b"then");
    let mapping = env.map(path("f")).unwrap();
    env.open_write(path("f")).unwrap().write_at(0, b"now.").unwrap();
    assert_eq!(mapping.bytes(), b"then");
}

#[test]
fn keeping_everything_is_what_the_program_saw() {
    // A walk of random changes, syncs in between: cache = medium + all that is pending.
    for seed in 0..200 {
        let env = SimEnv::new(seed);
        let mut dice = disk::Random::of(seed);
        for _ in 0..60 {
            let name = ["a", "b", "c", "d"][dice.next() as usize % 4];
            let other = ["a", "b", "c", "d"][dice.next() as usize % 4];
            let at = dice.next() % 2000;
            // Refusals are fine: the walk stumbles over missing and taken names.
            let _ = match dice.next() % 8 {
                0 => write(&env, name, &[seed as u8; 100]).map(drop),
                1 => env.remove(path(name)),
                2 => env.rename(path(name), path(other)),
                3 => env.link(path(name), path(other)),
                4 => env.sync_dir(path("/")),
                5 => env.open_write(path(name)).and_then(|mut file| file.sync()),
                6 => env.open_write(path(name)).and_then(|mut file| file.set_len(at)),
                _ => env.open_write(path(name)).and_then(|mut file| file.write_at(at, b"walk")),
            };
            assert_eq!(contents(&env.crash(Keep::Everything)), contents(&env), "seed {seed}");
            assert_eq!(contents(&env.kill()), contents(&env));
        }
        let all = Keep::Prefix(env.pending());
        assert_eq!(contents(&env.crash(all)), contents(&env));
    }
}
