//! What becomes of a received frame: by protocol, phase and code.

use rand::RngCore;

use super::network::Ncp;
use super::{Link, Phase};
use crate::ppp::automaton::{self, State};
use crate::ppp::frame::{Frame, Packet, code, protocol};
use crate::ppp::machine::{Signal, Stop};
use crate::ppp::policy::Policy;
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
            (protocol::PAP, _) if self.speaks(Authentication::PAP) => self.on_pap(now, &frame),
            (protocol::CHAP, _) if self.speaks(Authentication::CHAP) => {
                self.on_chap(now, &frame, rng)
            }
            (LINK_LAYER_PROTOCOLS.., Phase::Authenticate) => self.reject_protocol(&frame),
            // Section 3.5: all but link-layer protocols is silently discarded until then.
            (_, Phase::Authenticate) => Err(Discard::Phase),
            (protocol::IPCP, _) if self.ipcp.is_running() => {
                self.on_ncp(now, Ncp::Ipv4, &frame, rng)
            }
            (protocol::IPV6CP, _) if self.ipv6cp.is_running() => {
                self.on_ncp(now, Ncp::Ipv6, &frame, rng)
            }
            // Supported, but not here: forwarding packets is not control's work (section 3.6).
            (protocol::IPV4, _) if self.ipcp.is_running() => Err(Discard::Phase),
            (protocol::IPV6, _) if self.ipv6cp.is_running() => self.on_ipv6(&frame),
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
            code::ECHO_REQUEST..=code::TIME_REMAINING => return self.on_magic(now, &packet),
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

    /// A packet of the codes that begin with a magic number and have no effect on the automaton.
    fn on_magic(&mut self, now: Time, packet: &Packet<'_>) -> Result<(), Discard> {
        let Some((magic, message)) = packet.data.split_first_chunk::<4>() else {
            return Err(Discard::Content);
        };
        if packet.code == code::IDENTIFICATION {
            // It alone may come before LCP is open (RFC 1570 section 1.1).
            self.events.push_back(Event::Identification { message: message.into() });
            return Ok(());
        }
        if self.lcp.state() != State::Opened {
            return Err(Discard::Phase);
        }
        let ours = self.lcp.policy.magic();
        match packet.code {
            code::ECHO_REQUEST if ours != 0 && u32::from_be_bytes(*magic) == ours => {
                if self.lcp.policy.is_looped_by_echo(&self.config) {
                    self.close(now, DownCause::Looped);
                }
                return Err(Discard::Looped);
            }
            // Some send our magic number back instead of their own.
            code::ECHO_REPLY => {
                let context = context!(self, now);
                self.echo.handle_reply(&context, packet.identifier);
            }
            _ => {}
        }
        let mut context = context!(self, now);
        self.lcp.handle_packet_event(&mut context, automaton::Event::Rxr, packet);
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
            _ if self.phase == Phase::Network => self.on_network_reject(now, rejected),
            _ => {}
        }
        Ok(())
    }

    /// Tells the peer that a protocol is not spoken here (section 5.7).
    fn reject_protocol(&mut self, frame: &Frame<'_>) -> Result<(), Discard> {
        if !self.lcp.policy.may_send(code::PROTOCOL_REJECT) {
            return Err(Discard::Phase);
        }
        let identifier = self.lcp.next_identifier();
        let peer_mru = usize::from(self.lcp.policy.peer_mru(&self.config));
        let limit = peer_mru.saturating_sub(PROTOCOL_REJECT_HEADER_OCTETS);
        let information = truncate(frame.information, limit);
        let parts: [&[u8]; 2] = [&frame.protocol.to_be_bytes(), information];
        self.transmit.push(protocol::LCP, code::PROTOCOL_REJECT, identifier, &parts);
        Ok(())
    }
}
