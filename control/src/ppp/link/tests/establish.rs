//! LCP: negotiation, loss, renegotiation, loops.

use super::*;

#[test]
fn our_request_comes_first_and_is_complete() {
    let mut pair = Pair::opened(config());
    let request = pair.next();
    assert_eq!(request[..19], hex("ff03 c021 01 01 0013  01 04 05b4  03 05 c223 05  05 06")[..]);
    assert_eq!(request[19..23], pair.link.agreed().magic.to_be_bytes());
    assert_eq!(request.len(), 23);
    pair.expect_silence();
    assert_eq!(pair.link.phase(), Phase::Establish);
}

#[test]
fn an_mru_of_1500_is_not_asked_for() {
    let mut pair = Pair::opened(Config { mru: 1500, ..pap_only() });
    assert_eq!(pair.next()[..14], hex("ff03 c021 01 01 000e  03 04 c023  05 06")[..]);
}

#[test]
fn a_peers_wishes_are_granted() {
    let mut pair = Pair::opened(config());
    let request = pair.next();
    pair.send_octets(&acknowledge(&request));
    let wishes = "01 04 0578  02 06 000a0000  05 06 11223344  07 02  08 02";
    pair.send(&format!("ff03 c021 01 05 0018 {wishes}"));
    pair.expect(&format!("ff03 c021 02 05 0018 {wishes}"));
    let agreed = pair.link.agreed();
    assert_eq!((agreed.peer_mru, agreed.local_mru), (1400, 1460));
    assert!(agreed.send_acfc && agreed.send_pfc);
    assert_eq!(agreed.peer_magic, 0x1122_3344);
    assert_eq!(agreed.authentication, Some(Authentication::ChapMd5));
    pair.expect_event(Event::LcpUp { agreed });
    assert_eq!(pair.link.phase(), Phase::Authenticate);
    // CHAP comes without FF 03 now; LCP never does.
    assert_eq!(pair.next()[..3], hex("c223 01"));
    pair.send("c021 09 01 0008 11223344");
    assert_eq!(pair.next()[..5], hex("ff03 c021 0a"));
}

/// Row 29: no MRU, too small, as large as can be.
#[test]
fn odd_mrus() {
    for (asked, answer, peer_mru) in [
        ("ff03 c021 01 01 0004", "ff03 c021 02 01 0004", 1460),
        ("ff03 c021 01 01 0008 01 04 ffff", "ff03 c021 02 01 0008 01 04 ffff", 1460),
        ("ff03 c021 01 01 0008 01 04 05b4", "ff03 c021 02 01 0008 01 04 05b4", 1460),
        ("ff03 c021 01 01 0008 01 04 05b3", "ff03 c021 02 01 0008 01 04 05b3", 1459),
        ("ff03 c021 01 01 0008 01 04 0240", "ff03 c021 02 01 0008 01 04 0240", 576),
        ("ff03 c021 01 01 0008 01 04 023f", "ff03 c021 03 01 0008 01 04 0240", 1460),
        ("ff03 c021 01 01 0008 01 04 0080", "ff03 c021 03 01 0008 01 04 0240", 1460),
        ("ff03 c021 01 01 0006 01 02", "ff03 c021 03 01 0008 01 04 05dc", 1460),
    ] {
        let mut pair = Pair::opened(config());
        let request = pair.next();
        pair.send_octets(&acknowledge(&request));
        pair.send(asked);
        pair.expect(answer);
        assert_eq!(pair.link.agreed().peer_mru, peer_mru, "{asked}");
    }
}

#[test]
fn after_max_failure_naks_become_rejects() {
    let mut pair = Pair::opened(config());
    let request = pair.next();
    pair.send_octets(&acknowledge(&request));
    for _ in 0..5 {
        pair.send("ff03 c021 01 01 0008 01 04 0080");
        pair.expect("ff03 c021 03 01 0008 01 04 0240");
    }
    pair.send("ff03 c021 01 01 0008 01 04 0080");
    pair.expect("ff03 c021 04 01 0008 01 04 0080");
    pair.send("ff03 c021 01 02 0004");
    pair.expect("ff03 c021 02 02 0004");
    assert_eq!(pair.link.phase(), Phase::Authenticate);
}

