//! The attachment of a program to an interface: a BPF link, which the kernel takes away when its
//! descriptor is closed, also when the process is killed.
//!
//! Unsafe code: the binding's own safe call makes such a link without flags, so that the kernel
//! chooses the mode and may silently fall back to generic; its call that takes flags leaves the
//! program behind when the process ends, and it has none for tc programs. The two calls here close that
//! gap, and nothing else does anything unsafe in this crate.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libbpf_rs::libbpf_sys;
use nix::errno::Errno;
use nix::net::if_::if_indextoname;

use crate::config::Mode;

/// An attachment; dropping it detaches.
#[derive(Debug)]
pub struct XdpLink {
    _descriptor: OwnedFd,
}

impl XdpLink {
    /// Attaches `program` to an interface of this thread's namespace in exactly `mode`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn attach(program: BorrowedFd<'_>, ifindex: u32, mode: Mode) -> io::Result<Self> {
        let flags = match mode {
            Mode::Native => libbpf_sys::XDP_FLAGS_DRV_MODE,
            Mode::Generic => libbpf_sys::XDP_FLAGS_SKB_MODE,
        };
        create(program, ifindex, libbpf_sys::BPF_XDP, flags)
            .map(|descriptor| Self { _descriptor: descriptor })
    }
}

/// An attachment of a tc program, behind packet sockets and before the kernel's network layer; dropping
/// it detaches.
#[derive(Debug)]
pub struct IngressLink {
    _descriptor: OwnedFd,
}

impl IngressLink {
    /// Attaches `program` to an interface of this thread's namespace (Linux 6.6).
    ///
    /// # Errors
    /// What the kernel says.
    pub fn attach(program: BorrowedFd<'_>, ifindex: u32) -> io::Result<Self> {
        create(program, ifindex, libbpf_sys::BPF_TCX_INGRESS, 0)
            .map(|descriptor| Self { _descriptor: descriptor })
    }
}

fn create(
    program: BorrowedFd<'_>,
    ifindex: u32,
    kind: libbpf_sys::bpf_attach_type,
    flags: u32,
) -> io::Result<OwnedFd> {
    // The kernel calls a wrong index an invalid argument, as it calls much else. nix gives an
    // empty name for one.
    if if_indextoname(ifindex).map_or(true, |name| name.is_empty()) {
        return Err(Errno::ENODEV.into());
    }
    let ifindex = i32::try_from(ifindex).map_err(|_| Errno::ENODEV)?;
    let options = libbpf_sys::bpf_link_create_opts {
        sz: size_of::<libbpf_sys::bpf_link_create_opts>() as _,
        flags,
        ..Default::default()
    };
    // SAFETY: `options` is a whole structure with its size set, valid during the call, which
    // keeps no pointer to it; `program` is open for as long as it is borrowed.
    let result = unsafe {
        libbpf_sys::bpf_link_create(program.as_raw_fd(), ifindex, kind, &raw const options)
    };
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    // SAFETY: the call returned a new descriptor that nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
}
