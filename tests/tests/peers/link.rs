//! How subscribers open their links: LCP and authentication.

use std::time::Duration;

use crate::lac::{Call, Lac, SESSION_ID, chap_response, iccn};
use crate::octets::{CHAP, ICCN, LCP, PAP, control, frame, mandatory, optional, packet};
use crate::stage::{Settings, Stage};

/// A connected call.
#[track_caller]
fn call(stage: &Stage) -> (Lac, Call) {
    let mut lac = stage.lac();
    lac.open_tunnel();
    let call = lac.open_call(SESSION_ID);
    (lac, call)
}

#[test]
fn a_line_of_a_huawei_lac_has_a_small_mru() {
    let ppp = "mru = 1454\n";
    let stage = Stage::with("row-18", &Settings { ppp, ..Settings::default() });
    let (mut lac, call) = call(&stage);
    let options = lac.acknowledge_lcp(&call);
    assert_eq!(options[..4], [1, 4, 0x05, 0xae]);
    lac.send_frame(&call, &frame(LCP, 1, 1, &[1, 4, 0x05, 0xd4]));
    lac.expect(&call, LCP, 2, 1, &[1, 4, 0x05, 0xd4]);
    assert_eq!(stage.show("sessions")[0]["mru"], 1454);
}

#[test]
fn a_wholesale_lac_needs_ff_03_and_negotiates_for_us() {
    let stage = Stage::start("row-20");
    let mut lac = stage.lac();
    lac.open_tunnel();
    let call = lac.offer_call(SESSION_ID);
    // What it has agreed on with the subscriber: an MRU of 1500, no CHAP.
    let proxied = [
        iccn(),
        optional(26, &[1, 4, 0x05, 0xdc, 5, 6, 1, 2, 3, 4]),
        optional(27, &[1, 4, 0x05, 0xdc, 3, 4, 0xc0, 0x23]),
        optional(28, &[1, 4, 0x05, 0xdc, 5, 6, 1, 2, 3, 4]),
        optional(29, &[0, 3]),
        optional(30, b"alice"),
        optional(32, &[0, 1]),
        optional(33, b"wrong"),
    ];
    lac.say(call.lns_id, ICCN, &proxied.concat());
    lac.hear_zlb();
    // All is negotiated anew, and each frame has FF 03: `Lac::packet` insists on that.
    let options = lac.acknowledge_lcp(&call);
    assert_eq!(options[..9], [1, 4, 0x05, 0xb4, 3, 5, 0xc2, 0x23, 5]);
    lac.send_frame(&call, &frame(LCP, 1, 1, &[]));
    lac.expect(&call, LCP, 2, 1, &[]);
    lac.prove(&call);
    lac.open_ipcp(&call);
}

#[test]
fn frames_come_before_the_call_is_connected() {
    let stage = Stage::start("row-22");
    let mut lac = stage.lac();
    lac.open_tunnel();
    let call = lac.offer_call(SESSION_ID);
    // More than are held, the first before any.
    for identifier in 1..=20 {
        lac.send_frame(&call, &frame(LCP, 1, identifier, &[]));
    }
    lac.say(call.lns_id, ICCN, &iccn());
    lac.hear_zlb();
    let came: Vec<_> = (0..6).map(|_| lac.packet(&call, LCP)[..2].to_vec()).collect();
    assert_eq!(came, [[1, 1], [1, 1], [2, 1], [2, 2], [2, 3], [2, 4]]);
    lac.assert_quiet();
    assert_eq!(stage.show("sessions").len(), 1);
}

#[test]
fn customer_equipment_has_odd_mrus() {
    let stage = Stage::start("row-29");
    for (id, asked, in_force) in [(1, None, 1460), (2, Some(0xffff), 1460), (3, Some(1400), 1400)] {
        let mut lac = stage.lac();
        lac.open_tunnel();
        let call = lac.open_call(id);
        let option = asked.map_or(vec![], |mru: u16| [&[1, 4], &mru.to_be_bytes()[..]].concat());
        lac.open_lcp(&call, &option);
        let rows = stage.show("sessions");
        let row = rows.iter().find(|row| row["peer_session_id"] == id).unwrap();
        assert_eq!(row["mru"], in_force, "{asked:?}");
    }
    let (mut lac, call) = call(&stage);
    lac.acknowledge_lcp(&call);
    lac.send_frame(&call, &frame(LCP, 1, 1, &[1, 4, 0, 128]));
    lac.expect(&call, LCP, 3, 1, &[1, 4, 0x02, 0x40]);
    lac.send_frame(&call, &frame(LCP, 1, 2, &[1, 4, 0x02, 0x40]));
    lac.expect(&call, LCP, 2, 2, &[1, 4, 0x02, 0x40]);
}

#[test]
fn netgear_speaks_chap_after_it_agreed_to_pap() {
    let ppp = "authentication = [\"pap\", \"chap-md5\"]\n";
    let stage = Stage::with("row-30", &Settings { ppp, ..Settings::default() });
    let (mut netgear, call) = call(&stage);
    let options = netgear.acknowledge_lcp(&call);
    assert_eq!(options[4..8], [3, 4, 0xc0, 0x23]);
    netgear.send_frame(&call, &frame(LCP, 1, 1, &[]));
    netgear.expect(&call, LCP, 2, 1, &[]);
    // A response to nothing: it gets something to respond to.
    netgear.send_frame(&call, &frame(CHAP, 2, 9, &[&[16; 17][..], b"alice"].concat()));
    netgear.prove(&call);
    netgear.open_ipcp(&call);
}

