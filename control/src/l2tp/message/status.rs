//! Messages about a call that is up (RFC 2661 sections 6.13 and 6.14).

use crate::l2tp::avp::{Attribute, Collected, Encoder, Fault};

/// WAN-Error-Notify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wen {
    /// The counters since the call came up.
    pub errors: CallErrors,
}

/// Value of the Call Errors AVP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct CallErrors {
    pub crc: u32,
    pub framing: u32,
    pub hardware_overruns: u32,
    pub buffer_overruns: u32,
    pub timeouts: u32,
    pub alignment: u32,
}

/// Set-Link-Info.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sli {
    /// Characters to escape on sending.
    pub send_accm: u32,
    /// Characters to drop on receiving.
    pub receive_accm: u32,
}

impl Wen {
    pub(super) fn decode(avps: &Collected<'_>) -> Result<Self, Fault> {
        let attribute = Attribute::CallErrors;
        let value = avps.required(attribute, avps.bytes(attribute))?;
        // Two reserved octets, then the counters (RFC 2661 section 4.4.6).
        let mut counters =
            value.get(2..).unwrap_or_default().chunks_exact(4).map(|counter| {
                counter.iter().fold(0, |sum: u32, octet| sum << 8 | u32::from(*octet))
            });
        let mut counter = || counters.next().unwrap_or(0);
        let errors = CallErrors {
            crc: counter(),
            framing: counter(),
            hardware_overruns: counter(),
            buffer_overruns: counter(),
            timeouts: counter(),
            alignment: counter(),
        };
        Ok(Self { errors })
    }

    pub(super) fn encode(&self, encoder: &mut Encoder<'_>) {
        let errors = &self.errors;
        let mut value = vec![0, 0];
        for counter in [
            errors.crc,
            errors.framing,
            errors.hardware_overruns,
            errors.buffer_overruns,
            errors.timeouts,
            errors.alignment,
        ] {
            value.extend_from_slice(&counter.to_be_bytes());
        }
        encoder.bytes(Attribute::CallErrors, &value);
    }
}

impl Sli {
    pub(super) fn decode(avps: &Collected<'_>) -> Result<Self, Fault> {
        let value = avps.bytes(Attribute::Accm).and_then(|value| value.first_chunk::<10>());
        let [_, _, s0, s1, s2, s3, r0, r1, r2, r3] = *avps.required(Attribute::Accm, value)?;
        Ok(Self {
            send_accm: u32::from_be_bytes([s0, s1, s2, s3]),
            receive_accm: u32::from_be_bytes([r0, r1, r2, r3]),
        })
    }

    pub(super) fn encode(&self, encoder: &mut Encoder<'_>) {
        let mut value = vec![0, 0];
        value.extend_from_slice(&self.send_accm.to_be_bytes());
        value.extend_from_slice(&self.receive_accm.to_be_bytes());
        encoder.bytes(Attribute::Accm, &value);
    }
}
