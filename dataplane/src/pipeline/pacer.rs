//! When which session is asked: evenly through the interval, whatever sessions there are.
//!
//! Session indices in the order of their bits reversed are spread evenly over the interval, every
//! first so many of them, too: index 0 at its beginning, 1 in its middle, 2 and 3 at its quarters, and
//! so on (the sequence of van der Corput). So each index has its place in the interval, the same one
//! however many are in use, and no list is kept.

/// One worker's.
#[derive(Debug)]
pub(super) struct Pacer {
    /// Nanoseconds; not 0.
    interval: u64,
    worker: u32,
    workers: u32,
    /// An interval has two to this power places.
    bits: u32,
    /// The next place, counted from the beginning of time; `None` before the first look.
    next: Option<u64>,
    /// The place that time has reached.
    reached: u64,
    /// Indices in use are below it.
    end: u32,
}

impl Pacer {
    /// For `worker` of `workers`, which share the indices.
    pub(super) fn new(interval: u64, worker: usize, workers: usize) -> Self {
        let workers = (workers as u32).max(1);
        Self {
            interval: interval.max(1),
            worker: worker as u32,
            workers,
            bits: 0,
            next: None,
            reached: 0,
            end: 0,
        }
    }

    /// Makes room for indices below `end`. Nobody's time changes by it.
    fn grow(&mut self, end: u32) {
        self.end = end;
        while self.bits < u32::BITS - 1 && end > 1 << self.bits {
            self.bits += 1;
            self.next = self.next.map(|next| next * 2);
        }
    }

    /// The time is `now`, and the indices in use are those below `end`.
    pub(super) fn advance(&mut self, now: u64, end: u32) {
        self.grow(end);
        self.reached = ((u128::from(now) << self.bits) / u128::from(self.interval)) as u64;
        // What more than an interval has been missed of is left out: nobody is asked twice at once.
        let oldest = (self.reached + 1).saturating_sub(1 << self.bits);
        self.next = Some(self.next.unwrap_or(self.reached).max(oldest));
    }

    /// The next index that is due, out of those that are this worker's. Looks at `looks` places at
    /// most, and takes off what it has looked at.
    pub(super) fn poll(&mut self, looks: &mut u32) -> Option<u32> {
        let next = self.next.as_mut()?;
        while *next <= self.reached && *looks > 0 {
            *looks -= 1;
            let index = index_of(*next, self.bits);
            *next += 1;
            if index < self.end && owns(index, (self.worker, self.workers)) {
                return Some(index);
            }
        }
        None
    }

    /// How long nothing is due, nanoseconds.
    pub(super) fn wait(&self, now: u64) -> u64 {
        let Some(next) = self.next else { return 0 };
        let at = (u128::from(next) * u128::from(self.interval)).div_ceil(1 << self.bits);
        u64::try_from(at).unwrap_or(u64::MAX).saturating_sub(now)
    }
}

fn index_of(place: u64, bits: u32) -> u32 {
    (place as u32).reverse_bits().checked_shr(u32::BITS - bits).unwrap_or(0)
}

