//! One run: all actors, the clock that they share, and the trace.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use xlns_control::admin::{SessionSelector, TunnelSelector};
use xlns_control::config::Config;
use xlns_control::l2tp::result::TunnelResult;
use xlns_control::l2tp::sequence::Sequence;
use xlns_control::l2tp::{SessionId, header};
use xlns_control::lns::{Lns, PeerChange};
use xlns_control::time::Time;
use xlns_dataplane::api::SessionKey;

use super::check;
use super::data_plane::DataPlane;
use super::lac::Lac;
use super::network::{Datagram, Evils, Network};
use super::script::{Operation, Script, TROUBLE};

/// After the trouble: until when LACs and subscribers try again.
const DIALLING: Duration = Duration::from_secs(60);

/// From then on until both sides must agree: a call that got no answer (60 s), a peer that is gone
/// (HELLO after 10 s, 23 s of retransmissions), a link that gives up, one after the other.
const SETTLING: Duration = Duration::from_secs(150);

/// From the departure of all LACs until nothing may be left.
const LEAVING: Duration = Duration::from_secs(120);

/// Steps at one point in time; more is a loop that never ends.
const STEPS_MAX: u32 = 10_000;

/// Steps between two looks at the LNS's tables.
const AUDIT_EVERY: u64 = 16;

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Hash of every datagram that arrived, and when.
    pub trace: u64,
    /// Datagrams that arrived.
    pub datagrams: u64,
    /// Sessions that were up when both sides had to agree.
    pub sessions: usize,
    /// Tunnels at that time.
    pub tunnels: usize,
    /// What the LNS counted: name and number.
    pub counters: Vec<(String, u64)>,
}

/// All actors.
pub struct World {
    /// Virtual time.
    pub now: Time,
    /// Under test.
    pub lns: Lns,
    /// Where it listens.
    pub local: SocketAddr,
    /// The LACs.
    pub lacs: Vec<Lac>,
    /// The stand-in.
    pub data_plane: DataPlane,
    /// Peers that the LNS said it uses.
    pub peers: BTreeSet<IpAddr>,
    /// Corrupted datagrams pass the checksum.
    pub corrupts: bool,
    network: Network,
    rng: StdRng,
    operations: std::vec::IntoIter<(Duration, Operation)>,
    next_operation: Option<(Time, Operation)>,
    start: Time,
    steps: u64,
    report: Report,
}

/// Runs a seed.
///
/// # Errors
/// What did not hold, and when.
pub fn run(seed: u64) -> Result<Report, String> {
    let mut world = World::new(seed)?;
    world.live().map_err(|error| format!("{:?}: {error}", world.now.since(world.start)))
}

impl World {
    fn new(seed: u64) -> Result<Self, String> {
        let mut rng = StdRng::seed_from_u64(seed);
        let script = Script::new(&mut rng);
        let config = Config::parse("sim", &script.configuration).map_err(|e| format!("{e:?}"))?;
        let lns = Lns::new(Arc::new(config), rng.random()).map_err(|e| e.to_string())?;
        let start = Time::ZERO + Duration::from_secs(1000);
        let mut fork = || StdRng::from_seed(rng.random());
        let lacs = script.lacs.into_iter();
        let lacs = lacs.map(|(manners, lines, at)| Lac::new(manners, lines, fork(), start + at));
        let lacs = lacs.collect();
        let mut network_rng = fork();
        let evils = Evils::random(&mut network_rng, script.corrupts);
        let mut world = Self {
            now: start,
            lns,
            local: ([192, 0, 2, 1], 1701).into(),
            lacs,
            data_plane: DataPlane::new(fork(), script.refuses, start),
            peers: BTreeSet::new(),
            corrupts: script.corrupts,
            network: Network::new(network_rng, evils),
            rng,
            operations: script.operations.into_iter(),
            next_operation: None,
            start,
            steps: 0,
            report: Report { trace: 0xcbf2_9ce4_8422_2325, ..Report::default() },
        };
        world.fetch_operation();
        Ok(world)
    }

