//! From a configuration to running workers: interfaces, steering program, frames, sockets, the TUN
//! device, tables, threads.
//!
//! The order: the program is attached first (some drivers change their queues then; without sockets
//! in its map it passes everything to the kernel), then sockets are bound, then workers start with
//! their rings filled, and only then do the sockets enter the program's map.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use xlns_bpf::{Mode, PortSteer, Rates, Steer, SteerConfig};

use super::modes::{self, Driver, Hook, Obtained};
use super::plan;
use crate::api::{Configuration, PortConfiguration, PortStatus};
use crate::cpu;
use crate::port::PortId;
use crate::port::interface::{self, Interface};
use crate::port::tun::{self, TunQueue};
use crate::port::xsk::queue::Rings;
use crate::port::xsk::{Memory, Queue, Socket, umem};
use crate::tables::{self, Gateways, Limits, PortInfo, PortKind, Tables, Writer};
use crate::worker::{self, Handle, WorkerParts, handoff};

/// What was set up.
pub struct SetUp {
    /// The ports as they came up.
    pub ports: Vec<PortStatus>,
    /// The steering program, attached.
    pub steer: Steer,
    /// The sockets of each port, by queue.
    pub sockets: Vec<Vec<Socket>>,
    /// The frames.
    pub memory: Arc<Memory>,
    /// The running workers.
    pub workers: Vec<Handle>,
    /// The writer of the tables that they read.
    pub writer: Writer,
}

impl SetUp {
    /// Queues of a port, by its place, that send nothing any more.
    pub fn stalled(&self, port: usize) -> u32 {
        self.workers.iter().map(|worker| worker.stalled(PortId(port as u16))).sum()
    }
}

/// Sets everything up.
///
/// # Errors
/// What failed and what to do; everything is undone.
pub fn set_up(configuration: &Configuration) -> Result<SetUp, String> {
    plan::check(configuration)?;
    let interfaces = read_interfaces(configuration)?;
    let mut steer = load_steer(configuration, &interfaces)?;
    let mut driver =
        Kernel { steer: &mut steer, configuration, interfaces: &interfaces, bound: None };
    let names: Vec<&str> = interfaces.iter().map(|interface| interface.name.as_str()).collect();
    let wanted: Vec<_> = configuration.ports.iter().map(|port| port.mode).collect();
    let obtained = modes::choose(&names, &wanted, &mut driver)
        .map_err(|(port, reason)| format!("port {}: {reason}", names.get(port).unwrap_or(&"?")))?;
    let bound = driver.bound.take().ok_or("no socket was bound")?;
    let counts: Vec<_> = names
        .iter()
        .copied()
        .zip(bound.sockets.iter().map(|sockets| sockets.len() as u16))
        .collect();
    let allowed = cpu::allowed();
    let workers = plan::workers(configuration.workers, &counts, allowed.len())?;
    let ports = statuses(&interfaces, &counts, obtained);
    let host = tun::open(&configuration.tun_name, configuration.tun_mtu, workers)
        .map_err(|error| format!("TUN device {}: {error}", configuration.tun_name))?;
    let (tables, writer) = tables::new(&limits(configuration, &interfaces, workers))
        .map_err(|error| format!("tables: {error}"))?;
    let cores = cpu::assign(&configuration.cores, &allowed, workers);
    let (handles, memory, sockets) = start_workers(configuration, bound, host, &cores, &tables)?;
    let set_up = SetUp { ports, steer, sockets, memory, workers: handles, writer };
    enter_sockets(set_up, &interfaces)
}

fn read_interfaces(configuration: &Configuration) -> Result<Vec<Interface>, String> {
    let read = |name: &str| Interface::read(name).map_err(|error| error.to_string());
    let interfaces: Vec<_> =
        configuration.ports.iter().map(|port| read(&port.interface)).collect::<Result<_, _>>()?;
    for interface in interfaces.iter().filter(|interface| !interface.up) {
        tracing::warn!(interface = interface.name, "the port's interface is down");
    }
    Ok(interfaces)
}

fn load_steer(configuration: &Configuration, interfaces: &[Interface]) -> Result<Steer, String> {
    let rates = configuration.control_rates;
    let ports = interfaces.iter().zip(&configuration.ports).map(|(interface, port)| PortSteer {
        ifindex: interface.index,
        interface: interface.name.clone(),
        core: port.core,
        queues: interface.queues,
    });
    let config = SteerConfig {
        l2tp_port: configuration.l2tp_port,
        l2tp_port_count: configuration.l2tp_port_count,
        ports: ports.collect(),
        rates: Rates {
            setup_packets_per_second: rates.setup_packets_per_second,
            tunnel_packets_per_second: rates.tunnel_packets_per_second,
            ppp_packets_per_second: rates.ppp_packets_per_second,
            burst_packets: rates.burst_packets,
        },
    };
    let mut steer = Steer::load(&config).map_err(|error| error.to_string())?;
    for (port, interface) in interfaces.iter().enumerate() {
        steer.set_mac(port, interface.mac).map_err(|error| error.to_string())?;
    }
    Ok(steer)
}

