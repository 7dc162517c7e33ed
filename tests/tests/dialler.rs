//! xlns dials xlns: a gateway that keeps a session up, two LNSs, and a core network behind each; all
//! with AF_XDP workers on veth.
//!
//! Run by `make privileged` (as root, after the programs have been built). The first LNS has the same
//! address for its tunnels and on its PPP links, as a router was seen to fail with (docs/peers.md row
//! 19). The second one is reached by the default route of the gateway's own, and the gateway has a
//! default route into the session: so nothing but policy keeps the tunnel out of itself.

use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::Value;
use xlns_tests::netns::Netns;
use xlns_tests::process::Process;
use xlns_tests::xlns::Xlns;
use xlns_tests::{Lab, LabError, Result, deadline};

/// How long something may take that takes a second on an idle machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A dead LNS is noticed after 1 s of silence and given up 200 + 400 + 400 + 400 ms later.
const IMPATIENT: &str = "hello_interval_seconds = 1\nretransmit_initial_ms = 200\n\
                         retransmit_max_ms = 400\nretransmit_tries = 3\n";

/// Of the first LNS: its tunnels', and its own on every PPP link.
const FIRST: &str = "10.0.2.72";
/// Of the second one; on an interface of its own, behind a router.
const SECOND: &str = "192.0.2.2";
/// In the core network behind either.
const CORE: &str = "198.51.100.2";
const CORE6: &str = "2001:db8:c::2";

/// What is made once. Dropped in this order, where it is dropped at all.
struct Stage {
    lan: Netns,
    gateway: Netns,
    first: Netns,
    second: Netns,
    cores: [Netns; 2],
    lab: Lab,
}

/// The stage, for one test at a time; a test that failed leaves it usable.
fn stage() -> MutexGuard<'static, Stage> {
    static STAGE: OnceLock<Mutex<Stage>> = OnceLock::new();
    let built = STAGE.get_or_init(|| {
        Mutex::new(Stage::build().unwrap_or_else(|error: LabError| {
            panic!("the lab cannot be built: {error}");
        }))
    });
    built.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A veth pair without offloads on either end: frames must leave complete.
fn link(a: &Netns, a_name: &str, b: &Netns, b_name: &str) -> Result<()> {
    a.ip(&format!("link add {a_name} type veth peer {b_name} netns {}", b.name()))?;
    for (namespace, name) in [(a, a_name), (b, b_name)] {
        namespace
            .run(&format!("ethtool -K {name} tx off rx off sg off tso off gso off gro off"))?;
        namespace.ip(&format!("link set {name} up"))?;
    }
    Ok(())
}

impl Stage {
    fn build() -> Result<Self> {
        let lab = Lab::start("dialler")?;
        let make = |role| Netns::create(&lab, role);
        let (lan, gateway, first, second) =
            (make("lan")?, make("gateway")?, make("first")?, make("second")?);
        let cores = [make("core1")?, make("core2")?];
        link(&gateway, "lan0", &lan, "lan0")?;
        link(&gateway, "wan0", &first, "access0")?;
        link(&gateway, "wan1", &second, "access0")?;
        lan.ip("address add 192.168.7.2/24 dev lan0")?;
        lan.ip("route add default via 192.168.7.1")?;
        gateway.ip("address add 192.168.7.1/24 dev lan0")?;
        gateway.ip("address add 10.0.2.100/24 dev wan0")?;
        gateway.ip("address add 10.0.3.100/24 dev wan1")?;
        gateway.ip("route add default via 10.0.3.72")?;
        // A router: the first packets to a host whose link-layer address is to be found yet.
        gateway.set("net/ipv4/ip_forward", "1")?;
        // What the kernel takes for spoofed is dropped: also what the server sends to its tunnel,
        // were the way back to lead into the session.
        for interface in ["all", "wan0", "wan1"] {
            gateway.set(&format!("net/ipv4/conf/{interface}/rp_filter"), "1")?;
        }
        first.ip(&format!("address add {FIRST}/24 dev access0"))?;
        second.ip("address add 10.0.3.72/24 dev access0")?;
        second.ip(&format!("address add {SECOND}/32 dev lo"))?;
        for (lns, core) in [(&first, &cores[0]), (&second, &cores[1])] {
            link(lns, "core0", core, "core0")?;
            lns.set("net/ipv4/ip_forward", "1")?;
            lns.set("net/ipv6/conf/all/forwarding", "1")?;
            lns.ip("address add 198.51.100.1/24 dev core0")?;
            lns.ip("address add 2001:db8:c::1/64 dev core0 nodad")?;
            core.ip(&format!("address add {CORE}/24 dev core0"))?;
            core.ip(&format!("address add {CORE6}/64 dev core0 nodad"))?;
            core.ip("route add default via 198.51.100.1")?;
            core.ip("-6 route add default via 2001:db8:c::1")?;
        }
        Ok(Self { lan, gateway, first, second, cores, lab })
    }

