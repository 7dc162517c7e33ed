//! Calls over sockets: an xlns in a namespace, the LACs in another, a core each.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use xlns_tests::topology::{
    ACCESS_PORT, CORE_PORT, GATEWAY, LAC_ADDRESS, LAC_END, LNS_ADDRESS, QUEUES, Topology,
};
use xlns_tests::xlns::Xlns;
use xlns_tests::{Lab, LabError, Result};

use super::emulator::run::{self, Progress};
use super::emulator::subscriber::Account;
use super::emulator::{Outcome, Plan};
use super::ramp::{self, RampReport};
use super::report::Report;
use super::{Arguments, PORT};
use crate::ramp::Ramp;

/// Addresses of the LACs in the access network of the topology: from the LAC's own on.
const ADDRESSES_MAX: u16 = 200;

/// Subscribers; a million of them.
const SUBSCRIBERS: &str = "10.64.0.0/12";

/// Of the tunnels.
pub const SECRET: &str = "tunnel-secret";

/// The namespaces, and xlns in them.
pub struct Stand {
    /// The run.
    pub lab: Lab,
    /// The namespaces.
    pub topology: Topology,
}

impl Stand {
    /// Builds the namespaces, with the addresses that `sources` LACs need.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn build(name: &str, sources: u16) -> Result<Self> {
        let lab = Lab::start(name)?;
        let topology = Topology::build(&lab)?;
        for number in 0..sources.min(ADDRESSES_MAX) {
            let address = address(number);
            topology.lac.ip(&format!("addr add {address}/24 dev {LAC_END}"))?;
        }
        topology.lac.set("net/ipv4/conf/all/rp_filter", "0")?;
        Ok(Self { lab, topology })
    }

    /// Starts both processes of xlns on one core.
    ///
    /// # Errors
    /// Where they do not come up; names the log.
    pub fn start(&self, arguments: &Arguments) -> Result<Xlns<'_>> {
        self.start_for("calls", arguments.lns_core, &account(arguments))
    }

    /// Like [`Stand::start`], for subscribers with this account; `name` names the log.
    ///
    /// # Errors
    /// Where they do not come up; names the log.
    pub fn start_for(&self, name: &str, lns_core: u16, account: &Account) -> Result<Xlns<'_>> {
        // Children run where their parent does.
        run::pin(lns_core)?;
        let configuration = self.configuration(lns_core, account);
        Xlns::start_with(&self.lab, &self.topology.lns, name, &configuration)
    }

    /// As an operator would have it, with what is not the default because of the machine only.
    fn configuration(&self, lns_core: u16, account: &Account) -> String {
        let folder = self.lab.scratch();
        let Account { user, password, authentication } = account;
        format!(
            "[lns]\nhost_name = \"xlns-lab\"\nlisten = [\"{LNS_ADDRESS}\"]\n\
             gateway = \"{GATEWAY}\"\n\
             [admin]\nsocket = {:?}\n\
             [dataplane]\nsocket = {:?}\nworkers = 1\ncores = [{}]\n\
             [ppp]\nauthentication = [{:?}]\n\
             [[port]]\ninterface = \"{ACCESS_PORT}\"\nqueues = {QUEUES}\n\
             [[port]]\ninterface = \"{CORE_PORT}\"\nqueues = {QUEUES}\n\
             [[lac]]\nname = \"lab\"\nsecret = \"{SECRET}\"\n\
             [[pool]]\nname = \"lab\"\nprefixes = [\"{SUBSCRIBERS}\"]\n\
             [[user]]\nname = {:?}\npassword = {:?}\n",
            folder.join("admin.sock"),
            folder.join("dataplane.sock"),
            lns_core,
            authentication.name(),
            String::from_utf8_lossy(user),
            String::from_utf8_lossy(password),
        )
    }

    /// Carries a plan out from the LACs' namespace and core.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn run(
        &self,
        core: u16,
        plan: Plan,
        progress: impl FnMut(Progress) + Send,
    ) -> Result<Outcome> {
        self.topology.lac.inside(|| {
            run::pin(core)?;
            run::run(plan, progress)
        })
    }
}

/// Measures each rate of a ramp against one xlns of its own.
pub fn run_ramp(arguments: &Arguments, ramp: Ramp) -> Result<RampReport> {
    let stand = Stand::build("calls", arguments.sources.min(arguments.tunnels))?;
    let mut xlns = stand.start(arguments)?;
    let report = ramp::climb(arguments, ramp, |step| {
        let outcome = stand.run(arguments.lac_core, plan(step), tell)?;
        Ok(Report::new(step, &outcome))
    })?;
    match xlns.ended() {
        Some(error) => Err(error),
        None => Ok(report),
    }
}

/// Measures against an xlns of its own.
pub fn run(arguments: &Arguments) -> Result<Report> {
    let stand = Stand::build("calls", arguments.sources.min(arguments.tunnels))?;
    let mut xlns = stand.start(arguments)?;
    let before = xlns.resident_kib()?;
    let cpu = Cpu::read(&xlns);
    let outcome = stand.run(arguments.lac_core, plan(arguments), tell)?;
    if let Some(error) = xlns.ended() {
        return Err(error);
    }
    Ok(Report::new(arguments, &outcome)
        .with_memory(before, xlns.resident_kib()?)
        .with_cpu(Cpu::read(&xlns).since(cpu), outcome.opened)
        .with_drops(drops(&xlns)?))
}

