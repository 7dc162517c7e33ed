//! Instructions, look-ups, hand-off, steering: bars of what was measured in memory.

use serde_json::Value;

use super::super::chart::{Axis, Chart, Form, Point, Series};
use super::super::read::{File, number, text};
use super::{distinct, named};

/// Bars of one list of each file: a group for each name, a series for each file and kind.
pub fn bars_of(
    files: &[&File],
    list: &str,
    group: impl Fn(&Value) -> String,
    kind: impl Fn(&Value) -> String,
    value: &str,
) -> (Vec<String>, Vec<Series>) {
    let rows = |file: &&File| file.list(list).to_vec();
    let groups = distinct(files.iter().flat_map(rows).map(|row| group(&row)));
    let mut series = Vec::new();
    for file in files {
        for one in distinct(file.list(list).iter().map(&kind)) {
            let of = |name: &String| {
                let mut rows = file.list(list).iter();
                let row = rows.find(|row| group(row) == *name && kind(row) == one)?;
                number(&row[value]).map(|value| Point::new(0.0, value))
            };
            series.push(Series::bars(named(files, file, &one), groups.iter().map(of).collect()));
        }
    }
    (groups, series)
}

/// A mark for each group, from the rows of all files.
pub fn marks_of(
    files: &[&File],
    list: &str,
    groups: &[String],
    group: impl Fn(&Value) -> String,
    mark: &str,
) -> Vec<Option<f64>> {
    let find = |name: &String| {
        let mut rows = files.iter().flat_map(|file| file.list(list));
        rows.find_map(|row| number(&row[mark]).filter(|_| group(row) == *name))
    };
    groups.iter().map(find).collect()
}

/// With marks of what is allowed.
pub fn with_marks(mut chart: Chart, what: &str, marks: Vec<Option<f64>>) -> Chart {
    if let Form::Bars { marks: place, .. } = &mut chart.form
        && marks.iter().any(Option::is_some)
    {
        *place = Some((what.to_owned(), marks));
    }
    chart
}

fn field(name: &'static str) -> impl Fn(&Value) -> String {
    move |row| text(&row[name]).replace('_', " ")
}

/// A constant name: no kinds.
fn plain(_: &Value) -> String {
    String::new()
}

/// `xlns-bench instructions`.
pub fn instructions(files: &[&File]) -> Vec<Chart> {
    let (groups, series) =
        bars_of(files, "rows", field("kind"), field("direction"), "instructions");
    let axis = Axis::linear("instructions a packet");
    vec![Chart::bars("Instructions a packet, by kind of packet", axis, groups, series)]
}

/// `xlns-bench tables`.
pub fn tables(files: &[&File]) -> Vec<Chart> {
    let (groups, series) = bars_of(files, "lookups", field("what"), plain, "ns");
    let lookups = Chart::bars("A look-up among many", Axis::linear("ns a look-up"), groups, series);
    let groups = ["routes", "sessions"].map(str::to_owned).to_vec();
    let of = |file: &&File| {
        let names = ["route_changes_per_second_p10", "session_changes_per_second_p10"];
        let value = |name| number(&file.record[name]).map(|value| Point::new(0.0, value));
        Series::bars(file.name.clone(), names.map(value).to_vec())
    };
    let changes = Chart::bars(
        "Changes beside a worker that reads",
        Axis::linear("changes a second, in nine slices of ten"),
        groups,
        files.iter().map(of).collect(),
    );
    vec![lookups, changes]
}

/// `xlns-bench handoff`.
pub fn handoff(files: &[&File]) -> Vec<Chart> {
    const STEPS: [(&str, &str); 4] = [
        ("give", "owner of the queue: find the share, give it"),
        ("take", "other worker: take it"),
        ("process", "other worker: process it"),
        ("process_at_home", "without hand-off: process it"),
    ];
    let groups = STEPS.map(|(_, what)| what.to_owned()).to_vec();
    let of = |file: &&File| {
        let value = |(step, _): (&str, &str)| {
            number(&file.record[step]["ns_per_packet"]).map(|value| Point::new(0.0, value))
        };
        Series::bars(file.name.clone(), STEPS.map(value).to_vec())
    };
    let costs = Chart::bars(
        "What hand-off costs either worker",
        Axis::linear("ns a packet"),
        groups,
        files.iter().map(of).collect(),
    );
    let mut charts = vec![costs];
    charts.extend(files.iter().map(|file| live(file)));
    charts
}

/// Who did how much.
fn live(file: &File) -> Chart {
    let ways = file.list("ways");
    let groups = ways.iter().map(|way| format!("hand-off {}", text(&way["handoff"]))).collect();
    let workers = ways.iter().filter_map(|way| way["workers"].as_array()).map(Vec::len).max();
    let series = (0..workers.unwrap_or(0)).map(|worker| {
        let value = |way: &Value| {
            let part = number(&way["workers"][worker]["part_of_all"])?;
            Some(Point::new(0.0, 100.0 * part))
        };
        Series::bars(format!("worker {worker}"), ways.iter().map(value).collect())
    });
    let mut chart = Chart::bars(
        "Who processes one flooded queue",
        Axis::linear("percent of the packets"),
        groups,
        series.collect(),
    );
    if let Form::Bars { stacked, .. } = &mut chart.form {
        *stacked = true;
    }
    chart
}

/// `xlns-bench steer`.
pub fn steer(files: &[&File]) -> Vec<Chart> {
    let (groups, series) = bars_of(files, "rows", field("what"), plain, "over_empty_ns");
    let marks = marks_of(files, "rows", &groups, field("what"), "allowed_ns");
    let axis = Axis::linear("ns a packet over an empty program");
    let chart = Chart::bars("What steering costs", axis, groups, series);
    vec![with_marks(chart, "not above", marks)]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::read::file;
    use super::*;

    #[test]
    fn files_stand_side_by_side() {
        let rows = |ns: f64| {
            json!({"rows": [
                {"what": "control", "over_empty_ns": ns, "allowed_ns": 25.0},
                {"what": "transit", "over_empty_ns": 8.0}
            ]})
        };
        let (a, b) = (file("a", rows(24.0)), file("b", rows(45.0)));
        let charts = steer(&[&a, &b]);
        let Form::Bars { groups, marks, .. } = &charts[0].form else { panic!("bars") };
        assert_eq!(groups, &["control", "transit"]);
        assert_eq!(marks.as_ref().unwrap().1, [Some(25.0), None]);
        let names: Vec<_> = charts[0].series.iter().map(|series| series.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(charts[0].series[1].points[0].as_ref().unwrap().y, 45.0);
    }

    #[test]
    fn a_record_without_lists_draws_nothing() {
        let empty = file("empty", json!({}));
        for find in [instructions, tables, handoff, steer] {
            assert!(find(&[&empty]).iter().all(Chart::is_empty));
            assert!(find(&[]).iter().all(Chart::is_empty));
        }
    }
}
