//! Pools of IPv4 addresses for subscribers.
//!
//! Taking, reserving and giving back an address costs the same however many there are. A free
//! address waits behind all that were free before it, so that packets meant for its last owner do
//! not reach the next one. Memory: eight octets an address, allocated at once.
//!
//! A pool hands out every address of a prefix but the first and the last one: subscribers' systems
//! take these for the network and for a broadcast address. A /31 and a /32 have neither.
//!
//! [`prefixes`] has pools of IPv6 prefixes, which are too many for that.
//!
//! Not here: who may have which address, and blocks that nodes of a cluster own; a block will be
//! one more prefix.

pub mod prefixes;

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use thiserror::Error;

/// The most addresses of one pool: a /8, 128 MiB.
pub const POOL_ADDRESSES_MAX: u32 = 1 << 24;

/// What is wrong with a pool's prefixes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PoolError {
    /// Two prefixes share addresses.
    #[error("{0} and {1} overlap")]
    Overlap(Ipv4Net, Ipv4Net),
    /// More than [`POOL_ADDRESSES_MAX`].
    #[error("{0} addresses in one pool, {POOL_ADDRESSES_MAX} is the most")]
    TooLarge(u64),
    /// No prefix.
    #[error("the pool has no prefix")]
    Empty,
}

/// Why an address was not reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReserveError {
    /// It is none of the pool's, so nothing needs to be reserved.
    #[error("the address is not in the pool")]
    NotInPool,
    /// It is handed out or reserved already.
    #[error("the address is in use")]
    InUse,
}

/// An address handed out, to be given back by [`Pool::release`]. It can be neither copied nor made
/// elsewhere, so that no address is given back twice.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an address that is not given back is lost to the pool"]
pub struct Lease {
    address: Ipv4Addr,
}

impl Lease {
    /// The address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }
}

/// Consecutive addresses.
#[derive(Debug, Clone, Copy)]
struct Range {
    prefix: Ipv4Net,
    first: u32,
    length: u32,
    /// Index of the first address among those of the pool.
    offset: u32,
}

/// Neighbours of a free address in the queue of free ones; [`IN_USE`] in `next` where it is not
/// free.
#[derive(Debug, Clone, Copy)]
struct Link {
    previous: u32,
    next: u32,
}

/// No neighbour. Above every index, see [`POOL_ADDRESSES_MAX`].
const NONE: u32 = u32::MAX;

/// Not in the queue.
const IN_USE: u32 = u32::MAX - 1;

const _: () = assert!(POOL_ADDRESSES_MAX < IN_USE);

/// A pool.
#[derive(Debug)]
pub struct Pool {
    /// By first address.
    ranges: Vec<Range>,
    links: Vec<Link>,
    /// The next address to hand out.
    head: u32,
    /// Free since last.
    tail: u32,
    free: u32,
}

