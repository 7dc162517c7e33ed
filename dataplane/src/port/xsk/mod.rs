//! AF_XDP ports: one UMEM for all of them, a socket for each queue.
//!
//! xsk-rs makes the UMEM and the sockets; the rings are worked by [`ring`], on a second mapping of
//! the same memory. `unsafe` is in this folder because shared memory with the kernel is: each file
//! names its invariant, and nothing unsafe leaves the folder.

pub mod kernel;
pub mod link;
pub mod queue;
pub mod ring;
pub mod socket;
pub mod umem;

pub use queue::Queue;
pub use socket::{RingSizes, Socket};
pub use umem::{Memory, Pool};
