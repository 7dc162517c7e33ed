//! The command line as an operator meets it: a real `xlns`, a server that stands in for xlnsd, and
//! scripts that stand in for the programs which `xlns run` starts.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use mio::{Events, Poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use tempfile::TempDir;
use xlns_control::admin::{
    ClassRow, ClientRow, CounterRow, Cursor, ErrorsRow, LacRow, LineRow, PlaceCall, PlacedRow,
    QualityFilter, QualityRow, QualityScope, QualitySummaryRow, Query, Request, Response, RouteRow,
    Server, SessionFilter, SessionRow, SessionSelector, TunnelRow, TunnelSelector,
};

/// A program may not be started while a thread beside still has it open for writing, or has just
/// forked with it: files are written and programs started one at a time.
static STARTING: Mutex<()> = Mutex::new(());

fn xlns(arguments: &[&str]) -> Output {
    let child = {
        let _guard = STARTING.lock().unwrap();
        Command::new(env!("CARGO_BIN_EXE_xlns"))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    child.wait_with_output().unwrap()
}

fn out(output: &Output) -> &str {
    str::from_utf8(&output.stdout).unwrap()
}

fn err(output: &Output) -> &str {
    str::from_utf8(&output.stderr).unwrap()
}

// ---- check -----------------------------------------------------------------------------------

const GOOD: &str = "[lns]\nlisten = [\"192.0.2.1\"]\ngateway = \"10.0.0.1\"\n\
    [[port]]\ninterface = \"eth0\"\n\
    [[lac]]\nname = \"any\"\nsecret = \"hunter1\"\n\
    [[pool]]\nname = \"home\"\nprefixes = [\"10.0.0.0/24\"]\n\
    [[user]]\nname = \"alice\"\npassword = \"hunter2\"\n";

fn check(text: &str, more: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("xlns.toml");
    fs::write(&path, text).unwrap();
    xlns(&[&["check", "--config", path.to_str().unwrap()], more].concat())
}

#[test]
fn check_prints_what_is_in_force_without_secrets() {
    let output = check(GOOD, &[]);
    assert!(output.status.success(), "{}", err(&output));
    assert_eq!(err(&output), "");
    let printed: toml::Table = out(&output).parse().unwrap();
    assert_eq!(printed["l2tp"]["hello_interval_seconds"].as_integer(), Some(60));
    assert_eq!(printed["user"][0]["password"].as_str(), Some("<set>"));
    assert!(!out(&output).contains("hunter"));
}

#[test]
fn check_prints_json_without_secrets() {
    let output = check(GOOD, &["--json"]);
    assert!(output.status.success(), "{}", err(&output));
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed["lns"]["port"], 1701);
    assert_eq!(printed["lac"][0]["secret"], "<set>");
    assert!(!out(&output).contains("hunter"));
}

#[test]
fn check_points_at_the_line() {
    let output = check(&GOOD.replace("10.0.0.1", "192.0.2.1"), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(out(&output), "");
    let shown = err(&output);
    for part in ["xlns.toml:3:", "gateway = \"192.0.2.1\"", "host", "allow_gateway_on_listen"] {
        assert!(shown.contains(part), "{part} is not in:\n{shown}");
    }
    let output = check(
        "[[port]]\ninterface = \"eth0\"\n[lns]\nlisten = [\"192.0.2.1\"]\ngatway = \"10.0.0.1\"\n",
        &["--json"],
    );
    assert_eq!(output.status.code(), Some(1));
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let problem = &shown["problems"][1];
    assert_eq!((&problem["key"], &problem["line"]), (&"lns.gatway".into(), &5.into()), "{shown}");
    assert_eq!(problem["help"], "did you mean `gateway`?");
}

#[test]
fn check_warns_of_what_is_probably_not_meant() {
    let output = check(&GOOD.replace("secret = \"hunter1\"\n", ""), &[]);
    assert!(output.status.success());
    assert!(err(&output).starts_with("xlns: warning: no tunnel secret"), "{}", err(&output));
}

#[test]
fn the_example_is_accepted() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../xlns.example.toml");
    let output = xlns(&["check", "--config", path]);
    assert!(output.status.success(), "{}", err(&output));
}

