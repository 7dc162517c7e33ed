//! xlns dials: stock xl2tpd and pppd as LNS, and l2tpns.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Stdio;

use serde_json::Value;
use xlns_tests::judge::Capture;
use xlns_tests::l2tpns::{self, L2tpns};
use xlns_tests::output::Output;
use xlns_tests::process::Process;
use xlns_tests::server::{BEHIND, Options, SERVER_GATEWAY, Server};
use xlns_tests::topology::{LAC_ADDRESS, LAC_END, Topology};
use xlns_tests::xlns::{Settings, Xlns};

use crate::stage::{PATIENCE, assert_sound, stage};

/// What every judged frame of ours comes from.
const OURS: &str = "ip.src == 192.0.2.1 && udp.dstport == 1701";

/// Where l2tpns is, beside the guest, and beside those in whose name hostile frames come.
const L2TPNS_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 251);

/// A `[[client]]` that dials `server` and leads to what is behind it; more lines of it.
fn dials(server: Ipv4Addr, lines: &str) -> Settings {
    let sections = format!(
        "[[client]]\nname = \"uplink\"\nservers = [{{ address = \"{server}\" }}]\n\
         secret = \"tunnel-secret\"\nuser = \"alice\"\npassword = \"alice-password\"\n\
         routes = [\"{BEHIND}/32\"]\nredial_max_seconds = 2\n{lines}\n"
    );
    Settings { sections, core: true, l2tp: IMPATIENT.to_owned(), ..Settings::default() }
}

/// A dead server is noticed soon.
const IMPATIENT: &str = "hello_interval_seconds = 1\nretransmit_initial_ms = 200\n\
                         retransmit_max_ms = 400\nretransmit_tries = 3\n";

fn xl2tpd(pppd: &str) -> Options {
    Options {
        secret: Some("tunnel-secret".to_owned()),
        challenge: true,
        users: vec![("alice".to_owned(), "alice-password".to_owned())],
        pppd: pppd.to_owned(),
    }
}

/// Waits until the client is up; its row.
#[track_caller]
fn wait_up(xlns: &Xlns<'_>) -> Value {
    let rows = xlns.wait_rows("clients", PATIENCE, |rows| rows[0]["state"] == "up");
    rows.unwrap().remove(0)
}

/// The LNS's own host, through `xlns0`, and a host in the core network, through the workers.
#[track_caller]
fn assert_reaches_behind(topology: &Topology, xlns: &Xlns<'_>) {
    for from in [&topology.lns, &topology.core] {
        let ping = from.run(&format!("ping -n -c 3 -i 0.05 -W 2 {BEHIND}"));
        let counters = || xlns.command(&["show", "counters"]).unwrap_or_default();
        let arrived = ping.as_ref().is_ok_and(|ping| ping.contains(" 3 received"));
        assert!(arrived, "{}: {ping:?}\n{}", from.name(), counters());
    }
}

/// TCP from the core network to what is behind the server, and back; `iperf3` is what that says.
#[track_caller]
fn assert_tcp_flows(topology: &Topology, iperf3: &Output) {
    let mut mark = 0;
    for direction in ["", "-R"] {
        // Whoever comes while it still clears up after the last one is sent away.
        iperf3.wait_for(mark, PATIENCE, "Server listening").expect("iperf3 listens");
        mark = iperf3.mark();
        let line = format!("iperf3 -c {BEHIND} -t 2 -J {direction}");
        let report = topology.core.run(&line).unwrap();
        let parsed: Value = serde_json::from_str(&report).unwrap();
        let received = parsed["end"]["sum_received"]["bytes"].as_f64();
        assert!(received > Some(1e6), "{direction}: {report}");
    }
}

/// xl2tpd gives a session one address; the network behind us is routed there by hand.
fn route_core(stage: &crate::stage::Stage) {
    let script = "ip route replace 198.51.100.0/24 dev srv0";
    stage.guest.check(script, PATIENCE).unwrap();
}

