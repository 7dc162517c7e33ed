//! What control asks of the kernel, encoded.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::uplink::{self, UplinkEntry};

/// Marks our routes in the kernel's table (`ip route show proto 170`): a number that neither the
/// kernel nor a routing daemon assigned.
pub const ROUTE_PROTOCOL: u8 = 170;

/// What control asks of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelRequest {
    /// Installs a route of ours that leads to the link.
    AddRoute {
        /// Destination.
        prefix: IpNet,
        /// Index of the link.
        link: u32,
    },
    /// Removes a route of ours.
    RemoveRoute {
        /// Destination.
        prefix: IpNet,
        /// Index of the link.
        link: u32,
    },
    /// Gives the host an address, without a prefix.
    AddAddress {
        /// The address.
        address: IpAddr,
        /// Index of the link.
        link: u32,
    },
    /// Takes it back.
    RemoveAddress {
        /// The address.
        address: IpAddr,
        /// Index of the link.
        link: u32,
    },
    /// Verifies a neighbour that the kernel knows, at once: it stays usable meanwhile.
    ProbeNeighbor {
        /// Its address.
        address: IpAddr,
        /// Index of the link.
        link: u32,
    },
    /// Looks for a neighbour that the kernel does not know.
    ResolveNeighbor {
        /// Its address.
        address: IpAddr,
        /// Index of the link.
        link: u32,
    },
    /// Adds an entry for a dialled session.
    AddUplink(UplinkEntry),
    /// Takes it back.
    RemoveUplink(UplinkEntry),
    /// Reads everything again.
    Dump,
}

impl fmt::Display for KernelRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddRoute { prefix, link } => {
                write!(formatter, "add route {prefix} to link {link}")
            }
            Self::RemoveRoute { prefix, link } => {
                write!(formatter, "remove route {prefix} to link {link}")
            }
            Self::AddAddress { address, link } => {
                write!(formatter, "add address {address} to link {link}")
            }
            Self::RemoveAddress { address, link } => {
                write!(formatter, "remove address {address} from link {link}")
            }
            Self::ProbeNeighbor { address, link } => {
                write!(formatter, "verify neighbour {address} on link {link}")
            }
            Self::ResolveNeighbor { address, link } => {
                write!(formatter, "resolve neighbour {address} on link {link}")
            }
            Self::AddUplink(entry) => write!(formatter, "add {entry}"),
            Self::RemoveUplink(entry) => write!(formatter, "remove {entry}"),
            Self::Dump => write!(formatter, "read all links, addresses, routes and neighbours"),
        }
    }
}

/// The parts of a dump, in the order in which they depend on one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DumpPart {
    Links,
    Addresses,
    RoutesV4,
    RoutesV6,
    UplinkRoutesV4,
    UplinkRoutesV6,
    Rules,
    Neighbors,
}

impl DumpPart {
    pub(super) const FIRST: Self = Self::Links;

    pub(super) fn next(self) -> Option<Self> {
        match self {
            Self::Links => Some(Self::Addresses),
            Self::Addresses => Some(Self::RoutesV4),
            Self::RoutesV4 => Some(Self::RoutesV6),
            Self::RoutesV6 => Some(Self::UplinkRoutesV4),
            Self::UplinkRoutesV4 => Some(Self::UplinkRoutesV6),
            Self::UplinkRoutesV6 => Some(Self::Rules),
            Self::Rules => Some(Self::Neighbors),
            Self::Neighbors => None,
        }
    }

