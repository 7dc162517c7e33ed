//! One tunnel and two workers, on cables with two queues: what the kernel's hash puts on one queue is
//! shared; several ports of the LNS are spread by the hash itself.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::lab::frames::{self, LAC, LNS, SERVER};
use crate::lab::{Client, DataPlane, Lab, Wire, configuration};
use ipnet::IpNet;
use xlns_dataplane::api::{
    AttachMode, Command, Configuration, Counters, Handoff, PortStatus, RouteTarget, Session,
    SessionKey, SessionOptions,
};

const TUNNEL: u16 = 5;
const SESSIONS: u16 = 1000;

/// Packets of each session.
const ROUNDS: u32 = 5;

/// Packets under way at once: they fit every ring and socket buffer, so that none is lost.
const WINDOW: usize = 50;

/// Commands of one batch: they fit a message.
const COMMANDS: usize = 100;

/// The subscriber of a session: both numbers in its address.
fn subscriber(session: u16) -> Ipv4Addr {
    let [high, low] = session.to_be_bytes();
    Ipv4Addr::new(100, 64, high, low)
}

fn session(tunnel: u16, id: u16, port: u16) -> Command {
    Command::SessionSet(Box::new(Session {
        key: SessionKey { local_tunnel_id: tunnel, local_session_id: id },
        peer_tunnel_id: 77,
        peer_session_id: id,
        local: (LNS, port).into(),
        peer: (LAC, 1701).into(),
        send_acfc: false,
        send_pfc: false,
        magic: 0,
        peer_mru: 1492,
        prefixes: vec![IpNet::from(std::net::IpAddr::from(subscriber(id)))],
        source_check: true,
        gateway: None,
        options: SessionOptions::default(),
    }))
}

/// A configured data plane with two workers, and both far ends.
struct Scene {
    client: Client,
    data_plane: DataPlane,
    ports: Vec<PortStatus>,
    access: Wire,
    core: Wire,
    // Last: the namespaces go after what is in them.
    _lab: Lab,
}

impl Scene {
    fn new(name: &str, configuration: &Configuration, sessions: Vec<Command>) -> Option<Self> {
        let lab = Lab::new(name)?;
        let data_plane = lab.start();
        let (mut client, _) = data_plane.greet();
        let (ports, workers) = client.configure(configuration);
        assert_eq!(workers, 2);
        assert!(ports.iter().all(|port| port.queues == 2));
        let (access, core) = (lab.wire("far-access"), lab.wire("far-core"));
        let gateway = SERVER.into();
        client.batch(vec![
            Command::HostAddressSet { address: LNS.into(), tunnel_endpoint: true },
            Command::SubscriberPrefixSet { prefix: "100.64.0.0/16".parse().unwrap() },
            Command::NeighborSet { port: 1, address: gateway, mac: core.mac },
            Command::RouteSet {
                prefix: IpNet::new(gateway, 32).unwrap(),
                target: RouteTarget::Neighbor { port: 1, gateway },
            },
        ]);
        for sessions in sessions.chunks(COMMANDS) {
            client.batch(sessions.to_vec());
        }
        Some(Self { client, data_plane, ports, access, core, _lab: lab })
    }

    /// A subscriber's packet with a number, to the LNS's `port`.
    fn send(&self, tunnel: u16, session: u16, port: u16, serial: u32) {
        let payload = [&[0x5a; 60][..], &serial.to_be_bytes()].concat();
        let inner = frames::ipv4(subscriber(session), SERVER, 17, &frames::udp(4000, 7, &payload));
        let message = [
            &[0x00, 0x02][..],
            &tunnel.to_be_bytes(),
            &session.to_be_bytes(),
            &[0xff, 0x03, 0x00, 0x21],
            &inner,
        ]
        .concat();
        let packet = frames::ipv4(LAC, LNS, 17, &frames::udp(1701, port, &message));
        self.access.send(&frames::ethernet(self.ports[0].mac, self.access.mac, &packet));
    }

    /// Who sent the next packet that arrives behind the LNS, and its number.
    fn receive(&self) -> (Ipv4Addr, u32) {
        let server = SERVER.octets();
        let frame = self.core.expect("a subscriber's packet", |frame| {
            frames::ipv4_packet(frame).is_some_and(|packet| packet[16..20] == server)
        });
        let packet = frames::ipv4_packet(&frame).unwrap();
        let source: [u8; 4] = packet[12..16].try_into().unwrap();
        assert_eq!(packet[28..packet.len() - 4], [0x5a; 60]);
        (source.into(), u32::from_be_bytes(packet[packet.len() - 4..].try_into().unwrap()))
    }

