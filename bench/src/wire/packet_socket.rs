//! An interface by a packet socket, where there is no AF_XDP: slower, and it cannot say what it lost.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, MultiHeaders, SockFlag, SockProtocol, SockType,
    SockaddrLike, bind, recvmmsg, sendmmsg, setsockopt, socket, sockopt,
};
use xlns_bpf::IngressLink;
use xlns_dataplane::port::interface::Interface;
use xlns_tests::{LabError, Result};

use super::port::BATCH;
use super::redirect::Redirect;

/// Octets of a frame at most.
const FRAME_BYTES_MAX: usize = 2048;

/// Asked of the kernel, so that the tester is never what loses.
const BUFFER_BYTES: usize = 64 * 1024 * 1024;

/// A socket, and the frames on their way through it.
pub struct PacketPort {
    socket: OwnedFd,
    mac: [u8; 6],
    outgoing: Vec<u8>,
    /// Octets of each frame in `outgoing`.
    lengths: Vec<usize>,
    incoming: Vec<u8>,
    /// Keeps the kernel from answering.
    _shield: IngressLink,
    _redirect: Redirect,
}

impl PacketPort {
    /// Opens one on an interface of this thread's namespace.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(interface: &Interface, redirect: Redirect) -> Result<Self> {
        let name = interface.name.as_str();
        let failed = |what: &'static str| {
            move |error: Errno| LabError::io(&format!("{what} on {name}"), &error.into())
        };
        let address = link_address(name)
            .ok_or_else(|| LabError::new(format!("{name} has no packet address")))?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)
            .map_err(failed("packet socket"))?;
        bind(socket.as_raw_fd(), &address).map_err(failed("bind"))?;
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES)
            .and_then(|()| setsockopt(&socket, sockopt::SndBufForce, &BUFFER_BYTES))
            .map_err(failed("buffers"))?;
        let shield = redirect.shield(interface.index)?;
        Ok(Self {
            socket,
            mac: interface.mac,
            outgoing: vec![0; BATCH * FRAME_BYTES_MAX],
            lengths: Vec::with_capacity(BATCH),
            incoming: vec![0; BATCH * FRAME_BYTES_MAX],
            _shield: shield,
            _redirect: redirect,
        })
    }

    /// How many frames may be sent now.
    pub fn room(&self) -> usize {
        BATCH - self.lengths.len()
    }

    /// Sends a frame of so many octets at the next [`PacketPort::flush`].
    pub fn push(&mut self, length: usize, write: impl FnOnce(&mut [u8])) -> bool {
        let place = self.lengths.len() * FRAME_BYTES_MAX;
        let end = place + length.min(FRAME_BYTES_MAX);
        let Some(octets) = self.outgoing.get_mut(place..end) else { return false };
        write(octets);
        self.lengths.push(octets.len());
        true
    }

    /// Gives what was pushed to the kernel, and waits while its buffer is full.
    pub fn flush(&mut self) {
        let mut first = 0;
        while first < self.lengths.len() {
            let frames = self.outgoing.chunks_exact(FRAME_BYTES_MAX).zip(&self.lengths).skip(first);
            let slices: Vec<[IoSlice<'_>; 1]> = frames
                .map(|(octets, length)| [IoSlice::new(octets.get(..*length).unwrap_or_default())])
                .collect();
            let mut headers = MultiHeaders::<LinkAddr>::preallocate(slices.len(), None);
            let addresses = vec![None; slices.len()];
            let flags = MsgFlags::empty();
            let sent =
                sendmmsg(self.socket.as_raw_fd(), &mut headers, &slices, &addresses, [], flags)
                    .map(Iterator::count);
            match sent {
                Ok(sent) => first += sent,
                Err(Errno::EAGAIN | Errno::EINTR | Errno::ENOBUFS) => std::thread::yield_now(),
                // Lost as on a wire.
                Err(_) => break,
            }
        }
        self.lengths.clear();
    }

    /// Hands out what arrived. Returns how many frames.
    pub fn receive(&mut self, mut handle: impl FnMut(&[u8])) -> usize {
        let chunks = self.incoming.chunks_exact_mut(FRAME_BYTES_MAX);
        let mut slices: Vec<[IoSliceMut<'_>; 1]> =
            chunks.map(|chunk| [IoSliceMut::new(chunk)]).collect();
        let flags = MsgFlags::MSG_DONTWAIT;
        // Made anew each time: what it points to must not cross threads.
        let mut headers = MultiHeaders::<LinkAddr>::preallocate(BATCH, None);
        let received =
            recvmmsg(self.socket.as_raw_fd(), &mut headers, slices.iter_mut(), flags, None);
        let Ok(received) = received else { return 0 };
        let mut count = 0;
        for frame in received.flat_map(|message| message.iovs()) {
            // What this host sends is seen, too.
            if frame.starts_with(&self.mac) {
                count += 1;
                handle(frame);
            }
        }
        count
    }
}

/// The list of addresses has a packet address for each interface, with its index.
fn link_address(interface: &str) -> Option<LinkAddr> {
    let found = nix::ifaddrs::getifaddrs().ok()?.find_map(|entry| {
        (entry.interface_name == interface).then(|| entry.address?.as_link_addr().copied())?
    })?;
    (found.len() > 0).then_some(found)
}
