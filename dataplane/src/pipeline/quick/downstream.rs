//! From the network to a subscriber, whose tunnel is over IPv4.

use zerocopy::FromBytes;

use super::super::Context;
use super::super::classify::{Packet, Work, has_hop};
use super::super::{encap, mss_clamp};
use super::{IP_OFFSET, VariedDownstream, are_ordinary, rewrite};
use crate::frame::Frame;
use crate::tables::{Encap, FLAG_KEEP_MSS, FLAG_SEND_ACFC, FLAG_SEND_PFC};
use crate::verdict::Verdict;
use crate::wire::checksum::Sum;
use crate::wire::{ethernet, ipv4, l2tp, tcp, udp};

/// A packet that is routed, to a subscriber as far as it turns out.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Downstream {
    pub(in super::super) destination: [u8; 4],
    /// What it resolves to: the first step's result, then the session's slot.
    pub(in super::super) route: u32,
    /// Octets of the packet.
    length: u16,
    /// The sum over the packet.
    sum: u16,
    /// Whether there is a policer, once the session is found.
    pub(in super::super) is_policed: bool,
}

impl Downstream {
    /// The same for the way of packets that are not plain.
    pub(in super::super) fn vary(&self) -> VariedDownstream {
        let packet = Packet::plain(IP_OFFSET as u16, self.length);
        VariedDownstream { packet, sum: self.sum, route: self.route }
    }
}

/// An IPv4 packet with this header and this payload.
#[inline(always)]
pub(super) fn classify(ip: &ipv4::Header, segment: &[u8], work: &mut Work) -> Option<()> {
    let sum = encap::plain_ipv4_sum(ip, segment)?;
    if !has_hop(ip.ttl) || !are_ordinary(ip) {
        return None;
    }
    *work = Work::Downstream(Downstream {
        destination: ip.destination,
        route: 0,
        length: ip.total_length.get(),
        sum: sum.seed(),
        is_policed: false,
    });
    Some(())
}

/// The template of IPv4: IP, UDP and L2TP header.
const TEMPLATE_BYTES: usize = ipv4::HEADER_BYTES + udp::HEADER_BYTES + l2tp::DATA_HEADER_BYTES;

/// All that is put in front of a packet, with PPP framing in full.
const FRONT_BYTES: usize = ethernet::HEADER_BYTES + TEMPLATE_BYTES + FRAMING_BYTES_MAX;
const FRAMING_BYTES_MAX: usize = 4;

/// PPP framing of IPv4 in four octets, of which the last ones may be the packet's.
#[derive(Debug, Clone, Copy)]
struct Framing {
    /// In memory order, and ones where the packet's octets stay.
    octets: u32,
    packet: u32,
    /// The sum over the octets.
    sum: u16,
    length: u16,
}

impl Framing {
    const ALL: [Self; 4] = [
        Self::of([0xff, 0x03, 0x00, 0x21], 4, 0xff24),
        Self::of([0x00, 0x21, 0, 0], 2, 0x0021),
        Self::of([0xff, 0x03, 0x21, 0], 3, 0x2004),
        Self::of([0x21, 0, 0, 0], 1, 0x2100),
    ];

    const fn of(octets: [u8; FRAMING_BYTES_MAX], length: u16, sum: u16) -> Self {
        let packet = u32::MAX.unbounded_shr(8 * length as u32).to_be();
        Self { octets: u32::from_ne_bytes(octets), packet, sum, length }
    }

    /// As the session's peer agreed to (RFC 1661 sections 6.5 and 6.6).
    #[inline(always)]
    fn new(flags: u16) -> Self {
        const _: () = assert!(FLAG_SEND_PFC == FLAG_SEND_ACFC << 1);
        Self::ALL[usize::from(flags / FLAG_SEND_ACFC % 4)]
    }

    /// Writes the octets and leaves those of the packet.
    #[inline(always)]
    fn write(self, place: &mut [u8; FRAMING_BYTES_MAX]) {
        *place = (u32::from_ne_bytes(*place) & self.packet | self.octets).to_ne_bytes();
    }

    /// The sum over framing and packet, from that of the packet.
    #[inline(always)]
    fn sum(self, packet: Sum) -> Sum {
        let packet = if self.length % 2 == 1 { packet.at_odd_offset() } else { packet };
        packet.number(self.sum)
    }
}

