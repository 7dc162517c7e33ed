//! What must hold at the end of a run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::{IpNet, Ipv6Net};
use xlns_control::admin::{ClientRow, SessionFilter, SessionRow, TunnelRow};
use xlns_control::lns::{Census, Lns};
use xlns_control::routing::Uplinks;
use xlns_dataplane::api::SessionKey;

use super::configuration::USERS;
use super::lac::Call;
use super::script::DIALLER;
use super::station::Station;
use super::subscriber::Network;
use super::world::World;

/// More rows than a run has.
pub const ROWS_MAX: usize = 10_000;

/// Why a server turns a client away that is as the scripts have it: part of what it says.
const TURNED_AWAY: &[&str] = &[
    "refused by the peer",
    "no network protocol came up",
    "no agreement on an authentication protocol",
    "not know the secret",
    "no secret",
    "a different secret?",
    "with another secret",
    "no more",
    "no room",
    "no call for too long",
];

/// Which session: the server's address, the peer, Tunnel and Session ID of the server, those of the
/// peer.
type Which = (IpAddr, SocketAddr, (u16, u16), (u16, u16));

/// What both ends know of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct View {
    ipv4: Option<Ipv4Addr>,
    ipv6: bool,
    delegated: Option<Ipv6Net>,
    /// Errors on the line that the LAC has told.
    errors: Option<(u32, u32)>,
    /// Escaped characters that the LAC has told.
    escaped: Option<(u32, u32)>,
}

/// Both sides have the same tunnels and sessions, in the same state, and each data plane has the
/// sessions that are up. Where datagrams were corrupted unnoticed peers may be of two minds, and only
/// each xlnsd's own side is looked at. Returns the number of tunnels and of sessions.
///
/// # Errors
/// What differs.
pub fn agreement(world: &World) -> Result<(usize, usize), String> {
    let mut tunnels = 0;
    for station in &world.stations {
        tunnels += of_station(world, station)?;
    }
    let servers = sessions_of_servers(world)?;
    if !world.corrupts {
        same("tunnels", &tunnels_of_servers(world), &tunnels_of_peers(world))?;
        let mut peers = sessions_of_lacs(world);
        peers.extend(sessions_of_dialler(world));
        let known = servers.iter().map(|(which, (view, _))| (*which, *view)).collect();
        let views = peers.iter().map(|(which, (view, _))| (*which, *view)).collect();
        same("sessions", &known, &views)?;
        for (which, (_, link)) in &peers {
            let told = link.map(IpNet::V6);
            let routed = servers.get(which).map(|(_, prefixes)| prefixes);
            if told.is_some_and(|link| routed.is_none_or(|prefixes| !prefixes.contains(&link))) {
                return Err(format!("{which:?} was told {link:?}, and has {routed:?}"));
            }
        }
    }
    let up = servers.values().filter(|(_, prefixes)| !prefixes.is_empty()).count();
    Ok((tunnels, up))
}

/// Nothing is left.
///
/// # Errors
/// What is.
pub fn emptiness(world: &World) -> Result<(), String> {
    for station in &world.stations {
        let Some(lns) = &station.lns else { continue };
        let census = lns.audit()?;
        let (left, peers) = (station.data_plane.sessions.len(), &station.peers);
        if census != Census::default() || left > 0 || !peers.is_empty() {
            let local = station.local;
            return Err(format!("{local}: {census:?}, {left} in the data plane, peers {peers:?}"));
        }
        station.check_outcomes(world.now)?;
    }
    Ok(())
}

/// What one xlnsd and its host think; how many tunnels it has.
fn of_station(world: &World, station: &Station) -> Result<usize, String> {
    let local = station.local;
    let Some(lns) = &station.lns else { return Err(format!("{local} has not come back")) };
    let census = lns.audit()?;
    if !station.data_plane.is_connected() || census.ending > 0 {
        return Err(format!("{local}: sessions whose end nobody told: {census:?}"));
    }
    station.check_outcomes(world.now)?;
    let wanted = station.wanted_sessions();
    let forwarded = &station.data_plane.sessions;
    if wanted != *forwarded {
        return Err(format!("{local}: wanted {wanted:#?}, forwarded {forwarded:#?}"));
    }
    let established = tunnel_rows(world, lns).into_iter().filter(|row| row.state == "established");
    let stranger = established
        .map(|row| row.peer.ip())
        .find(|peer| world.never_refuses && !station.data_plane.peers.contains(peer));
    if let Some(peer) = stranger {
        return Err(format!("{local}: {peer} has a tunnel and counts as a stranger"));
    }
    uplinks(world, station, lns)?;
    Ok(census.tunnels)
}

