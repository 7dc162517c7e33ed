//! The root machine: datagrams, timers and answers of the data plane in; datagrams and forwarding
//! commands out. No socket, no clock, no randomness but the seed.
//!
//! `handle_*` takes what happened, `poll_*` hands out what is to be done and is drained after every
//! `handle_*`. Invariants: a call is in `calls` exactly while its tunnel knows its session; an
//! address is free again only after the data plane said that the session's last packet is counted.

mod addresses;
mod admission;
mod audit;
mod calls;
mod clients;
mod control_plane;
mod counters;
mod follow;
mod inform;
mod ipv6;
mod journal;
mod life;
mod line;
mod outgoing;
mod profiles;
mod quality;
mod setup;
mod show;
mod strangers;
mod timer_key;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use ipnet::IpNet;
use rand::SeedableRng;
use rand::rngs::StdRng;
use slab::Slab;
use xlns_dataplane::api::{self, Command, SessionKey};
use xlns_dataplane::counters::SessionCounters;

use crate::call::Call;
use crate::config::Config;
use crate::hash::KeyedHasher;
use crate::l2tp::header::{self, Header};
use crate::l2tp::tunnel::Tunnel;
use crate::l2tp::{SessionId, TunnelId};
use crate::limits::{Bucket, SetupLimiter};
use crate::routing::Uplinks;
use crate::time::Time;
use crate::timers::Timers;
use crate::udp::Transmit;
use crate::users::Users;

pub use addresses::{AddressesError, Lease};
pub use audit::Census;
pub use counters::LnsCounter;
pub use line::Line;
pub use outgoing::Outcome;
pub use setup::TUNNELS_MAX;
pub use timer_key::CALLS_MAX;

use addresses::Addresses;
use clients::Client;
use follow::PortWatch;
use journal::Journal;
use life::Life;
use profiles::Profile;
use timer_key::TimerKey;

/// Commands that wait for the data plane; past that it has fallen behind and is filled anew.
const COMMANDS_MAX: usize = 1 << 20;

/// Refusals that are logged, of SCCRQs and by the data plane: enough to find what is misconfigured,
/// too few to fill a disk.
const REFUSALS_LOGGED_PER_SECOND: u32 = 5;

/// Timers that expire in one turn: some milliseconds of work. What is left is due in the next, after
/// what the sockets have.
const TIMEOUTS_PER_TURN_MAX: usize = 4096;

/// A peer that a tunnel needs, or needs no more: its neighbour is kept alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerChange {
    /// The first tunnel to it is established.
    Used(IpAddr),
    /// The last one is gone.
    Unused(IpAddr),
}

/// One tunnel and what belongs to it.
struct TunnelEntry {
    tunnel: Tunnel,
    local: SocketAddr,
    peer: SocketAddr,
    /// Index of the LAC profile; `None` where it is no LAC's.
    profile: Option<usize>,
    /// Index of the client that dialled it; `None` where the peer did.
    client: Option<usize>,
    policy: Policy,
    /// Keyed hash of the SCCRQ: tells a retransmission from a peer that started anew.
    sccrq_hash: u64,
    started: Time,
    established: bool,
    calls: BTreeMap<SessionId, usize>,
    ports: PortWatch,
    life: Life,
}

/// What a profile says of its tunnels besides how their machines work.
#[derive(Debug, Clone, Copy, Default)]
struct Policy {
    /// The peer's port may change.
    follow_port: bool,
    /// What the peer sends shows that it lives.
    data_is_life: bool,
}

/// An ended call whose last packets the data plane still counts.
struct Ending {
    lease: Option<Lease>,
    user: Option<Box<str>>,
    /// A resynchronisation has begun since: its end answers for this session as well.
    before_resync: bool,
}

