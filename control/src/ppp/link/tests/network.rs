//! IPCP and the protocols that are not spoken.

use super::*;

#[test]
fn an_address_is_assigned() {
    for wish in ["00000000", "0a000001"] {
        let mut pair = Pair::with_network(config());
        let request = pair.next();
        assert_eq!(request, hex("ff03 8021 01 01 000a 03 06 64400001"));
        pair.send_octets(&acknowledge(&request));
        pair.send(&format!("ff03 8021 01 01 000a 03 06 {wish}"));
        pair.expect("ff03 8021 03 01 000a 03 06 64400709");
        assert!(pair.events.is_empty());
        pair.send("ff03 8021 01 02 000a 03 06 64400709");
        pair.expect("ff03 8021 02 02 000a 03 06 64400709");
        pair.expect_event(IPV4_UP);
        pair.expect_silence();
    }
}

#[test]
fn a_peer_without_an_address_option_is_told_and_then_given_up() {
    let mut pair = Pair::with_network(config());
    let request = pair.next();
    pair.send_octets(&acknowledge(&request));
    for _ in 0..5 {
        pair.send("ff03 8021 01 01 0004");
        pair.expect("ff03 8021 03 01 000a 03 06 64400709");
    }
    pair.send("ff03 8021 01 02 0004");
    pair.expect("ff03 8021 05 02 0004");
    pair.expect("ff03 c021 05 02 0004");
    pair.advance(6 * SECOND);
    pair.expect_down(DownCause::NetworkProtocolsFailed);
}

#[test]
fn a_stubborn_peer_is_refused_the_option_in_the_end() {
    let mut pair = Pair::with_network(config());
    let request = pair.next();
    pair.send_octets(&acknowledge(&request));
    for _ in 0..5 {
        pair.send("ff03 8021 01 01 000a 03 06 0a000001");
        pair.expect("ff03 8021 03 01 000a 03 06 64400709");
    }
    pair.send("ff03 8021 01 01 000a 03 06 0a000001");
    pair.expect("ff03 8021 04 01 000a 03 06 0a000001");
    // Without the option it would have an address that is not the one that it was given.
    pair.send("ff03 8021 01 02 0004");
    pair.expect("ff03 8021 05 02 0004");
    pair.expect("ff03 c021 05 02 0004");
    pair.advance(6 * SECOND);
    pair.expect_down(DownCause::NetworkProtocolsFailed);
}

#[test]
fn a_peer_that_insists_is_given_up_in_the_end() {
    let mut pair = Pair::with_network(config());
    let request = pair.next();
    pair.send_octets(&acknowledge(&request));
    for round in 0..15 {
        pair.send("ff03 8021 01 01 000a 03 06 0a000001");
        assert_eq!(pair.next()[4], if round < 5 { 3 } else { 4 });
    }
    pair.send("ff03 8021 01 01 000a 03 06 0a000001");
    pair.expect("ff03 8021 05 02 0004");
    pair.expect("ff03 c021 05 02 0004");
}

#[test]
fn name_servers_are_given() {
    let mut pair = Pair::with_network(config());
    let request = pair.next();
    pair.send_octets(&acknowledge(&request));
    pair.send("ff03 8021 01 01 0016 03 06 64400709 81 06 00000000 83 06 00000000");
    pair.expect("ff03 8021 03 01 0010 81 06 09090909 83 06 0909090a");
    pair.send("ff03 8021 01 02 0016 03 06 64400709 81 06 09090909 83 06 0909090a");
    pair.expect("ff03 8021 02 02 0016 03 06 64400709 81 06 09090909 83 06 0909090a");
    pair.expect_event(IPV4_UP);
}