/// Whether the index is this worker's of so many: by no rule that goes with its place.
fn owns(index: u32, (worker, workers): (u32, u32)) -> bool {
    let hash = u64::from(index.wrapping_mul(0x9e37_79b1));
    (hash * u64::from(workers)) >> 32 == u64::from(worker)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Everything that is due at `now`.
    fn due(pacer: &mut Pacer, now: u64, end: u32) -> Vec<u32> {
        let mut looks = u32::MAX;
        pacer.advance(now, end);
        std::iter::from_fn(|| pacer.poll(&mut looks)).collect()
    }

    /// How often each index is due, and the most that are at one step, over so many steps.
    fn count(pacer: &mut Pacer, end: u32, steps: u64, step: u64) -> (Vec<u32>, usize) {
        let (mut counts, mut most) = (vec![0; end as usize], 0);
        // From the beginning to the last moment before the end.
        for now in [0].into_iter().chain((1..=steps).map(|count| count * step - 1)) {
            let found = due(pacer, now, end);
            most = most.max(found.len());
            found.iter().for_each(|index| counts[*index as usize] += 1);
        }
        (counts, most)
    }

    #[test]
    fn a_hundred_thousand_at_one_a_second_are_at_most_a_few_a_step() {
        // A step of 100 microseconds: ten on average.
        for sessions in [100_000, 131_072, 65_537] {
            let mut pacer = Pacer::new(SECOND, 0, 1);
            let (counts, most) = count(&mut pacer, sessions, 30_000, 100_000);
            let average = sessions.div_ceil(10_000) as usize;
            assert!(most <= average + 4, "{most} of {sessions}");
            assert!(counts.iter().all(|count| *count == 3), "{sessions}");
        }
    }

    #[test]
    fn every_number_of_sessions_is_spread() {
        for sessions in (0..70).chain([999, 1000, 1024, 1025]) {
            let mut pacer = Pacer::new(SECOND, 0, 1);
            let (counts, most) = count(&mut pacer, sessions, 1000, SECOND / 1000);
            assert!(counts.iter().all(|count| *count == 1), "{sessions}");
            assert!(most <= 3, "{most} of {sessions}");
        }
    }

    #[test]
    fn each_index_is_one_workers_and_they_share_the_interval() {
        let workers: usize = 3;
        let mut total = vec![0; 30_000];
        for worker in 0..workers {
            let mut pacer = Pacer::new(SECOND, worker, workers);
            let (counts, most) = count(&mut pacer, 30_000, 1000, SECOND / 1000);
            // Ten on average.
            assert!(most <= 20, "{most}");
            let own: u32 = counts.iter().sum();
            assert!((9_500..10_500).contains(&own), "{own}");
            total.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
        }
        assert!(total.iter().all(|count| *count == 1));
    }

    #[test]
    fn growth_changes_nobodys_time() {
        let mut pacer = Pacer::new(SECOND, 0, 1);
        let mut last = [0; 64];
        for step in 0..8 * 64 {
            let now = step * SECOND / 64;
            // From 3 to 64 sessions on the way.
            let end = (3 + step / 6).min(64) as u32;
            for index in due(&mut pacer, now, end) {
                let before = std::mem::replace(&mut last[index as usize], now);
                assert!(before == 0 || now - before == SECOND, "{index} {before} {now}");
            }
        }
        assert!(last.iter().all(|last| *last > 0));
    }

    #[test]
    fn what_was_missed_is_made_up_for_once() {
        let mut pacer = Pacer::new(SECOND, 0, 1);
        let _ = due(&mut pacer, 0, 100);
        let found = due(&mut pacer, 20 * SECOND, 100);
        assert_eq!(found.len(), 100);
        assert_eq!(due(&mut pacer, 20 * SECOND, 100), [0; 0]);
        // A long time from its start as well: nothing overflows in a hundred years.
        assert_eq!(due(&mut pacer, 3_000_000_000 * SECOND, 100).len(), 100);
    }

    #[test]
    fn looks_are_bounded() {
        let mut pacer = Pacer::new(SECOND, 0, 1);
        let _ = due(&mut pacer, 0, 100);
        let mut looks = 7;
        pacer.advance(SECOND / 2, 100);
        let found: Vec<_> = std::iter::from_fn(|| pacer.poll(&mut looks)).collect();
        assert!(found.len() <= 7 && looks == 0, "{found:?}");
        assert_eq!(pacer.wait(SECOND / 2), 0);
    }

    #[test]
    fn it_says_how_long_nothing_is_due() {
        let mut pacer = Pacer::new(SECOND, 0, 1);
        assert_eq!(pacer.wait(5), 0);
        assert_eq!(due(&mut pacer, 10 * SECOND, 4).first(), Some(&0));
        assert_eq!(pacer.wait(10 * SECOND), SECOND / 4);
        assert_eq!(due(&mut pacer, 10 * SECOND + SECOND / 4 - 1, 4), [0; 0]);
        assert_eq!(due(&mut pacer, 10 * SECOND + SECOND / 4, 4), [2]);
    }
}
