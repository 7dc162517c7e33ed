//! Whole IPv6 packets with UDP or ICMPv6 inside (RFC 8200, RFC 4443 section 2.3): checksums are made
//! and proven here.

use std::net::Ipv6Addr;

use xlns_dataplane::wire::checksum::pseudo_ipv6;
use xlns_dataplane::wire::{ipv6, udp};
use zerocopy::IntoBytes;
use zerocopy::network_endian::U16;

use super::Discard;

/// Next header: ICMPv6.
const ICMPV6: u8 = 58;

/// Octets in front of an ICMPv6 message's checksum, and of the checksum.
const ICMP_CHECKSUM: std::ops::Range<usize> = 2..4;

/// Neighbour discovery is only taken with it: no router has forwarded the packet (RFC 4861
/// section 6.1.1). Everything here is sent with it.
pub const HOP_LIMIT: u8 = 255;

/// What a packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload<'a> {
    /// An ICMPv6 message with a correct checksum, from its type on.
    Icmp(&'a [u8]),
    /// A UDP datagram with a correct checksum.
    Udp {
        /// Source port.
        source_port: u16,
        /// Destination port.
        destination_port: u16,
        /// What UDP carries.
        payload: &'a [u8],
    },
}

/// A packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// From whom.
    pub source: Ipv6Addr,
    /// To whom.
    pub destination: Ipv6Addr,
    /// Hops left.
    pub hop_limit: u8,
    /// What it carries.
    pub payload: Payload<'a>,
}

/// Reads a packet; octets behind its end are padding.
///
/// # Errors
/// [`Discard::Malformed`], [`Discard::Checksum`], and [`Discard::Unknown`] for every other next
/// header: what we answer has no extension headers.
pub fn parse(octets: &[u8]) -> Result<Packet<'_>, Discard> {
    let (header, length) = ipv6::parse(octets).ok_or(Discard::Malformed)?;
    let segment = octets.get(ipv6::HEADER_BYTES..length).ok_or(Discard::Malformed)?;
    let bytes = u16::try_from(segment.len()).map_err(|_| Discard::Malformed)?;
    let sum = pseudo_ipv6(header.source, header.destination, header.next_header, bytes);
    let is_correct = sum.octets(segment).is_correct();
    let payload = match header.next_header {
        ICMPV6 => {
            if segment.len() < ICMP_CHECKSUM.end {
                return Err(Discard::Malformed);
            }
            Payload::Icmp(segment)
        }
        udp::PROTOCOL => {
            let (datagram, payload) = udp::parse(segment).ok_or(Discard::Malformed)?;
            // Over IPv6 the checksum is not optional (RFC 8200 section 8.1).
            if datagram.checksum.get() == 0 {
                return Err(Discard::Checksum);
            }
            Payload::Udp {
                source_port: datagram.source.get(),
                destination_port: datagram.destination.get(),
                payload,
            }
        }
        _ => return Err(Discard::Unknown),
    };
    if !is_correct {
        return Err(Discard::Checksum);
    }
    let (source, destination) = (header.source.into(), header.destination.into());
    Ok(Packet { source, destination, hop_limit: header.hop_limit, payload })
}

/// A packet with an ICMPv6 message, whose checksum field is filled in.
pub fn icmp(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    let mut packet = front(source, destination, ICMPV6, message.len());
    packet.extend_from_slice(message);
    let sum = pseudo_ipv6(source.octets(), destination.octets(), ICMPV6, message.len() as u16);
    let checksum = sum.octets(message).checksum();
    let segment = packet.get_mut(ipv6::HEADER_BYTES..).unwrap_or_default();
    if let Some(field) = segment.get_mut(ICMP_CHECKSUM) {
        field.copy_from_slice(checksum.as_bytes());
    }
    packet
}

