//! The contract between `xlnsd` and `xlns-dataplane`.
//!
//! A Unix SEQPACKET socket: one message is one packet, at most [`MESSAGE_BYTES_MAX`] octets, encoded
//! by postcard. The control process connects, says [`Request::Hello`], describes the machine with
//! [`Request::Configure`], and then sends [`Request::Batch`]es. The data plane answers each request
//! with exactly one [`Reply`] that carries the request's number, in order; a batch is acknowledged
//! once the tables that the workers read show all of it.
//!
//! Resynchronisation: [`Command::ResyncBegin`], every entry again, [`Command::ResyncEnd`]: entries
//! that were not named in between are removed. An entry named again unchanged is left untouched, so
//! a control process that restarts takes no packet with it. A connection that ends in between removes
//! nothing: the next one begins again.
//!
//! The data plane checks every command and refuses a bad one on its own
//! ([`Reply::Ack`]`.refused`); the rest of the batch is carried out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::counters::{DropCounts, PortCounters, SessionCounters, WorkerCounters};
use crate::quality::{SessionQuality, Settings};

/// The version of this contract; both sides must speak the same.
pub const API_VERSION: u32 = 4;

/// The largest encoded message, in octets; below the default socket buffer of Linux.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// The most commands in one batch, so that a batch of the largest commands fits a message.
pub const BATCH_COMMANDS_MAX: usize = 256;

/// The most prefixes of one session: its addresses and framed routes.
pub const SESSION_PREFIXES_MAX: usize = 8;

/// The most ports; a [`PortIndex`] is below it.
pub const PORTS_MAX: usize = 16;

/// The most workers.
pub const WORKERS_MAX: usize = 64;

/// The most subscriber prefixes of one family (distinct prefix lengths are bounded by the steering
/// program as well).
pub const SUBSCRIBER_PREFIXES_MAX: usize = 1024;

/// The most host addresses, tunnel endpoints among them.
pub const HOST_ADDRESSES_MAX: usize = 4096;

/// The most peers ([`Command::PeerSet`]).
pub const PEERS_MAX: usize = 65_536;

/// A port's place in [`Configuration::ports`].
pub type PortIndex = u16;

/// A session's key: the IDs that this LNS assigned, which packets to us carry (RFC 2661 section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionKey {
    /// The Tunnel ID that we assigned; never 0.
    pub local_tunnel_id: u16,
    /// The Session ID that we assigned; never 0.
    pub local_session_id: u16,
}

/// What control asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by control, echoed in the reply.
    pub number: u64,
    /// What is asked.
    pub body: RequestBody,
}

/// The kinds of request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum RequestBody {
    /// First message of a connection.
    Hello {
        /// [`API_VERSION`] of the control process.
        version: u32,
    },
    /// Describes ports and workers. The same configuration again changes nothing; a different one
    /// is refused with [`ApiError::Reconfigure`]: the data plane has to be restarted for it.
    Configure(Box<Configuration>),
    /// Changes to the tables, in order.
    Batch(Vec<Command>),
    /// Workers, ports and drops, in one reply.
    Counters,
    /// Counters of sessions in the order of their slots, from `cursor` on (0 first).
    SessionCounters {
        /// Where the reply before said to go on.
        cursor: u32,
    },
    /// Counters of these sessions (at most [`BATCH_COMMANDS_MAX`]); unknown ones are left out.
    SessionCountersOf(Vec<SessionKey>),
    /// The quality of monitored sessions in the order of their slots, from `cursor` on (0 first).
    SessionQuality {
        /// Where the reply before said to go on.
        cursor: u32,
        /// How many sessions at most; the data plane may give fewer.
        limit: u16,
        /// Only those that leave so many requests in a row unanswered; 0: all.
        unanswered_min: u8,
    },
}

