//! From the network to a subscriber.

use super::super::super::classify::Packet;
use super::super::super::encap::{self, Framing};
use super::super::super::forward::count_hop;
use super::super::super::{Context, Origin, congestion, mss_clamp};
use super::{Head, Header};
use crate::frame::Frame;
use crate::tables::{FLAG_KEEP_MSS, FLAG_POLICE_DOWNSTREAM};
use crate::verdict::{DropReason, Verdict};
use crate::wire::checksum::Sum;
use crate::wire::ppp;

/// A packet that is routed, to a subscriber as far as it turns out.
#[derive(Debug, Clone, Copy)]
pub(in super::super::super) struct VariedDownstream {
    pub(in super::super::super) packet: Packet,
    /// The sum over the packet as it is sent.
    pub(in super::super) sum: u16,
    /// The first step of the look-up, then the slot of the session.
    pub(in super::super::super) route: u32,
}

/// A packet whose headers were read.
#[inline(always)]
pub(super) fn classify(head: &Head<'_>) -> Option<VariedDownstream> {
    let sum = match head.header {
        Header::V4(header) => encap::plain_ipv4_sum(header, head.segment)?,
        // As it will be sent, a hop less: no checksum of the header makes up for that.
        Header::V6(header) => {
            encap::plain_ipv6_sum(header, head.segment)?.minus(Sum::default().number(1))
        }
    };
    let packet = head.packet;
    head.is_forwardable().then_some(VariedDownstream { packet, sum: sum.seed(), route: 0 })
}

impl Context<'_> {
    /// Sends it on its way, or drops it; `None`: look closer, nothing was done.
    #[inline(never)]
    pub(in super::super::super) fn varied_downstream(
        &mut self,
        frame: &mut Frame,
        work: &VariedDownstream,
    ) -> Option<Result<Verdict, DropReason>> {
        let (packet, is_ipv4) = (work.packet, work.packet.is_ipv4());
        let protocol = if is_ipv4 { ppp::IPV4 } else { ppp::IPV6 };
        let way = self.way_to_peer(work.route, |flags| Framing::new(flags, protocol)).ok()?;
        let session = way.session();
        let most = usize::from(session.peer_mru).min(way.room);
        if packet.length() > most || !frame.cut(packet.offset(), packet.length()) {
            return None;
        }
        if session.flags & FLAG_POLICE_DOWNSTREAM != 0
            && let Err(reason) = self.police_downstream(session.index, packet.length())
        {
            return Some(Err(reason));
        }
        count_hop(frame, packet, Origin::Network);
        if session.flags & FLAG_KEEP_MSS == 0 && mss_clamp::is_syn(frame.octets(), is_ipv4) {
            // The checksum follows, so that the packet's sum stays.
            mss_clamp::clamp(frame.octets_mut(), is_ipv4, most);
        }
        let headers = session.outer_headers;
        let class = headers.traffic_class(congestion::traffic_class(frame.octets(), is_ipv4));
        let outer = (class, headers.no_checksum());
        let sent = self.encapsulate(frame, &way, Sum::from_seed(work.sum), outer);
        if sent.is_ok() {
            self.guard.counters(session.index).count_downstream(packet.length() as u64);
        }
        Some(sent)
    }
}
