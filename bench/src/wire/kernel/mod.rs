//! `xlns-bench wire --generator kernel`: how many small packets a second cross the data plane on veth,
//! and at what cost.
//!
//! The real `xlns-dataplane` stands between two veth pairs in a namespace of its own, filled over
//! its socket as the control process would. The kernel makes the packets on one core, the one
//! worker runs on another; what arrives at the far end is counted and dropped there. On veth nearly
//! all of the cost is the kernel's, and the port that receives is served by the sender's core: the
//! figures compare whole servers on one machine, they say nothing of a NIC.

pub mod data_plane;
pub mod direction;
pub mod frames;
pub mod report;
pub mod spread;
pub mod traffic;

use std::time::Duration;

use xlns_dataplane::api::{
    AttachMode, Configuration, ControlRates, Handoff, PortConfiguration, PortStatus,
};
use xlns_dataplane::wire::l2tp;
use xlns_tests::topology::{ACCESS_PORT, CORE_PORT, QUEUES, Topology};
use xlns_tests::{Lab, LabError, Result};

use crate::compare::ceiling;
use crate::spread::Spread;
use data_plane::DataPlane;
use direction::Load;
use frames::Flow;
use report::{Port, Report, Summary};

/// Runs of each direction.
const RUNS: u32 = 7;
const RUNS_QUICK: u32 = 3;

/// Length of a run, milliseconds.
const WINDOW_MS: u64 = 2000;
const WINDOW_MS_QUICK: u64 = 500;

/// Frames of the UMEM per queue: the rings' largest size, twice.
const FRAMES_PER_QUEUE: u32 = 8192;

/// Routes besides the sessions' own.
const ROUTES_MAX: u32 = 64;

/// Of control traffic there is none.
const CONTROL_RATES: ControlRates = ControlRates {
    setup_packets_per_second: 1000,
    tunnel_packets_per_second: 1000,
    ppp_packets_per_second: 1000,
    burst_packets: 1000,
};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Fewer and shorter runs.
    pub quick: bool,
    /// Sessions, sent to and from in turn.
    pub sessions: u32,
    /// Runs of each direction, alternating.
    pub runs: Option<u32>,
    /// Length of a run, milliseconds.
    pub window: Option<u64>,
    /// Frames to offer a second, for loss and CPU time at a given load; without, a flood.
    pub rate: Option<u32>,
    /// The core that makes the packets.
    pub generator_core: u16,
    /// The core of the data plane's worker.
    pub worker_core: u16,
    /// The best way to attach XDP that is tried.
    pub mode: AttachMode,
    /// Run generator and worker at real-time priority.
    pub realtime: bool,
    /// Let the worker poll without sleeping.
    pub busy_poll: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            quick: false,
            sessions: 1000,
            runs: None,
            window: None,
            rate: None,
            generator_core: 0,
            worker_core: 1,
            mode: AttachMode::NativeZeroCopy,
            realtime: false,
            busy_poll: false,
        }
    }
}

/// Reads the name of an attach mode.
///
/// # Errors
/// The names that there are.
pub fn mode(name: &str) -> std::result::Result<AttachMode, String> {
    let modes = [AttachMode::NativeZeroCopy, AttachMode::NativeCopy, AttachMode::Generic];
    modes
        .into_iter()
        .find(|mode| mode.name() == name)
        .ok_or_else(|| format!("{} can be", modes.map(AttachMode::name).join(", ")))
}

