//! The IPv4 header.

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum::Sum;

/// The header without options.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Version in the high half, header length in words of 4 octets in the low half.
    pub version_ihl: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Header and payload, octets.
    pub total_length: U16,
    /// Ties fragments together.
    pub identification: U16,
    /// Don't Fragment, More Fragments, and the offset in units of 8 octets.
    pub fragment: U16,
    /// Time to live, hops.
    pub ttl: u8,
    /// What follows.
    pub protocol: u8,
    /// Over the header.
    pub checksum: U16,
    /// From whom.
    pub source: [u8; 4],
    /// To whom.
    pub destination: [u8; 4],
}

/// Octets of a header without options.
pub const HEADER_BYTES: usize = size_of::<Header>();

/// The first octet of a header without options.
pub const VERSION_IHL: u8 = 0x45;

/// More Fragments and the offset: not zero in any fragment.
const FRAGMENT_MASK: u16 = 0x3fff;

/// Don't Fragment.
pub const DONT_FRAGMENT: u16 = 0x4000;

/// Other fragments follow.
pub const MORE_FRAGMENTS: u16 = 0x2000;

/// The offset, in units of 8 octets.
pub const OFFSET_MASK: u16 = 0x1fff;

/// The most octets of a header with options.
pub const HEADER_BYTES_MAX: usize = 60;

/// Why a header is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// Version or a length is wrong.
    Malformed,
    /// The checksum is wrong.
    Checksum,
}

/// Lengths of a packet, proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lengths {
    /// Header with options, octets.
    pub header: usize,
    /// Header and payload, octets; not more than the input.
    pub total: usize,
}

impl Header {
    /// Whether the packet is a fragment.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.fragment.get() & FRAGMENT_MASK != 0
    }

    /// Whether routers may not fragment the packet.
    #[inline]
    pub fn is_dont_fragment(&self) -> bool {
        self.fragment.get() & DONT_FRAGMENT != 0
    }

    /// Takes one off the TTL, which must not be 0, and mends the checksum.
    #[inline]
    pub fn decrement_ttl(&mut self) {
        self.ttl -= 1;
        // TTL is the high octet of its word: the word fell by 0x0100, so the checksum, its
        // complement, rises by as much, with the carry brought round.
        let (sum, carry) = self.checksum.get().overflowing_add(0x0100);
        self.checksum = U16::new(sum + u16::from(carry));
    }
}

/// Proves version, lengths and checksum of the packet at the start of `octets`, behind which there
/// may be padding.
///
/// # Errors
/// The first thing that is wrong.
#[inline(always)]
pub fn parse(octets: &[u8]) -> Result<(&Header, Lengths), Error> {
    let (header, _) = Header::ref_from_prefix(octets).map_err(|_| Error::Malformed)?;
    let header_bytes = usize::from(header.version_ihl & 0xf) * 4;
    let total = usize::from(header.total_length.get());
    if header.version_ihl >> 4 != 4
        || header_bytes < HEADER_BYTES
        || total < header_bytes
        || octets.len() < total
    {
        return Err(Error::Malformed);
    }
    let sum = if header_bytes == HEADER_BYTES {
        // The length is known to the compiler here: no loop.
        Sum::default().octets(header.as_bytes())
    } else {
        Sum::default().octets(octets.get(..header_bytes).ok_or(Error::Malformed)?)
    };
    if !sum.is_correct() {
        return Err(Error::Checksum);
    }
    Ok((header, Lengths { header: header_bytes, total }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(ihl: u8, total: u16, length: usize) -> Vec<u8> {
        let mut packet = vec![0; length.max(20)];
        packet[0] = 0x40 | ihl;
        packet[2..4].copy_from_slice(&total.to_be_bytes());
        packet[8] = 64;
        let end = (usize::from(ihl) * 4).min(packet.len());
        let sum = Sum::default().octets(&packet[..end]).checksum();
        packet[10..12].copy_from_slice(sum.as_bytes());
        packet.truncate(length);
        packet
    }

    #[test]
    fn lengths() {
        let fits = |ihl, total, length| parse(&packet(ihl, total, length)).map(|(_, l)| l);
        assert_eq!(fits(5, 20, 20), Ok(Lengths { header: 20, total: 20 }));
        assert_eq!(fits(5, 20, 46), Ok(Lengths { header: 20, total: 20 }));
        assert_eq!(fits(15, 60, 60), Ok(Lengths { header: 60, total: 60 }));
        assert_eq!(fits(5, 20, 19), Err(Error::Malformed));
        assert_eq!(fits(5, 21, 20), Err(Error::Malformed));
        assert_eq!(fits(5, 19, 20), Err(Error::Malformed));
        assert_eq!(fits(4, 20, 20), Err(Error::Malformed));
        assert_eq!(fits(6, 23, 24), Err(Error::Malformed));
        assert_eq!(fits(6, 24, 24), Ok(Lengths { header: 24, total: 24 }));
    }

    #[test]
    fn version_and_checksum() {
        let mut good = packet(5, 20, 20);
        good[0] = 0x65;
        assert_eq!(parse(&good).map(|_| ()), Err(Error::Malformed));
        let mut good = packet(5, 20, 20);
        good[19] ^= 1;
        assert_eq!(parse(&good).map(|_| ()), Err(Error::Checksum));
    }

    #[test]
    fn ttl_keeps_the_checksum_right() {
        // All TTLs, with an identification that makes the checksum pass through its carry.
        for identification in (0..=u16::MAX).step_by(7) {
            let mut octets = packet(5, 20, 20);
            octets[4..6].copy_from_slice(&identification.to_be_bytes());
            octets[8] = (identification % 255) as u8 + 1;
            octets[10..12].fill(0);
            let sum = Sum::default().octets(&octets).checksum();
            octets[10..12].copy_from_slice(sum.as_bytes());
            let (header, _) = Header::mut_from_prefix(&mut octets).unwrap();
            header.decrement_ttl();
            assert!(Sum::default().octets(&octets).is_correct(), "{identification}");
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_never_leads_outside(octets: Vec<u8>) {
            if let Ok((_, lengths)) = parse(&octets) {
                prop_assert!(lengths.header <= lengths.total && lengths.total <= octets.len());
            }
        }
    }
}
