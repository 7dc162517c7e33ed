//! What a run prints.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::Arguments;
use super::emulator::Outcome;
use super::lab::Cpu;

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
    setup_ms_p99: f64,
    setup_ms_max: f64,
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
            setup_ms_p99: outcome.setup_ms(0.99),
            setup_ms_max: outcome.setup_ms(1.0),
            sessions: outcome.held,
            tunnels: arguments.tunnels,
            tunnels_failed: outcome.tunnels_failed,
            rate: arguments.rate.unwrap_or(0),
            retransmissions_control: outcome.retransmissions_control,
            retransmissions_ppp: outcome.retransmissions_ppp,
            control_resident_kib: None,
            cpu_us_per_call: None,
            lns_drops: None,
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
             tunnels; set-up {:.1} ms (median), {:.1} (99 %), {:.1} (slowest); sent again: {} \
             control messages, {} PPP requests",
            self.calls_per_second,
            self.offered,
            self.failed,
            self.failed_by_cause,
            self.lost,
            self.sessions,
            self.tunnels,
            self.setup_ms_p50,
            self.setup_ms_p99,
            self.setup_ms_max,
            self.retransmissions_control,
            self.retransmissions_ppp,
        )
    }
}
