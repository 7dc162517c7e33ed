//! Pools of IPv6 prefixes of one length: one for each subscriber's link, or to delegate.
//!
//! A /32 has four billion /64s, so nothing is kept for a prefix that was never used: those are
//! handed out in order, up to the end. Prefixes given back wait in a queue, so that packets meant for
//! the last owner do not reach the next one; once [`RETURNED_MAX`] wait, the first of them goes
//! before an unused one. Memory: eight octets for each prefix in that queue, whatever the size of
//! the pool; nothing for those that are in use or reserved one by one.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;
use thiserror::Error;

/// Prefixes given back that wait while there are unused ones: with a hundred calls a second, one
/// comes back to use after three hours. 8 MiB.
pub const RETURNED_MAX: usize = 1 << 20;

/// The longest prefix that a pool hands out: what is longer is no link's (RFC 4291 section 2.5.1).
pub const LENGTH_MAX: u8 = 64;

/// What is wrong with a pool.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PrefixPoolError {
    /// Two prefixes share addresses.
    #[error("{0} and {1} overlap")]
    Overlap(Ipv6Net, Ipv6Net),
    /// It is to be cut into larger pieces than it is, or into pieces smaller than a link.
    #[error("{0} cannot be cut into prefixes of {1} bits")]
    Length(Ipv6Net, u8),
}

/// A prefix handed out, to be given back by [`PrefixPool::release`]. It can be neither copied nor
/// made elsewhere, so that none is given back twice.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a prefix that is not given back is lost to the pool"]
pub struct PrefixLease {
    /// The upper half of the addresses.
    network: u64,
    length: u8,
}

impl PrefixLease {
    /// The prefix.
    pub fn prefix(&self) -> Ipv6Net {
        let network = Ipv6Addr::from_bits(u128::from(self.network) << 64);
        Ipv6Net::new_assert(network, self.length)
    }
}

/// Consecutive prefixes.
#[derive(Debug, Clone, Copy)]
struct Range {
    /// The upper half of the first one's addresses.
    network: u64,
    count: u64,
    /// Number of prefixes in the ranges before.
    offset: u64,
}

/// A pool.
#[derive(Debug)]
pub struct PrefixPool {
    length: u8,
    /// By first address.
    ranges: Vec<Range>,
    /// First and last index of what is never handed out; neither overlapping nor adjacent.
    reserved: BTreeMap<u64, u64>,
    /// Number of prefixes, those reserved not counted.
    capacity: u64,
    in_use: u64,
    /// From here on no prefix was ever handed out.
    unused: u64,
    /// Given back, the longest ago first.
    returned: VecDeque<u64>,
}

impl PrefixPool {
    /// A pool of `prefixes`, cut into prefixes of `length` bits. Without any it is empty.
    ///
    /// # Errors
    /// [`PrefixPoolError`].
    pub fn new(prefixes: &[Ipv6Net], length: u8) -> Result<Self, PrefixPoolError> {
        let mut prefixes: Vec<Ipv6Net> = prefixes.iter().map(Ipv6Net::trunc).collect();
        prefixes.sort();
        if let Some(pair) = prefixes.windows(2).find(|pair| pair[0].contains(&pair[1])) {
            return Err(PrefixPoolError::Overlap(pair[0], pair[1]));
        }
        let mut ranges = Vec::with_capacity(prefixes.len());
        let mut offset: u64 = 0;
        for prefix in prefixes {
            let bits = length.checked_sub(prefix.prefix_len()).filter(|_| length <= LENGTH_MAX);
            let count = bits.and_then(|bits| 1_u64.checked_shl(bits.into()));
            let end = count.and_then(|count| offset.checked_add(count));
            let (Some(count), Some(end)) = (count, end) else {
                return Err(PrefixPoolError::Length(prefix, length));
            };
            let network = upper_half(prefix.network());
            ranges.push(Range { network, count, offset });
            offset = end;
        }
        Ok(Self {
            length,
            ranges,
            reserved: BTreeMap::new(),
            capacity: offset,
            in_use: 0,
            unused: 0,
            returned: VecDeque::new(),
        })
    }

    /// Never hands out what overlaps with this prefix: a user's fixed one. To be said before the
    /// first is handed out.
    pub fn reserve(&mut self, prefix: Ipv6Net) {
        debug_assert_eq!((self.unused, self.in_use), (0, 0), "{prefix} reserved too late");
        for range in self.ranges.clone() {
            let last = Ipv6Addr::from_bits(prefix.broadcast().to_bits());
            let (first, last) = (upper_half(prefix.network()), upper_half(last));
            let end = range.network + ((range.count - 1) << self.shift());
            let (first, last) = (first.max(range.network), last.min(end | !self.mask()));
            if first <= last {
                let index =
                    |network: u64| range.offset + ((network - range.network) >> self.shift());
                self.reserve_indices(index(first), index(last));
            }
        }
    }

