//! IPv6CP, and how IPv4 and IPv6 live and die apart.

use super::*;

fn dual() -> Config {
    Config { ipv6: true, ..pap_only() }
}

/// A pair in the network phase; IPCP's and IPv6CP's first requests are the next frames.
fn with_both() -> Pair {
    with_grant(Grant { ipv6: true, ..Grant::ipv4(PEERS) })
}

fn with_grant(grant: Grant) -> Pair {
    let mut pair = Pair::with_lcp_up(dual());
    pair.send("ff03 c023 01 01 0010 03 626f62 07 73656372657421");
    pair.expect_credentials();
    pair.link.authenticated(pair.now, Ok(grant));
    pair.drain();
    pair.expect("ff03 c023 02 01 000c 07 57656c636f6d65");
    pair
}

/// IPv6CP's request and the identifier in it.
fn identifier(request: &[u8]) -> u64 {
    assert_eq!(request[..5], hex("ff03 8057 01"));
    assert_eq!(request[6..10], hex("000e 01 0a"));
    u64::from_be_bytes(request[10..18].try_into().unwrap())
}

const IPV6_PEER: u64 = 0x0102_0304_0506_0708;

/// A pair with IPv4 and IPv6 up; our identifier.
fn with_both_up() -> (Pair, u64) {
    let mut pair = with_both();
    let ipcp = pair.next();
    let ipv6cp = pair.next();
    let local = identifier(&ipv6cp);
    pair.send_octets(&acknowledge(&ipcp));
    pair.send_octets(&acknowledge(&ipv6cp));
    pair.send("ff03 8021 01 01 000a 03 06 64400709");
    pair.expect("ff03 8021 02 01 000a 03 06 64400709");
    pair.expect_event(IPV4_UP);
    pair.send("ff03 8057 01 01 000e 01 0a 0102030405060708");
    pair.expect("ff03 8057 02 01 000e 01 0a 0102030405060708");
    pair.expect_event(Event::Ipv6Up { local, peer: IPV6_PEER });
    pair.expect_silence();
    (pair, local)
}

#[test]
fn identifiers_are_agreed_on() {
    let (pair, local) = with_both_up();
    assert_ne!(local, 0);
    assert_eq!(local >> 57 & 1, 0, "it does not claim to be unique in the world");
    assert!(pair.link.is_ipv4_up() && pair.link.is_ipv6_up());
}

#[test]
fn no_identifier_and_ours_are_naked_with_another() {
    let mut pair = with_both();
    pair.next();
    let request = pair.next();
    let local = identifier(&request);
    pair.send("ff03 8057 01 01 000e 01 0a 0000000000000000");
    pair.next();
    let first = pair.next();
    assert_eq!(first[..10], hex("ff03 8057 03 01 000e 01 0a"));
    assert!(first[10..] != [0; 8] && first[10..] != local.to_be_bytes());
    // The same again, in our place, and of a length that is none.
    pair.send_octets(&[&hex("ff03 8057 01 01 000e 01 0a")[..], &local.to_be_bytes()].concat());
    assert_eq!(pair.next(), first);
    pair.send("ff03 8057 01 01 000a 01 06 01020304");
    assert_eq!(pair.next(), first);
    let mut suggested = first;
    suggested[4] = 1;
    pair.send_octets(&suggested);
    assert_eq!(pair.next(), acknowledge(&suggested));
}

#[test]
fn an_unmentioned_identifier_is_asked_for_once() {
    let mut pair = with_both();
    pair.next();
    let request = pair.next();
    pair.send_octets(&acknowledge(&request));
    pair.send("ff03 8057 01 01 0004");
    assert_eq!(pair.next()[..10], hex("ff03 8057 03 01 000e 01 0a"));
    pair.send("ff03 8057 01 02 0004");
    pair.expect("ff03 8057 05 02 0004");
    assert_eq!(pair.link.phase(), Phase::Network, "IPv4 may still come up");
}

