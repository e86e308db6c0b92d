//! Every order of a commit, a snapshot and a compaction.

use loom::thread;

use super::*;
use crate::sync::Arc;

struct Store {
    snapshots: Snapshots,
    visible: AtomicU64,
}

fn boundaries(store: &Store) -> Vec<Seqno> {
    store.snapshots.boundaries(&store.visible, || 0).iter().map(|of| of.seqno).collect()
}

fn store() -> Arc<Store> {
    Arc::new(Store { snapshots: Snapshots::default(), visible: AtomicU64::new(1) })
}

#[test]
fn a_compaction_knows_a_snapshot_or_is_older_than_it() {
    loom::model(|| {
        let store = store();
        let writer = {
            let store = Arc::clone(&store);
            thread::spawn(move || {
                store.visible.store(2, Ordering::Release);
                store.visible.store(3, Ordering::Release);
            })
        };
        let reader = {
            let store = Arc::clone(&store);
            thread::spawn(move || store.snapshots.pin(&store.visible, || 0).seqno)
        };
        let kept = boundaries(&store);
        let oldest = store.snapshots.oldest(&store.visible);
        let pinned = reader.join().unwrap();
        writer.join().unwrap();
        // Of each key the newest version at or below each boundary is kept, and everything newer
        // than the last one.
        let newest = kept.last().copied().unwrap();
        assert!(kept.contains(&pinned) || pinned >= newest, "{pinned} is not among {kept:?}");
        assert!(pinned >= oldest, "{pinned} is older than the oldest, {oldest}");
        assert!(kept.is_sorted(), "{kept:?}");
    });
}

#[test]
fn a_pin_holds_until_its_last_holder_lets_go() {
    loom::model(|| {
        let store = store();
        let holder = {
            let store = Arc::clone(&store);
            thread::spawn(move || store.snapshots.pin(&store.visible, || 0).seqno)
        };
        let mine = store.snapshots.pin(&store.visible, || 0).seqno;
        store.visible.store(2, Ordering::Release);
        store.snapshots.unpin(mine);
        let kept = boundaries(&store);
        let theirs = holder.join().unwrap();
        assert!(kept.contains(&theirs) || theirs >= 2, "{theirs} is not among {kept:?}");
        assert_eq!(store.snapshots.count(), 1);
        store.snapshots.unpin(theirs);
        assert_eq!(store.snapshots.count(), 0);
    });
}
