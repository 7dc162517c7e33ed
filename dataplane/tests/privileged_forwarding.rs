//! The data plane as a process, between two cables: configured by its api, forwarding real frames.
//! Needs root; without it the tests say so and pass.

mod handoff;
mod lab;

use std::net::{IpAddr, Ipv6Addr, UdpSocket};

use ipnet::IpNet;
use lab::frames::{self, LAC, LNS, SERVER, SUBSCRIBER};
use lab::{Client, DataPlane, Lab, Wire, configuration};
use xlns_dataplane::api::{
    ApiError, AttachMode, Command, Configuration, Counters, PortStatus, Reply, RequestBody,
    RouteTarget, Session, SessionKey, SessionOptions,
};
use xlns_dataplane::quality::Settings;
use xlns_dataplane::verdict::DropReason;

const KEY: SessionKey = SessionKey { local_tunnel_id: 5, local_session_id: 9 };
const PEER_TUNNEL: u16 = 0x1111;
const PEER_SESSION: u16 = 0x2222;
const MAGIC: u32 = 0xfeed_f00d;
const IPV4: u16 = 0x0021;
const LCP: u16 = 0xc021;

/// A configured data plane, and both far ends.
struct Scene {
    client: Client,
    data_plane: DataPlane,
    ports: Vec<PortStatus>,
    access: Wire,
    core: Wire,
    // Last: the namespaces go after what is in them.
    lab: Lab,
}

impl Scene {
    fn new(name: &str, configuration: &Configuration) -> Option<Self> {
        let lab = Lab::new(name)?;
        let data_plane = lab.start();
        let (mut client, configured) = data_plane.greet();
        assert!(!configured);
        let (ports, workers) = client.configure(configuration);
        assert_eq!(workers, 2);
        let (access, core) = (lab.wire("far-access"), lab.wire("far-core"));
        // What control installs: the way back to subscribers.
        lab.ip_lns(&["route", "add", "100.64.0.0/16", "dev", "xlns0"]);
        client.batch(tables(&access, &core));
        client.batch(vec![session()]);
        Some(Self { client, data_plane, ports, access, core, lab })
    }

    fn send_access(&self, packet: &[u8]) {
        self.access.send(&frames::ethernet(self.ports[0].mac, self.access.mac, packet));
    }

    fn send_core(&self, packet: &[u8]) {
        self.core.send(&frames::ethernet(self.ports[1].mac, self.core.mac, packet));
    }

    /// One packet of the subscriber to the server and one back, marked with `mark`.
    fn cross(&self, mark: u8) {
        self.up(mark);
        self.down(mark);
    }

    fn up(&self, mark: u8) {
        let inner = upstream_packet(mark);
        self.send_access(&frames::l2tp(5, 9, IPV4, &inner));
        let frame = self.core.expect("the decapsulated packet", |frame| ends_with(frame, mark));
        let packet = frames::ipv4_packet(&frame).unwrap();
        assert_eq!(frame[6..12], self.ports[1].mac);
        assert_eq!(packet[8], 63, "TTL");
        assert_eq!(packet[12..], inner[12..]);
    }

    fn down(&self, mark: u8) {
        let payload = frames::udp(7, 4000, &[mark; 100]);
        let inner = frames::ipv4(SERVER, SUBSCRIBER, 17, &payload);
        self.send_core(&inner);
        let frame = self.access.expect("the encapsulated packet", |frame| ends_with(frame, mark));
        assert_eq!(frame[6..12], self.ports[0].mac);
        let message = frames::l2tp_payload(&frame).unwrap();
        let (protocol, packet) = frames::ppp(message, PEER_TUNNEL, PEER_SESSION).unwrap();
        assert_eq!(protocol, IPV4);
        assert_eq!(packet[8], 63, "TTL");
        assert_eq!(packet[12..], inner[12..]);
    }

