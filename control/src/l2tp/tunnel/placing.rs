//! Calls that we ask for, and calls that an LNS asks us to place (RFC 2661 sections 7.4.1 and 7.5).

use std::time::Duration;

use super::calls::Why;
use super::{
    Answer, CALL_SETUP_TIME_MAX, CallCause, CallRequest, CannotPlace, Event, Message, Origin,
    OutgoingRequest, SESSIONS_MAX, SessionId, State as TunnelState, Tunnel,
};
use crate::l2tp::message::{CallErrors, Iccn, Icrp, Occn, Ocrp, Ocrq, Sli, Wen};
use crate::l2tp::result::{CallResult, ErrorCode, ResultCode};
use crate::l2tp::session::{Input, Session, State, lac_incoming, lac_outgoing, lns_outgoing};
use crate::time::Time;

/// Time between two WENs of a call (RFC 2661 section 6.13).
pub const WAN_ERRORS_INTERVAL: Duration = Duration::from_secs(60);

/// What is still to be said of a call that we have asked for.
#[derive(Debug)]
pub(super) enum Pending {
    Incoming(Box<CallRequest>),
    Outgoing(Box<OutgoingRequest>),
}

impl Tunnel {
    /// Hands a call to the LNS, as its LAC: sends ICRQ, and ICCN when the LNS has taken it, which
    /// [`Event::CallConnected`] tells. Where the tunnel is not up yet, the call waits for it.
    ///
    /// # Errors
    /// [`CannotPlace`]; then nothing was sent and no event follows.
    pub fn place_call(
        &mut self,
        now: Time,
        request: CallRequest,
    ) -> Result<SessionId, CannotPlace> {
        let state = State::LacIncoming(lac_incoming::State::Idle);
        let serial = request.call_serial_number;
        self.place(now, state, serial, Pending::Incoming(Box::new(request)))
    }

    /// Asks the LAC to call somebody, as its LNS: sends OCRQ. Where the tunnel is not up yet, the
    /// call waits for it.
    ///
    /// # Errors
    /// [`CannotPlace`]; then nothing was sent and no event follows.
    pub fn place_outgoing_call(
        &mut self,
        now: Time,
        request: OutgoingRequest,
    ) -> Result<SessionId, CannotPlace> {
        let state = State::LnsOutgoing(lns_outgoing::State::Idle);
        let serial = request.call_serial_number;
        self.place(now, state, serial, Pending::Outgoing(Box::new(request)))
    }

    fn place(
        &mut self,
        now: Time,
        state: State,
        call_serial_number: u32,
        pending: Pending,
    ) -> Result<SessionId, CannotPlace> {
        match self.state {
            TunnelState::Closing => return Err(CannotPlace::Closed),
            TunnelState::Established if !self.is_offered(&pending) => {
                return Err(CannotPlace::NotOffered);
            }
            _ => {}
        }
        let session_id = self.free_session_id().ok_or(CannotPlace::NoRoom)?;
        let deadline = now + CALL_SETUP_TIME_MAX;
        let peer_session_id = SessionId::UNASSIGNED;
        let session = Session { peer_session_id, state, call_serial_number, deadline };
        self.sessions.insert(session_id, session);
        self.pending.insert(session_id, pending);
        self.expect_setup(deadline, session_id);
        self.advance_call(now, session_id, Input::LocalOpen, Why::none());
        Ok(session_id)
    }

    /// An identifier for one more call, where there may be one.
    pub(super) fn free_session_id(&mut self) -> Option<SessionId> {
        let sessions_max = self.config.sessions_max.min(SESSIONS_MAX) as usize;
        let in_use = |identifier| self.sessions.contains_key(&SessionId(identifier));
        match self.sessions.len() < sessions_max {
            true => self.identifiers.next(in_use).map(SessionId),
            false => None,
        }
    }

    /// Whether the peer has what a call needs: a framing, and for one that it is to place a bearer
    /// (RFC 2661 section 4.4.3; section 6.9 for a peer that has said nothing of bearers).
    fn is_offered(&self, pending: &Pending) -> bool {
        match pending {
            Pending::Incoming(request) => request.framing_type & self.peer_framing != 0,
            Pending::Outgoing(request) => {
                request.framing_type & self.peer_framing != 0
                    && request.bearer_type & self.peer_bearers != 0
            }
        }
    }

