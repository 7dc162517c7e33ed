//! Tunnels: which control message belongs to which, and what their machines say.

use std::net::SocketAddr;

use super::{Lns, LnsCounter, PeerChange, REFUSALS_LOGGED_PER_SECOND, TimerKey};
use crate::l2tp::TunnelId;
use crate::l2tp::header::Header;
use crate::l2tp::message::{Message, Unassigned};
use crate::l2tp::result::TunnelResult;
use crate::l2tp::transport;
use crate::l2tp::tunnel::{self, State};
use crate::time::Time;
use crate::udp::Transmit;

impl Lns {
    /// Takes one control message.
    pub(super) fn handle_control(
        &mut self,
        now: Time,
        local: SocketAddr,
        peer: SocketAddr,
        header: &Header,
        datagram: &[u8],
    ) {
        if header.tunnel_id == TunnelId::UNASSIGNED {
            return self.handle_without_tunnel(now, local, peer, header, datagram);
        }
        let Some(entry) = self.tunnels.get(&header.tunnel_id) else {
            return self.handle_no_such_tunnel(now, (local, peer), header, datagram);
        };
        if self.is_first_answer(header.tunnel_id, peer) {
            return self.handle_first_answer(
                now,
                header.tunnel_id,
                (local, peer),
                header,
                datagram,
            );
        }
        if entry.peer != peer && !self.follow(now, header.tunnel_id, peer, header) {
            return self.counters.add(LnsCounter::ControlOuterAddress);
        }
        self.handle_in_tunnel(now, header.tunnel_id, header, datagram);
    }

    /// A message with Tunnel ID 0: the peer does not know ours yet (RFC 2661 section 3.1).
    fn handle_without_tunnel(
        &mut self,
        now: Time,
        local: SocketAddr,
        peer: SocketAddr,
        header: &Header,
        datagram: &[u8],
    ) {
        let read = self.read_unassigned((local.ip(), peer.ip()), header, datagram);
        if !matches!(read, Ok(Unassigned::Sccrq(_)) | Err(_))
            && let Some(id) = self.tunnel_without_id(peer)
        {
            return self.handle_in_tunnel(now, id, header, datagram);
        }
        match read {
            Ok(Unassigned::Sccrq(sccrq)) => {
                self.handle_sccrq(now, (local, peer), header, datagram, &sccrq);
            }
            // Whoever is established knows our Tunnel ID; without it anybody could say so.
            Ok(Unassigned::StopCcn(stop)) => {
                let id = stop.assigned_tunnel_id.and_then(|id| self.half_open_tunnel(peer, id, id));
                let id = id.or_else(|| self.dialled_without_answer(peer.ip()));
                let Some((id, entry)) = id.and_then(|id| Some((id, self.tunnels.get_mut(&id)?)))
                else {
                    return self.counters.add(LnsCounter::ControlWithoutTunnel);
                };
                entry.tunnel.handle_stop_ccn(now, header, header.payload(datagram), &stop);
                self.drive_tunnel(now, id);
            }
            Ok(Unassigned::Hello) => {
                match self.half_open_tunnel(peer, TunnelId(0), TunnelId(u16::MAX)) {
                    Some(id) => self.handle_in_tunnel(now, id, header, datagram),
                    None => self.counters.add(LnsCounter::ControlWithoutTunnel),
                }
            }
            Ok(Unassigned::Zlb | Unassigned::Other) => {
                self.counters.add(LnsCounter::ControlWithoutTunnel);
            }
            Err(reject) => {
                self.counters.add(LnsCounter::SetupMalformed);
                if !self.limiter.admit(now, peer.ip(), self.peers.is_known(peer.ip())) {
                    return self.counters.add(LnsCounter::SetupRateLimited);
                }
                // Whose it would have been is not known.
                if self.refusal_log.take(now, REFUSALS_LOGGED_PER_SECOND) {
                    let reason = &reject.result.message;
                    tracing::info!(%peer, reason, "malformed SCCRQ refused");
                }
                self.refuse(local, peer, header, reject.assigned_tunnel_id, reject.result);
            }
        }
    }

    pub(super) fn handle_in_tunnel(
        &mut self,
        now: Time,
        id: TunnelId,
        header: &Header,
        datagram: &[u8],
    ) {
        let Some(entry) = self.tunnels.get_mut(&id) else { return };
        entry.tunnel.handle(now, header, header.payload(datagram));
        self.drive_tunnel(now, id);
    }