/// The kernel was told what the clients have.
fn uplinks(world: &World, station: &Station, lns: &Lns) -> Result<(), String> {
    let mut expected = Uplinks::default();
    for row in client_rows(world, lns) {
        if station.is_persistent(&row.name) && !world.corrupts && !may_stay_so(&row) {
            return Err(format!("a client for ever: {row:?}"));
        }
        let (ipv4, ipv6) = (row.address.map(IpAddr::V4), row.address6.map(IpAddr::V6));
        expected.addresses.extend(ipv4.into_iter().chain(ipv6));
        for route in &row.routes {
            let source = if matches!(route, IpNet::V4(_)) { ipv4 } else { ipv6 };
            expected.routes.extend(source.map(|source| (*route, source)));
        }
        let is_up = row.address.is_some() || row.link_local.is_some();
        let server = row.server.filter(|_| is_up);
        expected.tunnels.extend(server.map(|server| (station.local.ip(), server.ip())));
    }
    if expected != station.uplinks {
        return Err(format!("clients have {expected:?}, the kernel {:?}", station.uplinks));
    }
    Ok(())
}

/// Whether a client that is dialled for ever may be as it is when nothing has been wrong with the
/// network for minutes: up, waiting for a call of the server, or turned away.
fn may_stay_so(row: &ClientRow) -> bool {
    let waits = row.state == "calling" && row.tunnel_id != 0;
    let is_turned_away =
        row.state != "idle" && TURNED_AWAY.iter().any(|reason| row.last_error.contains(reason));
    row.state == "up" || waits || is_turned_away
}

fn same<T: Ord + Debug>(
    what: &str,
    servers: &BTreeSet<T>,
    peers: &BTreeSet<T>,
) -> Result<(), String> {
    let only_servers: Vec<_> = servers.difference(peers).collect();
    let only_peers: Vec<_> = peers.difference(servers).collect();
    if only_servers.is_empty() && only_peers.is_empty() {
        return Ok(());
    }
    Err(format!("{what}: the LNSs alone have {only_servers:?}, their peers alone {only_peers:?}"))
}

fn tunnel_rows(world: &World, lns: &Lns) -> Vec<TunnelRow> {
    lns.tunnel_rows(world.now, 0, ROWS_MAX).0
}

fn session_rows(world: &World, lns: &Lns) -> Vec<SessionRow> {
    lns.session_rows(world.now, &SessionFilter::default(), 0, ROWS_MAX).0
}

fn client_rows(world: &World, lns: &Lns) -> Vec<ClientRow> {
    lns.client_rows(world.now, 0, ROWS_MAX).0
}

/// The LNSs, and the dialler.
fn servers(world: &World) -> impl Iterator<Item = (&Station, &Lns)> {
    let servers = world.stations.iter().filter(|station| station.local.ip() != DIALLER);
    servers.filter_map(|station| Some((station, station.lns.as_ref()?)))
}

fn dialler(world: &World) -> Option<(&Station, &Lns)> {
    let station = world.stations.iter().find(|station| station.local.ip() == DIALLER)?;
    Some((station, station.lns.as_ref()?))
}

type Tunnel = (IpAddr, SocketAddr, u16, u16, String);

/// Tunnels of a dialler that are set up or closed come and go, as it dials on.
fn tunnels_of_servers(world: &World) -> BTreeSet<Tunnel> {
    let mut tunnels = BTreeSet::new();
    for (station, lns) in servers(world) {
        for row in tunnel_rows(world, lns) {
            if row.peer.ip() != DIALLER || row.state == "established" {
                let server = station.local.ip();
                let ids = (row.tunnel_id, row.peer_tunnel_id);
                tunnels.insert((server, row.peer, ids.0, ids.1, row.state));
            }
        }
    }
    tunnels
}

fn tunnels_of_peers(world: &World) -> BTreeSet<Tunnel> {
    let server = world.lacs_server.ip();
    let of_lacs = world.lacs.iter().filter(|lac| lac.has_tunnel()).map(|lac| {
        let state = if lac.tunnel().is_some() { "established" } else { "not up" };
        let (id, lns_id) = lac.tunnel().unwrap_or_default();
        (server, lac.manners.address, lns_id.0, id.0, state.to_owned())
    });
    let of_dialler = dialler(world).into_iter().flat_map(|(station, lns)| {
        let rows = tunnel_rows(world, lns).into_iter();
        let up = rows.filter(|row| row.state == "established");
        up.map(|row| (row.peer.ip(), station.local, row.peer_tunnel_id, row.tunnel_id, row.state))
    });
    of_lacs.chain(of_dialler).collect()
}