    /// An LCP Echo-Request, answered by a worker with our magic number (RFC 1661 section 5.8).
    fn echo(&self, identifier: u8) {
        let request = [9, identifier, 0, 12, 1, 2, 3, 4, b'e', b'c', b'h', b'o'];
        self.send_access(&frames::l2tp(5, 9, LCP, &request));
        let frame = self.access.expect("the echo reply", |frame| {
            frames::l2tp_payload(frame)
                .and_then(|message| frames::ppp(message, PEER_TUNNEL, PEER_SESSION))
                .is_some_and(|(protocol, lcp)| protocol == LCP && lcp[1] == identifier)
        });
        let message = frames::l2tp_payload(&frame).unwrap();
        let (_, lcp) = frames::ppp(message, PEER_TUNNEL, PEER_SESSION).unwrap();
        let magic = MAGIC.to_be_bytes();
        assert_eq!(lcp[..12], [&[10, identifier, 0, 12][..], &magic, b"echo"].concat());
    }

    /// The subscriber pings the LNS: across `xlns0` to the kernel and back.
    fn ping_host(&self, sequence: u16) {
        let request = frames::icmp_echo(8, sequence);
        let inner = frames::ipv4(SUBSCRIBER, LNS, 1, &request);
        self.send_access(&frames::l2tp(5, 9, IPV4, &inner));
        let reply = frames::icmp_echo(0, sequence);
        self.access.expect("the kernel's echo reply", |frame| {
            frames::l2tp_payload(frame)
                .and_then(|message| frames::ppp(message, PEER_TUNNEL, PEER_SESSION))
                .is_some_and(|(_, packet)| packet.ends_with(&reply))
        });
    }
}

fn upstream_packet(mark: u8) -> Vec<u8> {
    frames::ipv4(SUBSCRIBER, SERVER, 17, &frames::udp(4000, 7, &[mark; 100]))
}

fn ends_with(frame: &[u8], mark: u8) -> bool {
    frame.ends_with(&[mark; 100])
}

fn session() -> Command {
    Command::SessionSet(Box::new(Session {
        key: KEY,
        peer_tunnel_id: PEER_TUNNEL,
        peer_session_id: PEER_SESSION,
        local: (LNS, 1701).into(),
        peer: (LAC, 1701).into(),
        send_acfc: false,
        send_pfc: false,
        magic: MAGIC,
        peer_mru: 1492,
        prefixes: vec![IpNet::new(SUBSCRIBER.into(), 32).unwrap()],
        source_check: true,
        gateway: Some(LNS),
        options: SessionOptions::default(),
    }))
}

/// Everything but sessions.
fn tables(access: &Wire, core: &Wire) -> Vec<Command> {
    let neighbor = |port, address: std::net::Ipv4Addr, mac| {
        let (prefix, gateway) = (IpNet::new(address.into(), 32).unwrap(), address.into());
        [
            Command::NeighborSet { port, address: gateway, mac },
            Command::RouteSet { prefix, target: RouteTarget::Neighbor { port, gateway } },
        ]
    };
    let mut commands = vec![
        Command::HostAddressSet { address: LNS.into(), tunnel_endpoint: true },
        Command::HostAddressSet { address: [10, 2, 0, 1].into(), tunnel_endpoint: false },
        Command::SubscriberPrefixSet { prefix: "100.64.0.0/16".parse().unwrap() },
    ];
    commands.extend(neighbor(0, LAC, access.mac));
    commands.extend(neighbor(1, SERVER, core.mac));
    commands
}

fn drops(counters: &Counters, reason: DropReason) -> u64 {
    counters.drops.0[reason as usize]
}

/// What the steering program decided on the access port, for one reason.
fn steered(counters: &Counters, reason: &str) -> u64 {
    counters.steer.iter().find(|counter| counter.name == reason).unwrap().packets[0]
}

/// Received = transmitted + dropped, for each worker, and the ports' sums are the workers'.
fn assert_balanced(counters: &Counters) {
    for worker in &counters.workers {
        let ended = worker.transmitted + worker.dropped + worker.measured;
        assert_eq!(worker.received + worker.originated, ended, "{worker:?}");
    }
    let workers = &counters.workers;
    let received: u64 = workers.iter().map(|worker| worker.received).sum();
    let transmitted: u64 = workers.iter().map(|worker| worker.transmitted).sum();
    assert_eq!(received, counters.ports.iter().map(|port| port.received_packets).sum::<u64>());
    assert_eq!(
        transmitted,
        counters.ports.iter().map(|port| port.transmitted_packets).sum::<u64>()
    );
    let dropped: u64 = workers.iter().map(|worker| worker.dropped).sum();
    assert_eq!(dropped, counters.drops.0.iter().sum::<u64>());
}

