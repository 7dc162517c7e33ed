//! The demonstration: a stock Linux client dials in, and its traffic crosses the AF_XDP workers.
//!
//! Three namespaces, xlns in the middle, a User-Mode Linux guest with xl2tpd and pppd as the peer.
//! Says step by step what happens, writes `target/demo/summary.json`, and removes everything, also
//! at Ctrl-C. Fails where a step fails, and says which log to read.

use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Parser;
use serde::Serialize;
use serde_json::Value;
use xlns_tests::peer::{Dialer, Login, Session, Tunnel};
use xlns_tests::process::Process;
use xlns_tests::program::{self, Steps, clean_up_at_signals, median, write_summary};
use xlns_tests::topology::{
    CORE_ADDRESS, GATEWAY, LAC_ADDRESS, LNS_ADDRESS, QUEUES, SUBSCRIBERS, Topology,
};
use xlns_tests::uml::Guest;
use xlns_tests::xlns::{Settings, Xlns};
use xlns_tests::{Lab, LabError, Result};

/// Echo requests to each of the two destinations.
const PINGS: u32 = 20;

/// How long TCP runs in each direction.
const TCP_SECONDS: u32 = 4;

/// How long a step may take that takes seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A stock Linux client dials in, and its traffic crosses the AF_XDP workers.
#[derive(Debug, Parser)]
struct Options {
    /// How often TCP is measured in each direction; the summary holds the medians.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    tcp_runs: u32,
}

/// What `target/demo/summary.json` holds.
#[derive(Debug, Default, Serialize)]
struct Summary {
    /// Who dialled in, with versions.
    peer: String,
    /// Sessions open at the end.
    sessions: usize,
    /// Echo requests sent by the subscriber.
    ping_sent: u32,
    /// Answers.
    ping_received: u32,
    /// TCP from the subscriber, received by the core.
    tcp_up_mbit_s: f64,
    /// TCP to the subscriber, received there.
    tcp_down_mbit_s: f64,
    /// How XDP was attached; the worst of the ports.
    xdp_mode: String,
    /// Why it is not a better one.
    xdp_not_better: Vec<String>,
    /// Worker threads.
    workers: usize,
    /// Queues of each port.
    queues: u64,
    /// Frames that workers received, sent and dropped.
    received: u64,
    transmitted: u64,
    dropped: u64,
    /// From the first step to the last.
    seconds: f64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    program::main("demo", |interrupted| demonstrate(&options, interrupted))
}

fn demonstrate(options: &Options, interrupted: &Arc<AtomicBool>) -> Result<()> {
    let lab = Lab::start("demo")?;
    clean_up_at_signals(lab.reaper(), Arc::clone(interrupted))?;
    println!("xlns demo. Every program's log: {}\n", lab.logs().display());
    let mut steps = Steps::new();
    let mut summary = Summary::default();
    act(&lab, options, &mut steps, &mut summary)?;
    let path = lab.target().join("demo/summary.json");
    drop(lab);
    steps.done("everything removed");
    summary.seconds = round(steps.elapsed().as_secs_f64());
    write_summary(&path, &summary)
}

/// The demonstration itself; what it built is gone when it returns.
fn act(lab: &Lab, options: &Options, steps: &mut Steps, summary: &mut Summary) -> Result<()> {
    let topology = Topology::build(lab)?;
    steps.done(&format!(
        "three namespaces: LAC {LAC_ADDRESS} - {LNS_ADDRESS} LNS - core {CORE_ADDRESS}, \
         {QUEUES} queues a port"
    ));
    let mut xlns = Xlns::start(lab, &topology.lns, "demo", &Settings::default())?;
    describe_ports(&xlns, steps, summary)?;
    let guest = Guest::boot(lab, "guest", &topology.lac, &topology.lac_network())?;
    summary.peer = describe_guest(&guest)?;
    steps.done(&format!("peer booted: {}", summary.peer));

    let login = Login::chap("alice", "alice-password");
    let tunnel = Tunnel { lns: LNS_ADDRESS, secret: Settings::default().secret, challenge: true };
    let dialer = Dialer::start(&guest, &tunnel, std::slice::from_ref(&login))?;
    steps.done("xl2tpd started");
    let session = dialer.dial(&login)?;
    steps.done(&format!(
        "alice is in: tunnel authenticated, CHAP, address {} of {SUBSCRIBERS}",
        session.address
    ));
    ping(&session, steps, summary)?;
    let (up, down) =
        transfer(&topology, &guest, &session, &lab.log("iperf3"), options.tcp_runs, steps)?;
    (summary.tcp_up_mbit_s, summary.tcp_down_mbit_s) = (round(up), round(down));

    let totals = xlns.totals()?;
    summary.sessions = xlns.show("sessions")?.iter().filter(|row| row["state"] == "open").count();
    (summary.received, summary.transmitted, summary.dropped) =
        (totals.received, totals.transmitted, totals.dropped);
    if let Some(error) = xlns.ended() {
        return Err(error);
    }
    for what in ["tunnels", "sessions", "quality", "ports", "workers", "routes", "counters"] {
        println!("\n$ xlns show {what}\n{}", xlns.table(what)?.trim_end());
    }
    println!();
    drop((session, dialer));
    steps.done("hung up");
    Ok(())
}

