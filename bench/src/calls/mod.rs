//! `xlns-bench calls`: how many calls a second, how fast each, and what a session costs.
//!
//! Four ways: in memory without sockets; over sockets against an xlns that it starts in namespaces
//! of its own; one call after the other to see that nothing waits for a timer; and beside a flood of
//! forged requests. The second one works against any LNS as well.

pub mod emulator;
mod flood;
pub(crate) mod lab;
mod lac;
mod memory;
mod ramp;
mod report;
mod stall;

use std::error::Error;
use std::net::{IpAddr, SocketAddr};

use clap::{Args, ValueEnum};

use crate::ramp::Ramp;
use crate::record::Recorder;
use emulator::subscriber::Authentication;

/// Sessions that a tunnel has room for.
const SESSIONS_PER_TUNNEL_MAX: u32 = 60_000;

/// Where L2TP is listened for.
const PORT: u16 = 1701;

/// What to measure.
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("way").required(true))]
pub struct Arguments {
    /// In memory, without sockets.
    #[arg(long, group = "way")]
    memory: bool,

    /// Over sockets, against an xlns started in namespaces of its own (root).
    #[arg(long, group = "way")]
    lab: bool,

    /// One call at a time, each in a tunnel of its own: SCCRQ to IPCP open (root).
    #[arg(long, group = "way")]
    stall: bool,

    /// Like --lab, beside a flood of SCCRQs from forged addresses (root).
    #[arg(long, group = "way")]
    flood: bool,

    /// Against this LNS, from this host as it is.
    #[arg(long, group = "way", value_name = "IP[:PORT]", value_parser = address)]
    server: Option<SocketAddr>,

    /// Sessions held at once; for one more the oldest is ended.
    #[arg(long, value_name = "COUNT", default_value_t = 100_000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    sessions: u32,

    /// Calls to place [default: as many as sessions].
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    calls: Option<u64>,

    /// Calls a second; without, as many as come up.
    #[arg(long, value_name = "CALLS", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,

    /// Calls a second from one rate to another, in so many steps: which does the LNS take?
    #[arg(long, value_name = "FROM:TO:STEPS", conflicts_with_all = ["rate", "calls"])]
    ramp: Option<Ramp>,

    /// Length of a step of the ramp, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..=3600))]
    step_seconds: u32,

    /// Calls under way at once, where there is no rate.
    #[arg(long, value_name = "COUNT", default_value_t = 256,
          value_parser = clap::value_parser!(u32).range(1..=50_000))]
    outstanding: u32,

    /// Tunnels; one takes 60,000 sessions.
    #[arg(long, value_name = "COUNT", default_value_t = 1000,
          value_parser = clap::value_parser!(u16).range(1..=i64::from(emulator::TUNNELS_MAX)))]
    tunnels: u16,

    /// Addresses and ports that tunnels come from, in turn.
    #[arg(long, value_name = "COUNT", default_value_t = 16,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    sources: u16,

    /// How subscribers prove who they are.
    #[arg(long, value_enum, default_value_t = Authentication::ChapMd5)]
    authentication: Authentication,

    /// A call is ended after this time, milliseconds; without, when its place is needed.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    hold: Option<u64>,

    /// How long the calls that are left stay up before all is ended, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    linger: u64,

    /// Trials of --stall.
    #[arg(long, value_name = "COUNT", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..=30_000))]
    trials: u32,

    /// Forged SCCRQs a second of --flood.
    #[arg(long, value_name = "PPS", default_value_t = 200_000,
          value_parser = clap::value_parser!(u32).range(1000..))]
    flood_rate: u32,

    /// Where the forged SCCRQs of --flood pretend to come from.
    #[arg(long, value_enum, default_value_t = Forged::Anywhere)]
    forged: Forged,

    /// How long the flood lasts, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 20,
          value_parser = clap::value_parser!(u64).range(5..=3600))]
    seconds: u64,

    /// Tunnel secret, for --server.
    #[arg(long)]
    secret: Option<String>,

    /// The subscribers' name, for --server.
    #[arg(long, default_value = "subscriber")]
    user: String,

    /// Their password, for --server.
    #[arg(long, default_value = "password")]
    password: String,

    /// An address of this host to send from, for --server; more than once for more LACs.
    #[arg(long, value_name = "IP", default_value = "0.0.0.0")]
    source: Vec<IpAddr>,

    /// The core that plays the LACs.
    #[arg(long, value_name = "CORE", default_value_t = 0)]
    lac_core: u16,

    /// The core of both processes of xlns.
    #[arg(long, value_name = "CORE", default_value_t = 1)]
    lns_core: u16,
}

/// Sources of a flood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Forged {
    /// Any address.
    Anywhere,
    /// The addresses of LACs whose sessions are held.
    Known,
}

impl Arguments {
    /// Sessions that the tunnels have room for.
    fn sessions(&self) -> u32 {
        self.sessions.min(u32::from(self.tunnels) * SESSIONS_PER_TUNNEL_MAX)
    }
}

/// Runs the measurement and prints it.
///
/// # Errors
/// What failed, and which log to read.
pub fn run(arguments: &Arguments, recorder: &Recorder) -> Result<(), Box<dyn Error>> {
    if arguments.memory {
        return memory::run(arguments.sessions, recorder);
    }
    if arguments.lac_core == arguments.lns_core {
        return Err("the LACs and the LNS need a core each".into());
    }
    if arguments.stall {
        stall::run(arguments, recorder)
    } else if arguments.flood {
        flood::run(arguments, recorder)
    } else if let Some(ramp) = arguments.ramp {
        let report = match arguments.server {
            Some(server) => ramp::climb(arguments, ramp, |step| lab::run_against(step, server))?,
            None => lab::run_ramp(arguments, ramp)?,
        };
        recorder.finish("calls", &report, || print!("{report}"))
    } else {
        let report = match arguments.server {
            Some(server) => lab::run_against(arguments, server)?,
            None => lab::run(arguments)?,
        };
        recorder.finish("calls", &report, || print!("{report}"))
    }
}

/// Reads an address with a port, or without: that of L2TP then.
///
/// # Errors
/// That it is none.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let with_port = text.parse::<SocketAddr>();
    with_port
        .or_else(|_| text.parse::<IpAddr>().map(|address| SocketAddr::new(address, PORT)))
        .map_err(|_| format!("{text:?} is no IP address, with a port or without"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_a_port_or_the_usual_one() {
        assert_eq!(address("192.0.2.1"), Ok(SocketAddr::from(([192, 0, 2, 1], 1701))));
        assert_eq!(address("192.0.2.1:7"), Ok(SocketAddr::from(([192, 0, 2, 1], 7))));
        assert_eq!(address("2001:db8::1").map(|address| address.port()), Ok(1701));
        assert!(address("lns").is_err());
    }
}
