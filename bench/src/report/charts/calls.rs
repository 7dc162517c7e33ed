//! `xlns-bench calls`, all of its ways.

use serde_json::Value;

use super::super::chart::{Axis, Chart, Form, Point, Series};
use super::super::read::{File, number};
use super::super::scale;
use super::{distinct, named};

/// Where set-up times are read, and what they are called there.
const QUANTILES: [(&str, &str); 5] = [
    ("setup_ms_p50", "50 %"),
    ("setup_ms_p90", "90 %"),
    ("setup_ms_p99", "99 %"),
    ("setup_ms_p99_9", "99.9 %"),
    ("setup_ms_max", "slowest"),
];

/// All charts.
pub fn charts(files: &[&File]) -> Vec<Chart> {
    vec![
        totals(files),
        over_time(files),
        setup(files),
        distribution(files),
        failures(files),
        ramp(files),
        ramp_setup(files),
    ]
}

fn totals(files: &[&File]) -> Chart {
    let with: Vec<&&File> =
        files.iter().filter(|file| !file.record["calls_per_second"].is_null()).collect();
    let groups = with.iter().map(|file| file.name.clone()).collect();
    let value = |file: &&&File| {
        let sessions = number(&file.record["sessions"]).map(scale::number);
        let note = sessions.map(|count| format!("{count} sessions held")).unwrap_or_default();
        number(&file.record["calls_per_second"]).map(|rate| Point::new(0.0, rate).note(note))
    };
    let series = vec![Series::bars("", with.iter().map(value).collect())];
    Chart::bars("Calls a second", Axis::linear("complete calls a second"), groups, series)
}

fn over_time(files: &[&File]) -> Chart {
    let lists = [("due", "offered_in_second"), ("up", "opened_in_second")];
    let series = files.iter().flat_map(|file| {
        lists.iter().map(|(name, list)| {
            let counts = file.list(list).iter().enumerate();
            let points = counts.filter_map(|(second, count)| {
                Some(Point::new(second as f64, number(count)?).note(format!("second {second}")))
            });
            Series::line(named(files, file, name), points)
        })
    });
    let series = series.filter(|series| !series.points.is_empty()).collect();
    let (x, y) = (Axis::linear("seconds since the first call"), Axis::linear("calls a second"));
    Chart::lines("Calls over time", x, y, series)
}

fn setup(files: &[&File]) -> Chart {
    let series = files.iter().map(|file| {
        let points = QUANTILES.iter().enumerate().filter_map(|(place, (field, label))| {
            let millis = number(&file.record[*field]).filter(|millis| *millis > 0.0)?;
            Some(Point::new(place as f64, millis).note(*label))
        });
        Series::line(file.name.clone(), points)
    });
    let series = series.filter(|series| !series.points.is_empty()).collect();
    let x = Axis::linear("part of the calls that took no longer");
    let y = Axis::log("milliseconds");
    let mut chart = Chart::lines("Set-up time, from due to IPCP open", x.clone(), y, series);
    let names = QUANTILES.iter().enumerate();
    let names = names.map(|(place, (_, label))| (place as f64, (*label).to_owned())).collect();
    chart.form = Form::Lines { x, names };
    chart
}

fn distribution(files: &[&File]) -> Chart {
    let series = files.iter().map(|file| {
        let points = file.list("setup_buckets").iter().filter_map(|bucket| {
            let (millis, calls) = (number(&bucket["setup_ms_max"])?, number(&bucket["calls"])?);
            (calls > 0.0).then(|| Point::new(millis, calls))
        });
        Series::line(file.name.clone(), points)
    });
    let series = series.filter(|series| !series.points.is_empty()).collect();
    let (x, y) = (Axis::log("set-up time, milliseconds"), Axis::log("calls"));
    Chart::lines("How many calls took how long", x, y, series)
        .with_note("Each step of time is half as long again as the one before.")
}

fn failures(files: &[&File]) -> Chart {
    let causes = |file: &&File| -> Vec<String> {
        let causes = file.record["failed_by_cause"].as_object();
        causes.into_iter().flat_map(|causes| causes.keys().cloned()).collect()
    };
    let groups = distinct(files.iter().flat_map(causes));
    let series = files.iter().map(|file| {
        let value = |cause: &String| {
            number(&file.record["failed_by_cause"][cause]).map(|count| Point::new(0.0, count))
        };
        Series::bars(file.name.clone(), groups.iter().map(value).collect())
    });
    let series = series.collect();
    Chart::bars("Calls that failed, by cause", Axis::linear("calls"), groups, series)
}

/// Each step of the ramps: file, offered, the step.
fn steps<'a>(files: &'a [&'a File]) -> impl Iterator<Item = (&'a File, Vec<(f64, &'a Value)>)> {
    files.iter().map(|file| {
        let steps = file.list("steps").iter();
        let steps = steps.filter_map(|step| Some((number(&step["rate"])?, step))).collect();
        (*file, steps)
    })
}

fn ramp(files: &[&File]) -> Chart {
    let series = steps(files).map(|(file, steps)| {
        let points = steps.into_iter().filter_map(|(rate, step)| {
            let failed = number(&step["failed"]).unwrap_or(0.0);
            let note = format!("{} offered, {failed} failed", scale::number(rate));
            Some(Point::new(rate, number(&step["calls_per_second"])?).note(note))
        });
        Series::line(named(files, file, "up"), points)
    });
    let series = series.filter(|series| !series.points.is_empty()).collect();
    let x = Axis::linear("calls a second, offered");
    Chart::lines("Which rate the LNS takes", x, Axis::linear("calls a second, up"), series)
}

fn ramp_setup(files: &[&File]) -> Chart {
    let quantiles = [("median", "setup_ms_p50"), ("99 %", "setup_ms_p99")];
    let series = steps(files).flat_map(|(file, steps)| {
        quantiles.map(|(name, field)| {
            let points = steps.iter().filter_map(|(rate, step)| {
                let millis = number(&step[field]).filter(|millis| *millis > 0.0)?;
                Some(Point::new(*rate, millis).note(format!("{} offered", scale::number(*rate))))
            });
            Series::line(named(files, file, name), points)
        })
    });
    let series = series.filter(|series| !series.points.is_empty()).collect();
    let x = Axis::linear("calls a second, offered");
    Chart::lines("Set-up time by the rate", x, Axis::log("milliseconds"), series)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::read::file;
    use super::*;

    #[test]
    fn a_run_and_a_ramp_are_drawn() {
        let run = json!({"calls_per_second": 8000.0, "sessions": 20_000, "setup_ms_p50": 0.7,
            "setup_ms_max": 31.0, "failed_by_cause": {"no answer": 3},
            "setup_buckets": [{"setup_ms_max": 0.5, "calls": 7}, {"setup_ms_max": 0.7, "calls": 0}],
            "offered_in_second": [8000, 4000], "opened_in_second": [7990, 4010]});
        let step = |rate: u32| json!({"rate": rate, "calls_per_second": rate, "setup_ms_p50": 1.0});
        let ramp = json!({"steps": [step(5000), step(10_000)]});
        let (run, ramp) = (file("run", run), file("ramp", ramp));
        let drawn: Vec<_> =
            charts(&[&run, &ramp]).into_iter().filter(|chart| !chart.is_empty()).collect();
        assert_eq!(drawn.len(), 7, "{drawn:?}");
        assert_eq!(drawn[1].series.len(), 2, "a ramp has no seconds");
        assert_eq!(drawn[3].series[0].points.len(), 1, "empty buckets are none");
    }
}
