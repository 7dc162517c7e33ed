//! The tables that workers read: sessions, routes, adjacencies.
//!
//! [`Tables`] is shared; workers read it without locks through a [`Guard`], one per batch.
//! [`Writer`] is the only one who changes it. A read never sees half an entry: a word changes at
//! once, and what is larger than a word is written elsewhere and then published by one word.

mod adjacency;
mod epoch;
mod fib;
mod id_map;
mod lpm;
mod options;
mod path;
pub(crate) mod quality;
mod session;
mod slots;
#[cfg(all(test, not(loom)))]
mod stress;
mod writer;

use std::io;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use ipnet::IpNet;

pub use adjacency::Adjacency;
pub use fib::Entry;
pub use options::{
    Bucket, FLAG_DROP_LATE, FLAG_KEEP_MSS, FLAG_OUTER_FRAGMENTS, FLAG_OUTER_HEADERS,
    FLAG_POLICE_DOWNSTREAM, FLAG_POLICE_UPSTREAM, FLAG_SEQUENCE, FLAG_SEQUENCE_AS_PEER,
    FLAG_SPECIAL, FLAG_VERIFY_CHECKSUM, OuterHeaders, State, TICKS_PER_NANOSECOND,
};
pub(crate) use session::ipv6_front;
pub use session::{
    Decap, Encap, FLAG_ANY_SOURCE, FLAG_IPV4, FLAG_IPV6, FLAG_OUTER_IPV6, FLAG_SEND_ACFC,
    FLAG_SEND_PFC, Sender,
};
pub use writer::Writer;

use crate::counters::{SessionCounters, SessionShard, Shard};
use crate::port::PortId;
use crate::quality::Settings;
use crate::wire::ethernet;
use adjacency::Adjacencies;
use epoch::arena::Arena;
use epoch::{Announcer, Epochs};
use id_map::IdMap;
use lpm::Lpm;
use quality::QualityTable;
use session::Sessions;

/// What a port is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortKind {
    /// A NIC: frames begin with an Ethernet header.
    Ethernet,
    /// The TUN device towards the host: frames begin with an IP header.
    Host,
}

/// What the pipeline knows of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortInfo {
    /// NIC or host.
    pub kind: PortKind,
    /// MAC address; zero for the host port.
    pub mac: [u8; 6],
    /// MTU, octets of the IP packet.
    pub mtu: u16,
    /// The VLAN that frames are sent in, 1 to 4094; `None`: untagged.
    pub vlan: Option<u16>,
}

/// What an untagged IPv4 packet that leaves by a port needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlainPort {
    /// The last eight octets of its Ethernet header: our MAC address and the type of IPv4.
    pub(crate) source_and_type: u64,
    /// The port's MTU, octets; 0 where nothing leaves untagged.
    pub(crate) mtu: u16,
}

impl PlainPort {
    fn new(port: &PortInfo) -> Self {
        let [a, b, c, d, e, f] = port.mac;
        let [high, low] = ethernet::IPV4.to_be_bytes();
        let is_plain = port.kind == PortKind::Ethernet && port.vlan.is_none();
        Self {
            source_and_type: u64::from_ne_bytes([a, b, c, d, e, f, high, low]),
            mtu: if is_plain { port.mtu } else { 0 },
        }
    }
}

/// Capacities, fixed at start.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Sessions.
    pub sessions_max: u32,
    /// Routes, both families together.
    pub routes_max: u32,
    /// Workers.
    pub workers: usize,
    /// UDP port of L2TP.
    pub l2tp_port: u16,
    /// UDP ports that tunnels end at, from `l2tp_port` on.
    pub l2tp_port_count: u16,
    /// Sources of ICMP errors.
    pub gateways: Gateways,
    /// How the quality of sessions is monitored; `None`: it is not.
    pub quality: Option<Settings>,
    /// The ports in the order of the configuration; the host port last, and only there.
    pub ports: Vec<PortInfo>,
}

/// Where ICMP errors come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gateways {
    /// About packets that no session is concerned with.
    pub ipv4: Option<[u8; 4]>,
    /// About all packets.
    pub ipv6: Option<[u8; 16]>,
}

/// Something that the steering program must learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SteerChange {
    /// An address of this host.
    HostAddress {
        /// The address.
        address: IpAddr,
        /// Whether tunnels end there; `None`: the address is gone.
        endpoint: Option<bool>,
    },
    /// A subscriber prefix.
    SubscriberPrefix {
        /// The prefix.
        prefix: IpNet,
        /// Whether it is there or gone.
        present: bool,
    },
    /// A peer.
    Peer {
        /// Its address.
        address: IpAddr,
        /// Whether it is there or gone.
        present: bool,
    },
}

/// All tables; shared by the workers.
#[derive(Debug)]
pub struct Tables {
    limits: Limits,
    host_port: PortId,
    /// By port.
    plain_ports: Box<[PlainPort]>,
    epochs: Epochs,
    registered: Box<[AtomicBool]>,
    ids: IdMap,
    sessions: Sessions,
    /// By session index.
    states: Arena<State>,
    quality: QualityTable,
    fib4: Arc<Lpm>,
    fib6: Arc<Lpm>,
    adjacencies: Arc<Adjacencies>,
    paths: Arena<AtomicU32>,
    shards: Box<[Shard]>,
    /// Per worker, by session index.
    session_shards: Box<[Arena<SessionShard>]>,
}

