//! Zero-copy for real: xlns in a guest whose NICs share their rings with AF_XDP, and the kernel's
//! own L2TP in the same guest to compare with.
//!
//! veth, which every other lab is made of, has no zero-copy; virtio_net has, and QEMU emulates it
//! without any help of the processor. [`archive`] fetches a kernel that is new enough, [`image`]
//! makes its first file system, [`machine`] boots it, with the root of this machine under a layer
//! in memory, so that every program here runs there, too. The driver stands at the far end of both
//! NICs: a LAC with a subscriber ([`access`]) and a host in the core ([`traffic`]), all in frames
//! of its own making. [`lns`] is what it finds in between, one or the other.

pub mod access;
pub mod archive;
pub mod frames;
pub mod image;
pub mod lns;
pub mod machine;
pub mod traffic;
pub mod wire;

use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use wire::Wire;

/// Waits until a frame is there on one of the wires, at most `wait`.
fn wait(wires: &[&Wire], wait: Duration) {
    let mut waiting: Vec<PollFd<'_>> =
        wires.iter().map(|wire| PollFd::new(wire.as_fd(), PollFlags::POLLIN)).collect();
    let wait = PollTimeout::try_from(wait).unwrap_or(PollTimeout::ZERO);
    // Whatever it says, the wires are read next.
    let _ = poll(&mut waiting, wait);
}
