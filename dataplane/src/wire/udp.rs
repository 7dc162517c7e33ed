//! The UDP header.

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// UDP's protocol number.
pub const PROTOCOL: u8 = 17;

/// The header.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// From which port.
    pub source: U16,
    /// To which port.
    pub destination: U16,
    /// Header and payload, octets.
    pub length: U16,
    /// Over pseudo-header, header and payload; 0: none.
    pub checksum: U16,
}

/// The port of a DHCP server (RFC 2131 section 4.1).
pub const DHCP_SERVER_PORT: u16 = 67;

/// Octets of the header.
pub const HEADER_BYTES: usize = size_of::<Header>();

/// Proves the lengths. `octets` is the IP payload. Returns the header and the UDP payload, `None`
/// where the length is too small or leads outside.
#[inline(always)]
pub fn parse(octets: &[u8]) -> Option<(&Header, &[u8])> {
    let (header, _) = Header::ref_from_prefix(octets).ok()?;
    let payload = octets.get(HEADER_BYTES..header.length.get().into())?;
    Some((header, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_within_the_packet() {
        let datagram = |length: u8| [0, 1, 0, 2, 0, length, 0, 0, 9, 9];
        assert_eq!(parse(&datagram(10)).map(|(_, payload)| payload.len()), Some(2));
        assert_eq!(parse(&datagram(8)).map(|(_, payload)| payload.len()), Some(0));
        assert!(parse(&datagram(7)).is_none());
        assert!(parse(&datagram(0)).is_none());
        assert!(parse(&datagram(11)).is_none());
        assert!(parse(&datagram(8)[..7]).is_none());
    }
}
