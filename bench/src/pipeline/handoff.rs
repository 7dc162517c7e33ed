//! `xlns-bench handoff`: one tunnel, two workers, in memory.
//!
//! One thread plays the worker that owns the queue of a tunnel: it finds out the share of each
//! frame and gives all of them away. Another one, on another core, takes them and processes them. Timed are
//! those steps alone; filling frames is not, nor what a kernel would do. The result is the best
//! of many short windows, as everywhere in memory. With `--instructions` the same steps are counted by
//! valgrind on one thread instead.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;
use xlns_dataplane::cpu;
use xlns_dataplane::frame::Frame;
use xlns_dataplane::pipeline::spread::SHARES;
use xlns_dataplane::pipeline::{BATCH_MAX, Pipeline};
use xlns_dataplane::port::PortId;
use xlns_dataplane::port::xsk::link::{self, Inlet, Outlet};
use xlns_dataplane::port::xsk::{Memory, Pool, umem};

use super::instructions::counted;
use super::load::{Direction, Load, Reading};
use super::packets::Packets;
use crate::clock;
use crate::record::Recorder;
use crate::wire::kernel::spread::{self, Spread};

/// Frames of each worker.
const FRAMES: u32 = 2048;

/// Frames that the link holds, as in the data plane.
const LINK_FRAMES: u32 = 512;

/// Octets of the inner packet, as in the main row of `xlns-bench pipeline`.
const INNER_BYTES: u16 = 46;

/// Bursts of one run inside of valgrind.
const BURSTS: u32 = 256;

/// A window of measurement, bursts: a fraction of a millisecond, mostly undisturbed.
const WINDOW_BURSTS: u32 = 64;

/// What to measure.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Sessions of the tunnel.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=16_384))]
    sessions: u32,
    /// How long, milliseconds.
    #[arg(long, default_value_t = 2_000)]
    milliseconds: u64,
    /// The cores of the worker that gives and of the one that takes.
    #[arg(long, value_delimiter = ',', num_args = 2, default_values_t = [0, 1])]
    cores: Vec<u16>,
    /// Counts instructions (needs valgrind).
    #[arg(long)]
    instructions: bool,
    /// On the data plane itself, flooded by one queue of veth: which worker does how much (root).
    #[arg(long, conflicts_with = "instructions")]
    live: bool,
    /// Inside of valgrind: up to which step.
    #[arg(long, hide = true, value_enum)]
    run: Option<Step>,
}

/// The steps of a frame; each comes after those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Step {
    Fill,
    Give,
    Take,
    Return,
    Process,
}

/// Nanoseconds a packet: the best window, and the middle one.
#[derive(Debug, Clone, Copy, Serialize)]
struct Cost {
    ns_per_packet: f64,
    median_ns_per_packet: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    sessions: u32,
    /// Packets that each worker had in its hands.
    given: u64,
    taken: u64,
    /// Finding out the share, giving the frame, taking a chunk back.
    give: Cost,
    /// Taking the frame, giving a chunk.
    take: Cost,
    /// Processing it, on the core that did not receive it.
    process: Cost,
    /// Processing it where it was received, as without hand-off.
    process_at_home: Cost,
    /// Workers that one keeps busy which gives everything away.
    workers_fed: f64,
}

#[derive(Debug, Serialize)]
struct Live<'a> {
    sessions: u32,
    ways: &'a [spread::Way],
}

/// Instructions a packet.
#[derive(Debug, Serialize)]
struct Instructions {
    sessions: u32,
    give: f64,
    take: f64,
    process: f64,
}

/// Measures and prints.
///
/// # Errors
/// Where tables cannot be made, a frame gets lost, or valgrind is missing.
pub fn run(arguments: &Arguments, recorder: &Recorder) -> Result<(), Box<dyn Error>> {
    if let Some(step) = arguments.run {
        return count(arguments, step);
    }
    if arguments.instructions {
        return count_all(arguments, recorder);
    }
    if arguments.live {
        return show_live(arguments, recorder);
    }
    let report = measure(arguments)?;
    recorder.finish("handoff", &report, || print(&report))
}

