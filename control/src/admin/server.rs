//! The server side: non-blocking, driven by the owner's mio loop, without a clock.
//!
//! Memory is bounded by counts: connections, octets of a request, octets of one page of an answer.
//! A client that does not read keeps its page and its place; when all places are taken, the
//! connection that has been still for longest makes room for a new one.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

use ipnet::IpNet;
use mio::net::UnixStream;
use mio::{Interest, Registry, Token};

use super::REQUEST_BYTES_MAX;
use super::listen::Listener;
use super::protocol::{Request, Response};

/// Connections at a time: operators and their scripts.
const CONNECTIONS_MAX: usize = 16;

/// Tokens that a server uses, from the one it is given on.
pub const TOKENS: usize = 1 + CONNECTIONS_MAX;

/// Rows that the owner should put into one page: some milliseconds of work, and below
/// [`PAGE_BYTES_MAX`] with the longest names.
pub const PAGE_ROWS: usize = 256;

/// The largest page, octets; a connection whose owner answers with more is dropped.
pub const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The longest text that one AVP brings, octets (RFC 2661 section 4.1: a length of ten bits, six
/// octets of header).
const AVP_TEXT_BYTES_MAX: usize = 1023 - 6;

// A row has at most two texts that a peer chose, each at most six times as long in JSON: whatever a
// peer calls itself, a page fits.
const _: () = assert!(PAGE_ROWS * (2 * AVP_TEXT_BYTES_MAX * 6 + 1024) <= PAGE_BYTES_MAX);

/// A connection; one that was closed since is not found under it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionId {
    slot: usize,
    serial: u64,
}

/// A question to the owner, answered by [`Server::reply`] or [`Server::refuse`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Whom to answer.
    pub connection: ConnectionId,
    /// What is asked.
    pub request: Request,
    /// [`Cursor::START`] at first, then what the reply before gave.
    pub cursor: Cursor,
}

/// Where an answer goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursor {
    /// At this number; its meaning is the owner's.
    At(u64),
    /// Behind this prefix.
    Behind(IpNet),
}

impl Cursor {
    /// At the beginning.
    pub const START: Self = Self::At(0);

    /// The number; 0 where there is none.
    pub fn number(self) -> u64 {
        match self {
            Self::At(number) => number,
            Self::Behind(_) => 0,
        }
    }
}

/// The admin socket and its connections.
///
/// [`Server::handle_event`] takes what mio reports, [`Server::poll_query`] hands out questions.
/// Take one a turn of the loop and do not sleep while [`Server::has_query`]: a long answer then
/// never keeps the loop from its other work.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    token_base: usize,
    connections: [Option<Connection>; CONNECTIONS_MAX],
    queries: VecDeque<ConnectionId>,
    serial: u64,
    /// Counts every step of any connection; stands in for a clock.
    step: u64,
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    serial: u64,
    last_step: u64,
    inbox: Vec<u8>,
    /// How much of `inbox` is known to hold no line end.
    searched: usize,
    outbox: Vec<u8>,
    sent: usize,
    task: Task,
}

/// What a connection is about.
#[derive(Debug)]
enum Task {
    /// Nothing is asked.
    Idle,
    /// The next page is wanted as soon as the one before is sent.
    Answering { request: Request, cursor: Cursor, rows: u64 },
    /// The owner has, or will get, the question.
    Asked { request: Request, cursor: Cursor, rows: u64 },
    /// Closed as soon as everything is sent.
    Closing,
}

/// What [`Connection::advance`] came to.
enum Step {
    /// Waits for the socket or for the owner.
    Wait,
    /// The owner is to be asked.
    Ask,
    /// Over.
    Close,
}

impl Server {
    /// Listens at `path` with mode 0600; uses [`TOKENS`] tokens from `token_base` on.
    ///
    /// # Errors
    /// Where the socket cannot be made, or another process answers at `path`.
    pub fn bind(path: &Path, registry: &Registry, token_base: usize) -> io::Result<Self> {
        let mut listener = Listener::bind(path)?;
        registry.register(&mut listener.socket, Token(token_base), Interest::READABLE)?;
        Ok(Self {
            listener,
            token_base,
            connections: [const { None }; CONNECTIONS_MAX],
            queries: VecDeque::new(),
            serial: 0,
            step: 0,
        })
    }