/// A packet with a UDP datagram.
pub fn udp(
    (source, source_port): (Ipv6Addr, u16),
    (destination, destination_port): (Ipv6Addr, u16),
    payload: &[u8],
) -> Vec<u8> {
    let length = udp::HEADER_BYTES + payload.len();
    let mut header = udp::Header {
        source: U16::new(source_port),
        destination: U16::new(destination_port),
        length: U16::new(length as u16),
        checksum: U16::ZERO,
    };
    let sum = pseudo_ipv6(source.octets(), destination.octets(), udp::PROTOCOL, length as u16);
    header.checksum = sum.octets(header.as_bytes()).octets(payload).udp_checksum();
    let mut packet = front(source, destination, udp::PROTOCOL, length);
    packet.extend_from_slice(header.as_bytes());
    packet.extend_from_slice(payload);
    packet
}

/// The header, with room for what follows.
fn front(source: Ipv6Addr, destination: Ipv6Addr, next_header: u8, length: usize) -> Vec<u8> {
    let header = ipv6::Header {
        version_class_flow: ipv6::VERSION_CLASS_FLOW,
        payload_length: U16::new(length as u16),
        next_header,
        hop_limit: HOP_LIMIT,
        source: source.octets(),
        destination: destination.octets(),
    };
    let mut packet = Vec::with_capacity(ipv6::HEADER_BYTES + length);
    packet.extend_from_slice(header.as_bytes());
    packet
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    #[test]
    fn a_router_solicitation_octet_by_octet() {
        let packet = icmp(address("fe80::1"), address("ff02::2"), &[133, 0, 0, 0, 0, 0, 0, 0]);
        let expected = "6000000000083aff\
            fe800000000000000000000000000001\
            ff020000000000000000000000000002\
            85007d3600000000";
        let text: String = packet.iter().map(|octet| format!("{octet:02x}")).collect();
        // 0xfe80 + 1 + 0xff02 + 2 + 8 + 58 + 0x8500 = 0x282c7, folded and complemented 0x7d36.
        assert_eq!(text, expected);
        let parsed = parse(&packet).unwrap();
        assert_eq!((parsed.hop_limit, parsed.destination), (255, address("ff02::2")));
        assert_eq!(parsed.payload, Payload::Icmp(&packet[40..]));
    }

    #[test]
    fn udp_there_and_back_with_padding_behind() {
        let (client, server) = (address("fe80::1"), address("ff02::1:2"));
        let mut packet = udp((client, 546), (server, 547), b"odd");
        packet.extend([0xa5; 9]);
        let parsed = parse(&packet).unwrap();
        let payload = Payload::Udp { source_port: 546, destination_port: 547, payload: b"odd" };
        assert_eq!(parsed.payload, payload);
        assert_eq!((parsed.source, parsed.destination), (client, server));
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found() {
        let packet = udp((address("fe80::1"), 546), (address("ff02::1:2"), 547), b"1234");
        // Version, class, flow label and hop limit are not under the checksum.
        for at in (4..6).chain(8..packet.len()) {
            let mut broken = packet.clone();
            broken[at] ^= 0x10;
            assert!(parse(&broken).is_err(), "octet {at}");
        }
    }

    #[test]
    fn what_is_cut_short_or_nobodys_is_refused() {
        let packet = icmp(address("fe80::1"), address("ff02::2"), &[133, 0, 0, 0, 0, 0, 0, 0]);
        for length in 0..packet.len() {
            assert_eq!(parse(&packet[..length]), Err(Discard::Malformed), "{length}");
        }
        let mut other = packet.clone();
        other[6] = 0;
        assert_eq!(parse(&other), Err(Discard::Unknown), "hop-by-hop options");
        let short = icmp(address("fe80::1"), address("ff02::2"), &[133, 0, 0]);
        assert_eq!(parse(&short), Err(Discard::Malformed));
        let mut unsummed = udp((address("fe80::1"), 546), (address("ff02::1:2"), 547), b"");
        unsummed[46..48].fill(0);
        assert_eq!(parse(&unsummed), Err(Discard::Checksum));
    }

    proptest! {
        #[test]
        fn no_octets_end_the_process(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&octets);
            let mut packet = octets;
            if let Some(first) = packet.first_mut() {
                *first = 0x60;
            }
            let _ = parse(&packet);
        }
    }
}
