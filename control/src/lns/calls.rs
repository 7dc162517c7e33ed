//! Calls: from the LAC's request through PPP to packets, and down again.

use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;
use xlns_dataplane::api::{Command, Session, SessionKey};
use xlns_dataplane::counters::SessionCounters;

use super::{Ending, Lns, LnsCounter, TimerKey};
use crate::call::{Call, Forwarding, Phase, TunnelEnds};
use crate::config::{AuthenticationProtocol, Config};
use crate::l2tp::message::Icrq;
use crate::l2tp::result::{CallResult, ErrorCode};
use crate::l2tp::{SessionId, TunnelId, header};
use crate::pool::Pools;
use crate::ppp::{self, Authentication, Credentials, DownCause, Grant, Link, Refusal};
use crate::time::Time;
use crate::udp::Transmit;

/// The PPP side of the configuration.
pub fn ppp_config(config: &Config) -> Arc<ppp::Config> {
    let protocol = |protocol: &AuthenticationProtocol| match protocol {
        AuthenticationProtocol::ChapMd5 => Authentication::ChapMd5,
        AuthenticationProtocol::Pap => Authentication::Pap,
    };
    let ppp = &config.ppp;
    Arc::new(ppp::Config {
        authentication: ppp.authentication.iter().map(protocol).collect(),
        mru: ppp.mru,
        mru_min: ppp.mru_min,
        restart_timer: Duration::from_millis(ppp.restart_timer_ms),
        max_configure: ppp.max_configure,
        max_terminate: ppp.max_terminate,
        max_failure: ppp.max_failure,
        authentication_timeout: Duration::from_secs(ppp.authentication_timeout_seconds),
        server_name: config.lns.host_name.clone(),
        local_address: config.lns.gateway,
        dns: ppp.dns.clone(),
    })
}

/// The address pools, with what is spoken for taken out.
///
/// # Errors
/// Names the pool that cannot be built.
pub fn pools(config: &Config) -> Result<Pools, crate::pool::Error> {
    let fixed = config.user.iter().filter_map(|user| user.address);
    let reserved = fixed.chain([config.lns.gateway]).collect::<Vec<_>>();
    Pools::new(config.pool.iter().map(|pool| (pool.name.clone(), pool.prefixes.clone())), &reserved)
}

impl Lns {
    pub(super) fn handle_incoming_call(
        &mut self,
        now: Time,
        tunnel: TunnelId,
        session: SessionId,
        icrq: &Icrq,
    ) {
        self.counters.add(LnsCounter::CallsOffered);
        let full = self.calls.len() >= self.config.l2tp.sessions_max as usize;
        let Some(entry) = self.tunnels.get_mut(&tunnel) else { return };
        if full {
            self.counters.add(LnsCounter::CallsRefused);
            let text = "no more sessions on this LNS";
            let result = CallResult::NoFacilitiesTemporary;
            entry.tunnel.refuse_call(now, session, result, ErrorCode::TryAnother, text);
            return;
        }
        tracing::debug!(tunnel = tunnel.0, session = session.0, calling = ?icrq.calling_number, "call");
        entry.tunnel.accept_call(now, session);
        let index = self.calls.insert(Call::new(tunnel, session, now));
        entry.calls.insert(session, index);
    }

    pub(super) fn handle_call_connected(&mut self, now: Time, tunnel: TunnelId, session: SessionId) {
        let Some(index) = self.call_index(tunnel, session) else { return };
        let Some(call) = self.calls.get_mut(index) else { return };
        self.counters.add(LnsCounter::CallsConnected);
        let mut link = Box::new(Link::new(Arc::clone(&self.ppp_config), &mut self.rng));
        link.open(now, &mut self.rng);
        if let Phase::Connecting { early } = &mut call.phase {
            for frame in std::mem::take(early) {
                link.handle_frame(now, &frame, &mut self.rng);
            }
        }
        call.phase = Phase::Link(link);
        self.drive_call(now, index);
    }

    /// Takes what a call's link has to say, until it has no more.
    pub(super) fn drive_call(&mut self, now: Time, index: usize) {
        loop {
            let Some(call) = self.calls.get_mut(index) else { return };
            let Some(link) = call.link_mut() else { return };
            let Some(event) = link.poll_event() else { break };
            self.handle_link_event(now, index, event);
        }
        self.transmit_frames(index);
        let Some(call) = self.calls.get(index) else { return };
        let at = call.link().and_then(Link::poll_timeout);
        self.reschedule(TimerKey::Call(index), at);
    }

