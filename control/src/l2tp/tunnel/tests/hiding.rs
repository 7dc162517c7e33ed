//! Hidden AVPs that we send.

use super::*;
use crate::l2tp::avp::{Avps, Hide};
use crate::l2tp::message::Message;

fn hides(hide: Hide) -> Config {
    Config { hide, ..with_secret(false) }
}

fn request() -> CallRequest {
    let authentication = ProxyAuthentication::Pap {
        name: b"user".to_vec(),
        identifier: 7,
        response: SecretBytes::from(&b"password"[..]),
    };
    let proxy = Proxy { authentication: Some(authentication), ..Proxy::default() };
    CallRequest {
        calling_number: Some(b"0815".to_vec()),
        bearer_type: Some(1),
        proxy: Some(Box::new(proxy)),
        private_group_id: Some(b"group".to_vec()),
        ..CallRequest::default()
    }
}

/// ICRQ and ICCN of a call, and the tunnel that sent them.
fn messages(config: Config) -> Vec<Vec<u8>> {
    let mut pair = Pair::established_with(config, &[]);
    let session = pair.tunnel.place_call(pair.now, request()).unwrap();
    let mut sent: Vec<Vec<u8>> = std::iter::from_fn(|| pair.tunnel.poll_transmit()).collect();
    pair.nr += 1;
    pair.send(session.0, &[(0x80, 0, &[0, 11]), (0x80, 14, &[0, 5])]);
    sent.extend(std::iter::from_fn(|| pair.tunnel.poll_transmit()));
    assert_eq!(sent.len(), 2);
    sent
}

/// Numbers of the hidden AVPs, and of all.
fn numbers(datagram: &[u8]) -> (Vec<u16>, Vec<u16>) {
    let (_, body) = parsed(datagram);
    let avps: Vec<_> = Avps::new(body).map(Result::unwrap).collect();
    let hidden = avps.iter().filter(|avp| avp.hidden).map(|avp| avp.number).collect();
    (hidden, avps.iter().map(|avp| avp.number).collect())
}

#[test]
fn nothing_is_hidden_unless_it_is_asked_for() {
    // docs/peers.md row 3; nor without a secret.
    let without_secret = Config { hide: Hide::All, ..config() };
    for config in [hides(Hide::Never), without_secret] {
        for datagram in messages(config) {
            let (hidden, all) = numbers(&datagram);
            assert!(hidden.is_empty() && !all.contains(&36));
        }
    }
}

#[test]
fn secrets_are_hidden() {
    let sent = messages(hides(Hide::Secrets));
    let (hidden, all) = numbers(&sent[0]);
    assert_eq!((hidden, all), (vec![22], vec![0, 14, 15, 18, 36, 22]));
    let (hidden, all) = numbers(&sent[1]);
    assert_eq!((hidden, all), (vec![30, 33], vec![0, 24, 19, 29, 36, 30, 32, 33, 37]));
    for datagram in sent {
        for secret in [&b"0815"[..], b"user", b"password"] {
            assert!(!datagram.windows(secret.len()).any(|window| window == secret));
        }
    }
}

#[test]
fn all_that_may_be_is_hidden_and_can_be_read() {
    let sent = messages(hides(Hide::All));
    let (hidden, all) = numbers(&sent[0]);
    assert_eq!((hidden, all), (vec![14, 15, 18, 22], vec![0, 36, 14, 15, 18, 22]));
    let (_, body) = parsed(&sent[1]);
    let Ok(Message::Iccn(iccn)) = Message::decode(body, Some(b"tunnel secret")) else {
        panic!("not an ICCN");
    };
    assert_eq!(iccn.proxy_authen_response.unwrap().expose(), b"password");
    assert_eq!(iccn.private_group_id.as_deref(), Some(&b"group"[..]));
    assert!(Message::decode(body, Some(b"another secret")).is_err());
    // The SCCRQ and SCCRP too: but neither version, Message Type, Host Name nor Tie Breaker.
    let config = Config { tie_breaker: true, challenge: true, ..hides(Hide::All) };
    let sccrq = Pair::originate(config).tunnel.poll_transmit().unwrap();
    let (hidden, all) = numbers(&sccrq);
    assert_eq!((hidden, all), (vec![3, 9, 8, 11], vec![0, 2, 36, 3, 7, 9, 8, 10, 11, 5]));
}

#[test]
fn no_two_messages_look_alike() {
    let mut pair = Pair::established_with(hides(Hide::All), &[]);
    let mut vectors = std::collections::BTreeSet::new();
    let mut lengths = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let session = pair.tunnel.place_call(pair.now, request()).unwrap();
        while let Some(datagram) = pair.tunnel.poll_transmit() {
            let (_, body) = parsed(&datagram);
            let vector = Avps::new(body).map(Result::unwrap).find(|avp| avp.number == 36);
            vectors.insert(vector.unwrap().value.to_vec());
            lengths.insert(datagram.len());
            pair.nr += 1;
        }
        pair.acknowledge();
        pair.tunnel.disconnect_call(pair.now, session, CallResult::Busy, None, "", None);
        while pair.tunnel.poll_transmit().is_some() {
            pair.nr += 1;
        }
        pair.acknowledge();
    }
    assert_eq!(vectors.len(), 200);
    // Four hidden AVPs with the same 0 to 15 octets of padding.
    assert_eq!(lengths.len(), 16, "{lengths:?}");
}
