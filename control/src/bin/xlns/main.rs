//! `xlns`: the operator's command line.

mod call;
mod check;
mod clear;
mod doctor;
mod output;
mod quality;
mod run;
mod show;
mod table;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xlns_control::admin::{ClientError, PlaceCall, QualityFilter, SOCKET_DEFAULT, WORST_MAX};
use xlns_control::config::{Config, PATH_DEFAULT};

use crate::output::Failure;

/// Starts, checks, shows and clears: the operator's side of the xlns L2TP network server.
#[derive(Debug, Parser)]
#[command(name = "xlns", version, arg_required_else_help = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
    /// Prints JSON: an array of objects, or an object, with exact numbers.
    #[arg(long, global = true)]
    json: bool,
    /// The configuration file; `show` and `clear` take the socket from it, if given.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Socket of the running xlnsd, for `show` and `clear` [default: /run/xlns/admin.sock].
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts the data plane and the control process in the foreground, for a try-out.
    ///
    /// Both end with this command, at Ctrl-C, and when one of them cannot go on. For service, use
    /// the systemd units instead.
    Run {
        /// What both log, instead of the variable RUST_LOG: `info`, `debug`, or a filter such as
        /// `xlns_control::l2tp=trace`.
        #[arg(long, value_name = "FILTER")]
        log: Option<String>,
    },
    /// Checks a configuration and prints all of it that is in force, secrets hidden.
    Check,
    /// Checks this machine: kernel, driver, queues, cores, offloads, sizes; says what to change.
    ///
    /// Each check ends with ok, note, warn or fail; the command fails where one does. Nothing is
    /// changed. As root it sees most, and most while xlns runs.
    Doctor {
        /// Only this interface, without a configuration unless --config names one; may be repeated.
        #[arg(long, value_name = "NAME")]
        interface: Vec<String>,
    },
    /// Shows what is up and what it does.
    #[command(subcommand)]
    Show(Show),
    /// Has a LAC call somebody, and waits until the call is up or has failed.
    #[command(group(clap::ArgGroup::new("by").required(true)))]
    Call {
        /// By this tunnel; the first column of `xlns show tunnels`.
        #[arg(long, value_name = "ID", group = "by")]
        tunnel: Option<u16>,
        /// By a tunnel to this LAC, the one with the fewest sessions.
        #[arg(long, value_name = "IP", group = "by")]
        peer: Option<IpAddr>,
        /// Whom to call, as the LAC's network wants it.
        #[arg(long, value_name = "NUMBER")]
        called: String,
        /// The only user who is let in on this call.
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
    },
    /// Ends tunnels or sessions, or dials a client anew; the peer is told.
    #[command(subcommand)]
    Clear(Clear),
}

#[derive(Debug, Subcommand)]
enum Show {
    /// Tunnels: peer, state, sessions.
    Tunnels,
    /// LAC profiles: what each has and may have, and what it has refused.
    Lacs,
    /// Sessions: user, address, state, traffic. UP is what the subscriber sends.
    Sessions {
        /// Only those of this tunnel.
        #[arg(long, value_name = "ID")]
        tunnel: Option<u16>,
        /// Only those of this user.
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// Only the one with this address.
        #[arg(long, value_name = "IP")]
        address: Option<IpAddr>,
        /// What LACs have counted on the lines, instead of traffic.
        #[arg(long)]
        errors: bool,
    },
    /// Quality of sessions: latency and loss of the workers' LCP echoes, worst sessions first.
    ///
    /// LOST is since the session began; LOSS, MEDIAN and 99% are of the recent past, the last hundred
    /// or two hundred requests. Below the sessions, all of them together. With --user or --address of
    /// one subscriber, its latencies.
    Quality {
        /// Only those of this tunnel.
        #[arg(long, value_name = "ID")]
        tunnel: Option<u16>,
        /// Only those of this user.
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// Only the one with this address.
        #[arg(long, value_name = "IP")]
        address: Option<IpAddr>,
        /// Only those of this LAC profile.
        #[arg(long, value_name = "NAME")]
        lac: Option<String>,
        /// How many of the worst.
        #[arg(long, value_name = "N", default_value_t = 20,
              value_parser = clap::value_parser!(u16).range(1..=i64::from(WORST_MAX)))]
        worst: u16,
        /// All of them, not only the worst.
        #[arg(long, conflicts_with = "worst")]
        all: bool,
        /// Not the sessions, but what they come to, for each LAC profile.
        #[arg(long, conflicts_with_all = ["worst", "all"])]
        summary: bool,
    },
    /// Clients: the LNSs that we dial ourselves. IN is what comes out of the session.
    Clients,
    /// Ports: how each is attached, why not better, traffic.
    Ports,
    /// Workers: core, load, drops.
    Workers,
    /// Routes that the workers use.
    Routes,
    /// Counters: drops by reason, steering, tables, protocols. Zeros are left out.
    Counters {
        /// Zeros, too.
        #[arg(long)]
        all: bool,
    },
}

