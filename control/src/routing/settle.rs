//! What a key should be, compared with what the data plane was told.

use std::net::IpAddr;

use ipnet::IpNet;
use xlns_dataplane::api::{Command, PortIndex};

use super::apply::is_link_local;
use super::keep_alive::{NeighborKey, RETRY};
use super::routes::{Entry, Resolution};
use super::{Pending, Routing};
use crate::netlink::{KernelRequest, Link, Neighbor, NeighborState, Path};

/// Where a path leads.
enum Found {
    Resolved(Resolution),
    /// To `xlns0`: ours, the data plane has its own entries.
    Ours,
}

impl Routing {
    /// The command that makes the data plane's state of the key right, where it is not.
    pub(super) fn settle(&mut self, key: Pending) -> Option<Command> {
        match key {
            Pending::Host(address) => self.settle_host(address),
            Pending::SubscriberPrefix(prefix) => self
                .published_prefixes
                .insert(prefix)
                .then_some(Command::SubscriberPrefixSet { prefix }),
            Pending::Neighbor(port, address) => self.settle_neighbor(port, address),
            Pending::Route(prefix) => self.settle_route(prefix),
        }
    }

    fn settle_host(&mut self, address: IpAddr) -> Option<Command> {
        match self.host_address(address) {
            Some(tunnel_endpoint) => {
                let told = self.published_hosts.insert(address, tunnel_endpoint);
                (told != Some(tunnel_endpoint))
                    .then_some(Command::HostAddressSet { address, tunnel_endpoint })
            }
            None => {
                let told = self.published_hosts.remove(&address);
                told.map(|_| Command::HostAddressRemove { address })
            }
        }
    }

    /// Whether tunnels may end at the address; `None` where it is none of ours, or never seen on a
    /// wire, or not one address (link-local ones stay with the kernel by their prefix).
    pub(super) fn host_address(&self, address: IpAddr) -> Option<bool> {
        if address.is_loopback() || is_link_local(address) {
            return None;
        }
        let links: Vec<u32> = self
            .addresses
            .range((address, 0), (address, u32::MAX))
            .map(|((_, link), _)| link)
            .collect();
        let is_tun = |link: &u32| self.links.lookup(*link).is_some_and(|link| self.is_tun(link));
        // The gateway on the TUN device is for what is inside tunnels: a wildcard does not mean it.
        let by_wildcard = !links.iter().all(is_tun);
        let endpoint = self.config.tunnel_endpoints.iter().any(|listed| {
            *listed == address
                || by_wildcard && listed.is_unspecified() && listed.is_ipv4() == address.is_ipv4()
        });
        (!links.is_empty() || self.is_uplink_address(address)).then_some(endpoint)
    }

    fn settle_neighbor(&mut self, port: PortIndex, address: IpAddr) -> Option<Command> {
        match self.usable_neighbor(port, address) {
            Some(mac) => {
                let told = self.published_neighbors.insert((port, address), mac);
                (told != Some(mac)).then_some(Command::NeighborSet { port, address, mac })
            }
            None => {
                let told = self.published_neighbors.remove(&(port, address));
                told.map(|_| Command::NeighborRemove { port, address })
            }
        }
    }

    fn usable_neighbor(&self, port: PortIndex, address: IpAddr) -> Option<[u8; 6]> {
        let index = self.link_of(port).filter(|index| self.is_running(*index))?;
        self.neighbors.lookup((address, index)).and_then(mac_if_usable)
    }

    fn settle_route(&mut self, prefix: IpNet) -> Option<Command> {
        let resolution = self.resolve(prefix);
        let told = self.routes.entry(&prefix).and_then(|entry| entry.published);
        let published = resolution.map(|resolution| (resolution, self.generation));
        self.routes.publish(prefix, published);
        if told.map(|(resolution, _)| resolution) != resolution {
            self.on_route_changed(prefix, told.map(|(resolution, _)| resolution), resolution);
        }
        let told = told.filter(|(_, generation)| *generation == self.generation);
        let told = told.map(|(resolution, _)| resolution.target());
        let target = resolution.map(Resolution::target);
        match target {
            _ if told == target => None,
            Some(target) => Some(Command::RouteSet { prefix, target }),
            None => Some(Command::RouteRemove { prefix }),
        }
    }

    /// What depends on the route: the gateways in use, neighbours found on the prefix, tunnel
    /// peers.
    fn on_route_changed(
        &mut self,
        prefix: IpNet,
        before: Option<Resolution>,
        after: Option<Resolution>,
    ) {
        if let Some(Resolution::Gateway { port, gateway }) = after {
            self.hold(port, gateway);
        }
        if let Some(Resolution::Gateway { port, gateway }) = before {
            self.keep_alive.release(port, gateway);
        }
        for address in self.neighbors_under(prefix) {
            let host = IpNet::from(address);
            if host != prefix {
                self.pending.insert(Pending::Route(host));
            }
        }
        let peers = self.peers.range(prefix.network()..=prefix.broadcast());
        for address in peers.map(|(address, _)| *address).collect::<Vec<_>>() {
            self.update_peer(address);
        }
    }

