//! What becomes of a received frame: by protocol, phase and code.

use rand::RngCore;

use super::{Link, Phase};
use crate::ppp::authenticator::Outcome;
use crate::ppp::automaton::{self, State};
use crate::ppp::frame::{Frame, Packet, code, protocol};
use crate::ppp::machine::{Signal, Stop};
use crate::ppp::transmit::{Context, truncate};
use crate::ppp::{Authentication, Discard, DownCause, Event};
use crate::time::Time;

/// The largest frame that is kept when it comes before [`Link::open`], in octets: Configure-Requests
/// of real peers have up to 60.
pub(super) const HELD_OCTETS_MAX: usize = 256;

/// Octets of a Protocol-Reject before the rejected information (RFC 1661 section 5.7).
const PROTOCOL_REJECT_HEADER_OCTETS: usize = 6;

/// Link-layer control protocols begin here (RFC 1661 section 2).
const LINK_LAYER_PROTOCOLS: u16 = 0xc000;

impl Link {
    /// A frame of the peer, in whatever phase.
    pub(super) fn on_frame(
        &mut self,
        now: Time,
        octets: &[u8],
        rng: &mut dyn RngCore,
    ) -> Option<Discard> {
        let frame = match Frame::parse(octets) {
            Ok(frame) => frame,
            Err(error) => return Some(error.into()),
        };
        let result = match (frame.protocol, self.phase) {
            (_, Phase::Dead) => self.on_early_frame(octets, &frame),
            (protocol::LCP, _) => self.on_lcp(now, &frame, rng),
            (_, Phase::Establish | Phase::Terminate) => Err(Discard::Phase),
            (protocol::PAP, _) if self.allows(Authentication::Pap) => self.on_pap(now, &frame),
            (protocol::CHAP, _)
                if self.allows(Authentication::ChapMd5)
                    || self.allows(Authentication::MsChapV2) =>
            {
                self.on_chap(now, &frame, rng)
            }
            (LINK_LAYER_PROTOCOLS.., Phase::Authenticate) => self.reject_protocol(&frame),
            // Section 3.5: all but link-layer protocols is silently discarded until then.
            (_, Phase::Authenticate) => Err(Discard::Phase),
            (protocol::IPCP, Phase::Network) => self.on_ipcp(now, &frame, rng),
            // Supported, but not here: forwarding packets is not control's work (section 3.6).
            (protocol::IPV4 | protocol::IPV6, Phase::Network) => Err(Discard::Phase),
            (_, Phase::Network) => self.reject_protocol(&frame),
        };
        result.err()
    }

    /// Before [`Link::open`]: the last Configure-Request is kept, so that the peer need not wait for
    /// its Restart timer.
    fn on_early_frame(&mut self, octets: &[u8], frame: &Frame<'_>) -> Result<(), Discard> {
        let is_request = frame.protocol == protocol::LCP
            && frame.information.first() == Some(&code::CONFIGURE_REQUEST);
        if self.over || !is_request || octets.len() > HELD_OCTETS_MAX {
            return Err(Discard::Phase);
        }
        self.held = Some(octets.into());
        Ok(())
    }

    fn on_lcp(
        &mut self,
        now: Time,
        frame: &Frame<'_>,
        rng: &mut dyn RngCore,
    ) -> Result<(), Discard> {
        let packet = Packet::parse(frame.information)?;
        let mut context = context!(self, now);
        let signal = match packet.code {
            code::PROTOCOL_REJECT => return self.on_protocol_reject(now, &packet, rng),
            code::ECHO_REQUEST..=code::TIME_REMAINING => {
                if packet.data.len() < 4 {
                    return Err(Discard::Content);
                }
                let opened = self.lcp.state() == State::Opened;
                let event = automaton::Event::Rxr;
                self.lcp.handle_packet_event(&mut context, event, &packet);
                if let (code::IDENTIFICATION, Some(message)) = (packet.code, packet.data.get(4..)) {
                    // It alone may come before LCP is open (RFC 1570 section 1.1).
                    self.events.push_back(Event::Identification { message: message.into() });
                    return Ok(());
                }
                return if opened { Ok(()) } else { Err(Discard::Phase) };
            }
            code::TERMINATE_REQUEST => {
                self.why.get_or_insert(DownCause::PeerTerminated);
                let event = automaton::Event::Rtr;
                self.lcp.handle_packet_event(&mut context, event, &packet)
            }
            _ => match self.lcp.handle(&mut context, &packet, rng) {
                Ok(signal) => signal,
                Err(Stop::Discard(discard)) => return Err(discard),
                Err(Stop::Fail(cause)) => {
                    self.close(now, cause);
                    return Ok(());
                }
            },
        };
        if packet.code == code::CODE_REJECT {
            self.note_catastrophe(signal);
        }
        if let Some(signal) = signal {
            self.on_lcp_signal(now, signal, rng);
        }
        Ok(())
    }

