//! Many LACs, subscribers and an LNS, a dialler and the two LNSs that it dials, in virtual time, over a
//! network full of evils; everything by a seed, so that a run that fails can be had again.
//!
//! [`world::run`] is one run: trouble for a while ([`script`]), then the network heals, and
//! after a bounded time ([`check`]) each session must be up on both sides or gone from both, and the
//! data plane equal to the sessions that are up. Then all LACs leave, and nothing may be left over.

pub mod check;
pub mod configuration;
pub mod data_plane;
pub mod delivery;
pub mod engine;
pub mod lac;
pub mod messages;
pub mod negotiation;
pub mod network;
pub mod script;
pub mod scripted;
mod signalling;
pub mod station;
pub mod subscriber;
pub mod world;

pub use world::{Report, run};