/// What the data plane answers, or says by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// To [`RequestBody::Hello`].
    Hello {
        /// The request's number.
        number: u64,
        /// [`API_VERSION`] of the data plane.
        version: u32,
        /// The data plane's process ID.
        process_id: u32,
        /// Whether a configuration is in force (control restarted, the data plane did not).
        configured: bool,
    },
    /// To [`RequestBody::Configure`].
    Configured {
        /// The request's number.
        number: u64,
        /// Each port as it came up, in the order of the configuration.
        ports: Vec<PortStatus>,
        /// Number of workers started.
        workers: u16,
    },
    /// To [`RequestBody::Batch`]: the tables show every command that is not in `refused`.
    Ack {
        /// The request's number.
        number: u64,
        /// Index in the batch and reason of each command that was refused.
        refused: Vec<(u16, CommandError)>,
    },
    /// To [`RequestBody::Counters`].
    Counters {
        /// The request's number.
        number: u64,
        /// All of them.
        counters: Box<Counters>,
    },
    /// To [`RequestBody::SessionCounters`] and [`RequestBody::SessionCountersOf`].
    SessionCounters {
        /// The request's number.
        number: u64,
        /// As many as fit the message.
        sessions: Vec<(SessionKey, SessionCounters)>,
        /// The cursor of the next request; `None` at the end.
        next_cursor: Option<u32>,
    },
    /// To [`RequestBody::SessionQuality`].
    SessionQuality {
        /// The request's number.
        number: u64,
        /// Some; there may be none although there are more.
        sessions: Vec<(SessionKey, SessionQuality)>,
        /// The cursor of the next request; `None` at the end.
        next_cursor: Option<u32>,
    },
    /// The request could not be carried out at all.
    Refused {
        /// The request's number.
        number: u64,
        /// Why.
        error: ApiError,
    },
    /// Unasked: a removed session's final counters, after the last worker let go of it. Where no
    /// control process is there, the next one is told after its Hello; what was sent and not read
    /// before a connection ended is not sent again.
    SessionEnded {
        /// Which session.
        key: SessionKey,
        /// Final: no packet will be counted any more.
        counters: SessionCounters,
    },
}

/// Why a request was refused as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub enum ApiError {
    /// The versions differ.
    #[error(
        "control speaks version {theirs} of the data-plane contract, the data plane {ours}: install both from one release"
    )]
    Version {
        /// Control's version.
        theirs: u32,
        /// The data plane's version.
        ours: u32,
    },
    /// Hello or Configure must come first.
    #[error("the data plane is not configured yet")]
    NotConfigured,
    /// A running data plane is not reconfigured.
    #[error(
        "ports or workers differ from the running data plane's: restart xlns-dataplane to apply"
    )]
    Reconfigure,
    /// Ports or workers could not be set up; says which and what to do.
    #[error("{0}")]
    SetUp(String),
    /// A control process that lives is connected already. Carries the number 0: it is said at once.
    #[error("another control process is connected to the data plane")]
    Busy,
    /// The message is too long, or is no message.
    #[error("malformed request: {0}")]
    Malformed(String),
}

/// Ports and workers of the data plane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Configuration {
    /// At most [`PORTS_MAX`].
    pub ports: Vec<PortConfiguration>,
    /// Number of worker threads; 0: as many as the port with the fewest queues has, but not more
    /// than cores. A worker needs a queue of its own on every port.
    pub workers: u16,
    /// The core of each worker, in order; empty: the first cores that the process may use.
    pub cores: Vec<u16>,
    /// Frames of the UMEM per queue of a port.
    pub frames_per_queue: u32,
    /// Capacity of the session table.
    pub sessions_max: u32,
    /// Capacity of the route tables, both families together.
    pub routes_max: u32,
    /// Name of the TUN device towards the host (`xlns0`).
    pub tun_name: String,
    /// MTU of the TUN device, octets.
    pub tun_mtu: u16,
    /// Whether workers poll busily instead of sleeping when idle.
    pub busy_poll: bool,
    /// Whether workers hand sessions of their queues to one another.
    pub handoff: Handoff,
    /// UDP port of L2TP (1701).
    pub l2tp_port: u16,
    /// UDP ports that tunnels end at, from `l2tp_port` on; at least one.
    pub l2tp_port_count: u16,
    /// Rates at which L2TP and PPP control reaches the kernel, packets a second, per port.
    pub control_rates: ControlRates,
    /// Source of ICMP errors about packets that no session is concerned with.
    pub gateway: Option<Ipv4Addr>,
    /// Source of ICMPv6 errors; `None`: there are none.
    pub gateway_ipv6: Option<Ipv6Addr>,
    /// How the quality of sessions is monitored that are to be; `None`: of none.
    pub quality: Option<Settings>,
}

