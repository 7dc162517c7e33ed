//! `xlns-bench wire`, both of its generators.

use serde_json::Value;

use super::super::chart::{Axis, Chart, Form, Point, Series};
use super::super::read::{File, number, text};
use super::super::scale;
use super::named;

/// Where latencies are read, and what they are called there.
const QUANTILES: [(&str, &str); 5] = [
    ("p50_ns", "50 %"),
    ("p90_ns", "90 %"),
    ("p99_ns", "99 %"),
    ("p99_9_ns", "99.9 %"),
    ("max_ns", "slowest"),
];

/// All charts.
pub fn charts(files: &[&File]) -> Vec<Chart> {
    vec![
        no_drop(files),
        latency(files),
        distribution(files),
        loss(files),
        overload(files),
        fairness(files),
        flood(files),
    ]
}

/// Each size of a file.
fn sizes(file: &File) -> impl Iterator<Item = (String, &Value)> {
    file.list("sizes").iter().map(|size| {
        let name = match text(&size["size"]) {
            "imix" => "mix of sizes".to_owned(),
            octets => format!("{octets} octets"),
        };
        (name, size)
    })
}

fn ways(trial: &Value) -> &[Value] {
    trial["directions"].as_array().map_or(&[], Vec::as_slice)
}

fn trials(size: &Value) -> &[Value] {
    size["trials"].as_array().map_or(&[], Vec::as_slice)
}

/// The trial that stands for a size: that of the no-drop rate, or the last one at a given rate.
fn best(size: &Value) -> Option<&Value> {
    let found = &size["finding"]["trial"];
    let given = || trials(size).iter().rfind(|trial| text(&trial["purpose"]) == "rate");
    found.is_object().then_some(found).or_else(given)
}

fn way_of<'a>(trial: &'a Value, direction: &str) -> Option<&'a Value> {
    ways(trial).iter().find(|way| text(&way["direction"]) == direction)
}

/// Without drops, by size, and the generator alone.
fn no_drop(files: &[&File]) -> Chart {
    let groups: Vec<String> = groups(files);
    let mut series = Vec::new();
    for file in files {
        for direction in ["in", "out"] {
            let point = |group: &String| {
                let (_, size) = sizes(file).find(|(name, _)| name == group)?;
                let way = way_of(best(size)?, direction)?;
                let bits = number(&way["received_frame_bits_per_second"])
                    .or_else(|| number(&way["offered_frame_bits_per_second"]))
                    .map(|bits| format!("{}bit/s in frames", scale::number(bits)));
                let bound = way["generator_bound"].as_bool().unwrap_or(false);
                let received = number(&way["received_pps"])?;
                Some(Point::new(0.0, received).note(bits.unwrap_or_default()).bound(bound))
            };
            let points = groups.iter().map(point).collect();
            series.push(Series::bars(named(files, file, direction), points));
        }
        let ceiling = |group: &String| {
            let (_, size) = sizes(file).find(|(name, _)| name == group)?;
            number(&size["ceiling"]["through_pps"]["median"]).map(|pps| Point::new(0.0, pps))
        };
        let points = groups.iter().map(ceiling).collect();
        series.push(Series::bars(named(files, file, "the tester alone, both"), points));
    }
    let axis = Axis::linear("packets a second, received");
    Chart::bars("Rate by size: without drops, or as given", axis, groups, series)
        .with_note("in: from subscribers to the core; out: to subscribers. Both at once, if both were measured.")
}

fn groups(files: &[&File]) -> Vec<String> {
    super::distinct(files.iter().flat_map(|file| sizes(file)).map(|(name, _)| name))
}

/// A line for each direction, size and file.
fn each_way<'a>(
    files: &'a [&'a File],
    trial: impl Fn(&'a Value) -> Option<&'a Value> + Copy + 'a,
) -> impl Iterator<Item = (String, &'a Value)> {
    files.iter().flat_map(move |file| {
        sizes(file).flat_map(move |(size, value)| {
            let ways = trial(value).map_or(&[][..], ways);
            ways.iter().map(move |way| {
                let direction = text(&way["direction"]);
                (named(files, file, &format!("{direction}, {size}")), way)
            })
        })
    })
}

