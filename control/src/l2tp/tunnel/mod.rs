//! A tunnel: one control connection and its calls (RFC 2661 sections 5 and 7).
//!
//! [`Tunnel`] is told what happens by `handle_*` and by commands (`accept_call`, `place_call`,
//! `disconnect_call`, `close`), and is drained by `poll_*` after each of them: first
//! [`Tunnel::poll_event`], then [`Tunnel::poll_transmit`], then [`Tunnel::poll_timeout`].
//!
//! A tunnel begins by the peer's SCCRQ ([`Tunnel::accept`]) or ours ([`Tunnel::connect`]); who
//! began it says nothing of who is the LAC of a call in it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

use super::avp::{Hide, Hiding};
use super::header::Header;
use super::identifiers::Identifiers;
use super::message::{
    FRAMING_ANY, Message, MessageType, PROTOCOL_VERSION, Reject, Scccn, Sccrp, Sccrq, Scope,
    StopCcn,
};
use super::result::{ErrorCode, ResultCode, TunnelResult, printable};
use super::secret::{self, CHALLENGE_BYTES, SecretBytes};
use super::sequence::Sequence;
use super::session::Session;
use super::transport::{Origin, Receipt, Status, Transport, emit_stateless};
use super::{SessionId, TunnelId};
use crate::time::Time;

mod calls;
mod config;
mod event;
mod originate;
mod placing;
mod request;
pub mod table;
mod tie;
mod timers;

pub use config::Config;
pub use event::{CallCause, Event, TunnelCause};
use placing::Pending;
pub use request::{
    Answer, BEARER_ANY, CallRequest, CannotPlace, OutgoingRequest, Proxy, ProxyAuthentication,
};
pub use table::State;
use table::{Action, Input};
pub use tie::{TIE_BREAKER_BYTES, Tie, break_tie};

/// Sessions in one tunnel, whatever the configuration says: of the 65,535 identifiers some stay
/// free, so that a new one is found in a few steps and none returns at once.
pub const SESSIONS_MAX: u32 = 64_000;
/// Call messages that are kept while the tunnel is not up. A LAC that sends its ICRQ right behind
/// its SCCCN (docs/peers.md row 4) has its window of 4 to do so.
pub const EARLY_MESSAGES_MAX: usize = 8;
/// Time from a call's ICRQ to its ICCN, and from OCRP to OCCN. A LAC may let a telephone ring in
/// between.
pub const CALL_SETUP_TIME_MAX: Duration = Duration::from_secs(60);
/// Octets that obscure the length of a hidden AVP: at most a block of its digest, so that a message
/// does not outgrow a datagram.
const PADDING_BYTES_MAX: usize = 15;
/// Assigned Tunnel ID of a refusal when none is free: the AVP must be there and not be 0, and the
/// peer answers with no more than an acknowledgement.
const TUNNEL_ID_OF_REFUSALS: TunnelId = TunnelId(u16::MAX);

/// A tunnel.
#[derive(Debug)]
pub struct Tunnel {
    config: Arc<Config>,
    state: State,
    local_tunnel_id: TunnelId,
    peer_tunnel_id: TunnelId,
    peer_host_name: String,
    peer_vendor: Option<String>,
    /// Framing Capabilities of the peer.
    peer_framing: u32,
    /// Bearer Capabilities of the peer; 0: it places no calls.
    peer_bearers: u32,
    /// What the peer has to answer in its SCCCN or SCCRP.
    challenge: Option<[u8; CHALLENGE_BYTES]>,
    /// What our SCCRQ carries.
    tie_breaker: Option<[u8; TIE_BREAKER_BYTES]>,
    transport: Transport,
    /// For Random Vectors and padding, where something is to be hidden.
    hiding: Option<Box<StdRng>>,
    sessions: BTreeMap<SessionId, Session>,
    /// What is still to be said of calls that we have asked for. Apart from the sessions, most of
    /// which are asked for by the peer.
    pending: BTreeMap<SessionId, Pending>,
    /// Our identifier of a session by the peer's.
    by_peer_id: BTreeMap<SessionId, SessionId>,
    identifiers: Identifiers,
    /// Calls that are not connected yet, the oldest in front, with some that are long.
    setups: VecDeque<(Time, SessionId)>,
    /// Call messages that came too early, those with a fault included.
    early: Vec<(SessionId, Result<Message, Reject>)>,
    /// When the set-up must be complete or, once closing, when the peer will not repeat anything.
    deadline: Option<Time>,
    /// Since when there is no call, where that matters.
    idle_since: Option<Time>,
    events: VecDeque<Event>,
    finished: bool,
}