    /// The tunnel is open: calls that have waited for it go on.
    pub(super) fn open_waiting(&mut self, now: Time) {
        let waiting: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.state.waits_for_tunnel())
            .map(|(session_id, _)| *session_id)
            .collect();
        for session_id in waiting {
            self.open_call(now, session_id);
        }
    }

    pub(super) fn open_call(&mut self, now: Time, session_id: SessionId) {
        let offered = self.pending.get(&session_id).is_some_and(|call| self.is_offered(call));
        let (input, cause) = match offered {
            true => (Input::TunnelOpen, CallCause::Local),
            false => (Input::LocalClose, CallCause::NotOffered),
        };
        self.advance_call(now, session_id, input, Why { cause, ..Why::none() });
    }

    pub(super) fn send_icrq(&mut self, now: Time, session_id: SessionId) {
        if let Some(Pending::Incoming(request)) = self.pending.get(&session_id) {
            let icrq = Message::Icrq(Box::new(request.icrq(session_id)));
            self.send(now, SessionId::UNASSIGNED, &icrq, Origin::Local);
        }
    }

    pub(super) fn send_ocrq(&mut self, now: Time, session_id: SessionId) {
        if let Some(Pending::Outgoing(request)) = self.pending.remove(&session_id) {
            let ocrq = request.ocrq(session_id, self.peer_bearers, self.peer_framing);
            let ocrq = Message::Ocrq(Box::new(ocrq));
            self.send(now, SessionId::UNASSIGNED, &ocrq, Origin::Local);
        }
    }

    /// Sends ICCN, and returns what it says.
    pub(super) fn send_iccn(
        &mut self,
        now: Time,
        session_id: SessionId,
        peer_session_id: SessionId,
    ) -> Option<Box<Iccn>> {
        let Some(Pending::Incoming(request)) = self.pending.remove(&session_id) else {
            return None;
        };
        let message = Message::Iccn(Box::new(request.iccn(self.peer_framing)));
        self.send(now, peer_session_id, &message, Origin::Local);
        match message {
            Message::Iccn(iccn) => Some(iccn),
            _ => None,
        }
    }

    /// The LNS has taken a call of ours, if its identifier is a new one.
    pub(super) fn on_icrp(&mut self, now: Time, session_id: SessionId, icrp: Icrp) {
        let assigned = icrp.assigned_session_id;
        if !self.sessions.contains_key(&session_id) {
            // Idle, of a call that we never asked for or have given up (section 7.4.2).
            return self.send_refusal(now, session_id, assigned, Why::improper("ICRP").result);
        }
        let input = match self.assign(session_id, assigned) {
            true => Input::IcrpAcceptable,
            false => Input::IcrpNotAcceptable,
        };
        self.advance_call(now, session_id, input, Why::improper("ICRP"));
    }

    /// The LAC is about to place a call of ours; the telephone rings for as long as it may.
    pub(super) fn on_ocrp(&mut self, now: Time, session_id: SessionId, ocrp: Ocrp) {
        let input = match self.assign(session_id, ocrp.assigned_session_id) {
            true => Input::OcrpAcceptable,
            false => Input::OcrpNotAcceptable,
        };
        self.advance_call(now, session_id, input, Why::improper("OCRP"));
        let connecting = State::LnsOutgoing(lns_outgoing::State::WaitConnect);
        let deadline = now + CALL_SETUP_TIME_MAX;
        if let Some(session) = self.sessions.get_mut(&session_id)
            && session.state == connecting
        {
            session.deadline = deadline;
            self.expect_setup(deadline, session_id);
        }
    }

    /// Takes the peer's identifier of a call that has none yet. Whether it could: one identifier
    /// cannot name two calls.
    pub(super) fn assign(&mut self, session_id: SessionId, assigned: SessionId) -> bool {
        let known = self.by_peer_id.contains_key(&assigned);
        match self.sessions.get_mut(&session_id) {
            Some(session) if session.peer_session_id == SessionId::UNASSIGNED && !known => {
                session.peer_session_id = assigned;
                self.by_peer_id.insert(assigned, session_id);
                true
            }
            _ => false,
        }
    }

    pub(super) fn on_occn(&mut self, now: Time, session_id: SessionId, occn: Occn) {
        self.transport.acknowledge_by_zlb();
        let why = Why { iccn: Some(Box::new(as_iccn(occn))), ..Why::improper("OCCN") };
        self.advance_call(now, session_id, Input::Occn, why);
    }

    /// An LNS wants us to call somebody.
    pub(super) fn on_ocrq(&mut self, now: Time, session_id: SessionId, ocrq: Box<Ocrq>) {
        if self.sessions.contains_key(&session_id) {
            let why = Why::improper("OCRQ");
            return self.advance_call(now, session_id, Input::OcrqNotAcceptable, why);
        }
        let peer_session_id = ocrq.assigned_session_id;
        if let Some(session_id) = self.by_peer_id.get(&peer_session_id).copied() {
            return self.on_ocrq_again(now, session_id, &ocrq);
        }
        if let Err(result) = self.accepts(&ocrq) {
            return self.send_refusal(now, SessionId::UNASSIGNED, peer_session_id, result);
        }
        let state = State::LacOutgoing(lac_outgoing::State::Idle);
        let serial = ocrq.call_serial_number;
        if let Some(session) = self.begin_call(now, state, peer_session_id, serial) {
            self.events.push_back(Event::OutgoingCall { session, ocrq });
        }
    }

    /// Whether we place such calls at all.
    fn accepts(&self, ocrq: &Ocrq) -> Result<(), ResultCode> {
        let text = if self.config.bearers() == 0 {
            "outgoing calls are not offered here"
        } else if ocrq.bearer_type & self.config.bearers() == 0 {
            "no such bearer is offered here"
        } else {
            return Ok(());
        };
        Err(ResultCode::call(CallResult::NoFacilitiesPermanent, None, text))
    }

    /// As for an ICRQ: the same call again gets the same answer, another one ends the first.
    fn on_ocrq_again(&mut self, now: Time, session_id: SessionId, ocrq: &Ocrq) {
        let Some(session) = self.sessions.get(&session_id) else {
            return;
        };
        let state = session.state;
        let same = session.call_serial_number == ocrq.call_serial_number;
        if !same || !matches!(state, State::LacOutgoing(_)) {
            let input = Input::OcrqNotAcceptable;
            return self.advance_call(now, session_id, input, Why::improper("OCRQ"));
        }
        if state == State::LacOutgoing(lac_outgoing::State::WaitCsAnswer) {
            self.send_ocrp(now, session_id, ocrq.assigned_session_id);
        }
    }

    pub(super) fn send_ocrp(
        &mut self,
        now: Time,
        session_id: SessionId,
        peer_session_id: SessionId,
    ) {
        let ocrp = Ocrp { assigned_session_id: session_id, ..Ocrp::default() };
        self.send(now, peer_session_id, &Message::Ocrp(ocrp), Origin::Peer);
    }

    /// Takes an outgoing call that the owner was told of: sends OCRP. The owner now calls, and says
    /// how that went by [`Tunnel::outgoing_call_connected`] or [`Tunnel::disconnect_call`].
    pub fn accept_outgoing_call(&mut self, now: Time, session: SessionId) {
        let idle = State::LacOutgoing(lac_outgoing::State::Idle);
        if self.sessions.get(&session).is_some_and(|session| session.state == idle) {
            self.advance_call(now, session, Input::OcrqAcceptable, Why::improper("OCRQ"));
            self.end_overrun(now);
        }
    }

    /// An outgoing call was answered: sends OCCN, and [`Event::CallConnected`] follows.
    pub fn outgoing_call_connected(&mut self, now: Time, session: SessionId, answer: Answer) {
        let rings = State::LacOutgoing(lac_outgoing::State::WaitCsAnswer);
        if self.sessions.get(&session).is_some_and(|session| session.state == rings) {
            let Answer { tx_connect_speed, rx_connect_speed, .. } = answer;
            let occn = Occn {
                tx_connect_speed,
                rx_connect_speed,
                framing_type: answer.framing_type,
                sequencing_required: answer.sequencing_required,
            };
            let why = Why { iccn: Some(Box::new(as_iccn(occn))), ..Why::none() };
            self.advance_call(now, session, Input::BearerAnswer, why);
        }
    }

    pub(super) fn send_occn(&mut self, now: Time, peer_session_id: SessionId, iccn: &Iccn) {
        let occn = Occn {
            tx_connect_speed: iccn.tx_connect_speed,
            rx_connect_speed: iccn.rx_connect_speed,
            framing_type: iccn.framing_type,
            sequencing_required: iccn.sequencing_required,
        };
        self.send(now, peer_session_id, &Message::Occn(occn), Origin::Local);
    }

    /// Tells the LAC, as its LNS, which characters the subscriber wants escaped: sends SLI. Returns
    /// whether there is such a call that is up. Meant for once a call, when LCP is up.
    pub fn set_link_info(&mut self, now: Time, session: SessionId, sli: Sli) -> bool {
        match self.sessions.get(&session) {
            Some(call) if call.state.is_established() && !call.state.is_lac() => {
                let peer_session_id = call.peer_session_id;
                self.send(now, peer_session_id, &Message::Sli(sli), Origin::Local);
                true
            }
            _ => false,
        }
    }

    /// Tells the LNS, as its LAC, what went wrong on the line since the call came up: sends WEN.
    /// Returns whether it did: there is such a call, it is up, and the last WEN is
    /// [`WAN_ERRORS_INTERVAL`] past (RFC 2661 section 6.13).
    pub fn report_errors(&mut self, now: Time, session: SessionId, errors: CallErrors) -> bool {
        match self.sessions.get_mut(&session) {
            Some(call) if call.state.is_established() && call.state.is_lac() => {
                if call.deadline > now {
                    return false;
                }
                call.deadline = now + WAN_ERRORS_INTERVAL;
                let peer_session_id = call.peer_session_id;
                self.send(now, peer_session_id, &Message::Wen(Wen { errors }), Origin::Local);
                true
            }
            _ => false,
        }
    }

    /// WEN and SLI are of use to the owner only where the call is up.
    pub(super) fn on_status(&mut self, session: SessionId, message: &Message) {
        if !self.sessions.get(&session).is_some_and(|call| call.state.is_established()) {
            return;
        }
        match message {
            Message::Sli(sli) => self.events.push_back(Event::LinkInfo { session, sli: *sli }),
            Message::Wen(wen) => {
                self.events.push_back(Event::WanErrors { session, errors: wen.errors });
            }
            _ => {}
        }
    }

    /// A call that the peer has asked for, not answered yet. `None`: it was refused for want of
    /// room.
    pub(super) fn begin_call(
        &mut self,
        now: Time,
        state: State,
        peer_session_id: SessionId,
        call_serial_number: u32,
    ) -> Option<SessionId> {
        let free = if self.transport.is_busy() { None } else { self.free_session_id() };
        let Some(session_id) = free else {
            let error = Some(ErrorCode::Resources);
            let result = ResultCode::call(CallResult::Error, error, "no room for another call");
            self.send_refusal(now, SessionId::UNASSIGNED, peer_session_id, result);
            return None;
        };
        let deadline = now + CALL_SETUP_TIME_MAX;
        let session = Session { peer_session_id, state, call_serial_number, deadline };
        self.sessions.insert(session_id, session);
        self.by_peer_id.insert(peer_session_id, session_id);
        self.expect_setup(deadline, session_id);
        Some(session_id)
    }
}

/// What an OCCN says, as an ICCN would.
fn as_iccn(occn: Occn) -> Iccn {
    Iccn {
        tx_connect_speed: occn.tx_connect_speed,
        rx_connect_speed: occn.rx_connect_speed,
        framing_type: occn.framing_type,
        sequencing_required: occn.sequencing_required,
        ..Iccn::default()
    }
}
