//! The frames of all ports and queues: one UMEM, and each worker's share of it.
//!
//! Invariant: a chunk is in exactly one place: a pool's free list, a [`Frame`], the kernel's (fill,
//! receive, transmit or completion ring), or a [`super::link`] between two workers. A [`Pool`] starts
//! with chunks that no other pool has. What the kernel's rings return was put there by the same worker;
//! a link gives a chunk for each that it takes, so that a pool never has more than it started with.

use std::io;
use std::num::NonZeroU32;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use xsk_rs::config::{FrameSize, QueueSize, UmemConfig};

use super::ring::Descriptor;
use crate::frame::{CHUNK_BYTES, FRAME_BYTES_MAX, Frame, HEADROOM_BYTES, Region};
use crate::port::PortId;

/// The memory of all frames, and what keeps it mapped.
#[derive(Debug)]
pub struct Memory {
    region: Region,
    backing: Backing,
}

#[derive(Debug)]
enum Backing {
    Umem(xsk_rs::Umem),
    Heap(#[expect(dead_code, reason = "only owned")] Vec<Chunk>),
}

#[derive(Debug, Clone)]
#[repr(C, align(2048))]
struct Chunk([u8; CHUNK_BYTES]);

impl Memory {
    /// A UMEM of `frames` frames, on huge pages where there are enough of them. The ring sizes are
    /// those of the fill and completion ring of every socket.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn umem(frames: u32, fill_size: u32, completion_size: u32) -> io::Result<Arc<Self>> {
        let (umem, first) = Self::map(frames, fill_size, completion_size)?;
        let address = first.addr();
        // SAFETY: the descriptor is of this UMEM, and no socket uses it yet.
        let (_, octets) = unsafe { umem.frame(&first) };
        // The slice covers one frame at most, the region is more; the mapping's address is what both
        // start from, and it came from mmap.
        let start = octets.as_ptr().expose_provenance() - address;
        let base = NonNull::new(ptr::with_exposed_provenance_mut(start))
            .ok_or_else(|| io::Error::other("the UMEM has no address"))?;
        // SAFETY: xsk-rs mapped `frames` chunks there, and `backing` keeps them mapped; xsk-rs's own
        // way to the frames is not used from here on.
        let region = unsafe { Region::new(base, frames) };
        Ok(Arc::new(Self { region, backing: Backing::Umem(umem) }))
    }

    fn map(
        frames: u32,
        fill_size: u32,
        completion_size: u32,
    ) -> io::Result<(xsk_rs::Umem, xsk_rs::FrameDesc)> {
        let invalid = |error: &dyn std::fmt::Display| io::Error::other(error.to_string());
        let count = NonZeroU32::new(frames).ok_or(io::ErrorKind::InvalidInput)?;
        let config = UmemConfig::builder()
            .frame_size(FrameSize::new(CHUNK_BYTES as u32).map_err(|error| invalid(&error))?)
            .frame_headroom(0)
            .fill_queue_size(QueueSize::new(fill_size).map_err(|error| invalid(&error))?)
            .comp_queue_size(QueueSize::new(completion_size).map_err(|error| invalid(&error))?)
            .build()
            .map_err(|error| invalid(&error))?;
        let (umem, descriptors) = match xsk_rs::Umem::new(config, count, true) {
            Ok(made) => made,
            Err(error) => {
                tracing::debug!(%error, frames, "no huge pages for the UMEM: using small ones");
                xsk_rs::Umem::new(config, count, false).map_err(into_io)?
            }
        };
        let first = descriptors.into_iter().next().ok_or(io::ErrorKind::InvalidData)?;
        Ok((umem, first))
    }

    /// Frames on the heap, for tests.
    pub fn heap(frames: u32) -> Arc<Self> {
        let mut chunks = vec![Chunk([0xa5; CHUNK_BYTES]); frames as usize];
        let base = NonNull::from(chunks.as_mut_slice()).cast();
        // SAFETY: `backing` keeps the chunks, and does nothing else with them.
        let region = unsafe { Region::new(base, frames) };
        Arc::new(Self { region, backing: Backing::Heap(chunks) })
    }

    /// The UMEM that sockets are made on; `None` on the heap.
    pub(super) fn as_umem(&self) -> Option<&xsk_rs::Umem> {
        match &self.backing {
            Backing::Umem(umem) => Some(umem),
            Backing::Heap(_) => None,
        }
    }

