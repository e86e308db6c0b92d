//! Decompressed values of blocks, of those that are read often.
//!
//! Each block of a compressed table has a slot in its table: who looks for it loads one pointer, takes no lock and
//! searches nothing. What is in slots is freed by epochs, as views are. Whoever puts something into a slot, or takes it
//! out, has the lock of the shard that the block belongs to.
//!
//! Which blocks stay is decided as S3-FIFO has it (Yang et al., SOSP 2023): a new one goes into a small queue, and from
//! there into the main one if it was used meanwhile, else out. So what is read once drives out nothing that is read
//! often. A block that comes back soon after it went goes into the main queue at once.

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::ops::Range;

use orlop_formats::ids::FileNumber;

use crate::sync::epoch::{self, Atomic, Guard, Owned};
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, OnceLock, Ordering, Weak};

/// The plain values of one block.
#[derive(Debug)]
pub(crate) struct Plain {
    bytes: Vec<u8>,
    /// Somebody has asked for it since it came, or since it was spared.
    used: AtomicBool,
    /// The counts that it is part of.
    figures: Arc<Figures>,
}

/// What is counted for all tables.
#[derive(Debug, Default)]
struct Figures {
    /// Bytes of all blocks that are in memory: in slots, or kept by values that were read; and of the slots.
    held: AtomicU64,
    /// Blocks that were not there when they were wanted.
    misses: AtomicU64,
    /// Tables that have gone.
    gone: AtomicU64,
}

impl Plain {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes of one value.
    pub(crate) fn part(&self, range: &Range<usize>) -> &[u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.figures.held.fetch_sub(cost(self.bytes.len()), Ordering::Relaxed);
    }
}

/// What a block of so many plain bytes takes, with what is kept to find it.
fn cost(len: usize) -> u64 {
    len as u64 + 128
}

/// Keeps what was read from slots, from the first that is asked for on; for the length of a read.
#[derive(Default)]
pub(crate) struct Pins(OnceCell<Guard>);

impl Pins {
    fn guard(&self) -> &Guard {
        self.0.get_or_init(epoch::pin)
    }
}

/// A place for one block.
#[derive(Debug, Default)]
struct Slot {
    plain: Atomic<Arc<Plain>>,
    /// When it was put out last, by the clock of its shard; 0: never.
    left: AtomicU64,
}

/// Blocks that are out of their slots, and to be freed when nobody can be reading them.
type Out<'g> = Vec<epoch::Shared<'g, Arc<Plain>>>;

/// The places of a table's blocks, from the first that is kept on.
#[derive(Debug)]
pub(super) struct Slots {
    slots: OnceLock<Vec<Slot>>,
    blocks: usize,
    figures: Arc<Figures>,
}

impl Slots {
    pub(super) fn new(blocks: usize, cache: &Cache) -> Self {
        Self { slots: OnceLock::new(), blocks, figures: Arc::clone(&cache.figures) }
    }

    /// The values of block number `at`, if they are here.
    pub(super) fn get<'g>(&'g self, at: usize, pins: &'g Pins) -> Option<&'g Arc<Plain>> {
        let slot = self.slots.get()?.get(at)?;
        let plain = slot.plain.load(Ordering::Acquire, pins.guard());
        // SAFETY: what is in a slot was made by `put`, and is freed only after all guards of now are gone, or with
        // the slots themselves; both are borrowed for as long as the result.
        let plain = unsafe { plain.as_ref() }?;
        // Threads that read the same block write nothing that the others read, but for the first time.
        if !plain.used.load(Ordering::Relaxed) {
            plain.used.store(true, Ordering::Relaxed);
        }
        Some(plain)
    }

    /// The slot of a block, which is made if there is none yet.
    fn slot(&self, at: usize) -> Option<&Slot> {
        let make = || {
            let slots: Vec<Slot> = (0..self.blocks).map(|_| Slot::default()).collect();
            self.figures.held.fetch_add(slot_bytes(slots.len()), Ordering::Relaxed);
            slots
        };
        self.slots.get_or_init(make).get(at)
    }
}

