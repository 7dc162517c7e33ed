//! Operators' questions that need the data plane's counters, kept until its answer is here.

use std::collections::VecDeque;

use xlns_dataplane::api::SessionKey;
use xlns_dataplane::counters::SessionCounters;

use crate::admin::{ConnectionId, Request, SessionRow};

/// A page of sessions without their counters.
#[derive(Debug)]
pub struct SessionsPage {
    /// Who asked.
    pub connection: ConnectionId,
    /// In the order of their keys.
    pub rows: Vec<SessionRow>,
    /// Where the next page begins.
    pub next_cursor: Option<u64>,
}

impl SessionsPage {
    /// The keys of the rows.
    pub fn keys(&self) -> Vec<SessionKey> {
        let key = |row: &SessionRow| SessionKey {
            local_tunnel_id: row.tunnel_id,
            local_session_id: row.session_id,
        };
        self.rows.iter().map(key).collect()
    }

    /// Puts the counters into the rows; a session that the data plane does not have keeps zeros.
    pub fn fill(&mut self, counters: &[(SessionKey, SessionCounters)]) {
        for (key, counted) in counters {
            let wanted = (key.local_tunnel_id, key.local_session_id);
            let found =
                self.rows.binary_search_by_key(&wanted, |row| (row.tunnel_id, row.session_id));
            if let Some(row) = found.ok().and_then(|index| self.rows.get_mut(index)) {
                row.upstream_packets = counted.upstream_packets;
                row.upstream_bytes = counted.upstream_bytes;
                row.downstream_packets = counted.downstream_packets;
                row.downstream_bytes = counted.downstream_bytes;
            }
        }
    }
}

/// Who waits for counters of sessions.
#[derive(Debug)]
pub enum CountersFor {
    /// An operator.
    Page(SessionsPage),
    /// The LNS, to see whether silent peers live.
    Life,
}

/// What waits. The data plane answers in order, so the first of a kind is the one answered.
#[derive(Debug, Default)]
pub struct Shows {
    /// Questions about ports, workers and counters.
    pub counters: VecDeque<(ConnectionId, Request)>,
    /// Questions about sessions.
    pub sessions: VecDeque<CountersFor>,
}
