//! What sessions have by choice: sequence numbers, policers, checksums, traffic class.

use xlns_dataplane::verdict::DropReason::*;

use super::build::*;
use super::cases::Expected::{Dropped, Pieces, Sent, Told};
use super::cases::{Case, Expected, case, from_subscriber, text};
use super::machine::*;

/// All of them.
pub fn cases() -> Vec<Case> {
    [sequence(), policers(), checksums(), classes(), tags()].into_iter().flatten().collect()
}

fn down(packet: &[u8], expected: Expected) -> (u16, Vec<u8>, Expected) {
    (CORE, ethernet(packet), expected)
}

/// A packet of the subscriber with this number, over IPv4.
fn numbered(session: u16, source: &str, ns: u16, expected: Expected) -> (u16, Vec<u8>, Expected) {
    let message = L2tp { sequence: true, ns, ..L2tp::new(session) };
    let packet = ping(source, REMOTE, &text(8));
    (ACCESS, ethernet(&datagram(&message.with(&ppp_ip(&packet)))), expected)
}

/// The same over IPv6, with or without a number.
fn over_ipv6(ns: Option<u16>) -> (u16, Vec<u8>, Expected) {
    let message = L2tp { sequence: ns.is_some(), ns: ns.unwrap_or(0), ..L2tp::new(AS_PEER) };
    let packet = ping("10.0.0.11", REMOTE, &text(8));
    let datagram = udp(LAC6, ENDPOINT6, [1701, 1701], &message.with(&ppp_ip(&packet)));
    (ACCESS, ethernet(&datagram), Sent(CORE))
}

fn sequence() -> Vec<Case> {
    let late = Dropped(Late);
    let up = |ns, expected| numbered(SEQUENCED, "10.0.0.10", ns, expected);
    let sent = Sent(CORE);
    let echo_request = from_lac(SEQUENCED, &ppp(0xc021, &echo(9, 1, 2, &text(5))));
    vec![
        // Around the wrap: 0xfffe comes first.
        case(
            "sequence_downstream",
            vec![
                down(&ping(REMOTE, "10.0.0.10", &text(9)), Sent(ACCESS)),
                down(&udp(REMOTE6, "2001:db8:a::1", [1, 2], &text(9)), Sent(ACCESS)),
                down(&ip(REMOTE, "10.0.0.10", 253, &text(1441)), Pieces(ACCESS, 2)),
                down(&tcp(REMOTE, "10.0.0.10", &text(100)), Sent(ACCESS)),
            ],
        ),
        case(
            "echo_sequence",
            vec![
                (ACCESS, echo_request.clone(), Sent(ACCESS)),
                (ACCESS, echo_request, Sent(ACCESS)),
            ],
        ),
        case(
            "sequence_upstream",
            vec![
                up(0xfffe, sent),
                up(0xffff, sent),
                up(1, sent),
                // Late, and twice.
                up(0, late),
                up(1, late),
                up(2, sent),
                // Half the circle ahead, and behind.
                up(0x8003, late),
                up(0x8002, sent),
                // A packet without a number is none that is late.
                (ACCESS, from_subscriber(SEQUENCED, &ping("10.0.0.10", REMOTE, &[])), sent),
            ],
        ),
        case(
            "sequence_late_is_taken",
            vec![
                numbered(STRICT, "10.0.0.15", 5, sent),
                numbered(STRICT, "10.0.0.15", 4, sent),
                numbered(STRICT, "10.0.0.15", 5, sent),
            ],
        ),
        case(
            "sequence_as_peer",
            vec![
                down(&ping(REMOTE, "10.0.0.11", &text(9)), Sent(ACCESS)),
                over_ipv6(Some(7)),
                down(&ping(REMOTE, "10.0.0.11", &text(9)), Sent(ACCESS)),
                down(&ping(REMOTE6, "2001:db8:b::1", &text(9)), Sent(ACCESS)),
                over_ipv6(None),
                down(&ping(REMOTE, "10.0.0.11", &text(9)), Sent(ACCESS)),
                over_ipv6(Some(8)),
                down(&ping(REMOTE, "10.0.0.11", &text(9)), Sent(ACCESS)),
            ],
        ),
    ]
}

