//! `xlns-bench wire` against xlns: each packet is counted as what it is, and nothing as what it is not.

use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;
use xlns_tests::l2tpns::{self, L2tpns};
use xlns_tests::netns::Netns;
use xlns_tests::process::{Process, run};
use xlns_tests::topology::{
    ACCESS_PORT, CORE_ADDRESS, CORE_GATEWAY, CORE_PORT, LAC_ADDRESS, LAC_END, LNS_ADDRESS, link,
};
use xlns_tests::xlns::{Settings, Xlns};
use xlns_tests::{Lab, Result, deadline};

use crate::stage::{PATIENCE, Stage, stage, wait_none};

/// The tester's end of the core link.
const CORE_END: &str = "lns0";

/// Few enough packets a second that none is lost on a machine that does other things.
const GENTLE: [&str; 4] = ["--rate", "2000", "--seconds", "1"];

/// What the tester reports, started by `command`.
fn report(mut command: Command, words: &[&str]) -> Result<Value> {
    command.args(["wire", "--json", "--no-save", "--quick"]).args(GENTLE).args(words);
    let text = run(&mut command)?;
    let report = text.lines().find_map(|line| serde_json::from_str(line).ok());
    Ok(report.unwrap_or_else(|| panic!("no JSON: {text}")))
}

fn lab_report(stage: &Stage, words: &[&str]) -> Value {
    report(Command::new(stage.lab.program("xlns-bench").unwrap()), words).unwrap()
}

/// Both directions of every trial.
fn ways(report: &Value) -> Vec<Value> {
    let sizes = report["sizes"].as_array().unwrap();
    let trials: Vec<&Value> =
        sizes.iter().flat_map(|size| size["trials"].as_array().unwrap()).collect();
    trials.iter().flat_map(|trial| trial["directions"].as_array().unwrap()).cloned().collect()
}

/// What is to be counted of packets that were not in order.
const COUNTS: [&str; 6] =
    ["lost", "corrupted", "duplicated", "reordered", "misdelivered", "too_late"];

#[track_caller]
fn assert_counts(way: &Value, expected: [u64; 6]) {
    let counts = COUNTS.map(|name| way[name].as_u64().unwrap());
    assert_eq!(counts, expected, "{COUNTS:?} of {way:#}");
    let offered = way["offered"].as_u64().unwrap();
    let [lost, ..] = expected;
    assert!(offered > 100, "{way:#}");
    assert_eq!(way["received"], offered - lost, "{way:#}");
    let buckets = way["latency"]["buckets_ns"].as_array().unwrap();
    let timed: u64 = buckets.iter().map(|bucket| bucket[1].as_u64().unwrap()).sum();
    assert_eq!(timed, offered - lost, "each packet has its latency");
}

#[test]
fn every_packet_arrives_once_and_as_it_was_sent() {
    let stage = stage();
    let report = lab_report(&stage, &["--sessions", "20", "--size", "64,imix,1450"]);
    let ways = ways(&report);
    assert_eq!(ways.len(), 3 * 2);
    for way in &ways {
        assert_counts(way, [0; 6]);
        let fairness = &way["fairness"];
        assert_eq!(fairness["sessions_offered"], 20, "{way:#}");
        assert_eq!(fairness["least_share"], 1.0, "{way:#}");
        assert_eq!(way["lost_at_tester"], 0, "{way:#}");
    }
    for port in report["ports"].as_array().unwrap() {
        assert_eq!((&port["driver"], &port["queues"]), (&"veth".into(), &2.into()), "{port:#}");
        assert_ne!(port["xdp_mode"], "packet-socket", "{port:#}");
    }
    for size in report["sizes"].as_array().unwrap() {
        assert!(size["ceiling"]["sender_pps"]["median"].as_f64().unwrap() > 0.0, "{size:#}");
        let control = &size["trials"][0]["control"];
        assert_eq!((&control["sessions_up"], &control["sessions_lost"]), (&20.into(), &0.into()));
        assert!(control["hellos_sent"].as_u64().unwrap() > 0, "{control:#}");
        assert!(control["echoes_answered"].as_u64().unwrap() > 0, "{control:#}");
    }
}

#[test]
fn what_a_bad_network_does_is_counted_as_what_it_is() {
    let stage = stage();
    let spoil = "corrupt:5,duplicate:4,reorder:3,lose:2";
    for generator in ["xdp", "packet"] {
        let words = ["--sessions", "7", "--inject", spoil, "--generator", generator];
        let report = lab_report(&stage, &words);
        let ways = ways(&report);
        assert_eq!(ways.len(), 2);
        for way in &ways {
            // What is corrupted did not arrive as it was: it is lost, too.
            assert_counts(way, [5 + 2, 5, 4, 3, 0, 0]);
            assert_eq!(way["injected"], 14, "{way:#}");
        }
    }
}

/// An LNS between two interfaces of one namespace, as a tester in the field has it.
struct Field {
    tester: Netns,
    lns: Netns,
    lab: Lab,
}

