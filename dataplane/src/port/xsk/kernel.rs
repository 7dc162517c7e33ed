//! System calls of AF_XDP and of interfaces that no crate wraps.
//!
//! Every function here is safe to call: the kernel checks descriptors and names, and the structures
//! handed to it live on this stack.

use std::ffi::c_void;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};

use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockType};

/// Socket option: how many frames one system call sends in copy mode (XDP_MAX_TX_SKB_BUDGET).
const MAX_TX_SKB_BUDGET: libc::c_int = 9;

/// `ioctl` request of ethtool: read the channel counts (ETHTOOL_GCHANNELS).
const ETHTOOL_GCHANNELS: u32 = 0x3c;

/// `ioctl` number of ethtool (SIOCETHTOOL).
const SIOCETHTOOL: libc::Ioctl = 0x8946;

/// Shared memory that a descriptor offers; unmapped when dropped.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: a mapping is an address and a length; what is in it is reached through rings.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `length` octets of `fd` from `offset` on.
    ///
    /// # Errors
    /// What mmap says.
    pub fn new(fd: BorrowedFd<'_>, length: usize, offset: libc::off_t) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                fd.as_raw_fd(),
                offset,
            )
        };
        match NonNull::new(address.cast()) {
            Some(base) if address != libc::MAP_FAILED => Ok(Self { base, length }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Its first octet.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this mapping was made by `new`; the rings over it hold it alive until they are
        // gone.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.length) };
    }
}

/// Structures of which every bit pattern is a value, so that the kernel may fill them.
///
/// # Safety
/// Only integers inside.
unsafe trait Plain: Copy {}

// SAFETY: only integers inside.
unsafe impl Plain for libc::xdp_mmap_offsets {}
// SAFETY: only integers inside.
unsafe impl Plain for libc::xdp_options {}
// SAFETY: only integers inside.
unsafe impl Plain for libc::xdp_statistics {}

