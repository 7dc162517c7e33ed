//! Bars of text, for numbers that people compare.

/// Characters of the longest one.
pub const BAR_CHARACTERS: usize = 40;

/// What is drawn of a `value` where the largest is `most`; something, unless it is 0.
pub fn bar(value: f64, most: f64) -> String {
    let share = if most > 0.0 { (value / most).clamp(0.0, 1.0) } else { 0.0 };
    let least = if value > 0.0 { 1.0 } else { 0.0 };
    "█".repeat((BAR_CHARACTERS as f64 * share).round().max(least) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_share() {
        let length = |value, most| bar(value, most).chars().count();
        assert_eq!([length(4.0, 4.0), length(2.0, 4.0), length(9.0, 4.0)], [40, 20, 40]);
        assert_eq!([length(0.001, 4.0), length(0.0, 4.0), length(0.0, 0.0)], [1, 0, 0]);
    }
}
