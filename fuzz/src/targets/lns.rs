//! The root machine: datagrams of several peers, subscribers behind them, the data plane's answers, the
//! operator's wishes and time, in any order. Its tables agree after every step, and when everybody
//! falls silent nothing is left.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use xlns_control::admin::{CounterRow, PlaceCall, SessionFilter, SessionSelector, TunnelSelector};
use xlns_control::config::Config;
use xlns_control::l2tp::message::Message;
use xlns_control::l2tp::{SessionId, TunnelId, header};
use xlns_control::lns::{Census, Lns};
use xlns_control::ppp::frame::{self, Frame, Packet};
use xlns_control::time::Time;
use xlns_dataplane::api::{Command, CommandError, SessionKey};
use xlns_dataplane::counters::SessionCounters;

use super::ipv6::{HOST, ROUTER, packet as ipv6_packet};
use super::messages::{Peer, SECRET, checked};
use super::subscriber;
use crate::script::Script;

/// One profile for each peer, with as many differences as there can be, and limits that inputs reach.
const CONFIG: &str = include_str!("lns.toml");

static CONFIGURATION: LazyLock<Arc<Config>> =
    LazyLock::new(|| Arc::new(Config::parse("lns.toml", CONFIG).expect("a configuration")));

/// Peers, in the order of the profiles: the last two are of one.
const PEERS: [&str; 4] =
    ["198.51.100.1:1701", "198.51.100.2:1701", "198.51.100.3:1701", "198.51.100.3:4000"];

/// Which of them has a secret.
const WITH_SECRET: usize = 1;

const LOCAL: &str = "192.0.2.1:1701";

/// Datagrams that one datagram makes us send: the largest window, and an answer for each message that
/// waited in it.
const BURST_MAX: usize = 200;

/// Octets sent for each received, retransmissions not counted, and what a tunnel may have besides:
/// forged requests must not make of us an amplifier.
const AMPLIFICATION_MAX: usize = 8;
const AMPLIFICATION_FREE: usize = 16_384;

/// After so long a silence everything is gone: a link's set-up, HELLO and its retransmissions.
const SILENCE: Duration = Duration::from_secs(900);

/// Timers that run out meanwhile.
const TIMEOUTS_MAX: usize = 20_000;

/// Frames of a session that are kept for an answer, and turns of a conversation.
const FRAMES_MAX: usize = 8;
const ROUNDS_MAX: usize = 12;

struct World {
    lns: Lns,
    now: Time,
    peers: Vec<(SocketAddr, Peer)>,
    /// What the data plane was told and did not answer.
    removed: Vec<SessionKey>,
    sets: Vec<Command>,
    connected: bool,
    /// The last frames that came in each session, by peer and our Session ID.
    frames: BTreeMap<(usize, SessionId), Vec<Vec<u8>>>,
    set_ups: u8,
    received: usize,
    sent: usize,
}

/// The input is a script.
pub fn run(input: &[u8]) {
    run_counted(input);
}

/// Runs an input, and returns what the machine counted.
fn run_counted(input: &[u8]) -> Vec<CounterRow> {
    let mut script = Script::new(input);
    let mut world = World::new();
    world.set_up(0);
    while !script.is_over() {
        world.step(&mut script);
        world.audit();
    }
    world.fall_silent();
    world.lns.counter_rows()
}

impl World {
    fn new() -> Self {
        let mut lns = Lns::new(Arc::clone(&CONFIGURATION), [7; 32]).expect("pools");
        lns.handle_dataplane_ready();
        let peer = |(number, address): (usize, &&str)| {
            let own = TunnelId(70 + number as u16);
            (address.parse().expect("an address"), Peer::new(own))
        };
        Self {
            lns,
            now: Time::ZERO + Duration::from_secs(1000),
            peers: PEERS.iter().enumerate().map(peer).collect(),
            removed: Vec::new(),
            sets: Vec::new(),
            connected: true,
            frames: BTreeMap::new(),
            set_ups: 0,
            received: 0,
            sent: 0,
        }
    }

