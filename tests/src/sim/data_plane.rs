//! A stand-in for the data plane: a set of sessions, filled by commands that take their time.
//!
//! It may refuse, go away with or without its sessions, and comes back to be filled anew.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use xlns_control::l2tp::sequence::Sequence;
use xlns_control::l2tp::{SessionId, TunnelId, header};
use xlns_control::lns::Lns;
use xlns_control::time::Time;
use xlns_dataplane::api::{Command, CommandError, Session, SessionKey};
use xlns_dataplane::counters::SessionCounters;

use super::network::Datagram;

/// What every session carried, but for packets of its subscriber.
const TRAFFIC: SessionCounters = SessionCounters {
    upstream_packets: 1,
    upstream_bytes: 40,
    downstream_packets: 2,
    downstream_bytes: 80,
};

/// What becomes of a datagram that has arrived.
#[derive(Debug)]
pub enum Forwarded {
    /// It goes to control.
    ToControl,
    /// It went on to the network.
    Taken,
    /// It is answered.
    Answered(Datagram),
}

/// What the data plane says, some time later.
#[derive(Debug)]
enum Notice {
    Refused(Box<Command>, CommandError),
    Ended(SessionKey),
    Counted(Vec<(SessionKey, SessionCounters)>),
    Synchronised,
}

/// Between pages of a resynchronisation.
const PAGE_INTERVAL: Duration = Duration::from_millis(15);

/// The stand-in.
#[derive(Debug)]
pub struct DataPlane {
    rng: StdRng,
    /// Probability that a session or a peer is refused for want of room.
    pub refuses: f64,
    /// The sessions it forwards.
    pub sessions: BTreeMap<SessionKey, Session>,
    /// Packets of their subscribers.
    packets: BTreeMap<SessionKey, u64>,
    /// Sequence numbers of the next frame to them.
    numbers: BTreeMap<SessionKey, Sequence>,
    /// What it sends of itself.
    sent: Vec<Datagram>,
    /// Addresses that are no strangers'.
    pub peers: BTreeSet<IpAddr>,
    named: BTreeSet<SessionKey>,
    peers_named: BTreeSet<IpAddr>,
    resynchronising: bool,
    connected: bool,
    back_at: Option<Time>,
    /// Where the resynchronisation goes on, and when.
    page: Option<(usize, Time)>,
    commands: VecDeque<(Time, Command)>,
    notices: VecDeque<(Time, Notice)>,
}

impl DataPlane {
    /// An empty one, that connects at `at`.
    pub fn new(rng: StdRng, refuses: f64, at: Time) -> Self {
        Self {
            rng,
            refuses,
            sessions: BTreeMap::new(),
            packets: BTreeMap::new(),
            numbers: BTreeMap::new(),
            sent: Vec::new(),
            peers: BTreeSet::new(),
            named: BTreeSet::new(),
            peers_named: BTreeSet::new(),
            resynchronising: false,
            connected: false,
            back_at: Some(at),
            page: None,
            commands: VecDeque::new(),
            notices: VecDeque::new(),
        }
    }

    /// The connection ends, and is back at `back_at`. What was under way is lost; where `forgets`,
    /// the process has died and its sessions with it.
    pub fn leave(&mut self, back_at: Time, forgets: bool) {
        (self.connected, self.back_at, self.page) = (false, Some(back_at), None);
        self.resynchronising = false;
        self.commands.clear();
        self.notices.clear();
        if forgets {
            self.sessions.clear();
            self.packets.clear();
            self.numbers.clear();
            self.peers.clear();
        }
    }

    /// Whether it is there for the LNS.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// Counts the packets of sessions; what it does not have is left out.
    pub fn ask(&mut self, now: Time, keys: &[SessionKey]) {
        if !self.connected {
            return;
        }
        let counted = keys.iter().filter(|key| self.sessions.contains_key(key));
        let counted = counted.map(|key| (*key, self.counters(*key))).collect();
        self.notify(now, Notice::Counted(counted));
    }

    fn counters(&self, key: SessionKey) -> SessionCounters {
        let more = self.packets.get(&key).copied().unwrap_or(0);
        SessionCounters { upstream_packets: TRAFFIC.upstream_packets + more, ..TRAFFIC }
    }

