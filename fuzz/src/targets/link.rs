//! A PPP link in both roles, in every phase, against a peer that answers properly, wrongly, or with
//! anything.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use xlns_control::ppp::frame::{self, Frame, Packet, code, protocol};
use xlns_control::ppp::proxy::{Proxy, ProxyAuthentication};
use xlns_control::ppp::{
    Account, Authentication, CallMode, Config, DownCause, Event, Framing, Grant, Ipv4Config,
    Ipv4Grant, Link, Phase, Refusal, chap,
};
use xlns_control::time::Time;
use zeroize::Zeroizing;

use crate::script::Script;

/// Frames that one frame, or one command, can make a link send: a reply, what LCP being up begins, and
/// requests of all network protocols.
const BURST_MAX: usize = 12;

/// After so long a silence a link that sends echoes is over.
const SILENCE: Duration = Duration::from_secs(600);

/// Timers that run out in [`SILENCE`].
const TIMEOUTS_MAX: usize = 2000;

/// Octets around a packet of the peer's MRU, and of the PPP header before an IPv6 packet.
const FRAMING_OCTETS_MAX: usize = 4;

const METHODS: [Authentication; 3] =
    [Authentication::ChapMd5, Authentication::MsChapV2, Authentication::Pap];

/// Protocols that a peer may send.
const PROTOCOLS: [u16; 9] = [
    protocol::LCP,
    protocol::IPCP,
    protocol::IPV6CP,
    protocol::CHAP,
    protocol::PAP,
    protocol::IPV4,
    protocol::IPV6,
    0x80fd,
    0x8281,
];

struct World {
    link: Link,
    now: Time,
    rng: StdRng,
    /// What the link sent, the last ones.
    sent: Vec<Vec<u8>>,
    ipv4_up: bool,
    ipv6_up: bool,
    down: bool,
}

/// The input is a script.
pub fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let mut world = World::new(&mut script);
    while !script.is_over() && !world.down {
        world.step(&mut script);
    }
    let idle = world.link.phase() == Phase::Dead && !world.down;
    world.wait(SILENCE);
    assert!(world.down || idle, "{:?} after a long silence", world.link.phase());
}

impl World {
    fn new(script: &mut Script<'_>) -> Self {
        let config = Arc::new(config(script));
        let mut rng = StdRng::seed_from_u64(u64::from(script.octet()));
        let link = Link::new(config, &mut rng);
        let now = Time::ZERO + Duration::from_secs(1000);
        let (ipv4_up, ipv6_up, down) = (false, false, false);
        Self { link, now, rng, sent: Vec::new(), ipv4_up, ipv6_up, down }
    }

    fn step(&mut self, script: &mut Script<'_>) {
        match script.octet() % 16 {
            0 => self.open(script),
            1 => self.receive(script.piece()),
            2..=4 => {
                let (protocol, code) = (script.choice(&PROTOCOLS), script.octet() % 16);
                let identifier = script.octet();
                let octets =
                    frame::emit(protocol, script.flag(), code, identifier, &[script.piece()]);
                self.receive(&octets);
            }
            5..=8 => self.turn_round(script),
            9 => self.prove(script),
            10 => self.verdict(script),
            11 => self.wait(script.time()),
            12 => {
                let mut request = vec![0x21];
                request.extend_from_slice(script.take(30));
                self.link.send_ipv6(&request);
            }
            13 => {
                // Everything of ours is acknowledged, and asked for nothing.
                for frame in std::mem::take(&mut self.sent) {
                    if let Some(answer) = answered(&frame, code::CONFIGURE_ACK, None) {
                        self.receive(&answer);
                    }
                }
            }
            14 => {
                let protocol = script.choice(&PROTOCOLS[..3]);
                let request = frame::emit(protocol, true, code::CONFIGURE_REQUEST, 1, &[]);
                self.receive(&request);
            }
            _ if script.octet() == 0xff => self.link.close(self.now, DownCause::Closed),
            _ => {}
        }
        self.drain();
    }

