//! Calls of the emulator: from ICRQ to IPCP open and to CDN.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::subscriber::{Progress, Subscriber};
use super::tunnel::State;
use super::wire::{self, ControlMessage, attribute, message};
use super::{CLEAR_CALL, Datagram, Emulator};

/// Requests without an answer are repeated after this time (RFC 1661 section 4.6), and given up.
const RESTART_AFTER: Duration = Duration::from_secs(3);
const RESTARTS_MAX: u32 = 10;

/// Bits a second that ICCN says.
const CONNECT_SPEED: [u8; 4] = 100_000_000_u32.to_be_bytes();
const FRAMING_SYNCHRONOUS: [u8; 4] = 1_u32.to_be_bytes();

/// How far a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not in use.
    Free,
    /// ICRQ sent.
    Dialling,
    /// PPP negotiates.
    Link,
    /// IPCP is open.
    Open,
}

/// A call.
pub struct Call {
    /// How far it is.
    pub phase: Phase,
    /// Tells uses of the same place apart.
    pub generation: u32,
    tunnel: usize,
    local: u16,
    peer: u16,
    /// When it was to be placed.
    due: Duration,
    restarts: u32,
    /// Behind it.
    pub subscriber: Subscriber,
}

/// A call that is up, as its packets show it. PPP frames both ways have address and control octets and
/// a protocol of two: the emulator asks for no compression and uses none.
#[derive(Debug, Clone, Copy)]
pub struct Established {
    /// Number of the socket that its tunnel comes from.
    pub source: usize,
    /// Where the LNS answers from.
    pub lns: SocketAddr,
    /// The LNS's ID of the tunnel.
    pub tunnel_id: u16,
    /// The LNS's ID of the session.
    pub session_id: u16,
    /// Our ID of the tunnel, on packets from the LNS.
    pub local_tunnel_id: u16,
    /// Our ID of the session.
    pub local_session_id: u16,
    /// The subscriber's address.
    pub address: Ipv4Addr,
}

/// A call in a list that may have ended since.
#[derive(Debug, Clone, Copy)]
pub struct CallRef {
    /// Place.
    pub index: usize,
    /// Its generation then.
    pub generation: u32,
}

impl Emulator {
    /// The calls that are up.
    pub fn established(&self) -> Vec<Established> {
        let calls = self.calls.iter().filter(|call| call.phase == Phase::Open);
        let established = calls.filter_map(|call| {
            let tunnel = self.tunnels.get(call.tunnel)?;
            Some(Established {
                source: tunnel.source,
                lns: tunnel.lns,
                tunnel_id: tunnel.peer_id,
                session_id: call.peer,
                local_tunnel_id: tunnel.local_id,
                local_session_id: call.local,
                address: call.subscriber.address().into(),
            })
        });
        established.collect()
    }

    /// Places a call that was due at `due`. Returns `false` where no tunnel takes one.
    pub(super) fn place_call(&mut self, now: Duration, due: Duration) -> bool {
        let index = self.free.last().copied().unwrap_or(self.calls.len());
        let Some((number, local)) = self.next_session(index) else { return false };
        let Some(tunnel) = self.tunnels.get_mut(number) else { return false };
        let serial = (self.outcome.offered as u32).to_be_bytes();
        let icrq = ControlMessage::new(tunnel.peer_id, 0, message::ICRQ)
            .avp(attribute::ASSIGNED_SESSION_ID, &local.to_be_bytes())
            .avp(attribute::CALL_SERIAL_NUMBER, &serial);
        tunnel.send(icrq.finish());
        self.touch(number);
        let call = Call {
            phase: Phase::Dialling,
            generation: self.calls.get(index).map_or(0, |call| call.generation.wrapping_add(1)),
            tunnel: number,
            local,
            peer: 0,
            due,
            restarts: 0,
            subscriber: Subscriber::new(0x0100_0000 | index as u32),
        };
        let generation = call.generation;
        match self.calls.get_mut(index) {
            Some(place) => {
                *place = call;
                self.free.pop();
            }
            None => self.calls.push(call),
        }
        self.load.restarts.push_back((now + RESTART_AFTER, CallRef { index, generation }));
        self.load.setting_up += 1;
        self.outcome.offer(due);
        true
    }

    /// A Session ID of the next tunnel that is up and has one free.
    fn next_session(&mut self, index: usize) -> Option<(usize, u16)> {
        let index = u32::try_from(index).ok()?;
        for _ in 0..self.tunnels.len() {
            let number = self.load.next_tunnel;
            self.load.next_tunnel = (number + 1) % self.tunnels.len();
            let tunnel = self.tunnels.get_mut(number)?;
            if tunnel.state == State::Up
                && let Some(local) = tunnel.allocate(index)
            {
                return Some((number, local));
            }
        }
        None
    }

