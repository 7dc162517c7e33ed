//! What a worker keeps besides identification numbers for packets that need more than a rewrite in
//! place: the time, frames for what is made here, and why the last packet was refused.

use super::icmp::{self, Complaint};
use super::reassembly::Reassembly;
use super::spread::Shares;
use super::{Context, stray};
use crate::frame::Frame;
use crate::port::PortId;
use crate::verdict::Verdict;

/// The most frames that a worker sets aside for fragments: the pieces of one packet of the largest
/// size at the smallest MRU, or a batch of packets in two pieces each.
pub const RESERVE_FRAMES: usize = super::BATCH_MAX;

/// A frame that was made here.
#[derive(Debug)]
pub struct Extra {
    /// Behind which frame of the batch it leaves: that one's chunk.
    pub behind: u32,
    /// By which port.
    pub port: PortId,
    /// The frame.
    pub frame: Frame,
}

/// What one worker may do so often a second in the long run, and so many times at once.
#[derive(Debug)]
pub(super) struct Allowance {
    interval: u64,
    tolerance: u64,
    /// When all of it is there again, nanoseconds.
    full_at: u64,
}

impl Allowance {
    pub(super) const fn new(per_second: u64, burst: u64) -> Self {
        let interval = 1_000_000_000 / per_second;
        Self { interval, tolerance: interval * burst, full_at: 0 }
    }

    /// Whether one more fits at `now`.
    pub(super) fn take(&mut self, now: u64) -> bool {
        let next = self.full_at.max(now) + self.interval;
        let fits = next - now <= self.tolerance;
        if fits {
            self.full_at = next;
        }
        fits
    }
}

/// One worker's.
#[derive(Debug)]
pub(super) struct Special {
    /// When the batch was received, nanoseconds from whatever start.
    pub(super) now: u64,
    /// At most [`RESERVE_FRAMES`].
    pub(super) reserve: Vec<Frame>,
    /// Made of frames of the reserve, in the order in which they leave.
    pub(super) extras: Vec<Extra>,
    /// Pieces under way; empty between packets.
    pub(super) pieces: Vec<Frame>,
    /// The same of outer packets.
    pub(super) outer_pieces: Vec<Frame>,
    /// The next identification of outer IPv6 fragments.
    pub(super) fragment_id: u32,
    /// Tunnel packets that come in fragments.
    pub(super) reassembly: Reassembly,
    /// What other workers have of the sessions.
    pub(super) shares: Shares,
    /// What is to be said about the packet that has just been refused.
    pub(super) complaint: Option<Complaint>,
    /// ICMP errors.
    pub(super) errors: Allowance,
    /// LCP that is control's to look at.
    pub(super) strays: Allowance,
}

impl Special {
    pub(super) fn new(worker: usize) -> Self {
        Self {
            now: 0,
            reserve: Vec::with_capacity(RESERVE_FRAMES),
            extras: Vec::with_capacity(RESERVE_FRAMES),
            pieces: Vec::with_capacity(RESERVE_FRAMES),
            outer_pieces: Vec::with_capacity(RESERVE_FRAMES),
            // Far from the other workers'.
            fragment_id: (worker as u32).wrapping_mul(0x9e37_79b9),
            reassembly: Reassembly::new(),
            shares: Shares::new(),
            complaint: None,
            errors: icmp::ERRORS,
            strays: stray::STRAYS,
        }
    }
}

impl Context<'_> {
    /// Sends a frame of the reserve behind that of the packet it came of, or puts it back.
    pub(super) fn send_extra(&mut self, behind: u32, frame: Frame, verdict: Option<Verdict>) {
        match verdict {
            Some(Verdict::Transmit(port)) => {
                self.shard.count_originated();
                self.special.extras.push(Extra { behind, port, frame });
            }
            _ => self.special.reserve.push(frame),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_lasts_for_a_burst_and_comes_back_at_its_rate() {
        let mut allowance = Allowance::new(1000, 3);
        let now = 5_000_000_000;
        let taken = |allowance: &mut Allowance, now| (0..9).filter(|_| allowance.take(now)).count();
        assert_eq!(taken(&mut allowance, now), 3);
        assert_eq!(taken(&mut allowance, now + 999_999), 0);
        assert_eq!(taken(&mut allowance, now + 1_000_000), 1);
        assert_eq!(taken(&mut allowance, now + 60_000_000_000), 3);
    }
}
