//! Requests for a tunnel that cross: a server asks us for one while it has not answered ours.

use std::net::IpAddr;

use super::super::{Lns, LnsCounter};
use crate::l2tp::TunnelId;
use crate::l2tp::tunnel::{TIE_BREAKER_BYTES, Tie};
use crate::time::Time;

impl Lns {
    /// A peer at this address, which may open tunnels, asks for one, with that Tie Breaker. Returns
    /// whether it is to get it: not where we have asked it for one and do not lose (RFC 2661 section
    /// 4.4.3). Where we do, our request is forgotten, and its client dials again after a while.
    pub(in super::super) fn settle_crossing(
        &mut self,
        now: Time,
        peer: IpAddr,
        tie_breaker: Option<[u8; TIE_BREAKER_BYTES]>,
    ) -> bool {
        let mut stays = true;
        for id in self.dialled_without_answer_to(peer) {
            let Some(entry) = self.tunnels.get_mut(&id) else { continue };
            let tie = entry.tunnel.handle_crossing(now, tie_breaker);
            stays &= matches!(tie, Tie::PeersWins | Tie::BothStay);
            if tie != Tie::BothStay {
                self.counters.add(LnsCounter::SetupCrossed);
                tracing::info!(tunnel = id.0, %peer, ?tie, "requests for tunnels crossed");
            }
            self.drive_tunnel(now, id);
        }
        stays
    }

    /// The dialled tunnels without an answer yet to servers at this address.
    fn dialled_without_answer_to(&self, peer: IpAddr) -> Vec<TunnelId> {
        let dialled = self.clients.iter().filter_map(|client| client.tunnel);
        let waits = |id: &TunnelId| {
            self.tunnels
                .get(id)
                .is_some_and(|entry| entry.tunnel.awaits_reply() && entry.peer.ip() == peer)
        };
        dialled.filter(waits).collect()
    }

    /// The only one of these, if it is: what a StopCCN without a Tunnel ID is about (docs/peers.md
    /// row 38).
    pub(in super::super) fn dialled_without_answer(&self, peer: IpAddr) -> Option<TunnelId> {
        match self.dialled_without_answer_to(peer).as_slice() {
            [only] => Some(*only),
            _ => None,
        }
    }
}
