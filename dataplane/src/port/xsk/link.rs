//! Between two workers: frames one way, and for each of them an empty chunk the other way.
//!
//! The frames of a link stay in the one region of the process; only descriptors cross. Who takes a
//! frame gives a chunk of its own pool for it in the same step. So no pool ever grows or drains, and
//! what a worker misses is at most what lies on its links: [`Outlet::lent`], bounded by their size. One
//! that has no free chunk takes nothing, which is how a worker that is short of frames keeps the others
//! from giving it more.
//!
//! A frame that was taken is not yet sent. The taking side says how many of the frames taken have
//! left it for good ([`Inlet::set_drained`]), and by that the giving side knows when sending by another
//! worker overtakes nothing.

use std::sync::Arc;

use crossbeam::utils::CachePadded;

#[cfg(loom)]
use loom::sync::atomic::{AtomicU32, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU32, Ordering};

use super::ring::{self, Consumer, Descriptor, Producer};
use super::umem::Pool;
use crate::frame::Frame;
use crate::port::PortId;

/// The side that gives frames.
#[derive(Debug)]
pub struct Outlet {
    frames: Producer<Descriptor>,
    chunks: Consumer<u64>,
    drained: Arc<CachePadded<AtomicU32>>,
    /// Frames given so far, modulo 2^32.
    given: u32,
    /// Frames given for which no chunk has come back.
    lent: u32,
}

/// The side that takes them.
#[derive(Debug)]
pub struct Inlet {
    frames: Consumer<Descriptor>,
    chunks: Producer<u64>,
    drained: Arc<CachePadded<AtomicU32>>,
    /// Frames taken so far, modulo 2^32.
    taken: u32,
    /// What was said last to have left.
    said: u32,
}

/// Both sides of a link for at most `size` frames.
///
/// # Panics
/// Where `size` is not a power of two.
pub fn pair(size: u32) -> (Outlet, Inlet) {
    let (frames, taken) = ring::pair(size);
    let (chunks, returned) = ring::pair(size);
    let drained = Arc::new(CachePadded::new(AtomicU32::new(0)));
    let outlet =
        Outlet { frames, chunks: returned, drained: Arc::clone(&drained), given: 0, lent: 0 };
    (outlet, Inlet { frames: taken, chunks, drained, taken: 0, said: 0 })
}

impl Outlet {
    /// Gives a frame; it is seen after the next [`Outlet::submit`].
    ///
    /// # Errors
    /// The frame, where the link is full.
    #[inline]
    pub fn give(&mut self, frame: Frame) -> Result<(), Frame> {
        let descriptor = Descriptor {
            address: frame.address(),
            length: frame.len() as u32,
            options: frame.port().0.into(),
        };
        // No more than the way back has room for, so that every frame's chunk fits there.
        if self.lent == self.frames.size() || !self.frames.push(descriptor) {
            return Err(frame);
        }
        frame.into_chunk();
        self.given = self.given.wrapping_add(1);
        self.lent += 1;
        Ok(())
    }

    /// Shows the frames given to the other side. Returns how many were new.
    #[inline]
    pub fn submit(&mut self) -> u32 {
        self.frames.submit()
    }

    /// Takes the chunks that came back into the pool. Returns how many.
    #[inline]
    pub fn take_back(&mut self, pool: &mut Pool) -> u32 {
        while let Some(address) = self.chunks.pop() {
            pool.give_address(address);
        }
        let count = self.chunks.release();
        self.lent -= count;
        count
    }

    /// Frames that the pool misses.
    #[inline]
    pub fn lent(&self) -> u32 {
        self.lent
    }

    /// Frames given so far, modulo 2^32.
    pub fn given(&self) -> u32 {
        self.given
    }

    /// Whether all frames up to `given` have left the other side for good.
    pub fn has_drained(&self, given: u32) -> bool {
        // Acquire: the other side's frames left before what this side does next.
        let drained = self.drained.load(Ordering::Acquire);
        // At most the link's size and what the other side has on its rings are in between.
        drained.wrapping_sub(given) < u32::MAX / 2
    }
}

impl Inlet {
    /// Takes up to `most` frames, a free chunk of the pool for each. Returns how many.
    #[inline]
    pub fn take(&mut self, pool: &mut Pool, most: usize, frames: &mut Vec<Frame>) -> usize {
        let count = (self.frames.available() as usize).min(most).min(pool.free());
        for _ in 0..count {
            let Some(descriptor) = self.frames.pop() else { break };
            let Some(chunk) = pool.take_address() else { break };
            let returned = self.chunks.push(chunk);
            debug_assert!(returned, "more was given than the way back has room for");
            if let Some(frame) = pool.received(descriptor, PortId(descriptor.options as u16)) {
                frame.prefetch();
                frames.push(frame);
            }
        }
        self.frames.release();
        self.chunks.submit();
        self.taken = self.taken.wrapping_add(count as u32);
        count
    }

    /// Whether frames wait.
    #[inline]
    pub fn is_waiting(&mut self) -> bool {
        self.frames.available() > 0
    }

    /// Frames taken so far, modulo 2^32.
    pub fn taken(&self) -> u32 {
        self.taken
    }

    /// Whether [`Inlet::set_drained`] was told of every frame taken.
    pub fn is_drained(&self) -> bool {
        self.said == self.taken
    }

