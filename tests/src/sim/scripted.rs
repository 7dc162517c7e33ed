//! The emulated subscriber: a small PPP client with timers, that gets an address or gives up. Written
//! apart from the engines under test, so that both sides do not share a misunderstanding.

use std::net::Ipv4Addr;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use xlns_control::l2tp::secret;
use xlns_control::ppp::proxy::kind;
use xlns_control::time::Time;

use super::engine::PACKET;
use super::negotiation::{Change, Negotiation, code, frame};
use super::subscriber::{Handover, Network};

const LCP: u16 = 0xc021;
const PAP: u16 = 0xc023;
const CHAP: u16 = 0xc223;
const IPCP: u16 = 0x8021;

/// Option types.
const AUTHENTICATION: u8 = 3;
const ADDRESS: u8 = 3;

/// Between LCP echoes, and how many without an answer end the call.
const ECHO_INTERVAL: Duration = Duration::from_secs(8);
const ECHOES_MAX: u32 = 3;

/// Time before the name is said once more, how often, and how long the end is waited for.
const REPEAT_AFTER: Duration = Duration::from_secs(1);
const ATTEMPTS_MAX: u32 = 12;
const END_WAIT: Duration = Duration::from_secs(4);

/// What a subscriber is like.
#[derive(Debug, Clone)]
pub struct Habits {
    /// Name.
    pub user: &'static str,
    /// Password, right or wrong.
    pub password: &'static str,
    /// Uses CHAP, else PAP.
    pub chap: bool,
    /// Options of its LCP Configure-Request.
    pub lcp_options: Vec<u8>,
    /// Type of an LCP option that it rejects.
    pub rejects: Option<u8>,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No call.
    Off,
    /// LCP.
    Establish,
    /// PAP or CHAP.
    Authenticate,
    /// IPCP.
    Network,
    /// Packets flow, from this address.
    Up(Ipv4Addr),
    /// Waits for the end of the call.
    Ending,
}

/// A subscriber.
#[derive(Debug)]
pub struct Scripted {
    habits: Habits,
    phase: Phase,
    lcp: Negotiation,
    ipcp: Negotiation,
    /// What is said until the LNS answers: a PAP request or the CHAP response, and its identifier.
    proof: Option<(u8, Vec<u8>)>,
    attempts: u32,
    repeat_at: Option<Time>,
    echo_at: Option<Time>,
    echoes: u32,
    identifier: u8,
    wants_end: bool,
    out: Vec<Vec<u8>>,
}

impl Scripted {
    /// One that is off.
    pub fn new(habits: Habits) -> Self {
        Self {
            habits,
            phase: Phase::Off,
            lcp: Negotiation::new(LCP),
            ipcp: Negotiation::new(IPCP),
            proof: None,
            attempts: 0,
            repeat_at: None,
            echo_at: None,
            echoes: 0,
            identifier: 0,
            wants_end: false,
            out: Vec::new(),
        }
    }

