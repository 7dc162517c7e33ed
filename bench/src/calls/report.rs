//! What a run prints.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::Arguments;
use super::emulator::{Outcome, SetupBucket};
use super::lab::Cpu;
use crate::bar::bar;

/// The most lines of what happened by the second.
const LINES_MAX: usize = 30;

/// A rate counts as reached from this part of it on: the last calls take a while to come up.
const REACHED: f64 = 0.95;

#[derive(Debug, Serialize)]
struct CpuPerCall {
    control: f64,
    dataplane: f64,
    emulator: f64,
}

/// Of a run over sockets.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Calls that came up, from the first one offered to the last one up.
    calls_per_second: f64,
    /// Calls placed.
    offered: u64,
    /// Calls that did not come up.
    failed: u64,
    /// The same by cause.
    failed_by_cause: BTreeMap<&'static str, u64>,
    /// Calls that the LNS ended after they were up.
    lost: u64,
    setup_ms_p50: f64,
    setup_ms_p90: f64,
    setup_ms_p99: f64,
    setup_ms_p99_9: f64,
    setup_ms_max: f64,
    /// How many took how long.
    setup_buckets: Vec<SetupBucket>,
    /// How subscribers proved who they are.
    authentication: &'static str,
    /// A call was ended after this time; `null`: when its place was needed.
    hold_ms: Option<u64>,
    /// Calls that were up when the last one was.
    sessions: u32,
    tunnels: u16,
    tunnels_failed: u32,
    /// What was asked for; 0: as many as come up.
    rate: u32,
    retransmissions_control: u64,
    retransmissions_ppp: u64,
    /// Resident memory of xlnsd at the start and at the end, KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    control_resident_kib: Option<[u64; 2]>,
    /// CPU time a call, microseconds: of the LNS's core, and of the LACs'. The end of all calls is
    /// part of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_us_per_call: Option<CpuPerCall>,
    /// What was lost at the LNS, by place.
    #[serde(skip_serializing_if = "Option::is_none")]
    lns_drops: Option<BTreeMap<String, u64>>,
    /// Calls that were due in each second, and those that came up.
    offered_in_second: Vec<u32>,
    opened_in_second: Vec<u32>,
}

impl Report {
    /// Of this outcome.
    pub fn new(arguments: &Arguments, outcome: &Outcome) -> Self {
        Self {
            calls_per_second: outcome.calls_per_second(),
            offered: outcome.offered,
            failed: outcome.failures(),
            failed_by_cause: outcome.failed.clone(),
            lost: outcome.lost,
            setup_ms_p50: outcome.setup_ms(0.5),
            setup_ms_p90: outcome.setup_ms(0.9),
            setup_ms_p99: outcome.setup_ms(0.99),
            setup_ms_p99_9: outcome.setup_ms(0.999),
            setup_ms_max: outcome.setup_ms(1.0),
            setup_buckets: outcome.setup_buckets(),
            authentication: arguments.authentication.name(),
            hold_ms: arguments.hold,
            sessions: outcome.held,
            tunnels: arguments.tunnels,
            tunnels_failed: outcome.tunnels_failed,
            rate: arguments.rate.unwrap_or(0),
            retransmissions_control: outcome.retransmissions_control,
            retransmissions_ppp: outcome.retransmissions_ppp,
            control_resident_kib: None,
            cpu_us_per_call: None,
            lns_drops: None,
            offered_in_second: outcome.offered_in_second.clone(),
            opened_in_second: outcome.opened_in_second.clone(),
        }
    }

    /// With the memory of control and data plane before and after.
    pub fn with_memory(mut self, before: [u64; 2], after: [u64; 2]) -> Self {
        self.control_resident_kib = Some([before[0], after[0]]);
        self
    }

    /// With the CPU time that all calls took.
    pub fn with_cpu(mut self, total: Cpu, calls: u64) -> Self {
        let each = |micros: u64| micros as f64 / calls.max(1) as f64;
        self.cpu_us_per_call = Some(CpuPerCall {
            control: each(total.control),
            dataplane: each(total.dataplane),
            emulator: each(total.emulator),
        });
        self
    }

