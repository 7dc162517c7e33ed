//! The only writer of the tables.
//!
//! Every command is checked first and then carried out so that a worker that reads in between finds
//! either the old or the new state of each entry. What a worker may still hold is retired and used
//! again after all workers have passed a quiescent point.

mod check;
mod peers;
mod routes;
mod sessions;
#[cfg(all(test, not(loom)))]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32};

use super::adjacency::AdjacencyWriter;
use super::epoch::Epochs;
use super::epoch::arena::Arena;
use super::fib::{Fib, INDEX_MAX};
use super::id_map::IdMap;
use super::quality::QualityTable;
use super::session::{Sessions, unpack};
use super::slots::Slots;
use super::{Limits, PlainPort, PortKind, SteerChange, Tables};
use crate::api::{Command, CommandError, SessionKey};
use crate::counters::{SessionCounters, Shard};
use crate::port::PortId;
use crate::quality::SessionQuality;
use sessions::Record;

/// Groups of a route table beyond one per session and route, for host addresses and subscriber
/// prefixes.
const GROUPS_SPARE: u32 = 64 * 1024;

/// The most groups of the IPv4 table: one per /24.
const GROUPS_IPV4_MAX: u32 = 1 << 24;

/// The most next hops beyond one per route.
const ADJACENCIES_SPARE: u32 = 4096;

/// The only writer of the tables; owned by the thread that serves the api socket.
#[derive(Debug)]
pub struct Writer {
    tables: Arc<Tables>,
    fib4: Fib<u32>,
    fib6: Fib<u128>,
    adjacencies: AdjacencyWriter,
    /// By session index.
    records: Vec<Option<Record>>,
    sessions: u32,
    slots: Slots,
    indices: Slots,
    paths: Slots,
    /// Removed sessions whose counters may still grow: epoch, key, index.
    ended: VecDeque<(u64, u32, u32)>,
    /// Final counters that [`Writer::reclaim`] has not handed out yet.
    final_counters: Vec<(SessionKey, SessionCounters)>,
    steer_changes: Vec<SteerChange>,
    routes: u32,
    host_addresses: usize,
    /// Per family.
    subscriber_prefixes: [usize; 2],
    /// Peers, and whether they were named since the resynchronisation began.
    peers: BTreeMap<IpAddr, bool>,
    resynchronising: bool,
}

/// Places for entries that wait for the workers, beside those in use: a worker that is kept from
/// running for a tenth of a second meets 100,000 changes a second. They take memory once used.
const SPARE: u32 = 16 * 1024;

/// Session indices looked at for one reply about quality: some hundred microseconds.
pub const QUALITY_LOOKS: usize = 16 * 1024;

/// `entries` and the spare ones.
fn with_spare(entries: u32) -> u32 {
    entries.saturating_add(entries / 8).saturating_add(SPARE).min(INDEX_MAX)
}

