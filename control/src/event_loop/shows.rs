//! Operators' questions that need the data plane's counters, kept until its answer is here.

use std::collections::{BTreeMap, VecDeque};

use xlns_dataplane::api::SessionKey;
use xlns_dataplane::counters::SessionCounters;

use super::quality::QualityFor;
use crate::admin::{ClientRow, ConnectionId, Request, SessionRow};

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

/// A page of clients without their counters.
#[derive(Debug)]
pub struct ClientsPage {
    /// Who asked.
    pub connection: ConnectionId,
    /// In the order of the configuration.
    pub rows: Vec<ClientRow>,
    /// Where the next page begins.
    pub next_cursor: Option<u64>,
}

impl ClientsPage {
    /// The keys of the rows that have a session.
    pub fn keys(&self) -> Vec<SessionKey> {
        let key = |row: &ClientRow| SessionKey {
            local_tunnel_id: row.tunnel_id,
            local_session_id: row.session_id,
        };
        self.rows.iter().filter(|row| row.session_id != 0).map(key).collect()
    }

    /// Puts the counters into the rows. What the data plane has counted as a subscriber's upstream
    /// came out of the session to us.
    pub fn fill(&mut self, counters: &[(SessionKey, SessionCounters)]) {
        for (key, counted) in counters {
            let is_its = |row: &&mut ClientRow| {
                (row.tunnel_id, row.session_id) == (key.local_tunnel_id, key.local_session_id)
            };
            if let Some(row) = self.rows.iter_mut().find(is_its) {
                row.received_packets = counted.upstream_packets;
                row.received_bytes = counted.upstream_bytes;
                row.sent_packets = counted.downstream_packets;
                row.sent_bytes = counted.downstream_bytes;
            }
        }
    }
}

/// Who waits for counters of sessions.
#[derive(Debug)]
pub enum CountersFor {
    /// An operator.
    Page(SessionsPage),
    /// An operator who asked for clients.
    Clients(ClientsPage),
    /// The LNS, to see whether silent peers live.
    Life,
}

/// What waits. The data plane answers in order, so the first of a kind is the one answered.
#[derive(Debug, Default)]
pub struct Shows {
    /// Questions about ports, workers and counters.
    pub counters: VecDeque<(ConnectionId, Request)>,
    /// Outgoing calls, and who waits for what becomes of them: no more than there are connections,
    /// but for calls whose operators have gone away, until they are up or have failed.
    pub calls: BTreeMap<SessionKey, ConnectionId>,
    /// Questions about sessions.
    pub sessions: VecDeque<CountersFor>,
    /// Questions about the quality of sessions.
    pub quality: VecDeque<QualityFor>,
}
