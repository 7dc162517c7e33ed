//! The batch function: frames x tables -> verdicts. No I/O, no clock.

use std::sync::Arc;

use crate::frame::Frame;
use crate::tables::{Guard, Tables};
use crate::verdict::{DropReason, Verdict};

/// The most frames of one call.
pub const BATCH_MAX: usize = 64;

/// One worker's pipeline.
#[derive(Debug)]
pub struct Pipeline {
    tables: Arc<Tables>,
    worker: usize,
}

impl Pipeline {
    /// The pipeline of `worker`.
    pub fn new(tables: Arc<Tables>, worker: usize) -> Self {
        Self { tables, worker }
    }

    /// Decides on every frame and rewrites it in place. `verdicts` is cleared and gets one verdict
    /// per frame, in order. Counts drops and session packets; the caller counts what it received
    /// and sent.
    ///
    /// # Panics
    /// In debug builds with more than [`BATCH_MAX`] frames.
    pub fn process(
        &mut self,
        _guard: &Guard<'_>,
        frames: &mut [Frame],
        verdicts: &mut Vec<Verdict>,
    ) {
        debug_assert!(frames.len() <= BATCH_MAX);
        verdicts.clear();
        for _ in frames.iter() {
            self.tables.shard(self.worker).count_drop(DropReason::NoRoute);
            verdicts.push(Verdict::Drop(DropReason::NoRoute));
        }
    }
}