/// The L2TP network server.
pub struct Lns {
    config: Arc<Config>,
    profiles: Vec<Profile>,
    rng: StdRng,
    hasher: KeyedHasher,
    limiter: SetupLimiter<KeyedHasher>,
    users: Users,
    addresses: Addresses,
    router_config: Arc<crate::ipv6::Config>,
    responder: Option<crate::dhcp::Responder>,
    inform_limit: Bucket,
    sessions: admission::Sessions,
    tunnels: BTreeMap<TunnelId, TunnelEntry>,
    /// Tunnels by the peer's address, its Tunnel ID and the hash of its SCCRQ: finds what a
    /// retransmitted SCCRQ belongs to. Anybody may forge one, so another SCCRQ is another tunnel,
    /// and takes the place of the one there only when it is established. So is the same SCCRQ long
    /// after: the last part, our Tunnel ID, tells them apart.
    tunnels_by_peer: BTreeSet<(SocketAddr, TunnelId, u64, TunnelId)>,
    tunnels_per_address: HashMap<IpAddr, u32>,
    half_open: strangers::HalfOpen,
    peers: strangers::Peers,
    /// Addresses whose neighbours are kept alive: those of tunnels that are or were established.
    peers_used: HashSet<IpAddr>,
    calls: Slab<Call>,
    ending: BTreeMap<SessionKey, Ending>,
    clients: Vec<Client>,
    /// What clients have not heard yet.
    client_events: VecDeque<clients::Noted>,
    /// Data plane and kernel are to be told of the clients' networks.
    networks_changed: bool,
    /// For the kernel; `None`: as before.
    uplinks: Option<Uplinks>,
    /// Where our own subscribers' addresses lie.
    subscriber_prefixes: Vec<IpNet>,
    timers: Timers,
    transmissions: VecDeque<Transmit>,
    commands: VecDeque<Command>,
    commands_lost: bool,
    peer_changes: VecDeque<PeerChange>,
    dataplane_ready: bool,
    /// Since when the data plane has not been ready.
    dataplane_away_since: Time,
    /// Of the last outgoing call.
    call_serial_number: u32,
    /// How outgoing calls went, and nobody was told yet.
    outcomes: VecDeque<Outcome>,
    /// Silent tunnels whose data is to be looked at.
    life_due: BTreeSet<TunnelId>,
    /// `None` where the workers are not asked about silent sessions.
    silence: Option<quality::Silence>,
    /// No tunnel is opened any more.
    shutting_down: bool,
    counters: counters::LnsCounters,
    refusal_log: Bucket,
    journal: Journal,
    /// Forwarding totals of sessions that ended.
    ended_totals: SessionCounters,
}

impl Lns {
    /// An LNS without tunnels. `seed` makes identifiers and challenges unpredictable.
    ///
    /// # Errors
    /// A pool that the configuration names cannot be built; says which.
    pub fn new(config: Arc<Config>, seed: [u8; 32]) -> Result<Self, AddressesError> {
        let mut rng = StdRng::from_seed(seed);
        let hasher = KeyedHasher::new(&mut rng);
        let limiter = SetupLimiter::new(
            config.l2tp.sccrq_per_second_max,
            config.l2tp.sccrq_per_second_per_source_max,
            hasher.clone(),
        );
        let mut lns = Self {
            profiles: profiles::profiles(&config),
            rng,
            limiter,
            hasher,
            users: Users::new(&config.user),
            addresses: Addresses::new(&config)?,
            router_config: ipv6::router_config(&config),
            responder: inform::responder(&config),
            inform_limit: Bucket::default(),
            sessions: admission::Sessions::default(),
            tunnels: BTreeMap::new(),
            tunnels_by_peer: BTreeSet::new(),
            tunnels_per_address: HashMap::new(),
            half_open: strangers::HalfOpen::default(),
            peers: strangers::Peers::new(&config),
            peers_used: HashSet::new(),
            calls: Slab::new(),
            ending: BTreeMap::new(),
            clients: Client::all(&config),
            client_events: VecDeque::new(),
            networks_changed: false,
            uplinks: None,
            subscriber_prefixes: config.subscriber_prefixes(),
            timers: Timers::new(),
            transmissions: VecDeque::new(),
            commands: VecDeque::new(),
            commands_lost: false,
            peer_changes: VecDeque::new(),
            dataplane_ready: false,
            dataplane_away_since: Time::ZERO,
            life_due: BTreeSet::new(),
            call_serial_number: 0,
            outcomes: VecDeque::new(),
            silence: quality::Silence::new(&config),
            shutting_down: false,
            counters: counters::LnsCounters::default(),
            refusal_log: Bucket::default(),
            journal: Journal::default(),
            ended_totals: SessionCounters::default(),
            config,
        };
        for index in 0..lns.clients.len() {
            let at = lns.clients.get(index).and_then(Client::poll_timeout);
            lns.reschedule(TimerKey::Client(index), at);
        }
        Ok(lns)
    }