    /// The LNS takes the call: ICCN follows, and PPP.
    pub(super) fn on_icrp(&mut self, number: usize, session: u16, body: &[u8]) {
        let Some(tunnel) = self.tunnels.get_mut(number) else { return };
        let Some(index) = tunnel.call(session) else { return };
        let Some(call) = self.calls.get_mut(index) else { return };
        let assigned = wire::avps(body).find(|(kind, _)| *kind == attribute::ASSIGNED_SESSION_ID);
        let assigned = assigned.and_then(|(_, value)| wire::word(value, 0));
        let (Some(peer), Phase::Dialling) = (assigned, call.phase) else { return };
        call.peer = peer;
        call.phase = Phase::Link;
        let iccn = ControlMessage::new(tunnel.peer_id, peer, message::ICCN)
            .avp(attribute::TX_CONNECT_SPEED, &CONNECT_SPEED)
            .avp(attribute::FRAMING_TYPE, &FRAMING_SYNCHRONOUS);
        tunnel.send(iccn.finish());
        call.subscriber.ask(&self.plan.account, &mut self.packets);
        self.send_packets(index);
    }

    /// A PPP frame for a call.
    pub(super) fn handle_frame(&mut self, now: Duration, index: usize, frame: &[u8]) {
        let Some(call) = self.calls.get_mut(index) else { return };
        if matches!(call.phase, Phase::Free | Phase::Dialling) {
            return;
        }
        let progress = call.subscriber.handle(frame, &self.plan.account, &mut self.packets);
        self.send_packets(index);
        match progress {
            Progress::None => {}
            Progress::Echo => self.outcome.echoes_answered += 1,
            Progress::Open => self.on_open(now, index),
            Progress::Failed(why) => {
                self.hang_up(index, Some(why));
            }
        }
    }

    fn on_open(&mut self, now: Duration, index: usize) {
        let Some(call) = self.calls.get_mut(index) else { return };
        if call.phase != Phase::Link {
            return;
        }
        call.phase = Phase::Open;
        let reference = CallRef { index, generation: call.generation };
        self.load.open.push_back((now, reference));
        self.load.setting_up -= 1;
        self.load.held += 1;
        self.outcome.open(now, now.saturating_sub(call.due), self.load.held);
    }

    /// Ends a call with CDN.
    pub(super) fn hang_up(&mut self, index: usize, failure: Option<&'static str>) {
        let Some(call) = self.calls.get(index) else { return };
        if let Some(tunnel) = self.tunnels.get_mut(call.tunnel)
            && tunnel.state == State::Up
        {
            let cdn = ControlMessage::new(tunnel.peer_id, call.peer, message::CDN)
                .avp(attribute::RESULT_CODE, &CLEAR_CALL)
                .avp(attribute::ASSIGNED_SESSION_ID, &call.local.to_be_bytes());
            tunnel.send(cdn.finish());
            let number = call.tunnel;
            self.touch(number);
        }
        self.end_call(index, failure);
    }

    /// Forgets a call; with a reason it counts as failed, or as lost where it was up.
    pub(super) fn end_call(&mut self, index: usize, failure: Option<&'static str>) {
        let Some(call) = self.calls.get_mut(index) else { return };
        let before = std::mem::replace(&mut call.phase, Phase::Free);
        if let Some(tunnel) = self.tunnels.get_mut(call.tunnel) {
            tunnel.release(call.local);
        }
        match before {
            Phase::Free => return,
            Phase::Dialling | Phase::Link => self.load.setting_up -= 1,
            Phase::Open => self.load.held -= 1,
        }
        self.free.push(index);
        if let Some(why) = failure {
            if before == Phase::Open {
                self.outcome.lost += 1;
            } else {
                self.outcome.fail(why, 1);
            }
        }
    }

    /// Asks again where an answer is missing.
    pub(super) fn repeat_requests(&mut self, now: Duration) {
        while let Some(&(at, reference)) = self.load.restarts.front()
            && at <= now
        {
            self.load.restarts.pop_front();
            let CallRef { index, generation } = reference;
            let Some(call) = self.calls.get_mut(index) else { continue };
            let waits = matches!(call.phase, Phase::Dialling | Phase::Link);
            if call.generation != generation || !waits {
                continue;
            }
            call.restarts += 1;
            if call.restarts > RESTARTS_MAX {
                self.hang_up(index, Some("no answer"));
                continue;
            }
            if call.phase == Phase::Link {
                self.outcome.retransmissions_ppp += 1;
                call.subscriber.ask(&self.plan.account, &mut self.packets);
                self.send_packets(index);
            }
            self.load.restarts.push_back((now + RESTART_AFTER, reference));
        }
    }

    /// Sends what a subscriber has just said.
    pub(super) fn send_packets(&mut self, index: usize) {
        let Some(call) = self.calls.get(index) else { return };
        let Some(tunnel) = self.tunnels.get(call.tunnel) else { return };
        for (protocol, packet) in self.packets.drain(..) {
            let payload = wire::data(tunnel.peer_id, call.peer, protocol, &packet);
            let (source, lns) = (tunnel.source, tunnel.lns);
            self.datagrams.push_back(Datagram { source, lns, payload });
        }
    }

    /// Whether a call in a list is still the same one.
    pub(super) fn is_current(&self, reference: CallRef) -> bool {
        self.calls.get(reference.index).is_some_and(|call| {
            call.generation == reference.generation && call.phase == Phase::Open
        })
    }
}
