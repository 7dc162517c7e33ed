//! The router, packet by packet.

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::super::dhcp::message::{Association, AssociationKind, Kind};
use super::*;

const LOCAL: u64 = 0x0200_0000_0000_0001;
const PEER: u64 = 0x0200_0000_0000_0002;

fn at(milliseconds: u64) -> Time {
    Time::ZERO + Duration::from_millis(milliseconds)
}

fn config() -> Config {
    Config {
        server_id: b"\0\x04server".as_slice().into(),
        dns: vec!["2001:db8::53".parse().unwrap()],
        other: true,
        preferred_seconds: 2700,
        valid_seconds: 5400,
        ..Config::default()
    }
}

fn router(config: Config) -> Router {
    let prefix = Some("2001:db8:0:7::/64".parse().unwrap());
    Router::new(at(0), Arc::new(config), (LOCAL, PEER), prefix, 1460)
}

fn delegated() -> Option<Ipv6Net> {
    Some("2001:db8:100::/56".parse().unwrap())
}

fn answer(router: &mut Router, now: Time, packet: &[u8]) -> Result<Option<Vec<u8>>, Discard> {
    router.handle_packet(now, packet, &mut delegated)
}

fn icmp_of(packet: &[u8]) -> (Ipv6Addr, Vec<u8>) {
    let packet = packet::parse(packet).unwrap();
    assert_eq!((packet.source, packet.hop_limit), (link_local(LOCAL), 255));
    let Payload::Icmp(message) = packet.payload else { panic!("{packet:?}") };
    (packet.destination, message.to_vec())
}

fn solicitation(source: Ipv6Addr) -> Vec<u8> {
    packet::icmp(source, ALL_ROUTERS, &discovery::router_solicitation())
}

#[test]
fn the_first_advertisements_come_soon_the_others_seldom() {
    let mut router = router(config());
    let mut rng = StdRng::seed_from_u64(1);
    let mut times = Vec::new();
    for _ in 0..8 {
        let now = router.poll_timeout();
        let packet = router.handle_timeout(now, &mut rng).unwrap();
        assert_eq!(icmp_of(&packet).0, ALL_NODES);
        times.push(now);
        assert_eq!(router.handle_timeout(now, &mut rng), None, "only one at a time");
    }
    assert_eq!(times[0], at(0));
    let waits: Vec<_> = times.windows(2).map(|pair| pair[1].since(pair[0])).collect();
    assert_eq!(waits[..2], [INITIAL_INTERVAL; 2]);
    assert!(waits[2..].iter().all(|wait| (INTERVAL_MIN..=INTERVAL_MAX).contains(wait)));
    assert!(waits[2..].windows(2).any(|pair| pair[0] != pair[1]), "by chance");
}

#[test]
fn an_advertisement_says_what_is_configured() {
    let mut router = router(Config { managed: true, ..config() });
    let packet = router.handle_timeout(at(0), &mut StdRng::seed_from_u64(1)).unwrap();
    let parsed = packet::parse(&packet).unwrap();
    let Payload::Icmp(message) = parsed.payload else { panic!() };
    let Ok(Message::RouterAdvertisement(told)) = discovery::parse(&parsed, message) else {
        panic!("no advertisement")
    };
    let prefix = told.prefixes[0];
    assert_eq!(prefix.prefix, "2001:db8:0:7::/64".parse().unwrap());
    assert!(prefix.autonomous && !prefix.on_link && told.managed && told.other);
    assert_eq!((prefix.preferred_seconds, prefix.valid_seconds), (2700, 5400));
    assert_eq!((told.mtu, told.lifetime_seconds, told.hop_limit), (Some(1460), 5400, 64));
    assert_eq!(told.dns, config().dns);
}

#[test]
fn solicitations_are_answered_at_once_or_by_the_group() {
    let mut router = router(config());
    let mut rng = StdRng::seed_from_u64(1);
    router.handle_timeout(at(0), &mut rng).unwrap();
    let reply = answer(&mut router, at(10), &solicitation(link_local(PEER))).unwrap().unwrap();
    let (destination, message) = icmp_of(&reply);
    assert_eq!((destination, message[0]), (link_local(PEER), 134));
    // Not to all nodes twice within three seconds.
    assert_eq!(answer(&mut router, at(20), &solicitation(Ipv6Addr::UNSPECIFIED)), Ok(None));
    assert_eq!(router.poll_timeout(), at(3000));
    assert!(router.handle_timeout(at(3000), &mut rng).is_some());
    assert_eq!(answer(&mut router, at(9000), &solicitation(Ipv6Addr::UNSPECIFIED)), Ok(None));
    assert_eq!(router.poll_timeout(), at(9000));
}

