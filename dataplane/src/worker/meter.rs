//! How much of its time a worker works: two readings of the clock in a turn that found frames, none in one
//! that did not.

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
    /// When this turn's work began.
    began: Option<u64>,
    /// When the last turn ended, if that found frames, too.
    ended: Option<u64>,
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
        if self.began.is_none() {
            self.began = Some(now);
        }
    }

    /// A turn that found nothing ends. Returns whether the clock is worth a look, as after a sleep.
    #[inline]
    pub(super) fn on_idle(&mut self) -> bool {
        (self.began, self.ended) = (None, None);
        std::mem::take(&mut self.has_slept)
    }

    /// The worker sleeps: a window may be long over then.
    pub(super) fn on_sleep(&mut self) {
        self.has_slept = true;
    }

    /// A turn that found frames ends.
    #[inline]
    pub(super) fn on_turn(&mut self, now: u64) {
        // Turns that follow one another are work from end to end.
        let began = self.began.take();
        let start = self.ended.or(began).unwrap_or(now);
        self.worked += now.saturating_sub(start);
        self.ended = Some(now);
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
            let has_slept = self.meter.on_idle();
            if !(around || has_slept) {
                return None;
            }
        }
        let now = self.now();
        if received > 0 {
            self.meter.on_turn(now);
        }
        self.meter.close(now)
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
            meter.on_turn((turn * 2 + 1) * MILLISECOND);
            meter.on_idle();
            assert_eq!(meter.close((turn * 2 + 1) * MILLISECOND), None);
        }
        assert_eq!(meter.close(10 * MILLISECOND), Some(false));
        assert_eq!(meter.load(), 500);
    }

    #[test]
    fn turns_that_follow_one_another_are_work_from_end_to_end() {
        let mut meter = Meter::default();
        meter.on_work(0);
        for turn in 1..=10 {
            meter.on_turn(turn * MILLISECOND);
            meter.on_work(turn * MILLISECOND + 999_000);
        }
        assert_eq!(meter.close(10 * MILLISECOND), Some(false));
        assert_eq!(meter.load(), 1000);
        // A long sleep is a long window, and the clock is looked at after it.
        assert!(!meter.on_idle());
        meter.on_sleep();
        assert!(meter.on_idle() && !meter.on_idle());
        assert_eq!(meter.close(1000 * MILLISECOND), Some(false));
        assert_eq!(meter.load(), 0);
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
