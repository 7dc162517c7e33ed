//! The IP Control Protocol's options, for both roles (RFC 1332 section 3, RFC 1877).
//!
//! Who has an address of its own and one for the peer asks for the one and grants the other and no
//! third. Who has none asks for 0.0.0.0, takes what the peer says instead, and lets the peer be who
//! it says it is. Name servers are given where there are any, and asked for where they are wanted.
//! Header compression is rejected.

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

/// Why IPCP fails.
const NO_ADDRESS: DownCause = DownCause::NegotiationFailed("an IPv4 address");

const NONE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

/// One end's IPCP. Addresses and servers that there are not are unspecified.
#[derive(Debug)]
pub struct Ipcp {
    /// Our address: as configured, or as the peer assigns it.
    local: Ipv4Addr,
    /// The peer's address as granted; unspecified: what it asks for.
    granted: Ipv4Addr,
    /// The peer's address, acknowledged last.
    peer: Ipv4Addr,
    /// For the peer.
    dns: [Ipv4Addr; 2],
    nbns: [Ipv4Addr; 2],
    /// From the peer.
    received_dns: [Ipv4Addr; 2],
    /// How often the peer did not like our address.
    naks: u32,
    /// The peer assigns our address.
    is_assigned: bool,
    ask_address: bool,
    /// Which name servers are asked for.
    ask_dns: [bool; 2],
}

impl Default for Ipcp {
    fn default() -> Self {
        Self {
            local: NONE,
            granted: NONE,
            peer: NONE,
            dns: [NONE; 2],
            nbns: [NONE; 2],
            received_dns: [NONE; 2],
            naks: 0,
            is_assigned: false,
            ask_address: true,
            ask_dns: [false; 2],
        }
    }
}

impl Ipcp {
    /// What the peer gets.
    pub fn grant(&mut self, config: &Config, grant: &Ipv4Grant) {
        self.granted = grant.address;
        let configured = config.ipv4.as_ref();
        self.dns = first_two(&grant.dns, configured.map_or(&[], |ipv4| &ipv4.dns));
        self.nbns = first_two(&grant.nbns, configured.map_or(&[], |ipv4| &ipv4.nbns));
    }

    /// Our address, once IPCP is open.
    pub fn local(&self) -> Ipv4Addr {
        self.local
    }

    /// The peer's address, once IPCP is open; unspecified where it keeps it to itself.
    pub fn peer(&self) -> Ipv4Addr {
        self.peer
    }

    /// The name servers that the peer gave us, once IPCP is open.
    pub fn received_dns(&self) -> Vec<Ipv4Addr> {
        let asked = self.received_dns.into_iter().zip(self.ask_dns).filter(|(_, ask)| *ask);
        asked.map(|(server, _)| server).filter(|server| !server.is_unspecified()).collect()
    }

    fn judge_option(&self, option: RawOption<'_>) -> Verdict {
        let right = match option.kind {
            kind::ADDRESS if self.granted.is_unspecified() => {
                // There is none to give, so it has to know its own.
                return match address(option).filter(|address| is_usable(*address)) {
                    Some(_) => Verdict::Ack,
                    None => Verdict::Reject,
                };
            }
            kind::ADDRESS => self.granted,
            kind::DNS_PRIMARY => self.dns[0],
            kind::DNS_SECONDARY => self.dns[1],
            kind::NBNS_PRIMARY => self.nbns[0],
            kind::NBNS_SECONDARY => self.nbns[1],
            _ => NONE,
        };
        match right {
            NONE => Verdict::Reject,
            right if option.data == right.octets() => Verdict::Ack,
            right => Verdict::Nak(Value::from(right)),
        }
    }
}

impl Policy for Ipcp {
    const PROTOCOL: u16 = protocol::IPCP;

