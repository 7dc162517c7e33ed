//! Links that begin with what a LAC hands over.

use super::*;
use crate::ppp::CallMode;
use crate::ppp::proxy::{Proxy, ProxyAuthentication, Takeover, kind};

const MAGIC: &str = "05 06 11223344";
const PEER_MAGIC: &str = "05 06 55667788";

fn proxied(sent: &str, received: &str) -> Proxy {
    Proxy {
        initial_received: None,
        last_sent: Some(hex(sent)),
        last_received: Some(hex(received)),
        authentication: None,
    }
}

fn chap_proof() -> ProxyAuthentication {
    let challenge = hex("a1a2a3a4a5");
    let response = chap::respond(9, b"secret", &challenge);
    ProxyAuthentication {
        kind: kind::CHAP,
        name: b"bob".to_vec(),
        challenge,
        identifier: 9,
        response: Zeroizing::new(response.to_vec()),
    }
}

fn chap_lcp() -> Proxy {
    let sent = format!("01 04 05b4 03 05 c22305 {MAGIC} 07 02 08 02 02 06 00000000");
    proxied(&sent, &format!("01 04 0578 {PEER_MAGIC} 07 02 08 02"))
}

fn taken_over(call_mode: CallMode, proxy: &Proxy) -> (Pair, Takeover) {
    taken_over_by(Config { call_mode, ..config() }, proxy)
}

fn taken_over_by(config: Config, proxy: &Proxy) -> (Pair, Takeover) {
    let mut pair = Pair::new(config);
    let takeover = pair.link.open_with_proxy(pair.now, proxy, &mut pair.rng);
    pair.drain();
    (pair, takeover)
}

#[test]
fn lcp_and_proof_are_taken_over_and_checked_again() {
    let proxy = Proxy { authentication: Some(chap_proof()), ..chap_lcp() };
    let (mut pair, takeover) = taken_over(CallMode::Proxy, &proxy);
    assert_eq!(takeover, Takeover::Authentication);
    let agreed = pair.link.agreed();
    assert_eq!((agreed.peer_mru, agreed.local_mru), (1400, 1460));
    assert_eq!((agreed.magic, agreed.peer_magic), (0x1122_3344, 0x5566_7788));
    assert!(agreed.send_acfc && agreed.send_pfc);
    pair.expect_event(Event::LcpUp { agreed });
    let credentials = pair.expect_credentials();
    assert!(verdict(&credentials).is_ok());
    pair.expect_silence();
    assert_eq!(pair.link.phase(), Phase::Authenticate);
    pair.accept();
    pair.expect("c223 03 09 000b 57656c636f6d65");
    pair.expect("8021 01 01 000a 03 06 64400001");
    // As in any other open link the peer may begin anew.
    pair.send("ff03 c021 01 01 0004");
    assert_eq!(pair.next()[..5], hex("ff03 c021 01"));
    assert_eq!(pair.link.phase(), Phase::Establish);
}

#[test]
fn a_wrong_proof_is_refused_as_if_it_had_been_given_here() {
    let proxy = Proxy { authentication: Some(chap_proof()), ..chap_lcp() };
    let (mut pair, _) = taken_over(CallMode::Proxy, &proxy);
    pair.refuse("no");
    pair.expect("c223 04 09 0006 6e6f");
    assert_eq!(pair.next()[..5], hex("ff03 c021 05"));
}

#[test]
fn pap_is_taken_over() {
    let sent = format!("01 04 05b4 03 04 c023 {MAGIC}");
    let proof = ProxyAuthentication {
        kind: kind::PAP,
        name: b"bob".to_vec(),
        challenge: Vec::new(),
        identifier: 4,
        response: Zeroizing::new(b"secret".to_vec()),
    };
    let proxy = Proxy { authentication: Some(proof), ..proxied(&sent, "") };
    let (mut pair, takeover) = taken_over(CallMode::Proxy, &proxy);
    assert_eq!(takeover, Takeover::Authentication);
    pair.events.pop_front();
    assert!(verdict(&pair.expect_credentials()).is_ok());
    pair.accept();
    pair.expect("ff03 c023 02 04 000c 07 57656c636f6d65");
}

#[test]
fn ms_chap_v2_is_taken_over() {
    let config = Config {
        authentication: vec![Authentication::MsChapV2],
        call_mode: CallMode::Proxy,
        ..config()
    };
    let sent = format!("01 04 05b4 03 05 c22381 {MAGIC}");
    let (authenticator_challenge, peer_challenge) = ([7; 16], [8; 16]);
    let exchange = mschap::Exchange {
        authenticator_challenge: &authenticator_challenge,
        peer_challenge: &peer_challenge,
        name: b"bob",
    };
    let response = mschap::Response { peer_challenge, nt_response: exchange.nt_response("secret") };
    let proof = ProxyAuthentication {
        challenge: authenticator_challenge.to_vec(),
        response: Zeroizing::new(response.emit().to_vec()),
        ..chap_proof()
    };
    let proxy = Proxy { authentication: Some(proof), ..proxied(&sent, "") };
    let (mut pair, takeover) = taken_over_by(config, &proxy);
    assert_eq!(takeover, Takeover::Authentication);
    pair.events.pop_front();
    let granted = verdict(&pair.expect_credentials());
    pair.link.authenticated(pair.now, granted);
    pair.drain();
    let success = pair.next();
    assert_eq!(success[..6], hex("ff03 c223 03 09"));
    assert_eq!(success[8..10], *b"S=");
}

