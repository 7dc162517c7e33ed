//! Routes, neighbours, host addresses, subscriber prefixes.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use ipnet::IpNet;

use super::super::fib::{Claims, Entry, Named};
use super::super::lpm::{Full, Key};
use super::super::{PortKind, SteerChange};
use super::{Writer, check};
use crate::api::{
    CommandError, HOST_ADDRESSES_MAX, PortIndex, RouteTarget, SUBSCRIBER_PREFIXES_MAX,
};

type NextHop = (PortIndex, IpAddr);

fn full(table: &str) -> CommandError {
    CommandError::Full { table: table.into(), key: "dataplane.routes_max".into() }
}

impl From<Full> for CommandError {
    fn from(_: Full) -> Self {
        full("route")
    }
}

impl Writer {
    /// Who claims the prefix.
    pub(super) fn claims(&self, prefix: IpNet) -> Claims {
        match prefix {
            IpNet::V4(net) => self.fib4.claims(net.addr().to_bits(), net.prefix_len()),
            IpNet::V6(net) => self.fib6.claims(net.addr().to_bits(), net.prefix_len()),
        }
    }

    /// Changes who claims the prefix.
    pub(super) fn set_claims(&mut self, prefix: IpNet, claims: Claims) -> Result<(), Full> {
        let epoch = self.epoch();
        match prefix {
            IpNet::V4(net) => self.fib4.set(net.addr().to_bits(), net.prefix_len(), claims, epoch),
            IpNet::V6(net) => self.fib6.set(net.addr().to_bits(), net.prefix_len(), claims, epoch),
        }
    }

    /// As [`Writer::set_claims`], and paths to peers under the prefix follow.
    fn set_claims_and_paths(&mut self, prefix: IpNet, claims: Claims) -> Result<(), Full> {
        self.set_claims(prefix, claims)?;
        match prefix {
            IpNet::V4(net) => {
                let (key, length) = (net.addr().to_bits(), net.prefix_len());
                for (peer, path) in self.fib4.paths.within(key..=key.last(length)) {
                    let value = self.fib4.resolve_path(peer).encode();
                    self.tables.paths[path as usize].store(value, Ordering::Release);
                }
            }
            IpNet::V6(net) => {
                let (key, length) = (net.addr().to_bits(), net.prefix_len());
                for (peer, path) in self.fib6.paths.within(key..=key.last(length)) {
                    let value = self.fib6.resolve_path(peer).encode();
                    self.tables.paths[path as usize].store(value, Ordering::Release);
                }
            }
        }
        Ok(())
    }

    fn check_port(&self, port: PortIndex) -> Result<(), CommandError> {
        let known = self.tables.limits.ports.get(usize::from(port));
        check::ensure(known.is_some_and(|port| port.kind == PortKind::Ethernet), || {
            format!("there is no port {port}")
        })
    }

    pub(super) fn route_set(
        &mut self,
        prefix: IpNet,
        target: RouteTarget,
    ) -> Result<(), CommandError> {
        check::prefix(prefix)?;
        if let RouteTarget::Neighbor { port, gateway } = target {
            self.check_port(port)?;
            check::unicast(gateway)?;
        }
        let before = self.claims(prefix);
        if before.route == 0 && self.routes >= self.tables.limits.routes_max {
            return Err(full("route"));
        }
        let entry = match target {
            RouteTarget::Neighbor { port, gateway } => {
                Entry::Neighbor(self.acquire_adjacency((port, gateway))?)
            }
            RouteTarget::Glean => Entry::Glean,
            RouteTarget::Local => Entry::Local { endpoint: false },
            RouteTarget::Unreachable => Entry::Unreachable,
        };
        let named = Named { route: true, ..before.named };
        let claims = Claims { route: entry.encode(), named, ..before };
        let result = self.set_claims_and_paths(prefix, claims);
        // The adjacency of the old target, or of the new one where that was refused.
        let unused = if result.is_ok() { Entry::decode(before.route) } else { entry };
        self.release_adjacency(unused);
        if result.is_ok() && before.route == 0 {
            self.routes += 1;
        }
        Ok(result?)
    }

    fn acquire_adjacency(&mut self, hop: NextHop) -> Result<u32, CommandError> {
        if let Some(index) = self.adjacencies.acquire(hop) {
            return Ok(index);
        }
        self.collect();
        self.adjacencies.acquire(hop).ok_or_else(|| full("neighbor"))
    }

    fn release_adjacency(&mut self, entry: Entry) {
        if let Entry::Neighbor(index) = entry {
            let epoch = self.epoch();
            self.adjacencies.release(index, epoch);
        }
    }

    pub(super) fn route_remove(&mut self, prefix: IpNet) -> Result<(), CommandError> {
        let before = self.claims(prefix);
        if before.route == 0 {
            return Err(CommandError::NoSuchEntry);
        }
        let named = Named { route: false, ..before.named };
        self.set_claims_and_paths(prefix, Claims { route: 0, named, ..before })?;
        self.release_adjacency(Entry::decode(before.route));
        self.routes -= 1;
        Ok(())
    }