// ---- doctor ----------------------------------------------------------------------------------

#[test]
fn doctor_fails_for_what_can_be_no_port_and_says_the_rest() {
    let words = ["doctor", "--interface", "lo", "--socket", "/nonexistent/admin.sock"];
    let output = xlns(&[&words[..], &["--json"]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(err(&output), "", "what is wrong is in the answer");
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let find = |check: &str| {
        findings.as_array().unwrap().iter().find(|row| row["check"] == check).unwrap()
    };
    assert_eq!(
        (&find("interface")["subject"], &find("interface")["level"]),
        (&"lo".into(), &"fail".into())
    );
    assert_eq!(find("kernel")["subject"], "host");
    let asked = find("data-plane")["finding"].as_str().unwrap();
    assert!(asked.contains("/nonexistent/admin.sock"), "{asked}");

    let output = xlns(&words);
    assert_eq!(output.status.code(), Some(1));
    let shown = out(&output);
    assert!(shown.starts_with("host\n") && shown.contains("\nlo\n  fail  interface"), "{shown}");
    assert!(shown.lines().last().unwrap().contains(" fail, "), "{shown}");
}

#[test]
fn doctor_takes_the_ports_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("xlns.toml");
    fs::write(&path, GOOD.replace("\"eth0\"", "\"xlns-none\"")).unwrap();
    let output = xlns(&["doctor", "--config", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(out(&output).contains("\nxlns-none\n  fail  interface"), "{}", out(&output));
}

// ---- show and clear --------------------------------------------------------------------------

/// Stands in for xlnsd: answers each query by a function, a page at a time.
struct Fake {
    folder: TempDir,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Request>>>,
}

type Answer = fn(&Query) -> Result<(Vec<Response>, Option<Cursor>), String>;

impl Fake {
    fn start(answer: Answer) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let mut poll = Poll::new().unwrap();
        let path = folder.path().join("admin.sock");
        let mut server = Server::bind(&path, poll.registry(), 0).unwrap();
        let thread = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let mut asked = Vec::new();
                let mut events = Events::with_capacity(8);
                while !stop.load(Ordering::Relaxed) {
                    let pause = if server.has_query() { 0 } else { 10 };
                    poll.poll(&mut events, Some(Duration::from_millis(pause))).unwrap();
                    for event in &events {
                        server.handle_event(event.token(), poll.registry());
                    }
                    let Some(query) = server.poll_query() else { continue };
                    match answer(&query) {
                        Ok((rows, next)) => server.reply(query.connection, &rows, next),
                        Err(message) => server.refuse(query.connection, &message),
                    }
                    asked.push(query.request);
                }
                asked
            }
        });
        Self { folder, stop, thread: Some(thread) }
    }

    fn xlns(&self, arguments: &[&str]) -> Output {
        let socket = self.folder.path().join("admin.sock");
        xlns(&[arguments, &["--socket", socket.to_str().unwrap()]].concat())
    }

    fn asked(mut self) -> Vec<Request> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn tunnel() -> TunnelRow {
    TunnelRow {
        tunnel_id: 4711,
        peer_tunnel_id: 9,
        peer: "198.51.100.7:1701".parse().unwrap(),
        local: "192.0.2.1:1701".parse().unwrap(),
        host_name: "lac\u{1b}[2J".into(),
        vendor_name: "xelerance.com".into(),
        state: "established".into(),
        lac: String::new(),
        sessions: 2,
        is_port_translated: false,
        authentication: "challenge".into(),
        ns: 4,
        nr: 5,
        peer_window: 16,
        congestion_window: 3,
        unacknowledged: 0,
        retransmissions: 1,
        age_seconds: 3700,
    }
}

