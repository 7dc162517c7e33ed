//! Tunnels that we ask for, against an LNS made of raw frames.

use super::*;

const SCCRQ: u16 = 1;

/// What an SCCRP must have; the same octets that the LAC of the other tests has in its SCCRQ.
const SCCRP_AVPS: [RawAvp<'_>; 5] = [
    (0x80, 0, &[0, 2]),
    (0x80, 2, &[1, 0]),
    (0x80, 3, &[0, 0, 0, 3]),
    (0x80, 7, b"lns.example\0"),
    (0x80, 9, &[0x10, 0x01]),
];

#[test]
fn an_sccrq_as_it_is_sent() {
    let mut pair = Pair::originate(config());
    assert!(pair.tunnel.awaits_reply());
    let frames = pair.frames();
    let [sccrq] = &frames[..] else { panic!("{frames:?}") };
    let expected: [(u8, u16, &[u8]); 7] = [
        (0x80, 0, &[0, 1]),
        (0x80, 2, &[1, 0]),
        (0x80, 3, &[0, 0, 0, 3]),
        (0x80, 7, b"lns.example"),
        (0x80, 9, &[0x0a, 0x0b]),
        (0x00, 8, b"xlns"),
        (0x80, 10, &[0, 16]),
    ];
    let sent: Vec<(u8, u16, &[u8])> = sccrq.avps.iter().map(|a| (a.0, a.1, &a.2[..])).collect();
    assert_eq!(sent, expected);
    assert_eq!((sccrq.tunnel_id, sccrq.session_id, sccrq.ns, sccrq.nr), (0, 0, 0, 0));
    // With all that may be asked for.
    let config = Config { tie_breaker: true, bearer_capabilities: Some(1), ..with_secret(true) };
    let mut pair = Pair::originate(config);
    let frames = pair.frames();
    assert_eq!(frames[0].avp(11).map(<[u8]>::len), Some(16));
    assert_eq!(frames[0].avp(4), Some(&[0, 0, 0, 1][..]));
    let tie_breaker = frames[0].avps.iter().find(|avp| avp.1 == 5).unwrap();
    assert_eq!((tie_breaker.0, tie_breaker.2.len()), (0, 8));
    assert_eq!(pair.tunnel.tie_breaker.map(Vec::from).as_deref(), frames[0].avp(5));
}

#[test]
fn without_challenge() {
    let mut pair = Pair::originate(config());
    pair.frames();
    let mut sccrp = SCCRP_AVPS.to_vec();
    sccrp.extend([(0, 8, &b"maker"[..]), (0x80, 10, &[0, 2]), (0x80, 4, &[0, 0, 0, 2])]);
    pair.send(0, &sccrp);
    let established = Event::Established {
        peer_host_name: "lns.example".into(),
        peer_vendor: Some("maker".into()),
    };
    assert_eq!(pair.events(), [established]);
    let frames = pair.frames();
    let [scccn] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!((scccn.message_type(), scccn.avps.len()), (SCCCN, 1));
    assert_eq!((scccn.tunnel_id, scccn.session_id, scccn.ns, scccn.nr), (LAC_TUNNEL, 0, 1, 1));
    assert_eq!(pair.tunnel.peer_tunnel_id(), TunnelId(LAC_TUNNEL));
    assert_eq!(pair.tunnel.status().peer_window, 2);
    assert!(!pair.tunnel.awaits_reply());
    pair.acknowledge();
    assert_eq!(pair.tunnel.status().queued, 0);
    // HELLO keeps it alive like any tunnel.
    assert_eq!(pair.schedule(seconds(60)), [(60_000, HELLO)]);
}

#[test]
fn both_sides_challenge() {
    let mut pair = Pair::originate(with_secret(true));
    let ours = pair.frames()[0].avp(11).unwrap().to_vec();
    // Row 16 of docs/peers.md: octets behind the response; row 37: a challenge of an odd length.
    let mut answer = secret::response(2, b"tunnel secret", &ours).to_vec();
    answer.extend([1, 2, 3, 4, 5, 6]);
    let theirs = [9; 23];
    let mut sccrp = SCCRP_AVPS.to_vec();
    sccrp.extend([(0x80, 13, &answer[..]), (0x80, 11, &theirs[..])]);
    pair.send(0, &sccrp);
    let frames = pair.frames();
    assert_eq!(frames[0].message_type(), SCCCN);
    assert_eq!(frames[0].avp(13), Some(&secret::response(3, b"tunnel secret", &theirs)[..]));
    assert!(matches!(pair.events()[..], [Event::Established { .. }]));
}

