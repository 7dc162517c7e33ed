//! To the tunnel: PPP, L2TP, UDP and IP in front of the packet, from the session's template.

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, IntoBytes};

use super::classify::Packet;
use super::forward::{check_hops, count_hop};
use super::{Context, NO_ROOM, Origin, congestion, fragment, mss_clamp};
use crate::frame::Frame;
use crate::tables::{
    Adjacency, Encap, Entry, FLAG_KEEP_MSS, FLAG_OUTER_FRAGMENTS, FLAG_OUTER_IPV6,
    FLAG_POLICE_DOWNSTREAM, FLAG_SEND_ACFC, FLAG_SEND_PFC, FLAG_SEQUENCE, FLAG_SEQUENCE_AS_PEER,
    ipv6_front,
};
use crate::verdict::{DropReason, Verdict};
use crate::wire::checksum::Sum;
use crate::wire::{ethernet, icmp, ipv4, ipv6, l2tp, ppp, tcp, udp};

/// How short a segment may be.
const ICMP_BYTES_MIN: usize = 4;

/// UDP and L2TP header.
const UDP_L2TP_BYTES: usize = udp::HEADER_BYTES + l2tp::DATA_HEADER_BYTES;

/// The template of IPv4: all of it.
const IPV4_BYTES: usize = ipv4::HEADER_BYTES + UDP_L2TP_BYTES;

/// The template of IPv6, which begins at the source address.
const IPV6_BYTES: usize = ipv6::HEADER_BYTES + UDP_L2TP_BYTES;
const IPV6_FRONT_BYTES: usize = 8;

/// Traffic class and checksum of control's frames: nothing special, as what its own socket sends.
pub(super) const PLAIN: (u8, bool) = (0, false);

/// Where the way of a session's packets leads, and what they look like there.
#[derive(Clone, Copy)]
pub(super) struct Way {
    session: Encap,
    adjacency: Adjacency,
    framing: Framing,
    /// The largest information field of PPP that fits the link with everything in front, octets.
    pub(super) room: usize,
}

impl Way {
    /// The session's line.
    pub(super) fn session(&self) -> &Encap {
        &self.session
    }

    /// The largest information field of PPP that the peer takes, octets.
    pub(super) fn mru(&self) -> usize {
        self.session.peer_mru.into()
    }
}

