//! The packets of the benchmark, and the addresses that they and the tables agree on.

use std::net::{Ipv4Addr, SocketAddrV4};

use xlns_dataplane::api::SessionKey;
use xlns_dataplane::wire::checksum::{Sum, pseudo_ipv4};
use xlns_dataplane::wire::l2tp::{self, DataHeader};
use xlns_dataplane::wire::{ethernet, ipv4, ppp, udp};
use xlns_tests::topology::{CORE_ADDRESS, LAC_ADDRESS, LNS_ADDRESS};
use zerocopy::IntoBytes;
use zerocopy::network_endian::U16;

use super::traffic::TRAILER;

/// The most sessions: subscribers must fit [`SUBSCRIBER_NET`].
pub const SESSIONS_MAX: u32 = 1_000_000;

/// The subscribers' prefix: address and length.
pub const SUBSCRIBER_NET: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 64, 0, 0), 10);

/// Octets of a subscriber's IPv4 packet: what fills the smallest Ethernet frame (64 octets with its
/// check sequence).
pub const INNER_BYTES: usize = 46;

/// The least octets of a subscriber's packet that can be told from others.
const INNER_BYTES_MIN: usize = ipv4::HEADER_BYTES + udp::HEADER_BYTES + TRAILER.len();

/// Sessions in one tunnel: below 65,535, which the Session ID allows.
const SESSIONS_PER_TUNNEL: u32 = 50_000;

/// UDP ports of the subscribers' packets: no service of either side.
pub const INNER_PORTS: [u16; 2] = [40_000, 40_001];

const TTL: u8 = 64;

/// What payloads are filled with.
const FILL: u8 = 0x5a;

const _: () = assert!(SESSIONS_MAX + 1 < 1 << (32 - SUBSCRIBER_NET.1));
const _: () = assert!(SESSIONS_MAX.div_ceil(SESSIONS_PER_TUNNEL) < u16::MAX as u32);

/// IDs of a session, by its number; both sides use the same.
pub fn session_key(number: u32) -> SessionKey {
    SessionKey {
        local_tunnel_id: (1 + number / SESSIONS_PER_TUNNEL) as u16,
        local_session_id: (1 + number % SESSIONS_PER_TUNNEL) as u16,
    }
}

/// The subscriber's address.
pub fn subscriber(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(SUBSCRIBER_NET.0.to_bits() + 1 + number)
}

/// Addresses of the link that frames leave by.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    /// The generator's end.
    pub source: [u8; 6],
    /// The data plane's port.
    pub destination: [u8; 6],
}

impl Link {
    /// An Ethernet frame around an IPv4 packet.
    pub fn frame(self, packet: &[u8]) -> Vec<u8> {
        let header = ethernet::Header {
            destination: self.destination,
            source: self.source,
            ethertype: U16::new(ethernet::IPV4),
        };
        [header.as_bytes(), packet].concat()
    }
}

/// A session as its packets show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// The LAC's address and port.
    pub lac: SocketAddrV4,
    /// The LNS's.
    pub lns: SocketAddrV4,
    /// IDs that the LNS assigned.
    pub key: SessionKey,
    /// The subscriber's address.
    pub subscriber: Ipv4Addr,
}

impl Flow {
    /// A packet of so many octets from the subscriber, in its session.
    pub fn upstream(&self, inner_bytes: usize, link: Link) -> Vec<u8> {
        let SessionKey { local_tunnel_id, local_session_id } = self.key;
        let payload = [
            DataHeader::new(local_tunnel_id, local_session_id).as_bytes(),
            &ppp::ADDRESS_CONTROL,
            &ppp::IPV4.to_be_bytes(),
            &inner(self.subscriber, CORE_ADDRESS, inner_bytes),
        ]
        .concat();
        let ports = [self.lac.port(), self.lns.port()];
        link.frame(&datagram(*self.lac.ip(), *self.lns.ip(), ports, &payload))
    }

    /// A packet of so many octets from the core to the subscriber.
    pub fn downstream(&self, inner_bytes: usize, link: Link) -> Vec<u8> {
        link.frame(&inner(CORE_ADDRESS, self.subscriber, inner_bytes))
    }
}

/// The session with this number, where no control process has assigned anything.
pub fn flow(number: u32) -> Flow {
    Flow {
        lac: SocketAddrV4::new(LAC_ADDRESS, l2tp::PORT),
        lns: SocketAddrV4::new(LNS_ADDRESS, l2tp::PORT),
        key: session_key(number),
        subscriber: subscriber(number),
    }
}

/// From the subscriber, in its session.
pub fn upstream(number: u32, link: Link) -> Vec<u8> {
    flow(number).upstream(INNER_BYTES, link)
}

/// From the core to the subscriber.
pub fn downstream(number: u32, link: Link) -> Vec<u8> {
    flow(number).downstream(INNER_BYTES, link)
}

/// A packet between a subscriber and the core, which ends as the sink expects it.
fn inner(source: Ipv4Addr, destination: Ipv4Addr, bytes: usize) -> Vec<u8> {
    let fill = bytes.max(INNER_BYTES_MIN) - INNER_BYTES_MIN;
    let payload = [&vec![FILL; fill][..], &TRAILER].concat();
    datagram(source, destination, INNER_PORTS, &payload)
}

