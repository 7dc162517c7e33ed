//! Measurements of xlns. The program is `xlns-bench`; here is what it runs.

pub mod allocation;
pub mod clock;
pub mod pipeline;