fn policers() -> Vec<Case> {
    let to =
        |length: usize, expected| down(&ip(REMOTE, "10.0.0.14", 253, &text(length - 20)), expected);
    let up = |length: usize, expected| {
        let packet = ip("10.0.0.14", REMOTE, 253, &text(length - 20));
        (ACCESS, from_subscriber(POLICED, &packet), expected)
    };
    let policed = Dropped(Policed);
    vec![
        // The burst to the octet; a refused packet takes nothing from it.
        case(
            "policed_downstream",
            vec![
                to(1460, Sent(ACCESS)),
                to(1460, Sent(ACCESS)),
                to(81, policed),
                to(80, Sent(ACCESS)),
                to(20, policed),
            ],
        ),
        case(
            "policed_upstream",
            vec![
                up(1460, Sent(CORE)),
                up(1460, Sent(CORE)),
                up(81, policed),
                up(80, Sent(CORE)),
                up(20, policed),
                // Each way has its own.
                to(1460, Sent(ACCESS)),
            ],
        ),
    ]
}

fn checksums() -> Vec<Case> {
    let good = |session, source: &str| {
        datagram(&L2tp::new(session).with(&ppp_ip(&ping(source, REMOTE, &text(33)))))
    };
    let good6 = udp(
        LAC6,
        ENDPOINT6,
        [1701, 1701],
        &L2tp::new(STRICT6).with(&ppp_ip(&ping("10.0.0.16", REMOTE, &text(33)))),
    );
    let changed = |packet: &[u8], place: usize, octets: &[u8]| {
        let mut packet = packet.to_vec();
        packet[place..place + octets.len()].copy_from_slice(octets);
        ethernet(&packet)
    };
    let strict = good(STRICT, "10.0.0.15");
    let last = strict.len() - 1;
    let wrong = Dropped(UdpChecksum);
    vec![
        case(
            "checksum_verified",
            vec![
                (ACCESS, ethernet(&strict), Sent(CORE)),
                (ACCESS, ethernet(&with_options(&strict)), Sent(CORE)),
                (ACCESS, padded(&strict), Sent(CORE)),
                (ACCESS, changed(&strict, last, &[0x99]), wrong),
                (ACCESS, changed(&strict, 26, &[0x12, 0x34]), wrong),
                // None is none over IPv4, and nothing at all over IPv6.
                (ACCESS, changed(&strict, 26, &[0, 0]), Sent(CORE)),
                (ACCESS, ethernet(&good6), Sent(CORE)),
                (ACCESS, changed(&good6, 46, &[0, 0]), wrong),
                (ACCESS, changed(&good6, good6.len() - 1, &[0x99]), wrong),
                // Who does not ask for it does not get it.
                (ACCESS, changed(&good(PLAIN, "10.0.0.1"), 26, &[0x12, 0x34]), Sent(CORE)),
            ],
        ),
        case(
            "checksum_left_out",
            vec![
                down(&udp(REMOTE, "10.0.0.15", [1, 2], &text(33)), Sent(ACCESS)),
                down(&ping(REMOTE6, "2001:db8:f::1", &text(33)), Sent(ACCESS)),
                // Over IPv6 it is always there.
                down(&udp(REMOTE, "10.0.0.16", [1, 2], &text(33)), Sent(ACCESS)),
            ],
        ),
    ]
}