#[derive(Debug, Subcommand)]
enum Clear {
    /// Ends a tunnel with all its sessions.
    #[command(group(clap::ArgGroup::new("which").required(true)))]
    Tunnel {
        /// Our Tunnel ID, the first column of `xlns show tunnels`.
        #[arg(group = "which")]
        id: Option<u16>,
        /// All tunnels of this peer.
        #[arg(long, value_name = "IP", group = "which")]
        peer: Option<IpAddr>,
        /// All tunnels.
        #[arg(long, group = "which")]
        all: bool,
    },
    /// Ends a session.
    #[command(group(clap::ArgGroup::new("which").required(true)))]
    Session {
        /// Our Tunnel and Session IDs, the first two columns of `xlns show sessions`.
        #[arg(num_args = 2, value_names = ["TUNNEL", "SESSION"], group = "which")]
        ids: Option<Vec<u16>>,
        /// All sessions of this user.
        #[arg(long, value_name = "NAME", group = "which")]
        user: Option<String>,
        /// The session with this address.
        #[arg(long, value_name = "IP", group = "which")]
        address: Option<IpAddr>,
    },
    /// Ends the session of a client and dials anew, whichever of its servers failed before.
    Client {
        /// Its name, the first column of `xlns show clients`.
        name: String,
    },
}

fn main() -> ExitCode {
    let line = CommandLine::parse();
    match carry_out(&line) {
        Ok(()) => ExitCode::SUCCESS,
        // `xlns show sessions | head`: the reader has what it wants.
        Err(Failure::OutputClosed) => ExitCode::SUCCESS,
        Err(Failure::Reported) => ExitCode::FAILURE,
        Err(Failure::Message(message)) => {
            if line.json {
                eprintln!("{}", serde_json::json!({ "error": message }));
            } else {
                eprintln!("xlns: {message}");
            }
            ExitCode::FAILURE
        }
    }
}

fn carry_out(line: &CommandLine) -> Result<(), Failure> {
    let config = line.config.as_deref().unwrap_or(Path::new(PATH_DEFAULT));
    match &line.command {
        Command::Run { log } => run::run(config, log.as_deref()),
        Command::Check => check::check(config, line.json),
        Command::Show(Show::Quality { tunnel, user, address, lac, worst, all, summary }) => {
            let (user, lac) = (user.clone(), lac.clone());
            let filter = QualityFilter { tunnel_id: *tunnel, user, address: *address, lac };
            let worst = (!all).then_some(*worst);
            let wanted = quality::Wanted { filter, worst, summary: *summary };
            quality::show(&wanted, &socket(line)?, line.json)
        }
        Command::Doctor { interface } => {
            doctor::doctor(interface, line.config.as_deref(), line.socket.as_deref(), line.json)
        }
        Command::Show(topic) => show::show(topic, &socket(line)?, line.json),
        Command::Call { tunnel, peer, called, user } => {
            let (called_number, user) = (called.clone(), user.clone());
            let wanted = PlaceCall { tunnel_id: *tunnel, peer: *peer, called_number, user };
            call::call(wanted, &socket(line)?, line.json)
        }
        Command::Clear(which) => clear::clear(which, &socket(line)?, line.json),
    }
}

/// The socket named, else that of the configuration named, else the usual one.
fn socket(line: &CommandLine) -> Result<PathBuf, Failure> {
    match (&line.socket, &line.config) {
        (Some(socket), _) => Ok(socket.clone()),
        (None, Some(config)) => {
            let config = Config::load(config).map_err(|error| check::report(&error))?;
            Ok(config.admin.socket)
        }
        (None, None) => Ok(PathBuf::from(SOCKET_DEFAULT)),
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Message(error.to_string())
    }
}