/// Makes empty tables.
///
/// # Errors
/// Where the memory cannot be mapped.
///
/// # Panics
/// Where the last port is not the host port, or another one is.
pub fn new(limits: &Limits) -> io::Result<(Arc<Tables>, Writer)> {
    writer::new(limits)
}

impl Tables {
    /// The capacities and ports.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The port towards the host.
    #[inline]
    pub fn host_port(&self) -> PortId {
        self.host_port
    }

    /// What a plain packet that leaves by this port needs.
    #[inline(always)]
    pub(crate) fn plain_port(&self, port: PortId) -> Option<PlainPort> {
        self.plain_ports.get(usize::from(port.0)).copied()
    }

    /// The counters that `worker` writes.
    ///
    /// # Panics
    /// Beyond [`Limits::workers`].
    #[inline]
    pub fn shard(&self, worker: usize) -> &Shard {
        &self.shards[worker]
    }

    /// Every worker's counters, in order.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// The counters of the session with this index, all workers together.
    fn session_counters(&self, index: u32) -> SessionCounters {
        let mut total = SessionCounters::default();
        for shard in self.session_shards.iter().filter_map(|shards| shards.get(index as usize)) {
            shard.add_to(&mut total);
        }
        total
    }

    /// The worker's way to the tables; one per worker at a time.
    ///
    /// # Panics
    /// Where the worker is registered already, or beyond [`Limits::workers`].
    pub fn register(self: &Arc<Self>, worker: usize) -> Reader {
        let registered = self.registered[worker].swap(true, Ordering::AcqRel);
        assert!(!registered, "worker {worker} has a reader already");
        Reader {
            tables: Arc::clone(self),
            worker,
            announcer: Announcer::new(worker),
            not_sync: PhantomData,
        }
    }
}

/// One worker's way to the tables; not `Sync`. Begins parked.
#[derive(Debug)]
pub struct Reader {
    tables: Arc<Tables>,
    worker: usize,
    announcer: Announcer,
    not_sync: PhantomData<std::cell::Cell<()>>,
}

impl Reader {
    /// Announces that this worker holds nothing of before, and gives access until the next call:
    /// once per batch.
    #[inline]
    pub fn guard(&mut self) -> Guard<'_> {
        self.announcer.announce(&self.tables.epochs);
        Guard { tables: &self.tables, counters: &self.tables.session_shards[self.worker] }
    }

    /// Takes the worker out of account while it sleeps; [`Reader::guard`] brings it back.
    pub fn park(&mut self) {
        self.announcer.park(&self.tables.epochs);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.park();
        self.tables.registered[self.worker].store(false, Ordering::Release);
    }
}

/// Access to the tables during one batch. Slots and indices that it gives out are valid as long as
/// it lives.
#[derive(Debug)]
pub struct Guard<'a> {
    tables: &'a Tables,
    /// The worker's own.
    counters: &'a Arena<SessionShard>,
}

