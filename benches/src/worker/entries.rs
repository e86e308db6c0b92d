//! Operations made before the clock starts, and what they must lead to.

use fastrand::Rng;

use crate::engine::{Found, touch};
use crate::shape::{Shape, Values};

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

/// What reading the entries of `numbers` one by one finds.
pub(super) fn reading(values: &Values, numbers: impl IntoIterator<Item = u64>) -> Found {
    let mut found = Found::default();
    numbers.into_iter().for_each(|number| found.add(values.of(number)));
    found
}

/// Which entries a key space must hold: it is asked for at the end.
pub(super) struct Ledger {
    there: Vec<bool>,
}

impl Ledger {
    /// Nothing is there yet; numbers will be below `below`.
    pub(super) fn empty(below: u64) -> Self {
        Self { there: vec![false; below as usize] }
    }

    /// Entries 0 to `below` are there.
    pub(super) fn full(below: u64) -> Self {
        Self { there: vec![true; below as usize] }
    }

    pub(super) fn put(&mut self, numbers: &[u64]) {
        numbers.iter().for_each(|number| self.there[*number as usize] = true);
    }

    pub(super) fn delete(&mut self, numbers: &[u64]) {
        numbers.iter().for_each(|number| self.there[*number as usize] = false);
    }

    /// Entries 0 to `below` are there at the least.
    pub(super) fn grow(&mut self, below: u64) {
        if self.there.len() < below as usize {
            self.there.resize(below as usize, true);
        }
    }

    /// What a scan of everything must find.
    pub(super) fn expected(&self, values: &Values) -> Found {
        let there = (0..).zip(&self.there).filter(|(_, there)| **there);
        reading(values, there.map(|(number, _)| number))
    }
}

/// Sums over entries that follow each other, so that scans of any stretch can be checked.
pub(super) struct Sums {
    /// The sum of all entries before each number.
    before: Vec<u64>,
}

impl Sums {
    /// Of entries 0 to `below`.
    pub(super) fn new(values: &Values, below: u64) -> Self {
        let mut before = Vec::with_capacity(below as usize + 1);
        let mut sum = 0_u64;
        before.push(0);
        for number in 0..below {
            sum = sum.wrapping_add(touch(values.of(number)));
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
