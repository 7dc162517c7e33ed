//! The calls of a tunnel (RFC 2661 sections 5.2 and 7.4).

use std::collections::BTreeMap;

use super::{
    CALL_SETUP_TIME_MAX, CallCause, Event, SESSIONS_MAX, SessionId, State as TunnelState, Tunnel,
};
use crate::l2tp::message::{Cdn, Iccn, Icrp, Icrq, Message, Reject};
use crate::l2tp::result::{CallResult, ErrorCode, PppDisconnectCause, ResultCode};
use crate::l2tp::session::{self, Action, Input, Session, State};
use crate::l2tp::transport::Origin;
use crate::time::Time;

/// Deadlines of calls that are over or up, that may stay in the queue whatever it holds else.
const SETUPS_SPARE: usize = 1024;

/// What a step through the state table may need to say.
struct Why {
    /// In a CDN.
    result: ResultCode,
    ppp_cause: Option<PppDisconnectCause>,
    /// Who caused the CDN.
    origin: Origin,
    /// To the owner.
    cause: CallCause,
    /// What came, where it was an ICCN.
    iccn: Option<Box<Iccn>>,
}

impl Why {
    fn protocol(result: ResultCode) -> Self {
        let cause = CallCause::Protocol(result.clone());
        Self { result, ppp_cause: None, origin: Origin::Peer, cause, iccn: None }
    }

    fn improper(message: &str) -> Self {
        let text = format!("{message} does not fit the call's state");
        let error = Some(ErrorCode::SessionId);
        Self::protocol(ResultCode::call(CallResult::Error, error, &text))
    }

    fn local(result: ResultCode) -> Self {
        let cause = CallCause::Local;
        Self { result, ppp_cause: None, origin: Origin::Local, cause, iccn: None }
    }
}

impl Tunnel {
    /// Takes a call that the owner was told of: sends ICRP.
    pub fn accept_call(&mut self, now: Time, session: SessionId) {
        if self.sessions.get(&session).is_some_and(|session| session.state == State::Idle) {
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
            Message::Icrq(icrq) => self.on_icrq(now, icrq),
            Message::Iccn(iccn) => {
                self.transport.acknowledge_by_zlb();
                let why = Why { iccn: Some(iccn), ..Why::improper("ICCN") };
                self.advance_call(now, session_id, Input::IccnAcceptable, why);
            }
            Message::Cdn(cdn) => self.on_cdn(now, session_id, cdn),
            Message::Icrp(icrp) => {
                let why = Why::improper("ICRP");
                if self.sessions.contains_key(&session_id) {
                    return self.advance_call(now, session_id, Input::Icrp, why);
                }
                // Idle, of a call that we never asked for (section 7.4.2).
                self.send_refusal(now, icrp.assigned_session_id, why.result);
            }
            Message::Ocrq(ocrq) => {
                let text = "outgoing calls are not offered here";
                let result = ResultCode::call(CallResult::NoFacilitiesPermanent, None, text);
                self.send_refusal(now, ocrq.assigned_session_id, result);
            }
            // Idle, of a call that we never asked for: nothing (section 7.5.2). The rest is no
            // call's.
            Message::Ocrp(_)
            | Message::Occn(_)
            | Message::Sccrq(_)
            | Message::Sccrp(_)
            | Message::Scccn(_)
            | Message::StopCcn(_)
            | Message::Hello
            | Message::Wen(_)
            | Message::Sli(_)
            | Message::Unknown(_) => {}
        }
    }

