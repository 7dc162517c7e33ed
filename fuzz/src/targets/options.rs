//! PPP frames, packets, option lists and the fields of authentication, as parsers.

use xlns_control::ppp::frame::{self, Frame, Packet};
use xlns_control::ppp::option::{OPTIONS_MAX, Options, Reply, Value, Verdict, assemble};
use xlns_control::ppp::{chap, mschap};

/// The input is a frame, and a list of options as well.
pub fn run(input: &[u8]) {
    options(input);
    if let Ok(response) = mschap::Response::parse(input) {
        let again = mschap::Response::parse(&response.emit()).expect("what we emit");
        assert_eq!(again.emit(), response.emit());
        assert_eq!(again.nt_response, response.nt_response);
    }
    // No more than that they do not panic.
    let _ = chap::Fields::parse(input);
    let _ = mschap::is_proven_by(input, &[7; mschap::AUTHENTICATOR_RESPONSE_OCTETS]);
    assert!(mschap::without_domain(input).len() <= input.len());
    let Ok(frame) = Frame::parse(input) else { return };
    assert!(frame.information.len() < input.len());
    let Ok(packet) = Packet::parse(frame.information) else { return };
    options(packet.data);
    for address_control in [false, true] {
        let parts: [&[u8]; 1] = [packet.data];
        let again =
            frame::emit(frame.protocol, address_control, packet.code, packet.identifier, &parts);
        // Protocols that fit one octet, or break the rule of parity, come back otherwise.
        if frame.protocol & 0x0101 == 0x0001 {
            let read = Frame::parse(&again).expect("what we emit");
            assert_eq!(read.protocol, frame.protocol);
            assert_eq!(Packet::parse(read.information), Ok(packet));
        }
    }
}

fn options(octets: &[u8]) {
    let Ok(options) = Options::parse(octets) else { return };
    assert_eq!(options.octets(), octets);
    let all: Vec<_> = options.iter().collect();
    assert!(all.len() <= OPTIONS_MAX);
    let bytes: usize = all.iter().map(|option| 2 + option.data.len()).sum();
    assert_eq!(bytes, octets.len());
    let first = options.first_of_each().count();
    let mut kinds: Vec<_> = all.iter().map(|option| option.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(first, kinds.len());
    let wanted = [(200, Value::from(7u32))];
    for exhausted in [false, true] {
        let reply = assemble(&options, &wanted, exhausted, |option| match option.kind % 3 {
            0 => Verdict::Ack,
            1 => Verdict::Nak(Value::from(u16::from(option.kind))),
            _ => Verdict::Reject,
        });
        let list = match &reply {
            Reply::Ack => continue,
            Reply::Nak(list) | Reply::Reject(list) => list.octets(),
        };
        assert!(Options::parse(list).is_ok(), "a reply is a list as well");
        if let Reply::Reject(_) = reply {
            assert!(list.len() <= octets.len(), "a reject has what was sent, and no more");
        }
        assert!(!(exhausted && matches!(reply, Reply::Nak(_))), "Naks are exhausted");
    }
}
