//! Answers to the operator.

use xlns_dataplane::api::{Counters, RouteTarget, SessionKey};
use xlns_dataplane::counters::SessionCounters;

use super::EventLoop;
use super::shows::{ClientsPage, CountersFor, SessionsPage};
use crate::admin::{
    ConnectionId, CounterRow, Cursor, PAGE_ROWS, PlacedRow, PortRow, Query, Request, Response,
    RouteRow, SessionFilter, WorkerRow,
};
use crate::time::Time;

/// Said where an answer needs the data plane.
pub(super) const DATAPLANE_AWAY: &str =
    "the data plane is not connected: is xlns-dataplane running? (xlnsd's log says why)";

impl EventLoop {
    pub(super) fn handle_query(&mut self, now: Time, query: Query) {
        let Query { connection, request, cursor } = query;
        match request {
            Request::ShowTunnels => {
                let (rows, next) = self.lns.tunnel_rows(now, cursor.number(), PAGE_ROWS);
                let rows: Vec<_> = rows.into_iter().map(Response::Tunnel).collect();
                self.admin.reply(connection, &rows, next.map(Cursor::At));
            }
            Request::ShowLacs => {
                let rows: Vec<_> = self.lns.lac_rows().into_iter().map(Response::Lac).collect();
                self.admin.reply(connection, &rows, None);
            }
            Request::ShowSessions { filter } => {
                self.ask_sessions(now, connection, &filter, cursor.number());
            }
            Request::ShowQuality { filter, scope } => {
                self.ask_quality(connection, filter, scope, cursor.number());
            }
            Request::ShowClients => self.ask_clients(now, connection, cursor.number()),
            Request::ClearClient { name } => {
                let count = u64::from(self.lns.clear_client(now, &name));
                self.admin.reply(connection, &[Response::Cleared { count }], None);
            }
            Request::ShowRoutes => self.answer_routes(connection, cursor),
            Request::ShowPorts | Request::ShowWorkers | Request::ShowCounters => {
                if self.dataplane.request_counters() {
                    self.shows.counters.push_back((connection, request));
                } else if request == Request::ShowCounters {
                    self.reply_counters(connection, None);
                } else {
                    self.admin.refuse(connection, DATAPLANE_AWAY);
                }
            }
            Request::PlaceCall { call } => match self.lns.place_outgoing_call(now, &call) {
                Ok(key) => {
                    self.shows.calls.insert(key, connection);
                }
                Err(reason) => self.admin.refuse(connection, &reason),
            },
            Request::ClearTunnel { which } => {
                let count = self.lns.clear_tunnels(now, &which);
                self.admin.reply(connection, &[Response::Cleared { count }], None);
            }
            Request::ClearSession { which } => {
                let count = self.lns.clear_sessions(now, &which);
                self.admin.reply(connection, &[Response::Cleared { count }], None);
            }
        }
    }

    /// Makes a page of sessions; where the data plane is there, it adds the counters first.
    fn ask_sessions(
        &mut self,
        now: Time,
        connection: ConnectionId,
        filter: &SessionFilter,
        cursor: u64,
    ) {
        let (rows, next_cursor) = self.lns.session_rows(now, filter, cursor, PAGE_ROWS);
        let page = SessionsPage { connection, rows, next_cursor };
        if !page.rows.is_empty() && self.dataplane.request_session_counters(page.keys()) {
            self.shows.sessions.push_back(CountersFor::Page(page));
        } else {
            self.reply_sessions(page);
        }
    }

    /// Makes a page of clients; where the data plane is there, it adds the counters first.
    fn ask_clients(&mut self, now: Time, connection: ConnectionId, cursor: u64) {
        let (rows, next_cursor) = self.lns.client_rows(now, cursor, PAGE_ROWS);
        let page = ClientsPage { connection, rows, next_cursor };
        let keys = page.keys();
        if !keys.is_empty() && self.dataplane.request_session_counters(keys) {
            self.shows.sessions.push_back(CountersFor::Clients(page));
        } else {
            self.reply_clients(page);
        }
    }

    fn reply_clients(&mut self, page: ClientsPage) {
        let rows: Vec<_> = page.rows.into_iter().map(Response::Client).collect();
        self.admin.reply(page.connection, &rows, page.next_cursor.map(Cursor::At));
    }

    pub(super) fn answer_sessions(
        &mut self,
        now: Time,
        counters: &[(SessionKey, SessionCounters)],
    ) {
        match self.shows.sessions.pop_front() {
            Some(CountersFor::Page(mut page)) => {
                page.fill(counters);
                self.reply_sessions(page);
            }
            Some(CountersFor::Clients(mut page)) => {
                page.fill(counters);
                self.reply_clients(page);
            }
            Some(CountersFor::Life) => self.lns.handle_counters(now, counters),
            None => {}
        }
    }

