//! `xlns-bench pipeline`: cost of a packet in memory.
//!
//! One core. A burst is filled from packets in random order of sessions, which is not timed; then
//! the time-stamp counter is read, the burst processed, the counter read again. The result is the
//! best of several windows: noise only ever adds. Tables are as cold as their size makes them. An
//! allocation while a burst is processed is an error, in every row. Beside the main cells: other
//! sizes, the stages, kinds of packets against the plain one, sessions added meanwhile.

mod candidates;
mod churn;
pub mod handoff;
pub mod instructions;
mod kind;
mod load;
mod measure;
mod packets;
mod rows;
pub mod tables;

use std::error::Error;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use xlns_dataplane::frame::Frame;
use xlns_dataplane::pipeline::Stage;

use crate::record::Recorder;
use crate::{clock, memory};
use churn::Churn;
use kind::Kind;
use load::{Direction, Load, Reading};
use measure::{Bench, Plan, Shape, Windows, frames};
use rows::Row;

/// Octets of the inner IP packet in a frame of the least size.
const SMALL_BYTES: u16 = 46;

/// What to measure.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Many short windows: half a minute in all, and less disturbed by other processes.
    #[arg(long)]
    quick: bool,
    /// Session counts, at most 4,000,000.
    #[arg(
        long, value_delimiter = ',', default_values_t = [1_000, 100_000, 250_000, 1_000_000],
        value_parser = clap::value_parser!(u32).range(16..=4_000_000),
    )]
    sessions: Vec<u32>,
    /// Sizes beside the main one, octets of the inner IP packet (28 to 1400), or `imix`.
    #[arg(long, value_delimiter = ',', num_args = 0..,
        default_missing_value = "64,128,512,imix,1400")]
    sizes: Vec<Size>,
    /// What each stage takes.
    #[arg(long)]
    stages: bool,
    /// What 100,000 sessions a second added beside take of the speed.
    #[arg(long)]
    churn: bool,
    /// The session counts of the rows of kinds of packets.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000],
        value_parser = clap::value_parser!(u32).range(16..=400_000))]
    rows: Vec<u32>,
    /// Only the main cells.
    #[arg(long)]
    only_main: bool,
    /// Only the memory of sessions of this kind; `inner-ipv6`: with an address and an IPv6 prefix.
    #[arg(long, value_enum, value_name = "KIND")]
    memory: Option<Kind>,
}

/// Sizes of inner packets.
#[derive(Debug, Clone)]
struct Size(String, Vec<u16>);

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "imix" {
            return Ok(Self(text.into(), packets::MIX.to_vec()));
        }
        match text.parse() {
            Ok(size) if (28..=1400).contains(&size) => Ok(Self(text.into(), vec![size])),
            _ => Err("neither `imix` nor a number of octets from 28 to 1400".into()),
        }
    }
}

/// What one direction costs at one number of sessions.
#[derive(Debug, Serialize)]
struct Cell {
    direction: Direction,
    sessions: u32,
    /// Time-stamp counter.
    clk_per_packet: f64,
    ns_per_packet: f64,
    packets_per_second: f64,
    /// The middle of all windows: how busy the machine was beside the best one.
    median_ns_per_packet: f64,
    /// Octets of the inner IP packet, in the middle.
    inner_bytes: f64,
    size: String,
}

/// What the stages of a batch take, clk a packet.
#[derive(Debug, Serialize)]
struct Stages {
    direction: Direction,
    sessions: u32,
    clk_per_packet: Vec<(Stage, f64)>,
}

/// What a number of sessions took.
#[derive(Debug, Serialize)]
struct Filling {
    sessions: u32,
    kind: Kind,
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
    /// Warm headers, bursts of 64, small packets.
    cells: Vec<Cell>,
    /// Other sizes.
    sizes: Vec<Cell>,
    stages: Vec<Stages>,
    rows: Vec<Row>,
    churn: Vec<Churn>,
    filling: Vec<Filling>,
}

/// Runs the measurement and prints it.
///
/// # Errors
/// Where tables cannot be made or filled, a packet is not sent as it should, or memory is allocated
/// for one.
pub fn run(arguments: &Arguments, recorder: &Recorder) -> Result<(), Box<dyn Error>> {
    let plan =
        |windows, milliseconds| Plan { windows, window: Duration::from_millis(milliseconds) };
    let (main, brief) = match arguments.quick {
        true => (plan(200, 2), plan(60, 2)),
        false => (plan(20, 500), plan(200, 10)),
    };
    let ticks_per_nanosecond = clock::ticks_per_nanosecond(Duration::from_millis(100));
    let mut report = Report {
        windows: main.windows,
        ticks_per_nanosecond,
        cells: Vec::new(),
        sizes: Vec::new(),
        stages: Vec::new(),
        rows: Vec::new(),
        churn: Vec::new(),
        filling: Vec::new(),
    };
    if let Some(kind) = arguments.memory {
        for &sessions in &arguments.sessions {
            report.filling.push(fill(sessions, kind)?.1);
        }
        return recorder.finish("pipeline", &report, || print(&report));
    }
    let small = Size(SMALL_BYTES.to_string(), vec![SMALL_BYTES]);
    let mut frames = frames();
    for &sessions in &arguments.sessions {
        let (load, filling) = fill(sessions, Kind::Plain)?;
        report.filling.push(filling);
        let reading = load.reading();
        for direction in Direction::ALL {
            let mut one = |size: &Size, plan: &Plan| {
                cell(&reading, direction, size, ticks_per_nanosecond, &mut frames, plan)
            };
            report.cells.push(one(&small, &main)?);
            for size in &arguments.sizes {
                report.sizes.push(one(size, &brief)?);
            }
            if arguments.stages {
                report.stages.push(stages(&reading, direction, &mut frames, &brief)?);
            }
        }
    }
    if !arguments.only_main {
        for &sessions in &arguments.rows {
            report.rows.extend(rows::measure(sessions, SMALL_BYTES, &mut frames, &brief)?);
        }
    }
    if arguments.churn {
        report.churn = churn::measure(&mut frames, arguments.quick)?;
    }
    recorder.finish("pipeline", &report, || print(&report))
}

