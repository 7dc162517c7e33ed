//! The admin socket: lines of any kind, in pieces of any size, over a real socket to the real server.

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use mio::{Events, Poll};
use tempfile::TempDir;
use xlns_control::admin::{CounterRow, Cursor, Request, Response, Server};

use crate::kept::{self, Kept};
use crate::script::Script;

/// Pages of an answer.
const PAGES: u64 = 3;

/// Turns of the loop for one input; a conversation needs a few.
const TURNS_MAX: usize = 1000;

struct World {
    server: Server,
    poll: Poll,
    folder: TempDir,
}

thread_local! {
    /// Made once: a socket file for each input would be most of the work.
    static WORLD: Kept<World> = const { RefCell::new(None) };
}

/// The input is a script of pieces to write; the server is asked in between.
pub fn run(input: &[u8]) {
    kept::with(&WORLD, World::new, |world| world.converse(&mut Script::new(input)));
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let poll = Poll::new().expect("a poll");
        let server = Server::bind(&folder.path().join("s"), poll.registry(), 0).expect("a socket");
        Self { server, poll, folder }
    }

    fn converse(&mut self, script: &mut Script<'_>) {
        let mut client = UnixStream::connect(self.folder.path().join("s")).expect("a connection");
        client.set_nonblocking(true).expect("a socket");
        let (mut written, mut received) = (Vec::new(), Vec::new());
        while !script.is_over() {
            let piece = script.piece();
            match client.write(piece) {
                Ok(count) => written.extend_from_slice(&piece[..count]),
                // The server has closed: the line was too long.
                Err(_) => break,
            }
            self.turns(&mut client, &mut received);
        }
        let _ = client.shutdown(Shutdown::Write);
        self.turns(&mut client, &mut received);
        check(&written, &received);
        drop(client);
        self.turn();
        assert!(!self.server.has_query() || self.server.poll_query().is_none());
    }

    /// Until neither end has anything to do.
    fn turns(&mut self, client: &mut UnixStream, received: &mut Vec<u8>) {
        let mut buffer = [0; 4096];
        for turn in 0.. {
            assert!(turn < TURNS_MAX, "a conversation without an end");
            let busy = self.turn();
            match client.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock && !busy => return,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }

    /// One turn of the server's loop. Returns whether there was something to do.
    fn turn(&mut self) -> bool {
        let mut events = Events::with_capacity(64);
        self.poll.poll(&mut events, Some(Duration::ZERO)).expect("a poll");
        for event in &events {
            self.server.handle_event(event.token(), self.poll.registry());
        }
        let Some(query) = self.server.poll_query() else { return !events.is_empty() };
        let page = query.cursor.number();
        match query.request {
            Request::ShowPorts => self.server.refuse(query.connection, "no"),
            _ => {
                let row = Response::Counter(CounterRow::new("g", "n", page, "text"));
                let next = (page + 1 < PAGES).then_some(Cursor::At(page + 1));
                self.server.reply(query.connection, &[row], next);
            }
        }
        true
    }
}

/// Every line has one answer, which ends, and says what was asked for.
fn check(written: &[u8], received: &[u8]) {
    let text = std::str::from_utf8(received).expect("an answer is text");
    assert!(text.is_empty() || text.ends_with('\n'), "an answer is lines");
    let (mut ends, mut rows) = (0, 0);
    for line in text.lines() {
        match serde_json::from_str(line).expect("a line is a response") {
            Response::End { rows: said } => {
                assert_eq!(said, std::mem::take(&mut rows));
                ends += 1;
            }
            Response::Error { .. } => (ends, rows) = (ends + 1, 0),
            _ => rows += 1,
        }
    }
    assert_eq!(rows, 0, "an answer without an end");
    let lines = written.iter().filter(|octet| **octet == b'\n').count();
    // One more where a line was too long; less where the connection ended for that.
    assert!(ends <= lines + 1, "{ends} answers to {lines} lines");
    for line in written.split(|octet| *octet == b'\n') {
        if let Ok(request) = serde_json::from_slice::<Request>(line) {
            let again = serde_json::to_vec(&request).expect("a request can be written");
            assert_eq!(serde_json::from_slice::<Request>(&again).ok(), Some(request));
        }
    }
}
