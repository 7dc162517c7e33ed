//! The quick way against the general one: same frames, same tables, same result.

mod quality;

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;
use crate::api::{Command, RouteTarget, Session, SessionKey, SessionOptions};
use crate::counters::SessionCounters;
use crate::port::PortId;
use crate::port::memory::MemoryPool;
use crate::tables::{self, Limits, PortInfo, PortKind, Writer};
use crate::wire::checksum::{Sum, pseudo_ipv4};

const SESSIONS: u16 = 8;
const L2TP_PORT: u16 = 1701;
const ENDPOINT: [u8; 4] = [192, 0, 2, 1];
const PEER: [u8; 4] = [172, 16, 0, 1];

fn subscriber(id: u16) -> [u8; 4] {
    [10, 0, 0, id as u8]
}

fn set_up() -> (Arc<Tables>, Writer) {
    let ethernet = |last, mtu| PortInfo {
        kind: PortKind::Ethernet,
        mac: [2, 0, 0, 0, 0, last],
        mtu,
        vlan: None,
    };
    let host = PortInfo { kind: PortKind::Host, mac: [0; 6], mtu: 1500, vlan: None };
    let limits = Limits {
        sessions_max: SESSIONS.into(),
        routes_max: 16,
        workers: 2,
        l2tp_port: L2TP_PORT,
        l2tp_port_count: 3,
        gateways: Default::default(),
        quality: None,
        ports: vec![ethernet(1, 120), ethernet(2, 90), host],
    };
    let (tables, mut writer) = tables::new(&limits).unwrap();
    let route = |prefix: &str, port, gateway: [u8; 4]| Command::RouteSet {
        prefix: prefix.parse().unwrap(),
        target: RouteTarget::Neighbor { port, gateway: gateway.into() },
    };
    let neighbor = |port, address: [u8; 4]| Command::NeighborSet {
        port,
        address: address.into(),
        mac: [6; 6],
    };
    let mut commands = vec![
        Command::HostAddressSet { address: ENDPOINT.into(), tunnel_endpoint: true },
        route("0.0.0.0/0", 1, [198, 51, 100, 1]),
        neighbor(1, [198, 51, 100, 1]),
        // A next hop that is not known.
        route("8.9.0.0/16", 1, [198, 51, 100, 2]),
        route("172.16.0.0/16", 0, PEER),
        neighbor(0, PEER),
    ];
    for id in 1..=SESSIONS {
        let mut prefixes = vec![IpNet::from(IpAddr::from(subscriber(id)))];
        if id == 5 {
            prefixes.push("10.1.0.0/24".parse().unwrap());
        }
        commands.push(Command::SessionSet(Box::new(Session {
            key: SessionKey { local_tunnel_id: 7, local_session_id: id },
            peer_tunnel_id: 9,
            peer_session_id: id,
            local: (Ipv4Addr::from(ENDPOINT), L2TP_PORT).into(),
            // One whose tunnel comes from another port.
            peer: (Ipv4Addr::from(PEER), if id == 6 { 4000 } else { L2TP_PORT }).into(),
            send_acfc: id & 1 != 0,
            send_pfc: id & 2 != 0,
            magic: 0,
            peer_mru: 80,
            prefixes,
            source_check: true,
            gateway: None,
            options: SessionOptions::default(),
        })));
    }
    for command in &commands {
        writer.apply(command).unwrap();
    }
    (tables, writer)
}

/// An IPv4 packet with a correct header.
fn ipv4(protocol: u8, source: [u8; 4], destination: [u8; 4], ttl: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 20 + payload.len() as u8, 0, 1, 0, 0, ttl, protocol, 0, 0];
    packet.extend(source);
    packet.extend(destination);
    let sum = Sum::default().octets(&packet).checksum();
    packet[10..12].copy_from_slice(&sum.to_bytes());
    packet.extend(payload);
    packet
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
    /// Octets changed: place and difference.
    damage: Option<(usize, u8)>,
    /// Octets cut off the end, or added to it.
    tail: isize,
}

