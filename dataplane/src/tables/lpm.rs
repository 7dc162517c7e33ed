//! Longest prefix match over 32 or 128 bits.
//!
//! A root of 2^24 entries, then groups of 256 entries for each further octet. Prefixes are expanded
//! when written, so that a lookup follows at most one entry per octet and never goes back. The
//! prefix of length 0 is kept aside: a default route would fill the root.
//!
//! An entry is 0 (nothing), a value below 2^31, or the number of a group with the top bit set.

use std::fmt::Debug;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use super::epoch::arena::Arena;
use super::slots::Slots;

const ROOT_BITS: u8 = 24;
const GROUP_BITS: u8 = 8;
const GROUP_ENTRIES: usize = 1 << GROUP_BITS;
const CHILD: u32 = 1 << 31;

/// Tables on the way of the longest key.
const LEVELS_MAX: usize = 1 + (128 - ROOT_BITS as usize) / GROUP_BITS as usize;

/// What is matched: an address, most significant bit first.
pub(crate) trait Key: Copy + Ord + Debug {
    /// Length, bits.
    const BITS: u8;

    /// The first [`ROOT_BITS`] bits.
    fn root(self) -> usize;

    /// The octet after the root's bits and `level` octets.
    fn octet(self, level: u8) -> usize;

    /// With the bits after the first `length` cleared.
    fn network(self, length: u8) -> Self;

    /// With the bits after the first `length` set.
    fn last(self, length: u8) -> Self;
}

impl Key for u32 {
    const BITS: u8 = 32;

    #[inline]
    fn root(self) -> usize {
        (self >> 8) as usize
    }

    #[inline]
    fn octet(self, _level: u8) -> usize {
        (self & 0xff) as usize
    }

    fn network(self, length: u8) -> Self {
        self & !u32::MAX.checked_shr(length.into()).unwrap_or(0)
    }

    fn last(self, length: u8) -> Self {
        self | u32::MAX.checked_shr(length.into()).unwrap_or(0)
    }
}

impl Key for u128 {
    const BITS: u8 = 128;

    #[inline]
    fn root(self) -> usize {
        (self >> 104) as usize
    }

    #[inline]
    fn octet(self, level: u8) -> usize {
        (self >> (96 - 8 * u32::from(level)) & 0xff) as usize
    }

    fn network(self, length: u8) -> Self {
        self & !u128::MAX.checked_shr(length.into()).unwrap_or(0)
    }

    fn last(self, length: u8) -> Self {
        self | u128::MAX.checked_shr(length.into()).unwrap_or(0)
    }
}

/// What workers read.
#[derive(Debug)]
pub(crate) struct Lpm {
    root: Arena<AtomicU32>,
    groups: Arena<AtomicU32>,
    default: AtomicU32,
}

impl Lpm {
    /// Asks the CPU for the root's entry.
    #[inline]
    pub(crate) fn prefetch_root(&self, key: impl Key) {
        self.root.prefetch(key.root());
    }

    /// The root's entry; asks the CPU for the second one, if it leads there.
    #[inline(always)]
    pub(crate) fn begin(&self, key: impl Key) -> u32 {
        // Acquire: a group, and what a value leads to, were written before they were published.
        let entry = self.root[key.root()].load(Ordering::Acquire);
        if entry & CHILD != 0 {
            self.groups.prefetch(group_start(entry) + key.octet(0));
        }
        entry
    }

    /// The value of the longest prefix that matches, from the root's entry on; 0: none.
    #[inline(always)]
    pub(crate) fn end<K: Key>(&self, mut entry: u32, key: K) -> u32 {
        let mut level = 0;
        while entry & CHILD != 0 {
            entry = self.groups[group_start(entry) + key.octet(level)].load(Ordering::Acquire);
            level += 1;
        }
        if entry == 0 { self.default.load(Ordering::Acquire) } else { entry }
    }

    /// The value of the longest prefix that matches; 0: none.
    #[inline]
    pub(crate) fn lookup<K: Key>(&self, key: K) -> u32 {
        self.end(self.root[key.root()].load(Ordering::Acquire), key)
    }
}