    /// The tunnel of a peer that leaves our Tunnel ID out after the set-up as well (docs/peers.md
    /// row 26), where there is just one.
    fn tunnel_without_id(&self, peer: SocketAddr) -> Option<TunnelId> {
        let all = (peer, TunnelId(0), 0, TunnelId(0))
            ..=(peer, TunnelId(u16::MAX), u64::MAX, TunnelId(u16::MAX));
        let mut open = self.tunnels_by_peer.range(all).map(|(.., id)| *id).filter(|id| {
            self.tunnels.get(id).is_some_and(|entry| entry.tunnel.state() == State::Established)
        });
        let only = open.next().filter(|_| open.next().is_none())?;
        self.tunnels.get(&only).filter(|entry| entry.tunnel.takes_tunnel_id_zero()).map(|_| only)
    }

    /// The tunnel that is being set up with a peer whose own Tunnel ID lies between `first` and
    /// `last`, where there is just one.
    fn half_open_tunnel(
        &self,
        peer: SocketAddr,
        first: TunnelId,
        last: TunnelId,
    ) -> Option<TunnelId> {
        let of_peer = (peer, first, 0, TunnelId(0))..=(peer, last, u64::MAX, TunnelId(u16::MAX));
        let is_half_open =
            |id: &TunnelId| self.tunnels.get(id).is_some_and(|entry| !entry.established);
        let mut half_open =
            self.tunnels_by_peer.range(of_peer).map(|(.., id)| *id).filter(is_half_open);
        half_open.next().filter(|_| half_open.next().is_none())
    }

    /// A message for a tunnel that is not there. A StopCCN that is repeated because our
    /// acknowledgement was lost is acknowledged again, without any state.
    fn handle_no_such_tunnel(
        &mut self,
        now: Time,
        (local, peer): (SocketAddr, SocketAddr),
        header: &Header,
        datagram: &[u8],
    ) {
        self.counters.add(LnsCounter::ControlNoSuchTunnel);
        let Ok(Message::StopCcn(stop)) = Message::decode(header.payload(datagram), None) else {
            return;
        };
        let Some(peer_tunnel_id) = stop.assigned_tunnel_id else { return };
        if self.limiter.admit(now, peer.ip(), self.peers.is_known(peer.ip())) {
            let mut payload = Vec::new();
            transport::acknowledge_unknown(&mut payload, header, peer_tunnel_id);
            self.transmissions.push_back(Transmit { local, peer, payload });
        }
    }

    /// Takes what a tunnel's machine has to say, until it has no more.
    pub(super) fn drive_tunnel(&mut self, now: Time, id: TunnelId) {
        while let Some(event) = self.tunnels.get_mut(&id).and_then(|e| e.tunnel.poll_event()) {
            self.handle_tunnel_event(now, id, event);
        }
        self.transmit_control(now, id);
        let Some(entry) = self.tunnels.get(&id) else { return };
        if entry.tunnel.is_finished() {
            return self.remove_tunnel(now, id, "the tunnel is over");
        }
        self.reschedule_tunnel(id);
    }

    fn handle_tunnel_event(&mut self, now: Time, id: TunnelId, event: tunnel::Event) {
        match event {
            tunnel::Event::Established { peer_host_name, peer_vendor } => {
                self.replace_older(now, id);
                self.mark_opened(id);
                self.note_tunnel_up(id);
                if let Some(peer) = self.tunnels.get(&id).map(|entry| entry.peer.ip()) {
                    self.learn_peer(peer);
                    if self.peers_used.insert(peer) {
                        self.peer_changes.push_back(PeerChange::Used(peer));
                    }
                }
                self.counters.add(LnsCounter::TunnelsOpened);
                let profile = self.tunnels.get(&id).and_then(|entry| entry.profile);
                if let Some(profile) = self.profile_mut(profile) {
                    profile.tunnels_opened += 1;
                }
                if let Some(entry) = self.tunnels.get(&id) {
                    tracing::info!(
                        tunnel = id.0,
                        peer = %entry.peer,
                        host_name = %peer_host_name,
                        vendor = peer_vendor.as_deref().unwrap_or(""),
                        "tunnel established"
                    );
                }
            }
            tunnel::Event::IncomingCall { session, icrq } => {
                self.handle_incoming_call(now, id, session, &icrq);
            }
            tunnel::Event::OutgoingCall { session, .. } => {
                self.handle_outgoing_call(now, id, session);
            }
            tunnel::Event::LinkInfo { session, sli } => self.handle_link_info(id, session, sli),
            tunnel::Event::WanErrors { session, errors } => {
                self.handle_wan_errors(id, session, errors);
            }
            tunnel::Event::CallConnected { session, iccn } => {
                self.handle_call_connected(now, id, session, &iccn);
            }
            tunnel::Event::CallEnded { session, cause } => {
                self.end_call(now, id, session, &cause.to_string());
            }
            tunnel::Event::Closed { cause } => {
                let was_up = self.tunnels.get(&id).is_some_and(|entry| entry.established);
                self.mark_closed(id);
                self.note_tunnel_over(id, &cause.to_string());
                if was_up {
                    tracing::info!(tunnel = id.0, %cause, "tunnel closed");
                } else {
                    // Whoever forges addresses could fill a disk.
                    tracing::debug!(tunnel = id.0, %cause, "tunnel given up while it was set up");
                }
            }
        }
    }