    fn reset(&mut self, config: &Config) {
        let local = config.ipv4.as_ref().and_then(|ipv4| ipv4.local_address);
        self.local = local.unwrap_or(NONE);
        self.is_assigned = local.is_none();
        self.received_dns = [NONE; 2];
        self.naks = 0;
        self.ask_address = true;
        self.ask_dns = [config.ipv4.as_ref().is_some_and(|ipv4| ipv4.ask_dns); 2];
    }

    fn request(&self, _config: &Config) -> OptionList {
        let mut options = OptionList::default();
        if self.ask_address {
            options.push(kind::ADDRESS, &self.local.octets());
        }
        let servers = [kind::DNS_PRIMARY, kind::DNS_SECONDARY].into_iter().zip(self.received_dns);
        for ((kind, server), ask) in servers.zip(self.ask_dns) {
            if ask {
                options.push(kind, &server.octets());
            }
        }
        options
    }

    fn judge(
        &mut self,
        _config: &Config,
        request: &Options<'_>,
        naks_exhausted: bool,
        _rng: &mut dyn RngCore,
    ) -> Result<Reply, DownCause> {
        // A peer that does not ask for an address is told the one it has (RFC 1332 section 3.3).
        let wanted = [(kind::ADDRESS, Value::from(self.granted))];
        let wanted = if self.granted.is_unspecified() { &[][..] } else { &wanted[..] };
        let reply = assemble(request, wanted, naks_exhausted, |option| self.judge_option(option));
        if reply == Reply::Ack {
            let named = request.iter().find(|option| option.kind == kind::ADDRESS);
            self.peer = named.and_then(address).unwrap_or(NONE);
            // It was told often enough. Whatever address it uses, it is not the one that it got.
            if self.peer != self.granted && !self.granted.is_unspecified() {
                return Err(NO_ADDRESS);
            }
        }
        Ok(reply)
    }

    fn on_nak(
        &mut self,
        config: &Config,
        option: RawOption<'_>,
        _rng: &mut dyn RngCore,
    ) -> Result<(), DownCause> {
        let named = address(option).filter(|address| is_usable(*address));
        match (option.kind, named) {
            (kind::ADDRESS, Some(named)) if self.is_assigned => self.local = named,
            (kind::ADDRESS, _) => {
                // Our address is what it is. A peer that cannot accept that need not know it.
                self.naks = self.naks.saturating_add(1);
                self.ask_address = self.is_assigned || self.naks < config.max_failure;
            }
            (kind::DNS_PRIMARY, Some(named)) => self.received_dns[0] = named,
            (kind::DNS_SECONDARY, Some(named)) => self.received_dns[1] = named,
            _ => {}
        }
        Ok(())
    }

    fn on_reject(&mut self, option: RawOption<'_>) -> Result<(), DownCause> {
        match option.kind {
            kind::ADDRESS if self.is_assigned => return Err(NO_ADDRESS),
            kind::ADDRESS => self.ask_address = false,
            kind::DNS_PRIMARY => self.ask_dns[0] = false,
            kind::DNS_SECONDARY => self.ask_dns[1] = false,
            _ => {}
        }
        Ok(())
    }

    /// Without an address of ours there is no IPv4.
    fn is_complete(&self) -> bool {
        !self.local.is_unspecified()
    }
}

/// The first two of the one list, or of the other where the one is empty.
fn first_two(servers: &[Ipv4Addr], otherwise: &[Ipv4Addr]) -> [Ipv4Addr; 2] {
    let servers = if servers.is_empty() { otherwise } else { servers };
    let server = |place: usize| servers.get(place).copied().unwrap_or(NONE);
    [server(0), server(1)]
}

fn address(option: RawOption<'_>) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(option.data).ok().map(Ipv4Addr::from)
}

/// Whether somebody may have this address.
fn is_usable(address: Ipv4Addr) -> bool {
    !(address.is_unspecified()
        || address.is_broadcast()
        || address.is_multicast()
        || address.is_loopback())
}
