//! Set-up of the control connection.

use super::*;

#[test]
fn without_challenge() {
    let mut pair = Pair::accept(config(), &sccrq(&[(0, 8, b"maker")])).unwrap();
    let frames = pair.frames();
    let [sccrp] = &frames[..] else { panic!("{frames:?}") };
    // M as the RFC has it for each (docs/peers.md rows 3 and 37).
    let expected: [(u8, u16, &[u8]); 7] = [
        (0x80, 0, &[0, 2]),
        (0x80, 2, &[1, 0]),
        (0x80, 3, &[0, 0, 0, 3]),
        (0x80, 7, b"lns.example"),
        (0x80, 9, &[0x0a, 0x0b]),
        (0x00, 8, b"xlns"),
        (0x80, 10, &[0, 16]),
    ];
    let sent: Vec<(u8, u16, &[u8])> = sccrp.avps.iter().map(|a| (a.0, a.1, &a.2[..])).collect();
    assert_eq!(sent, expected);
    assert_eq!((sccrp.session_id, sccrp.ns, sccrp.nr), (0, 0, 1));
    assert!(pair.events().is_empty());
    assert_eq!(pair.tunnel.state(), State::WaitCtlConn);

    pair.send(0, SCCCN_AVPS);
    let frames = pair.frames();
    assert_eq!(frames.len(), 1);
    assert_eq!((frames[0].message_type(), frames[0].ns, frames[0].nr), (ZLB, 1, 2));
    let established = Event::Established {
        peer_host_name: "lac.example".into(),
        peer_vendor: Some("maker".into()),
    };
    assert_eq!(pair.events(), [established]);
    assert_eq!(pair.tunnel.state(), State::Established);
    assert_eq!(pair.tunnel.peer_tunnel_id(), TunnelId(LAC_TUNNEL));
}

#[test]
fn both_sides_challenge() {
    let challenge = [9; 23];
    let mut pair = Pair::accept(with_secret(true), &sccrq(&[(0x80, 11, &challenge)])).unwrap();
    let frames = pair.frames();
    let response = secret::response(2, b"tunnel secret", &challenge);
    assert_eq!(frames[0].avp(13), Some(&response[..]));
    let ours = frames[0].avp(11).unwrap().to_vec();
    assert_eq!(ours.len(), 16);
    // Six octets too many, as one LAC sends them (docs/peers.md row 16).
    let mut answer = secret::response(3, b"tunnel secret", &ours).to_vec();
    answer.extend([1, 2, 3, 4, 5, 6]);
    pair.send(0, &[(0x80, 0, &[0, 3]), (0x80, 13, &answer)]);
    assert_eq!(pair.types(), [ZLB]);
    assert!(matches!(pair.events()[..], [Event::Established { .. }]));
}

#[test]
fn their_challenge_alone() {
    let mut pair = Pair::accept(with_secret(false), &sccrq(&[(0x80, 11, b"x")])).unwrap();
    let frames = pair.frames();
    assert_eq!(frames[0].avp(13), Some(&secret::response(2, b"tunnel secret", b"x")[..]));
    assert_eq!(frames[0].avp(11), None);
    pair.send(0, SCCCN_AVPS);
    assert!(matches!(pair.events()[..], [Event::Established { .. }]));
}

#[test]
fn a_wrong_or_missing_response_is_refused() {
    let wrong = secret::response(3, b"another secret", b"x");
    for avps in [&[(0x80, 0, &[0, 3][..])][..], &[(0x80, 0, &[0, 3]), (0x80, 13, &wrong)]] {
        let mut pair = Pair::accept(with_secret(true), &sccrq(&[])).unwrap();
        assert_eq!(pair.types(), [SCCRP]);
        pair.send(0, avps);
        let frames = pair.frames();
        assert_eq!(frames[0].message_type(), ZLB);
        assert_eq!(frames[1].message_type(), STOP_CCN);
        assert_eq!(frames[1].avp(1).unwrap()[..2], [0, 4]);
        assert_eq!(frames[1].u16(9), LOCAL.0);
        assert_eq!(pair.events(), [Event::Closed { cause: TunnelCause::NotAuthenticated }]);
        assert_eq!(pair.tunnel.state(), State::Closing);
    }
}