#[test]
fn xl2tpd_asks_for_each_proof() {
    let stage = stage();
    for (wanted, log) in [
        ("require-chap", "sent [CHAP Success"),
        ("require-mschap-v2", "\"S="),
        ("require-pap", "sent [PAP AuthAck"),
    ] {
        let pppd = format!("{wanted}\nifname srv0\nchap-interval 1\n");
        let server = Server::start(&stage.guest, &xl2tpd(&pppd)).unwrap();
        let all = "authentication = [\"chap-md5\", \"ms-chap-v2\", \"pap\"]";
        let settings = dials(LAC_ADDRESS, all);
        let mut xlns = stage.xlns(&format!("dials-{wanted}"), &settings).unwrap();
        let row = wait_up(&xlns);
        assert_eq!(row["peer_address"], SERVER_GATEWAY.to_string(), "{row}");
        server.wait_line(0, PATIENCE, log).unwrap();
        route_core(&stage);
        assert_reaches_behind(&stage.topology, &xlns);
        // It challenges again each second, and asks for echoes.
        if wanted != "require-pap" {
            let mark = server.log().mark();
            server.wait_line(mark, PATIENCE, "rcvd [CHAP Response").unwrap();
            server.wait_line(mark, PATIENCE, "sent [CHAP Success").unwrap();
        }
        server.wait_line(0, PATIENCE, "rcvd [LCP EchoRep").unwrap();
        assert_eq!(wait_up(&xlns)["redials"], 0);
        assert_sound(&mut xlns);
    }
}

#[test]
fn a_proof_that_is_not_configured_is_not_given() {
    let stage = stage();
    let server = Server::start(&stage.guest, &xl2tpd("require-pap\nifname srv0\n")).unwrap();
    let xlns = stage.xlns("no-pap", &dials(LAC_ADDRESS, "authentication = [\"chap-md5\"]"));
    let xlns = xlns.unwrap();
    let failed = |rows: &[Value]| rows[0]["last_error"].as_str().is_some_and(|e| !e.is_empty());
    xlns.wait_rows("clients", PATIENCE, failed).unwrap();
    let log = server.log().text();
    assert!(!log.contains("alice-password"), "{log}");
    assert!(!log.contains("authentication succeeded"), "{log}");
}

#[test]
fn tcp_flows_through_xl2tpd() {
    let stage = stage();
    let server = Server::start(&stage.guest, &xl2tpd("require-chap\nifname srv0\n")).unwrap();
    let capture = Capture::start(&stage.lab, &stage.topology.lac, LAC_END, "dialled").unwrap();
    let mut xlns = stage.xlns("dials-tcp", &dials(LAC_ADDRESS, "")).unwrap();
    wait_up(&xlns);
    route_core(&stage);
    assert_reaches_behind(&stage.topology, &xlns);
    let frames = capture.end().unwrap();
    assert_eq!(frames.complaints(OURS).unwrap(), Vec::<String>::new());
    let messages =
        frames.fields(&format!("{OURS} && l2tp.avp.message_type"), &["l2tp.avp.message_type"]);
    let messages = messages.unwrap();
    assert_eq!(messages[..4], ["1", "3", "10", "12"], "SCCRQ, SCCCN, ICRQ, ICCN");

    let iperf3 = stage.guest.start("exec iperf3 -s --forceflush").unwrap();
    assert_tcp_flows(&stage.topology, iperf3.output());
    stage.guest.signal(&iperf3, "TERM").unwrap();
    let row = wait_up(&xlns);
    assert!(row["sent_packets"].as_u64() > Some(100), "{row}");
    assert!(row["received_packets"].as_u64() > Some(100), "{row}");
    assert_sound(&mut xlns);
    drop(server);
}

#[test]
fn a_session_that_xl2tpd_ends_is_dialled_anew() {
    let stage = stage();
    let options = xl2tpd("require-chap\nifname srv0\n");
    let server = Server::start(&stage.guest, &options).unwrap();
    let mut xlns = stage.xlns("redials", &dials(LAC_ADDRESS, "ipv6 = false")).unwrap();
    wait_up(&xlns);
    // The LNS hangs up.
    let mark = server.log().mark();
    server.hang_up().unwrap();
    server.wait_line(mark, PATIENCE, "Connection terminated").unwrap();
    let again = |rows: &[Value]| rows[0]["redials"].as_u64() >= Some(1) && rows[0]["state"] == "up";
    xlns.wait_rows("clients", PATIENCE, again).unwrap();
    route_core(&stage);
    assert_reaches_behind(&stage.topology, &xlns);
    // The LNS dies, and comes back.
    server.crash().unwrap();
    drop(server);
    let lost = |rows: &[Value]| rows[0]["state"] != "up";
    xlns.wait_rows("clients", PATIENCE, lost).unwrap();
    let server = Server::start(&stage.guest, &options).unwrap();
    wait_up(&xlns);
    route_core(&stage);
    assert_reaches_behind(&stage.topology, &xlns);
    assert_sound(&mut xlns);
    drop(server);
}

