use proptest::prelude::*;

use super::*;
use crate::l2tp::avp::Hide;
use crate::l2tp::raw_tests::{body, datagram};
use crate::l2tp::result::{CallResult, PppDisconnectCause, PppDisconnectCode, TunnelResult};
use crate::l2tp::secret::SecretBytes;

const TYPE: u16 = 0;

fn sccrq() -> Vec<(u8, u16, &'static [u8])> {
    vec![
        (0x80, TYPE, &[0, 1]),
        (0x80, 2, &[1, 0]),
        (0x80, 3, &[0, 0, 0, 3]),
        (0x80, 7, b"lac"),
        (0x80, 9, &[0x12, 0x34]),
    ]
}

fn icrq() -> Vec<(u8, u16, &'static [u8])> {
    vec![(0x80, TYPE, &[0, 10]), (0x80, 14, &[0, 5]), (0x80, 15, &[0, 0, 0, 9])]
}

#[test]
fn a_small_sccrq() {
    let Message::Sccrq(sccrq) = Message::decode(&body(&sccrq()), None).unwrap() else {
        panic!("not an SCCRQ");
    };
    assert_eq!(sccrq.assigned_tunnel_id, TunnelId(0x1234));
    assert_eq!(sccrq.host_name, b"lac");
    assert_eq!((sccrq.receive_window, sccrq.challenge), (None, None));
}

#[test]
fn sccrq_without_what_it_must_have() {
    for missing in 1..sccrq().len() {
        let mut avps = sccrq();
        let (_, number, _) = avps.remove(missing);
        let reject = Message::decode(&body(&avps), None).unwrap_err();
        assert_eq!(reject.scope, Scope::Tunnel);
        assert_eq!(reject.result.as_tunnel(), TunnelResult::Error);
        assert_eq!(reject.result.error, Some(ErrorCode::Value));
        assert!(reject.result.message.ends_with(&format!("({number})")), "{reject:?}");
        let addressee = (number != 9).then_some(TunnelId(0x1234));
        assert_eq!(reject.assigned_tunnel_id, addressee);
    }
}

#[test]
fn icrq_without_what_it_must_have() {
    assert!(Message::decode(&body(&icrq()), None).is_ok());
    for missing in 1..icrq().len() {
        let mut avps = icrq();
        let (_, number, _) = avps.remove(missing);
        let reject = Message::decode(&body(&avps), None).unwrap_err();
        assert_eq!(reject.scope, Scope::Session);
        assert_eq!(reject.assigned_session_id, (number != 14).then_some(SessionId(5)));
    }
}

#[test]
fn values_out_of_range() {
    for (number, value, error) in [
        (9, &[0, 0][..], ErrorCode::Value),
        (10, &[0, 0], ErrorCode::Value),
        (9, &[1], ErrorCode::Length),
        (3, &[0, 0, 3], ErrorCode::Length),
        (5, &[1, 2, 3], ErrorCode::Length),
    ] {
        let mut avps = sccrq();
        avps.retain(|avp| avp.1 != number);
        avps.push((0x80, number, value));
        let reject = Message::decode(&body(&avps), None).unwrap_err();
        assert_eq!(reject.result.error, Some(error), "{number}");
    }
}

#[test]
fn protocol_versions() {
    for (version, accepted) in [([1, 0], true), ([1, 9], true), ([2, 0], false), ([0, 1], false)] {
        let mut avps = sccrq();
        // docs/peers.md row 41: M is not set.
        avps[1] = (0, 2, &version);
        match Message::decode(&body(&avps), None) {
            Ok(_) => assert!(accepted),
            Err(reject) => {
                assert!(!accepted);
                assert_eq!(reject.result.as_tunnel(), TunnelResult::Version);
                assert_eq!(reject.result.error, Some(ErrorCode::Other(0x0100)));
            }
        }
    }
}

