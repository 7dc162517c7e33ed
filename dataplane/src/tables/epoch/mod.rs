//! When memory that workers may still be reading can be used again.
//!
//! Quiescent states, not reference counts: between two batches a worker holds nothing of the
//! tables, and says so by announcing the global epoch that it saw. The writer first makes an entry
//! unreachable, then notes the epoch, and uses the entry again once every worker has announced a
//! later one. A worker that sleeps is offline and keeps nobody waiting.
//!
//! Invariants, shown by the loom tests below:
//! - A worker that announced an epoch after the note sees the entry as unreachable.
//! - A worker that comes back online either is seen by the writer, or sees all that the writer did
//!   before it looked: two sequentially consistent fences, paid once per sleep.

pub(crate) mod arena;

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering, fence};

use crossbeam::utils::CachePadded;

/// What a sleeping worker announces: later than any epoch.
const OFFLINE: u64 = u64::MAX;

/// The global epoch and what each worker announced last.
#[derive(Debug)]
pub(crate) struct Epochs {
    global: CachePadded<AtomicU64>,
    announced: Box<[CachePadded<AtomicU64>]>,
}

impl Epochs {
    /// All workers offline.
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            global: CachePadded::new(AtomicU64::new(1)),
            announced: (0..workers).map(|_| CachePadded::new(AtomicU64::new(OFFLINE))).collect(),
        }
    }

    /// Writer: the epoch to note for an entry that has just been made unreachable.
    pub(crate) fn current(&self) -> u64 {
        self.global.load(Ordering::Relaxed)
    }

    /// Writer: begins a new epoch.
    pub(crate) fn advance(&self) {
        // Release: who sees the new epoch sees what was made unreachable in the old one.
        self.global.store(self.current() + 1, Ordering::Release);
    }

    /// Writer: entries noted with an epoch below the result are held by no worker.
    pub(crate) fn passed(&self) -> u64 {
        // Pairs with the fence in `Announcer::announce`, see the module's second invariant.
        fence(Ordering::SeqCst);
        // Acquire: what the worker read before it announced was read before we write again.
        self.announced
            .iter()
            .map(|announced| announced.load(Ordering::Acquire))
            .min()
            .unwrap_or(OFFLINE)
    }
}

/// One worker's side; not shared.
#[derive(Debug)]
pub(crate) struct Announcer {
    worker: usize,
    last: u64,
}

impl Announcer {
    /// Offline.
    pub(crate) fn new(worker: usize) -> Self {
        Self { worker, last: OFFLINE }
    }

    /// A quiescent point: nothing that was read before is held.
    #[inline]
    pub(crate) fn announce(&mut self, epochs: &Epochs) {
        let global = epochs.global.load(Ordering::Acquire);
        if global == self.last {
            return;
        }
        if self.last == OFFLINE {
            self.come_back(epochs, global);
        } else {
            // Release: the reads before are over when the writer sees this.
            epochs.announced[self.worker].store(global, Ordering::Release);
        }
        self.last = global;
    }

    #[cold]
    fn come_back(&self, epochs: &Epochs, global: u64) {
        // Release, as the writer may see this value and not the one of `park` before it: the reads
        // before the sleep are over then, too.
        epochs.announced[self.worker].store(global, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    /// Nothing is held until the next [`Announcer::announce`].
    pub(crate) fn park(&mut self, epochs: &Epochs) {
        self.last = OFFLINE;
        epochs.announced[self.worker].store(OFFLINE, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn waits_for_the_slowest_worker_that_is_awake() {
        let epochs = Epochs::new(3);
        let (mut a, mut b) = (Announcer::new(0), Announcer::new(1));
        assert_eq!(epochs.passed(), OFFLINE);
        a.announce(&epochs);
        b.announce(&epochs);
        let noted = epochs.current();
        epochs.advance();
        assert!(noted >= epochs.passed());
        a.announce(&epochs);
        assert!(noted >= epochs.passed());
        b.announce(&epochs);
        assert!(noted < epochs.passed());
    }

    #[test]
    fn a_sleeping_worker_holds_nothing() {
        let epochs = Epochs::new(1);
        let mut worker = Announcer::new(0);
        worker.announce(&epochs);
        let noted = epochs.current();
        epochs.advance();
        assert!(noted >= epochs.passed());
        worker.park(&epochs);
        assert!(noted < epochs.passed());
        worker.announce(&epochs);
        assert!(noted < epochs.passed());
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicUsize;
    use loom::thread;

    /// Two slots and the index of the one that is published. loom's cell reports a read that is
    /// concurrent with a write.
    struct Table {
        epochs: Epochs,
        published: AtomicUsize,
        slots: [UnsafeCell<u32>; 2],
    }

    impl Table {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                epochs: Epochs::new(1),
                published: AtomicUsize::new(0),
                slots: [UnsafeCell::new(1), UnsafeCell::new(2)],
            })
        }

        fn read(&self) {
            let index = self.published.load(Ordering::Acquire);
            // SAFETY: a published slot is not written before every worker has let go of it; that
            // is what is tested.
            let value = self.slots[index].with(|slot| unsafe { *slot });
            assert_ne!(value, 0, "used again while it was held");
        }

        /// Publishes slot 1 and, if no worker holds slot 0 any more, writes over it.
        fn replace(&self) {
            self.published.store(1, Ordering::Release);
            let noted = self.epochs.current();
            self.epochs.advance();
            if noted < self.epochs.passed() {
                // SAFETY: as above.
                self.slots[0].with_mut(|slot| unsafe { *slot = 0 });
            }
        }
    }

    #[test]
    fn an_online_worker_is_waited_for() {
        loom::model(|| {
            let table = Table::new();
            let mut worker = Announcer::new(0);
            worker.announce(&table.epochs);
            let shared = Arc::clone(&table);
            let thread = thread::spawn(move || {
                for _ in 0..2 {
                    shared.read();
                    worker.announce(&shared.epochs);
                }
                shared.read();
            });
            table.replace();
            thread.join().unwrap();
        });
    }

    #[test]
    fn a_worker_that_comes_back_is_not_overlooked() {
        loom::model(|| {
            let table = Table::new();
            let shared = Arc::clone(&table);
            let thread = thread::spawn(move || {
                let mut worker = Announcer::new(0);
                worker.announce(&shared.epochs);
                shared.read();
                worker.park(&shared.epochs);
                worker.announce(&shared.epochs);
                shared.read();
            });
            table.replace();
            thread.join().unwrap();
        });
    }
}
