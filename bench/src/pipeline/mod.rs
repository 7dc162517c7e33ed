//! `xlns-bench pipeline`: cost of a packet in memory.
//!
//! One core. A burst is filled from packets in random order of sessions, which is not timed; then
//! the time-stamp counter is read, the burst processed, the counter read again. The result is the
//! best of several windows: noise only ever adds. Frames are reused, so that their lines are warm,
//! as they are behind a NIC that writes into the cache; tables are as cold as their size makes them.

pub mod instructions;
mod load;

use std::error::Error;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use xlns_dataplane::pipeline::{BATCH_MAX, Pipeline};
use xlns_dataplane::port::PortId;
use xlns_dataplane::port::memory::MemoryPool;
use xlns_dataplane::verdict::Verdict;

use crate::allocation::allocations;
use crate::{clock, memory};
use load::{Direction, Load};

/// What to measure.
#[derive(Debug, Args)]
pub struct Arguments {
    /// One JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// Many short windows: a second or two in all, and less disturbed by other processes.
    #[arg(long)]
    quick: bool,
    /// Session counts.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 100_000, 250_000, 1_000_000])]
    sessions: Vec<u32>,
    /// Octets of the inner IP packet.
    #[arg(long, default_value_t = 46, value_parser = clap::value_parser!(u16).range(28..=1400))]
    size: u16,
}

/// One direction at one number of sessions.
#[derive(Debug, Serialize)]
struct Row {
    direction: Direction,
    sessions: u32,
    nanoseconds: f64,
    ticks: f64,
    /// Allocations while bursts were processed.
    allocations: u64,
}

/// What a number of sessions took.
#[derive(Debug, Serialize)]
struct Filling {
    sessions: u32,
    sessions_per_second: f64,
    /// Resident memory that came with a session, tables and writer together, one worker.
    bytes_per_session: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    inner_bytes: u16,
    burst: usize,
    windows: u32,
    ticks_per_nanosecond: f64,
    rows: Vec<Row>,
    filling: Vec<Filling>,
}

/// How long to measure.
struct Plan {
    windows: u32,
    window: Duration,
    ticks_per_nanosecond: f64,
}

/// Runs the measurement and prints it.
///
/// # Errors
/// Where tables cannot be made or filled, or a packet is not sent as it should.
pub fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let (windows, window) = if arguments.quick { (200, 2) } else { (20, 500) };
    let plan = Plan {
        windows,
        window: Duration::from_millis(window),
        ticks_per_nanosecond: clock::ticks_per_nanosecond(Duration::from_millis(100)),
    };
    let mut report = Report {
        inner_bytes: arguments.size,
        burst: BATCH_MAX,
        windows,
        ticks_per_nanosecond: plan.ticks_per_nanosecond,
        rows: Vec::new(),
        filling: Vec::new(),
    };
    for &sessions in &arguments.sessions {
        let (mut load, filling) = fill(sessions)?;
        report.filling.push(filling);
        for direction in [Direction::Decapsulation, Direction::Encapsulation] {
            report.rows.push(measure(&mut load, direction, arguments.size, &plan)?);
        }
    }
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print(&report);
    }
    Ok(())
}

fn fill(sessions: u32) -> Result<(Load, Filling), Box<dyn Error>> {
    let before = memory::resident_bytes()?;
    let start = clock::now();
    let load = Load::new(sessions)?;
    let elapsed = start.elapsed();
    let bytes = memory::resident_bytes()?.saturating_sub(before);
    let filling = Filling {
        sessions,
        sessions_per_second: f64::from(sessions) / elapsed.as_secs_f64(),
        bytes_per_session: bytes as f64 / f64::from(sessions),
    };
    Ok((load, filling))
}

fn measure(
    load: &mut Load,
    direction: Direction,
    size: u16,
    plan: &Plan,
) -> Result<Row, Box<dyn Error>> {
    let mut reader = load.tables.register(0);
    let mut pipeline = Pipeline::new(load.tables.clone(), 0);
    let mut pool = MemoryPool::new(BATCH_MAX);
    let mut frames = Vec::with_capacity(BATCH_MAX);
    let mut verdicts = Vec::with_capacity(BATCH_MAX);
    let mut packets = load.packets(direction, size);
    let mut best = f64::INFINITY;
    let mut allocated = 0;
    for _ in 0..plan.windows {
        let (mut ticks, mut count) = (0, 0);
        let start = clock::now();
        while start.elapsed() < plan.window {
            for _ in 0..BATCH_MAX {
                let frame = pool.receive(PortId(packets.port()), packets.next_packet());
                frames.push(frame.ok_or("no free frame")?);
            }
            let allocations_before = allocations();
            let first = clock::ticks();
            pipeline.process(&reader.guard(), &mut frames, &mut verdicts);
            ticks += clock::ticks() - first;
            allocated += allocations() - allocations_before;
            count += BATCH_MAX as u64;
            let sent = Verdict::Transmit(PortId(direction.leaves_by()));
            if let Some(wrong) = verdicts.iter().find(|verdict| **verdict != sent) {
                return Err(format!("{direction:?}: {wrong:?}").into());
            }
            frames.drain(..).for_each(|frame| pool.recycle(frame));
        }
        best = best.min(ticks as f64 / count as f64);
    }
    Ok(Row {
        direction,
        sessions: load.sessions,
        nanoseconds: best / plan.ticks_per_nanosecond,
        ticks: best,
        allocations: allocated,
    })
}

fn print(report: &Report) {
    println!(
        "inner packet {} octets, bursts of {}, best of {} windows, time-stamp counter {:.3} GHz",
        report.inner_bytes, report.burst, report.windows, report.ticks_per_nanosecond
    );
    println!("{:<14} {:>9} {:>8} {:>8} {:>12}", "", "sessions", "ns", "clk", "allocations");
    for row in &report.rows {
        let name = format!("{:?}", row.direction).to_lowercase();
        println!(
            "{name:<14} {:>9} {:>8.1} {:>8.1} {:>12}",
            row.sessions, row.nanoseconds, row.ticks, row.allocations
        );
    }
    for filling in &report.filling {
        println!(
            "{} sessions: {:.0} added a second, {:.0} octets each",
            filling.sessions, filling.sessions_per_second, filling.bytes_per_session
        );
    }
}
