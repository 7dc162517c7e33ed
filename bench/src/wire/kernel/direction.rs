//! One direction across the data plane: what is sent, where it is counted, and a run of it.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::{Pid, gettid};
use serde::Serialize;
use xlns_dataplane::api::{Counters, PortIndex};
use xlns_dataplane::port::interface::Interface;
use xlns_dataplane::verdict::DropReason;
use xlns_tests::netns::Netns;
use xlns_tests::process::run;
use xlns_tests::topology::{ACCESS_PORT, CORE_PORT, LAC_END, Topology};
use xlns_tests::{LabError, Result, deadline};

use super::data_plane::{ACCESS, CORE, DataPlane};
use super::frames::{self, Link};
use super::traffic::{Sent, Traffic};

/// The core's end of the core link, as the topology names it.
pub const CORE_END: &str = "lns0";

/// How long caches and rings warm up before a window.
const WARM_UP: Duration = Duration::from_millis(200);

/// Frames are on their way as long as counters move; looked at in this interval.
const SETTLE_INTERVAL: Duration = Duration::from_millis(20);

/// When to stop waiting for counters to rest.
const SETTLE_MAX: Duration = Duration::from_secs(5);

/// Frames of the trial before the first run, sent a few at a time.
const TRIAL_FRAMES: u32 = 4096;
const TRIAL_BURST: u32 = 64;

/// How frames are offered.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// How long a run lasts.
    pub window: Duration,
    /// Frames a second; `None`: as many as the generator makes.
    pub rate: Option<u32>,
    /// The core that makes them.
    pub core: u16,
    /// Whether the thread that makes them runs before all others.
    pub realtime: bool,
}

/// What a run showed.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Frames offered a second.
    pub offered_pps: f64,
    /// Frames that arrived at the far end, a second.
    pub forwarded_pps: f64,
    /// Frames offered.
    pub offered: u64,
    /// Frames of those that did not arrive.
    pub lost: u64,
    /// CPU time of the worker a frame that arrived, the kernel's part included.
    pub cpu_ns_per_packet: f64,
    /// Share of the window that the worker ran.
    pub worker_load: f64,
    /// Octets of a frame at the far end, on average.
    pub octets_out: f64,
    /// Lost before a worker saw them: its receive ring or the pool of frames was exhausted.
    pub dropped_by_kernel: u64,
    /// Dropped by workers, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
}

/// A direction, ready to be measured.
pub struct Direction<'a> {
    /// What it is called.
    pub name: &'static str,
    /// Octets of a frame that is offered.
    pub octets_in: usize,
    /// The port that receives.
    port: PortIndex,
    /// Where the generator runs.
    sender: &'a Netns,
    traffic: Traffic,
}

/// A link of the data plane: the far end, and the data plane's.
struct Ends {
    far: Interface,
    near: Interface,
}

impl Ends {
    fn read(far: (&Netns, &str), near: (&Netns, &str)) -> Result<Self> {
        Ok(Self { far: interface(far)?, near: interface(near)? })
    }

    fn link(&self) -> Link {
        Link { source: self.far.mac, destination: self.near.mac }
    }
}

fn interface((namespace, name): (&Netns, &str)) -> Result<Interface> {
    namespace.inside(|| Interface::read(name).map_err(|error| LabError::new(error.to_string())))
}

