//! What is on the wire, put together and taken apart without any code of xlns: a mistake there must
//! not find its like here.

use md5::{Digest, Md5};

/// Message types (RFC 2661 section 3.2).
pub const SCCRQ: u16 = 1;
pub const SCCRP: u16 = 2;
pub const SCCCN: u16 = 3;
pub const STOP_CCN: u16 = 4;
pub const HELLO: u16 = 6;
pub const ICRQ: u16 = 10;
pub const ICRP: u16 = 11;
pub const ICCN: u16 = 12;
pub const CDN: u16 = 14;
pub const SLI: u16 = 16;

/// Protocols inside PPP.
pub const LCP: u16 = 0xc021;
pub const PAP: u16 = 0xc023;
pub const CHAP: u16 = 0xc223;
pub const IPCP: u16 = 0x8021;
pub const IPV6CP: u16 = 0x8057;
pub const CCP: u16 = 0x80fd;

/// Attributes that are sent without the M bit (RFC 2661 section 4.4, RFC 3145 section 2).
const OPTIONAL: [u16; 15] = [5, 6, 8, 25, 26, 27, 28, 29, 30, 31, 32, 33, 37, 38, 46];

/// An AVP with these two octets of flags and length left to the caller.
pub fn raw_avp(flags: u16, vendor: u16, number: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(6 + value.len()).unwrap();
    let fields = [flags | length, vendor, number].map(u16::to_be_bytes);
    [fields.as_flattened(), value].concat()
}

/// An AVP with the M bit.
pub fn mandatory(number: u16, value: &[u8]) -> Vec<u8> {
    raw_avp(0x8000, 0, number, value)
}

/// An AVP without it.
pub fn optional(number: u16, value: &[u8]) -> Vec<u8> {
    raw_avp(0, 0, number, value)
}

/// A control message: header and AVPs.
pub fn control(ids: (u16, u16), numbers: (u16, u16), avps: &[u8]) -> Vec<u8> {
    let length = u16::try_from(12 + avps.len()).unwrap();
    let fields = [0xc802, length, ids.0, ids.1, numbers.0, numbers.1].map(u16::to_be_bytes);
    [fields.as_flattened(), avps].concat()
}

/// A packet of LCP, an NCP, PAP or CHAP, behind its protocol number.
pub fn packet(protocol: u16, code: u8, identifier: u8, contents: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + contents.len()).unwrap().to_be_bytes();
    [&protocol.to_be_bytes(), &[code, identifier][..], &length, contents].concat()
}

/// The same with the Address and Control octets in front.
pub fn frame(protocol: u16, code: u8, identifier: u8, contents: &[u8]) -> Vec<u8> {
    [&[0xff, 0x03], &packet(protocol, code, identifier, contents)[..]].concat()
}

/// MD5 over parts.
pub fn md5(parts: &[&[u8]]) -> [u8; 16] {
    let mut digest = Md5::new();
    for part in parts {
        digest.update(part);
    }
    digest.finalize().into()
}

/// Hides a value as RFC 2661 section 4.3 has it, `padding` octets behind it; yields the AVP.
pub fn hidden(number: u16, value: &[u8], secret: &[u8], vector: &[u8], padding: usize) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap().to_be_bytes();
    let clear = [&length, value, &vec![0x5a; padding]].concat();
    let mut covered = Vec::new();
    let mut key = md5(&[&number.to_be_bytes(), secret, vector]);
    for block in clear.chunks(16) {
        let start = covered.len();
        covered.extend(block.iter().zip(key).map(|(octet, key)| octet ^ key));
        key = md5(&[secret, &covered[start..]]);
    }
    raw_avp(0xc000, 0, number, &covered)
}

/// A control message as the strictest client reads it: every doubt is a failure.
#[derive(Debug)]
pub struct Message {
    pub number: u16,
    pub tunnel_id: u16,
    pub session_id: u16,
    pub ns: u16,
    pub nr: u16,
    /// Numbers and values, the Message Type left out.
    pub avps: Vec<(u16, Vec<u8>)>,
}

fn field(octets: &[u8], offset: usize) -> u16 {
    u16::from_be_bytes([octets[offset], octets[offset + 1]])
}

impl Message {
    /// Reads a datagram: flags exactly T, L and S, Ver 2, no octet too many, the Message Type first
    /// with M and 8 octets; M bits as the RFC has them, nothing hidden, reserved or of a vendor.
    /// `None`: a ZLB.
    pub fn read(datagram: &[u8]) -> (Self, bool) {
        assert_eq!(datagram[..2], [0xc8, 0x02], "{datagram:02x?}");
        assert_eq!(usize::from(field(datagram, 2)), datagram.len(), "{datagram:02x?}");
        let mut message = Self {
            number: 0,
            tunnel_id: field(datagram, 4),
            session_id: field(datagram, 6),
            ns: field(datagram, 8),
            nr: field(datagram, 10),
            avps: Vec::new(),
        };
        let mut rest = &datagram[12..];
        if rest.is_empty() {
            return (message, true);
        }
        assert_eq!(rest[..6], [0x80, 8, 0, 0, 0, 0], "{datagram:02x?}");
        message.number = field(rest, 6);
        rest = &rest[8..];
        while !rest.is_empty() {
            let (flags, vendor, number) = (field(rest, 0), field(rest, 2), field(rest, 4));
            let length = usize::from(flags & 0x3ff);
            let wanted = if OPTIONAL.contains(&number) { 0 } else { 0x8000 };
            assert_eq!((flags & !0x3ff, vendor), (wanted, 0), "AVP {number} of {datagram:02x?}");
            message.avps.push((number, rest[6..length].to_vec()));
            rest = &rest[length..];
        }
        (message, false)
    }

    /// The value of an AVP.
    #[track_caller]
    pub fn value(&self, number: u16) -> &[u8] {
        let found = self.avps.iter().find(|avp| avp.0 == number);
        &found.unwrap_or_else(|| panic!("no AVP {number} in {self:x?}")).1
    }

    /// The same, of two octets.
    #[track_caller]
    pub fn id(&self, number: u16) -> u16 {
        field(self.value(number), 0)
    }
}
