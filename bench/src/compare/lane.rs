//! One direction and size through one server: a run of it, and what it cost.
//!
//! What a packet costs is the time that the server's processes ran, system calls and the soft
//! interrupts in them included, and the core's ksoftirqd, over what arrived. That is the same for a
//! server that reads a socket and for one that reads a ring. What the kernel does between the
//! generator and that socket or ring runs on the generator's core for both, as veth has it, and is
//! counted for neither.

use std::path::PathBuf;
use std::time::Duration;

use nix::unistd::gettid;
use serde::Serialize;
use xlns_tests::netns::Netns;
use xlns_tests::{LabError, Result, deadline};

use crate::calls::emulator::run::pin;
use crate::search::Trial;
use crate::wire::kernel::direction::{Load, put_first};
use crate::wire::kernel::traffic::{Delivered, Sent, Traffic};

/// How long caches and queues fill before a run.
const WARM_UP: Duration = Duration::from_millis(150);

/// Packets are on their way as long as the sink counts; looked at in this interval.
pub const SETTLE_INTERVAL: Duration = Duration::from_millis(25);

/// When to stop waiting for that.
const SETTLE_MAX: Duration = Duration::from_secs(5);

/// What a run showed.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Packets offered a second.
    pub offered_pps: f64,
    /// Packets that arrived within the run, a second.
    pub delivered_pps: f64,
    /// Packets offered.
    pub offered: u64,
    /// Packets of those that did not arrive, however late.
    pub lost: u64,
    /// CPU time of the server a packet that arrived, nanoseconds.
    pub cpu_ns_per_packet: f64,
    /// Share of the run that the server ran.
    pub server_load: f64,
}

impl Run {
    /// Share of the offered packets that was lost.
    pub fn loss(&self) -> f64 {
        self.lost as f64 / self.offered.max(1) as f64
    }
}

impl Trial for Run {
    fn offered_pps(&self) -> f64 {
        self.offered_pps
    }

    fn loss(&self) -> f64 {
        Run::loss(self)
    }
}

/// The CPU time of a server.
#[derive(Debug)]
pub struct Meter {
    /// Folders in /proc of its processes, and of its core's ksoftirqd.
    processes: Vec<PathBuf>,
}

impl Meter {
    /// Of all processes in `namespace`, and of what the kernel defers on `core`.
    ///
    /// # Errors
    /// Where there is none.
    pub fn new(namespace: &Netns, core: u16) -> Result<Self> {
        let ids = namespace.processes()?;
        if ids.is_empty() {
            return Err(LabError::new(format!("nothing runs in {}", namespace.name())));
        }
        let folder = |id: u32| PathBuf::from(format!("/proc/{id}"));
        let processes = ids.into_iter().map(folder).chain(ksoftirqd(core)).collect();
        Ok(Self { processes })
    }

    /// CPU time so far.
    fn read(&self) -> Duration {
        let tasks = self.processes.iter().flat_map(|process| {
            std::fs::read_dir(process.join("task")).into_iter().flatten().flatten()
        });
        let run_time = |task: std::fs::DirEntry| -> Option<u64> {
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse().ok()
        };
        Duration::from_nanos(tasks.filter_map(run_time).sum())
    }
}

/// The folder of the kernel's thread for what it defers on a core.
fn ksoftirqd(core: u16) -> Option<PathBuf> {
    let name = format!("ksoftirqd/{core}");
    std::fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path()).find(|path| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim_end() == name)
    })
}

/// Sends from the far end, on the generator's core.
///
/// # Errors
/// What the kernel says.
pub fn send(from: &Netns, traffic: &mut Traffic, load: Load, span: Duration) -> Result<Sent> {
    from.inside(|| {
        pin(load.core)?;
        if load.realtime {
            put_first(gettid())?;
        }
        traffic.send(span, load.rate)
    })
}

/// A direction and size, ready to be measured.
pub struct Lane<'a> {
    /// `in` or `out`.
    pub direction: &'static str,
    /// What is called its size: 64 is the smallest Ethernet frame, else octets of the subscriber's
    /// packet.
    pub size: u16,
    /// Where the generator runs.
    pub sender: &'a Netns,
    /// Where packets are counted, and on which interface.
    pub receiver: (&'a Netns, u32),
    /// Both ends.
    pub traffic: Traffic,
}

impl Lane<'_> {
    /// Measures for one window.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn run(&mut self, meter: &Meter, load: Load) -> Result<Run> {
        let (receiver, interface) = self.receiver;
        receiver.inside(|| self.traffic.attach_sink(interface))?;
        let traffic = &mut self.traffic;
        self.sender.inside(|| traffic.attach_generator())?;
        let run = self.run_attached(meter, load);
        self.traffic.detach_generator();
        run
    }

    fn run_attached(&mut self, meter: &Meter, load: Load) -> Result<Run> {
        send(self.sender, &mut self.traffic, load, WARM_UP.min(load.window))?;
        let before = self.settle()?;
        let time_before = meter.read();
        let sent = send(self.sender, &mut self.traffic, load, load.window)?;
        let (delivered, time) = (self.traffic.delivered()?, meter.read());
        let after = self.settle()?;
        let seconds = sent.elapsed.as_secs_f64();
        // What arrived within the window counts for the rate, what arrived at all for the loss.
        let packets = (delivered.packets - before.packets) as f64;
        let time = time.saturating_sub(time_before);
        Ok(Run {
            offered_pps: sent.frames as f64 / seconds,
            delivered_pps: packets / seconds,
            offered: sent.frames,
            lost: sent.frames.saturating_sub(after.packets - before.packets),
            cpu_ns_per_packet: time.as_nanos() as f64 / packets.max(1.0),
            server_load: time.as_secs_f64() / seconds,
        })
    }

    /// Waits until nothing arrives any more.
    fn settle(&self) -> Result<Delivered> {
        let mut last = self.traffic.delivered()?;
        for _ in 0..SETTLE_MAX.as_millis() / SETTLE_INTERVAL.as_millis() {
            deadline::watch(SETTLE_INTERVAL);
            let now = self.traffic.delivered()?;
            if now.packets == last.packets {
                return Ok(now);
            }
            last = now;
        }
        Err(LabError::new("packets still arrive although none is sent"))
    }
}
