//! Keeps both processes up, and ends them in order.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use mio::net::UnixDatagram;
use mio::{Events, Interest, Poll, Token};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

use super::programs::{Programs, Role};
use crate::output::Failure;

/// Starts of the data plane after the first, before it is given up.
const RESTARTS_MAX: u32 = 5;

/// Pause before the first of them; doubles with each.
const RESTART_PAUSE: Duration = Duration::from_millis(200);

/// A data plane that was up for so long has its restarts forgiven.
const STEADY_AFTER: Duration = Duration::from_secs(60);

/// Control tells every peer that its tunnel ends; more than one retransmission fits.
const CONTROL_END_TIMEOUT: Duration = Duration::from_secs(10);

/// The data plane only gives back what it holds.
const DATAPLANE_END_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest message of sd_notify that is looked at, octets.
const NOTIFY_BYTES_MAX: usize = 1024;

const SIGNALS: Token = Token(2);

/// The processes and what is to happen next.
pub struct Supervisor {
    programs: Programs,
    poll: Poll,
    signals: Signals,
    processes: [Process; 2],
    restarts: u32,
    restart_at: Option<Instant>,
    stopping: Option<Stopping>,
}

struct Process {
    role: Role,
    child: Option<Child>,
    started: Instant,
    notify: UnixDatagram,
    notify_path: PathBuf,
}

struct Stopping {
    /// Whether anything went wrong before.
    failed: bool,
    /// Which one has been told to end; the data plane comes after control.
    role: Role,
    kill_at: Instant,
}

#[expect(clippy::disallowed_methods, reason = "the supervisor is a program's own event loop")]
fn now() -> Instant {
    Instant::now()
}

fn failed(what: &str) -> impl Fn(io::Error) -> Failure {
    let what = what.to_owned();
    move |error| Failure::Message(format!("{what}: {error}"))
}

impl Supervisor {
    pub fn new(programs: Programs) -> Result<Self, Failure> {
        let poll = Poll::new().map_err(failed("epoll"))?;
        let mut signals =
            Signals::new([SIGINT, SIGTERM, SIGHUP, SIGCHLD]).map_err(failed("signals"))?;
        poll.registry()
            .register(&mut signals, SIGNALS, Interest::READABLE)
            .map_err(failed("signals"))?;
        let [dataplane, control] = Role::ALL;
        let processes =
            [Process::new(dataplane, &programs, &poll)?, Process::new(control, &programs, &poll)?];
        Ok(Self {
            programs,
            poll,
            signals,
            processes,
            restarts: 0,
            restart_at: None,
            stopping: None,
        })
    }

