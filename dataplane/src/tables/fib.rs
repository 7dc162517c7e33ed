//! The FIB: what a destination resolves to, and who claims each prefix.
//!
//! Several may claim one prefix: the host's own address, a session, a kernel route, a subscriber
//! prefix. The best claim is what workers see. A path, the way to a tunnel's peer, is resolved here
//! too, without sessions: an outer packet never goes into a session, also where a subscriber's
//! address equals the peer's.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::lpm::{Full, Key, Lpm, LpmWriter, NOBODY, Owner};
use super::path::Paths;
use super::slots::Slots;

/// What a destination resolves to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// Nothing.
    NoRoute,
    /// A next hop: the index of its adjacency.
    Neighbor(u32),
    /// A subscriber: the slot of the session.
    Session(u32),
    /// This host, or an interface that only the kernel has.
    Local {
        /// Whether tunnels end at this address.
        endpoint: bool,
    },
    /// On-link, the neighbour not known.
    Glean,
    /// Dropped.
    Unreachable,
}

const TAG_SHIFT: u32 = 28;
const INDEX_MASK: u32 = (1 << TAG_SHIFT) - 1;

/// Tags of the entries that packets are forwarded by.
const NEIGHBOR: u32 = 1;
const SESSION: u32 = 2;

/// The largest index that an entry holds.
pub(crate) const INDEX_MAX: u32 = INDEX_MASK;

impl Entry {
    /// The value in the table; 0 is no route.
    pub(crate) fn encode(self) -> u32 {
        let (tag, index) = match self {
            Self::NoRoute => (0, 0),
            Self::Neighbor(index) => (NEIGHBOR, index),
            Self::Session(slot) => (SESSION, slot),
            Self::Local { endpoint } => (3, endpoint.into()),
            Self::Glean => (4, 0),
            Self::Unreachable => (5, 0),
        };
        debug_assert!(index <= INDEX_MAX);
        tag << TAG_SHIFT | index
    }

    /// The index of [`Self::Neighbor`], if the value is one.
    #[inline(always)]
    pub(crate) fn neighbor(value: u32) -> Option<u32> {
        if value >> TAG_SHIFT == NEIGHBOR { Some(value & INDEX_MASK) } else { None }
    }

    /// The slot of [`Self::Session`], if the value is one.
    #[inline(always)]
    pub(crate) fn session(value: u32) -> Option<u32> {
        if value >> TAG_SHIFT == SESSION { Some(value & INDEX_MASK) } else { None }
    }

    /// The entry of a value.
    #[inline]
    pub(crate) fn decode(value: u32) -> Self {
        let index = value & INDEX_MASK;
        match value >> TAG_SHIFT {
            NEIGHBOR => Self::Neighbor(index),
            SESSION => Self::Session(index),
            3 => Self::Local { endpoint: index != 0 },
            4 => Self::Glean,
            5 => Self::Unreachable,
            _ => Self::NoRoute,
        }
    }
}

/// Who claims a prefix: encoded entries, 0 where nobody does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    /// An address of this host: [`Entry::Local`].
    pub(crate) host: u32,
    /// A session.
    pub(crate) session: u32,
    /// A kernel route.
    pub(crate) route: u32,
    /// A subscriber prefix: [`Entry::Unreachable`].
    pub(crate) subscriber: u32,
    /// Which of host, route and subscriber were named since the resynchronisation began.
    pub(crate) named: Named,
}

/// Marks of a resynchronisation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) host: bool,
    pub(crate) route: bool,
    pub(crate) subscriber: bool,
}

/// The same in less room: host and subscriber claims are one of few values each.
#[derive(Debug, Clone, Copy)]
struct Packed {
    session: u32,
    route: u32,
    /// Host's tag and lowest bit of its index, whether there is a subscriber prefix, marks.
    bits: u8,
}

const HOST: u8 = 1;
const ENDPOINT: u8 = 2;
const SUBSCRIBER: u8 = 4;
const HOST_NAMED: u8 = 8;
const ROUTE_NAMED: u8 = 16;
const SUBSCRIBER_NAMED: u8 = 32;

