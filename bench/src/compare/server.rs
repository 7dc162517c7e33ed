//! The two servers: how each is started, as its operator would have it.

use std::net::Ipv4Addr;

use nix::unistd::Pid;
use serde::Serialize;
use xlns_tests::l2tpns::{self, L2tpns};
use xlns_tests::process::run;
use xlns_tests::topology::{ACCESS_PORT, CORE_PORT, LNS_ADDRESS, QUEUES, Topology};
use xlns_tests::xlns::Xlns;
use xlns_tests::{Lab, LabError, Result};

use super::Arguments;
use crate::calls::emulator::subscriber::{Account, Authentication};

/// What both servers know of their LACs and subscribers.
pub const SECRET: &str = "tunnel-secret";
const USER: &str = "subscriber";
const PASSWORD: &str = "common-password";

/// Either server's address on the PPP links, and its subscribers.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 64, 255, 1);
const SUBSCRIBERS: &str = "10.64.0.0/16";

/// What l2tpns is told beyond what it needs: not to write a line for every ten packets, and to read
/// more than ten before it asks the kernel again which socket has some.
const AT_ITS_BEST: &str = "set debug 0\nset multi_read_count 100\n";

/// Whose account all calls use.
pub fn account() -> Account {
    Account {
        user: USER.as_bytes().to_vec(),
        password: PASSWORD.as_bytes().to_vec(),
        authentication: Authentication::ChapMd5,
    }
}

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// This one.
    Xlns,
    /// The other one.
    L2tpns,
}

impl Kind {
    /// Both, in the order of their turns.
    pub const ALL: [Self; 2] = [Self::Xlns, Self::L2tpns];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Xlns => "xlns",
            Self::L2tpns => "l2tpns",
        }
    }
}

/// A running server; dropped, it is ended.
pub enum Server<'a> {
    /// Control and data plane.
    Xlns(Xlns<'a>),
    /// l2tpns and its RADIUS server.
    L2tpns(L2tpns),
}

impl<'a> Server<'a> {
    /// Starts it in the LNS's namespace, on the core of the thread.
    ///
    /// # Errors
    /// Where it does not come up; names the log.
    pub fn start(
        kind: Kind,
        lab: &'a Lab,
        topology: &'a Topology,
        arguments: &Arguments,
    ) -> Result<Self> {
        match kind {
            Kind::Xlns => {
                let configuration = configuration(lab, arguments);
                Xlns::start_with(lab, &topology.lns, "compare", &configuration).map(Self::Xlns)
            }
            Kind::L2tpns => {
                let settings = l2tpns::Settings {
                    secret: SECRET.to_owned(),
                    password: PASSWORD.to_owned(),
                    gateway: GATEWAY,
                    pool: SUBSCRIBERS.to_owned(),
                    lines: AT_ITS_BEST.to_owned(),
                    receive_buffer: (arguments.receive_buffer > 0)
                        .then_some(arguments.receive_buffer),
                    ..l2tpns::Settings::new(LNS_ADDRESS)
                };
                L2tpns::start(lab, &topology.lns, "compare", &settings).map(Self::L2tpns)
            }
        }
    }

    /// How its ports are attached.
    ///
    /// # Errors
    /// Where it does not say.
    pub fn mode(&self) -> Result<String> {
        let Self::Xlns(xlns) = self else { return Ok("kernel sockets".to_owned()) };
        let ports = xlns.show("ports")?;
        let modes = ports.iter().filter_map(|port| port["mode"].as_str());
        let mut modes: Vec<_> = modes.filter(|mode| *mode != "tun").collect();
        modes.dedup();
        Ok(format!("AF_XDP {}", modes.join(", ")))
    }

    /// The threads that forward.
    ///
    /// # Errors
    /// Where it is gone.
    pub fn forwarders(&self) -> Result<Vec<Pid>> {
        let (process, prefix) = match self {
            Self::Xlns(xlns) => (xlns.process_ids()[1], "xlns-w"),
            Self::L2tpns(l2tpns) => (l2tpns.process().id(), "l2tpns"),
        };
        let folder = format!("/proc/{process}/task");
        let tasks =
            std::fs::read_dir(&folder).map_err(|error| LabError::io(&folder, &error))?.flatten();
        let named = |task: &std::fs::DirEntry| {
            let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            name.starts_with(prefix)
        };
        let id = |task: std::fs::DirEntry| task.file_name().to_string_lossy().parse().ok();
        let threads: Vec<_> = tasks.filter(named).filter_map(id).map(Pid::from_raw).collect();
        if threads.is_empty() {
            return Err(LabError::new(format!("no thread {prefix} in {folder}")));
        }
        Ok(threads)
    }

    /// An error where it has ended, or was started again.
    ///
    /// # Errors
    /// That.
    pub fn check(&mut self) -> Result<()> {
        match self {
            Self::Xlns(xlns) => xlns.ended().map_or(Ok(()), Err),
            Self::L2tpns(l2tpns) => l2tpns.check(),
        }
    }
}

/// xlns, with what is not the default because of the machine only.
fn configuration(lab: &Lab, arguments: &Arguments) -> String {
    let folder = lab.scratch();
    let port = |interface: &str| {
        let mode = arguments.mode.name();
        format!("[[port]]\ninterface = {interface:?}\nqueues = {QUEUES}\nmode = {mode:?}\n")
    };
    format!(
        "[lns]\nhost_name = \"xlns-lab\"\nlisten = [\"{LNS_ADDRESS}\"]\ngateway = \"{GATEWAY}\"\n\
         [admin]\nsocket = {:?}\n\
         [dataplane]\nsocket = {:?}\nworkers = 1\ncores = [{}]\n\
         [ppp]\nauthentication = [\"chap-md5\"]\n\
         {}{}\
         [[lac]]\nname = \"lab\"\nsecret = \"{SECRET}\"\n\
         [[pool]]\nname = \"lab\"\nprefixes = [\"{SUBSCRIBERS}\"]\n\
         [[user]]\nname = \"{USER}\"\npassword = \"{PASSWORD}\"\n",
        folder.join("admin.sock"),
        folder.join("dataplane.sock"),
        arguments.server_core,
        port(ACCESS_PORT),
        port(CORE_PORT),
    )
}

/// The version of an installed Debian package; empty where dpkg does not know.
pub fn package_version(package: &str) -> String {
    let mut command = std::process::Command::new("dpkg-query");
    run(command.args(["-W", "-f", "${Version}", package])).unwrap_or_default()
}
