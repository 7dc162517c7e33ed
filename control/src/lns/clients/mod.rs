//! The LNSs that we dial ourselves: a machine for each `[[client]]` that keeps a session up, as a LAC
//! and its subscriber in one.
//!
//! A client has at most one tunnel at a time, with one call. What happens to either is noted where it
//! happens and handled once the machines there are done ([`Lns::drive_clients`]), so that a client
//! may hang up whatever it hears of. A tunnel that was hung up lives on for a while, to have its end
//! acknowledged, and is its client's no more.

/// Tells of a client in the log, unless there was much to tell of it lately: at level debug then.
macro_rules! tell {
    ($client:ident, $now:expr, $level:ident, $($what:tt)+) => {
        if $client.is_told($now) {
            tracing::$level!(client = $client.config.name, $($what)+);
        } else {
            tracing::debug!(client = $client.config.name, $($what)+);
        }
    };
}

mod build;
mod call;
mod crossing;
mod idle;
mod network;
mod servers;
mod show;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Life, Lns, PeerChange, Policy, PortWatch, TimerKey, TunnelEntry};
use crate::call::Call;
use crate::config::{ClientConfig, Config, HiddenAvps};
use crate::l2tp::header::Header;
use crate::l2tp::result::{TunnelResult, printable};
use crate::l2tp::tunnel::{self, Tunnel};
use crate::l2tp::{SessionId, TunnelId};
use crate::limits::Bucket;
use crate::ppp::{self, DownCause};
use crate::time::Time;
use network::Network;
use servers::Servers;
use table::{Action, State};

pub(super) use table::Event;

/// Lines of one client in the log above level debug: at once, what several attempts say; then one each
/// so often. A server that lets a client in and throws it out again would fill the log otherwise.
const LINES_BURST: u32 = 20;
const LINES_INTERVAL: Duration = Duration::from_secs(10);

/// The longest error that is kept to be shown, characters: servers choose some of it.
const ERROR_CHARS_MAX: usize = 256;

/// One client.
pub(super) struct Client {
    config: ClientConfig,
    tunnel_config: Arc<tunnel::Config>,
    ppp_config: Arc<ppp::Config>,
    /// Who we are to DHCPv6 servers; the same over restarts.
    duid: Box<[u8]>,
    state: State,
    servers: Servers,
    /// The server in use, or the last one.
    server: Option<usize>,
    tunnel: Option<TunnelId>,
    call: Option<SessionId>,
    /// When it is dialled, given up, or looked at, by its state.
    deadline: Option<Time>,
    network: Network,
    up_since: Option<Time>,
    dials: u64,
    /// What the server said when it refused our name or proof.
    refusal: String,
    last_error: String,
    traffic: idle::Traffic,
    lines: Bucket,
}

/// What was noted of a client.
pub(super) struct Noted {
    client: usize,
    event: Event,
    /// For the operator; empty where it is no news.
    reason: String,
}

impl Client {
    /// Those of the configuration, to be dialled at once.
    pub(super) fn all(config: &Config) -> Vec<Self> {
        config.client.iter().map(|client| Self::new(config, client)).collect()
    }

    fn new(config: &Config, client: &ClientConfig) -> Self {
        Self {
            tunnel_config: Arc::new(build::tunnel_config(config, client)),
            ppp_config: Arc::new(build::ppp_config(config, client)),
            duid: build::duid(config, client),
            state: State::Idle,
            servers: Servers::new(client),
            server: None,
            tunnel: None,
            call: None,
            deadline: Some(Time::ZERO),
            network: Network::default(),
            up_since: None,
            dials: 0,
            refusal: String::new(),
            last_error: String::new(),
            traffic: idle::Traffic::default(),
            lines: Bucket::default(),
            config: client.clone(),
        }
    }

