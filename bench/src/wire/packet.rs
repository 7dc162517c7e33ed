//! The test packets: a subscriber's IPv4 and UDP around a [`Label`], in its session's L2TP and PPP on
//! the access side and as it is at the core.
//!
//! Headers are made once for each flow and size. Per packet the payload is written and the inner UDP
//! checksum with it; the outer one stays what it was, because a segment with its own checksum adds the
//! same to any sum around it, whatever it carries.

use std::net::{Ipv4Addr, SocketAddrV4};

use xlns_dataplane::wire::checksum::{Sum, pseudo_ipv4};
use xlns_dataplane::wire::l2tp::DataHeader;
use xlns_dataplane::wire::{ethernet, ipv4, l2tp, ppp, udp};
use zerocopy::IntoBytes;

use super::kernel::frames::{Link, datagram};
use super::payload::{self, Label};

/// Octets of the smallest subscriber's packet: what fills the smallest Ethernet frame.
pub const INNER_BYTES_MIN: u16 =
    (ipv4::HEADER_BYTES + udp::HEADER_BYTES + payload::HEADER_BYTES) as u16;

/// UDP ports of subscribers and of the core in test packets.
pub const SUBSCRIBER_PORT: u16 = 40_100;
/// See [`SUBSCRIBER_PORT`].
pub const CORE_PORT: u16 = 40_101;

/// Octets in front of the payload at most: Ethernet, IPv4, UDP, L2TP, PPP, IPv4, UDP.
const HEAD_BYTES_MAX: usize = ethernet::HEADER_BYTES
    + 2 * (ipv4::HEADER_BYTES + udp::HEADER_BYTES)
    + l2tp::DATA_HEADER_BYTES
    + 4;

/// Where the inner UDP checksum is, from the end of a head.
const CHECKSUM_FROM_END: usize = 2;

/// IDs of a session in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// Tunnel ID.
    pub tunnel: u16,
    /// Session ID.
    pub session: u16,
}

/// A session as its packets show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// The LAC's address and port.
    pub lac: SocketAddrV4,
    /// The LNS's.
    pub lns: SocketAddrV4,
    /// On packets to the LNS.
    pub to_lns: Ids,
    /// On packets from the LNS.
    pub from_lns: Ids,
    /// The subscriber's address.
    pub subscriber: Ipv4Addr,
}

/// Which side of the LNS packets arrive on, and so how they look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// In L2TP.
    Access,
    /// As they are.
    Core,
}

/// How a packet leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// From a subscriber, in L2TP.
    Upstream,
    /// From the core to a subscriber.
    Downstream,
    /// From a subscriber, as it comes out at the core: to measure the tester without an LNS.
    Bare,
}

/// What is in front of a payload, for one flow and one length.
#[derive(Debug, Clone)]
pub struct Head {
    octets: [u8; HEAD_BYTES_MAX],
    length: u8,
    /// Sum of the inner pseudo-header and of the inner UDP header without its checksum.
    seed: u16,
    payload_bytes: u16,
}

impl Head {
    /// That of a packet of `inner_bytes` octets in this form.
    pub fn new(flow: &Flow, core: Ipv4Addr, form: Form, inner_bytes: u16, link: Link) -> Self {
        let inner_bytes = inner_bytes.max(INNER_BYTES_MIN);
        let payload_bytes = inner_bytes - INNER_BYTES_MIN + payload::HEADER_BYTES as u16;
        let mut content = vec![0; payload_bytes.into()];
        Label { flow: 0, sequence: 0, sent_ns: 0 }.write(&mut content);
        let (from, to, ports) = match form {
            Form::Upstream | Form::Bare => (flow.subscriber, core, [SUBSCRIBER_PORT, CORE_PORT]),
            Form::Downstream => (core, flow.subscriber, [CORE_PORT, SUBSCRIBER_PORT]),
        };
        let inner = datagram(from, to, ports, &content);
        let frame = match form {
            Form::Downstream | Form::Bare => link.frame(&inner),
            Form::Upstream => {
                let ppp = [&ppp::ADDRESS_CONTROL[..], &ppp::IPV4.to_be_bytes()].concat();
                let header = DataHeader::new(flow.to_lns.tunnel, flow.to_lns.session);
                let data = [header.as_bytes(), &ppp, &inner].concat();
                let ports = [flow.lac.port(), flow.lns.port()];
                link.frame(&datagram(*flow.lac.ip(), *flow.lns.ip(), ports, &data))
            }
        };
        let length = frame.len() - usize::from(payload_bytes);
        let mut octets = [0; HEAD_BYTES_MAX];
        octets.iter_mut().zip(&frame).take(length).for_each(|(to, from)| *to = *from);
        let udp_bytes = udp::HEADER_BYTES as u16 + payload_bytes;
        let udp = octets.get(length - udp::HEADER_BYTES..length - CHECKSUM_FROM_END);
        let seed = pseudo_ipv4(from.octets(), to.octets(), udp::PROTOCOL, udp_bytes)
            .octets(udp.unwrap_or_default())
            .seed();
        Self { octets, length: length as u8, seed, payload_bytes }
    }

