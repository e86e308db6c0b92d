use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

/// Bytes of a group.
const MOST: usize = 1_000;

type Queue = CommitQueue<()>;

fn commit(bytes: usize, durability: Durability) -> Work {
    let writes = WriteSet { encoded_bound: bytes, ..WriteSet::default() };
    Work::Commit { writes, durability }
}

/// Takes everybody out of line, group by group as a leader does, and says how long a commit takes.
fn time_of_each(count: u32, of: [Durability; 2]) -> Duration {
    let mut queue = Queue::new(());
    let log = queue.log.take().unwrap();
    for n in 0..count as usize {
        queue.enter(commit(100, of[n % 2])).unwrap();
    }
    let (mut taken, begun) = (0, Instant::now());
    while taken < count {
        let looks = (0..4).filter(|_| queue.next_group_can_grow(MOST)).count();
        let group = queue.take_group(MOST);
        assert!(group.len() == 10 && (looks == 0 || of[1] == Durability::Synced));
        taken += 10;
        if group[0].1 == Durability::Synced {
            queue.take_off(Box::new(()));
            queue.log = None;
            queue.land();
        }
    }
    drop(log);
    begun.elapsed() / count
}

/// How long it takes to take each of so many requests, of two kinds, out of a line that is nothing else.
fn time_of_plain(count: u32, of: [Durability; 2]) -> Duration {
    let mut queue = Queue::new(());
    let _log = queue.log.take();
    for n in 0..count as usize {
        queue.enter(commit(100, of[n % 2])).unwrap();
    }
    let begun = Instant::now();
    for line in [&mut queue.synced, &mut queue.weaker] {
        while !line.is_empty() {
            let group: Vec<_> = line.drain(..line.len().min(10)).collect();
            drop(group);
        }
    }
    begun.elapsed() / count
}

#[test]
fn a_commit_takes_the_same_time_however_many_wait() {
    use Durability::{Buffered, Synced};
    for of in [[Synced, Synced], [Synced, Buffered], [Buffered, Synced], [Buffered, Buffered]] {
        // The best of a few: others may have the processor meanwhile.
        let best = |count| (0..5).map(|_| time_of_each(count, of)).min().unwrap();
        let (few, many) = (best(2_000), best(200_000));
        let line = format!("{of:?}: {few:?} each where 2,000 wait, {many:?} where 200,000 do");
        // What far memory makes of many requests, it makes of a plain line of them, too.
        let plain = |count| (0..5).map(|_| time_of_plain(count, of)).min().unwrap();
        let far = plain(200_000).as_secs_f64() / plain(2_000).as_secs_f64();
        assert!(many.as_secs_f64() < few.as_secs_f64() * 3.0 * far.max(1.0), "{line}, {far}");
    }
}

#[test]
fn what_a_crowd_has_filled_is_given_back() {
    let mut queue = Queue::new(());
    let _log = queue.log.take();
    (0..100_000).for_each(|_| drop(queue.enter(commit(10, Durability::Synced)).unwrap()));
    while !queue.take_group(MOST).is_empty() {}
    assert!(queue.synced.capacity() <= 2 * SPARE, "{}", queue.synced.capacity());
    assert_eq!((queue.synced_waiting(), queue.synced_bytes), (0, 0));
}

/// What the queue is to do, said plainly: lines of who wants what, in their order.
#[derive(Default)]
struct Plain {
    waiting: Vec<Wish>,
    behind: Vec<Wish>,
    flying: bool,
}

#[derive(Clone, Copy, Debug)]
enum Wish {
    Commit { bytes: usize, durability: Durability, number: usize },
    Lead(usize),
}

impl Wish {
    fn needs_device(&self) -> bool {
        !matches!(self, Wish::Commit { durability, .. } if *durability != Durability::Synced)
    }

    fn work(self) -> Work {
        match self {
            Wish::Commit { bytes, durability, .. } => commit(bytes, durability),
            Wish::Lead(_) => Work::Lead,
        }
    }
}