    /// When its timer is to expire.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        [self.deadline, self.network.poll_timeout()].into_iter().flatten().min()
    }

    fn setup_max(&self) -> Duration {
        Duration::from_secs(self.config.setup_seconds_max)
    }

    /// Whether a session that is over is dialled again. One that is not to persist is dialled until
    /// it is up once, or every server has failed.
    fn after_failure(&self, gave_up: bool) -> Event {
        let again = self.config.persistent
            || self.state != State::Up && !gave_up && self.servers.has_untried(self.server);
        if again { Event::Failed } else { Event::GaveUp }
    }

    /// Whether IPv4 and IPv6 are up.
    pub(super) fn protocols_up(&self) -> (bool, bool) {
        (self.network.ipv4.is_some(), self.network.ipv6.is_some())
    }

    /// Whether its tunnel and call are what its state says.
    ///
    /// # Errors
    /// What is not, in words.
    pub(super) fn audit(&self, lns: &Lns) -> Result<(), String> {
        let state = self.state;
        let entry = self.tunnel.and_then(|id| lns.tunnels.get(&id));
        if state.has_tunnel() != entry.is_some() || self.tunnel.is_some() != entry.is_some() {
            return Err(format!("{state:?} with tunnel {:?}", self.tunnel));
        }
        if self.call.is_some_and(|session| entry.is_none_or(|e| !e.calls.contains_key(&session))) {
            return Err(format!("{state:?} with call {:?}", self.call));
        }
        if (state == State::Up) != self.network.is_up() {
            return Err(format!("{state:?} with network {}", self.network.is_up()));
        }
        Ok(())
    }

    /// Whether one more line about it goes to the log.
    fn is_told(&mut self, now: Time) -> bool {
        self.lines.take_every(now, LINES_INTERVAL, LINES_BURST)
    }

    fn server_name(&self) -> String {
        let server = self.server.and_then(|index| self.config.servers.get(index));
        server.map(|server| server.socket_address().to_string()).unwrap_or_default()
    }
}

impl Lns {
    /// The client whose tunnel this is now.
    pub(super) fn client_of_tunnel(&self, id: TunnelId) -> Option<usize> {
        let index = self.tunnels.get(&id)?.client?;
        self.clients.get(index).filter(|client| client.tunnel == Some(id)).map(|_| index)
    }

    /// The client whose call this is now.
    fn client_of_call(&self, id: TunnelId, session: SessionId) -> Option<usize> {
        let index = self.client_of_tunnel(id)?;
        self.clients.get(index).filter(|client| client.call == Some(session)).map(|_| index)
    }

    /// Notes what happened to a client; [`Lns::drive_clients`] sees to it.
    fn note(&mut self, client: usize, event: Event, reason: impl Into<String>) {
        self.client_events.push_back(Noted { client, event, reason: reason.into() });
    }

    /// A dialled tunnel is up.
    pub(super) fn note_tunnel_up(&mut self, id: TunnelId) {
        if let Some(client) = self.client_of_tunnel(id) {
            self.note(client, Event::TunnelUp, "");
        }
    }

    /// A tunnel is over; where it was dialled, its client hears why.
    pub(super) fn note_tunnel_over(&mut self, id: TunnelId, why: &str) {
        if let Some(client) = self.client_of_tunnel(id) {
            self.note(client, Event::Failed, format!("tunnel: {why}"));
        }
    }

    /// A call is over; where it was a dialled one, its client hears why.
    pub(super) fn note_call_over(&mut self, call: &Call, why: &str) {
        if let Some(client) = self.client_of_call(call.tunnel, call.session) {
            self.note(client, Event::Failed, why);
        }
    }

    /// Sees to everything that was noted of clients, and to what follows from it. To be called when
    /// no other machine is in the middle of something.
    pub(super) fn drive_clients(&mut self, now: Time) {
        while let Some(noted) = self.client_events.pop_front() {
            let Noted { client: index, event, mut reason } = noted;
            // The end of a call may be told before that of its tunnel, which says more.
            let same = |later: &&Noted| later.client == index && later.event == event;
            if event == Event::Failed
                && let Some(later) = self.client_events.iter().rfind(same)
            {
                reason.clone_from(&later.reason);
            }
            self.handle_client_event(now, index, event, &reason);
        }
        self.settle_networks();
    }