/// CPU time of all that takes part, the kernel's on its behalf included, microseconds. What a core
/// sends over a veth is received by the same core, up to the other side's socket.
#[derive(Debug, Clone, Copy)]
pub struct Cpu {
    /// xlnsd.
    pub control: u64,
    /// xlns-dataplane.
    pub dataplane: u64,
    /// The emulator, and all else in this process.
    pub emulator: u64,
}

impl Cpu {
    fn read(xlns: &Xlns<'_>) -> Self {
        let [control, dataplane] = xlns.process_ids().map(cpu_micros);
        Self { control, dataplane, emulator: own_cpu_micros().unwrap_or(0) }
    }

    fn since(self, before: Self) -> Self {
        Self {
            control: self.control.saturating_sub(before.control),
            dataplane: self.dataplane.saturating_sub(before.dataplane),
            emulator: self.emulator.saturating_sub(before.emulator),
        }
    }
}

/// CPU time of the threads of a process that are there; 0 where it is gone.
fn cpu_micros(process: u32) -> u64 {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{process}/task")) else { return 0 };
    let run_nanos = |task: std::fs::DirEntry| -> Option<u64> {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    };
    tasks.flatten().filter_map(run_nanos).sum::<u64>() / 1000
}

/// CPU time of this process, threads that ended among it.
fn own_cpu_micros() -> Option<u64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    u64::try_from(micros).ok()
}

/// What was lost at the LNS: by the steering program, the kernel's sockets, workers and control.
///
/// # Errors
/// Where xlns does not answer.
pub fn drops(xlns: &Xlns<'_>) -> Result<BTreeMap<String, u64>> {
    let rows = xlns.show("counters")?;
    let mut drops: BTreeMap<String, u64> = rows
        .iter()
        .filter_map(|row| {
            let (group, name) = (row["group"].as_str()?, row["name"].as_str()?);
            let value = row["value"].as_u64()?;
            (value > 0 && (group == "drop" || name.contains("drop") || name.contains("limited")))
                .then(|| (format!("{group}/{name}"), value))
        })
        .collect();
    for row in xlns.show("ports")? {
        let lost = row["kernel_dropped"].as_u64().unwrap_or(0);
        if let Some(interface) = row["interface"].as_str().filter(|_| lost > 0) {
            drops.insert(format!("{interface}/receive_ring_full"), lost);
        }
    }
    let [control, _] = xlns.process_ids();
    let lost = socket_drops(control).unwrap_or(0);
    if lost > 0 {
        drops.insert("kernel/udp_socket_full".to_owned(), lost);
    }
    Ok(drops)
}

/// Datagrams that the kernel dropped because a UDP socket in the namespace of a process was full.
fn socket_drops(process: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/net/udp")).ok()?;
    let last = |line: &str| line.split_whitespace().next_back()?.parse::<u64>().ok();
    Some(text.lines().skip(1).filter_map(last).sum())
}

/// Measures an LNS that somebody else started.
pub fn run_against(arguments: &Arguments, server: SocketAddr) -> Result<Report> {
    let sources = arguments.source.iter().map(|source| SocketAddr::new(*source, 0)).collect();
    let plan = Plan {
        lns: server,
        sources,
        secret: arguments.secret.as_ref().map(|secret| secret.as_bytes().to_vec()),
        ..plan(arguments)
    };
    let outcome = run::run(plan, tell)?;
    Ok(Report::new(arguments, &outcome))
}

/// What the command line asks for, in the lab.
pub fn plan(arguments: &Arguments) -> Plan {
    let sessions = arguments.sessions();
    Plan {
        lns: SocketAddr::new(IpAddr::V4(LNS_ADDRESS), PORT),
        sources: (0..arguments.sources.min(arguments.tunnels)).map(source).collect(),
        host_name: "lac".to_owned(),
        secret: Some(SECRET.as_bytes().to_vec()),
        account: account(arguments),
        tunnels: arguments.tunnels,
        calls: arguments.calls.unwrap_or_else(|| sessions.into()),
        sessions,
        rate: arguments.rate.map(f64::from),
        outstanding: arguments.outstanding,
        hold: arguments.hold.map(Duration::from_millis),
        linger: Duration::from_secs(arguments.linger),
        one_by_one: false,
        keep_alive: None,
    }
}

fn account(arguments: &Arguments) -> Account {
    Account {
        user: arguments.user.as_bytes().to_vec(),
        password: arguments.password.as_bytes().to_vec(),
        authentication: arguments.authentication,
    }
}

fn address(number: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(LAC_ADDRESS.to_bits() + u32::from(number % ADDRESSES_MAX))
}

/// Where the LAC with this number sends from.
pub fn source(number: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(address(number)), PORT + number / ADDRESSES_MAX)
}

/// A line a second, on the error output.
pub fn tell(progress: Progress) {
    let Progress { elapsed, offered, opened, opened_last, held, failed, .. } = progress;
    eprintln!(
        "{:4} s  {:?}: {offered} offered, {opened} up ({opened_last} in this second), \
         {held} held, {failed} failed",
        elapsed.as_secs(),
        progress.stage,
    );
}

/// Fails where a run did not do what it was for.
pub fn all_up(outcome: &Outcome) -> Result<()> {
    if outcome.failures() == 0 && outcome.lost == 0 {
        return Ok(());
    }
    Err(LabError::new(format!("calls failed: {:?}, {} lost", outcome.failed, outcome.lost)))
}
