//! The data plane under test: the real program, driven over its socket without a control process.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;
use nix::unistd::Pid;
use xlns_dataplane::api::{
    self, API_VERSION, BATCH_COMMANDS_MAX, Command, Configuration, Counters, MESSAGE_BYTES_MAX,
    PortIndex, PortStatus, Reply, Request, RequestBody, RouteTarget, Session,
};
use xlns_dataplane::wire::l2tp;
use xlns_tests::netns::Netns;
use xlns_tests::process::Process;
use xlns_tests::topology::{CORE_ADDRESS, CORE_GATEWAY, LAC_ADDRESS, LNS_ADDRESS};
use xlns_tests::{Lab, LabError, Result, deadline};

use super::frames::{self, SUBSCRIBER_NET};

/// The port towards the LAC, in the order of the configuration.
pub const ACCESS: PortIndex = 0;

/// The port towards the core.
pub const CORE: PortIndex = 1;

/// How long the program may take to listen, and to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What subscribers take, octets.
const PEER_MRU: u16 = 1460;

/// A running data plane; dropped, it is ended.
pub struct DataPlane {
    process: Process,
    socket: OwnedFd,
    id: u32,
    number: u64,
    buffer: Vec<u8>,
}

impl DataPlane {
    /// Starts the program in `namespace` and greets it.
    ///
    /// # Errors
    /// Where it does not get there; names the log.
    pub fn start(lab: &Lab, namespace: &Netns) -> Result<Self> {
        let path = lab.scratch().join("dataplane.sock");
        let mut command = namespace.command(lab.program("xlns-dataplane")?);
        command.arg("--socket").arg(&path).stdin(std::process::Stdio::null());
        let log = lab.log("xlns-dataplane");
        let process = Process::spawn("xlns-dataplane", &mut command, &log)?;
        let socket = deadline::poll(PATIENCE, || open(&path).ok())
            .ok_or_else(|| LabError::with_log("xlns-dataplane does not listen", &log))?;
        let mut data_plane =
            Self { process, socket, id: 0, number: 0, buffer: vec![0; MESSAGE_BYTES_MAX] };
        match data_plane.ask(RequestBody::Hello { version: API_VERSION })? {
            Reply::Hello { process_id, .. } => data_plane.id = process_id,
            other => return Err(data_plane.unexpected(&other)),
        }
        Ok(data_plane)
    }

    /// Sets ports and workers up.
    ///
    /// # Errors
    /// What the data plane says.
    pub fn configure(&mut self, configuration: Configuration) -> Result<Vec<PortStatus>> {
        match self.ask(RequestBody::Configure(Box::new(configuration)))? {
            Reply::Configured { ports, .. } => Ok(ports),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Fills the tables: addresses, routes, the neighbours' MAC addresses (of the LAC and of the
    /// core's router) and `sessions` sessions.
    ///
    /// # Errors
    /// The first command that was refused.
    pub fn fill(&mut self, sessions: u32, neighbors: [[u8; 6]; 2]) -> Result<()> {
        let mut batch = network(neighbors)?;
        for number in 0..sessions {
            batch.push(Command::SessionSet(Box::new(session(number))));
            if batch.len() == BATCH_COMMANDS_MAX {
                self.apply(std::mem::take(&mut batch))?;
            }
        }
        self.apply(batch)
    }

    fn apply(&mut self, batch: Vec<Command>) -> Result<()> {
        match self.ask(RequestBody::Batch(batch.clone()))? {
            Reply::Ack { refused, .. } => match refused.first() {
                None => Ok(()),
                Some((index, error)) => {
                    let command = batch.get(usize::from(*index));
                    Err(LabError::new(format!("the data plane refuses {command:?}: {error}")))
                }
            },
            other => Err(self.unexpected(&other)),
        }
    }

    /// Everything that it counts, but sessions.
    ///
    /// # Errors
    /// Where it does not answer.
    pub fn counters(&mut self) -> Result<Counters> {
        match self.ask(RequestBody::Counters)? {
            Reply::Counters { counters, .. } => Ok(*counters),
            other => Err(self.unexpected(&other)),
        }
    }

    /// CPU time of all workers so far, the kernel's part on their behalf included.
    ///
    /// # Errors
    /// Where the process is gone.
    pub fn worker_time(&self) -> Result<Duration> {
        let times = self.workers()?.into_iter().map(|(_, task)| {
            let path = task.join("schedstat");
            let text = std::fs::read_to_string(&path);
            let text = text.map_err(|error| LabError::io(&format!("read {path:?}"), &error))?;
            Ok(run_time(&text).unwrap_or_default())
        });
        times.sum()
    }

    /// The workers' threads: ID and folder in /proc.
    ///
    /// # Errors
    /// Where the process is gone.
    pub fn workers(&self) -> Result<Vec<(Pid, PathBuf)>> {
        let folder = format!("/proc/{}/task", self.id);
        let error = |error: std::io::Error| LabError::io(&format!("read {folder}"), &error);
        let mut workers = Vec::new();
        for task in std::fs::read_dir(&folder).map_err(error)? {
            let task = task.map_err(error)?;
            let name = std::fs::read_to_string(task.path().join("comm")).map_err(error)?;
            let id = task.file_name().to_string_lossy().parse().map(Pid::from_raw);
            match id {
                Ok(id) if name.starts_with("xlns-w") => workers.push((id, task.path())),
                _ => {}
            }
        }
        Ok(workers)
    }

    fn ask(&mut self, body: RequestBody) -> Result<Reply> {
        self.number += 1;
        let request = Request { number: self.number, body };
        let octets = api::encode(&request).map_err(|error| LabError::new(error.to_string()))?;
        let failed = |attempt: &str, error: nix::Error| {
            LabError::with_log(format!("{attempt} xlns-dataplane: {error}"), self.process.log())
        };
        send(self.socket.as_raw_fd(), &octets, MsgFlags::MSG_NOSIGNAL)
            .map_err(|error| failed("tell", error))?;
        let length = recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::empty())
            .map_err(|error| failed("hear", error))?;
        if length == 0 {
            return Err(LabError::with_log("xlns-dataplane ended", self.process.log()));
        }
        let octets = self.buffer.get(..length).unwrap_or_default();
        api::decode(octets).map_err(|error| LabError::new(error.to_string()))
    }

    fn unexpected(&self, reply: &Reply) -> LabError {
        let what = match reply {
            Reply::Refused { error, .. } => error.to_string(),
            other => format!("unexpected answer {other:?}"),
        };
        LabError::with_log(format!("xlns-dataplane: {what}"), self.process.log())
    }
}

fn open(path: &Path) -> nix::Result<OwnedFd> {
    let fd = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::new(PATIENCE.as_secs() as i64, 0))?;
    connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(fd)
}

