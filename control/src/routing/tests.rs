//! The mirror, told what a kernel would say.

use std::time::Duration;

use super::*;
use crate::netlink::{
    Address, Change, Hop, Link, Neighbor, NeighborState, Origin, Path, Placement, ROUTE_PROTOCOL,
    Route,
};

const LO: u32 = 1;
const ACCESS: u32 = 2;
const CORE: u32 = 3;
const OTHER: u32 = 4;
const TUN: u32 = 9;
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn link(index: u32, name: &str) -> Link {
    Link { index, name: name.into(), up: true, carrier: true }
}

fn address(link: u32, text: &str) -> Address {
    let network = net(text);
    Address { link, address: network.addr(), prefix_length: network.prefix_len(), protocol: 0 }
}

fn route(prefix: &str, metric: u32, hops: &[(u32, Option<&str>)]) -> Route {
    let hops = hops.iter().map(|(link, gateway)| Hop { link: *link, gateway: gateway.map(ip) });
    Route {
        prefix: net(prefix),
        metric,
        protocol: 4,
        path: Path::Hops(hops.collect()),
        placement: Placement::First,
    }
}

fn neighbor(link: u32, address: &str, state: NeighborState) -> Neighbor {
    let mac = (state != NeighborState::Unusable).then_some(MAC);
    Neighbor { link, address: ip(address), mac, state }
}

fn config() -> RoutingConfig {
    RoutingConfig {
        ports: vec!["access".into(), "core".into()],
        tun_name: "xlns0".into(),
        tunnel_endpoints: vec![ip("192.0.2.1")],
        subscriber_prefixes: vec![net("100.64.0.0/16")],
        gateway: Some(ip("100.64.0.1")),
        dial: DialRouting::default(),
    }
}

/// The mirror with its clock.
struct Test {
    routing: Routing,
    now: Time,
}

impl Test {
    /// Two ports, another interface and `xlns0`, all up; what that emits is drained.
    fn new() -> Self {
        Self::with(config())
    }

    fn with(config: RoutingConfig) -> Self {
        let mut test = Self { routing: Routing::new(config), now: Time::ZERO };
        test.event(Event::DumpBegun);
        for (index, name) in
            [(LO, "lo"), (ACCESS, "access"), (CORE, "core"), (OTHER, "eth9"), (TUN, "xlns0")]
        {
            test.changed(Origin::Dump, Change::Link(link(index, name)));
        }
        test.event(Event::DumpEnded { complete: true });
        test.commands();
        test.requests();
        test
    }

    fn event(&mut self, event: Event) {
        self.routing.handle_event(self.now, event);
    }

    fn changed(&mut self, origin: Origin, change: Change) {
        self.event(Event::Changed(origin, change));
    }

    fn live(&mut self, change: Change) -> Vec<Command> {
        self.changed(Origin::Live, change);
        self.commands()
    }

    fn commands(&mut self) -> Vec<Command> {
        std::iter::from_fn(|| self.routing.poll_command()).collect()
    }

    fn requests(&mut self) -> Vec<KernelRequest> {
        std::iter::from_fn(|| self.routing.poll_kernel()).collect()
    }

    fn pass(&mut self, duration: Duration) -> Vec<KernelRequest> {
        self.now = self.now + duration;
        self.routing.handle_timeout(self.now);
        self.requests()
    }
}

fn set(prefix: &str, target: RouteTarget) -> Command {
    Command::RouteSet { prefix: net(prefix), target }
}

fn gone(prefix: &str) -> Command {
    Command::RouteRemove { prefix: net(prefix) }
}

fn via(port: PortIndex, gateway: &str) -> RouteTarget {
    RouteTarget::Neighbor { port, gateway: ip(gateway) }
}

fn neighbor_set(port: PortIndex, address: &str) -> Command {
    Command::NeighborSet { port, address: ip(address), mac: MAC }
}

fn neighbor_gone(port: PortIndex, address: &str) -> Command {
    Command::NeighborRemove { port, address: ip(address) }
}

