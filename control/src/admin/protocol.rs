//! Requests, rows and the lines that carry them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::quality::{QualityFilter, QualityRow, QualityScope, QualitySummaryRow};

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// Every tunnel, in the order of our Tunnel IDs.
    ShowTunnels,
    /// Every LAC profile, in the order of the configuration.
    ShowLacs,
    /// Sessions, in the order of our Tunnel and Session IDs.
    ShowSessions {
        /// Which of them.
        #[serde(default)]
        filter: SessionFilter,
    },
    /// The quality of sessions.
    ShowQuality {
        /// Which of them.
        #[serde(default)]
        filter: QualityFilter,
        /// How many, and what besides.
        scope: QualityScope,
    },
    /// Every client, in the order of the configuration.
    ShowClients,
    /// Every port, in the order of the configuration, `xlns0` last.
    ShowPorts,
    /// Every worker.
    ShowWorkers,
    /// The routes that the workers use, in the order of their prefixes.
    ShowRoutes,
    /// Every counter that is not a port's, worker's or session's.
    ShowCounters,
    /// Has a LAC call somebody; answered when the call is up or has failed.
    PlaceCall {
        /// Whom, and by which tunnel.
        call: PlaceCall,
    },
    /// Ends tunnels with all their sessions.
    ClearTunnel {
        /// Which.
        which: TunnelSelector,
    },
    /// Ends sessions.
    ClearSession {
        /// Which.
        which: SessionSelector,
    },
    /// Ends a client's session and dials it anew.
    ClearClient {
        /// Its name.
        name: String,
    },
}

/// An outgoing call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlaceCall {
    /// Our Tunnel ID of the LAC's tunnel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel_id: Option<u16>,
    /// The LAC's address, where any tunnel to it will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<IpAddr>,
    /// Whom to call.
    pub called_number: String,
    /// The only user who is let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// Which sessions to show: those to which all that is given applies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionFilter {
    /// Our Tunnel ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel_id: Option<u16>,
    /// The user's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The subscriber's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
}

impl SessionFilter {
    /// Whether a session is wanted.
    pub fn matches(&self, tunnel_id: u16, user: &str, address: Option<IpAddr>) -> bool {
        self.tunnel_id.is_none_or(|wanted| wanted == tunnel_id)
            && self.user.as_deref().is_none_or(|wanted| wanted == user)
            && (self.address.is_none() || self.address == address)
    }
}

/// Which tunnels to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TunnelSelector {
    /// The one with our Tunnel ID.
    Id(u16),
    /// Those of a peer address.
    Peer(IpAddr),
    /// Every one.
    All,
}

/// Which sessions to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionSelector {
    /// The one with our IDs.
    Id {
        /// Our Tunnel ID.
        tunnel_id: u16,
        /// Our Session ID.
        session_id: u16,
    },
    /// Those of a user.
    User(String),
    /// The one with this subscriber address.
    Address(IpAddr),
}

/// One line of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Response {
    /// To [`Request::ShowTunnels`].
    Tunnel(TunnelRow),
    /// To [`Request::ShowLacs`].
    Lac(LacRow),
    /// To [`Request::ShowSessions`].
    Session(SessionRow),
    /// To [`Request::ShowQuality`].
    Quality(Box<QualityRow>),
    /// To [`Request::ShowQuality`], behind the sessions: all of them, then each LAC profile.
    QualitySummary(QualitySummaryRow),
    /// To [`Request::ShowClients`].
    Client(ClientRow),
    /// To [`Request::ShowPorts`].
    Port(PortRow),
    /// To [`Request::ShowWorkers`].
    Worker(WorkerRow),
    /// To [`Request::ShowRoutes`].
    Route(RouteRow),
    /// To [`Request::ShowCounters`].
    Counter(CounterRow),
    /// To [`Request::PlaceCall`].
    Placed(PlacedRow),
    /// To [`Request::ClearTunnel`], [`Request::ClearSession`] and [`Request::ClearClient`].
    Cleared {
        /// How many tunnels, sessions or clients are being ended.
        count: u64,
    },
    /// The last line of an answer that failed.
    Error {
        /// Why.
        message: String,
    },
    /// The last line of an answer.
    End {
        /// The number of lines before it.
        rows: u64,
    },
}

