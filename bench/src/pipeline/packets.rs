//! Frames for sessions in random order, the same order every time.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use xlns_dataplane::wire::checksum::{Sum, pseudo_ipv4, pseudo_ipv6};
use xlns_dataplane::wire::{ethernet, tcp, udp};

use super::kind::Kind;
use super::load::{self, Direction, ENDPOINT, ENDPOINT_IPV6, L2TP_PORT, Random, VLANS};

/// The simple mix of the internet: 7 frames of 64 octets, 4 of 570 and one of 1518, as IP packets; the
/// last one as large as goes through a tunnel whole.
pub(super) const MIX: [u16; 12] = [46, 552, 46, 46, 552, 46, 1400, 46, 552, 46, 46, 552];

/// Ports of inner segments.
const PORTS: [u16; 2] = [4000, 5000];

/// Octets of an IP, UDP, L2TP and PPP header and a tag together at most, and of the largest packet.
const FRAME_BYTES_MAX: usize = 2048;

/// Frames of one kind, without end.
pub(super) struct Packets {
    pub(super) kind: Kind,
    pub(super) direction: Direction,
    sessions: Range<u32>,
    /// Octets of inner packets, in turn.
    sizes: Vec<u16>,
    turn: usize,
    /// The next number of each session, where there are numbers.
    next: Vec<u16>,
    random: Random,
    octets: Vec<u8>,
}

impl Packets {
    pub(super) fn new(
        kind: Kind,
        direction: Direction,
        sessions: Range<u32>,
        sizes: &[u16],
    ) -> Self {
        let numbered = if kind == Kind::Sequences { sessions.len() } else { 0 };
        Self {
            kind,
            direction,
            sessions,
            sizes: sizes.to_vec(),
            turn: 0,
            next: vec![0; numbered],
            random: Random::default(),
            octets: Vec::with_capacity(FRAME_BYTES_MAX),
        }
    }

    /// The port that they come from.
    pub(super) fn port(&self) -> u16 {
        let [from, _] = self.direction.ports(self.kind);
        from
    }

    /// The port that they leave by.
    pub(super) fn leaves_by(&self) -> u16 {
        let [_, to] = self.direction.ports(self.kind);
        to
    }

    /// Octets of an inner packet, in the middle.
    pub(super) fn inner_bytes(&self) -> f64 {
        self.sizes.iter().map(|size| f64::from(*size)).sum::<f64>() / self.sizes.len() as f64
    }

    /// The next frame.
    pub(super) fn next_packet(&mut self) -> &[u8] {
        let place = self.random.below(self.sessions.len() as u32);
        let number = self.sessions.start + place;
        // Many destinations behind one route.
        let random = self.random.next();
        let [inside, remote] = self.addresses(number, random);
        let size = self.sizes.get(self.turn).copied().unwrap_or(0);
        self.turn = (self.turn + 1) % self.sizes.len();
        self.octets.clear();
        self.octets.extend([2, 0, 0, 0, 0, 1 + self.port() as u8, 2, 0, 0, 0, 0, 9]);
        match self.direction {
            Direction::Encapsulation => {
                self.ethertype(remote);
                self.inner(remote, inside, size);
            }
            Direction::Decapsulation => {
                let numbers = self.next.get_mut(place as usize).map(|next| {
                    *next = next.wrapping_add(1);
                    *next
                });
                self.tunnel(number, numbers, inside, size);
                self.inner(inside, remote, size);
            }
        }
        &self.octets
    }

    /// The subscriber's address and one of the network.
    fn addresses(&self, number: u32, random: u64) -> [IpAddr; 2] {
        let low = random as u32 & 0x00ff_ffff;
        let ipv4 = |net: u32| IpAddr::from(Ipv4Addr::from_bits(net << 24 | low));
        match self.kind {
            Kind::InnerIpv6 => {
                let remote = 0x2400 << 112 | u128::from(low) << 64 | 1;
                [load::prefix(number).addr(), Ipv6Addr::from_bits(remote).into()]
            }
            Kind::Tagged => [load::address(number).into(), ipv4(9)],
            _ => [load::address(number).into(), ipv4(8)],
        }
    }

