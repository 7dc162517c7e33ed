//! `xlns-bench instructions`: what a packet costs where no clock is needed.
//!
//! The program runs itself under valgrind's cachegrind, once with bursts filled and processed and
//! once with the same bursts only filled; the difference, divided by the packets, is the batch
//! function's. The counts repeat on a busy machine, where times do not; the misses are those of a
//! simulated cache of fixed size, without prefetch, and compare one version with the next.
//!
//! With `--guard` the counts are compared with those of a file, which says why they are what they are.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use serde::{Deserialize, Serialize};
use xlns_dataplane::pipeline::{BATCH_MAX, Pipeline};
use xlns_dataplane::port::PortId;
use xlns_dataplane::port::memory::MemoryPool;

use super::kind::Kind;
use super::load::{Direction, Load};
use crate::record::Recorder;

/// Bursts of one run: every session has some packets.
const BURSTS: u32 = 300;

/// 32 KiB of instructions and of data, and 32 MiB for all.
const SIMULATED_CACHE: [&str; 4] =
    ["--cache-sim=yes", "--I1=32768,8,64", "--D1=32768,8,64", "--LL=33554432,16,64"];

/// How much more than the baseline a row may have, in a hundred.
const GUARD_PERCENT: f64 = 3.0;

/// What to count.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Number of sessions of each kind.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(16..=100_000))]
    sessions: u32,
    /// Octets of the inner IP packet.
    #[arg(long, default_value_t = 46, value_parser = clap::value_parser!(u16).range(28..=1400))]
    size: u16,
    /// Kinds of packets.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "plain")]
    kinds: Vec<Kind>,
    /// All kinds of packets.
    #[arg(long)]
    all: bool,
    /// Fails where a row of this file has become more than 3 % dearer; counts all kinds.
    #[arg(long, value_name = "FILE")]
    guard: Option<PathBuf>,
    /// Makes the counts of all kinds the ones that `--guard` compares with.
    #[arg(long, value_name = "FILE", requires = "reason", conflicts_with = "guard")]
    write: Option<PathBuf>,
    /// Why they have changed.
    #[arg(long, requires = "write")]
    reason: Option<String>,
    /// Inside of valgrind: the direction to run.
    #[arg(long, hide = true, value_enum)]
    run: Option<Direction>,
    /// Inside of valgrind: fill the bursts and do not process them.
    #[arg(long, hide = true)]
    fill_only: bool,
}

/// Counts of one run, or of one packet.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) instructions: f64,
    /// Data reads and writes that missed the first-level cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_level_misses: Option<f64>,
    /// Data reads and writes that missed the last-level cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_level_misses: Option<f64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Row {
    kind: Kind,
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

/// What `--guard` compares with.
#[derive(Debug, Serialize, Deserialize)]
struct Baseline {
    /// Why the counts are what they are.
    reason: String,
    /// Another compiler gives other counts.
    compiler: String,
    rows: Vec<Row>,
}

/// The compiler that this program was built with.
const COMPILER: &str = env!("XLNS_BENCH_COMPILER");

/// Counts both directions and prints them.
///
/// # Errors
/// Where valgrind is missing or says something unexpected, and where a row has become dearer than its
/// baseline allows.
pub fn run(arguments: &Arguments, recorder: &Recorder) -> Result<(), Box<dyn Error>> {
    if let (Some(direction), [kind, ..]) = (arguments.run, arguments.kinds.as_slice()) {
        return process(arguments, *kind, direction);
    }
    let all = arguments.all || arguments.guard.is_some() || arguments.write.is_some();
    let kinds = if all { &Kind::ALL[..] } else { &arguments.kinds };
    // What is compared is instructions alone, which is quicker to count.
    let misses = arguments.guard.is_none() && arguments.write.is_none();
    let mut rows = Vec::new();
    for &kind in kinds {
        for direction in Direction::ALL {
            let per_packet = a_packet(arguments, kind, direction, misses)?;
            rows.push(Row { kind, direction, per_packet });
        }
    }
    if let Some(path) = &arguments.guard {
        return guard(path, &rows);
    }
    if let (Some(path), Some(reason)) = (&arguments.write, &arguments.reason) {
        let baseline = Baseline { reason: reason.clone(), compiler: COMPILER.into(), rows };
        std::fs::write(path, serde_json::to_string_pretty(&baseline)? + "\n")
            .map_err(|error| format!("{}: {error}", path.display()))?;
        return Ok(());
    }
    let Arguments { sessions, size, .. } = *arguments;
    let report = Report { sessions, inner_bytes: size, burst: BATCH_MAX, rows };
    recorder.finish("instructions", &report, || print(&report))
}

