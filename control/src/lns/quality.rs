//! The quality of sessions: who they are, which the data plane knows by their IDs alone.

use std::net::IpAddr;

use xlns_dataplane::api::SessionKey;

use super::Lns;
use crate::admin::{QualityFilter, Subject};
use crate::l2tp::{SessionId, TunnelId};

impl Lns {
    /// Who has the session, if it is wanted; the address is the one wanted, where that is the
    /// session's among others.
    pub fn quality_subject(&self, key: SessionKey, filter: &QualityFilter) -> Option<Subject<'_>> {
        let entry = self.tunnels.get(&TunnelId(key.local_tunnel_id))?;
        let index = entry.calls.get(&SessionId(key.local_session_id))?;
        let call = self.calls.get(*index)?;
        let wanted = |wanted: &IpAddr| super::show::has_address(call, *wanted);
        let subject = Subject {
            user: call.user.as_deref().unwrap_or(""),
            address: filter.address.filter(wanted).or_else(|| super::show::address(call)),
            lac: self.profile(entry.profile).map_or("", |lac| lac.config.name.as_str()),
            peer: entry.peer,
        };
        filter.matches(key, &subject).then_some(subject)
    }
}
