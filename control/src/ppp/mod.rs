//! PPP as the LNS speaks it: LCP, authentication of the peer, IPCP (RFC 1661, 1332, 1334, 1877,
//! 1994).
//!
//! Sans-IO, and without any knowledge of L2TP: a [`Link`] takes PPP frames, the time and randomness,
//! and hands out frames and [`Event`]s. `automaton` is the table of RFC 1661 section 4.1, `machine`
//! runs it for LCP and every NCP, a [`policy::Policy`] says what one side of one protocol asks for
//! and grants. Who the user is and which address he gets is the owner's business.
//!
//! Octets of the peer never panic, and secrets never reach a log.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod authenticator;
pub mod automaton;
pub mod chap;
pub mod frame;
pub mod ipcp;
pub mod lcp;
pub mod link;
pub mod machine;
pub mod mschap;
pub mod option;
pub mod pap;
pub mod policy;
pub mod transmit;

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use zeroize::Zeroizing;

pub use self::frame::FrameError;
pub use self::link::{Link, Phase};

/// The MRU of a link on which none was negotiated, in octets (RFC 1661 section 6.1).
pub const MRU_DEFAULT: u16 = 1500;

/// The longest name that an authenticating peer may give, in octets: a RADIUS User-Name holds no
/// more (RFC 2865 section 5.1).
pub const NAME_OCTETS_MAX: usize = 253;

/// An authentication protocol that this side may ask the peer for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Authentication {
    /// CHAP with MD5 (RFC 1994).
    ChapMd5,
    /// PAP (RFC 1334).
    Pap,
}

impl Authentication {
    /// The word that the configuration and tables use.
    pub fn name(self) -> &'static str {
        match self {
            Self::ChapMd5 => "chap-md5",
            Self::Pap => "pap",
        }
    }
}

/// What all links of one profile have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What the peer may authenticate with, the most wanted first; at most
    /// [`lcp::AUTHENTICATIONS_MAX`] count. A link without any does not come up.
    pub authentication: Vec<Authentication>,
    /// The MRU that we ask for, and the most that a peer is sent, in octets.
    pub mru: u16,
    /// A peer that asks for a smaller MRU is offered this one, in octets.
    pub mru_min: u16,
    /// Time to an answer before a request is repeated (RFC 1661 section 4.6).
    pub restart_timer: Duration,
    /// Configure-Requests without an answer before giving up.
    pub max_configure: u32,
    /// Terminate-Requests without an answer before giving up.
    pub max_terminate: u32,
    /// Configure-Naks sent before they turn into Configure-Rejects.
    pub max_failure: u32,
    /// Time from LCP up to the end of authentication.
    pub authentication_timeout: Duration,
    /// Our name in CHAP challenges.
    pub server_name: String,
    /// Our address on the link.
    pub local_address: Ipv4Addr,
    /// Name servers for the peer, two at most are used; those of a [`Grant`] come before them.
    pub dns: Vec<Ipv4Addr>,
    /// NetBIOS name servers for the peer, two at most are used; without any the options are rejected.
    pub nbns: Vec<Ipv4Addr>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            authentication: vec![Authentication::ChapMd5, Authentication::Pap],
            mru: 1460,
            mru_min: 576,
            restart_timer: Duration::from_secs(3),
            max_configure: 10,
            max_terminate: 2,
            max_failure: 5,
            authentication_timeout: Duration::from_secs(30),
            server_name: String::from("xlns"),
            local_address: Ipv4Addr::UNSPECIFIED,
            dns: Vec::new(),
            nbns: Vec::new(),
        }
    }
}

/// What a link tells its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// LCP is open; authentication begins. Comes again when the peer renegotiates, and then voids
    /// every verification that is still under way.
    LcpUp {
        /// What LCP agreed on.
        agreed: Agreed,
    },
    /// The peer says who it is; to be answered by [`Link::authenticated`].
    Authenticate(Credentials),
    /// The peer says what it is (RFC 1570 section 1.1); for a log.
    Identification {
        /// Octets of any value.
        message: Box<[u8]>,
    },
    /// IPv4 packets may flow.
    NetworkUp {
        /// The peer's address.
        address: Ipv4Addr,
    },
    /// IPv4 packets may not flow any more; the link itself may live on.
    NetworkDown,
    /// The link is over; the last event.
    Down {
        /// Why.
        cause: DownCause,
    },
}

/// Who a peer claims to be, and the proof of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Name of the user, at most [`NAME_OCTETS_MAX`] octets of any value.
    pub name: Vec<u8>,
    /// What shows that the name is right.
    pub proof: Proof,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = String::from_utf8_lossy(&self.name);
        f.debug_struct("Credentials").field("name", &name).field("proof", &self.proof).finish()
    }
}

/// The proof of a name.
#[derive(Clone, PartialEq, Eq)]
pub enum Proof {
    /// The password itself.
    Pap {
        /// As received.
        password: Zeroizing<Vec<u8>>,
    },
    /// To be checked with [`chap::verify`].
    ChapMd5 {
        /// Identifier of the challenge.
        identifier: u8,
        /// The Challenge Value.
        challenge: Vec<u8>,
        /// The Response Value.
        response: [u8; chap::RESPONSE_OCTETS],
    },
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pap { .. } => "Pap",
            Self::ChapMd5 { .. } => "ChapMd5",
        })
    }
}

/// What an authenticated peer gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its name servers, two at most are used; when empty, those of [`Config`].
    pub dns: Vec<Ipv4Addr>,
}

/// The peer is not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Shown to the user; only the first 255 octets are sent. Empty: a default text.
    pub message: String,
}

/// What LCP agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreed {
    /// The largest packet that the peer is sent, in octets: the smaller of what it asked for and
    /// [`Config::mru`].
    pub peer_mru: u16,
    /// The largest packet that we asked the peer to send, in octets.
    pub local_mru: u16,
    /// The peer takes frames without the Address and Control octets.
    pub send_acfc: bool,
    /// The peer takes protocols in one octet.
    pub send_pfc: bool,
    /// Our magic number; 0 when the peer refused the option.
    pub magic: u32,
    /// The peer's magic number; 0 when it has none.
    pub peer_magic: u32,
    /// How the peer authenticates. A peer may use another protocol that is allowed after all.
    pub authentication: Authentication,
}

/// Why a link is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum DownCause {
    /// The peer sent a Terminate-Request.
    #[error("terminated by the peer")]
    PeerTerminated,
    /// Name or proof were not accepted.
    #[error("authentication failed")]
    AuthenticationFailed,
    /// The peer did not answer during LCP.
    #[error("no answer in LCP")]
    LcpTimeout,
    /// The peer did not authenticate in time.
    #[error("authentication timed out")]
    AuthenticationTimeout,
    /// No agreement; on what.
    #[error("no agreement on {0}")]
    NegotiationFailed(&'static str),
    /// Our own requests came back.
    #[error("the link is looped back")]
    Looped,
    /// No network protocol could be configured.
    #[error("no network protocol came up")]
    NetworkProtocolsFailed,
    /// Our owner wanted it.
    #[error("closed")]
    Closed,
}

/// Why a received frame had no effect; for the owner to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Discard {
    /// The frame or its packet was malformed.
    #[error(transparent)]
    Malformed(#[from] FrameError),
    /// The fields within a packet were malformed.
    #[error("packet contents malformed")]
    Content,
    /// An answer to nothing that was asked.
    #[error("answer to no outstanding request")]
    Unsolicited,
    /// The protocol has no business in this phase.
    #[error("not in this phase")]
    Phase,
    /// A code that the protocol does not have.
    #[error("unknown code")]
    Code,
}
