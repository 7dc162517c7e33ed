//! Packets in pieces: IPv4 as any router may (RFC 791 section 3.2), outer IPv6 at its source (RFC 8200
//! section 4.5).
//!
//! The frame becomes the first piece, frames of the reserve become the others. Nothing is done where
//! one of them is missing.

use std::ops::Range;

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, IntoBytes};

use super::NO_ROOM;
use crate::frame::Frame;
use crate::verdict::DropReason;
use crate::wire::checksum::Sum;
use crate::wire::{ipv4, ipv6, udp};

/// Fragment offsets count in these.
const UNIT_BYTES: usize = 8;

/// The largest IP packet: no fragment ends beyond.
const PACKET_BYTES_MAX: usize = 65_535;

/// IPv4 options: bit 7 says that every fragment has it (RFC 791 section 3.1).
const OPTION_COPIED: u8 = 0x80;
const OPTION_END: u8 = 0;
const OPTION_NO_OPERATION: u8 = 1;

/// A payload of `total` octets in parts of so many; the last one may have any length up to `last`.
fn parts(
    total: usize,
    first: usize,
    other: usize,
    last: usize,
) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let most = match total - start {
            _ if start == 0 => first,
            rest if rest <= last => rest,
            _ => other,
        };
        let part = start..total.min(start + most);
        start = part.end;
        (!part.is_empty()).then_some(part)
    })
}

/// The most octets of payload in a fragment that is not the last one.
fn payload_max(limit: usize, header: usize) -> usize {
    limit.saturating_sub(header) / UNIT_BYTES * UNIT_BYTES
}

/// Cuts the IPv4 packet that the frame is into pieces of at most `limit` octets: the frame, and those
/// that are put into `pieces`. The packet may be a fragment itself, and may have options; it has no
/// Don't Fragment.
pub(super) fn ipv4(
    frame: &mut Frame,
    limit: usize,
    reserve: &mut Vec<Frame>,
    pieces: &mut Vec<Frame>,
) -> Result<(), DropReason> {
    let octets = frame.octets();
    let (header, lengths) = ipv4::parse(octets).map_err(|_| NO_ROOM)?;
    let word = header.fragment.get();
    let offset = usize::from(word & ipv4::OFFSET_MASK) * UNIT_BYTES;
    let payload = octets.get(lengths.header..lengths.total).ok_or(NO_ROOM)?;
    if offset + payload.len() + lengths.header > PACKET_BYTES_MAX {
        return Err(DropReason::Ipv4Malformed);
    }
    let front = octets.get(..lengths.header).ok_or(NO_ROOM)?;
    let (first, other) = (Front::whole(front), Front::copied(front));
    let most = payload_max(limit, first.length);
    let most_other = payload_max(limit, other.length);
    if most == 0 || most_other == 0 {
        return Err(DropReason::TooBig);
    }
    let place = |part: &Range<usize>| {
        let more = part.end < payload.len() || word & ipv4::MORE_FRAGMENTS != 0;
        let more = if more { ipv4::MORE_FRAGMENTS } else { 0 };
        // What remains of the word: the reserved bit.
        let rest = word & !(ipv4::OFFSET_MASK | ipv4::MORE_FRAGMENTS);
        rest | more | ((offset + part.start) / UNIT_BYTES) as u16
    };
    let parts = || parts(payload.len(), most, most_other, limit - other.length);
    if parts().count() > reserve.len() + 1 {
        return Err(DropReason::NoFrame);
    }
    for part in parts().skip(1) {
        let mut piece = reserve.pop().ok_or(DropReason::NoFrame)?;
        let header = other.sealed(place(&part), part.len());
        let written = fill(&mut piece, frame, &header, &payload[part]);
        pieces.push(piece);
        written?;
    }
    let header = first.sealed(place(&(0..most)), most);
    if !frame.set_len(header.len() + most) {
        return Err(NO_ROOM);
    }
    frame.octets_mut()[..header.len()].copy_from_slice(&header);
    Ok(())
}

/// The header of a fragment.
#[derive(Clone, Copy)]
struct Front {
    octets: [u8; ipv4::HEADER_BYTES_MAX],
    length: usize,
}

impl Front {
    fn whole(header: &[u8]) -> Self {
        let mut octets = [0; ipv4::HEADER_BYTES_MAX];
        let length = header.len().min(octets.len());
        octets[..length].copy_from_slice(&header[..length]);
        Self { octets, length }
    }

    /// With the options that each fragment has; those of a list that makes no sense end there.
    fn copied(header: &[u8]) -> Self {
        let (fixed, mut options) = header.split_at(ipv4::HEADER_BYTES.min(header.len()));
        let mut front = Self::whole(fixed);
        while let [kind, rest @ ..] = options {
            let length = match (*kind, rest) {
                (OPTION_END, _) => break,
                (OPTION_NO_OPERATION, _) => 1,
                (_, [length, ..]) if (2..=options.len()).contains(&usize::from(*length)) => {
                    usize::from(*length)
                }
                _ => break,
            };
            let (option, behind) = options.split_at(length);
            if kind & OPTION_COPIED != 0 {
                front.octets[front.length..front.length + length].copy_from_slice(option);
                front.length += length;
            }
            options = behind;
        }
        // What is zero already ends the list.
        front.length = front.length.next_multiple_of(4);
        front
    }

