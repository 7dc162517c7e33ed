//! From a subscriber to a next hop.

use zerocopy::network_endian::U16;

use super::super::super::classify::{Packet, UNNUMBERED};
use super::super::super::forward::count_hop;
use super::super::super::{Context, Origin, congestion, mss_clamp, source_check};
use super::Head;
use crate::frame::Frame;
use crate::tables::{
    Decap, FLAG_ANY_SOURCE, FLAG_DROP_LATE, FLAG_IPV4, FLAG_IPV6, FLAG_KEEP_MSS, FLAG_OUTER_IPV6,
    FLAG_POLICE_UPSTREAM, FLAG_SEQUENCE_AS_PEER, FLAG_VERIFY_CHECKSUM,
};
use crate::verdict::{DropReason, Verdict};
use crate::wire::{ethernet, l2tp, ppp, udp};

/// Sessions whose packets all go the general way.
const GENERAL: u16 = FLAG_ANY_SOURCE | FLAG_VERIFY_CHECKSUM | FLAG_SEQUENCE_AS_PEER;

/// Where the addresses of an outer header are in it.
const IPV4_ADDRESSES: usize = 12;
const IPV6_ADDRESSES: usize = 8;

/// A packet from a subscriber.
#[derive(Debug, Clone, Copy)]
pub(in super::super::super) struct VariedUpstream {
    /// Where the outer IP header begins, and whether it is IPv4.
    pub(in super::super) outer_offset: u8,
    pub(in super::super) is_outer_ipv4: bool,
    pub(in super::super) source_port: U16,
    /// The sequence number, or that there is none.
    pub(in super::super) sequence: u32,
    /// Tunnel and session ID, then the slot of their session.
    pub(in super::super::super) place: u32,
    /// The first step of the look-up, then the index of the neighbour.
    pub(in super::super::super) route: u32,
    pub(in super::super::super) inner: Packet,
}

impl VariedUpstream {
    /// Whether the session has something to remember of it.
    pub(in super::super::super) fn is_numbered(&self) -> bool {
        self.sequence != UNNUMBERED
    }
}

/// A datagram to the L2TP port, in `octets`.
#[inline(always)]
pub(super) fn classify(octets: &[u8], outer: &Head<'_>) -> Option<VariedUpstream> {
    let (header, datagram) = udp::parse(outer.segment)?;
    let l2tp = l2tp::parse(datagram).ok()?;
    // What met congestion needs a closer look.
    if l2tp.control || outer.traffic_class & congestion::MASK != 0 {
        return None;
    }
    let framing = ppp::parse(datagram.get(l2tp.payload_offset..l2tp.payload_end)?)?;
    let is_ipv4 = match framing.protocol {
        ppp::IPV4 => true,
        ppp::IPV6 => false,
        _ => return None,
    };
    // All of it is in the frame, by the proofs above.
    let start = outer.packet.offset() + outer.packet.length() - outer.segment.len();
    let start = start + udp::HEADER_BYTES;
    let end = octets.get(..start + l2tp.payload_end)?;
    let inner = Head::read(end, start + l2tp.payload_offset + framing.offset, is_ipv4)?;
    if !inner.is_forwardable() {
        return None;
    }
    Some(VariedUpstream {
        outer_offset: u8::try_from(outer.packet.offset()).ok()?,
        is_outer_ipv4: outer.packet.is_ipv4(),
        source_port: header.source,
        sequence: l2tp.ns.map_or(UNNUMBERED, u32::from),
        place: u32::from(l2tp.tunnel_id) << 16 | u32::from(l2tp.session_id),
        route: 0,
        inner: inner.packet,
    })
}

impl Context<'_> {
    /// Sends it on its way, or drops it; `None`: look closer, nothing was done.
    #[inline(never)]
    pub(in super::super::super) fn varied_upstream(
        &mut self,
        frame: &mut Frame,
        work: &VariedUpstream,
    ) -> Option<Result<Verdict, DropReason>> {
        let session = self.guard.decap(work.place);
        let adjacency = self.guard.adjacency(work.route)?;
        let (inner, is_ipv4) = (work.inner, work.inner.is_ipv4());
        let protocol = if is_ipv4 { FLAG_IPV4 } else { FLAG_IPV6 };
        if session.flags & (GENERAL | protocol) != protocol
            || !is_from_peer(&session, frame.octets(), work)
            || !source_check::is_source_of(self.guard, &session, inner.source(frame.octets()))
            || inner.length() > self.mtu(adjacency)
            || !frame.cut(inner.offset(), inner.length())
        {
            return None;
        }
        if let Err(reason) = self.pass_upstream(work, &session) {
            return Some(Err(reason));
        }
        count_hop(frame, inner, Origin::Network);
        if session.flags & FLAG_KEEP_MSS == 0 && mss_clamp::is_syn(frame.octets(), is_ipv4) {
            let mtu = self.session_mtu(work.place, is_ipv4);
            mss_clamp::clamp(frame.octets_mut(), is_ipv4, mtu);
        }
        let ethertype = if is_ipv4 { ethernet::IPV4 } else { ethernet::IPV6 };
        let sent = self.rewrite(frame, adjacency, ethertype);
        if sent.is_ok() {
            self.guard.counters(session.index).count_upstream(inner.length() as u64);
        }
        Some(sent)
    }

    /// Its sequence number and the policer.
    #[inline(always)]
    fn pass_upstream(&self, work: &VariedUpstream, session: &Decap) -> Result<(), DropReason> {
        let is_late =
            work.is_numbered() && self.guard.state(session.index).is_late(work.sequence as u16);
        if is_late && session.flags & FLAG_DROP_LATE != 0 {
            return Err(DropReason::Late);
        }
        if session.flags & FLAG_POLICE_UPSTREAM != 0 {
            self.police_upstream(session.index, work.inner.length())?;
        }
        Ok(())
    }
}

/// Whether the datagram came from the session's peer to the session's address.
#[inline(always)]
fn is_from_peer(session: &Decap, octets: &[u8], work: &VariedUpstream) -> bool {
    let outer = octets.get(work.outer_offset.into()..).unwrap_or_default();
    let is_session_ipv4 = session.flags & FLAG_OUTER_IPV6 == 0;
    let same = if work.is_outer_ipv4 {
        outer.get(IPV4_ADDRESSES..).and_then(<[u8]>::first_chunk::<8>)
            == session.outer_addresses.first_chunk()
    } else {
        outer.get(IPV6_ADDRESSES..).and_then(<[u8]>::first_chunk) == Some(&session.outer_addresses)
    };
    same && is_session_ipv4 == work.is_outer_ipv4 && session.peer_port == work.source_port
}
