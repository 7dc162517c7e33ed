//! Control's end of the data-plane contract: connects, configures, resynchronises, batches commands
//! and keeps them until they are acknowledged.
//!
//! The owner offers commands while [`Client::wants_commands`] says so and drains
//! [`Client::poll_event`]. Nothing is queued for a data plane that is away: when it is back,
//! [`Event::Resynchronise`] asks for every entry again.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, socket,
};
use xlns_dataplane::api::{
    self, API_VERSION, ApiError, BATCH_COMMANDS_MAX, Command, CommandError, Configuration,
    Counters, INJECT_WEIGHT, MESSAGE_BYTES_MAX, PortStatus, Reply, Request, RequestBody,
    SessionKey,
};
use xlns_dataplane::counters::SessionCounters;
use xlns_dataplane::quality::SessionQuality;

use crate::time::Time;

/// Batches on their way; more would only fill the socket's buffer.
const BATCHES_IN_FLIGHT_MAX: usize = 4;

/// Requests for counters on their way.
const QUERIES_IN_FLIGHT_MAX: usize = 16;

/// Messages read per wake-up, so that a flood of replies cannot starve the rest.
const MESSAGES_PER_TURN_MAX: usize = 256;

/// Between attempts to connect.
const RECONNECT_INTERVAL: Duration = Duration::from_millis(200);

/// Between attempts while it does not want us: until an operator acts.
const REFUSED_INTERVAL: Duration = Duration::from_secs(2);

/// The longest that an answer takes: that to Configure, while NICs reset and workers start.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// The data plane is there and configured.
    Connected {
        /// Ports in the order of the configuration.
        ports: Vec<PortStatus>,
        /// Worker threads.
        workers: u16,
    },
    /// Every entry is wanted, from the first on, then [`Client::end_resync`].
    Resynchronise,
    /// The tables equal what was named since [`Event::Resynchronise`].
    Synchronised,
    /// A removed session's final counters.
    SessionEnded {
        /// Which.
        key: SessionKey,
        /// Final counters.
        counters: SessionCounters,
    },
    /// The data plane refused a command.
    CommandRefused {
        /// The command.
        command: Box<Command>,
        /// Why.
        error: CommandError,
    },
    /// Answer to [`Client::request_counters`].
    Counters(Box<Counters>),
    /// Answer to [`Client::request_session_counters`]; sessions that are not there are left out.
    SessionCounters(Vec<(SessionKey, SessionCounters)>),
    /// Answer to [`Client::request_session_quality`].
    SessionQuality {
        /// Some of the sessions.
        sessions: Vec<(SessionKey, SessionQuality)>,
        /// Where to go on; `None`: there are no more.
        next_cursor: Option<u32>,
    },
    /// The connection ended, or could not be used; it is tried again.
    Disconnected {
        /// Why.
        reason: String,
    },
}

#[derive(Debug)]
enum InFlight {
    Hello,
    Configure,
    Batch { commands: Vec<Command>, ends_resync: bool },
    Query,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not connected; next attempt at this time.
    Away { retry_at: Time },
    /// Connected, not configured yet.
    Greeting,
    /// Takes commands.
    Ready,
}

/// The connection to the data plane.
pub struct Client {
    path: PathBuf,
    configuration: Configuration,
    token: Token,
    state: State,
    socket: Option<OwnedFd>,
    next_number: u64,
    in_flight: VecDeque<(u64, InFlight)>,
    /// When the oldest request in flight must be answered.
    answer_by: Option<Time>,
    /// Whether more may wait to be read: readiness is told at its edge only.
    unread: bool,
    pending: Vec<Command>,
    /// How many of them carry a frame.
    pending_large: usize,
    ends_resync: bool,
    outgoing: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
    buffer: Vec<u8>,
    last_failure: String,
}

impl Client {
    /// A client that will connect to `path` and ask for `configuration`.
    pub fn new(path: PathBuf, configuration: Configuration, token: Token) -> Self {
        Self {
            path,
            configuration,
            token,
            state: State::Away { retry_at: Time::ZERO },
            socket: None,
            next_number: 0,
            in_flight: VecDeque::new(),
            answer_by: None,
            unread: false,
            pending: Vec::new(),
            pending_large: 0,
            ends_resync: false,
            outgoing: VecDeque::new(),
            events: VecDeque::new(),
            buffer: vec![0; MESSAGE_BYTES_MAX],
            last_failure: String::new(),
        }
    }

    /// Whether everything said has reached the tables, or there is nobody to say it to.
    pub fn is_quiet(&self) -> bool {
        self.pending.is_empty() && self.in_flight.is_empty()
    }

    /// The socket became ready.
    pub fn wake(&mut self) {
        self.unread = self.socket.is_some();
    }

    /// Whether [`Client::handle_ready`] wants to be called, after [`Client::wake`] or because it
    /// left something unread.
    pub fn has_more(&self) -> bool {
        self.unread
    }

