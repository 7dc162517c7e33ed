//! The emulator's UDP sockets: datagrams in and out in batches.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, MultiHeaders, SockFlag, SockProtocol, SockType, SockaddrStorage, bind,
    recvmmsg, sendmmsg, setsockopt, socket, sockopt,
};
use xlns_tests::{LabError, Result};

use super::Datagram;

/// Datagrams of one system call.
const BATCH_MAX: usize = 64;

/// The longest datagram taken.
const DATAGRAM_BYTES_MAX: usize = 2048;

/// Batches read from a socket before the next one's turn.
const BATCHES_PER_TURN_MAX: usize = 4;

/// Asked of the kernel, so that the emulator is never what loses.
const BUFFER_BYTES: usize = 16 * 1024 * 1024;

struct Socket {
    socket: UdpSocket,
    queue: VecDeque<Datagram>,
}

/// All sockets.
pub struct Sockets {
    sockets: Vec<Socket>,
    buffer: Vec<u8>,
    headers: MultiHeaders<SockaddrStorage>,
}

impl Sockets {
    /// Binds one for each address, in the namespace of this thread.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn bind(sources: &[SocketAddr]) -> Result<Self> {
        let sockets = sources.iter().map(|source| {
            let socket = open(*source)
                .map_err(|error| LabError::io(&format!("bind {source} (UDP)"), &error.into()))?;
            Ok(Socket { socket, queue: VecDeque::new() })
        });
        Ok(Self {
            sockets: sockets.collect::<Result<_>>()?,
            buffer: vec![0; BATCH_MAX * DATAGRAM_BYTES_MAX],
            headers: MultiHeaders::preallocate(BATCH_MAX, None),
        })
    }

    /// Waits until something is there to read, `milliseconds` at most.
    pub fn wait(&self, milliseconds: u8) {
        let mut waiting: Vec<PollFd<'_>> = self
            .sockets
            .iter()
            .map(|socket| PollFd::new(socket.socket.as_fd(), PollFlags::POLLIN))
            .collect();
        // Whatever it says, the sockets are read next.
        let _ = poll(&mut waiting, PollTimeout::from(milliseconds));
    }

    /// Reads what is there, a bounded part of it. Returns how many datagrams came.
    pub fn receive(&mut self, mut handle: impl FnMut(SocketAddr, &[u8])) -> usize {
        let mut total = 0;
        for socket in &self.sockets {
            for _ in 0..BATCHES_PER_TURN_MAX {
                let mut slices: Vec<[IoSliceMut<'_>; 1]> = self
                    .buffer
                    .chunks_exact_mut(DATAGRAM_BYTES_MAX)
                    .map(|chunk| [IoSliceMut::new(chunk)])
                    .collect();
                let fd = socket.socket.as_raw_fd();
                let flags = MsgFlags::MSG_DONTWAIT;
                let Ok(results) = recvmmsg(fd, &mut self.headers, slices.iter_mut(), flags, None)
                else {
                    break;
                };
                let mut count = 0;
                for message in results {
                    count += 1;
                    let Some(from) = message.address.as_ref().and_then(address) else { continue };
                    message.iovs().for_each(|octets| handle(from, octets));
                }
                total += count;
                if count < BATCH_MAX {
                    break;
                }
            }
        }
        total
    }

    /// Queues a datagram.
    pub fn queue(&mut self, datagram: Datagram) {
        if let Some(socket) = self.sockets.get_mut(datagram.source) {
            socket.queue.push_back(datagram);
        }
    }

    /// Sends what is queued, as far as the kernel takes it.
    pub fn flush(&mut self) {
        for socket in &mut self.sockets {
            while !socket.queue.is_empty() {
                match socket.send() {
                    Ok(0) | Err(Errno::EAGAIN | Errno::ENOBUFS) => break,
                    Ok(sent) => drop(socket.queue.drain(..sent)),
                    Err(Errno::EINTR) => {}
                    // Lost as on a wire.
                    Err(_) => drop(socket.queue.pop_front()),
                }
            }
        }
    }
}

impl Socket {
    fn send(&self) -> std::result::Result<usize, Errno> {
        let batch = || self.queue.iter().take(BATCH_MAX);
        let slices: Vec<[IoSlice<'_>; 1]> =
            batch().map(|datagram| [IoSlice::new(&datagram.payload)]).collect();
        let addresses: Vec<Option<SockaddrStorage>> =
            batch().map(|datagram| Some(datagram.lns.into())).collect();
        let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(slices.len(), None);
        let flags = MsgFlags::MSG_DONTWAIT;
        let fd = self.socket.as_raw_fd();
        Ok(sendmmsg(fd, &mut headers, &slices, &addresses, [], flags)?.count())
    }
}

fn open(source: SocketAddr) -> std::result::Result<UdpSocket, Errno> {
    let family = if source.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, SockType::Datagram, flags, SockProtocol::Udp)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(source))?;
    for forced in [true, false] {
        let set = if forced {
            setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES)
                .and_then(|()| setsockopt(&socket, sockopt::SndBufForce, &BUFFER_BYTES))
        } else {
            setsockopt(&socket, sockopt::RcvBuf, &BUFFER_BYTES)
                .and_then(|()| setsockopt(&socket, sockopt::SndBuf, &BUFFER_BYTES))
        };
        if set.is_ok() {
            break;
        }
    }
    Ok(UdpSocket::from(socket))
}

fn address(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::V4((*v4).into()));
    }
    address.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into()))
}
