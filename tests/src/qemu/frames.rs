//! The octets of the driver's frames, written apart from the encoders of xlns, so that a mistake of
//! theirs is not hidden by the same one here.

use std::net::Ipv4Addr;

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// IP protocol UDP.
const UDP: u8 = 17;
/// TTL with which the driver's packets start.
pub const TTL: u8 = 64;
/// Octets of an Ethernet header.
pub const ETHERNET_BYTES: usize = 14;
/// Octets of an IPv4 header without options, and of a UDP header.
const HEADERS_BYTES: usize = 28;
/// Octets of the shortest test packet: headers, number and the run's mark.
pub const PACKET_BYTES_MIN: usize = HEADERS_BYTES + 8;
/// UDP ports of the test packets: no service of either side.
const TEST_PORTS: [u16; 2] = [40_000, 40_001];

/// A UDP datagram as it lies in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Who sent it.
    pub source: (Ipv4Addr, u16),
    /// Who is to get it.
    pub destination: (Ipv4Addr, u16),
    /// What is in it.
    pub payload: &'a [u8],
}

/// An Ethernet frame.
pub fn frame(destination: [u8; 6], source: [u8; 6], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&destination[..], &source, &ethertype.to_be_bytes(), payload].concat()
}

/// The EtherType and the payload of a frame with these addresses.
pub fn read_frame(octets: &[u8], destination: [u8; 6], source: [u8; 6]) -> Option<(u16, &[u8])> {
    let rest = octets.strip_prefix(&destination)?.strip_prefix(&source)?;
    let (ethertype, payload) = rest.split_first_chunk()?;
    Some((u16::from_be_bytes(*ethertype), payload))
}

/// The answer to an ARP request for `address`, which has this MAC address.
pub fn arp_reply(request: &[u8], address: Ipv4Addr, mac: [u8; 6]) -> Option<Vec<u8>> {
    const ASKS: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 1];
    const ANSWERS: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 2];
    let rest = request.strip_prefix(&ASKS)?;
    let (asker, rest) = rest.split_at_checked(10)?;
    (rest.get(6..10)? == address.octets())
        .then(|| [&ANSWERS[..], &mac, &address.octets(), asker].concat())
}

/// An IPv4 packet with a UDP datagram in it, both checksums correct.
pub fn udp_packet(datagram: &Datagram<'_>, ttl: u8) -> Vec<u8> {
    let (source, destination) = (datagram.source.0.octets(), datagram.destination.0.octets());
    let length = (HEADERS_BYTES + datagram.payload.len()) as u16;
    let udp_length = length - 20;
    let mut udp = Vec::with_capacity(usize::from(udp_length));
    for word in [datagram.source.1, datagram.destination.1, udp_length, 0] {
        udp.extend_from_slice(&word.to_be_bytes());
    }
    udp.extend_from_slice(datagram.payload);
    let pseudo = [&source[..], &destination, &[0, UDP], &udp_length.to_be_bytes()].concat();
    let sum = match checksum(&[&pseudo, &udp]) {
        0 => u16::MAX,
        sum => sum,
    };
    let mut packet = Vec::with_capacity(usize::from(length));
    for word in [0x4500, length, 0, 0, u16::from_be_bytes([ttl, UDP]), 0] {
        packet.extend_from_slice(&word.to_be_bytes());
    }
    packet.extend_from_slice(&source);
    packet.extend_from_slice(&destination);
    let header_sum = checksum(&[&packet]);
    packet[10..12].copy_from_slice(&header_sum.to_be_bytes());
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    packet.extend_from_slice(&udp);
    packet
}

/// Reads an IPv4 packet without options with a UDP datagram in it; padding behind it is cut off.
/// `None` where a length or a checksum is wrong.
pub fn read_udp(packet: &[u8]) -> Option<Datagram<'_>> {
    let word =
        |octets: &[u8], at: usize| Some(u16::from_be_bytes(*octets.get(at..)?.first_chunk()?));
    let packet = packet.get(..usize::from(word(packet, 2)?))?;
    let (header, udp) = packet.split_at_checked(20)?;
    let whole = word(udp, 4).is_some_and(|length| usize::from(length) == udp.len());
    if header[0] != 0x45 || header[9] != UDP || checksum(&[header]) != 0 || !whole {
        return None;
    }
    let pseudo = [&header[12..], &[0, UDP], &udp[4..6]].concat();
    if udp.len() < 8 || (udp[6..8] != [0, 0] && checksum(&[&pseudo, udp]) != 0) {
        return None;
    }
    let address =
        |at: usize| header.get(at..)?.first_chunk().map(|octets: &[u8; 4]| Ipv4Addr::from(*octets));
    Some(Datagram {
        source: (address(12)?, word(udp, 0)?),
        destination: (address(16)?, word(udp, 2)?),
        payload: &udp[8..],
    })
}