    fn handle_client_event(&mut self, now: Time, index: usize, event: Event, reason: &str) {
        let Some(client) = self.clients.get_mut(index) else { return };
        let mut event = event;
        if matches!(event, Event::Failed | Event::GaveUp) && client.state.has_tunnel() {
            event = client.after_failure(event == Event::GaveUp);
            let mut shown = printable(reason.as_bytes());
            let refusal = std::mem::take(&mut client.refusal);
            if !refusal.is_empty() {
                shown = format!("{shown}: {refusal}");
            }
            client.last_error = shown.chars().take(ERROR_CHARS_MAX).collect();
        }
        let (actions, next) = table::transition(client.state, event);
        client.state = next;
        for action in actions {
            match action {
                Action::Connect => self.connect_client(now, index),
                Action::PlaceCall => self.place_client_call(now, index),
                Action::HangUp => self.hang_up(now, index, reason),
                Action::Redial => self.redial_client(now, index),
                Action::Forget => {
                    if let Some(client) = self.clients.get_mut(index) {
                        client.servers.forget();
                    }
                }
                Action::Announce => self.announce_client(now, index),
                Action::AwaitNetwork => {
                    let wait = self.clients.get(index).map(|client| now + client.setup_max());
                    self.set_client_timer(index, wait);
                }
                Action::Rest => self.set_client_timer(index, None),
            }
        }
    }

    fn set_client_timer(&mut self, index: usize, deadline: Option<Time>) {
        if let Some(client) = self.clients.get_mut(index) {
            client.deadline = deadline;
        }
        self.reschedule_client(index);
    }

    fn reschedule_client(&mut self, index: usize) {
        let at = self.clients.get(index).and_then(Client::poll_timeout);
        self.reschedule(TimerKey::Client(index), at);
    }

    /// A client's timer has expired.
    pub(super) fn handle_client_timeout(&mut self, now: Time, index: usize) {
        self.handle_host_timeout(now, index);
        let Some(client) = self.clients.get_mut(index) else { return };
        if client.deadline.is_some_and(|at| at <= now) {
            client.deadline = None;
            match client.state {
                State::Idle | State::Backoff => self.note(index, Event::Dial, ""),
                State::Connecting | State::Calling | State::Negotiating => {
                    let seconds = client.config.setup_seconds_max;
                    let mut text = format!("{} for {seconds} s", client.state.name());
                    if client.state == State::Connecting
                        && client.config.hidden_avps != HiddenAvps::Never
                    {
                        text += " (with another secret, it cannot read hidden_avps, nor answer)";
                    }
                    self.note(index, Event::Failed, text);
                }
                State::Up => self.look_for_traffic(now, index),
            }
        }
        self.reschedule_client(index);
    }

    /// Asks a server for a tunnel.
    fn connect_client(&mut self, now: Time, index: usize) {
        let Some(client) = self.clients.get_mut(index) else { return };
        if self.shutting_down {
            client.state = State::Idle;
            return self.set_client_timer(index, None);
        }
        let Some(server) = client.servers.choose(now, &mut self.rng) else {
            client.state = State::Backoff;
            let at = client.servers.next_at();
            return self.set_client_timer(index, Some(at));
        };
        client.server = Some(server);
        client.dials += 1;
        let Some(peer) = client.config.servers.get(server).map(|s| s.socket_address()) else {
            return;
        };
        let deadline = now + client.setup_max();
        let local = self.config.client_local(&client.config, peer.ip());
        self.set_client_timer(index, Some(deadline));
        // Forged addresses can ask for as many tunnels as there may be.
        let room = self.tunnels.len() < self.config.l2tp.tunnels_max as usize
            || self.displace_stranger(now);
        let id = if room { self.free_tunnel_id() } else { None };
        let (Some(id), Some(local)) = (id, local) else {
            return self.note(index, Event::Failed, "no tunnel is free here (l2tp.tunnels_max)");
        };
        let Some(client) = self.clients.get_mut(index) else { return };
        tell!(client, now, info, server = %peer, tunnel = id.0, dials = client.dials, "dialling");
        client.tunnel = Some(id);
        let tunnel = Tunnel::connect(now, id, Arc::clone(&client.tunnel_config), &mut self.rng);
        let policy = Policy::default();
        let entry = TunnelEntry {
            tunnel,
            local,
            peer,
            profile: None,
            client: Some(index),
            policy,
            sccrq_hash: 0,
            started: now,
            established: false,
            calls: BTreeMap::new(),
            ports: PortWatch::default(),
            life: Life::default(),
        };
        self.tunnels.insert(id, entry);
        *self.tunnels_per_address.entry(peer.ip()).or_insert(0) += 1;
        if self.peers_used.insert(peer.ip()) {
            self.peer_changes.push_back(PeerChange::Used(peer.ip()));
        }
        self.drive_tunnel(now, id);
    }

