//! What can be said on the command line.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use clap::{ArgGroup, Args, ValueEnum};
use serde::Serialize;
use xlns_dataplane::api::AttachMode;

use super::kernel;
use super::packet::INNER_BYTES_MIN;
use crate::calls::emulator::TUNNELS_MAX;
use crate::calls::emulator::subscriber::Authentication;
use crate::ramp::Ramp;

/// The smallest size: an Ethernet frame of 64 octets with its check sequence, at the core.
pub const SIZE_MIN: u16 = 64;

/// The largest packet of a subscriber that needs no fragments on links of 1500 octets.
pub const SIZE_MAX: u16 = 1450;

/// The simple mix of the internet: 7 frames of 64 octets, 4 of 570 and one of 1518, as IP packets; the
/// last one as large as goes through a tunnel whole. As in `xlns-bench pipeline`.
const MIX: [u16; 12] = [46, 552, 46, 46, 552, 46, 1400, 46, 552, 46, 46, 552];

/// Calls that a tunnel has room for.
const SESSIONS_PER_TUNNEL_MAX: u32 = 60_000;

/// Length of a trial without the option, seconds.
const SECONDS: f64 = 2.0;
const SECONDS_QUICK: f64 = 0.5;

/// Halvings of a search.
const STEPS: u32 = 8;
const STEPS_QUICK: u32 = 5;

/// The command line of `xlns-bench wire`.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("how").multiple(false))]
#[command(after_help = "\
Without --rate, --ramp, --search or --overload: the no-drop rate of 64-octet frames, and then twice of
it. Examples:
  xlns-bench wire                                      against an xlns of its own, in namespaces
  xlns-bench wire --search --loss 0.1 --size 64,512,imix --seconds 10
  xlns-bench wire --rate 50000 --direction in --size 1400
  xlns-bench wire --server 192.0.2.1 --access eth0 --core eth1 --secret S --user U --password P")]
pub struct Arguments {
    /// Shorter trials, fewer steps.
    #[arg(long)]
    pub quick: bool,

    /// What makes the packets: `xdp` is AF_XDP, from and to user space; `packet` a packet socket, where
    /// there is no AF_XDP; `kernel` floods in the kernel, without calls, numbers or time stamps.
    #[arg(long, value_enum, default_value_t = Generator::Xdp)]
    pub generator: Generator,

    /// Against an xlns started in namespaces of its own (root); so without --server, too.
    #[arg(long, conflicts_with = "server")]
    pub lab: bool,

