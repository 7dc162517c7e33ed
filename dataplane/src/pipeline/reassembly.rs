//! Tunnel packets that come in fragments (RFC 791 section 3.2, RFC 8200 section 4.5).
//!
//! The octets of a fragment are copied into one of a fixed number of places, and its frame is free
//! again; the frame of the fragment that completes a datagram becomes the datagram. All is bounded:
//! places, octets and parts of each, time, and the places that one sender may have. Fragments that
//! overlap are an attack or a mistake: the whole datagram is dropped (RFC 5722, for IPv4 as well).

use zerocopy::FromBytes;
use zerocopy::network_endian::U16;

use super::congestion;
use crate::frame::FRAME_BYTES_MAX;
use crate::verdict::DropReason;
use crate::wire::checksum::Sum;
use crate::wire::{ethernet, ipv4, ipv6, udp};

/// Datagrams that one worker puts together at a time: half a megabyte. A LAC whose every large packet
/// comes in two pieces, which arrive one behind the other, needs one.
const PLACES: usize = 256;

/// Places that one sender may have; beyond, its own oldest goes.
const PLACES_OF_ONE_MAX: usize = PLACES / 4;

/// The longest payload of a datagram, octets: with its headers it must fit a frame.
const PAYLOAD_BYTES_MAX: usize =
    (FRAME_BYTES_MAX - ethernet::HEADER_BYTES - ipv6::HEADER_BYTES) / UNIT_BYTES * UNIT_BYTES;

/// The most fragments of a datagram. A path of 1280 octets makes two of the longest one; more than
/// these are meant to cost us time.
const PARTS_MAX: usize = 8;

/// How long a datagram may take, nanoseconds: far longer than a network keeps pieces apart, and short
/// enough that identifications of 16 bits do not come round (RFC 4963).
const AGE_NANOSECONDS_MAX: u64 = 500_000_000;

const UNIT_BYTES: usize = 8;

/// What fragments of a datagram have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    /// Source and destination, zeroes behind those of IPv4.
    addresses: [u8; 32],
    identification: u32,
    is_ipv4: bool,
}

impl Key {
    /// What the key is looked for by; never 0.
    fn tag(self) -> u32 {
        let (words, _) = self.addresses.as_chunks::<4>();
        let mix = |tag: u32, word: u32| (tag ^ word).wrapping_mul(0x9e37_79b1).rotate_left(13);
        let tag =
            words.iter().fold(self.identification, |tag, word| mix(tag, u32::from_ne_bytes(*word)));
        mix(tag, self.is_ipv4.into()) | 1
    }
}

/// A fragment, its lengths proven.
#[derive(Debug, Clone, Copy)]
struct Fragment<'a> {
    key: Key,
    /// Where its payload begins in the datagram's.
    offset: usize,
    is_last: bool,
    payload: &'a [u8],
    /// The IP header.
    header: &'a [u8],
}

/// Whether an IP packet, whose lengths are proven, is a fragment of a UDP datagram.
pub(super) fn is_fragment(packet: &[u8], is_ipv4: bool) -> bool {
    if is_ipv4 {
        let header = ipv4::Header::ref_from_prefix(packet);
        header.is_ok_and(|(header, _)| header.protocol == udp::PROTOCOL && header.is_fragment())
    } else {
        ipv6_fragment(packet).is_some_and(|(fragment, _)| fragment.next_header == udp::PROTOCOL)
    }
}

/// The fragment header that follows the fixed one at once, and what follows it.
fn ipv6_fragment(packet: &[u8]) -> Option<(&ipv6::Fragment, &[u8])> {
    let (header, rest) = ipv6::Header::ref_from_prefix(packet).ok()?;
    (header.next_header == ipv6::FRAGMENT).then(|| ipv6::Fragment::ref_from_prefix(rest).ok())?
}

