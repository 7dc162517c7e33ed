//! The IPv6 header.

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The fixed header.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Version, traffic class and flow label.
    pub version_class_flow: U32,
    /// What follows this header, octets.
    pub payload_length: U16,
    /// What follows.
    pub next_header: u8,
    /// Hops left.
    pub hop_limit: u8,
    /// From whom.
    pub source: [u8; 16],
    /// To whom.
    pub destination: [u8; 16],
}

/// Octets of the fixed header.
pub const HEADER_BYTES: usize = size_of::<Header>();

/// Version 6, no class, no flow label.
pub const VERSION_CLASS_FLOW: U32 = U32::new(6 << 28);

/// Next header: fragment.
pub const FRAGMENT: u8 = 44;

/// Proves version and length of the packet at the start of `octets`, behind which there may be
/// padding. Returns the header and the packet's length, octets. `None` where something is wrong.
#[inline(always)]
pub fn parse(octets: &[u8]) -> Option<(&Header, usize)> {
    let (header, payload) = Header::ref_from_prefix(octets).ok()?;
    let length = usize::from(header.payload_length.get());
    let version = header.version_class_flow.get() >> 28;
    (version == 6 && length <= payload.len()).then_some((header, HEADER_BYTES + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_and_length() {
        let mut octets = vec![0; 48];
        octets[0] = 0x60;
        octets[5] = 8;
        assert_eq!(parse(&octets).map(|(_, length)| length), Some(48));
        assert!(parse(&octets[..47]).is_none());
        octets[5] = 7;
        assert_eq!(parse(&octets).map(|(_, length)| length), Some(47));
        octets[0] = 0x50;
        assert!(parse(&octets).is_none());
        assert!(parse(&[0x60; 39]).is_none());
    }
}
