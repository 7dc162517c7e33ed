//! What is drawn: titles, axes, series and values, without a place or a colour.

/// A value that is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Where on the horizontal axis; of bars, unused.
    pub x: f64,
    /// The value.
    pub y: f64,
    /// What is said of it beside its number; may be empty.
    pub note: String,
    /// Whether the generator was at its end, so that the truth may be more.
    pub bound: bool,
}

impl Point {
    /// A value at a place.
    pub fn new(x: f64, y: f64) -> Self {
        Self { x, y, note: String::new(), bound: false }
    }

    /// The same with something to say of it.
    pub fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    /// The same, bound by the generator or not.
    pub fn bound(self, bound: bool) -> Self {
        Self { bound, ..self }
    }
}

/// Values that belong together, in one colour.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// In the legend.
    pub name: String,
    /// Of bars: one for each group, `None` where there is none.
    pub points: Vec<Option<Point>>,
}

impl Series {
    /// Points of a line.
    pub fn line(name: impl Into<String>, points: impl IntoIterator<Item = Point>) -> Self {
        Self { name: name.into(), points: points.into_iter().map(Some).collect() }
    }

    /// Values of bars.
    pub fn bars(name: impl Into<String>, points: Vec<Option<Point>>) -> Self {
        Self { name: name.into(), points }
    }

    /// The values that are there.
    pub fn values(&self) -> impl Iterator<Item = &Point> {
        self.points.iter().flatten().filter(|point| point.x.is_finite() && point.y.is_finite())
    }
}

/// An axis of values.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// What it says, with the unit.
    pub label: String,
    /// Whether steps are factors.
    pub log: bool,
    /// What values below this are not worth: the axis covers it, 0 for bars.
    pub from: Option<f64>,
}

impl Axis {
    /// By equal steps, from 0.
    pub fn linear(label: impl Into<String>) -> Self {
        Self { label: label.into(), log: false, from: Some(0.0) }
    }

    /// By factors, from the least value.
    pub fn log(label: impl Into<String>) -> Self {
        Self { label: label.into(), log: true, from: None }
    }
}

/// The form.
#[derive(Debug, Clone, PartialEq)]
pub enum Form {
    /// Points joined by lines.
    Lines {
        /// The horizontal axis.
        x: Axis,
        /// Places on it that have a name of their own, instead of numbers.
        names: Vec<(f64, String)>,
    },
    /// Horizontal bars, a group for each name.
    Bars {
        /// The groups.
        groups: Vec<String>,
        /// Whether the bars of a group follow one another in a line, as parts of a whole.
        stacked: bool,
        /// A mark in each group, and what it is: the most that is allowed.
        marks: Option<(String, Vec<Option<f64>>)>,
    },
}

/// A chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// How to read it; may be empty.
    pub note: String,
    /// Its form.
    pub form: Form,
    /// The axis of values.
    pub values: Axis,
    /// What is drawn.
    pub series: Vec<Series>,
}

impl Chart {
    /// Lines over an axis.
    pub fn lines(title: impl Into<String>, x: Axis, values: Axis, series: Vec<Series>) -> Self {
        let form = Form::Lines { x, names: Vec::new() };
        Self { title: title.into(), note: String::new(), form, values, series }
    }

    /// Groups of bars.
    pub fn bars(
        title: impl Into<String>,
        values: Axis,
        groups: Vec<String>,
        series: Vec<Series>,
    ) -> Self {
        let form = Form::Bars { groups, stacked: false, marks: None };
        Self { title: title.into(), note: String::new(), form, values, series }
    }

    /// The same with a word on how to read it.
    pub fn with_note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    /// Whether there is anything to draw.
    pub fn is_empty(&self) -> bool {
        self.series.iter().all(|series| series.values().next().is_none())
    }

    /// Whether the generator bounds a value.
    pub fn has_bound(&self) -> bool {
        self.series.iter().any(|series| series.values().any(|point| point.bound))
    }
}
