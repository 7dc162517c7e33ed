//! One xlnsd: the root machine under test with its data plane, and what its host would do for it. It
//! can die and come back, knowing nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use xlns_control::admin::PlaceCall;
use xlns_control::config::Config;
use xlns_control::lns::{Lns, PeerChange};
use xlns_control::routing::Uplinks;
use xlns_control::time::Time;
use xlns_dataplane::api::{Session, SessionKey};

use super::data_plane::{DataPlane, Forwarded};
use super::network::Datagram;

/// By then an outgoing call that was asked for is up or has failed, and that was told.
const OUTCOME_MAX: Duration = Duration::from_secs(120);

/// One xlnsd and its host.
pub struct Station {
    /// Where tunnels end.
    pub local: SocketAddr,
    /// `None` while it is dead.
    pub lns: Option<Lns>,
    /// The stand-in.
    pub data_plane: DataPlane,
    /// Peers that it said it uses.
    pub peers: BTreeSet<IpAddr>,
    /// What it wanted of the kernel last.
    pub uplinks: Uplinks,
    /// Outgoing calls whose outcome was not told yet, by when they were asked for.
    placed: BTreeMap<SessionKey, Time>,
    config: Arc<Config>,
    rng: StdRng,
    back_at: Option<Time>,
    /// Counted by those that died.
    counted: BTreeMap<String, u64>,
}