#[test]
fn a_magic_number_of_zero_is_naked() {
    let mut pair = Pair::opened(config());
    let request = pair.next();
    pair.send_octets(&acknowledge(&request));
    pair.send("ff03 c021 01 01 000a 05 06 00000000");
    let nak = pair.next();
    assert_eq!(nak[..10], hex("ff03 c021 03 01 000a 05 06"));
    assert_ne!(nak[10..], [0; 4]);
    pair.expect_silence();
}

#[test]
fn a_request_to_authenticate_ourselves_is_rejected() {
    let mut pair = Pair::opened(config());
    let request = pair.next();
    pair.send_octets(&acknowledge(&request));
    pair.send("ff03 c021 01 01 0009 03 05 c223 05");
    pair.expect("ff03 c021 04 01 0009 03 05 c223 05");
}

#[test]
fn compression_options_with_a_value_are_rejected() {
    let mut pair = Pair::opened(config());
    let request = pair.next();
    pair.send_octets(&acknowledge(&request));
    pair.send("ff03 c021 01 01 000a 07 03 00 08 03 01");
    pair.expect("ff03 c021 04 01 000a 07 03 00 08 03 01");
}

/// Row 36: the first request is lost because the peer's end was not ready.
#[test]
fn a_peers_request_brings_our_lost_one_back_at_once() {
    let mut pair = Pair::opened(config());
    let lost = pair.next();
    pair.send("ff03 c021 01 01 0004");
    // First ours, then the answer: a peer that already has ours must not be in Opened yet.
    assert_eq!(pair.next(), lost);
    pair.expect("ff03 c021 02 01 0004");
    pair.send_octets(&acknowledge(&lost));
    assert_eq!(pair.link.phase(), Phase::Authenticate);
}

#[test]
fn our_request_comes_back_once_only() {
    let mut pair = Pair::opened(config());
    let request = pair.next();
    pair.send("ff03 c021 01 01 0004");
    assert_eq!(pair.next(), request);
    pair.expect("ff03 c021 02 01 0004");
    for _ in 0..3 {
        pair.send("ff03 c021 01 01 0004");
        pair.expect("ff03 c021 02 01 0004");
        pair.expect_silence();
    }
    // The Restart timer goes on, from the repetition.
    pair.advance(3 * SECOND);
    assert_eq!(pair.next(), request);
    // A peer that answers both gets no second life out of the second answer.
    pair.send_octets(&acknowledge(&request));
    pair.events.clear();
    assert_eq!(pair.send_octets(&acknowledge(&request)), Some(Discard::Unsolicited));
    assert_eq!(pair.link.phase(), Phase::Authenticate);
    assert!(pair.events.is_empty());
}

/// Two ends that both repeat: neither sees a request after it has reached Opened.
#[test]
fn requests_that_cross_do_not_tear_the_link_down() {
    // A and B stand for the two ends; B runs the same rules.
    let mut a = Pair::opened(config());
    let a1 = a.next();
    // B's request is on the wire while ours is; B gets ours and repeats its own before its Ack.
    a.send("ff03 c021 01 09 0004");
    assert_eq!(a.next(), a1);
    a.expect("ff03 c021 02 09 0004");
    a.send("ff03 c021 01 09 0004");
    a.expect("ff03 c021 02 09 0004");
    a.send_octets(&acknowledge(&a1));
    assert_eq!(a.link.phase(), Phase::Authenticate);
    // B acknowledges our repetition too.
    assert_eq!(a.send_octets(&acknowledge(&a1)), Some(Discard::Unsolicited));
    assert_eq!(a.link.phase(), Phase::Authenticate);
}