/// A tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelRow {
    /// The Tunnel ID that we assigned.
    pub tunnel_id: u16,
    /// The Tunnel ID that the peer assigned.
    pub peer_tunnel_id: u16,
    /// The peer's address and port.
    pub peer: SocketAddr,
    /// Our address and port.
    pub local: SocketAddr,
    /// The peer's Host Name AVP.
    pub host_name: String,
    /// The peer's Vendor Name AVP; empty where it sent none.
    pub vendor_name: String,
    /// `wait-ctl-conn`, `established`, `closing` (RFC 2661 section 7.2.1).
    pub state: String,
    /// The LAC profile that applies; empty where the configuration has none.
    pub lac: String,
    /// Sessions in it.
    pub sessions: u32,
    /// Whether the peer's port is not that of L2TP: behind a translator, or by its own choice.
    pub is_port_translated: bool,
    /// How the peer has shown who it is: `challenge`; empty: it did not have to.
    pub authentication: String,
    /// Number of our next control message.
    pub ns: u16,
    /// Number of the peer's next control message.
    pub nr: u16,
    /// Control messages that the peer takes at once.
    pub peer_window: u16,
    /// Control messages that may be under way now.
    pub congestion_window: u16,
    /// Control messages sent that the peer has not acknowledged.
    pub unacknowledged: u32,
    /// Control messages sent again.
    pub retransmissions: u64,
    /// Seconds since its SCCRQ.
    pub age_seconds: u64,
}

/// A LAC profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LacRow {
    /// Its name; empty for the one of everybody, where the configuration has none.
    pub name: String,
    /// Tunnels that are not closed.
    pub tunnels: u32,
    /// How many there may be.
    pub tunnels_max: u32,
    /// Calls, from ICRQ on.
    pub sessions: u32,
    /// How many there may be.
    pub sessions_max: u32,
    /// How many there may be in one tunnel.
    pub sessions_per_tunnel_max: u32,
    /// Tunnels that reached established.
    pub tunnels_opened: u64,
    /// SCCRQs answered with StopCCN.
    pub tunnels_refused: u64,
    /// Calls that were connected.
    pub calls_connected: u64,
    /// Calls answered with CDN because of a limit, or while the data plane was away.
    pub calls_refused: u64,
}

/// A session, from ICRQ on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRow {
    /// The Tunnel ID that we assigned.
    pub tunnel_id: u16,
    /// The Session ID that we assigned.
    pub session_id: u16,
    /// The Session ID that the peer assigned.
    pub peer_session_id: u16,
    /// The peer's address and port.
    pub peer: SocketAddr,
    /// The user's name; empty before it said one.
    pub user: String,
    /// The subscriber's address; none before IPCP asked.
    pub address: Option<IpAddr>,
    /// The /64 of its link; none without IPv6.
    pub ipv6_prefix: Option<Ipv6Net>,
    /// The prefix delegated to it.
    pub delegated_prefix: Option<Ipv6Net>,
    /// Its interface identifier, while IPv6 is up: sixteen hexadecimal digits.
    pub interface_identifier: Option<String>,
    /// `wait-connect`, `link`, `authentication`, `network`, `open`, `closing`.
    pub state: String,
    /// The subscriber's MRU, octets.
    pub mru: u16,
    /// `chap-md5`, `pap`; empty before LCP is up.
    pub authentication: String,
    /// Calling Number AVP; empty where the peer sent none.
    pub calling_number: String,
    /// The LAC profile that applies; empty where we dialled.
    pub lac: String,
    /// What the LAC says of the line.
    pub line: Box<LineRow>,
    /// Whether frames are sent with the octets FF 03; false before LCP is up as well.
    pub address_control: bool,
    /// Packets forwarded from the subscriber.
    pub upstream_packets: u64,
    /// Octets of them, from the inner IP header on.
    pub upstream_bytes: u64,
    /// Packets sent to the subscriber.
    pub downstream_packets: u64,
    /// Octets of them, from the inner IP header on.
    pub downstream_bytes: u64,
    /// Seconds since its ICRQ.
    pub age_seconds: u64,
}