    fn handle_link_event(&mut self, now: Time, index: usize, event: ppp::Event) {
        match event {
            ppp::Event::LcpUp => self.set_forwarding(index, Forwarding::Echo),
            ppp::Event::Authenticate(credentials) => self.authenticate(now, index, &credentials),
            ppp::Event::NetworkUp { address } => {
                self.set_forwarding(index, Forwarding::Packets);
                self.counters.add(LnsCounter::CallsUp);
                if let Some(call) = self.calls.get(index) {
                    tracing::info!(
                        tunnel = call.tunnel.0,
                        session = call.session.0,
                        user = call.user.as_deref().unwrap_or(""),
                        %address,
                        "session up"
                    );
                }
            }
            ppp::Event::NetworkDown => self.set_forwarding(index, Forwarding::Echo),
            ppp::Event::LcpDown => self.set_forwarding(index, Forwarding::Absent),
            ppp::Event::Down { cause } => self.handle_link_down(now, index, &cause),
        }
    }

    /// Answers the subscriber's proof: with an address, or with a refusal.
    fn authenticate(&mut self, now: Time, index: usize, credentials: &Credentials) {
        let user: Box<str> = String::from_utf8_lossy(&credentials.name).into();
        let granted = self.grant(index, credentials);
        let Some(call) = self.calls.get_mut(index) else { return };
        let (tunnel, session) = (call.tunnel.0, call.session.0);
        let answer = match granted {
            Ok(address) => {
                self.counters.add(LnsCounter::AuthenticationAccepted);
                Ok(Grant { address, dns: self.config.ppp.dns.clone() })
            }
            Err(text) => {
                tracing::info!(tunnel, session, %user, reason = text, "subscriber refused");
                Err(Refusal { message: text.into() })
            }
        };
        call.user = Some(user);
        if let Some(link) = call.link_mut() {
            link.authenticated(now, answer, &mut self.rng);
        }
    }

