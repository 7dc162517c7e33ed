//! Our end of a subscriber's link: the router that tells the prefix and delegates another one.
//!
//! One for each link on which IPv6CP is open. It answers solicitations at once: the random delay of
//! RFC 4861 section 6.2.6 keeps several routers of one link apart, and this link has just the one.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::Ipv6Net;
use rand::{Rng, RngCore};

use super::dhcp::message::Message as DhcpMessage;
use super::dhcp::server::{Link, Server};
use super::dhcp::{CLIENT_PORT, SERVER_PORT};
use super::discovery::{self, Message, Prefix, RouterAdvertisement};
use super::packet::{self, Packet, Payload};
use super::{
    ALL_DHCP_SERVERS, ALL_NODES, ALL_ROUTERS, Discard, address_under, link_local, solicited_node,
};
use crate::time::Time;

/// MaxRtrAdvInterval (RFC 4861 section 6.2.1), the most that it may be: nothing on the link changes
/// while it is up, and a million links make 800 advertisements a second of it.
const INTERVAL_MAX: Duration = Duration::from_secs(1800);

/// MinRtrAdvInterval: 0.33 of that.
const INTERVAL_MIN: Duration = Duration::from_secs(594);

/// AdvDefaultLifetime: three times the interval, seconds.
const LIFETIME_SECONDS: u16 = 5400;

/// MAX_INITIAL_RTR_ADVERTISEMENTS and MAX_INITIAL_RTR_ADVERT_INTERVAL (RFC 4861 section 10): so many
/// of the first ones are not so far apart.
const INITIAL_ADVERTISEMENTS: u8 = 3;
const INITIAL_INTERVAL: Duration = Duration::from_secs(16);

/// MIN_DELAY_BETWEEN_RAS (RFC 4861 section 10), of those to all nodes.
const ADVERTISEMENTS_APART: Duration = Duration::from_secs(3);

/// AdvCurHopLimit.
const HOP_LIMIT: u8 = 64;

/// Packets of one subscriber answered in a second: enough for several hosts behind a bridge that
/// come up together.
const ANSWERS_PER_SECOND_MAX: u8 = 20;

/// What all links have in common.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// Our DUID (RFC 3315 section 9).
    pub server_id: Box<[u8]>,
    /// Recursive name servers, told by advertisement and by DHCPv6.
    pub dns: Vec<Ipv6Addr>,
    /// Domains to search as in a DNS message, told by DHCPv6.
    pub domains: Vec<u8>,
    /// Addresses are assigned by DHCPv6 as well: the M flag (RFC 4861 section 4.2).
    pub managed: bool,
    /// Hosts are told to ask DHCPv6 for the rest: the O flag.
    pub other: bool,
    /// How long prefixes are preferred, seconds.
    pub preferred_seconds: u32,
    /// How long prefixes are valid, seconds.
    pub valid_seconds: u32,
}

/// One link.
#[derive(Debug)]
pub struct Router {
    config: Arc<Config>,
    /// Interface identifiers that IPv6CP agreed on: ours, and the subscriber's.
    local: u64,
    peer: u64,
    prefix: Option<Ipv6Net>,
    mtu: u16,
    server: Server,
    /// When the next advertisement to all nodes is due.
    advertise_at: Time,
    /// When the last one was sent.
    advertised_at: Option<Time>,
    /// Of the first ones, how many are to be sent.
    initial_left: u8,
    /// Answers in the second that began then.
    answers: u8,
    answers_since: Time,
}

impl Router {
    /// The router of a link that has just come up; the first advertisement is due at once. `prefix`:
    /// the /64 of the link. `mtu`: the largest packet for either direction, octets.
    pub fn new(
        now: Time,
        config: Arc<Config>,
        (local, peer): (u64, u64),
        prefix: Option<Ipv6Net>,
        mtu: u16,
    ) -> Self {
        Self {
            config,
            local,
            peer,
            prefix,
            mtu,
            server: Server::default(),
            advertise_at: now,
            advertised_at: None,
            initial_left: INITIAL_ADVERTISEMENTS,
            answers: 0,
            answers_since: now,
        }
    }

    /// The subscriber's interface identifier.
    pub fn peer_interface(&self) -> u64 {
        self.peer
    }

    /// Whether the subscriber has the delegated prefix.
    pub fn has_delegated(&self) -> bool {
        self.server.is_bound()
    }

