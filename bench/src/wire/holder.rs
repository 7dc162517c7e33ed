//! The sessions: brought up by the emulator of `calls` and held by it, in a thread of its own, while
//! traffic runs.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use nix::unistd::gettid;
use serde::Serialize;
use xlns_tests::deadline::Deadline;
use xlns_tests::{LabError, Result, deadline};

use super::interrupt;
use super::kernel::direction::put_at;
use super::packet::{Flow, Ids};
use super::place::Place;
use crate::calls::emulator::run::{Farewell, Progress, hold_watched, pin};
use crate::calls::emulator::{Emulator, Established, KeepAlive, Outcome, Plan, Vitals};
use crate::calls::lab::tell;

/// How long all sessions may take.
const SESSIONS_WAIT: Duration = Duration::from_secs(120);

/// How often is looked whether to go on waiting.
const LOOK: Duration = Duration::from_millis(100);

/// The sessions are held for as long as the run takes.
pub const HELD: Duration = Duration::from_secs(24 * 3600);

/// Sessions that ask whether the LNS is there, ten times a second; and all tunnels do.
const ECHOES: usize = 25;
const INTERVAL: Duration = Duration::from_millis(100);

/// HELLOs a second of all tunnels together, at most.
const HELLOS_PER_SECOND_MAX: u32 = 1000;

/// A round takes no longer, unless the emulator hangs.
const ROUND_MAX: Duration = Duration::from_secs(60);

/// Above the tester's threads: it does little, and must not wait for a flood to end.
const PRIORITY: u8 = 2;

/// When the emulator has its turn.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// The core that it runs on.
    pub core: u16,
    /// Whether the tester's threads have real-time priority: it needs a higher one then.
    pub realtime: bool,
}

/// How the sessions came up.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct SetUp {
    /// Calls a second, from the first one offered to the last one up.
    pub calls_per_second: f64,
    /// Set-up time, milliseconds.
    pub setup_ms_p50: f64,
    /// See `setup_ms_p50`.
    pub setup_ms_p99: f64,
    /// See `setup_ms_p50`.
    pub setup_ms_max: f64,
}

/// What became of control while a trial ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Control {
    /// Tunnels that are up afterwards.
    pub tunnels_up: u32,
    /// Sessions that are up afterwards.
    pub sessions_up: u32,
    /// Sessions that were lost meanwhile.
    pub sessions_lost: u64,
    /// HELLOs sent meanwhile.
    pub hellos_sent: u64,
    /// Tunnels that still wait for an acknowledgement afterwards.
    pub hellos_unanswered: u32,
    /// Control messages that had to be sent again meanwhile.
    pub retransmissions: u64,
    /// LCP Echo-Requests sent meanwhile.
    pub echoes_sent: u64,
    /// And their answers.
    pub echoes_answered: u64,
}

impl Control {
    /// What became of it between two looks.
    pub fn between(before: Vitals, after: Vitals) -> Self {
        Self {
            tunnels_up: after.tunnels,
            sessions_up: after.held,
            sessions_lost: after.calls_lost - before.calls_lost,
            hellos_sent: after.hellos_sent - before.hellos_sent,
            hellos_unanswered: after.tunnels_waiting,
            retransmissions: after.retransmissions - before.retransmissions,
            echoes_sent: after.echoes_sent - before.echoes_sent,
            // An answer to one of before may have come late.
            echoes_answered: (after.echoes_answered - before.echoes_answered)
                .min(after.echoes_sent - before.echoes_sent),
        }
    }
}

/// What the emulator's thread shows.
#[derive(Default)]
struct Shown {
    stop: AtomicBool,
    ended: AtomicBool,
    vitals: Mutex<Vitals>,
}

/// The sessions, up; dropped, they are ended.
pub struct Holder<'scope> {
    shown: Arc<Shown>,
    thread: Option<ScopedJoinHandle<'scope, Result<Outcome>>>,
    /// The sessions.
    pub flows: Arc<[Flow]>,
    /// How they came up.
    pub set_up: SetUp,
}