fn forwards(name: &str, mode: AttachMode) -> Option<()> {
    let mut scene = Scene::new(name, &configuration(mode))?;
    assert!(scene.ports.iter().all(|port| port.queues == 2));
    for mark in 1..=20 {
        scene.cross(mark);
    }
    scene.echo(77);
    scene.ping_host(1);
    let counters = scene.client.counters();
    assert_balanced(&counters);
    assert_eq!(counters.ports[0].interface, "access0");
    assert_eq!(counters.ports[0].received_packets, 22);
    assert_eq!(counters.ports[0].transmitted_packets, 22);
    assert_eq!(counters.ports[1].received_packets, 20);
    assert_eq!(counters.ports[1].transmitted_packets, 20);
    assert_eq!(counters.ports[2].interface, "xlns0");
    assert_eq!(counters.ports[2].received_packets, 1);
    assert_eq!(counters.ports[2].transmitted_packets, 1);
    assert_eq!(counters.sessions, 1);
    assert!(counters.workers.iter().all(|worker| worker.core.is_some()));
    let interface = scene.lab.ip_lns(&["-d", "link", "show", "dev", "access0"]);
    assert!(interface.contains("xdp"), "{interface}");
    assert!(scene.data_plane.terminate());
    let interface = scene.lab.ip_lns(&["-d", "link", "show", "dev", "access0"]);
    assert!(!interface.contains("xdp"), "{interface}");
    assert!(!scene.lab.ip_lns(&["link", "show"]).contains("xlns0"));
    Some(())
}

#[test]
fn forwards_in_the_best_mode() {
    forwards("best", AttachMode::NativeZeroCopy);
}

#[test]
fn forwards_above_the_driver() {
    forwards("generic", AttachMode::Generic);
}

#[test]
fn reports_the_mode_obtained_and_why_not_better() {
    let Some(scene) = Scene::new("mode", &configuration(AttachMode::NativeZeroCopy)) else {
        return;
    };
    for port in &scene.ports {
        // veth has no zero-copy.
        assert_eq!(port.mode, AttachMode::NativeCopy);
        assert_eq!(port.not_better.len(), 1, "{port:?}");
        assert_eq!(port.not_better[0].0, AttachMode::NativeZeroCopy);
    }
    assert!(scene.ports[0].not_better[0].1.contains("its driver has no zero-copy"));
}

#[test]
fn sleeping_workers_ask_in_time_and_measure_what_comes_back() {
    let quality = Some(Settings { interval_ms: 100, loss_after_ms: 3000 });
    let configuration = Configuration { quality, ..configuration(AttachMode::NativeCopy) };
    let Some(mut scene) = Scene::new("quality", &configuration) else { return };
    // Not before control says that LCP is open.
    scene.access.expect_none("an Echo-Request", |frame| echo_request(frame).is_some());
    let Command::SessionSet(session) = session() else { unreachable!() };
    let options = SessionOptions { quality: true, ..session.options };
    scene.client.batch(vec![Command::SessionSet(Box::new(Session { options, ..*session }))]);
    for _ in 0..10 {
        let frame = scene.access.expect("an Echo-Request", |frame| echo_request(frame).is_some());
        let request = echo_request(&frame).unwrap();
        assert_eq!(request[4..8], MAGIC.to_be_bytes());
        let reply = [&[10], &request[1..4], &[1, 2, 3, 4], &request[8..]].concat();
        scene.send_access(&frames::l2tp(5, 9, LCP, &reply));
    }
    let ask = RequestBody::SessionQuality { cursor: 0, limit: 10, unanswered_min: 0 };
    // The last reply may still be on its way.
    let quality = loop {
        let Reply::SessionQuality { sessions, next_cursor: None, .. } =
            scene.client.ask(ask.clone())
        else {
            panic!("no quality");
        };
        let [(KEY, quality)] = sessions[..] else { panic!("{sessions:?}") };
        if quality.recent.requests() >= 10 {
            break quality;
        }
    };
    assert_eq!((quality.recent.lost, quality.recent.untimed), (0, 0));
    assert!(quality.min_us > 0 && quality.min_us <= quality.last_us, "{quality:?}");
    // Another answer is none to the workers: it is control's, and the kernel's here.
    scene.send_access(&frames::l2tp(5, 9, LCP, &[10, 0x7f, 0, 8, 1, 2, 3, 4]));
    scene.cross(1);
    let counters = scene.client.counters();
    assert_eq!(counters.workers.iter().map(|worker| worker.measured).sum::<u64>(), 10);
    assert_eq!(drops(&counters, DropReason::EchoReply), 0);
    let steered =
        |name: &str| counters.steer.iter().find(|counter| counter.name == name).unwrap().packets[0];
    assert_eq!((steered("xsk_lcp_echo"), steered("pass_ppp_control")), (10, 1));
}

