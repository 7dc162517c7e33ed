//! The rings between this process and the kernel, and between workers: single producer, single consumer, on shared
//! memory, with the indices of the other side cached.
//!
//! A ring is a power of two of cells and two free-running 32-bit indices. What lies between the
//! consumer's and the producer's index is filled. Each side writes its own index with release order
//! after it is done with the cells, and reads the other's with acquire order before it touches
//! them. A [`Producer`] or [`Consumer`] lets its side see many cells at once: cells pushed are
//! visible after [`Producer::submit`], cells popped are given back by [`Consumer::release`].
//!
//! Invariants that the `unsafe` blocks rely on, set up by [`Memory`]:
//! the three words and `size` cells are valid for as long as `_owner` lives; `size` is a power of
//! two, so that `index & mask` names a cell; a cell between the indices belongs to the consumer and
//! every other one to the producer, and there is one of each (the kernel is the other one).

use std::any::Any;
use std::ptr::NonNull;
use std::sync::Arc;

use crossbeam::utils::CachePadded;
use sync::{AtomicU32, Cell, Ordering};

/// The kernel sleeps and wants a system call to go on (XDP_RING_NEED_WAKEUP).
const NEED_WAKEUP: u32 = 1;

/// An entry of a receive or transmit ring, as the kernel lays it out (struct xdp_desc).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Descriptor {
    /// Octets from the start of the region.
    pub address: u64,
    /// Length of the frame, octets.
    pub length: u32,
    /// 0: one descriptor is one frame, without metadata.
    pub options: u32,
}

/// Atomics and cells: the real ones, or those of loom's scheduler.
#[cfg(not(loom))]
mod sync {
    pub use std::sync::atomic::{AtomicU32, Ordering};

    use std::cell::UnsafeCell;

    /// One cell; laid out as its content.
    #[derive(Debug, Default)]
    #[repr(transparent)]
    pub struct Cell<T>(UnsafeCell<T>);

    impl<T: Copy> Cell<T> {
        /// # Safety
        /// The cell belongs to the caller, and holds a value.
        #[inline]
        pub unsafe fn read(&self) -> T {
            // SAFETY: by this function's contract nobody writes it.
            unsafe { self.0.get().read() }
        }

        /// # Safety
        /// The cell belongs to the caller.
        #[inline]
        pub unsafe fn write(&self, value: T) {
            // SAFETY: by this function's contract nobody else reaches it.
            unsafe { self.0.get().write(value) }
        }
    }
}

#[cfg(loom)]
mod sync {
    pub use loom::sync::atomic::{AtomicU32, Ordering};

    use loom::cell::UnsafeCell;

    #[derive(Debug, Default)]
    pub struct Cell<T>(UnsafeCell<T>);

    impl<T: Copy> Cell<T> {
        /// # Safety
        /// The cell belongs to the caller, and holds a value.
        pub unsafe fn read(&self) -> T {
            // SAFETY: by this function's contract nobody writes it.
            self.0.with(|cell| unsafe { cell.read() })
        }

        /// # Safety
        /// The cell belongs to the caller.
        pub unsafe fn write(&self, value: T) {
            // SAFETY: by this function's contract nobody else reaches it.
            self.0.with_mut(|cell| unsafe { cell.write(value) });
        }
    }
}

/// Where the words and cells of a ring in a mapping are, octets from its start.
#[derive(Debug, Clone, Copy)]
pub struct Offsets {
    /// The producer's index.
    pub producer: usize,
    /// The consumer's index.
    pub consumer: usize,
    /// The flags.
    pub flags: usize,
    /// The first cell.
    pub cells: usize,
}

/// Shared memory of one ring, and what keeps it alive.
#[derive(Debug)]
struct Memory<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    cells: NonNull<Cell<T>>,
    size: u32,
    _owner: Arc<dyn Any + Send + Sync>,
}

// SAFETY: the words are atomics and the cells are handed over through them, so one side of a ring
// may live on any thread.
unsafe impl<T: Copy + Send> Send for Memory<T> {}

impl<T: Copy> Memory<T> {
    /// # Safety
    /// `base` leads to a ring of `size` cells laid out as `offsets` say, valid as long as `owner`.
    unsafe fn mapped(
        base: NonNull<u8>,
        offsets: Offsets,
        size: u32,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        assert!(size.is_power_of_two());
        // SAFETY: by this function's contract all four lie inside of the mapping.
        unsafe {
            Self {
                producer: base.add(offsets.producer).cast(),
                consumer: base.add(offsets.consumer).cast(),
                flags: base.add(offsets.flags).cast(),
                cells: base.add(offsets.cells).cast(),
                size,
                _owner: owner,
            }
        }
    }

