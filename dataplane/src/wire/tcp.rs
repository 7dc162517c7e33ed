//! The TCP header, as far as a router looks at it.

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// TCP's protocol number.
pub const PROTOCOL: u8 = 6;

/// The header without options (RFC 9293 section 3.1).
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// From which port.
    pub source: U16,
    /// To which port.
    pub destination: U16,
    /// Of the first octet.
    pub sequence: U32,
    /// What is expected.
    pub acknowledgement: U32,
    /// Header length in words of 4 octets, in the high half.
    pub offset: u8,
    /// [`FLAG_SYN`] and others.
    pub flags: u8,
    /// Receive window.
    pub window: U16,
    /// Over pseudo-header, header and payload.
    pub checksum: U16,
    /// Urgent pointer.
    pub urgent: U16,
}

/// Octets of the header without options.
pub const HEADER_BYTES: usize = size_of::<Header>();

/// SYN, alone or with ACK: a connection begins.
pub const FLAG_SYN: u8 = 0x02;

const FLAGS_PLACE: usize = 13;

/// Option kinds.
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const MSS: u8 = 2;
const MSS_BYTES: u8 = 4;

/// Whether a segment begins a connection.
#[inline(always)]
pub fn is_syn(segment: &[u8]) -> bool {
    segment.get(FLAGS_PLACE).is_some_and(|flags| flags & FLAG_SYN != 0)
}

/// Where the value of the MSS option is in the segment. `None` where there is none, where the header
/// is cut short, or where an option's length makes no sense.
pub fn mss_place(segment: &[u8]) -> Option<usize> {
    let (header, _) = Header::ref_from_prefix(segment).ok()?;
    let end = usize::from(header.offset >> 4) * 4;
    let header = segment.get(..end)?;
    let mut place = HEADER_BYTES;
    // Each turn goes on by an octet at least, of 40 at most.
    loop {
        match *header.get(place..)? {
            [NO_OPERATION, ..] => place += 1,
            [END, ..] => return None,
            [MSS, MSS_BYTES, _, _, ..] => return Some(place + 2),
            [kind, length, ..] if kind != MSS && length >= 2 => place += usize::from(length),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn segment(options: &[u8]) -> Vec<u8> {
        let mut segment = vec![0; HEADER_BYTES];
        segment.extend(options);
        segment[12] = ((segment.len() / 4) as u8) << 4;
        segment[13] = 2;
        segment
    }

    #[test]
    fn the_option_is_found_behind_others() {
        assert_eq!(mss_place(&segment(&[2, 4, 5, 0xb4])), Some(22));
        assert_eq!(mss_place(&segment(&[1, 2, 4, 5, 0xb4, 0, 0, 0])), Some(23));
        assert_eq!(mss_place(&segment(&[3, 3, 7, 2, 4, 5, 0xb4, 0])), Some(25));
    }

    #[test]
    fn what_makes_no_sense_has_none() {
        for options in [
            &[][..],
            &[0, 2, 4, 5],
            &[2, 3, 5, 0],
            &[2, 5, 5, 0],
            &[3, 0, 2, 4],
            &[3, 1, 2, 4],
            &[3, 9, 2, 4],
            &[1, 1, 1, 2],
            &[1, 1, 2, 4],
            &[1, 2, 4, 5],
        ] {
            assert_eq!(mss_place(&segment(options)), None, "{options:?}");
        }
        // Data that looks like an option, and a header longer than the segment.
        let mut data = segment(&[]);
        data.extend([2, 4, 5, 0xb4]);
        assert_eq!(mss_place(&data), None);
        let mut cut = segment(&[2, 4, 5, 0xb4]);
        cut.pop();
        assert_eq!(mss_place(&cut), None);
        let mut short = segment(&[2, 4, 5, 0xb4]);
        short[12] = 4 << 4;
        assert_eq!(mss_place(&short), None);
    }

    proptest! {
        #[test]
        fn never_leads_outside(octets: Vec<u8>) {
            if let Some(place) = mss_place(&octets) {
                prop_assert!(place + 2 <= octets.len());
            }
            is_syn(&octets);
        }
    }
}
