//! Workers that read while the writer adds, changes and removes: no read meets half an entry, one
//! that was freed, or one that is used again for something else.
//!
//! Every session carries the number of its life and of its last change in both of its lines, so that
//! a reader can say what all 128 octets have to be. Each packet that a reader counts is counted a
//! second time by life; the final counters of each life must agree, so that no index was ever
//! counted on for two sessions at a time.
//!
//! `CHANGES` says how many changes the writer makes; `make soak` asks for a minute's worth.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ipnet::IpNet;

use super::session::{lines, pack};
use super::{Entry, Guard, Limits, PortInfo, PortKind, Reader, Tables, Writer};
use crate::api::{Command, CommandError, RouteTarget, Session, SessionKey, SessionOptions};

const SESSIONS: u16 = 64;
const PEERS: u16 = 8;
const READERS: usize = 2;
const BURST: usize = 32;
const CHANGES: u64 = 60_000;

/// Numbers that are random enough.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u16) -> u16 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 40) % u64::from(end)) as u16
    }
}

fn key(id: u16) -> SessionKey {
    SessionKey { local_tunnel_id: 1 + id % PEERS, local_session_id: id + 1 }
}

fn peer(number: u16) -> Ipv4Addr {
    Ipv4Addr::new(172, 16, 0, number as u8 + 1)
}

/// Sixteen to a /28, so that groups of the FIB come and go.
fn address(id: u16) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, (id / 16) as u8, (id % 16) as u8)
}

fn session(id: u16, life: u32, change: u32) -> Session {
    Session {
        key: key(id),
        peer_tunnel_id: 1 + (life % 0xffff) as u16,
        peer_session_id: 1 + (change % 0xffff) as u16,
        local: (Ipv4Addr::new(192, 0, 2, 1), 1701).into(),
        peer: (peer(id % PEERS), 1701).into(),
        send_acfc: change & 1 != 0,
        send_pfc: life & 1 != 0,
        magic: life,
        peer_mru: 64 + (change % 1400) as u16,
        prefixes: vec![IpNet::from(IpAddr::from(address(id)))],
        source_check: true,
        gateway: Some(Ipv4Addr::from_bits(change)),
        options: SessionOptions::default(),
    }
}

fn set_up() -> (Arc<Tables>, Writer) {
    let ethernet = PortInfo { kind: PortKind::Ethernet, mac: [2; 6], mtu: 1500, vlan: None };
    let host = PortInfo { kind: PortKind::Host, mac: [0; 6], mtu: 1500, vlan: None };
    let limits = Limits {
        gateways: Default::default(),
        quality: None,
        sessions_max: SESSIONS.into(),
        routes_max: 64,
        workers: READERS,
        l2tp_port: 1701,
        l2tp_port_count: 1,
        ports: vec![ethernet, host],
    };
    super::new(&limits).unwrap()
}

/// What a reader remembers: the last life and change of each session, packets by session and life.
#[derive(Default)]
struct Seen {
    last: BTreeMap<u16, (u32, u32)>,
    counted: BTreeMap<(u16, u32), u64>,
    checks: u64,
}

impl Seen {
    /// The session in this slot, which was found for `id`.
    fn check(&mut self, guard: &Guard<'_>, id: u16, slot: u32) {
        let (decap, encap) = (guard.decap(slot), guard.encap(slot));
        assert_eq!(decap.key, pack(key(id)), "the slot is another session's");
        let (life, change) = (decap.magic.get(), u32::from_be_bytes(decap.gateway));
        let expected = lines(&session(id, life, change), decap.index, decap.path);
        assert_eq!((decap, encap), expected, "half an entry");
        let last = self.last.insert(id, (life, change)).unwrap_or_default();
        assert!((life, change) >= last, "{id}: {life} {change} after {last:?}");
        guard.counters(decap.index).count_upstream(1);
        *self.counted.entry((id, life)).or_default() += 1;
        // The path is the peer's, and so is what it leads to.
        if let Entry::Neighbor(index) = guard.path(encap.path)
            && let Some(adjacency) = guard.adjacency(index)
        {
            assert_eq!(u16::from(adjacency.mac[5]), id % PEERS, "another peer's next hop");
        }
        self.checks += 1;
    }
}

fn read(mut reader: Reader, stop: &AtomicBool, seed: u64) -> Seen {
    let mut random = Random(seed);
    let mut seen = Seen::default();
    while !stop.load(Ordering::Relaxed) {
        let guard = reader.guard();
        // All are found first and looked at later, as a batch is.
        let ids: [u16; BURST] = std::array::from_fn(|_| random.below(SESSIONS));
        let found = ids.map(|id| (id, guard.find_session(pack(key(id)))));
        let routed = ids.map(|id| (id, guard.route_ipv4(address(id).octets())));
        for (id, slot) in found {
            if let Some(slot) = slot {
                seen.check(&guard, id, slot);
            }
        }
        for (id, entry) in routed {
            match entry {
                Entry::Session(slot) => assert_eq!(guard.decap(slot).key, pack(key(id))),
                Entry::NoRoute | Entry::Unreachable => {}
                other => panic!("{id} leads to {other:?}"),
            }
        }
        if random.below(64) == 0 {
            reader.park();
        }
    }
    seen
}

