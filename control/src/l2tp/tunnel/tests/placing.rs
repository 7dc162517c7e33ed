//! Calls that we ask for, as LAC and as LNS, and calls that we are asked to place, against frames
//! made by hand.

use proptest::prelude::*;

use super::*;
use crate::l2tp::message::Directions;

const OCRP: u16 = 8;
const OCCN: u16 = 9;
const ICRQ: u16 = 10;
const ICCN: u16 = 12;
const WEN: u16 = 15;
const SLI: u16 = 16;

const FOUR: &[u8] = &[0, 0, 0, 1];
const OCRQ_AVPS: [RawAvp<'_>; 8] = [
    (0x80, 0, &[0, 7]),
    (0x80, 14, &[0, 8]),
    (0x80, 15, FOUR),
    (0x80, 16, FOUR),
    (0x80, 17, &[0, 0, 0xff, 0xff]),
    (0x80, 18, FOUR),
    (0x80, 19, FOUR),
    (0x80, 21, b"123"),
];

/// An ICRP or OCRP that assigns an identifier.
fn reply(message_type: &'static [u8], id: &'static [u8]) -> [RawAvp<'static>; 2] {
    [(0x80, 0, message_type), (0x80, 14, id)]
}

fn icrp(id: &'static [u8]) -> [RawAvp<'static>; 2] {
    reply(&[0, 11], id)
}

fn ocrp(id: &'static [u8]) -> [RawAvp<'static>; 2] {
    reply(&[0, 8], id)
}

fn request(call_serial_number: u32) -> CallRequest {
    CallRequest { call_serial_number, ..CallRequest::default() }
}

fn outgoing() -> OutgoingRequest {
    OutgoingRequest { called_number: b"123".to_vec(), ..OutgoingRequest::default() }
}

fn avps(frame: &Frame) -> Vec<(u8, u16, &[u8])> {
    frame.avps.iter().map(|avp| (avp.0, avp.1, &avp.2[..])).collect()
}

/// A peer that places calls on both kinds of bearers, in a tunnel that is up.
fn with_bearers(config: Config) -> Pair {
    Pair::established_with(config, &[(0x80, 4, &[0, 0, 0, 3])])
}

fn places_calls() -> Config {
    Config { bearer_capabilities: Some(3), ..config() }
}

/// A call of ours that the LNS has taken.
fn handed_over(pair: &mut Pair) -> SessionId {
    let session = pair.tunnel.place_call(pair.now, request(1)).unwrap();
    pair.acknowledge();
    assert_eq!(pair.types(), [ICRQ]);
    pair.send(session.0, &icrp(&[0, 5]));
    assert!(matches!(pair.events()[..], [Event::CallConnected { .. }]));
    pair.acknowledge();
    assert_eq!(pair.types(), [ICCN]);
    session
}

#[test]
fn an_incoming_call_from_us() {
    let mut pair = Pair::established();
    let proxy = Proxy {
        initial_received_lcp_confreq: Some(vec![1, 4, 5, 0xdc]),
        last_sent_lcp_confreq: Some(vec![3, 4, 0xc0, 0x23]),
        last_received_lcp_confreq: Some(vec![1, 4, 5, 0xd4]),
        authentication: Some(ProxyAuthentication::Pap {
            name: b"user".to_vec(),
            identifier: 7,
            response: SecretBytes::from(&b"password"[..]),
        }),
    };
    let request = CallRequest {
        call_serial_number: 9,
        bearer_type: Some(0),
        physical_channel_id: Some(2),
        calling_number: Some(b"1".to_vec()),
        called_number: Some(b"2".to_vec()),
        sub_address: Some(b"3".to_vec()),
        tx_connect_speed: 10_000,
        rx_connect_speed: Some(1000),
        framing_type: 3,
        proxy: Some(Box::new(proxy)),
        private_group_id: Some(b"group".to_vec()),
        sequencing_required: true,
        access_line: None,
    };
    let session = pair.tunnel.place_call(pair.now, request).unwrap();
    let frames = pair.frames();
    let [icrq] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!((icrq.session_id, icrq.ns), (0, 1));
    let id = session.0.to_be_bytes();
    let expected: [(u8, u16, &[u8]); 8] = [
        (0x80, 0, &[0, 10]),
        (0x80, 14, &id),
        (0x80, 15, &[0, 0, 0, 9]),
        (0x80, 18, &[0, 0, 0, 0]),
        (0x00, 25, &[0, 0, 0, 2]),
        (0x80, 22, b"1"),
        (0x80, 21, b"2"),
        (0x80, 23, b"3"),
    ];
    assert_eq!(avps(icrq), expected);
    assert!(pair.tunnel.pending.contains_key(&session));

    pair.send(session.0, &icrp(&[0, 5]));
    // The event is there before the ICCN leaves.
    let events = pair.events();
    let [Event::CallConnected { session: connected, iccn }] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!((*connected, iccn.sequencing_required, iccn.framing_type), (session, true, 3));
    let frames = pair.frames();
    let [iccn] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!((iccn.session_id, iccn.ns, iccn.nr), (5, 2, 3));
    let expected: [(u8, u16, &[u8]); 13] = [
        (0x80, 0, &[0, 12]),
        (0x80, 24, &[0, 0, 0x27, 0x10]),
        (0x80, 19, &[0, 0, 0, 3]),
        (0x00, 26, &[1, 4, 5, 0xdc]),
        (0x00, 27, &[3, 4, 0xc0, 0x23]),
        (0x00, 28, &[1, 4, 5, 0xd4]),
        (0x00, 29, &[0, 3]),
        (0x00, 30, b"user"),
        (0x00, 32, &[0, 7]),
        (0x00, 33, b"password"),
        (0x00, 37, b"group"),
        (0x00, 38, &[0, 0, 0x03, 0xe8]),
        (0x80, 39, b""),
    ];
    assert_eq!(avps(iccn), expected);
    assert!(pair.tunnel.pending.is_empty());
    assert_eq!(pair.tunnel.session(session).unwrap().peer_session_id(), SessionId(5));
}