    /// With what was lost at the LNS.
    pub fn with_drops(mut self, drops: BTreeMap<String, u64>) -> Self {
        self.lns_drops = Some(drops);
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:.0} calls a second: {} offered, {} failed {:?}, {} lost; {} sessions held in {} \
             tunnels; sent again: {} control messages, {} PPP requests",
            self.calls_per_second,
            self.offered,
            self.failed,
            self.failed_by_cause,
            self.lost,
            self.sessions,
            self.tunnels,
            self.retransmissions_control,
            self.retransmissions_ppp,
        )?;
        writeln!(
            f,
            "set-up: {:.1} ms (median), {:.1} (90 %), {:.1} (99 %), {:.1} (99.9 %), {:.1} (slowest)",
            self.setup_ms_p50,
            self.setup_ms_p90,
            self.setup_ms_p99,
            self.setup_ms_p99_9,
            self.setup_ms_max
        )?;
        self.write_seconds(f)?;
        self.write_buckets(f)
    }
}

impl Report {
    fn write_seconds(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.offered_in_second.len().max(self.opened_in_second.len());
        // So many together that it stays on a screen.
        let step = seconds.div_ceil(LINES_MAX).max(1);
        let of = |counts: &[u32], at: usize| -> f64 {
            let part = counts.iter().skip(at).take(step);
            part.map(|count| f64::from(*count)).sum::<f64>() / step as f64
        };
        let at = (0..seconds).step_by(step);
        let lines: Vec<_> = at
            .map(|at| (at, of(&self.offered_in_second, at), of(&self.opened_in_second, at)))
            .collect();
        let most =
            lines.iter().map(|(_, offered, opened)| offered.max(*opened)).fold(0.0, f64::max);
        writeln!(f, "\n{:>8}  {:>9} {:>9}", "second", "offered/s", "up/s")?;
        for (at, offered, opened) in lines {
            writeln!(f, "{at:>8}  {offered:>9.0} {opened:>9.0}  {}", bar(opened, most))?;
        }
        Ok(())
    }

    fn write_buckets(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = self.setup_buckets.iter().map(|bucket| bucket.calls).max().unwrap_or(0);
        writeln!(f, "\n{:>10}  {:>17}", "set-up, ms", "calls")?;
        for SetupBucket { setup_ms_max, calls } in &self.setup_buckets {
            writeln!(
                f,
                "<= {setup_ms_max:>7.1}  {calls:>17}  {}",
                bar(*calls as f64, most as f64)
            )?;
        }
        Ok(())
    }

    /// Calls that came up, a second.
    pub fn calls_per_second(&self) -> f64 {
        self.calls_per_second
    }

    /// A line of the table of a ramp.
    pub fn row(&self) -> String {
        format!(
            "{:>9} {:>9.0} {:>8} {:>8} {:>10.1} {:>10.1} {:>10.1}",
            self.rate,
            self.calls_per_second,
            self.failed,
            self.lost,
            self.setup_ms_p50,
            self.setup_ms_p99,
            self.setup_ms_max
        )
    }

    /// Whether the LNS took what was offered: nothing failed, nothing was lost, and the rate was reached.
    pub fn is_clean(&self) -> bool {
        let reached = self.calls_per_second >= REACHED * f64::from(self.rate);
        self.failed == 0 && self.lost == 0 && self.tunnels_failed == 0 && reached
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn report(rate: u32, change: impl FnOnce(&mut Outcome)) -> Report {
        let rate = rate.to_string();
        let line = Line::parse_from(["calls", "--lab", "--rate", &rate]);
        let mut outcome = Outcome::default();
        outcome.offered = 100;
        outcome.opened = 100;
        outcome.first_offered = Some(Duration::ZERO);
        outcome.last_opened = Duration::from_secs(1);
        outcome.offered_in_second = vec![60, 40];
        outcome.opened_in_second = vec![50, 50];
        change(&mut outcome);
        Report::new(&line.arguments, &outcome)
    }

    #[test]
    fn clean_is_what_fails_nothing_and_keeps_up() {
        assert!(report(100, |_| ()).is_clean());
        assert!(!report(120, |_| ()).is_clean(), "the rate was not reached");
        assert!(!report(100, |outcome| outcome.lost = 1).is_clean());
        assert!(!report(100, |outcome| outcome.tunnels_failed = 1).is_clean());
        assert!(!report(100, |outcome| _ = outcome.failed.insert("why", 1)).is_clean());
    }

    #[test]
    fn seconds_are_lines_until_there_are_too_many() {
        let text = report(100, |_| ()).to_string();
        assert!(text.contains("       0         60        50  ███"), "{text}");
        let long = report(100, |outcome| outcome.opened_in_second = vec![7; 10 * LINES_MAX]);
        assert!(long.to_string().lines().count() <= LINES_MAX + 8);
    }
}
