//! What sessions added beside a worker take of its speed.
//!
//! The worker and the writer have a core each. Short phases take turns: the writer waits; it adds
//! sessions at a steady pace to tables that nobody reads, which shows what two busy cores take from
//! one another; it adds them at the same pace to the worker's tables. What was added is removed
//! in between. Bursts that were interrupted are left out, and phases are compared with their neighbours
//! only, so that what else the machine does is the same for all of a turn.

use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde::Serialize;
use xlns_dataplane::api::Command;
use xlns_dataplane::frame::Frame;
use xlns_dataplane::tables::Writer;

use super::SMALL_BYTES;
use super::load::{self, Direction, Load};
use super::measure::{Bench, median};
use super::packets::Packets;
use crate::clock;

/// Sessions that packets are for.
const SESSIONS: u32 = 100_000;

/// Sessions added, a second.
const PACE: f64 = 100_000.0;

const PHASE: Duration = Duration::from_millis(20);

/// Room for what is added in a phase, and somewhat more.
const ADDED_MAX: u32 = 4096;

/// Changes of one turn of the process that makes them, after which it frees what it can.
const TURN_CHANGES: u32 = 64;

/// The part of the bursts of a phase, the slowest, that is left out: in a hundred.
const LEFT_OUT: usize = 5;

/// What the writer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    Quiet,
    Elsewhere,
    Here,
    CleanUp,
    End,
}

impl Phase {
    const MEASURED: [Self; 3] = [Self::Quiet, Self::Elsewhere, Self::Here];

    fn decode(value: u8) -> Self {
        let all = [Self::Quiet, Self::Elsewhere, Self::Here, Self::CleanUp];
        all.into_iter().find(|phase| *phase as u8 == value).unwrap_or(Self::End)
    }
}

/// What was found one way.
#[derive(Debug, Serialize)]
pub(super) struct Churn {
    direction: Direction,
    sessions: u32,
    added_per_second: f64,
    /// Turns of all phases.
    turns: usize,
    /// Clk a packet while nothing is added, the middle of all turns.
    quiet_clk_per_packet: f64,
    /// What it takes more while sessions are added to other tables: the middle of all turns.
    elsewhere_percent: f64,
    /// The same for the worker's tables, against waiting.
    here_percent: f64,
    /// The same against adding to other tables: what sharing costs.
    shared_percent: f64,
    /// A quarter of the turns have less than the first one, a quarter more than the second one.
    shared_quartiles_percent: [f64; 2],
}

/// Measures both ways.
pub(super) fn measure(frames: &mut [Frame], quick: bool) -> Result<Vec<Churn>, Box<dyn Error>> {
    let turns = if quick { 60 } else { 300 };
    let mut here = prepare()?;
    let mut elsewhere = prepare()?;
    let all = Direction::ALL.into_iter();
    all.map(|direction| one(&mut here, &mut elsewhere, frames, direction, turns)).collect()
}

/// Tables with room for what is added.
fn prepare() -> Result<Load, Box<dyn Error>> {
    let mut load = Load::new(SESSIONS + ADDED_MAX)?;
    for number in SESSIONS..SESSIONS + ADDED_MAX {
        load.writer.apply(&Command::SessionRemove(load::key(number)))?;
    }
    load.writer.reclaim();
    load.sessions = SESSIONS;
    Ok(load)
}

fn one(
    here: &mut Load,
    elsewhere: &mut Load,
    frames: &mut [Frame],
    direction: Direction,
    turns: usize,
) -> Result<Churn, Box<dyn Error>> {
    let cores = cores()?;
    let mut bench = Bench::new(&here.tables, frames);
    let mut packets = here.reading().packets(direction, &[SMALL_BYTES]);
    let (phase, is_clean) = (AtomicU8::new(Phase::Quiet as u8), AtomicBool::new(false));
    let (writer, other) = (&mut here.writer, &mut elsewhere.writer);
    let before = sched_getaffinity(Pid::from_raw(0))?;
    let measured = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let _ = pin(cores[1]);
            write(writer, other, &phase, &is_clean)
        });
        let measured = pin(cores[0])
            .and_then(|()| turns_of(&mut bench, &mut packets, turns, &phase, &is_clean));
        phase.store(Phase::End as u8, Ordering::Release);
        match writing.join() {
            Ok(true) => measured,
            _ => Err("a session was refused".into()),
        }
    });
    sched_setaffinity(Pid::from_raw(0), &before)?;
    let measured = measured?;
    let column = |phase: usize| measured.iter().map(move |turn| turn[phase]);
    let percent = |a: usize, b: usize| -> Vec<f64> {
        column(a).zip(column(b)).map(|(a, b)| (a / b - 1.0) * 100.0).collect()
    };
    let [quiet, at, here] = [0, 1, 2];
    let mut shared = percent(here, at);
    shared.sort_by(f64::total_cmp);
    let part = |part: usize| shared.get(shared.len() * part / 4).copied().unwrap_or(f64::NAN);
    Ok(Churn {
        direction,
        sessions: SESSIONS,
        added_per_second: PACE,
        turns,
        quiet_clk_per_packet: median(column(quiet).collect()),
        elsewhere_percent: median(percent(at, quiet)),
        here_percent: median(percent(here, quiet)),
        shared_percent: part(2),
        shared_quartiles_percent: [part(1), part(3)],
    })
}

