//! Points joined by lines over two axes.

use std::fmt::Write as _;

use super::chart::{Axis, Point, Series};
use super::html::escape;
use super::layout::{Layout, without_overlap};
use super::scale::{Scale, number};

/// Between a label and what it belongs to.
const GAP: f64 = 6.0;

/// Radius of a point.
const RADIUS: f64 = 3.5;

/// More points than this are a line alone: dots would hide it.
const DOTS_MAX: usize = 40;

/// What is drawn.
#[derive(Debug, Clone, Copy)]
pub struct Lines<'a> {
    /// The horizontal axis.
    pub x: &'a Axis,
    /// Places of it with a name.
    pub names: &'a [(f64, String)],
    /// The vertical axis.
    pub y: &'a Axis,
    /// Points.
    pub series: &'a [Series],
}

struct Plot {
    layout: Layout,
    left: f64,
    top: f64,
    width: f64,
    x: Scale,
    y: Scale,
}

impl Plot {
    fn at(&self, point: &Point) -> (f64, f64) {
        (self.at_x(point.x), self.at_y(point.y))
    }

    fn at_x(&self, value: f64) -> f64 {
        self.left + self.width * self.x.place(value)
    }

    fn at_y(&self, value: f64) -> f64 {
        self.top + self.layout.plot_height * (1.0 - self.y.place(value))
    }

    fn bottom(&self) -> f64 {
        self.top + self.layout.plot_height
    }
}

impl Lines<'_> {
    /// As an element of HTML.
    pub fn draw(&self, layout: Layout) -> String {
        let plot = self.plot(layout);
        let mut body = self.grid(&plot);
        for (index, series) in self.series.iter().enumerate() {
            draw_series(&plot, &mut body, index, series);
        }
        let Layout { class, width, font, .. } = layout;
        let label_at = plot.bottom() + 2.0 * font + 10.0;
        let height = label_at + 6.0;
        let (x, y) = (layout.fit(&self.x.label, width), layout.fit(&self.y.label, width));
        format!(
            r#"<svg class="{class}" viewBox="0 0 {width} {height:.0}" font-size="{font}" role="img"><text class="axis" x="0" y="{font}">{}</text>{body}<text class="axis" text-anchor="end" x="{width}" y="{label_at:.1}">{}</text></svg>"#,
            escape(&y),
            escape(&x)
        )
    }

    fn plot(&self, layout: Layout) -> Plot {
        let all = || self.series.iter().flat_map(Series::values);
        let scale = |axis: &Axis, values: Vec<f64>| match axis.log {
            true => Scale::log(values.into_iter()),
            false => Scale::linear(values.into_iter(), axis.from),
        };
        let mut x = scale(self.x, all().map(|point| point.x).collect());
        if !self.names.is_empty() {
            x.ticks = self.names.iter().map(|(at, _)| *at).collect();
        }
        let y = scale(self.y, all().map(|point| point.y).collect());
        let widths = y.ticks.iter().map(|tick| layout.text_width(&number(*tick)));
        let left = widths.fold(0.0, f64::max) + GAP;
        let right = layout.font;
        let top = layout.font + 14.0;
        Plot { layout, left, top, width: layout.width - left - right, x, y }
    }

    fn grid(&self, plot: &Plot) -> String {
        let (font, bottom) = (plot.layout.font, plot.bottom());
        let right = plot.left + plot.width;
        let mut grid = String::new();
        let heights: Vec<(f64, f64)> =
            plot.y.ticks.iter().map(|tick| (-plot.at_y(*tick), font)).collect();
        for (tick, stands) in plot.y.ticks.iter().zip(without_overlap(&heights, 2.0)) {
            let y = plot.at_y(*tick);
            let left = plot.left;
            let _ = write!(
                grid,
                r#"<line class="grid" x1="{left:.1}" x2="{right:.1}" y1="{y:.1}" y2="{y:.1}"/>"#
            );
            if stands {
                let (x, y) = (left - GAP, y + font * 0.36);
                let text = number(*tick);
                let _ = write!(
                    grid,
                    r#"<text class="tick" text-anchor="end" x="{x:.1}" y="{y:.1}">{text}</text>"#
                );
            }
        }
        let name = |tick: f64| {
            let named = self.names.iter().find(|(at, _)| *at == tick);
            named.map_or_else(|| number(tick), |(_, name)| name.clone())
        };
        let labels: Vec<(f64, String)> =
            plot.x.ticks.iter().map(|tick| (plot.at_x(*tick), name(*tick))).collect();
        // What would stand out of the drawing is moved into it.
        let place = |x: f64, text: &str| {
            let half = plot.layout.text_width(text) / 2.0;
            x.max(half).min(plot.layout.width - half)
        };
        let boxes: Vec<(f64, f64)> = labels
            .iter()
            .map(|(x, text)| (place(*x, text), plot.layout.text_width(text)))
            .collect();
        let y = bottom + font + GAP;
        for ((x, text), stands) in labels.iter().zip(without_overlap(&boxes, GAP)) {
            let top = plot.top;
            let _ = write!(
                grid,
                r#"<line class="grid" x1="{x:.1}" x2="{x:.1}" y1="{top:.1}" y2="{bottom:.1}"/>"#
            );
            if stands {
                let (x, text) = (place(*x, text), escape(text));
                let _ = write!(
                    grid,
                    r#"<text class="tick" text-anchor="middle" x="{x:.1}" y="{y:.1}">{text}</text>"#
                );
            }
        }
        grid
    }
}

