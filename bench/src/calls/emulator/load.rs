//! When tunnels are opened, and calls placed and ended.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::call::CallRef;
use super::subscriber::Account;
use super::tunnel::State;
use super::wire::{ControlMessage, attribute, message};
use super::{CLEAR_TUNNEL, Emulator, FRAMING, KeepAlive, PROTOCOL, RECEIVE_WINDOW, Stage};

/// Calls placed in one step, so that what comes in between is looked at.
const PLACED_PER_STEP_MAX: u32 = 64;

/// Calls ended a second at the end, which is not measured: an LNS that has to repeat itself would
/// take longer.
const ENDED_PER_SECOND: f64 = 20_000.0;

/// Tunnels that are being opened at once.
const TUNNELS_OPENING_MAX: usize = 64;

/// Behind the rate by more than this, calls count as offered late but are not all placed at once.
const SETTING_UP_MAX: u32 = 50_000;

/// What to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The LNS.
    pub lns: SocketAddr,
    /// Where to send from; tunnels take them in turn.
    pub sources: Vec<SocketAddr>,
    /// Host Name AVP.
    pub host_name: String,
    /// Tunnel secret.
    pub secret: Option<Vec<u8>>,
    /// The subscribers'.
    pub account: Account,
    /// Tunnels.
    pub tunnels: u16,
    /// Calls to place.
    pub calls: u64,
    /// Calls held at once; for one more the oldest is ended.
    pub sessions: u32,
    /// Calls a second; `None`: as many as come up, with `outstanding` under way.
    pub rate: Option<f64>,
    /// Calls under way at once where there is no rate.
    pub outstanding: u32,
    /// A call is ended after this time, also where there is room for more.
    pub hold: Option<Duration>,
    /// How long the last calls stay up before all is ended.
    pub linger: Duration,
    /// A tunnel is opened only once the call of the one before is up, and has one call, whose
    /// set-up time runs from its SCCRQ.
    pub one_by_one: bool,
    /// Signs of life while calls are held.
    pub keep_alive: Option<KeepAlive>,
}

/// How far the load is.
#[derive(Default)]
pub struct Load {
    /// Tunnels that are up.
    pub tunnels_up: usize,
    /// The next tunnel to be opened.
    next_opening: usize,
    /// The tunnel that takes the next call.
    pub next_tunnel: usize,
    /// Calls on their way.
    pub setting_up: u32,
    /// Calls that are up.
    pub held: u32,
    /// Calls that are up or were, the oldest first, and since when.
    pub open: VecDeque<(Duration, CallRef)>,
    /// When to ask again.
    pub restarts: VecDeque<(Duration, CallRef)>,
    /// When the first call was due.
    start: Option<Duration>,
    /// When everything placed was up or had failed.
    complete: Option<Duration>,
    /// The next call that is ended at the end, and when the end began.
    cursor: usize,
    end: Option<Duration>,
    stop_sent: bool,
}

impl Emulator {
    /// Does what the plan says for now.
    pub fn step(&mut self, now: Duration) {
        match self.stage {
            Stage::Tunnels if self.plan.one_by_one => self.take_turns(now),
            Stage::Tunnels => self.open_tunnels(now),
            Stage::Calls => {
                self.end_held(now);
                self.place_calls(now);
                self.keep_alive(now);
                self.look_for_end(now);
            }
            Stage::End => self.end_all(now),
            Stage::Over => {}
        }
    }

    /// Calls on their way, calls that are up.
    pub fn in_progress(&self) -> (u32, u32) {
        (self.load.setting_up, self.load.held)
    }

    /// Whether all calls of the plan are up, or were.
    pub fn is_complete(&self) -> bool {
        self.stage == Stage::Calls
            && self.outcome.offered >= self.plan.calls
            && self.load.setting_up == 0
    }

    /// Ends the run early.
    pub fn stop(&mut self) {
        if self.stage != Stage::Over {
            self.stage = Stage::End;
        }
    }

    fn open_tunnels(&mut self, now: Duration) {
        let failed = self.outcome.tunnels_failed as usize;
        let settled = self.load.tunnels_up + failed;
        let room = TUNNELS_OPENING_MAX.saturating_sub(self.load.next_opening - settled);
        for _ in 0..room {
            self.open_tunnel(now);
        }
        if settled < self.tunnels.len() {
            return;
        }
        self.stage = if self.load.tunnels_up > 0 { Stage::Calls } else { Stage::End };
    }

    /// One tunnel with one call, then the next.
    fn take_turns(&mut self, now: Duration) {
        let settled = self.load.tunnels_up + self.outcome.tunnels_failed as usize;
        if self.load.setting_up > 0 || settled < self.load.next_opening {
            return;
        }
        let opened = self.load.next_opening;
        if self.outcome.offered + u64::from(self.outcome.tunnels_failed) < opened as u64 {
            self.load.next_tunnel = opened - 1;
            let started = self.tunnels.get(opened - 1).map(|tunnel| tunnel.started);
            self.place_call(now, started.unwrap_or(now));
        } else if opened < self.tunnels.len() {
            self.open_tunnel(now);
        } else {
            self.stage = Stage::Calls;
        }
    }

