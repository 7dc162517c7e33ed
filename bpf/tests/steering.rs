//! Every decision of the steering program, by frames.

mod model;
mod stage;

use model::World;
use stage::*;
use xlns_bpf::Reason::{self, *};

/// Shows the frame on a port and says where it goes wrong.
fn check(stage: &Stage, port: usize, what: &str, frame: &[u8], expected: Reason) {
    let reason = stage.decide(port, frame);
    assert_eq!(reason, expected, "{what}: {frame:02x?}");
    assert_eq!(World::of(port == CORE).classify(frame), expected, "the model on {what}");
}

const FRAMINGS: [(bool, bool); 4] = [(false, false), (true, false), (false, true), (true, true)];

/// L, S, O and P in every combination.
fn header_flags() -> impl Iterator<Item = u16> {
    (0..16_u16).map(|bits| {
        [L, S, O, P]
            .iter()
            .enumerate()
            .fold(0, |flags, (index, bit)| if bits >> index & 1 == 1 { flags | bit } else { flags })
    })
}

#[test]
fn data_goes_to_the_workers_under_every_header_and_framing() {
    let stage = Stage::new(UNLIMITED);
    for flags in header_flags() {
        for (acfc, pfc) in FRAMINGS {
            for offset in [0, 1, 2, 7, 100] {
                let message = |protocol, packet: &[u8]| {
                    l2tp_data(flags, offset, &ppp(acfc, pfc, protocol, packet))
                };
                let what = format!("flags {flags:04x} acfc {acfc} pfc {pfc} offset {offset}");
                let ipv4 = message(0x21, &inner4());
                let ipv6 = message(0x57, &inner6("2001:db8:beef::1"));
                check(&stage, ACCESS, &what, &to_endpoint(&ipv4), XskL2tpIpv4);
                check(&stage, ACCESS, &what, &to_endpoint(&ipv6), XskL2tpIpv6);
                check(&stage, CORE, &what, &to_endpoint6(&ipv4), XskL2tpIpv4);
                check(&stage, CORE, &what, &to_endpoint6(&ipv6), XskL2tpIpv6);
            }
        }
    }
}

#[test]
fn reserved_header_bits_are_ignored() {
    let stage = Stage::new(UNLIMITED);
    for bit in [0x2000, 0x1000, 0x0400, 0x0080, 0x0040, 0x0020, 0x0010] {
        let message = l2tp_data(bit | L, 0, &ppp(false, false, 0x21, &inner4()));
        check(&stage, ACCESS, "reserved bit", &to_endpoint(&message), XskL2tpIpv4);
    }
}

#[test]
fn ppp_protocols() {
    let stage = Stage::new(UNLIMITED);
    let lcp = |code| (0xc021, vec![code, 1, 0, 8, 1, 2, 3, 4]);
    let mut table = vec![
        ("PAP", (0xc023, vec![1, 1, 0, 6, 0, 0]), PassPppControl),
        ("CHAP", (0xc223, vec![2, 1, 0, 6, 0, 0]), PassPppControl),
        ("IPCP", (0x8021, vec![1, 1, 0, 4]), PassPppControl),
        ("IPv6CP", (0x8057, vec![1, 1, 0, 4]), PassPppControl),
        ("CCP", (0x80fd, vec![1, 1, 0, 4]), PassPppControl),
        ("ACSP", (0x8235, vec![1, 1, 0, 4]), PassPppControl),
        ("multilink", (0x003d, vec![0xc0, 0, 0, 1, 2]), PassPppControl),
        ("an even protocol", (0x0020, vec![0x45, 0, 0, 20]), PassPppControl),
        ("LCP without a code", (0xc021, vec![]), PassPppControl),
    ];
    for code in 0..=255 {
        let reason = if code == 9 { XskLcpEcho } else { PassPppControl };
        table.push(("an LCP code", lcp(code), reason));
    }
    // Replies: to control's requests, and to the workers'.
    for (identifier, reason) in
        [(0, PassPppControl), (0x7f, PassPppControl), (0x80, XskLcpEcho), (0xff, XskLcpEcho)]
    {
        let reply = (0xc021, vec![10, identifier, 0, 8, 1, 2, 3, 4]);
        table.push(("an Echo-Reply", reply, reason));
    }
    for (what, (protocol, packet), reason) in table {
        for acfc in [false, true] {
            if acfc && packet.is_empty() {
                continue; // below the least PPP frame, tested elsewhere
            }
            let message = l2tp_data(L, 0, &ppp(acfc, false, protocol, &packet));
            check(&stage, ACCESS, what, &to_endpoint(&message), reason);
            check(&stage, ACCESS, what, &to_endpoint6(&message), reason);
        }
    }
    let compressed = l2tp_data(0, 0, &ppp(true, true, 0x3d, &[0xc0, 0, 0, 1]));
    check(&stage, ACCESS, "compressed multilink", &to_endpoint(&compressed), PassPppControl);
    let reserved = l2tp_data(0, 0, &[0xff, 0x21, 0x45, 0]);
    check(&stage, ACCESS, "FF without 03", &to_endpoint(&reserved), PassPppControl);
}

