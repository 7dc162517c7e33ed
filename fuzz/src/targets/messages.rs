//! Control messages out of a script, and the peer's side of a control connection: numbers are right
//! where the script does not say otherwise, so that a machine is reached behind its reliable delivery.

use xlns_control::l2tp::avp::{Hide, Hiding};
use xlns_control::l2tp::header::{self, Header};
use xlns_control::l2tp::message::{
    CallErrors, Cdn, FRAMING_ANY, Iccn, Icrp, Icrq, Message, MessageType, Occn, Ocrp, Ocrq,
    PROTOCOL_VERSION, Scccn, Sccrp, Sccrq, Sli, StopCcn, Wen,
};
use xlns_control::l2tp::result::{ErrorCode, ResultCode};
use xlns_control::l2tp::secret::{self, SecretBytes};
use xlns_control::l2tp::sequence::Sequence;
use xlns_control::l2tp::{SessionId, TunnelId};

use crate::script::Script;

/// The secret of tunnels that have one.
pub const SECRET: &[u8] = b"secret";

/// Bits of the octet in front of a message.
const ODD_NUMBERS: u8 = 0x01;
const ODD_IDS: u8 = 0x02;
const HIDDEN: u8 = 0x04;
const RAW: u8 = 0x08;

/// The peer's end of a control connection.
#[derive(Debug, Default)]
pub struct Peer {
    /// Of our next message to the machine.
    pub ns: u16,
    /// Of the machine's next message.
    pub nr: u16,
    /// The machine's Tunnel ID; 0 until it is known.
    pub tunnel: TunnelId,
    /// Ours.
    pub own: TunnelId,
    /// The machine's Session IDs, in the order in which they came.
    pub sessions: Vec<SessionId>,
    /// The machine's last challenge.
    challenge: Vec<u8>,
}

impl Peer {
    /// A peer that has said nothing yet, with this Tunnel ID.
    pub fn new(own: TunnelId) -> Self {
        Self { own, ..Self::default() }
    }

    /// Takes in what the machine sent. Everything is taken to arrive and to be acknowledged.
    pub fn take(&mut self, datagram: &[u8], secret: Option<&[u8]>) -> Option<Message> {
        let header = header::parse(datagram).expect("a datagram of ours is L2TP");
        let body = header.payload(datagram);
        if !header.control || body.is_empty() {
            return None;
        }
        self.nr = header.ns.next().0;
        let message = Message::decode(body, secret).expect("a message of ours is acceptable");
        let (session, challenge) = match &message {
            Message::Sccrq(said) => (None, Some((said.assigned_tunnel_id, &said.challenge))),
            Message::Sccrp(said) => (None, Some((said.assigned_tunnel_id, &said.challenge))),
            Message::Icrq(said) => (Some(said.assigned_session_id), None),
            Message::Ocrq(said) => (Some(said.assigned_session_id), None),
            Message::Icrp(said) => (Some(said.assigned_session_id), None),
            Message::Ocrp(said) => (Some(said.assigned_session_id), None),
            _ => (None, None),
        };
        if let Some((tunnel, challenge)) = challenge {
            self.tunnel = tunnel;
            self.challenge = challenge.clone().unwrap_or_default();
        }
        self.sessions.extend(session.filter(|session| !self.sessions.contains(session)));
        Some(message)
    }

    /// One of the machine's sessions.
    pub fn session(&self, script: &mut Script<'_>) -> SessionId {
        match self.sessions.len() {
            0 => SessionId(script.octet().into()),
            count => self.sessions[usize::from(script.octet()) % count],
        }
    }

    /// A control message as the script has it.
    pub fn datagram(&mut self, script: &mut Script<'_>) -> Vec<u8> {
        let flags = script.octet();
        let (mut body, mut of_session) = (Vec::new(), true);
        if flags & RAW != 0 {
            body.extend_from_slice(script.piece());
        } else {
            let message = self.message(script);
            of_session = !is_of_tunnel(&message);
            let hiding = Hiding {
                hide: Hide::All,
                secret: SECRET,
                random_vector: b"random",
                padding: b"padding",
            };
            message.encode(&mut body, (flags & HIDDEN != 0).then_some(hiding));
        }
        let mut session = if of_session { self.session(script) } else { SessionId(0) };
        let mut tunnel = self.tunnel;
        if flags & ODD_IDS != 0 {
            tunnel = TunnelId(script.word());
            session = SessionId(script.word());
        }
        let (mut ns, mut nr) = (self.ns, self.nr);
        if flags & ODD_NUMBERS != 0 {
            ns = ns.wrapping_add_signed(i16::from(script.octet() as i8));
            nr = nr.wrapping_add_signed(i16::from(script.octet() as i8));
        }
        if ns == self.ns {
            self.ns = ns.wrapping_add(1);
        }
        emit(tunnel, session, (ns, nr), &body)
    }

    /// A ZLB that acknowledges all.
    pub fn acknowledgement(&self) -> Vec<u8> {
        emit(self.tunnel, SessionId(0), (self.ns, self.nr), &[])
    }

