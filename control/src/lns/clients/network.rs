//! What a dialled link is good for: addresses, name servers, and the destinations that it leads to.
//!
//! Several clients may want the same destination: the one with the lowest metric has it, of equal
//! ones the first in the configuration. The data plane gets destinations with the session, the kernel
//! as one set of addresses and routes ([`Uplinks`]).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use xlns_dataplane::api::{self, Command};

use super::{Client, Event, Lns};
use crate::call::{Call, Forwarding};
use crate::ipv6::{self, Host};
use crate::l2tp::result::printable;
use crate::ppp::{self, Link, Refusal};
use crate::routing::Uplinks;
use crate::time::Time;

/// What is up of a link.
#[derive(Debug, Default)]
pub struct Network {
    pub ipv4: Option<Ipv4Link>,
    pub ipv6: Option<Ipv6Link>,
    /// Destinations that are its alone, as the data plane was told.
    pub prefixes: Vec<IpNet>,
    /// The data plane was not told of the last change.
    is_changed: bool,
}

/// IPv4 on a link.
#[derive(Debug, Clone)]
pub struct Ipv4Link {
    /// Our address.
    pub local: Ipv4Addr,
    /// The server's; unspecified where it keeps that to itself.
    pub peer: Ipv4Addr,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
}

/// IPv6 on a link.
#[derive(Debug)]
pub struct Ipv6Link {
    /// Our interface identifier.
    pub local: u64,
    /// The server's.
    pub peer: u64,
    /// Asks for an address, name servers and a prefix.
    pub host: Box<Host>,
}

impl Ipv6Link {
    /// Our address, once the server has advertised a prefix.
    pub fn address(&self) -> Option<Ipv6Addr> {
        self.host.status().address
    }
}

impl Network {
    pub fn is_up(&self) -> bool {
        self.ipv4.is_some() || self.ipv6.is_some()
    }

    pub fn poll_timeout(&self) -> Option<Time> {
        self.ipv6.as_ref().and_then(|link| link.host.poll_timeout())
    }
}

impl Client {
    /// The destinations that the client's link is good for now.
    fn destinations(&self, subscribers: &[IpNet]) -> Vec<IpNet> {
        let (ipv4, ipv6) = (self.network.ipv4.as_ref(), self.network.ipv6.is_some());
        let is_spoken = |prefix: &IpNet| match prefix {
            IpNet::V4(_) => ipv4.is_some(),
            IpNet::V6(_) => ipv6,
        };
        // A server can claim any address: only one that it is known for leads to it.
        let allowed = &self.config.peer_addresses;
        let is_known = |link: &&Ipv4Link| allowed.iter().any(|prefix| prefix.contains(&link.peer));
        let peer = ipv4.filter(is_known).map(|link| IpNet::from(IpAddr::V4(link.peer)));
        // A subscriber of ours that has this address was there first.
        let peer = peer.filter(|peer| {
            !peer.addr().is_unspecified() && !subscribers.iter().any(|pool| pool.contains(peer))
        });
        self.config.destinations().into_iter().filter(is_spoken).chain(peer).collect()
    }

    /// The source of this host's own packets to a destination.
    fn source(&self, destination: &IpNet) -> Option<IpAddr> {
        match destination {
            IpNet::V4(_) => self.network.ipv4.as_ref().map(|link| link.local.into()),
            IpNet::V6(_) => self.network.ipv6.as_ref().and_then(Ipv6Link::address).map(Into::into),
        }
    }
}

impl Lns {
    /// The link of a client's call has something to say.
    pub(in super::super) fn handle_client_link_event(
        &mut self,
        now: Time,
        slot: usize,
        index: usize,
        event: ppp::Event,
    ) {
        match event {
            ppp::Event::LcpUp { .. } => {
                // The server negotiates anew: what was up is not.
                if self.clients.get(index).is_some_and(|client| client.network.is_up()) {
                    let all = |network: &mut Network| (network.ipv4, network.ipv6) = (None, None);
                    self.handle_down(slot, index, all);
                }
                self.set_forwarding(slot, Forwarding::Echo);
            }
            // Nobody was asked to.
            ppp::Event::Authenticate(_) => {
                if let Some(link) = self.calls.get_mut(slot).and_then(Call::link_mut) {
                    link.authenticated(now, Err(Refusal { message: String::new() }));
                }
            }
            ppp::Event::Refused { message } => {
                if let Some(client) = self.clients.get_mut(index) {
                    client.refusal = printable(&message);
                }
            }
            ppp::Event::Identification { message } => {
                let client = self.clients.get(index).map_or("", |client| &client.config.name);
                tracing::debug!(client, message = printable(&message), "server identifies itself");
            }
            ppp::Event::Ipv4Up { local, peer, dns } => {
                self.handle_ipv4_up(now, slot, index, Ipv4Link { local, peer, dns });
            }
            ppp::Event::Ipv4Down => self.handle_down(slot, index, |network| network.ipv4 = None),
            ppp::Event::Ipv6Up { local, peer } => {
                let Some(client) = self.clients.get_mut(index) else { return };
                let (address, router) = (ipv6::link_local(local), ipv6::link_local(peer));
                tell!(client, now, info, %address, peer = %router, "IPv6 is up");
                let duid = client.duid.clone();
                let host = Box::new(Host::new(now, local, duid, true, &mut self.rng));
                client.network.ipv6 = Some(Ipv6Link { local, peer, host });
                self.handle_up(slot, index);
                // Its first question is due at once.
                self.reschedule_client(index);
            }
            ppp::Event::Ipv6Down => self.handle_down(slot, index, |network| network.ipv6 = None),
            ppp::Event::Ipv6Packet(packet) => self.handle_host_packet(now, slot, index, &packet),
            ppp::Event::Down { cause } => self.handle_link_down(now, slot, &cause),
        }
    }

