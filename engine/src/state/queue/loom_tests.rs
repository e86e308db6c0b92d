//! Every order of writers, leaders and a closer around the queue. What a leader does with the log
//! is a write to memory that loom watches: two leaders at a time are an error.

use loom::cell::UnsafeCell;
use loom::thread;

use super::*;
use crate::state::ticket::{TicketState, tell};
use crate::sync::Mutex;
use orlop_formats::ids::Seqno;

/// The stand-in for the log.
struct Tail {
    bytes: UnsafeCell<Seqno>,
    last: Seqno,
}

type Queue = Arc<Mutex<CommitQueue<Tail>>>;

fn queue() -> Queue {
    let tail = Tail { bytes: UnsafeCell::new(0), last: 0 };
    Arc::new(Mutex::new(CommitQueue::new(tail)))
}

/// A commit, as `flow::write` does it.
fn commit(queue: &Queue) -> Result<Seqno> {
    let mut line = queue.lock();
    if let Some(mut log) = line.take_log(false)? {
        drop(line);
        log.bytes.with_mut(|_| ());
        log.last += 1;
        let last = log.last;
        queue.lock().pass_on(log);
        return Ok(last);
    }
    drop(line);
    commit_in_line(queue)
}

/// A commit that expects company, and so takes its place in the line even if nobody leads.
fn commit_in_line(queue: &Queue) -> Result<Seqno> {
    let work = Work::Commit { writes: WriteSet::default(), durability: Durability::Memory };
    let ticket = queue.lock().enter(work)?;
    loop {
        match ticket.wait() {
            TicketState::Done(result) => return result,
            TicketState::Lead(log) => lead(queue, log),
            TicketState::Waiting => {}
        }
    }
}

fn lead(queue: &Queue, mut log: Box<Tail>) {
    let group = queue.lock().take_group(usize::MAX);
    let mut done = Vec::new();
    for (_, _, ticket) in group {
        log.bytes.with_mut(|_| ());
        log.last += 1;
        done.push((ticket, Ok(log.last)));
    }
    queue.lock().pass_on(log);
    tell(done);
}

/// The end of the queue, as `flow::write::close` does it.
fn close(queue: &Queue) -> Seqno {
    let ticket = queue.lock().enter(Work::Lead).unwrap();
    let TicketState::Lead(log) = ticket.wait() else { panic!("refused before the close") };
    let mut line = queue.lock();
    line.step_out();
    let refused = line.refuse(&Error::Closed);
    drop(line);
    tell(refused.into_iter().map(|ticket| (ticket, Err(Error::Closed))));
    log.bytes.with_mut(|_| ());
    log.last
}

fn spawn_commit(queue: &Queue) -> thread::JoinHandle<Result<Seqno>> {
    let queue = Arc::clone(queue);
    thread::spawn(move || commit(&queue))
}

#[test]
fn every_writer_gets_a_number_of_its_own() {
    loom::model(|| {
        let queue = queue();
        let others = [spawn_commit(&queue), spawn_commit(&queue)];
        let mut numbers = vec![commit(&queue).unwrap()];
        numbers.extend(others.map(|writer| writer.join().unwrap().unwrap()));
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2, 3]);
        assert!(queue.lock().log.is_some(), "the log lies in the queue when nobody waits");
    });
}

#[test]
fn a_close_answers_every_writer() {
    loom::model(|| {
        let queue = queue();
        let writers = [spawn_commit(&queue), spawn_commit(&queue)];
        let last = close(&queue);
        let outcomes = writers.map(|writer| writer.join().unwrap());
        let committed = outcomes.iter().flatten().count() as Seqno;
        assert_eq!(committed, last, "what was committed is in the log, and nothing else");
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(_) | Err(Error::Closed))));
    });
}

#[test]
fn the_background_takes_the_log_between_groups_only() {
    loom::model(|| {
        let queue = queue();
        let writers = [spawn_commit(&queue), spawn_commit(&queue)];
        // As `flow::write::try_with_log` does it.
        let taken = queue.lock().log.take();
        if let Some(log) = taken {
            log.bytes.with_mut(|_| ());
            queue.lock().pass_on(log);
        }
        let mut numbers = writers.map(|writer| writer.join().unwrap().unwrap());
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2]);
    });
}

/// A synced commit, as `flow::write` does it: the log goes on while the group is on its way.
fn synced(queue: &Queue) -> Result<Seqno> {
    let mut line = queue.lock();
    if let Some(log) = line.take_log(true)? {
        drop(line);
        return Ok(fly(queue, log, Vec::new()));
    }
    let work = Work::Commit { writes: WriteSet::default(), durability: Durability::Synced };
    let ticket = line.enter(work)?;
    drop(line);
    loop {
        match ticket.wait() {
            TicketState::Done(result) => return result,
            TicketState::Lead(log) => {
                let group = queue.lock().take_group(usize::MAX);
                fly(queue, log, group.into_iter().map(|(_, _, ticket)| ticket).collect());
            }
            TicketState::Waiting => {}
        }
    }
}