    pub(super) fn neighbor_set(&mut self, hop: NextHop, mac: [u8; 6]) -> Result<(), CommandError> {
        self.check_port(hop.0)?;
        check::unicast(hop.1)?;
        check::mac(mac)?;
        if !self.adjacencies.set(hop, mac) {
            self.collect();
            if !self.adjacencies.set(hop, mac) {
                return Err(full("neighbor"));
            }
        }
        Ok(())
    }

    pub(super) fn neighbor_remove(&mut self, hop: NextHop) -> Result<(), CommandError> {
        let epoch = self.epoch();
        if self.adjacencies.remove(hop, epoch) { Ok(()) } else { Err(CommandError::NoSuchEntry) }
    }

    pub(super) fn host_address_set(
        &mut self,
        address: IpAddr,
        endpoint: bool,
    ) -> Result<(), CommandError> {
        check::ensure(!address.is_unspecified() && !address.is_multicast(), || {
            format!("{address} is no host's address")
        })?;
        let prefix = IpNet::from(address);
        let before = self.claims(prefix);
        if before.host == 0 && self.host_addresses >= HOST_ADDRESSES_MAX {
            let reason = format!("more than {HOST_ADDRESSES_MAX} host addresses");
            return Err(CommandError::Invalid(reason));
        }
        let host = Entry::Local { endpoint }.encode();
        let named = Named { host: true, ..before.named };
        self.set_claims_and_paths(prefix, Claims { host, named, ..before })?;
        if before.host == 0 {
            self.host_addresses += 1;
        }
        if before.host != host {
            let endpoint = Some(endpoint);
            self.steer_changes.push(SteerChange::HostAddress { address, endpoint });
        }
        Ok(())
    }

    pub(super) fn host_address_remove(&mut self, address: IpAddr) -> Result<(), CommandError> {
        let prefix = IpNet::from(address);
        let before = self.claims(prefix);
        if before.host == 0 {
            return Err(CommandError::NoSuchEntry);
        }
        let named = Named { host: false, ..before.named };
        self.set_claims_and_paths(prefix, Claims { host: 0, named, ..before })?;
        self.host_addresses -= 1;
        self.steer_changes.push(SteerChange::HostAddress { address, endpoint: None });
        Ok(())
    }

    fn subscriber_prefixes(&mut self, prefix: IpNet) -> &mut usize {
        &mut self.subscriber_prefixes[usize::from(prefix.addr().is_ipv6())]
    }

    pub(super) fn subscriber_prefix_set(&mut self, prefix: IpNet) -> Result<(), CommandError> {
        check::prefix(prefix)?;
        let before = self.claims(prefix);
        let named = Named { subscriber: true, ..before.named };
        if before.subscriber == 0 && *self.subscriber_prefixes(prefix) >= SUBSCRIBER_PREFIXES_MAX {
            let reason = format!("more than {SUBSCRIBER_PREFIXES_MAX} subscriber prefixes");
            return Err(CommandError::Invalid(reason));
        }
        let subscriber = Entry::Unreachable.encode();
        self.set_claims_and_paths(prefix, Claims { subscriber, named, ..before })?;
        if before.subscriber == 0 {
            *self.subscriber_prefixes(prefix) += 1;
            self.steer_changes.push(SteerChange::SubscriberPrefix { prefix, present: true });
        }
        Ok(())
    }

    pub(super) fn subscriber_prefix_remove(&mut self, prefix: IpNet) -> Result<(), CommandError> {
        let before = self.claims(prefix);
        if before.subscriber == 0 {
            return Err(CommandError::NoSuchEntry);
        }
        let named = Named { subscriber: false, ..before.named };
        self.set_claims_and_paths(prefix, Claims { subscriber: 0, named, ..before })?;
        *self.subscriber_prefixes(prefix) -= 1;
        self.steer_changes.push(SteerChange::SubscriberPrefix { prefix, present: false });
        Ok(())
    }

    /// Ends a resynchronisation: removes what was not named since it began.
    pub(super) fn sweep_routes(&mut self) -> Result<(), CommandError> {
        let unnamed = |claims: &Claims| Claims {
            host: if claims.named.host { 0 } else { claims.host },
            route: if claims.named.route { 0 } else { claims.route },
            subscriber: if claims.named.subscriber { 0 } else { claims.subscriber },
            ..Claims::default()
        };
        let ipv4 = self.fib4.iter().filter_map(|((key, length), claims)| {
            Some((IpNet::new(IpAddr::V4(key.into()), length).ok()?, unnamed(&claims)))
        });
        let ipv6 = self.fib6.iter().filter_map(|((key, length), claims)| {
            Some((IpNet::new(IpAddr::V6(key.into()), length).ok()?, unnamed(&claims)))
        });
        let sweep: Vec<_> =
            ipv4.chain(ipv6).filter(|(_, claims)| *claims != Claims::default()).collect();
        for (prefix, claims) in sweep {
            if claims.host != 0 {
                self.host_address_remove(prefix.addr())?;
            }
            if claims.route != 0 {
                self.route_remove(prefix)?;
            }
            if claims.subscriber != 0 {
                self.subscriber_prefix_remove(prefix)?;
            }
        }
        for hop in self.adjacencies.unnamed() {
            self.neighbor_remove(hop)?;
        }
        Ok(())
    }
}
