//! The conversation with the control process: requests in, replies and ended sessions out.

use std::collections::VecDeque;

use super::data_plane::DataPlane;
use super::socket::{self, Connection, Received};
use crate::api::{
    self, API_VERSION, ApiError, BATCH_COMMANDS_MAX, Command, Configuration, MESSAGE_BYTES_MAX,
    Reply, Request, RequestBody, SessionKey,
};
use crate::counters::SessionCounters;

/// Requests served before other events get a turn.
const REQUESTS_PER_TURN: usize = 64;

/// Sessions in one reply. A session is at most two IDs of 3 octets and four counters of 10, so that
/// they fit a message with room for its head.
const SESSIONS_PER_REPLY: usize = 1024;

const _: () = assert!(SESSIONS_PER_REPLY * (2 * 3 + 4 * 10) + 64 < MESSAGE_BYTES_MAX);

/// Sessions in one reply about quality: two IDs of 3 octets, six numbers of 5, 33 of one.
const QUALITY_PER_REPLY: usize = 768;

const _: () = assert!(QUALITY_PER_REPLY * (2 * 3 + 6 * 5 + 33) + 64 < MESSAGE_BYTES_MAX);

/// What became of the connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Served {
    /// More requests may wait.
    More,
    /// The next event goes on.
    Waiting,
    /// The peer is gone.
    Closed,
}

/// The data plane, once configured, and where the conversation about it stands.
pub struct Session {
    data_plane: Option<DataPlane>,
    greeted: bool,
    /// Ended sessions that no control process has been told of yet; kept while none is there. Bounded:
    /// a session ends once, and no request that could end more is read while any wait.
    ended: VecDeque<(SessionKey, SessionCounters)>,
    changed: bool,
    buffer: Vec<u8>,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            data_plane: None,
            greeted: false,
            ended: VecDeque::new(),
            changed: false,
            buffer: vec![0; MESSAGE_BYTES_MAX],
        }
    }
}

impl Session {
    /// Sends what waits and serves requests, as long as the peer takes the replies.
    pub fn serve(&mut self, connection: &mut Connection) -> Served {
        for _ in 0..REQUESTS_PER_TURN {
            if !self.send(connection) {
                return Served::Closed;
            }
            if connection.is_full() || (self.greeted && !self.ended.is_empty()) {
                return Served::Waiting;
            }
            let reply = match connection.receive(&mut self.buffer) {
                Received::Message(length) => self.answer_octets(length),
                Received::TooLong(length) => socket::too_long(length),
                Received::Nothing => return Served::Waiting,
                Received::Closed => return Served::Closed,
            };
            connection.queue(&reply);
        }
        if self.send(connection) { Served::More } else { Served::Closed }
    }

    fn send(&mut self, connection: &mut Connection) -> bool {
        loop {
            while self.greeted && !connection.is_full() {
                let Some((key, counters)) = self.ended.pop_front() else { break };
                connection.queue(&Reply::SessionEnded { key, counters });
            }
            if !connection.flush() {
                return false;
            }
            if !self.greeted || self.ended.is_empty() || connection.is_full() {
                return true;
            }
        }
    }

    fn answer_octets(&mut self, length: usize) -> Reply {
        let octets = self.buffer.get(..length).unwrap_or_default();
        match api::decode::<Request>(octets) {
            Ok(request) => self.answer(request),
            Err(error) => Reply::Refused { number: 0, error },
        }
    }

    fn answer(&mut self, request: Request) -> Reply {
        let Request { number, body } = request;
        let answered = match body {
            RequestBody::Hello { version } => self.hello(number, version),
            _ if !self.greeted => Err(ApiError::NotConfigured),
            RequestBody::Configure(configuration) => self.configure(number, *configuration),
            RequestBody::Batch(commands) => self.batch(number, &commands),
            RequestBody::Counters => self.running().map(|data_plane| Reply::Counters {
                number,
                counters: Box::new(data_plane.counters()),
            }),
            RequestBody::SessionCounters { cursor } => self.running().map(|data_plane| {
                let (sessions, next_cursor) =
                    data_plane.session_counters(cursor, SESSIONS_PER_REPLY);
                Reply::SessionCounters { number, sessions, next_cursor }
            }),
            RequestBody::SessionCountersOf(keys) => self.counters_of(number, &keys),
            RequestBody::SessionQuality { cursor, limit, unanswered_min } => {
                let limit = usize::from(limit).clamp(1, QUALITY_PER_REPLY);
                self.running().map(|data_plane| {
                    let (sessions, next_cursor) =
                        data_plane.session_quality(cursor, limit, unanswered_min);
                    Reply::SessionQuality { number, sessions, next_cursor }
                })
            }
        };
        answered.unwrap_or_else(|error| Reply::Refused { number, error })
    }

