//! The quick way against the general one: same frames, same tables, same result.

mod quality;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;
use crate::api::{
    Command, Dscp, Policer, RouteTarget, SequenceNumbers, Session, SessionKey, SessionOptions,
    TrafficClass,
};
use crate::counters::SessionCounters;
use crate::port::PortId;
use crate::port::memory::MemoryPool;
use crate::tables::{self, Limits, PortInfo, PortKind, Writer};
use crate::wire::checksum::{Sum, pseudo_ipv4, pseudo_ipv6};

const SESSIONS: u16 = 16;
const L2TP_PORT: u16 = 1701;
const ENDPOINT: [u8; 4] = [192, 0, 2, 1];
const PEER: [u8; 4] = [172, 16, 0, 1];

const PEER_TAGGED: [u8; 4] = [172, 17, 0, 1];
const ENDPOINT_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb9, 0, 0, 0, 0, 0, 1);
const PEER_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb9, 0, 0, 0, 0, 0, 2);

fn subscriber(id: u16) -> [u8; 4] {
    [10, 0, 0, id as u8]
}

fn subscriber_ipv6(id: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, id, 0, 0, 0, 1)
}

/// Tunnel endpoint and peer of a session.
fn ends(id: u16) -> (IpAddr, IpAddr) {
    match id {
        8 | 16 => (ENDPOINT_IPV6.into(), PEER_IPV6.into()),
        9 => (ENDPOINT.into(), PEER_TAGGED.into()),
        _ => (ENDPOINT.into(), PEER.into()),
    }
}

fn options(id: u16) -> SessionOptions {
    let plain = SessionOptions::default();
    // Few packets and then none for long.
    let policer = Some(Policer { rate_bits_per_second: 8_000, burst_bytes: 1_500 });
    let policed = SessionOptions { police_upstream: policer, police_downstream: policer, ..plain };
    match id {
        7 => policed,
        10 => SessionOptions { sequence: SequenceNumbers::Always, first_ns: 0xffff, ..plain },
        11 => SessionOptions { udp_checksum: false, ..plain },
        12 => {
            SessionOptions { traffic_class: TrafficClass { dscp: Dscp::Copy, ecn: true }, ..plain }
        }
        13 => SessionOptions { sequence: SequenceNumbers::AsPeer, ..policed },
        14 => SessionOptions { verify_checksum: true, ..plain },
        15 => SessionOptions { mss_clamp: false, ..policed },
        16 => SessionOptions {
            sequence: SequenceNumbers::Always,
            traffic_class: TrafficClass { dscp: Dscp::Set(46), ecn: false },
            ..policed
        },
        _ => plain,
    }
}

fn set_up() -> (Arc<Tables>, Writer) {
    let ethernet = |last, mtu, vlan| PortInfo {
        kind: PortKind::Ethernet,
        mac: [2, 0, 0, 0, 0, last],
        mtu,
        vlan,
    };
    let host = PortInfo { kind: PortKind::Host, mac: [0; 6], mtu: 1500, vlan: None };
    let limits = Limits {
        sessions_max: SESSIONS.into(),
        routes_max: 32,
        workers: 2,
        l2tp_port: L2TP_PORT,
        l2tp_port_count: 3,
        gateways: Default::default(),
        quality: None,
        ports: vec![
            ethernet(1, 120, None),
            ethernet(2, 90, None),
            ethernet(3, 90, Some(7)),
            ethernet(4, 120, Some(8)),
            host,
        ],
    };
    let (tables, mut writer) = tables::new(&limits).unwrap();
    for command in routes().into_iter().chain((1..=SESSIONS).map(session)) {
        writer.apply(&command).unwrap();
    }
    (tables, writer)
}