impl<'a> Fragment<'a> {
    /// Reads it. `None` where it cannot be part of a datagram.
    fn parse(packet: &'a [u8], is_ipv4: bool) -> Option<Self> {
        let (key, offset, more, payload) = if is_ipv4 {
            let (header, lengths) = ipv4::parse(packet).ok()?;
            let word = header.fragment.get();
            let key = key(&header.source, &header.destination, header.identification.get().into());
            let offset = usize::from(word & ipv4::OFFSET_MASK) * UNIT_BYTES;
            let payload = packet.get(lengths.header..lengths.total)?;
            (key, offset, word & ipv4::MORE_FRAGMENTS != 0, payload)
        } else {
            let (header, length) = ipv6::parse(packet)?;
            let (fragment, payload) = ipv6_fragment(packet.get(..length)?)?;
            let key = key(&header.source, &header.destination, fragment.identification.get());
            let word = fragment.offset.get();
            // Units of 8 octets, above three bits: octets.
            (key, usize::from(word & !7), word & ipv6::MORE_FRAGMENTS != 0, payload)
        };
        let key = Key { is_ipv4, ..key };
        let header = packet.get(..if is_ipv4 { ipv4::HEADER_BYTES } else { ipv6::HEADER_BYTES })?;
        let is_whole = !payload.is_empty() && (!more || payload.len() % UNIT_BYTES == 0);
        is_whole.then_some(Self { key, offset, is_last: !more, payload, header })
    }

    fn end(&self) -> usize {
        self.offset + self.payload.len()
    }
}

fn key(source: &[u8], destination: &[u8], identification: u32) -> Key {
    let mut addresses = [0; 32];
    let both = source.iter().chain(destination);
    addresses.iter_mut().zip(both).for_each(|(place, octet)| *place = *octet);
    Key { addresses, identification, is_ipv4: false }
}

/// What became of a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It waits for others.
    Held,
    /// It was the missing one: the place of the datagram, for [`Reassembly::take`].
    Whole(usize),
    /// It is dropped.
    Refused(DropReason),
}

/// Fragments put together.
#[derive(Debug)]
pub(super) struct Datagram<'a> {
    /// With an Ethernet header in front.
    pub(super) frame: &'a [u8],
    /// How many fragments waited for the last one.
    pub(super) waited: u64,
    /// How many fragments of other datagrams wait.
    pub(super) waiting: u64,
    /// Whether its checksum says that they belong together: identifications come round (RFC 4963).
    pub(super) is_right: bool,
}

/// Octets in front of a payload: the longest headers.
const FRONT_BYTES: usize = ethernet::HEADER_BYTES + ipv6::HEADER_BYTES;

/// A datagram under way.
#[derive(Debug)]
struct Place {
    key: Key,
    begun: u64,
    /// Where fragments begin and end, in order; the first `count`.
    parts: [(u16, u16); PARTS_MAX],
    count: usize,
    /// Octets of the payload, once the last fragment is there.
    total: Option<usize>,
    /// The fixed header of the fragment that came first.
    header: [u8; ipv6::HEADER_BYTES],
    /// Whether a fragment was marked for congestion (RFC 3168 section 5.3).
    is_marked: bool,
}

/// The datagrams under way of one worker.
#[derive(Debug)]
pub(super) struct Reassembly {
    /// By place: 0, or the key's tag.
    tags: [u32; PLACES],
    places: Vec<Option<Place>>,
    /// [`FRONT_BYTES`] and [`PAYLOAD_BYTES_MAX`] a place.
    octets: Vec<u8>,
    /// Fragments that wait.
    held: u64,
    /// Since when the oldest may be too old.
    swept: u64,
}

const PLACE_BYTES: usize = FRONT_BYTES + PAYLOAD_BYTES_MAX;

impl Reassembly {
    pub(super) fn new() -> Self {
        Self {
            tags: [0; PLACES],
            places: (0..PLACES).map(|_| None).collect(),
            // Zeroed pages: memory once they are used.
            octets: vec![0; PLACES * PLACE_BYTES],
            held: 0,
            swept: 0,
        }
    }

    /// Fragments that wait for the rest of their datagram.
    pub(super) fn held(&self) -> u64 {
        self.held
    }

