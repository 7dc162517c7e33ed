//! What the kernel says, put into the mirror, and which keys it may change.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use xlns_dataplane::api::PortIndex;

use super::routes::{Insertion, Removal};
use super::{Pending, Routing};
use crate::netlink::{
    Address, Change, Event, KernelRequest, Link, Neighbor, NeighborState, Origin, Path,
    ROUTE_PROTOCOL, Route, UplinkEntry,
};

/// Between two dumps that we ask for: one of a full table takes about a second of a core.
pub(super) const DUMP_INTERVAL_MIN: Duration = Duration::from_secs(2);

impl Routing {
    pub(super) fn apply(&mut self, event: Event) {
        match event {
            Event::DumpBegun => {
                self.dump_at = None;
                self.links.begin_dump();
                self.addresses.begin_dump();
                self.neighbors.begin_dump();
                self.routes.begin_dump();
                self.uplink.begin_dump();
            }
            Event::DumpEnded { complete } => self.end_dump(complete),
            Event::Changed(origin, change) => self.apply_change(origin, change),
            Event::Failed { request, .. } => match request {
                KernelRequest::AddRoute { link, .. } | KernelRequest::AddAddress { link, .. } => {
                    self.retry_installation(link);
                }
                KernelRequest::AddUplink(entry) => self.retry_uplink(entry),
                _ => {}
            },
        }
    }

    fn end_dump(&mut self, complete: bool) {
        for (address, link) in self.addresses.end_dump(complete) {
            self.remove_address(address, link);
        }
        for (address, link) in self.neighbors.end_dump(complete) {
            self.remove_neighbor(address, link);
        }
        let changed = self.routes.end_dump(complete);
        self.pending.extend(changed.into_iter().map(Pending::Route));
        self.uplink.end_dump(complete);
        for index in self.links.end_dump(complete) {
            self.remove_link(index);
        }
        if complete {
            self.synchronised = true;
            self.remove_leftovers();
            self.settle_uplinks();
        } else {
            self.want_dump();
        }
    }

    fn apply_change(&mut self, origin: Origin, change: Change) {
        match change {
            Change::Link(link) => self.insert_link(origin, link),
            Change::LinkRemoved { index } => self.remove_link(index),
            Change::Address(Address { link, address, prefix_length, protocol }) => {
                if protocol == ROUTE_PROTOCOL {
                    self.uplink.insert(origin, UplinkEntry::Address { link, address });
                }
                if self.addresses.insert(origin, (address, link), prefix_length) {
                    self.pending.insert(Pending::Host(address));
                }
            }
            Change::AddressRemoved(Address { link, address, protocol, .. }) => {
                if protocol == ROUTE_PROTOCOL {
                    self.on_uplink_removed(UplinkEntry::Address { link, address });
                }
                self.remove_address(address, link);
                // Routes with this source went with it; older kernels do not say so.
                self.want_dump();
            }
            Change::Route(route) => self.insert_route(origin, route),
            Change::RouteRemoved(route) => {
                let prefix = route.prefix;
                match self.routes.remove(route) {
                    Removal::Removed => {
                        self.pending.insert(Pending::Route(prefix));
                    }
                    Removal::Unknown => {}
                    Removal::Contradiction => self.want_dump(),
                }
            }
            Change::Neighbor(neighbor) => self.insert_neighbor(origin, neighbor),
            Change::NeighborRemoved(Neighbor { link, address, .. }) => {
                self.remove_neighbor(address, link);
            }
            Change::Uplink(entry) => self.uplink.insert(origin, entry),
            Change::UplinkRemoved(entry) => self.on_uplink_removed(entry),
        }
    }

    /// Asks for a dump, not too often.
    fn want_dump(&mut self) {
        let at = self.now.max(self.dump_not_before);
        self.dump_at.get_or_insert(at);
    }

    fn insert_link(&mut self, origin: Origin, link: Link) {
        let index = link.index;
        let before = self.links.lookup(index).cloned();
        if self.links.insert(origin, index, link) {
            self.on_link_changed(index, before);
        }
    }

    fn remove_link(&mut self, index: u32) {
        let before = self.links.remove(index);
        if before.is_some() {
            self.on_link_changed(index, before);
        }
        let gone: Vec<IpAddr> = self.addresses_on(index).collect();
        for address in gone {
            self.remove_address(address, index);
        }
        let on_link = self.neighbors.iter().filter(|((_, link), _)| *link == index);
        let gone: Vec<IpAddr> = on_link.map(|((address, _), _)| address).collect();
        for address in gone {
            self.remove_neighbor(address, index);
        }
    }

    fn addresses_on(&self, index: u32) -> impl Iterator<Item = IpAddr> {
        let on_link = self.addresses.iter().filter(move |((_, link), _)| *link == index);
        on_link.map(|((address, _), _)| address)
    }

