//! Ports: netlink, and the device.

use std::io;
use std::process::{Command, Stdio};

use super::super::kernel::{RSS_BY_NETLINK, Version};
use super::super::machine::{Host, Peer, Port, Reading, Spreading};
use super::device;
use super::files::Files;
use crate::netlink::{Ethtool, Features, HashFields, Interface, interface_at, interface_named};

/// Reads these interfaces.
pub(super) fn read<'a>(
    files: &Files,
    host: &Host,
    names: impl Iterator<Item = &'a str>,
) -> Vec<Port> {
    let mut ethtool = Ethtool::open().map_err(|error| format!("ethtool's netlink: {error}"));
    names.map(|name| port(files, host, &mut ethtool, name)).collect()
}

fn port(files: &Files, host: &Host, ethtool: &mut Reading<Ethtool>, name: &str) -> Port {
    let link = interface_named(name).map_err(|error| error.to_string());
    let kind = link.as_ref().map(|link| link.kind.clone()).unwrap_or_default();
    let driver = device::driver(files, name).unwrap_or_else(|| match kind.as_str() {
        "" => Err("it has no device".to_owned()),
        kind => Ok(kind.to_owned()),
    });
    let peer = link.as_ref().ok().and_then(|link| peer(ethtool, link));
    Port {
        interface: name.to_owned(),
        driver,
        numa_node: device::numa_node(files, name),
        channels: ask(ethtool, |ethtool| ethtool.channels(name)),
        features: features(ethtool, name),
        spreading: spreading(ethtool, host.kernel.as_ref().ok().copied(), name),
        interrupts: device::interrupts(files, name),
        peer,
        link,
    }
}

fn ask<T>(
    ethtool: &mut Reading<Ethtool>,
    question: impl FnOnce(&mut Ethtool) -> io::Result<T>,
) -> Reading<T> {
    let ethtool = ethtool.as_mut().map_err(|why| why.clone())?;
    question(ethtool).map_err(|error| error.to_string())
}

fn features(ethtool: &mut Reading<Ethtool>, name: &str) -> Reading<Features> {
    ask(ethtool, |ethtool| ethtool.features(name)).map(Option::unwrap_or_default)
}

fn spreading(
    ethtool: &mut Reading<Ethtool>,
    kernel: Option<Version>,
    name: &str,
) -> Reading<Option<Spreading>> {
    if kernel.is_none_or(|kernel| kernel < RSS_BY_NETLINK) {
        return Err(format!("kernels before {RSS_BY_NETLINK} do not say it by netlink"));
    }
    let Some(found) = ask(ethtool, |ethtool| ethtool.spreading(name))? else { return Ok(None) };
    let or_program = |fields: Option<HashFields>, family| fields.or_else(|| program(name, family));
    Ok(Some(Spreading {
        entries: found.entries,
        udp: [or_program(found.udp4, "udp4"), or_program(found.udp6, "udp6")],
    }))
}

/// What the program ethtool says, where it is installed: kernels before 6.17 tell the fields by
/// nothing but an ioctl, which it has.
fn program(name: &str, family: &str) -> Option<HashFields> {
    let output = Command::new("ethtool")
        .args(["-n", name, "rx-flow-hash", family])
        .stdin(Stdio::null())
        .output()
        .ok()?;
    output.status.success().then(|| hash_fields(&String::from_utf8_lossy(&output.stdout)))
}

fn hash_fields(text: &str) -> HashFields {
    let has = |start: &str| text.lines().any(|line| line.trim_start().starts_with(start));
    HashFields {
        addresses: has("IP SA") && has("IP DA"),
        ports: has("L4 bytes 0 & 1") && has("L4 bytes 2 & 3"),
    }
}

/// The other end of a veth.
fn peer(ethtool: &mut Reading<Ethtool>, link: &Interface) -> Option<Peer> {
    if link.kind != "veth" {
        return None;
    }
    if link.peer_elsewhere {
        return Some(Peer::Elsewhere);
    }
    let name = interface_at(link.peer?).ok()?.name;
    let features = features(ethtool, &name);
    Some(Peer::Here { name, features })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_lists_the_fields() {
        let all = "UDP over IPV4 flows use these fields for computing Hash flow key:\nIP SA\nIP DA\n\
                   L4 bytes 0 & 1 [TCP/UDP src port]\nL4 bytes 2 & 3 [TCP/UDP dst port]\n\n";
        assert_eq!(hash_fields(all), HashFields { addresses: true, ports: true });
        let two =
            "UDP over IPV4 flows use these fields for computing Hash flow key:\nIP SA\nIP DA\n";
        assert_eq!(hash_fields(two), HashFields { addresses: true, ports: false });
        assert_eq!(hash_fields(""), HashFields { addresses: false, ports: false });
    }

    #[test]
    fn the_loopback_is_read_and_what_is_not_there_is_not() {
        let files = Files::below(std::path::Path::new("/"));
        let host = super::super::host::read(&files, "xlns0");
        let ports = read(&files, &host, ["lo", "xlns-none"].into_iter());
        assert!(!ports[0].link.as_ref().unwrap().ethernet);
        assert_eq!((&ports[0].peer, ports[0].numa_node), (&None, None));
        assert!(ports[1].link.as_ref().unwrap_err().contains("No such device"));
    }
}
