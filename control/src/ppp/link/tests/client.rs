//! The role of a dialler: the peer asks who we are and assigns our address.

use super::*;

const LOCAL: Ipv4Addr = Ipv4Addr::new(192, 168, 30, 10);
const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 30, 1);

fn pap_client() -> Config {
    Config { ipv6: false, ..client(&[Authentication::Pap]) }
}

/// A pair whose LCP is up, with PAP; our request to be let in is the next frame.
fn with_pap(config: Config) -> Pair {
    let mut pair = Pair::opened(config);
    let request = pair.next();
    pair.send_octets(&acknowledge(&request));
    pair.send("ff03 c021 01 01 0008 03 04 c023");
    pair.expect("ff03 c021 02 01 0008 03 04 c023");
    let Some(Event::LcpUp { agreed }) = pair.events.pop_front() else { panic!("LCP is not up") };
    assert_eq!(agreed.our_authentication, Some(Authentication::Pap));
    assert_eq!(agreed.authentication, None);
    pair
}

/// A pair that was let in; our first request of IPCP is the next frame.
fn let_in(config: Config) -> Pair {
    let mut pair = with_pap(config);
    pair.expect("ff03 c023 01 01 000f 03 626f62 06 736563726574");
    assert_eq!(pair.link.phase(), Phase::Authenticate);
    pair.send("ff03 c023 02 01 0005 00");
    assert_eq!(pair.link.phase(), Phase::Network);
    pair
}

/// Row 39: one that proposes EAP and MS-CHAPv2 before PAP, tests the link before it is open, lets in
/// without a message, and takes its time with IPCP.
#[test]
fn softether() {
    let mut pair = Pair::opened(client(&[Authentication::Pap]));
    let request = pair.next();
    assert_eq!(request[..14], hex("ff03 c021 01 01 000e 01 04 05b4 05 06"));
    assert_eq!(pair.send("ff03 c021 09 01 0008 00000000"), Some(Discard::Phase));
    pair.send("ff03 c021 01 01 0008 03 04 c227");
    assert_eq!(pair.next(), request);
    pair.expect("ff03 c021 03 01 0008 03 04 c023");
    pair.send("ff03 c021 01 02 0009 03 05 c223 81");
    pair.expect("ff03 c021 03 02 0008 03 04 c023");
    pair.send("ff03 c021 01 03 0008 03 04 c023");
    pair.expect("ff03 c021 02 03 0008 03 04 c023");
    pair.send_octets(&acknowledge(&request));
    let agreed = pair.link.agreed();
    pair.expect_event(Event::LcpUp { agreed });
    pair.expect("ff03 c023 01 01 000f 03 626f62 06 736563726574");
    pair.send("ff03 c023 02 01 0004");
    let ipcp = pair.next();
    let servers = "81 06 00000000 83 06 00000000";
    assert_eq!(ipcp, hex(&format!("ff03 8021 01 01 0016 03 06 00000000 {servers}")));
    assert_eq!(pair.next()[..5], hex("ff03 8057 01"));
    pair.send("ff03 c021 08 04 000c 8057 01 01 000e 01 0a");
    pair.advance(5 * SECOND);
    assert_eq!(pair.next(), ipcp);
    pair.expect_silence();
    pair.send("ff03 8021 03 01 0016 03 06 c0a81e0a 81 06 c0a81e01 83 06 00000000");
    let ipcp = pair.next();
    let servers = "81 06 c0a81e01 83 06 00000000";
    assert_eq!(ipcp, hex(&format!("ff03 8021 01 02 0016 03 06 c0a81e0a {servers}")));
    pair.send_octets(&acknowledge(&ipcp));
    pair.send("ff03 8021 01 01 000a 03 06 c0a81e01");
    pair.expect("ff03 8021 02 01 000a 03 06 c0a81e01");
    pair.expect_event(Event::Ipv4Up { local: LOCAL, peer: SERVER, dns: vec![SERVER] });
    pair.expect_silence();
}