    /// Against this LNS, from this host as it is; needs --access and --core.
    #[arg(long, value_name = "IP[:PORT]", value_parser = crate::calls::address,
          requires = "access", requires = "core")]
    pub server: Option<SocketAddr>,

    /// The interface that leads to the LNS, for --server.
    #[arg(long, value_name = "INTERFACE")]
    pub access: Option<String>,

    /// The interface on the LNS's other side, where subscribers' packets come out, for --server.
    #[arg(long, value_name = "INTERFACE")]
    pub core: Option<String>,

    /// An address of --access to call from; more than once for more LACs
    /// [default: the interface's first one].
    #[arg(long, value_name = "IP")]
    pub source: Vec<Ipv4Addr>,

    /// The address that subscribers send to; the LNS has to route it to --core
    /// [default: the interface's first one].
    #[arg(long, value_name = "IP")]
    pub core_address: Option<Ipv4Addr>,

    /// The LNS's address on the side of --core, whose MAC address is asked for
    /// [default: what this host's routes say of a subscriber's address].
    #[arg(long, value_name = "IP")]
    pub core_gateway: Option<Ipv4Addr>,

    /// The MAC address to send to on --access [default: the neighbour's].
    #[arg(long, value_name = "MAC", value_parser = mac)]
    pub access_mac: Option<Mac>,

    /// The MAC address to send to on --core [default: the neighbour's].
    #[arg(long, value_name = "MAC", value_parser = mac)]
    pub core_mac: Option<Mac>,

    /// Tunnel secret, for --server.
    #[arg(long)]
    pub secret: Option<String>,

    /// The subscribers' name.
    #[arg(long, default_value = "subscriber")]
    pub user: String,

    /// Their password.
    #[arg(long, default_value = "password")]
    pub password: String,

    /// How subscribers prove who they are.
    #[arg(long, value_enum, default_value_t = Authentication::ChapMd5)]
    pub authentication: Authentication,

    /// Sessions, sent to and from in turn.
    #[arg(long, value_name = "COUNT", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub sessions: u32,

    /// Tunnels that they are in.
    #[arg(long, value_name = "COUNT", default_value_t = 8,
          value_parser = clap::value_parser!(u16).range(1..=i64::from(TUNNELS_MAX)))]
    pub tunnels: u16,

    /// From subscribers to the core, the other way, or both at once.
    #[arg(long, value_enum, default_value_t = Direction::Both)]
    pub direction: Direction,

    /// Octets of the subscribers' packets; 64: the smallest Ethernet frame; imix: 7 of 64, 4 of 552,
    /// one of 1400.
    #[arg(long, value_name = "OCTETS", value_delimiter = ',', default_value = "64")]
    pub size: Vec<Size>,

    /// At this rate: packets a second of each direction.
    #[arg(long, value_name = "PPS", group = "how",
          value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub rate: Option<u32>,

    /// At rates from one to another, in so many steps.
    #[arg(long, value_name = "FROM:TO:STEPS", group = "how")]
    pub ramp: Option<Ramp>,

    /// The no-drop rate by binary search (RFC 2544 section 26.1).
    #[arg(long, group = "how")]
    pub search: bool,

    /// The no-drop rate, then twice of it: what still gets through, and whether sessions stay.
    #[arg(long, group = "how")]
    pub overload: bool,

    /// What may be lost in a trial that counts as without drops, percent of what was offered.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percent)]
    pub loss: f64,

    /// Length of a trial [default: 2, with --quick 0.5]. RFC 2544 wants 60 for a result to publish.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub seconds: Option<f64>,

    /// Halvings of a search [default: 8, with --quick 5].
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=32))]
    pub steps: Option<u32>,

    /// Spoil packets before they leave, in every trial, to see that each is counted as what it is.
    #[arg(long, value_name = "WHAT:COUNT", value_delimiter = ',')]
    pub inject: Vec<Injection>,

    /// The core that sends and receives; with a second one, `0,2`, a core for each interface.
    #[arg(long, value_name = "CORE", value_delimiter = ',', default_value = "0")]
    pub generator_core: Vec<u16>,

    /// The core that plays the LACs [default: the generator's last one].
    #[arg(long, value_name = "CORE")]
    pub lac_core: Option<u16>,

    /// The core of both processes of xlns, in the lab.
    #[arg(long, value_name = "CORE", default_value_t = 1, visible_alias = "worker-core")]
    pub lns_core: u16,

    /// The best way to attach XDP that is tried: native-zero-copy, native-copy or generic.
    #[arg(long, value_name = "MODE", default_value = "native-zero-copy",
          value_parser = kernel::mode)]
    pub mode: AttachMode,

    /// Real-time priority for what sends and forwards: steadier on a machine that does other work, which
    /// has to wait meanwhile. The kernel still gives it up to 50 ms of each second: an idle machine is
    /// better.
    #[arg(long)]
    pub realtime: bool,

    /// Runs of each direction, for --generator kernel [default: 7, with --quick 3].
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: Option<u32>,

    /// Length of a run, milliseconds, for --generator kernel [default: 2000, with --quick 500].
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(10..=600_000))]
    pub window: Option<u64>,

    /// Let the worker poll without sleeping, for --generator kernel.
    #[arg(long)]
    pub busy_poll: bool,
}

/// What makes the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Generator {
    /// AF_XDP.
    Xdp,
    /// A packet socket.
    Packet,
    /// Live frames of the kernel.
    Kernel,
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From subscribers to the core.
    In,
    /// From the core to subscribers.
    Out,
    /// Both at once.
    Both,
}

impl Direction {
    /// Whether packets go from subscribers to the core, and the other way.
    pub fn ways(self) -> [bool; 2] {
        [self != Self::Out, self != Self::In]
    }
}

/// Octets of the subscribers' packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Size {
    /// As it was asked for.
    pub name: String,
    /// Octets of each packet, in turn.
    pub inner_bytes: Vec<u16>,
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sizes = match text.parse() {
            _ if text == "imix" => MIX.to_vec(),
            Ok(SIZE_MIN) => vec![INNER_BYTES_MIN],
            Ok(size) if (SIZE_MIN..=SIZE_MAX).contains(&size) => vec![size],
            _ => return Err(format!("`imix`, or octets from {SIZE_MIN} to {SIZE_MAX}")),
        };
        Ok(Self { name: text.to_owned(), inner_bytes: sizes })
    }
}

impl Size {
    /// Octets of a packet on average.
    pub fn mean_bytes(&self) -> f64 {
        let sum: f64 = self.inner_bytes.iter().map(|bytes| f64::from(*bytes)).sum();
        sum / self.inner_bytes.len().max(1) as f64
    }
}

/// Packets that are spoilt on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Injection {
    /// How.
    pub kind: Kind,
    /// How many in each trial and direction.
    pub count: u32,
}

