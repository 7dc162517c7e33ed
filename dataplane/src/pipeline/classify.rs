//! Reads all headers of a frame, without any table: what it is, and where its parts are.

use zerocopy::FromBytes;

use super::quick::{Downstream, Upstream, VariedDownstream, VariedUpstream};
use super::{Entry, Frame, reassembly};
use crate::tables::{Guard, PortKind, Tables};
use crate::verdict::DropReason;
use crate::wire::{ethernet, ipv4, ipv6, l2tp, ppp, udp};

/// An IP address of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Address {
    V4([u8; 4]),
    V6([u8; 16]),
}

impl Address {
    /// What it resolves to.
    #[inline]
    pub(super) fn route(self, guard: &Guard<'_>) -> Entry {
        match self {
            Self::V4(address) => guard.route_ipv4(address),
            Self::V6(address) => guard.route_ipv6(address),
        }
    }

    /// Whether a router may forward a packet to it or from it: not unspecified, loopback,
    /// link-local, multicast or reserved.
    #[inline]
    pub(super) fn is_forwardable(self) -> bool {
        match self {
            Self::V4([0 | 127 | 224..=255, ..] | [169, 254, ..]) => false,
            Self::V4(_) => true,
            Self::V6([0xff, ..]) => false,
            Self::V6([0xfe, second, ..]) => second & 0xc0 != 0x80,
            // Unspecified and loopback.
            Self::V6(address) => u128::from_be_bytes(address) > 1,
        }
    }
}

/// An IP packet inside of a frame; its lengths are proven. Small, as a batch holds many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet {
    offset: u16,
    length: u16,
    is_ipv4: bool,
}

impl Packet {
    /// `None` where a number is larger than any frame.
    #[inline]
    pub(super) fn new(offset: usize, length: usize, is_ipv4: bool) -> Option<Self> {
        let (offset, length) = (u16::try_from(offset).ok()?, u16::try_from(length).ok()?);
        Some(Self { offset, length, is_ipv4 })
    }

    /// An IPv4 packet.
    #[inline]
    pub(super) fn plain(offset: u16, length: u16) -> Self {
        Self { offset, length, is_ipv4: true }
    }

    /// Where the IP header begins in the frame as it was received.
    #[inline]
    pub(super) fn offset(self) -> usize {
        self.offset.into()
    }

    /// Header and payload, octets.
    #[inline]
    pub(super) fn length(self) -> usize {
        self.length.into()
    }

    #[inline]
    pub(super) fn is_ipv4(self) -> bool {
        self.is_ipv4
    }

    /// Whether it is a fragment of a UDP datagram; `octets` is the frame as it was received.
    pub(super) fn is_fragment(self, octets: &[u8]) -> bool {
        reassembly::is_fragment(self.octets(octets), self.is_ipv4)
    }

    /// The packet itself; `octets` is the frame as it was received.
    pub(super) fn octets(self, octets: &[u8]) -> &[u8] {
        octets.get(self.offset()..self.offset() + self.length()).unwrap_or_default()
    }

    /// Whether a router may send it in pieces; `octets` is the packet.
    pub(super) fn may_be_cut(self, octets: &[u8]) -> bool {
        let header = ipv4::Header::ref_from_prefix(octets);
        self.is_ipv4 && header.is_ok_and(|(header, _)| !header.is_dont_fragment())
    }

    /// The source address; `octets` is the frame as it was received.
    #[inline]
    pub(super) fn source(self, octets: &[u8]) -> Address {
        self.address(octets, IPV4_SOURCE, IPV6_SOURCE)
    }

    /// Whether the source crosses no router; `octets` is the frame as it was received.
    #[inline(always)]
    pub(super) fn is_source_invalid(self, octets: &[u8]) -> bool {
        let place = self.offset() + if self.is_ipv4 { IPV4_SOURCE } else { IPV6_SOURCE };
        // Most are told by their first octet; one that is not special in either family is good.
        let first = octets.get(place).copied().unwrap_or(0);
        matches!(first, 0 | 127 | 169 | 224..) && self.is_special_source_invalid(octets)
    }

    #[cold]
    fn is_special_source_invalid(self, octets: &[u8]) -> bool {
        !self.source(octets).is_forwardable()
    }

    /// The destination address; `octets` is the frame as it was received.
    #[inline]
    pub(super) fn destination(self, octets: &[u8]) -> Address {
        self.address(octets, IPV4_SOURCE + 4, IPV6_SOURCE + 16)
    }