fn xdp_option<T: Plain>(fd: BorrowedFd<'_>, name: libc::c_int) -> io::Result<T> {
    // SAFETY: `Plain`: all zeros is a value.
    let mut value: T = unsafe { mem::zeroed() };
    let mut length = mem::size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` octets to `value`, whose every pattern is a value.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_XDP,
            name,
            (&raw mut value).cast::<c_void>(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if length as usize != mem::size_of::<T>() {
        return Err(io::Error::other("the kernel is older than 5.4, too old for AF_XDP here"));
    }
    Ok(value)
}

/// Where the four rings' indices, flags and cells are in their mappings.
///
/// # Errors
/// What getsockopt says.
pub fn mmap_offsets(fd: BorrowedFd<'_>) -> io::Result<libc::xdp_mmap_offsets> {
    xdp_option(fd, libc::XDP_MMAP_OFFSETS)
}

/// Whether the socket, once bound, shares its frames with the NIC.
///
/// # Errors
/// What getsockopt says.
pub fn is_zero_copy(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let options: libc::xdp_options = xdp_option(fd, libc::XDP_OPTIONS)?;
    Ok(options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0)
}

/// The socket's statistics.
///
/// # Errors
/// What getsockopt says.
pub fn statistics(fd: BorrowedFd<'_>) -> io::Result<libc::xdp_statistics> {
    xdp_option(fd, libc::XDP_STATISTICS)
}

/// Lets one system call send up to `frames` frames in copy mode.
///
/// # Errors
/// What setsockopt says; kernels before 6.17 do not know the option.
pub fn set_transmit_budget(fd: BorrowedFd<'_>, frames: u32) -> io::Result<()> {
    // SAFETY: the kernel reads four octets of `frames`.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_XDP,
            MAX_TX_SKB_BUDGET,
            (&raw const frames).cast::<c_void>(),
            mem::size_of::<u32>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A second descriptor of what `raw` names, closed on exec.
///
/// # Errors
/// Not an open descriptor, or too many.
pub fn duplicate(raw: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the kernel checks the number; nothing is read or written.
    let duplicate = unsafe { libc::fcntl(raw, libc::F_DUPFD_CLOEXEC, 0) };
    if duplicate < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(duplicate) })
}

/// Tells the kernel that the transmit ring has frames. Returns whether it has to be told again:
/// not all of them were taken.
///
/// # Errors
/// What sendto says beyond that.
#[inline]
pub fn wake_transmit(fd: BorrowedFd<'_>) -> io::Result<bool> {
    match socket::send(fd.as_raw_fd(), &[], MsgFlags::MSG_DONTWAIT) {
        Ok(_) => Ok(false),
        Err(nix::Error::EAGAIN | nix::Error::EBUSY | nix::Error::ENOBUFS) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Tells the kernel that the fill ring has frames.
#[inline]
pub fn wake_receive(fd: BorrowedFd<'_>) {
    // Nothing is received by it; that there is nothing to do, or that the link is down, is no news.
    let _ = socket::recv(fd.as_raw_fd(), &mut [], MsgFlags::MSG_DONTWAIT);
}

/// Waits until one of `fds` has something to report, at most `timeout_milliseconds`. Returns how
/// many have; none where a signal came in between. A negative descriptor is left out.
pub fn poll(fds: &mut [libc::pollfd], timeout_milliseconds: i32) -> usize {
    // SAFETY: the kernel reads and writes the entries of this slice, no more.
    let count =
        unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout_milliseconds) };
    usize::try_from(count).unwrap_or(0)
}

/// The channel counts of an interface, as ethtool numbers them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Channels {
    command: u32,
    receive_max: u32,
    transmit_max: u32,
    other_max: u32,
    combined_max: u32,
    /// Queues that only receive.
    pub receive: u32,
    /// Queues that only transmit.
    pub transmit: u32,
    other: u32,
    /// Queues that do both.
    pub combined: u32,
}

impl Channels {
    /// Queues that a socket can both receive and transmit on.
    pub fn pairs(&self) -> u32 {
        self.combined.saturating_add(self.receive.min(self.transmit))
    }
}

/// What an interface is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// MAC address.
    pub mac: [u8; 6],
    /// MTU, octets.
    pub mtu: u32,
    /// Whether it is up (administratively).
    pub up: bool,
    /// Whether it is an Ethernet interface.
    pub ethernet: bool,
}

/// Reads the channel counts of the interface; `None` where its driver does not say.
///
/// # Errors
/// What the socket or the ioctl says.
pub fn channels(interface: &str) -> io::Result<Option<Channels>> {
    let mut channels = Channels { command: ETHTOOL_GCHANNELS, ..Channels::default() };
    let mut request = interface_request(interface)?;
    request.ifr_ifru.ifru_data = (&raw mut channels).cast();
    match interface_ioctl(SIOCETHTOOL, &mut request) {
        Ok(()) => Ok(Some(channels)),
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads what the interface is set to.
///
/// # Errors
/// What the socket or the ioctls say.
pub fn link(interface: &str) -> io::Result<Link> {
    let mut request = interface_request(interface)?;
    interface_ioctl(libc::SIOCGIFHWADDR, &mut request)?;
    // SAFETY: SIOCGIFHWADDR fills this member.
    let hardware = unsafe { request.ifr_ifru.ifru_hwaddr };
    let mut mac = [0; 6];
    for (octet, value) in mac.iter_mut().zip(hardware.sa_data) {
        *octet = value as u8;
    }
    interface_ioctl(libc::SIOCGIFMTU, &mut request)?;
    // SAFETY: SIOCGIFMTU fills this member.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    interface_ioctl(libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: SIOCGIFFLAGS fills this member.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok(Link {
        mac,
        mtu: u32::try_from(mtu).unwrap_or_default(),
        up: libc::c_int::from(flags) & libc::IFF_UP != 0,
        ethernet: hardware.sa_family == libc::ARPHRD_ETHER,
    })
}

fn interface_request(interface: &str) -> io::Result<libc::ifreq> {
    // SAFETY: integers and pointers that nobody follows: all zeros is a value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    if interface.is_empty() || interface.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (place, octet) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *place = octet as libc::c_char;
    }
    Ok(request)
}

fn interface_ioctl(number: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    let socket =
        socket::socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: the requests used here read and write `request`, and what `ifru_data` leads to, which
    // the caller keeps alive and which has the size that the request implies.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), number, request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_has_an_mtu_and_is_no_ethernet() {
        let link = link("lo").unwrap();
        assert!(link.mtu >= 1280);
        assert!(!link.ethernet);
    }

    #[test]
    fn an_unknown_interface_is_refused() {
        assert_eq!(link("xlns-none").unwrap_err().raw_os_error(), Some(libc::ENODEV));
        assert_eq!(channels("xlns-none").unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }

    #[test]
    fn a_name_that_fits_no_request_is_refused() {
        for name in ["", "sixteen-octets-x", "far-too-long-for-an-interface"] {
            assert_eq!(link(name).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{name:?}");
        }
        assert_ne!(link("fifteen-octets-").unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn pairs_are_queues_that_do_both() {
        let channels = |receive, transmit, combined| Channels {
            receive,
            transmit,
            combined,
            ..Channels::default()
        };
        assert_eq!(channels(0, 0, 4).pairs(), 4);
        assert_eq!(channels(2, 2, 0).pairs(), 2);
        assert_eq!(channels(4, 1, 0).pairs(), 1);
        assert_eq!(channels(1, 0, 2).pairs(), 2);
    }
}
