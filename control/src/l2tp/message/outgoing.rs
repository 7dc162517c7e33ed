//! Messages of outgoing calls (RFC 2661 sections 6.9 to 6.11).

use super::call::{
    connect_speeds, flag, optional_bytes, optional_u16, optional_u32, required_u32, session_id,
};
use crate::l2tp::SessionId;
use crate::l2tp::avp::{Attribute, Collected, Encoder, Fault};

/// Outgoing-Call-Request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ocrq {
    /// How the sender wants to be addressed.
    pub assigned_session_id: SessionId,
    /// For people who compare the logs of both ends.
    pub call_serial_number: u32,
    /// Lowest acceptable speed in bits a second.
    pub minimum_bps: u32,
    /// Highest acceptable speed in bits a second.
    pub maximum_bps: u32,
    /// Bit 0: digital, bit 1: analogue.
    pub bearer_type: u32,
    /// Bit 0: synchronous, bit 1: asynchronous.
    pub framing_type: u32,
    /// Whom to call.
    pub called_number: Vec<u8>,
    /// More digits.
    pub sub_address: Option<Vec<u8>>,
    /// Per-hop behaviour that the sender wants for the session's packets (RFC 3308).
    pub session_ds: Option<u16>,
}

/// Outgoing-Call-Reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ocrp {
    /// How the sender wants to be addressed.
    pub assigned_session_id: SessionId,
    /// For logs.
    pub physical_channel_id: Option<u32>,
    /// Per-hop behaviour that the sender wants for the session's packets (RFC 3308).
    pub session_ds: Option<u16>,
}

/// Outgoing-Call-Connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occn {
    /// Bits a second from the LAC to the subscriber.
    pub tx_connect_speed: u32,
    /// Bits a second from the subscriber to the LAC, where it says so.
    pub rx_connect_speed: Option<u32>,
    /// Bit 0: synchronous, bit 1: asynchronous.
    pub framing_type: u32,
    /// Whether data must always have sequence numbers.
    pub sequencing_required: bool,
}

impl Ocrq {
    pub(super) fn decode(avps: &Collected<'_>) -> Result<Self, Fault> {
        let called = Attribute::CalledNumber;
        Ok(Self {
            assigned_session_id: session_id(avps)?,
            call_serial_number: required_u32(avps, Attribute::CallSerialNumber)?,
            minimum_bps: required_u32(avps, Attribute::MinimumBps)?,
            maximum_bps: required_u32(avps, Attribute::MaximumBps)?,
            bearer_type: required_u32(avps, Attribute::BearerType)?,
            framing_type: required_u32(avps, Attribute::FramingType)?,
            called_number: avps.required(called, avps.owned(called))?,
            sub_address: avps.owned(Attribute::SubAddress),
            session_ds: avps.u16(Attribute::SessionDs),
        })
    }

    pub(super) fn encode(&self, encoder: &mut Encoder<'_>) {
        encoder.u16(Attribute::AssignedSessionId, self.assigned_session_id.0);
        encoder.u32(Attribute::CallSerialNumber, self.call_serial_number);
        encoder.u32(Attribute::MinimumBps, self.minimum_bps);
        encoder.u32(Attribute::MaximumBps, self.maximum_bps);
        encoder.u32(Attribute::BearerType, self.bearer_type);
        encoder.u32(Attribute::FramingType, self.framing_type);
        encoder.bytes(Attribute::CalledNumber, &self.called_number);
        optional_bytes(encoder, Attribute::SubAddress, self.sub_address.as_deref());
        optional_u16(encoder, Attribute::SessionDs, self.session_ds);
    }
}

impl Ocrp {
    pub(super) fn decode(avps: &Collected<'_>) -> Result<Self, Fault> {
        Ok(Self {
            assigned_session_id: session_id(avps)?,
            physical_channel_id: avps.u32(Attribute::PhysicalChannelId),
            session_ds: avps.u16(Attribute::SessionDs),
        })
    }

    pub(super) fn encode(&self, encoder: &mut Encoder<'_>) {
        encoder.u16(Attribute::AssignedSessionId, self.assigned_session_id.0);
        optional_u32(encoder, Attribute::PhysicalChannelId, self.physical_channel_id);
        optional_u16(encoder, Attribute::SessionDs, self.session_ds);
    }
}

impl Occn {
    pub(super) fn decode(avps: &Collected<'_>) -> Result<Self, Fault> {
        let (tx_connect_speed, rx_connect_speed) = connect_speeds(avps)?;
        Ok(Self {
            tx_connect_speed,
            rx_connect_speed,
            framing_type: required_u32(avps, Attribute::FramingType)?,
            sequencing_required: avps.bytes(Attribute::SequencingRequired).is_some(),
        })
    }

    pub(super) fn encode(&self, encoder: &mut Encoder<'_>) {
        encoder.u32(Attribute::TxConnectSpeed, self.tx_connect_speed);
        encoder.u32(Attribute::FramingType, self.framing_type);
        optional_u32(encoder, Attribute::RxConnectSpeed, self.rx_connect_speed);
        flag(encoder, Attribute::SequencingRequired, self.sequencing_required);
    }
}
