//! Which share of the sessions a frame belongs to: how workers divide what comes by one queue.
//!
//! All sessions of a tunnel have one pair of addresses and ports, so a NIC puts them on one queue
//! (RFC 2661 section 8.1). A worker that cannot keep up with its queue gives some of 256 shares of the
//! sessions to others. A session is in one share always, by its IDs, whatever else is in its packets:
//! so whoever keeps the order of a share keeps that of its sessions.
//!
//! Nothing is judged here, and as little is read as names the session: what is malformed behind its
//! IDs meets its reason where it ends up. Fragments stay; what they become is one frame, which goes
//! where its session is.

use zerocopy::FromBytes;
use zerocopy::network_endian::U16;

use super::Pipeline;
use crate::frame::Frame;
use crate::tables::Limits;
use crate::verdict::Share;
use crate::wire::{ethernet, ipv4, ipv6, l2tp, udp};

/// Number of shares: with a thousand sessions, four in each, so that the least that moves is 0.4 %.
pub const SHARES: usize = 256;

const _: () = assert!(SHARES == Share::MAX as usize + 1);

/// Which shares are elsewhere, and how much came for each.
#[derive(Debug)]
pub struct Shares {
    /// Whether there is anything to divide.
    is_active: bool,
    elsewhere: Box<[bool; SHARES]>,
    packets: Box<[u32; SHARES]>,
}

impl Shares {
    pub(super) fn new() -> Self {
        Self {
            is_active: false,
            elsewhere: Box::new([false; SHARES]),
            packets: Box::new([0; SHARES]),
        }
    }

    /// Whether frames have to be divided at all.
    #[inline(always)]
    pub fn is_active(&self) -> bool {
        self.is_active
    }

    /// Begins or ends to divide.
    pub fn set_active(&mut self, is_active: bool) {
        self.is_active = is_active;
        self.packets.fill(0);
    }

    /// Whether the share's frames are not for this worker to process.
    #[inline]
    pub fn is_elsewhere(&self, share: Share) -> bool {
        self.elsewhere[usize::from(share)]
    }

    /// Sets that.
    pub fn set_elsewhere(&mut self, share: Share, elsewhere: bool) {
        self.elsewhere[usize::from(share)] = elsewhere;
    }

    /// Frames of each share since this was asked last.
    pub fn take_packets(&mut self, packets: &mut [u32; SHARES]) {
        *packets = *self.packets;
        self.packets.fill(0);
    }
}

impl Pipeline {
    /// The shares of the sessions.
    #[inline(always)]
    pub fn shares(&mut self) -> &mut Shares {
        &mut self.special.shares
    }

    /// For each frame as it was received, the share that it belongs to if that is elsewhere.
    pub fn divide(&mut self, frames: &[Frame], shares: &mut Vec<Option<Share>>) {
        let limits = self.tables.limits();
        let host_port = self.tables.host_port();
        let known = &mut self.special.shares;
        shares.clear();
        shares.extend(frames.iter().map(|frame| {
            let share = share_of(limits, frame).filter(|_| frame.port() < host_port)?;
            known.packets[usize::from(share)] += 1;
            known.is_elsewhere(share).then_some(share)
        }));
    }
}

/// The share of the session that a frame belongs to; `None` where it carries no data of any.
#[inline]
pub fn share_of(limits: &Limits, frame: &Frame) -> Option<Share> {
    let octets = frame.octets();
    let (ethernet, rest) = ethernet::Header::ref_from_prefix(octets).ok()?;
    let datagram = match ethernet.ethertype.get() {
        ethernet::IPV4 => ipv4_datagram(rest)?,
        _ => {
            let payload = ethernet::parse(octets)?;
            let packet = octets.get(payload.offset..)?;
            match payload.ethertype {
                ethernet::IPV4 => ipv4_datagram(packet)?,
                ethernet::IPV6 => ipv6_datagram(packet)?,
                _ => return None,
            }
        }
    };
    let (header, message) = udp::Header::ref_from_prefix(datagram).ok()?;
    if header.destination.get().wrapping_sub(limits.l2tp_port) >= limits.l2tp_port_count {
        return None;
    }
    data_ids(message).map(share)
}

#[inline]
fn ipv4_datagram(packet: &[u8]) -> Option<&[u8]> {
    let (header, _) = ipv4::Header::ref_from_prefix(packet).ok()?;
    let is_datagram = header.protocol == udp::PROTOCOL && !header.is_fragment();
    packet.get(usize::from(header.version_ihl & 0xf) * 4..).filter(|_| is_datagram)
}

fn ipv6_datagram(packet: &[u8]) -> Option<&[u8]> {
    let (header, datagram) = ipv6::Header::ref_from_prefix(packet).ok()?;
    (header.next_header == udp::PROTOCOL).then_some(datagram)
}

/// Tunnel and session ID of an L2TP data message (RFC 2661 section 3.1).
#[inline]
fn data_ids(message: &[u8]) -> Option<u32> {
    let (flags, rest) = U16::ref_from_prefix(message).ok()?;
    let flags = flags.get();
    if flags & (l2tp::FLAG_CONTROL | l2tp::VERSION_MASK) != l2tp::VERSION {
        return None;
    }
    let skipped = if flags & l2tp::FLAG_LENGTH != 0 { size_of::<U16>() } else { 0 };
    let ids = rest.get(skipped..)?.first_chunk()?;
    Some(u32::from_be_bytes(*ids))
}

/// Spreads IDs that are neighbours, and those of one tunnel, over all shares.
#[inline]
fn share(ids: u32) -> Share {
    // 2^32 divided by the golden ratio: multiples of it lie evenly, and the upper bits tell them apart.
    (ids.wrapping_mul(0x9e37_79b1) >> (u32::BITS - Share::BITS)) as Share
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn sessions_of_one_tunnel_lie_evenly_however_their_ids_are_chosen() {
        for step in [1u32, 2, 3, 64, 255] {
            let mut sessions = [0u32; SHARES];
            for number in 0..2560 {
                let session = (1 + number * step) & 0xffff;
                sessions[usize::from(share(0x1234 << 16 | session))] += 1;
            }
            let (least, most) = (sessions.iter().min().unwrap(), sessions.iter().max().unwrap());
            assert!(*least >= 3 && *most <= 25, "step {step}: {least} to {most}");
        }
    }

    #[test]
    fn ids_are_read_with_and_without_a_length_and_not_of_control_or_another_version() {
        let ids = Some(0x0102_0304);
        assert_eq!(data_ids(&[0x00, 0x02, 1, 2, 3, 4]), ids);
        assert_eq!(data_ids(&[0x40, 0x02, 0, 8, 1, 2, 3, 4]), ids);
        assert_eq!(data_ids(&[0x0a, 0x02, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0]), ids);
        assert_eq!(data_ids(&[0xc8, 0x02, 0, 12, 1, 2, 3, 4, 0, 0, 0, 0]), None);
        assert_eq!(data_ids(&[0x00, 0x03, 1, 2, 3, 4]), None);
        assert_eq!(data_ids(&[0x00, 0x02, 1, 2, 3]), None);
        assert_eq!(data_ids(&[0x40, 0x02, 0, 8, 1, 2, 3]), None);
        assert_eq!(data_ids(&[0x00]), None);
    }
}