/// The token buckets of the steering program, per port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlRates {
    /// L2TP control with Tunnel ID 0: new tunnels.
    pub setup_packets_per_second: u32,
    /// L2TP control of tunnels that have an ID; as many fragments of strangers again.
    pub tunnel_packets_per_second: u32,
    /// PPP control inside sessions, router solicitations and DHCPv6 among it.
    pub ppp_packets_per_second: u32,
    /// How many packets may come at once, of each kind.
    pub burst_packets: u32,
}

/// One NIC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortConfiguration {
    /// Interface name in the network namespace of the data plane.
    pub interface: String,
    /// Queues to use; 0: all that the interface has.
    pub queues: u16,
    /// Whether all transit traffic of this port goes to the workers, not only the subscribers'.
    pub core: bool,
    /// The best attach mode to try.
    pub mode: AttachMode,
    /// The VLAN that frames are sent in, 1 to 4094; `None`: untagged. Tags that come are stepped over.
    pub vlan: Option<u16>,
}

/// When a worker hands sessions of a tunnel on its queue to other workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Handoff {
    /// Once it has no time left and another one has.
    Auto,
    /// Never: a tunnel has one worker.
    Off,
    /// From the first packet on, to all of them alike.
    Always,
}

/// How the XDP program is attached and the sockets are bound, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttachMode {
    /// In the driver, frames shared with the NIC.
    NativeZeroCopy,
    /// In the driver, frames copied once.
    NativeCopy,
    /// Above the driver: any NIC.
    Generic,
}

impl AttachMode {
    /// The word that commands and the configuration use.
    pub fn name(self) -> &'static str {
        match self {
            Self::NativeZeroCopy => "native-zero-copy",
            Self::NativeCopy => "native-copy",
            Self::Generic => "generic",
        }
    }
}

/// A port as it came up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PortStatus {
    /// Interface name.
    pub interface: String,
    /// Interface index.
    pub interface_index: u32,
    /// MAC address.
    pub mac: [u8; 6],
    /// MTU, octets.
    pub mtu: u16,
    /// Queues in use.
    pub queues: u16,
    /// The mode obtained.
    pub mode: AttachMode,
    /// Each better mode and why it was not obtained.
    pub not_better: Vec<(AttachMode, String)>,
}

/// One change of the tables.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Starts a resynchronisation.
    ResyncBegin,
    /// Ends it: sessions, routes, neighbours, host addresses, subscriber prefixes and peers that
    /// were not named since [`Command::ResyncBegin`] are removed.
    ResyncEnd,
    /// Adds the session, or replaces it as a whole.
    SessionSet(Box<Session>),
    /// Removes the session and its prefixes; [`Reply::SessionEnded`] follows.
    SessionRemove(SessionKey),
    /// Adds or replaces a route.
    RouteSet {
        /// Destination; host bits are zero.
        prefix: IpNet,
        /// Where it leads.
        target: RouteTarget,
    },
    /// Removes a route.
    RouteRemove {
        /// Destination.
        prefix: IpNet,
    },
    /// The link-layer address of a next hop.
    NeighborSet {
        /// The port it is on.
        port: PortIndex,
        /// Its IP address.
        address: IpAddr,
        /// Its MAC address.
        mac: [u8; 6],
    },
    /// The next hop's link-layer address is not known any more.
    NeighborRemove {
        /// The port it was on.
        port: PortIndex,
        /// Its IP address.
        address: IpAddr,
    },
    /// An address of this host: the kernel gets its packets.
    HostAddressSet {
        /// The address.
        address: IpAddr,
        /// Whether L2TP tunnels end here.
        tunnel_endpoint: bool,
    },
    /// The host lost the address.
    HostAddressRemove {
        /// The address.
        address: IpAddr,
    },
    /// Destinations under this prefix are subscribers: steered to the workers on every port, and
    /// unreachable where no session has the address.
    SubscriberPrefixSet {
        /// The prefix; host bits are zero.
        prefix: IpNet,
    },
    /// Takes it back.
    SubscriberPrefixRemove {
        /// The prefix.
        prefix: IpNet,
    },
    /// A tunnel has been established from this address: what comes from it to the kernel is not
    /// held up by what strangers send, or who forges their addresses.
    PeerSet {
        /// The peer's address.
        address: IpAddr,
    },
    /// The peer is a stranger again.
    PeerRemove {
        /// The peer's address.
        address: IpAddr,
    },
    /// Sends a PPP frame of control's in a session: where its data has sequence numbers, that of
    /// control takes part in them (RFC 2661 section 5.4). No table shows it, and it may be lost.
    Inject {
        /// The session.
        key: SessionKey,
        /// Address, control and protocol with it, as far as they are sent; at most
        /// [`INJECT_BYTES_MAX`].
        frame: Vec<u8>,
    },
}

