//! `xlns-bench wire` against an xlns of its own: both processes on one core, in namespaces that the run
//! makes and removes.

use std::net::SocketAddrV4;

use nix::unistd::Pid;
use xlns_tests::netns::Netns;
use xlns_tests::topology::{
    ACCESS_PORT, CORE_ADDRESS, CORE_PORT, LAC_END, LNS_ADDRESS, Topology, link,
};
use xlns_tests::{LabError, Result};

use super::holder;
use super::kernel::direction::{CORE_END, put_first};
use super::options::Arguments;
use super::place::Place;
use super::report::Report;
use super::site::{End, Neighbors, Site};
use crate::calls::emulator::Plan;
use crate::calls::emulator::run::{Farewell, pin};
use crate::calls::emulator::subscriber::Account;
use crate::calls::lab::{SECRET, Stand, source};
use crate::compare::stand::neighbor;

/// Both ends of the link that the generator is measured on: of the same kind as the others.
pub const CEILING_ENDS: [&str; 2] = ["ceiling0", "ceiling1"];

/// Calls under way at once.
const OUTSTANDING: u32 = 128;

/// LACs with an address of their own; more tunnels share them.
const SOURCES_MAX: u16 = 200;

/// Measures.
///
/// # Errors
/// What failed, and which log to read.
pub fn run(arguments: &Arguments) -> Result<Report> {
    let stand = Stand::build("wire", SOURCES_MAX.min(arguments.tunnels))?;
    let Topology { lac, core, .. } = &stand.topology;
    link(lac, CEILING_ENDS[0], core, CEILING_ENDS[1])?;
    let macs = introduce(&stand.topology, SOURCES_MAX.min(arguments.tunnels))?;
    let account = account(arguments);
    let mut xlns = stand.start_for("wire", arguments.lns_core, &account)?;
    if arguments.realtime {
        let [_, data_plane] = xlns.process_ids();
        workers(data_plane)?.into_iter().try_for_each(put_first)?;
    }
    // Children ran on the LNS's core so far.
    pin(arguments.lac_core())?;
    let report = {
        let end = |namespace, name: &str| End {
            place: Place::Inside(namespace),
            interface: name.to_owned(),
        };
        let site = Site {
            name: "lab".to_owned(),
            access: end(lac, LAC_END),
            core: end(core, CORE_END),
            lns: SocketAddrV4::new(LNS_ADDRESS, 1701),
            core_address: CORE_ADDRESS,
            neighbors: Neighbors::Known(macs),
            plan: plan(arguments, account),
            farewell: Farewell::None,
            ceiling: [end(lac, CEILING_ENDS[0]), end(core, CEILING_ENDS[1])],
            xlns: Some(&xlns),
        };
        super::measure::run(arguments, &site)?
    };
    match xlns.ended() {
        Some(error) => Err(error),
        None => Ok(report),
    }
}

/// Tells everybody the others' MAC addresses, so that nobody asks while packets are counted; yields the
/// LNS's on both sides.
fn introduce(topology: &Topology, sources: u16) -> Result<[[u8; 6]; 2]> {
    let Topology { lac, lns, core } = topology;
    let interface = |namespace: &Netns, name: &str| Place::Inside(namespace).interface(name);
    let [access, uplink] = [interface(lns, ACCESS_PORT)?, interface(lns, CORE_PORT)?];
    let [lac_end, core_end] = [interface(lac, LAC_END)?, interface(core, CORE_END)?];
    neighbor(lac, LNS_ADDRESS, &access, LAC_END)?;
    neighbor(lns, CORE_ADDRESS, &core_end, CORE_PORT)?;
    for number in 0..sources {
        if let std::net::IpAddr::V4(address) = source(number).ip() {
            neighbor(lns, address, &lac_end, ACCESS_PORT)?;
        }
    }
    Ok([access.mac, uplink.mac])
}

/// The data plane's workers, by their threads' names.
fn workers(process: u32) -> Result<Vec<Pid>> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task"))
        .map_err(|error| LabError::io("read the data plane's threads", &error))?;
    let worker = |task: std::fs::DirEntry| {
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        let id = task.file_name().to_str()?.parse().ok()?;
        name.starts_with("xlns-w").then(|| Pid::from_raw(id))
    };
    Ok(tasks.flatten().filter_map(worker).collect())
}

/// What subscribers are called.
pub fn account(arguments: &Arguments) -> Account {
    Account {
        user: arguments.user.as_bytes().to_vec(),
        password: arguments.password.as_bytes().to_vec(),
        authentication: arguments.authentication,
    }
}

/// The sessions that are held, from the lab's LACs.
fn plan(arguments: &Arguments, account: Account) -> Plan {
    let sessions = arguments.sessions();
    Plan {
        lns: SocketAddrV4::new(LNS_ADDRESS, 1701).into(),
        sources: (0..arguments.tunnels).map(source).collect(),
        host_name: "lac".to_owned(),
        secret: Some(SECRET.as_bytes().to_vec()),
        account,
        tunnels: arguments.tunnels,
        calls: sessions.into(),
        sessions,
        rate: None,
        outstanding: OUTSTANDING,
        hold: None,
        linger: holder::HELD,
        one_by_one: false,
        keep_alive: Some(holder::keep_alive(arguments.tunnels)),
    }
}

/// The same against another LNS, from these addresses.
pub fn plan_against(
    arguments: &Arguments,
    lns: SocketAddrV4,
    sources: Vec<std::net::SocketAddr>,
) -> Plan {
    Plan {
        lns: lns.into(),
        sources,
        secret: arguments.secret.as_ref().map(|secret| secret.as_bytes().to_vec()),
        ..plan(arguments, account(arguments))
    }
}
