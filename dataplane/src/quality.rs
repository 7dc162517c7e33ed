//! How good a session's way is: what is kept of the LCP Echo-Requests that workers send (RFC 1661
//! section 5.8), in 64 octets a session.
//!
//! Kept for good are the numbers of requests sent and lost, the smallest and the largest latency. The
//! recent past is a histogram of latencies in half-octaves, whose counts are halved every
//! [`HALF_LIFE`] requests: it speaks of the last 128 requests in full, of those before by half, and so
//! on. At one a second that is the last two to four minutes.

use serde::{Deserialize, Serialize};

/// Requests after which what was counted counts half. A count of one octet never overflows by it: half
/// of 255 and 128 are 255.
pub const HALF_LIFE: u32 = 128;

/// Classes of latency.
pub const CLASSES: usize = 30;

/// The end of the first class, microseconds; below it a LAN lies, not a line.
const FIRST_END_MICROSECONDS: u32 = 256;

/// The most intervals that a request may wait for its reply, see [`Settings::patience`].
pub const PATIENCE_MAX: u32 = 31;

/// How sessions are monitored, all alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// From one request of a session to the next, milliseconds; not 0.
    pub interval_ms: u32,
    /// A reply that takes longer comes too late, milliseconds; not 0.
    pub loss_after_ms: u32,
}

impl Settings {
    /// After how many more requests one without a reply is lost. One more than the time takes, as a
    /// worker that was kept from running sends faster for a moment afterwards.
    pub fn patience(self) -> u32 {
        self.loss_after_ms.div_ceil(self.interval_ms.max(1)).saturating_add(1)
    }

    /// Whether workers can carry them out.
    pub fn is_valid(self) -> bool {
        self.interval_ms > 0 && self.loss_after_ms > 0 && self.patience() <= PATIENCE_MAX
    }
}

/// What is known of one session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionQuality {
    /// Requests sent since the session began.
    pub sent: u32,
    /// Those of them that are lost: no reply came in time.
    pub lost: u32,
    /// The last requests in a row without a reply, those that still may get one among them; 32 at
    /// most.
    pub unanswered: u8,
    /// The last latency, microseconds; 0: none was measured yet.
    pub last_us: u32,
    /// The smallest one since the session began.
    pub min_us: u32,
    /// The largest one since the session began.
    pub max_us: u32,
    /// How much one differs from the one before, smoothed as in RFC 3550 section 6.4.1, microseconds.
    pub jitter_us: u32,
    /// The recent past.
    pub recent: Recent,
}

/// What the last requests came to; see the module's text for how far back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recent {
    /// Lost.
    pub lost: u8,
    /// Answered without our data, so that nobody knows when they were sent.
    pub untimed: u8,
    /// Answered with a latency of each class, see [`class_of`].
    pub classes: [u8; CLASSES],
}

impl Recent {
    /// Requests whose fate is known.
    pub fn requests(&self) -> u32 {
        u32::from(self.lost) + u32::from(self.untimed) + self.timed()
    }

    /// Requests with a latency.
    fn timed(&self) -> u32 {
        self.classes.iter().map(|count| u32::from(*count)).sum()
    }

    /// Lost ones, in ten-thousandths of all; `None` where none is decided yet.
    pub fn loss(&self) -> Option<u32> {
        (u32::from(self.lost) * 10_000).checked_div(self.requests())
    }
}

impl SessionQuality {
    /// The latency that this many ten-thousandths of the recent ones do not exceed, microseconds. Exact
    /// to the class, in which it is interpolated; never outside of what was measured.
    pub fn percentile(&self, ten_thousandths: u32) -> Option<u32> {
        let counts = &self.recent.classes;
        let total = self.recent.timed();
        if total == 0 {
            return None;
        }
        let rank = (u64::from(total) * u64::from(ten_thousandths)).div_ceil(10_000).max(1);
        let mut below = 0;
        for (class, count) in counts.iter().map(|count| u64::from(*count)).enumerate() {
            if below + count >= rank {
                let start = class_start(class).max(self.min_us);
                let end = class_start(class + 1).min(self.max_us).max(start);
                // In the middle of its share of the class.
                let part = 2 * (rank - below) - 1;
                let within = u64::from(end - start) * part / (2 * count);
                return Some(start.saturating_add(u32::try_from(within).unwrap_or(0)));
            }
            below += count;
        }
        None
    }
}

