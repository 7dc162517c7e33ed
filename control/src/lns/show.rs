//! What the operator sees of tunnels and sessions, and what he ends.

use std::net::IpAddr;

use super::{Lease, Line, Lns, LnsCounter, TunnelEntry};
use crate::admin::{
    CounterRow, SessionFilter, SessionRow, SessionSelector, TunnelRow, TunnelSelector,
};
use crate::call::{Call, Forwarding};
use crate::l2tp::tunnel::State;
use crate::l2tp::{SessionId, TunnelId};
use crate::ppp::Authentication;
use crate::time::Time;

impl Lns {
    /// At most `limit` tunnels from `cursor` on, in the order of their IDs, and where to go on.
    pub fn tunnel_rows(
        &self,
        now: Time,
        cursor: u64,
        limit: usize,
    ) -> (Vec<TunnelRow>, Option<u64>) {
        let Ok(first) = u16::try_from(cursor) else { return (Vec::new(), None) };
        let mut tunnels = self.tunnels.range(TunnelId(first)..);
        let rows: Vec<_> = tunnels
            .by_ref()
            .take(limit)
            .map(|(id, entry)| self.tunnel_row(now, *id, entry))
            .collect();
        (rows, tunnels.next().map(|(id, _)| id.0.into()))
    }

    fn tunnel_row(&self, now: Time, id: TunnelId, entry: &TunnelEntry) -> TunnelRow {
        let tunnel = &entry.tunnel;
        let status = tunnel.status();
        let lac = self.profile(entry.profile);
        let challenges = lac.is_some_and(|lac| lac.config.challenges());
        let authentication = if entry.established && challenges { "challenge" } else { "" };
        TunnelRow {
            tunnel_id: id.0,
            peer_tunnel_id: tunnel.peer_tunnel_id().0,
            peer: entry.peer,
            local: entry.local,
            host_name: tunnel.peer_host_name().to_owned(),
            vendor_name: tunnel.peer_vendor().unwrap_or("").to_owned(),
            state: state_name(tunnel.state()).to_owned(),
            lac: lac.map(|lac| lac.config.name.clone()).unwrap_or_default(),
            sessions: entry.calls.len() as u32,
            is_port_translated: entry.peer.port() != self.config.lns.port,
            authentication: authentication.to_owned(),
            ns: status.ns.0,
            nr: status.nr.0,
            peer_window: status.peer_window,
            congestion_window: status.congestion_window,
            unacknowledged: status.queued as u32,
            retransmissions: status.retransmissions,
            age_seconds: now.since(entry.started).as_secs(),
        }
    }

    /// At most `limit` sessions that `filter` wants, from `cursor` on, in the order of their IDs, and
    /// where to go on. Looks at ten times `limit` calls at most, so a page may be short.
    pub fn session_rows(
        &self,
        now: Time,
        filter: &SessionFilter,
        cursor: u64,
        limit: usize,
    ) -> (Vec<SessionRow>, Option<u64>) {
        let Ok(cursor) = u32::try_from(cursor) else { return (Vec::new(), None) };
        let (first_tunnel, first_session) = ((cursor >> 16) as u16, cursor as u16);
        let mut rows = Vec::new();
        let mut looked_at = 0;
        for (id, entry) in self.tunnels.range(TunnelId(first_tunnel)..) {
            let lac = self.profile(entry.profile).map_or("", |lac| lac.config.name.as_str());
            let from = SessionId(if id.0 == first_tunnel { first_session } else { 0 });
            for (session, index) in entry.calls.range(from..) {
                if rows.len() == limit || looked_at == 10 * limit {
                    return (rows, Some(u64::from(id.0) << 16 | u64::from(session.0)));
                }
                looked_at += 1;
                let Some(call) = self.calls.get(*index) else { continue };
                let wanted = filter.address.filter(|wanted| has_address(call, *wanted));
                let shown = wanted.or_else(|| address(call));
                if filter.matches(id.0, call.user.as_deref().unwrap_or(""), shown) {
                    rows.push(session_row(now, lac, entry, call));
                }
            }
        }
        (rows, None)
    }

    /// Control's own counters.
    pub fn counter_rows(&self) -> Vec<CounterRow> {
        let row = |counter: &LnsCounter| {
            let value = self.counters.value(*counter);
            CounterRow::new("l2tp", counter.name(), value, counter.explanation())
        };
        let mut rows: Vec<_> = LnsCounter::ALL.iter().map(row).collect();
        let level = |name, value: usize, text| CounterRow::new("control", name, value as u64, text);
        rows.push(level("tunnels", self.tunnels.len(), "Tunnels now, closing ones among them."));
        rows.push(level("calls", self.calls.len(), "Calls now, from ICRQ on."));
        rows.push(level(
            "calls_ending",
            self.ending.len(),
            "Ended calls whose last packets are still counted.",
        ));
        rows.push(level("addresses_free", self.addresses.free(), "Addresses free in all pools."));
        let (links, delegated) = self.addresses.free_prefixes();
        let text = "IPv6 prefixes for links free in all pools.";
        rows.push(CounterRow::new("control", "link_prefixes_free", links, text));
        let text = "IPv6 prefixes to delegate free in all pools.";
        rows.push(CounterRow::new("control", "delegated_prefixes_free", delegated, text));
        let ended = &self.ended_totals;
        let total = |name, value, text| CounterRow::new("ended_sessions", name, value, text);
        let text = "Packets of sessions that are over, from subscribers.";
        rows.push(total("upstream_packets", ended.upstream_packets, text));
        let text = "Octets of sessions that are over, from subscribers.";
        rows.push(total("upstream_bytes", ended.upstream_bytes, text));
        let text = "Packets of sessions that are over, to subscribers.";
        rows.push(total("downstream_packets", ended.downstream_packets, text));
        let text = "Octets of sessions that are over, to subscribers.";
        rows.push(total("downstream_bytes", ended.downstream_bytes, text));
        rows
    }

