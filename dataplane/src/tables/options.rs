//! What a session has beyond the plain: flags and two octets in its lines, and a third line, read only
//! where a flag says so, of what changes while packets pass.
//!
//! That state belongs to the session's index and outlives changes of the session. Any worker may
//! change it, as packets to a subscriber come by whatever queue: each part is one word.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::session::FLAG_ANY_SOURCE;
use crate::api::{Dscp, Policer, SequenceNumbers, Session, SessionOptions};

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

/// What outer headers have beside the template: two octets of the second line.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct OuterHeaders {
    /// The part of the traffic class that is the same for all packets.
    traffic_class: u8,
    /// [`COPY_DSCP`] and others.
    bits: u8,
}

const COPY_DSCP: u8 = 1;
const COPY_ECN: u8 = 2;
const NO_CHECKSUM: u8 = 4;

impl OuterHeaders {
    pub(crate) fn new(session: &Session) -> Self {
        let SessionOptions { traffic_class, udp_checksum, .. } = session.options;
        let mut bits = 0;
        let mut set = |condition: bool, bit: u8| bits |= if condition { bit } else { 0 };
        set(traffic_class.dscp == Dscp::Copy, COPY_DSCP);
        set(traffic_class.ecn, COPY_ECN);
        // RFC 8200 section 8.1: a UDP checksum over IPv6 is not optional.
        set(!udp_checksum && session.peer.is_ipv4(), NO_CHECKSUM);
        let traffic_class = match traffic_class.dscp {
            Dscp::Set(dscp) => dscp << 2,
            Dscp::Copy => 0,
        };
        Self { traffic_class, bits }
    }

    /// Whether they are those of the template, and a checksum.
    fn is_plain(self) -> bool {
        self == Self::default()
    }

    /// The outer traffic class of a packet with this one.
    #[inline]
    pub fn traffic_class(self, inner: u8) -> u8 {
        let dscp = if self.bits & COPY_DSCP != 0 { 0xfc } else { 0 };
        let ecn = if self.bits & COPY_ECN != 0 { 0x03 } else { 0 };
        inner & (dscp | ecn) | self.traffic_class
    }

    /// Whether outer UDP checksums are left out.
    #[inline]
    pub fn no_checksum(self) -> bool {
        self.bits & NO_CHECKSUM != 0
    }
}

/// A policer as workers use it. Time counts in [`TICKS_PER_NANOSECOND`]ths of a nanosecond.
#[derive(Debug, FromBytes)]
#[repr(C)]
pub struct Bucket {
    /// When it is full again, ticks.
    full_at: AtomicU64,
    /// What an octet takes, in 2^16ths of a tick.
    octet_ticks: AtomicU64,
    /// How far ahead of time a packet may be, ticks.
    tolerance_ticks: AtomicU64,
}

/// The finest time that policers know; 64 bits of it last for nine years.
pub const TICKS_PER_NANOSECOND: u64 = 64;

const FRACTION_BITS: u32 = 16;

impl Bucket {
    /// What an octet takes and how far ahead a packet may be.
    fn parameters(policer: Policer) -> [u64; 2] {
        const TICKS_PER_SECOND: u128 = 1_000_000_000 * TICKS_PER_NANOSECOND as u128;
        let rate = u128::from(policer.rate_bits_per_second.max(1));
        let octet_ticks = ((8 * TICKS_PER_SECOND) << FRACTION_BITS) / rate;
        let tolerance = (octet_ticks * u128::from(policer.burst_bytes)) >> FRACTION_BITS;
        [octet_ticks, tolerance].map(|ticks| u64::try_from(ticks).unwrap_or(u64::MAX))
    }

    /// Writer: the policer from now on. Where there is none any more, a worker that still has the
    /// session as it was goes on by the old one.
    fn set(&self, policer: Option<Policer>) {
        let Some([octet_ticks, tolerance_ticks]) = policer.map(Self::parameters) else { return };
        self.octet_ticks.store(octet_ticks, Relaxed);
        self.tolerance_ticks.store(tolerance_ticks, Relaxed);
    }

    /// Writer: whether it is that of this policer, if there is one.
    fn is(&self, policer: Option<Policer>) -> bool {
        let now = [&self.octet_ticks, &self.tolerance_ticks].map(|word| word.load(Relaxed));
        policer.is_none_or(|policer| Self::parameters(policer) == now)
    }

