//! Builds packets, octet by octet and with a checksum of its own: nothing of the product is used,
//! so that the product is not compared with itself.

/// The Internet checksum by its definition.
pub fn checksum(octets: &[u8]) -> [u8; 2] {
    let mut sum = 0u32;
    for pair in octets.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

fn octets(address: &str) -> Vec<u8> {
    match address.parse().expect("an address") {
        std::net::IpAddr::V4(address) => address.octets().to_vec(),
        std::net::IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Checksum of a segment with its pseudo-header, either family.
fn segment_checksum(source: &str, destination: &str, protocol: u8, segment: &[u8]) -> [u8; 2] {
    let mut pseudo = [octets(source), octets(destination)].concat();
    pseudo.extend([0, protocol]);
    pseudo.extend((segment.len() as u16).to_be_bytes());
    pseudo.extend(segment);
    checksum(&pseudo)
}

/// An IP packet of the family of its addresses.
pub fn ip(source: &str, destination: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
    ip_with(source, destination, protocol, 64, 0, payload)
}

/// As [`ip`], with TTL and, for IPv4, the word of flags and fragment offset.
pub fn ip_with(
    source: &str,
    destination: &str,
    protocol: u8,
    ttl: u8,
    fragment: u16,
    payload: &[u8],
) -> Vec<u8> {
    let mut packet;
    if source.contains(':') {
        packet = vec![0x60, 0, 0, 0];
        packet.extend((payload.len() as u16).to_be_bytes());
        packet.extend([protocol, ttl]);
        packet.extend(octets(source));
        packet.extend(octets(destination));
    } else {
        packet = vec![0x45, 0];
        packet.extend((payload.len() as u16 + 20).to_be_bytes());
        packet.extend([0x12, 0x34]);
        packet.extend(fragment.to_be_bytes());
        packet.extend([ttl, protocol, 0, 0]);
        packet.extend(octets(source));
        packet.extend(octets(destination));
        seal(&mut packet);
    }
    packet.extend(payload);
    packet
}

/// Makes the checksum of an IPv4 header right.
pub fn seal(packet: &mut [u8]) {
    let header = usize::from(packet[0] & 0xf) * 4;
    packet[10..12].fill(0);
    let sum = checksum(&packet[..header]);
    packet[10..12].copy_from_slice(&sum);
}

/// Puts four octets of options (no-operation and end) into an IPv4 header.
pub fn with_options(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet.splice(20..20, [1, 1, 1, 0]);
    packet[0] = 0x46;
    let total = u16::from_be_bytes([packet[2], packet[3]]) + 4;
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    seal(&mut packet);
    packet
}

/// Sends a packet by way of `next`: the destination moves into a loose source route (RFC 791
/// section 3.1), the checksum of what is inside stays that of the end of the way.
pub fn source_routed(packet: &[u8], next: &str) -> Vec<u8> {
    let mut packet = packet.to_vec();
    let route = [&[131, 7, 4], &packet[16..20], &[0]].concat();
    packet[16..20].copy_from_slice(&octets(next));
    packet.splice(20..20, route);
    packet[0] = 0x47;
    let total = u16::from_be_bytes([packet[2], packet[3]]) + 8;
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    seal(&mut packet);
    packet
}

/// A UDP packet.
pub fn udp(source: &str, destination: &str, ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let mut segment = udp_unsummed(ports, payload);
    let sum = segment_checksum(source, destination, 17, &segment);
    segment[6..8].copy_from_slice(&sum);
    ip(source, destination, 17, &segment)
}

/// A UDP segment with checksum 0.
pub fn udp_unsummed(ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let mut segment = ports[0].to_be_bytes().to_vec();
    segment.extend(ports[1].to_be_bytes());
    segment.extend((payload.len() as u16 + 8).to_be_bytes());
    segment.extend([0, 0]);
    segment.extend(payload);
    segment
}

/// A TCP segment with PSH and ACK.
pub fn tcp(source: &str, destination: &str, payload: &[u8]) -> Vec<u8> {
    let mut segment =
        vec![0xc0, 0x01, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0x20, 0, 0, 0, 0, 0];
    segment.extend(payload);
    let sum = segment_checksum(source, destination, 6, &segment);
    segment[16..18].copy_from_slice(&sum);
    ip(source, destination, 6, &segment)
}

/// A TCP segment that begins a connection: flags, options, no data.
pub fn tcp_with(source: &str, destination: &str, flags: u8, options: &[u8]) -> Vec<u8> {
    let offset = ((20 + options.len()) / 4) as u8;
    let mut segment =
        vec![0xc0, 0x01, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, offset << 4, flags, 0x20, 0, 0, 0, 0, 0];
    segment.extend(options);
    let sum = segment_checksum(source, destination, 6, &segment);
    segment[16..18].copy_from_slice(&sum);
    ip(source, destination, 6, &segment)
}

/// Gives an IP packet a traffic class.
pub fn with_class(packet: &[u8], class: u8) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet[0] >> 4 == 4 {
        packet[1] = class;
        seal(&mut packet);
    } else {
        packet[0] = 0x60 | class >> 4;
        packet[1] = class << 4;
    }
    packet
}

/// Forbids routers to fragment an IPv4 packet.
pub fn whole(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[6] |= 0x40;
    seal(&mut packet);
    packet
}

/// An echo request of ICMP or ICMPv6.
pub fn ping(source: &str, destination: &str, payload: &[u8]) -> Vec<u8> {
    let ipv6 = source.contains(':');
    let mut message = vec![if ipv6 { 128 } else { 8 }, 0, 0, 0, 0, 7, 0, 1];
    message.extend(payload);
    let sum =
        if ipv6 { segment_checksum(source, destination, 58, &message) } else { checksum(&message) };
    message[2..4].copy_from_slice(&sum);
    ip(source, destination, if ipv6 { 58 } else { 1 }, &message)
}

/// An Ethernet frame, with the EtherType of what the packet's version says.
pub fn ethernet(packet: &[u8]) -> Vec<u8> {
    tagged(&[], packet)
}

/// As [`ethernet`], filled up to the least length with octets that are not zero.
pub fn padded(packet: &[u8]) -> Vec<u8> {
    let mut frame = ethernet(packet);
    let length = frame.len().max(60) + 3;
    frame.resize(length, 0xee);
    frame
}

/// As [`ethernet`], with tags: EtherType and VLAN.
pub fn tagged(tags: &[(u16, u16)], packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 0xa0, 2, 0, 0, 0, 0, 0x01];
    for (ethertype, vlan) in tags {
        frame.extend(ethertype.to_be_bytes());
        frame.extend(vlan.to_be_bytes());
    }
    let ethertype: u16 = if packet[0] >> 4 == 4 { 0x0800 } else { 0x86dd };
    frame.extend(ethertype.to_be_bytes());
    frame.extend(packet);
    frame
}

/// L2TP data: optional fields by what is given.
#[derive(Debug, Clone, Copy, Default)]
pub struct L2tp {
    pub tunnel: u16,
    pub session: u16,
    pub length: bool,
    pub sequence: bool,
    pub offset: Option<u8>,
    pub priority: bool,
    pub ns: u16,
}

impl L2tp {
    pub fn new(session: u16) -> Self {
        Self { tunnel: 0x0011, session, ..Self::default() }
    }

    /// Header and payload.
    pub fn with(self, payload: &[u8]) -> Vec<u8> {
        let bit = |set: bool, bit: u16| if set { bit } else { 0 };
        let flags = bit(self.length, 0x4000)
            | bit(self.sequence, 0x0800)
            | bit(self.offset.is_some(), 0x0200)
            | bit(self.priority, 0x0100);
        let mut message = (flags | 2).to_be_bytes().to_vec();
        if self.length {
            message.extend([0, 0]);
        }
        message.extend(self.tunnel.to_be_bytes());
        message.extend(self.session.to_be_bytes());
        if self.sequence {
            message.extend(self.ns.to_be_bytes());
            message.extend([0, 0]);
        }
        if let Some(offset) = self.offset {
            message.extend([0, offset]);
            message.extend(vec![0xa5; offset.into()]);
        }
        message.extend(payload);
        if self.length {
            let length = (message.len() as u16).to_be_bytes();
            message[2..4].copy_from_slice(&length);
        }
        message
    }
}

/// A PPP frame with everything in front.
pub fn ppp(protocol: u16, information: &[u8]) -> Vec<u8> {
    [&[0xff, 0x03], &protocol.to_be_bytes()[..], information].concat()
}

/// The PPP frame of an IP packet.
pub fn ppp_ip(packet: &[u8]) -> Vec<u8> {
    ppp(if packet[0] >> 4 == 4 { 0x0021 } else { 0x0057 }, packet)
}

/// An LCP packet with a magic number.
pub fn echo(code: u8, identifier: u8, magic: u32, text: &[u8]) -> Vec<u8> {
    let mut packet = vec![code, identifier];
    packet.extend((text.len() as u16 + 8).to_be_bytes());
    packet.extend(magic.to_be_bytes());
    packet.extend(text);
    packet
}

/// What the LAC sends: an Ethernet frame with L2TP data to session `session`.
pub fn from_lac(session: u16, ppp: &[u8]) -> Vec<u8> {
    ethernet(&datagram(&L2tp::new(session).with(ppp)))
}

/// A datagram of the LAC to our L2TP port.
pub fn datagram(message: &[u8]) -> Vec<u8> {
    udp(super::machine::LAC, super::machine::ENDPOINT, [1701, 1701], message)
}