fn shapes() -> impl Strategy<Value = Shape> {
    let remote = prop_oneof![
        6 => any::<[u8; 3]>().prop_map(|[b, c, d]| [8, b, c, d]),
        1 => Just([8, 9, 1, 1]),
        1 => (1..=SESSIONS).prop_map(subscriber),
        1 => prop_oneof![Just([127, 0, 0, 1]), Just([0; 4]), Just([224, 0, 0, 5]), Just(ENDPOINT),
            Just([169, 254, 0, 1]), Just([169, 253, 0, 1]), Just([255; 4])],
    ];
    let kind = (prop_oneof![Just(17u8), Just(6), Just(1), Just(50)], 0usize..70);
    let damage = proptest::option::weighted(0.5, (0usize..80, any::<u8>()));
    (
        (1..=SESSIONS + 1, remote, kind, prop_oneof![4 => Just(64u8), 1 => 0u8..3]),
        (
            any::<bool>(),
            0usize..6,
            any::<bool>(),
            0u16..4,
            damage,
            prop_oneof![4 => Just(0isize), 1 => -3..9isize],
        ),
    )
        .prop_map(|((id, remote, (protocol, size), ttl), rest)| {
            let (upstream, framing, with_length, port, damage, tail) = rest;
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
                damage,
                tail,
            }
        })
}

/// The frame, and the port that it comes from.
fn build(shape: &Shape) -> (PortId, Vec<u8>) {
    let (mut from, mut to) = (subscriber(shape.id), shape.remote);
    if !shape.upstream {
        (from, to) = (to, from);
    }
    let segment = match shape.protocol {
        17 => {
            let mut datagram = udp(4000, 5000, &shape.payload);
            let length = datagram.len() as u16;
            let sum = pseudo_ipv4(from, to, 17, length).octets(&datagram).udp_checksum();
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
    };
    let inner = ipv4(shape.protocol, from, to, shape.ttl, &segment);
    let mut packet = inner;
    if shape.upstream {
        let framing: &[u8] = [
            &[0xff, 0x03, 0x00, 0x21][..],
            &[0x00, 0x21],
            &[0xff, 0x03, 0x21],
            &[0x21],
            &[0xff, 0x03, 0x00, 0x57],
            &[0xff, 0x03, 0x00, 0x21],
        ][shape.framing];
        let length = (8 + framing.len() + packet.len()) as u16;
        let mut l2tp = if shape.with_length {
            [0x4002, length, 7, shape.id].map(u16::to_be_bytes).concat()
        } else {
            [0x0002, 7, shape.id].map(u16::to_be_bytes).concat()
        };
        l2tp.extend(framing);
        l2tp.extend(packet);
        packet = ipv4(17, PEER, ENDPOINT, 64, &udp(L2TP_PORT, L2TP_PORT + shape.port, &l2tp));
    }
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0];
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
        shapes.classify(&pool.receive(*port, octets).unwrap(), &mut work).is_some()
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

#[test]
fn frequent_shapes_go_the_quick_way() {
    let shape = Shape {
        id: 4,
        remote: [8, 8, 8, 8],
        protocol: 17,
        payload: vec![1; 18],
        ttl: 64,
        upstream: true,
        framing: 0,
        with_length: false,
        port: 2,
        damage: None,
        tail: 0,
    };
    let all: Vec<_> = [(true, 0, true), (true, 1, false), (false, 0, false)]
        .into_iter()
        .map(|(upstream, framing, with_length)| Shape {
            upstream,
            framing,
            with_length,
            ..shape.clone()
        })
        .chain([6, 1].map(|protocol| Shape { protocol, payload: vec![1; 20], ..shape.clone() }))
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
            ..shape.clone()
        })
        .collect();
    assert_eq!(compare(&downstream), downstream.len());
}
