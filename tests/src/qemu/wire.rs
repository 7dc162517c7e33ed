//! One wire to the guest: whoever is on its other end, one datagram a frame.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use super::frames;
use super::machine::Nic;
use crate::deadline;
use crate::{LabError, Result};

/// The longest frame that is taken.
const FRAME_BYTES_MAX: usize = 2048;

/// How long QEMU may take to open its end.
const OPEN_WAIT: Duration = Duration::from_secs(20);

/// How long a frame may wait for room in QEMU's socket before the guest counts as stuck.
const SEND_WAIT: Duration = Duration::from_secs(20);

/// The driver's end of a wire: a host with an address of its own that answers ARP.
#[derive(Debug)]
pub struct Wire {
    socket: UnixDatagram,
    mac: [u8; 6],
    address: Ipv4Addr,
    guest: Nic,
    buffer: Vec<u8>,
}

impl Wire {
    /// Opens the end of this MAC and IP address. The queue in between has the size that the
    /// namespace of the calling thread is set to.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(nic: &Nic, mac: [u8; 6], address: Ipv4Addr) -> Result<Self> {
        let failed = |error| LabError::io(&format!("bind {}", nic.driver_end.display()), &error);
        let socket = UnixDatagram::bind(&nic.driver_end).map_err(failed)?;
        socket.set_nonblocking(false).map_err(failed)?;
        socket.set_write_timeout(Some(SEND_WAIT)).map_err(failed)?;
        let buffer = vec![0; FRAME_BYTES_MAX];
        Ok(Self { socket, mac, address, guest: nic.clone(), buffer })
    }

    /// Waits for QEMU's end, and connects to it.
    ///
    /// # Errors
    /// Where it does not come.
    pub fn connect(&self) -> Result<()> {
        let path: &Path = &self.guest.guest_end;
        let connected = || self.socket.connect(path).ok();
        deadline::poll(OPEN_WAIT, connected)
            .ok_or_else(|| LabError::new(format!("QEMU does not open {}", path.display())))
    }

    /// Sends an IPv4 packet to the guest.
    ///
    /// # Errors
    /// Where the guest takes nothing any more.
    pub fn send(&self, packet: &[u8]) -> Result<()> {
        self.send_frame(frames::IPV4, packet)
    }

    fn send_frame(&self, ethertype: u16, payload: &[u8]) -> Result<()> {
        let frame = frames::frame(self.guest.mac, self.mac, ethertype, payload);
        self.socket.send(&frame).map(|_| ()).map_err(|error| {
            LabError::io(&format!("send to the guest's {}", self.guest.interface), &error)
        })
    }

    /// The next IPv4 packet of the guest that is there, if one is. Answers ARP on the way, and lets
    /// go of what is for nobody here.
    ///
    /// # Errors
    /// Where the socket fails.
    pub fn receive(&mut self) -> Result<Option<&[u8]>> {
        loop {
            let Some(length) = self.next()? else { return Ok(None) };
            let octets = &self.buffer[..length];
            let broadcast = || frames::read_frame(octets, [0xff; 6], self.guest.mac);
            match frames::read_frame(octets, self.mac, self.guest.mac).or_else(broadcast) {
                Some((frames::IPV4, _)) => {
                    break Ok(Some(&self.buffer[frames::ETHERNET_BYTES..length]));
                }
                Some((frames::ARP, request)) => {
                    if let Some(reply) = frames::arp_reply(request, self.address, self.mac) {
                        self.send_frame(frames::ARP, &reply)?;
                    }
                }
                _ => {}
            }
        }
    }

    /// Reads the next frame that is there; its length.
    fn next(&mut self) -> Result<Option<usize>> {
        use nix::sys::socket::{MsgFlags, recv};
        use std::os::fd::AsRawFd;
        match recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => Ok(Some(length)),
            Err(nix::Error::EAGAIN | nix::Error::ECONNREFUSED) => Ok(None),
            Err(error) => Err(LabError::io("receive from the guest", &error.into())),
        }
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