    /// A peer has shown, by answering to our unpredictable Tunnel ID, that it is there and uses its
    /// own Tunnel ID for this tunnel: what else goes by that ID is left over from before it started
    /// anew.
    fn replace_older(&mut self, now: Time, id: TunnelId) {
        let Some(entry) = self.tunnels.get(&id).filter(|entry| entry.client.is_none()) else {
            return;
        };
        let (peer, peer_tunnel_id) = (entry.peer, entry.tunnel.peer_tunnel_id());
        let same = (peer, peer_tunnel_id, 0, TunnelId(0))
            ..=(peer, peer_tunnel_id, u64::MAX, TunnelId(u16::MAX));
        let older: Vec<TunnelId> = self
            .tunnels_by_peer
            .range(same)
            .map(|(.., older)| *older)
            .filter(|older| {
                *older != id && self.tunnels.get(older).is_some_and(|older| older.established)
            })
            .collect();
        for older in older {
            self.counters.add(LnsCounter::SetupReplaced);
            tracing::info!(tunnel = older.0, by = id.0, %peer, "tunnel replaced: its peer started anew");
            self.remove_tunnel(now, older, "replaced by a new tunnel of the same peer");
        }
    }

    /// The tunnel is not half open any more: it is established, or closed before that.
    fn mark_opened(&mut self, id: TunnelId) {
        if let Some(entry) = self.tunnels.get_mut(&id)
            && !entry.established
        {
            entry.established = true;
            // What we dial is not what forged addresses can hold.
            if entry.client.is_none() {
                let started = entry.started;
                self.half_open.remove(started, id);
            }
        }
    }

    fn mark_closed(&mut self, id: TunnelId) {
        self.mark_opened(id);
        let profile = self.tunnels.get(&id).and_then(|entry| entry.profile);
        if let Some(profile) = self.profile_mut(profile) {
            profile.tunnels -= 1;
        }
        self.counters.add(LnsCounter::TunnelsClosed);
    }

    /// Forgets a tunnel. Its calls, if any are left, end with it.
    pub(super) fn remove_tunnel(&mut self, now: Time, id: TunnelId, why: &str) {
        let Some(entry) = self.tunnels.get(&id) else { return };
        let sessions: Vec<_> = entry.calls.keys().copied().collect();
        for session in sessions {
            self.end_call(now, id, session, why);
        }
        if !self.is_closed(id) {
            self.mark_closed(id);
            self.note_tunnel_over(id, why);
        }
        self.timers.cancel(TimerKey::Tunnel(id).token());
        let Some(entry) = self.tunnels.remove(&id) else { return };
        let key = (entry.peer, entry.tunnel.peer_tunnel_id(), entry.sccrq_hash, id);
        self.tunnels_by_peer.remove(&key);
        let address = entry.peer.ip();
        if let Some(of_peer) = self.tunnels_per_address.get_mut(&address) {
            *of_peer -= 1;
            if *of_peer == 0 {
                self.tunnels_per_address.remove(&address);
                if self.peers_used.remove(&address) {
                    self.peer_changes.push_back(PeerChange::Unused(address));
                }
            }
        }
    }

    /// Closes every tunnel, so that peers dial again at once, and opens no more.
    pub fn shut_down(&mut self, now: Time) {
        self.shutting_down = true;
        self.shut_down_clients(now);
        for id in self.tunnels.keys().copied().collect::<Vec<_>>() {
            self.close_tunnel(now, id, "shutting down");
        }
    }

    /// Closes a tunnel with StopCCN, on an operator's request or at the end. Returns whether there
    /// was one.
    pub(super) fn close_tunnel(&mut self, now: Time, id: TunnelId, text: &str) -> bool {
        let Some(entry) = self.tunnels.get_mut(&id) else { return false };
        entry.tunnel.close(now, TunnelResult::ShuttingDown, None, text);
        self.drive_tunnel(now, id);
        true
    }
}
