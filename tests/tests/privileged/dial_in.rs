//! A subscriber dials in: what every client does, and what goes wrong.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use xlns_tests::deadline;
use xlns_tests::hostile::{Attacker, Live, Wire, know_disguises};
use xlns_tests::peer::{Dialer, Login, Tunnel};
use xlns_tests::process::Process;
use xlns_tests::topology::{ACCESS_PORT, CORE_ADDRESS, GATEWAY, LAC_ADDRESS, LAC_END, LNS_ADDRESS};
use xlns_tests::xlns::Settings;

use crate::stage::{
    PATIENCE, alice, assert_reaches, assert_sound, bob, stage, wait_none, wait_open,
};

/// A dead peer is noticed after 1 s of silence and given up 200 + 400 + 400 + 400 ms later.
const IMPATIENT: &str = "hello_interval_seconds = 1\nretransmit_initial_ms = 200\n\
                         retransmit_max_ms = 400\nretransmit_tries = 3\n";

/// What xl2tpd says of a StopCCN; of a CDN it says less.
const TUNNEL_CLOSED: &str = "closed to 192.0.2.1, port 1701 (";

#[test]
fn chap_brings_a_subscriber_up_to_the_core() {
    let stage = stage();
    let mut xlns = stage.xlns("chap", &Settings::default()).unwrap();
    let dialer = stage.dialer(&[alice()]).unwrap();
    let session = dialer.dial(&alice()).unwrap();
    assert_eq!(session.gateway, GATEWAY);
    let log = session.log().text();
    assert!(log.contains("CHAP authentication succeeded"), "{log}");
    assert!(log.contains("primary   DNS address 192.0.2.53"), "{log}");

    let rows = wait_open(&xlns, 1);
    assert_eq!(rows[0]["user"], "alice");
    assert_eq!(rows[0]["authentication"], "chap-md5");
    assert_eq!(rows[0]["address"], session.address.to_string());

    assert_reaches(&xlns, &session, CORE_ADDRESS);
    assert_reaches(&xlns, &session, GATEWAY);
    let ping = stage.topology.core.run(&format!("ping -n -c 3 -i 0.05 -W 2 {}", session.address));
    assert!(ping.unwrap().contains(" 3 received"));
    let row = &wait_open(&xlns, 1)[0];
    // Three pings to the core, three to the gateway, three answers to the core's.
    assert!(row["upstream_packets"].as_u64() >= Some(9), "{row}");
    assert!(row["downstream_packets"].as_u64() >= Some(9), "{row}");
    assert_sound(&mut xlns);
}

#[test]
fn pap_brings_a_subscriber_up() {
    let stage = stage();
    let mut xlns = stage.xlns("pap", &Settings::default()).unwrap();
    let login = Login::pap("alice", "alice-password");
    let dialer = stage.dialer(std::slice::from_ref(&login)).unwrap();
    // CHAP is asked for first: pppd refuses it, and PAP is agreed on.
    let session = dialer.dial(&login).unwrap();
    assert!(session.log().text().contains("PAP authentication succeeded"));
    assert_eq!(wait_open(&xlns, 1)[0]["authentication"], "pap");
    assert_reaches(&xlns, &session, CORE_ADDRESS);
    assert_sound(&mut xlns);
}

#[test]
fn a_wrong_password_is_refused_as_such() {
    let stage = stage();
    let mut xlns = stage.xlns("wrong-password", &Settings::default()).unwrap();
    for login in [Login::chap("alice", "wrong"), Login::pap("alice", "wrong")] {
        let before = xlns.counter("l2tp", "authentication_refused").unwrap();
        let dialer = stage.dialer(std::slice::from_ref(&login)).unwrap();
        let session = dialer.start_call(&login, "alice").unwrap();
        let log = session.wait_down(PATIENCE).unwrap();
        assert!(log.contains("authentication failed"), "{log}");
        assert!(!log.contains("local  IP address"), "{log}");
        wait_none(&xlns, "sessions", PATIENCE);
        assert_eq!(xlns.counter("l2tp", "authentication_refused").unwrap(), before + 1);
    }
    let dialer = stage.dialer(&[alice()]).unwrap();
    dialer.dial(&alice()).unwrap();
    assert_eq!(xlns.ended(), None);
}

#[test]
fn a_wrong_tunnel_secret_opens_no_tunnel() {
    let stage = stage();
    let xlns = stage.xlns("wrong-secret", &Settings::default()).unwrap();
    // First xl2tpd finds out, then, not asking itself, xlns does.
    for challenge in [true, false] {
        let tunnel = Tunnel { lns: LNS_ADDRESS, secret: Some("wrong".to_owned()), challenge };
        let dialer = Dialer::start(&stage.guest, &tunnel, &[alice()]).unwrap();
        let _call = dialer.start_call(&alice(), "alice").unwrap();
        dialer.wait_line(0, PATIENCE, TUNNEL_CLOSED).unwrap();
        let none_open = |rows: &[Value]| rows.iter().all(|row| row["state"] != "established");
        xlns.wait_rows("tunnels", PATIENCE, none_open).unwrap();
        assert_eq!(xlns.show("sessions").unwrap(), Vec::<Value>::new());
    }
}