#[test]
fn a_grants_name_servers_come_before_the_configured() {
    let mut pair = Pair::with_lcp_up(pap_only());
    pair.send("ff03 c023 01 01 000c 03 626f62 03 626164");
    let dns = vec![Ipv4Addr::new(8, 8, 8, 8)];
    pair.link.authenticated(
        pair.now,
        Ok(Grant {
            ipv4: Some(Ipv4Grant { address: PEERS, dns, ..Ipv4Grant::default() }),
            ..Grant::default()
        }),
    );
    pair.drain();
    pair.next();
    let request = pair.next();
    pair.send_octets(&acknowledge(&request));
    // There is no second one now.
    pair.send("ff03 8021 01 01 0016 03 06 64400709 81 06 00000000 83 06 00000000");
    pair.expect("ff03 8021 04 01 000a 83 06 00000000");
    pair.send("ff03 8021 01 02 0010 03 06 64400709 81 06 00000000");
    pair.expect("ff03 8021 03 02 000a 81 06 08080808");
}

#[test]
fn netbios_name_servers_are_rejected_unless_there_are_any() {
    let request = "ff03 8021 01 01 0010 82 06 00000000 84 06 00000000";
    let mut pair = Pair::with_network(config());
    pair.next();
    pair.send(request);
    pair.next();
    pair.expect("ff03 8021 04 01 0010 82 06 00000000 84 06 00000000");

    let nbns = vec![Ipv4Addr::new(10, 0, 0, 5), Ipv4Addr::new(10, 0, 0, 6)];
    let mut pair =
        Pair::with_network(Config { ipv4: Some(Ipv4Config { nbns, ..ipv4() }), ..config() });
    pair.next();
    pair.send(request);
    pair.next();
    // With the address that it did not ask for.
    pair.expect("ff03 8021 03 01 0016 82 06 0a000005 84 06 0a000006 03 06 64400709");
}

#[test]
fn header_compression_and_the_old_addresses_option_are_rejected() {
    let mut pair = Pair::with_network(config());
    pair.next();
    pair.send("ff03 8021 01 01 001a 01 0a 0000000000000000 02 06 002d 0f 01 03 06 00000000");
    pair.next();
    pair.expect("ff03 8021 04 01 0014 01 0a 0000000000000000 02 06 002d 0f 01");
}

#[test]
fn a_peer_may_refuse_to_know_our_address() {
    let mut pair = Pair::with_network(config());
    pair.next();
    pair.send("ff03 8021 04 01 000a 03 06 64400001");
    let request = pair.next();
    assert_eq!(request, hex("ff03 8021 01 02 0004"));
    pair.send_octets(&acknowledge(&request));
    pair.send("ff03 8021 01 01 000a 03 06 64400709");
    pair.expect("ff03 8021 02 01 000a 03 06 64400709");
    pair.expect_event(IPV4_UP);
}

#[test]
fn our_address_is_not_up_for_negotiation() {
    let mut pair = Pair::with_network(config());
    for identifier in 1..5 {
        assert_eq!(pair.next()[5..], hex(&format!("{identifier:02x} 000a 03 06 64400001")));
        pair.send(&format!("ff03 8021 03 {identifier:02x} 000a 03 06 01020304"));
    }
    pair.next();
    pair.send("ff03 8021 03 05 000a 03 06 01020304");
    pair.expect("ff03 8021 01 06 0004");
}

/// Rows 12, 13 and 34: each is told so, and IPCP goes on whatever becomes of them.
#[test]
fn other_protocols_are_rejected_one_by_one() {
    let mut pair = Pair::with_network_up(config());
    for (identifier, protocol) in [
        ("02", "8057"), // IPv6CP
        ("03", "80fd"), // CCP
        ("04", "8235"), // ACSP
        ("05", "8281"), // MPLSCP
        ("06", "c02d"), // BACP
        ("07", "0281"), // MPLS
        ("08", "002d"), // compressed TCP
        ("09", "8022"), // no protocol at all
    ] {
        assert_eq!(pair.send(&format!("ff03 {protocol} 01 01 0004")), None);
        pair.expect(&format!("ff03 c021 08 {identifier} 000a {protocol} 01 01 0004"));
    }
    // Their Terminate-Requests end nothing.
    pair.send("ff03 80fd 05 09 0004");
    pair.expect("ff03 c021 08 0a 000a 80fd 05 09 0004");
    pair.send("8057 05 09 0004");
    pair.expect("ff03 c021 08 0b 000a 8057 05 09 0004");
    assert!(pair.events.is_empty());
    assert_eq!(pair.link.phase(), Phase::Network);
}