impl Pool {
    /// A pool of these prefixes; all of it free, handed out in the order of the addresses first.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn new(prefixes: &[Ipv4Net]) -> Result<Self, PoolError> {
        let mut prefixes: Vec<Ipv4Net> = prefixes.iter().map(Ipv4Net::trunc).collect();
        prefixes.sort();
        if let Some(pair) = prefixes.windows(2).find(|pair| pair[0].contains(&pair[1])) {
            return Err(PoolError::Overlap(pair[0], pair[1]));
        }
        let mut ranges = Vec::with_capacity(prefixes.len());
        let mut count: u64 = 0;
        for prefix in prefixes {
            let all = 1_u64 << (32 - prefix.prefix_len());
            let (skipped, length) = if all > 2 { (1, all - 2) } else { (0, all) };
            let offset = u32::try_from(count).unwrap_or(NONE);
            count += length;
            let first = prefix.network().to_bits() + skipped;
            let length = u32::try_from(length).unwrap_or(NONE);
            ranges.push(Range { prefix, first, length, offset });
        }
        let length = match u32::try_from(count) {
            Ok(0) => return Err(PoolError::Empty),
            Ok(length) if length <= POOL_ADDRESSES_MAX => length,
            _ => return Err(PoolError::TooLarge(count)),
        };
        let last = length - 1;
        let links = (0..length)
            .map(|index| Link {
                previous: index.checked_sub(1).unwrap_or(NONE),
                next: if index == last { NONE } else { index + 1 },
            })
            .collect();
        Ok(Self { ranges, links, head: 0, tail: last, free: length })
    }

    /// Hands out the address that has been free for the longest time; `None` where none is.
    #[must_use]
    pub fn allocate(&mut self) -> Option<Lease> {
        let index = self.head;
        self.unlink(index)?;
        self.address(index).map(|address| Lease { address })
    }

    /// Hands out this very address: the gateway, a user's fixed address, one from an earlier run.
    ///
    /// # Errors
    /// [`ReserveError`].
    pub fn reserve(&mut self, address: Ipv4Addr) -> Result<Lease, ReserveError> {
        let index = self.index(address).ok_or(ReserveError::NotInPool)?;
        self.unlink(index).ok_or(ReserveError::InUse)?;
        Ok(Lease { address })
    }

    /// Takes an address back. One of another pool is ignored; that would be our mistake.
    pub fn release(&mut self, lease: Lease) {
        let index = self.index(lease.address);
        debug_assert!(index.is_some(), "{} released to a foreign pool", lease.address);
        if let Some(index) = index {
            self.link_last(index);
        }
    }

    /// Whether the address is one of the pool's, including those it never hands out.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        self.range_of(address).is_some()
    }

    /// Whether the address is handed out or reserved.
    pub fn is_in_use(&self, address: Ipv4Addr) -> bool {
        let link = self.index(address).and_then(|index| self.links.get(index as usize));
        link.is_some_and(|link| link.next == IN_USE)
    }

    /// Number of addresses that it can hand out, those in use included.
    pub fn capacity(&self) -> u32 {
        u32::try_from(self.links.len()).unwrap_or(NONE)
    }

    /// Number of free addresses.
    pub fn free(&self) -> u32 {
        self.free
    }

    /// Takes a free address out of the queue.
    fn unlink(&mut self, index: u32) -> Option<()> {
        let link = self.links.get_mut(index as usize).filter(|link| link.next != IN_USE)?;
        let Link { previous, next } =
            std::mem::replace(link, Link { previous: NONE, next: IN_USE });
        match self.links.get_mut(previous as usize) {
            Some(link) => link.next = next,
            None => self.head = next,
        }
        match self.links.get_mut(next as usize) {
            Some(link) => link.previous = previous,
            None => self.tail = previous,
        }
        self.free -= 1;
        Some(())
    }

    /// Puts an address in use at the end of the queue.
    fn link_last(&mut self, index: u32) {
        let previous = self.tail;
        match self.links.get_mut(index as usize) {
            Some(link) if link.next == IN_USE => *link = Link { previous, next: NONE },
            _ => return,
        }
        match self.links.get_mut(previous as usize) {
            Some(link) => link.next = index,
            None => self.head = index,
        }
        self.tail = index;
        self.free += 1;
    }

    fn range_of(&self, address: Ipv4Addr) -> Option<&Range> {
        let after = self.ranges.partition_point(|range| range.prefix.network() <= address);
        let range = self.ranges.get(after.checked_sub(1)?)?;
        range.prefix.contains(&address).then_some(range)
    }

    fn index(&self, address: Ipv4Addr) -> Option<u32> {
        let range = self.range_of(address)?;
        let place = address.to_bits().checked_sub(range.first)?;
        (place < range.length).then(|| range.offset + place)
    }

    fn address(&self, index: u32) -> Option<Ipv4Addr> {
        let after = self.ranges.partition_point(|range| range.offset <= index);
        let range = self.ranges.get(after.checked_sub(1)?)?;
        Some(Ipv4Addr::from_bits(range.first + (index - range.offset)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    fn pool(prefixes: &[&str]) -> Result<Pool, PoolError> {
        let prefixes: Vec<Ipv4Net> = prefixes.iter().map(|text| text.parse().unwrap()).collect();
        Pool::new(&prefixes)
    }

    fn all(pool: &mut Pool) -> Vec<String> {
        let leases: Vec<Lease> = std::iter::from_fn(|| pool.allocate()).collect();
        leases.iter().map(|lease| lease.address().to_string()).collect()
    }

    #[test]
    fn first_and_last_address_of_a_prefix_are_not_handed_out() {
        let mut pool = pool(&["10.0.1.0/30", "10.0.0.4/31", "10.0.0.9/32"]).unwrap();
        assert_eq!(pool.capacity(), 5);
        let expected = ["10.0.0.4", "10.0.0.5", "10.0.0.9", "10.0.1.1", "10.0.1.2"];
        assert_eq!(all(&mut pool), expected);
        assert_eq!(pool.allocate(), None, "exhausted");
        assert_eq!(pool.free(), 0);
        assert!(pool.contains(Ipv4Addr::new(10, 0, 1, 3)));
        assert!(!pool.contains(Ipv4Addr::new(10, 0, 1, 4)));
        assert!(!pool.contains(Ipv4Addr::new(10, 0, 0, 3)));
        assert!(!pool.contains(Ipv4Addr::UNSPECIFIED));
        assert_eq!(
            pool.reserve(Ipv4Addr::new(10, 0, 1, 3)),
            Err(ReserveError::NotInPool),
            "the broadcast address"
        );
    }

    #[test]
    fn bad_prefixes_are_refused() {
        assert_eq!(pool(&[]).unwrap_err(), PoolError::Empty);
        assert!(matches!(pool(&["10.0.0.0/24", "10.0.0.128/25"]), Err(PoolError::Overlap(..))));
        assert!(matches!(pool(&["10.0.0.7/24", "10.0.0.0/24"]), Err(PoolError::Overlap(..))));
        assert_eq!(pool(&["10.0.0.0/7"]).unwrap_err(), PoolError::TooLarge((1 << 25) - 2));
        assert_eq!(pool(&["0.0.0.0/0"]).unwrap_err(), PoolError::TooLarge((1 << 32) - 2));
        assert_eq!(pool(&["10.0.0.0/8"]).unwrap().capacity(), (1 << 24) - 2);
    }

    #[test]
    fn the_ends_of_the_address_space_fit() {
        let mut pool = pool(&["0.0.0.0/30", "255.255.255.252/30"]).unwrap();
        assert_eq!(all(&mut pool), ["0.0.0.1", "0.0.0.2", "255.255.255.253", "255.255.255.254"]);
    }

    #[test]
    fn an_address_given_back_waits_behind_all_others() {
        let mut pool = pool(&["10.0.0.0/29"]).unwrap();
        let first = pool.allocate().unwrap();
        assert_eq!(first.address(), Ipv4Addr::new(10, 0, 0, 1));
        pool.release(first);
        assert_eq!(
            all(&mut pool),
            ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.1"]
        );
    }

    #[test]
    fn a_reserved_address_is_not_handed_out_until_it_is_given_back() {
        let mut pool = pool(&["10.0.0.0/29"]).unwrap();
        let gateway = pool.reserve(Ipv4Addr::new(10, 0, 0, 1)).unwrap();
        assert!(pool.is_in_use(gateway.address()));
        assert!(!pool.is_in_use(Ipv4Addr::new(10, 0, 0, 2)));
        assert!(!pool.is_in_use(Ipv4Addr::new(10, 0, 0, 0)), "never handed out");
        assert!(!pool.is_in_use(Ipv4Addr::new(10, 0, 1, 1)));
        assert_eq!(pool.reserve(gateway.address()), Err(ReserveError::InUse));
        assert_eq!(pool.reserve(Ipv4Addr::new(10, 0, 1, 1)), Err(ReserveError::NotInPool));
        let last = pool.reserve(Ipv4Addr::new(10, 0, 0, 6)).unwrap();
        assert_eq!(all(&mut pool), ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"]);
        pool.release(last);
        pool.release(gateway);
        assert_eq!(all(&mut pool), ["10.0.0.6", "10.0.0.1"]);
    }

    #[test]
    fn an_address_costs_eight_octets() {
        assert_eq!(size_of::<Link>(), 8);
        assert_eq!(size_of::<Lease>(), 4);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Allocate,
        Reserve(u8),
        Release(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => Just(Step::Allocate),
            1 => any::<u8>().prop_map(Step::Reserve),
            2 => any::<u8>().prop_map(Step::Release),
        ]
    }

    proptest! {
        #[test]
        fn behaves_like_a_queue(steps in proptest::collection::vec(step(), 0..300)) {
            let mut pool = pool(&["10.0.0.0/28", "10.0.0.32/27"]).unwrap();
            let mut model: VecDeque<Ipv4Addr> = (1..15)
                .chain(33..63)
                .map(|host| Ipv4Addr::new(10, 0, 0, host))
                .collect();
            let mut leases = Vec::new();
            for step in steps {
                match step {
                    Step::Allocate => {
                        let lease = pool.allocate();
                        let address = lease.as_ref().map(Lease::address);
                        prop_assert_eq!(address, model.pop_front());
                        leases.extend(lease);
                    }
                    Step::Reserve(host) => {
                        let address = Ipv4Addr::new(10, 0, 0, host);
                        let position = model.iter().position(|free| *free == address);
                        let lease = pool.reserve(address);
                        prop_assert_eq!(lease.is_ok(), position.is_some());
                        leases.extend(lease);
                        if let Some(position) = position {
                            model.remove(position);
                        }
                    }
                    Step::Release(number) if !leases.is_empty() => {
                        let lease = leases.swap_remove(usize::from(number) % leases.len());
                        model.push_back(lease.address());
                        pool.release(lease);
                    }
                    Step::Release(_) => {}
                }
                prop_assert_eq!(pool.free() as usize, model.len());
            }
        }
    }
}
