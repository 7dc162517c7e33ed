//! The MSS that a TCP connection begins with, lowered to what crosses the tunnel in one piece (RFC 9293
//! section 3.7.1): most of what would need fragments never does.

use zerocopy::FromBytes;
use zerocopy::network_endian::U16;

use crate::wire::checksum::Sum;
use crate::wire::{ipv4, ipv6, tcp};

/// Lowers the MSS of the IP packet, if it is a SYN or SYN-ACK, to what fits an IP packet of `mtu`
/// octets with plain headers. A fragment, a header that is cut short and options that make no sense
/// are left alone.
pub(super) fn clamp(packet: &mut [u8], is_ipv4: bool, mtu: usize) {
    let headers = if is_ipv4 { ipv4::HEADER_BYTES } else { ipv6::HEADER_BYTES } + tcp::HEADER_BYTES;
    let most = u16::try_from(mtu.saturating_sub(headers)).unwrap_or(u16::MAX);
    if let Some(segment) = segment(packet, is_ipv4).and_then(|start| packet.get_mut(start..)) {
        clamp_segment(segment, most);
    }
}

/// Whether there may be something to lower.
pub(super) fn is_syn(packet: &[u8], is_ipv4: bool) -> bool {
    let segment = segment(packet, is_ipv4).and_then(|start| packet.get(start..));
    segment.is_some_and(tcp::is_syn)
}

/// Where the TCP header begins, if the packet has a whole one at its front.
fn segment(packet: &[u8], is_ipv4: bool) -> Option<usize> {
    if is_ipv4 {
        let (header, _) = ipv4::Header::ref_from_prefix(packet).ok()?;
        let is_whole = header.protocol == tcp::PROTOCOL && !header.is_fragment();
        is_whole.then_some(usize::from(header.version_ihl & 0xf) * 4)
    } else {
        match ipv6::upper_layer(packet)? {
            (tcp::PROTOCOL, start) => Some(start),
            _ => None,
        }
    }
}

fn clamp_segment(segment: &mut [u8], most: u16) -> Option<()> {
    let (header, _) = tcp::Header::ref_from_prefix(segment).ok()?;
    if header.flags & tcp::FLAG_SYN == 0 {
        return None;
    }
    let place = tcp::mss_place(segment)?;
    let value = segment.get_mut(place..place + 2)?;
    let before = U16::read_from_bytes(value).ok()?;
    if before.get() <= most {
        return None;
    }
    value.copy_from_slice(&most.to_be_bytes());
    let (mut old, mut new) = (Sum::default().number(before.get()), Sum::default().number(most));
    if place % 2 == 1 {
        (old, new) = (old.at_odd_offset(), new.at_odd_offset());
    }
    let (header, _) = tcp::Header::mut_from_prefix(segment).ok()?;
    // RFC 1624 section 3.
    let sum = Sum::default().number(!header.checksum.get()).minus(old).sum(new);
    header.checksum = sum.checksum();
    Some(())
}