impl Tunnel {
    /// The tunnel that a peer's SCCRQ (with Ns 0) asks for. The caller has found that no tunnel
    /// with this peer and its Assigned Tunnel ID exists, and that there is room.
    ///
    /// # Errors
    /// The result for [`Tunnel::refuse`], where the peer asks for what we do not have.
    pub fn accept(
        now: Time,
        local_tunnel_id: TunnelId,
        sccrq: &Sccrq,
        config: Arc<Config>,
        rng: &mut impl RngCore,
    ) -> Result<Self, ResultCode> {
        let response = match (&sccrq.challenge, &config.secret) {
            (None, _) => None,
            (Some(challenge), Some(secret)) => {
                Some(secret::response(MessageType::Sccrp as u8, secret.expose(), challenge))
            }
            (Some(_), None) => {
                let text = "a challenge came and there is no secret for this peer";
                return Err(ResultCode::tunnel(TunnelResult::NotAuthorized, None, text));
            }
        };
        let peer_tunnel_id = sccrq.assigned_tunnel_id;
        let mut tunnel = Self::new(now, local_tunnel_id, peer_tunnel_id, Sequence(1), config, rng);
        tunnel.transport.set_peer_window(sccrq.receive_window);
        tunnel.peer_host_name = printable(&sccrq.host_name);
        tunnel.peer_vendor = sccrq.vendor_name.as_deref().map(printable);
        tunnel.peer_framing = sccrq.framing_capabilities;
        tunnel.peer_bearers = sccrq.bearer_capabilities.unwrap_or(0);
        let (_, state) = table::transition(tunnel.state, Input::SccrqAcceptable);
        tunnel.state = state;
        tunnel.send_sccrp(now, response);
        Ok(tunnel)
    }

    /// A tunnel of which nothing was said yet; `expected` is the number of the peer's next message.
    fn new(
        now: Time,
        local_tunnel_id: TunnelId,
        peer_tunnel_id: TunnelId,
        expected: Sequence,
        config: Arc<Config>,
        rng: &mut impl RngCore,
    ) -> Self {
        let challenge = (config.challenge && config.secret.is_some()).then(|| random(rng));
        let timing = config.timing();
        let hides = config.secret.is_some() && config.hide != Hide::Never;
        Self {
            state: State::Idle,
            local_tunnel_id,
            peer_tunnel_id,
            peer_host_name: String::new(),
            peer_vendor: None,
            peer_framing: 0,
            peer_bearers: 0,
            challenge,
            tie_breaker: None,
            transport: Transport::new(now, timing, peer_tunnel_id, None, expected),
            hiding: hides.then(|| Box::new(StdRng::from_rng(rng))),
            sessions: BTreeMap::new(),
            pending: BTreeMap::new(),
            by_peer_id: BTreeMap::new(),
            identifiers: Identifiers::new(rng),
            setups: VecDeque::new(),
            early: Vec::new(),
            deadline: Some(now + timing.cycle()),
            idle_since: None,
            events: VecDeque::new(),
            finished: false,
            config,
        }
    }

    /// The StopCCN that refuses an SCCRQ without making a tunnel: a peer that gets no answer may
    /// shun us for minutes (docs/peers.md row 23). `local_tunnel_id` is any that is free; what
    /// comes to it is dropped.
    pub fn refuse(
        header: &Header,
        peer_tunnel_id: Option<TunnelId>,
        local_tunnel_id: TunnelId,
        result: ResultCode,
    ) -> Vec<u8> {
        let local_tunnel_id = match local_tunnel_id {
            TunnelId::UNASSIGNED => TUNNEL_ID_OF_REFUSALS,
            local_tunnel_id => local_tunnel_id,
        };
        let stop_ccn = StopCcn { assigned_tunnel_id: Some(local_tunnel_id), result };
        let mut out = Vec::new();
        let message = Message::StopCcn(Box::new(stop_ccn));
        emit_stateless(&mut out, header, peer_tunnel_id.unwrap_or_default(), &message);
        out
    }

