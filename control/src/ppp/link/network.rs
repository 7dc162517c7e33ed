//! The network phase: IPCP and IPv6CP, each for itself (RFC 1661 sections 3.6 and 5.7).
//!
//! A protocol that fails, is rejected or is ended by the peer leaves the other alone; the link ends
//! when none is left that is up or could come up.

use rand::RngCore;

use super::{Link, Phase};
use crate::ppp::automaton::{self, State};
use crate::ppp::frame::{Frame, Packet, protocol};
use crate::ppp::machine::{Signal, Stop};
use crate::ppp::transmit::Context;
use crate::ppp::{Discard, DownCause, Event, Grant};
use crate::time::Time;

/// A network control protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ncp {
    /// IPCP.
    Ipv4,
    /// IPv6CP.
    Ipv6,
}

impl Ncp {
    pub(super) const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];
}

/// The least that a link has to carry for IPv6, in octets each way (RFC 8200 section 5).
const IPV6_MTU_MIN: u16 = 1280;

/// What the peer may use of the network protocols.
#[derive(Debug, Clone, Copy)]
pub(super) struct Granted {
    ipv4: bool,
    ipv6: bool,
}

/// Calls a method of one NCP's machine with a context and more arguments.
macro_rules! machine {
    ($link:ident, $now:expr, $ncp:expr, $method:ident $(, $argument:expr)*) => {{
        let mut context = context!($link, $now);
        match $ncp {
            Ncp::Ipv4 => $link.ipcp.$method(&mut context $(, $argument)*),
            Ncp::Ipv6 => $link.ipv6cp.$method(&mut context $(, $argument)*),
        }
    }};
}

impl Link {
    /// What the peer gets once both ends know who the other is.
    pub(super) fn grant(&mut self, grant: &Grant) {
        if let Some(ipv4) = &grant.ipv4 {
            self.ipcp.policy.grant(&self.config, ipv4);
        }
        let ipv4 = grant.ipv4.is_some() && self.config.ipv4.is_some();
        self.granted = Some(Granted { ipv4, ipv6: grant.ipv6 && self.config.ipv6 });
    }

    /// Goes on to the network phase when both ends have authenticated as far as they have to.
    pub(super) fn begin_network(&mut self, now: Time) {
        if self.phase != Phase::Authenticate || !self.authenticatee.is_settled() {
            return;
        }
        let Some(granted) = self.granted else { return };
        self.phase = Phase::Network;
        let agreed = self.agreed();
        let is_wide = agreed.peer_mru.min(agreed.local_mru) >= IPV6_MTU_MIN;
        for (ncp, wanted) in [(Ncp::Ipv4, granted.ipv4), (Ncp::Ipv6, granted.ipv6 && is_wide)] {
            if wanted {
                self.ncp_event(now, ncp, automaton::Event::Open);
                self.ncp_event(now, ncp, automaton::Event::Up);
            } else {
                self.ncp_event(now, ncp, automaton::Event::Close);
            }
        }
        self.end_without_network(now);
    }

    /// LCP went down.
    pub(super) fn stop_network(&mut self, now: Time) {
        self.granted = None;
        for ncp in Ncp::ALL {
            self.ncp_event(now, ncp, automaton::Event::Down);
        }
    }

    pub(super) fn on_network_timeout(&mut self, now: Time) {
        for ncp in Ncp::ALL {
            let signal = machine!(self, now, ncp, handle_timeout);
            self.on_ncp_signal(ncp, signal);
            let other = match ncp {
                Ncp::Ipv4 => self.ipv6cp.is_hopeful(),
                Ncp::Ipv6 => self.ipcp.is_hopeful(),
            };
            if signal == Some(Signal::Finished) && other {
                machine!(self, now, ncp, retry);
            }
        }
        self.end_without_network(now);
    }

    pub(super) fn on_ncp(
        &mut self,
        now: Time,
        ncp: Ncp,
        frame: &Frame<'_>,
        rng: &mut dyn RngCore,
    ) -> Result<(), Discard> {
        let packet = Packet::parse(frame.information)?;
        match machine!(self, now, ncp, handle, &packet, rng) {
            Ok(signal) => self.on_ncp_signal(ncp, signal),
            Err(Stop::Discard(discard)) => return Err(discard),
            Err(Stop::Fail(_)) => self.ncp_event(now, ncp, automaton::Event::Close),
        }
        self.end_without_network(now);
        Ok(())
    }

