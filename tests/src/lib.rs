//! The lab: network namespaces, a real kernel peer and the programs of xlns, as values that clean
//! up after themselves.
//!
//! [`Lab`] owns names and folders of one run and a reaper that outlives it, so that nothing stays
//! behind even where the run is killed. In it stand [`topology::Topology`] (LAC side, LNS, core),
//! a [`uml::Guest`] that dials with stock xl2tpd and pppd ([`peer::Dialer`]) or is dialled
//! ([`server::Server`]), and [`xlns::Xlns`] in the middle. [`l2tpns::L2tpns`] is another LNS, and
//! [`judge::Capture`] has tshark look at the frames.

pub mod deadline;
pub mod guest;
pub mod hostile;
pub mod judge;
pub mod l2tpns;
pub mod lab;
pub mod netns;
pub mod output;
pub mod peer;
pub mod process;
pub mod program;
pub mod qemu;
pub mod server;
pub mod sim;
pub mod source;
pub mod topology;
pub mod uml;
pub mod xlns;

pub use lab::{Lab, LabError, Result};
