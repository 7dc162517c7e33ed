//! One run: all actors, the clock that they share, and the trace.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use xlns_control::admin::{PlaceCall, SessionSelector, TunnelSelector};
use xlns_control::l2tp::result::TunnelResult;
use xlns_control::l2tp::sequence::Sequence;
use xlns_control::l2tp::{SessionId, header};
use xlns_control::time::Time;

use super::check::{self, ROWS_MAX};
use super::lac::Lac;
use super::network::{Datagram, Evils, Network};
use super::script::{DIALLER, DIALLING, Operation, SERVERS, Script, TROUBLE};
use super::station::Station;

/// From then on until both sides must agree: a call that got no answer (60 s), a peer that is gone
/// (HELLO after 10 s, 23 s of retransmissions), a link that gives up, one after the other.
const SETTLING: Duration = Duration::from_secs(150);

/// A dialler dials on, and may just be at it: how often the two sides are looked at, and how far
/// apart.
const LOOKS: usize = 4;
const LOOK_INTERVAL: Duration = Duration::from_millis(1500);

/// From the departure of all LACs until nothing may be left.
const LEAVING: Duration = Duration::from_secs(120);

/// Steps at one point in time; more is a loop that never ends.
const STEPS_MAX: u32 = 10_000;

/// Steps between two looks at the tables.
const AUDIT_EVERY: u64 = 16;

/// The number that operators want called.
const CALLED: &str = "0800";

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
    /// Clients of the dialler that were up then.
    pub clients: usize,
    /// What all LNSs counted: name and number.
    pub counters: BTreeMap<String, u64>,
    /// What was to be seen, and how often: states that no counter tells of.
    pub seen: BTreeMap<String, u64>,
}

