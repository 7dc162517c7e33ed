//! The batch function: frames x tables -> verdicts. No I/O, no clock.
//!
//! One FIB, several kinds of adjacency: upstream is decapsulate then forward, downstream is forward
//! then encapsulate, subscriber to subscriber is both. A batch goes through in stages, so that the
//! cache misses of its frames overlap: each stage asks for the lines that the next one reads. What
//! is done to a frame is done by functions on one frame.

mod classify;
mod decap;
mod echo;
mod encap;
mod forward;
mod rewrite;
mod source_check;

use std::sync::Arc;

use crate::frame::Frame;
use crate::tables::{Entry, Guard, Tables};
use crate::verdict::{DropReason, Verdict};
use classify::{Address, Inner, Packet, Work};

/// The most frames of one call.
pub const BATCH_MAX: usize = 64;

/// One worker's pipeline.
#[derive(Debug)]
pub struct Pipeline {
    tables: Arc<Tables>,
    worker: usize,
    /// The next outer IPv4 identification.
    identification: u16,
    /// What is known of each frame of the batch.
    work: Vec<Work>,
}

/// What the steps on one frame share.
struct Context<'a> {
    guard: &'a Guard<'a>,
    identification: &'a mut u16,
}

/// Where a packet comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// A NIC, or a subscriber.
    Network,
    /// The host, by its TUN device.
    Host,
}

impl Pipeline {
    /// The pipeline of `worker`.
    pub fn new(tables: Arc<Tables>, worker: usize) -> Self {
        // Workers begin far from one another: identifications only have to differ while fragments
        // of a packet are under way.
        let identification = (worker as u16).wrapping_mul(0x9e37);
        Self { tables, worker, identification, work: Vec::with_capacity(BATCH_MAX) }
    }

    /// Decides on every frame and rewrites it in place. `verdicts` is cleared and gets one verdict
    /// per frame, in order. Counts drops and session packets; the caller counts what it received
    /// and sent.
    ///
    /// # Panics
    /// In debug builds with more than [`BATCH_MAX`] frames.
    pub fn process(
        &mut self,
        guard: &Guard<'_>,
        frames: &mut [Frame],
        verdicts: &mut Vec<Verdict>,
    ) {
        debug_assert!(frames.len() <= BATCH_MAX);
        for frame in frames.iter() {
            frame.prefetch();
        }
        self.work.clear();
        for frame in frames.iter() {
            let work = classify::classify(&self.tables, frame);
            prefetch(guard, frame, &work);
            self.work.push(work);
        }
        for (frame, work) in frames.iter().zip(&mut self.work) {
            find(guard, frame, work);
        }
        for (frame, work) in frames.iter().zip(&mut self.work) {
            resolve(guard, frame, work);
        }
        for work in &self.work {
            prefetch_subscriber(guard, work);
        }
        let mut context = Context { guard, identification: &mut self.identification };
        let shard = self.tables.shard(self.worker);
        verdicts.clear();
        for (frame, work) in frames.iter_mut().zip(&self.work) {
            verdicts.push(context.act(frame, work).unwrap_or_else(|reason| {
                shard.count_drop(reason);
                Verdict::Drop(reason)
            }));
        }
    }
}

/// After classification: asks for the entry of the IDs, and the root of the FIB.
#[inline(always)]
fn prefetch(guard: &Guard<'_>, frame: &Frame, work: &Work) {
    match work {
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
    let packet = match work {
        Work::Drop(_) => return,
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
    };
    if let Address::V4(destination) = packet.destination(frame.octets()) {
        guard.prefetch_route_ipv4_end(destination);
    }
}

/// Looks the destination up, and asks for the second line of the session that it leads to.
#[inline(always)]
fn resolve(guard: &Guard<'_>, frame: &Frame, work: &mut Work) {
    let entry = match work {
        Work::Drop(_) => return,
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
    };
    if let Entry::Session(slot) = entry {
        guard.prefetch_encap(slot);
    }
}

/// Asks for the counters of the session that a packet leads to.
#[inline]
fn prefetch_subscriber(guard: &Guard<'_>, work: &Work) {
    let (Work::Route { entry, .. } | Work::Data(classify::Data { entry, .. })) = work else {
        return;
    };
    if let Entry::Session(slot) = *entry {
        guard.prefetch_counters(guard.encap_index(slot));
    }
}

impl Context<'_> {
    /// Does what was found out.
    #[inline]
    fn act(&mut self, frame: &mut Frame, work: &Work) -> Result<Verdict, DropReason> {
        match work {
            Work::Drop(reason) => Err(*reason),
            Work::Data(data) => self.decap(frame, data),
            Work::Route { packet, unless_endpoint, entry } => {
                self.route(frame, *packet, *unless_endpoint, *entry)
            }
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
