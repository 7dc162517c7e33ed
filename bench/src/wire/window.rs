//! The numbers of a flow as they arrive: what is new, overtaken, there twice, or missing.

/// A packet overtaken by more than this many of its flow cannot be told from one that is there twice:
/// it counts as too late, and so as lost.
pub const PLACES: u32 = 256;

const WORDS: usize = PLACES as usize / 64;

/// What a packet is among those of its flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The next one, or a later one: those between are missing so far.
    InOrder,
    /// Missing so far, and overtaken by a later one.
    Reordered,
    /// There already.
    Duplicate,
    /// Overtaken by more than can be remembered.
    TooLate,
    /// Sent before this trial.
    Stale,
}

/// The numbers of one flow in one trial. 48 octets.
#[derive(Debug, Clone, Copy, Default)]
pub struct Window {
    /// The first number of the trial.
    first: u32,
    /// One more than the highest number seen.
    next: u32,
    /// Packets that arrived, each number once.
    received: u32,
    /// Whether a number was seen, by its lowest bits.
    seen: [u64; WORDS],
}

impl Window {
    /// A trial begins with this number.
    pub fn begin(&mut self, first: u32) {
        *self = Self { first, next: first, received: 0, seen: [0; WORDS] };
    }

    /// Packets that arrived, each number once.
    pub fn received(&self) -> u32 {
        self.received
    }

    /// Takes a number in.
    #[inline]
    pub fn arrive(&mut self, sequence: u32) -> Arrival {
        // Less than half of all numbers apart, whichever way: they wrap.
        let ahead = sequence.wrapping_sub(self.next);
        if ahead < 1 << 31 {
            self.forget(ahead);
            self.next = sequence.wrapping_add(1);
            self.mark(sequence);
            return Arrival::InOrder;
        }
        if sequence.wrapping_sub(self.first) >= 1 << 31 {
            return Arrival::Stale;
        }
        if self.next.wrapping_sub(sequence) > PLACES {
            return Arrival::TooLate;
        }
        if self.is_marked(sequence) {
            return Arrival::Duplicate;
        }
        self.mark(sequence);
        Arrival::Reordered
    }

    /// Makes room for `next` and the `ahead` numbers after it.
    fn forget(&mut self, ahead: u32) {
        if ahead >= PLACES {
            self.seen = [0; WORDS];
            return;
        }
        for number in 0..=ahead {
            let (word, bit) = place(self.next.wrapping_add(number));
            if let Some(word) = self.seen.get_mut(word) {
                *word &= !bit;
            }
        }
    }

    fn mark(&mut self, sequence: u32) {
        let (word, bit) = place(sequence);
        if let Some(word) = self.seen.get_mut(word) {
            *word |= bit;
        }
        self.received += 1;
    }

    fn is_marked(&self, sequence: u32) -> bool {
        let (word, bit) = place(sequence);
        self.seen.get(word).is_some_and(|word| word & bit != 0)
    }
}

fn place(sequence: u32) -> (usize, u64) {
    ((sequence / 64) as usize % WORDS, 1 << (sequence % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Arrival::{Duplicate, InOrder, Reordered, Stale, TooLate};

    fn window(first: u32) -> Window {
        let mut window = Window::default();
        window.begin(first);
        window
    }

    /// What comes of numbers counted from `first`.
    fn arrivals(first: u32, offsets: &[u32]) -> (Vec<Arrival>, u32) {
        let mut window = window(first);
        let arrived = offsets.iter().map(|offset| window.arrive(first.wrapping_add(*offset)));
        (arrived.collect(), window.received())
    }

    /// Where numbers wrap, and where they do not.
    const FIRSTS: [u32; 5] = [0, 1000, u32::MAX - 2, u32::MAX, 1 << 31];

    #[test]
    fn loss_reordering_and_duplicates_are_told_apart() {
        for first in FIRSTS {
            let (seen, received) = arrivals(first, &[0, 1, 4, 2, 2, 4, 5, 3]);
            let expected =
                [InOrder, InOrder, InOrder, Reordered, Duplicate, Duplicate, InOrder, Reordered];
            assert_eq!((&seen[..], received), (&expected[..], 6), "from {first}");
            let (seen, received) = arrivals(first, &[1, 3, 0, 0]);
            assert_eq!(seen, [InOrder, InOrder, Reordered, Duplicate], "from {first}");
            assert_eq!(received, 3, "number 2 is lost");
        }
    }

    #[test]
    fn the_window_s_last_place_counts_and_the_one_before_is_too_late() {
        for first in FIRSTS {
            let (seen, received) = arrivals(first, &[PLACES, 1, 0, 1]);
            assert_eq!(seen, [InOrder, Reordered, TooLate, Duplicate], "from {first}");
            assert_eq!(received, 2);
        }
    }

    #[test]
    fn places_are_used_again_without_what_was_there() {
        for first in FIRSTS {
            let mut window = window(first);
            for number in 0..10 * PLACES {
                // Every third is lost.
                if number % 3 != 0 {
                    assert_eq!(window.arrive(first.wrapping_add(number)), InOrder, "{number}");
                }
            }
            let back = 10 * PLACES - 100;
            assert_eq!(back % 3, 0);
            assert_eq!(window.arrive(first.wrapping_add(back)), Reordered);
            assert_eq!(window.arrive(first.wrapping_add(back + 1)), Duplicate);
            assert_eq!(window.arrive(first.wrapping_add(100 * PLACES)), InOrder);
            assert_eq!(window.arrive(first.wrapping_add(99 * PLACES + 1)), Reordered);
        }
    }

    #[test]
    fn what_was_sent_before_the_trial_is_not_of_it() {
        for first in FIRSTS {
            let mut window = window(first);
            assert_eq!(window.arrive(first.wrapping_sub(1)), Stale, "{first}");
            assert_eq!(window.arrive(first), InOrder);
            assert_eq!(window.arrive(first.wrapping_sub(1)), Stale);
            assert_eq!(window.received(), 1);
        }
    }
}
