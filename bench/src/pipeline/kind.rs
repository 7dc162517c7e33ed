//! Kinds of sessions and of their packets: the plain one, and what differs from it in one thing.

use serde::{Deserialize, Serialize};
use xlns_dataplane::api::{Dscp, Policer, SequenceNumbers, SessionOptions, TrafficClass};

/// What sets a session and its packets apart from the plain ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// UDP in IPv4, in a tunnel over IPv4, untagged, no option of the session.
    Plain,
    /// A policer each way that lets everything pass.
    Policer,
    /// A TCP segment that is no SYN: the MSS is tested.
    Tcp,
    /// A SYN whose MSS is lowered.
    Syn,
    /// An inner packet of 1400 octets: the payload is not touched.
    Large,
    /// No outer UDP checksum: what the sum over the headers costs.
    NoChecksum,
    /// DSCP and ECN copied to the outer header.
    TrafficClass,
    /// IPv6 in the tunnel.
    InnerIpv6,
    /// One VLAN tag on either side.
    Tagged,
    /// The tunnel over IPv6.
    OuterIpv6,
    /// Sequence numbers both ways.
    Sequences,
}

/// The fastest policer there is: no packet of a measurement is over its rate.
const NO_LIMIT: Policer =
    Policer { rate_bits_per_second: 1_000_000_000_000, burst_bytes: 1_000_000_000 };

/// Octets of [`Kind::Large`].
const LARGE_BYTES: u16 = 1400;

/// Octets of IPv4 or IPv6, TCP or UDP header at least.
const IPV4_BYTES_MIN: u16 = 28;
const TCP_BYTES_MIN: u16 = 40;
const SYN_BYTES_MIN: u16 = 44;
const IPV6_BYTES_MIN: u16 = 48;

impl Kind {
    /// All of them, in the order of their sessions.
    pub(super) const ALL: [Self; 11] = [
        Self::Plain,
        Self::Policer,
        Self::Tcp,
        Self::Syn,
        Self::Large,
        Self::NoChecksum,
        Self::TrafficClass,
        Self::InnerIpv6,
        Self::Tagged,
        Self::OuterIpv6,
        Self::Sequences,
    ];

    /// Its place among them.
    pub(super) fn index(self) -> u32 {
        Self::ALL.iter().position(|kind| *kind == self).unwrap_or(0) as u32
    }

    /// As on the command line and in JSON.
    pub(super) fn name(self) -> String {
        clap::ValueEnum::to_possible_value(&self).map_or_else(String::new, |v| v.get_name().into())
    }

    /// The options of its sessions.
    pub(super) fn options(self) -> SessionOptions {
        let plain = SessionOptions::default();
        match self {
            Self::Policer => SessionOptions {
                police_upstream: Some(NO_LIMIT),
                police_downstream: Some(NO_LIMIT),
                ..plain
            },
            Self::NoChecksum => SessionOptions { udp_checksum: false, ..plain },
            Self::TrafficClass => SessionOptions {
                traffic_class: TrafficClass { dscp: Dscp::Copy, ecn: true },
                ..plain
            },
            // A run begins its numbers anew.
            Self::Sequences => {
                SessionOptions { sequence: SequenceNumbers::Always, drop_late: false, ..plain }
            }
            _ => plain,
        }
    }

    /// Octets of its inner packets where those of the plain kind have `size`.
    pub(super) fn inner_bytes(self, size: u16) -> u16 {
        match self {
            Self::Large => LARGE_BYTES,
            Self::Tcp => size.max(TCP_BYTES_MIN),
            Self::Syn => size.max(SYN_BYTES_MIN),
            Self::InnerIpv6 => size.max(IPV6_BYTES_MIN),
            _ => size.max(IPV4_BYTES_MIN),
        }
    }
}
