//! One queue of one port as its worker sees it: four rings and a descriptor to wake the kernel by.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::kernel;
use super::ring::{Consumer, Descriptor, Producer};
use super::umem::{Memory, Pool};
use crate::frame::{Frame, HEADROOM_BYTES};
use crate::port::PortId;

/// Frames that are out come back within microseconds of a wake-up, and one that sleeps wakes the
/// kernel ten times a second: a queue from which none came for this long sends nothing.
const STALLED_AFTER: Duration = Duration::from_secs(2);

/// A queue that one worker owns.
#[derive(Debug)]
pub struct Queue {
    port: PortId,
    rings: Rings,
    /// The socket's descriptor; `None` in tests, where nobody sleeps.
    socket: Option<OwnedFd>,
    /// Frames submitted for transmission that have not come back.
    outstanding: u32,
    /// Frames submitted for transmission, ever.
    submitted: u64,
    /// The kernel did not take all frames at the last wake-up.
    retry: bool,
    /// The interface is gone: nothing is received from it or sent to it any more.
    gone: bool,
    /// Since when frames are out and none has come back, by the worker's clock.
    waits_since: Option<Duration>,
    /// One has come back since [`Queue::is_stalled`] was asked.
    completed: bool,
    /// That it is stalled was said.
    warned: bool,
}

/// The four rings of a queue.
#[derive(Debug)]
pub struct Rings {
    /// Frames received.
    pub receive: Consumer<Descriptor>,
    /// Frames to send.
    pub transmit: Producer<Descriptor>,
    /// Chunks to receive into.
    pub fill: Producer<u64>,
    /// Chunks that were sent.
    pub completion: Consumer<u64>,
}

impl Queue {
    /// A queue of `port` with these rings.
    pub fn new(port: PortId, rings: Rings, socket: Option<OwnedFd>) -> Self {
        Self {
            port,
            rings,
            socket,
            outstanding: 0,
            submitted: 0,
            retry: false,
            gone: false,
            waits_since: None,
            completed: false,
            warned: false,
        }
    }

    /// The port it belongs to.
    #[inline]
    pub fn port(&self) -> PortId {
        self.port
    }

