//! A server in namespaces of its own, its sessions up, and the packets that fit them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::Scope;
use std::time::Duration;

use libbpf_rs::Link;
use xlns_dataplane::api::{AttachMode, SessionKey};
use xlns_dataplane::port::interface::Interface;
use xlns_dataplane::wire::l2tp;
use xlns_tests::netns::Netns;
use xlns_tests::topology::{
    ACCESS_PORT, CORE_ADDRESS, CORE_GATEWAY, CORE_PORT, LAC_ADDRESS, LAC_END, LNS_ADDRESS, Topology,
};
use xlns_tests::{Lab, LabError, Result};

use super::Arguments;
use super::lane::{Lane, Meter};
use super::server::{self, Kind, Server};
use crate::calls::emulator::run::{hold, pin};
use crate::calls::emulator::{Established, Plan};
use crate::wire::kernel::direction::{CORE_END, Load, put_first};
use crate::wire::kernel::frames::{self, Flow};
use crate::wire::kernel::traffic::Traffic;

/// LACs: an address and a tunnel each. Several tunnels from one address at once are more than
/// l2tpns takes.
pub const LACS: u16 = 8;

/// How long all sessions may take.
const SESSIONS_WAIT: Duration = Duration::from_secs(60);

/// Calls under way at once.
const OUTSTANDING: u32 = 64;

/// The sessions are held for as long as the comparison takes.
const HELD: Duration = Duration::from_secs(24 * 3600);

/// The packets of the trial that shows that all is well, a second, and for how long.
const TRIAL_PPS: u32 = 20_000;
const TRIAL: Duration = Duration::from_millis(200);

/// What may be lost of them: the machine does other things as well.
const TRIAL_LOSS_MAX: f64 = 0.01;

/// A server's namespaces.
pub struct Site {
    /// The run.
    pub lab: Lab,
    /// The namespaces.
    pub topology: Topology,
}

impl Site {
    /// Builds them, the LACs' addresses among it.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn build(kind: Kind) -> Result<Self> {
        let lab = Lab::start(&format!("compare-{}", kind.name()))?;
        let topology = Topology::build(&lab)?;
        let Topology { lac, lns, core } = &topology;
        for number in 0..LACS {
            lac.ip(&format!("addr add {}/24 dev {LAC_END}", lac_address(number)))?;
        }
        for (namespace, name) in [(lac, LAC_END), (lns, ACCESS_PORT), (lns, CORE_PORT)] {
            // The stricter one of both counts.
            for name in ["all", "default", name] {
                namespace.set(&format!("net/ipv4/conf/{name}/rp_filter"), "0")?;
            }
        }
        // Nobody is asked for an address while packets are counted.
        let access = interface(lns, ACCESS_PORT)?;
        let [lac_end, core_end] = [interface(lac, LAC_END)?, interface(core, CORE_END)?];
        neighbor(lac, LNS_ADDRESS, &access, LAC_END)?;
        neighbor(core, CORE_GATEWAY, &interface(lns, CORE_PORT)?, CORE_END)?;
        neighbor(lns, CORE_ADDRESS, &core_end, CORE_PORT)?;
        for number in 0..LACS {
            neighbor(lns, lac_address(number), &lac_end, ACCESS_PORT)?;
        }
        Ok(Self { lab, topology })
    }
}

fn lac_address(number: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(LAC_ADDRESS.to_bits() + u32::from(number))
}

fn lac(number: u16) -> SocketAddrV4 {
    SocketAddrV4::new(lac_address(number), l2tp::PORT)
}

/// An interface of a namespace.
///
/// # Errors
/// Where there is none of that name.
pub fn interface(namespace: &Netns, name: &str) -> Result<Interface> {
    namespace.inside(|| Interface::read(name).map_err(|error| LabError::new(error.to_string())))
}

