//! `xlns-bench compare`.

use serde_json::Value;

use super::super::chart::{Axis, Chart, Point, Series};
use super::super::read::{File, number, text};
use super::super::scale;

/// All charts: files one after the other, as each compares two servers in itself.
pub fn charts(files: &[&File]) -> Vec<Chart> {
    let several = files.len() > 1;
    let suffix = |file: &File| if several { format!(": {}", file.name) } else { String::new() };
    files
        .iter()
        .flat_map(|file| {
            let suffix = suffix(file);
            [
                rates(file, "saturation", &format!("At saturation{suffix}")),
                rates(file, "loss_0_1_percent", &format!("At a loss of 0.1 %{suffix}")),
                cpu(file, &format!("CPU time of a packet{suffix}")),
                ratios(file, &format!("xlns to the other one{suffix}")),
            ]
        })
        .collect()
}

fn servers(file: &File) -> [String; 2] {
    let name = |index: usize, default: &str| {
        let server = &file.list("servers").get(index).cloned().unwrap_or_default();
        let name = text(&server["name"]);
        if name.is_empty() { default.to_owned() } else { name.to_owned() }
    };
    [name(0, "xlns"), name(1, "peer")]
}

fn label(cell: &Value) -> String {
    let size = number(&cell["size"]).map(scale::number).unwrap_or_default();
    format!("{}, {size} octets", text(&cell["direction"]))
}

fn label_and_mode(cell: &Value) -> String {
    let mode = match text(&cell["mode"]) {
        "saturation" => "saturation",
        _ => "0.1 % loss",
    };
    format!("{}, {mode}", label(cell))
}

fn rates(file: &File, mode: &str, title: &str) -> Chart {
    let cells: Vec<&Value> =
        file.list("cells").iter().filter(|cell| text(&cell["mode"]) == mode).collect();
    let groups = cells.iter().map(|cell| label(cell)).collect();
    let of = |name: &str, field: &str, figures: &str| {
        let value = |cell: &&Value| {
            let bound = cell[figures]["generator_bound"].as_bool().unwrap_or(false);
            let spread = &cell[figures]["pps"];
            let note = number(&spread["min"])
                .zip(number(&spread["max"]))
                .map(|(min, max)| format!("{} to {}", scale::number(min), scale::number(max)));
            let pps = number(&cell[field])?;
            Some(Point::new(0.0, pps).note(note.unwrap_or_default()).bound(bound))
        };
        Series::bars(name, cells.iter().map(value).collect())
    };
    let [xlns, peer] = servers(file);
    let series = vec![of(&xlns, "xlns_pps", "xlns"), of(&peer, "peer_pps", "peer")];
    let ceilings = file.list("ceilings").iter().filter_map(|ceiling| {
        let pps = number(&ceiling["pps"]["median"])?;
        let size = number(&ceiling["size"])?;
        Some(format!("{} at {size} octets", scale::number(pps)))
    });
    let ceilings: Vec<String> = ceilings.collect();
    let axis = Axis::linear("packets a second");
    let chart = Chart::bars(title, axis, groups, series);
    match ceilings.is_empty() {
        true => chart,
        false => chart.with_note(format!(
            "in: from subscribers to the core; out: to subscribers. The generator alone: {}.",
            ceilings.join(", ")
        )),
    }
}

fn cpu(file: &File, title: &str) -> Chart {
    let cells = file.list("cells");
    let groups = cells.iter().map(label_and_mode).collect();
    let of = |name: &str, figures: &str| {
        let value = |cell: &Value| {
            number(&cell[figures]["cpu_ns_per_packet"]["median"]).map(|ns| Point::new(0.0, ns))
        };
        Series::bars(name, cells.iter().map(value).collect())
    };
    let [xlns, peer] = servers(file);
    let axis = Axis::linear("ns of CPU a packet, each at its own rate");
    Chart::bars(title, axis, groups, vec![of(&xlns, "xlns"), of(&peer, "peer")])
}

fn ratios(file: &File, title: &str) -> Chart {
    let cells = file.list("cells");
    let groups = cells.iter().map(label_and_mode).collect();
    let of = |name: &str, field: &str| {
        let value = |cell: &Value| number(&cell[field]).map(|ratio| Point::new(0.0, ratio));
        Series::bars(name, cells.iter().map(value).collect())
    };
    let series = vec![
        of("packets a second (more is better)", "ratio"),
        of("CPU time of a packet (less is better)", "cpu_ratio"),
        of("the same at one load for both", "cpu_ratio_same_load"),
    ];
    Chart::bars(title, Axis::linear("ratio"), groups, series)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::read::file;
    use super::*;

    #[test]
    fn modes_are_apart_and_bound_values_marked() {
        let cell = |mode: &str, bound: bool| {
            json!({"direction": "in", "size": 64, "mode": mode, "xlns_pps": 2.4e6,
                "peer_pps": 8e5, "ratio": 3.0, "cpu_ratio": 0.3,
                "xlns": {"generator_bound": bound, "cpu_ns_per_packet": {"median": 400.0}},
                "peer": {"cpu_ns_per_packet": {"median": 1300.0}}})
        };
        let cells = [cell("saturation", true), cell("loss_0_1_percent", false)];
        let file = file("run", json!({"cells": cells, "servers": [{"name": "xlns"}]}));
        let charts = charts(&[&file]);
        assert!(charts.iter().all(|chart| !chart.is_empty()));
        assert_eq!(
            charts.iter().map(Chart::has_bound).collect::<Vec<_>>(),
            [true, false, false, false]
        );
        assert_eq!(charts[0].series[1].name, "peer");
        assert_eq!(charts[3].series[2].values().count(), 0, "null is no value");
    }
}
