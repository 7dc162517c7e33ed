//! A LAC made of raw frames against a [`Tunnel`], in virtual time.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::l2tp::header;
use crate::l2tp::message::{AccessLine, CallErrors, Sli, Unassigned, decode_unassigned};
use crate::l2tp::raw_tests::{Frame, RawAvp, body, datagram, parsed};
use crate::l2tp::result::{CallResult, PppDisconnectCause, PppDisconnectCode};

mod both;
mod calls;
mod delivery;
mod hiding;
mod originate;
mod placing;
mod setup;
mod teardown;

const SCCRP: u16 = 2;
const SCCCN: u16 = 3;
const STOP_CCN: u16 = 4;
const HELLO: u16 = 6;
const ICRP: u16 = 11;
const CDN: u16 = 14;
const ZLB: u16 = 0;

const LOCAL: TunnelId = TunnelId(0x0a0b);
/// The LAC's identifier of the tunnel.
const LAC_TUNNEL: u16 = 0x1001;

const ICRQ_SERIAL: &[u8] = &[0, 0, 0, 42];
const SCCCN_AVPS: &[RawAvp<'_>] = &[(0x80, 0, &[0, 3])];
const HELLO_AVPS: &[RawAvp<'_>] = &[(0x80, 0, &[0, 6])];
const ICCN_AVPS: &[RawAvp<'_>] =
    &[(0x80, 0, &[0, 12]), (0x80, 24, &[0, 0, 0x27, 0x10]), (0x80, 19, &[0, 0, 0, 1])];

/// An SCCRQ with more AVPs behind those that it must have.
fn sccrq(more: &[RawAvp<'_>]) -> Vec<u8> {
    let mut avps: Vec<RawAvp<'_>> = vec![
        (0x80, 0, &[0, 1]),
        (0x80, 2, &[1, 0]),
        (0x80, 3, &[0, 0, 0, 3]),
        (0x80, 7, b"lac.example\0"),
        (0x80, 9, &[0x10, 0x01]),
    ];
    avps.extend(more);
    datagram((0, 0), (0, 0), &body(&avps))
}

fn config() -> Config {
    Config {
        host_name: "lns.example".into(),
        vendor_name: "xlns".into(),
        secret: None,
        challenge: false,
        receive_window: 16,
        retransmit_initial: Duration::from_secs(1),
        retransmit_max: Duration::from_secs(8),
        retransmit_tries: 5,
        hello_interval: Duration::from_secs(60),
        sessions_max: 100,
        ..Config::default()
    }
}

fn with_secret(challenge: bool) -> Config {
    Config { secret: Some(SecretBytes::from(&b"tunnel secret"[..])), challenge, ..config() }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn milliseconds(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A tunnel and the LAC at its other end.
struct Pair {
    now: Time,
    tunnel: Tunnel,
    /// The LAC's next Ns and Nr.
    ns: u16,
    nr: u16,
    events: Vec<Event>,
}

impl Pair {
    /// The tunnel that an SCCRQ makes, its SCCRP not yet taken.
    fn accept(config: Config, sccrq: &[u8]) -> Result<Self, ResultCode> {
        let (header, _) = parsed(sccrq);
        let Ok(Unassigned::Sccrq(request)) = decode_unassigned(&header, sccrq, None) else {
            panic!("not an SCCRQ");
        };
        let mut rng = StdRng::seed_from_u64(7);
        let now = Time::ZERO + seconds(1000);
        let tunnel = Tunnel::accept(now, LOCAL, &request, Arc::new(config), &mut rng)?;
        Ok(Self { now, tunnel, ns: 1, nr: 0, events: Vec::new() })
    }

    /// A tunnel that was asked for, the SCCRQ not yet taken; the LAC is an LNS then.
    fn originate(config: Config) -> Self {
        let mut rng = StdRng::seed_from_u64(7);
        let now = Time::ZERO + seconds(1000);
        let tunnel = Tunnel::connect(now, LOCAL, Arc::new(config), &mut rng);
        Self { now, tunnel, ns: 0, nr: 0, events: Vec::new() }
    }

    /// A tunnel that is up, with nothing to be sent.
    fn established_with(config: Config, more: &[RawAvp<'_>]) -> Self {
        let mut pair = Self::accept(config, &sccrq(more)).unwrap();
        assert_eq!(pair.types(), [SCCRP]);
        pair.send(0, SCCCN_AVPS);
        assert_eq!(pair.types(), [ZLB]);
        assert!(matches!(pair.events()[..], [Event::Established { .. }]));
        pair
    }

    fn established() -> Self {
        Self::established_with(config(), &[])
    }

    /// A call that is up; its identifiers here and at the LAC.
    fn connect(&mut self, peer_session_id: u16) -> SessionId {
        let session = self.offer(peer_session_id);
        self.tunnel.accept_call(self.now, session);
        assert_eq!(self.types(), [ICRP]);
        self.send(session.0, ICCN_AVPS);
        assert_eq!(self.types(), [ZLB]);
        assert!(matches!(self.events()[..], [Event::CallConnected { .. }]));
        session
    }

    /// An ICRQ, of which the owner was told.
    fn offer(&mut self, peer_session_id: u16) -> SessionId {
        self.send_icrq(peer_session_id, ICRQ_SERIAL);
        let [Event::IncomingCall { session, icrq }] = &self.events()[..] else {
            panic!("not one incoming call");
        };
        assert_eq!(icrq.assigned_session_id, SessionId(peer_session_id));
        *session
    }

    fn send_icrq(&mut self, peer_session_id: u16, serial: &[u8]) {
        let id = peer_session_id.to_be_bytes();
        self.send(0, &[(0x80, 0, &[0, 10]), (0x80, 14, &id), (0x80, 15, serial)]);
    }

    /// The LAC's next message.
    fn send(&mut self, session_id: u16, avps: &[RawAvp<'_>]) {
        self.send_numbered(session_id, (self.ns, self.nr), &body(avps));
        self.ns = self.ns.wrapping_add(1);
    }

    /// A message with any numbers.
    fn send_numbered(&mut self, session_id: u16, numbers: (u16, u16), body: &[u8]) {
        let datagram = datagram((LOCAL.0, session_id), numbers, body);
        let (header, body) = parsed(&datagram);
        self.tunnel.handle(self.now, &header, body);
    }

    /// The LAC acknowledges what it has taken.
    fn acknowledge(&mut self) {
        self.send_numbered(0, (self.ns, self.nr), &[]);
    }

    /// What the tunnel sends now, taken by the LAC.
    fn frames(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(datagram) = self.tunnel.poll_transmit() {
            let frame = Frame::read(&datagram);
            assert_eq!(frame.tunnel_id, self.tunnel.peer_tunnel_id().0);
            if frame.message_type() != ZLB && frame.ns == self.nr {
                self.nr = self.nr.wrapping_add(1);
            }
            frames.push(frame);
        }
        frames
    }

    /// The types of what the tunnel sends now.
    fn types(&mut self) -> Vec<u16> {
        self.frames().iter().map(Frame::message_type).collect()
    }

    /// The events since the last call.
    fn events(&mut self) -> Vec<Event> {
        self.events.extend(std::iter::from_fn(|| self.tunnel.poll_event()));
        std::mem::take(&mut self.events)
    }

    /// Lets time pass, each timer at its time; what was sent, and how long after the start.
    fn pass(&mut self, time: Duration) -> Vec<(Duration, Frame)> {
        let start = self.now;
        let end = start + time;
        let mut sent = Vec::new();
        while let Some(due) = self.tunnel.poll_timeout().filter(|due| *due <= end) {
            assert!(due >= self.now, "a timer in the past");
            self.now = due;
            self.tunnel.handle_timeout(due);
            let frames = self.frames();
            sent.extend(frames.into_iter().map(|frame| (due - start, frame)));
        }
        self.now = end;
        sent
    }

    /// As [`Pair::pass`], but only when and what type.
    fn schedule(&mut self, time: Duration) -> Vec<(u128, u16)> {
        let sent = self.pass(time);
        sent.iter().map(|(at, frame)| (at.as_millis(), frame.message_type())).collect()
    }
}