#[test]
fn chap_is_no_way_around_pap_alone() {
    let ppp = "authentication = [\"pap\"]\n";
    let stage = Stage::with("row-30-pap", &Settings { ppp, ..Settings::default() });
    let (mut lac, call) = call(&stage);
    lac.open_lcp(&call, &[]);
    let response = packet(CHAP, 2, 9, &[16; 17]);
    lac.send_frame(&call, &[&[0xff, 3], &response[..]].concat());
    lac.expect(&call, LCP, 8, 2, &response);
    let request = [&[5], &b"alice"[..], &[14], b"alice-password"].concat();
    lac.send_frame(&call, &frame(PAP, 1, 1, &request));
    assert_eq!(lac.packet(&call, PAP)[..2], [2, 1]);
}

#[test]
fn lwip_leaves_ff_03_out_though_nobody_agreed() {
    let stage = Stage::start("row-35-framing");
    let (mut lwip, call) = call(&stage);
    lwip.open_lcp(&call, &[]);
    let challenge = lwip.packet(&call, CHAP);
    let response = packet(CHAP, 2, challenge[1], &chap_response(&challenge));
    lwip.send_frame(&call, &response);
    assert_eq!(lwip.packet(&call, CHAP)[0], 3);
    let request = lwip.packet(&call, crate::octets::IPCP);
    lwip.send_frame(&call, &packet(crate::octets::IPCP, 2, request[1], &request[4..]));
    let address = crate::lac::ALICE_ADDRESS_OPTION;
    lwip.send_frame(&call, &packet(crate::octets::IPCP, 1, 1, &address));
    // It gets FF 03 all the same: nothing else was agreed on.
    lwip.expect(&call, crate::octets::IPCP, 2, 1, &address);
}

#[test]
fn the_first_request_comes_with_the_iccn() {
    let stage = Stage::start("row-36");
    let mut lac = stage.lac();
    lac.open_tunnel();
    let call = lac.offer_call(SESSION_ID);
    lac.say(call.lns_id, ICCN, &iccn());
    lac.send_frame(&call, &frame(LCP, 1, 1, &[5, 6, 1, 2, 3, 4]));
    lac.hear_zlb();
    let ours = lac.packet(&call, LCP);
    // The same again, since the first may have been lost; then the answer.
    assert_eq!(lac.packet(&call, LCP), ours);
    lac.expect(&call, LCP, 2, 1, &[5, 6, 1, 2, 3, 4]);
    lac.send_frame(&call, &frame(LCP, 2, ours[1], &ours[4..]));
    lac.prove(&call);
}

#[test]
fn windows_10_identifies_itself_and_counts_with_one_counter() {
    let stage = Stage::start("row-40-link");
    let (mut windows, call) = call(&stage);
    windows.acknowledge_lcp(&call);
    let magic = [5, 6, 0x11, 0x22, 0x33, 0x44];
    windows.send_frame(&call, &frame(LCP, 1, 0, &magic));
    windows.expect(&call, LCP, 2, 0, &magic);
    for (identifier, text) in [(1, "MSRASV5.20"), (2, "MSRAS-0-DESKTOP-7"), (3, "a\tb")] {
        let contents = [&magic[2..], text.as_bytes()].concat();
        windows.send_frame(&call, &frame(LCP, 12, identifier, &contents));
    }
    windows.prove(&call);
    windows.acknowledge_ipcp(&call);
    // IPv6CP and CCP go before IPCP; each is refused by an LCP packet of ours.
    for (protocol, identifier) in [(crate::octets::IPV6CP, 4), (crate::octets::CCP, 5)] {
        let request = packet(protocol, 1, identifier, &[]);
        windows.send_frame(&call, &[&[0xff, 3], &request[..]].concat());
        let reject = windows.packet(&call, LCP);
        assert_eq!((reject[0], &reject[4..]), (8, &request[..]));
    }
    let address = crate::lac::ALICE_ADDRESS_OPTION;
    windows.send_frame(&call, &frame(crate::octets::IPCP, 1, 6, &address));
    windows.expect(&call, crate::octets::IPCP, 2, 6, &address);
    stage.wait_log("MSRASV5.20");
    stage.wait_log("MSRAS-0-DESKTOP-7");
}

#[test]
fn a_header_with_tunnel_id_0_is_not_taken_for_the_tunnel() {
    let stage = Stage::start("row-26");
    let (mut lac, call) = call(&stage);
    lac.acknowledge_lcp(&call);
    let stop =
        [mandatory(0, &[0, 4]), mandatory(9, &lac.tunnel_id.to_be_bytes()), mandatory(1, &[0, 1])];
    lac.send(&control((0, 0), (lac.ns, lac.nr), &stop.concat()));
    lac.assert_quiet();
    assert_eq!(stage.show("tunnels")[0]["state"], "established");
    assert_eq!(lac.receive_within(Duration::from_millis(1)), None);
}
