//! How many descriptors a store holds while it is written to.
//! A binary of its own, with one test: it counts what the whole process holds.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use orlop::{Background, Durability, Store};

fn held() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Segments that had ended were kept open until a sync or a flush, thousands of small ones: then the process
/// had no descriptor left to make the next one durable, and that poisoned the store.
#[test]
fn segments_that_have_ended_are_closed_though_nobody_syncs() {
    for background in [Background::Manual, Background::Thread] {
        let dir = tempfile::tempdir().unwrap();
        let builder = Store::builder().segment_size(64 << 10).background(background);
        let store = builder.open(dir.path().join("store")).unwrap();
        let database = store.database("d").unwrap();
        let before = held();
        let mut most = 0;
        // A frame of more than a quarter of a segment gets one of its own.
        for n in 0..400_u32 {
            let value = vec![n as u8; 17 << 10];
            database.put_with(n.to_be_bytes(), value, Durability::Buffered).unwrap();
            most = most.max(held());
        }
        // Those that may not be on the device, the current one, spares, the stage, and what a flush has open.
        assert!(most <= before + 32, "{most} descriptors, {before} before");
        assert!((0..400_u32).all(|n| database.contains(n.to_be_bytes()).unwrap()));
        store.close().unwrap();
    }
}