    fn heap(ring: &Arc<Heap<T>>) -> Self
    where
        T: Send + 'static,
    {
        Self {
            producer: NonNull::from(&*ring.producer),
            consumer: NonNull::from(&*ring.consumer),
            flags: NonNull::from(&*ring.flags),
            cells: NonNull::from(&*ring.cells).cast(),
            size: ring.cells.len() as u32,
            _owner: Arc::clone(ring) as Arc<dyn Any + Send + Sync>,
        }
    }

    #[inline]
    fn producer(&self) -> &AtomicU32 {
        // SAFETY: the module's invariant: valid while `_owner` lives.
        unsafe { self.producer.as_ref() }
    }

    #[inline]
    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { self.consumer.as_ref() }
    }

    #[inline]
    fn needs_wakeup(&self) -> bool {
        // SAFETY: as above.
        unsafe { self.flags.as_ref() }.load(Ordering::Relaxed) & NEED_WAKEUP != 0
    }

    #[inline]
    fn cell(&self, index: u32) -> &Cell<T> {
        // SAFETY: the module's invariant: `index & mask` is below `size`.
        unsafe { self.cells.add((index & (self.size - 1)) as usize).as_ref() }
    }
}

/// The side that fills cells.
#[derive(Debug)]
pub struct Producer<T> {
    memory: Memory<T>,
    /// The next cell to fill.
    next: u32,
    /// Where the other side may read up to.
    submitted: u32,
    /// The first cell that may not be filled: the consumer's index as last seen, plus the size.
    limit: u32,
}

impl<T: Copy> Producer<T> {
    /// The producing side of a ring in a mapping.
    ///
    /// # Safety
    /// `base` leads to a ring of `size` cells laid out as `offsets` say, valid as long as `owner`,
    /// and this process has no other producer on it.
    pub unsafe fn mapped(
        base: NonNull<u8>,
        offsets: Offsets,
        size: u32,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        // SAFETY: by this function's contract.
        Self::new(unsafe { Memory::mapped(base, offsets, size, owner) })
    }

    fn new(memory: Memory<T>) -> Self {
        let next = memory.producer().load(Ordering::Relaxed);
        Self { memory, next, submitted: next, limit: next }
    }

    /// Fills the next cell. Returns whether there was one.
    #[inline]
    #[must_use]
    pub fn push(&mut self, value: T) -> bool {
        if self.next == self.limit && self.refresh() == 0 {
            return false;
        }
        // SAFETY: the cell is past the consumer's reach: `next` is before `limit`.
        unsafe { self.memory.cell(self.next).write(value) };
        self.next = self.next.wrapping_add(1);
        true
    }

    /// Cells that may be filled now; asks the other side only where fewer than `wanted` are known.
    #[inline]
    pub fn free(&mut self, wanted: u32) -> u32 {
        let known = self.limit.wrapping_sub(self.next);
        if known >= wanted { known } else { self.refresh() }
    }

    /// Shows the cells filled to the other side. Returns how many were new.
    #[inline]
    pub fn submit(&mut self) -> u32 {
        let count = self.next.wrapping_sub(self.submitted);
        if count > 0 {
            self.memory.producer().store(self.next, Ordering::Release);
            self.submitted = self.next;
        }
        count
    }

    /// Whether the kernel wants a system call before it goes on.
    #[inline]
    pub fn needs_wakeup(&self) -> bool {
        self.memory.needs_wakeup()
    }

    /// Number of cells.
    pub fn size(&self) -> u32 {
        self.memory.size
    }

    #[inline]
    fn refresh(&mut self) -> u32 {
        let consumer = self.memory.consumer().load(Ordering::Acquire);
        let filled = self.next.wrapping_sub(consumer);
        debug_assert!(filled <= self.memory.size, "the consumer's index ran past the producer's");
        let free = self.memory.size.saturating_sub(filled);
        self.limit = self.next.wrapping_add(free);
        free
    }
}

/// The side that empties cells.
#[derive(Debug)]
pub struct Consumer<T> {
    memory: Memory<T>,
    /// The next cell to read.
    next: u32,
    /// Where the other side may fill up to.
    released: u32,
    /// The producer's index as last seen.
    limit: u32,
}

