//! Outgoing calls (RFC 2661 section 5.3): an operator has a LAC call somebody.

use xlns_dataplane::api::SessionKey;

use super::line::Line;
use super::{Lns, LnsCounter, TunnelEntry};
use crate::admin::PlaceCall;
use crate::call::Call;
use crate::l2tp::tunnel::{OutgoingRequest, State};
use crate::l2tp::{SessionId, TunnelId};
use crate::time::Time;

/// Outcomes that nobody has asked for yet; the oldest goes.
const OUTCOMES_MAX: usize = 256;

/// How an outgoing call went: up, or why not.
pub type Outcome = (SessionKey, Result<(), String>);

impl Lns {
    /// Asks the LAC of a tunnel to call. How that went is told by [`Lns::poll_call_outcome`].
    ///
    /// # Errors
    /// Why it was not even asked.
    pub fn place_outgoing_call(
        &mut self,
        now: Time,
        wanted: &PlaceCall,
    ) -> Result<SessionKey, String> {
        let id = self.tunnel_for(wanted)?;
        let Some(profile) = self.tunnels.get(&id).map(|entry| entry.profile) else {
            return Err("no such tunnel".into());
        };
        if let Some(text) = self.call_refusal(now, profile) {
            return Err(text.into());
        }
        self.call_serial_number = self.call_serial_number.wrapping_add(1);
        let request = OutgoingRequest {
            call_serial_number: self.call_serial_number,
            called_number: wanted.called_number.clone().into_bytes(),
            ..OutgoingRequest::default()
        };
        let Some(entry) = self.tunnels.get_mut(&id) else { return Err("no such tunnel".into()) };
        let session = entry
            .tunnel
            .place_outgoing_call(now, request)
            .map_err(|error| format!("tunnel {id}: {error}"))?;
        let mut call = Call::new(id, session, None, now);
        call.is_placed = true;
        call.user_wanted = wanted.user.as_deref().map(Into::into);
        call.line = Some(Box::new(Line::of_called(&wanted.called_number)));
        let key = call.key();
        let index = self.calls.insert(call);
        entry.calls.insert(session, index);
        self.counters.add(LnsCounter::CallsPlaced);
        if let Some(profile) = self.profile_mut(profile) {
            profile.sessions += 1;
        }
        self.drive_tunnel(now, id);
        Ok(key)
    }

    /// The tunnel that an operator names, or the one with the fewest calls of those to a peer.
    fn tunnel_for(&self, wanted: &PlaceCall) -> Result<TunnelId, String> {
        let is_up = |entry: &TunnelEntry| {
            entry.profile.is_some() && entry.tunnel.state() == State::Established
        };
        if let Some(id) = wanted.tunnel_id {
            return match self.tunnels.get(&TunnelId(id)) {
                Some(entry) if is_up(entry) => Ok(TunnelId(id)),
                Some(_) => Err(format!("tunnel {id} is not an established tunnel of a LAC")),
                None => Err(format!("there is no tunnel {id}")),
            };
        }
        let Some(peer) = wanted.peer else { return Err("name a tunnel or a peer".into()) };
        let to_peer =
            self.tunnels.iter().filter(|(_, entry)| entry.peer.ip() == peer && is_up(entry));
        to_peer
            .min_by_key(|(_, entry)| entry.calls.len())
            .map(|(id, _)| *id)
            .ok_or_else(|| format!("no tunnel with {peer} is established"))
    }

    /// How an outgoing call went.
    pub fn poll_call_outcome(&mut self) -> Option<Outcome> {
        self.outcomes.pop_front()
    }

    /// Tells how an outgoing call went, once.
    pub(super) fn tell_outcome(&mut self, call: usize, outcome: Result<(), String>) {
        let Some(call) = self.calls.get_mut(call) else { return };
        if !std::mem::take(&mut call.is_placed) {
            return;
        }
        let key = call.key();
        if self.outcomes.len() >= OUTCOMES_MAX {
            self.outcomes.pop_front();
        }
        self.outcomes.push_back((key, outcome));
    }

    pub(super) fn call_of(&mut self, tunnel: TunnelId, session: SessionId) -> Option<&mut Call> {
        let index = *self.tunnels.get(&tunnel)?.calls.get(&session)?;
        self.calls.get_mut(index)
    }
}