/// Tells a namespace for good which MAC address an address has.
///
/// # Errors
/// What `ip` says.
pub fn neighbor(
    namespace: &Netns,
    address: Ipv4Addr,
    interface: &Interface,
    device: &str,
) -> Result<()> {
    let mac: Vec<_> = interface.mac.iter().map(|octet| format!("{octet:02x}")).collect();
    let mac = mac.join(":");
    namespace
        .ip(&format!("neigh replace {address} lladdr {mac} dev {device} nud permanent"))
        .map(|_| ())
}

/// A server with its sessions; dropped, all is ended.
pub struct Stand<'a> {
    /// Which server.
    pub kind: Kind,
    /// Directions and sizes, in the order of the cells.
    pub lanes: Vec<Lane<'a>>,
    /// The server's CPU time.
    pub meter: Meter,
    /// The sessions.
    pub flows: Vec<Flow>,
    server: Server<'a>,
    /// Tells the LACs to end.
    stop: Stop,
    /// XDP on the ports of a server that has none of its own.
    _links: Vec<Link>,
}

/// Ends the LACs when it goes.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<'a> Stand<'a> {
    /// Starts the server, brings all sessions up, and sees a few packets through.
    ///
    /// # Errors
    /// What did not work.
    pub fn start<'scope>(
        kind: Kind,
        site: &'a Site,
        arguments: &Arguments,
        scope: &'scope Scope<'scope, 'a>,
    ) -> Result<Self> {
        // Children run where their parent does.
        pin(arguments.server_core)?;
        let server = Server::start(kind, &site.lab, &site.topology, arguments)?;
        let stop = Stop(Arc::default());
        let flows = open_sessions(site, arguments, &stop, scope)?;
        let meter = Meter::new(&site.topology.lns, arguments.server_core)?;
        let lanes = lanes(&site.topology, arguments, &flows)?;
        let links = match kind {
            Kind::Xlns if server.mode()?.contains(AttachMode::Generic.name()) => {
                // Nothing in the driver then; with GRO it takes live frames as well.
                for port in [ACCESS_PORT, CORE_PORT] {
                    site.topology.lns.run(&format!("ethtool -K {port} gro on"))?;
                }
                Vec::new()
            }
            Kind::Xlns => Vec::new(),
            Kind::L2tpns => take_live_frames(&site.topology.lns, &lanes)?,
        };
        if arguments.realtime() {
            for thread in server.forwarders()? {
                put_first(thread)?;
            }
        }
        let mut stand = Self { kind, lanes, meter, flows, server, stop, _links: links };
        stand.trial(arguments)?;
        Ok(stand)
    }

    /// How the server's ports are attached.
    ///
    /// # Errors
    /// Where it does not say.
    pub fn mode(&self) -> Result<String> {
        self.server.mode()
    }

    /// An error where the server or its sessions are not what they were.
    ///
    /// # Errors
    /// That.
    pub fn check(&mut self) -> Result<()> {
        if self.stop.0.load(Ordering::Relaxed) {
            return Err(LabError::new(format!("the LACs of {} ended", self.kind.name())));
        }
        self.server.check()
    }

    /// A few packets each way: if they do not arrive, what is measured is not forwarding.
    fn trial(&mut self, arguments: &Arguments) -> Result<()> {
        let load = Load {
            window: TRIAL,
            rate: Some(TRIAL_PPS),
            core: arguments.generator_core,
            realtime: arguments.realtime(),
        };
        for lane in &mut self.lanes {
            let run = lane.run(&self.meter, load)?;
            if run.loss() > TRIAL_LOSS_MAX {
                return Err(LabError::new(format!(
                    "{}: {} of {} packets of {} octets were lost on their way {} in the trial",
                    self.kind.name(),
                    run.lost,
                    run.offered,
                    lane.size,
                    lane.direction
                )));
            }
        }
        Ok(())
    }
}

