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
mod quick;
mod reassembly;
mod rewrite;
mod source_check;
mod special;
#[cfg(all(test, not(loom)))]
mod tests;

use std::sync::Arc;

use crate::api::SessionKey;
use crate::counters::Shard;
use crate::frame::Frame;
use crate::tables::{Entry, Guard, Tables};
use crate::verdict::{DropReason, Verdict};
use crate::wire::ethernet;
use classify::{Address, Inner, Packet, Work};
use quick::Shapes;
use special::Special;
pub use special::{Extra, RESERVE_FRAMES};

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
        Self { tables, worker, identification, shapes, work, special: Special::new(worker) }
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
        verdicts.clear();
        for batch in frames.chunks_mut(BATCH_MAX) {
            self.process_batch(guard, batch, verdicts);
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
    fn process_batch(
        &mut self,
        guard: &Guard<'_>,
        frames: &mut [Frame],
        verdicts: &mut Vec<Verdict>,
    ) {
        for frame in frames.iter() {
            frame.prefetch();
        }
        let shapes = self.shapes;
        for (frame, work) in frames.iter().zip(self.work.iter_mut()) {
            if shapes.classify(frame, work).is_none() {
                *work = classify::classify(guard.tables(), frame);
            }
            prefetch(guard, frame, work);
        }
        for (frame, work) in frames.iter().zip(self.work.iter_mut()) {
            find(guard, frame, work);
        }
        for (frame, work) in frames.iter().zip(self.work.iter_mut()) {
            resolve(guard, frame, work);
        }
        for work in &self.work[..frames.len()] {
            prefetch_subscriber(guard, work);
        }
        let mut context = Context {
            guard,
            identification: &mut self.identification,
            special: &mut self.special,
            shard: self.tables.shard(self.worker),
        };
        verdicts.extend(frames.iter_mut().zip(self.work.iter()).map(|(frame, work)| {
            context.act(frame, work).unwrap_or_else(|reason| context.refuse(frame, reason))
        }));
    }
}

/// After classification: asks for the entry of the IDs, and the root of the FIB.
#[inline(always)]
fn prefetch(guard: &Guard<'_>, frame: &Frame, work: &Work) {
    match work {
        Work::Upstream(work) => {
            guard.prefetch_ids(work.place);
            guard.prefetch_route_ipv4(work.destination);
        }
        Work::Downstream(work) => {
            guard.prefetch_route_ipv4(work.destination);
            frame.prefetch_headroom();
        }
        Work::Drop(_) => {}
        Work::Route { packet, .. } => prefetch_route(guard, packet.destination(frame.octets())),
        Work::Data(data) => {
            guard.prefetch_ids(data.key);
            if let Inner::Ip(packet) = &data.inner {
                prefetch_route(guard, packet.destination(frame.octets()));
            }
        }
    }
}

#[inline]
fn prefetch_route(guard: &Guard<'_>, destination: Address) {
    match destination {
        Address::V4(destination) => guard.prefetch_route_ipv4(destination),
        Address::V6(destination) => guard.prefetch_route_ipv6(destination),
    }
}

/// Finds the session of data, or that there is none, and asks for its first line and for the second
/// entry of the FIB.
#[inline(always)]
fn find(guard: &Guard<'_>, frame: &Frame, work: &mut Work) {
    match work {
        Work::Upstream(quick) => match guard.find_session(quick.place) {
            Some(slot) => {
                quick.place = slot;
                guard.prefetch_decap(slot);
                quick.route = guard.begin_route_ipv4(quick.destination);
            }
            None => look_closer(guard, frame, work),
        },
        Work::Downstream(quick) => quick.route = guard.begin_route_ipv4(quick.destination),
        Work::Drop(_) => {}
        Work::Route { .. } | Work::Data(_) => find_generally(guard, frame, work),
    }
}