    fn open_tunnel(&mut self, now: Duration) {
        let number = self.load.next_opening;
        let Some(tunnel) = self.tunnels.get_mut(number) else { return };
        let sccrq = ControlMessage::new(0, 0, message::SCCRQ)
            .avp(attribute::PROTOCOL_VERSION, &PROTOCOL)
            .avp(attribute::HOST_NAME, self.plan.host_name.as_bytes())
            .avp(attribute::FRAMING_CAPABILITIES, &FRAMING)
            .avp(attribute::ASSIGNED_TUNNEL_ID, &tunnel.local_id.to_be_bytes())
            .avp(attribute::RECEIVE_WINDOW_SIZE, &RECEIVE_WINDOW.to_be_bytes());
        tunnel.send(sccrq.finish());
        tunnel.state = State::Opening;
        tunnel.started = now;
        self.load.next_opening += 1;
        self.touch(number);
    }

    /// Ends calls that were up long enough.
    fn end_held(&mut self, now: Duration) {
        let Some(hold) = self.plan.hold else { return };
        while let Some(&(since, reference)) = self.load.open.front()
            && since + hold <= now
        {
            self.load.open.pop_front();
            if self.is_current(reference) {
                self.hang_up(reference.index, None);
            }
        }
    }

    fn place_calls(&mut self, now: Duration) {
        let start = *self.load.start.get_or_insert(now);
        for _ in 0..PLACED_PER_STEP_MAX {
            let number = self.outcome.offered;
            if number >= self.plan.calls {
                return;
            }
            let due = match self.plan.rate {
                Some(rate) => start + Duration::from_secs_f64(number as f64 / rate),
                None => now,
            };
            let most = self.plan.rate.map_or(self.plan.outstanding, |_| SETTING_UP_MAX);
            if due > now || self.load.setting_up >= most {
                return;
            }
            if self.load.setting_up + self.load.held >= self.plan.sessions {
                if self.load.held == 0 || self.plan.hold.is_some() {
                    return;
                }
                self.end_oldest();
            }
            if !self.place_call(now, due) {
                return;
            }
        }
    }

    fn end_oldest(&mut self) {
        while let Some((_, reference)) = self.load.open.pop_front() {
            if self.is_current(reference) {
                return self.hang_up(reference.index, None);
            }
        }
    }

    /// All calls placed, none on its way: the end, after a while.
    fn look_for_end(&mut self, now: Duration) {
        let nothing_left = self.load.tunnels_up == 0;
        if self.outcome.offered < self.plan.calls && !nothing_left || self.load.setting_up > 0 {
            return;
        }
        let complete = *self.load.complete.get_or_insert(now);
        if complete + self.plan.linger <= now || nothing_left {
            self.outcome.held = self.load.held;
            self.stage = Stage::End;
        }
    }

    /// Ends calls, a part at each step, then tunnels.
    fn end_all(&mut self, now: Duration) {
        let since = now.saturating_sub(*self.load.end.get_or_insert(now));
        let due = (since.as_secs_f64() * ENDED_PER_SECOND) as usize;
        while self.load.cursor < self.calls.len().min(due) {
            self.hang_up_at_end(self.load.cursor);
            self.load.cursor += 1;
        }
        if self.load.cursor < self.calls.len() {
            return;
        }
        let quiet = |tunnel: &super::Tunnel| tunnel.state != State::Up || tunnel.is_idle();
        if !self.load.stop_sent && self.tunnels.iter().all(quiet) {
            self.load.stop_sent = true;
            self.stop_tunnels();
        } else if self.load.stop_sent && self.tunnels.iter().all(|tunnel| tunnel.is_idle()) {
            self.stage = Stage::Over;
        }
    }

    fn hang_up_at_end(&mut self, index: usize) {
        use super::call::Phase;
        if self.calls.get(index).is_some_and(|call| call.phase != Phase::Free) {
            self.hang_up(index, None);
        }
    }

    fn stop_tunnels(&mut self) {
        for number in 0..self.tunnels.len() {
            let Some(tunnel) = self.tunnels.get_mut(number) else { continue };
            if tunnel.state != State::Up {
                continue;
            }
            let stop = ControlMessage::new(tunnel.peer_id, 0, message::STOP_CCN)
                .avp(attribute::ASSIGNED_TUNNEL_ID, &tunnel.local_id.to_be_bytes())
                .avp(attribute::RESULT_CODE, &CLEAR_TUNNEL);
            tunnel.send(stop.finish());
            tunnel.state = State::Closed;
            self.touch(number);
        }
    }
}
