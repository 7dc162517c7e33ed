//! The programs of xlns, as a user starts them, in the LNS's namespace.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::deadline;
use crate::netns::Netns;
use crate::process::{self, Process, run};
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
    /// More lines of the `[ppp]` section.
    pub ppp: String,
    /// More lines of the LAC's profile.
    pub lac: String,
    /// More lines of the pool.
    pub pool: String,
    /// Whole sections.
    pub sections: String,
    /// Whether all of the core's packets in transit go to the workers.
    pub core: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let user = |name: &str| (name.to_owned(), format!("{name}-password"));
        Self {
            users: vec![user("alice"), user("bob")],
            authentication: vec!["chap-md5", "pap"],
            secret: Some("tunnel-secret".to_owned()),
            l2tp: String::new(),
            ppp: String::new(),
            lac: String::new(),
            pool: String::new(),
            sections: String::new(),
            core: false,
        }
    }
}

impl Settings {
    /// The configuration file.
    pub fn config(&self, folder: &std::path::Path) -> String {
        let Self { users, authentication, secret, l2tp, ppp, lac, pool, sections, core } = self;
        let secret = secret.as_ref().map(|secret| format!("secret = {secret:?}\n"));
        let mut text = format!(
            "[lns]\nhost_name = \"xlns-lab\"\nlisten = [\"{LNS_ADDRESS}\"]\n\
             gateway = \"{GATEWAY}\"\n\n\
             [admin]\nsocket = {:?}\n\n\
             [dataplane]\nsocket = {:?}\nworkers = {QUEUES}\n\n\
             [l2tp]\n{l2tp}\n\
             [ppp]\nauthentication = {authentication:?}\ndns = [\"192.0.2.53\"]\n{ppp}\n\
             [[lac]]\nname = \"lab\"\n{}{lac}\n\
             [[pool]]\nname = \"lab\"\nprefixes = [\"{SUBSCRIBERS}\"]\n{pool}\n\
             {sections}\n",
            folder.join("admin.sock"),
            folder.join("dataplane.sock"),
            secret.unwrap_or_default()
        );
        for port in [ACCESS_PORT, CORE_PORT] {
            let core = *core && port == CORE_PORT;
            text +=
                &format!("[[port]]\ninterface = \"{port}\"\nqueues = {QUEUES}\ncore = {core}\n\n");
        }
        for (name, password) in users {
            text += &format!("[[user]]\nname = {name:?}\npassword = {password:?}\n\n");
        }
        text
    }
}

/// A running xlns, under `xlns run`; dropped, it is ended.
#[derive(Debug)]
pub struct Xlns<'a> {
    lab: &'a Lab,
    namespace: &'a Netns,
    folder: PathBuf,
    ports: usize,
    supervisor: Process,
    control: u32,
    dataplane: u32,
}

impl<'a> Xlns<'a> {
    /// Starts it and waits until the ports are up; `name` names the log.
    ///
    /// # Errors
    /// Where it does not get there; names the log.
    pub fn start(
        lab: &'a Lab,
        namespace: &'a Netns,
        name: &str,
        settings: &Settings,
    ) -> Result<Self> {
        Self::start_with(lab, namespace, name, &settings.config(lab.scratch()))
    }

    /// Like [`Xlns::start`], with a configuration of the caller's, whose sockets are `admin.sock` and
    /// `dataplane.sock` in the scratch folder.
    ///
    /// # Errors
    /// Where it does not get there; names the log.
    pub fn start_with(
        lab: &'a Lab,
        namespace: &'a Netns,
        name: &str,
        configuration: &str,
    ) -> Result<Self> {
        Self::start_in(lab, namespace, name, lab.scratch(), configuration)
    }

