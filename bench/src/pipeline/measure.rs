//! One cell: one direction, one shape of bursts, over tables that are there.

use std::error::Error;
use std::time::Duration;

use serde::Serialize;
use xlns_dataplane::frame::Frame;
use xlns_dataplane::pipeline::Pipeline;
use xlns_dataplane::port::PortId;
use xlns_dataplane::verdict::Verdict;

use super::load::{Direction, Reading};
use crate::allocation::allocations;
use crate::clock;

/// Frames of the cold row: 64 MiB of chunks of 2 KiB.
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
    /// Octets of the inner IP packet.
    pub(super) inner_bytes: u16,
}

/// How long to measure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) windows: u32,
    pub(super) window: Duration,
    pub(super) ticks_per_nanosecond: f64,
}

/// What one direction costs at one number of sessions.
#[derive(Debug, Serialize)]
pub(super) struct Cell {
    pub(super) direction: Direction,
    pub(super) sessions: u32,
    /// Time-stamp counter.
    pub(super) clk_per_packet: f64,
    pub(super) ns_per_packet: f64,
    /// The middle of all windows: how busy the machine was beside the best one.
    pub(super) median_ns_per_packet: f64,
    /// Allocations while bursts were processed.
    pub(super) allocations: u64,
    #[serde(flatten)]
    pub(super) shape: Shape,
}

/// Frames for all cells: their memory is never given back.
pub(super) fn frames() -> Vec<Frame> {
    Frame::allocate(COLD_FRAMES)
}

/// Measures a cell: the best window, as noise only ever adds.
pub(super) fn measure(
    load: &Reading,
    frames: &mut [Frame],
    direction: Direction,
    shape: Shape,
    plan: &Plan,
) -> Result<Cell, Box<dyn Error>> {
    let mut reader = load.tables.register(0);
    let mut pipeline = Pipeline::new(load.tables.clone(), 0);
    let frames = match shape.headers {
        Headers::Warm => frames.get_mut(..shape.burst).ok_or("the burst is too large")?,
        Headers::Cold => frames,
    };
    let mut verdicts = Vec::with_capacity(shape.burst);
    let mut packets = load.packets(direction, shape.inner_bytes);
    let port = PortId(packets.port());
    let sent = Verdict::Transmit(PortId(direction.leaves_by()));
    let mut windows = Vec::new();
    let mut allocated = 0;
    for _ in 0..plan.windows {
        let (mut ticks, mut packets_done) = (0, 0);
        let start = clock::now();
        while start.elapsed() < plan.window {
            for frame in frames.iter_mut() {
                frame.reset(port, packets.next_packet());
            }
            for burst in frames.chunks_mut(shape.burst) {
                let allocations_before = allocations();
                let first = clock::ticks();
                pipeline.process(&reader.guard(), burst, &mut verdicts);
                ticks += clock::ticks() - first;
                allocated += allocations() - allocations_before;
                if let Some(wrong) = verdicts.iter().find(|verdict| **verdict != sent) {
                    return Err(format!("{direction:?}: {wrong:?}").into());
                }
            }
            packets_done += frames.len();
        }
        windows.push(ticks as f64 / packets_done as f64);
    }
    windows.sort_by(f64::total_cmp);
    let best = windows.first().copied().unwrap_or(f64::NAN);
    let median = windows.get(windows.len() / 2).copied().unwrap_or(f64::NAN);
    Ok(Cell {
        direction,
        sessions: load.sessions,
        clk_per_packet: best,
        ns_per_packet: best / plan.ticks_per_nanosecond,
        median_ns_per_packet: median / plan.ticks_per_nanosecond,
        allocations: allocated,
        shape,
    })
}
