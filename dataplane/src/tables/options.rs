//! What a session has beyond the plain: a third line, read only where a flag of the session says that
//! there is something in it, and what changes while packets pass.
//!
//! The state belongs to the session's index and outlives changes of the session. Any worker may
//! change it, as packets to a subscriber come by whatever queue: each part is one word.

use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, transmute};

use super::epoch::arena::Arena;
use super::session::FLAG_ANY_SOURCE;
use crate::api::{Dscp, Policer, SequenceNumbers, Session};

/// Data is sent with sequence numbers.
pub const FLAG_SEQUENCE: u16 = 1 << 6;
/// Data is sent with sequence numbers if what came last had one.
pub const FLAG_SEQUENCE_AS_PEER: u16 = 1 << 7;
/// Late packets are dropped.
pub const FLAG_DROP_LATE: u16 = 1 << 8;
/// The MSS is left alone.
pub const FLAG_KEEP_MSS: u16 = 1 << 9;
/// Large packets go in fragments of the outer packet.
pub const FLAG_OUTER_FRAGMENTS: u16 = 1 << 10;
/// Outer UDP checksums are verified.
pub const FLAG_VERIFY_CHECKSUM: u16 = 1 << 11;
/// Outer headers differ from the template: traffic class, UDP checksum.
pub const FLAG_OUTER_HEADERS: u16 = 1 << 12;
/// There is a policer upstream.
pub const FLAG_POLICE_UPSTREAM: u16 = 1 << 13;
/// There is a policer downstream.
pub const FLAG_POLICE_DOWNSTREAM: u16 = 1 << 14;
/// The packets of this direction are not plain: some option asks for more. Policers are not among
/// them, as they have a flag for each direction.
pub const FLAG_SPECIAL: u16 = 1 << 15;

/// The flags of which each makes packets from the subscriber special.
const SPECIAL_UPSTREAM: u16 = FLAG_ANY_SOURCE | FLAG_SEQUENCE_AS_PEER | FLAG_VERIFY_CHECKSUM;

/// The flags of which each makes packets to the subscriber special.
const SPECIAL_DOWNSTREAM: u16 = FLAG_SEQUENCE | FLAG_SEQUENCE_AS_PEER | FLAG_OUTER_HEADERS;

/// A session's flags in its first and in its second line.
pub(crate) fn of_directions(flags: u16) -> [u16; 2] {
    [SPECIAL_UPSTREAM, SPECIAL_DOWNSTREAM]
        .map(|special| if flags & special == 0 { flags } else { flags | FLAG_SPECIAL })
}

/// The flags that say that the third line holds something.
const IN_LINE: u16 = FLAG_OUTER_HEADERS | FLAG_POLICE_UPSTREAM | FLAG_POLICE_DOWNSTREAM;

/// The third line.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct Options {
    /// The policer upstream.
    pub police_upstream: Bucket,
    /// The policer downstream.
    pub police_downstream: Bucket,
    /// The bits of the inner traffic class that are copied.
    pub traffic_class_mask: u8,
    /// The rest of the outer traffic class.
    pub traffic_class: u8,
    /// Not 0: outer UDP checksums over IPv4 are left out.
    pub no_checksum: u8,
    /// Zero.
    pub spare: [u8; 29],
}

/// A policer as workers use it. Time counts in [`TICKS_PER_NANOSECOND`]ths of a nanosecond.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct Bucket {
    /// What an octet takes, in 2^16ths of a tick.
    octet_ticks: u64,
    /// How far ahead of time a packet may be, ticks.
    tolerance_ticks: u64,
}

/// The finest time that policers know; 64 bits of it last for nine years.
pub const TICKS_PER_NANOSECOND: u64 = 64;

const FRACTION_BITS: u32 = 16;

impl Bucket {
    fn new(policer: Policer) -> Self {
        const TICKS_PER_SECOND: u128 = 1_000_000_000 * TICKS_PER_NANOSECOND as u128;
        let rate = u128::from(policer.rate_bits_per_second.max(1));
        let octet_ticks = ((8 * TICKS_PER_SECOND) << FRACTION_BITS) / rate;
        let tolerance = (octet_ticks * u128::from(policer.burst_bytes)) >> FRACTION_BITS;
        let fit = |ticks: u128| u64::try_from(ticks).unwrap_or(u64::MAX);
        Self { octet_ticks: fit(octet_ticks), tolerance_ticks: fit(tolerance) }
    }

