//! Clients against LNSs of our own, in virtual time.

use std::net::{Ipv4Addr, SocketAddr};

use ipnet::IpNet;
use xlns_dataplane::api::{self, Command};
use xlns_dataplane::counters::SessionCounters;

use super::*;
use crate::admin::{ClientRow, SessionSelector, TunnelSelector};
use crate::l2tp::header;
use crate::l2tp::message::{Message, Sccrq};
use crate::l2tp::result::ResultCode;
use crate::lns::LnsCounter;
use crate::routing::Uplinks;
use crate::udp::Transmit;

const OURS: &str = "192.0.2.100:1701";
const FIRST: &str = "203.0.113.1:1701";
const SECOND: &str = "203.0.113.2:1701";

const DIALLER: &str = "[lns]\nlisten = [\"192.0.2.100\"]\ngateway = \"10.99.0.1\"\n\
    [[port]]\ninterface = \"eth0\"\n";

/// A client of this name that dials the servers.
fn client(name: &str, servers: &[&str], more: &str) -> String {
    let servers: Vec<String> =
        servers.iter().map(|server| format!("{{ address = \"{server}\" }}")).collect();
    let servers = servers.join(", ");
    format!(
        "[[client]]\nname = \"{name}\"\nuser = \"alice\"\npassword = \"wonder\"\n\
         servers = [{servers}]\nroutes = [\"default\"]\n\
         peer_addresses = [\"10.0.2.0/24\", \"203.0.113.0/24\"]\n{more}"
    )
}

fn to_first(more: &str) -> String {
    client("up", &["203.0.113.1"], more)
}

/// An LNS whose PPP address is `gateway`.
fn server_config(gateway: &str, more: &str) -> String {
    format!(
        "[lns]\nlisten = [\"203.0.113.1\", \"203.0.113.2\"]\ngateway = \"{gateway}\"\n\
         allow_gateway_on_listen_address = true\n[[port]]\ninterface = \"eth0\"\n\
         [ppp]\ndns = [\"9.9.9.9\", \"9.9.9.9\"]\n\
         [[pool]]\nname = \"p\"\nprefixes = [\"10.9.0.0/24\"]\n\
         ipv6_prefixes = [\"2001:db8:9::/48\"]\n\
         delegated_prefixes = [\"2001:db8:d000::/36\"]\ndelegated_length = 56\n\
         [[user]]\nname = \"alice\"\npassword = \"wonder\"\n{more}"
    )
}

fn lns(text: &str, seed: u8) -> Lns {
    let config = Config::parse("test", text).unwrap_or_else(|error| panic!("{error}"));
    let mut lns = Lns::new(Arc::new(config), [seed; 32]).unwrap();
    lns.handle_dataplane_ready();
    lns
}

/// An LNS at an address.
struct Server {
    address: SocketAddr,
    /// Where it answers from, once asked.
    answers_from: SocketAddr,
    lns: Option<Lns>,
}

/// The dialler, servers, and a wire without delay.
struct World {
    now: Time,
    dialler: Lns,
    servers: Vec<Server>,
    commands: Vec<Command>,
    uplinks: Uplinks,
    /// Tunnels asked for: when, and of whom.
    asked: Vec<(Time, SocketAddr)>,
}

impl World {
    fn new(clients: &str) -> Self {
        Self {
            now: Time::ZERO + Duration::from_secs(1000),
            dialler: lns(&format!("{DIALLER}{clients}"), 1),
            servers: Vec::new(),
            commands: Vec::new(),
            uplinks: Uplinks::default(),
            asked: Vec::new(),
        }
    }

    fn with_server(mut self, address: &str, gateway: &str, more: &str) -> Self {
        let address = address.parse().unwrap();
        let seed = 50 + self.servers.len() as u8;
        let lns = Some(lns(&server_config(gateway, more), seed));
        self.servers.push(Server { address, answers_from: address, lns });
        self
    }

    fn server(&mut self, address: &str) -> &mut Server {
        let address = address.parse().unwrap();
        self.servers.iter_mut().find(|server| server.address == address).unwrap()
    }

    fn server_lns(&mut self, address: &str) -> &mut Lns {
        self.server(address).lns.as_mut().unwrap()
    }

    /// Carries everything to where it goes, until nothing moves.
    fn exchange(&mut self) {
        loop {
            self.take_commands();
            if let Some(uplinks) = self.dialler.take_uplinks() {
                self.uplinks = uplinks;
            }
            while self.dialler.poll_peer_change().is_some() {}
            let Some(transmit) = self.dialler.poll_transmit() else {
                if self.carry_back() {
                    continue;
                }
                return;
            };
            self.carry(&transmit);
        }
    }

