//! The calls of a tunnel (RFC 2661 sections 5.2 and 7.4).

use std::collections::BTreeMap;

use super::{CallCause, Event, SessionId, State as TunnelState, Tunnel};
use crate::l2tp::message::{Cdn, Iccn, Icrp, Icrq, Message, Reject};
use crate::l2tp::result::{CallResult, ErrorCode, PppDisconnectCause, ResultCode};
use crate::l2tp::session::{self, Action, Input, Session, State, lns_incoming};
use crate::l2tp::transport::Origin;
use crate::time::Time;

/// Deadlines of calls that are over or up, that may stay in the queue whatever it holds else.
const SETUPS_SPARE: usize = 1024;

/// What a step through the state table may need to say.
pub(super) struct Why {
    /// In a CDN.
    pub(super) result: ResultCode,
    pub(super) ppp_cause: Option<PppDisconnectCause>,
    /// Who caused the CDN.
    pub(super) origin: Origin,
    /// To the owner.
    pub(super) cause: CallCause,
    /// What came in an ICCN or OCCN, or is to be said in an OCCN.
    pub(super) iccn: Option<Box<Iccn>>,
}

impl Why {
    fn protocol(result: ResultCode) -> Self {
        let cause = CallCause::Protocol(result.clone());
        Self { result, ppp_cause: None, origin: Origin::Peer, cause, iccn: None }
    }

    pub(super) fn improper(message: &str) -> Self {
        let text = format!("{message} does not fit the call's state");
        let error = Some(ErrorCode::SessionId);
        Self::protocol(ResultCode::call(CallResult::Error, error, &text))
    }

    /// For steps that end nothing.
    pub(super) fn none() -> Self {
        Self::local(ResultCode::call(CallResult::Administrative, None, ""))
    }

    fn local(result: ResultCode) -> Self {
        let cause = CallCause::Local;
        Self { result, ppp_cause: None, origin: Origin::Local, cause, iccn: None }
    }
}

impl Tunnel {
    /// Takes a call that the owner was told of: sends ICRP.
    pub fn accept_call(&mut self, now: Time, session: SessionId) {
        let idle = State::LnsIncoming(lns_incoming::State::Idle);
        if self.sessions.get(&session).is_some_and(|session| session.state == idle) {
            let why = Why::improper("ICRQ");
            self.advance_call(now, session, Input::IcrqAcceptable, why);
            self.end_overrun(now);
        }
    }

    /// Turns down a call that the owner was told of: sends CDN.
    pub fn refuse_call(
        &mut self,
        now: Time,
        session: SessionId,
        result: CallResult,
        error: Option<ErrorCode>,
        message: &str,
    ) {
        self.disconnect_call(now, session, result, error, message, None);
    }

    /// Ends a call: sends CDN. Ends it also where it was not answered yet.
    pub fn disconnect_call(
        &mut self,
        now: Time,
        session: SessionId,
        result: CallResult,
        error: Option<ErrorCode>,
        message: &str,
        ppp_cause: Option<PppDisconnectCause>,
    ) {
        let why = Why::local(ResultCode::call(result, error, message));
        self.advance_call(now, session, Input::LocalClose, Why { ppp_cause, ..why });
    }

    /// One call, by our identifier.
    pub fn session(&self, session: SessionId) -> Option<&Session> {
        self.sessions.get(&session)
    }