    /// Whether `bytes` octets may pass at `now`; they are taken off the bucket then, whose word is
    /// the time at which it is full again. A refused packet takes nothing.
    #[inline]
    pub fn take(self, full_at: &AtomicU64, now_ticks: u64, bytes: u64) -> bool {
        let cost = (u128::from(self.octet_ticks) * u128::from(bytes)) >> FRACTION_BITS;
        let cost = u64::try_from(cost).unwrap_or(u64::MAX);
        let taken = full_at.fetch_update(Relaxed, Relaxed, |full_at| {
            let next = full_at.max(now_ticks).saturating_add(cost);
            (next - now_ticks <= self.tolerance_ticks).then_some(next)
        });
        taken.is_ok()
    }
}

const LINE_WORDS: usize = 8;
const _: () = assert!(size_of::<Options>() == LINE_WORDS * 8);

/// The third lines, by slot. Written before the slot is published, as the others.
#[derive(Debug)]
pub(crate) struct OptionLines(Arena<[AtomicU64; LINE_WORDS]>);

impl OptionLines {
    pub(crate) fn new(slots: u32) -> io::Result<Self> {
        Ok(Self(Arena::new(slots as usize)?))
    }

    /// Asks the CPU for a line.
    #[inline]
    pub(crate) fn prefetch(&self, slot: u32) {
        self.0.prefetch(slot as usize);
    }

    #[inline]
    pub(crate) fn read(&self, slot: u32) -> Options {
        let words = self.0[slot as usize].each_ref().map(|word| word.load(Relaxed));
        transmute!(words)
    }

    /// Writer: fills the line of a slot that nobody can reach, if its flags say that there is one.
    pub(crate) fn write(&self, slot: u32, flags: u16, options: Options) {
        if flags & IN_LINE == 0 {
            // Memory that was never used stays unused.
            return;
        }
        let words: [u64; LINE_WORDS] = transmute!(options);
        for (place, word) in self.0[slot as usize].iter().zip(words) {
            place.store(word, Relaxed);
        }
    }

    /// Writer: whether the line of a slot with these flags says the same.
    pub(crate) fn is_same(&self, slot: u32, flags: u16, options: Options) -> bool {
        flags & IN_LINE == 0 || self.read(slot) == options
    }
}

/// The flags and the third line of a session.
pub(crate) fn options(session: &Session) -> (u16, Options) {
    let options = session.options;
    let mut flags = 0;
    let mut set = |condition: bool, flag: u16| flags |= if condition { flag } else { 0 };
    set(options.sequence == SequenceNumbers::Always, FLAG_SEQUENCE);
    set(options.sequence == SequenceNumbers::AsPeer, FLAG_SEQUENCE_AS_PEER);
    // Numbers that nobody asked for mean nothing (docs/peers.md row 33).
    let in_order = options.sequence != SequenceNumbers::Never;
    set(options.drop_late && in_order, FLAG_DROP_LATE);
    set(!options.mss_clamp, FLAG_KEEP_MSS);
    // An IPv6 source fragments for its destination, which is the peer: a profile may ask for it, too.
    set(options.outer_fragments, FLAG_OUTER_FRAGMENTS);
    set(options.verify_checksum, FLAG_VERIFY_CHECKSUM);
    set(options.police_upstream.is_some(), FLAG_POLICE_UPSTREAM);
    set(options.police_downstream.is_some(), FLAG_POLICE_DOWNSTREAM);
    let (mut mask, class) = match options.traffic_class.dscp {
        Dscp::Set(dscp) => (0, dscp << 2),
        Dscp::Copy => (0xfc, 0),
    };
    mask |= if options.traffic_class.ecn { 0x03 } else { 0 };
    // RFC 8200 section 8.1: a UDP checksum over IPv6 is not optional.
    let no_checksum = u8::from(!options.udp_checksum && session.peer.is_ipv4());
    set(mask | class | no_checksum != 0, FLAG_OUTER_HEADERS);
    let bucket = |policer: Option<Policer>| policer.map(Bucket::new).unwrap_or_default();
    let line = Options {
        police_upstream: bucket(options.police_upstream),
        police_downstream: bucket(options.police_downstream),
        traffic_class_mask: mask,
        traffic_class: class,
        no_checksum,
        spare: [0; 29],
    };
    (flags, line)
}

