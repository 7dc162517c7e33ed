//! A worker: a pinned thread that owns queues of every port, one pool of frames and one queue of
//! the TUN device, and runs every frame to completion.
//!
//! One turn: for each queue take back what was sent, refill, receive a batch, let the pipeline
//! decide, put every frame where its verdict says; then show the transmit rings to the kernel.
//! A worker that finds nothing for [`IDLE_TURNS`] turns sleeps in poll(2), unless it polls busily.
//!
//! Invariants: received and handed in = transmitted, dropped, handed out and waiting for their share to
//! move, after every turn; a frame is in the pool, on a ring or in the batch, never lost: every path
//! through [`Io::settle`] ends in one of them. Nothing allocates, locks or logs per packet.

mod balance;
mod bell;
mod clock;
mod handle;
pub mod handoff;
mod look;
mod meter;
mod quality;

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::api::WORKERS_MAX;
use crate::counters::Shard;
use crate::cpu;
use crate::frame::Frame;
use crate::pipeline::{BATCH_MAX, Extra, Pipeline, RESERVE_FRAMES};
use crate::port::PortId;
use crate::port::tun::TunQueue;
use crate::port::xsk::{Pool, Queue, kernel};
use crate::tables::{Guard, Reader, Tables};
use crate::verdict::{DropReason, Verdict};
use clock::Clock;
pub use clock::start_of_time;
use handle::Injected;
pub use handle::{Handle, Status};
use handoff::Handoff;
use look::{IDLE_TURNS, Look};
use meter::Meter;

/// Full batches of a queue that are processed before what leaves is shown to the kernel, which is a
/// system call: as many as it sends at once.
const BATCHES_MAX: usize = 4;

/// Frames that no fill ring gets, so that the host's packets find some when receive rings fill up.
const HOST_RESERVE_FRAMES: usize = BATCH_MAX;

/// The longest sleep, so that a wake-up lost for whatever reason delays packets and no more.
const PARK_MILLISECONDS: i32 = 100;

/// The longest sleep while the kernel has not taken all frames to be sent, or the pool is empty.
const PARK_BUSY_MILLISECONDS: i32 = 1;

/// What a worker is made of.
#[derive(Debug)]
pub struct WorkerParts {
    /// Which worker: its place in the tables.
    pub index: usize,
    /// The core to pin it to.
    pub core: Option<u16>,
    /// Its queues of each port, in the order of the ports; at least one each.
    pub ports: Vec<Box<[Queue]>>,
    /// Its queue of the TUN device, whose port comes after the others.
    pub host: Option<TunQueue>,
    /// Its frames.
    pub pool: Pool,
    /// Whether it never sleeps.
    pub busy_poll: bool,
    /// From when on time counts: the same for all workers, as one sends what another one hears of.
    pub start: Instant,
    /// Its links with other workers; `None` where it has none.
    pub handoff: Option<Handoff>,
}

/// Starts a worker's thread. On return its fill rings are filled: the first frame finds a place even
/// where the thread has not run yet.
///
/// # Errors
/// No descriptor or no thread left.
pub fn spawn(mut parts: WorkerParts, tables: &Arc<Tables>) -> io::Result<Handle> {
    for queue in parts.ports.iter_mut().flat_map(|queues| queues.iter_mut()) {
        queue.refill(&mut parts.pool, HOST_RESERVE_FRAMES);
    }
    let status = Arc::new(Status::new(&parts)?);
    let name = match parts.core {
        Some(core) => format!("xlns-w{core}"),
        None => format!("xlns-w-{}", parts.index),
    };
    let (shared, tables) = (Arc::clone(&status), Arc::clone(tables));
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        let core = parts.core.filter(|core| cpu::pin(*core));
        if core.is_none() {
            tracing::warn!(worker = parts.index, core = parts.core, "worker is not pinned");
        }
        shared.core.store(core.map_or(0, |core| u32::from(core) + 1), Ordering::Relaxed);
        Worker::new(parts, &tables, shared).run();
    })?;
    Ok(Handle { status, thread })
}