impl Plain {
    fn enter(&mut self, wish: Wish) {
        let is_behind = self.flying && wish.needs_device();
        if is_behind { self.behind.push(wish) } else { self.waiting.push(wish) }
    }

    fn take_group(&mut self) -> Vec<usize> {
        let needs_device = self.waiting.first().is_some_and(Wish::needs_device);
        let (mut group, mut left, mut sum, mut over) = (Vec::new(), Vec::new(), 0, false);
        for wish in self.waiting.drain(..) {
            over |= matches!(wish, Wish::Lead(_));
            match wish {
                Wish::Commit { bytes, number, .. }
                    if !over && wish.needs_device() == needs_device =>
                {
                    over = !group.is_empty() && sum + bytes > MOST;
                    sum += bytes;
                    if over { left.push(wish) } else { group.push(number) }
                }
                _ => left.push(wish),
            }
        }
        self.waiting = left;
        group
    }

    fn take_off(&mut self) {
        self.flying = true;
        (self.behind, self.waiting) = self.waiting.drain(..).partition(Wish::needs_device);
    }

    fn land(&mut self) {
        self.flying = false;
        self.waiting.append(&mut self.behind);
    }

    fn step_out(&mut self) -> Option<usize> {
        let Some(Wish::Lead(number)) = self.waiting.first() else { return None };
        let number = *number;
        self.waiting.remove(0);
        Some(number)
    }

    fn synced(&self) -> usize {
        let is_synced = |wish: &&Wish| wish.needs_device() && !matches!(wish, Wish::Lead(_));
        self.waiting.iter().chain(&self.behind).filter(is_synced).count()
    }

    fn can_grow(&self) -> bool {
        let bytes = |wish: &Wish| match wish {
            Wish::Commit { bytes, durability: Durability::Synced, .. } => Some(*bytes),
            _ => None,
        };
        let bytes: Option<usize> = self.waiting.iter().map(bytes).sum();
        !self.waiting.is_empty() && bytes.is_some_and(|bytes| bytes < MOST)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Who leads all the time: what it meets is what the plain lines say.
    #[test]
    fn groups_are_those_of_plain_lines(steps in prop::collection::vec((0..8_u8, 1..700_usize), 0..80)) {
        let (mut queue, mut plain, mut tickets) = (Queue::new(()), Plain::default(), Vec::new());
        let _log = queue.log.take();
        for (step, bytes) in steps {
            let number = tickets.len();
            let durability = [Durability::Memory, Durability::Buffered, Durability::Synced];
            let wish = match step {
                0..=3 => Some(Wish::Commit { bytes, durability: durability[bytes % 3], number }),
                4 if bytes % 3 == 0 => Some(Wish::Lead(number)),
                _ => None,
            };
            if let Some(wish) = wish {
                tickets.push(queue.enter(wish.work()).unwrap());
                plain.enter(wish);
            } else if step == 5 && !plain.flying {
                queue.take_off(Box::new(()));
                plain.take_off();
            } else if step == 6 && plain.flying {
                queue.land();
                plain.land();
            } else if let Some(number) = plain.step_out() {
                prop_assert!(Arc::ptr_eq(&queue.leads.front().unwrap().1, &tickets[number]));
                prop_assert!(queue.first() == Some(Kind::Lead));
                queue.step_out();
            } else {
                let group = queue.take_group(MOST);
                let expected = plain.take_group();
                prop_assert_eq!(group.len(), expected.len());
                for ((.., ticket), number) in group.iter().zip(expected) {
                    prop_assert!(Arc::ptr_eq(ticket, &tickets[number]));
                }
            }
            // It is handed to the first, who leads again.
            queue.log = None;
            prop_assert_eq!(queue.synced_waiting(), plain.synced());
            prop_assert_eq!(queue.next_group_can_grow(MOST), plain.can_grow());
        }
    }
}