    /// When [`Client::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Time> {
        match self.state {
            State::Away { retry_at } => Some(retry_at),
            State::Greeting | State::Ready => self.answer_by,
        }
    }

    /// Connects where it is time, and gives up a data plane that does not answer.
    pub fn handle_timeout(&mut self, now: Time, registry: &Registry) {
        if self.answer_by.is_some_and(|at| at <= now) {
            let reason = format!("no answer for {} s", ANSWER_WAIT.as_secs());
            return self.disconnect(now, registry, reason);
        }
        let State::Away { retry_at } = self.state else { return };
        if retry_at > now {
            return;
        }
        match self.connect(registry) {
            Ok(()) => {
                self.state = State::Greeting;
                self.enqueue(RequestBody::Hello { version: API_VERSION }, InFlight::Hello);
                self.flush(now, registry);
            }
            Err(error) => {
                self.state = State::Away { retry_at: now + RECONNECT_INTERVAL };
                let reason = format!("{}: {error}", self.path.display());
                self.report_failure(reason);
            }
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether [`Client::push_command`] may be called.
    pub fn wants_commands(&self) -> bool {
        self.state == State::Ready
            && !self.ends_resync
            && self.room() > 0
            && self.batches_in_flight() < BATCHES_IN_FLIGHT_MAX
    }

    /// How many commands the next batch still takes.
    pub fn room(&self) -> usize {
        let large = |command: &&Command| matches!(command, Command::Inject { .. });
        let weight = self.pending.len() + INJECT_WEIGHT * self.pending_large;
        debug_assert_eq!(self.pending.iter().filter(large).count(), self.pending_large);
        BATCH_COMMANDS_MAX.saturating_sub(weight)
    }

    /// Adds a command to the next batch. Only while [`Client::wants_commands`].
    pub fn push_command(&mut self, command: Command) {
        debug_assert!(self.wants_commands());
        self.pending_large += usize::from(matches!(command, Command::Inject { .. }));
        self.pending.push(command);
    }

    /// Every entry was named since [`Event::Resynchronise`]. Only while [`Client::wants_commands`].
    pub fn end_resync(&mut self) {
        debug_assert!(self.wants_commands());
        self.pending.push(Command::ResyncEnd);
        self.ends_resync = true;
    }

    /// Asks for the counters of workers, ports and drops. Returns whether the request was taken.
    pub fn request_counters(&mut self) -> bool {
        self.query(RequestBody::Counters)
    }

    /// Asks for the counters of at most [`BATCH_COMMANDS_MAX`] sessions. Returns whether the request
    /// was taken.
    pub fn request_session_counters(&mut self, keys: Vec<SessionKey>) -> bool {
        self.query(RequestBody::SessionCountersOf(keys))
    }

    /// Asks for the quality of at most `limit` monitored sessions from `cursor` on that leave
    /// `unanswered_min` requests in a row unanswered. Returns whether the request was taken.
    pub fn request_session_quality(&mut self, cursor: u32, limit: u16, unanswered_min: u8) -> bool {
        self.query(RequestBody::SessionQuality { cursor, limit, unanswered_min })
    }

    /// Sends what is pending, as far as the socket takes it.
    pub fn flush(&mut self, now: Time, registry: &Registry) {
        if !self.pending.is_empty() && self.batches_in_flight() < BATCHES_IN_FLIGHT_MAX {
            let commands = std::mem::take(&mut self.pending);
            self.pending_large = 0;
            let ends_resync = std::mem::take(&mut self.ends_resync);
            let body = RequestBody::Batch(commands.clone());
            self.enqueue(body, InFlight::Batch { commands, ends_resync });
        }
        if let Err(error) = self.send_outgoing(registry) {
            return self.disconnect(now, registry, error.to_string());
        }
        if !self.in_flight.is_empty() {
            self.answer_by.get_or_insert(now + ANSWER_WAIT);
        }
    }

    /// Reads what the data plane says, a bounded part of it: see [`Client::has_more`].
    pub fn handle_ready(&mut self, now: Time, registry: &Registry) {
        for _ in 0..MESSAGES_PER_TURN_MAX {
            let Some(socket) = &self.socket else { return };
            let length = match recv(socket.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return self.disconnect(now, registry, "it closed the connection".into()),
                Ok(length) => length,
                Err(Errno::EAGAIN) => {
                    self.unread = false;
                    break;
                }
                Err(Errno::EINTR) => continue,
                Err(errno) => return self.disconnect(now, registry, errno.to_string()),
            };
            let reply = self.buffer.get(..length).map(api::decode::<Reply>);
            let outcome = match reply {
                Some(Ok(reply)) => self.handle_reply(reply),
                Some(Err(error)) => Err(error.to_string()),
                None => Err("a message longer than the most".into()),
            };
            if let Err(reason) = outcome {
                return self.disconnect(now, registry, reason);
            }
            // Each sign of life counts; `flush` starts the wait for the next one.
            self.answer_by = None;
        }
        self.flush(now, registry);
    }

    /// Ends the connection and tries again later; every entry is asked for again then. For the
    /// owner's own use where it lost track of what it has named.
    pub fn disconnect(&mut self, now: Time, registry: &Registry, reason: String) {
        if let Some(socket) = self.socket.take() {
            // The descriptor goes away with the drop; a failure to deregister changes nothing.
            let _ = registry.deregister(&mut SourceFd(&socket.as_raw_fd()));
        }
        let refused = self.state == State::Greeting;
        let pause = if refused { REFUSED_INTERVAL } else { RECONNECT_INTERVAL };
        self.state = State::Away { retry_at: now + pause };
        self.in_flight.clear();
        self.answer_by = None;
        self.unread = false;
        self.pending.clear();
        self.pending_large = 0;
        self.outgoing.clear();
        self.ends_resync = false;
        self.report_failure(reason);
    }

    /// The same failure, again and again, is told once.
    fn report_failure(&mut self, reason: String) {
        if reason != self.last_failure {
            self.last_failure.clone_from(&reason);
            self.events.push_back(Event::Disconnected { reason });
        }
    }

    fn connect(&mut self, registry: &Registry) -> io::Result<()> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
        connect(socket.as_raw_fd(), &UnixAddr::new(&self.path)?)?;
        registry.register(
            &mut SourceFd(&socket.as_raw_fd()),
            self.token,
            Interest::READABLE | Interest::WRITABLE,
        )?;
        self.socket = Some(socket);
        Ok(())
    }

    fn query(&mut self, body: RequestBody) -> bool {
        let queries =
            self.in_flight.iter().filter(|(_, kind)| matches!(kind, InFlight::Query)).count();
        if self.state != State::Ready || queries >= QUERIES_IN_FLIGHT_MAX {
            return false;
        }
        self.enqueue(body, InFlight::Query);
        true
    }

    fn batches_in_flight(&self) -> usize {
        self.in_flight.iter().filter(|(_, kind)| matches!(kind, InFlight::Batch { .. })).count()
    }

    fn enqueue(&mut self, body: RequestBody, kind: InFlight) {
        let number = self.next_number;
        self.next_number += 1;
        match api::encode(&Request { number, body }) {
            Ok(octets) => {
                self.outgoing.push_back(octets);
                self.in_flight.push_back((number, kind));
            }
            // The bounds of the contract make every request fit; one that does not is our mistake.
            Err(error) => tracing::error!(%error, "request for the data plane not sent"),
        }
    }

    fn send_outgoing(&mut self, registry: &Registry) -> io::Result<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        while let Some(message) = self.outgoing.front() {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match send(socket.as_raw_fd(), message, flags) {
                Ok(_) => {
                    self.outgoing.pop_front();
                }
                Err(Errno::EINTR) => {}
                // Edge-triggered: re-registering tells us when it is writable again.
                Err(Errno::EAGAIN) => {
                    return registry.reregister(
                        &mut SourceFd(&socket.as_raw_fd()),
                        self.token,
                        Interest::READABLE | Interest::WRITABLE,
                    );
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn take_in_flight(&mut self, number: u64) -> Result<InFlight, String> {
        match self.in_flight.pop_front() {
            Some((expected, kind)) if expected == number => Ok(kind),
            _ => Err(format!("it answered request {number}, which is not the next one")),
        }
    }

    /// Acts on one reply; an error ends the connection.
    fn handle_reply(&mut self, reply: Reply) -> Result<(), String> {
        match reply {
            Reply::Hello { number, version, .. } => {
                self.take_in_flight(number)?;
                if version != API_VERSION {
                    let error = ApiError::Version { theirs: API_VERSION, ours: version };
                    return Err(error.to_string());
                }
                let configuration = Box::new(self.configuration.clone());
                self.enqueue(RequestBody::Configure(configuration), InFlight::Configure);
            }
            Reply::Configured { number, ports, workers } => {
                self.take_in_flight(number)?;
                self.state = State::Ready;
                self.last_failure.clear();
                self.pending.push(Command::ResyncBegin);
                self.events.push_back(Event::Connected { ports, workers });
                self.events.push_back(Event::Resynchronise);
            }
            Reply::Ack { number, refused } => {
                let InFlight::Batch { mut commands, ends_resync } = self.take_in_flight(number)?
                else {
                    return Err("it acknowledged what was no batch".into());
                };
                // From the end, so that the indices stay true.
                for (index, error) in refused.into_iter().rev() {
                    if usize::from(index) < commands.len() {
                        let command = Box::new(commands.swap_remove(index.into()));
                        self.events.push_back(Event::CommandRefused { command, error });
                    }
                }
                if ends_resync {
                    self.events.push_back(Event::Synchronised);
                }
            }
            Reply::Counters { number, counters } => {
                self.take_in_flight(number)?;
                self.events.push_back(Event::Counters(counters));
            }
            Reply::SessionCounters { number, sessions, .. } => {
                self.take_in_flight(number)?;
                self.events.push_back(Event::SessionCounters(sessions));
            }
            Reply::SessionQuality { number, sessions, next_cursor } => {
                self.take_in_flight(number)?;
                self.events.push_back(Event::SessionQuality { sessions, next_cursor });
            }
            // Whatever it refers to: a refusal of the connection itself answers no request.
            Reply::Refused { error, .. } => return Err(error.to_string()),
            Reply::SessionEnded { key, counters } => {
                self.events.push_back(Event::SessionEnded { key, counters });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