    fn live(&mut self) -> Result<Report, String> {
        self.pass(TROUBLE)?;
        self.network.evils = Evils::NONE;
        self.data_plane.refuses = 0.0;
        for lac in &mut self.lacs {
            lac.dial_until(self.now + DIALLING);
        }
        self.pass(DIALLING + SETTLING)?;
        (self.report.tunnels, self.report.sessions) = check::agreement(self)?;
        for index in 0..self.lacs.len() {
            let polite = self.rng.random_bool(0.5);
            let lac = &mut self.lacs[index];
            if polite {
                lac.close(self.now, TunnelResult::ShuttingDown);
            } else {
                lac.crash(self.now, Duration::ZERO);
            }
        }
        self.pass(LEAVING)?;
        check::emptiness(self)?;
        let rows = self.lns.counter_rows();
        self.report.counters = rows.into_iter().map(|row| (row.name, row.value)).collect();
        Ok(std::mem::take(&mut self.report))
    }

    fn fetch_operation(&mut self) {
        let next = self.operations.next();
        self.next_operation = next.map(|(at, operation)| (self.start + at, operation));
    }

    /// Lets time pass, event by event.
    fn pass(&mut self, duration: Duration) -> Result<(), String> {
        let end = self.now + duration;
        let mut at_once = 0;
        self.drain(None);
        loop {
            let operation = self.next_operation.map(|(at, _)| at);
            let lacs = self.lacs.iter().filter_map(Lac::poll_timeout).min();
            let machines = [self.lns.poll_timeout(), self.data_plane.poll_timeout(), lacs];
            let events = machines.into_iter().chain([operation, self.network.poll_timeout()]);
            let Some(at) = events.flatten().min().filter(|at| *at <= end) else { break };
            at_once = if at > self.now { 0 } else { at_once + 1 };
            if at_once > STEPS_MAX {
                return Err("time stands still".into());
            }
            self.now = self.now.max(at);
            self.step()?;
            self.steps += 1;
            if self.steps.is_multiple_of(AUDIT_EVERY) {
                let census = self.lns.audit()?;
                if census.queued > 0 {
                    return Err(format!("not drained: {census:?}"));
                }
            }
        }
        self.now = end;
        Ok(())
    }

    /// Does all that is due now.
    fn step(&mut self) -> Result<(), String> {
        let now = self.now;
        while let Some((_, operation)) = self.next_operation.filter(|(at, _)| *at <= now) {
            self.fetch_operation();
            self.operate(operation);
            self.drain(None);
        }
        if self.data_plane.poll_timeout().is_some_and(|at| at <= now) {
            self.data_plane.handle_timeout(now, &mut self.lns)?;
            self.drain(None);
        }
        while let Some(datagram) = self.network.poll_arrival(now) {
            self.deliver(&datagram);
        }
        if self.lns.poll_timeout().is_some_and(|at| at <= now) {
            self.lns.handle_timeout(now);
            self.drain(None);
        }
        for index in 0..self.lacs.len() {
            if self.lacs[index].poll_timeout().is_some_and(|at| at <= now) {
                self.lacs[index].handle_timeout(now);
                self.drain(Some(index));
            }
        }
        Ok(())
    }

    fn deliver(&mut self, datagram: &Datagram) {
        self.note(datagram);
        if datagram.to == self.local {
            if !self.forward(datagram) {
                let (local, peer) = (datagram.to, datagram.from);
                self.lns.handle_datagram(self.now, local, peer, &datagram.octets);
            }
            return self.drain(None);
        }
        let Ok(header) = header::parse(&datagram.octets) else { return };
        let found = self
            .lacs
            .iter()
            .position(|lac| lac.manners.address == datagram.to && lac.owns(header.tunnel_id));
        if let Some(index) = found {
            let payload = header.payload(&datagram.octets);
            self.lacs[index].handle_datagram(self.now, &header, payload);
            self.drain(Some(index));
        }
    }

    /// What the data plane does by itself: it answers the LCP echo of a session that it has.
    fn forward(&mut self, datagram: &Datagram) -> bool {
        let Ok(header) = header::parse(&datagram.octets) else { return false };
        let local_session_id = header.session_id.0;
        let key = SessionKey { local_tunnel_id: header.tunnel_id.0, local_session_id };
        let session = self.data_plane.sessions.get(&key);
        let Some(session) = session.filter(|s| !header.control && s.peer == datagram.from) else {
            return false;
        };
        let [0xff, 3, 0xc0, 0x21, 9, identifier, 0, 8, ..] = *header.payload(&datagram.octets)
        else {
            return false;
        };
        let mut octets = Vec::new();
        let (tunnel, call) = (session.peer_tunnel_id, session.peer_session_id);
        for field in [2, tunnel, call] {
            octets.extend_from_slice(&field.to_be_bytes());
        }
        octets.extend_from_slice(&[0xff, 3, 0xc0, 0x21, 10, identifier, 0, 8]);
        octets.extend_from_slice(&session.magic.to_be_bytes());
        let reply = Datagram { from: session.local, to: session.peer, octets };
        self.network.send(self.now, reply);
        true
    }

