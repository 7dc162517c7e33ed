//! One PPP link: LCP, authentication of the peer, IPCP, and the phases between them (RFC 1661
//! section 3).

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::Arc;

use rand::RngCore;

use super::authenticator::{Authenticator, Conclusion, Verdict};
use super::automaton::{self, State};
use super::ipcp::Ipcp;
use super::lcp::Lcp;
use super::machine::{Machine, Signal};
use super::proxy::Proxy;
use super::transmit::{Context, Transmit};
use super::{Agreed, Config, Discard, DownCause, Event, Grant, Refusal};
use crate::time::Time;

/// A phase of a link (RFC 1661 section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Not open yet, or over.
    Dead,
    /// LCP negotiates.
    Establish,
    /// The peer has to say who it is.
    Authenticate,
    /// Network protocols negotiate or are up.
    Network,
    /// Being closed.
    Terminate,
}

/// One PPP link.
///
/// Getters: `phase`, `agreed`. Input: `handle_*`. Commands: `open`, `authenticated`, `close`.
/// Output: `poll_*`, to be drained after every input and command.
#[derive(Debug)]
pub struct Link {
    config: Arc<Config>,
    lcp: Machine<Lcp>,
    ipcp: Machine<Ipcp>,
    authenticator: Authenticator,
    transmit: Transmit,
    events: VecDeque<Event>,
    /// The peer's Configure-Request that came before [`Link::open`].
    held: Option<Box<[u8]>>,
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
            authenticator: Authenticator::default(),
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

    /// Whether IPv4 packets may flow: [`Event::Ipv4Up`] was the last of its kind.
    pub fn is_ipv4_up(&self) -> bool {
        self.ipcp.state() == State::Opened
    }

    /// What LCP agreed on; has no meaning before [`Event::LcpUp`].
    pub fn agreed(&self) -> Agreed {
        self.lcp.policy.agreed(&self.config)
    }

    /// Frames can be sent and received: begins with a Configure-Request, and takes up the peer's if
    /// that came first.
    pub fn open(&mut self, now: Time, rng: &mut impl RngCore) {
        if self.over || self.phase != Phase::Dead {
            return;
        }
        self.phase = Phase::Establish;
        let mut context = context!(self, now);
        self.lcp.handle_event(&mut context, automaton::Event::Open);
        if self.config.authentication.is_empty() {
            self.why = Some(DownCause::NegotiationFailed("an authentication protocol"));
            return self.finish();
        }
        let mut context = context!(self, now);
        self.lcp.handle_event(&mut context, automaton::Event::Up);
        if let Some(frame) = self.held.take() {
            self.lcp.suppress_repeat();
            self.on_frame(now, &frame, rng);
        }
    }

    /// Like [`Link::open`], after a LAC has negotiated with the peer: what it agreed on is taken over
    /// as far as [`Config::call_mode`] wants that and it is acceptable here.
    pub fn open_with_proxy(&mut self, now: Time, _proxy: &Proxy, rng: &mut impl RngCore) {
        self.open(now, rng);
    }

    /// Queues an IPv6 packet for the peer. Whether it will be sent: only while IPv6 is up, and no
    /// longer than the peer takes.
    pub fn send_ipv6(&mut self, _packet: &[u8]) -> bool {
        false
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
        let before = self.ipcp.state();
        let mut context = context!(self, now);
        if let Some(signal) = self.ipcp.handle_timeout(&mut context) {
            self.on_ipcp_signal(now, before, signal);
        }
        let mut context = context!(self, now);
        if self.authenticator.handle_timeout(&mut context, rng) {
            self.close(now, DownCause::AuthenticationTimeout);
        }
    }

    /// When [`Link::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Time> {
        let times =
            [self.lcp.poll_timeout(), self.ipcp.poll_timeout(), self.authenticator.poll_timeout()];
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

    /// The verdict on the credentials of the last [`Event::Authenticate`]; without effect where none
    /// is waited for.
    pub fn authenticated(&mut self, now: Time, verdict: Result<Grant, Refusal>) {
        let mut context = context!(self, now);
        match verdict {
            Ok(grant) => {
                let authenticator_response = grant.mschap_success;
                let verdict = Verdict::Accepted { authenticator_response };
                let conclusion = self.authenticator.conclude(&mut context, verdict);
                if conclusion == Conclusion::Refused {
                    return self.close(now, DownCause::AuthenticationFailed);
                }
                if conclusion == Conclusion::Accepted {
                    self.phase = Phase::Network;
                    if let Some(ipv4) = &grant.ipv4 {
                        self.ipcp.policy.grant(&self.config, ipv4);
                        self.start_network(now);
                    }
                }
            }
            Err(Refusal { message }) => {
                let verdict = Verdict::Refused { message: &message };
                if self.authenticator.conclude(&mut context, verdict) == Conclusion::Refused {
                    self.close(now, DownCause::AuthenticationFailed);
                }
            }
        }
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
                self.why = None;
                self.phase = Phase::Authenticate;
                let agreed = self.agreed();
                self.transmit.acfc = agreed.send_acfc;
                self.events.push_back(Event::LcpUp { agreed });
                let mut context = context!(self, now);
                if let Some(with) = agreed.authentication {
                    self.authenticator.start(&mut context, with, rng);
                }
            }
            Signal::Down => self.on_lcp_down(now),
            Signal::Started => {}
            Signal::Finished => self.finish(),
        }
    }

    /// What lies above LCP goes down with it, and has to begin anew (section 3.4).
    fn on_lcp_down(&mut self, now: Time) {
        self.phase =
            if self.lcp.state().is_negotiating() { Phase::Establish } else { Phase::Terminate };
        self.transmit.acfc = false;
        self.authenticator.stop();
        let before = self.ipcp.state();
        let mut context = context!(self, now);
        let signal = self.ipcp.handle_event(&mut context, automaton::Event::Down);
        if let Some(signal) = signal {
            self.on_ipcp_signal(now, before, signal);
        }
    }

    fn start_network(&mut self, now: Time) {
        let mut context = context!(self, now);
        self.ipcp.handle_event(&mut context, automaton::Event::Open);
        self.ipcp.handle_event(&mut context, automaton::Event::Up);
    }

    fn on_ipcp_signal(&mut self, now: Time, before: State, signal: Signal) {
        match signal {
            Signal::Up => {
                let peer = self.ipcp.policy.address();
                let local = self.config.ipv4.as_ref().and_then(|ipv4| ipv4.local_address);
                let local = local.unwrap_or(Ipv4Addr::UNSPECIFIED);
                self.events.push_back(Event::Ipv4Up { local, peer, dns: Vec::new() });
            }
            Signal::Down => self.events.push_back(Event::Ipv4Down),
            Signal::Started => {}
            // A protocol that the peer closed may come back; one that never came up will not, and
            // it is the only one.
            Signal::Finished if before.is_negotiating() => {
                self.close(now, DownCause::NetworkProtocolsFailed);
            }
            Signal::Finished => {}
        }
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

mod receive;
#[cfg(test)]
mod tests;