    fn resolve(&self, prefix: IpNet) -> Option<Resolution> {
        match self.routes.entry(&prefix).and_then(|entry| self.resolve_entry(entry)) {
            Some(Found::Resolved(resolution)) => Some(resolution),
            Some(Found::Ours) => None,
            None if prefix.prefix_len() == prefix.max_prefix_len() => {
                self.resolve_learned(prefix.addr())
            }
            None => None,
        }
    }

    fn resolve_entry(&self, entry: &Entry) -> Option<Found> {
        entry.candidates.iter().find_map(|candidate| self.resolve_path(&candidate.path))
    }

    fn resolve_path(&self, path: &Path) -> Option<Found> {
        let hops = match path {
            Path::Unreachable => return Some(Found::Resolved(Resolution::Unreachable)),
            Path::Kernel => return Some(Found::Resolved(Resolution::Local)),
            Path::Hops(hops) => hops,
        };
        // One of several next hops is used: the first whose link works.
        let hop = hops.iter().find(|hop| self.is_running(hop.link))?;
        if self.links.lookup(hop.link).is_some_and(|link| self.is_tun(link)) {
            return Some(Found::Ours);
        }
        Some(Found::Resolved(match (self.port_of(hop.link), hop.gateway) {
            (Some(port), Some(gateway)) => Resolution::Gateway { port, gateway },
            (Some(port), None) => Resolution::Connected { port },
            (None, _) => Resolution::Local,
        }))
    }

    /// The kernel's answer for the address among routes of at most `length_max`.
    fn lookup(&self, address: IpAddr, length_max: u8) -> Option<Resolution> {
        let mut covering = self.routes.covering(address, length_max);
        match covering.find_map(|entry| self.resolve_entry(entry))? {
            Found::Resolved(resolution) => Some(resolution),
            Found::Ours => None,
        }
    }

    /// A neighbour is its own route where its address is on the link it was found on.
    fn resolve_learned(&self, address: IpAddr) -> Option<Resolution> {
        // Link-local addresses are next hops, never destinations of forwarded packets.
        if is_link_local(address) {
            return None;
        }
        let usable = |neighbor: &Neighbor| mac_if_usable(neighbor).is_some();
        let first_usable = self
            .neighbors
            .range((address, 0), (address, u32::MAX))
            .find(|((_, link), neighbor)| usable(neighbor) && self.is_running(*link));
        let port = self.port_of(first_usable?.0.1)?;
        let length_max = IpNet::from(address).max_prefix_len() - 1;
        let connected = self.lookup(address, length_max) == Some(Resolution::Connected { port });
        connected.then_some(Resolution::Learned { port, address })
    }

    /// Keeps in use what the peer needs.
    pub(super) fn update_peer(&mut self, address: IpAddr) {
        let length_max = IpNet::from(address).max_prefix_len();
        let held = match self.lookup(address, length_max) {
            Some(Resolution::Connected { port }) => Some((port, address)),
            _ => None,
        };
        let Some(peer) = self.peers.get_mut(&address) else { return };
        let before = std::mem::replace(&mut peer.held, held);
        if before == held {
            return;
        }
        if let Some((port, neighbor)) = held {
            self.hold(port, neighbor);
        }
        if let Some((port, neighbor)) = before {
            self.keep_alive.release(port, neighbor);
        }
    }

    fn hold(&mut self, port: PortIndex, address: IpAddr) {
        if self.keep_alive.hold(port, address)
            && let Some(link) = self.link_of(port)
        {
            self.keep_alive.schedule(self.now, (address, link));
        }
    }

    /// Looks whether the neighbour needs to be verified or looked for.
    pub(super) fn look_after(&mut self, key: NeighborKey) {
        let (address, link) = key;
        let Some(port) = self.port_of(link).filter(|_| self.is_running(link)) else { return };
        let used = self.keep_alive.is_used(port, address);
        let neighbor = self.neighbors.lookup(key);
        let request = match neighbor.map(|neighbor| neighbor.state) {
            // Also where no route or peer needs it: the data plane may send to it, and if it moved
            // or died nobody else would notice.
            Some(NeighborState::Stale) => KernelRequest::ProbeNeighbor { address, link },
            Some(NeighborState::Unusable) | None if used => {
                KernelRequest::ResolveNeighbor { address, link }
            }
            _ => return,
        };
        self.kernel.push_back(request);
        self.keep_alive.count_asked();
        self.keep_alive.schedule(self.now + RETRY, key);
    }

    fn is_running(&self, link: u32) -> bool {
        self.links.lookup(link).is_some_and(|link| link.up && (link.carrier || self.is_tun(link)))
    }

    pub(super) fn is_tun(&self, link: &Link) -> bool {
        link.name == self.config.tun_name
    }
}

fn mac_if_usable(neighbor: &Neighbor) -> Option<[u8; 6]> {
    match neighbor.state {
        NeighborState::Reachable | NeighborState::Stale | NeighborState::Fixed => neighbor.mac,
        NeighborState::Unusable => None,
    }
}
