//! An interface that test packets leave by and arrive on.

use std::net::Ipv4Addr;

use serde::Serialize;
use xlns_dataplane::api::AttachMode;
use xlns_dataplane::port::interface::Interface;
use xlns_tests::process::run;
use xlns_tests::{LabError, Result};

use super::options::Generator;
use super::packet::Side;
use super::packet_socket::PacketPort;
use super::redirect::Redirect;
use super::xdp::XdpPort;

/// Frames that are sent before what arrived is looked at.
pub const BATCH: usize = 32;

/// What a report says of an interface.
#[derive(Debug, Clone, Serialize)]
pub struct PortFacts {
    /// Its name.
    pub interface: String,
    /// Its driver.
    pub driver: String,
    /// Queues.
    pub queues: usize,
    /// How XDP is attached; `packet-socket` where it is not.
    pub xdp_mode: String,
    /// Each better way, and why not.
    pub not_better: Vec<String>,
}

/// An interface, open.
pub struct Port {
    way: Way,
    facts: PortFacts,
}

enum Way {
    Xdp(Box<XdpPort>),
    Packet(Box<PacketPort>),
    /// What was sent, for tests.
    #[cfg(test)]
    Memory(Vec<Vec<u8>>),
}

impl Port {
    /// Opens an interface of this thread's namespace, on this side of the LNS.
    ///
    /// # Errors
    /// What the kernel says, and what to do.
    pub fn open(
        name: &str,
        side: Side,
        lns: Ipv4Addr,
        generator: Generator,
        wanted: AttachMode,
    ) -> Result<Self> {
        let interface = Interface::read(name).map_err(|error| LabError::new(error.to_string()))?;
        let redirect = Redirect::load(side, lns)?;
        let mut facts = PortFacts {
            interface: name.to_owned(),
            driver: driver(name),
            queues: 1,
            xdp_mode: "packet-socket".to_owned(),
            not_better: Vec::new(),
        };
        let way = if generator == Generator::Packet {
            facts.not_better.push("AF_XDP: --generator packet was asked for".to_owned());
            Way::Packet(Box::new(PacketPort::open(&interface, redirect)?))
        } else {
            let port = XdpPort::open(&interface, redirect, wanted)?;
            let obtained = port.obtained();
            facts.queues = port.queues();
            facts.xdp_mode = obtained.mode.name().to_owned();
            let why = |(mode, why): &(AttachMode, String)| format!("{}: {why}", mode.name());
            facts.not_better = obtained.not_better.iter().map(why).collect();
            Way::Xdp(Box::new(port))
        };
        Ok(Self { way, facts })
    }

    /// One that keeps what is sent, and receives it.
    #[cfg(test)]
    pub fn memory(queues: usize) -> Self {
        let facts = PortFacts {
            interface: String::new(),
            driver: String::new(),
            queues,
            xdp_mode: String::new(),
            not_better: Vec::new(),
        };
        Self { way: Way::Memory(Vec::new()), facts }
    }

    /// What it is.
    pub fn facts(&self) -> &PortFacts {
        &self.facts
    }

    /// Number of queues.
    #[inline]
    pub fn queues(&self) -> usize {
        self.facts.queues
    }

    /// How many frames may be sent by a queue now, up to [`BATCH`].
    #[inline]
    pub fn room(&mut self, queue: usize) -> usize {
        match &mut self.way {
            Way::Xdp(port) => port.room(queue),
            Way::Packet(port) => port.room(),
            #[cfg(test)]
            Way::Memory(_) => BATCH,
        }
    }

    /// Sends a frame of so many octets by a queue, at the next [`Port::flush`]. Returns whether there was
    /// room.
    #[inline]
    pub fn push(&mut self, queue: usize, length: usize, write: impl FnOnce(&mut [u8])) -> bool {
        match &mut self.way {
            Way::Xdp(port) => port.push(queue, length, write),
            Way::Packet(port) => port.push(length, write),
            #[cfg(test)]
            Way::Memory(frames) => {
                let mut frame = vec![0; length];
                write(&mut frame);
                frames.push(frame);
                true
            }
        }
    }

    /// Shows what was pushed to the kernel.
    #[inline]
    pub fn flush(&mut self) {
        match &mut self.way {
            Way::Xdp(port) => port.flush(),
            Way::Packet(port) => port.flush(),
            #[cfg(test)]
            Way::Memory(_) => {}
        }
    }

    /// Hands out what arrived. Returns how many frames.
    #[inline]
    pub fn receive(&mut self, mut handle: impl FnMut(&[u8])) -> usize {
        match &mut self.way {
            Way::Xdp(port) => port.receive(&mut handle),
            Way::Packet(port) => port.receive(&mut handle),
            #[cfg(test)]
            Way::Memory(frames) => frames.drain(..).map(|frame| handle(&frame)).count(),
        }
    }

    /// Packets that arrived and only fill the LNS, so far.
    pub fn fillers(&self) -> u64 {
        match &self.way {
            Way::Xdp(port) => port.fillers(),
            Way::Packet(_) => 0,
            #[cfg(test)]
            Way::Memory(_) => 0,
        }
    }

    /// Frames that arrived and were lost here for want of room; `None` where nobody knows.
    pub fn dropped(&self) -> Option<u64> {
        match &self.way {
            Way::Xdp(port) => Some(port.dropped()),
            Way::Packet(_) => None,
            #[cfg(test)]
            Way::Memory(_) => Some(0),
        }
    }
}

/// The driver of an interface of this thread's namespace, as ethtool names it; empty where it does not.
fn driver(interface: &str) -> String {
    let told = run(std::process::Command::new("ethtool").args(["-i", interface]));
    let told = told.unwrap_or_default();
    let driver = told.lines().find_map(|line| line.strip_prefix("driver:"));
    driver.unwrap_or_default().trim().to_owned()
}