fn latency(files: &[&File]) -> Chart {
    let series = each_way(files, best).map(|(name, way)| {
        let points = QUANTILES.iter().enumerate().filter_map(|(place, (field, label))| {
            let nanoseconds = number(&way["latency"][*field]).filter(|ns| *ns > 0.0)?;
            Some(Point::new(place as f64, nanoseconds / 1e3).note(*label))
        });
        Series::line(name, points)
    });
    let x = Axis::linear("part of the packets that took no longer");
    let mut chart = Chart::lines(
        "Latency from sending to receiving, at that rate",
        x.clone(),
        Axis::log("microseconds"),
        series.collect(),
    );
    let names = QUANTILES.iter().enumerate();
    let names = names.map(|(place, (_, label))| (place as f64, (*label).to_owned())).collect();
    chart.form = Form::Lines { x, names };
    chart
}

fn distribution(files: &[&File]) -> Chart {
    let series = each_way(files, best).map(|(name, way)| {
        let buckets = way["latency"]["buckets_ns"].as_array().into_iter().flatten();
        let points = buckets.filter_map(|bucket| {
            let (nanoseconds, packets) = (number(&bucket[0])?, number(&bucket[1])?);
            (packets > 0.0).then(|| Point::new(nanoseconds / 1e3, packets))
        });
        Series::line(name, points)
    });
    let (x, y) = (Axis::log("latency, microseconds"), Axis::log("packets"));
    Chart::lines("How many packets took how long", x, y, series.collect())
        .with_note("Each step of latency is a quarter wider than the one before.")
}

fn loss(files: &[&File]) -> Chart {
    let mut series = Vec::new();
    for file in files {
        for (size, value) in sizes(file) {
            for direction in ["in", "out"] {
                let point = |trial: &Value| {
                    let way = way_of(trial, direction)?;
                    let (x, y) = (number(&way["offered_pps"])?, number(&way["loss_percent"])?);
                    Some(Point::new(x, y).note(format!("{}/s", scale::number(x))))
                };
                let mut points: Vec<Point> = trials(value).iter().filter_map(point).collect();
                points.sort_by(|a, b| a.x.total_cmp(&b.x));
                if points.len() > 1 {
                    let name = format!("{direction}, {size}");
                    series.push(Series::line(named(files, file, &name), points));
                }
            }
        }
    }
    let x = Axis::linear("packets a second, offered");
    let y = Axis { from: Some(0.0), ..Axis::linear("percent lost") };
    Chart::lines("Loss by what was offered, every trial", x, y, series)
}

fn overload(files: &[&File]) -> Chart {
    let all = |file: &&File| -> Vec<(String, Value)> {
        let of = sizes(file)
            .map(|(size, value)| (named(files, file, &size), value["finding"]["overload"].clone()));
        of.filter(|(_, overload)| overload.is_object()).collect()
    };
    let rows: Vec<(String, Value)> = files.iter().flat_map(all).collect();
    let held = rows.iter().map(|(name, overload)| {
        let control = &overload["trial"]["control"];
        let count = |field: &str| number(&control[field]).unwrap_or(0.0);
        format!(
            "{name}: {} sessions lost, {} of {} echoes answered, {} HELLOs open",
            scale::number(count("sessions_lost")),
            scale::number(count("echoes_answered")),
            scale::number(count("echoes_sent")),
            scale::number(count("hellos_unanswered"))
        )
    });
    let note = format!("Control meanwhile: {}.", held.collect::<Vec<_>>().join("; "));
    let groups = rows.iter().map(|(name, _)| name.clone());
    let series = [("offered", "offered_times"), ("got through", "through_times")];
    let series = series.map(|(name, field)| {
        let value = |(_, overload): &(String, Value)| {
            number(&overload[field]).map(|times| Point::new(0.0, times))
        };
        Series::bars(name, rows.iter().map(value).collect())
    });
    let axis = Axis::linear("times the no-drop rate");
    Chart::bars("Twice as much as it takes", axis, groups.collect(), series.into()).with_note(note)
}

/// The trial at twice the no-drop rate.
fn overloaded(size: &Value) -> Option<&Value> {
    let trial = &size["finding"]["overload"]["trial"];
    trial.is_object().then_some(trial)
}