fn draw_series(plot: &Plot, body: &mut String, index: usize, series: &Series) {
    let class = index % super::page::COLOURS;
    let places: Vec<String> = series
        .values()
        .map(|point| plot.at(point))
        .map(|(x, y)| format!("{x:.1},{y:.1}"))
        .collect();
    let _ = write!(body, r#"<polyline class="l{class}" points="{}"/>"#, places.join(" "));
    if places.len() > DOTS_MAX {
        return;
    }
    for point in series.values() {
        let (x, y) = plot.at(point);
        let hollow = if point.bound { " hollow" } else { "" };
        let star = if point.bound { " *" } else { "" };
        let note = if point.note.is_empty() { number(point.x) } else { point.note.clone() };
        let told = escape(&format!("{}, {note}: {}{star}", series.name, number(point.y)));
        let _ = write!(
            body,
            r#"<circle class="s{class}{hollow}" cx="{x:.1}" cy="{y:.1}" r="{RADIUS}"><title>{told}</title></circle>"#
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::{NARROW, WIDE};
    use super::*;

    #[test]
    fn each_point_is_told_and_lies_inside() {
        let points = [(1e3, 20.0), (1e5, 25.0), (1e6, 38.7)].map(|(x, y)| Point::new(x, y));
        let series = [Series::line("decapsulation", points)];
        let (x, y) = (Axis::log("sessions"), Axis::linear("ns a packet"));
        let lines = Lines { x: &x, names: &[], y: &y, series: &series };
        for layout in [NARROW, WIDE] {
            let svg = lines.draw(layout);
            assert_eq!(svg.matches("<circle").count(), 3);
            assert!(svg.contains("<title>decapsulation, 1 M: 38.7</title>"), "{svg}");
            let ends: Vec<f64> = svg
                .split("cx=\"")
                .skip(1)
                .map(|rest| rest.split('"').next().unwrap().parse().unwrap())
                .collect();
            assert!(ends.iter().all(|x| (0.0..=layout.width).contains(x)), "{ends:?}");
        }
    }

    #[test]
    fn named_places_have_their_names() {
        let series = [Series::line("latency", [Point::new(0.0, 10.0), Point::new(1.0, 20.0)])];
        let names = [(0.0, "50 %".to_owned()), (1.0, "99 %".to_owned())];
        let (x, y) = (Axis::linear("part of the packets"), Axis::log("us"));
        let svg = Lines { x: &x, names: &names, y: &y, series: &series }.draw(WIDE);
        assert!(svg.contains(">50 %</text>") && svg.contains(">99 %</text>"), "{svg}");
    }

    #[test]
    fn nothing_at_all_is_an_empty_plot() {
        let series = [Series::line("", [Point::new(f64::NAN, 1.0)])];
        let (x, y) = (Axis::log("x"), Axis::log("y"));
        let svg = Lines { x: &x, names: &[], y: &y, series: &series }.draw(NARROW);
        assert!(svg.contains("<svg") && !svg.contains("NaN") && !svg.contains("<circle"), "{svg}");
    }
}
