//! Measurements of xlns: what they do, apart from the command line.

pub mod wire;
