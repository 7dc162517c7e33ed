//! The UDP sockets of L2TP: datagrams in and out in batches, replies from the address asked.
//!
//! One socket for each listen address and port. A wildcard socket learns from packet information which
//! address a datagram came to, and replies leave from there (RFC 2661 section 8.1).

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockFlag,
    SockProtocol, SockType, SockaddrStorage, bind, recvmmsg, sendmmsg, setsockopt, socket, sockopt,
};

/// The longest datagram taken; L2TP control messages and PPP control frames stay far below.
pub const DATAGRAM_BYTES_MAX: usize = 4096;

/// Datagrams of one system call.
const BATCH_MAX: usize = 64;

/// Datagrams that wait for a socket to become writable; past that they are dropped: control
/// messages are retransmitted, PPP negotiation too.
const SEND_QUEUE_MAX: usize = 16_384;

/// Asked of the kernel, so that a burst of calls is not lost while this process works.
pub(crate) const SOCKET_BUFFER_BYTES: usize = 8 * 1024 * 1024;

/// A datagram to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// Source: the address and port that the peer knows us by.
    pub local: SocketAddr,
    /// Destination.
    pub peer: SocketAddr,
    /// UDP payload.
    pub payload: Vec<u8>,
}

struct Socket {
    socket: UdpSocket,
    bound: SocketAddr,
    queue: VecDeque<Transmit>,
    token: Token,
    writable_wanted: bool,
}

/// All L2TP sockets.
pub struct Sockets {
    sockets: Vec<Socket>,
    buffer: Vec<u8>,
    dropped: u64,
    oversized: u64,
}

