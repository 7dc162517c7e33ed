//! The loader as the data plane sees it.

use std::net::IpAddr;
use std::os::fd::RawFd;
use std::sync::Once;

use ipnet::IpNet;
use libbpf_rs::PrintLevel;

use crate::config::{Mode, SteerConfig};
use crate::error::SteerError;
use crate::port::{Port, TestRun};
use crate::reason::Reason;
use crate::shared::Shared;

/// The steering program of every port, and what the ports decide by.
///
/// Until [`Steer::attach`] nothing of it sees a frame. An attachment goes with this value, with
/// [`Steer::detach`], and with the process, however that ends. Calls that add or remove something
/// may be repeated.
pub struct Steer {
    l2tp_port: u16,
    shared: Shared,
    ports: Vec<Port>,
}

impl Steer {
    /// Loads one instance a port.
    ///
    /// # Errors
    /// A rate of zero, a port without queues, or [`SteerError::Load`].
    pub fn load(config: &SteerConfig) -> Result<Self, SteerError> {
        log_by_tracing();
        let buckets = config.rates.buckets()?;
        let shared = Shared::create()?;
        let ports = config
            .ports
            .iter()
            .map(|port| Port::load(port, config.l2tp_port_count, &buckets, &shared))
            .collect::<Result<_, _>>()?;
        Ok(Self { l2tp_port: config.l2tp_port, shared, ports })
    }

    /// Attaches the program in exactly this mode; nothing worse is taken silently.
    ///
    /// # Errors
    /// [`SteerError::Attach`] with advice, [`SteerError::Attached`], [`SteerError::NoSuchPort`].
    pub fn attach(&mut self, port: usize, mode: Mode) -> Result<(), SteerError> {
        self.port_mut(port)?.attach(mode)
    }

    /// Detaches the program, if it is attached.
    ///
    /// # Errors
    /// [`SteerError::NoSuchPort`].
    pub fn detach(&mut self, port: usize) -> Result<(), SteerError> {
        self.port_mut(port)?.detach();
        Ok(())
    }

    /// The mode in which the program is attached.
    pub fn mode(&self, port: usize) -> Option<Mode> {
        self.ports.get(port)?.mode()
    }

    /// Gives a queue its AF_XDP socket; the kernel forgets it when the socket is closed. Without
    /// one the kernel gets the queue's frames.
    ///
    /// # Errors
    /// [`SteerError::Socket`], [`SteerError::NoSuchPort`].
    pub fn set_socket(&mut self, port: usize, queue: u32, socket: RawFd) -> Result<(), SteerError> {
        self.port_mut(port)?.set_socket(queue, socket)
    }

    /// Takes back the sockets of all queues of a port: what was for them is the kernel's from here on.
    ///
    /// # Errors
    /// [`SteerError::NoSuchPort`].
    pub fn remove_sockets(&mut self, port: usize) -> Result<(), SteerError> {
        self.port_mut(port)?.remove_sockets();
        Ok(())
    }

    /// Tells the port's MAC address: unicast frames to others are then the kernel's. Until told,
    /// the address is not looked at. May be told again when it changes.
    ///
    /// # Errors
    /// [`SteerError::NoSuchPort`].
    pub fn set_mac(&mut self, port: usize, mac: [u8; 6]) -> Result<(), SteerError> {
        self.port_mut(port)?.set_mac(mac);
        Ok(())
    }

    /// Adds or changes an address of this host; `endpoint`: L2TP tunnels end there.
    ///
    /// # Errors
    /// [`SteerError::HostAddressesFull`], [`SteerError::Map`].
    pub fn set_host_address(&mut self, address: IpAddr, endpoint: bool) -> Result<(), SteerError> {
        self.shared.set_host(address, endpoint.then_some(self.l2tp_port))
    }

    /// Removes an address of this host.
    ///
    /// # Errors
    /// [`SteerError::Map`].
    pub fn remove_host_address(&mut self, address: IpAddr) -> Result<(), SteerError> {
        self.shared.remove_host(address)
    }

    /// Adds an address that a tunnel has been established from: its control messages, and PPP from
    /// it, have buckets apart from strangers'.
    ///
    /// # Errors
    /// [`SteerError::Map`], where there are too many as well.
    pub fn set_peer(&mut self, address: IpAddr) -> Result<(), SteerError> {
        self.shared.set_peer(address)
    }

    /// Removes such an address.
    ///
    /// # Errors
    /// [`SteerError::Map`].
    pub fn remove_peer(&mut self, address: IpAddr) -> Result<(), SteerError> {
        self.shared.remove_peer(address)
    }

    /// Sends destinations under this prefix to the workers, on every port; host bits are ignored.
    ///
    /// # Errors
    /// [`SteerError::SubscriberPrefixesFull`], [`SteerError::PrefixLengthsFull`],
    /// [`SteerError::Map`].
    pub fn set_subscriber_prefix(&mut self, prefix: IpNet) -> Result<(), SteerError> {
        self.shared.set_subscriber(prefix)
    }

    /// Takes a prefix back.
    ///
    /// # Errors
    /// [`SteerError::Map`].
    pub fn remove_subscriber_prefix(&mut self, prefix: IpNet) -> Result<(), SteerError> {
        self.shared.remove_subscriber(prefix)
    }

    /// Every reason and the frames that had it; empty for a port that does not exist. Their sum is
    /// the number of frames that the port received.
    pub fn counters(&self, port: usize) -> Vec<(Reason, u64)> {
        self.ports.get(port).map(Port::counters).unwrap_or_default()
    }

    /// Runs the program on a frame `repeat` times (at least once), as on queue 0; it counts, but
    /// the frame goes nowhere.
    ///
    /// # Errors
    /// [`SteerError::TestRun`], among others for a frame of less than 14 octets.
    pub fn test_run(&self, port: usize, frame: &[u8], repeat: u32) -> Result<TestRun, SteerError> {
        self.ports.get(port).ok_or_else(|| self.no_such(port))?.test_run(frame, repeat)
    }

    fn port_mut(&mut self, port: usize) -> Result<&mut Port, SteerError> {
        let error = self.no_such(port);
        self.ports.get_mut(port).ok_or(error)
    }

    fn no_such(&self, port: usize) -> SteerError {
        SteerError::NoSuchPort { port, ports: self.ports.len() }
    }
}

/// libbpf writes to standard error by itself; the journal is the place.
fn log_by_tracing() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        libbpf_rs::set_print(Some((PrintLevel::Info, |level, message| {
            let message = message.trim_end();
            match level {
                PrintLevel::Warn => tracing::warn!("libbpf: {message}"),
                PrintLevel::Info | PrintLevel::Debug => tracing::debug!("libbpf: {message}"),
            }
        })));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn may_move_to_the_thread_that_serves() {
        fn is_send<T: Send>() {}
        is_send::<Steer>();
    }
}