    /// Closes tunnels; returns how many.
    pub fn clear_tunnels(&mut self, now: Time, which: &TunnelSelector) -> u64 {
        let wanted = |(id, entry): &(&TunnelId, &TunnelEntry)| match which {
            TunnelSelector::Id(wanted) => id.0 == *wanted,
            TunnelSelector::Peer(address) => entry.peer.ip() == *address,
            TunnelSelector::All => true,
        };
        let ids: Vec<TunnelId> = self.tunnels.iter().filter(wanted).map(|(id, _)| *id).collect();
        let text = "cleared by the operator";
        let count = ids.into_iter().filter(|id| self.close_tunnel(now, *id, text)).count() as u64;
        self.drive_clients(now);
        count
    }

    /// Ends sessions; returns how many.
    pub fn clear_sessions(&mut self, now: Time, which: &SessionSelector) -> u64 {
        let wanted = |call: &Call| match which {
            SessionSelector::Id { tunnel_id, session_id } => {
                (call.tunnel.0, call.session.0) == (*tunnel_id, *session_id)
            }
            SessionSelector::User(user) => call.user.as_deref() == Some(user),
            SessionSelector::Address(wanted) => has_address(call, *wanted),
        };
        let keys: Vec<_> = self
            .calls
            .iter()
            .filter(|(_, call)| wanted(call))
            .map(|(_, call)| (call.tunnel, call.session))
            .collect();
        let closes = |(tunnel, session): &(_, _)| self.close_call(now, *tunnel, *session);
        let count = keys.into_iter().filter(closes).count() as u64;
        self.drive_clients(now);
        count
    }
}

/// The words of RFC 2661 section 7.2.1, and our own for the time after.
fn state_name(state: State) -> &'static str {
    match state {
        State::Idle => "idle",
        State::WaitCtlReply => "wait-ctl-reply",
        State::WaitCtlConn => "wait-ctl-conn",
        State::Established => "established",
        State::Closing => "closing",
    }
}

/// The address that the call has or is about to have; not one that it only might have yet, beside IPv6
/// that is up.
pub(super) fn address(call: &Call) -> Option<IpAddr> {
    let is_meant = call.ipv4_up || call.forwarding != Forwarding::Packets;
    let lease = call.lease.as_ref().filter(|_| is_meant);
    lease.and_then(Lease::address).map(IpAddr::V4)
}

/// Whether packets to this address are the call's: its own, or one under a prefix of it.
pub(super) fn has_address(call: &Call, address: IpAddr) -> bool {
    call.lease.iter().flat_map(Lease::all).any(|prefix| prefix.contains(&address))
}

fn session_row(now: Time, lac: &str, entry: &TunnelEntry, call: &Call) -> SessionRow {
    let agreed = call.agreed();
    let session = entry.tunnel.session(call.session);
    let router = call.router.as_ref();
    SessionRow {
        tunnel_id: call.tunnel.0,
        session_id: call.session.0,
        peer_session_id: session.map_or(0, |session| session.peer_session_id().0),
        peer: entry.peer,
        user: call.user.as_deref().unwrap_or("").to_owned(),
        address: address(call),
        ipv6_prefix: call.lease.as_ref().and_then(Lease::link_prefix),
        delegated_prefix: call
            .lease
            .as_ref()
            .and_then(Lease::delegated_prefix)
            .filter(|_| router.is_some_and(|router| router.has_delegated())),
        interface_identifier: router.map(|router| format!("{:016x}", router.peer_interface())),
        state: call.state_name().to_owned(),
        mru: agreed.map_or(0, |agreed| agreed.peer_mru),
        authentication: agreed
            .and_then(|agreed| agreed.authentication)
            .map_or("", Authentication::name)
            .to_owned(),
        calling_number: call.calling_number.as_deref().unwrap_or("").to_owned(),
        lac: lac.to_owned(),
        line: Box::new(call.line.as_deref().map(Line::row).unwrap_or_default()),
        address_control: agreed.is_some_and(|agreed| !agreed.send_acfc),
        upstream_packets: 0,
        upstream_bytes: 0,
        downstream_packets: 0,
        downstream_bytes: 0,
        age_seconds: now.since(call.started).as_secs(),
    }
}
