//! `[[lac]]`: how a LAC, or a group of them, is treated.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use xlns_dataplane::api::{Dscp, SequenceNumbers, SessionOptions, TrafficClass};

use super::{AuthenticationProtocol, Config, Secret};

/// What becomes of what a LAC negotiated with its subscriber before it placed the call (RFC 2661
/// section 4.4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallMode {
    /// Nothing: LCP and authentication begin anew.
    #[default]
    Renegotiate,
    /// LCP stays where it fits, the subscriber has to answer a CHAP challenge of ours.
    MandatoryChap,
    /// LCP stays where it fits, and the proof that the LAC hands over is checked.
    Proxy,
}

/// Which AVPs are sent hidden (RFC 2661 section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HiddenAvps {
    /// None.
    #[default]
    Never,
    /// Those that help an eavesdropper to prove somebody else's identity.
    Secrets,
    /// Every one that may be.
    All,
}

/// The Address and Control octets (FF 03) of the frames that we send (RFC 1661 section 6.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressControl {
    /// Left out where the subscriber offers it.
    #[default]
    Negotiated,
    /// On every frame.
    Always,
}

/// When data is sent with sequence numbers (RFC 2661 section 5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sequencing {
    /// Where the LAC requires them, by its Sequencing Required AVP.
    #[default]
    AsRequired,
    /// In every session.
    Always,
}

/// One `[[lac]]` as it is written. `None`: what the rest of the file says, see
/// [`Config::lac_profiles`].
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
    /// Our addresses that the peer came to; empty: any.
    #[serde(default)]
    pub listen: Vec<IpAddr>,
    /// Tunnel secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// Whether the peer must show that it knows the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<bool>,
    /// Which AVPs are sent hidden.
    #[serde(default)]
    pub hidden_avps: HiddenAvps,
    /// Our Host Name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_name: Option<String>,
    /// Asked of subscribers in this order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Vec<AuthenticationProtocol>>,
    /// What becomes of proxied LCP and authentication.
    #[serde(default)]
    pub call_mode: CallMode,
    /// Framing on send.
    #[serde(default)]
    pub address_control: AddressControl,
    /// The MRU that we ask for, and the most that we send to a subscriber, octets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mru: Option<u16>,
    /// A smaller MRU of a subscriber is Nak'ed up to this, octets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mru_min: Option<u16>,
    /// From one Echo-Request of ours to the next, seconds; 0: none is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub echo_interval_seconds: Option<u64>,
    /// Whether the quality of its sessions is monitored, as `[quality]` says.
    #[serde(default = "yes")]
    pub quality: bool,
    /// UDP ports that tunnels are spread over, from `lns.port` on.
    #[serde(default = "source_ports_default")]
    pub source_ports: u16,
    /// Whether a peer's UDP port may change after the set-up.
    #[serde(default)]
    pub follow_port: bool,
    /// Silence before a HELLO, seconds; 0: none is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hello_interval_seconds: Option<u64>,
    /// Whether data is a sign of life, also where HELLOs go unanswered.
    #[serde(default = "yes")]
    pub data_is_life: bool,
    /// Seconds after its last session that a tunnel is closed; 0: never.
    #[serde(default)]
    pub idle_seconds: u64,
    /// Whether an established tunnel's control messages may carry Tunnel ID 0.
    #[serde(default)]
    pub tunnel_id_zero: bool,
    /// When data is sent with sequence numbers.
    #[serde(default)]
    pub sequencing: Sequencing,
    /// Whether data whose sequence number is past is dropped, in sessions that have them.
    #[serde(default = "yes")]
    pub drop_late: bool,
    /// Whether the MSS of TCP connections is lowered to what crosses the tunnel in one piece.
    #[serde(default = "yes")]
    pub mss_clamp: bool,
    /// Whether what fits the subscriber and not the link is sent in fragments of the outer packet.
    #[serde(default)]
    pub outer_fragments: bool,
    /// Whether data is sent with UDP checksums; over IPv6 always.
    #[serde(default = "yes")]
    pub udp_checksum: bool,
    /// Whether the UDP checksums of data that comes are verified.
    #[serde(default)]
    pub verify_udp_checksum: bool,
    /// DSCP of data that is sent.
    #[serde(default)]
    pub dscp: u8,
    /// Whether it is that of the subscriber's packet instead.
    #[serde(default)]
    pub copy_dscp: bool,
    /// Whether the LACs know about ECN on tunnels.
    #[serde(default)]
    pub ecn: bool,
    /// Tunnels of the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnels_max: Option<u32>,
    /// Sessions of the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions_max: Option<u32>,
    /// Sessions of one tunnel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions_per_tunnel_max: Option<u32>,
}

