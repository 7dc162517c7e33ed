//! What a link and its owner tell each other.

use std::fmt;
use std::net::Ipv4Addr;

use zeroize::Zeroizing;

use super::{Authentication, FrameError, chap, mschap};

/// The longest name that an authenticating peer may give, in octets: a RADIUS User-Name holds no
/// more (RFC 2865 section 5.1).
pub const NAME_OCTETS_MAX: usize = 253;

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
    /// The peer does not let us in, and says why; the link goes down next.
    Refused {
        /// Octets of any value; never empty.
        message: Box<[u8]>,
    },
    /// The peer says what it is (RFC 1570 section 1.1); for a log.
    Identification {
        /// Octets of any value.
        message: Box<[u8]>,
    },
    /// IPv4 packets may flow.
    Ipv4Up {
        /// Our address on the link.
        local: Ipv4Addr,
        /// The peer's address; unspecified where the peer assigns ours and keeps its own to itself.
        peer: Ipv4Addr,
        /// Name servers that the peer gave us, where they were asked for.
        dns: Vec<Ipv4Addr>,
    },
    /// IPv4 packets may not flow any more; the link itself may live on.
    Ipv4Down,
    /// IPv6 packets may flow.
    Ipv6Up {
        /// Our interface identifier: the low half of our link-local address (RFC 5072 section 5).
        local: u64,
        /// The peer's interface identifier, never zero and never ours.
        peer: u64,
    },
    /// IPv6 packets may not flow any more; the link itself may live on.
    Ipv6Down,
    /// An IPv6 packet of the peer that is control's to see, while IPv6 is up; of any contents and
    /// length.
    Ipv6Packet(Box<[u8]>),
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
    /// To be checked with [`mschap::Exchange::verify`] (RFC 2759 section 4).
    MsChapV2 {
        /// Identifier of the challenge.
        identifier: u8,
        /// The Value of the Challenge.
        authenticator_challenge: [u8; mschap::CHALLENGE_OCTETS],
        /// The peer's own challenge, out of its Response.
        peer_challenge: [u8; mschap::CHALLENGE_OCTETS],
        /// The proof.
        nt_response: [u8; mschap::NT_RESPONSE_OCTETS],
    },
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pap { .. } => "Pap",
            Self::ChapMd5 { .. } => "ChapMd5",
            Self::MsChapV2 { .. } => "MsChapV2",
        })
    }
}

/// What an authenticated peer gets. A peer that is not asked to authenticate gets all that the
/// configuration has, with an IPv4 address of its own choice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grant {
    /// `None`: no IPv4.
    pub ipv4: Option<Ipv4Grant>,
    /// Whether it may speak IPv6, where the configuration has it.
    pub ipv6: bool,
    /// What proves us to a peer that authenticated with MS-CHAPv2 (RFC 2759 section 5); has to be
    /// there then.
    pub mschap_success: Option<[u8; mschap::AUTHENTICATOR_RESPONSE_OCTETS]>,
}

impl Grant {
    /// IPv4 alone, with the name servers of the configuration.
    pub fn ipv4(address: Ipv4Addr) -> Self {
        let ipv4 = Ipv4Grant { address, ..Ipv4Grant::default() };
        Self { ipv4: Some(ipv4), ..Self::default() }
    }
}

/// What an authenticated peer gets of IPv4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ipv4Grant {
    /// Its address; unspecified: what it asks for.
    pub address: Ipv4Addr,
    /// Its name servers, two at most are used; when empty, those of the configuration.
    pub dns: Vec<Ipv4Addr>,
    /// Its NetBIOS name servers, likewise.
    pub nbns: Vec<Ipv4Addr>,
}

impl Default for Ipv4Grant {
    fn default() -> Self {
        Self { address: Ipv4Addr::UNSPECIFIED, dns: Vec::new(), nbns: Vec::new() }
    }
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
    /// [`super::Config::mru`].
    pub peer_mru: u16,
    /// The largest packet that we asked the peer to send, in octets.
    pub local_mru: u16,
    /// Frames are sent without the Address and Control octets.
    pub send_acfc: bool,
    /// Protocols are sent in one octet.
    pub send_pfc: bool,
    /// Our magic number; 0 when the peer refused the option.
    pub magic: u32,
    /// The peer's magic number; 0 when it has none.
    pub peer_magic: u32,
    /// How the peer authenticates; `None`: it was not asked to. It may use another protocol that is
    /// allowed after all.
    pub authentication: Option<Authentication>,
    /// How we authenticate; `None`: the peer did not ask.
    pub our_authentication: Option<Authentication>,
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
    /// The peer did not accept our name or proof, or failed to prove itself in turn.
    #[error("refused by the peer")]
    RefusedByPeer,
    /// The peer did not answer during LCP.
    #[error("no answer in LCP")]
    LcpTimeout,
    /// The peer did not authenticate in time.
    #[error("authentication timed out")]
    AuthenticationTimeout,
    /// No agreement; on what.
    #[error("no agreement on {0}")]
    NegotiationFailed(&'static str),
    /// Echo-Requests went without an answer.
    #[error("no answer to echo")]
    EchoTimeout,
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
    /// A challenge of our own that came back.
    #[error("our own challenge came back")]
    Reflected,
    /// It carries our own magic number.
    #[error("our own packet came back")]
    Looped,
    /// A code that the protocol does not have.
    #[error("unknown code")]
    Code,
}