/// A worker on its thread.
#[derive(Debug)]
struct Worker {
    index: usize,
    reader: Reader,
    pipeline: Pipeline,
    io: Io,
    batch: Vec<Frame>,
    verdicts: Vec<Verdict>,
    /// What to poll while asleep: the status' event, the host's queue, every port's queues.
    sleepers: Vec<libc::pollfd>,
    status: Arc<Status>,
    busy_poll: bool,
    /// The host has something, as far as the last sleep has shown.
    host_waits: bool,
    turns: u32,
}

/// Where frames come from and go to.
#[derive(Debug)]
struct Io {
    ports: Vec<Box<[Queue]>>,
    host: Option<TunQueue>,
    host_port: PortId,
    pool: Pool,
    tables: Arc<Tables>,
    index: usize,
    clock: Clock,
    meter: Meter,
    handoff: Option<Box<Handoff>>,
}

impl Worker {
    fn new(parts: WorkerParts, tables: &Arc<Tables>, status: Arc<Status>) -> Self {
        let WorkerParts { index, ports, host, pool, busy_poll, start, handoff, .. } = parts;
        let wanted = |fd: Option<i32>| libc::pollfd {
            fd: fd.unwrap_or(-1),
            events: libc::POLLIN,
            revents: 0,
        };
        let mut sleepers = vec![
            wanted(Some(status.wake.as_fd().as_raw_fd())),
            wanted(host.as_ref().map(|host| host.as_fd().as_raw_fd())),
        ];
        for queue in ports.iter().flat_map(|queues| queues.iter()) {
            sleepers.push(wanted(queue.socket().map(|socket| socket.as_raw_fd())));
        }
        let host_port = PortId(ports.len() as u16);
        let mut pipeline = Pipeline::new(Arc::clone(tables), index);
        let mut handoff = handoff.map(Box::new);
        if let Some(handoff) = &mut handoff {
            handoff.begin(pool.capacity(), pipeline.shares());
        }
        let io = Io {
            ports,
            host,
            host_port,
            pool,
            tables: Arc::clone(tables),
            index,
            clock: Clock::new(start),
            meter: Meter::default(),
            handoff,
        };
        Self {
            index,
            reader: tables.register(index),
            pipeline,
            io,
            batch: Vec::with_capacity(BATCH_MAX),
            verdicts: Vec::with_capacity(BATCH_MAX),
            sleepers,
            status,
            busy_poll,
            host_waits: false,
            turns: 0,
        }
    }

    fn run(mut self) {
        let mut idle: u32 = 0;
        while !self.status.stop.load(Ordering::Acquire) {
            let look = match self.host_waits {
                true => Look::Host,
                false => Look::of_turn(idle, self.turns, self.busy_poll),
            };
            if self.turn(look) > 0 {
                idle = 0;
                continue;
            }
            // Counting on for ever, a worker that never sleeps would wrap to busy: one look more.
            idle = idle.wrapping_add(1);
            if idle >= IDLE_TURNS && !self.busy_poll {
                // After a sleep in which nothing came, one look is enough.
                idle = if self.park() { 0 } else { IDLE_TURNS - 1 };
            }
        }
        self.reader.park();
        let missing = self.missing();
        tracing::debug!(worker = self.index, missing, "worker stopped");
    }

    /// See [`Io::missing`].
    fn missing(&mut self) -> i64 {
        self.io.missing(self.pipeline.reserve().len())
    }

