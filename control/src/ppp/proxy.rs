//! An LCP and an authentication that a LAC has already gone through with the subscriber, and hands
//! over when the call is connected (RFC 2661 section 4.4.5).

use std::fmt;

use rand::RngCore;
use zeroize::Zeroizing;

use super::lcp::Lcp;
use super::mschap;
use super::option::Options;
use super::{Authentication, Config, Credentials, NAME_OCTETS_MAX, Proof};

/// Values of the Proxy Authen Type AVP (RFC 2661 section 4.4.5).
pub mod kind {
    /// Plain user name and password out of an exchange of text.
    pub const TEXT: u16 = 1;
    /// CHAP.
    pub const CHAP: u16 = 2;
    /// PAP.
    pub const PAP: u16 = 3;
    /// None: the LAC did not authenticate.
    pub const NONE: u16 = 4;
    /// MS-CHAP, version 1.
    pub const MS_CHAP: u16 = 5;
}

/// What a LAC hands over. Configure-Requests are lists of options, without the packet's header;
/// octets of any value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proxy {
    /// The first Configure-Request of the subscriber (AVP 26).
    pub initial_received: Option<Vec<u8>>,
    /// The last Configure-Request that the LAC sent, which the subscriber acknowledged (AVP 27).
    pub last_sent: Option<Vec<u8>>,
    /// The last Configure-Request of the subscriber, which the LAC acknowledged (AVP 28).
    pub last_received: Option<Vec<u8>>,
    /// What the subscriber proved itself with.
    pub authentication: Option<ProxyAuthentication>,
}

/// What a subscriber proved itself to the LAC with (AVPs 29 to 33); octets of any value.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyAuthentication {
    /// The protocol, of [`kind`].
    pub kind: u16,
    /// The name.
    pub name: Vec<u8>,
    /// The challenge, with CHAP.
    pub challenge: Vec<u8>,
    /// The identifier of the challenge, with CHAP.
    pub identifier: u8,
    /// The response, or the password.
    pub response: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for ProxyAuthentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = String::from_utf8_lossy(&self.name);
        f.debug_struct("ProxyAuthentication")
            .field("kind", &self.kind)
            .field("name", &name)
            .finish()
    }
}

/// How far a link could begin from what a LAC hands over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takeover {
    /// Not at all; why: the link negotiates LCP anew.
    Renegotiated(&'static str),
    /// LCP is kept, and the subscriber has to authenticate again.
    Lcp,
    /// LCP is kept, and the proof is up for verification.
    Authentication,
}

impl Proxy {
    /// What LCP agreed on between the LAC and the subscriber.
    ///
    /// # Errors
    /// Why it cannot be kept.
    pub(super) fn lcp(&self, config: &Config, rng: &mut dyn RngCore) -> Result<Lcp, &'static str> {
        const MISSING: &str = "a Configure-Request is missing";
        const MALFORMED: &str = "a Configure-Request is malformed";
        let sent = self.last_sent.as_deref().ok_or(MISSING)?;
        let received = self.last_received.as_deref().ok_or(MISSING)?;
        let sent = Options::parse(sent).map_err(|_| MALFORMED)?;
        let received = Options::parse(received).map_err(|_| MALFORMED)?;
        Lcp::agreed_by_proxy(config, &sent, &received, rng)
    }
}

impl ProxyAuthentication {
    /// The identifier to reply to and what is to be verified, where `with` is what LCP agreed on.
    /// `None`: it has to be asked for again.
    pub(super) fn credentials(&self, with: Authentication) -> Option<(u8, Credentials)> {
        let identifier = self.identifier;
        let proof = match (with, self.kind) {
            (Authentication::Pap, kind::PAP) => {
                Proof::Pap { password: Zeroizing::new(self.response.to_vec()) }
            }
            (Authentication::ChapMd5, kind::CHAP) => {
                let response = self.response.as_slice().try_into().ok()?;
                let challenge = self.challenge.clone();
                Proof::ChapMd5 { identifier, challenge, response }
            }
            // The RFC is older than version 2 and has no number for it.
            (Authentication::MsChapV2, kind::CHAP | kind::MS_CHAP) => {
                let response = mschap::Response::parse(&self.response).ok()?;
                Proof::MsChapV2 {
                    identifier,
                    authenticator_challenge: self.challenge.as_slice().try_into().ok()?,
                    peer_challenge: response.peer_challenge,
                    nt_response: response.nt_response,
                }
            }
            _ => return None,
        };
        let fits = self.name.len() <= NAME_OCTETS_MAX;
        let is_challenged = with == Authentication::Pap || !self.challenge.is_empty();
        (fits && is_challenged)
            .then(|| (identifier, Credentials { name: self.name.clone(), proof }))
    }
}