/// Both endpoints, next hops and the ways that lead there.
fn routes() -> Vec<Command> {
    let route = |prefix: &str, port, gateway: &str| Command::RouteSet {
        prefix: prefix.parse().unwrap(),
        target: RouteTarget::Neighbor { port, gateway: gateway.parse().unwrap() },
    };
    let neighbor = |port, address: &str| Command::NeighborSet {
        port,
        address: address.parse().unwrap(),
        mac: [6; 6],
    };
    let endpoint = |address| Command::HostAddressSet { address, tunnel_endpoint: true };
    vec![
        endpoint(ENDPOINT.into()),
        endpoint(ENDPOINT_IPV6.into()),
        route("0.0.0.0/0", 1, "198.51.100.1"),
        route("::/0", 1, "2001:db9:1::1"),
        route("9.0.0.0/8", 2, "198.51.101.1"),
        neighbor(1, "198.51.100.1"),
        neighbor(1, "2001:db9:1::1"),
        neighbor(2, "198.51.101.1"),
        // A next hop that is not known.
        route("8.9.0.0/16", 1, "198.51.100.2"),
        route("172.16.0.0/16", 0, "172.16.0.1"),
        route("172.17.0.0/16", 3, "172.17.0.1"),
        route("2001:db9::2/128", 0, "2001:db9::2"),
        neighbor(0, "172.16.0.1"),
        neighbor(3, "172.17.0.1"),
        neighbor(0, "2001:db9::2"),
    ]
}

/// The session with this ID, and what is particular of it.
fn session(id: u16) -> Command {
    let mut prefixes = vec![IpNet::from(IpAddr::from(subscriber(id)))];
    prefixes.push(IpNet::new(subscriber_ipv6(id).into(), 64).unwrap().trunc());
    let (local, peer) = ends(id);
    if id == 5 {
        prefixes.push("10.1.0.0/24".parse().unwrap());
    }
    Command::SessionSet(Box::new(Session {
        key: SessionKey { local_tunnel_id: 7, local_session_id: id },
        peer_tunnel_id: 9,
        peer_session_id: id,
        local: (local, L2TP_PORT).into(),
        // One whose tunnel comes from another port.
        peer: (peer, if id == 6 { 4000 } else { L2TP_PORT }).into(),
        send_acfc: id & 1 != 0,
        send_pfc: id & 2 != 0,
        magic: 0,
        peer_mru: 80,
        prefixes,
        source_check: true,
        gateway: None,
        options: options(id),
    }))
}

/// An IP packet with a correct header.
fn ip(protocol: u8, ends: [IpAddr; 2], hops: u8, class: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u8;
    let mut packet = match ends {
        [IpAddr::V4(source), IpAddr::V4(destination)] => {
            let front = [0x45, class, 0, 20 + length, 0, 1, 0, 0, hops, protocol, 0, 0];
            [front.as_slice(), &source.octets(), &destination.octets()].concat()
        }
        [IpAddr::V6(source), IpAddr::V6(destination)] => {
            let front = [0x60 | class >> 4, class << 4, 0, 0, 0, length, protocol, hops];
            [front.as_slice(), &source.octets(), &destination.octets()].concat()
        }
        _ => panic!("of one family"),
    };
    if ends[0].is_ipv4() {
        let sum = Sum::default().octets(&packet).checksum();
        packet[10..12].copy_from_slice(&sum.to_bytes());
    }
    packet.extend(payload);
    packet
}

fn ipv4(protocol: u8, source: [u8; 4], destination: [u8; 4], ttl: u8, payload: &[u8]) -> Vec<u8> {
    ip(protocol, [source.into(), destination.into()], ttl, 0, payload)
}

fn pseudo([from, to]: [IpAddr; 2], protocol: u8, length: u16) -> Sum {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            pseudo_ipv4(from.octets(), to.octets(), protocol, length)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            pseudo_ipv6(from.octets(), to.octets(), protocol, length)
        }
        _ => panic!("of one family"),
    }
}

fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let words = [source, destination, 8 + payload.len() as u16, 0];
    let mut datagram = words.map(u16::to_be_bytes).concat();
    datagram.extend(payload);
    datagram
}

/// What the packet of a subscriber may look like.
#[derive(Debug, Clone)]
struct Shape {
    id: u16,
    remote: [u8; 4],
    protocol: u8,
    payload: Vec<u8>,
    ttl: u8,
    upstream: bool,
    framing: usize,
    with_length: bool,
    /// How far the tunnel's port here is from the first one.
    port: u16,
    /// Inside.
    ipv6: bool,
    tagged: bool,
    /// A sequence number.
    ns: Option<u16>,
    /// Traffic classes, inside and outside.
    classes: [u8; 2],
    /// Octets changed: place and difference.
    damage: Option<(usize, u8)>,
    /// Octets cut off the end, or added to it.
    tail: isize,
}