fn find_generally(guard: &Guard<'_>, frame: &Frame, work: &mut Work) {
    let packet = match work {
        Work::Route { packet, .. } => packet,
        Work::Data(data) => {
            let Some(slot) = guard.find_session(data.key) else {
                let unless_endpoint = Some(DropReason::NoSuchSession);
                *work = Work::Route { packet: data.outer, unless_endpoint, entry: Entry::NoRoute };
                return;
            };
            data.slot = slot;
            guard.prefetch_decap(slot);
            let Inner::Ip(packet) = &data.inner else { return };
            packet
        }
        Work::Drop(_) | Work::Upstream(_) | Work::Downstream(_) => return,
    };
    match packet.destination(frame.octets()) {
        Address::V4(destination) => guard.begin_route_ipv4(destination),
        Address::V6(destination) => guard.begin_route_ipv6(destination),
    };
}

/// Begins again the general way with a frame whose shape promised too much.
#[cold]
fn look_closer(guard: &Guard<'_>, frame: &Frame, work: &mut Work) {
    *work = classify::classify(guard.tables(), frame);
    find_generally(guard, frame, work);
}

/// Looks the destination up, and asks for what the last stage reads: counters upstream, and the
/// second line of the session that a destination leads to.
#[inline(always)]
fn resolve(guard: &Guard<'_>, frame: &Frame, work: &mut Work) {
    match work {
        Work::Upstream(quick) => {
            guard.prefetch_counters(guard.decap_index(quick.place));
            quick.route = guard.end_route_ipv4(quick.route, quick.destination);
            if Entry::neighbor(quick.route).is_some() {
                return;
            }
            look_closer(guard, frame, work);
        }
        Work::Downstream(quick) => {
            quick.route = guard.end_route_ipv4(quick.route, quick.destination);
            if let Some(slot) = Entry::session(quick.route) {
                return guard.prefetch_encap(slot);
            }
            look_closer(guard, frame, work);
        }
        Work::Drop(_) | Work::Route { .. } | Work::Data(_) => {}
    }
    resolve_generally(guard, frame, work);
}

fn resolve_generally(guard: &Guard<'_>, frame: &Frame, work: &mut Work) {
    let entry = match work {
        Work::Route { packet, entry, .. } => {
            *entry = packet.destination(frame.octets()).route(guard);
            *entry
        }
        Work::Data(data) => {
            guard.prefetch_counters(guard.decap_index(data.slot));
            let Inner::Ip(packet) = &data.inner else { return };
            data.entry = packet.destination(frame.octets()).route(guard);
            data.entry
        }
        Work::Drop(_) | Work::Upstream(_) | Work::Downstream(_) => return,
    };
    if let Entry::Session(slot) = entry {
        guard.prefetch_encap(slot);
    }
}

/// Asks for the counters of the session that a packet leads to.
#[inline(always)]
fn prefetch_subscriber(guard: &Guard<'_>, work: &Work) {
    let slot = match work {
        Work::Downstream(quick) => Entry::session(quick.route),
        Work::Route { entry: Entry::Session(slot), .. }
        | Work::Data(classify::Data { entry: Entry::Session(slot), .. }) => Some(*slot),
        _ => None,
    };
    if let Some(slot) = slot {
        guard.prefetch_counters(guard.encap_index(slot));
    }
}

impl Context<'_> {
    /// Does what was found out.
    #[inline(always)]
    fn act(&mut self, frame: &mut Frame, work: &Work) -> Result<Verdict, DropReason> {
        let done = match work {
            Work::Upstream(quick) => self.quick_upstream(frame, quick),
            Work::Downstream(quick) => self.quick_downstream(frame, quick),
            Work::Drop(reason) => return Err(*reason),
            Work::Route { .. } | Work::Data(_) => return self.act_generally(frame, work),
        };
        match done {
            Some(verdict) => Ok(verdict),
            None => self.act_after_all(frame),
        }
    }

    /// What the quick way does not take after all.
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
            // The general classification gives neither.
            Work::Upstream(_) | Work::Downstream(_) => Err(NO_ROOM),
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
            return Err(reason);
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
