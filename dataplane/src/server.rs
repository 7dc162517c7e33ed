//! The data plane's main thread: the api socket, the tables' writer, signals.
//!
//! One control process at a time is connected. While none is, forwarding goes on; the next one says
//! Hello, sends the same configuration and resynchronises. A connection whose peer is gone gives
//! way at once; while the peer lives, another one is refused. Requests are read only while the
//! peer reads the replies.

mod data_plane;
pub mod modes;
mod plan;
mod session;
mod setup;
mod socket;
mod troubles;

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::api::ApiError;
use session::Session;
use socket::{Connection, Listener};

const LISTENER: Token = Token(0);
const SIGNALS: Token = Token(1);
const PARENT: Token = Token(3);
const CONNECTION: Token = Token(2);

/// Events taken from the kernel at once; there are three sources.
const EVENTS: usize = 8;

/// How often retired entries are looked after while workers may still let go of some.
const RECLAIM_INTERVAL: Duration = Duration::from_millis(10);

/// Looks without a find before they become rare: a worker passes within a turn, a sleeping one at
/// once, so a second is plenty.
const RECLAIM_LOOKS: u32 = 100;

/// How often they are looked after at rest.
const REST_INTERVAL: Duration = Duration::from_secs(1);

/// Serves the api socket at `path` until SIGTERM or SIGINT, and with `exit_with_stdin` until standard
/// input ends; `ready` is called once it listens.
///
/// Must run before other threads are started: the signals are blocked in all of them.
///
/// # Errors
/// What the kernel says to the socket, or to waiting.
pub fn run(path: &Path, exit_with_stdin: bool, ready: impl FnOnce()) -> io::Result<()> {
    let signals = block_signals()?;
    let listener = Listener::bind(path)?;
    let poll = Poll::new()?;
    register(&poll, &listener, LISTENER, Interest::READABLE)?;
    register(&poll, &signals, SIGNALS, Interest::READABLE)?;
    if exit_with_stdin {
        register(&poll, &io::stdin(), PARENT, Interest::READABLE)?;
    }
    tracing::info!(path = %path.display(), "waiting for the control process");
    ready();
    let mut server =
        Server { poll, listener, connection: None, session: Session::default(), looks: 0 };
    let result = server.serve(&signals);
    server.session.stop();
    result
}

fn block_signals() -> io::Result<SignalFd> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGTERM);
    set.add(Signal::SIGINT);
    set.thread_block()?;
    Ok(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

fn register(poll: &Poll, source: &impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
    poll.registry().register(&mut SourceFd(&source.as_fd().as_raw_fd()), token, interest)
}

/// What the parent writes means nothing; that it writes no more, means that it is gone.
fn parent_is_gone() -> bool {
    let mut ignored = [0; 64];
    matches!(nix::unistd::read(io::stdin(), &mut ignored), Ok(0))
}

struct Server {
    poll: Poll,
    listener: Listener,
    connection: Option<Connection>,
    session: Session,
    /// Looks after retired entries left before they become rare.
    looks: u32,
}

impl Server {
    fn serve(&mut self, signals: &SignalFd) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        let mut again = false;
        loop {
            let timeout = match (again, self.looks) {
                (true, _) => Duration::ZERO,
                (false, 0) => REST_INTERVAL,
                (false, _) => RECLAIM_INTERVAL,
            };
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => other?,
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(),
                    SIGNALS => {
                        if let Ok(Some(signal)) = signals.read_signal() {
                            tracing::info!(number = signal.ssi_signo, "signal: stopping");
                            return Ok(());
                        }
                    }
                    PARENT if event.is_read_closed() || parent_is_gone() => {
                        tracing::info!("standard input ended: stopping");
                        return Ok(());
                    }
                    _ => {}
                }
            }
            if events.is_empty() {
                // An attempt that failed is not announced again.
                self.accept();
            }
            again = self.turn()?;
        }
    }

    /// Takes new connections. A failure, be it for want of descriptors, does not end forwarding.
    fn accept(&mut self) {
        if let Err(error) = self.try_accept() {
            tracing::warn!(%error, "cannot take a control process' connection");
        }
    }

    /// Takes new connections: the only one, or one in place of a dead one.
    fn try_accept(&mut self) -> io::Result<()> {
        while let Some(connection) = self.listener.accept()? {
            if self.connection.as_ref().is_some_and(|current| !current.is_dead()) {
                tracing::warn!("a second control process is refused");
                connection.refuse(ApiError::Busy);
                continue;
            }
            self.disconnect()?;
            register(&self.poll, &connection, CONNECTION, Interest::READABLE | Interest::WRITABLE)?;
            self.connection = Some(connection);
        }
        Ok(())
    }

    /// Serves the connection and looks after retired entries. Returns whether there is more to do
    /// at once.
    fn turn(&mut self) -> io::Result<bool> {
        if self.session.reclaim() || self.session.take_changed() {
            self.looks = RECLAIM_LOOKS;
        } else {
            self.looks = self.looks.saturating_sub(1);
        }
        let Some(connection) = &mut self.connection else { return Ok(false) };
        match self.session.serve(connection) {
            session::Served::More => Ok(true),
            session::Served::Waiting => Ok(false),
            session::Served::Closed => {
                self.disconnect()?;
                Ok(false)
            }
        }
    }

    fn disconnect(&mut self) -> io::Result<()> {
        if let Some(connection) = self.connection.take() {
            self.poll.registry().deregister(&mut SourceFd(&connection.as_fd().as_raw_fd()))?;
            tracing::warn!("the control process is gone; forwarding goes on");
            self.session.disconnected();
        }
        Ok(())
    }
}
