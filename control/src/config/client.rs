//! `[[client]]` and `[dial]`: the LNSs that we dial ourselves, as a LAC and its subscriber in one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use xlns_dataplane::api::SESSION_PREFIXES_MAX;

use super::{AddressControl, AuthenticationProtocol, Config, HiddenAvps, Secret};
use crate::routing::DialRouting;

/// Clients in all: each has a tunnel of its own, and is looked at one by one in a few places.
pub const CLIENTS_MAX: usize = 1024;

/// Servers of one client.
pub const SERVERS_MAX: usize = 16;

/// Prefixes of one client's `peer_addresses`.
pub const PEER_ADDRESSES_MAX: usize = 16;

/// Destinations of one client: the peer's own address comes on top.
pub const ROUTES_MAX: usize = SESSION_PREFIXES_MAX - 1;

/// One `[[client]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientConfig {
    /// Shown in tables and logs.
    pub name: String,
    /// LNSs, one of which is dialled at a time.
    pub servers: Vec<ServerConfig>,
    /// Our address for the tunnel; default: the first one in `lns.listen` of the server's family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<IpAddr>,
    /// Tunnel secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// Whether the server must show that it knows the secret; default: where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<bool>,
    /// Which AVPs are sent hidden.
    #[serde(default)]
    pub hidden_avps: HiddenAvps,
    /// Whether there shall be one tunnel where the server asks us for one at the same time.
    #[serde(default)]
    pub tie_breaker: bool,
    /// Our Host Name; default: `lns.host_name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_name: Option<String>,
    /// Who we are to the server's PPP.
    pub user: String,
    /// The proof of it.
    pub password: Secret,
    /// What we prove it with, the most wanted first.
    #[serde(default = "authentication_default")]
    pub authentication: Vec<AuthenticationProtocol>,
    /// The MRU that we ask for, and the most that we send, octets; default: `ppp.mru`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mru: Option<u16>,
    /// Framing on send.
    #[serde(default)]
    pub address_control: AddressControl,
    /// Whether IPv4 is spoken.
    #[serde(default = "yes")]
    pub ipv4: bool,
    /// Whether IPv6 is spoken.
    #[serde(default)]
    pub ipv6: bool,
    /// Whether name servers are asked for.
    #[serde(default = "yes")]
    pub ask_dns: bool,
    /// Destinations that lead into the session.
    #[serde(default)]
    pub routes: Vec<RouteConfig>,
    /// Where the server's own address may lie to be a destination as well.
    #[serde(default)]
    pub peer_addresses: Vec<Ipv4Net>,
    /// Of clients with the same destination, the one with the lowest metric has it.
    #[serde(default)]
    pub metric: u16,
    /// Whether the session is dialled again whenever it ends.
    #[serde(default = "yes")]
    pub persistent: bool,
    /// Whether the call is left to the server: it places an outgoing one (RFC 2661 section 5.2.2).
    #[serde(default)]
    pub accept_outgoing_calls: bool,
    /// How long a server that failed is avoided at first, seconds.
    #[serde(default = "redial_initial_default")]
    pub redial_initial_seconds: u64,
    /// The time doubles with each failure up to this, seconds.
    #[serde(default = "redial_max_default")]
    pub redial_max_seconds: u64,
    /// From the first message until the session is up, seconds.
    #[serde(default = "setup_default")]
    pub setup_seconds_max: u64,
    /// Silence before a HELLO, seconds; 0: none is sent. Default: `l2tp.hello_interval_seconds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hello_interval_seconds: Option<u64>,
    /// From one Echo-Request of ours to the next, seconds; 0: none is sent. Default:
    /// `ppp.echo_interval_seconds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub echo_interval_seconds: Option<u64>,
    /// Silence in the session before it is ended, seconds; 0: never.
    #[serde(default)]
    pub idle_seconds: u64,
}

/// An LNS.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerConfig {
    /// Its address.
    #[serde(deserialize_with = "address")]
    pub address: IpAddr,
    /// Its UDP port.
    #[serde(default = "port_default")]
    pub port: u16,
    /// How often it is chosen, compared with the others.
    #[serde(default = "weight_default")]
    pub weight: u32,
}

