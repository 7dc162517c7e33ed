//! What is larger than it may be: pieces, errors, the MSS.

use xlns_dataplane::verdict::DropReason::*;

use super::build::*;
use super::cases::Expected::{Dropped, Pieces, Sent, Told};
use super::cases::{Case, Expected, case, from_subscriber, text};
use super::machine::*;

/// All of them.
pub fn cases() -> Vec<Case> {
    [pieces(), outer_pieces(), too_big(), errors(), mss()].into_iter().flatten().collect()
}

fn down(packet: &[u8], expected: Expected) -> (u16, Vec<u8>, Expected) {
    (CORE, ethernet(packet), expected)
}

/// An IPv4 packet of `length` octets.
fn sized(destination: &str, length: usize) -> Vec<u8> {
    ip(REMOTE, destination, 253, &text(length - 20))
}

/// An IPv6 packet of `length` octets.
fn sized6(destination: &str, length: usize) -> Vec<u8> {
    ip(REMOTE6, destination, 253, &text(length - 40))
}

/// Subscribers, and the largest packet to each in one piece.
const LIMITS: [(&str, usize); 5] = [
    // The MRU.
    ("10.0.0.1", 1460),
    ("10.0.0.6", 576),
    // The link: 1500 less 38 (IPv4, UDP, L2TP, PPP), 57 (IPv6, PPP's protocol in one octet), 42
    // (IPv4, sequence numbers).
    ("10.0.0.7", 1462),
    ("10.0.0.3", 1443),
    ("10.0.0.10", 1458),
];

/// With a source route, which is done, of so many octets.
fn routed(destination: &str, options: usize, payload: usize) -> Vec<u8> {
    let mut packet = ip(REMOTE, destination, 253, &text(payload));
    let mut route = vec![131, options as u8 - 1, 40];
    route.resize(options, 0);
    packet.splice(20..20, route);
    packet[0] = 0x40 | (5 + options / 4) as u8;
    let length = (packet.len() as u16).to_be_bytes();
    packet[2..4].copy_from_slice(&length);
    seal(&mut packet);
    packet
}

fn pieces() -> Vec<Case> {
    let around = LIMITS.iter().flat_map(|(subscriber, whole)| {
        [(-1, 1), (0, 1), (1, 2)].map(|(difference, pieces)| {
            let packet = sized(subscriber, whole.checked_add_signed(difference).unwrap());
            down(&packet, if pieces == 1 { Sent(ACCESS) } else { Pieces(ACCESS, pieces) })
        })
    });
    let small = |length, pieces| down(&sized("10.0.0.6", length), Pieces(ACCESS, pieces));
    let tag = |packet: &[u8], expected| (CORE, tagged(&[(0x8100, 7)], packet), expected);
    let mut again = ip_with(REMOTE, "10.0.0.6", 17, 64, 0x2001, &text(800));
    seal(&mut again);
    let transit = |length: usize| ip("9.9.9.9", REMOTE, 253, &text(length - 20));
    vec![
        case("pieces_around_each_limit", around.collect()),
        // The most in two pieces, and one octet more; in three.
        case(
            "pieces_more",
            vec![small(572 + 552, 2), small(572 + 553, 2), small(572 + 556 + 1, 3), small(1500, 3)],
        ),
        case(
            "pieces_tagged",
            vec![
                tag(&sized("10.0.0.6", 575), Sent(ACCESS)),
                tag(&sized("10.0.0.6", 576), Sent(ACCESS)),
                tag(&sized("10.0.0.6", 577), Pieces(ACCESS, 2)),
            ],
        ),
        case(
            "pieces_of_pieces",
            vec![
                down(&again, Pieces(ACCESS, 2)),
                down(&with_options(&sized("10.0.0.6", 900)), Pieces(ACCESS, 2)),
            ],
        ),
        // A source route in each piece leaves 8 octets of payload there, and all of it none.
        case(
            "pieces_too_many",
            vec![
                down(&routed("10.0.0.17", 36, 520), Pieces(ACCESS, 65)),
                down(&routed("10.0.0.17", 36, 521), Dropped(NoFrame)),
                down(&routed("10.0.0.17", 40, 100), Dropped(TooBig)),
            ],
        ),
        // To another subscriber, and from the host.
        case(
            "pieces_from_elsewhere",
            vec![
                (
                    ACCESS,
                    from_subscriber(PLAIN, &ip("10.0.0.1", "10.0.0.6", 253, &text(557))),
                    Pieces(ACCESS, 2),
                ),
                (HOST, ip(GATEWAY, "10.0.0.6", 253, &text(557)), Pieces(ACCESS, 2)),
            ],
        ),
        case(
            "pieces_upstream",
            vec![
                (CORE, ethernet(&transit(1499)), Sent(CORE)),
                (CORE, ethernet(&transit(1500)), Sent(CORE)),
                (CORE, ethernet(&transit(1501)), Pieces(CORE, 2)),
                (
                    ACCESS,
                    from_subscriber(PLAIN, &ip("10.0.0.1", REMOTE, 253, &text(1480))),
                    Sent(CORE),
                ),
                (
                    ACCESS,
                    from_subscriber(PLAIN, &ip("10.0.0.1", REMOTE, 253, &text(1481))),
                    Pieces(CORE, 2),
                ),
            ],
        ),
    ]
}