    fn reserve_indices(&mut self, mut first: u64, mut last: u64) {
        // Whatever touches becomes one.
        while let Some((&start, &end)) = self.reserved.range(..=last.saturating_add(1)).next_back()
        {
            if end.saturating_add(1) < first {
                break;
            }
            self.reserved.remove(&start);
            self.capacity += end - start + 1;
            (first, last) = (first.min(start), last.max(end));
        }
        self.reserved.insert(first, last);
        self.capacity -= last - first + 1;
    }

    /// Hands out a prefix; `None` where none is free.
    #[must_use]
    pub fn allocate(&mut self) -> Option<PrefixLease> {
        let unused = self.next_unused();
        let index = match unused {
            Some(index) if self.returned.len() < RETURNED_MAX => {
                self.unused = index + 1;
                index
            }
            _ => self.returned.pop_front()?,
        };
        let network = self.network(index)?;
        self.in_use += 1;
        Some(PrefixLease { network, length: self.length })
    }

    /// Takes a prefix back. One of another pool is ignored; that would be our mistake.
    pub fn release(&mut self, lease: PrefixLease) {
        let index = self.index(lease.network).filter(|_| lease.length == self.length);
        debug_assert!(index.is_some(), "{} released to a foreign pool", lease.prefix());
        if let Some(index) = index {
            self.returned.push_back(index);
            self.in_use -= 1;
        }
    }

    /// Number of prefixes that it can hand out, those in use included.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Number of free prefixes.
    pub fn free(&self) -> u64 {
        self.capacity - self.in_use
    }

    /// Number of prefixes in use.
    pub fn in_use(&self) -> u64 {
        self.in_use
    }

    /// The first index that was never handed out and is not reserved.
    fn next_unused(&self) -> Option<u64> {
        let hole = self.reserved.range(..=self.unused).next_back();
        let index = match hole {
            Some((_, &last)) if last >= self.unused => last + 1,
            _ => self.unused,
        };
        let end = self.ranges.last().map_or(0, |range| range.offset + range.count);
        (index < end).then_some(index)
    }

    /// How far the bits that tell prefixes apart are from the lowest of the upper half.
    fn shift(&self) -> u32 {
        u32::from(LENGTH_MAX.saturating_sub(self.length))
    }

    /// The bits of a prefix in the upper half.
    fn mask(&self) -> u64 {
        u64::MAX << self.shift()
    }

    fn index(&self, network: u64) -> Option<u64> {
        let after = self.ranges.partition_point(|range| range.network <= network);
        let range = self.ranges.get(after.checked_sub(1)?)?;
        let place = (network - range.network) >> self.shift();
        (place < range.count).then(|| range.offset + place)
    }

    fn network(&self, index: u64) -> Option<u64> {
        let after = self.ranges.partition_point(|range| range.offset <= index);
        let range = self.ranges.get(after.checked_sub(1)?)?;
        Some(range.network + ((index - range.offset) << self.shift()))
    }
}

