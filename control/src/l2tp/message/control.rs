//! Messages of the control connection (RFC 2661 sections 6.1 to 6.5).

use super::call::{optional_bytes, optional_u16, optional_u32};
use crate::l2tp::TunnelId;
use crate::l2tp::avp::{Attribute, Collected, Encoder, Fault};
use crate::l2tp::result::{ErrorCode, ResultCode, TunnelResult};
use crate::l2tp::secret::RESPONSE_BYTES;

/// L2TP version 1 revision 0, what the Protocol Version AVP of L2TPv2 says.
pub const PROTOCOL_VERSION: u16 = 0x0100;

/// Both kinds of framing, asynchronous and synchronous, in a Framing Capabilities AVP.
pub const FRAMING_ANY: u32 = 3;

/// Start-Control-Connection-Request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sccrq {
    /// Version in the high octet, revision in the low one.
    pub protocol_version: u16,
    /// Bit 0: synchronous, bit 1: asynchronous.
    pub framing_capabilities: u32,
    /// Bit 0: digital, bit 1: analogue.
    pub bearer_capabilities: Option<u32>,
    /// Name of the sender, without NULs at its end.
    pub host_name: Vec<u8>,
    /// What the sender is.
    pub vendor_name: Option<Vec<u8>>,
    /// In a form that only the vendor knows.
    pub firmware_revision: Option<u16>,
    /// How the sender wants to be addressed.
    pub assigned_tunnel_id: TunnelId,
    /// Messages that may be under way to the sender; 4 where absent.
    pub receive_window: Option<u16>,
    /// To be answered in the SCCRP.
    pub challenge: Option<Vec<u8>>,
    /// The lower value wins where both sides ask at once.
    pub tie_breaker: Option<[u8; 8]>,
    /// Per-hop behaviour that the sender wants for control messages (RFC 3308).
    pub control_ds: Option<u16>,
    /// What the sender can do after it has failed (RFC 4951).
    pub failover: Option<FailoverCapability>,
}

/// The Failover Capability AVP (RFC 4951). We do not send it, and so nobody may ask us
/// to recover a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailoverCapability {
    /// Bit 0: of control channels, bit 1: of data channels.
    pub flags: u16,
    /// How long the sender may take to come back.
    pub recovery_time_milliseconds: u32,
}

impl FailoverCapability {
    fn decode(avps: &Collected<'_>) -> Option<Self> {
        let [f0, f1, t0, t1, t2, t3] =
            *avps.bytes(Attribute::FailoverCapability)?.first_chunk::<6>()?;
        let recovery_time_milliseconds = u32::from_be_bytes([t0, t1, t2, t3]);
        Some(Self { flags: u16::from_be_bytes([f0, f1]), recovery_time_milliseconds })
    }

    fn encode(self, encoder: &mut Encoder<'_>) {
        let mut value = self.flags.to_be_bytes().to_vec();
        value.extend_from_slice(&self.recovery_time_milliseconds.to_be_bytes());
        encoder.bytes(Attribute::FailoverCapability, &value);
    }
}

/// Start-Control-Connection-Reply.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the same fields as in `Sccrq`")]
pub struct Sccrp {
    pub protocol_version: u16,
    pub framing_capabilities: u32,
    pub bearer_capabilities: Option<u32>,
    pub host_name: Vec<u8>,
    pub vendor_name: Option<Vec<u8>>,
    pub firmware_revision: Option<u16>,
    pub assigned_tunnel_id: TunnelId,
    pub receive_window: Option<u16>,
    /// To be answered in the SCCCN.
    pub challenge: Option<Vec<u8>>,
    /// The answer to the SCCRQ's challenge.
    pub challenge_response: Option<[u8; RESPONSE_BYTES]>,
    pub control_ds: Option<u16>,
    pub failover: Option<FailoverCapability>,
}

/// Start-Control-Connection-Connected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scccn {
    /// The answer to the SCCRP's challenge.
    pub challenge_response: Option<[u8; RESPONSE_BYTES]>,
}

/// Stop-Control-Connection-Notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopCcn {
    /// The sender's identifier of the tunnel, where it was readable.
    pub assigned_tunnel_id: Option<TunnelId>,
    /// Why.
    pub result: ResultCode,
}