/// A packet of a test: its number and the run's mark in front, what follows is made of both.
/// `length` counts all octets of the IPv4 packet.
pub fn test_packet(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    [mark, number]: [u32; 2],
    length: usize,
    ttl: u8,
) -> Vec<u8> {
    let mut payload = [mark.to_be_bytes(), number.to_be_bytes()].concat();
    let rest = length.saturating_sub(PACKET_BYTES_MIN);
    let mut state = mark ^ number.wrapping_mul(0x9e37_79b9);
    payload.extend((0..rest).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    }));
    let [source_port, destination_port] = TEST_PORTS;
    let datagram = Datagram {
        source: (source, source_port),
        destination: (destination, destination_port),
        payload: &payload,
    };
    udp_packet(&datagram, ttl)
}

/// The number of a test packet of this run. Nothing else of it is looked at.
pub fn number_of(packet: &[u8], mark: u32) -> Option<u32> {
    let rest = packet.get(HEADERS_BYTES..)?.strip_prefix(&mark.to_be_bytes())?;
    rest.first_chunk().map(|number| u32::from_be_bytes(*number))
}

/// The Internet checksum of parts, each but the last of an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u64;
    for part in parts {
        for pair in part.chunks(2) {
            let low = pair.get(1).copied().unwrap_or_default();
            sum += u64::from(u16::from_be_bytes([pair[0], low]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 7);
    const B: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

    #[test]
    fn a_packet_is_read_as_it_was_written_and_not_after_a_change() {
        for length in [PACKET_BYTES_MIN, 46, 577, 1400] {
            let mut packet = test_packet(A, B, [5, 77], length, TTL);
            assert_eq!(packet.len(), length);
            assert_eq!(number_of(&packet, 5), Some(77));
            assert_eq!(number_of(&packet, 6), None);
            let datagram = read_udp(&packet).unwrap();
            assert_eq!((datagram.source, datagram.destination), ((A, 40_000), (B, 40_001)));
            packet[length - 1] ^= 1;
            assert_eq!(read_udp(&packet), None);
        }
    }

    #[test]
    fn the_encoders_of_xlns_make_the_same_checksums() {
        use xlns_dataplane::wire::{ipv4, udp};
        let packet = test_packet(A, B, [1, 2], 46, TTL);
        let (_, lengths) = ipv4::parse(&packet).unwrap();
        assert_eq!(lengths.total, 46);
        assert!(udp::parse(&packet[lengths.header..]).is_some());
    }

    #[test]
    fn padding_is_cut_off_and_a_short_packet_is_none() {
        let packet = test_packet(A, B, [1, 2], 40, TTL);
        assert_eq!(read_udp(&[&packet[..], &[0; 6]].concat()), read_udp(&packet));
        assert_eq!(read_udp(&packet[..39]), None);
        assert_eq!(read_udp(&[]), None);
    }

    #[test]
    fn arp_is_answered_for_one_address() {
        let request =
            [&[0, 1, 8, 0, 6, 4, 0, 1][..], &[2; 6], &A.octets(), &[0; 6], &B.octets()].concat();
        let reply = arp_reply(&request, B, [4; 6]).unwrap();
        assert_eq!(reply[..8], [0, 1, 8, 0, 6, 4, 0, 2]);
        assert_eq!(reply[8..18], [&[4; 6][..], &B.octets()].concat());
        assert_eq!(reply[18..], [&[2; 6][..], &A.octets()].concat());
        assert_eq!(arp_reply(&request, A, [4; 6]), None);
        assert_eq!(arp_reply(&request[..20], B, [4; 6]), None);
    }
}