    /// A tunnel, and a call in it whose PPP has begun; the peer has forgotten any other.
    fn set_up(&mut self, of: usize) {
        self.set_ups = self.set_ups.wrapping_add(1);
        self.peers[of].1 = Peer::new(self.peers[of].1.own);
        // An SCCRQ unlike the last one, SCCCN, ICRQ of session 6, ICCN.
        let window = 8 + self.set_ups % 8;
        let sccrq = [0, 1, 0, 0, 3, 3, b'l', b'a', b'c', window, 0, 0];
        for step in [&sccrq[..], &[0, 3, 0], &[0, 10, 5], &[0, 12, 5]] {
            let datagram = self.peers[of].1.datagram(&mut Script::new(step));
            self.datagram(of, &datagram);
        }
    }

    fn step(&mut self, script: &mut Script<'_>) {
        let what = script.octet();
        let of = usize::from(what >> 6);
        match what & 0x0f {
            0 => self.datagram(of, script.piece()),
            1..=3 => {
                let datagram = self.peers[of].1.datagram(script);
                self.datagram(of, &datagram);
            }
            4 => {
                let datagram = self.peers[of].1.acknowledgement();
                self.datagram(of, &datagram);
            }
            5 => self.set_up(of),
            6 => {
                let session = self.peers[of].1.session(script);
                self.frame(of, session, script.piece());
            }
            7 => self.turn_round(of, script),
            // What belongs to one peer comes from another one.
            8 => {
                let mut octets = self.peers[of].1.acknowledgement();
                match script.octet() % 4 {
                    0 => octets = self.peers[of].1.datagram(script),
                    1 => {
                        let session = self.peers[of].1.session(script);
                        octets.clear();
                        header::emit_data(
                            &mut octets,
                            self.peers[of].1.tunnel,
                            session,
                            None,
                            true,
                        );
                        octets.extend_from_slice(script.piece());
                    }
                    _ => {}
                }
                self.datagram((of + 1) % PEERS.len(), &octets);
            }
            9 => self.dial(of, script),
            10 => {
                let session = self.peers[of].1.session(script);
                let packet = ipv6_packet(script, HOST, ROUTER);
                let framed = [&[0xff, 3, 0x00, 0x57][..], &packet].concat();
                self.frame(of, session, &framed);
            }
            11 => self.wait(script.time()),
            12 | 13 => self.data_plane(script),
            _ => self.operator(script),
        }
        self.drain(of);
    }

    fn datagram(&mut self, of: usize, octets: &[u8]) {
        let peer = self.peers[of].0;
        self.received += octets.len();
        self.lns.handle_datagram(self.now, LOCAL.parse().expect("an address"), peer, octets);
        self.drain(of);
        let most = self.received * AMPLIFICATION_MAX + AMPLIFICATION_FREE;
        assert!(self.sent <= most, "{} octets sent for {}", self.sent, self.received);
    }

    fn frame(&mut self, of: usize, session: SessionId, frame: &[u8]) {
        let mut octets = Vec::new();
        header::emit_data(&mut octets, self.peers[of].1.tunnel, session, None, false);
        octets.extend_from_slice(frame);
        self.datagram(of, &octets);
    }

    /// The last frame of a session comes back with another code, or with other data.
    fn turn_round(&mut self, of: usize, script: &mut Script<'_>) {
        let session = self.peers[of].1.session(script);
        let last = self.frames.get(&(of, session)).and_then(|frames| frames.last());
        let Some(last) = last.cloned() else { return };
        let Ok(last) = Frame::parse(&last) else { return };
        let Ok(packet) = Packet::parse(last.information) else { return };
        let (code, data) = (script.octet() % 16, script.piece());
        let data = if data.is_empty() { packet.data } else { data };
        let answer = frame::emit(last.protocol, true, code, packet.identifier, &[data]);
        self.frame(of, session, &answer);
    }