    /// Takes a fragment, a packet whose lengths are proven. `lost` is told of fragments that waited and
    /// are dropped: why and how many.
    pub(super) fn handle(
        &mut self,
        packet: &[u8],
        is_ipv4: bool,
        now: u64,
        mut lost: impl FnMut(DropReason, u64),
    ) -> Outcome {
        self.sweep(now, &mut lost);
        let Some(fragment) = Fragment::parse(packet, is_ipv4) else {
            return Outcome::Refused(DropReason::FragmentMalformed);
        };
        if fragment.end() > PAYLOAD_BYTES_MAX {
            return Outcome::Refused(DropReason::FragmentTooLong);
        }
        let index = match self.find(fragment.key) {
            Some(index) => index,
            None => self.begin(&fragment, now, &mut lost),
        };
        match self.add(index, &fragment) {
            Ok(()) => {}
            Err(DropReason::FragmentDuplicate) => {
                return Outcome::Refused(DropReason::FragmentDuplicate);
            }
            Err(reason) => {
                // RFC 5722 section 4: those that came before go, too.
                lost(reason, self.end(index));
                return Outcome::Refused(reason);
            }
        }
        let is_whole = self.places.get(index).and_then(Option::as_ref).is_some_and(Place::is_whole);
        if is_whole {
            return Outcome::Whole(index);
        }
        Outcome::Held
    }

    /// Frees a place whose datagram is whole: that one as a frame with these MAC addresses. The octets
    /// stay as they are until the next fragment.
    pub(super) fn take(&mut self, index: usize, macs: [u8; 12]) -> Option<Datagram<'_>> {
        let place = self.places.get(index)?.as_ref()?;
        let (key, total) = (place.key, place.total?);
        let (mut header, is_marked) = (place.header, place.is_marked);
        // The last one did not wait.
        let waited = self.end(index) - 1;
        let waiting = self.held;
        let length = if key.is_ipv4 {
            write_ipv4(&mut header, total, is_marked)?;
            ipv4::HEADER_BYTES
        } else {
            write_ipv6(&mut header, total, is_marked)?;
            ipv6::HEADER_BYTES
        };
        let octets = self.octets.get_mut(index * PLACE_BYTES..)?;
        let start = FRONT_BYTES - length - ethernet::HEADER_BYTES;
        let frame = octets.get_mut(start..FRONT_BYTES + total)?;
        let ethertype = if key.is_ipv4 { ethernet::IPV4 } else { ethernet::IPV6 };
        frame.get_mut(..12)?.copy_from_slice(&macs);
        frame.get_mut(12..14)?.copy_from_slice(&ethertype.to_be_bytes());
        frame.get_mut(14..14 + length)?.copy_from_slice(header.get(..length)?);
        let is_right = is_checksum_right(key, frame.get(14 + length..)?);
        Some(Datagram { frame, waited, waiting, is_right })
    }

    fn find(&self, key: Key) -> Option<usize> {
        let tag = key.tag();
        let is_it = |index: &usize| {
            self.tags[*index] == tag
                && self.places[*index].as_ref().is_some_and(|place| place.key == key)
        };
        (0..PLACES).find(is_it)
    }

    /// A place for a new datagram: a free one, the sender's oldest if it has its share, or the oldest.
    fn begin(
        &mut self,
        fragment: &Fragment<'_>,
        now: u64,
        lost: &mut impl FnMut(DropReason, u64),
    ) -> usize {
        let sender = fragment.key.addresses.first_chunk::<16>();
        let is_its = |place: &Place| place.key.addresses.first_chunk::<16>() == sender;
        let of_sender = self.places.iter().flatten().filter(|place| is_its(place)).count();
        let oldest = |of: &dyn Fn(&Place) -> bool| {
            let places = self.places.iter().enumerate();
            let candidates = places.filter_map(|(index, place)| Some((index, place.as_ref()?)));
            let candidates = candidates.filter(|(_, place)| of(place));
            candidates.min_by_key(|(_, place)| place.begun).map(|(index, _)| index)
        };
        let taken = if of_sender >= PLACES_OF_ONE_MAX {
            oldest(&is_its)
        } else {
            self.tags.iter().position(|tag| *tag == 0)
        };
        let index = taken.or_else(|| oldest(&|_| true)).unwrap_or(0);
        if self.tags[index] != 0 {
            lost(DropReason::FragmentDisplaced, self.end(index));
        }
        let mut header = [0; ipv6::HEADER_BYTES];
        header[..fragment.header.len()].copy_from_slice(fragment.header);
        self.tags[index] = fragment.key.tag();
        self.places[index] = Some(Place {
            key: fragment.key,
            begun: now,
            parts: [(0, 0); PARTS_MAX],
            count: 0,
            total: None,
            header,
            is_marked: false,
        });
        index
    }

    /// Frees a place. How many fragments waited there.
    fn end(&mut self, index: usize) -> u64 {
        self.tags[index] = 0;
        let waited = self.places[index].take().map_or(0, |place| place.count as u64);
        self.held -= waited;
        waited
    }

    /// Adds a fragment to its datagram.
    fn add(&mut self, index: usize, fragment: &Fragment<'_>) -> Result<(), DropReason> {
        let place = self.places[index].as_mut().ok_or(DropReason::FragmentMalformed)?;
        place.insert(fragment)?;
        let start = index * PLACE_BYTES + FRONT_BYTES + fragment.offset;
        let place = self.octets.get_mut(start..start + fragment.payload.len());
        place.ok_or(DropReason::FragmentTooLong)?.copy_from_slice(fragment.payload);
        self.held += 1;
        Ok(())
    }

    /// Drops what has waited too long.
    fn sweep(&mut self, now: u64, lost: &mut impl FnMut(DropReason, u64)) {
        // Often enough that nothing waits much longer than it may, and no work beside that.
        if self.held == 0 || now < self.swept + AGE_NANOSECONDS_MAX / 8 {
            return;
        }
        self.swept = now;
        for index in 0..PLACES {
            let place = self.places[index].as_ref();
            if place.is_some_and(|place| now > place.begun + AGE_NANOSECONDS_MAX) {
                lost(DropReason::FragmentTimeout, self.end(index));
            }
        }
    }
}