/// How many late packets in a row say that the peer has begun to count anew: more than any network
/// holds back, and few enough that a peer that did is heard soon.
const LATE_RUN_MAX: u32 = 32;

/// What changes with the packets of a session. All zero at its beginning.
#[derive(Debug, FromBytes)]
#[repr(C)]
pub struct State {
    /// The number of the next packet that is sent; its lower half counts.
    ns: AtomicU32,
    /// The number that is expected; above it, how many were late in a row, and whether there was one
    /// at all. [`Received`].
    received: AtomicU32,
    /// When the bucket upstream is full again.
    pub police_upstream: AtomicU64,
    /// When the bucket downstream is full again.
    pub police_downstream: AtomicU64,
    /// Not 0: what came last had a sequence number.
    peer_sequences: AtomicU32,
    /// Zero.
    spare: AtomicU32,
}

const _: () = assert!(size_of::<State>() == 32);

/// [`State::received`] taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Received {
    next: u16,
    late: u32,
    begun: bool,
}

impl Received {
    fn decode(word: u32) -> Self {
        Self { next: word as u16, late: word >> 16 & 0x7fff, begun: word >> 31 != 0 }
    }

    fn encode(self) -> u32 {
        u32::from(self.next) | self.late << 16 | u32::from(self.begun) << 31
    }

    /// After a packet with this number, and whether that was late. RFC 2661 section 3.1: numbers wrap,
    /// and those of half the circle before are past.
    fn after(self, ns: u16) -> (Self, bool) {
        let is_past = ns.wrapping_sub(self.next) > u16::MAX / 2;
        if self.begun && is_past && self.late + 1 < LATE_RUN_MAX {
            return (Self { late: self.late + 1, ..self }, true);
        }
        (Self { next: ns.wrapping_add(1), late: 0, begun: true }, false)
    }
}

impl State {
    /// The number of the packet that is sent next.
    pub fn take_ns(&self) -> u16 {
        self.ns.fetch_add(1, Relaxed) as u16
    }

    /// Notes that a packet came with this number. Returns whether it is late, or was here before.
    pub fn is_late(&self, ns: u16) -> bool {
        let after = |word: u32| Received::decode(word).after(ns);
        let before =
            self.received.fetch_update(Relaxed, Relaxed, |word| Some(after(word).0.encode()));
        // The closure never says no.
        before.is_ok_and(|word| after(word).1)
    }

    /// Notes whether what came last had a sequence number.
    pub fn set_peer_sequences(&self, sequences: bool) {
        if (self.peer_sequences.load(Relaxed) != 0) != sequences {
            self.peer_sequences.store(sequences.into(), Relaxed);
        }
    }

    /// Whether what came last had a sequence number.
    pub fn peer_sequences(&self) -> bool {
        self.peer_sequences.load(Relaxed) != 0
    }