    /// Tells operators how the calls went that they have asked for.
    pub(super) fn tell_outcomes(&mut self) {
        while let Some((key, outcome)) = self.lns.poll_call_outcome() {
            let Some(connection) = self.shows.calls.remove(&key) else { continue };
            match outcome {
                Ok(()) => {
                    let (tunnel_id, session_id) = (key.local_tunnel_id, key.local_session_id);
                    let row = Response::Placed(PlacedRow { tunnel_id, session_id });
                    self.admin.reply(connection, &[row], None);
                }
                Err(reason) => self.admin.refuse(connection, &reason),
            }
        }
    }

    /// Asks for the counters of silent peers' sessions; a data plane that is away or busy is asked
    /// when their tunnels' timers expire once more.
    pub(super) fn ask_for_life(&mut self) {
        let keys = self.lns.poll_life_question();
        if !keys.is_empty() && self.dataplane.request_session_counters(keys) {
            self.shows.sessions.push_back(CountersFor::Life);
        }
    }

    fn reply_sessions(&mut self, page: SessionsPage) {
        let rows: Vec<_> = page.rows.into_iter().map(Response::Session).collect();
        self.admin.reply(page.connection, &rows, page.next_cursor.map(Cursor::At));
    }

    pub(super) fn answer_counters(&mut self, counters: &Counters) {
        let Some((connection, request)) = self.shows.counters.pop_front() else { return };
        match request {
            Request::ShowPorts => {
                let rows = self.port_rows(counters);
                self.admin.reply(connection, &rows, None);
            }
            Request::ShowWorkers => {
                let rows: Vec<_> = (0..)
                    .zip(&counters.workers)
                    .map(|(worker, counted)| {
                        Response::Worker(WorkerRow::of_worker(worker, counted))
                    })
                    .collect();
                self.admin.reply(connection, &rows, None);
            }
            _ => self.reply_counters(connection, Some(counters)),
        }
    }

    fn port_rows(&self, counters: &Counters) -> Vec<Response> {
        let mut rows: Vec<_> = self
            .ports
            .iter()
            .zip(&counters.ports)
            .map(|(status, counted)| Response::Port(PortRow::of_port(status, counted)))
            .collect();
        if let Some(host) = counters.ports.get(self.ports.len()) {
            let queues = u16::try_from(counters.workers.len()).unwrap_or(u16::MAX);
            let mtu = self.config.dataplane.tun_mtu;
            rows.push(Response::Port(PortRow::of_host(mtu, queues, host)));
        }
        rows
    }

    /// Control's own counters, and the data plane's where it is there.
    fn reply_counters(&mut self, connection: ConnectionId, counters: Option<&Counters>) {
        let mut rows = self.lns.counter_rows();
        let dropped = self.sockets.dropped();
        let text = "Datagrams that the L2TP sockets would not send.";
        rows.push(CounterRow::new("control", "datagrams_not_sent", dropped, text));
        let oversized = self.sockets.oversized();
        let text = "Datagrams on the L2TP sockets that are too long for a control message.";
        rows.push(CounterRow::new("control", "datagrams_oversized", oversized, text));
        if let Some(counters) = counters {
            let interfaces: Vec<&str> =
                self.ports.iter().map(|port| port.interface.as_str()).collect();
            rows.extend(CounterRow::of_dataplane(counters, &interfaces));
        }
        let rows: Vec<_> = rows.into_iter().map(Response::Counter).collect();
        self.admin.reply(connection, &rows, None);
    }

    /// Routes in the order of their prefixes.
    fn answer_routes(&mut self, connection: ConnectionId, cursor: Cursor) {
        let behind = match cursor {
            Cursor::At(_) => None,
            Cursor::Behind(prefix) => Some(prefix),
        };
        let mut routes = self.routing.routes_behind(behind);
        let mut last = None;
        let mut rows = Vec::with_capacity(PAGE_ROWS);
        for (prefix, target) in routes.by_ref().take(PAGE_ROWS) {
            let (target, port, gateway) = match target {
                RouteTarget::Neighbor { port, gateway } => ("neighbor", Some(port), Some(gateway)),
                RouteTarget::Glean => ("glean", None, None),
                RouteTarget::Local => ("local", None, None),
                RouteTarget::Unreachable => ("unreachable", None, None),
            };
            let interface = port
                .and_then(|port| self.config.port.get(usize::from(port)))
                .map(|port| port.interface.clone())
                .unwrap_or_default();
            let target = target.to_owned();
            rows.push(Response::Route(RouteRow { prefix, target, interface, gateway }));
            last = Some(Cursor::Behind(prefix));
        }
        let next = routes.next().and(last);
        drop(routes);
        self.admin.reply(connection, &rows, next);
    }

    /// The data plane went away with questions under way.
    pub(super) fn answer_without_dataplane(&mut self, now: Time) {
        self.refuse_quality(now);
        while let Some((connection, request)) = self.shows.counters.pop_front() {
            if request == Request::ShowCounters {
                self.reply_counters(connection, None);
            } else {
                self.admin.refuse(connection, DATAPLANE_AWAY);
            }
        }
        while let Some(waiting) = self.shows.sessions.pop_front() {
            match waiting {
                CountersFor::Page(page) => self.reply_sessions(page),
                CountersFor::Clients(page) => self.reply_clients(page),
                CountersFor::Life => {}
            }
        }
    }
}