/// Measures both directions. Everything it made is gone when it returns, and soon after this process
/// ends in any other way.
///
/// # Errors
/// What failed, and which log to read.
pub fn run(settings: &Settings) -> Result<Report> {
    if settings.generator_core == settings.worker_core {
        return Err(LabError::new("generator and worker need a core each"));
    }
    let lab = Lab::start("wire")?;
    let topology = Topology::build(&lab)?;
    ceiling::build(&topology)?;
    let (mut directions, neighbors) = direction::both(&topology, settings.sessions)?;
    let mut data_plane = DataPlane::start(&lab, &topology.lns)?;
    let ports = data_plane.configure(configuration(settings))?;
    for port in ports.iter().filter(|port| port.mode == AttachMode::Generic) {
        // Live frames reach a veth only where its end has a queue of its own: XDP in the driver
        // makes one, and so does GRO.
        topology.lns.run(&format!("ethtool -K {} gro on", port.interface))?;
    }
    data_plane.fill(settings.sessions, neighbors)?;
    for direction in &mut directions {
        direction.trial(&mut data_plane, settings.sessions)?;
    }
    check_core(&mut data_plane, settings.worker_core)?;
    let load = Load {
        window: window(settings),
        rate: settings.rate,
        core: settings.generator_core,
        realtime: settings.realtime,
    };
    if settings.realtime {
        for (worker, _) in data_plane.workers()? {
            direction::put_first(worker)?;
        }
    }
    let count = settings.runs.unwrap_or(if settings.quick { RUNS_QUICK } else { RUNS });
    let mut runs = [const { Vec::new() }; 2];
    for _ in 0..count {
        for (direction, runs) in directions.iter_mut().zip(&mut runs) {
            runs.push(direction.run(&mut data_plane, load)?);
        }
    }
    let flows: Vec<Flow> = (0..settings.sessions).map(frames::flow).collect();
    let load = Load { rate: None, ..load };
    let ceiling = ceiling::measure(&topology, frames::INNER_BYTES, &flows, load, count)?;
    let summaries = directions
        .iter()
        .zip(runs)
        .map(|(direction, runs)| Summary::new(direction.name, direction.octets_in, runs, ceiling));
    Ok(report(settings, &ports, ceiling, summaries.collect()))
}

/// A worker that is not pinned where the report says would share the generator's core.
fn check_core(data_plane: &mut DataPlane, core: u16) -> Result<()> {
    let pinned = data_plane.counters()?.workers.iter().all(|worker| worker.core == Some(core));
    if pinned { Ok(()) } else { Err(LabError::new(format!("no worker runs on core {core}"))) }
}

fn window(settings: &Settings) -> Duration {
    let default = if settings.quick { WINDOW_MS_QUICK } else { WINDOW_MS };
    Duration::from_millis(settings.window.unwrap_or(default))
}

fn configuration(settings: &Settings) -> Configuration {
    let port = |interface: &str| PortConfiguration {
        interface: interface.to_owned(),
        queues: QUEUES,
        core: false,
        mode: settings.mode,
        vlan: None,
    };
    Configuration {
        ports: vec![port(ACCESS_PORT), port(CORE_PORT)],
        workers: 1,
        cores: vec![settings.worker_core],
        frames_per_queue: FRAMES_PER_QUEUE,
        sessions_max: settings.sessions,
        routes_max: ROUTES_MAX + settings.sessions,
        tun_name: "xlns0".to_owned(),
        tun_mtu: 1500,
        busy_poll: settings.busy_poll,
        handoff: Handoff::Off,
        l2tp_port: l2tp::PORT,
        l2tp_port_count: 1,
        gateway: None,
        gateway_ipv6: None,
        quality: None,
        control_rates: CONTROL_RATES,
    }
}

fn report(
    settings: &Settings,
    ports: &[PortStatus],
    ceiling_pps: Spread,
    directions: Vec<Summary>,
) -> Report {
    let port = |port: &PortStatus| Port {
        interface: port.interface.clone(),
        queues: port.queues,
        xdp_mode: port.mode.name(),
        not_better: port
            .not_better
            .iter()
            .map(|(mode, why)| format!("{}: {why}", mode.name()))
            .collect(),
    };
    Report {
        ports: ports.iter().map(port).collect(),
        sessions: settings.sessions,
        generator_core: settings.generator_core,
        worker_core: settings.worker_core,
        busy_poll: settings.busy_poll,
        realtime: settings.realtime,
        rate: settings.rate,
        window_seconds: window(settings).as_secs_f64(),
        inner_octets: frames::INNER_BYTES,
        ceiling_pps,
        directions,
    }
}
