//! Peers and strangers: whoever has established a tunnel is a peer from then on, everybody else may
//! be anybody, under any address.
//!
//! An SCCRQ proves nothing of its source. So strangers and peers never compete: each have a rate of
//! their own (the steering program's and [`crate::limits`]), and a place of their own for tunnels that
//! are not established yet. Where that is full the oldest one goes: a LAC that is there answers in
//! the blink of an eye, a forged address never. A flood from forged addresses thus costs strangers
//! their luck and peers nothing; one that forges the addresses of peers keeps those few from opening
//! more tunnels, and touches none that is up.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;

use hashbrown::HashSet;
use xlns_dataplane::api::{Command, PEERS_MAX};

use super::{Lns, LnsCounter};
use crate::config::Config;
use crate::l2tp::TunnelId;
use crate::time::Time;

/// Addresses that tunnels were established from, or that profiles name.
#[derive(Default)]
pub(super) struct Peers {
    known: HashSet<IpAddr>,
    /// Those not of profiles, the one that became known first in front.
    learned: VecDeque<IpAddr>,
}

impl Peers {
    /// The single addresses that profiles and clients name: an operator vouches for them.
    pub(super) fn new(config: &Config) -> Self {
        let prefixes = config.lac.iter().flat_map(|lac| &lac.peers);
        let single = prefixes.filter(|prefix| prefix.prefix_len() == prefix.max_prefix_len());
        let servers = config.client.iter().flat_map(|client| &client.servers);
        let servers = servers.map(|server| server.address);
        let known = single.map(|prefix| prefix.addr()).chain(servers).take(PEERS_MAX / 2).collect();
        Self { known, learned: VecDeque::new() }
    }

    /// Whether the address is a peer's.
    pub(super) fn is_known(&self, address: IpAddr) -> bool {
        self.known.contains(&address)
    }

    /// A tunnel was established from this address. Returns whether that is new, and who is
    /// forgotten for it.
    fn learn(&mut self, address: IpAddr) -> (bool, Option<IpAddr>) {
        if self.known.contains(&address) {
            return (false, None);
        }
        let full = self.known.len() >= PEERS_MAX;
        let forgotten = if full { self.learned.pop_front() } else { None };
        if let Some(forgotten) = &forgotten {
            self.known.remove(forgotten);
        }
        self.learned.push_back(address);
        (self.known.insert(address), forgotten)
    }
}

/// Tunnels that are not established yet, by when they were asked for.
#[derive(Default)]
pub(super) struct HalfOpen {
    of_peers: BTreeSet<(Time, TunnelId)>,
    of_strangers: BTreeSet<(Time, TunnelId)>,
}

impl HalfOpen {
    /// How many.
    pub(super) fn len(&self) -> usize {
        self.of_peers.len() + self.of_strangers.len()
    }

    /// One more.
    pub(super) fn insert(&mut self, known: bool, started: Time, id: TunnelId) {
        self.class(known).insert((started, id));
    }

    /// It is established, or over.
    pub(super) fn remove(&mut self, started: Time, id: TunnelId) {
        // A stranger may have become a peer meanwhile, by another tunnel.
        let _ = self.of_peers.remove(&(started, id)) || self.of_strangers.remove(&(started, id));
    }

    fn class(&mut self, known: bool) -> &mut BTreeSet<(Time, TunnelId)> {
        if known { &mut self.of_peers } else { &mut self.of_strangers }
    }
}

impl Lns {
    /// A tunnel was established from this address: it is no stranger's any more.
    pub(super) fn learn_peer(&mut self, address: IpAddr) {
        let (is_new, forgotten) = self.peers.learn(address);
        if let Some(address) = forgotten {
            self.push_command(Command::PeerRemove { address });
        }
        if is_new {
            self.push_command(Command::PeerSet { address });
        }
    }

    /// Names every peer to a data plane that knows none.
    pub(super) fn name_peers(&mut self) {
        let commands =
            self.peers.known.iter().map(|address| Command::PeerSet { address: *address });
        self.commands.extend(commands);
    }

    /// Makes room for one more tunnel that is not established yet, among those of its kind.
    pub(super) fn make_room_half_open(&mut self, now: Time, known: bool) {
        let most = self.config.l2tp.tunnels_half_open_max as usize;
        while self.half_open.class(known).len() >= most {
            let Some((_, id)) = self.half_open.class(known).pop_first() else { return };
            self.displace(now, id);
        }
    }

    /// Ends the oldest tunnel of a stranger in favour of a peer's that finds no room. Returns
    /// whether there was one.
    pub(super) fn displace_stranger(&mut self, now: Time) -> bool {
        let Some((_, id)) = self.half_open.of_strangers.pop_first() else { return false };
        self.displace(now, id);
        true
    }

    fn displace(&mut self, now: Time, id: TunnelId) {
        self.counters.add(LnsCounter::SetupDisplaced);
        self.remove_tunnel(now, id, "displaced while it was being set up");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: usize) -> IpAddr {
        IpAddr::V4((0x0a00_0000 + number as u32).into())
    }

    #[test]
    fn the_first_learned_is_forgotten_for_one_too_many() {
        let mut peers = Peers::default();
        for number in 0..PEERS_MAX {
            assert_eq!(peers.learn(address(number)), (true, None));
        }
        assert_eq!(peers.learn(address(5)), (false, None));
        assert_eq!(peers.learn(address(PEERS_MAX)), (true, Some(address(0))));
        assert!(!peers.is_known(address(0)) && peers.is_known(address(PEERS_MAX)));
        assert_eq!((peers.known.len(), peers.learned.len()), (PEERS_MAX, PEERS_MAX));
    }

    #[test]
    fn profiles_vouch_for_single_addresses_only() {
        let text = "[lns]\nlisten = [\"192.0.2.1\"]\ngateway = \"10.0.0.1\"\n\
                    [[port]]\ninterface = \"eth0\"\n\
                    [[pool]]\nname = \"p\"\nprefixes = [\"10.0.0.0/24\"]\n\
                    [[lac]]\nname = \"l\"\npeers = [\"192.0.2.7/32\", \"198.51.100.0/24\"]\n";
        let peers = Peers::new(&Config::parse("test", text).unwrap());
        assert!(peers.is_known("192.0.2.7".parse().unwrap()));
        assert!(!peers.is_known("198.51.100.0".parse().unwrap()));
    }
}