    /// Checks the proof and finds an address. An address that the call has from an earlier
    /// negotiation is kept.
    fn grant(
        &mut self,
        index: usize,
        credentials: &Credentials,
    ) -> Result<std::net::Ipv4Addr, &'static str> {
        let Some(account) = self.users.authenticate(credentials) else {
            self.counters.add(LnsCounter::AuthenticationRefused);
            return Err("authentication failed");
        };
        let Some(call) = self.calls.get_mut(index) else { return Err("the call is gone") };
        let same_user = call.user.as_deref().map(str::as_bytes) == Some(&credentials.name);
        if let Some(lease) = &call.lease
            && same_user
        {
            return Ok(lease.address());
        }
        let lease = match account.address {
            Some(address) => self.pools.lease_fixed(address),
            None => self.pools.lease(account.pool.as_deref()),
        };
        match lease {
            Some(lease) => {
                let address = lease.address();
                if let Some(old) = call.lease.replace(lease) {
                    self.pools.release(old);
                }
                Ok(address)
            }
            None => {
                self.counters.add(LnsCounter::PoolExhausted);
                Err("no address is free")
            }
        }
    }

    /// Tells the data plane what it is to do for a call from now on.
    fn set_forwarding(&mut self, index: usize, forwarding: Forwarding) {
        let Some(call) = self.calls.get_mut(index) else { return };
        let before = std::mem::replace(&mut call.forwarding, forwarding);
        let key = call.key();
        let Some(call) = self.calls.get(index) else { return };
        match self.entry(call) {
            Some(entry) => self.push_command(Command::SessionSet(Box::new(entry))),
            None if before != Forwarding::Absent => {
                self.push_command(Command::SessionRemove(key));
            }
            None => {}
        }
    }

    /// The entry that the data plane is to have for a call.
    pub(super) fn entry(&self, call: &Call) -> Option<Session> {
        let entry = self.tunnels.get(&call.tunnel)?;
        let peer_session_id = entry.tunnel.session(call.session)?.peer_session_id();
        let ends = TunnelEnds {
            local: entry.local,
            peer: entry.peer,
            peer_tunnel_id: entry.tunnel.peer_tunnel_id(),
            peer_session_id,
        };
        call.entry(&ends, self.config.lns.gateway)
    }

    /// Sends the frames of a call's link inside L2TP data messages.
    fn transmit_frames(&mut self, index: usize) {
        let Some(call) = self.calls.get_mut(index) else { return };
        let Some(entry) = self.tunnels.get(&call.tunnel) else { return };
        let Some(session) = entry.tunnel.session(call.session) else { return };
        let (local, peer) = (entry.local, entry.peer);
        let (peer_tunnel, peer_session) = (entry.tunnel.peer_tunnel_id(), session.peer_session_id());
        let Some(link) = call.link_mut() else { return };
        while let Some(frame) = link.poll_transmit() {
            let payload = header::emit_data(peer_tunnel, peer_session, &frame);
            self.transmissions.push_back(Transmit { local, peer, payload });
        }
    }

    /// PPP is over: the last frames leave, then CDN ends the call.
    fn handle_link_down(&mut self, now: Time, index: usize, cause: &DownCause) {
        self.transmit_frames(index);
        let Some(call) = self.calls.get(index) else { return };
        let (tunnel, session) = (call.tunnel, call.session);
        let (result, error) = match cause {
            DownCause::PeerTerminated => (CallResult::LossOfCarrier, ErrorCode::None),
            DownCause::Closed => (CallResult::Administrative, ErrorCode::None),
            _ => (CallResult::GeneralError, ErrorCode::VendorSpecific),
        };
        let text = cause.to_string();
        if let Some(entry) = self.tunnels.get_mut(&tunnel) {
            entry.tunnel.disconnect_call(now, session, result, error, &text);
        }
        self.end_call(now, tunnel, session, &text);
        self.drive_tunnel(now, tunnel);
    }

    /// The data plane has no room for the session.
    pub(super) fn disconnect_for_resources(
        &mut self,
        now: Time,
        tunnel: TunnelId,
        session: SessionId,
    ) {
        let text = "no room in the data plane";
        if let Some(entry) = self.tunnels.get_mut(&tunnel) {
            let result = CallResult::NoFacilitiesTemporary;
            entry.tunnel.disconnect_call(now, session, result, ErrorCode::TryAnother, text);
        }
        self.end_call(now, tunnel, session, text);
        self.drive_tunnel(now, tunnel);
    }

    /// Closes a call politely, on an operator's request: PPP terminates, CDN follows. Returns
    /// whether there was one.
    pub fn close_call(&mut self, now: Time, tunnel: TunnelId, session: SessionId) -> bool {
        let Some(index) = self.call_index(tunnel, session) else { return false };
        let Some(call) = self.calls.get_mut(index) else { return false };
        match &mut call.phase {
            Phase::Link(link) => {
                link.close(now);
                self.drive_call(now, index);
            }
            Phase::Connecting { .. } => {
                if let Some(entry) = self.tunnels.get_mut(&tunnel) {
                    let result = CallResult::Administrative;
                    let text = "cleared by the operator";
                    entry.tunnel.disconnect_call(now, session, result, ErrorCode::None, text);
                }
                self.end_call(now, tunnel, session, "cleared by the operator");
                self.drive_tunnel(now, tunnel);
            }
        }
        true
    }

    /// The calls of the user, or of the tunnel, or all: their keys.
    pub fn call_keys(&self, matches: impl Fn(&Call) -> bool) -> Vec<(TunnelId, SessionId)> {
        self.calls
            .iter()
            .filter(|(_, call)| matches(call))
            .map(|(_, call)| (call.tunnel, call.session))
            .collect()
    }

    fn call_index(&self, tunnel: TunnelId, session: SessionId) -> Option<usize> {
        self.tunnels.get(&tunnel)?.calls.get(&session).copied()
    }

    /// Forgets a call: forwarding stops, the address is kept until the last packet was counted.
    pub(super) fn end_call(&mut self, now: Time, tunnel: TunnelId, session: SessionId, why: &str) {
        let Some(entry) = self.tunnels.get_mut(&tunnel) else { return };
        let Some(index) = entry.calls.remove(&session) else { return };
        self.timers.cancel(TimerKey::Call(index).into());
        let Some(mut call) = self.calls.try_remove(index) else { return };
        self.counters.add(LnsCounter::CallsEnded);
        tracing::info!(
            tunnel = tunnel.0,
            session = session.0,
            user = call.user.as_deref().unwrap_or(""),
            seconds = now.since(call.started).as_secs(),
            reason = why,
            "call ended"
        );
        let lease = call.lease.take();
        if call.forwarding == Forwarding::Absent || !self.dataplane_ready {
            if let Some(lease) = lease {
                self.pools.release(lease);
            }
            return;
        }
        let ending =
            Ending { lease, user: call.user.take(), started: call.started, before_resync: false };
        self.ending.insert(call.key(), ending);
        self.push_command(Command::SessionRemove(call.key()));
    }

    /// The data plane counted the last packet of an ended session, or has forgotten it.
    pub(super) fn finish_ending(&mut self, key: SessionKey, counters: Option<SessionCounters>) {
        let Some(ending) = self.ending.remove(&key) else { return };
        if let Some(counters) = counters {
            self.ended_totals.upstream_packets += counters.upstream_packets;
            self.ended_totals.upstream_bytes += counters.upstream_bytes;
            self.ended_totals.downstream_packets += counters.downstream_packets;
            self.ended_totals.downstream_bytes += counters.downstream_bytes;
            tracing::debug!(
                tunnel = key.local_tunnel_id,
                session = key.local_session_id,
                user = ending.user.as_deref().unwrap_or(""),
                ?counters,
                "final counters"
            );
        }
        if let Some(lease) = ending.lease {
            self.pools.release(lease);
        }
    }
}
