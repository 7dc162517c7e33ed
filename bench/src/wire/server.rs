//! `xlns-bench wire --server`: any LNS, from this host as it is, by two interfaces of it.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, UdpSocket};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use xlns_tests::netns::Netns;
use xlns_tests::process::run as run_program;
use xlns_tests::topology::link;
use xlns_tests::{Lab, LabError, Result, deadline};

use super::holder::sources;
use super::lab::{CEILING_ENDS, plan_against};
use super::options::{Arguments, Mac, mac};
use super::place::Place;
use super::report::Report;
use super::site::{End, Neighbors, Site};
use crate::calls::emulator::run::{Farewell, pin};

/// How long a neighbour may take to answer.
const NEIGHBOR_WAIT: Duration = Duration::from_secs(3);

/// The port of the discard service, which nobody offers: what is sent there makes the kernel ask for the
/// neighbour.
const DISCARD_PORT: u16 = 9;

/// Measures.
///
/// # Errors
/// What failed, and what to do.
pub fn run(arguments: &Arguments) -> Result<Report> {
    let (Some(server), Some(access), Some(core)) =
        (arguments.server, &arguments.access, &arguments.core)
    else {
        return Err(LabError::new("--server needs --access and --core"));
    };
    let Some(lns) = arguments.server_ipv4().map_err(LabError::new)? else {
        return Err(LabError::new("no server"));
    };
    let lns = SocketAddrV4::new(lns, server.port());
    // Only for the link that the generator is measured on.
    let lab = Lab::start("wire")?;
    let [near, far] = [Netns::create(&lab, "near")?, Netns::create(&lab, "far")?];
    link(&near, CEILING_ENDS[0], &far, CEILING_ENDS[1])?;
    pin(arguments.lac_core())?;
    let addresses = match arguments.source.as_slice() {
        [] => vec![first_address(access)?],
        given => given.to_vec(),
    };
    let core_address = match arguments.core_address {
        Some(address) => address,
        None => first_address(core)?,
    };
    let end = |place, name: &str| End { place, interface: name.to_owned() };
    let site = Site {
        name: lns.to_string(),
        access: end(Place::Here, access),
        core: end(Place::Here, core),
        lns,
        core_address,
        neighbors: Neighbors::Asked {
            access: arguments.access_mac,
            core: arguments.core_mac,
            gateway: arguments.core_gateway,
        },
        plan: plan_against(arguments, lns, sources(&addresses, arguments.tunnels)?),
        farewell: Farewell::HangUp,
        ceiling: [
            end(Place::Inside(&near), CEILING_ENDS[0]),
            end(Place::Inside(&far), CEILING_ENDS[1]),
        ],
        xlns: None,
    };
    super::measure::run(arguments, &site)
}

/// The LNS's MAC addresses on both sides, as the kernel's neighbour table has them.
///
/// # Errors
/// Which option says it instead.
pub fn ask(
    site: &Site<'_>,
    [access, core]: [Option<Mac>; 2],
    gateway: Option<Ipv4Addr>,
    subscriber: Option<Ipv4Addr>,
) -> Result<[Mac; 2]> {
    let access = match access {
        Some(mac) => mac,
        None => neighbor(&site.access.interface, *site.lns.ip(), "--access-mac")?,
    };
    let core = match (core, gateway.or(subscriber)) {
        (Some(mac), _) => mac,
        (None, Some(address)) => {
            neighbor(&site.core.interface, address, "--core-gateway or --core-mac")?
        }
        (None, None) => return Err(LabError::new("no session is up")),
    };
    Ok([access, core])
}

/// The first IPv4 address of an interface.
fn first_address(interface: &str) -> Result<Ipv4Addr> {
    let rows = ip(&["addr", "show", "dev", interface])?;
    let infos = rows.iter().filter_map(|row| row["addr_info"].as_array()).flatten();
    infos
        .filter(|info| info["family"] == "inet")
        .find_map(|info| info["local"].as_str()?.parse().ok())
        .ok_or_else(|| LabError::new(format!("{interface} has no IPv4 address")))
}

/// The MAC address that leads to an address by an interface; `option` says it otherwise.
fn neighbor(interface: &str, address: Ipv4Addr, option: &str) -> Result<Mac> {
    let next = next_hop(interface, address)?;
    let answer = deadline::poll(NEIGHBOR_WAIT, || {
        if let Some(mac) = known(interface, next) {
            return Some(mac);
        }
        // The answer is what counts.
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        let _ = socket.send_to(&[], (next, DISCARD_PORT));
        None
    });
    answer.ok_or_else(|| {
        LabError::new(format!("{next} does not answer ARP on {interface}: give {option}"))
    })
}

fn next_hop(interface: &str, address: Ipv4Addr) -> Result<Ipv4Addr> {
    let rows = ip(&["route", "get", &address.to_string(), "oif", interface])?;
    let gateway = rows.iter().find_map(|row| row["gateway"].as_str()?.parse::<IpAddr>().ok());
    match gateway {
        Some(IpAddr::V4(gateway)) => Ok(gateway),
        _ => Ok(address),
    }
}

fn known(interface: &str, address: Ipv4Addr) -> Option<Mac> {
    let rows = ip(&["neigh", "show", "to", &address.to_string(), "dev", interface]).ok()?;
    rows.iter().find_map(|row| mac(row["lladdr"].as_str()?).ok())
}

/// What `ip -j` says.
fn ip(words: &[&str]) -> Result<Vec<Value>> {
    let text = run_program(Command::new("ip").arg("-j").args(words))?;
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_str(&text)
        .map_err(|error| LabError::new(format!("ip {}: {error}: {text}", words.join(" "))))
}
