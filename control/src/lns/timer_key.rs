//! What the timers of the root machine are for.

use crate::config::CLIENTS_MAX;
use crate::l2tp::TunnelId;
use crate::timers;

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimerKey {
    Tunnel(TunnelId),
    Call(usize),
    Client(usize),
    Journal,
}

impl TimerKey {
    /// The timer's token: Tunnel IDs first, of which 0 is no tunnel's; clients, then calls behind
    /// them.
    pub(super) fn token(self) -> u32 {
        match self {
            Self::Tunnel(id) => id.0.into(),
            Self::Client(index) => (TUNNEL_TOKENS + index) as u32,
            Self::Call(index) => (TUNNEL_TOKENS + CLIENTS_MAX + index) as u32,
            Self::Journal => 0,
        }
    }

    pub(super) fn of_token(token: u32) -> Self {
        match u16::try_from(token) {
            Ok(0) => Self::Journal,
            Ok(id) => Self::Tunnel(TunnelId(id)),
            Err(_) => match (token as usize - TUNNEL_TOKENS).checked_sub(CLIENTS_MAX) {
                Some(index) => Self::Call(index),
                None => Self::Client(token as usize - TUNNEL_TOKENS),
            },
        }
    }
}

/// Timer tokens that belong to tunnels: one for each Tunnel ID.
const TUNNEL_TOKENS: usize = 1 << 16;

/// Calls that timer tokens leave room for.
pub const CALLS_MAX: usize = timers::TOKENS_MAX as usize - TUNNEL_TOKENS - CLIENTS_MAX;