    /// A message with what the script wants to have in it.
    pub fn message(&self, script: &mut Script<'_>) -> Message {
        let number = script.octet();
        let session = SessionId(u16::from(script.octet()) + 1);
        match number % 16 {
            1 => Message::Sccrq(Box::new(self.sccrq(script))),
            2 => Message::Sccrp(Box::new(self.sccrp(script))),
            3 => Message::Scccn(Scccn { challenge_response: self.response(MessageType::Scccn) }),
            4 => Message::StopCcn(Box::new(StopCcn {
                assigned_tunnel_id: script.flag().then_some(self.own),
                result: result(script),
            })),
            5 => Message::Unknown(99),
            6 => Message::Hello,
            7 => Message::Ocrq(Box::new(Ocrq {
                assigned_session_id: session,
                called_number: script.piece().to_vec(),
                bearer_type: u32::from(script.octet()),
                framing_type: u32::from(script.octet()),
                ..Ocrq::default()
            })),
            8 => Message::Ocrp(Ocrp { assigned_session_id: session, ..Ocrp::default() }),
            9 => Message::Occn(Occn {
                tx_connect_speed: script.long(),
                rx_connect_speed: None,
                framing_type: u32::from(script.octet()),
                sequencing_required: script.flag(),
            }),
            10 => Message::Icrq(Box::new(Icrq {
                assigned_session_id: session,
                calling_number: script.optional_piece(),
                called_number: script.optional_piece(),
                ..Icrq::default()
            })),
            11 => Message::Icrp(Icrp { assigned_session_id: session, session_ds: None }),
            12 => Message::Iccn(Box::new(iccn(script))),
            13 => Message::Cdn(Box::new(Cdn {
                result: result(script),
                assigned_session_id: script.flag().then_some(session),
                q931_cause: None,
                ppp_cause: None,
            })),
            14 => Message::Sli(Sli { send_accm: script.long(), receive_accm: script.long() }),
            15 => Message::Wen(Wen {
                errors: CallErrors { crc: script.long(), ..CallErrors::default() },
            }),
            _ => Message::Hello,
        }
    }

    /// An SCCRQ of this peer.
    pub fn sccrq(&self, script: &mut Script<'_>) -> Sccrq {
        let mut tie_breaker = [0; 8];
        tie_breaker[7] = script.octet();
        Sccrq {
            protocol_version: PROTOCOL_VERSION,
            framing_capabilities: FRAMING_ANY,
            bearer_capabilities: Some(script.octet().into()),
            host_name: script.piece().to_vec(),
            assigned_tunnel_id: self.own,
            receive_window: Some(script.octet().into()),
            challenge: script.optional_piece(),
            tie_breaker: script.flag().then_some(tie_breaker),
            ..Sccrq::default()
        }
    }

    fn sccrp(&self, script: &mut Script<'_>) -> Sccrp {
        Sccrp {
            protocol_version: PROTOCOL_VERSION,
            framing_capabilities: FRAMING_ANY,
            bearer_capabilities: Some(script.octet().into()),
            host_name: script.piece().to_vec(),
            assigned_tunnel_id: self.own,
            receive_window: Some(script.octet().into()),
            challenge: script.optional_piece(),
            challenge_response: self.response(MessageType::Sccrp),
            ..Sccrp::default()
        }
    }

    fn response(&self, kind: MessageType) -> Option<[u8; 16]> {
        let asked = !self.challenge.is_empty();
        asked.then(|| secret::response(kind as u8, SECRET, &self.challenge))
    }
}

fn is_of_tunnel(message: &Message) -> bool {
    matches!(
        message,
        Message::Sccrq(_)
            | Message::Sccrp(_)
            | Message::Scccn(_)
            | Message::StopCcn(_)
            | Message::Hello
            | Message::Unknown(_)
            | Message::Icrq(_)
            | Message::Ocrq(_)
    )
}

fn result(script: &mut Script<'_>) -> ResultCode {
    let error = script.octet();
    ResultCode {
        code: script.octet().into(),
        error: (error != 0).then(|| ErrorCode::from(u16::from(error))),
        message: String::from_utf8_lossy(script.piece()).into_owned(),
    }
}

fn iccn(script: &mut Script<'_>) -> Iccn {
    let kind = script.octet();
    Iccn {
        tx_connect_speed: 1_000_000,
        framing_type: 1,
        initial_received_lcp_confreq: script.optional_piece(),
        last_sent_lcp_confreq: script.optional_piece(),
        last_received_lcp_confreq: script.optional_piece(),
        proxy_authen_type: (kind != 0).then_some(kind.into()),
        proxy_authen_name: script.optional_piece(),
        proxy_authen_challenge: script.optional_piece(),
        proxy_authen_id: (kind != 0).then(|| script.octet().into()),
        proxy_authen_response: script.optional_piece().map(SecretBytes::new),
        sequencing_required: script.flag(),
        ..Iccn::default()
    }
}

fn emit(tunnel: TunnelId, session: SessionId, (ns, nr): (u16, u16), body: &[u8]) -> Vec<u8> {
    let body = &body[..body.len().min(4096)];
    let mut out = Vec::new();
    header::emit_control(&mut out, tunnel, session, Sequence(ns), Sequence(nr), body.len());
    out.extend_from_slice(body);
    out
}

/// A datagram of ours taken apart, and what every one of them must be like.
pub fn checked(datagram: &[u8]) -> Header {
    let header = header::parse(datagram).expect("what we send is L2TP");
    assert_eq!(usize::from(header.payload_end), datagram.len());
    header
}
