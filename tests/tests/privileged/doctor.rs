//! `xlns doctor` on ports of a lab, of which everything is known.

use std::process::Command;

use serde_json::Value;
use xlns_tests::topology::{ACCESS_PORT, CORE_PORT, LAC_END, QUEUES};
use xlns_tests::xlns::{Settings, rows};

use crate::stage::{Stage, stage};

/// What doctor finds about these interfaces, and whether it is content.
fn examine(stage: &Stage, more: &[&str]) -> (Vec<Value>, bool) {
    let mut command: Command = stage.topology.lns.command(stage.lab.program("xlns").unwrap());
    let output = command.args(["doctor", "--json"]).args(more).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    (rows(&text).unwrap(), output.status.success())
}

#[track_caller]
fn find<'a>(findings: &'a [Value], subject: &str, check: &str) -> &'a Value {
    findings
        .iter()
        .find(|row| row["subject"] == subject && row["check"] == check)
        .unwrap_or_else(|| panic!("no {check} of {subject} in {findings:#?}"))
}

#[track_caller]
fn assert_says(finding: &Value, level: &str, words: &str) {
    assert_eq!(finding["level"], level, "{finding}");
    let said = [&finding["finding"], &finding["advice"], &finding["command"]];
    assert!(said.iter().any(|text| text.as_str().unwrap().contains(words)), "{words}: {finding}");
}

/// Undoes what a test did to the access port.
struct Restored<'a>(&'a Stage);

impl Drop for Restored<'_> {
    fn drop(&mut self) {
        let lns = &self.0.topology.lns;
        let _ = lns.ip(&format!("link set dev {ACCESS_PORT} mtu 1500"));
        let _ = lns.run(&format!("ethtool -K {ACCESS_PORT} gro off"));
    }
}

#[test]
fn doctor_finds_what_an_interface_is() {
    let stage = stage();
    let lns = &stage.topology.lns;
    let ports = ["--interface", ACCESS_PORT, "--interface", CORE_PORT];
    let (findings, content) = examine(&stage, &ports);
    assert!(content, "nothing fails: {findings:#?}");
    assert_says(find(&findings, ACCESS_PORT, "driver"), "note", "veth has XDP without zero-copy");
    let queues = find(&findings, ACCESS_PORT, "queues");
    assert!(queues["finding"].as_str().unwrap().contains(&format!("{QUEUES} queues")), "{queues}");
    assert_says(find(&findings, ACCESS_PORT, "offloads"), "ok", "as they came");
    assert_says(find(&findings, ACCESS_PORT, "mtu"), "ok", "MTU 1500");
    assert_says(find(&findings, ACCESS_PORT, "veth-peer"), "note", "ip netns exec");
    assert_says(find(&findings, ACCESS_PORT, "xdp-program"), "ok", "no other");
    assert_says(find(&findings, "host", "ip-forward"), "ok", "forwards");
    assert_says(find(&findings, "host", "data-plane"), "note", "systemctl start");

    let _restored = Restored(&stage);
    lns.run(&format!("ethtool -K {ACCESS_PORT} gro on")).unwrap();
    lns.ip(&format!("link set dev {ACCESS_PORT} mtu 1767")).unwrap();
    let (findings, content) = examine(&stage, &ports);
    assert!(!content, "an MTU that does not fit fails");
    let command = format!("ethtool -K {ACCESS_PORT} gro off");
    assert_says(find(&findings, ACCESS_PORT, "offloads"), "warn", &command);
    let command = format!("ip link set dev {ACCESS_PORT} mtu 1766");
    assert_says(find(&findings, ACCESS_PORT, "mtu"), "fail", &command);
    assert_says(find(&findings, CORE_PORT, "mtu"), "ok", "MTU 1500");

    // What it says is to be done is enough.
    for finding in [find(&findings, ACCESS_PORT, "mtu"), find(&findings, ACCESS_PORT, "offloads")] {
        lns.run(finding["command"].as_str().unwrap()).unwrap();
    }
    let (findings, content) = examine(&stage, &ports);
    assert!(content, "{findings:#?}");
    assert_says(find(&findings, ACCESS_PORT, "offloads"), "ok", "as they came");
}

#[test]
fn doctor_looks_at_the_other_end_where_it_can_and_at_what_is_not_there() {
    let stage = stage();
    let mut command: Command = stage.topology.lac.command(stage.lab.program("xlns").unwrap());
    let words = ["doctor", "--json", "--interface", "lo", "--interface", "xlns-none"];
    let output = command.args(words).args(["--interface", LAC_END]).output().unwrap();
    assert!(!output.status.success());
    let findings = rows(&String::from_utf8_lossy(&output.stdout)).unwrap();
    assert_says(find(&findings, "lo", "interface"), "fail", "not Ethernet");
    assert_says(find(&findings, "xlns-none", "interface"), "fail", "No such device");
    // A pair in one namespace: both ends can be read.
    stage.topology.lac.ip("link add a0 type veth peer name b0").unwrap();
    let mut command: Command = stage.topology.lac.command(stage.lab.program("xlns").unwrap());
    let output = command.args(["doctor", "--json", "--interface", "a0"]).output().unwrap();
    stage.topology.lac.ip("link del a0").unwrap();
    let findings = rows(&String::from_utf8_lossy(&output.stdout)).unwrap();
    assert_says(find(&findings, "a0", "veth-peer"), "warn", "ethtool -K b0 tx off");
    assert_says(find(&findings, "a0", "interface"), "warn", "ip link set dev a0 up");
}

#[test]
fn doctor_asks_a_running_xlns() {
    let stage = stage();
    let xlns = stage.xlns("doctor", &Settings::default()).unwrap();
    let config = stage.lab.scratch().join("xlns.toml");
    let (findings, content) = examine(&stage, &["--config", config.to_str().unwrap()]);
    assert!(content, "{findings:#?}");
    let workers = format!("2 ports and {QUEUES} workers are up");
    assert_says(find(&findings, "host", "data-plane"), "ok", &workers);
    for port in xlns.show("ports").unwrap().iter().filter(|port| port["mode"] != "tun") {
        let name = port["interface"].as_str().unwrap();
        assert_says(find(&findings, name, "mode"), "note", port["mode"].as_str().unwrap());
        assert_says(find(&findings, name, "mode"), "note", "native-zero-copy: ");
        assert_says(find(&findings, name, "xdp-program"), "ok", "of xlns");
    }
    assert_says(find(&findings, "host", "worker-cores"), "ok", &format!("{QUEUES} workers"));
}
