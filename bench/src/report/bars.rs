//! Horizontal bars: each group has its name above it, so that names of any length fit.

use std::fmt::Write as _;

use super::chart::{Axis, Point, Series};
use super::html::escape;
use super::layout::{Layout, without_overlap};
use super::scale::{Scale, number};

/// Height of a bar, and the gap behind it.
const BAR: f64 = 15.0;
const BAR_GAP: f64 = 3.0;

/// Between groups.
const GROUP_GAP: f64 = 10.0;

/// Between a bar and its number, and between labels of the axis.
const GAP: f64 = 5.0;

/// What is drawn.
#[derive(Debug, Clone, Copy)]
pub struct Bars<'a> {
    /// The axis of values.
    pub axis: &'a Axis,
    /// Names of groups.
    pub groups: &'a [String],
    /// Values.
    pub series: &'a [Series],
    /// Whether a group is one line.
    pub stacked: bool,
    /// A mark in each group.
    pub marks: &'a [Option<f64>],
}

impl Bars<'_> {
    /// As an element of HTML.
    pub fn draw(&self, layout: Layout) -> String {
        let scale = self.scale();
        let reserve = layout.text_width("−99.9 k *") + GAP;
        let plot = Plot { layout, span: layout.width - reserve, scale: &scale };
        let (mut body, mut top) = (String::new(), 0.0);
        for (index, group) in self.groups.iter().enumerate() {
            let name = layout.fit(group, layout.width);
            let baseline = top + layout.font;
            let _ = write!(body, r#"<text x="0" y="{baseline:.1}">{}</text>"#, escape(&name));
            let start = top + layout.font + 5.0;
            top = match self.stacked {
                true => self.stack(&plot, &mut body, index, start),
                false => self.rows(&plot, &mut body, index, start),
            };
            if let Some(Some(mark)) = self.marks.get(index) {
                let x = plot.x(*mark);
                let _ = write!(
                    body,
                    r#"<line class="mark" x1="{x:.1}" x2="{x:.1}" y1="{start:.1}" y2="{top:.1}"><title>{}</title></line>"#,
                    number(*mark)
                );
            }
            top += GROUP_GAP;
        }
        let grid = plot.grid(top);
        let label_at = top + 2.0 * layout.font + 8.0;
        let height = label_at + 6.0;
        let label = escape(&layout.fit(&self.axis.label, layout.width));
        let Layout { class, width, font, .. } = layout;
        format!(
            r#"<svg class="{class}" viewBox="0 0 {width} {height:.0}" font-size="{font}" role="img">{grid}{body}<text class="axis" x="0" y="{label_at:.1}">{label}</text></svg>"#
        )
    }

    fn scale(&self) -> Scale {
        let marks = self.marks.iter().copied().flatten();
        if self.stacked {
            let totals = (0..self.groups.len()).map(|group| self.total(group));
            return Scale::linear(totals.chain(marks), Some(0.0));
        }
        let values = self.series.iter().flat_map(|series| series.values().map(|point| point.y));
        match self.axis.log {
            true => Scale::log(values.chain(marks)),
            false => Scale::linear(values.chain(marks), self.axis.from),
        }
    }

    fn total(&self, group: usize) -> f64 {
        self.of(group).map(|(_, _, point)| point.y.max(0.0)).sum()
    }

    /// The values of a group: which series, its name, the value.
    fn of(&self, group: usize) -> impl Iterator<Item = (usize, &str, &Point)> {
        self.series.iter().enumerate().filter_map(move |(index, series)| {
            let point = series.points.get(group)?.as_ref()?;
            point.y.is_finite().then_some((index, series.name.as_str(), point))
        })
    }

    fn rows(&self, plot: &Plot<'_>, body: &mut String, group: usize, start: f64) -> f64 {
        let mut top = start;
        for (index, name, point) in self.of(group) {
            let (zero, end) = (plot.zero(), plot.x(point.y));
            let (left, width) = (zero.min(end), (end - zero).abs().max(1.0));
            plot.bar(body, [left, top, width], index, &told(name, point), point.bound);
            let text = number(point.y) + if point.bound { " *" } else { "" };
            plot.value(body, left + width + GAP, top, &text);
            top += BAR + BAR_GAP;
        }
        top
    }

    fn stack(&self, plot: &Plot<'_>, body: &mut String, group: usize, start: f64) -> f64 {
        let mut sum = 0.0;
        for (index, name, point) in self.of(group) {
            let left = plot.x(sum);
            sum += point.y.max(0.0);
            let width = plot.x(sum) - left;
            plot.bar(body, [left, start, width], index, &told(name, point), point.bound);
        }
        plot.value(body, plot.x(sum) + GAP, start, &number(sum));
        start + BAR + BAR_GAP
    }
}

