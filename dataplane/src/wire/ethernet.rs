//! Ethernet II with up to two 802.1Q tags.

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;

/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;

/// EtherTypes of tags: customer (802.1Q) and service (802.1ad).
pub const TAGS: [u16; 2] = [0x8100, 0x88a8];

/// The most tags in front of a packet: a service and a customer tag.
pub const TAGS_MAX: usize = 2;

/// An untagged header.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// To whom.
    pub destination: [u8; 6],
    /// From whom.
    pub source: [u8; 6],
    /// What follows.
    pub ethertype: U16,
}

/// Octets of a [`Header`].
pub const HEADER_BYTES: usize = size_of::<Header>();

/// Octets of a tag.
pub const TAG_BYTES: usize = 4;

/// A header with one tag.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Tagged {
    /// To whom.
    pub destination: [u8; 6],
    /// From whom.
    pub source: [u8; 6],
    /// That of a customer tag.
    pub tag: U16,
    /// The VLAN; priority 0.
    pub vlan: U16,
    /// What follows.
    pub ethertype: U16,
}

/// Octets of a [`Tagged`] header.
pub const TAGGED_BYTES: usize = size_of::<Tagged>();

/// What follows the header and its tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payload {
    /// EtherType behind the last tag.
    pub ethertype: u16,
    /// Where it begins.
    pub offset: usize,
}

/// Walks the header and at most [`TAGS_MAX`] tags. `None` where the frame ends inside.
#[inline]
pub fn parse(frame: &[u8]) -> Option<Payload> {
    let (header, _) = Header::ref_from_prefix(frame).ok()?;
    let mut payload = Payload { ethertype: header.ethertype.get(), offset: HEADER_BYTES };
    for _ in 0..TAGS_MAX {
        if !TAGS.contains(&payload.ethertype) {
            break;
        }
        let tag = frame.get(payload.offset..payload.offset + TAG_BYTES)?;
        let &[_, _, high, low] = tag else { return None };
        payload.ethertype = u16::from_be_bytes([high, low]);
        payload.offset += TAG_BYTES;
    }
    Some(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(types: &[u16]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        for (index, ethertype) in types.iter().enumerate() {
            if index > 0 {
                frame.extend([0, 7]);
            }
            frame.extend(ethertype.to_be_bytes());
        }
        frame
    }

    #[test]
    fn no_tag_one_tag_two_tags() {
        for (types, offset) in
            [(vec![IPV4], 14), (vec![0x8100, IPV4], 18), (vec![0x88a8, 0x8100, IPV4], 22)]
        {
            assert_eq!(parse(&frame(&types)), Some(Payload { ethertype: IPV4, offset }));
        }
        // A third tag is not walked: its EtherType is nothing that we forward.
        let three = frame(&[0x8100, 0x8100, 0x8100, IPV4]);
        assert_eq!(parse(&three), Some(Payload { ethertype: 0x8100, offset: 22 }));
    }

    #[test]
    fn cut_short() {
        let whole = frame(&[0x8100, 0x8100, IPV6]);
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), None, "{length}");
        }
        assert!(parse(&whole).is_some());
    }
}
