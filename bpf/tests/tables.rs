//! Host addresses, subscriber prefixes and sockets: adding, changing, removing, limits.

mod stage;

use std::os::fd::AsRawFd;

use stage::*;
use xlns_bpf::Reason::*;
use xlns_bpf::{
    HOST_ADDRESSES_MAX, PREFIX_LENGTHS_MAX, Rates, Reason, SUBSCRIBER_PREFIXES_MAX, Steer,
    SteerConfig, SteerError,
};

fn data_to(destination: &str) -> Vec<u8> {
    let message = udp(L2TP_PORT, &l2tp_data(0, 0, &ppp(true, true, 0x21, &inner4())));
    if destination.contains(':') {
        frame(&ipv6(destination, &[], 17, &message))
    } else {
        frame(&ipv4(&UDP, destination, &message))
    }
}

fn prefix(text: &str) -> ipnet::IpNet {
    text.parse().expect("a prefix")
}

#[test]
fn an_address_becomes_an_endpoint_a_host_address_and_nothing() {
    let mut stage = Stage::new(UNLIMITED);
    for text in ["198.18.0.1", "2001:db8:aaaa::1"] {
        let frame = data_to(text);
        let new = address(text);
        assert_eq!(stage.decide(ACCESS, &frame), PassTransit);
        for (endpoint, reason) in
            [(true, XskL2tpIpv4), (true, XskL2tpIpv4), (false, PassHost), (true, XskL2tpIpv4)]
        {
            stage.steer.set_host_address(new, endpoint).expect("set");
            assert_eq!(stage.decide(ACCESS, &frame), reason);
            assert_eq!(stage.decide(CORE, &frame), reason, "all ports share addresses");
        }
        stage.steer.remove_host_address(new).expect("removed");
        assert_eq!(stage.decide(ACCESS, &frame), PassTransit);
        assert_eq!(stage.decide(CORE, &frame), XskCore);
        stage.steer.remove_host_address(new).expect("removed again");
    }
}

#[test]
fn tunnels_may_end_at_a_link_local_address() {
    let mut stage = Stage::new(UNLIMITED);
    for text in ["169.254.7.1", "fe80::7"] {
        assert_eq!(stage.decide(ACCESS, &data_to(text)), PassNotUnicast);
        stage.steer.set_host_address(address(text), true).expect("set");
        assert_eq!(stage.decide(ACCESS, &data_to(text)), XskL2tpIpv4);
    }
}

#[test]
fn the_l2tp_ports_are_configured() {
    require_root();
    let ports = vec![port("test", 1, false)];
    let config = SteerConfig { l2tp_port: 1702, l2tp_port_count: 2, ports, rates: UNLIMITED };
    let mut steer = Steer::load(&config).expect("loads");
    steer.set_host_address(address(ENDPOINT), true).expect("set");
    for port in [0, 1701, 1702, 1703, 1704, 65_535] {
        let frame = frame(&ipv4(&UDP, ENDPOINT, &udp(port, &l2tp_control(5))));
        steer.test_run(0, &frame, 1).expect("runs");
    }
    assert_eq!(count(&steer, 0, PassHost), 4);
    assert_eq!(count(&steer, 0, PassL2tpTunnel), 2);
}

#[test]
fn prefixes_come_and_go_with_their_lengths() {
    let mut stage = Stage::new(UNLIMITED);
    let cases = [
        ("198.18.0.0/15", "198.19.255.255"),
        ("198.18.4.0/22", "198.18.7.1"),
        ("198.18.4.6/31", "198.18.4.7"),
        ("2001:db8:8000::/33", "2001:db8:ffff::"),
        ("2001:db8:8000::/96", "2001:db8:8000::1"),
        ("2001:db8:8000::/127", "2001:db8:8000::1"),
    ];
    for (text, inside) in cases {
        let frame = data_to(inside);
        assert_eq!(stage.decide(ACCESS, &frame), PassTransit, "{text} before");
        stage.steer.set_subscriber_prefix(prefix(text)).expect("set");
        stage.steer.set_subscriber_prefix(prefix(text)).expect("set again");
        assert_eq!(stage.decide(ACCESS, &frame), XskSubscriber, "{text}");
        stage.steer.remove_subscriber_prefix(prefix(text)).expect("removed");
        stage.steer.remove_subscriber_prefix(prefix(text)).expect("removed again");
        assert_eq!(stage.decide(ACCESS, &frame), PassTransit, "{text} after");
    }
    assert_eq!(stage.decide(ACCESS, &data_to("100.64.3.4")), XskSubscriber, "others stay");
    assert_eq!(stage.decide(ACCESS, &data_to("2001:db8:100::2")), XskSubscriber, "others stay");
}

#[test]
fn a_length_stays_while_one_prefix_has_it() {
    let mut stage = Stage::new(UNLIMITED);
    for text in ["198.18.0.0/24", "198.18.1.0/24"] {
        stage.steer.set_subscriber_prefix(prefix(text)).expect("set");
    }
    stage.steer.remove_subscriber_prefix(prefix("198.18.0.0/24")).expect("removed");
    assert_eq!(stage.decide(ACCESS, &data_to("198.18.0.1")), PassTransit);
    assert_eq!(stage.decide(ACCESS, &data_to("198.18.1.1")), XskSubscriber);
}

