//! Rates that rise, step by step: `FROM:TO:STEPS`.

use std::str::FromStr;

/// Rates that rise by equal steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ramp {
    from: u32,
    to: u32,
    steps: u32,
}

/// The most steps of a ramp.
const RAMP_STEPS_MAX: u32 = 1000;

impl FromStr for Ramp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Option<Vec<u32>> = text.split(':').map(|part| part.parse().ok()).collect();
        match parts.as_deref() {
            Some(&[from, to, steps])
                if from > 0 && to > 0 && (2..=RAMP_STEPS_MAX).contains(&steps) =>
            {
                Ok(Self { from, to, steps })
            }
            _ => Err(format!(
                "two rates above 0 and a number of steps from 2 to {RAMP_STEPS_MAX}, \
                 like 10000:100000:10"
            )),
        }
    }
}

impl Ramp {
    /// The rates.
    pub fn rates(self) -> impl Iterator<Item = u32> {
        let Self { from, to, steps } = self;
        let (first, span) = (f64::from(from), f64::from(to) - f64::from(from));
        (0..steps).map(move |step| (first + span * f64::from(step) / f64::from(steps - 1)) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ramps_go_from_the_first_rate_to_the_last() {
        let rates = |text: &str| Ramp::from_str(text).map(|ramp| ramp.rates().collect::<Vec<_>>());
        assert_eq!(rates("1000:3000:3"), Ok(vec![1000, 2000, 3000]));
        assert_eq!(rates("300:100:2"), Ok(vec![300, 100]));
        for wrong in ["1:2", "0:5:3", "1:2:1", "1:2:1001", "a:b:c", "1:2:3:4"] {
            assert!(rates(wrong).is_err(), "{wrong}");
        }
    }
}