fn print(report: &Report) {
    let Report { sessions, inner_bytes, .. } = report;
    println!("a packet: inner {inner_bytes} octets, {sessions} sessions, bursts of {BATCH_MAX}");
    println!("{:<29} {:>12} {:>14} {:>14}", "", "instructions", "L1 data misses", "LL data misses");
    for Row { kind, direction, per_packet } in &report.rows {
        println!(
            "{:<14} {:<14} {:>12.1} {:>14.2} {:>14.2}",
            direction.name(),
            kind.name(),
            per_packet.instructions,
            per_packet.first_level_misses.unwrap_or(f64::NAN),
            per_packet.last_level_misses.unwrap_or(f64::NAN),
        );
    }
}

/// Compares with the baseline and says of every row what it found.
fn guard(path: &Path, rows: &[Row]) -> Result<(), Box<dyn Error>> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let baseline: Baseline =
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    if baseline.compiler != COMPILER {
        println!("the baseline is of {}, this is {COMPILER}", baseline.compiler);
    }
    let mut dearer = 0;
    for Row { kind, direction, per_packet } in rows {
        let same = |row: &&Row| row.kind == *kind && row.direction == *direction;
        let name = format!("{:<14} {:<14}", direction.name(), kind.name());
        let now = per_packet.instructions;
        let Some(before) = baseline.rows.iter().find(same) else {
            println!("{name} {now:>8.1}  not in the baseline");
            dearer += 1;
            continue;
        };
        let before = before.per_packet.instructions;
        let percent = (now / before - 1.0) * 100.0;
        let verdict = if percent > GUARD_PERCENT { "  dearer than allowed" } else { "" };
        println!("{name} {now:>8.1}  was {before:>8.1}  {percent:>+5.1} %{verdict}");
        dearer += i32::from(percent > GUARD_PERCENT);
    }
    if dearer == 0 {
        return Ok(());
    }
    let path = path.display();
    Err(format!(
        "{dearer} rows cost more than {GUARD_PERCENT} % above the baseline. Make them cheaper, or, if it is \
         worth that, `xlns-bench instructions --write {path} --reason \"...\"`"
    )
    .into())
}

/// The run inside of valgrind.
fn process(arguments: &Arguments, kind: Kind, direction: Direction) -> Result<(), Box<dyn Error>> {
    let load = Load::of_all_kinds(arguments.sessions)?;
    let mut reader = load.tables.register(0);
    let mut pipeline = Pipeline::new(load.tables.clone(), 0);
    let mut pool = MemoryPool::new(BATCH_MAX);
    let mut frames = Vec::with_capacity(BATCH_MAX);
    let mut verdicts = Vec::with_capacity(BATCH_MAX);
    let mut packets = load.packets(kind, direction, arguments.size);
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

/// What the batch function takes for a packet.
fn a_packet(
    arguments: &Arguments,
    kind: Kind,
    direction: Direction,
    misses: bool,
) -> Result<Counts, Box<dyn Error>> {
    let whole = count(arguments, kind, direction, misses, false)?;
    let filling = count(arguments, kind, direction, misses, true)?;
    let packets = f64::from(BURSTS) * BATCH_MAX as f64;
    let a_packet = |whole: f64, filling: f64| (whole - filling) / packets;
    let of = |figure: fn(Counts) -> Option<f64>| {
        figure(whole).zip(figure(filling)).map(|(whole, filling)| a_packet(whole, filling))
    };
    Ok(Counts {
        instructions: a_packet(whole.instructions, filling.instructions),
        first_level_misses: of(|counts| counts.first_level_misses),
        last_level_misses: of(|counts| counts.last_level_misses),
    })
}

/// Counts a run of one kind of packets in one direction.
fn count(
    arguments: &Arguments,
    kind: Kind,
    direction: Direction,
    misses: bool,
    fill_only: bool,
) -> Result<Counts, Box<dyn Error>> {
    let (sessions, size) = (arguments.sessions.to_string(), arguments.size.to_string());
    let (direction, kind) = (direction.name(), kind.name());
    let run = ["instructions", "--run", &direction, "--kinds", &kind];
    let shape = ["--sessions", &*sessions, "--size", &*size];
    let fill_only = if fill_only { &["--fill-only"][..] } else { &[] };
    counted(&[&run[..], &shape, fill_only].concat(), misses)
}

/// Runs this program with these arguments under cachegrind and reads its summary.
pub(super) fn counted(arguments: &[&str], misses: bool) -> Result<Counts, Box<dyn Error>> {
    let simulation = if misses { &SIMULATED_CACHE[..] } else { &["--cache-sim=no"] };
    let output = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cachegrind-out-file=/dev/null"])
        .args(simulation)
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
        instructions: figure("I   refs:").or_else(|_| figure("I refs:"))?,
        first_level_misses: misses.then(|| figure("D1  misses:")).transpose()?,
        last_level_misses: misses.then(|| figure("LLd misses:")).transpose()?,
    })
}