#[test]
fn a_suggestion_of_the_peer_is_taken_unless_it_is_ours_for_the_peer() {
    let mut pair = with_both();
    pair.next();
    pair.next();
    pair.send("ff03 8057 03 01 000e 01 0a 00000000000000aa");
    let request = pair.next();
    assert_eq!(identifier(&request), 0xaa);
    // The peer calls itself the same, we suggest something, and it suggests that to us.
    pair.send("ff03 8057 01 07 000e 01 0a 00000000000000aa");
    pair.next();
    let nak = pair.next();
    assert_eq!(nak[4], 3);
    let mut mirrored = nak.clone();
    mirrored[5] = request[5];
    pair.send_octets(&mirrored);
    let ours = identifier(&pair.next());
    assert!(ours != 0xaa && ours.to_be_bytes() != nak[10..18]);
}

#[test]
fn a_peer_may_refuse_to_know_our_identifier_and_compression_is_rejected() {
    let mut pair = with_both();
    pair.next();
    let mut reject = pair.next();
    let local = identifier(&reject);
    reject[4] = 4;
    pair.send_octets(&reject);
    let request = pair.next();
    assert_eq!(request, hex("ff03 8057 01 02 0004"));
    pair.send_octets(&acknowledge(&request));
    pair.send("ff03 8057 01 01 0012 02 04 0001 01 0a 0102030405060708");
    pair.expect("ff03 8057 04 01 0008 02 04 0001");
    pair.send("ff03 8057 01 02 000e 01 0a 0102030405060708");
    pair.next();
    pair.expect_event(Event::Ipv6Up { local, peer: IPV6_PEER });
}

#[test]
fn packets_flow_while_ipv6_is_up() {
    let mut pair = with_both();
    assert_eq!(pair.send("ff03 0057 6000"), Some(Discard::Phase));
    assert!(!pair.link.send_ipv6(&[0x60]));
    let (mut pair, _) = with_both_up();
    pair.send("0057 6000 aa");
    pair.expect_event(Event::Ipv6Packet(hex("6000 aa").into()));
    assert!(pair.link.send_ipv6(&[0x60, 1]));
    pair.drain();
    pair.expect("ff03 0057 6001");
    assert!(pair.link.send_ipv6(&[0x60; 1460]));
    assert!(!pair.link.send_ipv6(&[0x60; 1461]));
    pair.drain();
    assert_eq!(pair.next().len(), 4 + 1460);
    pair.close();
    assert!(!pair.link.send_ipv6(&[0x60, 1]));
    pair.expect_event(Event::Ipv4Down);
    pair.expect_event(Event::Ipv6Down);
}

#[test]
fn each_protocol_ends_alone_and_may_come_back() {
    let (mut pair, local) = with_both_up();
    pair.send("ff03 8057 05 02 0004");
    pair.expect("ff03 8057 06 02 0004");
    pair.expect_event(Event::Ipv6Down);
    pair.advance(10 * SECOND);
    assert!(pair.link.is_ipv4_up() && !pair.link.is_ipv6_up());
    pair.send("ff03 8057 01 03 000e 01 0a 0102030405060708");
    let request = pair.next();
    assert_eq!(identifier(&request), local, "what addresses hang on stays the same");
    pair.next();
    pair.send_octets(&acknowledge(&request));
    pair.expect_event(Event::Ipv6Up { local, peer: IPV6_PEER });
    pair.send("ff03 8021 05 02 0004");
    pair.next();
    pair.expect_event(Event::Ipv4Down);
    assert!(pair.link.is_ipv6_up());
    pair.expect_silence();
}

