//! When messages are repeated and acknowledged (RFC 2661 section 5.8).

use std::time::Duration;

/// Timing and window.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Time from a message to its first retransmission.
    pub retransmit_initial: Duration,
    /// Cap of the doubling.
    pub retransmit_max: Duration,
    /// Retransmissions of one message before the peer counts as dead.
    pub retransmit_tries: u32,
    /// Messages that the peer may have under way to us.
    pub receive_window: u16,
}

impl Timing {
    /// Time between the retransmission number `tries` and the next one.
    pub(super) fn interval(&self, tries: u32) -> Duration {
        let doubled = 1_u32.checked_shl(tries).and_then(|f| self.retransmit_initial.checked_mul(f));
        doubled.unwrap_or(self.retransmit_max).min(self.retransmit_max)
    }

    /// From the first transmission of a message until the peer counts as dead: a full
    /// retransmission cycle, 31 s with the RFC's values.
    pub fn cycle(&self) -> Duration {
        (0..=self.retransmit_tries).map(|tries| self.interval(tries)).sum()
    }

    /// How long an acknowledgement waits for a message to travel with.
    pub(super) fn ack_delay(&self) -> Duration {
        self.retransmit_initial / 4
    }
}