    #[inline]
    fn address(self, octets: &[u8], ipv4: usize, ipv6: usize) -> Address {
        // The header was proven to be there; were it not, the unspecified address goes nowhere.
        let at = |place: usize| octets.get(self.offset() + place..).unwrap_or_default();
        if self.is_ipv4 {
            Address::V4(at(ipv4).first_chunk().copied().unwrap_or_default())
        } else {
            Address::V6(at(ipv6).first_chunk().copied().unwrap_or_default())
        }
    }
}

/// Whether a packet with this TTL or hop limit may be forwarded by a router.
#[inline(always)]
pub(super) fn has_hop(hops: u8) -> bool {
    hops > 1
}

/// Where the source address is in the header.
const IPV4_SOURCE: usize = 12;
const IPV6_SOURCE: usize = 8;

/// What PPP carries.
#[derive(Debug, Clone, Copy)]
pub(super) enum Inner {
    Ip(Packet),
    /// An LCP packet from offset to end.
    Lcp(u16, u16),
    /// Nothing good, if the session takes it at all.
    Drop(DropReason),
}

/// L2TP data.
#[derive(Debug, Clone, Copy)]
pub(super) struct Data {
    pub(super) outer: Packet,
    /// The sender's UDP port.
    pub(super) source_port: u16,
    /// See [`Data::ns`]. No option: the place that it would keep its tag in would make it dearer to tell
    /// one kind of work from another.
    sequence: u32,
    /// Tunnel and session ID.
    pub(super) key: u32,
    pub(super) inner: Inner,
    /// The session's slot, once found.
    pub(super) slot: u32,
    /// Where the inner packet goes, once resolved.
    pub(super) entry: Entry,
}

/// No sequence number.
pub(super) const UNNUMBERED: u32 = u32::MAX;

impl Data {
    /// The sequence number, where there is one.
    pub(super) fn ns(&self) -> Option<u16> {
        (self.sequence != UNNUMBERED).then_some(self.sequence as u16)
    }
}

/// What is to be done with a frame. The tag has a place of its own, the same for all kinds: most
/// are told by one comparison.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(super) enum Work {
    /// A common shape.
    Upstream(Upstream),
    /// A common shape.
    Downstream(Downstream),
    /// A shape that is known.
    VariedUpstream(VariedUpstream),
    /// A shape that is known.
    VariedDownstream(VariedDownstream),
    Drop(DropReason),
    Route {
        packet: Packet,
        /// Dropped under this reason if the destination is a tunnel endpoint of ours.
        unless_endpoint: Option<DropReason>,
        /// Where it goes, once resolved.
        entry: Entry,
    },
    Data(Data),
}

/// Classifies a frame by its octets alone.
pub(super) fn classify(tables: &Tables, frame: &Frame) -> Work {
    classified(tables, frame).unwrap_or_else(Work::Drop)
}

#[inline(always)]
fn classified(tables: &Tables, frame: &Frame) -> Result<Work, DropReason> {
    let octets = frame.octets();
    let limits = tables.limits();
    let port = limits.ports.get(usize::from(frame.port().0));
    if port.is_none_or(|port| port.kind == PortKind::Host) {
        let (packet, _) = match octets.first() {
            Some(version) if version >> 4 == 4 => ip(ethernet::IPV4, octets, 0)?,
            _ => ip(ethernet::IPV6, octets, 0)?,
        };
        return Ok(Work::Route { packet, unless_endpoint: None, entry: Entry::NoRoute });
    }
    let payload = ethernet::parse(octets).ok_or(DropReason::EthernetShort)?;
    let (packet, datagram) = ip(payload.ethertype, octets, payload.offset)?;
    let route = |unless_endpoint| Work::Route { packet, unless_endpoint, entry: Entry::NoRoute };
    let Some(start) = datagram else { return Ok(route(None)) };
    let ip_payload = octets.get(start..packet.offset() + packet.length()).unwrap_or_default();
    let Some((header, payload)) = udp::parse(ip_payload) else {
        return Ok(route(Some(DropReason::UdpMalformed)));
    };
    if header.destination.get().wrapping_sub(limits.l2tp_port) >= limits.l2tp_port_count {
        return Ok(route(None));
    }
    let payload_start = start + udp::HEADER_BYTES;
    Ok(match data(packet, header.source.get(), octets, payload_start, payload) {
        Ok(data) => Work::Data(data),
        Err(reason) => route(Some(reason)),
    })
}

