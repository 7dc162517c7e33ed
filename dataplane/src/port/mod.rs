//! Where frames come from and go to.

pub mod interface;
pub mod memory;
pub mod tun;
pub mod xsk;

/// A port's number: its place in the configuration. The TUN device towards the host comes after
/// the NICs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(pub u16);
