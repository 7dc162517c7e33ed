//! The batch function: frames x tables -> verdicts. No I/O, no clock.
//!
//! One FIB, several kinds of adjacency: upstream is decapsulate then forward, downstream is forward
//! then encapsulate, subscriber to subscriber is both. A batch goes through in stages, so that the
//! cache misses of its frames overlap: each stage asks for the lines that the next one reads. What
//! is done to a frame is done by functions on one frame.

mod classify;
mod congestion;
mod decap;
mod echo;
mod encap;
mod forward;
mod fragment;
mod icmp;
mod mss_clamp;
mod pacer;
mod police;
mod quality;
mod quick;
mod reassembly;
mod rewrite;
mod source_check;
mod special;
pub mod spread;
mod stages;
mod stray;
#[cfg(all(test, not(loom)))]
mod tests;

use std::sync::Arc;

use crate::api::SessionKey;
use crate::counters::Shard;
use crate::frame::Frame;
use crate::tables::{Entry, Guard, Tables};
use crate::verdict::{DropReason, Verdict};
use crate::wire::ethernet;
use classify::{Packet, Work};
pub use quality::ECHOES_MAX;
use quality::Monitor;
use quick::Shapes;
use special::Special;
pub use special::{Extra, RESERVE_FRAMES};
pub use stages::Stage;
use stages::{find, look_closer, prefetch, prefetch_subscriber, resolve, resolve_generally};

/// The most frames of one call.
pub const BATCH_MAX: usize = 64;

/// One worker's pipeline.
#[derive(Debug)]
pub struct Pipeline {
    tables: Arc<Tables>,
    worker: usize,
    /// The next outer IPv4 identification.
    identification: u16,
    shapes: Shapes,
    /// What is known of each frame of the batch.
    work: Box<[Work; BATCH_MAX]>,
    special: Special,
    /// `None` where the quality of sessions is not monitored.
    monitor: Option<Monitor>,
}

/// What the steps on one frame share.
struct Context<'a> {
    guard: &'a Guard<'a>,
    identification: &'a mut u16,
    special: &'a mut Special,
    shard: &'a Shard,
}

/// Where a packet comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// A NIC, or a subscriber.
    Network,
    /// The host, by its TUN device.
    Host,
    /// Here.
    Own,
}

impl Pipeline {
    /// The pipeline of `worker`.
    pub fn new(tables: Arc<Tables>, worker: usize) -> Self {
        // Workers begin far from one another: identifications only have to differ while fragments
        // of a packet are under way.
        let identification = (worker as u16).wrapping_mul(0x9e37);
        let shapes = Shapes::new(&tables);
        let work = Box::new([Work::Drop(NO_ROOM); BATCH_MAX]);
        let (special, monitor) = (Special::new(worker), Monitor::new(&tables, worker));
        Self { tables, worker, identification, shapes, work, special, monitor }
    }

    /// Says when what is processed next was received, nanoseconds from whatever start; it never goes
    /// back. Rates and times are counted by it.
    #[inline]
    pub fn set_time(&mut self, now: u64) {
        self.special.now = now;
    }

    /// Frames for what is made here, at most [`RESERVE_FRAMES`]; the caller keeps it full. Without
    /// them, packets that would be sent in pieces are dropped.
    #[inline]
    pub fn reserve(&mut self) -> &mut Vec<Frame> {
        &mut self.special.reserve
    }

    /// Fragments that wait for others: received, and neither sent nor dropped yet.
    pub fn held(&self) -> u64 {
        self.special.reassembly.held()
    }

    /// What was made by the last [`Pipeline::process`], in order; the caller empties it.
    #[inline]
    pub fn extras(&mut self) -> &mut Vec<Extra> {
        &mut self.special.extras
    }

    /// Decides on every frame and rewrites it in place. `verdicts` is cleared and gets one verdict
    /// per frame, in order. Counts drops, session packets and what is made here; the caller counts what
    /// it received and sent.
    pub fn process(
        &mut self,
        guard: &Guard<'_>,
        frames: &mut [Frame],
        verdicts: &mut Vec<Verdict>,
    ) {
        self.process_observed(guard, frames, verdicts, &mut |_| {});
    }

