//! What may still come of a protocol that is not open: by itself, by the peer, or by another try.

use std::time::Duration;

use super::Machine;
use crate::ppp::automaton::{Event, State};
use crate::ppp::policy::Policy;
use crate::ppp::transmit::Context;

/// Between two negotiations with a peer that does not answer, although it may believe the protocol to
/// be open: it was deaf for as long as a negotiation takes, and may be so for longer.
const PAUSE: Duration = Duration::from_secs(60);

impl<P: Policy> Machine<P> {
    /// Whether it is open, or can become so without our doing: it negotiates, or the peer, which has
    /// ended it, may begin again. A peer that was asked again only because it is in doubt gives hope
    /// once it says something.
    pub fn is_hopeful(&self) -> bool {
        match self.state {
            State::Opened => true,
            State::ReqSent | State::AckRcvd | State::AckSent => !self.failed || self.heard,
            State::Stopping | State::Stopped => !self.failed,
            State::Initial | State::Starting | State::Closed | State::Closing => false,
        }
    }

    /// Sees to it that a negotiation which ran out of tries does not leave the peer with a protocol
    /// that it believes to be open, where the link lives on and nothing else would tell it (section
    /// 4.3, the restart option). Where the peer did take part and too much was lost, it begins anew
    /// at once; where the peer may be in Opened and is deaf, after a pause.
    pub fn retry(&mut self, context: &mut Context<'_>) {
        if self.state != State::Stopped || !self.failed {
            return;
        }
        if self.heard {
            self.begin_anew(context);
        } else if self.granted {
            self.restart_at = Some(context.now + PAUSE);
        }
    }

    pub(super) fn begin_anew(&mut self, context: &mut Context<'_>) {
        let granted = self.granted;
        self.handle_event(context, Event::Down);
        self.handle_event(context, Event::Up);
        self.granted = granted;
    }

    /// What an event says of that.
    pub(super) fn note_failure(&mut self, event: Event, before: State, next: State) {
        if event == Event::RxjMinus {
            self.failed = true;
            self.heard = false;
        } else if event == Event::TimeoutMinus && before.is_negotiating() {
            self.failed = true;
        } else if next == State::Opened {
            self.failed = false;
        }
    }
}
