//! DHCPv6 messages and DHCPINFORM, as parsers.

use std::net::Ipv4Addr;

use xlns_control::dhcp::Responder;
use xlns_control::ipv6::dhcp::message::Message;

use crate::script::Script;

/// Octets of the longest answer to DHCPINFORM: fixed part, and four options of 257 at most.
const INFORM_BYTES_MAX: usize = 240 + 2 * 6 + 4 * 257 + 1;

/// The input is a message: what is read from it is written so that it is read the same.
pub fn run_message(input: &[u8]) {
    let Ok(message) = Message::decode(input) else { return };
    let octets = message.encode();
    let again = Message::decode(&octets);
    assert_eq!(again.as_ref(), Ok(&message), "after a round trip");
    assert_eq!(again.map(|again| again.encode()), Ok(octets));
}

/// The input is a datagram of a subscriber, with its address in front.
pub fn run_inform(input: &[u8]) {
    let mut script = Script::new(input);
    let responder = Responder {
        gateway: Ipv4Addr::new(10, 0, 0, 1),
        dns: vec![Ipv4Addr::new(9, 9, 9, 9)],
        domain: "example.net".into(),
        routes: vec!["10.0.0.0/8".parse().expect("a prefix"); 3],
    };
    let source = Ipv4Addr::new(10, 0, 0, script.octet());
    let Ok(answer) = responder.answer(source, script.rest()) else { return };
    assert_eq!(*answer.to.ip(), source, "to nobody else");
    assert!((300..=INFORM_BYTES_MAX).contains(&answer.payload.len()));
    assert!(answer.payload.len() <= input.len() + 300, "no amplification");
    // It is a reply, which nobody answers.
    assert!(responder.answer(source, &answer.payload).is_err());
}
