//! A hierarchical timer wheel: a million timers that cost nothing while they wait.
//!
//! Seven levels of 64 slots: a slot of level 0 is one tick of [`TICK`], a slot of level n holds
//! what is 64^n ticks wide. A timer lies in the level of the highest group of six bits in which its
//! deadline differs from the present, and moves down when the present reaches its slot, so that
//! setting, cancelling and expiring take constant time and a timer moves at most six times. Seven
//! levels cover all of [`Time`].
//!
//! Timers are named by tokens of the owner's: small numbers, an index of a slab. Each token has one
//! timer, which takes 16 octets; so memory follows the largest token ever used.
//!
//! A timer never expires early, and at most one tick late.

use std::time::Duration;

use crate::time::Time;

/// The resolution. L2TP and PPP wait for seconds, RADIUS for parts of one.
pub const TICK: Duration = Duration::from_millis(10);

const TICK_NANOS: u64 = 10_000_000;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const LEVELS: usize = 7;

const _: () = assert!(TICK.as_nanos() == TICK_NANOS as u128);
const _: () = assert!(
    u64::MAX / TICK_NANOS < 1 << (SLOT_BITS * LEVELS as u32),
    "the levels cover all of time"
);

/// End of a list.
const NONE: u32 = u32::MAX;

/// In `next` of a timer that is not set.
const UNSET: u32 = u32::MAX - 1;

/// The most tokens; above are the marks.
pub const TOKENS_MAX: u32 = 1 << 28;

const _: () = assert!(TOKENS_MAX < UNSET);

/// One timer, in the list of its slot or in that of the expired ones.
#[derive(Debug, Clone, Copy)]
struct Timer {
    deadline_tick: u64,
    previous: u32,
    next: u32,
}

const UNSET_TIMER: Timer = Timer { deadline_tick: 0, previous: NONE, next: UNSET };

/// A list of timers.
#[derive(Debug, Clone, Copy)]
struct List {
    first: u32,
    last: u32,
}

const EMPTY: List = List { first: NONE, last: NONE };

/// A level: its slots, and a bit for each that is not empty.
#[derive(Debug, Clone, Copy)]
struct Level {
    slots: [List; SLOTS],
    occupied: u64,
}

/// Where a timer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Expired,
    Slot { level: usize, slot: usize },
}

/// The wheel.
#[derive(Debug)]
pub struct Timers {
    timers: Vec<Timer>,
    levels: [Level; LEVELS],
    expired: List,
    /// The tick up to which everything expired. Timers in the levels are later.
    elapsed: u64,
    count: usize,
}

impl Default for Timers {
    fn default() -> Self {
        Self::new()
    }
}

impl Timers {
    /// No timers; time starts at [`Time::ZERO`].
    pub fn new() -> Self {
        Self {
            timers: Vec::new(),
            levels: [Level { slots: [EMPTY; SLOTS], occupied: 0 }; LEVELS],
            expired: EMPTY,
            elapsed: 0,
            count: 0,
        }
    }

    /// Sets the timer of `token`, in place of where it was set to before. A deadline that has
    /// passed expires with the next tick, so that whoever sets a timer again while it expires, gets
    /// other work done in between.
    ///
    /// # Panics
    /// Where `token` is not below [`TOKENS_MAX`]: our mistake.
    pub fn set(&mut self, token: u32, deadline: Time) {
        assert!(token < TOKENS_MAX, "timer tokens are small numbers, {token} is none");
        self.cancel(token);
        let index = token as usize;
        if index >= self.timers.len() {
            self.timers.resize(index + 1, UNSET_TIMER);
        }
        let tick = deadline.as_nanos().div_ceil(TICK_NANOS).max(self.elapsed + 1);
        self.link(token, tick);
        self.count += 1;
    }

    /// Cancels the timer of `token`; returns whether it was set. One that expired and was not yet
    /// polled is cancelled, too.
    pub fn cancel(&mut self, token: u32) -> bool {
        let is_set = self.is_set(token);
        if is_set {
            self.unlink(token);
            self.count -= 1;
        }
        is_set
    }

    /// Whether the timer of `token` is set.
    pub fn is_set(&self, token: u32) -> bool {
        self.timers.get(token as usize).is_some_and(|timer| timer.next != UNSET)
    }

    /// Number of timers set.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether none is set.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The next token whose timer has expired at `now`; it is not set any more. Poll until `None`.
    pub fn poll_expired(&mut self, now: Time) -> Option<u32> {
        let now_tick = now.as_nanos() / TICK_NANOS;
        while self.expired.first == NONE {
            let Some((level, slot, tick)) = self.next_slot().filter(|(.., tick)| *tick <= now_tick)
            else {
                self.elapsed = self.elapsed.max(now_tick);
                return None;
            };
            self.reach(level, slot, tick);
        }
        let token = self.expired.first;
        self.unlink(token);
        self.count -= 1;
        Some(token)
    }

