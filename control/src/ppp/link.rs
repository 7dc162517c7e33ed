//! One PPP link: LCP, authentication both ways, the network protocols, and the phases between them
//! (RFC 1661 section 3).
//!
//! A link that the peer terminates lingers for one restart time after the acknowledgement, as section
//! 3.7 demands: the acknowledgement may be lost, and the peer asks for it again. Nothing flows
//! meanwhile, and a peer in a hurry lets its lower layer go, upon which the owner drops the link.

use std::collections::VecDeque;
use std::sync::Arc;

use rand::RngCore;

use self::network::Granted;
use super::authenticatee::Authenticatee;
use super::authenticator::Authenticator;
use super::automaton;
use super::echo::Echo;
use super::frame::{code, protocol};
use super::ipcp::Ipcp;
use super::ipv6cp::Ipv6cp;
use super::lcp::Lcp;
use super::machine::{Machine, Signal};
use super::policy::Policy;
use super::proxy::{Proxy, Takeover};
use super::transmit::{Context, Transmit, truncate};
use super::{Agreed, Authentication, CallMode, Config, Discard, DownCause, Event};
use crate::time::Time;

/// Octets of an Identification before its message.
const IDENTIFICATION_HEADER_OCTETS: usize = 8;

/// A phase of a link (RFC 1661 section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Not open yet, or over.
    Dead,
    /// LCP negotiates.
    Establish,
    /// One or both have to say who they are.
    Authenticate,
    /// Network protocols negotiate or are up.
    Network,
    /// Being closed.
    Terminate,
}

/// One PPP link.
///
/// Getters: `phase`, `agreed`, `is_*`. Input: `handle_*`. Commands: `open`, `open_with_proxy`,
/// `authenticated`, `send_ipv6`, `probe`, `close`.
/// Output: `poll_*`, to be drained after every input and command.
#[derive(Debug)]
pub struct Link {
    config: Arc<Config>,
    lcp: Machine<Lcp>,
    ipcp: Machine<Ipcp>,
    ipv6cp: Machine<Ipv6cp>,
    authenticator: Authenticator,
    authenticatee: Authenticatee,
    echo: Echo,
    transmit: Transmit,
    events: VecDeque<Event>,
    /// The peer's Configure-Request that came before [`Link::open`].
    held: Option<Box<[u8]>>,
    /// The peer is let in, with this.
    granted: Option<Granted>,
    /// Why the link is being closed, or will be if nothing else comes of it.
    why: Option<DownCause>,
    phase: Phase,
    /// [`Event::Down`] was handed out.
    over: bool,
}

/// A context out of the fields that the machines do not own.
macro_rules! context {
    ($link:ident, $now:expr) => {
        Context {
            now: $now,
            peer_mru: $link.lcp.policy.peer_mru(&$link.config),
            config: &$link.config,
            transmit: &mut $link.transmit,
        }
    };
}

impl Link {
    /// A link in phase Dead.
    pub fn new(config: Arc<Config>, rng: &mut impl RngCore) -> Self {
        let lcp = Machine::new(Lcp::new(&config, rng));
        Self {
            config,
            lcp,
            ipcp: Machine::new(Ipcp::default()),
            ipv6cp: Machine::new(Ipv6cp::new(rng)),
            authenticator: Authenticator::default(),
            authenticatee: Authenticatee::default(),
            echo: Echo::default(),
            granted: None,
            transmit: Transmit::default(),
            events: VecDeque::new(),
            held: None,
            why: None,
            phase: Phase::Dead,
            over: false,
        }
    }

    /// The phase.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What LCP agreed on; has no meaning before [`Event::LcpUp`].
    pub fn agreed(&self) -> Agreed {
        self.lcp.policy.agreed(&self.config)
    }

    /// Frames can be sent and received: begins with a Configure-Request, and takes up the peer's if
    /// that came first.
    pub fn open(&mut self, now: Time, rng: &mut impl RngCore) {
        if self.over || self.phase != Phase::Dead || !self.knows_somebody() {
            return;
        }
        self.phase = Phase::Establish;
        let mut context = context!(self, now);
        self.lcp.handle_event(&mut context, automaton::Event::Open);
        let mut context = context!(self, now);
        self.lcp.handle_event(&mut context, automaton::Event::Up);
        if let Some(frame) = self.held.take() {
            self.lcp.suppress_repeat();
            self.on_frame(now, &frame, rng);
        }
    }

