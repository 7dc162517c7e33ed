//! The emulated LAC: one tunnel and its lines with a subscriber on each. What it says to the LNS is in
//! [`super::signalling`], its bad manners are in [`super::messages`].

use std::net::SocketAddr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use xlns_control::l2tp::avp::Hide;
use xlns_control::l2tp::header::{self, Header};
use xlns_control::l2tp::message::{CallErrors, Message, Sli, StopCcn};
use xlns_control::l2tp::result::{ResultCode, TunnelResult};
use xlns_control::l2tp::{SessionId, TunnelId};
use xlns_control::time::Time;

use super::delivery::{Delivery, Secrecy};
use super::messages;
use super::subscriber::{Habits, Subscriber};

/// Silence of the LNS before a HELLO.
const HELLO_AFTER: Duration = Duration::from_secs(12);

/// Time for the tunnel, and for each call, to come up.
pub(super) const SETUP_MAX: Duration = Duration::from_secs(30);

/// How long a closed tunnel still acknowledges.
const LINGER: Duration = Duration::from_secs(20);

/// What a LAC is like.
#[derive(Debug, Clone)]
pub struct Manners {
    /// Its address and port.
    pub address: SocketAddr,
    /// Its Tunnel ID; always the same one where `keeps_ids`.
    pub tunnel_id: u16,
    /// Uses the same IDs after a crash.
    pub keeps_ids: bool,
    /// Tunnel secret.
    pub secret: Option<&'static str>,
    /// Challenges the LNS.
    pub challenges: bool,
    /// Receive window.
    pub window: u16,
    /// Keeps control messages that come ahead of their turn.
    pub keeps_ahead: bool,
    /// Which AVPs it hides, where it has a secret.
    pub hide: Hide,
    /// Negotiates with subscribers itself before it hands them over, where they can do that.
    pub proxies: bool,
    /// So many of its lines, from the first on, never call: they are there to be called.
    pub waits: usize,
}

/// How far the tunnel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Waits for SCCRP until this time.
    WaitReply(Time),
    /// Up.
    Established,
    /// Closed; acknowledges until this time.
    Closing(Time),
}

/// A tunnel as the LAC sees it.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) stage: Stage,
    pub(super) id: TunnelId,
    pub(super) lns_id: TunnelId,
    /// Where the LNS answers from.
    pub(super) lns: SocketAddr,
    pub(super) delivery: Delivery,
    pub(super) heard: Time,
    pub(super) challenge: Option<Vec<u8>>,
    /// The Session ID used last.
    pub(super) session: u16,
}

/// A call as the LAC sees it.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// The LAC's Session ID.
    pub id: SessionId,
    /// The LNS's, after its ICRP.
    pub lns_id: Option<SessionId>,
    /// When the LAC gives up where there is none.
    pub(super) reply_by: Time,
    /// When the one called answers, in a call that the LNS has asked for.
    pub(super) answered_at: Option<Time>,
    /// What went wrong on the line, as the LNS was told last.
    pub errors: Option<CallErrors>,
    /// The characters that are escaped, likewise.
    pub link_info: Option<Sli>,
}

impl Call {
    /// Whether ICCN or OCCN was sent.
    pub fn is_connected(&self) -> bool {
        self.lns_id.is_some() && self.answered_at.is_none()
    }
}

/// A line with a subscriber.
#[derive(Debug)]
pub struct Line {
    /// Who is on it.
    pub subscriber: Subscriber,
    /// Its call.
    pub call: Option<Call>,
    pub(super) dial_at: Option<Time>,
}

/// A LAC.
#[derive(Debug)]
pub struct Lac {
    /// What it is like.
    pub manners: Manners,
    /// Its lines.
    pub lines: Vec<Line>,
    pub(super) control: Option<Control>,
    pub(super) rng: StdRng,
    lns: SocketAddr,
    open_at: Option<Time>,
    frozen_until: Option<Time>,
    /// No attempts after this time.
    dials_until: Time,
    pub(super) out: Vec<(SocketAddr, Vec<u8>)>,
}

impl Lac {
    /// One that opens its tunnel to `lns` at `open_at`.
    pub fn new(
        manners: Manners,
        lines: Vec<Habits>,
        mut rng: StdRng,
        lns: SocketAddr,
        open_at: Time,
    ) -> Self {
        let mut line = |habits| {
            let subscriber = Subscriber::new(habits, StdRng::from_seed(rng.random()));
            Line { subscriber, call: None, dial_at: None }
        };
        Self {
            manners,
            lines: lines.into_iter().map(&mut line).collect(),
            control: None,
            rng,
            lns,
            open_at: Some(open_at),
            frozen_until: None,
            dials_until: Time::from_start(Duration::MAX),
            out: Vec::new(),
        }
    }