/// See [`super::new`].
pub(super) fn new(limits: &Limits) -> io::Result<(Arc<Tables>, Writer)> {
    let host_ports: Vec<_> = limits.ports.iter().map(|port| port.kind == PortKind::Host).collect();
    let host = host_ports.iter().position(|host| *host);
    assert!(host.is_some_and(|host| host + 1 == limits.ports.len()), "the host port is the last");
    let slots = with_spare(limits.sessions_max);
    let groups = limits.sessions_max.saturating_add(limits.routes_max).saturating_add(GROUPS_SPARE);
    let fib4 = Fib::new(groups.min(GROUPS_IPV4_MAX))?;
    // A prefix of 64 bits needs five groups, but neighbours share most of them.
    let fib6 = Fib::new(groups.saturating_mul(2).min(INDEX_MAX))?;
    let adjacencies =
        AdjacencyWriter::new(limits.routes_max.saturating_add(ADJACENCIES_SPARE).min(INDEX_MAX))?;
    let session_shards: io::Result<Vec<_>> =
        (0..limits.workers).map(|_| Arena::new(slots as usize)).collect();
    let tables = Arc::new(Tables {
        limits: limits.clone(),
        host_port: PortId((limits.ports.len() - 1) as u16),
        plain_ports: limits.ports.iter().map(PlainPort::new).collect(),
        epochs: Epochs::new(limits.workers),
        registered: (0..limits.workers).map(|_| AtomicBool::new(false)).collect(),
        ids: IdMap::new(limits.sessions_max)?,
        sessions: Sessions::new(slots)?,
        states: Arena::new(slots as usize)?,
        quality: QualityTable::new(limits.quality, slots)?,
        fib4: Arc::clone(fib4.reader()),
        fib6: Arc::clone(fib6.reader()),
        adjacencies: Arc::clone(adjacencies.reader()),
        paths: Arena::<AtomicU32>::new(slots as usize)?,
        shards: (0..limits.workers).map(|_| Shard::new(limits.ports.len())).collect(),
        session_shards: session_shards?.into(),
    });
    let writer = Writer {
        tables: Arc::clone(&tables),
        fib4,
        fib6,
        adjacencies,
        records: Vec::new(),
        sessions: 0,
        slots: Slots::new(slots),
        indices: Slots::new(slots),
        paths: Slots::new(slots),
        ended: VecDeque::new(),
        final_counters: Vec::new(),
        steer_changes: Vec::new(),
        routes: 0,
        host_addresses: 0,
        subscriber_prefixes: [0; 2],
        peers: BTreeMap::new(),
        resynchronising: false,
    };
    Ok((tables, writer))
}

impl Writer {
    /// The tables.
    pub fn tables(&self) -> &Arc<Tables> {
        &self.tables
    }

    /// Carries out one command; on return every worker's next [`super::Reader::guard`] shows it.
    ///
    /// # Errors
    /// Leaves the tables as they were.
    pub fn apply(&mut self, command: &Command) -> Result<(), CommandError> {
        match command {
            Command::ResyncBegin => self.resync_begin(),
            Command::ResyncEnd => return self.resync_end(),
            Command::SessionSet(session) => return self.session_set(session),
            Command::SessionRemove(key) => return self.session_remove(*key),
            Command::RouteSet { prefix, target } => return self.route_set(*prefix, *target),
            Command::RouteRemove { prefix } => return self.route_remove(*prefix),
            Command::NeighborSet { port, address, mac } => {
                return self.neighbor_set((*port, *address), *mac);
            }
            Command::NeighborRemove { port, address } => {
                return self.neighbor_remove((*port, *address));
            }
            Command::HostAddressSet { address, tunnel_endpoint } => {
                return self.host_address_set(*address, *tunnel_endpoint);
            }
            Command::HostAddressRemove { address } => return self.host_address_remove(*address),
            Command::SubscriberPrefixSet { prefix } => return self.subscriber_prefix_set(*prefix),
            Command::SubscriberPrefixRemove { prefix } => {
                return self.subscriber_prefix_remove(*prefix);
            }
            Command::PeerSet { address } => return self.peer_set(*address),
            Command::PeerRemove { address } => return self.peer_remove(*address),
            // Not the tables' business, except whether there is such a session.
            Command::Inject { key, .. } => {
                return self.session_index(*key).map(drop).ok_or(CommandError::NoSuchEntry);
            }
        }
        Ok(())
    }

    fn resync_begin(&mut self) {
        for record in self.records.iter_mut().flatten() {
            record.named = false;
        }
        self.fib4.forget_names();
        self.fib6.forget_names();
        self.adjacencies.forget_names();
        self.peers.values_mut().for_each(|named| *named = false);
        self.resynchronising = true;
    }

    /// Forgets that a resynchronisation has begun: who began it is gone, and what is not named yet
    /// stays.
    pub fn resync_abandon(&mut self) {
        self.resynchronising = false;
    }

    fn resync_end(&mut self) -> Result<(), CommandError> {
        if !self.resynchronising {
            return Err(CommandError::Invalid("no resynchronisation has begun".into()));
        }
        self.resynchronising = false;
        let sessions: Vec<_> = self
            .records
            .iter()
            .flatten()
            .filter(|record| !record.named)
            .map(|record| self.key_of(record))
            .collect();
        for key in sessions {
            self.session_remove(key)?;
        }
        self.sweep_peers()?;
        self.sweep_routes()
    }