#[test]
fn before_authentication_other_protocols_are_silently_discarded() {
    let mut pair = Pair::with_lcp_up(config());
    pair.next();
    for protocol in ["8021", "8057", "80fd", "0021"] {
        assert_eq!(pair.send(&format!("ff03 {protocol} 01 01 0004")), Some(Discard::Phase));
    }
    pair.expect_silence();
}

#[test]
fn packets_for_the_data_plane_are_ignored() {
    let mut pair = Pair::with_network_up(config());
    for frame in ["0021 4500", "21 4500"] {
        assert_eq!(pair.send(frame), Some(Discard::Phase), "{frame}");
    }
    pair.expect_silence();
}

#[test]
fn packets_of_protocols_that_are_not_spoken_are_rejected() {
    let mut pair = Pair::with_network_up(config());
    assert_eq!(pair.send("ff03 0057 6000"), None);
    pair.expect("ff03 c021 08 02 0008 0057 6000");
    assert_eq!(pair.send("57 6000"), None);
    pair.expect("ff03 c021 08 03 0008 0057 6000");
    assert!(pair.events.is_empty());
}

#[test]
fn a_peer_that_does_not_know_protocol_reject_is_sent_none() {
    let mut pair = Pair::with_network_up(config());
    pair.send("ff03 c021 07 01 000a 08 02 0006 8057");
    assert_eq!(pair.send("ff03 0057 6000"), Some(Discard::Phase));
    // Nor one that does not know Echo-Reply.
    pair.send("ff03 c021 07 01 000c 0a 02 0008 00000000");
    assert_eq!(pair.send("ff03 c021 09 01 0008 00000000"), None);
    pair.expect_silence();
}

#[test]
fn a_protocol_reject_is_cut_to_the_peers_mru() {
    let mut pair = Pair::with_network_up(config());
    let mut frame = hex("8057");
    frame.resize(2 + 2000, 0x55);
    pair.send_octets(&frame);
    let reject = pair.next();
    assert_eq!(reject.len(), 4 + 1460);
    assert_eq!(reject[6..8], 1460_u16.to_be_bytes());
}

#[test]
fn ipcp_that_the_peer_ends_may_come_back() {
    let mut pair = Pair::with_network_up(config());
    pair.send("ff03 8021 05 09 0004");
    pair.expect("ff03 8021 06 09 0004");
    pair.expect_event(Event::Ipv4Down);
    pair.advance(10 * SECOND);
    assert!(pair.events.is_empty());
    assert_eq!(pair.link.phase(), Phase::Network);
    pair.send("ff03 8021 01 0a 000a 03 06 64400709");
    let request = pair.next();
    pair.expect("ff03 8021 02 0a 000a 03 06 64400709");
    pair.send_octets(&acknowledge(&request));
    pair.expect_event(IPV4_UP);
}

#[test]
fn ipcp_without_an_answer_ends_the_link() {
    let mut pair = Pair::with_network(config());
    pair.advance(30 * SECOND);
    assert_eq!(pair.frames.len(), 11);
    assert_eq!(pair.frames[10][..5], hex("ff03 c021 05"));
    pair.frames.clear();
    pair.advance(6 * SECOND);
    pair.expect_down(DownCause::NetworkProtocolsFailed);
}

#[test]
fn a_protocol_reject_of_ipcp_ends_the_link() {
    let mut pair = Pair::with_network(config());
    pair.next();
    pair.send("ff03 c021 08 01 000c 8021 01 01 000a 03 06");
    assert_eq!(pair.next()[..5], hex("ff03 c021 05"));
    pair.advance(6 * SECOND);
    pair.expect_down(DownCause::NetworkProtocolsFailed);
}

#[test]
fn ipcp_has_no_codes_of_its_own() {
    let mut pair = Pair::with_network(config());
    pair.next();
    pair.send("ff03 8021 09 05 0008 00000000");
    pair.expect("ff03 8021 07 02 000c 09 05 0008 00000000");
}
