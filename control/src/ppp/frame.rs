//! PPP frames and the packets of the control protocols (RFC 1661 sections 2 and 5).
//!
//! A frame is taken with and without the Address and Control octets and with a protocol of one or
//! two octets, at any time, whatever was negotiated: real peers mix them.

/// The Address and Control octets of a frame (RFC 1662 section 3.1).
pub const ADDRESS_CONTROL: [u8; 2] = [0xff, 0x03];

/// Protocol numbers (RFC 1661 section 2 and the RFC of each protocol).
pub mod protocol {
    /// IPv4 packets.
    pub const IPV4: u16 = 0x0021;
    /// IPv6 packets.
    pub const IPV6: u16 = 0x0057;
    /// Internet Protocol Control Protocol.
    pub const IPCP: u16 = 0x8021;
    /// IPv6 Control Protocol (RFC 5072 section 3).
    pub const IPV6CP: u16 = 0x8057;
    /// Link Control Protocol.
    pub const LCP: u16 = 0xc021;
    /// Password Authentication Protocol.
    pub const PAP: u16 = 0xc023;
    /// Challenge Handshake Authentication Protocol.
    pub const CHAP: u16 = 0xc223;
}

/// Codes of LCP packets; the first seven are those of every NCP too (RFC 1661 section 5).
pub mod code {
    /// Configure-Request.
    pub const CONFIGURE_REQUEST: u8 = 1;
    /// Configure-Ack.
    pub const CONFIGURE_ACK: u8 = 2;
    /// Configure-Nak.
    pub const CONFIGURE_NAK: u8 = 3;
    /// Configure-Reject.
    pub const CONFIGURE_REJECT: u8 = 4;
    /// Terminate-Request.
    pub const TERMINATE_REQUEST: u8 = 5;
    /// Terminate-Ack.
    pub const TERMINATE_ACK: u8 = 6;
    /// Code-Reject.
    pub const CODE_REJECT: u8 = 7;
    /// Protocol-Reject, LCP only.
    pub const PROTOCOL_REJECT: u8 = 8;
    /// Echo-Request, LCP only.
    pub const ECHO_REQUEST: u8 = 9;
    /// Echo-Reply, LCP only.
    pub const ECHO_REPLY: u8 = 10;
    /// Discard-Request, LCP only.
    pub const DISCARD_REQUEST: u8 = 11;
    /// Identification, LCP only (RFC 1570 section 1.1).
    pub const IDENTIFICATION: u8 = 12;
    /// Time-Remaining, LCP only (RFC 1570 section 1.2).
    pub const TIME_REMAINING: u8 = 13;
}

/// Why octets are no frame or no packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FrameError {
    /// The octets end before the protocol field does.
    #[error("frame cut short")]
    FrameTruncated,
    /// The Length field is below the header's four octets, or points past the end of the frame.
    #[error("packet length does not fit the frame")]
    PacketLength,
}

/// A received frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The Protocol field, decompressed.
    pub protocol: u16,
    /// The Information field with its padding.
    pub information: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Takes a frame apart. Protocols that break the parity rule of RFC 1661 section 2 come out as
    /// they are: no protocol is known by such a number.
    ///
    /// # Errors
    /// When the protocol field is not complete.
    pub fn parse(octets: &'a [u8]) -> Result<Self, FrameError> {
        match octets.strip_prefix(&ADDRESS_CONTROL).unwrap_or(octets) {
            [low, information @ ..] if low & 1 == 1 => {
                Ok(Self { protocol: u16::from(*low), information })
            }
            [high, low, information @ ..] => {
                Ok(Self { protocol: u16::from_be_bytes([*high, *low]), information })
            }
            [] | [_] => Err(FrameError::FrameTruncated),
        }
    }
}

/// Octets of a packet's Code, Identifier and Length fields.
pub const PACKET_HEADER_OCTETS: usize = 4;

/// A packet of LCP, an NCP, PAP or CHAP: all have the same header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The Code field.
    pub code: u8,
    /// The Identifier field.
    pub identifier: u8,
    /// What follows the Length field, without padding.
    pub data: &'a [u8],
    /// The packet as received, without padding, for rejects.
    pub octets: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Takes an Information field apart; octets past the Length field are padding and ignored.
    ///
    /// # Errors
    /// When the Length field is impossible; such a packet is discarded (RFC 1661 section 5).
    pub fn parse(information: &'a [u8]) -> Result<Self, FrameError> {
        let &[code, identifier, high, low, ..] = information else {
            return Err(FrameError::PacketLength);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let octets = information.get(..length).ok_or(FrameError::PacketLength)?;
        let data = octets.get(PACKET_HEADER_OCTETS..).ok_or(FrameError::PacketLength)?;
        Ok(Self { code, identifier, data, octets })
    }
}

