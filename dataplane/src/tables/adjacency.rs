//! Next hops: port and link-layer address, one word each, so that a change is seen whole.
//!
//! Routes and paths name an adjacency by its index and need no change when the neighbour's address
//! changes. The rest of the Ethernet header is the port's.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::epoch::arena::Arena;
use super::slots::Slots;
use crate::api::PortIndex;
use crate::port::PortId;

/// A next hop whose link-layer address is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adjacency {
    /// The port.
    pub port: PortId,
    /// The neighbour's MAC address.
    pub mac: [u8; 6],
}

/// What workers read, octet by octet in the order of memory: MAC, port, 1 where both are known.
#[derive(Debug)]
pub(crate) struct Adjacencies(Arena<AtomicU64>);

const COMPLETE: u8 = 1;

impl Adjacencies {
    /// The next hop; `None` while its link-layer address is not known.
    #[inline]
    pub(crate) fn lookup(&self, index: u32) -> Option<Adjacency> {
        let word = self.0.get(index as usize)?.load(Ordering::Acquire);
        let [mac @ .., port, complete] = word.to_ne_bytes();
        (complete == COMPLETE).then_some(Adjacency { port: PortId(port.into()), mac })
    }

    /// The same, the MAC address with two octets of no meaning behind it, in the order of memory.
    #[inline(always)]
    pub(crate) fn word(&self, index: u32) -> Option<(u64, PortId)> {
        let word = self.0.get(index as usize)?.load(Ordering::Acquire);
        let [.., port, complete] = word.to_ne_bytes();
        (complete == COMPLETE).then_some((word, PortId(port.into())))
    }

    fn set(&self, index: u32, adjacency: Option<Adjacency>) {
        let word = adjacency.map_or(0, |Adjacency { port, mac: [a, b, c, d, e, f] }| {
            u64::from_ne_bytes([a, b, c, d, e, f, port.0 as u8, COMPLETE])
        });
        self.0[index as usize].store(word, Ordering::Release);
    }
}

#[derive(Debug)]
struct Record {
    index: u32,
    /// Routes that lead here.
    routes: u32,
    mac: Option<[u8; 6]>,
    /// Named since the resynchronisation began.
    named: bool,
}

/// The writer's side. An adjacency is there while a route leads to it or its address is known.
#[derive(Debug)]
pub(crate) struct AdjacencyWriter {
    adjacencies: Arc<Adjacencies>,
    records: BTreeMap<NextHop, Record>,
    /// By index, for those in use.
    hops: Vec<NextHop>,
    slots: Slots,
    known: u32,
}

/// A next hop's name.
pub(crate) type NextHop = (PortIndex, IpAddr);

impl AdjacencyWriter {
    pub(crate) fn new(capacity: u32) -> io::Result<Self> {
        Ok(Self {
            adjacencies: Arc::new(Adjacencies(Arena::new(capacity as usize)?)),
            records: BTreeMap::new(),
            hops: Vec::new(),
            slots: Slots::new(capacity),
            known: 0,
        })
    }

    pub(crate) fn reader(&self) -> &Arc<Adjacencies> {
        &self.adjacencies
    }

    pub(crate) fn slots(&mut self) -> &mut Slots {
        &mut self.slots
    }

    /// Number of next hops whose address is known.
    pub(crate) fn known(&self) -> u32 {
        self.known
    }

    fn record(&mut self, hop: NextHop) -> Option<&mut Record> {
        // Taken first: the map holds an entry only with an index.
        if !self.records.contains_key(&hop) {
            let index = self.slots.take()?;
            self.adjacencies.set(index, None);
            let fresh = (0, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            self.hops.resize(self.hops.len().max(index as usize + 1), fresh);
            self.hops[index as usize] = hop;
            self.records.insert(hop, Record { index, routes: 0, mac: None, named: false });
        }
        self.records.get_mut(&hop)
    }

    /// A route leads to this next hop from now on. Its index; `None` where the table is full.
    pub(crate) fn acquire(&mut self, hop: NextHop) -> Option<u32> {
        let record = self.record(hop)?;
        record.routes += 1;
        Some(record.index)
    }

    /// A route to the next hop with this index is gone.
    pub(crate) fn release(&mut self, index: u32, epoch: u64) {
        let hop = self.hops[index as usize];
        if let Some(record) = self.records.get_mut(&hop) {
            record.routes -= 1;
        }
        self.retire_unused(hop, epoch);
    }

    /// Sets the address. Returns whether there was room.
    pub(crate) fn set(&mut self, hop: NextHop, mac: [u8; 6]) -> bool {
        let Some(record) = self.record(hop) else { return false };
        record.named = true;
        let index = record.index;
        if record.mac.replace(mac).is_none() {
            self.known += 1;
        }
        self.adjacencies.set(index, Some(Adjacency { port: PortId(hop.0), mac }));
        true
    }

    /// Forgets the address. Returns whether it was known.
    pub(crate) fn remove(&mut self, hop: NextHop, epoch: u64) -> bool {
        let Some(record) = self.records.get_mut(&hop) else { return false };
        if record.mac.take().is_none() {
            return false;
        }
        self.known -= 1;
        self.adjacencies.set(record.index, None);
        self.retire_unused(hop, epoch);
        true
    }

    fn retire_unused(&mut self, hop: NextHop, epoch: u64) {
        let Some(record) = self.records.get(&hop) else { return };
        if record.routes == 0 && record.mac.is_none() {
            self.slots.retire(epoch, record.index);
            self.records.remove(&hop);
        }
    }

    /// Begins a resynchronisation.
    pub(crate) fn forget_names(&mut self) {
        for record in self.records.values_mut() {
            record.named = false;
        }
    }

    /// Known next hops that were not named since.
    pub(crate) fn unnamed(&self) -> Vec<NextHop> {
        self.records
            .iter()
            .filter(|(_, record)| record.mac.is_some() && !record.named)
            .map(|(hop, _)| *hop)
            .collect()
    }
}
