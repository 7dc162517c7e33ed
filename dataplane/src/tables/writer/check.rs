//! What commands may hold. Control is trusted to be no attacker, not to be free of mistakes.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use crate::api::{
    CommandError, DSCP_MAX, Dscp, POLICER_BURSTS, POLICER_RATES, Policer, SESSION_PREFIXES_MAX,
    Session, SessionOptions,
};

/// The smallest MRU: below it not even an IPv4 header with options fits (RFC 2661 leaves it to PPP,
/// whose peers propose 128 and less by mistake; control does not accept them).
const PEER_MRU_MIN: u16 = 64;

/// Refuses with a reason.
pub(super) fn ensure(condition: bool, reason: impl FnOnce() -> String) -> Result<(), CommandError> {
    if condition { Ok(()) } else { Err(CommandError::Invalid(reason())) }
}

/// Host bits must be zero.
pub(super) fn prefix(prefix: IpNet) -> Result<(), CommandError> {
    ensure(prefix.trunc() == prefix, || format!("{prefix} has host bits set"))
}

/// An address that a packet may come from or go to.
pub(super) fn unicast(address: IpAddr) -> Result<(), CommandError> {
    let broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    let other = address.is_unspecified() || address.is_multicast() || address.is_loopback();
    let bad = broadcast || other;
    ensure(!bad, || format!("{address} is no unicast address"))
}

/// A MAC address that a neighbour may have.
pub(super) fn mac(mac: [u8; 6]) -> Result<(), CommandError> {
    ensure(mac != [0; 6] && mac[0] & 1 == 0, || format!("{mac:02x?} is no station's address"))
}

/// Everything about a session that needs no table.
pub(super) fn session(session: &Session) -> Result<(), CommandError> {
    let key = session.key;
    ensure(key.local_tunnel_id != 0 && key.local_session_id != 0, || {
        "tunnel ID and session ID 0 are not assigned to anybody".into()
    })?;
    ensure(session.peer_tunnel_id != 0 && session.peer_session_id != 0, || {
        "a peer assigns no tunnel ID or session ID 0".into()
    })?;
    ensure(session.local.is_ipv4() == session.peer.is_ipv4(), || {
        format!("{} and {} are of two families", session.local, session.peer)
    })?;
    for end in [session.local, session.peer] {
        unicast(end.ip())?;
        ensure(end.port() != 0, || format!("{end} has port 0"))?;
    }
    ensure(session.peer_mru >= PEER_MRU_MIN, || {
        format!("an MRU of {} is below {PEER_MRU_MIN}", session.peer_mru)
    })?;
    ensure(session.prefixes.len() <= SESSION_PREFIXES_MAX, || {
        format!("{} prefixes, {SESSION_PREFIXES_MAX} is the most", session.prefixes.len())
    })?;
    for (index, &net) in session.prefixes.iter().enumerate() {
        prefix(net)?;
        if session.source_check {
            ensure(net.prefix_len() > 0, || "a subscriber takes no default route".into())?;
            unicast(net.addr())?;
        } else {
            ensure(!net.addr().is_multicast(), || format!("{net} is multicast"))?;
        }
        ensure(!session.prefixes[..index].contains(&net), || format!("{net} is named twice"))?;
    }
    options(&session.options)
}

fn options(options: &SessionOptions) -> Result<(), CommandError> {
    if let Dscp::Set(dscp) = options.traffic_class.dscp {
        ensure(dscp <= DSCP_MAX, || format!("a DSCP of {dscp} is above {DSCP_MAX}"))?;
    }
    for policer in [options.police_upstream, options.police_downstream].into_iter().flatten() {
        let Policer { rate_bits_per_second: rate, burst_bytes: burst } = policer;
        ensure(POLICER_RATES.contains(&rate), || format!("no policer has {rate} bits a second"))?;
        ensure(POLICER_BURSTS.contains(&burst), || format!("no policer has {burst} octets"))?;
    }
    Ok(())
}