    /// Takes a datagram that came to `local` from `peer`.
    pub fn handle_datagram(
        &mut self,
        now: Time,
        local: SocketAddr,
        peer: SocketAddr,
        octets: &[u8],
    ) {
        let header = match header::parse(octets) {
            Ok(header) => header,
            Err(error) => {
                tracing::trace!(%peer, %error, "not L2TP");
                return self.counters.add(LnsCounter::HeaderMalformed);
            }
        };
        if header.control {
            self.handle_control(now, local, peer, &header, octets);
        } else {
            self.handle_data(now, peer, &header, header.payload(octets));
        }
        self.drive_clients(now);
    }

    /// Lets happen what the time has come for, or as much of it as one turn should take: what is left
    /// keeps [`Lns::poll_timeout`] in the past.
    pub fn handle_timeout(&mut self, now: Time) {
        if let Some(silence) = &mut self.silence {
            silence.handle_timeout(now);
        }
        for _ in 0..TIMEOUTS_PER_TURN_MAX {
            let Some(token) = self.timers.poll_expired(now) else { break };
            match TimerKey::of_token(token) {
                TimerKey::Journal => self.journal.summarise(),
                TimerKey::Client(index) => self.handle_client_timeout(now, index),
                TimerKey::Tunnel(id) => {
                    if let Some(entry) = self.tunnels.get_mut(&id) {
                        entry.tunnel.handle_timeout(now);
                        self.look_after(now, id);
                        self.drive_tunnel(now, id);
                    }
                }
                TimerKey::Call(index) => {
                    let rng = &mut self.rng;
                    if let Some(link) = self.calls.get_mut(index).and_then(Call::link_mut) {
                        link.handle_timeout(now, rng);
                        self.handle_router_timeout(now, index);
                        self.drive_call(now, index);
                    }
                }
            }
            self.drive_clients(now);
        }
    }

