//! From the tunnel: does the packet belong to the session that its IDs name, and where does the
//! inner packet go.

use super::classify::{Address, Data, Inner, Packet};
use super::{Context, NO_ROOM, Origin, congestion, mss_clamp, source_check};
use crate::frame::Frame;
use crate::tables::{
    Decap, Entry, FLAG_ANY_SOURCE, FLAG_DROP_LATE, FLAG_IPV4, FLAG_IPV6, FLAG_KEEP_MSS,
    FLAG_OUTER_IPV6, FLAG_POLICE_UPSTREAM, FLAG_SEQUENCE_AS_PEER, FLAG_VERIFY_CHECKSUM,
};
use crate::verdict::{DropReason, Verdict};
use crate::wire::checksum::{pseudo_ipv4, pseudo_ipv6};
use crate::wire::{ipv4, ipv6, udp};

impl Context<'_> {
    /// L2TP data whose IDs are those of a session.
    #[inline(always)]
    pub(super) fn decap(&mut self, frame: &mut Frame, data: &Data) -> Result<Verdict, DropReason> {
        let session = self.guard.decap(data.slot);
        // The destination port is one of L2TP, by classification: who sends to another one of them than
        // that it is answered from proves nothing by it.
        if !are_ends_right(&session, data, frame.octets()) {
            let entry = data.outer.destination(frame.octets()).route(self.guard);
            return self.route(frame, data.outer, Some(DropReason::OuterAddress), entry);
        }
        if session.peer_port.get() != data.source_port {
            return self.moved(frame, data);
        }
        self.check_datagram(frame, data, &session)?;
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
        if session.flags & FLAG_ANY_SOURCE != 0 {
            self.check_dialled(frame, data, session, packet)?;
        } else if !source_check::is_source_of(self.guard, session, packet.source(frame.octets())) {
            return Err(DropReason::InnerSource);
        }
        self.leave_tunnel(frame, data, session, packet)?;
        let verdict = match self.forward(frame, packet, data.entry, Origin::Network) {
            Err(DropReason::DestinationInvalid) if session.flags & FLAG_ANY_SOURCE == 0 => {
                self.link_broadcast(frame, packet)?
            }
            verdict => verdict?,
        };
        self.guard.counters(session.index).count_upstream(packet.length() as u64);
        Ok(verdict)
    }
}