    /// The name that it says.
    pub fn user(&self) -> &'static str {
        self.habits.user
    }

    /// What its link is good for.
    pub fn network(&self) -> Network {
        let Phase::Up(address) = self.phase else { return Network::default() };
        Network { ipv4: Some(address), ..Network::default() }
    }

    /// The call is up: LCP begins.
    pub fn start(&mut self, now: Time) {
        self.ipcp.stop();
        self.set_phase(Phase::Establish);
        (self.echo_at, self.echoes) = (Some(now + ECHO_INTERVAL), 0);
        let options = self.habits.lcp_options.clone();
        self.lcp.begin(now, options, &mut self.out);
    }

    /// The call is up, and LCP and authentication are behind it: the LAC has done that in the LNS's
    /// place. The LNS lets the subscriber in, or begins anew wherever it wants to.
    pub fn start_behind(&mut self, now: Time, rng: &mut StdRng) -> Handover {
        self.ipcp.stop();
        self.set_phase(Phase::Authenticate);
        (self.echo_at, self.echoes) = (Some(now + ECHO_INTERVAL), 0);
        self.repeat_at = Some(now + REPEAT_AFTER);
        self.lcp.assume(self.habits.lcp_options.clone());
        self.identifier = rng.random();
        let challenge: [u8; 16] = rng.random();
        let (identifier, name) = (self.identifier, self.habits.user.as_bytes().to_vec());
        let mut sent = vec![1, 4, 5, 0xb4, 5, 6, 1, 2, 3, rng.random()];
        sent.extend_from_slice(self.wanted_authentication());
        let (kind, challenge, response) = if self.habits.chap {
            self.respond(identifier, &challenge);
            let digest = secret::response(identifier, self.habits.password.as_bytes(), &challenge);
            (kind::CHAP, Some((challenge.to_vec(), identifier)), digest.to_vec())
        } else {
            self.say_password();
            (kind::PAP, None, self.habits.password.as_bytes().to_vec())
        };
        // It went to the LAC.
        self.out.clear();
        let received = self.habits.lcp_options.clone();
        Handover { received, sent, kind, name, challenge, response }
    }

    /// LCP begins anew on the same call, with another MRU than before.
    pub fn renegotiate(&mut self, now: Time) {
        const MRU_1400: &[u8] = &[1, 4, 5, 0x78];
        let before = self.habits.lcp_options.clone();
        let others = split(&before).filter(|option| option[0] != MRU_1400[0]);
        let mut options = others.collect::<Vec<_>>().concat();
        if !split(&before).any(|option| option == MRU_1400) {
            options.extend_from_slice(MRU_1400);
        }
        self.habits.lcp_options = options;
        self.start(now);
    }

    /// The call is over, or the power went.
    pub fn stop(&mut self) {
        self.lcp.stop();
        self.ipcp.stop();
        self.out.clear();
        self.set_phase(Phase::Off);
        (self.echo_at, self.wants_end) = (None, false);
    }

    /// Says goodbye.
    pub fn terminate(&mut self, now: Time) {
        if !matches!(self.phase, Phase::Off | Phase::Ending) {
            self.identifier = self.identifier.wrapping_add(1);
            self.out.push(frame(LCP, code::TERMINATE, self.identifier, &[]));
            self.end(now);
        }
    }

    /// Whether the line should be dropped; asked once.
    pub fn take_wants_end(&mut self) -> bool {
        std::mem::take(&mut self.wants_end)
    }

    /// What it sends.
    pub fn take_frames(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.out)
    }

    /// When [`Scripted::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        let times =
            [self.lcp.poll_timeout(), self.ipcp.poll_timeout(), self.repeat_at, self.echo_at];
        times.into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        let gives_up = self.lcp.handle_timeout(now, &mut self.out)
            || self.ipcp.handle_timeout(now, &mut self.out);
        self.wants_end |= gives_up;
        if self.repeat_at.is_some_and(|at| at <= now) {
            self.attempts += 1;
            self.repeat_at = Some(now + REPEAT_AFTER);
            self.wants_end |= self.phase == Phase::Ending || self.attempts > ATTEMPTS_MAX;
            if let Some((_, proof)) = &self.proof {
                self.out.push(proof.clone());
            }
        }
        if self.echo_at.is_some_and(|at| at <= now) {
            self.echo_at = Some(now + ECHO_INTERVAL);
            self.echoes += 1;
            self.wants_end |= self.echoes > ECHOES_MAX;
            if self.lcp.is_open() {
                self.out.push(frame(LCP, code::ECHO, self.echoes as u8, &[0; 4]));
            }
            if self.network().is_up() {
                self.out.push(PACKET.to_vec());
            }
        }
        if self.wants_end {
            (self.repeat_at, self.echo_at) = (None, None);
            self.lcp.stop();
            self.ipcp.stop();
        }
    }

    /// A frame of the LNS.
    pub fn handle_frame(&mut self, now: Time, octets: &[u8]) {
        let octets = octets.strip_prefix(&[0xff, 3]).unwrap_or(octets);
        let [high, low, code, identifier, length @ ..] = octets else { return };
        let [first, second, content @ ..] = length else { return };
        let length = usize::from(u16::from_be_bytes([*first, *second])).saturating_sub(4);
        let Some(content) = content.get(..length) else { return };
        if self.phase == Phase::Off {
            return;
        }
        match u16::from_be_bytes([*high, *low]) {
            LCP => self.on_lcp(now, *code, *identifier, content),
            PAP if self.phase == Phase::Authenticate => self.on_verdict(now, *code, *identifier),
            CHAP => self.on_chap(now, *code, *identifier, content),
            IPCP if matches!(self.phase, Phase::Network | Phase::Up(_)) => {
                self.on_ipcp(now, *code, *identifier, content);
            }
            _ => {}
        }
    }

    fn on_lcp(&mut self, now: Time, code: u8, identifier: u8, content: &[u8]) {
        let change = match code {
            code::ECHO => return self.out.push(frame(LCP, code::ECHO_REPLY, identifier, &[0; 4])),
            code::ECHO_REPLY => return self.echoes = 0,
            code::TERMINATE => {
                self.out.push(frame(LCP, code::TERMINATE_ACK, identifier, &[]));
                return self.end(now);
            }
            _ if self.phase == Phase::Ending => return,
            code::REQUEST => {
                let (code, content) = self.judge(content);
                self.lcp.on_request(now, identifier, code, &content, &mut self.out)
            }
            code::ACK | code::NAK | code::REJECT => {
                let next = refused(&self.lcp.options, code, content);
                let agreed = code == code::ACK;
                self.lcp.on_answer(now, identifier, agreed, next, &mut self.out)
            }
            _ => return,
        };
        match change {
            Change::None => {}
            Change::Down => {
                self.ipcp.stop();
                self.set_phase(Phase::Establish);
            }
            Change::Up => {
                self.set_phase(Phase::Authenticate);
                self.repeat_at = Some(now + REPEAT_AFTER);
                if !self.habits.chap {
                    self.say_password();
                }
            }
        }
    }

    fn wanted_authentication(&self) -> &'static [u8] {
        if self.habits.chap { &[3, 5, 0xc2, 0x23, 5] } else { &[3, 4, 0xc0, 0x23] }
    }

    /// The answer to the LNS's LCP options.
    fn judge(&self, options: &[u8]) -> (u8, Vec<u8>) {
        let wanted = self.wanted_authentication();
        for option in split(options) {
            if Some(option[0]) == self.habits.rejects {
                return (code::REJECT, option.to_vec());
            }
            if option[0] == AUTHENTICATION && option != wanted {
                return (code::NAK, wanted.to_vec());
            }
        }
        (code::ACK, options.to_vec())
    }

    fn say_password(&mut self) {
        self.identifier = self.identifier.wrapping_add(1);
        let mut content = Vec::new();
        for text in [self.habits.user, self.habits.password] {
            content.push(text.len() as u8);
            content.extend_from_slice(text.as_bytes());
        }
        self.prove(PAP, code::REQUEST, self.identifier, &content);
    }

    fn prove(&mut self, protocol: u16, code: u8, identifier: u8, content: &[u8]) {
        let proof = frame(protocol, code, identifier, content);
        self.out.push(proof.clone());
        self.proof = Some((identifier, proof));
    }

    fn on_chap(&mut self, now: Time, code: u8, identifier: u8, content: &[u8]) {
        if self.phase != Phase::Authenticate || !self.habits.chap {
            return;
        }
        if code != 1 {
            // Success and Failure are one above Ack and Nak of PAP.
            return self.on_verdict(now, code.saturating_sub(1), identifier);
        }
        let [length, content @ ..] = content else { return };
        let Some(challenge) = content.get(..usize::from(*length)) else { return };
        self.respond(identifier, challenge);
    }

    fn respond(&mut self, identifier: u8, challenge: &[u8]) {
        let digest = secret::response(identifier, self.habits.password.as_bytes(), challenge);
        let mut response = vec![16];
        response.extend_from_slice(&digest);
        response.extend_from_slice(self.habits.user.as_bytes());
        self.prove(CHAP, 2, identifier, &response);
    }

    /// 2: let in, 3: not.
    fn on_verdict(&mut self, now: Time, code: u8, identifier: u8) {
        if self.proof.as_ref().is_none_or(|(asked, _)| *asked != identifier) {
            return;
        }
        match code {
            2 => {
                self.set_phase(Phase::Network);
                let options = vec![ADDRESS, 6, 0, 0, 0, 0, 129, 6, 0, 0, 0, 0];
                self.ipcp.begin(now, options, &mut self.out);
            }
            3 => self.end(now),
            _ => {}
        }
    }

    fn on_ipcp(&mut self, now: Time, code: u8, identifier: u8, content: &[u8]) {
        let change = match code {
            code::REQUEST => {
                self.ipcp.on_request(now, identifier, code::ACK, content, &mut self.out)
            }
            code::ACK | code::NAK | code::REJECT => {
                let next = refused(&self.ipcp.options, code, content);
                self.ipcp.on_answer(now, identifier, code == code::ACK, next, &mut self.out)
            }
            _ => return,
        };
        match change {
            Change::None => {}
            Change::Down => self.set_phase(Phase::Network),
            Change::Up => {
                let address = split(&self.ipcp.options).find(|option| option[0] == ADDRESS);
                let address = address.and_then(|option| option.get(2..6)?.try_into().ok());
                match address.map(|octets: [u8; 4]| Ipv4Addr::from(octets)) {
                    Some(address) => self.set_phase(Phase::Up(address)),
                    // Refused too often (Max-Failure): without one the link is no use.
                    None => self.terminate(now),
                }
            }
        }
    }

    fn end(&mut self, now: Time) {
        self.set_phase(Phase::Ending);
        self.lcp.stop();
        self.ipcp.stop();
        (self.repeat_at, self.echo_at) = (Some(now + END_WAIT), None);
    }

    fn set_phase(&mut self, phase: Phase) {
        self.phase = phase;
        (self.proof, self.attempts, self.repeat_at) = (None, 0, None);
    }
}

/// The options one by one, whole; what is malformed ends it.
fn split(options: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = options;
    std::iter::from_fn(move || {
        let length = usize::from(*rest.get(1)?).max(2);
        let option = rest.get(..length)?;
        rest = rest.get(length..)?;
        Some(option)
    })
}

/// What is asked for after a Nak or Reject: without what was rejected, with what was named instead.
fn refused(asked: &[u8], code: u8, content: &[u8]) -> Option<Vec<u8>> {
    let mut next = Vec::new();
    for option in split(asked) {
        match split(content).find(|refused| refused[0] == option[0]) {
            None => next.extend_from_slice(option),
            Some(better) if code == code::NAK => next.extend_from_slice(better),
            Some(_) => {}
        }
    }
    (code != code::ACK).then_some(next)
}
