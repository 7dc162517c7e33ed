//! The L2TP header, as data messages carry it (RFC 2661 section 3.1).

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// L2TP's UDP port (RFC 2661 section 8.1).
pub const PORT: u16 = 1701;

/// T: a control message.
pub const FLAG_CONTROL: u16 = 0x8000;
/// L: the Length field is there.
pub const FLAG_LENGTH: u16 = 0x4000;
/// S: Ns and Nr are there.
pub const FLAG_SEQUENCE: u16 = 0x0800;
/// O: the Offset Size field is there.
pub const FLAG_OFFSET: u16 = 0x0200;
/// P: preferential treatment.
pub const FLAG_PRIORITY: u16 = 0x0100;

/// The version of RFC 2661.
pub const VERSION: u16 = 2;
/// Where the version is.
pub const VERSION_MASK: u16 = 0x000f;

/// The shortest data header: what we send.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DataHeader {
    /// No optional field, version 2.
    pub flags_version: U16,
    /// The recipient's.
    pub tunnel_id: U16,
    /// The recipient's.
    pub session_id: U16,
}

/// Octets of a [`DataHeader`].
pub const DATA_HEADER_BYTES: usize = size_of::<DataHeader>();

impl DataHeader {
    /// The header of data to this session of the peer.
    pub fn new(tunnel_id: u16, session_id: u16) -> Self {
        Self {
            flags_version: U16::new(VERSION),
            tunnel_id: U16::new(tunnel_id),
            session_id: U16::new(session_id),
        }
    }
}

/// A header received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whether this is a control message.
    pub control: bool,
    /// Ours.
    pub tunnel_id: u16,
    /// Ours.
    pub session_id: u16,
    /// The sequence number, where there is one.
    pub ns: Option<u16>,
    /// Where the payload begins in the datagram.
    pub payload_offset: usize,
    /// Where it ends: before padding, if the Length field says so.
    pub payload_end: usize,
}

/// Why a header is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// Cut short, or a length that leads outside of the datagram.
    Malformed,
    /// Not version 2 (1 is L2F, 3 is L2TPv3).
    Version,
}

/// Reads the header of a datagram. Reserved bits are ignored, as section 3.1 wants.
///
/// # Errors
/// See [`Error`].
#[inline(always)]
pub fn parse(datagram: &[u8]) -> Result<Header, Error> {
    let word = |offset: usize| match datagram.get(offset..offset + 2) {
        Some(&[high, low]) => Ok(u16::from_be_bytes([high, low])),
        _ => Err(Error::Malformed),
    };
    let flags = word(0)?;
    if flags & VERSION_MASK != VERSION {
        return Err(Error::Version);
    }
    let mut offset = 2;
    let mut payload_end = datagram.len();
    if flags & FLAG_LENGTH != 0 {
        payload_end = word(offset)?.into();
        offset += 2;
    }
    let tunnel_id = word(offset)?;
    let session_id = word(offset + 2)?;
    offset += 4;
    let mut ns = None;
    if flags & FLAG_SEQUENCE != 0 {
        ns = Some(word(offset)?);
        offset += 4;
    }
    if flags & FLAG_OFFSET != 0 {
        offset += 2 + usize::from(word(offset)?);
    }
    if offset > payload_end || payload_end > datagram.len() {
        return Err(Error::Malformed);
    }
    let control = flags & FLAG_CONTROL != 0;
    Ok(Header { control, tunnel_id, session_id, ns, payload_offset: offset, payload_end })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Builds a header with the optional fields of `flags` and two octets of payload.
    fn datagram(flags: u16, offset_size: u8) -> Vec<u8> {
        let mut octets = (flags | 2).to_be_bytes().to_vec();
        if flags & FLAG_LENGTH != 0 {
            octets.extend([0, 0]);
        }
        octets.extend([0, 7, 0, 9]);
        if flags & FLAG_SEQUENCE != 0 {
            octets.extend([0, 3, 0xff, 0xff]);
        }
        if flags & FLAG_OFFSET != 0 {
            octets.extend([0, offset_size]);
            octets.extend(vec![0xa5; offset_size.into()]);
        }
        octets.extend([0xc0, 0x21]);
        if flags & FLAG_LENGTH != 0 {
            octets[3] = octets.len() as u8;
        }
        octets
    }

    #[test]
    fn every_combination_of_optional_fields() {
        for bits in 0..8u16 {
            let flags = ((bits & 1) * FLAG_LENGTH) | ((bits >> 1 & 1) * FLAG_SEQUENCE);
            let flags = flags | ((bits >> 2) * FLAG_OFFSET);
            for offset_size in [0, 1, 200] {
                let whole = datagram(flags, offset_size);
                let header = parse(&whole).unwrap();
                assert_eq!((header.tunnel_id, header.session_id), (7, 9));
                assert_eq!(header.ns, (flags & FLAG_SEQUENCE != 0).then_some(3));
                assert_eq!(header.payload_offset, whole.len() - 2);
                assert_eq!(header.payload_end, whole.len());
                for length in 0..whole.len() - 2 {
                    assert_eq!(parse(&whole[..length]), Err(Error::Malformed));
                }
            }
        }
    }

    #[test]
    fn length_field_cuts_padding_and_never_reaches_outside() {
        let mut octets = datagram(FLAG_LENGTH, 0);
        octets.extend([0; 10]);
        assert_eq!(parse(&octets).unwrap().payload_end, octets.len() - 10);
        octets[3] = octets.len() as u8;
        assert_eq!(parse(&octets).unwrap().payload_end, octets.len());
        octets[3] += 1;
        assert_eq!(parse(&octets), Err(Error::Malformed));
        // Shorter than the header itself.
        octets[3] = 7;
        assert_eq!(parse(&octets), Err(Error::Malformed));
        octets[3] = 8;
        assert_eq!(parse(&octets).map(|h| h.payload_end - h.payload_offset), Ok(0));
    }

    #[test]
    fn versions_and_reserved_bits() {
        for version in 0..16u8 {
            let octets = [0, version, 0, 1, 0, 1];
            assert_eq!(parse(&octets).is_ok(), version == 2, "{version}");
        }
        let octets = [0x34, 0xf2, 0, 1, 0, 1];
        assert!(!parse(&octets).unwrap().control);
        assert!(parse(&[0x80, 2, 0, 1, 0, 1]).unwrap().control);
    }

    proptest! {
        #[test]
        fn never_leads_outside(octets: Vec<u8>) {
            if let Ok(header) = parse(&octets) {
                prop_assert!(header.payload_offset <= header.payload_end);
                prop_assert!(header.payload_end <= octets.len());
            }
        }
    }
}
