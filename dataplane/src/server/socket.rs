//! The api socket: a SEQPACKET listener and connections with a bounded queue of replies.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{self, AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr};
use nix::sys::stat::{Mode, umask};

use crate::api::{self, ApiError, MESSAGE_BYTES_MAX, Reply};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4;

/// Replies that may wait for the peer to read; no request is read while as many do.
pub const OUTGOING_MAX: usize = 64;

const FLAGS: SockFlag = SockFlag::SOCK_CLOEXEC.union(SockFlag::SOCK_NONBLOCK);

/// The listening socket; its file goes with it.
#[derive(Debug)]
pub struct Listener {
    /// Of type SEQPACKET; accepting does not depend on the type.
    socket: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Listens at `path`, mode 0600, making its folder where there is none. A file that a process
    /// of before left is replaced.
    ///
    /// # Errors
    /// What the kernel says; [`io::ErrorKind::AddrInUse`] where a data plane listens there.
    pub fn bind(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let address = UnixAddr::new(path)?;
        let fd = new_socket()?;
        match socket::connect(fd.as_raw_fd(), &address) {
            Err(Errno::ENOENT) => {}
            Err(Errno::ECONNREFUSED) => std::fs::remove_file(path)?,
            Ok(()) | Err(Errno::EAGAIN) => {
                let text = format!("another xlns-dataplane listens at {}", path.display());
                return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
            }
            Err(error) => return Err(error.into()),
        }
        let fd = new_socket()?;
        // The file must never be open to others, not even between two calls.
        let before = umask(Mode::S_IXUSR | Mode::S_IRWXG | Mode::S_IRWXO);
        let bound = socket::bind(fd.as_raw_fd(), &address);
        umask(before);
        bound?;
        let listener = Self { socket: fd.into(), path: path.to_owned() };
        socket::listen(&listener.socket, Backlog::new(BACKLOG)?)?;
        Ok(listener)
    }

    /// Accepts a connection; `None` where none waits.
    ///
    /// # Errors
    /// Too many descriptors, and the like.
    pub fn accept(&self) -> io::Result<Option<Connection>> {
        match self.socket.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                Ok(Some(Connection { fd: stream.into(), outgoing: VecDeque::new() }))
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock
                | io::ErrorKind::Interrupted
                | io::ErrorKind::ConnectionAborted => Ok(None),
                _ => Err(error),
            },
        }
    }
}

fn new_socket() -> io::Result<OwnedFd> {
    Ok(socket::socket(AddressFamily::Unix, SockType::SeqPacket, FLAGS, None)?)
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the api socket");
        }
    }
}

/// What came from the peer.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// A message of this many octets.
    Message(usize),
    /// A message longer than the buffer.
    TooLong(usize),
    /// Nothing now.
    Nothing,
    /// The peer is gone.
    Closed,
}

/// A connection of a control process.
#[derive(Debug)]
pub struct Connection {
    fd: OwnedFd,
    outgoing: VecDeque<Vec<u8>>,
}

impl Connection {
    /// Receives one message into `buffer`.
    pub fn receive(&self, buffer: &mut [u8]) -> Received {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
        match socket::recv(self.fd.as_raw_fd(), buffer, flags) {
            Ok(0) => Received::Closed,
            Ok(length) if length > buffer.len() => Received::TooLong(length),
            Ok(length) => Received::Message(length),
            Err(Errno::EAGAIN | Errno::EINTR) => Received::Nothing,
            Err(_) => Received::Closed,
        }
    }

    /// Queues a reply; [`Connection::flush`] sends it. One that is too long, which only our own
    /// mistake can make, becomes a refusal.
    pub fn queue(&mut self, reply: &Reply) {
        let octets = api::encode(reply).or_else(|error| {
            tracing::error!(%error, "a reply is too long");
            api::encode(&Reply::Refused { number: 0, error })
        });
        self.outgoing.extend(octets.ok());
    }

    /// Sends what the peer takes. Returns whether it is still there.
    pub fn flush(&mut self) -> bool {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        while let Some(octets) = self.outgoing.front() {
            match socket::send(self.fd.as_raw_fd(), octets, flags) {
                Ok(_) => {
                    self.outgoing.pop_front();
                }
                Err(Errno::EAGAIN | Errno::EINTR | Errno::ENOBUFS) => return true,
                Err(_) => return false,
            }
        }
        true
    }

    /// Says why the peer is not served, and closes. What it has said is read before: the kernel would
    /// tell it of that loss instead.
    pub fn refuse(mut self, error: ApiError) {
        self.queue(&Reply::Refused { number: 0, error });
        self.flush();
        // One request is all that a peer says before it has an answer.
        self.receive(&mut [0; 1]);
    }

    /// Whether as many replies wait as may.
    pub fn is_full(&self) -> bool {
        self.outgoing.len() >= OUTGOING_MAX
    }

