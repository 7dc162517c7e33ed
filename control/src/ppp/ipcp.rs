//! The IP Control Protocol's options as the side that assigns addresses handles them (RFC 1332
//! section 3, RFC 1877).
//!
//! Asked for: our own address. Granted: the assigned address and no other, and the name servers
//! that there are. Header compression is rejected.

use std::net::Ipv4Addr;

use rand::RngCore;

use super::frame::protocol;
use super::option::{OptionList, Options, RawOption, Reply, Value, Verdict, assemble};
use super::policy::Policy;
use super::{Config, DownCause, Ipv4Grant};

/// Types of options.
pub mod kind {
    /// IP-Address (RFC 1332 section 3.3).
    pub const ADDRESS: u8 = 3;
    /// Primary DNS Server Address (RFC 1877 section 1.1).
    pub const DNS_PRIMARY: u8 = 129;
    /// Primary NBNS Server Address (RFC 1877 section 1.2).
    pub const NBNS_PRIMARY: u8 = 130;
    /// Secondary DNS Server Address (RFC 1877 section 1.3).
    pub const DNS_SECONDARY: u8 = 131;
    /// Secondary NBNS Server Address (RFC 1877 section 1.4).
    pub const NBNS_SECONDARY: u8 = 132;
}

/// The IPCP of the side that assigns addresses.
#[derive(Debug)]
pub struct Ipcp {
    /// The peer's address.
    address: Ipv4Addr,
    /// Its name servers; unspecified where there is none.
    dns: [Ipv4Addr; 2],
    /// How often the peer did not like our address.
    naks: u32,
    ask_address: bool,
}

impl Default for Ipcp {
    fn default() -> Self {
        let none = Ipv4Addr::UNSPECIFIED;
        Self { address: none, dns: [none; 2], naks: 0, ask_address: true }
    }
}

impl Ipcp {
    /// What the peer gets.
    pub fn grant(&mut self, config: &Config, grant: &Ipv4Grant) {
        self.address = grant.address;
        let configured = config.ipv4.as_ref().map_or(&[][..], |ipv4| &ipv4.dns);
        let dns = if grant.dns.is_empty() { configured } else { &grant.dns };
        for (place, server) in self.dns.iter_mut().enumerate() {
            *server = dns.get(place).copied().unwrap_or(Ipv4Addr::UNSPECIFIED);
        }
    }

    /// The peer's address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    fn judge_option(&self, config: &Config, option: RawOption<'_>) -> Verdict {
        let nbns = |place: usize| config.ipv4.as_ref()?.nbns.get(place).copied();
        let dns = |place: usize| {
            self.dns.get(place).copied().filter(|server: &Ipv4Addr| !server.is_unspecified())
        };
        let right = match option.kind {
            kind::ADDRESS => Some(self.address),
            kind::DNS_PRIMARY => dns(0),
            kind::DNS_SECONDARY => dns(1),
            kind::NBNS_PRIMARY => nbns(0),
            kind::NBNS_SECONDARY => nbns(1),
            _ => None,
        };
        match right {
            None => Verdict::Reject,
            Some(right) if option.data == right.octets() => Verdict::Ack,
            Some(right) => Verdict::Nak(Value::from(right)),
        }
    }
}

impl Policy for Ipcp {
    const PROTOCOL: u16 = protocol::IPCP;

    fn reset(&mut self, _config: &Config) {
        self.naks = 0;
        self.ask_address = true;
    }

    fn request(&self, config: &Config) -> OptionList {
        let mut options = OptionList::default();
        if self.ask_address {
            let address = config.ipv4.as_ref().and_then(|ipv4| ipv4.local_address);
            options.push(kind::ADDRESS, &address.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
        }
        options
    }

    fn judge(
        &mut self,
        config: &Config,
        request: &Options<'_>,
        naks_exhausted: bool,
        _rng: &mut dyn RngCore,
    ) -> Result<Reply, DownCause> {
        // A peer that does not ask for an address is told the one it has (RFC 1332 section 3.3).
        let wanted = [(kind::ADDRESS, Value::from(self.address))];
        Ok(assemble(request, &wanted, naks_exhausted, |option| self.judge_option(config, option)))
    }

    fn on_nak(
        &mut self,
        config: &Config,
        option: RawOption<'_>,
        _rng: &mut dyn RngCore,
    ) -> Result<(), DownCause> {
        if option.kind == kind::ADDRESS {
            // Our address is what it is. A peer that cannot accept that need not know it.
            self.naks = self.naks.saturating_add(1);
            self.ask_address = self.naks < config.max_failure;
        }
        Ok(())
    }

    fn on_reject(&mut self, option: RawOption<'_>) -> Result<(), DownCause> {
        if option.kind == kind::ADDRESS {
            self.ask_address = false;
        }
        Ok(())
    }
}
