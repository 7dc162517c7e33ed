//! IPv6 on a PPP link beside forwarding: router discovery (RFC 4861, RFC 6106), DHCPv6 (RFC 3315,
//! RFC 3633, RFC 3646), and the little neighbour discovery that a link without link-layer addresses
//! needs. Both ends: [`Router`] serves a subscriber, [`Host`] asks another LNS.
//!
//! Machines without socket and clock. They take whole IPv6 packets, as PPP protocol 0x0057 carries
//! them, and hand out whole IPv6 packets. Each holds a fixed number of octets, and answers a packet
//! with at most one, so that nobody can make it grow.

pub mod dhcp;
pub mod discovery;
pub mod host;
pub mod packet;
pub mod router;

pub use host::Host;
pub use router::{Config, Router};

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

/// The least MTU of a link that carries IPv6 (RFC 8200 section 5), octets.
pub const MTU_MIN: u16 = 1280;

/// The prefix of addresses that are valid on one link.
const LINK_LOCAL: u128 = 0xfe80 << 112;

/// All nodes of the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// All routers of the link.
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// All DHCPv6 servers and relays of the link (RFC 3315 section 5.1).
pub const ALL_DHCP_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

/// The link-local address with this interface identifier, as IPv6CP agreed on it (RFC 5072
/// section 5).
pub fn link_local(interface: u64) -> Ipv6Addr {
    Ipv6Addr::from_bits(LINK_LOCAL | u128::from(interface))
}

/// The address with this interface identifier under a prefix of 64 bits.
pub fn address_under(prefix: Ipv6Net, interface: u64) -> Ipv6Addr {
    let network = prefix.network().to_bits() & !u128::from(u64::MAX);
    Ipv6Addr::from_bits(network | u128::from(interface))
}

/// The group that listens for solicitations of an address (RFC 4291 section 2.7.1).
fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    const PREFIX: u128 = 0xff02_0000_0000_0000_0000_0001_ff00_0000;
    Ipv6Addr::from_bits(PREFIX | address.to_bits() & 0xff_ffff)
}

/// Why a packet had no effect; for the owner to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Discard {
    /// Cut short, or a length that leads outside.
    #[error("malformed")]
    Malformed,
    /// A wrong checksum.
    #[error("wrong checksum")]
    Checksum,
    /// Not addressed to us or to a group of ours.
    #[error("not to us")]
    Destination,
    /// A protocol, message or port that nobody here speaks.
    #[error("nobody listens")]
    Unknown,
    /// Something that its RFC wants ignored: a hop limit, source or option that must not be.
    #[error("not acceptable")]
    Invalid,
    /// An answer to nothing that was asked, or for somebody else.
    #[error("answer to no question of ours")]
    Unsolicited,
    /// More than is answered in a second.
    #[error("too many")]
    TooMany,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_made_of_identifiers() {
        assert_eq!(link_local(0x0200_00ff_fe00_0001).to_string(), "fe80::200:ff:fe00:1");
        let prefix = "2001:db8:0:7::/64".parse().unwrap();
        assert_eq!(address_under(prefix, 5).to_string(), "2001:db8:0:7::5");
        assert_eq!(address_under(prefix, u64::MAX).to_string(), "2001:db8:0:7:ffff:ffff:ffff:ffff");
        let group = solicited_node("fe80::1:2:aabb:ccdd".parse().unwrap());
        assert_eq!(group.to_string(), "ff02::1:ffbb:ccdd");
    }
}
