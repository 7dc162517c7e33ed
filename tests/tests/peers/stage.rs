//! xlnsd in a namespace of its own, without a data plane: control does all of this alone.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use xlns_tests::netns::Netns;
use xlns_tests::process::{Process, run};
use xlns_tests::xlns::rows;
use xlns_tests::{Lab, LabError, Result, deadline};

use crate::lac::Lac;

/// How long xlnsd may take until it listens, and states until they are reached.
const WAIT: Duration = Duration::from_secs(10);

/// Where xlnsd listens; its port is 1701.
pub const LNS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// Where LACs are.
pub const LAC: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// Timers so long that whatever comes while a test waits was sent at once.
const PATIENT: &str = "retransmit_initial_ms = 20000\nretransmit_max_ms = 20000\n";

/// What a test varies of the configuration: lines of its sections.
#[derive(Debug, Clone)]
pub struct Settings {
    pub l2tp: &'static str,
    pub ppp: &'static str,
    /// Whole sections.
    pub profiles: &'static str,
}

impl Default for Settings {
    fn default() -> Self {
        Self { l2tp: PATIENT, ppp: "", profiles: "" }
    }
}

/// A running xlnsd; its namespace goes first, and it goes with that.
pub struct Stage {
    namespace: Netns,
    xlnsd: Process,
    socket: PathBuf,
}

/// What all tests share. It is never dropped: the lab's reaper removes the rest.
fn lab() -> &'static Lab {
    static LAB: OnceLock<Lab> = OnceLock::new();
    LAB.get_or_init(|| Lab::start("peers").unwrap_or_else(|error| panic!("no lab: {error}")))
}

impl Stage {
    /// xlnsd with the usual configuration; `name` names its log.
    #[track_caller]
    pub fn start(name: &str) -> Self {
        Self::with(name, &Settings::default())
    }

    /// xlnsd with another one.
    #[track_caller]
    pub fn with(name: &str, settings: &Settings) -> Self {
        Self::build(name, settings).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn build(name: &str, settings: &Settings) -> Result<Self> {
        static STAGES: AtomicU32 = AtomicU32::new(0);
        let lab = lab();
        let number = STAGES.fetch_add(1, Ordering::Relaxed);
        let namespace = Netns::create(lab, &format!("peers{number}"))?;
        for address in [LNS, LAC] {
            namespace.ip(&format!("address add {address}/32 dev lo"))?;
        }
        let socket = lab.scratch().join(format!("{number}-admin.sock"));
        let dataplane = lab.scratch().join(format!("{number}-dataplane.sock"));
        let config = lab.scratch().join(format!("{number}.toml"));
        let Settings { l2tp, ppp, profiles } = settings;
        let timer =
            if ppp.contains("restart_timer_ms") { "" } else { "restart_timer_ms = 20000\n" };
        let text = format!(
            "[lns]\nhost_name = \"xlns-lab\"\nlisten = [\"{LNS}\"]\ngateway = \"100.64.0.1\"\n\n\
             [admin]\nsocket = {socket:?}\n\n[dataplane]\nsocket = {dataplane:?}\naway_seconds_max = 86400\n\n\
             [l2tp]\n{l2tp}\n[ppp]\ndns = [\"192.0.2.53\", \"192.0.2.54\"]\n{timer}{ppp}\n\
             {profiles}\n[[port]]\ninterface = \"none0\"\n\n\
             [[pool]]\nname = \"home\"\nprefixes = [\"100.64.0.0/24\"]\n\n\
             [[user]]\nname = \"alice\"\npassword = \"alice-password\"\naddress = \"100.64.0.10\"\n"
        );
        std::fs::write(&config, text).map_err(|error| LabError::io("write", &error))?;
        let mut command = namespace.command(lab.program("xlnsd")?);
        command
            .args(["--log", "info,xlns_control::lns=debug", "--config"])
            .arg(&config)
            .stdin(Stdio::null());
        let mut xlnsd = Process::spawn("xlnsd", &mut command, &lab.log(name))?;
        // It listens for L2TP before it listens for the operator.
        deadline::poll(WAIT, || (socket.exists() || xlnsd.status().is_some()).then_some(()));
        if xlnsd.status().is_some() || !socket.exists() {
            return Err(LabError::with_log("xlnsd does not listen", xlnsd.log()));
        }
        Ok(Self { namespace, xlnsd, socket })
    }

    /// A LAC with a port that the kernel chooses.
    pub fn lac(&self) -> Lac {
        self.lac_at(0)
    }

    /// A LAC with this port.
    pub fn lac_at(&self, port: u16) -> Lac {
        let open = || {
            let socket = UdpSocket::bind((LAC, port)).and_then(|socket| {
                socket.connect((LNS, 1701))?;
                Ok(socket)
            });
            socket.map_err(|error| LabError::io("a LAC's socket", &error))
        };
        Lac::new(self.namespace.inside(open).unwrap())
    }

    /// A socket that hears whatever comes to it.
    pub fn socket(&self) -> UdpSocket {
        let open =
            || UdpSocket::bind((LAC, 0)).map_err(|error| LabError::io("a LAC's socket", &error));
        self.namespace.inside(open).unwrap()
    }

    /// `xlns` with these words.
    #[track_caller]
    pub fn xlns(&self, words: &[&str]) -> String {
        let mut command = Command::new(lab().program("xlns").unwrap());
        run(command.args(words).arg("--socket").arg(&self.socket)).unwrap()
    }

    /// The rows of `xlns show WHAT`.
    #[track_caller]
    pub fn show(&self, what: &str) -> Vec<Value> {
        rows(&self.xlns(&["show", what, "--json"])).unwrap()
    }

    /// Waits until `xlns show WHAT` shows `count` rows.
    #[track_caller]
    pub fn wait_count(&self, what: &str, count: usize) {
        let reached = deadline::poll(WAIT, || (self.show(what).len() == count).then_some(()));
        assert!(reached.is_some(), "{:?}", self.show(what));
    }

    /// Waits until xlnsd logs a line that contains `text`.
    #[track_caller]
    pub fn wait_log(&self, text: &str) -> String {
        self.xlnsd.wait_line(WAIT, text).unwrap()
    }

    /// Asks xlnsd to end.
    pub fn stop(&mut self) {
        self.xlnsd.signal(nix::sys::signal::Signal::SIGTERM);
    }
}
