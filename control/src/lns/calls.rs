//! Calls: from the LAC's request through PPP to packets, and down again.

use std::sync::Arc;
use std::time::Duration;

use xlns_dataplane::api::{Command, Session, SessionKey};

use super::{CALLS_MAX, Ending, Lns, LnsCounter, TimerKey};
use crate::call::{Call, Forwarding, Phase, TunnelEnds};
use crate::config::{AuthenticationProtocol, Config};
use crate::l2tp::message::Icrq;
use crate::l2tp::result::{
    CallResult, ErrorCode, PppDisconnectCause, PppDisconnectCode, printable,
};
use crate::l2tp::{SessionId, TunnelId, header};
use crate::ppp::{self, Authentication, Credentials, DownCause, Grant, Link, Refusal};
use crate::time::Time;
use crate::udp::Transmit;

/// What a call is refused or ended with where something is full.
const NO_ROOM: CallResult = CallResult::NoFacilitiesTemporary;

/// Told to a subscriber, and to its LAC, when the pool is exhausted or the fixed address in use.
const NO_ADDRESS: &str = "no address is free";

/// Protocol of a PPP disconnect cause: LCP, or no single one (RFC 3145 section 2).
const LCP: u16 = 0xc021;
const NONE: u16 = 0;

/// Direction of a PPP disconnect cause (RFC 3145 section 2).
const NEITHER: u8 = 0;
const AT_PEER: u8 = 1;
const AT_SENDER: u8 = 2;

/// Octets of the header of a data message without Length and sequence numbers.
const DATA_HEADER_BYTES: usize = 6;

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
        nbns: Vec::new(),
    })
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
        let most = (self.config.l2tp.sessions_max as usize).min(CALLS_MAX);
        let full = self.calls.len() >= most;
        let Some(entry) = self.tunnels.get_mut(&tunnel) else { return };
        if full {
            self.counters.add(LnsCounter::CallsRefused);
            let text = "no more sessions on this LNS";
            let error = Some(ErrorCode::TryAnother);
            entry.tunnel.refuse_call(now, session, NO_ROOM, error, text);
            return;
        }
        let calling = icrq.calling_number.as_deref().map(|number| printable(number).into());
        let calling: Option<Box<str>> = calling;
        tracing::debug!(tunnel = tunnel.0, session = session.0, ?calling, "call");
        entry.tunnel.accept_call(now, session);
        let index = self.calls.insert(Call::new(tunnel, session, calling, now));
        entry.calls.insert(session, index);
    }

    pub(super) fn handle_call_connected(
        &mut self,
        now: Time,
        tunnel: TunnelId,
        session: SessionId,
    ) {
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
        // Some peers listen for PPP only once ICCN is acknowledged: a Configure-Request that went
        // ahead would be lost, and cost a Restart timer (docs/peers.md rows 5 and 35).
        self.transmit_control(tunnel);
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
            ppp::Event::LcpUp { .. } => self.set_forwarding(index, Forwarding::Echo),
            ppp::Event::Authenticate(credentials) => self.authenticate(now, index, &credentials),
            ppp::Event::Identification { message } => {
                if let Some(call) = self.calls.get(index) {
                    let (tunnel, session) = (call.tunnel.0, call.session.0);
                    let message = printable(&message);
                    tracing::debug!(tunnel, session, message, "subscriber identifies itself");
                }
            }
            ppp::Event::NetworkUp { address } => {
                self.set_forwarding(index, Forwarding::Packets);
                self.counters.add(LnsCounter::CallsUp);
                if let Some(call) = self.calls.get(index) {
                    tracing::debug!(
                        tunnel = call.tunnel.0,
                        session = call.session.0,
                        user = call.user.as_deref().unwrap_or(""),
                        %address,
                        "session up"
                    );
                }
            }
            ppp::Event::NetworkDown => self.set_forwarding(index, Forwarding::Echo),
            ppp::Event::Down { cause } => self.handle_link_down(now, index, &cause),
        }
    }

    /// Answers the subscriber's proof: with an address, or with a refusal.
    fn authenticate(&mut self, now: Time, index: usize, credentials: &Credentials) {
        let user: Box<str> = printable(&credentials.name).into();
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
            link.authenticated(now, answer);
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
        // Of users that exist: their names hold nothing that is not printable.
        let same_user = call.user.as_deref() == Some(&*printable(&credentials.name));
        if let Some(lease) = &call.lease
            && same_user
        {
            return Ok(lease.address());
        }
        match self.addresses.lease(account) {
            Some(lease) => {
                let address = lease.address();
                if let Some(old) = call.lease.replace(lease) {
                    self.addresses.release(old);
                }
                Ok(address)
            }
            None => {
                call.without_address = true;
                self.counters.add(LnsCounter::PoolExhausted);
                Err(NO_ADDRESS)
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

    /// Sends the control messages and acknowledgements that are due.
    pub(super) fn transmit_control(&mut self, id: TunnelId) {
        let Some(entry) = self.tunnels.get_mut(&id) else { return };
        let (local, peer) = (entry.local, entry.peer);
        while let Some(payload) = entry.tunnel.poll_transmit() {
            self.transmissions.push_back(Transmit { local, peer, payload });
        }
    }

    /// Sends the frames of a call's link inside L2TP data messages.
    fn transmit_frames(&mut self, index: usize) {
        let Some(call) = self.calls.get_mut(index) else { return };
        let Some(entry) = self.tunnels.get(&call.tunnel) else { return };
        let Some(session) = entry.tunnel.session(call.session) else { return };
        let (local, peer) = (entry.local, entry.peer);
        let (peer_tunnel, peer_session) =
            (entry.tunnel.peer_tunnel_id(), session.peer_session_id());
        let Some(link) = call.link_mut() else { return };
        while let Some(frame) = link.poll_transmit() {
            let mut payload = Vec::with_capacity(DATA_HEADER_BYTES + frame.len());
            header::emit_data(&mut payload, peer_tunnel, peer_session, None, false);
            payload.extend_from_slice(&frame);
            self.transmissions.push_back(Transmit { local, peer, payload });
        }
    }

    /// PPP is over: the last frames leave, then CDN ends the call.
    fn handle_link_down(&mut self, now: Time, index: usize, cause: &DownCause) {
        self.transmit_frames(index);
        let Some(call) = self.calls.get(index) else { return };
        let (tunnel, session) = (call.tunnel, call.session);
        let refused = *cause == DownCause::AuthenticationFailed;
        let (text, (result, ppp_cause)) = if refused && call.without_address {
            (NO_ADDRESS.to_owned(), (NO_ROOM, without_address()))
        } else {
            (cause.to_string(), disconnect_reason(*cause))
        };
        if let Some(entry) = self.tunnels.get_mut(&tunnel) {
            let error = match result {
                // Beside "general error" a peer expects a code: our own reasons are the vendor's.
                CallResult::Error => Some(ErrorCode::Vendor),
                NO_ROOM => Some(ErrorCode::TryAnother),
                _ => None,
            };
            entry.tunnel.disconnect_call(now, session, result, error, &text, Some(ppp_cause));
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
            let error = Some(ErrorCode::TryAnother);
            entry.tunnel.disconnect_call(now, session, NO_ROOM, error, text, None);
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
                link.close(now, DownCause::Closed);
                self.drive_call(now, index);
            }
            Phase::Connecting { .. } => {
                let text = "cleared by the operator";
                if let Some(entry) = self.tunnels.get_mut(&tunnel) {
                    let result = CallResult::Administrative;
                    entry.tunnel.disconnect_call(now, session, result, None, text, None);
                }
                self.end_call(now, tunnel, session, text);
                self.drive_tunnel(now, tunnel);
            }
        }
        true
    }

    fn call_index(&self, tunnel: TunnelId, session: SessionId) -> Option<usize> {
        self.tunnels.get(&tunnel)?.calls.get(&session).copied()
    }

    /// Forgets a call: forwarding stops, the address is kept until the last packet was counted.
    pub(super) fn end_call(&mut self, now: Time, tunnel: TunnelId, session: SessionId, why: &str) {
        let Some(entry) = self.tunnels.get_mut(&tunnel) else { return };
        let Some(index) = entry.calls.remove(&session) else { return };
        self.timers.cancel(TimerKey::Call(index).token());
        let Some(mut call) = self.calls.try_remove(index) else { return };
        self.counters.add(LnsCounter::CallsEnded);
        tracing::debug!(
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
                self.addresses.release(lease);
            }
            return;
        }
        let ending = Ending { lease, user: call.user.take(), before_resync: false };
        self.ending.insert(call.key(), ending);
        self.push_command(Command::SessionRemove(call.key()));
    }

    /// The data plane has no more to do with an ended session: its address is free.
    pub(super) fn finish_ending(&mut self, key: SessionKey) {
        let lease = self.ending.remove(&key).and_then(|ending| ending.lease);
        if let Some(lease) = lease {
            self.addresses.release(lease);
        }
    }
}

