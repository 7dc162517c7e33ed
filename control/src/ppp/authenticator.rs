//! The side that asks the peer who it is, with CHAP, MS-CHAPv2 or PAP (RFC 1994, RFC 2759, RFC 1334).
//!
//! Whether the answer is right is decided elsewhere; meanwhile, and after that, repeated packets of
//! the peer change nothing and get the reply that their first one got. A peer that was let in by CHAP
//! may be challenged again from time to time, and goes on with what it does meanwhile.

use std::time::Duration;

use rand::RngCore;
use zeroize::Zeroizing;

use super::chap::{self, CHALLENGE_OCTETS, RESPONSE_OCTETS};
use super::frame::{Packet, protocol};
use super::mschap::{self, AUTHENTICATOR_RESPONSE_OCTETS};
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

/// The verdict on what [`Outcome::Credentials`] handed out.
#[derive(Debug, Clone, Copy)]
pub enum Verdict<'a> {
    /// Right.
    Accepted {
        /// What proves to a peer with MS-CHAPv2 that we know its password, from
        /// [`mschap::Exchange::verify`].
        authenticator_response: Option<[u8; AUTHENTICATOR_RESPONSE_OCTETS]>,
    },
    /// Wrong.
    Refused {
        /// Told to the peer; empty: a default text.
        message: &'a str,
    },
}

/// What a verdict led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conclusion {
    /// Nobody waits for one.
    Stale,
    /// The peer is let in.
    Accepted,
    /// The peer was let in before, and was challenged again since.
    AcceptedAgain,
    /// The peer was told that it is not.
    Refused,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    /// LCP is not open.
    Idle,
    /// The peer's turn; the method of the last challenge, if CHAP is in use.
    Waiting { challenged: Option<Authentication> },
    /// The owner's turn; the identifier to reply to.
    Verifying { with: Authentication, identifier: u8 },
    /// Replied; with MS-CHAPv2, what the Success has to prove.
    Replied {
        with: Authentication,
        identifier: u8,
        accepted: bool,
        proof: Option<[u8; AUTHENTICATOR_RESPONSE_OCTETS]>,
    },
}

/// The authentication of one peer.
#[derive(Debug)]
pub struct Authenticator {
    stage: Stage,
    /// Identifier of the last challenge.
    identifier: u8,
    /// Value of the last challenge.
    challenge: [u8; CHALLENGE_OCTETS],
    /// Where in its span the time to the next challenge in between lies, by chance.
    spread: u8,
    /// The peer was let in since LCP came up.
    accepted: bool,
    /// When the next challenge is due.
    challenge_at: Option<Time>,
    /// When the peer is given up.
    deadline: Option<Time>,
}

impl Default for Authenticator {
    fn default() -> Self {
        Self {
            stage: Stage::Idle,
            identifier: 0,
            challenge: [0; CHALLENGE_OCTETS],
            spread: 0,
            accepted: false,
            challenge_at: None,
            deadline: None,
        }
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
        self.accepted = false;
        self.deadline = Some(context.now + context.config.authentication_timeout);
        self.challenge_at = None;
        match with {
            Authentication::ChapMd5 | Authentication::MsChapV2 => {
                self.challenge(context, with, rng);
            }
            Authentication::Pap => self.stage = Stage::Waiting { challenged: None },
        }
    }

    /// LCP is open, and somebody in our place has already asked the peer: the verdict on these
    /// credentials is awaited, and `identifier` is to be replied to.
    pub fn start_verifying(
        &mut self,
        context: &Context<'_>,
        with: Authentication,
        identifier: u8,
        credentials: &Credentials,
    ) {
        self.accepted = false;
        self.deadline = Some(context.now + context.config.authentication_timeout);
        self.identifier = identifier;
        if let Proof::MsChapV2 { authenticator_challenge, .. } = &credentials.proof {
            self.challenge = *authenticator_challenge;
        }
        self.verifying(with, identifier);
    }

    /// LCP is open no more. The identifier lives on: it changes with each challenge.
    pub fn stop(&mut self) {
        self.stage = Stage::Idle;
        self.accepted = false;
        self.challenge_at = None;
        self.deadline = None;
    }