#[test]
fn subscribers_ipv6_to_link_local_or_multicast_is_for_control() {
    let stage = Stage::new(UNLIMITED);
    for (destination, reason) in [
        ("ff02::2", PassPppControl),
        ("ff02::1:2", PassPppControl),
        ("ff0e::1", PassPppControl),
        ("fe80::1", PassPppControl),
        ("febf:ffff::1", PassPppControl),
        ("fec0::1", XskL2tpIpv6),
        ("fe7f::1", XskL2tpIpv6),
        ("fd00::1", XskL2tpIpv6),
        ("2001:db8::1", XskL2tpIpv6),
    ] {
        for (acfc, pfc) in FRAMINGS {
            let message = l2tp_data(S, 0, &ppp(acfc, pfc, 0x57, &inner6(destination)));
            check(&stage, ACCESS, destination, &to_endpoint(&message), reason);
        }
    }
    // A header too short to have a destination is the workers' to count.
    let short = ppp(true, true, 0x57, &inner6("ff02::2")[..39]);
    check(&stage, ACCESS, "39 octets", &to_endpoint(&l2tp_data(0, 0, &short)), XskL2tpIpv6);
    let whole = ppp(true, true, 0x57, &inner6("ff02::2")[..40]);
    check(&stage, ACCESS, "40 octets", &to_endpoint(&l2tp_data(0, 0, &whole)), PassPppControl);
}

#[test]
fn l2tp_control_goes_to_the_kernel() {
    let stage = Stage::new(UNLIMITED);
    let without_length = [0x88, 2, 0, 5, 0, 6, 0, 0, 0, 0];
    let table: [(&str, Vec<u8>, Reason); 9] = [
        ("SCCRQ", l2tp_control(0), PassL2tpSetup),
        ("tunnel 1", l2tp_control(1), PassL2tpTunnel),
        ("tunnel 65535", l2tp_control(65535), PassL2tpTunnel),
        ("ZLB", l2tp_control(3)[..12].to_vec(), PassL2tpTunnel),
        ("cut in the tunnel ID", l2tp_control(3)[..5].to_vec(), PassL2tpSetup),
        ("flags only", vec![0xc8, 2], PassL2tpSetup),
        ("no L bit", without_length.to_vec(), PassL2tpSetup),
        ("version 3", vec![0xc8, 3, 0, 12, 0, 5, 0, 6, 0, 0, 0, 0], PassL2tpSetup),
        ("version 1", vec![0xc8, 1, 0, 12, 0, 5, 0, 6, 0, 0, 0, 0], PassL2tpSetup),
    ];
    for (what, message, reason) in table {
        check(&stage, ACCESS, what, &to_endpoint(&message), reason);
        check(&stage, CORE, what, &to_endpoint6(&message), reason);
    }
}

