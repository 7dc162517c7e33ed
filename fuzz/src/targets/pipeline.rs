//! The data plane's pipeline: frames of any kind on a machine with sessions. Every frame ends in one
//! verdict, a batch is no different from one frame at a time, and what is sent is well formed.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::IpNet;
use xlns_dataplane::api::{
    Command, Dscp, RouteTarget, Session, SessionKey, SessionOptions, TrafficClass,
};
use xlns_dataplane::counters::{DropCounts, SessionCounters};
use xlns_dataplane::frame::{FRAME_BYTES_MAX, Frame};
use xlns_dataplane::pipeline::{BATCH_MAX, Pipeline};
use xlns_dataplane::port::PortId;
use xlns_dataplane::port::memory::MemoryPool;
use xlns_dataplane::quality::Settings;
use xlns_dataplane::tables::{self, Gateways, Limits, PortInfo, PortKind, Reader, Tables, Writer};
use xlns_dataplane::verdict::Verdict;
use xlns_dataplane::wire::checksum::{Sum, pseudo_ipv4};

use crate::kept::{self, Kept};
use crate::script::Script;

const L2TP_PORT: u16 = 1701;
const SESSIONS: u16 = 8;
const ENDPOINT: [u8; 4] = [192, 0, 2, 1];
const PEER: [u8; 4] = [172, 16, 0, 1];
const ENDPOINT6: &str = "2001:db8::1";

/// Octets in front of an IP packet: Ethernet, and two tags.
const LINK_OCTETS_MAX: usize = 14 + 2 * 4;

const ACCESS: u16 = 0;
const CORE: u16 = 1;
const HOST: u16 = 2;

/// Capacities and ports.
pub fn limits() -> Limits {
    let ethernet = |last, mtu| PortInfo {
        kind: PortKind::Ethernet,
        mac: [2, 0, 0, 0, 0, last],
        mtu,
        vlan: None,
    };
    let host = PortInfo { kind: PortKind::Host, mac: [0; 6], mtu: 1500, vlan: None };
    Limits {
        sessions_max: SESSIONS.into(),
        routes_max: 64,
        workers: 1,
        l2tp_port: L2TP_PORT,
        l2tp_port_count: 2,
        gateways: Gateways { ipv4: Some([10, 0, 0, 254]), ipv6: Some([0xfd; 16]) },
        quality: Some(Settings { interval_ms: 1000, loss_after_ms: 3000 }),
        ports: vec![ethernet(1, 1500), ethernet(2, 600), host],
    }
}

struct World {
    tables: Arc<Tables>,
    writer: Writer,
    reader: Reader,
    pool: MemoryPool,
}

thread_local! {
    /// Made once: nothing of an input stays but counters.
    static WORLD: Kept<World> = const { RefCell::new(None) };
}

/// The input is a script of frames.
pub fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let mut frames = Vec::new();
    while !script.is_over() && frames.len() < BATCH_MAX {
        let port = u16::from(script.octet() % 3);
        let mut octets = frame(&mut script, port);
        octets.truncate(FRAME_BYTES_MAX);
        frames.push((PortId(port), octets));
    }
    kept::with(&WORLD, World::new, |world| world.process(&frames));
}

type Outcome = Vec<(Verdict, Vec<u8>)>;

impl World {
    fn new() -> Self {
        let (tables, mut writer) = tables::new(&limits()).expect("memory");
        for command in commands() {
            writer.apply(&command).expect("a valid command");
        }
        let reader = tables.register(0);
        Self { tables, writer, reader, pool: MemoryPool::new(BATCH_MAX) }
    }

    fn process(&mut self, frames: &[(PortId, Vec<u8>)]) {
        let (batch, counted) = self.run(frames, BATCH_MAX);
        let (single, counted_singly) = self.run(frames, 1);
        assert_eq!(batch, single, "a batch, and one frame at a time");
        assert_eq!(counted, counted_singly);
        for (verdict, octets) in &batch {
            if let Verdict::Transmit(port) = verdict {
                self.check_sent(*port, octets);
            }
        }
    }

