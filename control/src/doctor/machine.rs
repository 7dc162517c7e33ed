//! The description of a machine: what was read, or why it could not be.

use std::collections::BTreeMap;

use super::kernel::Version;
use crate::config::{Config, DataplaneConfig, L2TP_PORT, PppConfig};
use crate::netlink::{Channels, Features, HashFields, Interface};

/// What was read, or why it could not be.
pub type Reading<T> = Result<T, String>;

/// Capabilities of a process, as a bit set by their numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities(pub u64);

impl Capabilities {
    pub const NET_ADMIN: u32 = 12;
    pub const NET_RAW: u32 = 13;
    pub const IPC_LOCK: u32 = 14;
    pub const SYS_ADMIN: u32 = 21;
    pub const BPF: u32 = 39;

    /// Whether it is among them.
    pub fn have(self, capability: u32) -> bool {
        self.0 & (1 << capability) != 0
    }
}

/// A process of the data plane: the running one, or this one where none runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Whether it is the data plane.
    pub is_dataplane: bool,
    /// What it may do.
    pub capabilities: Reading<Capabilities>,
    /// The most memory that it may lock, octets; `u64::MAX`: any.
    pub memlock_bytes: Reading<u64>,
    /// Huge pages in its memory, octets.
    pub huge_bytes: Reading<u64>,
}

/// Huge pages of the usual size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HugePages {
    /// Set aside.
    pub total: u64,
    /// Of these not in use.
    pub free: u64,
    /// The size of one, octets.
    pub page_bytes: u64,
}

/// Connection tracking of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conntrack {
    /// Connections tracked.
    pub count: u64,
    /// The most that there can be.
    pub max: u64,
}

/// A CPU.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cpu {
    /// CPUs on the same core, itself among them.
    pub siblings: Vec<u16>,
    /// Its NUMA node.
    pub node: Option<u16>,
    /// Its frequency governor; none where the frequency is not the kernel's matter.
    pub governor: Option<String>,
}

/// What is the same for all ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    pub kernel: Reading<Version>,
    /// CPUs that are online.
    pub cpus: Reading<BTreeMap<u16, Cpu>>,
    /// CPUs that the scheduler leaves alone (`isolcpus`).
    pub isolated: Reading<Vec<u16>>,
    /// CPUs without a clock tick (`nohz_full`).
    pub tickless: Reading<Vec<u16>>,
    /// Whether irqbalance runs.
    pub irqbalance: Reading<bool>,
    pub huge_pages: Reading<HugePages>,
    /// Whether /dev/net/tun is there.
    pub tun: bool,
    /// `net.core.bpf_jit_enable`.
    pub jit: Reading<u32>,
    /// `net.core.rmem_max`, octets.
    pub receive_buffer_max: Reading<u64>,
    /// `net.ipv4.ip_forward`, and that of IPv6.
    pub forwarding: [Reading<bool>; 2],
    /// `rp_filter` in force on the TUN device; none where that is not there.
    pub reverse_path: Option<u32>,
    /// None where it is not in use.
    pub conntrack: Option<Conntrack>,
    pub process: Process,
}

/// An interrupt of a NIC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interrupt {
    /// Its number.
    pub number: u32,
    /// The queue that it is for.
    pub queue: u16,
    /// CPUs that it may come to.
    pub cpus: Vec<u16>,
}

/// The spreading of what is received.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spreading {
    /// Entries of the indirection table by queue.
    pub entries: BTreeMap<u32, u32>,
    /// What is looked at in UDP over IPv4 and IPv6; none where the kernel does not say.
    pub udp: [Option<HashFields>; 2],
}

/// The other end of a veth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// In this namespace: its name, and the offloads of it.
    Here { name: String, features: Reading<Features> },
    /// In another namespace.
    Elsewhere,
}

/// A port, or what is to be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub interface: String,
    pub link: Reading<Interface>,
    /// The kernel's name of its driver, or of the kind of interface.
    pub driver: Reading<String>,
    pub numa_node: Option<u16>,
    /// None where the driver does not say: one.
    pub channels: Reading<Option<Channels>>,
    pub features: Reading<Features>,
    /// None where there is none.
    pub spreading: Reading<Option<Spreading>>,
    /// Of its receive queues.
    pub interrupts: Reading<Vec<Interrupt>>,
    /// Where it is one of a veth pair.
    pub peer: Option<Peer>,
}