impl Place {
    fn insert(&mut self, fragment: &Fragment<'_>) -> Result<(), DropReason> {
        let part = (fragment.offset as u16, fragment.end() as u16);
        let parts = &self.parts[..self.count];
        if parts.contains(&part) && fragment.is_last == (self.total == Some(fragment.end())) {
            return Err(DropReason::FragmentDuplicate);
        }
        let at = parts.partition_point(|other| *other < part);
        let before = at.checked_sub(1).and_then(|before| parts.get(before));
        let overlaps = before.is_some_and(|before| before.1 > part.0)
            || parts.get(at).is_some_and(|after| after.0 < part.1);
        let end = parts.last().map_or(0, |last| usize::from(last.1));
        let disagrees = match (fragment.is_last, self.total) {
            // Two ends, or something behind the end.
            (true, Some(_)) => true,
            (true, None) => end > fragment.end(),
            (false, Some(total)) => fragment.end() >= total,
            (false, None) => false,
        };
        if overlaps || disagrees {
            return Err(DropReason::FragmentOverlap);
        }
        if self.count == PARTS_MAX {
            return Err(DropReason::FragmentMalformed);
        }
        self.parts.copy_within(at..self.count, at + 1);
        self.parts[at] = part;
        self.count += 1;
        if fragment.is_last {
            self.total = Some(fragment.end());
        }
        if fragment.offset == 0 {
            self.header[..fragment.header.len()].copy_from_slice(fragment.header);
        }
        let class = congestion::traffic_class(fragment.header, fragment.key.is_ipv4);
        self.is_marked |= class & congestion::MASK == congestion::MASK;
        Ok(())
    }

    /// Whether nothing is missing. Parts do not overlap, so that their lengths tell.
    fn is_whole(&self) -> bool {
        let parts = self.parts[..self.count].iter();
        let length: usize = parts.map(|(start, end)| usize::from(end - start)).sum();
        self.total == Some(length)
    }
}

/// Whether a UDP datagram has a right checksum, or none over IPv4.
fn is_checksum_right(key: Key, datagram: &[u8]) -> bool {
    let Some((header, _)) = udp::parse(datagram) else { return false };
    let (length, checksum) = (header.length.get(), header.checksum.get());
    // Zeroes behind the addresses of IPv4 add nothing.
    let sum = Sum::default()
        .octets(&key.addresses)
        .number(udp::PROTOCOL.into())
        .number(length)
        .octets(datagram.get(..length.into()).unwrap_or_default());
    if checksum == 0 { key.is_ipv4 } else { sum.is_correct() }
}

