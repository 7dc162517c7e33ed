//! Measurements of xlns: what they do, apart from the command line.

pub mod allocation;
pub mod bar;
pub mod calls;
pub mod clock;
pub mod compare;
pub mod host;
pub mod memory;
pub mod pipeline;
pub mod ramp;
pub mod record;
pub mod report;
pub mod search;
pub mod spread;
pub mod steer;
pub mod wire;
