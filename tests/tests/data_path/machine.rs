//! The machine that all fixtures run on: ports, routes, neighbours, sessions.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use xlns_dataplane::api::{
    Command, Dscp, Policer, RouteTarget, SequenceNumbers, Session, SessionKey, SessionOptions,
    TrafficClass,
};
use xlns_dataplane::counters::{DropCounts, SessionCounters};
use xlns_dataplane::pipeline::{BATCH_MAX, Pipeline, RESERVE_FRAMES};
use xlns_dataplane::port::PortId;
use xlns_dataplane::port::memory::MemoryPool;
use xlns_dataplane::quality::Settings;
use xlns_dataplane::tables::{self, Gateways, Limits, PortInfo, PortKind, Reader, Tables, Writer};
use xlns_dataplane::verdict::{DropReason, Share, Verdict};

/// The port towards the LACs.
pub const ACCESS: u16 = 0;
/// The port towards the core network; its MTU is 1500, as the other's.
pub const CORE: u16 = 1;
/// A port whose frames are in [`VLAN`]: towards LACs and a core network.
pub const TAGGED: u16 = 2;
pub const VLAN: u16 = 0x0abc;
/// The TUN device.
pub const HOST: u16 = 3;

/// Where tunnels end.
pub const ENDPOINT: &str = "198.51.100.1";
pub const ENDPOINT6: &str = "2001:db8:ffff::1";
/// The LAC of most sessions.
pub const LAC: &str = "198.51.100.2";
pub const LAC6: &str = "2001:db8:ffff::2";
/// An address of the host where no tunnel ends.
pub const OWN: &str = "203.0.113.1";
/// The gateway's address on the PPP links.
pub const GATEWAY: &str = "10.0.255.254";
/// Somewhere behind the core router.
pub const REMOTE: &str = "8.8.8.8";
pub const REMOTE6: &str = "2001:db8:8::8";

/// Our magic number in session [`PLAIN`].
pub const MAGIC: u32 = 0x1111_1111;

/// Session IDs; all are in tunnel 0x0011.
///
/// 10.0.0.1, framed 10.1.0.0/24, 2001:db8:1::/64; everything sent in full.
pub const PLAIN: u16 = 0x0101;
/// 10.0.0.2, ACFC and PFC, no magic number.
pub const COMPRESSED: u16 = 0x0102;
/// 10.0.0.3, 2001:db8:3::/64, over IPv6, PFC alone: an odd number of PPP octets.
pub const OVER_IPV6: u16 = 0x0103;
/// No network protocol yet.
pub const LCP_ONLY: u16 = 0x0104;
/// 10.0.0.5; the link-layer address of its LAC is not known.
pub const NO_NEIGHBOR: u16 = 0x0105;
/// 10.0.0.6; MRU 576, ACFC alone.
pub const SMALL_MRU: u16 = 0x0106;
/// 10.0.0.7; MRU 1500: what fits it does not fit the link with all headers in front.
pub const LARGE_MRU: u16 = 0x0107;
/// 10.0.0.8; no route to its LAC.
pub const NO_ROUTE: u16 = 0x0108;
/// 10.0.0.9, PFC alone, over IPv4.
pub const ODD: u16 = 0x0109;
/// 10.0.0.10, 2001:db8:a::/64; sequence numbers on everything, late packets dropped.
pub const SEQUENCED: u16 = 0x010a;
/// 10.0.0.11, 2001:db8:b::/64, over IPv6; sequence numbers as the peer sends them.
pub const AS_PEER: u16 = 0x010b;
/// 10.0.0.12; MRU 1500, outer packets may be sent in fragments.
pub const OUTER_PIECES: u16 = 0x010c;
/// 10.0.0.13; the same over IPv6.
pub const OUTER_PIECES6: u16 = 0x010d;
/// 10.0.0.14; a megabit a second each way, 3000 octets at once.
pub const POLICED: u16 = 0x010e;
/// 10.0.0.15, 2001:db8:f::/64; checksums are verified and none are sent, traffic class copied, MSS and
/// late packets left alone.
pub const STRICT: u16 = 0x010f;
/// 10.0.0.16, 2001:db8:10::/64, over IPv6; checksums are verified, DSCP 46.
pub const STRICT6: u16 = 0x0110;
/// 10.0.0.17; the smallest MRU.
pub const TINY: u16 = 0x0111;
/// 10.0.0.19, 2001:db8:13::/64; its LAC is behind the tagged port.
pub const BEHIND_TAG: u16 = 0x0113;
/// The same over IPv6: 10.0.0.20.
pub const BEHIND_TAG6: u16 = 0x0114;
/// Their LAC, and somewhere behind the tagged port.
pub const TAGGED_LAC: &str = "198.51.100.4";
pub const TAGGED_LAC6: &str = "2001:db8:ffff::4";
pub const TAGGED_REMOTE: &str = "12.0.0.8";
pub const TAGGED_REMOTE6: &str = "2001:db8:12::8";
/// Where ICMPv6 errors come from.
pub const GATEWAY6: &str = "2001:db8:ffff::fe";