    /// For this word of flags and offset, and so many octets of payload.
    fn sealed(mut self, word: u16, payload: usize) -> impl std::ops::Deref<Target = [u8]> {
        if let Ok((header, _)) = ipv4::Header::mut_from_prefix(&mut self.octets) {
            header.version_ihl = 4 << 4 | (self.length / 4) as u8;
            header.total_length = U16::new((self.length + payload) as u16);
            header.fragment = U16::new(word);
            header.checksum = U16::ZERO;
        }
        let sum = Sum::default().octets(&self.octets[..self.length]).checksum();
        if let Ok((header, _)) = ipv4::Header::mut_from_prefix(&mut self.octets) {
            header.checksum = sum;
        }
        self
    }
}

impl std::ops::Deref for Front {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.octets[..self.length]
    }
}

/// Writes a piece.
fn fill(piece: &mut Frame, of: &Frame, header: &[u8], payload: &[u8]) -> Result<(), DropReason> {
    piece.reset(of.port(), payload);
    if !piece.push(header.len()) {
        return Err(NO_ROOM);
    }
    piece.octets_mut()[..header.len()].copy_from_slice(header);
    Ok(())
}

/// Octets of the headers of an IPv6 fragment.
const IPV6_FRONT_BYTES: usize = ipv6::HEADER_BYTES + ipv6::FRAGMENT_BYTES;

