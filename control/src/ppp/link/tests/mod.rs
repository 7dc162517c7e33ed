//! A link against scripted peers in virtual time. What the peers send is spelled out in octets; what
//! they expect is too, but for our magic number and challenges.

mod authenticate;
mod client;
mod establish;
mod ipv6;
mod malformed;
mod network;
mod pairs;
mod peers;
mod takeover;
mod terminate;

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use zeroize::Zeroizing;

use super::receive::HELD_OCTETS_MAX;
use super::*;
use crate::ppp::automaton::State;
use crate::ppp::frame::{Frame, Packet, protocol};
use crate::ppp::{
    Account, Authentication, Credentials, Framing, Grant, Ipv4Config, Ipv4Grant, Proof, Refusal,
    chap, mschap,
};

const OURS: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 1);
const PEERS: Ipv4Addr = Ipv4Addr::new(100, 64, 7, 9);
const IPV4_UP: Event = Event::Ipv4Up { local: OURS, peer: PEERS, dns: Vec::new() };

fn config() -> Config {
    Config { server_name: "lns".into(), ipv4: Some(ipv4()), ..Config::default() }
}

fn ipv4() -> Ipv4Config {
    Ipv4Config {
        local_address: Some(OURS),
        dns: vec![Ipv4Addr::new(9, 9, 9, 9), Ipv4Addr::new(9, 9, 9, 10)],
        ..Ipv4Config::default()
    }
}

fn pap_only() -> Config {
    Config { authentication: vec![Authentication::Pap], ..config() }
}

/// Octets from hexadecimal digits; blanks are for the reader.
fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u32> = digits.chars().filter_map(|c| c.to_digit(16)).collect();
    assert!(digits.len().is_multiple_of(2));
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

/// A link and the other end of the wire.
struct Pair {
    link: Link,
    now: Time,
    rng: StdRng,
    frames: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
}

impl Pair {
    fn new(config: Config) -> Self {
        let mut rng = StdRng::seed_from_u64(1);
        let link = Link::new(Arc::new(config), &mut rng);
        let (frames, events) = (VecDeque::new(), VecDeque::new());
        Self { link, now: Time::ZERO, rng, frames, events }
    }

    /// A pair whose link is open; nothing was received yet.
    fn opened(config: Config) -> Self {
        let mut pair = Self::new(config);
        pair.open();
        pair
    }

    /// A pair after an LCP without wishes of the peer.
    fn with_lcp_up(config: Config) -> Self {
        let mut pair = Self::opened(config);
        let request = pair.next();
        pair.send_octets(&acknowledge(&request));
        pair.send("ff03 c021 01 01 0004");
        pair.expect("ff03 c021 02 01 0004");
        let Some(Event::LcpUp { .. }) = pair.events.pop_front() else { panic!("LCP is not up") };
        pair
    }

    /// A pair whose peer authenticated by PAP and IPCP has begun; our request is the next frame.
    fn with_network(config: Config) -> Self {
        let mut pair = Self::with_lcp_up(config);
        if pair.link.agreed().authentication == Some(Authentication::ChapMd5) {
            pair.next();
        }
        pair.send("ff03 c023 01 01 0010 03 626f62 07 73656372657421");
        pair.expect_credentials();
        pair.accept();
        pair.expect("ff03 c023 02 01 000c 07 57656c636f6d65");
        pair
    }

    /// A pair with everything up.
    fn with_network_up(config: Config) -> Self {
        let mut pair = Self::with_network(config);
        let request = pair.next();
        pair.send_octets(&acknowledge(&request));
        pair.send("ff03 8021 01 01 000a 03 06 64400709");
        pair.expect("ff03 8021 02 01 000a 03 06 64400709");
        assert_eq!(pair.events.pop_front(), Some(IPV4_UP));
        pair.expect_silence();
        pair
    }

    fn open(&mut self) {
        self.link.open(self.now, &mut self.rng);
        self.drain();
    }

    fn send(&mut self, frame: &str) -> Option<Discard> {
        self.send_octets(&hex(frame))
    }

    fn send_octets(&mut self, frame: &[u8]) -> Option<Discard> {
        let discard = self.link.handle_frame(self.now, frame, &mut self.rng);
        self.drain();
        discard
    }

    fn accept(&mut self) {
        self.link.authenticated(self.now, Ok(Grant::ipv4(PEERS)));
        self.drain();
    }

    fn refuse(&mut self, message: &str) {
        self.link.authenticated(self.now, Err(Refusal { message: message.into() }));
        self.drain();
    }

    fn close(&mut self) {
        self.link.close(self.now, DownCause::Closed);
        self.drain();
    }