    /// Whether events with this token are for this server.
    pub fn owns(&self, token: Token) -> bool {
        (self.token_base..self.token_base + TOKENS).contains(&token.0)
    }

    /// Takes an event of one of its tokens.
    pub fn handle_event(&mut self, token: Token, registry: &Registry) {
        match token.0.checked_sub(self.token_base) {
            Some(0) => self.accept(registry),
            Some(number) if number <= CONNECTIONS_MAX => self.advance(number - 1),
            _ => {}
        }
    }

    /// Whether [`Server::poll_query`] has something.
    pub fn has_query(&self) -> bool {
        !self.queries.is_empty()
    }

    /// The next question.
    pub fn poll_query(&mut self) -> Option<Query> {
        while let Some(id) = self.queries.pop_front() {
            let Some(connection) = self.connection(id) else { continue };
            if let Task::Asked { request, cursor, .. } = &connection.task {
                return Some(Query { connection: id, request: request.clone(), cursor: *cursor });
            }
        }
        None
    }

    /// Answers a question with rows, at most about [`PAGE_ROWS`]. With `next_cursor` the same
    /// question is asked again from there once the client has taken these; without, the answer
    /// ends.
    pub fn reply(&mut self, id: ConnectionId, rows: &[Response], next_cursor: Option<Cursor>) {
        let Some(connection) = self.connection(id) else { return };
        let task = std::mem::replace(&mut connection.task, Task::Closing);
        let Task::Asked { request, rows: before, .. } = task else { return };
        let count = before + rows.len() as u64;
        let mut fits = rows.iter().all(|row| connection.push(row));
        connection.task = match next_cursor {
            Some(cursor) => Task::Answering { request, cursor, rows: count },
            None => {
                fits &= connection.push(&Response::End { rows: count });
                Task::Idle
            }
        };
        if fits {
            self.advance(id.slot);
        } else {
            tracing::error!(octets = PAGE_BYTES_MAX, "admin answer too long: connection dropped");
            self.close(id.slot);
        }
    }

    /// Answers a question with an error.
    pub fn refuse(&mut self, id: ConnectionId, message: &str) {
        let Some(connection) = self.connection(id) else { return };
        connection.push(&Response::Error { message: message.to_owned() });
        connection.task = Task::Idle;
        self.advance(id.slot);
    }

    fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let connection = self.connections.get_mut(id.slot)?.as_mut()?;
        (connection.serial == id.serial).then_some(connection)
    }

    fn accept(&mut self, registry: &Registry) {
        loop {
            let mut stream = match self.listener.socket.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    if error.kind() != ErrorKind::WouldBlock {
                        tracing::warn!(%error, "admin connection not accepted");
                    }
                    return;
                }
            };
            let slot = self.free_slot();
            let token = Token(self.token_base + 1 + slot);
            let interest = Interest::READABLE | Interest::WRITABLE;
            if let Err(error) = registry.register(&mut stream, token, interest) {
                tracing::warn!(%error, "admin connection not registered");
                continue;
            }
            self.serial += 1;
            let connection = Connection::new(stream, self.serial, self.step);
            if let Some(place) = self.connections.get_mut(slot) {
                *place = Some(connection);
            }
            self.advance(slot);
        }
    }

    /// A free slot; the connection that has been still for longest makes room for it.
    fn free_slot(&mut self) -> usize {
        if let Some(slot) = self.connections.iter().position(Option::is_none) {
            return slot;
        }
        let stillness = |slot: &usize| {
            self.connections.get(*slot).and_then(Option::as_ref).map(|found| found.last_step)
        };
        let slot = (0..CONNECTIONS_MAX).min_by_key(stillness).unwrap_or(0);
        tracing::warn!("admin connections are all taken: the one that is still for longest goes");
        self.close(slot);
        slot
    }

    fn advance(&mut self, slot: usize) {
        let Some(Some(connection)) = self.connections.get_mut(slot) else { return };
        self.step += 1;
        match connection.advance(self.step) {
            Step::Wait => {}
            Step::Ask => {
                self.queries.push_back(ConnectionId { slot, serial: connection.serial });
            }
            Step::Close => self.close(slot),
        }
    }

    /// Dropping the stream takes it out of the poll as well.
    fn close(&mut self, slot: usize) {
        if let Some(place) = self.connections.get_mut(slot) {
            *place = None;
        }
    }
}

