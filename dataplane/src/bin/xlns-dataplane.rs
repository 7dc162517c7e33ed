//! The forwarding process: owns ports, frames and tables, and does what the control process says.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;
use xlns_dataplane::server;

/// The forwarding process of xlns; xlnsd connects to it and configures it.
#[derive(Debug, Parser)]
#[command(name = "xlns-dataplane", version)]
struct Arguments {
    /// Where to listen for the control process.
    #[arg(long, value_name = "PATH", default_value = "/run/xlns/dataplane.sock")]
    socket: PathBuf,

    /// What to log: error, warn, info, debug, trace, or a filter such as
    /// xlns_dataplane::server=debug. Without it the environment variable RUST_LOG decides.
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,

    /// Ends when standard input does: for a parent that wants no orphan.
    #[arg(long)]
    exit_with_stdin: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(error) = start_log(arguments.log.as_deref()) {
        eprintln!("xlns-dataplane: --log: {error}");
        return ExitCode::from(2);
    }
    match server::run(&arguments.socket, arguments.exit_with_stdin, notify_ready) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, socket = %arguments.socket.display(), "cannot serve");
            ExitCode::FAILURE
        }
    }
}

fn start_log(filter: Option<&str>) -> Result<(), tracing_subscriber::filter::ParseError> {
    let from_environment = std::env::var("RUST_LOG").ok();
    let filter = EnvFilter::try_new(filter.or(from_environment.as_deref()).unwrap_or("info"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    Ok(())
}

fn notify_ready() {
    // Without systemd there is nobody to tell.
    if let Err(error) = sd_notify::notify(false, &[sd_notify::NotifyState::Ready]) {
        tracing::debug!(%error, "cannot notify the service manager");
    }
}
