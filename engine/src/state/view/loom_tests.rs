//! Every order of readers, replacements and reclamation, with crossbeam's own epochs under loom.
//!
//! Not here: the memtable's tree, whose nodes loom cannot follow, and the reference counts of pinned
//! views, which are the standard library's. Cells that loom watches stand for what the memtables
//! hold: a read that is not ordered after the write is an error.

#![expect(clippy::arc_with_non_send_sync, reason = "loom's threads are of one system thread")]

use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;

use loom::cell::UnsafeCell;
use loom::thread;

use super::*;
use crate::files::sstable::Graveyard;
use crate::state::memtable::Active;
use crate::state::snapshots::Snapshots;

/// Rounds of reclamation: enough for two epochs to end, few enough for loom.
const ROUNDS: usize = 4;

/// Memory that loom watches.
struct Watched(UnsafeCell<()>);

impl Watched {
    fn new() -> Self {
        let watched = Self(UnsafeCell::new(()));
        watched.write();
        watched
    }

    fn read(&self) {
        self.0.with(|_| ());
    }

    fn write(&self) {
        self.0.with_mut(|_| ());
    }
}

/// Probes that have ended. Not loom's: it counts over all orders.
static FREED: AtomicUsize = AtomicUsize::new(0);

/// A value whose end is a write.
struct Probe(Watched);

impl Drop for Probe {
    fn drop(&mut self) {
        self.0.write();
        FREED.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_view_is_freed_after_its_last_reader() {
    let early = Arc::new(AtomicUsize::new(0));
    let outside = Arc::clone(&early);
    loom::model(move || {
        let cell = Arc::new(ViewCell::new(Probe(Watched::new())));
        let reader = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || cell.with(|probe| probe.0.read()))
        };
        cell.update(|_| Probe(Watched::new()));
        let before = FREED.load(Ordering::Relaxed);
        cell.reclaim(ROUNDS);
        outside.fetch_add(FREED.load(Ordering::Relaxed) - before, Ordering::Relaxed);
        reader.join().unwrap();
    });
    assert!(early.load(Ordering::Relaxed) > 0, "in no order was a view freed by the reclamation");
}

/// A table that some version names: with the last one it is buried.
struct Tables {
    graveyard: Arc<Graveyard>,
    file: Arc<Watched>,
    obsolete: bool,
}

impl Drop for Tables {
    fn drop(&mut self) {
        if self.obsolete {
            self.graveyard.bury(PathBuf::from("table"));
        }
    }
}

#[test]
fn a_file_is_removed_after_its_last_reader() {
    let removed = Arc::new(AtomicUsize::new(0));
    let outside = Arc::clone(&removed);
    loom::model(move || {
        let graveyard = Arc::new(Graveyard::default());
        let file = Arc::new(Watched::new());
        let tables = |file: &Arc<Watched>, obsolete| Tables {
            graveyard: Arc::clone(&graveyard),
            file: Arc::clone(file),
            obsolete,
        };
        let cell = Arc::new(ViewCell::new(tables(&file, true)));
        let reader = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || cell.with(|tables| tables.file.read()))
        };
        let next = Arc::new(Watched::new());
        cell.update(|_| tables(&next, false));
        cell.reclaim(ROUNDS);
        for _ in graveyard.empty() {
            file.write(); // the removal
            outside.fetch_add(1, Ordering::Relaxed);
        }
        reader.join().unwrap();
    });
    assert!(removed.load(Ordering::Relaxed) > 0, "in no order was the file removed");
}

#[test]
fn a_reader_never_reads_below_what_its_view_has_folded() {
    loom::model(|| {
        /// The oldest commit that the tables of a view can be read at.
        struct Folded(Seqno);
        struct Store {
            view: ViewCell<Folded>,
            visible: AtomicU64,
        }
        let store = Arc::new(Store { view: ViewCell::new(Folded(0)), visible: AtomicU64::new(0) });
        let writer = {
            let store = Arc::clone(&store);
            thread::spawn(move || store.visible.store(1, Ordering::Release))
        };
        let reader = {
            let store = Arc::clone(&store);
            thread::spawn(move || {
                store.view.with(|view| {
                    let seqno = store.visible.load(Ordering::Acquire);
                    assert!(seqno >= view.0, "reads at {seqno}, folded up to {}", view.0);
                });
            })
        };
        let kept = Snapshots::default().boundaries(&store.visible, || 0);
        store.view.update(|_| Folded(kept.last().unwrap().seqno));
        writer.join().unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn a_reader_finds_every_commit_that_it_sees() {
    loom::model(|| {
        struct Store {
            view: ViewCell,
            visible: AtomicU64,
            /// What commits 1 and 2 wrote into the memtables with these log floors.
            writes: [Watched; 2],
        }
        let view = View::of(Arc::clone(Active::new(1).memtable()), Version::empty());
        let store = Arc::new(Store {
            view: ViewCell::new(view),
            visible: AtomicU64::new(0),
            writes: [Watched::new(), Watched::new()],
        });
        let leader = {
            let store = Arc::clone(&store);
            thread::spawn(move || {
                store.writes[0].write();
                store.visible.store(1, Ordering::Release);
                // As `flow::room::seal` does it.
                store.view.pin().active.seal(1);
                store.view.update(|view| View {
                    active: Arc::clone(Active::new(2).memtable()),
                    sealed: vec![Arc::clone(&view.active)],
                    ..view.clone()
                });
                store.writes[1].write();
                store.visible.store(2, Ordering::Release);
            })
        };
        store.view.with(|view| {
            for seqno in 1..=view.readable(&store.visible) {
                let mut memtables = std::iter::once(&view.active).chain(&view.sealed);
                assert!(memtables.any(|memtable| memtable.log_floor() == seqno), "{seqno}");
                store.writes[seqno as usize - 1].read();
            }
        });
        leader.join().unwrap();
    });
}

#[test]
fn a_reader_of_an_older_view_reads_at_no_commit_behind_a_load() {
    loom::model(|| {
        let view = View::of(Arc::clone(Active::new(1).memtable()), Version::empty());
        let before = Arc::clone(&view.until);
        let store = Arc::new((ViewCell::new(view), AtomicU64::new(1)));
        let leader = {
            let (store, before) = (Arc::clone(&store), Arc::clone(&before));
            thread::spawn(move || {
                let (view, visible) = &*store;
                // As `flow::install::replace_view` does it for commit 2, which is then published, and one behind it.
                let until = Arc::new(AtomicU64::new(u64::MAX));
                view.update(|view| View { until: Arc::clone(&until), ..view.clone() });
                before.store(1, Ordering::Release);
                visible.store(2, Ordering::Release);
                visible.store(3, Ordering::Release);
            })
        };
        let (view, visible) = &*store;
        view.with(|view| {
            let has_load = !Arc::ptr_eq(&view.until, &before);
            assert!(has_load || view.readable(visible) == 1);
        });
        leader.join().unwrap();
    });
}
