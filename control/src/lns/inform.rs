//! DHCPINFORM: who may ask, and how often.

use std::net::Ipv4Addr;

use super::{Lns, LnsCounter};
use crate::config::Config;
use crate::dhcp::{Answer, Responder};
use crate::time::Time;

/// Answers a second, of all subscribers together: a host asks once when its link is up.
const ANSWERS_PER_SECOND_MAX: u32 = 20_000;

/// What is told; `None` where nothing is configured that IPCP does not tell.
pub fn responder(config: &Config) -> Option<Responder> {
    let ppp = &config.ppp;
    (!ppp.routes.is_empty() || !ppp.domain.is_empty()).then(|| Responder {
        gateway: config.lns.gateway,
        dns: ppp.dns.clone(),
        domain: ppp.domain.clone(),
        routes: ppp.routes.clone(),
    })
}

impl Lns {
    /// Whether DHCPINFORM is answered.
    pub fn answers_dhcp(&self) -> bool {
        self.responder.is_some()
    }

    /// Takes a datagram that a subscriber sent to the DHCP port. The workers have checked that its
    /// source is the session's; here it has to be an address that some session was given.
    pub fn handle_dhcp(&mut self, now: Time, source: Ipv4Addr, datagram: &[u8]) -> Option<Answer> {
        let responder = self.responder.as_ref()?;
        let known = self.addresses.is_leased(source);
        let answer = if known && self.inform_limit.take(now, ANSWERS_PER_SECOND_MAX) {
            responder.answer(source, datagram).inspect_err(|ignored| {
                tracing::trace!(%source, %ignored, "DHCP message");
            })
        } else {
            Err(crate::dhcp::Ignored::Address)
        };
        let counter =
            if answer.is_ok() { LnsCounter::InformAnswered } else { LnsCounter::InformIgnored };
        self.counters.add(counter);
        answer.ok()
    }
}