/// The Host Name, of which one maker's includes a C string's end (docs/peers.md row 2).
fn host_name(avps: &Collected<'_>) -> Result<Vec<u8>, Fault> {
    let mut name = avps.required(Attribute::HostName, avps.owned(Attribute::HostName))?;
    while name.last() == Some(&0) {
        name.pop();
    }
    Ok(name)
}

/// The Protocol Version, of which any revision of version 1 will do.
fn protocol_version(avps: &Collected<'_>) -> Result<u16, Fault> {
    let attribute = Attribute::ProtocolVersion;
    let version = avps.required(attribute, avps.u16(attribute))?;
    if version >> 8 == PROTOCOL_VERSION >> 8 {
        return Ok(version);
    }
    Err(Fault {
        code: TunnelResult::Version.into(),
        // RFC 2661 section 4.4.2: with this result the error code is the highest version.
        error: ErrorCode::from(PROTOCOL_VERSION),
        text: format!("protocol version {}.{}", version >> 8, version & 0xff),
    })
}

/// The Receive Window Size; 0 is invalid (RFC 2661 section 5.8).
fn receive_window(avps: &Collected<'_>) -> Result<Option<u16>, Fault> {
    match avps.u16(Attribute::ReceiveWindowSize) {
        Some(0) => Err(Fault::new(ErrorCode::Value, "Receive Window Size of 0".into())),
        window => Ok(window),
    }
}

/// The first sixteen octets (docs/peers.md row 16).
fn challenge_response(avps: &Collected<'_>) -> Option<[u8; RESPONSE_BYTES]> {
    avps.bytes(Attribute::ChallengeResponse)?.first_chunk().copied()
}

impl Sccrq {
    pub(super) fn decode(avps: &Collected<'_>) -> Result<Self, Fault> {
        let framing = Attribute::FramingCapabilities;
        refuse_recovery(avps)?;
        Ok(Self {
            protocol_version: protocol_version(avps)?,
            framing_capabilities: avps.required(framing, avps.u32(framing))?,
            bearer_capabilities: avps.u32(Attribute::BearerCapabilities),
            host_name: host_name(avps)?,
            vendor_name: avps.owned(Attribute::VendorName),
            firmware_revision: avps.u16(Attribute::FirmwareRevision),
            assigned_tunnel_id: TunnelId(avps.identifier(Attribute::AssignedTunnelId)?),
            receive_window: receive_window(avps)?,
            challenge: avps.owned(Attribute::Challenge),
            tie_breaker: avps.bytes(Attribute::TieBreaker).and_then(|v| v.first_chunk().copied()),
            control_ds: avps.u16(Attribute::ControlConnectionDs),
            failover: FailoverCapability::decode(avps),
        })
    }

    pub(super) fn encode(&self, encoder: &mut Encoder<'_>) {
        encoder.u16(Attribute::ProtocolVersion, self.protocol_version);
        encoder.u32(Attribute::FramingCapabilities, self.framing_capabilities);
        encoder.bytes(Attribute::HostName, &self.host_name);
        encoder.u16(Attribute::AssignedTunnelId, self.assigned_tunnel_id.0);
        encode_optional(
            encoder,
            self.bearer_capabilities,
            self.firmware_revision,
            self.vendor_name.as_deref(),
            self.receive_window,
        );
        if let Some(challenge) = &self.challenge {
            encoder.bytes(Attribute::Challenge, challenge);
        }
        if let Some(tie_breaker) = &self.tie_breaker {
            encoder.bytes(Attribute::TieBreaker, tie_breaker);
        }
        encode_extensions(encoder, self.control_ds, self.failover);
    }
}