/// Sockets bound to all queues of all ports, and the frames that they share.
struct Bound {
    sockets: Vec<Vec<Socket>>,
    rings: Vec<Vec<Rings>>,
    // After the sockets, which go first.
    memory: Arc<Memory>,
}

/// The kernel as [`modes::choose`] wants it.
struct Kernel<'a> {
    steer: &'a mut Steer,
    configuration: &'a Configuration,
    interfaces: &'a [Interface],
    bound: Option<Bound>,
}

impl Driver for Kernel<'_> {
    fn attach(&mut self, port: usize, hook: Hook) -> Result<(), String> {
        let mode = match hook {
            Hook::Native => Mode::Native,
            Hook::Generic => Mode::Generic,
        };
        self.steer.attach(port, mode).map_err(|error| error.to_string())
    }

    fn detach(&mut self, port: usize) {
        if let Err(error) = self.steer.detach(port) {
            tracing::warn!(port, %error, "cannot detach");
        }
    }

    fn bind_all(&mut self, zero_copy: bool) -> Result<(), (usize, String)> {
        // A queue is free only after its socket of before is closed.
        self.bound = None;
        let mut queues = Vec::with_capacity(self.interfaces.len());
        for (port, interface) in self.interfaces.iter().enumerate() {
            let count = self.queues(port, interface).map_err(|reason| (port, reason))?;
            if zero_copy {
                plan::zero_copy_queues(&interface.name, count, cpu::online())
                    .map_err(|reason| (port, reason))?;
            }
            queues.push(count);
        }
        let total: u32 = queues.iter().map(|queues| u32::from(*queues)).sum();
        let frames = total.saturating_mul(self.configuration.frames_per_queue);
        let sizes = plan::ring_sizes(self.configuration.frames_per_queue);
        let memory = Memory::umem(frames, sizes.fill, sizes.transmit)
            .map_err(|error| (0, memory_error(frames, &error)))?;
        let mut bound = Bound { sockets: Vec::new(), rings: Vec::new(), memory };
        for (port, interface) in self.interfaces.iter().enumerate() {
            let (mut sockets, mut rings) = (Vec::new(), Vec::new());
            for queue in 0..queues.get(port).copied().unwrap_or_default() {
                let name = &interface.name;
                let made = Socket::bind(&bound.memory, name, queue.into(), sizes, zero_copy);
                let (socket, ring) =
                    made.map_err(|error| (port, bind_error(queue, &error, zero_copy)))?;
                sockets.push(socket);
                rings.push(ring);
            }
            bound.sockets.push(sockets);
            bound.rings.push(rings);
        }
        self.bound = Some(bound);
        Ok(())
    }
}

fn memory_error(frames: u32, error: &io::Error) -> String {
    let advice = match error.raw_os_error() {
        Some(libc::ENOBUFS | libc::ENOMEM) => {
            ": use fewer frames_per_queue, or allow more locked memory (LimitMEMLOCK=infinity, or \
             CAP_IPC_LOCK)"
        }
        _ => "",
    };
    format!("cannot map {frames} frames for all ports: {error}{advice}")
}

fn bind_error(queue: u16, error: &io::Error, zero_copy: bool) -> String {
    let advice = match error.raw_os_error() {
        Some(libc::EOPNOTSUPP) if zero_copy => ": its driver has no zero-copy",
        Some(libc::EBUSY) => ": another program has an AF_XDP socket there",
        Some(libc::EPERM) => ": CAP_NET_RAW and CAP_NET_ADMIN are needed",
        _ => "",
    };
    format!("cannot bind queue {queue}: {error}{advice}")
}

impl Kernel<'_> {
    /// Queues of the port to bind, read again: attaching a program may have changed them.
    fn queues(&self, port: usize, interface: &Interface) -> Result<u16, String> {
        let now = interface::queues(&interface.name).map_err(|error| error.to_string())?;
        let configured = self.configuration.ports.get(port).map_or(0, |port| port.queues);
        let queues = plan::queues(&interface.name, configured, now.min(interface.queues))?;
        if queues < now {
            tracing::warn!(
                interface = interface.name,
                queues,
                of = now,
                "not all queues are used: what the NIC puts on the others goes to the kernel"
            );
        }
        Ok(queues)
    }
}

fn statuses(
    interfaces: &[Interface],
    counts: &[(&str, u16)],
    obtained: Vec<Obtained>,
) -> Vec<PortStatus> {
    let ports = interfaces.iter().zip(counts).zip(obtained);
    ports
        .map(|((interface, (_, queues)), obtained)| PortStatus {
            interface: interface.name.clone(),
            interface_index: interface.index,
            mac: interface.mac,
            mtu: interface.mtu,
            queues: *queues,
            mode: obtained.mode,
            not_better: obtained.not_better,
        })
        .collect()
}