/// The writer's changes. Returns the final counters by session and life.
fn change(writer: &mut Writer, changes: u64) -> BTreeMap<(u16, u32), u64> {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut lives: BTreeMap<u16, u32> = BTreeMap::new();
    // A session may end and come again before its counters are final: those come in order.
    let mut ended: BTreeMap<u16, Vec<u32>> = BTreeMap::new();
    let mut last_life = 0;
    let mut reported = BTreeMap::new();
    let mut report = |writer: &mut Writer, ended: &mut BTreeMap<u16, Vec<u32>>| {
        for (key, counters) in writer.reclaim() {
            let id = key.local_session_id - 1;
            let life = ended.get_mut(&id).unwrap().remove(0);
            reported.insert((id, life), counters.upstream_packets);
        }
    };
    for number in 1..=changes {
        let id = random.below(SESSIONS);
        match random.below(8) {
            0 | 1 if lives.contains_key(&id) => {
                ended.entry(id).or_default().push(lives.remove(&id).unwrap());
                writer.apply(&Command::SessionRemove(key(id))).unwrap();
            }
            0..=5 => {
                let life = *lives.entry(id).or_insert_with(|| {
                    last_life += 1;
                    last_life
                });
                let command = Command::SessionSet(Box::new(session(id, life, number as u32)));
                // A reader that the scheduler keeps from running holds all places in the end.
                while let Err(error) = writer.apply(&command) {
                    assert!(matches!(error, CommandError::Full { .. }), "{error:?}");
                    report(writer, &mut ended);
                    thread::yield_now();
                }
            }
            6 => change_way(writer, &mut random),
            _ => report(writer, &mut ended),
        }
    }
    for (id, life) in lives {
        ended.entry(id).or_default().push(life);
        writer.apply(&Command::SessionRemove(key(id))).unwrap();
    }
    report(writer, &mut ended);
    // Those that a reader still held; by now all have stopped or will announce again.
    while ended.values().any(|lives| !lives.is_empty()) {
        report(writer, &mut ended);
        thread::yield_now();
    }
    reported
}

/// Routes and next hops of a peer come, change and go, and the prefix around the subscribers.
fn change_way(writer: &mut Writer, random: &mut Random) {
    let number = random.below(PEERS);
    let gateway = Ipv4Addr::new(192, 0, random.below(2) as u8 + 4, number as u8 + 1).into();
    let prefix = IpNet::from(IpAddr::from(peer(number)));
    let around: IpNet = format!("10.0.{}.0/24", random.below(4)).parse().unwrap();
    let _ = match random.below(6) {
        0 | 1 => {
            let target = RouteTarget::Neighbor { port: 0, gateway };
            writer.apply(&Command::RouteSet { prefix, target })
        }
        2 => writer.apply(&Command::RouteRemove { prefix }),
        3 => {
            let mac = [2, 0, 0, 0, 0, number as u8];
            writer.apply(&Command::NeighborSet { port: 0, address: gateway, mac })
        }
        4 => writer.apply(&Command::SubscriberPrefixSet { prefix: around }),
        _ => writer.apply(&Command::SubscriberPrefixRemove { prefix: around }),
    };
}

#[test]
fn no_read_meets_half_an_entry_or_one_used_again() {
    let changes = std::env::var("CHANGES").map_or(CHANGES, |text| text.parse().unwrap());
    let (tables, mut writer) = set_up();
    let stop = AtomicBool::new(false);
    let (seen, reported) = thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|worker| {
                let (reader, stop) = (tables.register(worker), &stop);
                scope.spawn(move || read(reader, stop, 0x9e37_79b9 + worker as u64))
            })
            .collect();
        let reported = thread::scope(|inner| {
            // Also where a change was refused: the readers end.
            let changing = inner.spawn(|| change(&mut writer, changes));
            let reported = changing.join();
            stop.store(true, Ordering::Relaxed);
            reported
        });
        let seen: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
        (seen, reported.unwrap())
    });
    let mut counted: BTreeMap<(u16, u32), u64> = BTreeMap::new();
    for seen in &seen {
        assert!(seen.checks > 0, "a reader never ran");
        for (life, count) in &seen.counted {
            *counted.entry(*life).or_default() += count;
        }
    }
    for (life, count) in &reported {
        assert_eq!(counted.remove(life).unwrap_or(0), *count, "{life:?}");
    }
    assert_eq!(counted, BTreeMap::new(), "counted on sessions that never were");
}
