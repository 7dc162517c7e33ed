//! What the kernel holds for sessions that we dialled: addresses, routes in a table of their own, and
//! the rules that lead to that table, encoded and decoded.
//!
//! All of it carries [`ROUTE_PROTOCOL`], so that what an earlier run left is told from an operator's.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{DecodeError, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol,
};
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleHeader, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::event::{attributes, ip_address, is_ip, number};
use super::request::{ROUTE_PROTOCOL, family, host_address, route, route_address, serialize};

// Attribute numbers of linux/fib_rules.h, and the length of its header.
const FRA_DST: u16 = 1;
const FRA_SRC: u16 = 2;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
const FRA_TABLE: u16 = 15;
const FRA_PROTOCOL: u16 = 21;
const RULE_HEADER_BYTES: usize = 12;

/// One entry of the kernel's that is there for a dialled session. The order is that in which they
/// need one another: a route its source address, a rule its routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum UplinkEntry {
    /// An address of ours, without a prefix. The other end's address is not told with it: the kernel
    /// would add a route to it to the main table, and where it is the tunnel's other end as well, the
    /// tunnel's packets would follow that into the tunnel (docs/peers.md row 19). It would also take
    /// a second address with the same other end for a secondary one, which goes with the first.
    Address {
        /// Index of the link.
        link: u32,
        /// The address.
        address: IpAddr,
    },
    /// A route into the link.
    Route {
        /// The table that it is in; never the main one.
        table: u32,
        /// Destination.
        prefix: IpNet,
        /// Index of the link.
        link: u32,
        /// The source of this host's own packets.
        source: IpAddr,
    },
    /// Which packets look into which table.
    Rule(Rule),
}

/// A policy routing rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// Rules are asked in this order, the lowest first.
    pub priority: u32,
    /// For which packets.
    pub selector: Selector,
    /// Where to look.
    pub table: u32,
    /// What is found with a prefix of at most this length does not count.
    pub suppressed_length_max: Option<u8>,
}

/// The packets that a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Selector {
    /// Those from one address to another.
    Between(IpAddr, IpAddr),
    /// All that do not carry the mark.
    Unmarked {
        /// IPv6 or IPv4.
        is_ipv6: bool,
        /// The mark.
        mark: u32,
    },
}

impl fmt::Display for UplinkEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { link, address } => write!(f, "address {address} on link {link}"),
            Self::Route { table, prefix, link, source } => {
                write!(f, "route {prefix} to link {link}, source {source}, in table {table}")
            }
            Self::Rule(rule) => write!(f, "rule {} to table {}", rule.priority, rule.table),
        }
    }
}

impl UplinkEntry {
    /// The link that it is on and vanishes with.
    pub fn link(&self) -> Option<u32> {
        match self {
            Self::Address { link, .. } | Self::Route { link, .. } => Some(*link),
            Self::Rule(_) => None,
        }
    }

    pub(super) fn encode_add(&self, sequence: u32) -> Vec<u8> {
        // A rule is not replaced: the same again would be a second one.
        let (message, flags) = match self {
            Self::Address { link, address } => {
                (RouteNetlinkMessage::NewAddress(address_of(*link, *address)), NLM_F_REPLACE)
            }
            Self::Route { table, prefix, link, source } => {
                let route = route_of(*table, *prefix, *link, *source);
                (RouteNetlinkMessage::NewRoute(route), NLM_F_REPLACE)
            }
            Self::Rule(rule) => (RouteNetlinkMessage::NewRule(rule.message()), NLM_F_EXCL),
        };
        serialize(message, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | flags, sequence)
    }

    pub(super) fn encode_remove(&self, sequence: u32) -> Vec<u8> {
        let message = match self {
            Self::Address { link, address } => {
                RouteNetlinkMessage::DelAddress(address_of(*link, *address))
            }
            Self::Route { table, prefix, link, source } => {
                RouteNetlinkMessage::DelRoute(route_of(*table, *prefix, *link, *source))
            }
            Self::Rule(rule) => RouteNetlinkMessage::DelRule(rule.message()),
        };
        serialize(message, NLM_F_REQUEST | NLM_F_ACK, sequence)
    }
}

