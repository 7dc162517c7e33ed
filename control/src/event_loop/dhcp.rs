//! The socket for DHCPINFORM: on the TUN device towards the workers, which bring it what subscribers
//! send to 255.255.255.255, and on no other interface.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrIn, bind, setsockopt, socket, sockopt,
};

use super::EventLoop;
use crate::dhcp::SERVER_PORT;
use crate::time::Time;

/// The longest request taken: what a client may send without being told otherwise (RFC 2131
/// section 2), twice over.
const REQUEST_BYTES_MAX: usize = 1152;

/// Requests taken in one turn, so that a flood of them cannot starve the rest.
const REQUESTS_PER_TURN_MAX: usize = 64;

/// The socket; none while the device is away, or where nothing is to be told.
#[derive(Default)]
pub(super) struct DhcpSocket {
    socket: Option<UdpSocket>,
    unread: bool,
}

impl DhcpSocket {
    /// Opens it anew: a device that comes back under its old name is another one to the kernel.
    pub(super) fn open(&mut self, device: &str, registry: &Registry, token: Token) {
        self.close(registry);
        match bound(device) {
            Ok(socket) => {
                let fd = socket.as_raw_fd();
                let registered = registry.register(&mut SourceFd(&fd), token, Interest::READABLE);
                if let Err(error) = registered {
                    return tracing::warn!(%error, "DHCPINFORM will not be answered");
                }
                self.socket = Some(socket);
                self.unread = true;
            }
            Err(error) => {
                let advice = "is another DHCP server running on this device or on all of them?";
                tracing::warn!(device, %error, advice, "DHCPINFORM will not be answered");
            }
        }
    }

    pub(super) fn close(&mut self, registry: &Registry) {
        if let Some(socket) = self.socket.take() {
            let _ = registry.deregister(&mut SourceFd(&socket.as_raw_fd()));
        }
        self.unread = false;
    }

    pub(super) fn wake(&mut self) {
        self.unread = true;
    }

    pub(super) fn has_more(&self) -> bool {
        self.unread && self.socket.is_some()
    }
}

fn bound(device: &str) -> io::Result<UdpSocket> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Inet, SockType::Datagram, flags, SockProtocol::Udp)?;
    // A DHCP server of the host on its other interfaces may have the port, too.
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    setsockopt(&socket, sockopt::BindToDevice, &device.into())?;
    let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, SERVER_PORT);
    bind(socket.as_raw_fd(), &SockaddrIn::from(any))?;
    Ok(UdpSocket::from(socket))
}

impl EventLoop {
    /// Opens the socket if there is anything to tell; the device is there.
    pub(super) fn open_dhcp(&mut self) {
        if self.lns.answers_dhcp() {
            let device = &self.config.dataplane.tun_name;
            self.dhcp.open(device, self.poll.registry(), super::TOKEN_DHCP);
        }
    }

    /// Answers requests.
    pub(super) fn read_dhcp(&mut self, now: Time) {
        let mut request = [0; REQUEST_BYTES_MAX];
        for _ in 0..REQUESTS_PER_TURN_MAX {
            let Some(socket) = self.dhcp.socket.as_ref().filter(|_| self.dhcp.unread) else {
                return;
            };
            let (length, source) = match socket.recv_from(&mut request) {
                Ok(received) => received,
                Err(error) => {
                    // Whatever else it is, the next event says whether there is more.
                    self.dhcp.unread = error.kind() == io::ErrorKind::Interrupted;
                    continue;
                }
            };
            let (IpAddr::V4(source), datagram) =
                (source.ip(), request.get(..length).unwrap_or_default())
            else {
                continue;
            };
            if let Some(answer) = self.lns.handle_dhcp(now, source, datagram) {
                // One that does not get out is asked for again.
                let _ = socket.send_to(&answer.payload, SocketAddr::V4(answer.to));
            }
        }
    }
}