/// Both directions, and the MAC addresses of the neighbours: the LAC's and the core's.
///
/// # Errors
/// What the kernel says.
pub fn both(topology: &Topology, sessions: u32) -> Result<([Direction<'_>; 2], [[u8; 6]; 2])> {
    let Topology { lac, lns, core } = topology;
    let access_ends = Ends::read((lac, LAC_END), (lns, ACCESS_PORT))?;
    let core_ends = Ends::read((core, CORE_END), (lns, CORE_PORT))?;
    let numbers = 0..sessions;
    let (link, far) = (access_ends.link(), access_ends.far.index);
    let upstream = numbers.clone().map(move |number| frames::upstream(number, link));
    let mut upstream = Direction {
        name: "upstream",
        octets_in: frames::upstream(0, link).len(),
        port: ACCESS,
        sender: lac,
        traffic: Traffic::load(upstream, far)?,
    };
    lac.inside(|| upstream.traffic.attach_generator())?;
    core.inside(|| upstream.traffic.attach_sink(core_ends.far.index))?;
    let (link, far) = (core_ends.link(), core_ends.far.index);
    let downstream = numbers.map(move |number| frames::downstream(number, link));
    let mut downstream = Direction {
        name: "downstream",
        octets_in: frames::downstream(0, link).len(),
        port: CORE,
        sender: core,
        traffic: Traffic::load(downstream, far)?,
    };
    core.inside(|| downstream.traffic.attach_generator())?;
    lac.inside(|| downstream.traffic.attach_sink(access_ends.far.index))?;
    Ok(([upstream, downstream], [access_ends.far.mac, core_ends.far.mac]))
}

impl Direction<'_> {
    /// Sends some frames slowly: all of them must arrive, or what is measured is not forwarding.
    ///
    /// # Errors
    /// How many arrived, and what became of the others.
    pub fn trial(&mut self, data_plane: &mut DataPlane, sessions: u32) -> Result<()> {
        let before = data_plane.counters()?;
        let traffic = &mut self.traffic;
        let bursts = sessions.min(TRIAL_FRAMES).div_ceil(TRIAL_BURST);
        for _ in 0..bursts {
            self.sender.inside(|| traffic.send_frames(TRIAL_BURST))?;
        }
        let after = settle(data_plane)?;
        let (sent, delivered) = (u64::from(bursts * TRIAL_BURST), self.traffic.delivered()?);
        if delivered.packets == sent {
            return Ok(());
        }
        Err(LabError::new(format!(
            "{}: {} of {sent} frames of the trial arrived, and {} others; {}",
            self.name,
            delivered.packets,
            delivered.others,
            whereabouts(&before, &after, self.port)
        )))
    }

    /// Measures for one window.
    ///
    /// # Errors
    /// Where the data plane is gone or the kernel refuses to send.
    pub fn run(&mut self, data_plane: &mut DataPlane, load: Load) -> Result<Run> {
        self.send(load, WARM_UP)?;
        let before = settle(data_plane)?;
        let (delivered_before, time_before) =
            (self.traffic.delivered()?, data_plane.worker_time()?);
        let sent = self.send(load, load.window)?;
        let (delivered, time) = (self.traffic.delivered()?, data_plane.worker_time()?);
        let after = settle(data_plane)?;
        let delivered_after = self.traffic.delivered()?;

        let seconds = sent.elapsed.as_secs_f64();
        // What arrived within the window counts for the rate, what arrived at all for the loss.
        let packets = (delivered.packets - delivered_before.packets) as f64;
        let arrived = delivered_after.packets - delivered_before.packets;
        let octets = delivered_after.octets - delivered_before.octets;
        let time = time.saturating_sub(time_before);
        Ok(Run {
            offered_pps: sent.frames as f64 / seconds,
            forwarded_pps: packets / seconds,
            offered: sent.frames,
            lost: sent.frames.saturating_sub(arrived),
            cpu_ns_per_packet: time.as_nanos() as f64 / packets.max(1.0),
            worker_load: time.as_secs_f64() / seconds,
            octets_out: octets as f64 / arrived.max(1) as f64,
            dropped_by_kernel: dropped_by_kernel(&after, self.port)
                .saturating_sub(dropped_by_kernel(&before, self.port)),
            dropped: dropped(&before, &after),
        })
    }

    /// Sends from the far end, on the generator's core.
    fn send(&mut self, load: Load, span: Duration) -> Result<Sent> {
        let traffic = &mut self.traffic;
        self.sender.inside(|| {
            pin(load.core)?;
            if load.realtime {
                put_first(gettid())?;
            }
            traffic.send(span, load.rate)
        })
    }
}

fn pin(core: u16) -> Result<()> {
    let mut cores = CpuSet::new();
    cores
        .set(core.into())
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &cores))
        .map_err(|error| LabError::io(&format!("run on core {core}"), &error.into()))
}

/// Gives a thread real-time priority, the lowest: before all ordinary work of its core.
///
/// # Errors
/// What `chrt` says.
pub fn put_first(thread: Pid) -> Result<()> {
    put_at(thread, 1)
}

/// Gives a thread this real-time priority: before those of a lower one, too.
///
/// # Errors
/// What `chrt` says.
pub fn put_at(thread: Pid, priority: u8) -> Result<()> {
    let words = ["--rr", "--pid", &priority.to_string(), &thread.to_string()];
    run(Command::new("chrt").args(words)).map(|_| ())
}

/// Waits until nothing is on its way any more; yields the counters then.
fn settle(data_plane: &mut DataPlane) -> Result<Counters> {
    let moves = |counters: &Counters| {
        let workers = counters.workers.iter().map(|worker| worker.received + worker.transmitted);
        let ports = counters.ports.iter().map(|port| port.kernel_dropped);
        workers.chain(ports).sum::<u64>()
    };
    let mut last = data_plane.counters()?;
    for _ in 0..SETTLE_MAX.as_millis() / SETTLE_INTERVAL.as_millis() {
        deadline::watch(SETTLE_INTERVAL);
        let now = data_plane.counters()?;
        if moves(&now) == moves(&last) {
            return Ok(now);
        }
        last = now;
    }
    Err(LabError::new("frames still arrive although none is sent"))
}

fn dropped_by_kernel(counters: &Counters, port: PortIndex) -> u64 {
    counters.ports.get(usize::from(port)).map_or(0, |port| port.kernel_dropped)
}

/// What workers dropped in between, by reason.
fn dropped(before: &Counters, after: &Counters) -> BTreeMap<&'static str, u64> {
    let counts = before.drops.0.iter().zip(&after.drops.0);
    let counts = counts.map(|(before, after)| after - before);
    let named = DropReason::ALL.iter().map(|reason| reason.name()).zip(counts);
    named.filter(|(_, count)| *count > 0).collect()
}

/// Where frames that entered by `port` went, for an error.
fn whereabouts(before: &Counters, after: &Counters, port: PortIndex) -> String {
    let index = usize::from(port);
    let received =
        |counters: &Counters| counters.workers.iter().map(|worker| worker.received).sum::<u64>();
    let steered = before.steer.iter().zip(&after.steer).filter_map(|(before, after)| {
        let count = after.packets.get(index)? - before.packets.get(index)?;
        (count > 0).then(|| format!("{} {count}", after.name))
    });
    let steered: Vec<_> = steered.collect();
    format!(
        "steered: [{}]; workers received {} and dropped {:?}; the kernel dropped {}",
        steered.join(", "),
        received(after) - received(before),
        dropped(before, after),
        dropped_by_kernel(after, port) - dropped_by_kernel(before, port)
    )
}
