//! What the lab's programs have in common: steps with their times, the end at a signal, the summary.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::deadline::Deadline;
use crate::lab::Reaper;
use crate::{LabError, Result};

/// A program of this name: does `work`, which is handed what a signal sets
/// ([`clean_up_at_signals`]), and says where it failed.
pub fn main(name: &str, work: impl FnOnce(&Arc<AtomicBool>) -> Result<()>) -> ExitCode {
    let interrupted = Arc::new(AtomicBool::new(false));
    match work(&interrupted) {
        Ok(()) => ExitCode::SUCCESS,
        // What failed was pulled away by the end that the signal asked for.
        Err(_) if interrupted.load(Ordering::Relaxed) => loop {
            std::thread::park();
        },
        Err(error) => {
            eprintln!("\nThe {name} failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Says what happens, and how long it took.
pub struct Steps {
    start: Deadline,
    last: Duration,
}

impl Default for Steps {
    fn default() -> Self {
        Self::new()
    }
}

impl Steps {
    /// Time starts now.
    pub fn new() -> Self {
        Self { start: Deadline::after(Duration::ZERO), last: Duration::ZERO }
    }

    /// A step is done.
    pub fn done(&mut self, what: &str) {
        let now = self.start.elapsed();
        let took = now.saturating_sub(self.last);
        println!("{:7.2} s  (+{:5.2})  {what}", now.as_secs_f64(), took.as_secs_f64());
        self.last = now;
    }

    /// From the start to the last step.
    pub fn elapsed(&self) -> Duration {
        self.last
    }
}

/// At a signal: ends and removes everything, then this program.
///
/// # Errors
/// Where the kernel does not let it listen for signals.
pub fn clean_up_at_signals(reaper: Reaper, interrupted: Arc<AtomicBool>) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
        .map_err(|error| LabError::io("signal handler", &error))?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            interrupted.store(true, Ordering::Relaxed);
            eprintln!("\ninterrupted: removing everything");
            reaper.reap();
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}

/// The middle one; of an even number, the lower of both.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

/// Writes a summary as JSON, and says where.
///
/// # Errors
/// Where it cannot be written.
pub fn write_summary(path: &Path, summary: &impl Serialize) -> Result<()> {
    let attempt = format!("write {}", path.display());
    let text = serde_json::to_string_pretty(summary)
        .map_err(|error| LabError::io(&attempt, &error.into()))?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| LabError::io(&attempt, &error))?;
    }
    std::fs::write(path, text + "\n").map_err(|error| LabError::io(&attempt, &error))?;
    println!("\n{}", path.display());
    Ok(())
}
