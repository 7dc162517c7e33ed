//! What the runs come to: medians with their range, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::direction::Run;

/// The whole report.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Always `wire`.
    pub benchmark: &'static str,
    /// How it was called.
    pub command: String,
    /// Version of xlns.
    pub version: &'static str,
    /// Kernel release.
    pub kernel: String,
    /// CPU model.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Each port as it came up.
    pub ports: Vec<Port>,
    /// Sessions, sent to and from in turn.
    pub sessions: u32,
    /// The core that makes frames (and does the receiving ports' kernel work, as veth does).
    pub generator_core: u16,
    /// The core of the one worker.
    pub worker_core: u16,
    /// Whether the worker polls busily.
    pub busy_poll: bool,
    /// Whether generator and worker had real-time priority.
    pub realtime: bool,
    /// Frames a second that were to be offered; `null`: as many as the generator makes.
    pub rate: Option<u32>,
    /// Length of a run.
    pub window_seconds: f64,
    /// Octets of the subscriber's IPv4 packet.
    pub inner_octets: usize,
    /// What was measured.
    pub directions: Vec<Summary>,
}

/// A port of the data plane.
#[derive(Debug, Serialize)]
pub struct Port {
    /// Interface.
    pub interface: String,
    /// Queues.
    pub queues: u16,
    /// The attach mode obtained.
    pub xdp_mode: &'static str,
    /// Each better one, and why not.
    pub not_better: Vec<String>,
}

/// One direction, all runs.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// `upstream` or `downstream`.
    pub direction: &'static str,
    /// Octets of a frame as offered.
    pub octets_in: usize,
    /// Octets of a frame at the far end.
    pub octets_out: f64,
    /// Frames offered a second.
    pub offered_pps: Spread,
    /// Frames that arrived at the far end, a second.
    pub forwarded_pps: Spread,
    /// Share of the offered frames that did not arrive, percent.
    pub lost_percent: Spread,
    /// CPU time of the worker a frame that arrived, nanoseconds; the kernel's part included.
    pub cpu_ns_per_packet: Spread,
    /// Share of the time that the worker ran, percent.
    pub worker_load_percent: Spread,
    /// Frames lost before a worker saw them: receive ring or pool exhausted; all runs.
    pub dropped_by_kernel: u64,
    /// Frames that workers dropped, by reason; all runs.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Every run.
    pub runs: Vec<Run>,
}

/// Median and range.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of some values; zeros where there is none.
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or_default();
        let last = values.len().saturating_sub(1);
        Self { median: (at(last / 2) + at(last.div_ceil(2))) / 2.0, min: at(0), max: at(last) }
    }
}

impl Summary {
    /// Of these runs.
    pub fn new(direction: &'static str, octets_in: usize, runs: Vec<Run>) -> Self {
        let spread = |value: fn(&Run) -> f64| Spread::of(runs.iter().map(value));
        let mut dropped = BTreeMap::new();
        for (reason, count) in runs.iter().flat_map(|run| &run.dropped) {
            *dropped.entry(*reason).or_default() += count;
        }
        Self {
            direction,
            octets_in,
            octets_out: spread(|run| run.octets_out).median,
            offered_pps: spread(|run| run.offered_pps),
            forwarded_pps: spread(|run| run.forwarded_pps),
            lost_percent: spread(|run| percent(run.lost, run.offered)),
            cpu_ns_per_packet: spread(|run| run.cpu_ns_per_packet),
            worker_load_percent: spread(|run| 100.0 * run.worker_load),
            dropped_by_kernel: runs.iter().map(|run| run.dropped_by_kernel).sum(),
            dropped,
            runs,
        }
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "$ {}", self.command)?;
        writeln!(f, "Linux {}, {}, {} cores", self.kernel, self.cpu, self.cores)?;
        for port in &self.ports {
            writeln!(f, "{}: {} queues, XDP {}", port.interface, port.queues, port.xdp_mode)?;
        }
        let rate = self.rate.map_or("flood".to_owned(), |rate| format!("{rate} frames/s"));
        writeln!(
            f,
            "{} sessions, inner packets of {} octets, {rate}; generator on core {}, worker on core \
             {}{}; medians (min - max) of {} runs of {} s\n",
            self.sessions,
            self.inner_octets,
            self.generator_core,
            self.worker_core,
            match (self.busy_poll, self.realtime) {
                (false, false) => "",
                (true, false) => ", busy polling",
                (false, true) => ", real-time priority",
                (true, true) => ", busy polling, real-time priority",
            },
            self.directions.first().map_or(0, |direction| direction.runs.len()),
            self.window_seconds
        )?;
        writeln!(
            f,
            "{:<11}{:>10}  {:<24}{:<24}{:<21}{:<21}{:<18}",
            "",
            "octets",
            "offered Mpps",
            "forwarded Mpps",
            "lost %",
            "CPU ns/packet",
            "worker load %"
        )?;
        for direction in &self.directions {
            direction.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cell = |spread: Spread, unit: f64, digits: usize| {
            let Spread { median, min, max } = spread;
            let [median, min, max] = [median / unit, min / unit, max / unit];
            format!("{median:.digits$} ({min:.digits$} - {max:.digits$})")
        };
        writeln!(
            f,
            "{:<11}{:>10}  {:<24}{:<24}{:<21}{:<21}{:<18}",
            self.direction,
            format!("{} > {:.0}", self.octets_in, self.octets_out),
            cell(self.offered_pps, 1e6, 3),
            cell(self.forwarded_pps, 1e6, 3),
            cell(self.lost_percent, 1.0, 1),
            cell(self.cpu_ns_per_packet, 1.0, 0),
            cell(self.worker_load_percent, 1.0, 0),
        )?;
        let offered = self.runs.iter().map(|run| run.offered).sum();
        let mut losses = vec![("kernel: receive ring full", self.dropped_by_kernel)];
        losses.extend(self.dropped.iter().map(|(reason, count)| (*reason, *count)));
        for (reason, count) in losses.into_iter().filter(|(_, count)| *count > 0) {
            writeln!(f, "{:<13}{count} lost, {reason} ({:.1} %)", "", percent(count, offered))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), Spread { median: 2.5, min: 1.0, max: 4.0 });
        assert_eq!(spread(&[7.0]), Spread { median: 7.0, min: 7.0, max: 7.0 });
        assert_eq!(spread(&[]), Spread { median: 0.0, min: 0.0, max: 0.0 });
    }

    #[test]
    fn drops_of_all_runs_add_up() {
        let run = |reason, count| Run {
            offered_pps: 1e6,
            forwarded_pps: 5e5,
            offered: 1000,
            lost: 500,
            cpu_ns_per_packet: 2000.0,
            worker_load: 1.0,
            octets_out: 60.0,
            dropped_by_kernel: 490,
            dropped: BTreeMap::from([(reason, count)]),
        };
        let runs = vec![run("no_route", 4), run("no_route", 6), run("too_big", 1)];
        let summary = Summary::new("upstream", 98, runs);
        assert_eq!(summary.dropped, BTreeMap::from([("no_route", 10), ("too_big", 1)]));
        assert_eq!(summary.dropped_by_kernel, 3 * 490);
        assert_eq!(summary.lost_percent.median, 50.0);
        let text = summary.to_string();
        assert!(text.contains("98 > 60") && text.contains("0.500 (0.500 - 0.500)"), "{text}");
        assert!(text.contains("10 lost, no_route (0.3 %)"), "{text}");
    }
}
