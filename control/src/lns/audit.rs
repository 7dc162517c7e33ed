//! Whether the root machine's tables agree with one another: for simulations, fuzzing and a test
//! that has just found something odd. Reads everything, changes nothing.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hashbrown::HashMap;
use ipnet::IpNet;

use super::{Lease, Lns, TimerKey, TunnelEntry};
use crate::call::{Call, Forwarding};
use crate::l2tp::TunnelId;
use crate::l2tp::tunnel::State;
use crate::ppp::Link;

/// How much there is of everything that must not leak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Census {
    /// Tunnels, closing ones among them.
    pub tunnels: usize,
    /// Calls, from ICRQ on.
    pub calls: usize,
    /// Ended calls whose last packets are still counted.
    pub ending: usize,
    /// Timers that are set.
    pub timers: usize,
    /// Addresses and prefixes that a call has, or that wait for its last packet.
    pub addresses: usize,
    /// Datagrams, commands and changes of peers that were not taken.
    pub queued: usize,
}

/// `Err` with the text where the condition does not hold.
macro_rules! hold {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err(format!($($text)+));
        }
    };
}

impl Lns {
    /// Checks every invariant that spans tables, and counts what there is. To be called between two
    /// `handle_*`, everything drained.
    ///
    /// # Errors
    /// The first invariant that does not hold, in a sentence.
    pub fn audit(&self) -> Result<Census, String> {
        let mut timers = 0;
        for (id, entry) in &self.tunnels {
            timers += self.audit_tunnel(*id, entry)?;
        }
        self.audit_peers()?;
        self.audit_profiles()?;
        timers += usize::from(self.journal.deadline().is_some());
        timers += self.audit_clients()?;
        for (index, call) in &self.calls {
            timers += self.audit_call(index, call)?;
        }
        hold!(timers == self.timers.len(), "{} timers, {timers} expected", self.timers.len());
        self.audit_sessions()?;
        let addresses = self.audit_addresses()?;
        let lost = self.ending.keys().find(|key| self.calls.iter().any(|(_, c)| c.key() == **key));
        hold!(lost.is_none(), "{lost:?} has ended and lives");
        Ok(Census {
            tunnels: self.tunnels.len(),
            calls: self.calls.len(),
            ending: self.ending.len(),
            timers,
            addresses,
            queued: self.transmissions.len() + self.commands.len() + self.peer_changes.len(),
        })
    }

    /// One tunnel against its calls and its timer; how many timers it has.
    fn audit_tunnel(&self, id: TunnelId, entry: &TunnelEntry) -> Result<usize, String> {
        let tunnel = &entry.tunnel;
        hold!(tunnel.local_tunnel_id() == id, "tunnel {id} calls itself otherwise");
        hold!(!tunnel.is_finished(), "tunnel {id} is finished and still there");
        hold!(
            tunnel.session_count() == entry.calls.len(),
            "tunnel {id} has {} sessions and {} calls",
            tunnel.session_count(),
            entry.calls.len()
        );
        for (session, index) in &entry.calls {
            let call = self.calls.get(*index).filter(|c| (c.tunnel, c.session) == (id, *session));
            hold!(call.is_some(), "tunnel {id}: no call behind session {session}");
            hold!(tunnel.session(*session).is_some(), "tunnel {id} knows no session {session}");
        }
        let is_open = matches!(tunnel.state(), State::Established | State::Closing);
        hold!(entry.established == is_open, "tunnel {id} is {:?}", tunnel.state());
        let wanted = tunnel.poll_timeout().is_some();
        let is_set = self.timers.is_set(TimerKey::Tunnel(id).token());
        // Without HELLO there may be nothing to wait for.
        hold!(wanted == is_set, "tunnel {id}: timer wanted {wanted}, set {is_set}");
        Ok(usize::from(is_set))
    }

    /// Clients against their tunnels, calls and timers; how many timers there are.
    fn audit_clients(&self) -> Result<usize, String> {
        hold!(self.client_events.is_empty(), "{} events of clients", self.client_events.len());
        let mut timers = 0;
        for (index, client) in self.clients.iter().enumerate() {
            let wanted = client.poll_timeout().is_some();
            let is_set = self.timers.is_set(TimerKey::Client(index).token());
            hold!(wanted == is_set, "client {index}: timer wanted {wanted}, set {is_set}");
            timers += usize::from(is_set);
            client.audit(self).map_err(|text| format!("client {index}: {text}"))?;
        }
        Ok(timers)
    }

