//! Tables full of sessions.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use xlns_dataplane::api::{Command, RouteTarget, Session, SessionKey};
use xlns_dataplane::tables::{self, Limits, PortInfo, PortKind, Tables, Writer};

use super::kind::Kind;
use super::packets::Packets;
use crate::memory;

/// Ports: untagged, then tagged.
const ACCESS: u16 = 0;
const CORE: u16 = 1;
const ACCESS_TAGGED: u16 = 2;
const CORE_TAGGED: u16 = 3;

/// The VLANs of the tagged ones.
pub(super) const VLANS: [u16; 2] = [100, 200];

/// UDP's port of L2TP.
pub(super) const L2TP_PORT: u16 = 1701;
/// Where tunnels end.
pub(super) const ENDPOINT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Where those over IPv6 end.
pub(super) const ENDPOINT_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb9, 0, 0, 0, 0, 0, 1);
/// The next hop to the network.
pub(super) const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const GATEWAY_TAGGED: Ipv4Addr = Ipv4Addr::new(198, 51, 101, 1);
const GATEWAY_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb9, 1, 0, 0, 0, 0, 1);

/// Sessions of a tunnel; each tunnel has a peer of its own.
const TUNNEL_SESSIONS: u32 = 16_384;
/// Where subscriber addresses begin: 10.0.0.0.
const FIRST_SUBSCRIBER: u32 = 10 << 24;

/// Which way packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the tunnel to the network.
    Decapsulation,
    /// From the network into the tunnel.
    Encapsulation,
}

impl Direction {
    /// Both.
    pub(super) const ALL: [Self; 2] = [Self::Decapsulation, Self::Encapsulation];

    /// The port that packets come from, and the one that they leave by.
    pub(super) fn ports(self, kind: Kind) -> [u16; 2] {
        let (access, core) = match kind {
            Kind::Tagged => (ACCESS_TAGGED, CORE_TAGGED),
            _ => (ACCESS, CORE),
        };
        match self {
            Self::Decapsulation => [access, core],
            Self::Encapsulation => [core, access],
        }
    }

    /// As it is printed.
    pub(super) fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// Tables with sessions.
pub(super) struct Load {
    pub(super) tables: Arc<Tables>,
    /// Those that packets are for, of each kind.
    pub(super) sessions: u32,
    /// Kept where nothing changes, too: what it owns counts as memory of a session.
    pub(super) writer: Writer,
    /// Resident before the first session was added: what does not grow with their number.
    pub(super) resident_before: u64,
}

/// What measuring the pipeline takes of a load.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) tables: Arc<Tables>,
    /// Those that packets are for.
    pub(super) sessions: Range<u32>,
}

impl Load {
    /// Makes the tables and adds plain sessions.
    pub(super) fn new(sessions: u32) -> Result<Self, Box<dyn Error>> {
        Self::with(sessions, sessions, 1024, plain_session)
    }

    /// Sessions of one kind alone.
    pub(super) fn of_kind(sessions: u32, kind: Kind) -> Result<Self, Box<dyn Error>> {
        Self::with(sessions, sessions, 1024, |number| session(number, kind))
    }

    /// So many sessions of each kind, one kind after the other.
    pub(super) fn of_all_kinds(sessions: u32) -> Result<Self, Box<dyn Error>> {
        let all = sessions * Kind::ALL.len() as u32;
        let kind = |number: u32| {
            Kind::ALL.get((number / sessions) as usize).copied().unwrap_or(Kind::Plain)
        };
        Self::with(all, sessions, 1024, |number| session(number, kind(number)))
    }

    /// Plain ones with an IPv6 prefix for each, and room for more routes.
    pub(super) fn dual_stack(sessions: u32, routes: u32) -> Result<Self, Box<dyn Error>> {
        Self::with(sessions, sessions, routes, dual_stack_session)
    }

    fn with(
        all: u32,
        sessions: u32,
        routes_max: u32,
        session: impl Fn(u32) -> Session,
    ) -> Result<Self, Box<dyn Error>> {
        let ethernet = |last, vlan| PortInfo {
            kind: PortKind::Ethernet,
            mac: [2, 0, 0, 0, 0, last],
            mtu: 1500,
            vlan,
        };
        let host = PortInfo { kind: PortKind::Host, mac: [0; 6], mtu: 1500, vlan: None };
        let [access, core] = VLANS.map(Some);
        let limits = Limits {
            sessions_max: all,
            routes_max,
            workers: 1,
            l2tp_port: L2TP_PORT,
            l2tp_port_count: 1,
            gateways: Default::default(),
            quality: None,
            ports: vec![
                ethernet(1, None),
                ethernet(2, None),
                ethernet(3, access),
                ethernet(4, core),
                host,
            ],
        };
        let (tables, mut writer) = tables::new(&limits)?;
        for command in surroundings(all) {
            writer.apply(&command)?;
        }
        let resident_before = memory::resident_bytes()?;
        for number in 0..all {
            writer.apply(&Command::SessionSet(Box::new(session(number))))?;
        }
        Ok(Self { tables, sessions, writer, resident_before })
    }

    /// For packets to all plain sessions.
    pub(super) fn reading(&self) -> Reading {
        Reading { tables: Arc::clone(&self.tables), sessions: 0..self.sessions }
    }

    /// Packets of a kind, of a load of all kinds.
    pub(super) fn packets(&self, kind: Kind, direction: Direction, size: u16) -> Packets {
        let first = kind.index() * self.sessions;
        let sizes = &[kind.inner_bytes(size)];
        Packets::new(kind, direction, first..first + self.sessions, sizes)
    }
}