    fn take_commands(&mut self) {
        while let Some(command) = self.dialler.poll_command() {
            if let Command::SessionRemove(key) = &command {
                let counters = SessionCounters::default();
                self.dialler.handle_session_ended(self.now, *key, counters);
            }
            self.commands.push(command);
        }
    }

    fn carry(&mut self, transmit: &Transmit) {
        let Transmit { local, peer, payload } = transmit;
        assert_eq!(*local, OURS.parse().unwrap());
        let header = header::parse(payload).unwrap();
        if header.control && header.tunnel_id == TunnelId(0) && header.ns == Default::default() {
            self.asked.push((self.now, *peer));
        }
        let now = self.now;
        let found = self.servers.iter_mut().find(|s| s.answers_from == *peer || s.address == *peer);
        if let Some(Server { lns: Some(lns), answers_from, .. }) = found {
            lns.handle_datagram(now, *answers_from, *local, payload);
        }
    }

    /// Whether a server had something to say.
    fn carry_back(&mut self) -> bool {
        for Server { lns, answers_from, .. } in &mut self.servers {
            let Some(lns) = lns else { continue };
            while let Some(command) = lns.poll_command() {
                if let Command::SessionRemove(key) = command {
                    lns.handle_session_ended(self.now, key, SessionCounters::default());
                }
            }
            while lns.poll_peer_change().is_some() {}
            if let Some(Transmit { peer, payload, .. }) = lns.poll_transmit() {
                self.dialler.handle_datagram(self.now, peer, *answers_from, &payload);
                return true;
            }
        }
        false
    }

    /// Lets so much time pass.
    fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.exchange();
        loop {
            let servers = self.servers.iter().filter_map(|server| server.lns.as_ref());
            let next =
                servers.filter_map(Lns::poll_timeout).chain(self.dialler.poll_timeout()).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            self.dialler.handle_timeout(self.now);
            for lns in self.servers.iter_mut().filter_map(|server| server.lns.as_mut()) {
                lns.handle_timeout(self.now);
            }
            self.exchange();
            self.dialler.audit().unwrap();
        }
        self.now = end;
    }

    fn seconds(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds));
    }

    fn row(&self, index: usize) -> ClientRow {
        self.dialler.client_rows(self.now, index as u64, 1).0.remove(0)
    }

    #[track_caller]
    fn assert_state(&self, state: &str) -> ClientRow {
        let row = self.row(0);
        assert_eq!(row.state, state, "{row:?}");
        row
    }

    /// The sessions that the data plane has of the dialler.
    fn sessions(&self) -> Vec<api::Session> {
        let mut sessions: Vec<api::Session> = Vec::new();
        for command in &self.commands {
            match command {
                Command::SessionSet(session) => {
                    sessions.retain(|other| other.key != session.key);
                    // What the data plane would refuse.
                    for prefix in &session.prefixes {
                        let taken = sessions.iter().any(|other| other.prefixes.contains(prefix));
                        assert!(!taken, "{prefix} is taken");
                    }
                    sessions.push((**session).clone());
                }
                Command::SessionRemove(key) => sessions.retain(|session| session.key != *key),
                _ => {}
            }
        }
        sessions
    }
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