impl From<Claims> for Packed {
    fn from(claims: Claims) -> Self {
        let mut bits = 0;
        let mut set = |condition: bool, bit: u8| bits |= if condition { bit } else { 0 };
        set(claims.host != 0, HOST);
        set(claims.host == Entry::Local { endpoint: true }.encode(), ENDPOINT);
        set(claims.subscriber != 0, SUBSCRIBER);
        set(claims.named.host, HOST_NAMED);
        set(claims.named.route, ROUTE_NAMED);
        set(claims.named.subscriber, SUBSCRIBER_NAMED);
        Self { session: claims.session, route: claims.route, bits }
    }
}

impl From<Packed> for Claims {
    fn from(packed: Packed) -> Self {
        let is = |bit: u8| packed.bits & bit != 0;
        let entry = |is: bool, entry: Entry| if is { entry.encode() } else { 0 };
        Self {
            host: entry(is(HOST), Entry::Local { endpoint: is(ENDPOINT) }),
            session: packed.session,
            route: packed.route,
            subscriber: entry(is(SUBSCRIBER), Entry::Unreachable),
            named: Named {
                host: is(HOST_NAMED),
                route: is(ROUTE_NAMED),
                subscriber: is(SUBSCRIBER_NAMED),
            },
        }
    }
}

impl Claims {
    /// What workers see.
    fn best(&self) -> u32 {
        first([self.host, self.session, self.route, self.subscriber])
    }

    /// What a path sees.
    fn best_for_path(&self) -> u32 {
        first([self.host, self.route, self.subscriber, 0])
    }
}

fn first(claims: [u32; 4]) -> u32 {
    claims.into_iter().find(|claim| *claim != 0).unwrap_or(0)
}

/// The FIB of one family; the writer's side.
#[derive(Debug)]
pub(crate) struct Fib<K> {
    lpm: LpmWriter,
    /// Who claims each prefix, but for most of those that one session alone claims: these are found in
    /// the table itself, whose entry at the prefix's first address says whose it is. There are
    /// millions of them.
    claims: BTreeMap<(K, u8), Packed>,
    /// Number of prefixes of each length, so that a search skips the lengths that nobody uses.
    lengths: Vec<u32>,
    /// How many of them are in the table alone.
    unlisted: Vec<u32>,
    pub(crate) paths: Paths<K>,
}

impl<K: Key> Fib<K> {
    /// An empty FIB with at most `groups` groups in its table.
    pub(crate) fn new(groups: u32) -> io::Result<Self> {
        Ok(Self {
            lpm: LpmWriter::new(groups)?,
            claims: BTreeMap::new(),
            lengths: vec![0; usize::from(K::BITS) + 1],
            unlisted: vec![0; usize::from(K::BITS) + 1],
            paths: Paths::default(),
        })
    }

    /// What workers read.
    pub(crate) fn reader(&self) -> &Arc<Lpm> {
        self.lpm.reader()
    }

    /// The table's groups.
    pub(crate) fn groups(&mut self) -> &mut Slots {
        self.lpm.groups()
    }

    /// Who claims the prefix.
    pub(crate) fn claims(&self, key: K, length: u8) -> Claims {
        match self.claims.get(&(key, length)) {
            Some(packed) => (*packed).into(),
            None => self.unlisted(key, length).unwrap_or_default(),
        }
    }

    /// The claim of a session that is not listed.
    fn unlisted(&self, key: K, length: u8) -> Option<Claims> {
        if self.unlisted[usize::from(length)] == 0 {
            return None;
        }
        let owner = self.lpm.owner(key);
        let is_session = owner.length == length && Entry::session(owner.value).is_some();
        is_session.then(|| Claims { session: owner.value, ..Claims::default() })
    }

