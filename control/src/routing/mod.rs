//! The kernel's routing as the data plane needs it: a sans-IO mirror.
//!
//! [`Routing`] is told what the kernel says ([`crate::netlink::Event`]) and emits commands for the
//! data plane and requests for the kernel. What is emitted follows from the state of the mirror,
//! not from the single change: a change only marks keys as pending, and [`Routing::poll_command`]
//! compares what a key should be with what the data plane was told. So a key that changes a
//! thousand times between two polls costs one command, and the memory for what is pending is
//! bounded by the tables themselves.
//!
//! What becomes of the kernel's tables:
//!
//! - addresses are host addresses; those configured as tunnel endpoints are marked;
//! - a route by a router on a port becomes `Neighbor`, a prefix on a port `Glean`, a route to any
//!   other interface `Local` (the kernel forwards), blackhole, unreachable and prohibit
//!   `Unreachable`; only the main table counts; the lowest metric with a usable next hop wins;
//! - a neighbour found on the prefix of a port is a route of its own, with the port's link-layer
//!   address behind it;
//! - routes to `xlns0` are ours and are not mirrored; the subscriber prefixes are installed there;
//! - routes into dialled sessions are ours, too, in a table of their own (`uplink`): the data plane
//!   knows them from the sessions.

mod apply;
mod host;
mod keep_alive;
mod mirror;
mod routes;
mod settle;
mod uplink;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::ops::Bound;

use ipnet::IpNet;
use xlns_dataplane::api::{Command, PortIndex, RouteTarget};

use crate::netlink::{Event, KernelRequest, Link, Neighbor};
use crate::time::Time;
use keep_alive::{KeepAlive, NeighborKey};
use mirror::Mirror;
use routes::Routes;
pub use uplink::{DialRouting, Uplinks};

/// What is configured.
#[derive(Debug, Clone, Default)]
pub struct RoutingConfig {
    /// Interface names of the ports, in the order of the data plane's configuration.
    pub ports: Vec<String>,
    /// The TUN device (`xlns0`).
    pub tun_name: String,
    /// Where tunnels may end; an unspecified address stands for all of its family.
    pub tunnel_endpoints: Vec<IpAddr>,
    /// Prefixes of the address pools.
    pub subscriber_prefixes: Vec<IpNet>,
    /// Our address on every PPP link; the host answers for it on the TUN device.
    pub gateway: Option<IpAddr>,
    /// How the kernel is told of dialled sessions.
    pub dial: DialRouting,
}

/// A key whose state the data plane may not know yet. The order is the order of the commands:
/// addresses before routes, neighbours before the routes to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Pending {
    Host(IpAddr),
    SubscriberPrefix(IpNet),
    Neighbor(PortIndex, IpAddr),
    Route(IpNet),
}

/// A tunnel peer.
#[derive(Debug, Default)]
struct Peer {
    count: u32,
    /// The neighbour it keeps in use: itself, where it is on a port's link.
    held: Option<(PortIndex, IpAddr)>,
}

/// The mirror.
///
/// Getters: [`Self::is_synchronised`], [`Self::host_addresses`], [`Self::routes`], ... .
/// `handle_*`: [`Self::handle_event`], [`Self::handle_timeout`]. Commands: [`Self::resync`],
/// [`Self::use_peer`], [`Self::unuse_peer`], [`Self::shutdown`]. `poll_*`: drain all of them after
/// every input.
#[derive(Debug)]
pub struct Routing {
    config: RoutingConfig,
    now: Time,
    links: Mirror<u32, Link>,
    /// Address and link index; the value is the prefix length.
    addresses: Mirror<(IpAddr, u32), u8>,
    neighbors: Mirror<NeighborKey, Neighbor>,
    routes: Routes,
    peers: BTreeMap<IpAddr, Peer>,
    keep_alive: KeepAlive,
    synchronised: bool,

    pending: BTreeSet<Pending>,
    /// From where on routes have to be told again.
    replay: Option<Bound<IpNet>>,
    /// Counts resynchronisations: what was published in an older one counts as unknown to the
    /// data plane.
    generation: u32,
    published_hosts: BTreeMap<IpAddr, bool>,
    published_prefixes: BTreeSet<IpNet>,
    published_neighbors: BTreeMap<(PortIndex, IpAddr), [u8; 6]>,

    kernel: VecDeque<KernelRequest>,
    installation: host::Installation,
    uplink: uplink::UplinkMirror,
    dump_at: Option<Time>,
    dump_not_before: Time,
}

impl Routing {
    /// An empty mirror.
    pub fn new(config: RoutingConfig) -> Self {
        let mut routing = Self {
            config,
            now: Time::ZERO,
            links: Mirror::new(),
            addresses: Mirror::new(),
            neighbors: Mirror::new(),
            routes: Routes::default(),
            peers: BTreeMap::new(),
            keep_alive: KeepAlive::default(),
            synchronised: false,
            pending: BTreeSet::new(),
            replay: None,
            generation: 0,
            published_hosts: BTreeMap::new(),
            published_prefixes: BTreeSet::new(),
            published_neighbors: BTreeMap::new(),
            kernel: VecDeque::new(),
            installation: host::Installation::default(),
            uplink: uplink::UplinkMirror::new(),
            dump_at: None,
            dump_not_before: Time::ZERO,
        };
        for prefix in &mut routing.config.subscriber_prefixes {
            *prefix = prefix.trunc();
        }
        routing.resync();
        routing
    }