    /// The Value of the challenge that a response is awaited to. Whoever sends it to us wants to be
    /// told the response.
    pub fn open_challenge(&self) -> Option<&[u8]> {
        let waiting = matches!(self.stage, Stage::Waiting { challenged: Some(_) });
        waiting.then_some(self.challenge.as_slice())
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
            match self.stage {
                Stage::Waiting { challenged: Some(with) } | Stage::Replied { with, .. } => {
                    let timeout = context.config.authentication_timeout;
                    self.deadline.get_or_insert(context.now + timeout);
                    self.challenge(context, with, rng);
                }
                Stage::Idle | Stage::Waiting { challenged: None } | Stage::Verifying { .. } => {
                    self.challenge_at = None;
                }
            }
        }
        false
    }

    /// Sends a challenge; identifier and value are new each time (RFC 1994 section 4.1).
    fn challenge(
        &mut self,
        context: &mut Context<'_>,
        with: Authentication,
        rng: &mut dyn RngCore,
    ) {
        let mut value = [0; CHALLENGE_OCTETS];
        rng.fill_bytes(&mut value);
        [self.spread] = rng.next_u32().to_be_bytes().first_chunk().copied().unwrap_or_default();
        self.challenge = value;
        self.identifier = self.identifier.wrapping_add(1);
        self.stage = Stage::Waiting { challenged: Some(with) };
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
        match packet.code {
            chap::code::RESPONSE => {}
            chap::code::CHANGE_PASSWORD => return self.on_change_password(context, packet),
            _ => return Err(Discard::Code),
        }
        match self.stage {
            Stage::Waiting { challenged: Some(with) } if packet.identifier == self.identifier => {
                self.on_response(context, packet, with)
            }
            // The peer agreed to PAP but seems to speak CHAP; it gets something to respond to.
            Stage::Waiting { challenged: None } => {
                let with = spoken_by(context, packet).ok_or(Discard::Unsolicited)?;
                self.challenge(context, with, rng);
                Ok(Outcome::Nothing)
            }
            Stage::Verifying { with, identifier }
                if with != Authentication::Pap && packet.identifier == identifier =>
            {
                Ok(Outcome::Nothing)
            }
            // The same reply as before, whatever the response says now (RFC 1994 section 4.1).
            Stage::Replied { with, identifier, accepted, proof }
                if with != Authentication::Pap && packet.identifier == identifier =>
            {
                self.reply(context, with, identifier, accepted, proof, "");
                Ok(Outcome::Nothing)
            }
            Stage::Idle => Err(Discard::Phase),
            Stage::Waiting { .. } | Stage::Verifying { .. } | Stage::Replied { .. } => {
                Err(Discard::Unsolicited)
            }
        }
    }

    /// Nobody was told that its password has expired, and none can be changed here (RFC 2759 section
    /// 7). CHAP has no Code-Reject, so the peer is told by the one reply that there is.
    fn on_change_password(
        &mut self,
        context: &mut Context<'_>,
        packet: &Packet<'_>,
    ) -> Result<Outcome, Discard> {
        let Stage::Waiting { challenged: Some(Authentication::MsChapV2) } = self.stage else {
            return Err(Discard::Code);
        };
        let with = Authentication::MsChapV2;
        let identifier = packet.identifier;
        self.stage = Stage::Replied { with, identifier, accepted: false, proof: None };
        self.challenge_at = None;
        self.deadline = None;
        let error = mschap::error::CHANGING_PASSWORD;
        let text = "Passwords cannot be changed here";
        let message = mschap::failure_message(error, &self.challenge, text);
        let parts: [&[u8]; 1] = [message.as_bytes()];
        context.transmit.push(protocol::CHAP, chap::code::FAILURE, identifier, &parts);
        Ok(Outcome::Refused)
    }

    fn on_response(
        &mut self,
        context: &mut Context<'_>,
        packet: &Packet<'_>,
        with: Authentication,
    ) -> Result<Outcome, Discard> {
        let fields = chap::Fields::parse(packet.data)?;
        let identifier = packet.identifier;
        let proof = self.proof(with, identifier, fields.value);
        self.verifying(with, identifier);
        let (Some(proof), true) = (proof, fields.name.len() <= NAME_OCTETS_MAX) else {
            self.conclude(context, Verdict::Refused { message: "" });
            return Ok(Outcome::Refused);
        };
        Ok(Outcome::Credentials(Credentials { name: fields.name.to_vec(), proof }))
    }

    /// What a Value has to be checked against; `None` where its size is wrong.
    fn proof(&self, with: Authentication, identifier: u8, value: &[u8]) -> Option<Proof> {
        match with {
            Authentication::ChapMd5 => {
                let response = <[u8; RESPONSE_OCTETS]>::try_from(value).ok()?;
                let challenge = self.challenge.to_vec();
                Some(Proof::ChapMd5 { identifier, challenge, response })
            }
            Authentication::MsChapV2 => {
                let response = mschap::Response::parse(value).ok()?;
                Some(Proof::MsChapV2 {
                    identifier,
                    authenticator_challenge: self.challenge,
                    peer_challenge: response.peer_challenge,
                    nt_response: response.nt_response,
                })
            }
            Authentication::Pap => None,
        }
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
            // A peer that was let in by CHAP proves itself by CHAP again.
            Stage::Waiting { .. } if self.accepted => Err(Discard::Unsolicited),
            // Also where CHAP was agreed on: a peer may use what is allowed.
            Stage::Waiting { .. } => {
                self.verifying(Authentication::Pap, packet.identifier);
                if request.name.len() > NAME_OCTETS_MAX {
                    self.conclude(context, Verdict::Refused { message: "" });
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
            &mut Stage::Replied { with: Authentication::Pap, accepted, .. } => {
                self.reply(context, Authentication::Pap, packet.identifier, accepted, None, "");
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

    /// The verdict on the credentials handed out last.
    pub fn conclude(&mut self, context: &mut Context<'_>, verdict: Verdict<'_>) -> Conclusion {
        let Stage::Verifying { with, identifier } = self.stage else { return Conclusion::Stale };
        let (accepted, proof, message) = match verdict {
            // Without its proof a Success makes the peer hang up (RFC 2759 section 5).
            Verdict::Accepted { authenticator_response: None }
                if with == Authentication::MsChapV2 =>
            {
                (false, None, "This server cannot prove itself")
            }
            Verdict::Accepted { authenticator_response } => (true, authenticator_response, ""),
            Verdict::Refused { message } => (false, None, message),
        };
        self.stage = Stage::Replied { with, identifier, accepted, proof };
        self.deadline = None;
        self.reply(context, with, identifier, accepted, proof, message);
        if !accepted {
            return Conclusion::Refused;
        }
        if with != Authentication::Pap {
            let interval = context.config.rechallenge.map(|mean| self.spread_around(mean));
            self.challenge_at = interval.map(|interval| context.now + interval);
        }
        if std::mem::replace(&mut self.accepted, true) {
            Conclusion::AcceptedAgain
        } else {
            Conclusion::Accepted
        }
    }

    /// A time between three and five quarters of `mean`: intervals are to be random (RFC 1994 section
    /// 2), and links that came up together need not be challenged together.
    fn spread_around(&self, mean: Duration) -> Duration {
        const HALF_SPANS: u32 = 2 * 256;
        mean * (HALF_SPANS - 128 + u32::from(self.spread)) / HALF_SPANS
    }

    fn reply(
        &self,
        context: &mut Context<'_>,
        with: Authentication,
        identifier: u8,
        accepted: bool,
        proof: Option<[u8; AUTHENTICATOR_RESPONSE_OCTETS]>,
        message: &str,
    ) {
        let text = match (message, accepted) {
            ("", true) => "Welcome",
            ("", false) => "Name or password is wrong",
            (message, _) => message,
        };
        let text = cut(text);
        match with {
            Authentication::ChapMd5 | Authentication::MsChapV2 => {
                let code = if accepted { chap::code::SUCCESS } else { chap::code::FAILURE };
                let message = match (with, proof) {
                    (Authentication::MsChapV2, Some(proof)) => {
                        mschap::success_message(&proof, text)
                    }
                    (Authentication::MsChapV2, None) => {
                        let error = mschap::error::AUTHENTICATION_FAILURE;
                        mschap::failure_message(error, &self.challenge, text)
                    }
                    _ => text.to_owned(),
                };
                context.transmit.push(protocol::CHAP, code, identifier, &[message.as_bytes()]);
            }
            Authentication::Pap => {
                let code = if accepted {
                    pap::code::AUTHENTICATE_ACK
                } else {
                    pap::code::AUTHENTICATE_NAK
                };
                let length = [u8::try_from(text.len()).unwrap_or(u8::MAX)];
                context.transmit.push(protocol::PAP, code, identifier, &[&length, text.as_bytes()]);
            }
        }
    }
}

/// At most [`MESSAGE_OCTETS_MAX`] octets of a text, cut between characters.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(MESSAGE_OCTETS_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// Which CHAP a peer speaks that responds without having been asked, if that is allowed: their
/// responses differ in size.
fn spoken_by(context: &Context<'_>, packet: &Packet<'_>) -> Option<Authentication> {
    let is_mschap = chap::Fields::parse(packet.data)
        .is_ok_and(|fields| fields.value.len() == mschap::VALUE_OCTETS);
    let preferred = if is_mschap { Authentication::MsChapV2 } else { Authentication::ChapMd5 };
    let allowed = &context.config.authentication;
    let other = allowed.iter().find(|method| **method != Authentication::Pap);
    if allowed.contains(&preferred) { Some(preferred) } else { other.copied() }
}
