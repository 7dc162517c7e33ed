//! The side that asks the peer who it is, with CHAP or PAP (RFC 1994, RFC 1334).
//!
//! Whether the answer is right is decided elsewhere; meanwhile, and after that, repeated packets of
//! the peer change nothing and get the reply that their first one got.

use rand::RngCore;
use zeroize::Zeroizing;

use super::chap::{self, CHALLENGE_OCTETS, RESPONSE_OCTETS};
use super::frame::{Packet, protocol};
use super::pap;
use super::transmit::{Context, truncate};
use super::{Authentication, Credentials, Discard, NAME_OCTETS_MAX, Proof};
use crate::time::Time;

/// Octets of a message to the user: PAP counts them in one octet (RFC 1334 section 2.2.2).
pub const MESSAGE_OCTETS_MAX: usize = 255;

/// What a packet of the peer led to.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing to tell.
    Nothing,
    /// To be verified.
    Credentials(Credentials),
    /// The answer cannot be right; the peer was told so.
    Refused,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    /// LCP is not open.
    Idle,
    /// The peer's turn; the last challenge, if CHAP is in use.
    Waiting { challenge: Option<[u8; CHALLENGE_OCTETS]> },
    /// The owner's turn; the identifier to reply to.
    Verifying { with: Authentication, identifier: u8 },
    /// Replied.
    Replied { with: Authentication, identifier: u8, accepted: bool },
}

/// The authentication of one peer.
#[derive(Debug)]
pub struct Authenticator {
    stage: Stage,
    /// Identifier of the last challenge.
    identifier: u8,
    /// When the next challenge is due.
    challenge_at: Option<Time>,
    /// When the peer is given up.
    deadline: Option<Time>,
}

impl Default for Authenticator {
    fn default() -> Self {
        Self { stage: Stage::Idle, identifier: 0, challenge_at: None, deadline: None }
    }
}

impl Authenticator {
    /// LCP is open and agreed on `with`.
    pub fn start(
        &mut self,
        context: &mut Context<'_>,
        with: Authentication,
        rng: &mut dyn RngCore,
    ) {
        self.deadline = Some(context.now + context.config.authentication_timeout);
        self.challenge_at = None;
        match with {
            Authentication::ChapMd5 | Authentication::MsChapV2 => self.challenge(context, rng),
            Authentication::Pap => self.stage = Stage::Waiting { challenge: None },
        }
    }

    /// LCP is open no more. The identifier lives on: it changes with each challenge.
    pub fn stop(&mut self) {
        self.stage = Stage::Idle;
        self.challenge_at = None;
        self.deadline = None;
    }