    /// All calls by our identifiers, in their order.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.sessions.iter().map(|(session_id, session)| (*session_id, session))
    }

    /// How many calls there are.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn on_call_message(&mut self, now: Time, session_id: SessionId, message: Message) {
        match message {
            Message::Icrq(icrq) => self.on_icrq(now, session_id, icrq),
            Message::Icrp(icrp) => self.on_icrp(now, session_id, icrp),
            Message::Iccn(iccn) => {
                self.transport.acknowledge_by_zlb();
                let why = Why { iccn: Some(iccn), ..Why::improper("ICCN") };
                self.advance_call(now, session_id, Input::IccnAcceptable, why);
            }
            Message::Ocrq(ocrq) => self.on_ocrq(now, session_id, ocrq),
            Message::Ocrp(ocrp) => self.on_ocrp(now, session_id, ocrp),
            Message::Occn(occn) => self.on_occn(now, session_id, occn),
            Message::Cdn(cdn) => self.on_cdn(now, session_id, cdn),
            Message::Wen(_) | Message::Sli(_) => self.on_status(session_id, &message),
            // No call's.
            Message::Sccrq(_)
            | Message::Sccrp(_)
            | Message::Scccn(_)
            | Message::StopCcn(_)
            | Message::Hello
            | Message::Unknown(_) => {}
        }
    }

    fn on_icrq(&mut self, now: Time, session_id: SessionId, icrq: Box<Icrq>) {
        if self.sessions.contains_key(&session_id) {
            // A request does not name a call of ours in its header, but where it means that one.
            let why = Why::improper("ICRQ");
            return self.advance_call(now, session_id, Input::IcrqNotAcceptable, why);
        }
        let peer_session_id = icrq.assigned_session_id;
        if let Some(session_id) = self.by_peer_id.get(&peer_session_id).copied() {
            return self.on_icrq_again(now, session_id, &icrq);
        }
        let state = State::LnsIncoming(lns_incoming::State::Idle);
        let serial = icrq.call_serial_number;
        if let Some(session) = self.begin_call(now, state, peer_session_id, serial) {
            self.events.push_back(Event::IncomingCall { session, icrq });
        }
    }

    /// An ICRQ with an identifier that names a call already. The same call again gets the same
    /// answer (docs/peers.md row 21); another one means that the peer has forgotten the first.
    fn on_icrq_again(&mut self, now: Time, session_id: SessionId, icrq: &Icrq) {
        let Some(session) = self.sessions.get(&session_id).copied() else {
            return;
        };
        let same = session.call_serial_number == icrq.call_serial_number;
        if !same || !matches!(session.state, State::LnsIncoming(_)) {
            let input = Input::IcrqNotAcceptable;
            return self.advance_call(now, session_id, input, Why::improper("ICRQ"));
        }
        if session.state == State::LnsIncoming(lns_incoming::State::WaitConnect) {
            self.send_icrp(now, session_id, session.peer_session_id);
        }
    }

    /// The call is the one that the header names, else the one that the AVP names: some peers leave
    /// the one away, some the other (docs/peers.md row 27).
    fn on_cdn(&mut self, now: Time, session_id: SessionId, cdn: Box<Cdn>) {
        let session_id = self.known_session(session_id, cdn.assigned_session_id);
        if let Some(session_id) = session_id {
            let why = Why { cause: CallCause::Peer(cdn), ..Why::improper("CDN") };
            self.advance_call(now, session_id, Input::Cdn, why);
        }
    }

    fn known_session(&self, local: SessionId, peer: Option<SessionId>) -> Option<SessionId> {
        if self.sessions.contains_key(&local) {
            return Some(local);
        }
        peer.and_then(|peer| self.by_peer_id.get(&peer).copied())
    }

    /// A call's message is not acceptable: the call ends, or does not begin.
    pub(super) fn on_call_reject(&mut self, now: Time, session_id: SessionId, reject: Reject) {
        match self.known_session(session_id, reject.assigned_session_id) {
            Some(session_id) => {
                // The answer to our request, maybe: then the CDN has an addressee.
                if let Some(assigned) = reject.assigned_session_id {
                    self.assign(session_id, assigned);
                }
                let input = Input::LocalClose;
                self.advance_call(now, session_id, input, Why::protocol(reject.result));
            }
            None => {
                let peer_session_id = reject.assigned_session_id.unwrap_or_default();
                self.send_refusal(now, session_id, peer_session_id, reject.result);
            }
        }
    }

    /// Goes through a call's state table.
    pub(super) fn advance_call(
        &mut self,
        now: Time,
        session_id: SessionId,
        input: Input,
        why: Why,
    ) {
        let Some(session) = self.sessions.get_mut(&session_id) else {
            return;
        };
        let (actions, state) = session::transition(session.state, input);
        session.state = state;
        if state.is_established() && actions.contains(&Action::PrepareForData) {
            // From here on the time of the next WEN.
            session.deadline = now;
        }
        let peer_session_id = session.peer_session_id;
        let Why { result, ppp_cause, origin, cause, mut iccn } = why;
        // No row of the table does the same thing twice.
        let (mut said, mut cause) = (Some((result, ppp_cause)), Some(cause));
        for action in actions {
            match action {
                Action::OpenTunnel if self.state == TunnelState::Established => {
                    self.open_call(now, session_id);
                }
                Action::OpenTunnel => {}
                Action::SendIcrq => self.send_icrq(now, session_id),
                Action::SendIcrp => self.send_icrp(now, session_id, peer_session_id),
                Action::SendIccn => iccn = self.send_iccn(now, session_id, peer_session_id),
                Action::SendOcrq => self.send_ocrq(now, session_id),
                Action::SendOcrp => self.send_ocrp(now, session_id, peer_session_id),
                Action::SendOccn => {
                    if let Some(iccn) = &iccn {
                        self.send_occn(now, peer_session_id, iccn);
                    }
                }
                Action::SendCdn => {
                    if let Some((result, ppp_cause)) = said.take() {
                        let assigned_session_id = Some(session_id);
                        let cdn = Cdn { result, assigned_session_id, q931_cause: None, ppp_cause };
                        self.send(now, peer_session_id, &Message::Cdn(Box::new(cdn)), origin);
                    }
                }
                Action::PrepareForData => {
                    if let Some(iccn) = iccn.take() {
                        let session = session_id;
                        self.events.push_back(Event::CallConnected { session, iccn });
                    }
                }
                Action::CleanUp => self.forget_call(now, session_id, cause.take()),
            }
        }
        self.forget_setups();
    }

    fn forget_call(&mut self, now: Time, session: SessionId, cause: Option<CallCause>) {
        let Some(Session { peer_session_id, .. }) = self.sessions.remove(&session) else {
            return;
        };
        if self.by_peer_id.get(&peer_session_id) == Some(&session) {
            self.by_peer_id.remove(&peer_session_id);
        }
        self.pending.remove(&session);
        self.idle_since = Some(now);
        if let Some(cause) = cause {
            self.events.push_back(Event::CallEnded { session, cause });
        }
    }

    fn send_icrp(&mut self, now: Time, session_id: SessionId, peer_session_id: SessionId) {
        let icrp = Icrp { assigned_session_id: session_id, ..Icrp::default() };
        self.send(now, peer_session_id, &Message::Icrp(icrp), Origin::Peer);
    }

    /// A CDN for a call that is none here. It names as ours what the peer has named in its header,
    /// else an identifier that nobody has.
    pub(super) fn send_refusal(
        &mut self,
        now: Time,
        named: SessionId,
        peer_session_id: SessionId,
        result: ResultCode,
    ) {
        let in_use = |identifier| self.sessions.contains_key(&SessionId(identifier));
        let assigned_session_id = match named {
            SessionId::UNASSIGNED => self.identifiers.next(in_use).map(SessionId),
            named => Some(named),
        };
        let cdn = Cdn { result, assigned_session_id, q931_cause: None, ppp_cause: None };
        self.send(now, peer_session_id, &Message::Cdn(Box::new(cdn)), Origin::Peer);
    }

    /// Queues a call's deadline. Where one call waits long at the front, those that came and went
    /// behind it are cleared out each time that they outnumber the living.
    pub(super) fn expect_setup(&mut self, deadline: Time, session_id: SessionId) {
        if self.setups.len() > SETUPS_SPARE + 2 * self.sessions.len() {
            let sessions = &self.sessions;
            self.setups.retain(|setup| is_awaited(sessions, setup));
        }
        self.setups.push_back((deadline, session_id));
    }

    /// Drops calls from the front of the queue of deadlines that wait for nothing any more.
    fn forget_setups(&mut self) {
        while self.setups.front().is_some_and(|setup| !is_awaited(&self.sessions, setup)) {
            self.setups.pop_front();
        }
    }

    pub(super) fn end_late_setups(&mut self, now: Time) {
        self.forget_setups();
        while let Some((_, session_id)) = self.setups.front().filter(|(at, _)| *at <= now).copied()
        {
            let text = "not connected in time";
            let result = ResultCode::call(CallResult::NotInTime, None, text);
            let why = Why { cause: CallCause::SetupTimeout, ..Why::local(result) };
            // Ends the call, and so takes it from the queue.
            self.advance_call(now, session_id, Input::LocalClose, why);
        }
    }
}

/// Whether a deadline is that of a call that is still being set up.
fn is_awaited(
    sessions: &BTreeMap<SessionId, Session>,
    (deadline, session_id): &(Time, SessionId),
) -> bool {
    sessions
        .get(session_id)
        .is_some_and(|session| session.deadline == *deadline && !session.state.is_established())
}