#[test]
fn a_proof_that_cannot_be_checked_is_asked_for_again() {
    for proof in [
        None,
        Some(ProxyAuthentication { kind: kind::NONE, ..chap_proof() }),
        Some(ProxyAuthentication { kind: kind::TEXT, ..chap_proof() }),
        Some(ProxyAuthentication { kind: kind::PAP, ..chap_proof() }),
        Some(ProxyAuthentication { kind: kind::MS_CHAP, ..chap_proof() }),
        Some(ProxyAuthentication { kind: 77, ..chap_proof() }),
        Some(ProxyAuthentication { challenge: Vec::new(), ..chap_proof() }),
        Some(ProxyAuthentication { response: Zeroizing::new(vec![1; 15]), ..chap_proof() }),
        Some(ProxyAuthentication { name: vec![b'n'; 254], ..chap_proof() }),
    ] {
        let proxy = Proxy { authentication: proof, ..chap_lcp() };
        let (mut pair, takeover) = taken_over(CallMode::Proxy, &proxy);
        assert_eq!(takeover, Takeover::Lcp, "{:?}", proxy.authentication);
        assert_eq!(pair.next()[..3], hex("c223 01"));
        assert_eq!(pair.events.len(), 1, "LCP is up");
    }
}

#[test]
fn mandatory_chap_keeps_lcp_and_challenges_again() {
    let proxy = Proxy { authentication: Some(chap_proof()), ..chap_lcp() };
    let (mut pair, takeover) = taken_over(CallMode::MandatoryChap, &proxy);
    assert_eq!(takeover, Takeover::Lcp);
    let challenge = [hex("ff03"), pair.next()].concat();
    pair.send_octets(&respond(&challenge)[2..]);
    pair.events.pop_front();
    assert!(verdict(&pair.expect_credentials()).is_ok());

    let sent = format!("01 04 05b4 03 04 c023 {MAGIC}");
    let (mut pair, takeover) = taken_over(CallMode::MandatoryChap, &proxied(&sent, ""));
    assert!(matches!(takeover, Takeover::Renegotiated(_)));
    assert_eq!(pair.next()[..5], hex("ff03 c021 01"));
}

#[test]
fn what_is_not_acceptable_is_negotiated_again() {
    let auth = "03 05 c22305";
    let sent = format!("01 04 05b4 {auth} {MAGIC}");
    for (sent, received, why) in [
        (format!("01 04 05d4 {auth}"), "", "an MRU above ours"),
        (auth.to_owned(), "", "the default MRU, which is above ours"),
        (format!("01 04 05b4 {MAGIC}"), "", "no authentication"),
        (format!("01 04 05b4 03 04 c227 {MAGIC}"), "", "EAP"),
        (format!("01 04 05b4 03 05 c22381 {MAGIC}"), "", "MS-CHAPv2, which is not wanted"),
        (format!("{sent} 11 04 05dc"), "", "multilink asked for"),
        (format!("{sent} 07 03 00"), "", "an option of a wrong length"),
        (sent.clone(), "11 04 05dc", "multilink granted"),
        (sent.clone(), "01 04 0080", "an MRU below the floor"),
        (sent.clone(), "05 06 00000000", "no magic number in its option"),
        (sent.clone(), "03 04 c023", "our own authentication"),
        (sent.clone(), "01 04", "a list that is none"),
        ("01".to_owned(), "", "another one"),
    ]
    .map(|(sent, received, why)| (sent, received.to_owned(), why))
    {
        let (mut pair, takeover) = taken_over(CallMode::Proxy, &proxied(&sent, &received));
        assert!(matches!(takeover, Takeover::Renegotiated(_)), "{why}");
        assert_eq!(pair.next()[..5], hex("ff03 c021 01"), "{why}");
        assert_eq!(pair.link.phase(), Phase::Establish);
        assert!(pair.events.is_empty());
    }
    for proxy in [
        Proxy { last_sent: None, ..chap_lcp() },
        Proxy { last_received: None, ..chap_lcp() },
        Proxy::default(),
    ] {
        let (_, takeover) = taken_over(CallMode::Proxy, &proxy);
        assert!(matches!(takeover, Takeover::Renegotiated(_)));
    }
    let (_, takeover) = taken_over(CallMode::Renegotiate, &chap_lcp());
    assert!(matches!(takeover, Takeover::Renegotiated(_)));
}

/// The subscriber was quicker: its request is answered in the open link, which begins anew.
#[test]
fn a_request_that_came_first_makes_lcp_begin_anew() {
    let mut pair = Pair::new(Config { call_mode: CallMode::Proxy, ..config() });
    pair.send("ff03 c021 01 01 0004");
    let takeover = pair.link.open_with_proxy(pair.now, &chap_lcp(), &mut pair.rng);
    assert_eq!(takeover, Takeover::Lcp);
    pair.drain();
    assert_eq!(pair.link.phase(), Phase::Establish);
    pair.next();
    assert_eq!(pair.next()[..5], hex("ff03 c021 01"));
    pair.expect("ff03 c021 02 01 0004");
}

#[test]
fn a_secret_that_was_handed_over_is_not_shown_by_debug() {
    let proof =
        ProxyAuthentication { response: Zeroizing::new(b"hunter2".to_vec()), ..chap_proof() };
    let text = format!("{proof:?}");
    assert!(text.contains("bob") && !text.contains("104"), "{text}");
}