/// What the configuration asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Workers; 0: as many as there can be.
    pub workers: u16,
    /// The workers' cores; empty: the first ones.
    pub cores: Vec<u16>,
    /// Frames of each queue.
    pub frames_per_queue: u32,
    /// Whether workers poll busily.
    pub busy_poll: bool,
    /// The largest MRU that any LAC's sessions may agree on, octets.
    pub mru: u16,
    /// Whether tunnels may end at IPv6 addresses.
    pub ipv6_transport: bool,
    /// The first UDP port of L2TP.
    pub l2tp_port: u16,
    /// The TUN device.
    pub tun_name: String,
    /// Whether there are LNSs to dial.
    pub dials: bool,
    /// By interface.
    pub ports: Vec<PlannedPort>,
}

/// A port of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedPort {
    pub interface: String,
    /// Queues to use; 0: all.
    pub queues: u16,
    /// Whether packets leave in a VLAN.
    pub has_vlan: bool,
}

impl Plan {
    /// What a configuration asks for.
    pub fn of(config: &Config) -> Self {
        let dataplane = &config.dataplane;
        let mru = config.lac_profiles().iter().filter_map(|lac| lac.mru).max();
        Self {
            workers: dataplane.workers,
            cores: dataplane.cores.clone(),
            frames_per_queue: dataplane.frames_per_queue,
            busy_poll: dataplane.busy_poll,
            mru: mru.unwrap_or(config.ppp.mru),
            ipv6_transport: config.lns.listen.iter().any(std::net::IpAddr::is_ipv6),
            l2tp_port: config.lns.port,
            tun_name: dataplane.tun_name.clone(),
            dials: !config.client.is_empty(),
            ports: config
                .port
                .iter()
                .map(|port| PlannedPort {
                    interface: port.interface.clone(),
                    queues: port.queues,
                    has_vlan: port.vlan.is_some(),
                })
                .collect(),
        }
    }

    /// What the defaults ask for of these interfaces.
    pub fn of_interfaces(interfaces: &[String]) -> Self {
        let (dataplane, ppp) = (DataplaneConfig::default(), PppConfig::default());
        Self {
            workers: dataplane.workers,
            cores: dataplane.cores,
            frames_per_queue: dataplane.frames_per_queue,
            busy_poll: dataplane.busy_poll,
            mru: ppp.mru,
            ipv6_transport: false,
            l2tp_port: L2TP_PORT,
            tun_name: dataplane.tun_name,
            dials: false,
            ports: interfaces.iter().map(|interface| PlannedPort::new(interface)).collect(),
        }
    }

    /// The same plan for these interfaces alone; one that it does not have is as by default.
    pub fn only(mut self, interfaces: &[String]) -> Self {
        let known = std::mem::take(&mut self.ports);
        let planned = |interface: &String| {
            let found = known.iter().find(|port| port.interface == *interface);
            found.cloned().unwrap_or_else(|| PlannedPort::new(interface))
        };
        self.ports = interfaces.iter().map(planned).collect();
        self
    }
}

impl PlannedPort {
    /// As by default.
    fn new(interface: &str) -> Self {
        Self { interface: interface.to_owned(), queues: 0, has_vlan: false }
    }
}

/// A port of the running data plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningPort {
    pub interface: String,
    /// `native-zero-copy`, `native-copy` or `generic`.
    pub mode: String,
    /// Each better mode and why it was not obtained.
    pub not_better: Vec<String>,
}

/// What the running xlnsd says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Running {
    /// Empty: no data plane.
    pub ports: Vec<RunningPort>,
    /// The core of each worker, where it is pinned.
    pub cores: Vec<Option<u16>>,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// The machine.
    pub host: Host,
    /// Its ports, in the plan's order.
    pub ports: Vec<Port>,
    /// What is asked for.
    pub plan: Plan,
    /// What runs, or why nothing answers.
    pub running: Reading<Running>,
}

impl Machine {
    /// Queues of a port that workers will use: those it has, or as many as are configured.
    pub fn queues(&self, port: &Port) -> Option<u16> {
        let pairs = port.pairs()?;
        let wanted = self.planned(port).map_or(0, |planned| planned.queues);
        Some(if wanted == 0 { pairs } else { wanted.min(pairs) })
    }

    /// Workers that there are or will be: what the data plane does with the configuration.
    pub fn workers(&self) -> Option<u16> {
        if let Ok(running) = &self.running
            && !running.cores.is_empty()
        {
            return u16::try_from(running.cores.len()).ok();
        }
        if self.plan.workers != 0 {
            return Some(self.plan.workers);
        }
        let cpus = self.schedulable()?.len();
        let fewest = self.ports.iter().filter_map(|port| self.queues(port)).min()?;
        Some(fewest.min(u16::try_from(cpus).unwrap_or(u16::MAX)).max(1))
    }

