//! Both sides ask for a tunnel at the same time (RFC 2661 section 4.4.3, Tie Breaker).

use super::table::Input;
use super::{ResultCode, State, Tunnel, TunnelCause, TunnelResult};
use crate::time::Time;

/// Octets of a Tie Breaker.
pub const TIE_BREAKER_BYTES: usize = 8;

/// Which of two requests for a tunnel, each side's own, lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tie {
    /// Ours: the peer drops its request by itself, and what came of it is not answered.
    OursWins,
    /// The peer's: ours is forgotten without a word.
    PeersWins,
    /// Neither: both are forgotten, and both sides start over after some time of their own.
    BothLose,
    /// Nobody minds: each becomes a tunnel.
    BothStay,
}

/// Compares the Tie Breaker of our outstanding SCCRQ with that of the peer's. The lower one wins,
/// and any wins over none.
pub fn break_tie(
    ours: Option<[u8; TIE_BREAKER_BYTES]>,
    peers: Option<[u8; TIE_BREAKER_BYTES]>,
) -> Tie {
    use std::cmp::Ordering::{Equal, Greater, Less};
    match (ours, peers) {
        (None, None) => Tie::BothStay,
        (Some(_), None) => Tie::OursWins,
        (None, Some(_)) => Tie::PeersWins,
        // Both are numbers in network order, so that arrays compare as they do.
        (Some(ours), Some(peers)) => match ours.cmp(&peers) {
            Less => Tie::OursWins,
            Greater => Tie::PeersWins,
            Equal => Tie::BothLose,
        },
    }
}

impl Tunnel {
    /// The peer of this tunnel has sent an SCCRQ of its own, with that Tie Breaker, while ours may
    /// be outstanding. The owner answers the peer's request where the result is `PeersWins` or
    /// `BothStay` only. Where ours does not win, this tunnel closes with
    /// [`TunnelCause::TieLost`] and is finished at once; its calls, and a new request if there is
    /// still need for one, are the owner's to place.
    pub fn handle_crossing(&mut self, now: Time, peers: Option<[u8; TIE_BREAKER_BYTES]>) -> Tie {
        if self.state != State::WaitCtlReply {
            return Tie::BothStay;
        }
        let tie = break_tie(self.tie_breaker, peers);
        let input = match tie {
            Tie::OursWins | Tie::BothStay => Input::SccrqAcceptable,
            Tie::PeersWins | Tie::BothLose => Input::SccrqLosesTieBreaker,
        };
        // Never said: the loser is silent.
        let result = ResultCode::tunnel(TunnelResult::AlreadyExists, None, "");
        self.advance(now, input, result, TunnelCause::TieLost);
        tie
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_number_wins() {
        let low = [0, 0, 0, 0, 0, 0, 0, 9];
        let high = [0, 0, 0, 0, 0, 0, 1, 0];
        let negative = [0xff; 8];
        for (ours, peers, tie) in [
            (None, None, Tie::BothStay),
            (Some(low), None, Tie::OursWins),
            (Some(negative), None, Tie::OursWins),
            (None, Some(negative), Tie::PeersWins),
            (Some(low), Some(high), Tie::OursWins),
            (Some(high), Some(low), Tie::PeersWins),
            (Some(high), Some(negative), Tie::OursWins),
            (Some(low), Some(low), Tie::BothLose),
            (Some([0; 8]), Some([0; 8]), Tie::BothLose),
        ] {
            assert_eq!(break_tie(ours, peers), tie, "{ours:?} {peers:?}");
            // The peer comes to the same end.
            let mirrored = match tie {
                Tie::OursWins => Tie::PeersWins,
                Tie::PeersWins => Tie::OursWins,
                same => same,
            };
            assert_eq!(break_tie(peers, ours), mirrored, "{peers:?} {ours:?}");
        }
    }
}