/// Dialled by us: the peer's PPP address is its tunnel address, and two networks are behind it.
pub const DIALLED: u16 = 0x0112;
/// Our address on the link of [`DIALLED`].
pub const DIALLED_ADDRESS: &str = "10.9.0.7";

pub struct Machine {
    pub writer: Writer,
    reader: Reader,
    pipeline: Pipeline,
    tables: Arc<Tables>,
    pool: MemoryPool,
    /// Nanoseconds.
    pub now: u64,
}

/// What became of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub verdict: Verdict,
    /// The frame as it was left; empty where it was dropped.
    pub octets: Vec<u8>,
    /// What was made of it besides: port and octets.
    pub extras: Vec<(u16, Vec<u8>)>,
}

fn session(id: u16, prefixes: &[&str]) -> Session {
    Session {
        key: SessionKey { local_tunnel_id: 0x0011, local_session_id: id },
        peer_tunnel_id: 0x2200,
        peer_session_id: id + 0x3000,
        local: format!("{ENDPOINT}:1701").parse().unwrap(),
        peer: format!("{LAC}:1701").parse().unwrap(),
        send_acfc: false,
        send_pfc: false,
        magic: MAGIC,
        peer_mru: 1460,
        prefixes: prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect(),
        source_check: true,
        gateway: GATEWAY.parse().ok(),
        options: SessionOptions::default(),
    }
}

fn sessions() -> Vec<Session> {
    let peer = |text: &str| format!("{text}:1701").parse().unwrap();
    vec![
        session(PLAIN, &["10.0.0.1/32", "10.1.0.0/24", "2001:db8:1::/64"]),
        Session {
            send_acfc: true,
            send_pfc: true,
            magic: 0,
            options: SessionOptions { quality: true, ..SessionOptions::default() },
            ..session(COMPRESSED, &["10.0.0.2/32"])
        },
        Session {
            local: format!("[{ENDPOINT6}]:1701").parse().unwrap(),
            peer: format!("[{LAC6}]:1701").parse().unwrap(),
            send_pfc: true,
            ..session(OVER_IPV6, &["10.0.0.3/32", "2001:db8:3::/64"])
        },
        session(LCP_ONLY, &[]),
        Session { peer: peer("198.51.100.3"), ..session(NO_NEIGHBOR, &["10.0.0.5/32"]) },
        Session { peer_mru: 576, send_acfc: true, ..session(SMALL_MRU, &["10.0.0.6/32"]) },
        Session { peer_mru: 1500, ..session(LARGE_MRU, &["10.0.0.7/32"]) },
        Session { peer: peer("192.0.2.77"), ..session(NO_ROUTE, &["10.0.0.8/32"]) },
        Session { send_pfc: true, ..session(ODD, &["10.0.0.9/32"]) },
        Session {
            source_check: false,
            ..session(DIALLED, &["198.51.100.2/32", "44.0.0.0/8", "2001:db8:44::/48"])
        },
    ]
}

