//! The authentication phase, in which each end has to say who it is if the other wants to know
//! (RFC 1661 section 3.5), and authentication after it.

use rand::RngCore;

use super::Link;
use crate::ppp::authenticatee::Progress;
use crate::ppp::authenticator::{Conclusion, Outcome, Verdict};
use crate::ppp::frame::{Frame, Packet};
use crate::ppp::transmit::Context;
use crate::ppp::{
    Agreed, Authentication, Discard, DownCause, Event, Grant, Ipv4Grant, Refusal, chap, pap,
};
use crate::time::Time;

impl Link {
    /// LCP is open: whoever has to authenticate begins.
    pub(super) fn start_authentication(
        &mut self,
        now: Time,
        agreed: &Agreed,
        rng: &mut dyn RngCore,
    ) {
        let mut context = context!(self, now);
        match agreed.authentication {
            Some(with) => self.authenticator.start(&mut context, with, rng),
            None => self.grant_everything(),
        }
        self.start_own_authentication(now, agreed, rng);
    }

    pub(super) fn start_own_authentication(
        &mut self,
        now: Time,
        agreed: &Agreed,
        rng: &mut dyn RngCore,
    ) {
        if let Some(with) = agreed.our_authentication {
            let mut context = context!(self, now);
            self.authenticatee.start(&mut context, with, rng);
        }
        self.begin_network(now);
    }

    /// The peer does not have to say who it is.
    fn grant_everything(&mut self) {
        let ipv4 = Some(Ipv4Grant::default());
        self.grant(&Grant { ipv4, ipv6: true, mschap_success: None });
    }

    /// The verdict on the credentials of the last [`Event::Authenticate`]; without effect where none
    /// is waited for. A peer that authenticates once more keeps what it was granted first.
    pub fn authenticated(&mut self, now: Time, verdict: Result<Grant, Refusal>) {
        let mut context = context!(self, now);
        let result = match &verdict {
            Ok(grant) => Verdict::Accepted { authenticator_response: grant.mschap_success },
            Err(Refusal { message }) => Verdict::Refused { message },
        };
        match (self.authenticator.conclude(&mut context, result), verdict) {
            (Conclusion::Accepted, Ok(grant)) => {
                self.grant(&grant);
                self.begin_network(now);
            }
            (Conclusion::Refused, _) => self.close(now, DownCause::AuthenticationFailed),
            (Conclusion::Accepted | Conclusion::AcceptedAgain | Conclusion::Stale, _) => {}
        }
    }

    /// Which end a CHAP packet is for is in its code.
    pub(super) fn on_chap(
        &mut self,
        now: Time,
        frame: &Frame<'_>,
        rng: &mut dyn RngCore,
    ) -> Result<(), Discard> {
        let packet = Packet::parse(frame.information)?;
        let is_asked_for = self.is_asked_for(Authentication::CHAP);
        let mut context = context!(self, now);
        match packet.code {
            chap::code::CHALLENGE | chap::code::SUCCESS | chap::code::FAILURE => {
                let own_challenge = self.authenticator.open_challenge();
                let outcome =
                    self.authenticatee.handle_chap(&mut context, &packet, own_challenge, rng)?;
                self.on_own_outcome(now, outcome, packet.data);
            }
            _ if !is_asked_for => return Err(Discard::Unsolicited),
            _ => {
                let outcome = self.authenticator.handle_chap(&mut context, &packet, rng)?;
                self.on_outcome(now, outcome);
            }
        }
        Ok(())
    }

    /// Which end a PAP packet is for is in its code.
    pub(super) fn on_pap(&mut self, now: Time, frame: &Frame<'_>) -> Result<(), Discard> {
        let packet = Packet::parse(frame.information)?;
        let is_asked_for = self.is_asked_for(Authentication::PAP);
        let mut context = context!(self, now);
        match packet.code {
            pap::code::AUTHENTICATE_ACK | pap::code::AUTHENTICATE_NAK => {
                let outcome = self.authenticatee.handle_pap(&mut context, &packet)?;
                self.on_own_outcome(now, outcome, pap::message(packet.data));
            }
            _ if !is_asked_for => return Err(Discard::Unsolicited),
            _ => {
                let outcome = self.authenticator.handle_pap(&mut context, &packet)?;
                self.on_outcome(now, outcome);
            }
        }
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

    /// `message`: the text of the packet that it came by.
    fn on_own_outcome(&mut self, now: Time, outcome: Progress, message: &[u8]) {
        match outcome {
            Progress::Nothing => {}
            Progress::Accepted => self.begin_network(now),
            Progress::Refused => {
                if !message.is_empty() {
                    self.events.push_back(Event::Refused { message: message.into() });
                }
                self.close(now, DownCause::RefusedByPeer);
            }
            Progress::Unproven => {
                let message = b"a success without proof that it knows the password".as_slice();
                self.events.push_back(Event::Refused { message: message.into() });
                self.close(now, DownCause::RefusedByPeer);
            }
        }
    }

    /// Whether one of these protocols may be used in either direction.
    pub(super) fn speaks(&self, protocols: &[Authentication]) -> bool {
        let agreed = self.agreed().our_authentication;
        self.is_asked_for(protocols) || agreed.is_some_and(|agreed| protocols.contains(&agreed))
    }

    /// Whether the peer may authenticate with one of these protocols.
    fn is_asked_for(&self, protocols: &[Authentication]) -> bool {
        self.config.authentication.iter().any(|allowed| protocols.contains(allowed))
    }
}