#[test]
fn a_wish_that_no_method_meets_is_rejected_in_the_end() {
    let mut pair = Pair::opened(client(&[Authentication::ChapMd5, Authentication::Pap]));
    pair.next();
    for identifier in 1..=6 {
        pair.send(&format!("ff03 c021 01 {identifier:02x} 0008 03 04 c227"));
        if identifier == 1 {
            pair.next();
        }
        if identifier < 6 {
            pair.expect(&format!("ff03 c021 03 {identifier:02x} 0009 03 05 c223 05"));
        }
    }
    pair.expect("ff03 c021 04 06 0008 03 04 c227");
}

#[test]
fn every_method_of_the_account_is_granted() {
    for (method, option) in [
        (Authentication::ChapMd5, "03 05 c22305"),
        (Authentication::MsChapV2, "03 05 c22381"),
        (Authentication::Pap, "03 04 c023"),
    ] {
        let octets = hex(option);
        let mut pair = Pair::opened(client(&[method]));
        pair.next();
        let request = [&hex("ff03 c021 01 01 00")[..], &[octets.len() as u8 + 4], &octets].concat();
        pair.send_octets(&request);
        pair.next();
        assert_eq!(pair.next(), acknowledge(&request));
        assert_eq!(pair.link.agreed().our_authentication, Some(method));
    }
}

#[test]
fn a_refusal_of_the_peer_ends_the_link() {
    let mut pair = with_pap(pap_client());
    pair.next();
    pair.send("ff03 c023 03 01 0005 00");
    assert_eq!(pair.next()[..5], hex("ff03 c021 05"));
    pair.advance(6 * SECOND);
    pair.expect_down(DownCause::RefusedByPeer);
}

#[test]
fn what_a_refusal_says_is_told() {
    // Cut short; with a length that leads outside; as it should be, with an octet behind it.
    for (nak, expected) in [
        ("ff03 c023 03 01 0004", &b""[..]),
        ("ff03 c023 03 01 0008 09 6e6f21", b""),
        ("ff03 c023 03 01 0008 02 6e6f21", b"no"),
    ] {
        let mut pair = with_pap(pap_client());
        pair.next();
        pair.send(nak);
        pair.next();
        if !expected.is_empty() {
            pair.expect_event(Event::Refused { message: expected.into() });
        }
        pair.advance(6 * SECOND);
        pair.expect_down(DownCause::RefusedByPeer);
    }
}

#[test]
fn a_peer_that_never_lets_us_in_is_given_up() {
    let mut pair = with_pap(pap_client());
    pair.advance(36 * SECOND);
    pair.expect_down(DownCause::AuthenticationTimeout);
}

/// A peer that asks nothing is as good: the address is what counts.
#[test]
fn a_peer_that_does_not_ask_gets_no_password() {
    let mut pair = Pair::opened(pap_client());
    let request = pair.next();
    pair.send_octets(&acknowledge(&request));
    pair.send("ff03 c021 01 01 0004");
    pair.next();
    assert_eq!(pair.next()[..5], hex("ff03 8021 01"));
    assert_eq!(pair.link.phase(), Phase::Network);
    assert_eq!(pair.send("ff03 c023 02 01 0005 00"), Some(Discard::Phase).filter(|_| false));
    assert_eq!(pair.next()[..8], hex("ff03 c021 08 02 000b"));
}

#[test]
fn name_servers_that_are_rejected_are_done_without() {
    let mut pair = let_in(pap_client());
    pair.next();
    pair.send("ff03 8021 04 01 0010 81 06 00000000 83 06 00000000");
    pair.expect("ff03 8021 01 02 000a 03 06 00000000");
    pair.send("ff03 8021 03 02 0010 03 06 c0a81e0a 81 06 08080808");
    let request = pair.next();
    assert_eq!(request, hex("ff03 8021 01 03 000a 03 06 c0a81e0a"));
    pair.send_octets(&acknowledge(&request));
    // And it does not say who it is.
    pair.send("ff03 8021 01 01 0004");
    pair.expect("ff03 8021 02 01 0004");
    let peer = Ipv4Addr::UNSPECIFIED;
    pair.expect_event(Event::Ipv4Up { local: LOCAL, peer, dns: Vec::new() });
}