impl<T: Copy> Consumer<T> {
    /// The consuming side of a ring in a mapping.
    ///
    /// # Safety
    /// `base` leads to a ring of `size` cells laid out as `offsets` say, valid as long as `owner`,
    /// and this process has no other consumer on it.
    pub unsafe fn mapped(
        base: NonNull<u8>,
        offsets: Offsets,
        size: u32,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        // SAFETY: by this function's contract.
        Self::new(unsafe { Memory::mapped(base, offsets, size, owner) })
    }

    fn new(memory: Memory<T>) -> Self {
        let next = memory.consumer().load(Ordering::Relaxed);
        Self { memory, next, released: next, limit: next }
    }

    /// Takes the next value.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.next == self.limit && self.refresh() == 0 {
            return None;
        }
        // SAFETY: the producer has filled the cell and does not touch it before it is released.
        let value = unsafe { self.memory.cell(self.next).read() };
        self.next = self.next.wrapping_add(1);
        Some(value)
    }

    /// Gives the cells read back to the other side. Returns how many.
    #[inline]
    pub fn release(&mut self) -> u32 {
        let count = self.next.wrapping_sub(self.released);
        if count > 0 {
            self.memory.consumer().store(self.next, Ordering::Release);
            self.released = self.next;
        }
        count
    }

    /// Values that wait now.
    #[inline]
    pub fn available(&mut self) -> u32 {
        self.refresh()
    }

    /// Number of cells.
    pub fn size(&self) -> u32 {
        self.memory.size
    }

    #[inline]
    fn refresh(&mut self) -> u32 {
        let producer = self.memory.producer().load(Ordering::Acquire);
        let available = producer.wrapping_sub(self.next);
        debug_assert!(available <= self.memory.size, "the producer's index ran too far");
        let available = available.min(self.memory.size);
        self.limit = self.next.wrapping_add(available);
        available
    }
}

/// A ring on the heap. Each side's index is on a line of its own: the sides may be on two cores.
#[derive(Debug)]
struct Heap<T> {
    producer: CachePadded<AtomicU32>,
    consumer: CachePadded<AtomicU32>,
    flags: CachePadded<AtomicU32>,
    cells: Box<[Cell<T>]>,
}

// SAFETY: as for `Memory`: cells are handed over through the atomics.
unsafe impl<T: Send> Sync for Heap<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Heap<T> {}

/// Both sides of a ring on the heap, between two workers; and for tests and benchmarks, where one side
/// plays the kernel.
///
/// # Panics
/// Where `size` is not a power of two.
pub fn pair<T: Copy + Default + Send + 'static>(size: u32) -> (Producer<T>, Consumer<T>) {
    pair_at(size, 0)
}