    /// The same, and says when a stage is over, for each batch of [`BATCH_MAX`] frames: to measure it.
    #[inline(always)]
    pub fn process_observed(
        &mut self,
        guard: &Guard<'_>,
        frames: &mut [Frame],
        verdicts: &mut Vec<Verdict>,
        observe: &mut impl FnMut(Stage),
    ) {
        verdicts.clear();
        for batch in frames.chunks_mut(BATCH_MAX) {
            self.process_batch(guard, batch, verdicts, observe);
        }
    }

    /// Sends a PPP frame of control's in a session; counts as [`Pipeline::process`] does, but no packet
    /// of the session.
    pub fn inject(&mut self, guard: &Guard<'_>, frame: &mut Frame, key: SessionKey) -> Verdict {
        let mut context = Context {
            guard,
            identification: &mut self.identification,
            special: &mut self.special,
            shard: self.tables.shard(self.worker),
        };
        let key = u32::from(key.local_tunnel_id) << 16 | u32::from(key.local_session_id);
        let slot = guard.find_session(key).ok_or(DropReason::NoSuchSession);
        let sent = slot.and_then(|slot| context.send_from_control(frame, slot));
        sent.unwrap_or_else(|reason| context.refuse(frame, reason))
    }

    /// At most [`BATCH_MAX`] frames, in stages.
    #[inline(always)]
    fn process_batch(
        &mut self,
        guard: &Guard<'_>,
        frames: &mut [Frame],
        verdicts: &mut Vec<Verdict>,
        observe: &mut impl FnMut(Stage),
    ) {
        for frame in frames.iter() {
            frame.prefetch();
        }
        let shapes = self.shapes;
        for (frame, work) in frames.iter().zip(self.work.iter_mut()) {
            if shapes.classify(frame, work).is_none()
                && shapes.classify_varied(frame, work).is_none()
            {
                *work = classify::classify(guard.tables(), frame);
            }
            prefetch(guard, frame, work);
        }
        observe(Stage::Classify);
        for (frame, work) in frames.iter().zip(self.work.iter_mut()) {
            find(guard, frame, work);
        }
        observe(Stage::Find);
        for (frame, work) in frames.iter().zip(self.work.iter_mut()) {
            resolve(guard, frame, work);
        }
        observe(Stage::Resolve);
        for work in &mut self.work[..frames.len()] {
            prefetch_subscriber(guard, work);
        }
        observe(Stage::Prefetch);
        let mut context = Context {
            guard,
            identification: &mut self.identification,
            special: &mut self.special,
            shard: self.tables.shard(self.worker),
        };
        verdicts.extend(frames.iter_mut().zip(self.work.iter()).map(|(frame, work)| {
            context.act(frame, work).unwrap_or_else(|reason| context.refuse(frame, reason))
        }));
        observe(Stage::Act);
    }
}

