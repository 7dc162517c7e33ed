//! What dialled sessions need of the kernel: their addresses on `xlns0`, and their routes.
//!
//! The routes lie in a table of their own, and rules put that table and the main one together as if
//! they were one: the longest prefix wins, and of two of the same length the dialled session's. The
//! tunnels' own packets never see that table, whatever it holds: they carry a mark, and once both
//! ends of a tunnel are known, a rule for those two addresses says so as well. That one also keeps
//! the reverse path filter from dropping what the server sends.
//!
//! All of it is compared as a whole: what should be there, what is. So what an earlier run left goes
//! with the first comparison, and what somebody else removed comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::mirror::Mirror;
use super::{Pending, Routing};
use crate::netlink::{KernelRequest, Origin, Rule, Selector, UplinkEntry};
use crate::time::Time;

/// When what the kernel refused, or what somebody removed, is put there again.
const RETRY: Duration = Duration::from_secs(5);

/// The main routing table (RT_TABLE_MAIN of Linux).
const MAIN_TABLE: u32 = 254;

/// How the kernel is told of dialled sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DialRouting {
    /// The mark of the tunnels' own packets.
    pub mark: u32,
    /// The table of the routes into dialled sessions.
    pub table: u32,
    /// Priority of the first rule; the others follow it.
    pub rule_priority: u32,
}

impl Default for DialRouting {
    fn default() -> Self {
        Self { mark: 1701, table: 1701, rule_priority: 1701 }
    }
}

/// What dialled sessions want of the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uplinks {
    /// Addresses of ours.
    pub addresses: BTreeSet<IpAddr>,
    /// Destinations, each with the source of this host's own packets.
    pub routes: BTreeMap<IpNet, IpAddr>,
    /// The ends of tunnels, ours first, whose packets follow none of these routes.
    pub tunnels: BTreeSet<(IpAddr, IpAddr)>,
}

/// What is wanted, and what the kernel has.
#[derive(Debug)]
pub(super) struct UplinkMirror {
    wanted: Uplinks,
    present: Mirror<UplinkEntry, ()>,
    retry_at: Option<Time>,
}

impl UplinkMirror {
    pub(super) fn new() -> Self {
        Self { wanted: Uplinks::default(), present: Mirror::new(), retry_at: None }
    }

    /// Addresses of dialled sessions.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.wanted.addresses.iter().copied()
    }

    pub(super) fn retry_at(&self) -> Option<Time> {
        self.retry_at
    }

    pub(super) fn begin_dump(&mut self) {
        self.present.begin_dump();
    }

    pub(super) fn end_dump(&mut self, complete: bool) {
        for entry in self.present.end_dump(complete) {
            self.present.remove(entry);
        }
    }

    pub(super) fn insert(&mut self, origin: Origin, entry: UplinkEntry) {
        self.present.insert(origin, entry, ());
    }

    /// What is on a link goes with it, IPv4 routes without a word.
    pub(super) fn forget_link(&mut self, link: u32) {
        let on_link = self.present.iter().filter(|(entry, ())| entry.link() == Some(link));
        for entry in on_link.map(|(entry, ())| entry).collect::<Vec<_>>() {
            self.present.remove(entry);
        }
    }
}

impl Routing {
    /// What dialled sessions want of the kernel from now on.
    pub fn set_uplinks(&mut self, uplinks: Uplinks) {
        let before = std::mem::replace(&mut self.uplink.wanted, uplinks);
        // The data plane is told at once, not when the kernel says so: answers may come with the
        // next packet out of the session.
        let changed = before.addresses.symmetric_difference(&self.uplink.wanted.addresses);
        self.pending.extend(changed.map(|address| Pending::Host(*address)));
        // Before the first dump nobody knows what is there.
        if self.synchronised {
            self.settle_uplinks();
        }
    }

    /// Whether a dialled session has the address, or is about to.
    pub(super) fn is_uplink_address(&self, address: IpAddr) -> bool {
        self.uplink.wanted.addresses.contains(&address)
    }

    /// Asks the kernel for the difference between what is there and what is wanted.
    pub(super) fn settle_uplinks(&mut self) {
        self.uplink.retry_at = None;
        let wanted = entries(&self.uplink.wanted, &self.config.dial, self.tun_link());
        let present: BTreeSet<UplinkEntry> =
            self.uplink.present.iter().map(|(entry, ())| entry).collect();
        // A rule before its routes, a route before its source address.
        for entry in present.iter().rev().filter(|entry| !wanted.contains(entry)) {
            self.uplink.present.remove(*entry);
            self.kernel.push_back(KernelRequest::RemoveUplink(*entry));
        }
        for entry in wanted.difference(&present) {
            self.uplink.insert(Origin::Live, *entry);
            self.kernel.push_back(KernelRequest::AddUplink(*entry));
        }
    }

    /// The kernel refused it.
    pub(super) fn retry_uplink(&mut self, entry: UplinkEntry) {
        self.on_uplink_removed(entry);
    }

    /// It is not there, whoever removed it.
    pub(super) fn on_uplink_removed(&mut self, entry: UplinkEntry) {
        self.uplink.present.remove(entry);
        if self.uplink.wanted != Uplinks::default() {
            self.uplink.retry_at.get_or_insert(self.now + RETRY);
        }
    }

    pub(super) fn handle_uplink_timeout(&mut self) {
        if self.uplink.retry_at.is_some_and(|at| at <= self.now) {
            self.settle_uplinks();
        }
    }
}