impl Sockets {
    /// Binds `ports` on each address; tokens count up from `token_base`.
    ///
    /// # Errors
    /// The first address that cannot be bound, with what to check.
    pub fn bind(
        addresses: &[IpAddr],
        ports: RangeInclusive<u16>,
        registry: &Registry,
        token_base: usize,
    ) -> io::Result<Self> {
        let all = addresses.iter().flat_map(|address| {
            let address = *address;
            ports.clone().map(move |port| SocketAddr::new(address, port))
        });
        let mut sockets = Vec::new();
        for (index, bound) in all.enumerate() {
            let token = Token(token_base + index);
            let socket = open(bound, registry, token).map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!(
                        "cannot listen on {bound} (UDP): {error}; is the address configured on \
                         this host, and no other L2TP server running?"
                    ),
                )
            })?;
            let queue = VecDeque::new();
            sockets.push(Socket { socket, bound, queue, token, writable_wanted: false });
        }
        Ok(Self {
            sockets,
            buffer: vec![0; BATCH_MAX * DATAGRAM_BYTES_MAX],
            dropped: 0,
            oversized: 0,
        })
    }

    /// Marks all that is sent from now on: policy routing then keeps it out of routes that lead into
    /// the tunnels which it is for.
    ///
    /// # Errors
    /// Where that is not allowed, with what to do.
    pub fn mark(&mut self, mark: u32) -> io::Result<()> {
        for socket in &self.sockets {
            setsockopt(&socket.socket, sockopt::Mark, &mark).map_err(|errno| {
                let error = io::Error::from(errno);
                let text = format!("cannot mark L2TP packets: {error}; is CAP_NET_ADMIN given?");
                io::Error::new(error.kind(), text)
            })?;
        }
        Ok(())
    }

    /// The socket of a token.
    pub fn index_of(&self, token: Token) -> Option<usize> {
        self.sockets.iter().position(|socket| socket.token == token)
    }

    /// How many sockets there are.
    pub fn count(&self) -> usize {
        self.sockets.len()
    }

    /// Datagrams dropped because a socket would not take them.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Datagrams received that were longer than [`DATAGRAM_BYTES_MAX`].
    pub fn oversized(&self) -> u64 {
        self.oversized
    }

    /// Reads at most one batch from socket `index` and hands each datagram over with the address it
    /// came to and the one it came from. Returns whether more may wait.
    ///
    /// # Errors
    /// What the socket says, except that nothing is there.
    pub fn receive(
        &mut self,
        index: usize,
        mut handle: impl FnMut(SocketAddr, SocketAddr, &[u8]),
    ) -> io::Result<bool> {
        let Some(socket) = self.sockets.get(index) else { return Ok(false) };
        let space = nix::cmsg_space!(libc_pktinfo::V4, libc_pktinfo::V6);
        let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(BATCH_MAX, Some(space));
        let mut slices: Vec<[IoSliceMut<'_>; 1]> = self
            .buffer
            .chunks_exact_mut(DATAGRAM_BYTES_MAX)
            .map(|chunk| [IoSliceMut::new(chunk)])
            .collect();
        let results = match recvmmsg(
            socket.socket.as_raw_fd(),
            &mut headers,
            slices.iter_mut(),
            MsgFlags::MSG_DONTWAIT,
            None,
        ) {
            Ok(results) => results,
            Err(Errno::EAGAIN) => return Ok(false),
            // A pending ICMP error of an earlier send, or memory short for a moment, is not ours to
            // end on: read on.
            Err(
                Errno::ECONNREFUSED
                | Errno::EHOSTUNREACH
                | Errno::ENETUNREACH
                | Errno::EHOSTDOWN
                | Errno::ENETDOWN
                | Errno::EPROTO
                | Errno::EMSGSIZE
                | Errno::ENOMEM
                | Errno::ENOBUFS
                | Errno::EINTR,
            ) => return Ok(true),
            Err(errno) => return Err(errno.into()),
        };
        let mut count = 0;
        for message in results {
            count += 1;
            let Some(peer) = message.address.as_ref().and_then(to_socket_addr) else { continue };
            let mut local = socket.bound;
            if let Ok(controls) = message.cmsgs() {
                for control in controls {
                    match control {
                        ControlMessageOwned::Ipv4PacketInfo(info) => {
                            let address = u32::from_be(info.ipi_spec_dst.s_addr);
                            local.set_ip(IpAddr::V4(address.into()));
                        }
                        ControlMessageOwned::Ipv6PacketInfo(info) => {
                            local.set_ip(IpAddr::V6(info.ipi6_addr.s6_addr.into()));
                        }
                        _ => {}
                    }
                }
            }
            if message.flags.contains(MsgFlags::MSG_TRUNC) {
                self.oversized += 1;
                continue;
            }
            for slice in message.iovs() {
                handle(local, peer, slice);
            }
        }
        Ok(count == BATCH_MAX)
    }

    /// Queues a datagram; [`Sockets::flush`] sends it.
    pub fn queue(&mut self, transmit: Transmit) {
        let Some(socket) = self.sockets.iter_mut().find(|socket| socket.serves(&transmit.local))
        else {
            self.dropped += 1;
            return;
        };
        if socket.queue.len() >= SEND_QUEUE_MAX {
            self.dropped += 1;
            return;
        }
        socket.queue.push_back(transmit);
    }

    /// Sends what is queued, as far as the sockets take it, and asks to be told when they take more.
    ///
    /// # Errors
    /// Registration with the poll failed.
    pub fn flush(&mut self, registry: &Registry) -> io::Result<()> {
        for socket in &mut self.sockets {
            self.dropped += socket.flush();
            let wanted = !socket.queue.is_empty();
            if wanted != socket.writable_wanted {
                let interest = if wanted {
                    Interest::READABLE | Interest::WRITABLE
                } else {
                    Interest::READABLE
                };
                let fd = socket.socket.as_raw_fd();
                registry.reregister(&mut SourceFd(&fd), socket.token, interest)?;
                socket.writable_wanted = wanted;
            }
        }
        Ok(())
    }
}

impl Socket {
    fn serves(&self, local: &SocketAddr) -> bool {
        self.bound.port() == local.port()
            && self.bound.is_ipv4() == local.is_ipv4()
            && (self.bound.ip().is_unspecified() || self.bound.ip() == local.ip())
    }