#[inline]
fn group_start(entry: u32) -> usize {
    (entry & !CHILD) as usize * GROUP_ENTRIES
}

/// No group is free.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// A prefix of some length, written into entries: the value, and the length that tells a longer
/// from a shorter prefix later. Length 0: nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) value: u32,
    pub(crate) length: u8,
}

/// No prefix.
pub(crate) const NOBODY: Owner = Owner { value: 0, length: 0 };

/// The root (level 0, no group), or a group and how many octets after the root's bits lead to it.
#[derive(Debug, Clone, Copy)]
struct Table {
    group: u32,
    level: u8,
}

impl Table {
    const ROOT: Self = Self { group: 0, level: 0 };

    fn below(self, entry: u32) -> Self {
        Self { group: entry & !CHILD, level: self.level + 1 }
    }

    /// Bits of a key that are used up at the end of this table.
    fn end_bits(self) -> u8 {
        ROOT_BITS + GROUP_BITS * self.level
    }

    /// Whether a prefix of this length ends inside of this table, not above.
    fn owns(self, length: u8) -> bool {
        self.level > 0 && length > self.end_bits() - GROUP_BITS
    }

    fn index(self, key: impl Key) -> usize {
        if self.level == 0 { key.root() } else { key.octet(self.level - 1) }
    }

    /// The entries of a prefix that ends inside of this table.
    fn span(self, key: impl Key, length: u8) -> Range<usize> {
        let start = self.index(key);
        start..start + (1 << (self.end_bits() - length))
    }
}

/// The writer's side: which prefix length each entry stems from, and which groups are free.
#[derive(Debug)]
pub(crate) struct LpmWriter {
    lpm: Arc<Lpm>,
    root_lengths: Arena<AtomicU8>,
    group_lengths: Arena<AtomicU8>,
    /// Per group: entries that are children, or stem from prefixes that end inside of the group.
    occupied: Vec<u16>,
    groups: Slots,
}

impl LpmWriter {
    /// An empty table with at most `groups` groups.
    pub(crate) fn new(groups: u32) -> io::Result<Self> {
        let entries = groups as usize * GROUP_ENTRIES;
        let lpm = Lpm {
            root: Arena::new(1 << ROOT_BITS)?,
            groups: Arena::new(entries)?,
            default: AtomicU32::new(0),
        };
        Ok(Self {
            lpm: Arc::new(lpm),
            root_lengths: Arena::new(1 << ROOT_BITS)?,
            group_lengths: Arena::new(entries)?,
            occupied: Vec::new(),
            groups: Slots::new(groups),
        })
    }

    /// What workers read.
    pub(crate) fn reader(&self) -> &Arc<Lpm> {
        &self.lpm
    }

    /// Groups that wait for the workers, and those in use.
    pub(crate) fn groups(&mut self) -> &mut Slots {
        &mut self.groups
    }

    /// Adds a prefix or changes its value. `epoch` is when groups that fall away are retired.
    pub(crate) fn insert<K: Key>(&mut self, key: K, owner: Owner, epoch: u64) -> Result<(), Full> {
        debug_assert!(owner.value != 0 && owner.value & CHILD == 0);
        if owner.length == 0 {
            self.lpm.default.store(owner.value, Ordering::Release);
            return Ok(());
        }
        let Some(table) = self.descend(key, owner.length) else {
            self.collapse(key, owner.length, epoch);
            return Err(Full);
        };
        for index in table.span(key, owner.length) {
            self.paint(table, index, owner, |length| length <= owner.length);
        }
        Ok(())
    }

    /// Removes a prefix; its entries go to the next shorter prefix that covers it.
    pub(crate) fn remove<K: Key>(&mut self, key: K, length: u8, heir: Owner, epoch: u64) {
        if length == 0 {
            self.lpm.default.store(0, Ordering::Release);
            return;
        }
        // The default is not written into entries.
        let heir = if heir.length == 0 { NOBODY } else { heir };
        let Some(table) = self.descend(key, length) else { return };
        for index in table.span(key, length) {
            self.paint(table, index, heir, |owner| owner == length);
        }
        self.collapse(key, length, epoch);
    }