#[test]
fn message_types() {
    // Unknown: with M the tunnel ends, without it is skipped.
    let reject = Message::decode(&body(&[(0x80, TYPE, &[0, 13])]), None).unwrap_err();
    assert_eq!((reject.scope, reject.result.error), (Scope::Tunnel, Some(ErrorCode::UnknownAvp)));
    let skipped = Message::decode(&body(&[(0, TYPE, &[1, 0])]), None);
    assert_eq!(skipped, Ok(Message::Unknown(256)));
    // Not the first AVP, hidden, reserved bit, wrong size, nothing at all.
    for avps in [
        &[(0x80, 7, &b"lac"[..]), (0x80, TYPE, &[0, 1])][..],
        &[(0xc0, TYPE, &[0, 6])],
        &[(0x84, TYPE, &[0, 6])],
        &[(0x80, TYPE, &[6])],
        &[(0x80, TYPE, &[0, 6, 0])],
        &[],
    ] {
        assert!(Message::decode(&body(avps), None).is_err(), "{avps:?}");
    }
}

#[test]
fn an_unknown_mandatory_avp_names_itself() {
    let mut avps = icrq();
    avps.insert(1, (0x80, 500, b""));
    let reject = Message::decode(&body(&avps), None).unwrap_err();
    assert_eq!(reject.scope, Scope::Session);
    assert_eq!(reject.result.error, Some(ErrorCode::UnknownAvp));
    assert!(reject.result.message.contains("500"));
    assert_eq!(reject.assigned_session_id, Some(SessionId(5)));
}

#[test]
fn host_names_lose_their_nul() {
    // docs/peers.md row 2.
    for (name, read) in [(&b"mac\0"[..], &b"mac"[..]), (b"mac", b"mac"), (b"\0", b"")] {
        let mut avps = sccrq();
        avps[3] = (0x80, 7, name);
        let message = Message::decode(&body(&avps), None).unwrap();
        assert!(matches!(&message, Message::Sccrq(sccrq) if sccrq.host_name == read));
    }
}

#[test]
fn connect_speeds_as_numbers_and_as_text() {
    // docs/peers.md rows 15 and 17.
    for (tx, rx, expected) in [
        (&[0, 0, 0x70, 0x80][..], None, (28800, 28800)),
        (b"28800", Some(&b"33600"[..]), (28800, 33600)),
        (b"115200\0", Some(&[0, 0, 0, 1][..]), (115_200, 1)),
        (b"fast", Some(&b"faster"[..]), (u32::from_be_bytes(*b"fast"), 0x6661_7374)),
        (b"quick", None, (0, 0)),
    ] {
        let mut avps: Vec<(u8, u16, &[u8])> =
            vec![(0x80, TYPE, &[0, 12]), (0x80, 24, tx), (0x80, 19, &[0, 0, 0, 1])];
        avps.extend(rx.map(|rx| (0, 38, rx)));
        let Message::Iccn(iccn) = Message::decode(&body(&avps), None).unwrap() else {
            panic!("not an ICCN");
        };
        assert_eq!((iccn.tx_connect_speed, iccn.upstream_speed()), expected);
    }
}

#[test]
fn ends_are_read_whatever_is_wrong_with_them() {
    // docs/peers.md row 1: the result in host order within eight octets.
    let result = [1, 0, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa];
    for (avps, code, tunnel_id) in [
        (vec![(0x80, 9, &[0, 7][..]), (0x80, 1, &result)], 1, Some(TunnelId(7))),
        (vec![(0x80, 1, &[0, 6])], 6, None),
        (
            vec![(0x80, 9, &[0, 7]), (0x80, 900, b""), (0x80, 1, &[0, 2, 0, 4])],
            2,
            Some(TunnelId(7)),
        ),
        (vec![], 0, None),
    ] {
        let mut all = vec![(0x80, TYPE, &[0, 4][..])];
        all.extend(avps);
        let Message::StopCcn(stop_ccn) = Message::decode(&body(&all), None).unwrap() else {
            panic!("not a StopCCN");
        };
        assert_eq!((stop_ccn.result.code, stop_ccn.assigned_tunnel_id), (code, tunnel_id));
    }
    // docs/peers.md row 27: no Assigned Session ID.
    let Message::Cdn(cdn) =
        Message::decode(&body(&[(0x80, TYPE, &[0, 14]), (0x80, 1, &[0, 3])]), None).unwrap()
    else {
        panic!("not a CDN");
    };
    assert_eq!((cdn.result.as_call(), cdn.assigned_session_id), (CallResult::Administrative, None));
}

