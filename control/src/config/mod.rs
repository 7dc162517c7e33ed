//! The configuration: one TOML file, read at start. `xlns.example.toml` documents every key.
//!
//! Loading proves, in this order: the text is TOML; every number is in its range (`schema`); every
//! key is known; every value has its type; and the values fit one another (`check`). What is wrong
//! is reported all at once, each mistake at its line ([`ConfigError`]). A [`Config`] from a file
//! has passed all of that. Secrets ([`Secret`]) are wiped after use and never printed, in errors
//! neither.

mod check;
mod client;
mod convert;
mod error;
mod key_path;
mod lac;
mod load;
mod schema;
mod secret;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use xlns_dataplane::api::{AttachMode, Handoff};

pub use check::GatewayConflict;
pub use client::{CLIENTS_MAX, ClientConfig, DialConfig, RouteConfig, ServerConfig};
pub use error::{ConfigError, Problem};
pub use lac::{AddressControl, CallMode, HiddenAvps, LacConfig, Sequencing};
pub use schema::PORT_MTU_MAX;
pub use secret::Secret;

/// Where the configuration is looked for unless the command line says otherwise.
pub const PATH_DEFAULT: &str = "/etc/xlns/xlns.toml";

/// The UDP port of L2TP (RFC 2661 section 8.1).
pub const L2TP_PORT: u16 = 1701;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// `[lns]`
    pub lns: LnsConfig,
    /// `[l2tp]`
    #[serde(default)]
    pub l2tp: L2tpConfig,
    /// `[ppp]`
    #[serde(default)]
    pub ppp: PppConfig,
    /// `[dataplane]`
    #[serde(default)]
    pub dataplane: DataplaneConfig,
    /// `[quality]`
    #[serde(default)]
    pub quality: QualityConfig,
    /// `[admin]`
    #[serde(default)]
    pub admin: AdminConfig,
    /// `[[port]]`
    #[serde(default)]
    pub port: Vec<PortConfig>,
    /// `[[lac]]`: profiles, the first that matches a peer applies. None: any peer, no secret.
    #[serde(default)]
    pub lac: Vec<LacConfig>,
    /// `[[client]]`: the LNSs that we dial ourselves.
    #[serde(default)]
    pub client: Vec<ClientConfig>,
    /// `[dial]`
    #[serde(default)]
    pub dial: DialConfig,
    /// `[[pool]]`
    #[serde(default)]
    pub pool: Vec<PoolConfig>,
    /// `[[user]]`
    #[serde(default)]
    pub user: Vec<UserConfig>,
}

/// Who we are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LnsConfig {
    /// Host Name AVP (RFC 2661 section 4.4.3), and the name in CHAP challenges.
    #[serde(default = "host_name_default")]
    pub host_name: String,
    /// Addresses that tunnels may end at; an unspecified address stands for all of its family.
    pub listen: Vec<IpAddr>,
    /// UDP port.
    #[serde(default = "l2tp_port_default")]
    pub port: u16,
    /// Our address on every PPP link.
    pub gateway: Ipv4Addr,
    /// Source of ICMPv6 errors; default: the first IPv6 address of `listen`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_ipv6: Option<Ipv6Addr>,
    /// Allows `gateway` to equal a listen address.
    #[serde(default)]
    pub allow_gateway_on_listen_address: bool,
}

/// Control connection timing and limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct L2tpConfig {
    /// Control messages that a peer may send before our acknowledgement, offered in the Receive
    /// Window Size AVP.
    pub receive_window: u16,
    /// Time before the first retransmission, milliseconds.
    pub retransmit_initial_ms: u64,
    /// The retransmission time doubles up to this, milliseconds.
    pub retransmit_max_ms: u64,
    /// Retransmissions without an answer after which the tunnel is given up.
    pub retransmit_tries: u32,
    /// Silence on a control connection before a HELLO, seconds.
    pub hello_interval_seconds: u64,
    /// Tunnels in all.
    pub tunnels_max: u32,
    /// Tunnels of one peer address.
    pub tunnels_per_peer_max: u32,
    /// Tunnels that are not established yet.
    pub tunnels_half_open_max: u32,
    /// Sessions in all; sizes the session table of the data plane as well.
    pub sessions_max: u32,
    /// Sessions of one tunnel.
    pub sessions_per_tunnel_max: u32,
    /// SCCRQs taken a second, all peers together.
    pub sccrq_per_second_max: u32,
    /// SCCRQs taken a second from one source address.
    pub sccrq_per_second_per_source_max: u32,
}

/// An authentication protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuthenticationProtocol {
    /// CHAP with MD5 (RFC 1994).
    ChapMd5,
    /// MS-CHAPv2 (RFC 2759).
    MsChapV2,
    /// PAP (RFC 1334).
    Pap,
}

