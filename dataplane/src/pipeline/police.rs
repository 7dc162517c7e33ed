//! The policers of sessions.

use super::Context;
use crate::tables::TICKS_PER_NANOSECOND;
use crate::verdict::{DropReason, Verdict};

impl Context<'_> {
    /// Takes `length` octets of the session with this index, which has a policer upstream.
    #[inline(always)]
    pub(super) fn police_upstream(&self, index: u32, length: usize) -> Result<(), DropReason> {
        let passes = self.guard.state(index).police_upstream.take(self.ticks(), length as u64);
        if passes { Ok(()) } else { Err(DropReason::Policed) }
    }

    /// The same downstream.
    #[inline(always)]
    pub(super) fn police_downstream(&self, index: u32, length: usize) -> Result<(), DropReason> {
        let passes = self.guard.state(index).police_downstream.take(self.ticks(), length as u64);
        if passes { Ok(()) } else { Err(DropReason::Policed) }
    }

    /// What becomes of a packet over the rate: counted, and nobody is told.
    #[cold]
    pub(super) fn drop_policed(&self) -> Verdict {
        self.shard.count_drop(DropReason::Policed);
        Verdict::Drop(DropReason::Policed)
    }

    /// When the batch was received, as policers count time.
    #[inline(always)]
    fn ticks(&self) -> u64 {
        self.special.now.saturating_mul(TICKS_PER_NANOSECOND)
    }
}
