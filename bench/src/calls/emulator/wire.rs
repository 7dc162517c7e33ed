//! The octets of the emulated LAC and its subscribers: L2TP (RFC 2661 sections 3.1 and 4) and PPP.
//!
//! Written apart from the encoders of `xlns_control`, so that a mistake of theirs is not hidden by
//! the same one here, and because a fixed frame costs less than a general one: the emulator has to
//! be faster than what it measures.

use md5::{Digest, Md5};

/// Message types (RFC 2661 section 3.2).
pub mod message {
    pub const SCCRQ: u16 = 1;
    pub const SCCRP: u16 = 2;
    pub const SCCCN: u16 = 3;
    pub const STOP_CCN: u16 = 4;
    pub const HELLO: u16 = 6;
    pub const ICRQ: u16 = 10;
    pub const ICRP: u16 = 11;
    pub const ICCN: u16 = 12;
    pub const CDN: u16 = 14;
}

/// Attribute types (RFC 2661 section 4.4).
pub mod attribute {
    pub const MESSAGE_TYPE: u16 = 0;
    pub const RESULT_CODE: u16 = 1;
    pub const PROTOCOL_VERSION: u16 = 2;
    pub const FRAMING_CAPABILITIES: u16 = 3;
    pub const HOST_NAME: u16 = 7;
    pub const ASSIGNED_TUNNEL_ID: u16 = 9;
    pub const RECEIVE_WINDOW_SIZE: u16 = 10;
    pub const CHALLENGE: u16 = 11;
    pub const CHALLENGE_RESPONSE: u16 = 13;
    pub const ASSIGNED_SESSION_ID: u16 = 14;
    pub const CALL_SERIAL_NUMBER: u16 = 15;
    pub const FRAMING_TYPE: u16 = 19;
    pub const TX_CONNECT_SPEED: u16 = 24;
}

/// PPP protocols.
pub const LCP: u16 = 0xc021;
pub const PAP: u16 = 0xc023;
pub const CHAP: u16 = 0xc223;
pub const IPCP: u16 = 0x8021;

/// Codes of LCP and IPCP (RFC 1661 section 5).
pub mod code {
    pub const CONFIGURE_REQUEST: u8 = 1;
    pub const CONFIGURE_ACK: u8 = 2;
    pub const CONFIGURE_NAK: u8 = 3;
    pub const CONFIGURE_REJECT: u8 = 4;
    pub const TERMINATE_REQUEST: u8 = 5;
    pub const TERMINATE_ACK: u8 = 6;
    pub const PROTOCOL_REJECT: u8 = 8;
    pub const ECHO_REQUEST: u8 = 9;
    pub const ECHO_REPLY: u8 = 10;
}

/// T, L and S are set, the version is 2.
const CONTROL_FLAGS: u16 = 0xc802;
const DATA_FLAGS: u16 = 0x0002;
const CONTROL_HEADER_BYTES: usize = 12;
const AVP_HEADER_BYTES: usize = 6;
const MANDATORY: u16 = 0x8000;
const HIDDEN: u16 = 0x4000;
const AVP_LENGTH_MASK: u16 = 0x03ff;

/// Where Ns and Nr lie in a control message.
const NUMBERS: std::ops::Range<usize> = 8..12;
const LENGTH: std::ops::Range<usize> = 2..4;

/// A control message, its numbers still 0; [`ControlMessage::finish`] ends it.
pub struct ControlMessage(Vec<u8>);

impl ControlMessage {
    /// A message of this type, to the peer's IDs.
    pub fn new(tunnel: u16, session: u16, kind: u16) -> Self {
        let mut octets = Vec::with_capacity(96);
        for word in [CONTROL_FLAGS, 0, tunnel, session, 0, 0] {
            octets.extend_from_slice(&word.to_be_bytes());
        }
        Self(octets).avp(attribute::MESSAGE_TYPE, &kind.to_be_bytes())
    }

    /// Adds a mandatory AVP.
    pub fn avp(mut self, kind: u16, value: &[u8]) -> Self {
        let length = (AVP_HEADER_BYTES + value.len()) as u16 & AVP_LENGTH_MASK;
        for word in [MANDATORY | length, 0, kind] {
            self.0.extend_from_slice(&word.to_be_bytes());
        }
        self.0.extend_from_slice(value);
        self
    }

    /// The datagram.
    pub fn finish(mut self) -> Vec<u8> {
        let length = (self.0.len() as u16).to_be_bytes();
        if let Some(field) = self.0.get_mut(LENGTH) {
            field.copy_from_slice(&length);
        }
        self.0
    }
}

/// Writes Ns and Nr into a control message.
pub fn set_numbers(datagram: &mut [u8], ns: u16, nr: u16) {
    if let Some(field) = datagram.get_mut(NUMBERS) {
        field.copy_from_slice([ns.to_be_bytes(), nr.to_be_bytes()].as_flattened());
    }
}

/// A ZLB: nothing but an acknowledgement.
pub fn zlb(tunnel: u16, ns: u16, nr: u16) -> Vec<u8> {
    let mut octets = Vec::with_capacity(CONTROL_HEADER_BYTES);
    for word in [CONTROL_FLAGS, CONTROL_HEADER_BYTES as u16, tunnel, 0, ns, nr] {
        octets.extend_from_slice(&word.to_be_bytes());
    }
    octets
}