    /// The socket, to poll it for frames; `None` where there is none or its interface is gone.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().filter(|_| !self.gone).map(AsFd::as_fd)
    }

    /// Frames that were submitted and have not come back.
    pub fn outstanding(&self) -> u32 {
        self.outstanding
    }

    /// Frames submitted for transmission so far.
    pub fn submitted(&self) -> u64 {
        self.submitted
    }

    /// Whether as many frames as were `submitted` have left, in the order of the ring, or never will.
    pub fn has_sent(&self, submitted: u64) -> bool {
        self.gone || self.submitted - u64::from(self.outstanding) >= submitted
    }

    /// Whether the kernel has to be asked again to take what is on the transmit ring.
    #[inline]
    pub fn is_retrying(&self) -> bool {
        self.retry
    }

    /// Frames of its worker that are on its rings, as far as this side can tell: a driver may hold
    /// some more.
    pub fn held(&mut self) -> u32 {
        let fill = self.rings.fill.size() - self.rings.fill.free(self.rings.fill.size());
        self.outstanding + fill + self.rings.receive.available()
    }

    /// Notes that the interface is gone. What is on its rings is lost.
    #[cold]
    pub fn set_gone(&mut self) {
        if !self.gone {
            tracing::error!(
                port = self.port.0,
                "the interface of a port is gone: restart xlns-dataplane once it is there again"
            );
        }
        self.gone = true;
        self.retry = false;
    }

    /// Takes back the frames that were sent.
    #[inline]
    pub fn complete(&mut self, pool: &mut Pool) {
        while let Some(address) = self.rings.completion.pop() {
            pool.give_address(address);
        }
        let completed = self.rings.completion.release();
        self.outstanding = self.outstanding.saturating_sub(completed);
        self.completed |= completed > 0;
    }

    /// Whether frames are out and none has come back for [`STALLED_AFTER`], at `now` by the worker's
    /// clock. Drivers do that to queues beyond their CPUs, and where something of theirs was
    /// changed under a bound socket; a link that is down does it, too.
    pub fn is_stalled(&mut self, now: Duration) -> bool {
        if self.outstanding == 0 || std::mem::take(&mut self.completed) || self.gone {
            self.waits_since = None;
            self.warned = false;
            return false;
        }
        let since = *self.waits_since.get_or_insert(now);
        let stalled = now.saturating_sub(since) >= STALLED_AFTER;
        if stalled && !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(port = self.port.0, frames = self.outstanding, "a queue sends nothing");
        }
        stalled
    }

    /// Gives the kernel frames to receive into, as many as it takes, leaving `reserve` in the pool.
    #[inline]
    pub fn refill(&mut self, pool: &mut Pool, reserve: usize) {
        if self.gone {
            return;
        }
        while pool.free() > reserve && self.rings.fill.free(1) > 0 {
            let Some(address) = pool.take_address() else { break };
            if !self.rings.fill.push(address) {
                pool.give_address(address);
                break;
            }
        }
        self.rings.fill.submit();
        // Also where nothing is new: a driver may have found the ring empty before, and said that it
        // sleeps only after this side had looked. A full ring would wait for ever then.
        let sleeps = self.rings.fill.needs_wakeup();
        if let Some(socket) = self.socket.as_ref().filter(|_| sleeps) {
            kernel::wake_receive(socket.as_fd());
        }
    }

    /// Takes up to `most` received frames. Returns how many descriptors there were.
    #[inline]
    pub fn receive(&mut self, pool: &mut Pool, most: usize, frames: &mut Vec<Frame>) -> usize {
        let mut count = 0;
        while count < most {
            let Some(descriptor) = self.rings.receive.pop() else { break };
            count += 1;
            if let Some(frame) = pool.received(descriptor, self.port) {
                frame.prefetch();
                frames.push(frame);
            }
        }
        self.rings.receive.release();
        count
    }

    /// Puts a frame on the transmit ring; it leaves at the next [`Queue::flush`].
    ///
    /// # Errors
    /// The frame, where the ring is full or the interface gone.
    #[inline]
    pub fn transmit(&mut self, frame: Frame) -> Result<(), Frame> {
        let descriptor =
            Descriptor { address: frame.address(), length: frame.len() as u32, options: 0 };
        if self.gone || !self.rings.transmit.push(descriptor) {
            return Err(frame);
        }
        frame.into_chunk();
        Ok(())
    }

    /// Shows the frames put on the transmit ring to the kernel, and wakes it where it sleeps and
    /// something is new. With `again` also where only older frames are out: a driver may have said
    /// that it sleeps only after this side had looked, and a ring to which nothing is added would
    /// wait for ever.
    #[inline]
    pub fn flush(&mut self, again: bool) {
        let count = self.rings.transmit.submit();
        self.outstanding += count;
        self.submitted += u64::from(count);
        if self.wants_wakeup(count, again) && self.rings.transmit.needs_wakeup() {
            self.wake();
        }
    }

    #[inline]
    fn wants_wakeup(&self, new: u32, again: bool) -> bool {
        !self.gone && (new > 0 || self.retry || (again && self.outstanding > 0))
    }

    fn wake(&mut self) {
        let Some(socket) = &self.socket else { return };
        match kernel::wake_transmit(socket.as_fd()) {
            Ok(again) => self.retry = again,
            // Bound no more: the interface was removed, or moved to another namespace.
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => self.set_gone(),
            // A link that is down says so each time. The frames stay on the ring until it is up
            // again, and what does not fit is counted as a drop.
            Err(_) => self.retry = true,
        }
    }
}

