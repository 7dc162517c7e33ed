//! `xlnsd`: the control process of xlns.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use tracing_subscriber::EnvFilter;
use xlns_control::config::{Config, PATH_DEFAULT};
use xlns_control::event_loop::EventLoop;

/// The control process of xlns: L2TP, PPP, users, addresses and routes.
///
/// Packets are forwarded by xlns-dataplane, which runs beside it; `xlns run` starts both.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file; `xlns check` explains what is wrong with it.
    #[arg(long, value_name = "FILE", default_value = PATH_DEFAULT)]
    config: PathBuf,
    /// What is logged: error, warn, info, debug, trace, or a filter such as
    /// `info,xlns_control::l2tp=debug`. Without it the environment variable RUST_LOG decides.
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// Ends when standard input does: for a parent that wants no orphan.
    #[arg(long)]
    exit_with_stdin: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = match &arguments.log {
        Some(filter) => EnvFilter::try_new(filter),
        None => EnvFilter::try_from_default_env().or_else(|_| EnvFilter::try_new("info")),
    };
    match filter {
        Ok(filter) => tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal())
            .init(),
        Err(error) => {
            eprintln!("xlnsd: --log: {error}");
            return ExitCode::from(2);
        }
    }
    let config = match Config::load(&arguments.config) {
        Ok(config) => Arc::new(config),
        Err(error) => {
            eprintln!("{}", error.report());
            return ExitCode::from(2);
        }
    };
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    match run(config, arguments.exit_with_stdin) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: Arc<Config>, exit_with_stdin: bool) -> io::Result<()> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    EventLoop::new(config, seed, exit_with_stdin)?.run()
}
