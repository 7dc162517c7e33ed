//! Tunnel packets that come in fragments.

use xlns_dataplane::verdict::DropReason::*;

use super::build::*;
use super::cases::Expected::{Dropped, Held, Sent};
use super::cases::{Case, Expected, case, text};
use super::machine::*;

/// All of them.
pub fn cases() -> Vec<Case> {
    vec![
        case("fragments", whole()),
        case("fragments_at_each_place", at_each_place()),
        case("fragments_tagged", in_tags()),
        case("fragments_of_control", control()),
        case("fragments_of_strangers", strangers()),
        Case { lost: vec![(FragmentOverlap, 2)], ..case("fragments_overlap", overlap()) },
        case("fragments_bad", bad()),
        case("fragments_mixed", mixed()),
        Case { lost: vec![(FragmentDisplaced, 1)], ..case("fragments_displaced", displaced()) },
    ]
}

/// A datagram of the LAC in fragments that begin at these places of its IP payload.
fn cut(packet: &[u8], identification: u8, places: &[usize]) -> Vec<Vec<u8>> {
    let header = if packet[0] >> 4 == 4 { 20 } else { 40 };
    let payload = &packet[header..];
    let ends = [&places[1..], &[payload.len()]].concat();
    let piece = |(&start, &end): (&usize, &usize)| {
        let more = end < payload.len();
        let mut piece = packet[..header].to_vec();
        if header == 20 {
            piece[2..4].copy_from_slice(&((20 + end - start) as u16).to_be_bytes());
            piece[4..6].copy_from_slice(&[0, identification]);
            let word = (start / 8) as u16 | if more { 0x2000 } else { 0 };
            piece[6..8].copy_from_slice(&word.to_be_bytes());
            seal(&mut piece);
        } else {
            piece[4..6].copy_from_slice(&((8 + end - start) as u16).to_be_bytes());
            piece[6] = 44;
            piece.extend([17, 0]);
            piece.extend((start as u16 | u16::from(more)).to_be_bytes());
            piece.extend([0, 0, 0, identification]);
        }
        piece.extend(&payload[start..end]);
        piece
    };
    places.iter().zip(&ends).map(piece).collect()
}

fn packet(length: usize) -> Vec<u8> {
    datagram(&L2tp::new(PLAIN).with(&ppp_ip(&udp("10.0.0.1", REMOTE, [1, 2], &text(length)))))
}

fn packet6(length: usize) -> Vec<u8> {
    let inner = udp("10.0.0.3", REMOTE, [1, 2], &text(length));
    udp(LAC6, ENDPOINT6, [1701, 1701], &L2tp::new(OVER_IPV6).with(&ppp_ip(&inner)))
}

/// Two fragments of a good packet, as frames.
pub fn of_a_packet() -> [Vec<u8>; 2] {
    let pieces = cut(&packet(100), 7, &[0, 64]);
    [ethernet(&pieces[0]), ethernet(&pieces[1])]
}

fn frames(pieces: &[Vec<u8>], expected: Expected) -> Vec<(u16, Vec<u8>, Expected)> {
    let last = pieces.len() - 1;
    let of = |index| if index == last { expected } else { Held };
    pieces.iter().enumerate().map(|(index, piece)| (ACCESS, ethernet(piece), of(index))).collect()
}

fn whole() -> Vec<(u16, Vec<u8>, Expected)> {
    let both = [packet(1472), packet6(1472)];
    let mut all = Vec::new();
    for (number, packet) in (0..).zip(both.iter()) {
        let mut pieces = cut(packet, number, &[0, 1480]);
        all.extend(frames(&pieces, Sent(CORE)));
        pieces.reverse();
        all.extend(frames(&pieces, Sent(CORE)));
        let mut pieces = cut(packet, number + 10, &[0, 8, 400, 1240]);
        pieces.swap(1, 3);
        all.extend(frames(&pieces, Sent(CORE)));
        // Twice the same, in between.
        let pieces = cut(packet, number + 20, &[0, 800]);
        all.push((ACCESS, ethernet(&pieces[0]), Held));
        all.push((ACCESS, ethernet(&pieces[0]), Dropped(FragmentDuplicate)));
        all.push((ACCESS, ethernet(&pieces[1]), Sent(CORE)));
    }
    // All of one in a fragment header.
    all.extend(frames(&cut(&packet6(9), 99, &[0]), Sent(CORE)));
    // Two that cross.
    let (a, b) = (cut(&packet(200), 30, &[0, 96]), cut(&packet(300), 31, &[0, 96]));
    for (piece, expected) in
        [(&a[0], Held), (&b[1], Held), (&b[0], Sent(CORE)), (&a[1], Sent(CORE))]
    {
        all.push((ACCESS, ethernet(piece), expected));
    }
    all
}

