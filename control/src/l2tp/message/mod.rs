//! Control messages (RFC 2661 sections 3.2 and 6): decoded once to a value, encoded back.
//!
//! A message that is not acceptable becomes a [`Reject`], that says what is to end (the tunnel or
//! one call) and with which result. Messages that end something themselves are read leniently:
//! there is nothing left to refuse.

use super::avp::{Attribute, Avps, Collected, Encoder, Fault, Hiding};
use super::header::{Header, MESSAGE_BYTES_MAX, emit_control};
use super::result::{ErrorCode, ResultCode};
use super::sequence::Sequence;
use super::{SessionId, TunnelId};

mod access_line;
mod call;
mod control;
mod outgoing;
mod status;

pub use access_line::{AccessLine, Directions};
pub use call::{Cdn, Iccn, Icrp, Icrq, Q931Cause};
pub use control::{
    FRAMING_ANY, FailoverCapability, PROTOCOL_VERSION, Scccn, Sccrp, Sccrq, StopCcn,
};
pub use outgoing::{Occn, Ocrp, Ocrq};
pub use status::{CallErrors, Sli, Wen};

/// Value of the Message Type AVP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of RFC 2661 section 3.2")]
#[repr(u16)]
pub enum MessageType {
    Sccrq = 1,
    Sccrp = 2,
    Scccn = 3,
    StopCcn = 4,
    Hello = 6,
    Ocrq = 7,
    Ocrp = 8,
    Occn = 9,
    Icrq = 10,
    Icrp = 11,
    Iccn = 12,
    Cdn = 14,
    Wen = 15,
    Sli = 16,
}

impl MessageType {
    const ALL: [Self; 14] = [
        Self::Sccrq,
        Self::Sccrp,
        Self::Scccn,
        Self::StopCcn,
        Self::Hello,
        Self::Ocrq,
        Self::Ocrp,
        Self::Occn,
        Self::Icrq,
        Self::Icrp,
        Self::Iccn,
        Self::Cdn,
        Self::Wen,
        Self::Sli,
    ];

    fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|message_type| *message_type as u16 == number)
    }

    /// What ends where such a message is not acceptable.
    fn scope(self) -> Scope {
        match self {
            Self::Sccrq | Self::Sccrp | Self::Scccn | Self::StopCcn | Self::Hello => Scope::Tunnel,
            Self::Ocrq
            | Self::Ocrp
            | Self::Occn
            | Self::Icrq
            | Self::Icrp
            | Self::Iccn
            | Self::Cdn
            | Self::Wen
            | Self::Sli => Scope::Session,
        }
    }
}

/// What a fault belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The tunnel is ended with a StopCCN.
    Tunnel,
    /// The call is ended with a CDN.
    Session,
}

/// A message that is answered by ending what it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// What ends.
    pub scope: Scope,
    /// What the StopCCN or CDN says.
    pub result: ResultCode,
    /// Whom a StopCCN is addressed to, where the message said it.
    pub assigned_tunnel_id: Option<TunnelId>,
    /// Whom a CDN is addressed to, where the message said it.
    pub assigned_session_id: Option<SessionId>,
}

impl Reject {
    fn new(scope: Scope, fault: Fault) -> Self {
        let Fault { code, error, text } = fault;
        let result = ResultCode { code, error: Some(error), message: text };
        Self { scope, result, assigned_tunnel_id: None, assigned_session_id: None }
    }
}

/// A control message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of RFC 2661 section 3.2")]
pub enum Message {
    Sccrq(Box<Sccrq>),
    Sccrp(Box<Sccrp>),
    Scccn(Scccn),
    StopCcn(Box<StopCcn>),
    Hello,
    Ocrq(Box<Ocrq>),
    Ocrp(Ocrp),
    Occn(Occn),
    Icrq(Box<Icrq>),
    Icrp(Icrp),
    Iccn(Box<Iccn>),
    Cdn(Box<Cdn>),
    Wen(Wen),
    Sli(Sli),
    /// A type that is not known, and may be skipped since its M bit is not set (RFC 2661 section
    /// 4.4.1).
    Unknown(u16),
}