    pub(super) fn encode(self, sequence: u32) -> Vec<u8> {
        let message = match self {
            Self::Links => {
                let mut link = LinkMessage::default();
                // Counters of every link are no news.
                let mask = vec![LinkExtentMask::SkipStats];
                link.attributes.push(LinkAttribute::ExtMask(mask));
                RouteNetlinkMessage::GetLink(link)
            }
            Self::Addresses => RouteNetlinkMessage::GetAddress(AddressMessage::default()),
            Self::RoutesV4 => main_table(AddressFamily::Inet),
            Self::RoutesV6 => main_table(AddressFamily::Inet6),
            Self::UplinkRoutesV4 => return uplink::dump_routes(AddressFamily::Inet, sequence),
            Self::UplinkRoutesV6 => return uplink::dump_routes(AddressFamily::Inet6, sequence),
            Self::Rules => return uplink::dump_rules(sequence),
            Self::Neighbors => RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default()),
        };
        serialize(message, NLM_F_REQUEST | NLM_F_DUMP, sequence)
    }
}

fn main_table(family: AddressFamily) -> RouteNetlinkMessage {
    let mut route = RouteMessage::default();
    route.header.address_family = family;
    route.header.table = RouteHeader::RT_TABLE_MAIN;
    RouteNetlinkMessage::GetRoute(route)
}

impl KernelRequest {
    /// The datagram; `None` for [`Self::Dump`], which is more than one message.
    pub(super) fn encode(&self, sequence: u32) -> Option<Vec<u8>> {
        // Installing again what is there already is no error.
        const SET: u16 = NLM_F_CREATE | NLM_F_REPLACE;
        let (message, flags) = match *self {
            Self::AddRoute { prefix, link } => {
                (RouteNetlinkMessage::NewRoute(route(prefix, link)), SET)
            }
            Self::RemoveRoute { prefix, link } => {
                (RouteNetlinkMessage::DelRoute(route(prefix, link)), 0)
            }
            Self::AddAddress { address, link } => {
                (RouteNetlinkMessage::NewAddress(host_address(address, link)), SET)
            }
            Self::RemoveAddress { address, link } => {
                (RouteNetlinkMessage::DelAddress(host_address(address, link)), 0)
            }
            // NTF_USE leaves a stale entry in DELAY for five seconds first; the state PROBE
            // verifies it within milliseconds (tried on Linux 6.18). It wants an entry that exists.
            Self::ProbeNeighbor { address, link } => {
                let mut neighbor = neighbor(address, link);
                neighbor.header.state = NeighbourState::Probe;
                (RouteNetlinkMessage::NewNeighbour(neighbor), NLM_F_REPLACE)
            }
            Self::ResolveNeighbor { address, link } => {
                let mut neighbor = neighbor(address, link);
                neighbor.header.flags = NeighbourFlags::Use;
                (RouteNetlinkMessage::NewNeighbour(neighbor), SET)
            }
            Self::AddUplink(entry) => return Some(entry.encode_add(sequence)),
            Self::RemoveUplink(entry) => return Some(entry.encode_remove(sequence)),
            Self::Dump => return None,
        };
        Some(serialize(message, NLM_F_REQUEST | NLM_F_ACK | flags, sequence))
    }
}

pub(super) fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

pub(super) fn route(prefix: IpNet, link: u32) -> RouteMessage {
    let mut route = RouteMessage::default();
    route.header.address_family = family(prefix.addr());
    route.header.destination_prefix_length = prefix.prefix_len();
    route.header.table = RouteHeader::RT_TABLE_MAIN;
    route.header.protocol = RouteProtocol::from(ROUTE_PROTOCOL);
    route.header.scope = match prefix {
        IpNet::V4(_) => RouteScope::Link,
        IpNet::V6(_) => RouteScope::Universe,
    };
    route.header.kind = RouteType::Unicast;
    route.attributes.push(RouteAttribute::Destination(route_address(prefix.network())));
    route.attributes.push(RouteAttribute::Oif(link));
    route
}

pub(super) fn route_address(address: IpAddr) -> RouteAddress {
    match address {
        IpAddr::V4(address) => RouteAddress::Inet(address),
        IpAddr::V6(address) => RouteAddress::Inet6(address),
    }
}

pub(super) fn host_address(address: IpAddr, link: u32) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address);
    message.header.prefix_len = if address.is_ipv4() { 32 } else { 128 };
    message.header.index = link;
    message.attributes.push(AddressAttribute::Local(address));
    message.attributes.push(AddressAttribute::Address(address));
    message
}

