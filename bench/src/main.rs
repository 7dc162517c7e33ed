//! Measures xlns: see `xlns-bench --help`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xlns_bench::wire;

#[derive(Debug, Parser)]
#[command(name = "xlns-bench", version, about)]
struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Small packets across the data plane on veth: rate, loss, CPU time (root).
    Wire(wire::Arguments),
}

fn main() -> ExitCode {
    let Command { what } = Command::parse();
    let result = match &what {
        What::Wire(arguments) => wire::run(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xlns-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