    /// When [`Authenticator::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Time> {
        match (self.challenge_at, self.deadline) {
            (Some(challenge_at), Some(deadline)) => Some(challenge_at.min(deadline)),
            (at, None) | (None, at) => at,
        }
    }

    /// Whether the peer's time is up; challenges again when that is due.
    pub fn handle_timeout(&mut self, context: &mut Context<'_>, rng: &mut dyn RngCore) -> bool {
        if self.deadline.is_some_and(|at| at <= context.now) {
            return true;
        }
        if self.challenge_at.is_some_and(|at| at <= context.now) {
            self.challenge(context, rng);
        }
        false
    }

    /// Sends a challenge; identifier and value are new each time (RFC 1994 section 4.1).
    fn challenge(&mut self, context: &mut Context<'_>, rng: &mut dyn RngCore) {
        let mut value = [0; CHALLENGE_OCTETS];
        rng.fill_bytes(&mut value);
        self.identifier = self.identifier.wrapping_add(1);
        self.stage = Stage::Waiting { challenge: Some(value) };
        self.challenge_at = Some(context.now + context.config.restart_timer);
        let name = context.config.server_name.as_bytes();
        let parts: [&[u8]; 3] =
            [&[CHALLENGE_OCTETS as u8], &value, truncate(name, NAME_OCTETS_MAX)];
        context.transmit.push(protocol::CHAP, chap::code::CHALLENGE, self.identifier, &parts);
    }

    /// A CHAP packet of the peer.
    ///
    /// # Errors
    /// When it has no effect.
    pub fn handle_chap(
        &mut self,
        context: &mut Context<'_>,
        packet: &Packet<'_>,
        rng: &mut dyn RngCore,
    ) -> Result<Outcome, Discard> {
        if packet.code != chap::code::RESPONSE {
            return Err(Discard::Code);
        }
        match self.stage {
            Stage::Waiting { challenge: Some(challenge) }
                if packet.identifier == self.identifier =>
            {
                self.on_response(context, packet, &challenge)
            }
            // The peer agreed to PAP but seems to speak CHAP; it gets something to respond to.
            Stage::Waiting { challenge: None } => {
                self.challenge(context, rng);
                Ok(Outcome::Nothing)
            }
            Stage::Verifying { with: Authentication::ChapMd5, identifier }
                if packet.identifier == identifier =>
            {
                Ok(Outcome::Nothing)
            }
            // The same reply as before, whatever the response says now (RFC 1994 section 4.1).
            Stage::Replied { with: Authentication::ChapMd5, identifier, accepted }
                if packet.identifier == identifier =>
            {
                reply(context, Authentication::ChapMd5, identifier, accepted, "");
                Ok(Outcome::Nothing)
            }
            Stage::Idle => Err(Discard::Phase),
            Stage::Waiting { .. } | Stage::Verifying { .. } | Stage::Replied { .. } => {
                Err(Discard::Unsolicited)
            }
        }
    }

    fn on_response(
        &mut self,
        context: &mut Context<'_>,
        packet: &Packet<'_>,
        challenge: &[u8],
    ) -> Result<Outcome, Discard> {
        let fields = chap::Fields::parse(packet.data)?;
        let with = Authentication::ChapMd5;
        self.verifying(with, packet.identifier);
        let response = <[u8; RESPONSE_OCTETS]>::try_from(fields.value);
        let (Ok(response), true) = (response, fields.name.len() <= NAME_OCTETS_MAX) else {
            self.conclude(context, false, "");
            return Ok(Outcome::Refused);
        };
        let identifier = packet.identifier;
        let proof = Proof::ChapMd5 { identifier, challenge: challenge.to_vec(), response };
        Ok(Outcome::Credentials(Credentials { name: fields.name.to_vec(), proof }))
    }

    /// A PAP packet of the peer.
    ///
    /// # Errors
    /// When it has no effect.
    pub fn handle_pap(
        &mut self,
        context: &mut Context<'_>,
        packet: &Packet<'_>,
    ) -> Result<Outcome, Discard> {
        if packet.code != pap::code::AUTHENTICATE_REQUEST {
            return Err(Discard::Code);
        }
        let request = pap::Request::parse(packet.data)?;
        match &mut self.stage {
            // Also where CHAP was agreed on: a peer may use what is allowed.
            Stage::Waiting { .. } => {
                self.verifying(Authentication::Pap, packet.identifier);
                if request.name.len() > NAME_OCTETS_MAX {
                    self.conclude(context, false, "");
                    return Ok(Outcome::Refused);
                }
                let password = Zeroizing::new(request.password.to_vec());
                let proof = Proof::Pap { password };
                Ok(Outcome::Credentials(Credentials { name: request.name.to_vec(), proof }))
            }
            // Each repetition has an identifier of its own (RFC 1334 section 2.2.1), and the peer
            // waits for the last.
            Stage::Verifying { with: Authentication::Pap, identifier } => {
                *identifier = packet.identifier;
                Ok(Outcome::Nothing)
            }
            Stage::Replied { with: Authentication::Pap, accepted, .. } => {
                reply(context, Authentication::Pap, packet.identifier, *accepted, "");
                Ok(Outcome::Nothing)
            }
            Stage::Idle => Err(Discard::Phase),
            Stage::Verifying { .. } | Stage::Replied { .. } => Err(Discard::Unsolicited),
        }
    }

    fn verifying(&mut self, with: Authentication, identifier: u8) {
        self.stage = Stage::Verifying { with, identifier };
        self.challenge_at = None;
    }

    /// The verdict on the credentials handed out last. Whether it was waited for.
    pub fn conclude(&mut self, context: &mut Context<'_>, accepted: bool, message: &str) -> bool {
        let Stage::Verifying { with, identifier } = self.stage else { return false };
        self.stage = Stage::Replied { with, identifier, accepted };
        self.deadline = None;
        reply(context, with, identifier, accepted, message);
        true
    }
}

fn reply(
    context: &mut Context<'_>,
    with: Authentication,
    identifier: u8,
    accepted: bool,
    message: &str,
) {
    let message = match (message, accepted) {
        ("", true) => "Welcome",
        ("", false) => "Name or password is wrong",
        (message, _) => message,
    };
    let message = truncate(message.as_bytes(), MESSAGE_OCTETS_MAX);
    match with {
        Authentication::ChapMd5 | Authentication::MsChapV2 => {
            let code = if accepted { chap::code::SUCCESS } else { chap::code::FAILURE };
            context.transmit.push(protocol::CHAP, code, identifier, &[message]);
        }
        Authentication::Pap => {
            let code =
                if accepted { pap::code::AUTHENTICATE_ACK } else { pap::code::AUTHENTICATE_NAK };
            let length = u8::try_from(message.len()).unwrap_or(u8::MAX);
            context.transmit.push(protocol::PAP, code, identifier, &[&[length], message]);
        }
    }
}