    /// Octets of the whole frame.
    #[inline]
    pub fn frame_bytes(&self) -> usize {
        usize::from(self.length) + usize::from(self.payload_bytes)
    }

    /// Octets of the subscriber's packet.
    #[inline]
    pub fn inner_bytes(&self) -> usize {
        ipv4::HEADER_BYTES + udp::HEADER_BYTES + usize::from(self.payload_bytes)
    }

    /// Makes the packet in `frame`, which has [`Head::frame_bytes`].
    #[inline]
    pub fn write(&self, label: Label, frame: &mut [u8]) {
        let Some((head, content)) = frame.split_at_mut_checked(self.length.into()) else { return };
        if let Some(octets) = self.octets.get(..head.len()) {
            head.copy_from_slice(octets);
        }
        label.write(content);
        let checksum = Sum::from_seed(self.seed).octets(content).udp_checksum();
        if let Some(field) = head.last_chunk_mut::<CHECKSUM_FROM_END>() {
            *field = checksum.to_bytes();
        }
    }
}

/// What a frame that arrived is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// A test packet, whole, of the flow that it came in.
    Good {
        /// What it says of itself.
        label: Label,
        /// Octets of the subscriber's packet.
        inner_bytes: u16,
    },
    /// A test packet, whole, in another flow's session or to another one's address.
    Misdelivered,
    /// Something of a test packet is not as it was sent.
    Corrupt,
    /// Nothing of ours.
    Other,
}

/// Reads a frame that arrived on `side`.
#[inline]
pub fn read(frame: &[u8], side: Side, flows: &[Flow], core: Ipv4Addr) -> Seen {
    let Some(payload) = ethernet::parse(frame) else { return Seen::Other };
    let packet = frame.get(payload.offset..).unwrap_or_default();
    if payload.ethertype != ethernet::IPV4 {
        return Seen::Other;
    }
    match side {
        Side::Core => read_inner(packet, None, flows, core),
        Side::Access => match unwrap(packet) {
            Ok((ids, inner)) => read_inner(inner, Some(ids), flows, core),
            Err(seen) => seen,
        },
    }
}

/// Takes L2TP and PPP off.
fn unwrap(packet: &[u8]) -> Result<(Ids, &[u8]), Seen> {
    let (header, lengths) = ipv4::parse(packet).map_err(|_| Seen::Corrupt)?;
    if header.protocol != udp::PROTOCOL || header.is_fragment() {
        return Err(Seen::Other);
    }
    let segment = packet.get(lengths.header..lengths.total).ok_or(Seen::Corrupt)?;
    let (_, datagram) = udp::parse(segment).ok_or(Seen::Corrupt)?;
    let header = l2tp::parse(datagram).map_err(|_| Seen::Corrupt)?;
    if header.control {
        return Err(Seen::Other);
    }
    let frame = datagram.get(header.payload_offset..header.payload_end).ok_or(Seen::Corrupt)?;
    let framing = ppp::parse(frame).ok_or(Seen::Corrupt)?;
    if framing.protocol != ppp::IPV4 {
        return Err(Seen::Other);
    }
    let inner = frame.get(framing.offset..).ok_or(Seen::Corrupt)?;
    Ok((Ids { tunnel: header.tunnel_id, session: header.session_id }, inner))
}