/// All actors.
pub struct World {
    /// Virtual time.
    pub now: Time,
    /// Under test: the LNS of the LACs first, then, where there is a dialler, another LNS and that.
    pub stations: Vec<Station>,
    /// Where the LACs open their tunnels.
    pub lacs_server: SocketAddr,
    /// The LACs.
    pub lacs: Vec<Lac>,
    /// Corrupted datagrams pass the checksum.
    pub corrupts: bool,
    /// No data plane has refused anything.
    pub never_refuses: bool,
    network: Network,
    rng: StdRng,
    operations: std::vec::IntoIter<(Duration, Operation)>,
    next_operation: Option<(Time, Operation)>,
    calm: Duration,
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
        let start = Time::ZERO + Duration::from_secs(1000);
        let lacs_server = (SERVERS[0], 1701).into();
        let mut fork = || StdRng::from_seed(rng.random());
        let stations = script.configurations.iter().map(|(local, text)| {
            Station::new(text, (*local).into(), fork(), script.refuses, start)
        });
        let stations = stations.collect::<Result<_, _>>()?;
        let lacs = script
            .lacs
            .into_iter()
            .map(|(manners, lines, at)| Lac::new(manners, lines, fork(), lacs_server, start + at));
        let lacs = lacs.collect();
        let mut network_rng = fork();
        let evils = Evils::random(&mut network_rng, script.corrupts);
        let mut world = Self {
            now: start,
            stations,
            lacs_server,
            lacs,
            corrupts: script.corrupts,
            never_refuses: script.refuses == 0.0,
            network: Network::new(network_rng, evils),
            rng,
            operations: script.operations.into_iter(),
            next_operation: None,
            calm: script.calm,
            start,
            steps: 0,
            report: Report { trace: 0xcbf2_9ce4_8422_2325, ..Report::default() },
        };
        world.fetch_operation();
        Ok(world)
    }

    fn live(&mut self) -> Result<Report, String> {
        self.pass(TROUBLE)?;
        self.network.heal();
        for station in &mut self.stations {
            station.data_plane.refuses = 0.0;
        }
        for lac in &mut self.lacs {
            lac.dial_until(self.now + DIALLING);
        }
        self.pass(DIALLING + SETTLING + self.calm)?;
        (self.report.tunnels, self.report.sessions) = self.look()?;
        self.see();
        self.leave()?;
        self.pass(LEAVING)?;
        check::emptiness(self)?;
        for (name, value) in self.stations.iter().flat_map(Station::counters) {
            *self.report.counters.entry(name).or_default() += value;
        }
        Ok(std::mem::take(&mut self.report))
    }

    /// Looks whether all agree, a few times where somebody may be dialling.
    fn look(&mut self) -> Result<(usize, usize), String> {
        let mut seen = check::agreement(self);
        for _ in 1..LOOKS {
            if seen.is_err() && self.stations.len() > 1 {
                self.pass(LOOK_INTERVAL)?;
                seen = check::agreement(self);
            }
        }
        seen
    }

    /// Notes what there is now.
    fn see(&mut self) {
        let mut seen = Vec::new();
        for lns in self.stations.iter().filter_map(|station| station.lns.as_ref()) {
            let (clients, _) = lns.client_rows(self.now, 0, ROWS_MAX);
            self.report.clients += clients.iter().filter(|row| row.state == "up").count();
            seen.extend(clients.iter().map(|row| format!("client {}", row.state)));
            let (sessions, _) = lns.session_rows(self.now, &Default::default(), 0, ROWS_MAX);
            for row in sessions.into_iter().filter(|row| row.state == "open") {
                seen.push(format!("authentication {}", row.authentication));
                seen.extend(row.delegated_prefix.map(|_| "delegated".to_owned()));
                seen.extend(row.line.errors.map(|_| "errors".to_owned()));
                seen.extend(row.line.send_accm.map(|_| "link information".to_owned()));
                let is_called = row.line.called_number == CALLED;
                seen.extend(is_called.then(|| "outgoing call".to_owned()));
            }
        }
        let networks = self.lacs.iter().flat_map(|lac| &lac.lines).map(|l| l.subscriber.network());
        for network in networks.filter(|network| network.is_up()) {
            let families = (network.ipv4.is_some(), network.ipv6);
            seen.push(format!("IPv4 {}, IPv6 {}", families.0, families.1));
        }
        for what in seen {
            *self.report.seen.entry(what).or_default() += 1;
        }
    }

    /// Everybody goes, politely or not.
    fn leave(&mut self) -> Result<(), String> {
        for index in 0..self.lacs.len() {
            let polite = self.rng.random_bool(0.5);
            let lac = &mut self.lacs[index];
            if polite {
                lac.close(self.now, TunnelResult::ShuttingDown);
            } else {
                lac.crash(self.now, Duration::ZERO);
            }
        }
        let (now, polite) = (self.now, self.rng.random_bool(0.5));
        let dialler = self.stations.iter_mut().find(|station| station.local.ip() == DIALLER);
        match dialler {
            Some(Station { lns: Some(lns), .. }) if polite => lns.shut_down(now),
            Some(dialler) => dialler.die(now, None),
            None => {}
        }
        self.drain()
    }

    fn fetch_operation(&mut self) {
        let next = self.operations.next();
        self.next_operation = next.map(|(at, operation)| (self.start + at, operation));
    }

    /// Lets time pass, event by event.
    fn pass(&mut self, duration: Duration) -> Result<(), String> {
        let end = self.now + duration;
        let mut at_once = 0;
        self.drain()?;
        loop {
            let operation = self.next_operation.map(|(at, _)| at);
            let lacs = self.lacs.iter().filter_map(Lac::poll_timeout).min();
            let stations = self.stations.iter().filter_map(Station::poll_timeout).min();
            let events = [lacs, stations, operation, self.network.poll_timeout()];
            let Some(at) = events.into_iter().flatten().min().filter(|at| *at <= end) else {
                break;
            };
            at_once = if at > self.now { 0 } else { at_once + 1 };
            if at_once > STEPS_MAX {
                return Err("time stands still".into());
            }
            self.now = self.now.max(at);
            self.step()?;
            self.steps += 1;
            if self.steps.is_multiple_of(AUDIT_EVERY) {
                self.audit()?;
            }
        }
        self.now = end;
        Ok(())
    }

    fn audit(&self) -> Result<(), String> {
        for lns in self.stations.iter().filter_map(|station| station.lns.as_ref()) {
            let census = lns.audit()?;
            if census.queued > 0 {
                return Err(format!("not drained: {census:?}"));
            }
        }
        Ok(())
    }

    /// Does all that is due now.
    fn step(&mut self) -> Result<(), String> {
        let now = self.now;
        while let Some((_, operation)) = self.next_operation.filter(|(at, _)| *at <= now) {
            self.fetch_operation();
            self.operate(operation)?;
            self.drain()?;
        }
        while let Some(datagram) = self.network.poll_arrival(now) {
            self.deliver(&datagram)?;
        }
        for index in 0..self.stations.len() {
            if self.stations[index].poll_timeout().is_some_and(|at| at <= now) {
                let sent = self.stations[index].handle_timeout(now)?;
                self.send(sent);
            }
        }
        for index in 0..self.lacs.len() {
            if self.lacs[index].poll_timeout().is_some_and(|at| at <= now) {
                self.lacs[index].handle_timeout(now);
                self.drain_lac(index);
            }
        }
        Ok(())
    }

    fn deliver(&mut self, datagram: &Datagram) -> Result<(), String> {
        self.note(datagram);
        let now = self.now;
        let host = datagram.to.ip();
        if let Some(station) = self.stations.iter_mut().find(|station| station.local.ip() == host) {
            let answer = station.handle_datagram(now, datagram);
            let sent = station.drain(now)?;
            self.send(sent.into_iter().chain(answer));
            return Ok(());
        }
        let Ok(header) = header::parse(&datagram.octets) else { return Ok(()) };
        let found = self
            .lacs
            .iter()
            .position(|lac| lac.manners.address == datagram.to && lac.owns(header.tunnel_id));
        if let Some(index) = found {
            let payload = header.payload(&datagram.octets);
            self.lacs[index].handle_datagram(now, datagram.from, &header, payload);
            self.drain_lac(index);
        }
        Ok(())
    }

    fn send(&mut self, datagrams: impl IntoIterator<Item = Datagram>) {
        for datagram in datagrams {
            self.network.send(self.now, datagram);
        }
    }

    /// Takes what everybody has to say.
    fn drain(&mut self) -> Result<(), String> {
        for index in 0..self.stations.len() {
            let sent = self.stations[index].drain(self.now)?;
            self.send(sent);
        }
        for index in 0..self.lacs.len() {
            self.drain_lac(index);
        }
        Ok(())
    }

    fn drain_lac(&mut self, index: usize) {
        let lac = &mut self.lacs[index];
        let from = lac.manners.address;
        for (to, octets) in lac.take_datagrams() {
            self.network.send(self.now, Datagram { from, to, octets });
        }
    }

    fn operate(&mut self, operation: Operation) -> Result<(), String> {
        let now = self.now;
        match operation {
            Operation::ClearUser(user) => {
                for lns in self.stations.iter_mut().filter_map(|station| station.lns.as_mut()) {
                    lns.clear_sessions(now, &SessionSelector::User(user.into()));
                }
            }
            Operation::ClearTunnel(number) => self.clear_tunnel(number),
            Operation::ClearClient(name) => {
                if let Some(Station { lns: Some(lns), .. }) = self.stations.last_mut() {
                    lns.clear_client(now, name);
                }
            }
            Operation::PlaceCall(lac, user) => {
                let wanted = PlaceCall {
                    tunnel_id: None,
                    peer: Some(self.lacs[lac].manners.address.ip()),
                    called_number: CALLED.into(),
                    user: user.map(Into::into),
                };
                self.stations[0].place_call(now, &wanted)?;
            }
            Operation::CallDialler(server) => {
                let peer = Some(DIALLER.into());
                let wanted =
                    PlaceCall { peer, called_number: CALLED.into(), ..PlaceCall::default() };
                if let Some(station) = self.stations.get_mut(server) {
                    station.place_call(now, &wanted)?;
                }
            }
            Operation::DataPlaneLeaves(station, pause, forgets) => {
                self.stations[station].lose_data_plane(now, now + pause, forgets);
            }
            Operation::Die(station, pause) => self.stations[station].die(now, Some(pause)),
            Operation::Cut(server, pause) => {
                let (a, b) = (IpAddr::V4(SERVERS[server]), IpAddr::V4(DIALLER));
                self.network.cut(a, b, now + pause);
            }
            Operation::Stray(lac) => self.stray(lac),
            Operation::Inform(lac, line) => self.inform(lac, line),
            Operation::Weather => {
                self.network.evils = Evils::random(&mut self.rng, self.corrupts);
            }
            Operation::Lac(lac, of_lac) => self.lacs[lac].operate(now, of_lac),
        }
        Ok(())
    }

    fn clear_tunnel(&mut self, number: u32) {
        let stations: Vec<usize> = (0..self.stations.len()).collect();
        let Some(index) = stations.choose(&mut self.rng) else { return };
        let Some(lns) = &mut self.stations[*index].lns else { return };
        let (rows, _) = lns.tunnel_rows(self.now, 0, ROWS_MAX);
        if let Some(row) = rows.get(number as usize % rows.len().max(1)) {
            lns.clear_tunnels(self.now, &TunnelSelector::Id(row.tunnel_id));
        }
    }

    /// A subscriber that has an address, or somebody without, asks by DHCPINFORM.
    fn inform(&mut self, lac: usize, line: usize) {
        let network = self.lacs[lac].lines.get(line).map(|line| line.subscriber.network());
        let address = network.and_then(|network| network.ipv4);
        let address = address.unwrap_or(Ipv4Addr::new(10, 66, 0, 1));
        let mut message = vec![0; 236];
        message[..3].copy_from_slice(&[1, 1, 6]);
        message[12..16].copy_from_slice(&address.octets());
        message.extend_from_slice(&[99, 130, 83, 99, 53, 1, 8, 255]);
        if let Some(lns) = &mut self.stations[0].lns {
            lns.handle_dhcp(self.now, address, &message);
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
            self.network.send(self.now, Datagram { from, to: self.lacs_server, octets });
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