    /// A reject of what PPP cannot do without ends the link (section 4.3, RXJ-).
    fn note_catastrophe(&mut self, signal: Option<Signal>) {
        if signal == Some(Signal::Finished) || self.lcp.state() == State::Stopping {
            self.why.get_or_insert(DownCause::NegotiationFailed("LCP"));
        }
    }

    fn on_protocol_reject(
        &mut self,
        now: Time,
        packet: &Packet<'_>,
        rng: &mut dyn RngCore,
    ) -> Result<(), Discard> {
        if self.lcp.state() != State::Opened {
            // Section 5.7.
            return Err(Discard::Phase);
        }
        let &[high, low, ..] = packet.data else { return Err(Discard::Content) };
        let rejected = u16::from_be_bytes([high, low]);
        let event = if rejected == protocol::LCP {
            automaton::Event::RxjMinus
        } else {
            automaton::Event::RxjPlus
        };
        let mut context = context!(self, now);
        let signal = self.lcp.handle_packet_event(&mut context, event, packet);
        self.note_catastrophe(signal);
        if let Some(signal) = signal {
            self.on_lcp_signal(now, signal, rng);
        }
        match rejected {
            protocol::CHAP | protocol::PAP if self.phase == Phase::Authenticate => {
                self.close(now, DownCause::NegotiationFailed("an authentication protocol"));
            }
            // Without IPCP there is no network protocol on this link.
            protocol::IPCP if self.phase == Phase::Network => {
                self.close(now, DownCause::NetworkProtocolsFailed);
            }
            _ => {}
        }
        Ok(())
    }

    fn on_chap(
        &mut self,
        now: Time,
        frame: &Frame<'_>,
        rng: &mut dyn RngCore,
    ) -> Result<(), Discard> {
        let packet = Packet::parse(frame.information)?;
        let mut context = context!(self, now);
        let outcome = self.authenticator.handle_chap(&mut context, &packet, rng)?;
        self.on_outcome(now, outcome);
        Ok(())
    }

    fn on_pap(&mut self, now: Time, frame: &Frame<'_>) -> Result<(), Discard> {
        let packet = Packet::parse(frame.information)?;
        let mut context = context!(self, now);
        let outcome = self.authenticator.handle_pap(&mut context, &packet)?;
        self.on_outcome(now, outcome);
        Ok(())
    }

    fn on_outcome(&mut self, now: Time, outcome: Outcome) {
        match outcome {
            Outcome::Nothing => {}
            Outcome::Credentials(credentials) => {
                self.events.push_back(Event::Authenticate(credentials));
            }
            Outcome::Refused => self.close(now, DownCause::AuthenticationFailed),
        }
    }

    fn on_ipcp(
        &mut self,
        now: Time,
        frame: &Frame<'_>,
        rng: &mut dyn RngCore,
    ) -> Result<(), Discard> {
        let packet = Packet::parse(frame.information)?;
        let before = self.ipcp.state();
        let mut context = context!(self, now);
        match self.ipcp.handle(&mut context, &packet, rng) {
            Ok(Some(signal)) => self.on_ipcp_signal(now, before, signal),
            Ok(None) => {}
            Err(Stop::Discard(discard)) => return Err(discard),
            Err(Stop::Fail(_)) => self.close(now, DownCause::NetworkProtocolsFailed),
        }
        Ok(())
    }

    /// Tells the peer that a protocol is not spoken here (section 5.7).
    fn reject_protocol(&mut self, frame: &Frame<'_>) -> Result<(), Discard> {
        let identifier = self.lcp.next_identifier();
        let peer_mru = usize::from(self.lcp.policy.peer_mru(&self.config));
        let limit = peer_mru.saturating_sub(PROTOCOL_REJECT_HEADER_OCTETS);
        let information = truncate(frame.information, limit);
        let parts: [&[u8]; 2] = [&frame.protocol.to_be_bytes(), information];
        self.transmit.push(protocol::LCP, code::PROTOCOL_REJECT, identifier, &parts);
        Ok(())
    }

    fn allows(&self, authentication: Authentication) -> bool {
        self.config.authentication.contains(&authentication)
    }
}