fn classes() -> Vec<Case> {
    let marked = |outer: u8, inner: u8, expected| {
        let packet = with_class(&udp("10.0.0.1", REMOTE, [1, 2], &text(9)), inner);
        let datagram = datagram(&L2tp::new(PLAIN).with(&ppp_ip(&packet)));
        (ACCESS, ethernet(&with_class(&datagram, outer)), expected)
    };
    let marked6 = |outer: u8, inner: u8, expected| {
        let packet = with_class(&udp("2001:db8:10::1", REMOTE6, [1, 2], &text(9)), inner);
        let message = L2tp::new(STRICT6).with(&ppp_ip(&packet));
        let datagram = udp(LAC6, ENDPOINT6, [1701, 1701], &message);
        (ACCESS, ethernet(&with_class(&datagram, outer)), expected)
    };
    let every = |one: &dyn Fn(u8, u8, Expected) -> (u16, Vec<u8>, Expected)| {
        let pairs = (0..4u8).flat_map(|inner| (0..4u8).map(move |outer| (inner, outer)));
        pairs
            .map(|(inner, outer)| {
                let lost = inner == 0 && outer == 3;
                one(0xb8 | outer, 0x48 | inner, if lost { Dropped(EcnMarked) } else { Sent(CORE) })
            })
            .collect::<Vec<_>>()
    };
    let to = |source: &str, subscriber: &str, class| {
        down(&with_class(&udp(source, subscriber, [1, 2], &text(9)), class), Sent(ACCESS))
    };
    vec![
        case("class_upstream", every(&marked)),
        case("class_upstream_ipv6", every(&marked6)),
        // Copied whole, set, and left at nothing.
        case(
            "class_downstream",
            [0x00, 0xb8, 0xb9, 0x02, 0xff]
                .into_iter()
                .flat_map(|class| {
                    [
                        to(REMOTE, "10.0.0.15", class),
                        to(REMOTE6, "2001:db8:f::1", class),
                        to(REMOTE, "10.0.0.16", class),
                        to(REMOTE6, "2001:db8:10::1", class),
                        to(REMOTE, "10.0.0.1", class),
                    ]
                })
                .collect(),
        ),
    ]
}

/// The port whose frames are tagged, both ways, both families, at the sizes around its limits.
fn tags() -> Vec<Case> {
    let tag = |packet: &[u8]| tagged(&[(0x8100, VLAN)], packet);
    let up = |packet: &[u8], expected| {
        let message = L2tp::new(BEHIND_TAG).with(&ppp_ip(packet));
        (TAGGED, tag(&udp(TAGGED_LAC, ENDPOINT, [1701, 1701], &message)), expected)
    };
    let up6 = |packet: &[u8], expected| {
        let message = L2tp::new(BEHIND_TAG6).with(&ppp_ip(packet));
        (TAGGED, tag(&udp(TAGGED_LAC6, ENDPOINT6, [1701, 1701], &message)), expected)
    };
    let sized = |subscriber: &str, length: usize, expected| {
        down(&ip(REMOTE, subscriber, 253, &text(length - 20)), expected)
    };
    // 1500 less 38, and less 58.
    let around = [("10.0.0.19", 1462), ("10.0.0.20", 1442)].into_iter().flat_map(|(to, most)| {
        [(most - 1, Sent(TAGGED)), (most, Sent(TAGGED)), (most + 1, Pieces(TAGGED, 2))]
            .map(|(length, expected)| sized(to, length, expected))
    });
    let core = |packet: &[u8], expected| (ACCESS, from_subscriber(PLAIN, packet), expected);
    let plain = |length: usize| ip("10.0.0.1", TAGGED_REMOTE, 253, &text(length - 20));
    vec![
        case(
            "tagged_upstream",
            vec![
                up(&udp("10.0.0.19", REMOTE, [1, 2], &text(9)), Sent(CORE)),
                up(&udp("2001:db8:13::1", REMOTE6, [1, 2], &text(9)), Sent(CORE)),
                up6(&udp("10.0.0.20", REMOTE, [1, 2], &text(9)), Sent(CORE)),
                // Its error goes back in a tag.
                up(&ip_with("10.0.0.19", REMOTE, 253, 1, 0, &text(9)), Told(TAGGED, TtlExceeded)),
            ],
        ),
        case(
            "tagged_downstream",
            vec![
                down(&udp(REMOTE, "10.0.0.19", [1, 2], &text(9)), Sent(TAGGED)),
                down(&udp(REMOTE6, "2001:db8:13::1", [1, 2], &text(9)), Sent(TAGGED)),
                down(&udp(REMOTE, "10.0.0.20", [1, 2], &text(9)), Sent(TAGGED)),
            ],
        ),
        case("tagged_sizes", around.collect()),
        case(
            "tagged_core",
            vec![
                core(&udp("10.0.0.1", TAGGED_REMOTE, [1, 2], &text(9)), Sent(TAGGED)),
                core(&udp("2001:db8:1::1", TAGGED_REMOTE6, [1, 2], &text(9)), Sent(TAGGED)),
                core(&plain(1499), Sent(TAGGED)),
                core(&plain(1500), Sent(TAGGED)),
                core(&plain(1501), Pieces(TAGGED, 2)),
            ],
        ),
    ]
}