fn shapes() -> impl Strategy<Value = Shape> {
    let remote = prop_oneof![
        6 => any::<[u8; 3]>().prop_map(|[b, c, d]| [8, b, c, d]),
        1 => Just([8, 9, 1, 1]),
        2 => any::<[u8; 3]>().prop_map(|[b, c, d]| [9, b, c, d]),
        1 => (1..=SESSIONS).prop_map(subscriber),
        1 => prop_oneof![Just([127, 0, 0, 1]), Just([0; 4]), Just([224, 0, 0, 5]), Just(ENDPOINT),
            Just([169, 254, 0, 1]), Just([169, 253, 0, 1]), Just([255; 4])],
    ];
    let kind = (prop_oneof![Just(17u8), Just(6), Just(1), Just(50)], 0usize..70);
    let damage = proptest::option::weighted(0.5, (0usize..80, any::<u8>()));
    let class = || prop_oneof![6 => Just(0u8), 1 => any::<u8>()];
    let varied = (
        any::<bool>(),
        proptest::bool::weighted(0.3),
        proptest::option::weighted(0.3, prop_oneof![0u16..4, 0xfffcu16..=0xffff]),
        class(),
        prop_oneof![3 => Just(0u8), 1 => class()],
    );
    (
        (1..=SESSIONS + 1, remote, kind, prop_oneof![4 => Just(64u8), 1 => 0u8..3], varied),
        (
            any::<bool>(),
            0usize..6,
            any::<bool>(),
            0u16..4,
            damage,
            prop_oneof![4 => Just(0isize), 1 => -3..9isize],
        ),
    )
        .prop_map(|((id, remote, (protocol, size), ttl, varied), rest)| {
            let (upstream, framing, with_length, port, damage, tail) = rest;
            let (ipv6, tagged, ns, inside, outside) = varied;
            let payload = vec![0x5a; size];
            Shape {
                id,
                remote,
                protocol,
                payload,
                ttl,
                upstream,
                framing,
                with_length,
                port,
                ipv6,
                tagged,
                ns,
                classes: [inside, outside],
                damage,
                tail,
            }
        })
}

/// Subscriber and remote address of a packet.
fn addresses(shape: &Shape) -> [IpAddr; 2] {
    if !shape.ipv6 {
        return [subscriber(shape.id).into(), shape.remote.into()];
    }
    let [first, b, c, d] = shape.remote;
    let remote = match first {
        10 => subscriber_ipv6(d.into()),
        127 => Ipv6Addr::LOCALHOST,
        0 => Ipv6Addr::UNSPECIFIED,
        169 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1),
        224 => Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 5),
        192 => ENDPOINT_IPV6,
        _ => Ipv6Addr::new(0x2400, b.into(), c.into(), 0, 0, 0, 0, d.into()),
    };
    [subscriber_ipv6(shape.id).into(), remote.into()]
}

fn segment(shape: &Shape, ends: [IpAddr; 2]) -> Vec<u8> {
    match shape.protocol {
        17 => {
            let mut datagram = udp(4000, 5000, &shape.payload);
            let sum = pseudo(ends, 17, datagram.len() as u16).octets(&datagram).udp_checksum();
            // Some without a checksum.
            if shape.payload.len() % 4 != 1 {
                datagram[6..8].copy_from_slice(&sum.to_bytes());
            }
            datagram
        }
        // A SYN with an MSS that is too large, and one that has none.
        6 if shape.payload.len().is_multiple_of(2) && shape.payload.len() >= 24 => {
            let mut segment = shape.payload.clone();
            segment[12..14].copy_from_slice(&[0x60, 0x02]);
            segment[20..24].copy_from_slice(&[2, 4, 0xff, 0xff]);
            segment
        }
        _ => shape.payload.clone(),
    }
}

