//! `xlns-bench pipeline`.

use serde_json::Value;

use super::super::chart::{Axis, Chart, Form, Point, Series};
use super::super::read::{File, number, text};
use super::super::scale;
use super::memory::{bars_of, marks_of, with_marks};
use super::{distinct, named};

/// All charts.
pub fn charts(files: &[&File]) -> Vec<Chart> {
    let mut charts = vec![by_sessions(files), by_size(files), rows(files)];
    charts.extend(files.iter().map(|file| stages(files, file)));
    charts.extend([churn(files), memory(files)]);
    charts
}

fn by_sessions(files: &[&File]) -> Chart {
    let mut series = Vec::new();
    for file in files {
        let cells = file.list("cells");
        for direction in distinct(cells.iter().map(direction)) {
            let points = cells.iter().filter(|cell| self::direction(cell) == direction);
            let points = points.filter_map(|cell| {
                let (x, y) = (number(&cell["sessions"])?, number(&cell["ns_per_packet"])?);
                Some(Point::new(x, y).note(format!("{} sessions", scale::number(x))))
            });
            series.push(Series::line(named(files, file, &direction), points));
        }
    }
    let (x, y) = (Axis::log("sessions, in random order"), Axis::linear("ns a packet"));
    Chart::lines("Cost of a packet by the number of sessions", x, y, series)
}

fn direction(row: &Value) -> String {
    text(&row["direction"]).to_owned()
}

fn direction_and_sessions(row: &Value) -> String {
    let sessions = number(&row["sessions"]).map(scale::number).unwrap_or_default();
    format!("{}, {sessions} sessions", direction(row))
}

fn by_size(files: &[&File]) -> Chart {
    let size = |row: &Value| match text(&row["size"]) {
        "imix" => "a mix (7 of 46, 4 of 552, one of 1400)".to_owned(),
        octets => format!("{octets} octets"),
    };
    let (groups, series) = bars_of(files, "sizes", size, direction_and_sessions, "ns_per_packet");
    let axis = Axis::linear("ns a packet");
    Chart::bars("Cost of a packet by the size of the inner one", axis, groups, series)
}

fn rows(files: &[&File]) -> Chart {
    let name = |row: &Value| text(&row["row"]).to_owned();
    let (groups, series) = bars_of(files, "rows", name, direction, "increment_clk");
    let marks = marks_of(files, "rows", &groups, name, "allowed_clk");
    let axis =
        Axis { from: Some(0.0), ..Axis::linear("time-stamp cycles more than the plain packet") };
    let chart =
        Chart::bars("What kinds of packets cost more than the plain one", axis, groups, series);
    with_marks(chart, "not above", marks)
}

fn stages(files: &[&File], file: &File) -> Chart {
    let rows = file.list("stages");
    let groups: Vec<String> = rows.iter().map(direction_and_sessions).collect();
    let pairs = |row: &Value| -> Vec<(String, f64)> {
        let pairs = row["clk_per_packet"].as_array().into_iter().flatten();
        pairs.filter_map(|pair| Some((text(&pair[0]).to_owned(), number(&pair[1])?))).collect()
    };
    let stages = distinct(rows.iter().flat_map(pairs).map(|(stage, _)| stage));
    let series = stages.iter().map(|stage| {
        let value = |row: &Value| {
            let pair = pairs(row).into_iter().find(|(name, _)| name == stage)?;
            Some(Point::new(0.0, pair.1))
        };
        Series::bars(stage.clone(), rows.iter().map(value).collect())
    });
    let title = match files.len() {
        1 => "What each stage takes".to_owned(),
        _ => format!("What each stage takes: {}", file.name),
    };
    let axis = Axis::linear("time-stamp cycles a packet");
    let mut chart = Chart::bars(title, axis, groups.clone(), series.collect());
    chart.form = Form::Bars { groups, stacked: true, marks: None };
    chart
}

fn churn(files: &[&File]) -> Chart {
    let (groups, series) = bars_of(files, "churn", direction, |_| String::new(), "here_percent");
    let axis = Axis { from: Some(1.0), ..Axis::linear("percent more time a packet") };
    let title = "What 100,000 sessions a second, added meanwhile, take of the speed";
    Chart::bars(title, axis, groups, series)
}

fn memory(files: &[&File]) -> Chart {
    let name = |row: &Value| {
        let sessions = number(&row["sessions"]).map(scale::number).unwrap_or_default();
        format!("{sessions} sessions, {}", text(&row["kind"]).replace('_', " "))
    };
    let (groups, series) = bars_of(files, "filling", name, |_| String::new(), "bytes_per_session");
    let axis = Axis::linear("octets a session");
    Chart::bars("Memory of the data plane", axis, groups, series)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::read::file;
    use super::*;

    #[test]
    fn what_a_record_has_is_drawn() {
        let cell = |direction, sessions, ns| json!({"direction": direction, "sessions": sessions, "ns_per_packet": ns});
        let record = json!({
            "cells": [cell("decapsulation", 1000, 20.0), cell("encapsulation", 1000, 21.0),
                      cell("decapsulation", 100_000, 25.0)],
            "stages": [{"direction": "decapsulation", "sessions": 1000,
                        "clk_per_packet": [["classify", 26.0], ["act", 13.6]]}],
            "rows": [{"direction": "decapsulation", "row": "policer", "increment_clk": 7.8,
                      "allowed_clk": 25.0}],
            "churn": [{"direction": "decapsulation", "here_percent": 0.02}],
        });
        let file = file("run", record);
        let drawn: Vec<_> =
            charts(&[&file]).into_iter().filter(|chart| !chart.is_empty()).collect();
        assert_eq!(drawn.len(), 4, "{drawn:?}");
        assert_eq!(drawn[0].series[0].points.len(), 2);
        assert_eq!(drawn[0].series[1].name, "encapsulation");
        let stages = drawn.iter().find(|chart| chart.title.contains("stage")).unwrap();
        assert_eq!(stages.series.len(), 2);
    }
}
