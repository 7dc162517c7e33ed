//! The side that says who it is when the peer asks, with CHAP, MS-CHAPv2 or PAP (RFC 1994, RFC 2759,
//! RFC 1334).
//!
//! Nothing is said unless LCP agreed to it. A challenge that comes again gets the response that it
//! got before, and one that this side has just sent itself gets none: a peer that hands our
//! challenges back wants us to do its work (RFC 1994 section 2.3).

use std::fmt;

use rand::RngCore;

use super::chap;
use super::frame::{Packet, protocol};
use super::mschap::{self, AUTHENTICATOR_RESPONSE_OCTETS};
use super::pap;
use super::transmit::{Context, truncate};
use super::{Account, Authentication, Discard, NAME_OCTETS_MAX};
use crate::time::Time;

/// Challenges that are answered without a word on any: a peer that repeats one every second for the
/// time that authentication may take gets that many, one that collects responses does not.
pub const CHALLENGES_MAX: u8 = 30;

/// Octets of a password that PAP can carry (RFC 1334 section 2.2.1).
const PASSWORD_OCTETS_MAX: usize = 255;

/// What a packet of the peer led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing to tell.
    Nothing,
    /// The peer lets us in, for the first time since LCP came up.
    Accepted,
    /// The peer does not let us in.
    Refused,
    /// The peer lets us in without the proof that it knows the password (RFC 2759 section 5).
    Unproven,
}

/// The last challenge of the peer and our answer to it.
struct Exchange {
    identifier: u8,
    challenge: Box<[u8]>,
    value: Box<[u8]>,
    /// What the Success has to prove, with MS-CHAPv2.
    expected: Option<[u8; AUTHENTICATOR_RESPONSE_OCTETS]>,
}

/// What there is to know once LCP agreed that we say who we are.
struct Run {
    with: Authentication,
    /// The peer replied well since LCP came up.
    accepted: bool,
    exchange: Option<Exchange>,
    /// Challenges answered, or requests sent, since the last reply.
    sent: u8,
    /// When to repeat ourselves.
    repeat_at: Option<Time>,
    /// When the peer is given up.
    deadline: Option<Time>,
}

/// Our authentication to one peer. Takes no memory unless it is asked for.
#[derive(Default)]
pub struct Authenticatee {
    run: Option<Box<Run>>,
    /// Identifier of our last PAP request.
    identifier: u8,
}

impl fmt::Debug for Authenticatee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with = self.run.as_ref().map(|run| run.with);
        f.debug_struct("Authenticatee").field("with", &with).finish_non_exhaustive()
    }
}

impl Authenticatee {
    /// LCP is open and we agreed to prove ourselves with `with`.
    pub fn start(
        &mut self,
        context: &mut Context<'_>,
        with: Authentication,
        _rng: &mut dyn RngCore,
    ) {
        let deadline = context.now + context.config.authentication_timeout;
        self.run = Some(Box::new(Run {
            with,
            accepted: false,
            exchange: None,
            sent: 0,
            repeat_at: None,
            deadline: Some(deadline),
        }));
        if with == Authentication::Pap {
            self.request(context);
        }
    }

    /// LCP is open no more.
    pub fn stop(&mut self) {
        self.run = None;
    }

    /// Whether the peer has nothing to ask, or was told.
    pub fn is_settled(&self) -> bool {
        self.run.as_ref().is_none_or(|run| run.accepted)
    }

    /// When [`Authenticatee::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Time> {
        let run = self.run.as_ref()?;
        [run.repeat_at, run.deadline].into_iter().flatten().min()
    }

    /// Whether the peer's time is up; repeats what it did not reply to.
    pub fn handle_timeout(&mut self, context: &mut Context<'_>, _rng: &mut dyn RngCore) -> bool {
        let Some(run) = &mut self.run else { return false };
        if run.deadline.is_some_and(|at| at <= context.now) {
            return true;
        }
        if run.repeat_at.is_some_and(|at| at <= context.now) {
            if run.accepted && u32::from(run.sent) >= context.config.max_configure {
                // To a challenge in between: the peer took us once, and can end the link itself.
                run.repeat_at = None;
            } else if run.with == Authentication::Pap {
                self.request(context);
            } else {
                run.sent = run.sent.saturating_add(1);
                run.respond(context);
            }
        }
        false
    }

    /// Each request has an identifier of its own (RFC 1334 section 2.2.1).
    fn request(&mut self, context: &mut Context<'_>) {
        let (Some(run), Some(account)) = (&mut self.run, &context.config.account) else { return };
        self.identifier = self.identifier.wrapping_add(1);
        run.sent = run.sent.saturating_add(1);
        run.repeat_at = Some(context.now + context.config.restart_timer);
        let name = truncate(account.name.as_bytes(), NAME_OCTETS_MAX);
        let password = truncate(account.password.as_bytes(), PASSWORD_OCTETS_MAX);
        let length = |field: &[u8]| [u8::try_from(field.len()).unwrap_or(u8::MAX)];
        let parts: [&[u8]; 4] = [&length(name), name, &length(password), password];
        let code = pap::code::AUTHENTICATE_REQUEST;
        context.transmit.push(protocol::PAP, code, self.identifier, &parts);
    }

    /// A CHAP packet of the authenticator. `own_challenge`: the Value that this side waits for a
    /// response to.
    ///
    /// # Errors
    /// When it has no effect.
    pub fn handle_chap(
        &mut self,
        context: &mut Context<'_>,
        packet: &Packet<'_>,
        own_challenge: Option<&[u8]>,
        rng: &mut dyn RngCore,
    ) -> Result<Progress, Discard> {
        let run = self.run.as_mut().filter(|run| run.with != Authentication::Pap);
        let run = run.ok_or(Discard::Unsolicited)?;
        match packet.code {
            chap::code::CHALLENGE => {
                let fields = chap::Fields::parse(packet.data)?;
                if own_challenge == Some(fields.value) {
                    return Err(Discard::Reflected);
                }
                run.on_challenge(context, packet.identifier, fields.value, rng)?;
                Ok(Progress::Nothing)
            }
            chap::code::SUCCESS => run.on_success(packet),
            chap::code::FAILURE if run.waits_for(packet.identifier) => Ok(run.refused()),
            chap::code::FAILURE => Err(Discard::Unsolicited),
            _ => Err(Discard::Code),
        }
    }

    /// A PAP packet of the authenticator.
    ///
    /// # Errors
    /// When it has no effect.
    pub fn handle_pap(
        &mut self,
        _context: &mut Context<'_>,
        packet: &Packet<'_>,
    ) -> Result<Progress, Discard> {
        let run = self.run.as_mut().filter(|run| run.with == Authentication::Pap);
        let run = run.ok_or(Discard::Unsolicited)?;
        // To any of our requests: a peer that is slower than the Restart timer is never seen to
        // answer the last.
        let age = self.identifier.wrapping_sub(packet.identifier);
        if run.accepted || age >= run.sent {
            return Err(Discard::Unsolicited);
        }
        match packet.code {
            pap::code::AUTHENTICATE_ACK => Ok(run.accept()),
            pap::code::AUTHENTICATE_NAK => Ok(run.refused()),
            _ => Err(Discard::Code),
        }
    }
}

