//! The no-drop rate: the highest offered rate at which no more is lost than a bound allows, by
//! binary search as in RFC 2544 section 26.1.

/// What a trial at one rate showed.
pub trait Trial: Clone {
    /// Packets offered a second: less than was asked for where the generator is at its end.
    fn offered_pps(&self) -> f64;

    /// Share of the offered packets that was lost.
    fn loss(&self) -> f64;
}

/// A trial that fails by no more than this is repeated, so often at most: one moment in which the
/// machine does something else loses that much.
const LOSS_DOUBTFUL: f64 = 0.05;
const REPEATS_MAX: u32 = 2;

/// A search.
#[derive(Debug)]
pub struct Search<T> {
    loss_max: f64,
    low: f64,
    high: f64,
    steps_left: u32,
    repeats: u32,
    trials: Vec<T>,
    best: Option<T>,
}

impl<T: Trial> Search<T> {
    /// One between nothing and `rate_max` packets a second, of so many halvings, for the rate at which
    /// a share of `loss_max` is lost at most.
    pub fn new(rate_max: f64, steps: u32, loss_max: f64) -> Self {
        Self {
            loss_max,
            low: 0.0,
            high: rate_max,
            steps_left: steps,
            repeats: 0,
            trials: Vec::new(),
            best: None,
        }
    }

    /// The rate to try next; `None` where the search is over.
    pub fn rate(&self) -> Option<u32> {
        (self.steps_left > 0).then(|| ((self.low + self.high) / 2.0).max(1.0) as u32)
    }

    /// Takes in what the trial of that rate showed.
    pub fn record(&mut self, run: T) {
        let Some(rate) = self.rate() else { return };
        let loss = run.loss();
        self.trials.push(run.clone());
        if loss > self.loss_max && loss <= LOSS_DOUBTFUL && self.repeats < REPEATS_MAX {
            self.repeats += 1;
            return;
        }
        self.repeats = 0;
        self.steps_left -= 1;
        if loss > self.loss_max {
            self.high = f64::from(rate);
            return;
        }
        // What was offered may be less: the generator at its end, or kept from its core.
        self.low = self.low.max(run.offered_pps().min(rate.into()));
        if self.best.as_ref().is_none_or(|best| run.offered_pps() > best.offered_pps()) {
            self.best = Some(run);
        }
    }

    /// The best trial that passed, and all trials.
    pub fn finish(self) -> (Option<T>, Vec<T>) {
        (self.best, self.trials)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOSS_MAX: f64 = 0.001;

    #[derive(Debug, Clone)]
    struct Run {
        offered_pps: f64,
        loss: f64,
    }

    impl Trial for Run {
        fn offered_pps(&self) -> f64 {
            self.offered_pps
        }

        fn loss(&self) -> f64 {
            self.loss
        }
    }

    fn trial(offered_pps: f64, loss: f64) -> Run {
        Run { offered_pps, loss }
    }

    /// Searches for the limit of a server that loses what is over it.
    fn search(limit: f64, steps: u32) -> (f64, usize) {
        let mut search = Search::new(1_000_000.0, steps, LOSS_MAX);
        while let Some(rate) = search.rate() {
            let rate = f64::from(rate);
            search.record(trial(rate, (1.0 - limit / rate).max(0.0)));
        }
        let (best, trials) = search.finish();
        (best.map_or(0.0, |best| best.offered_pps), trials.len())
    }

    #[test]
    fn the_limit_is_found_to_the_last_halving() {
        for limit in [3_000.0, 270_000.0, 500_000.0, 999_000.0] {
            let (found, trials) = search(limit, 10);
            assert!(found <= limit * 1.0011 && found > limit - 1_100.0, "{limit}: {found}");
            assert!((10..=30).contains(&trials), "{trials}");
        }
        assert_eq!(search(0.5, 10).0, 0.0, "nothing passes");
    }

    #[test]
    fn no_loss_at_all_may_be_asked_for() {
        let mut search = Search::new(1_000_000.0, 1, 0.0);
        for _ in 0..=REPEATS_MAX {
            search.record(trial(500_000.0, 1e-6));
        }
        assert_eq!(search.rate(), None);
        assert!(search.finish().0.is_none());
    }

    #[test]
    fn one_moment_of_loss_does_not_end_it() {
        let mut search = Search::new(1_000_000.0, 1, LOSS_MAX);
        search.record(trial(500_000.0, 0.01));
        assert_eq!(search.rate(), Some(500_000), "again");
        search.record(trial(500_000.0, 0.0));
        assert_eq!(search.rate(), None);
        let (best, trials) = search.finish();
        assert_eq!((best.map(|best| best.offered_pps), trials.len()), (Some(500_000.0), 2));
        let mut search = Search::new(1_000_000.0, 2, LOSS_MAX);
        for _ in 0..=REPEATS_MAX {
            assert_eq!(search.rate(), Some(500_000));
            search.record(trial(500_000.0, 0.01));
        }
        assert_eq!(search.rate(), Some(250_000), "so often is no accident");
        search.record(trial(250_000.0, 0.5));
        assert_eq!(search.rate(), None, "and a half lost is none either");
    }

    #[test]
    fn a_generator_at_its_end_or_kept_from_its_core_is_not_taken_for_the_server() {
        let mut search = Search::new(4_000_000.0, 8, LOSS_MAX);
        search.record(trial(1_000_000.0, 0.0));
        assert_eq!(search.rate(), Some(2_500_000), "half of what is left above what was offered");
        while search.rate().is_some() {
            search.record(trial(1_500_000.0, 0.0));
        }
        assert_eq!(search.finish().0.map(|best| best.offered_pps), Some(1_500_000.0));
    }
}
