//! Where an IP packet goes by its entry in the FIB.

use zerocopy::FromBytes;

use super::classify::{Packet, has_hop};
use super::icmp::Complaint;
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
        let forwarded = match entry {
            Entry::Session(slot) => self.send_to_subscriber(frame, slot, packet, origin),
            Entry::Neighbor(index) => match self.guard.adjacency(index) {
                Some(adjacency) => self.send_to_neighbor(frame, adjacency, packet, origin),
                None => self.send_to_host(origin),
            },
            Entry::Local { .. } | Entry::Glean => self.send_to_host(origin),
            Entry::Unreachable => Err(DropReason::Unreachable),
            Entry::NoRoute => Err(DropReason::NoRoute),
        };
        forwarded.inspect_err(|reason| self.note(*reason))
    }

    /// Why the packet, which the frame is now, goes no further, as far as its source is to know.
    fn note(&mut self, reason: DropReason) {
        match reason {
            DropReason::TtlExceeded => self.special.complaint = Some(Complaint::TimeExceeded),
            DropReason::NoRoute => self.special.complaint = Some(Complaint::NoRoute),
            DropReason::Unreachable => self.special.complaint = Some(Complaint::Unreachable),
            // Noted where the size is known: TooBig; nobody's business: the rest.
            _ => {}
        }
    }

    /// Refuses a packet that is larger than `most` octets, and notes that.
    #[cold]
    pub(super) fn too_big(&mut self, most: usize) -> DropReason {
        let most = u16::try_from(most).unwrap_or(u16::MAX);
        self.special.complaint = Some(Complaint::TooBig(most));
        DropReason::TooBig
    }

    /// To the kernel, as received: it is the host's, or the kernel forwards it and counts the hop.
    fn send_to_host(&self, origin: Origin) -> Result<Verdict, DropReason> {
        match origin {
            Origin::Host => Err(DropReason::HostLoop),
            Origin::Network | Origin::Own => Ok(Verdict::Transmit(self.guard.tables().host_port())),
        }
    }

    #[inline(always)]
    fn send_to_neighbor(
        &mut self,
        frame: &mut Frame,
        adjacency: Adjacency,
        packet: Packet,
        origin: Origin,
    ) -> Result<Verdict, DropReason> {
        check_hops(frame, packet, origin)?;
        let ethertype = if packet.is_ipv4() { ethernet::IPV4 } else { ethernet::IPV6 };
        let mtu = self.mtu(adjacency);
        if packet.length() <= mtu {
            count_hop(frame, packet, origin);
            return self.rewrite(frame, adjacency, ethertype);
        }
        if !packet.may_be_cut(frame.octets()) {
            return Err(self.too_big(mtu));
        }
        count_hop(frame, packet, origin);
        self.cut(frame, adjacency, ethertype)
    }

    /// The largest IP packet that fits the port, octets.
    #[inline]
    pub(super) fn mtu(&self, to: Adjacency) -> usize {
        let port = self.guard.tables().limits().ports.get(usize::from(to.port.0));
        port.map_or(0, |port| port.mtu.into())
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
    if has_hop(hops) || origin != Origin::Network { Ok(()) } else { Err(DropReason::TtlExceeded) }
}

/// Takes the hop off; [`check_hops`] said that there is one.
#[inline]
pub(super) fn count_hop(frame: &mut Frame, packet: Packet, origin: Origin) {
    if origin != Origin::Network {
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