/// The entries that make it so. Addresses and routes are none while `link`, the TUN device, is away.
fn entries(uplinks: &Uplinks, dial: &DialRouting, link: Option<u32>) -> BTreeSet<UplinkEntry> {
    let mut entries = BTreeSet::new();
    let between = |(local, peer): &(IpAddr, IpAddr)| {
        UplinkEntry::Rule(Rule {
            priority: dial.rule_priority,
            selector: Selector::Between(*local, *peer),
            table: MAIN_TABLE,
            suppressed_length_max: None,
        })
    };
    let Some(link) = link else { return entries };
    let of_link = |address: &IpAddr| UplinkEntry::Address { link, address: *address };
    entries.extend(uplinks.addresses.iter().map(of_link));
    entries.extend(uplinks.routes.iter().map(|(prefix, source)| {
        let (table, prefix, source) = (dial.table, *prefix, *source);
        UplinkEntry::Route { table, prefix, link, source }
    }));
    if !uplinks.routes.is_empty() {
        entries.extend(uplinks.tunnels.iter().map(between));
    }
    for is_ipv6 in [false, true] {
        let of_family = uplinks.routes.keys().filter(|prefix| prefix.addr().is_ipv6() == is_ipv6);
        let lengths: BTreeSet<u8> = of_family.map(IpNet::prefix_len).collect();
        let rules = rules(&lengths, is_ipv6, dial);
        entries.extend(rules.into_iter().map(UplinkEntry::Rule));
    }
    entries
}

/// Rules that find the longest prefix in our table and the main one together, where ours has
/// prefixes of these lengths: from the longest down, first what the main table has that is longer,
/// then what ours has of that length.
fn rules(lengths: &BTreeSet<u8>, is_ipv6: bool, dial: &DialRouting) -> Vec<Rule> {
    let length_max = if is_ipv6 { 128 } else { 32 };
    let selector = Selector::Unmarked { is_ipv6, mark: dial.mark };
    let mut rules = Vec::with_capacity(2 * lengths.len());
    for length in lengths.iter().rev() {
        if *length < length_max {
            rules.push((MAIN_TABLE, Some(*length)));
        }
        rules.push((dial.table, length.checked_sub(1)));
    }
    let with_priority = |(priority, (table, suppressed_length_max)): (u32, (u32, Option<u8>))| {
        Rule { priority, selector, table, suppressed_length_max }
    };
    (dial.rule_priority + 1..).zip(rules).map(with_priority).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    /// What `ip rule` and `ip route` would find: the table and the prefix.
    fn found(
        rules: &[Rule],
        ours: &[IpNet],
        main: &[IpNet],
        address: IpAddr,
    ) -> Option<(u32, IpNet)> {
        let all = Rule { table: MAIN_TABLE, suppressed_length_max: None, ..rules[0] };
        rules.iter().chain([&all]).find_map(|rule| {
            let table = if rule.table == MAIN_TABLE { main } else { ours };
            let covering = table.iter().filter(|prefix| prefix.contains(&address));
            let longest = covering.max_by_key(|prefix| prefix.prefix_len())?;
            let suppressed = rule.suppressed_length_max.is_some_and(|l| longest.prefix_len() <= l);
            (!suppressed).then_some((rule.table, *longest))
        })
    }

    #[test]
    fn a_default_route_takes_two_rules() {
        let dial = DialRouting::default();
        let rules = rules(&BTreeSet::from([0]), false, &dial);
        let told: Vec<_> =
            rules.iter().map(|r| (r.priority, r.table, r.suppressed_length_max)).collect();
        assert_eq!(told, [(1702, 254, Some(0)), (1703, 1701, None)]);
        assert!(super::rules(&BTreeSet::new(), true, &dial).is_empty());
    }

    proptest::proptest! {
        #[test]
        fn two_tables_are_as_one(
            ours in proptest::collection::btree_set((0..4u8, 0..=32u8), 1..6),
            main in proptest::collection::btree_set((0..4u8, 0..=32u8), 0..8),
            address in 0..4u8,
        ) {
            let nets = |set: &BTreeSet<(u8, u8)>| -> Vec<IpNet> {
                // Few octets, so that prefixes cover one another.
                let net = |(octet, length): &(u8, u8)| {
                    IpNet::new([octet << 6, 0, 0, octet << 6].into(), *length).unwrap().trunc()
                };
                set.iter().map(net).collect()
            };
            let (ours, main) = (nets(&ours), nets(&main));
            let lengths = ours.iter().map(IpNet::prefix_len).collect();
            let rules = rules(&lengths, false, &DialRouting::default());
            let address = IpAddr::from([address << 6, 0, 0, address << 6]);
            let best = ours.iter().map(|prefix| (*prefix, 1701))
                .chain(main.iter().map(|prefix| (*prefix, MAIN_TABLE)))
                .filter(|(prefix, _)| prefix.contains(&address))
                .max_by_key(|(prefix, table)| (prefix.prefix_len(), *table))
                .map(|(prefix, table)| (table, prefix));
            proptest::prop_assert_eq!(found(&rules, &ours, &main, address), best);
        }
    }

    #[test]
    fn nothing_is_there_without_the_link() {
        let uplinks = Uplinks {
            addresses: BTreeSet::from(["10.9.0.7".parse().unwrap()]),
            routes: BTreeMap::from([(net("::/0"), "2001:db8::7".parse().unwrap())]),
            tunnels: BTreeSet::from([("192.0.2.1".parse().unwrap(), "10.0.2.72".parse().unwrap())]),
        };
        let dial = DialRouting::default();
        assert_eq!(entries(&uplinks, &dial, None).len(), 0);
        // An address, a route, the rule between the ends, two rules for the default route.
        assert_eq!(entries(&uplinks, &dial, Some(9)).len(), 5);
        let without = Uplinks { routes: BTreeMap::new(), ..uplinks };
        assert_eq!(entries(&without, &dial, Some(9)).len(), 1, "no rule without a route");
    }
}
