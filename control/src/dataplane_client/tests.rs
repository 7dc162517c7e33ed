//! The client against a data plane that is played by the test.

use std::os::unix::net::{UnixListener, UnixStream};

use mio::{Events, Poll};
use nix::sys::socket::{Backlog, bind, listen, setsockopt, sockopt};
use xlns_dataplane::api::ControlRates;

use super::*;

const TOKEN: Token = Token(1);

/// Room for all that a test sends before the client reads.
const SEND_BUFFER_BYTES: usize = 200 * 1024;

fn configuration() -> Configuration {
    Configuration {
        ports: Vec::new(),
        workers: 1,
        cores: Vec::new(),
        frames_per_queue: 512,
        sessions_max: 1,
        routes_max: 1,
        tun_name: "xlns0".into(),
        tun_mtu: 1500,
        busy_poll: false,
        handoff: xlns_dataplane::api::Handoff::Auto,
        l2tp_port: 1701,
        l2tp_port_count: 1,
        gateway: None,
        gateway_ipv6: None,
        quality: None,
        control_rates: ControlRates {
            setup_packets_per_second: 1,
            tunnel_packets_per_second: 1,
            ppp_packets_per_second: 1,
            burst_packets: 1,
        },
    }
}

struct Lab {
    _folder: tempfile::TempDir,
    listener: UnixListener,
    peer: Option<UnixStream>,
    poll: Poll,
    client: Client,
    now: Time,
}

impl Lab {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.sock");
        let flags = SockFlag::SOCK_CLOEXEC;
        let listener = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
        bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        listen(&listener, Backlog::new(4).unwrap()).unwrap();
        let client = Client::new(path, configuration(), TOKEN);
        let poll = Poll::new().unwrap();
        let listener = listener.into();
        Self { _folder: folder, listener, peer: None, poll, client, now: Time::ZERO }
    }

    fn connect(&mut self) {
        self.client.handle_timeout(self.now, self.poll.registry());
        let (peer, _) = self.listener.accept().unwrap();
        setsockopt(&peer, sockopt::SndBuf, &SEND_BUFFER_BYTES).unwrap();
        self.peer = Some(peer);
    }

    /// What the client asks next.
    fn request(&self) -> Request {
        let mut buffer = vec![0; MESSAGE_BYTES_MAX];
        let peer = self.peer.as_ref().unwrap();
        let length = recv(peer.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).unwrap();
        api::decode(&buffer[..length]).unwrap()
    }

    fn say(&self, reply: &Reply) {
        let octets = api::encode(reply).unwrap();
        let peer = self.peer.as_ref().unwrap();
        send(peer.as_raw_fd(), &octets, MsgFlags::MSG_DONTWAIT).unwrap();
    }

    /// Runs the client as the event loop does, until it would sleep.
    fn turn(&mut self) {
        let mut events = Events::with_capacity(4);
        loop {
            self.poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
            if !events.is_empty() {
                self.client.wake();
            }
            if !self.client.has_more() {
                return;
            }
            self.client.handle_ready(self.now, self.poll.registry());
        }
    }

    fn greet(&mut self) -> u64 {
        self.connect();
        let hello = self.request();
        assert_eq!(hello.body, RequestBody::Hello { version: API_VERSION });
        let number = hello.number;
        self.say(&Reply::Hello { number, version: API_VERSION, process_id: 1, configured: false });
        self.turn();
        let configure = self.request();
        assert!(matches!(configure.body, RequestBody::Configure(_)));
        configure.number
    }

    fn ready(&mut self) {
        let number = self.greet();
        self.say(&Reply::Configured { number, ports: Vec::new(), workers: 1 });
        self.turn();
        assert!(matches!(self.client.poll_event(), Some(Event::Connected { .. })));
        assert!(matches!(self.client.poll_event(), Some(Event::Resynchronise)));
        assert!(self.client.wants_commands());
        let request = self.request();
        assert_eq!(request.body, RequestBody::Batch(vec![Command::ResyncBegin]));
        self.say(&Reply::Ack { number: request.number, refused: Vec::new() });
        self.turn();
        assert!(self.client.is_quiet());
    }

    fn reasons(&mut self) -> Vec<String> {
        let events = std::iter::from_fn(|| self.client.poll_event());
        events
            .filter_map(|event| match event {
                Event::Disconnected { reason } => Some(reason),
                _ => None,
            })
            .collect()
    }
}