    /// Everything that hangs on the link is looked at again.
    fn on_link_changed(&mut self, index: u32, before: Option<Link>) {
        let was_up = before.as_ref().is_some_and(|link| link.up);
        let after = self.links.lookup(index).cloned();
        let is_up = after.as_ref().is_some_and(|link| link.up);
        let pending = self.routes.using_link(index).into_iter().map(Pending::Route);
        self.pending.extend(pending);
        if was_up && !is_up {
            // The kernel forgets routes of a link that goes down, IPv4 ones without a word.
            let links = &self.links;
            self.routes.remove_dead(|path| match path {
                Path::Hops(hops) => {
                    let is_down = |index| links.lookup(index).is_none_or(|link| !link.up);
                    hops.iter().any(|hop| hop.link == index)
                        && hops.iter().all(|hop| is_down(hop.link))
                }
                Path::Kernel | Path::Unreachable => false,
            });
            self.want_dump();
        }
        let addresses: Vec<_> = self.addresses_on(index).map(Pending::Host).collect();
        self.pending.extend(addresses);
        let port_before = before.as_ref().and_then(|link| self.port_named(&link.name));
        let port_after = after.as_ref().and_then(|link| self.port_named(&link.name));
        for port in [port_before, port_after].into_iter().flatten() {
            self.on_port_changed(port, index);
        }
        let is_tun = |link: &Link| link.name == self.config.tun_name;
        match (before.as_ref().is_some_and(is_tun) && was_up, after.is_some_and(|l| is_tun(&l))) {
            (false, true) if is_up => self.install(index),
            (true, is_tun) if !is_tun || !is_up => self.forget_installation(index),
            _ => {}
        }
    }

    fn on_port_changed(&mut self, port: PortIndex, index: u32) {
        let on_link = self.neighbors.iter().filter(|((_, link), _)| *link == index);
        let found: Vec<IpAddr> = on_link.map(|((address, _), _)| address).collect();
        let published = self.published_neighbors.range((port, FIRST)..=(port, LAST));
        let told: Vec<IpAddr> = published.map(|((_, address), _)| *address).collect();
        for address in found.into_iter().chain(told) {
            self.pending.insert(Pending::Neighbor(port, address));
            self.pending.insert(Pending::Route(address.into()));
        }
        if self.link_of(port) == Some(index) {
            for address in self.keep_alive.used_on(port).collect::<Vec<_>>() {
                self.keep_alive.schedule(self.now, (address, index));
            }
        }
    }

    fn remove_address(&mut self, address: IpAddr, link: u32) {
        if self.addresses.remove((address, link)).is_some() {
            self.pending.insert(Pending::Host(address));
        }
    }

    fn insert_route(&mut self, origin: Origin, route: Route) {
        // Groups are not forwarded, and a link-local prefix is on every link: neither has a place
        // in one table.
        let address = route.prefix.addr();
        if address.is_multicast() || is_link_local(address) {
            return;
        }
        let prefix = route.prefix;
        match self.routes.insert(origin, route) {
            Insertion::Unchanged => return,
            Insertion::Changed => {}
            Insertion::Ambiguous => self.want_dump(),
        }
        self.pending.insert(Pending::Route(prefix));
    }

    fn insert_neighbor(&mut self, origin: Origin, neighbor: Neighbor) {
        let key = (neighbor.address, neighbor.link);
        let state = neighbor.state;
        let changed = self.neighbors.insert(origin, key, neighbor);
        let Some(port) = self.port_of(neighbor.link) else { return };
        if changed {
            self.pending.insert(Pending::Neighbor(port, neighbor.address));
            self.pending.insert(Pending::Route(neighbor.address.into()));
        }
        match state {
            NeighborState::Stale => self.keep_alive.schedule(self.now, key),
            NeighborState::Unusable if self.keep_alive.is_used(port, neighbor.address) => {
                self.keep_alive.schedule(self.now + super::keep_alive::RETRY, key);
            }
            _ => {}
        }
    }

    fn remove_neighbor(&mut self, address: IpAddr, link: u32) {
        if self.neighbors.remove((address, link)).is_none() {
            return;
        }
        let Some(port) = self.port_of(link) else { return };
        self.pending.insert(Pending::Neighbor(port, address));
        self.pending.insert(Pending::Route(address.into()));
        if self.keep_alive.is_used(port, address) {
            self.keep_alive.schedule(self.now, (address, link));
        }
    }

    fn port_named(&self, name: &str) -> Option<PortIndex> {
        let position = self.config.ports.iter().position(|port| port == name)?;
        PortIndex::try_from(position).ok()
    }

    /// The port that the link is.
    pub(super) fn port_of(&self, link: u32) -> Option<PortIndex> {
        self.port_named(&self.links.lookup(link)?.name)
    }

    /// The link that the port is, where it exists.
    pub(super) fn link_of(&self, port: PortIndex) -> Option<u32> {
        let name = self.config.ports.get(usize::from(port))?;
        self.links.iter().find(|(_, link)| link.name == *name).map(|(index, _)| index)
    }

    /// The neighbours with an address under the prefix.
    pub(super) fn neighbors_under(&self, prefix: IpNet) -> Vec<IpAddr> {
        let first = (prefix.network(), 0);
        let last = (prefix.broadcast(), u32::MAX);
        self.neighbors.range(first, last).map(|((address, _), _)| address).collect()
    }
}

// The bounds of all addresses, in their order.
const FIRST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
const LAST: IpAddr = IpAddr::V6(std::net::Ipv6Addr::from_bits(u128::MAX));

pub(super) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}