/// As [`pair`], the indices starting at `index`, so that tests reach the wrap.
fn pair_at<T: Copy + Default + Send + 'static>(
    size: u32,
    index: u32,
) -> (Producer<T>, Consumer<T>) {
    assert!(size.is_power_of_two());
    let ring = Arc::new(Heap {
        producer: CachePadded::new(AtomicU32::new(index)),
        consumer: CachePadded::new(AtomicU32::new(index)),
        flags: CachePadded::new(AtomicU32::new(NEED_WAKEUP)),
        cells: (0..size).map(|_| Cell::default()).collect(),
    });
    (Producer::new(Memory::heap(&ring)), Consumer::new(Memory::heap(&ring)))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cells_pushed_are_seen_after_submit_only() {
        let (mut producer, mut consumer) = pair::<u64>(4);
        assert!(producer.push(7));
        assert_eq!(consumer.pop(), None);
        assert_eq!(producer.submit(), 1);
        assert_eq!(consumer.available(), 1);
        assert_eq!(consumer.pop(), Some(7));
        assert_eq!(consumer.pop(), None);
    }

    #[test]
    fn a_full_ring_takes_one_more_after_release_only() {
        let (mut producer, mut consumer) = pair::<u64>(4);
        for value in 0..4 {
            assert!(producer.push(value));
        }
        assert!(!producer.push(4));
        assert_eq!(producer.submit(), 4);
        assert_eq!(consumer.pop(), Some(0));
        assert!(!producer.push(4));
        assert_eq!(consumer.release(), 1);
        assert_eq!(producer.free(1), 1);
        assert!(producer.push(4));
        assert!(!producer.push(5));
    }

    #[test]
    fn submit_and_release_of_nothing_count_nothing() {
        let (mut producer, mut consumer) = pair::<u64>(2);
        assert_eq!(producer.submit(), 0);
        assert_eq!(consumer.release(), 0);
    }

    #[test]
    fn the_free_count_asks_only_when_it_must() {
        let (mut producer, mut consumer) = pair::<u64>(4);
        assert_eq!(producer.free(1), 4);
        assert!(producer.push(0) && producer.push(1));
        producer.submit();
        consumer.pop();
        consumer.release();
        assert_eq!(producer.free(2), 2);
        assert_eq!(producer.free(3), 3);
    }

    #[test]
    fn a_new_ring_wants_a_wake_up() {
        let (producer, _consumer) = pair::<u64>(2);
        assert!(producer.needs_wakeup());
    }

    #[test]
    fn values_cross_threads_in_order() {
        const COUNT: u64 = 100_000;
        let (mut producer, mut consumer) = pair_at::<u64>(8, u32::MAX - 100);
        let sender = std::thread::spawn(move || {
            for value in 0..COUNT {
                while !producer.push(value) {
                    std::thread::yield_now();
                }
                producer.submit();
            }
        });
        for expected in 0..COUNT {
            let value = loop {
                match consumer.pop() {
                    Some(value) => break value,
                    None => std::thread::yield_now(),
                }
            };
            assert_eq!(value, expected);
            consumer.release();
        }
        sender.join().unwrap();
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(u8),
        Submit,
        Pop(u8),
        Release,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (1u8..10).prop_map(Step::Push),
            Just(Step::Submit),
            (1u8..10).prop_map(Step::Pop),
            Just(Step::Release),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        /// The ring is a bounded queue in which values become visible and cells free in batches,
        /// wherever its indices stand.
        #[test]
        fn behaves_like_a_bounded_queue(
            start in prop_oneof![Just(0), Just(u32::MAX), Just(u32::MAX - 13), any::<u32>()],
            steps in steps(),
        ) {
            const SIZE: usize = 8;
            let (mut producer, mut consumer) = pair_at::<u64>(SIZE as u32, start);
            let (mut hidden, mut visible) = (VecDeque::new(), VecDeque::new());
            let (mut taken, mut value) = (0usize, 0u64);
            for step in steps {
                match step {
                    Step::Push(count) => for _ in 0..count {
                        let fits = hidden.len() + visible.len() + taken < SIZE;
                        prop_assert_eq!(producer.push(value), fits);
                        if fits {
                            hidden.push_back(value);
                            value += 1;
                        }
                    },
                    Step::Submit => {
                        prop_assert_eq!(producer.submit() as usize, hidden.len());
                        visible.append(&mut hidden);
                    }
                    Step::Pop(count) => for _ in 0..count {
                        let expected = visible.pop_front();
                        taken += usize::from(expected.is_some());
                        prop_assert_eq!(consumer.pop(), expected);
                    },
                    Step::Release => {
                        prop_assert_eq!(consumer.release() as usize, taken);
                        taken = 0;
                    }
                }
            }
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;

    /// Every interleaving: values arrive once, in order, and no cell is written while it is read.
    #[test]
    fn values_cross_threads_in_order() {
        loom::model(|| {
            let (mut producer, mut consumer) = pair_at::<u64>(2, u32::MAX);
            let sender = loom::thread::spawn(move || {
                for value in 0..3 {
                    while !producer.push(value) {
                        loom::thread::yield_now();
                    }
                    producer.submit();
                }
            });
            for expected in 0..3 {
                let value = loop {
                    match consumer.pop() {
                        Some(value) => break value,
                        None => loom::thread::yield_now(),
                    }
                };
                assert_eq!(value, expected);
                consumer.release();
            }
            sender.join().unwrap();
        });
    }

    /// A batch is submitted as a whole: a consumer that sees its last value sees all of it.
    #[test]
    fn a_batch_is_seen_whole() {
        loom::model(|| {
            let (mut producer, mut consumer) = pair_at::<u64>(4, 0);
            let sender = loom::thread::spawn(move || {
                assert!(producer.push(1) && producer.push(2));
                producer.submit();
            });
            match consumer.available() {
                0 => {}
                2 => {
                    assert_eq!(consumer.pop(), Some(1));
                    assert_eq!(consumer.pop(), Some(2));
                }
                other => panic!("saw {other} of 2"),
            }
            sender.join().unwrap();
        });
    }
}
