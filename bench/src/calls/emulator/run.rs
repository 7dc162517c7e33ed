//! The loop: the emulator on its sockets, by the clock.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use xlns_tests::{LabError, Result};

use super::sockets::Sockets;
use super::{Emulator, Established, Outcome, Plan, Stage};
use crate::clock;

/// How often timers are looked at.
const TICK: Duration = Duration::from_millis(50);

/// How often the progress is told.
const PROGRESS: Duration = Duration::from_secs(1);

/// How long the end may take: acknowledgements of a peer that is gone are not waited for.
const END_MAX: Duration = Duration::from_secs(60);

/// Milliseconds that the loop sleeps while nothing comes.
const IDLE_MS: u8 = 1;

/// What a run tells while it runs.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Since the start.
    pub elapsed: Duration,
    /// How far.
    pub stage: Stage,
    /// Calls placed so far.
    pub offered: u64,
    /// Calls that came up so far, and of those in the last second.
    pub opened: u64,
    /// See `opened`.
    pub opened_last: u64,
    /// Calls that are up.
    pub held: u32,
    /// Calls that failed.
    pub failed: u64,
}

/// Pins this thread.
///
/// # Errors
/// Where there is no such core for us.
pub fn pin(core: u16) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(usize::from(core))
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .map_err(|error| LabError::new(format!("cannot use core {core}: {error}")))
}

/// Carries a plan out on this thread, from its namespace, and tells `progress` once a second.
///
/// # Errors
/// Where a source address cannot be bound.
pub fn run(plan: Plan, progress: impl FnMut(Progress)) -> Result<Outcome> {
    run_watched(plan, progress, |_| ControlFlow::Continue(()))
}

/// Opens the calls of a plan on this thread, tells `up` once all are, and holds them until `stop` is
/// set; nobody hangs up then. Returns without having called `up` where calls fail.
///
/// # Errors
/// Where a source address cannot be bound.
pub fn hold(plan: Plan, stop: &AtomicBool, up: impl FnOnce(Vec<Established>)) -> Result<Outcome> {
    let up = |emulator: &Emulator| up(emulator.established());
    hold_watched(plan, stop, Farewell::None, |_| (), up, |_| ())
}

/// What becomes of calls that are not held any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// They are ended, and their tunnels.
    HangUp,
    /// Nothing is said: the LNS ends as well.
    None,
}

/// Like [`hold`], tells `progress` once a second until all calls are up, and has `watch` look after
/// each turn from then on.
///
/// # Errors
/// Where a source address cannot be bound.
pub fn hold_watched(
    plan: Plan,
    stop: &AtomicBool,
    farewell: Farewell,
    mut progress: impl FnMut(Progress),
    up: impl FnOnce(&Emulator),
    mut watch: impl FnMut(&Emulator),
) -> Result<Outcome> {
    let mut up = Some(up);
    let complete = Cell::new(false);
    run_watched(
        plan,
        |now| {
            if !complete.get() {
                progress(now);
            }
        },
        |emulator| {
            if emulator.stage() == Stage::End && farewell == Farewell::HangUp {
                return ControlFlow::Continue(());
            }
            let failed = emulator.outcome().failures() > 0 || emulator.stage() == Stage::End;
            if up.is_some() && failed {
                return over(emulator, farewell);
            }
            if emulator.is_complete()
                && let Some(up) = up.take()
            {
                complete.set(true);
                up(emulator);
            }
            if complete.get() {
                watch(emulator);
            }
            match stop.load(Ordering::Relaxed) {
                true => over(emulator, farewell),
                false => ControlFlow::Continue(()),
            }
        },
    )
}

/// Ends a run as its farewell says.
fn over(emulator: &mut Emulator, farewell: Farewell) -> ControlFlow<()> {
    match farewell {
        Farewell::HangUp => {
            emulator.stop();
            ControlFlow::Continue(())
        }
        Farewell::None => ControlFlow::Break(()),
    }
}

/// The loop; `watch` may end it after each turn.
fn run_watched(
    plan: Plan,
    mut progress: impl FnMut(Progress),
    mut watch: impl FnMut(&mut Emulator) -> ControlFlow<()>,
) -> Result<Outcome> {
    let mut sockets = Sockets::bind(&plan.sources)?;
    let mut emulator = Emulator::new(plan);
    let start = clock::now();
    let (mut next_tick, mut next_progress) = (TICK, PROGRESS);
    let (mut told, mut ending) = (0, None);
    while emulator.stage() != Stage::Over && watch(&mut emulator).is_continue() {
        let now = start.elapsed();
        let received = sockets.receive(|from, octets| emulator.handle_datagram(now, from, octets));
        if now >= next_tick {
            next_tick = now + TICK;
            emulator.handle_timeout(now);
        }
        emulator.step(now);
        let mut sent = 0;
        while let Some(datagram) = emulator.poll_transmit(now) {
            sockets.queue(datagram);
            sent += 1;
        }
        sockets.flush();
        if now >= next_progress {
            next_progress += PROGRESS;
            let outcome = emulator.outcome();
            progress(Progress {
                elapsed: now,
                stage: emulator.stage(),
                offered: outcome.offered,
                opened: outcome.opened,
                opened_last: outcome.opened - told,
                held: emulator.in_progress().1,
                failed: outcome.failures(),
            });
            told = outcome.opened;
        }
        if emulator.stage() == Stage::End && now >= *ending.get_or_insert(now) + END_MAX {
            break;
        }
        if received == 0 && sent == 0 {
            sockets.wait(IDLE_MS);
        }
    }
    Ok(emulator.into_outcome())
}