impl Context<'_> {
    /// Sends it on its way, or drops it where there is a policer; `None`: look closer, nothing was done.
    #[inline(always)]
    pub(in super::super) fn quick_downstream(
        &mut self,
        frame: &mut Frame,
        work: &Downstream,
    ) -> Option<Verdict> {
        let words = self.guard.encap_words(work.route);
        let session: Encap = zerocopy::transmute!(words);
        if work.length > session.peer_mru {
            return None;
        }
        let neighbor = self.guard.neighbor_of_path(session.path)?;
        let framing = Framing::new(session.flags);
        let length = usize::from(work.length);
        let before = TEMPLATE_BYTES + usize::from(framing.length);
        let (header, port) = rewrite(self.guard, neighbor, before + length)?;
        let before = ethernet::HEADER_BYTES + before;
        if !frame.has_headroom(before - IP_OFFSET) || !frame.cut(IP_OFFSET, length) {
            return None;
        }
        if work.is_policed && self.police_downstream(session.index, length).is_err() {
            return Some(self.drop_policed());
        }
        let (ip, segment) = ipv4::Header::mut_from_prefix(frame.octets_mut()).ok()?;
        ip.decrement_ttl();
        if ip.protocol == tcp::PROTOCOL && tcp::is_syn(segment) {
            self.clamp_downstream(frame, work);
        }
        if !frame.push(before) {
            return None;
        }
        let front = frame.octets_mut().first_chunk_mut::<FRONT_BYTES>()?;
        let (ethernet, front) = front.split_first_chunk_mut::<{ ethernet::HEADER_BYTES }>()?;
        header.write(ethernet);
        let (template, ppp) = front.split_first_chunk_mut::<TEMPLATE_BYTES>()?;
        *self.identification = self.identification.wrapping_add(1);
        let total = (before - ethernet::HEADER_BYTES + length) as u16;
        let sum = framing.sum(Sum::from_seed(work.sum));
        fill(template, words, &session, [total, *self.identification], sum);
        framing.write(ppp.first_chunk_mut()?);
        self.guard.counters(session.index).count_downstream(length as u64);
        Some(Verdict::Transmit(port))
    }

    /// A connection begins: see [`mss_clamp`]. The checksum follows, so that the packet's sum stays.
    #[cold]
    fn clamp_downstream(&self, frame: &mut Frame, work: &Downstream) {
        let slot = work.route;
        if self.guard.encap(slot).flags & FLAG_KEEP_MSS == 0 {
            mss_clamp::clamp(frame.octets_mut(), true, self.session_mtu(slot, true));
        }
    }
}

/// A number in network order at an even offset of a word in memory.
#[inline(always)]
fn at(offset: u32, number: u16) -> u64 {
    let number = u64::from(number.to_be());
    if cfg!(target_endian = "little") {
        number << (8 * offset)
    } else {
        number << (48 - 8 * offset)
    }
}

/// Writes the template with its lengths, identification and checksums, whose places are zero in it:
/// word by word, as the session's line is read. `numbers` are total length and identification,
/// `sum` is that of what follows.
#[inline(always)]
fn fill(
    template: &mut [u8; TEMPLATE_BYTES],
    words: [u64; 8],
    session: &Encap,
    numbers: [u16; 2],
    sum: Sum,
) {
    let [total, identification] = numbers;
    let udp_length = total - ipv4::HEADER_BYTES as u16;
    let ip_sum = Sum::from_seed(session.ip_seed).number(total).number(identification).checksum();
    // The length counts twice: in the header and in the pseudo-header.
    let udp_sum = Sum::from_seed(session.udp_seed)
        .number(udp_length)
        .number(udp_length)
        .sum(sum)
        .udp_checksum();
    let [a, b, c, d, e, ..] = words;
    let [e, f, ..] = e.to_ne_bytes();
    let (whole, rest) = template.as_chunks_mut::<8>();
    let filled = [
        a | at(2, total) | at(4, identification),
        b | at(2, ip_sum.get()),
        c,
        d | at(0, udp_length) | at(2, udp_sum.get()),
    ];
    for (place, word) in whole.iter_mut().zip(filled) {
        *place = word.to_ne_bytes();
    }
    rest.copy_from_slice(&[e, f]);
}
