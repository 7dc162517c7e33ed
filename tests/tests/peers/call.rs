//! How LACs offer and connect calls.

use crate::lac::{SESSION_ID, iccn, icrq};
use crate::octets::{ICCN, ICRP, ICRQ, LCP, SLI, frame, mandatory, optional, raw_avp};
use crate::stage::{Settings, Stage};

#[test]
fn windows_adds_an_avp_of_its_own() {
    let stage = Stage::start("row-9");
    let mut windows = stage.lac_at(1701);
    windows.open_tunnel();
    // Vendor 311, 22 octets in all.
    let own = raw_avp(0, 311, 1, &[0x29; 16]);
    assert_eq!(own[..6], [0, 22, 1, 0x37, 0, 1]);
    windows.say(0, ICRQ, &[icrq(SESSION_ID), mandatory(18, &[0, 0, 0, 2]), own].concat());
    let call = windows.hear_icrp(SESSION_ID);
    windows.say(call.lns_id, ICCN, &iccn());
    windows.hear_zlb();
    windows.dial(&call);
}

#[test]
fn as5300_writes_speeds_as_text() {
    let stage = Stage::start("row-17");
    let mut lac = stage.lac();
    lac.open_tunnel();
    let call = lac.offer_call(SESSION_ID);
    let connected =
        [mandatory(24, b"115200"), mandatory(19, &[0, 0, 0, 2]), optional(38, b"28800")].concat();
    lac.say(call.lns_id, ICCN, &connected);
    lac.hear_zlb();
    lac.dial(&call);
}

#[test]
fn meraki_sends_set_link_info() {
    let l2tp = "retransmit_initial_ms = 400\n";
    let stage = Stage::with("row-24", &Settings { l2tp, ..Settings::default() });
    let mut meraki = stage.lac();
    meraki.open_tunnel();
    let call = meraki.open_call(SESSION_ID);
    meraki.open_lcp(&call, &[]);
    let maps = [0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    meraki.say(call.lns_id, SLI, &mandatory(35, &maps));
    meraki.hear_zlb();
    meraki.prove(&call);
}

#[test]
fn an_access_node_uses_numbers_of_the_ietf() {
    let stage = Stage::start("row-25");
    let mut lac = stage.lac();
    lac.open_tunnel();
    // Circuit ID, remote ID, and speeds whose numbers mean something else without the vendor; one
    // that would be the Session ID.
    let before =
        [raw_avp(0, 3561, 1, b"access-1 atm 1/2:0.35"), raw_avp(0, 3561, 14, &[0x66, 0x66])];
    let behind = [
        raw_avp(0, 3561, 2, b"line-7"),
        raw_avp(0, 3561, 15, &[0x66; 4]),
        raw_avp(0, 3561, 130, &[0, 1, 0, 0]),
    ];
    lac.say(0, ICRQ, &[before.concat(), icrq(SESSION_ID), behind.concat()].concat());
    let icrp = lac.hear(ICRP);
    assert_eq!(icrp.session_id, SESSION_ID);
    let line = &stage.show("sessions")[0]["line"];
    assert_eq!(line["circuit_id"], "access-1 atm 1/2:0.35");
    assert_eq!(
        (&line["remote_id"], &line["actual"]["downstream"]),
        (&"line-7".into(), &65_536.into())
    );
}

#[test]
fn bng_blaster_writes_every_header_field() {
    let stage = Stage::start("row-42-data");
    let mut blaster = stage.lac();
    blaster.open_tunnel();
    let call = blaster.open_call(SESSION_ID);
    let send = |frame: &[u8]| {
        // L, O and P; an offset of 0.
        let length = u16::try_from(10 + frame.len()).unwrap();
        let fields = [0x4302, length, blaster.lns_tunnel_id, call.lns_id, 0].map(u16::to_be_bytes);
        blaster.send(&[fields.as_flattened(), frame].concat());
    };
    send(&frame(LCP, 1, 0x77, &[]));
    let mut seen = Vec::new();
    // Our request is unanswered, so it is said once more.
    while seen.len() < 3 {
        seen.push(blaster.packet(&call, LCP)[..2].to_vec());
    }
    assert_eq!(seen, [[1, 1], [1, 1], [2, 0x77]]);
}

#[test]
fn testers_pad_and_mark_their_data() {
    let stage = Stage::start("row-33");
    let mut tester = stage.lac();
    tester.open_tunnel();
    let request = frame(LCP, 1, 1, &[]);
    let forms = [
        // O with an offset of 0; P; S with numbers that nobody asked for; an offset of 3.
        ([0x02, 0x02], vec![0, 0]),
        ([0x01, 0x02], vec![]),
        ([0x08, 0x02], vec![0, 9, 0, 0]),
        ([0x02, 0x02], vec![0, 3, 0xee, 0xee, 0xee]),
    ];
    for (id, (flags, fields)) in (1..).zip(forms) {
        let call = tester.open_call(id);
        tester.acknowledge_lcp(&call);
        let ids = [tester.lns_tunnel_id, call.lns_id].map(u16::to_be_bytes);
        // And octets behind the packet's end.
        let padded = [&request[..], &[0; 32]].concat();
        tester.send(&[&flags[..], ids.as_flattened(), &fields, &padded].concat());
        tester.expect(&call, LCP, 2, 1, &[]);
    }
}