fn upper_half(address: Ipv6Addr) -> u64 {
    (address.to_bits() >> 64) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> Ipv6Net {
        text.parse().unwrap()
    }

    fn pool(prefixes: &[&str], length: u8) -> Result<PrefixPool, PrefixPoolError> {
        PrefixPool::new(&prefixes.iter().map(|text| net(text)).collect::<Vec<_>>(), length)
    }

    fn all(pool: &mut PrefixPool) -> Vec<String> {
        let leases: Vec<PrefixLease> = std::iter::from_fn(|| pool.allocate()).collect();
        leases.iter().map(|lease| lease.prefix().to_string()).collect()
    }

    #[test]
    fn prefixes_of_every_range_are_handed_out_once() {
        let mut links = pool(&["2001:db8:1::/64", "2001:db8:0:fffe::/63"], 64).unwrap();
        let expected = ["2001:db8:0:fffe::/64", "2001:db8:0:ffff::/64", "2001:db8:1::/64"];
        assert_eq!(all(&mut links), expected);
        assert_eq!((links.capacity(), links.free()), (3, 0));
        let mut delegated = pool(&["2001:db8:8000::/46"], 48).unwrap();
        let expected = [
            "2001:db8:8000::/48",
            "2001:db8:8001::/48",
            "2001:db8:8002::/48",
            "2001:db8:8003::/48",
        ];
        assert_eq!(all(&mut delegated), expected);
        assert_eq!(pool(&[], 64).unwrap().allocate(), None);
    }

    #[test]
    fn a_prefix_given_back_waits_behind_all_others() {
        let mut pool = pool(&["2001:db8::/62"], 64).unwrap();
        let first = pool.allocate().unwrap();
        let second = pool.allocate().unwrap();
        pool.release(second);
        pool.release(first);
        let expected =
            ["2001:db8:0:2::/64", "2001:db8:0:3::/64", "2001:db8:0:1::/64", "2001:db8::/64"];
        assert_eq!(all(&mut pool), expected);
    }

    #[test]
    fn a_large_pool_costs_nothing_and_its_queue_is_bounded() {
        let mut pool = pool(&["2001:db8::/16"], 64).unwrap();
        assert_eq!(pool.capacity(), 1 << 48);
        for _ in 0..RETURNED_MAX + 10 {
            let lease = pool.allocate().unwrap();
            pool.release(lease);
        }
        assert_eq!(pool.returned.len(), RETURNED_MAX);
        assert_eq!(pool.allocate().unwrap().prefix(), net("2001:0:0:a::/64"));
        assert_eq!(pool.in_use(), 1);
        assert!(size_of::<PrefixLease>() <= 16);
    }

    #[test]
    fn what_is_reserved_is_never_handed_out() {
        let mut pool = pool(&["2001:db8::/60", "2001:db8:1::/62"], 62).unwrap();
        assert_eq!(pool.capacity(), 5);
        pool.reserve(net("2001:db8:0:5::/64"));
        pool.reserve(net("2001:db8:0:6::/64"));
        pool.reserve(net("2001:db8:2::/48"));
        assert_eq!(pool.capacity(), 4, "both lie in the second");
        pool.reserve(net("2001:db8:1::/48"));
        assert_eq!((pool.capacity(), pool.free()), (3, 3), "the last range, all of it");
        assert_eq!(all(&mut pool), ["2001:db8::/62", "2001:db8:0:8::/62", "2001:db8:0:c::/62"]);
    }

    #[test]
    fn reservations_that_touch_become_one() {
        let mut pool = pool(&["2001:db8::/60"], 64).unwrap();
        for place in [3, 5, 4, 0, 15, 4] {
            pool.reserve(net(&format!("2001:db8:0:{place:x}::/64")));
        }
        assert_eq!(pool.reserved, BTreeMap::from([(0, 0), (3, 5), (15, 15)]));
        assert_eq!(pool.capacity(), 11);
        pool.reserve(net("2001:db8::/61"));
        assert_eq!(pool.reserved, BTreeMap::from([(0, 7), (15, 15)]));
        assert_eq!(all(&mut pool).len(), 7);
        let mut none = self::pool(&["2001:db8::/60"], 64).unwrap();
        none.reserve(net("2001:db8::/32"));
        assert_eq!((none.capacity(), none.allocate()), (0, None));
    }

    #[test]
    fn bad_prefixes_are_refused() {
        let overlap = pool(&["2001:db8::/32", "2001:db8:5::/48"], 64);
        assert!(matches!(overlap, Err(PrefixPoolError::Overlap(..))));
        assert!(matches!(pool(&["2001:db8::/56"], 48), Err(PrefixPoolError::Length(..))));
        assert!(matches!(pool(&["2001:db8::/56"], 65), Err(PrefixPoolError::Length(..))));
        assert!(matches!(pool(&["::/0"], 64), Err(PrefixPoolError::Length(..))));
        assert_eq!(pool(&["::/1"], 64).unwrap().capacity(), 1 << 63);
    }

    #[test]
    fn the_ends_of_the_address_space_fit() {
        let mut pool = pool(&["ffff:ffff:ffff:fffe::/63"], 64).unwrap();
        pool.reserve(net("ffff:ffff:ffff:fffe::/64"));
        assert_eq!(all(&mut pool), ["ffff:ffff:ffff:ffff::/64"]);
        let mut pool = self::pool(&["ffff:ffff:ffff::/48"], 48).unwrap();
        pool.reserve(net("ffff:ffff:ffff:ffff::/64"));
        assert_eq!(all(&mut pool), [""; 0]);
    }

    proptest! {
        #[test]
        fn never_twice_and_never_lost(
            steps in proptest::collection::vec(any::<Option<u8>>(), 0..300),
            reserved in proptest::collection::vec(0_u8..32, 0..6),
        ) {
            let mut pool = pool(&["2001:db8::/60", "2001:db8:1::/60"], 64).unwrap();
            for place in reserved {
                let upper = u64::from(place) / 16;
                pool.reserve(net(&format!("2001:db8:{upper}:{:x}::/64", place % 16)));
            }
            let capacity = pool.capacity();
            let mut leases: Vec<PrefixLease> = Vec::new();
            for step in steps {
                match step {
                    None => match pool.allocate() {
                        Some(lease) => leases.push(lease),
                        None => prop_assert_eq!(leases.len() as u64, capacity),
                    },
                    Some(which) if !leases.is_empty() => {
                        pool.release(leases.swap_remove(usize::from(which) % leases.len()));
                    }
                    Some(_) => {}
                }
                let distinct: BTreeSet<_> = leases.iter().map(PrefixLease::prefix).collect();
                prop_assert_eq!(distinct.len(), leases.len());
                prop_assert_eq!(pool.free() + leases.len() as u64, capacity);
            }
        }
    }
}
