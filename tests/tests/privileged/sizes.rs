//! Packets as large as a subscriber's LAN has them, through a Linux client that may receive so much
//! and no more, over links that hold a tunnel packet of that size and over links that do not.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt};
use serde_json::Value;
use xlns_tests::peer::{Dialer, Login, Session};
use xlns_tests::process::Process;
use xlns_tests::topology::{ACCESS_PORT, CORE_ADDRESS, LAC_END};
use xlns_tests::xlns::{Settings, Xlns};
use xlns_tests::{LabError, Result, deadline};

use crate::stage::{PATIENCE, Stage, assert_sound, stage, wait_none, wait_open};

/// The largest IPv4 packet of an Ethernet LAN, octets.
const LAN_BYTES: u16 = 1500;

/// IPv4, UDP, L2TP and PPP header in front of it in a tunnel, octets.
const TUNNEL_BYTES: u16 = 20 + 8 + 6 + 4;

/// IPv4 and UDP header (as much as IPv4's and that of an echo), octets.
const UDP_BYTES: u16 = 20 + 8;

/// IPv4 and TCP header, octets.
const TCP_BYTES: u16 = 20 + 20;

/// The timestamps in every TCP segment, octets: the kernel's MSS is without them.
const TIMESTAMP_BYTES: u16 = 12;

/// An MTU that holds a tunnel packet with [`LAN_BYTES`] in it, exactly.
const WIDE: u16 = LAN_BYTES + TUNNEL_BYTES;

/// One that does not.
const NARROW: u16 = 1500;

/// Runs of a stream until one has no loss: where the machine is busy elsewhere, the guest's NIC,
/// which holds some 90 frames, loses some. What is too large is lost each time.
const RUNS: usize = 4;

/// Slow enough that a sender which was kept from running for a second, and makes up for it at once,
/// does not fill that.
const UDP_RATE: &str = "750k";

/// Where connections are made to look at their MSS.
const MSS_PORT: u16 = 7001;

/// What a session is like.
struct Case {
    name: &'static str,
    /// What the client wants to receive, octets.
    mru: u16,
    /// The largest packet to it that nobody cuts, octets.
    whole: u16,
    /// The MSS that TCP is held to in both directions, octets.
    mss: u16,
}

impl Case {
    fn login(&self) -> Login {
        // What it sends may be as large as its LAN's packets.
        Login::chap(self.name, "password")
            .with(&format!("mru {}", self.mru))
            .with(&format!("mtu {LAN_BYTES}"))
    }
}

/// MTUs of the link to the LAC, on both of its ends and in the guest; dropped, they are as before.
struct Link<'a>(&'a Stage);

impl<'a> Link<'a> {
    fn set(stage: &'a Stage, mtu: u16) -> Self {
        let link = Self(stage);
        link.apply(mtu).unwrap();
        link
    }

    fn apply(&self, mtu: u16) -> Result<()> {
        let topology = &self.0.topology;
        topology.lns.ip(&format!("link set dev {ACCESS_PORT} mtu {mtu}"))?;
        topology.lac.ip(&format!("link set dev {LAC_END} mtu {mtu}"))?;
        self.0.guest.set_mtu(mtu)
    }
}

impl Drop for Link<'_> {
    fn drop(&mut self) {
        let _ = self.apply(NARROW);
        let _ = discover_paths(self.0, true);
    }
}

/// Whether what the core's sockets send without a word may not be fragmented on the way (as is usual).
fn discover_paths(stage: &Stage, yes: bool) -> Result<()> {
    stage.topology.core.set("net/ipv4/ip_no_pmtu_disc", if yes { "0" } else { "1" })
}

#[test]
fn a_lan_s_packets_arrive_whole_over_a_link_that_holds_them() {
    let cases = [
        Case { name: "mru1500", mru: 1500, whole: 1500, mss: 1460 },
        Case { name: "mru1460", mru: 1460, whole: 1460, mss: 1420 },
        Case { name: "mru1400", mru: 1400, whole: 1400, mss: 1360 },
    ];
    run("sizes-wide", WIDE, false, &cases);
}

#[test]
fn a_link_that_does_not_hold_them_makes_the_mru_smaller() {
    let whole = NARROW - TUNNEL_BYTES;
    let cases = [Case { name: "narrow", mru: 1500, whole, mss: whole - TCP_BYTES }];
    run("sizes-narrow", NARROW, false, &cases);
}

#[test]
fn a_link_that_does_not_hold_them_has_fragments_of_tunnel_packets_by_profile() {
    // Segments are kept to what crosses in one piece all the same.
    let mss = NARROW - TUNNEL_BYTES - TCP_BYTES;
    let cases = [Case { name: "outer", mru: 1500, whole: 1500, mss }];
    run("sizes-outer", NARROW, true, &cases);
}