fn host(address: &str, tunnel_endpoint: bool) -> Command {
    Command::HostAddressSet { address: ip(address), tunnel_endpoint }
}

#[test]
fn addresses_become_host_addresses() {
    let mut test = Test::new();
    assert_eq!(
        test.live(Change::Address(address(ACCESS, "192.0.2.1/24"))),
        [host("192.0.2.1", true)]
    );
    assert_eq!(
        test.live(Change::Address(address(CORE, "192.0.2.1/32"))),
        [],
        "a second time, nothing new"
    );
    assert_eq!(
        test.live(Change::Address(address(OTHER, "2001:db8::5/64"))),
        [host("2001:db8::5", false)]
    );
    assert_eq!(test.live(Change::Address(address(LO, "127.0.0.1/8"))), []);
    assert_eq!(test.live(Change::Address(address(ACCESS, "fe80::1/64"))), []);
    assert_eq!(test.live(Change::AddressRemoved(address(ACCESS, "192.0.2.1/24"))), []);
    assert_eq!(
        test.live(Change::AddressRemoved(address(CORE, "192.0.2.1/32"))),
        [Command::HostAddressRemove { address: ip("192.0.2.1") }]
    );
    assert_eq!(test.routing.host_addresses().collect::<Vec<_>>(), [(ip("2001:db8::5"), false)]);
}

#[test]
fn a_wildcard_means_all_addresses_but_the_gateway_on_the_tun_device() {
    let mut test = Test::with(RoutingConfig { tunnel_endpoints: vec![ip("0.0.0.0")], ..config() });
    assert_eq!(
        test.live(Change::Address(address(OTHER, "198.51.100.1/24"))),
        [host("198.51.100.1", true)]
    );
    assert_eq!(
        test.live(Change::Address(address(OTHER, "2001:db8::5/64"))),
        [host("2001:db8::5", false)],
        "the other family"
    );
    assert_eq!(
        test.live(Change::Address(address(TUN, "100.64.0.1/32"))),
        [host("100.64.0.1", false)]
    );
    assert_eq!(test.routing.tunnel_endpoints(), [ip("198.51.100.1")], "as after a restart");
    // The operator gave it to an interface as well.
    assert_eq!(
        test.live(Change::Address(address(ACCESS, "100.64.0.1/24"))),
        [host("100.64.0.1", true)]
    );
    assert_eq!(test.routing.tunnel_endpoints(), [ip("100.64.0.1"), ip("198.51.100.1")]);
}

#[test]
fn routes_become_targets() {
    let mut test = Test::new();
    for (route, target) in [
        (route("192.0.2.0/24", 0, &[(ACCESS, None)]), RouteTarget::Glean),
        (route("0.0.0.0/0", 0, &[(CORE, Some("203.0.113.1"))]), via(1, "203.0.113.1")),
        (route("10.0.0.0/8", 0, &[(CORE, Some("fe80::1"))]), via(1, "fe80::1")),
        (route("198.18.0.0/15", 0, &[(OTHER, Some("198.51.100.9"))]), RouteTarget::Local),
        (route("198.51.100.0/24", 0, &[(OTHER, None)]), RouteTarget::Local),
        (
            Route { path: Path::Unreachable, ..route("240.0.0.0/4", 0, &[]) },
            RouteTarget::Unreachable,
        ),
        (Route { path: Path::Kernel, ..route("2001:db8:9::/48", 0, &[]) }, RouteTarget::Local),
    ] {
        let prefix = route.prefix;
        assert_eq!(test.live(Change::Route(route.clone())), [Command::RouteSet { prefix, target }]);
        assert_eq!(test.live(Change::Route(route.clone())), [], "again");
        assert_eq!(test.live(Change::RouteRemoved(route)), [Command::RouteRemove { prefix }]);
    }
    assert_eq!(test.live(Change::Route(route("100.64.0.0/16", 0, &[(TUN, None)]))), [], "ours");
    assert_eq!(test.live(Change::Route(route("fe80::/64", 256, &[(CORE, None)]))), []);
    assert_eq!(test.live(Change::Route(route("ff00::/8", 256, &[(CORE, None)]))), []);
}

