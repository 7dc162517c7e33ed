//! [`Netlink`] and [`Routing`] together against the kernel, in network namespaces of their own:
//! what the `ip` command changes arrives as commands, and what we ask of the kernel happens.
//!
//! Needs root; says so and passes without.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::net::IpAddr;
use std::process::Command as Process;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use mio::{Events, Poll, Token};
use nix::sched::{CloneFlags, setns};
use xlns_control::netlink::{KernelRequest, Netlink};
use xlns_control::routing::{DialRouting, Routing, RoutingConfig, Uplinks};
use xlns_control::time::Time;
use xlns_dataplane::api::{Command, PortIndex, RouteTarget};

/// What is expected comes within milliseconds, verifications within a second; a busy machine takes
/// longer.
const DEADLINE: Duration = Duration::from_secs(30);

const NETLINK: Token = Token(1);

/// A network namespace that is removed at the end, whichever it is.
struct Namespace(String);

impl Namespace {
    fn new(test: &str, side: &str) -> Self {
        let name = format!("xlns-route-{}-{test}-{side}", std::process::id());
        run(&["netns", "add", &name]);
        Self(name)
    }

    /// Runs `ip` in the namespace.
    fn ip(&self, arguments: &str) -> String {
        let mut all = vec!["-n", &self.0];
        all.extend(arguments.split_whitespace());
        run(&all)
    }

    fn enter(&self) {
        let file = File::open(format!("/run/netns/{}", self.0)).unwrap();
        setns(file, CloneFlags::CLONE_NEWNET).unwrap();
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Process::new("ip").args(["netns", "del", &self.0]).status();
    }
}