/// The datagram of a tunnel with the packet in it.
fn tunnelled(shape: &Shape, packet: &[u8]) -> Vec<u8> {
    let low = if shape.ipv6 { 0x57 } else { 0x21 };
    let framing = [
        vec![0xff, 0x03, 0x00, low],
        vec![0x00, low],
        vec![0xff, 0x03, low],
        vec![low],
        vec![0xff, 0x03, 0x00, 0x57],
        vec![0xff, 0x03, 0x00, 0x21],
    ];
    let framing = &framing[shape.framing];
    let mut flags = 0x0002;
    let mut numbers = vec![7, shape.id];
    if let Some(ns) = shape.ns {
        flags |= 0x0800;
        numbers.extend([ns, 0]);
    }
    if shape.with_length {
        flags |= 0x4000;
        let front = 4 + 2 * numbers.len();
        numbers.insert(0, (front + framing.len() + packet.len()) as u16);
    }
    numbers.insert(0, flags);
    let l2tp: Vec<u8> = numbers.into_iter().flat_map(u16::to_be_bytes).collect();
    udp(L2TP_PORT, L2TP_PORT + shape.port, &[&l2tp, framing, packet].concat())
}

/// The frame, and the port that it comes from.
fn build(shape: &Shape) -> (PortId, Vec<u8>) {
    let mut ends_inside = addresses(shape);
    if !shape.upstream {
        ends_inside.reverse();
    }
    let protocol = if shape.ipv6 && shape.protocol == 1 { 58 } else { shape.protocol };
    let segment = segment(shape, ends_inside);
    let [inside, outside] = shape.classes;
    let mut packet = ip(protocol, ends_inside, shape.ttl, inside, &segment);
    let mut is_ipv4 = !shape.ipv6;
    if shape.upstream {
        let (local, peer) = ends(shape.id);
        packet = ip(17, [peer, local], 64, outside, &tunnelled(shape, &packet));
        is_ipv4 = local.is_ipv4();
    }
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9];
    if shape.tagged {
        frame.extend([0x81, 0x00, 0, 7]);
    }
    frame.extend(if is_ipv4 { [0x08, 0x00] } else { [0x86, 0xdd] });
    frame.extend(packet);
    if let Some((place, difference)) = shape.damage {
        let length = frame.len();
        frame[place % length] ^= difference;
    }
    let length = frame.len().saturating_add_signed(shape.tail);
    frame.resize(length, 0);
    (PortId(if shape.upstream { 0 } else { 1 }), frame)
}

/// What became of each frame: its verdict, and its octets if it was sent.
fn outcome(
    pipeline: &mut Pipeline,
    guard: &Guard<'_>,
    built: &[(PortId, Vec<u8>)],
) -> Vec<(Verdict, Vec<u8>)> {
    let mut pool = MemoryPool::new(built.len());
    let mut frames: Vec<_> =
        built.iter().map(|(port, octets)| pool.receive(*port, octets).unwrap()).collect();
    let mut verdicts = Vec::new();
    pipeline.process(guard, &mut frames, &mut verdicts);
    assert_eq!(verdicts.len(), frames.len());
    let octets = |verdict: &Verdict, frame: &Frame| match verdict {
        Verdict::Transmit(_) => frame.octets().to_vec(),
        Verdict::Drop(_) | Verdict::Hold | Verdict::Measured | Verdict::Handoff(_) => Vec::new(),
    };
    verdicts.iter().zip(&frames).map(|(v, f)| (*v, octets(v, f))).collect()
}

fn counters(writer: &Writer) -> Vec<SessionCounters> {
    writer.session_counters(0, 99).0.into_iter().map(|(_, counters)| counters).collect()
}

/// Runs the frames through both and compares. Returns how many began the quick way.
fn compare(shapes: &[Shape]) -> usize {
    let (tables, writer) = set_up();
    let built: Vec<_> = shapes.iter().map(build).collect();
    let mut reader = tables.register(0);
    let guard = reader.guard();

    let mut general = Pipeline::new(Arc::clone(&tables), 0);
    // All ports come after it: no frame has a common shape.
    general.shapes.host_port = PortId(0);
    let expected = outcome(&mut general, &guard, &built);
    let counted = counters(&writer);

    // Fresh ones: sessions remember sequence numbers.
    let (tables, writer) = set_up();
    let mut reader = tables.register(0);
    let guard = reader.guard();
    let mut quick = Pipeline::new(Arc::clone(&tables), 0);
    let found = outcome(&mut quick, &guard, &built);
    for (((frame, shape), expected), found) in built.iter().zip(shapes).zip(expected).zip(found) {
        assert_eq!(found, expected, "{shape:?} {frame:02x?}");
    }
    assert_eq!(counters(&writer), counted);
    quick_count(&tables, &built)
}