    /// Writer: begins a session whose first packet has this number. What is zero already is not
    /// written, so that memory that was never used stays unused.
    pub(crate) fn begin(&self, first_ns: u16) {
        for word in [&self.received, &self.peer_sequences] {
            if word.load(Relaxed) != 0 {
                word.store(0, Relaxed);
            }
        }
        for word in [&self.police_upstream, &self.police_downstream] {
            if word.load(Relaxed) != 0 {
                word.store(0, Relaxed);
            }
        }
        if self.ns.load(Relaxed) != u32::from(first_ns) {
            self.ns.store(first_ns.into(), Relaxed);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::api::{POLICER_BURSTS, POLICER_RATES};
    use proptest::prelude::*;

    fn state() -> State {
        State::read_from_bytes(&[0; size_of::<State>()]).unwrap()
    }

    #[test]
    fn numbers_sent_wrap() {
        let state = state();
        state.begin(0xfffe);
        let sent: Vec<_> = (0..4).map(|_| state.take_ns()).collect();
        assert_eq!(sent, [0xfffe, 0xffff, 0, 1]);
    }

    #[test]
    fn in_order_ahead_late_and_twice() {
        let state = state();
        // The first one may have any number, and a gap is no fault of what comes behind it.
        let late = |ns| state.is_late(ns);
        assert_eq!([7, 8, 10, 9, 10, 11].map(late), [false, false, false, true, true, false]);
    }

    #[test]
    fn around_the_wrap_and_half_the_circle() {
        let state = state();
        let late = |ns| state.is_late(ns);
        assert_eq!([0xffff, 0, 0xffff, 1].map(late), [false, false, true, false]);
        // Expected is 2: 2 + 0x7fff is the farthest ahead, one more is the farthest behind.
        assert!(state.is_late(0x8002));
        assert!(!state.is_late(0x8001));
    }

    #[test]
    fn a_peer_that_counts_anew_is_heard_after_a_while() {
        let state = state();
        assert!(!state.is_late(1000));
        let late = (0..100).filter(|ns| state.is_late(*ns)).count();
        assert_eq!(late, LATE_RUN_MAX as usize - 1);
        // A few in between are none.
        for ns in 100..200 {
            assert!(!state.is_late(ns));
            assert!(state.is_late(ns));
        }
    }

    #[test]
    fn what_the_peer_does_is_remembered() {
        let state = state();
        assert!(!state.peer_sequences());
        state.set_peer_sequences(true);
        assert!(state.peer_sequences());
        state.set_peer_sequences(false);
        assert!(!state.peer_sequences());
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        // A megabit: 1000 octets are 8 ms.
        let policer = Policer { rate_bits_per_second: 1_000_000, burst_bytes: 3000 };
        let (bucket, word) = (Bucket::new(policer), AtomicU64::new(0));
        let start = 5 * 1_000_000_000 * TICKS_PER_NANOSECOND;
        let millisecond = 1_000_000 * TICKS_PER_NANOSECOND;
        let take = |milliseconds| bucket.take(&word, start + milliseconds * millisecond, 1000);
        assert_eq!([0, 0, 0, 0].map(take), [true, true, true, false]);
        assert_eq!([7, 8, 8, 15, 16].map(take), [false, true, false, false, true]);
        // Never more than a burst, however long nothing came.
        assert_eq!([1000, 1000, 1000, 1000].map(take), [true, true, true, false]);
        // A packet larger than the burst never passes.
        assert!(!bucket.take(&word, u64::MAX / 2, 3001));
        assert!(bucket.take(&word, u64::MAX / 2, 3000));
    }

    proptest! {
        #[test]
        fn what_passes_is_the_rate(
            rate in 10_000u64..100_000_000_000, size in 64u64..1500
        ) {
            let policer = Policer { rate_bits_per_second: rate, burst_bytes: 3000 };
            let (bucket, word) = (Bucket::new(policer), AtomicU64::new(0));
            // Packets come at twice the rate, for the time of 20000 of them.
            let interval = u128::from(size) * 8 * 1_000_000_000 * u128::from(TICKS_PER_NANOSECOND);
            let at = |count: u64| {
                u64::try_from(u128::from(count) * interval / 2 / u128::from(rate)).unwrap()
            };
            let passed = (0..40_000).filter(|count| bucket.take(&word, at(*count), size)).count();
            let expected = 20_000 + (3000 / size) as i64;
            prop_assert!((passed as i64 - expected).abs() <= 60, "{} {}", passed, expected);
        }

        #[test]
        fn no_number_overflows(rate: u64, burst_bytes: u32, full_at: u64, now: u64, bytes: u64) {
            let bucket = Bucket::new(Policer { rate_bits_per_second: rate, burst_bytes });
            bucket.take(&AtomicU64::new(full_at), now, bytes);
        }
    }

    #[test]
    fn the_ends_of_the_ranges_are_told_apart() {
        let octet = |rate| {
            Bucket::new(Policer { rate_bits_per_second: rate, burst_bytes: *POLICER_BURSTS.end() })
        };
        let (slow, fast) = (octet(*POLICER_RATES.start()), octet(*POLICER_RATES.end()));
        assert!(slow.octet_ticks < u64::MAX && slow.tolerance_ticks < u64::MAX);
        // An octet of the fastest: a part in a thousand is still told.
        assert!(fast.octet_ticks > 1000);
    }
}