/// The longest [`Command::Inject`], octets: a PPP frame of the largest MRU.
pub const INJECT_BYTES_MAX: usize = 1504;

/// As how many commands more than one it counts in a batch.
pub const INJECT_WEIGHT: usize = 6;

/// A session as the workers need it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// The IDs that we assigned.
    pub key: SessionKey,
    /// The Tunnel ID that the peer assigned; we send it.
    pub peer_tunnel_id: u16,
    /// The Session ID that the peer assigned; we send it.
    pub peer_session_id: u16,
    /// Our outer address and port.
    pub local: SocketAddr,
    /// The peer's outer address and port; same family.
    pub peer: SocketAddr,
    /// Whether we leave out FF 03 when sending (RFC 1661 section 6.6).
    pub send_acfc: bool,
    /// Whether we send the protocol in one octet (RFC 1661 section 6.5).
    pub send_pfc: bool,
    /// Our LCP magic number, for echo replies; 0 where none was agreed.
    pub magic: u32,
    /// The largest IP packet the subscriber takes, octets.
    pub peer_mru: u16,
    /// Destinations that lead here and sources that may come from here; host bits are zero. At most
    /// [`SESSION_PREFIXES_MAX`]; empty while no network protocol is up (echo is answered then, too).
    pub prefixes: Vec<IpNet>,
    /// Whether sources are held to `prefixes`. False for a session that we dialled: the network is at
    /// its other end, so anybody's packets come out of it, and it may take the default route.
    pub source_check: bool,
    /// Our address on the PPP link, the source of ICMP errors towards the subscriber.
    pub gateway: Option<Ipv4Addr>,
    /// What is done to its packets besides.
    pub options: SessionOptions,
}

/// What is done to a session's packets besides encapsulation and forwarding. By default, what needs
/// no agreement and costs plain packets nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionOptions {
    /// Sequence numbers on what is sent (RFC 2661 section 5.4).
    pub sequence: SequenceNumbers,
    /// The number of the first packet that the data plane sends, where the session is new to it.
    pub first_ns: u16,
    /// Whether packets that come with a number that is past are dropped, where any are asked for.
    pub drop_late: bool,
    /// Whether the MSS of TCP connections is lowered to what crosses the tunnel in one piece.
    pub mss_clamp: bool,
    /// Whether what fits the subscriber's MRU, and not the link's MTU with all headers in front, is
    /// sent in fragments of the outer packet; else it is treated as larger than the MRU.
    pub outer_fragments: bool,
    /// Whether outer UDP checksums are sent; over IPv6 always.
    pub udp_checksum: bool,
    /// Whether outer UDP checksums that come are verified.
    pub verify_checksum: bool,
    /// DSCP and ECN of outer packets.
    pub traffic_class: TrafficClass,
    /// The most that the subscriber may send.
    pub police_upstream: Option<Policer>,
    /// The most that is sent to the subscriber.
    pub police_downstream: Option<Policer>,
    /// Whether its quality is monitored: LCP must be open then (RFC 1661 section 5.8).
    pub quality: bool,
}