    /// Whether `bytes` octets may pass at `now`; they are taken off the bucket then. A refused packet
    /// takes nothing.
    ///
    /// Two workers that take at the same instant may take once together: a part in thousands of what
    /// passes, for which no packet has to wait for a locked instruction.
    #[inline(always)]
    pub fn take(&self, now_ticks: u64, bytes: u64) -> bool {
        let octet_ticks = self.octet_ticks.load(Relaxed);
        let cost = (u128::from(octet_ticks) * u128::from(bytes)) >> FRACTION_BITS;
        let cost = u64::try_from(cost).unwrap_or(u64::MAX);
        let next = self.full_at.load(Relaxed).max(now_ticks).saturating_add(cost);
        let passes = next - now_ticks <= self.tolerance_ticks.load(Relaxed);
        if passes {
            self.full_at.store(next, Relaxed);
        }
        passes
    }
}

/// The flags of a session's options.
pub(crate) fn flags(session: &Session) -> u16 {
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
    set(!OuterHeaders::new(session).is_plain(), FLAG_OUTER_HEADERS);
    flags
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
    /// The policer upstream, where the session's flags say that there is one.
    pub police_upstream: Bucket,
    /// The same downstream.
    pub police_downstream: Bucket,
    /// Not 0: what came last had a sequence number.
    peer_sequences: AtomicU32,
    /// Zero.
    spare: AtomicU32,
}

/// A cache line: policed packets read no other.
const _: () = assert!(size_of::<State>() == 64);

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

    /// Writer: the session's policers.
    pub(crate) fn set_policers(&self, options: &SessionOptions) {
        self.police_upstream.set(options.police_upstream);
        self.police_downstream.set(options.police_downstream);
    }

    /// Writer: whether those are its policers.
    pub(crate) fn has_policers(&self, options: &SessionOptions) -> bool {
        self.police_upstream.is(options.police_upstream)
            && self.police_downstream.is(options.police_downstream)
    }

    /// Writer: begins a session whose first packet has this number. What is zero already is not
    /// written, so that memory that was never used stays unused.
    pub(crate) fn begin(&self, first_ns: u16) {
        for word in [&self.received, &self.peer_sequences] {
            if word.load(Relaxed) != 0 {
                word.store(0, Relaxed);
            }
        }
        for bucket in [&self.police_upstream, &self.police_downstream] {
            if bucket.full_at.load(Relaxed) != 0 {
                bucket.full_at.store(0, Relaxed);
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

    fn bucket(policer: Policer) -> Bucket {
        let bucket = Bucket::read_from_bytes(&[0; size_of::<Bucket>()]).unwrap();
        bucket.set(Some(policer));
        bucket
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
        let bucket = bucket(policer);
        let start = 5 * 1_000_000_000 * TICKS_PER_NANOSECOND;
        let millisecond = 1_000_000 * TICKS_PER_NANOSECOND;
        let take = |milliseconds| bucket.take(start + milliseconds * millisecond, 1000);
        assert_eq!([0, 0, 0, 0].map(take), [true, true, true, false]);
        assert_eq!([7, 8, 8, 15, 16].map(take), [false, true, false, false, true]);
        // Never more than a burst, however long nothing came.
        assert_eq!([1000, 1000, 1000, 1000].map(take), [true, true, true, false]);
        // A packet larger than the burst never passes.
        assert!(!bucket.take(u64::MAX / 2, 3001));
        assert!(bucket.take(u64::MAX / 2, 3000));
    }

    proptest! {
        #[test]
        fn what_passes_is_the_rate(
            rate in 10_000u64..100_000_000_000, size in 64u64..1500
        ) {
            let policer = Policer { rate_bits_per_second: rate, burst_bytes: 3000 };
            let bucket = bucket(policer);
            // Packets come at twice the rate, for the time of 20000 of them.
            let interval = u128::from(size) * 8 * 1_000_000_000 * u128::from(TICKS_PER_NANOSECOND);
            let at = |count: u64| {
                u64::try_from(u128::from(count) * interval / 2 / u128::from(rate)).unwrap()
            };
            let passed = (0..40_000).filter(|count| bucket.take(at(*count), size)).count();
            let expected = 20_000 + (3000 / size) as i64;
            prop_assert!((passed as i64 - expected).abs() <= 60, "{} {}", passed, expected);
        }

        #[test]
        fn no_number_overflows(rate: u64, burst_bytes: u32, full_at: u64, now: u64, bytes: u64) {
            let bucket = bucket(Policer { rate_bits_per_second: rate, burst_bytes });
            bucket.full_at.store(full_at, Relaxed);
            bucket.take(now, bytes);
        }
    }

    #[test]
    fn the_ends_of_the_ranges_are_told_apart() {
        let octet = |rate| {
            let burst_bytes = *POLICER_BURSTS.end();
            Bucket::parameters(Policer { rate_bits_per_second: rate, burst_bytes })
        };
        let (slow, fast) = (octet(*POLICER_RATES.start()), octet(*POLICER_RATES.end()));
        assert!(slow.iter().all(|ticks| *ticks < u64::MAX));
        // An octet of the fastest: a part in a thousand is still told.
        assert!(fast[0] > 1000);
    }
}
