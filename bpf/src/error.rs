//! Errors of the loader: what was attempted, where, and what to do.

use std::io;

use nix::errno::Errno;

use crate::config::{HOST_ADDRESSES_MAX, Mode, PREFIX_LENGTHS_MAX, SUBSCRIBER_PREFIXES_MAX};

/// Why the steering program could not be loaded, attached or written to.
#[derive(Debug, thiserror::Error)]
pub enum SteerError {
    /// No such port in the configuration that was loaded.
    #[error("there is no port {port}: {ports} were loaded")]
    NoSuchPort {
        /// The number asked for.
        port: usize,
        /// How many there are.
        ports: usize,
    },
    /// A port without queues.
    #[error("interface {interface}: at least one queue is needed")]
    NoQueues {
        /// The interface.
        interface: String,
    },
    /// A rate of zero would cut control off.
    #[error("{name} is 0, which lets no control traffic in: it must be at least 1")]
    Rate {
        /// Which rate.
        name: &'static str,
    },
    /// The kernel refused the program or its maps.
    #[error(
        "cannot load the steering program{}: {source}; it needs CAP_BPF, CAP_NET_ADMIN and \
         CAP_PERFMON (root has them) and Linux 5.12 or later",
        .interface.as_ref().map(|name| format!(" for interface {name}")).unwrap_or_default()
    )]
    Load {
        /// The interface; `None` for the maps that all share.
        interface: Option<String>,
        /// What libbpf said.
        source: libbpf_rs::Error,
    },
    /// The program could not be attached.
    #[error(
        "cannot attach the steering program to interface {interface} in {} mode: {source}; {}",
        .mode.name(),
        attach_advice(.interface, *.mode, .source)
    )]
    Attach {
        /// The interface.
        interface: String,
        /// The mode asked for.
        mode: Mode,
        /// What the kernel said.
        source: io::Error,
    },
    /// The port is attached already.
    #[error("interface {interface} has the steering program already: detach it first")]
    Attached {
        /// The interface.
        interface: String,
    },
    /// A socket could not be entered.
    #[error(
        "cannot give queue {queue} of interface {interface} its AF_XDP socket: {source}; it has \
         {queues} queues"
    )]
    Socket {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
        /// How many queues there are.
        queues: u16,
        /// What libbpf said.
        source: libbpf_rs::Error,
    },
    /// Too many addresses of this host.
    #[error("cannot add host address {address}: {HOST_ADDRESSES_MAX} addresses are the most")]
    HostAddressesFull {
        /// The address.
        address: std::net::IpAddr,
    },
    /// Too many subscriber prefixes.
    #[error(
        "cannot add subscriber prefix {prefix}: {SUBSCRIBER_PREFIXES_MAX} of a family are the \
         most; join pools that lie side by side"
    )]
    SubscriberPrefixesFull {
        /// The prefix.
        prefix: ipnet::IpNet,
    },
    /// Too many distinct lengths of subscriber prefixes.
    #[error(
        "cannot add subscriber prefix {prefix}: {PREFIX_LENGTHS_MAX} distinct lengths of a family \
         are the most; split or join pools so that lengths repeat"
    )]
    PrefixLengthsFull {
        /// The prefix.
        prefix: ipnet::IpNet,
    },
    /// A map could not be read or written.
    #[error("cannot access the steering program's {what}: {source}")]
    Map {
        /// Which entry.
        what: String,
        /// What libbpf said.
        source: libbpf_rs::Error,
    },
    /// A test run failed.
    #[error("cannot run the steering program of interface {interface} on a frame: {source}")]
    TestRun {
        /// The interface.
        interface: String,
        /// What libbpf said.
        source: libbpf_rs::Error,
    },
}

/// What to do about an attach that the kernel refused.
fn attach_advice(interface: &str, mode: Mode, error: &io::Error) -> String {
    let errno = error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw);
    match (errno, mode) {
        (Errno::EBUSY | Errno::EEXIST, _) => format!(
            "another XDP program is there, in this or the other mode: `ip link show dev \
             {interface}` names it, `ip link set dev {interface} xdp off` removes one that no \
             process holds"
        ),
        (Errno::EPERM | Errno::EACCES, _) => "CAP_NET_ADMIN and CAP_BPF are needed".to_owned(),
        (Errno::ENODEV | Errno::ENXIO, _) => {
            format!("no interface has this index now; is {interface} in this network namespace?")
        }
        (Errno::EOPNOTSUPP, Mode::Native) => {
            "the driver has no native XDP: generic mode works on any interface".to_owned()
        }
        (_, Mode::Native) => format!(
            "drivers refuse for an MTU over about 3500 octets, for LRO (`ethtool -K {interface} \
             lro off gro off`) and for too many queues (`ethtool -L {interface}`); the kernel's \
             log (`dmesg`) may say more, and generic mode works on any interface"
        ),
        (_, Mode::Generic) => "the kernel's log (`dmesg`) may say more".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attach(errno: Errno, mode: Mode) -> String {
        let source = io::Error::from_raw_os_error(errno as i32);
        SteerError::Attach { interface: "eth7".into(), mode, source }.to_string()
    }

    #[test]
    fn attach_errors_name_interface_mode_and_advice() {
        let cases = [
            (Errno::EBUSY, Mode::Native, "ip link set dev eth7 xdp off"),
            (Errno::EEXIST, Mode::Generic, "ip link set dev eth7 xdp off"),
            (Errno::EPERM, Mode::Native, "CAP_NET_ADMIN"),
            (Errno::ENODEV, Mode::Generic, "network namespace"),
            (Errno::EOPNOTSUPP, Mode::Native, "generic mode works"),
            (Errno::EINVAL, Mode::Native, "MTU"),
            (Errno::EINVAL, Mode::Generic, "dmesg"),
        ];
        for (errno, mode, advice) in cases {
            let message = attach(errno, mode);
            assert!(message.contains("interface eth7"), "{message}");
            assert!(message.contains(mode.name()), "{message}");
            assert!(message.contains(advice), "{message}");
        }
    }
}