#[test]
fn only_addresses_that_somebody_can_have_are_taken() {
    let mut pair = let_in(pap_client());
    let first = pair.next();
    for (identifier, address) in ["00000000", "e0000001", "7f000001", "ffffffff"].iter().enumerate()
    {
        pair.send(&format!("ff03 8021 03 {:02x} 000a 03 06 {address}", identifier + 1));
        let request = pair.next();
        assert_eq!(request[6..], first[6..], "{address}");
    }
}

#[test]
fn without_an_address_there_is_no_ipv4() {
    for answer in ["02 01 0016", "04 01 000a"] {
        let mut pair = let_in(pap_client());
        let request = pair.next();
        let length = usize::from(hex(answer)[3]);
        pair.send_octets(&[&hex("ff03 8021")[..], &hex(answer), &request[8..4 + length]].concat());
        assert_eq!(pair.next()[..5], hex("ff03 8021 05"));
        assert_eq!(pair.next()[..5], hex("ff03 c021 05"));
        pair.advance(6 * SECOND);
        pair.expect_down(DownCause::NetworkProtocolsFailed);
    }
}

#[test]
fn there_is_no_address_to_give() {
    let mut pair = let_in(pap_client());
    pair.next();
    pair.send("ff03 8021 01 01 0010 03 06 00000000 81 06 00000000");
    pair.next();
    pair.expect("ff03 8021 04 01 0010 03 06 00000000 81 06 00000000");
}

#[test]
fn a_challenge_in_between_is_answered() {
    let config = Config { ipv6: false, ..client(&[Authentication::ChapMd5]) };
    let mut pair = Pair::opened(config);
    let request = pair.next();
    pair.send_octets(&acknowledge(&request));
    pair.send("ff03 c021 01 01 0009 03 05 c22305");
    pair.next();
    pair.send("ff03 c223 01 07 0009 02 aabb 6c6e73".replace("0009", "000a").as_str());
    let response = pair.next();
    assert_eq!(response[..9], hex("ff03 c223 02 07 0018 10"));
    assert!(crate::ppp::chap::verify(7, b"secret", &[0xaa, 0xbb], &response[9..25]));
    pair.send("ff03 c223 03 07 0004");
    assert_eq!(pair.next()[..5], hex("ff03 8021 01"));
    pair.send("ff03 c223 01 08 0007 02 ccdd");
    assert_eq!(pair.next()[..6], hex("ff03 c223 02 08"));
    assert_eq!(pair.link.phase(), Phase::Network);
}

#[test]
fn the_link_is_tested_and_given_up_when_nothing_comes_back() {
    let config = Config { echo_interval: Some(10 * SECOND), echo_failures: 3, ..pap_client() };
    let mut pair = let_in(config);
    pair.frames.clear();
    let magic = pair.link.agreed().magic.to_be_bytes();
    pair.send("ff03 8021 03 01 000a 03 06 c0a81e0a");
    let request = pair.next();
    pair.send_octets(&acknowledge(&request));
    pair.send("ff03 8021 01 01 0004");
    pair.next();
    pair.events.clear();
    pair.advance(10 * SECOND);
    assert_eq!(pair.next(), [&hex("ff03 c021 09 01 0008")[..], &magic].concat());
    pair.send("ff03 c021 0a 01 0008 00000000");
    for identifier in 2..5 {
        pair.advance(10 * SECOND);
        assert_eq!(pair.next()[..6], [&hex("ff03 c021 09")[..], &[identifier]].concat());
        // Neither an old reply nor one to nothing counts.
        pair.send("ff03 c021 0a 01 0008 00000000");
        pair.send("ff03 c021 0a 63 0008 00000000");
    }
    pair.advance(10 * SECOND);
    assert_eq!(pair.next()[..5], hex("ff03 c021 05"));
    pair.expect_event(Event::Ipv4Down);
    pair.advance(6 * SECOND);
    pair.expect_down(DownCause::EchoTimeout);
}

