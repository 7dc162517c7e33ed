//! How tunnels work, by profile.

use std::time::Duration;

use crate::l2tp::avp::Hide;
use crate::l2tp::secret::SecretBytes;
use crate::l2tp::transport::Timing;

/// How tunnels of one profile work. The default has the RFC's values, and no secret.
#[derive(Debug, Clone)]
pub struct Config {
    /// Our Host Name.
    pub host_name: String,
    /// Our Vendor Name; empty: not sent.
    pub vendor_name: String,
    /// Shared with the peer: answers its challenge, reveals its hidden AVPs.
    pub secret: Option<SecretBytes>,
    /// Whether the peer must show that it knows `secret`.
    pub challenge: bool,
    /// Which AVPs are sent hidden; nothing is where there is no `secret`.
    pub hide: Hide,
    /// Whether an SCCRQ of ours carries a Tie Breaker: there shall be one tunnel with this peer,
    /// whoever asks for it (RFC 2661 section 4.4.3).
    pub tie_breaker: bool,
    /// Bearers on which we place calls as a LAC: bit 0 digital, bit 1 analogue. `None`: requests
    /// for outgoing calls are refused, and we say nothing of bearers.
    pub bearer_capabilities: Option<u32>,
    /// Whether the peer may leave the header's Tunnel ID at 0 for the life of the tunnel
    /// (docs/peers.md row 26); see [`Tunnel::takes_tunnel_id_zero`](super::Tunnel).
    pub tunnel_id_zero: bool,
    /// Messages that the peer may have under way to us.
    pub receive_window: u16,
    /// Time to the first retransmission.
    pub retransmit_initial: Duration,
    /// Cap of its doubling.
    pub retransmit_max: Duration,
    /// Retransmissions of a message before the peer counts as dead.
    pub retransmit_tries: u32,
    /// Silence before a HELLO; zero: no HELLO.
    pub hello_interval: Duration,
    /// How long a tunnel stays without a call; zero: for ever (docs/peers.md row 32).
    pub idle_timeout: Duration,
    /// Calls in the tunnel.
    pub sessions_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host_name: "xlns".into(),
            vendor_name: String::new(),
            secret: None,
            challenge: false,
            hide: Hide::Never,
            tie_breaker: false,
            bearer_capabilities: None,
            tunnel_id_zero: false,
            receive_window: 16,
            retransmit_initial: Duration::from_secs(1),
            retransmit_max: Duration::from_secs(8),
            retransmit_tries: 5,
            hello_interval: Duration::from_secs(60),
            idle_timeout: Duration::ZERO,
            sessions_max: super::SESSIONS_MAX,
        }
    }
}

impl Config {
    pub(super) fn timing(&self) -> Timing {
        Timing {
            retransmit_initial: self.retransmit_initial,
            retransmit_max: self.retransmit_max,
            retransmit_tries: self.retransmit_tries,
            receive_window: self.receive_window,
        }
    }

    /// Bearers that we offer.
    pub(super) fn bearers(&self) -> u32 {
        self.bearer_capabilities.unwrap_or(0)
    }
}