/// A PPP packet in an L2TP data message, with address and control field.
pub fn data(tunnel: u16, session: u16, protocol: u16, packet: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(10 + packet.len());
    for word in [DATA_FLAGS, tunnel, session, 0xff03, protocol] {
        octets.extend_from_slice(&word.to_be_bytes());
    }
    octets.extend_from_slice(packet);
    octets
}

/// A packet of LCP, IPCP, CHAP or PAP.
pub fn ppp(code: u8, identifier: u8, content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u16 + 4).to_be_bytes();
    [&[code, identifier, length[0], length[1]], content].concat()
}

/// The AVPs of a message: type and value. Hidden ones are left out, and so is what follows one that
/// cannot be read.
pub fn avps(mut body: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        loop {
            let first = word(body, 0)?;
            let length = usize::from(first & AVP_LENGTH_MASK);
            let value = body.get(AVP_HEADER_BYTES..length)?;
            let (vendor, kind) = (word(body, 2)?, word(body, 4)?);
            body = body.get(length..)?;
            if vendor == 0 && first & HIDDEN == 0 {
                return Some((kind, value));
            }
        }
    })
}

/// Sixteen bits of a message.
pub fn word(octets: &[u8], at: usize) -> Option<u16> {
    let field = octets.get(at..at + 2)?;
    field.try_into().ok().map(u16::from_be_bytes)
}

/// Takes a PPP frame apart, whatever fields are compressed (RFC 1661 sections 6.5 and 6.6):
/// protocol and packet.
pub fn frame(octets: &[u8]) -> Option<(u16, &[u8])> {
    let octets = octets.strip_prefix(&[0xff, 0x03]).unwrap_or(octets);
    match octets {
        [first, rest @ ..] if first & 1 == 1 => Some((u16::from(*first), rest)),
        [first, second, rest @ ..] => Some((u16::from_be_bytes([*first, *second]), rest)),
        _ => None,
    }
}

/// A PPP packet's code, identifier and content, padding cut off.
pub fn packet(octets: &[u8]) -> Option<(u8, u8, &[u8])> {
    let [code, identifier, ..] = octets else { return None };
    Some((*code, *identifier, octets.get(4..usize::from(word(octets, 2)?))?))
}

/// Options of a Configure packet: type, and all octets of it.
pub fn options(mut content: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let [kind, length, ..] = *content else { return None };
        let option = content.get(..usize::from(length).max(2))?;
        content = content.get(option.len()..)?;
        Some((kind, option))
    })
}

/// The MD5 of an identifier, a secret and a challenge: CHAP (RFC 1994 section 4.1) and tunnel
/// authentication (RFC 2661 section 4.4.3).
pub fn proof(identifier: u8, secret: &[u8], challenge: &[u8]) -> [u8; 16] {
    let mut digest = Md5::new();
    digest.update([identifier]);
    digest.update(secret);
    digest.update(challenge);
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use xlns_control::l2tp::message::Message;
    use xlns_control::l2tp::{SessionId, TunnelId, header};

    use super::*;

    #[test]
    fn a_message_is_read_by_the_other_implementation() {
        let datagram = ControlMessage::new(7, 9, message::ICRQ)
            .avp(attribute::ASSIGNED_SESSION_ID, &5u16.to_be_bytes())
            .avp(attribute::CALL_SERIAL_NUMBER, &77u32.to_be_bytes());
        let mut datagram = datagram.finish();
        set_numbers(&mut datagram, 3, 4);
        let header = header::parse(&datagram).unwrap();
        assert_eq!((header.tunnel_id, header.session_id), (TunnelId(7), SessionId(9)));
        assert_eq!((header.ns.0, header.nr.0), (3, 4));
        let Ok(Message::Icrq(icrq)) = Message::decode(header.payload(&datagram), None) else {
            panic!("no ICRQ");
        };
        assert_eq!((icrq.assigned_session_id, icrq.call_serial_number), (SessionId(5), 77));
    }

    #[test]
    fn avps_end_where_they_cannot_be_read() {
        let datagram = ControlMessage::new(1, 0, message::HELLO).finish();
        let body = &datagram[CONTROL_HEADER_BYTES..];
        assert_eq!(avps(body).collect::<Vec<_>>(), [(0, &[0, 6][..])]);
        for length in 0..body.len() {
            assert_eq!(avps(&body[..length]).count(), 0);
        }
        assert_eq!(avps(&[0x80, 3, 0, 0, 0, 0, 0, 0]).count(), 0, "shorter than its header");
    }

    #[test]
    fn frames_come_in_every_framing() {
        for octets in [&[0xff, 3, 0xc0, 0x21, 1][..], &[0xc0, 0x21, 1]] {
            assert_eq!(frame(octets), Some((LCP, &[1][..])));
        }
        assert_eq!(frame(&[0x21, 0x45]), Some((0x21, &[0x45][..])));
        assert_eq!(frame(&[0xff, 3]), None);
    }

    #[test]
    fn options_end_where_they_cannot_be_read() {
        let content = [1, 4, 5, 0x78, 7, 2, 5, 6, 1, 2, 3];
        let kinds: Vec<u8> = options(&content).map(|(kind, _)| kind).collect();
        assert_eq!(kinds, [1, 7]);
        assert_eq!(options(&[1, 0]).count(), 1, "a length of nothing ends, too");
    }

    #[test]
    fn packets_end_at_their_length() {
        assert_eq!(packet(&[1, 2, 0, 5, 9, 0, 0]), Some((1, 2, &[9][..])));
        assert_eq!(packet(&[1, 2, 0, 8, 9]), None);
        assert_eq!(packet(&[1, 2, 0, 3, 9]), None);
    }
}