fn run(arguments: &[&str]) -> String {
    let output = Process::new("ip").args(arguments).output().expect("the ip command");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {error}", arguments.join(" "));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[expect(clippy::disallowed_methods, reason = "the event loop of these tests")]
fn clock() -> Instant {
    Instant::now()
}

/// What a data plane would know.
#[derive(Default)]
struct Tables {
    hosts: BTreeMap<IpAddr, bool>,
    prefixes: BTreeSet<IpNet>,
    routes: BTreeMap<IpNet, RouteTarget>,
    neighbors: BTreeMap<(PortIndex, IpAddr), [u8; 6]>,
}

impl Tables {
    /// Removing what is not there is a mistake of the mirror.
    fn apply(&mut self, command: Command) {
        match command {
            Command::HostAddressSet { address, tunnel_endpoint } => {
                self.hosts.insert(address, tunnel_endpoint);
            }
            Command::HostAddressRemove { address } => {
                self.hosts.remove(&address).expect("a host address that is there");
            }
            Command::SubscriberPrefixSet { prefix } => {
                self.prefixes.insert(prefix);
            }
            Command::RouteSet { prefix, target } => {
                self.routes.insert(prefix, target);
            }
            Command::RouteRemove { prefix } => {
                self.routes.remove(&prefix).expect("a route that is there");
            }
            Command::NeighborSet { port, address, mac } => {
                self.neighbors.insert((port, address), mac);
            }
            Command::NeighborRemove { port, address } => {
                self.neighbors.remove(&(port, address)).expect("a neighbour that is there");
            }
            other => panic!("{other:?}"),
        }
    }

    fn host(&self, address: &str) -> Option<bool> {
        self.hosts.get(&address.parse().unwrap()).copied()
    }

    fn route(&self, prefix: &str) -> Option<RouteTarget> {
        self.routes.get(&prefix.parse().unwrap()).copied()
    }

    fn neighbor(&self, address: &str) -> Option<[u8; 6]> {
        self.neighbors.get(&(0, address.parse().unwrap())).copied()
    }
}

/// An event loop with nothing but the kernel's routing.
struct Control {
    poll: Poll,
    netlink: Netlink,
    routing: Routing,
    start: Instant,
    tables: Tables,
    requests: Vec<KernelRequest>,
}

impl Control {
    fn new() -> Self {
        let poll = Poll::new().unwrap();
        let mut netlink = Netlink::new().unwrap();
        netlink.register(poll.registry(), NETLINK).unwrap();
        let routing = Routing::new(RoutingConfig {
            ports: vec!["access".into(), "core".into()],
            tun_name: "xlns0".into(),
            tunnel_endpoints: vec!["192.0.2.1".parse().unwrap()],
            subscriber_prefixes: vec![
                "100.64.0.0/16".parse().unwrap(),
                "2001:db8:64::/48".parse().unwrap(),
            ],
            gateway: Some("100.64.0.1".parse().unwrap()),
            dial: DialRouting::default(),
        });
        let (tables, requests) = (Tables::default(), Vec::new());
        Self { poll, netlink, routing, start: clock(), tables, requests }
    }

    fn now(&self) -> Time {
        Time::from_start(clock() - self.start)
    }

    fn turn(&mut self) {
        for event in self.netlink.receive().unwrap() {
            self.routing.handle_event(self.now(), event);
        }
        if self.routing.poll_timeout().is_some_and(|at| at <= self.now()) {
            self.routing.handle_timeout(self.now());
        }
        while let Some(command) = self.routing.poll_command() {
            self.tables.apply(command);
        }
        while let Some(request) = self.routing.poll_kernel() {
            self.netlink.request(&request).unwrap();
            self.requests.push(request);
        }
    }

    /// Runs until `condition` holds.
    fn until(&mut self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let end = clock() + DEADLINE;
        let mut events = Events::with_capacity(16);
        loop {
            self.turn();
            if condition(self) {
                return;
            }
            assert!(clock() < end, "not within {DEADLINE:?}: {what}");
            if self.netlink.has_more() {
                continue;
            }
            let next = self.routing.poll_timeout().map(|at| at - self.now());
            let wait = next.unwrap_or(DEADLINE).min(end.saturating_duration_since(clock()));
            self.poll.poll(&mut events, Some(wait)).unwrap();
        }
    }

    fn until_synchronised(&mut self) {
        self.until("the first dump", |control| control.routing.is_synchronised());
    }
}

/// Two namespaces joined by a veth pair, `access` here and `lac` there, and `core` to nowhere in
/// particular; runs the test in the first.
fn with_namespaces(test: &str, body: impl FnOnce(&Namespace, &Namespace) + Send) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let here = Namespace::new(test, "here");
    let there = Namespace::new(test, "there");
    here.ip(&format!("link add access type veth peer name lac netns {}", there.0));
    here.ip(&format!("link add core type veth peer name far netns {}", there.0));
    here.ip(&format!("link add other type veth peer name beyond netns {}", there.0));
    for interface in ["lo", "access", "core", "other"] {
        here.ip(&format!("link set {interface} up"));
    }
    for interface in ["lac", "far", "beyond"] {
        there.ip(&format!("link set {interface} up"));
    }
    here.ip("address add 192.0.2.1/24 dev access");
    here.ip("address add 2001:db8::1/64 dev core nodad");
    there.ip("address add 192.0.2.2/24 dev lac");
    // A namespace is a thread's; this one is for the test alone.
    std::thread::scope(|scope| {
        let body = scope.spawn(|| {
            here.enter();
            body(&here, &there);
        });
        if let Err(panic) = body.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn via(port: PortIndex, gateway: &str) -> Option<RouteTarget> {
    Some(RouteTarget::Neighbor { port, gateway: gateway.parse().unwrap() })
}

#[test]
fn addresses_and_routes_arrive() {
    with_namespaces("routes", |here, _| {
        here.ip("route add 203.0.113.0/24 via 192.0.2.2");
        here.ip("route add blackhole 10.0.0.0/8");
        let mut control = Control::new();
        control.until_synchronised();
        // What was there.
        assert_eq!(control.tables.host("192.0.2.1"), Some(true));
        assert_eq!(control.tables.host("2001:db8::1"), Some(false));
        assert_eq!(control.tables.route("192.0.2.0/24"), Some(RouteTarget::Glean));
        assert_eq!(control.tables.route("2001:db8::/64"), Some(RouteTarget::Glean));
        assert_eq!(control.tables.route("203.0.113.0/24"), via(0, "192.0.2.2"));
        assert_eq!(control.tables.route("10.0.0.0/8"), Some(RouteTarget::Unreachable));
        assert_eq!(control.tables.prefixes.len(), 2);
        assert!(control.tables.hosts.keys().all(|address| !address.is_loopback()));
        // What comes.
        here.ip("route add 10.1.0.0/16 dev other");
        here.ip("route add 0.0.0.0/0 via inet6 2001:db8::9 dev core metric 20");
        here.ip("route add 0.0.0.0/0 via 192.0.2.3 dev access metric 10");
        here.ip("-6 route add 2001:db8:1::/48 nexthop via 2001:db8::2 nexthop via 2001:db8::3");
        here.ip("route add table 100 10.3.0.0/16 via 192.0.2.2");
        control.until("four routes", |control| {
            let multipath = control.tables.route("2001:db8:1::/48");
            control.tables.route("10.1.0.0/16") == Some(RouteTarget::Local)
                && control.tables.route("0.0.0.0/0") == via(0, "192.0.2.3")
                && (multipath == via(1, "2001:db8::2") || multipath == via(1, "2001:db8::3"))
        });
        assert_eq!(control.tables.route("10.3.0.0/16"), None);
        // What goes.
        here.ip("route del 0.0.0.0/0 metric 10");
        here.ip("route replace 10.0.0.0/8 via 192.0.2.2");
        here.ip("address add 198.51.100.1/32 dev lo");
        control.until("three changes", |control| {
            control.tables.route("0.0.0.0/0") == via(1, "2001:db8::9")
                && control.tables.route("10.0.0.0/8") == via(0, "192.0.2.2")
                && control.tables.host("198.51.100.1") == Some(false)
        });
        here.ip("route del 0.0.0.0/0");
        here.ip("address del 198.51.100.1/32 dev lo");
        here.ip("link set access down");
        control.until("the end of them", |control| {
            control.tables.route("0.0.0.0/0").is_none()
                && control.tables.host("198.51.100.1").is_none()
                && control.tables.route("10.0.0.0/8").is_none()
                && control.tables.route("203.0.113.0/24").is_none()
                && control.tables.route("192.0.2.0/24").is_none()
        });
        assert_eq!(control.tables.route("2001:db8::/64"), Some(RouteTarget::Glean));
    });
}

#[test]
fn a_gateway_is_found_and_kept_alive() {
    with_namespaces("neighbors", |here, there| {
        there.ip("link set lac address 02:00:00:00:00:02");
        here.ip("route add 203.0.113.0/24 via 192.0.2.2");
        let mut control = Control::new();
        control.until("the gateway found", |control| {
            control.tables.neighbor("192.0.2.2") == Some([2, 0, 0, 0, 0, 2])
        });
        assert_eq!(control.tables.route("192.0.2.2/32"), via(0, "192.0.2.2"));

        control.requests.clear();
        here.ip("neighbor change 192.0.2.2 dev access nud stale");
        control.until("the stale gateway reachable again", |control| {
            let probes = |request: &KernelRequest| {
                matches!(request, KernelRequest::ProbeNeighbor { address, .. }
                    if address.to_string() == "192.0.2.2")
            };
            control.requests.iter().any(probes)
                && here.ip("neighbor show 192.0.2.2 dev access").contains("REACHABLE")
        });
        assert_eq!(control.tables.neighbor("192.0.2.2"), Some([2, 0, 0, 0, 0, 2]));

        here.ip("neighbor replace 192.0.2.2 dev access lladdr 02:00:00:00:00:99 nud reachable");
        control.until("another MAC address", |control| {
            control.tables.neighbor("192.0.2.2") == Some([2, 0, 0, 0, 0, 0x99])
        });
        here.ip("neighbor change 192.0.2.2 dev access nud failed");
        control.until("the gateway gone", |control| {
            control.tables.neighbor("192.0.2.2").is_none()
                && control.tables.route("192.0.2.2/32").is_none()
        });
        control.until("the gateway found again", |control| {
            control.tables.neighbor("192.0.2.2") == Some([2, 0, 0, 0, 0, 2])
        });
    });
}

#[test]
fn a_tunnel_peer_of_either_family_is_found() {
    with_namespaces("peers", |_, there| {
        there.ip("address add 2001:db8::2/64 dev far nodad");
        let mut control = Control::new();
        control.until_synchronised();
        assert_eq!(control.tables.neighbors.len(), 0);
        let peers: [IpAddr; 2] = ["192.0.2.2".parse().unwrap(), "2001:db8::2".parse().unwrap()];
        for peer in peers {
            control.routing.use_peer(peer);
        }
        control.until("both peers found", |control| {
            let found = |(port, peer): (usize, &IpAddr)| {
                let key = (port as PortIndex, *peer);
                control.tables.neighbors.contains_key(&key)
                    && control.tables.routes.contains_key(&IpNet::from(*peer))
            };
            peers.iter().enumerate().all(found)
        });
    });
}

#[test]
fn subscriber_prefixes_are_installed_on_the_tun_device() {
    with_namespaces("tun", |here, _| {
        let mut control = Control::new();
        control.until_synchronised();
        for _ in 0..2 {
            here.ip("tuntap add xlns0 mode tun");
            here.ip("link set xlns0 up");
            control.until("our routes and address", |control| {
                control.tables.host("100.64.0.1") == Some(false)
                    && here.ip("route show proto 170").contains("100.64.0.0/16 dev xlns0")
                    && here.ip("-6 route show proto 170").contains("2001:db8:64::/48 dev xlns0")
            });
            assert!(!control.routing.tunnel_endpoints().contains(&"100.64.0.1".parse().unwrap()));
            assert_eq!(control.tables.route("100.64.0.0/16"), None, "ours is not mirrored");
            // The data plane is restarted.
            here.ip("link del xlns0");
            control
                .until("the address gone", |control| control.tables.host("100.64.0.1").is_none());
        }
        here.ip("tuntap add xlns0 mode tun");
        here.ip("link set xlns0 up");
        // Left by an earlier run with other prefixes.
        here.ip("route add 100.99.0.0/16 dev xlns0 proto 170");
        control.netlink.request(&KernelRequest::Dump).unwrap();
        control.until("our routes only", |_| {
            let routes = here.ip("route show proto 170");
            routes.contains("100.64.0.0/16") && !routes.contains("100.99.0.0/16")
        });
        control.routing.shutdown();
        control.until("nothing of ours", |control| {
            here.ip("route show proto 170").is_empty()
                && here.ip("-6 route show proto 170").is_empty()
                && control.tables.host("100.64.0.1").is_none()
        });
    });
}

#[test]
fn lost_changes_are_read_again() {
    const ROUTES: u32 = 60_000;
    with_namespaces("lost", |here, _| {
        let mut control = Control::new();
        control.until_synchronised();
        // More than the receive buffer holds, while nobody reads.
        let mut batch = tempfile::NamedTempFile::new().unwrap();
        let prefix = |number: u32| format!("10.{}.{}.0/24", number >> 8, number & 0xff);
        for number in 0..ROUTES {
            writeln!(batch, "route add {} via 192.0.2.2", prefix(number)).unwrap();
        }
        batch.flush().unwrap();
        here.ip(&format!("-batch {}", batch.path().display()));
        here.ip("route del 10.0.0.0/24");
        let ours: IpNet = "10.0.0.0/8".parse().unwrap();
        let count = |control: &Control| {
            control.tables.routes.keys().filter(|prefix| ours.contains(*prefix)).count()
        };
        control.until("all routes but one", |control| {
            control.tables.route("10.0.0.0/24").is_none() && count(control) == ROUTES as usize - 1
        });
        assert_eq!(control.tables.route("10.1.2.0/24"), via(0, "192.0.2.2"));
        // The kernel forgets them without a word.
        here.ip("link set access down");
        control.until("none of them", |control| count(control) == 0);
    });
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A session with 192.0.2.2, whose PPP address is 192.0.2.2 as well, and everything beyond it.
fn uplinks() -> Uplinks {
    let (local, local6) = (ip("10.9.0.7"), ip("2001:db8:9::7"));
    let net = |text: &str| -> IpNet { text.parse().unwrap() };
    Uplinks {
        addresses: [local, local6].into(),
        routes: [
            (net("192.0.2.2/32"), local),
            (net("0.0.0.0/0"), local),
            (net("198.18.0.0/15"), local),
            (net("::/0"), local6),
        ]
        .into(),
        tunnels: [(ip("192.0.2.1"), ip("192.0.2.2"))].into(),
    }
}

/// How many of our rules there are, both families.
fn rules(here: &Namespace) -> usize {
    let count = |family: &str| {
        let all = here.ip(&format!("{family} rule show"));
        all.lines().filter(|line| line.contains("proto 170")).count()
    };
    count("-4") + count("-6")
}

#[test]
fn a_dialled_session_takes_all_but_its_own_tunnel() {
    with_namespaces("dialled", |here, _| {
        here.ip("tuntap add xlns0 mode tun");
        here.ip("link set xlns0 up");
        here.ip("route add 0.0.0.0/0 via 192.0.2.9");
        here.ip("route add 198.18.5.0/24 via 192.0.2.9");
        let mut control = Control::new();
        control.routing.set_uplinks(uplinks());
        control.until("addresses, routes and rules", |control| {
            control.tables.host("10.9.0.7") == Some(false)
                && control.tables.host("2001:db8:9::7") == Some(false)
                && here.ip("route show table 1701").lines().count() == 3
                && here.ip("-6 route show table 1701").lines().count() == 1
        });
        // What the kernel finds, without the mark and with it.
        let found = |what: &str| here.ip(&format!("route get {what}"));
        for destination in ["192.0.2.2", "9.9.9.9", "198.18.1.1", "2001:db8:77::1"] {
            assert!(found(destination).contains("dev xlns0"), "{destination}");
        }
        assert!(found("9.9.9.9").contains("src 10.9.0.7"), "not the gateway's address");
        assert!(found("192.0.2.2 mark 1701").contains("dev access"));
        assert!(found("192.0.2.2 from 192.0.2.1").contains("dev access"));
        assert!(found("9.9.9.9 mark 1701").contains("via 192.0.2.9 dev access"));
        // Longer prefixes of the main table come first, as if it were one table.
        assert!(found("198.18.5.1").contains("via 192.0.2.9 dev access"));
        assert!(found("192.0.2.77").contains("dev access"));
        assert!(!here.ip("route show table main").contains("192.0.2.2 dev xlns0"));
        assert_eq!(control.tables.route("0.0.0.0/0"), via(0, "192.0.2.9"), "the underlay's own");

        // The data plane is restarted: the device comes back empty.
        here.ip("link del xlns0");
        control.until("nothing", |_| rules(here) == 0);
        assert!(found("9.9.9.9").contains("via 192.0.2.9 dev access"));
        here.ip("tuntap add xlns0 mode tun");
        here.ip("link set xlns0 up");
        control.until("all of it again", |_| {
            here.ip("route show table 1701").lines().count() == 3 && rules(here) == 8
        });
        // Somebody empties the table.
        here.ip("route flush table 1701");
        control.until("all of it once more", |_| {
            here.ip("route show table 1701").lines().count() == 3
        });

        control.routing.shutdown();
        control.until("nothing of ours", |control| {
            control.tables.host("10.9.0.7").is_none()
                && here.ip("route show table all proto 170").is_empty()
                && rules(here) == 0
        });
    });
}

#[test]
fn what_a_crash_left_of_dialled_sessions_is_removed() {
    with_namespaces("crashed", |here, _| {
        here.ip("tuntap add xlns0 mode tun");
        here.ip("link set xlns0 up");
        let mut first = Control::new();
        first.routing.set_uplinks(uplinks());
        first.until("all of it", |_| {
            rules(here) == 8 && here.ip("route show table 1701").lines().count() == 3
        });
        drop(first);
        // An operator's own, which stay.
        here.ip("address add 10.77.0.1/32 dev xlns0");
        here.ip("rule add priority 99 fwmark 7 lookup 77");
        let mut second = Control::new();
        let other = Uplinks {
            addresses: [ip("10.9.0.8")].into(),
            routes: [("9.0.0.0/8".parse().unwrap(), ip("10.9.0.8"))].into(),
            ..Uplinks::default()
        };
        second.routing.set_uplinks(other);
        second.until("what is wanted now, alone", |_| {
            let addresses = here.ip("address show dev xlns0");
            let routes = here.ip("route show table 1701");
            !addresses.contains("10.9.0.7")
                && !addresses.contains("2001:db8:9::7")
                && addresses.contains("10.9.0.8")
                && addresses.contains("10.77.0.1")
                && routes.lines().count() == 1
                && routes.contains("9.0.0.0/8")
                && here.ip("-6 route show table 1701").is_empty()
                && rules(here) == 2
        });
        assert!(here.ip("rule show").contains("lookup 77"));
    });
}
