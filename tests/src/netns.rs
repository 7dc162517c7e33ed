//! Network namespaces named `xlns-PID-NUMBER-ROLE`; dropped, they are removed.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::process::{run, run_with_input};
use crate::{Lab, LabError, Result};

/// What every namespace of ours is named after.
pub const PREFIX: &str = "xlns-";

/// Where iproute2 keeps namespaces.
const FOLDER: &str = "/run/netns";

/// A namespace.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Makes one, loopback up and IPv6 autoconfiguration off.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn create(lab: &Lab, role: &str) -> Result<Self> {
        let name = format!("{}-{role}", lab.prefix());
        run(Command::new("ip").args(["netns", "add", &name]))?;
        let namespace = Self { name };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that runs inside, with a /sys that shows its devices.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs a line of words inside.
    ///
    /// # Errors
    /// Where the program fails.
    pub fn run(&self, line: &str) -> Result<String> {
        let mut words = line.split_whitespace();
        run(self.command(words.next().unwrap_or("true")).args(words))
    }

    /// `ip` inside, by words.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn ip(&self, line: &str) -> Result<String> {
        run(Command::new("ip").args(["-n", &self.name]).args(line.split_whitespace()))
    }

    /// `ip` inside, many lines at once.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn ip_batch(&self, lines: &str) -> Result<()> {
        run_with_input(Command::new("ip").args(["-n", &self.name, "-batch", "-"]), lines)
            .map(|_| ())
    }

    /// Sets a kernel variable inside, by its path below `/proc/sys`.
    ///
    /// # Errors
    /// Where there is no such variable.
    pub fn set(&self, variable: &str, value: &str) -> Result<()> {
        self.run(&format!("sysctl -q -w {}={value}", variable.replace('/', "."))).map(|_| ())
    }

    /// The processes inside.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn processes(&self) -> Result<Vec<u32>> {
        let ids = run(Command::new("ip").args(["netns", "pids", &self.name]))?;
        Ok(ids.split_whitespace().filter_map(|id| id.parse().ok()).collect())
    }

    /// Does `work` on a thread inside: sockets made there stay there.
    ///
    /// # Errors
    /// Where the namespace cannot be entered, or `work` fails.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let path = Path::new(FOLDER).join(&self.name);
        let enter = move || {
            let file =
                File::open(&path).map_err(|error| LabError::io(&format!("{path:?}"), &error))?;
            setns(file, CloneFlags::CLONE_NEWNET)
                .map_err(|error| LabError::io("setns", &error.into()))?;
            work()
        };
        std::thread::scope(|scope| scope.spawn(enter).join())
            .unwrap_or_else(|_| Err(LabError::new("a thread in a namespace panicked")))
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Removes the namespaces of runs whose process is gone.
pub fn remove_leftovers() {
    let Ok(entries) = std::fs::read_dir(FOLDER) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if owner(&name).is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists()) {
            remove(&name);
        }
    }
}

/// Ends the processes inside and removes the namespace.
fn remove(name: &str) {
    let ids = run(Command::new("ip").args(["netns", "pids", name])).unwrap_or_default();
    for id in ids.split_whitespace().filter_map(|id| id.parse().ok()) {
        let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
    }
    let _ = run(Command::new("ip").args(["netns", "delete", name]));
}

/// The process that made the namespace.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_whose_they_are() {
        assert_eq!(owner("xlns-4711-0-lns"), Some(4711));
        assert_eq!(owner("xlns-try"), None);
        assert_eq!(owner("other-4711-lns"), None);
    }
}