fn print(report: &Report) {
    println!("one tunnel, {} sessions, bursts of {BATCH_MAX}", report.sessions);
    println!("{:<34} {:>12} {:>8} {:>8}", "", "packets", "ns", "median");
    let line = |name, packets: u64, cost: Cost| {
        let Cost { ns_per_packet, median_ns_per_packet } = cost;
        println!("{name:<34} {packets:>12} {ns_per_packet:>8.1} {median_ns_per_packet:>8.1}");
    };
    line("owner of the queue: find and give", report.given, report.give);
    line("other worker: take", report.taken, report.take);
    line("other worker: process", report.taken, report.process);
    line("without hand-off: process", 0, report.process_at_home);
    println!("one that gives all away keeps {:.1} others busy", report.workers_fed);
}

fn show_live(arguments: &Arguments, recorder: &Recorder) -> Result<(), Box<dyn Error>> {
    let &[other, owner] = arguments.cores.as_slice() else {
        return Err("--cores takes two".into());
    };
    let Arguments { sessions, milliseconds, .. } = *arguments;
    let ways = spread::measure(&Spread { sessions, milliseconds, cores: [owner, other] })?;
    let live = Live { sessions, ways: &ways };
    recorder.finish("handoff", &live, || spread::print(sessions, &ways))
}

/// Both ends in this process.
struct Ends {
    outlet: Outlet,
    inlet: Inlet,
    near: Pool,
    far: Pool,
}

fn ends(frames: u32, link_frames: u32) -> Ends {
    let (_, mut pools) = umem::pools(Memory::heap(2 * frames), &[frames; 2]);
    let (outlet, inlet) = link::pair(link_frames);
    let far = pools.remove(1);
    Ends { outlet, inlet, near: pools.remove(0), far }
}

/// A pipeline that has no share.
fn owner(load: &Reading) -> Pipeline {
    let mut pipeline = Pipeline::new(load.tables.clone(), 0);
    for share in 0..SHARES {
        pipeline.shares().set_elsewhere(share as u8, true);
    }
    pipeline.shares().set_active(true);
    pipeline
}

/// Windows of ticks a packet.
#[derive(Debug, Default)]
struct Windows {
    ticks: u64,
    packets: u64,
    bursts: u32,
    done: Vec<f64>,
}

impl Windows {
    fn add(&mut self, ticks: u64, packets: usize) {
        self.ticks += ticks;
        self.packets += packets as u64;
        self.bursts += 1;
        if self.bursts == WINDOW_BURSTS {
            self.done.push(self.ticks as f64 / self.packets as f64);
            (self.ticks, self.packets, self.bursts) = (0, 0, 0);
        }
    }

    fn cost(mut self, ticks_per_nanosecond: f64) -> Cost {
        self.done.sort_by(f64::total_cmp);
        let at = |place: usize| self.done.get(place).copied().unwrap_or(f64::NAN);
        Cost {
            ns_per_packet: at(0) / ticks_per_nanosecond,
            median_ns_per_packet: at(self.done.len() / 2) / ticks_per_nanosecond,
        }
    }
}

fn fill(pool: &mut Pool, packets: &mut Packets, frames: &mut Vec<Frame>) {
    let port = PortId(packets.port());
    while frames.len() < BATCH_MAX {
        let Some(mut frame) = pool.take(port) else { break };
        frame.reset(port, packets.next_packet());
        frames.push(frame);
    }
}

