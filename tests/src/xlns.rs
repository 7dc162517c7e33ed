//! The programs of xlns, as a user starts them, in the LNS's namespace.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::deadline;
use crate::netns::Netns;
use crate::process::{Process, run};
use crate::topology::{ACCESS_PORT, CORE_PORT, GATEWAY, LNS_ADDRESS, QUEUES, SUBSCRIBERS};
use crate::{Lab, LabError, Result};

/// How long the programs may take until both ports are up.
const READY_WAIT: Duration = Duration::from_secs(30);

/// How long the sessions may take to be back in a data plane that was started again.
const RESYNC_WAIT: Duration = Duration::from_secs(15);

/// What a test varies of the configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Names and passwords.
    pub users: Vec<(String, String)>,
    /// As the configuration lists them.
    pub authentication: Vec<&'static str>,
    /// Of the tunnel.
    pub secret: Option<String>,
    /// The `[l2tp]` section's lines.
    pub l2tp: String,
}

impl Default for Settings {
    fn default() -> Self {
        let user = |name: &str| (name.to_owned(), format!("{name}-password"));
        Self {
            users: vec![user("alice"), user("bob")],
            authentication: vec!["chap-md5", "pap"],
            secret: Some("tunnel-secret".to_owned()),
            l2tp: String::new(),
        }
    }
}

impl Settings {
    /// The configuration file.
    pub fn config(&self, folder: &std::path::Path) -> String {
        let Self { users, authentication, secret, l2tp } = self;
        let secret = secret.as_ref().map(|secret| format!("secret = {secret:?}\n"));
        let mut text = format!(
            "[lns]\nhost_name = \"xlns-lab\"\nlisten = [\"{LNS_ADDRESS}\"]\n\
             gateway = \"{GATEWAY}\"\n\n\
             [admin]\nsocket = {:?}\n\n\
             [dataplane]\nsocket = {:?}\nworkers = {QUEUES}\n\n\
             [l2tp]\n{l2tp}\n\
             [ppp]\nauthentication = {authentication:?}\ndns = [\"192.0.2.53\"]\n\n\
             [[lac]]\nname = \"lab\"\n{}\n\
             [[pool]]\nname = \"lab\"\nprefixes = [\"{SUBSCRIBERS}\"]\n\n",
            folder.join("admin.sock"),
            folder.join("dataplane.sock"),
            secret.unwrap_or_default()
        );
        for port in [ACCESS_PORT, CORE_PORT] {
            text += &format!("[[port]]\ninterface = \"{port}\"\nqueues = {QUEUES}\n\n");
        }
        for (name, password) in users {
            text += &format!("[[user]]\nname = {name:?}\npassword = {password:?}\n\n");
        }
        text
    }
}

/// A running xlns; dropped, both programs are ended.
#[derive(Debug)]
pub struct Xlns<'a> {
    lab: &'a Lab,
    namespace: &'a Netns,
    config: PathBuf,
    control: Process,
    dataplane: Process,
}

impl<'a> Xlns<'a> {
    /// Starts both programs and waits until the ports are up; `name` names the logs.
    ///
    /// # Errors
    /// Where they do not get there; names the log.
    pub fn start(
        lab: &'a Lab,
        namespace: &'a Netns,
        name: &str,
        settings: &Settings,
    ) -> Result<Self> {
        let config = lab.scratch().join("xlns.toml");
        std::fs::write(&config, settings.config(lab.scratch()))
            .map_err(|error| LabError::io("write the configuration", &error))?;
        let dataplane = start_dataplane(lab, namespace, &format!("{name}-dataplane"))?;
        let mut command = namespace.command(lab.program("xlnsd")?);
        command.arg("--config").arg(&config).stdin(std::process::Stdio::null());
        let log = lab.log(&format!("{name}-xlnsd"));
        let control = Process::spawn("xlnsd", &mut command, &log)?;
        let mut xlns = Self { lab, namespace, config, control, dataplane };
        xlns.wait_ready()?;
        Ok(xlns)
    }

    /// Waits until all ports are up.
    fn wait_ready(&mut self) -> Result<()> {
        let mut last = LabError::new("never asked");
        let ready = deadline::poll(READY_WAIT, || {
            if let Some(ended) = self.ended() {
                return Some(Err(ended));
            }
            match self.show("ports") {
                Ok(ports) => {
                    (ports.iter().filter(|port| is_up(port)).count() == 2).then_some(Ok(()))
                }
                Err(error) => {
                    last = error;
                    None
                }
            }
        });
        ready.unwrap_or_else(|| {
            let what = format!("xlns is not ready after {} s: {last}", READY_WAIT.as_secs());
            Err(LabError::with_log(what, self.control.log()))
        })
    }

    /// The program that has ended although nobody asked it to.
    pub fn ended(&mut self) -> Option<LabError> {
        for process in [&mut self.control, &mut self.dataplane] {
            if let Some(status) = process.status() {
                let what = format!("{} ended: {status}", process.name());
                return Some(LabError::with_log(what, process.log()));
            }
        }
        None
    }

    /// `xlns` with these words; yields what it wrote.
    ///
    /// # Errors
    /// Where it fails.
    pub fn command(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new(self.lab.program("xlns")?);
        run(command.args(words).arg("--config").arg(&self.config))
    }

