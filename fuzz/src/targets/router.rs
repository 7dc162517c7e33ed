//! Our router on a subscriber's link: router discovery and the DHCPv6 server.

use std::sync::Arc;
use std::time::Duration;

use ipnet::Ipv6Net;
use rand::SeedableRng;
use rand::rngs::StdRng;
use xlns_control::ipv6::{Config, MTU_MIN, Router, packet};
use xlns_control::time::Time;

use super::ipv6::{HOST, ROUTER, SERVER_ID, packet as packet_of};
use crate::script::Script;

/// Octets beyond the question of an answer: addresses, name servers, a domain, a status of each
/// association. No subscriber can use us to flood anybody, as it goes to nobody but himself.
const ANSWER_BYTES_MORE: usize = 1000;

/// Answers in a second.
const ANSWERS_PER_SECOND_MAX: usize = 20;

/// The input is a script.
pub fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let config = Config {
        server_id: SERVER_ID.into(),
        dns: vec![Ipv6Net::default().network(); usize::from(script.octet() % 3)],
        domains: xlns_control::ipv6::dhcp::message::encode_domain("example.net"),
        managed: script.flag(),
        other: script.flag(),
        preferred_seconds: 300,
        valid_seconds: 600,
    };
    let mut rng = StdRng::seed_from_u64(1);
    let mut now = Time::ZERO + Duration::from_secs(1000);
    let link = (!script.flag()).then(|| "2001:db8:0:7::/64".parse().expect("a prefix"));
    let delegated: Option<Ipv6Net> =
        (!script.flag()).then(|| "2001:db8:100::/56".parse().expect("a prefix"));
    let mut router = Router::new(now, Arc::new(config), (ROUTER, HOST), link, MTU_MIN);
    let (mut answers, mut since) = (0, now);
    while !script.is_over() {
        if script.octet() % 8 == 7 {
            now = now + script.time();
            let mut sent = 0;
            while router.poll_timeout() <= now {
                if let Some(advertisement) = router.handle_timeout(now, &mut rng) {
                    packet::parse(&advertisement).expect("what we send");
                }
                sent += 1;
                assert!(sent < 4, "a timer that does not move");
            }
            continue;
        }
        let question = packet_of(&mut script, HOST, ROUTER);
        let answer = router.handle_packet(now, &question, &mut || delegated);
        if now.since(since) >= Duration::from_secs(2) {
            (answers, since) = (0, now);
        }
        if let Ok(Some(answer)) = answer {
            packet::parse(&answer).expect("what we send");
            assert!(answer.len() <= question.len() + ANSWER_BYTES_MORE, "{} octets", answer.len());
            answers += 1;
            assert!(answers <= 3 * ANSWERS_PER_SECOND_MAX, "too many answers");
        }
        assert!(delegated.is_some() || !router.has_delegated(), "a prefix out of nothing");
    }
    now = now + Duration::from_secs(601);
    router.handle_timeout(now, &mut rng);
    assert!(!router.has_delegated(), "a binding without an end");
}