/// The LCP packet of an Echo-Request to the session.
fn echo_request(frame: &[u8]) -> Option<&[u8]> {
    let message = frames::l2tp_payload(frame)?;
    let (protocol, packet) = frames::ppp(message, PEER_TUNNEL, PEER_SESSION)?;
    let length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    (protocol == LCP && packet[0] == 9).then(|| &packet[..length])
}

#[test]
fn forwarding_goes_on_without_control_and_through_a_resynchronisation() {
    let configuration = configuration(AttachMode::NativeCopy);
    let Some(mut scene) = Scene::new("resync", &configuration) else { return };
    scene.cross(1);
    // A second control process is refused while the first one is there.
    let mut second = scene.data_plane.connect();
    assert_eq!(second.receive(), Some(Reply::Refused { number: 0, error: ApiError::Busy }));
    assert_eq!(second.receive(), None);
    let client = std::mem::replace(&mut scene.client, second);
    drop(client);
    scene.cross(2);
    let (client, configured) = scene.data_plane.greet();
    assert!(configured);
    scene.client = client;
    let (ports, workers) = scene.client.configure(&configuration);
    assert_eq!((&ports, workers), (&scene.ports, 2));
    scene.cross(3);
    // Another configuration is for another process.
    let other = Configuration { sessions_max: 1001, ..configuration };
    let reply = scene.client.ask(RequestBody::Configure(Box::new(other)));
    assert!(matches!(reply, Reply::Refused { error: ApiError::Reconfigure, .. }), "{reply:?}");

    scene.client.batch(vec![Command::ResyncBegin]);
    scene.cross(4);
    scene.client.batch(tables(&scene.access, &scene.core));
    scene.cross(5);
    scene.client.batch(vec![session(), Command::ResyncEnd]);
    scene.cross(6);
    let reply = scene.client.ask(RequestBody::SessionCounters { cursor: 0 });
    let Reply::SessionCounters { sessions, next_cursor: None, .. } = reply else {
        panic!("{reply:?}");
    };
    assert_eq!(sessions.len(), 1);
    assert_eq!((sessions[0].0, sessions[0].1.upstream_packets), (KEY, 6));
    assert_eq!(sessions[0].1.downstream_packets, 6);

    // What is not named again goes, and its final counters are told.
    scene.client.batch(vec![Command::ResyncBegin]);
    scene.client.batch(tables(&scene.access, &scene.core));
    scene.client.batch(vec![Command::ResyncEnd]);
    match scene.client.wait_for_ended() {
        Reply::SessionEnded { key: KEY, counters } => assert_eq!(counters, sessions[0].1),
        other => panic!("{other:?}"),
    }
    scene.send_access(&frames::l2tp(5, 9, IPV4, &upstream_packet(7)));
    scene.core.expect_none("a packet without a session", |frame| ends_with(frame, 7));
    let counters = scene.client.counters();
    assert_eq!(drops(&counters, DropReason::NoSuchSession), 1);
    assert_balanced(&counters);
}