    /// The longest prefix that covers `key`, without the default.
    pub(crate) fn owner<K: Key>(&self, key: K) -> Owner {
        let mut table = Table::ROOT;
        loop {
            let (entry, length) = self.entry(table, table.index(key));
            let value = entry.load(Ordering::Relaxed);
            if value & CHILD == 0 {
                return Owner { value, length: length.load(Ordering::Relaxed) };
            }
            table = table.below(value);
        }
    }

    /// The table in which a prefix of this length ends; tables on the way are made.
    fn descend<K: Key>(&mut self, key: K, length: u8) -> Option<Table> {
        let mut table = Table::ROOT;
        while length > table.end_bits() {
            table = self.child(table, table.index(key))?;
        }
        Some(table)
    }

    fn entry(&self, table: Table, index: usize) -> (&AtomicU32, &AtomicU8) {
        if table.level == 0 {
            return (&self.lpm.root[index], &self.root_lengths[index]);
        }
        let index = table.group as usize * GROUP_ENTRIES + index;
        (&self.lpm.groups[index], &self.group_lengths[index])
    }

    /// The group below an entry, made if there is none yet.
    fn child(&mut self, table: Table, index: usize) -> Option<Table> {
        let (entry, length) = self.entry(table, index);
        let (value, owner) = (entry.load(Ordering::Relaxed), length.load(Ordering::Relaxed));
        if value & CHILD != 0 {
            return Some(table.below(value));
        }
        let group = self.groups.take()?;
        let below = table.below(group);
        for index in 0..GROUP_ENTRIES {
            let (entry, length) = self.entry(below, index);
            entry.store(value, Ordering::Relaxed);
            length.store(owner, Ordering::Relaxed);
        }
        if self.occupied.len() <= group as usize {
            self.occupied.resize(group as usize + 1, 0);
        }
        self.occupied[group as usize] = 0;
        if !table.owns(owner) {
            self.occupy(table, 1);
        }
        // Release: the group is whole when it is seen.
        self.entry(table, index).0.store(CHILD | group, Ordering::Release);
        Some(below)
    }

    fn occupy(&mut self, table: Table, change: i16) {
        if table.level > 0 {
            let occupied = &mut self.occupied[table.group as usize];
            *occupied = occupied.wrapping_add_signed(change);
        }
    }

    /// Gives an entry, and all entries below it, to `owner` where `takes` says so of the prefix
    /// length that it stems from.
    fn paint(&mut self, table: Table, at: usize, owner: Owner, takes: impl Fn(u8) -> bool + Copy) {
        let (entry, length) = self.entry(table, at);
        let value = entry.load(Ordering::Relaxed);
        if value & CHILD != 0 {
            for index in 0..GROUP_ENTRIES {
                self.paint(table.below(value), index, owner, takes);
            }
            return;
        }
        let before = length.load(Ordering::Relaxed);
        if takes(before) {
            entry.store(owner.value, Ordering::Release);
            length.store(owner.length, Ordering::Relaxed);
            let change = i16::from(table.owns(owner.length)) - i16::from(table.owns(before));
            self.occupy(table, change);
        }
    }