/// The first number of `schedstat`: nanoseconds on a CPU.
fn run_time(schedstat: &str) -> Option<Duration> {
    schedstat.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

/// All but the sessions.
fn network([lac, core]: [[u8; 6]; 2]) -> Result<Vec<Command>> {
    let net = |address: Ipv4Addr, length| {
        Ipv4Net::new(address, length)
            .map(|net| IpNet::V4(net.trunc()))
            .map_err(|error| LabError::new(error.to_string()))
    };
    let to = |port, gateway: Ipv4Addr| RouteTarget::Neighbor { port, gateway: gateway.into() };
    let host = |address: Ipv4Addr, tunnel_endpoint| Command::HostAddressSet {
        address: address.into(),
        tunnel_endpoint,
    };
    let neighbor = |port, address: Ipv4Addr, mac| Command::NeighborSet {
        port,
        address: IpAddr::V4(address),
        mac,
    };
    let route = |prefix, target| Command::RouteSet { prefix, target };
    Ok(vec![
        host(LNS_ADDRESS, true),
        host(CORE_GATEWAY, false),
        Command::SubscriberPrefixSet { prefix: net(SUBSCRIBER_NET.0, SUBSCRIBER_NET.1)? },
        neighbor(ACCESS, LAC_ADDRESS, lac),
        neighbor(CORE, CORE_ADDRESS, core),
        route(net(LNS_ADDRESS, 24)?, RouteTarget::Glean),
        route(net(CORE_GATEWAY, 24)?, RouteTarget::Glean),
        route(net(LAC_ADDRESS, 32)?, to(ACCESS, LAC_ADDRESS)),
        route(net(CORE_ADDRESS, 32)?, to(CORE, CORE_ADDRESS)),
        route(net(Ipv4Addr::UNSPECIFIED, 0)?, to(CORE, CORE_ADDRESS)),
    ])
}

fn session(number: u32) -> Session {
    let key = frames::session_key(number);
    Session {
        key,
        peer_tunnel_id: key.local_tunnel_id,
        peer_session_id: key.local_session_id,
        local: SocketAddr::from((LNS_ADDRESS, l2tp::PORT)),
        peer: SocketAddr::from((LAC_ADDRESS, l2tp::PORT)),
        send_acfc: false,
        send_pfc: false,
        magic: number + 1,
        peer_mru: PEER_MRU,
        prefixes: vec![IpNet::from(IpAddr::V4(frames::subscriber(number)))],
        source_check: true,
        gateway: Some(CORE_GATEWAY),
        options: api::SessionOptions::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_time_is_the_first_number() {
        assert_eq!(run_time("1500000000 20 3\n"), Some(Duration::from_millis(1500)));
        assert_eq!(run_time(""), None);
        assert_eq!(run_time("x 1 2"), None);
    }

    #[test]
    fn a_batch_of_sessions_fits_a_message() {
        let commands = (0..BATCH_COMMANDS_MAX as u32)
            .map(|number| Command::SessionSet(Box::new(session(number))))
            .collect();
        let request = Request { number: u64::MAX, body: RequestBody::Batch(commands) };
        assert!(api::encode(&request).is_ok());
    }

    #[test]
    fn prefixes_have_no_host_bits() {
        for command in network([[0; 6]; 2]).unwrap() {
            if let Command::RouteSet { prefix, .. } | Command::SubscriberPrefixSet { prefix } =
                command
            {
                assert_eq!(prefix, prefix.trunc());
            }
        }
    }
}