#[test]
fn a_client_comes_up_and_stays_up() {
    let mut world = World::new(&to_first("")).with_server(FIRST, "10.0.2.72", "");
    world.seconds(2);
    let row = world.assert_state("up");
    assert_eq!(row.server, Some(FIRST.parse().unwrap()));
    assert_eq!(row.peer_address, Some(Ipv4Addr::new(10, 0, 2, 72)));
    assert!(net("10.9.0.0/24").contains(&std::net::IpAddr::V4(row.address.unwrap())));
    assert_eq!(row.dns, ["9.9.9.9".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(row.routes, [net("0.0.0.0/0"), net("10.0.2.72/32")]);
    assert_eq!((row.redials, row.last_error.as_str()), (0, ""));

    let sessions = world.sessions();
    assert_eq!(sessions.len(), 1);
    assert!(!sessions[0].source_check);
    assert_eq!(sessions[0].prefixes, row.routes);
    assert_eq!(sessions[0].gateway, row.address);
    let source = std::net::IpAddr::V4(row.address.unwrap());
    assert_eq!(world.uplinks.addresses, [source].into());
    let routes = [(net("0.0.0.0/0"), source), (net("10.0.2.72/32"), source)];
    assert_eq!(world.uplinks.routes, routes.into());
    let ends = ("192.0.2.100".parse().unwrap(), "203.0.113.1".parse().unwrap());
    assert_eq!(world.uplinks.tunnels, [ends].into());

    world.seconds(3600);
    assert_eq!(world.assert_state("up").up_seconds.map(|s| s >= 3600), Some(true));
    assert_eq!(world.asked.len(), 1);
}

#[test]
fn the_end_takes_everything_back() {
    let mut world = World::new(&to_first("")).with_server(FIRST, "10.0.0.1", "");
    world.seconds(2);
    let now = world.now;
    world.dialler.shut_down(now);
    world.exchange();
    assert_eq!(world.assert_state("idle").tunnel_id, 0);
    assert_eq!((world.sessions().len(), &world.uplinks), (0, &Uplinks::default()));
    world.seconds(60);
    assert_eq!(world.asked.len(), 1, "nobody dials any more");
    let census = world.dialler.audit().unwrap();
    assert_eq!((census.tunnels, census.calls, census.timers), (0, 0, 0));
    let of_server = world.server_lns(FIRST).audit().unwrap();
    assert_eq!((of_server.calls, of_server.addresses), (0, 0));
}

#[test]
fn a_silent_server_is_tried_again_and_again_less_and_less_often() {
    let mut world = World::new(&to_first("redial_max_seconds = 20\n"));
    world.seconds(400);
    let row = world.row(0);
    assert!(row.last_error.contains("peer does not answer"), "{}", row.last_error);
    // Retransmissions of one SCCRQ carry its time: the first of each is what was asked anew.
    let mut starts: Vec<Time> = Vec::new();
    for (at, _) in &world.asked {
        if starts.last().is_none_or(|last| at.since(*last) > Duration::from_secs(31)) {
            starts.push(*at);
        }
    }
    let gaps: Vec<u64> = starts.windows(2).map(|two| two[1].since(two[0]).as_secs()).collect();
    // 31 s until it is given up, then 0.5 to 1 s, 1 to 2, 2 to 4, ... 10 to 20.
    assert!(gaps.first() <= Some(&32) && gaps.len() >= 6, "{gaps:?}");
    assert!(gaps.iter().all(|gap| *gap <= 52) && gaps.last() >= Some(&41), "{gaps:?}");
    let census = world.dialler.audit().unwrap();
    assert!(census.tunnels <= 1, "{census:?}");
}

#[test]
fn a_refusal_is_told_and_backed_off_from() {
    let no_profile = "[[lac]]\nname = \"others\"\npeers = [\"198.51.100.0/24\"]\n";
    let mut world = World::new(&to_first("")).with_server(FIRST, "10.0.0.1", no_profile);
    world.seconds(300);
    let row = world.row(0);
    assert!(row.last_error.contains("no LAC profile matches"), "{}", row.last_error);
    // 1 + 2 + 4 + 8 + 16 + 32 + 60 + 60 + 60 s at the most, half of that at the least.
    assert!((8..=16).contains(&world.asked.len()), "{}", world.asked.len());
    assert!(row.redial_seconds.is_some_and(|seconds| seconds <= 60), "{row:?}");
}

#[test]
fn a_wrong_secret_is_told_by_either_side() {
    let lac = "[[lac]]\nname = \"l\"\nsecret = \"right\"\nchallenge = ";
    for (challenged, expected) in
        [("true", "not authorized"), ("false", "does not know the secret")]
    {
        let client =
            to_first(&format!("secret = \"wrong\"\nchallenge = {}\n", challenged == "false"));
        let mut world =
            World::new(&client).with_server(FIRST, "10.0.0.1", &format!("{lac}{challenged}\n"));
        world.seconds(3);
        let row = world.row(0);
        assert!(row.last_error.to_lowercase().contains(expected), "{}", row.last_error);
        assert_eq!(row.up_seconds, None);
    }
    let mut world = World::new(&to_first("secret = \"right\"\nhidden_avps = \"all\"\n"))
        .with_server(FIRST, "10.0.0.1", &format!("{lac}true\nhidden_avps = \"all\"\n"));
    world.seconds(3);
    world.assert_state("up");
    // Nobody there: it may be the secret, where that is needed to answer.
    for (hidden, told) in [("never", false), ("all", true)] {
        let text = format!("secret = \"wrong\"\nhidden_avps = \"{hidden}\"\n");
        let client = to_first(&(text + "setup_seconds_max = 5\n"));
        let mut world = World::new(&client);
        world.seconds(90);
        let error = world.row(0).last_error;
        assert_eq!(error.contains("with another secret"), told, "{error}");
        assert!(error.contains(" s"), "{error}");
    }
}

#[test]
fn a_wrong_password_is_told_and_backed_off_from() {
    let wrong = to_first("").replace("wonder", "wander");
    let mut world = World::new(&wrong).with_server(FIRST, "10.0.0.1", "");
    world.seconds(120);
    let row = world.row(0);
    assert_eq!(row.last_error, "refused by the peer: authentication failed");
    assert!((4..=14).contains(&world.asked.len()), "{}", world.asked.len());
    assert_eq!(world.server_lns(FIRST).audit().unwrap().calls, 0);
}

#[test]
fn each_method_of_authentication_serves() {
    for method in ["chap-md5", "ms-chap-v2", "pap"] {
        let client = to_first(&format!("authentication = [\"{method}\"]\n"));
        let mut world = World::new(&client).with_server(FIRST, "10.0.0.1", "");
        world.seconds(5);
        world.assert_state("up");
        let now = world.now;
        let filter = crate::admin::SessionFilter::default();
        let (rows, _) = world.server_lns(FIRST).session_rows(now, &filter, 0, 9);
        assert_eq!(rows[0].authentication, method);
    }
}

#[test]
fn another_server_is_dialled_at_once_where_one_fails() {
    let both = client("up", &["203.0.113.1", "203.0.113.2"], "hello_interval_seconds = 5\n");
    let mut world =
        World::new(&both).with_server(FIRST, "10.0.0.1", "").with_server(SECOND, "10.0.0.1", "");
    world.seconds(2);
    let used = world.assert_state("up").server.unwrap();
    // It dies. A HELLO every 5 s, 31 s of retransmissions.
    world.server(&used.to_string()).lns = None;
    world.seconds(40);
    let row = world.assert_state("up");
    let other = if used == FIRST.parse().unwrap() { SECOND } else { FIRST };
    assert_eq!(row.server, Some(other.parse().unwrap()));
    assert_eq!(row.redials, 1);
    assert_eq!(world.sessions().len(), 1);
    let (asked_at, _) = *world.asked.last().unwrap();
    assert!(world.now.since(asked_at) < Duration::from_secs(6), "no pause in between");
}

#[test]
fn a_server_that_starts_anew_is_dialled_again() {
    let mut world =
        World::new(&to_first("hello_interval_seconds = 5\n")).with_server(FIRST, "10.0.0.1", "");
    world.seconds(2);
    // It shuts down in order: StopCCN.
    let now = world.now;
    world.server_lns(FIRST).shut_down(now);
    world.exchange();
    let row = world.assert_state("backoff");
    assert!(row.last_error.contains("shutting down"), "{}", row.last_error);
    assert_eq!(world.uplinks, Uplinks::default());
    world.server(FIRST).lns = Some(lns(&server_config("10.0.0.1", ""), 77));
    world.seconds(2);
    assert_eq!(world.assert_state("up").redials, 1);
    // It crashes: nothing is said.
    world.server(FIRST).lns = Some(lns(&server_config("10.0.0.1", ""), 78));
    world.seconds(45);
    assert_eq!(world.assert_state("up").redials, 2);
}

#[test]
fn an_answer_from_another_port_is_followed() {
    let mut world = World::new(&to_first("")).with_server(FIRST, "10.0.0.1", "");
    world.server(FIRST).answers_from = "203.0.113.1:40000".parse().unwrap();
    world.seconds(2);
    world.assert_state("up");
    assert_eq!(world.sessions()[0].peer, "203.0.113.1:40000".parse().unwrap());
    // From another address it is nobody's.
    let mut world = World::new(&to_first("")).with_server(FIRST, "10.0.0.1", "");
    world.server(FIRST).answers_from = "203.0.113.9:1701".parse().unwrap();
    world.seconds(2);
    world.assert_state("connecting");
}

#[test]
fn a_stop_without_a_tunnel_id_is_a_refusal() {
    // As xl2tpd answers hidden AVPs (docs/peers.md row 38).
    let mut world = World::new(&to_first(""));
    world.seconds(1);
    world.assert_state("connecting");
    let refusal = |address: &str, world: &mut World| {
        let result = ResultCode::tunnel(TunnelResult::Error, None, "cannot read it");
        let stop = Message::StopCcn(Box::new(crate::l2tp::message::StopCcn {
            assigned_tunnel_id: Some(TunnelId(9)),
            result,
        }));
        let mut payload = Vec::new();
        stop.emit(&mut payload, TunnelId(0), SessionId(0), Default::default(), None);
        let (now, peer) = (world.now, address.parse().unwrap());
        world.dialler.handle_datagram(now, OURS.parse().unwrap(), peer, &payload);
    };
    refusal("203.0.113.77:1701", &mut world);
    world.assert_state("connecting");
    refusal(FIRST, &mut world);
    assert!(world.assert_state("backoff").last_error.contains("cannot read it"));
}

/// Somebody at this address asks the dialler for a tunnel.
fn ask_the_dialler(world: &mut World, from: &str, tie_breaker: Option<[u8; 8]>) {
    let sccrq = Message::Sccrq(Box::new(Sccrq {
        protocol_version: crate::l2tp::message::PROTOCOL_VERSION,
        framing_capabilities: 3,
        host_name: b"lac".to_vec(),
        assigned_tunnel_id: TunnelId(77),
        tie_breaker,
        ..Sccrq::default()
    }));
    let mut payload = Vec::new();
    sccrq.emit(&mut payload, TunnelId(0), SessionId(0), Default::default(), None);
    let (now, peer) = (world.now, from.parse().unwrap());
    world.dialler.handle_datagram(now, OURS.parse().unwrap(), peer, &payload);
}

#[test]
fn requests_for_tunnels_that_cross() {
    let (low, high) = (Some([0; 8]), Some([0xff; 8]));
    for (ours, peers, state, tunnels) in [
        // Nobody minds: both stay.
        (false, None, "connecting", 2),
        (false, high, "backoff", 1),
        (true, None, "connecting", 1),
        (true, high, "connecting", 1),
        (true, low, "backoff", 1),
    ] {
        let mut world = World::new(&to_first(&format!("tie_breaker = {ours}\n")));
        world.seconds(1);
        world.assert_state("connecting");
        // Another peer's request crosses nothing.
        ask_the_dialler(&mut world, "198.51.100.7:1701", low);
        world.assert_state("connecting");
        assert_eq!(world.dialler.audit().unwrap().tunnels, 2);
        // From any port: the server's LAC may be another process.
        ask_the_dialler(&mut world, "203.0.113.1:40000", peers);
        world.assert_state(state);
        let case = (ours, peers);
        assert_eq!(world.dialler.audit().unwrap().tunnels, 1 + tunnels, "{case:?}");
        let crossed = world.dialler.counters.value(LnsCounter::SetupCrossed);
        assert_eq!(crossed, u64::from(ours || peers.is_some()), "{case:?}");
        if state == "backoff" {
            world.seconds(2);
            assert_eq!(world.row(0).redials, 1, "{case:?}");
        }
    }
}

#[test]
fn a_tunnel_that_is_up_crosses_nothing() {
    let mut world =
        World::new(&to_first("tie_breaker = true\n")).with_server(FIRST, "10.0.0.1", "");
    world.seconds(2);
    ask_the_dialler(&mut world, FIRST, Some([0; 8]));
    world.assert_state("up");
    assert_eq!(world.dialler.audit().unwrap().tunnels, 2);
}

#[test]
fn who_may_not_dial_us_does_not_end_what_we_dial() {
    let others = "[[lac]]\nname = \"others\"\npeers = [\"198.51.100.0/24\"]\n";
    let mut world = World::new(&format!("{others}{}", to_first("")));
    world.seconds(1);
    ask_the_dialler(&mut world, FIRST, Some([0; 8]));
    world.assert_state("connecting");
}

#[test]
fn a_set_up_that_hangs_is_given_up() {
    // The tunnel comes up, the call is never answered: the server leaves it to itself.
    let both =
        client("up", &["203.0.113.1"], "accept_outgoing_calls = false\nsetup_seconds_max = 5\n");
    let mut world = World::new(&both).with_server(FIRST, "10.0.0.1", "");
    world.dialler.handle_timeout(world.now);
    // The SCCRQ reaches it and the SCCRP comes back; then the wire is cut.
    let sccrq = world.dialler.poll_transmit().unwrap();
    world.carry(&sccrq);
    assert!(world.carry_back());
    world.server(FIRST).lns = None;
    world.seconds(4);
    world.assert_state("calling");
    world.seconds(2);
    let row = world.row(0);
    assert_eq!(row.last_error, "calling for 5 s");
}

#[test]
fn what_an_operator_ends_is_told_to_the_client_at_once() {
    let mut world = World::new(&to_first("")).with_server(FIRST, "10.0.0.1", "");
    for round in 1..=2 {
        world.seconds(2);
        let row = world.assert_state("up");
        let (now, dialler) = (world.now, &mut world.dialler);
        let ended = if round == 1 {
            dialler.clear_tunnels(now, &TunnelSelector::Id(row.tunnel_id))
        } else {
            let (tunnel_id, session_id) = (row.tunnel_id, row.session_id);
            dialler.clear_sessions(now, &SessionSelector::Id { tunnel_id, session_id })
        };
        assert_eq!(ended, 1);
        // Nothing is left to a next datagram or timer.
        assert!(dialler.client_events.is_empty());
        world.exchange();
        assert_eq!(world.assert_state("backoff").redials, round - 1);
        assert_eq!(world.uplinks, Uplinks::default());
    }
}

#[test]
fn a_session_that_is_not_to_persist_is_dialled_once() {
    let once = to_first("persistent = false\n");
    let mut world = World::new(&once).with_server(FIRST, "10.0.0.1", "");
    world.seconds(2);
    world.assert_state("up");
    let now = world.now;
    world.server_lns(FIRST).shut_down(now);
    world.exchange();
    world.assert_state("idle");
    world.seconds(600);
    assert_eq!(world.asked.len(), 1);
    world.server(FIRST).lns = Some(lns(&server_config("10.0.0.1", ""), 77));
    let now = world.now;
    assert!(world.dialler.clear_client(now, "up"));
    assert!(!world.dialler.clear_client(now, "down"));
    world.seconds(2);
    world.assert_state("up");
    // Every server is tried once before it rests.
    let both = client("up", &["203.0.113.1", "203.0.113.2"], "persistent = false\n");
    let mut world = World::new(&both);
    world.seconds(600);
    let servers: std::collections::BTreeSet<_> = world.asked.iter().map(|(_, to)| to).collect();
    assert_eq!(servers.len(), 2);
    assert_eq!(world.assert_state("idle").redials, 1);
}

#[test]
fn an_unused_session_is_ended() {
    let once = to_first("persistent = false\nidle_seconds = 60\n");
    let mut world = World::new(&once).with_server(FIRST, "10.0.0.1", "");
    world.seconds(2);
    let mut packets = 0;
    for turn in 0..20 {
        world.seconds(10);
        for key in world.dialler.poll_life_question() {
            if turn < 10 {
                packets += 1;
            }
            let counted = SessionCounters { upstream_packets: packets, ..Default::default() };
            let now = world.now;
            world.dialler.handle_counters(now, &[(key, counted)]);
            world.exchange();
        }
        if turn < 12 {
            world.assert_state("up");
        }
    }
    let row = world.assert_state("idle");
    assert_eq!(row.last_error, "no packet for 60 s");
}

/// It could claim one of somebody else's otherwise, and be sent what is for that one.
#[test]
fn the_address_of_a_server_leads_to_it_only_where_that_is_allowed() {
    for (gateway, leads) in [("10.0.2.255", true), ("10.0.3.0", false), ("9.9.9.9", false)] {
        let mut world = World::new(&to_first("")).with_server(FIRST, gateway, "");
        world.seconds(2);
        let row = world.assert_state("up");
        assert_eq!(row.peer_address, gateway.parse().ok());
        let own = net(&format!("{gateway}/32"));
        assert_eq!(row.routes.contains(&own), leads, "{gateway}");
        assert_eq!(world.uplinks.routes.contains_key(&own), leads);
        assert_eq!(world.sessions()[0].prefixes, row.routes);
    }
    let by_default = to_first("").replace("peer_addresses", "#");
    let mut world = World::new(&by_default).with_server(FIRST, "10.0.2.72", "");
    world.seconds(2);
    assert_eq!(world.assert_state("up").routes, [net("0.0.0.0/0")]);
}

/// A server that lets it in and throws it out again.
#[test]
fn lines_in_the_log_are_bounded() {
    let mut world = World::new(&to_first(""));
    let now = world.now;
    let client = &mut world.dialler.clients[0];
    let told = |client: &mut Client, now| (0..100).filter(|_| client.is_told(now)).count();
    assert_eq!(told(client, now), 20);
    assert_eq!(told(client, now + Duration::from_secs(9)), 0);
    assert_eq!(told(client, now + Duration::from_secs(60)), 6);
    assert_eq!(told(client, now + Duration::from_secs(3600)), 20);
}

#[test]
fn the_lowest_metric_has_the_destination_while_it_is_up() {
    let slow = client("slow", &["203.0.113.1"], "metric = 20\n");
    let fast = client("fast", &["203.0.113.2"], "metric = 10\n");
    let mut world = World::new(&format!("{slow}{fast}"))
        .with_server(FIRST, "10.0.2.72", "")
        .with_server(SECOND, "10.0.2.72", "");
    world.seconds(3);
    let (slow, fast) = (world.row(0), world.row(1));
    assert_eq!((slow.state.as_str(), fast.state.as_str()), ("up", "up"));
    // Both have the same peer address, too.
    assert_eq!(slow.routes, []);
    assert_eq!(fast.routes, [net("0.0.0.0/0"), net("10.0.2.72/32")]);
    assert_eq!(world.sessions().len(), 2);
    let now = world.now;
    world.server_lns(SECOND).shut_down(now);
    world.exchange();
    assert_eq!(world.row(0).routes, [net("0.0.0.0/0"), net("10.0.2.72/32")]);
    assert_eq!(world.uplinks.routes.len(), 2);
    world.server(SECOND).lns = Some(lns(&server_config("10.0.2.72", ""), 77));
    world.seconds(3);
    assert_eq!(world.row(0).routes, []);
    assert_eq!(world.row(1).routes.len(), 2);
    world.sessions();
}

#[test]
fn an_address_out_of_our_own_pool_is_not_taken() {
    let pool = "[[pool]]\nname = \"ours\"\nprefixes = [\"10.9.0.0/16\"]\n";
    let mut world =
        World::new(&format!("{pool}{}", to_first(""))).with_server(FIRST, "10.0.0.1", "");
    world.seconds(3);
    let row = world.row(0);
    assert!(row.last_error.contains("an address of our own pool 10.9.0.0/16"), "{row:?}");
    assert_eq!(world.uplinks, Uplinks::default());
}

#[test]
fn strangers_do_not_keep_a_client_from_dialling() {
    let few = "[l2tp]\ntunnels_max = 3\n";
    let mut world =
        World::new(&format!("{few}{}", to_first(""))).with_server(FIRST, "10.0.0.1", "");
    for last in 1..=9 {
        let sccrq = Message::Sccrq(Box::new(Sccrq {
            protocol_version: 0x0100,
            framing_capabilities: 3,
            host_name: b"lac".to_vec(),
            assigned_tunnel_id: TunnelId(7),
            ..Sccrq::default()
        }));
        let mut octets = Vec::new();
        let numbers = Default::default();
        sccrq.emit(&mut octets, TunnelId(0), SessionId(0), numbers, None);
        let stranger = SocketAddr::from(([198, 51, 100, last], 1701));
        world.dialler.handle_datagram(world.now, OURS.parse().unwrap(), stranger, &octets);
    }
    while world.dialler.poll_transmit().is_some() {}
    assert_eq!(world.dialler.tunnels.len(), 3);
    world.seconds(2);
    world.assert_state("up");
}

/// The host would take it for its own, and the peer would be cut off.
#[test]
fn the_address_of_a_peer_is_not_taken() {
    let lac = "[[lac]]\nname = \"l\"\npeers = [\"198.51.100.7/32\"]\n";
    let only = "[[user]]\nname = \"only\"\npassword = \"p\"\naddress = \"198.51.100.7\"\n";
    for (lac, is_taken) in [("", true), (lac, false)] {
        let dialler = to_first("").replace("alice", "only").replace("wonder", "p");
        let mut world =
            World::new(&format!("{lac}{dialler}")).with_server(FIRST, "10.0.2.72", only);
        world.seconds(3);
        let row = world.row(0);
        assert_eq!(!row.last_error.contains("the address of a peer"), is_taken, "{row:?}");
        assert_eq!(!world.uplinks.addresses.is_empty(), is_taken);
    }
}

#[test]
fn an_ipv6_address_out_of_our_own_pool_is_not_taken() {
    let pool = "[[pool]]\nname = \"ours\"\nipv6_prefixes = [\"2001:db8:9::/48\"]\n";
    let mut world = World::new(&format!("{pool}{}", to_first("ipv6 = true\n")))
        .with_server(FIRST, "10.0.0.1", "");
    world.seconds(2);
    let row = world.row(0);
    assert!(row.last_error.contains("an address of our own pool 2001:db8:9::/48"), "{row:?}");
    assert!(world.uplinks.addresses.is_empty());
}

#[test]
fn ipv6_has_an_address_and_a_delegated_prefix() {
    let mut world = World::new(&to_first("ipv6 = true\n")).with_server(FIRST, "10.0.0.1", "");
    world.seconds(5);
    let row = world.assert_state("up");
    assert!(row.link_local.is_some() && row.peer_link_local.is_some(), "{row:?}");
    let address = row.address6.unwrap();
    assert!(net("2001:db8:9::/48").contains(&std::net::IpAddr::V6(address)), "{address}");
    let delegated = row.delegated.unwrap();
    assert!(net("2001:db8:d000::/36").contains(&IpNet::V6(delegated)), "{delegated}");
    assert!(row.routes.contains(&net("::/0")));
    assert!(world.uplinks.addresses.contains(&std::net::IpAddr::V6(address)));
    assert_eq!(world.uplinks.routes.get(&net("::/0")), Some(&address.into()));
    // Without IPv4 as well.
    let only6 = to_first("ipv6 = true\nipv4 = false\n");
    let mut world = World::new(&only6).with_server(FIRST, "10.0.0.1", "");
    world.seconds(5);
    let row = world.assert_state("up");
    assert_eq!((row.address, row.routes.as_slice()), (None, &[net("::/0")][..]));
    let now = world.now;
    assert!(world.dialler.clear_client(now, "up"));
    world.seconds(5);
    world.assert_state("up");
}

#[test]
fn a_session_that_the_data_plane_refuses_is_dialled_again() {
    let mut world = World::new(&to_first("")).with_server(FIRST, "10.0.0.1", "");
    world.seconds(2);
    let session = world.sessions().remove(0);
    let error = api::CommandError::Invalid("10.0.0.1/32 belongs to session 7 of tunnel 8".into());
    let command = Command::SessionSet(Box::new(session));
    let now = world.now;
    world.dialler.handle_refused(now, &command, &error);
    world.exchange();
    assert!(world.assert_state("backoff").last_error.contains("data plane"));
    world.seconds(2);
    world.assert_state("up");
}

#[test]
fn an_outgoing_call_of_the_server_is_taken_where_that_is_wanted() {
    let mut world =
        World::new(&to_first("accept_outgoing_calls = true\n")).with_server(FIRST, "10.0.0.1", "");
    world.seconds(70);
    // It waits for as long as the tunnel lives.
    world.assert_state("calling");
    place_outgoing_call(&mut world);
    let row = world.assert_state("up");
    assert!(row.address.is_some(), "{row:?}");

    let mut world = World::new(&to_first("")).with_server(FIRST, "10.0.0.1", "");
    world.seconds(2);
    let before = world.assert_state("up").session_id;
    place_outgoing_call(&mut world);
    assert_eq!(world.assert_state("up").session_id, before, "refused, and nothing else");
}

/// As an operator of the server has it.
fn place_outgoing_call(world: &mut World) {
    let now = world.now;
    let lns = world.server_lns(FIRST);
    let id = *lns.tunnels.keys().next().unwrap();
    let request = tunnel::OutgoingRequest::default();
    let entry = lns.tunnels.get_mut(&id).unwrap();
    if let Ok(session) = entry.tunnel.place_outgoing_call(now, request) {
        let index = lns.calls.insert(Call::new(id, session, None, now));
        let entry = lns.tunnels.get_mut(&id).unwrap();
        entry.calls.insert(session, index);
        lns.profiles[0].sessions += 1;
    }
    lns.drive_tunnel(now, id);
    world.seconds(3);
}

#[test]
fn a_peer_that_dials_us_is_no_client() {
    // The dialler is an LNS as well: the same socket, one space of Tunnel IDs.
    let users = "[[pool]]\nname = \"p\"\nprefixes = [\"10.7.0.0/24\"]\n\
                 [[user]]\nname = \"bob\"\npassword = \"builder\"\n";
    let mut world =
        World::new(&format!("{users}{}", to_first(""))).with_server(FIRST, "10.0.0.1", "");
    world.seconds(2);
    ask_the_dialler(&mut world, "198.51.100.7:1701", None);
    let census = world.dialler.audit().unwrap();
    assert_eq!(census.tunnels, 2);
    world.assert_state("up");
}
