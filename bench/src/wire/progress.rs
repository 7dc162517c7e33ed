//! A line a second on the error output.

use super::station::Line;
use super::trial::{Purpose, Trial, Way};

/// Tells of a trial that runs.
pub fn tell(purpose: Purpose, rate: Option<f64>, now: Line, before: Line) {
    let seconds = now.elapsed.saturating_sub(before.elapsed).as_secs_f64().max(1e-3);
    let per_second = |now: u64, before: u64| (now - before) as f64 / seconds;
    let way = |index: usize, name: &str| {
        let at = |counts: &[u64; 2]| counts.get(index).copied().unwrap_or(0);
        (at(&now.sent) > 0).then(|| {
            format!(
                "{name} {:.0} offered {:.0} received",
                per_second(at(&now.sent), at(&before.sent)),
                per_second(at(&now.arrived), at(&before.arrived))
            )
        })
    };
    let ways: Vec<_> = [way(0, "in"), way(1, "out")].into_iter().flatten().collect();
    let wanted = rate.map_or("as fast as it goes".to_owned(), |rate| format!("{rate:.0}/s"));
    eprintln!(
        "{:6.1} s  {} at {wanted}: {} a second",
        now.elapsed.as_secs_f64(),
        name(purpose),
        ways.join(", ")
    );
}

/// Tells what came of a trial.
pub fn tell_result(trial: &Trial) {
    let way = |way: &Way| {
        format!(
            "{} {:.0} of {:.0}/s, {} lost ({:.3} %), p99 {:.0} us",
            way.direction,
            way.received_pps,
            way.offered_pps,
            way.lost,
            way.loss_percent,
            way.latency.p99_ns as f64 / 1000.0
        )
    };
    let ways: Vec<_> = trial.directions.iter().map(way).collect();
    eprintln!("          {}: {}", name(trial.purpose), ways.join("; "));
}

/// Tells of anything else.
pub fn say(what: &str) {
    eprintln!("          {what}");
}

/// What a trial is called.
pub fn name(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Probe => "probe",
        Purpose::Rate => "rate",
        Purpose::Ramp => "ramp",
        Purpose::Saturation => "saturation",
        Purpose::Search => "search",
        Purpose::Overload => "overload",
    }
}
