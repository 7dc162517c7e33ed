//! `xlns-bench compare`: xlns and l2tpns side by side: packets a second at saturation, at a loss of
//! 0.1 %, and the CPU time of a packet.
//!
//! Both servers run at once in namespaces that are built alike, each with the same number of sessions
//! that the same emulated LACs have opened; one of them at a time is sent packets, in turn, on the
//! same cores. The kernel makes the packets on one core, the server has the other one. What the
//! receiving ports take of the kernel runs on the generator's core for both, and both have XDP in the
//! driver there: xlns its own, l2tpns one that passes everything on.
//!
//! l2tpns is set up as it does best: with a receive buffer of 8 MiB, nothing of its port's soft
//! interrupts on its core, and no log of packets.

pub mod lane;
pub mod report;
pub mod server;
pub mod stand;

pub mod ceiling;
mod measure;

use clap::Args;
use std::error::Error;
use xlns_dataplane::api::AttachMode;

use crate::record::Recorder;
use crate::wire::kernel::mode;

/// The smallest size: an Ethernet frame of 64 octets with its check sequence, at the core.
pub const SIZE_MIN: u16 = 64;

/// The largest one that needs no fragments on links of 1500 octets.
const SIZE_MAX: u16 = 1450;

/// Sizes without the option.
const SIZES: [u16; 2] = [SIZE_MIN, 1400];

/// What can be said on the command line.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// Fewer and shorter runs: under three minutes.
    #[arg(long)]
    pub quick: bool,

    /// Sessions of either server, sent to and from in turn.
    #[arg(long, value_name = "COUNT", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub sessions: u32,

    /// Octets of the subscribers' packets, once for each size; 64 stands for the smallest Ethernet
    /// frame [default: 64 and 1400].
    #[arg(long, value_name = "OCTETS",
          value_parser = clap::value_parser!(u16).range(i64::from(SIZE_MIN)..=i64::from(SIZE_MAX)))]
    pub size: Vec<u16>,

    /// Runs at saturation of each direction, size and server [default: 7, with --quick 3].
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: Option<u32>,

    /// Length of a run, milliseconds [default: 2000, with --quick 700].
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(100..=600_000))]
    pub window: Option<u64>,

    /// The core that makes the packets.
    #[arg(long, value_name = "CORE", default_value_t = 0)]
    pub generator_core: u16,

    /// The core of both servers.
    #[arg(long, value_name = "CORE", default_value_t = 1)]
    pub server_core: u16,

    /// The best way for xlns to attach XDP that is tried: native-zero-copy, native-copy or generic.
    #[arg(long, value_name = "MODE", default_value = "native-zero-copy", value_parser = mode)]
    pub mode: AttachMode,

    /// Receive buffer of l2tpns' sockets, octets; 0: the system's default.
    #[arg(long, value_name = "OCTETS", default_value_t = 8 * 1024 * 1024)]
    pub receive_buffer: u32,

    /// Do not run generator and servers at real-time priority, with which other work has to wait.
    #[arg(long)]
    pub no_realtime: bool,
}

impl Arguments {
    fn sizes(&self) -> Vec<u16> {
        if self.size.is_empty() { SIZES.to_vec() } else { self.size.clone() }
    }

    fn realtime(&self) -> bool {
        !self.no_realtime
    }
}

/// Compares, and prints the report. Everything it made is gone when it returns, and soon after this
/// process ends in any other way.
///
/// # Errors
/// What failed, and which log to read.
pub fn run(arguments: &Arguments, recorder: &Recorder) -> Result<(), Box<dyn Error>> {
    if arguments.generator_core == arguments.server_core {
        return Err("generator and servers need a core each".into());
    }
    let report = measure::run(arguments)?;
    recorder.finish("compare", &report, || print!("{report}"))
}
