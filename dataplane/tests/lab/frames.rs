//! Frames of these tests, built octet by octet so that nothing of the code under test makes them.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The LNS's tunnel endpoint.
pub const LNS: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
/// The tunnel peer.
pub const LAC: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
/// A host of the core network.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 9);
/// The subscriber.
pub const SUBSCRIBER: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 7);

/// An Ethernet frame with an IP packet of either version.
pub fn ethernet(destination: [u8; 6], source: [u8; 6], packet: &[u8]) -> Vec<u8> {
    let ethertype = if packet[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] };
    [&destination[..], &source, &ethertype, packet].concat()
}

/// An IPv4 packet with a correct header checksum.
pub fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = (20 + payload.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    let checksum = checksum(&packet);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend(payload);
    packet
}

/// An IPv4 packet in two fragments (RFC 791 section 3.2), the second one first. `at`: octets of the
/// payload that the first one carries, a multiple of 8.
pub fn fragments(packet: &[u8], at: usize) -> [Vec<u8>; 2] {
    let part = |octets: &[u8], word: u16| {
        let mut part = [&packet[..20], octets].concat();
        let length = part.len() as u16;
        part[2..4].copy_from_slice(&length.to_be_bytes());
        part[4..8].copy_from_slice(&[&[0x77, 0x77], &word.to_be_bytes()[..]].concat());
        part[10..12].fill(0);
        let checksum = checksum(&part[..20]);
        part[10..12].copy_from_slice(&checksum.to_be_bytes());
        part
    };
    let (first, last) = packet[20..].split_at(at);
    [part(last, (at / 8) as u16), part(first, 0x2000)]
}

/// A UDP datagram in IPv6, in two fragments (RFC 8200 section 4.5), the second one first.
pub fn fragments6(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    ports: u16,
    data: &[u8],
) -> [Vec<u8>; 2] {
    let mut datagram = udp(ports, ports, data);
    let mut summed = [source.octets(), destination.octets()].concat();
    summed.extend((datagram.len() as u32).to_be_bytes());
    summed.extend([0, 0, 0, 17]);
    summed.extend(&datagram);
    datagram[6..8].copy_from_slice(&checksum(&summed).to_be_bytes());
    let part = |octets: &[u8], word: u16| {
        let mut part = vec![0x60, 0, 0, 0];
        part.extend((octets.len() as u16 + 8).to_be_bytes());
        part.extend([44, 64]);
        part.extend(source.octets());
        part.extend(destination.octets());
        part.extend([17, 0]);
        part.extend(word.to_be_bytes());
        part.extend([0, 0, 0x77, 0x77]);
        part.extend(octets);
        part
    };
    let (first, last) = datagram.split_at(64);
    [part(last, 64), part(first, 1)]
}

/// A UDP datagram without a checksum.
pub fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    datagram.extend(source.to_be_bytes());
    datagram.extend(destination.to_be_bytes());
    datagram.extend(((8 + payload.len()) as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    datagram
}

/// An ICMP echo request or reply.
pub fn icmp_echo(kind: u8, sequence: u16) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, 0x12, 0x34];
    message.extend(sequence.to_be_bytes());
    message.extend(b"sixteen octets..");
    let checksum = checksum(&message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message
}

/// A PPP frame in L2TP from the peer to the LNS: IDs that the LNS assigned (RFC 2661 section 3.1).
pub fn l2tp(tunnel: u16, session: u16, protocol: u16, payload: &[u8]) -> Vec<u8> {
    let mut message = vec![0x00, 0x02];
    message.extend(tunnel.to_be_bytes());
    message.extend(session.to_be_bytes());
    message.extend([0xff, 0x03]);
    message.extend(protocol.to_be_bytes());
    message.extend(payload);
    ipv4(LAC, LNS, 17, &udp(1701, 1701, &message))
}

/// What follows the UDP header of an Ethernet frame from the LNS to the peer.
pub fn l2tp_payload(frame: &[u8]) -> Option<&[u8]> {
    let packet = ipv4_packet(frame)?;
    let to_peer = packet[9] == 17 && packet[12..20] == addresses(LNS, LAC);
    to_peer.then(|| &packet[28..])
}

/// The IPv4 packet of an Ethernet frame; its header checksum must be right.
pub fn ipv4_packet(frame: &[u8]) -> Option<&[u8]> {
    let packet = frame.strip_prefix(&frame[..12])?.strip_prefix(&[0x08, 0x00])?;
    let length = u16::from_be_bytes([packet[2], packet[3]]).into();
    assert_eq!(checksum(&packet[..20]), 0, "header checksum");
    packet.get(..length)
}

/// The PPP protocol and what follows it, of an L2TP data message with these IDs and any header form.
pub fn ppp(message: &[u8], tunnel: u16, session: u16) -> Option<(u16, &[u8])> {
    let at = if message[0] & 0x40 != 0 { 4 } else { 2 };
    let ids = [tunnel.to_be_bytes(), session.to_be_bytes()].concat();
    let frame = message[at..].strip_prefix(&ids[..])?;
    let frame = frame.strip_prefix(&[0xff, 0x03]).unwrap_or(frame);
    Some((u16::from_be_bytes([frame[0], frame[1]]), &frame[2..]))
}

/// Two addresses as they stand in an IPv4 header.
pub fn addresses(source: Ipv4Addr, destination: Ipv4Addr) -> [u8; 8] {
    let mut octets = [0; 8];
    octets[..4].copy_from_slice(&source.octets());
    octets[4..].copy_from_slice(&destination.octets());
    octets
}

fn checksum(octets: &[u8]) -> u16 {
    let mut sum: u32 = octets
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