fn source_ports_default() -> u16 {
    1
}

fn yes() -> bool {
    true
}

impl LacConfig {
    /// The profile of every peer where the file has none: no secret, everything as the rest of the
    /// file says.
    pub fn of_everybody() -> Self {
        Self {
            name: String::new(),
            peers: Vec::new(),
            host_names: Vec::new(),
            listen: Vec::new(),
            secret: None,
            challenge: None,
            hidden_avps: HiddenAvps::default(),
            host_name: None,
            authentication: None,
            call_mode: CallMode::default(),
            address_control: AddressControl::default(),
            mru: None,
            mru_min: None,
            echo_interval_seconds: None,
            quality: true,
            source_ports: source_ports_default(),
            follow_port: false,
            hello_interval_seconds: None,
            data_is_life: true,
            idle_seconds: 0,
            tunnel_id_zero: false,
            sequencing: Sequencing::default(),
            drop_late: true,
            mss_clamp: true,
            outer_fragments: false,
            udp_checksum: true,
            verify_udp_checksum: false,
            dscp: 0,
            copy_dscp: false,
            ecn: false,
            tunnels_max: None,
            sessions_max: None,
            sessions_per_tunnel_max: None,
        }
    }

    /// Whether the profile may be that of a peer at this address, which came to this one of ours.
    pub fn covers(&self, local: IpAddr, peer: IpAddr) -> bool {
        let from = self.peers.is_empty() || self.peers.iter().any(|prefix| prefix.contains(&peer));
        from && (self.listen.is_empty() || self.listen.contains(&local))
    }

    /// Whether the profile is for peers with this Host Name.
    pub fn is_for_host(&self, host_name: &[u8]) -> bool {
        let is_it = |name: &String| name.as_bytes() == host_name;
        self.host_names.is_empty() || self.host_names.iter().any(is_it)
    }

    /// What the data plane does to packets of the profile's sessions.
    pub fn session_options(&self) -> SessionOptions {
        SessionOptions {
            sequence: match self.sequencing {
                Sequencing::AsRequired => SequenceNumbers::Never,
                Sequencing::Always => SequenceNumbers::Always,
            },
            drop_late: self.drop_late,
            mss_clamp: self.mss_clamp,
            outer_fragments: self.outer_fragments,
            udp_checksum: self.udp_checksum,
            verify_checksum: self.verify_udp_checksum,
            traffic_class: TrafficClass {
                dscp: if self.copy_dscp { Dscp::Copy } else { Dscp::Set(self.dscp) },
                ecn: self.ecn,
            },
            quality: self.quality,
            ..SessionOptions::default()
        }
    }

    /// Whether the peer must show that it knows the secret.
    pub fn challenges(&self) -> bool {
        self.challenge.unwrap_or(self.secret.is_some())
    }
}

impl Config {
    /// The profiles in their order, what they leave open filled in from the rest of the file: no
    /// field is `None` but a secret that is not there. At least one.
    pub fn lac_profiles(&self) -> Vec<LacConfig> {
        let fill = |lac: &LacConfig| LacConfig {
            challenge: Some(lac.challenges()),
            host_name: Some(lac.host_name.as_ref().unwrap_or(&self.lns.host_name).clone()),
            authentication: Some(
                lac.authentication.as_ref().unwrap_or(&self.ppp.authentication).clone(),
            ),
            mru: lac.mru.or(Some(self.ppp.mru)),
            mru_min: lac.mru_min.or(Some(self.ppp.mru_min)),
            echo_interval_seconds: lac
                .echo_interval_seconds
                .or(Some(self.ppp.echo_interval_seconds)),
            hello_interval_seconds: lac
                .hello_interval_seconds
                .or(Some(self.l2tp.hello_interval_seconds)),
            tunnels_max: lac.tunnels_max.or(Some(self.l2tp.tunnels_max)),
            sessions_max: lac.sessions_max.or(Some(self.l2tp.sessions_max)),
            sessions_per_tunnel_max: lac
                .sessions_per_tunnel_max
                .or(Some(self.l2tp.sessions_per_tunnel_max)),
            ..lac.clone()
        };
        if self.lac.is_empty() {
            vec![fill(&LacConfig::of_everybody())]
        } else {
            self.lac.iter().map(fill).collect()
        }
    }

    /// UDP ports that tunnels end at, from `lns.port` on: as many as the profile with the most has.
    pub fn l2tp_port_count(&self) -> u16 {
        self.lac.iter().map(|lac| lac.source_ports).max().unwrap_or(1).max(1)
    }
}
