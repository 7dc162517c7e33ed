//! The seam to the outside: sockets, the clock and the kernel's tables around the machines.
//!
//! After every event the machines are drained: forwarding commands first, datagrams second, so that
//! a subscriber who is told "up" is forwarded.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use xlns_dataplane::api::{PortStatus, SessionKey};

use crate::admin;
use crate::config::Config;
use crate::dataplane_client::{self, Client};
use crate::lns::{Lns, PeerChange};
use crate::netlink::Netlink;
use crate::routing::{Routing, RoutingConfig};
use crate::time::Time;
use crate::udp::Sockets;

const TOKEN_SIGNALS: Token = Token(0);
const TOKEN_DATAPLANE: Token = Token(1);
const TOKEN_NETLINK_EVENTS: Token = Token(2);
const TOKEN_NETLINK_REQUESTS: Token = Token(3);
const TOKEN_PARENT: Token = Token(4);
const TOKEN_UDP: usize = 16;
const TOKEN_ADMIN: usize = 1024;

/// Events of one turn.
const EVENTS_MAX: usize = 256;

/// Datagram batches of one socket in one turn, so that a flood on it cannot starve the rest.
const BATCHES_PER_TURN_MAX: usize = 16;

/// Sessions looked at for one step of a resynchronisation.
const RESYNC_PAGE: usize = 128;

/// A query of the operator that waits for counters of the data plane.
struct PendingShow {
    connection: admin::ConnectionId,
    request: admin::Request,
}

/// The whole control process.
pub struct EventLoop {
    config: Arc<Config>,
    poll: Poll,
    started: Instant,
    sockets: Sockets,
    lns: Lns,
    routing: Routing,
    netlink: Netlink,
    dataplane: Client,
    admin: admin::Server,
    ports: Vec<PortStatus>,
    workers: u16,
    /// Where the resynchronisation of sessions goes on; `None`: none is under way.
    resync_cursor: Option<usize>,
    shows: ShowQueue,
    stopping: Option<Time>,
}