    /// One turn over all queues. Returns the number of frames received.
    fn turn(&mut self, look: Look) -> usize {
        let around = look >= Look::Around;
        let Self { reader, pipeline, io, batch, verdicts, .. } = self;
        let guard = reader.guard();
        io.clock.begin_turn();
        let mut received = 0;
        for port in 0..io.ports.len() {
            for lane in 0..io.ports[port].len() {
                for _ in 0..BATCHES_MAX {
                    let count = io.receive(port, lane, batch);
                    if count > 0 {
                        io.divide(pipeline, lane, batch);
                        io.process(pipeline, &guard, batch, verdicts);
                        io.settle(lane, batch, verdicts, pipeline.extras());
                    }
                    received += count;
                    if count < BATCH_MAX {
                        break;
                    }
                }
            }
        }
        received += io.take_in(pipeline, &guard, batch, verdicts);
        self.turns = self.turns.wrapping_add(1);
        self.host_waits = false;
        if look == Look::Host && io.receive_from_host(batch) > 0 {
            received += batch.len();
            io.process(pipeline, &guard, batch, verdicts);
            // Always by the same queue: the packets of a connection keep their order.
            io.settle(0, batch, verdicts, pipeline.extras());
        }
        while let Some(injected) = self.status.inbox.pop() {
            received += 1;
            io.inject(pipeline, &guard, &injected);
        }
        if (received > 0 || around) && io.monitor(pipeline, &guard, batch, verdicts) {
            // As good as a frame: there is more to do.
            received += 1;
        }
        io.flush(around);
        if around {
            io.watch(&self.status.stalled);
        }
        let window = io.measure(received, around);
        io.tend(pipeline, &guard, batch, verdicts, window);
        if window.is_some() {
            self.status.load.set(io.meter.load());
        }
        if received > 0 {
            let free = io.pool.free() as u64;
            self.status.frames_free.store(free, Ordering::Relaxed);
        }
        received
    }

    /// Sleeps until a frame, a packet of the host, or a stop comes. Returns whether one did.
    fn park(&mut self) -> bool {
        self.reader.park();
        self.status.frames_free.store(self.io.pool.free() as u64, Ordering::Relaxed);
        let timeout = match self.io.is_waiting() {
            true => PARK_BUSY_MILLISECONDS,
            false => quality::park_milliseconds(&self.pipeline),
        };
        if self.io.handoff.as_mut().is_some_and(|handoff| !handoff.lie_down()) {
            return true;
        }
        self.io.meter.on_sleep();
        let awake = kernel::poll(&mut self.sleepers, timeout) > 0;
        if let Some(handoff) = &self.io.handoff {
            handoff.rise();
        }
        if awake {
            self.look_for_gone();
            if self.sleepers.first().is_some_and(|wake| wake.revents != 0) {
                // Heard. Somebody else may have been before, which is no error.
                let _ = self.status.wake.read();
            }
        }
        awake
    }

    /// A descriptor that reports an error would end every sleep at once: its interface was removed
    /// or moved to another namespace, which a socket does not survive.
    fn look_for_gone(&mut self) {
        const GONE: libc::c_short = libc::POLLERR | libc::POLLHUP | libc::POLLNVAL;
        let [wake, host, queues @ ..] = self.sleepers.as_mut_slice() else { return };
        debug_assert_eq!(wake.revents & GONE, 0);
        self.host_waits = host.revents & libc::POLLIN != 0;
        if host.revents & GONE != 0 {
            host.fd = -1;
            tracing::warn!(worker = self.index, "the TUN device is gone");
        }
        let all = self.io.ports.iter_mut().flat_map(|queues| queues.iter_mut());
        for (sleeper, queue) in queues.iter_mut().zip(all) {
            if sleeper.revents & GONE != 0 {
                sleeper.fd = -1;
                queue.set_gone();
            }
        }
    }
}

impl Io {
    #[inline]
    fn shard(&self) -> &Shard {
        self.tables.shard(self.index)
    }

    /// Receives a batch from the worker's queue number `lane` of `port`.
    #[inline]
    fn receive(&mut self, port: usize, lane: usize, batch: &mut Vec<Frame>) -> usize {
        let queue = &mut self.ports[port][lane];
        queue.complete(&mut self.pool);
        queue.receive(&mut self.pool, BATCH_MAX, batch);
        queue.refill(&mut self.pool, HOST_RESERVE_FRAMES);
        self.meter.on_batch(batch.len());
        self.count_batch(PortId(port as u16), batch)
    }

