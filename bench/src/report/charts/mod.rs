//! What there is to draw in records: nothing is drawn that a record has not.

mod calls;
mod compare;
mod lab;
mod memory;
mod pipeline;
mod wire;

use super::chart::Chart;
use super::read::{File, ZERO_COPY};

/// The charts of one benchmark.
#[derive(Debug)]
pub struct Section {
    /// What was measured.
    pub title: &'static str,
    /// What is to be known of all its charts.
    pub note: &'static str,
    /// Its charts, none of them empty.
    pub charts: Vec<Chart>,
}

type Find = fn(&[&File]) -> Vec<Chart>;

/// Benchmarks in the order of the page.
const SECTIONS: [(&str, &str, &str, Find); 9] = [
    (
        "wire",
        "Traffic through the whole server",
        "Packets from a tester's port through the LNS to another one. A value with a star, hatched or \
         hollow, is within a tenth of what the tester itself can do: the LNS may do more.",
        wire::charts,
    ),
    (
        "compare",
        "Beside another LNS",
        "The same packets from the same generator, one server after the other on the same core; \
         medians.",
        compare::charts,
    ),
    (
        ZERO_COPY,
        "Zero-copy, beside the kernel's own L2TP",
        "In one guest under emulation, which prices instructions and no cache misses: a ratio of costs \
         in code, no rate.",
        lab::charts,
    ),
    ("calls", "Calls", "Complete calls, from ICRQ to IPCP open.", calls::charts),
    (
        "pipeline",
        "A packet in memory",
        "The data plane's batch function on one core, without any NIC or kernel: the best window.",
        pipeline::charts,
    ),
    (
        "instructions",
        "Instructions",
        "Counted by valgrind: the same on a busy machine.",
        memory::instructions,
    ),
    ("tables", "Tables", "Look-ups in tables as large as the internet's.", memory::tables),
    ("handoff", "Hand-off between workers", "One tunnel on several workers.", memory::handoff),
    (
        "steer",
        "The steering program",
        "Time over an empty XDP program, by repeated test runs.",
        memory::steer,
    ),
];

/// The sections of all files that have something to draw.
pub fn all(files: &[File]) -> Vec<Section> {
    let sections = SECTIONS.iter().map(|(benchmark, title, note, find)| {
        let of: Vec<&File> = files.iter().filter(|file| file.benchmark == *benchmark).collect();
        let mut charts = find(&of);
        charts.retain(|chart| !chart.is_empty());
        Section { title, note, charts }
    });
    sections.filter(|section| !section.charts.is_empty()).collect()
}

/// The name of a series: that of its file where there are several.
fn named(files: &[&File], file: &File, what: &str) -> String {
    match (files.len() > 1, what.is_empty()) {
        (false, false) => what.to_owned(),
        (true, false) => format!("{}: {what}", file.name),
        (_, true) => file.name.clone(),
    }
}

/// The texts of a list in the order in which each came first.
fn distinct(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for text in texts {
        if !all.contains(&text) {
            all.push(text);
        }
    }
    all
}
