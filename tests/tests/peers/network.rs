//! What subscribers send once they are let in.

use std::time::Duration;

use crate::lac::{ALICE_ADDRESS_OPTION, Call, Lac, SESSION_ID};
use crate::octets::{CCP, IPCP, IPV6CP, LCP, frame, packet};
use crate::stage::{Settings, Stage};

/// A call whose subscriber is authenticated and has acknowledged our address.
#[track_caller]
fn authenticated(stage: &Stage) -> (Lac, Call) {
    let mut lac = stage.lac();
    lac.open_tunnel();
    let call = lac.open_call(SESSION_ID);
    lac.open_lcp(&call, &[]);
    lac.prove(&call);
    lac.acknowledge_ipcp(&call);
    (lac, call)
}

/// Sends a packet of a protocol that is not spoken; it comes back in a Protocol-Reject.
#[track_caller]
fn assert_rejected(lac: &mut Lac, call: &Call, packet: &[u8], identifier: u8) {
    lac.send_frame(call, &[&[0xff, 3], packet].concat());
    lac.expect(call, LCP, 8, identifier, packet);
}

#[test]
fn windows_asks_for_more_than_there_is() {
    let stage = Stage::start("row-12");
    let mut windows = stage.lac();
    windows.open_tunnel();
    let mut call = windows.open_call(SESSION_ID);
    windows.acknowledge_lcp(&call);
    // MRU 1400, magic, PFC, ACFC: what stays. Callback, MRRU 1614, endpoint discriminator: what goes.
    let plain = [1, 4, 0x05, 0x78, 5, 6, 0x6c, 0x2d, 0x18, 0x4b, 7, 2, 8, 2];
    let endpoint =
        [19, 23, 1, 0xa3, 0x1c, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22];
    let refused = [&[13, 3, 6, 17, 4, 0x06, 0x4e][..], &endpoint].concat();
    windows.send_frame(&call, &frame(LCP, 1, 0, &[&plain[..], &refused].concat()));
    windows.expect(&call, LCP, 4, 0, &refused);
    windows.send_frame(&call, &frame(LCP, 1, 1, &plain));
    windows.expect(&call, LCP, 2, 1, &plain);
    call.acfc = true;
    windows.prove(&call);
    windows.acknowledge_ipcp(&call);

    // IPv6CP and CCP (MPPC) at the same time, then IPCP, which goes on whatever becomes of those.
    let ipv6cp = packet(IPV6CP, 1, 4, &[1, 10, 0xd5, 1, 2, 3, 4, 5, 6, 7]);
    let ccp = packet(CCP, 1, 5, &[18, 6, 0, 0, 0, 1]);
    windows.send_frame(&call, &ipv6cp);
    windows.send_frame(&call, &ccp);
    let none = [0; 4];
    let ask = |kinds: &[(u8, [u8; 4])]| {
        kinds
            .iter()
            .flat_map(|(kind, value)| [&[*kind, 6], &value[..]].concat())
            .collect::<Vec<_>>()
    };
    let all = ask(&[(3, none), (129, none), (130, none), (131, none), (132, none)]);
    windows.send_frame(&call, &packet(IPCP, 1, 6, &all));
    windows.expect(&call, LCP, 8, 2, &ipv6cp);
    windows.expect(&call, LCP, 8, 3, &ccp);
    windows.expect(&call, IPCP, 4, 6, &ask(&[(130, none), (132, none)]));
    windows.send_frame(&call, &packet(IPCP, 1, 7, &ask(&[(3, none), (129, none), (131, none)])));
    let granted = ask(&[(3, [100, 64, 0, 10]), (129, [192, 0, 2, 53]), (131, [192, 0, 2, 54])]);
    windows.expect(&call, IPCP, 3, 7, &granted);
    windows.send_frame(&call, &packet(IPCP, 1, 8, &granted));
    windows.expect(&call, IPCP, 2, 8, &granted);
    let row = &stage.show("sessions")[0];
    assert_eq!((&row["state"], &row["mru"]), (&"open".into(), &1400.into()));
}

#[test]
fn mikrotik_ends_protocols_alone() {
    let ppp = "restart_timer_ms = 1000\n";
    let stage = Stage::with("row-13", &Settings { ppp, ..Settings::default() });
    let (mut mikrotik, call) = authenticated(&stage);
    // CCP in the middle of IPCP, and its end.
    assert_rejected(&mut mikrotik, &call, &packet(CCP, 1, 1, &[]), 2);
    mikrotik.send_frame(&call, &frame(IPCP, 1, 1, &ALICE_ADDRESS_OPTION));
    mikrotik.expect(&call, IPCP, 2, 1, &ALICE_ADDRESS_OPTION);
    assert_rejected(&mut mikrotik, &call, &packet(CCP, 5, 2, &[]), 3);
    assert_eq!(stage.show("sessions")[0]["state"], "open");

    // The end of IPCP is that of IPCP; it may come back.
    mikrotik.send_frame(&call, &frame(IPCP, 5, 9, &[]));
    mikrotik.expect(&call, IPCP, 6, 9, &[]);
    mikrotik.echo(&call, 1);
    assert_eq!(stage.show("sessions")[0]["state"], "network");
    // For the time of a Restart timer its requests are in vain (RFC 1661 section 4.1, Stopping).
    let request = loop {
        mikrotik.send_frame(&call, &frame(IPCP, 1, 10, &ALICE_ADDRESS_OPTION));
        if let Some(datagram) = mikrotik.receive_within(Duration::from_millis(500)) {
            break datagram[6..].to_vec();
        }
    };
    assert_eq!(request[..6], [0xff, 3, 0x80, 0x21, 1, 2], "{request:02x?}");
    mikrotik.expect(&call, IPCP, 2, 10, &ALICE_ADDRESS_OPTION);
    mikrotik.send_frame(&call, &frame(IPCP, 2, request[5], &request[8..]));
    mikrotik.echo(&call, 2);
    assert_eq!(stage.show("sessions")[0]["state"], "open");
}

#[test]
fn windows_asks_for_routes_inside_of_ppp() {
    let stage = Stage::start("row-31");
    let (mut windows, call) = authenticated(&stage);
    windows.send_frame(&call, &frame(IPCP, 1, 1, &ALICE_ADDRESS_OPTION));
    windows.expect(&call, IPCP, 2, 1, &ALICE_ADDRESS_OPTION);
    // DHCPINFORM: IPv4 to 255.255.255.255, UDP from 68 to 67, BOOTP.
    let mut inform = vec![0xff, 3, 0x00, 0x21, 0x45, 0, 1, 0x0c, 0, 1, 0, 0, 128, 17, 0, 0];
    inform.extend([100, 64, 0, 10, 255, 255, 255, 255, 0, 68, 0, 67, 0, 0xf8, 0, 0, 1, 8, 6, 0]);
    inform.resize(4 + 0x10c, 0);
    windows.send_frame(&call, &inform);
    windows.assert_quiet();
    assert_eq!(stage.show("sessions")[0]["state"], "open");
}

#[test]
fn apple_offers_its_own_protocol() {
    let stage = Stage::start("row-34");
    let (mut mac, call) = authenticated(&stage);
    mac.send_frame(&call, &frame(IPCP, 1, 1, &ALICE_ADDRESS_OPTION));
    mac.expect(&call, IPCP, 2, 1, &ALICE_ADDRESS_OPTION);
    assert_rejected(&mut mac, &call, &packet(0x8235, 1, 1, &[1, 6, 0, 0, 0, 1]), 2);
    assert_eq!(stage.show("sessions")[0]["state"], "open");
}
