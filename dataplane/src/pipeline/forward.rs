//! Where an IP packet goes by its entry in the FIB.

use zerocopy::FromBytes;

use super::classify::{Packet, has_hop};
use super::{Context, NO_ROOM, Origin};
use crate::frame::Frame;
use crate::tables::{Adjacency, Entry};
use crate::verdict::{DropReason, Verdict};
use crate::wire::{ethernet, ipv4, ipv6};

impl Context<'_> {
    /// Forwards the packet, whatever is in front of it and behind it falls away.
    #[inline]
    pub(super) fn forward(
        &mut self,
        frame: &mut Frame,
        packet: Packet,
        entry: Entry,
        origin: Origin,
    ) -> Result<Verdict, DropReason> {
        if !packet.destination(frame.octets()).is_forwardable() {
            return Err(DropReason::DestinationInvalid);
        }
        if !frame.pull(packet.offset()) || !frame.set_len(packet.length()) {
            return Err(NO_ROOM);
        }
        match entry {
            Entry::Session(slot) => self.send_to_subscriber(frame, slot, packet, origin),
            Entry::Neighbor(index) => match self.guard.adjacency(index) {
                Some(adjacency) => self.send_to_neighbor(frame, adjacency, packet, origin),
                None => self.send_to_host(origin),
            },
            Entry::Local { .. } | Entry::Glean => self.send_to_host(origin),
            Entry::Unreachable => Err(DropReason::Unreachable),
            Entry::NoRoute => Err(DropReason::NoRoute),
        }
    }

    /// To the kernel, as received: it is the host's, or the kernel forwards it and counts the hop.
    fn send_to_host(&self, origin: Origin) -> Result<Verdict, DropReason> {
        match origin {
            Origin::Host => Err(DropReason::HostLoop),
            Origin::Network => Ok(Verdict::Transmit(self.guard.tables().host_port())),
        }
    }

    #[inline(always)]
    fn send_to_neighbor(
        &self,
        frame: &mut Frame,
        adjacency: Adjacency,
        packet: Packet,
        origin: Origin,
    ) -> Result<Verdict, DropReason> {
        check_hops(frame, packet, origin)?;
        self.check_mtu(adjacency, packet.length())?;
        count_hop(frame, packet, origin);
        let ethertype = if packet.is_ipv4() { ethernet::IPV4 } else { ethernet::IPV6 };
        self.rewrite(frame, adjacency, ethertype)
    }

    /// Whether an IP packet of `length` octets fits the port.
    #[inline]
    pub(super) fn check_mtu(&self, to: Adjacency, length: usize) -> Result<(), DropReason> {
        let port = self.guard.tables().limits().ports.get(usize::from(to.port.0));
        match port {
            Some(port) if length <= usize::from(port.mtu) => Ok(()),
            _ => Err(DropReason::TooBig),
        }
    }
}

/// Whether the packet has a hop left. What the host sends has its hop counted by the kernel, or
/// begins its way here.
#[inline]
pub(super) fn check_hops(frame: &Frame, packet: Packet, origin: Origin) -> Result<(), DropReason> {
    const IPV4_TTL: usize = 8;
    const IPV6_HOP_LIMIT: usize = 7;
    let place = if packet.is_ipv4() { IPV4_TTL } else { IPV6_HOP_LIMIT };
    let hops = frame.octets().get(place).copied().unwrap_or(0);
    if has_hop(hops) || origin == Origin::Host { Ok(()) } else { Err(DropReason::TtlExceeded) }
}

/// Takes the hop off; [`check_hops`] said that there is one.
#[inline]
pub(super) fn count_hop(frame: &mut Frame, packet: Packet, origin: Origin) {
    if origin == Origin::Host {
        return;
    }
    if packet.is_ipv4() {
        if let Ok((header, _)) = ipv4::Header::mut_from_prefix(frame.octets_mut()) {
            header.decrement_ttl();
        }
    } else if let Ok((header, _)) = ipv6::Header::mut_from_prefix(frame.octets_mut()) {
        header.hop_limit -= 1;
    }
}
