//! One run of the lab: its name, its folders, and the reaper that leaves nothing behind.

use std::fmt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nix::unistd::Uid;

use crate::netns;

/// What the lab calls of this machine, and the Debian package that has it.
const PROGRAMS: [(&str, &str); 9] = [
    ("ip", "iproute2"),
    ("ping", "iputils-ping"),
    ("ethtool", "ethtool"),
    ("iperf3", "iperf3"),
    ("linux.uml", "user-mode-linux"),
    ("modprobe", "kmod"),
    ("xl2tpd", "xl2tpd"),
    ("pppd", "ppp"),
    ("sh", "dash"),
];

/// Why a step failed, and which log says more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabError {
    what: String,
    log: Option<PathBuf>,
}

/// What a step of the lab yields.
pub type Result<T> = std::result::Result<T, LabError>;

impl LabError {
    /// An error with its sentence.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), log: None }
    }

    /// An error that a log explains.
    pub fn with_log(what: impl Into<String>, log: &Path) -> Self {
        Self { what: what.into(), log: Some(log.to_owned()) }
    }

    /// What was attempted, and what the kernel said.
    pub fn io(attempt: &str, error: &std::io::Error) -> Self {
        Self::new(format!("{attempt}: {error}"))
    }
}

impl fmt::Display for LabError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.what)?;
        match &self.log {
            Some(log) => write!(formatter, " (see {})", log.display()),
            None => Ok(()),
        }
    }
}

impl std::error::Error for LabError {}

/// A run of the lab. Namespaces are named `xlns-PID-NUMBER-..`, so that runs never meet.
#[derive(Debug)]
pub struct Lab {
    prefix: String,
    scratch: PathBuf,
    logs: PathBuf,
    programs: PathBuf,
    reaper: Reaper,
}

/// What removes the run's traces. It acts when this process ends, or when told to.
#[derive(Debug, Clone)]
pub struct Reaper(Arc<Mutex<Child>>);

impl Reaper {
    /// Ends every process in the run's namespaces and removes them and the scratch folder.
    pub fn reap(&self) {
        let mut child = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(child.stdin.take());
        let _ = child.wait();
    }
}

impl Lab {
    /// Starts a run; removes what dead runs left. Logs go to `target/lab/NAME`.
    ///
    /// # Errors
    /// Where the machine lacks something; says what to do.
    pub fn start(name: &str) -> Result<Self> {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        if !Uid::effective().is_root() {
            return Err(LabError::new("the lab makes network namespaces: run it as root"));
        }
        for (program, package) in PROGRAMS {
            require(program, package)?;
        }
        netns::remove_leftovers();
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{}{}-{run}", netns::PREFIX, std::process::id());
        let programs = programs_folder()?;
        let logs = programs.parent().unwrap_or(&programs).join("lab").join(name);
        let scratch = std::env::temp_dir().join(&prefix);
        for folder in [&logs, &scratch] {
            std::fs::create_dir_all(folder)
                .map_err(|error| LabError::io(&format!("create {folder:?}"), &error))?;
        }
        let reaper = spawn_reaper(&prefix, &scratch)?;
        Ok(Self { prefix, scratch, logs, programs, reaper })
    }

    /// What the names of its namespaces begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A folder that goes with the run.
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// Where the log of `name` goes; it stays.
    pub fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// The folder with all logs.
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// A program of this workspace, built in the profile of the caller.
    ///
    /// # Errors
    /// Where it has not been built.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        let path = self.programs.join(name);
        if path.is_file() {
            return Ok(path);
        }
        Err(LabError::new(format!(
            "{} is missing: make demo and make test build it first",
            path.display()
        )))
    }

    /// For those who end the run before it is dropped.
    pub fn reaper(&self) -> Reaper {
        self.reaper.clone()
    }

    /// The build folder (`target`).
    pub fn target(&self) -> &Path {
        self.programs.parent().unwrap_or(&self.programs)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // What stood in the lab was dropped before; the reaper takes the rest and ends.
        self.reaper.reap();
    }
}

/// A shell in a process group of its own that waits for the end of this process, however it comes
/// (its input ends then), and removes namespaces, processes in them, and the scratch folder.
fn spawn_reaper(prefix: &str, scratch: &Path) -> Result<Reaper> {
    const SCRIPT: &str = r#"
        trap '' INT TERM HUP
        cat > /dev/null
        for namespace in $(ip netns list | sed 's/ .*//' | grep "^$1-"); do
            # Again while there are any: one that is killed may just have started another.
            for turn in 1 2 3 4 5 6 7 8 9; do
                ids=$(ip netns pids "$namespace")
                [ -n "$ids" ] || break
                kill -9 $ids
                sleep 0.05
            done
            ip netns delete "$namespace"
        done
        rm -rf "$2"
    "#;
    Command::new("sh")
        .args(["-c", SCRIPT, "reaper", prefix])
        .arg(scratch)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map(|child| Reaper(Arc::new(Mutex::new(child))))
        .map_err(|error| LabError::io("start the reaper", &error))
}

/// The folder of this program; a test lies one deeper, in `deps`.
fn programs_folder() -> Result<PathBuf> {
    let program = std::env::current_exe().map_err(|error| LabError::io("own path", &error))?;
    let folder = program.parent().unwrap_or(&program);
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    Ok(folder.to_owned())
}

/// Says what to install where a program is missing.
pub(crate) fn require(program: &str, package: &str) -> Result<()> {
    match find_program(program) {
        Some(_) => Ok(()),
        None => Err(LabError::new(format!(
            "{program} is not installed (Debian package {package}): \
             apt-get install --no-install-recommends {package}"
        ))),
    }
}

/// Looks a program up as the shell does, and in the folders of the administrator.
fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_programs_of_the_machine() {
        assert!(find_program("sh").is_some());
        assert_eq!(find_program("no-such-program-here"), None);
        assert_eq!(require("sh", "dash"), Ok(()));
        let error = require("no-such-program-here", "no-such-package").unwrap_err().to_string();
        assert!(error.contains("(Debian package no-such-package)"), "{error}");
    }

    #[test]
    fn errors_name_the_log() {
        let error = LabError::with_log("it failed", Path::new("target/lab/x.log"));
        assert_eq!(error.to_string(), "it failed (see target/lab/x.log)");
        assert_eq!(LabError::new("it failed").to_string(), "it failed");
    }
}