fn outer_pieces() -> Vec<Case> {
    let around = |subscriber: &'static str, link: usize| {
        let sizes = [(link - 1, 1), (link, 1), (link + 1, 2), (1499, 2), (1500, 2)];
        sizes.map(|(length, pieces)| {
            let expected = if pieces == 1 { Sent(ACCESS) } else { Pieces(ACCESS, pieces) };
            // Whether the inner packet may be cut is no question here.
            down(&whole(&sized(subscriber, length)), expected)
        })
    };
    vec![
        case("outer_pieces", around("10.0.0.12", 1462).to_vec()),
        case("outer_pieces_ipv6", around("10.0.0.13", 1442).to_vec()),
        // Beyond the MRU it is one again.
        case(
            "outer_pieces_mru",
            vec![
                down(&whole(&sized("10.0.0.12", 1501)), Told(CORE, TooBig)),
                down(&whole(&sized("10.0.0.13", 1501)), Told(CORE, TooBig)),
            ],
        ),
    ]
}

fn too_big() -> Vec<Case> {
    let around = LIMITS.iter().flat_map(|(subscriber, most)| {
        [(-1, Sent(ACCESS)), (0, Sent(ACCESS)), (1, Told(CORE, TooBig))].map(|(by, expected)| {
            down(&whole(&sized(subscriber, most.checked_add_signed(by).unwrap())), expected)
        })
    });
    let ipv6 = [("2001:db8:1::1", 1460), ("2001:db8:3::1", 1443), ("2001:db8:a::1", 1458)];
    let around6 = ipv6.iter().flat_map(|(subscriber, most)| {
        [(most - 1, Sent(ACCESS)), (*most, Sent(ACCESS)), (most + 1, Told(CORE, TooBig))]
            .map(|(length, expected)| down(&sized6(subscriber, length), expected))
    });
    vec![
        case("too_big_ipv4", around.collect()),
        case("too_big_ipv6", around6.collect()),
        case(
            "too_big_from_a_subscriber",
            vec![
                (
                    ACCESS,
                    from_subscriber(PLAIN, &whole(&ip("10.0.0.1", REMOTE, 253, &text(1481)))),
                    Told(ACCESS, TooBig),
                ),
                (
                    ACCESS,
                    from_subscriber(PLAIN, &ip("2001:db8:1::1", REMOTE6, 253, &text(1461))),
                    Told(ACCESS, TooBig),
                ),
                (
                    ACCESS,
                    from_subscriber(PLAIN, &whole(&ip("10.0.0.1", "10.0.0.6", 253, &text(557)))),
                    Told(ACCESS, TooBig),
                ),
            ],
        ),
        case(
            "too_big_from_the_host",
            vec![(HOST, whole(&ip(GATEWAY, "10.0.0.6", 253, &text(557))), Told(HOST, TooBig))],
        ),
    ]
}

/// An ICMP or ICMPv6 message of this type with the TTL run out.
fn message(source: &str, destination: &str, kind: u8) -> Vec<u8> {
    let mut packet = ping(source, destination, &text(40));
    if source.contains(':') {
        packet[7] = 1;
        packet[40] = kind;
    } else {
        packet[8] = 1;
        packet[20] = kind;
        seal(&mut packet);
    }
    packet
}

