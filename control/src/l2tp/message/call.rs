//! Messages of incoming calls and of the end of any call (RFC 2661 sections 6.6 to 6.8, 6.12).

use super::AccessLine;
use crate::l2tp::SessionId;
use crate::l2tp::avp::{Attribute, Collected, Encoder, Fault};
use crate::l2tp::result::{PppDisconnectCause, ResultCode, printable};
use crate::l2tp::secret::SecretBytes;

/// Incoming-Call-Request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Icrq {
    /// How the sender wants to be addressed.
    pub assigned_session_id: SessionId,
    /// For people who compare the logs of both ends.
    pub call_serial_number: u32,
    /// Bit 0: digital, bit 1: analogue.
    pub bearer_type: Option<u32>,
    /// For logs.
    pub physical_channel_id: Option<u32>,
    /// Who calls.
    pub calling_number: Option<Vec<u8>>,
    /// Who is called.
    pub called_number: Option<Vec<u8>>,
    /// More digits.
    pub sub_address: Option<Vec<u8>>,
    /// Per-hop behaviour that the sender wants for the session's packets (RFC 3308).
    pub session_ds: Option<u16>,
    /// What an access node says of the subscriber's line (RFC 5515).
    pub access_line: Option<Box<AccessLine>>,
}

/// Incoming-Call-Reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Icrp {
    /// How the sender wants to be addressed.
    pub assigned_session_id: SessionId,
    /// Per-hop behaviour that the sender wants for the session's packets (RFC 3308).
    pub session_ds: Option<u16>,
}

/// Incoming-Call-Connected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Iccn {
    /// Bits a second from the LAC to the subscriber.
    pub tx_connect_speed: u32,
    /// Bits a second from the subscriber to the LAC, where it says so.
    pub rx_connect_speed: Option<u32>,
    /// Bit 0: synchronous, bit 1: asynchronous.
    pub framing_type: u32,
    /// Options of the subscriber's first LCP Configure-Request.
    pub initial_received_lcp_confreq: Option<Vec<u8>>,
    /// Options of the LAC's last one.
    pub last_sent_lcp_confreq: Option<Vec<u8>>,
    /// Options of the subscriber's last one.
    pub last_received_lcp_confreq: Option<Vec<u8>>,
    /// 1 text, 2 CHAP, 3 PAP, 4 none, 5 MS-CHAP version 1.
    pub proxy_authen_type: Option<u16>,
    /// The subscriber's name.
    pub proxy_authen_name: Option<Vec<u8>>,
    /// The LAC's CHAP challenge.
    pub proxy_authen_challenge: Option<Vec<u8>>,
    /// The identifier of that exchange.
    pub proxy_authen_id: Option<u16>,
    /// The subscriber's response or password.
    pub proxy_authen_response: Option<SecretBytes>,
    /// The customer group that the call belongs to.
    pub private_group_id: Option<Vec<u8>>,
    /// Whether data must always have sequence numbers.
    pub sequencing_required: bool,
}

impl Iccn {
    /// Bits a second from the subscriber to the LAC: the same as the other way where the LAC does
    /// not say it (RFC 2661 section 4.4.4, docs/peers.md row 15).
    pub fn upstream_speed(&self) -> u32 {
        self.rx_connect_speed.unwrap_or(self.tx_connect_speed)
    }
}

/// Call-Disconnect-Notify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cdn {
    /// Why.
    pub result: ResultCode,
    /// The sender's identifier of the session, that some leave out (docs/peers.md row 27).
    pub assigned_session_id: Option<SessionId>,
    /// What the telephone network said.
    pub q931_cause: Option<Q931Cause>,
    /// What PPP said.
    pub ppp_cause: Option<PppDisconnectCause>,
}

/// Value of the Q.931 Cause Code AVP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Q931Cause {
    /// Cause code, as the ITU encodes it.
    pub code: u16,
    /// Message code, as the ITU encodes it.
    pub message: u8,
    /// For a person to read; may be empty.
    pub advisory: String,
}

pub(super) fn session_id(avps: &Collected<'_>) -> Result<SessionId, Fault> {
    avps.identifier(Attribute::AssignedSessionId).map(SessionId)
}

pub(super) fn required_u32(avps: &Collected<'_>, attribute: Attribute) -> Result<u32, Fault> {
    avps.required(attribute, avps.u32(attribute))
}