    fn ethertype(&mut self, address: IpAddr) {
        if self.kind == Kind::Tagged {
            let [tag, _] = ethernet::TAGS;
            let [access, core] = VLANS;
            let vlan = match self.direction {
                Direction::Decapsulation => access,
                Direction::Encapsulation => core,
            };
            self.numbers(&[tag, vlan]);
        }
        self.numbers(&[if address.is_ipv4() { ethernet::IPV4 } else { ethernet::IPV6 }]);
    }

    /// Everything in front of the inner packet, which will have `size` octets.
    fn tunnel(&mut self, number: u32, ns: Option<u16>, inside: IpAddr, size: u16) {
        let peer = load::peer(number, self.kind);
        let local =
            if peer.is_ipv4() { IpAddr::from(ENDPOINT) } else { IpAddr::from(ENDPOINT_IPV6) };
        self.ethertype(peer);
        let numbers: u16 = if ns.is_some() { 4 } else { 0 };
        let length = 8 + 6 + numbers + 4 + size;
        self.ip(peer, local, udp::PROTOCOL, length);
        // Without a checksum: it is not verified.
        self.numbers(&[L2TP_PORT, L2TP_PORT, length, 0]);
        let key = load::key(number);
        match ns {
            None => self.numbers(&[2, key.local_tunnel_id, key.local_session_id]),
            Some(ns) => {
                self.numbers(&[0x0802, key.local_tunnel_id, key.local_session_id, ns, 0]);
            }
        }
        self.numbers(&[0xff03, if inside.is_ipv4() { 0x0021 } else { 0x0057 }]);
    }

    /// A packet of `size` octets with a correct checksum and zeroes in it.
    fn inner(&mut self, source: IpAddr, destination: IpAddr, size: u16) {
        let header = if source.is_ipv4() { 20 } else { 40 };
        let end = self.octets.len() + usize::from(size);
        let length = size - header;
        let (protocol, checksum) = match self.kind {
            Kind::Tcp | Kind::Syn => (tcp::PROTOCOL, 16),
            _ => (udp::PROTOCOL, 6),
        };
        self.ip(source, destination, protocol, length);
        let start = self.octets.len();
        let [from, to] = PORTS;
        match self.kind {
            // 24 octets with the MSS of Ethernet.
            Kind::Syn => self.numbers(&[from, to, 0, 1, 0, 0, 0x6002, 0xffff, 0, 0, 0x0204, 1460]),
            Kind::Tcp => self.numbers(&[from, to, 0, 1, 0, 1, 0x5010, 0xffff, 0, 0]),
            _ => self.numbers(&[from, to, length, 0]),
        }
        let pseudo = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                pseudo_ipv4(source.octets(), destination.octets(), protocol, length)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                pseudo_ipv6(source.octets(), destination.octets(), protocol, length)
            }
            _ => Sum::default(),
        };
        let segment = self.octets.get(start..).unwrap_or_default();
        let sum = pseudo.octets(segment).udp_checksum().to_bytes();
        if let Some(place) = self.octets.get_mut(start + checksum..start + checksum + 2) {
            place.copy_from_slice(&sum);
        }
        self.octets.resize(end, 0);
    }

    /// An IP header in front of `payload` octets.
    fn ip(&mut self, source: IpAddr, destination: IpAddr, protocol: u8, payload: u16) {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut header =
                    [0x45, 0, 0, 0, 0, 1, 0, 0, 64, protocol, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                header[2..4].copy_from_slice(&(payload + 20).to_be_bytes());
                header[12..16].copy_from_slice(&source.octets());
                header[16..20].copy_from_slice(&destination.octets());
                let sum = Sum::default().octets(&header).checksum();
                header[10..12].copy_from_slice(&sum.to_bytes());
                self.octets.extend(header);
            }
            (source, destination) => {
                self.numbers(&[0x6000, 0, payload]);
                self.octets.extend([protocol, 64]);
                for address in [source, destination] {
                    if let IpAddr::V6(address) = address {
                        self.octets.extend(address.octets());
                    }
                }
            }
        }
    }

    fn numbers(&mut self, numbers: &[u16]) {
        for number in numbers {
            self.octets.extend(number.to_be_bytes());
        }
    }
}