impl SessionOptions {
    /// As [`SessionOptions::default`].
    pub const DEFAULT: Self = Self {
        sequence: SequenceNumbers::Never,
        first_ns: 0,
        drop_late: true,
        mss_clamp: true,
        outer_fragments: false,
        udp_checksum: true,
        verify_checksum: false,
        traffic_class: TrafficClass { dscp: Dscp::Set(0), ecn: false },
        police_upstream: None,
        police_downstream: None,
        quality: false,
    };
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Whether data is sent with sequence numbers (RFC 2661 section 5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum SequenceNumbers {
    /// No.
    #[default]
    Never,
    /// On every packet.
    Always,
    /// As the peer does: begun and ended by what comes from it. For the role of LAC.
    AsPeer,
}

/// The outer traffic class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TrafficClass {
    /// DSCP.
    pub dscp: Dscp,
    /// Whether the peer knows about ECN on tunnels, so that the inner field is copied (the normal
    /// mode of RFC 6040 section 4.1); else outer packets say that they cannot be marked.
    pub ecn: bool,
}

/// Where the outer DSCP comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dscp {
    /// This one, 0 to [`DSCP_MAX`].
    Set(u8),
    /// The inner packet.
    Copy,
}

impl Default for Dscp {
    fn default() -> Self {
        Self::Set(0)
    }
}

/// The largest DSCP: six bits.
pub const DSCP_MAX: u8 = 63;

/// A limit on what passes, IP packets inside PPP; what is over it is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policer {
    /// In the long run; [`POLICER_RATES`].
    pub rate_bits_per_second: u64,
    /// What may come at once beyond that; [`POLICER_BURSTS`].
    pub burst_bytes: u32,
}

/// Rates of a [`Policer`], bits a second: a fraction of a modem's to more than a port's.
pub const POLICER_RATES: std::ops::RangeInclusive<u64> = 1_000..=1_000_000_000_000;

/// Bursts of a [`Policer`], octets: one packet at least.
pub const POLICER_BURSTS: std::ops::RangeInclusive<u32> = 1_500..=1_000_000_000;

/// Where a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RouteTarget {
    /// To this neighbour. Its link-layer address comes by [`Command::NeighborSet`]; until then
    /// packets cross `xlns0` and the kernel resolves it.
    Neighbor {
        /// The port.
        port: PortIndex,
        /// The next hop, of either family (RFC 5549 style next hops are allowed).
        gateway: IpAddr,
    },
    /// On-link, the neighbour not known yet: across `xlns0`, the kernel resolves it.
    Glean,
    /// To this host, or by the kernel to an interface without an XDP port: across `xlns0`.
    Local,
    /// Dropped.
    Unreachable,
}

/// Why one command was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum CommandError {
    /// A table is full; names the knob.
    #[error("the {table} table is full: raise {key}")]
    Full {
        /// Which table.
        table: String,
        /// The configuration key.
        key: String,
    },
    /// The entry named does not exist.
    #[error("no such entry")]
    NoSuchEntry,
    /// A value out of range or inconsistent.
    #[error("{0}")]
    Invalid(String),
}

/// Counters of the whole data plane.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// One per worker.
    pub workers: Vec<WorkerCounters>,
    /// One per port, in the order of the configuration, `xlns0` last.
    pub ports: Vec<PortCounters>,
    /// Drops by reason, all workers together.
    pub drops: DropCounts,
    /// The steering program's counters, one per reason.
    pub steer: Vec<SteerCounter>,
    /// Entries in the session table.
    pub sessions: u32,
    /// Entries in the route tables.
    pub routes: u32,
    /// Next hops known.
    pub neighbors: u32,
}

/// What the steering program decided for one reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SteerCounter {
    /// The reason's name.
    pub name: String,
    /// The sentence for operators.
    pub explanation: String,
    /// Frames of each port, in the order of the configuration.
    pub packets: Vec<u64>,
}