/// A connect speed, that some LACs send as decimal text (docs/peers.md row 17). Four octets are
/// always the number that the RFC means.
fn speed(value: &[u8]) -> Option<u32> {
    match value {
        [a, b, c, d] => Some(u32::from_be_bytes([*a, *b, *c, *d])),
        text => std::str::from_utf8(text).ok()?.trim_end_matches('\0').parse().ok(),
    }
}

pub(super) fn connect_speeds(avps: &Collected<'_>) -> Result<(u32, Option<u32>), Fault> {
    let tx = Attribute::TxConnectSpeed;
    let speed_of = |attribute| avps.bytes(attribute).and_then(speed);
    // One that is there and makes no sense is logged nowhere and used nowhere: 0 will do.
    let tx = avps.required(tx, avps.bytes(tx).map(|value| speed(value).unwrap_or(0)))?;
    Ok((tx, speed_of(Attribute::RxConnectSpeed)))
}

pub(super) fn optional_bytes(
    encoder: &mut Encoder<'_>,
    attribute: Attribute,
    value: Option<&[u8]>,
) {
    if let Some(value) = value {
        encoder.bytes(attribute, value);
    }
}

pub(super) fn optional_u16(encoder: &mut Encoder<'_>, attribute: Attribute, value: Option<u16>) {
    if let Some(value) = value {
        encoder.u16(attribute, value);
    }
}

pub(super) fn optional_u32(encoder: &mut Encoder<'_>, attribute: Attribute, value: Option<u32>) {
    if let Some(value) = value {
        encoder.u32(attribute, value);
    }
}

pub(super) fn flag(encoder: &mut Encoder<'_>, attribute: Attribute, set: bool) {
    if set {
        encoder.bytes(attribute, &[]);
    }
}

impl Icrq {
    pub(super) fn decode(avps: &Collected<'_>) -> Result<Self, Fault> {
        Ok(Self {
            assigned_session_id: session_id(avps)?,
            call_serial_number: required_u32(avps, Attribute::CallSerialNumber)?,
            bearer_type: avps.u32(Attribute::BearerType),
            physical_channel_id: avps.u32(Attribute::PhysicalChannelId),
            calling_number: avps.owned(Attribute::CallingNumber),
            called_number: avps.owned(Attribute::CalledNumber),
            sub_address: avps.owned(Attribute::SubAddress),
            session_ds: avps.u16(Attribute::SessionDs),
            access_line: AccessLine::decode(avps).map(Box::new),
        })
    }

    pub(super) fn encode(&self, encoder: &mut Encoder<'_>) {
        encoder.u16(Attribute::AssignedSessionId, self.assigned_session_id.0);
        encoder.u32(Attribute::CallSerialNumber, self.call_serial_number);
        optional_u32(encoder, Attribute::BearerType, self.bearer_type);
        optional_u32(encoder, Attribute::PhysicalChannelId, self.physical_channel_id);
        optional_bytes(encoder, Attribute::CallingNumber, self.calling_number.as_deref());
        optional_bytes(encoder, Attribute::CalledNumber, self.called_number.as_deref());
        optional_bytes(encoder, Attribute::SubAddress, self.sub_address.as_deref());
        optional_u16(encoder, Attribute::SessionDs, self.session_ds);
        if let Some(access_line) = &self.access_line {
            access_line.encode(encoder);
        }
    }
}

impl Icrp {
    pub(super) fn decode(avps: &Collected<'_>) -> Result<Self, Fault> {
        let session_ds = avps.u16(Attribute::SessionDs);
        Ok(Self { assigned_session_id: session_id(avps)?, session_ds })
    }

    pub(super) fn encode(&self, encoder: &mut Encoder<'_>) {
        encoder.u16(Attribute::AssignedSessionId, self.assigned_session_id.0);
        optional_u16(encoder, Attribute::SessionDs, self.session_ds);
    }
}