    /// Takes the LNS's commands.
    pub fn take_commands(&mut self, now: Time, lns: &mut Lns) {
        while let Some(command) = lns.poll_command() {
            assert!(self.connected, "a command while the data plane is away: {command:?}");
            self.queue(now, command);
        }
    }

    fn queue(&mut self, now: Time, command: Command) {
        let delay = Duration::from_micros(self.rng.random_range(10..30_000));
        let last = self.commands.back().map_or(now, |(at, _)| *at);
        self.commands.push_back((last.max(now + delay), command));
    }

    fn notify(&mut self, now: Time, notice: Notice) {
        let most = if matches!(notice, Notice::Ended(_)) { 500 } else { 30 };
        let delay = Duration::from_millis(self.rng.random_range(0..most));
        let last = self.notices.back().map_or(now, |(at, _)| *at);
        self.notices.push_back((last.max(now + delay), notice));
    }

    /// When [`DataPlane::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        let command = self.commands.front().map(|(at, _)| *at);
        let notice = self.notices.front().map(|(at, _)| *at);
        let page = self.page.map(|(_, at)| at);
        [command, notice, page, self.back_at].into_iter().flatten().min()
    }

    /// Carries out what has arrived and tells the LNS what it has to say.
    ///
    /// # Errors
    /// Two sessions were to have one address.
    pub fn handle_timeout(&mut self, now: Time, lns: &mut Lns) -> Result<(), String> {
        if self.back_at.is_some_and(|at| at <= now) {
            (self.connected, self.back_at, self.page) = (true, None, Some((0, now)));
            lns.handle_dataplane_ready();
            self.queue(now, Command::ResyncBegin);
        }
        while let Some(command) = due(&mut self.commands, now) {
            self.apply(now, command)?;
        }
        while let Some(notice) = due(&mut self.notices, now) {
            match notice {
                Notice::Refused(command, error) => lns.handle_refused(now, &command, &error),
                Notice::Ended(key) => lns.handle_session_ended(now, key, TRAFFIC),
                Notice::Counted(counted) => lns.handle_counters(now, &counted),
                Notice::Synchronised => lns.handle_synchronised(now),
            }
        }
        self.take_commands(now, lns);
        if let Some((cursor, _)) = self.page.filter(|(_, at)| *at <= now) {
            let limit = self.rng.random_range(1..4);
            let mut named = Vec::new();
            let next = lns.resync_page(cursor, limit, |command| named.push(command));
            for command in named {
                self.queue(now, command);
            }
            if next.is_none() {
                self.queue(now, Command::ResyncEnd);
            }
            self.page = next.map(|cursor| (cursor, now + PAGE_INTERVAL));
        }
        Ok(())
    }

    /// What it does by itself: it forwards the packets of sessions, and answers LCP echoes.
    pub fn forward(&mut self, datagram: &Datagram) -> Forwarded {
        let Ok(header) = header::parse(&datagram.octets) else { return Forwarded::ToControl };
        let local_session_id = header.session_id.0;
        let key = SessionKey { local_tunnel_id: header.tunnel_id.0, local_session_id };
        let Some(session) = self
            .sessions
            .get(&key)
            .filter(|session| !header.control && session.peer == datagram.from)
        else {
            return Forwarded::ToControl;
        };
        let frame = header.payload(&datagram.octets);
        match frame.strip_prefix(&[0xff, 3]).unwrap_or(frame) {
            [0, 0x21, 0x45, ..] if !session.prefixes.is_empty() => {
                *self.packets.entry(key).or_default() += 1;
                Forwarded::Taken
            }
            [0xc0, 0x21, 9, identifier, 0, 8, ..] => {
                Forwarded::Answered(echo_reply(session, *identifier))
            }
            _ => Forwarded::ToControl,
        }
    }

    fn apply(&mut self, now: Time, command: Command) -> Result<(), String> {
        let refusal = match &command {
            Command::ResyncBegin => {
                self.named.clear();
                self.peers_named.clear();
                self.resynchronising = true;
                None
            }
            Command::ResyncEnd => {
                self.resynchronising = false;
                let unnamed: Vec<SessionKey> =
                    self.sessions.keys().filter(|key| !self.named.contains(key)).copied().collect();
                for key in unnamed {
                    self.remove(now, key);
                }
                self.peers.clone_from(&self.peers_named);
                self.notify(now, Notice::Synchronised);
                None
            }
            Command::SessionSet(session) => self.set(now, session)?,
            Command::SessionRemove(key) => {
                (!self.remove(now, *key)).then_some(CommandError::NoSuchEntry)
            }
            Command::PeerSet { .. } if self.rng.random_bool(self.refuses) => Some(full("peers")),
            Command::PeerSet { address } => {
                self.peers.insert(*address);
                self.peers_named.insert(*address);
                None
            }
            Command::PeerRemove { address } => {
                self.peers_named.remove(address);
                (!self.peers.remove(address)).then_some(CommandError::NoSuchEntry)
            }
            Command::Inject { key, frame } => {
                self.inject(*key, frame);
                None
            }
            other => return Err(format!("not for the LNS to say: {other:?}")),
        };
        if let Some(error) = refusal {
            self.notify(now, Notice::Refused(Box::new(command), error));
        }
        Ok(())
    }

    /// What it has sent of itself.
    pub fn take_sent(&mut self) -> Vec<Datagram> {
        std::mem::take(&mut self.sent)
    }

    /// Sends a frame of control's with the session's next number, where there is the session.
    fn inject(&mut self, key: SessionKey, frame: &[u8]) {
        let Some(session) = self.sessions.get(&key) else { return };
        let first = Sequence(session.options.first_ns);
        let next = self.numbers.entry(key).or_insert(first);
        let ns = std::mem::replace(next, Sequence(next.0.wrapping_add(1)));
        let ids = (TunnelId(session.peer_tunnel_id), SessionId(session.peer_session_id));
        let mut octets = Vec::new();
        header::emit_data(&mut octets, ids.0, ids.1, Some(ns), false);
        octets.extend_from_slice(frame);
        self.sent.push(Datagram { from: session.local, to: session.peer, octets });
    }

    fn set(&mut self, now: Time, session: &Session) -> Result<Option<CommandError>, String> {
        // One that lets go of something always finds room.
        let grows = self.sessions.get(&session.key).is_none_or(|known| {
            session.prefixes.iter().any(|prefix| !known.prefixes.contains(prefix))
        });
        if self.rng.random_bool(self.refuses) && grows {
            return Ok(Some(full("session")));
        }
        let shares = |other: &Session| {
            other.key != session.key && other.prefixes.iter().any(|p| session.prefixes.contains(p))
        };
        let others: Vec<SessionKey> =
            self.sessions.values().filter(|other| shares(other)).map(|other| other.key).collect();
        for other in others {
            if !self.resynchronising || self.named.contains(&other) {
                let prefixes = &session.prefixes;
                return Err(format!("{other:?} and {:?} both have {prefixes:?}", session.key));
            }
            self.remove(now, other);
        }
        self.named.insert(session.key);
        self.sessions.insert(session.key, session.clone());
        Ok(None)
    }

    fn remove(&mut self, now: Time, key: SessionKey) -> bool {
        let existed = self.sessions.remove(&key).is_some();
        self.packets.remove(&key);
        self.numbers.remove(&key);
        if existed {
            self.notify(now, Notice::Ended(key));
        }
        existed
    }
}

/// What is answered where there is no room.
fn full(table: &str) -> CommandError {
    CommandError::Full { table: table.into(), key: "l2tp.sessions_max".into() }
}

/// The first of a queue, where its time has come.
fn due<T>(queue: &mut VecDeque<(Time, T)>, now: Time) -> Option<T> {
    queue.front().filter(|(at, _)| *at <= now)?;
    queue.pop_front().map(|(_, first)| first)
}

fn echo_reply(session: &Session, identifier: u8) -> Datagram {
    let mut octets = Vec::new();
    for field in [2, session.peer_tunnel_id, session.peer_session_id] {
        octets.extend_from_slice(&field.to_be_bytes());
    }
    if !session.send_acfc {
        octets.extend_from_slice(&[0xff, 3]);
    }
    octets.extend_from_slice(&[0xc0, 0x21, 10, identifier, 0, 8]);
    octets.extend_from_slice(&session.magic.to_be_bytes());
    Datagram { from: session.local, to: session.peer, octets }
}
