//! The server against real sockets: what it answers, and what a bad client costs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use mio::{Events, Poll};
use tempfile::TempDir;

use super::super::protocol::{CounterRow, SessionFilter};
use super::*;

struct Bench {
    poll: Poll,
    events: Events,
    server: Server,
    folder: TempDir,
}

const BASE: usize = 100;

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let poll = Poll::new().unwrap();
        let path = folder.path().join("admin.sock");
        let server = Server::bind(&path, poll.registry(), BASE).unwrap();
        Self { poll, events: Events::with_capacity(64), server, folder }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.folder.path().join("admin.sock")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream
    }

    /// Handles everything that is there.
    fn turn(&mut self) {
        loop {
            self.poll.poll(&mut self.events, Some(Duration::ZERO)).unwrap();
            if self.events.is_empty() {
                return;
            }
            for event in &self.events {
                assert!(self.server.owns(event.token()));
                self.server.handle_event(event.token(), self.poll.registry());
            }
        }
    }

    fn query(&mut self) -> Query {
        self.turn();
        self.server.poll_query().expect("a query")
    }

    fn is_open(&mut self, stream: &mut UnixStream) -> bool {
        self.turn();
        stream.set_nonblocking(true).unwrap();
        let open = match stream.read(&mut [0; 1]) {
            Ok(length) => length != 0,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        };
        stream.set_nonblocking(false).unwrap();
        open
    }
}

fn row(value: u64) -> Response {
    Response::Counter(CounterRow::new("drop", "no_route", value, "None."))
}

fn lines(stream: &UnixStream, count: usize) -> Vec<Response> {
    let reader = BufReader::new(stream);
    reader.lines().take(count).map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
}

const SHOW: &[u8] = b"{\"request\":\"show-counters\"}\n";

#[test]
fn a_request_is_handed_out_and_its_rows_end_with_their_number() {
    let mut bench = Bench::new();
    let mut client = bench.connect();
    client.write_all(SHOW).unwrap();
    let query = bench.query();
    assert_eq!((&query.request, query.cursor), (&Request::ShowCounters, Cursor::START));
    assert!(!bench.server.has_query());
    bench.server.reply(query.connection, &[row(1), row(2)], None);
    assert_eq!(lines(&client, 3), [row(1), row(2), Response::End { rows: 2 }]);
    // The same connection asks again.
    client.write_all(SHOW).unwrap();
    let query = bench.query();
    bench.server.refuse(query.connection, "no");
    assert_eq!(lines(&client, 1), [Response::Error { message: "no".into() }]);
}

#[test]
fn a_request_may_come_in_pieces_and_two_at_once() {
    let mut bench = Bench::new();
    let mut client = bench.connect();
    client.write_all(&SHOW[..9]).unwrap();
    bench.turn();
    assert!(!bench.server.has_query());
    client.write_all(&SHOW[9..]).unwrap();
    client.write_all(b"{\"request\":\"show-tunnels\"}\n").unwrap();
    let first = bench.query();
    assert_eq!(first.request, Request::ShowCounters);
    assert!(!bench.server.has_query(), "one at a time");
    bench.server.reply(first.connection, &[], None);
    assert_eq!(bench.query().request, Request::ShowTunnels);
}

#[test]
fn a_client_that_has_asked_may_close_its_sending_side() {
    let mut bench = Bench::new();
    let mut client = bench.connect();
    client.write_all(SHOW).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let query = bench.query();
    bench.server.reply(query.connection, &[row(1)], None);
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
}

#[test]
fn the_next_page_is_asked_for_when_the_one_before_is_taken() {
    let mut bench = Bench::new();
    let mut client = bench.connect();
    client.write_all(SHOW).unwrap();
    let query = bench.query();
    // More than the kernel's socket buffer takes, so that some of it stays here.
    let page: Vec<Response> = (0..8000).map(row).collect();
    bench.server.reply(query.connection, &page, Some(Cursor::At(8000)));
    bench.turn();
    assert!(!bench.server.has_query(), "the client has not read yet");
    let mut reader = BufReader::new(client.try_clone().unwrap());
    let mut line = String::new();
    let mut taken = 0;
    while !bench.server.has_query() {
        reader.read_line(&mut line).unwrap();
        taken += 1;
        bench.turn();
    }
    assert!(taken < 8000, "the kernel's buffer holds the last rows");
    let query = bench.query();
    assert_eq!(query.cursor, Cursor::At(8000));
    bench.server.reply(query.connection, &[row(8000)], None);
    let rest: Vec<String> = reader.lines().take(8002 - taken).map(Result::unwrap).collect();
    let last: Response = serde_json::from_str(rest.last().unwrap()).unwrap();
    assert_eq!(last, Response::End { rows: 8001 });
}

#[test]
fn nonsense_is_answered_and_the_connection_goes_on() {
    let mut bench = Bench::new();
    let mut client = bench.connect();
    let deep = format!("{}\n", "[".repeat(3000));
    for nonsense in ["\n", "{}\n", "\u{0}\n", "{\"request\":\"reboot\"}\n", &deep] {
        client.write_all(nonsense.as_bytes()).unwrap();
        bench.turn();
        assert!(!bench.server.has_query());
        let answer = lines(&client, 1);
        assert!(matches!(&answer[0], Response::Error { message } if message.contains("not a")));
    }
    client.write_all(b"{\"request\":\"show-sessions\"}\r\n").unwrap();
    let filter = SessionFilter::default();
    assert_eq!(bench.query().request, Request::ShowSessions { filter });
}

#[test]
fn a_line_without_end_is_refused_at_its_bound() {
    let mut bench = Bench::new();
    let mut client = bench.connect();
    client.write_all(&[b' '; REQUEST_BYTES_MAX - 1]).unwrap();
    assert!(bench.is_open(&mut client));
    client.write_all(b" ").unwrap();
    bench.turn();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert!(text.contains("at most 4096 octets"), "{text}");
}

#[test]
fn the_stillest_connection_makes_room() {
    let mut bench = Bench::new();
    let mut clients: Vec<UnixStream> = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        clients.push(bench.connect());
        bench.turn();
    }
    // The first two do something; so the third is the stillest, then the fourth.
    for client in &mut clients[..2] {
        client.write_all(b"\n").unwrap();
        bench.turn();
        lines(client, 1);
    }
    let mut one_more = bench.connect();
    assert!(bench.is_open(&mut one_more));
    let open: Vec<bool> = clients.iter_mut().map(|client| bench.is_open(client)).collect();
    let closed: Vec<usize> = (0..CONNECTIONS_MAX).filter(|index| !open[*index]).collect();
    assert_eq!(closed, [2]);
}

#[test]
fn an_answer_to_a_connection_that_is_gone_goes_nowhere() {
    let mut bench = Bench::new();
    let mut client = bench.connect();
    client.write_all(SHOW).unwrap();
    let query = bench.query();
    bench.server.close(query.connection.slot);
    let mut other = bench.connect();
    assert!(bench.is_open(&mut other));
    bench.server.reply(query.connection, &[row(1)], None);
    bench.server.refuse(query.connection, "no");
    bench.turn();
    other.set_nonblocking(true).unwrap();
    assert_eq!(other.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_page_beyond_the_bound_drops_the_connection() {
    let mut bench = Bench::new();
    let mut client = bench.connect();
    client.write_all(SHOW).unwrap();
    let query = bench.query();
    let long = "x".repeat(PAGE_BYTES_MAX);
    let row = Response::Counter(CounterRow::new("drop", &long, 0, ""));
    bench.server.reply(query.connection, &[row], None);
    assert!(!bench.is_open(&mut client));
}
