//! The control process of xlns.
//!
//! Control is a pure function of (events, time, seed) that emits transmissions and forwarding
//! commands: [`lns::Lns`] is fed by `handle_*` and drained by `poll_*`. Sockets, the clock and the
//! seed appear only in [`event_loop`], [`netlink`], [`admin`] and the programs.

pub mod admin;
pub mod call;
pub mod config;
pub mod dataplane_client;
pub mod dhcp;
pub mod doctor;
pub mod event_loop;
pub mod hash;
pub mod ipv6;
pub mod l2tp;
pub mod limits;
pub mod lns;
pub mod netlink;
pub mod pool;
pub mod ppp;
pub mod routing;
pub mod time;
pub mod timers;
pub mod udp;
pub mod users;
