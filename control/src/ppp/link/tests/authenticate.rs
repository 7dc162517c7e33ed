//! PAP and CHAP.

use super::*;

#[test]
fn chap_accepted() {
    let mut pair = Pair::with_lcp_up(config());
    let challenge = pair.next();
    assert_eq!(challenge[..5], hex("ff03 c223 01"));
    assert_eq!(challenge[6..9], hex("0018 10"));
    assert_eq!(challenge[25..], *b"lns");
    pair.send_octets(&respond(&challenge));
    let credentials = pair.expect_credentials();
    assert_eq!(credentials.name, b"bob");
    let Proof::ChapMd5 { identifier, challenge: value, response } = &credentials.proof else {
        panic!("{credentials:?}");
    };
    assert_eq!((*identifier, &value[..]), (challenge[5], &challenge[9..25]));
    assert!(crate::ppp::chap::verify(*identifier, b"secret", value, response));
    assert!(!crate::ppp::chap::verify(*identifier, b"wrong", value, response));
    pair.expect_silence();
    pair.accept();
    let success = pair.next();
    assert_eq!(success[..6], [&hex("ff03 c223 03")[..], &challenge[5..6]].concat());
    assert_eq!(success[8..], *b"Welcome");
    assert_eq!(pair.link.phase(), Phase::Network);
    pair.expect("ff03 8021 01 01 000a 03 06 64400001");
}

/// Row 35: Failure, then Terminate-Request, then the end.
#[test]
fn chap_refused() {
    let mut pair = Pair::with_lcp_up(config());
    let challenge = pair.next();
    pair.send_octets(&respond(&challenge));
    pair.expect_credentials();
    pair.refuse("go away");
    let failure = pair.next();
    assert_eq!(failure[..5], hex("ff03 c223 04"));
    assert_eq!(failure[8..], *b"go away");
    let terminate = pair.next();
    assert_eq!(terminate[..5], hex("ff03 c021 05"));
    assert!(pair.events.is_empty());
    assert_eq!(pair.link.phase(), Phase::Terminate);
    // Nothing but LCP counts now (section 3.7).
    assert_eq!(pair.send_octets(&respond(&challenge)), Some(Discard::Phase));
    let mut ack = terminate.clone();
    ack[4] = 6;
    pair.send_octets(&ack);
    pair.expect_down(DownCause::AuthenticationFailed);
    pair.expect_silence();
}

#[test]
fn a_repeated_response_gets_the_same_reply() {
    let mut pair = Pair::with_lcp_up(config());
    let challenge = pair.next();
    let response = respond(&challenge);
    pair.send_octets(&response);
    // While the verdict is out, nothing happens.
    assert_eq!(pair.send_octets(&response), None);
    pair.expect_credentials();
    assert!(pair.events.is_empty());
    pair.accept();
    let success = pair.next();
    pair.next();
    // Right or wrong, a name or another: the reply of the first stands (RFC 1994 section 4.1).
    let mut wrong = response.clone();
    wrong[12] ^= 0xff;
    for repeated in [response, wrong] {
        assert_eq!(pair.send_octets(&repeated), None);
        assert_eq!(pair.next(), success);
        assert!(pair.events.is_empty());
    }
}

#[test]
fn a_response_to_no_challenge_is_discarded() {
    let mut pair = Pair::with_lcp_up(config());
    let mut response = respond(&pair.next());
    response[5] = response[5].wrapping_add(1);
    assert_eq!(pair.send_octets(&response), Some(Discard::Unsolicited));
    assert_eq!(pair.send("ff03 c223 03 01 0004"), Some(Discard::Unsolicited));
    assert!(pair.events.is_empty());
}

#[test]
fn challenges_are_repeated_with_a_new_value() {
    let mut pair = Pair::with_lcp_up(config());
    let first = pair.next();
    pair.advance(3 * SECOND);
    let second = pair.next();
    assert_ne!(first[5], second[5]);
    assert_ne!(first[9..25], second[9..25]);
    assert_eq!(pair.send_octets(&respond(&first)), Some(Discard::Unsolicited));
    assert_eq!(pair.send_octets(&respond(&second)), None);
    pair.expect_credentials();
    pair.advance(10 * SECOND);
    pair.expect_silence();
}

