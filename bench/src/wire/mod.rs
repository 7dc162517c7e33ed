//! `xlns-bench wire`: packets through an LNS, and what becomes of each.
//!
//! The emulator of `calls` brings sessions up and holds them. Traffic runs through them from user space
//! by AF_XDP: every packet has its session's number, its own, the time it was sent and a check, so that
//! loss, reordering, duplicates, corrupted and misdelivered packets are told apart and latency is that of
//! each packet. Against an xlns that the run starts in namespaces of its own, or against any LNS by two
//! interfaces of this host.
//!
//! | file | |
//! |---|---|
//! | `options` | the command line |
//! | `payload`, `packet` | what a test packet is |
//! | `port`, `xdp`, `packet_socket`, `redirect` | an interface |
//! | `sender`, `receiver`, `window`, `fairness`, `filler` | one direction |
//! | `station`, `trial` | traffic for a time, and what came of it |
//! | `holder` | the sessions |
//! | `site`, `place`, `lab`, `server` | what is tested |
//! | `bench`, `ceiling`, `measure` | the order of a run |
//! | `progress`, `report`, `table` | what is told |
//! | `interrupt` | Control-C |
//! | `kernel` | another generator: floods in the kernel, without calls |

pub mod bench;
pub mod ceiling;
pub mod fairness;
pub mod filler;
pub mod holder;
pub mod interrupt;
pub mod kernel;
pub mod lab;
pub mod measure;
pub mod options;
pub mod packet;
pub mod packet_socket;
pub mod payload;
pub mod place;
pub mod port;
pub mod progress;
pub mod receiver;
pub mod redirect;
pub mod report;
pub mod sender;
pub mod server;
pub mod site;
pub mod station;
pub mod trial;
pub mod window;
pub mod xdp;

mod table;

use std::error::Error;

pub use options::Arguments;
use options::Generator;

use crate::record::Recorder;

/// Measures and prints the report. Everything it made is gone when it returns, and soon after this
/// process ends in any other way.
///
/// # Errors
/// What failed, and which log to read.
pub fn run(arguments: &Arguments, recorder: &Recorder) -> Result<(), Box<dyn Error>> {
    if arguments.generator == Generator::Kernel {
        if arguments.server.is_some() {
            return Err("--generator kernel makes no calls: it has no --server".into());
        }
        let report = kernel::run(&arguments.kernel())?;
        return recorder.finish("wire", &report, || print!("{report}"));
    }
    let report = match arguments.server {
        Some(_) => server::run(arguments)?,
        None if arguments.generator_core.contains(&arguments.lns_core) => {
            return Err("generator and LNS need a core each".into());
        }
        None => lab::run(arguments)?,
    };
    recorder.finish("wire", &report, || print!("{report}"))
}
