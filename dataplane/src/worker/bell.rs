//! How workers find out that another one sleeps, and wake it no oftener than that.
//!
//! Invariant, shown by the loom test below: what was put on a link before [`Bell::is_needed`] said no
//! is seen by the look that its reader takes after [`Bell::lie_down`]. Two sequentially consistent
//! fences, paid once per sleep and once per batch that crosses.

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// Whether a worker sleeps.
#[derive(Debug)]
pub(super) struct Bell {
    asleep: AtomicBool,
}

impl Bell {
    /// Awake.
    pub(super) fn new() -> Self {
        Self { asleep: AtomicBool::new(false) }
    }

    /// The sleeper: from here on it is woken. It looks once more for what came before.
    pub(super) fn lie_down(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The sleeper: it is awake.
    pub(super) fn rise(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Another worker, after it has put something on a link: whether it has to wake the sleeper. Only
    /// one of those who ask does.
    #[inline]
    pub(super) fn is_needed(&self) -> bool {
        fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_sleeper_is_woken_once_and_one_that_is_awake_not_at_all() {
        let bell = Bell::new();
        assert!(!bell.is_needed());
        bell.lie_down();
        assert!(bell.is_needed());
        assert!(!bell.is_needed());
        bell.lie_down();
        bell.rise();
        assert!(!bell.is_needed());
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use loom::sync::Arc;

    use super::*;
    use crate::port::xsk::ring;

    /// Every interleaving: nobody sleeps over what lies on a ring.
    #[test]
    fn who_is_not_woken_has_seen_what_came() {
        loom::model(|| {
            let bell = Arc::new(Bell::new());
            let rung = Arc::new(AtomicBool::new(false));
            let (mut producer, mut consumer) = ring::pair::<u64>(2);
            let giver = {
                let (bell, rung) = (Arc::clone(&bell), Arc::clone(&rung));
                loom::thread::spawn(move || {
                    assert!(producer.push(1));
                    producer.submit();
                    if bell.is_needed() {
                        rung.store(true, Ordering::Release);
                    }
                })
            };
            bell.lie_down();
            let seen = consumer.available() > 0;
            giver.join().unwrap();
            assert!(seen || rung.load(Ordering::Acquire), "asleep over a frame");
        });
    }
}