/// Where somebody else watches, nothing is sent before that one hears nothing, nor after an answer.
#[test]
fn a_link_that_is_watched_over_is_tested_when_it_is_silent() {
    let config = Config {
        echo_interval: Some(10 * SECOND),
        echo_failures: 2,
        echo_when_probed: true,
        ..pap_client()
    };
    let mut pair = let_in(config);
    pair.frames.clear();
    pair.send("ff03 8021 03 01 000a 03 06 c0a81e0a");
    let request = pair.next();
    pair.send_octets(&acknowledge(&request));
    pair.send("ff03 8021 01 01 0004");
    pair.frames.clear();
    pair.advance(100 * SECOND);
    assert!(pair.frames.is_empty());
    pair.link.probe(pair.now);
    pair.advance(SECOND);
    assert_eq!(pair.next()[..6], hex("ff03 c021 09 01"));
    pair.link.probe(pair.now);
    // The workers' replies have other identifiers, should one come here.
    pair.send("ff03 c021 0a 81 0008 00000000");
    pair.send("ff03 c021 0a 01 0008 00000000");
    pair.advance(100 * SECOND);
    assert!(pair.frames.is_empty());
    pair.link.probe(pair.now);
    pair.advance(SECOND);
    assert_eq!(pair.next()[..6], hex("ff03 c021 09 02"));
    pair.advance(10 * SECOND);
    assert_eq!(pair.next()[..6], hex("ff03 c021 09 03"));
    pair.advance(10 * SECOND);
    assert_eq!(pair.next()[..5], hex("ff03 c021 05"));
}

#[test]
fn nothing_is_tested_that_is_not_to_be() {
    let config = Config { echo_interval: None, echo_when_probed: true, ..pap_client() };
    let mut pair = let_in(config);
    pair.frames.clear();
    pair.link.probe(pair.now);
    pair.advance(SECOND);
    assert!(pair.frames.iter().all(|frame| frame[..5] != hex("ff03 c021 09")));
}

#[test]
fn a_late_reply_to_an_echo_counts() {
    let config = Config { echo_interval: Some(10 * SECOND), echo_failures: 2, ..pap_client() };
    let mut pair = let_in(config);
    pair.send("ff03 8021 03 01 000a 03 06 c0a81e0a");
    pair.frames.clear();
    pair.send("ff03 8021 02 02 0016 03 06 c0a81e0a 81 06 00000000 83 06 00000000");
    pair.send("ff03 8021 01 01 0004");
    for round in 0..6 {
        pair.advance(10 * SECOND);
        if round % 2 == 1 {
            pair.send(&format!("ff03 c021 0a {:02x} 0008 00000000", round));
        }
    }
    assert_eq!(pair.link.phase(), Phase::Network);
}

#[test]
fn we_say_what_we_are() {
    let config = Config { identification: Some("xlns".into()), ..pap_client() };
    let mut pair = with_pap(config);
    let magic = pair.link.agreed().magic.to_be_bytes();
    assert_eq!(pair.next(), [&hex("ff03 c021 0c 02 000c")[..], &magic, b"xlns"].concat());
}

/// Row 20: the peer's wish is granted and not used.
#[test]
fn ff_03_is_sent_where_the_configuration_wants_it() {
    for framing in [Framing::Negotiated, Framing::AlwaysFf03] {
        let mut pair = Pair::opened(Config { framing, ..pap_client() });
        let request = pair.next();
        pair.send_octets(&acknowledge(&request));
        pair.send("ff03 c021 01 01 000c 08 02 07 02 03 04 c023");
        pair.expect("ff03 c021 02 01 000c 08 02 07 02 03 04 c023");
        let compressed = framing == Framing::Negotiated;
        assert_eq!(pair.link.agreed().send_acfc, compressed);
        assert_eq!(pair.next()[..2] == hex("c023"), compressed);
    }
}

/// An echo of ours that comes back means that the wire does.
#[test]
fn a_loop_that_comes_later_is_found_by_echo() {
    let mut pair = let_in(pap_client());
    pair.frames.clear();
    let magic = pair.link.agreed().magic.to_be_bytes();
    let echo = [&hex("ff03 c021 09 01 0008")[..], &magic].concat();
    for _ in 0..5 {
        assert_eq!(pair.link.phase(), Phase::Network);
        assert_eq!(pair.send_octets(&echo), Some(Discard::Looped));
    }
    pair.advance(6 * SECOND);
    pair.expect_down(DownCause::Looped);
}
