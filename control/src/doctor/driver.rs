//! What a port is: its driver, the mode that it got, and other programs on it.

use super::kernel::Version;
use super::machine::{Machine, Peer, Port};
use super::{Finding, Level};
use crate::netlink::Interface;

/// A driver with XDP.
struct Driver {
    /// The kernel's name of it.
    name: &'static str,
    /// The first kernel in which XDP programs run in it; none: not known, and before zero-copy.
    native: Option<Version>,
    /// The first kernel in which AF_XDP sockets share their frames with it; none: in no kernel yet.
    zero_copy: Option<Version>,
    /// What else it wants.
    remark: &'static str,
}

const fn zero_copy(name: &'static str, native: Version, zero_copy: Version) -> Driver {
    Driver { name, native: Some(native), zero_copy: Some(zero_copy), remark: "" }
}

const fn zero_copy_only(name: &'static str, zero_copy: Version) -> Driver {
    Driver { name, native: None, zero_copy: Some(zero_copy), remark: "" }
}

const fn copy(name: &'static str, native: Option<Version>) -> Driver {
    Driver { name, native, zero_copy: None, remark: "" }
}

/// Drivers that are known to have XDP, and since when. Another one may have it, too: the data plane
/// tries.
const DRIVERS: &[Driver] = &[
    zero_copy("mlx5_core", Version(4, 9), Version(5, 3)),
    zero_copy("i40e", Version(4, 13), Version(4, 20)),
    zero_copy("ixgbe", Version(4, 12), Version(4, 20)),
    zero_copy("ice", Version(5, 5), Version(5, 5)),
    zero_copy("igc", Version(5, 13), Version(5, 14)),
    zero_copy("igb", Version(5, 10), Version(6, 14)),
    zero_copy("st_gmac", Version(5, 13), Version(5, 13)),
    zero_copy("intel-eth-pci", Version(5, 13), Version(5, 13)),
    zero_copy_only("nfp", Version(5, 18)),
    zero_copy_only("fsl_dpaa2_eth", Version(6, 2)),
    zero_copy_only("tsnep", Version(6, 4)),
    zero_copy_only("gve", Version(6, 4)),
    zero_copy("idpf", Version(6, 18), Version(6, 18)),
    zero_copy_only("icssg-prueth", Version(6, 19)),
    Driver {
        name: "virtio_net",
        native: Some(Version(4, 10)),
        zero_copy: Some(Version(6, 11)),
        remark: "; for zero-copy the host has to give it disable-legacy=on,iommu_platform=on (QEMU)",
    },
    copy("veth", Some(Version(4, 19))),
    copy("tun", Some(Version(4, 14))),
    copy("bnxt_en", Some(Version(4, 11))),
    Driver {
        name: "ena",
        native: Some(Version(5, 6)),
        zero_copy: None,
        remark: "; its vendor has a driver with zero-copy, from 2.17 on",
    },
    copy("mlx4_core", None),
    copy("mana", None),
    copy("vmxnet3", Some(Version(6, 6))),
    copy("hv_netvsc", None),
    copy("ionic", None),
    copy("bond", None),
    copy("fbnic", None),
];

/// Kinds of interfaces on top of others.
const ON_TOP: &[&str] = &["vlan", "macvlan", "ipvlan", "bridge", "vxlan"];

/// A port that cannot be read.
pub fn missing(port: &Port) -> Finding {
    let why = port.link.as_ref().err().map_or("", String::as_str);
    Finding::fail("interface", &port.interface, format!("cannot be read: {why}"))
        .advise("name an interface that is there in this network namespace")
        .command("ip -br link")
}

/// All checks of what a port is.
pub fn examine(machine: &Machine, port: &Port, link: &Interface) -> Vec<Finding> {
    let mut findings = vec![
        interface(link),
        driver(machine, port),
        mode(machine, port),
        program(machine, port, link),
    ];
    if let Some(peer) = &port.peer {
        findings.push(veth_peer(port, peer));
    }
    findings
}

fn interface(link: &Interface) -> Finding {
    const CHECK: &str = "interface";
    let name = &link.name;
    if !link.ethernet {
        return Finding::fail(CHECK, name, "is not Ethernet: a port has to be");
    }
    if !link.up {
        return Finding::warn(CHECK, name, "is down")
            .advise("bring it up")
            .command(format!("ip link set dev {name} up"));
    }
    if !link.carrier {
        return Finding::warn(CHECK, name, "is up without a carrier").advise("look at its cable");
    }
    if ON_TOP.contains(&link.kind.as_str()) {
        return Finding::warn(
            CHECK,
            name,
            format!("is a {} on top of another interface", link.kind),
        )
        .advise("make the NIC below it the port, and the VLAN, if it is one, its key vlan");
    }
    Finding::ok(CHECK, name, "is up")
}

