//! From our tunnel and session ID to the session's slot: an exact match on 32 bits.
//!
//! One cache line per lookup, its address known from the IDs alone, so that a batch can ask for all
//! its lines at once. Our IDs are unpredictable, so a multiplicative hash spreads them, and nobody
//! but us chooses them. A line holds seven entries and counts the entries that found it full and
//! went on to the next: a lookup goes on only where that count is not zero. Entries never move, so
//! a reader beside the writer never misses an entry that stays.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use super::epoch::arena::Arena;

/// Words of a line: seven entries, then the count of those that went on.
const LINE_WORDS: usize = 8;
const ENTRIES: usize = LINE_WORDS - 1;

/// The multiplier of Fibonacci hashing: 2^32 over the golden ratio.
const MULTIPLIER: u32 = 0x9e37_79b9;

/// The map. A word holds the key in its high half and the slot plus one in its low half; 0 is empty.
#[derive(Debug)]
pub(crate) struct IdMap {
    lines: Arena<[AtomicU64; LINE_WORDS]>,
    /// Number of lines less one; their number is a power of two.
    mask: usize,
    shift: u32,
}

impl IdMap {
    /// For at most `entries` entries, of which two thirds fill it.
    pub(crate) fn new(entries: u32) -> io::Result<Self> {
        let lines = (entries as usize * 3 / 2 / ENTRIES + 1).next_power_of_two().max(2);
        Ok(Self {
            lines: Arena::new(lines)?,
            mask: lines - 1,
            shift: u32::BITS - lines.trailing_zeros(),
        })
    }

    #[inline]
    fn home(&self, key: u32) -> usize {
        (key.wrapping_mul(MULTIPLIER) >> self.shift) as usize & self.mask
    }

    #[inline]
    fn line(&self, line: usize) -> &[AtomicU64; LINE_WORDS] {
        &self.lines[line]
    }

    /// Asks the CPU for the line of `key`.
    #[inline]
    pub(crate) fn prefetch(&self, key: u32) {
        self.lines.prefetch(self.home(key));
    }

    /// The slot of `key`.
    #[inline]
    pub(crate) fn find(&self, key: u32) -> Option<u32> {
        let mut at = self.home(key);
        // Bounded, were there an entry that went on at every line.
        for _ in 0..=self.mask {
            let line = self.line(at);
            // All entries, without a branch that nobody could predict: without the key, the one that
            // matches is a slot plus one, and all others are larger. An empty one that seems to
            // match 0 is 0.
            let wanted = u64::from(key) << 32;
            let mut found = u64::MAX;
            for word in &line[..ENTRIES] {
                // Acquire: the slot was written before it was published here.
                found = found.min(word.load(Ordering::Acquire) ^ wanted);
            }
            if let Some(slot) = u32::try_from(found).ok().and_then(|found| found.checked_sub(1)) {
                return Some(slot);
            }
            if line[ENTRIES].load(Ordering::Acquire) == 0 {
                return None;
            }
            at = (at + 1) & self.mask;
        }
        None
    }

    /// Writer: publishes a key that is not there yet. The caller keeps the number of entries within
    /// the capacity.
    pub(crate) fn insert(&self, key: u32, slot: u32) {
        let mut at = self.home(key);
        loop {
            let line = self.line(at);
            if let Some(free) = line[..ENTRIES].iter().find(|w| w.load(Ordering::Relaxed) == 0) {
                free.store(word(key, slot), Ordering::Release);
                return;
            }
            line[ENTRIES].fetch_add(1, Ordering::Release);
            at = (at + 1) & self.mask;
        }
    }

    /// Writer: leads a key that is there to another slot, or removes it.
    pub(crate) fn replace(&self, key: u32, slot: Option<u32>) {
        let home = self.home(key);
        let mut at = home;
        let held = |w: &&AtomicU64| (w.load(Ordering::Relaxed) >> 32) as u32 == key;
        let entry = loop {
            if let Some(entry) = self.line(at)[..ENTRIES].iter().find(held) {
                break entry;
            }
            at = (at + 1) & self.mask;
            assert_ne!(at, home, "the caller knows that the key is there");
        };
        entry.store(slot.map_or(0, |slot| word(key, slot)), Ordering::Release);
        if slot.is_none() {
            let mut passed = home;
            while passed != at {
                self.line(passed)[ENTRIES].fetch_sub(1, Ordering::Release);
                passed = (passed + 1) & self.mask;
            }
        }
    }
}

fn word(key: u32, slot: u32) -> u64 {
    u64::from(key) << 32 | u64::from(slot + 1)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Against an ordinary map, with few keys so that lines overflow.
        #[test]
        fn like_a_map(operations in prop::collection::vec((1u32..40, any::<bool>(), 0u32..99), 0..300)) {
            let map = IdMap::new(40).unwrap();
            let mut model = BTreeMap::new();
            for (key, keep, slot) in operations {
                // Keys that share a home line.
                let key = key << 24;
                match (keep, model.contains_key(&key)) {
                    (true, false) => map.insert(key, slot),
                    (true, true) => map.replace(key, Some(slot)),
                    (false, true) => map.replace(key, None),
                    (false, false) => continue,
                }
                if keep { model.insert(key, slot); } else { model.remove(&key); }
                for key in (1..40).map(|key| key << 24) {
                    prop_assert_eq!(map.find(key), model.get(&key).copied());
                }
            }
            for key in model.keys() {
                map.replace(*key, None);
            }
            // No entry and no count is left over.
            prop_assert!(map.lines.iter().flatten().all(|word| word.load(Ordering::Relaxed) == 0));
        }
    }

    #[test]
    fn a_search_ends_where_every_line_was_gone_past() {
        let map = IdMap::new(4).unwrap();
        map.insert(7, 3);
        for line in 0..=map.mask {
            map.line(line)[ENTRIES].store(1, Ordering::Relaxed);
        }
        assert_eq!((map.find(7), map.find(8)), (Some(3), None));
    }

    #[test]
    fn full_to_its_capacity() {
        let map = IdMap::new(10_000).unwrap();
        for key in 1..=10_000u32 {
            map.insert(key.wrapping_mul(0x0001_0003), key);
        }
        for key in 1..=10_000u32 {
            assert_eq!(map.find(key.wrapping_mul(0x0001_0003)), Some(key));
        }
        assert_eq!(map.find(0), None);
        assert_eq!(map.find(0xffff_fffe), None);
    }
}
