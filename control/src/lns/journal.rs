//! What the log says of calls: each one at level debug; at level info a few a second, and how many
//! more there were.

use std::time::Duration;

use ipnet::IpNet;

use super::{Lns, LnsCounter, TimerKey};
use crate::call::Call;
use crate::limits::Bucket;
use crate::time::Time;

/// Calls told at level info, a second: enough to watch a small LNS, too few to slow a large one
/// down.
const LINES_PER_SECOND: u32 = 10;

/// Between two summaries.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(1);

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// Its subscriber can send packets.
    Up,
    /// It is over.
    Ended,
    /// Its subscriber was not let in.
    Refused,
}

/// What was not told yet.
#[derive(Debug, Default)]
pub struct Journal {
    lines: Bucket,
    up: u64,
    ended: u64,
    refused: u64,
    summary_at: Option<Time>,
}

impl Journal {
    /// Whether this one may be told at level info; where not, it is counted for the summary.
    pub fn admit(&mut self, now: Time, entry: Entry) -> bool {
        if self.lines.take(now, LINES_PER_SECOND) {
            return true;
        }
        match entry {
            Entry::Up => self.up += 1,
            Entry::Ended => self.ended += 1,
            Entry::Refused => self.refused += 1,
        }
        self.summary_at.get_or_insert(now + SUMMARY_INTERVAL);
        false
    }

    /// When [`Journal::summarise`] is due.
    pub fn deadline(&self) -> Option<Time> {
        self.summary_at
    }

    /// Tells how many there were that were not told.
    pub fn summarise(&mut self) {
        self.summary_at = None;
        let (up, ended, refused) = (self.up, self.ended, self.refused);
        (self.up, self.ended, self.refused) = (0, 0, 0);
        tracing::info!(up, ended, refused, "more calls, each told at level debug");
    }
}

impl Lns {
    /// Whether a call's line in the log may be at level info.
    fn is_told(&mut self, now: Time, entry: Entry) -> bool {
        let is_told = self.journal.admit(now, entry);
        if !is_told {
            self.reschedule(TimerKey::Journal, self.journal.deadline());
        }
        is_told
    }

    /// Counts a session whose first network protocol came up, and tells of each.
    pub(super) fn log_network_up(&mut self, now: Time, index: usize, first: bool, prefix: IpNet) {
        if first {
            self.counters.add(LnsCounter::CallsUp);
        }
        let is_told = first && self.is_told(now, Entry::Up);
        let Some(call) = self.calls.get(index) else { return };
        let (tunnel, session) = (call.tunnel.0, call.session.0);
        let user = call.user.as_deref().unwrap_or("");
        if is_told {
            tracing::info!(tunnel, session, user, %prefix, "session up");
        } else {
            tracing::debug!(tunnel, session, user, %prefix, "session up");
        }
    }

    pub(super) fn log_call_refused(&mut self, now: Time, index: usize, reason: &str) {
        let is_told = self.is_told(now, Entry::Refused);
        let Some(call) = self.calls.get(index) else { return };
        let (tunnel, session) = (call.tunnel.0, call.session.0);
        let user = call.user.as_deref().unwrap_or("");
        if is_told {
            tracing::info!(tunnel, session, user, reason, "subscriber refused");
        } else {
            tracing::debug!(tunnel, session, user, reason, "subscriber refused");
        }
    }

    pub(super) fn log_call_end(&mut self, now: Time, call: &Call, reason: &str) {
        let (tunnel, session) = (call.tunnel.0, call.session.0);
        let user = call.user.as_deref().unwrap_or("");
        let seconds = now.since(call.started).as_secs();
        if self.is_told(now, Entry::Ended) {
            tracing::info!(tunnel, session, user, seconds, reason, "call ended");
        } else {
            tracing::debug!(tunnel, session, user, seconds, reason, "call ended");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_second_are_told_and_the_rest_counted() {
        let mut journal = Journal::default();
        let now = Time::ZERO + Duration::from_secs(9);
        let told = (0..100).filter(|_| journal.admit(now, Entry::Up)).count();
        assert_eq!((told, journal.up), (10, 90));
        assert!(!journal.admit(now, Entry::Ended));
        assert_eq!(journal.deadline(), Some(now + SUMMARY_INTERVAL));
        journal.summarise();
        assert_eq!((journal.up, journal.ended, journal.deadline()), (0, 0, None));
        assert!(journal.admit(now + SUMMARY_INTERVAL, Entry::Refused));
    }
}
