//! Signs of life of what is up: HELLOs of tunnels, and echoes of sessions (RFC 1661 section 5.8).

use std::time::Duration;

use super::Emulator;
use super::call::Phase;
use super::tunnel::State;
use super::wire::{ControlMessage, message};

/// How often each tunnel says HELLO, and how often a part of the sessions sends an echo.
#[derive(Debug, Clone, Copy)]
pub struct KeepAlive {
    /// Between two HELLOs of a tunnel, and between two rounds of echoes.
    pub interval: Duration,
    /// Sessions that send an Echo-Request in each round, in turn.
    pub echoes: usize,
}

/// What of it is under way.
#[derive(Default)]
pub struct Rounds {
    next: Option<Duration>,
    cursor: usize,
}

impl Emulator {
    /// Sends what is due while calls are held.
    pub(super) fn keep_alive(&mut self, now: Duration) {
        let Some(KeepAlive { interval, echoes }) = self.plan.keep_alive else { return };
        if now < *self.rounds.next.get_or_insert(now + interval) {
            return;
        }
        self.rounds.next = Some(now + interval);
        for number in 0..self.tunnels.len() {
            let Some(tunnel) = self.tunnels.get_mut(number) else { continue };
            if tunnel.state == State::Up {
                tunnel.send(ControlMessage::new(tunnel.peer_id, 0, message::HELLO).finish());
                self.touch(number);
            }
        }
        for _ in 0..echoes.min(self.calls.len()) {
            let index = self.rounds.cursor;
            self.rounds.cursor = (index + 1) % self.calls.len();
            let Some(call) = self.calls.get_mut(index) else { continue };
            if call.phase == Phase::Open {
                call.subscriber.echo(&mut self.packets);
                self.outcome.echoes_sent += 1;
                self.send_packets(index);
            }
        }
    }
}
