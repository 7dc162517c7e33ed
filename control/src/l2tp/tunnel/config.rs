//! How tunnels work, by profile.

use std::time::Duration;

use crate::l2tp::secret::SecretBytes;
use crate::l2tp::transport::Timing;

/// How tunnels of one profile work.
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
    /// Calls in the tunnel.
    pub sessions_max: u32,
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
}