    /// Lets frames through; what becomes of them, and the packets that sessions counted.
    fn run(&mut self, frames: &[(PortId, Vec<u8>)], batch: usize) -> (Outcome, [u64; 2]) {
        let before = (self.drops(), self.session_packets(), self.originated());
        let mut pipeline = Pipeline::new(Arc::clone(&self.tables), 0);
        let guard = self.reader.guard();
        let (mut outcome, mut verdicts) = (Vec::new(), Vec::new());
        for frames in frames.chunks(batch) {
            let mut frames: Vec<Frame> = frames
                .iter()
                .map(|(port, octets)| self.pool.receive(*port, octets).expect("a free frame"))
                .collect();
            pipeline.process(&guard, &mut frames, &mut verdicts);
            assert_eq!(verdicts.len(), frames.len(), "one verdict for each frame");
            for (verdict, frame) in verdicts.iter().zip(frames) {
                let octets = match verdict {
                    Verdict::Transmit(_) => frame.octets().to_vec(),
                    Verdict::Drop(_) | Verdict::Hold | Verdict::Measured | Verdict::Handoff(_) => {
                        Vec::new()
                    }
                };
                outcome.push((*verdict, octets));
                self.pool.recycle(frame);
            }
        }
        let after = (self.drops(), self.session_packets(), self.originated());
        // Dropped, and counted so, is also what an ICMP error took the frame of.
        let mut told = after.2 - before.2;
        for (at, (before, after)) in before.0.0.iter().zip(&after.0.0).enumerate() {
            let dropped = outcome.iter().filter(
                |(verdict, _)| matches!(verdict, Verdict::Drop(reason) if *reason as usize == at),
            );
            let beyond = (after - before).checked_sub(dropped.count() as u64);
            told -= beyond.expect("drops are counted by reason");
        }
        assert_eq!(told, 0, "what is dropped without an error is counted once");
        let counted = [0, 1].map(|way| after.1[way] - before.1[way]);
        let sent = outcome.iter().filter(|(verdict, _)| matches!(verdict, Verdict::Transmit(_)));
        let sent = sent.count() as u64;
        assert!(counted.iter().all(|counted| *counted <= sent), "{counted:?} of {sent}");
        (outcome, counted)
    }

    fn drops(&self) -> DropCounts {
        let mut total = DropCounts::default();
        self.tables.shard(0).add_drops(&mut total);
        total
    }

    fn originated(&self) -> u64 {
        self.tables.shard(0).worker().originated
    }

    fn session_packets(&self) -> [u64; 2] {
        let sessions = self.writer.session_counters(0, usize::MAX).0;
        let sum = |way: fn(&SessionCounters) -> u64| sessions.iter().map(|(_, c)| way(c)).sum();
        [sum(|counters| counters.upstream_packets), sum(|counters| counters.downstream_packets)]
    }

    fn check_sent(&self, port: PortId, octets: &[u8]) {
        let info = self.tables.limits().ports[usize::from(port.0)];
        let packet = match info.kind {
            PortKind::Host => octets,
            PortKind::Ethernet => {
                assert!(octets.len() <= usize::from(info.mtu) + LINK_OCTETS_MAX);
                assert_eq!(octets[6..12], info.mac, "sent from the port's own address");
                assert_eq!(octets[0] & 1, 0, "to one station");
                &octets[14..]
            }
        };
        match packet[0] >> 4 {
            4 => {
                let header = usize::from(packet[0] & 15) * 4;
                assert!(Sum::default().octets(&packet[..header]).is_correct(), "IPv4 checksum");
                let length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
                assert!((header..=packet.len()).contains(&length));
            }
            6 => assert!(packet.len() >= 40),
            version => panic!("a packet of version {version} is sent"),
        }
    }
}

fn subscriber(id: u16) -> [u8; 4] {
    [10, 0, 0, id as u8]
}

