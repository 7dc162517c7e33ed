//! Two network namespaces with a pair of cables between them, a data plane in one, and raw frames
//! in and out of the other.

pub mod frames;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{
    self, AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, UnixAddr,
};
use nix::unistd::Pid;
use xlns_dataplane::api::{
    self, API_VERSION, AttachMode, Command as TableCommand, CommandError, Configuration,
    ControlRates, Counters, MESSAGE_BYTES_MAX, PortConfiguration, PortStatus, Reply, Request,
    RequestBody,
};

/// How long anything expected may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Time in which something not expected would have come.
const SILENCE: Duration = Duration::from_millis(200);

/// The data plane's namespace and the one around it: `access0` and `core0` lead to `far-access` and
/// `far-core`, two queues each.
pub struct Lab {
    lns: String,
    far: String,
    folder: PathBuf,
}

impl Lab {
    /// Makes the namespaces; `None`, with a word about it, without the right to.
    pub fn new(name: &str) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root for network namespaces");
            return None;
        }
        let stem = format!("xlns-io-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(&stem);
        std::fs::create_dir_all(&folder).unwrap();
        let lab = Self { lns: format!("{stem}-lns"), far: format!("{stem}-far"), folder };
        for namespace in [&lab.lns, &lab.far] {
            ip(&["netns", "add", namespace]);
            // Neighbour discovery and the like would be among the frames counted.
            in_namespace(namespace, || {
                std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap();
            });
        }
        lab.cable("access0", "10.1.0.1/24", "far-access");
        lab.cable("core0", "10.2.0.1/24", "far-core");
        Some(lab)
    }

    fn cable(&self, near: &str, address: &str, far: &str) {
        let queues = ["numtxqueues", "2", "numrxqueues", "2"];
        let mut arguments = vec!["-n", &self.lns, "link", "add", near];
        arguments.extend(queues);
        arguments.extend(["type", "veth", "peer", "name", far, "netns", &self.far]);
        arguments.extend(queues);
        ip(&arguments);
        ip(&["-n", &self.lns, "address", "add", address, "dev", near]);
        ip(&["-n", &self.lns, "link", "set", near, "up"]);
        ip(&["-n", &self.far, "link", "set", far, "up"]);
        in_namespace(&self.far, || {
            let features = ["-K", far, "tx", "off", "gro", "off", "gso", "off", "tso", "off"];
            let output = Command::new("ethtool").args(features).output().unwrap();
            assert!(output.status.success(), "{output:?}");
        });
    }

    /// Runs `ip` in the data plane's namespace; its output.
    pub fn ip_lns(&self, arguments: &[&str]) -> String {
        ip(&[&["-n", &self.lns], arguments].concat())
    }

    /// Runs `ip` in the namespace around it.
    pub fn ip_far(&self, arguments: &[&str]) -> String {
        ip(&[&["-n", &self.far], arguments].concat())
    }

    /// A raw socket on an interface of the far namespace.
    pub fn wire(&self, interface: &str) -> Wire {
        in_namespace(&self.far, || Wire::open(interface))
    }

    /// A UDP socket of the host that the data plane runs on.
    pub fn udp(&self, address: impl Into<SocketAddr>) -> UdpSocket {
        let address = address.into();
        let socket = in_namespace(&self.lns, || UdpSocket::bind(address).unwrap());
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    /// Sets a kernel parameter below /proc/sys/net where the data plane runs.
    pub fn set(&self, parameter: &str, value: &str) {
        in_namespace(&self.lns, || {
            std::fs::write(Path::new("/proc/sys/net").join(parameter), value).unwrap();
        });
    }

    /// Starts the data plane.
    pub fn start(&self) -> DataPlane {
        let socket = self.folder.join("dataplane.sock");
        let child = in_namespace(&self.lns, || {
            Command::new(env!("CARGO_BIN_EXE_xlns-dataplane"))
                .arg("--socket")
                .arg(&socket)
                .args(["--log", "debug"])
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        });
        let mut data_plane = DataPlane { child, socket };
        data_plane.wait_for_socket();
        data_plane
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in [&self.lns, &self.far] {
            let _ = Command::new("ip").args(["netns", "delete", namespace]).status();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn ip(arguments: &[&str]) -> String {
    let output = Command::new("ip").args(arguments).output().unwrap();
    assert!(output.status.success(), "ip {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs `work` on a thread of its own inside of a namespace; sockets and processes made there stay
/// there.
fn in_namespace<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    let file = File::open(Path::new("/run/netns").join(namespace)).unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            setns(&file, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        });
        thread.join().unwrap()
    })
}

/// Waits until `fd` can be read. Returns whether it can.
fn readable(fd: &OwnedFd, patience: Duration) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(patience).unwrap();
    nix::poll::poll(&mut fds, timeout).unwrap() > 0
}