impl Connection {
    fn new(stream: UnixStream, serial: u64, last_step: u64) -> Self {
        Self {
            stream,
            serial,
            last_step,
            inbox: Vec::new(),
            searched: 0,
            outbox: Vec::new(),
            sent: 0,
            task: Task::Idle,
        }
    }

    /// Does what can be done without waiting: sends, then asks for the next page or takes the next
    /// request. Events are edge-triggered, so it goes on until the socket would block.
    fn advance(&mut self, step: u64) -> Step {
        loop {
            match self.flush(step) {
                Ok(true) => {}
                Ok(false) => return Step::Wait,
                Err(_) => return Step::Close,
            }
            match std::mem::replace(&mut self.task, Task::Closing) {
                Task::Closing => return Step::Close,
                asked @ Task::Asked { .. } => {
                    self.task = asked;
                    return Step::Wait;
                }
                Task::Answering { request, cursor, rows } => {
                    self.task = Task::Asked { request, cursor, rows };
                    return Step::Ask;
                }
                Task::Idle => self.task = Task::Idle,
            }
            if let Some(line) = self.take_line() {
                self.take_request(&line);
                if matches!(self.task, Task::Asked { .. }) {
                    return Step::Ask;
                }
            } else if self.inbox.len() >= REQUEST_BYTES_MAX {
                let message = format!("a request has at most {REQUEST_BYTES_MAX} octets");
                self.push(&Response::Error { message });
                self.task = Task::Closing;
            } else {
                match self.fill(step) {
                    Ok(true) => {}
                    Ok(false) => return Step::Wait,
                    Err(_) => return Step::Close,
                }
            }
        }
    }

    fn take_request(&mut self, line: &[u8]) {
        match serde_json::from_slice(line) {
            Ok(request) => self.task = Task::Asked { request, cursor: Cursor::START, rows: 0 },
            Err(error) => {
                let message = format!("not a request: {error}");
                self.push(&Response::Error { message });
            }
        }
    }

    fn take_line(&mut self) -> Option<Vec<u8>> {
        let unsearched = self.inbox.get(self.searched..)?;
        let Some(end) = unsearched.iter().position(|octet| *octet == b'\n') else {
            self.searched = self.inbox.len();
            return None;
        };
        let rest = self.inbox.split_off(self.searched + end + 1);
        self.searched = 0;
        Some(std::mem::replace(&mut self.inbox, rest))
    }

    /// Reads some; `false` where the socket would block.
    ///
    /// # Errors
    /// At the end of the stream as well.
    fn fill(&mut self, step: u64) -> io::Result<bool> {
        let mut buffer = [0; 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => {
                    self.last_step = step;
                    self.inbox.extend(buffer.iter().take(length));
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends what is to be sent; `false` where the socket would block before the end.
    fn flush(&mut self, step: u64) -> io::Result<bool> {
        while let Some(rest) = self.outbox.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(length) => {
                    self.sent += length;
                    self.last_step = step;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.outbox.clear();
        self.sent = 0;
        Ok(true)
    }

    /// Puts a line at the end of what is to be sent; `false` where that would be too much.
    fn push(&mut self, line: &Response) -> bool {
        let written = serde_json::to_writer(&mut self.outbox, line).is_ok();
        self.outbox.push(b'\n');
        written && self.outbox.len() <= PAGE_BYTES_MAX
    }
}

#[cfg(test)]
mod tests;