#[test]
fn failover_is_not_supported() {
    // A capability is noted, a tunnel that is to be recovered is refused; what only makes sense
    // with that is skipped.
    let mut avps = sccrq();
    avps.push((0, 76, &[0, 3, 0, 0, 0x75, 0x30]));
    avps.push((0, 78, &[0; 6]));
    let Message::Sccrq(read) = Message::decode(&body(&avps), None).unwrap() else {
        panic!("not an SCCRQ");
    };
    let capability = FailoverCapability { flags: 3, recovery_time_milliseconds: 30_000 };
    assert_eq!(read.failover, Some(capability));
    for flags in [0x80, 0] {
        let mut avps = avps.clone();
        avps.push((flags, 77, &[0, 0, 0, 5, 0, 6]));
        let reject = Message::decode(&body(&avps), None).unwrap_err();
        assert_eq!((reject.scope, reject.result.as_tunnel()), (Scope::Tunnel, TunnelResult::Error));
        assert_eq!(reject.result.error, Some(ErrorCode::UnknownAvp));
        assert!(reject.result.message.contains("failover"));
        assert_eq!(reject.assigned_tunnel_id, Some(TunnelId(0x1234)));
    }
}

#[test]
fn differentiated_services_are_noted() {
    let mut avps = sccrq();
    avps.push((0, 47, &[0xb8, 0]));
    let message = Message::decode(&body(&avps), None).unwrap();
    assert!(matches!(message, Message::Sccrq(sccrq) if sccrq.control_ds == Some(0xb800)));
    let mut avps = icrq();
    avps.push((0, 48, &[0x28, 0]));
    let message = Message::decode(&body(&avps), None).unwrap();
    assert!(matches!(message, Message::Icrq(icrq) if icrq.session_ds == Some(0x2800)));
}

#[test]
fn sequencing_required_is_empty() {
    let avps: [(u8, u16, &[u8]); 4] = [
        (0x80, TYPE, &[0, 12]),
        (0x80, 24, &[0, 0, 0, 1]),
        (0x80, 19, &[0, 0, 0, 1]),
        (0x80, 39, &[]),
    ];
    let message = Message::decode(&body(&avps), None).unwrap();
    assert!(matches!(message, Message::Iccn(iccn) if iccn.sequencing_required));
}

#[test]
fn exact_octets_of_what_small_parsers_take() {
    // docs/peers.md row 6: flags C802, the datagram's length, Message Type first with M, 8 octets.
    let mut out = Vec::new();
    let icrp = Message::Icrp(Icrp { assigned_session_id: SessionId(0x0102), ..Icrp::default() });
    let numbers = (Sequence(3), Sequence(4));
    icrp.emit(&mut out, TunnelId(1), SessionId(2), numbers, None);
    #[rustfmt::skip]
    assert_eq!(out, [
        0xc8, 2, 0, 28, 0, 1, 0, 2, 0, 3, 0, 4,
        0x80, 8, 0, 0, 0, 0, 0, 11,
        0x80, 8, 0, 0, 0, 14, 1, 2,
    ]);
}