#[test]
fn requests_that_make_no_sense_are_refused_and_nothing_else_happens() {
    let Some(mut scene) = Scene::new("nonsense", &configuration(AttachMode::NativeCopy)) else {
        return;
    };
    scene.client.send_octets(&[0xff; 100]);
    let reply = scene.client.reply();
    assert!(matches!(reply, Reply::Refused { number: 0, error: ApiError::Malformed(_) }));
    scene.client.send_octets(&vec![0; 70_000]);
    let reply = scene.client.reply();
    assert!(matches!(reply, Reply::Refused { number: 0, error: ApiError::Malformed(_) }));
    let commands = vec![Command::ResyncBegin; 257];
    let reply = scene.client.ask(RequestBody::Batch(commands));
    assert!(matches!(reply, Reply::Refused { error: ApiError::Malformed(_), .. }), "{reply:?}");
    let missing = SessionKey { local_tunnel_id: 1, local_session_id: 1 };
    let reply = scene.client.ask(RequestBody::Batch(vec![Command::SessionRemove(missing)]));
    assert!(matches!(&reply, Reply::Ack { refused, .. } if refused.len() == 1), "{reply:?}");
    scene.cross(1);
}

/// A control message that came in fragments crosses `xlns0` and is put together by the kernel, also
/// where the host checks sources strictly.
#[test]
fn a_control_message_in_fragments_reaches_the_hosts_socket() {
    let Some(lab) = Lab::new("fragments") else { return };
    // Before the data plane is there, so that its device has IPv6, too.
    for parameter in ["default", "access0"] {
        lab.set(&format!("ipv6/conf/{parameter}/disable_ipv6"), "0");
    }
    for parameter in ["all", "default"] {
        lab.set(&format!("ipv4/conf/{parameter}/rp_filter"), "1");
    }
    let (lac6, lns6): (Ipv6Addr, Ipv6Addr) =
        ("fd00:1::2".parse().unwrap(), "fd00:1::1".parse().unwrap());
    lab.ip_lns(&["address", "add", "fd00:1::1/64", "dev", "access0", "nodad"]);
    let configuration = configuration(AttachMode::NativeCopy);
    let data_plane = lab.start();
    let (mut client, _) = data_plane.greet();
    let (ports, _) = client.configure(&configuration);
    for address in [IpAddr::from(LNS), lns6.into()] {
        client.batch(vec![Command::HostAddressSet { address, tunnel_endpoint: true }]);
    }
    let wire = lab.wire("far-access");
    let message = [&[0xc8, 0x02, 0x03, 0xe8][..], &[0x5a; 996]].concat();
    let received = |socket: &UdpSocket| {
        let mut buffer = [0; 2000];
        let (length, from) = socket.recv_from(&mut buffer).expect("the message");
        (buffer[..length].to_vec(), from)
    };
    let (socket, socket6) = (lab.udp((LNS, 1701)), lab.udp((lns6, 1701)));
    let whole = frames::ipv4(LAC, LNS, 17, &frames::udp(1701, 1701, &message));
    let come_through = || {
        for fragment in frames::fragments(&whole, 504) {
            wire.send(&frames::ethernet(ports[0].mac, wire.mac, &fragment));
        }
        assert_eq!(received(&socket), (message.clone(), (LAC, 1701).into()));
        for fragment in frames::fragments6(lac6, lns6, 1701, &message) {
            wire.send(&frames::ethernet(ports[0].mac, wire.mac, &fragment));
        }
        assert_eq!(received(&socket6), (message.clone(), (lac6, 1701).into()));
    };
    // Of strangers the kernel puts them together, of peers the workers.
    come_through();
    assert_eq!(steered(&client.counters(), "pass_fragment"), 4);
    for address in [IpAddr::from(LAC), lac6.into()] {
        client.batch(vec![Command::PeerSet { address }]);
    }
    come_through();
    let counters = client.counters();
    assert_eq!(steered(&counters, "xsk_fragment"), 4);
    assert_eq!(counters.workers.iter().map(|worker| worker.joined).sum::<u64>(), 2);
}

/// A switch that floods, or a port in promiscuous mode, shows frames that are another station's.
#[test]
fn frames_to_another_station_are_not_forwarded() {
    let Some(mut scene) = Scene::new("stations", &configuration(AttachMode::NativeCopy)) else {
        return;
    };
    let upstream = frames::l2tp(5, 9, IPV4, &upstream_packet(1));
    let [first, .., last] = scene.ports[0].mac;
    for mac in [[first, 0, 0, 0, 0, last ^ 1], [0xff; 6], [1, 0, 0x5e, 0, 0, 1]] {
        scene.access.send(&frames::ethernet(mac, scene.access.mac, &upstream));
        scene.core.expect_none("another station's packet", |frame| ends_with(frame, 1));
    }
    scene.cross(2);
    let counters = scene.client.counters();
    assert_eq!(steered(&counters, "pass_other_mac"), 1);
    assert_eq!(steered(&counters, "pass_not_unicast"), 2);
    assert_eq!(counters.ports[0].received_packets, 1);
}