    /// Reads a batch of the host's packets.
    #[inline]
    fn receive_from_host(&mut self, batch: &mut Vec<Frame>) -> usize {
        let Some(host) = &self.host else { return 0 };
        while batch.len() < BATCH_MAX {
            let Some(mut frame) = self.pool.take(self.host_port) else { break };
            if !host.read(&mut frame) {
                self.pool.give(frame);
                break;
            }
            batch.push(frame);
        }
        self.count_batch(self.host_port, batch)
    }

    /// Sends a PPP frame of control's, which counts as one of the host's.
    #[cold]
    fn inject(&mut self, pipeline: &mut Pipeline, guard: &Guard<'_>, injected: &Injected) {
        let Some(mut frame) = self.pool.take(self.host_port) else { return };
        frame.reset(self.host_port, &injected.frame);
        self.shard().count_received(self.host_port, 1, frame.len() as u64);
        let verdict = pipeline.inject(guard, &mut frame, injected.key);
        let mut batch = vec![frame];
        self.settle(0, &mut batch, &[verdict], pipeline.extras());
    }

    #[inline]
    fn count_batch(&self, port: PortId, batch: &[Frame]) -> usize {
        if !batch.is_empty() {
            let bytes = batch.iter().map(|frame| frame.len() as u64).sum();
            self.shard().count_batch();
            self.shard().count_received(port, batch.len() as u64, bytes);
        }
        batch.len()
    }

    /// Lets the pipeline decide, at the time of now, with its reserve full as far as there are frames.
    #[inline]
    fn process(
        &mut self,
        pipeline: &mut Pipeline,
        guard: &Guard<'_>,
        batch: &mut [Frame],
        verdicts: &mut Vec<Verdict>,
    ) {
        let reserve = pipeline.reserve();
        while reserve.len() < RESERVE_FRAMES {
            let Some(frame) = self.pool.take(self.host_port) else { break };
            reserve.push(frame);
        }
        let now = self.clock.now();
        self.meter.on_work(now);
        pipeline.set_time(now);
        pipeline.process(guard, batch, verdicts);
    }

    /// Puts every frame where its verdict says: on a transmit ring, to the host, or back into the
    /// pool; what was made of it behind it. `lane` spreads over the worker's queues of the port that it
    /// leaves by.
    #[inline]
    fn settle(
        &mut self,
        lane: usize,
        batch: &mut Vec<Frame>,
        verdicts: &[Verdict],
        extras: &mut Vec<Extra>,
    ) {
        debug_assert_eq!(batch.len(), verdicts.len());
        if extras.is_empty() {
            for (frame, verdict) in batch.drain(..).zip(verdicts) {
                self.settle_one(lane, frame, *verdict);
            }
            return;
        }
        let mut extras = extras.drain(..).peekable();
        for (frame, verdict) in batch.drain(..).zip(verdicts) {
            let chunk = frame.chunk();
            self.settle_one(lane, frame, *verdict);
            while let Some(extra) = extras.next_if(|extra| extra.behind == chunk) {
                self.settle_one(lane, extra.frame, Verdict::Transmit(extra.port));
            }
        }
        // Each is behind a frame of this batch; were one not, it would not be lost.
        for extra in extras {
            self.pool.give(extra.frame);
        }
    }

    #[inline(always)]
    fn settle_one(&mut self, lane: usize, frame: Frame, verdict: Verdict) {
        match verdict {
            Verdict::Transmit(port) if port == self.host_port => self.give_to_host(frame),
            Verdict::Transmit(port) => self.transmit(port, lane, frame),
            Verdict::Handoff(share) => self.hand_off(lane, share, frame),
            // The pipeline has counted it, or kept its octets.
            Verdict::Drop(_) | Verdict::Hold | Verdict::Measured => self.pool.give(frame),
        }
    }

