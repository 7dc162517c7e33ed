//! Tables full of sessions, and packets for them in random order.

use std::error::Error;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Serialize;
use xlns_dataplane::api::{Command, RouteTarget, Session, SessionKey, SessionOptions};
use xlns_dataplane::tables::{self, Limits, PortInfo, PortKind, Tables, Writer};
use xlns_dataplane::wire::checksum::{Sum, pseudo_ipv4};

const ACCESS: u16 = 0;
const CORE: u16 = 1;
const L2TP_PORT: u16 = 1701;
const ENDPOINT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(super) const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// Sessions of a tunnel; each tunnel has a peer of its own.
const TUNNEL_SESSIONS: u32 = 16_384;
/// Where subscriber addresses begin: 10.0.0.0.
const FIRST_SUBSCRIBER: u32 = 10 << 24;

/// Which way packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the tunnel to the network.
    Decapsulation,
    /// From the network into the tunnel.
    Encapsulation,
}

impl Direction {
    /// The port that packets leave by.
    pub(super) fn leaves_by(self) -> u16 {
        match self {
            Self::Decapsulation => CORE,
            Self::Encapsulation => ACCESS,
        }
    }
}

/// Tables with sessions.
pub(super) struct Load {
    pub(super) tables: Arc<Tables>,
    /// Those that packets are for.
    pub(super) sessions: u32,
    /// Kept where nothing changes, too: what it owns counts as memory of a session.
    pub(super) writer: Writer,
}

/// What measuring the pipeline takes of a load.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) tables: Arc<Tables>,
    pub(super) sessions: u32,
}

impl Load {
    /// Makes the tables and adds the sessions.
    pub(super) fn new(sessions: u32) -> Result<Self, Box<dyn Error>> {
        Self::with(sessions, 1024, session)
    }

    /// The same with an IPv6 prefix for each, and room for more routes.
    pub(super) fn dual_stack(sessions: u32, routes: u32) -> Result<Self, Box<dyn Error>> {
        Self::with(sessions, routes, dual_stack_session)
    }

    fn with(
        sessions: u32,
        routes_max: u32,
        session: impl Fn(u32) -> Session,
    ) -> Result<Self, Box<dyn Error>> {
        let ethernet = |last| PortInfo {
            kind: PortKind::Ethernet,
            mac: [2, 0, 0, 0, 0, last],
            mtu: 1500,
            vlan: None,
        };
        let host = PortInfo { kind: PortKind::Host, mac: [0; 6], mtu: 1500, vlan: None };
        let limits = Limits {
            sessions_max: sessions,
            routes_max,
            workers: 1,
            l2tp_port: L2TP_PORT,
            l2tp_port_count: 1,
            gateways: Default::default(),
            quality: None,
            ports: vec![ethernet(1), ethernet(2), host],
        };
        let (tables, mut writer) = tables::new(&limits)?;
        for command in surroundings(sessions) {
            writer.apply(&command)?;
        }
        for number in 0..sessions {
            writer.apply(&Command::SessionSet(Box::new(session(number))))?;
        }
        Ok(Self { tables, sessions, writer })
    }

    /// For packets to all sessions.
    pub(super) fn reading(&self) -> Reading {
        Reading { tables: Arc::clone(&self.tables), sessions: self.sessions }
    }

    /// For packets to the lower half of the sessions, while the writer changes the upper half.
    pub(super) fn halves(&mut self) -> (Reading, &mut Writer) {
        let reading = Reading { sessions: self.sessions / 2, ..self.reading() };
        (reading, &mut self.writer)
    }
}