#[test]
fn the_lowest_metric_wins_and_the_next_best_follows() {
    let mut test = Test::new();
    let worst = route("10.0.0.0/8", 300, &[(ACCESS, Some("192.0.2.9"))]);
    let middle = route("10.0.0.0/8", 200, &[(OTHER, None)]);
    let best = route("10.0.0.0/8", 100, &[(CORE, Some("203.0.113.1"))]);
    test.live(Change::Route(middle.clone()));
    assert_eq!(test.live(Change::Route(worst.clone())), []);
    assert_eq!(test.live(Change::Route(best.clone())), [set("10.0.0.0/8", via(1, "203.0.113.1"))]);
    assert_eq!(test.live(Change::RouteRemoved(middle)), []);
    assert_eq!(test.live(Change::RouteRemoved(best)), [set("10.0.0.0/8", via(0, "192.0.2.9"))]);
    assert_eq!(test.live(Change::RouteRemoved(worst)), [gone("10.0.0.0/8")]);
}

#[test]
fn equal_metrics_stand_in_the_order_of_the_kernel() {
    let mut test = Test::new();
    let by = |gateway, placement| Route {
        placement,
        ..route("10.0.0.0/8", 50, &[(CORE, Some(gateway))])
    };
    test.live(Change::Route(by("203.0.113.1", Placement::First)));
    assert_eq!(test.live(Change::Route(by("203.0.113.2", Placement::Last))), []);
    assert_eq!(
        test.live(Change::RouteRemoved(by("203.0.113.1", Placement::First))),
        [set("10.0.0.0/8", via(1, "203.0.113.2"))]
    );
    assert_eq!(
        test.live(Change::Route(by("203.0.113.3", Placement::Replace))),
        [set("10.0.0.0/8", via(1, "203.0.113.3"))]
    );
    assert_eq!(
        test.live(Change::RouteRemoved(by("203.0.113.3", Placement::First))),
        [gone("10.0.0.0/8")],
        "the one replaced is not left behind"
    );
    assert_eq!(test.pass(Duration::ZERO), []);
}

#[test]
fn next_hops_of_a_group_come_and_go_one_by_one() {
    let mut test = Test::new();
    let one = || route("2001:db8:1::/48", 1024, &[(CORE, Some("2001:db8::1"))]);
    let two = [(CORE, Some("2001:db8::2")), (CORE, Some("2001:db8::1"))];
    test.live(Change::Route(one()));
    assert_eq!(
        test.live(Change::Route(route("2001:db8:1::/48", 1024, &two))),
        [set("2001:db8:1::/48", via(1, "2001:db8::2"))]
    );
    let gone_hop = route("2001:db8:1::/48", 1024, &two[..1]);
    assert_eq!(
        test.live(Change::RouteRemoved(gone_hop)),
        [set("2001:db8:1::/48", via(1, "2001:db8::1"))]
    );
    assert_eq!(test.live(Change::RouteRemoved(one())), [gone("2001:db8:1::/48")]);
}

#[test]
fn of_several_next_hops_the_first_that_works_is_used() {
    let mut test = Test::new();
    let hops = [(CORE, Some("203.0.113.1")), (ACCESS, Some("192.0.2.9"))];
    assert_eq!(
        test.live(Change::Route(route("10.0.0.0/8", 0, &hops))),
        [set("10.0.0.0/8", via(1, "203.0.113.1"))]
    );
    let no_carrier = Link { carrier: false, ..link(CORE, "core") };
    assert_eq!(test.live(Change::Link(no_carrier)), [set("10.0.0.0/8", via(0, "192.0.2.9"))]);
    assert_eq!(
        test.live(Change::Link(link(CORE, "core"))),
        [set("10.0.0.0/8", via(1, "203.0.113.1"))]
    );
}

