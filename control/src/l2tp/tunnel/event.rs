//! What a tunnel tells its owner.

use std::fmt;

use crate::l2tp::SessionId;
use crate::l2tp::message::{Cdn, Iccn, Icrq};
use crate::l2tp::result::ResultCode;

/// Something that the owner must know. The events of one call come in order, and exactly one
/// `CallEnded` follows each `IncomingCall`; exactly one `Closed` ends a tunnel.
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
    /// A call is up. Its data may come at once, and our acknowledgement follows this event: be
    /// ready for data before the next datagram is sent (docs/peers.md row 36).
    CallConnected {
        /// Which call.
        session: SessionId,
        /// What the LAC says of it.
        iccn: Box<Iccn>,
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
