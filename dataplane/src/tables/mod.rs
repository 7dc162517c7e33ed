//! The tables that workers read: sessions, routes, adjacencies.
//!
//! [`Tables`] is shared; workers read it without locks through a [`Guard`], one per batch.
//! [`Writer`] is the only one who changes it.

use std::io;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::api::{Command, CommandError, SessionKey};
use crate::counters::{SessionCounters, Shard};

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
    /// The ports in the order of the configuration; the host port last, and only there.
    pub ports: Vec<PortInfo>,
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
}

/// All tables; shared by the workers.
#[derive(Debug)]
pub struct Tables {
    limits: Limits,
    shards: Box<[Shard]>,
}

/// Makes empty tables.
///
/// # Errors
/// Where the memory cannot be mapped.
pub fn new(limits: &Limits) -> io::Result<(Arc<Tables>, Writer)> {
    let shards = (0..limits.workers).map(|_| Shard::new(limits.ports.len())).collect();
    let tables = Arc::new(Tables { limits: limits.clone(), shards });
    let writer = Writer { tables: Arc::clone(&tables) };
    Ok((tables, writer))
}

impl Tables {
    /// The capacities and ports.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The counters that `worker` writes.
    pub fn shard(&self, worker: usize) -> &Shard {
        &self.shards[worker]
    }

    /// Every worker's counters, in order.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// The worker's way to the tables; one per worker at a time.
    ///
    /// # Panics
    /// Where the worker is registered already, or beyond [`Limits::workers`].
    pub fn register(self: &Arc<Self>, worker: usize) -> Reader {
        assert!(worker < self.limits.workers);
        Reader { tables: Arc::clone(self), not_sync: PhantomData }
    }
}

/// One worker's way to the tables; not `Sync`. Begins parked.
#[derive(Debug)]
pub struct Reader {
    tables: Arc<Tables>,
    not_sync: PhantomData<std::cell::Cell<()>>,
}

impl Reader {
    /// Announces that this worker holds nothing of before, and gives access until the next call:
    /// once per batch.
    #[inline]
    pub fn guard(&mut self) -> Guard<'_> {
        Guard { tables: &self.tables }
    }

    /// Takes the worker out of account while it sleeps; [`Reader::guard`] brings it back.
    pub fn park(&mut self) {}
}

/// Access to the tables during one batch.
#[derive(Debug)]
pub struct Guard<'a> {
    #[expect(dead_code, reason = "being written")]
    tables: &'a Tables,
}

/// The only writer of the tables; owned by the thread that serves the api socket.
#[derive(Debug)]
pub struct Writer {
    tables: Arc<Tables>,
}

impl Writer {
    /// The tables.
    pub fn tables(&self) -> &Arc<Tables> {
        &self.tables
    }

    /// Carries out one command; on return every worker's next [`Reader::guard`] shows it.
    ///
    /// # Errors
    /// Leaves the tables as they were.
    pub fn apply(&mut self, _command: &Command) -> Result<(), CommandError> {
        Ok(())
    }

    /// What the steering program must learn since the last call, in order.
    pub fn take_steer_changes(&mut self) -> Vec<SteerChange> {
        Vec::new()
    }

    /// Frees what every worker has let go of, and returns the final counters of ended sessions.
    pub fn reclaim(&mut self) -> Vec<(SessionKey, SessionCounters)> {
        Vec::new()
    }

    /// Counters of at most `limit` sessions from `cursor` on, and the cursor to go on with.
    pub fn session_counters(
        &self,
        _cursor: u32,
        _limit: usize,
    ) -> (Vec<(SessionKey, SessionCounters)>, Option<u32>) {
        (Vec::new(), None)
    }

    /// Counters of these sessions; unknown ones are left out.
    pub fn session_counters_of(&self, _keys: &[SessionKey]) -> Vec<(SessionKey, SessionCounters)> {
        Vec::new()
    }

    /// Number of sessions.
    pub fn sessions(&self) -> u32 {
        0
    }

    /// Number of routes, both families.
    pub fn routes(&self) -> u32 {
        0
    }

    /// Number of next hops whose link-layer address is known.
    pub fn neighbors(&self) -> u32 {
        0
    }
}
