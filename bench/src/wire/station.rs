//! Both ends of the LNS while a trial runs: who sends and receives what, on which core.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::unistd::gettid;
use xlns_tests::{LabError, Result};

use super::filler::Filler;
use super::interrupt;
use super::kernel::direction::put_first;
use super::port::Port;
use super::receiver::{Arrived, Receiver};
use super::sender::{Sender, Sent};
use crate::calls::emulator::run::pin;

/// Packets are on their way for so long after the last one arrived, at least.
const SETTLE_NS: u64 = 100_000_000;

/// When to stop waiting for the last one: as long as RFC 2544 waits for what is left.
const SETTLE_NS_MAX: u64 = 2_000_000_000;

/// How often a line tells of a trial, milliseconds.
const PROGRESS: Duration = Duration::from_millis(1000);

/// How often the end of a trial is looked for.
const LOOK: Duration = Duration::from_millis(5);

/// The interface on one side of the LNS: what leaves there, and what arrives there.
pub struct Station {
    /// The interface.
    pub port: Port,
    /// `None` where nothing is to leave.
    pub sender: Option<Sender>,
    /// `None` where nothing is to arrive.
    pub receiver: Option<Receiver>,
    /// More load from here in the trials that want it.
    pub filler: Option<Filler>,
    /// Its packets that had arrived here before this trial, and in it.
    pub fillers: [u64; 2],
    /// What had arrived when the other side stopped sending.
    pub in_time: Arrived,
    /// How long it sent, nanoseconds.
    pub sent_for_ns: u64,
    /// Frames lost here for want of room, in this trial.
    pub dropped: Option<u64>,
}

impl Station {
    /// One that only has its interface yet.
    pub fn new(port: Port) -> Self {
        Self {
            port,
            sender: None,
            receiver: None,
            filler: None,
            fillers: [0; 2],
            in_time: Arrived::default(),
            sent_for_ns: 0,
            dropped: None,
        }
    }

    /// What it sent in this trial.
    pub fn sent(&self) -> Sent {
        self.sender.as_ref().map(Sender::sent).unwrap_or_default()
    }

    /// What it received in this trial.
    pub fn arrived(&self) -> Arrived {
        self.receiver.as_ref().map(Receiver::arrived).unwrap_or_default()
    }

    /// How long it sent in this trial; never 0.
    pub fn seconds(&self) -> f64 {
        (self.sent_for_ns as f64 / 1e9).max(1e-9)
    }

    /// A turn. Returns how many packets it sent and received.
    #[inline]
    fn turn(&mut self, epoch: Instant, sending: bool) -> (usize, usize) {
        let mut received = 0;
        if let Some(receiver) = &mut self.receiver {
            let now = nanoseconds(epoch);
            received = self.port.receive(|frame| receiver.handle(frame, now));
        } else {
            // What comes nevertheless must not fill the rings.
            self.port.receive(|_| ());
        }
        let mut sent = 0;
        if let Some(filler) = self.filler.as_mut().filter(|_| sending) {
            filler.turn(nanoseconds(epoch));
        }
        if let Some(sender) = self.sender.as_mut().filter(|_| sending) {
            sent = sender.turn(&mut self.port, nanoseconds(epoch));
        } else {
            self.port.flush();
        }
        (sent, received)
    }
}

/// How a trial is driven.
#[derive(Debug, Clone, Copy)]
pub struct Drive<'a> {
    /// Zero of all time stamps.
    pub epoch: Instant,
    /// Packets a second of each direction; `None`: as many as it makes.
    pub rate: Option<f64>,
    /// Packets a second of each direction that only fill the LNS, where there is a filler.
    pub filler_rate: f64,
    /// How long is sent.
    pub span: Duration,
    /// A core for all, or one for each station.
    pub cores: &'a [u16],
    /// Whether they run before all other work.
    pub realtime: bool,
}

/// What a trial shows while it runs, by the station that sends: access and core.
#[derive(Debug, Default)]
pub struct Shown {
    /// Stations' threads that still send.
    sending: AtomicU32,
    /// Packets sent.
    sent: [AtomicU64; 2],
    /// Packets that arrived at the other station.
    arrived: [AtomicU64; 2],
    /// Threads that are done.
    done: AtomicU32,
}

/// What a line tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Line {
    /// Since the trial's start.
    pub elapsed: Duration,
    /// Packets sent so far: in, out.
    pub sent: [u64; 2],
    /// Packets that arrived so far.
    pub arrived: [u64; 2],
}

