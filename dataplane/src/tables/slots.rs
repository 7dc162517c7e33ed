//! Which places of an array are free: the writer's book-keeping.

use std::collections::VecDeque;

/// Hands out places, lowest first, and takes them back once no worker can hold them.
#[derive(Debug)]
pub(crate) struct Slots {
    capacity: u32,
    /// Places from here on were never used.
    next: u32,
    free: Vec<u32>,
    /// Epoch at which a place was retired, and the place; in order.
    retired: VecDeque<(u64, u32)>,
}

impl Slots {
    /// All free.
    pub(crate) fn new(capacity: u32) -> Self {
        Self { capacity, next: 0, free: Vec::new(), retired: VecDeque::new() }
    }

    /// A free place.
    pub(crate) fn take(&mut self) -> Option<u32> {
        if let Some(place) = self.free.pop() {
            return Some(place);
        }
        let place = self.next;
        (place < self.capacity).then(|| {
            self.next += 1;
            place
        })
    }

    /// Gives back a place that no worker has ever seen.
    pub(crate) fn give_back(&mut self, place: u32) {
        self.free.push(place);
    }

    /// Gives back a place that was made unreachable in `epoch`.
    pub(crate) fn retire(&mut self, epoch: u64, place: u32) {
        self.retired.push_back((epoch, place));
    }

    /// Frees the places retired before `passed`.
    pub(crate) fn reclaim(&mut self, passed: u64) {
        while let Some(&(epoch, place)) = self.retired.front() {
            if epoch >= passed {
                break;
            }
            self.retired.pop_front();
            self.free.push(place);
        }
    }

    /// Whether some places wait for the workers.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.retired.is_empty()
    }

    /// Places in use, not counting those that wait.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn used(&self) -> usize {
        self.next as usize - self.free.len() - self.retired.len()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn not_reused_before_its_epoch_has_passed() {
        let mut slots = Slots::new(2);
        assert_eq!((slots.take(), slots.take(), slots.take()), (Some(0), Some(1), None));
        slots.retire(5, 1);
        slots.retire(6, 0);
        slots.reclaim(5);
        assert_eq!(slots.take(), None);
        slots.reclaim(6);
        assert_eq!((slots.take(), slots.take()), (Some(1), None));
        slots.reclaim(7);
        assert_eq!(slots.take(), Some(0));
        assert!(!slots.is_waiting());
        assert_eq!(slots.used(), 2);
    }

    #[test]
    fn never_seen_is_free_at_once() {
        let mut slots = Slots::new(1);
        let place = slots.take().unwrap();
        slots.give_back(place);
        assert_eq!(slots.take(), Some(place));
    }
}