/// The kernel's end of a [`Queue`] made by [`Queue::pair`].
#[derive(Debug)]
pub struct Wire {
    /// To put received frames on.
    pub receive: Producer<Descriptor>,
    /// To take sent frames from.
    pub transmit: Consumer<Descriptor>,
    /// To take empty chunks from.
    pub fill: Consumer<u64>,
    /// To put sent chunks on.
    pub completion: Producer<u64>,
}

impl Queue {
    /// A queue without a kernel: a test holds the other end.
    pub fn pair(port: PortId, size: u32) -> (Self, Wire) {
        let (receive, received) = super::ring::pair(size);
        let (transmit, transmitted) = super::ring::pair(size);
        let (fill, filled) = super::ring::pair(size);
        let (completion, completed) = super::ring::pair(size);
        let rings = Rings { receive: received, transmit, fill, completion: completed };
        let wire = Wire { receive, transmit: transmitted, fill: filled, completion };
        (Self::new(port, rings, None), wire)
    }
}

impl Wire {
    /// A frame arrives: it is put into the next chunk of the fill ring. Returns whether there was
    /// one, and room in the receive ring.
    pub fn deliver(&mut self, memory: &Memory, octets: &[u8]) -> bool {
        if self.receive.free(1) == 0 {
            return false;
        }
        let Some(chunk) = self.fill.pop() else { return false };
        self.fill.release();
        let address = chunk + HEADROOM_BYTES as u64;
        if !memory.fill_chunk(address, octets) {
            return false;
        }
        let descriptor = Descriptor { address, length: octets.len() as u32, options: 0 };
        let done = self.receive.push(descriptor);
        self.receive.submit();
        done
    }

