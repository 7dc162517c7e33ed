//! The call in a client's tunnel: ours, or the server's.

use std::sync::Arc;

use super::super::{CALLS_MAX, Lns};
use super::{Client, Event};
use crate::call::{Call, Phase};
use crate::l2tp::message::FRAMING_ANY;
use crate::l2tp::result::CallResult;
use crate::l2tp::tunnel::{Answer, CallRequest};
use crate::l2tp::{SessionId, TunnelId};
use crate::ppp::Link;
use crate::time::Time;

/// What a client says of its line, bits a second: there is none, and some servers police by it.
const CONNECT_SPEED: u32 = 1_000_000_000;

impl Lns {
    /// Whether there is room for one call more.
    fn has_room_for_call(&self) -> bool {
        self.calls.len() < (self.config.l2tp.sessions_max as usize).min(CALLS_MAX)
    }

    /// Asks for the call, or leaves that to the server.
    pub(super) fn place_client_call(&mut self, now: Time, index: usize) {
        let Some(client) = self.clients.get(index) else { return };
        let Some(id) = client.tunnel else { return };
        if client.config.accept_outgoing_calls {
            return self.set_client_timer(index, None);
        }
        if !self.has_room_for_call() {
            return self.note(index, Event::Failed, "no session is free here (l2tp.sessions_max)");
        }
        let request = CallRequest {
            call_serial_number: client.dials as u32,
            tx_connect_speed: CONNECT_SPEED,
            ..CallRequest::default()
        };
        let Some(entry) = self.tunnels.get_mut(&id) else { return };
        match entry.tunnel.place_call(now, request) {
            Ok(session) => {
                self.begin_client_call(now, index, id, session);
                self.drive_tunnel(now, id);
            }
            Err(error) => self.note(index, Event::Failed, error.to_string()),
        }
    }

    fn begin_client_call(&mut self, now: Time, index: usize, id: TunnelId, session: SessionId) {
        let mut call = Call::new(id, session, None, now);
        call.client = Some(index);
        let slot = self.calls.insert(call);
        if let Some(entry) = self.tunnels.get_mut(&id) {
            entry.calls.insert(session, slot);
        }
        if let Some(client) = self.clients.get_mut(index) {
            client.call = Some(session);
        }
    }

    /// A server wants us to call somebody: where a client is for that, the one called is itself.
    pub(in super::super) fn handle_outgoing_call(
        &mut self,
        now: Time,
        id: TunnelId,
        session: SessionId,
    ) {
        let waits = |client: &Client| {
            client.config.accept_outgoing_calls
                && client.call.is_none()
                && client.tunnel == Some(id)
        };
        let index = self.client_of_tunnel(id).filter(|i| self.clients.get(*i).is_some_and(waits));
        let index = index.filter(|_| self.has_room_for_call());
        let Some(entry) = self.tunnels.get_mut(&id) else { return };
        let Some(index) = index else {
            let (result, text) = (CallResult::NoFacilitiesPermanent, "no call is placed here");
            return entry.tunnel.refuse_call(now, session, result, None, text);
        };
        entry.tunnel.accept_outgoing_call(now, session);
        let answer = Answer {
            tx_connect_speed: CONNECT_SPEED,
            rx_connect_speed: None,
            framing_type: FRAMING_ANY,
            sequencing_required: false,
        };
        entry.tunnel.outgoing_call_connected(now, session, answer);
        self.begin_client_call(now, index, id, session);
        let deadline = self.clients.get(index).map(|client| now + client.setup_max());
        self.set_client_timer(index, deadline);
    }

    /// A dialled call is connected: PPP begins.
    pub(in super::super) fn open_client_link(&mut self, now: Time, slot: usize, index: usize) {
        let Some(client) = self.clients.get(index) else { return };
        let Some(call) = self.calls.get_mut(slot) else { return };
        let tunnel = call.tunnel;
        let mut link = Box::new(Link::new(Arc::clone(&client.ppp_config), &mut self.rng));
        link.open(now, &mut self.rng);
        if let Phase::Connecting { early } = &mut call.phase {
            for frame in std::mem::take(early) {
                link.handle_frame(now, &frame, &mut self.rng);
            }
        }
        call.phase = Phase::Link(link);
        self.note(index, Event::CallUp, "");
        self.transmit_control(now, tunnel);
        self.drive_call(now, slot);
    }
}
