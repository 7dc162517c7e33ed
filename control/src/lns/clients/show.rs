//! What the operator sees of clients, and how he has one dialled anew.

use std::net::IpAddr;

use super::network::{Ipv4Link, Ipv6Link};
use super::table::State;
use super::{Client, Event, Lns};
use crate::admin::ClientRow;
use crate::ipv6::link_local;
use crate::time::Time;

impl Lns {
    /// At most `limit` clients from `cursor` on, in the order of the configuration, and where to go
    /// on. Their packets are counted by the data plane.
    pub fn client_rows(
        &self,
        now: Time,
        cursor: u64,
        limit: usize,
    ) -> (Vec<ClientRow>, Option<u64>) {
        let Ok(first) = usize::try_from(cursor) else { return (Vec::new(), None) };
        let rows: Vec<_> =
            self.clients.iter().skip(first).take(limit).map(|client| client.row(now)).collect();
        let next = first.saturating_add(rows.len());
        (rows, (next < self.clients.len()).then_some(next as u64))
    }

    /// Ends a client's session and dials anew, with every server taken for good. Returns whether
    /// there is a client of that name.
    pub fn clear_client(&mut self, now: Time, name: &str) -> bool {
        let Some(index) = self.clients.iter().position(|client| client.config.name == name) else {
            return false;
        };
        self.note(index, Event::Clear, "cleared by the operator");
        self.drive_clients(now);
        true
    }
}

impl Client {
    fn row(&self, now: Time) -> ClientRow {
        let network = &self.network;
        let (ipv4, ipv6) = (network.ipv4.as_ref(), network.ipv6.as_ref());
        let status = ipv6.map(|link| link.host.status());
        let dns4 = ipv4.into_iter().flat_map(|link| link.dns.iter().copied()).map(IpAddr::V4);
        let dns6 = status.into_iter().flat_map(|status| status.dns.iter().copied());
        let mut dns = Vec::new();
        for server in dns4.chain(dns6.map(IpAddr::V6)) {
            // Some servers name the same one twice.
            if !dns.contains(&server) {
                dns.push(server);
            }
        }
        let in_use = |server: &usize| self.config.servers.get(*server);
        let waits = matches!(self.state, State::Backoff).then_some(self.deadline).flatten();
        let is_specified = |address: &std::net::Ipv4Addr| !address.is_unspecified();
        ClientRow {
            name: self.config.name.clone(),
            state: self.state.name().to_owned(),
            server: self.server.as_ref().and_then(in_use).map(|server| server.socket_address()),
            tunnel_id: self.tunnel.map_or(0, |id| id.0),
            session_id: self.call.map_or(0, |session| session.0),
            address: ipv4.map(|link: &Ipv4Link| link.local),
            peer_address: ipv4.map(|link| link.peer).filter(is_specified),
            link_local: ipv6.map(|link: &Ipv6Link| link_local(link.local)),
            peer_link_local: ipv6.map(|link| link_local(link.peer)),
            address6: status.and_then(|status| status.address),
            delegated: status.and_then(|status| status.delegated),
            dns,
            routes: network.prefixes.clone(),
            up_seconds: self.up_since.map(|since| now.since(since).as_secs()),
            redial_seconds: waits.map(|at| at.since(now).as_secs()),
            redials: self.dials.saturating_sub(1),
            last_error: self.last_error.clone(),
            received_packets: 0,
            received_bytes: 0,
            sent_packets: 0,
            sent_bytes: 0,
        }
    }
}