impl Slot {
    /// Puts it there, or nothing. Only who has the lock of the shard.
    fn put<'g>(&self, plain: Option<Arc<Plain>>, guard: &'g Guard, out: &mut Out<'g>) {
        let old = match plain {
            Some(plain) => self.plain.swap(Owned::new(plain), Ordering::AcqRel, guard),
            None => self.plain.swap(epoch::Shared::null(), Ordering::AcqRel, guard),
        };
        if !old.is_null() {
            out.push(old);
        }
    }

    /// Whether it is there, and used since this was asked last. Only who has the lock of the shard.
    fn take_used(&self, guard: &Guard) -> bool {
        let plain = self.plain.load(Ordering::Acquire, guard);
        // SAFETY: as in `get`, with a guard that the caller holds for longer than the reference lives here.
        let plain = unsafe { plain.as_ref() };
        plain.is_some_and(|plain| plain.used.swap(false, Ordering::Relaxed))
    }

    fn is_taken(&self, guard: &Guard) -> bool {
        !self.plain.load(Ordering::Acquire, guard).is_null()
    }
}

fn slot_bytes(count: usize) -> u64 {
    (count * size_of::<Slot>()) as u64
}

impl Drop for Slots {
    fn drop(&mut self) {
        // Whoever has the lock of a shard may be the one who frees this: so it takes none.
        self.figures.gone.fetch_add(1, Ordering::Release);
        let Some(slots) = self.slots.get_mut() else { return };
        self.figures.held.fetch_sub(slot_bytes(slots.len()), Ordering::Relaxed);
        for slot in slots {
            let plain = std::mem::replace(&mut slot.plain, Atomic::null());
            // SAFETY: `&mut self` proves that nobody reads; it is taken out, so nothing can load it again.
            drop(unsafe { plain.try_into_owned() });
        }
    }
}

/// A block that is in its slot.
#[derive(Debug)]
struct Resident {
    slots: Weak<Slots>,
    at: usize,
    cost: u64,
}

/// The blocks of one part of all, in the order in which they came.
#[derive(Debug, Default)]
struct Queue {
    blocks: VecDeque<Resident>,
    cost: u64,
}

impl Queue {
    fn push(&mut self, block: Resident) {
        self.cost += block.cost;
        self.blocks.push_back(block);
    }

    fn pop(&mut self) -> Option<Resident> {
        let block = self.blocks.pop_front()?;
        self.cost -= block.cost;
        Some(block)
    }

    /// Forgets the blocks of tables that have gone.
    fn forget_gone(&mut self) {
        self.blocks.retain(|block| block.slots.strong_count() > 0);
        self.cost = self.blocks.iter().map(|block| block.cost).sum();
    }
}

#[derive(Debug, Default)]
struct Shard {
    small: Queue,
    main: Queue,
    /// Counts the blocks that were put out.
    clock: u64,
    /// So many tables had gone when their blocks were forgotten last.
    gone: u64,
}

/// A shard has at least so many bytes, so that a large block has room in it.
const SHARD_BYTES: u64 = 1 << 20;

/// Shards, at most.
const SHARDS: u64 = 16;

/// One part in so many is the small queue.
const SMALL_PART: u64 = 10;

/// While values and readers keep this part of all more than it may have, nothing is put out: it would be kept, too.
const SLACK_PART: u64 = 4;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    shards: Vec<Mutex<Shard>>,
    /// Bytes of a shard.
    limit: u64,
    figures: Arc<Figures>,
}

impl Cache {
    /// A cache of so many bytes; 0: it takes nothing.
    pub(crate) fn new(bytes: u64) -> Self {
        let shards = (bytes / SHARD_BYTES).clamp(u64::from(bytes > 0), SHARDS);
        Self {
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            limit: bytes.checked_div(shards).unwrap_or_default(),
            figures: Arc::default(),
        }
    }

    /// Whether it takes anything.
    pub(super) fn takes(&self) -> bool {
        !self.shards.is_empty()
    }

    /// Bytes of all blocks that are in memory and of their slots, and how many blocks were not there when they were
    /// wanted.
    pub(crate) fn figures(&self) -> (u64, u64) {
        let Figures { held, misses, .. } = &*self.figures;
        (held.load(Ordering::Relaxed), misses.load(Ordering::Relaxed))
    }