    /// Starts both and stays until both have ended.
    pub fn run(mut self) -> Result<(), Failure> {
        for role in Role::ALL {
            self.start(role);
        }
        let mut events = Events::with_capacity(8);
        loop {
            if let Some(failed) = self.finished() {
                return if failed { Err(Failure::Reported) } else { Ok(()) };
            }
            match self.poll.poll(&mut events, self.timeout()) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    say(&format!("epoll: {error}"));
                    self.stop(true);
                }
                _ => {}
            }
            for process in &self.processes {
                process.read_notifications();
            }
            self.take_signals();
            self.reap();
            self.handle_timeout();
        }
    }

    /// Whether something failed, once everything is over.
    fn finished(&self) -> Option<bool> {
        let stopping = self.stopping.as_ref()?;
        self.processes.iter().all(|process| process.child.is_none()).then_some(stopping.failed)
    }

    fn timeout(&self) -> Option<Duration> {
        let kill_at = self.stopping.as_ref().map(|stopping| stopping.kill_at);
        let next = [kill_at, self.restart_at].into_iter().flatten().min()?;
        Some(next.saturating_duration_since(now()))
    }

    fn start(&mut self, role: Role) {
        if self.stopping.is_some() {
            return;
        }
        let [dataplane, control] = &mut self.processes;
        let process = if role == Role::Dataplane { dataplane } else { control };
        match self.programs.start(role, &process.notify_path) {
            Ok(child) => {
                say(&format!("{} started, process {}", role.name(), child.id()));
                process.child = Some(child);
                process.started = now();
            }
            Err(error) => {
                if let Failure::Message(message) = error {
                    say(&message);
                }
                self.stop(true);
            }
        }
    }

    fn take_signals(&mut self) {
        let pending: Vec<i32> = self.signals.pending().collect();
        if !pending.iter().any(|signal| *signal != SIGCHLD) {
            return;
        }
        if self.stopping.is_some() {
            say("killing what is left");
            for process in &self.processes {
                process.signal(Signal::SIGKILL);
            }
        } else {
            say("stopping");
            self.stop(false);
        }
    }

    /// Takes the status of what has ended, and decides what follows.
    fn reap(&mut self) {
        for role in Role::ALL {
            let Some(process) = self.processes.get_mut(role.index()) else { continue };
            let status = match process.child.as_mut().map(Child::try_wait) {
                None | Some(Ok(None)) => continue,
                Some(Ok(Some(status))) => status.to_string(),
                Some(Err(error)) => error.to_string(),
            };
            process.child = None;
            let up = now().saturating_duration_since(process.started);
            self.on_ended(role, &status, up);
        }
    }

    fn on_ended(&mut self, role: Role, status: &str, up: Duration) {
        say(&format!("{} ended ({status})", role.name()));
        if self.stopping.is_some() {
            self.stop_next();
            return;
        }
        if role == Role::Control {
            self.stop(true);
            return;
        }
        if up >= STEADY_AFTER {
            self.restarts = 0;
        }
        if self.restarts >= RESTARTS_MAX {
            say(&format!("the data plane ended {} times in a row: giving up", self.restarts + 1));
            self.stop(true);
            return;
        }
        let pause = RESTART_PAUSE * 2_u32.pow(self.restarts);
        self.restarts += 1;
        self.restart_at = Some(now() + pause);
    }

    fn handle_timeout(&mut self) {
        let time = now();
        if self.restart_at.is_some_and(|at| at <= time) {
            self.restart_at = None;
            self.start(Role::Dataplane);
        }
        let Some(stopping) = &mut self.stopping else { return };
        if stopping.kill_at <= time {
            if let Some(process) = self.processes.get(stopping.role.index()) {
                say(&format!("{} does not end: killed", stopping.role.name()));
                process.signal(Signal::SIGKILL);
            }
            stopping.kill_at = time + DATAPLANE_END_TIMEOUT;
        }
    }

    /// Begins to end everything: control first, while packets still flow.
    fn stop(&mut self, failed: bool) {
        self.restart_at = None;
        if let Some(stopping) = &mut self.stopping {
            stopping.failed |= failed;
            return;
        }
        let kill_at = now() + CONTROL_END_TIMEOUT;
        self.stopping = Some(Stopping { failed, role: Role::Control, kill_at });
        let [_, control] = &self.processes;
        if control.child.is_some() {
            control.signal(Signal::SIGTERM);
        } else {
            self.stop_next();
        }
    }

    /// Tells the data plane to end, once control has.
    fn stop_next(&mut self) {
        let [dataplane, control] = &self.processes;
        let Some(stopping) = &mut self.stopping else { return };
        if stopping.role == Role::Control && control.child.is_none() {
            stopping.role = Role::Dataplane;
            stopping.kill_at = now() + DATAPLANE_END_TIMEOUT;
            dataplane.signal(Signal::SIGTERM);
        }
    }
}

impl Process {
    fn new(role: Role, programs: &Programs, poll: &Poll) -> Result<Self, Failure> {
        let name = format!("run-{}-{}.notify", std::process::id(), role.program());
        let notify_path = programs.folder().join(name);
        let mut notify =
            UnixDatagram::bind(&notify_path).map_err(failed(&notify_path.to_string_lossy()))?;
        poll.registry()
            .register(&mut notify, Token(role.index()), Interest::READABLE)
            .map_err(failed("epoll"))?;
        Ok(Self { role, child: None, started: now(), notify, notify_path })
    }

    fn signal(&self, signal: Signal) {
        let Some(child) = &self.child else { return };
        if let Ok(process_id) = i32::try_from(child.id()) {
            // It has not been waited for, so the number is still its own.
            let _ = kill(Pid::from_raw(process_id), signal);
        }
    }

    fn read_notifications(&self) {
        let mut buffer = [0; NOTIFY_BYTES_MAX];
        while let Ok(length) = self.notify.recv(&mut buffer) {
            let message = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
            for line in message.lines() {
                if line == "READY=1" {
                    let elapsed = now().saturating_duration_since(self.started);
                    let seconds = elapsed.as_secs_f64();
                    say(&format!("{} ready after {seconds:.2} s", self.role.name()));
                } else if let Some(status) = line.strip_prefix("STATUS=") {
                    say(&format!("{}: {status}", self.role.name()));
                }
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.notify_path);
    }
}

/// Progress; not worth ending for where nobody reads it.
fn say(message: &str) {
    use std::io::Write;
    let _ = writeln!(io::stdout(), "xlns: {message}");
}
