//! Workers, ports and sockets.

use std::collections::BTreeMap;

use xlns_dataplane::api::PORTS_MAX;
use xlns_dataplane::quality::PATIENCE_MAX;

use super::super::error::Problem;
use super::super::key_path::KeyPath;
use super::super::{Config, DataplaneConfig};
use super::root;

/// The longest interface name, octets (IFNAMSIZ of Linux without its end).
const INTERFACE_NAME_BYTES_MAX: usize = 15;

/// The longest path of a Unix socket, octets (sun_path of Linux without its end).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// `[dataplane]`, `[[port]]` and `[admin]`.
pub fn check(config: &Config, problems: &mut Vec<Problem>) {
    let path = root().key("dataplane");
    let dataplane = &config.dataplane;
    check_interface(&path.key("tun_name"), &dataplane.tun_name, problems);
    check_cores(&path, dataplane, problems);
    check_sockets(config, problems);
    check_ports(config, problems);
    check_quality(config, problems);
}

/// `[quality]`: requests that wait for their replies are remembered one by one.
fn check_quality(config: &Config, problems: &mut Vec<Problem>) {
    let Some(settings) = config.quality_settings() else { return };
    if !settings.is_valid() {
        let (after, interval) = (settings.loss_after_ms, settings.interval_ms);
        let most = PATIENCE_MAX - 1;
        let message = format!("{after} ms are more than {most} intervals of {interval} ms");
        let help = format!("at most {}, or a longer interval_ms", interval.saturating_mul(most));
        let path = root().key("quality").key("loss_after_ms");
        problems.push(Problem::new(&path, message).with_help(help));
    }
}

fn check_cores(path: &KeyPath, dataplane: &DataplaneConfig, problems: &mut Vec<Problem>) {
    let cores = path.key("cores");
    let mut first_of: BTreeMap<u16, usize> = BTreeMap::new();
    for (index, core) in dataplane.cores.iter().enumerate() {
        if let Some(first) = first_of.insert(*core, index) {
            let message = format!("core {core} has a worker already, {cores}[{first}]");
            problems.push(Problem::new(&cores.index(index), message));
        }
    }
    let named = dataplane.cores.len();
    if named != 0 && named < usize::from(dataplane.workers) {
        let message = format!("{named} cores for {} workers", dataplane.workers);
        let help = "name a core for each worker, or none at all";
        problems.push(Problem::new(&cores, message).with_help(help));
    }
}

fn check_sockets(config: &Config, problems: &mut Vec<Problem>) {
    let dataplane = root().key("dataplane").key("socket");
    let admin = root().key("admin").key("socket");
    for (path, socket) in [(&dataplane, &config.dataplane.socket), (&admin, &config.admin.socket)] {
        let length = socket.as_os_str().len();
        if !socket.is_absolute() {
            let message = format!("{} is no absolute path", socket.display());
            problems.push(Problem::new(path, message));
        } else if length > SOCKET_PATH_BYTES_MAX {
            let message = format!("{length} octets: 1 to {SOCKET_PATH_BYTES_MAX} octets");
            problems.push(Problem::new(path, message));
        }
    }
    if config.dataplane.socket == config.admin.socket {
        problems.push(Problem::new(&admin, "is the socket of the data plane (dataplane.socket)"));
    }
}

fn check_ports(config: &Config, problems: &mut Vec<Problem>) {
    let ports = root().key("port");
    let count = config.port.len();
    if count == 0 || count > PORTS_MAX {
        let message = format!("{count} ports: 1 to {PORTS_MAX} ports");
        let help = "a [[port]] with its `interface` for each NIC that subscribers' packets cross";
        problems.push(Problem::new(&ports, message).with_help(help));
    }
    let names = config.port.iter().map(|port| port.interface.as_str());
    super::check_distinct(&ports, "interface", names, problems);
    for (index, port) in config.port.iter().enumerate() {
        let path = ports.index(index).key("interface");
        check_interface(&path, &port.interface, problems);
        let kernel = port.kernel_interface();
        if port.vlan.is_some() && kernel.len() > INTERFACE_NAME_BYTES_MAX {
            let message = format!("its interface in the kernel would be {kernel}, a name too long");
            let help = format!("give {} a shorter name", port.interface);
            problems.push(Problem::new(&ports.index(index).key("vlan"), message).with_help(help));
        }
        if port.interface == config.dataplane.tun_name {
            let message = format!("{} is the TUN device (dataplane.tun_name)", port.interface);
            problems.push(Problem::new(&path, message));
        }
    }
}