#[test]
fn ipv6_is_agreed_on_with_pppd() {
    let stage = stage();
    let pppd = "require-chap\nifname srv0\n+ipv6\n";
    let server = Server::start(&stage.guest, &xl2tpd(pppd)).unwrap();
    let xlns = stage.xlns("dials-ipv6", &dials(LAC_ADDRESS, "ipv6 = true")).unwrap();
    wait_up(&xlns);
    let line = server.wait_line(0, PATIENCE, "remote LL address").unwrap();
    let seen: Ipv6Addr = line.rsplit(' ').next().unwrap().parse().unwrap();
    let is_ours = |rows: &[Value]| rows[0]["link_local"] == seen.to_string();
    xlns.wait_rows("clients", PATIENCE, is_ours).unwrap();
    route_core(&stage);
    assert_reaches_behind(&stage.topology, &xlns);
}

/// l2tpns in the namespace beside the guest, with the network behind it on its loopback.
fn start_l2tpns(
    stage: &crate::stage::Stage,
    name: &str,
    change: impl FnOnce(&mut l2tpns::Settings),
) -> L2tpns {
    let lac = &stage.topology.lac;
    lac.ip(&format!("addr replace {L2TPNS_ADDRESS}/24 dev {LAC_END}")).unwrap();
    lac.ip(&format!("addr replace {BEHIND}/32 dev lo")).unwrap();
    lac.set("net/ipv4/conf/all/rp_filter", "0").unwrap();
    let mut settings = l2tpns::Settings::new(L2TPNS_ADDRESS);
    settings.password = "alice-password".to_owned();
    settings.routes = vec!["198.51.100.0/24".to_owned()];
    change(&mut settings);
    L2tpns::start(&stage.lab, lac, name, &settings).unwrap()
}

#[test]
fn l2tpns_takes_our_call() {
    let stage = stage();
    for authentication in ["chap", "pap"] {
        let name = format!("l2tpns-{authentication}");
        let l2tpns =
            start_l2tpns(&stage, &name, |settings| settings.authentication = authentication);
        let both = "authentication = [\"chap-md5\", \"pap\"]";
        let mut xlns = stage.xlns(&name, &dials(L2TPNS_ADDRESS, both)).unwrap();
        let row = wait_up(&xlns);
        assert!(row["address"].as_str().unwrap().starts_with("10.99."), "{row}");
        assert_reaches_behind(&stage.topology, &xlns);
        assert_eq!(wait_up(&xlns)["redials"], 0);
        assert_sound(&mut xlns);
        drop(l2tpns);
    }
}

#[test]
fn l2tpns_forwards_tcp_and_comes_back() {
    let stage = stage();
    let mut l2tpns = start_l2tpns(&stage, "l2tpns-tcp", |_| ());
    let mut xlns = stage.xlns("l2tpns-tcp", &dials(L2TPNS_ADDRESS, "")).unwrap();
    wait_up(&xlns);
    let mut command = stage.topology.lac.command("iperf3");
    command.args(["-s", "--forceflush"]).stdin(Stdio::null());
    let server = Process::spawn("iperf3", &mut command, &stage.lab.log("l2tpns-iperf3")).unwrap();
    assert_tcp_flows(&stage.topology, server.output());
    l2tpns.crash();
    let lost = |rows: &[Value]| rows[0]["state"] != "up";
    xlns.wait_rows("clients", PATIENCE, lost).unwrap();
    drop(l2tpns);
    let _again = start_l2tpns(&stage, "l2tpns-again", |_| ());
    wait_up(&xlns);
    assert_reaches_behind(&stage.topology, &xlns);
    assert_sound(&mut xlns);
}
