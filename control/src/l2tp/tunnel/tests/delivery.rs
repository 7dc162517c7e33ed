//! Loss, disorder and windows, seen from the LAC.

use proptest::prelude::*;

use super::*;

#[test]
fn a_lost_acknowledgement_is_repeated() {
    let mut pair = Pair::established();
    pair.send(0, HELLO_AVPS);
    assert_eq!(pair.schedule(milliseconds(500)), [(250, ZLB)]);
    for _ in 0..4 {
        pair.send_numbered(0, (pair.ns - 1, pair.nr), &body(HELLO_AVPS));
        let frames = pair.frames();
        assert_eq!((frames.len(), frames[0].message_type(), frames[0].nr), (1, ZLB, pair.ns));
    }
}

#[test]
fn lost_icrp_as_in_the_appendix() {
    // RFC 2661 appendix B.2.
    let mut pair = Pair::established();
    let session = pair.offer(5);
    pair.tunnel.accept_call(pair.now, session);
    let lost = pair.frames();
    pair.nr -= 1;
    pair.now = pair.now + milliseconds(900);
    pair.send_numbered(0, (2, 1), &body(&[(0x80, 0, &[0, 10])]));
    let frames = pair.frames();
    assert_eq!((frames[0].message_type(), frames[0].ns, frames[0].nr), (ZLB, 2, 3));
    let again = pair.pass(milliseconds(100));
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].1, lost[0]);
    pair.send(session.0, ICCN_AVPS);
    let frames = pair.frames();
    assert_eq!((frames[0].message_type(), frames[0].ns, frames[0].nr), (ZLB, 2, 4));
}

#[test]
fn a_peer_with_a_window_of_one() {
    // docs/peers.md row 5: it waits for a ZLB after SCCCN and ICCN, window 1, repeats every 2 s.
    let mut pair = Pair::established_with(config(), &[(0x80, 10, &[0, 1])]);
    let first = pair.offer(5);
    let second = pair.offer(6);
    pair.tunnel.accept_call(pair.now, first);
    pair.tunnel.accept_call(pair.now, second);
    let frames = pair.frames();
    assert_eq!((frames.len(), frames[0].message_type(), frames[0].session_id), (1, ICRP, 5));
    // Its ICCN is acknowledged by a ZLB, not by the ICRP that waits.
    pair.send(first.0, ICCN_AVPS);
    let frames = pair.frames();
    let types: Vec<u16> = frames.iter().map(Frame::message_type).collect();
    assert_eq!(types, [ZLB, ICRP]);
    assert_eq!((frames[1].session_id, frames[1].ns), (6, 2));
    assert_eq!(pair.tunnel.status().in_flight, 1);
}

#[test]
fn a_peer_without_a_window_has_four() {
    let mut pair = Pair::established();
    assert_eq!(pair.tunnel.status().peer_window, 4);
    let sessions: Vec<SessionId> = (1..=12).map(|call| pair.offer(call)).collect();
    for session in &sessions {
        pair.tunnel.accept_call(pair.now, *session);
    }
    let mut bursts = Vec::new();
    loop {
        let burst = pair.frames().len();
        if burst == 0 {
            break;
        }
        bursts.push(burst);
        pair.acknowledge();
    }
    // The SCCRP's acknowledgement made it two; one more with each, to four.
    assert_eq!(bursts, [2, 3, 4, 3]);
    let status = pair.tunnel.status();
    assert_eq!((status.in_flight, status.queued, status.congestion_window), (0, 0, 4));
}

#[test]
fn numbers_wrap() {
    let config = Config { hello_interval: Duration::ZERO, ..config() };
    let mut pair = Pair::established_with(config, &[(0x80, 10, &[0, 16])]);
    // Two messages each way for a call; so past 65535 on both sides.
    for call in 0..33_000_u32 {
        let session = pair.offer(5);
        pair.tunnel.accept_call(pair.now, session);
        let frames = pair.frames();
        assert_eq!((frames.len(), frames[0].message_type()), (1, ICRP), "call {call}");
        let result = CallResult::Administrative;
        pair.tunnel.disconnect_call(pair.now, session, result, None, "", None);
        pair.frames();
        pair.send(0, HELLO_AVPS);
        pair.frames();
        pair.events();
    }
    assert_eq!(pair.ns, (2 + 2 * 33_000_u32) as u16);
    assert_eq!(pair.nr, (1 + 2 * 33_000_u32) as u16);
    assert_eq!(pair.tunnel.state(), State::Established);
    assert_eq!(pair.tunnel.status().retransmissions, 0);
}