#[test]
fn data_of_other_versions_is_dropped() {
    let stage = Stage::new(UNLIMITED);
    for version in 0..16 {
        let mut message = l2tp_data(0, 0, &ppp(false, false, 0x21, &inner4()));
        message[1] = version;
        let reason = if version == 2 { XskL2tpIpv4 } else { DropL2tpVersion };
        check(&stage, ACCESS, &format!("version {version}"), &to_endpoint(&message), reason);
    }
}

/// Cuts `frame` after every octet; `edges` say from which length on which reason holds.
fn check_cuts(stage: &Stage, port: usize, frame: &[u8], edges: &[(usize, Reason)]) {
    assert_eq!(edges[0].0, 14, "the kernel runs nothing below an Ethernet header");
    for length in 14..=frame.len() {
        let expected = edges.iter().rev().find(|(from, _)| *from <= length).expect("covered").1;
        check(stage, port, &format!("cut to {length}"), &frame[..length], expected);
    }
}

#[test]
fn data_cut_after_every_octet() {
    let stage = Stage::new(UNLIMITED);
    // 14 Ethernet, 20 IPv4, 8 UDP, 6 L2TP, PPP.
    let plain = to_endpoint(&l2tp_data(0, 0, &ppp(false, false, 0x21, &inner4())));
    let edges = [(14, PassMalformed), (42, DropL2tpShort), (48, DropPppShort), (52, XskL2tpIpv4)];
    check_cuts(&stage, ACCESS, &plain, &edges);

    let all = to_endpoint(&l2tp_data(L | S | O, 3, &ppp(true, true, 0x21, &inner4())));
    let edges = [
        (14, PassMalformed),
        (42, DropL2tpShort),
        (56, DropL2tpOffset),
        (59, DropPppShort),
        (63, XskL2tpIpv4),
    ];
    check_cuts(&stage, ACCESS, &all, &edges);

    // Two tags, IPv6, hop-by-hop options; LCP echo.
    let echo = ppp(false, false, 0xc021, &[9, 1, 0, 8, 0, 0, 0, 0]);
    let packet = ipv6(
        ENDPOINT6,
        &[(0, vec![0, 1, 4, 0, 0, 0, 0])],
        17,
        &udp(L2TP_PORT, &l2tp_data(L, 0, &echo)),
    );
    let tagged = ethernet(MAC, &[0x88a8, 0x8100], 0x86dd, &packet);
    let edges = [
        (14, PassMalformed),
        (78, DropL2tpShort),
        (86, DropPppShort),
        (90, PassPppControl),
        (91, XskLcpEcho),
    ];
    check_cuts(&stage, CORE, &tagged, &edges);

    let control = to_endpoint(&l2tp_control(9));
    let edges =
        [(14, PassMalformed), (42, DropL2tpShort), (44, PassL2tpSetup), (48, PassL2tpTunnel)];
    check_cuts(&stage, ACCESS, &control, &edges);
}

#[test]
fn the_udp_length_bounds_what_is_read_in_a_padded_frame() {
    let stage = Stage::new(UNLIMITED);
    let message = l2tp_data(O | S, 2, &ppp(false, false, 0x21, &inner4()));
    for length in 0..=message.len() {
        let mut frame = to_endpoint(&message);
        let udp_length = u16::try_from(8 + length).expect("fits");
        frame[38..40].copy_from_slice(&udp_length.to_be_bytes());
        let reason = match length {
            0..12 => DropL2tpShort,
            12..14 => DropL2tpOffset,
            14..18 => DropPppShort,
            _ => XskL2tpIpv4,
        };
        check(&stage, ACCESS, &format!("{length} octets by UDP"), &frame, reason);
    }
    for udp_length in 0..8_u16 {
        let mut frame = to_endpoint(&message);
        frame[38..40].copy_from_slice(&udp_length.to_be_bytes());
        check(&stage, ACCESS, "UDP length below its header", &frame, DropL2tpShort);
    }
}

