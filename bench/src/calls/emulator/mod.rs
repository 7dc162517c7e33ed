//! An emulator of many LACs and subscribers, against any LNS: a machine without sockets or clock,
//! and the loop that runs it on UDP.
//!
//! [`Emulator`] is told what comes by `handle_*` and drained by `poll_*`. It opens its tunnels, places
//! calls at a rate or as fast as they come up, holds them, ends the oldest for new ones, and at
//! last ends all. A call is up once IPCP is open on both sides; its set-up time runs from the moment
//! at which it was due, so that a call that had to wait for the tunnel's window counts as slow.

pub mod run;
pub mod subscriber;
pub(crate) mod wire;

mod call;
mod keepalive;
mod load;
mod outcome;
mod sockets;
mod tunnel;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use xlns_control::l2tp::header;

pub use call::Established;
pub use keepalive::{KeepAlive, Vitals};
pub use load::Plan;
pub use outcome::{Outcome, SetupBucket};
pub use tunnel::RETRANSMIT_AFTER;

use call::Call;
use load::Load;
use tunnel::{Receipt, State, Tunnel};
use wire::{ControlMessage, attribute, message};

/// Messages that the LNS may have under way to us.
const RECEIVE_WINDOW: u16 = 1024;

/// Our Tunnel IDs are the numbers of the tunnels, from here on.
const FIRST_TUNNEL_ID: u16 = 1;

/// The most tunnels.
pub const TUNNELS_MAX: u16 = 32_768;

/// What our challenge-less SCCRQ says of protocol and framing.
const PROTOCOL: [u8; 2] = [1, 0];
const FRAMING: [u8; 4] = [0, 0, 0, 3];

/// StopCCN's and CDN's reasons: a general request to clear (RFC 2661 section 4.4.2).
const CLEAR_TUNNEL: [u8; 2] = [0, 1];
const CLEAR_CALL: [u8; 2] = [0, 3];

/// A datagram to send.
pub struct Datagram {
    /// Number of the socket.
    pub source: usize,
    /// Where to.
    pub lns: SocketAddr,
    /// UDP payload.
    pub payload: Vec<u8>,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Tunnels are being opened.
    Tunnels,
    /// Calls are placed and held.
    Calls,
    /// Calls and tunnels are ended.
    End,
    /// Nothing is left.
    Over,
}

/// Many LACs.
pub struct Emulator {
    plan: Plan,
    stage: Stage,
    tunnels: Vec<Tunnel>,
    /// Numbers of tunnels that may have something to send.
    busy: VecDeque<usize>,
    is_busy: Vec<bool>,
    calls: Vec<Call>,
    free: Vec<usize>,
    load: Load,
    rounds: keepalive::Rounds,
    outcome: Outcome,
    datagrams: VecDeque<Datagram>,
    packets: Vec<subscriber::Packet>,
}

impl Emulator {
    /// One that has not said anything yet.
    pub fn new(plan: Plan) -> Self {
        let sources = plan.sources.len().max(1);
        let tunnel = |number: u16| {
            let source = usize::from(number) % sources;
            Tunnel::new(FIRST_TUNNEL_ID + number, source, plan.lns)
        };
        let tunnels: Vec<_> = (0..plan.tunnels.min(TUNNELS_MAX)).map(tunnel).collect();
        Self {
            stage: Stage::Tunnels,
            is_busy: vec![false; tunnels.len()],
            busy: VecDeque::new(),
            tunnels,
            calls: Vec::new(),
            free: Vec::new(),
            load: Load::default(),
            rounds: keepalive::Rounds::default(),
            outcome: Outcome::default(),
            datagrams: VecDeque::new(),
            packets: Vec::new(),
            plan,
        }
    }

    /// How far the run is.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// What has come of it so far.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// What has come of it.
    pub fn into_outcome(mut self) -> Outcome {
        let sum = self.tunnels.iter().map(|tunnel| tunnel.retransmissions).sum();
        self.outcome.retransmissions_control = sum;
        self.outcome
    }

