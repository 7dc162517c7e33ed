//! Nonsense: it never panics, and it takes a live link down by legal means only.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::ppp::CallMode;
use crate::ppp::proxy::{Proxy, ProxyAuthentication, Takeover};

#[test]
fn cut_and_stretched_packets_are_discarded() {
    let mut pair = Pair::with_network_up(config());
    let frame = Discard::Malformed(FrameError::FrameTruncated);
    let length = Discard::Malformed(FrameError::PacketLength);
    for (octets, discard) in [
        ("", frame),
        ("ff03", frame),
        ("ff03 c0", frame),
        ("ff03 c021", length),
        ("ff03 c021 01 01 00", length),
        ("ff03 c021 01 01 0003", length),
        ("ff03 c021 01 01 0005", length),
        ("ff03 8021 01 01 0005", length),
        ("ff03 c223 02 01 0005", length),
        ("ff03 c023 01 01 0005", length),
        ("ff03 c021 01 01 0005 01", Discard::Content),
        ("ff03 c021 01 01 0006 01 01", Discard::Content),
        ("ff03 c021 01 01 0007 01 04 05", Discard::Content),
        ("ff03 8021 01 01 0006 03 06", Discard::Content),
        ("ff03 c021 07 01 0004", Discard::Content),
        ("ff03 c021 08 01 0004", Discard::Content),
    ] {
        assert_eq!(pair.send(octets), Some(discard), "{octets}");
    }
    pair.expect_silence();
    assert!(pair.events.is_empty());
    assert_eq!(pair.link.phase(), Phase::Network);
}

use crate::ppp::FrameError;

/// Frames that a legal peer could use to restart or end a live link, or its IPCP.
fn may_end(octets: &[u8]) -> bool {
    let Ok(frame) = Frame::parse(octets) else { return false };
    let Ok(packet) = Packet::parse(frame.information) else { return false };
    match frame.protocol {
        protocol::LCP | protocol::IPCP | protocol::IPV6CP => {
            matches!(packet.code, 1 | 5 | 6 | 7)
                || (packet.code, frame.protocol) == (8, protocol::LCP)
        }
        _ => false,
    }
}

/// Octets that look like frames more often than chance would have it.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    const KNOWN: &[u16] = &[0xc021, 0x8021, 0x8057, 0xc223, 0xc023, 0x0021, 0x0057];
    let protocols = prop_oneof![proptest::sample::select(KNOWN), any::<u16>()];
    let frame =
        (any::<bool>(), protocols, 0..16_u8, any::<u8>(), vec(any::<u8>(), 0..40), any::<bool>())
            .prop_map(|(framed, protocol, code, identifier, data, length)| {
                let mut octets = if framed { hex("ff03") } else { Vec::new() };
                octets.extend_from_slice(&protocol.to_be_bytes());
                octets.extend_from_slice(&[code, identifier]);
                let length = if length { data.len() as u16 + 4 } else { u16::from(identifier) };
                octets.extend_from_slice(&length.to_be_bytes());
                octets.extend(data);
                octets
            });
    prop_oneof![frame, vec(any::<u8>(), 0..60)]
}

/// Lists of options that are acceptable more often than chance would have it.
fn options() -> impl Strategy<Value = Vec<u8>> {
    let option = prop_oneof![
        Just(hex("01 04 05b4")),
        Just(hex("03 05 c22305")),
        Just(hex("03 04 c023")),
        any::<u32>().prop_map(|magic| [&hex("05 06")[..], &magic.to_be_bytes()].concat()),
        Just(hex("07 02")),
        vec(any::<u8>(), 0..4),
    ];
    vec(option, 0..5).prop_map(|options| options.concat())
}

/// Where a link stands when nonsense sets in: a server's up to four, then a client's.
fn anywhere(stage: u8) -> Pair {
    let dual = Config { ipv6: true, ..config() };
    match stage {
        0 => Pair::new(dual),
        1 => Pair::opened(dual),
        2 => Pair::with_lcp_up(dual),
        3 => Pair::with_network(dual),
        4 => Pair::with_network_up(config()),
        5 => Pair::opened(client(&ALL)),
        6 => as_client(&ALL, "03 05 c22305", None),
        7 => as_client(&ALL, "03 05 c22381", None),
        8 => as_client(&ALL, "03 04 c023", None),
        _ => as_client(&ALL, "03 04 c023", Some("ff03 c023 02 01 0004")),
    }
}

const STAGES: u8 = 10;

const ALL: [Authentication; 3] =
    [Authentication::ChapMd5, Authentication::MsChapV2, Authentication::Pap];