    /// An IPv6 packet that the data plane leaves to control.
    pub(super) fn on_ipv6(&mut self, frame: &Frame<'_>) -> Result<(), Discard> {
        if !self.is_ipv6_up() {
            return Err(Discard::Phase);
        }
        self.events.push_back(Event::Ipv6Packet(frame.information.into()));
        Ok(())
    }

    /// Queues an IPv6 packet for the peer. Whether it will be sent: only while IPv6 is up, and no
    /// longer than the peer takes.
    pub fn send_ipv6(&mut self, packet: &[u8]) -> bool {
        let fits = packet.len() <= usize::from(self.lcp.policy.peer_mru(&self.config));
        let sent = fits && self.is_ipv6_up();
        if sent {
            self.transmit.push_packet(protocol::IPV6, packet);
        }
        sent
    }

    /// The peer does not know a protocol of the network layer. Its NCP is over until LCP begins
    /// anew: without another word where the NCP itself is unknown, with a Terminate-Request where
    /// only its packets are.
    pub(super) fn on_network_reject(&mut self, now: Time, rejected: u16) {
        let (ncp, is_silent) = match rejected {
            protocol::IPCP => (Ncp::Ipv4, true),
            protocol::IPV6CP => (Ncp::Ipv6, true),
            protocol::IPV4 => (Ncp::Ipv4, false),
            protocol::IPV6 => (Ncp::Ipv6, false),
            _ => return,
        };
        if is_silent {
            self.ncp_event(now, ncp, automaton::Event::Down);
        }
        self.ncp_event(now, ncp, automaton::Event::Close);
        self.end_without_network(now);
    }

    fn ncp_event(&mut self, now: Time, ncp: Ncp, event: automaton::Event) {
        let signal = machine!(self, now, ncp, handle_event, event);
        self.on_ncp_signal(ncp, signal);
    }

    fn on_ncp_signal(&mut self, ncp: Ncp, signal: Option<Signal>) {
        let event = match (ncp, signal) {
            (Ncp::Ipv4, Some(Signal::Up)) => {
                let ipcp = &self.ipcp.policy;
                Event::Ipv4Up { local: ipcp.local(), peer: ipcp.peer(), dns: ipcp.received_dns() }
            }
            (Ncp::Ipv6, Some(Signal::Up)) => {
                let ipv6cp = &self.ipv6cp.policy;
                Event::Ipv6Up { local: ipv6cp.local(), peer: ipv6cp.peer() }
            }
            (Ncp::Ipv4, Some(Signal::Down)) => Event::Ipv4Down,
            (Ncp::Ipv6, Some(Signal::Down)) => Event::Ipv6Down,
            (_, None | Some(Signal::Started | Signal::Finished)) => return,
        };
        self.events.push_back(event);
    }

    /// Whether IPv4 was to be spoken and will not be, unless LCP begins anew: the peer has rejected it.
    pub fn is_ipv4_over(&self) -> bool {
        let is_wanted = self.granted.is_some_and(|granted| granted.ipv4);
        let state = self.ipcp.state();
        let is_over = matches!(state, State::Initial | State::Closing | State::Closed);
        self.phase == Phase::Network && is_wanted && is_over
    }

    fn end_without_network(&mut self, now: Time) {
        let is_hopeful = self.ipcp.is_hopeful() || self.ipv6cp.is_hopeful();
        if self.phase == Phase::Network && !is_hopeful {
            self.close(now, DownCause::NetworkProtocolsFailed);
        }
    }

    /// Whether IPv4 packets may flow: [`Event::Ipv4Up`] was the last of its kind.
    pub fn is_ipv4_up(&self) -> bool {
        self.ipcp.state() == State::Opened
    }

    /// Whether IPv6 packets may flow: [`Event::Ipv6Up`] was the last of its kind.
    pub fn is_ipv6_up(&self) -> bool {
        self.ipv6cp.state() == State::Opened
    }
}