    /// When to call [`Self::poll_expired`]: no timer expires before. While the next timer is far
    /// off this is earlier, at most six times for a timer.
    pub fn next_deadline(&self) -> Option<Time> {
        let tick = if self.expired.first == NONE { self.next_slot()?.2 } else { self.elapsed };
        Some(Time::ZERO + Duration::from_nanos(tick.saturating_mul(TICK_NANOS)))
    }

    /// The slot that is reached first, and when. Lower levels come first: what lies in a higher one
    /// is behind the end of the slot that the present is in.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        let (level, found) =
            self.levels.iter().enumerate().find(|(_, level)| level.occupied != 0)?;
        let slot = found.occupied.trailing_zeros();
        let shift = SLOT_BITS * level as u32;
        let above = self.elapsed >> (shift + SLOT_BITS) << (shift + SLOT_BITS);
        Some((level, slot as usize, above | u64::from(slot) << shift))
    }

    /// Lets the present reach a slot: its timers expire or move down.
    fn reach(&mut self, level: usize, slot: usize, tick: u64) {
        self.elapsed = tick;
        let Some(found) = self.levels.get_mut(level) else { return };
        found.occupied &= !(1 << slot);
        let Some(list) = found.slots.get_mut(slot) else { return };
        let mut token = std::mem::replace(list, EMPTY).first;
        while let Some(timer) = self.timers.get(token as usize).copied() {
            self.link(token, timer.deadline_tick);
            token = timer.next;
        }
    }

    /// Where a timer with this deadline is, as long as the present is what it is.
    fn place(&self, deadline_tick: u64) -> Place {
        if deadline_tick <= self.elapsed {
            return Place::Expired;
        }
        let differing_bit = (deadline_tick ^ self.elapsed).ilog2();
        let level = differing_bit / SLOT_BITS;
        let slot = (deadline_tick >> (level * SLOT_BITS)) as usize % SLOTS;
        Place::Slot { level: level as usize, slot }
    }

    fn list(&mut self, place: Place) -> &mut List {
        match place {
            Place::Expired => &mut self.expired,
            Place::Slot { level, slot } => &mut self.levels[level].slots[slot],
        }
    }

    /// Appends a timer to the list where it belongs.
    fn link(&mut self, token: u32, deadline_tick: u64) {
        let place = self.place(deadline_tick);
        if let Place::Slot { level, slot } = place {
            self.levels[level].occupied |= 1 << slot;
        }
        let list = self.list(place);
        let previous = std::mem::replace(&mut list.last, token);
        if previous == NONE {
            list.first = token;
        } else {
            self.timers[previous as usize].next = token;
        }
        self.timers[token as usize] = Timer { deadline_tick, previous, next: NONE };
    }

    /// Takes a set timer out of its list.
    fn unlink(&mut self, token: u32) {
        let timer = std::mem::replace(&mut self.timers[token as usize], UNSET_TIMER);
        let Timer { deadline_tick, previous, next } = timer;
        let place = self.place(deadline_tick);
        match self.timers.get_mut(previous as usize) {
            Some(timer) => timer.next = next,
            None => self.list(place).first = next,
        }
        match self.timers.get_mut(next as usize) {
            Some(timer) => timer.previous = previous,
            None => self.list(place).last = previous,
        }
        if let Place::Slot { level, slot } = place
            && self.list(place).first == NONE
        {
            self.levels[level].occupied &= !(1 << slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn at(milliseconds: u64) -> Time {
        Time::from_start(Duration::from_millis(milliseconds))
    }

    fn expired(timers: &mut Timers, now: Time) -> Vec<u32> {
        std::iter::from_fn(|| timers.poll_expired(now)).collect()
    }

    #[test]
    fn a_timer_expires_once_at_its_deadline() {
        let mut timers = Timers::new();
        timers.set(7, at(1000));
        assert!(timers.is_set(7));
        assert_eq!(expired(&mut timers, at(999)), [0_u32; 0]);
        assert_eq!(timers.next_deadline(), Some(at(1000)));
        assert_eq!(expired(&mut timers, at(1000)), [7]);
        assert!(!timers.is_set(7));
        assert_eq!(expired(&mut timers, at(5000)), [0_u32; 0]);
        assert_eq!(timers.next_deadline(), None);
        assert!(timers.is_empty());
    }

    #[test]
    fn between_two_ticks_it_is_the_later_one() {
        let mut timers = Timers::new();
        timers.set(0, at(1001));
        assert_eq!(expired(&mut timers, at(1009)), [0_u32; 0]);
        assert_eq!(expired(&mut timers, at(1010)), [0]);
    }

    #[test]
    fn set_again_it_moves_and_cancelled_it_is_gone() {
        let mut timers = Timers::new();
        timers.set(1, at(100));
        timers.set(2, at(100));
        timers.set(1, at(90_000));
        assert_eq!(timers.len(), 2);
        assert_eq!(expired(&mut timers, at(200)), [2]);
        assert!(timers.cancel(1));
        assert!(!timers.cancel(1));
        assert!(!timers.cancel(1_000_000), "never seen");
        assert_eq!(expired(&mut timers, at(100_000)), [0_u32; 0]);
    }

    #[test]
    fn an_expired_timer_can_be_cancelled_before_it_is_polled() {
        let mut timers = Timers::new();
        for token in 0..3 {
            timers.set(token, at(100));
        }
        assert_eq!(timers.poll_expired(at(100)), Some(0));
        assert!(timers.cancel(2));
        assert_eq!(expired(&mut timers, at(100)), [1]);
    }

    #[test]
    fn what_has_passed_expires_with_the_next_tick() {
        let mut timers = Timers::new();
        assert_eq!(expired(&mut timers, at(1000)), [0_u32; 0]);
        timers.set(3, at(10));
        assert_eq!(expired(&mut timers, at(1000)), [0_u32; 0], "a loop would never end");
        assert_eq!(timers.next_deadline(), Some(at(1010)));
        assert_eq!(expired(&mut timers, at(1010)), [3]);
    }

    #[test]
    fn the_end_of_time_fits() {
        let mut timers = Timers::new();
        let end = Time::from_start(Duration::from_nanos(u64::MAX));
        timers.set(0, end);
        timers.set(1, at(1));
        assert_eq!(expired(&mut timers, at(10)), [1]);
        assert_eq!(expired(&mut timers, at(1 << 40)), [0_u32; 0]);
        assert!(timers.next_deadline().is_some_and(|deadline| deadline <= end));
    }

    #[test]
    fn a_timer_costs_sixteen_octets_and_few_wake_ups() {
        assert_eq!(size_of::<Timer>(), 16);
        let mut timers = Timers::new();
        let deadline = at(1000 * 86_400 * 365);
        timers.set(0, deadline);
        let mut wake_ups = 0;
        while let Some(next) = timers.next_deadline() {
            assert!(next <= deadline);
            timers.poll_expired(next);
            wake_ups += 1;
        }
        assert!(wake_ups <= LEVELS, "{wake_ups}");
    }

    #[test]
    fn a_million_timers() {
        let mut timers = Timers::new();
        let deadline = |token: u32| at(1 + u64::from(token.wrapping_mul(2_654_435_761)) % 60_000);
        for token in 0..1_000_000 {
            timers.set(token, deadline(token));
        }
        let mut last = Time::ZERO;
        let mut count = 0;
        while let Some(next) = timers.next_deadline() {
            while let Some(token) = timers.poll_expired(next) {
                assert!(deadline(token) <= next && next.since(deadline(token)) < TICK);
                count += 1;
            }
            assert!(next >= last);
            last = next;
        }
        assert_eq!(count, 1_000_000);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Set(u32, u64),
        Cancel(u32),
        Advance(u64),
        AdvanceToDeadline,
    }

    /// Milliseconds of all magnitudes.
    fn milliseconds() -> impl Strategy<Value = u64> {
        (0_u32..40, any::<u64>()).prop_map(|(bits, value)| value & ((1 << bits) - 1))
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0_u32..24, milliseconds()).prop_map(|(token, after)| Step::Set(token, after)),
            1 => (0_u32..24).prop_map(Step::Cancel),
            2 => milliseconds().prop_map(Step::Advance),
            2 => Just(Step::AdvanceToDeadline),
        ]
    }

    proptest! {
        #[test]
        fn never_early_and_at_most_a_tick_late(steps in proptest::collection::vec(step(), 0..200)) {
            let mut timers = Timers::new();
            // The deadline, and when the timer was set: what had passed already is late from there.
            let mut model: BTreeMap<u32, Time> = BTreeMap::new();
            let mut now = Time::ZERO;
            for step in steps {
                match step {
                    Step::Set(token, after) => {
                        timers.set(token, now + Duration::from_millis(after));
                        model.insert(token, now + Duration::from_millis(after));
                    }
                    Step::Cancel(token) => {
                        prop_assert_eq!(timers.cancel(token), model.remove(&token).is_some());
                    }
                    Step::Advance(by) => now = now + Duration::from_millis(by),
                    Step::AdvanceToDeadline => {
                        if let Some(deadline) = timers.next_deadline() {
                            now = now.max(deadline);
                        }
                    }
                }
                for token in expired(&mut timers, now) {
                    let deadline = model.remove(&token);
                    prop_assert!(deadline.is_some_and(|deadline| deadline <= now), "early");
                }
                let late = |deadline: &Time| now.since(*deadline) > TICK;
                prop_assert!(!model.values().any(late), "late");
                prop_assert_eq!(timers.len(), model.len());
                let earliest = model.values().min();
                prop_assert_eq!(timers.next_deadline().is_some(), earliest.is_some());
                if let (Some(next), Some(earliest)) = (timers.next_deadline(), earliest) {
                    prop_assert!(next <= *earliest + TICK);
                    prop_assert!(now < next, "nothing is due after polling");
                }
            }
        }
    }
}
