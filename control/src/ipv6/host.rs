//! The other end: a host or router that has dialled, asks for the link's prefix and name servers
//! (RFC 4861 section 6.3, RFC 4862, RFC 6106) and for a prefix of its own (RFC 3633).
//!
//! Its owner compares [`Host::status`] with what it has put into force whenever
//! [`Host::take_changed`] says so.

use std::net::Ipv6Addr;
use std::time::Duration;

use ipnet::Ipv6Net;
use rand::RngCore;

use super::dhcp::client::Client;
use super::dhcp::message::Message as DhcpMessage;
use super::dhcp::{CLIENT_PORT, SERVER_PORT};
use super::discovery::{self, Message, RouterAdvertisement};
use super::packet::{self, Packet, Payload};
use super::{
    ALL_DHCP_SERVERS, ALL_NODES, ALL_ROUTERS, Discard, MTU_MIN, address_under, link_local,
    solicited_node,
};
use crate::time::Time;

/// MAX_RTR_SOLICITATIONS and RTR_SOLICITATION_INTERVAL (RFC 4861 section 10).
const SOLICITATIONS_MAX: u8 = 3;
const SOLICITATION_INTERVAL: Duration = Duration::from_secs(4);

/// What a lifetime of all ones means (RFC 4861 section 4.6.2): for ever.
const INFINITE_SECONDS: u32 = u32::MAX;

/// What is known of the link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// The default router's link-local address.
    pub router: Option<Ipv6Addr>,
    /// The link's prefix, and our address under it.
    pub prefix: Option<Ipv6Net>,
    /// Our address under the prefix.
    pub address: Option<Ipv6Addr>,
    /// The prefix delegated to us.
    pub delegated: Option<Ipv6Net>,
    /// Name servers, those of advertisements first.
    pub dns: Vec<Ipv6Addr>,
    /// The largest packet to send, octets, where the router says so.
    pub mtu: Option<u16>,
}

/// A value that ends.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Until<T> {
    value: T,
    end: Option<Time>,
}

impl<T> Until<T> {
    fn new(now: Time, value: T, seconds: u32) -> Self {
        let end = (seconds != INFINITE_SECONDS).then(|| now + Duration::from_secs(seconds.into()));
        Self { value, end }
    }

    fn is_over(&self, now: Time) -> bool {
        self.end.is_some_and(|end| end <= now)
    }
}

/// The machine of one link.
#[derive(Debug)]
pub struct Host {
    local: u64,
    router: Option<Until<Ipv6Addr>>,
    prefix: Option<Until<Ipv6Net>>,
    dns: Option<Until<Vec<Ipv6Addr>>>,
    mtu: Option<u16>,
    solicitations: u8,
    solicit_at: Option<Time>,
    dhcp: Client,
    /// Whether name servers were asked for by DHCPv6, because an advertisement said so.
    informed: bool,
    wants_delegated: bool,
    outgoing: Option<Vec<u8>>,
    status: Status,
    changed: bool,
}

impl Host {
    /// The machine of a link that has just come up: asks at once. `local`: our interface identifier.
    /// `duid`: ours, the same over restarts (RFC 3315 section 9).
    pub fn new(
        now: Time,
        local: u64,
        duid: Box<[u8]>,
        wants_delegated: bool,
        rng: &mut impl RngCore,
    ) -> Self {
        let mut dhcp = Client::new(duid, 1);
        if wants_delegated {
            dhcp.solicit(now, rng);
        }
        Self {
            local,
            router: None,
            prefix: None,
            dns: None,
            mtu: None,
            solicitations: 0,
            solicit_at: Some(now),
            dhcp,
            informed: false,
            wants_delegated,
            outgoing: None,
            status: Status::default(),
            changed: false,
        }
    }

    /// What is known of the link.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Whether [`Host::status`] has changed since this was asked last.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Gives a delegated prefix back, before the link is closed.
    pub fn release(&mut self, now: Time, rng: &mut impl RngCore) {
        self.dhcp.release(now, rng);
        self.refresh();
    }

    /// Takes a packet of the other end.
    ///
    /// # Errors
    /// Why it had no effect.
    pub fn handle_packet(
        &mut self,
        now: Time,
        octets: &[u8],
        rng: &mut impl RngCore,
    ) -> Result<(), Discard> {
        let packet = packet::parse(octets)?;
        let own = link_local(self.local);
        if ![own, ALL_NODES, solicited_node(own)].contains(&packet.destination) {
            return Err(Discard::Destination);
        }
        match packet.payload {
            Payload::Icmp(message) => self.handle_icmp(now, &packet, message, rng)?,
            Payload::Udp { destination_port: CLIENT_PORT, payload, .. } => {
                self.dhcp.handle(now, &DhcpMessage::decode(payload)?, rng)?;
            }
            Payload::Udp { .. } => return Err(Discard::Unknown),
        }
        self.refresh();
        Ok(())
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time, rng: &mut impl RngCore) {
        if self.solicit_at.is_some_and(|at| at <= now) {
            self.solicitations += 1;
            let again = self.solicitations < SOLICITATIONS_MAX;
            self.solicit_at = again.then(|| now + SOLICITATION_INTERVAL);
            let message = discovery::router_solicitation();
            self.outgoing = Some(packet::icmp(link_local(self.local), ALL_ROUTERS, &message));
        }
        self.router.take_if(|router| router.is_over(now));
        self.prefix.take_if(|prefix| prefix.is_over(now));
        self.dns.take_if(|dns| dns.is_over(now));
        self.dhcp.handle_timeout(now, rng);
        self.refresh();
    }

