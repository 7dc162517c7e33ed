//! Peers as `docs/peers.md` lists them, each played against a running xlnsd: what it is known to
//! send goes out octet by octet, and what it is known to need has to come.
//!
//! Run by `make privileged` (as root, after the programs have been built). Each test has a namespace
//! and an xlnsd of its own; nothing sleeps: what must not come is told by a HELLO sent behind it.

mod call;
mod lac;
mod link;
mod network;
mod octets;
mod profile;
mod server;
mod stage;
mod teardown;
mod tunnel;
