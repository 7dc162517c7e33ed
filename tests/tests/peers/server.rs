//! LNSs that our dialler calls.

use std::time::Duration;

use serde_json::Value;
use xlns_tests::deadline;

use crate::lac::{Call, Lac, SESSION_ID, TUNNEL_ID, sccrq};
use crate::octets::{
    ICCN, ICRP, ICRQ, IPCP, LCP, PAP, SCCCN, SCCRP, SCCRQ, STOP_CCN, frame, mandatory,
};
use crate::stage::{Settings, Stage};

/// How long the client may take to say what has become of it.
const WAIT: Duration = Duration::from_secs(10);

/// A client that dials where a LAC is else.
const CLIENT: &str = "[[client]]\nname = \"up\"\nservers = [{ address = \"192.0.2.2\" }]\n\
    user = \"bob\"\npassword = \"secret\"\nauthentication = [\"pap\"]\n\
    address_control = \"always\"\nredial_initial_seconds = 60\n";

/// xlnsd with that client, and what it dials.
fn dialled(name: &str) -> (Stage, Lac) {
    // Its first request may come before there is a socket to hear it.
    let l2tp = "retransmit_initial_ms = 1000\nretransmit_max_ms = 20000\n";
    let stage = Stage::with(name, &Settings { l2tp, ppp: "", profiles: CLIENT });
    let server = stage.lac_at(1701);
    (stage, server)
}

/// Takes tunnel and call.
fn answer(server: &mut Lac) -> Call {
    server.tunnel_id = 0;
    server.lns_tunnel_id = server.hear(SCCRQ).id(9);
    server.tunnel_id = TUNNEL_ID;
    server.say(0, SCCRP, &sccrq(TUNNEL_ID));
    server.hear(SCCCN);
    let lns_id = server.hear(ICRQ).id(14);
    server.say(lns_id, ICRP, &mandatory(14, &SESSION_ID.to_be_bytes()));
    server.hear(ICCN);
    server.acknowledge();
    Call { id: SESSION_ID, lns_id, acfc: false }
}

/// The client, once it is in this state.
#[track_caller]
fn wait_state(stage: &Stage, state: &str) -> Value {
    let row = || stage.show("clients").into_iter().find(|row| row["state"] == state);
    deadline::poll(WAIT, row).unwrap_or_else(|| panic!("{:?}", stage.show("clients")))
}

#[test]
fn softether_asks_for_eap_and_ends_without_a_result() {
    let (stage, mut server) = dialled("row-39");
    let call = answer(&mut server);
    let request = server.packet(&call, LCP);
    // An echo before LCP is open, with a magic number of zero.
    server.send_frame(&call, &frame(LCP, 9, 1, &[0, 0, 0, 0]));
    // EAP, MS-CHAPv2, and then what the client has.
    let pap = [3, 4, 0xc0, 0x23];
    server.send_frame(&call, &frame(LCP, 1, 1, &[3, 4, 0xc2, 0x27]));
    assert_eq!(server.packet(&call, LCP), request);
    server.expect(&call, LCP, 3, 1, &pap);
    server.send_frame(&call, &frame(LCP, 1, 2, &[3, 5, 0xc2, 0x23, 0x81]));
    server.expect(&call, LCP, 3, 2, &pap);
    server.send_frame(&call, &frame(LCP, 1, 3, &pap));
    server.expect(&call, LCP, 2, 3, &pap);
    server.send_frame(&call, &frame(LCP, 2, request[1], &request[4..]));
    // It lets in without a word, not even the length of one.
    server.expect(&call, PAP, 1, 1, b"\x03bob\x06secret");
    server.send_frame(&call, &frame(PAP, 2, 1, &[]));
    let wish = server.packet(&call, IPCP);
    assert_eq!(wish[4..10], [3, 6, 0, 0, 0, 0]);
    let given = [3, 6, 192, 168, 30, 10, 0x81, 6, 192, 168, 30, 1, 0x83, 6, 0, 0, 0, 0];
    server.send_frame(&call, &frame(IPCP, 3, wish[1], &given));
    let wish = server.packet(&call, IPCP);
    assert_eq!(wish[4..16], given[..12]);
    server.send_frame(&call, &frame(IPCP, 2, wish[1], &wish[4..]));
    server.send_frame(&call, &frame(IPCP, 1, 1, &[3, 6, 192, 168, 30, 1]));
    server.expect(&call, IPCP, 2, 1, &[3, 6, 192, 168, 30, 1]);
    assert_eq!(wait_state(&stage, "up")["address"], "192.168.30.10");
    // Its end has a result of a single octet.
    server.say(0, STOP_CCN, &[mandatory(9, &TUNNEL_ID.to_be_bytes()), mandatory(1, &[6])].concat());
    let row = wait_state(&stage, "backoff");
    assert!(row["last_error"].as_str().is_some_and(|error| error.starts_with("tunnel: ")), "{row}");
}

#[test]
fn a_server_that_refuses_is_quoted() {
    let (stage, mut server) = dialled("refuses");
    let call = answer(&mut server);
    let pap = [3, 4, 0xc0, 0x23];
    server.acknowledge_lcp(&call);
    server.send_frame(&call, &frame(LCP, 1, 1, &pap));
    server.expect(&call, LCP, 2, 1, &pap);
    server.expect(&call, PAP, 1, 1, b"\x03bob\x06secret");
    server.send_frame(&call, &frame(PAP, 3, 1, b"\x0ano account"));
    let terminate = server.packet(&call, LCP);
    server.send_frame(&call, &frame(LCP, 6, terminate[1], &[]));
    assert_eq!(wait_state(&stage, "backoff")["last_error"], "refused by the peer: no account");
}