impl ServerConfig {
    /// Address and port.
    pub fn socket_address(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

/// A destination: a prefix, or `default` for everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RouteConfig {
    /// Everything, of each family that the client speaks.
    Default,
    /// What lies under the prefix.
    Prefix(IpNet),
}

impl TryFrom<String> for RouteConfig {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "default" {
            return Ok(Self::Default);
        }
        text.parse().map(Self::Prefix).map_err(|_| {
            format!("`{text}` is neither \"default\" nor a prefix such as \"10.0.0.0/8\"")
        })
    }
}

impl From<RouteConfig> for String {
    fn from(route: RouteConfig) -> Self {
        match route {
            RouteConfig::Default => "default".to_owned(),
            RouteConfig::Prefix(prefix) => prefix.to_string(),
        }
    }
}

/// `[dial]`: how the kernel is told of dialled sessions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DialConfig {
    /// Mark of the tunnels' own packets.
    pub mark: u32,
    /// Number of the routing table with the routes into dialled sessions.
    pub table: u32,
    /// Priority of the first policy routing rule.
    pub rule_priority: u32,
}

impl Default for DialConfig {
    fn default() -> Self {
        let DialRouting { mark, table, rule_priority } = DialRouting::default();
        Self { mark, table, rule_priority }
    }
}

impl DialConfig {
    /// For the routing.
    pub fn routing(&self) -> DialRouting {
        let Self { mark, table, rule_priority } = *self;
        DialRouting { mark, table, rule_priority }
    }
}

/// Names are not looked up: the answer could change, or come through the session that it is for.
fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IpAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        D::Error::custom(format!("`{text}` is no IP address; names are not looked up here"))
    })
}

fn authentication_default() -> Vec<AuthenticationProtocol> {
    // Not PAP: whoever answers at the server's address would be told the password.
    vec![AuthenticationProtocol::ChapMd5, AuthenticationProtocol::MsChapV2]
}

fn yes() -> bool {
    true
}

fn redial_initial_default() -> u64 {
    1
}

fn redial_max_default() -> u64 {
    60
}

fn setup_default() -> u64 {
    60
}

fn port_default() -> u16 {
    1701
}

fn weight_default() -> u32 {
    1
}

impl ClientConfig {
    /// The destinations, each once, of the families that the client speaks.
    pub fn destinations(&self) -> Vec<IpNet> {
        let mut destinations = Vec::new();
        for route in &self.routes {
            match route {
                RouteConfig::Prefix(prefix) => destinations.push(*prefix),
                RouteConfig::Default => {
                    destinations.extend(self.ipv4.then_some(IpNet::V4(Ipv4Net::default())));
                    destinations.extend(self.ipv6.then_some(IpNet::V6(Ipv6Net::default())));
                }
            }
        }
        destinations
    }

    /// How long a server is avoided after `failures` in a row, without jitter.
    pub fn redial_wait(&self, failures: u32) -> Duration {
        let most = Duration::from_secs(self.redial_max_seconds);
        let doublings = failures.saturating_sub(1).min(31);
        Duration::from_secs(self.redial_initial_seconds).saturating_mul(1 << doublings).min(most)
    }

    /// Whether the server must show that it knows the secret.
    pub fn challenges(&self) -> bool {
        self.challenge.unwrap_or(self.secret.is_some())
    }
}

impl Config {
    /// Where a client's tunnel to a server begins: its own `local`, or the first listen address of
    /// the family, which may be unspecified.
    pub fn client_local(&self, client: &ClientConfig, server: IpAddr) -> Option<SocketAddr> {
        let of_family = |address: &&IpAddr| address.is_ipv4() == server.is_ipv4();
        let address = client.local.as_ref().or_else(|| self.lns.listen.iter().find(of_family))?;
        Some(SocketAddr::new(*address, self.lns.port))
    }
}

/// The unspecified address of the same family.
pub fn any_of_family(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}
