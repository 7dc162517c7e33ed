//! How peers end calls and tunnels, and what they do when we end them.

use crate::lac::{Call, Lac, SESSION_ID, TUNNEL_ID, sccrq};
use crate::octets::{
    CDN, LCP, Message, SCCRP, SCCRQ, STOP_CCN, control, frame, mandatory, optional, raw_avp,
};
use crate::stage::{Settings, Stage};
use std::time::Duration;

/// A tunnel with one call whose LCP is open.
#[track_caller]
fn connected(stage: &Stage) -> (Lac, Call) {
    let mut lac = stage.lac();
    lac.open_tunnel();
    let call = lac.open_call(SESSION_ID);
    lac.open_lcp(&call, &[]);
    // The CHAP challenge.
    lac.frame(&call);
    (lac, call)
}

/// The call is gone, the tunnel is not.
#[track_caller]
fn assert_call_ended(stage: &Stage, lac: &mut Lac) {
    lac.assert_quiet();
    assert!(stage.show("sessions").is_empty());
    assert_eq!(stage.show("tunnels")[0]["state"], "established");
}

#[test]
fn apple_writes_results_in_its_own_byte_order() {
    let stage = Stage::start("row-1");
    let (mut mac, call) = connected(&stage);
    // 14 octets: two that count, an error code that means nothing, and rubbish.
    let result = raw_avp(0x8000, 0, 1, &[3, 0, 6, 0, 0xde, 0xad, 0xbe, 0xef]);
    assert_eq!(result[..2], [0x80, 14]);
    let id = mandatory(14, &SESSION_ID.to_be_bytes());
    mac.say(call.lns_id, CDN, &[id, result].concat());
    stage.wait_log("reason=\"peer: administrative reasons\"");
    assert_call_ended(&stage, &mut mac);

    let result = raw_avp(0x8000, 0, 1, &[6, 0, 0, 0, 0, 0, 0, 0]);
    let id = mandatory(9, &TUNNEL_ID.to_be_bytes());
    mac.say(0, STOP_CCN, &[id, result].concat());
    mac.hear_zlb();
    stage.wait_log("cause=peer: shutting down");
}

#[test]
fn android_sends_a_result_without_an_error() {
    let stage = Stage::start("row-8");
    let (mut phone, call) = connected(&stage);
    let id = mandatory(14, &SESSION_ID.to_be_bytes());
    let result = mandatory(1, &[0, 3]);
    assert_eq!(result.len(), 8);
    phone.say(call.lns_id, CDN, &[result, id].concat());
    stage.wait_log("reason=\"peer: administrative reasons\"");
    assert_call_ended(&stage, &mut phone);

    let id = mandatory(9, &TUNNEL_ID.to_be_bytes());
    phone.say(0, STOP_CCN, &[id, mandatory(1, &[0, 1])].concat());
    phone.hear_zlb();
    stage.wait_log("cause=peer: cleared");
}

#[test]
fn a_cdn_names_the_call_in_its_header_alone() {
    let stage = Stage::start("row-27");
    let (mut lac, call) = connected(&stage);
    let other = lac.open_call(2);
    lac.say(call.lns_id, CDN, &mandatory(1, &[0, 1, 0, 0]));
    stage.wait_log("peer: loss of carrier");
    lac.acknowledge_lcp(&other);
    lac.assert_quiet();
    let rows = stage.show("sessions");
    assert_eq!((rows.len(), &rows[0]["peer_session_id"]), (1, &2.into()));
}

#[test]
fn bng_blaster_says_why_ppp_ended() {
    let stage = Stage::start("row-42-cdn");
    let mut blaster = stage.lac();
    // A window of one: the second of two replies waits for its acknowledgement.
    blaster.say(0, SCCRQ, &[sccrq(TUNNEL_ID), mandatory(10, &[0, 1])].concat());
    blaster.lns_tunnel_id = blaster.hear(SCCRP).id(9);
    blaster.say(0, crate::octets::SCCCN, &[]);
    blaster.hear_zlb();
    let call = blaster.open_call(SESSION_ID);
    blaster.open_lcp(&call, &[]);
    blaster.frame(&call);
    let why = [
        mandatory(1, &[0, 3, 0, 0]),
        mandatory(14, &SESSION_ID.to_be_bytes()),
        // Administrative, LCP, by the sender.
        optional(46, &[0, 3, 0xc0, 0x21, 2, b'b', b'y', b'e']),
    ];
    blaster.say(call.lns_id, CDN, &why.concat());
    stage.wait_log("peer: administrative reasons");
    assert_call_ended(&stage, &mut blaster);
}

