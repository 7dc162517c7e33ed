//! The configuration: one TOML file. `xlns.example.toml` documents every key.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use xlns_dataplane::api::AttachMode;

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
    /// `[[lac]]`: profiles, the first that matches a peer applies. None: any peer, no secret.
    #[serde(default)]
    pub lac: Vec<LacConfig>,
    /// `[[pool]]`
    #[serde(default)]
    pub pool: Vec<PoolConfig>,
    /// `[[user]]`
    #[serde(default)]
    pub user: Vec<UserConfig>,
    /// `[dataplane]`
    #[serde(default)]
    pub dataplane: DataplaneConfig,
    /// `[[port]]`
    #[serde(default)]
    pub port: Vec<PortConfig>,
    /// `[admin]`
    #[serde(default)]
    pub admin: AdminConfig,
}

/// Who we are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LnsConfig {
    /// Host Name AVP.
    pub host_name: String,
    /// Addresses that tunnels may end at; an unspecified address stands for all of its family.
    pub listen: Vec<IpAddr>,
    /// UDP port.
    pub port: u16,
    /// Our address on every PPP link.
    pub gateway: Ipv4Addr,
    /// Allows `gateway` to equal a listen address.
    pub allow_gateway_on_listen_address: bool,
}

/// Control connection timing and limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct L2tpConfig {
    pub receive_window: u16,
    pub retransmit_initial_ms: u64,
    pub retransmit_max_ms: u64,
    pub retransmit_tries: u32,
    pub hello_interval_seconds: u64,
    pub tunnels_max: u32,
    pub tunnels_per_peer_max: u32,
    pub tunnels_half_open_max: u32,
    pub sessions_max: u32,
    pub sessions_per_tunnel_max: u32,
    pub sccrq_per_second_max: u32,
    pub sccrq_per_second_per_source_max: u32,
}

/// How a LAC, or a group of them, is treated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LacConfig {
    /// Shown in tables and logs.
    pub name: String,
    /// Peer addresses; empty: any.
    #[serde(default)]
    pub peers: Vec<IpNet>,
    /// Host Name AVPs; empty: any.
    #[serde(default)]
    pub host_names: Vec<String>,
    /// Tunnel secret; with one, the peer is challenged and must answer.
    #[serde(default)]
    pub secret: Option<String>,
}

/// An authentication protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuthenticationProtocol {
    ChapMd5,
    Pap,
}

/// PPP on every session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PppConfig {
    /// Asked for in this order.
    pub authentication: Vec<AuthenticationProtocol>,
    pub mru: u16,
    pub mru_min: u16,
    pub dns: Vec<Ipv4Addr>,
    pub restart_timer_ms: u64,
    pub max_configure: u32,
    pub max_terminate: u32,
    pub max_failure: u32,
    pub authentication_timeout_seconds: u64,
}

/// Addresses for subscribers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PoolConfig {
    pub name: String,
    /// Ranges in CIDR form.
    pub prefixes: Vec<IpNet>,
}

/// A local user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserConfig {
    pub name: String,
    pub password: String,
    /// A fixed address, else one of `pool`.
    #[serde(default)]
    pub address: Option<Ipv4Addr>,
    /// Name of the pool; default: the first one.
    #[serde(default)]
    pub pool: Option<String>,
}

/// The forwarding process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DataplaneConfig {
    pub socket: PathBuf,
    pub workers: u16,
    pub cores: Vec<u16>,
    pub frames_per_queue: u32,
    pub routes_max: u32,
    pub tun_name: String,
    pub tun_mtu: u16,
    pub busy_poll: bool,
    pub setup_packets_per_second: u32,
    pub tunnel_packets_per_second: u32,
    pub ppp_packets_per_second: u32,
    pub control_burst_packets: u32,
}

/// A NIC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PortConfig {
    pub interface: String,
    #[serde(default)]
    pub queues: u16,
    #[serde(default)]
    pub core: bool,
    #[serde(default = "best_mode")]
    pub mode: AttachMode,
}

fn best_mode() -> AttachMode {
    AttachMode::NativeZeroCopy
}

/// The operator's socket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AdminConfig {
    pub socket: PathBuf,
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
            authentication: vec![AuthenticationProtocol::ChapMd5, AuthenticationProtocol::Pap],
            mru: 1460,
            mru_min: 576,
            dns: Vec::new(),
            restart_timer_ms: 3000,
            max_configure: 10,
            max_terminate: 2,
            max_failure: 5,
            authentication_timeout_seconds: 30,
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
            busy_poll: false,
            setup_packets_per_second: 20_000,
            tunnel_packets_per_second: 100_000,
            ppp_packets_per_second: 100_000,
            control_burst_packets: 4096,
        }
    }
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { socket: "/run/xlns/admin.sock".into() }
    }
}

#[expect(dead_code, reason = "being written")]
type Unused = (BTreeMap<(), ()>, Duration);
