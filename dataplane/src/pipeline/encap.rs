//! To the tunnel: PPP, L2TP, UDP and IP in front of the packet, from the session's template.

use zerocopy::FromBytes;
use zerocopy::network_endian::U16;

use super::classify::Packet;
use super::forward::{check_hops, count_hop};
use super::{Context, NO_ROOM, Origin};
use crate::frame::Frame;
use crate::tables::{
    Adjacency, Encap, Entry, FLAG_OUTER_IPV6, FLAG_SEND_ACFC, FLAG_SEND_PFC, ipv6_front,
};
use crate::verdict::{DropReason, Verdict};
use crate::wire::checksum::Sum;
use crate::wire::{ethernet, ipv4, ipv6, l2tp, ppp, udp};

const TCP: u8 = 6;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// How short a segment may be.
const TCP_BYTES_MIN: usize = 20;
const ICMP_BYTES_MIN: usize = 4;

/// UDP and L2TP header.
const UDP_L2TP_BYTES: usize = udp::HEADER_BYTES + l2tp::DATA_HEADER_BYTES;

/// The template of IPv4: all of it.
const IPV4_BYTES: usize = ipv4::HEADER_BYTES + UDP_L2TP_BYTES;

/// The template of IPv6, which begins at the source address.
const IPV6_BYTES: usize = ipv6::HEADER_BYTES + UDP_L2TP_BYTES;
const IPV6_FRONT_BYTES: usize = 8;

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
        let session = self.guard.encap(slot);
        if packet.length() > usize::from(session.peer_mru) {
            return Err(DropReason::TooBig);
        }
        let protocol = if packet.is_ipv4() { ppp::IPV4 } else { ppp::IPV6 };
        let framing = Framing::new(session.flags, protocol);
        let adjacency = self.way_to_peer(&session, packet.length() + framing.length)?;
        count_hop(frame, packet, origin);
        let sum = inner_sum(frame.octets(), packet.is_ipv4());
        let verdict = self.encapsulate(frame, &session, framing, sum, adjacency)?;
        self.guard.counters(session.index).count_downstream(packet.length() as u64);
        Ok(verdict)
    }

    /// The next hop on the path to the peer, if a PPP frame of `length` octets fits there.
    #[inline(always)]
    pub(super) fn way_to_peer(
        &self,
        session: &Encap,
        length: usize,
    ) -> Result<Adjacency, DropReason> {
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
        let ipv6 = session.flags & FLAG_OUTER_IPV6 != 0;
        let outer = if ipv6 { IPV6_BYTES } else { IPV4_BYTES };
        self.check_mtu(adjacency, outer + length)?;
        Ok(adjacency)
    }

    /// Puts everything in front of a PPP information field whose sum is `sum`, and sends it.
    #[inline(always)]
    pub(super) fn encapsulate(
        &mut self,
        frame: &mut Frame,
        session: &Encap,
        framing: Framing,
        sum: Sum,
        adjacency: Adjacency,
    ) -> Result<Verdict, DropReason> {
        let udp_length = (UDP_L2TP_BYTES + framing.length + frame.len()) as u16;
        let sum = if framing.length % 2 == 1 { sum.at_odd_offset() } else { sum };
        // RFC 2661 section 8.1: UDP checksums are on by default, for data too. The length counts
        // twice: in the header and in the pseudo-header.
        let udp_checksum = Sum::from_seed(session.udp_seed)
            .number(udp_length)
            .number(udp_length)
            .sum(framing.sum())
            .sum(sum)
            .udp_checksum();
        if session.flags & FLAG_OUTER_IPV6 == 0 {
            *self.identification = self.identification.wrapping_add(1);
            write_ipv4(frame, session, framing, *self.identification, udp_length, udp_checksum)?;
            self.rewrite(frame, adjacency, ethernet::IPV4)
        } else {
            write_ipv6(frame, session, framing, udp_length, udp_checksum)?;
            self.rewrite(frame, adjacency, ethernet::IPV6)
        }
    }
}

