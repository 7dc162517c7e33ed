//! The summary of `make zerocopy`.

use super::super::chart::{Axis, Chart, Point, Series};
use super::super::read::{File, number, text};
use super::super::scale;

/// All charts: each file compares in itself.
pub fn charts(files: &[&File]) -> Vec<Chart> {
    files.iter().map(|file| costs(file)).collect()
}

fn costs(file: &File) -> Chart {
    let record = &file.record;
    let of = |name: &str, fields: [&str; 2]| {
        let value = |field: &str| {
            let median = number(&record[field]["median_micros"])?;
            let spread = number(&record[field]["spread_micros"]).map(scale::number);
            let note = spread.map(|spread| format!("{spread} between least and most"));
            Some(Point::new(0.0, median).note(note.unwrap_or_default()))
        };
        Series::bars(name, fields.map(value).to_vec())
    };
    let ratio = |way: &str, field: &str| match number(&record[field]) {
        Some(ratio) => format!("{way}: a ratio of {ratio}"),
        None => way.to_owned(),
    };
    let groups = vec![ratio("upstream", "cpu_ratio_up"), ratio("downstream", "cpu_ratio_down")];
    let series = vec![
        of("xlns, zero-copy", ["xlns_up", "xlns_down"]),
        of("kernel L2TP", ["kernel_up", "kernel_down"]),
    ];
    let axis = Axis::linear("microseconds of the virtual CPU a packet");
    let count = |field: &str| number(&record[field]).unwrap_or(0.0);
    Chart::bars("CPU time of a packet in the guest", axis, groups, series).with_note(format!(
        "Linux {}, {} packets a second of {} octets; before, {} of {} packets up and {} of {} down \
         were compared octet by octet.",
        text(&record["guest_kernel"]),
        count("rate_per_second"),
        count("packet_bytes"),
        count("received_up"),
        count("sent_up"),
        count("received_down"),
        count("sent_down"),
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::read::file;
    use super::*;

    #[test]
    fn both_ways_are_drawn_with_their_ratio() {
        let cost = |median: f64| json!({"median_micros": median, "spread_micros": 0.5});
        let summary = json!({"zero_copy": true, "cpu_ratio_up": 0.5, "xlns_up": cost(5.4),
            "kernel_up": cost(10.8), "xlns_down": cost(5.4)});
        let charts = charts(&[&file("summary", summary)]);
        assert_eq!(charts[0].series[0].values().count(), 2);
        assert_eq!(charts[0].series[1].values().count(), 1);
    }
}