#[test]
fn prefixes_of_one_block_and_across_blocks() {
    let mut stage = Stage::new(UNLIMITED);
    let to = |stage: &Stage, address: &str| stage.decide(ACCESS, &data_to(address));
    for text in ["10.8.2.0/24", "10.8.3.0/25", "10.8.0.0/14"] {
        stage.steer.set_subscriber_prefix(prefix(text)).expect("set");
    }
    let all = ["10.8.2.1", "10.8.3.1", "10.8.9.1", "10.11.255.255"];
    for address in all {
        assert_eq!(to(&stage, address), Reason::XskSubscriber, "{address}");
    }
    assert_eq!(to(&stage, "10.12.0.0"), Reason::PassTransit);
    // The wide one goes, and takes its length out of four blocks; the others stay.
    stage.steer.remove_subscriber_prefix(prefix("10.8.0.0/14")).expect("removed");
    let [inside, within, between, beyond] = all.map(|address| to(&stage, address));
    assert_eq!([inside, within], [Reason::XskSubscriber; 2]);
    assert_eq!([between, beyond], [Reason::PassTransit; 2]);
    stage.steer.remove_subscriber_prefix(prefix("10.8.2.0/24")).expect("removed");
    assert_eq!(to(&stage, "10.8.2.1"), Reason::PassTransit);
    assert_eq!(to(&stage, "10.8.3.1"), Reason::XskSubscriber);
}

#[test]
fn every_length_matches_exactly_its_addresses() {
    let mut steer = load(UNLIMITED);
    let socket = xdp_socket();
    steer.set_socket(ACCESS, 0, socket.as_raw_fd()).expect("set");
    let (mut inside, mut outside) = (0, 0);
    let mut show = |steer: &Steer, target: std::net::IpAddr, expected: Reason| {
        let before = count(steer, ACCESS, expected);
        steer.test_run(ACCESS, &data_to(&target.to_string()), 1).expect("runs");
        assert_eq!(count(steer, ACCESS, expected), before + 1, "{target}");
        if expected == XskSubscriber { inside += 1 } else { outside += 1 }
    };
    for length in 0..=32_u8 {
        let base = 0xb55a_a55a_u32;
        let net = prefix(&format!("{}/{length}", std::net::Ipv4Addr::from(base)));
        steer.set_subscriber_prefix(net).expect("set");
        show(&steer, std::net::Ipv4Addr::from(base).into(), XskSubscriber);
        if length > 0 {
            let flipped = base ^ 1 << (32 - length);
            let address = std::net::Ipv4Addr::from(flipped);
            if address.octets()[0] < 224 {
                show(&steer, address.into(), PassTransit);
            }
        }
        steer.remove_subscriber_prefix(net).expect("removed");
    }
    for length in 0..=128_u8 {
        let base = 0x2a5a_a55a_a55a_a55a_5aa5_a55a_a55a_a55a_u128;
        let net = prefix(&format!("{}/{length}", std::net::Ipv6Addr::from(base)));
        steer.set_subscriber_prefix(net).expect("set");
        show(&steer, std::net::Ipv6Addr::from(base).into(), XskSubscriber);
        if length > 0 {
            let flipped = base ^ 1 << (128 - length);
            show(&steer, std::net::Ipv6Addr::from(flipped).into(), PassTransit);
        }
        steer.remove_subscriber_prefix(net).expect("removed");
    }
    assert_eq!(inside, 33 + 129);
    assert!(outside >= 30 + 128);
}

#[test]
fn eight_lengths_fit_and_a_ninth_is_refused() {
    let mut steer = load(UNLIMITED);
    for family in ["10.0.0.0", "2001:db8::"] {
        for length in 17..17 + PREFIX_LENGTHS_MAX {
            steer.set_subscriber_prefix(prefix(&format!("{family}/{length}"))).expect("fits");
        }
        let error = steer.set_subscriber_prefix(prefix(&format!("{family}/30"))).expect_err("full");
        assert!(matches!(error, SteerError::PrefixLengthsFull { .. }), "{error}");
        assert!(error.to_string().contains("distinct lengths"), "{error}");
        steer.remove_subscriber_prefix(prefix(&format!("{family}/17"))).expect("removed");
        steer.set_subscriber_prefix(prefix(&format!("{family}/30"))).expect("fits again");
    }
}

#[test]
fn the_last_prefix_fits_and_one_more_is_refused() {
    let mut steer = load(UNLIMITED);
    let nth = |index: usize| prefix(&format!("10.{}.{}.0/24", index / 256, index % 256));
    for index in 0..SUBSCRIBER_PREFIXES_MAX {
        steer.set_subscriber_prefix(nth(index)).expect("fits");
    }
    let error = steer.set_subscriber_prefix(nth(SUBSCRIBER_PREFIXES_MAX)).expect_err("full");
    assert!(matches!(error, SteerError::SubscriberPrefixesFull { .. }), "{error}");
    steer.set_subscriber_prefix(nth(0)).expect("known already");
    steer.set_subscriber_prefix(prefix("2001:db8::/32")).expect("the other family has room");
}