impl Context<'_> {
    /// An IP packet to a subscriber: `frame` is the packet. Counted once it is known to go.
    #[inline]
    pub(super) fn send_to_subscriber(
        &mut self,
        frame: &mut Frame,
        slot: u32,
        packet: Packet,
        origin: Origin,
    ) -> Result<Verdict, DropReason> {
        check_hops(frame, packet, origin)?;
        let protocol = if packet.is_ipv4() { ppp::IPV4 } else { ppp::IPV6 };
        let way = self.way_to_peer(slot, |flags| Framing::new(flags, protocol))?;
        let session = &way.session;
        let mru = usize::from(session.peer_mru);
        let whole = if session.flags & FLAG_OUTER_FRAGMENTS != 0 { mru } else { mru.min(way.room) };
        let is_too_large = packet.length() > whole;
        if is_too_large && !packet.may_be_cut(frame.octets()) {
            return Err(self.too_big(whole));
        }
        if session.flags & FLAG_POLICE_DOWNSTREAM != 0 {
            self.police_downstream(session.index, packet.length())?;
        }
        count_hop(frame, packet, origin);
        if session.flags & FLAG_KEEP_MSS == 0 {
            mss_clamp::clamp(frame.octets_mut(), packet.is_ipv4(), mru.min(way.room));
        }
        if is_too_large { self.send_in_pieces(frame, &way, whole) } else { self.send(frame, &way) }
    }

    /// A PPP frame of control's, whole with its framing: `frame` is that.
    pub(super) fn send_from_control(
        &mut self,
        frame: &mut Frame,
        slot: u32,
    ) -> Result<Verdict, DropReason> {
        let way = self.way_to_peer(slot, |_| Framing::NONE)?;
        let sum = Sum::default().octets(frame.octets());
        // What does not fit the link is sent in outer pieces: control has no other way.
        self.encapsulate(frame, &way, sum, PLAIN)
    }

    /// The largest IP packet to a subscriber that is not sent in pieces, octets.
    pub(super) fn session_mtu(&self, slot: u32, is_ipv4: bool) -> usize {
        let protocol = if is_ipv4 { ppp::IPV4 } else { ppp::IPV6 };
        let mru = usize::from(self.guard.encap(slot).peer_mru);
        let way = self.way_to_peer(slot, |flags| Framing::new(flags, protocol));
        way.map_or(mru, |way| mru.min(way.room))
    }

    /// Sends an IPv4 packet in pieces of at most `limit` octets.
    fn send_in_pieces(
        &mut self,
        frame: &mut Frame,
        way: &Way,
        limit: usize,
    ) -> Result<Verdict, DropReason> {
        let mut pieces = std::mem::take(&mut self.special.pieces);
        let cut = fragment::ipv4(frame, limit, &mut self.special.reserve, &mut pieces);
        let sent = cut.and_then(|()| self.send(frame, way));
        let behind = frame.chunk();
        for mut piece in pieces.drain(..) {
            let sent = if sent.is_ok() { self.send(&mut piece, way).ok() } else { None };
            self.send_extra(behind, piece, sent);
        }
        self.special.pieces = pieces;
        sent
    }

    /// One packet that fits the MRU.
    fn send(&mut self, frame: &mut Frame, way: &Way) -> Result<Verdict, DropReason> {
        let length = frame.len();
        let is_ipv4 = way.framing.is_ipv4();
        let sum = inner_sum(frame.octets(), is_ipv4);
        let headers = way.session.outer_headers;
        let class = headers.traffic_class(congestion::traffic_class(frame.octets(), is_ipv4));
        let verdict = self.encapsulate(frame, way, sum, (class, headers.no_checksum()))?;
        self.guard.counters(way.session.index).count_downstream(length as u64);
        Ok(verdict)
    }

    /// The way to the peer of a session.
    #[inline(always)]
    pub(super) fn way_to_peer(
        &self,
        slot: u32,
        framing: impl Fn(u16) -> Framing,
    ) -> Result<Way, DropReason> {
        let session = self.guard.encap(slot);
        let adjacency = match self.guard.path(session.path) {
            Entry::Neighbor(index) => self.guard.adjacency(index),
            Entry::NoRoute => return Err(DropReason::NoRoute),
            // Never into a session: a path does not resolve to one.
            Entry::Unreachable | Entry::Session(_) => return Err(DropReason::Unreachable),
            // The kernel takes no packet from a TUN device that comes from its own address, so that
            // the host cannot help here.
            Entry::Local { .. } | Entry::Glean => None,
        };
        let adjacency = adjacency.ok_or(DropReason::NeighborUnknown)?;
        let mut framing = framing(session.flags);
        let as_peer = session.flags & FLAG_SEQUENCE_AS_PEER != 0;
        framing.sequenced = session.flags & FLAG_SEQUENCE != 0
            || (as_peer && self.guard.state(session.index).peer_sequences());
        let ipv6 = session.flags & FLAG_OUTER_IPV6 != 0;
        let front = if ipv6 { IPV6_BYTES } else { IPV4_BYTES } + framing.front_bytes();
        let room = self.mtu(adjacency).saturating_sub(front);
        Ok(Way { session, adjacency, framing, room })
    }

    /// Puts everything in front of a PPP information field whose sum is `sum`, and sends it.
    #[inline(always)]
    pub(super) fn encapsulate(
        &mut self,
        frame: &mut Frame,
        way: &Way,
        sum: Sum,
        (class, no_checksum): (u8, bool),
    ) -> Result<Verdict, DropReason> {
        let (session, framing) = (&way.session, way.framing);
        let udp_length = (UDP_L2TP_BYTES + framing.front_bytes() + frame.len()) as u16;
        let is_cut = frame.len() > way.room;
        let sum = if framing.length % 2 == 1 { sum.at_odd_offset() } else { sum };
        let ns = if framing.sequenced { self.guard.state(session.index).take_ns() } else { 0 };
        // RFC 2661 section 8.1: UDP checksums are on by default, for data too. The length counts
        // twice: in the header and in the pseudo-header.
        let checksum = match no_checksum {
            false => Sum::from_seed(session.udp_seed)
                .number(udp_length)
                .number(udp_length)
                .sum(framing.sum(ns))
                .sum(sum)
                .udp_checksum(),
            true => U16::ZERO,
        };
        let outer = Outer { udp_length, checksum, class };
        let ethertype = if session.flags & FLAG_OUTER_IPV6 == 0 {
            *self.identification = self.identification.wrapping_add(1);
            framing.push(frame, IPV4_BYTES, ns)?;
            write_ipv4(frame, way, *self.identification, outer)?;
            ethernet::IPV4
        } else {
            framing.push(frame, IPV6_BYTES, ns)?;
            write_ipv6(frame, way, outer)?;
            ethernet::IPV6
        };
        if is_cut {
            return self.cut(frame, way.adjacency, ethertype);
        }
        self.rewrite(frame, way.adjacency, ethertype)
    }

    /// Sends an IPv4 packet, or an outer one, in pieces that fit the link.
    #[cold]
    pub(super) fn cut(
        &mut self,
        frame: &mut Frame,
        adjacency: Adjacency,
        ethertype: u16,
    ) -> Result<Verdict, DropReason> {
        let mtu = self.mtu(adjacency);
        let special = &mut *self.special;
        // Beside the pieces of the inner packet, which may be under way.
        let mut pieces = std::mem::take(&mut special.outer_pieces);
        let cut = if ethertype == ethernet::IPV4 {
            fragment::ipv4(frame, mtu, &mut special.reserve, &mut pieces)
        } else {
            special.fragment_id = special.fragment_id.wrapping_add(1);
            fragment::ipv6(frame, mtu, special.fragment_id, &mut special.reserve, &mut pieces)
        };
        let sent = cut.and_then(|()| self.rewrite(frame, adjacency, ethertype));
        let behind = frame.chunk();
        for mut piece in pieces.drain(..) {
            let sent = match sent {
                Ok(_) => self.rewrite(&mut piece, adjacency, ethertype).ok(),
                Err(_) => None,
            };
            self.send_extra(behind, piece, sent);
        }
        self.special.outer_pieces = pieces;
        sent
    }
}