impl<'scope> Holder<'scope> {
    /// Brings the sessions of a plan up from a place and has them held.
    ///
    /// # Errors
    /// Where not all come up.
    pub fn start<'a: 'scope>(
        plan: Plan,
        place: Place<'a>,
        turn: Turn,
        farewell: Farewell,
        scope: &'scope Scope<'scope, 'a>,
    ) -> Result<Self> {
        let shown = Arc::<Shown>::default();
        let (up, is_up) = mpsc::channel();
        let sources = plan.sources.clone();
        let (calls, lns) = (plan.calls, plan.lns);
        let thread = {
            let shown = Arc::clone(&shown);
            scope.spawn(move || {
                let outcome = place.inside(|| {
                    pin(turn.core)?;
                    if turn.realtime {
                        put_at(gettid(), PRIORITY)?;
                    }
                    let up = |emulator: &Emulator| {
                        drop(up.send((emulator.established(), set_up(emulator.outcome()))));
                    };
                    let watch = |emulator: &Emulator| show(&shown, emulator.vitals());
                    hold_watched(plan, &shown.stop, farewell, tell_rest, up, watch)
                });
                shown.ended.store(true, Ordering::Relaxed);
                outcome
            })
        };
        let mut holder =
            Self { shown, thread: Some(thread), flows: Arc::new([]), set_up: SetUp::NONE };
        match wait(&is_up) {
            Ok((sessions, set_up)) => {
                let flows: Option<Vec<Flow>> =
                    sessions.iter().map(|session| flow(session, &sources)).collect();
                holder.flows = flows.unwrap_or_default().into();
                holder.set_up = set_up;
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                interrupt::check()?;
                return Err(LabError::new(format!(
                    "the sessions do not come up at {lns} within {} s",
                    SESSIONS_WAIT.as_secs()
                )));
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => return Err(holder.failure(lns)),
        }
        if holder.flows.len() as u64 != calls {
            return Err(LabError::new(format!("only {} sessions are up", holder.flows.len())));
        }
        Ok(holder)
    }

    /// Why no session came up.
    fn failure(&mut self, lns: SocketAddr) -> LabError {
        match self.thread.take().map(ScopedJoinHandle::join) {
            Some(Ok(Ok(outcome))) => LabError::new(format!(
                "calls to {lns} failed: {:?}, {} tunnels did not come up; are secret, name and \
                 password right, and does the LNS know this host?",
                outcome.failed, outcome.tunnels_failed
            )),
            Some(Ok(Err(error))) => error,
            _ => LabError::new("the LACs panicked"),
        }
    }

    /// Waits until all answers to what was asked so far have had their time, and looks.
    ///
    /// # Errors
    /// Where the LACs have ended.
    pub fn look(&self) -> Result<Vitals> {
        let read = || *self.shown.vitals.lock().unwrap_or_else(PoisonError::into_inner);
        let now = read().round;
        let next = deadline::poll(ROUND_MAX, || {
            let vitals = read();
            let ended = self.shown.ended.load(Ordering::Relaxed);
            (vitals.round > now || ended).then_some((vitals, ended))
        });
        match next {
            Some((vitals, false)) => Ok(vitals),
            _ => Err(LabError::new("all sessions are gone: the LACs have ended")),
        }
    }
}

impl Drop for Holder<'_> {
    fn drop(&mut self) {
        self.shown.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What went wrong there was said by what missed it.
            let _ = thread.join();
        }
    }
}

impl SetUp {
    const NONE: Self =
        Self { calls_per_second: 0.0, setup_ms_p50: 0.0, setup_ms_p99: 0.0, setup_ms_max: 0.0 };
}

/// Waits for what the emulator's thread says once all sessions are up, or until it is interrupted.
fn wait<T>(is_up: &mpsc::Receiver<T>) -> std::result::Result<T, mpsc::RecvTimeoutError> {
    let deadline = Deadline::after(SESSIONS_WAIT);
    loop {
        match is_up.recv_timeout(LOOK) {
            Err(error @ mpsc::RecvTimeoutError::Timeout) => {
                if deadline.passed() || interrupt::is_asked() {
                    return Err(error);
                }
            }
            other => return other,
        }
    }
}

fn show(shown: &Shown, vitals: Vitals) {
    *shown.vitals.lock().unwrap_or_else(PoisonError::into_inner) = vitals;
}

/// A line a second, as long as calls come up.
fn tell_rest(progress: Progress) {
    tell(progress);
}

fn set_up(outcome: &Outcome) -> SetUp {
    SetUp {
        calls_per_second: outcome.calls_per_second(),
        setup_ms_p50: outcome.setup_ms(0.5),
        setup_ms_p99: outcome.setup_ms(0.99),
        setup_ms_max: outcome.setup_ms(1.0),
    }
}

fn flow(session: &Established, sources: &[SocketAddr]) -> Option<Flow> {
    let SocketAddr::V4(lns) = session.lns else { return None };
    let SocketAddr::V4(lac) = *sources.get(session.source)? else { return None };
    Some(Flow {
        lac: SocketAddrV4::new(*lac.ip(), lac.port()),
        lns,
        to_lns: Ids { tunnel: session.tunnel_id, session: session.session_id },
        from_lns: Ids { tunnel: session.local_tunnel_id, session: session.local_session_id },
        subscriber: session.address,
    })
}

/// Signs of life of so many tunnels.
pub fn keep_alive(tunnels: u16) -> KeepAlive {
    let least = Duration::from_secs(1) * u32::from(tunnels) / HELLOS_PER_SECOND_MAX;
    KeepAlive { interval: INTERVAL.max(least), echoes: ECHOES }
}

/// The addresses of LACs, each with a port of its own: tunnels take them in turn.
///
/// # Errors
/// None free.
pub fn sources(addresses: &[Ipv4Addr], tunnels: u16) -> Result<Vec<SocketAddr>> {
    let each = usize::from(tunnels).min(addresses.len().max(1));
    addresses.iter().take(each).map(|address| free_port(*address)).collect()
}

/// The usual port where it is free, another one else: packets have to name it.
fn free_port(address: Ipv4Addr) -> Result<SocketAddr> {
    let bound = [1701, 0].into_iter().find_map(|port| {
        std::net::UdpSocket::bind((address, port)).and_then(|socket| socket.local_addr()).ok()
    });
    bound.ok_or_else(|| LabError::new(format!("{address} is no address of this host")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_control_is_the_difference() {
        let before = Vitals {
            round: 3,
            held: 10,
            calls_lost: 1,
            tunnels: 2,
            tunnels_waiting: 0,
            hellos_sent: 6,
            retransmissions: 1,
            echoes_sent: 30,
            echoes_answered: 29,
        };
        let after = Vitals {
            round: 9,
            held: 8,
            calls_lost: 3,
            tunnels: 2,
            tunnels_waiting: 1,
            hellos_sent: 16,
            retransmissions: 5,
            echoes_sent: 80,
            echoes_answered: 60,
        };
        let expected = Control {
            tunnels_up: 2,
            sessions_up: 8,
            sessions_lost: 2,
            hellos_sent: 10,
            hellos_unanswered: 1,
            retransmissions: 4,
            echoes_sent: 50,
            echoes_answered: 31,
        };
        assert_eq!(Control::between(before, after), expected);
    }
}
