//! What a tunnel tells its owner.

use std::fmt;

use crate::l2tp::SessionId;
use crate::l2tp::message::{CallErrors, Cdn, Iccn, Icrq, Ocrq, Sli};
use crate::l2tp::result::ResultCode;

/// Something that the owner must know. The events of one call come in order, and exactly one
/// `CallEnded` follows each `IncomingCall`, each `OutgoingCall` and each call that the owner has
/// placed; exactly one `Closed` ends a tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The control connection is up.
    Established {
        /// Host Name of the peer, fit for a log.
        peer_host_name: String,
        /// Vendor Name of the peer, fit for a log.
        peer_vendor: Option<String>,
    },
    /// A LAC offers a call, to be answered by `accept_call` or `refuse_call`.
    IncomingCall {
        /// Our name for it.
        session: SessionId,
        /// What the LAC says of it.
        icrq: Box<Icrq>,
    },
    /// An LNS wants us to call somebody, to be answered by `accept_outgoing_call` or `refuse_call`;
    /// once the line is up, by `outgoing_call_connected`.
    OutgoingCall {
        /// Our name for it.
        session: SessionId,
        /// Whom to call, and how.
        ocrq: Box<Ocrq>,
    },
    /// A call is up, whoever asked for it. Its data may come at once, and our acknowledgement or
    /// ICCN follows this event: be ready for data before the next datagram is sent (docs/peers.md
    /// row 36).
    CallConnected {
        /// Which call.
        session: SessionId,
        /// What the LAC said of it in ICCN or OCCN, be it the peer or us. An OCCN reads as an ICCN
        /// without proxied LCP and authentication.
        iccn: Box<Iccn>,
    },
    /// What the LNS has agreed on with the subscriber (SLI), for a LAC that converts characters.
    LinkInfo {
        /// Of which call.
        session: SessionId,
        /// The two maps.
        sli: Sli,
    },
    /// What went wrong on the LAC's line since the call came up (WEN).
    WanErrors {
        /// Of which call.
        session: SessionId,
        /// The counters.
        errors: CallErrors,
    },
    /// A call is over, whoever ended it.
    CallEnded {
        /// Which call. The identifier is not used again soon.
        session: SessionId,
        /// Why.
        cause: CallCause,
    },
    /// The tunnel and all its calls are over. It must be kept until `is_finished`.
    Closed {
        /// Why.
        cause: TunnelCause,
    },
}

/// Why a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallCause {
    /// The peer's CDN.
    Peer(Box<Cdn>),
    /// The owner wanted it.
    Local,
    /// A message of the peer was not acceptable; this is what we answered.
    Protocol(ResultCode),
    /// The peer did not connect it in time.
    SetupTimeout,
    /// Its tunnel is over.
    TunnelClosed,
    /// The peer offers no bearer or framing for the call, that was therefore not asked for.
    NotOffered,
}

/// Why a tunnel is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TunnelCause {
    /// The peer's StopCCN.
    Peer(ResultCode),
    /// The owner wanted it; this is what we said.
    Local(ResultCode),
    /// A message of the peer was not acceptable; this is what we answered.
    Protocol(ResultCode),
    /// The peer does not know the secret.
    NotAuthenticated,
    /// The peer did not complete the set-up in time.
    SetupTimeout,
    /// The peer asked for a tunnel while we did, and its Tie Breaker wins (or is the same, and
    /// both start over): nothing was said, and the tunnel is finished at once.
    TieLost,
    /// There was no call for as long as the configuration allows.
    Idle,
    /// The peer does not answer any more.
    Dead,
    /// The peer asks without end and acknowledges no answer.
    Overrun,
}

impl fmt::Display for CallCause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(cdn) => write!(formatter, "peer: {}", text(&cdn.result, true)),
            Self::Local => formatter.write_str("ended here"),
            Self::Protocol(result) => write!(formatter, "refused: {}", text(result, true)),
            Self::SetupTimeout => formatter.write_str("not connected in time"),
            Self::TunnelClosed => formatter.write_str("tunnel closed"),
            Self::NotOffered => formatter.write_str("the peer offers no bearer or framing for it"),
        }
    }
}

impl fmt::Display for TunnelCause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(result) => write!(formatter, "peer: {}", text(result, false)),
            Self::Local(result) => write!(formatter, "ended here: {}", text(result, false)),
            Self::Protocol(result) => write!(formatter, "refused: {}", text(result, false)),
            Self::NotAuthenticated => formatter.write_str("peer does not know the secret"),
            Self::SetupTimeout => formatter.write_str("not set up in time"),
            Self::TieLost => formatter.write_str("the peer's own request goes first"),
            Self::Idle => formatter.write_str("no call for too long"),
            Self::Dead => formatter.write_str("peer does not answer"),
            Self::Overrun => formatter.write_str("peer does not acknowledge"),
        }
    }
}

fn text(result: &ResultCode, call: bool) -> String {
    let mut text = if call { result.as_call().to_string() } else { result.as_tunnel().to_string() };
    if let Some(error) = result.error {
        text += &format!(", {error}");
    }
    if !result.message.is_empty() {
        text += &format!(" ({})", result.message);
    }
    text
}