    /// An LNS that takes alice, on the first or second machine.
    fn lns(&self, name: &str, test: &str) -> Result<Xlns<'_>> {
        let (namespace, address, gateway) = match name {
            "first" => (&self.first, FIRST, FIRST),
            _ => (&self.second, SECOND, "10.8.255.1"),
        };
        let folder = self.lab.scratch().join(name);
        let text = format!(
            "[lns]\nhost_name = \"{name}\"\nlisten = [\"{address}\"]\ngateway = \"{gateway}\"\n\
             allow_gateway_on_listen_address = true\n\
             [admin]\nsocket = {:?}\n[dataplane]\nsocket = {:?}\nworkers = 1\n\
             [l2tp]\n{IMPATIENT}[ppp]\ndns = [\"192.0.2.53\"]\n\
             [[lac]]\nname = \"any\"\nsecret = \"tunnel-secret\"\n\
             [[pool]]\nname = \"p\"\nprefixes = [\"10.9.0.0/24\"]\n\
             ipv6_prefixes = [\"2001:db8:9::/48\"]\n\
             delegated_prefixes = [\"2001:db8:d000::/36\"]\ndelegated_length = 56\n\
             [[user]]\nname = \"alice\"\npassword = \"alice-password\"\n\
             framed_routes = [\"192.168.7.0/24\"]\n\
             [[port]]\ninterface = \"access0\"\nqueues = 1\n\
             [[port]]\ninterface = \"core0\"\nqueues = 1\n",
            folder.join("admin.sock"),
            folder.join("dataplane.sock"),
        );
        Xlns::start_in(&self.lab, namespace, &format!("{test}-{name}"), &folder, &text)
    }

    /// The gateway, dialling these servers.
    fn dialler(&self, test: &str, servers: &[&str]) -> Result<Xlns<'_>> {
        let folder = self.lab.scratch().join("gateway");
        let servers: Vec<String> =
            servers.iter().map(|server| format!("{{ address = \"{server}\" }}")).collect();
        let text = format!(
            "[lns]\nhost_name = \"gateway\"\nlisten = [\"0.0.0.0\"]\ngateway = \"10.255.255.254\"\n\
             [admin]\nsocket = {:?}\n[dataplane]\nsocket = {:?}\nworkers = 1\n\
             [l2tp]\n{IMPATIENT}\
             [[client]]\nname = \"uplink\"\nservers = [{}]\nsecret = \"tunnel-secret\"\n\
             user = \"alice\"\npassword = \"alice-password\"\nipv6 = true\n\
             routes = [\"default\"]\npeer_addresses = [\"{FIRST}/32\"]\n\
             redial_max_seconds = 2\n\
             [[port]]\ninterface = \"lan0\"\nqueues = 1\ncore = true\n\
             [[port]]\ninterface = \"wan0\"\nqueues = 1\n\
             [[port]]\ninterface = \"wan1\"\nqueues = 1\n",
            folder.join("admin.sock"),
            folder.join("dataplane.sock"),
            servers.join(", "),
        );
        Xlns::start_in(&self.lab, &self.gateway, &format!("{test}-gateway"), &folder, &text)
    }

    /// How many of three pings from the gateway itself are answered.
    fn ping(&self, from: &Netns, destination: &str) -> usize {
        let pings = format!("ping -n -c 3 -i 0.1 -W 2 {destination}");
        let output = from.run(&pings).unwrap_or_else(|error| error.to_string());
        output.lines().filter(|line| line.contains(" bytes from ")).count()
    }

    #[track_caller]
    fn assert_reaches(&self, from: &Netns, destination: &str) {
        assert_eq!(self.ping(from, destination), 3, "{} to {destination}", from.name());
    }

    /// Rules and routes of ours in the gateway's kernel, and addresses of its TUN device.
    fn traces(&self) -> Result<String> {
        let mut traces = String::new();
        for command in ["-4 rule show", "-6 rule show", "route show table all proto 170"] {
            traces += &self.gateway.ip(command)?;
        }
        let is_ours = |line: &&str| line.contains("proto 170") || line.contains("table 1701");
        Ok(traces.lines().filter(is_ours).collect::<Vec<_>>().join("\n"))
    }
}

