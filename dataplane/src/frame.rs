//! A frame: one UMEM chunk that this process owns, with a head and a tail that move.
//!
//! Headers are removed with [`Frame::pull`] and put in front with [`Frame::push`], without copying
//! the payload: a chunk has headroom before the received octets. A [`Frame`] is the only handle to
//! its chunk; it comes from a ring or a free list and goes back to one by [`Frame::into_chunk`].
//!
//! Invariant of every `unsafe` block here: `chunk` lies wholly inside a region that lives as long
//! as the process's rings and workers, no two frames share a chunk, and `head <= tail <= size`.

use std::ptr::NonNull;
use std::slice;

use crate::port::PortId;

/// Octets of one chunk. Two fit a page, as AF_XDP wants.
pub const CHUNK_BYTES: usize = 2048;

/// Octets that AF_XDP leaves free at the start of a chunk before a received frame.
pub const HEADROOM_BYTES: usize = 256;

/// The largest frame that fits a chunk behind its headroom, octets.
pub const FRAME_BYTES_MAX: usize = CHUNK_BYTES - HEADROOM_BYTES;

/// A region cut into chunks, shared by all rings. Made by the port that maps it.
#[derive(Debug)]
pub struct Region {
    base: NonNull<u8>,
    chunks: u32,
}

// SAFETY: a region is only an address and a length; the octets are reached through frames, which
// are exclusive.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Describes `chunks` chunks of [`CHUNK_BYTES`] from `base` on.
    ///
    /// # Safety
    /// The memory is valid for reads and writes until the last frame and ring over it is gone, and
    /// nothing else in this process touches it.
    pub unsafe fn new(base: NonNull<u8>, chunks: u32) -> Self {
        Self { base, chunks }
    }

    /// Number of chunks.
    pub fn chunks(&self) -> u32 {
        self.chunks
    }

    /// Takes the frame that a descriptor names: `address` octets into the region, `length` long.
    /// `None` where the descriptor leads outside of a chunk.
    ///
    /// # Safety
    /// The chunk at `address` is owned by the caller: handed over by a ring or a free list, once.
    #[inline]
    pub unsafe fn frame(&self, address: u64, length: u32, port: PortId) -> Option<Frame> {
        let chunk = (address as usize) / CHUNK_BYTES;
        let head = (address as usize) % CHUNK_BYTES;
        let tail = head + length as usize;
        if chunk >= self.chunks as usize || tail > CHUNK_BYTES {
            return None;
        }
        // SAFETY: the chunk lies inside of the region, by the check above.
        let start = unsafe { self.base.add(chunk * CHUNK_BYTES) };
        Some(Frame { start, chunk: chunk as u32, head: head as u16, tail: tail as u16, port })
    }
}

/// The memory of one heap frame; aligned like a chunk of a UMEM.
#[derive(Clone)]
#[repr(align(2048))]
struct Chunk([u8; CHUNK_BYTES]);

/// An owned frame. 24 octets.
#[derive(Debug)]
pub struct Frame {
    start: NonNull<u8>,
    chunk: u32,
    head: u16,
    tail: u16,
    port: PortId,
}

// SAFETY: a frame is the only handle to its chunk.
unsafe impl Send for Frame {}

impl Frame {
    /// Allocates `count` frames on the heap, for tests and benchmarks. They are never freed, like
    /// the chunks of a UMEM, so that no frame can outlive its memory.
    pub fn allocate(count: usize) -> Vec<Self> {
        let memory: &'static mut [Chunk] = vec![Chunk([0; CHUNK_BYTES]); count].leak();
        let frame = |(index, chunk): (usize, &'static mut Chunk)| Self {
            start: NonNull::from(&mut chunk.0).cast(),
            chunk: index as u32,
            head: HEADROOM_BYTES as u16,
            tail: HEADROOM_BYTES as u16,
            port: PortId(0),
        };
        memory.iter_mut().enumerate().map(frame).collect()
    }

