//! What a LAC says of a call's line, before and while the call is up; for the operator.

use super::Lns;
use crate::admin::{ErrorsRow, LineRow, RatesRow};
use crate::l2tp::message::{AccessLine, CallErrors, Iccn, Icrq, Sli};
use crate::l2tp::result::printable;
use crate::l2tp::{SessionId, TunnelId};
use crate::ppp::proxy::{Proxy, ProxyAuthentication};

/// Characters of a text that are kept: circuit IDs have no more (RFC 5515), telephone
/// numbers far fewer.
const TEXT_CHARS_MAX: usize = 63;

/// What is known of a call's line.
#[derive(Debug, Default)]
pub struct Line {
    called_number: Box<str>,
    tx_connect_speed: u32,
    rx_connect_speed: u32,
    framing_type: u32,
    sequencing_required: bool,
    access: Option<Box<Access>>,
    errors: Option<Box<CallErrors>>,
    link_info: Option<Sli>,
}

/// The part of what an access node says that operators look for.
#[derive(Debug)]
struct Access {
    circuit_id: Box<str>,
    remote_id: Box<str>,
    rates: [Option<u64>; 4],
}

fn short(text: Option<&[u8]>) -> Box<str> {
    text.map(printable).unwrap_or_default().chars().take(TEXT_CHARS_MAX).collect()
}

impl Line {
    /// What an ICRQ says.
    pub fn of_icrq(icrq: &Icrq) -> Self {
        let access = |line: &AccessLine| {
            let (actual, attainable) = (line.actual_rate, line.attainable_rate);
            Box::new(Access {
                circuit_id: short(line.agent_circuit_id.as_deref()),
                remote_id: short(line.agent_remote_id.as_deref()),
                rates: [
                    actual.upstream,
                    actual.downstream,
                    attainable.upstream,
                    attainable.downstream,
                ],
            })
        };
        Self {
            called_number: short(icrq.called_number.as_deref()),
            access: icrq.access_line.as_deref().map(access),
            ..Self::default()
        }
    }

    /// What is known of a line that we ask for.
    pub fn of_called(called_number: &str) -> Self {
        Self { called_number: short(Some(called_number.as_bytes())), ..Self::default() }
    }

    /// What ICCN or OCCN adds.
    pub fn connected(&mut self, iccn: &Iccn) {
        self.tx_connect_speed = iccn.tx_connect_speed;
        self.rx_connect_speed = iccn.upstream_speed();
        self.framing_type = iccn.framing_type;
        self.sequencing_required = iccn.sequencing_required;
    }

    /// Whether data must have sequence numbers.
    pub fn is_sequencing_required(&self) -> bool {
        self.sequencing_required
    }

    /// As the operator sees it.
    pub fn row(&self) -> LineRow {
        let access = self.access.as_deref();
        let rate = |index: usize| access.and_then(|access| *access.rates.get(index)?);
        LineRow {
            called_number: self.called_number.to_string(),
            connect: RatesRow {
                upstream: Some(self.rx_connect_speed.into()).filter(|rate| *rate != 0),
                downstream: Some(self.tx_connect_speed.into()).filter(|rate| *rate != 0),
            },
            framing: match self.framing_type & 3 {
                1 => "sync",
                2 => "async",
                3 => "any",
                _ => "",
            }
            .to_owned(),
            sequencing_required: self.sequencing_required,
            circuit_id: access.map(|access| access.circuit_id.to_string()).unwrap_or_default(),
            remote_id: access.map(|access| access.remote_id.to_string()).unwrap_or_default(),
            actual: RatesRow { upstream: rate(0), downstream: rate(1) },
            attainable: RatesRow { upstream: rate(2), downstream: rate(3) },
            errors: self.errors.as_deref().map(errors_row),
            send_accm: self.link_info.map(|sli| sli.send_accm),
            receive_accm: self.link_info.map(|sli| sli.receive_accm),
        }
    }
}

fn errors_row(errors: &CallErrors) -> ErrorsRow {
    ErrorsRow {
        crc: errors.crc,
        framing: errors.framing,
        hardware_overruns: errors.hardware_overruns,
        buffer_overruns: errors.buffer_overruns,
        timeouts: errors.timeouts,
        alignment: errors.alignment,
    }
}

/// What a LAC hands over with the call, where it does.
pub fn proxy(iccn: &Iccn) -> Option<Proxy> {
    let authentication = iccn.proxy_authen_type.map(|kind| ProxyAuthentication {
        kind,
        name: iccn.proxy_authen_name.clone().unwrap_or_default(),
        challenge: iccn.proxy_authen_challenge.clone().unwrap_or_default(),
        // The identifier is the second octet (RFC 2661 section 4.4.5).
        identifier: iccn.proxy_authen_id.unwrap_or(0) as u8,
        response: zeroize::Zeroizing::new(
            iccn.proxy_authen_response
                .as_ref()
                .map(|response| response.expose().to_vec())
                .unwrap_or_default(),
        ),
    });
    let proxy = Proxy {
        initial_received: iccn.initial_received_lcp_confreq.clone(),
        last_sent: iccn.last_sent_lcp_confreq.clone(),
        last_received: iccn.last_received_lcp_confreq.clone(),
        authentication,
    };
    (proxy != Proxy::default()).then_some(proxy)
}

impl Lns {
    /// What a LAC has counted on a call's line since it came up (WEN, RFC 2661 section 6.13).
    pub(super) fn handle_wan_errors(
        &mut self,
        tunnel: TunnelId,
        session: SessionId,
        errors: CallErrors,
    ) {
        if let Some(call) = self.call_of(tunnel, session) {
            let line = call.line.get_or_insert_default();
            match &mut line.errors {
                // Counted since the call began, so the newest is the sum.
                Some(known) => **known = errors,
                none => *none = Some(Box::new(errors)),
            }
        }
    }

    /// What the other end has agreed on with the subscriber (SLI, RFC 2661 section 6.14): shown, as
    /// nothing here depends on it.
    pub(super) fn handle_link_info(&mut self, tunnel: TunnelId, session: SessionId, sli: Sli) {
        if let Some(call) = self.call_of(tunnel, session) {
            call.line.get_or_insert_default().link_info = Some(sli);
        }
    }
}
