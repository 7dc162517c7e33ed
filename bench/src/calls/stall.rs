//! No stall: a client that answers at once is up at once, every time.
//!
//! Each trial is a tunnel and a call of its own, one after the other, from SCCRQ to IPCP open. What
//! takes longer than [`LIMIT`] has waited for a timer of one side or the other, or for the machine.

use std::error::Error;
use std::time::Duration;

use serde::Serialize;

use super::Arguments;
use super::emulator::Outcome;
use super::emulator::Plan;
use super::lab::{self, Stand};
use crate::record::Recorder;

/// What set-up may take on a machine that is idle otherwise.
const LIMIT: Duration = Duration::from_millis(20);

/// Sources, so that no limit of one source is met.
const SOURCES: u16 = 100;

#[derive(Debug, Serialize)]
struct Report {
    trials: u64,
    up: u64,
    over_20_ms: u64,
    setup_ms_p50: f64,
    setup_ms_p99: f64,
    setup_ms_max: f64,
    /// Of the emulator: 0 where nobody waited for a timer.
    retransmissions: u64,
}

/// Runs the trials and prints what they took.
pub fn run(arguments: &Arguments, recorder: &Recorder) -> Result<(), Box<dyn Error>> {
    let stand = Stand::build("stall", SOURCES)?;
    let mut xlns = stand.start(arguments)?;
    let plan = Plan {
        sources: (0..SOURCES).map(lab::source).collect(),
        tunnels: arguments.trials as u16,
        calls: arguments.trials.into(),
        one_by_one: true,
        ..lab::plan(arguments)
    };
    let outcome = stand.run(arguments.lac_core, plan, lab::tell)?;
    if let Some(error) = xlns.ended() {
        return Err(error.into());
    }
    let report = report_of(arguments, &outcome);
    recorder.finish("calls", &report, || {
    println!(
        "SCCRQ to IPCP open: {} of {} trials up, {:.2} ms (median), {:.2} (99 %), {:.2} (slowest), \
         {} over {} ms; {} messages sent again",
        report.up,
        report.trials,
        report.setup_ms_p50,
        report.setup_ms_p99,
        report.setup_ms_max,
        report.over_20_ms,
        LIMIT.as_millis(),
        report.retransmissions,
    );
    })
}

fn report_of(arguments: &Arguments, outcome: &Outcome) -> Report {
    Report {
        trials: arguments.trials.into(),
        up: outcome.opened,
        over_20_ms: outcome.slower_than(LIMIT),
        setup_ms_p50: outcome.setup_ms(0.5),
        setup_ms_p99: outcome.setup_ms(0.99),
        setup_ms_max: outcome.setup_ms(1.0),
        retransmissions: outcome.retransmissions_control + outcome.retransmissions_ppp,
    }
}