/// Asks for all routes of ours, whatever their table.
pub(super) fn dump_routes(family: AddressFamily, sequence: u32) -> Vec<u8> {
    let mut route = RouteMessage::default();
    route.header.address_family = family;
    route.header.protocol = RouteProtocol::from(ROUTE_PROTOCOL);
    serialize(RouteNetlinkMessage::GetRoute(route), NLM_F_REQUEST | NLM_F_DUMP, sequence)
}

/// Asks for all rules.
pub(super) fn dump_rules(sequence: u32) -> Vec<u8> {
    let rules = RouteNetlinkMessage::GetRule(RuleMessage::default());
    serialize(rules, NLM_F_REQUEST | NLM_F_DUMP, sequence)
}

fn address_of(link: u32, address: IpAddr) -> AddressMessage {
    let mut message = host_address(address, link);
    let flags = AddressFlags::Noprefixroute | AddressFlags::Nodad;
    message.attributes.push(AddressAttribute::Flags(flags));
    message.attributes.push(AddressAttribute::Protocol(AddressProtocol::from(ROUTE_PROTOCOL)));
    message
}

fn route_of(table: u32, prefix: IpNet, link: u32, source: IpAddr) -> RouteMessage {
    let mut message = route(prefix, link);
    // The octet of the header is too small for the number.
    message.header.table = RouteHeader::RT_TABLE_UNSPEC;
    message.attributes.push(RouteAttribute::Table(table));
    message.attributes.push(RouteAttribute::PrefSource(route_address(source)));
    message
}

impl Rule {
    fn message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.action = RuleAction::ToTable;
        message.attributes.push(RuleAttribute::Priority(self.priority));
        message.attributes.push(RuleAttribute::Table(self.table));
        message.attributes.push(RuleAttribute::Protocol(RouteProtocol::from(ROUTE_PROTOCOL)));
        match self.selector {
            Selector::Between(source, destination) => {
                message.header.family = family(source);
                message.header.src_len = IpNet::from(source).prefix_len();
                message.header.dst_len = IpNet::from(destination).prefix_len();
                message.attributes.push(RuleAttribute::Source(source));
                message.attributes.push(RuleAttribute::Destination(destination));
            }
            Selector::Unmarked { is_ipv6, mark } => {
                message.header.family =
                    if is_ipv6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
                message.header.flags = RuleFlags::Invert;
                message.attributes.push(RuleAttribute::FwMark(mark));
                message.attributes.push(RuleAttribute::FwMask(u32::MAX));
            }
        }
        if let Some(length) = self.suppressed_length_max {
            message.attributes.push(RuleAttribute::SuppressPrefixLen(length.into()));
        }
        message
    }
}

