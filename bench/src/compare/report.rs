//! What the runs come to: a cell for each direction, size and mode; for people as bars and as a table
//! of ratios.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::Arguments;
use super::lane::Run;
use crate::bar::{BAR_CHARACTERS, bar};
use crate::spread::Spread;

/// A rate so near to the generator's own is its limit, not the server's.
const CEILING_NEAR: f64 = 0.9;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Mode {
    /// As many packets as the generator makes.
    #[serde(rename = "saturation")]
    Saturation,
    /// The most that is forwarded with 0.1 % lost, or less.
    #[serde(rename = "loss_0_1_percent")]
    Loss01Percent,
}

impl Mode {
    fn sentence(self) -> &'static str {
        match self {
            Self::Saturation => "at saturation",
            Self::Loss01Percent => "at a loss of 0.1 %",
        }
    }
}

/// What one server did.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// Packets a second that arrived.
    pub pps: Spread,
    /// Packets a second that were offered meanwhile.
    pub offered_pps: Spread,
    /// CPU time of a packet meanwhile, nanoseconds.
    pub cpu_ns_per_packet: Spread,
    /// Share of the time that the server ran.
    pub server_load: Spread,
    /// Whether the generator was at its own limit.
    pub generator_bound: bool,
    /// Every run, or every trial of the searches.
    pub samples: Vec<Run>,
    /// Not at saturation: the same number of packets for both servers, with pauses for either.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same_load: Option<SameLoad>,
}

/// What a server takes where it has time to sleep, at a rate that is the same for both and below what
/// either loses anything at.
#[derive(Debug, Clone, Serialize)]
pub struct SameLoad {
    /// Packets offered a second.
    pub offered_pps: f64,
    /// CPU time of a packet, nanoseconds.
    pub cpu_ns_per_packet: Spread,
    /// Share of the time that the server ran.
    pub server_load: Spread,
    /// Every run.
    pub samples: Vec<Run>,
}

fn spread(runs: &[Run], value: fn(&Run) -> f64) -> Spread {
    Spread::of(runs.iter().map(value))
}

impl Figures {
    /// Of runs at saturation.
    pub fn of_flood(runs: &[Run]) -> Self {
        Self {
            pps: spread(runs, |run| run.delivered_pps),
            offered_pps: spread(runs, |run| run.offered_pps),
            cpu_ns_per_packet: spread(runs, |run| run.cpu_ns_per_packet),
            server_load: spread(runs, |run| run.server_load),
            generator_bound: false,
            samples: runs.to_vec(),
            same_load: None,
        }
    }

    /// Of searches: the best trial of each, and all.
    pub fn of_search(best: &[Run], trials: Vec<Run>) -> Self {
        Self {
            pps: spread(best, |run| run.offered_pps * (1.0 - run.loss())),
            samples: trials,
            ..Self::of_flood(best)
        }
    }

    /// With runs at the load that both servers have.
    pub fn with_same_load(self, samples: Vec<Run>) -> Self {
        let same_load = SameLoad {
            offered_pps: spread(&samples, |run| run.offered_pps).median,
            cpu_ns_per_packet: spread(&samples, |run| run.cpu_ns_per_packet),
            server_load: spread(&samples, |run| run.server_load),
            samples,
        };
        Self { same_load: Some(same_load), ..self }
    }
}

/// One comparison.
#[derive(Debug, Clone, Serialize)]
pub struct Cell {
    /// `in`: from subscribers to the core; `out`: the other way.
    pub direction: &'static str,
    /// 64: the smallest Ethernet frame; else octets of the subscriber's packet.
    pub size: u16,
    /// What is compared.
    pub mode: Mode,
    /// Packets a second, the median of xlns.
    pub xlns_pps: f64,
    /// The same of l2tpns.
    pub peer_pps: f64,
    /// xlns to l2tpns; more is better.
    pub ratio: f64,
    /// CPU time of a packet, xlns to l2tpns, each at its own rate; less is better.
    pub cpu_ratio: f64,
    /// The same at one rate for both, with pauses; `null` at saturation.
    pub cpu_ratio_same_load: Option<f64>,
    /// All of xlns.
    pub xlns: Figures,
    /// All of l2tpns.
    pub peer: Figures,
}

