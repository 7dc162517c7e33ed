//! One subscriber, from the LAC's request for a call to the end: the only file that knows L2TP, PPP,
//! users, addresses and forwarding together.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;
use xlns_dataplane::api;

use crate::ipv6::Router;
use crate::l2tp::sequence::Sequence;
use crate::l2tp::{SessionId, TunnelId};
use crate::lns::{Lease, Line};
use crate::ppp::{self, Agreed, Link};
use crate::time::Time;

/// PPP frames that came before the call was connected, as frames overtake control messages
/// (docs/peers.md row 36).
const EARLY_FRAMES_MAX: usize = 4;

/// The longest PPP frame held early, octets; a first Configure-Request is far shorter.
const EARLY_FRAME_BYTES_MAX: usize = 256;

/// How far a call is.
pub enum Phase {
    /// ICRP is sent, ICCN awaited; frames that came early.
    Connecting {
        /// At most [`EARLY_FRAMES_MAX`].
        early: Vec<Box<[u8]>>,
    },
    /// PPP negotiates or runs.
    Link(Box<Link>),
}

/// What forwards for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarding {
    /// Nothing yet.
    Absent,
    /// Echo alone: LCP is up.
    Echo,
    /// Packets as well: the subscriber's addresses of the families that are up are routed here.
    Packets,
}

/// One call.
pub struct Call {
    /// Our Tunnel ID of its tunnel.
    pub tunnel: TunnelId,
    /// Our Session ID.
    pub session: SessionId,
    /// How far it is.
    pub phase: Phase,
    /// What the data plane was told.
    pub forwarding: Forwarding,
    /// The authenticated name.
    pub user: Option<Box<str>>,
    /// Name and proof were right, but no address was free.
    pub without_address: bool,
    /// IPv4 packets may flow.
    pub ipv4_up: bool,
    /// What serves the link while IPv6 packets may flow.
    pub router: Option<Box<Router>>,
    /// The addresses, from authentication until the call's last packet was counted.
    pub lease: Option<Lease>,
    /// The peer's last frame had a sequence number.
    pub peer_sequences: bool,
    /// Sequence number of the next frame, until the data plane numbers them.
    ns: u16,
    /// What the user may send and be sent, upstream first.
    pub policers: [Option<api::Policer>; 2],
    /// Calling Number AVP, where the LAC sent one.
    pub calling_number: Option<Box<str>>,
    /// What the LAC says of its line.
    pub line: Option<Box<Line>>,
    /// The only user that is let in, where we have asked for the call.
    pub user_wanted: Option<Box<str>>,
    /// We have asked for it, and whoever did so waits for the outcome.
    pub is_placed: bool,
    /// When the LAC asked for it.
    pub started: Time,
    /// Index of the client whose call it is, where we dialled: then we are the subscriber.
    pub client: Option<usize>,
}

impl Call {
    /// A call that was just accepted.
    pub fn new(
        tunnel: TunnelId,
        session: SessionId,
        calling_number: Option<Box<str>>,
        now: Time,
    ) -> Self {
        Self {
            tunnel,
            session,
            phase: Phase::Connecting { early: Vec::new() },
            forwarding: Forwarding::Absent,
            user: None,
            without_address: false,
            ipv4_up: false,
            router: None,
            lease: None,
            peer_sequences: false,
            ns: 0,
            policers: [None; 2],
            calling_number,
            line: None,
            user_wanted: None,
            is_placed: false,
            started: now,
            client: None,
        }
    }

    /// Its key in the data plane.
    pub fn key(&self) -> api::SessionKey {
        api::SessionKey { local_tunnel_id: self.tunnel.0, local_session_id: self.session.0 }
    }

    /// The PPP link, once the call is connected.
    pub fn link_mut(&mut self) -> Option<&mut Link> {
        match &mut self.phase {
            Phase::Connecting { .. } => None,
            Phase::Link(link) => Some(link),
        }
    }

    /// The PPP link, once the call is connected.
    pub fn link(&self) -> Option<&Link> {
        match &self.phase {
            Phase::Connecting { .. } => None,
            Phase::Link(link) => Some(link),
        }
    }

    /// What LCP agreed on, once it is up.
    pub fn agreed(&self) -> Option<Agreed> {
        match self.forwarding {
            Forwarding::Absent => None,
            Forwarding::Echo | Forwarding::Packets => self.link().map(Link::agreed),
        }
    }

    /// Holds a frame that came before ICCN. Returns whether there was room.
    pub fn hold_early(&mut self, frame: &[u8]) -> bool {
        match &mut self.phase {
            Phase::Connecting { early }
                if early.len() < EARLY_FRAMES_MAX && frame.len() <= EARLY_FRAME_BYTES_MAX =>
            {
                early.push(frame.into());
                true
            }
            Phase::Connecting { .. } | Phase::Link(_) => false,
        }
    }