#[test]
fn a_challenge_without_a_secret_is_refused() {
    let result = Pair::accept(config(), &sccrq(&[(0x80, 11, b"x")])).err().unwrap();
    assert_eq!(result.as_tunnel(), TunnelResult::NotAuthorized);
}

#[test]
fn refusals_need_no_tunnel() {
    // docs/peers.md row 23.
    let request = sccrq(&[]);
    let (header, _) = parsed(&request);
    let result = ResultCode::tunnel(TunnelResult::Error, Some(ErrorCode::TryAnother), "full");
    let refusal = Tunnel::refuse(&header, Some(TunnelId(LAC_TUNNEL)), TunnelId(77), result);
    let frame = Frame::read(&refusal);
    assert_eq!((frame.tunnel_id, frame.session_id, frame.ns, frame.nr), (LAC_TUNNEL, 0, 0, 1));
    assert_eq!(frame.avp(1), Some(&[0, 2, 0, 7, b'f', b'u', b'l', b'l'][..]));
    assert_eq!(frame.u16(9), 77);
}

#[test]
fn a_malformed_sccrq_is_refused_by_what_it_says() {
    let request = sccrq(&[(0x80, 900, b"")]);
    let (header, _) = parsed(&request);
    let reject = decode_unassigned(&header, &request, None).unwrap_err();
    let refusal = Tunnel::refuse(&header, reject.assigned_tunnel_id, TunnelId(77), reject.result);
    let frame = Frame::read(&refusal);
    assert_eq!(frame.tunnel_id, LAC_TUNNEL);
    assert_eq!(frame.avp(1).unwrap()[..4], [0, 2, 0, 8]);
}

#[test]
fn a_repeated_sccrq_gets_the_same_answer_at_once() {
    // docs/peers.md rows 4 and 21: our SCCRP is lost each time.
    let mut pair = Pair::accept(config(), &sccrq(&[])).unwrap();
    let first = pair.frames();
    let request = sccrq(&[]);
    let mut answers = Vec::new();
    for _ in 0..9 {
        pair.now = pair.now + milliseconds(100);
        let (header, body) = parsed(&request);
        pair.tunnel.handle(pair.now, &header, body);
        // One datagram for each of theirs, and the large one only every 250 ms.
        let [frame] = &pair.frames()[..] else { panic!("not one datagram") };
        if frame.message_type() == SCCRP {
            assert_eq!(frame, &first[0]);
        }
        answers.push(frame.message_type());
    }
    let expected = [ZLB, ZLB, SCCRP, ZLB, ZLB, SCCRP, ZLB, ZLB, SCCRP];
    assert_eq!(answers, expected);
    // That was none of the retransmissions, which come when they are due.
    assert_eq!(pair.tunnel.status().retransmissions, 0);
    let again = pair.pass(milliseconds(100));
    assert_eq!((again[0].0, &again[0].1), (milliseconds(100), &first[0]));
    assert!(pair.events().is_empty());
    // Once the SCCRP has arrived, nothing is repeated.
    pair.send(0, SCCCN_AVPS);
    pair.frames();
    pair.now = pair.now + seconds(1);
    let (header, body) = parsed(&request);
    pair.tunnel.handle(pair.now, &header, body);
    assert_eq!(pair.types(), [ZLB]);
}

#[test]
fn a_repeated_scccn_is_acknowledged_again() {
    let mut pair = Pair::established();
    pair.send_numbered(0, (1, 1), &body(SCCCN_AVPS));
    let frames = pair.frames();
    assert_eq!((frames.len(), frames[0].message_type(), frames[0].nr), (1, ZLB, 2));
    assert!(pair.events().is_empty());
    assert_eq!(pair.tunnel.state(), State::Established);
}

