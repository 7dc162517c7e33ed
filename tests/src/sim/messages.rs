//! The messages that the emulated LAC sends, and those that it should not.

use rand::Rng;
use xlns_control::l2tp::message::{Cdn, Iccn, Icrq, Message, Occn, Ocrp, Scccn, Sccrq};
use xlns_control::l2tp::result::{CallResult, ResultCode};
use xlns_control::l2tp::secret::SecretBytes;
use xlns_control::l2tp::{SessionId, TunnelId, header};
use xlns_control::time::Time;

use super::lac::{Call, Lac};
use super::subscriber::Handover;

/// An SCCRQ.
pub fn sccrq(id: TunnelId, window: u16, challenge: Option<Vec<u8>>) -> Message {
    Message::Sccrq(Box::new(Sccrq {
        protocol_version: 0x0100,
        framing_capabilities: 3,
        // Analogue and digital: the LNS may ask for calls.
        bearer_capabilities: Some(3),
        host_name: b"lac".to_vec(),
        vendor_name: None,
        firmware_revision: None,
        assigned_tunnel_id: id,
        receive_window: Some(window),
        challenge,
        tie_breaker: None,
        ..Sccrq::default()
    }))
}

/// An ICRQ.
pub fn icrq(id: SessionId, call_serial_number: u32) -> Message {
    Message::Icrq(Box::new(Icrq {
        assigned_session_id: id,
        call_serial_number,
        bearer_type: None,
        physical_channel_id: None,
        calling_number: Some(b"030".to_vec()),
        called_number: None,
        sub_address: None,
        ..Icrq::default()
    }))
}

/// An ICCN, with what the LAC hands over.
pub fn iccn(handover: Option<Handover>) -> Message {
    let mut iccn = Iccn {
        tx_connect_speed: 100_000_000,
        rx_connect_speed: None,
        framing_type: 1,
        initial_received_lcp_confreq: None,
        last_sent_lcp_confreq: None,
        last_received_lcp_confreq: None,
        proxy_authen_type: None,
        proxy_authen_name: None,
        proxy_authen_challenge: None,
        proxy_authen_id: None,
        proxy_authen_response: None,
        private_group_id: None,
        sequencing_required: false,
    };
    if let Some(handover) = handover {
        iccn.initial_received_lcp_confreq = Some(handover.received.clone());
        iccn.last_received_lcp_confreq = Some(handover.received);
        iccn.last_sent_lcp_confreq = Some(handover.sent);
        iccn.proxy_authen_type = Some(handover.kind);
        iccn.proxy_authen_name = Some(handover.name);
        iccn.proxy_authen_id = Some(handover.challenge.as_ref().map_or(0, |(_, id)| (*id).into()));
        iccn.proxy_authen_challenge = handover.challenge.map(|(challenge, _)| challenge);
        iccn.proxy_authen_response = Some(SecretBytes::from(handover.response.as_slice()));
    }
    Message::Iccn(Box::new(iccn))
}

/// An OCRP with the LAC's session `id`.
pub fn ocrp(id: SessionId) -> Message {
    Message::Ocrp(Ocrp { assigned_session_id: id, physical_channel_id: None, session_ds: None })
}

/// An OCCN.
pub fn occn() -> Message {
    Message::Occn(Occn {
        tx_connect_speed: 64_000,
        rx_connect_speed: None,
        framing_type: 1,
        sequencing_required: false,
    })
}

/// A CDN for the LAC's session `id`.
pub fn cdn(id: SessionId) -> Message {
    Message::Cdn(Box::new(Cdn {
        result: ResultCode::call(CallResult::LossOfCarrier, None, ""),
        assigned_session_id: Some(id),
        q931_cause: None,
        ppp_cause: None,
    }))
}

/// A data message.
fn data(tunnel: TunnelId, session: SessionId, frame: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    header::emit_data(&mut datagram, tunnel, session, None, false);
    datagram.extend_from_slice(frame);
    datagram
}

/// Message type that nobody knows.
const UNKNOWN_TYPE: u16 = 77;

impl Lac {
    /// Sends something that does not belong there. All of it goes through the delivery where it
    /// takes a number, so that the LAC itself stays in order.
    pub fn misbehave(&mut self, now: Time) {
        let kind = self.rng.random_range(0..11);
        let (number, octets) = (self.rng.random(), self.rng.random::<[u8; 24]>());
        let line = self.rng.random_range(0..self.lines.len().max(1));
        let call = self.lines.get(line).and_then(|line| line.call);
        let window = self.manners.window;
        let Some(control) = &mut self.control else { return };
        let none = SessionId::UNASSIGNED;
        let (lns, lns_id) = (control.lns, control.lns_id);
        let delivery = &mut control.delivery;
        match (kind, call) {
            // The same call once more, and another call by the same ID.
            (0, Some(call)) => delivery.send(none, icrq(call.id, u32::from(call.id.0))),
            (1, Some(call)) => delivery.send(none, icrq(call.id, number)),
            (2, Some(call)) => delivery.send(call.lns_id.unwrap_or_default(), iccn(None)),
            (3, _) => delivery.send(SessionId(number as u16), cdn(SessionId(octets[0].into()))),
            (4, _) => {
                let scccn = Message::Scccn(Scccn { challenge_response: None });
                delivery.send(none, scccn);
            }
            (5, _) => delivery.send(none, Message::Unknown(UNKNOWN_TYPE)),
            (6, _) => {
                let hello =
                    delivery.datagram(TunnelId::UNASSIGNED, none, number as u16, &Message::Hello);
                self.out.push((lns, hello));
            }
            (7, _) => {
                let again = sccrq(control.id, window, None);
                self.out.push((lns, delivery.datagram(TunnelId::UNASSIGNED, none, 0, &again)));
            }
            (8, _) => {
                let session = SessionId(octets[0].into());
                self.out.push((lns, data(lns_id, session, &octets)));
            }
            // IPv6 to the LNS that is none.
            (10, Some(Call { lns_id: Some(session), .. })) => {
                let junk = [&[0xff, 3, 0, 0x57][..], &octets].concat();
                self.out.push((lns, data(lns_id, session, &junk)));
            }
            _ => self.out.push((lns, octets.to_vec())),
        }
        self.drain(now);
    }
}