impl Guard<'_> {
    /// The tables.
    #[inline]
    pub fn tables(&self) -> &Tables {
        self.tables
    }

    /// Asks the CPU for what [`Guard::find_session`] will read.
    #[inline]
    pub fn prefetch_ids(&self, key: u32) {
        self.tables.ids.prefetch(key);
    }

    /// The slot of the session with these IDs of ours: tunnel ID above session ID.
    #[inline]
    pub fn find_session(&self, key: u32) -> Option<u32> {
        self.tables.ids.find(key)
    }

    /// Asks the CPU for what [`Guard::decap`] will read.
    #[inline]
    pub fn prefetch_decap(&self, slot: u32) {
        self.tables.sessions.prefetch_decap(slot);
    }

    /// What packets from the subscriber need.
    #[inline]
    pub fn decap(&self, slot: u32) -> Decap {
        self.tables.sessions.decap(slot)
    }

    /// [`Decap::index`] and [`Decap::flags`].
    #[inline(always)]
    pub(crate) fn decap_index_flags(&self, slot: u32) -> (u32, u16) {
        self.tables.sessions.decap_index_flags(slot)
    }

    /// [`Encap::index`] and [`Encap::flags`].
    #[inline(always)]
    pub(crate) fn encap_index_flags(&self, slot: u32) -> (u32, u16) {
        self.tables.sessions.encap_index_flags(slot)
    }

    /// [`Decap::index`] alone.
    #[inline]
    pub fn decap_index(&self, slot: u32) -> u32 {
        self.tables.sessions.decap_index(slot)
    }

    /// [`Encap::index`] alone.
    #[inline]
    pub fn encap_index(&self, slot: u32) -> u32 {
        self.tables.sessions.encap_index(slot)
    }

    /// Whether a packet is one of the session's without a closer look, and the session's index.
    #[inline(always)]
    pub(crate) fn is_from(&self, slot: u32, packet: Sender) -> (bool, u32) {
        self.tables.sessions.is_from(slot, packet)
    }

    /// The session's index, and whether a packet is one of the session's and has to pass its policer.
    #[inline(always)]
    pub(crate) fn is_policed(&self, slot: u32, packet: Sender) -> (u32, bool) {
        self.tables.sessions.is_policed(slot, packet)
    }

    /// [`Encap`] as it lies in memory.
    #[inline(always)]
    pub(crate) fn encap_words(&self, slot: u32) -> [u64; 8] {
        self.tables.sessions.encap_words(slot)
    }

    /// Asks the CPU for what [`Guard::encap`] will read.
    #[inline]
    pub fn prefetch_encap(&self, slot: u32) {
        self.tables.sessions.prefetch_encap(slot);
    }

    /// What packets to the subscriber need.
    #[inline]
    pub fn encap(&self, slot: u32) -> Encap {
        self.tables.sessions.encap(slot)
    }

    /// Asks the CPU for the first thing that [`Guard::route_ipv4`] will read.
    #[inline]
    pub fn prefetch_route_ipv4(&self, destination: [u8; 4]) {
        self.tables.fib4.prefetch_root(u32::from_be_bytes(destination));
    }

    /// The first step of [`Guard::route_ipv4`]; asks the CPU for what the second one will read.
    #[inline(always)]
    pub fn begin_route_ipv4(&self, destination: [u8; 4]) -> u32 {
        self.tables.fib4.begin(u32::from_be_bytes(destination))
    }

    /// The second step of [`Guard::route_ipv4`], from the result of the first one: an entry for
    /// [`Entry::decode`].
    #[inline(always)]
    pub(crate) fn end_route_ipv4(&self, begun: u32, destination: [u8; 4]) -> u32 {
        self.tables.fib4.end(begun, u32::from_be_bytes(destination))
    }

    /// What the destination resolves to.
    #[inline]
    pub fn route_ipv4(&self, destination: [u8; 4]) -> Entry {
        Entry::decode(self.tables.fib4.lookup(u32::from_be_bytes(destination)))
    }

    /// Asks the CPU for the first thing that [`Guard::route_ipv6`] will read.
    #[inline]
    pub fn prefetch_route_ipv6(&self, destination: [u8; 16]) {
        self.tables.fib6.prefetch_root(u128::from_be_bytes(destination));
    }

    /// The first step of [`Guard::route_ipv6`]; asks the CPU for what the second one will read.
    #[inline]
    pub fn begin_route_ipv6(&self, destination: [u8; 16]) -> u32 {
        self.tables.fib6.begin(u128::from_be_bytes(destination))
    }

    /// The second step of [`Guard::route_ipv6`], as [`Guard::end_route_ipv4`].
    #[inline]
    pub(crate) fn end_route_ipv6(&self, begun: u32, destination: [u8; 16]) -> u32 {
        self.tables.fib6.end(begun, u128::from_be_bytes(destination))
    }

    /// What the destination resolves to.
    #[inline]
    pub fn route_ipv6(&self, destination: [u8; 16]) -> Entry {
        Entry::decode(self.tables.fib6.lookup(u128::from_be_bytes(destination)))
    }

    /// What a path resolves to.
    #[inline]
    pub fn path(&self, path: u32) -> Entry {
        Entry::decode(self.tables.paths[path as usize].load(Ordering::Acquire))
    }

    /// The adjacency that a path leads to, if it does.
    #[inline(always)]
    pub(crate) fn neighbor_of_path(&self, path: u32) -> Option<u32> {
        Entry::neighbor(self.tables.paths[path as usize].load(Ordering::Acquire))
    }

    /// The next hop; `None` while its link-layer address is not known.
    #[inline]
    pub fn adjacency(&self, index: u32) -> Option<Adjacency> {
        self.tables.adjacencies.lookup(index)
    }

    /// The next hop as [`Guard::adjacency`] gives it: its link-layer address with two octets of no
    /// meaning behind it, in the order of memory, and its port.
    #[inline(always)]
    pub(crate) fn neighbor(&self, index: u32) -> Option<(u64, PortId)> {
        self.tables.adjacencies.word(index)
    }

    /// Asks the CPU for the counters of a session.
    #[inline]
    pub fn prefetch_counters(&self, index: u32) {
        self.counters.prefetch(index as usize);
    }

    /// Asks the CPU for what [`Guard::state`] leads to.
    #[inline]
    pub(crate) fn prefetch_state(&self, index: u32) {
        self.tables.states.prefetch(index as usize);
    }

    /// What changes with the packets of the session with this index.
    #[inline]
    pub fn state(&self, index: u32) -> &State {
        &self.tables.states[index as usize]
    }

    /// What is known of the quality of sessions.
    #[inline]
    pub(crate) fn quality(&self) -> &QualityTable {
        &self.tables.quality
    }

    /// This worker's counters of the session with this index.
    #[inline]
    pub fn counters(&self, index: u32) -> &SessionShard {
        &self.counters[index as usize]
    }
}