/// Puts a frame with one packet together; its data are the `parts` one after the other.
/// `address_control`: with FF 03 in front. The protocol is never compressed: those of control
/// protocols do not fit one octet.
pub fn emit(
    protocol: u16,
    address_control: bool,
    code: u8,
    identifier: u8,
    parts: &[&[u8]],
) -> Vec<u8> {
    let data_octets: usize = parts.iter().map(|part| part.len()).sum();
    let length = PACKET_HEADER_OCTETS + data_octets;
    debug_assert!(length <= usize::from(u16::MAX), "what is sent was received or is bounded");
    let mut frame = Vec::with_capacity(4 + length);
    if address_control {
        frame.extend_from_slice(&ADDRESS_CONTROL);
    }
    frame.extend_from_slice(&protocol.to_be_bytes());
    frame.extend_from_slice(&[code, identifier]);
    frame.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
    for part in parts {
        frame.extend_from_slice(part);
    }
    frame
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn all_four_framings_mean_the_same() {
        let expected = Frame { protocol: protocol::IPV4, information: &[0x45, 0x00] };
        for octets in [
            &[0xff, 0x03, 0x00, 0x21, 0x45, 0x00][..],
            &[0xff, 0x03, 0x21, 0x45, 0x00],
            &[0x00, 0x21, 0x45, 0x00],
            &[0x21, 0x45, 0x00],
        ] {
            assert_eq!(Frame::parse(octets), Ok(expected), "{octets:02x?}");
        }
    }

    #[test]
    fn a_frame_ends_no_earlier_than_its_protocol() {
        for octets in [&[][..], &[0xff, 0x03], &[0xc0], &[0xff, 0x03, 0xc0]] {
            assert_eq!(Frame::parse(octets), Err(FrameError::FrameTruncated), "{octets:02x?}");
        }
        let empty = Frame::parse(&[0xc0, 0x21]).unwrap();
        assert_eq!(empty, Frame { protocol: protocol::LCP, information: &[] });
    }

    #[test]
    fn a_protocol_of_even_parity_stays_visible() {
        assert_eq!(Frame::parse(&[0x80, 0x22, 1]).unwrap().protocol, 0x8022);
        assert_eq!(Frame::parse(&[0xff, 0x04, 1]).unwrap().protocol, 0x00ff);
    }

    #[test]
    fn packet_length_bounds_the_data() {
        let packet = Packet::parse(&[9, 7, 0, 6, 0xaa, 0xbb, 0, 0]).unwrap();
        assert_eq!((packet.code, packet.identifier, packet.data), (9, 7, &[0xaa, 0xbb][..]));
        assert_eq!(packet.octets, &[9, 7, 0, 6, 0xaa, 0xbb]);
        assert_eq!(Packet::parse(&[1, 2, 0, 4]).unwrap().data, &[] as &[u8]);
    }

    #[test]
    fn impossible_packet_lengths_are_refused() {
        for octets in [
            &[][..],
            &[1, 2, 0],
            &[1, 2, 0, 3],
            &[1, 2, 0, 0],
            &[1, 2, 0, 5],
            &[1, 2, 0xff, 0xff, 0],
        ] {
            assert_eq!(Packet::parse(octets), Err(FrameError::PacketLength), "{octets:02x?}");
        }
    }

    #[test]
    fn emitted_octets() {
        assert_eq!(
            emit(protocol::LCP, true, 1, 0x2a, &[&[5, 6], &[1, 2, 3, 4]]),
            [0xff, 0x03, 0xc0, 0x21, 1, 0x2a, 0, 10, 5, 6, 1, 2, 3, 4]
        );
        assert_eq!(emit(protocol::IPCP, false, 6, 0, &[]), [0x80, 0x21, 6, 0, 0, 4]);
    }

    proptest! {
        #[test]
        fn any_octets_parse_or_are_refused(octets in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(frame) = Frame::parse(&octets) {
                let _ = Packet::parse(frame.information);
            }
        }

        #[test]
        fn emit_then_parse(
            address_control: bool,
            code: u8,
            identifier: u8,
            data in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let octets = emit(protocol::CHAP, address_control, code, identifier, &[&data]);
            let frame = Frame::parse(&octets).unwrap();
            let packet = Packet::parse(frame.information).unwrap();
            prop_assert_eq!(frame.protocol, protocol::CHAP);
            prop_assert_eq!((packet.code, packet.identifier), (code, identifier));
            prop_assert_eq!(packet.data, &data[..]);
        }
    }
}