fn special_sessions() -> Vec<Session> {
    let plain = SessionOptions::default();
    let with = |options, session| Session { options, ..session };
    let over_ipv6 = |session| Session {
        local: format!("[{ENDPOINT6}]:1701").parse().unwrap(),
        peer: format!("[{LAC6}]:1701").parse().unwrap(),
        ..session
    };
    let large = |session| Session { peer_mru: 1500, ..session };
    let outer_fragments = SessionOptions { outer_fragments: true, ..plain };
    let megabit = Some(Policer { rate_bits_per_second: 1_000_000, burst_bytes: 3000 });
    let class = |dscp, ecn| TrafficClass { dscp, ecn };
    vec![
        Session { peer_mru: 64, ..session(TINY, &["10.0.0.17/32"]) },
        large(Session {
            peer: format!("{TAGGED_LAC}:1701").parse().unwrap(),
            ..session(BEHIND_TAG, &["10.0.0.19/32", "2001:db8:13::/64"])
        }),
        large(Session {
            peer: format!("[{TAGGED_LAC6}]:1701").parse().unwrap(),
            ..over_ipv6(session(BEHIND_TAG6, &["10.0.0.20/32"]))
        }),
        with(
            SessionOptions { sequence: SequenceNumbers::Always, first_ns: 0xfffe, ..plain },
            session(SEQUENCED, &["10.0.0.10/32", "2001:db8:a::/64"]),
        ),
        with(
            SessionOptions { sequence: SequenceNumbers::AsPeer, ..plain },
            over_ipv6(session(AS_PEER, &["10.0.0.11/32", "2001:db8:b::/64"])),
        ),
        with(outer_fragments, large(session(OUTER_PIECES, &["10.0.0.12/32"]))),
        with(outer_fragments, large(over_ipv6(session(OUTER_PIECES6, &["10.0.0.13/32"])))),
        with(
            SessionOptions { police_upstream: megabit, police_downstream: megabit, ..plain },
            session(POLICED, &["10.0.0.14/32"]),
        ),
        with(
            SessionOptions {
                verify_checksum: true,
                udp_checksum: false,
                mss_clamp: false,
                drop_late: false,
                traffic_class: class(Dscp::Copy, true),
                ..plain
            },
            session(STRICT, &["10.0.0.15/32", "2001:db8:f::/64"]),
        ),
        with(
            SessionOptions {
                verify_checksum: true,
                udp_checksum: false,
                traffic_class: class(Dscp::Set(46), false),
                ..plain
            },
            over_ipv6(session(STRICT6, &["10.0.0.16/32", "2001:db8:10::/64"])),
        ),
    ]
}

fn commands() -> Vec<Command> {
    let neighbor = |port, address: &str, last| Command::NeighborSet {
        port,
        address: address.parse().unwrap(),
        mac: [2, 0, 0, 0, 0, last],
    };
    let route = |prefix: &str, port, gateway: &str| Command::RouteSet {
        prefix: prefix.parse().unwrap(),
        target: RouteTarget::Neighbor { port, gateway: gateway.parse().unwrap() },
    };
    let other =
        |prefix: &str, target| Command::RouteSet { prefix: prefix.parse().unwrap(), target };
    let host = |address: &str, tunnel_endpoint| Command::HostAddressSet {
        address: address.parse().unwrap(),
        tunnel_endpoint,
    };
    let mut commands = vec![
        host(ENDPOINT, true),
        host(ENDPOINT6, true),
        host(OWN, false),
        host(GATEWAY, false),
        host(DIALLED_ADDRESS, false),
        neighbor(ACCESS, LAC, 0x02),
        neighbor(ACCESS, LAC6, 0x02),
        neighbor(CORE, "203.0.113.254", 0xfe),
        neighbor(TAGGED, TAGGED_LAC, 0x04),
        neighbor(TAGGED, TAGGED_LAC6, 0x04),
        route("198.51.100.4/32", TAGGED, TAGGED_LAC),
        route("2001:db8:ffff::4/128", TAGGED, TAGGED_LAC6),
        route("12.0.0.0/8", TAGGED, TAGGED_LAC),
        route("2001:db8:12::/48", TAGGED, TAGGED_LAC6),
        route("198.51.100.2/32", ACCESS, LAC),
        route("198.51.100.3/32", ACCESS, "198.51.100.3"),
        route("2001:db8:ffff::2/128", ACCESS, LAC6),
        route("8.0.0.0/8", CORE, "203.0.113.254"),
        route("2001:db8:8::/48", CORE, "203.0.113.254"),
        other("203.0.113.0/24", RouteTarget::Glean),
        other("100.64.0.0/10", RouteTarget::Local),
        other("192.88.0.0/16", RouteTarget::Unreachable),
        Command::SubscriberPrefixSet { prefix: "10.0.0.0/16".parse().unwrap() },
    ];
    commands.extend(
        sessions()
            .into_iter()
            .chain(special_sessions())
            .map(|session| Command::SessionSet(Box::new(session))),
    );
    commands
}

impl Machine {
    pub fn new() -> Self {
        let ethernet = |last| PortInfo {
            kind: PortKind::Ethernet,
            mac: [2, 0, 0, 0, 0, last],
            mtu: 1500,
            vlan: None,
        };
        let limits = Limits {
            sessions_max: 64,
            routes_max: 64,
            workers: 1,
            l2tp_port: 1701,
            l2tp_port_count: 1,
            gateways: Gateways {
                ipv4: GATEWAY.parse::<Ipv4Addr>().ok().map(|address| address.octets()),
                ipv6: GATEWAY6.parse::<Ipv6Addr>().ok().map(|address| address.octets()),
            },
            quality: Some(Settings { interval_ms: 1000, loss_after_ms: 3000 }),
            ports: vec![
                ethernet(0xa0),
                ethernet(0xc0),
                PortInfo { vlan: Some(VLAN), ..ethernet(0xa0) },
                PortInfo { kind: PortKind::Host, mac: [0; 6], mtu: 1500, vlan: None },
            ],
        };
        let (tables, mut writer) = tables::new(&limits).unwrap();
        for command in commands() {
            writer.apply(&command).unwrap_or_else(|error| panic!("{command:?}: {error}"));
        }
        Self {
            writer,
            reader: tables.register(0),
            pipeline: Pipeline::new(Arc::clone(&tables), 0),
            tables,
            pool: MemoryPool::new(BATCH_MAX + RESERVE_FRAMES),
            now: 1_000_000_000,
        }
    }