    fn hello(&mut self, number: u64, version: u32) -> Result<Reply, ApiError> {
        self.greeted = version == API_VERSION;
        if !self.greeted {
            return Err(ApiError::Version { theirs: version, ours: API_VERSION });
        }
        let configured = self.data_plane.is_some();
        tracing::info!(configured, "the control process is here");
        Ok(Reply::Hello {
            number,
            version: API_VERSION,
            process_id: std::process::id(),
            configured,
        })
    }

    fn configure(&mut self, number: u64, configuration: Configuration) -> Result<Reply, ApiError> {
        let data_plane = match self.data_plane.take() {
            Some(running) => {
                let same = *running.configuration() == configuration;
                let running = self.data_plane.insert(running);
                if !same {
                    return Err(ApiError::Reconfigure);
                }
                running
            }
            None => {
                let started = DataPlane::start(configuration).map_err(|error| {
                    tracing::error!(error, "set-up failed");
                    ApiError::SetUp(error)
                })?;
                self.data_plane.insert(started)
            }
        };
        Ok(Reply::Configured {
            number,
            ports: data_plane.ports().to_vec(),
            workers: data_plane.workers(),
        })
    }

    fn batch(&mut self, number: u64, commands: &[Command]) -> Result<Reply, ApiError> {
        let data_plane = self.data_plane.as_mut().ok_or(ApiError::NotConfigured)?;
        check_count(commands.len())?;
        let mut refused = Vec::new();
        for (index, command) in commands.iter().enumerate() {
            if let Err(error) = data_plane.apply(command) {
                refused.push((index as u16, error));
            }
        }
        self.changed = true;
        Ok(Reply::Ack { number, refused })
    }

    fn counters_of(&self, number: u64, keys: &[SessionKey]) -> Result<Reply, ApiError> {
        check_count(keys.len())?;
        let sessions = self.running()?.session_counters_of(keys);
        Ok(Reply::SessionCounters { number, sessions, next_cursor: None })
    }

    fn running(&self) -> Result<&DataPlane, ApiError> {
        self.data_plane.as_ref().ok_or(ApiError::NotConfigured)
    }

    /// Frees what workers have let go of. Returns whether there was something.
    pub fn reclaim(&mut self) -> bool {
        let Some(data_plane) = &mut self.data_plane else { return false };
        let ended = data_plane.reclaim();
        let any = !ended.is_empty();
        self.ended.extend(ended);
        any
    }

    /// Whether the tables were changed since the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// The control process is gone.
    pub fn disconnected(&mut self) {
        self.greeted = false;
        if let Some(data_plane) = &mut self.data_plane {
            data_plane.abandon_resync();
        }
    }

    /// Stops workers and gives the ports back.
    pub fn stop(&mut self) {
        if let Some(data_plane) = self.data_plane.take() {
            data_plane.stop();
        }
    }
}