#[test]
fn two_sessions_share_a_tunnel_and_reach_each_other() {
    let stage = stage();
    let sections = "[quality]\ninterval_ms = 200\nloss_after_ms = 2000\n".to_owned();
    let mut xlns =
        stage.xlns("two-sessions", &Settings { sections, ..Settings::default() }).unwrap();
    let dialer = stage.dialer(&[alice(), bob()]).unwrap();
    let first = dialer.dial(&alice()).unwrap();
    let second = dialer.dial_in_tunnel(dialer.tunnel_id().unwrap(), &bob()).unwrap();
    let rows = wait_open(&xlns, 2);
    assert_eq!(rows[0]["tunnel_id"], rows[1]["tunnel_id"]);
    assert_ne!(rows[0]["session_id"], rows[1]["session_id"]);
    assert_eq!(xlns.show("tunnels").unwrap()[0]["sessions"], 2);

    let upstream = |rows: &[Value]| -> u64 {
        rows.iter().filter_map(|row| row["upstream_packets"].as_u64()).sum()
    };
    let before = upstream(&rows);
    assert_reaches(&xlns, &first, second.address);
    assert_reaches(&xlns, &second, first.address);
    // Six requests and six answers: none took a way inside of the guest.
    let grown = |rows: &[Value]| upstream(rows) >= before + 12;
    xlns.wait_rows("sessions", PATIENCE, grown).unwrap();
    assert_reaches(&xlns, &second, CORE_ADDRESS);

    // Both answer the workers' echoes, which are no packets of theirs.
    let is_measured = |row: &Value| {
        let recent = row["recent"].as_u64().unwrap_or(0);
        recent >= 10 && row["recent_untimed"] == 0 && row["median_us"].as_u64() > Some(0)
    };
    let measured = |rows: &[Value]| rows.len() == 2 && rows.iter().all(is_measured);
    let rows = xlns.wait_rows("quality", PATIENCE, measured).unwrap();
    let mut users: Vec<_> = rows.iter().filter_map(|row| row["user"].as_str()).collect();
    users.sort_unstable();
    assert_eq!(users, ["alice", "bob"]);

    drop(first);
    dialer.command("d alice").unwrap();
    wait_none(&xlns, "sessions", PATIENCE);
    // A closed tunnel lingers, to answer a repeated StopCCN (RFC 2661 section 5.7).
    let none_open = |rows: &[Value]| rows.iter().all(|row| row["state"] == "closing");
    xlns.wait_rows("tunnels", PATIENCE, none_open).unwrap();
    assert_sound(&mut xlns);
}

#[test]
fn tcp_flows_both_ways() {
    let stage = stage();
    let mut xlns = stage.xlns("tcp", &Settings::default()).unwrap();
    let mut command = stage.topology.core.command("iperf3");
    command.args(["-s", "--forceflush"]).stdin(Stdio::null());
    let log = stage.lab.log("tcp-iperf3");
    let server = Process::spawn("iperf3", &mut command, &log).unwrap();
    server.wait_line(PATIENCE, "Server listening").unwrap();
    let dialer = stage.dialer(&[alice()]).unwrap();
    let session = dialer.dial(&alice()).unwrap();
    for direction in ["", "-R"] {
        let script = format!("iperf3 -c {CORE_ADDRESS} -B {} -t 2 -J {direction}", session.address);
        let report = stage.guest.check(&script, PATIENCE).unwrap();
        let report: Value = serde_json::from_str(&report).unwrap();
        let received = &report["end"]["sum_received"];
        assert!(received["bytes"].as_f64().unwrap() > 1e6, "{direction}: {received}");
    }
    assert_sound(&mut xlns);
    assert_reaches(&xlns, &session, CORE_ADDRESS);
}

#[test]
fn hello_clears_the_tunnel_of_a_crashed_peer() {
    let stage = stage();
    let settings = Settings { l2tp: IMPATIENT.to_owned(), ..Settings::default() };
    let mut xlns = stage.xlns("crash", &settings).unwrap();
    let dialer = stage.dialer(&[alice()]).unwrap();
    let session = dialer.dial(&alice()).unwrap();
    wait_open(&xlns, 1);
    // Three HELLOs later all is well still.
    deadline::watch(Duration::from_secs(3));
    assert_reaches(&xlns, &session, CORE_ADDRESS);
    wait_open(&xlns, 1);
    dialer.crash().unwrap();
    wait_none(&xlns, "sessions", PATIENCE);
    wait_none(&xlns, "tunnels", PATIENCE);
    assert_eq!(xlns.dataplane_sessions(), Some(0));
    assert_eq!(xlns.ended(), None);
    // The address is free again, and so is the peer's port.
    drop((session, dialer));
    let dialer = stage.dialer(&[alice()]).unwrap();
    assert_reaches(&xlns, &dialer.dial(&alice()).unwrap(), CORE_ADDRESS);
}