#[test]
fn unassigned_datagrams() {
    let datagram = |body: &[u8]| {
        let out = datagram((0, 0), (0, 0), body);
        decode_unassigned(&crate::l2tp::header::parse(&out).unwrap(), &out, None)
    };
    assert!(matches!(datagram(&body(&sccrq())), Ok(Unassigned::Sccrq(_))));
    assert!(matches!(datagram(&body(&[(0x80, TYPE, &[0, 4])])), Ok(Unassigned::StopCcn(_))));
    assert_eq!(datagram(&body(&[(0x80, TYPE, &[0, 6])])), Ok(Unassigned::Hello));
    assert_eq!(datagram(&[]), Ok(Unassigned::Zlb));
    assert_eq!(datagram(&body(&icrq())), Ok(Unassigned::Other));
    assert_eq!(datagram(&[1, 2, 3]), Ok(Unassigned::Other));
    assert!(datagram(&body(&sccrq()[..3])).is_err());
    // One that is not the first of its connection.
    let late = crate::l2tp::raw_tests::datagram((0, 0), (1, 0), &body(&sccrq()));
    let header = crate::l2tp::header::parse(&late).unwrap();
    assert_eq!(decode_unassigned(&header, &late, None), Ok(Unassigned::Other));
    // An unknown mandatory message is nobody's.
    assert_eq!(datagram(&body(&[(0x80, TYPE, &[0, 99])])), Ok(Unassigned::Other));
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(1..=255_u8, 1..60)
}

fn maybe<S: Strategy>(strategy: S) -> impl Strategy<Value = Option<S::Value>>
where
    S::Value: Clone,
{
    prop::option::of(strategy)
}

fn text() -> impl Strategy<Value = String> {
    "[a-z ä]{0,40}"
}

fn session_id() -> impl Strategy<Value = SessionId> {
    (1..=u16::MAX).prop_map(SessionId)
}

fn tunnel_id() -> impl Strategy<Value = TunnelId> {
    (1..=u16::MAX).prop_map(TunnelId)
}

fn result_code() -> impl Strategy<Value = ResultCode> {
    // Codes under 256, as others look like host order.
    (1..256_u16, text(), any::<u16>()).prop_map(|(code, message, error)| {
        let error = (error != 0 || !message.is_empty()).then_some(error.into());
        ResultCode { code, error, message }
    })
}

type Introduction =
    (u32, Option<u32>, Vec<u8>, Option<Vec<u8>>, Option<u16>, TunnelId, Option<u16>);

fn introduction() -> impl Strategy<Value = Introduction> {
    let window = maybe(1..=u16::MAX);
    let revision = maybe(any::<u16>());
    let bearer = maybe(any::<u32>());
    (any::<u32>(), bearer, bytes(), maybe(bytes()), revision, tunnel_id(), window)
}

fn control_message() -> impl Strategy<Value = Message> {
    let sccrq = (introduction(), maybe(bytes()), maybe(any::<[u8; 8]>()));
    let sccrq = sccrq.prop_map(|(introduction, challenge, tie_breaker)| {
        let (
            framing_capabilities,
            bearer_capabilities,
            host_name,
            vendor_name,
            revision,
            id,
            window,
        ) = introduction;
        Message::Sccrq(Box::new(Sccrq {
            protocol_version: PROTOCOL_VERSION,
            framing_capabilities,
            bearer_capabilities,
            host_name,
            vendor_name,
            firmware_revision: revision,
            assigned_tunnel_id: id,
            receive_window: window,
            challenge,
            tie_breaker,
            ..Sccrq::default()
        }))
    });
    let sccrp = (introduction(), maybe(bytes()), maybe(any::<[u8; 16]>()));
    let sccrp = sccrp.prop_map(|(introduction, challenge, challenge_response)| {
        let (
            framing_capabilities,
            bearer_capabilities,
            host_name,
            vendor_name,
            revision,
            id,
            window,
        ) = introduction;
        Message::Sccrp(Box::new(Sccrp {
            protocol_version: PROTOCOL_VERSION,
            framing_capabilities,
            bearer_capabilities,
            host_name,
            vendor_name,
            firmware_revision: revision,
            assigned_tunnel_id: id,
            receive_window: window,
            challenge,
            challenge_response,
            ..Sccrp::default()
        }))
    });
    let scccn = maybe(any::<[u8; 16]>())
        .prop_map(|challenge_response| Message::Scccn(Scccn { challenge_response }));
    let stop_ccn = (maybe(tunnel_id()), result_code()).prop_map(|(assigned_tunnel_id, result)| {
        Message::StopCcn(Box::new(StopCcn { assigned_tunnel_id, result }))
    });
    prop_oneof![sccrq, sccrp, scccn, stop_ccn, Just(Message::Hello)]
}

