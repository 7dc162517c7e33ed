//! What is tested: an LNS, both interfaces that lead to it, and how to reach it.

use std::net::{Ipv4Addr, SocketAddrV4};

use xlns_tests::Result;
use xlns_tests::xlns::Xlns;

use super::kernel::frames::Link;
use super::options::Mac;
use super::place::Place;
use crate::calls::emulator::Plan;
use crate::calls::emulator::run::Farewell;

/// An interface of the tester, and where it is.
#[derive(Debug, Clone)]
pub struct End<'a> {
    /// Its namespace.
    pub place: Place<'a>,
    /// Its name.
    pub interface: String,
}

/// How the LNS's MAC addresses are found.
#[derive(Debug, Clone)]
pub enum Neighbors {
    /// They are known: on the access side, and at the core.
    Known([Mac; 2]),
    /// They are asked for, where they are not given.
    Asked {
        /// Given on the access side.
        access: Option<Mac>,
        /// Given at the core.
        core: Option<Mac>,
        /// The LNS's address at the core; without, what the routes say.
        gateway: Option<Ipv4Addr>,
    },
}

/// An LNS and the way to it.
pub struct Site<'a> {
    /// What it is called in the report.
    pub name: String,
    /// The access side.
    pub access: End<'a>,
    /// The core.
    pub core: End<'a>,
    /// Where tunnels end.
    pub lns: SocketAddrV4,
    /// The address that subscribers send to.
    pub core_address: Ipv4Addr,
    /// Its MAC addresses.
    pub neighbors: Neighbors,
    /// The sessions.
    pub plan: Plan,
    /// What becomes of them in the end.
    pub farewell: Farewell,
    /// A link of its own, both ends, that the generator is measured on.
    pub ceiling: [End<'a>; 2],
    /// The LNS, where it is ours to ask.
    pub xlns: Option<&'a Xlns<'a>>,
}

impl End<'_> {
    /// The link from this end to this address.
    ///
    /// # Errors
    /// Where the interface is gone.
    pub fn link(&self, destination: Mac) -> Result<Link> {
        Ok(Link { source: self.place.interface(&self.interface)?.mac, destination })
    }
}
