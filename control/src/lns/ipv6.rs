//! IPv6 of a call: its router runs while IPv6CP is open, and what the data plane forwards follows it.

use std::sync::Arc;

use ipnet::{IpNet, Ipv6Net};
use md5::{Digest, Md5};

use super::{Lns, LnsCounter};
use crate::call::Call;
use crate::config::Config;
use crate::ipv6::dhcp::message::encode_domain;
use crate::ipv6::{self, MTU_MIN, Router};
use crate::time::Time;

/// DUID-UUID (RFC 6355).
const DUID_UUID: [u8; 2] = [0, 4];

/// What the routers of all calls have in common.
pub fn router_config(config: &Config) -> Arc<ipv6::Config> {
    let ppp = &config.ppp;
    Arc::new(ipv6::Config {
        server_id: server_id(config),
        dns: ppp.ipv6_dns.clone(),
        domains: if ppp.domain.is_empty() { Vec::new() } else { encode_domain(&ppp.domain) },
        managed: ppp.ipv6_managed,
        other: ppp.ipv6_other,
        preferred_seconds: ppp.ipv6_lifetime_seconds / 2,
        valid_seconds: ppp.ipv6_lifetime_seconds,
    })
}

/// Our DUID. Clients keep it over our restarts, and servers must differ; a MAC address would tell
/// one port of many, which may be replaced. So it is a UUID of a name (RFC 9562, version 3), made of
/// what tells this LNS from others: its host name and the addresses that its tunnels end at.
fn server_id(config: &Config) -> Box<[u8]> {
    let mut hash = Md5::new();
    hash.update(b"xlns DHCPv6 server\0");
    hash.update(config.lns.host_name.as_bytes());
    for address in config.lns.listen.iter().chain([&config.lns.gateway.into()]) {
        hash.update(format!("\0{address}").as_bytes());
    }
    let mut uuid: [u8; 16] = hash.finalize().into();
    let [.., version, _, variant, _, _, _, _, _, _, _] = &mut uuid;
    *version = *version & 0x0f | 0x30;
    *variant = *variant & 0x3f | 0x80;
    [&DUID_UUID[..], &uuid].concat().into()
}

impl Lns {
    pub(super) fn handle_ipv6_up(&mut self, now: Time, index: usize, interfaces: (u64, u64)) {
        let Some(call) = self.calls.get_mut(index) else { return };
        let Some(agreed) = call.link().map(crate::ppp::Link::agreed) else { return };
        let mtu = agreed.local_mru.min(agreed.peer_mru).max(MTU_MIN);
        let prefix = call.lease.as_ref().and_then(super::Lease::link_prefix);
        let config = Arc::clone(&self.router_config);
        call.router = Some(Box::new(Router::new(now, config, interfaces, prefix, mtu)));
        let first = !call.ipv4_up;
        let shown = prefix.unwrap_or_else(|| ipv6::link_local(interfaces.1).into());
        self.network_changed(index);
        self.log_network_up(now, index, first, IpNet::V6(shown));
        self.handle_router_timeout(now, index);
    }

    pub(super) fn handle_ipv6_down(&mut self, index: usize) {
        if let Some(call) = self.calls.get_mut(index) {
            call.router = None;
        }
        self.network_changed(index);
    }

    /// A packet of the subscriber to us or to a group of the link.
    pub(super) fn handle_ipv6_packet(&mut self, now: Time, index: usize, packet: &[u8]) {
        let Self { calls, addresses, counters, .. } = self;
        let Some(Call { router: Some(router), lease, .. }) = calls.get_mut(index) else { return };
        let had_delegated = router.has_delegated();
        let mut delegate = || -> Option<Ipv6Net> {
            let prefix = lease.as_mut().and_then(|lease| addresses.delegate(lease));
            if prefix.is_none() {
                counters.add(LnsCounter::DelegationExhausted);
            }
            prefix
        };
        let answer = router.handle_packet(now, packet, &mut delegate);
        let has_delegated = router.has_delegated();
        match answer {
            Ok(Some(answer)) => self.send_ipv6(index, &answer),
            Ok(None) => {}
            Err(discard) => {
                tracing::trace!(index, %discard, "IPv6 packet without effect");
                self.counters.add(LnsCounter::Ipv6WithoutEffect);
            }
        }
        self.delegation_changed(index, had_delegated, has_delegated);
    }

    /// Lets the call's router do what is due.
    pub(super) fn handle_router_timeout(&mut self, now: Time, index: usize) {
        let Self { calls, rng, .. } = self;
        let Some(router) = calls.get_mut(index).and_then(|call| call.router.as_mut()) else {
            return;
        };
        let had_delegated = router.has_delegated();
        let advertisement = router.handle_timeout(now, rng);
        let has_delegated = router.has_delegated();
        if let Some(packet) = advertisement {
            self.send_ipv6(index, &packet);
        }
        self.delegation_changed(index, had_delegated, has_delegated);
    }

    /// The data plane forwards a delegated prefix from the answer on that binds it.
    fn delegation_changed(&mut self, index: usize, before: bool, after: bool) {
        if before == after {
            return;
        }
        if after {
            self.counters.add(LnsCounter::PrefixesDelegated);
        }
        if let Some(call) = self.calls.get(index) {
            let (tunnel, session) = (call.tunnel.0, call.session.0);
            let prefix = call.lease.as_ref().and_then(super::Lease::delegated_prefix);
            tracing::debug!(tunnel, session, ?prefix, bound = after, "delegated prefix");
        }
        self.network_changed(index);
    }

    fn send_ipv6(&mut self, index: usize, packet: &[u8]) {
        if let Some(link) = self.calls.get_mut(index).and_then(Call::link_mut) {
            link.send_ipv6(packet);
        }
    }
}