/// The one row of `show clients`, once it is up with both protocols, through one of `servers`.
#[track_caller]
fn wait_up(dialler: &Xlns<'_>, servers: &[&str]) -> Value {
    let is_up = |rows: &[Value]| {
        let server = rows[0]["server"].as_str().unwrap_or("");
        rows[0]["state"] == "up"
            && rows[0]["address"].is_string()
            && rows[0]["delegated"].is_string()
            && servers.iter().any(|wanted| server == format!("{wanted}:1701"))
    };
    dialler.wait_rows("clients", PATIENCE, is_up).unwrap().remove(0)
}

/// No packet took a way that leads back to where it came from.
#[track_caller]
fn assert_no_loop(dialler: &Xlns<'_>) {
    for reason in ["session_loop", "host_loop", "ttl_exceeded", "no_route", "unreachable"] {
        assert_eq!(dialler.counter("drop", reason).unwrap(), 0, "{reason}");
    }
}

fn packets(row: &Value, name: &str) -> u64 {
    row[name].as_u64().unwrap()
}

#[test]
fn a_server_whose_ppp_address_is_its_tunnel_address_carries_everything() {
    let stage = stage();
    let lns = stage.lns("first", "same").unwrap();
    let dialler = stage.dialler("same", &[FIRST]).unwrap();
    let row = wait_up(&dialler, &[FIRST]);
    assert_eq!(row["peer_address"], FIRST);
    assert_eq!(row["dns"][0], "192.0.2.53");
    let address = row["address"].as_str().unwrap().to_owned();

    // The kernel's own answer, for what is to be sent and for the tunnel itself.
    let found = |what: &str| stage.gateway.ip(&format!("route get {what}")).unwrap();
    for destination in [CORE, FIRST] {
        let way = found(destination);
        assert!(way.contains("dev xlns0") && way.contains(&address), "{way}");
    }
    assert!(found(&format!("{FIRST} mark 1701")).contains("dev wan0"));
    assert!(found("10.0.3.72").contains("dev wan1"), "what is connected stays so");

    let before = &dialler.show("clients").unwrap()[0];
    stage.assert_reaches(&stage.gateway, CORE);
    stage.assert_reaches(&stage.gateway, FIRST);
    stage.assert_reaches(&stage.gateway, CORE6);
    // A host behind the gateway, both ways: its packets never see the gateway's kernel.
    stage.assert_reaches(&stage.lan, CORE);
    stage.assert_reaches(&stage.cores[0], "192.168.7.2");
    let counted = |rows: &[Value]| {
        let grown = |name| packets(&rows[0], name) - packets(before, name);
        grown("received_packets") >= 15 && grown("sent_packets") >= 15
    };
    let rows = dialler.wait_rows("clients", PATIENCE, counted).unwrap();
    // Nothing went round: as much as was sent, and not a hundred times as much.
    assert!(packets(&rows[0], "sent_packets") < 60, "{}", rows[0]);
    let at_lns = &lns.show("sessions").unwrap()[0];
    assert_eq!(at_lns["user"], "alice");
    assert_eq!(packets(at_lns, "upstream_packets"), packets(&rows[0], "sent_packets"));
    assert_no_loop(&dialler);

    // HELLOs go on and are answered, and so is LCP echo: both would be swallowed by a loop.
    deadline::watch(Duration::from_secs(4));
    let row = &dialler.show("clients").unwrap()[0];
    assert_eq!((row["state"].as_str(), row["redials"].as_u64()), (Some("up"), Some(0)), "{row}");

    let table = dialler.table("clients").unwrap();
    assert!(table.contains("uplink") && table.contains(&address), "{table}");
    dialler.end();
    assert_eq!(stage.traces().unwrap(), "");
    let none = |rows: &[Value]| rows.is_empty();
    lns.wait_rows("sessions", PATIENCE, none).unwrap();
}