fn limits(configuration: &Configuration, interfaces: &[Interface], workers: usize) -> Limits {
    let ethernet = |(interface, port): (&Interface, &PortConfiguration)| PortInfo {
        kind: PortKind::Ethernet,
        mac: interface.mac,
        mtu: interface.mtu,
        vlan: port.vlan,
    };
    let host =
        PortInfo { kind: PortKind::Host, mac: [0; 6], mtu: configuration.tun_mtu, vlan: None };
    Limits {
        sessions_max: configuration.sessions_max,
        routes_max: configuration.routes_max,
        workers,
        l2tp_port: configuration.l2tp_port,
        l2tp_port_count: configuration.l2tp_port_count,
        gateways: Gateways {
            ipv4: configuration.gateway.map(|gateway| gateway.octets()),
            ipv6: configuration.gateway_ipv6.map(|gateway| gateway.octets()),
        },
        quality: configuration.quality,
        ports: interfaces.iter().zip(&configuration.ports).map(ethernet).chain([host]).collect(),
    }
}

/// Starts the workers: worker `w` has the queues `q` of every port with `q % workers == w`.
#[expect(clippy::type_complexity, reason = "told apart at once by the only caller")]
fn start_workers(
    configuration: &Configuration,
    bound: Bound,
    host: Vec<TunQueue>,
    cores: &[Option<u16>],
    tables: &Arc<Tables>,
) -> Result<(Vec<Handle>, Arc<Memory>, Vec<Vec<Socket>>), String> {
    let workers = cores.len();
    let Bound { sockets, rings, memory } = bound;
    let mut owned: Vec<Vec<Vec<Queue>>> = (0..workers).map(|_| Vec::new()).collect();
    for (port, (rings, sockets)) in rings.into_iter().zip(&sockets).enumerate() {
        owned.iter_mut().for_each(|ports| ports.push(Vec::new()));
        for (queue, (rings, socket)) in rings.into_iter().zip(sockets).enumerate() {
            let fd = socket.duplicate().map_err(|error| error.to_string())?;
            let place = owned.get_mut(queue % workers).and_then(|ports| ports.last_mut());
            place.ok_or("no worker")?.push(Queue::new(PortId(port as u16), rings, Some(fd)));
        }
    }
    let frames = |ports: &Vec<Vec<Queue>>| {
        ports.iter().map(|queues| queues.len() as u32).sum::<u32>() * configuration.frames_per_queue
    };
    let shares: Vec<u32> = owned.iter().map(frames).collect();
    let (memory, pools) = umem::pools(memory, &shares);
    let start = worker::start_of_time();
    let mut running = Running(Vec::with_capacity(workers));
    let handoff = handoff::mesh(workers, configuration.handoff)
        .map_err(|error| format!("links between workers: {error}"))?;
    let parts = owned.into_iter().zip(pools).zip(host).zip(cores).zip(handoff).enumerate();
    for (index, ((((ports, pool), host), core), handoff)) in parts {
        let ports = ports.into_iter().map(Vec::into_boxed_slice).collect();
        let (core, host, busy_poll) = (*core, Some(host), configuration.busy_poll);
        let parts = WorkerParts { index, core, ports, host, pool, busy_poll, start, handoff };
        let handle = worker::spawn(parts, tables).map_err(|error| format!("worker: {error}"))?;
        running.0.push(handle);
    }
    Ok((std::mem::take(&mut running.0), memory, sockets))
}

/// Workers that are stopped where a later step fails.
struct Running(Vec<Handle>);

impl Drop for Running {
    fn drop(&mut self) {
        stop(std::mem::take(&mut self.0));
    }
}

/// Stops workers, all at once.
pub fn stop(workers: Vec<Handle>) {
    for worker in &workers {
        worker.request_stop();
    }
    for (index, worker) in workers.into_iter().enumerate() {
        if !worker.stop() {
            tracing::error!(worker = index, "a worker ended by a panic");
        }
    }
}

/// Shows the sockets to the steering program: from here on workers get frames.
fn enter_sockets(mut set_up: SetUp, interfaces: &[Interface]) -> Result<SetUp, String> {
    for (port, sockets) in set_up.sockets.iter().enumerate() {
        for (queue, socket) in sockets.iter().enumerate() {
            let fd = socket.as_fd().as_raw_fd();
            if let Err(error) = set_up.steer.set_socket(port, queue as u32, fd) {
                stop(std::mem::take(&mut set_up.workers));
                return Err(error.to_string());
            }
        }
    }
    for (interface, status) in interfaces.iter().zip(&set_up.ports) {
        tracing::info!(
            interface = interface.name,
            queues = status.queues,
            mode = status.mode.name(),
            "port is up"
        );
        for (mode, reason) in &status.not_better {
            tracing::info!(interface = interface.name, mode = mode.name(), reason, "not obtained");
        }
    }
    Ok(set_up)
}