#[test]
fn a_link_that_goes_down_takes_its_routes_along() {
    let mut test = Test::new();
    test.live(Change::Route(route("10.0.0.0/8", 0, &[(CORE, Some("203.0.113.1"))])));
    test.live(Change::Route(route("203.0.113.0/24", 0, &[(CORE, None)])));
    test.live(Change::Neighbor(neighbor(CORE, "203.0.113.1", NeighborState::Reachable)));
    let down = Link { up: false, carrier: false, ..link(CORE, "core") };
    assert_eq!(
        test.live(Change::Link(down)),
        [
            neighbor_gone(1, "203.0.113.1"),
            gone("10.0.0.0/8"),
            gone("203.0.113.0/24"),
            gone("203.0.113.1/32")
        ]
    );
    // The kernel does not say which it removed: it is asked.
    assert_eq!(test.pass(Duration::ZERO), [KernelRequest::Dump]);
    // They do not come back by themselves, and neighbours have to be found again.
    let up = test.live(Change::Link(link(CORE, "core")));
    assert_eq!(up, [neighbor_set(1, "203.0.113.1")]);
    test.live(Change::NeighborRemoved(neighbor(CORE, "203.0.113.1", NeighborState::Unusable)));
    assert_eq!(test.routing.routes().count(), 0);
}

#[test]
fn dumps_are_not_asked_for_too_often() {
    let mut test = Test::new();
    let down = |up| Change::Link(Link { up, carrier: true, ..link(CORE, "core") });
    test.live(down(false));
    assert_eq!(test.pass(Duration::ZERO), [KernelRequest::Dump]);
    test.live(down(true));
    test.live(down(false));
    assert_eq!(test.pass(Duration::from_millis(1999)), []);
    assert_eq!(test.pass(Duration::from_millis(1)), [KernelRequest::Dump]);
    assert_eq!(test.pass(Duration::from_secs(60)), []);
}

#[test]
fn a_neighbor_on_a_connected_prefix_is_a_route() {
    let mut test = Test::new();
    test.live(Change::Route(route("192.0.2.0/24", 0, &[(ACCESS, None)])));
    let reachable = neighbor(ACCESS, "192.0.2.7", NeighborState::Reachable);
    assert_eq!(
        test.live(Change::Neighbor(reachable)),
        [neighbor_set(0, "192.0.2.7"), set("192.0.2.7/32", via(0, "192.0.2.7"))]
    );
    let stale = Neighbor { state: NeighborState::Stale, ..reachable };
    assert_eq!(test.live(Change::Neighbor(stale)), [], "stale is usable");
    let moved = Neighbor { mac: Some([2, 0, 0, 0, 0, 8]), ..reachable };
    assert_eq!(
        test.live(Change::Neighbor(moved)),
        [Command::NeighborSet { port: 0, address: ip("192.0.2.7"), mac: [2, 0, 0, 0, 0, 8] }]
    );
    assert_eq!(
        test.live(Change::Neighbor(neighbor(ACCESS, "192.0.2.7", NeighborState::Unusable))),
        [neighbor_gone(0, "192.0.2.7"), gone("192.0.2.7/32")]
    );
}

