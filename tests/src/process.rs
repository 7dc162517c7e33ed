//! Programs of this machine: started, their lines read, ended by their process ID.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::deadline;
use crate::output::Output;
use crate::{LabError, Result};

/// How long a program may take to end after SIGTERM before it gets SIGKILL.
const END_WAIT: Duration = Duration::from_secs(5);

/// A running program; dropped, it is ended.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    output: Output,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; its lines (both streams) go to the log and to [`Process::output`].
    ///
    /// # Errors
    /// Where the program or the log cannot be opened.
    pub fn spawn(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let output = Output::default();
        let sink = output.clone();
        Self::spawn_into(name, command, log, output, move |line| sink.push(line))
    }

    /// Like [`Process::spawn`], each line handed to `sink` instead; `output` is closed at the end.
    ///
    /// # Errors
    /// Where the program or the log cannot be opened.
    pub fn spawn_into(
        name: &str,
        command: &mut Command,
        log: &Path,
        output: Output,
        sink: impl FnMut(String) + Send + 'static,
    ) -> Result<Self> {
        let file =
            File::create(log).map_err(|error| LabError::io(&format!("create {log:?}"), &error))?;
        let (reader, writer) = std::io::pipe().map_err(|error| LabError::io("pipe", &error))?;
        let second = writer.try_clone().map_err(|error| LabError::io("pipe", &error))?;
        let child = command.stdout(writer).stderr(second).spawn();
        // The command keeps the write ends open: without them the reader sees the program's end.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = child.map_err(|error| {
            LabError::io(&format!("start {}", command.get_program().display()), &error)
        })?;
        let closed = output.clone();
        std::thread::spawn(move || {
            copy_lines(reader, file, sink);
            closed.close();
        });
        Ok(Self { name: name.to_owned(), child, output, log: log.to_owned() })
    }

    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it wrote so far.
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// The file with all that it wrote.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its process ID.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its standard input, once, if that was piped.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// How it ended, if it has.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Where it still runs after `wait`.
    pub fn wait(&mut self, wait: Duration) -> Result<ExitStatus> {
        deadline::poll(wait, || self.status()).ok_or_else(|| {
            LabError::with_log(
                format!("{} still runs after {} s", self.name, wait.as_secs_f32()),
                &self.log,
            )
        })
    }

    /// Waits for a line that contains `text`.
    ///
    /// # Errors
    /// Where it does not come in `wait`, or the program ends before.
    pub fn wait_line(&self, wait: Duration, text: &str) -> Result<String> {
        self.output.wait_for(0, wait, text).ok_or_else(|| {
            LabError::with_log(
                format!("{} did not say {text:?} within {} s", self.name, wait.as_secs_f32()),
                &self.log,
            )
        })
    }

    /// Sends a signal, unless it has ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.status().is_none()
            && let Ok(id) = i32::try_from(self.child.id())
        {
            // Not reaped yet, so the ID is still its own.
            let _ = kill(Pid::from_raw(id), signal);
        }
    }

    /// Ends it: SIGTERM, and SIGKILL where that is not enough.
    pub fn end(&mut self) -> Option<ExitStatus> {
        self.signal(Signal::SIGTERM);
        let status = deadline::poll(END_WAIT, || self.status());
        if status.is_some() {
            return status;
        }
        self.signal(Signal::SIGKILL);
        self.child.wait().ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Runs a program to its end and hands out what it wrote to its standard output.
///
/// # Errors
/// Where it cannot be started or fails; says what it wrote.
pub fn run(command: &mut Command) -> Result<String> {
    run_with_input(command, "")
}

/// Like [`run`], with a standard input that fits into a pipe.
///
/// # Errors
/// Where the program cannot be started or fails; says what it wrote.
pub fn run_with_input(command: &mut Command, input: &str) -> Result<String> {
    let what = format!("{command:?}").replace('"', "");
    let failed = |error: std::io::Error| LabError::io(&format!("start {what}"), &error);
    let (reader, mut writer) = std::io::pipe().map_err(failed)?;
    writer.write_all(input.as_bytes()).map_err(failed)?;
    drop(writer);
    let output = command.stdin(reader).output();
    // The command would keep the pipe open.
    command.stdin(Stdio::null());
    let output = output.map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(LabError::new(format!(
        "{what}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )))
}

/// Kills a process that another one is the parent of.
///
/// # Errors
/// Where there is none of that ID.
pub fn kill_id(id: u32) -> Result<()> {
    let what = format!("kill {id}");
    let id = i32::try_from(id).map_err(|_| LabError::new(&what))?;
    kill(Pid::from_raw(id), Signal::SIGKILL).map_err(|error| LabError::io(&what, &error.into()))
}

/// Resident memory of a process in KiB, as the kernel says; `None` once it has ended.
pub fn resident_kib(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

/// Copies lines to the log and to `sink` until the last writer is gone.
fn copy_lines(reader: impl Read, mut log: File, mut sink: impl FnMut(String)) {
    let mut reader = BufReader::new(reader);
    let mut octets = Vec::new();
    while matches!(reader.read_until(b'\n', &mut octets), Ok(1..)) {
        // A full disk must not stop the program that writes.
        let _ = log.write_all(&octets);
        while matches!(octets.last(), Some(b'\n' | b'\r')) {
            octets.pop();
        }
        sink(String::from_utf8_lossy(&octets).into_owned());
        octets.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null());
        command
    }

    #[test]
    fn reads_lines_and_the_status() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut process =
            Process::spawn("words", &mut shell("echo one; echo two >&2; exit 3"), &log).unwrap();
        process.wait_line(Duration::from_secs(5), "two").unwrap();
        assert_eq!(process.wait(Duration::from_secs(5)).unwrap().code(), Some(3));
        assert!(process.wait_line(Duration::from_secs(60), "three").is_err(), "ends with it");
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn ends_a_program_that_runs_on() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut process = Process::spawn("endless", &mut shell("exec sleep 600"), &log).unwrap();
        assert!(resident_kib(process.id()).is_some());
        assert!(process.wait(Duration::from_millis(1)).is_err());
        assert!(!process.end().unwrap().success());
    }

    #[test]
    fn run_says_what_went_wrong() {
        assert_eq!(run(&mut shell("echo well")).unwrap(), "well\n");
        let error = run(&mut shell("echo ill >&2; exit 1")).unwrap_err().to_string();
        assert!(error.contains("ill"), "{error}");
    }
}
