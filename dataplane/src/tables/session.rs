//! A session as workers read it: two cache lines, one for each direction.
//!
//! A slot is written before it is published and not changed while any worker can reach it: a changed
//! session goes to another slot. What lasts for the session's life, its counters, is named by the
//! session's index.

use std::io::{self, Write};
use std::mem::offset_of;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, transmute};

use super::epoch::arena::Arena;
use super::options::{self, FLAG_POLICE_UPSTREAM, FLAG_SPECIAL, OuterHeaders, of_directions};
use crate::api::{self, SessionKey};
use crate::wire::checksum::{Sum, pseudo_ipv4, pseudo_ipv6};
use crate::wire::{ipv4, ipv6, l2tp, udp};

/// The outer addresses are IPv6.
pub const FLAG_OUTER_IPV6: u16 = 1;
/// The subscriber has an IPv4 prefix.
pub const FLAG_IPV4: u16 = 2;
/// The subscriber has an IPv6 prefix.
pub const FLAG_IPV6: u16 = 4;
/// FF 03 is left out when sending.
pub const FLAG_SEND_ACFC: u16 = 8;
/// The protocol is sent in one octet.
pub const FLAG_SEND_PFC: u16 = 16;
/// The network is at the other end, not a subscriber: any source may come from there.
pub const FLAG_ANY_SOURCE: u16 = 32;

/// TTL and hop limit of outer packets.
const OUTER_HOPS: u8 = 64;

/// What a packet from the subscriber needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Decap {
    /// Source and destination of packets from the peer, as in their header: its address and ours,
    /// zeroes behind those of IPv4.
    pub outer_addresses: [u8; 32],
    /// The subscriber's only IPv4 address, for a quick source check; 0.0.0.0: look into the FIB.
    pub inner_ipv4: [u8; 4],
    /// The peer's UDP port.
    pub peer_port: U16,
    /// `FLAG_*`.
    pub flags: u16,
    /// Names the counters.
    pub index: u32,
    /// Names the path to the peer.
    pub path: u32,
    /// Tunnel ID and session ID of ours.
    pub key: u32,
    /// Our magic number, 0 where none was agreed.
    pub magic: U32,
    /// Our address on the link, the source of ICMP errors.
    pub gateway: [u8; 4],
    /// Our UDP port.
    pub local_port: U16,
    /// Zero.
    pub spare: [u8; 2],
}

impl Decap {
    /// The peer's address.
    pub(crate) fn peer(&self) -> IpAddr {
        let [first, ..] = self.outer_addresses.as_chunks::<16>().0 else {
            return Ipv4Addr::UNSPECIFIED.into();
        };
        match first {
            [a, b, c, d, ..] if self.flags & FLAG_OUTER_IPV6 == 0 => [*a, *b, *c, *d].into(),
            octets => (*octets).into(),
        }
    }
}

/// Octets of a template at most: UDP and L2TP header behind the addresses of IPv6.
pub const TEMPLATE_BYTES_MAX: usize = 46;

/// What a packet to the subscriber needs.
///
/// The template is what goes in front of PPP: for IPv4 from the IP header on, for IPv6 from its
/// source address on, as the first eight octets are the same for all sessions but for the length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Encap {
    /// Outer header, UDP and L2TP; lengths, identification and checksums are zero.
    pub template: [u8; TEMPLATE_BYTES_MAX],
    /// `FLAG_*`.
    pub flags: u16,
    /// Names the counters.
    pub index: u32,
    /// Names the path to the peer.
    pub path: u32,
    /// The largest IP packet that the subscriber takes, octets.
    pub peer_mru: u16,
    /// Sum over the outer IPv4 header without length and identification.
    pub ip_seed: u16,
    /// Sum over pseudo-header, ports and L2TP header, without the UDP length.
    pub udp_seed: u16,
    /// What outer headers have beside the template, if the flags say so.
    pub outer_headers: OuterHeaders,
}

const LINE_WORDS: usize = 8;
const _: () = assert!(size_of::<Decap>() == LINE_WORDS * 8);
const _: () = assert!(size_of::<Encap>() == LINE_WORDS * 8);

