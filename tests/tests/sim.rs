//! The simulation by seed: `SEEDS=n` runs seeds 0 to n - 1, `SEED=n` runs that one, twice.

use std::panic::catch_unwind;
use std::process::Command;

use xlns_tests::sim::{Report, run};

/// Seeds that every `make test` runs.
const SEEDS_DEFAULT: u64 = 200;

/// Failed seeds that are named.
const SHOWN_MAX: usize = 10;

/// What the LNS counts and no run of [`SEEDS_DEFAULT`] has to reach: nobody dials whom it is dialled
/// by.
const NOT_REACHED: &[&str] = &["setup_crossed"];

/// What some run of [`SEEDS_DEFAULT`] ends with.
const SEEN: &[&str] = &[
    "IPv4 true, IPv6 false",
    "IPv4 true, IPv6 true",
    "IPv4 false, IPv6 true",
    "authentication chap-md5",
    "authentication ms-chap-v2",
    "authentication pap",
    "client up",
    "client backoff",
    "client idle",
    "delegated",
    "errors",
    "link information",
    "outgoing call",
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
    let (mut sum, mut trace, mut failures) = (Report::default(), 0_u64, Vec::new());
    for seed in 0..seeds {
        match run_seed(seed) {
            Ok(report) => {
                trace = trace.rotate_left(1) ^ report.trace;
                add(&mut sum, report);
            }
            Err(failure) => failures.push(failure),
        }
    }
    let Report { datagrams, sessions, clients, counters, seen, .. } = sum;
    println!("{seeds} seeds: {datagrams} datagrams, {sessions} sessions up, trace {trace:016x}");
    println!("{counters:#?}\n{seen:#?}");
    let shown = failures.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} of {seeds} seeds fail:\n{shown}", failures.len());
    if seeds >= SEEDS_DEFAULT {
        assert!(sessions as u64 > seeds && clients as u64 > seeds / 10, "they get in at all");
        let levels = ["tunnels", "calls", "calls_ending"];
        let idle: Vec<_> = counters
            .iter()
            .filter(|(name, value)| **value == 0 && !levels.contains(&name.as_str()))
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(idle, NOT_REACHED, "what the simulation does not reach");
        let unseen: Vec<_> = SEEN.iter().filter(|what| !seen.contains_key(**what)).collect();
        assert!(unseen.is_empty(), "what no run ends with: {unseen:?}");
    }
}

fn add(sum: &mut Report, report: Report) {
    sum.datagrams += report.datagrams;
    sum.sessions += report.sessions;
    sum.clients += report.clients;
    for (name, value) in report.counters {
        *sum.counters.entry(name).or_default() += value;
    }
    for (what, count) in report.seen {
        *sum.seen.entry(what).or_default() += count;
    }
}

/// Hash of the run of a seed, as another process has it.
fn trace_elsewhere(seed: u64) -> String {
    let own = std::env::current_exe().expect("the path of this test");
    let mut command = Command::new(own);
    command.args(["every_seed_ends_well", "--exact", "--nocapture"]);
    let output = command.env("SEED", seed.to_string()).output().expect("this test once more");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.trim_start().starts_with("trace: "));
    line.unwrap_or_else(|| panic!("{text}")).trim().trim_end_matches(',').to_owned()
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let trace = |seed| run_seed(seed).map(|report| report.trace);
    for seed in 0..5 {
        // Keys of hash tables that do not come from the seed would differ.
        assert_eq!(trace(seed).map(|trace| format!("trace: {trace}")), Ok(trace_elsewhere(seed)));
    }
    assert_ne!(trace(1), trace(2));
}