impl Reading {
    /// Plain packets without end, of these sizes in turn.
    pub(super) fn packets(&self, direction: Direction, sizes: &[u16]) -> Packets {
        Packets::new(Kind::Plain, direction, self.sessions.clone(), sizes)
    }
}

/// Numbers that are random enough, the same ones every time.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Default for Random {
    fn default() -> Self {
        Self(0x2545_f491_4f6c_dd1d)
    }
}

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `end`.
    pub(super) fn below(&mut self, end: u32) -> u32 {
        (((self.next() >> 32) * u64::from(end)) >> 32) as u32
    }
}

fn surroundings(sessions: u32) -> Vec<Command> {
    let route = |prefix: IpNet, port, gateway: IpAddr| Command::RouteSet {
        prefix,
        target: RouteTarget::Neighbor { port, gateway },
    };
    let neighbor = |port, address: IpAddr, number: u32| {
        let [_, b, c, d] = number.to_be_bytes();
        Command::NeighborSet { port, address, mac: [2, 1, 0, b, c, d] }
    };
    let endpoint = |address| Command::HostAddressSet { address, tunnel_endpoint: true };
    let tagged = Ipv4Net::new_assert(Ipv4Addr::new(9, 0, 0, 0), 8);
    let mut commands = vec![
        endpoint(ENDPOINT.into()),
        endpoint(ENDPOINT_IPV6.into()),
        route(Ipv4Net::default().into(), CORE, GATEWAY.into()),
        route(Ipv6Net::default().into(), CORE, GATEWAY_IPV6.into()),
        route(tagged.into(), CORE_TAGGED, GATEWAY_TAGGED.into()),
        neighbor(CORE, GATEWAY.into(), 1),
        neighbor(CORE, GATEWAY_IPV6.into(), 2),
        neighbor(CORE_TAGGED, GATEWAY_TAGGED.into(), 3),
    ];
    for tunnel in 0..=sessions / TUNNEL_SESSIONS {
        for kind in [Kind::Plain, Kind::Tagged, Kind::OuterIpv6] {
            let [access, _] = Direction::Decapsulation.ports(kind);
            let peer = peer_of_tunnel(tunnel, kind);
            commands.push(route(peer.into(), access, peer));
            commands.push(neighbor(access, peer, 16 + tunnel));
        }
    }
    commands
}

/// The peer of a session; those whose outer side differs have peers of their own.
pub(super) fn peer(number: u32, kind: Kind) -> IpAddr {
    peer_of_tunnel(number / TUNNEL_SESSIONS, kind)
}

fn peer_of_tunnel(tunnel: u32, kind: Kind) -> IpAddr {
    let ipv4 = |first: Ipv4Addr| Ipv4Addr::from_bits(first.to_bits() + tunnel).into();
    match kind {
        Kind::OuterIpv6 => {
            let first = Ipv6Addr::new(0x2001, 0xdb9, 2, 0, 0, 0, 0, 1);
            Ipv6Addr::from_bits(first.to_bits() + u128::from(tunnel)).into()
        }
        Kind::Tagged => ipv4(Ipv4Addr::new(172, 17, 0, 1)),
        _ => ipv4(Ipv4Addr::new(172, 16, 0, 1)),
    }
}

/// The subscriber's address.
pub(super) fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(FIRST_SUBSCRIBER + number)
}

/// The subscriber's IPv6 prefix, in 2001:db8::/32.
pub(super) fn prefix(number: u32) -> IpNet {
    let bits = 0x2001_0db8 << 96 | u128::from(number) << 64;
    Ipv6Net::new_assert(Ipv6Addr::from_bits(bits), 64).into()
}

/// The session with its IPv6 prefix.
pub(super) fn dual_stack_session(number: u32) -> Session {
    let mut session = session(number, Kind::Plain);
    session.prefixes.push(prefix(number));
    session
}

/// IDs as control gives them out: not in order.
pub(super) fn key(number: u32) -> SessionKey {
    let tunnel = number / TUNNEL_SESSIONS;
    SessionKey {
        local_tunnel_id: (tunnel as u16 + 1).wrapping_mul(0x9e37),
        local_session_id: ((number % TUNNEL_SESSIONS) as u16 + 1).wrapping_mul(0x9e37),
    }
}

/// A session of the plain kind.
pub(super) fn plain_session(number: u32) -> Session {
    session(number, Kind::Plain)
}

fn session(number: u32, kind: Kind) -> Session {
    let local: IpAddr = match kind {
        Kind::OuterIpv6 => ENDPOINT_IPV6.into(),
        _ => ENDPOINT.into(),
    };
    let mut prefixes = vec![IpNet::from(IpAddr::from(address(number)))];
    if kind == Kind::InnerIpv6 {
        prefixes.push(prefix(number));
    }
    Session {
        key: key(number),
        peer_tunnel_id: (number / TUNNEL_SESSIONS) as u16 + 1,
        peer_session_id: (number % TUNNEL_SESSIONS) as u16 + 1,
        local: (local, L2TP_PORT).into(),
        peer: (peer(number, kind), L2TP_PORT).into(),
        send_acfc: false,
        send_pfc: false,
        magic: number + 1,
        peer_mru: 1460,
        prefixes,
        source_check: true,
        gateway: None,
        options: kind.options(),
    }
}