#[test]
fn offsets_that_lead_outside_are_dropped() {
    let stage = Stage::new(UNLIMITED);
    let payload = ppp(false, false, 0x21, &inner4());
    let size = u16::try_from(payload.len()).expect("fits");
    for (offset, reason) in [
        (0, XskL2tpIpv4),
        (size - 4, PassPppControl), // zeroes of the inner packet's end
        (size - 3, DropPppShort),
        (size, DropPppShort),
        (size + 1, DropL2tpOffset),
        (0x3fff, DropL2tpOffset),
        (0x4000, DropL2tpOffset),
        (0xffff, DropL2tpOffset),
    ] {
        let mut message = l2tp_data(O, 0, &payload);
        message[6..8].copy_from_slice(&u16::to_be_bytes(offset));
        check(&stage, ACCESS, &format!("offset {offset}"), &to_endpoint(&message), reason);
    }
}

#[test]
fn tags() {
    let stage = Stage::new(UNLIMITED);
    let packet =
        ipv4(&UDP, ENDPOINT, &udp(1701, &l2tp_data(0, 0, &ppp(true, true, 0x21, &inner4()))));
    for (tags, reason) in [
        (&[][..], XskL2tpIpv4),
        (&[0x8100], XskL2tpIpv4),
        (&[0x88a8], XskL2tpIpv4),
        (&[0x8100, 0x8100], XskL2tpIpv4),
        (&[0x88a8, 0x8100], XskL2tpIpv4),
        (&[0x8100, 0x8100, 0x8100], PassNotIp),
        (&[0x9100], PassNotIp),
    ] {
        let frame = ethernet(MAC, tags, 0x0800, &packet);
        check(&stage, ACCESS, &format!("tags {tags:04x?}"), &frame, reason);
    }
}

#[test]
fn what_is_not_ip_is_the_kernels() {
    let stage = Stage::new(UNLIMITED);
    for kind in [0x0806, 0x88cc, 0x8863, 0x8864, 0x0026, 0x8847, 0] {
        for port in [ACCESS, CORE] {
            check(&stage, port, "EtherType", &ethernet(MAC, &[], kind, &[0; 46]), PassNotIp);
        }
    }
}

#[test]
fn nonsense_ip_headers_are_the_kernels() {
    let stage = Stage::new(UNLIMITED);
    let good = to_endpoint(&l2tp_data(0, 0, &ppp(true, true, 0x21, &inner4())));
    for (first, reason) in [
        (0x45, XskL2tpIpv4),
        (0x44, PassMalformed),
        (0x40, PassMalformed),
        (0x65, PassMalformed),
        (0x05, PassMalformed),
    ] {
        let mut frame = good.clone();
        frame[14] = first;
        check(&stage, ACCESS, "IPv4 version and length", &frame, reason);
    }
    let mut frame = to_endpoint6(&l2tp_data(0, 0, &ppp(true, true, 0x21, &inner4())));
    frame[14] = 0x40;
    check(&stage, ACCESS, "IPv6 with version 4", &frame, PassMalformed);
}

#[test]
fn ipv4_options_and_ttl_do_not_matter() {
    let stage = Stage::new(UNLIMITED);
    let message = udp(1701, &l2tp_data(0, 0, &ppp(true, true, 0x21, &inner4())));
    for options in (0..=40).step_by(4) {
        for ttl in [0, 1, 255] {
            let packet = ipv4(&Ipv4 { options, ttl, ..UDP }, ENDPOINT, &message);
            check(&stage, ACCESS, &format!("{options} octets"), &frame(&packet), XskL2tpIpv4);
        }
    }
    let packet = ipv4(&Ipv4 { ttl: 1, ..UDP }, "100.64.1.1", &[0; 20]);
    check(&stage, ACCESS, "TTL 1 to a subscriber", &frame(&packet), XskSubscriber);
}

