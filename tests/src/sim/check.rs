//! What must hold at the end of a run.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use xlns_control::admin::{SessionFilter, SessionRow};
use xlns_control::lns::Census;
use xlns_dataplane::api::SessionKey;

use super::subscriber::Phase;
use super::world::World;

/// More rows than a run has.
const ROWS_MAX: usize = 10_000;

/// A session: peer, Tunnel and Session ID of the LNS, those of the LAC, and the address while
/// packets may flow.
type Session = (SocketAddr, (u16, u16), (u16, u16), Option<Ipv4Addr>);

/// Both sides have the same tunnels and sessions, in the same state, and the data plane has the
/// sessions that are up. Where datagrams were corrupted unnoticed peers may be of two minds, and only
/// the LNS's own side is looked at. Returns the number of tunnels and of sessions.
///
/// # Errors
/// What differs.
pub fn agreement(world: &World) -> Result<(usize, usize), String> {
    let census = world.lns.audit()?;
    let rows = session_rows(world);
    data_plane_equals(world, &rows)?;
    if census.ending > 0 {
        return Err(format!("sessions whose end nobody told: {census:?}"));
    }
    if !world.corrupts {
        same("tunnels", &tunnels_of_lns(world), &tunnels_of_lacs(world))?;
        same("sessions", &sessions_of_lns(world, &rows), &sessions_of_lacs(world))?;
    }
    let up = rows.iter().filter(|row| row.state == "open").count();
    Ok((census.tunnels, up))
}

/// Nothing is left.
///
/// # Errors
/// What is.
pub fn emptiness(world: &World) -> Result<(), String> {
    let census = world.lns.audit()?;
    let left = world.data_plane.sessions.len();
    if census != Census::default() || left > 0 || !world.peers.is_empty() {
        let peers = &world.peers;
        return Err(format!("left over: {census:?}, {left} in the data plane, peers {peers:?}"));
    }
    Ok(())
}

fn same<T: Ord + std::fmt::Debug>(
    what: &str,
    lns: &BTreeSet<T>,
    lacs: &BTreeSet<T>,
) -> Result<(), String> {
    let only_lns: Vec<_> = lns.difference(lacs).collect();
    let only_lacs: Vec<_> = lacs.difference(lns).collect();
    if only_lns.is_empty() && only_lacs.is_empty() {
        return Ok(());
    }
    Err(format!("{what}: the LNS alone has {only_lns:?}, the LACs alone {only_lacs:?}"))
}

fn session_rows(world: &World) -> Vec<SessionRow> {
    world.lns.session_rows(world.now, &SessionFilter::default(), 0, ROWS_MAX).0
}

fn tunnels_of_lns(world: &World) -> BTreeSet<(SocketAddr, u16, u16, String)> {
    let (rows, _) = world.lns.tunnel_rows(world.now, 0, ROWS_MAX);
    rows.into_iter().map(|row| (row.peer, row.tunnel_id, row.peer_tunnel_id, row.state)).collect()
}

fn tunnels_of_lacs(world: &World) -> BTreeSet<(SocketAddr, u16, u16, String)> {
    let tunnels = world.lacs.iter().filter(|lac| lac.has_tunnel()).map(|lac| {
        let state = if lac.tunnel().is_some() { "established" } else { "not up" };
        let (id, lns_id) = lac.tunnel().unwrap_or_default();
        (lac.manners.address, lns_id.0, id.0, state.to_owned())
    });
    tunnels.collect()
}

fn sessions_of_lns(world: &World, rows: &[SessionRow]) -> BTreeSet<Session> {
    let tunnels: BTreeMap<u16, u16> =
        tunnels_of_lns(world).into_iter().map(|(_, id, peer_id, _)| (id, peer_id)).collect();
    let session = |row: &SessionRow| {
        let peer_tunnel = tunnels.get(&row.tunnel_id).copied().unwrap_or_default();
        let address = match row.address {
            Some(IpAddr::V4(address)) if row.state == "open" => Some(address),
            _ => None,
        };
        let own = (row.tunnel_id, row.session_id);
        (row.peer, own, (peer_tunnel, row.peer_session_id), address)
    };
    rows.iter().map(session).collect()
}

fn sessions_of_lacs(world: &World) -> BTreeSet<Session> {
    let mut sessions = BTreeSet::new();
    for lac in &world.lacs {
        let Some((id, lns_id)) = lac.tunnel() else { continue };
        for line in &lac.lines {
            let Some(call) = line.call else { continue };
            let address = match line.subscriber.phase() {
                Phase::Up(address) => Some(address),
                _ => None,
            };
            let lns_call = call.lns_id.unwrap_or_default().0;
            sessions.insert((
                lac.manners.address,
                (lns_id.0, lns_call),
                (id.0, call.id.0),
                address,
            ));
        }
    }
    sessions
}

/// The data plane has the sessions that are up, as they are, and the prefixes of no other.
fn data_plane_equals(world: &World, rows: &[SessionRow]) -> Result<(), String> {
    let tunnels: BTreeMap<u16, u16> =
        tunnels_of_lns(world).into_iter().map(|(_, id, peer_id, _)| (id, peer_id)).collect();
    let mut expected = BTreeSet::new();
    for row in rows.iter().filter(|row| row.state == "open" || row.mru > 0) {
        let prefix = row.address.filter(|_| row.state == "open").map(ipnet::IpNet::from);
        let key = SessionKey { local_tunnel_id: row.tunnel_id, local_session_id: row.session_id };
        let peer_tunnel = tunnels.get(&row.tunnel_id).copied().unwrap_or_default();
        let prefixes: Vec<_> = prefix.into_iter().collect();
        expected.insert((key, row.peer, peer_tunnel, row.peer_session_id, row.mru, prefixes));
    }
    let sessions = world.data_plane.sessions.values();
    let forwarded = sessions.map(|session| {
        let peer_ids = (session.peer_tunnel_id, session.peer_session_id);
        let prefixes = session.prefixes.clone();
        (session.key, session.peer, peer_ids.0, peer_ids.1, session.peer_mru, prefixes)
    });
    same("data plane", &expected, &forwarded.collect())
}
