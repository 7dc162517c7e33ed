//! What the emulated LAC answers to the LNS, and what it reports of its lines.

use std::net::SocketAddr;
use std::time::Duration;

use rand::Rng;
use xlns_control::l2tp::message::{CallErrors, Message, Ocrq, Scccn, Sccrp, Sli, Wen};
use xlns_control::l2tp::result::TunnelResult;
use xlns_control::l2tp::{SessionId, secret};
use xlns_control::time::Time;

use super::lac::{Call, Lac, Line, Stage};
use super::messages;
use super::script::LacOperation;

impl Lac {
    /// Something happens to it.
    pub fn operate(&mut self, now: Time, operation: LacOperation) {
        match operation {
            LacOperation::Crash(pause) => self.crash(now, pause),
            LacOperation::Freeze(pause) => self.freeze(now, pause),
            LacOperation::Stop => self.close(now, TunnelResult::ShuttingDown),
            LacOperation::Move(port) => self.manners.address.set_port(port),
            LacOperation::Misbehave => self.misbehave(now),
            LacOperation::HangUp(line) => self.hang_up(now, line),
            LacOperation::Report(line) => self.report(now, line),
            LacOperation::Terminate(line) => {
                if let Some(line) = self.lines.get_mut(line) {
                    line.subscriber.terminate(now);
                }
            }
            LacOperation::Renegotiate(line) => {
                if let Some(line) = self.lines.get_mut(line)
                    && line.call.is_some_and(|call| call.is_connected())
                {
                    line.subscriber.renegotiate(now);
                }
            }
        }
    }

    pub(super) fn on_message(
        &mut self,
        now: Time,
        from: SocketAddr,
        session: SessionId,
        message: Message,
    ) {
        let Some(control) = &mut self.control else { return };
        match (message, control.stage) {
            (_, Stage::Closing(_)) => {}
            (Message::Sccrp(sccrp), Stage::WaitReply(_)) => self.on_sccrp(now, from, *sccrp),
            (Message::StopCcn(_), _) => self.on_closed(now),
            (Message::Icrp(icrp), Stage::Established) => {
                self.on_icrp(now, session, icrp.assigned_session_id);
            }
            (Message::Ocrq(ocrq), Stage::Established) => self.on_ocrq(now, &ocrq),
            (Message::Cdn(_), Stage::Established) => {
                let at = now + Duration::from_millis(self.rng.random_range(100..8000));
                let named = |line: &&mut Line| line.call.is_some_and(|call| call.id == session);
                if let Some(line) = self.lines.iter_mut().find(named) {
                    line.call = None;
                    line.subscriber.stop();
                    line.dial_at = Some(at);
                }
            }
            _ => {}
        }
    }

    fn on_sccrp(&mut self, now: Time, from: SocketAddr, sccrp: Sccrp) {
        let Some(control) = &mut self.control else { return };
        (control.lns_id, control.lns) = (sccrp.assigned_tunnel_id, from);
        let own = self.manners.secret.unwrap_or_default().as_bytes();
        let expected = control.challenge.take().map(|c| secret::response(2, own, &c));
        if expected.is_some() && expected != sccrp.challenge_response {
            return self.close(now, TunnelResult::NotAuthorized);
        }
        let known = sccrp.challenge.filter(|_| self.manners.secret.is_some());
        let challenge_response = known.map(|c| secret::response(3, own, &c));
        let scccn = Message::Scccn(Scccn { challenge_response });
        control.delivery.send(SessionId::UNASSIGNED, scccn);
        control.stage = Stage::Established;
        for line in &mut self.lines {
            line.dial_at = Some(now + Duration::from_millis(self.rng.random_range(0..3000)));
        }
    }

    fn on_icrp(&mut self, now: Time, session: SessionId, lns_id: SessionId) {
        let Some(control) = &mut self.control else { return };
        let waits = |line: &&mut Line| {
            line.call.is_some_and(|call| call.id == session && call.lns_id.is_none())
        };
        let Some(line) = self.lines.iter_mut().find(waits) else { return };
        if let Some(call) = &mut line.call {
            call.lns_id = Some(lns_id);
        }
        let handover = if self.manners.proxies {
            line.subscriber.start_behind(now, &mut self.rng)
        } else {
            line.subscriber.start(now);
            None
        };
        control.delivery.send(lns_id, messages::iccn(handover));
    }

    /// The LNS wants somebody called: the first line that is free.
    fn on_ocrq(&mut self, now: Time, ocrq: &Ocrq) {
        let Some(control) = &mut self.control else { return };
        let lns_id = ocrq.assigned_session_id;
        let Some(line) = self.lines.iter_mut().find(|line| line.call.is_none()) else {
            return control.delivery.send(lns_id, messages::cdn(SessionId::UNASSIGNED));
        };
        control.session = control.session.wrapping_add(1).max(1);
        let id = SessionId(control.session);
        control.delivery.send(lns_id, messages::ocrp(id));
        let rings = Duration::from_millis(self.rng.random_range(0..5000));
        line.dial_at = None;
        line.call = Some(Call {
            id,
            lns_id: Some(lns_id),
            reply_by: now,
            answered_at: Some(now + rings),
            errors: None,
            link_info: None,
        });
    }

    /// The one called answers.
    pub(super) fn answer(&mut self, now: Time, index: usize) {
        let Some(Line { subscriber, call: Some(call), .. }) = self.lines.get_mut(index) else {
            return;
        };
        call.answered_at = None;
        if let Some(control) = &mut self.control {
            control.delivery.send(call.lns_id.unwrap_or_default(), messages::occn());
        }
        subscriber.start(now);
    }

    /// Tells the LNS what went wrong on a line, or which characters are escaped on it.
    pub fn report(&mut self, now: Time, index: usize) {
        let (number, is_wen) = (self.rng.random(), self.rng.random());
        let Some(Line { call: Some(call), .. }) = self.lines.get_mut(index) else { return };
        let (true, Some(lns_id)) = (call.is_connected(), call.lns_id) else { return };
        let message = if is_wen {
            let errors = CallErrors { crc: number, timeouts: !number, ..CallErrors::default() };
            call.errors = Some(errors);
            Message::Wen(Wen { errors })
        } else {
            let sli = Sli { send_accm: number, receive_accm: !number };
            call.link_info = Some(sli);
            Message::Sli(sli)
        };
        if let Some(control) = &mut self.control {
            control.delivery.send(lns_id, message);
        }
        self.drain(now);
    }
}
