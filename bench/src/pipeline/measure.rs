//! One window of time after another, each of one kind of packet, over tables that are there.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use xlns_dataplane::frame::Frame;
use xlns_dataplane::pipeline::{BATCH_MAX, Pipeline, Stage};
use xlns_dataplane::port::PortId;
use xlns_dataplane::tables::{Reader, Tables};
use xlns_dataplane::verdict::Verdict;

use super::packets::Packets;
use crate::allocation::thread_allocations;
use crate::clock;

/// Frames of the cold rows: 64 MiB of chunks of 2 KiB.
const COLD_FRAMES: usize = 32 * 1024;

/// Where the frames' headers are when a burst is processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Headers {
    /// In the first cache, as behind a NIC that writes there: just filled.
    Warm,
    /// Filled long before, over 64 MiB.
    Cold,
}

/// What a burst is.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Shape {
    pub(super) headers: Headers,
    /// Frames of a burst.
    pub(super) burst: usize,
}

impl Shape {
    /// Warm headers, bursts of a batch.
    pub(super) const MAIN: Self = Self { headers: Headers::Warm, burst: BATCH_MAX };
}

/// How long to measure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) windows: u32,
    pub(super) window: Duration,
}

/// The clk a packet of all windows of a row.
#[derive(Debug, Default)]
pub(super) struct Windows(pub(super) Vec<f64>);

impl Windows {
    /// The least: noise only ever adds.
    pub(super) fn best(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The middle: how busy the machine was beside the best one.
    pub(super) fn median(&self) -> f64 {
        median(self.0.clone())
    }
}

/// The middle of these.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Frames for all rows: their memory is never given back.
pub(super) fn frames() -> Vec<Frame> {
    Frame::allocate(COLD_FRAMES)
}

/// One worker over some tables.
pub(super) struct Bench<'a> {
    reader: Reader,
    pipeline: Pipeline,
    frames: &'a mut [Frame],
    verdicts: Vec<Verdict>,
    start: Instant,
}

impl<'a> Bench<'a> {
    /// Registers the worker.
    pub(super) fn new(tables: &Arc<Tables>, frames: &'a mut [Frame]) -> Self {
        Self {
            reader: tables.register(0),
            pipeline: Pipeline::new(Arc::clone(tables), 0),
            frames,
            verdicts: Vec::with_capacity(COLD_FRAMES),
            start: clock::now(),
        }
    }

    /// Fills and processes bursts for `span`; the clk a packet.
    pub(super) fn window(
        &mut self,
        packets: &mut Packets,
        shape: Shape,
        span: Duration,
    ) -> Result<f64, Box<dyn Error>> {
        let (mut ticks, mut count) = (0, 0);
        let start = clock::now();
        while start.elapsed() < span {
            self.turn(packets, shape, |pipeline, reader, burst, verdicts| {
                let first = clock::ticks();
                pipeline.process(&reader.guard(), burst, verdicts);
                ticks += clock::ticks() - first;
                count += burst.len();
            })?;
        }
        Ok(ticks as f64 / count as f64)
    }

    /// The same, stage by stage: clk a packet of each.
    pub(super) fn stages(
        &mut self,
        packets: &mut Packets,
        span: Duration,
    ) -> Result<[f64; Stage::COUNT], Box<dyn Error>> {
        let (mut stages, mut count) = ([0; Stage::COUNT], 0);
        let start = clock::now();
        while start.elapsed() < span {
            self.turn(packets, Shape::MAIN, |pipeline, reader, burst, verdicts| {
                let mut last = clock::ticks();
                let mut observe = |stage: Stage| {
                    let now = clock::ticks();
                    if let Some(sum) = stages.get_mut(stage as usize) {
                        *sum += now - last;
                    }
                    last = now;
                };
                pipeline.process_observed(&reader.guard(), burst, verdicts, &mut observe);
                count += burst.len();
            })?;
        }
        Ok(stages.map(|ticks| ticks as f64 / count as f64))
    }

    /// Processes bursts for `span` and gives the clk of each to `burst_done`.
    pub(super) fn bursts(
        &mut self,
        packets: &mut Packets,
        span: Duration,
        mut burst_done: impl FnMut(u64),
    ) -> Result<(), Box<dyn Error>> {
        let start = clock::now();
        while start.elapsed() < span {
            self.turn(packets, Shape::MAIN, |pipeline, reader, burst, verdicts| {
                let first = clock::ticks();
                pipeline.process(&reader.guard(), burst, verdicts);
                burst_done(clock::ticks() - first);
            })?;
        }
        Ok(())
    }

    /// Fills frames, has bursts of them processed, and looks at what became of them.
    fn turn(
        &mut self,
        packets: &mut Packets,
        shape: Shape,
        mut process: impl FnMut(&mut Pipeline, &mut Reader, &mut [Frame], &mut Vec<Verdict>),
    ) -> Result<(), Box<dyn Error>> {
        let port = PortId(packets.port());
        let sent = Verdict::Transmit(PortId(packets.leaves_by()));
        let frames = match shape.headers {
            Headers::Warm => self.frames.get_mut(..shape.burst).ok_or("the burst is too large")?,
            Headers::Cold => &mut *self.frames,
        };
        for frame in frames.iter_mut() {
            frame.reset(port, packets.next_packet());
        }
        for burst in frames.chunks_mut(shape.burst) {
            self.pipeline.set_time(self.start.elapsed().as_nanos() as u64);
            let before = thread_allocations();
            process(&mut self.pipeline, &mut self.reader, burst, &mut self.verdicts);
            let allocated = thread_allocations() - before;
            let what = || format!("{} {}", packets.kind.name(), packets.direction.name());
            if allocated != 0 {
                return Err(format!("{}: {allocated} allocations in a burst", what()).into());
            }
            if let Some(wrong) = self.verdicts.iter().find(|verdict| **verdict != sent) {
                return Err(format!("{}: {wrong:?}", what()).into());
            }
        }
        Ok(())
    }
}
