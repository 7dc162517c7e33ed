//! Fuzz targets: what peers, subscribers, operators and the other process can send, against what must
//! hold whatever they send.
//!
//! A target is a plain function of octets that panics where an invariant is broken. `make fuzz` runs
//! each under libFuzzer, guided by coverage; `tests/replay.rs` runs the committed corpus and mutations
//! of it on any toolchain, in every `make test`.

mod kept;
pub mod mutate;
pub mod script;
pub mod targets;

pub use targets::{TARGETS, Target, target};
