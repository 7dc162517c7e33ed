//! Hand-off in a worker's turn: what is given away of a batch, what is taken in, what is left to do at the
//! end.

use super::super::Io;
use super::super::balance::Decision;
use crate::frame::Frame;
use crate::pipeline::spread::Shares;
use crate::pipeline::{BATCH_MAX, Pipeline};
use crate::tables::Guard;
use crate::verdict::{DropReason, Share, Verdict};

impl Io {
    /// Takes what belongs to others out of a batch that was received, and gives it to them.
    #[inline(always)]
    pub(in crate::worker) fn divide(
        &mut self,
        pipeline: &mut Pipeline,
        lane: usize,
        batch: &mut Vec<Frame>,
    ) {
        if pipeline.shares().is_active() {
            self.divide_active(pipeline, lane, batch);
        }
    }

    fn divide_active(&mut self, pipeline: &mut Pipeline, lane: usize, batch: &mut Vec<Frame>) {
        let Some(handoff) = &mut self.handoff else { return };
        let mut shares = std::mem::take(&mut handoff.shares);
        let mut kept = std::mem::take(&mut handoff.kept);
        pipeline.divide(batch, &mut shares);
        for (frame, share) in batch.drain(..).zip(&shares) {
            match share {
                None => kept.push(frame),
                Some(share) => self.hand_off(lane, *share, frame),
            }
        }
        std::mem::swap(batch, &mut kept);
        if let Some(handoff) = &mut self.handoff {
            (handoff.shares, handoff.kept) = (shares, kept);
        }
    }

    /// Gives a frame to the worker that has its share.
    #[inline]
    pub(in crate::worker) fn hand_off(&mut self, lane: usize, share: Share, frame: Frame) {
        let given = match &mut self.handoff {
            Some(handoff) => handoff.give(lane, share, frame),
            None => Err(frame),
        };
        if let Err(frame) = given {
            self.drop_frame(frame, DropReason::HandoffFull);
        }
    }

    /// Processes what other workers have given. Returns how many frames.
    #[inline]
    pub(in crate::worker) fn take_in(
        &mut self,
        pipeline: &mut Pipeline,
        guard: &Guard<'_>,
        batch: &mut Vec<Frame>,
        verdicts: &mut Vec<Verdict>,
    ) -> usize {
        let mut inbound = self.handoff.as_ref().map_or(0, |handoff| handoff.inbound());
        let mut count = 0;
        while inbound != 0 {
            let giver = inbound.trailing_zeros() as usize;
            inbound &= inbound - 1;
            let Self { handoff: Some(handoff), pool, .. } = self else { break };
            let Some(inlet) = handoff.inlets[giver].as_mut() else { continue };
            if inlet.take(pool, BATCH_MAX, batch) == 0 {
                continue;
            }
            handoff.drain.is_due = true;
            count += batch.len();
            self.shard().count_batch();
            self.shard().count_handed_in(batch.len() as u64);
            self.process(pipeline, guard, batch, verdicts);
            // By the same queue always, one giver's sessions keep their order.
            self.settle(giver, batch, verdicts, pipeline.extras());
        }
        count
    }

    /// What is left to do for hand-off at the end of a turn, once everything was shown to the kernel.
    /// `is_backed_up`: of the window of time that ended with this turn, if one did.
    #[inline]
    pub(in crate::worker) fn tend(
        &mut self,
        pipeline: &mut Pipeline,
        guard: &Guard<'_>,
        batch: &mut Vec<Frame>,
        verdicts: &mut Vec<Verdict>,
        is_backed_up: Option<bool>,
    ) {
        let Some(handoff) = &self.handoff else { return };
        if is_backed_up.is_none() && !handoff.is_restless() {
            return;
        }
        self.tend_restless(is_backed_up, pipeline.shares());
        if self.end_move(pipeline, guard, batch, verdicts) {
            self.flush(false);
        }
        let Self { handoff: Some(handoff), pool, .. } = self else { return };
        let (given, waiting) = (handoff.submit(pool), handoff.waiting.len() as u64);
        self.shard().count_handed_out(given);
        self.shard().set_moving(waiting);
    }

    fn tend_restless(&mut self, is_backed_up: Option<bool>, shares: &mut Shares) {
        let Self { handoff: Some(handoff), ports, .. } = self else { return };
        if handoff.drain.is_due {
            handoff.drain(ports);
        }
        let Some(is_backed_up) = is_backed_up else { return };
        let (now, load) = (self.clock.now(), self.meter.load());
        let Self { handoff: Some(handoff), ports, .. } = self else { return };
        handoff.board.posts[handoff.me].load.set(load);
        match handoff.decide(is_backed_up, shares) {
            Decision::Stay => {}
            Decision::Begin => shares.set_active(true),
            Decision::End => shares.set_active(false),
            Decision::Move { from, to, shares: moved } => {
                handoff.begin_move(from, to, moved, ports, shares, now);
            }
        }
    }

    /// Ends a move that can be ended, and sends on what waited. Returns whether frames were processed here.
    fn end_move(
        &mut self,
        pipeline: &mut Pipeline,
        guard: &Guard<'_>,
        batch: &mut Vec<Frame>,
        verdicts: &mut Vec<Verdict>,
    ) -> bool {
        if self.handoff.as_ref().is_none_or(|handoff| handoff.moving.is_none()) {
            return false;
        }
        let now = self.clock.now();
        let Self { handoff: Some(handoff), ports, .. } = self else { return false };
        let Some(owner) = handoff.outcome(ports, now) else { return false };
        handoff.end_move(owner, pipeline.shares());
        let is_here = usize::from(owner) == handoff.me;
        let mut waiting = std::mem::take(&mut handoff.waiting);
        let mut frames = waiting.drain(..).peekable();
        while let Some((lane, frame)) = frames.next() {
            if !is_here {
                let Some(handoff) = &mut self.handoff else { break };
                if let Err(frame) = handoff.give_to(owner, frame) {
                    self.drop_frame(frame, DropReason::HandoffFull);
                }
                continue;
            }
            batch.push(frame);
            let is_last = frames.peek().is_none_or(|(next, _)| *next != lane);
            if is_last || batch.len() == BATCH_MAX {
                self.process(pipeline, guard, batch, verdicts);
                self.settle(lane, batch, verdicts, pipeline.extras());
            }
        }
        drop(frames);
        if let Some(handoff) = &mut self.handoff {
            handoff.waiting = waiting;
        }
        is_here
    }
}