#[test]
fn neighbours_and_echoes() {
    let mut router = router(config());
    let own = link_local(LOCAL);
    let ask = |target: Ipv6Addr| [&[135, 0, 0, 0, 0, 0, 0, 0][..], &target.octets()].concat();
    let solicit = |source, target| packet::icmp(source, solicited_node(target), &ask(target));
    let reply = answer(&mut router, at(0), &solicit(link_local(PEER), own)).unwrap().unwrap();
    let (destination, message) = icmp_of(&reply);
    assert_eq!((destination, message[0], message[4]), (link_local(PEER), 136, 0xe0));
    // Somebody wants our address for himself.
    let reply = answer(&mut router, at(0), &solicit(Ipv6Addr::UNSPECIFIED, own)).unwrap().unwrap();
    let (destination, message) = icmp_of(&reply);
    assert_eq!((destination, message[4]), (ALL_NODES, 0xa0));
    // Whether anybody has the subscriber's address is not for us to say.
    let other = link_local(PEER);
    let to_us = packet::icmp(Ipv6Addr::UNSPECIFIED, solicited_node(other), &ask(other));
    assert_eq!(answer(&mut router, at(0), &to_us), Err(Discard::Destination));
    let echo = packet::icmp(other, own, b"\x80\0\0\0\0\x07\0\x01hello");
    let reply = answer(&mut router, at(0), &echo).unwrap().unwrap();
    let (destination, message) = icmp_of(&reply);
    assert_eq!((destination, &message[4..]), (other, &b"\0\x07\0\x01hello"[..]));
    assert_eq!(message[0], 129);
}

#[test]
fn a_prefix_is_delegated_over_udp() {
    let mut router = router(config());
    let mut solicit = DhcpMessage::new(Kind::Solicit, 9);
    solicit.client_id = Some(b"client".as_slice().into());
    solicit.rapid_commit = true;
    solicit.associations.push(Association::new(AssociationKind::Prefixes, 1));
    let send = |source| packet::udp((source, 546), (ALL_DHCP_SERVERS, 547), &solicit.encode());
    assert_eq!(
        answer(&mut router, at(0), &send("2001:db8::1".parse().unwrap())),
        Err(Discard::Invalid),
        "from no link-local address"
    );
    assert!(!router.has_delegated());
    let reply = answer(&mut router, at(0), &send(link_local(PEER))).unwrap().unwrap();
    let parsed = packet::parse(&reply).unwrap();
    assert_eq!((parsed.source, parsed.destination), (link_local(LOCAL), link_local(PEER)));
    let Payload::Udp { source_port: 547, destination_port: 546, payload } = parsed.payload else {
        panic!("{parsed:?}")
    };
    let reply = DhcpMessage::decode(payload).unwrap();
    assert_eq!(Some(reply.associations[0].leases[0].prefix), delegated());
    assert!(router.has_delegated());
    // The binding's end is sooner than the next advertisement may be.
    router.advertise_at = at(10_000_000);
    assert_eq!(router.poll_timeout(), at(5_400_000));
    assert_eq!(router.handle_timeout(at(5_400_000), &mut StdRng::seed_from_u64(1)), None);
    assert!(!router.has_delegated());
}

#[test]
fn a_subscriber_is_answered_so_often_a_second() {
    let mut router = router(config());
    let packet = solicitation(link_local(PEER));
    for _ in 0..ANSWERS_PER_SECOND_MAX {
        assert!(answer(&mut router, at(500), &packet).is_ok());
    }
    assert_eq!(answer(&mut router, at(999), &packet), Err(Discard::TooMany));
    assert!(answer(&mut router, at(1000), &packet).is_ok());
}

#[test]
fn what_is_not_for_the_router_has_no_effect() {
    let mut router = router(config());
    let from = link_local(PEER);
    let mut ask = |packet: Vec<u8>| answer(&mut router, at(0), &packet);
    let elsewhere = packet::icmp(from, link_local(7), &[128, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(ask(elsewhere), Err(Discard::Destination));
    let listener_report = packet::icmp(from, ALL_ROUTERS, &[143, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(ask(listener_report), Err(Discard::Unknown));
    let port = packet::udp((from, 1), (link_local(LOCAL), 53), b"");
    assert_eq!(ask(port), Err(Discard::Unknown));
    let looped = solicitation(link_local(LOCAL));
    assert_eq!(ask(looped), Err(Discard::Invalid));
    let group = solicitation(ALL_NODES);
    assert_eq!(ask(group), Err(Discard::Invalid));
}

#[test]
fn a_link_costs_so_many_octets() {
    assert!(size_of::<Router>() <= 176, "{}", size_of::<Router>());
}

proptest! {
    #[test]
    fn no_packet_ends_the_process_or_makes_more_of_itself(
        icmp in any::<bool>(),
        kind in any::<u8>(),
        octets in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut router = router(Config { managed: true, ..config() });
        let from = link_local(PEER);
        let message = [&[kind, 0], &octets[..]].concat();
        let packet = if icmp {
            packet::icmp(from, link_local(LOCAL), &message)
        } else {
            packet::udp((from, 546), (ALL_DHCP_SERVERS, 547), &message)
        };
        if let Ok(Some(reply)) = answer(&mut router, at(0), &packet) {
            prop_assert!(packet::parse(&reply).is_ok());
            prop_assert!(reply.len() <= packet.len() + 400);
        }
        let _ = answer(&mut router, at(0), &octets);
    }
}
