//! Measurements of xlns: what they do, apart from the command line.

pub mod allocation;
pub mod clock;
pub mod pipeline;
pub mod wire;
