//! An AF_XDP socket: made and bound by xsk-rs, its rings mapped a second time for ourselves.
//!
//! All sockets share one UMEM. The first one is bound on the UMEM's own descriptor, each further one
//! on its own with a fill and a completion ring of its own; either way all four rings of a queue are
//! offered by its socket's descriptor.

use std::any::Any;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::poll::PollTimeout;
use xsk_rs::config::{BindFlags, Interface, LibxdpFlags, QueueSize, SocketConfig};
use xsk_rs::{CompQueue, FillQueue, RxQueue, TxQueue};

use super::kernel::{self, Mapping};
use super::queue::Rings;
use super::ring::{Consumer, Descriptor, Offsets, Producer};
use super::umem::{Memory, error_of};

/// How often binding is tried again while the queue is still held by a process that has just ended:
/// the kernel lets go of it a few milliseconds later.
const BUSY_TRIES: u32 = 200;

/// Time between two tries, milliseconds.
const BUSY_WAIT_MILLISECONDS: u16 = 5;

/// Frames that one system call sends in copy mode; the kernel's own figure, 32, costs a fifth of
/// the rate.
const TRANSMIT_BUDGET_FRAMES: u32 = 256;

/// Sizes of a queue's rings, cells; powers of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingSizes {
    /// Receive ring.
    pub receive: u32,
    /// Transmit ring; the completion ring is as large.
    pub transmit: u32,
    /// Fill ring.
    pub fill: u32,
}

/// A bound socket. It holds its queue until it is dropped.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    /// Held for the socket's life and never used: our rings are over the same memory.
    _objects: (TxQueue, RxQueue, Option<(FillQueue, CompQueue)>),
}

impl Socket {
    /// Binds a queue of the interface, with zero-copy or with copying, and maps its rings.
    ///
    /// # Errors
    /// What the kernel says; also where the mode obtained is not the one asked for.
    pub fn bind(
        memory: &Memory,
        interface: &str,
        queue: u32,
        sizes: RingSizes,
        zero_copy: bool,
    ) -> io::Result<(Self, Rings)> {
        let umem = memory.as_umem().ok_or(io::ErrorKind::InvalidInput)?;
        let config = config(sizes, zero_copy)?;
        let name: Interface = interface.parse().map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut tries = 0;
        let (transmit, receive, shared) = loop {
            // SAFETY: libxdp loads no program (see `config`), which is what the contract is about.
            match unsafe { xsk_rs::Socket::new(config, umem, &name, queue) } {
                Ok(made) => break made,
                Err(error) => {
                    let error = error_of(error);
                    if error.raw_os_error() != Some(libc::EBUSY) || tries >= BUSY_TRIES {
                        return Err(error);
                    }
                    tries += 1;
                    nix::poll::poll(&mut [], PollTimeout::from(BUSY_WAIT_MILLISECONDS))?;
                }
            }
        };
        let fd = kernel::duplicate(transmit.fd().as_raw_fd())?;
        if kernel::is_zero_copy(fd.as_fd())? != zero_copy {
            return Err(io::Error::other("the kernel bound the socket in another mode than asked"));
        }
        if let Err(error) = kernel::set_transmit_budget(fd.as_fd(), TRANSMIT_BUDGET_FRAMES) {
            tracing::debug!(%error, interface, "the kernel has no transmit budget option");
        }
        let rings = map_rings(fd.as_fd(), sizes)?;
        Ok((Self { fd, _objects: (transmit, receive, shared) }, rings))
    }

    /// Frames for this queue that the kernel dropped: no free frame, or no room in the receive ring.
    ///
    /// # Errors
    /// What getsockopt says.
    pub fn kernel_dropped(&self) -> io::Result<u64> {
        // What found the fill ring empty is among `rx_dropped`.
        let statistics = kernel::statistics(self.fd.as_fd())?;
        Ok(statistics.rx_dropped.saturating_add(statistics.rx_ring_full))
    }

    /// A second descriptor of the socket, for the worker that owns the queue.
    ///
    /// # Errors
    /// Too many descriptors.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn config(sizes: RingSizes, zero_copy: bool) -> io::Result<SocketConfig> {
    let size = |cells| QueueSize::new(cells).map_err(|error| io::Error::other(error.to_string()));
    let mode = if zero_copy { BindFlags::XDP_ZEROCOPY } else { BindFlags::XDP_COPY };
    Ok(SocketConfig::builder()
        .rx_queue_size(size(sizes.receive)?)
        .tx_queue_size(size(sizes.transmit)?)
        .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
        .bind_flags(mode | BindFlags::XDP_USE_NEED_WAKEUP)
        .build())
}

/// Maps the four rings of a bound socket.
fn map_rings(fd: BorrowedFd<'_>, sizes: RingSizes) -> io::Result<Rings> {
    let offsets = kernel::mmap_offsets(fd)?;
    let (fill_page, completion_page) =
        (libc::XDP_UMEM_PGOFF_FILL_RING, libc::XDP_UMEM_PGOFF_COMPLETION_RING);
    let (receive, receive_at) = map::<Descriptor>(fd, offsets.rx, sizes.receive, 0)?;
    let (transmit, transmit_at) =
        map::<Descriptor>(fd, offsets.tx, sizes.transmit, libc::XDP_PGOFF_TX_RING)?;
    let (fill, fill_at) = map::<u64>(fd, offsets.fr, sizes.fill, fill_page as libc::off_t)?;
    let (completion, completion_at) =
        map::<u64>(fd, offsets.cr, sizes.transmit, completion_page as libc::off_t)?;
    let owner = |mapping: &Arc<Mapping>| Arc::clone(mapping) as Arc<dyn Any + Send + Sync>;
    // SAFETY: each mapping was made with the length that its offsets and size ask for, and is kept
    // by the ring; xsk-rs's own objects for these rings are never used.
    unsafe {
        Ok(Rings {
            receive: Consumer::mapped(receive.base(), receive_at, sizes.receive, owner(&receive)),
            transmit: Producer::mapped(
                transmit.base(),
                transmit_at,
                sizes.transmit,
                owner(&transmit),
            ),
            fill: Producer::mapped(fill.base(), fill_at, sizes.fill, owner(&fill)),
            completion: Consumer::mapped(
                completion.base(),
                completion_at,
                sizes.transmit,
                owner(&completion),
            ),
        })
    }
}

/// Maps one ring of `size` cells of type `T`.
fn map<T>(
    fd: BorrowedFd<'_>,
    offsets: libc::xdp_ring_offset,
    size: u32,
    page: libc::off_t,
) -> io::Result<(Arc<Mapping>, Offsets)> {
    let offsets = Offsets {
        producer: offsets.producer as usize,
        consumer: offsets.consumer as usize,
        flags: offsets.flags as usize,
        cells: offsets.desc as usize,
    };
    let length = offsets.cells + size as usize * size_of::<T>();
    Ok((Arc::new(Mapping::new(fd, length, page)?), offsets))
}
