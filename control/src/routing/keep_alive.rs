//! Keeps the neighbours alive that the data plane uses.
//!
//! A stale entry is verified only once a packet is sent to the neighbour (RFC 4861 section 7.3.3),
//! and the kernel does not see the data plane's packets: it would trust the entry for ever, or
//! throw it away as unused. So we have a stale entry verified at once, and a neighbour in use that
//! the kernel does not know looked for until it is found, all of it at a bounded rate.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use xlns_dataplane::api::PortIndex;

use crate::time::Time;

/// At most [`ASKED_PER_WINDOW_MAX`] neighbours are asked for in such a time.
const WINDOW: Duration = Duration::from_millis(100);

/// See [`WINDOW`]: 200 a second verify six thousand neighbours every half minute, the time that the
/// kernel trusts them by default, with 84 kbit/s of ARP.
const ASKED_PER_WINDOW_MAX: u32 = 20;

/// When a neighbour in use that was not found is looked for again. The kernel itself gives up after
/// three probes a second apart.
pub(super) const RETRY: Duration = Duration::from_secs(5);

/// A neighbour cache entry: address and link index.
pub(super) type NeighborKey = (IpAddr, u32);

/// Which neighbours are in use, and when each is looked at next.
#[derive(Debug, Default)]
pub(super) struct KeepAlive {
    uses: BTreeMap<(PortIndex, IpAddr), u32>,
    queue: BTreeSet<(Time, NeighborKey)>,
    due: BTreeMap<NeighborKey, Time>,
    window_end: Time,
    asked: u32,
}

impl KeepAlive {
    /// Counts a use; returns whether it is the first one.
    pub(super) fn hold(&mut self, port: PortIndex, address: IpAddr) -> bool {
        let count = self.uses.entry((port, address)).or_default();
        *count += 1;
        *count == 1
    }

    /// Ends a use.
    pub(super) fn release(&mut self, port: PortIndex, address: IpAddr) {
        if let Some(count) = self.uses.get_mut(&(port, address)) {
            *count -= 1;
            if *count == 0 {
                self.uses.remove(&(port, address));
            }
        }
    }

    pub(super) fn is_used(&self, port: PortIndex, address: IpAddr) -> bool {
        self.uses.contains_key(&(port, address))
    }

    /// The neighbours in use on a port.
    pub(super) fn used_on(&self, port: PortIndex) -> impl Iterator<Item = IpAddr> {
        self.uses.keys().filter(move |(used, _)| *used == port).map(|(_, address)| *address)
    }

    /// Looks at the neighbour at `at`, or earlier where that was planned already.
    pub(super) fn schedule(&mut self, at: Time, neighbor: NeighborKey) {
        match self.due.get(&neighbor) {
            Some(due) if *due <= at => return,
            Some(due) => {
                self.queue.remove(&(*due, neighbor));
            }
            None => {}
        }
        self.due.insert(neighbor, at);
        self.queue.insert((at, neighbor));
    }

    /// The next neighbour to look at now.
    pub(super) fn take_due(&mut self, now: Time) -> Option<NeighborKey> {
        if now >= self.window_end {
            self.window_end = now + WINDOW;
            self.asked = 0;
        }
        let (at, neighbor) = *self.queue.first()?;
        if at > now || self.asked >= ASKED_PER_WINDOW_MAX {
            return None;
        }
        self.queue.remove(&(at, neighbor));
        self.due.remove(&neighbor);
        Some(neighbor)
    }

    /// Counts a request to the kernel against the rate.
    pub(super) fn count_asked(&mut self) {
        self.asked += 1;
    }

    /// When [`Self::take_due`] has something.
    pub(super) fn deadline(&self) -> Option<Time> {
        let (at, _) = *self.queue.first()?;
        Some(if self.asked >= ASKED_PER_WINDOW_MAX { at.max(self.window_end) } else { at })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn neighbor(number: u32) -> NeighborKey {
        (Ipv4Addr::from_bits(number).into(), 2)
    }

    fn at(milliseconds: u64) -> Time {
        Time::from_start(Duration::from_millis(milliseconds))
    }

    #[test]
    fn the_earlier_of_two_plans_counts() {
        let mut keep_alive = KeepAlive::default();
        keep_alive.schedule(at(50), neighbor(1));
        keep_alive.schedule(at(70), neighbor(1));
        assert_eq!(keep_alive.deadline(), Some(at(50)));
        keep_alive.schedule(at(20), neighbor(1));
        assert_eq!(keep_alive.deadline(), Some(at(20)));
        assert_eq!(keep_alive.take_due(at(19)), None);
        assert_eq!(keep_alive.take_due(at(20)), Some(neighbor(1)));
        assert_eq!(keep_alive.take_due(at(100)), None);
        assert_eq!(keep_alive.deadline(), None);
    }

    #[test]
    fn the_rate_is_bounded() {
        let mut keep_alive = KeepAlive::default();
        for number in 0..50 {
            keep_alive.schedule(at(0), neighbor(number));
        }
        let ask = |keep_alive: &mut KeepAlive, now| {
            let mut asked = 0;
            while keep_alive.take_due(now).is_some() {
                keep_alive.count_asked();
                asked += 1;
            }
            asked
        };
        assert_eq!(ask(&mut keep_alive, at(0)), 20);
        assert_eq!(keep_alive.deadline(), Some(at(100)));
        assert_eq!(ask(&mut keep_alive, at(99)), 0);
        assert_eq!(ask(&mut keep_alive, at(100)), 20);
        assert_eq!(ask(&mut keep_alive, at(200)), 10);
        assert_eq!(keep_alive.deadline(), None);
    }

    #[test]
    fn uses_are_counted() {
        let mut keep_alive = KeepAlive::default();
        let (address, _) = neighbor(1);
        assert!(keep_alive.hold(0, address));
        assert!(!keep_alive.hold(0, address));
        keep_alive.release(0, address);
        assert!(keep_alive.is_used(0, address));
        assert!(!keep_alive.is_used(1, address));
        keep_alive.release(0, address);
        assert!(!keep_alive.is_used(0, address));
        keep_alive.release(0, address);
    }
}