/// The steps of the worker that owns the queue, for one burst.
fn give(
    pipeline: &mut Pipeline,
    outlet: &mut Outlet,
    pool: &mut Pool,
    frames: &mut Vec<Frame>,
    shares: &mut Vec<Option<u8>>,
) {
    pipeline.divide(frames, shares);
    for (frame, share) in frames.drain(..).zip(shares.iter()) {
        if share.is_none() {
            pool.give(frame);
        } else if let Err(frame) = outlet.give(frame) {
            pool.give(frame);
        }
    }
    outlet.submit();
    outlet.take_back(pool);
}

fn measure(arguments: &Arguments) -> Result<Report, Box<dyn Error>> {
    let load = Load::new(arguments.sessions)?;
    let reading = load.reading();
    let Ends { mut outlet, inlet, mut near, far } = ends(FRAMES, LINK_FRAMES);
    let span = Duration::from_millis(arguments.milliseconds);
    let ticks_per_nanosecond = clock::ticks_per_nanosecond(Duration::from_millis(100));
    let core = |index: usize| arguments.cores.get(index).copied().unwrap_or_default();
    let over = AtomicBool::new(false);
    let (mut given, mut gives) = (0, Windows::default());
    let taker = std::thread::scope(|scope| {
        let taker = scope.spawn(|| take_all(&reading, inlet, far, core(1), &over));
        cpu::pin(core(0));
        let mut pipeline = owner(&reading);
        let mut packets = reading.packets(Direction::Decapsulation, &[INNER_BYTES]);
        let mut frames = Vec::with_capacity(BATCH_MAX);
        let mut shares = Vec::with_capacity(BATCH_MAX);
        let start = clock::now();
        while start.elapsed() < span {
            if outlet.lent() + BATCH_MAX as u32 > LINK_FRAMES / 2 {
                outlet.take_back(&mut near);
                std::hint::spin_loop();
                continue;
            }
            fill(&mut near, &mut packets, &mut frames);
            let first = clock::ticks();
            give(&mut pipeline, &mut outlet, &mut near, &mut frames, &mut shares);
            gives.add(clock::ticks() - first, BATCH_MAX);
            given += BATCH_MAX as u64;
        }
        over.store(true, Ordering::Release);
        taker.join()
    });
    let (taken, takes, processed) = taker.map_err(|_| "the other worker panicked")?;
    outlet.take_back(&mut near);
    if taken != given || outlet.lent() != 0 {
        return Err(format!("{given} given, {taken} taken, {} lent", outlet.lent()).into());
    }
    let process_at_home = process_at_home(&reading, &mut near, span / 4);
    let (give, take) = (gives.cost(ticks_per_nanosecond), takes.cost(ticks_per_nanosecond));
    let process = processed.cost(ticks_per_nanosecond);
    Ok(Report {
        sessions: arguments.sessions,
        given,
        taken,
        give,
        take,
        process,
        process_at_home: process_at_home.cost(ticks_per_nanosecond),
        workers_fed: (take.ns_per_packet + process.ns_per_packet) / give.ns_per_packet,
    })
}

/// The other worker, until all is taken.
fn take_all(
    load: &Reading,
    mut inlet: Inlet,
    mut pool: Pool,
    core: u16,
    over: &AtomicBool,
) -> (u64, Windows, Windows) {
    cpu::pin(core);
    let mut reader = load.tables.register(0);
    let mut pipeline = Pipeline::new(load.tables.clone(), 0);
    let mut frames = Vec::with_capacity(BATCH_MAX);
    let mut verdicts = Vec::with_capacity(BATCH_MAX);
    let (mut taken, mut takes, mut processed) = (0, Windows::default(), Windows::default());
    loop {
        let is_over = over.load(Ordering::Acquire);
        let first = clock::ticks();
        let count = inlet.take(&mut pool, BATCH_MAX, &mut frames);
        let second = clock::ticks();
        if count == 0 {
            if is_over {
                return (taken, takes, processed);
            }
            std::hint::spin_loop();
            continue;
        }
        pipeline.process(&reader.guard(), &mut frames, &mut verdicts);
        let third = clock::ticks();
        takes.add(second - first, count);
        processed.add(third - second, count);
        taken += count as u64;
        frames.drain(..).for_each(|frame| pool.give(frame));
    }
}