fn iccn() -> impl Strategy<Value = Message> {
    let speeds = (any::<u32>(), maybe(any::<u32>()), any::<u32>());
    let lcp = (maybe(bytes()), maybe(bytes()), maybe(bytes()));
    let proxy = (maybe(any::<u16>()), maybe(bytes()), maybe(bytes()), maybe(any::<u16>()));
    let rest = (maybe(bytes()), maybe(bytes()), any::<bool>());
    (speeds, lcp, proxy, rest).prop_map(|(speeds, lcp, proxy, rest)| {
        Message::Iccn(Box::new(Iccn {
            tx_connect_speed: speeds.0,
            rx_connect_speed: speeds.1,
            framing_type: speeds.2,
            initial_received_lcp_confreq: lcp.0,
            last_sent_lcp_confreq: lcp.1,
            last_received_lcp_confreq: lcp.2,
            proxy_authen_type: proxy.0,
            proxy_authen_name: proxy.1,
            proxy_authen_challenge: proxy.2,
            proxy_authen_id: proxy.3,
            proxy_authen_response: rest.0.map(SecretBytes::new),
            private_group_id: rest.1,
            sequencing_required: rest.2,
        }))
    })
}

fn cdn() -> impl Strategy<Value = Message> {
    let q931 = (any::<u16>(), any::<u8>(), text())
        .prop_map(|(code, message, advisory)| Q931Cause { code, message, advisory });
    let ppp = (any::<u16>(), any::<u16>(), any::<u8>(), text()).prop_map(
        |(code, protocol, direction, message)| PppDisconnectCause {
            code: PppDisconnectCode::from(code),
            protocol,
            direction,
            message,
        },
    );
    (result_code(), maybe(session_id()), maybe(q931), maybe(ppp)).prop_map(
        |(result, assigned_session_id, q931_cause, ppp_cause)| {
            Message::Cdn(Box::new(Cdn { result, assigned_session_id, q931_cause, ppp_cause }))
        },
    )
}