impl Field {
    fn build() -> Result<Self> {
        let lab = Lab::start("privileged-wire")?;
        let [tester, lns] = [Netns::create(&lab, "tester")?, Netns::create(&lab, "lns")?];
        link(&lns, ACCESS_PORT, &tester, LAC_END)?;
        link(&lns, CORE_PORT, &tester, CORE_END)?;
        for (namespace, address, interface) in [
            (&lns, LNS_ADDRESS, ACCESS_PORT),
            (&lns, CORE_GATEWAY, CORE_PORT),
            (&tester, LAC_ADDRESS, LAC_END),
            (&tester, CORE_ADDRESS, CORE_END),
        ] {
            namespace.ip(&format!("addr add {address}/24 dev {interface}"))?;
            namespace.set("net/ipv4/conf/all/rp_filter", "0")?;
        }
        lns.set("net/ipv4/ip_forward", "1")?;
        tester.ip(&format!("route add default via {CORE_GATEWAY}"))?;
        Ok(Self { tester, lns, lab })
    }
}

/// What is said of the LNS between both interfaces of the field.
const FIELD: [&str; 6] = ["--access", LAC_END, "--core", CORE_END, "--secret", "tunnel-secret"];

#[test]
fn an_lns_that_is_not_xlns_is_tested_in_the_same_way() {
    let _stage = stage();
    let field = Field::build().unwrap();
    let settings = l2tpns::Settings::new(LNS_ADDRESS);
    let _l2tpns = L2tpns::start(&field.lab, &field.lns, "field", &settings).unwrap();
    let program = field.lab.program("xlns-bench").unwrap();
    let lns = LNS_ADDRESS.to_string();
    // It takes tunnels from one address one after the other.
    let more = ["--server", &lns, "--password", &settings.password, "--tunnels", "1"];
    let words = [&FIELD[..], &more, &["--sessions", "10", "--size", "64,1400"]].concat();
    let tested = report(field.tester.command(&program), &words).unwrap();
    let seen = ways(&tested);
    assert_eq!(seen.len(), 2 * 2);
    seen.iter().for_each(|way| assert_counts(way, [0; 6]));
    for size in tested["sizes"].as_array().unwrap() {
        let control = &size["trials"][0]["control"];
        assert_eq!((&control["sessions_up"], &control["sessions_lost"]), (&10.into(), &0.into()));
    }
}

#[test]
fn an_lns_of_somebody_else_is_tested_by_two_interfaces_and_left_as_it_was() {
    // One after the other with the tests of this lab.
    let _stage = stage();
    let field = Field::build().unwrap();
    let xlns = Xlns::start(&field.lab, &field.lns, "field", &Settings::default()).unwrap();
    let program = field.lab.program("xlns-bench").unwrap();
    let lns = LNS_ADDRESS.to_string();
    let words = ["--server", &lns, "--user", "alice", "--password", "alice-password"];
    // A core for each interface.
    let more = ["--sessions", "10", "--tunnels", "2", "--generator-core", "0,1"];
    let words = [&FIELD[..], &words, &more].concat();
    let tested = report(field.tester.command(&program), &words).unwrap();
    assert_eq!(tested["target"], "192.0.2.1:1701");
    let seen = ways(&tested);
    assert_eq!(seen.len(), 2);
    seen.iter().for_each(|way| assert_counts(way, [0; 6]));
    wait_none(&xlns, "sessions", PATIENCE);
    // They linger to answer what comes late (RFC 2661 section 5.7).
    let closing = |rows: &[Value]| rows.iter().all(|row| row["state"] == "closing");
    xlns.wait_rows("tunnels", PATIENCE, closing).unwrap();

    // Interrupted in the middle of a trial it hangs up as well.
    let mut command = field.tester.command(&program);
    command.args(["wire", "--rate", "1000", "--seconds", "600"]).args(&words);
    let log = field.lab.log("interrupted");
    let mut interrupted = Process::spawn("xlns-bench", &mut command, &log).unwrap();
    let all = |rows: &[Value]| rows.iter().filter(|row| row["state"] == "open").count() == 10;
    xlns.wait_rows("sessions", PATIENCE, all).unwrap();
    interrupted.wait_line(PATIENCE, "rate at 1000/s").unwrap();
    interrupted.signal(Signal::SIGINT);
    let ended = deadline::poll(PATIENCE, || interrupted.status());
    assert!(ended.is_some_and(|status| !status.success()), "{}", interrupted.output().text());
    assert!(interrupted.output().text().contains("interrupted"), "{}", interrupted.output().text());
    wait_none(&xlns, "sessions", PATIENCE);

    let wrong: Vec<&str> =
        words.iter().map(|word| if *word == "alice-password" { "wrong" } else { word }).collect();
    let error = report(field.tester.command(&program), &wrong).unwrap_err().to_string();
    assert!(error.contains("authentication") && error.contains("password right"), "{error}");
}