#[test]
fn a_silent_peer_runs_out_of_time() {
    for config in [config(), pap_only()] {
        let mut pair = Pair::with_lcp_up(config);
        pair.advance(30 * SECOND - Duration::from_millis(1));
        assert!(pair.events.is_empty());
        assert_eq!(pair.link.phase(), Phase::Authenticate);
        pair.advance(Duration::from_millis(1));
        assert_eq!(pair.link.phase(), Phase::Terminate);
        pair.advance(6 * SECOND);
        pair.expect_down(DownCause::AuthenticationTimeout);
    }
}

#[test]
fn a_response_of_a_wrong_size_is_refused_without_asking() {
    let mut pair = Pair::with_lcp_up(config());
    let identifier = pair.next()[5];
    pair.send(&format!("ff03 c223 02 {identifier:02x} 000a 02 0102 626f62"));
    assert_eq!(pair.next()[..5], hex("ff03 c223 04"));
    assert_eq!(pair.next()[..5], hex("ff03 c021 05"));
    pair.advance(6 * SECOND);
    pair.expect_down(DownCause::AuthenticationFailed);
}

#[test]
fn malformed_responses_are_discarded() {
    let mut pair = Pair::with_lcp_up(config());
    let identifier = pair.next()[5];
    for data in ["0004", "0005 00", "0006 10 00"] {
        let frame = format!("ff03 c223 02 {identifier:02x} {data}");
        assert_eq!(pair.send(&frame), Some(Discard::Content), "{data}");
    }
    pair.expect_silence();
    assert_eq!(pair.link.phase(), Phase::Authenticate);
}

#[test]
fn names_are_bounded() {
    for (octets, fits) in [(NAME_MAX, true), (NAME_MAX + 1, false)] {
        let mut pair = Pair::with_lcp_up(config());
        let mut response = respond(&pair.next());
        response.truncate(response.len() - 3);
        response.resize(response.len() + octets, b'x');
        let length = (response.len() - 4) as u16;
        response[6..8].copy_from_slice(&length.to_be_bytes());
        pair.send_octets(&response);
        assert_eq!(pair.events.pop_front().is_some(), fits);
        assert_eq!(pair.link.phase() == Phase::Terminate, !fits);

        let mut pair = Pair::with_lcp_up(pap_only());
        let mut request = hex("ff03 c023 01 01 0000");
        request.push(octets as u8);
        request.resize(request.len() + octets, b'x');
        request.push(0);
        let length = (request.len() - 4) as u16;
        request[6..8].copy_from_slice(&length.to_be_bytes());
        pair.send_octets(&request);
        assert_eq!(pair.events.pop_front().is_some(), fits);
        assert_eq!(pair.link.phase() == Phase::Terminate, !fits);
    }
}

const NAME_MAX: usize = crate::ppp::NAME_OCTETS_MAX;

#[test]
fn pap_accepted() {
    let mut pair = Pair::with_lcp_up(pap_only());
    pair.expect_silence();
    pair.send("ff03 c023 01 01 0010 03 626f62 07 73656372657421");
    let credentials = pair.expect_credentials();
    assert_eq!(credentials.name, b"bob");
    let Proof::Pap { password } = &credentials.proof else { panic!("{credentials:?}") };
    assert_eq!(password[..], *b"secret!");
    // The peer loses patience; the last identifier is the one it waits for.
    pair.send("ff03 c023 01 02 0010 03 626f62 07 73656372657421");
    assert!(pair.events.is_empty());
    pair.accept();
    pair.expect("ff03 c023 02 02 000c 07 57656c636f6d65");
    assert_eq!(pair.next()[..6], hex("ff03 8021 01 01"));
    // The Ack was lost.
    pair.send("ff03 c023 01 03 0010 03 626f62 07 73656372657421");
    pair.expect("ff03 c023 02 03 000c 07 57656c636f6d65");
    pair.expect_silence();
    assert!(pair.events.is_empty());
}

