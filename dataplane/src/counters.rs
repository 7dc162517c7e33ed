//! Counters: per worker and per session, never shared between writers; readers add them up.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};
use zerocopy::FromBytes;

use crate::port::PortId;
use crate::verdict::DropReason;

/// Packets and octets of one session. Octets are those of the IP packet inside PPP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionCounters {
    /// Forwarded from the subscriber.
    pub upstream_packets: u64,
    /// Forwarded from the subscriber.
    pub upstream_bytes: u64,
    /// Sent to the subscriber.
    pub downstream_packets: u64,
    /// Sent to the subscriber.
    pub downstream_bytes: u64,
}

/// What one worker did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerCounters {
    /// The core it is pinned to; `None` where pinning failed.
    pub core: Option<u16>,
    /// Frames received, from ports and from the host.
    pub received: u64,
    /// Frames made here: fragments beyond the first one, ICMP errors, Echo-Requests.
    pub originated: u64,
    /// Frames sent, to ports and to the host.
    pub transmitted: u64,
    /// Frames dropped, all reasons.
    pub dropped: u64,
    /// Fragments that became part of a datagram, beside the one whose frame it took.
    pub joined: u64,
    /// Echo-Replies that were waited for, and measured.
    pub measured: u64,
    /// Frames that wait at this moment: fragments for others of their datagram, others until their
    /// share of the sessions has moved. Received, originated and handed in are together as many as
    /// sent, dropped, joined, measured, handed out and waiting.
    pub waiting: u64,
    /// Frames handed to other workers, which count what becomes of them.
    pub handed_out: u64,
    /// Frames that other workers handed here.
    pub handed_in: u64,
    /// Batches with at least one frame.
    pub batches: u64,
    /// Share of the time that it works, thousandths, lately.
    pub load_permille: u16,
    /// Frames free in its pool.
    pub frames_free: u64,
}

/// What crossed one port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortCounters {
    /// Interface name.
    pub interface: String,
    /// Frames received by workers.
    pub received_packets: u64,
    /// Octets of those frames.
    pub received_bytes: u64,
    /// Frames given to the port.
    pub transmitted_packets: u64,
    /// Octets of those frames.
    pub transmitted_bytes: u64,
    /// Frames that the kernel dropped for want of a free frame or of room in the receive ring.
    pub kernel_dropped: u64,
    /// What is wrong with the port at this moment, and what to do.
    pub troubles: Vec<String>,
}

/// Drops by reason, indexed like [`DropReason::ALL`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropCounts(pub Vec<u64>);

impl Default for DropCounts {
    fn default() -> Self {
        Self(vec![0; DropReason::COUNT])
    }
}

/// A counter with one writer and any number of readers.
#[derive(Debug, Default, FromBytes)]
#[repr(transparent)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; only the owning worker may. A plain load and store: no locked instruction.
    #[inline]
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(count), Relaxed);
    }

    /// The value.
    #[inline]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One worker's counters of one session: half a cache line.
#[derive(Debug, Default, FromBytes)]
#[repr(C)]
pub struct SessionShard {
    upstream_packets: Counter,
    upstream_bytes: Counter,
    downstream_packets: Counter,
    downstream_bytes: Counter,
}

impl SessionShard {
    /// Counts a packet from the subscriber.
    #[inline]
    pub fn count_upstream(&self, bytes: u64) {
        self.upstream_packets.add(1);
        self.upstream_bytes.add(bytes);
    }

    /// Counts a packet to the subscriber.
    #[inline]
    pub fn count_downstream(&self, bytes: u64) {
        self.downstream_packets.add(1);
        self.downstream_bytes.add(bytes);
    }

    /// Adds the values to `total`.
    pub(crate) fn add_to(&self, total: &mut SessionCounters) {
        total.upstream_packets += self.upstream_packets.value();
        total.upstream_bytes += self.upstream_bytes.value();
        total.downstream_packets += self.downstream_packets.value();
        total.downstream_bytes += self.downstream_bytes.value();
    }

    /// Begins again at zero; only once no worker can reach these counters any more. What is zero is
    /// not written, so that memory that was never used stays unused.
    pub(crate) fn clear(&self) {
        let counters = [
            &self.upstream_packets,
            &self.upstream_bytes,
            &self.downstream_packets,
            &self.downstream_bytes,
        ];
        for counter in counters.into_iter().filter(|counter| counter.value() != 0) {
            counter.0.store(0, Relaxed);
        }
    }
}

/// Packets and octets one way across one port.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct PortShard {
    received_packets: Counter,
    received_bytes: Counter,
    transmitted_packets: Counter,
    transmitted_bytes: Counter,
}