/// Encodes a message.
///
/// # Errors
/// [`ApiError::Malformed`] where it would be longer than [`MESSAGE_BYTES_MAX`].
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, ApiError> {
    let octets =
        postcard::to_stdvec(message).map_err(|error| ApiError::Malformed(error.to_string()))?;
    if octets.len() > MESSAGE_BYTES_MAX {
        return Err(ApiError::Malformed(format!(
            "{} octets, {MESSAGE_BYTES_MAX} is the most",
            octets.len()
        )));
    }
    Ok(octets)
}

/// Decodes a message; all of `octets` must be used.
///
/// # Errors
/// [`ApiError::Malformed`].
pub fn decode<'a, T: Deserialize<'a>>(octets: &'a [u8]) -> Result<T, ApiError> {
    match postcard::take_from_bytes(octets) {
        Ok((message, [])) => Ok(message),
        Ok(_) => Err(ApiError::Malformed("octets after the message".into())),
        Err(error) => Err(ApiError::Malformed(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn largest_options() -> SessionOptions {
        let policer = Policer {
            rate_bits_per_second: *POLICER_RATES.end(),
            burst_bytes: *POLICER_BURSTS.end(),
        };
        SessionOptions {
            first_ns: u16::MAX,
            traffic_class: TrafficClass { dscp: Dscp::Set(DSCP_MAX), ecn: true },
            police_upstream: Some(policer),
            police_downstream: Some(policer),
            quality: true,
            ..SessionOptions::default()
        }
    }

    #[test]
    fn a_batch_of_the_largest_commands_fits_a_message() {
        let end = "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().unwrap();
        let session = Session {
            key: SessionKey { local_tunnel_id: u16::MAX, local_session_id: u16::MAX },
            peer_tunnel_id: u16::MAX,
            peer_session_id: u16::MAX,
            local: end,
            peer: end,
            send_acfc: true,
            send_pfc: true,
            magic: u32::MAX,
            peer_mru: u16::MAX,
            prefixes: vec![IpNet::new(end.ip(), 128).unwrap(); SESSION_PREFIXES_MAX],
            source_check: true,
            gateway: Some(Ipv4Addr::BROADCAST),
            options: largest_options(),
        };
        let inject = Command::Inject { key: session.key, frame: vec![0xff; INJECT_BYTES_MAX] };
        let commands = vec![Command::SessionSet(Box::new(session)); BATCH_COMMANDS_MAX];
        let fits = |commands| {
            let request = Request { number: u64::MAX, body: RequestBody::Batch(commands) };
            let octets = encode(&request).unwrap();
            assert_eq!(decode::<Request>(&octets).unwrap(), request);
        };
        fits(commands.clone());
        // As the client counts: one more may come while there is room for a small one.
        let injected = vec![inject.clone(); (BATCH_COMMANDS_MAX - 1) / (1 + INJECT_WEIGHT) + 1];
        fits(injected);
        fits([&commands[..BATCH_COMMANDS_MAX - 1], &[inject]].concat());
    }

    #[test]
    fn what_is_cut_short_or_followed_by_more_is_refused() {
        let request = Request { number: 1, body: RequestBody::Hello { version: API_VERSION } };
        let mut octets = encode(&request).unwrap();
        octets.push(0);
        assert!(matches!(decode::<Request>(&octets), Err(ApiError::Malformed(_))));
        for length in 0..octets.len() - 1 {
            assert!(decode::<Request>(&octets[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn a_message_too_long_is_not_made() {
        let refusal =
            |length| Reply::Refused { number: 0, error: ApiError::SetUp("x".repeat(length)) };
        let head = encode(&refusal(40_000)).unwrap().len() - 40_000;
        assert_eq!(encode(&refusal(MESSAGE_BYTES_MAX - head)).unwrap().len(), MESSAGE_BYTES_MAX);
        assert!(encode(&refusal(MESSAGE_BYTES_MAX - head + 1)).is_err());
    }
}
