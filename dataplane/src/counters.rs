//! Counters: per worker and per session, never shared between writers; readers add them up.

use serde::{Deserialize, Serialize};

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
    /// Frames sent, to ports and to the host.
    pub transmitted: u64,
    /// Frames dropped, all reasons.
    pub dropped: u64,
    /// Batches with at least one frame.
    pub batches: u64,
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
}

/// Drops by reason, indexed like [`DropReason::ALL`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropCounts(pub Vec<u64>);

impl Default for DropCounts {
    fn default() -> Self {
        Self(vec![0; DropReason::COUNT])
    }
}