/// A client: an LNS, or one of several, that we dial ourselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRow {
    /// Its name in the configuration.
    pub name: String,
    /// `idle`, `backoff`, `connecting`, `calling`, `negotiating`, `up`.
    pub state: String,
    /// The server in use, or the last one; none before the first was dialled.
    pub server: Option<SocketAddr>,
    /// The Tunnel ID that we assigned; 0 where there is no tunnel.
    pub tunnel_id: u16,
    /// The Session ID that we assigned; 0 where there is no call.
    pub session_id: u16,
    /// Our IPv4 address on the link.
    pub address: Option<Ipv4Addr>,
    /// The server's; none where it keeps that to itself.
    pub peer_address: Option<Ipv4Addr>,
    /// Our link-local address, by the interface identifier of IPv6CP.
    pub link_local: Option<Ipv6Addr>,
    /// The server's.
    pub peer_link_local: Option<Ipv6Addr>,
    /// Our address under the prefix that the server advertises.
    pub address6: Option<Ipv6Addr>,
    /// The prefix that the server has delegated to us.
    pub delegated: Option<Ipv6Net>,
    /// Name servers that the server gave us.
    pub dns: Vec<IpAddr>,
    /// Destinations that lead into the session.
    pub routes: Vec<IpNet>,
    /// Seconds since it came up; none while it is not.
    pub up_seconds: Option<u64>,
    /// Seconds until it is dialled again; none unless it waits for that.
    pub redial_seconds: Option<u64>,
    /// How often it was dialled again.
    pub redials: u64,
    /// Why it was not up last; empty once it is.
    pub last_error: String,
    /// Packets that came out of the session.
    pub received_packets: u64,
    /// Octets of them, from the inner IP header on.
    pub received_bytes: u64,
    /// Packets sent into the session.
    pub sent_packets: u64,
    /// Octets of them, from the inner IP header on.
    pub sent_bytes: u64,
}

/// What a LAC says of a call's line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineRow {
    /// Called Number AVP; empty where there was none.
    pub called_number: String,
    /// Connect speeds.
    pub connect: RatesRow,
    /// `sync`, `async`, `any`; empty before the call is connected.
    pub framing: String,
    /// Whether the LAC wants sequence numbers on all data.
    pub sequencing_required: bool,
    /// The access node's port (RFC 5515); empty where it was not said.
    pub circuit_id: String,
    /// The subscriber at it; empty where it was not said.
    pub remote_id: String,
    /// What the line carries.
    pub actual: RatesRow,
    /// What it could carry.
    pub attainable: RatesRow,
    /// What went wrong on it, where the LAC has said so (WEN).
    pub errors: Option<ErrorsRow>,
    /// Characters that are escaped towards the subscriber, where that was said (SLI).
    pub send_accm: Option<u32>,
    /// Characters that are dropped from it.
    pub receive_accm: Option<u32>,
}

/// Rates in bits a second; none where they are not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RatesRow {
    /// From the subscriber.
    pub upstream: Option<u64>,
    /// To the subscriber.
    pub downstream: Option<u64>,
}

/// What a LAC has counted since a call came up (RFC 2661 section 4.4.6).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorsRow {
    /// Frames with a wrong check sequence.
    pub crc: u32,
    /// Frames that were none.
    pub framing: u32,
    /// Overruns of the receiver.
    pub hardware_overruns: u32,
    /// Overruns of buffers.
    pub buffer_overruns: u32,
    /// Timeouts.
    pub timeouts: u32,
    /// Alignment errors.
    pub alignment: u32,
}

/// An outgoing call that is up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedRow {
    /// The Tunnel ID that we assigned.
    pub tunnel_id: u16,
    /// The Session ID that we assigned.
    pub session_id: u16,
}

/// A port, `xlns0` among them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRow {
    /// Interface name.
    pub interface: String,
    /// MAC address; empty for `xlns0`.
    pub mac: String,
    /// MTU, octets.
    pub mtu: u16,
    /// Queues in use.
    pub queues: u16,
    /// `native-zero-copy`, `native-copy`, `generic`; `tun` for `xlns0`.
    pub mode: String,
    /// Each better mode, and why it was not obtained.
    pub not_better: Vec<String>,
    /// What is wrong with it at this moment, and what to do.
    pub troubles: Vec<String>,
    /// Frames received by workers.
    pub received_packets: u64,
    /// Octets of them.
    pub received_bytes: u64,
    /// Frames sent by workers.
    pub transmitted_packets: u64,
    /// Octets of them.
    pub transmitted_bytes: u64,
    /// Frames that the kernel dropped for want of a free frame or of room in the receive ring.
    pub kernel_dropped: u64,
}