fn run(name: &str, link: u16, outer_fragments: bool, cases: &[Case]) {
    let stage = stage();
    let _link = Link::set(&stage, link);
    let settings = Settings {
        users: cases.iter().map(|case| (case.name.to_owned(), "password".to_owned())).collect(),
        ppp: format!("mru = {LAN_BYTES}\n"),
        lac: format!("outer_fragments = {outer_fragments}\n"),
        ..Settings::default()
    };
    let mut xlns = stage.xlns(name, &settings).unwrap();
    let mut command = stage.topology.core.command("iperf3");
    command.args(["-s", "--forceflush"]).stdin(Stdio::null());
    let log = stage.lab.log(&format!("{name}-iperf3"));
    let server = Process::spawn("iperf3", &mut command, &log).unwrap();
    server.wait_line(PATIENCE, "Server listening").unwrap();
    let logins: Vec<Login> = cases.iter().map(Case::login).collect();
    let dialer = stage.dialer(&logins).unwrap();
    for (case, login) in cases.iter().zip(&logins) {
        let session = dialer.dial(login).unwrap();
        let row = &wait_open(&xlns, 1)[0];
        assert_eq!(row["mru"], case.mru, "{row}\n{}", session.log().text());
        stage.topology.core.ip("route flush cache").unwrap();
        streams_arrive(&stage, &session, case);
        segments_arrive(&stage, &session, case);
        hang_up(&xlns, &dialer, session, case);
    }
    assert_drops(&xlns, cases);
    assert_sound(&mut xlns);
}

fn hang_up(xlns: &Xlns<'_>, dialer: &Dialer<'_>, session: Session<'_>, case: &Case) {
    drop(session);
    dialer.command(&format!("d {}", case.name)).unwrap();
    wait_none(xlns, "sessions", PATIENCE);
}

/// UDP both ways at once: what may be fragmented at the LAN's size; what may not at the size that its
/// sender is told.
fn streams_arrive(stage: &Stage, session: &Session<'_>, case: &Case) {
    const LAN_PAYLOAD: u16 = LAN_BYTES - UDP_BYTES;
    discover_paths(stage, false).unwrap();
    assert_no_loss(stage, session, case, &format!("--bidir -l {LAN_PAYLOAD}"));
    discover_paths(stage, true).unwrap();
    if case.whole < LAN_BYTES {
        let told = sender_is_told(stage, session.address).unwrap();
        assert_eq!(told, case.whole, "{}", case.name);
        // What the subscriber sends has nothing to do with its MRU.
        assert_no_loss(stage, session, case, &format!("--dont-fragment -l {LAN_PAYLOAD}"));
    }
    let payload = case.whole - UDP_BYTES;
    assert_no_loss(stage, session, case, &format!("--bidir --dont-fragment -l {payload}"));
}

/// The MTU that the core has learned for its way to the subscriber from one packet that is too large
/// and may not be fragmented.
fn sender_is_told(stage: &Stage, subscriber: Ipv4Addr) -> Result<u16> {
    let core = &stage.topology.core;
    let payload = LAN_BYTES - UDP_BYTES;
    // Nothing comes back but the error, which makes ping fail.
    let ping = core.run(&format!("ping -n -c 1 -W 1 -M do -s {payload} {subscriber}"));
    let route = core.ip(&format!("route get {subscriber}"))?;
    let mut words = route.split_whitespace().skip_while(|word| *word != "mtu").skip(1);
    let mtu = words.next().and_then(|word| word.parse().ok());
    mtu.ok_or_else(|| LabError::new(format!("no MTU was learned: {route}{ping:?}")))
}

#[track_caller]
fn assert_no_loss(stage: &Stage, session: &Session<'_>, case: &Case, options: &str) {
    let mut last = Vec::new();
    for _ in 0..RUNS {
        last = udp(stage, session, options);
        if last.iter().all(|(packets, lost)| *packets > 0 && *lost == 0) {
            return;
        }
    }
    panic!("{}: {options}: packets and lost ones: {last:?}", case.name);
}

/// Packets and lost ones of each direction.
fn udp(stage: &Stage, session: &Session<'_>, options: &str) -> Vec<(u64, u64)> {
    let report = iperf(stage, session, &format!("-u -b {UDP_RATE} -t 1 {options}"));
    let sums = ["sum", "sum_bidir_reverse"].map(|name| report["end"][name].clone());
    let counts = sums.iter().filter(|sum| !sum.is_null()).map(|sum| {
        let count = |name: &str| sum[name].as_u64().unwrap_or_else(|| panic!("no {name}: {sum}"));
        (count("packets"), count("lost_packets"))
    });
    let counts: Vec<_> = counts.collect();
    assert_eq!(counts.len(), 1 + usize::from(options.contains("--bidir")), "{report}");
    counts
}