    /// Gives every share of the sessions to another worker.
    pub fn give_everything_away(&mut self) {
        let shares = self.pipeline.shares();
        (0..=Share::MAX).for_each(|share| shares.set_elsewhere(share, true));
        shares.set_active(true);
    }

    /// The share of each frame, if that is elsewhere.
    pub fn divide(&mut self, frames: &[(u16, Vec<u8>)]) -> Vec<Option<Share>> {
        let mut shares = Vec::new();
        let one = |(port, octets): &(u16, Vec<u8>)| {
            let frame = self.pool.receive(PortId(*port), octets).expect("a free frame");
            self.pipeline.divide(std::slice::from_ref(&frame), &mut shares);
            self.pool.recycle(frame);
            shares[0]
        };
        frames.iter().map(one).collect()
    }

    /// Processes frames in batches of at most `batch`, and counts as a worker does.
    pub fn run(&mut self, frames: &[(u16, Vec<u8>)], batch: usize) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        let mut verdicts = Vec::new();
        let shard = self.tables.shard(0);
        for part in frames.chunks(batch) {
            let receive = |(port, octets): &(u16, Vec<u8>)| {
                shard.count_received(PortId(*port), 1, octets.len() as u64);
                self.pool.receive(PortId(*port), octets).expect("a free frame")
            };
            let mut received: Vec<_> = part.iter().map(receive).collect();
            let reserve = self.pipeline.reserve();
            while reserve.len() < RESERVE_FRAMES {
                reserve.push(self.pool.receive(PortId(HOST), &[]).expect("a free frame"));
            }
            self.pipeline.set_time(self.now);
            self.pipeline.process(&self.reader.guard(), &mut received, &mut verdicts);
            assert_eq!(verdicts.len(), part.len(), "one verdict a frame");
            let mut made = self.pipeline.extras().drain(..).peekable();
            for (frame, &verdict) in received.into_iter().zip(&verdicts) {
                let mut octets = Vec::new();
                if let Verdict::Handoff(_) = verdict {
                    shard.count_handed_out(1);
                }
                if let Verdict::Transmit(port) = verdict {
                    shard.count_transmitted(port, 1, frame.len() as u64);
                    octets.extend_from_slice(frame.octets());
                }
                let mut extras = Vec::new();
                while let Some(extra) = made.next_if(|extra| extra.behind == frame.chunk()) {
                    shard.count_transmitted(extra.port, 1, extra.frame.len() as u64);
                    extras.push((extra.port.0, extra.frame.octets().to_vec()));
                    self.pool.recycle(extra.frame);
                }
                outcomes.push(Outcome { verdict, octets, extras });
                self.pool.recycle(frame);
            }
            assert!(made.next().is_none(), "each is behind a frame of the batch, in its order");
        }
        outcomes
    }

    /// Received is the sum of verdicts, and each drop has its reason.
    pub fn check_sums(&self) {
        let worker = self.tables.shard(0).worker();
        let settled = worker.transmitted
            + worker.dropped
            + worker.joined
            + worker.measured
            + worker.handed_out;
        assert_eq!(worker.waiting, self.pipeline.held());
        assert_eq!(worker.received + worker.originated, settled + worker.waiting);
        assert_eq!(self.drops().iter().map(|(_, count)| count).sum::<u64>(), worker.dropped);
    }

    /// Reasons that were counted.
    pub fn drops(&self) -> Vec<(DropReason, u64)> {
        let mut counts = DropCounts::default();
        self.tables.shard(0).add_drops(&mut counts);
        let counted = DropReason::ALL.iter().copied().zip(counts.0);
        counted.filter(|(_, count)| *count > 0).collect()
    }

    /// Sessions that counted something.
    pub fn sessions(&self) -> Vec<(u16, SessionCounters)> {
        let (sessions, next) = self.writer.session_counters(0, 100);
        assert_eq!(next, None);
        sessions
            .into_iter()
            .filter(|(_, counters)| *counters != SessionCounters::default())
            .map(|(key, counters)| (key.local_session_id, counters))
            .collect()
    }
}