fn read_inner(packet: &[u8], ids: Option<Ids>, flows: &[Flow], core: Ipv4Addr) -> Seen {
    let Ok((header, lengths)) = ipv4::parse(packet) else { return Seen::Corrupt };
    let segment = packet.get(lengths.header..lengths.total).unwrap_or_default();
    if header.protocol != udp::PROTOCOL || header.is_fragment() {
        return Seen::Other;
    }
    let Some((udp, content)) = udp::parse(segment) else { return Seen::Corrupt };
    let ports = [udp.source.get(), udp.destination.get()];
    let wanted = match ids {
        Some(_) => [CORE_PORT, SUBSCRIBER_PORT],
        None => [SUBSCRIBER_PORT, CORE_PORT],
    };
    if ports != wanted {
        return Seen::Other;
    }
    let (from, to) = (header.source, header.destination);
    let sum = pseudo_ipv4(from, to, udp::PROTOCOL, segment.len() as u16).octets(segment);
    let Ok(label) = Label::read(content) else { return Seen::Corrupt };
    if !sum.is_correct() {
        return Seen::Corrupt;
    }
    let Some(flow) = flows.get(label.flow as usize) else { return Seen::Misdelivered };
    let subscriber = flow.subscriber.octets();
    let addresses = match ids {
        Some(_) => [core.octets(), subscriber],
        None => [subscriber, core.octets()],
    };
    if [from, to] != addresses || ids.is_some_and(|ids| ids != flow.from_lns) {
        return Seen::Misdelivered;
    }
    Seen::Good { label, inner_bytes: lengths.total as u16 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::options::SIZE_MAX;

    const CORE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
    const LINK: Link = Link { source: [2, 0, 0, 0, 0, 1], destination: [2, 0, 0, 0, 0, 2] };
    const SIZES: [u16; 5] = [INNER_BYTES_MIN, 47, 552, 1400, SIZE_MAX];

    fn flows() -> Vec<Flow> {
        let flow = |number: u16| Flow {
            lac: SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 2), 1701),
            lns: SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 1701),
            to_lns: Ids { tunnel: 11, session: 100 + number },
            from_lns: Ids { tunnel: 7, session: 200 + number },
            subscriber: Ipv4Addr::from_bits(0x0a40_0001 + u32::from(number)),
        };
        (0..4).map(flow).collect()
    }

    fn label(flow: u32, sequence: u32) -> Label {
        Label { flow, sequence, sent_ns: 0x00ff_0011_2233 + u64::from(sequence) }
    }

    fn frame(head: &Head, label: Label) -> Vec<u8> {
        let mut frame = vec![0xa5; head.frame_bytes()];
        head.write(label, &mut frame);
        frame
    }

    /// What an LNS makes of a packet from the core: the same as a subscriber's, with the other IDs.
    fn tunnelled(flow: &Flow, label: Label, bytes: u16) -> Vec<u8> {
        let head = Head::new(flow, CORE, Form::Downstream, bytes, LINK);
        let inner = frame(&head, label)[14..].to_vec();
        let header = DataHeader::new(flow.from_lns.tunnel, flow.from_lns.session);
        let data = [header.as_bytes(), &[0xff, 3, 0, 0x21], &inner].concat();
        LINK.frame(&datagram(*flow.lns.ip(), *flow.lac.ip(), [1701, 1701], &data))
    }

    /// What an LNS makes of a subscriber's packet.
    fn taken_out(frame: &[u8]) -> Vec<u8> {
        LINK.frame(&frame[14 + 28 + 6 + 4..])
    }

    #[test]
    fn the_smallest_packet_fills_the_smallest_frame() {
        assert_eq!(INNER_BYTES_MIN, 46);
        let head = Head::new(&flows()[0], CORE, Form::Downstream, 1, LINK);
        assert_eq!((head.frame_bytes(), head.inner_bytes()), (60, 46));
    }

    #[test]
    fn packets_of_every_size_cross_and_are_read() {
        let flows = flows();
        for bytes in SIZES {
            for (number, flow) in (0..).zip(&flows) {
                let good = Seen::Good { label: label(number, 9), inner_bytes: bytes };
                let head = Head::new(flow, CORE, Form::Upstream, bytes, LINK);
                let up = frame(&head, label(number, 9));
                assert_eq!(up.len(), 14 + 28 + 6 + 4 + usize::from(bytes));
                assert_eq!(read(&taken_out(&up), Side::Core, &flows, CORE), good);
                let head = Head::new(flow, CORE, Form::Bare, bytes, LINK);
                assert_eq!(frame(&head, label(number, 9)), taken_out(&up));
                let down = tunnelled(flow, label(number, 9), bytes);
                assert_eq!(read(&down, Side::Access, &flows, CORE), good);
            }
        }
    }

    #[test]
    fn both_checksums_are_right_whatever_is_carried() {
        let flow = flows()[1];
        for bytes in SIZES {
            let head = Head::new(&flow, CORE, Form::Upstream, bytes, LINK);
            for sequence in [0, 1, 77, 0xffff, u32::MAX] {
                let frame = frame(&head, label(1, sequence));
                let (outer, lengths) = ipv4::parse(&frame[14..]).unwrap();
                let segment = &frame[14 + lengths.header..];
                let sum = |source, destination, segment: &[u8]| {
                    pseudo_ipv4(source, destination, udp::PROTOCOL, segment.len() as u16)
                        .octets(segment)
                };
                assert!(sum(outer.source, outer.destination, segment).is_correct());
                let (inner, lengths) = ipv4::parse(&frame[52..]).unwrap();
                let segment = &frame[52 + lengths.header..];
                assert!(sum(inner.source, inner.destination, segment).is_correct());
                let (udp, _) = udp::parse(segment).unwrap();
                assert_ne!(udp.checksum.get(), 0);
            }
        }
    }

    #[test]
    fn no_flipped_bit_passes_for_good() {
        let flows = flows();
        for bytes in [INNER_BYTES_MIN, 100] {
            let good = tunnelled(&flows[2], label(2, 5), bytes);
            // From the outer IPv4 header on; what the outer UDP header says beyond its length, and bits
            // that L2TP reserves, are the LNS's to fill.
            for bit in (14 + 28) * 8..good.len() * 8 {
                let mut spoilt = good.clone();
                spoilt[bit / 8] ^= 0x80 >> (bit % 8);
                let seen = read(&spoilt, Side::Access, &flows, CORE);
                let is_flags = bit < (14 + 28 + 2) * 8;
                assert!(is_flags || !matches!(seen, Seen::Good { .. }), "bit {bit}: {seen:?}");
            }
        }
    }

    #[test]
    fn another_session_s_packet_is_misdelivered() {
        let flows = flows();
        let mut other = flows.clone();
        other[0].from_lns = flows[1].from_lns;
        let down = tunnelled(&other[0], label(0, 1), 46);
        assert_eq!(read(&down, Side::Access, &flows, CORE), Seen::Misdelivered);
        let down = tunnelled(&flows[0], label(1, 1), 46);
        assert_eq!(read(&down, Side::Access, &flows, CORE), Seen::Misdelivered);
        let down = tunnelled(&flows[0], label(77, 1), 46);
        assert_eq!(read(&down, Side::Access, &flows, CORE), Seen::Misdelivered);
        let head = Head::new(&flows[3], CORE, Form::Upstream, 46, LINK);
        let up = taken_out(&frame(&head, label(2, 1)));
        assert_eq!(read(&up, Side::Core, &flows, CORE), Seen::Misdelivered);
    }

    #[test]
    fn what_is_no_test_packet_is_something_else() {
        let flows = flows();
        let other = |packet: &[u8]| read(&LINK.frame(packet), Side::Core, &flows, CORE);
        let flow = &flows[0];
        let zlb = crate::calls::emulator::wire::zlb(7, 1, 1);
        let zlb = datagram(*flow.lns.ip(), *flow.lac.ip(), [1701, 1701], &zlb);
        assert_eq!(read(&LINK.frame(&zlb), Side::Access, &flows, CORE), Seen::Other);
        let mdns = datagram(CORE, CORE, [5353, 5353], &[0; 30]);
        assert_eq!(other(&mdns), Seen::Other);
        assert_eq!(read(&[0; 13], Side::Core, &flows, CORE), Seen::Other);
        assert_eq!(read(&[0; 60], Side::Access, &flows, CORE), Seen::Other);
        let short = datagram(flows[0].subscriber, CORE, [SUBSCRIBER_PORT, CORE_PORT], &[0; 5]);
        assert_eq!(other(&short), Seen::Corrupt);
    }
}