    /// Lists a session's claim that a longer prefix with the same first address is about to hide.
    fn list_before(&mut self, key: K, length: u8) {
        if self.unlisted.iter().take(length.into()).all(|count| *count == 0) {
            return;
        }
        let owner = self.lpm.owner(key);
        let is_hidden = owner.length < length && key.network(owner.length) == key;
        let place = (key, owner.length);
        if !is_hidden || Entry::session(owner.value).is_none() || self.claims.contains_key(&place) {
            return;
        }
        self.claims.insert(place, Claims { session: owner.value, ..Claims::default() }.into());
        self.unlisted[usize::from(owner.length)] -= 1;
    }

    /// All prefixes in order, but for those that one session alone claims.
    pub(crate) fn iter(&self) -> impl Iterator<Item = ((K, u8), Claims)> {
        self.claims.iter().map(|(prefix, packed)| (*prefix, (*packed).into()))
    }

    /// Begins a resynchronisation.
    pub(crate) fn forget_names(&mut self) {
        for packed in self.claims.values_mut() {
            packed.bits &= !(HOST_NAMED | ROUTE_NAMED | SUBSCRIBER_NAMED);
        }
    }

    /// Changes who claims a prefix; workers see it on return.
    pub(crate) fn set(
        &mut self,
        key: K,
        length: u8,
        claims: Claims,
        epoch: u64,
    ) -> Result<(), Full> {
        let place = (key, length);
        let listed = self.claims.get(&place).map(|packed| Claims::from(*packed));
        let before = listed.or_else(|| self.unlisted(key, length));
        let (old, new) = (before.map_or(0, |before| before.best()), claims.best());
        if new != 0 && old != new {
            self.list_before(key, length);
            self.lpm.insert(key, Owner { value: new, length }, epoch)?;
        }
        if new == 0 && old != 0 {
            let heir = self.best_below(key, length);
            self.lpm.remove(key, length, heir, epoch);
        }
        let is_session_alone = claims == Claims { session: new, ..Claims::default() };
        let to_list = !is_session_alone || self.lpm.owner(key) != Owner { value: new, length };
        match (new != 0 && to_list, listed.is_some()) {
            (true, _) => drop(self.claims.insert(place, claims.into())),
            (false, true) => drop(self.claims.remove(&place)),
            (false, false) => {}
        }
        let count = |counts: &mut Vec<u32>, was: bool, is: bool| match (was, is) {
            (false, true) => counts[usize::from(length)] += 1,
            (true, false) => counts[usize::from(length)] -= 1,
            _ => {}
        };
        count(&mut self.lengths, old != 0, new != 0);
        count(&mut self.unlisted, old != 0 && listed.is_none(), new != 0 && !to_list);
        Ok(())
    }

    fn best_below(&self, key: K, below: u8) -> Owner {
        self.search(key, below, Claims::best)
    }

    /// What leads to a tunnel's peer.
    pub(crate) fn resolve_path(&self, peer: K) -> Entry {
        Entry::decode(self.search(peer, K::BITS + 1, Claims::best_for_path).value)
    }