fn check_count(count: usize) -> Result<(), ApiError> {
    if count <= BATCH_COMMANDS_MAX {
        return Ok(());
    }
    Err(ApiError::Malformed(format!("{count} entries, {BATCH_COMMANDS_MAX} is the most")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quality::{CLASSES, Recent, SessionQuality};

    fn ask(session: &mut Session, body: RequestBody) -> Reply {
        session.answer(Request { number: 7, body })
    }

    fn refused(reply: Reply) -> ApiError {
        match reply {
            Reply::Refused { number: 7, error } => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn hello_comes_first_and_versions_must_agree() {
        let mut session = Session::default();
        let reply = ask(&mut session, RequestBody::Counters);
        assert_eq!(refused(reply), ApiError::NotConfigured);
        let reply = ask(&mut session, RequestBody::Hello { version: API_VERSION + 1 });
        let theirs = API_VERSION + 1;
        assert_eq!(refused(reply), ApiError::Version { theirs, ours: API_VERSION });
        assert!(!session.greeted);
        let reply = ask(&mut session, RequestBody::Hello { version: API_VERSION });
        assert!(matches!(reply, Reply::Hello { number: 7, configured: false, .. }), "{reply:?}");
        session.disconnected();
        assert!(!session.greeted);
    }

    #[test]
    fn nothing_but_configure_works_before_it() {
        let mut session = Session::default();
        ask(&mut session, RequestBody::Hello { version: API_VERSION });
        for body in [
            RequestBody::Batch(Vec::new()),
            RequestBody::Counters,
            RequestBody::SessionCounters { cursor: 0 },
            RequestBody::SessionCountersOf(Vec::new()),
            RequestBody::SessionQuality { cursor: 0, limit: 1, unanswered_min: 0 },
        ] {
            assert_eq!(refused(ask(&mut session, body)), ApiError::NotConfigured);
        }
    }

    #[test]
    fn as_many_entries_as_may_be_and_one_more() {
        assert_eq!(check_count(BATCH_COMMANDS_MAX), Ok(()));
        assert!(matches!(check_count(BATCH_COMMANDS_MAX + 1), Err(ApiError::Malformed(_))));
    }

    #[test]
    fn a_reply_full_of_large_counters_fits_a_message() {
        let counters = SessionCounters {
            upstream_packets: u64::MAX,
            upstream_bytes: u64::MAX,
            downstream_packets: u64::MAX,
            downstream_bytes: u64::MAX,
        };
        let key = SessionKey { local_tunnel_id: u16::MAX, local_session_id: u16::MAX };
        let sessions = vec![(key, counters); SESSIONS_PER_REPLY];
        let reply =
            Reply::SessionCounters { number: u64::MAX, sessions, next_cursor: Some(u32::MAX) };
        api::encode(&reply).unwrap();
    }

    #[test]
    fn a_reply_full_of_quality_fits_a_message() {
        let quality = SessionQuality {
            sent: u32::MAX,
            lost: u32::MAX,
            unanswered: u8::MAX,
            last_us: u32::MAX,
            min_us: u32::MAX,
            max_us: u32::MAX,
            jitter_us: u32::MAX,
            recent: Recent { lost: u8::MAX, untimed: u8::MAX, classes: [u8::MAX; CLASSES] },
        };
        let key = SessionKey { local_tunnel_id: u16::MAX, local_session_id: u16::MAX };
        let sessions = vec![(key, quality); QUALITY_PER_REPLY];
        let reply =
            Reply::SessionQuality { number: u64::MAX, sessions, next_cursor: Some(u32::MAX) };
        api::encode(&reply).unwrap();
    }

    #[test]
    fn an_end_that_nobody_was_told_of_waits_for_the_next_hello() {
        let mut session = Session::default();
        let key = SessionKey { local_tunnel_id: 1, local_session_id: 2 };
        session.ended.push_back((key, SessionCounters::default()));
        let (mut connection, peer) = Connection::pair();
        let mut buffer = vec![0; MESSAGE_BYTES_MAX];
        assert_eq!(session.serve(&mut connection), Served::Waiting);
        assert_eq!(peer.receive(&mut buffer), Received::Nothing);
        let hello = Request { number: 7, body: RequestBody::Hello { version: API_VERSION } };
        peer.send(&api::encode(&hello).unwrap());
        assert_eq!(session.serve(&mut connection), Served::Waiting);
        let mut reply = || match peer.receive(&mut buffer) {
            Received::Message(length) => api::decode::<Reply>(&buffer[..length]).unwrap(),
            other => panic!("{other:?}"),
        };
        assert!(matches!(reply(), Reply::Hello { number: 7, .. }));
        let counters = SessionCounters::default();
        assert_eq!(reply(), Reply::SessionEnded { key, counters });
    }

    #[test]
    fn nonsense_is_refused_and_not_fatal() {
        let mut session = Session::default();
        session.buffer[..4].copy_from_slice(&[0xff; 4]);
        let reply = session.answer_octets(4);
        assert!(matches!(reply, Reply::Refused { number: 0, error: ApiError::Malformed(_) }));
    }
}
