//! Set-up of tunnels: which SCCRQ is new, who may open one, and with which profile.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rand::RngCore;
use xlns_dataplane::api::SessionKey;

use super::{Life, Lns, LnsCounter, PortWatch, REFUSALS_LOGGED_PER_SECOND, TunnelEntry};
use crate::config::Config;
use crate::l2tp::TunnelId;
use crate::l2tp::header::Header;
use crate::l2tp::message::Sccrq;
use crate::l2tp::result::{ErrorCode, ResultCode, TunnelResult, printable};
use crate::l2tp::tunnel::{State, Tunnel};
use crate::time::Time;
use crate::udp::Transmit;

/// Attempts to find a Tunnel ID that is not in use; with at most half of the IDs taken all of them
/// fail once in a trillion times, and the SCCRQ is refused then.
const TUNNEL_ID_TRIES: usize = 40;

/// Tunnels that 16-bit identifiers leave room for while [`TUNNEL_ID_TRIES`] finds a free one.
pub const TUNNELS_MAX: u32 = 32_768;

impl Lns {
    pub(super) fn handle_sccrq(
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
        let repeated = same.find(|id| !self.is_long_established(now, *id) && !self.is_closed(*id));
        if let Some(id) = repeated {
            self.counters.add(LnsCounter::SetupDuplicate);
            return self.handle_in_tunnel(now, id, header, datagram);
        }
        let known = self.peers.is_known(peer.ip());
        if !self.limiter.admit(now, peer.ip(), known) {
            return self.counters.add(LnsCounter::SetupRateLimited);
        }
        let profile = self.profile_of(local.ip(), peer.ip(), &sccrq.host_name);
        let mut admitted = self.admit(peer.ip(), profile);
        if admitted.is_err() && known && self.displace_stranger(now) {
            admitted = self.admit(peer.ip(), profile);
        }
        let opened = admitted.and_then(|(id, profile)| {
            if !self.settle_crossing(now, peer.ip(), sccrq.tie_breaker) {
                return Ok(());
            }
            self.make_room_half_open(now, known);
            self.open_tunnel(now, (local, peer), id, profile, sccrq, hash)
        });
        if let Err(result) = opened {
            if self.refusal_log.take(now, REFUSALS_LOGGED_PER_SECOND) {
                let host_name = printable(&sccrq.host_name);
                tracing::info!(%peer, host_name, reason = result.message, "tunnel refused");
            }
            self.count_refused_tunnel(profile);
            self.refuse(local, peer, header, Some(sccrq.assigned_tunnel_id), result);
        }
    }

    /// Answers an SCCRQ with StopCCN, without keeping anything of it.
    pub(super) fn refuse(
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

    /// Whether the tunnel is over, and only waits for the peer's repetitions: who asks for it again
    /// wants a new one.
    pub(super) fn is_closed(&self, id: TunnelId) -> bool {
        self.tunnels.get(&id).is_some_and(|entry| entry.tunnel.state() == State::Closing)
    }

    /// Whether this peer may open a tunnel: its new Tunnel ID and its profile.
    fn admit(
        &mut self,
        peer: IpAddr,
        profile: Option<usize>,
    ) -> Result<(TunnelId, usize), ResultCode> {
        if self.shutting_down {
            let text = "this LNS is shutting down";
            return Err(ResultCode::tunnel(TunnelResult::ShuttingDown, None, text));
        }
        let l2tp = &self.config.l2tp;
        let Some(profile) = profile else {
            let text = "no LAC profile matches this address and host name";
            return Err(ResultCode::tunnel(TunnelResult::NotAuthorized, None, text));
        };
        self.admit_to_profile(profile)?;
        let of_peer = self.tunnels_per_address.get(&peer).copied().unwrap_or(0);
        let text = if self.tunnels.len() >= l2tp.tunnels_max as usize {
            "no more tunnels"
        } else if of_peer >= l2tp.tunnels_per_peer_max {
            "no more tunnels for this peer"
        } else if let Some(id) = self.free_tunnel_id() {
            return Ok((id, profile));
        } else {
            "no tunnel ID is free"
        };
        Err(ResultCode::tunnel(TunnelResult::Error, Some(ErrorCode::TryAnother), text))
    }

    /// An ID that no tunnel has, nor a session whose last packets are still being counted.
    pub(super) fn free_tunnel_id(&mut self) -> Option<TunnelId> {
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
        profile: usize,
        sccrq: &Sccrq,
        sccrq_hash: u64,
    ) -> Result<(), ResultCode> {
        let Some(its) = self.profiles.get_mut(profile) else { return Ok(()) };
        let tunnel = Tunnel::accept(now, id, sccrq, Arc::clone(&its.tunnel), &mut self.rng)?;
        its.tunnels += 1;
        let policy = its.policy();
        let local = self.local_of(local, id, Some(profile));
        self.tunnels_by_peer.insert((peer, sccrq.assigned_tunnel_id, sccrq_hash, id));
        let entry = TunnelEntry {
            tunnel,
            local,
            peer,
            profile: Some(profile),
            client: None,
            policy,
            sccrq_hash,
            started: now,
            established: false,
            calls: BTreeMap::new(),
            ports: PortWatch::default(),
            life: Life::default(),
        };
        self.tunnels.insert(id, entry);
        self.half_open.insert(self.peers.is_known(peer.ip()), now, id);
        let of_peer = self.tunnels_per_address.entry(peer.ip()).or_insert(0);
        *of_peer += 1;
        self.drive_tunnel(now, id);
        Ok(())
    }
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
