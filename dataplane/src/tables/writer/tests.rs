use super::*;
use crate::api::{RouteTarget, Session, SessionOptions};
use crate::tables::{Entry, PortInfo, Reader};
use ipnet::IpNet;
use proptest::prelude::*;
use std::net::IpAddr;

const PEER: &str = "192.0.2.1:1701";
const LOCAL: &str = "198.51.100.1:1701";

fn tables(sessions_max: u32) -> (Arc<Tables>, Writer, Reader) {
    let ethernet =
        PortInfo { kind: PortKind::Ethernet, mac: [2, 0, 0, 0, 0, 1], mtu: 1500, vlan: None };
    let host = PortInfo { kind: PortKind::Host, mac: [0; 6], mtu: 1500, vlan: None };
    let limits = Limits {
        sessions_max,
        routes_max: 16,
        workers: 1,
        l2tp_port: 1701,
        l2tp_port_count: 1,
        gateways: Default::default(),
        quality: None,
        ports: vec![ethernet, ethernet, host],
    };
    let (tables, writer) = super::new(&limits).unwrap();
    let reader = tables.register(0);
    (tables, writer, reader)
}

fn key(session: u16) -> SessionKey {
    SessionKey { local_tunnel_id: 7, local_session_id: session }
}

fn session(id: u16, prefixes: &[&str]) -> Session {
    Session {
        key: key(id),
        peer_tunnel_id: 100,
        peer_session_id: 200,
        local: LOCAL.parse().unwrap(),
        peer: PEER.parse().unwrap(),
        send_acfc: false,
        send_pfc: false,
        magic: 5,
        peer_mru: 1460,
        prefixes: prefixes.iter().map(|prefix| net(prefix)).collect(),
        source_check: true,
        gateway: None,
        options: SessionOptions::default(),
    }
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn set(session: Session) -> Command {
    Command::SessionSet(Box::new(session))
}

fn route(prefix: &str, gateway: &str) -> Command {
    let target = RouteTarget::Neighbor { port: 0, gateway: ip(gateway) };
    Command::RouteSet { prefix: net(prefix), target }
}

fn neighbor(address: &str, last: u8) -> Command {
    Command::NeighborSet { port: 0, address: ip(address), mac: [2, 0, 0, 0, 0, last] }
}

fn route_of(reader: &mut Reader, destination: [u8; 4]) -> Entry {
    reader.guard().route_ipv4(destination)
}

fn slot_of(reader: &mut Reader, id: u16) -> Option<u32> {
    reader.guard().find_session(7 << 16 | u32::from(id))
}

fn assert_nothing_left(writer: &mut Writer) {
    writer.reclaim();
    for (number, pool) in writer.pools().into_iter().enumerate() {
        assert_eq!((number, pool.used(), pool.is_waiting()), (number, 0, false));
    }
    assert_eq!((writer.sessions(), writer.routes(), writer.neighbors()), (0, 0, 0));
    assert_eq!(writer.fib4.iter().count() + writer.fib6.iter().count(), 0);
}

#[test]
fn a_session_comes_changes_and_goes() {
    let (_, mut writer, mut reader) = tables(4);
    writer.apply(&set(session(1, &["10.0.0.1/32", "2001:db8::/64"]))).unwrap();
    let slot = slot_of(&mut reader, 1).unwrap();
    assert_eq!(route_of(&mut reader, [10, 0, 0, 1]), Entry::Session(slot));
    let guard = reader.guard();
    assert_eq!(guard.route_ipv6(net("2001:db8::/64").addr_octets()), Entry::Session(slot));
    let index = guard.decap(slot).index;
    guard.counters(index).count_upstream(40);

    // Changed: another slot, the same counters; the old prefix is gone.
    writer.apply(&set(session(1, &["10.0.0.2/32"]))).unwrap();
    let changed = slot_of(&mut reader, 1).unwrap();
    assert_ne!(slot, changed);
    assert_eq!(route_of(&mut reader, [10, 0, 0, 1]), Entry::NoRoute);
    assert_eq!(route_of(&mut reader, [10, 0, 0, 2]), Entry::Session(changed));
    let guard = reader.guard();
    assert_eq!(guard.decap(changed).index, index);
    guard.counters(index).count_downstream(50);
    assert_eq!(writer.session_counters_of(&[key(1), key(2)]).len(), 1);

    writer.apply(&Command::SessionRemove(key(1))).unwrap();
    assert_eq!(writer.apply(&Command::SessionRemove(key(1))), Err(CommandError::NoSuchEntry));
    assert_eq!(writer.sessions(), 0);
    assert_eq!(writer.reclaim(), [], "the worker may still be counting");
    assert_eq!(slot_of(&mut reader, 1), None);
    let counters = SessionCounters {
        upstream_packets: 1,
        upstream_bytes: 40,
        downstream_packets: 1,
        downstream_bytes: 50,
    };
    assert_eq!(writer.reclaim(), [(key(1), counters)]);
    assert_nothing_left(&mut writer);

    // The index is used again, from zero.
    writer.apply(&set(session(2, &[]))).unwrap();
    let zero = SessionCounters::default();
    assert_eq!(writer.session_counters(0, 9), (vec![(key(2), zero)], None));
}

trait Octets {
    fn addr_octets(&self) -> [u8; 16];
}

impl Octets for IpNet {
    fn addr_octets(&self) -> [u8; 16] {
        match self.addr() {
            IpAddr::V6(address) => address.octets(),
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        }
    }
}

#[test]
fn the_same_again_is_left_untouched() {
    let (_, mut writer, mut reader) = tables(4);
    writer.apply(&set(session(1, &["10.0.0.1/32"]))).unwrap();
    let slot = slot_of(&mut reader, 1);
    writer.apply(&set(session(1, &["10.0.0.1/32"]))).unwrap();
    assert_eq!(slot_of(&mut reader, 1), slot);
    assert!(writer.pools().iter().all(|pool| !pool.is_waiting()));
    let moved = Session { peer_mru: 1400, ..session(1, &["10.0.0.1/32"]) };
    writer.apply(&set(moved)).unwrap();
    assert_ne!(slot_of(&mut reader, 1), slot);
}

#[test]
fn a_slot_is_not_reused_while_a_worker_may_hold_it() {
    let (_, mut writer, mut reader) = tables(1);
    let mut held = Vec::new();
    writer.apply(&set(session(1, &[]))).unwrap();
    let guard = reader.guard();
    held.push(guard.find_session(7 << 16 | 1).unwrap());
    // The guard lives on: none of the slots that it may have seen comes back.
    for magic in 0..500 {
        writer.apply(&set(Session { magic, ..session(1, &[]) })).unwrap();
        writer.reclaim();
        let slot = guard.find_session(7 << 16 | 1).unwrap();
        assert!(!held.contains(&slot), "{slot} was reused");
        held.push(slot);
    }
    reader.guard();
    writer.reclaim();
    writer.apply(&set(Session { magic: 1000, ..session(1, &[]) })).unwrap();
    assert!(held.contains(&slot_of(&mut reader, 1).unwrap()));
}

#[test]
fn full_and_conflicting() {
    let (_, mut writer, _reader) = tables(2);
    writer.apply(&set(session(1, &["10.0.0.1/32"]))).unwrap();
    let taken = writer.apply(&set(session(2, &["10.0.0.2/32", "10.0.0.1/32"])));
    assert!(matches!(taken, Err(CommandError::Invalid(text))
        if text == "10.0.0.1/32 belongs to session 1 of tunnel 7"));
    writer.apply(&set(session(2, &["10.0.0.2/32"]))).unwrap();
    let full = writer.apply(&set(session(3, &[])));
    assert!(matches!(full, Err(CommandError::Full { key, .. }) if key == "l2tp.sessions_max"));
    // Changing one of two still works.
    writer.apply(&set(session(2, &["10.0.0.3/32"]))).unwrap();
    for number in 0..16 {
        writer.apply(&route(&format!("10.{number}.0.0/16"), "192.0.2.9")).unwrap();
    }
    let full = writer.apply(&route("172.16.0.0/12", "192.0.2.9"));
    assert!(matches!(full, Err(CommandError::Full { key, .. }) if key == "dataplane.routes_max"));
    writer.apply(&route("10.1.0.0/16", "192.0.2.8")).unwrap();
}

#[test]
fn bad_commands_are_refused() {
    let good = session(1, &["10.0.0.1/32"]);
    let bad = [
        Session { key: SessionKey { local_tunnel_id: 0, local_session_id: 1 }, ..good.clone() },
        Session { key: SessionKey { local_tunnel_id: 1, local_session_id: 0 }, ..good.clone() },
        Session { peer_tunnel_id: 0, ..good.clone() },
        Session { peer_session_id: 0, ..good.clone() },
        Session { peer: "[2001:db8::1]:1701".parse().unwrap(), ..good.clone() },
        Session { peer: "192.0.2.1:0".parse().unwrap(), ..good.clone() },
        Session { local: "0.0.0.0:1701".parse().unwrap(), ..good.clone() },
        Session { peer_mru: 63, ..good.clone() },
        session(1, &["10.0.0.1/24"]),
        session(1, &["0.0.0.0/0"]),
        session(1, &["224.0.0.1/32"]),
        session(1, &["255.255.255.255/32"]),
        session(1, &["10.0.0.1/32", "10.0.0.1/32"]),
        session(1, &["10.0.0.0/32"; 9]),
    ];
    let port = |port| Command::RouteSet {
        prefix: net("10.0.0.0/8"),
        target: RouteTarget::Neighbor { port, gateway: ip("192.0.2.9") },
    };
    let mac = |mac| Command::NeighborSet { port: 0, address: ip("192.0.2.9"), mac };
    let other = [
        port(2), // the host port
        port(3),
        route("10.0.0.1/8", "192.0.2.9"),
        route("10.0.0.0/8", "0.0.0.0"),
        mac([0; 6]),
        mac([1, 0, 0, 0, 0, 1]),
        Command::NeighborSet { port: 9, address: ip("192.0.2.9"), mac: [2; 6] },
        Command::HostAddressSet { address: ip("0.0.0.0"), tunnel_endpoint: true },
        Command::SubscriberPrefixSet { prefix: net("10.1.0.0/8") },
        Command::PeerSet { address: ip("224.0.0.1") },
        Command::ResyncEnd,
    ];
    let (_, mut writer, _reader) = tables(4);
    for command in bad.into_iter().map(set).chain(other) {
        let refused = writer.apply(&command);
        assert!(matches!(refused, Err(CommandError::Invalid(_))), "{command:?}: {refused:?}");
    }
    for command in [
        Command::RouteRemove { prefix: net("10.0.0.0/8") },
        Command::NeighborRemove { port: 0, address: ip("192.0.2.9") },
        Command::HostAddressRemove { address: ip("192.0.2.9") },
        Command::SubscriberPrefixRemove { prefix: net("10.0.0.0/8") },
        Command::PeerRemove { address: ip("192.0.2.9") },
    ] {
        assert_eq!(writer.apply(&command), Err(CommandError::NoSuchEntry));
    }
    assert_nothing_left(&mut writer);
}

#[test]
fn a_dialled_session_takes_the_default_route_and_its_own_path_does_not_follow() {
    let (_, mut writer, mut reader) = tables(4);
    writer.apply(&Command::NeighborSet { port: 0, address: ip("192.0.2.9"), mac: [2; 6] }).unwrap();
    writer.apply(&route("0.0.0.0/0", "192.0.2.9")).unwrap();
    let prefixes = &["192.0.2.1/32", "0.0.0.0/0", "0.0.0.0/1", "::/0"];
    let dialled = Session { source_check: false, ..session(1, prefixes) };
    writer.apply(&set(dialled.clone())).unwrap();
    let slot = slot_of(&mut reader, 1).unwrap();
    {
        let guard = reader.guard();
        for destination in [[192, 0, 2, 1], [9, 9, 9, 9], [200, 0, 0, 1]] {
            assert_eq!(guard.route_ipv4(destination), Entry::Session(slot));
        }
        assert_eq!(guard.route_ipv6([0x20; 16]), Entry::Session(slot));
        assert!(matches!(guard.path(guard.encap(slot).path), Entry::Neighbor(_)));
    }
    // The host route of the kernel's table is the path's, and no more than that.
    writer.apply(&route("192.0.2.1/32", "192.0.2.9")).unwrap();
    assert_eq!(reader.guard().route_ipv4([192, 0, 2, 1]), Entry::Session(slot));
    writer.apply(&Command::SessionRemove(key(1))).unwrap();
    assert!(matches!(reader.guard().route_ipv4([9, 9, 9, 9]), Entry::Neighbor(_)));
    let multicast = Session { prefixes: vec![net("224.0.0.0/4")], ..dialled };
    assert!(matches!(writer.apply(&set(multicast)), Err(CommandError::Invalid(_))));
}

#[test]
fn paths_follow_the_routes_without_touching_sessions() {
    let (_, mut writer, mut reader) = tables(4);
    writer.apply(&set(session(1, &[]))).unwrap();
    let slot = slot_of(&mut reader, 1).unwrap();
    let path = reader.guard().encap(slot).path;
    let mut mac = |writer: &mut Writer, command: Command| {
        writer.apply(&command).unwrap();
        writer.reclaim();
        let guard = reader.guard();
        match guard.path(path) {
            Entry::Neighbor(index) => guard.adjacency(index).map(|to| to.mac[5]).ok_or("unknown"),
            Entry::NoRoute => Err("no route"),
            other => panic!("{other:?}"),
        }
    };
    let writer = &mut writer;
    assert_eq!(mac(writer, route("0.0.0.0/0", "192.0.2.254")), Err("unknown"));
    assert_eq!(mac(writer, neighbor("192.0.2.254", 9)), Ok(9));
    assert_eq!(mac(writer, neighbor("192.0.2.254", 10)), Ok(10));
    assert_eq!(mac(writer, neighbor("192.0.2.1", 1)), Ok(10), "no route to it yet");
    assert_eq!(mac(writer, route("192.0.2.1/32", "192.0.2.1")), Ok(1));
    assert_eq!(mac(writer, Command::RouteRemove { prefix: net("192.0.2.1/32") }), Ok(10));
    assert_eq!(mac(writer, Command::RouteRemove { prefix: net("0.0.0.0/0") }), Err("no route"));
    assert_eq!(slot_of(&mut reader, 1), Some(slot));
}

#[test]
fn steering_learns_changes_only() {
    let (_, mut writer, _reader) = tables(4);
    let address = ip("198.51.100.1");
    let prefix = net("10.0.0.0/8");
    for tunnel_endpoint in [false, false, true] {
        writer.apply(&Command::HostAddressSet { address, tunnel_endpoint }).unwrap();
    }
    for _ in 0..2 {
        writer.apply(&Command::SubscriberPrefixSet { prefix }).unwrap();
    }
    writer.apply(&Command::HostAddressRemove { address }).unwrap();
    writer.apply(&Command::SubscriberPrefixRemove { prefix }).unwrap();
    let host = |endpoint| SteerChange::HostAddress { address, endpoint };
    let subscriber = |present| SteerChange::SubscriberPrefix { prefix, present };
    let expected =
        [host(Some(false)), host(Some(true)), subscriber(true), host(None), subscriber(false)];
    assert_eq!(writer.take_steer_changes(), expected);
    assert_eq!(writer.take_steer_changes(), []);
}

#[test]
fn steering_learns_of_peers_and_forgets_those_not_named_again() {
    let (_, mut writer, _reader) = tables(4);
    let [stays, goes] = ["192.0.2.2", "2001:db8::2"].map(ip);
    for address in [stays, goes, stays] {
        writer.apply(&Command::PeerSet { address }).unwrap();
    }
    let peer = |address, present| SteerChange::Peer { address, present };
    assert_eq!(writer.take_steer_changes(), [peer(stays, true), peer(goes, true)]);
    writer.apply(&Command::ResyncBegin).unwrap();
    writer.apply(&Command::PeerSet { address: stays }).unwrap();
    writer.apply(&Command::ResyncEnd).unwrap();
    assert_eq!(writer.take_steer_changes(), [peer(goes, false)]);
    writer.apply(&Command::PeerRemove { address: stays }).unwrap();
    assert_eq!(writer.take_steer_changes(), [peer(stays, false)]);
}

#[test]
fn resynchronisation_removes_what_was_not_named() {
    let (_, mut writer, mut reader) = tables(4);
    let all = [
        set(session(1, &["10.0.0.1/32"])),
        set(session(2, &["10.0.0.2/32"])),
        route("0.0.0.0/0", "192.0.2.254"),
        route("172.16.0.0/12", "192.0.2.253"),
        neighbor("192.0.2.254", 1),
        neighbor("192.0.2.253", 2),
        Command::HostAddressSet { address: ip("198.51.100.1"), tunnel_endpoint: true },
        Command::HostAddressSet { address: ip("198.51.100.2"), tunnel_endpoint: false },
        Command::SubscriberPrefixSet { prefix: net("10.0.0.0/8") },
        Command::SubscriberPrefixSet { prefix: net("2001:db8::/32") },
    ];
    for command in &all {
        writer.apply(command).unwrap();
    }
    writer.take_steer_changes();
    let slot = slot_of(&mut reader, 1);

    writer.apply(&Command::ResyncBegin).unwrap();
    for command in all.iter().step_by(2) {
        writer.apply(command).unwrap();
    }
    assert_eq!((writer.sessions(), writer.routes(), writer.neighbors()), (2, 2, 2));
    writer.apply(&Command::ResyncEnd).unwrap();
    assert_eq!((writer.sessions(), writer.routes(), writer.neighbors()), (1, 1, 1));
    assert_eq!(slot_of(&mut reader, 1), slot, "named unchanged: untouched");
    assert_eq!(slot_of(&mut reader, 2), None);
    assert_eq!(route_of(&mut reader, [10, 0, 0, 2]), Entry::Unreachable);
    assert_eq!(route_of(&mut reader, [172, 16, 0, 1]), route_of(&mut reader, [8, 8, 8, 8]));
    assert_eq!(writer.take_steer_changes().len(), 2);
    assert_eq!(writer.reclaim(), []);
    reader.guard();
    assert_eq!(writer.reclaim().len(), 1);

    writer.apply(&Command::ResyncBegin).unwrap();
    writer.apply(&Command::ResyncEnd).unwrap();
    reader.guard();
    writer.reclaim();
    reader.guard();
    assert_nothing_left(&mut writer);
}

#[test]
fn during_resynchronisation_the_unnamed_give_way() {
    let (_, mut writer, mut reader) = tables(4);
    writer.apply(&set(session(1, &["10.0.0.1/32"]))).unwrap();
    writer.apply(&Command::ResyncBegin).unwrap();
    writer.apply(&set(session(2, &["10.0.0.1/32"]))).unwrap();
    assert_eq!(slot_of(&mut reader, 1), None);
    let named = writer.apply(&set(session(3, &["10.0.0.1/32"])));
    assert!(matches!(named, Err(CommandError::Invalid(_))));
    writer.apply(&Command::ResyncEnd).unwrap();
    assert_eq!(writer.sessions(), 1);
}

#[test]
fn a_resynchronisation_that_is_abandoned_removes_nothing() {
    let (_, mut writer, mut reader) = tables(4);
    writer.apply(&set(session(1, &["10.0.0.1/32"]))).unwrap();
    writer.apply(&Command::ResyncBegin).unwrap();
    writer.resync_abandon();
    let end = writer.apply(&Command::ResyncEnd);
    assert!(matches!(end, Err(CommandError::Invalid(_))));
    // Nobody gives way outside of a resynchronisation.
    let taken = writer.apply(&set(session(2, &["10.0.0.1/32"])));
    assert!(matches!(taken, Err(CommandError::Invalid(_))));
    assert!(slot_of(&mut reader, 1).is_some());
}

#[test]
fn counters_in_pieces() {
    let (_, mut writer, mut reader) = tables(8);
    for id in 1..=5 {
        writer.apply(&set(session(id, &[]))).unwrap();
    }
    writer.apply(&Command::SessionRemove(key(2))).unwrap();
    reader.guard();
    let mut keys = Vec::new();
    let mut cursor = Some(0);
    while let Some(at) = cursor {
        let (part, next) = writer.session_counters(at, 2);
        assert!(part.len() <= 2);
        keys.extend(part.into_iter().map(|(key, _)| key.local_session_id));
        cursor = next;
    }
    assert_eq!(keys, [1, 3, 4, 5]);
    assert_eq!(writer.session_counters(99, 2), (vec![], None));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is set, changed and removed in whatever order: afterwards nothing is left over.
    #[test]
    fn no_leak(steps in prop::collection::vec((0u8..8, 1u16..7, 0u8..4), 0..120)) {
        let (_, mut writer, mut reader) = tables(6);
        let mut ended = 0;
        let mut added = 0;
        for (kind, id, variant) in steps {
            let prefix = format!("10.0.{variant}.{id}/32");
            let covering = format!("10.0.{variant}.0/24");
            let gateway = format!("192.0.2.{id}");
            let before = writer.sessions();
            let command = match kind {
                0 | 1 => set(session(id, &[&prefix, "2001:db8::/64"][..1 + usize::from(id == 1)])),
                2 => Command::SessionRemove(key(id)),
                3 => route(&covering, &gateway),
                4 => Command::RouteRemove { prefix: net(&covering) },
                5 => neighbor(&gateway, 1),
                6 => Command::NeighborRemove { port: 0, address: ip(&gateway) },
                _ => Command::SubscriberPrefixSet { prefix: net(&covering) },
            };
            let _ = writer.apply(&command);
            added += usize::from(writer.sessions() > before);
            if variant == 3 {
                reader.guard();
            }
            ended += writer.reclaim().len();
        }
        writer.apply(&Command::ResyncBegin).unwrap();
        writer.apply(&Command::ResyncEnd).unwrap();
        reader.park();
        ended += writer.reclaim().len();
        prop_assert_eq!(ended, added, "each session's counters are reported once");
        assert_nothing_left(&mut writer);
    }
}
