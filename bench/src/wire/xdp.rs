//! An interface by AF_XDP: the data plane's own sockets and rings, a program of the tester's in front.

use std::os::fd::AsFd;

use xlns_bpf::{Mode, XdpLink};
use xlns_dataplane::api::AttachMode;
use xlns_dataplane::frame::Frame;
use xlns_dataplane::port::PortId;
use xlns_dataplane::port::interface::{self, Interface};
use xlns_dataplane::port::xsk::queue::Rings;
use xlns_dataplane::port::xsk::{Memory, Pool, Queue, RingSizes, Socket, umem};
use xlns_dataplane::server::modes::{self, Driver, Hook, Obtained};
use xlns_tests::{LabError, Result};

use super::port::BATCH;
use super::redirect::{QUEUES_MAX, Redirect};

/// Cells of each ring.
const RING_CELLS: u32 = 2048;

const SIZES: RingSizes = RingSizes { receive: RING_CELLS, transmit: RING_CELLS, fill: RING_CELLS };

/// Frames of a queue: each ring may be full of them.
const FRAMES_PER_QUEUE: u32 = 3 * RING_CELLS;

/// Frames of a queue that are not given to the kernel to receive into: what is sent.
const RESERVE_PER_QUEUE: usize = RING_CELLS as usize;

/// Frames on their way to the kernel in one queue: more only wait there, with their time stamp running.
const OUTSTANDING_MAX: u32 = 512;

/// Descriptors looked at in a turn, of each queue.
const RECEIVE_MAX: usize = 64;

/// There is one port.
const PORT: PortId = PortId(0);

/// Sockets on all queues of an interface.
pub struct XdpPort {
    queues: Vec<Queue>,
    /// Queues that have something to be flushed.
    batch: Vec<Frame>,
    pool: Pool,
    sockets: Vec<Socket>,
    obtained: Obtained,
    _link: XdpLink,
    redirect: Redirect,
}

impl XdpPort {
    /// Opens one on an interface of this thread's namespace, in the best mode that works and is not
    /// better than `wanted`.
    ///
    /// # Errors
    /// What the kernel says, and what to do.
    pub fn open(interface: &Interface, redirect: Redirect, wanted: AttachMode) -> Result<Self> {
        let name = interface.name.as_str();
        let mut driver = Kernel { interface, redirect: &redirect, link: None, bound: None };
        let obtained = modes::choose(&[name], &[wanted], &mut driver)
            .map_err(|(_, reason)| advice(name, &reason))?
            .pop()
            .ok_or_else(|| LabError::new("no mode was chosen"))?;
        let (Some(link), Some(bound)) = (driver.link, driver.bound) else {
            return Err(advice(name, "no socket was bound"));
        };
        let Bound { sockets, rings, memory } = bound;
        let frames = memory.frames();
        let (_, mut pools) = umem::pools(memory, &[frames]);
        let mut pool = pools.pop().ok_or_else(|| LabError::new("no frames"))?;
        let mut queues = Vec::new();
        for (index, (rings, socket)) in (0..).zip(rings.into_iter().zip(&sockets)) {
            let error = |error| LabError::io(&format!("socket of {name}"), &error);
            let mut queue = Queue::new(PORT, rings, Some(socket.duplicate().map_err(error)?));
            queue.refill(&mut pool, RESERVE_PER_QUEUE);
            redirect.set_socket(index, socket.as_fd())?;
            queues.push(queue);
        }
        let batch = Vec::with_capacity(RECEIVE_MAX);
        Ok(Self { queues, batch, pool, sockets, obtained, _link: link, redirect })
    }

    /// The mode obtained, and why no better one.
    pub fn obtained(&self) -> &Obtained {
        &self.obtained
    }

    /// Number of queues.
    pub fn queues(&self) -> usize {
        self.queues.len()
    }

    /// How many frames may be sent by this queue now, up to [`BATCH`].
    #[inline]
    pub fn room(&mut self, queue: usize) -> usize {
        let Some(queue) = self.queues.get_mut(queue) else { return 0 };
        queue.complete(&mut self.pool);
        (OUTSTANDING_MAX.saturating_sub(queue.outstanding()) as usize).min(BATCH)
    }