/// The rejected protocol is sent no more of, and the other one lives on.
#[test]
fn a_peer_without_ipv6_is_served_ipv4_alone_and_the_other_way_round() {
    for (rejected, other, up) in [("8057", "0057", IPV4_UP), ("8021", "0021", ipv6_up())] {
        let mut pair = with_both();
        let requests = [pair.next(), pair.next()];
        pair.send(&format!("ff03 c021 08 01 0006 {rejected}"));
        pair.expect_silence();
        let kept = requests.iter().find(|request| request[2..4] != hex(rejected)).unwrap();
        pair.send_octets(&acknowledge(kept));
        if rejected == "8057" {
            pair.send("ff03 8021 01 01 000a 03 06 64400709");
        } else {
            pair.send("ff03 8057 01 01 000e 01 0a 0102030405060708");
        }
        pair.next();
        let event = pair.events.pop_front().unwrap();
        assert_eq!(std::mem::discriminant(&event), std::mem::discriminant(&up));
        pair.advance(60 * SECOND);
        pair.expect_silence();
        // What comes of the dead one all the same is not spoken here any more.
        for protocol in [rejected, other] {
            pair.send(&format!("ff03 {protocol} 01 01 0004"));
            assert_eq!(pair.next()[..5], hex("ff03 c021 08"));
        }
        assert_eq!(pair.link.phase(), Phase::Network);
    }
}

fn ipv6_up() -> Event {
    Event::Ipv6Up { local: 1, peer: IPV6_PEER }
}

#[test]
fn a_reject_of_packets_ends_their_protocol() {
    let (mut pair, _) = with_both_up();
    pair.send("ff03 c021 08 01 0006 0057");
    pair.expect_event(Event::Ipv6Down);
    pair.expect("ff03 8057 05 02 0004");
    pair.send("ff03 8057 06 02 0004");
    // It is over for good.
    pair.send("ff03 8057 01 03 000e 01 0a 0102030405060708");
    pair.expect("ff03 8057 06 03 0004");
    assert!(pair.link.is_ipv4_up());
    pair.send("ff03 c021 08 02 0006 0021");
    pair.expect_event(Event::Ipv4Down);
    pair.expect("ff03 8021 05 02 0004");
    assert_eq!(pair.next()[..5], hex("ff03 c021 05"));
    pair.advance(6 * SECOND);
    pair.expect_down(DownCause::NetworkProtocolsFailed);
}

#[test]
fn silence_of_one_protocol_ends_the_link_only_with_the_other() {
    let mut pair = with_both();
    pair.next();
    let request = pair.next();
    pair.send_octets(&acknowledge(&request));
    pair.send("ff03 8057 01 01 000e 01 0a 0102030405060708");
    pair.next();
    assert!(matches!(pair.events.pop_front(), Some(Event::Ipv6Up { .. })));
    pair.advance(60 * SECOND);
    assert_eq!(pair.link.phase(), Phase::Network);
    assert_eq!(pair.frames.len(), 9);
    pair.frames.clear();
    // A peer that is late may begin yet.
    pair.send("ff03 8021 01 01 000a 03 06 64400709");
    let request = pair.next();
    pair.next();
    pair.send_octets(&acknowledge(&request));
    pair.expect_event(IPV4_UP);

    let mut pair = with_both();
    pair.advance(36 * SECOND);
    pair.expect_down(DownCause::NetworkProtocolsFailed);
}

/// One that was deaf for long while IPCP began anew, and has heard no request of ours since.
#[test]
fn a_peer_that_may_believe_one_protocol_to_be_open_is_asked_again() {
    let (mut pair, _) = with_both_up();
    pair.send("ff03 8021 01 09 000a 03 06 64400709");
    pair.expect_event(Event::Ipv4Down);
    pair.next();
    pair.expect("ff03 8021 02 09 000a 03 06 64400709");
    // One from before that is late, of an address that it is not to have, proves nothing.
    pair.send("ff03 8021 01 08 000a 03 06 00000000");
    assert_eq!(pair.next()[4], 3);
    // Ten requests, and ten more as it did take part.
    pair.advance(61 * SECOND);
    assert_eq!(pair.frames.len(), 9 + 10);
    pair.frames.clear();
    for _ in 0..2 {
        // Ten more, a minute after the last.
        pair.advance(57 * SECOND);
        pair.expect_silence();
        pair.advance(33 * SECOND);
        assert_eq!(pair.frames.len(), 10);
        assert!(pair.frames.iter().all(|frame| frame[..5] == hex("ff03 8021 01")));
        pair.frames.clear();
    }
    pair.advance(62 * SECOND);
    let request = pair.next();
    pair.frames.clear();
    // Now it hears, and takes its IPCP down to begin with us.
    pair.send("ff03 8021 01 0a 000a 03 06 64400709");
    assert_eq!(pair.next(), request);
    pair.expect("ff03 8021 02 0a 000a 03 06 64400709");
    pair.send_octets(&acknowledge(&request));
    pair.expect_event(IPV4_UP);
    assert!(pair.link.is_ipv6_up());

    // A question is no hope: the link ends when the other one fails meanwhile.
    pair.send("ff03 8021 01 0b 000a 03 06 64400709");
    pair.expect_event(Event::Ipv4Down);
    pair.advance(120 * SECOND);
    pair.frames.clear();
    pair.send("ff03 8057 01 0b 000e 01 0a 0102030405060708");
    pair.expect_event(Event::Ipv6Down);
    pair.advance(40 * SECOND);
    pair.expect_down(DownCause::NetworkProtocolsFailed);

    // One that has said that it is over is not asked.
    let (mut pair, _) = with_both_up();
    pair.send("ff03 8021 05 09 0004");
    pair.expect_event(Event::Ipv4Down);
    pair.expect("ff03 8021 06 09 0004");
    pair.advance(600 * SECOND);
    pair.expect_silence();
}