    /// A subscriber's PPP goes well, until there is nothing to be answered.
    fn dial(&mut self, of: usize, script: &mut Script<'_>) {
        let session = self.peers[of].1.session(script);
        let user = script.choice(&[&b"alice"[..], b"bob", b"carol", b"nobody"]);
        self.frame(of, session, &subscriber::first());
        for _ in 0..ROUNDS_MAX {
            for frame in self.frames.remove(&(of, session)).unwrap_or_default() {
                for answer in subscriber::answers(&frame, user) {
                    self.frame(of, session, &answer);
                }
            }
        }
    }

    fn data_plane(&mut self, script: &mut Script<'_>) {
        match script.octet() % 8 {
            0 => {
                self.connected = false;
                self.lns.handle_dataplane_away(self.now);
                self.removed.clear();
                self.sets.clear();
            }
            1 => self.connect(),
            2 => self.refuse_one(),
            3 => {
                let address = Ipv4Addr::new(10, 0, 0, script.octet() % 16);
                self.lns.handle_dhcp(self.now, address, script.piece());
            }
            4 => {
                let key =
                    SessionKey { local_tunnel_id: script.word(), local_session_id: script.word() };
                self.lns.handle_session_ended(self.now, key, SessionCounters::default());
            }
            _ => self.end_removed(),
        }
    }

    /// The data plane comes back and is filled anew.
    fn connect(&mut self) {
        self.connected = true;
        self.lns.handle_dataplane_ready();
        let mut cursor = Some(0);
        while let Some(from) = cursor {
            cursor = self.lns.resync_page(from, 3, |_| {});
        }
        self.removed.clear();
        self.sets.clear();
        self.lns.handle_synchronised(self.now);
    }

    fn refuse_one(&mut self) {
        let Some(command) = self.sets.pop() else { return };
        let (table, key) = ("session".into(), "l2tp.sessions_max".into());
        self.lns.handle_refused(self.now, &command, &CommandError::Full { table, key });
    }

    fn end_removed(&mut self) {
        for key in std::mem::take(&mut self.removed) {
            self.lns.handle_session_ended(self.now, key, SessionCounters::default());
        }
    }

    fn operator(&mut self, script: &mut Script<'_>) {
        let number = script.octet();
        let (tunnels, _) = self.lns.tunnel_rows(self.now, 0, 100);
        let (sessions, _) = self.lns.session_rows(self.now, &SessionFilter::default(), 0, 100);
        let tunnel = tunnels.get(usize::from(number >> 3)).map_or(0, |row| row.tunnel_id);
        match number & 7 {
            0 => {
                let call = PlaceCall {
                    tunnel_id: Some(tunnel),
                    peer: None,
                    called_number: String::from_utf8_lossy(script.piece()).into_owned(),
                    user: script.flag().then(|| "alice".into()),
                };
                // Refusals are answers.
                let _ = self.lns.place_outgoing_call(self.now, &call);
                while self.lns.poll_call_outcome().is_some() {}
            }
            1 => drop(self.lns.clear_tunnels(self.now, &TunnelSelector::Id(tunnel))),
            2 if number == 0xfa => self.lns.shut_down(self.now),
            3 => {
                let Some(row) = sessions.get(usize::from(number >> 3)) else { return };
                let which =
                    SessionSelector::Id { tunnel_id: row.tunnel_id, session_id: row.session_id };
                self.lns.clear_sessions(self.now, &which);
            }
            4 => drop(self.lns.clear_sessions(self.now, &SessionSelector::User("alice".into()))),
            5 => {
                let counted: Vec<_> = self
                    .lns
                    .poll_life_question()
                    .into_iter()
                    .map(|key| (key, SessionCounters::default()))
                    .collect();
                self.lns.handle_counters(self.now, &counted);
            }
            _ => {
                self.lns.counter_rows();
                self.lns.lac_rows();
            }
        }
    }

    fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        let mut timeouts = 0;
        while let Some(due) = self.lns.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.lns.handle_timeout(self.now);
            let before = self.sent;
            self.drain(0);
            // What is repeated was asked for once.
            self.sent = before;
            timeouts += 1;
            assert!(timeouts < TIMEOUTS_MAX, "a timer that does not move");
        }
        self.now = end;
    }

    fn drain(&mut self, of: usize) {
        while let Some(command) = self.lns.poll_command() {
            assert!(self.connected, "{command:?} while the data plane is away");
            match command {
                Command::SessionRemove(key) => self.removed.push(key),
                command => self.sets.push(command),
            }
        }
        while self.lns.poll_peer_change().is_some() {}
        let mut burst = 0;
        while let Some(transmit) = self.lns.poll_transmit() {
            self.sent += transmit.payload.len();
            let to = self.peers.iter().position(|(address, _)| *address == transmit.peer);
            self.take(to.unwrap_or(of), &transmit.payload);
            burst += 1;
            assert!(burst < BURST_MAX, "{burst} datagrams at once");
        }
    }

    /// The peer takes in what it is sent.
    fn take(&mut self, of: usize, datagram: &[u8]) {
        let header = checked(datagram);
        if !header.control {
            let local = self.local_session(of, header.session_id);
            let frames = self.frames.entry((of, local)).or_default();
            if frames.len() == FRAMES_MAX {
                frames.remove(0);
            }
            frames.push(header.payload(datagram).to_vec());
            return;
        }
        let secret = (of == WITH_SECRET).then_some(SECRET);
        if header.tunnel_id != self.peers[of].1.own {
            // An answer to something forged.
            return;
        }
        if let Some(Message::StopCcn(_)) = self.peers[of].1.take(datagram, secret) {
            self.peers[of].1.sessions.clear();
        }
    }

    /// Our Session ID of the peer's.
    fn local_session(&self, of: usize, peers: SessionId) -> SessionId {
        let (rows, _) = self.lns.session_rows(self.now, &SessionFilter::default(), 0, 100);
        let tunnel = self.peers[of].1.tunnel.0;
        let is_it = |row: &&xlns_control::admin::SessionRow| {
            row.tunnel_id == tunnel && row.peer_session_id == peers.0
        };
        SessionId(rows.iter().find(is_it).map_or(0, |row| row.session_id))
    }

    fn audit(&self) -> Census {
        let census = self.lns.audit().unwrap_or_else(|error| panic!("{error}"));
        let l2tp = &CONFIGURATION.l2tp;
        assert!(census.tunnels <= 4 * l2tp.tunnels_max as usize, "{census:?}");
        assert!(census.calls <= l2tp.sessions_max as usize, "{census:?}");
        assert_eq!(census.queued, 0, "something that was not drained");
        census
    }

    /// Nobody says anything any more, but for the data plane.
    fn fall_silent(&mut self) {
        if !self.connected {
            self.connect();
        }
        // A session that ends may let one in that waited for it.
        for _ in 0..3 {
            self.end_removed();
            self.drain(0);
            self.wait(SILENCE);
        }
        let census = self.audit();
        assert_eq!(census, Census::default(), "left over after a long silence");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_reaches_what_the_machine_counts() {
        let mut counters: BTreeMap<String, u64> = BTreeMap::new();
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/lns");
        for file in std::fs::read_dir(folder).unwrap() {
            for row in run_counted(&std::fs::read(file.unwrap().path()).unwrap()) {
                if row.group == "l2tp" {
                    *counters.entry(row.name).or_default() += row.value;
                }
            }
        }
        // No client dials the peer that dials us.
        counters.remove("setup_crossed");
        let idle: Vec<_> = counters.iter().filter(|(_, value)| **value == 0).collect();
        assert!(idle.is_empty(), "no input reaches {idle:?}");
    }
}