impl Reading {
    /// Packets without end.
    pub(super) fn packets(&self, direction: Direction, size: u16) -> Packets {
        let octets = Vec::with_capacity(2048);
        Packets { direction, sessions: self.sessions, size, random: Random::default(), octets }
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
    fn next(&mut self) -> u64 {
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
    let route = |prefix: IpNet, port, gateway: Ipv4Addr| Command::RouteSet {
        prefix,
        target: RouteTarget::Neighbor { port, gateway: gateway.into() },
    };
    let neighbor = |port, address: Ipv4Addr| {
        let [_, b, c, d] = address.octets();
        Command::NeighborSet { port, address: address.into(), mac: [2, 1, 0, b, c, d] }
    };
    let mut commands = vec![
        Command::HostAddressSet { address: ENDPOINT.into(), tunnel_endpoint: true },
        route(Ipv4Net::default().into(), CORE, GATEWAY),
        neighbor(CORE, GATEWAY),
    ];
    for tunnel in 0..=sessions / TUNNEL_SESSIONS {
        commands.push(route(
            IpNet::from(std::net::IpAddr::from(peer(tunnel))),
            ACCESS,
            peer(tunnel),
        ));
        commands.push(neighbor(ACCESS, peer(tunnel)));
    }
    commands
}

fn peer(tunnel: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(172, 16, 0, 1).to_bits() + tunnel)
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
    let mut session = session(number);
    session.prefixes.push(prefix(number));
    session
}

/// IDs as control gives them out: not in order.
fn key(number: u32) -> SessionKey {
    let tunnel = number / TUNNEL_SESSIONS;
    SessionKey {
        local_tunnel_id: (tunnel as u16 + 1).wrapping_mul(0x9e37),
        local_session_id: ((number % TUNNEL_SESSIONS) as u16 + 1).wrapping_mul(0x9e37),
    }
}

fn session(number: u32) -> Session {
    let tunnel = number / TUNNEL_SESSIONS;
    Session {
        key: key(number),
        peer_tunnel_id: tunnel as u16 + 1,
        peer_session_id: (number % TUNNEL_SESSIONS) as u16 + 1,
        local: (ENDPOINT, L2TP_PORT).into(),
        peer: (peer(tunnel), L2TP_PORT).into(),
        send_acfc: false,
        send_pfc: false,
        magic: number + 1,
        peer_mru: 1460,
        prefixes: vec![IpNet::from(std::net::IpAddr::from(address(number)))],
        source_check: true,
        gateway: None,
        options: SessionOptions::default(),
    }
}

/// Frames for sessions in random order, the same order every time.
pub(super) struct Packets {
    direction: Direction,
    sessions: u32,
    size: u16,
    random: Random,
    octets: Vec<u8>,
}

impl Packets {
    /// The port that they come from.
    pub(super) fn port(&self) -> u16 {
        match self.direction {
            Direction::Decapsulation => ACCESS,
            Direction::Encapsulation => CORE,
        }
    }

    /// The next frame.
    pub(super) fn next_packet(&mut self) -> &[u8] {
        let number = self.random.below(self.sessions);
        // Many destinations behind one route.
        let remote = Ipv4Addr::from_bits(0x0800_0000 | (self.random.0 as u32 & 0x00ff_ffff));
        self.octets.clear();
        self.octets.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0]);
        match self.direction {
            Direction::Decapsulation => {
                let key = key(number);
                let payload = 10 + usize::from(self.size);
                let local = peer(number / TUNNEL_SESSIONS);
                udp(&mut self.octets, local, ENDPOINT, [L2TP_PORT; 2], payload as u16);
                self.octets.extend(2u16.to_be_bytes());
                self.octets.extend(key.local_tunnel_id.to_be_bytes());
                self.octets.extend(key.local_session_id.to_be_bytes());
                self.octets.extend([0xff, 0x03, 0x00, 0x21]);
                inner(&mut self.octets, address(number), remote, self.size);
            }
            Direction::Encapsulation => {
                inner(&mut self.octets, remote, address(number), self.size);
            }
        }
        &self.octets
    }
}

/// A UDP packet of `size` octets with a checksum and zeroes in it.
fn inner(octets: &mut Vec<u8>, source: Ipv4Addr, destination: Ipv4Addr, size: u16) {
    let start = octets.len();
    let payload = size - 28;
    udp(octets, source, destination, [4000, 5000], payload);
    octets.resize(start + usize::from(size), 0);
    let udp_length = payload + 8;
    let pseudo = pseudo_ipv4(source.octets(), destination.octets(), 17, udp_length);
    let sum = pseudo.number(4000).number(5000).number(udp_length).udp_checksum();
    octets[start + 26..start + 28].copy_from_slice(&sum.to_bytes());
}

/// IPv4 and UDP header; UDP without a checksum.
fn udp(
    octets: &mut Vec<u8>,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    ports: [u16; 2],
    payload: u16,
) {
    let mut header = [0x45, 0, 0, 0, 0, 1, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    header[2..4].copy_from_slice(&(payload + 28).to_be_bytes());
    header[12..16].copy_from_slice(&source.octets());
    header[16..20].copy_from_slice(&destination.octets());
    let sum = Sum::default().octets(&header).checksum();
    header[10..12].copy_from_slice(&sum.to_bytes());
    octets.extend(header);
    for number in [ports[0], ports[1], payload + 8, 0] {
        octets.extend(number.to_be_bytes());
    }
}