    /// What is wrong with an address that a server gives us. The host answers for it from then on, so
    /// that whoever else has it is cut off.
    fn objection(&self, address: IpAddr) -> Option<String> {
        let pool = self.subscriber_prefixes.iter().find(|pool| pool.contains(&address));
        let whose = if let Some(pool) = pool {
            format!("an address of our own pool {pool}")
        } else if self.peers.is_known(address) || self.tunnels_per_address.contains_key(&address) {
            "the address of a peer".to_owned()
        } else {
            return None;
        };
        Some(format!("the server gave us {address}, {whose}"))
    }

    fn handle_ipv4_up(&mut self, now: Time, slot: usize, index: usize, link: Ipv4Link) {
        if let Some(text) = self.objection(link.local.into()) {
            return self.note(index, Event::Failed, text);
        }
        if let Some(client) = self.clients.get_mut(index) {
            let Ipv4Link { local, peer, dns } = &link;
            tell!(client, now, info, address = %local, %peer, ?dns, "IPv4 is up");
            client.network.ipv4 = Some(link);
        }
        self.handle_up(slot, index);
    }

    fn handle_up(&mut self, slot: usize, index: usize) {
        if let Some(call) = self.calls.get_mut(slot) {
            call.forwarding = Forwarding::Packets;
        }
        self.change_network(index);
        self.note(index, Event::NetworkUp, "");
    }

    fn handle_down(&mut self, slot: usize, index: usize, take: impl FnOnce(&mut Network)) {
        let Some(client) = self.clients.get_mut(index) else { return };
        take(&mut client.network);
        if !client.network.is_up() {
            if let Some(call) = self.calls.get_mut(slot) {
                call.forwarding = Forwarding::Echo;
            }
            self.note(index, Event::NetworkDown, "");
        }
        self.change_network(index);
        self.reschedule_client(index);
    }

    fn change_network(&mut self, index: usize) {
        if let Some(client) = self.clients.get_mut(index) {
            client.network.is_changed = true;
        }
        self.networks_changed = true;
    }

    /// A packet of the server's routers and DHCPv6 servers.
    fn handle_host_packet(&mut self, now: Time, slot: usize, index: usize, packet: &[u8]) {
        let Some(client) = self.clients.get_mut(index) else { return };
        let Some(link) = &mut client.network.ipv6 else { return };
        if let Err(discard) = link.host.handle_packet(now, packet, &mut self.rng) {
            tracing::trace!(client = client.config.name, %discard, "IPv6 packet without effect");
        }
        self.drain_host(now, slot, index);
    }

    /// The host machine of a client may have something to do.
    pub(super) fn handle_host_timeout(&mut self, now: Time, index: usize) {
        let Some(client) = self.clients.get_mut(index) else { return };
        let key = client.tunnel.zip(client.call);
        let Some(link) = &mut client.network.ipv6 else { return };
        if link.host.poll_timeout().is_none_or(|at| at > now) {
            return;
        }
        link.host.handle_timeout(now, &mut self.rng);
        let Some((id, session)) = key else { return };
        let Some(slot) = self.tunnels.get(&id).and_then(|entry| entry.calls.get(&session)) else {
            return;
        };
        let slot = *slot;
        self.drain_host(now, slot, index);
        self.transmit_frames(slot);
    }

    /// Sends what the host machine has to say, and notices what it has learnt.
    fn drain_host(&mut self, now: Time, slot: usize, index: usize) {
        let Some(client) = self.clients.get_mut(index) else { return };
        let Some(Ipv6Link { host, .. }) = &mut client.network.ipv6 else { return };
        let link = self.calls.get_mut(slot).and_then(Call::link_mut);
        send_all(host, link);
        if host.take_changed() {
            let status = host.status().clone();
            if let Some(text) = status.address.and_then(|own| self.objection(own.into())) {
                return self.note(index, Event::Failed, text);
            }
            let Some(client) = self.clients.get_mut(index) else { return };
            let text = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
            let address = text(status.address.map(|address| address.to_string()));
            let delegated = text(status.delegated.map(|prefix| prefix.to_string()));
            tell!(client, now, info, address, delegated, dns = ?status.dns, "IPv6 has been told");
            self.change_network(index);
        }
        self.reschedule_client(index);
    }

