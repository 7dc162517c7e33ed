//! What others know of a running worker, and tell it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::queue::ArrayQueue;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::meter::Load;
use super::{Io, WorkerParts};
use crate::api::{INJECT_BYTES_MAX, SessionKey};
use crate::counters::{Shard, WorkerCounters};
use crate::port::PortId;

/// What others may know of a running worker and tell it.
#[derive(Debug)]
pub struct Status {
    pub(super) stop: AtomicBool,
    pub(super) wake: Arc<EventFd>,
    pub(super) frames_free: AtomicU64,
    pub(super) load: Load,
    /// The core, plus one; 0 while not pinned.
    pub(super) core: AtomicU32,
    /// Queues of each port that send nothing any more.
    pub(super) stalled: Box<[AtomicU32]>,
    /// PPP frames of control's that wait to be sent.
    pub(super) inbox: ArrayQueue<Injected>,
}

/// How many frames of control's may wait; what is over that is lost, and PPP says it again.
pub(super) const INBOX_MAX: usize = 1024;

/// A PPP frame that control sends in a session.
#[derive(Debug)]
pub(super) struct Injected {
    pub(super) key: SessionKey,
    pub(super) frame: Box<[u8]>,
}

/// A running worker; stopped by [`Handle::stop`].
#[derive(Debug)]
pub struct Handle {
    pub(super) status: Arc<Status>,
    pub(super) thread: JoinHandle<()>,
}

impl Status {
    pub(super) fn new(parts: &WorkerParts) -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = match &parts.handoff {
            Some(handoff) => handoff.wake(),
            None => Arc::new(EventFd::from_flags(flags)?),
        };
        Ok(Self {
            stop: AtomicBool::new(false),
            wake,
            frames_free: AtomicU64::new(parts.pool.free() as u64),
            load: Load::default(),
            core: AtomicU32::new(0),
            stalled: parts.ports.iter().map(|_| AtomicU32::new(0)).collect(),
            inbox: ArrayQueue::new(INBOX_MAX),
        })
    }
}

impl Handle {
    /// Tells the worker to stop after its turn.
    pub fn request_stop(&self) {
        self.status.stop.store(true, Ordering::Release);
        // The counter of an eventfd that is not read is full after 2^64 stops.
        let _ = self.status.wake.write(1);
    }

    /// Has the worker send a PPP frame in a session. `None` where it is too long, or too many wait.
    pub fn inject(&self, key: SessionKey, frame: &[u8]) -> Option<()> {
        if frame.len() > INJECT_BYTES_MAX {
            return None;
        }
        self.status.inbox.push(Injected { key, frame: frame.into() }).ok()?;
        let _ = self.status.wake.write(1);
        Some(())
    }

    /// Stops the worker and waits for its end. Returns whether it ended as it should.
    pub fn stop(self) -> bool {
        self.request_stop();
        self.thread.join().is_ok()
    }

    /// Queues of this port that send nothing any more.
    pub fn stalled(&self, port: PortId) -> u32 {
        let stalled = self.status.stalled.get(usize::from(port.0));
        stalled.map_or(0, |stalled| stalled.load(Ordering::Relaxed))
    }

    /// What the worker did, from its counters in `shard`.
    pub fn counters(&self, shard: &Shard) -> WorkerCounters {
        let core = self.status.core.load(Ordering::Relaxed);
        WorkerCounters {
            core: core.checked_sub(1).and_then(|core| u16::try_from(core).ok()),
            frames_free: self.status.frames_free.load(Ordering::Relaxed),
            load_permille: self.status.load.permille(),
            ..shard.worker()
        }
    }
}

impl Io {
    /// Notes how many queues of each port do not send what they were given.
    pub(super) fn watch(&mut self, stalled: &[AtomicU32]) {
        let now = Duration::from_nanos(self.clock.now());
        for (queues, stalled) in self.ports.iter_mut().zip(stalled) {
            let count = queues.iter_mut().filter_map(|queue| queue.is_stalled(now).then_some(()));
            stalled.store(count.count() as u32, Ordering::Relaxed);
        }
    }
}