/// What only the steering program cannot hold is refused by itself, with what to do, each time.
#[test]
fn a_length_of_prefixes_too_many_is_refused_and_nothing_else() {
    let Some(mut scene) = Scene::new("lengths", &configuration(AttachMode::NativeCopy)) else {
        return;
    };
    let prefix = |length| format!("100.65.0.0/{length}").parse().unwrap();
    let set = |length| Command::SubscriberPrefixSet { prefix: prefix(length) };
    // With the /16 of the scene, 24 is the ninth length.
    let all: Vec<_> = (17..=25).map(set).collect();
    let refused = scene.client.refused(all.clone());
    assert_eq!(refused.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [7, 8]);
    let text = refused[0].1.to_string();
    assert!(text.contains("100.65.0.0/24") && text.contains("8 distinct lengths"), "{text}");
    assert_eq!(scene.client.refused(all[7..8].to_vec()).len(), 1, "it is not there");
    scene.client.batch(vec![Command::SubscriberPrefixRemove { prefix: prefix(17) }, set(24)]);
    scene.cross(1);
}

/// A data plane that dies takes its program with it, and the next one gets the queues although the
/// kernel may not have let go of them yet.
#[test]
fn a_data_plane_that_was_killed_is_replaced_at_once() {
    let configuration = configuration(AttachMode::NativeCopy);
    let Some(mut scene) = Scene::new("killed", &configuration) else { return };
    scene.cross(1);
    for mark in 2..5 {
        scene.data_plane.kill();
        scene.data_plane = scene.lab.start();
        let (client, configured) = scene.data_plane.greet();
        assert!(!configured);
        scene.client = client;
        scene.client.configure(&configuration);
        scene.client.batch(tables(&scene.access, &scene.core));
        scene.client.batch(vec![session()]);
        scene.cross(mark);
    }
    assert!(scene.data_plane.terminate());
}

#[test]
fn an_interface_that_goes_away_leaves_the_rest_working() {
    let Some(mut scene) = Scene::new("gone", &configuration(AttachMode::NativeCopy)) else {
        return;
    };
    scene.cross(1);
    scene.lab.ip_far(&["link", "delete", "far-core"]);
    scene.echo(1);
    // The first frames of a worker find out; the later ones are dropped and counted.
    let full = |scene: &mut Scene| drops(&scene.client.counters(), DropReason::TransmitFull);
    for round in 0..100 {
        scene.send_access(&frames::l2tp(5, 9, IPV4, &upstream_packet(round)));
        scene.echo(round);
        if full(&mut scene) > 0 {
            break;
        }
    }
    assert!(full(&mut scene) > 0);
    assert_balanced(&scene.client.counters());
    assert!(scene.data_plane.terminate());
}

#[test]
fn a_set_up_that_fails_says_what_to_do_and_can_be_tried_again() {
    let Some(lab) = Lab::new("setup") else { return };
    let data_plane = lab.start();
    let (mut client, _) = data_plane.greet();
    let good = configuration(AttachMode::NativeCopy);
    let mut refused = |configuration: &Configuration, expected: &str| match client
        .ask(RequestBody::Configure(Box::new(configuration.clone())))
    {
        Reply::Refused { error: ApiError::SetUp(text), .. } => {
            assert!(text.contains(expected), "{text}");
        }
        other => panic!("{other:?}"),
    };
    let mut missing = good.clone();
    missing.ports[1].interface = "none0".into();
    refused(&missing, "none0");
    refused(&Configuration { workers: 3, ..good.clone() }, "ethtool -L");
    let mut queues = good.clone();
    queues.ports[0].queues = 3;
    refused(&queues, "access0 has 2 queues");
    lab.ip_lns(&["link", "set", "core0", "mtu", "1767"]);
    refused(&good, "mtu 1766");
    lab.ip_lns(&["link", "set", "core0", "mtu", "1500"]);
    let (ports, _) = client.configure(&good);
    assert_eq!(ports.len(), 2);
}