fn driver(machine: &Machine, port: &Port) -> Finding {
    const CHECK: &str = "driver";
    let subject = &port.interface;
    let name = match &port.driver {
        Ok(name) => name,
        Err(why) => return Finding::unread(CHECK, subject, "its driver", why),
    };
    let Some(known) = DRIVERS.iter().find(|driver| driver.name == name) else {
        return Finding::note(CHECK, subject, format!("{name} is not known to have XDP"))
            .advise("xlns tries, and works above the driver, more slowly, if it has none");
    };
    let Ok(kernel) = machine.host.kernel else {
        return Finding::note(CHECK, subject, format!("{name} has XDP in newer kernels"));
    };
    match (known.native, known.zero_copy) {
        (Some(native), _) if kernel < native => {
            let text = format!("{name} has XDP from Linux {native} on, this is {kernel}");
            Finding::warn(CHECK, subject, text).advise("install a newer kernel")
        }
        (_, None) => {
            let text =
                format!("{name} has XDP without zero-copy: each frame is copied{}", known.remark);
            Finding::note(CHECK, subject, text)
        }
        (_, Some(first)) if kernel < first => {
            let text = format!("{name} has zero-copy from Linux {first} on, this is {kernel}");
            Finding::warn(CHECK, subject, text)
                .advise("install a newer kernel: until then each frame is copied")
        }
        (_, Some(_)) => {
            let text = format!("{name} has zero-copy in Linux {kernel}{}", known.remark);
            Finding::ok(CHECK, subject, text)
        }
    }
}

fn mode(machine: &Machine, port: &Port) -> Finding {
    const CHECK: &str = "mode";
    const BEST: &str = "native-zero-copy";
    let subject = &port.interface;
    let Some(running) = machine.running_port(port) else {
        let text = "is not a port of a running data plane: what it gets is not known";
        return Finding::note(CHECK, subject, text)
            .advise("start xlns and look again, or see xlns show ports");
    };
    if running.mode == BEST {
        return Finding::ok(CHECK, subject, "shares its frames with the NIC (native-zero-copy)");
    }
    if running.not_better.is_empty() {
        return Finding::ok(CHECK, subject, format!("is {}, as configured", running.mode));
    }
    let text = format!("is {}; {}", running.mode, running.not_better.join("; "));
    // Nothing can be done about a driver without it.
    let has_it = port.driver.as_ref().is_ok_and(|name| {
        DRIVERS.iter().any(|driver| driver.name == name && driver.zero_copy.is_some())
    });
    let level = if has_it || running.mode == "generic" { Level::Warn } else { Level::Note };
    let mut finding = Finding::new(CHECK, subject, level, text);
    if level == Level::Warn {
        finding =
            finding.advise("see driver, queues and mtu above and below; then start xlns again");
    }
    finding
}

fn program(machine: &Machine, port: &Port, link: &Interface) -> Finding {
    const CHECK: &str = "xdp-program";
    let subject = &port.interface;
    let is_ours = machine.running_port(port).is_some();
    match link.xdp_program {
        None if is_ours => {
            Finding::fail(CHECK, subject, "has lost its steering program: workers get nothing")
                .advise("start the data plane again, and find who has taken it off")
                .command("systemctl restart xlns-dataplane")
        }
        None => Finding::ok(CHECK, subject, "has no other XDP program"),
        Some(_) if is_ours => Finding::ok(CHECK, subject, "has the steering program of xlns"),
        Some(_) if machine.host.process.is_dataplane => {
            Finding::note(CHECK, subject, "has an XDP program, probably that of xlns")
        }
        Some(id) => {
            let text = format!("has XDP program {id} of somebody else: only one can be there");
            Finding::fail(CHECK, subject, text)
                .advise("find whose it is (bpftool net), and take it off")
                .command(format!("ip link set dev {subject} xdp off"))
        }
    }
}

/// A veth hands over what the other end's kernel sends as it is: with unfinished checksums, and
/// longer than a frame.
fn veth_peer(port: &Port, peer: &Peer) -> Finding {
    const CHECK: &str = "veth-peer";
    const UNFINISHED: &[&str] = &["tx-checksum-ip-generic", "tx-checksum-ipv4", "tx-checksum-ipv6"];
    let subject = &port.interface;
    let (name, features) = match peer {
        Peer::Elsewhere => {
            let text = "its other end is in another network namespace and cannot be looked at";
            return Finding::note(CHECK, subject, text)
                .advise("make sure that it completes checksums before it sends")
                .command("ip netns exec NAMESPACE ethtool -K PEER tx off");
        }
        Peer::Here { name, features: Err(why) } => {
            return Finding::unread(CHECK, subject, &format!("offloads of {name}"), why);
        }
        Peer::Here { name, features: Ok(features) } => (name, features),
    };
    if UNFINISHED.iter().any(|feature| features.is_on(feature)) {
        let text =
            format!("its other end {name} sends unfinished checksums, which workers forward");
        return Finding::warn(CHECK, subject, text)
            .advise("have it complete them")
            .command(format!("ethtool -K {name} tx off"));
    }
    Finding::ok(CHECK, subject, format!("its other end {name} completes checksums"))
}

#[cfg(test)]
#[path = "driver_tests.rs"]
mod tests;