#[test]
fn a_neighbor_is_a_route_only_where_the_kernel_would_send_there() {
    let mut test = Test::new();
    test.live(Change::Route(route("192.0.2.0/24", 0, &[(ACCESS, None)])));
    let reachable = neighbor(ACCESS, "192.0.2.200", NeighborState::Reachable);
    test.live(Change::Neighbor(reachable));
    // A longer prefix by a router leads elsewhere.
    let longer = route("192.0.2.128/25", 0, &[(CORE, Some("203.0.113.1"))]);
    assert_eq!(
        test.live(Change::Route(longer.clone())),
        [set("192.0.2.128/25", via(1, "203.0.113.1")), gone("192.0.2.200/32")]
    );
    assert_eq!(
        test.live(Change::RouteRemoved(longer)),
        [gone("192.0.2.128/25"), set("192.0.2.200/32", via(0, "192.0.2.200"))]
    );
    // A route of the kernel for the very address wins.
    let own = route("192.0.2.200/32", 0, &[(CORE, Some("203.0.113.1"))]);
    assert_eq!(
        test.live(Change::Route(own.clone())),
        [set("192.0.2.200/32", via(1, "203.0.113.1"))]
    );
    assert_eq!(
        test.live(Change::RouteRemoved(own)),
        [set("192.0.2.200/32", via(0, "192.0.2.200"))]
    );
    // On a port, but not on its prefix; on another interface; link-local.
    let off_link = neighbor(CORE, "192.0.2.9", NeighborState::Reachable);
    assert_eq!(test.live(Change::Neighbor(off_link)), [neighbor_set(1, "192.0.2.9")]);
    let other = neighbor(OTHER, "192.0.2.10", NeighborState::Reachable);
    assert_eq!(test.live(Change::Neighbor(other)), []);
    let router = neighbor(CORE, "fe80::1", NeighborState::Reachable);
    assert_eq!(test.live(Change::Neighbor(router)), [neighbor_set(1, "fe80::1")]);
}

#[test]
fn a_stale_neighbor_is_verified() {
    let mut test = Test::new();
    let stale = neighbor(ACCESS, "192.0.2.7", NeighborState::Stale);
    test.live(Change::Neighbor(stale));
    assert_eq!(test.routing.poll_timeout(), Some(test.now));
    let probe = KernelRequest::ProbeNeighbor { address: ip("192.0.2.7"), link: ACCESS };
    assert_eq!(test.pass(Duration::ZERO), std::slice::from_ref(&probe));
    assert_eq!(test.pass(Duration::from_secs(4)), []);
    assert_eq!(test.pass(Duration::from_secs(1)), [probe], "it is still stale");
    test.live(Change::Neighbor(Neighbor { state: NeighborState::Reachable, ..stale }));
    assert_eq!(test.pass(Duration::from_secs(60)), []);
    assert_eq!(test.routing.poll_timeout(), None);
}

#[test]
fn a_gateway_that_is_not_known_is_looked_for_until_it_is_found() {
    let mut test = Test::new();
    let default = route("0.0.0.0/0", 0, &[(CORE, Some("203.0.113.1"))]);
    test.live(Change::Route(default.clone()));
    let resolve = KernelRequest::ResolveNeighbor { address: ip("203.0.113.1"), link: CORE };
    assert_eq!(test.pass(Duration::ZERO), std::slice::from_ref(&resolve));
    // The kernel tries, and gives up.
    test.live(Change::Neighbor(neighbor(CORE, "203.0.113.1", NeighborState::Unusable)));
    assert_eq!(test.pass(Duration::from_millis(4999)), []);
    assert_eq!(test.pass(Duration::from_millis(1)), std::slice::from_ref(&resolve));
    test.live(Change::Neighbor(neighbor(CORE, "203.0.113.1", NeighborState::Reachable)));
    assert_eq!(test.pass(Duration::from_secs(5)), []);
    // It is flushed: again, at once.
    test.live(Change::NeighborRemoved(neighbor(CORE, "203.0.113.1", NeighborState::Unusable)));
    assert_eq!(test.pass(Duration::ZERO), [resolve]);
    test.live(Change::RouteRemoved(default));
    assert_eq!(test.pass(Duration::from_secs(5)), [], "nobody needs it any more");
}

