//! Ports: those of ours that tunnels are spread over, and that of a peer where it changes.
//!
//! RFC 2661 section 8.1 keeps a tunnel's ports as the set-up found them. Translators forget, and
//! some peers move on purpose (docs/peers.md rows 10 and 14). A peer is followed, where its profile
//! says so, by a control message alone: who sends one has our unpredictable Tunnel ID, both sequence
//! numbers, and the peer's address. Data from a new port only makes us ask there.

use std::net::SocketAddr;
use std::time::Duration;

use xlns_dataplane::api::Command;

use super::{Lns, LnsCounter};
use crate::call::{Call, Forwarding};
use crate::l2tp::TunnelId;
use crate::l2tp::header::Header;
use crate::time::Time;

/// Between two changes of a tunnel's port, and between two questions at ports not known: each names
/// all of the tunnel's sessions to the data plane anew, or sends a datagram to somebody who may not
/// want it.
const PORT_CHANGE_INTERVAL: Duration = Duration::from_secs(5);

/// Where a tunnel's peer was lately.
#[derive(Debug, Clone, Copy, Default)]
pub struct PortWatch {
    /// When the tunnel was last moved to another port.
    moved: Option<Time>,
    /// A port that data came from; asked until this moment.
    asked: Option<(SocketAddr, Time)>,
}

impl PortWatch {
    /// Where control messages are to be sent besides to the known port.
    pub fn asked(&self, now: Time) -> Option<SocketAddr> {
        self.asked.filter(|(_, until)| now < *until).map(|(peer, _)| peer)
    }
}

impl Lns {
    /// Our address and port for a new tunnel that was asked for at `local`.
    pub(super) fn local_of(
        &self,
        local: SocketAddr,
        id: TunnelId,
        profile: Option<usize>,
    ) -> SocketAddr {
        let ports = self.profile(profile).map_or(1, |profile| profile.config.source_ports).max(1);
        if ports == 1 {
            // Also the one of others: the peer has chosen it.
            return local;
        }
        // The ID is random, so tunnels are spread evenly.
        SocketAddr::new(local.ip(), self.config.lns.port.saturating_add(id.0 % ports))
    }

    /// A control message for this tunnel came from another port than the peer's. Returns whether it
    /// is the peer's: the tunnel has moved with it then.
    pub(super) fn follow(
        &mut self,
        now: Time,
        id: TunnelId,
        peer: SocketAddr,
        header: &Header,
    ) -> bool {
        let Some(entry) = self.tunnels.get(&id) else { return false };
        let recently = |at: Time| now.since(at) < PORT_CHANGE_INTERVAL;
        let follows = entry.policy.follow_port
            && entry.peer.ip() == peer.ip()
            && entry.established
            && entry.tunnel.is_next(header)
            && !entry.ports.moved.is_some_and(recently);
        if follows {
            self.move_to(now, id, peer);
        }
        follows
    }

    fn move_to(&mut self, now: Time, id: TunnelId, peer: SocketAddr) {
        let Some(entry) = self.tunnels.get_mut(&id) else { return };
        let before = std::mem::replace(&mut entry.peer, peer);
        entry.ports = PortWatch { moved: Some(now), asked: None };
        let (peer_id, hash) = (entry.tunnel.peer_tunnel_id(), entry.sccrq_hash);
        let calls: Vec<usize> = entry.calls.values().copied().collect();
        self.tunnels_by_peer.remove(&(before, peer_id, hash, id));
        self.tunnels_by_peer.insert((peer, peer_id, hash, id));
        self.counters.add(LnsCounter::PortFollowed);
        tracing::debug!(tunnel = id.0, %before, %peer, "the peer has another port");
        let forwards = |call: &&Call| call.forwarding != Forwarding::Absent;
        for index in calls {
            let call = self.calls.get(index).filter(forwards);
            if let Some(session) = call.and_then(|call| self.entry(call)) {
                self.push_command(Command::SessionSet(Box::new(session)));
            }
        }
    }

    /// PPP for a session of this tunnel came from another port than the peer's: whether it is there
    /// is asked, by a HELLO that goes to both.
    pub(super) fn ask_at(&mut self, now: Time, id: TunnelId, peer: SocketAddr) {
        let Some(entry) = self.tunnels.get(&id) else { return };
        let follows = entry.policy.follow_port
            && entry.peer.ip() == peer.ip()
            && entry.established
            && entry.ports.asked.is_none_or(|(_, until)| until <= now);
        if !follows {
            return;
        }
        if let Some(entry) = self.tunnels.get_mut(&id) {
            entry.ports.asked = Some((peer, now + PORT_CHANGE_INTERVAL));
            entry.tunnel.probe(now);
        }
        self.drive_tunnel(now, id);
    }
}