/// The class of a latency: two of them double it.
pub fn class_of(microseconds: u32) -> usize {
    let units = microseconds / (FIRST_END_MICROSECONDS / 2);
    // Below 2 units the first class, 2 the second, 3 the third, 4 and 5 the fourth, and so on.
    let Some(octave) = units.checked_ilog2().filter(|octave| *octave > 0) else { return 0 };
    let is_upper_half = units >> (octave - 1) & 1;
    (2 * octave as usize - 1 + is_upper_half as usize).min(CLASSES - 1)
}

/// The smallest latency of a class, microseconds; the largest number beyond the last one.
pub fn class_start(class: usize) -> u32 {
    match class {
        0 => 0,
        CLASSES.. => u32::MAX,
        _ => {
            let octave = FIRST_END_MICROSECONDS << ((class - 1) / 2);
            if class % 2 == 1 { octave } else { octave + octave / 2 }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn classes_double_every_second_one() {
        let starts: Vec<_> = (0..6).map(class_start).collect();
        assert_eq!(starts, [0, 256, 384, 512, 768, 1024]);
        // 4.2 s is the last one, and whatever is beyond.
        assert_eq!(class_start(CLASSES - 1), 4_194_304);
        assert_eq!(class_of(u32::MAX), CLASSES - 1);
    }

    #[test]
    fn each_class_begins_where_the_one_before_ends() {
        for class in 1..CLASSES {
            let start = class_start(class);
            assert_eq!((class_of(start - 1), class_of(start)), (class - 1, class), "{start}");
        }
    }

    #[test]
    fn patience_covers_the_time_and_one_more() {
        let patience =
            |interval_ms, loss_after_ms| Settings { interval_ms, loss_after_ms }.patience();
        assert_eq!(patience(1000, 3000), 4);
        assert_eq!(patience(1000, 3001), 5);
        assert_eq!(patience(10_000, 3000), 2);
        let valid = |interval_ms, loss_after_ms| Settings { interval_ms, loss_after_ms }.is_valid();
        assert!(valid(100, 3000) && !valid(100, 3001));
        assert!(!valid(0, 1) && !valid(1, 0));
    }

    /// A session with these latencies, microseconds.
    fn with(latencies: &[u32]) -> SessionQuality {
        let mut quality = SessionQuality {
            min_us: latencies.iter().copied().min().unwrap_or(0),
            max_us: latencies.iter().copied().max().unwrap_or(0),
            ..SessionQuality::default()
        };
        for latency in latencies {
            quality.recent.classes[class_of(*latency)] += 1;
        }
        quality
    }

    #[test]
    fn percentiles_of_none_one_and_two() {
        assert_eq!(with(&[]).percentile(5000), None);
        for percentile in [0, 5000, 9900, 10_000] {
            assert_eq!(with(&[12_345]).percentile(percentile), Some(12_345));
        }
        let two = with(&[1000, 900_000]);
        assert!(two.percentile(5000).unwrap() < 1100);
        assert!(two.percentile(5001).unwrap() > 700_000);
    }

    #[test]
    fn loss_is_a_part_of_what_is_decided() {
        let mut recent = Recent::default();
        assert_eq!(recent.loss(), None);
        (recent.lost, recent.untimed, recent.classes[3]) = (1, 1, 2);
        assert_eq!(recent.loss(), Some(2500));
        (recent.untimed, recent.classes[3]) = (0, 0);
        assert_eq!(recent.loss(), Some(10_000));
    }

    proptest! {
        #[test]
        fn a_percentile_is_right_to_the_class(
            mut latencies in prop::collection::vec(1u32..10_000_000, 1..250),
            percentile in 0u32..=10_000,
        ) {
            let found = with(&latencies).percentile(percentile).unwrap();
            latencies.sort_unstable();
            let rank = (latencies.len() * percentile as usize).div_ceil(10_000).max(1);
            let exact = latencies[rank - 1];
            let class = class_of(exact);
            prop_assert!(
                (class_start(class)..=class_start(class + 1)).contains(&found),
                "{} {}", found, exact
            );
            prop_assert!((latencies[0]..=*latencies.last().unwrap()).contains(&found));
        }
    }
}