/// A client whose LCP is up with an authentication protocol, and after another frame.
fn as_client(methods: &[Authentication], option: &str, then: Option<&str>) -> Pair {
    let mut pair = Pair::opened(client(methods));
    let request = pair.next();
    pair.send_octets(&acknowledge(&request));
    let option = hex(option);
    let header = [&hex("ff03 c021 01 01 00")[..], &[option.len() as u8 + 4]].concat();
    pair.send_octets(&[header, option].concat());
    if let Some(frame) = then {
        pair.send(frame);
    }
    assert!(matches!(pair.link.phase(), Phase::Authenticate | Phase::Network));
    pair
}

proptest! {
    #[test]
    fn a_live_link_stays_up(frames in vec(frames(), 1..20)) {
        let mut pair = Pair::with_network_up(config());
        for frame in frames.iter().filter(|frame| !may_end(frame)) {
            pair.send_octets(frame);
            pair.events.retain(|event| !matches!(event, Event::Identification { .. }));
            prop_assert!(pair.events.is_empty(), "{frame:02x?} {:?}", pair.events);
            prop_assert_eq!(pair.link.phase(), Phase::Network);
        }
    }

    /// At any stage, with time passing: no panic, few frames for each received, and after the end
    /// there is silence.
    #[test]
    fn nothing_panics(stage in 0..STAGES, frames in vec((frames(), 0..4000_u64), 1..30)) {
        let mut pair = anywhere(stage);
        for (frame, milliseconds) in frames {
            pair.frames.clear();
            pair.send_octets(&frame);
            prop_assert!(pair.frames.len() <= 4, "{:02x?}", pair.frames);
            if pair.events.iter().any(|event| matches!(event, Event::Authenticate(_))) {
                pair.events.clear();
                pair.accept();
            }
            pair.advance(Duration::from_millis(milliseconds));
            if pair.events.iter().any(|event| matches!(event, Event::Down { .. })) {
                pair.frames.clear();
                pair.send_octets(&frame);
                prop_assert!(pair.frames.is_empty());
                prop_assert_eq!(pair.link.poll_timeout(), None);
                return Ok(());
            }
        }
        // Whatever came, silence from here on ends a link that is not up, in bounded time.
        pair.advance(Duration::from_secs(150));
        let link = &pair.link;
        let rests = [link.ipcp.state(), link.ipv6cp.state()].iter().any(|state| {
            matches!(state, State::Opened | State::Stopped)
        });
        prop_assert!(link.phase() == Phase::Dead || (rests && link.poll_timeout().is_none()));
    }

    /// What a LAC hands over, whatever it is.
    #[test]
    fn nothing_that_is_handed_over_panics(
        lists in vec(proptest::option::of(options()), 3),
        proof in proptest::option::of((0..7_u16, vec(any::<u8>(), 0..60), vec(any::<u8>(), 0..60))),
        mandatory in any::<bool>(),
    ) {
        let call_mode = if mandatory { CallMode::MandatoryChap } else { CallMode::Proxy };
        let mut pair = Pair::new(Config { call_mode, authentication: ALL.to_vec(), ..config() });
        let proxy = Proxy {
            initial_received: lists[0].clone(),
            last_sent: lists[1].clone(),
            last_received: lists[2].clone(),
            authentication: proof.map(|(kind, challenge, response)| ProxyAuthentication {
                kind,
                name: challenge.clone(),
                challenge,
                identifier: 1,
                response: Zeroizing::new(response),
            }),
        };
        let takeover = pair.link.open_with_proxy(pair.now, &proxy, &mut pair.rng);
        pair.drain();
        let renegotiated = matches!(takeover, Takeover::Renegotiated(_));
        prop_assert_eq!(pair.link.phase() == Phase::Establish, renegotiated);
        pair.advance(Duration::from_secs(150));
        prop_assert_eq!(pair.link.phase(), Phase::Dead);
    }

    /// The peer's options, whatever they are, get one reply whose options are lawful.
    #[test]
    fn every_request_gets_one_lawful_reply(data in vec((any::<u8>(), vec(any::<u8>(), 0..8)), 0..10)) {
        let mut pair = Pair::opened(config());
        let request = pair.next();
        pair.send_octets(&acknowledge(&request));
        let mut options = Vec::new();
        for (kind, value) in &data {
            options.extend_from_slice(&[*kind, value.len() as u8 + 2]);
            options.extend_from_slice(value);
        }
        let mut frame = hex("ff03 c021 01 21");
        frame.extend_from_slice(&(options.len() as u16 + 4).to_be_bytes());
        frame.extend_from_slice(&options);
        pair.send_octets(&frame);
        let reply = pair.next();
        prop_assert_eq!(&reply[..4], &hex("ff03 c021")[..]);
        prop_assert!((2..=4).contains(&reply[4]));
        prop_assert_eq!(reply[5], 0x21);
        if reply[4] == 2 {
            prop_assert_eq!(&reply[8..], &options[..]);
        }
    }
}