fn cell(
    load: &Reading,
    direction: Direction,
    Size(size, octets): &Size,
    ticks_per_nanosecond: f64,
    frames: &mut [Frame],
    plan: &Plan,
) -> Result<Cell, Box<dyn Error>> {
    let mut bench = Bench::new(&load.tables, frames);
    let mut packets = load.packets(direction, octets);
    let mut windows = Windows::default();
    for _ in 0..plan.windows {
        windows.0.push(bench.window(&mut packets, Shape::MAIN, plan.window)?);
    }
    let ns_per_packet = windows.best() / ticks_per_nanosecond;
    Ok(Cell {
        direction,
        sessions: load.sessions.len() as u32,
        clk_per_packet: windows.best(),
        ns_per_packet,
        packets_per_second: 1e9 / ns_per_packet,
        median_ns_per_packet: windows.median() / ticks_per_nanosecond,
        inner_bytes: packets.inner_bytes(),
        size: size.clone(),
    })
}

fn stages(
    load: &Reading,
    direction: Direction,
    frames: &mut [Frame],
    plan: &Plan,
) -> Result<Stages, Box<dyn Error>> {
    let mut bench = Bench::new(&load.tables, frames);
    let mut packets = load.packets(direction, &[SMALL_BYTES]);
    let mut best = [f64::INFINITY; Stage::COUNT];
    for _ in 0..plan.windows {
        let window = bench.stages(&mut packets, plan.window)?;
        best.iter_mut().zip(window).for_each(|(best, clk)| *best = best.min(clk));
    }
    let clk_per_packet = Stage::ALL.into_iter().zip(best).collect();
    Ok(Stages { direction, sessions: load.sessions.len() as u32, clk_per_packet })
}

fn fill(sessions: u32, kind: Kind) -> Result<(Load, Filling), Box<dyn Error>> {
    let start = clock::now();
    let load = Load::of_kind(sessions, kind)?;
    let elapsed = start.elapsed();
    let bytes = memory::resident_bytes()?.saturating_sub(load.resident_before);
    let filling = Filling {
        sessions,
        kind,
        sessions_per_second: f64::from(sessions) / elapsed.as_secs_f64(),
        bytes_per_session: bytes as f64 / f64::from(sessions),
        counter_bytes_per_session: size_of::<xlns_dataplane::counters::SessionShard>(),
    };
    Ok((load, filling))
}

fn print(report: &Report) {
    println!(
        "best of {} windows, time-stamp counter {:.3} GHz, no allocation in any row",
        report.windows, report.ticks_per_nanosecond
    );
    if !report.cells.is_empty() {
        println!(
            "{:<14} {:>9} {:>6} {:>8} {:>8} {:>8} {:>10}",
            "", "sessions", "inner", "ns", "clk", "median", "Mpps"
        );
    }
    for cell in report.cells.iter().chain(&report.sizes) {
        println!(
            "{:<14} {:>9} {:>6} {:>8.1} {:>8.1} {:>8.1} {:>10.1}",
            cell.direction.name(),
            cell.sessions,
            cell.size,
            cell.ns_per_packet,
            cell.clk_per_packet,
            cell.median_ns_per_packet,
            cell.packets_per_second / 1e6,
        );
    }
    for Stages { direction, sessions, clk_per_packet } in &report.stages {
        let stage = |(stage, clk): &(Stage, f64)| format!("{} {clk:.1}", stage.name());
        let stages: Vec<_> = clk_per_packet.iter().map(stage).collect();
        println!("{:<14} {sessions:>9} clk by stage: {}", direction.name(), stages.join(", "));
    }
    if !report.rows.is_empty() {
        rows::print(&report.rows, report.ticks_per_nanosecond);
    }
    churn::print(&report.churn);
    for filling in &report.filling {
        println!(
            "{} sessions ({}): {:.0} added a second, {:.0} octets each, {} of them counters",
            filling.sessions,
            filling.kind.name(),
            filling.sessions_per_second,
            filling.bytes_per_session,
            filling.counter_bytes_per_session
        );
    }
}
