//! The kernel's main table: per prefix the candidates in the order of preference, and what the data
//! plane was told.
//!
//! About 210 octets a route, all told: a full internet table of a million takes some 210 MB.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Bound;

use ipnet::IpNet;
use xlns_dataplane::api::{PortIndex, RouteTarget};

use crate::netlink::{Origin, Path, Placement, Route};

/// Where packets to a prefix go, a little finer than the data plane needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resolution {
    /// To a router on a port.
    Gateway { port: PortIndex, gateway: IpAddr },
    /// To the neighbour with this very address, which the kernel has found on a connected prefix.
    Learned { port: PortIndex, address: IpAddr },
    /// On the link of a port.
    Connected { port: PortIndex },
    /// The kernel knows.
    Local,
    /// Nowhere.
    Unreachable,
}

impl Resolution {
    pub(super) fn target(self) -> RouteTarget {
        match self {
            Self::Gateway { port, gateway } => RouteTarget::Neighbor { port, gateway },
            Self::Learned { port, address } => RouteTarget::Neighbor { port, gateway: address },
            Self::Connected { .. } => RouteTarget::Glean,
            Self::Local => RouteTarget::Local,
            Self::Unreachable => RouteTarget::Unreachable,
        }
    }
}

/// One route of the kernel.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) metric: u32,
    pub(super) protocol: u8,
    pub(super) path: Path,
    /// The dump in which it was last named.
    dump: u32,
}

/// A prefix.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// The lowest metric first, in the kernel's order where metrics are equal.
    pub(super) candidates: Vec<Candidate>,
    /// What the data plane was told, and in which generation (see [`super::Routing::resync`]).
    pub(super) published: Option<(Resolution, u32)>,
}

/// What became of an insertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Insertion {
    Unchanged,
    Changed,
    /// It took the place of one of several routes of its metric; the kernel does not say of which.
    Ambiguous,
}

/// What became of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removal {
    Removed,
    /// There was no such route.
    Unknown,
    /// There are others of this prefix and metric: the mirror has missed something.
    Contradiction,
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Routes {
    entries: BTreeMap<IpNet, Entry>,
    dump: u32,
    dumping: bool,
    /// Removed since the dump under way began; see [`super::mirror`].
    removed: BTreeSet<(IpNet, u32, Path)>,
}

