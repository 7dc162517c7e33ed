//! What the steering program is loaded with.

use crate::error::SteerError;
use crate::reason;

/// The most addresses of this host, both families together.
pub const HOST_ADDRESSES_MAX: usize = reason::HOST_ADDRESSES_MAX as usize;

/// The most peers, both families together.
pub const PEERS_MAX: usize = reason::PEERS_MAX as usize;

/// The most subscriber prefixes of one family.
pub const SUBSCRIBER_PREFIXES_MAX: usize = reason::SUBSCRIBER_PREFIXES_MAX as usize;

/// The most distinct lengths of subscriber prefixes of one family: each costs every packet a hash
/// look-up.
pub const PREFIX_LENGTHS_MAX: usize = reason::PREFIX_LENGTHS_MAX as usize;

/// All ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SteerConfig {
    /// UDP port of L2TP (1701).
    pub l2tp_port: u16,
    /// UDP ports that tunnels end at, from `l2tp_port` on.
    pub l2tp_port_count: u16,
    /// The ports; their place is their number.
    pub ports: Vec<PortSteer>,
    /// Rates at which control traffic reaches the kernel, each port for itself.
    pub rates: Rates,
}

/// One port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSteer {
    /// Interface index in the network namespace of the thread that attaches.
    pub ifindex: u32,
    /// Interface name, for messages.
    pub interface: String,
    /// Whether all transit traffic goes to the workers, not only the subscribers'.
    pub core: bool,
    /// Receive queues that may have a socket.
    pub queues: u16,
}

/// Token buckets in front of the kernel; each kind has its own on each port. What strangers send,
/// whoever no tunnel was established from yet, is limited by the rate of new tunnels in every kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// L2TP control with Tunnel ID 0 from strangers: new tunnels.
    pub setup_packets_per_second: u32,
    /// L2TP control of tunnels that have an ID; as many fragments of strangers again.
    pub tunnel_packets_per_second: u32,
    /// PPP control inside sessions, router solicitations and DHCPv6 among it.
    pub ppp_packets_per_second: u32,
    /// How many packets may come at once, of each kind.
    pub burst_packets: u32,
}

/// New tunnels of one peer, all ports together: packets a second, and at once. A LAC that starts
/// anew opens its tunnels at once; more than this of one address is no LAC.
const PEER_SETUP_PER_SECOND: u32 = 1000;

/// What strangers may send at once: a part of what the kernel's socket holds, which peers need, too.
const STRANGERS_BURST_MAX: u64 = 1024;

/// Where the program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// In the driver.
    Native,
    /// Above the driver: any interface.
    Generic,
}

impl Mode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// A bucket as the program wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// Time between packets at the rate, nanoseconds.
    pub(crate) interval_ns: u64,
    /// How far a burst may run ahead of the rate, nanoseconds.
    pub(crate) tolerance_ns: u64,
}

/// Number of buckets of a port.
pub(crate) const BUCKETS: usize = 8;

impl Rates {
    /// The buckets in the order of `enum bucket` in maps.h. Above a packet a nanosecond nothing is
    /// limited.
    pub(crate) fn buckets(&self) -> Result<[Bucket; BUCKETS], SteerError> {
        let burst = positive("burst_packets", self.burst_packets)?;
        let bucket =
            |interval_ns, burst| Bucket { interval_ns, tolerance_ns: interval_ns * (burst - 1) };
        let rate = |name, rate| Ok(1_000_000_000 / positive(name, rate)?);
        let setup = rate("setup_packets_per_second", self.setup_packets_per_second)?;
        let tunnel = rate("tunnel_packets_per_second", self.tunnel_packets_per_second)?;
        let ppp = rate("ppp_packets_per_second", self.ppp_packets_per_second)?;
        // A kind whose rate is lower than that of new tunnels is so for strangers, too.
        let stranger = |own: u64| bucket(own.max(setup), burst.min(STRANGERS_BURST_MAX));
        let of_peer = u64::from(PEER_SETUP_PER_SECOND.min(self.setup_packets_per_second));
        let strangers = [stranger(setup), stranger(tunnel), stranger(ppp), stranger(tunnel)];
        let [setup, tunnel, ppp] = [
            bucket(1_000_000_000 / of_peer, burst.min(of_peer)),
            bucket(tunnel, burst),
            bucket(ppp, burst),
        ];
        let peers = [setup, tunnel, ppp, tunnel];
        Ok([strangers, peers].as_flattened().try_into().unwrap_or([setup; BUCKETS]))
    }
}

fn positive(name: &'static str, value: u32) -> Result<u64, SteerError> {
    if value == 0 { Err(SteerError::Rate { name }) } else { Ok(value.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: Rates = Rates {
        setup_packets_per_second: 1000,
        tunnel_packets_per_second: 3,
        ppp_packets_per_second: u32::MAX,
        burst_packets: 5,
    };

    #[test]
    fn buckets_have_interval_and_tolerance() {
        let [setup, tunnel, ppp, fragment, peers @ ..] = RATES.buckets().expect("valid");
        assert_eq!(setup, Bucket { interval_ns: 1_000_000, tolerance_ns: 4_000_000 });
        assert_eq!(tunnel, Bucket { interval_ns: 333_333_333, tolerance_ns: 1_333_333_332 });
        assert_eq!(ppp, setup, "of strangers");
        assert_eq!(fragment, tunnel);
        let unlimited = Bucket { interval_ns: 0, tolerance_ns: 0 };
        assert_eq!(peers, [setup, tunnel, unlimited, tunnel]);
    }

    #[test]
    fn the_largest_burst_at_the_lowest_rate_fits() {
        let rates = Rates { setup_packets_per_second: 1, burst_packets: u32::MAX, ..RATES };
        let rates = Rates { tunnel_packets_per_second: 1, ..rates };
        let buckets = rates.buckets().expect("valid");
        assert_eq!(buckets[5].tolerance_ns, 1_000_000_000 * u64::from(u32::MAX - 1));
        assert_eq!(buckets[0].tolerance_ns, 1_000_000_000 * (STRANGERS_BURST_MAX - 1));
    }

    #[test]
    fn zero_is_refused_by_name() {
        let cases = [
            (Rates { setup_packets_per_second: 0, ..RATES }, "setup_packets_per_second"),
            (Rates { tunnel_packets_per_second: 0, ..RATES }, "tunnel_packets_per_second"),
            (Rates { ppp_packets_per_second: 0, ..RATES }, "ppp_packets_per_second"),
            (Rates { burst_packets: 0, ..RATES }, "burst_packets"),
        ];
        for (rates, name) in cases {
            let message = rates.buckets().expect_err(name).to_string();
            assert!(message.contains(name), "{message}");
        }
    }
}