#[test]
fn pap_refused() {
    let mut pair = Pair::with_lcp_up(pap_only());
    pair.send("ff03 c023 01 01 000c 03 626f62 03 626164");
    pair.expect_credentials();
    pair.refuse("no");
    pair.expect("ff03 c023 03 01 0007 02 6e6f");
    pair.expect("ff03 c021 05 02 0004");
    pair.send("ff03 c021 06 02 0004");
    pair.expect_down(DownCause::AuthenticationFailed);
}

#[test]
fn a_long_message_to_the_user_is_cut() {
    let mut pair = Pair::with_lcp_up(pap_only());
    pair.send("ff03 c023 01 01 000c 03 626f62 03 626164");
    pair.refuse(&"x".repeat(300));
    let nak = pair.next();
    assert_eq!((nak[8], nak.len()), (255, 9 + 255));
}

/// Row 30: where both are allowed, the peer may use either, whatever it agreed to.
#[test]
fn pap_instead_of_chap() {
    let mut pair = Pair::with_lcp_up(config());
    pair.next();
    pair.send("ff03 c023 01 01 000c 03 626f62 03 626164");
    assert!(matches!(pair.expect_credentials().proof, Proof::Pap { .. }));
    pair.accept();
    assert_eq!(pair.next()[..5], hex("ff03 c023 02"));
    assert_eq!(pair.link.phase(), Phase::Network);
    pair.next();
    pair.advance(3 * SECOND);
    // No challenge any more, only IPCP.
    assert_eq!(pair.next()[2..4], hex("8021"));
    pair.expect_silence();
}

#[test]
fn chap_instead_of_pap() {
    let both = vec![Authentication::Pap, Authentication::ChapMd5];
    let mut pair = Pair::with_lcp_up(Config { authentication: both, ..config() });
    pair.expect_silence();
    assert_eq!(pair.link.agreed().authentication, Some(Authentication::Pap));
    pair.send("ff03 c223 02 01 0008 01 01 6262");
    let challenge = pair.next();
    pair.send_octets(&respond(&challenge));
    assert!(matches!(pair.expect_credentials().proof, Proof::ChapMd5 { .. }));
    pair.accept();
    assert_eq!(pair.next()[..5], hex("ff03 c223 03"));
}

#[test]
fn a_protocol_that_is_not_allowed_is_rejected() {
    let mut pair = Pair::with_lcp_up(pap_only());
    pair.send("ff03 c223 02 01 0008 01 01 6262");
    pair.expect("ff03 c021 08 02 000e c223 02 01 0008 01 01 6262");
    assert_eq!(pair.link.phase(), Phase::Authenticate);
    assert!(pair.events.is_empty());
}

#[test]
fn a_rejected_authentication_protocol_ends_the_link() {
    let mut pair = Pair::with_lcp_up(config());
    pair.next();
    pair.send("ff03 c021 08 01 0006 c223");
    assert_eq!(pair.next()[..5], hex("ff03 c021 05"));
    pair.advance(6 * SECOND);
    pair.expect_down(DownCause::NegotiationFailed("an authentication protocol"));
}

#[test]
fn no_secret_is_shown_by_debug() {
    let mut pair = Pair::with_lcp_up(pap_only());
    pair.send("ff03 c023 01 01 0010 03 626f62 07 73656372657421");
    let text = format!("{:?}", pair.events);
    assert!(text.contains("bob"));
    assert!(!text.contains("115") && !text.contains("secret!"), "{text}");
}

#[test]
fn pap_outside_of_its_phases_is_discarded() {
    let request = "ff03 c023 01 01 000c 03 626f62 03 626164";
    let mut pair = Pair::opened(pap_only());
    pair.next();
    assert_eq!(pair.send(request), Some(Discard::Phase));
    pair.expect_silence();
    let mut pair = Pair::with_lcp_up(pap_only());
    pair.close();
    pair.next();
    assert_eq!(pair.send(request), Some(Discard::Phase));
    pair.expect_silence();
    assert!(pair.events.is_empty());
}