#[test]
fn a_request_before_open_is_kept() {
    let mut pair = Pair::new(config());
    assert_eq!(pair.send("ff03 c021 01 01 0004"), None);
    assert_eq!(pair.send("ff03 c021 01 02 0008 01 04 0578"), None);
    assert_eq!(pair.send("ff03 c021 09 02 0008 00000000"), Some(Discard::Phase));
    pair.expect_silence();
    pair.open();
    let request = pair.next();
    assert_eq!(request[..8], hex("ff03 c021 01 01 0013"));
    // The last one counts, and ours is not sent twice for it.
    pair.expect("ff03 c021 02 02 0008 01 04 0578");
    pair.expect_silence();
    pair.send_octets(&acknowledge(&request));
    assert_eq!(pair.link.phase(), Phase::Authenticate);
}

#[test]
fn a_request_before_open_is_kept_up_to_a_size() {
    for (padding, kept) in [(0, true), (1, false)] {
        let mut pair = Pair::new(config());
        let mut frame = hex("ff03 c021 01 01 0004");
        frame.resize(HELD_OCTETS_MAX + padding, 0);
        assert_eq!(pair.send_octets(&frame).is_none(), kept);
    }
}

#[test]
fn silence_ends_after_ten_requests() {
    let mut pair = Pair::opened(config());
    pair.advance(30 * SECOND - Duration::from_millis(1));
    assert_eq!(pair.frames.len(), 10);
    assert!(pair.frames.iter().all(|frame| *frame == pair.frames[0]));
    assert!(pair.events.is_empty());
    pair.advance(Duration::from_millis(1));
    assert_eq!(pair.frames.len(), 10);
    pair.expect_down(DownCause::LcpTimeout);
    // Nothing wakes it again.
    assert_eq!(pair.send("ff03 c021 01 01 0004"), Some(Discard::Phase));
    pair.open();
    assert_eq!(pair.frames.len(), 10);
    assert!(pair.events.is_empty());
}

#[test]
fn an_acknowledgement_must_be_exact() {
    let mut pair = Pair::opened(config());
    let ack = acknowledge(&pair.next());
    let mut other_identifier = ack.clone();
    other_identifier[5] = 2;
    assert_eq!(pair.send_octets(&other_identifier), Some(Discard::Unsolicited));
    let mut other_magic = ack.clone();
    other_magic[22] ^= 1;
    assert_eq!(pair.send_octets(&other_magic), Some(Discard::Content));
    assert_eq!(pair.send("ff03 c021 02 01 0004"), Some(Discard::Content));
    assert_eq!(pair.send_octets(&ack), None);
    pair.send("ff03 c021 01 01 0004");
    assert_eq!(pair.link.phase(), Phase::Authenticate);
}

#[test]
fn a_naked_authentication_falls_back_to_what_the_peer_names() {
    let mut pair = Pair::opened(config());
    pair.next();
    pair.send("ff03 c021 03 01 0008 03 04 c023");
    let request = pair.next();
    assert_eq!(request[..18], hex("ff03 c021 01 02 0012  01 04 05b4  03 04 c023  05 06")[..]);
    pair.send_octets(&acknowledge(&request));
    pair.send("ff03 c021 01 01 0004");
    assert_eq!(pair.link.agreed().authentication, Some(Authentication::Pap));
}

#[test]
fn a_nak_that_names_what_we_lack_falls_back_to_the_next() {
    let mut pair = Pair::opened(config());
    pair.next();
    // MS-CHAPv2.
    pair.send("ff03 c021 03 01 0009 03 05 c223 81");
    assert_eq!(pair.next()[12..16], hex("03 04 c023"));
    // EAP: nothing is left.
    pair.send("ff03 c021 03 02 0008 03 04 c227");
    pair.expect("ff03 c021 05 03 0004");
    pair.send("ff03 c021 06 03 0004");
    pair.expect_down(DownCause::NegotiationFailed("an authentication protocol"));
}