/// The counters that one worker writes. On cache lines of its own.
#[derive(Debug)]
#[repr(align(64))]
pub struct Shard {
    received: Counter,
    originated: Counter,
    transmitted: Counter,
    dropped: Counter,
    joined: Counter,
    measured: Counter,
    waiting: AtomicU64,
    moving: AtomicU64,
    handed_out: Counter,
    handed_in: Counter,
    batches: Counter,
    drops: [Counter; DropReason::COUNT],
    ports: Box<[PortShard]>,
}

impl Shard {
    /// All zero, for this many ports, the host port among them.
    pub fn new(ports: usize) -> Self {
        Self {
            received: Counter::default(),
            originated: Counter::default(),
            transmitted: Counter::default(),
            dropped: Counter::default(),
            joined: Counter::default(),
            measured: Counter::default(),
            waiting: AtomicU64::new(0),
            moving: AtomicU64::new(0),
            handed_out: Counter::default(),
            handed_in: Counter::default(),
            batches: Counter::default(),
            drops: [const { Counter(AtomicU64::new(0)) }; DropReason::COUNT],
            ports: (0..ports).map(|_| PortShard::default()).collect(),
        }
    }

    /// Counts a batch.
    #[inline]
    pub fn count_batch(&self) {
        self.batches.add(1);
    }

    /// Counts frames received on a port.
    #[inline]
    pub fn count_received(&self, port: PortId, packets: u64, bytes: u64) {
        self.received.add(packets);
        if let Some(shard) = self.ports.get(usize::from(port.0)) {
            shard.received_packets.add(packets);
            shard.received_bytes.add(bytes);
        }
    }

    /// Counts frames given to a port.
    #[inline]
    pub fn count_transmitted(&self, port: PortId, packets: u64, bytes: u64) {
        self.transmitted.add(packets);
        if let Some(shard) = self.ports.get(usize::from(port.0)) {
            shard.transmitted_packets.add(packets);
            shard.transmitted_bytes.add(bytes);
        }
    }

    /// Counts a frame that was made here.
    #[inline]
    pub fn count_originated(&self) {
        self.originated.add(1);
    }

    /// Counts fragments that became part of a datagram.
    pub fn count_joined(&self, fragments: u64) {
        self.joined.add(fragments);
    }

    /// Counts an Echo-Reply that was waited for.
    pub fn count_measured(&self) {
        self.measured.add(1);
    }

    /// Notes how many fragments wait now.
    pub fn set_waiting(&self, fragments: u64) {
        self.waiting.store(fragments, Relaxed);
    }

    /// Notes how many frames wait now until their share of the sessions has moved.
    pub fn set_moving(&self, frames: u64) {
        self.moving.store(frames, Relaxed);
    }

    /// Counts a dropped frame.
    #[inline]
    pub fn count_drop(&self, reason: DropReason) {
        self.count_drops(reason, 1);
    }

    /// Counts dropped frames.
    #[inline]
    pub fn count_drops(&self, reason: DropReason, frames: u64) {
        self.dropped.add(frames);
        self.drops[reason as usize].add(frames);
    }

    /// Counts frames that were handed to other workers.
    #[inline]
    pub fn count_handed_out(&self, frames: u64) {
        self.handed_out.add(frames);
    }

    /// Counts frames that another worker handed here.
    #[inline]
    pub fn count_handed_in(&self, frames: u64) {
        self.handed_in.add(frames);
    }

    /// What the worker did; the caller fills in core, load and free frames.
    pub fn worker(&self) -> WorkerCounters {
        WorkerCounters {
            core: None,
            received: self.received.value(),
            originated: self.originated.value(),
            transmitted: self.transmitted.value(),
            dropped: self.dropped.value(),
            joined: self.joined.value(),
            measured: self.measured.value(),
            waiting: self.waiting.load(Relaxed) + self.moving.load(Relaxed),
            handed_out: self.handed_out.value(),
            handed_in: self.handed_in.value(),
            batches: self.batches.value(),
            load_permille: 0,
            frames_free: 0,
        }
    }

    /// Adds the drops to `total`.
    pub fn add_drops(&self, total: &mut DropCounts) {
        for (sum, counter) in total.0.iter_mut().zip(&self.drops) {
            *sum += counter.value();
        }
    }

    /// Adds what crossed `port` to `total`.
    pub fn add_port(&self, port: PortId, total: &mut PortCounters) {
        if let Some(shard) = self.ports.get(usize::from(port.0)) {
            total.received_packets += shard.received_packets.value();
            total.received_bytes += shard.received_bytes.value();
            total.transmitted_packets += shard.transmitted_packets.value();
            total.transmitted_bytes += shard.transmitted_bytes.value();
        }
    }
}