/// What the outer headers of one packet have beside the session's template.
#[derive(Clone, Copy)]
struct Outer {
    udp_length: u16,
    checksum: U16,
    class: u8,
}

fn write_ipv4(
    frame: &mut Frame,
    way: &Way,
    identification: u16,
    outer: Outer,
) -> Result<(), DropReason> {
    let session = &way.session;
    let octets = frame.octets_mut().first_chunk_mut::<IPV4_BYTES>().ok_or(NO_ROOM)?;
    let template = session.template.first_chunk::<IPV4_BYTES>().ok_or(NO_ROOM)?;
    *octets = *template;
    let (header, rest) = ipv4::Header::mut_from_prefix(octets).map_err(|_| NO_ROOM)?;
    let total = outer.udp_length + ipv4::HEADER_BYTES as u16;
    header.traffic_class = outer.class;
    header.total_length = U16::new(total);
    header.identification = U16::new(identification);
    header.checksum = Sum::from_seed(session.ip_seed)
        .number(outer.class.into())
        .number(total)
        .number(identification)
        .checksum();
    write_udp(rest, way, outer)
}

fn write_ipv6(frame: &mut Frame, way: &Way, outer: Outer) -> Result<(), DropReason> {
    let octets = frame.octets_mut().first_chunk_mut::<IPV6_BYTES>().ok_or(NO_ROOM)?;
    let (front, rest) = octets.split_at_mut(IPV6_FRONT_BYTES);
    front.copy_from_slice(&ipv6_front(outer.udp_length));
    if let Ok((word, _)) = U32::mut_from_prefix(front) {
        *word = U32::new(word.get() | u32::from(outer.class) << 20);
    }
    rest.copy_from_slice(&way.session.template);
    let udp = rest.get_mut(ipv6::HEADER_BYTES - IPV6_FRONT_BYTES..).ok_or(NO_ROOM)?;
    write_udp(udp, way, outer)
}