    /// What the steering program must learn since the last call, in order.
    pub fn take_steer_changes(&mut self) -> Vec<SteerChange> {
        std::mem::take(&mut self.steer_changes)
    }

    /// Frees what every worker has let go of, and returns the final counters of ended sessions.
    pub fn reclaim(&mut self) -> Vec<(SessionKey, SessionCounters)> {
        self.collect();
        std::mem::take(&mut self.final_counters)
    }

    fn epoch(&self) -> u64 {
        self.tables.epochs.current()
    }

    fn collect(&mut self) {
        let waiting = !self.ended.is_empty() || self.pools().iter().any(|pool| pool.is_waiting());
        if !waiting {
            return;
        }
        self.tables.epochs.advance();
        let passed = self.tables.epochs.passed();
        for pool in self.pools() {
            pool.reclaim(passed);
        }
        while let Some(&(epoch, key, index)) = self.ended.front() {
            if epoch >= passed {
                break;
            }
            self.ended.pop_front();
            self.final_counters.push((unpack(key), self.tables.session_counters(index)));
            for shard in self.tables.session_shards.iter().filter_map(|s| s.get(index as usize)) {
                shard.clear();
            }
            self.indices.give_back(index);
        }
    }

    fn pools(&mut self) -> [&mut Slots; 6] {
        [
            &mut self.slots,
            &mut self.indices,
            &mut self.paths,
            self.fib4.groups(),
            self.fib6.groups(),
            self.adjacencies.slots(),
        ]
    }

    /// Counters of at most `limit` sessions from `cursor` on, and the cursor to go on with.
    pub fn session_counters(
        &self,
        cursor: u32,
        limit: usize,
    ) -> (Vec<(SessionKey, SessionCounters)>, Option<u32>) {
        let mut sessions = Vec::new();
        let start = (cursor as usize).min(self.records.len());
        for (index, record) in self.records.iter().enumerate().skip(start) {
            if let Some(record) = record {
                if sessions.len() == limit {
                    return (sessions, Some(index as u32));
                }
                let counters = self.tables.session_counters(index as u32);
                sessions.push((self.key_of(record), counters));
            }
        }
        (sessions, None)
    }

    /// Counters of these sessions; unknown ones are left out.
    pub fn session_counters_of(&self, keys: &[SessionKey]) -> Vec<(SessionKey, SessionCounters)> {
        keys.iter()
            .filter_map(|key| Some((*key, self.tables.session_counters(self.session_index(*key)?))))
            .collect()
    }

    /// The quality of at most `limit` monitored sessions from `cursor` on that leave `unanswered_min`
    /// requests in a row unanswered, and the cursor to go on with. Looks at [`QUALITY_LOOKS`] places at
    /// most, so that there may be none among them.
    pub fn session_quality(
        &self,
        cursor: u32,
        limit: usize,
        unanswered_min: u8,
    ) -> (Vec<(SessionKey, SessionQuality)>, Option<u32>) {
        let mut sessions = Vec::new();
        let start = (cursor as usize).min(self.records.len());
        for (index, record) in self.records.iter().enumerate().skip(start) {
            if sessions.len() == limit || index - start == QUALITY_LOOKS {
                return (sessions, Some(index as u32));
            }
            let Some(record) = record else { continue };
            let quality = self.tables.quality.read(index as u32);
            let quality = quality.filter(|quality| quality.unanswered >= unanswered_min);
            sessions.extend(quality.map(|quality| (self.key_of(record), quality)));
        }
        (sessions, None)
    }

    /// Number of sessions.
    pub fn sessions(&self) -> u32 {
        self.sessions
    }

    /// Number of routes, both families.
    pub fn routes(&self) -> u32 {
        self.routes
    }

    /// Number of next hops whose link-layer address is known.
    pub fn neighbors(&self) -> u32 {
        self.adjacencies.known()
    }
}
