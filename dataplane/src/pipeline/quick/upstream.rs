//! From a subscriber to a next hop.

use zerocopy::FromBytes;
use zerocopy::network_endian::U32;

use super::super::Context;
use super::super::classify::{Packet, UNNUMBERED, Work, has_hop};
use super::super::{congestion, mss_clamp};
use super::{Front, IP_OFFSET, UDP_OFFSET, VariedUpstream, are_ordinary, is_plain, rewrite};
use crate::frame::Frame;
use crate::tables::{FLAG_KEEP_MSS, Sender};
use crate::verdict::Verdict;
use crate::wire::{ethernet, ipv4, l2tp, ppp, tcp, udp};

/// A packet from a subscriber.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Upstream {
    pub(in super::super) sender: Sender,
    /// Tunnel and session ID, then the slot of their session.
    pub(in super::super) place: u32,
    /// The inner destination.
    pub(in super::super) destination: [u8; 4],
    /// What it resolves to: the first step's result, then the neighbour's index.
    pub(in super::super) route: u32,
    /// Where the inner packet is.
    offset: u8,
    /// Whether there is a policer, once the session is found.
    pub(in super::super) is_policed: bool,
    length: u16,
}

impl Upstream {
    /// The same for the way of packets that are not plain.
    pub(in super::super) fn vary(&self) -> VariedUpstream {
        VariedUpstream {
            outer_offset: IP_OFFSET as u8,
            is_outer_ipv4: true,
            source_port: self.sender.port(),
            sequence: UNNUMBERED,
            place: self.place,
            route: self.route,
            inner: Packet::plain(self.offset.into(), self.length),
        }
    }
}

/// L2TP's flags and version without and with a length.
const PLAIN: u16 = l2tp::VERSION;
const WITH_LENGTH: u16 = l2tp::FLAG_LENGTH | l2tp::VERSION;
const LENGTH_BYTES: usize = 2;

const L2TP_OFFSET: usize = UDP_OFFSET + udp::HEADER_BYTES;

/// Address, control and protocol in full; and protocol alone, as the upper half.
const WHOLE: u32 = 0xff03_0000 | ppp::IPV4 as u32;
const PROTOCOL_ALONE: u32 = ppp::IPV4 as u32;

/// A datagram to the L2TP port, in `octets` behind these headers.
#[inline(always)]
pub(super) fn classify(
    octets: &[u8],
    ip: &ipv4::Header,
    udp: &udp::Header,
    work: &mut Work,
) -> Option<()> {
    let datagram_end = UDP_OFFSET + usize::from(udp.length.get());
    if datagram_end > IP_OFFSET + usize::from(ip.total_length.get()) {
        return None;
    }
    // The length, where there is one, comes behind the flags: what follows it is read as if it were
    // the flags of a shorter header.
    let (header, _) = l2tp::DataHeader::ref_from_prefix(octets.get(L2TP_OFFSET..)?).ok()?;
    let (skipped, end) = match header.flags_version.get() {
        PLAIN => (0, datagram_end),
        WITH_LENGTH => (LENGTH_BYTES, L2TP_OFFSET + usize::from(header.tunnel_id.get())),
        _ => return None,
    };
    let front = octets.get(L2TP_OFFSET + skipped..end)?;
    if end > datagram_end {
        return None;
    }
    let (header, rest) = l2tp::DataHeader::ref_from_prefix(front).ok()?;
    let (framing, _) = U32::ref_from_prefix(rest).ok()?;
    let framing_bytes = match framing.get() {
        WHOLE => 4,
        word if word >> 16 == PROTOCOL_ALONE => 2,
        _ => return None,
    };
    let rest = rest.get(framing_bytes..)?;
    let (inner, _) = ipv4::Header::ref_from_prefix(rest).ok()?;
    let length = usize::from(inner.total_length.get());
    let fits = (ipv4::HEADER_BYTES..=rest.len()).contains(&length);
    if !fits || !is_plain(inner) || !has_hop(inner.ttl) || !are_ordinary(inner) {
        return None;
    }
    // What met congestion.
    if ip.traffic_class & congestion::MASK != 0 {
        return None;
    }
    let [a, b, c, d] = ip.source;
    let [e, f, g, h] = ip.destination;
    let offset = L2TP_OFFSET + skipped + l2tp::DATA_HEADER_BYTES + framing_bytes;
    *work = Work::Upstream(Upstream {
        sender: Sender::new([a, b, c, d, e, f, g, h], udp.source, inner.source),
        place: u32::from(header.tunnel_id.get()) << 16 | u32::from(header.session_id.get()),
        destination: inner.destination,
        route: 0,
        offset: offset as u8,
        is_policed: false,
        length: length as u16,
    });
    Some(())
}

impl Context<'_> {
    /// Sends it on its way, or drops it where there is a policer; `None`: look closer, nothing was done.
    #[inline(always)]
    pub(in super::super) fn quick_upstream(
        &mut self,
        frame: &mut Frame,
        work: &Upstream,
    ) -> Option<Verdict> {
        let index = self.guard.decap_index(work.place);
        let length = usize::from(work.length);
        let (header, port) = rewrite(self.guard, work.route, length)?;
        let start = usize::from(work.offset) - ethernet::HEADER_BYTES;
        if !frame.cut(start, ethernet::HEADER_BYTES + length) {
            return None;
        }
        if work.is_policed && self.police_upstream(index, length).is_err() {
            return Some(self.drop_policed());
        }
        let (front, segment) = Front::mut_from_prefix(frame.octets_mut()).ok()?;
        header.write(zerocopy::transmute_mut!(&mut front.ethernet));
        front.ip.decrement_ttl();
        if front.ip.protocol == tcp::PROTOCOL && tcp::is_syn(segment) {
            self.clamp_upstream(frame, work.place);
        }
        self.guard.counters(index).count_upstream(length as u64);
        Some(Verdict::Transmit(port))
    }

    /// A connection begins: see [`mss_clamp`].
    #[cold]
    fn clamp_upstream(&self, frame: &mut Frame, slot: u32) {
        if self.guard.decap(slot).flags & FLAG_KEEP_MSS == 0
            && let Some(packet) = frame.octets_mut().get_mut(ethernet::HEADER_BYTES..)
        {
            mss_clamp::clamp(packet, true, self.session_mtu(slot, true));
        }
    }
}