fn call_message() -> impl Strategy<Value = Message> {
    let icrq = (
        session_id(),
        any::<u32>(),
        (maybe(any::<u32>()), maybe(any::<u32>())),
        (maybe(bytes()), maybe(bytes()), maybe(bytes())),
    )
        .prop_map(|(assigned_session_id, call_serial_number, bearer, numbers)| {
            Message::Icrq(Box::new(Icrq {
                assigned_session_id,
                call_serial_number,
                bearer_type: bearer.0,
                physical_channel_id: bearer.1,
                calling_number: numbers.0,
                called_number: numbers.1,
                sub_address: numbers.2,
                ..Icrq::default()
            }))
        });
    let icrp = session_id().prop_map(|assigned_session_id| {
        Message::Icrp(Icrp { assigned_session_id, ..Icrp::default() })
    });
    let ocrq = (session_id(), any::<[u32; 5]>(), bytes(), maybe(bytes())).prop_map(
        |(assigned_session_id, numbers, called_number, sub_address)| {
            Message::Ocrq(Box::new(Ocrq {
                assigned_session_id,
                call_serial_number: numbers[0],
                minimum_bps: numbers[1],
                maximum_bps: numbers[2],
                bearer_type: numbers[3],
                framing_type: numbers[4],
                called_number,
                sub_address,
                ..Ocrq::default()
            }))
        },
    );
    let ocrp = (session_id(), maybe(any::<u32>())).prop_map(
        |(assigned_session_id, physical_channel_id)| {
            Message::Ocrp(Ocrp { assigned_session_id, physical_channel_id, ..Ocrp::default() })
        },
    );
    let occn = (any::<[u32; 2]>(), maybe(any::<u32>()), any::<bool>()).prop_map(
        |([tx_connect_speed, framing_type], rx_connect_speed, sequencing_required)| {
            let occn =
                Occn { tx_connect_speed, rx_connect_speed, framing_type, sequencing_required };
            Message::Occn(occn)
        },
    );
    let wen = any::<[u32; 6]>().prop_map(|errors| {
        let [crc, framing, hardware_overruns, buffer_overruns, timeouts, alignment] = errors;
        let errors =
            CallErrors { crc, framing, hardware_overruns, buffer_overruns, timeouts, alignment };
        Message::Wen(Wen { errors })
    });
    let sli = any::<[u32; 2]>()
        .prop_map(|[send_accm, receive_accm]| Message::Sli(Sli { send_accm, receive_accm }));
    prop_oneof![icrq, icrp, iccn(), ocrq, ocrp, occn, cdn(), wen, sli]
}

fn directions<T: std::fmt::Debug + Clone>(
    value: impl Strategy<Value = T> + Clone,
) -> impl Strategy<Value = Directions<T>> {
    (maybe(value.clone()), maybe(value))
        .prop_map(|(upstream, downstream)| Directions { upstream, downstream })
}

fn access_line() -> impl Strategy<Value = AccessLine> {
    let ids = (maybe(bytes()), maybe(bytes()), maybe(any::<[u8; 3]>()), maybe(any::<u32>()));
    let rates = prop::collection::vec(directions(any::<u64>()), 5);
    let delays = (directions(any::<u32>()), directions(any::<u32>()));
    (ids, rates, delays, any::<bool>()).prop_map(|(ids, rates, delays, interworking)| AccessLine {
        agent_circuit_id: ids.0,
        agent_remote_id: ids.1,
        actual_rate: rates[0],
        minimum_rate: rates[1],
        attainable_rate: rates[2],
        maximum_rate: rates[3],
        minimum_low_power_rate: rates[4],
        maximum_delay: delays.0,
        actual_delay: delays.1,
        encapsulation: ids.2,
        line_type: ids.3,
        interworking,
    })
}

type Extensions = (Option<u16>, Option<FailoverCapability>, Option<AccessLine>);

fn extensions() -> impl Strategy<Value = Extensions> {
    let failover = (any::<u16>(), any::<u32>()).prop_map(|(flags, recovery_time_milliseconds)| {
        FailoverCapability { flags, recovery_time_milliseconds }
    });
    (maybe(any::<u16>()), maybe(failover), maybe(access_line()))
}

/// Adds what later RFCs add, where the message has a place for it.
fn extended((mut message, (ds, failover, line)): (Message, Extensions)) -> Message {
    match &mut message {
        Message::Sccrq(sccrq) => (sccrq.control_ds, sccrq.failover) = (ds, failover),
        Message::Sccrp(sccrp) => (sccrp.control_ds, sccrp.failover) = (ds, failover),
        Message::Icrq(icrq) => {
            icrq.session_ds = ds;
            // One that says nothing is as good as none.
            icrq.access_line = line.filter(|line| *line != AccessLine::default()).map(Box::new);
        }
        Message::Icrp(icrp) => icrp.session_ds = ds,
        Message::Ocrq(ocrq) => ocrq.session_ds = ds,
        Message::Ocrp(ocrp) => ocrp.session_ds = ds,
        _ => {}
    }
    message
}

