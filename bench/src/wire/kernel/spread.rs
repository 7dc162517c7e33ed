//! `xlns-bench handoff --live`: one tunnel floods one queue of a data plane that has two workers, with
//! hand-off off, by itself and always.
//!
//! The kernel makes the packets on the core of the second worker, whose queues get nothing: what that
//! worker does was handed to it by the first one. It shares its core with the generator, so the rates
//! say little; who did how much of the work is what is shown.

use serde::Serialize;
use xlns_dataplane::api::{Configuration, Counters, Handoff};
use xlns_dataplane::counters::WorkerCounters;
use xlns_tests::topology::Topology;
use xlns_tests::{Lab, LabError, Result};

use super::data_plane::DataPlane;
use super::direction::{self, Load};
use super::{Settings, configuration};

/// Workers.
const WORKERS: u16 = 2;

/// What to show.
#[derive(Debug, Clone)]
pub struct Spread {
    /// Sessions of the tunnel.
    pub sessions: u32,
    /// How long each way is measured, milliseconds.
    pub milliseconds: u64,
    /// The core of the worker that owns the queue, and of the other one and the generator.
    pub cores: [u16; 2],
}

/// What one worker did.
#[derive(Debug, Serialize)]
pub struct Share {
    core: Option<u16>,
    /// Frames that came by its queues.
    received: u64,
    /// Frames that it gave away.
    handed_out: u64,
    /// Frames that it was given.
    handed_in: u64,
    /// Frames that it processed.
    processed: u64,
    /// The same as a part of what all have processed.
    part_of_all: f64,
}

/// One way of handing off.
#[derive(Debug, Serialize)]
pub struct Way {
    handoff: &'static str,
    offered_pps: f64,
    forwarded_pps: f64,
    workers: Vec<Share>,
}

/// Measures the ways in turn.
///
/// # Errors
/// What failed, and which log to read.
pub fn measure(spread: &Spread) -> Result<Vec<Way>> {
    let ways = [("off", Handoff::Off), ("auto", Handoff::Auto), ("always", Handoff::Always)];
    ways.into_iter().map(|(name, handoff)| one(spread, name, handoff)).collect()
}

fn one(spread: &Spread, name: &'static str, handoff: Handoff) -> Result<Way> {
    let [owner, other] = spread.cores;
    let settings = Settings {
        sessions: spread.sessions,
        window: Some(spread.milliseconds),
        generator_core: other,
        worker_core: owner,
        ..Settings::default()
    };
    let lab = Lab::start("handoff")?;
    let topology = Topology::build(&lab)?;
    let ([mut upstream, _], neighbors) = direction::both(&topology, spread.sessions)?;
    let mut data_plane = DataPlane::start(&lab, &topology.lns)?;
    data_plane.configure(Configuration {
        workers: WORKERS,
        cores: cores(spread.cores),
        handoff,
        ..configuration(&settings)
    })?;
    data_plane.fill(spread.sessions, neighbors)?;
    upstream.trial(&mut data_plane, spread.sessions)?;
    let window = super::window(&settings);
    let load = Load { window, rate: None, core: other, realtime: false };
    // The time until shares have found their place is none of it.
    upstream.run(&mut data_plane, load)?;
    let before = data_plane.counters()?;
    let run = upstream.run(&mut data_plane, load)?;
    let after = data_plane.counters()?;
    let workers = shares(&before, &after);
    if workers.iter().all(|worker| worker.processed == 0) {
        return Err(LabError::new(format!("hand-off {name}: no worker has processed anything")));
    }
    let (offered_pps, forwarded_pps) = (run.offered_pps, run.forwarded_pps);
    Ok(Way { handoff: name, offered_pps, forwarded_pps, workers })
}

/// veth puts what a core sends into the queue with that core's number, as far as there are so many; each
/// worker owns the queue of its own number. So the worker that gets all of it is the one with the
/// number of the generator's core.
fn cores([owner, other]: [u16; 2]) -> Vec<u16> {
    let mut cores = vec![other; WORKERS.into()];
    cores[usize::from(other % WORKERS)] = owner;
    cores
}

fn shares(before: &Counters, after: &Counters) -> Vec<Share> {
    let mut shares: Vec<Share> = before
        .workers
        .iter()
        .zip(&after.workers)
        .map(|(before, after)| share(before, after))
        .collect();
    let all: u64 = shares.iter().map(|share| share.processed).sum();
    for share in &mut shares {
        share.part_of_all = share.processed as f64 / all.max(1) as f64;
    }
    shares
}

fn share(before: &WorkerCounters, after: &WorkerCounters) -> Share {
    let count = |of: fn(&WorkerCounters) -> u64| of(after).saturating_sub(of(before));
    let received = count(|worker| worker.received);
    let (handed_out, handed_in) =
        (count(|worker| worker.handed_out), count(|worker| worker.handed_in));
    let processed = (received + handed_in).saturating_sub(handed_out);
    Share { core: after.core, received, handed_out, handed_in, processed, part_of_all: 0.0 }
}

/// As a table.
pub fn print(sessions: u32, ways: &[Way]) {
    println!("one tunnel of {sessions} sessions, all of it by one queue of two");
    println!(
        "{:<9}{:>10}{:>12}  {:<8}{:>12}{:>12}{:>12}{:>12}{:>8}",
        "hand-off",
        "offered",
        "forwarded",
        "core",
        "received",
        "given",
        "taken",
        "processed",
        "of all"
    );
    for way in ways {
        let mut front = format!(
            "{:<9}{:>10.2}{:>12.2}",
            way.handoff,
            way.offered_pps / 1e6,
            way.forwarded_pps / 1e6
        );
        for worker in &way.workers {
            let core = worker.core.map_or("any".to_owned(), |core| core.to_string());
            println!(
                "{front:<31}  {core:<8}{:>12}{:>12}{:>12}{:>12}{:>7.0} %",
                worker.received,
                worker.handed_out,
                worker.handed_in,
                worker.processed,
                100.0 * worker.part_of_all
            );
            front.clear();
        }
    }
    println!("rates in Mpps; the generator and the second worker share a core");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worker_of_the_generators_queue_runs_on_the_owners_core() {
        assert_eq!(cores([1, 0]), [1, 0]);
        assert_eq!(cores([0, 1]), [1, 0]);
        assert_eq!(cores([3, 2]), [3, 2]);
    }

    #[test]
    fn what_was_given_is_processed_by_the_other() {
        let worker = |received, handed_out, handed_in| WorkerCounters {
            received,
            handed_out,
            handed_in,
            ..WorkerCounters::default()
        };
        let counters = |workers| Counters { workers, ..Counters::default() };
        let before = counters(vec![worker(10, 0, 0), worker(0, 0, 0)]);
        let after = counters(vec![worker(110, 25, 0), worker(0, 0, 25)]);
        let shares = shares(&before, &after);
        assert_eq!([shares[0].processed, shares[1].processed], [75, 25]);
        assert_eq!([shares[0].part_of_all, shares[1].part_of_all], [0.75, 0.25]);
    }
}
