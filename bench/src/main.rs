//! xlns-bench: measures what xlns does, and says how.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xlns_bench::allocation::CountingAllocator;
use xlns_bench::pipeline;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Measures xlns.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The data plane's batch function in memory, one core, no kernel.
    Pipeline(pipeline::Options),
}

fn main() -> ExitCode {
    let Arguments { command: Command::Pipeline(options) } = Arguments::parse();
    match pipeline::run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xlns-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