impl Run {
    /// A challenge, which may come at any time (RFC 1994 section 4.1).
    fn on_challenge(
        &mut self,
        context: &mut Context<'_>,
        identifier: u8,
        challenge: &[u8],
        rng: &mut dyn RngCore,
    ) -> Result<(), Discard> {
        let account = context.config.account.as_ref().ok_or(Discard::Unsolicited)?;
        let known = self.exchange.as_ref().is_some_and(|exchange| {
            exchange.identifier == identifier && *exchange.challenge == *challenge
        });
        if self.sent >= CHALLENGES_MAX {
            return Err(Discard::Unsolicited);
        }
        if !known {
            let exchange = Exchange::new(self.with, account, identifier, challenge, rng)?;
            self.exchange = Some(exchange);
        }
        self.sent = self.sent.saturating_add(1);
        self.respond(context);
        if known && self.accepted {
            // The peer may have lost our response or we its reply; it will say so if it minds.
            self.repeat_at = None;
        }
        Ok(())
    }

    /// Sends the response to the last challenge, until a reply comes.
    fn respond(&mut self, context: &mut Context<'_>) {
        let (Some(exchange), Some(account)) = (&self.exchange, &context.config.account) else {
            return;
        };
        let size = [u8::try_from(exchange.value.len()).unwrap_or(u8::MAX)];
        let name = truncate(account.name.as_bytes(), NAME_OCTETS_MAX);
        let parts: [&[u8]; 3] = [&size, &exchange.value, name];
        context.transmit.push(protocol::CHAP, chap::code::RESPONSE, exchange.identifier, &parts);
        self.repeat_at = Some(context.now + context.config.restart_timer);
    }

    /// Whether a reply with this identifier is due.
    fn waits_for(&self, identifier: u8) -> bool {
        self.sent > 0
            && self.exchange.as_ref().is_some_and(|exchange| exchange.identifier == identifier)
    }

    fn on_success(&mut self, packet: &Packet<'_>) -> Result<Progress, Discard> {
        if !self.waits_for(packet.identifier) {
            return Err(Discard::Unsolicited);
        }
        let expected = self.exchange.as_ref().and_then(|exchange| exchange.expected);
        if expected.is_some_and(|expected| !mschap::is_proven_by(packet.data, &expected)) {
            return Ok(Progress::Unproven);
        }
        Ok(self.accept())
    }

    /// Whatever the text says (RFC 1994 section 4.2): there is no other password to try.
    fn refused(&mut self) -> Progress {
        self.sent = 0;
        self.repeat_at = None;
        Progress::Refused
    }

    fn accept(&mut self) -> Progress {
        self.sent = 0;
        self.repeat_at = None;
        self.deadline = None;
        if std::mem::replace(&mut self.accepted, true) {
            Progress::Nothing
        } else {
            Progress::Accepted
        }
    }
}

impl Exchange {
    fn new(
        with: Authentication,
        account: &Account,
        identifier: u8,
        challenge: &[u8],
        rng: &mut dyn RngCore,
    ) -> Result<Self, Discard> {
        let (value, expected): (Box<[u8]>, _) = match with {
            Authentication::MsChapV2 => {
                let authenticator_challenge = challenge.try_into().map_err(|_| Discard::Content)?;
                let mut peer_challenge = [0; mschap::CHALLENGE_OCTETS];
                rng.fill_bytes(&mut peer_challenge);
                let name = truncate(account.name.as_bytes(), NAME_OCTETS_MAX);
                let exchange = mschap::Exchange {
                    authenticator_challenge,
                    peer_challenge: &peer_challenge,
                    name,
                };
                let nt_response = exchange.nt_response(&account.password);
                let expected = exchange.authenticator_response(&account.password, &nt_response);
                let response = mschap::Response { peer_challenge, nt_response };
                (Box::new(response.emit()), Some(expected))
            }
            Authentication::ChapMd5 | Authentication::Pap => {
                let secret = account.password.as_bytes();
                (Box::new(chap::respond(identifier, secret, challenge)), None)
            }
        };
        Ok(Self { identifier, challenge: challenge.into(), value, expected })
    }
}

#[cfg(test)]
mod tests;