/// How a packet is spoilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A bit of the pattern is flipped.
    Corrupt,
    /// It is sent twice.
    Duplicate,
    /// It and the next one of its flow change places.
    Reorder,
    /// It is counted and not sent.
    Lose,
}

impl FromStr for Injection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once(':').and_then(|(kind, count)| {
            Some(Self { kind: Kind::from_str(kind, false).ok()?, count: count.parse().ok()? })
        });
        parsed.ok_or_else(|| {
            "corrupt, duplicate, reorder or lose, and how many, like corrupt:5".to_owned()
        })
    }
}

/// A MAC address.
pub type Mac = [u8; 6];

/// Reads a MAC address.
///
/// # Errors
/// How it is written.
pub fn mac(text: &str) -> Result<Mac, String> {
    let is_hex = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let octet = |part: &str| is_hex(part).then(|| u8::from_str_radix(part, 16).ok())?;
    let octets: Option<Vec<u8>> = text.split(':').map(octet).collect();
    octets
        .and_then(|octets| octets.try_into().ok())
        .ok_or_else(|| "a MAC address, like 02:00:00:00:00:01".to_owned())
}

fn percent(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(percent) if (0.0..100.0).contains(&percent) => Ok(percent),
        _ => Err("percent from 0 to below 100".to_owned()),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.05..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("seconds from 0.05 to 3600".to_owned()),
    }
}

impl Arguments {
    /// Sessions, as far as the tunnels have room for.
    pub fn sessions(&self) -> u32 {
        self.sessions.min(u32::from(self.tunnels).saturating_mul(SESSIONS_PER_TUNNEL_MAX))
    }

    /// Length of a trial, seconds.
    pub fn seconds(&self) -> f64 {
        self.seconds.unwrap_or(if self.quick { SECONDS_QUICK } else { SECONDS })
    }

    /// Halvings of a search.
    pub fn steps(&self) -> u32 {
        self.steps.unwrap_or(if self.quick { STEPS_QUICK } else { STEPS })
    }

    /// The core that plays the LACs.
    pub fn lac_core(&self) -> u16 {
        self.lac_core.or(self.generator_core.last().copied()).unwrap_or(0)
    }

    /// Where the LNS's addresses have to be of one family with the tester's: IPv4 alone is sent over.
    pub fn server_ipv4(&self) -> Result<Option<Ipv4Addr>, String> {
        match self.server.map(|server| server.ip()) {
            None => Ok(None),
            Some(IpAddr::V4(address)) => Ok(Some(address)),
            Some(IpAddr::V6(address)) => {
                Err(format!("{address}: traffic goes over IPv4 tunnels only; `calls` takes IPv6"))
            }
        }
    }

    /// What the kernel's generator is asked for.
    pub fn kernel(&self) -> kernel::Settings {
        kernel::Settings {
            quick: self.quick,
            sessions: self.sessions,
            runs: self.runs,
            window: self.window,
            rate: self.rate,
            generator_core: self.generator_core.first().copied().unwrap_or(0),
            worker_core: self.lns_core,
            mode: self.mode,
            realtime: self.realtime,
            busy_poll: self.busy_poll,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_octets_or_the_mix() {
        let bytes = |text: &str| Size::from_str(text).map(|size| size.inner_bytes);
        assert_eq!(bytes("64"), Ok(vec![46]));
        assert_eq!(bytes("65"), Ok(vec![65]));
        assert_eq!(bytes("1450"), Ok(vec![1450]));
        assert_eq!(bytes("imix").map(|sizes| sizes.len()), Ok(12));
        for wrong in ["63", "1451", "", "mix", "-64"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
        let mean = Size::from_str("imix").unwrap().mean_bytes();
        assert!((mean - (7.0 * 46.0 + 4.0 * 552.0 + 1400.0) / 12.0).abs() < 1e-9);
    }

    #[test]
    fn injections_and_addresses_are_read_or_refused() {
        let corrupt = Injection { kind: Kind::Corrupt, count: 5 };
        assert_eq!("corrupt:5".parse(), Ok(corrupt));
        assert!(Injection::from_str("corrupt").is_err());
        assert!(Injection::from_str("burn:5").is_err());
        assert_eq!(mac("02:00:0a:ff:00:01"), Ok([2, 0, 10, 255, 0, 1]));
        for wrong in
            ["", "02:00:0a:ff:00", "02:00:0a:ff:00:01:02", "2:0:a:f:0:1", "02:00:0a:ff:00:+1"]
        {
            assert!(mac(wrong).is_err(), "{wrong}");
        }
        assert!(percent("0.1").is_ok() && percent("100").is_err() && percent("-1").is_err());
        assert!(seconds("0.5").is_ok() && seconds("0").is_err() && seconds("NaN").is_err());
    }
}
