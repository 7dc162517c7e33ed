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

/// Extension headers that a router may step over (RFC 8200 section 4): hop-by-hop options, routing,
/// destination options.
const EXTENSIONS: [u8; 3] = [0, 43, 60];

/// The most extension headers that are stepped over; more make no sense.
const EXTENSIONS_MAX: usize = 8;

/// The fragment header (RFC 8200 section 4.5).
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Fragment {
    /// What the first fragment begins with.
    pub next_header: u8,
    /// Zero.
    pub reserved: u8,
    /// The offset in units of 8 octets, two reserved bits, [`MORE_FRAGMENTS`].
    pub offset: U16,
    /// Ties fragments together.
    pub identification: U32,
}

/// Octets of a [`Fragment`] header.
pub const FRAGMENT_BYTES: usize = size_of::<Fragment>();

/// Other fragments follow.
pub const MORE_FRAGMENTS: u16 = 1;

/// The protocol behind the extension headers of a packet whose length is proven, and where it begins.
/// `None` in a fragment, and where headers are cut short or too many.
pub fn upper_layer(packet: &[u8]) -> Option<(u8, usize)> {
    let (header, _) = Header::ref_from_prefix(packet).ok()?;
    let (mut next, mut place) = (header.next_header, HEADER_BYTES);
    for _ in 0..=EXTENSIONS_MAX {
        if next == FRAGMENT {
            return None;
        }
        if !EXTENSIONS.contains(&next) {
            return Some((next, place));
        }
        let &[following, length, ..] = packet.get(place..)? else { return None };
        next = following;
        place += (usize::from(length) + 1) * 8;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn protocol_behind_extension_headers() {
        let packet = |next, extensions: &[u8]| {
            let mut octets = vec![0; 40];
            octets[6] = next;
            octets.extend(extensions);
            upper_layer(&octets)
        };
        assert_eq!(packet(6, &[]), Some((6, 40)));
        assert_eq!(packet(0, &[60, 0, 0, 0, 0, 0, 0, 0, 17, 1]), Some((17, 64)));
        assert_eq!(packet(44, &[6, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(packet(0, &[44, 0, 0, 0, 0, 0, 0, 0, 6]), None);
        assert_eq!(packet(43, &[6]), None);
        assert_eq!(packet(60, &[60, 0, 0, 0, 0, 0, 0, 0].repeat(8)), None);
        let mut eight = [60, 0, 0, 0, 0, 0, 0, 0].repeat(8);
        eight[56] = 6;
        assert_eq!(packet(60, &eight), Some((6, 104)));
    }

    proptest! {
        #[test]
        fn extension_headers_never_panic(octets in prop::collection::vec(0u8..64, 0..200)) {
            upper_layer(&octets);
        }
    }

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