#[test]
fn what_is_not_granted_is_not_spoken() {
    let mut pair = with_grant(Grant::ipv4(PEERS));
    assert_eq!(pair.next()[..5], hex("ff03 8021 01"));
    pair.expect_silence();
    pair.send("ff03 8057 01 01 0004");
    pair.expect("ff03 c021 08 02 000a 8057 01 01 0004");

    let mut pair = with_grant(Grant { ipv6: true, ..Grant::default() });
    assert_eq!(pair.next()[..5], hex("ff03 8057 01"));
    pair.send("ff03 8021 01 01 0004");
    pair.expect("ff03 c021 08 02 000a 8021 01 01 0004");

    let mut pair = with_grant(Grant::default());
    assert_eq!(pair.next()[..5], hex("ff03 c021 05"));
    pair.advance(6 * SECOND);
    pair.expect_down(DownCause::NetworkProtocolsFailed);
}

/// A link that cannot carry the least packet of IPv6 carries none.
#[test]
fn a_narrow_link_has_no_ipv6() {
    for (mru, octets, has_ipv6) in
        [(1460, "0500", true), (1460, "04ff", false), (1279, "05dc", false)]
    {
        let mut pair = Pair::opened(Config { mru, ..dual() });
        let request = pair.next();
        pair.send_octets(&acknowledge(&request));
        pair.send(&format!("ff03 c021 01 01 0008 01 04 {octets}"));
        pair.next();
        pair.send("ff03 c023 01 01 0010 03 626f62 07 73656372657421");
        pair.link.authenticated(pair.now, Ok(Grant { ipv6: true, ..Grant::ipv4(PEERS) }));
        pair.drain();
        pair.next();
        assert_eq!(pair.next()[..4], hex("ff03 8021"));
        assert_eq!(pair.frames.len(), usize::from(has_ipv6), "{mru} {octets}");
    }
}

#[test]
fn renegotiation_takes_both_down_and_a_rejected_one_gets_another_try() {
    let (mut pair, _) = with_both_up();
    pair.send("ff03 c021 08 01 0006 8057");
    pair.expect_event(Event::Ipv6Down);
    pair.send("ff03 c021 01 33 0004");
    pair.expect_event(Event::Ipv4Down);
    let request = pair.next();
    pair.next();
    pair.send_octets(&acknowledge(&request));
    assert!(matches!(pair.events.pop_front(), Some(Event::LcpUp { .. })));
    pair.send("ff03 c023 01 02 000c 03 626f62 03 626164");
    pair.expect_credentials();
    pair.link.authenticated(pair.now, Ok(Grant { ipv6: true, ..Grant::ipv4(PEERS) }));
    pair.drain();
    pair.next();
    assert_eq!(pair.next()[..5], hex("ff03 8021 01"));
    assert_eq!(pair.next()[..5], hex("ff03 8057 01"));
}
