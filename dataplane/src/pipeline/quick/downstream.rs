//! From the network to a subscriber, whose tunnel is over IPv4.

use zerocopy::FromBytes;

use super::super::Context;
use super::super::classify::has_hop;
use super::super::encap;
use super::{IP_OFFSET, is_ordinary, rewrite};
use crate::frame::Frame;
use crate::tables::{Encap, Entry, FLAG_OUTER_IPV6, FLAG_SEND_ACFC, FLAG_SEND_PFC, FLAG_SPECIAL};
use crate::verdict::Verdict;
use crate::wire::checksum::Sum;
use crate::wire::{ethernet, ipv4, l2tp, udp};

/// A packet that is routed, to a subscriber as far as it turns out.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Downstream {
    pub(in super::super) destination: [u8; 4],
    /// What it resolves to: the first step's result, then the entry itself.
    pub(in super::super) route: u32,
    /// Octets of the packet.
    length: u16,
    /// The sum over the packet.
    sum: u16,
}

/// An IPv4 packet with this header and this payload.
#[inline(always)]
pub(super) fn classify(ip: &ipv4::Header, segment: &[u8]) -> Option<Downstream> {
    let sum = encap::plain_ipv4_sum(ip, segment)?;
    let right = has_hop(ip.ttl) && is_ordinary(ip.source) && is_ordinary(ip.destination);
    right.then_some(Downstream {
        destination: ip.destination,
        route: 0,
        length: ip.total_length.get(),
        sum: sum.seed(),
    })
}

/// The template of IPv4: IP, UDP and L2TP header.
const TEMPLATE_BYTES: usize = ipv4::HEADER_BYTES + udp::HEADER_BYTES + l2tp::DATA_HEADER_BYTES;

/// All that is put in front of a packet, with PPP framing in full.
const FRONT_BYTES: usize = ethernet::HEADER_BYTES + TEMPLATE_BYTES + FRAMING_BYTES_MAX;
const FRAMING_BYTES_MAX: usize = 4;

/// PPP framing of IPv4 as four octets, of which the last ones may be the packet's.
#[derive(Debug, Clone, Copy)]
struct Framing {
    octets: [u8; FRAMING_BYTES_MAX],
    length: u16,
    /// The sum over the octets, in the order of the network.
    sum: u16,
}

impl Framing {
    /// By the session's flags: bit 0 without address and control, bit 1 with a short protocol.
    const ALL: [Self; 4] = [
        Self { octets: [0xff, 0x03, 0x00, 0x21], length: 4, sum: 0xff24 },
        Self { octets: [0x00, 0x21, 0, 0], length: 2, sum: 0x0021 },
        Self { octets: [0xff, 0x03, 0x21, 0], length: 3, sum: 0x2004 },
        Self { octets: [0x21, 0, 0, 0], length: 1, sum: 0x2100 },
    ];

    #[inline(always)]
    fn new(flags: u16) -> Self {
        const _: () = assert!(FLAG_SEND_PFC == FLAG_SEND_ACFC << 1);
        Self::ALL[usize::from(flags / FLAG_SEND_ACFC % 4)]
    }

    /// Writes the octets and leaves those of the packet.
    #[inline(always)]
    fn write(self, place: &mut [u8; FRAMING_BYTES_MAX]) {
        let [_, b, c, d] = *place;
        *place = match (self.length, self.octets) {
            (4, octets) => octets,
            (3, [p, q, r, _]) => [p, q, r, d],
            (2, [p, q, ..]) => [p, q, c, d],
            (_, [p, ..]) => [p, b, c, d],
        };
    }

    /// The sum over framing and packet, from that of the packet.
    #[inline(always)]
    fn sum(self, packet: Sum) -> Sum {
        let packet = if self.length % 2 == 1 { packet.at_odd_offset() } else { packet };
        packet.number(self.sum)
    }
}

impl Context<'_> {
    /// Sends it on its way; `None`: look closer, nothing was done.
    #[inline(always)]
    pub(in super::super) fn quick_downstream(
        &mut self,
        frame: &mut Frame,
        work: &Downstream,
    ) -> Option<Verdict> {
        let Entry::Session(slot) = Entry::decode(work.route) else { return None };
        let words = self.guard.encap_words(slot);
        let session: Encap = zerocopy::transmute!(words);
        if session.flags & (FLAG_OUTER_IPV6 | FLAG_SPECIAL) != 0 || work.length > session.peer_mru {
            return None;
        }
        let Entry::Neighbor(neighbor) = self.guard.path(session.path) else { return None };
        let adjacency = self.guard.adjacency(neighbor)?;
        let framing = Framing::new(session.flags);
        let length = usize::from(work.length);
        let before = TEMPLATE_BYTES + usize::from(framing.length);
        let header = rewrite(self.guard, adjacency, before + length)?;
        let before = ethernet::HEADER_BYTES + before;
        if !frame.has_headroom(before - IP_OFFSET) || !frame.cut(IP_OFFSET, length) {
            return None;
        }
        let (ip, _) = ipv4::Header::mut_from_prefix(frame.octets_mut()).ok()?;
        ip.decrement_ttl();
        if !frame.push(before) {
            return None;
        }
        let front = frame.octets_mut().first_chunk_mut::<FRONT_BYTES>()?;
        let (ethernet, front) = front.split_first_chunk_mut::<{ ethernet::HEADER_BYTES }>()?;
        *ethernet = zerocopy::transmute!(header);
        let (template, ppp) = front.split_first_chunk_mut::<TEMPLATE_BYTES>()?;
        *self.identification = self.identification.wrapping_add(1);
        let total = (before - ethernet::HEADER_BYTES + length) as u16;
        let sum = framing.sum(Sum::from_seed(work.sum));
        fill(template, words, &session, [total, *self.identification], sum);
        framing.write(ppp.first_chunk_mut()?);
        self.guard.counters(session.index).count_downstream(length as u64);
        Some(Verdict::Transmit(adjacency.port))
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