#[test]
fn a_zlb_is_never_answered() {
    // docs/peers.md row 28.
    let mut pair = Pair::established();
    for number in [0, 1, 2, 3, 1000, 32_768, 65_535] {
        for acknowledged in [0, 1, 2, 77, 65_535] {
            pair.send_numbered(0, (number, acknowledged), &[]);
            assert!(pair.frames().is_empty());
        }
    }
    assert!(pair.events().is_empty());
    assert_eq!(pair.tunnel.status().nr, Sequence(2));
}

#[test]
fn every_frame_has_the_shape_that_the_strictest_peer_takes() {
    // docs/peers.md row 6: `Frame::read` checks each one; here is one of every kind.
    let mut pair = Pair::established();
    let session = pair.connect(5);
    let result = CallResult::Error;
    let error = Some(ErrorCode::TryAnother);
    pair.tunnel.disconnect_call(pair.now, session, result, error, "text", None);
    assert_eq!(pair.types(), [CDN]);
    pair.acknowledge();
    assert_eq!(pair.schedule(seconds(60)), [(60_000, HELLO)]);
    pair.acknowledge();
    pair.tunnel.close(pair.now, TunnelResult::Cleared, None, "");
    assert_eq!(pair.types(), [STOP_CCN]);
}

/// What a lossy network may do to one message of the LAC.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Arrives,
    Twice,
    Late,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![Just(Fate::Arrives), Just(Fate::Twice), Just(Fate::Late)]
}

proptest! {
    #[test]
    fn disorder_and_duplicates_change_nothing(fates in prop::collection::vec(fate(), 12)) {
        let mut pair = Pair::established();
        let mut late = Vec::new();
        for (call, fate) in (1..).zip(&fates) {
            let id = u16::to_be_bytes(call);
            let message = body(&[(0x80, 0, &[0, 10]), (0x80, 14, &id), (0x80, 15, ICRQ_SERIAL)]);
            let message = (pair.ns, message);
            pair.ns += 1;
            match fate {
                Fate::Arrives => pair.send_numbered(0, (message.0, 1), &message.1),
                Fate::Twice => {
                    pair.send_numbered(0, (message.0, 1), &message.1);
                    pair.send_numbered(0, (message.0, 1), &message.1);
                }
                Fate::Late => late.push(message),
            }
        }
        for (ns, message) in late.into_iter().rev() {
            pair.send_numbered(0, (ns, 1), &message);
        }
        let calls: Vec<u16> = pair
            .events()
            .into_iter()
            .map(|event| match event {
                Event::IncomingCall { icrq, .. } => icrq.assigned_session_id.0,
                other => panic!("{other:?}"),
            })
            .collect();
        prop_assert_eq!(calls, (1..=12).collect::<Vec<u16>>());
    }

    #[test]
    fn random_messages_never_panic(
        messages in prop::collection::vec(
            (0..20_u8, any::<u16>(), prop::collection::vec(any::<u8>(), 0..60), 0..3_u16), 1..40),
    ) {
        let mut pair = Pair::established();
        for (kind, session_id, rest, skip) in messages {
            let mut message = vec![0x80, 8, 0, 0, 0, 0, 0, kind];
            message.extend(rest);
            pair.ns = pair.ns.wrapping_add(skip / 2);
            pair.send_numbered(session_id, (pair.ns, pair.nr), &message);
            pair.ns = pair.ns.wrapping_add(1);
            pair.frames();
            pair.events();
            pair.pass(milliseconds(300));
        }
        let _ = header::parse(&[]);
    }

    #[test]
    fn mutated_set_ups_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut request = sccrq(&[(0x80, 10, &[0, 4]), (0x80, 11, b"challenge")]);
        for (place, octet) in changes {
            let place = place.index(request.len());
            request[place] = octet;
        }
        if let Ok(header) = header::parse(&request)
            && let Ok(Unassigned::Sccrq(sccrq)) = decode_unassigned(&header, &request, None)
        {
            let mut rng = StdRng::seed_from_u64(1);
            let config = Arc::new(with_secret(true));
            let _ = Tunnel::accept(Time::ZERO, LOCAL, &sccrq, config, &mut rng);
        }
    }
}