fn write_ipv4(
    frame: &mut Frame,
    session: &Encap,
    framing: Framing,
    identification: u16,
    udp_length: u16,
    udp_checksum: U16,
) -> Result<(), DropReason> {
    framing.push(frame, IPV4_BYTES)?;
    let octets = frame.octets_mut().first_chunk_mut::<IPV4_BYTES>().ok_or(NO_ROOM)?;
    let template = session.template.first_chunk::<IPV4_BYTES>().ok_or(NO_ROOM)?;
    *octets = *template;
    let (header, rest) = ipv4::Header::mut_from_prefix(octets).map_err(|_| NO_ROOM)?;
    let total = udp_length + ipv4::HEADER_BYTES as u16;
    header.total_length = U16::new(total);
    header.identification = U16::new(identification);
    header.checksum =
        Sum::from_seed(session.ip_seed).number(total).number(identification).checksum();
    let (header, _) = udp::Header::mut_from_prefix(rest).map_err(|_| NO_ROOM)?;
    header.length = U16::new(udp_length);
    header.checksum = udp_checksum;
    Ok(())
}

fn write_ipv6(
    frame: &mut Frame,
    session: &Encap,
    framing: Framing,
    udp_length: u16,
    udp_checksum: U16,
) -> Result<(), DropReason> {
    framing.push(frame, IPV6_BYTES)?;
    let octets = frame.octets_mut().first_chunk_mut::<IPV6_BYTES>().ok_or(NO_ROOM)?;
    let (front, rest) = octets.split_at_mut(IPV6_FRONT_BYTES);
    front.copy_from_slice(&ipv6_front(udp_length));
    rest.copy_from_slice(&session.template);
    let udp = rest.get_mut(ipv6::HEADER_BYTES - IPV6_FRONT_BYTES..).ok_or(NO_ROOM)?;
    let (header, _) = udp::Header::mut_from_prefix(udp).map_err(|_| NO_ROOM)?;
    header.length = U16::new(udp_length);
    header.checksum = udp_checksum;
    Ok(())
}

/// The octets between L2TP and the information field, at the end of the array.
#[derive(Debug, Clone, Copy)]
pub(super) struct Framing {
    octets: [u8; 4],
    pub(super) length: usize,
}

impl Framing {
    /// As the session's peer agreed to (RFC 1661 sections 6.5 and 6.6).
    #[inline]
    pub(super) fn new(flags: u16, protocol: u16) -> Self {
        let [high, low] = protocol.to_be_bytes();
        match (flags & FLAG_SEND_ACFC != 0, flags & FLAG_SEND_PFC != 0 && high == 0) {
            (false, false) => Self::whole(protocol),
            (false, true) => Self { octets: [0, 0xff, 0x03, low], length: 3 },
            (true, false) => Self { octets: [0, 0, high, low], length: 2 },
            (true, true) => Self { octets: [0, 0, 0, low], length: 1 },
        }
    }

    /// Nothing left out, as LCP wants.
    #[inline]
    pub(super) fn whole(protocol: u16) -> Self {
        let [high, low] = protocol.to_be_bytes();
        Self { octets: [0xff, 0x03, high, low], length: 4 }
    }

    /// The sum, as L2TP's header ends at an even offset.
    #[inline]
    fn sum(self) -> Sum {
        let sum = Sum::default().octets(&self.octets);
        if self.length % 2 == 1 { sum.at_odd_offset() } else { sum }
    }

    /// Writes the octets in front of the frame, with room for `before` octets in front of them.
    #[inline]
    fn push(self, frame: &mut Frame, before: usize) -> Result<(), DropReason> {
        // All four, so that it is one store; what is too much lies where the template comes.
        if !frame.push(self.octets.len()) {
            return Err(NO_ROOM);
        }
        *frame.octets_mut().first_chunk_mut().ok_or(NO_ROOM)? = self.octets;
        let there = frame.pull(self.octets.len() - self.length) && frame.push(before);
        if there { Ok(()) } else { Err(NO_ROOM) }
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
    if header.protocol == ICMP {
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
    let known = match header.next_header {
        ICMPV6 => segment.len() >= ICMP_BYTES_MIN,
        protocol => has_checksum(protocol, segment),
    };
    // The addresses are in the header and, complemented, in the pseudo-header.
    let rest = Sum::default().number(header.next_header.into()).number(segment.len() as u16);
    let front = packet.first_chunk::<IPV6_FRONT_BYTES>()?;
    known.then(|| Sum::default().octets(front).minus(rest))
}

/// Whether the segment has a checksum over all of it.
#[inline]
fn has_checksum(protocol: u8, segment: &[u8]) -> bool {
    match protocol {
        TCP => segment.len() >= TCP_BYTES_MIN,
        udp::PROTOCOL => udp::parse(segment).is_some_and(|(header, payload)| {
            header.checksum.get() != 0 && payload.len() + udp::HEADER_BYTES == segment.len()
        }),
        _ => false,
    }
}
