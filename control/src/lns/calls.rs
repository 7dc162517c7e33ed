//! Calls: from the LAC's request through PPP to packets, and down again.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use xlns_dataplane::api::{Command, SequenceNumbers, Session, SessionKey, SessionOptions};

use super::admission::NO_ADDRESS;
use super::{CALLS_MAX, Ending, Lease, Line, Lns, LnsCounter, TimerKey, line};
use crate::call::{Call, Forwarding, Phase, TunnelEnds};
use crate::l2tp::message::{Iccn, Icrq};
use crate::l2tp::result::{
    CallResult, ErrorCode, PppDisconnectCause, PppDisconnectCode, printable,
};
use crate::l2tp::{SessionId, TunnelId, header};
use crate::ppp::{self, DownCause, Link};
use crate::time::Time;
use crate::udp::Transmit;

/// What a call is refused or ended with where something is full.
const NO_ROOM: CallResult = CallResult::NoFacilitiesTemporary;

/// Protocol of a PPP disconnect cause: LCP, or no single one (RFC 3145 section 2).
const LCP: u16 = 0xc021;
const NONE: u16 = 0;

/// Direction of a PPP disconnect cause (RFC 3145 section 2).
const NEITHER: u8 = 0;
const AT_PEER: u8 = 1;
const AT_SENDER: u8 = 2;

/// Octets of the header of a data message without Length and sequence numbers.
const DATA_HEADER_BYTES: usize = 6;

/// What is done to packets of sessions that we dialled. RFC 2661 section 5.4: the LNS says by what it
/// sends whether it wants sequence numbers.
const DIALLED: SessionOptions =
    SessionOptions { sequence: SequenceNumbers::AsPeer, ..SessionOptions::DEFAULT };

impl Lns {
    pub(super) fn handle_incoming_call(
        &mut self,
        now: Time,
        tunnel: TunnelId,
        session: SessionId,
        icrq: &Icrq,
    ) {
        self.counters.add(LnsCounter::CallsOffered);
        let Some(entry) = self.tunnels.get(&tunnel) else { return };
        let profile = entry.profile;
        let refusal = match entry.client {
            // The server is no LAC of ours.
            Some(_) => Some("no calls are taken in this tunnel"),
            None => self.call_refusal(now, profile),
        };
        let Some(entry) = self.tunnels.get_mut(&tunnel) else { return };
        if let Some(text) = refusal {
            let error = Some(ErrorCode::TryAnother);
            entry.tunnel.refuse_call(now, session, NO_ROOM, error, text);
            return self.count_refused_call(profile);
        }
        let calling = icrq.calling_number.as_deref().map(|number| printable(number).into());
        let calling: Option<Box<str>> = calling;
        tracing::debug!(tunnel = tunnel.0, session = session.0, ?calling, "call");
        entry.tunnel.accept_call(now, session);
        let mut call = Call::new(tunnel, session, calling, now);
        call.line = Some(Box::new(Line::of_icrq(icrq)));
        let index = self.calls.insert(call);
        entry.calls.insert(session, index);
        if let Some(profile) = self.profile_mut(profile) {
            profile.sessions += 1;
        }
    }