    /// The core of each worker: of the running ones, else as they will be assigned.
    pub fn worker_cores(&self) -> Option<Vec<u16>> {
        if let Ok(running) = &self.running
            && !running.cores.is_empty()
        {
            return running.cores.iter().copied().collect();
        }
        let workers = usize::from(self.workers()?);
        let all: Vec<u16> = match self.plan.cores.as_slice() {
            [] => self.schedulable()?,
            cores => cores.to_vec(),
        };
        (!all.is_empty()).then(|| all.iter().copied().cycle().take(workers).collect())
    }

    /// CPUs that a process gets which asks for none: isolated ones are not among them.
    fn schedulable(&self) -> Option<Vec<u16>> {
        let isolated = self.host.isolated.as_ref().map(Vec::as_slice).unwrap_or_default();
        let online = self.host.cpus.as_ref().ok()?.keys();
        Some(online.filter(|core| !isolated.contains(core)).copied().collect())
    }

    /// What the configuration says of a port.
    pub fn planned(&self, port: &Port) -> Option<&PlannedPort> {
        self.plan.ports.iter().find(|planned| planned.interface == port.interface)
    }

    /// What the running data plane says of a port.
    pub fn running_port(&self, port: &Port) -> Option<&RunningPort> {
        let running = self.running.as_ref().ok()?;
        running.ports.iter().find(|running| running.interface == port.interface)
    }
}

impl Port {
    /// Queues that both receive and transmit; a driver that does not say has one.
    pub fn pairs(&self) -> Option<u16> {
        let channels = self.channels.as_ref().ok()?;
        let pairs = channels.map_or(1, |channels| channels.pairs().max(1));
        Some(u16::try_from(pairs).unwrap_or(u16::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::super::sound::machine;
    use super::*;

    #[test]
    fn workers_are_as_many_as_the_fewest_queues_or_cpus() {
        let mut machine = machine();
        assert_eq!(machine.workers(), Some(4));
        assert_eq!(machine.worker_cores(), Some(vec![0, 1, 2, 3]));
        machine.running = Err("nothing answers".to_owned());
        machine.plan.workers = 0;
        machine.ports[1].channels = Ok(Some(Channels { combined: 2, ..Channels::default() }));
        assert_eq!(machine.workers(), Some(2));
        assert_eq!(machine.worker_cores(), Some(vec![4, 5]), "0 to 3 are isolated");
        machine.plan.workers = 3;
        machine.plan.cores = vec![5, 7];
        assert_eq!(machine.workers(), Some(3));
        assert_eq!(machine.worker_cores(), Some(vec![5, 7, 5]));
        machine.plan.workers = 0;
        machine.ports[1].channels = Ok(None);
        assert_eq!(machine.workers(), Some(1), "a driver that does not say has one queue");
    }

    #[test]
    fn a_worker_that_is_not_pinned_has_no_core() {
        let mut machine = machine();
        machine.running.as_mut().unwrap().cores[1] = None;
        assert_eq!(machine.worker_cores(), None);
    }

    #[test]
    fn the_plan_is_the_configuration_s() {
        let text = "[lns]\nlisten = [\"2001:db8::1\"]\ngateway = \"10.0.0.1\"\n\
                    [dataplane]\nworkers = 3\n\
                    [[port]]\ninterface = \"eth0\"\nqueues = 2\nvlan = 7\nmode = \"generic\"\n\
                    [[lac]]\nname = \"a\"\npeers = [\"192.0.2.0/24\"]\nmru = 1492\n[[lac]]\nname = \"b\"\nmru = 1400\n";
        let plan = Plan::of(&Config::parse("xlns.toml", text).unwrap());
        assert_eq!(
            (plan.workers, plan.mru, plan.ipv6_transport, plan.dials),
            (3, 1492, true, false)
        );
        let port = &plan.ports[0];
        assert_eq!((port.queues, port.has_vlan), (2, true));
        let bare = Plan::of_interfaces(&["eth0".to_owned()]);
        assert_eq!((bare.workers, bare.mru, bare.ports.len()), (0, 1460, 1));
        let only = plan.only(&["eth1".to_owned(), "eth0".to_owned()]);
        let queues: Vec<_> = only.ports.iter().map(|port| port.queues).collect();
        assert_eq!((queues, only.mru), (vec![0, 2], 1492));
    }
}