    fn send_sccrp(&mut self, now: Time, challenge_response: Option<[u8; 16]>) {
        let vendor_name = self.config.vendor_name.as_bytes();
        let sccrp = Sccrp {
            protocol_version: PROTOCOL_VERSION,
            framing_capabilities: FRAMING_ANY,
            bearer_capabilities: self.config.bearer_capabilities,
            host_name: self.config.host_name.as_bytes().to_vec(),
            vendor_name: (!vendor_name.is_empty()).then(|| vendor_name.to_vec()),
            firmware_revision: None,
            assigned_tunnel_id: self.local_tunnel_id,
            receive_window: Some(self.config.receive_window.max(1)),
            challenge: self.challenge.map(Vec::from),
            challenge_response,
            ..Sccrp::default()
        };
        self.send(now, SessionId::UNASSIGNED, &Message::Sccrp(Box::new(sccrp)), Origin::Peer);
    }

    fn send(&mut self, now: Time, session_id: SessionId, message: &Message, origin: Origin) {
        let (Some(rng), Some(secret)) = (&mut self.hiding, &self.config.secret) else {
            return self.transport.send(now, session_id, message, origin, None);
        };
        let random_vector: [u8; CHALLENGE_BYTES] = random(rng);
        let padding: [u8; PADDING_BYTES_MAX] = random(rng);
        let length = rng.next_u32() as usize % (PADDING_BYTES_MAX + 1);
        let hiding = Hiding {
            hide: self.config.hide,
            secret: secret.expose(),
            random_vector: &random_vector,
            padding: padding.get(..length).unwrap_or_default(),
        };
        self.transport.send(now, session_id, message, origin, Some(hiding));
    }

    /// Takes in a control message, or a ZLB, that belongs to this tunnel: `body` is the header's
    /// payload.
    pub fn handle(&mut self, now: Time, header: &Header, body: &[u8]) {
        match self.transport.receive(now, header, body) {
            Receipt::Deliver => {
                self.on_body(now, header.session_id, body);
                while let Some((session_id, body)) = self.transport.next_held() {
                    self.on_body(now, session_id, &body);
                }
            }
            // An SCCRQ or SCCRP again: who asks does not have our answer (docs/peers.md row 4).
            Receipt::Duplicate if header.ns == Sequence::ZERO => self.transport.repeat_front(now),
            Receipt::Duplicate | Receipt::Held | Receipt::Zlb | Receipt::Discarded => {}
        }
        self.end_overrun(now);
    }

    /// Takes in a StopCCN whose header does not name the tunnel: the owner found it by the peer's
    /// address and the Assigned Tunnel ID AVP. Such a one may be out of any sequence (docs/peers.md
    /// row 38), so it is obeyed whatever its number.
    pub fn handle_stop_ccn(&mut self, now: Time, header: &Header, body: &[u8], said: &StopCcn) {
        let _ = self.transport.receive(now, header, body);
        if self.state != State::Closing {
            self.on_stop_ccn(now, said);
        }
    }

    fn end_overrun(&mut self, now: Time) {
        if self.transport.is_overrun() && self.state != State::Closing {
            let text = "too many messages without acknowledgement";
            let result = ResultCode::tunnel(TunnelResult::Error, Some(ErrorCode::Resources), text);
            self.advance(now, Input::LocalClose, result, TunnelCause::Overrun);
        }
    }

    fn on_body(&mut self, now: Time, session_id: SessionId, body: &[u8]) {
        let secret = self.config.secret.as_ref().map(SecretBytes::expose);
        if self.state == State::Closing {
            // Nothing matters any more, but the peer should not have to repeat it, nor miss the end
            // of a request that we gave up while it was answered.
            if self.peer_tunnel_id == TunnelId::UNASSIGNED
                && let Ok(Message::Sccrp(sccrp)) = Message::decode(body, secret)
            {
                self.adopt_peer_id(Some(sccrp.assigned_tunnel_id));
            }
            return self.transport.acknowledge_at_once();
        }
        match Message::decode(body, secret) {
            Ok(message) => self.on_message(now, session_id, message),
            Err(reject) => self.on_reject(now, session_id, reject),
        }
    }