impl Iccn {
    pub(super) fn decode(avps: &Collected<'_>) -> Result<Self, Fault> {
        let (tx_connect_speed, rx_connect_speed) = connect_speeds(avps)?;
        Ok(Self {
            tx_connect_speed,
            rx_connect_speed,
            framing_type: required_u32(avps, Attribute::FramingType)?,
            initial_received_lcp_confreq: avps.owned(Attribute::InitialReceivedLcpConfreq),
            last_sent_lcp_confreq: avps.owned(Attribute::LastSentLcpConfreq),
            last_received_lcp_confreq: avps.owned(Attribute::LastReceivedLcpConfreq),
            proxy_authen_type: avps.u16(Attribute::ProxyAuthenType),
            proxy_authen_name: avps.owned(Attribute::ProxyAuthenName),
            proxy_authen_challenge: avps.owned(Attribute::ProxyAuthenChallenge),
            proxy_authen_id: avps.u16(Attribute::ProxyAuthenId),
            proxy_authen_response: avps.bytes(Attribute::ProxyAuthenResponse).map(Into::into),
            private_group_id: avps.owned(Attribute::PrivateGroupId),
            sequencing_required: avps.bytes(Attribute::SequencingRequired).is_some(),
        })
    }

    pub(super) fn encode(&self, encoder: &mut Encoder<'_>) {
        encoder.u32(Attribute::TxConnectSpeed, self.tx_connect_speed);
        encoder.u32(Attribute::FramingType, self.framing_type);
        for (attribute, value) in [
            (Attribute::InitialReceivedLcpConfreq, &self.initial_received_lcp_confreq),
            (Attribute::LastSentLcpConfreq, &self.last_sent_lcp_confreq),
            (Attribute::LastReceivedLcpConfreq, &self.last_received_lcp_confreq),
        ] {
            optional_bytes(encoder, attribute, value.as_deref());
        }
        optional_u16(encoder, Attribute::ProxyAuthenType, self.proxy_authen_type);
        optional_bytes(encoder, Attribute::ProxyAuthenName, self.proxy_authen_name.as_deref());
        let challenge = self.proxy_authen_challenge.as_deref();
        optional_bytes(encoder, Attribute::ProxyAuthenChallenge, challenge);
        optional_u16(encoder, Attribute::ProxyAuthenId, self.proxy_authen_id);
        let response = self.proxy_authen_response.as_ref().map(SecretBytes::expose);
        optional_bytes(encoder, Attribute::ProxyAuthenResponse, response);
        optional_bytes(encoder, Attribute::PrivateGroupId, self.private_group_id.as_deref());
        optional_u32(encoder, Attribute::RxConnectSpeed, self.rx_connect_speed);
        flag(encoder, Attribute::SequencingRequired, self.sequencing_required);
    }
}

impl Cdn {
    /// Takes what it can get: whatever is wrong with it, the call is over.
    pub(super) fn decode(avps: &Collected<'_>) -> Self {
        let result = avps.bytes(Attribute::ResultCode).and_then(ResultCode::decode);
        Self {
            result: result.unwrap_or(ResultCode { code: 0, error: None, message: String::new() }),
            assigned_session_id: session_id(avps).ok(),
            q931_cause: avps.bytes(Attribute::Q931CauseCode).and_then(Q931Cause::decode),
            ppp_cause: avps
                .bytes(Attribute::PppDisconnectCause)
                .and_then(PppDisconnectCause::decode),
        }
    }

    pub(super) fn encode(&self, encoder: &mut Encoder<'_>) {
        let mut value = Vec::new();
        self.result.encode(&mut value);
        encoder.bytes(Attribute::ResultCode, &value);
        if let Some(assigned_session_id) = self.assigned_session_id {
            encoder.u16(Attribute::AssignedSessionId, assigned_session_id.0);
        }
        if let Some(cause) = &self.q931_cause {
            value.clear();
            value.extend_from_slice(&cause.code.to_be_bytes());
            value.push(cause.message);
            value.extend_from_slice(cause.advisory.as_bytes());
            encoder.bytes(Attribute::Q931CauseCode, &value);
        }
        if let Some(cause) = &self.ppp_cause {
            value.clear();
            cause.encode(&mut value);
            encoder.bytes(Attribute::PppDisconnectCause, &value);
        }
    }
}

impl Q931Cause {
    fn decode(value: &[u8]) -> Option<Self> {
        let ([c0, c1, message], advisory) = value.split_first_chunk::<3>()?;
        Some(Self {
            code: u16::from_be_bytes([*c0, *c1]),
            message: *message,
            advisory: printable(advisory),
        })
    }
}