/// Cuts the UDP packet over IPv6 that the frame is, and that was made here, into pieces of at most
/// `limit` octets.
pub(super) fn ipv6(
    frame: &mut Frame,
    limit: usize,
    identification: u32,
    reserve: &mut Vec<Frame>,
    pieces: &mut Vec<Frame>,
) -> Result<(), DropReason> {
    let octets = frame.octets();
    let (header, payload) = ipv6::Header::ref_from_prefix(octets).map_err(|_| NO_ROOM)?;
    let most = payload_max(limit, IPV6_FRONT_BYTES);
    if most == 0 {
        return Err(DropReason::TooBig);
    }
    let parts = || parts(payload.len(), most, most, limit - IPV6_FRONT_BYTES);
    if parts().count() > reserve.len() + 1 {
        return Err(DropReason::NoFrame);
    }
    let front = |part: &Range<usize>| {
        let more = if part.end < payload.len() { ipv6::MORE_FRAGMENTS } else { 0 };
        let fragment = ipv6::Fragment {
            next_header: udp::PROTOCOL,
            reserved: 0,
            // Units of 8 octets, above three bits: octets.
            offset: U16::new(part.start as u16 | more),
            identification: U32::new(identification),
        };
        let payload_length = U16::new((ipv6::FRAGMENT_BYTES + part.len()) as u16);
        let mut header = ipv6::Header { payload_length, ..*header };
        header.next_header = ipv6::FRAGMENT;
        let mut octets = [0; IPV6_FRONT_BYTES];
        octets[..ipv6::HEADER_BYTES].copy_from_slice(header.as_bytes());
        octets[ipv6::HEADER_BYTES..].copy_from_slice(fragment.as_bytes());
        octets
    };
    for part in parts().skip(1) {
        let mut piece = reserve.pop().ok_or(DropReason::NoFrame)?;
        let written = fill(&mut piece, frame, &front(&part), &payload[part]);
        pieces.push(piece);
        written?;
    }
    let first = front(&(0..most));
    let there = frame.set_len(ipv6::HEADER_BYTES + most) && frame.push(ipv6::FRAGMENT_BYTES);
    if !there {
        return Err(NO_ROOM);
    }
    frame.octets_mut()[..first.len()].copy_from_slice(&first);
    Ok(())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::port::PortId;
    use proptest::prelude::*;

    fn packet(options: &[u8], word: u16, payload: &[u8]) -> Vec<u8> {
        let mut octets =
            vec![0x45, 7, 0, 0, 0x12, 0x34, 0, 0, 9, 253, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        octets.extend(options);
        let header = octets.len();
        octets[0] = 0x40 | (header / 4) as u8;
        octets[2..4].copy_from_slice(&((header + payload.len()) as u16).to_be_bytes());
        octets[6..8].copy_from_slice(&word.to_be_bytes());
        let sum = Sum::default().octets(&octets).checksum();
        octets[10..12].copy_from_slice(sum.as_bytes());
        octets.extend(payload);
        octets
    }

    /// The pieces, first one first.
    fn cut(octets: &[u8], limit: usize, reserve: usize) -> Result<Vec<Vec<u8>>, DropReason> {
        let mut frames = Frame::allocate(reserve + 1);
        let mut frame = frames.pop().unwrap();
        frame.reset(PortId(0), octets);
        let mut pieces = Vec::new();
        ipv4(&mut frame, limit, &mut frames, &mut pieces)?;
        assert_eq!(frames.len() + pieces.len(), reserve);
        pieces.insert(0, frame);
        Ok(pieces.iter().map(|piece| piece.octets().to_vec()).collect())
    }

    /// Puts pieces together by the definition.
    fn whole(pieces: &[Vec<u8>]) -> (Vec<u8>, u16, bool) {
        let mut payload = Vec::new();
        let mut more = true;
        let mut first = None;
        for piece in pieces {
            let (header, lengths) = ipv4::parse(piece).unwrap();
            let word = header.fragment.get();
            let offset = (word & ipv4::OFFSET_MASK) * 8;
            let first = *first.get_or_insert(offset);
            assert_eq!(usize::from(offset - first), payload.len());
            assert!(more);
            more = word & ipv4::MORE_FRAGMENTS != 0;
            payload.extend(&piece[lengths.header..]);
        }
        (payload, first.unwrap(), more)
    }

    #[test]
    fn sizes_around_each_limit() {
        // 100 allows 80 octets of payload.
        for (payload, lengths) in [(81, &[100, 21][..]), (160, &[100, 100]), (161, &[100, 100, 21])]
        {
            let pieces = cut(&packet(&[], 0, &vec![9; payload]), 100, 4).unwrap();
            let found: Vec<_> = pieces.iter().map(Vec::len).collect();
            assert_eq!(found, lengths, "{payload}");
        }
        // 107 allows no more, 108 does.
        for (limit, first) in [(107, 100), (108, 108)] {
            assert_eq!(cut(&packet(&[], 0, &[9; 200]), limit, 4).unwrap()[0].len(), first);
        }
    }

    #[test]
    fn options_are_in_the_first_piece_or_in_all() {
        // Record route stays in front, a source route and a security option are copied.
        let options = [7, 3, 4, 1, 131, 3, 4, 130, 3, 0, 0, 0];
        let pieces = cut(&packet(&options, 0, &[1; 100]), 80, 4).unwrap();
        assert_eq!(&pieces[0][20..32], options);
        assert_eq!(pieces[1][0], 0x47);
        assert_eq!(&pieces[1][20..28], &[131, 3, 4, 130, 3, 0, 0, 0]);
        // A length that leads outside ends the list.
        let pieces = cut(&packet(&[131, 9, 1, 1], 0, &[1; 100]), 80, 4).unwrap();
        assert_eq!(pieces[1][0], 0x45);
    }

    #[test]
    fn what_cannot_be_cut_is_left_whole() {
        let large = packet(&[], 0, &[1; 200]);
        assert_eq!(cut(&large, 100, 1), Err(DropReason::NoFrame));
        assert_eq!(cut(&large, 27, 64), Err(DropReason::TooBig));
        assert_eq!(cut(&packet(&[], 0x1fff, &[1; 200]), 100, 4), Err(DropReason::Ipv4Malformed));
    }

    proptest! {
        #[test]
        fn together_again_they_are_the_packet(
            options in prop::collection::vec(any::<u8>(), 0..10),
            (offset, more) in (0u16..4000, any::<bool>()),
            (payload, limit) in (60usize..1700).prop_flat_map(|length| {
                (prop::collection::vec(any::<u8>(), length), 68..length + 20)
            }),
        ) {
            let options = [options.as_slice(), &[0; 3]].concat();
            let options = &options[..options.len() / 4 * 4];
            let word = offset | if more { ipv4::MORE_FRAGMENTS } else { 0 };
            let packet = packet(options, word, &payload);
            let pieces = cut(&packet, limit, 64).unwrap();
            prop_assert!(pieces.iter().all(|piece| piece.len() <= limit));
            prop_assert_eq!(whole(&pieces), (payload, offset * 8, more));
        }

        #[test]
        fn together_again_they_are_the_outer_packet(
            (payload, limit) in (1300usize..1700).prop_flat_map(|length| {
                (prop::collection::vec(any::<u8>(), length), 1280..length + 40)
            }),
        ) {
            let mut packet = vec![0x60, 0, 0, 0, 0, 0, 17, 64];
            packet[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
            packet.extend([7; 32]);
            packet.extend(&payload);
            let mut frames = Frame::allocate(3);
            let mut frame = frames.pop().unwrap();
            frame.reset(PortId(0), &packet);
            let mut pieces = Vec::new();
            ipv6(&mut frame, limit, 0xabcd_ef01, &mut frames, &mut pieces).unwrap();
            pieces.insert(0, frame);
            let mut found: Vec<u8> = Vec::new();
            for (number, piece) in pieces.iter().enumerate() {
                let (header, length) = ipv6::parse(piece.octets()).unwrap();
                prop_assert!(length == piece.len() && length <= limit);
                prop_assert_eq!((header.next_header, &header.source), (44, &[7; 16]));
                let (fragment, part) =
                    ipv6::Fragment::ref_from_prefix(&piece.octets()[40..]).unwrap();
                let more = u16::from(number + 1 < pieces.len());
                prop_assert_eq!(fragment.offset.get(), found.len() as u16 | more);
                prop_assert_eq!(fragment.identification.get(), 0xabcd_ef01);
                found.extend(part);
            }
            prop_assert_eq!(found, payload);
        }
    }
}
