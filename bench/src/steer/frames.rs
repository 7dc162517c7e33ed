//! The frames that are shown to the steering program.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where tunnels end, and a peer.
pub(super) const ENDPOINT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(super) const PEER: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 1);
/// The same over IPv6.
pub(super) const ENDPOINT_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb9, 0, 0, 0, 0, 0, 1);
const PEER_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb9, 0, 0, 0, 0, 0, 2);
const REMOTE: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 8);
const REMOTE_IPV6: Ipv6Addr = Ipv6Addr::new(0x2400, 0, 0, 0, 0, 0, 0, 1);

const UDP: u8 = 17;
const L2TP_PORT: u16 = 1701;

fn numbers(numbers: &[u16]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// Checksums are not looked at.
fn frame(source: IpAddr, destination: IpAddr, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9];
    frame.extend(if source.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] });
    frame.extend(packet(source, destination, payload));
    frame
}

fn packet(source: IpAddr, destination: IpAddr, payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u16;
    let mut packet = match source {
        IpAddr::V4(_) => numbers(&[0x4500, 20 + length, 1, 0, 64 << 8 | u16::from(UDP), 0]),
        IpAddr::V6(_) => numbers(&[0x6000, 0, length, u16::from(UDP) << 8 | 64]),
    };
    for address in [source, destination] {
        match address {
            IpAddr::V4(address) => packet.extend(address.octets()),
            IpAddr::V6(address) => packet.extend(address.octets()),
        }
    }
    packet.extend(payload);
    packet
}

fn datagram(port: u16, payload: &[u8]) -> Vec<u8> {
    let length = 8 + payload.len() as u16;
    [numbers(&[L2TP_PORT, port, length, 0]), payload.to_vec()].concat()
}

/// L2TP data with IPv4 in it, in a tunnel of either family.
pub(super) fn data(is_ipv4: bool) -> Vec<u8> {
    let inner = packet(Ipv4Addr::new(10, 0, 0, 1).into(), REMOTE.into(), &datagram(5000, &[0; 18]));
    let l2tp = [numbers(&[2, 7, 9, 0xff03, 0x0021]), inner].concat();
    let (from, to): (IpAddr, IpAddr) = match is_ipv4 {
        true => (PEER.into(), ENDPOINT.into()),
        false => (PEER_IPV6.into(), ENDPOINT_IPV6.into()),
    };
    frame(from, to, &datagram(L2TP_PORT, &l2tp))
}

/// The same with IPv6 in it.
pub(super) fn data_ipv6_inside() -> Vec<u8> {
    let subscriber = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    let inner = packet(subscriber.into(), REMOTE_IPV6.into(), &datagram(5000, &[0; 18]));
    let l2tp = [numbers(&[2, 7, 9, 0xff03, 0x0057]), inner].concat();
    frame(PEER.into(), ENDPOINT.into(), &datagram(L2TP_PORT, &l2tp))
}

/// L2TP control: a HELLO of a tunnel.
pub(super) fn control() -> Vec<u8> {
    let hello = numbers(&[0xc802, 20, 7, 0, 1, 1, 0x8008, 0, 0, 6]);
    frame(PEER.into(), ENDPOINT.into(), &datagram(L2TP_PORT, &hello))
}

/// From the network to a subscriber, or to somebody else.
pub(super) fn routed(destination: IpAddr) -> Vec<u8> {
    let source = if destination.is_ipv4() { REMOTE.into() } else { REMOTE_IPV6.into() };
    frame(source, destination, &datagram(5000, &[0; 18]))
}