/// The attach mode obtained, and the workers.
fn describe_ports(xlns: &Xlns<'_>, steps: &mut Steps, summary: &mut Summary) -> Result<()> {
    const WORST_LAST: [&str; 3] = ["native-zero-copy", "native-copy", "generic"];
    let ports = xlns.show("ports")?;
    let rank = |port: &Value| {
        let mode = port["mode"].as_str().unwrap_or_default();
        WORST_LAST.iter().position(|known| *known == mode)
    };
    let worst = ports.iter().filter(|port| rank(port).is_some()).max_by_key(|port| rank(port));
    let worst = worst.ok_or_else(|| LabError::new(format!("no port is up: {ports:?}")))?;
    summary.xdp_mode = worst["mode"].as_str().unwrap_or_default().to_owned();
    summary.queues = worst["queues"].as_u64().unwrap_or_default();
    let reasons = worst["not_better"].as_array().cloned().unwrap_or_default();
    summary.xdp_not_better =
        reasons.iter().filter_map(|reason| reason.as_str().map(str::to_owned)).collect();
    summary.workers = xlns.show("workers")?.len();
    steps.done(&format!("xlns started: {} workers, XDP {}", summary.workers, summary.xdp_mode));
    Ok(())
}

/// What the peer is, with versions.
fn describe_guest(guest: &Guest) -> Result<String> {
    let script = "echo Linux $(uname -r) \\(User-Mode Linux\\); xl2tpd -v 2>&1 | grep -o \
                  'xl2tpd-[0-9.]*'; pppd --version 2>&1 | grep -o 'pppd version.*'";
    Ok(guest.check(script, PATIENCE)?.lines().collect::<Vec<_>>().join(", "))
}

fn ping(session: &Session<'_>, steps: &mut Steps, summary: &mut Summary) -> Result<()> {
    for (destination, name) in [(GATEWAY, "the LNS's own address"), (CORE_ADDRESS, "the core")] {
        let (sent, received) = session.ping(destination, PINGS)?;
        steps.done(&format!("ping to {name}, {destination}: {received} of {sent} answered"));
        summary.ping_sent += sent;
        summary.ping_received += received;
    }
    if summary.ping_received == 0 {
        return Err(LabError::new("no ping was answered"));
    }
    Ok(())
}

/// TCP in both directions between the subscriber and the core.
fn transfer(
    topology: &Topology,
    guest: &Guest,
    session: &Session<'_>,
    log: &Path,
    runs: u32,
    steps: &mut Steps,
) -> Result<(f64, f64)> {
    let mut command = topology.core.command("iperf3");
    command.args(["-s", "--forceflush"]).stdin(Stdio::null());
    let server = Process::spawn("iperf3", &mut command, log)?;
    server.wait_line(PATIENCE, "Server listening")?;
    let address = session.address;
    let mut run = |name: &str, option: &str| {
        let script = format!("iperf3 -c {CORE_ADDRESS} -B {address} -t {TCP_SECONDS} -J {option}");
        let report = guest.check(&script, PATIENCE)?;
        let end = serde_json::from_str::<Value>(&report).unwrap_or_default()["end"].take();
        let rate = end["sum_received"]["bits_per_second"].as_f64().map(|bits| bits / 1e6);
        let rate = rate.ok_or_else(|| LabError::new(format!("iperf3 said: {report}")))?;
        let again = end["sum_sent"]["retransmits"].as_u64().unwrap_or_default();
        steps.done(&format!(
            "TCP {name} for {TCP_SECONDS} s: {rate:.0} Mbit/s, {again} segments sent again"
        ));
        Ok(rate)
    };
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        up.push(run("upstream", "")?);
        down.push(run("downstream", "-R")?);
    }
    Ok((median(up), median(down)))
}

/// To a tenth: what a demonstration can tell.
fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