#[test]
fn ipv6_extension_headers() {
    let stage = Stage::new(UNLIMITED);
    let message = udp(1701, &l2tp_data(0, 0, &ppp(true, true, 0x21, &inner4())));
    let eight = || vec![0, 1, 4, 0, 0, 0, 0];
    let long = || {
        let mut octets = vec![2];
        octets.resize(23, 0);
        octets
    };
    let four = vec![(0, eight()), (60, eight()), (43, eight()), (60, long())];
    let five = [four.clone(), vec![(60, eight())]].concat();
    for (what, chain, reason) in [
        ("hop-by-hop", vec![(0, eight())], XskL2tpIpv4),
        ("destination options", vec![(60, long())], XskL2tpIpv4),
        ("routing", vec![(43, eight())], XskL2tpIpv4),
        ("four", four, XskL2tpIpv4),
        ("five", five, PassHost),
        ("authentication header", vec![(51, eight())], PassHost),
        ("ESP", vec![(50, eight())], PassHost),
    ] {
        check(&stage, ACCESS, what, &frame(&ipv6(ENDPOINT6, &chain, 17, &message)), reason);
    }
    let tcp = ipv6(ENDPOINT6, &[(0, eight())], 6, &message);
    check(&stage, ACCESS, "TCP behind options", &frame(&tcp), PassHost);
    let mut lying = frame(&ipv6(ENDPOINT6, &[(0, eight())], 17, &message));
    lying[55] = 255;
    check(&stage, ACCESS, "an extension past the end", &lying, PassMalformed);
}

#[test]
fn udp_fragments_to_an_endpoint_go_to_the_kernel_and_those_of_peers_to_the_workers() {
    let mut stage = Stage::new(UNLIMITED);
    udp_fragments(&stage);
    for source in ["198.51.100.2", "2001:db8::2"] {
        stage.steer.set_peer(address(source)).expect("set");
    }
    let ipv4 = frame(&ipv4(&Ipv4 { fragment: 0x0010, ..UDP }, ENDPOINT, &[0; 64]));
    let header = (44, vec![0, 0, 9, 0, 0, 0, 7]);
    let ipv6 = frame(&ipv6(ENDPOINT6, &[header], 17, &[0; 64]));
    for fragment in [ipv4, ipv6] {
        assert_eq!(stage.decide(ACCESS, &fragment), XskFragment);
    }
}

fn udp_fragments(stage: &Stage) {
    let payload = udp(1701, &l2tp_data(0, 0, &ppp(false, false, 0x21, &inner4())));
    let fragments = [(0x2000, "first"), (0x2010, "middle"), (0x0010, "last"), (0x1fff, "far")];
    for (fragment, what) in fragments {
        for (protocol, destination, reason) in [
            (17, ENDPOINT, PassFragment),
            (1, ENDPOINT, PassHost),
            (6, ENDPOINT, PassHost),
            (17, HOST, PassHost),
            (17, GATEWAY, PassHost),
            (17, "100.64.9.9", XskSubscriber),
            (17, "8.8.8.8", PassTransit),
        ] {
            let header = Ipv4 { protocol, fragment, ..UDP };
            let frame = frame(&ipv4(&header, destination, &payload));
            check(stage, ACCESS, &format!("{what} to {destination}"), &frame, reason);
        }
    }
    let whole = frame(&ipv4(&Ipv4 { fragment: 0x4000, ..UDP }, ENDPOINT, &payload));
    check(stage, ACCESS, "don't fragment is no fragment", &whole, XskL2tpIpv4);

    for fragment in [0_u16, 1, 8, 9, 0xfff8] {
        let [high, low] = fragment.to_be_bytes();
        let header = || (44, vec![0, high, low, 0, 0, 0, 7]);
        let hop = || (0, vec![0, 1, 4, 0, 0, 0, 0]);
        for (destination, chain, last, reason) in [
            (ENDPOINT6, vec![header()], 17, PassFragment),
            (ENDPOINT6, vec![hop(), header()], 17, PassFragment),
            (ENDPOINT6, vec![header()], 58, PassHost),
            (HOST6, vec![header()], 17, PassHost),
            ("2001:db8:10f::1", vec![header()], 17, XskSubscriber),
            ("2001:4860::8", vec![header()], 17, PassTransit),
        ] {
            let frame = frame(&ipv6(destination, &chain, last, &payload));
            check(stage, ACCESS, &format!("IPv6 {fragment:x} to {destination}"), &frame, reason);
        }
    }
}

