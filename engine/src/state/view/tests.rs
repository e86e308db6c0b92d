//! Readers beside replacements, for Miri and the sanitizers: what is read was not freed, and what
//! was replaced is freed in the end.

use std::thread;

use super::*;

/// A value that counts how many of its kind are alive.
struct Counted {
    number: Box<u64>,
    alive: Arc<AtomicU64>,
}

impl Counted {
    fn new(number: u64, alive: &Arc<AtomicU64>) -> Self {
        alive.fetch_add(1, Ordering::Relaxed);
        Self { number: Box::new(number), alive: Arc::clone(alive) }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        *self.number = u64::MAX;
        self.alive.fetch_sub(1, Ordering::Release);
    }
}

#[test]
fn readers_go_on_beside_replacements() {
    let last: u64 = if cfg!(miri) { 20 } else { 2000 };
    let alive = Arc::default();
    let cell = ViewCell::new(Counted::new(0, &alive));
    let replace = || {
        for number in 1..=last {
            cell.update(|counted| {
                assert_eq!(*counted.number + 1, number);
                Counted::new(number, &alive)
            });
        }
    };
    thread::scope(|scope| {
        let writer = scope.spawn(replace);
        let mut seen = 0;
        while !writer.is_finished() {
            let now = cell.with(|counted| *counted.number);
            let pinned = cell.pin();
            assert!(seen <= now && now <= *pinned.number && *pinned.number <= last);
            seen = *pinned.number;
            thread::yield_now();
        }
    });
    drop(cell);
    assert_eq!(alive.load(Ordering::Acquire), 0, "every view is freed with its cell");
}

#[test]
fn a_pinned_view_outlives_its_cell() {
    let alive = Arc::default();
    let cell = ViewCell::new(Counted::new(1, &alive));
    let pinned = cell.pin();
    cell.update(|_| Counted::new(2, &alive));
    cell.reclaim(100);
    drop(cell);
    assert_eq!((*pinned.number, alive.load(Ordering::Acquire)), (1, 1));
    drop(pinned);
    assert_eq!(alive.load(Ordering::Acquire), 0);
}
