//! Real peers: stock xl2tpd and pppd in a UML guest, dialling in and dialled by xlns, and another
//! LNS in a namespace; xlns with AF_XDP workers on veth.
//!
//! Run by `make privileged` (as root, after the programs have been built). The guest and the
//! namespaces are made once; each test starts its own xlns and its own xl2tpd. The tests run one
//! after the other. What they leave, also where they are killed, the lab's reaper removes.

mod dial_in;
mod dial_out;
mod doctor;
mod ipv6;
mod page;
mod ppp;
mod sizes;
mod stage;
mod wire;
