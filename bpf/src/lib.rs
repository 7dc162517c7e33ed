//! The XDP steering program of xlns and its loader.
//!
//! `steer.bpf.c` decides for every frame of a port: to the AF_XDP socket of its queue, to the
//! kernel, or nowhere. [`Steer`] loads one instance of it per port, attaches it, and writes what it
//! decides by: addresses of this host, tunnel endpoints, subscriber prefixes, sockets. The list of
//! reasons in `shared.h` makes the C enumeration, [`Reason`] and the counters.
//!
//! Loading needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (root has them) and Linux 5.12.

mod config;
mod error;
mod link;
mod port;
mod reason;
mod shared;
mod steer;

/// What libbpf-cargo makes of `steer.bpf.c`: an interface to the compiled program.
#[allow(missing_docs, clippy::all, clippy::undocumented_unsafe_blocks)]
mod skeleton {
    include!(concat!(env!("OUT_DIR"), "/steer.skel.rs"));
}

pub use config::{
    HOST_ADDRESSES_MAX, Mode, PREFIX_LENGTHS_MAX, PortSteer, Rates, SUBSCRIBER_PREFIXES_MAX,
    SteerConfig,
};
pub use error::SteerError;
pub use port::{Action, TestRun};
pub use reason::{Reason, Way};
pub use steer::Steer;