    fn open(&mut self, script: &mut Script<'_>) {
        if script.flag() {
            return self.link.open(self.now, &mut self.rng);
        }
        let authentication = script.flag().then(|| ProxyAuthentication {
            kind: script.octet().into(),
            name: script.piece().to_vec(),
            challenge: script.piece().to_vec(),
            identifier: script.octet(),
            response: Zeroizing::new(script.piece().to_vec()),
        });
        let proxy = Proxy {
            initial_received: None,
            last_sent: script.optional_piece(),
            last_received: script.optional_piece(),
            authentication,
        };
        self.link.open_with_proxy(self.now, &proxy, &mut self.rng);
    }

    fn receive(&mut self, octets: &[u8]) {
        let _ = self.link.handle_frame(self.now, octets, &mut self.rng);
        self.drain();
    }

    /// One of our last frames comes back with another code, with other data, or as it is.
    fn turn_round(&mut self, script: &mut Script<'_>) {
        let from_end = usize::from(script.octet() & 7);
        let Some(frame) = self.sent.iter().rev().nth(from_end).cloned() else { return };
        let code = script.octet() % 16;
        let data = script.piece();
        let data = (!data.is_empty()).then_some(data);
        if code == 0 {
            return self.receive(&frame);
        }
        if let Some(answer) = answered(&frame, code, data) {
            self.receive(&answer);
        }
    }

    /// The right answer to the last challenge, or a name and password.
    fn prove(&mut self, script: &mut Script<'_>) {
        let (name, password) = (script.take(4), b"secret");
        let challenge = self.sent.iter().rev().find_map(|frame| {
            let frame =
                Frame::parse(frame).ok().filter(|frame| frame.protocol == protocol::CHAP)?;
            let packet = Packet::parse(frame.information).ok().filter(|packet| packet.code == 1)?;
            let fields = chap::Fields::parse(packet.data).ok()?;
            Some((packet.identifier, fields.value.to_vec()))
        });
        let octets = match challenge {
            Some((identifier, challenge)) if script.flag() => {
                let value = chap::respond(identifier, password, &challenge);
                let parts: [&[u8]; 3] = [&[value.len() as u8], &value, name];
                frame::emit(protocol::CHAP, true, 2, identifier, &parts)
            }
            _ => {
                let lengths = [[name.len() as u8], [password.len() as u8]];
                let parts: [&[u8]; 4] = [&lengths[0], name, &lengths[1], password];
                frame::emit(protocol::PAP, true, 1, script.octet(), &parts)
            }
        };
        self.receive(&octets);
    }

    fn verdict(&mut self, script: &mut Script<'_>) {
        let verdict = if script.octet() % 8 == 7 {
            let message = String::from_utf8_lossy(script.piece()).into_owned();
            Err(Refusal { message })
        } else {
            let flags = script.octet();
            let address = Ipv4Addr::new(10, 0, 0, flags & 1);
            let ipv4 = (flags & 2 == 0).then(|| Ipv4Grant { address, ..Ipv4Grant::default() });
            let mschap_success = Some([7; 20]);
            Ok(Grant { ipv4, ipv6: flags & 4 == 0, mschap_success })
        };
        self.link.authenticated(self.now, verdict);
    }

    fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        let mut timeouts = 0;
        while let Some(due) = self.link.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.link.handle_timeout(self.now, &mut self.rng);
            self.drain();
            timeouts += 1;
            assert!(timeouts < TIMEOUTS_MAX, "a timer that does not move");
        }
        self.now = end;
    }

    fn drain(&mut self) {
        let mut burst = 0;
        while let Some(octets) = self.link.poll_transmit() {
            self.check_frame(&octets);
            self.sent.push(octets);
            burst += 1;
            assert!(burst <= BURST_MAX, "{burst} frames at once");
        }
        let old = self.sent.len().saturating_sub(8);
        self.sent.drain(..old);
        while let Some(event) = self.link.poll_event() {
            self.take_event(&event);
        }
        assert_eq!((self.ipv4_up, self.ipv6_up), (self.link.is_ipv4_up(), self.link.is_ipv6_up()));
    }

    /// What we send can be read, and is no longer than the peer takes.
    fn check_frame(&self, octets: &[u8]) {
        let frame = Frame::parse(octets).expect("what we send is a frame");
        let mru = usize::from(self.link.agreed().peer_mru.max(1500));
        assert!(octets.len() <= mru + FRAMING_OCTETS_MAX, "{} octets for {mru}", octets.len());
        if frame.protocol != protocol::IPV6 {
            let packet = Packet::parse(frame.information).expect("with a packet in it");
            assert_eq!(packet.octets.len(), frame.information.len());
        }
    }

    /// Up and down take turns, and nothing comes behind the end.
    fn take_event(&mut self, event: &Event) {
        assert!(!self.down, "{event:?} behind the end");
        match event {
            Event::Ipv4Up { .. } => {
                assert!(!std::mem::replace(&mut self.ipv4_up, true), "IPv4 is up twice");
            }
            Event::Ipv4Down => {
                assert!(std::mem::take(&mut self.ipv4_up), "IPv4 is down twice");
            }
            Event::Ipv6Up { local, peer } => {
                assert!(local != peer && *peer != 0, "{local:x} and {peer:x}");
                assert!(!std::mem::replace(&mut self.ipv6_up, true), "IPv6 is up twice");
            }
            Event::Ipv6Down => {
                assert!(std::mem::take(&mut self.ipv6_up), "IPv6 is down twice");
            }
            Event::Ipv6Packet(_) => assert!(self.ipv6_up),
            Event::Down { .. } => {
                assert!(!self.ipv4_up && !self.ipv6_up, "over with protocols that are up");
                self.down = true;
            }
            Event::LcpUp { .. }
            | Event::Authenticate(_)
            | Event::Refused { .. }
            | Event::Identification { .. } => {}
        }
    }
}

fn config(script: &mut Script<'_>) -> Config {
    let flags = script.octet();
    let bit = |bit: u8| flags >> bit & 1 != 0;
    let asked = script.octet();
    let of = |mask: u8| -> Vec<Authentication> {
        let wanted = |at: &usize| mask >> at & 1 != 0;
        (0..METHODS.len()).filter(wanted).map(|at| METHODS[at]).collect()
    };
    let account = bit(0).then(|| Account {
        name: "us".into(),
        password: Zeroizing::new("secret".into()),
        methods: of(asked >> 4),
    });
    let ipv4 = Ipv4Config {
        local_address: bit(1).then_some(Ipv4Addr::new(10, 0, 0, 9)),
        dns: vec![Ipv4Addr::new(9, 9, 9, 9)],
        nbns: Vec::new(),
        ask_dns: bit(2),
    };
    let modes = [CallMode::Renegotiate, CallMode::MandatoryChap, CallMode::Proxy];
    Config {
        authentication: of(asked),
        account,
        ipv4: (!bit(3)).then_some(ipv4),
        ipv6: bit(4),
        framing: if bit(5) { Framing::AlwaysFf03 } else { Framing::Negotiated },
        call_mode: modes[usize::from(asked >> 6) % modes.len()],
        rechallenge: bit(6).then_some(Duration::from_secs(40)),
        // Silence has to be noticed.
        echo_interval: Some(Duration::from_secs(20)),
        identification: bit(7).then(|| "xlns".into()),
        ..Config::default()
    }
}

/// The frame with another code, and with other data where there are some.
fn answered(octets: &[u8], code: u8, data: Option<&[u8]>) -> Option<Vec<u8>> {
    let frame = Frame::parse(octets).ok()?;
    let packet = Packet::parse(frame.information).ok()?;
    let is_request = packet.code == code::CONFIGURE_REQUEST;
    if code == code::CONFIGURE_ACK && data.is_none() && !is_request {
        return None;
    }
    let data = data.unwrap_or(packet.data);
    Some(frame::emit(frame.protocol, true, code, packet.identifier, &[data]))
}