    /// Takes in what the kernel said.
    pub fn handle_event(&mut self, now: Time, event: Event) {
        self.now = self.now.max(now);
        self.apply(event);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        self.now = self.now.max(now);
        if self.dump_at.is_some_and(|at| at <= self.now) {
            self.dump_at = None;
            self.dump_not_before = self.now + apply::DUMP_INTERVAL_MIN;
            self.kernel.push_back(KernelRequest::Dump);
        }
        self.handle_installation_timeout();
        self.handle_uplink_timeout();
        while let Some(neighbor) = self.keep_alive.take_due(self.now) {
            self.look_after(neighbor);
        }
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Time> {
        let deadlines = [
            self.dump_at,
            self.installation.retry_at,
            self.uplink.retry_at(),
            self.keep_alive.deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// The next command for the data plane.
    pub fn poll_command(&mut self) -> Option<Command> {
        loop {
            let key = match self.pending.pop_first() {
                Some(key) => key,
                None => {
                    let next = self.routes.iter_after(self.replay?).next();
                    let prefix = next.map(|(prefix, _)| prefix);
                    self.replay = prefix.map(Bound::Excluded);
                    Pending::Route(prefix?)
                }
            };
            if let Some(command) = self.settle(key) {
                return Some(command);
            }
        }
    }

    /// The next request for the kernel.
    pub fn poll_kernel(&mut self) -> Option<KernelRequest> {
        self.kernel.pop_front()
    }

    /// Tells everything again: the data plane was restarted, or control was. The caller frames what
    /// [`Self::poll_command`] then hands out (until `None`) by `ResyncBegin` and `ResyncEnd`, and
    /// ends only once [`Self::is_synchronised`], or routes still to be read would be removed.
    pub fn resync(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.replay = Some(Bound::Unbounded);
        self.published_hosts.clear();
        self.published_prefixes.clear();
        self.published_neighbors.clear();
        self.pending.retain(|key| matches!(key, Pending::Route(_)));
        self.pending.extend(self.addresses.iter().map(|((address, _), _)| Pending::Host(address)));
        self.pending.extend(self.uplink.addresses().map(Pending::Host));
        let prefixes = self.config.subscriber_prefixes.iter();
        self.pending.extend(prefixes.map(|prefix| Pending::SubscriberPrefix(*prefix)));
        for ((address, link), _) in self.neighbors.iter() {
            if let Some(port) = self.port_of(link) {
                self.pending.insert(Pending::Neighbor(port, address));
            }
        }
    }

    /// Whether the mirror has been complete once.
    pub fn is_synchronised(&self) -> bool {
        self.synchronised
    }

    /// A tunnel to this peer exists: its neighbour is kept alive where it is on a port's link (a
    /// router on the way is in use anyway). Counted.
    pub fn use_peer(&mut self, address: IpAddr) {
        self.peers.entry(address).or_default().count += 1;
        self.update_peer(address);
    }

    /// A tunnel to this peer ended.
    pub fn unuse_peer(&mut self, address: IpAddr) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        peer.count -= 1;
        if peer.count > 0 {
            return;
        }
        if let Some((port, neighbor)) = peer.held {
            self.keep_alive.release(port, neighbor);
        }
        self.peers.remove(&address);
    }

    /// The host's addresses, and whether tunnels may end at each.
    pub fn host_addresses(&self) -> impl Iterator<Item = (IpAddr, bool)> {
        let mut previous = None;
        self.addresses.iter().filter_map(move |((address, _), _)| {
            let again = previous.replace(address) == Some(address);
            if again {
                None
            } else {
                self.host_address(address).map(|endpoint| (address, endpoint))
            }
        })
    }

    /// The host's addresses at which tunnels may end.
    pub fn tunnel_endpoints(&self) -> Vec<IpAddr> {
        let endpoints = self.host_addresses().filter(|(_, endpoint)| *endpoint);
        endpoints.map(|(address, _)| address).collect()
    }

    /// The routes as the data plane was told them, in the order of their prefixes.
    pub fn routes(&self) -> impl Iterator<Item = (IpNet, RouteTarget)> {
        self.routes_behind(None)
    }

    /// The routes behind `prefix`, or all; begins in the time that one lookup takes.
    pub fn routes_behind(
        &self,
        prefix: Option<IpNet>,
    ) -> impl Iterator<Item = (IpNet, RouteTarget)> {
        let bound = prefix.map_or(Bound::Unbounded, Bound::Excluded);
        self.routes.iter_after(bound).filter_map(|(prefix, entry)| {
            entry.published.map(|(resolution, _)| (prefix, resolution.target()))
        })
    }

    /// The neighbours as the data plane was told them.
    pub fn neighbors(&self) -> impl Iterator<Item = (PortIndex, IpAddr, [u8; 6])> {
        self.published_neighbors.iter().map(|((port, address), mac)| (*port, *address, *mac))
    }
}

#[cfg(test)]
mod tests;