/// Brings the sessions up and has them held until `stop` is dropped.
fn open_sessions<'scope, 'a>(
    site: &'a Site,
    arguments: &Arguments,
    stop: &Stop,
    scope: &'scope Scope<'scope, 'a>,
) -> Result<Vec<Flow>> {
    let plan = Plan {
        lns: SocketAddr::new(IpAddr::V4(LNS_ADDRESS), l2tp::PORT),
        sources: (0..LACS).map(|number| SocketAddr::V4(lac(number))).collect(),
        host_name: "lac".to_owned(),
        secret: Some(server::SECRET.as_bytes().to_vec()),
        account: server::account(),
        tunnels: LACS,
        calls: arguments.sessions.into(),
        sessions: arguments.sessions,
        rate: None,
        outstanding: OUTSTANDING,
        hold: None,
        linger: HELD,
        one_by_one: false,
        keep_alive: None,
    };
    let (up, is_up) = mpsc::channel();
    let (stop, core) = (Arc::clone(&stop.0), arguments.generator_core);
    let lacs = scope.spawn(move || {
        let outcome = site.topology.lac.inside(|| {
            pin(core)?;
            hold(plan, &stop, move |sessions| drop(up.send(sessions)))
        });
        stop.store(true, Ordering::Relaxed);
        outcome
    });
    let sessions: Vec<Established> = match is_up.recv_timeout(SESSIONS_WAIT) {
        Ok(sessions) => sessions,
        Err(mpsc::RecvTimeoutError::Timeout) => {
            return Err(LabError::new("the sessions do not come up"));
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            let outcome = lacs.join().map_err(|_| LabError::new("the LACs panicked"))??;
            return Err(LabError::new(format!("sessions failed: {:?}", outcome.failed)));
        }
    };
    let flows: Vec<_> = sessions.iter().filter_map(flow).collect();
    if flows.len() as u64 != u64::from(arguments.sessions) {
        return Err(LabError::new(format!("only {} sessions are up", flows.len())));
    }
    Ok(flows)
}

fn flow(session: &Established) -> Option<Flow> {
    let SocketAddr::V4(lns) = session.lns else { return None };
    Some(Flow {
        lac: lac(u16::try_from(session.source).ok()?),
        lns,
        key: SessionKey {
            local_tunnel_id: session.tunnel_id,
            local_session_id: session.session_id,
        },
        subscriber: session.address,
    })
}

/// Both directions of every size.
fn lanes<'a>(
    topology: &'a Topology,
    arguments: &Arguments,
    flows: &[Flow],
) -> Result<Vec<Lane<'a>>> {
    let Topology { lac, lns, core } = topology;
    let [lac_end, core_end] = [interface(lac, LAC_END)?, interface(core, CORE_END)?];
    let link = |far: &Interface, near: &str| -> Result<frames::Link> {
        Ok(frames::Link { source: far.mac, destination: interface(lns, near)?.mac })
    };
    let (access, uplink) = (link(&lac_end, ACCESS_PORT)?, link(&core_end, CORE_PORT)?);
    let mut lanes = Vec::new();
    for size in arguments.sizes() {
        let bytes = inner_bytes(size);
        let upstream = flows.iter().map(|flow| flow.upstream(bytes, access));
        let downstream = flows.iter().map(|flow| flow.downstream(bytes, uplink));
        lanes.push(Lane {
            direction: "in",
            size,
            sender: lac,
            receiver: (core, core_end.index),
            traffic: Traffic::load(upstream, lac_end.index)?,
        });
        lanes.push(Lane {
            direction: "out",
            size,
            sender: core,
            receiver: (lac, lac_end.index),
            traffic: Traffic::load(downstream, core_end.index)?,
        });
    }
    lanes.sort_by_key(|lane| lane.direction);
    Ok(lanes)
}

/// Octets of the subscriber's packet.
pub fn inner_bytes(size: u16) -> usize {
    if size == super::SIZE_MIN { frames::INNER_BYTES } else { usize::from(size) }
}

/// Attaches an XDP program that passes everything on to the kernel to a server's ports.
fn take_live_frames(lns: &Netns, lanes: &[Lane<'_>]) -> Result<Vec<Link>> {
    let Some(lane) = lanes.first() else { return Ok(Vec::new()) };
    let mut links = Vec::new();
    for name in [ACCESS_PORT, CORE_PORT] {
        let index = interface(lns, name)?.index;
        links.push(lns.inside(|| lane.traffic.attach_pass(index))?);
    }
    Ok(links)
}