fn process_at_home(load: &Reading, pool: &mut Pool, span: Duration) -> Windows {
    let mut reader = load.tables.register(0);
    let mut pipeline = Pipeline::new(load.tables.clone(), 0);
    let mut packets = load.packets(Direction::Decapsulation, &[INNER_BYTES]);
    let mut frames = Vec::with_capacity(BATCH_MAX);
    let mut verdicts = Vec::with_capacity(BATCH_MAX);
    let mut windows = Windows::default();
    let start = clock::now();
    while start.elapsed() < span {
        fill(pool, &mut packets, &mut frames);
        let first = clock::ticks();
        pipeline.process(&reader.guard(), &mut frames, &mut verdicts);
        windows.add(clock::ticks() - first, frames.len());
        frames.drain(..).for_each(|frame| pool.give(frame));
    }
    windows
}

/// Inside of valgrind: all bursts, up to a step. One step after the other, so that each run differs from the
/// one before by one step alone.
fn count(arguments: &Arguments, last: Step) -> Result<(), Box<dyn Error>> {
    let load = Load::new(arguments.sessions)?;
    let reading = load.reading();
    let all = BURSTS * BATCH_MAX as u32;
    let Ends { mut outlet, mut inlet, mut near, mut far } = ends(all, all.next_power_of_two());
    let mut reader = reading.tables.register(0);
    let (mut owner, mut other) = (owner(&reading), Pipeline::new(reading.tables.clone(), 0));
    let mut packets = reading.packets(Direction::Decapsulation, &[INNER_BYTES]);
    let mut frames = Vec::with_capacity(BATCH_MAX);
    let mut shares = Vec::with_capacity(BATCH_MAX);
    let mut verdicts = Vec::with_capacity(BATCH_MAX);
    for _ in 0..BURSTS {
        fill(&mut near, &mut packets, &mut frames);
        if last >= Step::Give {
            give(&mut owner, &mut outlet, &mut near, &mut frames, &mut shares);
        }
        // They are not filled again.
        frames.clear();
    }
    for _ in 0..BURSTS {
        if last >= Step::Take {
            inlet.take(&mut far, BATCH_MAX, &mut frames);
        }
        if last >= Step::Process {
            other.process(&reader.guard(), &mut frames, &mut verdicts);
        }
        frames.clear();
    }
    if last >= Step::Return {
        outlet.take_back(&mut near);
    }
    Ok(())
}

fn count_all(arguments: &Arguments, recorder: &Recorder) -> Result<(), Box<dyn Error>> {
    let sessions = arguments.sessions.to_string();
    let run = |step: Step| -> Result<f64, Box<dyn Error>> {
        let name = step.to_possible_value().ok_or("no name")?;
        let counts =
            counted(&["handoff", "--sessions", &sessions, "--run", name.get_name()], false)?;
        Ok(counts.instructions / (f64::from(BURSTS) * BATCH_MAX as f64))
    };
    let (fill, give, take) = (run(Step::Fill)?, run(Step::Give)?, run(Step::Take)?);
    let (returned, process) = (run(Step::Return)?, run(Step::Process)?);
    let report = Instructions {
        sessions: arguments.sessions,
        give: give - fill + returned - take,
        take: take - give,
        process: process - returned,
    };
    recorder.finish("handoff", &report, || print_instructions(&report))
}

fn print_instructions(report: &Instructions) {
    println!("instructions a packet, one tunnel, {} sessions:", report.sessions);
    println!("{:<34} {:>8.1}", "owner of the queue: find and give", report.give);
    println!("{:<34} {:>8.1}", "other worker: take", report.take);
    println!("{:<34} {:>8.1}", "other worker: process", report.process);
}