    /// Whether the peer has closed its end, whatever it sent before.
    pub fn is_dead(&self) -> bool {
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::empty())];
        let gone = PollFlags::POLLHUP | PollFlags::POLLERR;
        nix::poll::poll(&mut fds, PollTimeout::ZERO).is_ok()
            && fds[0].revents().is_some_and(|events| events.intersects(gone))
    }
}

#[cfg(test)]
impl Connection {
    /// Both ends of a connection.
    pub fn pair() -> (Self, Self) {
        let ends = socket::socketpair(AddressFamily::Unix, SockType::SeqPacket, None, FLAGS);
        let (one, other) = ends.unwrap();
        let end = |fd| Self { fd, outgoing: VecDeque::new() };
        (end(one), end(other))
    }

    /// Sends octets as they are.
    pub fn send(&self, octets: &[u8]) {
        socket::send(self.fd.as_raw_fd(), octets, MsgFlags::MSG_NOSIGNAL).unwrap();
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Refuses a message as too long.
pub fn too_long(length: usize) -> Reply {
    let text = format!("{length} octets, {MESSAGE_BYTES_MAX} is the most");
    Reply::Refused { number: 0, error: ApiError::Malformed(text) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("xlns-api-{name}-{}", std::process::id()))
    }

    fn connect(path: &Path) -> OwnedFd {
        let fd = new_socket().unwrap();
        socket::connect(fd.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
        fd
    }

    #[test]
    fn the_file_is_the_owners_and_goes_with_the_listener() {
        let path = path("mode");
        let listener = Listener::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_missing_folder_is_made() {
        let folder = path("folder");
        let listener = Listener::bind(&folder.join("a/b.sock")).unwrap();
        assert!(folder.join("a/b.sock").exists());
        drop(listener);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_stale_file_is_replaced_and_a_live_listener_is_not() {
        let path = path("stale");
        let stale = new_socket().unwrap();
        socket::bind(stale.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        drop(stale);
        let listener = Listener::bind(&path).unwrap();
        let error = Listener::bind(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(path.exists());
        drop(listener);
    }

    #[test]
    fn messages_keep_their_bounds_and_a_long_one_is_told() {
        let path = path("bounds");
        let listener = Listener::bind(&path).unwrap();
        let peer = connect(&path);
        let connection = listener.accept().unwrap().unwrap();
        assert!(listener.accept().unwrap().is_none());
        let mut buffer = [0; 4];
        assert_eq!(connection.receive(&mut buffer), Received::Nothing);
        for message in [&b"four"[..], b"five5", b"x"] {
            socket::send(peer.as_raw_fd(), message, MsgFlags::empty()).unwrap();
        }
        assert_eq!(connection.receive(&mut buffer), Received::Message(4));
        assert_eq!(connection.receive(&mut buffer), Received::TooLong(5));
        assert_eq!(connection.receive(&mut buffer), Received::Message(1));
        assert!(!connection.is_dead());
        drop(peer);
        assert!(connection.is_dead());
        assert_eq!(connection.receive(&mut buffer), Received::Closed);
    }

    #[test]
    fn a_refused_peer_learns_why_also_if_it_has_spoken() {
        let (connection, peer) = Connection::pair();
        peer.send(b"a hello longer than an octet");
        connection.refuse(ApiError::Busy);
        let mut buffer = [0; 100];
        let Received::Message(length) = peer.receive(&mut buffer) else { panic!("no reply") };
        let reply = Reply::Refused { number: 0, error: ApiError::Busy };
        assert_eq!(api::decode::<Reply>(&buffer[..length]).unwrap(), reply);
        assert_eq!(peer.receive(&mut buffer), Received::Closed);
    }

    #[test]
    fn replies_wait_while_the_peer_does_not_read() {
        let path = path("wait");
        let listener = Listener::bind(&path).unwrap();
        let peer = connect(&path);
        let mut connection = listener.accept().unwrap().unwrap();
        let text = "x".repeat(60_000);
        let reply = Reply::Refused { number: 1, error: ApiError::SetUp(text) };
        while !connection.is_full() {
            connection.queue(&reply);
            assert!(connection.flush());
        }
        let mut received = 0;
        let mut buffer = vec![0; MESSAGE_BYTES_MAX];
        while !connection.outgoing.is_empty() {
            received +=
                usize::from(socket::recv(peer.as_raw_fd(), &mut buffer, MsgFlags::empty()).is_ok());
            assert!(connection.flush());
        }
        assert!(received > 0);
        let length = socket::recv(peer.as_raw_fd(), &mut buffer, MsgFlags::empty()).unwrap();
        assert_eq!(api::decode::<Reply>(&buffer[..length]).unwrap(), reply);
        drop(peer);
        connection.queue(&reply);
        assert!(!connection.flush());
    }
}
