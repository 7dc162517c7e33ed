//! How much room a drawing has: it is made twice, and the page shows the one that fits its window.

/// Width of a letter on average, as a part of the size of its font; rather more than less.
const LETTER_WIDTH: f64 = 0.6;

/// Room and sizes, in the units of the drawing, which are pixels where the page has room for them.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Its class on the page.
    pub class: &'static str,
    /// Width of the drawing.
    pub width: f64,
    /// Height of the plot of a chart of lines.
    pub plot_height: f64,
    /// Size of the font.
    pub font: f64,
}

/// For a window of a desk.
pub const WIDE: Layout = Layout { class: "wide", width: 640.0, plot_height: 250.0, font: 13.0 };

/// For a phone.
pub const NARROW: Layout = Layout { class: "narrow", width: 340.0, plot_height: 220.0, font: 12.0 };

impl Layout {
    /// How wide a text is, about.
    pub fn text_width(self, text: &str) -> f64 {
        text.chars().count() as f64 * self.font * LETTER_WIDTH
    }

    /// As much of a text as fits.
    pub fn fit(self, text: &str, width: f64) -> String {
        if self.text_width(text) <= width {
            return text.to_owned();
        }
        let letters = (width / (self.font * LETTER_WIDTH)).floor().max(1.0) as usize;
        let kept: String = text.chars().take(letters.saturating_sub(1)).collect();
        kept.trim_end().to_owned() + "…"
    }
}

/// Which labels can stand side by side, each in the middle of its place, with a gap between: the first one
/// and each later one that does not touch the last one that stands.
pub fn without_overlap(labels: &[(f64, f64)], gap: f64) -> Vec<bool> {
    let mut end = f64::NEG_INFINITY;
    labels
        .iter()
        .map(|(middle, width)| {
            let stands = middle - width / 2.0 >= end + gap;
            if stands {
                end = middle + width / 2.0;
            }
            stands
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_would_touch_are_left_out() {
        let labels = [(0.0, 20.0), (15.0, 20.0), (40.0, 20.0), (61.0, 20.0)];
        assert_eq!(without_overlap(&labels, 4.0), [true, false, true, false]);
        assert_eq!(without_overlap(&labels, 0.0), [true, false, true, true]);
        assert_eq!(without_overlap(&[], 4.0), [false; 0]);
    }

    #[test]
    fn texts_are_cut_to_their_room() {
        let fits = NARROW.fit("twelve chars", 100.0);
        assert_eq!(fits, "twelve chars");
        let cut = NARROW.fit("twelve chars", 50.0);
        assert!(cut.ends_with('…') && NARROW.text_width(&cut) <= 50.0, "{cut}");
    }
}