    /// Starts one with this configuration, whose sockets are in `folder`, and waits until its ports
    /// are up: a lab may have several, in a namespace and a folder each.
    ///
    /// # Errors
    /// Where it does not get there; names the log.
    pub fn start_in(
        lab: &'a Lab,
        namespace: &'a Netns,
        name: &str,
        folder: &Path,
        text: &str,
    ) -> Result<Self> {
        let config = folder.join("xlns.toml");
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&config, text))
            .map_err(|error| LabError::io("write the configuration", &error))?;
        let mut command = namespace.command(lab.program("xlns")?);
        for program in ["xlnsd", "xlns-dataplane"] {
            lab.program(program)?;
        }
        command.args(["run", "--config"]).arg(&config).stdin(Stdio::null());
        let log = lab.log(&format!("{name}-xlns"));
        let supervisor = Process::spawn("xlns run", &mut command, &log)?;
        let folder = folder.to_owned();
        let ports = text.matches("[[port]]").count();
        let mut xlns = Self { lab, namespace, folder, ports, supervisor, control: 0, dataplane: 0 };
        xlns.wait_ready()?;
        xlns.control = xlns.process_id("xlnsd")?;
        xlns.dataplane = xlns.process_id("xlns-dataplane")?;
        Ok(xlns)
    }

    /// Waits until all ports are up.
    fn wait_ready(&mut self) -> Result<()> {
        let mut last = LabError::new("never asked");
        let ready = deadline::poll(READY_WAIT, || {
            if let Some(status) = self.supervisor.status() {
                return Some(Err(self.error(format!("xlns run ended: {status}"))));
            }
            match self.show("ports") {
                Ok(ports) => {
                    let up = ports.iter().filter(|port| is_up(port)).count();
                    (up == self.ports).then_some(Ok(()))
                }
                Err(error) => {
                    last = error;
                    None
                }
            }
        });
        ready.unwrap_or_else(|| {
            Err(self.error(format!("xlns is not ready after {} s: {last}", READY_WAIT.as_secs())))
        })
    }

    /// The process of that name in the LNS's namespace.
    fn process_id(&self, name: &str) -> Result<u32> {
        let ids = run(Command::new("ip").args(["netns", "pids", self.namespace.name()]))?;
        ids.split_whitespace()
            .find(|id| {
                std::fs::read_to_string(format!("/proc/{id}/comm"))
                    .is_ok_and(|comm| comm.trim_end() == name)
            })
            .and_then(|id| id.parse().ok())
            .ok_or_else(|| self.error(format!("no {name} runs")))
    }

    /// The program that has ended, or was started again, although nobody asked for it.
    pub fn ended(&mut self) -> Option<LabError> {
        if let Some(status) = self.supervisor.status() {
            return Some(self.error(format!("xlns run ended: {status}")));
        }
        for (name, id) in [("xlnsd", self.control), ("xlns-dataplane", self.dataplane)] {
            if self.process_id(name) != Ok(id) {
                return Some(self.error(format!("{name} (process {id}) ended")));
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
        run(command.args(words).arg("--socket").arg(self.folder.join("admin.sock")))
    }

    /// The rows of `xlns show WHAT --json`.
    ///
    /// # Errors
    /// Where it fails or writes no JSON.
    pub fn show(&self, what: &str) -> Result<Vec<Value>> {
        let zeros = if what == "counters" { &["--all"][..] } else { &[] };
        rows(&self.command(&[&["show", what, "--json"], zeros].concat())?)
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
            self.error(what)
        })
    }

    /// Kills control and data plane at once, as a power failure would: nobody is told.
    ///
    /// # Errors
    /// Where one of them has ended already.
    pub fn crash(mut self) -> Result<()> {
        // First, or it would start the others again.
        self.supervisor.signal(Signal::SIGKILL);
        process::kill_id(self.control)?;
        process::kill_id(self.dataplane)
    }

    /// Ends it in order.
    pub fn end(mut self) {
        self.supervisor.end();
    }

    /// Process IDs of control and of the data plane.
    pub fn process_ids(&self) -> [u32; 2] {
        [self.control, self.dataplane]
    }

    /// Resident memory of control and of the data plane, KiB.
    ///
    /// # Errors
    /// Where one of them is gone.
    pub fn resident_kib(&self) -> Result<[u64; 2]> {
        let resident = |id| {
            process::resident_kib(id).ok_or_else(|| self.error(format!("process {id} is gone")))
        };
        Ok([resident(self.control)?, resident(self.dataplane)?])
    }

    /// Kills the data plane; waits until the supervisor has started it again and control has filled
    /// it with `sessions` sessions.
    ///
    /// # Errors
    /// Where that does not happen.
    pub fn replace_dataplane(&mut self, sessions: u64) -> Result<()> {
        let old = self.dataplane;
        process::kill_id(old)?;
        let new = deadline::poll(RESYNC_WAIT, || {
            self.process_id("xlns-dataplane").ok().filter(|id| *id != old)
        });
        self.dataplane =
            new.ok_or_else(|| self.error("the data plane was not started again".to_owned()))?;
        self.wait_ready()?;
        let filled = || (self.dataplane_sessions() == Some(sessions)).then_some(());
        deadline::poll(RESYNC_WAIT, filled)
            .ok_or_else(|| self.error("the new data plane was not filled".to_owned()))
    }

    fn error(&self, what: String) -> LabError {
        LabError::with_log(what, self.supervisor.log())
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
            originated: sum("originated"),
            transmitted: sum("transmitted"),
            dropped: sum("dropped"),
            joined: sum("joined"),
            measured: sum("measured"),
            waiting: sum("waiting"),
            handed_out: sum("handed_out"),
            handed_in: sum("handed_in"),
        })
    }
}

/// What all workers did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Frames received.
    pub received: u64,
    /// Frames made by workers.
    pub originated: u64,
    /// Frames sent.
    pub transmitted: u64,
    /// Frames dropped.
    pub dropped: u64,
    /// Fragments that became part of others.
    pub joined: u64,
    /// Echo-Replies to requests of workers.
    pub measured: u64,
    /// Fragments that wait for others.
    pub waiting: u64,
    /// Frames that workers handed to others.
    pub handed_out: u64,
    /// Frames that workers took from others.
    pub handed_in: u64,
}

impl Totals {
    /// Whether every frame came to one end.
    pub fn is_sum(&self) -> bool {
        let consumed = self.joined + self.measured + self.waiting + self.handed_out;
        let ends = self.transmitted + self.dropped + consumed;
        self.received + self.originated + self.handed_in == ends
    }
}

/// Rows of a JSON answer: lines, or one list.
///
/// # Errors
/// Where it is no JSON.
pub fn rows(text: &str) -> Result<Vec<Value>> {
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
pub fn is_up(port: &Value) -> bool {
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