/// The sessions of the LNSs, and where packets to each lead.
fn sessions_of_servers(world: &World) -> Result<BTreeMap<Which, (View, BTreeSet<IpNet>)>, String> {
    let mut sessions = BTreeMap::new();
    for (station, lns) in servers(world) {
        let rows = tunnel_rows(world, lns).into_iter();
        let tunnels: BTreeMap<u16, u16> =
            rows.map(|row| (row.tunnel_id, row.peer_tunnel_id)).collect();
        for row in session_rows(world, lns) {
            let peer_tunnel = tunnels.get(&row.tunnel_id).copied().unwrap_or_default();
            let key =
                SessionKey { local_tunnel_id: row.tunnel_id, local_session_id: row.session_id };
            let forwarded = station.data_plane.sessions.get(&key);
            let prefixes: BTreeSet<IpNet> =
                forwarded.into_iter().flat_map(|session| session.prefixes.clone()).collect();
            let which = (
                station.local.ip(),
                row.peer,
                (row.tunnel_id, row.session_id),
                (peer_tunnel, row.peer_session_id),
            );
            sessions.insert(which, (view_of_server(&row, &prefixes)?, prefixes));
        }
    }
    Ok(sessions)
}

/// What a session's prefixes say of it, and whether its user's are among them.
fn view_of_server(row: &SessionRow, prefixes: &BTreeSet<IpNet>) -> Result<View, String> {
    let mut view = View {
        ipv4: None,
        ipv6: false,
        delegated: None,
        errors: row.line.errors.map(|errors| (errors.crc, errors.timeouts)),
        escaped: row.line.send_accm.zip(row.line.receive_accm),
    };
    let mut framed = BTreeSet::new();
    for prefix in prefixes {
        match prefix {
            IpNet::V4(prefix) if prefix.prefix_len() == 32 => view.ipv4 = Some(prefix.addr()),
            IpNet::V6(prefix) if prefix.prefix_len() == 64 => view.ipv6 = true,
            IpNet::V6(prefix) if prefix.prefix_len() == 56 => view.delegated = Some(*prefix),
            other => {
                framed.insert(*other);
            }
        }
    }
    let user = USERS.iter().find(|user| user.name == row.user);
    let routes = user.into_iter().flat_map(|user| user.framed).filter_map(|text| text.parse().ok());
    let has_family = |prefix: &IpNet| match prefix {
        IpNet::V4(_) => view.ipv4.is_some(),
        IpNet::V6(_) => view.ipv6,
    };
    let expected: BTreeSet<IpNet> = routes.filter(has_family).collect();
    if framed != expected || (row.state == "open") == prefixes.is_empty() {
        return Err(format!("{row:?} has {prefixes:?}, and {expected:?} lie behind it"));
    }
    Ok(view)
}

/// The sessions of peers, and the link's prefix as each was told.
type OfPeers = BTreeMap<Which, (View, Option<Ipv6Net>)>;

fn sessions_of_lacs(world: &World) -> OfPeers {
    let mut sessions = BTreeMap::new();
    for lac in &world.lacs {
        let Some((id, lns_id)) = lac.tunnel() else { continue };
        for line in &lac.lines {
            let Some(Call { id: call, lns_id: lns_call, errors, link_info, .. }) = line.call else {
                continue;
            };
            let Network { ipv4, ipv6, link, delegated } = line.subscriber.network();
            let view = View {
                ipv4,
                ipv6,
                delegated,
                errors: errors.map(|errors| (errors.crc, errors.timeouts)),
                escaped: link_info.map(|sli| (sli.send_accm, sli.receive_accm)),
            };
            let lns_ids = (lns_id.0, lns_call.unwrap_or_default().0);
            let server = world.lacs_server.ip();
            let which = (server, lac.manners.address, lns_ids, (id.0, call.0));
            sessions.insert(which, (view, link));
        }
    }
    sessions
}

fn sessions_of_dialler(world: &World) -> OfPeers {
    let Some((station, lns)) = dialler(world) else { return BTreeMap::new() };
    let rows = tunnel_rows(world, lns).into_iter();
    let tunnels: BTreeMap<u16, u16> = rows.map(|row| (row.tunnel_id, row.peer_tunnel_id)).collect();
    let clients = client_rows(world, lns);
    let of_session = |row: SessionRow| {
        let is_its = |client: &&ClientRow| {
            (client.tunnel_id, client.session_id) == (row.tunnel_id, row.session_id)
        };
        let client = clients.iter().find(is_its);
        let view = View {
            ipv4: client.and_then(|client| client.address),
            ipv6: client.is_some_and(|client| client.link_local.is_some()),
            delegated: client.and_then(|client| client.delegated),
            errors: None,
            escaped: None,
        };
        let link = client
            .and_then(|client| client.address6)
            .map(|address| Ipv6Net::new(address, 64).map_or(Ipv6Net::default(), |net| net.trunc()));
        let server_tunnel = tunnels.get(&row.tunnel_id).copied().unwrap_or_default();
        let ids = ((server_tunnel, row.peer_session_id), (row.tunnel_id, row.session_id));
        ((row.peer.ip(), station.local, ids.0, ids.1), (view, link))
    };
    session_rows(world, lns).into_iter().map(of_session).collect()
}