fn commands() -> Vec<Command> {
    let route = |prefix: &str, target| Command::RouteSet {
        prefix: prefix.parse().expect("a prefix"),
        target,
    };
    let by = |port, gateway: &str| RouteTarget::Neighbor {
        port,
        gateway: gateway.parse().expect("an address"),
    };
    let neighbor = |port, address: &str| Command::NeighborSet {
        port,
        address: address.parse().expect("an address"),
        mac: [6; 6],
    };
    let endpoint = |address| Command::HostAddressSet { address, tunnel_endpoint: true };
    let endpoint6: IpAddr = ENDPOINT6.parse().expect("an address");
    let mut commands = vec![
        endpoint(ENDPOINT.into()),
        endpoint(endpoint6),
        route("0.0.0.0/0", by(CORE, "198.51.100.1")),
        route("::/0", by(CORE, "2001:db8:1::1")),
        neighbor(CORE, "198.51.100.1"),
        neighbor(CORE, "2001:db8:1::1"),
        // A next hop that is not known, and other ways to end.
        route("8.9.0.0/16", by(CORE, "198.51.100.2")),
        route("8.10.0.0/16", RouteTarget::Unreachable),
        route("8.11.0.0/16", RouteTarget::Glean),
        route("172.16.0.0/16", by(ACCESS, "172.16.0.1")),
        neighbor(ACCESS, "172.16.0.1"),
        Command::SubscriberPrefixSet { prefix: "10.0.0.0/24".parse().expect("a prefix") },
    ];
    commands.extend((1..=SESSIONS).map(|id| Command::SessionSet(Box::new(session(id)))));
    commands
}

fn session(id: u16) -> Session {
    let mut prefixes = vec![IpNet::from(IpAddr::from(subscriber(id)))];
    match id {
        5 => prefixes.push("10.1.0.0/24".parse().expect("a prefix")),
        6 => prefixes.clear(),
        7 => prefixes.push("2001:db8:7::/48".parse().expect("a prefix")),
        _ => {}
    }
    Session {
        key: SessionKey { local_tunnel_id: 7, local_session_id: id },
        peer_tunnel_id: 9,
        peer_session_id: id,
        local: (Ipv4Addr::from(ENDPOINT), L2TP_PORT).into(),
        peer: (Ipv4Addr::from(PEER), if id == 4 { 4000 } else { L2TP_PORT }).into(),
        send_acfc: id & 1 != 0,
        send_pfc: id & 2 != 0,
        magic: u32::from(id),
        peer_mru: if id == 3 { 600 } else { 1460 },
        prefixes,
        source_check: id != 8,
        gateway: Some(Ipv4Addr::new(10, 0, 0, 254)),
        options: SessionOptions {
            outer_fragments: id == 2,
            verify_checksum: id == 5,
            traffic_class: TrafficClass { dscp: Dscp::Copy, ecn: id == 6 },
            quality: id & 1 != 0,
            ..SessionOptions::default()
        },
    }
}

/// A frame as the script has it: any octets, or proper ones that it may then damage.
fn frame(script: &mut Script<'_>, port: u16) -> Vec<u8> {
    let kind = script.octet();
    let mut packet = match kind % 8 {
        0 => return script.piece().to_vec(),
        1 => script.piece().to_vec(),
        2 | 3 => inner(script, false),
        _ => {
            let id = u16::from(script.octet() % 10);
            let ppp = ppp(script, id);
            let flags = script.octet();
            from_lac(id, flags, &ppp)
        }
    };
    if kind & 0x80 != 0 && !packet.is_empty() {
        let at = usize::from(script.word()) % packet.len();
        packet[at] ^= script.octet();
    }
    if port == HOST {
        return packet;
    }
    let mut octets = vec![2, 0, 0, 0, 0, 1 + port as u8, 2, 0, 0, 0, 0, 9];
    if kind & 0x40 != 0 {
        octets.extend([0x81, 0, 0, script.octet()]);
    }
    let version = packet.first().map_or(0, |first| first >> 4);
    octets.extend(if version == 6 { [0x86, 0xdd] } else { [8, 0] });
    octets.extend(packet);
    octets.extend_from_slice(script.take(usize::from(kind >> 4 & 3)));
    octets
}