    /// Blocks as they are read are made so.
    pub(super) fn plain(&self, bytes: Vec<u8>) -> Arc<Plain> {
        self.figures.held.fetch_add(cost(bytes.len()), Ordering::Relaxed);
        self.figures.misses.fetch_add(1, Ordering::Relaxed);
        let used = AtomicBool::new(false);
        Arc::new(Plain { bytes, used, figures: Arc::clone(&self.figures) })
    }

    /// Keeps the values of a block, if there is room for them.
    pub(super) fn keep(
        &self,
        table: FileNumber,
        slots: &Arc<Slots>,
        at: usize,
        plain: &Arc<Plain>,
    ) {
        let cost = cost(plain.bytes.len());
        let room = self.limit * self.shards.len() as u64;
        let held = self.figures.held.load(Ordering::Relaxed);
        // What a reader that stands still keeps from being freed must not grow without end.
        if held > room + room / SLACK_PART + SHARD_BYTES || cost > self.limit / 2 {
            return;
        }
        let Some(shard) = self.shard(table, at) else { return };
        let Some(slot) = slots.slot(at) else { return };
        // Pinned before the lock and freed behind it: what is freed then may be whole tables.
        let guard = epoch::pin();
        let mut out = Out::new();
        {
            let mut shard = shard.lock();
            // Another reader may have been first.
            if slot.is_taken(&guard) {
                return;
            }
            slot.put(Some(Arc::clone(plain)), &guard, &mut out);
            let block = Resident { slots: Arc::downgrade(slots), at, cost };
            shard.take_in(block, slot.left.load(Ordering::Relaxed));
            let gone = self.figures.gone.load(Ordering::Acquire);
            shard.shrink(self.limit, gone, &guard, &mut out);
        }
        if !out.is_empty() {
            free(out, &guard);
        }
    }

    fn shard(&self, table: FileNumber, at: usize) -> Option<&Mutex<Shard>> {
        // Blocks that lie beside each other are read beside each other.
        let mixed = table.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(at as u64);
        let number = mixed.checked_rem(self.shards.len() as u64)?;
        self.shards.get(usize::try_from(number).ok()?)
    }
}

fn free(out: Out<'_>, guard: &Guard) {
    for old in out {
        // SAFETY: a swap has taken it out of the only place where others find it, and nobody else can have taken the
        // same out. It is freed after every guard of now is gone.
        unsafe { guard.defer_destroy(old) };
    }
    // Now rather than in a heap with others: a block is large.
    guard.flush();
}

impl Shard {
    /// `left`: when the block was put out last.
    fn take_in(&mut self, block: Resident, left: u64) {
        let is_back = left > 0 && self.clock - left < self.main.blocks.len() as u64;
        if is_back { self.main.push(block) } else { self.small.push(block) }
    }

    /// Puts blocks out until there are no more than `limit` bytes. `gone`: how many tables have gone.
    fn shrink<'g>(&mut self, limit: u64, gone: u64, guard: &'g Guard, out: &mut Out<'g>) {
        if self.gone != gone {
            self.gone = gone;
            self.small.forget_gone();
            self.main.forget_gone();
        }
        // Each is spared once at most: readers cannot keep this going.
        let mut spared = self.small.blocks.len() + self.main.blocks.len();
        while self.small.cost + self.main.cost > limit {
            let from_small = self.small.cost > limit / SMALL_PART || self.main.blocks.is_empty();
            let popped = if from_small { self.small.pop() } else { self.main.pop() };
            let Some(block) = popped else { return };
            // The table may have gone meanwhile.
            let Some(slots) = block.slots.upgrade() else { continue };
            let Some(slot) = slots.slot(block.at) else { continue };
            if spared > 0 && slot.take_used(guard) {
                spared -= 1;
                self.main.push(block);
                continue;
            }
            slot.put(None, guard, out);
            self.clock += 1;
            slot.left.store(self.clock, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
#[cfg(not(any(loom, feature = "shuttle")))]
mod tests;
