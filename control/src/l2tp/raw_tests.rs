//! Frames for tests, put together and taken apart octet by octet, so that no test of ours is only
//! our encoder against our decoder.

use super::header::{Header, parse};

/// Flags, Attribute Type and value of an AVP of the IETF; flags are 0x80 for M and 0x40 for H.
pub(crate) type RawAvp<'a> = (u8, u16, &'a [u8]);

/// The AVPs of a message.
pub(crate) fn body(avps: &[RawAvp<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for (flags, number, value) in avps {
        let length = 6 + value.len();
        out.extend([*flags | (length >> 8) as u8, length as u8, 0, 0]);
        out.extend(number.to_be_bytes());
        out.extend(*value);
    }
    out
}

/// A control datagram.
pub(crate) fn datagram(ids: (u16, u16), numbers: (u16, u16), body: &[u8]) -> Vec<u8> {
    let mut out = vec![0xc8, 0x02];
    out.extend(((12 + body.len()) as u16).to_be_bytes());
    for field in [ids.0, ids.1, numbers.0, numbers.1] {
        out.extend(field.to_be_bytes());
    }
    out.extend(body);
    out
}

/// A control datagram's header and body, as the root hands them to a tunnel.
pub(crate) fn parsed(datagram: &[u8]) -> (Header, &[u8]) {
    let header = parse(datagram).unwrap();
    (header, header.payload(datagram))
}

/// A control datagram that we sent, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) tunnel_id: u16,
    pub(crate) session_id: u16,
    pub(crate) ns: u16,
    pub(crate) nr: u16,
    /// Flags, type, value.
    pub(crate) avps: Vec<(u8, u16, Vec<u8>)>,
}

impl Frame {
    /// Takes a datagram apart, and checks what every one must be like (docs/peers.md row 6).
    pub(crate) fn read(datagram: &[u8]) -> Self {
        let field = |at: usize| u16::from_be_bytes([datagram[at], datagram[at + 1]]);
        assert_eq!(field(0), 0xc802, "flags and version");
        assert_eq!(usize::from(field(2)), datagram.len(), "length");
        let mut avps = Vec::new();
        let mut at = 12;
        while at < datagram.len() {
            let length = usize::from(field(at) & 0x3ff);
            assert_eq!(field(at + 2), 0, "vendor");
            let value = datagram[at + 6..at + length].to_vec();
            avps.push((datagram[at] & 0xfc, field(at + 4), value));
            at += length;
        }
        assert_eq!(at, datagram.len());
        if let Some(first) = avps.first() {
            assert_eq!((first.0, first.1, first.2.len()), (0x80, 0, 2), "message type");
        }
        let (tunnel_id, session_id) = (field(4), field(6));
        Self { tunnel_id, session_id, ns: field(8), nr: field(10), avps }
    }

    /// The Message Type, 0 for a ZLB.
    pub(crate) fn message_type(&self) -> u16 {
        self.avps.first().map_or(0, |avp| u16::from_be_bytes([avp.2[0], avp.2[1]]))
    }

    /// The value of an AVP.
    pub(crate) fn avp(&self, number: u16) -> Option<&[u8]> {
        self.avps.iter().find(|avp| avp.1 == number).map(|avp| &avp.2[..])
    }

    /// A two octet value of an AVP that must be there.
    pub(crate) fn u16(&self, number: u16) -> u16 {
        let value = self.avp(number).unwrap();
        u16::from_be_bytes(value.try_into().unwrap())
    }
}