#[test]
fn destinations_on_access_and_core_ports() {
    let stage = Stage::new(UNLIMITED);
    for (destination, access, core) in [
        (ENDPOINT, PassHost, PassHost),
        (HOST, PassHost, PassHost),
        (GATEWAY, PassHost, PassHost),
        ("100.64.0.0", XskSubscriber, XskCore),
        ("100.64.255.255", XskSubscriber, XskCore),
        ("100.65.0.0", PassTransit, XskCore),
        ("100.63.255.255", PassTransit, XskCore),
        ("10.1.2.0", XskSubscriber, XskCore),
        ("10.1.3.255", XskSubscriber, XskCore),
        ("10.1.4.0", PassTransit, XskCore),
        ("203.0.113.7", XskSubscriber, XskCore),
        ("203.0.113.6", PassTransit, XskCore),
        ("223.255.255.255", PassTransit, XskCore),
        ("224.0.0.5", PassNotUnicast, PassNotUnicast),
        ("239.255.255.255", PassNotUnicast, PassNotUnicast),
        ("240.0.0.1", PassNotUnicast, PassNotUnicast),
        ("255.255.255.255", PassNotUnicast, PassNotUnicast),
        ("0.0.0.0", PassNotUnicast, PassNotUnicast),
        ("127.0.0.1", PassNotUnicast, PassNotUnicast),
        ("128.0.0.1", PassTransit, XskCore),
        ("169.254.1.1", PassNotUnicast, PassNotUnicast),
        ("169.253.1.1", PassTransit, XskCore),
    ] {
        let frame = frame(&ipv4(&Ipv4 { protocol: 6, ..UDP }, destination, &[0; 20]));
        check(&stage, ACCESS, destination, &frame, access);
        check(&stage, CORE, destination, &frame, core);
    }
    for (destination, access, core) in [
        (ENDPOINT6, PassHost, PassHost),
        (HOST6, PassHost, PassHost),
        (GATEWAY6, PassHost, PassHost),
        ("2001:db8:100::2", XskSubscriber, XskCore),
        ("2001:db8:10f:ffff::", XskSubscriber, XskCore),
        ("2001:db8:110::", PassTransit, XskCore),
        ("2001:db8:7777::5", XskSubscriber, XskCore),
        ("2001:db8:7777::4", PassTransit, XskCore),
        ("fe80::1", PassNotUnicast, PassNotUnicast),
        ("ff02::1", PassNotUnicast, PassNotUnicast),
        ("fec0::1", PassTransit, XskCore),
    ] {
        let frame = frame(&ipv6(destination, &[], 6, &[0; 20]));
        check(&stage, ACCESS, destination, &frame, access);
        check(&stage, CORE, destination, &frame, core);
    }
}

#[test]
fn l2tp_needs_the_endpoint_and_the_port() {
    let stage = Stage::new(UNLIMITED);
    let message = l2tp_data(0, 0, &ppp(true, true, 0x21, &inner4()));
    for (destination, port, reason) in [
        (ENDPOINT, 1701, XskL2tpIpv4),
        (ENDPOINT, 1702, PassHost),
        (ENDPOINT, 500, PassHost),
        (HOST, 1701, PassHost),
        (GATEWAY, 1701, PassHost),
        ("100.64.9.9", 1701, XskSubscriber),
        ("8.8.8.8", 1701, PassTransit),
    ] {
        let frame = frame(&ipv4(&UDP, destination, &udp(port, &message)));
        check(&stage, ACCESS, &format!("{destination} port {port}"), &frame, reason);
    }
}

