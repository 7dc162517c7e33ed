//! What comes in, and what has to become of it.

use xlns_dataplane::verdict::DropReason::{self, *};

use super::build::*;
use super::machine::*;

/// What has to become of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    Sent(u16),
    /// Sent by this port in as many pieces.
    Pieces(u16, usize),
    Dropped(DropReason),
    /// Dropped, and its source is told by this port.
    Told(u16, DropReason),
    /// Waits for other fragments.
    Held,
}
use Expected::{Dropped, Pieces, Sent, Told};

/// One fixture: a name, and frames with what is expected of each.
pub struct Case {
    pub name: &'static str,
    pub frames: Vec<(u16, Vec<u8>, Expected)>,
    /// What is dropped later, of those that were held.
    pub lost: Vec<(DropReason, u64)>,
}

pub fn case(name: &'static str, frames: Vec<(u16, Vec<u8>, Expected)>) -> Case {
    Case { name, frames, lost: Vec::new() }
}

/// All of them.
pub fn cases() -> Vec<Case> {
    [
        upstream(),
        upstream_outer(),
        framing(),
        downstream(),
        between(),
        echoes(),
        host(),
        to_the_host(),
        broadcast(),
        transit(),
        bad_outer(),
        wrong_session(),
        bad_inner(),
        bad_addresses(),
        routes(),
        super::sizes::cases(),
        super::options::cases(),
        super::fragments::cases(),
        dialled(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub fn text(length: usize) -> Vec<u8> {
    (0..length).map(|octet| octet as u8).collect()
}

pub fn from_subscriber(session: u16, packet: &[u8]) -> Vec<u8> {
    from_lac(session, &ppp_ip(packet))
}

fn upstream() -> Vec<Case> {
    let sent = |frame| (ACCESS, frame, Sent(CORE));
    let a = "10.0.0.1";
    let v6 = "2001:db8:1::1";
    vec![
        case(
            "upstream_protocols",
            vec![
                sent(from_subscriber(PLAIN, &ping(a, REMOTE, &text(56)))),
                sent(from_subscriber(PLAIN, &udp(a, REMOTE, [5000, 4000], &text(33)))),
                sent(from_subscriber(PLAIN, &tcp(a, REMOTE, &text(1)))),
                sent(from_subscriber(PLAIN, &with_options(&udp(a, REMOTE, [5, 6], &[])))),
                sent(from_subscriber(PLAIN, &ip_with(a, REMOTE, 17, 64, 0x2000, &text(64)))),
                sent(from_subscriber(PLAIN, &ping(v6, REMOTE6, &text(56)))),
                sent(from_subscriber(PLAIN, &tcp(v6, REMOTE6, &text(1000)))),
            ],
        ),
        // The MRU asked for was smaller, and 1500 octets are taken all the same.
        case(
            "upstream_1500",
            vec![sent(from_subscriber(PLAIN, &udp(a, REMOTE, [1, 2], &text(1472))))],
        ),
        case(
            "upstream_framed_prefix",
            vec![
                sent(from_subscriber(PLAIN, &ping("10.1.0.77", REMOTE, &text(8)))),
                sent(from_subscriber(PLAIN, &ping("2001:db8:1::ffff", REMOTE6, &text(8)))),
            ],
        ),
        case(
            "upstream_ttl",
            vec![
                sent(from_subscriber(PLAIN, &ip_with(a, REMOTE, 253, 2, 0, &text(20)))),
                (
                    ACCESS,
                    from_subscriber(PLAIN, &ip_with(a, REMOTE, 253, 1, 0, &text(20))),
                    Told(ACCESS, TtlExceeded),
                ),
                (
                    ACCESS,
                    from_subscriber(PLAIN, &ip_with(a, REMOTE, 253, 0, 0, &text(20))),
                    Told(ACCESS, TtlExceeded),
                ),
                sent(from_subscriber(PLAIN, &ip_with(v6, REMOTE6, 59, 2, 0, &[]))),
                (
                    ACCESS,
                    from_subscriber(PLAIN, &ip_with(v6, REMOTE6, 59, 1, 0, &[])),
                    Told(ACCESS, TtlExceeded),
                ),
            ],
        ),
    ]
}

fn upstream_outer() -> Vec<Case> {
    let sent = |frame| (ACCESS, frame, Sent(CORE));
    let a = "10.0.0.1";
    let over_ipv6 = |packet: &[u8]| {
        ethernet(&udp(LAC6, ENDPOINT6, [1701, 1701], &L2tp::new(OVER_IPV6).with(&ppp_ip(packet))))
    };
    vec![
        case(
            "upstream_outer_ipv6",
            vec![
                sent(over_ipv6(&ping("10.0.0.3", REMOTE, &text(56)))),
                sent(over_ipv6(&ping("2001:db8:3::3", REMOTE6, &text(56)))),
            ],
        ),
        case(
            "upstream_outer_options",
            vec![sent(ethernet(&with_options(&datagram(&L2tp::new(PLAIN).with(&ppp_ip(&ping(
                a,
                REMOTE,
                &text(8),
            )))))))],
        ),
        case(
            "upstream_udp_checksum_zero",
            vec![sent(ethernet(&ip(
                LAC,
                ENDPOINT,
                17,
                &udp_unsummed([1701, 1701], &L2tp::new(PLAIN).with(&ppp_ip(&ping(a, REMOTE, &[])))),
            )))],
        ),
    ]
}

fn framing() -> Vec<Case> {
    let packet = ping("10.0.0.1", REMOTE, &text(24));
    let packet6 = ping("2001:db8:1::1", REMOTE6, &text(24));
    let sent = |frame| (ACCESS, frame, Sent(CORE));
    let l2tp = |l2tp: L2tp| sent(ethernet(&datagram(&l2tp.with(&ppp_ip(&packet)))));
    let base = L2tp::new(PLAIN);
    let mut padded = L2tp { length: true, ..base }.with(&ppp_ip(&packet));
    padded.extend([0xee; 9]);
    let mut trailer = from_lac(PLAIN, &ppp_ip(&packet));
    trailer.extend([0xee; 6]);
    let ppp = |front: &[u8], packet: &[u8]| sent(from_lac(PLAIN, &[front, packet].concat()));
    vec![
        case(
            "l2tp_header_fields",
            vec![
                l2tp(L2tp { length: true, ..base }),
                l2tp(L2tp { sequence: true, ns: 5, ..base }),
                l2tp(L2tp { offset: Some(0), ..base }),
                l2tp(L2tp { offset: Some(3), ..base }),
                l2tp(L2tp { offset: Some(255), priority: true, ..base }),
                l2tp(L2tp {
                    length: true,
                    sequence: true,
                    offset: Some(16),
                    priority: true,
                    ns: 6,
                    ..base
                }),
            ],
        ),
        case(
            "ppp_framing",
            vec![
                ppp(&[0xff, 0x03, 0x00, 0x21], &packet),
                ppp(&[0x00, 0x21], &packet),
                ppp(&[0xff, 0x03, 0x21], &packet),
                ppp(&[0x21], &packet),
                ppp(&[0x57], &packet6),
                ppp(&[0x00, 0x57], &packet6),
            ],
        ),
        case(
            "padding_everywhere",
            vec![
                sent(ethernet(&datagram(&padded))),
                sent(trailer),
                // Padding inside of PPP.
                sent(from_lac(PLAIN, &ppp_ip(&[&packet[..], &[0xee; 11]].concat()))),
            ],
        ),
        case(
            "vlan_tags",
            vec![
                sent(tagged(&[(0x8100, 7)], &datagram(&base.with(&ppp_ip(&packet))))),
                sent(tagged(&[(0x88a8, 7), (0x8100, 8)], &datagram(&base.with(&ppp_ip(&packet))))),
            ],
        ),
    ]
}

/// IPv4 packets whose outer checksum is found in each of the ways there are.
fn every_kind(destination: &str) -> [Vec<u8>; 7] {
    [
        ping(REMOTE, destination, &text(57)),
        udp(REMOTE, destination, [4000, 5000], &text(32)),
        udp(REMOTE, destination, [4000, 5000], &text(33)),
        tcp(REMOTE, destination, &text(999)),
        ip(REMOTE, destination, 253, &text(31)),
        ip_with(REMOTE, destination, 17, 64, 0x2001, &text(40)),
        with_options(&udp(REMOTE, destination, [1, 2], &text(5))),
    ]
}

/// The same of IPv6.
fn every_kind6(destination: &str) -> [Vec<u8>; 4] {
    [
        ping(REMOTE6, destination, &text(57)),
        udp(REMOTE6, destination, [4000, 5000], &text(33)),
        tcp(REMOTE6, destination, &text(400)),
        // A destination options header in front of nothing: summed in full.
        ip(REMOTE6, destination, 60, &[59, 0, 1, 4, 0, 0, 0, 0]),
    ]
}

fn downstream() -> Vec<Case> {
    let to = |packet: Vec<u8>, expected| (CORE, ethernet(&packet), expected);
    let sent = |packet| to(packet, Sent(ACCESS));
    let mut unsummed = ip(REMOTE, "10.0.0.1", 17, &udp_unsummed([4000, 5000], &text(33)));
    seal(&mut unsummed);
    let all = |destination: &str| every_kind(destination).map(sent).to_vec();
    let all6 = |destination: &str| every_kind6(destination).map(sent).to_vec();
    let in_two = Pieces(ACCESS, 2);
    vec![
        case(
            "downstream_plain",
            [all("10.0.0.1"), all6("2001:db8:1::1"), vec![sent(unsummed)]].concat(),
        ),
        // Its checksum is right at the end of the way, which is not the header's destination.
        case(
            "downstream_source_route",
            vec![
                sent(source_routed(&tcp(REMOTE, "10.0.0.77", &text(9)), "10.0.0.1")),
                sent(source_routed(&udp(REMOTE, "10.0.0.77", [1, 2], &text(9)), "10.0.0.9")),
            ],
        ),
        // Ethernet frames have 60 octets at least: what fills them up is not sent on.
        case(
            "downstream_padding",
            vec![
                (CORE, padded(&ping(REMOTE, "10.0.0.1", &[])), Sent(ACCESS)),
                (CORE, padded(&udp(REMOTE, "10.0.0.2", [1, 2], &[7])), Sent(ACCESS)),
                (CORE, padded(&udp(REMOTE6, "2001:db8:1::1", [1, 2], &[7])), Sent(ACCESS)),
                (CORE, padded(&ping(REMOTE, GATEWAY, &[])), Sent(HOST)),
            ],
        ),
        case("downstream_compressed", all("10.0.0.2")),
        case("downstream_odd", all("10.0.0.9")),
        case("downstream_outer_ipv6", [all("10.0.0.3"), all6("2001:db8:3::1")].concat()),
        case("downstream_framed_prefix", vec![sent(ping(REMOTE, "10.1.0.200", &text(8)))]),
        case(
            "downstream_size",
            vec![
                sent(ip(REMOTE, "10.0.0.6", 253, &text(556))),
                to(ip(REMOTE, "10.0.0.6", 253, &text(557)), in_two),
                // 1500 less IP, UDP, L2TP and PPP: 1462 fit.
                sent(ip(REMOTE, "10.0.0.7", 253, &text(1442))),
                to(ip(REMOTE, "10.0.0.7", 253, &text(1443)), in_two),
                sent(ip(REMOTE, "10.0.0.3", 253, &text(1423))),
                to(ip(REMOTE, "10.0.0.3", 253, &text(1424)), in_two),
            ],
        ),
        case(
            "downstream_ttl",
            vec![
                sent(ip_with(REMOTE, "10.0.0.1", 253, 2, 0, &text(20))),
                to(ip_with(REMOTE, "10.0.0.1", 253, 1, 0, &text(20)), Told(CORE, TtlExceeded)),
            ],
        ),
        case(
            "downstream_no_way_to_the_peer",
            vec![
                to(ping(REMOTE, "10.0.0.5", &[]), Dropped(NeighborUnknown)),
                to(ping(REMOTE, "10.0.0.8", &[]), Told(CORE, NoRoute)),
            ],
        ),
    ]
}

fn between() -> Vec<Case> {
    let sent = |frame| (ACCESS, frame, Sent(ACCESS));
    vec![case(
        "subscriber_to_subscriber",
        vec![
            sent(from_subscriber(PLAIN, &ping("10.0.0.1", "10.0.0.2", &text(56)))),
            sent(from_subscriber(COMPRESSED, &ping("10.0.0.2", "10.0.0.1", &text(56)))),
            sent(from_subscriber(PLAIN, &tcp("2001:db8:1::1", "2001:db8:3::1", &text(99)))),
            // To itself, by its own framed prefix.
            sent(from_subscriber(PLAIN, &udp("10.0.0.1", "10.1.0.1", [7, 7], &text(9)))),
            (
                ACCESS,
                from_subscriber(PLAIN, &ping("10.0.0.1", "10.0.0.99", &[])),
                Told(ACCESS, Unreachable),
            ),
        ],
    )]
}

fn echoes() -> Vec<Case> {
    let lcp = |session, packet: &[u8]| from_lac(session, &ppp(0xc021, packet));
    let sent = |frame| (ACCESS, frame, Sent(ACCESS));
    let dropped = |frame, reason| (ACCESS, frame, Dropped(reason));
    let request = |session, magic| lcp(session, &echo(9, 42, magic, b"are you there"));
    let malformed = |length: u8| lcp(PLAIN, &[9, 1, 0, length, 0, 0, 0, 5]);
    vec![
        case(
            "echo_answered",
            vec![
                sent(request(PLAIN, 0x2222_2222)),
                sent(request(PLAIN, 0)),
                sent(request(COMPRESSED, 0)),
                sent(request(COMPRESSED, 0x1234_5678)),
                sent(request(LCP_ONLY, 0x2222_2222)),
                sent(lcp(PLAIN, &echo(9, 1, 2, &[]))),
                // Padding after the packet; framing cut short.
                sent(lcp(PLAIN, &[&echo(9, 1, 2, &text(4))[..], &[0; 9]].concat())),
                sent(from_lac(PLAIN, &[&[0xc0, 0x21], &echo(9, 1, 2, &text(3))[..]].concat())),
                sent(ethernet(&udp(
                    LAC6,
                    ENDPOINT6,
                    [1701, 1701],
                    &L2tp::new(OVER_IPV6).with(&ppp(0xc021, &echo(9, 7, 8, &text(5)))),
                ))),
            ],
        ),
        case(
            "echo_as_long_as_the_mru",
            [(SMALL_MRU, 568), (SMALL_MRU, 569), (TINY, 56), (TINY, 700)]
                .map(|(session, length)| sent(lcp(session, &echo(9, 1, 2, &text(length)))))
                .to_vec(),
        ),
        case(
            "echo_dropped",
            vec![
                dropped(request(PLAIN, MAGIC), EchoLooped),
                dropped(lcp(PLAIN, &echo(10, 1, 2, &[])), EchoReply),
                // To a request of control's, and to one of ours that was never sent.
                dropped(lcp(COMPRESSED, &echo(10, 0x7f, 2, &[])), EchoReply),
                dropped(lcp(COMPRESSED, &echo(10, 0x80, 2, &text(16))), EchoLate),
                dropped(malformed(7), EchoMalformed),
                dropped(malformed(9), EchoMalformed),
                sent(malformed(8)),
                dropped(lcp(PLAIN, &[9, 1, 0, 8, 0, 0, 0]), EchoMalformed),
                dropped(lcp(PLAIN, &[]), EchoMalformed),
                // A Configure-Request and a Terminate-Request are control's.
                dropped(lcp(PLAIN, &[1, 1, 0, 4]), PppProtocol),
                dropped(lcp(PLAIN, &[5, 1, 0, 4]), PppProtocol),
            ],
        ),
        strays(),
    ]
}

/// LCP that no session takes: control's, where a tunnel ends.
fn strays() -> Case {
    let request = ppp(0xc021, &echo(9, 42, 7, b"are you there"));
    let to = |tunnel, session| L2tp { tunnel, ..L2tp::new(session) }.with(&request);
    let from = |source, destination, port, message: &[u8]| {
        ethernet(&udp(source, destination, [port, 1701], message))
    };
    let handed_over = |frame| (ACCESS, frame, Sent(HOST));
    let dropped = |frame, reason| (ACCESS, frame, Dropped(reason));
    let data = L2tp::new(PLAIN).with(&ppp_ip(&ping("10.0.0.1", REMOTE, &text(8))));
    let in_unknown = L2tp::new(0x01ff).with(&ppp_ip(&ping("10.0.0.1", REMOTE, &text(8))));
    case(
        "echo_strays",
        vec![
            handed_over(from(LAC, ENDPOINT, 1701, &to(0x11, 0x01ff))),
            handed_over(from(LAC, ENDPOINT, 1701, &to(0x12, PLAIN))),
            handed_over(from(LAC6, ENDPOINT6, 1701, &to(0x12, PLAIN))),
            handed_over(tagged(&[(0x8100, 7)], &from(LAC, ENDPOINT, 1701, &to(0, 0))[14..])),
            handed_over(from(LAC, ENDPOINT, 4001, &to(0x11, PLAIN))),
            handed_over(from(LAC6, ENDPOINT6, 4001, &to(0x11, OVER_IPV6))),
            dropped(from(LAC, ENDPOINT, 1701, &in_unknown), NoSuchSession),
            dropped(from(LAC, ENDPOINT, 4001, &data), OuterAddress),
            dropped(from("198.51.100.9", ENDPOINT, 1701, &to(0x11, PLAIN)), OuterAddress),
            dropped(from("198.51.100.9", ENDPOINT, 4001, &to(0x11, PLAIN)), OuterAddress),
        ],
    )
}

fn host() -> Vec<Case> {
    let dropped = |packet, reason| (HOST, packet, Dropped(reason));
    vec![case(
        "from_the_host",
        vec![
            (HOST, ping(GATEWAY, "10.0.0.1", &text(56)), Sent(ACCESS)),
            // The kernel counted the hop, or the packet begins here: TTL 1 still arrives.
            (HOST, ip_with(GATEWAY, "10.0.0.2", 253, 1, 0, &text(9)), Sent(ACCESS)),
            (HOST, ping(GATEWAY, REMOTE, &text(56)), Sent(CORE)),
            (HOST, ping("2001:db8:9::1", REMOTE6, &text(56)), Sent(CORE)),
            dropped(ping(GATEWAY, OWN, &[]), HostLoop),
            dropped(ping(GATEWAY, "203.0.113.77", &[]), HostLoop),
            dropped(ping(GATEWAY, "198.51.100.3", &[]), HostLoop),
            (HOST, ping(GATEWAY, "10.0.0.99", &[]), Told(HOST, Unreachable)),
            dropped(ping("fe80::1", "ff02::2", &[]), DestinationInvalid),
            dropped(vec![0x50; 40], Ipv6Malformed),
            dropped(vec![], Ipv6Malformed),
        ],
    )]
}

fn to_the_host() -> Vec<Case> {
    vec![case(
        "to_the_host",
        vec![
            (ACCESS, from_subscriber(PLAIN, &ping("10.0.0.1", GATEWAY, &text(56))), Sent(HOST)),
            // The host is the end of the way: the TTL does not matter.
            (
                ACCESS,
                from_subscriber(PLAIN, &ip_with("10.0.0.1", OWN, 253, 1, 0, &text(9))),
                Sent(HOST),
            ),
            // L2TP inside of a session is a packet like any other.
            (
                ACCESS,
                from_subscriber(
                    PLAIN,
                    &udp(
                        "10.0.0.1",
                        ENDPOINT,
                        [1701, 1701],
                        &L2tp::new(COMPRESSED).with(&ppp_ip(&ping("10.0.0.2", REMOTE, &[]))),
                    ),
                ),
                Sent(HOST),
            ),
            (CORE, ethernet(&ping(REMOTE, GATEWAY, &text(8))), Sent(HOST)),
            (CORE, ethernet(&udp(REMOTE, ENDPOINT, [9, 9], &text(8))), Sent(HOST)),
            // An address of the host where no tunnel ends.
            (
                CORE,
                ethernet(&udp(
                    REMOTE,
                    OWN,
                    [1701, 1701],
                    &L2tp::new(PLAIN).with(&ppp_ip(&ping("10.0.0.1", REMOTE, &[]))),
                )),
                Sent(HOST),
            ),
            // On-link but not known, routed by the kernel, neighbour without address.
            (ACCESS, from_subscriber(PLAIN, &ping("10.0.0.1", "203.0.113.77", &[])), Sent(HOST)),
            (ACCESS, from_subscriber(PLAIN, &ping("10.0.0.1", "100.64.0.1", &[])), Sent(HOST)),
            (ACCESS, from_subscriber(PLAIN, &ping("10.0.0.1", "198.51.100.3", &[])), Sent(HOST)),
        ],
    )]
}

/// What subscribers send to everybody on their link: the host's DHCP server alone hears it.
fn broadcast() -> Vec<Case> {
    let everybody = "255.255.255.255";
    let sent = |from, ports, expected| {
        (ACCESS, from_subscriber(PLAIN, &udp(from, everybody, ports, &text(300))), expected)
    };
    let mut fragment = ip_with("10.0.0.1", everybody, 17, 64, 0x2000, &text(64));
    fragment[22..24].copy_from_slice(&67_u16.to_be_bytes());
    vec![case(
        "broadcast",
        vec![
            sent("10.0.0.1", [68, 67], Sent(HOST)),
            sent("10.1.0.77", [68, 67], Sent(HOST)),
            sent("10.0.0.1", [68, 68], Dropped(DestinationInvalid)),
            sent("10.0.0.1", [137, 137], Dropped(DestinationInvalid)),
            sent("10.0.0.2", [68, 67], Dropped(InnerSource)),
            sent("0.0.0.0", [68, 67], Dropped(InnerSource)),
            (ACCESS, from_subscriber(PLAIN, &fragment), Dropped(DestinationInvalid)),
            (
                ACCESS,
                from_subscriber(PLAIN, &tcp("10.0.0.1", everybody, &text(1))),
                Dropped(DestinationInvalid),
            ),
            (
                CORE,
                ethernet(&udp(REMOTE, everybody, [68, 67], &text(300))),
                Dropped(DestinationInvalid),
            ),
        ],
    )]
}

fn transit() -> Vec<Case> {
    let l2tp = L2tp::new(PLAIN).with(&ppp_ip(&ping("10.0.0.1", REMOTE, &[])));
    let sent = |packet: Vec<u8>| (CORE, ethernet(&packet), Sent(CORE));
    vec![case(
        "transit",
        vec![
            sent(ping("9.9.9.9", REMOTE, &text(8))),
            sent(ping("2001:db8:8::1", REMOTE6, &text(8))),
            // Somebody else's tunnel, also where its IDs are those of a session here, and whatever
            // is wrong with it.
            sent(udp("9.9.9.9", REMOTE, [1701, 1701], &l2tp)),
            sent(udp(LAC, REMOTE, [1701, 1701], &l2tp)),
            sent(udp("9.9.9.9", REMOTE, [1701, 1701], &[0, 3, 0, 0])),
            sent(udp("9.9.9.9", REMOTE, [1701, 1701], &[0xc8, 2, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0])),
            sent(ip("9.9.9.9", REMOTE, 17, &[0, 1, 0, 2, 0, 99, 0, 0])),
            // Nobody knows the way back.
            (CORE, ethernet(&ip_with("9.9.9.9", REMOTE, 253, 1, 0, &[])), Dropped(TtlExceeded)),
            // Larger than the link: fits the frame, not the MTU.
            (CORE, ethernet(&ip("9.9.9.9", REMOTE, 253, &text(1481))), Pieces(CORE, 2)),
            sent(ip("9.9.9.9", REMOTE, 253, &text(1480))),
        ],
    )]
}

fn bad_outer() -> Vec<Case> {
    let dropped = |frame: Vec<u8>, reason| (ACCESS, frame, Dropped(reason));
    let good = datagram(&L2tp::new(PLAIN).with(&ppp_ip(&ping("10.0.0.1", REMOTE, &[]))));
    let change = |place: usize, octet: u8, sealed: bool| {
        let mut packet = good.clone();
        packet[place] = octet;
        if sealed {
            seal(&mut packet);
        }
        ethernet(&packet)
    };
    let message = |octets: &[u8]| ethernet(&datagram(octets));
    let mut ipv6 = ethernet(&udp(LAC6, ENDPOINT6, [1701, 1701], &text(20)));
    ipv6[14 + 5] += 1;
    let mut arp = ethernet(&good);
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    vec![
        case(
            "bad_ethernet",
            vec![
                dropped(vec![], EthernetShort),
                dropped(ethernet(&good)[..13].to_vec(), EthernetShort),
                dropped(tagged(&[(0x8100, 1)], &good)[..17].to_vec(), EthernetShort),
                dropped(arp, EthernetType),
                dropped(tagged(&[(0x8100, 1); 3], &good), EthernetType),
            ],
        ),
        case(
            "bad_ip",
            vec![
                dropped(ethernet(&good)[..33].to_vec(), Ipv4Malformed),
                dropped(change(0, 0x44, true), Ipv4Malformed),
                dropped(change(3, 0xff, true), Ipv4Malformed),
                dropped(change(8, 63, false), Ipv4Checksum),
                dropped(ipv6.clone(), Ipv6Malformed),
                dropped(ipv6[..53].to_vec(), Ipv6Malformed),
            ],
        ),
        case(
            "bad_udp",
            vec![
                dropped(change(25, 7, false), UdpMalformed),
                dropped(change(24, 0xff, false), UdpMalformed),
                dropped(ethernet(&ip(LAC, ENDPOINT, 17, &[6, 0xa5, 6, 0xa5])), UdpMalformed),
            ],
        ),
        case(
            "bad_l2tp",
            vec![
                dropped(message(&[]), L2tpMalformed),
                dropped(message(&[0, 2, 0, 0x11, 1]), L2tpMalformed),
                dropped(message(&[0x40, 2, 0, 99, 0, 0x11, 1, 1, 0, 0x21]), L2tpMalformed),
                dropped(message(&[0x02, 2, 0, 0x11, 1, 1, 0xff, 0xff, 0, 0]), L2tpMalformed),
                dropped(message(&[0, 3, 0, 0x11, 1, 1]), L2tpVersion),
                dropped(message(&[0, 1, 0, 0x11, 1, 1]), L2tpVersion),
                dropped(message(&[0xc8, 2, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0]), L2tpControl),
            ],
        ),
    ]
}

fn wrong_session() -> Vec<Case> {
    let dropped = |frame: Vec<u8>, reason| (ACCESS, frame, Dropped(reason));
    let inner = ppp_ip(&ping("10.0.0.1", REMOTE, &[]));
    let from = |source: &str, destination: &str, port: u16| {
        ethernet(&udp(source, destination, [port, 1701], &L2tp::new(PLAIN).with(&inner)))
    };
    let to = |tunnel, session| {
        ethernet(&datagram(&L2tp { tunnel, session, ..L2tp::default() }.with(&inner)))
    };
    vec![
        case(
            "no_such_session",
            vec![
                dropped(to(0x11, 0x01ff), NoSuchSession),
                dropped(to(0x12, PLAIN), NoSuchSession),
                dropped(to(0, 0), NoSuchSession),
                dropped(to(0xffff, 0xffff), NoSuchSession),
            ],
        ),
        case(
            "outer_address",
            vec![
                dropped(from("198.51.100.9", ENDPOINT, 1701), OuterAddress),
                dropped(from(LAC, ENDPOINT, 1702), OuterAddress),
                dropped(from(LAC6, ENDPOINT6, 1701), OuterAddress),
            ],
        ),
    ]
}

fn bad_inner() -> Vec<Case> {
    let dropped = |frame: Vec<u8>, reason| (ACCESS, frame, Dropped(reason));
    let plain = |information: &[u8]| from_lac(PLAIN, information);
    let packet = ping("10.0.0.1", REMOTE, &text(8));
    let mut wrong_sum = packet.clone();
    wrong_sum[10] ^= 1;
    let mut too_long = packet.clone();
    too_long[3] += 1;
    seal(&mut too_long);
    let packet6 = ping("2001:db8:1::1", REMOTE6, &text(8));
    vec![
        case(
            "bad_ppp",
            vec![
                dropped(plain(&[]), PppMalformed),
                dropped(plain(&[0xff, 0x03]), PppMalformed),
                dropped(plain(&[0xff, 0x03, 0x00]), PppMalformed),
                // CCP, IPCP, an even number.
                dropped(plain(&ppp(0x80fd, &[1, 1, 0, 4])), PppProtocol),
                dropped(plain(&ppp(0x8021, &[1, 1, 0, 4])), PppProtocol),
                dropped(plain(&ppp(0xc020, &[1, 1, 0, 4])), PppProtocol),
            ],
        ),
        case(
            "bad_inner",
            vec![
                dropped(plain(&ppp_ip(&packet[..19])), InnerMalformed),
                dropped(plain(&ppp_ip(&packet[..packet.len() - 1])), InnerMalformed),
                dropped(plain(&ppp_ip(&too_long)), InnerMalformed),
                dropped(plain(&ppp(0x0057, &packet)), InnerMalformed),
                dropped(plain(&ppp(0x0021, &packet6)), InnerMalformed),
                dropped(plain(&ppp_ip(&packet6[..packet6.len() - 1])), InnerMalformed),
                dropped(plain(&ppp_ip(&wrong_sum)), Ipv4Checksum),
            ],
        ),
        case(
            "no_network_protocol",
            vec![
                dropped(from_subscriber(LCP_ONLY, &packet), NoNetworkProtocol),
                dropped(from_subscriber(LCP_ONLY, &packet6), NoNetworkProtocol),
                dropped(from_subscriber(COMPRESSED, &packet6), NoNetworkProtocol),
            ],
        ),
    ]
}

fn bad_addresses() -> Vec<Case> {
    let dropped = |frame: Vec<u8>, reason| (ACCESS, frame, Dropped(reason));
    let source = |session, source: &str, destination: &str| {
        dropped(from_subscriber(session, &ping(source, destination, &[])), InnerSource)
    };
    let from = |source: &str, destination: &str, expected| {
        (CORE, ethernet(&ping(source, destination, &[])), expected)
    };
    let invalid = |source: &str, destination: &str| {
        dropped(from_subscriber(PLAIN, &ping(source, destination, &[])), DestinationInvalid)
    };
    vec![
        case(
            "inner_source",
            vec![
                source(PLAIN, "10.0.0.2", REMOTE),
                source(PLAIN, "10.2.0.1", REMOTE),
                source(PLAIN, "0.0.0.0", REMOTE),
                source(PLAIN, REMOTE, REMOTE),
                source(PLAIN, "2001:db8:3::1", REMOTE6),
                source(PLAIN, "2001:db8:8::1", REMOTE6),
                source(COMPRESSED, "10.0.0.1", REMOTE),
            ],
        ),
        case(
            "source_invalid",
            vec![
                from("0.0.0.0", "10.0.0.1", Dropped(SourceInvalid)),
                from("127.0.0.1", "10.0.0.1", Dropped(SourceInvalid)),
                from("169.254.1.1", REMOTE, Dropped(SourceInvalid)),
                from("224.0.0.1", "10.0.0.1", Dropped(SourceInvalid)),
                from("255.255.255.255", "10.0.0.1", Dropped(SourceInvalid)),
                from("::", "2001:db8:1::1", Dropped(SourceInvalid)),
                from("::1", "2001:db8:1::1", Dropped(SourceInvalid)),
                from("fe80::1", "2001:db8:1::1", Dropped(SourceInvalid)),
                from("ff02::1", REMOTE6, Dropped(SourceInvalid)),
                // The kernel judges what it gets.
                from("169.254.1.1", OWN, Sent(HOST)),
                // The host's own packets begin here.
                (HOST, ping("169.254.1.1", "10.0.0.1", &[]), Sent(ACCESS)),
            ],
        ),
        case(
            "destination_invalid",
            vec![
                invalid("10.0.0.1", "0.0.0.0"),
                invalid("10.0.0.1", "127.0.0.1"),
                invalid("10.0.0.1", "169.254.1.1"),
                invalid("10.0.0.1", "224.0.0.1"),
                invalid("10.0.0.1", "255.255.255.255"),
                invalid("2001:db8:1::1", "::"),
                invalid("2001:db8:1::1", "::1"),
                invalid("2001:db8:1::1", "fe80::1"),
                invalid("2001:db8:1::1", "ff02::1"),
            ],
        ),
    ]
}

fn routes() -> Vec<Case> {
    let dropped =
        |packet: Vec<u8>, reason| (ACCESS, from_subscriber(PLAIN, &packet), Dropped(reason));
    let told =
        |packet: Vec<u8>, reason| (ACCESS, from_subscriber(PLAIN, &packet), Told(ACCESS, reason));
    vec![case(
        "no_way",
        vec![
            told(ping("10.0.0.1", "9.9.9.9", &[]), NoRoute),
            told(ping("2001:db8:1::1", "2001:db8:7::1", &[]), NoRoute),
            told(ping("10.0.0.1", "192.88.1.1", &[]), Unreachable),
            dropped(ping("10.0.0.1", "10.0.0.5", &[]), NeighborUnknown),
        ],
    )]
}

fn dialled() -> Vec<Case> {
    let out = |packet: Vec<u8>, expected| (ACCESS, from_subscriber(DIALLED, &packet), expected);
    vec![
        // Also to the peer's PPP address, which is its tunnel address: what is put around it goes by
        // the route to the tunnel's peer, never back into the session.
        case(
            "into_a_dialled_session",
            vec![
                (HOST, ping(DIALLED_ADDRESS, LAC, &text(56)), Sent(ACCESS)),
                (HOST, ping(DIALLED_ADDRESS, "44.1.2.3", &text(56)), Sent(ACCESS)),
                (HOST, tcp("2001:db8:9::7", "2001:db8:44::1", &text(99)), Sent(ACCESS)),
                (CORE, ethernet(&ping(REMOTE, "44.1.2.3", &text(56))), Sent(ACCESS)),
            ],
        ),
        case(
            "out_of_a_dialled_session",
            vec![
                out(ping("44.1.2.3", DIALLED_ADDRESS, &text(56)), Sent(HOST)),
                out(ping(LAC, DIALLED_ADDRESS, &text(56)), Sent(HOST)),
                // From anywhere, and to whoever is behind us.
                out(ping("9.9.9.9", REMOTE, &text(8)), Sent(CORE)),
                out(tcp("2001:db8:44::1", REMOTE6, &text(8)), Sent(CORE)),
            ],
        ),
        case(
            "dialled_session_loop",
            vec![
                out(ping("9.9.9.9", "44.7.7.7", &text(8)), Dropped(SessionLoop)),
                out(ping("9.9.9.9", LAC, &text(8)), Dropped(SessionLoop)),
                out(ping("2001:db8:7::1", "2001:db8:44::1", &text(8)), Dropped(SessionLoop)),
                out(ping("127.0.0.1", REMOTE, &text(8)), Dropped(SourceInvalid)),
                out(ping("9.9.9.9", "127.0.0.1", &text(8)), Dropped(DestinationInvalid)),
            ],
        ),
    ]
}