    /// The rows of `xlns show WHAT --json`.
    ///
    /// # Errors
    /// Where it fails or writes no JSON.
    pub fn show(&self, what: &str) -> Result<Vec<Value>> {
        rows(&self.command(&["show", what, "--json"])?)
    }

    /// What `xlns show WHAT` prints for people.
    ///
    /// # Errors
    /// Where it fails.
    pub fn table(&self, what: &str) -> Result<String> {
        self.command(&["show", what])
    }

    /// Waits until `show WHAT` satisfies `test`.
    ///
    /// # Errors
    /// Where it does not get there; with the rows that it showed last.
    pub fn wait_rows(
        &self,
        what: &str,
        wait: Duration,
        test: impl Fn(&[Value]) -> bool,
    ) -> Result<Vec<Value>> {
        let mut last = Vec::new();
        deadline::poll(wait, || {
            last = self.show(what).ok()?;
            test(&last).then(|| last.clone())
        })
        .ok_or_else(|| {
            let what = format!("show {what} after {} s: {last:?}", wait.as_secs_f32());
            LabError::with_log(what, self.control.log())
        })
    }

    /// The control process.
    pub fn control(&mut self) -> &mut Process {
        &mut self.control
    }

    /// The data plane.
    pub fn dataplane(&mut self) -> &mut Process {
        &mut self.dataplane
    }

    /// Kills the data plane and starts it again, as a supervisor would; waits until it has ports
    /// and `sessions` sessions again.
    ///
    /// # Errors
    /// Where control does not fill it again.
    pub fn replace_dataplane(&mut self, name: &str, sessions: u64) -> Result<()> {
        self.dataplane.signal(Signal::SIGKILL);
        self.dataplane.wait(RESYNC_WAIT)?;
        self.dataplane =
            start_dataplane(self.lab, self.namespace, &format!("{name}-dataplane-again"))?;
        self.wait_ready()?;
        self.wait_rows("workers", RESYNC_WAIT, |_| self.dataplane_sessions() == Some(sessions))?;
        Ok(())
    }

    /// Sessions in the data plane's table.
    pub fn dataplane_sessions(&self) -> Option<u64> {
        self.counter("table", "sessions").ok()
    }

    /// A counter of `show counters`.
    ///
    /// # Errors
    /// Where there is none of that name.
    pub fn counter(&self, group: &str, name: &str) -> Result<u64> {
        let rows = self.show("counters")?;
        rows.iter()
            .find(|row| row["group"] == group && row["name"] == name)
            .and_then(|row| row["value"].as_u64())
            .ok_or_else(|| LabError::new(format!("no counter {group}/{name} in {rows:?}")))
    }

    /// Received, transmitted and dropped, all workers together.
    ///
    /// # Errors
    /// Where they cannot be asked for.
    pub fn totals(&self) -> Result<Totals> {
        let rows = self.show("workers")?;
        let sum = |name: &str| rows.iter().filter_map(|row| row[name].as_u64()).sum();
        Ok(Totals {
            received: sum("received"),
            transmitted: sum("transmitted"),
            dropped: sum("dropped"),
        })
    }
}

/// What all workers did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Frames received.
    pub received: u64,
    /// Frames sent.
    pub transmitted: u64,
    /// Frames dropped.
    pub dropped: u64,
}

fn start_dataplane(lab: &Lab, namespace: &Netns, name: &str) -> Result<Process> {
    let mut command = namespace.command(lab.program("xlns-dataplane")?);
    command
        .arg("--socket")
        .arg(lab.scratch().join("dataplane.sock"))
        .stdin(std::process::Stdio::null());
    Process::spawn("xlns-dataplane", &mut command, &lab.log(name))
}

/// Rows of a JSON answer: lines, or one list.
fn rows(text: &str) -> Result<Vec<Value>> {
    let lines: serde_json::Result<Vec<Value>> =
        serde_json::Deserializer::from_str(text).into_iter().collect();
    match lines {
        Ok(lines) => Ok(match <[Value; 1]>::try_from(lines) {
            Ok([Value::Array(rows)]) => rows,
            Ok(one) => one.into(),
            Err(lines) => lines,
        }),
        Err(error) => Err(LabError::new(format!("no JSON ({error}): {text}"))),
    }
}

/// Whether a row of `show ports` is a NIC that carries packets.
fn is_up(port: &Value) -> bool {
    port["mode"].as_str().is_some_and(|mode| !mode.is_empty() && mode != "tun")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_as_lines_or_as_a_list() {
        assert_eq!(rows("").unwrap().len(), 0);
        assert_eq!(rows("{\"a\":1}\n{\"a\":2}\n").unwrap().len(), 2);
        assert_eq!(rows("[{\"a\":1},{\"a\":2}]").unwrap().len(), 2);
        assert_eq!(rows("{\"a\":1}").unwrap().len(), 1);
        assert!(rows("error").is_err());
    }

    #[test]
    fn the_configuration_is_one_of_xlns() {
        let text = Settings::default().config(std::path::Path::new("/run"));
        let table: toml::Table = toml::from_str(&text).unwrap();
        assert_eq!(table["port"].as_array().map(Vec::len), Some(2));
    }
}
