//! The stages before the last one: each asks for the lines that the next one reads.

use super::classify::{self, Address, Inner, Work};
use crate::frame::Frame;
use crate::tables::{
    Entry, FLAG_OUTER_IPV6, FLAG_POLICE_DOWNSTREAM, FLAG_POLICE_UPSTREAM, FLAG_SEQUENCE,
    FLAG_SPECIAL, Guard,
};
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
        _ => prefetch_others(guard, frame, work),
    }
}

#[inline(never)]
fn prefetch_others(guard: &Guard<'_>, frame: &Frame, work: &Work) {
    match work {
        Work::VariedUpstream(work) => {
            guard.prefetch_ids(work.place);
            prefetch_route(guard, work.inner.destination(frame.octets()));
        }
        Work::VariedDownstream(work) => {
            prefetch_route(guard, work.packet.destination(frame.octets()));
            frame.prefetch_headroom();
        }
        Work::Route { packet, .. } => prefetch_route(guard, packet.destination(frame.octets())),
        Work::Data(data) => {
            guard.prefetch_ids(data.key);
            if let Inner::Ip(packet) = &data.inner {
                prefetch_route(guard, packet.destination(frame.octets()));
            }
        }
        // The rest are not found by a look at the frame alone.
        _ => {}
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
        _ => find_others(guard, frame, work),
    }
}

#[inline(never)]
fn find_others(guard: &Guard<'_>, frame: &Frame, work: &mut Work) {
    match work {
        Work::VariedUpstream(varied) => match guard.find_session(varied.place) {
            Some(slot) => {
                varied.place = slot;
                guard.prefetch_decap(slot);
                varied.route = begin_route(guard, varied.inner.destination(frame.octets()));
                if !varied.inner.is_ipv4() {
                    // Whether the source is the subscriber's is for the FIB to say.
                    prefetch_route(guard, varied.inner.source(frame.octets()));
                }
            }
            None => look_closer(guard, frame, work),
        },
        Work::VariedDownstream(varied) => {
            varied.route = begin_route(guard, varied.packet.destination(frame.octets()));
        }
        _ => find_generally(guard, frame, work),
    }
}

#[inline(always)]
fn begin_route(guard: &Guard<'_>, destination: Address) -> u32 {
    match destination {
        Address::V4(destination) => guard.begin_route_ipv4(destination),
        Address::V6(destination) => guard.begin_route_ipv6(destination),
    }
}

#[inline(always)]
fn end_route(guard: &Guard<'_>, begun: u32, destination: Address) -> u32 {
    match destination {
        Address::V4(destination) => guard.end_route_ipv4(begun, destination),
        Address::V6(destination) => guard.end_route_ipv6(begun, destination),
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
        _ => return,
    };
    begin_route(guard, packet.destination(frame.octets()));
}

/// Begins again the general way with a frame whose shape promised too much.
#[cold]
pub(super) fn look_closer(guard: &Guard<'_>, frame: &Frame, work: &mut Work) {
    *work = classify::classify(guard.tables(), frame);
    find_generally(guard, frame, work);
}

/// Looks the destination up, looks whether the sender is the session's, and asks for what the last
/// stage reads: counters upstream, and the second line of the session that a destination leads to.
#[inline(always)]
pub(super) fn resolve(guard: &Guard<'_>, frame: &Frame, work: &mut Work) {
    match work {
        Work::Upstream(quick) => {
            let (is_sender, index) = guard.is_from(quick.place, quick.sender);
            guard.prefetch_counters(index);
            let entry = guard.end_route_ipv4(quick.route, quick.destination);
            if let Some(neighbor) = Entry::neighbor(entry) {
                quick.route = neighbor;
                if !is_sender {
                    vary(guard, work);
                }
                return;
            }
        }
        Work::Downstream(quick) => {
            let entry = guard.end_route_ipv4(quick.route, quick.destination);
            if let Some(slot) = Entry::session(entry) {
                quick.route = slot;
                return guard.prefetch_encap(slot);
            }
        }
        _ => return resolve_others(guard, frame, work),
    }
    resolve_after_all(guard, frame, work);
}

