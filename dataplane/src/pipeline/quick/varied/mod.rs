//! The way of packets that differ from the plain ones in something that is as right: IPv6 inside or
//! outside, a tag on either side, sequence numbers, policers and other options of the session.
//!
//! It is what the quick way is, with a branch for each of these: headers are read once, lines are
//! asked for ahead, and whatever is not plainly right is left to the general way. Its parts that
//! change a frame are that way's own. What is found out before anything is changed has no effect;
//! from then on the packet goes, or is dropped for the same reason as there.

mod downstream;
mod upstream;

use zerocopy::FromBytes;

use super::super::classify::{Packet, Work, has_hop};
use super::{Shapes, are_ordinary, is_plain};
use crate::frame::Frame;
use crate::wire::{ethernet, ipv4, ipv6, udp};
pub(in super::super) use downstream::VariedDownstream;
pub(in super::super) use upstream::VariedUpstream;

/// An IP header without options that is right, with the packet whole.
struct Head<'a> {
    packet: Packet,
    protocol: u8,
    traffic_class: u8,
    /// What is behind the header.
    segment: &'a [u8],
    header: Header<'a>,
}

#[derive(Clone, Copy)]
enum Header<'a> {
    V4(&'a ipv4::Header),
    V6(&'a ipv6::Header),
}

impl<'a> Head<'a> {
    /// The packet at `offset` of `octets`, behind which there may be padding.
    #[inline(always)]
    fn read(octets: &'a [u8], offset: usize, is_ipv4: bool) -> Option<Self> {
        let rest = octets.get(offset..)?;
        if is_ipv4 {
            let (header, _) = ipv4::Header::ref_from_prefix(rest).ok()?;
            let length = usize::from(header.total_length.get());
            let segment = rest.get(ipv4::HEADER_BYTES..length)?;
            is_plain(header).then_some(())?;
            Some(Self {
                packet: Packet::new(offset, length, true)?,
                protocol: header.protocol,
                traffic_class: header.traffic_class,
                segment,
                header: Header::V4(header),
            })
        } else {
            let (header, length) = ipv6::parse(rest)?;
            Some(Self {
                packet: Packet::new(offset, length, false)?,
                protocol: header.next_header,
                traffic_class: (header.version_class_flow.get() >> 20) as u8,
                segment: rest.get(ipv6::HEADER_BYTES..length)?,
                header: Header::V6(header),
            })
        }
    }

    /// Whether it is an unfragmented UDP datagram.
    #[inline(always)]
    fn is_datagram(&self) -> bool {
        let is_fragment = match self.header {
            Header::V4(header) => header.is_fragment(),
            Header::V6(_) => false,
        };
        self.protocol == udp::PROTOCOL && !is_fragment
    }

    /// Whether a router forwards such a packet: a hop is left, and neither address has a special
    /// meaning.
    #[inline(always)]
    fn is_forwardable(&self) -> bool {
        match self.header {
            Header::V4(header) => has_hop(header.ttl) && are_ordinary(header),
            Header::V6(header) => {
                // Unspecified, loopback and mapped ones begin with 0; link-local ones with FE, multicast
                // ones with FF.
                let is_ordinary = |address: &[u8; 16]| !matches!(address[0], 0 | 0xfe..);
                has_hop(header.hop_limit)
                    && is_ordinary(&header.source)
                    && is_ordinary(&header.destination)
            }
        }
    }
}

impl Shapes {
    /// As [`Shapes::classify`], of what that did not take.
    #[inline(never)]
    pub(in super::super) fn classify_varied(&self, frame: &Frame, work: &mut Work) -> Option<()> {
        if frame.port() >= self.host_port {
            return None;
        }
        let octets = frame.octets();
        let (header, _) = ethernet::Header::ref_from_prefix(octets).ok()?;
        let [tag, _] = ethernet::TAGS;
        let (ethertype, offset) = if header.ethertype.get() == tag {
            let (header, _) = ethernet::Tagged::ref_from_prefix(octets).ok()?;
            (header.ethertype.get(), ethernet::TAGGED_BYTES)
        } else {
            (header.ethertype.get(), ethernet::HEADER_BYTES)
        };
        let is_ipv4 = match ethertype {
            ethernet::IPV4 => true,
            ethernet::IPV6 => false,
            _ => return None,
        };
        let head = Head::read(octets, offset, is_ipv4)?;
        if head.is_datagram() {
            let (header, _) = udp::Header::ref_from_prefix(head.segment).ok()?;
            if header.destination.get().wrapping_sub(self.l2tp_port) < self.l2tp_port_count {
                *work = Work::VariedUpstream(upstream::classify(octets, &head)?);
                return Some(());
            }
        }
        *work = Work::VariedDownstream(downstream::classify(&head)?);
        Some(())
    }
}
