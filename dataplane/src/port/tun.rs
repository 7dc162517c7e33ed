//! The TUN device towards the host: packets without a link-layer header, one queue per worker.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};

use tun_rs::{DeviceBuilder, SyncDevice};

use crate::frame::Frame;

/// Packets that wait in a queue of the device for a worker, before the kernel drops.
const QUEUE_PACKETS: u32 = 1000;

/// Source address check that accepts any source with a route ("loose"): fragments from a LAC and
/// packets that the kernel is to route come in here, and the way back leads by a NIC.
const RP_FILTER_LOOSE: &str = "2";

/// An address of the device. Without any the kernel takes the loose check for a strict one; one of
/// the loopback network has the scope of this host, so that nothing ever takes it for its source.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 8);

/// No IPv6 link-local address by itself: the device is no link to anybody.
const ADDR_GEN_MODE_NONE: &str = "1";

/// One queue of the device.
pub struct TunQueue {
    device: SyncDevice,
}

/// Makes the device with `queues` queues, sets it up and brings it up.
///
/// # Errors
/// What the kernel says: no `/dev/net/tun`, no permission, or the name is taken.
pub fn open(name: &str, mtu: u16, queues: usize) -> io::Result<Vec<TunQueue>> {
    let first = DeviceBuilder::new()
        .name(name)
        .mtu(mtu)
        .ipv4(ADDRESS, 32, None)
        .enable(false)
        .with(|options| {
            options.multi_queue(true).offload(false).tx_queue_len(QUEUE_PACKETS);
        })
        .build_sync()?;
    // The device works without these; a host whose /proc/sys is read-only may have set them itself.
    for (path, value) in [
        (format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"), RP_FILTER_LOOSE),
        (format!("/proc/sys/net/ipv6/conf/{name}/addr_gen_mode"), ADDR_GEN_MODE_NONE),
    ] {
        if let Err(error) = std::fs::write(&path, value) {
            tracing::warn!(path, value, %error, "cannot set the TUN device's sysctl");
        }
    }
    let mut devices = Vec::with_capacity(queues.max(1));
    for _ in 1..queues {
        devices.push(first.try_clone()?);
    }
    first.enabled(true)?;
    devices.insert(0, first);
    for device in &devices {
        device.set_nonblocking(true)?;
    }
    Ok(devices.into_iter().map(|device| TunQueue { device }).collect())
}

impl TunQueue {
    /// Reads one packet into the frame and sets its length. Returns whether there was one.
    #[inline]
    pub fn read(&self, frame: &mut Frame) -> bool {
        match nix::unistd::read(&self.device, frame.octets_mut()) {
            Ok(length) => frame.set_len(length) && length > 0,
            Err(_) => false,
        }
    }

    /// Gives the packet in the frame to the host. Returns whether the host took it.
    #[inline]
    pub fn write(&self, frame: &Frame) -> bool {
        nix::unistd::write(&self.device, frame.octets()).is_ok()
    }
}

impl AsFd for TunQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

impl std::fmt::Debug for TunQueue {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TunQueue").field("fd", &self.device.as_fd()).finish()
    }
}
