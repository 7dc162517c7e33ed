//! Three namespaces in a row: the LAC's side, the LNS, the core network.
//!
//! The LAC's end of the access link carries no address: the guest reads and writes it raw.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::netns::Netns;
use crate::uml::Network;
use crate::{Lab, Result};

/// Where tunnels end.
pub const LNS_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The LAC.
pub const LAC_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The LNS on the core link.
pub const CORE_GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// A server in the core network.
pub const CORE_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// The LNS on the core link, IPv6.
pub const CORE_GATEWAY6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc0, 0, 0, 0, 0, 1);
/// A server in the core network, IPv6.
pub const CORE_ADDRESS6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc0, 0, 0, 0, 0, 2);
/// The LNS's address on every PPP link.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 64, 255, 1);
/// Subscribers.
pub const SUBSCRIBERS: &str = "10.64.0.0/24";
/// The LNS's port towards the LAC.
pub const ACCESS_PORT: &str = "access0";
/// The LNS's port towards the core.
pub const CORE_PORT: &str = "core0";
/// The LAC's end of the access link.
pub const LAC_END: &str = "lac0";
/// Queues of every port.
pub const QUEUES: u16 = 2;

/// The namespaces, and the links between them.
#[derive(Debug)]
pub struct Topology {
    /// The LAC's side.
    pub lac: Netns,
    /// The LNS.
    pub lns: Netns,
    /// The core network.
    pub core: Netns,
}

impl Topology {
    /// Builds it.
    ///
    /// # Errors
    /// What `ip` or `ethtool` says.
    pub fn build(lab: &Lab) -> Result<Self> {
        let lac = Netns::create(lab, "lac")?;
        let lns = Netns::create(lab, "lns")?;
        let core = Netns::create(lab, "core")?;
        link(&lns, ACCESS_PORT, &lac, LAC_END)?;
        link(&lns, CORE_PORT, &core, "lns0")?;
        lac.set("net/ipv6/conf/all/disable_ipv6", "1")?;
        lns.ip(&format!("addr add {LNS_ADDRESS}/24 dev {ACCESS_PORT}"))?;
        lns.ip(&format!("addr add {CORE_GATEWAY}/24 dev {CORE_PORT}"))?;
        lns.ip(&format!("addr add {CORE_GATEWAY6}/64 dev {CORE_PORT} nodad"))?;
        lns.set("net/ipv4/ip_forward", "1")?;
        lns.set("net/ipv6/conf/all/forwarding", "1")?;
        lns.set("net/ipv4/conf/all/rp_filter", "0")?;
        core.ip(&format!("addr add {CORE_ADDRESS}/24 dev lns0"))?;
        core.ip(&format!("route add default via {CORE_GATEWAY}"))?;
        core.ip(&format!("addr add {CORE_ADDRESS6}/64 dev lns0 nodad"))?;
        core.ip(&format!("-6 route add default via {CORE_GATEWAY6}"))?;
        Ok(Self { lac, lns, core })
    }

    /// How a guest stands in it as the LAC.
    pub fn lac_network(&self) -> Network {
        Network { interface: LAC_END.to_owned(), address: format!("{LAC_ADDRESS}/24") }
    }
}

/// A veth pair, multi-queue, without offloads on either end (frames must leave complete).
///
/// # Errors
/// What `ip` or `ethtool` says.
pub fn link(a: &Netns, a_name: &str, b: &Netns, b_name: &str) -> Result<()> {
    let queues = format!("numtxqueues {QUEUES} numrxqueues {QUEUES}");
    let b_namespace = b.name();
    a.ip(&format!(
        "link add {a_name} {queues} type veth peer {b_name} netns {b_namespace} {queues}"
    ))?;
    for (namespace, name) in [(a, a_name), (b, b_name)] {
        namespace
            .run(&format!("ethtool -K {name} tx off rx off sg off tso off gso off gro off lro off"))
            .or_else(|_| namespace.run(&format!("ethtool -K {name} tx off gro off")))?;
        namespace.ip(&format!("link set {name} up"))?;
    }
    Ok(())
}