impl Cell {
    /// Of what both did, with the generator's limit.
    pub fn new(
        direction: &'static str,
        size: u16,
        mode: Mode,
        [mut xlns, mut peer]: [Figures; 2],
        ceiling_pps: f64,
    ) -> Self {
        let bound = |figures: &Figures| figures.pps.median >= CEILING_NEAR * ceiling_pps;
        (xlns.generator_bound, peer.generator_bound) = (bound(&xlns), bound(&peer));
        let quotient = |xlns: Spread, peer: Spread| {
            if peer.median > 0.0 { xlns.median / peer.median } else { 0.0 }
        };
        let same_load = xlns.same_load.as_ref().zip(peer.same_load.as_ref());
        Self {
            direction,
            size,
            mode,
            xlns_pps: xlns.pps.median,
            peer_pps: peer.pps.median,
            ratio: quotient(xlns.pps, peer.pps),
            cpu_ratio: quotient(xlns.cpu_ns_per_packet, peer.cpu_ns_per_packet),
            cpu_ratio_same_load: same_load
                .map(|(xlns, peer)| quotient(xlns.cpu_ns_per_packet, peer.cpu_ns_per_packet)),
            xlns,
            peer,
        }
    }

    /// For the progress.
    pub fn line(&self) -> String {
        format!(
            "{}, {} octets, {}: xlns {:.3} Mpps, l2tpns {:.3}, ratio {:.1}, CPU {:.2}",
            self.direction,
            self.size,
            self.mode.sentence(),
            self.xlns_pps / 1e6,
            self.peer_pps / 1e6,
            self.ratio,
            self.cpu_ratio
        )
    }
}

/// A server.
#[derive(Debug, Serialize)]
pub struct Side {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: String,
    /// Where its packets come from.
    pub mode: String,
}

/// The generator's limit.
#[derive(Debug, Serialize)]
pub struct Ceiling {
    /// As of a cell.
    pub size: u16,
    /// Packets a second into a port that drops all.
    pub pps: Spread,
}

/// The whole report.
#[derive(Debug, Serialize)]
pub struct Report {
    /// How long all of it took.
    pub seconds: f64,
    /// Sessions of either server.
    pub sessions: u32,
    /// LACs: an address and a tunnel each.
    pub lacs: u16,
    /// The core that makes packets and does the receiving ports' kernel work, for both servers.
    pub generator_core: u16,
    /// The core of both servers.
    pub server_core: u16,
    /// Whether generator and servers had real-time priority.
    pub realtime: bool,
    /// Receive buffer of l2tpns' sockets, octets; 0: the system's default.
    pub peer_receive_buffer: u32,
    /// xlns and l2tpns.
    pub servers: [Side; 2],
    /// The generator alone.
    pub ceilings: Vec<Ceiling>,
    /// What was compared.
    pub cells: Vec<Cell>,
}

