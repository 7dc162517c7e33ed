//! Median and range of what was measured several times.

use std::fmt;

use serde::Serialize;

/// Median and range.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of some values; zeros where there is none.
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or_default();
        let last = values.len().saturating_sub(1);
        Self { median: (at(last / 2) + at(last.div_ceil(2))) / 2.0, min: at(0), max: at(last) }
    }

    /// The same in a larger unit.
    pub fn per(self, unit: f64) -> Self {
        Self { median: self.median / unit, min: self.min / unit, max: self.max / unit }
    }
}

impl fmt::Display for Spread {
    /// `median (min - max)`, with so many digits behind the point.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(3);
        let Self { median, min, max } = self;
        write!(f, "{median:.digits$} ({min:.digits$} - {max:.digits$})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), Spread { median: 2.5, min: 1.0, max: 4.0 });
        assert_eq!(spread(&[7.0]), Spread { median: 7.0, min: 7.0, max: 7.0 });
        assert_eq!(spread(&[]), Spread { median: 0.0, min: 0.0, max: 0.0 });
    }

    #[test]
    fn it_is_printed_in_a_unit_with_its_range() {
        let spread = Spread { median: 2.26e6, min: 2.2e6, max: 2.3e6 }.per(1e6);
        assert_eq!(format!("{spread:.2}"), "2.26 (2.20 - 2.30)");
    }
}