    /// Sends all, [`WINDOW`] at a time, and sees each arrive once, those of a session in order.
    fn cross(&self, packets: impl Iterator<Item = (u16, u16, u16, u32)>) {
        let mut last = BTreeMap::new();
        let mut packets = packets.peekable();
        while packets.peek().is_some() {
            let sent: Vec<_> = packets.by_ref().take(WINDOW).collect();
            for &(tunnel, session, port, serial) in &sent {
                self.send(tunnel, session, port, serial);
            }
            for _ in &sent {
                let (from, serial) = self.receive();
                let before = last.insert(from, serial).unwrap_or(0);
                assert_eq!(serial, before + 1, "of {from}");
            }
        }
    }

    /// Processor time of each worker so far.
    fn worker_times(&self) -> Vec<Duration> {
        let folder = format!("/proc/{}/task", self.data_plane.process_id());
        let mut times = BTreeMap::new();
        for thread in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = fs::read_to_string(thread.join("comm")).unwrap();
            if name.starts_with("xlns-w") {
                let spent = fs::read_to_string(thread.join("schedstat")).unwrap();
                let nanoseconds = spent.split_whitespace().next().unwrap().parse().unwrap();
                times.insert(name, Duration::from_nanos(nanoseconds));
            }
        }
        times.into_values().collect()
    }
}

/// Received and handed in = transmitted, dropped and handed out, for each worker.
fn assert_balanced(counters: &Counters) {
    for worker in &counters.workers {
        let settled = worker.transmitted + worker.dropped + worker.handed_out;
        assert_eq!(worker.received + worker.handed_in, settled, "{worker:?}");
    }
    let sum = |of: fn(&_) -> u64| counters.workers.iter().map(of).sum::<u64>();
    assert_eq!(sum(|worker| worker.handed_out), sum(|worker| worker.handed_in));
}

fn always() -> Configuration {
    Configuration {
        handoff: Handoff::Always,
        sessions_max: SESSIONS.into(),
        ..configuration(AttachMode::NativeCopy)
    }
}

#[test]
fn two_workers_share_one_tunnel_of_a_thousand_sessions() {
    let sessions = (1..=SESSIONS).map(|id| session(TUNNEL, id, 1701)).collect();
    let Some(mut scene) = Scene::new("handoff", &always(), sessions) else { return };
    let before = scene.worker_times();
    let packets =
        (1..=ROUNDS).flat_map(|serial| (1..=SESSIONS).map(move |id| (TUNNEL, id, 1701, serial)));
    scene.cross(packets);
    let after = scene.worker_times();
    let counters = scene.client.counters();
    assert_balanced(&counters);
    let all = u64::from(SESSIONS) * u64::from(ROUNDS);
    for ((worker, before), after) in counters.workers.iter().zip(before).zip(after) {
        println!(
            "received {:>5}, handed out {:>5}, handed in {:>5}, sent {:>5}: {:.1} us of processor \
             time for each received or handed in",
            worker.received,
            worker.handed_out,
            worker.handed_in,
            worker.transmitted,
            (after - before).as_secs_f64() * 1e6 / (worker.received + worker.handed_in) as f64,
        );
    }
    // One pair of addresses and ports: one queue, one worker that receives.
    let received: Vec<u64> = counters.workers.iter().map(|worker| worker.received).collect();
    assert!(received.contains(&0) && received.contains(&all), "{received:?}");
    // Half of the sessions each, by a hash: none far from it.
    for worker in &counters.workers {
        let part = worker.transmitted as f64 / all as f64;
        assert!((0.35..0.65).contains(&part), "{worker:?}");
    }
    assert_eq!(counters.workers.iter().map(|worker| worker.dropped).sum::<u64>(), 0);
    assert!(scene.data_plane.terminate());
}

#[test]
fn tunnels_on_ports_of_their_own_are_spread_by_the_kernels_hash() {
    // As many as a profile can have: that a hash puts all on one of two queues does not happen.
    const PORTS: u16 = 64;
    let off = Configuration { handoff: Handoff::Off, l2tp_port_count: PORTS, ..always() };
    // A tunnel for each port, with one session.
    let sessions = (0..PORTS).map(|port| session(TUNNEL + port, 1 + port, 1701 + port)).collect();
    let Some(mut scene) = Scene::new("ports", &off, sessions) else { return };
    let packets = (1..=ROUNDS).flat_map(|serial| {
        (0..PORTS).map(move |port| (TUNNEL + port, 1 + port, 1701 + port, serial))
    });
    scene.cross(packets);
    let counters = scene.client.counters();
    assert_balanced(&counters);
    let received: Vec<u64> = counters.workers.iter().map(|worker| worker.received).collect();
    println!("received by each worker: {received:?}");
    assert_eq!(received.iter().sum::<u64>(), u64::from(PORTS) * u64::from(ROUNDS));
    assert!(received.iter().all(|received| *received > 0), "{received:?}");
    assert!(counters.workers.iter().all(|worker| worker.handed_out + worker.handed_in == 0));
    // The tunnel of a port has one worker: a multiple of the rounds each.
    assert!(received.iter().all(|received| received % u64::from(ROUNDS) == 0), "{received:?}");
}