impl Report {
    /// Of all that was measured.
    pub fn new(
        arguments: &Arguments,
        elapsed: Duration,
        servers: [Side; 2],
        ceilings: Vec<Ceiling>,
        cells: Vec<Cell>,
    ) -> Self {
        Self {
            seconds: elapsed.as_secs_f64(),
            sessions: arguments.sessions,
            lacs: super::stand::LACS,
            generator_core: arguments.generator_core,
            server_core: arguments.server_core,
            realtime: arguments.realtime(),
            peer_receive_buffer: arguments.receive_buffer,
            servers,
            ceilings,
            cells,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Side { name, version, mode } in &self.servers {
            writeln!(f, "{name} {version}, {mode}")?;
        }
        writeln!(
            f,
            "{} sessions of {} LACs; generator on core {}, server on core {}{}; receive buffer of \
             l2tpns {} octets; medians (least - most)",
            self.sessions,
            self.lacs,
            self.generator_core,
            self.server_core,
            if self.realtime { ", real-time priority" } else { "" },
            self.peer_receive_buffer,
        )?;
        for Ceiling { size, pps } in &self.ceilings {
            writeln!(f, "generator alone, {size} octets: {:.2} Mpps", pps.per(1e6))?;
        }
        let most = self.cells.iter().map(|cell| cell.xlns_pps.max(cell.peer_pps));
        let most = most.fold(1.0, f64::max);
        for cell in &self.cells {
            writeln!(f, "\n{}, {} octets, {}", cell.direction, cell.size, cell.mode.sentence())?;
            for (name, figures) in [("xlns", &cell.xlns), ("l2tpns", &cell.peer)] {
                write_bar(f, name, figures, most)?;
            }
        }
        writeln!(f)?;
        self.write_table(f)
    }
}

fn write_bar(f: &mut fmt::Formatter<'_>, name: &str, figures: &Figures, most: f64) -> fmt::Result {
    let bound = if figures.generator_bound { ", generator-bound" } else { "" };
    writeln!(
        f,
        "  {name:<7} {:<width$} {:.3} Mpps, {:.0} ns CPU a packet, core {:.0} %{bound}",
        bar(figures.pps.median, most),
        figures.pps.per(1e6),
        figures.cpu_ns_per_packet,
        100.0 * figures.server_load.median,
        width = BAR_CHARACTERS,
    )
}

impl Report {
    fn write_table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<10}{:>7}  {:<20}{:>11}{:>13}{:>8}{:>11}{:>12}",
            "direction",
            "octets",
            "",
            "xlns Mpps",
            "l2tpns Mpps",
            "ratio",
            "CPU ratio",
            "same load"
        )?;
        for cell in &self.cells {
            writeln!(
                f,
                "{:<10}{:>7}  {:<20}{:>11.3}{:>13.3}{:>8.1}{:>11.2}{:>12}",
                cell.direction,
                cell.size,
                cell.mode.sentence(),
                cell.xlns_pps / 1e6,
                cell.peer_pps / 1e6,
                cell.ratio,
                cell.cpu_ratio,
                cell.cpu_ratio_same_load.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
            )?;
        }
        writeln!(
            f,
            "\nCPU a packet is the server's processes, system calls and soft interrupts in them \
             included,\nat the rate of the line; under \"same load\", both at {:.0} % of the lower \
             of the two rates, where\neither sleeps between bursts, and waking up is a part of it. \
             What the kernel does before a\nserver's socket or ring runs on the generator's core \
             for both and is not in it.",
            100.0 * super::measure::COMMON_LOAD
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(offered_pps: f64, delivered_pps: f64, cpu_ns_per_packet: f64) -> Run {
        let offered = offered_pps as u64;
        Run {
            offered_pps,
            delivered_pps,
            offered,
            lost: offered - delivered_pps as u64,
            cpu_ns_per_packet,
            server_load: 1.0,
        }
    }

    #[test]
    fn ratios_are_those_of_medians_and_the_generator_s_limit_is_marked() {
        let xlns = [2.0e6, 2.9e6, 2.8e6].map(|pps| run(3e6, pps, 400.0));
        let peer = [0.2e6, 0.4e6, 0.35e6].map(|pps| run(3e6, pps, 4000.0));
        let figures = [Figures::of_flood(&xlns), Figures::of_flood(&peer)];
        let cell = Cell::new("in", 64, Mode::Saturation, figures, 3.0e6);
        assert!((cell.ratio - 8.0).abs() < 1e-9 && (cell.cpu_ratio - 0.1).abs() < 1e-9);
        assert!(cell.xlns.generator_bound && !cell.peer.generator_bound);
        let value = serde_json::to_value(&cell).unwrap();
        assert_eq!(value["mode"], "saturation");
        assert_eq!((&value["direction"], &value["size"]), (&"in".into(), &64.into()));
        for key in ["xlns_pps", "peer_pps", "ratio", "cpu_ratio"] {
            assert!(value[key].is_f64(), "{key}");
        }
        assert_eq!(value["xlns"]["samples"].as_array().map(Vec::len), Some(3));
    }

    #[test]
    fn the_no_drop_rate_is_what_arrived_and_the_same_load_stands_beside_it() {
        let trials = vec![run(2e6, 1e6, 1.0), run(1e6, 999_500.0, 1.0)];
        let best = trials[1..].to_vec();
        let at_same_load = |cpu| {
            Figures::of_search(&best, trials.clone()).with_same_load(vec![run(8e5, 8e5, cpu)])
        };
        let figures = at_same_load(500.0);
        assert_eq!(figures.pps.median, 999_500.0);
        assert_eq!((figures.cpu_ns_per_packet.median, figures.samples.len()), (1.0, 2));
        let cell = Cell::new("in", 64, Mode::Loss01Percent, [figures, at_same_load(1000.0)], 2e6);
        assert_eq!((cell.cpu_ratio, cell.cpu_ratio_same_load), (1.0, Some(0.5)));
        let none = [Figures::of_search(&[], Vec::new()), Figures::of_search(&[], Vec::new())];
        let cell = Cell::new("out", 1400, Mode::Loss01Percent, none, 1e6);
        assert_eq!((cell.ratio, cell.cpu_ratio), (0.0, 0.0));
        assert_eq!(serde_json::to_value(cell.mode).unwrap(), "loss_0_1_percent");
    }
}
