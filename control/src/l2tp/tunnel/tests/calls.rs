//! Calls.

use super::*;

#[test]
fn an_incoming_call() {
    let mut pair = Pair::established();
    let session = pair.offer(5);
    assert_ne!(session, SessionId::UNASSIGNED);
    assert!(pair.frames().is_empty());
    pair.tunnel.accept_call(pair.now, session);
    let frames = pair.frames();
    let [icrp] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!((icrp.message_type(), icrp.session_id, icrp.ns, icrp.nr), (ICRP, 5, 1, 3));
    assert_eq!(icrp.avps.len(), 2);
    assert_eq!(icrp.u16(14), session.0);
    // Accepting twice is one answer.
    pair.tunnel.accept_call(pair.now, session);
    assert!(pair.frames().is_empty());

    pair.send(session.0, ICCN_AVPS);
    let events = pair.events();
    let [Event::CallConnected { session: connected, iccn }] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(
        (*connected, iccn.tx_connect_speed, iccn.upstream_speed()),
        (session, 10_000, 10_000)
    );
    let frames = pair.frames();
    assert_eq!((frames.len(), frames[0].message_type(), frames[0].nr), (1, ZLB, 4));
    let state = pair.tunnel.session(session).unwrap();
    assert_eq!(state.peer_session_id(), SessionId(5));
    assert_eq!((state.state().is_established(), state.call_serial_number()), (true, 42));
}

#[test]
fn a_refused_call() {
    let mut pair = Pair::established();
    let session = pair.offer(5);
    let error = Some(ErrorCode::Resources);
    pair.tunnel.refuse_call(pair.now, session, CallResult::Error, error, "full");
    let frames = pair.frames();
    assert_eq!((frames.len(), frames[0].message_type(), frames[0].session_id), (1, CDN, 5));
    assert_eq!(frames[0].avp(1), Some(&b"\x00\x02\x00\x04full"[..]));
    assert_eq!(frames[0].u16(14), session.0);
    let ended = Event::CallEnded { session, cause: CallCause::Local };
    assert_eq!(pair.events(), [ended]);
    assert_eq!(pair.tunnel.session_count(), 0);
    // The same once more says nothing.
    pair.tunnel.refuse_call(pair.now, session, CallResult::Error, error, "full");
    assert!(pair.frames().is_empty() && pair.events().is_empty());
}

#[test]
fn repeated_icrqs_find_the_same_call() {
    // docs/peers.md row 21.
    let mut pair = Pair::established();
    let session = pair.offer(5);
    // The same number: the answer is only an acknowledgement.
    pair.send_numbered(0, (2, 1), &body(&[(0x80, 0, &[0, 10])]));
    assert_eq!(pair.types(), [ZLB]);
    // A new number, before and after our answer.
    pair.send_icrq(5, ICRQ_SERIAL);
    assert!(pair.events().is_empty());
    pair.tunnel.accept_call(pair.now, session);
    let first = pair.frames();
    pair.send_icrq(5, ICRQ_SERIAL);
    let again = pair.frames();
    assert_eq!((again.len(), again[0].message_type()), (1, ICRP));
    assert_eq!(again[0].u16(14), first[0].u16(14));
    pair.send(session.0, ICCN_AVPS);
    pair.send_icrq(5, ICRQ_SERIAL);
    assert_eq!(pair.types(), [ZLB]);
    assert!(matches!(pair.events()[..], [Event::CallConnected { .. }]));
    assert_eq!(pair.tunnel.session_count(), 1);
}

#[test]
fn an_identifier_used_for_another_call_ends_the_first() {
    for answered in [false, true] {
        let mut pair = Pair::established();
        let session = pair.offer(5);
        if answered {
            pair.tunnel.accept_call(pair.now, session);
            pair.frames();
        }
        pair.send_icrq(5, &[0, 0, 0, 43]);
        let frames = pair.frames();
        assert_eq!((frames.len(), frames[0].message_type()), (1, CDN));
        assert!(matches!(
            pair.events()[..],
            [Event::CallEnded { cause: CallCause::Protocol(_), .. }]
        ));
    }
}

