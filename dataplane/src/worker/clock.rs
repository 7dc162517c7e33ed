//! What time it is in a turn: read at the first look, at most once. Where a clock is not a register, as
//! in some guests, reading it costs more than a packet.

use std::time::Instant;

/// From when on the time of workers counts: now.
#[expect(clippy::disallowed_methods, reason = "the seam where the clock is read")]
pub fn start_of_time() -> Instant {
    Instant::now()
}

/// A worker's.
#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
    turn: Option<u64>,
}

impl Clock {
    /// Counts from `start`.
    pub(super) fn new(start: Instant) -> Self {
        Self { start, turn: None }
    }

    /// Time goes on: the next look reads it.
    #[inline]
    pub(super) fn begin_turn(&mut self) {
        self.turn = None;
    }

    /// The time of this turn, nanoseconds: 64 bits last for 584 years.
    #[inline]
    pub(super) fn now(&mut self) -> u64 {
        *self.turn.get_or_insert_with(|| self.start.elapsed().as_nanos() as u64)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn time_stands_still_in_a_turn_and_goes_on_between_turns() {
        let mut clock = Clock::new(start_of_time());
        let first = clock.now();
        // Real time passes here; it decides when, not whether.
        while clock.start.elapsed().as_nanos() as u64 == first {}
        assert_eq!(clock.now(), first);
        clock.begin_turn();
        assert!(clock.now() > first);
    }
}
