//! PPP framing inside L2TP (RFC 1661 section 2) and the LCP packets that workers answer.
//!
//! Address and control octets and the high octet of the protocol may be left out. Peers do so
//! whatever was negotiated, so each packet is looked at on its own.

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The address and control octets (RFC 1662 section 3.1).
pub const ADDRESS_CONTROL: [u8; 2] = [0xff, 0x03];

/// Protocol number of IPv4.
pub const IPV4: u16 = 0x0021;

/// Protocol number of IPv6.
pub const IPV6: u16 = 0x0057;

/// Protocol number of LCP.
pub const LCP: u16 = 0xc021;

/// A frame's protocol and where its information field begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framing {
    /// Protocol number.
    pub protocol: u16,
    /// Where the information field begins.
    pub offset: usize,
}

/// Reads the framing in either form. `None` where the frame ends before its protocol number.
///
/// The least significant bit of the protocol's last octet is 1 and of its first octet 0 (RFC 1661
/// section 2): so an odd first octet is a protocol of one octet.
#[inline(always)]
pub fn parse(frame: &[u8]) -> Option<Framing> {
    let offset = if frame.starts_with(&ADDRESS_CONTROL) { 2 } else { 0 };
    match *frame.get(offset..)? {
        [low, ..] if low & 1 == 1 => Some(Framing { protocol: low.into(), offset: offset + 1 }),
        [high, low, ..] => {
            Some(Framing { protocol: u16::from_be_bytes([high, low]), offset: offset + 2 })
        }
        _ => None,
    }
}

/// An LCP Echo-Request or Echo-Reply (RFC 1661 section 5.8).
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Echo {
    /// [`ECHO_REQUEST`] or [`ECHO_REPLY`].
    pub code: u8,
    /// Copied into the reply.
    pub identifier: u8,
    /// Of the whole packet, octets.
    pub length: U16,
    /// The sender's; 0 where none was negotiated.
    pub magic: U32,
}

/// Octets of an [`Echo`] without data.
pub const ECHO_BYTES: usize = size_of::<Echo>();

/// LCP code.
pub const ECHO_REQUEST: u8 = 9;

/// LCP code.
pub const ECHO_REPLY: u8 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_both_fields() {
        let parsed = |octets: &[u8]| parse(octets).map(|f| (f.protocol, f.offset));
        assert_eq!(parsed(&[0xff, 0x03, 0x00, 0x21]), Some((IPV4, 4)));
        assert_eq!(parsed(&[0x00, 0x21]), Some((IPV4, 2)));
        assert_eq!(parsed(&[0xff, 0x03, 0x21]), Some((IPV4, 3)));
        assert_eq!(parsed(&[0x57, 0x60]), Some((IPV6, 1)));
        assert_eq!(parsed(&[0xff, 0x03, 0xc0, 0x21]), Some((LCP, 4)));
        // An even last octet is no protocol, but it is two octets long.
        assert_eq!(parsed(&[0xc0, 0x20]), Some((0xc020, 2)));
    }

    #[test]
    fn cut_short() {
        for octets in [&[][..], &[0xff, 0x03], &[0x00], &[0xc0], &[0xff, 0x03, 0xc0]] {
            assert_eq!(parse(octets), None, "{octets:?}");
        }
    }
}