    /// Whether this is the first answer to an SCCRQ of ours, which may come from another port than
    /// the one that was asked, and to the address of ours that the kernel chose (RFC 2661 section
    /// 8.1).
    pub(super) fn is_first_answer(&self, id: TunnelId, peer: std::net::SocketAddr) -> bool {
        self.tunnels.get(&id).is_some_and(|entry| {
            entry.client.is_some() && entry.tunnel.awaits_reply() && entry.peer.ip() == peer.ip()
        })
    }

    /// Takes such an answer. Where it is a good one, the tunnel stays at the ports that it came from
    /// and to.
    pub(super) fn handle_first_answer(
        &mut self,
        now: Time,
        id: TunnelId,
        (local, peer): (std::net::SocketAddr, std::net::SocketAddr),
        header: &Header,
        datagram: &[u8],
    ) {
        let Some(entry) = self.tunnels.get_mut(&id) else { return };
        entry.tunnel.handle(now, header, header.payload(datagram));
        if !entry.tunnel.awaits_reply() {
            (entry.local, entry.peer) = (local, peer);
        }
        self.drive_tunnel(now, id);
    }

    /// Ends what there is of a client's session. Nobody may be there any more, so no answer is waited
    /// for.
    fn hang_up(&mut self, now: Time, index: usize, reason: &str) {
        self.release_network(now, index);
        let Some(client) = self.clients.get_mut(index) else { return };
        let (tunnel, call) = (client.tunnel.take(), client.call.take());
        let lasted = client.up_since.take().map_or(Duration::ZERO, |since| now.since(since));
        if lasted >= Duration::from_secs(client.config.redial_max_seconds)
            && let Some(server) = client.server
        {
            client.servers.forgive(server);
        }
        let Some(id) = tunnel else { return };
        let slot = call.and_then(|session| self.tunnels.get(&id)?.calls.get(&session).copied());
        if let Some(slot) = slot
            && let Some(link) = self.calls.get_mut(slot).and_then(Call::link_mut)
        {
            link.close(now, DownCause::Closed);
            self.transmit_frames(slot);
        }
        if let Some(entry) = self.tunnels.get_mut(&id) {
            let text = if reason.is_empty() { "hung up" } else { reason };
            entry.tunnel.close(now, TunnelResult::Cleared, None, text);
            self.drive_tunnel(now, id);
        }
    }

    /// The server in use has failed: says so, and when the next one is tried.
    fn redial_client(&mut self, now: Time, index: usize) {
        let Some(client) = self.clients.get_mut(index) else { return };
        if let Some(server) = client.server {
            client.servers.fail(now, server, &client.config, &mut self.rng);
        }
        let at = client.servers.next_at().max(now);
        let failures = client.server.map_or(0, |server| client.servers.failures(server));
        let next_in_ms = at.since(now).as_millis() as u64;
        let (server, reason) = (client.server_name(), client.last_error.clone());
        let what = "not up, to be dialled again";
        tell!(client, now, warn, server, reason, failures, next_in_ms, "{what}");
        self.set_client_timer(index, Some(at));
    }

    fn announce_client(&mut self, now: Time, index: usize) {
        let Some(client) = self.clients.get_mut(index) else { return };
        client.up_since = Some(now);
        client.last_error.clear();
        let (server, redials) = (client.server_name(), client.dials - 1);
        tell!(client, now, info, server, redials, "session up");
        let deadline = client.begin_idle_watch(now);
        self.set_client_timer(index, deadline);
    }

    /// Hangs every client up; none is dialled any more.
    pub(super) fn shut_down_clients(&mut self, now: Time) {
        for index in 0..self.clients.len() {
            self.note(index, Event::ShutDown, "shutting down");
        }
        self.drive_clients(now);
    }
}

#[cfg(test)]
mod tests;