    fn on_icrq(&mut self, now: Time, icrq: Box<Icrq>) {
        let peer_session_id = icrq.assigned_session_id;
        if let Some(session_id) = self.by_peer_id.get(&peer_session_id).copied() {
            return self.on_icrq_again(now, session_id, &icrq);
        }
        let sessions_max = self.config.sessions_max.min(SESSIONS_MAX) as usize;
        let in_use = |identifier| self.sessions.contains_key(&SessionId(identifier));
        let session_id = match self.sessions.len() < sessions_max && !self.transport.is_busy() {
            true => self.identifiers.next(in_use).map(SessionId),
            false => None,
        };
        let Some(session_id) = session_id else {
            let error = Some(ErrorCode::Resources);
            let result = ResultCode::call(CallResult::Error, error, "no room for another call");
            return self.send_refusal(now, peer_session_id, result);
        };
        let deadline = now + CALL_SETUP_TIME_MAX;
        let state = State::Idle;
        let call_serial_number = icrq.call_serial_number;
        let session = Session { peer_session_id, state, call_serial_number, deadline };
        self.sessions.insert(session_id, session);
        self.by_peer_id.insert(peer_session_id, session_id);
        self.expect_setup(deadline, session_id);
        self.events.push_back(Event::IncomingCall { session: session_id, icrq });
    }

    /// An ICRQ with an identifier that names a call already. The same call again gets the same
    /// answer (docs/peers.md row 21); another one means that the peer has forgotten the first.
    fn on_icrq_again(&mut self, now: Time, session_id: SessionId, icrq: &Icrq) {
        let Some(session) = self.sessions.get(&session_id).copied() else {
            return;
        };
        if session.call_serial_number != icrq.call_serial_number {
            let input = match session.state {
                State::Idle => Input::IcrqNotAcceptable,
                State::WaitConnect | State::Established => Input::IcrqAcceptable,
            };
            return self.advance_call(now, session_id, input, Why::improper("ICRQ"));
        }
        if session.state == State::WaitConnect {
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
        if self.state != TunnelState::Established {
            return;
        }
        match self.known_session(session_id, reject.assigned_session_id) {
            Some(session_id) => {
                let input = Input::LocalClose;
                self.advance_call(now, session_id, input, Why::protocol(reject.result));
            }
            None => {
                let peer_session_id = reject.assigned_session_id.unwrap_or_default();
                self.send_refusal(now, peer_session_id, reject.result);
            }
        }
    }

    /// Goes through a call's state table.
    fn advance_call(&mut self, now: Time, session_id: SessionId, input: Input, why: Why) {
        let Some(session) = self.sessions.get_mut(&session_id) else {
            return;
        };
        let (actions, state) = session::transition(session.state, input);
        session.state = state;
        let peer_session_id = session.peer_session_id;
        let Why { result, ppp_cause, origin, cause, iccn } = why;
        // No row of the table does the same thing twice.
        let (mut said, mut cause, mut iccn) = (Some((result, ppp_cause)), Some(cause), iccn);
        for action in actions {
            match action {
                Action::SendIcrp => self.send_icrp(now, session_id, peer_session_id),
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
                Action::CleanUp => {
                    self.sessions.remove(&session_id);
                    self.by_peer_id.remove(&peer_session_id);
                    if let Some(cause) = cause.take() {
                        let session = session_id;
                        self.events.push_back(Event::CallEnded { session, cause });
                    }
                }
            }
        }
        self.forget_setups();
    }

    fn send_icrp(&mut self, now: Time, session_id: SessionId, peer_session_id: SessionId) {
        let icrp = Icrp { assigned_session_id: session_id };
        self.send(now, peer_session_id, &Message::Icrp(icrp), Origin::Peer);
    }

    /// A CDN for a call that never was one here. The identifier that it must name as ours is one
    /// that nobody has.
    fn send_refusal(&mut self, now: Time, peer_session_id: SessionId, result: ResultCode) {
        let in_use = |identifier| self.sessions.contains_key(&SessionId(identifier));
        let assigned_session_id = self.identifiers.next(in_use).map(SessionId);
        let cdn = Cdn { result, assigned_session_id, q931_cause: None, ppp_cause: None };
        self.send(now, peer_session_id, &Message::Cdn(Box::new(cdn)), Origin::Peer);
    }

    /// Queues a call's deadline. Where one call waits long at the front, those that came and went
    /// behind it are cleared out each time that they outnumber the living.
    fn expect_setup(&mut self, deadline: Time, session_id: SessionId) {
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
        .is_some_and(|session| session.deadline == *deadline && session.state != State::Established)
}