    /// Gives up what a client's link was good for, before it is closed.
    pub(super) fn release_network(&mut self, now: Time, index: usize) {
        let Some(client) = self.clients.get_mut(index) else { return };
        let mut network = std::mem::take(&mut client.network);
        if let (Some(link), Some((id, session))) =
            (&mut network.ipv6, client.tunnel.zip(client.call))
        {
            link.host.release(now, &mut self.rng);
            let slot = self.tunnels.get(&id).and_then(|entry| entry.calls.get(&session)).copied();
            let call = slot.and_then(|slot| self.calls.get_mut(slot));
            send_all(&mut link.host, call.and_then(Call::link_mut));
        }
        self.networks_changed = true;
        self.reschedule_client(index);
    }

    /// Completes the data plane's entry of a client's call.
    pub(in super::super) fn complete_client_entry(&self, index: usize, entry: &mut api::Session) {
        let Some(client) = self.clients.get(index) else { return };
        entry.source_check = false;
        entry.prefixes.clone_from(&client.network.prefixes);
        entry.gateway = client.network.ipv4.as_ref().map(|link| link.local);
    }

    /// Who has which destination now.
    fn owners(&self) -> BTreeMap<IpNet, usize> {
        let mut owners: BTreeMap<IpNet, usize> = BTreeMap::new();
        let metric = |index: usize| self.clients.get(index).map(|client| client.config.metric);
        for (index, client) in self.clients.iter().enumerate() {
            for prefix in client.destinations(&self.subscriber_prefixes) {
                let owner = owners.entry(prefix).or_insert(index);
                if metric(index) < metric(*owner) {
                    *owner = index;
                }
            }
        }
        owners
    }

    /// Tells data plane and kernel what has changed of the clients' networks.
    pub(super) fn settle_networks(&mut self) {
        if !std::mem::take(&mut self.networks_changed) {
            return;
        }
        let owners = self.owners();
        let mut wanted: Vec<Vec<IpNet>> = vec![Vec::new(); self.clients.len()];
        for (prefix, owner) in &owners {
            if let Some(prefixes) = wanted.get_mut(*owner) {
                prefixes.push(*prefix);
            }
        }
        // Whoever loses a destination lets it go before somebody else takes it.
        for (index, wanted) in wanted.iter().enumerate() {
            let Some(client) = self.clients.get_mut(index) else { continue };
            let before = client.network.prefixes.len();
            client.network.prefixes.retain(|prefix| wanted.contains(prefix));
            if client.network.prefixes.len() < before {
                self.tell_session(index);
            }
        }
        for (index, wanted) in wanted.into_iter().enumerate() {
            let Some(client) = self.clients.get_mut(index) else { continue };
            let is_changed = std::mem::take(&mut client.network.is_changed);
            if is_changed || client.network.prefixes != wanted {
                client.network.prefixes = wanted;
                self.tell_session(index);
            }
        }
        self.uplinks = Some(self.uplinks_of(&owners));
    }

    /// Tells the data plane of a client's session, where it has one.
    fn tell_session(&mut self, index: usize) {
        let Some((id, session)) =
            self.clients.get(index).and_then(|client| client.tunnel.zip(client.call))
        else {
            return;
        };
        let slot = self.tunnels.get(&id).and_then(|entry| entry.calls.get(&session));
        let call = slot.and_then(|slot| self.calls.get(*slot));
        if let Some(entry) = call.and_then(|call| self.entry(call)) {
            self.push_command(Command::SessionSet(Box::new(entry)));
        }
    }

    fn uplinks_of(&self, owners: &BTreeMap<IpNet, usize>) -> Uplinks {
        let mut uplinks = Uplinks::default();
        for client in &self.clients {
            let network = &client.network;
            uplinks.addresses.extend(network.ipv4.as_ref().map(|link| IpAddr::V4(link.local)));
            let address = network.ipv6.as_ref().and_then(Ipv6Link::address);
            uplinks.addresses.extend(address.map(IpAddr::V6));
            if let Some(entry) = client.tunnel.and_then(|id| self.tunnels.get(&id))
                && network.is_up()
            {
                uplinks.tunnels.insert((entry.local.ip(), entry.peer.ip()));
            }
        }
        for (prefix, owner) in owners {
            let source = self.clients.get(*owner).and_then(|client| client.source(prefix));
            uplinks.routes.extend(source.map(|source| (*prefix, source)));
        }
        uplinks
    }

    /// What dialled sessions want of the kernel, where that has changed.
    pub fn take_uplinks(&mut self) -> Option<Uplinks> {
        self.uplinks.take()
    }
}

fn send_all(host: &mut Host, link: Option<&mut Link>) {
    let Some(link) = link else { return };
    while let Some(packet) = host.poll_transmit() {
        link.send_ipv6(&packet);
    }
}
