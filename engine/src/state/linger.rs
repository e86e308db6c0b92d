//! How long the leader of a synced group waits for more writers.
//!
//! Writers that commit again at once fall into two halves: while the group of one half is on its way to
//! the device the other half lines up, and no group ever holds more than half of them. So a leader
//! counts who was let go by the last group and who was left waiting behind it: that many can come. It
//! waits for them, but no longer than a sync takes.
//!
//! Writers that think for longer than that come too late, and waiting for them only makes everybody
//! slower. So a leader that has waited in vain takes a rest from waiting, of one group, then of two, of
//! four, and so on; once they come in time again, the rests are over. A writer that was always alone
//! never waits.

use std::time::Duration;

/// No sync is worth a longer wait: waiting keeps a processor busy.
const LONGEST: Duration = Duration::from_millis(1);

/// Groups of the longest rest.
const LONGEST_REST: u32 = 64;

/// What the last synced groups have shown.
#[derive(Debug, Default)]
pub(crate) struct Linger {
    /// Writers of the last one, and who waited when it was done.
    writers: usize,
    /// How long a sync takes: a mean in which the last ones count most.
    sync: Duration,
    /// Groups that nobody waits for writers of, from now on, …
    resting: u32,
    /// … and how many that were at the beginning of this rest; 0: the last wait was not in vain.
    rest: u32,
}

impl Linger {
    /// A synced group of so many writers is done, and so many wait for the next.
    pub(crate) fn group_is_synced(&mut self, group: usize, waiting: usize, took: Duration) {
        self.writers = group + waiting;
        self.sync = if self.sync.is_zero() { took } else { (self.sync * 7 + took) / 8 };
        self.resting = self.resting.saturating_sub(1);
    }

    /// A group has failed: nothing is known of the next.
    pub(crate) fn group_has_failed(&mut self) {
        self.writers = 0;
    }

    /// A leader has waited, and everybody whom it waited for has come, or not.
    pub(crate) fn has_waited(&mut self, all_came: bool) {
        self.rest = if all_came { 0 } else { (2 * self.rest).clamp(1, LONGEST_REST) };
        self.resting = self.rest;
    }

    /// Whether other writers than the one that comes are on their way.
    pub(crate) fn expects_company(&self) -> bool {
        self.plan(1).is_some()
    }

    /// How many writers are worth waiting for, and for how long, where `waiting` are there.
    pub(crate) fn plan(&self, waiting: usize) -> Option<(usize, Duration)> {
        let worth_it = self.resting == 0 && waiting < self.writers;
        worth_it.then_some((self.writers, self.sync.min(LONGEST)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNC: Duration = Duration::from_micros(100);

    #[test]
    fn a_writer_alone_never_waits() {
        let mut linger = Linger::default();
        for _ in 0..5 {
            assert!(!linger.expects_company());
            assert_eq!(linger.plan(1), None);
            linger.group_is_synced(1, 0, SYNC);
        }
    }

    #[test]
    fn two_halves_become_one_group() {
        let mut linger = Linger::default();
        linger.group_is_synced(2, 2, SYNC);
        assert_eq!(linger.plan(2), Some((4, SYNC)));
        assert_eq!(linger.plan(4), None);
        linger.has_waited(true);
        linger.group_is_synced(4, 0, SYNC);
        assert_eq!(linger.plan(1), Some((4, SYNC)));
    }

    #[test]
    fn who_comes_too_late_every_time_is_waited_for_ever_more_seldom() {
        let mut linger = Linger::default();
        let mut waits = 0;
        for _ in 0..1_000 {
            // The other one always comes while this one's group is on its way.
            linger.group_is_synced(1, 1, SYNC);
            if linger.plan(1).is_some() {
                waits += 1;
                linger.has_waited(false);
            }
        }
        assert!((2..30).contains(&waits), "{waits}");
        while linger.plan(1).is_none() {
            linger.group_is_synced(1, 1, SYNC);
        }
        linger.has_waited(true);
        linger.group_is_synced(2, 0, SYNC);
        assert!(linger.plan(1).is_some());
    }

    #[test]
    fn a_wait_is_short_however_slow_the_device_and_a_failure_ends_the_waiting() {
        let mut linger = Linger::default();
        linger.group_is_synced(1, 1, Duration::from_secs(2));
        assert_eq!(linger.plan(1), Some((2, LONGEST)));
        linger.group_has_failed();
        assert!(!linger.expects_company());
    }
}
