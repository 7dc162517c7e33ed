//! A tunnel in both roles against a peer that may say anything at any time, and an owner that does
//! whatever it may.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use xlns_control::l2tp::avp::Hide;
use xlns_control::l2tp::message::{CallErrors, Message, Sli};
use xlns_control::l2tp::result::{CallResult, TunnelResult};
use xlns_control::l2tp::secret::SecretBytes;
use xlns_control::l2tp::tunnel::{
    Answer, CallRequest, Config, Event, OutgoingRequest, Proxy, Tunnel,
};
use xlns_control::l2tp::{SessionId, TunnelId, header};
use xlns_control::time::Time;

use super::messages::{Peer, SECRET, checked};
use crate::script::Script;

/// Calls in the tunnel: few, so that inputs reach the limit.
const SESSIONS_MAX: u32 = 6;

/// Datagrams that one of the peer's can set free: the largest window, and as many answers.
const BURST_MAX: usize = 200;

/// After so long a silence a tunnel is gone: HELLO, all retransmissions, and the time in which the
/// peer may repeat itself.
const SILENCE: Duration = Duration::from_secs(300);

/// Timers that run out in [`SILENCE`].
const TIMEOUTS_MAX: usize = 2000;

struct World {
    tunnel: Tunnel,
    peer: Peer,
    now: Time,
    /// Calls that have begun and did not end.
    live: BTreeSet<SessionId>,
    closed: bool,
    secret: Option<&'static [u8]>,
}

/// The input is a script.
pub fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let Some(mut world) = World::new(&mut script) else { return };
    while !script.is_over() && !world.tunnel.is_finished() {
        world.step(&mut script);
    }
    world.wait(SILENCE);
    assert!(world.tunnel.is_finished(), "{:?} after a long silence", world.tunnel.state());
    assert!(world.closed, "finished and never closed");
    assert!(world.live.is_empty(), "{:?} never ended", world.live);
}

impl World {
    fn new(script: &mut Script<'_>) -> Option<Self> {
        let flags = script.octet();
        let bit = |bit: u8| flags >> bit & 1 != 0;
        let config = Config {
            secret: bit(0).then(|| SecretBytes::from(SECRET)),
            challenge: bit(1),
            hide: if bit(2) { Hide::All } else { Hide::Never },
            tie_breaker: bit(3),
            bearer_capabilities: bit(4).then_some(3),
            receive_window: if bit(5) { 1 } else { 16 },
            hello_interval: Duration::from_secs(30),
            idle_timeout: if bit(6) { Duration::from_secs(20) } else { Duration::ZERO },
            sessions_max: SESSIONS_MAX,
            ..Config::default()
        };
        let mut rng = StdRng::seed_from_u64(1);
        let now = Time::ZERO + Duration::from_secs(1000);
        let mut peer = Peer::new(TunnelId(77));
        let (local, config) = (TunnelId(7), Arc::new(config));
        let tunnel = if bit(7) {
            Tunnel::connect(now, local, config, &mut rng)
        } else {
            peer.ns = 1;
            let sccrq = peer.sccrq(script);
            Tunnel::accept(now, local, &sccrq, config, &mut rng).ok()?
        };
        let (live, secret) = (BTreeSet::new(), bit(0).then_some(SECRET));
        let mut world = Self { tunnel, peer, now, live, closed: false, secret };
        world.drain();
        Some(world)
    }

    fn step(&mut self, script: &mut Script<'_>) {
        match script.octet() % 16 {
            0..=5 => {
                let datagram = self.peer.datagram(script);
                self.receive(&datagram);
            }
            6 => self.receive(&self.peer.acknowledgement()),
            7 => self.wait(script.time()),
            8 => self.place(script),
            9 => self.own_call(script),
            10 => self.answer_outgoing(script),
            11 => {
                let session = self.any(script);
                let sli = Sli { send_accm: script.long(), receive_accm: 0 };
                self.tunnel.set_link_info(self.now, session, sli);
            }
            12 => {
                let session = self.any(script);
                let errors = CallErrors { crc: script.octet().into(), ..CallErrors::default() };
                self.tunnel.report_errors(self.now, session, errors);
            }
            13 => self.tunnel.probe(self.now),
            14 => {
                let mut tie = [0; 8];
                tie[7] = script.octet();
                self.tunnel.handle_crossing(self.now, script.flag().then_some(tie));
            }
            _ => match script.octet() % 8 {
                0 => self.tunnel.close(self.now, TunnelResult::ShuttingDown, None, "over"),
                1 => self.stop_by_address(script),
                _ => self.tunnel.handle_activity(self.now),
            },
        }
        self.drain();
    }