    /// Takes a datagram in.
    pub fn handle_datagram(&mut self, now: Duration, from: SocketAddr, datagram: &[u8]) {
        let Ok(header) = header::parse(datagram) else { return };
        let Some(number) = header.tunnel_id.0.checked_sub(FIRST_TUNNEL_ID) else { return };
        let number = usize::from(number);
        let Some(tunnel) = self.tunnels.get_mut(number) else { return };
        let body = header.payload(datagram);
        if !header.control {
            if let Some(call) = tunnel.call(header.session_id.0) {
                self.handle_frame(now, call, body);
            }
            return;
        }
        let receipt = tunnel.receive(now, header.ns.0, header.nr.0, !body.is_empty());
        if receipt == Receipt::Deliver {
            if tunnel.state == State::Opening {
                // The answer may come from another address (RFC 2661 section 8.1).
                tunnel.lns = from;
            }
            self.handle_message(number, header.session_id.0, body);
        }
        self.touch(number);
    }

    fn handle_message(&mut self, number: usize, session: u16, body: &[u8]) {
        let Some((attribute::MESSAGE_TYPE, kind)) = wire::avps(body).next() else { return };
        match wire::word(kind, 0) {
            Some(message::SCCRP) => self.on_sccrp(number, body),
            Some(message::STOP_CCN) => self.on_closed(number, "tunnel closed"),
            Some(message::ICRP) => self.on_icrp(number, session, body),
            Some(message::CDN) => {
                let call = self.tunnels.get(number).and_then(|tunnel| tunnel.call(session));
                if let Some(call) = call {
                    self.end_call(call, Some("disconnected"));
                }
            }
            _ => {}
        }
    }

    fn on_sccrp(&mut self, number: usize, body: &[u8]) {
        let Some(tunnel) = self.tunnels.get_mut(number) else { return };
        if tunnel.state != State::Opening {
            return;
        }
        let mut challenge = None;
        for (kind, value) in wire::avps(body) {
            match kind {
                attribute::ASSIGNED_TUNNEL_ID => tunnel.peer_id = wire::word(value, 0).unwrap_or(0),
                attribute::RECEIVE_WINDOW_SIZE => {
                    tunnel.set_window(wire::word(value, 0).unwrap_or(1));
                }
                attribute::CHALLENGE => challenge = Some(value),
                _ => {}
            }
        }
        let mut scccn = ControlMessage::new(tunnel.peer_id, 0, message::SCCCN);
        if let Some(challenge) = challenge {
            let secret = self.plan.secret.as_deref().unwrap_or_default();
            let response = wire::proof(message::SCCCN as u8, secret, challenge);
            scccn = scccn.avp(attribute::CHALLENGE_RESPONSE, &response);
        }
        tunnel.send(scccn.finish());
        tunnel.state = State::Up;
        self.load.tunnels_up += 1;
    }

    /// The tunnel is gone, and its calls with it.
    fn on_closed(&mut self, number: usize, why: &'static str) {
        let Some(tunnel) = self.tunnels.get_mut(number) else { return };
        let before = std::mem::replace(&mut tunnel.state, State::Closed);
        if before == State::Closed {
            return;
        }
        for call in tunnel.calls() {
            self.end_call(call, Some(why));
        }
        match before {
            State::Up => self.load.tunnels_up -= 1,
            State::Idle | State::Opening | State::Closed => {}
        }
        self.outcome.fail(why, 0);
        self.outcome.tunnels_failed += 1;
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Duration) {
        for number in 0..self.tunnels.len() {
            let Some(tunnel) = self.tunnels.get_mut(number) else { continue };
            if !tunnel.handle_timeout(now) {
                self.on_closed(number, "no answer");
            }
            self.touch(number);
        }
        self.repeat_requests(now);
    }

    /// The tunnel may have something to send.
    fn touch(&mut self, number: usize) {
        if let Some(busy) = self.is_busy.get_mut(number)
            && !std::mem::replace(busy, true)
        {
            self.busy.push_back(number);
        }
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self, now: Duration) -> Option<Datagram> {
        while let Some(number) = self.busy.front().copied() {
            if let Some(tunnel) = self.tunnels.get_mut(number)
                && let Some(payload) = tunnel.poll_transmit(now)
            {
                return Some(Datagram { source: tunnel.source, lns: tunnel.lns, payload });
            }
            self.busy.pop_front();
            if let Some(busy) = self.is_busy.get_mut(number) {
                *busy = false;
            }
        }
        // After the control messages: ICCN goes ahead of the first frame.
        self.datagrams.pop_front()
    }
}

#[cfg(test)]
mod tests;