impl Station {
    /// One with this configuration, running.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn new(
        text: &str,
        local: IpAddr,
        mut rng: StdRng,
        refuses: f64,
        now: Time,
    ) -> Result<Self, String> {
        let config = Arc::new(Config::parse("sim", text).map_err(|error| error.to_string())?);
        let data_plane = DataPlane::new(StdRng::from_seed(rng.random()), refuses, now);
        let mut station = Self {
            local: (local, 1701).into(),
            lns: None,
            data_plane,
            peers: BTreeSet::new(),
            uplinks: Uplinks::default(),
            placed: BTreeMap::new(),
            config,
            rng,
            back_at: Some(now),
            counted: BTreeMap::new(),
        };
        station.come_back()?;
        Ok(station)
    }

    fn come_back(&mut self) -> Result<(), String> {
        self.back_at = None;
        let lns = Lns::new(Arc::clone(&self.config), self.rng.random());
        self.lns = Some(lns.map_err(|error| error.to_string())?);
        Ok(())
    }

    /// It dies, and comes back after `pause`, where that is said. The data plane runs on, and is
    /// connected to again a moment after that.
    pub fn die(&mut self, now: Time, pause: Option<Duration>) {
        self.counted = self.counters();
        self.lns = None;
        self.back_at = pause.map(|pause| now + pause);
        self.peers.clear();
        self.placed.clear();
        self.uplinks = Uplinks::default();
        let back_at = self.back_at.unwrap_or(Time::from_start(Duration::MAX));
        self.data_plane.leave(back_at.max(now + Duration::from_millis(1)), false);
    }

    /// What it and those before it have counted.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        let mut counters = self.counted.clone();
        for row in self.lns.iter().flat_map(Lns::counter_rows) {
            *counters.entry(row.name).or_default() += row.value;
        }
        counters
    }

    /// The data plane is away until `back_at`.
    pub fn lose_data_plane(&mut self, now: Time, back_at: Time, forgets: bool) {
        if let Some(lns) = &mut self.lns {
            self.data_plane.leave(back_at, forgets);
            lns.handle_dataplane_away(now);
        }
    }

    /// An operator wants somebody called, where that is possible.
    ///
    /// # Errors
    /// Two calls under one key.
    pub fn place_call(&mut self, now: Time, wanted: &PlaceCall) -> Result<(), String> {
        let Some(lns) = &mut self.lns else { return Ok(()) };
        let Ok(key) = lns.place_outgoing_call(now, wanted) else { return Ok(()) };
        match self.placed.insert(key, now) {
            None => Ok(()),
            Some(_) => Err(format!("two calls are called {key:?}")),
        }
    }

    /// Every outgoing call has had its outcome in time.
    ///
    /// # Errors
    /// Which has not.
    pub fn check_outcomes(&self, now: Time) -> Result<(), String> {
        let late = self.placed.iter().find(|(_, at)| now.since(**at) > OUTCOME_MAX);
        late.map_or(Ok(()), |(key, _)| Err(format!("no outcome of the call {key:?}")))
    }

    /// A datagram has arrived. Returns what the data plane answers by itself.
    pub fn handle_datagram(&mut self, now: Time, datagram: &Datagram) -> Option<Datagram> {
        match self.data_plane.forward(datagram) {
            Forwarded::Answered(answer) => return Some(answer),
            Forwarded::Taken => {}
            Forwarded::ToControl => {
                if let Some(lns) = &mut self.lns {
                    lns.handle_datagram(now, datagram.to, datagram.from, &datagram.octets);
                }
            }
        }
        None
    }

    /// Whether a client is to be dialled for ever.
    pub fn is_persistent(&self, client: &str) -> bool {
        self.config.client.iter().any(|known| known.name == client && known.persistent)
    }

    /// When [`Station::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        let Some(lns) = &self.lns else { return self.back_at };
        [lns.poll_timeout(), self.data_plane.poll_timeout()].into_iter().flatten().min()
    }

    /// Does what is due. Returns what it sends.
    ///
    /// # Errors
    /// What does not hold.
    pub fn handle_timeout(&mut self, now: Time) -> Result<Vec<Datagram>, String> {
        if self.back_at.is_some_and(|at| at <= now) {
            self.come_back()?;
        }
        let mut sent = Vec::new();
        if let Some(lns) = &mut self.lns {
            if self.data_plane.poll_timeout().is_some_and(|at| at <= now) {
                self.data_plane.handle_timeout(now, lns)?;
            }
            sent = self.data_plane.take_sent();
            sent.extend(self.drain(now)?);
        }
        if let Some(lns) = &mut self.lns
            && lns.poll_timeout().is_some_and(|at| at <= now)
        {
            lns.handle_timeout(now);
            sent.extend(self.drain(now)?);
        }
        Ok(sent)
    }

    /// Takes everything that it has to say. Returns what it sends.
    ///
    /// # Errors
    /// What does not hold.
    pub fn drain(&mut self, now: Time) -> Result<Vec<Datagram>, String> {
        let mut sent = Vec::new();
        let Some(lns) = &mut self.lns else { return Ok(sent) };
        while let Some(change) = lns.poll_peer_change() {
            let as_told = match change {
                PeerChange::Used(peer) => self.peers.insert(peer),
                PeerChange::Unused(peer) => self.peers.remove(&peer),
            };
            if !as_told {
                return Err(format!("{change:?} comes twice"));
            }
        }
        while let Some((key, _)) = lns.poll_call_outcome() {
            if self.placed.remove(&key).is_none() {
                return Err(format!("an outcome of {key:?}, which nobody waits for"));
            }
        }
        if let Some(uplinks) = lns.take_uplinks() {
            self.uplinks = uplinks;
        }
        self.data_plane.take_commands(now, lns);
        let question = lns.poll_life_question();
        if !question.is_empty() {
            self.data_plane.ask(now, &question);
        }
        while let Some(message) = lns.poll_transmit() {
            let (from, to) = (message.local, message.peer);
            sent.push(Datagram { from, to, octets: message.payload });
        }
        Ok(sent)
    }

    /// The sessions that its data plane is to have.
    pub fn wanted_sessions(&self) -> BTreeMap<SessionKey, Session> {
        let mut wanted = BTreeMap::new();
        let mut cursor = Some(0);
        while let (Some(from), Some(lns)) = (cursor, &self.lns) {
            cursor = lns.resync_page(from, usize::MAX, |command| {
                if let xlns_dataplane::api::Command::SessionSet(session) = command {
                    wanted.insert(session.key, *session);
                }
            });
        }
        wanted
    }
}
