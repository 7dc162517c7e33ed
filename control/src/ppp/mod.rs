//! PPP in both roles, that of the LNS and that of a dialler: LCP, authentication, IPCP, IPv6CP
//! (RFC 1661, 1570, 1332, 1334, 1877, 1994, 2759, 5072).
//!
//! Sans-IO, and without any knowledge of L2TP: a [`Link`] takes PPP frames, the time and randomness,
//! and hands out frames and [`Event`]s. `automaton` is the table of RFC 1661 section 4.1, `machine`
//! runs it for LCP and every NCP, a [`policy::Policy`] says what one side of one protocol asks for
//! and grants. Who the user is and which address he gets is the owner's business.
//!
//! Octets of the peer never panic, and secrets never reach a log.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod authenticatee;
pub mod authenticator;
pub mod automaton;
pub mod chap;
mod config;
pub mod echo;
mod event;
pub mod frame;
pub mod ipcp;
pub mod ipv6cp;
pub mod lcp;
pub mod link;
pub mod machine;
pub mod mschap;
pub mod option;
pub mod pap;
pub mod policy;
pub mod proxy;
pub mod transmit;

pub use self::config::{Account, Authentication, CallMode, Config, Framing, Ipv4Config};
pub use self::event::{
    Agreed, Credentials, Discard, DownCause, Event, Grant, Ipv4Grant, NAME_OCTETS_MAX, Proof,
    Refusal,
};
pub use self::frame::FrameError;
pub use self::link::{Link, Phase};

/// The MRU of a link on which none was negotiated, in octets (RFC 1661 section 6.1).
pub const MRU_DEFAULT: u16 = 1500;