    /// Puts one entry in the place of each group on the way of a prefix that holds nothing of its
    /// own any more, from the innermost out.
    fn collapse<K: Key>(&mut self, key: K, length: u8, epoch: u64) {
        let mut way = [(Table::ROOT, 0); LEVELS_MAX];
        let mut depth = 0;
        let mut table = Table::ROOT;
        while length > table.end_bits() {
            let index = table.index(key);
            let value = self.entry(table, index).0.load(Ordering::Relaxed);
            if value & CHILD == 0 {
                break;
            }
            way[depth] = (table, index);
            depth += 1;
            table = table.below(value);
        }
        for &(above, index) in way[..depth].iter().rev() {
            let (entry, above_length) = self.entry(above, index);
            let below = above.below(entry.load(Ordering::Relaxed));
            if self.occupied[below.group as usize] > 0 {
                return;
            }
            // All entries are alike: inherited from one prefix.
            let (inherited, length) = self.entry(below, 0);
            let length = length.load(Ordering::Relaxed);
            above_length.store(length, Ordering::Relaxed);
            entry.store(inherited.load(Ordering::Relaxed), Ordering::Release);
            if !above.owns(length) {
                self.occupy(above, -1);
            }
            self.groups.retire(epoch, below.group);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Model<K> = BTreeMap<(u8, K), u32>;

    fn covering<K: Key>(model: &Model<K>, key: K, below: u8) -> Owner {
        (0..below)
            .rev()
            .find_map(|length| {
                let value = *model.get(&(length, key.network(length)))?;
                Some(Owner { value, length })
            })
            .unwrap_or(NOBODY)
    }

    /// Inserts and removes at random and compares lookups with the model after each step.
    fn check<K: Key>(operations: &[(K, u8, u32)], probes: impl Fn(K) -> Vec<K>) {
        let mut writer = LpmWriter::new(4096).unwrap();
        let lpm = Arc::clone(writer.reader());
        let mut model = Model::new();
        for &(key, length, value) in operations {
            let length = length % (K::BITS + 1);
            let key = key.network(length);
            if value == 0 {
                if model.remove(&(length, key)).is_some() {
                    writer.remove(key, length, covering(&model, key, length), 0);
                }
            } else {
                model.insert((length, key), value);
                writer.insert(key, Owner { value, length }, 0).unwrap();
            }
            for probe in probes(key) {
                let expected = covering(&model, probe, K::BITS + 1).value;
                assert_eq!(lpm.lookup(probe), expected, "{probe:?} after {key:?}/{length}");
            }
        }
        for (length, key) in model.clone().into_keys() {
            model.remove(&(length, key));
            writer.remove(key, length, covering(&model, key, length), 0);
        }
        // Nothing is left over: no group in use, no entry that leads anywhere.
        assert_eq!(writer.groups.used(), 0);
        for &(key, ..) in operations {
            assert_eq!(lpm.lookup(key), 0);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn ipv4_like_a_linear_search(
            // Few distinct bits, so that prefixes nest; mostly long, so that cases are quick.
            operations in prop::collection::vec(
                (0u32..1 << 10, prop_oneof![9 => 17u8..33, 1 => 10u8..17, 1 => Just(0)], 0u32..5), 1..60)
        ) {
            let operations: Vec<_> =
                operations.into_iter().map(|(k, l, v)| (k << 22 | k, l, v)).collect();
            check(&operations, |key| vec![key, key.last(24), key ^ 1, key ^ 1 << 9, key ^ 1 << 22]);
        }

        #[test]
        fn ipv6_like_a_linear_search(
            operations in prop::collection::vec((0u128..16, 18u8..129, 0u32..4), 1..60)
        ) {
            let spread = |k: u128| k << 120 | k << 96 | k << 64 | k << 63 | k << 32 | k;
            let operations: Vec<_> =
                operations.into_iter().map(|(k, l, v)| (spread(k), l, v)).collect();
            check(&operations, |key| {
                vec![key, key ^ 1, key ^ 1 << 40, key ^ 1 << 64, key.last(96), key.last(48)]
            });
        }
    }

    #[test]
    fn full_leaves_nothing_behind() {
        let mut writer = LpmWriter::new(3).unwrap();
        let owner = Owner { value: 7, length: 64 };
        // A prefix of 64 bits needs five groups.
        assert_eq!(writer.insert(1u128 << 100, owner, 0), Err(Full));
        writer.groups.reclaim(1);
        assert_eq!(writer.groups.used(), 0);
        assert_eq!(writer.lpm.lookup(1u128 << 100), 0);
        // 48 bits need three.
        writer.insert(1u128 << 100, Owner { value: 7, length: 48 }, 0).unwrap();
        assert_eq!(writer.lpm.lookup(1u128 << 100), 7);
    }

    #[test]
    fn a_group_is_not_used_again_before_its_epoch_has_passed() {
        let mut writer = LpmWriter::new(1).unwrap();
        let owner = Owner { value: 7, length: 32 };
        writer.insert(9u32, owner, 5).unwrap();
        writer.remove(9u32, 32, NOBODY, 5);
        assert_eq!(writer.insert(9u32, owner, 5), Err(Full));
        writer.groups.reclaim(6);
        assert_eq!(writer.insert(9u32, owner, 6), Ok(()));
    }
}