impl Routes {
    pub(super) fn entry(&self, prefix: &IpNet) -> Option<&Entry> {
        self.entries.get(prefix)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (IpNet, &Entry)> {
        self.entries.iter().map(|(prefix, entry)| (*prefix, entry))
    }

    /// The entries behind `bound`, in order.
    pub(super) fn iter_after(&self, bound: Bound<IpNet>) -> impl Iterator<Item = (IpNet, &Entry)> {
        self.entries.range((bound, Bound::Unbounded)).map(|(prefix, entry)| (*prefix, entry))
    }

    /// The entries that cover the address, the longest prefix first, from `length_max` down.
    pub(super) fn covering(&self, address: IpAddr, length_max: u8) -> impl Iterator<Item = &Entry> {
        (0..=length_max)
            .rev()
            .filter_map(move |length| self.entries.get(&IpNet::new(address, length).ok()?.trunc()))
    }

    pub(super) fn insert(&mut self, origin: Origin, route: Route) -> Insertion {
        let Route { prefix, metric, protocol, path, placement } = route;
        let key = (prefix, metric, path);
        if origin == Origin::Dump && self.removed.contains(&key) {
            return Insertion::Unchanged;
        }
        self.removed.remove(&key);
        let mut path = key.2;
        if let Path::Hops(hops) = &mut path {
            hops.shrink_to_fit();
        }
        let candidates = &mut self.entries.entry(prefix).or_default().candidates;
        let mut replaced = 0;
        if origin == Origin::Dump {
            let known =
                candidates.iter_mut().find(|known| known.metric == metric && known.path == path);
            if let Some(known) = known {
                known.dump = self.dump;
                return Insertion::Unchanged;
            }
        } else {
            let superseded = candidates.extract_if(.., |known| {
                known.metric == metric
                    && (placement == Placement::Replace || covers(&path, &known.path))
            });
            for known in superseded {
                replaced += 1;
                if self.dumping && known.path != path {
                    self.removed.insert((prefix, metric, known.path));
                }
            }
        }
        // A dump tells routes in the kernel's order.
        let behind = origin == Origin::Dump || placement == Placement::Last;
        let position = candidates
            .partition_point(|known| known.metric < metric || behind && known.metric == metric);
        // Nearly every route is alone and has one next hop: room for four of each would double the
        // memory of a full table.
        candidates.reserve_exact(1);
        candidates.insert(position, Candidate { metric, protocol, path, dump: self.dump });
        if placement == Placement::Replace && replaced > 1 {
            Insertion::Ambiguous
        } else {
            Insertion::Changed
        }
    }

    pub(super) fn remove(&mut self, route: Route) -> Removal {
        let Route { prefix, metric, path, .. } = route;
        let removal = self.remove_candidate(prefix, metric, &path);
        if self.dumping {
            self.removed.insert((prefix, metric, path));
        }
        removal
    }

    fn remove_candidate(&mut self, prefix: IpNet, metric: u32, path: &Path) -> Removal {
        let Some(entry) = self.entries.get_mut(&prefix) else { return Removal::Unknown };
        let candidates = &mut entry.candidates;
        let same = |known: &Candidate| known.metric == metric && known.path == *path;
        if let Some(position) = candidates.iter().position(same) {
            candidates.remove(position);
            return Removal::Removed;
        }
        // IPv6 removes the next hops of a group one by one.
        for known in candidates.iter_mut().filter(|known| known.metric == metric) {
            if !covers(&known.path, path) {
                continue;
            }
            if self.dumping {
                self.removed.insert((prefix, metric, known.path.clone()));
            }
            if let (Path::Hops(hops), Path::Hops(gone)) = (&mut known.path, path) {
                hops.retain(|hop| !gone.contains(hop));
            }
            return Removal::Removed;
        }
        if candidates.iter().any(|known| known.metric == metric) {
            Removal::Contradiction
        } else {
            Removal::Unknown
        }
    }

    /// Removes the routes of which `is_dead` says so, as the kernel does without a word when a link
    /// goes down. Returns their prefixes.
    pub(super) fn remove_dead(&mut self, is_dead: impl Fn(&Path) -> bool) -> Vec<IpNet> {
        let mut changed = Vec::new();
        for (prefix, entry) in &mut self.entries {
            let before = entry.candidates.len();
            entry.candidates.retain(|known| !is_dead(&known.path));
            if entry.candidates.len() != before {
                changed.push(*prefix);
            }
        }
        changed
    }

    /// The prefixes with a next hop on the link.
    pub(super) fn using_link(&self, link: u32) -> Vec<IpNet> {
        let uses = |known: &Candidate| match &known.path {
            Path::Hops(hops) => hops.iter().any(|hop| hop.link == link),
            Path::Kernel | Path::Unreachable => false,
        };
        self.iter()
            .filter(|(_, entry)| entry.candidates.iter().any(uses))
            .map(|(prefix, _)| prefix)
            .collect()
    }

    /// Notes what the data plane was told; forgets a prefix of which nothing is left.
    pub(super) fn publish(&mut self, prefix: IpNet, published: Option<(Resolution, u32)>) {
        if published.is_none()
            && self.entry(&prefix).is_none_or(|entry| entry.candidates.is_empty())
        {
            self.entries.remove(&prefix);
            return;
        }
        self.entries.entry(prefix).or_default().published = published;
    }

    pub(super) fn begin_dump(&mut self) {
        self.dump = self.dump.wrapping_add(1);
        self.dumping = true;
        self.removed.clear();
    }

    /// Ends the dump and removes what a complete one did not name. Returns the prefixes changed.
    pub(super) fn end_dump(&mut self, complete: bool) -> Vec<IpNet> {
        self.dumping = false;
        self.removed.clear();
        let mut changed = Vec::new();
        if complete {
            for (prefix, entry) in &mut self.entries {
                let before = entry.candidates.len();
                entry.candidates.retain(|known| known.dump == self.dump);
                if entry.candidates.len() != before {
                    changed.push(*prefix);
                }
            }
        }
        changed
    }
}

/// Whether the path has all next hops of the other one.
fn covers(path: &Path, other: &Path) -> bool {
    match (path, other) {
        (Path::Hops(hops), Path::Hops(others)) => others.iter().all(|hop| hops.contains(hop)),
        _ => path == other,
    }
}