/// What a subscriber sends, or what is sent to one.
fn inner(script: &mut Script<'_>, upstream: bool) -> Vec<u8> {
    let subscriber = subscriber(u16::from(script.octet() % 10));
    let remote = match script.octet() % 12 {
        0 => [8, 9, 1, 1],
        1 => [8, 10, 1, 1],
        2 => [8, 11, 1, 1],
        3 => ENDPOINT,
        4 => [10, 0, 0, script.octet()],
        5 => [255; 4],
        6 => [224, 0, 0, script.octet()],
        7 => [127, 0, 0, 1],
        8 => [10, 1, 0, script.octet()],
        _ => [8, 8, 8, 8],
    };
    let (from, to) = if upstream { (subscriber, remote) } else { (remote, subscriber) };
    let (protocol, ttl) = (script.octet(), script.octet());
    let size = usize::from(script.octet()) * usize::from(script.octet() % 8);
    let payload = [script.take(8), &vec![0x5a; size]].concat();
    match protocol & 3 {
        0 => ipv4(17, from, to, ttl, &udp(from, to, [4000, 5000], &payload)),
        1 => {
            let source = if upstream { "2001:db8:7::2" } else { "2001:db8:9::9" };
            let destination = if upstream { "2001:db8:9::9" } else { "2001:db8:7::2" };
            ipv6(source, destination, ttl, &payload)
        }
        _ => ipv4(protocol, from, to, ttl, &payload),
    }
}

fn ppp(script: &mut Script<'_>, id: u16) -> Vec<u8> {
    let framing: &[u8] = match script.octet() % 8 {
        0 => return script.piece().to_vec(),
        1 => {
            let (code, magic) = (9 + script.octet() % 3, script.octet());
            let text = script.take(20);
            let length = 8 + text.len() as u8;
            let echo = [0xff, 3, 0xc0, 0x21, code, 1, 0, length, 0, 0, 0, magic];
            return [&echo[..], text].concat();
        }
        2 => &[0x00, 0x21],
        3 => &[0xff, 0x03, 0x21],
        4 => &[0x21],
        5 => &[0xff, 0x03, 0x00, 0x57],
        _ => &[0xff, 0x03, 0x00, 0x21],
    };
    let mut packet = inner(script, true);
    // Mostly from the session's own address.
    if script.octet() != 0 && packet.len() >= 20 && packet[0] == 0x45 {
        packet[12..16].copy_from_slice(&subscriber(id));
        seal(&mut packet);
    }
    [framing, &packet].concat()
}

/// The tunnel's packet with this PPP frame.
fn from_lac(id: u16, flags: u8, ppp: &[u8]) -> Vec<u8> {
    let bits = (u16::from(flags & 1) << 14) | (u16::from(flags & 2) << 10);
    let bits = bits | u16::from(flags & 4) << 7;
    let mut message = (bits | 2).to_be_bytes().to_vec();
    if flags & 1 != 0 {
        message.extend([0, 0]);
    }
    message.extend([0, 7, 0, id as u8]);
    if flags & 2 != 0 {
        message.extend([0, 1, 0, 0]);
    }
    if flags & 4 != 0 {
        message.extend([0, 2, 0, 0]);
    }
    message.extend(ppp);
    if flags & 1 != 0 {
        let length = message.len() as u16;
        message[2..4].copy_from_slice(&length.to_be_bytes());
    }
    let peer_port = if id == 4 { 4000 } else { L2TP_PORT };
    let datagram = udp(PEER, ENDPOINT, [peer_port, L2TP_PORT], &message);
    ipv4(17, PEER, ENDPOINT, 64, &datagram)
}

fn seal(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let sum = Sum::default().octets(&packet[..20]).checksum();
    packet[10..12].copy_from_slice(&sum.get().to_be_bytes());
}

fn ipv4(protocol: u8, from: [u8; 4], to: [u8; 4], ttl: u8, payload: &[u8]) -> Vec<u8> {
    let length = (20 + payload.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 1, 0, 0, ttl, protocol, 0, 0]);
    packet.extend(from);
    packet.extend(to);
    seal(&mut packet);
    packet.extend(payload);
    packet
}

fn ipv6(from: &str, to: &str, hops: u8, payload: &[u8]) -> Vec<u8> {
    let octets = |text: &str| text.parse::<std::net::Ipv6Addr>().expect("an address").octets();
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([59, hops]);
    packet.extend(octets(from));
    packet.extend(octets(to));
    packet.extend(payload);
    packet
}

fn udp(from: [u8; 4], to: [u8; 4], ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let length = 8 + payload.len() as u16;
    let mut datagram = [ports[0], ports[1], length, 0].map(u16::to_be_bytes).concat();
    datagram.extend(payload);
    let sum = pseudo_ipv4(from, to, 17, length).octets(&datagram).udp_checksum();
    datagram[6..8].copy_from_slice(&sum.get().to_be_bytes());
    datagram
}