/// PPP on every session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PppConfig {
    /// Asked for in this order. The default begins with what a good password makes the strongest:
    /// CHAP-MD5, as the secret behind MS-CHAPv2 can be searched for whatever the password is. Who
    /// only has the one or the other says so in a Configure-Nak, at the cost of one round trip.
    pub authentication: Vec<AuthenticationProtocol>,
    /// The MRU that we ask for, and the most that we send to a subscriber, octets.
    pub mru: u16,
    /// A smaller MRU of a subscriber is Nak'ed up to this, octets.
    pub mru_min: u16,
    /// DNS servers told to subscribers: primary, secondary.
    pub dns: Vec<Ipv4Addr>,
    /// NetBIOS name servers (WINS) told to subscribers that ask: primary, secondary.
    pub nbns: Vec<Ipv4Addr>,
    /// Whether subscribers with an IPv6 prefix may use it.
    pub ipv6: bool,
    /// DNS servers told by router advertisement and DHCPv6.
    pub ipv6_dns: Vec<Ipv6Addr>,
    /// Whether DHCPv6 assigns addresses as well (the M flag, RFC 4861 section 4.2).
    pub ipv6_managed: bool,
    /// Whether hosts are told to ask DHCPv6 for the rest (the O flag).
    pub ipv6_other: bool,
    /// How long prefixes are valid unless told again, seconds; preferred for half of it.
    pub ipv6_lifetime_seconds: u32,
    /// The domain that DHCPv6 and answers to DHCPINFORM tell; empty: none.
    pub domain: String,
    /// Routes through us that answers to DHCPINFORM tell (RFC 3442); with one, or with a domain,
    /// DHCPINFORM is answered.
    pub routes: Vec<Ipv4Net>,
    /// Restart timer of every automaton (RFC 1661 section 4.6), milliseconds.
    pub restart_timer_ms: u64,
    /// Configure-Requests without an answer before the link is given up.
    pub max_configure: u32,
    /// Terminate-Requests without an answer before the link is taken for closed.
    pub max_terminate: u32,
    /// Configure-Naks in a row before an option is rejected.
    pub max_failure: u32,
    /// From LCP up until the subscriber has to be authenticated, seconds.
    pub authentication_timeout_seconds: u64,
    /// From one CHAP challenge to the next while the session lasts, seconds; 0: there is only one.
    pub rechallenge_seconds: u64,
    /// From one Echo-Request of ours to the next, seconds; 0: none is sent.
    pub echo_interval_seconds: u64,
    /// Echo-Requests in a row without an answer before a link is given up.
    pub echo_failures_max: u32,
}

/// Addresses for subscribers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PoolConfig {
    /// Users name it.
    pub name: String,
    /// Ranges of IPv4 addresses in CIDR form.
    #[serde(default)]
    pub prefixes: Vec<IpNet>,
    /// What each subscriber's link gets a /64 of.
    #[serde(default)]
    pub ipv6_prefixes: Vec<Ipv6Net>,
    /// What prefixes are delegated out of (RFC 3633).
    #[serde(default)]
    pub delegated_prefixes: Vec<Ipv6Net>,
    /// How long these are, bits.
    #[serde(default = "delegated_length_default")]
    pub delegated_length: u8,
}

/// A local user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserConfig {
    /// As the subscriber sends it, realm included.
    pub name: String,
    /// For PAP, CHAP and MS-CHAPv2 alike.
    pub password: Secret,
    /// A fixed address, else one of `pool`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// Name of the pool; default: the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Sessions at a time; one more ends the oldest. Default: one with anything fixed, else any
    /// number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions_max: Option<u32>,
    /// A fixed /64 for the link, else one of `pool`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_prefix: Option<Ipv6Net>,
    /// A fixed prefix to delegate, else one of `pool`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegated_prefix: Option<Ipv6Net>,
    /// More destinations behind the subscriber, of both families.
    #[serde(default)]
    pub framed_routes: Vec<IpNet>,
    /// The most that each session of the user may send, kilobits a second; default: anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_up: Option<u64>,
    /// The most that is sent to each session of the user, kilobits a second; default: anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_down: Option<u64>,
    /// What may come at once beyond these, octets; default: a tenth of a second of each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_burst_bytes: Option<u32>,
}