    /// When [`Host::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Time> {
        let ends = [
            self.solicit_at,
            self.router.as_ref().and_then(|router| router.end),
            self.prefix.as_ref().and_then(|prefix| prefix.end),
            self.dns.as_ref().and_then(|dns| dns.end),
            self.dhcp.poll_timeout(),
        ];
        ends.into_iter().flatten().min()
    }

    /// The next packet to send.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.outgoing.take().or_else(|| {
            let message = self.dhcp.poll_transmit()?;
            let own = link_local(self.local);
            Some(packet::udp((own, CLIENT_PORT), (ALL_DHCP_SERVERS, SERVER_PORT), &message))
        })
    }

    fn handle_icmp(
        &mut self,
        now: Time,
        packet: &Packet<'_>,
        message: &[u8],
        rng: &mut impl RngCore,
    ) -> Result<(), Discard> {
        let own = link_local(self.local);
        let (source, parsed) = (packet.source, discovery::parse(packet, message)?);
        match parsed {
            Message::RouterAdvertisement(advertisement) => {
                self.advertised(now, source, advertisement, rng);
            }
            Message::EchoRequest(request) if source.is_unicast_link_local() => {
                self.outgoing = Some(packet::icmp(own, source, &discovery::echo_reply(request)));
            }
            Message::NeighborSolicitation(target) if target == own => {
                let from_nobody = source.is_unspecified();
                let destination = if from_nobody { ALL_NODES } else { source };
                let answer = discovery::neighbor_advertisement(own, false, !from_nobody);
                self.outgoing = Some(packet::icmp(own, destination, &answer));
            }
            _ => return Err(Discard::Invalid),
        }
        Ok(())
    }

    /// RFC 4861 section 6.3.4. The other end of the link is the only one that can say so: what it
    /// shortens is shortened at once, without the two hours of RFC 4862 section 5.5.3.
    fn advertised(
        &mut self,
        now: Time,
        source: Ipv6Addr,
        advertisement: RouterAdvertisement,
        rng: &mut impl RngCore,
    ) {
        self.solicit_at = None;
        let lifetime = advertisement.lifetime_seconds;
        self.router = (lifetime > 0).then(|| Until::new(now, source, lifetime.into()));
        for prefix in advertisement.prefixes {
            let is_good = prefix.autonomous
                && prefix.prefix.prefix_len() == 64
                && prefix.preferred_seconds <= prefix.valid_seconds
                // The one with the loopback address and those that stand for IPv4 ones.
                && !prefix.prefix.network().is_unspecified()
                && !prefix.prefix.network().is_unicast_link_local()
                && !prefix.prefix.network().is_multicast();
            let known = self.prefix.as_ref().map(|known| known.value);
            if is_good && (known.is_none() || known == Some(prefix.prefix)) {
                self.prefix = (prefix.valid_seconds > 0)
                    .then(|| Until::new(now, prefix.prefix, prefix.valid_seconds));
            }
        }
        if !advertisement.dns.is_empty() {
            self.dns = (advertisement.dns_seconds > 0)
                .then(|| Until::new(now, advertisement.dns, advertisement.dns_seconds));
        }
        let mtu = advertisement.mtu.and_then(|mtu| u16::try_from(mtu).ok());
        self.mtu = mtu.filter(|mtu| *mtu >= MTU_MIN).or(self.mtu);
        // RFC 4861 section 4.2: told to ask for the rest; a client of prefixes asks anyway.
        let told = advertisement.other || advertisement.managed;
        if told && !self.wants_delegated && !std::mem::replace(&mut self.informed, true) {
            self.dhcp.inform(now, rng);
        }
    }

    fn refresh(&mut self) {
        let prefix = self.prefix.as_ref().map(|prefix| prefix.value);
        let mut dns = self.dns.as_ref().map(|dns| dns.value.clone()).unwrap_or_default();
        for server in self.dhcp.dns() {
            if !dns.contains(server) {
                dns.push(*server);
            }
        }
        let status = Status {
            router: self.router.as_ref().map(|router| router.value),
            prefix,
            address: prefix.map(|prefix| address_under(prefix, self.local)),
            delegated: self.dhcp.prefix(),
            dns,
            mtu: self.mtu,
        };
        if status != self.status {
            self.status = status;
            self.changed = true;
        }
    }
}

#[cfg(test)]
mod tests;