fn iperf(stage: &Stage, session: &Session<'_>, options: &str) -> Value {
    let script = format!("iperf3 -c {CORE_ADDRESS} -B {} -J {options}", session.address);
    let report = stage.guest.check(&script, PATIENCE).unwrap();
    // A warning that the size is that of fragments stands in front.
    let start = report.find('{').unwrap_or_default();
    serde_json::from_str(&report[start..]).unwrap_or_else(|error| panic!("{error}: {report}"))
}

/// TCP both ways: a connection that stalls would not end in time.
fn segments_arrive(stage: &Stage, session: &Session<'_>, case: &Case) {
    const BYTES: u64 = 1_000_000;
    // The sender's buffer: what of these octets may be on the way when it has handed over all.
    const WINDOW: &str = "64K";
    let lan_mss = LAN_BYTES - TCP_BYTES;
    for direction in ["", "-R"] {
        let report =
            iperf(stage, session, &format!("-M {lan_mss} -w {WINDOW} -n {BYTES} {direction}"));
        let received = report["end"]["sum_received"]["bytes"].as_u64();
        assert!(received >= Some(BYTES / 2), "{}{direction}: {report}", case.name);
    }
    let seen = mss(stage, session).unwrap();
    assert_eq!(seen, [case.mss - TIMESTAMP_BYTES; 2], "{}: core's and subscriber's", case.name);
}

/// The MSS that the core sends with, and the one that the subscriber sends with.
fn mss(stage: &Stage, session: &Session<'_>) -> Result<[u16; 2]> {
    let failed = |what: &str, error: std::io::Error| LabError::io(what, &error);
    let listener = stage.topology.core.inside(|| {
        TcpListener::bind((CORE_ADDRESS, MSS_PORT)).map_err(|error| failed("listen", error))
    })?;
    listener.set_nonblocking(true).map_err(|error| failed("listen", error))?;
    // Waits for a line, by when the connection is established at both ends.
    let job = stage.guest.start(&format!(
        "ip route replace {CORE_ADDRESS} dev {} src {}
         bash -c 'exec 3<> /dev/tcp/{CORE_ADDRESS}/{MSS_PORT} && read -r line <&3 &&
                  ss -tinH dst {CORE_ADDRESS}'
         ip route del {CORE_ADDRESS}",
        session.interface(),
        session.address
    ))?;
    let accepted = deadline::poll(PATIENCE, || listener.accept().ok());
    let (mut stream, _) = accepted.ok_or_else(|| LabError::new("nobody connects"))?;
    let ours = getsockopt(&stream, sockopt::TcpMaxSeg)
        .map_err(|error| failed("TCP_MAXSEG", error.into()))?;
    stream.write_all(b"\n").map_err(|error| failed("write", error))?;
    stage.guest.wait(&job, Duration::from_secs(10));
    let text = job.output().text();
    let theirs = text.split_whitespace().find_map(|word| word.strip_prefix("mss:")?.parse().ok());
    let theirs = theirs.ok_or_else(|| LabError::new(format!("no MSS: {text}")))?;
    Ok([u16::try_from(ours).unwrap_or(u16::MAX), theirs])
}

/// Nothing was dropped but what was too large, where something was, and what has nothing to do with
/// the streams.
#[track_caller]
fn assert_drops(xlns: &Xlns<'_>, cases: &[Case]) {
    const OTHER: &[&str] = &[
        // The kernels at both ends look for their neighbours by multicast.
        "destination_invalid",
        // pppd says goodbye after its tunnel is gone.
        "no_such_session",
        // The core goes on with the end of a connection to a subscriber that is gone.
        "unreachable",
    ];
    let too_large = cases.iter().filter(|case| case.whole < LAN_BYTES).count() as u64;
    let counters = xlns.show("counters").unwrap();
    let drops: Vec<(&str, u64)> = counters
        .iter()
        .filter(|row| row["group"] == "drop")
        .filter_map(|row| Some((row["name"].as_str()?, row["value"].as_u64()?)))
        .filter(|(name, count)| *count > 0 && !OTHER.contains(name))
        .collect();
    let expected: &[_] = if too_large > 0 { &[("too_big", too_large)] } else { &[] };
    assert_eq!(drops, expected);
}
