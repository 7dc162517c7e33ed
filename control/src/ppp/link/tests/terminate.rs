//! How links end.

use super::*;

#[test]
fn the_peer_ends_the_link() {
    let mut pair = Pair::with_network_up(config());
    pair.send("ff03 c021 05 44 000b 62796521 000000");
    pair.expect("ff03 c021 06 44 0004");
    pair.expect_event(Event::Ipv4Down);
    assert_eq!(pair.link.phase(), Phase::Terminate);
    // Not before a restart time has passed, so that the Ack can be asked for again (section 3.7).
    pair.advance(2 * SECOND);
    assert!(pair.events.is_empty());
    pair.send("ff03 c021 05 44 0004");
    pair.expect("ff03 c021 06 44 0004");
    pair.advance(SECOND);
    pair.expect_down(DownCause::PeerTerminated);
    pair.expect_silence();
}

#[test]
fn we_end_the_link() {
    let mut pair = Pair::with_network_up(config());
    pair.close();
    pair.expect_event(Event::Ipv4Down);
    pair.expect("ff03 c021 05 02 0004");
    pair.expect_silence();
    pair.send("ff03 c021 06 02 0004");
    pair.expect_down(DownCause::Closed);
}

/// Row 35: a peer that never answers after that.
#[test]
fn we_end_the_link_with_a_peer_that_is_gone() {
    let mut pair = Pair::with_network_up(config());
    pair.close();
    pair.expect_event(Event::Ipv4Down);
    pair.advance(6 * SECOND - Duration::from_millis(1));
    pair.expect("ff03 c021 05 02 0004");
    pair.expect("ff03 c021 05 02 0004");
    assert!(pair.events.is_empty());
    pair.advance(Duration::from_millis(1));
    pair.expect_silence();
    pair.expect_down(DownCause::Closed);
}

#[test]
fn both_end_the_link() {
    let mut pair = Pair::with_network_up(config());
    pair.close();
    pair.next();
    pair.send("ff03 c021 05 09 0004");
    pair.expect("ff03 c021 06 09 0004");
    pair.events.clear();
    pair.send("ff03 c021 06 02 0004");
    pair.expect_down(DownCause::Closed);
}

#[test]
fn the_first_cause_stands() {
    let mut pair = Pair::with_network_up(config());
    pair.send("ff03 c021 05 44 0004");
    pair.close();
    pair.link.close(pair.now, DownCause::AuthenticationFailed);
    pair.events.clear();
    pair.advance(3 * SECOND);
    pair.expect_down(DownCause::PeerTerminated);
}

#[test]
fn a_request_while_the_link_ends_does_not_revive_it() {
    let mut pair = Pair::with_network_up(config());
    pair.close();
    pair.events.clear();
    pair.frames.clear();
    assert_eq!(pair.send("ff03 c021 01 50 0004"), None);
    pair.expect_silence();
    assert_eq!(pair.link.phase(), Phase::Terminate);
    pair.advance(6 * SECOND);
    pair.expect_down(DownCause::Closed);
}

#[test]
fn closed_before_it_was_opened() {
    let mut pair = Pair::new(config());
    pair.close();
    pair.expect_silence();
    pair.expect_down(DownCause::Closed);
    pair.close();
    assert!(pair.events.is_empty());
}

#[test]
fn closed_during_negotiation() {
    let mut pair = Pair::opened(config());
    pair.next();
    pair.close();
    pair.expect("ff03 c021 05 02 0004");
    pair.send("ff03 c021 06 02 0004");
    pair.expect_down(DownCause::Closed);
}

/// A Terminate-Request during negotiation is acknowledged and does not stop it (section 4.1); if
/// nothing else comes, it was the reason.
#[test]
fn the_peer_gives_up_during_negotiation() {
    let mut pair = Pair::opened(config());
    pair.next();
    pair.send("ff03 c021 05 09 0004");
    pair.expect("ff03 c021 06 09 0004");
    pair.advance(30 * SECOND);
    assert_eq!(pair.frames.len(), 9);
    pair.expect_down(DownCause::PeerTerminated);

    let mut pair = Pair::opened(config());
    let request = pair.next();
    pair.send("ff03 c021 05 09 0004");
    pair.send_octets(&acknowledge(&request));
    pair.send("ff03 c021 01 0a 0004");
    assert_eq!(pair.link.phase(), Phase::Authenticate);
    pair.frames.clear();
    pair.events.clear();
    pair.advance(36 * SECOND);
    pair.expect_down(DownCause::AuthenticationTimeout);
}