fn fairness(files: &[&File]) -> Chart {
    let rows: Vec<(String, Value)> =
        each_way(files, overloaded).map(|(name, way)| (name, way["fairness"].clone())).collect();
    let groups = rows.iter().map(|(name, _)| name.clone()).collect();
    let series = [
        ("worst session", "least_share"),
        ("best session", "most_share"),
        ("Jain's index (1: all alike)", "jain_index"),
    ];
    let series = series.map(|(name, field)| {
        let value = |(_, fairness): &(String, Value)| {
            number(&fairness[field]).map(|share| Point::new(0.0, share))
        };
        Series::bars(name, rows.iter().map(value).collect())
    });
    let axis = Axis::linear("share of a session's packets that arrived");
    Chart::bars("Fairness between sessions in overload", axis, groups, series.into())
}

/// The kernel's generator: nothing but a flood.
fn flood(files: &[&File]) -> Chart {
    let groups = ["upstream", "downstream"].map(str::to_owned).to_vec();
    let series = files.iter().filter(|file| !file.list("directions").is_empty()).map(|file| {
        let value = |group: &String| {
            let mut rows = file.list("directions").iter();
            let row = rows.find(|row| text(&row["direction"]) == group)?;
            let note = number(&row["cpu_ns_per_packet"]["median"])
                .map(|cpu| format!("{} ns CPU a packet", scale::number(cpu)));
            let pps = number(&row["forwarded_pps"]["median"])?;
            let bound = row["generator_bound"].as_bool().unwrap_or(false);
            Some(Point::new(0.0, pps).note(note.unwrap_or_default()).bound(bound))
        };
        Series::bars(file.name.clone(), groups.iter().map(value).collect())
    });
    let series = series.collect();
    let ceilings = files.iter().filter_map(|file| {
        let pps = number(&file.record["ceiling_pps"]["median"])?;
        Some(named(files, file, &format!("the generator alone makes {}", scale::number(pps))))
    });
    let ceilings = ceilings.collect::<Vec<_>>().join("; ");
    let axis = Axis::linear("packets a second, forwarded");
    Chart::bars("Under a flood that the kernel makes", axis, groups, series).with_note(ceilings)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::read::file;
    use super::*;

    fn record() -> Value {
        let way = |direction: &str, pps: f64, loss: f64| {
            json!({"direction": direction, "offered_pps": pps, "received_pps": pps,
                "loss_percent": loss, "generator_bound": direction == "in",
                "latency": {"p50_ns": 30_000, "p99_ns": 900_000, "max_ns": 2_000_000,
                            "buckets_ns": [[30_000, 10], [60_000, 4]]},
                "fairness": {"least_share": 0.5, "most_share": 1.0, "jain_index": 0.98}})
        };
        let trial = |purpose: &str, pps: f64, loss: f64| {
            json!({"purpose": purpose, "directions": [way("in", pps, loss), way("out", pps, loss)],
                "control": {"sessions_lost": 0, "echoes_sent": 9, "echoes_answered": 9,
                            "hellos_unanswered": 0}})
        };
        json!({"benchmark": "wire", "sizes": [{
            "size": "64",
            "ceiling": {"through_pps": {"median": 1.8e6}},
            "finding": {"trial": trial("search", 4e5, 0.0), "overload": {
                "offered_times": 2.0, "through_times": 1.2, "trial": trial("overload", 8e5, 40.0)}},
            "trials": [trial("search", 8e5, 40.0), trial("search", 4e5, 0.0)],
        }]})
    }

    #[test]
    fn everything_of_a_search_is_drawn() {
        let file = file("run", record());
        let drawn: Vec<_> =
            charts(&[&file]).into_iter().filter(|chart| !chart.is_empty()).collect();
        let titles: Vec<_> = drawn.iter().map(|chart| chart.title.as_str()).collect();
        assert_eq!(drawn.len(), 6, "{titles:?}");
        assert!(drawn[0].has_bound() && drawn[0].series.len() == 3);
        assert_eq!(drawn[1].series[0].points.len(), 3, "only the quantiles that are there");
        let loss = drawn.iter().find(|chart| chart.title.starts_with("Loss")).unwrap();
        let x: Vec<f64> = loss.series[0].values().map(|point| point.x).collect();
        assert_eq!(x, [4e5, 8e5], "in the order of the rates");
    }
}