#[test]
fn a_call_right_behind_scccn() {
    // docs/peers.md row 4; in order, in disorder, and before the SCCCN by its number.
    let icrq: &[RawAvp<'_>] = &[(0x80, 0, &[0, 10]), (0x80, 14, &[0, 5]), (0x80, 15, ICRQ_SERIAL)];
    for order in
        [[(1, SCCCN_AVPS), (2, icrq)], [(2, icrq), (1, SCCCN_AVPS)], [(1, icrq), (2, SCCCN_AVPS)]]
    {
        let mut pair = Pair::accept(config(), &sccrq(&[])).unwrap();
        pair.frames();
        for (ns, avps) in order {
            pair.send_numbered(0, (ns, 1), &body(avps));
        }
        let events = pair.events();
        assert!(
            matches!(events[..], [Event::Established { .. }, Event::IncomingCall { .. }]),
            "{events:?}"
        );
        let frames = pair.frames();
        assert_eq!((frames.len(), frames[0].message_type(), frames[0].nr), (1, ZLB, 3));
    }
}

#[test]
fn early_messages_are_bounded() {
    let config = Config { receive_window: 64, ..config() };
    for (count, opens) in [(EARLY_MESSAGES_MAX, true), (EARLY_MESSAGES_MAX + 1, false)] {
        let mut pair = Pair::accept(config.clone(), &sccrq(&[])).unwrap();
        pair.frames();
        for call in 1..=count {
            pair.send_icrq(call as u16, ICRQ_SERIAL);
        }
        pair.send(0, SCCCN_AVPS);
        let events = pair.events();
        if opens {
            assert_eq!(events.len(), 1 + count);
            continue;
        }
        // Numbered before its SCCCN, that many are no haste but a fault.
        assert!(matches!(events[..], [Event::Closed { cause: TunnelCause::Protocol(_) }]));
        pair.acknowledge();
        let frames = pair.frames();
        let stop_ccn = frames.last().unwrap();
        assert_eq!(stop_ccn.message_type(), STOP_CCN);
        assert_eq!(stop_ccn.avp(1).unwrap()[..4], [0, 2, 0, 4]);
    }
}

#[test]
fn a_faulty_call_before_scccn_is_refused_when_the_tunnel_is_up() {
    let mut pair = Pair::accept(config(), &sccrq(&[])).unwrap();
    pair.frames();
    let icrq: [RawAvp<'_>; 4] =
        [(0x80, 0, &[0, 10]), (0x80, 14, &[0, 5]), (0x80, 15, ICRQ_SERIAL), (0x80, 900, b"")];
    pair.send(0, &icrq);
    pair.send(0, &icrq[..2]);
    assert!(pair.frames().is_empty() && pair.events().is_empty());
    pair.send(0, SCCCN_AVPS);
    assert!(matches!(pair.events()[..], [Event::Established { .. }]));
    pair.acknowledge();
    let frames = pair.frames();
    let refusals: Vec<(u16, u16, &[u8])> = frames
        .iter()
        .filter(|frame| frame.message_type() != ZLB)
        .map(|frame| (frame.message_type(), frame.session_id, &frame.avp(1).unwrap()[..4]))
        .collect();
    assert_eq!(refusals, [(CDN, 5, &[0, 2, 0, 8][..]), (CDN, 5, &[0, 2, 0, 3][..])]);
}

#[test]
fn a_refusal_never_assigns_tunnel_id_0() {
    let request = sccrq(&[]);
    let (header, _) = parsed(&request);
    let result = ResultCode::tunnel(TunnelResult::Error, Some(ErrorCode::TryAnother), "full");
    let refusal = Tunnel::refuse(&header, Some(TunnelId(LAC_TUNNEL)), TunnelId(0), result);
    assert_eq!(Frame::read(&refusal).u16(9), 0xffff);
}

#[test]
fn hello_before_the_set_up_is_complete() {
    // docs/peers.md row 41: with a Tunnel ID of 0, in the LAC's sequence.
    let mut pair = Pair::accept(config(), &sccrq(&[])).unwrap();
    let hello = datagram((0, 0), (1, 0), &body(HELLO_AVPS));
    let (header, payload) = parsed(&hello);
    assert_eq!(decode_unassigned(&header, &hello, None), Ok(Unassigned::Hello));
    pair.tunnel.handle(pair.now, &header, payload);
    let frames = pair.frames();
    assert_eq!((frames.len(), frames[0].message_type(), frames[0].nr), (1, SCCRP, 2));
    pair.ns = 2;
    pair.send(0, SCCCN_AVPS);
    assert!(matches!(pair.events()[..], [Event::Established { .. }]));
}

#[test]
fn messages_that_do_not_fit_the_state_end_it() {
    let again: &[RawAvp<'_>] = &[
        (0x80, 0, &[0, 1]),
        (0x80, 2, &[1, 0]),
        (0x80, 3, &[0, 0, 0, 3]),
        (0x80, 7, b"lac"),
        (0x80, 9, &[0x10, 0x01]),
    ];
    for avps in [again, SCCCN_AVPS] {
        let mut pair = Pair::established();
        pair.send(0, avps);
        let frames = pair.frames();
        let stop_ccn = frames.last().unwrap();
        assert_eq!(stop_ccn.message_type(), STOP_CCN);
        assert_eq!(stop_ccn.avp(1).unwrap()[..2], [0, 7]);
        assert!(matches!(pair.events()[..], [Event::Closed { cause: TunnelCause::Protocol(_) }]));
    }
}

#[test]
fn a_set_up_that_stays_half_open_ends() {
    let mut pair = Pair::accept(config(), &sccrq(&[])).unwrap();
    pair.frames();
    // The SCCRP is acknowledged, and that is all that ever comes.
    pair.acknowledge();
    let sent = pair.schedule(seconds(31));
    assert_eq!(sent, [(31_000, STOP_CCN)]);
    assert_eq!(pair.events(), [Event::Closed { cause: TunnelCause::SetupTimeout }]);
}

#[test]
fn a_lac_that_never_answers() {
    let mut pair = Pair::accept(config(), &sccrq(&[])).unwrap();
    pair.frames();
    let sent = pair.schedule(seconds(100));
    let times = [1000, 3000, 7000, 15_000, 23_000];
    assert_eq!(sent, times.map(|at| (at, SCCRP)));
    assert_eq!(pair.events(), [Event::Closed { cause: TunnelCause::Dead }]);
    assert!(pair.tunnel.is_finished());
}

#[test]
fn a_peer_of_another_version_is_told_ours() {
    let avps: [RawAvp<'_>; 5] = [
        (0x80, 0, &[0, 1]),
        (0x80, 2, &[2, 0]),
        (0x80, 3, &[0, 0, 0, 3]),
        (0x80, 7, b"lac"),
        (0x80, 9, &[0x10, 0x01]),
    ];
    let request = datagram((0, 0), (0, 0), &body(&avps));
    let (header, _) = parsed(&request);
    let reject = decode_unassigned(&header, &request, None).unwrap_err();
    let refusal = Tunnel::refuse(&header, reject.assigned_tunnel_id, TunnelId(77), reject.result);
    let frame = Frame::read(&refusal);
    assert_eq!((frame.message_type(), frame.tunnel_id), (STOP_CCN, LAC_TUNNEL));
    // Result 5, and the highest version in the place of the error.
    assert_eq!(frame.avp(1).unwrap()[..4], [0, 5, 1, 0]);
}

#[test]
fn a_refusal_to_nobody_carries_tunnel_id_0() {
    let request = datagram((0, 0), (0, 0), &body(&[(0x80, 0, &[0, 1]), (0x80, 7, b"lac")]));
    let (header, _) = parsed(&request);
    let reject = decode_unassigned(&header, &request, None).unwrap_err();
    assert_eq!(reject.assigned_tunnel_id, None);
    let refusal = Tunnel::refuse(&header, reject.assigned_tunnel_id, TunnelId(77), reject.result);
    let frame = Frame::read(&refusal);
    assert_eq!((frame.message_type(), frame.tunnel_id, frame.session_id), (STOP_CCN, 0, 0));
    assert_eq!(frame.u16(9), 77);
}