impl Message {
    /// Decodes the payload of a control message that is no ZLB. `secret` is needed for hidden
    /// AVPs.
    ///
    /// # Errors
    /// [`Reject`]: what to end, and why.
    pub fn decode(body: &[u8], secret: Option<&[u8]>) -> Result<Self, Reject> {
        let mut avps = Avps::new(body);
        let (number, mandatory) =
            message_type(&mut avps).map_err(|fault| Reject::new(Scope::Tunnel, fault))?;
        let Some(message_type) = MessageType::from_number(number) else {
            if !mandatory {
                return Ok(Self::Unknown(number));
            }
            let text = format!("unknown mandatory message type {number}");
            return Err(Reject::new(Scope::Tunnel, Fault::new(ErrorCode::UnknownAvp, text)));
        };
        let mut avps = Collected::new(avps, secret);
        Self::from_avps(message_type, &mut avps).map_err(|fault| Reject {
            assigned_tunnel_id: avps.identifier(Attribute::AssignedTunnelId).ok().map(TunnelId),
            assigned_session_id: avps.identifier(Attribute::AssignedSessionId).ok().map(SessionId),
            ..Reject::new(message_type.scope(), fault)
        })
    }

    fn from_avps(message_type: MessageType, avps: &mut Collected<'_>) -> Result<Self, Fault> {
        match (message_type, avps.fault()) {
            (MessageType::StopCcn, _) => return Ok(Self::StopCcn(Box::new(StopCcn::decode(avps)))),
            (MessageType::Cdn, _) => return Ok(Self::Cdn(Box::new(Cdn::decode(avps)))),
            (_, Some(fault)) => return Err(fault),
            (_, None) => {}
        }
        Ok(match message_type {
            MessageType::Sccrq => Self::Sccrq(Box::new(Sccrq::decode(avps)?)),
            MessageType::Sccrp => Self::Sccrp(Box::new(Sccrp::decode(avps)?)),
            MessageType::Scccn => Self::Scccn(Scccn::decode(avps)),
            MessageType::StopCcn => Self::StopCcn(Box::new(StopCcn::decode(avps))),
            MessageType::Hello => Self::Hello,
            MessageType::Ocrq => Self::Ocrq(Box::new(Ocrq::decode(avps)?)),
            MessageType::Ocrp => Self::Ocrp(Ocrp::decode(avps)?),
            MessageType::Occn => Self::Occn(Occn::decode(avps)?),
            MessageType::Icrq => Self::Icrq(Box::new(Icrq::decode(avps)?)),
            MessageType::Icrp => Self::Icrp(Icrp::decode(avps)?),
            MessageType::Iccn => Self::Iccn(Box::new(Iccn::decode(avps)?)),
            MessageType::Cdn => Self::Cdn(Box::new(Cdn::decode(avps))),
            MessageType::Wen => Self::Wen(Wen::decode(avps)?),
            MessageType::Sli => Self::Sli(Sli::decode(avps)?),
        })
    }

    /// Appends the message's AVPs, the Message Type first.
    pub fn encode(&self, out: &mut Vec<u8>, hiding: Option<Hiding<'_>>) {
        let mut encoder = Encoder::new(out, hiding);
        encoder.u16(Attribute::MessageType, self.number());
        match self {
            Self::Sccrq(message) => message.encode(&mut encoder),
            Self::Sccrp(message) => message.encode(&mut encoder),
            Self::Scccn(message) => message.encode(&mut encoder),
            Self::StopCcn(message) => message.encode(&mut encoder),
            Self::Ocrq(message) => message.encode(&mut encoder),
            Self::Ocrp(message) => message.encode(&mut encoder),
            Self::Occn(message) => message.encode(&mut encoder),
            Self::Icrq(message) => message.encode(&mut encoder),
            Self::Icrp(message) => message.encode(&mut encoder),
            Self::Iccn(message) => message.encode(&mut encoder),
            Self::Cdn(message) => message.encode(&mut encoder),
            Self::Wen(message) => message.encode(&mut encoder),
            Self::Sli(message) => message.encode(&mut encoder),
            Self::Hello | Self::Unknown(_) => {}
        }
    }

