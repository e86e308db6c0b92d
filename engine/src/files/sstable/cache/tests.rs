use super::*;

struct Blocks {
    cache: Cache,
    slots: Arc<Slots>,
}

impl Blocks {
    fn new(blocks: usize, bytes: u64) -> Self {
        let cache = Cache::new(bytes);
        Self { slots: Arc::new(Slots::new(blocks, &cache)), cache }
    }

    /// Reads a block as a table does; whether it was there.
    fn read(&self, at: usize) -> bool {
        let pins = Pins::default();
        if let Some(plain) = self.slots.get(at, &pins) {
            assert_eq!(plain.bytes(), [at as u8; 1000]);
            return true;
        }
        let plain = self.cache.plain(vec![at as u8; 1000]);
        self.cache.keep(7, &self.slots, at, &plain);
        false
    }

    fn resident(&self) -> usize {
        let guard = epoch::pin();
        let slots = self.slots.slots.get().map(Vec::as_slice).unwrap_or_default();
        slots.iter().filter(|slot| slot.is_taken(&guard)).count()
    }
}

/// Waits until everything that was put out has gone: other tests read, too.
fn wait_for_none(held: &AtomicU64) {
    for _ in 0..100_000 {
        if held.load(Ordering::Relaxed) == 0 {
            return;
        }
        epoch::pin().flush();
        std::thread::yield_now();
    }
    panic!("{} bytes that nobody has are counted", held.load(Ordering::Relaxed));
}

#[test]
fn what_is_used_stays_while_a_scan_goes_by() {
    let blocks = Blocks::new(10_000, 200 * cost(1000));
    for _ in 0..3 {
        (0..100).for_each(|at| {
            let _ = blocks.read(at);
        });
    }
    (100..10_000).for_each(|at| {
        let _ = blocks.read(at);
    });
    let hits = (0..100).filter(|at| blocks.read(*at)).count();
    assert!(hits >= 95, "{hits} of 100 were left");
    assert!(blocks.resident() <= 200);
}

#[test]
fn it_never_has_more_than_it_may() {
    for limit in [0, 1, 999, 5000, 3 << 20] {
        let blocks = Blocks::new(5000, limit);
        (0..5000).chain((0..5000).rev()).for_each(|at| {
            let _ = blocks.read(at);
        });
        let cost = blocks.resident() as u64 * cost(1000);
        assert!(cost <= limit, "{cost} of {limit}");
        if limit > 1 << 20 {
            assert!(cost >= limit / 10 * 9, "{cost} of {limit} are used");
        }
    }
}

#[test]
fn values_outlive_what_they_were_read_from() {
    let blocks = Blocks::new(100, 10 * cost(1000));
    blocks.read(0);
    let kept = Arc::clone(blocks.slots.get(0, &Pins::default()).unwrap());
    (0..10).for_each(|_| {
        (1..100).for_each(|at| {
            let _ = blocks.read(at);
        })
    });
    let figures = Arc::clone(&blocks.cache.figures);
    drop(blocks);
    assert_eq!(kept.bytes(), [0; 1000]);
    drop(kept);
    wait_for_none(&figures.held);
}

#[test]
fn a_block_that_comes_back_soon_stays() {
    let blocks = Blocks::new(1000, 100 * cost(1000));
    for _ in 0..2 {
        (0..90).for_each(|at| {
            let _ = blocks.read(at);
        });
    }
    // Number 500 comes, is put out by others, and comes back: now others do not put it out.
    blocks.read(500);
    (600..660).for_each(|at| {
        let _ = blocks.read(at);
    });
    assert!(!blocks.read(500));
    (700..800).for_each(|at| {
        let _ = blocks.read(at);
    });
    assert!(blocks.read(500));
}

#[test]
fn many_threads_read_right_values() {
    let blocks = Blocks::new(300, 40 * cost(1000));
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let blocks = &blocks;
            scope.spawn(move || {
                let mut state = thread + 1;
                for _ in 0..20_000 {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    blocks.read((state >> 33) as usize % 300);
                }
            });
        }
    });
    assert!(blocks.resident() <= 40);
}

#[test]
fn blocks_of_a_table_that_has_gone_take_no_room() {
    let mut blocks = Blocks::new(100, 100 * cost(1000));
    (0..100).for_each(|at| {
        let _ = blocks.read(at);
    });
    blocks.slots = Arc::new(Slots::new(100, &blocks.cache));
    // None of these puts another one out: the old ones are forgotten first.
    for _ in 0..2 {
        (0..100).for_each(|at| {
            let _ = blocks.read(at);
        });
        assert_eq!(blocks.resident(), 100);
    }
}

#[test]
fn a_reader_that_stands_still_does_not_let_it_grow() {
    let blocks = Blocks::new(20_000, 1 << 20);
    blocks.read(0);
    let pins = Pins::default();
    let kept = blocks.slots.get(0, &pins).unwrap();
    (1..20_000).for_each(|at| {
        let _ = blocks.read(at);
    });
    let held = blocks.cache.figures().0;
    assert!(held < 4 << 20, "{held} bytes");
    assert_eq!(kept.bytes(), [0; 1000]);
    drop(pins);
}

#[test]
fn a_table_that_is_freed_by_whoever_puts_a_block_out_stops_nobody() {
    let blocks = Blocks::new(4000, 20 * cost(1000));
    for at in 0..4000 {
        let slots = Arc::new(Slots::new(10, &blocks.cache));
        let plain = blocks.cache.plain(vec![0; 1000]);
        blocks.cache.keep(8, &slots, at % 10, &plain);
        let guard = epoch::pin();
        guard.defer(move || drop(slots));
        guard.flush();
        drop(guard);
        blocks.read(at);
    }
}