    /// Takes a packet of the subscriber and returns the answer. `delegate` gives the prefix that this
    /// link may delegate, always the same; it is asked only if the subscriber wants one.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn handle_packet(
        &mut self,
        now: Time,
        octets: &[u8],
        delegate: &mut dyn FnMut() -> Option<Ipv6Net>,
    ) -> Result<Option<Vec<u8>>, Discard> {
        let packet = packet::parse(octets)?;
        let own = link_local(self.local);
        let groups = [ALL_NODES, ALL_ROUTERS, ALL_DHCP_SERVERS, solicited_node(own)];
        if packet.destination != own && !groups.contains(&packet.destination) {
            return Err(Discard::Destination);
        }
        if packet.source.is_multicast() || packet.source == own {
            return Err(Discard::Invalid);
        }
        self.admit(now)?;
        match packet.payload {
            Payload::Icmp(message) => self.handle_icmp(now, &packet, message),
            Payload::Udp { destination_port: SERVER_PORT, payload, .. } => {
                self.handle_dhcp(now, &packet, payload, delegate).map(Some)
            }
            Payload::Udp { .. } => Err(Discard::Unknown),
        }
    }

    /// Does what is due; returns the advertisement to send, if that is.
    pub fn handle_timeout(&mut self, now: Time, rng: &mut impl RngCore) -> Option<Vec<u8>> {
        self.server.handle_timeout(now);
        if self.advertise_at > now {
            return None;
        }
        self.initial_left = self.initial_left.saturating_sub(1);
        let interval = rng.random_range(INTERVAL_MIN..=INTERVAL_MAX);
        let initial = self.initial_left > 0;
        self.advertise_at = now + if initial { interval.min(INITIAL_INTERVAL) } else { interval };
        self.advertised_at = Some(now);
        Some(self.advertisement(ALL_NODES))
    }

    /// When [`Router::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Time {
        self.server.poll_timeout().map_or(self.advertise_at, |at| at.min(self.advertise_at))
    }

    /// Counts an answer, unless this second had enough.
    fn admit(&mut self, now: Time) -> Result<(), Discard> {
        if now.since(self.answers_since) >= Duration::from_secs(1) {
            (self.answers, self.answers_since) = (0, now);
        }
        if self.answers >= ANSWERS_PER_SECOND_MAX {
            return Err(Discard::TooMany);
        }
        self.answers += 1;
        Ok(())
    }

    fn handle_icmp(
        &mut self,
        now: Time,
        packet: &Packet<'_>,
        message: &[u8],
    ) -> Result<Option<Vec<u8>>, Discard> {
        let own = link_local(self.local);
        let source = packet.source;
        match discovery::parse(packet, message)? {
            Message::EchoRequest(request) if source.is_unicast_link_local() => {
                Ok(Some(packet::icmp(own, source, &discovery::echo_reply(request))))
            }
            Message::EchoRequest(_) => Err(Discard::Invalid),
            Message::RouterSolicitation if source.is_unspecified() => {
                // Who has no address yet is reached by the group alone.
                let earliest = self.advertised_at.map_or(now, |at| at + ADVERTISEMENTS_APART);
                self.advertise_at = self.advertise_at.min(earliest.max(now));
                Ok(None)
            }
            Message::RouterSolicitation => Ok(Some(self.advertisement(source))),
            Message::NeighborSolicitation(target) if target == own => {
                let from_nobody = source.is_unspecified();
                let destination = if from_nobody { ALL_NODES } else { source };
                let answer = discovery::neighbor_advertisement(own, true, !from_nobody);
                Ok(Some(packet::icmp(own, destination, &answer)))
            }
            // Of its own addresses, to find out whether we have them.
            Message::NeighborSolicitation(_) => Ok(None),
            // The subscriber's router is none of ours.
            Message::RouterAdvertisement(_) => Err(Discard::Invalid),
        }
    }

    fn handle_dhcp(
        &mut self,
        now: Time,
        packet: &Packet<'_>,
        payload: &[u8],
        delegate: &mut dyn FnMut() -> Option<Ipv6Net>,
    ) -> Result<Vec<u8>, Discard> {
        // RFC 3315 section 16: clients use their link-local address.
        if !packet.source.is_unicast_link_local() {
            return Err(Discard::Invalid);
        }
        let message = DhcpMessage::decode(payload)?;
        let unicast = packet.destination != ALL_DHCP_SERVERS;
        let address = self.prefix.filter(|_| self.config.managed);
        let address = address.map(|prefix| address_under(prefix, self.peer));
        let link = Link { prefix: self.prefix, address };
        let asked = (&message, unicast);
        let answer = self.server.handle(now, &self.config, &link, asked, delegate)?;
        let own = link_local(self.local);
        Ok(packet::udp((own, SERVER_PORT), (packet.source, CLIENT_PORT), &answer.encode()))
    }

    fn advertisement(&self, destination: Ipv6Addr) -> Vec<u8> {
        let prefix = self.prefix.map(|prefix| Prefix {
            prefix,
            // The subscriber's addresses lie behind its end of the link: all but its own are
            // reached by us.
            on_link: false,
            autonomous: true,
            valid_seconds: self.config.valid_seconds,
            preferred_seconds: self.config.preferred_seconds,
        });
        let advertisement = RouterAdvertisement {
            hop_limit: HOP_LIMIT,
            managed: self.config.managed,
            other: self.config.other,
            lifetime_seconds: LIFETIME_SECONDS,
            mtu: Some(self.mtu.into()),
            prefixes: prefix.into_iter().collect(),
            dns: self.config.dns.clone(),
            dns_seconds: LIFETIME_SECONDS.into(),
        };
        packet::icmp(link_local(self.local), destination, &advertisement.emit())
    }
}

#[cfg(test)]
mod tests;