#[test]
fn proxied_authentication_has_just_what_its_kind_needs() {
    let (name, challenge) = (b"user".to_vec(), b"challenge".to_vec());
    let response = SecretBytes::from(&b"response"[..]);
    let (n, c, r) = (name.clone(), challenge.clone(), response.clone());
    let chap = ProxyAuthentication::Chap { name: n, challenge: c, identifier: 255, response: r };
    let (n, r) = (name.clone(), response.clone());
    let ms_chap = ProxyAuthentication::MsChapV1 { name: n, challenge, identifier: 0, response: r };
    for (authentication, present) in [
        (ProxyAuthentication::Text { name, response }, &[29, 30, 33][..]),
        (chap, &[29, 30, 31, 32, 33]),
        (ProxyAuthentication::None, &[29]),
        (ms_chap, &[29, 30, 31, 32, 33]),
    ] {
        let mut pair = Pair::established();
        let proxy = Proxy { authentication: Some(authentication), ..Proxy::default() };
        let request = CallRequest { proxy: Some(Box::new(proxy)), ..request(1) };
        let session = pair.tunnel.place_call(pair.now, request).unwrap();
        pair.frames();
        pair.send(session.0, &icrp(&[0, 5]));
        let frames = pair.frames();
        let numbers: Vec<u16> =
            frames[0].avps.iter().map(|avp| avp.1).filter(|n| (26..=33).contains(n)).collect();
        assert_eq!(numbers, present);
        // The first octet of the identifier is 0 (RFC 2661 section 4.4.5).
        assert!(frames[0].avp(32).is_none_or(|value| value.len() == 2 && value[0] == 0));
    }
}