    /// Sends batches until the queue is empty or the socket is full; returns how many datagrams the
    /// kernel refused for another reason (no route, say): those are lost like on a wire.
    fn flush(&mut self) -> u64 {
        let mut lost = 0;
        while let Some(first) = self.queue.front() {
            let local = first.local;
            // One call carries one source address.
            let count =
                self.queue.iter().take(BATCH_MAX).take_while(|next| next.local == local).count();
            match self.send(local, count) {
                Ok(0) | Err(Errno::EAGAIN | Errno::ENOBUFS) => break,
                Ok(sent) => {
                    self.queue.drain(..sent);
                }
                Err(Errno::EINTR) => {}
                // An ICMP error of an earlier datagram, or this one has no route.
                Err(_) => {
                    self.queue.pop_front();
                    lost += 1;
                }
            }
        }
        lost
    }

    fn send(&self, local: SocketAddr, count: usize) -> Result<usize, Errno> {
        let batch = || self.queue.iter().take(count);
        let slices: Vec<[IoSlice<'_>; 1]> =
            batch().map(|transmit| [IoSlice::new(&transmit.payload)]).collect();
        let addresses: Vec<Option<SockaddrStorage>> =
            batch().map(|transmit| Some(transmit.peer.into())).collect();
        let v4;
        let v6;
        // The space must be exactly that of the control message: the kernel refuses padding.
        let (source, space) = if !self.bound.ip().is_unspecified() {
            (None, None)
        } else {
            match local.ip() {
                IpAddr::V4(address) => {
                    v4 = libc_pktinfo::v4(address);
                    let space = nix::cmsg_space!(libc_pktinfo::V4);
                    (Some(ControlMessage::Ipv4PacketInfo(&v4)), Some(space))
                }
                IpAddr::V6(address) => {
                    v6 = libc_pktinfo::v6(address);
                    let space = nix::cmsg_space!(libc_pktinfo::V6);
                    (Some(ControlMessage::Ipv6PacketInfo(&v6)), Some(space))
                }
            }
        };
        let controls: Vec<ControlMessage<'_>> = source.into_iter().collect();
        let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(count, space);
        let sent = sendmmsg(
            self.socket.as_raw_fd(),
            &mut headers,
            &slices,
            &addresses,
            &controls,
            MsgFlags::MSG_DONTWAIT,
        )?;
        Ok(sent.count())
    }
}

/// The packet-information structures, by the names of the C library.
mod libc_pktinfo {
    use std::net::{Ipv4Addr, Ipv6Addr};

    pub(super) type V4 = nix::libc::in_pktinfo;
    pub(super) type V6 = nix::libc::in6_pktinfo;

    pub(super) fn v4(address: Ipv4Addr) -> V4 {
        V4 {
            ipi_ifindex: 0,
            ipi_spec_dst: nix::libc::in_addr { s_addr: u32::from(address).to_be() },
            ipi_addr: nix::libc::in_addr { s_addr: 0 },
        }
    }

    pub(super) fn v6(address: Ipv6Addr) -> V6 {
        V6 { ipi6_addr: nix::libc::in6_addr { s6_addr: address.octets() }, ipi6_ifindex: 0 }
    }
}

fn open(bound: SocketAddr, registry: &Registry, token: Token) -> io::Result<UdpSocket> {
    let family = if bound.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, SockType::Datagram, flags, SockProtocol::Udp)?;
    if bound.is_ipv6() {
        // "::" is every IPv6 address; IPv4 peers belong to a socket of their own.
        setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    bind(socket.as_raw_fd(), &SockaddrStorage::from(bound))?;
    let socket = UdpSocket::from(socket);
    // The forced variant goes past the system's limit and needs a capability; without it take what
    // is given.
    if setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER_BYTES).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &SOCKET_BUFFER_BYTES)?;
    }
    // Answers to hosts that the kernel still looks for stay in it for seconds.
    if setsockopt(&socket, sockopt::SndBufForce, &SOCKET_BUFFER_BYTES).is_err() {
        setsockopt(&socket, sockopt::SndBuf, &SOCKET_BUFFER_BYTES)?;
    }
    if bound.is_ipv4() {
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    } else {
        setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
    }
    let fd = socket.as_raw_fd();
    registry.register(&mut SourceFd(&fd), token, Interest::READABLE)?;
    Ok(socket)
}

