//! L2TPv2 (RFC 2661): header, messages, reliable delivery, control connection and calls.
//!
//! Nothing here does I/O, reads a clock or knows of PPP. A [`tunnel::Tunnel`] is one control
//! connection with its calls; which datagram belongs to which tunnel is the root machine's
//! business, that needs [`header::parse`] and, where the header's Tunnel ID is 0,
//! [`message::decode_unassigned`].
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable
    )
)]

use std::fmt;

pub mod avp;
pub mod header;
pub mod identifiers;
pub mod message;
#[cfg(test)]
mod raw_tests;
pub mod result;
pub mod secret;
pub mod sequence;
pub mod session;
pub mod transport;
pub mod tunnel;

/// Names a tunnel; means something to its recipient only (RFC 2661 section 3.1). 0 stands for
/// "not assigned yet".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TunnelId(pub u16);

impl TunnelId {
    /// In headers sent before the peer has assigned an identifier (RFC 2661 section 5.3).
    pub const UNASSIGNED: Self = Self(0);
}

impl fmt::Display for TunnelId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Names a session within a tunnel; means something to its recipient only (RFC 2661 section
/// 3.1). 0 stands for "the tunnel itself" or "not assigned yet".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SessionId(pub u16);

impl SessionId {
    /// In headers of tunnel messages, and before the peer has assigned an identifier (RFC 2661
    /// section 5.3).
    pub const UNASSIGNED: Self = Self(0);
}

impl fmt::Display for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}