#[test]
fn of_several_named_authentications_one_is_taken() {
    let mut pair = Pair::opened(config());
    pair.next();
    pair.send("ff03 c021 03 01 000d 03 04 c023 03 05 c223 81");
    assert_eq!(pair.next()[12..16], hex("03 04 c023"));
}

#[test]
fn authentication_cannot_be_rejected() {
    let mut pair = Pair::opened(config());
    pair.next();
    pair.send("ff03 c021 04 01 0009 03 05 c223 05");
    pair.expect("ff03 c021 05 02 0004");
    pair.advance(6 * SECOND);
    pair.expect("ff03 c021 05 02 0004");
    pair.expect_silence();
    pair.expect_down(DownCause::NegotiationFailed("an authentication protocol"));
}

#[test]
fn a_link_without_an_authentication_protocol_does_not_come_up() {
    let mut pair = Pair::opened(Config { authentication: Vec::new(), ..config() });
    pair.expect_silence();
    pair.expect_down(DownCause::NegotiationFailed("an authentication protocol"));
}

#[test]
fn rejected_options_are_not_asked_for_again() {
    let mut pair = Pair::opened(config());
    let request = pair.next();
    let mut reject = hex("ff03 c021 04 01 000e 01 04 05b4 05 06");
    reject.extend_from_slice(&request[19..]);
    assert_eq!(pair.send_octets(&reject), None);
    let request = pair.next();
    assert_eq!(request, hex("ff03 c021 01 02 0009 03 05 c223 05"));
    pair.send_octets(&acknowledge(&request));
    pair.send("ff03 c021 01 01 0004");
    let agreed = pair.link.agreed();
    assert_eq!((agreed.local_mru, agreed.magic), (1500, 0));
}

#[test]
fn a_reject_of_what_was_not_asked_for_is_discarded() {
    let mut pair = Pair::opened(config());
    pair.next();
    assert_eq!(pair.send("ff03 c021 04 01 0006 07 02"), Some(Discard::Content));
    assert_eq!(pair.send("ff03 c021 04 01 0008 01 04 05dc"), Some(Discard::Content));
    pair.expect_silence();
}

#[test]
fn a_naked_mru_is_taken_within_reason() {
    for (named, taken) in [("0578", "0578"), ("05dc", "05dc"), ("05dd", "05b4"), ("023f", "05b4")] {
        let mut pair =
            Pair::opened(Config { authentication: vec![Authentication::Pap], ..config() });
        pair.next();
        pair.send(&format!("ff03 c021 03 01 0008 01 04 {named}"));
        let request = pair.next();
        let mru = if taken == "05dc" { Vec::new() } else { hex(&format!("01 04 {taken}")) };
        assert_eq!(request[8..8 + mru.len()], mru, "{named}");
    }
}

#[test]
fn endless_naks_end_the_link() {
    let mut pair = Pair::opened(config());
    pair.next();
    for identifier in 1..=10 {
        pair.send(&format!("ff03 c021 03 {identifier:02x} 0008 01 04 0020"));
        assert_eq!(pair.next()[4..6], [1, identifier + 1]);
    }
    pair.send("ff03 c021 03 0b 0008 01 04 0020");
    assert_eq!(pair.next()[4], 5);
    pair.advance(6 * SECOND);
    pair.expect_down(DownCause::NegotiationFailed("our options"));
}

/// The wire leads back to us.
#[test]
fn a_looped_link_is_found_out() {
    let mut pair = Pair::opened(config());
    let mut rounds = 0;
    while pair.events.is_empty() {
        let frame = pair.next();
        pair.send_octets(&frame);
        rounds += 1;
        assert!(rounds < 50);
    }
    pair.expect_down(DownCause::Looped);
    assert_eq!(pair.now, Time::ZERO);
}

