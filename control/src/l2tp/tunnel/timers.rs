//! What time does to a tunnel: silence, set-ups that stay half open, tunnels without calls.

use super::{
    Header, Input, Message, Origin, ResultCode, SessionId, State, Tunnel, TunnelCause, TunnelResult,
};
use crate::time::Time;

impl Tunnel {
    /// Data came from the peer: a sign of life like any control message (RFC 2661 section 5.5,
    /// docs/peers.md row 7). Telling it every few seconds is enough.
    pub fn handle_activity(&mut self, now: Time) {
        self.transport.heard(now);
    }

    fn say_hello(&mut self, now: Time) {
        self.send(now, SessionId::UNASSIGNED, &Message::Hello, Origin::Local);
    }

    /// Asks the peer whether it is there, where nothing else is on its way that asks.
    pub fn probe(&mut self, now: Time) {
        if self.state == State::Established && self.transport.is_idle() {
            self.say_hello(now);
        }
    }

    /// Whether a control message has the numbers that the peer would use now.
    pub fn is_next(&self, header: &Header) -> bool {
        self.transport.is_next(header)
    }

    /// When the peer was last heard.
    pub fn last_heard(&self) -> Time {
        self.transport.last_heard()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        self.transport.handle_timeout(now);
        if self.transport.is_dead() {
            return self.on_dead(now);
        }
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.deadline = None;
            if self.state == State::Closing {
                self.finished = true;
                return;
            }
            let text = match self.state {
                State::WaitCtlReply => "no SCCRP came in time",
                _ => "no SCCCN came in time",
            };
            let result = ResultCode::tunnel(TunnelResult::Cleared, None, text);
            self.advance(now, Input::LocalClose, result, TunnelCause::SetupTimeout);
        }
        self.end_late_setups(now);
        if self.idle_at().is_some_and(|at| at <= now) {
            let result = ResultCode::tunnel(TunnelResult::Cleared, None, "no call for too long");
            return self.advance(now, Input::LocalClose, result, TunnelCause::Idle);
        }
        if self.hello_at().is_some_and(|at| at <= now) {
            self.say_hello(now);
        }
    }

    fn on_dead(&mut self, now: Time) {
        if self.state != State::Closing {
            self.state = State::Closing;
            self.clean_up(now, TunnelCause::Dead);
        }
        // A full cycle without an answer has passed already.
        self.transport.forget_all();
        self.finished = true;
    }

    /// When a HELLO is due: never while something else is unanswered, that serves as well.
    fn hello_at(&self) -> Option<Time> {
        let wanted = self.state == State::Established
            && self.transport.is_idle()
            && !self.config.hello_interval.is_zero();
        wanted.then(|| self.transport.last_heard() + self.config.hello_interval)
    }

    /// When the tunnel has been without a call for too long (RFC 2661 section 7.6 leaves that to
    /// us).
    fn idle_at(&self) -> Option<Time> {
        let wanted = self.state == State::Established
            && self.sessions.is_empty()
            && !self.config.idle_timeout.is_zero();
        self.idle_since.filter(|_| wanted).map(|since| since + self.config.idle_timeout)
    }

    /// When [`Tunnel::handle_timeout`] is due; looks at five values, however many calls there are.
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.finished {
            return None;
        }
        let setup = self.setups.front().map(|(deadline, _)| *deadline);
        let (hello, idle) = (self.hello_at(), self.idle_at());
        let timers = [self.transport.poll_timeout(), self.deadline, setup, hello, idle];
        timers.into_iter().flatten().min()
    }
}