    /// Our and the LNS's Tunnel ID, while established.
    pub fn tunnel(&self) -> Option<(TunnelId, TunnelId)> {
        let control = self.control.as_ref()?;
        (control.stage == Stage::Established).then_some((control.id, control.lns_id))
    }

    /// Whether it has a tunnel in whatever state.
    pub fn has_tunnel(&self) -> bool {
        self.control.is_some()
    }

    /// No tunnel is opened and no call placed after `time`.
    pub fn dial_until(&mut self, time: Time) {
        self.dials_until = time;
    }

    /// Whether a datagram with this Tunnel ID is for this LAC.
    pub fn owns(&self, id: TunnelId) -> bool {
        self.control.as_ref().is_some_and(|control| control.id == id)
    }

    fn open(&mut self, now: Time) {
        self.open_at = None;
        if now > self.dials_until {
            return;
        }
        if !self.manners.keeps_ids {
            self.manners.tunnel_id = self.manners.tunnel_id.wrapping_add(7).max(1);
        }
        let random_vector = self.rng.random();
        let hide = self.manners.hide;
        let secrecy = self.manners.secret.map(|secret| Secrecy { hide, secret, random_vector });
        let window = usize::from(self.manners.window);
        let mut delivery = Delivery::new(window, self.manners.keeps_ahead, secrecy);
        let challenges = self.manners.challenges && self.manners.secret.is_some();
        let challenge = challenges.then(|| self.rng.random::<[u8; 16]>().to_vec());
        let id = TunnelId(self.manners.tunnel_id);
        let sccrq = messages::sccrq(id, self.manners.window, challenge.clone());
        delivery.send(SessionId::UNASSIGNED, sccrq);
        self.control = Some(Control {
            stage: Stage::WaitReply(now + SETUP_MAX),
            id,
            lns_id: TunnelId::UNASSIGNED,
            lns: self.lns,
            delivery,
            heard: now,
            challenge,
            session: 0,
        });
    }

    /// A datagram of the LNS, sent from `from`.
    pub fn handle_datagram(
        &mut self,
        now: Time,
        from: SocketAddr,
        header: &Header,
        payload: &[u8],
    ) {
        if self.frozen_until.is_some() {
            return;
        }
        if !header.control {
            let found = self.lines.iter_mut().find(|line| {
                line.call.is_some_and(|call| call.id == header.session_id && call.is_connected())
            });
            if let Some(line) = found {
                line.subscriber.handle_frame(now, payload);
            }
            return self.drain(now);
        }
        let Some(control) = &mut self.control else { return };
        control.heard = now;
        let secret = self.manners.secret.map(str::as_bytes);
        for (session, body) in control.delivery.receive(now, header, payload) {
            if let Ok(message) = Message::decode(&body, secret) {
                self.on_message(now, from, session, message);
            }
        }
        self.drain(now);
    }

    /// The tunnel is over: its calls with it, and another is opened a while later.
    pub(super) fn on_closed(&mut self, now: Time) {
        if let Some(control) = &mut self.control {
            control.stage = Stage::Closing(now + LINGER);
        }
        self.drop_calls();
        let wait = self.rng.random_range(500..25_000);
        self.open_at = Some(now + Duration::from_millis(wait));
    }

    fn drop_calls(&mut self) {
        for line in &mut self.lines {
            (line.call, line.dial_at) = (None, None);
            line.subscriber.stop();
        }
    }

    /// Ends the tunnel with StopCCN.
    pub fn close(&mut self, now: Time, result: TunnelResult) {
        let Some(control) = &mut self.control else { return };
        if !matches!(control.stage, Stage::Closing(_)) {
            let result = ResultCode::tunnel(result, None, "");
            let stop = StopCcn { assigned_tunnel_id: Some(control.id), result };
            control.delivery.send(SessionId::UNASSIGNED, Message::StopCcn(Box::new(stop)));
            self.on_closed(now);
            self.drain(now);
        }
    }

    /// Loses everything; comes back after `pause`.
    pub fn crash(&mut self, now: Time, pause: Duration) {
        self.control = None;
        self.frozen_until = None;
        self.drop_calls();
        self.out.clear();
        self.open_at = Some(now + pause);
    }

    /// Hears and says nothing for a while.
    pub fn freeze(&mut self, now: Time, pause: Duration) {
        self.frozen_until = Some(now + pause);
    }

