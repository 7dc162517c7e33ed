//! How much of its time a worker works. Turns with frames that follow one another are work from the
//! first to the first one without, so that each needs to know only when it began.

use std::sync::atomic::{AtomicU32, Ordering};

use super::Io;
use crate::pipeline::BATCH_MAX;

/// Loads are told of windows at least this long, nanoseconds: thousands of packets of a busy worker.
const WINDOW_NANOSECONDS: u64 = 10_000_000;

/// All of the time.
const PERMILLE: u64 = 1000;

/// A worker's load, thousandths of its time; written by it, read by anybody.
#[derive(Debug, Default)]
pub(super) struct Load(AtomicU32);

impl Load {
    pub(super) fn set(&self, permille: u16) {
        self.0.store(permille.into(), Ordering::Relaxed);
    }

    pub(super) fn permille(&self) -> u16 {
        self.0.load(Ordering::Relaxed) as u16
    }
}

/// Measures one worker. Times are nanoseconds from whatever start.
#[derive(Debug, Default)]
pub(super) struct Meter {
    window_start: u64,
    worked: u64,
    /// Up to when work was counted, while there is some.
    counted_to: Option<u64>,
    batches: u32,
    full: u32,
    load: u16,
    has_slept: bool,
}

impl Meter {
    /// A batch of this many frames was received.
    #[inline]
    pub(super) fn on_batch(&mut self, frames: usize) {
        self.batches += u32::from(frames > 0);
        self.full += u32::from(frames == BATCH_MAX);
    }

    /// Work begins, or goes on.
    #[inline]
    pub(super) fn on_work(&mut self, now: u64) {
        self.count_to(now);
        self.counted_to = Some(now);
    }

    fn count_to(&mut self, now: u64) {
        if let Some(since) = self.counted_to {
            self.worked += now.saturating_sub(since);
        }
    }

    /// Whether the clock is worth a look in a turn that found nothing: work ended, or a sleep.
    #[inline]
    pub(super) fn wants_time(&self) -> bool {
        self.counted_to.is_some() || self.has_slept
    }

    /// A turn that found nothing.
    #[inline]
    pub(super) fn on_idle(&mut self, now: u64) {
        self.count_to(now);
        (self.counted_to, self.has_slept) = (None, false);
    }

    /// The worker sleeps: a window may be long over then.
    pub(super) fn on_sleep(&mut self) {
        self.has_slept = true;
    }

    /// Where a window is over: whether most of what was received in it came in full batches.
    #[inline]
    pub(super) fn close(&mut self, now: u64) -> Option<bool> {
        let elapsed = now.saturating_sub(self.window_start);
        if elapsed < WINDOW_NANOSECONDS {
            return None;
        }
        self.load = (self.worked.saturating_mul(PERMILLE) / elapsed).min(PERMILLE) as u16;
        let is_backed_up = self.full > self.batches / 2;
        (self.window_start, self.worked, self.batches, self.full) = (now, 0, 0, 0);
        Some(is_backed_up)
    }

    /// That of the last window, thousandths.
    pub(super) fn load(&self) -> u16 {
        self.load
    }
}

impl Io {
    /// Measures a turn that has `received` this many frames. Returns whether frames waited in the window
    /// of time that ends with it, if one does. Idle turns look at the clock only where they look `around`.
    #[inline]
    pub(super) fn measure(&mut self, received: usize, around: bool) -> Option<bool> {
        if received == 0 {
            if !(around || self.meter.wants_time()) {
                return None;
            }
            let now = self.clock.now();
            self.meter.on_idle(now);
        }
        self.meter.close(self.clock.now())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const MILLISECOND: u64 = 1_000_000;

    #[test]
    fn the_load_is_the_part_of_the_time_that_turns_with_frames_take() {
        let mut meter = Meter::default();
        for turn in 0..5 {
            meter.on_work(turn * 2 * MILLISECOND);
            meter.on_idle((turn * 2 + 1) * MILLISECOND);
            assert_eq!(meter.close((turn * 2 + 1) * MILLISECOND), None);
        }
        assert_eq!(meter.close(10 * MILLISECOND), Some(false));
        assert_eq!(meter.load(), 500);
    }

    #[test]
    fn turns_that_follow_one_another_are_work_from_end_to_end() {
        let mut meter = Meter::default();
        (0..=10).for_each(|turn| meter.on_work(turn * MILLISECOND));
        assert_eq!(meter.close(10 * MILLISECOND), Some(false));
        assert_eq!(meter.load(), 1000);
        // A long sleep is a long window, and the clock is looked at after it.
        assert!(meter.wants_time());
        meter.on_idle(11 * MILLISECOND);
        assert!(!meter.wants_time());
        meter.on_sleep();
        assert!(meter.wants_time());
        meter.on_idle(1010 * MILLISECOND);
        assert!(!meter.wants_time());
        assert_eq!(meter.close(1010 * MILLISECOND), Some(false));
        assert_eq!(meter.load(), 1);
    }

    #[test]
    fn full_batches_say_that_more_waits() {
        let mut meter = Meter::default();
        let mut backed_up = |sizes: &[usize], now| {
            sizes.iter().for_each(|size| meter.on_batch(*size));
            meter.close(now * WINDOW_NANOSECONDS)
        };
        assert_eq!(backed_up(&[64, 64, 3], 1), Some(true));
        assert_eq!(backed_up(&[64, 63, 0, 0], 2), Some(false));
        assert_eq!(backed_up(&[], 3), Some(false));
    }
}
