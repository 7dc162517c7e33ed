//! What the log says of calls: each one at level debug; at level info a few a second, and how many
//! more there were.

use std::time::Duration;

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
