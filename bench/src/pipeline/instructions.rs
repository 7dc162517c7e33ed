//! `xlns-bench instructions`: what a packet costs where no clock is needed.
//!
//! The program runs itself under valgrind's cachegrind, once with bursts filled and processed and
//! once with the same bursts only filled; the difference, divided by the packets, is the batch
//! function's. The counts repeat on a busy machine, where times do not; the misses are those of a
//! simulated cache of fixed size, without prefetch, and compare one version with the next.

use std::error::Error;
use std::process::Command;

use clap::Args;
use serde::Serialize;
use xlns_dataplane::pipeline::{BATCH_MAX, Pipeline};
use xlns_dataplane::port::PortId;
use xlns_dataplane::port::memory::MemoryPool;

use super::load::{Direction, Load};

/// Bursts of one run: enough that the set-up, that both runs share, loses itself in the division.
const BURSTS: u32 = 2_000;

/// 32 KiB of instructions and of data, and 32 MiB for all.
const SIMULATED_CACHE: [&str; 3] = ["--I1=32768,8,64", "--D1=32768,8,64", "--LL=33554432,16,64"];

/// What to count.
#[derive(Debug, Args)]
pub struct Arguments {
    /// One JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// Number of sessions.
    #[arg(long, default_value_t = 1_000)]
    sessions: u32,
    /// Octets of the inner IP packet.
    #[arg(long, default_value_t = 46, value_parser = clap::value_parser!(u16).range(28..=1400))]
    size: u16,
    /// Inside of valgrind: the direction to run.
    #[arg(long, hide = true, value_enum)]
    run: Option<Direction>,
    /// Inside of valgrind: fill the bursts and do not process them.
    #[arg(long, hide = true)]
    fill_only: bool,
}

/// Counts of one run, or of one packet.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Counts {
    pub(super) instructions: f64,
    /// Data reads and writes that missed the first-level cache.
    first_level_misses: f64,
    /// Data reads and writes that missed the last-level cache.
    last_level_misses: f64,
}

#[derive(Debug, Serialize)]
struct Row {
    direction: Direction,
    #[serde(flatten)]
    per_packet: Counts,
}

#[derive(Debug, Serialize)]
struct Report {
    sessions: u32,
    inner_bytes: u16,
    burst: usize,
    rows: Vec<Row>,
}

/// Counts both directions and prints them.
///
/// # Errors
/// Where valgrind is missing or says something unexpected.
pub fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    if let Some(direction) = arguments.run {
        return process(arguments, direction);
    }
    let mut rows = Vec::new();
    for direction in [Direction::Decapsulation, Direction::Encapsulation] {
        let whole = count(arguments, direction, false)?;
        let filling = count(arguments, direction, true)?;
        let packets = f64::from(BURSTS) * BATCH_MAX as f64;
        let a_packet = |whole: f64, filling: f64| (whole - filling) / packets;
        rows.push(Row {
            direction,
            per_packet: Counts {
                instructions: a_packet(whole.instructions, filling.instructions),
                first_level_misses: a_packet(whole.first_level_misses, filling.first_level_misses),
                last_level_misses: a_packet(whole.last_level_misses, filling.last_level_misses),
            },
        });
    }
    let Arguments { sessions, size, .. } = *arguments;
    let report = Report { sessions, inner_bytes: size, burst: BATCH_MAX, rows };
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
        return Ok(());
    }
    println!("a packet: inner {size} octets, {sessions} sessions, bursts of {BATCH_MAX}");
    println!("{:<14} {:>12} {:>14} {:>14}", "", "instructions", "L1 data misses", "LL data misses");
    for Row { direction, per_packet } in &report.rows {
        let name = format!("{direction:?}").to_lowercase();
        println!(
            "{name:<14} {:>12.1} {:>14.2} {:>14.2}",
            per_packet.instructions, per_packet.first_level_misses, per_packet.last_level_misses
        );
    }
    Ok(())
}

/// The run inside of valgrind.
fn process(arguments: &Arguments, direction: Direction) -> Result<(), Box<dyn Error>> {
    let load = Load::new(arguments.sessions)?;
    let mut reader = load.tables.register(0);
    let mut pipeline = Pipeline::new(load.tables.clone(), 0);
    let mut pool = MemoryPool::new(BATCH_MAX);
    let mut frames = Vec::with_capacity(BATCH_MAX);
    let mut verdicts = Vec::with_capacity(BATCH_MAX);
    let mut packets = load.reading().packets(direction, arguments.size);
    for _ in 0..BURSTS {
        for _ in 0..BATCH_MAX {
            let frame = pool.receive(PortId(packets.port()), packets.next_packet());
            frames.push(frame.ok_or("no free frame")?);
        }
        if !arguments.fill_only {
            pipeline.process(&reader.guard(), &mut frames, &mut verdicts);
        }
        frames.drain(..).for_each(|frame| pool.recycle(frame));
    }
    Ok(())
}

/// Counts a run in one direction.
fn count(
    arguments: &Arguments,
    direction: Direction,
    fill_only: bool,
) -> Result<Counts, Box<dyn Error>> {
    let name = match direction {
        Direction::Decapsulation => "decapsulation",
        Direction::Encapsulation => "encapsulation",
    };
    let (sessions, size) = (arguments.sessions.to_string(), arguments.size.to_string());
    let run = ["instructions", "--run", name, "--sessions", &sessions, "--size", &size];
    let fill_only = if fill_only { &["--fill-only"][..] } else { &[] };
    counted(&[&run, fill_only].concat())
}

/// Runs this program with these arguments under cachegrind and reads its summary.
pub(super) fn counted(arguments: &[&str]) -> Result<Counts, Box<dyn Error>> {
    let output = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=yes", "--cachegrind-out-file=/dev/null"])
        .args(SIMULATED_CACHE)
        .arg(std::env::current_exe()?)
        .args(arguments)
        .output()
        .map_err(|error| format!("valgrind: {error}; `apt-get install valgrind` brings it"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("valgrind: {}\n{said}", output.status).into());
    }
    let figure = |name: &str| -> Result<f64, Box<dyn Error>> {
        let line = said.lines().find(|line| line.contains(name));
        let figure = line
            .and_then(|line| line.split(name).nth(1))
            .ok_or_else(|| format!("valgrind did not say {name:?}:\n{said}"))?;
        let digits = figure.split_whitespace().next().unwrap_or_default().replace(',', "");
        Ok(digits.parse()?)
    };
    Ok(Counts {
        instructions: figure("I   refs:")?,
        first_level_misses: figure("D1  misses:")?,
        last_level_misses: figure("LLd misses:")?,
    })
}