/// Decodes a rule; `None` where it is none of ours.
pub(super) fn decode_rule(payload: &[u8]) -> Result<Option<UplinkEntry>, DecodeError> {
    let header = RuleHeader::parse(payload)?;
    if !is_ip(header.family) {
        return Ok(None);
    }
    let (mut priority, mut mark, mut table) = (0, None, u32::from(header.table));
    let (mut source, mut destination, mut suppressed) = (None, None, None);
    let mut is_ours = false;
    for attribute in attributes(payload, RULE_HEADER_BYTES) {
        let (kind, value) = attribute?;
        match kind {
            FRA_SRC => source = ip_address(value),
            FRA_DST => destination = ip_address(value),
            FRA_PRIORITY => priority = number(value).unwrap_or(0),
            FRA_FWMARK => mark = number(value),
            // All ones where nothing is suppressed.
            FRA_SUPPRESS_PREFIXLEN => suppressed = number(value).and_then(|n| u8::try_from(n).ok()),
            FRA_TABLE => table = number(value).unwrap_or(table),
            FRA_PROTOCOL => is_ours = value == [ROUTE_PROTOCOL],
            _ => {}
        }
    }
    let selector = match (source, destination, mark) {
        (Some(source), Some(destination), _) => Selector::Between(source, destination),
        (_, _, Some(mark)) => {
            Selector::Unmarked { is_ipv6: header.family == AddressFamily::Inet6, mark }
        }
        _ => return Ok(None),
    };
    let suppressed_length_max = suppressed;
    let rule = Rule { priority, selector, table, suppressed_length_max };
    Ok(is_ours.then_some(UplinkEntry::Rule(rule)))
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{NetlinkMessage, NetlinkPayload};

    use super::super::event::{Change, decode};
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn entries() -> Vec<UplinkEntry> {
        let address = |address| UplinkEntry::Address { link: 9, address };
        let route = |table, prefix: &str, source| UplinkEntry::Route {
            table,
            prefix: prefix.parse().unwrap(),
            link: 9,
            source,
        };
        let rule = |selector, table, suppressed_length_max| {
            UplinkEntry::Rule(Rule { priority: 1702, selector, table, suppressed_length_max })
        };
        let unmarked = |is_ipv6| Selector::Unmarked { is_ipv6, mark: 0x6a5 };
        vec![
            address(ip("10.9.0.7")),
            address(ip("2001:db8::7")),
            route(1701, "0.0.0.0/0", ip("10.9.0.7")),
            route(77, "10.0.2.72/32", ip("10.9.0.7")),
            route(1701, "::/0", ip("2001:db8::7")),
            rule(Selector::Between(ip("192.0.2.2"), ip("10.0.2.72")), 254, None),
            rule(Selector::Between(ip("2001:db8::1"), ip("2001:db8::2")), 254, None),
            rule(unmarked(false), 1701, Some(31)),
            rule(unmarked(true), 254, Some(0)),
            rule(unmarked(true), 1701, None),
        ]
    }

    #[test]
    fn what_is_asked_for_is_what_is_understood_when_the_kernel_repeats_it() {
        for entry in entries() {
            let octets = entry.encode_add(7);
            let flags = u16::from_ne_bytes([octets[6], octets[7]]);
            let exclusive = matches!(entry, UplinkEntry::Rule(_));
            assert_eq!(flags & NLM_F_EXCL != 0, exclusive, "{entry}");
            let message_type = u16::from_ne_bytes([octets[4], octets[5]]);
            let change = decode(message_type, 0, &octets[16..]).unwrap().unwrap();
            match (entry, change) {
                (UplinkEntry::Address { link, address }, Change::Address(known)) => {
                    assert_eq!((known.link, known.address), (link, address));
                    assert_eq!(known.protocol, ROUTE_PROTOCOL);
                }
                (_, change) => assert_eq!(change, Change::Uplink(entry)),
            }
            let octets = entry.encode_remove(7);
            let message_type = u16::from_ne_bytes([octets[4], octets[5]]);
            let change = decode(message_type, 0, &octets[16..]).unwrap().unwrap();
            match (entry, change) {
                (UplinkEntry::Address { .. }, Change::AddressRemoved(_)) => {}
                (_, change) => assert_eq!(change, Change::UplinkRemoved(entry)),
            }
        }
    }

    #[test]
    fn the_kernel_adds_no_route_for_an_address() {
        let octets = entries()[0].encode_add(1);
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&octets).unwrap();
        let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(message)) =
            message.payload
        else {
            panic!("no address")
        };
        let flags = AddressFlags::Noprefixroute | AddressFlags::Nodad;
        assert!(message.attributes.contains(&AddressAttribute::Flags(flags)));
    }

    #[test]
    fn rules_of_others_are_not_ours() {
        let UplinkEntry::Rule(rule) = entries()[7] else { panic!("no rule") };
        let mut message = rule.message();
        message.attributes.retain(|attribute| !matches!(attribute, RuleAttribute::Protocol(_)));
        let octets = serialize(RouteNetlinkMessage::NewRule(message), 0, 1);
        assert_eq!(decode_rule(&octets[16..]).unwrap(), None);
        assert!(decode_rule(&octets[16..20]).is_err());
    }
}