/// Runs a trial over stations, the access side's and the core's, and tells of it once a second.
///
/// # Errors
/// Where a core is not ours.
pub fn drive(
    stations: &mut [Station],
    drive: Drive<'_>,
    mut progress: impl FnMut(Line),
) -> Result<()> {
    begin(stations, drive);
    let shown = Shown::default();
    let Drive { epoch, cores, .. } = drive;
    let numbered = stations.iter_mut().enumerate();
    let mut groups: Vec<Vec<(usize, &mut Station)>> = match cores {
        [_, _, ..] => numbered.map(|station| vec![station]).collect(),
        _ => vec![numbered.collect()],
    };
    shown.sending.store(groups.len() as u32, Ordering::Relaxed);
    let threads = groups.len() as u32;
    std::thread::scope(|scope| {
        let running: Vec<_> = groups
            .iter_mut()
            .zip(cores)
            .map(|(group, core)| {
                let (shown, core) = (&shown, *core);
                scope.spawn(move || {
                    let result = prepare(core, drive.realtime);
                    if result.is_ok() {
                        run(group, drive, shown);
                    }
                    shown.done.fetch_add(1, Ordering::Release);
                    result
                })
            })
            .collect();
        let start = epoch.elapsed();
        let mut next = PROGRESS;
        while shown.done.load(Ordering::Acquire) < threads {
            std::thread::park_timeout(LOOK);
            let elapsed = epoch.elapsed().saturating_sub(start);
            if elapsed >= next {
                next += PROGRESS;
                progress(line(&shown, elapsed));
            }
        }
        running.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(LabError::new("the tester's thread panicked")))
        })
    })
}

fn line(shown: &Shown, elapsed: Duration) -> Line {
    let read = |counts: &[AtomicU64; 2]| {
        let [first, second] = counts;
        [first.load(Ordering::Relaxed), second.load(Ordering::Relaxed)]
    };
    Line { elapsed, sent: read(&shown.sent), arrived: read(&shown.arrived) }
}

fn begin(stations: &mut [Station], drive: Drive<'_>) {
    let now = nanoseconds(drive.epoch);
    for station in &mut *stations {
        // What is left of the trial before is not of this one.
        while station.port.receive(|_| ()) > 0 {}
        station.dropped = station.port.dropped();
        station.fillers = [station.port.fillers(), 0];
        if let Some(filler) = &mut station.filler {
            filler.begin(now, drive.filler_rate);
        }
        if let Some(sender) = &mut station.sender {
            sender.begin(now, drive.rate);
        }
    }
    if let [access, core] = stations {
        expect(&mut core.receiver, access.sender.as_ref());
        expect(&mut access.receiver, core.sender.as_ref());
    }
}

/// What arrives is what is sent from here on.
fn expect(receiver: &mut Option<Receiver>, sender: Option<&Sender>) {
    if let (Some(receiver), Some(sender)) = (receiver, sender) {
        receiver.begin(sender.first());
    }
}

fn prepare(core: u16, realtime: bool) -> Result<()> {
    pin(core)?;
    if realtime { put_first(gettid()) } else { Ok(()) }
}

/// Runs stations in turn until nothing is on its way any more.
fn run(stations: &mut [(usize, &mut Station)], drive: Drive<'_>, shown: &Shown) {
    let start = nanoseconds(drive.epoch);
    let end = start + drive.span.as_nanos() as u64;
    let (mut sending, mut last) = (true, start);
    loop {
        let mut idle = true;
        for (index, station) in &mut *stations {
            let (sent, received) = station.turn(drive.epoch, sending);
            if sent > 0 {
                idle = false;
                add(&shown.sent, *index, sent);
            }
            if received > 0 {
                idle = false;
                last = nanoseconds(drive.epoch);
                add(&shown.arrived, usize::from(*index == 0), received);
            }
        }
        let now = nanoseconds(drive.epoch);
        if sending && (now >= end || interrupt::is_asked()) {
            sending = false;
            for (_, station) in &mut *stations {
                station.sent_for_ns = now - start;
                station.in_time = station.arrived();
            }
            shown.sending.fetch_sub(1, Ordering::Relaxed);
            last = now;
        }
        let all_sent = shown.sending.load(Ordering::Relaxed) == 0;
        if !sending && all_sent && (now - last > SETTLE_NS || now > end + SETTLE_NS_MAX) {
            break;
        }
        if idle {
            std::thread::yield_now();
        }
    }
    for (_, station) in stations {
        let before = station.dropped;
        let dropped = station.port.dropped().zip(before);
        station.dropped = dropped.map(|(now, before)| now.saturating_sub(before));
        let [before, arrived] = &mut station.fillers;
        *arrived = station.port.fillers() - *before;
    }
}

fn add(counts: &[AtomicU64; 2], index: usize, count: usize) {
    if let Some(place) = counts.get(index) {
        place.fetch_add(count as u64, Ordering::Relaxed);
    }
}

fn nanoseconds(epoch: Instant) -> u64 {
    epoch.elapsed().as_nanos() as u64
}