/// Proves an IP header. Returns the packet, and where its UDP header begins if it is an unfragmented
/// UDP datagram.
#[inline(always)]
fn ip(ethertype: u16, octets: &[u8], offset: usize) -> Result<(Packet, Option<usize>), DropReason> {
    let octets = octets.get(offset..).unwrap_or_default();
    match ethertype {
        ethernet::IPV4 => {
            let (header, lengths) = ipv4::parse(octets).map_err(|error| match error {
                ipv4::Error::Malformed => DropReason::Ipv4Malformed,
                ipv4::Error::Checksum => DropReason::Ipv4Checksum,
            })?;
            let packet =
                Packet::new(offset, lengths.total, true).ok_or(DropReason::Ipv4Malformed)?;
            // Outer fragments to us are looked at once their destination is known.
            let is_udp = header.protocol == udp::PROTOCOL && !header.is_fragment();
            Ok((packet, is_udp.then_some(offset + lengths.header)))
        }
        ethernet::IPV6 => {
            let (header, length) = ipv6::parse(octets).ok_or(DropReason::Ipv6Malformed)?;
            let packet = Packet::new(offset, length, false).ok_or(DropReason::Ipv6Malformed)?;
            let is_udp = header.next_header == udp::PROTOCOL;
            Ok((packet, is_udp.then_some(offset + ipv6::HEADER_BYTES)))
        }
        _ => Err(DropReason::EthernetType),
    }
}

/// Reads L2TP and PPP of a datagram to the L2TP port, which begins at `start` of the frame.
///
/// A UDP checksum of data is not verified here: that would read the whole payload, and is the choice of
/// the session's profile.
#[inline(always)]
fn data(
    outer: Packet,
    source_port: u16,
    octets: &[u8],
    start: usize,
    datagram: &[u8],
) -> Result<Data, DropReason> {
    let header = l2tp::parse(datagram).map_err(|error| match error {
        l2tp::Error::Malformed => DropReason::L2tpMalformed,
        l2tp::Error::Version => DropReason::L2tpVersion,
    })?;
    if header.control {
        return Err(DropReason::L2tpControl);
    }
    let key = u32::from(header.tunnel_id) << 16 | u32::from(header.session_id);
    let end = start + header.payload_end;
    let inner = inner(octets, start + header.payload_offset, end).unwrap_or_else(Inner::Drop);
    let sequence = header.ns.map_or(UNNUMBERED, u32::from);
    Ok(Data { outer, source_port, sequence, key, inner, slot: 0, entry: Entry::NoRoute })
}

/// Reads the PPP frame between `start` and `end`.
#[inline(always)]
fn inner(octets: &[u8], start: usize, end: usize) -> Result<Inner, DropReason> {
    let octets = octets.get(..end).unwrap_or_default();
    let frame = octets.get(start..).unwrap_or_default();
    let framing = ppp::parse(frame).ok_or(DropReason::PppMalformed)?;
    let offset = start + framing.offset;
    let packet = |ethertype| match ip(ethertype, octets, offset) {
        Ok((packet, _)) => Ok(Inner::Ip(packet)),
        Err(DropReason::Ipv4Checksum) => Err(DropReason::Ipv4Checksum),
        Err(_) => Err(DropReason::InnerMalformed),
    };
    match framing.protocol {
        ppp::IPV4 => packet(ethernet::IPV4),
        ppp::IPV6 => packet(ethernet::IPV6),
        ppp::LCP => Ok(Inner::Lcp(offset as u16, end as u16)),
        _ => Err(DropReason::PppProtocol),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_a_router_forwards_to_and_from() {
        let v4 = |a, b| Address::V4([a, b, 0, 1]).is_forwardable();
        assert!(v4(10, 0) && v4(1, 0) && v4(223, 255) && v4(169, 253) && v4(128, 0));
        assert!(!v4(0, 0) && !v4(127, 0) && !v4(224, 0) && !v4(255, 255) && !v4(169, 254));
        let v6 = |text: &str| {
            Address::V6(text.parse::<std::net::Ipv6Addr>().unwrap().octets()).is_forwardable()
        };
        assert!(v6("2001:db8::1") && v6("fd00::1") && v6("::2") && v6("fec0::1"));
        assert!(!v6("::") && !v6("::1") && !v6("fe80::1") && !v6("febf::1") && !v6("ff02::1"));
    }

    #[test]
    fn work_stays_small() {
        // A batch of them is copied about in the first-level cache.
        assert!(size_of::<Work>() <= 40, "{}", size_of::<Work>());
    }
}