/// What a bar says when it is pointed at.
fn told(name: &str, point: &Point) -> String {
    let number = number(point.y);
    let parts = [name, number.as_str(), point.note.as_str()];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    escape(&parts.join(": "))
}

struct Plot<'a> {
    layout: Layout,
    span: f64,
    scale: &'a Scale,
}

impl Plot<'_> {
    fn x(&self, value: f64) -> f64 {
        self.span * self.scale.place(value)
    }

    /// Where bars begin: at 0, or at the lower end where that is not on the axis.
    fn zero(&self) -> f64 {
        self.x(0.0)
    }

    fn bar(
        &self,
        body: &mut String,
        [x, y, width]: [f64; 3],
        series: usize,
        told: &str,
        bound: bool,
    ) {
        let class = series % super::page::COLOURS;
        let _ = write!(
            body,
            r#"<rect class="s{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{BAR}"><title>{told}</title></rect>"#
        );
        if bound {
            let _ = write!(
                body,
                r#"<rect class="hatch" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{BAR}"><title>{told}</title></rect>"#
            );
        }
    }

    fn value(&self, body: &mut String, x: f64, top: f64, text: &str) {
        let y = top + BAR / 2.0 + self.layout.font * 0.36;
        let text = escape(text);
        let _ = write!(body, r#"<text class="value" x="{x:.1}" y="{y:.1}">{text}</text>"#);
    }

    /// Lines and labels of the axis, down to `bottom`.
    fn grid(&self, bottom: f64) -> String {
        let layout = self.layout;
        let labels: Vec<(f64, String)> =
            self.scale.ticks.iter().map(|tick| (self.x(*tick), number(*tick))).collect();
        // The first and the last one are moved inside of the drawing.
        let place = |x: f64, text: &str| {
            let half = layout.text_width(text) / 2.0;
            x.max(half).min(layout.width - half)
        };
        let boxes: Vec<(f64, f64)> =
            labels.iter().map(|(x, text)| (place(*x, text), layout.text_width(text))).collect();
        let mut grid = String::new();
        let y = bottom + layout.font;
        for ((x, text), stands) in labels.iter().zip(without_overlap(&boxes, GAP)) {
            let _ = write!(
                grid,
                r#"<line class="grid" x1="{x:.1}" x2="{x:.1}" y1="0" y2="{bottom:.1}"/>"#
            );
            if stands {
                let x = place(*x, text);
                let _ = write!(
                    grid,
                    r#"<text class="tick" text-anchor="middle" x="{x:.1}" y="{y:.1}">{text}</text>"#
                );
            }
        }
        grid
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::{NARROW, WIDE};
    use super::*;

    fn draw(series: &[Series], groups: &[String], stacked: bool, marks: &[Option<f64>]) -> String {
        let axis = Axis::linear("ns a packet");
        Bars { axis: &axis, groups, series, stacked, marks }.draw(NARROW)
    }

    #[test]
    fn each_value_is_a_bar_with_its_number() {
        let points =
            vec![Some(Point::new(0.0, 20.0).bound(true)), None, Some(Point::new(0.0, 5.0))];
        let groups = ["<in>", "out", "both"].map(str::to_owned);
        let svg = draw(&[Series::bars("x & y", points)], &groups, false, &[Some(25.0), None, None]);
        assert_eq!(svg.matches(r#"<rect class="s0""#).count(), 2);
        assert_eq!(svg.matches(r#"<rect class="hatch""#).count(), 1);
        assert_eq!(svg.matches(r#"class="mark""#).count(), 1);
        assert!(svg.contains("&lt;in&gt;") && svg.contains("x &amp; y: 20"), "{svg}");
        assert!(svg.contains(">20 *</text>") && svg.contains("ns a packet"), "{svg}");
    }

    #[test]
    fn parts_of_a_whole_follow_one_another() {
        let part = |value| vec![Some(Point::new(0.0, value))];
        let series = [Series::bars("a", part(10.0)), Series::bars("b", part(30.0))];
        let svg = draw(&series, &["all".to_owned()], true, &[]);
        assert!(svg.contains(">40</text>"), "{svg}");
        assert_eq!(svg.matches("<rect").count(), 2);
    }

    #[test]
    fn nothing_and_what_is_no_number_are_no_bars() {
        let series = [Series::bars("a", vec![Some(Point::new(0.0, f64::NAN)), None])];
        let groups = ["a", "b"].map(str::to_owned);
        let axis = Axis::log("x");
        for layout in [NARROW, WIDE] {
            let bars =
                Bars { axis: &axis, groups: &groups, series: &series, stacked: false, marks: &[] };
            let svg = bars.draw(layout);
            assert!(!svg.contains("<rect") && !svg.contains("NaN"), "{svg}");
        }
        assert!(draw(&[], &[], true, &[]).contains("<svg"));
    }
}