    /// Says that as many frames as were `taken` then have left this side for good.
    pub fn set_drained(&mut self, taken: u32) {
        self.said = taken;
        self.drained.store(taken, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::port::xsk::umem::{Memory, pools};

    const PORT: PortId = PortId(3);

    fn two_pools() -> (Pool, Pool) {
        let (_, mut pools) = pools(Memory::heap(16), &[8, 8]);
        let second = pools.remove(1);
        (pools.remove(0), second)
    }

    #[test]
    fn a_frame_crosses_as_it_is_and_a_chunk_comes_back() {
        let (mut here, mut there) = two_pools();
        let (mut outlet, mut inlet) = pair(4);
        let mut frame = here.take(PORT).unwrap();
        assert!(frame.pull(14) && frame.set_len(60));
        frame.octets_mut().fill(7);
        let address = frame.address();
        outlet.give(frame).unwrap();
        let mut frames = Vec::new();
        assert_eq!(inlet.take(&mut there, 64, &mut frames), 0, "not submitted yet");
        assert_eq!(outlet.submit(), 1);
        assert_eq!((outlet.lent(), here.free()), (1, 7));
        assert!(inlet.is_waiting());
        assert_eq!(inlet.take(&mut there, 64, &mut frames), 1);
        let frame = frames.pop().unwrap();
        assert_eq!((frame.port(), frame.address()), (PORT, address));
        assert_eq!(frame.octets(), [7; 60]);
        // Each has as many as before, once the frame is done with.
        assert_eq!(there.free(), 7);
        there.give(frame);
        assert_eq!(outlet.take_back(&mut here), 1);
        assert_eq!((outlet.lent(), here.free(), there.free()), (0, 8, 8));
    }

    #[test]
    fn a_full_link_gives_the_frame_back_until_its_chunks_are_taken_back() {
        let (mut here, mut there) = two_pools();
        let (mut outlet, mut inlet) = pair(2);
        for _ in 0..2 {
            outlet.give(here.take(PORT).unwrap()).unwrap();
        }
        outlet.submit();
        let frame = outlet.give(here.take(PORT).unwrap()).unwrap_err();
        assert_eq!(inlet.take(&mut there, 64, &mut Vec::new()), 2);
        // The frames are gone, but their chunks fill the way back.
        let frame = outlet.give(frame).unwrap_err();
        assert_eq!(outlet.take_back(&mut here), 2);
        outlet.give(frame).unwrap();
        assert_eq!((outlet.given(), outlet.lent()), (3, 1));
    }

    #[test]
    fn a_pool_without_free_chunks_takes_nothing() {
        let (mut here, mut there) = two_pools();
        let (mut outlet, mut inlet) = pair(8);
        for _ in 0..3 {
            outlet.give(here.take(PORT).unwrap()).unwrap();
        }
        outlet.submit();
        let mut kept: Vec<_> = std::iter::from_fn(|| there.take(PORT)).collect();
        let mut frames = Vec::new();
        assert_eq!(inlet.take(&mut there, 64, &mut frames), 0);
        there.give(kept.pop().unwrap());
        there.give(kept.pop().unwrap());
        assert_eq!(inlet.take(&mut there, 64, &mut frames), 2);
        assert_eq!((there.free(), frames.len()), (0, 2));
        assert!(inlet.is_waiting());
    }

    #[test]
    fn what_has_left_is_known_and_counts_past_the_wrap() {
        let (mut here, mut there) = two_pools();
        let (mut outlet, mut inlet) = pair(4);
        assert!(outlet.has_drained(0));
        outlet.give(here.take(PORT).unwrap()).unwrap();
        outlet.submit();
        assert!(!outlet.has_drained(outlet.given()));
        inlet.take(&mut there, 1, &mut Vec::new());
        assert!(!inlet.is_drained() && !outlet.has_drained(1));
        inlet.set_drained(inlet.taken());
        assert!(inlet.is_drained() && outlet.has_drained(1));
        inlet.set_drained(u32::MAX);
        assert!(outlet.has_drained(u32::MAX) && !outlet.has_drained(0));
        inlet.set_drained(1);
        assert!(outlet.has_drained(u32::MAX));
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::port::xsk::umem::{Memory, pools};

    const STACK_WORDS: usize = 0x8000;

    /// Every interleaving: a frame arrives once, whole; its chunk's substitute comes back once; and who
    /// sees that it has left sees all that was done to it.
    #[test]
    fn a_frame_crosses_once_and_what_has_left_is_seen() {
        loom::model(|| {
            // Chunks are made on the stack, and that of loom's first thread is small.
            let all = loom::thread::Builder::new().stack_size(STACK_WORDS).spawn(cross);
            all.unwrap().join().unwrap();
        });
    }

    fn cross() {
        let (_, mut pools) = pools(Memory::heap(4), &[2, 2]);
        let (mut there, mut here) = (pools.remove(1), pools.remove(0));
        let (mut outlet, mut inlet) = pair(2);
        let left = loom::sync::Arc::new(AtomicU32::new(0));
        let seen = loom::sync::Arc::clone(&left);
        let taker = loom::thread::spawn(move || {
            let mut frames = Vec::new();
            while inlet.take(&mut there, 2, &mut frames) == 0 {
                loom::thread::yield_now();
            }
            let frame = frames.pop().unwrap();
            assert_eq!(frame.octets(), [9; 60]);
            there.give(frame);
            left.store(1, Ordering::Relaxed);
            inlet.set_drained(inlet.taken());
            there.free()
        });
        let mut frame = here.take(PortId(0)).unwrap();
        assert!(frame.set_len(60));
        frame.octets_mut().fill(9);
        outlet.give(frame).unwrap();
        outlet.submit();
        while !outlet.has_drained(1) {
            loom::thread::yield_now();
        }
        assert_eq!(seen.load(Ordering::Relaxed), 1);
        assert_eq!(outlet.take_back(&mut here), 1);
        assert_eq!((here.free(), taker.join().unwrap()), (2, 2));
    }
}