#[test]
fn the_lns_refuses_our_call() {
    // Named by the header; the AVP has an identifier that we never saw, or is not there.
    for known in [true, false] {
        let mut pair = Pair::established();
        let session = pair.tunnel.place_call(pair.now, request(1)).unwrap();
        pair.frames();
        let cdn: [RawAvp<'_>; 3] =
            [(0x80, 0, &[0, 14]), (0x80, 1, &[0, 2, 0, 4]), (0x80, 14, &[0, 77])];
        pair.send(session.0, if known { &cdn[..] } else { &cdn[..2] });
        let events = pair.events();
        let [Event::CallEnded { session: ended, cause: CallCause::Peer(cdn) }] = &events[..] else {
            panic!("{events:?}");
        };
        assert_eq!((*ended, cdn.result.error), (session, Some(ErrorCode::Resources)));
        assert!(pair.tunnel.pending.is_empty() && pair.tunnel.by_peer_id.is_empty());
        // An ICRP that comes all the same gets a CDN that names what the peer knows.
        pair.send(session.0, &icrp(&[0, 77]));
        let frames = pair.frames();
        assert_eq!((frames[0].message_type(), frames[0].session_id), (CDN, 77));
        assert_eq!(frames[0].u16(14), session.0);
        assert!(pair.events().is_empty());
    }
}

#[test]
fn answers_to_our_call_that_are_not_acceptable() {
    let faulty: [RawAvp<'_>; 3] = [(0x80, 0, &[0, 11]), (0x80, 14, &[0, 6]), (0x80, 900, b"")];
    // An identifier in use, an unknown mandatory AVP, no identifier.
    for (avps, addressee) in [(&icrp(&[0, 5])[..], 0), (&faulty, 6), (&faulty[..1], 0)] {
        let mut pair = Pair::established();
        pair.connect(5);
        let session = pair.tunnel.place_call(pair.now, request(1)).unwrap();
        pair.acknowledge();
        pair.frames();
        pair.send(session.0, avps);
        let frames = pair.frames();
        assert_eq!((frames[0].message_type(), frames[0].session_id), (CDN, addressee));
        assert_eq!(frames[0].u16(14), session.0);
        let events = pair.events();
        assert!(matches!(events[..], [Event::CallEnded { cause: CallCause::Protocol(_), .. }]));
        // The other call is untouched.
        assert_eq!((pair.tunnel.session_count(), pair.tunnel.by_peer_id.len()), (1, 1));
    }
}

#[test]
fn messages_that_do_not_fit_our_call() {
    let icrq: [RawAvp<'_>; 3] = [(0x80, 0, &[0, 10]), (0x80, 14, &[0, 9]), (0x80, 15, FOUR)];
    let occn: [RawAvp<'_>; 3] = [(0x80, 0, &[0, 9]), (0x80, 24, FOUR), (0x80, 19, FOUR)];
    for avps in [&icrq[..], &OCRQ_AVPS, &ocrp(&[0, 9]), &occn] {
        let mut pair = Pair::established();
        let session = pair.tunnel.place_call(pair.now, request(1)).unwrap();
        pair.frames();
        pair.send(session.0, avps);
        assert!(pair.types().contains(&CDN));
        let events = pair.events();
        assert!(matches!(events[..], [Event::CallEnded { cause: CallCause::Protocol(_), .. }]));
    }
    // Of the call that is up.
    for avps in [&icrq[..], &icrp(&[0, 9]), ICCN_AVPS, &OCRQ_AVPS, &ocrp(&[0, 9]), &occn] {
        let mut pair = Pair::established();
        let session = handed_over(&mut pair);
        pair.send(session.0, avps);
        pair.acknowledge();
        let cdn = pair.frames().into_iter().find(|frame| frame.message_type() == CDN).unwrap();
        assert_eq!((cdn.session_id, cdn.u16(14)), (5, session.0));
        let events = pair.events();
        assert!(matches!(events[..], [Event::CallEnded { cause: CallCause::Protocol(_), .. }]));
    }
    // An ICCN for a call that waits for ICRP: over, without a word (RFC 2661 section 7.4.1).
    let mut pair = Pair::established();
    let session = pair.tunnel.place_call(pair.now, request(1)).unwrap();
    pair.frames();
    pair.send(session.0, ICCN_AVPS);
    assert_eq!(pair.types(), [ZLB]);
    assert_eq!(pair.events().len(), 1);
}

#[test]
fn we_end_our_call_in_each_state() {
    let result = CallResult::LossOfCarrier;
    // Before the tunnel is up: nothing was said, and nothing is.
    let mut pair = Pair::originate(config());
    pair.frames();
    let session = pair.tunnel.place_call(pair.now, request(1)).unwrap();
    pair.tunnel.disconnect_call(pair.now, session, result, None, "", None);
    assert_eq!(pair.events(), [Event::CallEnded { session, cause: CallCause::Local }]);
    assert!(pair.frames().is_empty() && pair.tunnel.pending.is_empty());
    // Before the answer: the header has no Session ID, the AVP the one that the ICRQ had.
    let mut pair = Pair::established();
    let session = pair.tunnel.place_call(pair.now, request(1)).unwrap();
    pair.frames();
    pair.tunnel.disconnect_call(pair.now, session, result, None, "", None);
    pair.acknowledge();
    let frames = pair.frames();
    assert_eq!((frames[0].message_type(), frames[0].session_id), (CDN, 0));
    assert_eq!((frames[0].u16(14), frames[0].u16(1)), (session.0, 1));
    assert_eq!(pair.events(), [Event::CallEnded { session, cause: CallCause::Local }]);
    // Afterwards.
    let mut pair = Pair::established();
    let session = handed_over(&mut pair);
    pair.tunnel.disconnect_call(pair.now, session, result, None, "", None);
    pair.acknowledge();
    let frames = pair.frames();
    assert_eq!((frames[0].message_type(), frames[0].session_id), (CDN, 5));
    assert_eq!(pair.tunnel.session_count(), 0);
}

#[test]
fn the_peer_ends_our_call() {
    let mut pair = Pair::established();
    let session = handed_over(&mut pair);
    pair.send(session.0, &[(0x80, 0, &[0, 14]), (0x80, 1, &[0, 3]), (0x80, 14, &[0, 5])]);
    assert!(matches!(pair.events()[..], [Event::CallEnded { cause: CallCause::Peer(_), .. }]));
    assert_eq!(pair.tunnel.session_count(), 0);
}

#[test]
fn a_call_of_ours_that_is_never_answered() {
    let mut pair = Pair::established();
    let session = pair.tunnel.place_call(pair.now, request(1)).unwrap();
    pair.frames();
    pair.acknowledge();
    let sent = pair.pass(seconds(60));
    assert_eq!((sent.len(), sent[0].0, sent[0].1.message_type()), (1, seconds(60), CDN));
    assert_eq!((sent[0].1.u16(14), &sent[0].1.avp(1).unwrap()[..2]), (session.0, &[0, 10][..]));
    assert_eq!(pair.events(), [Event::CallEnded { session, cause: CallCause::SetupTimeout }]);
}

#[test]
fn calls_wait_for_their_tunnel() {
    let mut pair = Pair::originate(config());
    pair.frames();
    let mut sessions: Vec<SessionId> =
        (1..=3).map(|n| pair.tunnel.place_call(pair.now, request(n)).unwrap()).collect();
    // One that the peer cannot carry, as it turns out: it says nothing of bearers.
    let refused = pair.tunnel.place_outgoing_call(pair.now, outgoing()).unwrap();
    assert!(pair.frames().is_empty() && pair.events().is_empty());
    pair.send(
        0,
        &[
            (0x80, 0, &[0, 2]),
            (0x80, 2, &[1, 0]),
            (0x80, 3, &[0, 0, 0, 3]),
            (0x80, 7, b"lns"),
            (0x80, 9, &[0x10, 0x01]),
        ],
    );
    let events = pair.events();
    let ended = Event::CallEnded { session: refused, cause: CallCause::NotOffered };
    assert!(matches!(events[0], Event::Established { .. }));
    assert_eq!(events[1..], [ended]);
    let mut asked = Vec::new();
    let mut types = Vec::new();
    for _ in 0..4 {
        for frame in pair.frames() {
            types.push(frame.message_type());
            asked.extend(frame.avp(14).map(|_| SessionId(frame.u16(14))));
        }
        pair.acknowledge();
    }
    assert_eq!(types, [SCCCN, ICRQ, ICRQ, ICRQ]);
    sessions.sort();
    assert_eq!(asked, sessions);
}

#[test]
fn calls_that_cannot_be_placed() {
    // A peer that accepts synchronous framing only, and has no bearers.
    let mut lac = sccrq(&[]);
    let framing = lac.windows(10).position(|w| w[..6] == [0x80, 10, 0, 0, 0, 3]).unwrap() + 9;
    lac[framing] = 1;
    let mut pair = Pair::accept(Config { sessions_max: 1, ..config() }, &lac).unwrap();
    pair.frames();
    pair.send(0, SCCCN_AVPS);
    pair.frames();
    pair.events();
    let asynchronous = CallRequest { framing_type: 2, ..request(1) };
    assert_eq!(pair.tunnel.place_call(pair.now, asynchronous), Err(CannotPlace::NotOffered));
    let any = pair.tunnel.place_outgoing_call(pair.now, outgoing());
    assert_eq!(any, Err(CannotPlace::NotOffered));
    assert_eq!(pair.tunnel.session_count(), 0);
    // What is not offered is left out.
    let session = pair.tunnel.place_call(pair.now, request(1)).unwrap();
    pair.frames();
    pair.send(session.0, &icrp(&[0, 5]));
    assert_eq!(pair.frames()[0].avp(19), Some(&[0, 0, 0, 1][..]));
    pair.events();
    assert_eq!(pair.tunnel.place_call(pair.now, request(2)), Err(CannotPlace::NoRoom));
    pair.tunnel.close(pair.now, TunnelResult::Cleared, None, "");
    assert_eq!(pair.tunnel.place_call(pair.now, request(2)), Err(CannotPlace::Closed));
    assert_eq!(pair.events().len(), 2);
}

#[test]
fn errors_of_the_line_are_reported_once_a_minute() {
    let mut pair = Pair::established();
    let session = pair.tunnel.place_call(pair.now, request(1)).unwrap();
    let errors = CallErrors { crc: 1, timeouts: 2, ..CallErrors::default() };
    assert!(!pair.tunnel.report_errors(pair.now, session, errors), "it is not up");
    pair.frames();
    pair.send(session.0, &icrp(&[0, 5]));
    pair.events();
    pair.frames();
    assert!(pair.tunnel.report_errors(pair.now, session, errors));
    pair.acknowledge();
    let frames = pair.frames();
    assert_eq!((frames[0].message_type(), frames[0].session_id), (WEN, 5));
    let mut value = [0; 26];
    (value[5], value[21]) = (1, 2);
    assert_eq!(frames[0].avp(34), Some(&value[..]));
    pair.acknowledge();
    pair.now = pair.now + milliseconds(59_999);
    assert!(!pair.tunnel.report_errors(pair.now, session, errors));
    pair.now = pair.now + milliseconds(1);
    assert!(pair.tunnel.report_errors(pair.now, session, errors));
    // SLI is the LNS's to send, and WEN not.
    let sli = Sli { send_accm: 1, receive_accm: 2 };
    assert!(!pair.tunnel.set_link_info(pair.now, session, sli));
    let theirs = Pair::established();
    let mut pair = theirs;
    let session = pair.connect(6);
    assert!(!pair.tunnel.report_errors(pair.now, session, errors));
    assert!(pair.tunnel.set_link_info(pair.now, session, sli));
    pair.acknowledge();
    let frames = pair.frames();
    assert_eq!((frames[0].message_type(), frames[0].session_id), (SLI, 6));
    assert_eq!(frames[0].avp(35), Some(&[0, 0, 0, 0, 0, 1, 0, 0, 0, 2][..]));
    assert!(!pair.tunnel.set_link_info(pair.now, SessionId(999), sli));
}

#[test]
fn an_outgoing_call_from_us() {
    let mut pair = with_bearers(config());
    let request = OutgoingRequest {
        call_serial_number: 4,
        minimum_bps: 64_000,
        maximum_bps: 128_000,
        bearer_type: 1,
        framing_type: 1,
        called_number: b"0123".to_vec(),
        sub_address: Some(b"9".to_vec()),
    };
    let session = pair.tunnel.place_outgoing_call(pair.now, request).unwrap();
    let frames = pair.frames();
    let id = session.0.to_be_bytes();
    let expected: [(u8, u16, &[u8]); 9] = [
        (0x80, 0, &[0, 7]),
        (0x80, 14, &id),
        (0x80, 15, &[0, 0, 0, 4]),
        (0x80, 16, &[0, 0, 0xfa, 0]),
        (0x80, 17, &[0, 1, 0xf4, 0]),
        (0x80, 18, &[0, 0, 0, 1]),
        (0x80, 19, &[0, 0, 0, 1]),
        (0x80, 21, b"0123"),
        (0x80, 23, b"9"),
    ];
    assert_eq!((avps(&frames[0]), frames[0].session_id), (expected.to_vec(), 0));
    assert!(pair.tunnel.pending.is_empty());
    // The telephone rings for most of a minute, after most of a minute without an OCRP.
    pair.acknowledge();
    assert_eq!(pair.schedule(seconds(55)), []);
    pair.send(session.0, &ocrp(&[0, 5]));
    assert_eq!(pair.schedule(seconds(55)), [(250, ZLB)]);
    assert!(pair.events().is_empty());
    let occn: [RawAvp<'_>; 5] = [
        (0x80, 0, &[0, 9]),
        (0x80, 24, &[0, 0, 0x27, 0x10]),
        (0x80, 19, FOUR),
        (0, 38, &[0, 0, 0, 9]),
        (0x80, 39, b""),
    ];
    pair.send(session.0, &occn);
    let events = pair.events();
    let [Event::CallConnected { session: connected, iccn }] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!((*connected, iccn.tx_connect_speed, iccn.upstream_speed()), (session, 10_000, 9));
    assert!(iccn.sequencing_required && iccn.proxy_authen_type.is_none());
    assert_eq!(pair.types(), [ZLB]);
    assert_eq!(pair.tunnel.session(session).unwrap().peer_session_id(), SessionId(5));
    // We are the LNS of it.
    assert!(pair.tunnel.set_link_info(pair.now, session, Sli { send_accm: 0, receive_accm: 0 }));
}

#[test]
fn an_outgoing_call_asks_for_what_is_offered() {
    let mut pair = Pair::established_with(config(), &[(0x80, 4, &[0, 0, 0, 2])]);
    pair.tunnel.place_outgoing_call(pair.now, outgoing()).unwrap();
    let frames = pair.frames();
    assert_eq!(frames[0].avp(18), Some(&[0, 0, 0, 2][..]));
    assert_eq!(frames[0].avp(19), Some(&[0, 0, 0, 3][..]));
    let digital = OutgoingRequest { bearer_type: 1, ..outgoing() };
    let placed = pair.tunnel.place_outgoing_call(pair.now, digital);
    assert_eq!(placed, Err(CannotPlace::NotOffered));
    // Asked for before the tunnel is up, of a peer with one framing.
    let mut pair = Pair::originate(config());
    pair.frames();
    pair.tunnel.place_outgoing_call(pair.now, outgoing()).unwrap();
    pair.send(
        0,
        &[
            (0x80, 0, &[0, 2]),
            (0x80, 2, &[1, 0]),
            (0x80, 3, &[0, 0, 0, 1]),
            (0x80, 7, b"lac"),
            (0x80, 9, &[0x10, 0x01]),
            (0x80, 4, &[0, 0, 0, 1]),
        ],
    );
    let ocrq = pair.frames().pop().unwrap();
    assert_eq!(ocrq.avp(18), Some(&[0, 0, 0, 1][..]));
    assert_eq!(ocrq.avp(19), Some(&[0, 0, 0, 1][..]));
}

#[test]
fn an_outgoing_call_from_us_that_fails() {
    let cdn: [RawAvp<'_>; 3] = [(0x80, 0, &[0, 14]), (0x80, 1, &[0, 8]), (0x80, 14, &[0, 5])];
    for rings in [false, true] {
        let mut pair = with_bearers(config());
        let session = pair.tunnel.place_outgoing_call(pair.now, outgoing()).unwrap();
        pair.frames();
        if rings {
            pair.send(session.0, &ocrp(&[0, 5]));
        }
        pair.send(session.0, &cdn);
        let events = pair.events();
        let [Event::CallEnded { cause: CallCause::Peer(cdn), .. }] = &events[..] else {
            panic!("{events:?}");
        };
        assert_eq!(cdn.result.as_call(), CallResult::Busy);
        assert!(pair.tunnel.by_peer_id.is_empty());
    }
    // Nobody answers: result 10, a minute after OCRP.
    let mut pair = with_bearers(config());
    let session = pair.tunnel.place_outgoing_call(pair.now, outgoing()).unwrap();
    pair.frames();
    pair.send(session.0, &ocrp(&[0, 5]));
    pair.schedule(seconds(1));
    let sent = pair.pass(seconds(59));
    assert_eq!((sent.len(), sent[0].1.message_type(), sent[0].1.session_id), (1, CDN, 5));
    assert_eq!(pair.events(), [Event::CallEnded { session, cause: CallCause::SetupTimeout }]);
}

#[test]
fn messages_that_do_not_fit_our_outgoing_call() {
    let icrq: [RawAvp<'_>; 3] = [(0x80, 0, &[0, 10]), (0x80, 14, &[0, 9]), (0x80, 15, FOUR)];
    let occn: [RawAvp<'_>; 3] = [(0x80, 0, &[0, 9]), (0x80, 24, FOUR), (0x80, 19, FOUR)];
    // While OCRP is awaited, then while OCCN is.
    for (rings, avps) in [
        (false, &occn[..]),
        (false, &OCRQ_AVPS),
        (false, &icrq),
        (false, &icrp(&[0, 9])),
        (true, &ocrp(&[0, 9])),
        (true, &OCRQ_AVPS),
        (true, ICCN_AVPS),
    ] {
        let mut pair = with_bearers(config());
        let session = pair.tunnel.place_outgoing_call(pair.now, outgoing()).unwrap();
        pair.frames();
        if rings {
            pair.send(session.0, &ocrp(&[0, 5]));
        }
        pair.send(session.0, avps);
        pair.acknowledge();
        let cdn = pair.frames().into_iter().find(|frame| frame.message_type() == CDN).unwrap();
        assert_eq!(cdn.u16(14), session.0);
        let events = pair.events();
        assert!(matches!(events[..], [Event::CallEnded { cause: CallCause::Protocol(_), .. }]));
    }
    // An OCRP whose identifier is in use, and one of no call.
    let mut pair = with_bearers(config());
    pair.connect(5);
    let session = pair.tunnel.place_outgoing_call(pair.now, outgoing()).unwrap();
    pair.acknowledge();
    pair.frames();
    pair.send(session.0, &ocrp(&[0, 5]));
    pair.acknowledge();
    assert!(pair.types().contains(&CDN));
    pair.send(999, &ocrp(&[0, 6]));
    assert_eq!(pair.events().len(), 1);
}

#[test]
fn we_are_asked_to_call() {
    let mut pair = with_bearers(places_calls());
    pair.send(0, &OCRQ_AVPS);
    let events = pair.events();
    let [Event::OutgoingCall { session, ocrq }] = &events[..] else { panic!("{events:?}") };
    let session = *session;
    assert_eq!((&ocrq.called_number[..], ocrq.maximum_bps), (&b"123"[..], 0xffff));
    assert!(pair.frames().is_empty());
    // The same again, before and after our answer (docs/peers.md row 21).
    pair.send(0, &OCRQ_AVPS);
    pair.tunnel.accept_outgoing_call(pair.now, session);
    pair.tunnel.accept_outgoing_call(pair.now, session);
    let frames = pair.frames();
    let [ocrp] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!((ocrp.message_type(), ocrp.session_id, ocrp.u16(14)), (OCRP, 8, session.0));
    pair.send(0, &OCRQ_AVPS);
    assert_eq!(pair.types(), [OCRP]);
    assert!(pair.events().is_empty());
    let answer = Answer {
        tx_connect_speed: 64_000,
        rx_connect_speed: Some(32_000),
        framing_type: 1,
        sequencing_required: true,
    };
    pair.tunnel.outgoing_call_connected(pair.now, session, answer);
    pair.tunnel.outgoing_call_connected(pair.now, session, answer);
    let events = pair.events();
    let [Event::CallConnected { iccn, .. }] = &events[..] else { panic!("{events:?}") };
    assert!(iccn.sequencing_required && iccn.upstream_speed() == 32_000);
    pair.acknowledge();
    let frames = pair.frames();
    let [occn] = &frames[..] else { panic!("{frames:?}") };
    let expected: [(u8, u16, &[u8]); 5] = [
        (0x80, 0, &[0, 9]),
        (0x80, 24, &[0, 0, 0xfa, 0]),
        (0x80, 19, FOUR),
        (0x00, 38, &[0, 0, 0x7d, 0]),
        (0x80, 39, b""),
    ];
    assert_eq!((occn.message_type(), occn.session_id, avps(occn)), (OCCN, 8, expected.to_vec()));
    // We are the LAC of it.
    assert!(pair.tunnel.report_errors(pair.now, session, CallErrors::default()));
}

#[test]
fn we_are_asked_to_call_and_cannot() {
    // Not at all; not on that bearer.
    let analogue = Config { bearer_capabilities: Some(2), ..config() };
    for config in [config(), analogue] {
        let mut pair = with_bearers(config);
        pair.send(0, &OCRQ_AVPS);
        let frames = pair.frames();
        assert_eq!((frames[0].message_type(), frames[0].session_id), (CDN, 8));
        assert_eq!(frames[0].avp(1).unwrap()[..2], [0, 5]);
        assert!(pair.events().is_empty());
    }
    let asked = || {
        let mut pair = with_bearers(places_calls());
        pair.send(0, &OCRQ_AVPS);
        let events = pair.events();
        let [Event::OutgoingCall { session, .. }] = events[..] else { panic!("{events:?}") };
        (pair, session)
    };
    // The owner refuses; the line is busy.
    for accepted in [false, true] {
        let (mut pair, session) = asked();
        if accepted {
            pair.tunnel.accept_outgoing_call(pair.now, session);
            pair.frames();
            pair.acknowledge();
        }
        pair.tunnel.refuse_call(pair.now, session, CallResult::Busy, None, "busy");
        let frames = pair.frames();
        assert_eq!((frames[0].message_type(), frames[0].session_id), (CDN, 8));
        assert_eq!(pair.events(), [Event::CallEnded { session, cause: CallCause::Local }]);
    }
    // It is not for an ICRP's or OCCN's sender, and an ICRQ cannot have its identifier.
    let icrq: [RawAvp<'_>; 3] = [(0x80, 0, &[0, 10]), (0x80, 14, &[0, 8]), (0x80, 15, FOUR)];
    let occn: [RawAvp<'_>; 3] = [(0x80, 0, &[0, 9]), (0x80, 24, FOUR), (0x80, 19, FOUR)];
    for (in_header, avps) in
        [(true, &occn[..]), (true, &ocrp(&[0, 9])), (true, &icrp(&[0, 9])), (false, &icrq)]
    {
        let (mut pair, session) = asked();
        pair.tunnel.accept_outgoing_call(pair.now, session);
        pair.frames();
        pair.send(if in_header { session.0 } else { 0 }, avps);
        assert!(pair.types().contains(&CDN));
        let events = pair.events();
        assert!(matches!(events[..], [Event::CallEnded { cause: CallCause::Protocol(_), .. }]));
    }
    // Another call with the same identifier: the first is over.
    let (mut pair, session) = asked();
    let mut other = OCRQ_AVPS;
    other[2] = (0x80, 15, &[0, 0, 0, 2]);
    pair.send(0, &other);
    assert_eq!(pair.types(), [CDN]);
    assert_eq!(pair.events().len(), 1);
    assert!(pair.tunnel.session(session).is_none());
    // Nobody said how it went.
    let (mut pair, session) = asked();
    pair.tunnel.accept_outgoing_call(pair.now, session);
    pair.frames();
    pair.acknowledge();
    let sent = pair.schedule(seconds(60));
    assert_eq!(sent, [(60_000, CDN)]);
    assert_eq!(pair.events(), [Event::CallEnded { session, cause: CallCause::SetupTimeout }]);
}

#[test]
fn a_tunnel_without_calls_is_closed_where_it_is_to_be() {
    // docs/peers.md row 32.
    let hello_interval = Duration::ZERO;
    let config = Config { idle_timeout: seconds(30), hello_interval, ..config() };
    let mut pair = Pair::established_with(config, &[]);
    assert_eq!(pair.schedule(milliseconds(29_999)), []);
    let session = pair.connect(5);
    pair.acknowledge();
    assert_eq!(pair.schedule(seconds(300)), []);
    pair.tunnel.disconnect_call(pair.now, session, CallResult::Administrative, None, "", None);
    pair.frames();
    pair.acknowledge();
    pair.events();
    assert_eq!(pair.schedule(seconds(30)), [(30_000, STOP_CCN)]);
    assert_eq!(pair.events(), [Event::Closed { cause: TunnelCause::Idle }]);
    // And not where not.
    let mut pair = Pair::established_with(Config { hello_interval, ..super::config() }, &[]);
    assert_eq!(pair.schedule(seconds(3000)), []);
}

#[test]
fn a_header_with_tunnel_id_0_is_taken_where_it_is_to_be() {
    // docs/peers.md row 26: the owner finds the tunnel by its address, and asks it.
    assert!(!Pair::established().tunnel.takes_tunnel_id_zero());
    let mut pair = Pair::established_with(Config { tunnel_id_zero: true, ..config() }, &[]);
    assert!(pair.tunnel.takes_tunnel_id_zero());
    let icrq = datagram(
        (0, 0),
        (pair.ns, pair.nr),
        &body(&[(0x80, 0, &[0, 10]), (0x80, 14, &[0, 5]), (0x80, 15, FOUR)]),
    );
    let (header, payload) = parsed(&icrq);
    pair.tunnel.handle(pair.now, &header, payload);
    assert!(matches!(pair.events()[..], [Event::IncomingCall { .. }]));
}

#[test]
fn what_an_access_node_says_of_a_line() {
    // docs/peers.md row 25: numbers of another vendor's, some with four octets.
    let mut pair = Pair::established();
    let mut icrq = body(&[(0x80, 0, &[0, 10]), (0x80, 14, &[0, 5]), (0x80, 15, FOUR)]);
    let mut add = |number: u16, value: &[u8]| {
        icrq.extend([0, 6 + value.len() as u8, 0x0d, 0xe9]);
        icrq.extend(number.to_be_bytes());
        icrq.extend(value);
    };
    add(1, b"node eth 1/1");
    add(2, b"customer");
    add(129, &[0, 0, 0, 0, 0, 0x98, 0x96, 0x80]);
    add(130, &[0, 0, 0, 2, 0x54, 0x0b, 0xe4, 0]);
    add(133, &[0, 1, 0, 0]);
    add(142, &[0, 0, 0, 8]);
    add(144, &[1, 2, 1]);
    // Wrong sizes are as good as nothing, and so is what nobody knows.
    add(131, &[1, 2, 3]);
    add(200, b"?");
    pair.send_numbered(0, (pair.ns, pair.nr), &icrq);
    let events = pair.events();
    let [Event::IncomingCall { icrq, .. }] = &events[..] else { panic!("{events:?}") };
    let expected = AccessLine {
        agent_circuit_id: Some(b"node eth 1/1".to_vec()),
        agent_remote_id: Some(b"customer".to_vec()),
        actual_rate: Directions { upstream: Some(10_000_000), downstream: Some(10_000_000_000) },
        attainable_rate: Directions { upstream: Some(65_536), downstream: None },
        actual_delay: Directions { upstream: None, downstream: Some(8) },
        encapsulation: Some([1, 2, 1]),
        ..AccessLine::default()
    };
    assert_eq!(icrq.access_line.as_deref(), Some(&expected));
}

proptest! {
    #[test]
    fn random_answers_never_panic(
        up in any::<bool>(),
        messages in prop::collection::vec(
            (0..20_u8, 0..6_usize, prop::collection::vec(any::<u8>(), 0..40), any::<u16>()), 1..40),
    ) {
        let mut pair = if up { with_bearers(places_calls()) } else { Pair::originate(places_calls()) };
        pair.frames();
        let mut sessions = vec![SessionId(0)];
        for (kind, place, rest, id) in messages {
            sessions.extend(pair.tunnel.place_call(pair.now, request(1)));
            sessions.extend(pair.tunnel.place_outgoing_call(pair.now, outgoing()));
            let session = sessions[place % sessions.len()];
            let (number, id) = ([0, kind], id.to_be_bytes());
            let mut message = body(&[(0x80, 0, &number), (0x80, 14, &id)]);
            message.extend(rest);
            pair.send_numbered(session.0, (pair.ns, pair.nr), &message);
            pair.ns = pair.ns.wrapping_add(1);
            pair.frames();
            for event in pair.events() {
                if let Event::OutgoingCall { session, .. } = event {
                    pair.tunnel.accept_outgoing_call(pair.now, session);
                }
            }
            pair.pass(milliseconds(300));
        }
        // Whatever came, the tables agree.
        let named = pair.tunnel.sessions().filter(|(_, s)| s.peer_session_id().0 != 0).count();
        prop_assert_eq!(named, pair.tunnel.by_peer_id.len());
        prop_assert!(pair.tunnel.pending.keys().all(|id| pair.tunnel.session(*id).is_some()));
    }
}
