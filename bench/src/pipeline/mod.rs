//! `xlns-bench pipeline`: cost of a packet in memory.
//!
//! One core. A burst is filled from packets in random order of sessions, which is not timed; then
//! the time-stamp counter is read, the burst processed, the counter read again. The result is the
//! best of several windows: noise only ever adds. Tables are as cold as their size makes them. Rows
//! beside the main one: bursts of 256, cold headers, larger inner packets.

pub mod handoff;
pub mod instructions;
mod load;
mod measure;
pub mod tables;

use std::error::Error;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use xlns_dataplane::pipeline::BATCH_MAX;

use crate::{clock, memory};
use load::{Direction, Load};
use measure::{Cell, Headers, Plan, Shape, frames, measure};

/// Bursts of the second row.
const LARGE_BURST: usize = 256;

/// The inner packet that shows whether the payload is touched, octets.
const LARGE_INNER_BYTES: u16 = 1400;

/// What to measure.
#[derive(Debug, Args)]
pub struct Arguments {
    /// One JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// Many short windows: some seconds in all, and less disturbed by other processes.
    #[arg(long)]
    quick: bool,
    /// Session counts.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 100_000, 250_000, 1_000_000])]
    sessions: Vec<u32>,
    /// Octets of the inner IP packet.
    #[arg(long, default_value_t = 46, value_parser = clap::value_parser!(u16).range(28..=1400))]
    size: u16,
    /// The main row alone.
    #[arg(long)]
    only_main: bool,
}

/// What a number of sessions took.
#[derive(Debug, Serialize)]
struct Filling {
    sessions: u32,
    sessions_per_second: f64,
    /// Resident memory that came with a session, tables and writer together, one worker.
    bytes_per_session: f64,
    /// The part of it that counts packets.
    counter_bytes_per_session: usize,
}

#[derive(Debug, Serialize)]
struct Report {
    windows: u32,
    ticks_per_nanosecond: f64,
    /// The main row: warm headers, bursts of 64.
    cells: Vec<Cell>,
    /// The other rows.
    more: Vec<Cell>,
    filling: Vec<Filling>,
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
        windows,
        ticks_per_nanosecond: plan.ticks_per_nanosecond,
        cells: Vec::new(),
        more: Vec::new(),
        filling: Vec::new(),
    };
    let main = Shape { headers: Headers::Warm, burst: BATCH_MAX, inner_bytes: arguments.size };
    let more = [
        Shape { burst: LARGE_BURST, ..main },
        Shape { headers: Headers::Cold, ..main },
        Shape { inner_bytes: LARGE_INNER_BYTES, ..main },
    ];
    let more = if arguments.only_main { &[][..] } else { &more };
    // The other rows are compared with the main one, not with a target.
    let brief = Plan { windows: windows.div_ceil(8), ..plan };
    let mut frames = frames();
    for &sessions in &arguments.sessions {
        let (load, filling) = fill(sessions)?;
        report.filling.push(filling);
        for direction in [Direction::Decapsulation, Direction::Encapsulation] {
            report.cells.push(measure(&load.reading(), &mut frames, direction, main, &plan)?);
            for &shape in more {
                report.more.push(measure(&load.reading(), &mut frames, direction, shape, &brief)?);
            }
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
        counter_bytes_per_session: size_of::<xlns_dataplane::counters::SessionShard>(),
    };
    Ok((load, filling))
}

fn print(report: &Report) {
    println!(
        "best of {} windows, time-stamp counter {:.3} GHz",
        report.windows, report.ticks_per_nanosecond
    );
    println!(
        "{:<14} {:>9} {:>7} {:>6} {:>6} {:>8} {:>8} {:>8} {:>12}",
        "", "sessions", "headers", "burst", "inner", "ns", "clk", "median", "allocations"
    );
    for cell in report.cells.iter().chain(&report.more) {
        let name = format!("{:?}", cell.direction).to_lowercase();
        let Shape { headers, burst, inner_bytes } = cell.shape;
        let headers = format!("{headers:?}").to_lowercase();
        println!(
            "{name:<14} {:>9} {headers:>7} {burst:>6} {inner_bytes:>6} {:>8.1} {:>8.1} {:>8.1} {:>12}",
            cell.sessions,
            cell.ns_per_packet,
            cell.clk_per_packet,
            cell.median_ns_per_packet,
            cell.allocations
        );
    }
    for filling in &report.filling {
        println!(
            "{} sessions: {:.0} added a second, {:.0} octets each, {} of them counters",
            filling.sessions,
            filling.sessions_per_second,
            filling.bytes_per_session,
            filling.counter_bytes_per_session
        );
    }
}