fn errors() -> Vec<Case> {
    let up = |packet: &[u8], expected| (ACCESS, from_subscriber(PLAIN, packet), expected);
    let told = Told(ACCESS, TtlExceeded);
    let silent = Dropped(TtlExceeded);
    let fragment = |word| ip_with("10.0.0.1", REMOTE, 17, 1, word, &text(64));
    let fragment6 = |offset: u8| {
        let header = [&[17, 0, 0, offset, 0, 0, 0, 9], &text(64)[..]].concat();
        ip_with("2001:db8:1::1", REMOTE6, 44, 1, 0, &header)
    };
    vec![
        case(
            "errors_about_messages",
            vec![
                up(&message("10.0.0.1", REMOTE, 8), told),
                up(&message("10.0.0.1", REMOTE, 0), told),
                up(&message("10.0.0.1", REMOTE, 3), silent),
                up(&message("10.0.0.1", REMOTE, 11), silent),
                up(&message("10.0.0.1", REMOTE, 5), silent),
                up(&message("2001:db8:1::1", REMOTE6, 128), told),
                up(&message("2001:db8:1::1", REMOTE6, 129), told),
                up(&message("2001:db8:1::1", REMOTE6, 1), silent),
                up(&message("2001:db8:1::1", REMOTE6, 3), silent),
            ],
        ),
        case(
            "errors_about_fragments",
            vec![
                up(&fragment(0x2000), told),
                up(&fragment(0x2001), silent),
                up(&fragment(0x0001), silent),
                up(&fragment6(1), silent),
                up(&fragment6(8), silent),
            ],
        ),
        // As much of the packet as fits 576 octets, or 1280.
        case(
            "errors_cut",
            [547, 548, 549, 1400]
                .map(|length| up(&ip_with("10.0.0.1", REMOTE, 253, 1, 0, &text(length - 20)), told))
                .into_iter()
                .chain([1231, 1232, 1233, 1400].map(|length| {
                    up(&ip_with("2001:db8:1::1", REMOTE6, 253, 1, 0, &text(length - 40)), told)
                }))
                .collect(),
        ),
        // The ways that lead to other sessions, with sequence numbers and with odd framing.
        case(
            "errors_to_sessions",
            [(ODD, "10.0.0.9"), (SEQUENCED, "10.0.0.10"), (SMALL_MRU, "10.0.0.6")]
                .map(|(session, source)| {
                    let packet = ip_with(source, REMOTE, 253, 1, 0, &text(33));
                    (ACCESS, from_subscriber(session, &packet), told)
                })
                .to_vec(),
        ),
    ]
}

const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
const ACK: u8 = 0x10;

fn mss_option(mss: u16) -> Vec<u8> {
    let [high, low] = mss.to_be_bytes();
    vec![2, 4, high, low]
}

fn mss() -> Vec<Case> {
    let up = |session, packet: Vec<u8>| (ACCESS, from_subscriber(session, &packet), Sent(CORE));
    let to = |packet: Vec<u8>| down(&packet, Sent(ACCESS));
    let around = |most: u16| [most - 1, most, most + 1, 1460, 9000].map(mss_option);
    let both = |subscriber: &'static str, session, most: u16| {
        around(most).into_iter().flat_map(move |option| {
            [
                up(session, tcp_with(subscriber, REMOTE, SYN, &option)),
                to(tcp_with(REMOTE, subscriber, SYN_ACK, &option)),
            ]
        })
    };
    let both6 = |subscriber: &'static str, session, most: u16| {
        around(most).into_iter().flat_map(move |option| {
            [
                up(session, tcp_with(subscriber, REMOTE6, SYN_ACK, &option)),
                to(tcp_with(REMOTE6, subscriber, SYN, &option)),
            ]
        })
    };
    let odd = [&[1][..], &mss_option(8961), &[0, 0, 0]].concat();
    let strange: [&[u8]; 5] =
        [&[2, 3, 9, 9], &[3, 0, 2, 4], &[0, 2, 4, 9], &[1, 1, 2, 4], &[254, 9, 2, 4]];
    let mut cut = ip("10.0.0.1", REMOTE, 6, &[0, 1, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x60, SYN]);
    seal(&mut cut);
    let mut fragment = tcp_with("10.0.0.1", REMOTE, SYN, &mss_option(9000));
    fragment[6] = 0x20;
    seal(&mut fragment);
    vec![
        case("mss_mru", both("10.0.0.1", PLAIN, 1420).collect()),
        case("mss_small_mru", both("10.0.0.6", SMALL_MRU, 536).collect()),
        case("mss_link", both("10.0.0.7", LARGE_MRU, 1422).collect()),
        case("mss_sequenced", both("10.0.0.10", SEQUENCED, 1418).collect()),
        case("mss_ipv6", both6("2001:db8:1::1", PLAIN, 1400).collect()),
        case(
            "mss_not_at_the_beginning",
            vec![
                up(PLAIN, tcp_with("10.0.0.1", REMOTE, ACK, &mss_option(9000))),
                to(tcp_with(REMOTE, "10.0.0.1", ACK, &mss_option(9000))),
            ],
        ),
        case(
            "mss_at_an_odd_place",
            vec![
                up(PLAIN, tcp_with("10.0.0.1", REMOTE, SYN, &odd)),
                to(tcp_with(REMOTE6, "2001:db8:1::1", SYN, &odd)),
            ],
        ),
        case(
            "mss_left_alone",
            strange
                .map(|options| up(PLAIN, tcp_with("10.0.0.1", REMOTE, SYN, options)))
                .into_iter()
                .chain([
                    up(PLAIN, cut),
                    up(PLAIN, fragment),
                    up(STRICT, tcp_with("10.0.0.15", REMOTE, SYN, &mss_option(9000))),
                    to(tcp_with(REMOTE, "10.0.0.15", SYN, &mss_option(9000))),
                ])
                .collect(),
        ),
        case(
            "mss_between",
            vec![(
                ACCESS,
                from_subscriber(PLAIN, &tcp_with("10.0.0.1", "10.0.0.6", SYN, &mss_option(9000))),
                Sent(ACCESS),
            )],
        ),
    ]
}