    #[inline]
    fn transmit(&mut self, port: PortId, lane: usize, frame: Frame) {
        let bytes = frame.len() as u64;
        let sent = match self.ports.get_mut(usize::from(port.0)) {
            Some(queues) => {
                let lane = lane % queues.len();
                queues[lane].transmit(frame)
            }
            None => Err(frame),
        };
        match sent {
            Ok(()) => self.shard().count_transmitted(port, 1, bytes),
            Err(frame) => self.drop_frame(frame, DropReason::TransmitFull),
        }
    }

    fn give_to_host(&mut self, frame: Frame) {
        let taken = self.host.as_ref().is_some_and(|host| host.write(&frame));
        if !taken {
            return self.drop_frame(frame, DropReason::HostFull);
        }
        self.shard().count_transmitted(self.host_port, 1, frame.len() as u64);
        self.pool.give(frame);
    }

    #[cold]
    fn drop_frame(&mut self, frame: Frame, reason: DropReason) {
        self.shard().count_drop(reason);
        self.pool.give(frame);
    }

    #[inline]
    fn flush(&mut self, again: bool) {
        for queue in self.ports.iter_mut().flat_map(|queues| queues.iter_mut()) {
            queue.flush(again);
        }
    }

    /// Whether sleeping long could leave frames unsent or rings unfilled.
    fn is_waiting(&self) -> bool {
        let mut queues = self.ports.iter().flat_map(|queues| queues.iter());
        let empty = self.pool.free() <= HOST_RESERVE_FRAMES;
        queues.any(|queue| queue.is_retrying() || (empty && queue.outstanding() > 0))
            || self.handoff.as_ref().is_some_and(|handoff| handoff.is_restless())
    }

