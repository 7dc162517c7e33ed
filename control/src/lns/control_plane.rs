//! Tunnels: which control message belongs to which, who may open one, and what their machines say.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rand::RngCore;
use xlns_dataplane::api::SessionKey;

use super::{Lns, LnsCounter, PeerChange, TimerKey, TunnelEntry};
use crate::config::{Config, LacConfig};
use crate::l2tp::TunnelId;
use crate::l2tp::header::Header;
use crate::l2tp::message::{self, Message, Sccrq, Unassigned};
use crate::l2tp::result::{ErrorCode, ResultCode, TunnelResult, printable};
use crate::l2tp::secret::SecretBytes;
use crate::l2tp::transport;
use crate::l2tp::tunnel::{self, Tunnel};
use crate::time::Time;
use crate::udp::Transmit;

/// Attempts to find a Tunnel ID that is not in use; with at most half of the IDs taken all of them
/// fail once in a trillion times, and the SCCRQ is refused then.
const TUNNEL_ID_TRIES: usize = 40;

/// Refused SCCRQs that are logged: enough to find a misconfigured LAC, too few to fill a disk.
const REFUSALS_LOGGED_PER_SECOND: u32 = 5;

/// Tunnels that 16-bit identifiers leave room for while [`TUNNEL_ID_TRIES`] finds a free one.
pub const TUNNELS_MAX: u32 = 32_768;

