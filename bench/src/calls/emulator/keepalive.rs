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

/// Whether what is held is alive, as it was when a round of signs began: all answers to the rounds
/// before have had their time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Vitals {
    /// Rounds so far.
    pub round: u64,
    /// Calls that are up.
    pub held: u32,
    /// Calls that were up and ended, though nobody here wanted it.
    pub calls_lost: u64,
    /// Tunnels that are up.
    pub tunnels: u32,
    /// Tunnels that have had to repeat themselves and still wait for an acknowledgement.
    pub tunnels_waiting: u32,
    /// HELLOs sent so far.
    pub hellos_sent: u64,
    /// Messages sent again so far, for want of an acknowledgement.
    pub retransmissions: u64,
    /// Echo-Requests of sessions so far, and their answers.
    pub echoes_sent: u64,
    /// See `echoes_sent`.
    pub echoes_answered: u64,
}

/// What of it is under way.
#[derive(Default)]
pub struct Rounds {
    next: Option<Duration>,
    cursor: usize,
    vitals: Vitals,
}

impl Emulator {
    /// Whether what is held was alive when the last round of signs began.
    pub fn vitals(&self) -> Vitals {
        self.rounds.vitals
    }

    fn take_vitals(&mut self) {
        let up = self.tunnels.iter().filter(|tunnel| tunnel.state == State::Up);
        self.rounds.vitals = Vitals {
            round: self.rounds.vitals.round + 1,
            held: self.in_progress().1,
            calls_lost: self.outcome.lost,
            tunnels: up.clone().count() as u32,
            tunnels_waiting: up.filter(|tunnel| tunnel.is_overdue()).count() as u32,
            hellos_sent: self.outcome.hellos_sent,
            retransmissions: self.tunnels.iter().map(|tunnel| tunnel.retransmissions).sum(),
            echoes_sent: self.outcome.echoes_sent,
            echoes_answered: self.outcome.echoes_answered,
        };
    }

    /// Sends what is due while calls are held.
    pub(super) fn keep_alive(&mut self, now: Duration) {
        let Some(KeepAlive { interval, echoes }) = self.plan.keep_alive else { return };
        if now < *self.rounds.next.get_or_insert(now + interval) {
            return;
        }
        self.rounds.next = Some(now + interval);
        self.take_vitals();
        for number in 0..self.tunnels.len() {
            let Some(tunnel) = self.tunnels.get_mut(number) else { continue };
            if tunnel.state == State::Up {
                tunnel.send(ControlMessage::new(tunnel.peer_id, 0, message::HELLO).finish());
                self.outcome.hellos_sent += 1;
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