/// Numbers a group, hands the log on, and tells the group when it has landed. Gives the last number.
fn fly(queue: &Queue, mut log: Box<Tail>, group: Vec<Arc<Ticket<Tail>>>) -> Seqno {
    log.bytes.with_mut(|_| ());
    let first = log.last + 1;
    log.last += group.len().max(1) as Seqno;
    let last = log.last;
    queue.lock().take_off(log);
    queue.lock().land();
    tell(group.into_iter().zip((first..).map(Ok)));
    last
}

#[test]
fn the_log_is_found_again_behind_groups_that_fly() {
    loom::model(|| {
        let queue = queue();
        let other = Arc::clone(&queue);
        let flying = thread::spawn(move || synced(&other));
        let weaker = spawn_commit(&queue);
        let mut numbers = vec![
            synced(&queue).unwrap(),
            flying.join().unwrap().unwrap(),
            weaker.join().unwrap().unwrap(),
        ];
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2, 3]);
        assert!(queue.lock().log.is_some(), "nobody leads, and it lies there");
        assert_eq!(queue.lock().synced_waiting(), 0);
    });
}

/// Three who wait for one group: the first by itself, two at one bell.
#[test]
fn everybody_at_a_bell_is_woken() {
    loom::model(|| {
        let queue = queue();
        let log = queue.lock().log.take().unwrap();
        let line_up = || {
            let work = Work::Commit { writes: WriteSet::default(), durability: Durability::Memory };
            queue.lock().enter(work).unwrap()
        };
        let (first, second, third) = (line_up(), line_up(), line_up());
        let waiting = [second, third].map(|ticket| thread::spawn(move || ticket.wait()));
        queue.lock().pass_on(log);
        let TicketState::Lead(log) = first.wait() else { panic!("the first leads") };
        lead(&queue, log);
        for writer in waiting {
            assert!(matches!(writer.join().unwrap(), TicketState::Done(Ok(_))));
        }
    });
}

/// A writer that goes on: its deputy leads, and its result is found by whoever asks.
#[test]
fn a_deputy_leads_for_a_writer_that_is_gone() {
    loom::model(|| {
        let queue = queue();
        let deputy: Arc<Deputy<Tail>> = Arc::default();
        let (desk, line) = (Arc::clone(&deputy), Arc::clone(&queue));
        let leading = thread::spawn(move || {
            while let Some(log) = desk.next() {
                lead(&line, log);
            }
        });
        let work = Work::Commit { writes: WriteSet::default(), durability: Durability::Memory };
        let ticket = queue.lock().leave(work, &deputy, Arc::new(())).unwrap();
        let mine = commit(&queue).unwrap();
        let theirs = ticket.result().unwrap();
        assert_eq!(mine + theirs, 3);
        assert_eq!(ticket.poll(None).unwrap().unwrap(), theirs, "it stays");
        deputy.end();
        leading.join().unwrap();
    });
}

/// A large commit between small ones: those of one kind keep their order.
#[test]
fn none_of_a_kind_goes_behind_one_that_is_too_large() {
    loom::model(|| {
        let queue = queue();
        let log = queue.lock().log.take().unwrap();
        let commit = |bytes| {
            let writes = WriteSet { encoded_bound: bytes, ..WriteSet::default() };
            let work = Work::Commit { writes, durability: Durability::Synced };
            queue.lock().enter(work).unwrap()
        };
        let tickets = [700, 700, 10].map(commit);
        let mut taken = Vec::new();
        while taken.len() < 3 {
            let group = queue.lock().take_group(1_000);
            assert!(group.iter().map(|(writes, ..)| writes.encoded_bound).sum::<usize>() <= 1_000);
            taken.extend(group.into_iter().map(|(_, _, ticket)| ticket));
        }
        assert!(taken.iter().zip(&tickets).all(|(a, b)| Arc::ptr_eq(a, b)));
        assert_eq!(queue.lock().synced_waiting(), 0);
        tell(taken.into_iter().zip((1..).map(Ok)));
        queue.lock().pass_on(log);
    });
}

/// A task that polls with a waker while its commit is told: it is woken, or finds the result.
#[test]
fn a_task_is_woken_or_finds_its_result() {
    struct Count(std::sync::atomic::AtomicU64);
    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    }
    loom::model(|| {
        let deputy: Arc<Deputy<Tail>> = Arc::default();
        let ticket = Ticket::handle(Arc::clone(&deputy), Arc::new(()));
        let told = Arc::clone(&ticket);
        let teller = thread::spawn(move || tell([(told, Ok(7))]));
        let count = Arc::new(Count(std::sync::atomic::AtomicU64::new(0)));
        let waker = std::task::Waker::from(Arc::clone(&count));
        let found = ticket.poll(Some(&waker)).is_some();
        teller.join().unwrap();
        let woken = count.0.load(std::sync::atomic::Ordering::SeqCst);
        assert!(found || woken == 1, "neither woken nor told");
        assert_eq!(ticket.poll(Some(&waker)).unwrap().unwrap(), 7);
        drop((ticket, waker));
        assert_eq!(Arc::strong_count(&count), 1, "a waker that is not needed is not kept");
        assert!(!deputy.has_clients());
    });
}