/// A tunnel for each LAC profile, and one for peers where no profile is configured.
pub fn tunnel_configs(config: &Config) -> Vec<Arc<tunnel::Config>> {
    let build = |lac: Option<&LacConfig>| {
        let secret = lac
            .and_then(|lac| lac.secret.as_ref())
            .map(|secret| SecretBytes::from(secret.expose().as_bytes()));
        let l2tp = &config.l2tp;
        Arc::new(tunnel::Config {
            host_name: config.lns.host_name.clone(),
            vendor_name: "xlns".into(),
            challenge: secret.is_some(),
            secret,
            receive_window: l2tp.receive_window,
            retransmit_initial: Duration::from_millis(l2tp.retransmit_initial_ms),
            retransmit_max: Duration::from_millis(l2tp.retransmit_max_ms),
            retransmit_tries: l2tp.retransmit_tries,
            hello_interval: Duration::from_secs(l2tp.hello_interval_seconds),
            sessions_max: l2tp.sessions_per_tunnel_max,
        })
    };
    if config.lac.is_empty() {
        vec![build(None)]
    } else {
        config.lac.iter().map(|lac| build(Some(lac))).collect()
    }
}

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
        if entry.peer != peer {
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
        let secret = self.secret_of(peer.ip());
        match message::decode_unassigned(header, datagram, secret) {
            Ok(Unassigned::Sccrq(sccrq)) => {
                self.handle_sccrq(now, (local, peer), header, datagram, &sccrq);
            }
            // Whoever is established knows our Tunnel ID; without it anybody could say so.
            Ok(Unassigned::StopCcn(stop)) => {
                let id = stop.assigned_tunnel_id.and_then(|id| self.half_open_tunnel(peer, id, id));
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
                if !self.limiter.admit(now, peer.ip()) {
                    return self.counters.add(LnsCounter::SetupRateLimited);
                }
                if self.refusal_log.take(now, REFUSALS_LOGGED_PER_SECOND) {
                    let reason = &reject.result.message;
                    tracing::info!(%peer, reason, "malformed SCCRQ refused");
                }
                self.refuse(local, peer, header, reject.assigned_tunnel_id, reject.result);
            }
        }
    }

    fn handle_in_tunnel(&mut self, now: Time, id: TunnelId, header: &Header, datagram: &[u8]) {
        let Some(entry) = self.tunnels.get_mut(&id) else { return };
        entry.tunnel.handle(now, header, header.payload(datagram));
        self.drive_tunnel(now, id);
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
        if self.limiter.admit(now, peer.ip()) {
            let mut payload = Vec::new();
            transport::acknowledge_unknown(&mut payload, header, peer_tunnel_id);
            self.transmissions.push_back(Transmit { local, peer, payload });
        }
    }

    /// The secret for hidden AVPs of a peer whose host name is not known yet: that of the first
    /// profile for its address.
    fn secret_of(&self, peer: IpAddr) -> Option<&[u8]> {
        let profile = self.config.lac.iter().find(|lac| covers(lac, peer))?;
        profile.secret.as_ref().map(|secret| secret.expose().as_bytes())
    }

    fn handle_sccrq(
        &mut self,
        now: Time,
        (local, peer): (SocketAddr, SocketAddr),
        header: &Header,
        datagram: &[u8],
        sccrq: &Sccrq,
    ) {
        let hash = self.hasher.hash_one(header.payload(datagram));
        let key = |id| (peer, sccrq.assigned_tunnel_id, hash, TunnelId(id));
        let mut same = self.tunnels_by_peer.range(key(0)..=key(u16::MAX)).map(|(.., id)| *id);
        if let Some(id) = same.find(|id| !self.is_long_established(now, *id)) {
            self.counters.add(LnsCounter::SetupDuplicate);
            return self.handle_in_tunnel(now, id, header, datagram);
        }
        if !self.limiter.admit(now, peer.ip()) {
            return self.counters.add(LnsCounter::SetupRateLimited);
        }
        let opened = self.admit(peer.ip(), sccrq).and_then(|(id, profile)| {
            self.open_tunnel(now, (local, peer), id, profile, sccrq, hash)
        });
        if let Err(result) = opened {
            if self.refusal_log.take(now, REFUSALS_LOGGED_PER_SECOND) {
                let host_name = printable(&sccrq.host_name);
                tracing::info!(%peer, host_name, reason = result.message, "tunnel refused");
            }
            self.counters.add(LnsCounter::SetupRefused);
            self.refuse(local, peer, header, Some(sccrq.assigned_tunnel_id), result);
        }
    }

    /// Answers an SCCRQ with StopCCN, without keeping anything of it.
    fn refuse(
        &mut self,
        local: SocketAddr,
        peer: SocketAddr,
        header: &Header,
        peer_tunnel_id: Option<TunnelId>,
        result: ResultCode,
    ) {
        let local_tunnel_id = self.free_tunnel_id().unwrap_or_default();
        let payload = Tunnel::refuse(header, peer_tunnel_id, local_tunnel_id, result);
        self.transmissions.push_back(Transmit { local, peer, payload });
    }

    /// Whether an SCCRQ that opened this tunnel can be no retransmission any more: peers that always
    /// use the same Tunnel ID and send no challenge repeat theirs octet for octet when they start
    /// anew.
    fn is_long_established(&self, now: Time, id: TunnelId) -> bool {
        self.tunnels.get(&id).is_some_and(|entry| {
            entry.established && now.since(entry.started) > retransmission_cycle(&self.config)
        })
    }

    /// Whether this peer may open a tunnel: its new Tunnel ID and its profile.
    fn admit(
        &mut self,
        peer: IpAddr,
        sccrq: &Sccrq,
    ) -> Result<(TunnelId, Option<usize>), ResultCode> {
        let l2tp = &self.config.l2tp;
        let Some(profile) = self.profile_of(peer, &sccrq.host_name) else {
            let text = "no LAC profile matches this address and host name";
            return Err(ResultCode::tunnel(TunnelResult::NotAuthorized, None, text));
        };
        let of_peer = self.tunnels_per_address.get(&peer).copied().unwrap_or(0);
        let text = if self.tunnels.len() >= l2tp.tunnels_max.min(TUNNELS_MAX) as usize {
            "no more tunnels"
        } else if of_peer >= l2tp.tunnels_per_peer_max {
            "no more tunnels for this peer"
        } else if self.tunnels_half_open >= l2tp.tunnels_half_open_max {
            "too many tunnels are being set up"
        } else if let Some(id) = self.free_tunnel_id() {
            return Ok((id, profile));
        } else {
            "no tunnel ID is free"
        };
        Err(ResultCode::tunnel(TunnelResult::Error, Some(ErrorCode::TryAnother), text))
    }

    /// The first profile that matches; `Some(None)` where none is configured, `None` where none
    /// matches.
    fn profile_of(&self, peer: IpAddr, host_name: &[u8]) -> Option<Option<usize>> {
        if self.config.lac.is_empty() {
            return Some(None);
        }
        let matches = |lac: &LacConfig| {
            let named = |name: &String| name.as_bytes() == host_name;
            covers(lac, peer) && (lac.host_names.is_empty() || lac.host_names.iter().any(named))
        };
        self.config.lac.iter().position(matches).map(Some)
    }

    /// An ID that no tunnel has, nor a session whose last packets are still being counted.
    fn free_tunnel_id(&mut self) -> Option<TunnelId> {
        let key =
            |id: TunnelId, local_session_id| SessionKey { local_tunnel_id: id.0, local_session_id };
        (0..TUNNEL_ID_TRIES).map(|_| TunnelId(self.rng.next_u32() as u16)).find(|id| {
            id.0 != 0
                && !self.tunnels.contains_key(id)
                && self.ending.range(key(*id, 0)..=key(*id, u16::MAX)).next().is_none()
        })
    }

    fn open_tunnel(
        &mut self,
        now: Time,
        (local, peer): (SocketAddr, SocketAddr),
        id: TunnelId,
        profile: Option<usize>,
        sccrq: &Sccrq,
        sccrq_hash: u64,
    ) -> Result<(), ResultCode> {
        let Some(config) = self.tunnel_configs.get(profile.unwrap_or(0)) else { return Ok(()) };
        let tunnel = Tunnel::accept(now, id, sccrq, Arc::clone(config), &mut self.rng)?;
        self.tunnels_by_peer.insert((peer, sccrq.assigned_tunnel_id, sccrq_hash, id));
        let entry = TunnelEntry {
            tunnel,
            local,
            peer,
            profile,
            sccrq_hash,
            started: now,
            established: false,
            calls: BTreeMap::new(),
        };
        self.tunnels.insert(id, entry);
        self.tunnels_half_open += 1;
        let of_peer = self.tunnels_per_address.entry(peer.ip()).or_insert(0);
        *of_peer += 1;
        if *of_peer == 1 {
            self.peer_changes.push_back(PeerChange::Used(peer.ip()));
        }
        self.drive_tunnel(now, id);
        Ok(())
    }

    /// Takes what a tunnel's machine has to say, until it has no more.
    pub(super) fn drive_tunnel(&mut self, now: Time, id: TunnelId) {
        while let Some(event) = self.tunnels.get_mut(&id).and_then(|e| e.tunnel.poll_event()) {
            self.handle_tunnel_event(now, id, event);
        }
        let Some(entry) = self.tunnels.get_mut(&id) else { return };
        let (local, peer) = (entry.local, entry.peer);
        while let Some(payload) = entry.tunnel.poll_transmit() {
            self.transmissions.push_back(Transmit { local, peer, payload });
        }
        if entry.tunnel.is_finished() {
            return self.remove_tunnel(now, id, "the tunnel is over");
        }
        let at = entry.tunnel.poll_timeout();
        self.reschedule(TimerKey::Tunnel(id), at);
    }

    fn handle_tunnel_event(&mut self, now: Time, id: TunnelId, event: tunnel::Event) {
        match event {
            tunnel::Event::Established { peer_host_name, peer_vendor } => {
                self.replace_older(now, id);
                self.mark_opened(id);
                self.counters.add(LnsCounter::TunnelsOpened);
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
            tunnel::Event::CallConnected { session, .. } => {
                self.handle_call_connected(now, id, session);
            }
            tunnel::Event::CallEnded { session, cause } => {
                self.end_call(now, id, session, &cause.to_string());
            }
            tunnel::Event::Closed { cause } => {
                self.mark_closed(id);
                tracing::info!(tunnel = id.0, %cause, "tunnel closed");
            }
        }
    }

    /// A peer has shown, by answering to our unpredictable Tunnel ID, that it is there and uses its
    /// own Tunnel ID for this tunnel: what else goes by that ID is left over from before it started
    /// anew.
    fn replace_older(&mut self, now: Time, id: TunnelId) {
        let Some(entry) = self.tunnels.get(&id) else { return };
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
            self.tunnels_half_open -= 1;
        }
    }

    fn mark_closed(&mut self, id: TunnelId) {
        self.mark_opened(id);
        self.counters.add(LnsCounter::TunnelsClosed);
    }

    /// Forgets a tunnel. Its calls, if any are left, end with it.
    fn remove_tunnel(&mut self, now: Time, id: TunnelId, why: &str) {
        let Some(entry) = self.tunnels.get(&id) else { return };
        let sessions: Vec<_> = entry.calls.keys().copied().collect();
        for session in sessions {
            self.end_call(now, id, session, why);
        }
        self.mark_opened(id);
        self.timers.cancel(TimerKey::Tunnel(id).token());
        let Some(entry) = self.tunnels.remove(&id) else { return };
        let key = (entry.peer, entry.tunnel.peer_tunnel_id(), entry.sccrq_hash, id);
        self.tunnels_by_peer.remove(&key);
        let address = entry.peer.ip();
        if let Some(of_peer) = self.tunnels_per_address.get_mut(&address) {
            *of_peer -= 1;
            if *of_peer == 0 {
                self.tunnels_per_address.remove(&address);
                self.peer_changes.push_back(PeerChange::Unused(address));
            }
        }
    }

    /// Closes a tunnel with StopCCN, on an operator's request or at the end. Returns whether there
    /// was one.
    pub fn close_tunnel(&mut self, now: Time, id: TunnelId, text: &str) -> bool {
        let Some(entry) = self.tunnels.get_mut(&id) else { return false };
        entry.tunnel.close(now, TunnelResult::ShuttingDown, None, text);
        self.drive_tunnel(now, id);
        true
    }

    /// The tunnels there are, in order.
    pub fn tunnel_ids(&self) -> Vec<TunnelId> {
        self.tunnels.keys().copied().collect()
    }
}

/// Whether a profile is for peers with this address.
fn covers(lac: &LacConfig, peer: IpAddr) -> bool {
    lac.peers.is_empty() || lac.peers.iter().any(|prefix| prefix.contains(&peer))
}

/// The longest that a message can be on its way by retransmission (RFC 2661 section 5.7 asks to
/// keep a closed tunnel's state for that long).
fn retransmission_cycle(config: &Config) -> Duration {
    let l2tp = &config.l2tp;
    let mut wait = Duration::from_millis(l2tp.retransmit_initial_ms);
    let most = Duration::from_millis(l2tp.retransmit_max_ms);
    let mut total = Duration::ZERO;
    for _ in 0..=l2tp.retransmit_tries {
        total += wait;
        wait = (wait * 2).min(most);
    }
    total
}
