//! The seam to the outside: sockets, the clock and the kernel's tables around the machines.
//!
//! After every turn the machines are drained: forwarding commands first, datagrams second, so that
//! a subscriber who is told "up" is forwarded. A socket that has more to read than one turn takes is
//! read again in the next turn, without waiting.

mod dhcp;
mod parent;
mod quality;
mod queries;
mod shows;

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use xlns_dataplane::api::{Configuration, PortStatus};

use crate::admin;
use crate::config::{Config, PortConfig};
use crate::dataplane_client::{self, Client};
use crate::lns::{Lns, PeerChange};
use crate::netlink::Netlink;
use crate::routing::{Routing, RoutingConfig};
use crate::time::Time;
use crate::udp::Sockets;

use shows::Shows;

const TOKEN_SIGNALS: Token = Token(0);
const TOKEN_DATAPLANE: Token = Token(1);
const TOKEN_NETLINK: Token = Token(2);
const TOKEN_PARENT: Token = Token(3);
const TOKEN_DHCP: Token = Token(4);
const TOKEN_UDP: usize = 16;
const TOKEN_ADMIN: usize = 1 << 16;

/// Events of one turn.
const EVENTS_MAX: usize = 256;

/// Datagram batches of one socket in one turn, so that a flood on it cannot starve the rest.
const BATCHES_PER_TURN_MAX: usize = 16;

/// Sessions looked at for one step of a resynchronisation.
const RESYNC_PAGE: usize = 128;

/// How long the end waits for the peers to acknowledge that their tunnels are closed.
const STOP_WAIT: Duration = Duration::from_secs(2);

/// How far the end of the process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopping {
    No,
    /// Tunnels are closed; what is acknowledged until then is.
    Until(Time),
}

/// The whole control process.
pub struct EventLoop {
    config: Arc<Config>,
    poll: Poll,
    started: Instant,
    signals: Signals,
    parent: Option<RawFd>,
    sockets: Sockets,
    /// For each socket, whether more may wait to be read.
    unread: Vec<bool>,
    lns: Lns,
    routing: Routing,
    netlink: Netlink,
    dataplane: Client,
    dhcp: dhcp::DhcpSocket,
    admin: admin::Server,
    shows: Shows,
    ports: Vec<PortStatus>,
    /// Where the resynchronisation of sessions goes on; `None`: it is over or not begun.
    resync_cursor: Option<usize>,
    resync_under_way: bool,
    gateway_checked: bool,
    /// Told to whoever started this process.
    ready: bool,
    stopping: Stopping,
}