    /// Sends a frame of so many octets by a queue, at the next [`XdpPort::flush`]. Returns whether there
    /// was room.
    #[inline]
    pub fn push(&mut self, queue: usize, length: usize, write: impl FnOnce(&mut [u8])) -> bool {
        let Some(queue) = self.queues.get_mut(queue) else { return false };
        let Some(mut frame) = self.pool.take(PORT) else { return false };
        if !frame.set_len(length) {
            self.pool.give(frame);
            return false;
        }
        write(frame.octets_mut());
        match queue.transmit(frame) {
            Ok(()) => true,
            Err(frame) => {
                self.pool.give(frame);
                false
            }
        }
    }

    /// Shows what was pushed to the kernel.
    #[inline]
    pub fn flush(&mut self) {
        self.queues.iter_mut().for_each(|queue| queue.flush(true));
    }

    /// Hands out what arrived. Returns how many frames.
    #[inline]
    pub fn receive(&mut self, mut handle: impl FnMut(&[u8])) -> usize {
        let mut count = 0;
        for queue in &mut self.queues {
            count += queue.receive(&mut self.pool, RECEIVE_MAX, &mut self.batch);
            for frame in self.batch.drain(..) {
                handle(frame.octets());
                self.pool.give(frame);
            }
            queue.refill(&mut self.pool, RESERVE_PER_QUEUE);
        }
        count
    }

    /// Packets that arrived and only fill the LNS: they are dropped in the driver.
    pub fn fillers(&self) -> u64 {
        self.redirect.dropped().unwrap_or(0)
    }

    /// Frames that the kernel dropped for want of room in our rings.
    pub fn dropped(&self) -> u64 {
        self.sockets.iter().filter_map(|socket| socket.kernel_dropped().ok()).sum()
    }
}

fn advice(interface: &str, reason: &str) -> LabError {
    LabError::new(format!("AF_XDP on {interface}: {reason}; --generator packet does without"))
}

struct Bound {
    sockets: Vec<Socket>,
    rings: Vec<Rings>,
    memory: std::sync::Arc<Memory>,
}

/// The kernel as [`modes::choose`] wants it.
struct Kernel<'a> {
    interface: &'a Interface,
    redirect: &'a Redirect,
    link: Option<XdpLink>,
    bound: Option<Bound>,
}

impl Driver for Kernel<'_> {
    fn attach(&mut self, _port: usize, hook: Hook) -> std::result::Result<(), String> {
        let mode = match hook {
            Hook::Native => Mode::Native,
            Hook::Generic => Mode::Generic,
        };
        let attached = self.redirect.attach(self.interface.index, mode);
        self.link = Some(attached.map_err(|error| format!("attach XDP: {error}"))?);
        Ok(())
    }

    fn detach(&mut self, _port: usize) {
        self.link = None;
    }

    fn bind_all(&mut self, zero_copy: bool) -> std::result::Result<(), (usize, String)> {
        // A queue is free only after its socket of before is closed.
        self.bound = None;
        self.bound = Some(self.bind(zero_copy).map_err(|reason| (0, reason))?);
        Ok(())
    }
}

impl Kernel<'_> {
    fn bind(&self, zero_copy: bool) -> std::result::Result<Bound, String> {
        let name = self.interface.name.as_str();
        // Attaching may have changed them.
        let queues = interface::queues(name).map_err(|error| error.to_string())?;
        let queues = u32::from(queues.clamp(1, QUEUES_MAX));
        let frames = queues * FRAMES_PER_QUEUE;
        let memory = Memory::umem(frames, SIZES.fill, SIZES.transmit)
            .map_err(|error| format!("cannot map {frames} frames: {error}"))?;
        let mut bound = Bound { sockets: Vec::new(), rings: Vec::new(), memory };
        for queue in 0..queues {
            let made = Socket::bind(&bound.memory, name, queue, SIZES, zero_copy);
            let (socket, rings) = made.map_err(|error| bind_error(queue, &error, zero_copy))?;
            bound.sockets.push(socket);
            bound.rings.push(rings);
        }
        Ok(bound)
    }
}

fn bind_error(queue: u32, error: &std::io::Error, zero_copy: bool) -> String {
    let advice = match error.raw_os_error() {
        Some(libc::EOPNOTSUPP) if zero_copy => ": its driver has no zero-copy",
        Some(libc::EBUSY) => ": another program has an AF_XDP socket there",
        Some(libc::EPERM) => ": run it as root",
        _ => "",
    };
    format!("cannot bind queue {queue}: {error}{advice}")
}