#[test]
fn ethernet_destinations() {
    let mut stage = Stage::new(UNLIMITED);
    let packet = ipv4(&UDP, "100.64.1.1", &[0; 20]);
    let to = |mac| ethernet(mac, &[], 0x0800, &packet);
    for mac in [[0xff; 6], [1, 0, 0x5e, 0, 0, 5], [0x33, 0x33, 0, 0, 0, 1]] {
        check(&stage, ACCESS, "group address", &to(mac), PassNotUnicast);
    }
    let other = [2, 0, 0, 0, 0, 9];
    assert_eq!(stage.decide(ACCESS, &to(other)), XskSubscriber, "not told the MAC address");
    stage.steer.set_mac(ACCESS, MAC).expect("told");
    assert_eq!(stage.decide(ACCESS, &to(MAC)), XskSubscriber);
    for index in 0..6 {
        let mut mac = MAC;
        mac[index] ^= 0x40;
        assert_eq!(stage.decide(ACCESS, &to(mac)), PassOtherMac, "octet {index}");
    }
    assert_eq!(stage.decide(CORE, &to(other)), XskCore, "each port has its own");
    stage.steer.set_mac(ACCESS, other).expect("told again");
    assert_eq!(stage.decide(ACCESS, &to(other)), XskSubscriber);
    assert_eq!(stage.decide(ACCESS, &to(MAC)), PassOtherMac);
}

#[test]
fn without_a_socket_the_kernel_gets_the_frame() {
    let stage = Stage::new(UNLIMITED);
    let data = to_endpoint(&l2tp_data(0, 0, &ppp(true, true, 0x21, &inner4())));
    assert_eq!(stage.decide(NO_SOCKET, &data), PassNoSocket);
    assert_eq!(stage.decide(NO_SOCKET, &to_endpoint(&l2tp_control(1))), PassL2tpTunnel);
    assert_eq!(stage.decide(ACCESS, &data), XskL2tpIpv4);
}

/// A small generator of numbers, so that a failure can be repeated.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % limit
    }
}

#[test]
fn mutated_frames_are_steered_as_the_model_says() {
    let stage = Stage::new(UNLIMITED);
    let hop = || vec![(0, vec![0, 1, 4, 0, 0, 0, 0])];
    let seeds = [
        to_endpoint(&l2tp_data(L | S | O, 2, &ppp(false, false, 0x57, &inner6("fe80::1")))),
        to_endpoint(&l2tp_data(0, 0, &ppp(true, true, 0x21, &inner4()))),
        to_endpoint(&l2tp_data(O, 0, &ppp(true, false, 0xc021, &[10, 1, 0, 8, 0, 0, 0, 0]))),
        to_endpoint6(&l2tp_control(4)),
        frame(&ipv6(
            ENDPOINT6,
            &hop(),
            17,
            &udp(1701, &l2tp_data(O, 9, &ppp(false, true, 0x21, &inner4()))),
        )),
        ethernet(MAC, &[0x88a8, 0x8100], 0x86dd, &ipv6("2001:db8:100::7", &[], 17, &[0; 30])),
        frame(&ipv4(&Ipv4 { options: 8, ..UDP }, "10.1.3.4", &[0; 30])),
    ];
    let mut numbers = Numbers(1);
    for round in 0..30_000 {
        let mut frame = seeds[numbers.below(seeds.len())].clone();
        for _ in 0..=numbers.below(3) {
            let place = numbers.below(frame.len());
            frame[place] = match numbers.below(3) {
                0 => frame[place] ^ 1 << numbers.below(8),
                1 => [0, 1, 3, 6, 17, 44, 60, 255][numbers.below(8)],
                _ => u8::try_from(numbers.below(256)).expect("an octet"),
            };
        }
        frame.truncate(frame.len() - numbers.below(4) * numbers.below(frame.len() - 14) / 8);
        let port = numbers.below(2);
        let expected = World::of(port == CORE).classify(&frame);
        assert_eq!(stage.decide(port, &frame), expected, "round {round}: {frame:02x?}");
    }
}