#[test]
fn windows_xp_keeps_an_empty_tunnel_and_cisco_does_not() {
    let stage = Stage::start("row-32");
    let (mut windows, call) = connected(&stage);
    let end = [mandatory(1, &[0, 1, 0, 0]), mandatory(14, &SESSION_ID.to_be_bytes())].concat();
    windows.say(call.lns_id, CDN, &end);
    assert_call_ended(&stage, &mut windows);
    // The tunnel is as good as before.
    let call = windows.open_call(2);
    windows.open_lcp(&call, &[]);

    let mut cisco = stage.lac();
    cisco.open_tunnel();
    let call = cisco.open_call(SESSION_ID);
    cisco.say(call.lns_id, CDN, &end);
    let stop = [mandatory(9, &TUNNEL_ID.to_be_bytes()), mandatory(1, &[0, 1])].concat();
    cisco.say(0, STOP_CCN, &stop);
    cisco.hear_zlb();
    // Repeated because the acknowledgement was lost.
    cisco.ns -= 1;
    cisco.say(0, STOP_CCN, &stop);
    cisco.hear_zlb();
}

#[test]
fn lwip_does_not_answer_when_it_is_ended() {
    let l2tp = "retransmit_initial_ms = 100\nretransmit_max_ms = 100\nretransmit_tries = 2\n";
    let ppp = "restart_timer_ms = 100\nmax_terminate = 2\n";
    let stage = Stage::with("row-35-end", &Settings { l2tp, ppp, ..Settings::default() });
    let mut lwip = stage.lac();
    lwip.open_tunnel();
    let call = lwip.open_call(SESSION_ID);
    lwip.open_lcp(&call, &[]);
    lwip.acknowledge();
    let ids = [lwip.lns_tunnel_id, call.lns_id].map(|id| id.to_string());
    stage.xlns(&["clear", "session", &ids[0], &ids[1]]);
    // PPP ends first, as often as max_terminate says; then the call, at last the tunnel.
    let mut came = Vec::new();
    while let Some(datagram) = lwip.receive_within(Duration::from_secs(2)) {
        let what = match datagram[0] & 0x80 {
            0 if datagram[6..].starts_with(&[0xff, 3, 0xc0, 0x21, 5]) => "Terminate-Request",
            0 => continue,
            _ if datagram.len() == 12 => continue,
            _ if Message::read(&datagram).0.number == CDN => "CDN",
            _ => "another message",
        };
        came.push(what);
    }
    assert_eq!(came, ["Terminate-Request", "Terminate-Request", "CDN", "CDN", "CDN"]);
    stage.wait_count("tunnels", 0);
}

#[test]
fn xl2tpd_refuses_before_it_knows_our_id() {
    let stage = Stage::start("row-38-refusal");
    let mut xl2tpd = stage.lac();
    xl2tpd.say(0, SCCRQ, &sccrq(TUNNEL_ID));
    xl2tpd.hear(SCCRP);
    let stop = [
        mandatory(0, &[0, 4]),
        mandatory(9, &TUNNEL_ID.to_be_bytes()),
        mandatory(1, b"\x00\x02\x00\x06hidden AVPs"),
    ];
    // Tunnel ID 0, and out of any sequence.
    xl2tpd.send(&control((0, 0), (0, 1), &stop.concat()));
    stage.wait_log("cause=peer: general error, vendor-specific error (hidden AVPs)");
    assert_eq!(stage.show("tunnels")[0]["state"], "closing");
}

#[test]
fn xl2tpd_ends_the_tunnel_before_ppp() {
    let stage = Stage::start("row-38-order");
    let (mut xl2tpd, call) = connected(&stage);
    let stop = [mandatory(9, &TUNNEL_ID.to_be_bytes()), mandatory(1, &[0, 1, 0, 0])].concat();
    xl2tpd.say(0, STOP_CCN, &stop);
    xl2tpd.send_frame(&call, &frame(LCP, 5, 2, b"User request"));
    xl2tpd.hear_zlb();
    // It dials again at once, from the same port and with the same ID.
    let mut again = xl2tpd;
    (again.ns, again.nr, again.lns_tunnel_id) = (0, 0, 0);
    again.say(0, SCCRQ, &[sccrq(TUNNEL_ID), optional(8, b"xelerance.com")].concat());
    again.lns_tunnel_id = again.hear(SCCRP).id(9);
    again.say(0, crate::octets::SCCCN, &[]);
    again.hear_zlb();
    let call = again.open_call(SESSION_ID);
    again.dial(&call);
}