#[test]
fn a_tunnel_peer_on_the_link_is_looked_for_while_a_tunnel_leads_there() {
    let mut test = Test::new();
    let resolve = KernelRequest::ResolveNeighbor { address: ip("192.0.2.7"), link: ACCESS };
    test.routing.use_peer(ip("192.0.2.7"));
    test.routing.use_peer(ip("192.0.2.7"));
    assert_eq!(test.pass(Duration::ZERO), [], "no route leads there");
    let connected = route("192.0.2.0/24", 0, &[(ACCESS, None)]);
    test.live(Change::Route(connected.clone()));
    assert_eq!(test.pass(Duration::ZERO), std::slice::from_ref(&resolve));
    test.routing.unuse_peer(ip("192.0.2.7"));
    assert_eq!(test.pass(Duration::from_secs(5)), [resolve]);
    test.routing.unuse_peer(ip("192.0.2.7"));
    test.routing.unuse_peer(ip("192.0.2.7"));
    assert_eq!(test.pass(Duration::from_secs(5)), []);
    // Behind a router only the router is in use.
    test.live(Change::RouteRemoved(connected));
    test.live(Change::Route(route("0.0.0.0/0", 0, &[(CORE, Some("203.0.113.1"))])));
    test.routing.use_peer(ip("192.0.2.7"));
    let resolve = KernelRequest::ResolveNeighbor { address: ip("203.0.113.1"), link: CORE };
    assert_eq!(test.pass(Duration::ZERO), [resolve]);
}

#[test]
fn our_routes_and_address_are_installed_when_the_tun_device_appears() {
    let mut test = Test::new();
    let installation = |link| {
        [
            KernelRequest::AddAddress { address: ip("100.64.0.1"), link },
            KernelRequest::AddRoute { prefix: net("100.64.0.0/16"), link },
        ]
    };
    test.live(Change::LinkRemoved { index: TUN });
    test.live(Change::Link(Link { up: false, ..link(17, "xlns0") }));
    assert_eq!(test.requests(), []);
    test.live(Change::Link(Link { carrier: false, ..link(17, "xlns0") }));
    assert_eq!(test.requests(), installation(17));
    // What is refused is tried again.
    let request = installation(17)[1].clone();
    test.event(Event::Failed { request, errno: 100 });
    assert_eq!(
        test.pass(Duration::from_secs(5)),
        [&[KernelRequest::Dump], &installation(17)[..]].concat()
    );
    test.routing.shutdown();
    assert_eq!(
        test.requests(),
        [
            KernelRequest::RemoveRoute { prefix: net("100.64.0.0/16"), link: 17 },
            KernelRequest::RemoveAddress { address: ip("100.64.0.1"), link: 17 },
        ]
    );
    test.live(Change::LinkRemoved { index: 17 });
    test.live(Change::Link(link(18, "xlns0")));
    assert_eq!(test.requests(), [], "not after the end");
}

#[test]
fn what_an_earlier_run_left_is_removed() {
    let mut test = Test::new();
    test.event(Event::DumpBegun);
    for (index, name) in [(TUN, "xlns0"), (CORE, "core")] {
        test.changed(Origin::Dump, Change::Link(link(index, name)));
    }
    for (prefix, protocol) in
        [("100.64.0.0/16", ROUTE_PROTOCOL), ("100.99.0.0/16", ROUTE_PROTOCOL), ("10.9.0.0/16", 4)]
    {
        let route = Route { protocol, ..route(prefix, 0, &[(TUN, None)]) };
        test.changed(Origin::Dump, Change::Route(route));
    }
    test.event(Event::DumpEnded { complete: true });
    assert_eq!(
        test.requests(),
        [KernelRequest::RemoveRoute { prefix: net("100.99.0.0/16"), link: TUN }]
    );
}