#[test]
fn two_ends_with_the_same_magic_number_part_ways() {
    let mut pair = Pair::opened(config());
    let request = pair.next();
    let mut same = hex("ff03 c021 01 01 000a 05 06");
    same.extend_from_slice(&request[19..]);
    pair.send_octets(&same);
    assert_eq!(pair.next(), request);
    let nak = pair.next();
    assert_eq!(nak[..10], hex("ff03 c021 03 01 000a 05 06"));
    assert_ne!(nak[10..], request[19..]);
    // The peer sees the same and Naks ours.
    pair.send("ff03 c021 03 01 000a 05 06 01020304");
    let request = pair.next();
    assert_eq!(request[5], 2);
    assert_ne!(request[19..], same[10..]);
    pair.send_octets(&acknowledge(&request));
    pair.send("ff03 c021 01 02 000a 05 06 0a0b0c0d");
    pair.expect("ff03 c021 02 02 000a 05 06 0a0b0c0d");
    assert_eq!(pair.link.phase(), Phase::Authenticate);
}

/// Row 39: Echo-Requests come before LCP is open, with magic 0.
#[test]
fn echo_is_answered_in_opened_only() {
    let mut pair = Pair::opened(config());
    let request = pair.next();
    assert_eq!(pair.send("ff03 c021 09 07 0008 00000000"), Some(Discard::Phase));
    pair.expect_silence();
    pair.send_octets(&acknowledge(&request));
    pair.send("ff03 c021 01 01 0004");
    pair.expect("ff03 c021 02 01 0004");
    pair.next();
    // Padding after the packet is not part of it.
    pair.send("ff03 c021 09 08 000b 00000000 aabbcc 0000");
    let mut reply = hex("ff03 c021 0a 08 000b");
    reply.extend_from_slice(&pair.link.agreed().magic.to_be_bytes());
    reply.extend(hex("aabbcc"));
    assert_eq!(pair.next(), reply);
    for quiet in ["0a", "0b", "0c", "0d"] {
        assert_eq!(pair.send(&format!("ff03 c021 {quiet} 09 0008 00000000")), None);
    }
    assert_eq!(pair.send("ff03 c021 09 0a 0007 000000"), Some(Discard::Content));
    pair.expect_silence();
}

/// Row 40: three Identification packets before anything else.
#[test]
fn identification_is_taken_at_any_time() {
    let mut pair = Pair::opened(config());
    pair.next();
    for identifier in ["02", "03", "04"] {
        let frame = format!("ff03 c021 0c {identifier} 0012 11223344 4d53524153 56352e3230");
        assert_eq!(pair.send(&frame), None);
        pair.expect_event(Event::Identification { message: (*b"MSRASV5.20").into() });
    }
    pair.expect_silence();
}

#[test]
fn an_unknown_code_is_rejected_in_any_state() {
    let mut pair = Pair::opened(config());
    pair.next();
    pair.send("ff03 c021 0e 05 0006 aabb 00");
    pair.expect("ff03 c021 07 02 000a 0e 05 0006 aabb");
    pair.send("ff03 c021 00 06 0004");
    pair.expect("ff03 c021 07 03 0008 00 06 0004");
}

#[test]
fn a_code_reject_is_cut_to_the_peers_mru() {
    let mut pair = Pair::opened(config());
    let request = pair.next();
    pair.send_octets(&acknowledge(&request));
    pair.send("ff03 c021 01 01 0008 01 04 0240");
    pair.next();
    pair.next();
    let mut frame = hex("ff03 c021 20 01 0500");
    frame.resize(4 + 0x500, 0x55);
    pair.send_octets(&frame);
    assert_eq!(pair.next().len(), 4 + 576);
}

#[test]
fn a_code_reject_of_the_basics_ends_the_link() {
    let mut pair = Pair::with_lcp_up(config());
    pair.next();
    assert_eq!(pair.send("ff03 c021 07 01 0008 0c 01 0004"), None);
    pair.expect_silence();
    pair.send("ff03 c021 07 02 0008 01 01 0004");
    assert_eq!(pair.next()[4], 5);
    assert_eq!(pair.link.phase(), Phase::Terminate);
    pair.advance(6 * SECOND);
    pair.expect_down(DownCause::NegotiationFailed("LCP"));
}