#[test]
fn clear_session_ends_the_call_and_leaves_the_tunnel() {
    let stage = stage();
    let xlns = stage.xlns("clear-session", &Settings::default()).unwrap();
    let dialer = stage.dialer(&[alice(), bob()]).unwrap();
    let first = dialer.dial(&alice()).unwrap();
    let second = dialer.dial_in_tunnel(dialer.tunnel_id().unwrap(), &bob()).unwrap();
    wait_open(&xlns, 2);
    xlns.command(&["clear", "session", "--user", "alice"]).unwrap();
    let log = first.wait_down(PATIENCE).unwrap();
    assert!(log.contains("rcvd [LCP TermReq"), "pppd was told: {log}");
    assert_eq!(wait_open(&xlns, 1)[0]["user"], "bob");
    assert_reaches(&xlns, &second, CORE_ADDRESS);
}

#[test]
fn clear_tunnel_ends_all_of_it() {
    let stage = stage();
    let xlns = stage.xlns("clear-tunnel", &Settings::default()).unwrap();
    let dialer = stage.dialer(&[alice()]).unwrap();
    let session = dialer.dial(&alice()).unwrap();
    let tunnel = wait_open(&xlns, 1)[0]["tunnel_id"].as_u64().unwrap().to_string();
    xlns.command(&["clear", "tunnel", &tunnel]).unwrap();
    session.wait_down(PATIENCE).unwrap();
    dialer.wait_line(0, PATIENCE, TUNNEL_CLOSED).unwrap();
    wait_none(&xlns, "sessions", PATIENCE);
    assert_eq!(xlns.dataplane_sessions(), Some(0));
}

#[test]
fn a_new_data_plane_is_filled_again() {
    let stage = stage();
    let mut xlns = stage.xlns("resync", &Settings::default()).unwrap();
    let dialer = stage.dialer(&[alice()]).unwrap();
    let session = dialer.dial(&alice()).unwrap();
    let before = wait_open(&xlns, 1);
    assert_reaches(&xlns, &session, CORE_ADDRESS);
    xlns.replace_dataplane(1).unwrap();
    assert_reaches(&xlns, &session, CORE_ADDRESS);
    assert_reaches(&xlns, &session, GATEWAY);
    let after = wait_open(&xlns, 1);
    assert_eq!(before[0]["session_id"], after[0]["session_id"], "the subscriber saw nothing");
    assert!(!session.log().text().contains("Connection terminated"));
    assert_sound(&mut xlns);
}

#[test]
fn a_hundred_thousand_hostile_frames_leave_a_session_alone() {
    const FRAMES: u32 = 100_000;
    const ROUNDS: u32 = 10;
    /// Half-open tunnels and their buffers are bounded by the configuration.
    const GROWTH_KIB_MAX: u64 = 64 * 1024;
    let stage = stage();
    let mut xlns = stage.xlns("hostile", &Settings::default()).unwrap();
    know_disguises(&stage.topology.lns, ACCESS_PORT, LAC_ADDRESS).unwrap();
    let wire = Wire::open(&stage.topology.lac, LAC_END).unwrap();
    let dialer = stage.dialer(&[alice()]).unwrap();
    // What passes while a tunnel, a session and three pings come up is what gets mutated.
    let (captured, session) = std::thread::scope(|scope| {
        let capture = scope.spawn(|| wire.capture(Duration::from_secs(6), 4000));
        let session = dialer.dial(&alice()).unwrap();
        assert_reaches(&xlns, &session, CORE_ADDRESS);
        (capture.join().unwrap(), session)
    });
    let before = wait_open(&xlns, 1);
    let tunnel = before[0]["tunnel_id"].as_u64().and_then(|id| u16::try_from(id).ok()).unwrap();
    let live = Live { peer: LAC_ADDRESS, local_tunnel_id: tunnel };
    let mut attacker = Attacker::new(20_661, &captured, LNS_ADDRESS, live).unwrap();
    let memory = xlns.resident_kib().unwrap();
    for round in 0..ROUNDS {
        for _ in 0..FRAMES / ROUNDS {
            wire.send(&attacker.frame());
        }
        assert_eq!(xlns.ended(), None, "round {round}");
        assert_reaches(&xlns, &session, CORE_ADDRESS);
    }
    let after = xlns.show("sessions").unwrap();
    let ours = after.iter().find(|row| row["user"] == "alice").expect("the session is there");
    for key in ["tunnel_id", "session_id", "peer_session_id", "state", "address"] {
        assert_eq!(ours[key], before[0][key], "{key}");
    }
    assert_reaches(&xlns, &session, GATEWAY);
    let later = xlns.resident_kib().unwrap();
    for (before, later) in memory.into_iter().zip(later) {
        assert!(later < before + GROWTH_KIB_MAX, "{before} KiB before, {later} KiB after");
    }
    assert!(xlns.totals().unwrap().dropped > 0, "workers saw some of it");
    assert_sound(&mut xlns);
}