#[test]
fn a_dump_removes_what_is_gone() {
    let mut test = Test::new();
    test.live(Change::Route(route("10.0.0.0/8", 0, &[(CORE, Some("203.0.113.1"))])));
    test.live(Change::Route(route("203.0.113.0/24", 0, &[(CORE, None)])));
    test.live(Change::Neighbor(neighbor(CORE, "203.0.113.1", NeighborState::Fixed)));
    test.live(Change::Address(address(CORE, "203.0.113.9/24")));
    let links = [(LO, "lo"), (ACCESS, "access"), (CORE, "core"), (OTHER, "eth9"), (TUN, "xlns0")];
    test.event(Event::DumpBegun);
    for (index, name) in links {
        test.changed(Origin::Dump, Change::Link(link(index, name)));
    }
    let confirmed = route("203.0.113.0/24", 0, &[(CORE, None)]);
    test.changed(Origin::Dump, Change::Route(confirmed));
    // A change while the dump runs is newer than the dump.
    let newer = route("10.5.0.0/16", 0, &[(CORE, Some("203.0.113.1"))]);
    test.changed(Origin::Live, Change::Route(newer.clone()));
    let removed = route("10.6.0.0/16", 0, &[(CORE, Some("203.0.113.1"))]);
    test.changed(Origin::Live, Change::RouteRemoved(removed.clone()));
    test.changed(Origin::Dump, Change::Route(removed));
    assert_eq!(test.commands(), [set("10.5.0.0/16", via(1, "203.0.113.1"))]);
    test.event(Event::DumpEnded { complete: true });
    assert_eq!(
        test.commands(),
        [
            Command::HostAddressRemove { address: ip("203.0.113.9") },
            neighbor_gone(1, "203.0.113.1"),
            gone("10.0.0.0/8"),
            gone("203.0.113.1/32"),
        ]
    );
    // The same, incomplete: nothing is removed, and it is done again.
    test.event(Event::DumpBegun);
    test.event(Event::DumpEnded { complete: false });
    assert_eq!(test.commands(), []);
    assert!(test.pass(Duration::from_secs(2)).contains(&KernelRequest::Dump));
}

#[test]
fn a_contradiction_asks_for_a_dump() {
    let mut test = Test::new();
    test.live(Change::Route(route("10.0.0.0/8", 7, &[(OTHER, Some("203.0.113.1"))])));
    test.live(Change::RouteRemoved(route("10.0.0.0/8", 8, &[(OTHER, Some("203.0.113.2"))])));
    assert_eq!(test.pass(Duration::ZERO), []);
    test.live(Change::RouteRemoved(route("10.0.0.0/8", 7, &[(OTHER, Some("203.0.113.2"))])));
    assert_eq!(test.pass(Duration::ZERO), [KernelRequest::Dump]);
}

#[test]
fn a_resynchronisation_tells_everything_again_once() {
    let mut test = Test::new();
    test.live(Change::Address(address(ACCESS, "192.0.2.1/24")));
    test.live(Change::Route(route("192.0.2.0/24", 0, &[(ACCESS, None)])));
    test.live(Change::Neighbor(neighbor(ACCESS, "192.0.2.7", NeighborState::Reachable)));
    let gone_meanwhile = route("10.0.0.0/8", 0, &[(CORE, Some("203.0.113.1"))]);
    test.live(Change::Route(gone_meanwhile.clone()));
    test.changed(Origin::Live, Change::RouteRemoved(gone_meanwhile));
    test.changed(Origin::Live, Change::Route(route("10.1.0.0/16", 0, &[(OTHER, None)])));
    test.routing.resync();
    let mut commands = test.commands();
    let everything = [
        host("192.0.2.1", true),
        Command::SubscriberPrefixSet { prefix: net("100.64.0.0/16") },
        neighbor_set(0, "192.0.2.7"),
        set("10.1.0.0/16", RouteTarget::Local),
        set("192.0.2.0/24", RouteTarget::Glean),
        set("192.0.2.7/32", via(0, "192.0.2.7")),
    ];
    assert_eq!(commands, everything);
    // Interrupted by another one, still everything.
    test.routing.resync();
    commands = std::iter::from_fn(|| test.routing.poll_command()).take(4).collect();
    assert_eq!(commands, everything[..4]);
    test.routing.resync();
    assert_eq!(test.commands(), everything);
    assert_eq!(test.commands(), []);
}

#[test]
fn a_key_that_changes_often_costs_one_command() {
    let mut test = Test::new();
    for _ in 0..1000 {
        let flapping = route("10.0.0.0/8", 0, &[(CORE, Some("203.0.113.1"))]);
        test.changed(Origin::Live, Change::Route(flapping.clone()));
        test.changed(Origin::Live, Change::RouteRemoved(flapping));
    }
    assert_eq!(test.commands(), []);
    test.changed(Origin::Live, Change::Route(route("10.0.0.0/8", 0, &[(OTHER, None)])));
    assert_eq!(test.commands(), [set("10.0.0.0/8", RouteTarget::Local)]);
}