/// What Linux takes for an interface's name.
fn check_interface(path: &KeyPath, name: &str, problems: &mut Vec<Problem>) {
    let bad_octet =
        name.bytes().any(|octet| !octet.is_ascii_graphic() || matches!(octet, b'/' | b':' | b'%'));
    if name.is_empty() || name.len() > INTERFACE_NAME_BYTES_MAX {
        let message = format!("{} octets: 1 to {INTERFACE_NAME_BYTES_MAX} octets", name.len());
        problems.push(Problem::new(path, message));
    } else if bad_octet || name == "." || name == ".." {
        problems.push(Problem::new(path, format!("`{name}` is no interface name")));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepted, refused};

    #[test]
    fn a_vlan_has_an_interface_with_a_name() {
        let port = |name: &str, vlan| format!("\"{name}\"\nvlan = {vlan}");
        accepted("\"eth0\"", &port("eth0", 4094), "");
        refused(
            "\"eth0\"",
            &port("eth0", 4095),
            "",
            "port[0].vlan: 4095 is out of range: 1 to 4094",
        );
        accepted("\"eth0\"", &port("enp175s0f0", 1234), "");
        refused("\"eth0\"", &port("enp175s0f0np", 123), "", "port[0].vlan: its interface in the");
    }

    #[test]
    fn ports_are_interfaces_named_once() {
        accepted("", "", "[[port]]\ninterface = \"eth1.7\"\n");
        let twice = "[[port]]\ninterface = \"eth0\"\n";
        refused("", "", twice, "port[1].interface: `eth0` is taken by port[0]");
        refused("", "", "[[port]]\ninterface = \"xlns0\"\n", "port[1].interface: xlns0 is the TUN");
        refused("", "", "[[port]]\ninterface = \"a b\"\n", "port[1].interface: `a b` is no");
        accepted("", "", "[[port]]\ninterface = \"fifteen-letters\"\n");
        let long = "[[port]]\ninterface = \"sixteen--letters\"\n";
        refused("", "", long, "port[1].interface: 16 octets");
    }

    #[test]
    fn one_to_sixteen_ports_fit() {
        let ports = |count: usize| -> String {
            (1..count).map(|index| format!("[[port]]\ninterface = \"eth{index}\"\n")).collect()
        };
        accepted("", "", &ports(16));
        refused("", "", &ports(17), "port: 17 ports");
        refused("[[port]]\ninterface = \"eth0\"\n", "", "", "port: 0 ports");
    }

    #[test]
    fn cores_are_distinct_and_enough() {
        accepted("", "", "[dataplane]\nworkers = 2\ncores = [2, 3]\n");
        refused("", "", "[dataplane]\ncores = [2, 2]\n", "dataplane.cores[1]: core 2 has a worker");
        let few = "[dataplane]\nworkers = 3\ncores = [2, 3]\n";
        refused("", "", few, "dataplane.cores: 2 cores for 3 workers");
    }

    #[test]
    fn sockets_are_absolute_short_and_two() {
        refused("", "", "[admin]\nsocket = \"a.sock\"\n", "admin.socket: a.sock is no absolute");
        let same = "[admin]\nsocket = \"/run/xlns/dataplane.sock\"\n";
        refused("", "", same, "admin.socket: is the socket of the data plane");
        let path = |length: usize| format!("[admin]\nsocket = \"/{}\"\n", "a".repeat(length - 1));
        accepted("", "", &path(107));
        refused("", "", &path(108), "admin.socket: 108 octets");
    }
}