#[test]
fn a_wrong_or_missing_response_is_refused() {
    let wrong = [7; 16];
    for response in [None, Some(&wrong[..]), Some(&wrong[..15])] {
        let mut pair = Pair::originate(with_secret(true));
        pair.frames();
        let mut sccrp = SCCRP_AVPS.to_vec();
        sccrp.extend(response.map(|response| (0x80, 13, response)));
        pair.send(0, &sccrp);
        let frames = pair.frames();
        let [stop_ccn] = &frames[..] else { panic!("{frames:?}") };
        assert_eq!((stop_ccn.message_type(), stop_ccn.tunnel_id), (STOP_CCN, LAC_TUNNEL));
        // A response of 15 octets is a wrong size already.
        let code: [u8; 2] = if response.is_some_and(|r| r.len() < 16) { [0, 2] } else { [0, 4] };
        assert_eq!(stop_ccn.avp(1).unwrap()[..2], code);
        assert_eq!(stop_ccn.u16(9), LOCAL.0);
        assert!(matches!(pair.events()[..], [Event::Closed { .. }]));
        assert_eq!(pair.tunnel.state(), State::Closing);
    }
}

#[test]
fn a_challenge_without_a_secret_is_refused() {
    let mut pair = Pair::originate(config());
    pair.frames();
    let mut sccrp = SCCRP_AVPS.to_vec();
    sccrp.push((0x80, 11, b"x"));
    pair.send(0, &sccrp);
    let frames = pair.frames();
    assert_eq!((frames.len(), frames[0].message_type()), (1, STOP_CCN));
    assert_eq!(frames[0].avp(1).unwrap()[..2], [0, 4]);
    assert!(matches!(pair.events()[..], [Event::Closed { cause: TunnelCause::Protocol(_) }]));
}

#[test]
fn an_unusable_sccrp_is_refused_at_its_address() {
    for (place, avp, code) in [
        // Another version, no Host Name, an unknown mandatory AVP.
        (1, (0x80, 2, &[2, 0][..]), [0, 5, 1, 0]),
        (3, (0, 900, &[]), [0, 2, 0, 3]),
        (3, (0x80, 900, &[]), [0, 2, 0, 8]),
    ] {
        let mut pair = Pair::originate(config());
        pair.frames();
        let mut sccrp = SCCRP_AVPS;
        sccrp[place] = avp;
        pair.send(0, &sccrp);
        let frames = pair.frames();
        assert_eq!((frames.len(), frames[0].message_type()), (1, STOP_CCN));
        assert_eq!(frames[0].tunnel_id, LAC_TUNNEL);
        assert_eq!(frames[0].avp(1).unwrap()[..4], code);
        assert!(matches!(pair.events()[..], [Event::Closed { cause: TunnelCause::Protocol(_) }]));
    }
    // Without a Tunnel ID of theirs there is nobody to name.
    let mut pair = Pair::originate(config());
    pair.frames();
    pair.send(0, &SCCRP_AVPS[..4]);
    let frames = pair.frames();
    assert_eq!((frames[0].message_type(), frames[0].tunnel_id), (STOP_CCN, 0));
    assert_eq!(frames[0].u16(9), LOCAL.0);
}

#[test]
fn a_repeated_sccrp_gets_the_scccn_again() {
    let mut pair = Pair::originate(config());
    pair.frames();
    pair.send(0, &SCCRP_AVPS);
    let first = pair.frames();
    pair.now = pair.now + milliseconds(300);
    for expected in [&[SCCCN][..], &[ZLB]] {
        pair.send_numbered(0, (0, 1), &body(&SCCRP_AVPS));
        let frames = pair.frames();
        let types: Vec<u16> = frames.iter().map(Frame::message_type).collect();
        assert_eq!(types, expected);
        if types == [SCCCN] {
            assert_eq!(frames, first);
        }
    }
    assert_eq!(pair.events().len(), 1);
    // One with a new number does not fit the state.
    pair.send(0, &SCCRP_AVPS);
    pair.acknowledge();
    assert_eq!(pair.frames().last().unwrap().avp(1).unwrap()[..2], [0, 7]);
    assert!(matches!(pair.events()[..], [Event::Closed { cause: TunnelCause::Protocol(_) }]));
}