    fn on_reject(&mut self, now: Time, session_id: SessionId, reject: Reject) {
        match reject.scope {
            Scope::Tunnel => {
                self.adopt_peer_id(reject.assigned_tunnel_id);
                let cause = TunnelCause::Protocol(reject.result.clone());
                self.advance(now, Input::LocalClose, reject.result, cause);
            }
            Scope::Session if self.state == State::Established => {
                self.on_call_reject(now, session_id, reject);
            }
            Scope::Session => self.keep_early(now, session_id, Err(reject)),
        }
    }

    /// Keeps a message of a call until the tunnel is up. A peer that sends more than a few ahead of
    /// its own SCCCN does so against the protocol (RFC 2661 section 5).
    fn keep_early(&mut self, now: Time, session_id: SessionId, message: Result<Message, Reject>) {
        if self.early.len() < EARLY_MESSAGES_MAX {
            return self.early.push((session_id, message));
        }
        let text = "too many calls before the tunnel is up";
        let result = ResultCode::tunnel(TunnelResult::Error, Some(ErrorCode::Resources), text);
        self.advance(now, Input::LocalClose, result.clone(), TunnelCause::Protocol(result));
    }

    fn on_message(&mut self, now: Time, session_id: SessionId, message: Message) {
        match message {
            Message::Sccrq(_) => self.on_improper(now, Input::SccrqAcceptable),
            Message::Sccrp(sccrp) => self.on_sccrp(now, &sccrp),
            Message::Scccn(scccn) => self.on_scccn(now, &scccn),
            Message::StopCcn(stop_ccn) => self.on_stop_ccn(now, &stop_ccn),
            // Their acknowledgement is all that they want.
            Message::Hello | Message::Unknown(_) => {}
            Message::Ocrq(_)
            | Message::Ocrp(_)
            | Message::Occn(_)
            | Message::Icrq(_)
            | Message::Icrp(_)
            | Message::Iccn(_)
            | Message::Cdn(_)
            | Message::Wen(_)
            | Message::Sli(_) => match self.state {
                State::Established => self.on_call_message(now, session_id, message),
                _ => self.keep_early(now, session_id, Ok(message)),
            },
        }
    }

    /// A message that fits no state that the tunnel can be in (RFC 2661 section 7.1).
    fn on_improper(&mut self, now: Time, input: Input) {
        let text = format!("{input:?} in state {:?}", self.state);
        let result = ResultCode::tunnel(TunnelResult::StateMachine, None, &text);
        self.advance(now, input, result.clone(), TunnelCause::Protocol(result));
    }

    fn on_scccn(&mut self, now: Time, scccn: &Scccn) {
        self.transport.acknowledge_by_zlb();
        if self.state != State::WaitCtlConn {
            return self.on_improper(now, Input::ScccnAcceptable);
        }
        let proven = match (self.challenge, &self.config.secret) {
            (Some(challenge), Some(secret)) => {
                let response = scccn.challenge_response.as_ref().map_or(&[][..], |r| &r[..]);
                secret::verify(MessageType::Scccn as u8, secret.expose(), &challenge, response)
            }
            _ => true,
        };
        let input = if proven { Input::ScccnAcceptable } else { Input::ScccnNotAcceptable };
        let text = "the challenge response is missing or wrong";
        let result = ResultCode::tunnel(TunnelResult::NotAuthorized, None, text);
        self.advance(now, input, result, TunnelCause::NotAuthenticated);
    }

    fn on_stop_ccn(&mut self, now: Time, said: &StopCcn) {
        let result = said.result.clone();
        self.adopt_peer_id(said.assigned_tunnel_id);
        self.transport.forget_all();
        self.transport.acknowledge_by_zlb();
        self.advance(now, Input::StopCcn, result.clone(), TunnelCause::Peer(result));
    }

    /// Goes through the state table. `result` and `cause` are for the case that the tunnel ends.
    fn advance(&mut self, now: Time, input: Input, result: ResultCode, cause: TunnelCause) {
        let (actions, state) = table::transition(self.state, input);
        self.state = state;
        let mut cause = Some(cause);
        for action in actions {
            match action {
                Action::SendStopCcn => self.send_stop_ccn(now, result.clone()),
                Action::TunnelOpen => self.on_open(now),
                Action::CleanUp => {
                    if let Some(cause) = cause.take() {
                        self.clean_up(now, cause);
                    }
                }
                // SCCRQ and SCCRP are sent by `connect` and `accept`, SCCCN by `on_sccrp`, who know
                // what to say in them.
                Action::SendSccrp | Action::SendSccrq | Action::SendScccn => {}
                // The owner asks again; nothing is left to be said here.
                Action::RequeueSccrq => {
                    self.transport.forget_all();
                    self.finished = true;
                }
            }
        }
    }