    /// Writes `octets` at `address`, as the kernel does that received them. Only on the heap.
    /// Returns whether they fit.
    pub(super) fn fill_chunk(&self, address: u64, octets: &[u8]) -> bool {
        assert!(matches!(self.backing, Backing::Heap(_)), "the kernel fills a UMEM");
        // SAFETY: on the heap a test plays the kernel, and has taken the chunk from the fill ring.
        let frame = unsafe { self.region.frame(address, octets.len() as u32, PortId(0)) };
        frame.is_some_and(|mut frame| {
            frame.octets_mut().copy_from_slice(octets);
            true
        })
    }

    /// Reads what was put on the transmit ring. Only on the heap.
    pub(super) fn read_chunk(&self, address: u64, length: u32) -> Option<Vec<u8>> {
        assert!(matches!(self.backing, Backing::Heap(_)), "the kernel sends from a UMEM");
        // SAFETY: on the heap a test plays the kernel, and has taken the chunk from the transmit
        // ring.
        let frame = unsafe { self.region.frame(address, length, PortId(0)) };
        frame.map(|frame| frame.octets().to_vec())
    }

    /// Number of frames.
    pub fn frames(&self) -> u32 {
        self.region.chunks()
    }

    /// Divides all frames into pools, one for each share: that many frames.
    ///
    /// # Panics
    /// Where the shares are together more than there are frames.
    ///
    /// # Safety
    /// Called once for a memory: no chunk may be in two pools.
    unsafe fn pools(self: &Arc<Self>, shares: &[u32]) -> Vec<Pool> {
        assert!(shares.iter().map(|share| u64::from(*share)).sum::<u64>() <= self.frames().into());
        let mut next = 0;
        let mut pool = |share: &u32| {
            let chunks = next..next + share;
            next += share;
            // From the end, so that the first frames are taken first.
            Pool { memory: Arc::clone(self), free: chunks.rev().collect(), capacity: *share }
        };
        shares.iter().map(&mut pool).collect()
    }
}

/// Divides a new memory into pools: `shares` frames each.
///
/// # Panics
/// Where `memory` is already shared, or has fewer frames.
pub fn pools(memory: Arc<Memory>, shares: &[u32]) -> (Arc<Memory>, Vec<Pool>) {
    assert_eq!(Arc::strong_count(&memory), 1, "a memory is divided once");
    // SAFETY: pools hold a reference, so none exists yet.
    let pools = unsafe { memory.pools(shares) };
    (memory, pools)
}

fn into_io(error: impl std::error::Error) -> io::Error {
    match error.source().and_then(|source| source.downcast_ref::<io::Error>()) {
        Some(source) => match source.raw_os_error() {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::Error::other(source.to_string()),
        },
        None => io::Error::other(error.to_string()),
    }
}

/// The error that a socket or UMEM of xsk-rs failed with.
pub(super) fn error_of(error: impl std::error::Error) -> io::Error {
    into_io(error)
}

/// A worker's frames that are free.
#[derive(Debug)]
pub struct Pool {
    memory: Arc<Memory>,
    free: Vec<u32>,
    /// Frames it started with.
    capacity: u32,
}

impl Pool {
    /// Number of free frames.
    #[inline]
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Number of frames that it owns, free or on their way.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Takes a frame to be filled: head behind the headroom, as long as it can be.
    #[inline]
    pub fn take(&mut self, port: PortId) -> Option<Frame> {
        let chunk = self.free.pop()?;
        let address = u64::from(chunk) * CHUNK_BYTES as u64 + HEADROOM_BYTES as u64;
        // SAFETY: the chunk was in the free list and is not any more.
        unsafe { self.memory.region.frame(address, FRAME_BYTES_MAX as u32, port) }
    }

    /// Takes a frame back.
    #[inline]
    pub fn give(&mut self, frame: Frame) {
        self.put(frame.into_chunk());
    }

    /// Takes a chunk for the fill ring.
    #[inline]
    pub(super) fn take_address(&mut self) -> Option<u64> {
        self.free.pop().map(|chunk| u64::from(chunk) * CHUNK_BYTES as u64)
    }

    /// Takes back a chunk that a ring returned: `address` anywhere inside of it. One outside of the
    /// region is nobody's; the kernel makes none, and the free list takes none.
    #[inline]
    pub(super) fn give_address(&mut self, address: u64) {
        match u32::try_from(address / CHUNK_BYTES as u64) {
            Ok(chunk) if chunk < self.memory.frames() => self.put(chunk),
            _ => outside(address),
        }
    }

