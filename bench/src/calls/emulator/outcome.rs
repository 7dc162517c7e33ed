//! What came of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Set-up times are kept in microseconds, to three digits, up to this.
const SETUP_MICROS_MAX: u64 = 120_000_000;
const DIGITS: u8 = 3;

/// The first bucket of set-up times, microseconds, and how much larger each is than the one before.
const BUCKET_MICROS: u64 = 100;
const BUCKET_FACTOR: f64 = 1.5;

/// A day: what comes later counts for its last second.
const SECONDS_MAX: u64 = 86_400;

/// Counts and times.
pub struct Outcome {
    /// Calls placed.
    pub offered: u64,
    /// Calls that came up.
    pub opened: u64,
    /// Calls that did not, by cause.
    pub failed: BTreeMap<&'static str, u64>,
    /// Calls that the LNS ended after they were up.
    pub lost: u64,
    /// Tunnels that did not come up, or did not stay.
    pub tunnels_failed: u32,
    /// Most calls up at once.
    pub held_max: u32,
    /// Calls that were up when the last one was.
    pub held: u32,
    /// When the first call was due, and the last one up.
    pub first_offered: Option<Duration>,
    /// See `first_offered`.
    pub last_opened: Duration,
    /// Messages and requests sent again by the emulator.
    pub retransmissions_control: u64,
    /// See `retransmissions_control`.
    pub retransmissions_ppp: u64,
    /// Echo-Requests of sessions that were up, and their answers.
    pub echoes_sent: u64,
    /// See `echoes_sent`.
    pub echoes_answered: u64,
    /// HELLOs of tunnels that were up.
    pub hellos_sent: u64,
    /// Calls that were due in each second of the run.
    pub offered_in_second: Vec<u32>,
    /// Calls that came up in each.
    pub opened_in_second: Vec<u32>,
    setup_micros: Histogram<u64>,
}

impl Default for Outcome {
    fn default() -> Self {
        // Bounds and digits are constants that the histogram takes.
        let setup_micros = Histogram::new_with_max(SETUP_MICROS_MAX, DIGITS)
            .unwrap_or_else(|_| unreachable!("constant bounds"));
        Self {
            offered: 0,
            opened: 0,
            failed: BTreeMap::new(),
            lost: 0,
            tunnels_failed: 0,
            held_max: 0,
            held: 0,
            first_offered: None,
            last_opened: Duration::ZERO,
            retransmissions_control: 0,
            retransmissions_ppp: 0,
            echoes_sent: 0,
            echoes_answered: 0,
            hellos_sent: 0,
            offered_in_second: Vec::new(),
            opened_in_second: Vec::new(),
            setup_micros,
        }
    }
}

/// Calls whose set-up took about as long.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SetupBucket {
    /// Not longer than this, and longer than that of the one before.
    pub setup_ms_max: f64,
    /// How many.
    pub calls: u64,
}

impl Outcome {
    /// A call was placed that was due then.
    pub(super) fn offer(&mut self, due: Duration) {
        self.offered += 1;
        let first = *self.first_offered.get_or_insert(due);
        count_second(&mut self.offered_in_second, due.saturating_sub(first));
    }

    /// A call is up.
    pub(super) fn open(&mut self, now: Duration, setup: Duration, held: u32) {
        self.opened += 1;
        self.last_opened = now;
        self.held_max = self.held_max.max(held);
        let micros = u64::try_from(setup.as_micros()).unwrap_or(u64::MAX);
        self.setup_micros.saturating_record(micros);
        let since = now.saturating_sub(self.first_offered.unwrap_or_default());
        count_second(&mut self.opened_in_second, since);
    }

    /// Calls failed.
    pub(super) fn fail(&mut self, why: &'static str, count: u64) {
        if count > 0 {
            *self.failed.entry(why).or_insert(0) += count;
        }
    }

    /// Calls that did not come up.
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// From the first call's due time to the last one's opening.
    pub fn span(&self) -> Duration {
        self.last_opened.saturating_sub(self.first_offered.unwrap_or_default())
    }

    /// Calls that came up, a second.
    pub fn calls_per_second(&self) -> f64 {
        let seconds = self.span().as_secs_f64();
        if seconds > 0.0 { self.opened as f64 / seconds } else { 0.0 }
    }

    /// Set-up time that this share of the calls did not pass, milliseconds.
    pub fn setup_ms(&self, quantile: f64) -> f64 {
        self.setup_micros.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// How many took how long, each bucket half as long again as the one before.
    pub fn setup_buckets(&self) -> Vec<SetupBucket> {
        let buckets = self.setup_micros.iter_log(BUCKET_MICROS, BUCKET_FACTOR);
        let bucket = buckets.map(|bucket| SetupBucket {
            setup_ms_max: bucket.value_iterated_to() as f64 / 1000.0,
            calls: bucket.count_since_last_iteration(),
        });
        bucket.skip_while(|bucket| bucket.calls == 0).collect()
    }

    /// Calls that took longer.
    pub fn slower_than(&self, limit: Duration) -> u64 {
        let micros = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
        self.opened - self.setup_micros.count_between(0, micros)
    }
}

/// One more in the second that this is after the first.
fn count_second(seconds: &mut Vec<u32>, since: Duration) {
    let second = since.as_secs().min(SECONDS_MAX) as usize;
    if seconds.len() <= second {
        seconds.resize(second + 1, 0);
    }
    if let Some(count) = seconds.get_mut(second) {
        *count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_rates_are_those_of_the_calls() {
        let mut outcome =
            Outcome { first_offered: Some(Duration::from_secs(1)), ..Outcome::default() };
        for millis in 1..=100u64 {
            let now = Duration::from_millis(1000 + 50 * millis);
            outcome.open(now, Duration::from_millis(millis), 1);
        }
        assert_eq!(outcome.calls_per_second(), 20.0);
        assert!((outcome.setup_ms(0.5) - 50.0).abs() < 0.1);
        assert!((outcome.setup_ms(1.0) - 100.0).abs() < 0.2);
        assert_eq!(outcome.slower_than(Duration::from_millis(90)), 10);
        assert_eq!(outcome.opened_in_second, [19, 20, 20, 20, 20, 1]);
        let buckets = outcome.setup_buckets();
        assert_eq!(buckets.iter().map(|bucket| bucket.calls).sum::<u64>(), 100);
        assert!(buckets.first().is_some_and(|bucket| bucket.calls > 0), "{buckets:?}");
        assert!(buckets.is_sorted_by(|a, b| a.setup_ms_max < b.setup_ms_max), "{buckets:?}");
        // Up to about 10 ms there are as many as milliseconds.
        let quick: u64 =
            buckets.iter().take_while(|bucket| bucket.setup_ms_max < 10.0).map(|b| b.calls).sum();
        assert!((6..10).contains(&quick), "{buckets:?}");
    }

    #[test]
    fn calls_count_for_the_second_in_which_they_were_due() {
        let mut outcome = Outcome::default();
        for millis in [500, 700, 1400, 1600, 3600] {
            outcome.offer(Duration::from_millis(millis));
        }
        assert_eq!(outcome.offered_in_second, [3, 1, 0, 1]);
        assert_eq!(outcome.offered, 5);
        outcome.offer(Duration::MAX);
        assert_eq!(outcome.offered_in_second.len() as u64, SECONDS_MAX + 1);
    }
}