#[test]
fn the_last_host_address_fits_and_one_more_is_refused() {
    let mut steer = load(UNLIMITED);
    let nth = |index: usize| address(&format!("10.0.{}.{}", index / 256, index % 256));
    for index in 0..HOST_ADDRESSES_MAX {
        steer.set_host_address(nth(index), false).expect("fits");
    }
    let error = steer.set_host_address(nth(HOST_ADDRESSES_MAX), false).expect_err("full");
    assert!(matches!(error, SteerError::HostAddressesFull { .. }), "{error}");
    steer.set_host_address(nth(0), true).expect("a change needs no room");
    steer.remove_host_address(nth(1)).expect("removed");
    steer.set_host_address(nth(HOST_ADDRESSES_MAX), false).expect("fits again");
}

#[test]
fn what_does_not_exist_is_refused_with_its_name() {
    let mut steer = load(UNLIMITED);
    let socket = xdp_socket();
    let error = steer.set_socket(ACCESS, 1, socket.as_raw_fd()).expect_err("one queue");
    let text = error.to_string();
    assert!(text.contains("queue 1 of interface access") && text.contains("1 queues"), "{text}");
    let file = std::fs::File::open("/dev/null").expect("opens");
    let error = steer.set_socket(ACCESS, 0, file.as_raw_fd()).expect_err("no socket");
    assert!(matches!(error, SteerError::Socket { queue: 0, .. }), "{error}");
    let error = steer.set_socket(3, 0, socket.as_raw_fd()).expect_err("three ports");
    assert!(matches!(error, SteerError::NoSuchPort { port: 3, ports: 3 }), "{error}");
    assert!(steer.test_run(3, &[0; 14], 1).is_err());
    assert!(steer.counters(3).is_empty());
    let error = steer.test_run(ACCESS, &[0; 13], 1).expect_err("less than Ethernet");
    assert!(matches!(error, SteerError::TestRun { .. }), "{error}");
}

#[test]
fn a_closed_socket_is_forgotten() {
    let mut steer = load(UNLIMITED);
    steer.set_host_address(address(ENDPOINT), true).expect("set");
    let socket = xdp_socket();
    steer.set_socket(ACCESS, 0, socket.as_raw_fd()).expect("set");
    steer.test_run(ACCESS, &data_to(ENDPOINT), 1).expect("runs");
    assert_eq!(count(&steer, ACCESS, XskL2tpIpv4), 1);
    drop(socket);
    steer.test_run(ACCESS, &data_to(ENDPOINT), 1).expect("runs");
    assert_eq!(count(&steer, ACCESS, PassNoSocket), 1);
}

#[test]
fn sockets_that_are_taken_back_get_nothing() {
    let mut steer = load(UNLIMITED);
    steer.set_host_address(address(ENDPOINT), true).expect("set");
    let socket = xdp_socket();
    steer.set_socket(ACCESS, 0, socket.as_raw_fd()).expect("set");
    for _ in 0..2 {
        // Also those that are not there.
        steer.remove_sockets(ACCESS).expect("removed");
    }
    steer.test_run(ACCESS, &data_to(ENDPOINT), 1).expect("runs");
    assert_eq!(count(&steer, ACCESS, XskL2tpIpv4), 0);
    assert_eq!(count(&steer, ACCESS, PassNoSocket), 1);
    let error = steer.remove_sockets(3).expect_err("three ports");
    assert!(matches!(error, SteerError::NoSuchPort { port: 3, ports: 3 }), "{error}");
}

#[test]
fn counters_are_listed_by_reason_and_add_up() {
    let steer = load(UNLIMITED);
    for port in [ACCESS, CORE] {
        steer.test_run(port, &data_to(ENDPOINT), 7).expect("runs");
    }
    let counters = steer.counters(ACCESS);
    assert!(counters.iter().map(|(reason, _)| reason).eq(Reason::ALL));
    assert_eq!(counters.iter().map(|(_, frames)| frames).sum::<u64>(), 7, "ports count apart");
}

#[test]
fn a_bad_configuration_is_refused_before_anything_is_loaded() {
    let ports = vec![xlns_bpf::PortSteer { queues: 0, ..port("eth7", 1, false) }];
    let mut config = SteerConfig { l2tp_port: 1701, l2tp_port_count: 1, ports, rates: UNLIMITED };
    let error = Steer::load(&config).err().expect("no queues");
    assert!(error.to_string().contains("interface eth7"), "{error}");
    config.rates = Rates { ppp_packets_per_second: 0, ..UNLIMITED };
    let error = Steer::load(&config).err().expect("no rate");
    assert!(error.to_string().contains("ppp_packets_per_second"), "{error}");
}
