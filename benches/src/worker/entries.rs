//! Operations made before the clock starts, and what they must lead to.

use fastrand::Rng;

use crate::engine::Found;
use crate::shape::{PLAIN, Shape, Values};

/// The keys of a row of operations, in one piece of memory.
pub(super) struct Keys {
    numbers: Vec<u64>,
    bytes: Vec<u8>,
    size: usize,
}

impl Keys {
    pub(super) fn new(shape: &Shape, numbers: Vec<u64>) -> Self {
        let size = shape.key_size;
        let mut bytes = vec![0; numbers.len() * size];
        for (number, key) in numbers.iter().zip(bytes.chunks_exact_mut(size)) {
            shape.write_key(*number, key);
        }
        Self { numbers, bytes, size }
    }

    /// Keys that lie right behind those of `numbers`: one byte longer, so in no store.
    pub(super) fn beside(shape: &Shape, numbers: Vec<u64>) -> Self {
        let size = shape.key_size + 1;
        let mut bytes = vec![b'!'; numbers.len() * size];
        for (number, key) in numbers.iter().zip(bytes.chunks_exact_mut(size)) {
            shape.write_key(*number, &mut key[..size - 1]);
        }
        Self { numbers, bytes, size }
    }

    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    #[inline]
    pub(super) fn number(&self, at: usize) -> u64 {
        self.numbers[at]
    }

    #[inline]
    pub(super) fn key(&self, at: usize) -> &[u8] {
        &self.bytes[at * self.size..][..self.size]
    }

    /// The first `count` numbers.
    pub(super) fn numbers(&self, count: usize) -> &[u64] {
        &self.numbers[..count]
    }
}

/// `count` numbers below `below`, each as likely, with repetition.
pub(super) fn at_random(random: &mut Rng, count: u64, below: u64) -> Vec<u64> {
    (0..count).map(|_| random.u64(0..below)).collect()
}

/// Every number below `below` once, in a random order.
pub(super) fn shuffled(random: &mut Rng, below: u64) -> Vec<u64> {
    let mut numbers: Vec<u64> = (0..below).collect();
    random.shuffle(&mut numbers);
    numbers
}

/// What reading the entries of `numbers` one by one finds, as they were loaded.
pub(super) fn reading(values: &Values, numbers: impl IntoIterator<Item = u64>) -> Found {
    let mut found = Found::default();
    numbers.into_iter().for_each(|number| found.add(values.of(number)));
    found
}

/// Which entries a key space must hold, and in which version: it is asked for at the end.
pub(super) struct Ledger {
    versions: Vec<Option<u32>>,
    /// The next version that no entry has had.
    next: u32,
}

impl Ledger {
    /// Nothing is there yet; numbers will be below `below`.
    pub(super) fn empty(below: u64) -> Self {
        Self { versions: vec![None; below as usize], next: PLAIN + 1 }
    }

    /// Entries 0 to `below` are there, as they were loaded.
    pub(super) fn full(below: u64) -> Self {
        Self { versions: vec![Some(PLAIN); below as usize], next: PLAIN + 1 }
    }

    /// The version of the first of the next row of puts; those that follow count up.
    pub(super) fn next_version(&self) -> u32 {
        self.next
    }

    /// Ends a row of `count` puts.
    pub(super) fn took(&mut self, count: usize) {
        self.next = self.next.wrapping_add(count as u32).max(PLAIN + 1);
    }

    /// Entry `number` was put in `version`.
    pub(super) fn put(&mut self, number: u64, version: u32) {
        let at = number as usize;
        if self.versions.len() <= at {
            self.versions.resize(at + 1, None);
        }
        self.versions[at] = Some(version);
    }

    /// Entries were put as they are loaded.
    pub(super) fn put_plain(&mut self, numbers: &[u64]) {
        numbers.iter().for_each(|number| self.put(*number, PLAIN));
    }

    /// Entries were put one after the other, in versions from `first` on.
    pub(super) fn put_all(&mut self, numbers: impl IntoIterator<Item = u64>, first: u32) {
        for (at, number) in numbers.into_iter().enumerate() {
            self.put(number, first.wrapping_add(at as u32));
        }
    }

    pub(super) fn delete(&mut self, numbers: &[u64]) {
        numbers.iter().for_each(|number| self.versions[*number as usize] = None);
    }

    /// What a get of entry `number` must find now.
    pub(super) fn get(&self, values: &Values, number: u64) -> Found {
        match self.versions.get(number as usize) {
            Some(Some(version)) => Found { entries: 1, sum: values.sum(number, *version) },
            _ => Found::default(),
        }
    }

    /// What a scan of everything must find.
    pub(super) fn expected(&self, values: &Values) -> Found {
        let mut found = Found::default();
        (0..self.versions.len()).for_each(|number| found.merge(self.get(values, number as u64)));
        found
    }
}

/// Sums over entries that follow each other, so that scans of any stretch can be checked.
pub(super) struct Sums {
    /// The sum of all entries before each number.
    before: Vec<u64>,
}

impl Sums {
    /// Of entries 0 to `below`, all of which are there: in the versions of `ledger`, or plain where
    /// it does not know them yet.
    pub(super) fn new(values: &Values, ledger: &Ledger, below: u64) -> Self {
        let mut before = Vec::with_capacity(below as usize + 1);
        let mut sum = 0_u64;
        before.push(0);
        for number in 0..below {
            let known = ledger.get(values, number);
            let of_it = if known.entries > 0 { known.sum } else { values.sum(number, PLAIN) };
            sum = sum.wrapping_add(of_it);
            before.push(sum);
        }
        Self { before }
    }

    /// What a scan of at most `limit` entries from `from` on finds while entries 0 to `count` are
    /// there.
    pub(super) fn scan(&self, from: u64, limit: u64, count: u64) -> Found {
        let to = (from + limit).min(count).max(from);
        let sum = self.before[to as usize].wrapping_sub(self.before[from as usize]);
        Found { entries: to - from, sum }
    }
}