fn session(index: u64) -> SessionRow {
    SessionRow {
        tunnel_id: 4711,
        session_id: u16::try_from(index % 60_000).unwrap() + 1,
        peer_session_id: 7,
        peer: "198.51.100.7:1701".parse().unwrap(),
        user: format!("user{index}"),
        address: Some("10.0.0.7".parse().unwrap()),
        ipv6_prefix: Some("2001:db8:0:7::/64".parse().unwrap()),
        delegated_prefix: None,
        interface_identifier: Some("0200000000000007".into()),
        state: "open".into(),
        mru: 1460,
        authentication: "chap-md5".into(),
        calling_number: String::new(),
        lac: String::new(),
        line: Box::new(LineRow {
            circuit_id: "eth 1/7".into(),
            errors: Some(ErrorsRow { crc: 77, ..ErrorsRow::default() }),
            send_accm: Some(0xa0000),
            ..LineRow::default()
        }),
        address_control: false,
        upstream_packets: 12,
        upstream_bytes: 1_500_000,
        downstream_packets: 0,
        downstream_bytes: 0,
        age_seconds: 59,
    }
}

#[test]
fn tables_are_aligned_and_harmless() {
    let fake = Fake::start(|_| Ok((vec![Response::Tunnel(tunnel())], None)));
    let output = fake.xlns(&["show", "tunnels"]);
    assert!(output.status.success(), "{}", err(&output));
    let expected = "\
TUNNEL  PEER-ID  PEER               HOST-NAME     STATE        LAC  AUTH       SESSIONS  WINDOW  \
UNACKED  RESENT    AGE
  4711        9  198.51.100.7:1701  lac\\u{1b}[2J  established  -    challenge         2    3/16  \
\x20     0       1  1h01m
";
    assert_eq!(out(&output), expected);
}

#[test]
fn clients_say_when_they_are_dialled_again_and_why() {
    fn client() -> ClientRow {
        ClientRow {
            name: "uplink".into(),
            state: "backoff".into(),
            server: Some("198.51.100.7:1701".parse().unwrap()),
            tunnel_id: 0,
            session_id: 0,
            address: None,
            peer_address: None,
            link_local: None,
            peer_link_local: None,
            address6: None,
            delegated: None,
            dns: Vec::new(),
            routes: Vec::new(),
            up_seconds: None,
            redial_seconds: Some(7),
            redials: 3,
            last_error: "tunnel: peer does not answer\u{1b}".into(),
            received_packets: 0,
            received_bytes: 0,
            sent_packets: 0,
            sent_bytes: 0,
        }
    }
    let fake = Fake::start(|_| Ok((vec![Response::Client(client())], None)));
    let table = fake.xlns(&["show", "clients"]);
    assert!(out(&table).contains("uplink  backoff 7s  198.51.100.7:1701  -"), "{}", out(&table));
    assert!(out(&table).contains("peer does not answer\\u{1b}"), "{}", out(&table));
    let json = fake.xlns(&["show", "clients", "--json"]);
    let rows: Vec<ClientRow> = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(rows, [client()]);
}

#[test]
fn json_has_every_field_and_no_kind() {
    let fake = Fake::start(|_| Ok((vec![Response::Tunnel(tunnel())], None)));
    let output = fake.xlns(&["show", "tunnels", "--json"]);
    let rows: Vec<TunnelRow> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(rows, [tunnel()]);
    assert!(!out(&output).contains("kind"));
}

fn quality(session_id: u16, recent_lost: u32) -> QualityRow {
    QualityRow {
        tunnel_id: 1,
        session_id,
        user: format!("user{session_id}"),
        address: "10.0.0.7".parse().ok(),
        lac: "access".into(),
        peer: "198.51.100.7:1701".parse().unwrap(),
        sent: 1000,
        lost: recent_lost,
        recent: 200,
        recent_lost,
        recent_untimed: 0,
        silent_ms: 0,
        last_us: Some(12_000),
        min_us: Some(9_000),
        median_us: Some(12_345),
        p99_us: Some(20_000),
        max_us: Some(99_000),
        jitter_us: Some(400),
        latencies: vec![ClassRow { from_us: 8192, below_us: Some(12_288), count: 200 }],
    }
}

#[test]
fn quality_shows_the_worst_or_all_or_what_they_come_to() {
    static ASKED: Mutex<Vec<Request>> = Mutex::new(Vec::new());
    let fake = Fake::start(|query| {
        let Request::ShowQuality { scope, .. } = &query.request else { panic!("{query:?}") };
        ASKED.lock().unwrap().push(query.request.clone());
        let mut rows = Vec::new();
        if *scope != QualityScope::Worst(0) {
            rows.extend(
                [(1, 0), (2, 50)].map(|(id, lost)| Response::Quality(Box::new(quality(id, lost)))),
            );
        }
        if *scope != QualityScope::All {
            rows.push(Response::QualitySummary(QualitySummaryRow {
                lac: None,
                sessions: 2,
                silent: 0,
                lossy: 1,
                recent: 400,
                recent_lost: 50,
                median_us: Some(12_345),
                p90_us: Some(12_345),
                p99_us: Some(12_345),
                worst_us: Some(12_345),
                medians: vec![ClassRow { from_us: 12_288, below_us: Some(16_384), count: 2 }],
            }));
        }
        Ok((rows, None))
    });
    let text = |arguments: &[&str]| {
        let output = fake.xlns(&[&["show", "quality"], arguments].concat());
        assert!(output.status.success(), "{}", err(&output));
        out(&output).to_owned()
    };
    let worst = text(&["--lac", "access"]);
    assert!(
        worst.contains("All 2 monitored sessions: 0 silent, 1 with loss, 12.50% of"),
        "{worst}"
    );
    // Without an order of the server's own, the worst are first as well.
    let all = text(&["--all"]);
    let users: Vec<_> = all.lines().skip(1).map(|line| &line[..5]).collect();
    assert_eq!(users, ["user2", "user1"], "{all}");
    assert!(text(&["--summary"]).starts_with("LAC    SESSIONS"));
    let rows: Vec<QualityRow> = serde_json::from_str(&text(&["--json"])).unwrap();
    assert_eq!(rows, [quality(1, 0), quality(2, 50)]);
    let rows: Vec<QualityRow> = serde_json::from_str(&text(&["--all", "--json"])).unwrap();
    assert_eq!(rows.len(), 2);
    let rows: Vec<QualitySummaryRow> =
        serde_json::from_str(&text(&["--summary", "--json"])).unwrap();
    assert_eq!((rows.len(), rows[0].sessions), (1, 2));
    let asked = ASKED.lock().unwrap();
    let lac = Some("access".to_owned());
    let (filter, scope) = (QualityFilter { lac, ..Default::default() }, QualityScope::Worst(20));
    assert_eq!(asked[0], Request::ShowQuality { filter, scope });
    for refused in [["--worst", "0"], ["--worst", "257"], ["--all", "--summary"]] {
        assert!(!fake.xlns(&[&["show", "quality"], &refused[..]].concat()).status.success());
    }
}

#[test]
fn nothing_is_said_to_be_nothing() {
    let fake = Fake::start(|_| Ok((Vec::new(), None)));
    for (topic, empty) in [
        ("tunnels", "no tunnels\n"),
        ("lacs", "no LAC profiles\n"),
        ("sessions", "no sessions\n"),
        ("quality", "no session is monitored\n"),
        ("clients", "no clients: the configuration has no [[client]]\n"),
        ("ports", "no ports: the data plane is not up\n"),
        ("workers", "no workers: the data plane is not up\n"),
        ("routes", "no routes\n"),
        ("counters", "no counter is above zero (--all shows every one)\n"),
    ] {
        let output = fake.xlns(&["show", topic]);
        assert!(output.status.success());
        assert_eq!(out(&output), empty);
        assert_eq!(out(&fake.xlns(&["show", topic, "--json"])), "[]\n");
    }
}

#[test]
fn many_sessions_come_in_pages() {
    const SESSIONS: u64 = 20_000;
    let fake = Fake::start(|query| {
        let start = query.cursor.number();
        let end = (start + 256).min(SESSIONS);
        let rows = (start..end).map(|index| Response::Session(session(index))).collect();
        Ok((rows, (end < SESSIONS).then_some(Cursor::At(end))))
    });
    let output = fake.xlns(&["show", "sessions"]);
    let lines: Vec<&str> = out(&output).lines().collect();
    assert_eq!(lines.len() as u64, SESSIONS + 1);
    assert!(lines[1].contains("user0 ") && lines[1].contains("1.5MB"), "{}", lines[1]);
    assert!(lines[20_000].contains("user19999 "), "{}", lines[20_000]);
    let output = fake.xlns(&["show", "sessions", "--json"]);
    let rows: Vec<SessionRow> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(rows.len() as u64, SESSIONS);
    assert_eq!(rows[777], session(777));
}

#[test]
fn the_socket_is_found_by_the_configuration() {
    let fake = Fake::start(|_| Ok((Vec::new(), None)));
    let config = fake.folder.path().join("xlns.toml");
    let socket = fake.folder.path().join("admin.sock");
    fs::write(&config, format!("{GOOD}[admin]\nsocket = {socket:?}\n")).unwrap();
    let output = xlns(&["show", "tunnels", "--config", config.to_str().unwrap()]);
    assert_eq!(out(&output), "no tunnels\n", "{}", err(&output));
}

#[test]
fn a_profile_shows_what_it_has_and_may_have() {
    let fake = Fake::start(|_| {
        let row = LacRow {
            name: "wholesale".into(),
            tunnels: 2,
            tunnels_max: 8192,
            sessions: 3,
            sessions_max: 1_048_576,
            sessions_per_tunnel_max: 60_000,
            tunnels_opened: 20_000,
            tunnels_refused: 1,
            calls_connected: 4,
            calls_refused: 0,
        };
        Ok((vec![Response::Lac(row)], None))
    });
    let expected = "\
LAC        TUNNELS   MAX  SESSIONS      MAX  PER-TUNNEL  OPENED  REFUSED  CALLS  REFUSED
wholesale        2  8192         3  1048576       60000   20.0k        1      4        0
";
    assert_eq!(out(&fake.xlns(&["show", "lacs"])), expected);
}

#[test]
fn what_lacs_count_on_lines_is_a_table_of_its_own() {
    let fake = Fake::start(|_| Ok((vec![Response::Session(session(1))], None)));
    let output = fake.xlns(&["show", "sessions", "--errors"]);
    let lines: Vec<&str> = out(&output).lines().collect();
    assert!(lines[0].contains("CRC") && !lines[0].contains("UP-PKTS"), "{}", lines[0]);
    assert!(lines[1].contains("eth 1/7") && lines[1].contains("77"), "{}", lines[1]);
    assert!(lines[1].contains("000a0000"), "{}", lines[1]);
}

#[test]
fn a_call_is_placed_and_its_outcome_told() {
    let fake = Fake::start(|query| match &query.request {
        Request::PlaceCall { call } if call.called_number == "0301234" => {
            Ok((vec![Response::Placed(PlacedRow { tunnel_id: 7, session_id: 9 })], None))
        }
        _ => Err("busy".into()),
    });
    let output = fake.xlns(&["call", "--peer", "192.0.2.9", "--called", "0301234", "--user", "a"]);
    assert_eq!(out(&output), "0301234 answers: tunnel 7, session 9\n", "{}", err(&output));
    let output = fake.xlns(&["call", "--tunnel", "7", "--called", "0301234", "--json"]);
    assert_eq!(out(&output), "{\"session_id\":9,\"tunnel_id\":7}\n");
    let output = fake.xlns(&["call", "--tunnel", "7", "--called", "110"]);
    assert_eq!((output.status.code(), err(&output)), (Some(1), "xlns: busy\n"));
    assert!(!fake.xlns(&["call", "--called", "0301234"]).status.success(), "by which tunnel?");
    let call = PlaceCall {
        peer: Some("192.0.2.9".parse().unwrap()),
        called_number: "0301234".into(),
        user: Some("a".into()),
        ..PlaceCall::default()
    };
    assert_eq!(fake.asked()[0], Request::PlaceCall { call });
}

#[test]
fn zeros_are_left_out_of_counters_unless_asked_for() {
    let fake = Fake::start(|_| {
        let row = |name, value| Response::Counter(CounterRow::new("drop", name, value, "None."));
        Ok((vec![row("no_route", 0), row("too_big", 3)], None))
    });
    let output = fake.xlns(&["show", "counters"]);
    assert!(out(&output).contains("too_big") && !out(&output).contains("no_route"));
    let output = fake.xlns(&["show", "counters", "--all"]);
    assert!(out(&output).contains("too_big") && out(&output).contains("no_route"));
    let output = fake.xlns(&["show", "counters", "--json"]);
    assert!(out(&output).contains("no_route"));
}

#[test]
fn routes_are_shown() {
    let fake = Fake::start(|_| {
        let route = RouteRow {
            prefix: "0.0.0.0/0".parse().unwrap(),
            target: "neighbor".into(),
            interface: "eth1".into(),
            gateway: Some("203.0.113.1".parse().unwrap()),
        };
        Ok((vec![Response::Route(route)], None))
    });
    let expected = "PREFIX     TARGET    GATEWAY      INTERFACE\n\
        0.0.0.0/0  neighbor  203.0.113.1  eth1\n";
    assert_eq!(out(&fake.xlns(&["show", "routes"])), expected);
}

#[test]
fn filters_and_selectors_reach_the_server() {
    let fake = Fake::start(|query| {
        let is_show = matches!(query.request, Request::ShowSessions { .. });
        let rows = if is_show { Vec::new() } else { vec![Response::Cleared { count: 1 }] };
        Ok((rows, None))
    });
    let address: IpAddr = "10.0.0.7".parse().unwrap();
    fake.xlns(&["show", "sessions", "--tunnel", "7", "--user", "a", "--address", "10.0.0.7"]);
    assert_eq!(out(&fake.xlns(&["clear", "tunnel", "7"])), "1 tunnel cleared\n");
    fake.xlns(&["clear", "tunnel", "--peer", "10.0.0.7"]);
    fake.xlns(&["clear", "tunnel", "--all"]);
    assert_eq!(out(&fake.xlns(&["clear", "session", "7", "9"])), "1 session cleared\n");
    fake.xlns(&["clear", "session", "--user", "a"]);
    let json = fake.xlns(&["clear", "session", "--address", "10.0.0.7", "--json"]);
    assert_eq!(out(&json), "{\"cleared\":1}\n");
    assert_eq!(out(&fake.xlns(&["clear", "client", "up link"])), "1 client cleared\n");
    let filter =
        SessionFilter { tunnel_id: Some(7), user: Some("a".into()), address: Some(address) };
    let tunnel = |which| Request::ClearTunnel { which };
    let session = |which| Request::ClearSession { which };
    let expected = [
        Request::ShowSessions { filter },
        tunnel(TunnelSelector::Id(7)),
        tunnel(TunnelSelector::Peer(address)),
        tunnel(TunnelSelector::All),
        session(SessionSelector::Id { tunnel_id: 7, session_id: 9 }),
        session(SessionSelector::User("a".into())),
        session(SessionSelector::Address(address)),
        Request::ClearClient { name: "up link".into() },
    ];
    assert_eq!(fake.asked(), expected);
}

#[test]
fn clear_wants_exactly_one_selector() {
    for arguments in [
        &["clear", "tunnel"][..],
        &["clear", "tunnel", "7", "--all"],
        &["clear", "session"],
        &["clear", "session", "7"],
        &["clear", "session", "7", "9", "--user", "a"],
        &["clear", "session", "7", "65536"],
        &["clear", "client"],
    ] {
        assert_eq!(xlns(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn clearing_what_is_not_there_fails_only_for_a_single_one() {
    let fake = Fake::start(|_| Ok((vec![Response::Cleared { count: 0 }], None)));
    let output = fake.xlns(&["clear", "tunnel", "7"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(err(&output), "xlns: no such tunnel\n");
    let output = fake.xlns(&["clear", "session", "--user", "a"]);
    assert!(output.status.success());
    assert_eq!(out(&output), "0 sessions cleared\n");
}

#[test]
fn refusals_and_a_missing_daemon_are_errors() {
    let fake = Fake::start(|_| Err("the data plane is away".into()));
    let output = fake.xlns(&["show", "ports"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(err(&output), "xlns: the data plane is away\n");
    let output = fake.xlns(&["show", "ports", "--json"]);
    assert_eq!(out(&output), "");
    assert_eq!(err(&output), "{\"error\":\"the data plane is away\"}\n");
    let output = xlns(&["show", "tunnels", "--socket", "/nonexistent/admin.sock"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("systemctl start xlnsd"), "{}", err(&output));
}

// ---- run -------------------------------------------------------------------------------------

/// A folder with `xlns` and two scripts in the place of the programs.
struct Installation {
    programs: TempDir,
    run: TempDir,
}

/// Notes what it was given, says `up`, waits for the end of its input, and says `over`. It opens
/// the pipe for both directions, so that it does not wait for somebody to listen.
const WELL_BEHAVED: &str = "#!/bin/sh\n\
    name=$(basename \"$0\")\n\
    echo \"$@\" > RUN/$name.arguments\n\
    echo \"$NOTIFY_SOCKET\" > RUN/$name.notify\n\
    exec 3<> RUN/$name.says\n\
    echo up >&3\n\
    cat > /dev/null\n\
    echo over >&3\n";

impl Installation {
    fn new(dataplane: &str, control: &str) -> Self {
        // Beside the program's own file, so that a link to it is possible.
        let programs = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let run = tempfile::tempdir().unwrap();
        let _guard = STARTING.lock().unwrap();
        fs::hard_link(env!("CARGO_BIN_EXE_xlns"), programs.path().join("xlns")).unwrap();
        for (name, script) in [("xlns-dataplane", dataplane), ("xlnsd", control)] {
            let path = programs.path().join(name);
            fs::write(&path, script.replace("RUN", run.path().to_str().unwrap())).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
            mkfifo(&run.path().join(format!("{name}.says")), Mode::S_IRWXU).unwrap();
        }
        let sockets = format!(
            "[dataplane]\nsocket = \"{run}/made/dataplane.sock\"\n\
             [admin]\nsocket = \"{run}/made/admin.sock\"\n",
            run = run.path().display()
        );
        fs::write(run.path().join("xlns.toml"), format!("{GOOD}{sockets}")).unwrap();
        Self { programs, run }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.run.path().join(name)
    }

    fn start(&self) -> Running {
        let _guard = STARTING.lock().unwrap();
        let mut child = Command::new(self.programs.path().join("xlns"))
            .args(["run", "--log", "debug", "--config"])
            .arg(self.file("xlns.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Running { child, output }
    }
}

struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Running {
    /// Reads progress until a line begins with `start`; that line.
    #[track_caller]
    fn wait_for(&mut self, start: &str) -> String {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            let length = self.output.read_line(&mut line).unwrap();
            assert_ne!(length, 0, "the output ended before `{start}`:\n{seen}");
            if line.starts_with(start) {
                return line;
            }
            seen.push_str(&line);
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    fn rest(&mut self) -> String {
        let mut text = String::new();
        self.output.read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a script says. Opened for both directions, so that opening does not wait.
fn says(installation: &Installation, name: &str) -> BufReader<File> {
    let path = installation.file(&format!("{name}.says"));
    BufReader::new(OpenOptions::new().read(true).write(true).open(path).unwrap())
}

fn line(reader: &mut impl BufRead) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line
}

#[test]
fn run_starts_both_tells_when_they_are_ready_and_ends_them() {
    let installation = Installation::new(WELL_BEHAVED, WELL_BEHAVED);
    let mut dataplane = says(&installation, "xlns-dataplane");
    let mut control = says(&installation, "xlnsd");
    let mut running = installation.start();
    running.wait_for("xlns: data plane started, process ");
    running.wait_for("xlns: control started, process ");
    assert_eq!((line(&mut dataplane), line(&mut control)), ("up\n".into(), "up\n".into()));
    let notify = fs::read_to_string(installation.file("xlns-dataplane.notify")).unwrap();
    let socket = UnixDatagram::unbound().unwrap();
    socket.send_to(b"STATUS=2 ports\nREADY=1\n", notify.trim_end()).unwrap();
    assert_eq!(running.wait_for("xlns: data plane: "), "xlns: data plane: 2 ports\n");
    assert!(running.wait_for("xlns: data plane ready after ").ends_with(" s\n"));

    let arguments = |name: &str| fs::read_to_string(installation.file(name)).unwrap();
    let run = installation.run.path().display();
    assert_eq!(
        arguments("xlns-dataplane.arguments"),
        format!("--socket {run}/made/dataplane.sock --exit-with-stdin --log debug\n")
    );
    assert_eq!(
        arguments("xlnsd.arguments"),
        format!("--config {run}/xlns.toml --exit-with-stdin --log debug\n")
    );

    running.signal(Signal::SIGTERM);
    running.wait_for("xlns: stopping");
    running.wait_for("xlns: control ended");
    running.wait_for("xlns: data plane ended");
    assert!(running.child.wait().unwrap().success());
    let left = fs::read_dir(installation.file("made")).unwrap().count();
    assert_eq!(left, 0, "the notify sockets are gone");
}

#[test]
fn nothing_outlives_a_killed_run() {
    let installation = Installation::new(WELL_BEHAVED, WELL_BEHAVED);
    let mut dataplane = says(&installation, "xlns-dataplane");
    let mut control = says(&installation, "xlnsd");
    let mut running = installation.start();
    running.wait_for("xlns: control started");
    running.signal(Signal::SIGKILL);
    for says in [&mut dataplane, &mut control] {
        assert_eq!((line(says), line(says)), ("up\n".into(), "over\n".into()));
    }
}

#[test]
fn a_data_plane_that_dies_is_started_again_then_given_up() {
    let installation = Installation::new("#!/bin/sh\nexit 3\n", WELL_BEHAVED);
    let mut running = installation.start();
    let output = running.rest();
    assert_eq!(running.child.wait().unwrap().code(), Some(1));
    assert_eq!(output.matches("data plane started").count(), 6, "{output}");
    assert!(output.contains("data plane ended (exit status: 3)"), "{output}");
    assert!(output.contains("giving up"), "{output}");
    assert!(output.contains("control ended"), "{output}");
}

#[test]
fn all_ends_when_control_does() {
    let installation = Installation::new(WELL_BEHAVED, "#!/bin/sh\nexit 1\n");
    let mut running = installation.start();
    let output = running.rest();
    assert_eq!(running.child.wait().unwrap().code(), Some(1));
    assert!(output.contains("control ended (exit status: 1)"), "{output}");
    assert!(output.contains("data plane ended"), "{output}");
}

#[test]
fn a_second_signal_kills_what_does_not_end() {
    // Says when it has stopped to listen to SIGTERM.
    let stubborn =
        "#!/bin/sh\ntrap '' TERM\necho deaf > RUN/xlnsd.says\nread line\nexec cat > /dev/null\n";
    let installation = Installation::new(WELL_BEHAVED, stubborn);
    let mut control = says(&installation, "xlnsd");
    let mut running = installation.start();
    assert_eq!(line(&mut control), "deaf\n");
    running.signal(Signal::SIGINT);
    running.wait_for("xlns: stopping");
    running.signal(Signal::SIGINT);
    running.wait_for("xlns: killing what is left");
    running.wait_for("xlns: control ended (signal: 9");
    assert!(running.child.wait().unwrap().success());
}

#[test]
fn run_refuses_a_bad_configuration_and_missing_programs() {
    let installation = Installation::new(WELL_BEHAVED, WELL_BEHAVED);
    fs::remove_file(installation.programs.path().join("xlnsd")).unwrap();
    let start = |config: &Path| {
        let _guard = STARTING.lock().unwrap();
        Command::new(installation.programs.path().join("xlns"))
            .env("PATH", "")
            .args(["run", "--config", config.to_str().unwrap()])
            .output()
            .unwrap()
    };
    let output = start(&installation.file("xlns.toml"));
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("xlnsd is neither beside"), "{}", err(&output));
    let output = start(Path::new("/nonexistent/xlns.toml"));
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("cannot read /nonexistent/xlns.toml"), "{}", err(&output));
}