    /// Takes the next frame that was sent, and returns its chunk by the completion ring.
    pub fn collect(&mut self, memory: &Memory) -> Option<Vec<u8>> {
        let descriptor = self.transmit.pop()?;
        self.transmit.release();
        let octets = memory.read_chunk(descriptor.address, descriptor.length);
        let returned = self.completion.push(descriptor.address);
        self.completion.submit();
        octets.filter(|_| returned)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::port::xsk::umem::pools;

    const PORT: PortId = PortId(1);

    fn pool(frames: u32) -> Pool {
        memory_and_pool(frames).1
    }

    fn memory_and_pool(frames: u32) -> (Arc<Memory>, Pool) {
        let (memory, mut pools) = pools(Memory::heap(frames), &[frames]);
        (memory, pools.remove(0))
    }

    #[test]
    fn refill_leaves_the_reserve_and_stops_at_the_rings_size() {
        let (mut queue, mut wire) = Queue::pair(PORT, 4);
        let mut pool = pool(8);
        queue.refill(&mut pool, 6);
        assert_eq!((pool.free(), wire.fill.available()), (6, 2));
        queue.refill(&mut pool, 0);
        assert_eq!((pool.free(), wire.fill.available()), (4, 4));
    }

    #[test]
    fn a_frame_comes_in_goes_out_and_comes_back() {
        let (mut queue, mut wire) = Queue::pair(PORT, 4);
        let (memory, mut pool) = memory_and_pool(4);
        queue.refill(&mut pool, 0);
        assert!(wire.deliver(&memory, &[7; 60]));
        let mut frames = Vec::new();
        assert_eq!(queue.receive(&mut pool, 64, &mut frames), 1);
        let mut frame = frames.pop().unwrap();
        assert_eq!((frame.port(), frame.len()), (PORT, 60));
        assert!(frame.push(2));
        frame.octets_mut()[..2].copy_from_slice(&[1, 2]);
        queue.transmit(frame).unwrap();
        assert_eq!(wire.collect(&memory), None);
        queue.flush(false);
        assert_eq!((queue.outstanding(), queue.held()), (1, 4));
        let sent = wire.collect(&memory).unwrap();
        assert_eq!((&sent[..3], sent.len()), (&[1, 2, 7][..], 62));
        assert_eq!(wire.collect(&memory), None);
        queue.complete(&mut pool);
        assert_eq!((pool.free(), queue.outstanding()), (1, 0));
        assert_eq!(queue.held(), 3);
    }

    #[test]
    fn no_more_than_asked_for_is_received() {
        let (mut queue, mut wire) = Queue::pair(PORT, 4);
        let (memory, mut pool) = memory_and_pool(4);
        queue.refill(&mut pool, 0);
        for _ in 0..3 {
            assert!(wire.deliver(&memory, &[7; 60]));
        }
        let mut frames = Vec::new();
        assert_eq!(queue.receive(&mut pool, 2, &mut frames), 2);
        assert_eq!(queue.receive(&mut pool, 2, &mut frames), 1);
        assert_eq!(queue.receive(&mut pool, 2, &mut frames), 0);
        assert_eq!(frames.len(), 3);
    }

    #[test]
    fn frames_that_are_out_are_worth_another_wake_up_and_nothing_is_not() {
        let (mut queue, mut wire) = Queue::pair(PORT, 2);
        let (memory, mut pool) = memory_and_pool(1);
        assert!(!queue.wants_wakeup(0, true));
        queue.transmit(pool.take(PORT).unwrap()).unwrap();
        queue.flush(false);
        assert!(queue.wants_wakeup(1, false));
        assert!(queue.wants_wakeup(0, true));
        assert!(!queue.wants_wakeup(0, false));
        assert!(wire.collect(&memory).is_some());
        queue.complete(&mut pool);
        assert!(!queue.wants_wakeup(0, true));
        queue.set_gone();
        assert!(!queue.wants_wakeup(1, true));
    }

    #[test]
    fn a_completion_that_was_never_asked_for_is_no_panic() {
        let (mut queue, mut wire) = Queue::pair(PORT, 2);
        let mut pool = pool(1);
        assert!(wire.completion.push(u64::MAX));
        wire.completion.submit();
        queue.complete(&mut pool);
        assert_eq!((pool.free(), queue.outstanding()), (1, 0));
    }

    #[test]
    fn a_queue_from_which_nothing_comes_back_is_stalled_and_one_that_sends_is_not() {
        let (mut queue, mut wire) = Queue::pair(PORT, 4);
        let (memory, mut pool) = memory_and_pool(4);
        let at = |milliseconds| Duration::from_millis(milliseconds);
        assert!(!queue.is_stalled(at(10_000)), "nothing is out");
        for _ in 0..2 {
            queue.transmit(pool.take(PORT).unwrap()).unwrap();
        }
        queue.flush(false);
        assert!(!queue.is_stalled(at(20_000)));
        assert!(!queue.is_stalled(at(21_999)));
        assert!(queue.is_stalled(at(22_000)));
        assert!(wire.collect(&memory).is_some());
        queue.complete(&mut pool);
        assert!(!queue.is_stalled(at(22_001)), "one has come back");
        assert!(!queue.is_stalled(at(24_000)));
        assert!(!queue.is_stalled(at(25_999)));
        assert!(queue.is_stalled(at(26_000)), "the other has not");
        queue.set_gone();
        assert!(!queue.is_stalled(at(40_000)));
    }

    #[test]
    fn a_full_transmit_ring_gives_the_frame_back() {
        let (mut queue, _wire) = Queue::pair(PORT, 2);
        let mut pool = pool(3);
        for _ in 0..2 {
            let frame = pool.take(PORT).unwrap();
            queue.transmit(frame).unwrap();
        }
        let frame = pool.take(PORT).unwrap();
        let frame = queue.transmit(frame).unwrap_err();
        pool.give(frame);
        assert_eq!(pool.free(), 1);
    }

    #[test]
    fn a_queue_whose_interface_is_gone_takes_nothing() {
        let (mut queue, mut wire) = Queue::pair(PORT, 2);
        let mut pool = pool(3);
        queue.set_gone();
        queue.refill(&mut pool, 0);
        assert_eq!(wire.fill.available(), 0);
        let frame = pool.take(PORT).unwrap();
        assert!(queue.transmit(frame).is_err());
    }
}