fn neighbor(address: IpAddr, link: u32) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.header.ifindex = link;
    let destination = match address {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    };
    message.attributes.push(NeighbourAttribute::Destination(destination));
    message
}

pub(super) fn serialize(message: RouteNetlinkMessage, flags: u16, sequence: u32) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
    message.finalize();
    let mut octets = vec![0; message.buffer_len()];
    message.serialize(&mut octets);
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(request: &KernelRequest) -> (NetlinkHeader, RouteNetlinkMessage) {
        let octets = request.encode(77).unwrap();
        let message = NetlinkMessage::deserialize(&octets).unwrap();
        let (header, payload) = message.into_parts();
        assert_eq!(header.sequence_number, 77);
        assert_eq!(header.flags & (NLM_F_REQUEST | NLM_F_ACK), NLM_F_REQUEST | NLM_F_ACK);
        match payload {
            NetlinkPayload::InnerMessage(message) => (header, message),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn routes_of_both_families() {
        for (prefix, scope) in [("100.64.0.0/10", 253), ("2001:db8::/32", 0)] {
            let prefix: IpNet = prefix.parse().unwrap();
            let (header, message) = decoded(&KernelRequest::AddRoute { prefix, link: 9 });
            assert_ne!(header.flags & NLM_F_CREATE, 0);
            let RouteNetlinkMessage::NewRoute(route) = message else { panic!("{message:?}") };
            assert_eq!(route.header.destination_prefix_length, prefix.prefix_len());
            assert_eq!(u8::from(route.header.protocol), ROUTE_PROTOCOL);
            assert_eq!(u8::from(route.header.scope), scope);
            assert_eq!(route.header.table, 254);
            assert!(route.attributes.contains(&RouteAttribute::Oif(9)));

            let (header, message) = decoded(&KernelRequest::RemoveRoute { prefix, link: 9 });
            assert_eq!(header.flags & NLM_F_CREATE, 0);
            assert!(matches!(message, RouteNetlinkMessage::DelRoute(removed) if removed == route));
        }
    }

    #[test]
    fn an_address_has_no_prefix() {
        for (address, length) in [("100.64.0.1", 32), ("2001:db8::1", 128)] {
            let address = address.parse().unwrap();
            let (_, message) = decoded(&KernelRequest::AddAddress { address, link: 9 });
            let RouteNetlinkMessage::NewAddress(message) = message else { panic!("{message:?}") };
            assert_eq!((message.header.prefix_len, message.header.index), (length, 9));
            assert!(message.attributes.contains(&AddressAttribute::Local(address)));
        }
    }

    #[test]
    fn a_neighbor_that_is_known_is_probed_and_one_that_is_not_is_created() {
        let address = "192.0.2.7".parse().unwrap();
        let (header, message) = decoded(&KernelRequest::ProbeNeighbor { address, link: 2 });
        let RouteNetlinkMessage::NewNeighbour(message) = message else { panic!("{message:?}") };
        assert_eq!(message.header.state, NeighbourState::Probe);
        assert_eq!(header.flags & NLM_F_CREATE, 0, "one that is gone is not made again");

        let (header, message) = decoded(&KernelRequest::ResolveNeighbor { address, link: 2 });
        let RouteNetlinkMessage::NewNeighbour(message) = message else { panic!("{message:?}") };
        assert_eq!(message.header.flags, NeighbourFlags::Use);
        assert_ne!(header.flags & NLM_F_CREATE, 0);
    }

    #[test]
    fn a_dump_goes_through_all_parts() {
        let mut parts = vec![DumpPart::FIRST];
        while let Some(next) = parts[parts.len() - 1].next() {
            parts.push(next);
        }
        let types: Vec<u8> = parts.iter().map(|part| part.encode(1)[4]).collect();
        assert_eq!(types, [18, 22, 26, 26, 26, 26, 34, 30]);
        assert_eq!(KernelRequest::Dump.encode(1), None);
    }
}