    /// Frames that are neither in the pool, nor set aside, nor with another worker, nor on a ring as far
    /// as this side can tell; a driver may hold some. After a turn, 0 without a kernel.
    fn missing(&mut self, reserved: usize) -> i64 {
        let queues = self.ports.iter_mut().flat_map(|queues| queues.iter_mut());
        let held: i64 = queues.map(|queue| i64::from(queue.held())).sum();
        let lent = self.handoff.as_ref().map_or(0, |handoff| i64::from(handoff.missing()));
        i64::from(self.pool.capacity()) - self.pool.free() as i64 - held - reserved as i64 - lent
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::handle::INBOX_MAX;
    use super::*;
    use crate::api::{Command, INJECT_BYTES_MAX, RouteTarget, Session, SessionKey, SessionOptions};
    use crate::port::xsk::queue::Wire;
    use crate::port::xsk::{Memory, umem};
    use crate::quality::Settings;
    use crate::tables::{self, Limits, PortInfo, PortKind, Writer};

    const FRAMES: u32 = 256;
    const RING: u32 = 64;

    /// A worker with one queue on each of two ports, without a host, and the wires of both.
    pub(super) struct Bench {
        pub(super) worker: Worker,
        pub(super) memory: Arc<Memory>,
        pub(super) wires: Vec<Wire>,
        _writer: Writer,
    }

    /// A session whose peer is on port 0.
    fn add_session(writer: &mut Writer, id: u16) {
        let peer: SocketAddr = "192.0.2.2:1701".parse().unwrap();
        let session = Session {
            key: SessionKey { local_tunnel_id: 1, local_session_id: id },
            peer_tunnel_id: 1,
            peer_session_id: id,
            local: "192.0.2.1:1701".parse().unwrap(),
            peer,
            send_acfc: false,
            send_pfc: false,
            magic: 7,
            peer_mru: 1460,
            prefixes: Vec::new(),
            source_check: true,
            gateway: None,
            options: SessionOptions { quality: true, ..SessionOptions::DEFAULT },
        };
        let (port, address) = (0, peer.ip());
        let target = RouteTarget::Neighbor { port, gateway: address };
        for command in [
            Command::NeighborSet { port, address, mac: [4; 6] },
            Command::RouteSet { prefix: address.into(), target },
            Command::SessionSet(Box::new(session)),
        ] {
            writer.apply(&command).unwrap();
        }
    }

    impl Bench {
        fn new() -> Self {
            Self::with_sessions(None, 0)
        }

        /// With so many sessions, monitored where there are settings.
        pub(super) fn with_sessions(quality: Option<Settings>, sessions: u16) -> Self {
            let ethernet =
                PortInfo { kind: PortKind::Ethernet, mac: [2; 6], mtu: 1500, vlan: None };
            let host = PortInfo { kind: PortKind::Host, mac: [0; 6], mtu: 1500, vlan: None };
            let limits = Limits {
                sessions_max: 16,
                routes_max: 16,
                workers: 1,
                l2tp_port: 1701,
                l2tp_port_count: 1,
                gateways: Default::default(),
                quality,
                ports: vec![ethernet, ethernet, host],
            };
            let (tables, mut writer) = tables::new(&limits).unwrap();
            (0..sessions).for_each(|id| add_session(&mut writer, id + 1));
            let (memory, mut pools) = umem::pools(Memory::heap(FRAMES), &[FRAMES]);
            let (queues, wires): (Vec<_>, Vec<_>) =
                (0..2).map(|port| Queue::pair(PortId(port), RING)).unzip();
            let parts = WorkerParts {
                index: 0,
                core: None,
                ports: queues.into_iter().map(|queue| vec![queue].into_boxed_slice()).collect(),
                host: None,
                pool: pools.remove(0),
                busy_poll: false,
                start: start_of_time(),
                handoff: None,
            };
            let status = Arc::new(Status::new(&parts).unwrap());
            let worker = Worker::new(parts, &tables, status);
            let mut bench = Self { worker, memory, wires, _writer: writer };
            bench.worker.turn(Look::Rings);
            bench
        }

        fn deliver(&mut self, port: usize, count: usize) {
            for _ in 0..count {
                assert!(self.wires[port].deliver(&self.memory, &[0; 60]));
            }
        }

        /// Receives from port 0 and settles every frame with this verdict.
        fn settle(&mut self, verdict: Verdict) {
            let Worker { io, batch, .. } = &mut self.worker;
            while io.receive(0, 0, batch) > 0 {
                let verdicts = vec![verdict; batch.len()];
                if let Verdict::Drop(reason) = verdict {
                    batch.iter().for_each(|_| io.shard().count_drop(reason));
                }
                io.settle(0, batch, &verdicts, &mut Vec::new());
            }
            io.flush(false);
        }

        fn counters(&self) -> (u64, u64, u64) {
            let counters = self.worker.io.shard().worker();
            assert_eq!(counters.received, counters.transmitted + counters.dropped);
            (counters.received, counters.transmitted, counters.dropped)
        }
    }

    #[test]
    fn rings_are_filled_before_the_first_frame() {
        let mut bench = Bench::new();
        assert_eq!(bench.wires[0].fill.available(), RING);
        assert_eq!(bench.wires[1].fill.available(), RING);
        assert_eq!(bench.worker.missing(), 0);
    }

    #[test]
    fn a_frame_to_the_other_port_leaves_there_and_its_chunk_comes_back() {
        let mut bench = Bench::new();
        let free = bench.worker.io.pool.free();
        bench.deliver(0, 3);
        bench.settle(Verdict::Transmit(PortId(1)));
        assert_eq!(bench.counters(), (3, 3, 0));
        for _ in 0..3 {
            assert_eq!(bench.wires[1].collect(&bench.memory), Some(vec![0; 60]));
        }
        assert_eq!(bench.wires[0].collect(&bench.memory), None);
        assert_eq!(bench.worker.missing(), 0);
        bench.worker.turn(Look::Rings);
        assert_eq!(bench.worker.io.pool.free(), free);
        assert_eq!(bench.worker.missing(), 0);
    }

    #[test]
    fn what_the_transmit_ring_does_not_take_is_dropped_and_counted() {
        let mut bench = Bench::new();
        bench.deliver(0, RING as usize);
        bench.settle(Verdict::Transmit(PortId(1)));
        assert_eq!(bench.counters(), (64, 64, 0));
        bench.deliver(0, 5);
        bench.settle(Verdict::Transmit(PortId(1)));
        assert_eq!(bench.counters(), (69, 64, 5));
        assert_eq!(bench.worker.missing(), 0);
    }

    #[test]
    fn a_port_that_does_not_exist_and_a_host_that_is_not_there_drop() {
        let mut bench = Bench::new();
        bench.deliver(0, 1);
        bench.settle(Verdict::Transmit(PortId(7)));
        bench.deliver(0, 1);
        bench.settle(Verdict::Transmit(PortId(2)));
        assert_eq!(bench.counters(), (2, 0, 2));
        let mut drops = crate::counters::DropCounts::default();
        bench.worker.io.shard().add_drops(&mut drops);
        assert_eq!(drops.0[DropReason::TransmitFull as usize], 1);
        assert_eq!(drops.0[DropReason::HostFull as usize], 1);
        assert_eq!(bench.worker.missing(), 0);
    }

    #[test]
    fn turns_lose_no_frame_however_many_come() {
        let mut bench = Bench::new();
        let mut received = 0;
        for round in 0..200 {
            let count = (round * 7) % 65;
            bench.deliver(round % 2, count);
            assert_eq!(
                bench.worker.turn(if round % 3 == 0 { Look::Around } else { Look::Rings }),
                count
            );
            received += count as u64;
            while bench.wires.iter_mut().any(|wire| wire.collect(&bench.memory).is_some()) {}
            assert_eq!(bench.worker.missing(), 0);
        }
        assert_eq!(bench.counters().0, received);
    }

    #[test]
    fn a_worker_sleeps_long_only_where_nothing_waits() {
        let mut bench = Bench::new();
        assert!(!bench.worker.io.is_waiting());
        bench.deliver(0, 1);
        bench.settle(Verdict::Transmit(PortId(1)));
        assert!(!bench.worker.io.is_waiting());
        while bench.worker.io.pool.take(PortId(0)).is_some() {}
        assert!(bench.worker.io.is_waiting());
    }

    #[test]
    fn a_frame_of_control_for_a_session_that_is_gone_is_dropped_and_counted() {
        let mut bench = Bench::new();
        let free = bench.worker.io.pool.free();
        let key = SessionKey { local_tunnel_id: 1, local_session_id: 2 };
        let handle =
            Handle { status: Arc::clone(&bench.worker.status), thread: std::thread::spawn(|| {}) };
        assert_eq!(handle.inject(key, &[0; INJECT_BYTES_MAX + 1]), None);
        assert_eq!(handle.inject(key, &[0; INJECT_BYTES_MAX]), Some(()));
        // It does not sleep over it, and not twice.
        assert!(bench.worker.park());
        assert_eq!(bench.worker.turn(Look::Host), 1);
        assert_eq!(bench.counters(), (1, 0, 1));
        assert_eq!(bench.worker.io.pool.free(), free);
        for _ in 0..INBOX_MAX {
            assert_eq!(handle.inject(key, &[1]), Some(()));
        }
        assert_eq!(handle.inject(key, &[1]), None);
    }

    #[test]
    fn a_sleeping_worker_is_woken_to_stop() {
        let bench = Bench::new();
        let Worker { status, .. } = &bench.worker;
        let handle = Handle { status: Arc::clone(status), thread: std::thread::spawn(|| {}) };
        handle.request_stop();
        // Ends at once: the event is there, whatever the queues say.
        bench.worker.run();
        assert!(handle.stop());
    }
}