    /// Takes what the LNS has to say, and one LAC or none.
    fn drain(&mut self, lac: Option<usize>) {
        while let Some(change) = self.lns.poll_peer_change() {
            let as_told = match change {
                PeerChange::Used(peer) => self.peers.insert(peer),
                PeerChange::Unused(peer) => self.peers.remove(&peer),
            };
            assert!(as_told, "{change:?} comes twice");
        }
        self.data_plane.take_commands(self.now, &mut self.lns);
        while let Some(sent) = self.lns.poll_transmit() {
            let datagram = Datagram { from: sent.local, to: sent.peer, octets: sent.payload };
            self.network.send(self.now, datagram);
        }
        let Some(lac) = lac.and_then(|index| self.lacs.get_mut(index)) else { return };
        let from = lac.manners.address;
        for octets in lac.take_datagrams() {
            self.network.send(self.now, Datagram { from, to: self.local, octets });
        }
    }

    fn operate(&mut self, operation: Operation) {
        let now = self.now;
        match operation {
            Operation::Crash(lac, pause) => self.lacs[lac].crash(now, pause),
            Operation::Freeze(lac, pause) => self.lacs[lac].freeze(now, pause),
            Operation::Stop(lac) => self.lacs[lac].close(now, TunnelResult::ShuttingDown),
            Operation::Misbehave(lac) => self.lacs[lac].misbehave(now),
            Operation::HangUp(lac, line) => self.lacs[lac].hang_up(now, line),
            Operation::Terminate(lac, line) => {
                self.lacs[lac].lines[line].subscriber.terminate(now);
            }
            Operation::Renegotiate(lac, line) => {
                let line = &mut self.lacs[lac].lines[line];
                if line.call.is_some_and(|call| call.lns_id.is_some()) {
                    line.subscriber.renegotiate(now);
                }
            }
            Operation::ClearUser(user) => {
                self.lns.clear_sessions(now, &SessionSelector::User(user.into()));
            }
            Operation::ClearTunnel(number) => {
                let (rows, _) = self.lns.tunnel_rows(now, 0, usize::MAX);
                if let Some(row) = rows.get(number as usize % rows.len().max(1)) {
                    self.lns.clear_tunnels(now, &TunnelSelector::Id(row.tunnel_id));
                }
            }
            Operation::DataPlaneLeaves(pause, forgets) => {
                self.data_plane.leave(now, &mut self.lns, now + pause, forgets);
            }
            Operation::Stray(lac) => self.stray(lac),
            Operation::Weather => {
                self.network.evils = Evils::random(&mut self.rng, self.corrupts);
            }
        }
        for index in 0..self.lacs.len() {
            self.drain(Some(index));
        }
    }

    /// Control and data for a LAC's tunnel, from a port that is not the LAC's.
    fn stray(&mut self, lac: usize) {
        let Some((_, lns_id)) = self.lacs[lac].tunnel() else { return };
        let mut from = self.lacs[lac].manners.address;
        from.set_port(from.port() + 1);
        let (mut control, mut data) = (Vec::new(), Vec::new());
        header::emit_zlb(&mut control, lns_id, Sequence(1), Sequence(1));
        header::emit_data(&mut data, lns_id, SessionId(1), None, false);
        for octets in [control, data] {
            self.network.send(self.now, Datagram { from, to: self.local, octets });
        }
    }

    /// Adds a datagram to the trace (FNV-1a).
    fn note(&mut self, datagram: &Datagram) {
        self.report.datagrams += 1;
        let time = self.now.as_nanos().to_be_bytes();
        for octet in time.iter().chain(&datagram.octets) {
            self.report.trace =
                (self.report.trace ^ u64::from(*octet)).wrapping_mul(0x100_0000_01b3);
        }
    }
}