fn quick_count(tables: &Tables, built: &[(PortId, Vec<u8>)]) -> usize {
    let shapes = Shapes::new(tables);
    let mut pool = MemoryPool::new(built.len());
    let mut work = Work::Drop(NO_ROOM);
    let mut is_quick = |(port, octets): &&(PortId, Vec<u8>)| {
        let frame = pool.receive(*port, octets).unwrap();
        shapes.classify(&frame, &mut work).is_some()
            || shapes.classify_varied(&frame, &mut work).is_some()
    };
    built.iter().filter(|built| is_quick(built)).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn quick_and_general_say_the_same(shapes in prop::collection::vec(shapes(), 1..100)) {
        compare(&shapes);
    }
}

fn plain() -> Shape {
    Shape {
        id: 4,
        remote: [8, 8, 8, 8],
        protocol: 17,
        payload: vec![1; 18],
        ttl: 64,
        upstream: true,
        framing: 0,
        with_length: false,
        port: 2,
        ipv6: false,
        tagged: false,
        ns: None,
        classes: [0; 2],
        damage: None,
        tail: 0,
    }
}

#[test]
fn frequent_shapes_go_the_quick_way() {
    let all: Vec<_> = [(true, 0, true), (true, 1, false), (false, 0, false)]
        .into_iter()
        .map(|(upstream, framing, with_length)| Shape { upstream, framing, with_length, ..plain() })
        .chain([6, 1].map(|protocol| Shape { protocol, payload: vec![1; 20], ..plain() }))
        .collect();
    assert_eq!(compare(&all), all.len());
    // Every way of the framing to a subscriber, at the size that just fits and one above.
    let downstream: Vec<_> = (1..=4)
        .flat_map(|id| [60, 61].map(|size| (id, size)))
        .map(|(id, size)| Shape {
            id,
            protocol: 6,
            payload: vec![1; size],
            upstream: false,
            ..plain()
        })
        .collect();
    assert_eq!(compare(&downstream), downstream.len());
}

#[test]
fn known_shapes_go_the_second_quick_way() {
    // Each session both ways, each family inside, tagged and not, with and without a number.
    let all: Vec<_> = (1..=SESSIONS)
        .flat_map(|id| (0..16u8).map(move |bits| (id, [1, 2, 4, 8].map(|bit| bits & bit != 0))))
        .map(|(id, [upstream, ipv6, tagged, numbered])| Shape {
            id,
            upstream,
            ipv6,
            tagged,
            ns: numbered.then_some(3),
            remote: if tagged { [9, 8, 8, 8] } else { [8, 8, 8, 8] },
            ..plain()
        })
        .collect();
    assert_eq!(compare(&all), all.len());
}

#[test]
fn policers_drop_the_same() {
    for id in [7, 13, 15, 16] {
        for upstream in [true, false] {
            let shape = Shape { id, upstream, payload: vec![1; 22], ..plain() };
            let shapes = vec![shape; 60];
            assert_eq!(compare(&shapes), shapes.len());
            let (tables, _writer) = set_up();
            let mut reader = tables.register(0);
            let mut pipeline = Pipeline::new(Arc::clone(&tables), 0);
            let built: Vec<_> = shapes.iter().map(build).collect();
            let outcome = outcome(&mut pipeline, &reader.guard(), &built);
            let passed = outcome.iter().filter(|(v, _)| matches!(v, Verdict::Transmit(_))).count();
            // Fifty octets of 1500 each; nothing comes back as no time passes.
            assert_eq!(passed, 30, "{id} {upstream}");
            assert_eq!(outcome[30].0, Verdict::Drop(DropReason::Policed));
        }
    }
}
