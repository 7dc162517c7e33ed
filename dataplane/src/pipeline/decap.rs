//! From the tunnel: does the packet belong to the session that its IDs name, and where does the
//! inner packet go.

use super::classify::{Address, Data, Inner, Packet};
use super::{Context, Origin, source_check};
use crate::frame::Frame;
use crate::tables::{Decap, FLAG_IPV4, FLAG_IPV6, FLAG_OUTER_IPV6};
use crate::verdict::{DropReason, Verdict};

impl Context<'_> {
    /// L2TP data whose IDs are those of a session.
    #[inline(always)]
    pub(super) fn decap(&mut self, frame: &mut Frame, data: &Data) -> Result<Verdict, DropReason> {
        let session = self.guard.decap(data.slot);
        if !is_outer_right(&session, data, frame.octets()) {
            let entry = data.outer.destination(frame.octets()).route(self.guard);
            return self.route(frame, data.outer, Some(DropReason::OuterAddress), entry);
        }
        match data.inner {
            Inner::Drop(reason) => Err(reason),
            Inner::Lcp(start, end) => {
                self.echo(frame, data.slot, &session, start.into()..end.into())
            }
            Inner::Ip(packet) => self.upstream(frame, data, &session, packet),
        }
    }

    /// An IP packet from a subscriber. Counted once it is known to go somewhere.
    #[inline(always)]
    fn upstream(
        &mut self,
        frame: &mut Frame,
        data: &Data,
        session: &Decap,
        packet: Packet,
    ) -> Result<Verdict, DropReason> {
        let protocol = if packet.is_ipv4() { FLAG_IPV4 } else { FLAG_IPV6 };
        if session.flags & protocol == 0 {
            return Err(DropReason::NoNetworkProtocol);
        }
        if !source_check::is_source_of(self.guard, session, packet.source(frame.octets())) {
            return Err(DropReason::InnerSource);
        }
        let verdict = self.forward(frame, packet, data.entry, Origin::Network)?;
        self.guard.counters(session.index).count_upstream(packet.length() as u64);
        Ok(verdict)
    }
}

/// Whether the datagram came from the session's peer to the session's address. The IDs alone prove
/// nothing: anybody could guess them.
#[inline(always)]
fn is_outer_right(session: &Decap, data: &Data, octets: &[u8]) -> bool {
    let ipv6 = session.flags & FLAG_OUTER_IPV6 != 0;
    let addresses = match (data.outer.source(octets), data.outer.destination(octets)) {
        (Address::V4(source), Address::V4(destination)) => {
            !ipv6 && session.outer_addresses.starts_with([source, destination].as_flattened())
        }
        (Address::V6(source), Address::V6(destination)) => {
            ipv6 && session.outer_addresses == *[source, destination].as_flattened()
        }
        _ => false,
    };
    // The destination port is one of L2TP, by classification: who sends to another one of them than
    // that it is answered from proves nothing by it.
    addresses && session.peer_port.get() == data.source_port
}
