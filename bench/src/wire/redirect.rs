//! The tester's BPF programs: which packets go to its sockets.

use std::mem::MaybeUninit;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{MapCore, MapFlags};
use xlns_bpf::{IngressLink, Mode, XdpLink};
use xlns_tests::{LabError, Result};

use super::kernel::frames::INNER_PORTS;
use super::packet::{CORE_PORT, Side};

/// What libbpf-cargo makes of `redirect.bpf.c`.
#[allow(missing_docs, clippy::all, clippy::undocumented_unsafe_blocks, reason = "generated")]
mod skeleton {
    include!(concat!(env!("OUT_DIR"), "/redirect.skel.rs"));
}

/// Where packets go that only fill the LNS, those of the kernel's generator.
const FILLER_PORT: u16 = INNER_PORTS[1];

/// Queues of an interface that have a socket, at most, as in `redirect.bpf.c`.
pub const QUEUES_MAX: u16 = 64;

/// The programs, loaded for one side of the LNS.
pub struct Redirect {
    skeleton: skeleton::RedirectSkel<'static>,
}

impl Redirect {
    /// Loads them; on the access side they know packets by the LNS's address.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn load(side: Side, lns: Ipv4Addr) -> Result<Self> {
        // The skeleton borrows the place where its object lies: a pointer's worth each, left behind a few
        // times in a process's life.
        let place = Box::leak(Box::new(MaybeUninit::uninit()));
        let error = |error| failed("load the tester's XDP program", &error);
        let mut open = skeleton::RedirectSkelBuilder::default().open(place).map_err(error)?;
        if let Some(constants) = &mut open.maps.rodata_data {
            constants.core_port = CORE_PORT.to_be();
            constants.filler_port = FILLER_PORT.to_be();
            constants.lns = match side {
                Side::Access => u32::from_ne_bytes(lns.octets()),
                Side::Core => 0,
            };
        }
        Ok(Self { skeleton: open.load().map_err(error)? })
    }

    /// Attaches what redirects to an interface of this thread's namespace, until the link is dropped.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn attach(&self, interface_index: u32, mode: Mode) -> std::io::Result<XdpLink> {
        XdpLink::attach(self.skeleton.progs.redirect.as_fd(), interface_index, mode)
    }

    /// Attaches what counts and drops everything.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn attach_drop(&self, interface_index: u32) -> Result<XdpLink> {
        XdpLink::attach(self.skeleton.progs.drop.as_fd(), interface_index, Mode::Native)
            .map_err(|error| LabError::io("attach the counter of frames", &error))
    }

    /// Keeps the kernel of this thread's namespace from answering test packets on an interface, until the
    /// link is dropped.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn shield(&self, interface_index: u32) -> Result<IngressLink> {
        IngressLink::attach(self.skeleton.progs.shield.as_fd(), interface_index)
            .map_err(|error| LabError::io("attach the tester's filter (Linux 6.6)", &error))
    }

    /// Packets of a queue go to this socket from here on.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_socket(&self, queue: u32, socket: BorrowedFd<'_>) -> Result<()> {
        let value = socket.as_raw_fd().to_ne_bytes();
        self.skeleton
            .maps
            .sockets
            .update(&queue.to_ne_bytes(), &value, MapFlags::ANY)
            .map_err(|error| failed("enter the tester's socket", &error))
    }

    /// Packets that were counted and dropped so far: all, or those that only fill the LNS.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn dropped(&self) -> Result<u64> {
        let counters = &self.skeleton.maps.dropped;
        let cpus = counters
            .lookup_percpu(&0_u32.to_ne_bytes(), MapFlags::ANY)
            .map_err(|error| failed("read the counter of frames", &error))?;
        let packets =
            |cpu: &Vec<u8>| cpu.first_chunk().map_or(0, |octets| u64::from_ne_bytes(*octets));
        Ok(cpus.iter().flatten().map(packets).sum())
    }
}

fn failed(attempt: &str, error: &libbpf_rs::Error) -> LabError {
    LabError::new(format!("{attempt}: {error:#}"))
}
