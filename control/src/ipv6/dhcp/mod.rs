//! DHCPv6 (RFC 3315) with prefix delegation (RFC 3633) and name servers (RFC 3646): messages, a
//! server for one link, a client for one link.

pub mod client;
pub mod message;
pub mod server;

/// UDP port of clients (RFC 3315 section 5.2).
pub const CLIENT_PORT: u16 = 546;

/// UDP port of servers (RFC 3315 section 5.2).
pub const SERVER_PORT: u16 = 547;