#[test]
fn a_repeated_iccn_is_acknowledged_again() {
    let mut pair = Pair::established();
    let session = pair.connect(5);
    pair.send_numbered(session.0, (3, 2), &body(ICCN_AVPS));
    assert_eq!(pair.types(), [ZLB]);
    assert!(pair.events().is_empty());
    // One with a new number does not fit the state (RFC 2661 section 7.4.2).
    pair.send(session.0, ICCN_AVPS);
    assert_eq!(pair.types(), [ZLB, CDN]);
    assert!(matches!(pair.events()[..], [Event::CallEnded { .. }]));
}

#[test]
fn iccn_before_our_answer_and_of_no_call() {
    let mut pair = Pair::established();
    let session = pair.offer(5);
    pair.send(session.0, ICCN_AVPS);
    assert!(matches!(pair.events()[..], [Event::CallEnded { .. }]));
    pair.send(999, ICCN_AVPS);
    assert!(pair.events().is_empty());
    // Acknowledged, that is all.
    assert_eq!(pair.types(), [ZLB]);
}

#[test]
fn the_peer_ends_a_call() {
    let cdn: [RawAvp<'_>; 3] =
        [(0x80, 0, &[0, 14]), (0x80, 1, &[0, 1, 0, 0, b'b', b'y', b'e']), (0x80, 14, &[0, 5])];
    // Named by both, by the header alone (docs/peers.md row 27), by the AVP alone.
    for (in_header, avps) in [(true, &cdn[..]), (true, &cdn[..2]), (false, &cdn[..])] {
        let mut pair = Pair::established();
        let other = pair.connect(4);
        let session = pair.connect(5);
        pair.send(if in_header { session.0 } else { 0 }, avps);
        let events = pair.events();
        let [Event::CallEnded { session: ended, cause: CallCause::Peer(said) }] = &events[..]
        else {
            panic!("{events:?}");
        };
        assert_eq!((*ended, &said.result.message[..]), (session, "bye"));
        assert_eq!(said.result.as_call(), CallResult::LossOfCarrier);
        assert!(pair.tunnel.session(session).is_none());
        assert!(pair.tunnel.session(other).is_some());
        assert_eq!(pair.schedule(seconds(1)), [(250, ZLB)]);
        // Its identifier is free for the peer, and ours is another.
        assert_ne!(pair.offer(5), session);
    }
}

#[test]
fn a_cdn_of_no_call_is_acknowledged() {
    let mut pair = Pair::established();
    pair.send(77, &[(0x80, 0, &[0, 14]), (0x80, 1, &[0, 1]), (0x80, 14, &[0, 9])]);
    assert!(pair.events().is_empty());
    assert_eq!(pair.schedule(seconds(1)), [(250, ZLB)]);
}

#[test]
fn result_codes_as_they_come() {
    // docs/peers.md rows 1 and 8: host order in eight octets, two octets; with cause 46 (row 42).
    for (value, code) in [
        (&[3, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..], CallResult::Administrative),
        (&[0, 3], CallResult::Administrative),
        (&[0, 2, 0, 6], CallResult::Error),
    ] {
        let mut pair = Pair::established();
        let session = pair.connect(5);
        let cause = [0, 3, 0xc0, 0x21, 1];
        pair.send(
            session.0,
            &[(0x80, 0, &[0, 14]), (0x80, 1, value), (0x80, 14, &[0, 5]), (0, 46, &cause)],
        );
        let events = pair.events();
        let [Event::CallEnded { cause: CallCause::Peer(cdn), .. }] = &events[..] else {
            panic!("{events:?}");
        };
        assert_eq!(cdn.result.as_call(), code);
        assert_eq!(cdn.ppp_cause.as_ref().unwrap().protocol, 0xc021);
    }
}

#[test]
fn we_end_a_call() {
    let mut pair = Pair::established();
    let session = pair.connect(5);
    let cause = PppDisconnectCause {
        code: PppDisconnectCode::AuthenticationFailed,
        protocol: 0xc223,
        direction: 1,
        message: String::new(),
    };
    let result = CallResult::Administrative;
    pair.tunnel.disconnect_call(pair.now, session, result, None, "", Some(cause));
    let frames = pair.frames();
    let [cdn] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!((cdn.message_type(), cdn.session_id), (CDN, 5));
    let avps: Vec<(u8, u16, &[u8])> = cdn.avps.iter().map(|a| (a.0, a.1, &a.2[..])).collect();
    let ours = session.0.to_be_bytes();
    let expected: [(u8, u16, &[u8]); 4] = [
        (0x80, 0, &[0, 14]),
        (0x80, 1, &[0, 3]),
        (0x80, 14, &ours),
        (0x00, 46, &[0, 16, 0xc2, 0x23, 1]),
    ];
    assert_eq!(avps, expected);
    assert_eq!(pair.events(), [Event::CallEnded { session, cause: CallCause::Local }]);
    // Repeated until it is acknowledged.
    assert_eq!(pair.schedule(seconds(3)), [(1000, CDN), (3000, CDN)]);
    pair.acknowledge();
    assert_eq!(pair.schedule(seconds(20)), []);
}

#[test]
fn calls_have_a_limit() {
    let mut pair = Pair::established_with(Config { sessions_max: 2, ..config() }, &[]);
    pair.connect(1);
    let second = pair.connect(2);
    pair.send_icrq(3, ICRQ_SERIAL);
    let frames = pair.frames();
    assert_eq!((frames[0].message_type(), frames[0].session_id), (CDN, 3));
    assert_eq!(frames[0].avp(1).unwrap()[..4], [0, 2, 0, 4]);
    assert!(frames[0].u16(14) != 0 && frames[0].u16(14) != second.0);
    assert!(pair.events().is_empty());
    pair.tunnel.disconnect_call(pair.now, second, CallResult::Administrative, None, "", None);
    pair.events();
    pair.offer(4);
}

#[test]
fn faults_end_the_call_and_leave_the_tunnel() {
    let unknown: RawAvp<'_> = (0x80, 900, b"");
    let mut pair = Pair::established();
    let session = pair.connect(5);
    let serial: RawAvp<'_> = (0x80, 15, ICRQ_SERIAL);
    // Of a new call: 2-8 to the identifier that it names.
    pair.send(0, &[(0x80, 0, &[0, 10]), (0x80, 14, &[0, 6]), serial, unknown]);
    let frames = pair.frames();
    assert_eq!((frames[0].message_type(), frames[0].session_id), (CDN, 6));
    assert_eq!(frames[0].avp(1).unwrap()[..4], [0, 2, 0, 8]);
    // Without what it must have: 2-3, without even a name to the 0.
    pair.send(0, &[(0x80, 0, &[0, 10]), (0x80, 14, &[0, 6])]);
    pair.send(0, &[(0x80, 0, &[0, 10]), serial]);
    let frames = pair.frames();
    assert_eq!((frames[0].session_id, &frames[0].avp(1).unwrap()[..4]), (6, &[0, 2, 0, 3][..]));
    assert_eq!((frames[1].session_id, frames[1].message_type()), (0, CDN));
    assert!(pair.events().is_empty());
    // Of the call that is up, here in a WEN: it alone ends.
    pair.send(session.0, &[(0x80, 0, &[0, 15]), (0x80, 34, &[0; 26]), unknown]);
    let events = pair.events();
    assert!(matches!(events[..], [Event::CallEnded { cause: CallCause::Protocol(_), .. }]));
    pair.acknowledge();
    assert_eq!(pair.frames()[0].session_id, 5);
    assert_eq!(pair.tunnel.state(), State::Established);
}

#[test]
fn what_is_not_mandatory_is_skipped() {
    // docs/peers.md rows 9 and 25: Windows' vendor AVP in ICRQ; an unknown message.
    let mut pair = Pair::established();
    let mut icrq = body(&[(0x80, 0, &[0, 10]), (0x80, 14, &[0, 5]), (0x80, 15, ICRQ_SERIAL)]);
    icrq.extend([0, 22, 1, 0x37, 0, 1]);
    icrq.extend([0; 16]);
    pair.send_numbered(0, (pair.ns, pair.nr), &icrq);
    pair.ns += 1;
    assert!(matches!(pair.events()[..], [Event::IncomingCall { .. }]));
    pair.send(0, &[(0, 0, &[0x12, 0x34])]);
    assert!(pair.events().is_empty());
    assert_eq!(pair.schedule(seconds(1)), [(250, ZLB)]);
}

#[test]
fn wen_and_sli_are_told() {
    // docs/peers.md row 24 for SLI, here from a LAC.
    let mut pair = Pair::established();
    let session = pair.connect(5);
    let mut counters = [0; 26];
    counters[5] = 7;
    pair.send(session.0, &[(0x80, 0, &[0, 15]), (0x80, 34, &counters)]);
    let accm = [0, 0, 0, 0, 0, 1, 0, 0, 0, 2];
    pair.send(session.0, &[(0x80, 0, &[0, 16]), (0x80, 35, &accm)]);
    let errors = CallErrors { crc: 7, ..CallErrors::default() };
    let sli = Sli { send_accm: 1, receive_accm: 2 };
    let told = [Event::WanErrors { session, errors }, Event::LinkInfo { session, sli }];
    assert_eq!(pair.events(), told);
    assert_eq!(pair.schedule(seconds(1)), [(250, ZLB)]);
    // Of no call, and of one that is not up yet: nothing.
    let waiting = pair.offer(6);
    for session in [999, waiting.0] {
        pair.send(session, &[(0x80, 0, &[0, 15]), (0x80, 34, &counters)]);
        pair.send(session, &[(0x80, 0, &[0, 16]), (0x80, 35, &accm)]);
    }
    assert!(pair.events().is_empty());
}

#[test]
fn outgoing_calls_are_refused() {
    let mut pair = Pair::established();
    let four: &[u8] = &[0, 0, 0, 1];
    let mut avps: Vec<RawAvp<'_>> = vec![(0x80, 0, &[0, 7]), (0x80, 14, &[0, 8])];
    avps.extend([15, 16, 17, 18, 19].map(|number| (0x80, number, four)));
    avps.push((0x80, 21, b"123"));
    pair.send(0, &avps);
    let frames = pair.frames();
    assert_eq!((frames[0].message_type(), frames[0].session_id), (CDN, 8));
    assert_eq!(frames[0].avp(1).unwrap()[..2], [0, 5]);
    assert!(pair.events().is_empty());
    // An answer to a call that we never made: CDN for ICRP, nothing for OCRP.
    pair.acknowledge();
    pair.send(0, &[(0x80, 0, &[0, 11]), (0x80, 14, &[0, 9])]);
    let frames = pair.frames();
    assert_eq!((frames[0].message_type(), frames[0].session_id), (CDN, 9));
    pair.acknowledge();
    pair.send(0, &[(0x80, 0, &[0, 8]), (0x80, 14, &[0, 9])]);
    assert_eq!(pair.schedule(seconds(1)), [(250, ZLB)]);
}

#[test]
fn a_call_that_is_never_connected() {
    let mut pair = Pair::established();
    let first = pair.offer(5);
    pair.tunnel.accept_call(pair.now, first);
    pair.frames();
    pair.acknowledge();
    assert_eq!(pair.schedule(seconds(30)), []);
    let second = pair.connect(6);
    pair.acknowledge();
    let sent = pair.pass(seconds(30));
    assert_eq!((sent.len(), sent[0].0, sent[0].1.message_type()), (1, seconds(30), CDN));
    assert_eq!(sent[0].1.avp(1).unwrap()[..2], [0, 10]);
    let ended = Event::CallEnded { session: first, cause: CallCause::SetupTimeout };
    assert_eq!(pair.events(), [ended]);
    assert!(pair.tunnel.session(second).is_some());
}

#[test]
fn deadlines_of_calls_that_are_over_are_forgotten() {
    let mut pair = Pair::established();
    // One waits in front while thousands come and go behind it.
    pair.offer(1);
    for _ in 0..5000 {
        let session = pair.offer(2);
        pair.send(session.0, &[(0x80, 0, &[0, 14]), (0x80, 1, &[0, 1])]);
        pair.events();
    }
    assert!(pair.tunnel.setups.len() < 2 * 1024, "{}", pair.tunnel.setups.len());
    assert_eq!(pair.tunnel.session_count(), 1);
}

#[test]
fn a_peer_that_asks_without_acknowledging() {
    let config = Config { sessions_max: 10, ..config() };
    let mut pair = Pair::established_with(config, &[]);
    let mut refused = 0;
    for call in 1..5000 {
        pair.send_icrq(call, ICRQ_SERIAL);
        pair.frames();
        if pair.tunnel.state() == State::Closing {
            break;
        }
        refused += 1;
        // It acknowledges nothing but the SCCRP.
        pair.nr = 1;
    }
    assert_eq!(refused, 10 + crate::l2tp::transport::REPLIES_MAX - 1);
    let events = pair.events();
    assert_eq!(events.last(), Some(&Event::Closed { cause: TunnelCause::Overrun }));
    // Ten were offered, and each has its end.
    assert_eq!(events.len(), 21);
    assert!(pair.tunnel.status().queued < 10);
}

#[test]
fn many_calls_in_one_tunnel() {
    let config = Config { sessions_max: SESSIONS_MAX, ..config() };
    let mut pair = Pair::established_with(config, &[(0x80, 10, &[0, 64])]);
    let mut seen = std::collections::BTreeSet::new();
    for call in 1..=20_000 {
        seen.insert(pair.connect(call));
    }
    assert_eq!(seen.len(), 20_000);
    assert_eq!(pair.tunnel.session_count(), 20_000);
    assert_eq!(pair.tunnel.setups.len(), 0);
    assert!(pair.tunnel.sessions().map(|(session, _)| session).eq(seen));
}

/// A message of which every AVP but the first is hidden, with long padding.
pub(super) fn hidden(avps: &[RawAvp<'_>]) -> Vec<u8> {
    let vector = [0x5a; 136];
    let mut out = body(&[avps[0], (0x80, 36, &vector)]);
    for (flags, number, value) in &avps[1..] {
        let mut covered = Vec::new();
        secret::hide(*number, b"tunnel secret", &vector, value, &[0xcc; 142], &mut covered);
        out.extend(body(&[(flags | 0x40, *number, &covered)]));
    }
    out
}

#[test]
fn a_lac_that_hides_everything() {
    // docs/peers.md row 37: also what the RFC wants in the clear, also in CDN and StopCCN.
    let mut pair = Pair::established_with(with_secret(false), &[(0x80, 11, &[3; 134])]);
    let icrq = hidden(&[(0x80, 0, &[0, 10]), (0x80, 14, &[0, 5]), (0x80, 15, ICRQ_SERIAL)]);
    pair.send_numbered(0, (2, 1), &icrq);
    let events = pair.events();
    let [Event::IncomingCall { session, icrq }] = &events[..] else { panic!("{events:?}") };
    assert_eq!((icrq.assigned_session_id, icrq.call_serial_number), (SessionId(5), 42));
    pair.tunnel.accept_call(pair.now, *session);
    pair.frames();
    let mut iccn = ICCN_AVPS.to_vec();
    iccn.push((0x80, 39, b""));
    pair.send_numbered(session.0, (3, 2), &hidden(&iccn));
    let events = pair.events();
    let [Event::CallConnected { iccn, .. }] = &events[..] else { panic!("{events:?}") };
    assert!(iccn.sequencing_required && iccn.tx_connect_speed == 10_000);
    let cdn = hidden(&[(0x80, 0, &[0, 14]), (0x80, 1, &[0, 3]), (0x80, 14, &[0, 5])]);
    pair.send_numbered(session.0, (4, 2), &cdn);
    let events = pair.events();
    let [Event::CallEnded { cause: CallCause::Peer(cdn), .. }] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(cdn.result.as_call(), CallResult::Administrative);
    let stop_ccn = hidden(&[(0x80, 0, &[0, 4]), (0x80, 9, &[0x10, 0x01]), (0x80, 1, &[0, 6])]);
    pair.send_numbered(0, (5, 2), &stop_ccn);
    let events = pair.events();
    let [Event::Closed { cause: TunnelCause::Peer(result) }] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(result.as_tunnel(), TunnelResult::ShuttingDown);
}

#[test]
fn hidden_avps_without_a_secret_end_the_call() {
    let mut pair = Pair::established();
    let icrq = hidden(&[(0x80, 0, &[0, 10]), (0x80, 14, &[0, 5]), (0x80, 15, ICRQ_SERIAL)]);
    pair.send_numbered(0, (2, 1), &icrq);
    let frames = pair.frames();
    assert_eq!((frames.len(), frames[0].message_type()), (1, CDN));
    assert_eq!(frames[0].avp(1).unwrap()[..4], [0, 2, 0, 8]);
    assert_eq!(pair.tunnel.state(), State::Established);
}