/// A worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerRow {
    /// From 0.
    pub worker: u16,
    /// The core it is pinned to; none where pinning failed.
    pub core: Option<u16>,
    /// Frames received.
    pub received: u64,
    /// Frames made here: fragments beyond the first one, ICMP errors, Echo-Requests.
    pub originated: u64,
    /// Frames sent.
    pub transmitted: u64,
    /// Frames dropped; `show counters` has the reasons.
    pub dropped: u64,
    /// Fragments that became part of a datagram, beside the one whose frame it took.
    pub joined: u64,
    /// Echo-Replies to its own requests.
    pub measured: u64,
    /// Frames that wait now: fragments for others, or until their share of the sessions has moved.
    pub waiting: u64,
    /// Frames handed to other workers.
    pub handed_out: u64,
    /// Frames that other workers handed here.
    pub handed_in: u64,
    /// Batches with at least one frame.
    pub batches: u64,
    /// Share of the time that it works, thousandths, lately.
    pub load_permille: u16,
    /// Frames free in its pool.
    pub frames_free: u64,
}

/// A route of the workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteRow {
    /// Destination.
    pub prefix: IpNet,
    /// `neighbor`, `glean`, `local`, `unreachable`, `subscriber`.
    pub target: String,
    /// The port's interface; empty where none is involved.
    pub interface: String,
    /// The next hop.
    pub gateway: Option<IpAddr>,
}

/// A counter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterRow {
    /// `drop`, `steer INTERFACE`, `table`, `l2tp`, `ppp`, `control`.
    pub group: String,
    /// Its name; the label of a metric.
    pub name: String,
    /// Since the process started; of the group `table`, now.
    pub value: u64,
    /// What it counts, in a sentence; may be empty.
    pub explanation: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_look_like_this_on_the_wire() {
        let lines = [
            (Request::ShowTunnels, r#"{"request":"show-tunnels"}"#),
            (
                Request::ShowSessions {
                    filter: SessionFilter { user: Some("a".into()), ..Default::default() },
                },
                r#"{"request":"show-sessions","filter":{"user":"a"}}"#,
            ),
            (
                Request::ClearTunnel { which: TunnelSelector::Id(7) },
                r#"{"request":"clear-tunnel","which":{"id":7}}"#,
            ),
            (
                Request::ClearTunnel { which: TunnelSelector::All },
                r#"{"request":"clear-tunnel","which":"all"}"#,
            ),
            (
                Request::ClearSession {
                    which: SessionSelector::Id { tunnel_id: 7, session_id: 9 },
                },
                r#"{"request":"clear-session","which":{"id":{"tunnel_id":7,"session_id":9}}}"#,
            ),
            (
                Request::ShowQuality {
                    filter: QualityFilter { lac: Some("a".into()), ..Default::default() },
                    scope: QualityScope::Worst(20),
                },
                r#"{"request":"show-quality","filter":{"lac":"a"},"scope":{"worst":20}}"#,
            ),
        ];
        for (request, line) in lines {
            assert_eq!(serde_json::to_string(&request).unwrap(), line);
            assert_eq!(serde_json::from_str::<Request>(line).unwrap(), request);
        }
    }

    #[test]
    fn a_filter_may_be_missing_but_not_misspelt() {
        let all = serde_json::from_str::<Request>(r#"{"request":"show-sessions"}"#).unwrap();
        assert_eq!(all, Request::ShowSessions { filter: SessionFilter::default() });
        let misspelt = r#"{"request":"show-sessions","filter":{"usr":"a"}}"#;
        assert!(serde_json::from_str::<Request>(misspelt).is_err());
        assert!(serde_json::from_str::<Request>(r#"{"request":"clear-tunnel"}"#).is_err());
    }

    #[test]
    fn a_filter_wants_all_that_it_names() {
        let address: IpAddr = "10.0.0.7".parse().unwrap();
        let any = SessionFilter::default();
        assert!(any.matches(1, "", None));
        let filter =
            SessionFilter { tunnel_id: Some(1), user: Some("a".into()), address: Some(address) };
        assert!(filter.matches(1, "a", Some(address)));
        assert!(!filter.matches(2, "a", Some(address)));
        assert!(!filter.matches(1, "b", Some(address)));
        assert!(!filter.matches(1, "a", None));
    }

    #[test]
    fn rows_say_their_kind() {
        let end = serde_json::to_string(&Response::End { rows: 3 }).unwrap();
        assert_eq!(end, r#"{"kind":"end","rows":3}"#);
        let row = Response::Counter(CounterRow {
            group: "drop".into(),
            name: "no_route".into(),
            value: u64::MAX,
            explanation: String::new(),
        });
        let line = serde_json::to_string(&row).unwrap();
        assert!(line.starts_with(r#"{"kind":"counter","group":"drop""#), "{line}");
        assert_eq!(serde_json::from_str::<Response>(&line).unwrap(), row);
    }
}
