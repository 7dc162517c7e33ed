//! The policers of sessions.

use super::Context;
use crate::tables::TICKS_PER_NANOSECOND;
use crate::verdict::DropReason;

impl Context<'_> {
    /// Takes `length` octets of a session that has a policer upstream, by its slot and index.
    #[inline(always)]
    pub(super) fn police_upstream(
        &self,
        slot: u32,
        index: u32,
        length: usize,
    ) -> Result<(), DropReason> {
        let bucket = self.guard.options(slot).police_upstream;
        let full_at = &self.guard.state(index).police_upstream;
        let passes = bucket.take(full_at, self.ticks(), length as u64);
        if passes { Ok(()) } else { Err(DropReason::Policed) }
    }

    /// The same downstream.
    #[inline(always)]
    pub(super) fn police_downstream(
        &self,
        slot: u32,
        index: u32,
        length: usize,
    ) -> Result<(), DropReason> {
        let bucket = self.guard.options(slot).police_downstream;
        let full_at = &self.guard.state(index).police_downstream;
        let passes = bucket.take(full_at, self.ticks(), length as u64);
        if passes { Ok(()) } else { Err(DropReason::Policed) }
    }

    /// When the batch was received, as policers count time.
    #[inline(always)]
    fn ticks(&self) -> u64 {
        self.special.now.saturating_mul(TICKS_PER_NANOSECOND)
    }
}