    fn receive(&mut self, datagram: &[u8]) {
        if let Ok(header) = header::parse(datagram)
            && header.control
        {
            self.tunnel.handle(self.now, &header, header.payload(datagram));
        }
        self.drain();
    }

    /// A StopCCN that names the tunnel by nothing but its AVP.
    fn stop_by_address(&mut self, script: &mut Script<'_>) {
        let mut peer = Peer::new(self.peer.own);
        peer.ns = script.octet().into();
        let datagram = peer.datagram(script);
        let header = checked(&datagram);
        let body = header.payload(&datagram);
        if let Ok(Message::StopCcn(said)) = Message::decode(body, self.secret) {
            self.tunnel.handle_stop_ccn(self.now, &header, body, &said);
        }
    }

    fn any(&self, script: &mut Script<'_>) -> SessionId {
        let at = usize::from(script.octet());
        let session = self.live.iter().nth(at % self.live.len().max(1));
        session.copied().unwrap_or(SessionId(at as u16))
    }

    fn place(&mut self, script: &mut Script<'_>) {
        let placed = if script.flag() {
            let proxy = Proxy {
                last_sent_lcp_confreq: script.optional_piece(),
                last_received_lcp_confreq: script.optional_piece(),
                ..Proxy::default()
            };
            let request = CallRequest {
                calling_number: script.optional_piece(),
                proxy: Some(Box::new(proxy)),
                sequencing_required: script.flag(),
                ..CallRequest::default()
            };
            self.tunnel.place_call(self.now, request)
        } else {
            let called_number = script.piece().to_vec();
            let request = OutgoingRequest { called_number, ..OutgoingRequest::default() };
            self.tunnel.place_outgoing_call(self.now, request)
        };
        if let Ok(session) = placed {
            assert!(!self.closed, "a call in a closed tunnel");
            assert!(self.live.insert(session), "{session} is taken");
        }
    }

    /// The owner ends or answers a call.
    fn own_call(&mut self, script: &mut Script<'_>) {
        let session = self.any(script);
        let text = String::from_utf8_lossy(script.take(8)).into_owned();
        let result = CallResult::Administrative;
        match script.octet() % 3 {
            0 => self.tunnel.accept_call(self.now, session),
            1 => self.tunnel.refuse_call(self.now, session, result, None, &text),
            _ => self.tunnel.disconnect_call(self.now, session, result, None, &text, None),
        }
    }

    fn answer_outgoing(&mut self, script: &mut Script<'_>) {
        let session = self.any(script);
        if script.flag() {
            return self.tunnel.accept_outgoing_call(self.now, session);
        }
        let answer = Answer {
            tx_connect_speed: script.long(),
            rx_connect_speed: None,
            framing_type: script.octet().into(),
            sequencing_required: script.flag(),
        };
        self.tunnel.outgoing_call_connected(self.now, session, answer);
    }

    fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        let mut timeouts = 0;
        while let Some(due) = self.tunnel.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.tunnel.handle_timeout(self.now);
            self.drain();
            timeouts += 1;
            assert!(timeouts < TIMEOUTS_MAX, "a timer that does not move");
        }
        self.now = end;
    }

    fn drain(&mut self) {
        while let Some(event) = self.tunnel.poll_event() {
            self.take_event(&event);
        }
        let mut burst = 0;
        while let Some(datagram) = self.tunnel.poll_transmit() {
            checked(&datagram);
            self.peer.take(&datagram, self.secret);
            burst += 1;
            assert!(burst < BURST_MAX, "{burst} datagrams at once");
        }
        let placed = self.live.len();
        assert_eq!(self.tunnel.session_count(), placed, "sessions, and those that were told of");
        assert!(placed <= SESSIONS_MAX as usize);
    }

    /// The events of a call come in order, and just one ends it.
    fn take_event(&mut self, event: &Event) {
        assert!(!self.closed, "{event:?} behind the end");
        match event {
            Event::IncomingCall { session, .. } | Event::OutgoingCall { session, .. } => {
                assert!(self.live.insert(*session), "{session} begins twice");
            }
            Event::CallConnected { session, .. }
            | Event::LinkInfo { session, .. }
            | Event::WanErrors { session, .. } => {
                assert!(self.live.contains(session), "{event:?} of no call");
            }
            Event::CallEnded { session, .. } => {
                assert!(self.live.remove(session), "{session} ends twice");
            }
            Event::Closed { .. } => {
                assert!(self.live.is_empty(), "{:?} outlive their tunnel", self.live);
                self.closed = true;
            }
            Event::Established { .. } => {}
        }
    }
}
