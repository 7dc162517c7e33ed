//! The stages before the last one: each asks for the lines that the next one reads.

use super::classify::{self, Address, Inner, Work};
use crate::frame::Frame;
use crate::tables::{Entry, Guard};
use crate::verdict::DropReason;

/// What is done to a batch, step by step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// All headers are read, without any table.
    Classify,
    /// Sessions are found by their IDs, the look-up of routes begins.
    Find,
    /// Routes are looked up.
    Resolve,
    /// Counters of subscribers are asked for.
    Prefetch,
    /// Packets are rewritten and counted.
    Act,
}

impl Stage {
    /// In their order.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Classify, Self::Find, Self::Resolve, Self::Prefetch, Self::Act];

    /// How many there are.
    pub const COUNT: usize = 5;

    /// As it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classify => "classify",
            Self::Find => "find",
            Self::Resolve => "resolve",
            Self::Prefetch => "prefetch",
            Self::Act => "act",
        }
    }
}

/// After classification: asks for the entry of the IDs, and the root of the FIB.
#[inline(always)]
pub(super) fn prefetch(guard: &Guard<'_>, frame: &Frame, work: &Work) {
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
pub(super) fn find(guard: &Guard<'_>, frame: &Frame, work: &mut Work) {
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
pub(super) fn look_closer(guard: &Guard<'_>, frame: &Frame, work: &mut Work) {
    *work = classify::classify(guard.tables(), frame);
    find_generally(guard, frame, work);
}

/// Looks the destination up, and asks for what the last stage reads: counters upstream, and the
/// second line of the session that a destination leads to.
#[inline(always)]
pub(super) fn resolve(guard: &Guard<'_>, frame: &Frame, work: &mut Work) {
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

pub(super) fn resolve_generally(guard: &Guard<'_>, frame: &Frame, work: &mut Work) {
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
pub(super) fn prefetch_subscriber(guard: &Guard<'_>, work: &Work) {
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