impl Context<'_> {
    /// A packet out of a session that we dialled: anybody may have sent it, but nobody sends it back
    /// to where it came from. Two routers that each take the other for the way would hand it to and
    /// fro until its hops ran out: for the unused rest of a delegated prefix, say (RFC 7084,
    /// its WPD-5).
    #[cold]
    fn check_dialled(
        &self,
        frame: &Frame,
        data: &Data,
        session: &Decap,
        packet: Packet,
    ) -> Result<(), DropReason> {
        // RFC 1812 section 5.3.7, and the same of IPv6.
        if packet.is_source_invalid(frame.octets()) {
            return Err(DropReason::SourceInvalid);
        }
        match data.entry {
            // The index, not the slot: a session that is being changed has two slots for a moment.
            Entry::Session(slot) if self.guard.encap_index(slot) == session.index => {
                Err(DropReason::SessionLoop)
            }
            _ => Ok(()),
        }
    }

    /// What the session's profile asks of a datagram, whatever is in it.
    fn check_datagram(
        &self,
        frame: &Frame,
        data: &Data,
        session: &Decap,
    ) -> Result<(), DropReason> {
        if session.flags & FLAG_VERIFY_CHECKSUM != 0 && !is_checksum_right(data, frame.octets()) {
            return Err(DropReason::UdpChecksum);
        }
        if session.flags & FLAG_SEQUENCE_AS_PEER != 0 {
            // RFC 2661 section 5.4: the LNS says by each packet whether it wants them.
            self.guard.state(session.index).set_peer_sequences(data.ns().is_some());
        }
        match data.ns() {
            // Noted also where nothing is dropped for it, as the profile may change.
            Some(ns) if self.guard.state(session.index).is_late(ns) => {
                if session.flags & FLAG_DROP_LATE != 0 { Err(DropReason::Late) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    /// What is done to a subscriber's packet before it goes on.
    fn leave_tunnel(
        &mut self,
        frame: &mut Frame,
        data: &Data,
        session: &Decap,
        packet: Packet,
    ) -> Result<(), DropReason> {
        if session.flags & FLAG_POLICE_UPSTREAM != 0 {
            self.police_upstream(session.index, packet.length())?;
        }
        let outer = frame.octets().get(data.outer.offset()..).unwrap_or_default();
        let class = congestion::traffic_class(outer, data.outer.is_ipv4());
        let range = packet.offset()..packet.offset() + packet.length();
        let Some(inner) = frame.octets_mut().get_mut(range) else { return Err(NO_ROOM) };
        if class & congestion::MASK != 0 {
            congestion::leave_tunnel(inner, packet.is_ipv4(), class)?;
        }
        if session.flags & FLAG_KEEP_MSS == 0 && mss_clamp::is_syn(inner, packet.is_ipv4()) {
            mss_clamp::clamp(
                inner,
                packet.is_ipv4(),
                self.session_mtu(data.slot, packet.is_ipv4()),
            );
        }
        Ok(())
    }

    /// What a subscriber sends to everybody on its link: to the host if it is for its DHCP server
    /// (DHCPINFORM), and to nobody else: the host has other ears for broadcasts, on links that are
    /// not a stranger's.
    #[cold]
    fn link_broadcast(&self, frame: &mut Frame, packet: Packet) -> Result<Verdict, DropReason> {
        const LIMITED_BROADCAST: Address = Address::V4([255; 4]);
        if packet.destination(frame.octets()) != LIMITED_BROADCAST
            || !frame.pull(packet.offset())
            || !frame.set_len(packet.length())
        {
            return Err(DropReason::DestinationInvalid);
        }
        let is_for_server = ipv4::parse(frame.octets()).is_ok_and(|(header, lengths)| {
            let segment = frame.octets().get(lengths.header..).unwrap_or_default();
            let is_datagram = header.protocol == udp::PROTOCOL && !header.is_fragment();
            let to = udp::parse(segment).map(|(header, _)| header.destination.get());
            is_datagram && to == Some(udp::DHCP_SERVER_PORT)
        });
        if !is_for_server {
            return Err(DropReason::DestinationInvalid);
        }
        Ok(Verdict::Transmit(self.guard.tables().host_port()))
    }
}

/// Whether the outer UDP checksum is right. There may be none over IPv4 (RFC 8200 section 8.1).
fn is_checksum_right(data: &Data, octets: &[u8]) -> bool {
    let range = data.outer.offset()..data.outer.offset() + data.outer.length();
    let Some(packet) = octets.get(range) else { return false };
    let (header, pseudo) = match (data.outer.source(octets), data.outer.destination(octets)) {
        (Address::V4(source), Address::V4(destination)) => {
            let header = packet.first().map_or(0, |first| usize::from(first & 0xf) * 4);
            (header, pseudo_ipv4(source, destination, udp::PROTOCOL, 0))
        }
        (Address::V6(source), Address::V6(destination)) => {
            (ipv6::HEADER_BYTES, pseudo_ipv6(source, destination, udp::PROTOCOL, 0))
        }
        _ => return false,
    };
    let segment = packet.get(header..).unwrap_or_default();
    let Some((udp, _)) = udp::parse(segment) else { return false };
    let length = udp.length.get();
    let segment = segment.get(..length.into()).unwrap_or_default();
    let is_absent = udp.checksum.get() == 0;
    (is_absent && data.outer.is_ipv4())
        || (!is_absent && pseudo.number(length).octets(segment).is_correct())
}

/// Whether the datagram came from the address of the session's peer to the session's. The IDs alone
/// prove nothing: anybody could guess them.
#[inline(always)]
fn are_ends_right(session: &Decap, data: &Data, octets: &[u8]) -> bool {
    let ipv6 = session.flags & FLAG_OUTER_IPV6 != 0;
    match (data.outer.source(octets), data.outer.destination(octets)) {
        (Address::V4(source), Address::V4(destination)) => {
            !ipv6 && session.outer_addresses.starts_with([source, destination].as_flattened())
        }
        (Address::V6(source), Address::V6(destination)) => {
            ipv6 && session.outer_addresses == *[source, destination].as_flattened()
        }
        _ => false,
    }
}
