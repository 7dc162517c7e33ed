//! Frames on the heap, so that pipeline and worker logic run without a kernel: tests, benchmarks.

use crate::frame::{FRAME_BYTES_MAX, Frame};
use crate::port::PortId;

/// A pool of heap frames. The memory lives as long as the process, as a UMEM does.
#[derive(Debug)]
pub struct MemoryPool {
    free: Vec<Frame>,
}

impl MemoryPool {
    /// Allocates `count` frames.
    pub fn new(count: usize) -> Self {
        Self { free: Frame::allocate(count) }
    }

    /// Number of free frames.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// A frame with these octets, received on `port`. `None` where the pool is empty or `octets`
    /// longer than [`FRAME_BYTES_MAX`].
    pub fn receive(&mut self, port: PortId, octets: &[u8]) -> Option<Frame> {
        if octets.len() > FRAME_BYTES_MAX {
            return None;
        }
        let mut frame = self.free.pop()?;
        frame.reset(port, octets);
        Some(frame)
    }

    /// Takes a frame back.
    pub fn recycle(&mut self, frame: Frame) {
        self.free.push(frame);
    }
}
