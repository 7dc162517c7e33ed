//! The end of the control connection, and HELLO.

use super::*;

#[test]
fn the_peer_stops() {
    let mut pair = Pair::established();
    let first = pair.connect(5);
    let second = pair.connect(6);
    let stop_ccn: &[RawAvp<'_>] =
        &[(0x80, 0, &[0, 4]), (0x80, 9, &[0x10, 0x01]), (0x80, 1, &[0, 6])];
    pair.send(0, stop_ccn);
    let mut ended = [first, second];
    ended.sort();
    let events = pair.events();
    let expected =
        ended.map(|session| Event::CallEnded { session, cause: CallCause::TunnelClosed });
    assert_eq!(events[..2], expected);
    let [_, _, Event::Closed { cause: TunnelCause::Peer(result) }] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(result.as_tunnel(), TunnelResult::ShuttingDown);
    // Acknowledged at once, and again each time that it is repeated, for a full cycle.
    assert_eq!(pair.types(), [ZLB]);
    for _ in 0..3 {
        assert_eq!(pair.schedule(seconds(8)), []);
        pair.send_numbered(0, (pair.ns - 1, pair.nr), &body(stop_ccn));
        let frames = pair.frames();
        assert_eq!((frames.len(), frames[0].message_type(), frames[0].nr), (1, ZLB, pair.ns));
        assert!(!pair.tunnel.is_finished());
    }
    assert_eq!(pair.schedule(milliseconds(6999)), []);
    assert!(!pair.tunnel.is_finished());
    pair.pass(milliseconds(1));
    assert!(pair.tunnel.is_finished());
    assert_eq!(pair.tunnel.poll_timeout(), None);
    assert!(pair.events().is_empty());
}

#[test]
fn the_peer_stops_with_a_header_of_zero() {
    // docs/peers.md row 38: out of any sequence, and the tunnel is found by the AVP.
    let mut pair = Pair::accept(config(), &sccrq(&[])).unwrap();
    pair.frames();
    let stop_ccn = datagram(
        (0, 0),
        (0, 0),
        &body(&[(0x80, 0, &[0, 4]), (0x80, 9, &[0x10, 0x01]), (0x80, 1, &[0, 2, 0, 6])]),
    );
    let (header, payload) = parsed(&stop_ccn);
    let Ok(Unassigned::StopCcn(said)) = decode_unassigned(&header, &stop_ccn, None) else {
        panic!("not a StopCCN");
    };
    assert_eq!(said.assigned_tunnel_id, Some(pair.tunnel.peer_tunnel_id()));
    pair.tunnel.handle_stop_ccn(pair.now, &header, payload, &said);
    assert!(matches!(pair.events()[..], [Event::Closed { cause: TunnelCause::Peer(_) }]));
    assert_eq!(pair.types(), [ZLB]);
    // Once more changes nothing.
    pair.tunnel.handle_stop_ccn(pair.now, &header, payload, &said);
    assert!(pair.events().is_empty());
}

#[test]
fn we_stop() {
    let mut pair = Pair::established();
    let session = pair.connect(5);
    pair.tunnel.close(pair.now, TunnelResult::ShuttingDown, None, "");
    assert!(matches!(
        pair.events()[..],
        [
            Event::CallEnded { cause: CallCause::TunnelClosed, .. },
            Event::Closed { cause: TunnelCause::Local(_) }
        ]
    ));
    assert!(pair.tunnel.session(session).is_none());
    let frames = pair.frames();
    let [stop_ccn] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!((stop_ccn.message_type(), stop_ccn.session_id), (STOP_CCN, 0));
    assert_eq!((stop_ccn.u16(9), stop_ccn.u16(1)), (LOCAL.0, 6));
    // Repeated until acknowledged; then the state stays for the rest of a cycle.
    assert_eq!(pair.schedule(seconds(4)), [(1000, STOP_CCN), (3000, STOP_CCN)]);
    pair.acknowledge();
    assert_eq!(pair.schedule(milliseconds(26_999)), []);
    assert!(!pair.tunnel.is_finished());
    pair.pass(milliseconds(1));
    assert!(pair.tunnel.is_finished());
    // A second close says nothing.
    pair.tunnel.close(pair.now, TunnelResult::ShuttingDown, None, "");
    assert!(pair.events().is_empty() && pair.frames().is_empty());
}

#[test]
fn we_stop_and_nobody_answers() {
    let mut pair = Pair::established();
    pair.tunnel.close(pair.now, TunnelResult::Cleared, None, "");
    pair.frames();
    pair.events();
    let sent = pair.schedule(seconds(60));
    assert_eq!(sent, [1000, 3000, 7000, 15_000, 23_000].map(|at| (at, STOP_CCN)));
    assert!(pair.tunnel.is_finished());
    assert!(pair.events().is_empty());
}

#[test]
fn what_was_not_sent_yet_is_not_sent_before_stop_ccn() {
    // A window of 1: ICRP is under way, CDN waits.
    let mut pair = Pair::established_with(config(), &[(0x80, 10, &[0, 1])]);
    let session = pair.offer(5);
    pair.tunnel.accept_call(pair.now, session);
    let frames = pair.frames();
    assert_eq!((frames.len(), frames[0].message_type()), (1, ICRP));
    pair.tunnel.disconnect_call(pair.now, session, CallResult::Administrative, None, "", None);
    pair.tunnel.close(pair.now, TunnelResult::Cleared, None, "");
    assert!(pair.frames().is_empty());
    pair.acknowledge();
    let frames = pair.frames();
    assert_eq!((frames.len(), frames[0].message_type(), frames[0].ns), (1, STOP_CCN, 2));
}

#[test]
fn messages_to_a_closing_tunnel_are_acknowledged() {
    let mut pair = Pair::established();
    pair.tunnel.close(pair.now, TunnelResult::Cleared, None, "");
    pair.frames();
    pair.events();
    pair.send_icrq(5, ICRQ_SERIAL);
    assert_eq!(pair.types(), [ZLB]);
    // Also the peer's own StopCCN, that crossed ours.
    pair.send(0, &[(0x80, 0, &[0, 4]), (0x80, 9, &[0x10, 0x01]), (0x80, 1, &[0, 1])]);
    assert_eq!(pair.types(), [ZLB]);
    assert!(pair.events().is_empty());
}

#[test]
fn unknown_and_malformed_messages_end_the_tunnel() {
    for (avps, result) in [
        (&[(0x80, 0, &[0, 99][..])][..], [0, 2, 0, 8]),
        (&[(0x80, 0, &[0, 6]), (0x80, 900, b"")], [0, 2, 0, 8]),
        (&[(0x80, 0, &[0, 6, 0])], [0, 2, 0, 2]),
        (&[(0x80, 14, &[0, 6])], [0, 2, 0, 3]),
    ] {
        let mut pair = Pair::established();
        let session = pair.connect(5);
        pair.send(0, avps);
        let frames = pair.frames();
        let stop_ccn = frames.last().unwrap();
        assert_eq!(stop_ccn.message_type(), STOP_CCN);
        assert_eq!(stop_ccn.avp(1).unwrap()[..4], result);
        // A text for people follows.
        assert!(stop_ccn.avp(1).unwrap().len() > 10);
        let events = pair.events();
        assert_eq!(events.len(), 2);
        let ended = Event::CallEnded { session, cause: CallCause::TunnelClosed };
        assert_eq!(events[0], ended);
    }
}

#[test]
fn hello_after_silence() {
    let mut pair = Pair::established();
    let sent = pair.pass(seconds(60));
    assert_eq!(sent.len(), 1);
    let (at, hello) = &sent[0];
    assert_eq!((*at, hello.message_type(), hello.session_id), (seconds(60), HELLO, 0));
    assert_eq!(hello.avps.len(), 1);
    pair.acknowledge();
    // What comes from the peer, data too, puts it off.
    assert_eq!(pair.schedule(seconds(59)), []);
    pair.tunnel.handle_activity(pair.now);
    assert_eq!(pair.schedule(seconds(59)), []);
    pair.send(0, HELLO_AVPS);
    assert_eq!(pair.schedule(seconds(59)), [(250, ZLB)]);
    assert_eq!(pair.schedule(seconds(1)), [(1000, HELLO)]);
}

#[test]
fn a_dead_peer_takes_its_calls_along() {
    let mut pair = Pair::established();
    let session = pair.connect(5);
    pair.acknowledge();
    let sent = pair.schedule(seconds(91));
    // The first after 60 s, then the schedule of retransmissions.
    assert_eq!(sent.len(), 6);
    assert_eq!(sent.last(), Some(&(83_000, HELLO)));
    let expected = [
        Event::CallEnded { session, cause: CallCause::TunnelClosed },
        Event::Closed { cause: TunnelCause::Dead },
    ];
    assert_eq!(pair.events(), expected);
    assert!(pair.tunnel.is_finished());
}

#[test]
fn a_peer_that_does_not_answer_hello_but_sends_data() {
    // docs/peers.md row 7.
    let mut pair = Pair::established();
    pair.connect(5);
    pair.acknowledge();
    pair.pass(seconds(60));
    for _ in 0..60 {
        pair.pass(seconds(5));
        pair.tunnel.handle_activity(pair.now);
    }
    assert!(pair.events().is_empty());
    assert_eq!(pair.tunnel.state(), State::Established);
    pair.pass(seconds(62));
    assert!(matches!(
        pair.events()[..],
        [Event::CallEnded { .. }, Event::Closed { cause: TunnelCause::Dead }]
    ));
}

#[test]
fn hello_can_be_off() {
    let mut pair =
        Pair::established_with(Config { hello_interval: Duration::ZERO, ..config() }, &[]);
    assert_eq!(pair.tunnel.poll_timeout(), None);
    assert_eq!(pair.schedule(seconds(3600)), []);
}