    /// Makes this a frame just received on `port`: `octets` behind the usual headroom.
    ///
    /// # Panics
    /// Where `octets` is longer than [`FRAME_BYTES_MAX`].
    pub fn reset(&mut self, port: PortId, octets: &[u8]) {
        assert!(octets.len() <= FRAME_BYTES_MAX);
        self.head = HEADROOM_BYTES as u16;
        self.tail = (HEADROOM_BYTES + octets.len()) as u16;
        self.port = port;
        self.octets_mut().copy_from_slice(octets);
    }

    /// Where it was received.
    #[inline]
    pub fn port(&self) -> PortId {
        self.port
    }

    /// Length, octets.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "no caller asks")]
    pub fn len(&self) -> usize {
        usize::from(self.tail - self.head)
    }

    /// The octets between head and tail.
    #[inline]
    pub fn octets(&self) -> &[u8] {
        // SAFETY: the module's invariant.
        unsafe { slice::from_raw_parts(self.start.add(self.head.into()).as_ptr(), self.len()) }
    }

    /// The octets between head and tail.
    #[inline]
    pub fn octets_mut(&mut self) -> &mut [u8] {
        // SAFETY: the module's invariant, and the frame is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.start.add(self.head.into()).as_ptr(), self.len()) }
    }

    /// Removes `count` octets at the front. Returns whether there were that many.
    #[inline]
    #[must_use]
    pub fn pull(&mut self, count: usize) -> bool {
        if count > self.len() {
            return false;
        }
        self.head += count as u16;
        true
    }

    /// Whether [`Frame::push`] has room for `count` octets.
    #[inline]
    pub fn has_headroom(&self, count: usize) -> bool {
        count <= usize::from(self.head)
    }

    /// Puts `count` octets in front, whose content is whatever was there. Returns whether the
    /// headroom sufficed.
    #[inline]
    #[must_use]
    pub fn push(&mut self, count: usize) -> bool {
        if count > usize::from(self.head) {
            return false;
        }
        self.head -= count as u16;
        true
    }

    /// Cuts or grows the frame to `length` octets. Returns whether the chunk holds that many.
    #[inline]
    #[must_use]
    pub fn set_len(&mut self, length: usize) -> bool {
        if usize::from(self.head) + length > CHUNK_BYTES {
            return false;
        }
        self.tail = self.head + length as u16;
        true
    }

    /// Cuts the frame to the `length` octets from `offset` on. Returns whether there were that many.
    #[inline]
    #[must_use]
    pub fn cut(&mut self, offset: usize, length: usize) -> bool {
        if offset + length > self.len() {
            return false;
        }
        self.head += offset as u16;
        self.tail = self.head + length as u16;
        true
    }

    /// Asks the CPU for the first two cache lines of the frame: tunnelled headers do not fit one.
    #[inline]
    pub fn prefetch(&self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch has no effect that the language sees; the first address is inside the
        // chunk, the second one is not reached by an offset that has to be.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let first = self.start.add(self.head.into()).as_ptr().cast::<i8>();
            _mm_prefetch(first, _MM_HINT_T0);
            _mm_prefetch(first.wrapping_add(64), _MM_HINT_T0);
        }
    }

    /// Asks the CPU for the cache line in front of the frame, which no NIC has written: where headers
    /// are put that were not there.
    #[inline]
    pub fn prefetch_headroom(&self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch has no effect that the language sees; the address is not reached by an
        // offset that has to be inside the chunk.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let head = self.start.add(self.head.into()).as_ptr().cast::<i8>();
            _mm_prefetch(head.wrapping_sub(1), _MM_HINT_T0);
        }
    }

    /// The frame's place in the region, for a transmit descriptor: octets from the region's start.
    #[inline]
    pub fn address(&self) -> u64 {
        u64::from(self.chunk) * CHUNK_BYTES as u64 + u64::from(self.head)
    }

    /// The chunk's number in the region: no two frames have the same.
    #[inline]
    pub fn chunk(&self) -> u32 {
        self.chunk
    }

    /// Gives the chunk up: its number in the region.
    #[inline]
    pub fn into_chunk(self) -> u32 {
        self.chunk
    }
}
