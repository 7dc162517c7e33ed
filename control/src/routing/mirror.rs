//! A mirror of one of the kernel's tables that stays right while a dump and live changes, read
//! from two sockets, overtake each other.
//!
//! A live change is always newer than what the dump under way says about the same key, or another
//! live change follows. So a dump may add what is missing and confirm what it finds, but it neither
//! overwrites nor revives what changed since it began; and at its end, what it did not name and no
//! change named either is gone.

use std::collections::{BTreeMap, BTreeSet};

use crate::netlink::Origin;

/// The mirror of a table.
#[derive(Debug)]
pub(super) struct Mirror<K, V> {
    entries: BTreeMap<K, Marked<V>>,
    /// Number of the newest dump.
    dump: u32,
    dumping: bool,
    /// Removed since the dump under way began.
    removed: BTreeSet<K>,
}

#[derive(Debug)]
struct Marked<V> {
    value: V,
    /// The dump in which the entry was last named.
    dump: u32,
}

impl<K: Ord + Copy, V: PartialEq> Mirror<K, V> {
    pub(super) fn new() -> Self {
        Self { entries: BTreeMap::new(), dump: 0, dumping: false, removed: BTreeSet::new() }
    }

    pub(super) fn lookup(&self, key: K) -> Option<&V> {
        self.entries.get(&key).map(|entry| &entry.value)
    }

    /// All entries, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.entries.iter().map(|(key, entry)| (*key, &entry.value))
    }

    /// The entries from `first` to `last`.
    pub(super) fn range(&self, first: K, last: K) -> impl Iterator<Item = (K, &V)> {
        self.entries.range(first..=last).map(|(key, entry)| (*key, &entry.value))
    }

    /// Returns whether the mirror changed.
    pub(super) fn insert(&mut self, origin: Origin, key: K, value: V) -> bool {
        let dump = self.dump;
        if origin == Origin::Dump {
            let newer = self.entries.get(&key).is_some_and(|entry| entry.dump == dump);
            if newer || self.removed.contains(&key) {
                return false;
            }
        }
        self.removed.remove(&key);
        match self.entries.get_mut(&key) {
            Some(entry) => {
                entry.dump = dump;
                let changed = entry.value != value;
                entry.value = value;
                changed
            }
            None => {
                self.entries.insert(key, Marked { value, dump });
                true
            }
        }
    }

    pub(super) fn remove(&mut self, key: K) -> Option<V> {
        if self.dumping {
            self.removed.insert(key);
        }
        self.entries.remove(&key).map(|entry| entry.value)
    }

    pub(super) fn begin_dump(&mut self) {
        self.dump = self.dump.wrapping_add(1);
        self.dumping = true;
        self.removed.clear();
    }

    /// Ends the dump; the keys that a complete one did not name. They stay until removed.
    pub(super) fn end_dump(&mut self, complete: bool) -> Vec<K> {
        self.dumping = false;
        self.removed.clear();
        if !complete {
            return Vec::new();
        }
        let dump = self.dump;
        self.entries.iter().filter(|(_, entry)| entry.dump != dump).map(|(key, _)| *key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complete_dump_names_what_is_gone() {
        let mut mirror = Mirror::new();
        mirror.begin_dump();
        assert!(mirror.insert(Origin::Dump, 1, 'a'));
        assert!(mirror.insert(Origin::Dump, 2, 'b'));
        assert!(mirror.end_dump(true).is_empty());
        mirror.begin_dump();
        assert!(!mirror.insert(Origin::Dump, 2, 'b'), "unchanged");
        assert_eq!(mirror.end_dump(true), [1]);
        mirror.begin_dump();
        assert!(mirror.end_dump(false).is_empty(), "an incomplete one proves nothing");
    }

    #[test]
    fn a_live_change_wins_over_the_dump_under_way() {
        let mut mirror = Mirror::new();
        mirror.begin_dump();
        assert!(mirror.insert(Origin::Live, 1, 'n'));
        assert!(!mirror.insert(Origin::Dump, 1, 'o'));
        assert_eq!(mirror.lookup(1), Some(&'n'));
        assert!(mirror.end_dump(true).is_empty());
        // The next dump may correct it, in case the change was lost.
        mirror.begin_dump();
        assert!(mirror.insert(Origin::Dump, 1, 'p'));
        assert_eq!(mirror.lookup(1), Some(&'p'));
    }

    #[test]
    fn a_dump_does_not_revive_what_was_removed_meanwhile() {
        let mut mirror = Mirror::new();
        mirror.insert(Origin::Live, 1, 'a');
        mirror.begin_dump();
        assert_eq!(mirror.remove(1), Some('a'));
        assert!(!mirror.insert(Origin::Dump, 1, 'a'));
        assert!(mirror.insert(Origin::Live, 1, 'b'), "but a newer change does");
        assert!(mirror.end_dump(true).is_empty());
        assert_eq!(mirror.remove(1), Some('b'));
        mirror.begin_dump();
        assert!(mirror.insert(Origin::Dump, 1, 'c'), "removed before this dump began");
    }
}
