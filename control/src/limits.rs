//! How many new tunnels may ask, in all and per source, in fixed memory.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::time::Duration;

use crate::time::Time;

/// Buckets for sources. Two sources may share one, chosen by a keyed hash: a flood from forged
/// addresses fills buckets, never memory.
const SOURCE_BUCKETS: usize = 4096;

/// A token bucket as one point in time: the moment from which the bucket is full again.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bucket {
    full_at: Time,
}

impl Bucket {
    /// Takes one token; `false` where none is left. Holds at most `per_second` tokens.
    pub fn take(&mut self, now: Time, per_second: u32) -> bool {
        let interval = Duration::from_secs(1).checked_div(per_second);
        interval.is_some_and(|interval| self.take_every(now, interval, per_second))
    }

    /// Takes one token of at most `burst`, one of which comes back each `interval`; `false` where none
    /// is left.
    pub fn take_every(&mut self, now: Time, interval: Duration, burst: u32) -> bool {
        let from = self.full_at.max(now);
        if from.since(now) + interval > interval * burst {
            return false;
        }
        self.full_at = from + interval;
        true
    }
}

/// Admits SCCRQs.
pub struct SetupLimiter<S> {
    all_per_second: u32,
    source_per_second: u32,
    all: Bucket,
    /// Of strangers, and of peers.
    sources: [Box<[Bucket]>; 2],
    hasher: S,
}

impl<S: BuildHasher> SetupLimiter<S> {
    /// At most `all_per_second` in all and `source_per_second` from one source; `hasher` is keyed
    /// so that a peer cannot aim at another's bucket.
    pub fn new(all_per_second: u32, source_per_second: u32, hasher: S) -> Self {
        Self {
            all_per_second,
            source_per_second,
            all: Bucket::default(),
            sources: [(); 2].map(|()| vec![Bucket::default(); SOURCE_BUCKETS].into()),
            hasher,
        }
    }

    /// Whether one more from `source` may be looked at now. A peer that is known is limited by
    /// itself alone: what strangers ask takes nothing from it.
    pub fn admit(&mut self, now: Time, source: IpAddr, known: bool) -> bool {
        let index = self.hasher.hash_one(source) as usize % SOURCE_BUCKETS;
        let [strangers, peers] = &mut self.sources;
        let sources = if known { peers } else { strangers };
        let Some(bucket) = sources.get_mut(index) else { return false };
        // The source first: a single noisy one must not use up what belongs to all.
        bucket.take(now, self.source_per_second)
            && (known || self.all.take(now, self.all_per_second))
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasherDefault, DefaultHasher};

    use super::*;

    fn limiter(all: u32, source: u32) -> SetupLimiter<BuildHasherDefault<DefaultHasher>> {
        SetupLimiter::new(all, source, BuildHasherDefault::default())
    }

    #[test]
    fn one_source_gets_its_rate_and_no_more() {
        let mut limiter = limiter(1000, 10);
        let source = "192.0.2.1".parse().unwrap();
        let admitted = (0..100).filter(|_| limiter.admit(Time::ZERO, source, false)).count();
        assert_eq!(admitted, 10, "a burst of one second's worth");
        let later = Time::ZERO + Duration::from_millis(250);
        let admitted = (0..100).filter(|_| limiter.admit(later, source, false)).count();
        assert_eq!(admitted, 2, "a quarter of a second refills a quarter");
    }

    #[test]
    fn a_noisy_source_leaves_room_for_others() {
        let mut limiter = limiter(20, 10);
        let noisy = "192.0.2.1".parse().unwrap();
        let admitted = (0..1000).filter(|_| limiter.admit(Time::ZERO, noisy, false)).count();
        assert_eq!(admitted, 10);
        assert!(limiter.admit(Time::ZERO, "198.51.100.77".parse().unwrap(), false));
    }

    #[test]
    fn all_together_are_bounded() {
        let mut limiter = limiter(50, 10);
        let sources = (0..1000u32).map(|index| IpAddr::V4((0xc633_0000 + index).into()));
        let admitted = sources.filter(|source| limiter.admit(Time::ZERO, *source, false)).count();
        assert_eq!(admitted, 50);
    }

    #[test]
    fn strangers_take_nothing_from_a_peer() {
        let mut limiter = limiter(50, 10);
        let peer = "192.0.2.1".parse().unwrap();
        let sources = (0..100_000u32).map(|index| IpAddr::V4((0xc633_0000 + index).into()));
        for source in sources.chain([peer]) {
            limiter.admit(Time::ZERO, source, false);
        }
        let admitted = (0..100).filter(|_| limiter.admit(Time::ZERO, peer, true)).count();
        assert_eq!(admitted, 10, "its own rate");
    }

    #[test]
    fn a_rate_of_zero_admits_nothing() {
        let mut limiter = limiter(0, 10);
        assert!(!limiter.admit(Time::ZERO, "192.0.2.1".parse().unwrap(), false));
    }
}