/// IPv4 and UDP around a payload, with both checksums.
pub fn datagram(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    [source_port, destination_port]: [u16; 2],
    payload: &[u8],
) -> Vec<u8> {
    let (source, destination) = (source.octets(), destination.octets());
    let udp_length = (udp::HEADER_BYTES + payload.len()) as u16;
    let mut udp = udp::Header {
        source: U16::new(source_port),
        destination: U16::new(destination_port),
        length: U16::new(udp_length),
        checksum: U16::ZERO,
    };
    udp.checksum = pseudo_ipv4(source, destination, udp::PROTOCOL, udp_length)
        .octets(udp.as_bytes())
        .octets(payload)
        .udp_checksum();
    let mut ip = ipv4::Header {
        version_ihl: 0x45,
        traffic_class: 0,
        total_length: U16::new(ipv4::HEADER_BYTES as u16 + udp_length),
        identification: U16::ZERO,
        fragment: U16::ZERO,
        ttl: TTL,
        protocol: udp::PROTOCOL,
        checksum: U16::ZERO,
        source,
        destination,
    };
    ip.checksum = Sum::default().octets(ip.as_bytes()).checksum();
    [ip.as_bytes(), udp.as_bytes(), payload].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: Link = Link { source: [2, 0, 0, 0, 0, 1], destination: [2, 0, 0, 0, 0, 2] };

    /// Proves an IPv4 packet with UDP in it correct; yields its addresses and UDP payload.
    fn read(packet: &[u8]) -> ([Ipv4Addr; 2], &[u8]) {
        let (header, lengths) = ipv4::parse(packet).unwrap();
        assert_eq!(lengths.total, packet.len());
        let segment = &packet[lengths.header..];
        let (_, payload) = udp::parse(segment).unwrap();
        let length = segment.len() as u16;
        let sum = pseudo_ipv4(header.source, header.destination, udp::PROTOCOL, length);
        assert!(sum.octets(segment).is_correct());
        ([header.source.into(), header.destination.into()], payload)
    }

    #[test]
    fn upstream_is_the_session_s_packet_in_l2tp() {
        for number in [0, 1, 49_999, 50_000, SESSIONS_MAX - 1] {
            let frame = upstream(number, LINK);
            assert_eq!(frame.len(), 14 + 20 + 8 + 6 + 4 + INNER_BYTES);
            assert_eq!(frame[..6], LINK.destination);
            let (addresses, datagram) = read(&frame[14..]);
            assert_eq!(addresses, [LAC_ADDRESS, LNS_ADDRESS]);
            let header = l2tp::parse(datagram).unwrap();
            let key = session_key(number);
            assert!(!header.control);
            assert_eq!(header.tunnel_id, key.local_tunnel_id);
            assert_eq!(header.session_id, key.local_session_id);
            assert_eq!(datagram[6..10], [0xff, 0x03, 0x00, 0x21]);
            let (addresses, _) = read(&datagram[10..]);
            assert_eq!(addresses, [subscriber(number), CORE_ADDRESS]);
        }
    }

    #[test]
    fn packets_are_as_long_as_asked_and_end_with_what_the_sink_looks_for() {
        let session = flow(3);
        for bytes in [INNER_BYTES_MIN, INNER_BYTES, 1400] {
            for (frame, headers) in [
                (session.upstream(bytes, LINK), 14 + 20 + 8 + 6 + 4),
                (session.downstream(bytes, LINK), 14),
            ] {
                assert_eq!(frame.len(), headers + bytes);
                assert_eq!(frame[frame.len() - TRAILER.len()..], TRAILER);
                read(&frame[14..]);
                read(&frame[headers..]);
            }
        }
    }

    #[test]
    fn long_packets_of_different_sessions_differ_in_their_heads_only() {
        let (one, other) = (flow(0), flow(60_000));
        let [one, other] = [one, other].map(|flow| flow.upstream(1400, LINK));
        let head = super::super::traffic::HEAD_BYTES_MAX;
        assert_ne!(one[..head], other[..head]);
        assert_eq!(one[head..], other[head..]);
    }

    #[test]
    fn downstream_is_a_small_packet_to_the_subscriber() {
        let frame = downstream(7, LINK);
        assert_eq!(frame.len(), 60);
        let (addresses, _) = read(&frame[14..]);
        assert_eq!(addresses, [CORE_ADDRESS, subscriber(7)]);
    }

    #[test]
    fn sessions_have_keys_and_addresses_of_their_own() {
        let numbers = [0, 1, 49_999, 50_000, 50_001, SESSIONS_MAX - 1];
        let keys: std::collections::BTreeSet<_> = numbers.map(session_key).into();
        assert_eq!(keys.len(), numbers.len());
        assert!(keys.iter().all(|key| key.local_tunnel_id > 0 && key.local_session_id > 0));
        let net = ipnet::Ipv4Net::new(SUBSCRIBER_NET.0, SUBSCRIBER_NET.1).unwrap();
        assert!(numbers.iter().all(|number| net.contains(&subscriber(*number))));
    }
}
