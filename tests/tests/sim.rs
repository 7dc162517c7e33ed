//! The simulation by seed: `SEEDS=n` runs seeds 0 to n - 1, `SEED=n` runs that one, twice.

use std::collections::BTreeMap;
use std::panic::catch_unwind;

use xlns_tests::sim::{Report, run};

/// Seeds that every `make test` runs.
const SEEDS_DEFAULT: u64 = 200;

/// Failed seeds that are named.
const SHOWN_MAX: usize = 10;

/// What the LNS counts and no run of [`SEEDS_DEFAULT`] has to reach: nothing here is sent too fast, and
/// only sessions are refused.
///
/// Its subscribers speak IPv4 alone.
const NOT_REACHED: &[&str] = &[
    "calls_placed",
    "commands_refused",
    "delegated_prefixes_free",
    "delegation_exhausted",
    "inform_answered",
    "inform_ignored",
    "ipv6_without_effect",
    "link_prefixes_free",
    "port_followed",
    "prefixes_delegated",
    "prefixes_exhausted",
    "setup_rate_limited",
];

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

fn run_seed(seed: u64) -> Result<Report, String> {
    let outcome = catch_unwind(|| run(seed)).unwrap_or_else(|_| Err("panicked".into()));
    outcome.map_err(|error| format!("make sim SEED={seed}\n  {error}"))
}

#[test]
fn every_seed_ends_well() {
    if let Some(seed) = variable("SEED") {
        let report = run_seed(seed).unwrap_or_else(|error| panic!("{error}"));
        println!("seed {seed}: {report:#?}");
        assert_eq!(run_seed(seed).as_ref(), Ok(&report), "the same seed twice");
        return;
    }
    let seeds = variable("SEEDS").unwrap_or(SEEDS_DEFAULT);
    let (mut datagrams, mut sessions, mut trace, mut failures) = (0, 0, 0_u64, Vec::new());
    let mut counters: BTreeMap<String, u64> = BTreeMap::new();
    for seed in 0..seeds {
        match run_seed(seed) {
            Ok(report) => {
                datagrams += report.datagrams;
                sessions += report.sessions as u64;
                trace = trace.rotate_left(1) ^ report.trace;
                for (name, value) in report.counters {
                    *counters.entry(name).or_default() += value;
                }
            }
            Err(failure) => failures.push(failure),
        }
    }
    println!("{seeds} seeds: {datagrams} datagrams, {sessions} sessions up, trace {trace:016x}");
    println!("{counters:#?}");
    let shown = failures.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} of {seeds} seeds fail:\n{shown}", failures.len());
    if seeds >= SEEDS_DEFAULT {
        assert!(sessions > seeds, "subscribers get in at all");
        let levels = ["tunnels", "calls", "calls_ending"];
        let idle: Vec<_> = counters
            .iter()
            .filter(|(name, value)| **value == 0 && !levels.contains(&name.as_str()))
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(idle, NOT_REACHED, "what the simulation does not reach");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..5 {
        assert_eq!(run_seed(seed), run_seed(seed));
    }
    let trace = |seed| run_seed(seed).map(|report| report.trace);
    assert_ne!(trace(1), trace(2));
}