#[test]
fn an_lns_that_never_answers() {
    let mut pair = Pair::originate(config());
    pair.frames();
    let sent = pair.schedule(seconds(100));
    let times = [1000, 3000, 7000, 15_000, 23_000];
    assert_eq!(sent, times.map(|at| (at, SCCRQ)));
    assert_eq!(pair.events(), [Event::Closed { cause: TunnelCause::Dead }]);
    assert!(pair.tunnel.is_finished());
}

#[test]
fn an_lns_that_only_acknowledges() {
    let mut pair = Pair::originate(config());
    pair.frames();
    pair.acknowledge();
    let sent = pair.pass(seconds(31));
    assert_eq!(sent.len(), 1);
    let (at, stop_ccn) = &sent[0];
    assert_eq!((*at, stop_ccn.message_type(), stop_ccn.tunnel_id), (seconds(31), STOP_CCN, 0));
    assert_eq!(stop_ccn.u16(9), LOCAL.0);
    assert_eq!(pair.events(), [Event::Closed { cause: TunnelCause::SetupTimeout }]);
}

#[test]
fn an_lns_that_refuses() {
    // In its place in the sequence, to our Tunnel ID.
    let mut pair = Pair::originate(config());
    pair.frames();
    let avps: &[RawAvp<'_>] =
        &[(0x80, 0, &[0, 4]), (0x80, 9, &[0x10, 0x01]), (0x80, 1, &[0, 2, 0, 7])];
    pair.send(0, avps);
    let events = pair.events();
    let [Event::Closed { cause: TunnelCause::Peer(result) }] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(result.error, Some(ErrorCode::TryAnother));
    let frames = pair.frames();
    assert_eq!((frames.len(), frames[0].message_type(), frames[0].tunnel_id), (1, ZLB, LAC_TUNNEL));
    // Acknowledged again for a full cycle.
    pair.send_numbered(0, (0, 1), &body(avps));
    assert_eq!(pair.types(), [ZLB]);
    assert_eq!(pair.schedule(seconds(31)), []);
    assert!(pair.tunnel.is_finished());
}

#[test]
fn an_lns_that_refuses_with_a_tunnel_id_of_0() {
    // docs/peers.md rows 38 and 39: any number, and a result that makes no sense.
    for (numbers, result) in
        [((0, 0), &[0, 2, 0, 6][..]), ((7, 0), &[0, 1]), ((0, 1), &[9]), ((0, 9), &[])]
    {
        let mut pair = Pair::originate(config());
        pair.frames();
        let avps: [RawAvp<'_>; 3] =
            [(0x80, 0, &[0, 4]), (0x80, 9, &[0x10, 0x01]), (0x80, 1, result)];
        let stop_ccn = datagram((0, 0), numbers, &body(&avps));
        let (header, payload) = parsed(&stop_ccn);
        let Ok(Unassigned::StopCcn(said)) = decode_unassigned(&header, &stop_ccn, None) else {
            panic!("not a StopCCN");
        };
        pair.tunnel.handle_stop_ccn(pair.now, &header, payload, &said);
        assert!(matches!(pair.events()[..], [Event::Closed { cause: TunnelCause::Peer(_) }]));
        let frames = pair.frames();
        assert_eq!((frames[0].message_type(), frames[0].tunnel_id), (ZLB, LAC_TUNNEL));
        assert_eq!(pair.schedule(seconds(31)), []);
        assert!(pair.tunnel.is_finished());
    }
}

#[test]
fn messages_that_do_not_fit_an_outstanding_request() {
    let again: [RawAvp<'_>; 5] =
        [(0x80, 0, &[0, 1]), SCCRP_AVPS[1], SCCRP_AVPS[2], SCCRP_AVPS[3], SCCRP_AVPS[4]];
    // An SCCCN ends it (RFC 2661 section 7.2.1). An SCCRQ to our Tunnel ID is no collision: that
    // has a Tunnel ID of 0 and is the owner's business. It changes nothing.
    for (avps, ends) in [(SCCCN_AVPS, true), (&again[..], false)] {
        let mut pair = Pair::originate(config());
        pair.frames();
        pair.send(0, avps);
        pair.acknowledge();
        let stopped = pair.types().contains(&STOP_CCN);
        assert_eq!((stopped, pair.tunnel.awaits_reply()), (ends, !ends));
    }
}

#[test]
fn we_give_up_before_the_answer() {
    let mut pair = Pair::originate(config());
    pair.frames();
    let session = pair.tunnel.place_call(pair.now, CallRequest::default()).unwrap();
    pair.tunnel.close(pair.now, TunnelResult::Cleared, None, "");
    let ended = Event::CallEnded { session, cause: CallCause::TunnelClosed };
    let events = pair.events();
    assert_eq!(events[0], ended);
    assert!(matches!(events[1], Event::Closed { cause: TunnelCause::Local(_) }));
    pair.acknowledge();
    let frames = pair.frames();
    assert_eq!((frames.len(), frames[0].message_type(), frames[0].tunnel_id), (1, STOP_CCN, 0));
    assert_eq!(frames[0].u16(9), LOCAL.0);
    // The SCCRP that crossed is acknowledged, and says whom the StopCCN is for.
    pair.send_numbered(0, (0, 1), &body(&SCCRP_AVPS));
    let frames = pair.frames();
    assert_eq!((frames[0].message_type(), frames[0].tunnel_id), (ZLB, LAC_TUNNEL));
    let again = pair.pass(seconds(1));
    assert_eq!((again[0].1.message_type(), again[0].1.tunnel_id), (STOP_CCN, LAC_TUNNEL));
}

#[test]
fn an_lns_that_hides_all_it_can() {
    // docs/peers.md row 37.
    let mut pair = Pair::originate(with_secret(true));
    let ours = pair.frames()[0].avp(11).unwrap().to_vec();
    let answer = secret::response(2, b"tunnel secret", &ours);
    let mut sccrp = SCCRP_AVPS.to_vec();
    sccrp.push((0x80, 13, &answer));
    pair.send_numbered(0, (0, 1), &calls::hidden(&sccrp));
    assert!(matches!(pair.events()[..], [Event::Established { .. }]));
    assert_eq!(pair.types(), [SCCCN]);
}

#[test]
fn requests_that_cross() {
    let mut low = [0; 8];
    low[7] = 1;
    let high = [0xff; 8];
    for (asks, theirs, tie) in [
        (false, None, Tie::BothStay),
        (true, None, Tie::OursWins),
        (false, Some(high), Tie::PeersWins),
        (true, Some(high), Tie::OursWins),
        (true, Some(low), Tie::PeersWins),
    ] {
        let mut pair = Pair::originate(Config { tie_breaker: asks, ..config() });
        pair.frames();
        let session = pair.tunnel.place_call(pair.now, CallRequest::default()).unwrap();
        assert_eq!(pair.tunnel.handle_crossing(pair.now, theirs), tie);
        let lost = tie == Tie::PeersWins;
        assert_eq!(pair.tunnel.is_finished(), lost);
        assert!(pair.frames().is_empty());
        let expected = [
            Event::CallEnded { session, cause: CallCause::TunnelClosed },
            Event::Closed { cause: TunnelCause::TieLost },
        ];
        assert_eq!(pair.events(), if lost { &expected[..] } else { &[] });
        if lost {
            // Without a word, then and later.
            assert_eq!(pair.tunnel.poll_timeout(), None);
            continue;
        }
        pair.send(0, &SCCRP_AVPS);
        assert!(matches!(pair.events()[..], [Event::Established { .. }]));
        // Too late for a collision.
        assert_eq!(pair.tunnel.handle_crossing(pair.now, theirs), Tie::BothStay);
    }
    let mut pair = Pair::originate(Config { tie_breaker: true, ..config() });
    let ours = pair.tunnel.tie_breaker;
    assert_eq!(pair.tunnel.handle_crossing(pair.now, ours), Tie::BothLose);
    assert!(pair.tunnel.is_finished());
}

#[test]
fn a_lossy_set_up_starts_with_the_peers_window_all_the_same() {
    // Appendix A: SSTHRESH begins with the window that the SCCRP says.
    let mut pair = Pair::originate(config());
    pair.frames();
    pair.pass(seconds(3));
    let mut sccrp = SCCRP_AVPS.to_vec();
    sccrp.push((0x80, 10, &[0, 8]));
    pair.send(0, &sccrp);
    pair.frames();
    let mut windows = vec![pair.tunnel.status().congestion_window];
    for call in 0..8 {
        let request = CallRequest { call_serial_number: call, ..CallRequest::default() };
        pair.tunnel.place_call(pair.now, request).unwrap();
        pair.frames();
        pair.acknowledge();
        windows.push(pair.tunnel.status().congestion_window);
    }
    assert_eq!(windows, [2, 3, 4, 5, 6, 7, 8, 8, 8]);
}