/// A session with a policer, with other options, or with a tunnel that is not IPv4; or another's packet,
/// as it will turn out.
#[inline(never)]
fn vary(guard: &Guard<'_>, work: &mut Work) {
    match work {
        Work::Upstream(quick) => {
            let (index, is_policed) = guard.is_policed(quick.place, quick.sender);
            if is_policed {
                quick.is_policed = true;
                return guard.prefetch_state(index);
            }
            *work = Work::VariedUpstream(quick.vary());
        }
        Work::Downstream(quick) => {
            let (index, flags) = guard.encap_index_flags(quick.route);
            if flags & (FLAG_OUTER_IPV6 | FLAG_SPECIAL) == 0 {
                quick.is_policed = true;
                return guard.prefetch_state(index);
            }
            *work = Work::VariedDownstream(quick.vary());
        }
        _ => return,
    }
    prefetch_state(guard, work);
}

/// Asks for what changes with the packets of a session, once its line is there.
#[inline(always)]
fn prefetch_state(guard: &Guard<'_>, work: &Work) {
    let (index, needed) = match work {
        Work::VariedUpstream(varied) => {
            let (index, flags) = guard.decap_index_flags(varied.place);
            (index, flags & FLAG_POLICE_UPSTREAM != 0 || varied.is_numbered())
        }
        Work::VariedDownstream(varied) => {
            let (index, flags) = guard.encap_index_flags(varied.route);
            (index, flags & (FLAG_POLICE_DOWNSTREAM | FLAG_SEQUENCE) != 0)
        }
        _ => return,
    };
    if needed {
        guard.prefetch_state(index);
    }
}

#[inline(never)]
fn resolve_others(guard: &Guard<'_>, frame: &Frame, work: &mut Work) {
    match work {
        Work::VariedUpstream(varied) => {
            guard.prefetch_counters(guard.decap_index(varied.place));
            let destination = varied.inner.destination(frame.octets());
            let entry = end_route(guard, varied.route, destination);
            if let Some(neighbor) = Entry::neighbor(entry) {
                varied.route = neighbor;
                return prefetch_state(guard, work);
            }
            resolve_after_all(guard, frame, work);
        }
        Work::VariedDownstream(varied) => {
            let destination = varied.packet.destination(frame.octets());
            let entry = end_route(guard, varied.route, destination);
            if let Some(slot) = Entry::session(entry) {
                varied.route = slot;
                return guard.prefetch_encap(slot);
            }
            resolve_after_all(guard, frame, work);
        }
        _ => resolve_generally(guard, frame, work),
    }
}

#[cold]
fn resolve_after_all(guard: &Guard<'_>, frame: &Frame, work: &mut Work) {
    look_closer(guard, frame, work);
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
        _ => return,
    };
    if let Entry::Session(slot) = entry {
        guard.prefetch_encap(slot);
    }
}

/// Asks for the counters of the session that a packet leads to.
#[inline(always)]
pub(super) fn prefetch_subscriber(guard: &Guard<'_>, work: &mut Work) {
    match work {
        Work::Upstream(_) => {}
        Work::Downstream(quick) => {
            let (index, flags) = guard.encap_index_flags(quick.route);
            guard.prefetch_counters(index);
            if flags & (FLAG_OUTER_IPV6 | FLAG_SPECIAL | FLAG_POLICE_DOWNSTREAM) != 0 {
                vary(guard, work);
            }
        }
        _ => prefetch_subscriber_of_others(guard, work),
    }
}

#[inline(never)]
fn prefetch_subscriber_of_others(guard: &Guard<'_>, work: &Work) {
    let slot = match work {
        Work::VariedDownstream(varied) => {
            prefetch_state(guard, work);
            varied.route
        }
        Work::Route { entry: Entry::Session(slot), .. }
        | Work::Data(classify::Data { entry: Entry::Session(slot), .. }) => *slot,
        _ => return,
    };
    guard.prefetch_counters(guard.encap_index(slot));
}