#[test]
fn more_than_one_turn_takes_is_read_without_another_wake_up() {
    let mut lab = Lab::new();
    lab.ready();
    let key = SessionKey { local_tunnel_id: 1, local_session_id: 1 };
    let count = MESSAGES_PER_TURN_MAX + 10;
    for _ in 0..count {
        lab.say(&Reply::SessionEnded { key, counters: SessionCounters::default() });
    }
    lab.turn();
    let events = std::iter::from_fn(|| lab.client.poll_event());
    assert_eq!(events.count(), count);
}

#[test]
fn the_same_refusal_again_and_again_is_told_once() {
    let mut lab = Lab::new();
    for _ in 0..3 {
        let number = lab.greet();
        lab.say(&Reply::Refused { number, error: ApiError::Reconfigure });
        lab.turn();
        let again = lab.client.poll_timeout().expect("it is tried again");
        assert_eq!(again, lab.now + REFUSED_INTERVAL);
        lab.now = again;
    }
    assert_eq!(lab.reasons(), [ApiError::Reconfigure.to_string()]);
    // But each end of a connection that was in use is.
    for _ in 0..2 {
        lab.ready();
        lab.peer = None;
        lab.turn();
        assert_eq!(lab.reasons(), ["it closed the connection"]);
        lab.now = lab.client.poll_timeout().expect("it is tried again");
    }
}

#[test]
fn a_second_control_process_is_told_why_it_is_refused() {
    let mut lab = Lab::new();
    lab.ready();
    lab.peer = None;
    lab.turn();
    lab.now = lab.client.poll_timeout().expect("it is tried again");
    lab.reasons();
    // Said at once, so under a number that was never asked.
    lab.connect();
    lab.say(&Reply::Refused { number: 0, error: ApiError::Busy });
    lab.turn();
    assert_eq!(lab.reasons(), [ApiError::Busy.to_string()]);
}

#[test]
fn a_data_plane_that_does_not_answer_is_given_up() {
    let mut lab = Lab::new();
    lab.ready();
    let key = SessionKey { local_tunnel_id: 1, local_session_id: 1 };
    lab.client.push_command(Command::SessionRemove(key));
    lab.client.flush(lab.now, lab.poll.registry());
    let at = lab.client.poll_timeout().expect("an answer is due");
    assert_eq!(at, lab.now + ANSWER_WAIT);
    lab.now = at;
    lab.client.handle_timeout(lab.now, lab.poll.registry());
    assert_eq!(lab.reasons(), ["no answer for 30 s"]);
    // One that answers is not.
    lab.now = lab.client.poll_timeout().expect("it is tried again");
    lab.ready();
    lab.client.push_command(Command::SessionRemove(key));
    lab.client.flush(lab.now, lab.poll.registry());
    let number = lab.request().number;
    lab.say(&Reply::Ack { number, refused: Vec::new() });
    lab.turn();
    assert_eq!(lab.client.poll_timeout(), None);
    assert!(lab.client.is_quiet());
}

#[test]
fn refused_commands_come_back() {
    let mut lab = Lab::new();
    lab.ready();
    let key = |id| SessionKey { local_tunnel_id: 1, local_session_id: id };
    lab.client.push_command(Command::SessionRemove(key(1)));
    lab.client.push_command(Command::SessionRemove(key(2)));
    lab.client.end_resync();
    assert!(!lab.client.wants_commands(), "nothing is named behind the end");
    lab.client.flush(lab.now, lab.poll.registry());
    let request = lab.request();
    let RequestBody::Batch(commands) = &request.body else { panic!("{request:?}") };
    assert_eq!(commands.last(), Some(&Command::ResyncEnd));
    let refused = vec![(0, CommandError::NoSuchEntry), (1, CommandError::NoSuchEntry)];
    lab.say(&Reply::Ack { number: request.number, refused });
    lab.turn();
    let mut refused = Vec::new();
    for _ in 0..2 {
        let Some(Event::CommandRefused { command, .. }) = lab.client.poll_event() else {
            panic!("two refusals")
        };
        refused.push(*command);
    }
    refused.reverse();
    assert_eq!(refused, [Command::SessionRemove(key(1)), Command::SessionRemove(key(2))]);
    assert!(matches!(lab.client.poll_event(), Some(Event::Synchronised)));
}