/// Every place where a small packet can be cut in two.
fn at_each_place() -> Vec<(u16, Vec<u8>, Expected)> {
    let both = [packet(24), packet6(24)];
    let cuts = both.iter().flat_map(|packet| {
        let header = if packet[0] >> 4 == 4 { 20 } else { 40 };
        (8..packet.len() - header)
            .step_by(8)
            .flat_map(|place| frames(&cut(packet, place as u8, &[0, place]), Sent(CORE)))
    });
    cuts.collect()
}

fn in_tags() -> Vec<(u16, Vec<u8>, Expected)> {
    let pieces = cut(&packet(100), 1, &[0, 64]);
    vec![
        (ACCESS, tagged(&[(0x8100, 7)], &pieces[0]), Held),
        (ACCESS, tagged(&[(0x88a8, 7), (0x8100, 8)], &pieces[1]), Sent(CORE)),
        (ACCESS, padded(&pieces[0]), Held),
        (ACCESS, padded(&pieces[1]), Sent(CORE)),
    ]
}

/// What steering gives to the kernel in one piece goes there.
fn control() -> Vec<(u16, Vec<u8>, Expected)> {
    let message = [&[0xc8, 2, 0, 112, 0, 0x11, 0, 0, 0, 0, 0, 0], &text(100)[..]].concat();
    let lcp = L2tp::new(PLAIN).with(&ppp(0xc021, &[&[1, 1, 0, 104][..], &text(100)].concat()));
    let other = udp(LAC, ENDPOINT, [9, 9], &text(100));
    let pieces = [
        cut(&datagram(&message), 1, &[0, 64]),
        cut(&udp(LAC6, ENDPOINT6, [1701, 1701], &message), 2, &[0, 64]),
        cut(&datagram(&lcp), 3, &[0, 64]),
        cut(&other, 4, &[0, 64]),
    ];
    pieces.iter().flat_map(|pieces| frames(pieces, Sent(HOST))).collect()
}

/// Whole, they are what they would have been: no better for having come in pieces.
fn strangers() -> Vec<(u16, Vec<u8>, Expected)> {
    let inner = ppp_ip(&udp("10.0.0.1", REMOTE, [1, 2], &text(90)));
    let from = |source: &str, session| {
        udp(source, ENDPOINT, [1701, 1701], &L2tp::new(session).with(&inner))
    };
    let pieces = |packet: &[u8], id, reason| frames(&cut(packet, id, &[0, 64]), Dropped(reason));
    [
        pieces(&from("198.51.100.9", PLAIN), 1, OuterAddress),
        pieces(&from(LAC, 0x01ff), 2, NoSuchSession),
        pieces(&from(LAC, COMPRESSED), 3, InnerSource),
    ]
    .concat()
}

fn overlap() -> Vec<(u16, Vec<u8>, Expected)> {
    let of = |packet: &[u8]| {
        let (good, bad) = (cut(packet, 1, &[0, 64]), cut(packet, 1, &[0, 56]));
        [
            (ACCESS, ethernet(&good[0]), Held),
            (ACCESS, ethernet(&bad[1]), Dropped(FragmentOverlap)),
            // It begins anew.
            (ACCESS, ethernet(&good[1]), Held),
            (ACCESS, ethernet(&good[0]), Sent(CORE)),
        ]
    };
    [of(&packet(100)), of(&packet6(100))].concat()
}

fn bad() -> Vec<(u16, Vec<u8>, Expected)> {
    let fragment = |word, length| ethernet(&ip_with(LAC, ENDPOINT, 17, 64, word, &text(length)));
    vec![
        (ACCESS, fragment(0x2000, 63), Dropped(FragmentMalformed)),
        (ACCESS, fragment(0x0001, 0), Dropped(FragmentMalformed)),
        (ACCESS, fragment(0x1fff, 8), Dropped(FragmentTooLong)),
        (ACCESS, fragment(0x00d9, 8), Dropped(FragmentTooLong)),
    ]
}

/// Halves of two datagrams with the same identification: the checksum tells.
fn mixed() -> Vec<(u16, Vec<u8>, Expected)> {
    let other = |packet: fn(usize) -> Vec<u8>| {
        let mut other = packet(100);
        let last = other.len() - 1;
        other[last] ^= 1;
        let (a, b) = (cut(&packet(100), 1, &[0, 64]), cut(&other, 1, &[0, 64]));
        [(ACCESS, ethernet(&a[0]), Held), (ACCESS, ethernet(&b[1]), Dropped(UdpChecksum))]
    };
    [other(packet), other(packet6)].concat()
}

/// One sender's fragments, one more than its share of places.
fn displaced() -> Vec<(u16, Vec<u8>, Expected)> {
    let first = |id| ethernet(&cut(&packet(100), id, &[0, 64])[0]);
    (0..=64).map(|id| (ACCESS, first(id), Held)).collect()
}
