//! Signs of life: data that the workers see.
//!
//! Some peers never answer a HELLO (docs/peers.md row 7). What they send is counted by the data
//! plane, so its counters are asked for while a HELLO has no answer: where one has grown, the peer
//! lives.

use std::collections::BTreeMap;
use std::time::Duration;

use xlns_dataplane::api::{BATCH_COMMANDS_MAX, SessionKey};
use xlns_dataplane::counters::SessionCounters;

use super::{Lns, TimerKey};
use crate::l2tp::tunnel::State;
use crate::l2tp::{SessionId, TunnelId};
use crate::time::Time;

/// Sessions of one tunnel that are looked at. A peer with many is a LAC, and answers HELLOs.
const SESSIONS_LOOKED_AT: usize = 16;

/// Between two questions about one tunnel: less than it takes to give its peer up.
const QUESTION_INTERVAL: Duration = Duration::from_secs(5);

/// What is known of the life of a tunnel.
#[derive(Debug, Default)]
pub struct Life {
    /// Packets from subscribers when they were last counted, of sessions looked at.
    packets: BTreeMap<SessionId, u64>,
}

impl Lns {
    /// Sets a tunnel's timer after whatever has happened to it.
    pub(super) fn reschedule_tunnel(&mut self, id: TunnelId) {
        let at = self.tunnels.get(&id).and_then(|entry| entry.tunnel.poll_timeout());
        self.reschedule(TimerKey::Tunnel(id), at);
    }

    /// Has the data of a tunnel looked at whose peer does not answer.
    pub(super) fn look_after(&mut self, now: Time, id: TunnelId) {
        let Some(entry) = self.tunnels.get(&id) else { return };
        let is_open = entry.tunnel.state() == State::Established;
        let is_asked = is_open && entry.policy.data_is_life && !entry.calls.is_empty();
        let silence = now.since(entry.tunnel.last_heard());
        // A message that is not answered: a HELLO, if nothing else is the matter.
        if is_asked && silence >= QUESTION_INTERVAL && entry.tunnel.status().queued > 0 {
            self.life_due.insert(id);
        }
    }

    /// Sessions whose counters tell whether silent peers live, for [`Lns::handle_counters`]; empty:
    /// there is nothing to ask.
    pub fn poll_life_question(&mut self) -> Vec<SessionKey> {
        let mut keys = self.take_idle_questions(BATCH_COMMANDS_MAX / 2);
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
        for (key, counted) in counters {
            self.note_traffic(now, *key, counted);
        }
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
        self.drive_clients(now);
    }
}
