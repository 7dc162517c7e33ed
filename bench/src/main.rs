//! Measures xlns: see `xlns-bench --help`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xlns_bench::allocation::CountingAllocator;
use xlns_bench::record::{Output, Recorder};
use xlns_bench::{calls, compare, pipeline, report, steer, wire};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

#[derive(Debug, Parser)]
#[command(name = "xlns-bench", version, about)]
struct Command {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The data plane's batch function in memory: ns a packet on one core, memory a session.
    Pipeline(pipeline::Arguments),
    /// Complete calls in memory: how many a second, memory a session.
    Calls(calls::Arguments),
    /// Instructions and simulated cache misses a packet of the batch function (needs valgrind).
    Instructions(pipeline::instructions::Arguments),
    /// One tunnel on two workers in memory: what handing its frames over costs either of them.
    Handoff(pipeline::handoff::Arguments),
    /// Routes of subscribers and the internet: look-ups, changes beside a worker that reads.
    Tables(pipeline::tables::Arguments),
    /// The steering program over an empty one: ns a packet (root).
    Steer(steer::Arguments),
    /// Packets through an LNS, each numbered and timed: rate, loss, latency, overload (root).
    Wire(wire::Arguments),
    /// xlns and l2tpns, the same packets, one after the other: rate, no-drop rate, CPU time (root).
    Compare(compare::Arguments),
    /// Draws the records of runs as one page of HTML.
    Report(report::Arguments),
}

fn main() -> ExitCode {
    let Command { what, output } = Command::parse();
    let recorder = Recorder::begin(output);
    let result = match &what {
        What::Pipeline(arguments) => pipeline::run(arguments, &recorder),
        What::Calls(arguments) => calls::run(arguments, &recorder),
        What::Instructions(arguments) => pipeline::instructions::run(arguments, &recorder),
        What::Handoff(arguments) => pipeline::handoff::run(arguments, &recorder),
        What::Tables(arguments) => pipeline::tables::run(arguments, &recorder),
        What::Steer(arguments) => steer::run(arguments, &recorder),
        What::Wire(arguments) => wire::run(arguments, &recorder),
        What::Compare(arguments) => compare::run(arguments, &recorder),
        What::Report(arguments) => report::run(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xlns-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
