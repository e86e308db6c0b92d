//! A tree of losers: which of several comes first, found again with one comparison a level when one has moved.
//!
//! Contestants meet in pairs, the winners of those again in pairs. Each match keeps its loser, and the winner of all is
//! kept apart. When the winner is replaced, only the matches on its way up are to be played again. (Knuth, "The Art of
//! Computer Programming", volume 3, section 5.4.1.)

/// See the module. Which of two contestants comes first is what the callers say, always in the same way.
#[derive(Debug, Default)]
pub(super) struct Losers {
    /// The winner of all, then the loser of each match: number `n` is that of the winners of matches `2 n` and
    /// `2 n + 1`, or of contestants in place of those matches that are not there.
    places: Vec<usize>,
}

/// A match that nobody has come to.
const NOBODY: usize = usize::MAX;

impl Losers {
    /// Has so many contestants play all matches.
    pub(super) fn play(&mut self, contestants: usize, is_first: impl Fn(usize, usize) -> bool) {
        self.places.clear();
        self.places.resize(contestants, NOBODY);
        for contestant in 0..contestants {
            self.rise(contestant, &is_first);
        }
    }

    /// Plays the matches of the winner again, who is another than before.
    pub(super) fn play_again(&mut self, is_first: impl Fn(usize, usize) -> bool) {
        if let Some(winner) = self.winner() {
            self.rise(winner, is_first);
        }
    }

    /// Who comes first.
    pub(super) fn winner(&self) -> Option<usize> {
        self.places.first().copied()
    }

    /// Who comes first among the others: one that has lost to the winner.
    pub(super) fn second(&self, is_first: impl Fn(usize, usize) -> bool) -> Option<usize> {
        let lost_to_winner = self.way_up(self.winner()?).filter_map(|at| self.places.get(at));
        lost_to_winner.copied().reduce(|a, b| if is_first(b, a) { b } else { a })
    }

    /// The matches of a contestant who wins all of them.
    fn way_up(&self, contestant: usize) -> impl Iterator<Item = usize> + use<> {
        let above = |at: &usize| Some(*at / 2).filter(|at| *at > 0);
        std::iter::successors(above(&(self.places.len() + contestant)), above)
    }

    /// Plays a contestant's matches, then those of who wins them, up to one that waits for its other side.
    fn rise(&mut self, contestant: usize, is_first: impl Fn(usize, usize) -> bool) {
        let mut winner = contestant;
        for at in self.way_up(contestant) {
            let Some(place) = self.places.get_mut(at) else { return };
            if *place == NOBODY {
                *place = winner;
                return;
            }
            if is_first(*place, winner) {
                std::mem::swap(place, &mut winner);
            }
        }
        if let Some(place) = self.places.first_mut() {
            *place = winner;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The numbers of the two least, as sorting finds them.
    fn expected(numbers: &[u32]) -> [Option<usize>; 2] {
        let mut order: Vec<usize> = (0..numbers.len()).collect();
        order.sort_by_key(|at| (numbers[*at], *at));
        [order.first().copied(), order.get(1).copied()]
    }

    proptest! {
        #[test]
        fn first_and_second_are_those_of_a_sort(
            mut numbers in prop::collection::vec(0_u32..30, 0..20),
            steps in prop::collection::vec(0_u32..9, 0..60),
        ) {
            let mut losers = Losers::default();
            let is_first = |numbers: &[u32], a: usize, b: usize| (numbers[a], a) < (numbers[b], b);
            losers.play(numbers.len(), |a, b| is_first(&numbers, a, b));
            for step in steps {
                let found = [losers.winner(), losers.second(|a, b| is_first(&numbers, a, b))];
                prop_assert_eq!(found, expected(&numbers));
                let Some(winner) = losers.winner() else { break };
                numbers[winner] += step;
                losers.play_again(|a, b| is_first(&numbers, a, b));
            }
        }
    }

    #[test]
    fn a_step_asks_once_a_level() {
        let mut numbers: Vec<u32> = (0..64).collect();
        let mut losers = Losers::default();
        losers.play(64, |a, b| numbers[a] < numbers[b]);
        let asked = std::cell::Cell::new(0);
        for _ in 0..100 {
            numbers[losers.winner().unwrap()] += 64;
            losers.play_again(|a, b| {
                asked.set(asked.get() + 1);
                numbers[a] < numbers[b]
            });
        }
        assert_eq!(asked.get(), 600);
    }
}
