//! The forwarding process of xlns.
//!
//! The data plane is a batch function, frames x tables -> verdicts ([`pipeline`], [`tables`]);
//! rings, sockets and threads are wrapped around it ([`port`], [`worker`], [`server`]) and never
//! inside it. [`api`] is the contract with the control process, [`wire`] the headers that both read.

pub mod api;
pub mod counters;
pub mod cpu;
pub mod frame;
pub mod pipeline;
pub mod port;
pub mod quality;
pub mod server;
pub mod tables;
pub mod verdict;
pub mod wire;
pub mod worker;
