//! What an access node knows of a subscriber's line, handed on by the LAC in its ICRQ (RFC 5515).

use super::call::optional_bytes;
use crate::l2tp::avp::{Attribute, Collected, Encoder};

/// A value for each direction, where it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Directions<T> {
    /// From the subscriber.
    pub upstream: Option<T>,
    /// To the subscriber.
    pub downstream: Option<T>,
}

impl<T> Default for Directions<T> {
    fn default() -> Self {
        Self { upstream: None, downstream: None }
    }
}

/// A subscriber's line. Rates are in bits a second, delays in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccessLine {
    /// The port of the access node, in a form of its operator's.
    pub agent_circuit_id: Option<Vec<u8>>,
    /// The subscriber, in a form of the operator's.
    pub agent_remote_id: Option<Vec<u8>>,
    /// Rates that the line has now.
    pub actual_rate: Directions<u64>,
    /// Rates below which the line is not to be trained.
    pub minimum_rate: Directions<u64>,
    /// Rates that the line could have.
    pub attainable_rate: Directions<u64>,
    /// Rates that the line may have.
    pub maximum_rate: Directions<u64>,
    /// Rates below which the line is not to go to save power.
    pub minimum_low_power_rate: Directions<u64>,
    /// Interleaving delays that the line may have.
    pub maximum_delay: Directions<u32>,
    /// Interleaving delays that the line has now.
    pub actual_delay: Directions<u32>,
    /// Data link, first and second encapsulation, as RFC 5515 numbers them.
    pub encapsulation: Option<[u8; 3]>,
    /// Kind of line, as ANCP numbers them.
    pub line_type: Option<u32>,
    /// Whether the access node makes PPPoE of the subscriber's PPPoA.
    pub interworking: bool,
}

/// The attributes of rates, upstream and downstream, in the order of [`AccessLine::rates`].
const RATES: [(Attribute, Attribute); 5] = [
    (Attribute::ActualRateUpstream, Attribute::ActualRateDownstream),
    (Attribute::MinimumRateUpstream, Attribute::MinimumRateDownstream),
    (Attribute::AttainableRateUpstream, Attribute::AttainableRateDownstream),
    (Attribute::MaximumRateUpstream, Attribute::MaximumRateDownstream),
    (Attribute::MinimumLowPowerRateUpstream, Attribute::MinimumLowPowerRateDownstream),
];

impl AccessLine {
    fn rates(&self) -> [Directions<u64>; 5] {
        [
            self.actual_rate,
            self.minimum_rate,
            self.attainable_rate,
            self.maximum_rate,
            self.minimum_low_power_rate,
        ]
    }

    /// `None` where nothing is said of the line.
    pub(super) fn decode(avps: &Collected<'_>) -> Option<Self> {
        let [actual_rate, minimum_rate, attainable_rate, maximum_rate, minimum_low_power_rate] =
            RATES.map(|(upstream, downstream)| Directions {
                upstream: avps.u64(upstream),
                downstream: avps.u64(downstream),
            });
        let delay = |upstream, downstream| Directions {
            upstream: avps.u32(upstream),
            downstream: avps.u32(downstream),
        };
        let encapsulation = avps.bytes(Attribute::AccessLoopEncapsulation);
        let line = Self {
            agent_circuit_id: avps.owned(Attribute::AgentCircuitId),
            agent_remote_id: avps.owned(Attribute::AgentRemoteId),
            actual_rate,
            minimum_rate,
            attainable_rate,
            maximum_rate,
            minimum_low_power_rate,
            maximum_delay: delay(
                Attribute::MaximumDelayUpstream,
                Attribute::MaximumDelayDownstream,
            ),
            actual_delay: delay(Attribute::ActualDelayUpstream, Attribute::ActualDelayDownstream),
            encapsulation: encapsulation.and_then(|value| value.first_chunk().copied()),
            line_type: avps.u32(Attribute::AccessLineType),
            interworking: avps.bytes(Attribute::IwfSession).is_some(),
        };
        (line != Self::default()).then_some(line)
    }

    pub(super) fn encode(&self, encoder: &mut Encoder<'_>) {
        let text = self.agent_circuit_id.as_deref();
        optional_bytes(encoder, Attribute::AgentCircuitId, text);
        optional_bytes(encoder, Attribute::AgentRemoteId, self.agent_remote_id.as_deref());
        for ((upstream, downstream), rate) in RATES.into_iter().zip(self.rates()) {
            for (attribute, rate) in [(upstream, rate.upstream), (downstream, rate.downstream)] {
                optional_bytes(
                    encoder,
                    attribute,
                    rate.map(u64::to_be_bytes).as_ref().map(|r| &r[..]),
                );
            }
        }
        for (attribute, delay) in [
            (Attribute::MaximumDelayUpstream, self.maximum_delay.upstream),
            (Attribute::ActualDelayUpstream, self.actual_delay.upstream),
            (Attribute::MaximumDelayDownstream, self.maximum_delay.downstream),
            (Attribute::ActualDelayDownstream, self.actual_delay.downstream),
            (Attribute::AccessLineType, self.line_type),
        ] {
            super::call::optional_u32(encoder, attribute, delay);
        }
        let encapsulation = self.encapsulation.as_ref().map(|value| &value[..]);
        optional_bytes(encoder, Attribute::AccessLoopEncapsulation, encapsulation);
        super::call::flag(encoder, Attribute::IwfSession, self.interworking);
    }
}