    /// The word that `show sessions` uses.
    pub fn state_name(&self) -> &'static str {
        let Phase::Link(link) = &self.phase else { return "wait-connect" };
        match link.phase() {
            ppp::Phase::Establish => "link",
            ppp::Phase::Authenticate => "authentication",
            ppp::Phase::Network if self.forwarding == Forwarding::Packets => "open",
            ppp::Phase::Network => "network",
            ppp::Phase::Terminate | ppp::Phase::Dead => "closing",
        }
    }

    /// When the link or its router wants to be called.
    pub fn poll_timeout(&self) -> Option<Time> {
        let link = self.link().and_then(Link::poll_timeout);
        let router = self.router.as_ref().map(|router| router.poll_timeout());
        link.into_iter().chain(router).min()
    }

    /// Where packets of the families that are up may go to and come from. A prefix is delegated, and
    /// only then routed here, once the subscriber has asked for it.
    fn prefixes(&self) -> Vec<IpNet> {
        let Some(lease) = &self.lease else { return Vec::new() };
        let mut prefixes = Vec::with_capacity(3 + lease.framed_routes().len());
        if self.ipv4_up {
            prefixes.extend(lease.address().map(|address| IpNet::from(IpAddr::V4(address))));
        }
        if let Some(router) = &self.router {
            prefixes.extend(lease.link_prefix().map(IpNet::V6));
            let delegated = lease.delegated_prefix().filter(|_| router.has_delegated());
            prefixes.extend(delegated.map(IpNet::V6));
        }
        let is_up = |route: &&IpNet| match route {
            IpNet::V4(_) => self.ipv4_up,
            IpNet::V6(_) => self.router.is_some(),
        };
        prefixes.extend(lease.framed_routes().iter().filter(is_up));
        prefixes
    }

    /// What is done to its packets, from what its profile says.
    fn options(&self, profile: api::SessionOptions) -> api::SessionOptions {
        let required = self.line.as_ref().is_some_and(|line| line.is_sequencing_required());
        let [police_upstream, police_downstream] = self.policers;
        api::SessionOptions {
            // RFC 2661 section 4.4.4: where the LAC requires them, they are there.
            sequence: if required { api::SequenceNumbers::Always } else { profile.sequence },
            first_ns: self.ns,
            police_upstream,
            police_downstream,
            ..profile
        }
    }

    /// Whether what is sent for it now has sequence numbers.
    pub fn is_sequenced(&self, profile: api::SessionOptions) -> bool {
        match self.options(profile).sequence {
            api::SequenceNumbers::Never => false,
            api::SequenceNumbers::Always => true,
            api::SequenceNumbers::AsPeer => self.peer_sequences,
        }
    }

    /// The number of the next frame that control itself sends.
    pub fn take_ns(&mut self) -> Sequence {
        let ns = Sequence(self.ns);
        self.ns = self.ns.wrapping_add(1);
        ns
    }

    /// The entry that the data plane is to have; `None` while nothing is to be forwarded.
    pub fn entry(
        &self,
        ends: &TunnelEnds,
        gateway: Ipv4Addr,
        options: api::SessionOptions,
    ) -> Option<api::Session> {
        let link = self.link()?;
        let prefixes = match self.forwarding {
            Forwarding::Absent => return None,
            Forwarding::Echo => Vec::new(),
            Forwarding::Packets => self.prefixes(),
        };
        let agreed = link.agreed();
        Some(api::Session {
            key: self.key(),
            peer_tunnel_id: ends.peer_tunnel_id.0,
            peer_session_id: ends.peer_session_id.0,
            local: ends.local,
            peer: ends.peer,
            send_acfc: agreed.send_acfc,
            send_pfc: agreed.send_pfc,
            magic: agreed.magic,
            peer_mru: agreed.peer_mru,
            prefixes,
            source_check: true,
            gateway: Some(gateway),
            options: api::SessionOptions {
                // RFC 1661 section 5.8: requests are sent while LCP is open. While a network protocol
                // is up, it is.
                quality: options.quality && self.forwarding == Forwarding::Packets,
                ..self.options(options)
            },
        })
    }
}

/// What the tunnel knows of a call's two ends.
#[derive(Debug, Clone, Copy)]
pub struct TunnelEnds {
    /// Our address and port.
    pub local: SocketAddr,
    /// The peer's.
    pub peer: SocketAddr,
    /// The peer's ID of the tunnel.
    pub peer_tunnel_id: TunnelId,
    /// The peer's ID of the session.
    pub peer_session_id: SessionId,
}
