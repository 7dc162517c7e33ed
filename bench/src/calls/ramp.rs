//! `xlns-bench calls --ramp`: one rate after the other, to see which the LNS takes.

use std::fmt;

use serde::Serialize;
use xlns_tests::Result;

use super::Arguments;
use super::report::Report;
use crate::bar::bar;
use crate::ramp::Ramp;

/// All steps.
#[derive(Debug, Serialize)]
pub struct RampReport {
    /// The highest rate of the ramp at which all calls came up, none was lost, and the LNS kept up.
    clean_calls_per_second_max: Option<u32>,
    /// Length of a step.
    step_seconds: u32,
    /// Each rate.
    steps: Vec<Report>,
}

/// Places calls at each rate of a ramp; `one` does that for as long as a step lasts.
///
/// # Errors
/// Those of a step.
pub fn climb(
    arguments: &Arguments,
    ramp: Ramp,
    mut one: impl FnMut(&Arguments) -> Result<Report>,
) -> Result<RampReport> {
    let step_seconds = arguments.step_seconds;
    let (mut steps, mut best) = (Vec::new(), None);
    for rate in ramp.rates() {
        let calls = u64::from(rate) * u64::from(step_seconds);
        let step = Arguments { rate: Some(rate), calls: Some(calls), ..arguments.clone() };
        let report = one(&step)?;
        if report.is_clean() {
            best = best.max(Some(rate));
        }
        steps.push(report);
    }
    Ok(RampReport { clean_calls_per_second_max: best, step_seconds, steps })
}

impl fmt::Display for RampReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:>9} {:>9} {:>8} {:>8} {:>10} {:>10} {:>10}",
            "offered/s", "up/s", "failed", "lost", "median ms", "99 % ms", "slowest"
        )?;
        let rates = self.steps.iter().map(Report::calls_per_second);
        let most = rates.fold(0.0, f64::max);
        for step in &self.steps {
            writeln!(f, "{} {}", step.row(), bar(step.calls_per_second(), most))?;
        }
        match self.clean_calls_per_second_max {
            Some(rate) => writeln!(f, "{rate} calls a second came up without a failure"),
            None => writeln!(f, "at no rate of the ramp did all calls come up in time"),
        }
    }
}