    /// What is counted and found by peer.
    fn audit_peers(&self) -> Result<(), String> {
        let is_half_open = |entry: &&TunnelEntry| !entry.established && entry.client.is_none();
        let half_open = self.tunnels.values().filter(is_half_open).count();
        hold!(
            self.half_open.len() == half_open,
            "{half_open} tunnels half open, {} counted",
            self.half_open.len()
        );
        let mut of_peers: HashMap<IpAddr, u32> = HashMap::new();
        for (id, entry) in &self.tunnels {
            *of_peers.entry(entry.peer.ip()).or_default() += 1;
            if entry.client.is_some() {
                continue;
            }
            let key = (entry.peer, entry.tunnel.peer_tunnel_id(), entry.sccrq_hash, *id);
            hold!(self.tunnels_by_peer.contains(&key), "tunnel {id} is not found by its SCCRQ");
        }
        hold!(of_peers == self.tunnels_per_address, "tunnels of a peer are counted wrong");
        let found = self.tunnels_by_peer.len();
        let of_peers = self.tunnels.values().filter(|entry| entry.client.is_none()).count();
        hold!(found == of_peers, "{found} tunnels are found by their SCCRQ");
        Ok(())
    }

    /// What profiles share out.
    fn audit_profiles(&self) -> Result<(), String> {
        for (index, profile) in self.profiles.iter().enumerate() {
            let its = |entry: &&TunnelEntry| entry.profile == Some(index);
            let tunnels = self.tunnels.values().filter(its);
            let sessions: usize = tunnels.clone().map(|entry| entry.calls.len()).sum();
            let open = tunnels.filter(|entry| entry.tunnel.state() != State::Closing).count();
            let counted = (profile.tunnels as usize, profile.sessions as usize);
            hold!(
                counted == (open, sessions),
                "profile {index}: {counted:?} counted, {open} open tunnels with {sessions} sessions"
            );
        }
        Ok(())
    }

    /// One call against its tunnel and its timer; how many timers it has.
    fn audit_call(&self, index: usize, call: &Call) -> Result<usize, String> {
        let (id, session) = (call.tunnel, call.session);
        let known = self.tunnels.get(&id).and_then(|entry| entry.calls.get(&session));
        hold!(known == Some(&index), "no tunnel knows call {id}/{session}");
        let forwards = call.forwarding != Forwarding::Absent;
        hold!(!forwards || call.link().is_some(), "call {id}/{session} forwards without a link");
        let packets = call.forwarding == Forwarding::Packets;
        let has_address = call.lease.is_some() || call.client.is_some();
        hold!(!packets || has_address, "call {id}/{session} forwards without an address");
        let up = |is_up: fn(&Link) -> bool| call.link().is_some_and(is_up);
        let (ipv4, ipv6) = (up(Link::is_ipv4_up), up(Link::is_ipv6_up));
        let known = match call.client.and_then(|index| self.clients.get(index)) {
            Some(client) => client.protocols_up(),
            None => (call.ipv4_up, call.router.is_some()),
        };
        hold!(
            known == (ipv4, ipv6),
            "call {id}/{session} differs from its link: IPv4 {ipv4}, IPv6 {ipv6}"
        );
        hold!(packets == (ipv4 || ipv6), "call {id}/{session} forwards {packets}");
        let wanted = call.poll_timeout().is_some();
        let is_set = self.timers.is_set(TimerKey::Call(index).token());
        hold!(wanted == is_set, "call {id}/{session}: timer wanted {wanted}, set {is_set}");
        Ok(usize::from(is_set))
    }

    /// Calls of users with a limit are there, and their own.
    fn audit_sessions(&self) -> Result<(), String> {
        for (user, index) in self.sessions.entries() {
            let of = self.calls.get(index).map(|call| call.user.as_deref());
            hold!(of == Some(Some(user)), "call {index} is kept for {user}, and is of {of:?}");
        }
        Ok(())
    }

    /// Every address that is not free has one owner, and only one; how many there are.
    fn audit_addresses(&self) -> Result<usize, String> {
        let calls = self.calls.iter().filter_map(|(_, call)| call.lease.as_ref());
        let leases = calls.chain(self.ending.values().filter_map(|ending| ending.lease.as_ref()));
        let mut seen: BTreeSet<IpNet> = BTreeSet::new();
        for prefix in leases.flat_map(Lease::all) {
            hold!(seen.insert(prefix), "{prefix} has two owners");
        }
        let in_use = self.addresses.in_use();
        hold!(in_use == seen.len(), "{in_use} addresses are in use, {} have an owner", seen.len());
        Ok(seen.len())
    }
}
