//! Whole set-ups as real peers do them.

use super::*;

/// Rows 12 and 40: options that nobody else asks for, one counter of identifiers for all protocols
/// that begins at 0, Identification, IPv6CP and CCP before IPCP, name servers wanted.
#[test]
fn windows() {
    let mut pair = Pair::opened(config());
    let request = pair.next();
    let wishes = "01 04 0578  05 06 1d7a2b3c  07 02  08 02";
    let extra = "0d 03 06  11 04 064e  13 17 01 0102030405060708090a0b0c0d0e0f1011121314";
    pair.send(&format!("ff03 c021 01 00 0030 {wishes} {extra}"));
    assert_eq!(pair.next(), request);
    pair.expect(&format!("ff03 c021 04 00 0022 {extra}"));
    pair.send_octets(&acknowledge(&request));
    assert_eq!(pair.send_octets(&acknowledge(&request)), Some(Discard::Unsolicited));
    pair.send(&format!("ff03 c021 01 01 0012 {wishes}"));
    pair.expect(&format!("ff03 c021 02 01 0012 {wishes}"));
    let agreed = pair.link.agreed();
    assert_eq!((agreed.peer_mru, agreed.send_pfc, agreed.send_acfc), (1400, true, true));
    pair.expect_event(Event::LcpUp { agreed });
    for identifier in ["02", "03", "04"] {
        pair.send(&format!("ff03 c021 0c {identifier} 0012 1d7a2b3c 4d53524153 56352e3230"));
        pair.expect_event(Event::Identification { message: (*b"MSRASV5.20").into() });
    }
    let challenge = [hex("ff03"), pair.next()].concat();
    pair.expect_silence();
    pair.send_octets(&respond(&challenge)[2..]);
    pair.expect_credentials();
    pair.accept();
    assert_eq!(pair.next()[..3], hex("c223 03"));
    let request = [hex("ff03"), pair.next()].concat();
    assert_eq!(request, hex("ff03 8021 01 01 000a 03 06 64400001"));
    pair.send("8057 01 05 000e 01 0a 0102030405060708");
    pair.expect("ff03 c021 08 02 0014 8057 01 05 000e 01 0a 0102030405060708");
    pair.send("80fd 01 06 000a 12 06 01000001");
    pair.expect("ff03 c021 08 03 0010 80fd 01 06 000a 12 06 01000001");
    let wanted = "81 06 00000000  82 06 00000000  83 06 00000000  84 06 00000000";
    pair.send(&format!("8021 01 07 0022 03 06 00000000 {wanted}"));
    assert_eq!(pair.next(), request[2..]);
    pair.expect("8021 04 07 0010  82 06 00000000  84 06 00000000");
    pair.send_octets(&acknowledge(&request)[2..]);
    pair.send("8021 01 08 0016 03 06 00000000  81 06 00000000  83 06 00000000");
    pair.expect("8021 03 08 0016 03 06 64400709  81 06 09090909  83 06 0909090a");
    pair.send("80fd 05 0a 0004");
    pair.expect("ff03 c021 08 04 000a 80fd 05 0a 0004");
    pair.send("8021 01 09 0016 03 06 64400709  81 06 09090909  83 06 0909090a");
    pair.expect("8021 02 09 0016 03 06 64400709  81 06 09090909  83 06 0909090a");
    pair.expect_event(IPV4_UP);
    pair.expect_silence();
}

/// A stock pppd: character map, magic number, both compressions; VJ and CCP asked for.
#[test]
fn pppd() {
    let mut pair = Pair::opened(config());
    let request = pair.next();
    let wishes = "02 06 00000000  05 06 9f3a1c77  07 02  08 02";
    pair.send_octets(&acknowledge(&request));
    pair.send(&format!("ff03 c021 01 01 0014 {wishes}"));
    pair.expect(&format!("ff03 c021 02 01 0014 {wishes}"));
    let agreed = pair.link.agreed();
    pair.expect_event(Event::LcpUp { agreed });
    // It tests the link at once, with its magic number.
    pair.send("ff03 c021 09 00 0008 9f3a1c77");
    let challenge = pair.next();
    let mut reply = hex("ff03 c021 0a 00 0008");
    reply.extend_from_slice(&agreed.magic.to_be_bytes());
    assert_eq!(pair.next(), reply);
    pair.send_octets(&respond(&[hex("ff03"), challenge].concat())[2..]);
    pair.expect_credentials();
    pair.accept();
    pair.next();
    let request = pair.next();
    pair.send("80fd 01 01 000f 1a 04 7800 18 04 7800 15 03 2f");
    assert_eq!(pair.next()[..8], hex("ff03 c021 08 02 0015"));
    pair.send("8021 01 01 0010 02 06 002d 0f 01 03 06 00000000");
    assert_eq!(pair.next(), request);
    pair.expect("8021 04 01 000a 02 06 002d 0f 01");
    let ack = acknowledge(&[hex("ff03"), request].concat());
    pair.send_octets(&ack[2..]);
    pair.send("8021 01 02 000a 03 06 00000000");
    pair.expect("8021 03 02 000a 03 06 64400709");
    pair.send("8021 01 03 000a 03 06 64400709");
    pair.expect("8021 02 03 000a 03 06 64400709");
    pair.expect_event(IPV4_UP);
    pair.send("ff03 c021 05 02 0010 55736572 20726571 75657374");
    pair.expect("ff03 c021 06 02 0004");
    pair.expect_event(Event::Ipv4Down);
}

/// Row 34: ACSP after IPCP, again and again.
#[test]
fn apple() {
    let mut pair = Pair::with_network_up(config());
    for identifier in [2, 3] {
        pair.send("ff03 8235 01 01 0010 01 0c 00000000 00000000 0000");
        let reject = pair.next();
        assert_eq!(reject[..10], hex(&format!("ff03 c021 08 {identifier:02x} 0016 8235"))[..]);
        assert_eq!(reject[10..], hex("01 01 0010 01 0c 00000000 00000000 0000"));
    }
    assert!(pair.events.is_empty());
}

/// Row 35: FF 03 on LCP only, although the compression was never negotiated.
#[test]
fn lwip() {
    let mut pair = Pair::opened(pap_only());
    let request = pair.next();
    pair.send("ff03 c021 01 01 000a 05 06 11223344");
    assert_eq!(pair.next(), request);
    pair.expect("ff03 c021 02 01 000a 05 06 11223344");
    pair.send_octets(&acknowledge(&request));
    assert!(!pair.link.agreed().send_acfc);
    pair.events.clear();
    pair.send("c023 01 01 0010 03 626f62 07 73656372657421");
    pair.expect_credentials();
    pair.accept();
    pair.expect("ff03 c023 02 01 000c 07 57656c636f6d65");
    let request = pair.next();
    assert_eq!(request[..4], hex("ff03 8021"));
    pair.send_octets(&acknowledge(&request)[2..]);
    pair.send("8021 01 01 000a 03 06 64400709");
    pair.expect("ff03 8021 02 01 000a 03 06 64400709");
    pair.expect_event(IPV4_UP);
    // It ignores what comes after; the link still ends.
    pair.close();
    pair.expect_event(Event::Ipv4Down);
    pair.advance(6 * SECOND);
    pair.expect_down(DownCause::Closed);
}