fn to_socket_addr(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::V4((*v4).into()));
    }
    address.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into()))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    use mio::{Events, Poll};

    use super::*;

    fn echo_through(listen: IpAddr, target: IpAddr) {
        let mut poll = Poll::new().unwrap();
        // Port 0 would differ per socket: take a free one first.
        let probe = UdpSocket::bind((target, 0)).unwrap();
        let port = probe.local_addr().unwrap().port();
        drop(probe);
        let mut sockets = Sockets::bind(&[listen], port..=port, poll.registry(), 7).unwrap();
        let client = UdpSocket::bind((target, 0)).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        for octet in 0..100u8 {
            client.send_to(&[octet; 20], (target, port)).unwrap();
        }
        let mut received = Vec::new();
        let mut events = Events::with_capacity(8);
        while received.len() < 100 {
            poll.poll(&mut events, Some(Duration::from_secs(5))).unwrap();
            assert!(!events.is_empty(), "no datagram within 5 s");
            let index = sockets.index_of(Token(7)).unwrap();
            while sockets
                .receive(index, |local, peer, payload| {
                    received.push((local, peer, payload.to_vec()));
                })
                .unwrap()
            {}
        }
        for (local, peer, payload) in received {
            assert_eq!(local, SocketAddr::new(target, port), "the address it came to");
            sockets.queue(Transmit { local, peer, payload });
        }
        sockets.flush(poll.registry()).unwrap();
        for octet in 0..100u8 {
            let mut buffer = [0; 64];
            let (length, from) = client.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..length], from.ip()), (&[octet; 20][..], target));
        }
        assert_eq!(sockets.dropped(), 0);
    }

    #[test]
    fn a_wildcard_socket_answers_from_the_address_asked() {
        echo_through(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(127, 0, 0, 9).into());
    }

    #[test]
    fn a_bound_socket_answers() {
        echo_through(Ipv4Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into());
    }

    #[test]
    fn ipv6_answers_from_the_address_asked() {
        echo_through(Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::LOCALHOST.into());
    }

    #[test]
    fn a_source_that_no_socket_serves_is_counted() {
        let poll = Poll::new().unwrap();
        let probe = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = probe.local_addr().unwrap().port();
        drop(probe);
        let listen = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
        let mut sockets = Sockets::bind(&listen, port..=port, poll.registry(), 0).unwrap();
        sockets.queue(Transmit {
            local: "127.0.0.2:1701".parse().unwrap(),
            peer: "127.0.0.1:1".parse().unwrap(),
            payload: vec![0],
        });
        assert_eq!(sockets.dropped(), 1);
    }

    #[test]
    fn both_families_listen_on_the_same_port() {
        let poll = Poll::new().unwrap();
        let probe = UdpSocket::bind("0.0.0.0:0").unwrap();
        let port = probe.local_addr().unwrap().port();
        drop(probe);
        let listen = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
        let mut sockets = Sockets::bind(&listen, port..=port, poll.registry(), 0).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(&[1], (Ipv4Addr::LOCALHOST, port)).unwrap();
        let mut peers = Vec::new();
        for index in 0..2 {
            sockets.receive(index, |_, peer, _| peers.push((index, peer))).unwrap();
        }
        assert_eq!(peers, [(0, client.local_addr().unwrap())]);
    }

    #[test]
    fn a_datagram_of_the_longest_is_taken_and_a_longer_one_counted() {
        let poll = Poll::new().unwrap();
        let probe = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = probe.local_addr().unwrap().port();
        drop(probe);
        let listen = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
        let mut sockets = Sockets::bind(&listen, port..=port, poll.registry(), 0).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        for length in [DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MAX + 1] {
            client.send_to(&vec![0; length], (Ipv4Addr::LOCALHOST, port)).unwrap();
        }
        let mut lengths = Vec::new();
        sockets.receive(0, |_, _, octets| lengths.push(octets.len())).unwrap();
        assert_eq!((lengths, sockets.oversized()), (vec![DATAGRAM_BYTES_MAX], 1));
    }
}