    /// Why one more call is refused, if it is.
    pub(super) fn call_refusal(&self, now: Time, profile: Option<usize>) -> Option<&'static str> {
        let most = (self.config.l2tp.sessions_max as usize).min(CALLS_MAX);
        let away_max = Duration::from_secs(self.config.dataplane.away_seconds_max);
        if self.calls.len() >= most {
            Some("no more sessions on this LNS")
        } else if !self.dataplane_ready && now.since(self.dataplane_away_since) >= away_max {
            Some("forwarding is down on this LNS")
        } else {
            self.profile_refuses_call(profile)
        }
    }

    pub(super) fn handle_call_connected(
        &mut self,
        now: Time,
        tunnel: TunnelId,
        session: SessionId,
        iccn: &Iccn,
    ) {
        let Some(index) = self.call_index(tunnel, session) else { return };
        if let Some(client) = self.calls.get(index).and_then(|call| call.client) {
            return self.open_client_link(now, index, client);
        }
        self.tell_outcome(index, Ok(()));
        let profile = self.tunnels.get(&tunnel).and_then(|entry| entry.profile);
        let Some(profile) = self.profile_mut(profile) else { return };
        profile.calls_connected += 1;
        let config = Arc::clone(&profile.ppp);
        let Some(call) = self.calls.get_mut(index) else { return };
        self.counters.add(LnsCounter::CallsConnected);
        call.line.get_or_insert_default().connected(iccn);
        let mut link = Box::new(Link::new(config, &mut self.rng));
        match line::proxy(iccn) {
            Some(proxy) => {
                let takeover = link.open_with_proxy(now, &proxy, &mut self.rng);
                tracing::debug!(tunnel = tunnel.0, session = session.0, ?takeover, "proxied LCP");
            }
            None => link.open(now, &mut self.rng),
        }
        if let Phase::Connecting { early } = &mut call.phase {
            for frame in std::mem::take(early) {
                link.handle_frame(now, &frame, &mut self.rng);
            }
        }
        call.phase = Phase::Link(link);
        // Some peers listen for PPP only once ICCN is acknowledged: a Configure-Request that went
        // ahead would be lost, and cost a Restart timer (docs/peers.md rows 5 and 35).
        self.transmit_control(now, tunnel);
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
        let at = call.poll_timeout();
        self.reschedule(TimerKey::Call(index), at);
        self.release_unwanted(now, index);
    }

    fn handle_link_event(&mut self, now: Time, index: usize, event: ppp::Event) {
        if let Some(client) = self.calls.get(index).and_then(|call| call.client) {
            return self.handle_client_link_event(now, index, client, event);
        }
        match event {
            ppp::Event::LcpUp { .. } => {
                if let Some(call) = self.calls.get_mut(index) {
                    (call.ipv4_up, call.router) = (false, None);
                }
                self.set_forwarding(index, Forwarding::Echo);
            }
            ppp::Event::Authenticate(credentials) => self.authenticate(now, index, &credentials),
            // Nobody here proves anything to a subscriber.
            ppp::Event::Refused { .. } => {}
            ppp::Event::Identification { message } => {
                if let Some(call) = self.calls.get(index) {
                    let (tunnel, session) = (call.tunnel.0, call.session.0);
                    let message = printable(&message);
                    tracing::debug!(tunnel, session, message, "subscriber identifies itself");
                }
            }
            ppp::Event::Ipv4Up { peer, .. } => {
                let was_down = self.calls.get_mut(index).is_some_and(|call| {
                    call.ipv4_up = true;
                    call.router.is_none()
                });
                self.network_changed(index);
                self.log_network_up(now, index, was_down, IpAddr::V4(peer).into());
            }
            ppp::Event::Ipv4Down => {
                if let Some(call) = self.calls.get_mut(index) {
                    call.ipv4_up = false;
                }
                self.network_changed(index);
            }
            ppp::Event::Ipv6Up { local, peer } => self.handle_ipv6_up(now, index, (local, peer)),
            ppp::Event::Ipv6Down => self.handle_ipv6_down(index),
            ppp::Event::Ipv6Packet(packet) => self.handle_ipv6_packet(now, index, &packet),
            ppp::Event::Down { cause } => self.handle_link_down(now, index, &cause),
        }
    }

    /// A network protocol came up or went down: what is forwarded follows.
    pub(super) fn network_changed(&mut self, index: usize) {
        let up = self.calls.get(index).is_some_and(|call| call.ipv4_up || call.router.is_some());
        self.set_forwarding(index, if up { Forwarding::Packets } else { Forwarding::Echo });
    }

    /// Tells the data plane what it is to do for a call from now on.
    pub(super) fn set_forwarding(&mut self, index: usize, forwarding: Forwarding) {
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

    /// What is done to the packets of a profile's sessions; `None`: of those that we dialled.
    fn options_of(&self, profile: Option<usize>) -> SessionOptions {
        self.profile(profile).map_or(DIALLED, |profile| profile.options)
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
        let options = self.options_of(entry.profile);
        let mut entry = call.entry(&ends, self.config.lns.gateway, options)?;
        if let Some(client) = call.client {
            self.complete_client_entry(client, &mut entry);
        }
        Some(entry)
    }

    /// Sends the control messages and acknowledgements that are due.
    pub(super) fn transmit_control(&mut self, now: Time, id: TunnelId) {
        let Some(entry) = self.tunnels.get_mut(&id) else { return };
        let (local, peer) = (entry.local, entry.peer);
        let asked = entry.ports.asked(now);
        while let Some(payload) = entry.tunnel.poll_transmit() {
            if let Some(peer) = asked {
                let payload = payload.clone();
                self.transmissions.push_back(Transmit { local, peer, payload });
            }
            self.transmissions.push_back(Transmit { local, peer, payload });
        }
    }

    /// Sends the frames of a call's link inside L2TP data messages. Where those have sequence numbers,
    /// the data plane sends them from the time on that it knows the session: all count in one row
    /// (RFC 2661 section 5.4).
    pub(super) fn transmit_frames(&mut self, index: usize) {
        let Some(call) = self.calls.get(index) else { return };
        let Some(entry) = self.tunnels.get(&call.tunnel) else { return };
        let Some(session) = entry.tunnel.session(call.session) else { return };
        let (local, peer) = (entry.local, entry.peer);
        let (peer_tunnel, peer_session) =
            (entry.tunnel.peer_tunnel_id(), session.peer_session_id());
        let sequenced = call.is_sequenced(self.options_of(entry.profile));
        let is_known = call.forwarding != Forwarding::Absent && self.dataplane_ready;
        let key = call.key();
        while let Some(call) = self.calls.get_mut(index) {
            let Some(frame) = call.link_mut().and_then(Link::poll_transmit) else { return };
            if sequenced && is_known {
                self.push_command(Command::Inject { key, frame: frame.to_vec() });
                continue;
            }
            let ns = sequenced.then(|| call.take_ns());
            let mut payload = Vec::with_capacity(DATA_HEADER_BYTES + frame.len());
            header::emit_data(&mut payload, peer_tunnel, peer_session, ns, false);
            payload.extend_from_slice(&frame);
            self.transmissions.push_back(Transmit { local, peer, payload });
        }
    }

    /// PPP is over: the last frames leave, then CDN ends the call.
    pub(super) fn handle_link_down(&mut self, now: Time, index: usize, cause: &DownCause) {
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
        let Some(index) = self.call_index(tunnel, session) else { return };
        self.tell_outcome(index, Err(why.to_owned()));
        let Some(entry) = self.tunnels.get_mut(&tunnel) else { return };
        entry.calls.remove(&session);
        let profile = entry.profile;
        self.timers.cancel(TimerKey::Call(index).token());
        let Some(mut call) = self.calls.try_remove(index) else { return };
        self.counters.add(LnsCounter::CallsEnded);
        if let Some(profile) = self.profile_mut(profile) {
            profile.sessions -= 1;
        }
        if let Some(user) = &call.user {
            self.sessions.leave(user, index);
        }
        self.log_call_end(now, &call, why);
        self.note_call_over(&call, why);
        let lease = call.lease.take();
        if call.forwarding == Forwarding::Absent || !self.dataplane_ready {
            return self.let_go(now, lease, call.user.as_deref());
        }
        let ending = Ending { lease, user: call.user.take(), before_resync: false };
        self.ending.insert(call.key(), ending);
        self.push_command(Command::SessionRemove(call.key()));
    }

    /// The data plane has no more to do with an ended session: its address is free.
    pub(super) fn finish_ending(&mut self, now: Time, key: SessionKey) {
        if let Some(ending) = self.ending.remove(&key) {
            self.let_go(now, ending.lease, ending.user.as_deref());
        }
    }

    /// An address is free again, for whoever waits for it first.
    fn let_go(&mut self, now: Time, lease: Option<Lease>, user: Option<&str>) {
        if let Some(lease) = lease {
            self.addresses.release(lease);
        }
        if let Some(user) = user {
            self.admit_waiting(now, user);
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
        DownCause::RefusedByPeer => {
            (CallResult::Error, Code::AuthenticationFailed, NONE, AT_SENDER)
        }
        DownCause::EchoTimeout => (CallResult::LossOfCarrier, Code::LcpEchoTimeout, LCP, AT_PEER),
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