fn write_udp(octets: &mut [u8], way: &Way, outer: Outer) -> Result<(), DropReason> {
    let (header, rest) = udp::Header::mut_from_prefix(octets).map_err(|_| NO_ROOM)?;
    header.length = U16::new(outer.udp_length);
    header.checksum = outer.checksum;
    if way.framing.sequenced {
        let (header, _) = l2tp::DataHeader::mut_from_prefix(rest).map_err(|_| NO_ROOM)?;
        header.flags_version = U16::new(l2tp::VERSION | l2tp::FLAG_SEQUENCE);
    }
    Ok(())
}

/// The octets between L2TP's fixed header and the information field: sequence numbers, and PPP's at the
/// end of the array.
#[derive(Debug, Clone, Copy)]
pub(super) struct Framing {
    octets: [u8; 4],
    /// Octets of PPP.
    length: usize,
    /// Whether Ns and Nr are there.
    sequenced: bool,
}

/// Octets of Ns and Nr (RFC 2661 section 3.1). Nr is reserved in data, and zero.
const SEQUENCE_BYTES: usize = 4;

impl Framing {
    /// None beside what the frame has already.
    const NONE: Self = Self { octets: [0; 4], length: 0, sequenced: false };

    /// As the session's peer agreed to (RFC 1661 sections 6.5 and 6.6).
    #[inline]
    pub(super) fn new(flags: u16, protocol: u16) -> Self {
        let [high, low] = protocol.to_be_bytes();
        let (octets, length) =
            match (flags & FLAG_SEND_ACFC != 0, flags & FLAG_SEND_PFC != 0 && high == 0) {
                (false, false) => return Self::whole(protocol),
                (false, true) => ([0, 0xff, 0x03, low], 3),
                (true, false) => ([0, 0, high, low], 2),
                (true, true) => ([0, 0, 0, low], 1),
            };
        Self { octets, length, sequenced: false }
    }

    /// Nothing left out, as LCP wants.
    #[inline]
    pub(super) fn whole(protocol: u16) -> Self {
        let [high, low] = protocol.to_be_bytes();
        Self { octets: [0xff, 0x03, high, low], length: 4, sequenced: false }
    }

    fn is_ipv4(self) -> bool {
        let [.., low] = self.octets;
        u16::from(low) == ppp::IPV4
    }

    /// All that comes between L2TP's fixed header and the information field, octets.
    fn front_bytes(self) -> usize {
        self.length + if self.sequenced { SEQUENCE_BYTES } else { 0 }
    }

    /// The sum, as L2TP's header ends at an even offset; with its S bit.
    #[inline]
    fn sum(self, ns: u16) -> Sum {
        let sum = Sum::default().octets(&self.octets);
        let sum = if self.length % 2 == 1 { sum.at_odd_offset() } else { sum };
        if self.sequenced { sum.number(l2tp::FLAG_SEQUENCE).number(ns) } else { sum }
    }