    /// Value of the Message Type AVP.
    pub fn number(&self) -> u16 {
        let message_type = match self {
            Self::Sccrq(_) => MessageType::Sccrq,
            Self::Sccrp(_) => MessageType::Sccrp,
            Self::Scccn(_) => MessageType::Scccn,
            Self::StopCcn(_) => MessageType::StopCcn,
            Self::Hello => MessageType::Hello,
            Self::Ocrq(_) => MessageType::Ocrq,
            Self::Ocrp(_) => MessageType::Ocrp,
            Self::Occn(_) => MessageType::Occn,
            Self::Icrq(_) => MessageType::Icrq,
            Self::Icrp(_) => MessageType::Icrp,
            Self::Iccn(_) => MessageType::Iccn,
            Self::Cdn(_) => MessageType::Cdn,
            Self::Wen(_) => MessageType::Wen,
            Self::Sli(_) => MessageType::Sli,
            Self::Unknown(number) => return *number,
        };
        message_type as u16
    }

    /// Appends the whole datagram: header and AVPs.
    pub fn emit(
        &self,
        out: &mut Vec<u8>,
        tunnel_id: TunnelId,
        session_id: SessionId,
        (ns, nr): (Sequence, Sequence),
        hiding: Option<Hiding<'_>>,
    ) {
        let start = out.len();
        emit_control(out, tunnel_id, session_id, ns, nr, 0);
        self.encode(out, hiding);
        let length = out.len() - start;
        // No message has more than 40 AVPs, each of at most 1023 octets.
        debug_assert!(length <= MESSAGE_BYTES_MAX);
        if let Some(field) = out.get_mut(start + 2..start + 4) {
            field.copy_from_slice(&(length as u16).to_be_bytes());
        }
    }
}

/// Reads the first AVP, that must be the Message Type: its number and M bit.
fn message_type(avps: &mut Avps<'_>) -> Result<(u16, bool), Fault> {
    let first = avps.next().unwrap_or_else(|| {
        Err(Fault::new(ErrorCode::Length, "a message without a Message Type AVP".into()))
    })?;
    let is_message_type = first.vendor == 0 && first.number == 0;
    if !is_message_type || first.hidden || first.reserved {
        return Err(Fault::new(ErrorCode::Value, "the first AVP is not a Message Type".into()));
    }
    match first.value {
        [high, low] => Ok((u16::from_be_bytes([*high, *low]), first.mandatory)),
        _ => Err(Fault::new(ErrorCode::Length, "the Message Type is not of two octets".into())),
    }
}

/// What may come with a Tunnel ID of 0 in its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unassigned {
    /// A request for a tunnel, new or repeated: the peer's address and its Assigned Tunnel ID say
    /// which.
    Sccrq(Box<Sccrq>),
    /// An end, before the peer knew our identifier or as some peers always send it (docs/peers.md
    /// row 38): the peer's address and its Assigned Tunnel ID say of which tunnel.
    StopCcn(Box<StopCcn>),
    /// A HELLO, that some peers send before they have our SCCRP (row 41): belongs to the tunnel
    /// that is being set up with that address.
    Hello,
    /// A ZLB, never answered.
    Zlb,
    /// Anything else: dropped.
    Other,
}

/// Decodes a control datagram whose header has a Tunnel ID of 0.
///
/// # Errors
/// [`Reject`]: an SCCRQ that is to be refused with `Tunnel::refuse`. What is wrong with anything
/// else is `Ok(Unassigned::Other)`, since nobody is known who could be answered.
pub fn decode_unassigned(
    header: &Header,
    datagram: &[u8],
    secret: Option<&[u8]>,
) -> Result<Unassigned, Reject> {
    let body = header.payload(datagram);
    if body.is_empty() {
        return Ok(Unassigned::Zlb);
    }
    let first = header.ns == Sequence::ZERO;
    let number = message_type(&mut Avps::new(body)).map_or(0, |(number, _)| number);
    match (Message::decode(body, secret), MessageType::from_number(number)) {
        // A connection begins at 0 (RFC 2661 section 5.8).
        (Ok(Message::Sccrq(sccrq)), _) if first => Ok(Unassigned::Sccrq(sccrq)),
        (Ok(Message::StopCcn(stop_ccn)), _) => Ok(Unassigned::StopCcn(stop_ccn)),
        (Ok(Message::Hello), _) => Ok(Unassigned::Hello),
        (Err(reject), Some(MessageType::Sccrq)) if first => Err(reject),
        _ => Ok(Unassigned::Other),
    }
}

#[cfg(test)]
mod tests;