fn write_ipv4(header: &mut [u8], payload: usize, is_marked: bool) -> Option<()> {
    let (header, _) = ipv4::Header::mut_from_prefix(header).ok()?;
    // Options have done their work, and were those of one fragment.
    header.version_ihl = ipv4::VERSION_IHL;
    header.traffic_class |= if is_marked { congestion::MASK } else { 0 };
    header.total_length = U16::new((ipv4::HEADER_BYTES + payload) as u16);
    header.fragment = U16::ZERO;
    header.checksum = U16::ZERO;
    header.checksum = Sum::default().octets(zerocopy::IntoBytes::as_bytes(header)).checksum();
    Some(())
}

fn write_ipv6(header: &mut [u8], payload: usize, is_marked: bool) -> Option<()> {
    let (header, _) = ipv6::Header::mut_from_prefix(header).ok()?;
    header.payload_length = U16::new(payload as u16);
    header.next_header = udp::PROTOCOL;
    let mark = if is_marked { u32::from(congestion::MASK) << 20 } else { 0 };
    header.version_class_flow = (header.version_class_flow.get() | mark).into();
    Some(())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An IPv4 fragment: offset and length of the payload in octets.
    fn ipv4(id: u8, offset: usize, more: bool, payload: &[u8]) -> Vec<u8> {
        let word = (offset / 8) as u16 | if more { 0x2000 } else { 0 };
        let mut octets = vec![0x45, 0, 0, 0, 0, id];
        octets[2..4].copy_from_slice(&(20 + payload.len() as u16).to_be_bytes());
        octets.extend(word.to_be_bytes());
        octets.extend([64, 17, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        let sum = Sum::default().octets(&octets).checksum();
        octets[10..12].copy_from_slice(&sum.to_bytes());
        octets.extend(payload);
        octets
    }

    fn ipv6(id: u8, offset: usize, more: bool, payload: &[u8]) -> Vec<u8> {
        let mut octets = vec![0x60, 0, 0, 0, 0, 0, 44, 64];
        octets[4..6].copy_from_slice(&(8 + payload.len() as u16).to_be_bytes());
        octets.extend([7; 32]);
        octets.extend([17, 0]);
        octets.extend((offset as u16 | u16::from(more)).to_be_bytes());
        octets.extend([0, 0, 0, id]);
        octets.extend(payload);
        octets
    }

    struct Bench {
        reassembly: Reassembly,
        now: u64,
        lost: Vec<(DropReason, u64)>,
    }

    impl Bench {
        fn new() -> Self {
            Self { reassembly: Reassembly::new(), now: 1_000_000_000, lost: Vec::new() }
        }

        fn handle(&mut self, packet: &[u8]) -> Outcome {
            let lost = &mut self.lost;
            self.reassembly.handle(packet, packet[0] >> 4 == 4, self.now, |reason, count| {
                lost.push((reason, count));
            })
        }

        /// The payload of a datagram, and how many fragments waited for it.
        fn payload(&mut self, index: usize) -> (Vec<u8>, u64) {
            let Datagram { frame, waited, .. } = self.reassembly.take(index, [9; 12]).unwrap();
            let packet = &frame[14..];
            let payload = if packet[0] >> 4 == 4 {
                let (header, lengths) = ipv4::parse(packet).unwrap();
                assert!(!header.is_fragment() && lengths.total == packet.len());
                packet[20..].to_vec()
            } else {
                let (header, length) = ipv6::parse(packet).unwrap();
                assert_eq!((header.next_header, length), (17, packet.len()));
                packet[40..].to_vec()
            };
            (payload, waited)
        }
    }

    const REFUSED: fn(DropReason) -> Outcome = Outcome::Refused;

    #[test]
    fn in_order_and_the_other_way_round() {
        for make in [ipv4, ipv6] {
            for reverse in [false, true] {
                let mut bench = Bench::new();
                let mut pieces = [
                    make(1, 0, true, &[1; 16]),
                    make(1, 16, true, &[2; 8]),
                    make(1, 24, false, &[3; 5]),
                ];
                if reverse {
                    pieces.reverse();
                }
                assert_eq!(bench.handle(&pieces[0]), Outcome::Held);
                assert_eq!(bench.handle(&pieces[1]), Outcome::Held);
                assert_eq!(bench.reassembly.held(), 2);
                let Outcome::Whole(index) = bench.handle(&pieces[2]) else { panic!() };
                let expected = [&[1; 16][..], &[2; 8], &[3; 5]].concat();
                assert_eq!(bench.payload(index), (expected, 2));
                assert_eq!((bench.reassembly.held(), bench.lost.len()), (0, 0));
            }
        }
    }

    #[test]
    fn the_same_twice_is_dropped_alone() {
        let mut bench = Bench::new();
        let first = ipv4(1, 0, true, &[1; 16]);
        assert_eq!(bench.handle(&first), Outcome::Held);
        assert_eq!(bench.handle(&first), REFUSED(DropReason::FragmentDuplicate));
        assert!(matches!(bench.handle(&ipv4(1, 16, false, &[2])), Outcome::Whole(_)));
        assert_eq!(bench.lost, []);
    }

    #[test]
    fn overlapping_ones_end_the_datagram() {
        // By an octet in front, behind, inside, around; beyond the end; a second end.
        let base = |bench: &mut Bench| {
            assert_eq!(bench.handle(&ipv4(1, 16, true, &[1; 16])), Outcome::Held);
        };
        for (offset, more, length) in
            [(8, true, 16), (24, true, 16), (24, true, 8), (8, true, 32), (8, false, 2)]
        {
            let mut bench = Bench::new();
            base(&mut bench);
            let refused = bench.handle(&ipv4(1, offset, more, &vec![2; length]));
            assert_eq!(refused, REFUSED(DropReason::FragmentOverlap), "{offset} {length}");
            assert_eq!(bench.lost, [(DropReason::FragmentOverlap, 1)]);
            assert_eq!(bench.reassembly.held(), 0);
        }
        for (offset, more) in [(48, true), (48, false), (32, true)] {
            let mut bench = Bench::new();
            base(&mut bench);
            assert_eq!(bench.handle(&ipv4(1, 32, false, &[1; 8])), Outcome::Held);
            let refused = bench.handle(&ipv4(1, offset, more, &[2; 8]));
            assert_eq!(refused, REFUSED(DropReason::FragmentOverlap), "{offset}");
            assert_eq!(bench.lost, [(DropReason::FragmentOverlap, 2)]);
        }
    }

    #[test]
    fn what_cannot_be_a_part() {
        let mut bench = Bench::new();
        let malformed = REFUSED(DropReason::FragmentMalformed);
        assert_eq!(bench.handle(&ipv4(1, 0, true, &[1; 15])), malformed);
        assert_eq!(bench.handle(&ipv4(1, 8, false, &[])), malformed);
        assert_eq!(bench.handle(&ipv6(1, 0, true, &[1; 9])), malformed);
        let most = PAYLOAD_BYTES_MAX;
        let long = REFUSED(DropReason::FragmentTooLong);
        assert_eq!(bench.handle(&ipv4(1, most - 8, false, &[1; 9])), long);
        assert_eq!(bench.handle(&ipv4(1, most, false, &[1])), long);
        assert_eq!(bench.handle(&ipv4(1, 0x1fff * 8, false, &[1])), long);
        assert_eq!(bench.handle(&ipv4(1, most - 8, false, &[1; 8])), Outcome::Held);
        // Small ones: eight, and the ninth ends it.
        for part in 0..PARTS_MAX {
            assert_eq!(bench.handle(&ipv4(2, part * 8, true, &[1; 8])), Outcome::Held);
        }
        assert_eq!(bench.handle(&ipv4(2, PARTS_MAX * 8, true, &[1; 8])), malformed);
        assert_eq!(bench.lost, [(DropReason::FragmentMalformed, PARTS_MAX as u64)]);
    }

    #[test]
    fn what_never_completes_goes_after_a_while() {
        let mut bench = Bench::new();
        assert_eq!(bench.handle(&ipv4(1, 0, true, &[1; 8])), Outcome::Held);
        bench.now += AGE_NANOSECONDS_MAX;
        assert_eq!(bench.handle(&ipv6(1, 0, true, &[1; 8])), Outcome::Held);
        assert_eq!(bench.lost, []);
        bench.now += AGE_NANOSECONDS_MAX / 8;
        assert_eq!(bench.handle(&ipv4(1, 8, false, &[1; 8])), Outcome::Held);
        assert_eq!(bench.lost, [(DropReason::FragmentTimeout, 1)]);
        assert_eq!(bench.reassembly.held(), 2);
    }

    #[test]
    fn a_sender_displaces_its_own_first() {
        let mut bench = Bench::new();
        let other = ipv6(1, 0, true, &[1; 8]);
        assert_eq!(bench.handle(&other), Outcome::Held);
        for id in 0..=PLACES_OF_ONE_MAX as u8 {
            bench.now += 1;
            assert_eq!(bench.handle(&ipv4(id, 0, true, &[1; 8])), Outcome::Held);
        }
        assert_eq!(bench.lost, [(DropReason::FragmentDisplaced, 1)]);
        // Its oldest; the other's is there.
        assert!(matches!(bench.handle(&ipv6(1, 8, false, &[1; 8])), Outcome::Whole(_)));
        assert!(matches!(bench.handle(&ipv4(1, 8, false, &[1; 8])), Outcome::Whole(_)));
    }

    #[test]
    fn a_mark_on_any_fragment_is_one_on_the_datagram() {
        let mut bench = Bench::new();
        let mut second = ipv6(1, 8, false, &[1; 8]);
        second[1] = 0x30;
        assert_eq!(bench.handle(&second), Outcome::Held);
        let Outcome::Whole(index) = bench.handle(&ipv6(1, 0, true, &[1; 8])) else { panic!() };
        let Datagram { frame, .. } = bench.reassembly.take(index, [0; 12]).unwrap();
        assert_eq!(congestion::traffic_class(&frame[14..], false) & 3, 3);
    }

    proptest! {
        #[test]
        fn cut_anywhere_in_any_order_it_is_the_datagram_again(
            payload in prop::collection::vec(any::<u8>(), 9..=PAYLOAD_BYTES_MAX),
            cuts in prop::collection::btree_set(1usize..200, 1..PARTS_MAX),
            order in any::<u64>(), over_ipv6: bool,
        ) {
            let inner = cuts.iter().map(|cut| cut * 8).filter(|cut| *cut < payload.len());
            let ends: Vec<usize> =
                [0].into_iter().chain(inner).chain([payload.len()]).collect();
            prop_assume!(ends.len() > 2);
            let make = if over_ipv6 { ipv6 } else { ipv4 };
            let mut pieces: Vec<_> = ends
                .windows(2)
                .map(|ends| {
                    let more = ends[1] < payload.len();
                    make(1, ends[0], more, &payload[ends[0]..ends[1]])
                })
                .collect();
            // Some order, by the number.
            let mut order = order;
            for index in (1..pieces.len()).rev() {
                order = order.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                pieces.swap(index, (order >> 33) as usize % (index + 1));
            }
            let mut bench = Bench::new();
            let last = pieces.pop().unwrap();
            for piece in &pieces {
                prop_assert_eq!(bench.handle(piece), Outcome::Held);
            }
            let Outcome::Whole(index) = bench.handle(&last) else { panic!("not whole") };
            prop_assert_eq!(bench.payload(index), (payload, pieces.len() as u64));
            prop_assert_eq!(bench.reassembly.held(), 0);
        }

        #[test]
        fn nonsense_loses_no_fragment_and_counts_each(
            pieces in prop::collection::vec(
                (0u8..4, 0usize..12, any::<bool>(), 0usize..40, any::<bool>(), 0u64..200_000_000),
                1..200)
        ) {
            let mut bench = Bench::new();
            let (mut refused, mut joined) = (0, 0);
            for (id, offset, more, length, over_ipv6, wait) in &pieces {
                bench.now += wait;
                let make = if *over_ipv6 { ipv6 } else { ipv4 };
                match bench.handle(&make(*id, offset * 8, *more, &vec![1; *length])) {
                    Outcome::Held => {}
                    Outcome::Refused(_) => refused += 1,
                    Outcome::Whole(index) => joined += bench.payload(index).1 + 1,
                }
            }
            let lost: u64 = bench.lost.iter().map(|(_, count)| count).sum();
            let held = bench.reassembly.held();
            prop_assert_eq!(pieces.len() as u64, refused + joined + lost + held);
        }

        #[test]
        fn no_octets_panic(octets: Vec<u8>, is_ipv4: bool) {
            is_fragment(&octets, is_ipv4);
            Reassembly::new().handle(&octets, is_ipv4, 0, |_, _| {});
        }
    }
}