/// A running data plane; killed when dropped.
pub struct DataPlane {
    child: Child,
    socket: PathBuf,
}

impl DataPlane {
    /// It says on standard error that it waits for control; from then on everything it says is ours.
    fn wait_for_socket(&mut self) {
        let mut lines = BufReader::new(self.child.stderr.take().unwrap()).lines();
        let waits = |line: &str| line.contains("waiting for the control process");
        let found = lines.by_ref().map_while(Result::ok).any(|line| {
            eprintln!("dataplane: {line}");
            waits(&line)
        });
        assert!(found, "the data plane ended");
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| eprintln!("dataplane: {line}"));
        });
    }

    /// Its process ID.
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Connects as a control process that has not said anything yet.
    pub fn connect(&self) -> Client {
        let fd =
            socket::socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)
                .unwrap();
        socket::connect(fd.as_raw_fd(), &UnixAddr::new(&self.socket).unwrap()).unwrap();
        Client { fd, number: 0, ended: Vec::new() }
    }

    /// Connects and says Hello; also whether the data plane was configured before.
    pub fn greet(&self) -> (Client, bool) {
        let mut client = self.connect();
        match client.ask(RequestBody::Hello { version: API_VERSION }) {
            Reply::Hello { version: API_VERSION, process_id, configured, .. } => {
                assert_eq!(process_id, self.process_id());
                (client, configured)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Ends it without a chance to clean up.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop and waits. Whether it ended well, and its socket's file is gone.
    pub fn terminate(mut self) -> bool {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).unwrap();
        self.child.wait().unwrap().success() && !self.socket.exists()
    }
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A control process' end of the api.
pub struct Client {
    fd: OwnedFd,
    number: u64,
    /// Sessions whose end was told between replies.
    pub ended: Vec<Reply>,
}

impl Client {
    /// Sends octets that may be no request.
    pub fn send_octets(&self, octets: &[u8]) {
        socket::send(self.fd.as_raw_fd(), octets, MsgFlags::MSG_NOSIGNAL).unwrap();
    }

    /// Asks, and waits for the answer.
    pub fn ask(&mut self, body: RequestBody) -> Reply {
        self.number += 1;
        let number = self.number;
        self.send_octets(&api::encode(&Request { number, body }).unwrap());
        self.reply()
    }

    /// Waits for the next reply; ended sessions are set aside.
    pub fn reply(&mut self) -> Reply {
        loop {
            match self.receive().expect("the data plane closed the connection") {
                ended @ Reply::SessionEnded { .. } => self.ended.push(ended),
                reply => return reply,
            }
        }
    }

    /// Waits until a session's end is told.
    pub fn wait_for_ended(&mut self) -> Reply {
        match self.ended.pop() {
            Some(ended) => ended,
            None => self.receive().expect("the data plane closed the connection"),
        }
    }

    /// The next message; `None` where the connection is closed.
    pub fn receive(&mut self) -> Option<Reply> {
        assert!(readable(&self.fd, PATIENCE), "no reply");
        let mut buffer = vec![0; MESSAGE_BYTES_MAX];
        let length = socket::recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::empty()).unwrap();
        (length > 0).then(|| api::decode(&buffer[..length]).unwrap())
    }

    /// Configures; the ports as they came up, and the number of workers.
    pub fn configure(&mut self, configuration: &Configuration) -> (Vec<PortStatus>, u16) {
        match self.ask(RequestBody::Configure(Box::new(configuration.clone()))) {
            Reply::Configured { ports, workers, .. } => (ports, workers),
            other => panic!("{other:?}"),
        }
    }

    /// Sends a batch of which every command is expected to be carried out.
    pub fn batch(&mut self, commands: Vec<TableCommand>) {
        assert_eq!(self.refused(commands), [], "refused");
    }

    /// Sends a batch; what of it was refused.
    pub fn refused(&mut self, commands: Vec<TableCommand>) -> Vec<(u16, CommandError)> {
        match self.ask(RequestBody::Batch(commands)) {
            Reply::Ack { refused, .. } => refused,
            other => panic!("{other:?}"),
        }
    }

    /// All counters.
    pub fn counters(&mut self) -> Counters {
        match self.ask(RequestBody::Counters) {
            Reply::Counters { counters, .. } => *counters,
            other => panic!("{other:?}"),
        }
    }
}

/// The configuration of these tests: both cables, in the best mode there is.
pub fn configuration(mode: AttachMode) -> Configuration {
    let port = |interface: &str, core| PortConfiguration {
        interface: interface.into(),
        queues: 0,
        core,
        mode,
        vlan: None,
    };
    Configuration {
        ports: vec![port("access0", false), port("core0", true)],
        workers: 2,
        cores: Vec::new(),
        frames_per_queue: 512,
        sessions_max: 1000,
        routes_max: 1000,
        tun_name: "xlns0".into(),
        tun_mtu: 1500,
        busy_poll: false,
        handoff: api::Handoff::Auto,
        l2tp_port: 1701,
        l2tp_port_count: 1,
        gateway: None,
        gateway_ipv6: None,
        quality: None,
        control_rates: ControlRates {
            setup_packets_per_second: 1000,
            tunnel_packets_per_second: 1000,
            ppp_packets_per_second: 1000,
            burst_packets: 100,
        },
    }
}

/// A raw socket on one end of a cable.
pub struct Wire {
    fd: OwnedFd,
    /// The MAC address of this end.
    pub mac: [u8; 6],
}

impl Wire {
    fn open(interface: &str) -> Self {
        let address = link_address(interface);
        let fd = socket::socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::EthAll,
        )
        .unwrap();
        socket::bind(fd.as_raw_fd(), &address).unwrap();
        Self { fd, mac: address.addr().unwrap() }
    }

    /// Sends a frame.
    pub fn send(&self, frame: &[u8]) {
        socket::send(self.fd.as_raw_fd(), frame, MsgFlags::empty()).unwrap();
    }

    /// The next frame to this end's MAC address that `wanted` accepts.
    pub fn expect(&self, what: &str, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        self.find(PATIENCE, wanted).unwrap_or_else(|| panic!("{what} did not come"))
    }

    /// Asserts that no frame to this end's MAC address comes that `wanted` accepts.
    pub fn expect_none(&self, what: &str, wanted: impl Fn(&[u8]) -> bool) {
        let found = self.find(SILENCE, wanted);
        assert!(found.is_none(), "{what} came: {found:?}");
    }

    fn find(&self, patience: Duration, wanted: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let mut buffer = [0; 2048];
        while readable(&self.fd, patience) {
            let length = socket::recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::empty()).unwrap();
            let frame = &buffer[..length];
            if frame.starts_with(&self.mac) && wanted(frame) {
                return Some(frame.to_vec());
            }
        }
        None
    }
}

fn link_address(interface: &str) -> LinkAddr {
    nix::ifaddrs::getifaddrs()
        .unwrap()
        .filter(|entry| entry.interface_name == interface)
        .find_map(|entry| entry.address?.as_link_addr().copied())
        .unwrap()
}
