//! From values to places: round ticks, and numbers as people write them.

/// Ticks at most on an axis by equal steps.
const TICKS_MAX: f64 = 6.0;

/// Factors within a decade at which there are ticks, where decades are few.
const FINE: [f64; 3] = [1.0, 2.0, 5.0];

/// Values below this have no place on an axis by factors.
const LEAST: f64 = 1e-9;

/// A scale of values over a span of places.
#[derive(Debug, Clone)]
pub struct Scale {
    log: bool,
    low: f64,
    high: f64,
    /// Where labels stand.
    pub ticks: Vec<f64>,
}

impl Scale {
    /// By equal steps over all values, round at both ends.
    pub fn linear(values: impl Iterator<Item = f64>, from: Option<f64>) -> Self {
        let (low, high) = bounds(values.chain(from));
        let high = if high > low { high } else { low + low.abs().max(1.0) };
        let step = round_step((high - low) / TICKS_MAX);
        let (first, last) = ((low / step).floor(), (high / step - 1e-9).ceil());
        let count = (last - first) as usize;
        let ticks = (0..=count).map(|tick| (first + tick as f64) * step).collect();
        Self { log: false, low: first * step, high: last * step, ticks }
    }

    /// By factors: whole decades, or fewer where the values span few.
    pub fn log(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = bounds(values.map(|value| value.max(LEAST)));
        let (low, high) = (low.max(LEAST), high.max(LEAST));
        let decades = (low.log10().floor() as i32, high.log10().ceil() as i32);
        let is_fine = high / low < 1000.0;
        let factors: &[f64] = if is_fine { &FINE } else { &FINE[..1] };
        let all: Vec<f64> = (decades.0..=decades.1)
            .flat_map(|decade| factors.iter().map(move |factor| factor * 10f64.powi(decade)))
            .collect();
        let below = all.iter().rposition(|tick| *tick <= low * 1.0001).unwrap_or(0);
        let above = all.iter().position(|tick| *tick >= high * 0.9999).unwrap_or(all.len() - 1);
        let above = above.max(below + 1).min(all.len() - 1);
        let ticks = all.get(below..=above).unwrap_or(&all).to_vec();
        let ends = [ticks.first(), ticks.last()].map(|tick| tick.copied().unwrap_or(1.0));
        Self { log: true, low: ends[0], high: ends[1], ticks }
    }

    /// Where a value is, 0 at the lower end and 1 at the upper one.
    pub fn place(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(LEAST) / self.low).log10() / (self.high / self.low).log10()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
    }
}

fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let all = values.filter(|value| value.is_finite());
    let (low, high) = all.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    if low <= high { (low, high) } else { (0.0, 1.0) }
}

/// The next larger one of 1, 2 and 5 times a power of ten.
fn round_step(least: f64) -> f64 {
    let decade = 10f64.powf(least.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    let factor = factors.into_iter().find(|factor| factor * decade >= least * 0.999_999);
    factor.unwrap_or(10.0) * decade
}

/// A number with three digits that count, thousands and smaller parts by their letter.
pub fn number(value: f64) -> String {
    const LETTERS: [(f64, &str); 4] = [(1e9, " G"), (1e6, " M"), (1e3, " k"), (1.0, "")];
    if !value.is_finite() {
        return "–".to_owned();
    }
    let size = value.abs();
    // What would be rounded up to a thousand is one.
    let (unit, letter) =
        LETTERS.into_iter().find(|(unit, _)| size >= unit * 0.9995).unwrap_or((1.0, ""));
    let scaled = value / unit;
    let digits = match scaled.abs() {
        0.0 => 0,
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        size => (2 - size.log10().floor() as i32).clamp(0, 9) as usize,
    };
    let text = format!("{scaled:.digits$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    };
    text + letter
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ticks_are_round_and_cover_the_values() {
        let scale = Scale::linear([3.0, 52.3].into_iter(), Some(0.0));
        assert_eq!(scale.ticks, [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0]);
        let scale = Scale::linear([-0.3, 0.19].into_iter(), None);
        assert!(scale.ticks[0] <= -0.3 && *scale.ticks.last().unwrap() >= 0.19, "{scale:?}");
        assert_eq!([scale.place(-9.0), scale.place(9.0)], [0.0, 1.0]);
    }

    #[test]
    fn factors_are_decades_or_parts_of_them() {
        let scale = Scale::log([1_000.0, 4_000_000.0].into_iter());
        assert_eq!(scale.ticks, [1e3, 1e4, 1e5, 1e6, 1e7]);
        let scale = Scale::log([64.0, 1400.0].into_iter());
        assert_eq!(scale.ticks, [50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0]);
        assert!((scale.place(316.227_766) - 0.5).abs() < 1e-6);
        // One value, and none at all.
        assert!(Scale::log([7.0].into_iter()).ticks.len() >= 2);
        assert!(Scale::log(std::iter::empty()).place(1.0).is_finite());
        assert!(Scale::linear([5.0].into_iter(), None).place(5.0).is_finite());
    }

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (0.000_123_4, "0.000123"),
            (0.5, "0.5"),
            (20.04, "20"),
            (999.7, "1 k"),
            (52.33, "52.3"),
            (1234.0, "1.23 k"),
            (2_613_000.0, "2.61 M"),
            (-3_300_000_000.0, "-3.3 G"),
            (f64::NAN, "–"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }

    proptest! {
        #[test]
        fn any_values_have_a_scale(
            values in prop::collection::vec(prop::num::f64::ANY, 0..9), log: bool
        ) {
            let bounded = values.iter().map(|value| value.clamp(-1e12, 1e12));
            let scale = match log {
                true => Scale::log(bounded.clone()),
                false => Scale::linear(bounded.clone(), Some(0.0)),
            };
            prop_assert!((2..=30).contains(&scale.ticks.len()), "{:?}", scale);
            prop_assert!(scale.ticks.is_sorted());
            for value in bounded {
                prop_assert!((0.0..=1.0).contains(&scale.place(value)));
            }
        }
    }
}
