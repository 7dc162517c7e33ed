//! Paths: the way to each tunnel peer, one word each that every session of that peer names, so that
//! a changed route rewrites no session.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::lpm::Key;

#[derive(Debug)]
struct Record {
    index: u32,
    sessions: u32,
}

/// The peers of one family.
#[derive(Debug)]
pub(crate) struct Paths<K>(BTreeMap<K, Record>);

impl<K> Default for Paths<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Key> Paths<K> {
    /// One session more goes to `peer`. The path's index, `None` where there is no path yet.
    pub(crate) fn acquire(&mut self, peer: K) -> Option<u32> {
        let record = self.0.get_mut(&peer)?;
        record.sessions += 1;
        Some(record.index)
    }

    /// A path for its first session.
    pub(crate) fn insert(&mut self, peer: K, index: u32) {
        self.0.insert(peer, Record { index, sessions: 1 });
    }

    /// One session less goes to `peer`. The path's index, if that was the last one.
    pub(crate) fn release(&mut self, peer: K) -> Option<u32> {
        let record = self.0.get_mut(&peer)?;
        record.sessions -= 1;
        (record.sessions == 0).then(|| self.0.remove(&peer).map(|record| record.index)).flatten()
    }

    /// The paths to peers in `range`, with their indices.
    pub(crate) fn within(&self, range: RangeInclusive<K>) -> impl Iterator<Item = (K, u32)> {
        self.0.range(range).map(|(peer, record)| (*peer, record.index))
    }
}
