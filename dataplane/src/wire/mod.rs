//! Headers on the wire.
//!
//! Fixed headers are big-endian structs that look like the RFC's diagram; L2TP and PPP, whose
//! fields come and go, are read by a `parse` into a value with the payload's offset. A parser proves
//! all lengths before it reads the first field, and returns offsets that lie inside of its input.

pub mod checksum;
pub mod ethernet;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod l2tp;
pub mod ppp;
pub mod tcp;
pub mod udp;