    /// The longest prefix shorter than `below` bits that covers `key`.
    fn search(&self, key: K, below: u8, best: impl Fn(&Claims) -> u32) -> Owner {
        (0..below)
            .rev()
            .filter(|length| self.lengths[usize::from(*length)] > 0)
            .find_map(|length| {
                let value = best(&self.claims(key.network(length), length));
                (value != 0).then_some(Owner { value, length })
            })
            .unwrap_or(NOBODY)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn entries_survive_the_encoding() {
        let entries = [
            Entry::NoRoute,
            Entry::Neighbor(0),
            Entry::Neighbor(INDEX_MAX),
            Entry::Session(0),
            Entry::Session(INDEX_MAX),
            Entry::Local { endpoint: false },
            Entry::Local { endpoint: true },
            Entry::Glean,
            Entry::Unreachable,
        ];
        for entry in entries {
            assert_eq!(Entry::decode(entry.encode()), entry);
            assert_eq!(entry.encode() == 0, entry == Entry::NoRoute);
            let neighbor = Entry::neighbor(entry.encode()).map(Entry::Neighbor);
            let session = Entry::session(entry.encode()).map(Entry::Session);
            assert_eq!(neighbor, matches!(entry, Entry::Neighbor(_)).then_some(entry));
            assert_eq!(session, matches!(entry, Entry::Session(_)).then_some(entry));
        }
    }

    #[test]
    fn host_before_session_before_route_before_subscriber() {
        let mut fib: Fib<u32> = Fib::new(8).unwrap();
        let all = Claims {
            host: Entry::Local { endpoint: true }.encode(),
            session: Entry::Session(3).encode(),
            route: Entry::Neighbor(4).encode(),
            subscriber: Entry::Unreachable.encode(),
            named: Named::default(),
        };
        let seen = |fib: &Fib<u32>| Entry::decode(fib.reader().lookup(9u32));
        let mut claims = all;
        fib.set(9, 32, claims, 0).unwrap();
        assert_eq!(seen(&fib), Entry::Local { endpoint: true });
        claims.host = 0;
        fib.set(9, 32, claims, 0).unwrap();
        assert_eq!(seen(&fib), Entry::Session(3));
        assert_eq!(fib.resolve_path(9), Entry::Neighbor(4), "a path never enters a session");
        claims.session = 0;
        fib.set(9, 32, claims, 0).unwrap();
        assert_eq!(seen(&fib), Entry::Neighbor(4));
        claims.route = 0;
        fib.set(9, 32, claims, 0).unwrap();
        assert_eq!(seen(&fib), Entry::Unreachable);
        fib.set(9, 32, Claims::default(), 0).unwrap();
        assert_eq!(seen(&fib), Entry::NoRoute);
        assert_eq!(fib.iter().count(), 0);
        assert!(fib.lengths.iter().all(|count| *count == 0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// Against a map that holds everything: prefixes that nest and share their first address.
        #[test]
        fn claims_are_what_was_set(
            operations in prop::collection::vec(
                (0u128..8, prop_oneof![Just(24u8), Just(32), Just(40), Just(48), Just(60), Just(64),
                    Just(80), Just(128)], 0u32..16, 1u32..9), 1..80)
        ) {
            let mut fib: Fib<u128> = Fib::new(4096).unwrap();
            let mut model = BTreeMap::new();
            for (bits, length, who, slot) in operations {
                // First addresses of many lengths are the same.
                let key = (bits << 96 | (bits & 1) << 63).network(length);
                let is = |bit: u32, entry: Entry| if who & bit != 0 { entry.encode() } else { 0 };
                let claims = Claims {
                    session: is(1, Entry::Session(slot)),
                    route: is(2, Entry::Neighbor(slot)),
                    host: is(4, Entry::Local { endpoint: false }),
                    subscriber: is(8, Entry::Unreachable),
                    named: Named { route: who & 2 != 0, ..Named::default() },
                };
                fib.set(key, length, claims, 0).unwrap();
                if claims.best() == 0 {
                    model.remove(&(key, length));
                } else {
                    model.insert((key, length), claims);
                }
                for (place, claims) in &model {
                    prop_assert_eq!(fib.claims(place.0, place.1), *claims);
                }
                for probe in model.keys().flat_map(|(key, length)| [*key, key.last(*length)]) {
                    let covers = |(key, length): &(u128, u8)| probe.network(*length) == *key;
                    let best = model.iter().filter(|(place, _)| covers(place));
                    let best = best.max_by_key(|((_, length), _)| *length).map(|(_, c)| c.best());
                    prop_assert_eq!(fib.reader().lookup(probe), best.unwrap_or(0));
                }
            }
            let places: Vec<_> = model.into_keys().collect();
            for (key, length) in places {
                fib.set(key, length, Claims::default(), 0).unwrap();
            }
            prop_assert!(fib.claims.is_empty());
            prop_assert!(fib.lengths.iter().chain(&fib.unlisted).all(|count| *count == 0));
        }
    }
}