    /// Like [`Link::open`], after a LAC has negotiated with the peer: what it agreed on is taken over
    /// as far as [`Config::call_mode`] wants that and it is acceptable here.
    pub fn open_with_proxy(
        &mut self,
        now: Time,
        proxy: &Proxy,
        rng: &mut impl RngCore,
    ) -> Takeover {
        if self.over || self.phase != Phase::Dead || !self.knows_somebody() {
            return Takeover::Renegotiated("the link is not to be opened");
        }
        match self.proxied_lcp(proxy, rng) {
            Ok(lcp) => self.adopt(now, proxy, lcp, rng),
            Err(why) => {
                self.open(now, rng);
                Takeover::Renegotiated(why)
            }
        }
    }

    fn proxied_lcp(&self, proxy: &Proxy, rng: &mut dyn RngCore) -> Result<Lcp, &'static str> {
        if self.config.call_mode == CallMode::Renegotiate {
            return Err("the configuration wants it");
        }
        let lcp = proxy.lcp(&self.config, rng)?;
        let with = lcp.agreed(&self.config).authentication;
        let is_chap = with.is_some_and(|with| Authentication::CHAP.contains(&with));
        if self.config.call_mode == CallMode::MandatoryChap && !is_chap {
            return Err("the authentication protocol is not CHAP");
        }
        Ok(lcp)
    }

    /// Begins where the LAC has ended. A Configure-Request that the peer has sent since then makes
    /// LCP begin anew, as in any other open link.
    fn adopt(&mut self, now: Time, proxy: &Proxy, lcp: Lcp, rng: &mut dyn RngCore) -> Takeover {
        self.lcp.adopt(&self.config, lcp);
        let agreed = self.announce_lcp(now);
        let proof = proxy.authentication.as_ref().zip(agreed.authentication);
        let proof = proof
            .filter(|_| self.config.call_mode == CallMode::Proxy)
            .and_then(|(authentication, with)| Some((with, authentication.credentials(with)?)));
        let takeover = match proof {
            Some((with, (identifier, credentials))) => {
                let context = context!(self, now);
                self.authenticator.start_verifying(&context, with, identifier, &credentials);
                self.events.push_back(Event::Authenticate(credentials));
                self.start_own_authentication(now, &agreed, rng);
                Takeover::Authentication
            }
            None => {
                self.start_authentication(now, &agreed, rng);
                Takeover::Lcp
            }
        };
        if let Some(frame) = self.held.take() {
            self.on_frame(now, &frame, rng);
        }
        takeover
    }

    /// Whether one end at least is to authenticate: a link that nobody vouches for ends before it
    /// begins.
    fn knows_somebody(&mut self) -> bool {
        let known = !self.config.authentication.is_empty() || self.config.account.is_some();
        if !known {
            self.why = Some(DownCause::NegotiationFailed("an authentication protocol"));
            self.finish();
        }
        known
    }

    /// A PPP frame of the peer, in whatever framing. Says why when it had no effect.
    pub fn handle_frame(
        &mut self,
        now: Time,
        octets: &[u8],
        rng: &mut impl RngCore,
    ) -> Option<Discard> {
        self.on_frame(now, octets, rng)
    }

    /// A timer may have run out.
    pub fn handle_timeout(&mut self, now: Time, rng: &mut impl RngCore) {
        let mut context = context!(self, now);
        if let Some(signal) = self.lcp.handle_timeout(&mut context) {
            self.on_lcp_signal(now, signal, rng);
        }
        self.on_network_timeout(now);
        let mut context = context!(self, now);
        if self.authenticator.handle_timeout(&mut context, rng)
            || self.authenticatee.handle_timeout(&mut context, rng)
        {
            self.close(now, DownCause::AuthenticationTimeout);
        }
        let mut context = context!(self, now);
        if self.echo.handle_timeout(&mut context, self.lcp.policy.magic()) {
            self.close(now, DownCause::EchoTimeout);
        }
    }

    /// Whoever watches over the link hears nothing from the peer: it is asked, where that is configured
    /// ([`Config::echo_interval`]), and given up if it does not answer.
    pub fn probe(&mut self, now: Time) {
        if self.lcp.state() == automaton::State::Opened {
            let context = context!(self, now);
            self.echo.probe(&context);
        }
    }

    /// When [`Link::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Time> {
        let times = [
            self.lcp.poll_timeout(),
            self.ipcp.poll_timeout(),
            self.ipv6cp.poll_timeout(),
            self.authenticator.poll_timeout(),
            self.authenticatee.poll_timeout(),
            self.echo.poll_timeout(),
        ];
        times.into_iter().flatten().min()
    }

    /// The next frame to send.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.transmit.pop()
    }

    /// The next event. An empty queue gives its memory back: links are idle for hours.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if self.events.is_empty() {
            self.events = VecDeque::new();
        }
        event
    }

    /// Ends the link: Terminate-Request, then [`Event::Down`] with this cause once the peer
    /// acknowledged or was given up. A link that already ends keeps its cause.
    pub fn close(&mut self, now: Time, why: DownCause) {
        match self.phase {
            Phase::Dead => {
                self.why = Some(why);
                self.finish();
            }
            Phase::Terminate => {}
            Phase::Establish | Phase::Authenticate | Phase::Network => {
                self.why = Some(why);
                self.phase = Phase::Terminate;
                let mut context = context!(self, now);
                let signal = self.lcp.handle_event(&mut context, automaton::Event::Close);
                if signal == Some(Signal::Down) {
                    self.on_lcp_down(now);
                }
            }
        }
    }

    fn on_lcp_signal(&mut self, now: Time, signal: Signal, rng: &mut dyn RngCore) {
        match signal {
            Signal::Up => {
                let agreed = self.announce_lcp(now);
                self.start_authentication(now, &agreed, rng);
            }
            Signal::Down => self.on_lcp_down(now),
            Signal::Started => {}
            Signal::Finished => self.finish(),
        }
    }

    /// LCP is open: what it agreed on holds from here on.
    fn announce_lcp(&mut self, now: Time) -> Agreed {
        self.why = None;
        self.phase = Phase::Authenticate;
        let agreed = self.agreed();
        self.transmit.acfc = agreed.send_acfc;
        self.events.push_back(Event::LcpUp { agreed });
        self.identify(agreed);
        let context = context!(self, now);
        self.echo.start(&context);
        agreed
    }

    /// Says what we are (RFC 1570 section 1.1).
    fn identify(&mut self, agreed: Agreed) {
        let Some(message) = &self.config.identification else { return };
        if !self.lcp.policy.may_send(code::IDENTIFICATION) {
            return;
        }
        let room = usize::from(agreed.peer_mru).saturating_sub(IDENTIFICATION_HEADER_OCTETS);
        let identifier = self.lcp.next_identifier();
        let magic = agreed.magic.to_be_bytes();
        let parts: [&[u8]; 2] = [&magic, truncate(message.as_bytes(), room)];
        self.transmit.push(protocol::LCP, code::IDENTIFICATION, identifier, &parts);
    }

    /// What lies above LCP goes down with it, and has to begin anew (section 3.4).
    fn on_lcp_down(&mut self, now: Time) {
        self.phase =
            if self.lcp.state().is_negotiating() { Phase::Establish } else { Phase::Terminate };
        self.transmit.acfc = false;
        self.authenticator.stop();
        self.authenticatee.stop();
        self.echo.stop();
        self.stop_network(now);
    }

    /// The link is over: LCP finished, and the owner takes the lower layer down.
    fn finish(&mut self) {
        if self.over {
            return;
        }
        self.over = true;
        self.phase = Phase::Dead;
        self.held = None;
        let cause = self.why.unwrap_or(DownCause::LcpTimeout);
        self.events.push_back(Event::Down { cause });
    }
}

mod authenticate;
mod network;
mod receive;
#[cfg(test)]
mod tests;