/// A cache line.
type Line = [AtomicU64; LINE_WORDS];

/// Words of a first line.
const ADDRESSES: usize = offset_of!(Decap, outer_addresses) / 8;
const SOURCE: usize = offset_of!(Decap, inner_ipv4) / 8;

/// What tells at once that a packet from the subscriber is good, where both tunnel and subscriber
/// use IPv4: of the session, or as a packet has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// Outer source and destination address, in the order of memory.
    pub addresses: u64,
    /// Inner source address, UDP source port and the flags that matter.
    pub source: u64,
}

/// The flags that matter to [`Sender`], in their places.
const SENDER_MASK: u64 = sender_source(
    [0xff; 4],
    [0xff; 2],
    FLAG_OUTER_IPV6 | FLAG_IPV4 | FLAG_SPECIAL | FLAG_POLICE_UPSTREAM,
);

/// What is different where there is a policer, and nothing else.
const POLICED: u64 = sender_source([0; 4], [0; 2], FLAG_POLICE_UPSTREAM);

const fn sender_source([a, b, c, d]: [u8; 4], [e, f]: [u8; 2], flags: u16) -> u64 {
    let [g, h] = flags.to_ne_bytes();
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

impl Sender {
    /// The UDP source port.
    pub(crate) fn port(self) -> U16 {
        let [.., high, low, _, _] = self.source.to_ne_bytes();
        U16::from_bytes([high, low])
    }

    /// Of a packet: outer addresses, UDP source port and inner source address.
    #[inline(always)]
    pub fn new(addresses: [u8; 8], port: U16, source: [u8; 4]) -> Self {
        Self {
            addresses: u64::from_ne_bytes(addresses),
            source: sender_source(source, port.to_bytes(), FLAG_IPV4),
        }
    }
}

/// The slots.
#[derive(Debug)]
pub(crate) struct Sessions(Arena<[Line; 2]>);

impl Sessions {
    pub(crate) fn new(slots: u32) -> io::Result<Self> {
        Ok(Self(Arena::new(slots as usize)?))
    }

    #[inline(always)]
    fn load(line: &Line) -> [u64; LINE_WORDS] {
        // The slot's number was loaded with acquire ordering: its words are there.
        line.each_ref().map(|word| word.load(Ordering::Relaxed))
    }

    #[inline]
    fn lines(&self, slot: u32) -> &[Line; 2] {
        &self.0[slot as usize]
    }

    /// Asks the CPU for the first line.
    #[inline]
    pub(crate) fn prefetch_decap(&self, slot: u32) {
        self.0.prefetch(slot as usize);
    }

    /// Asks the CPU for the second line.
    #[inline]
    pub(crate) fn prefetch_encap(&self, slot: u32) {
        self.0.prefetch_at(slot as usize, size_of::<Line>());
    }

    /// The first line.
    #[inline]
    pub(crate) fn decap(&self, slot: u32) -> Decap {
        transmute!(Self::load(&self.lines(slot)[0]))
    }

    /// The second line.
    #[inline(always)]
    pub(crate) fn encap(&self, slot: u32) -> Encap {
        transmute!(Self::load(&self.lines(slot)[1]))
    }

    /// The second line as it lies in memory.
    #[inline(always)]
    pub(crate) fn encap_words(&self, slot: u32) -> [u64; LINE_WORDS] {
        Self::load(&self.lines(slot)[1])
    }

    /// Whether a packet is one of the session's without a closer look, and the session's index.
    #[inline(always)]
    pub(crate) fn is_from(&self, slot: u32, packet: Sender) -> (bool, u32) {
        let line = &self.lines(slot)[0];
        let addresses = line[ADDRESSES].load(Ordering::Relaxed);
        let source = line[SOURCE].load(Ordering::Relaxed);
        let same = addresses == packet.addresses && (source ^ packet.source) & SENDER_MASK == 0;
        (same, Self::half_word(line, offset_of!(Decap, index)))
    }

    /// The session's index, and whether a packet is one of the session's and has to pass its policer.
    #[inline(always)]
    pub(crate) fn is_policed(&self, slot: u32, packet: Sender) -> (u32, bool) {
        let line = &self.lines(slot)[0];
        let addresses = line[ADDRESSES].load(Ordering::Relaxed);
        let source = line[SOURCE].load(Ordering::Relaxed);
        let different = (source ^ packet.source) & SENDER_MASK;
        let index = Self::half_word(line, offset_of!(Decap, index));
        (index, addresses == packet.addresses && different == POLICED)
    }

    /// Index and flags in the first line.
    #[inline(always)]
    pub(crate) fn decap_index_flags(&self, slot: u32) -> (u32, u16) {
        let line = &self.lines(slot)[0];
        let index = Self::half_word(line, offset_of!(Decap, index));
        (index, Self::flags(line, offset_of!(Decap, flags)))
    }

    /// Index and flags in the second line.
    #[inline(always)]
    pub(crate) fn encap_index_flags(&self, slot: u32) -> (u32, u16) {
        let line = &self.lines(slot)[1];
        let index = Self::half_word(line, offset_of!(Encap, index));
        (index, Self::flags(line, offset_of!(Encap, flags)))
    }

    /// The flags at this offset of a line.
    #[inline(always)]
    fn flags(line: &Line, offset: usize) -> u16 {
        let word = line[offset / 8].load(Ordering::Relaxed);
        let quarters: [u16; 4] = transmute!(word);
        quarters[offset % 8 / 2]
    }

    /// The index in the first line, one word of it read.
    #[inline]
    pub(crate) fn decap_index(&self, slot: u32) -> u32 {
        Self::half_word(&self.lines(slot)[0], offset_of!(Decap, index))
    }

    /// The index in the second line, one word of it read.
    #[inline]
    pub(crate) fn encap_index(&self, slot: u32) -> u32 {
        Self::half_word(&self.lines(slot)[1], offset_of!(Encap, index))
    }

    /// The number at this offset of a line.
    #[inline(always)]
    fn half_word(line: &Line, offset: usize) -> u32 {
        let word = line[offset / 8].load(Ordering::Relaxed);
        let halves: [u32; 2] = transmute!(word);
        halves[offset % 8 / 4]
    }

    /// Writer: fills a slot that nobody can reach.
    pub(crate) fn write(&self, slot: u32, decap: Decap, encap: Encap) {
        let halves: [[u64; LINE_WORDS]; 2] = [transmute!(decap), transmute!(encap)];
        for (line, words) in self.lines(slot).iter().zip(halves) {
            for (place, word) in line.iter().zip(words) {
                place.store(word, Ordering::Relaxed);
            }
        }
    }
}

/// The 32 bits that packets to us carry.
pub(crate) fn pack(key: SessionKey) -> u32 {
    u32::from(key.local_tunnel_id) << 16 | u32::from(key.local_session_id)
}

/// Undoes [`pack`].
pub(crate) fn unpack(key: u32) -> SessionKey {
    SessionKey { local_tunnel_id: (key >> 16) as u16, local_session_id: key as u16 }
}

/// Both lines of a session. `path` and `index` as the writer handed them out.
pub(crate) fn lines(session: &api::Session, index: u32, path: u32) -> (Decap, Encap) {
    let [upstream, downstream] = of_directions(flags(session));
    let mut ipv4_prefixes = session.prefixes.iter().filter_map(|prefix| match prefix {
        ipnet::IpNet::V4(net) => Some(net),
        ipnet::IpNet::V6(_) => None,
    });
    let inner_ipv4 = match (ipv4_prefixes.next(), ipv4_prefixes.next()) {
        (Some(net), None) if net.prefix_len() == 32 => net.addr().octets(),
        _ => [0; 4],
    };
    let decap = Decap {
        outer_addresses: outer_addresses(session),
        inner_ipv4,
        peer_port: U16::new(session.peer.port()),
        flags: upstream,
        index,
        path,
        key: pack(session.key),
        magic: U32::new(session.magic),
        gateway: session.gateway.map_or([0; 4], |gateway| gateway.octets()),
        local_port: U16::new(session.local.port()),
        spare: [0; 2],
    };
    (decap, encap(session, index, path, downstream))
}

fn flags(session: &api::Session) -> u16 {
    let mut flags = 0;
    let mut set = |condition: bool, flag: u16| flags |= if condition { flag } else { 0 };
    set(session.peer.is_ipv6(), FLAG_OUTER_IPV6);
    set(session.prefixes.iter().any(|prefix| prefix.addr().is_ipv4()), FLAG_IPV4);
    set(session.prefixes.iter().any(|prefix| prefix.addr().is_ipv6()), FLAG_IPV6);
    set(session.send_acfc, FLAG_SEND_ACFC);
    set(session.send_pfc, FLAG_SEND_PFC);
    set(!session.source_check, FLAG_ANY_SOURCE);
    flags | options::flags(session)
}

fn outer_addresses(session: &api::Session) -> [u8; 32] {
    let mut octets = [0; 32];
    let mut place = octets.as_mut_slice();
    for address in [session.peer.ip(), session.local.ip()] {
        // Both are of one family, by the writer's check: sixteen octets twice at most.
        let written = match address {
            IpAddr::V4(address) => place.write_all(&address.octets()),
            IpAddr::V6(address) => place.write_all(&address.octets()),
        };
        debug_assert!(written.is_ok());
    }
    octets
}

fn encap(session: &api::Session, index: u32, path: u32, flags: u16) -> Encap {
    let udp = udp::Header {
        source: U16::new(session.local.port()),
        destination: U16::new(session.peer.port()),
        length: U16::ZERO,
        checksum: U16::ZERO,
    };
    let l2tp = l2tp::DataHeader::new(session.peer_tunnel_id, session.peer_session_id);
    let mut outer = Vec::with_capacity(TEMPLATE_BYTES_MAX);
    let (ip_seed, pseudo) = match (session.local.ip(), session.peer.ip()) {
        (IpAddr::V4(local), IpAddr::V4(peer)) => {
            let header = ipv4::Header {
                version_ihl: ipv4::VERSION_IHL,
                traffic_class: 0,
                total_length: U16::ZERO,
                identification: U16::ZERO,
                // Don't Fragment is not set: L2TP cannot fragment, and a path with a smaller MTU than
                // our link's would silently swallow large packets.
                fragment: U16::ZERO,
                ttl: OUTER_HOPS,
                protocol: udp::PROTOCOL,
                checksum: U16::ZERO,
                source: local.octets(),
                destination: peer.octets(),
            };
            outer.extend_from_slice(header.as_bytes());
            let sum = Sum::default().octets(header.as_bytes());
            (sum.seed(), pseudo_ipv4(local.octets(), peer.octets(), udp::PROTOCOL, 0))
        }
        (local, peer) => {
            let octets = |address: IpAddr| match address {
                IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                IpAddr::V6(address) => address.octets(),
            };
            let (local, peer) = (octets(local), octets(peer));
            outer.extend_from_slice(&local);
            outer.extend_from_slice(&peer);
            (0, pseudo_ipv6(local, peer, udp::PROTOCOL, 0))
        }
    };
    outer.extend_from_slice(udp.as_bytes());
    outer.extend_from_slice(l2tp.as_bytes());
    let mut template = [0; TEMPLATE_BYTES_MAX];
    template[..outer.len()].copy_from_slice(&outer);
    let udp_sum = pseudo.octets(udp.as_bytes()).octets(l2tp.as_bytes());
    Encap {
        template,
        flags,
        index,
        path,
        peer_mru: session.peer_mru,
        ip_seed,
        udp_seed: udp_sum.seed(),
        outer_headers: OuterHeaders::new(session),
    }
}

/// The eight octets in front of the template of IPv6.
#[inline]
pub(crate) fn ipv6_front(payload_length: u16) -> [u8; 8] {
    let [a, b, c, d] = ipv6::VERSION_CLASS_FLOW.to_bytes();
    let [high, low] = payload_length.to_be_bytes();
    [a, b, c, d, high, low, udp::PROTOCOL, OUTER_HOPS]
}
