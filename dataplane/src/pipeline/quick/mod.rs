//! The quick way of the packets that make up nearly all traffic: untagged, IPv4 in IPv4 or IPv4 to a
//! subscriber, everything about them right, no option that asks for more.
//!
//! All headers are read in one pass and what later stages need is kept beside the frame. Nothing is
//! refused here: whatever is not plainly right goes the general way, as it was received, and that
//! way knows the reason. So for each packet both ways say the same, which is tested; the quick one
//! says it sooner. Behind it there is a second one, [`varied`].

mod downstream;
mod upstream;
mod varied;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::classify::Work;
use crate::frame::Frame;
use crate::port::PortId;
use crate::tables::{Guard, Limits, Tables};
use crate::wire::checksum::Sum;
use crate::wire::{ethernet, ipv4, udp};
pub(super) use downstream::Downstream;
pub(super) use upstream::Upstream;
pub(super) use varied::{VariedDownstream, VariedUpstream};

/// What every frame of the quick way begins with.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Front {
    ethernet: ethernet::Header,
    ip: ipv4::Header,
}

/// Where the headers behind the Ethernet header and behind an IPv4 header without options are.
const IP_OFFSET: usize = ethernet::HEADER_BYTES;
const UDP_OFFSET: usize = size_of::<Front>();

/// Fragment offset and More Fragments.
const FRAGMENT_MASK: u16 = 0x3fff;

/// What tells the shapes apart; the same for a whole batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shapes {
    /// The last port.
    pub(super) host_port: PortId,
    /// The first UDP port of tunnels, and how many there are.
    l2tp_port: u16,
    l2tp_port_count: u16,
}

impl Shapes {
    pub(super) fn new(tables: &Tables) -> Self {
        let Limits { l2tp_port, l2tp_port_count, .. } = *tables.limits();
        Self { host_port: tables.host_port(), l2tp_port, l2tp_port_count }
    }

    /// Writes down what there is to do with a frame of a common shape, where it will lie: nothing is
    /// copied. `None`: look closer.
    #[inline(always)]
    pub(super) fn classify(&self, frame: &Frame, work: &mut Work) -> Option<()> {
        if frame.port() >= self.host_port {
            return None;
        }
        let octets = frame.octets();
        let (Front { ethernet, ip }, _) = Front::ref_from_prefix(octets).ok()?;
        if ethernet.ethertype.get() != ethernet::IPV4 {
            return None;
        }
        // An IP packet that is cut short ends the quick way; padding behind it does not.
        let packet = octets.get(IP_OFFSET..IP_OFFSET + usize::from(ip.total_length.get()))?;
        if !is_plain(ip) {
            return None;
        }
        if ip.protocol == udp::PROTOCOL && ip.fragment.get() & FRAGMENT_MASK == 0 {
            let (udp, _) = udp::Header::ref_from_prefix(packet.get(ipv4::HEADER_BYTES..)?).ok()?;
            if udp.destination.get().wrapping_sub(self.l2tp_port) < self.l2tp_port_count {
                return upstream::classify(octets, ip, udp, work);
            }
        }
        downstream::classify(ip, packet.get(ipv4::HEADER_BYTES..)?, work)
    }
}

/// Whether an IPv4 header is without options and correct.
#[inline(always)]
fn is_plain(ip: &ipv4::Header) -> bool {
    let octets: &[u8; ipv4::HEADER_BYTES] = zerocopy::transmute_ref!(ip);
    ip.version_ihl == ipv4::VERSION_IHL && Sum::ipv4_header(octets).is_correct()
}

/// First octets of which some address has a special meaning to a router.
const SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let mut first = 0;
    while first < special.len() {
        special[first] = matches!(first, 0 | 127 | 169 | 224..);
        first += 1;
    }
    special
};

/// Whether neither of the addresses has a special meaning to a router, by their first octets.
#[inline(always)]
fn are_ordinary(ip: &ipv4::Header) -> bool {
    let ([source, ..], [destination, ..]) = (ip.source, ip.destination);
    !(SPECIAL[usize::from(source)] | SPECIAL[usize::from(destination)])
}

/// The Ethernet header in front of a packet, in two words that overlap: the second one begins with
/// the source address, over what is behind the destination address in the first one.
struct Rewrite {
    first: u64,
    second: u64,
}

impl Rewrite {
    #[inline(always)]
    fn write(&self, place: &mut [u8; ethernet::HEADER_BYTES]) {
        const SECOND: usize = ethernet::HEADER_BYTES - size_of::<u64>();
        if let Some(first) = place.first_chunk_mut() {
            *first = self.first.to_ne_bytes();
        }
        if let Some((_, second)) = place.split_first_chunk_mut::<SECOND>()
            && let Some(second) = second.first_chunk_mut()
        {
            *second = self.second.to_ne_bytes();
        }
    }
}

/// The Ethernet header for a packet of `length` octets to a next hop, if it fits there, and its port.
#[inline(always)]
fn rewrite(guard: &Guard<'_>, neighbor: u32, length: usize) -> Option<(Rewrite, PortId)> {
    let (first, port) = guard.neighbor(neighbor)?;
    let plain = guard.tables().plain_port(port)?;
    if length > usize::from(plain.mtu) {
        return None;
    }
    Some((Rewrite { first, second: plain.source_and_type }, port))
}