#[test]
fn a_link_renamed_to_a_port_is_that_port() {
    let mut test = Test::new();
    test.live(Change::LinkRemoved { index: CORE });
    test.live(Change::Link(link(21, "spare")));
    test.live(Change::Route(route("203.0.113.0/24", 0, &[(21, None)])));
    test.live(Change::Neighbor(neighbor(21, "203.0.113.1", NeighborState::Reachable)));
    assert_eq!(
        test.live(Change::Link(link(21, "core"))),
        [
            neighbor_set(1, "203.0.113.1"),
            set("203.0.113.0/24", RouteTarget::Glean),
            set("203.0.113.1/32", via(1, "203.0.113.1")),
        ]
    );
    assert_eq!(
        test.live(Change::Link(link(21, "spare"))),
        [
            neighbor_gone(1, "203.0.113.1"),
            set("203.0.113.0/24", RouteTarget::Local),
            gone("203.0.113.1/32"),
        ]
    );
}

#[test]
fn routes_are_shown_from_any_prefix_on() {
    let mut test = Test::new();
    for prefix in ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/24"] {
        test.live(Change::Route(route(prefix, 0, &[(OTHER, None)])));
    }
    let behind = |prefix: Option<&str>| -> Vec<String> {
        let prefix = prefix.map(|prefix| prefix.parse().unwrap());
        test.routing.routes_behind(prefix).map(|(prefix, _)| prefix.to_string()).collect()
    };
    assert_eq!(behind(None), ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/24"]);
    assert_eq!(behind(Some("10.0.0.0/8")), ["10.1.0.0/16", "192.0.2.0/24"]);
    // One that is gone by now, and the last one.
    assert_eq!(behind(Some("10.0.0.0/12")), ["10.1.0.0/16", "192.0.2.0/24"]);
    assert_eq!(behind(Some("192.0.2.0/24")), [""; 0]);
}

#[test]
fn the_address_of_a_dialled_session_is_ours_before_the_kernel_says_so() {
    let mut test = Test::new();
    let uplinks = Uplinks {
        addresses: [ip("10.9.0.7")].into(),
        routes: [(net("0.0.0.0/0"), ip("10.9.0.7"))].into(),
        ..Uplinks::default()
    };
    test.routing.set_uplinks(uplinks.clone());
    assert_eq!(test.commands(), [host("10.9.0.7", false)]);
    // An address, a route, two rules; the kernel confirms, and nothing is said twice.
    assert_eq!(test.requests().len(), 4);
    let confirmed = Address { protocol: ROUTE_PROTOCOL, ..address(TUN, "10.9.0.7/32") };
    assert_eq!(test.live(Change::Address(confirmed)), []);
    test.routing.set_uplinks(uplinks);
    assert_eq!((test.commands(), test.requests()), (vec![], vec![]));
    // Named again to a new data plane.
    test.routing.resync();
    assert!(test.commands().contains(&host("10.9.0.7", false)));

    test.routing.set_uplinks(Uplinks::default());
    assert_eq!(test.requests().len(), 4);
    let gone = Command::HostAddressRemove { address: ip("10.9.0.7") };
    assert_eq!(test.live(Change::AddressRemoved(confirmed)), [gone]);
}

#[test]
fn what_the_kernel_refuses_for_a_dialled_session_is_asked_for_again() {
    let mut test = Test::new();
    let address = ip("10.9.0.7");
    test.routing.set_uplinks(Uplinks { addresses: [address].into(), ..Uplinks::default() });
    let entry = crate::netlink::UplinkEntry::Address { link: TUN, address };
    let request = KernelRequest::AddUplink(entry);
    assert_eq!(test.requests(), std::slice::from_ref(&request));
    test.event(Event::Failed { request: request.clone(), errno: 12 });
    assert_eq!(test.pass(Duration::from_secs(4)), []);
    assert_eq!(test.pass(Duration::from_secs(2)), [request]);
}