    /// When [`Lns::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Time> {
        let silence = self.silence.as_ref().and_then(quality::Silence::poll_timeout);
        self.timers.next_deadline().into_iter().chain(silence).min()
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmissions.pop_front()
    }

    /// The next forwarding command; to be carried out before the datagrams are sent, so that a peer
    /// that is told "up" is forwarded.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// The next change of the peers in use.
    pub fn poll_peer_change(&mut self) -> Option<PeerChange> {
        self.peer_changes.pop_front()
    }

    /// Whether every command is handed out and every message to the peers acknowledged.
    pub fn is_quiet(&self) -> bool {
        self.commands.is_empty()
            && self.transmissions.is_empty()
            && self.tunnels.values().all(|entry| entry.tunnel.status().queued == 0)
    }

    /// Whether commands were lost because the data plane fell behind; asked once. It has to be
    /// filled anew.
    pub fn take_commands_lost(&mut self) -> bool {
        std::mem::take(&mut self.commands_lost)
    }

    /// The data plane is there and empty, or its state unknown: from here on commands are handed
    /// out, and [`Lns::resync_page`] names what is.
    pub fn handle_dataplane_ready(&mut self) {
        self.dataplane_ready = true;
        self.commands.clear();
        self.name_peers();
        for ending in self.ending.values_mut() {
            ending.before_resync = true;
        }
    }

    /// The data plane is away: nothing is handed out until it is back.
    pub fn handle_dataplane_away(&mut self, now: Time) {
        if std::mem::replace(&mut self.dataplane_ready, false) {
            self.dataplane_away_since = now;
        }
        self.commands.clear();
    }

    /// One page of the sessions that the data plane is to have: those of the calls from `cursor` on,
    /// at most `limit` looked at. Returns the next cursor, `None` at the end.
    pub fn resync_page(
        &self,
        cursor: usize,
        limit: usize,
        mut name: impl FnMut(Command),
    ) -> Option<usize> {
        let end = self.calls.capacity().min(cursor.saturating_add(limit));
        for index in cursor..end {
            if let Some(entry) = self.calls.get(index).and_then(|call| self.entry(call)) {
                name(Command::SessionSet(Box::new(entry)));
            }
        }
        (end < self.calls.capacity()).then_some(end)
    }

    /// The data plane equals what was named: sessions that ended before are gone from it.
    pub fn handle_synchronised(&mut self, now: Time) {
        let gone: Vec<SessionKey> = self
            .ending
            .iter()
            .filter(|(_, ending)| ending.before_resync)
            .map(|(key, _)| *key)
            .collect();
        for key in gone {
            self.finish_ending(now, key);
        }
    }

    /// A removed session's last packet was counted.
    pub fn handle_session_ended(&mut self, now: Time, key: SessionKey, counters: SessionCounters) {
        let totals = &mut self.ended_totals;
        totals.upstream_packets += counters.upstream_packets;
        totals.upstream_bytes += counters.upstream_bytes;
        totals.downstream_packets += counters.downstream_packets;
        totals.downstream_bytes += counters.downstream_bytes;
        let user = self.ending.get(&key).and_then(|ending| ending.user.as_deref());
        tracing::debug!(
            tunnel = key.local_tunnel_id,
            session = key.local_session_id,
            user = user.unwrap_or(""),
            ?counters,
            "final counters"
        );
        self.finish_ending(now, key);
    }

    /// The data plane refused a command: a session that it cannot carry is ended, and one that it
    /// does not have is gone.
    pub fn handle_refused(&mut self, now: Time, command: &Command, error: &api::CommandError) {
        let logged = self.refusal_log.take(now, REFUSALS_LOGGED_PER_SECOND);
        match command {
            Command::SessionSet(session) => {
                let tunnel = TunnelId(session.key.local_tunnel_id);
                let id = SessionId(session.key.local_session_id);
                if logged {
                    let (tunnel, session) = (tunnel.0, id.0);
                    tracing::error!(tunnel, session, %error, "session refused by the data plane");
                }
                self.counters.add(LnsCounter::ForwardingRefused);
                self.disconnect_for_resources(now, tunnel, id);
            }
            // No SessionEnded will follow.
            Command::SessionRemove(key) => self.finish_ending(now, *key),
            other => {
                self.counters.add(LnsCounter::CommandsRefused);
                if logged {
                    tracing::error!(?other, %error, "command refused by the data plane");
                }
            }
        }
        self.drive_clients(now);
    }

    fn handle_data(&mut self, now: Time, peer: SocketAddr, header: &Header, frame: &[u8]) {
        let Some(entry) = self.tunnels.get_mut(&header.tunnel_id) else {
            return self.counters.add(LnsCounter::DataNoSuchTunnel);
        };
        let call = entry.calls.get(&header.session_id).copied();
        if entry.peer != peer {
            self.counters.add(LnsCounter::DataOuterAddress);
            if call.is_some() {
                self.ask_at(now, header.tunnel_id, peer);
            }
            return;
        }
        if entry.policy.data_is_life {
            entry.tunnel.handle_activity(now);
        }
        let Some(index) = call else {
            return self.counters.add(LnsCounter::DataNoSuchSession);
        };
        let Some(call) = self.calls.get_mut(index) else { return };
        call.peer_sequences = header.sequenced;
        if let Some(link) = call.link_mut() {
            if let Some(discard) = link.handle_frame(now, frame, &mut self.rng) {
                tracing::trace!(index, %discard, "PPP frame without effect");
                self.counters.add(LnsCounter::PppWithoutEffect);
            }
            return self.drive_call(now, index);
        }
        let held = call.hold_early(frame);
        self.counters.add(if held { LnsCounter::DataHeldEarly } else { LnsCounter::DataTooEarly });
    }

    /// Queues a command while the data plane listens.
    fn push_command(&mut self, command: Command) {
        if !self.dataplane_ready {
            return;
        }
        if self.commands.len() >= COMMANDS_MAX {
            self.commands.clear();
            self.commands_lost = true;
            return;
        }
        self.commands.push_back(command);
    }

    fn reschedule(&mut self, key: TimerKey, at: Option<Time>) {
        match at {
            Some(at) => self.timers.set(key.token(), at),
            None => {
                self.timers.cancel(key.token());
            }
        }
    }
}

#[cfg(test)]
mod tests;