fn message() -> impl Strategy<Value = Message> {
    (prop_oneof![control_message(), call_message()], extensions()).prop_map(extended)
}

fn hide() -> impl Strategy<Value = Hide> {
    prop_oneof![Just(Hide::Never), Just(Hide::Secrets), Just(Hide::All)]
}

proptest! {
    #[test]
    fn round_trip(message in message(), hide in hide(), secret in any::<bool>(),
        vector in prop::collection::vec(any::<u8>(), 23..=136),
        padding in prop::collection::vec(any::<u8>(), 0..=142)) {
        let hiding =
            Hiding { hide, secret: b"secret", random_vector: &vector, padding: &padding };
        let mut out = vec![0xa5; 3];
        message.emit(
            &mut out, TunnelId(1), SessionId(2), (Sequence(3), Sequence(4)), secret.then_some(hiding),
        );
        let datagram = &out[3..];
        let header = crate::l2tp::header::parse(datagram).unwrap();
        prop_assert_eq!(usize::from(header.payload_end), datagram.len());
        let decoded = Message::decode(header.payload(datagram), Some(b"secret"));
        prop_assert_eq!(decoded, Ok(message));
    }

    #[test]
    fn mutated_messages_never_panic(message in message(), cut in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)) {
        let mut out = Vec::new();
        message.encode(&mut out, None);
        for (place, octet) in changes {
            let place = place.index(out.len());
            out[place] = octet;
        }
        out.truncate(cut.index(out.len() + 1));
        let _ = Message::decode(&out, Some(b"secret"));
    }

    #[test]
    fn random_octets_never_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Message::decode(&body, None);
        let mut typed = vec![0x80, 8, 0, 0, 0, 0, 0, body.first().copied().unwrap_or(0) % 18];
        typed.extend(&body);
        let _ = Message::decode(&typed, Some(b"secret"));
    }
}

#[test]
fn an_empty_host_name_is_refused() {
    let mut avps = sccrq();
    avps[3] = (0x80, 7, b"");
    let reject = Message::decode(&body(&avps), None).unwrap_err();
    assert_eq!(reject.result.error, Some(ErrorCode::Length));
}

#[test]
fn other_messages_without_what_they_must_have() {
    let four: &[u8] = &[0, 0, 0, 1];
    let id: (u8, u16, &[u8]) = (0x80, 14, &[0, 5]);
    let version: (u8, u16, &[u8]) = (0x80, 2, &[1, 0]);
    let sccrp = vec![version, (0x80, 3, four), (0x80, 7, b"lns"), (0x80, 9, &[0, 7])];
    let mut ocrq = vec![id, (0x80, 21, b"123")];
    ocrq.extend([15, 16, 17, 18, 19].map(|number| (0x80, number, four)));
    let connected = vec![(0x80, 24, four), (0x80, 19, four)];
    for (message_type, avps) in [
        (MessageType::Sccrp, sccrp),
        (MessageType::Icrp, vec![id]),
        (MessageType::Iccn, connected.clone()),
        (MessageType::Ocrq, ocrq),
        (MessageType::Ocrp, vec![id]),
        (MessageType::Occn, connected),
        (MessageType::Wen, vec![(0x80, 34, &[0; 26])]),
        (MessageType::Sli, vec![(0x80, 35, &[0; 10])]),
    ] {
        let number = (message_type as u16).to_be_bytes();
        let mut all: Vec<(u8, u16, &[u8])> = vec![(0x80, TYPE, &number)];
        all.extend(avps);
        assert!(Message::decode(&body(&all), None).is_ok(), "{message_type:?}");
        for missing in 1..all.len() {
            let mut avps = all.clone();
            let (_, number, _) = avps.remove(missing);
            let reject = Message::decode(&body(&avps), None).unwrap_err();
            assert_eq!(reject.scope, message_type.scope());
            assert_eq!(reject.result.error, Some(ErrorCode::Value), "{message_type:?} {number}");
        }
    }
}