#[test]
fn tcp_flows_through_the_session_both_ways() {
    let stage = stage();
    let lns = stage.lns("first", "tcp").unwrap();
    let dialler = stage.dialler("tcp", &[FIRST]).unwrap();
    wait_up(&dialler, &[FIRST]);
    let mut command = stage.cores[0].command("iperf3");
    command.args(["-s", "--forceflush"]).stdin(Stdio::null());
    let server = Process::spawn("iperf3", &mut command, &stage.lab.log("tcp-iperf3")).unwrap();
    server.wait_line(PATIENCE, "Server listening").unwrap();
    // The gateway's own, of which the TUN device keeps segments short.
    for direction in ["", " -R"] {
        let line = format!("iperf3 -c {CORE} -t 2 -J{direction}");
        let report: Value = serde_json::from_str(&stage.gateway.run(&line).unwrap()).unwrap();
        let received = &report["end"]["sum_received"];
        assert!(received["bytes"].as_f64().unwrap() > 1e6, "{direction}: {received}");
    }
    assert_no_loop(&dialler);
    drop(lns);
}

#[test]
fn the_other_server_takes_over_and_a_restarted_one_is_dialled_again() {
    let stage = stage();
    let mut first = Some(stage.lns("first", "over").unwrap());
    let mut second = Some(stage.lns("second", "over").unwrap());
    let dialler = stage.dialler("over", &[FIRST, SECOND]).unwrap();
    let mut used = wait_up(&dialler, &[FIRST, SECOND])["server"].as_str().unwrap().to_owned();
    stage.assert_reaches(&stage.gateway, CORE);

    // Power failure of the one in use: the other one, by the same destinations.
    let other = if used.starts_with(FIRST) {
        first.take().unwrap().crash().unwrap();
        SECOND
    } else {
        second.take().unwrap().crash().unwrap();
        FIRST
    };
    wait_up(&dialler, &[other]);
    stage.assert_reaches(&stage.gateway, CORE);
    stage.assert_reaches(&stage.lan, CORE);
    used = other.to_owned();

    // The operator has it dialled anew; only this one answers.
    dialler.command(&["clear", "client", "uplink"]).unwrap();
    wait_up(&dialler, &[other]);
    assert!(dialler.command(&["clear", "client", "nobody"]).is_err());

    // That one is restarted in order, alone in the world: it is dialled until it is back.
    let name = if used == FIRST { "first" } else { "second" };
    drop((first.take(), second.take()));
    let away = |rows: &[Value]| rows[0]["state"] != "up";
    let rows = dialler.wait_rows("clients", PATIENCE, away).unwrap();
    assert_ne!(rows[0]["last_error"], "", "{rows:?}");
    assert_eq!(stage.traces().unwrap(), "", "no way into a session that is not there");
    let again = stage.lns(name, "again").unwrap();
    let row = wait_up(&dialler, &[other]);
    assert!(row["redials"].as_u64() >= Some(2), "{row}");
    stage.assert_reaches(&stage.gateway, CORE);
    stage.assert_reaches(&stage.gateway, CORE6);
    assert_no_loop(&dialler);
    drop(again);
}

#[test]
fn what_a_killed_gateway_left_is_taken_away_by_the_next() {
    let stage = stage();
    let lns = stage.lns("first", "killed").unwrap();
    let mut dialler = stage.dialler("killed", &[FIRST]).unwrap();
    wait_up(&dialler, &[FIRST]);
    // A new data plane: the TUN device is another one, and everything is put on it again.
    dialler.replace_dataplane(1).unwrap();
    let reached =
        deadline::poll(PATIENCE, || (stage.ping(&stage.gateway, CORE) == 3).then_some(()));
    assert!(reached.is_some(), "after the data plane was replaced");
    dialler.crash().unwrap();
    // The rules do not go with the device.
    assert_ne!(stage.traces().unwrap(), "");
    let dialler = stage.dialler("revived", &[FIRST]).unwrap();
    wait_up(&dialler, &[FIRST]);
    stage.assert_reaches(&stage.gateway, CORE);
    let rules = stage.gateway.ip("-4 rule show").unwrap();
    assert_eq!(rules.matches("lookup 1701").count(), 2, "each once: {rules}");
    drop(lns);
}