    /// Writes the octets in front of the frame, with room for `before` octets in front of them.
    #[inline]
    fn push(self, frame: &mut Frame, before: usize, ns: u16) -> Result<(), DropReason> {
        // All four, so that it is one store; what is too much lies where the template comes.
        if !frame.push(self.octets.len()) {
            return Err(NO_ROOM);
        }
        *frame.octets_mut().first_chunk_mut().ok_or(NO_ROOM)? = self.octets;
        let mut there = frame.pull(self.octets.len() - self.length);
        if self.sequenced {
            there &= frame.push(SEQUENCE_BYTES);
            let [high, low] = ns.to_be_bytes();
            *frame.octets_mut().first_chunk_mut().ok_or(NO_ROOM)? = [high, low, 0, 0];
        }
        if there && frame.push(before) { Ok(()) } else { Err(NO_ROOM) }
    }
}

/// The sum over an IP packet.
///
/// A correct IPv4 header sums to nothing, and a correct TCP, UDP or ICMP segment to the complement of
/// its pseudo-header: so the payload is not read. A segment whose checksum is wrong gives an outer
/// checksum that is wrong, and the peer drops what the subscriber would have dropped. Everything
/// else, IPv4 with options among it, is summed up octet by octet.
#[inline]
pub(super) fn inner_sum(packet: &[u8], is_ipv4: bool) -> Sum {
    let sum = if is_ipv4 { ipv4_sum(packet) } else { ipv6_sum(packet) };
    sum.unwrap_or_else(|| Sum::default().octets(packet))
}

#[inline]
fn ipv4_sum(packet: &[u8]) -> Option<Sum> {
    let (header, segment) = ipv4::Header::ref_from_prefix(packet).ok()?;
    // Options may be a source route: the pseudo-header then has another destination than the header.
    if header.version_ihl != ipv4::VERSION_IHL {
        return None;
    }
    plain_ipv4_sum(header, segment)
}

/// The sum over an IPv4 packet without options, if it is one whose payload need not be read.
#[inline(always)]
pub(super) fn plain_ipv4_sum(header: &ipv4::Header, segment: &[u8]) -> Option<Sum> {
    if header.is_fragment() {
        return None;
    }
    if header.protocol == icmp::PROTOCOL {
        return (segment.len() >= ICMP_BYTES_MIN).then(Sum::default);
    }
    let pseudo = Sum::default()
        .octets(&header.source)
        .octets(&header.destination)
        .number(header.protocol.into())
        .number(segment.len() as u16);
    has_checksum(header.protocol, segment).then(|| Sum::default().minus(pseudo))
}

#[inline]
fn ipv6_sum(packet: &[u8]) -> Option<Sum> {
    let (header, segment) = ipv6::Header::ref_from_prefix(packet).ok()?;
    plain_ipv6_sum(header, segment)
}

/// The sum over an IPv6 packet, if it is one whose payload need not be read.
#[inline(always)]
pub(super) fn plain_ipv6_sum(header: &ipv6::Header, segment: &[u8]) -> Option<Sum> {
    let known = match header.next_header {
        icmp::PROTOCOL_IPV6 => segment.len() >= ICMP_BYTES_MIN,
        protocol => has_checksum(protocol, segment),
    };
    // The addresses are in the header and, complemented, in the pseudo-header.
    let rest = Sum::default().number(header.next_header.into()).number(segment.len() as u16);
    let front = header.as_bytes().first_chunk::<IPV6_FRONT_BYTES>()?;
    known.then(|| Sum::default().octets(front).minus(rest))
}

/// Whether the segment has a checksum over all of it.
#[inline]
fn has_checksum(protocol: u8, segment: &[u8]) -> bool {
    match protocol {
        tcp::PROTOCOL => segment.len() >= tcp::HEADER_BYTES,
        udp::PROTOCOL => udp::parse(segment).is_some_and(|(header, payload)| {
            header.checksum.get() != 0 && payload.len() + udp::HEADER_BYTES == segment.len()
        }),
        _ => false,
    }
}