impl Sccrp {
    pub(super) fn decode(avps: &Collected<'_>) -> Result<Self, Fault> {
        let framing = Attribute::FramingCapabilities;
        Ok(Self {
            protocol_version: protocol_version(avps)?,
            framing_capabilities: avps.required(framing, avps.u32(framing))?,
            bearer_capabilities: avps.u32(Attribute::BearerCapabilities),
            host_name: host_name(avps)?,
            vendor_name: avps.owned(Attribute::VendorName),
            firmware_revision: avps.u16(Attribute::FirmwareRevision),
            assigned_tunnel_id: TunnelId(avps.identifier(Attribute::AssignedTunnelId)?),
            receive_window: receive_window(avps)?,
            challenge: avps.owned(Attribute::Challenge),
            challenge_response: challenge_response(avps),
            control_ds: avps.u16(Attribute::ControlConnectionDs),
            failover: FailoverCapability::decode(avps),
        })
    }

    pub(super) fn encode(&self, encoder: &mut Encoder<'_>) {
        encoder.u16(Attribute::ProtocolVersion, self.protocol_version);
        encoder.u32(Attribute::FramingCapabilities, self.framing_capabilities);
        encoder.bytes(Attribute::HostName, &self.host_name);
        encoder.u16(Attribute::AssignedTunnelId, self.assigned_tunnel_id.0);
        encode_optional(
            encoder,
            self.bearer_capabilities,
            self.firmware_revision,
            self.vendor_name.as_deref(),
            self.receive_window,
        );
        if let Some(response) = &self.challenge_response {
            encoder.bytes(Attribute::ChallengeResponse, response);
        }
        if let Some(challenge) = &self.challenge {
            encoder.bytes(Attribute::Challenge, challenge);
        }
        encode_extensions(encoder, self.control_ds, self.failover);
    }
}

/// What later RFCs add to SCCRQ and SCCRP.
fn encode_extensions(
    encoder: &mut Encoder<'_>,
    control_ds: Option<u16>,
    failover: Option<FailoverCapability>,
) {
    optional_u16(encoder, Attribute::ControlConnectionDs, control_ds);
    if let Some(failover) = failover {
        failover.encode(encoder);
    }
}

/// A tunnel that is to take an earlier one's place (RFC 4951) is refused like anything that must be
/// understood and is not: we offer no failover.
fn refuse_recovery(avps: &Collected<'_>) -> Result<(), Fault> {
    match avps.bytes(Attribute::TunnelRecovery) {
        Some(_) => {
            let text = "failover is not supported: Tunnel Recovery AVP (77)";
            Err(Fault::new(ErrorCode::UnknownAvp, text.into()))
        }
        None => Ok(()),
    }
}

/// What SCCRQ and SCCRP may have alike.
fn encode_optional(
    encoder: &mut Encoder<'_>,
    bearer_capabilities: Option<u32>,
    firmware_revision: Option<u16>,
    vendor_name: Option<&[u8]>,
    receive_window: Option<u16>,
) {
    optional_u32(encoder, Attribute::BearerCapabilities, bearer_capabilities);
    optional_u16(encoder, Attribute::FirmwareRevision, firmware_revision);
    optional_bytes(encoder, Attribute::VendorName, vendor_name);
    optional_u16(encoder, Attribute::ReceiveWindowSize, receive_window);
}

impl Scccn {
    pub(super) fn decode(avps: &Collected<'_>) -> Self {
        Self { challenge_response: challenge_response(avps) }
    }

    pub(super) fn encode(&self, encoder: &mut Encoder<'_>) {
        if let Some(response) = &self.challenge_response {
            encoder.bytes(Attribute::ChallengeResponse, response);
        }
    }
}

impl StopCcn {
    /// Takes what it can get: whatever is wrong with it, the tunnel is over.
    pub(super) fn decode(avps: &Collected<'_>) -> Self {
        let result = avps.bytes(Attribute::ResultCode).and_then(ResultCode::decode);
        Self {
            assigned_tunnel_id: avps.identifier(Attribute::AssignedTunnelId).ok().map(TunnelId),
            result: result.unwrap_or(ResultCode { code: 0, error: None, message: String::new() }),
        }
    }

    pub(super) fn encode(&self, encoder: &mut Encoder<'_>) {
        if let Some(assigned_tunnel_id) = self.assigned_tunnel_id {
            encoder.u16(Attribute::AssignedTunnelId, assigned_tunnel_id.0);
        }
        let mut value = Vec::new();
        self.result.encode(&mut value);
        encoder.bytes(Attribute::ResultCode, &value);
    }
}
