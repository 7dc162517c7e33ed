//! A tunnel that we ask for (RFC 2661 section 7.2.1, the originator's rows).

use std::sync::Arc;

use rand::RngCore;

use super::table::{self, Input};
use super::{
    Config, FRAMING_ANY, Message, MessageType, Origin, PROTOCOL_VERSION, ResultCode, Scccn, Sccrp,
    Sccrq, SecretBytes, Sequence, SessionId, State, Tunnel, TunnelCause, TunnelId, TunnelResult,
    printable, random, secret,
};
use crate::time::Time;

/// What the answer to our SCCRQ is worth.
struct Judged {
    input: Input,
    /// Our response to the peer's challenge.
    response: Option<[u8; secret::RESPONSE_BYTES]>,
    result: ResultCode,
    cause: TunnelCause,
}

impl Tunnel {
    /// Asks for a tunnel: the SCCRQ is the first thing that [`Tunnel::poll_transmit`] has.
    ///
    /// Who the peer is is the owner's business. Its first answer may come from another port than
    /// the one that was asked (RFC 2661 section 8.1): whatever has our Tunnel ID in its header and
    /// comes from the peer's address while [`Tunnel::awaits_reply`] is for [`Tunnel::handle`]. A
    /// StopCCN with a Tunnel ID of 0 from that address is for [`Tunnel::handle_stop_ccn`]
    /// (docs/peers.md row 38), an SCCRQ for [`Tunnel::handle_crossing`].
    pub fn connect(
        now: Time,
        local_tunnel_id: TunnelId,
        config: Arc<Config>,
        rng: &mut impl RngCore,
    ) -> Self {
        let unassigned = TunnelId::UNASSIGNED;
        let mut tunnel = Self::new(now, local_tunnel_id, unassigned, Sequence::ZERO, config, rng);
        tunnel.tie_breaker = tunnel.config.tie_breaker.then(|| random(rng));
        let (_, state) = table::transition(tunnel.state, Input::LocalOpen);
        tunnel.state = state;
        tunnel.send_sccrq(now);
        tunnel
    }

    fn send_sccrq(&mut self, now: Time) {
        let vendor_name = self.config.vendor_name.as_bytes();
        let sccrq = Sccrq {
            protocol_version: PROTOCOL_VERSION,
            framing_capabilities: FRAMING_ANY,
            bearer_capabilities: self.config.bearer_capabilities,
            host_name: self.config.host_name.as_bytes().to_vec(),
            vendor_name: (!vendor_name.is_empty()).then(|| vendor_name.to_vec()),
            assigned_tunnel_id: self.local_tunnel_id,
            receive_window: Some(self.config.receive_window.max(1)),
            challenge: self.challenge.map(Vec::from),
            tie_breaker: self.tie_breaker,
            ..Sccrq::default()
        };
        let message = Message::Sccrq(Box::new(sccrq));
        self.send(now, SessionId::UNASSIGNED, &message, Origin::Local);
    }

    /// Whether our SCCRQ has no answer yet.
    pub fn awaits_reply(&self) -> bool {
        self.state == State::WaitCtlReply
    }

    /// Takes the peer's Tunnel ID from whatever says it first, so that even a refusal reaches its
    /// addressee.
    pub(super) fn adopt_peer_id(&mut self, assigned_tunnel_id: Option<TunnelId>) {
        if self.peer_tunnel_id == TunnelId::UNASSIGNED
            && let Some(peer_tunnel_id) = assigned_tunnel_id
        {
            self.peer_tunnel_id = peer_tunnel_id;
            self.transport.set_peer(peer_tunnel_id);
        }
    }

    pub(super) fn on_sccrp(&mut self, now: Time, sccrp: &Sccrp) {
        if self.state != State::WaitCtlReply {
            return self.on_improper(now, Input::SccrpAcceptable);
        }
        self.adopt_peer_id(Some(sccrp.assigned_tunnel_id));
        self.transport.set_peer_window(sccrp.receive_window);
        self.peer_host_name = printable(&sccrp.host_name);
        self.peer_vendor = sccrp.vendor_name.as_deref().map(printable);
        self.peer_framing = sccrp.framing_capabilities;
        self.peer_bearers = sccrp.bearer_capabilities.unwrap_or(0);
        let Judged { input, response, result, cause } = self.judge(sccrp);
        if input == Input::SccrpAcceptable {
            // Ahead of what the open tunnel sends for calls that wait for it.
            let scccn = Message::Scccn(Scccn { challenge_response: response });
            self.send(now, SessionId::UNASSIGNED, &scccn, Origin::Peer);
        }
        self.advance(now, input, result, cause);
    }

    /// Whether the peer has proved that it knows the secret, and we can (section 5.1.1).
    fn judge(&self, sccrp: &Sccrp) -> Judged {
        let secret = self.config.secret.as_ref().map(SecretBytes::expose);
        let refused = |text, cause: fn(ResultCode) -> TunnelCause| {
            let result = ResultCode::tunnel(TunnelResult::NotAuthorized, None, text);
            let (input, cause) = (Input::SccrpNotAcceptable, cause(result.clone()));
            Judged { input, response: None, result, cause }
        };
        if let (Some(challenge), Some(secret)) = (self.challenge, secret) {
            let response = sccrp.challenge_response.as_ref().map_or(&[][..], |r| &r[..]);
            if !secret::verify(MessageType::Sccrp as u8, secret, &challenge, response) {
                let text = "the challenge response is missing or wrong";
                return refused(text, |_| TunnelCause::NotAuthenticated);
            }
        }
        let response = match (&sccrp.challenge, secret) {
            (None, _) => None,
            (Some(challenge), Some(secret)) => {
                Some(secret::response(MessageType::Scccn as u8, secret, challenge))
            }
            (Some(_), None) => {
                let text = "a challenge came and there is no secret for this peer";
                return refused(text, TunnelCause::Protocol);
            }
        };
        let result = ResultCode::tunnel(TunnelResult::Cleared, None, "");
        let cause = TunnelCause::Protocol(result.clone());
        Judged { input: Input::SccrpAcceptable, response, result, cause }
    }
}
