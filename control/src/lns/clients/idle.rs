//! Sessions that nobody uses: their packets are counted by the data plane, which is asked now and
//! then.

use std::time::Duration;

use xlns_dataplane::api::SessionKey;
use xlns_dataplane::counters::SessionCounters;

use super::{Client, Event, Lns};
use crate::l2tp::{SessionId, TunnelId};
use crate::time::Time;

/// Looks at the counters in the time after which an unused session ends: it lasts at most by one
/// part longer.
const LOOKS: u32 = 4;

/// What has passed through a session.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Packets both ways, when they were last counted.
    packets: u64,
    /// When they were last found to have grown.
    since: Time,
    /// The counters are to be asked for.
    pub is_due: bool,
}

impl Client {
    /// A session begins. When it is looked at first, where it may be unused for too long.
    pub fn begin_idle_watch(&mut self, now: Time) -> Option<Time> {
        self.traffic = Traffic { packets: 0, since: now, is_due: false };
        (self.config.idle_seconds > 0).then(|| now + self.look_interval())
    }

    fn look_interval(&self) -> Duration {
        Duration::from_secs(self.config.idle_seconds) / LOOKS
    }

    fn key(&self) -> Option<SessionKey> {
        let (tunnel, session) = (self.tunnel?, self.call?);
        Some(SessionKey { local_tunnel_id: tunnel.0, local_session_id: session.0 })
    }
}

impl Lns {
    pub(super) fn look_for_traffic(&mut self, now: Time, index: usize) {
        let Some(client) = self.clients.get_mut(index) else { return };
        client.traffic.is_due = true;
        client.deadline = Some(now + client.look_interval());
    }

    /// The sessions whose traffic is to be looked at, at most `limit`.
    pub(in super::super) fn take_idle_questions(&mut self, limit: usize) -> Vec<SessionKey> {
        let due = self.clients.iter_mut().filter(|client| client.traffic.is_due);
        due.take(limit)
            .filter_map(|client| {
                client.traffic.is_due = false;
                client.key()
            })
            .collect()
    }

    /// What the data plane has counted of a session; another's than a client's is none of ours.
    pub(in super::super) fn note_traffic(
        &mut self,
        now: Time,
        key: SessionKey,
        counted: &SessionCounters,
    ) {
        let (id, session) = (TunnelId(key.local_tunnel_id), SessionId(key.local_session_id));
        let Some(index) = self.client_of_call(id, session) else { return };
        let Some(client) = self.clients.get_mut(index) else { return };
        let packets = counted.upstream_packets + counted.downstream_packets;
        if packets != client.traffic.packets {
            client.traffic.packets = packets;
            client.traffic.since = now;
            return;
        }
        let idle_max = Duration::from_secs(client.config.idle_seconds);
        if !idle_max.is_zero() && now.since(client.traffic.since) >= idle_max {
            let text = format!("no packet for {} s", idle_max.as_secs());
            self.note(index, Event::GaveUp, text);
        }
    }
}