/// What CDN adds for a subscriber who was right but found no address free: none of the codes of RFC
/// 3145 says so, the text does.
fn without_address() -> PppDisconnectCause {
    let code = PppDisconnectCode::NoInformation;
    let message = NO_ADDRESS.to_owned();
    PppDisconnectCause { code, protocol: NONE, direction: AT_SENDER, message }
}

/// What CDN says when PPP is over: the result (RFC 2661 section 4.4.2) and the PPP cause (RFC 3145
/// section 3).
fn disconnect_reason(cause: DownCause) -> (CallResult, PppDisconnectCause) {
    use PppDisconnectCode as Code;
    let (result, code, protocol, direction) = match cause {
        DownCause::PeerTerminated => (CallResult::LossOfCarrier, Code::Normal, LCP, AT_PEER),
        DownCause::Closed => (CallResult::Administrative, Code::Administrative, LCP, AT_SENDER),
        DownCause::AuthenticationFailed => {
            (CallResult::Error, Code::AuthenticationFailed, NONE, AT_PEER)
        }
        DownCause::AuthenticationTimeout => {
            (CallResult::Error, Code::AuthenticationTimeout, NONE, AT_PEER)
        }
        DownCause::LcpTimeout => (CallResult::Error, Code::LcpSilent, LCP, AT_PEER),
        DownCause::NegotiationFailed(_) => (CallResult::Error, Code::LcpNotConverged, LCP, NEITHER),
        DownCause::Looped => (CallResult::Error, Code::LcpLooped, LCP, NEITHER),
        DownCause::NetworkProtocolsFailed => {
            (CallResult::Error, Code::NetworkTimeout, NONE, NEITHER)
        }
    };
    let message = cause.to_string();
    (result, PppDisconnectCause { code, protocol, direction, message })
}