    /// The frame that a receive ring or another worker handed over. A descriptor that leads outside of a chunk
    /// gives none, and its chunk goes back to the free list.
    #[inline]
    pub(super) fn received(&mut self, descriptor: Descriptor, port: PortId) -> Option<Frame> {
        let Descriptor { address, length, .. } = descriptor;
        // SAFETY: the kernel hands over a chunk that it had from our fill ring, once; another worker
        // one that was its frame's, once.
        let frame = unsafe { self.memory.region.frame(address, length, port) };
        if frame.is_none() {
            self.give_address(address);
        }
        frame
    }

    #[inline]
    fn put(&mut self, chunk: u32) {
        debug_assert!(self.free.len() < self.capacity as usize, "a chunk given back twice");
        // The capacity was allocated at start and is never exceeded, so this does not allocate.
        self.free.push(chunk);
    }
}

#[cold]
fn outside(address: u64) {
    tracing::error!(address, "the kernel returned an address outside of the region");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(frames: u32) -> Pool {
        let (_, mut pools) = pools(Memory::heap(frames), &[frames]);
        pools.remove(0)
    }

    #[test]
    fn pools_share_no_chunk() {
        let (_memory, mut pools) = pools(Memory::heap(8), &[3, 5]);
        let mut chunks: Vec<u32> = Vec::new();
        for pool in &mut pools {
            while let Some(frame) = pool.take(PortId(0)) {
                chunks.push(frame.into_chunk());
            }
        }
        chunks.sort_unstable();
        assert_eq!(chunks, (0..8).collect::<Vec<_>>());
    }

    #[test]
    #[should_panic(expected = "divided once")]
    fn a_memory_is_not_divided_twice() {
        let (memory, _pools) = pools(Memory::heap(8), &[8]);
        pools(memory, &[8]);
    }

    #[test]
    #[should_panic(expected = "shares")]
    fn shares_are_not_more_than_there_is() {
        pools(Memory::heap(8), &[4, 5]);
    }

    #[test]
    fn a_frame_taken_has_headroom_and_is_as_long_as_it_can_be() {
        let mut pool = pool(1);
        let mut frame = pool.take(PortId(2)).unwrap();
        assert_eq!(frame.port(), PortId(2));
        assert_eq!(frame.len(), FRAME_BYTES_MAX);
        assert!(frame.push(HEADROOM_BYTES));
        assert!(!frame.push(1));
        assert_eq!(pool.free(), 0);
        assert!(pool.take(PortId(2)).is_none());
        pool.give(frame);
        assert_eq!(pool.free(), 1);
    }

    #[test]
    fn addresses_anywhere_in_a_chunk_give_that_chunk_back() {
        let mut pool = pool(4);
        let first = pool.take_address().unwrap();
        let second = pool.take_address().unwrap();
        assert_eq!((first, second), (0, 2048));
        pool.give_address(second + 300);
        assert_eq!(pool.take_address(), Some(2048));
    }

    #[test]
    fn addresses_outside_of_the_region_are_nobodys() {
        let mut pool = pool(2);
        let octets = 2 * CHUNK_BYTES as u64;
        for address in [octets, octets + (CHUNK_BYTES as u64) * u64::from(u32::MAX), u64::MAX] {
            pool.give_address(address);
            let descriptor = Descriptor { address, length: 60, options: 0 };
            assert!(pool.received(descriptor, PortId(0)).is_none(), "{address}");
            assert_eq!(pool.free(), 2);
        }
    }

    #[test]
    fn a_descriptor_that_leaves_its_chunk_gives_no_frame_and_loses_none() {
        let mut pool = pool(2);
        let address = pool.take_address().unwrap() + 256;
        let fits = Descriptor { address, length: FRAME_BYTES_MAX as u32, options: 0 };
        let frame = pool.received(fits, PortId(0)).unwrap();
        assert_eq!(frame.len(), FRAME_BYTES_MAX);
        let address = frame.address();
        frame.into_chunk();
        let too_long = Descriptor { address, length: FRAME_BYTES_MAX as u32 + 1, options: 0 };
        assert!(pool.received(too_long, PortId(0)).is_none());
        assert_eq!(pool.free(), 2);
    }
}
