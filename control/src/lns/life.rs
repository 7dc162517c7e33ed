//! Signs of life: data that the workers see, and tunnels that nobody uses.
//!
//! Some peers never answer a HELLO (docs/peers.md row 7). What they send is counted by the data
//! plane, so its counters are asked for when a tunnel has been silent for as long as a HELLO takes:
//! where one has grown, the peer lives.

use std::collections::BTreeMap;

use xlns_dataplane::api::{BATCH_COMMANDS_MAX, SessionKey};
use xlns_dataplane::counters::SessionCounters;

use super::{Lns, TimerKey, TunnelEntry};
use crate::l2tp::result::TunnelResult;
use crate::l2tp::tunnel::State;
use crate::l2tp::{SessionId, TunnelId};
use crate::time::Time;

/// Sessions of one tunnel that are looked at. A peer with many is a LAC, and answers HELLOs.
const SESSIONS_LOOKED_AT: usize = 16;

/// What is known of the life of a tunnel.
#[derive(Debug, Default)]
pub struct Life {
    /// Packets from subscribers when they were last counted, of sessions looked at.
    packets: BTreeMap<SessionId, u64>,
    /// Since when the tunnel has had no session; `None` while it has.
    idle_since: Option<Time>,
}

impl TunnelEntry {
    /// When the tunnel's timer is to expire.
    pub(super) fn deadline(&self) -> Option<Time> {
        let idle = self.life.idle_since.map(|since| since + self.policy.idle_max);
        let idle = idle.filter(|_| !self.policy.idle_max.is_zero() && self.is_open());
        [self.tunnel.poll_timeout(), idle].into_iter().flatten().min()
    }

    fn is_open(&self) -> bool {
        self.tunnel.state() == State::Established
    }

    /// Notes whether the tunnel has sessions.
    fn note_idleness(&mut self, now: Time) {
        self.life.idle_since = match (self.calls.is_empty(), self.life.idle_since) {
            (true, None) => Some(now),
            (true, since) => since,
            (false, _) => None,
        };
    }

    fn is_idle_too_long(&self, now: Time) -> bool {
        let is_over = |since| now.since(since) >= self.policy.idle_max;
        !self.policy.idle_max.is_zero()
            && self.is_open()
            && self.life.idle_since.is_some_and(is_over)
    }
}

impl Lns {
    /// Sets a tunnel's timer after whatever has happened to it.
    pub(super) fn reschedule_tunnel(&mut self, now: Time, id: TunnelId) {
        let Some(entry) = self.tunnels.get_mut(&id) else { return };
        entry.note_idleness(now);
        let at = entry.deadline();
        self.reschedule(TimerKey::Tunnel(id), at);
    }

    /// What is due for a tunnel besides what its machine does: an idle one is closed, of a silent one
    /// the data is looked at.
    pub(super) fn look_after(&mut self, now: Time, id: TunnelId) {
        let Some(entry) = self.tunnels.get_mut(&id) else { return };
        if entry.is_idle_too_long(now) {
            tracing::debug!(tunnel = id.0, "no session for too long");
            let text = "no session for too long";
            entry.tunnel.close(now, TunnelResult::Cleared, None, text);
            return;
        }
        let interval = entry.policy.hello_interval;
        let silent = !interval.is_zero() && now.since(entry.tunnel.last_heard()) >= interval;
        if silent && entry.is_open() && entry.policy.data_is_life && !entry.calls.is_empty() {
            self.life_due.insert(id);
        }
    }

    /// Sessions whose counters tell whether silent peers live, for [`Lns::handle_counters`]; empty:
    /// there is nothing to ask.
    pub fn poll_life_question(&mut self) -> Vec<SessionKey> {
        let mut keys = Vec::new();
        while keys.len() + SESSIONS_LOOKED_AT <= BATCH_COMMANDS_MAX {
            let Some(id) = self.life_due.pop_first() else { break };
            let Some(entry) = self.tunnels.get(&id) else { continue };
            let sessions = entry.calls.keys().take(SESSIONS_LOOKED_AT);
            keys.extend(
                sessions.map(|session| SessionKey {
                    local_tunnel_id: id.0,
                    local_session_id: session.0,
                }),
            );
        }
        keys
    }

    /// What the data plane has counted of the sessions of a question.
    pub fn handle_counters(&mut self, now: Time, counters: &[(SessionKey, SessionCounters)]) {
        for of_tunnel in counters.chunk_by(|(a, _), (b, _)| a.local_tunnel_id == b.local_tunnel_id)
        {
            let Some((first, _)) = of_tunnel.first() else { continue };
            let id = TunnelId(first.local_tunnel_id);
            let Some(entry) = self.tunnels.get_mut(&id) else { continue };
            let packets: BTreeMap<SessionId, u64> = of_tunnel
                .iter()
                .map(|(key, counted)| (SessionId(key.local_session_id), counted.upstream_packets))
                .collect();
            // A session that was not looked at before has begun since, or at most once is taken for
            // more alive than it is.
            let before = |session| entry.life.packets.get(session).copied().unwrap_or(0);
            let lives = packets.iter().any(|(session, count)| *count > before(session));
            entry.life.packets = packets;
            if lives && entry.policy.data_is_life {
                entry.tunnel.handle_activity(now);
                self.drive_tunnel(now, id);
            }
        }
    }
}