    fn dial(&mut self, now: Time, index: usize) {
        let Some(line) = self.lines.get_mut(index) else { return };
        line.dial_at = None;
        let Some(control) = self.control.as_mut().filter(|c| c.stage == Stage::Established) else {
            return;
        };
        if line.call.is_some() || now > self.dials_until || index < self.manners.waits {
            return;
        }
        control.session = control.session.wrapping_add(1).max(1);
        let id = SessionId(control.session);
        control.delivery.send(SessionId::UNASSIGNED, messages::icrq(id, u32::from(id.0)));
        let reply_by = now + SETUP_MAX;
        line.call = Some(Call {
            id,
            lns_id: None,
            reply_by,
            answered_at: None,
            errors: None,
            link_info: None,
        });
    }

    /// The line is dropped: CDN.
    pub fn hang_up(&mut self, now: Time, index: usize) {
        let Some(line) = self.lines.get_mut(index) else { return };
        let (Some(call), Some(control)) = (line.call.take(), &mut self.control) else { return };
        line.subscriber.stop();
        line.dial_at = Some(now + Duration::from_millis(self.rng.random_range(100..8000)));
        control.delivery.send(call.lns_id.unwrap_or_default(), messages::cdn(call.id));
    }

    /// When [`Lac::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.frozen_until.is_some() {
            return self.frozen_until;
        }
        let lines = self.lines.iter().flat_map(|line| {
            let reply_by = line.call.filter(|call| call.lns_id.is_none()).map(|call| call.reply_by);
            let answered_at = line.call.and_then(|call| call.answered_at);
            [line.dial_at, line.subscriber.poll_timeout(), reply_by, answered_at]
        });
        let control = self.control.iter().flat_map(|control| {
            let stage = match control.stage {
                Stage::WaitReply(at) | Stage::Closing(at) => at,
                Stage::Established => control.heard + HELLO_AFTER,
            };
            let idle = control.stage != Stage::Established || control.delivery.is_idle();
            [idle.then_some(stage), control.delivery.poll_timeout()]
        });
        lines.chain(control).flatten().chain(self.open_at).min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.frozen_until.is_some_and(|until| until > now) {
            return;
        }
        self.frozen_until = None;
        if self.open_at.is_some_and(|at| at <= now) {
            self.open(now);
        }
        self.on_control_timeout(now);
        for index in 0..self.lines.len() {
            let Some(line) = self.lines.get_mut(index) else { continue };
            line.subscriber.handle_timeout(now);
            let late = line.call.is_some_and(|c| c.lns_id.is_none() && c.reply_by <= now);
            if line.subscriber.take_wants_end() || late {
                self.hang_up(now, index);
            } else if line.call.is_some_and(|call| call.answered_at.is_some_and(|at| at <= now)) {
                self.answer(now, index);
            } else if line.dial_at.is_some_and(|at| at <= now) {
                self.dial(now, index);
            }
        }
        self.drain(now);
    }

    fn on_control_timeout(&mut self, now: Time) {
        let Some(control) = &mut self.control else { return };
        let dead = control.delivery.handle_timeout(now);
        match control.stage {
            Stage::Closing(until) if dead || until <= now => self.control = None,
            Stage::WaitReply(_) | Stage::Established if dead => {
                self.on_closed(now);
                self.control = None;
            }
            Stage::WaitReply(until) if until <= now => self.close(now, TunnelResult::Cleared),
            Stage::Established
                if control.delivery.is_idle() && control.heard + HELLO_AFTER <= now =>
            {
                control.delivery.send(SessionId::UNASSIGNED, Message::Hello);
            }
            _ => {}
        }
    }

    /// Puts on the wire what lines and tunnel have to say.
    pub(super) fn drain(&mut self, now: Time) {
        let Some(control) = &mut self.control else { return };
        let (lns, lns_id) = (control.lns, control.lns_id);
        let datagrams = control.delivery.transmit(now, lns_id);
        self.out.extend(datagrams.into_iter().map(|datagram| (lns, datagram)));
        for line in &mut self.lines {
            let connected = line.call.filter(Call::is_connected);
            let Some(session) = connected.and_then(|call| call.lns_id) else { continue };
            for frame in line.subscriber.take_frames() {
                let mut datagram = Vec::new();
                header::emit_data(&mut datagram, lns_id, session, None, false);
                datagram.extend_from_slice(&frame);
                self.out.push((lns, datagram));
            }
        }
    }

    /// What it sends, and where to.
    pub fn take_datagrams(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        std::mem::take(&mut self.out)
    }
}