/// Clk a packet in each phase, turn by turn.
fn turns_of(
    bench: &mut Bench<'_>,
    packets: &mut Packets,
    turns: usize,
    phase: &AtomicU8,
    is_clean: &AtomicBool,
) -> Result<Vec<[f64; 3]>, Box<dyn Error>> {
    let mut measured = Vec::with_capacity(turns);
    let mut bursts = Vec::with_capacity(1 << 16);
    for turn in 0..turns {
        let mut clk = [f64::NAN; 3];
        // Each order as often as the others: the first phase follows a cleaning.
        for place in 0..3 {
            let which = (turn + if turn / 3 % 2 == 0 { place } else { 2 - place }) % 3;
            phase.store(Phase::MEASURED[which] as u8, Ordering::Release);
            bursts.clear();
            bench.bursts(packets, PHASE, |clk| {
                if bursts.len() < bursts.capacity() {
                    bursts.push(clk);
                }
            })?;
            clk[which] = usual(&mut bursts);
        }
        measured.push(clk);
        is_clean.store(false, Ordering::Release);
        phase.store(Phase::CleanUp as u8, Ordering::Release);
        while !is_clean.load(Ordering::Acquire) {
            bench.bursts(packets, Duration::from_millis(1), |_| {})?;
        }
    }
    Ok(measured)
}

/// The mean of the bursts that were not interrupted, a packet.
fn usual(bursts: &mut [u64]) -> f64 {
    bursts.sort_unstable();
    let kept = bursts.len() * (100 - LEFT_OUT) / 100;
    let sum: u64 = bursts.iter().take(kept).sum();
    sum as f64 / kept as f64 / xlns_dataplane::pipeline::BATCH_MAX as f64
}

/// The writer's thread. Returns whether every session was taken.
fn write(here: &mut Writer, elsewhere: &mut Writer, phase: &AtomicU8, clean: &AtomicBool) -> bool {
    loop {
        let now = Phase::decode(phase.load(Ordering::Acquire));
        let done = match now {
            Phase::End => return true,
            Phase::Quiet => Ok(()),
            Phase::Elsewhere => add(elsewhere, now, phase),
            Phase::Here => add(here, now, phase),
            Phase::CleanUp if clean.load(Ordering::Acquire) => Ok(()),
            Phase::CleanUp => clean_up(here).and_then(|()| clean_up(elsewhere)),
        };
        if done.is_err() {
            clean.store(true, Ordering::Release);
            return false;
        }
        if now == Phase::CleanUp {
            clean.store(true, Ordering::Release);
        }
        std::hint::spin_loop();
    }
}

/// Adds sessions at the pace, for as long as the phase lasts.
fn add(
    writer: &mut Writer,
    now: Phase,
    phase: &AtomicU8,
) -> Result<(), xlns_dataplane::api::CommandError> {
    let start = clock::now();
    let mut added = 0;
    while phase.load(Ordering::Acquire) == now as u8 {
        if added == ADDED_MAX || f64::from(added) >= start.elapsed().as_secs_f64() * PACE {
            std::hint::spin_loop();
            continue;
        }
        let session = load::plain_session(SESSIONS + added);
        writer.apply(&Command::SessionSet(Box::new(session)))?;
        added += 1;
        if added.is_multiple_of(TURN_CHANGES) {
            writer.reclaim();
        }
    }
    Ok(())
}

/// Removes what was added; free once the worker has let go of it.
fn clean_up(writer: &mut Writer) -> Result<(), xlns_dataplane::api::CommandError> {
    for number in SESSIONS..SESSIONS + ADDED_MAX {
        match writer.apply(&Command::SessionRemove(load::key(number))) {
            // As many as the phase had time for.
            Ok(()) | Err(xlns_dataplane::api::CommandError::NoSuchEntry) => {}
            Err(error) => return Err(error),
        }
    }
    writer.reclaim();
    Ok(())
}

/// Two cores: the first and the last one that this process may use.
fn cores() -> Result<[usize; 2], Box<dyn Error>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    let mut allowed = (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false));
    match (allowed.next(), allowed.next_back()) {
        (Some(first), Some(last)) => Ok([first, last]),
        _ => Err("two cores are needed: one for the worker, one for the writer".into()),
    }
}

fn pin(core: usize) -> Result<(), Box<dyn Error>> {
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

pub(super) fn print(churn: &[Churn]) {
    for found in churn {
        let [low, high] = found.shared_quartiles_percent;
        println!(
            "{:<14} {:>9} {:.0} sessions a second added beside: {:+.1} % clk a packet against waiting, \
             {:+.1} % were they added to other tables; sharing {:+.2} % (quarters {:+.2} to {:+.2})",
            found.direction.name(),
            found.sessions,
            found.added_per_second,
            found.here_percent,
            found.elsewhere_percent,
            found.shared_percent,
            low,
            high,
        );
    }
}