    fn send_stop_ccn(&mut self, now: Time, result: ResultCode) {
        self.transport.forget_unsent();
        let assigned_tunnel_id = Some(self.local_tunnel_id);
        let message = Message::StopCcn(Box::new(StopCcn { assigned_tunnel_id, result }));
        self.send(now, SessionId::UNASSIGNED, &message, Origin::Local);
    }

    fn on_open(&mut self, now: Time) {
        self.deadline = None;
        self.challenge = None;
        self.idle_since = Some(now);
        self.events.push_back(Event::Established {
            peer_host_name: self.peer_host_name.clone(),
            peer_vendor: self.peer_vendor.clone(),
        });
        self.open_waiting(now);
        for (session_id, message) in std::mem::take(&mut self.early) {
            match message {
                Ok(message) => self.on_call_message(now, session_id, message),
                Err(reject) => self.on_call_reject(now, session_id, reject),
            }
        }
    }

    /// Ends all calls without a word, as the RFC has it (section 6.4), and starts the time in which
    /// the peer may repeat itself.
    fn clean_up(&mut self, now: Time, cause: TunnelCause) {
        for session in std::mem::take(&mut self.sessions).into_keys() {
            self.events.push_back(Event::CallEnded { session, cause: CallCause::TunnelClosed });
        }
        self.by_peer_id = BTreeMap::new();
        self.pending = BTreeMap::new();
        self.setups = VecDeque::new();
        self.early = Vec::new();
        self.deadline = Some(now + self.config.timing().cycle());
        self.events.push_back(Event::Closed { cause });
    }

    /// Ends the tunnel with a StopCCN. The peer's answer is awaited for a while: see
    /// [`Tunnel::is_finished`].
    pub fn close(
        &mut self,
        now: Time,
        result: TunnelResult,
        error: Option<ErrorCode>,
        message: &str,
    ) {
        let result = ResultCode::tunnel(result, error, message);
        self.advance(now, Input::LocalClose, result.clone(), TunnelCause::Local(result));
    }

    /// Appends the next datagram's payload to `out`, if there is one.
    pub fn poll_transmit_into(&mut self, out: &mut Vec<u8>) -> bool {
        !self.finished && self.transport.poll_transmit(out)
    }

    /// The next datagram's payload, if there is one.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        self.poll_transmit_into(&mut out).then_some(out)
    }

    /// What the owner must know, the oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether the owner may forget the tunnel: it is closed and nothing will be repeated.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// The identifier in what comes to us.
    pub fn local_tunnel_id(&self) -> TunnelId {
        self.local_tunnel_id
    }

    /// Whether the owner should give [`Tunnel::handle`] the control messages that come from this
    /// tunnel's peer, address and port alike, with a Tunnel ID of 0, all but an SCCRQ; and take data
    /// with that ID for this tunnel's (docs/peers.md row 26).
    pub fn takes_tunnel_id_zero(&self) -> bool {
        self.config.tunnel_id_zero
    }

    /// The identifier in what we send; 0 until the peer has said it.
    pub fn peer_tunnel_id(&self) -> TunnelId {
        self.peer_tunnel_id
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Host Name of the peer, fit for a log.
    pub fn peer_host_name(&self) -> &str {
        &self.peer_host_name
    }

    /// Vendor Name of the peer, fit for a log.
    pub fn peer_vendor(&self) -> Option<&str> {
        self.peer_vendor.as_deref()
    }

    /// Sequence numbers and windows, for the operator.
    pub fn status(&self) -> Status {
        self.transport.status()
    }
}

/// Octets that nobody can foresee.
fn random<const N: usize>(rng: &mut impl RngCore) -> [u8; N] {
    let mut octets = [0; N];
    rng.fill_bytes(&mut octets);
    octets
}

#[cfg(test)]
mod tests;
