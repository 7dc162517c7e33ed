//! What the runs come to: medians with their range, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::direction::Run;
use crate::spread::Spread;

/// A rate so near to the generator's own is its limit, not the data plane's.
const CEILING_NEAR: f64 = 0.9;

/// The whole report.
#[derive(Debug, Serialize)]
pub struct Report {
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
    /// Frames a second that the generator sends to a port that drops them in the driver.
    pub ceiling_pps: Spread,
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
    /// Whether that is within a tenth of what the generator can do.
    pub generator_bound: bool,
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

impl Summary {
    /// Of these runs.
    pub fn new(
        direction: &'static str,
        octets_in: usize,
        runs: Vec<Run>,
        ceiling_pps: Spread,
    ) -> Self {
        let spread = |value: fn(&Run) -> f64| Spread::of(runs.iter().map(value));
        let forwarded_pps = spread(|run| run.forwarded_pps);
        let mut dropped = BTreeMap::new();
        for (reason, count) in runs.iter().flat_map(|run| &run.dropped) {
            *dropped.entry(*reason).or_default() += count;
        }
        Self {
            direction,
            octets_in,
            octets_out: spread(|run| run.octets_out).median,
            offered_pps: spread(|run| run.offered_pps),
            forwarded_pps,
            generator_bound: forwarded_pps.median >= CEILING_NEAR * ceiling_pps.median,
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
        writeln!(f, "generator alone: {:.2} Mpps", self.ceiling_pps.per(1e6))?;
        Ok(())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cell =
            |spread: Spread, unit: f64, digits: usize| format!("{:.digits$}", spread.per(unit));
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
        if self.generator_bound {
            writeln!(f, "{:<13}the generator was at its end: it may be more", "")?;
        }
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
        let ceiling = |pps: f64| Spread::of(std::iter::once(pps));
        let near = Summary::new("upstream", 98, runs.clone(), ceiling(5.2e5));
        assert!(near.generator_bound);
        let summary = Summary::new("upstream", 98, runs, ceiling(1e6));
        assert!(!summary.generator_bound);
        assert_eq!(summary.dropped, BTreeMap::from([("no_route", 10), ("too_big", 1)]));
        assert_eq!(summary.dropped_by_kernel, 3 * 490);
        assert_eq!(summary.lost_percent.median, 50.0);
        let text = summary.to_string();
        assert!(text.contains("98 > 60") && text.contains("0.500 (0.500 - 0.500)"), "{text}");
        assert!(text.contains("10 lost, no_route (0.3 %)"), "{text}");
    }
}