/// The forwarding process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DataplaneConfig {
    /// Unix socket of `xlns-dataplane`.
    pub socket: PathBuf,
    /// Worker threads; 0: one per queue of the port with the fewest, but not more than cores.
    pub workers: u16,
    /// Core of each worker, in order; empty: the first ones that the process may use.
    pub cores: Vec<u16>,
    /// Frames of 2048 octets per queue of a port.
    pub frames_per_queue: u32,
    /// Routes of both families together.
    pub routes_max: u32,
    /// The TUN device between the workers and the kernel.
    pub tun_name: String,
    /// Its MTU, octets: the largest packet that this host itself sends to a subscriber.
    pub tun_mtu: u16,
    /// New calls are refused when it has been away for this long, seconds.
    pub away_seconds_max: u64,
    /// Whether workers poll busily instead of sleeping when idle.
    pub busy_poll: bool,
    /// When workers hand sessions of a tunnel to one another.
    pub handoff: Handoff,
    /// L2TP control with Tunnel ID 0 let through to the kernel, packets a second and port.
    pub setup_packets_per_second: u32,
    /// L2TP control of existing tunnels let through, packets a second and port.
    pub tunnel_packets_per_second: u32,
    /// PPP control inside sessions let through, packets a second and port.
    pub ppp_packets_per_second: u32,
    /// Of each of these kinds, packets that may come at once.
    pub control_burst_packets: u32,
}

/// How the quality of sessions is monitored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct QualityConfig {
    /// From one Echo-Request of the workers to the next in each session, milliseconds; 0: none is
    /// sent.
    pub interval_ms: u32,
    /// A request without a reply for so long is lost, milliseconds.
    pub loss_after_ms: u32,
}

/// A NIC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PortConfig {
    /// Interface name.
    pub interface: String,
    /// Queues to use; 0: all that the interface has.
    #[serde(default)]
    pub queues: u16,
    /// Whether all transit traffic goes to the workers, not only the subscribers'.
    #[serde(default)]
    pub core: bool,
    /// The best attach mode to try.
    #[serde(default = "best_mode")]
    pub mode: AttachMode,
    /// The VLAN that packets leave in; default: untagged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
}

/// The operator's socket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AdminConfig {
    /// Unix socket that `xlns show` and `xlns clear` use.
    pub socket: PathBuf,
}

fn host_name_default() -> String {
    "xlns".into()
}

fn l2tp_port_default() -> u16 {
    L2TP_PORT
}

fn delegated_length_default() -> u8 {
    56
}

fn best_mode() -> AttachMode {
    AttachMode::NativeZeroCopy
}

impl Default for L2tpConfig {
    fn default() -> Self {
        Self {
            receive_window: 64,
            retransmit_initial_ms: 1000,
            retransmit_max_ms: 8000,
            retransmit_tries: 5,
            hello_interval_seconds: 60,
            tunnels_max: 8192,
            tunnels_per_peer_max: 8192,
            tunnels_half_open_max: 1024,
            sessions_max: 1_048_576,
            sessions_per_tunnel_max: 60_000,
            sccrq_per_second_max: 2000,
            sccrq_per_second_per_source_max: 100,
        }
    }
}

impl Default for PppConfig {
    fn default() -> Self {
        Self {
            authentication: vec![
                AuthenticationProtocol::ChapMd5,
                AuthenticationProtocol::MsChapV2,
                AuthenticationProtocol::Pap,
            ],
            mru: 1460,
            mru_min: 576,
            dns: Vec::new(),
            nbns: Vec::new(),
            ipv6: true,
            ipv6_dns: Vec::new(),
            ipv6_managed: false,
            ipv6_other: true,
            ipv6_lifetime_seconds: 5400,
            domain: String::new(),
            routes: Vec::new(),
            restart_timer_ms: 3000,
            max_configure: 10,
            max_terminate: 2,
            max_failure: 5,
            authentication_timeout_seconds: 30,
            rechallenge_seconds: 0,
            echo_interval_seconds: 0,
            echo_failures_max: 5,
        }
    }
}

impl Default for DataplaneConfig {
    fn default() -> Self {
        Self {
            socket: "/run/xlns/dataplane.sock".into(),
            workers: 0,
            cores: Vec::new(),
            frames_per_queue: 4096,
            routes_max: 2_097_152,
            tun_name: "xlns0".into(),
            tun_mtu: 1460,
            away_seconds_max: 5,
            busy_poll: false,
            handoff: Handoff::Auto,
            setup_packets_per_second: 5_000,
            tunnel_packets_per_second: 200_000,
            ppp_packets_per_second: 400_000,
            control_burst_packets: 16_384,
        }
    }
}

impl Default for QualityConfig {
    fn default() -> Self {
        // What is known when a subscriber calls has been measured before; 100,000 sessions are 10,000
        // small packets a second.
        Self { interval_ms: 10_000, loss_after_ms: 3_000 }
    }
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { socket: crate::admin::SOCKET_DEFAULT.into() }
    }
}