impl Context<'_> {
    /// Does what was found out.
    #[inline(always)]
    fn act(&mut self, frame: &mut Frame, work: &Work) -> Result<Verdict, DropReason> {
        let done = match work {
            Work::Upstream(quick) => self.quick_upstream(frame, quick),
            Work::Downstream(quick) => self.quick_downstream(frame, quick),
            _ => None,
        };
        match done {
            Some(verdict) => Ok(verdict),
            None => self.act_otherwise(frame, work),
        }
    }

    /// What is not of a common shape, or is not quite as it looked.
    #[inline(never)]
    fn act_otherwise(&mut self, frame: &mut Frame, work: &Work) -> Result<Verdict, DropReason> {
        let done = match work {
            Work::Upstream(quick) => self.varied_upstream(frame, &quick.vary()),
            Work::Downstream(quick) => self.varied_downstream(frame, &quick.vary()),
            Work::VariedUpstream(varied) => self.varied_upstream(frame, varied),
            Work::VariedDownstream(varied) => self.varied_downstream(frame, varied),
            Work::Drop(_) | Work::Route { .. } | Work::Data(_) => {
                return self.act_generally(frame, work);
            }
        };
        done.unwrap_or_else(|| self.act_after_all(frame))
    }

    /// What neither of the quick ways takes after all.
    #[cold]
    fn act_after_all(&mut self, frame: &mut Frame) -> Result<Verdict, DropReason> {
        let mut work = Work::Drop(NO_ROOM);
        look_closer(self.guard, frame, &mut work);
        resolve_generally(self.guard, frame, &mut work);
        self.act_generally(frame, &work)
    }

    fn act_generally(&mut self, frame: &mut Frame, work: &Work) -> Result<Verdict, DropReason> {
        match work {
            Work::Data(data) => self.decap(frame, data),
            Work::Route { packet, unless_endpoint, entry } => {
                self.route(frame, *packet, *unless_endpoint, *entry)
            }
            Work::Drop(reason) => Err(*reason),
            // The general classification gives none of these.
            _ => Err(NO_ROOM),
        }
    }

    /// A fragment of a datagram to a tunnel endpoint. What is whole with it goes on from there; what of
    /// that is the kernel's, as steering would have said of it in one piece, goes there.
    #[cold]
    fn reassemble(&mut self, frame: &mut Frame, packet: Packet) -> Result<Verdict, DropReason> {
        let octets = packet.octets(frame.octets());
        let (now, shard) = (self.special.now, self.shard);
        let lost = |reason, count| shard.count_drops(reason, count);
        let outcome = self.special.reassembly.handle(octets, packet.is_ipv4(), now, lost);
        shard.set_waiting(self.special.reassembly.held());
        let index = match outcome {
            reassembly::Outcome::Held => return Ok(Verdict::Hold),
            reassembly::Outcome::Refused(reason) => return Err(reason),
            reassembly::Outcome::Whole(index) => index,
        };
        let macs = frame.octets().first_chunk().copied().unwrap_or_default();
        let datagram = self.special.reassembly.take(index, macs).ok_or(NO_ROOM)?;
        shard.count_joined(datagram.waited);
        shard.set_waiting(datagram.waiting);
        if !datagram.is_right {
            return Err(DropReason::UdpChecksum);
        }
        frame.reset(frame.port(), datagram.frame);
        if self.special.shares.is_active()
            && let Some(share) = spread::share_of(self.guard.tables().limits(), frame)
            && self.special.shares.is_elsewhere(share)
        {
            return Ok(Verdict::Handoff(share));
        }
        let mut work = Work::Drop(NO_ROOM);
        look_closer(self.guard, frame, &mut work);
        resolve_generally(self.guard, frame, &mut work);
        match self.act_generally(frame, &work) {
            // Nothing was done to it yet.
            Err(DropReason::L2tpControl | DropReason::PppProtocol)
                if frame.pull(ethernet::HEADER_BYTES) =>
            {
                Ok(Verdict::Transmit(self.guard.tables().host_port()))
            }
            done => done,
        }
    }

    /// Forwards a packet as it was received. What looked like tunnel traffic and is no good is
    /// dropped if a tunnel could end at its destination; elsewhere it is nothing special.
    fn route(
        &mut self,
        frame: &mut Frame,
        packet: Packet,
        unless_endpoint: Option<DropReason>,
        entry: Entry,
    ) -> Result<Verdict, DropReason> {
        if let (Some(reason), Entry::Local { endpoint: true }) = (unless_endpoint, entry) {
            return self.stray(frame, packet, reason);
        }
        let host = frame.port() == self.guard.tables().host_port();
        let to_endpoint = entry == Entry::Local { endpoint: true };
        if to_endpoint && !host && packet.is_fragment(frame.octets()) {
            return self.reassemble(frame, packet);
        }
        let origin = if host { Origin::Host } else { Origin::Network };
        // RFC 1812 section 5.3.7, and the same of IPv6. What goes to the kernel is for it to judge.
        let to_kernel = matches!(entry, Entry::Local { .. } | Entry::Glean);
        if !host && !to_kernel && packet.is_source_invalid(frame.octets()) {
            return Err(DropReason::SourceInvalid);
        }
        self.forward(frame, packet, entry, origin)
    }
}

/// An arithmetic or headroom check that cannot fail for packets whose lengths were proven; said as
/// a reason rather than a panic.
const NO_ROOM: DropReason = DropReason::TooBig;
