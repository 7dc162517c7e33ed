//! ICMP and ICMPv6 errors (RFC 792, RFC 4443).

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// ICMP's protocol number.
pub const PROTOCOL: u8 = 1;

/// ICMPv6's.
pub const PROTOCOL_IPV6: u8 = 58;

/// What every error begins with; the packet that it is about follows.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Which error.
    pub kind: u8,
    /// Which case of it.
    pub code: u8,
    /// Over the message; with ICMPv6 over a pseudo-header, too.
    pub checksum: U16,
    /// The MTU, where the error is about that.
    pub parameter: U32,
}

/// Octets of a [`Header`].
pub const HEADER_BYTES: usize = size_of::<Header>();

/// Type and code.
pub type Kind = (u8, u8);

/// ICMP: no route to the destination.
pub const NETWORK_UNREACHABLE: Kind = (3, 0);
/// ICMP: the destination does not answer, or does not exist.
pub const HOST_UNREACHABLE: Kind = (3, 1);
/// ICMP: fragmentation needed and not allowed (RFC 1191 section 4).
pub const FRAGMENTATION_NEEDED: Kind = (3, 4);
/// ICMP: the TTL ran out.
pub const TIME_EXCEEDED: Kind = (11, 0);

/// ICMPv6: no route to the destination.
pub const IPV6_NO_ROUTE: Kind = (1, 0);
/// ICMPv6: the address does not exist.
pub const IPV6_ADDRESS_UNREACHABLE: Kind = (1, 3);
/// ICMPv6: packet too big.
pub const IPV6_TOO_BIG: Kind = (2, 0);
/// ICMPv6: the hop limit ran out.
pub const IPV6_TIME_EXCEEDED: Kind = (3, 0);

/// Whether an ICMP message of this type is a question or an answer, about which errors may be sent;
/// what is not known might be an error (RFC 1812 section 4.3.2.7).
pub fn is_query(kind: u8) -> bool {
    matches!(kind, 0 | 8..=10 | 13..=18)
}

/// Whether an ICMPv6 message of this type is no error (RFC 4443 section 2.1).
pub fn is_informational(kind: u8) -> bool {
    kind >= 128
}