impl EventLoop {
    /// Binds everything that `config` names.
    ///
    /// # Errors
    /// What could not be opened, and what to do.
    #[expect(clippy::disallowed_methods, reason = "the seam where the clock is read")]
    pub fn new(config: Arc<Config>, seed: [u8; 32], exit_with_stdin: bool) -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry();
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        registry.register(&mut signals, TOKEN_SIGNALS, Interest::READABLE)?;
        let parent = exit_with_stdin.then(|| io::stdin().as_raw_fd());
        if let Some(fd) = parent {
            registry.register(&mut SourceFd(&fd), TOKEN_PARENT, Interest::READABLE)?;
        }
        let listen = &config.lns.listen;
        let first = config.lns.port;
        let ports = first..=first.saturating_add(config.l2tp_port_count() - 1);
        let mut sockets = Sockets::bind(listen, ports, registry, TOKEN_UDP)?;
        if !config.client.is_empty() {
            sockets.mark(config.dial.mark)?;
        }
        let mut netlink = Netlink::new()?;
        netlink.register(registry, TOKEN_NETLINK)?;
        let configuration: Configuration = config.dataplane_configuration();
        let dataplane =
            Client::new(config.dataplane.socket.clone(), configuration, TOKEN_DATAPLANE);
        let admin = admin::Server::bind(&config.admin.socket, registry, TOKEN_ADMIN)?;
        let lns = Lns::new(Arc::clone(&config), seed).map_err(io::Error::other)?;
        Ok(Self {
            unread: vec![true; sockets.count()],
            routing: Routing::new(routing_config(&config)),
            config,
            poll,
            started: Instant::now(),
            signals,
            parent,
            sockets,
            lns,
            netlink,
            dataplane,
            dhcp: dhcp::DhcpSocket::default(),
            admin,
            shows: Shows::default(),
            ports: Vec::new(),
            resync_cursor: None,
            resync_under_way: false,
            gateway_checked: false,
            ready: false,
            stopping: Stopping::No,
        })
    }

    /// Runs until a signal, or the end of standard input, ends it.
    ///
    /// # Errors
    /// The poll or a socket broke.
    pub fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            match self.poll.poll(&mut events, self.wait()) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            let now = self.now();
            for event in &events {
                self.handle_event(now, event)?;
            }
            self.read_datagrams(now)?;
            self.read_netlink(now)?;
            self.read_dhcp(now);
            if self.dataplane.has_more() {
                self.dataplane.handle_ready(now, self.poll.registry());
            }
            self.lns.handle_timeout(now);
            self.routing.handle_timeout(now);
            self.dataplane.handle_timeout(now, self.poll.registry());
            if let Some(query) = self.admin.poll_query() {
                self.handle_query(now, query);
            }
            self.drain(now)?;
            if self.is_over(now) {
                return self.shut_down();
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the seam where the clock is read")]
    fn now(&self) -> Time {
        Time::from_start(Instant::now().duration_since(self.started))
    }

    /// How long nothing has to be done.
    fn wait(&self) -> Option<Duration> {
        let backlog = self.netlink.has_more()
            || self.dataplane.has_more()
            || self.dhcp.has_more()
            || self.unread.contains(&true)
            || self.admin.has_query();
        if backlog {
            return Some(Duration::ZERO);
        }
        let stop = match self.stopping {
            Stopping::No => None,
            Stopping::Until(at) => Some(at),
        };
        let deadlines = [
            self.lns.poll_timeout(),
            self.routing.poll_timeout(),
            self.dataplane.poll_timeout(),
            stop,
        ];
        let now = self.now();
        deadlines.into_iter().flatten().min().map(|deadline| deadline.since(now))
    }

    fn handle_event(&mut self, now: Time, event: &Event) -> io::Result<()> {
        match event.token() {
            TOKEN_SIGNALS => {
                if let Some(signal) = self.signals.pending().last() {
                    self.stop(now, if signal == SIGINT { "SIGINT" } else { "SIGTERM" });
                }
            }
            TOKEN_PARENT => self.read_parent(now),
            TOKEN_DATAPLANE => self.dataplane.wake(),
            TOKEN_DHCP => self.dhcp.wake(),
            // Read every turn while it has more.
            TOKEN_NETLINK => {}
            token if self.admin.owns(token) => {
                self.admin.handle_event(token, self.poll.registry());
            }
            token => {
                if let Some(index) = self.sockets.index_of(token)
                    && let Some(unread) = self.unread.get_mut(index)
                {
                    *unread = true;
                }
            }
        }
        Ok(())
    }

    /// Standard input says nothing; its end says that the parent is gone.
    fn read_parent(&mut self, now: Time) {
        let Some(fd) = self.parent else { return };
        if parent::has_ended(&io::stdin()) {
            // Level or not, the end is told once.
            let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
            self.parent = None;
            self.stop(now, "the end of standard input");
        }
    }

    fn read_datagrams(&mut self, now: Time) -> io::Result<()> {
        for index in 0..self.unread.len() {
            let mut batches = 0;
            while self.unread.get(index) == Some(&true) && batches < BATCHES_PER_TURN_MAX {
                let lns = &mut self.lns;
                let more = self.sockets.receive(index, |local, peer, octets| {
                    lns.handle_datagram(now, local, peer, octets);
                })?;
                if let Some(unread) = self.unread.get_mut(index) {
                    *unread = more;
                }
                batches += 1;
            }
        }
        Ok(())
    }

    fn read_netlink(&mut self, now: Time) -> io::Result<()> {
        for event in self.netlink.receive()? {
            self.routing.handle_event(now, event);
        }
        if !self.gateway_checked && self.routing.is_synchronised() {
            self.gateway_checked = true;
            let endpoints = self.routing.tunnel_endpoints();
            if let Some(conflict) = self.config.gateway_conflict(&endpoints) {
                return Err(io::Error::other(conflict.to_string()));
            }
        }
        Ok(())
    }

    /// Carries out what the machines want.
    fn drain(&mut self, now: Time) -> io::Result<()> {
        while let Some(change) = self.lns.poll_peer_change() {
            match change {
                PeerChange::Used(address) => self.routing.use_peer(address),
                PeerChange::Unused(address) => self.routing.unuse_peer(address),
            }
        }
        if let Some(uplinks) = self.lns.take_uplinks() {
            self.routing.set_uplinks(uplinks);
        }
        while let Some(request) = self.routing.poll_kernel() {
            self.netlink.request(&request)?;
        }
        while let Some(event) = self.dataplane.poll_event() {
            self.handle_dataplane_event(now, event);
        }
        self.feed_dataplane(now);
        self.ask_for_life();
        self.ask_for_silence(now);
        self.tell_outcomes();
        while let Some(transmit) = self.lns.poll_transmit() {
            self.sockets.queue(transmit);
        }
        self.sockets.flush(self.poll.registry())
    }

    /// Gives the data plane what there is to say, as long as it listens.
    fn feed_dataplane(&mut self, now: Time) {
        if self.lns.take_commands_lost() {
            let reason = "it fell behind and is filled anew".into();
            self.dataplane.disconnect(now, self.poll.registry(), reason);
        }
        while self.dataplane.wants_commands() {
            if let Some(command) = self.routing.poll_command() {
                self.dataplane.push_command(command);
            } else if let Some(command) = self.lns.poll_command() {
                self.dataplane.push_command(command);
            } else if !self.resync_step() {
                break;
            }
            self.flush_full_batch(now);
        }
        self.dataplane.flush(now, self.poll.registry());
    }

    fn flush_full_batch(&mut self, now: Time) {
        if !self.dataplane.wants_commands() {
            self.dataplane.flush(now, self.poll.registry());
        }
    }

    /// Names another page of sessions, or ends the resynchronisation. Returns whether anything was
    /// done. The end waits until the kernel's routes are known, or those not yet read would go.
    fn resync_step(&mut self) -> bool {
        if let Some(cursor) = self.resync_cursor {
            let dataplane = &mut self.dataplane;
            self.resync_cursor =
                self.lns.resync_page(cursor, dataplane.room().min(RESYNC_PAGE), |command| {
                    dataplane.push_command(command);
                });
            return true;
        }
        if self.resync_under_way && self.routing.is_synchronised() {
            self.resync_under_way = false;
            self.dataplane.end_resync();
            return true;
        }
        false
    }

    fn handle_dataplane_event(&mut self, now: Time, event: dataplane_client::Event) {
        use dataplane_client::Event;
        match event {
            Event::Connected { ports, workers } => {
                for port in &ports {
                    tracing::info!(
                        interface = port.interface,
                        queues = port.queues,
                        mode = port.mode.name(),
                        "port"
                    );
                }
                tracing::info!(workers, "data plane connected");
                self.ports = ports;
                self.open_dhcp();
            }
            Event::Resynchronise => {
                self.resync_cursor = Some(0);
                self.resync_under_way = true;
                self.lns.handle_dataplane_ready();
                self.routing.resync();
            }
            Event::Synchronised => {
                self.lns.handle_synchronised(now);
                tracing::info!("data plane synchronised");
                if !std::mem::replace(&mut self.ready, true) {
                    let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Ready]);
                }
            }
            Event::SessionEnded { key, counters } => {
                self.lns.handle_session_ended(now, key, counters);
            }
            Event::CommandRefused { command, error } => {
                self.lns.handle_refused(now, &command, &error);
            }
            Event::Counters(counters) => self.answer_counters(&counters),
            Event::SessionCounters(sessions) => self.answer_sessions(now, &sessions),
            Event::SessionQuality { sessions, next_cursor } => {
                self.answer_quality(now, &sessions, next_cursor);
            }
            Event::Disconnected { reason } => {
                tracing::warn!(reason, "data plane away");
                self.resync_cursor = None;
                self.resync_under_way = false;
                self.ports.clear();
                self.dhcp.close(self.poll.registry());
                self.lns.handle_dataplane_away(now);
                self.answer_without_dataplane(now);
            }
        }
    }

    /// Begins the end: tunnels are closed, so that peers dial again at once.
    fn stop(&mut self, now: Time, why: &str) {
        if self.stopping != Stopping::No {
            return;
        }
        tracing::info!(why, "stopping");
        let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Stopping]);
        self.stopping = Stopping::Until(now + STOP_WAIT);
        self.lns.shut_down(now);
    }

    fn is_over(&self, now: Time) -> bool {
        match self.stopping {
            Stopping::No => false,
            Stopping::Until(at) => at <= now || self.lns.is_quiet() && self.dataplane.is_quiet(),
        }
    }

    /// Takes the routes and addresses back that were installed in the kernel.
    fn shut_down(&mut self) -> io::Result<()> {
        self.routing.shutdown();
        while let Some(request) = self.routing.poll_kernel() {
            self.netlink.request(&request)?;
        }
        // The kernel answers before `request` returns, and more is sent as answers are read.
        while self.netlink.is_waiting() {
            self.netlink.receive()?;
        }
        Ok(())
    }
}

/// Whether this is no LNS: it dials, and has no addresses for subscribers.
fn is_dialler(config: &Config) -> bool {
    !config.client.is_empty() && config.subscriber_prefixes().is_empty()
}

fn routing_config(config: &Config) -> RoutingConfig {
    RoutingConfig {
        ports: config.port.iter().map(PortConfig::kernel_interface).collect(),
        tun_name: config.dataplane.tun_name.clone(),
        tunnel_endpoints: config.lns.listen.clone(),
        subscriber_prefixes: config.subscriber_prefixes(),
        // Where nobody dials in, nobody has it for a gateway; and among the addresses of the device it
        // would come first where the kernel chooses one, for masquerading say.
        gateway: (!is_dialler(config)).then_some(config.lns.gateway.into()),
        dial: config.dial.routing(),
    }
}