#[test]
fn a_protocol_reject_of_lcp_ends_the_link() {
    let mut pair = Pair::with_lcp_up(config());
    pair.next();
    assert_eq!(pair.send("ff03 c021 08 01 0006 8057"), None);
    assert_eq!(pair.send("ff03 c021 08 01 0005 c0"), Some(Discard::Content));
    pair.expect_silence();
    pair.send("ff03 c021 08 01 0006 c021");
    pair.advance(6 * SECOND);
    pair.expect_down(DownCause::NegotiationFailed("LCP"));
}

/// A Configure-Request in Opened begins everything anew (section 3.4).
#[test]
fn renegotiation_takes_the_network_down_first() {
    let mut pair = Pair::with_network_up(config());
    let before = pair.link.agreed();
    pair.send("ff03 c021 01 33 0008 01 04 0578");
    pair.expect_event(Event::Ipv4Down);
    let request = pair.next();
    assert_eq!(request[4], 1);
    pair.expect("ff03 c021 02 33 0008 01 04 0578");
    pair.expect_silence();
    assert_eq!(pair.link.phase(), Phase::Establish);
    // Nothing above LCP works until it is through.
    assert_eq!(pair.send("ff03 8021 09 01 0004"), Some(Discard::Phase));
    pair.send_octets(&acknowledge(&request));
    let agreed = pair.link.agreed();
    assert_eq!(agreed.peer_mru, 1400);
    assert_ne!(agreed, before);
    pair.expect_event(Event::LcpUp { agreed });
    let response = respond(&pair.next());
    pair.send_octets(&response);
    pair.expect_credentials();
    pair.accept();
    pair.next();
    let request = pair.next();
    pair.send_octets(&acknowledge(&request));
    pair.send("ff03 8021 01 09 000a 03 06 64400709");
    pair.expect_event(IPV4_UP);
}

#[test]
fn a_terminate_ack_out_of_the_blue_renegotiates() {
    let mut pair = Pair::with_network_up(config());
    pair.send("ff03 c021 06 33 0004");
    pair.expect_event(Event::Ipv4Down);
    assert_eq!(pair.next()[4], 1);
    assert_eq!(pair.link.phase(), Phase::Establish);
}

/// A verdict that comes after the peer began anew is not for the new attempt.
#[test]
fn a_verdict_without_a_question_has_no_effect() {
    let mut pair = Pair::with_lcp_up(config());
    pair.next();
    pair.accept();
    pair.refuse("no");
    pair.expect_silence();
    assert_eq!(pair.link.phase(), Phase::Authenticate);
}

#[test]
fn a_refusal_with_another_identifier_is_discarded() {
    let mut pair = Pair::opened(config());
    pair.next();
    assert_eq!(pair.send("ff03 c021 03 02 0008 01 04 0578"), Some(Discard::Unsolicited));
    assert_eq!(pair.send("ff03 c021 04 02 0008 01 04 05b4"), Some(Discard::Unsolicited));
    pair.expect_silence();
    assert_eq!(pair.send("ff03 c021 04 01 0008 01 04 05b4"), None);
    assert_eq!(pair.next()[4..6], [1, 2]);
}

#[test]
fn a_protocol_reject_before_opened_is_discarded() {
    let mut pair = Pair::opened(config());
    let request = pair.next();
    for rejected in ["c021", "c223", "8021"] {
        let frame = format!("ff03 c021 08 01 0006 {rejected}");
        assert_eq!(pair.send(&frame), Some(Discard::Phase));
    }
    pair.expect_silence();
    pair.send_octets(&acknowledge(&request));
    pair.send("ff03 c021 01 01 0004");
    assert_eq!(pair.link.phase(), Phase::Authenticate);
}