    fn drain(&mut self) {
        self.frames.extend(std::iter::from_fn(|| self.link.poll_transmit()));
        self.events.extend(std::iter::from_fn(|| self.link.poll_event()));
    }

    /// Lets time pass, firing the timers when they are due.
    fn advance(&mut self, duration: Duration) {
        let until = self.now + duration;
        while let Some(at) = self.link.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.link.handle_timeout(self.now, &mut self.rng);
            self.drain();
        }
        self.now = until;
    }

    fn next(&mut self) -> Vec<u8> {
        self.frames.pop_front().expect("a frame")
    }

    #[track_caller]
    fn expect(&mut self, frame: &str) {
        let sent = self.frames.pop_front().expect("a frame");
        assert_eq!(sent, hex(frame), "{sent:02x?}");
    }

    #[track_caller]
    fn expect_silence(&self) {
        assert!(self.frames.is_empty(), "{:02x?}", self.frames);
    }

    #[track_caller]
    fn expect_event(&mut self, event: Event) {
        assert_eq!(self.events.pop_front(), Some(event));
    }

    #[track_caller]
    fn expect_down(&mut self, cause: DownCause) {
        self.expect_event(Event::Down { cause });
        assert_eq!(self.link.phase(), Phase::Dead);
        assert_eq!(self.link.poll_timeout(), None);
    }

    #[track_caller]
    fn expect_credentials(&mut self) -> crate::ppp::Credentials {
        match self.events.pop_front() {
            Some(Event::Authenticate(credentials)) => credentials,
            event => panic!("{event:?}"),
        }
    }
}

/// What a peer makes of a Configure-Request that it likes: the same with another code.
fn acknowledge(request: &[u8]) -> Vec<u8> {
    assert_eq!(request[4], 1, "a Configure-Request");
    let mut ack = request.to_vec();
    ack[4] = 2;
    ack
}

/// The response to a challenge frame, with the secret "secret" and the name "bob".
fn respond(challenge: &[u8]) -> Vec<u8> {
    use md5::Digest;
    assert_eq!(challenge[..5], hex("ff03 c223 01"), "a challenge");
    let identifier = challenge[5];
    let size = usize::from(challenge[8]);
    let hash = md5::Md5::new()
        .chain_update([identifier])
        .chain_update(b"secret")
        .chain_update(&challenge[9..9 + size])
        .finalize();
    let mut response = hex("ff03 c223 02");
    response.push(identifier);
    response.extend(hex("0018 10"));
    response.extend_from_slice(&hash);
    response.extend_from_slice(b"bob");
    response
}

/// What an owner says of a proof of "bob" with the password "secret", as it speaks both protocols.
fn verdict(credentials: &Credentials) -> Result<Grant, Refusal> {
    let grant = Grant { ipv6: true, ..Grant::ipv4(PEERS) };
    let refusal = Refusal { message: String::new() };
    let right = credentials.name == b"bob";
    match &credentials.proof {
        Proof::Pap { password } if right && ***password == *b"secret" => Ok(grant),
        Proof::ChapMd5 { identifier, challenge, response }
            if right && chap::verify(*identifier, b"secret", challenge, response) =>
        {
            Ok(grant)
        }
        Proof::MsChapV2 { authenticator_challenge, peer_challenge, nt_response, .. } if right => {
            let name = &credentials.name;
            let exchange = mschap::Exchange { authenticator_challenge, peer_challenge, name };
            let proven = exchange.verify("secret", nt_response).ok_or(refusal)?;
            Ok(Grant { mschap_success: Some(proven), ..grant })
        }
        _ => Err(refusal),
    }
}

/// A subscriber: asks nobody to authenticate, wants an address, name servers and IPv6.
fn client(methods: &[Authentication]) -> Config {
    let account = Account {
        name: "bob".into(),
        password: Zeroizing::new("secret".into()),
        methods: methods.to_vec(),
    };
    Config {
        authentication: Vec::new(),
        account: Some(account),
        ipv4: Some(Ipv4Config { ask_dns: true, ..Ipv4Config::default() }),
        ipv6: true,
        ..Config::default()
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// A million of them have to fit (what hangs off an idle link is freed: see below).
#[test]
fn a_link_is_small() {
    assert!(size_of::<Link>() <= 700, "{}", size_of::<Link>());
}

#[test]
fn an_idle_link_holds_no_other_memory() {
    let pair = Pair::with_network_up(config());
    assert_eq!(pair.link.events.capacity(), 0);
    assert_eq!(pair.link.transmit.capacity(), 0);
    assert_eq!(pair.link.held, None);
    assert_eq!(pair.link.poll_timeout(), None);
}
