//! What the kernel says, decoded: rtnetlink messages to a small enum of our own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_core::{DecodeError, NlasIterator};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressHeader, AddressHeaderFlags};
use netlink_packet_route::link::{LinkFlags, LinkHeader};
use netlink_packet_route::neighbour::{NeighbourFlags, NeighbourHeader, NeighbourState};
use netlink_packet_route::route::{RouteFlags, RouteHeader, RouteType};

use super::request::{KernelRequest, ROUTE_PROTOCOL};
use super::uplink::{UplinkEntry, decode_rule};

// Message and attribute numbers of rtnetlink(7).
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const RTM_NEWRULE: u16 = 32;
const RTM_DELRULE: u16 = 33;
const IFLA_IFNAME: u16 = 3;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_PROTO: u16 = 11;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;
const RTA_ENCAP: u16 = 22;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_APPEND: u16 = 0x800;

// The fixed part in front of the attributes.
const LINK_HEADER_BYTES: usize = 16;
const ADDRESS_HEADER_BYTES: usize = 8;
const ROUTE_HEADER_BYTES: usize = 12;
const NEIGHBOR_HEADER_BYTES: usize = 12;
const NEXT_HOP_HEADER_BYTES: usize = 8;

/// What [`super::Netlink::receive`] hands out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A dump of everything starts.
    DumpBegun,
    /// It ended; `complete` says whether it was consistent and no change was lost meanwhile, so
    /// that what it did not name does not exist.
    DumpEnded {
        /// See above.
        complete: bool,
    },
    /// Something exists, changed, or is gone.
    Changed(Origin, Change),
    /// The kernel refused a request.
    Failed {
        /// What was asked.
        request: KernelRequest,
        /// The error number.
        errno: i32,
    },
}

/// Where a change was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// From a dump: true at some time since the dump began.
    Dump,
    /// As it happened.
    Live,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A link exists or changed.
    Link(Link),
    /// A link is gone.
    LinkRemoved {
        /// Its index.
        index: u32,
    },
    /// The host has the address.
    Address(Address),
    /// The host has it no more.
    AddressRemoved(Address),
    /// A route of the main table exists.
    Route(Route),
    /// It exists no more.
    RouteRemoved(Route),
    /// A neighbour exists or changed its state.
    Neighbor(Neighbor),
    /// It is gone.
    NeighborRemoved(Neighbor),
    /// What a dialled session needs is there.
    Uplink(UplinkEntry),
    /// It is there no more.
    UplinkRemoved(UplinkEntry),
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Interface index.
    pub index: u32,
    /// Interface name.
    pub name: String,
    /// Whether it is administratively up.
    pub up: bool,
    /// Whether it has a carrier.
    pub carrier: bool,
}

/// An address of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// Index of the link it is on.
    pub link: u32,
    /// The host's own address.
    pub address: IpAddr,
    /// Length of its prefix.
    pub prefix_length: u8,
    /// Who put it there; [`ROUTE_PROTOCOL`] for a dialled session.
    pub protocol: u8,
}

/// A route of the main table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Destination; host bits are zero.
    pub prefix: IpNet,
    /// The lowest wins.
    pub metric: u32,
    /// Who installed it.
    pub protocol: u8,
    /// Where it leads.
    pub path: Path,
    /// How it stands to other routes of the same prefix and metric.
    pub placement: Placement,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    /// To one of these next hops.
    Hops(Vec<Hop>),
    /// Where only the kernel knows: encapsulation, another table, a next-hop object not spelt out.
    Kernel,
    /// Nowhere: blackhole, unreachable, prohibit.
    Unreachable,
}

/// A next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hop {
    /// Index of the link.
    pub link: u32,
    /// The router; `None`: the destination itself is on the link.
    pub gateway: Option<IpAddr>,
}

/// A route's place among those of its prefix and metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// In front.
    First,
    /// Behind.
    Last,
    /// In their place.
    Replace,
}

/// A neighbour cache entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbor {
    /// Index of the link.
    pub link: u32,
    /// Its address.
    pub address: IpAddr,
    /// Its MAC address, where known and an individual one.
    pub mac: Option<[u8; 6]>,
    /// What the kernel thinks of it.
    pub state: NeighborState,
}

/// The states of a neighbour, as far as they differ for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NeighborState {
    /// Verified a short while ago, or being verified: usable.
    Reachable,
    /// Usable, but nobody verified it for a while.
    Stale,
    /// Set by the operator: usable, never verified.
    Fixed,
    /// Not usable.
    Unusable,
}

/// Decodes one rtnetlink message; `None` for what the mirror has no use for.
pub(super) fn decode(
    message_type: u16,
    flags: u16,
    payload: &[u8],
) -> Result<Option<Change>, DecodeError> {
    Ok(match message_type {
        RTM_NEWLINK => decode_link(payload)?.map(Change::Link),
        RTM_DELLINK => decode_link(payload)?.map(|link| Change::LinkRemoved { index: link.index }),
        RTM_NEWADDR => decode_address(payload)?.map(Change::Address),
        RTM_DELADDR => decode_address(payload)?.map(Change::AddressRemoved),
        RTM_NEWROUTE => decode_route(flags, payload)?.map(|found| match found {
            Found::Main(route) => Change::Route(route),
            Found::Uplink(entry) => Change::Uplink(entry),
        }),
        RTM_DELROUTE => decode_route(flags, payload)?.map(|found| match found {
            Found::Main(route) => Change::RouteRemoved(route),
            Found::Uplink(entry) => Change::UplinkRemoved(entry),
        }),
        RTM_NEWRULE => decode_rule(payload)?.map(Change::Uplink),
        RTM_DELRULE => decode_rule(payload)?.map(Change::UplinkRemoved),
        RTM_NEWNEIGH => decode_neighbor(payload)?.map(Change::Neighbor),
        RTM_DELNEIGH => decode_neighbor(payload)?.map(Change::NeighborRemoved),
        _ => None,
    })
}

fn decode_link(payload: &[u8]) -> Result<Option<Link>, DecodeError> {
    let header = LinkHeader::parse(payload)?;
    // Bridges report their ports under their own family: a port that leaves its bridge looks like
    // a removed link there.
    if header.interface_family != AddressFamily::Unspec {
        return Ok(None);
    }
    let mut name = String::new();
    for attribute in attributes(payload, LINK_HEADER_BYTES) {
        let (kind, value) = attribute?;
        if kind == IFLA_IFNAME {
            let text = value.split(|octet| *octet == 0).next().unwrap_or_default();
            name = String::from_utf8_lossy(text).into_owned();
        }
    }
    Ok(Some(Link {
        index: header.index,
        name,
        up: header.flags.contains(LinkFlags::Up),
        carrier: header.flags.contains(LinkFlags::LowerUp),
    }))
}

fn decode_address(payload: &[u8]) -> Result<Option<Address>, DecodeError> {
    let header = AddressHeader::parse(payload)?;
    // Another node on the link has it, too: the kernel does not use it.
    if !is_ip(header.family) || header.flags.contains(AddressHeaderFlags::Dadfailed) {
        return Ok(None);
    }
    let (mut local, mut other, mut protocol) = (None, None, 0);
    for attribute in attributes(payload, ADDRESS_HEADER_BYTES) {
        let (kind, value) = attribute?;
        match kind {
            IFA_PROTO => protocol = value.first().copied().unwrap_or(0),
            IFA_LOCAL => local = ip_address(value),
            // The peer's on a point-to-point link, else the same as IFA_LOCAL or alone (IPv6).
            IFA_ADDRESS => other = ip_address(value),
            _ => {}
        }
    }
    Ok(local.or(other).map(|address| Address {
        link: header.index,
        address,
        prefix_length: header.prefix_len,
        protocol,
    }))
}

fn decode_neighbor(payload: &[u8]) -> Result<Option<Neighbor>, DecodeError> {
    let header = NeighbourHeader::parse(payload)?;
    if !is_ip(header.family) || header.flags.contains(NeighbourFlags::Proxy) {
        return Ok(None);
    }
    let (mut address, mut mac) = (None, None);
    for attribute in attributes(payload, NEIGHBOR_HEADER_BYTES) {
        let (kind, value) = attribute?;
        match kind {
            NDA_DST => address = ip_address(value),
            NDA_LLADDR => mac = individual_mac(value),
            _ => {}
        }
    }
    let state = match header.state {
        NeighbourState::Reachable | NeighbourState::Delay | NeighbourState::Probe => {
            NeighborState::Reachable
        }
        NeighbourState::Stale => NeighborState::Stale,
        NeighbourState::Permanent | NeighbourState::Noarp => NeighborState::Fixed,
        _ => NeighborState::Unusable,
    };
    // Groups have an entry as well, with the address of the group; they are no next hops.
    Ok(address.filter(|address| !address.is_multicast()).map(|address| Neighbor {
        link: header.ifindex,
        address,
        mac,
        state,
    }))
}

/// What a route is to us.
enum Found {
    /// Of the main table.
    Main(Route),
    /// Ours, in another table.
    Uplink(UplinkEntry),
}

fn decode_route(flags: u16, payload: &[u8]) -> Result<Option<Found>, DecodeError> {
    let header = RouteHeader::parse(payload)?;
    // Routes for one type of service or one source are no destination routes; exceptions that the
    // kernel learnt (path MTU, redirects) are no routes of the table.
    if !is_ip(header.address_family)
        || header.tos != 0
        || header.source_prefix_length != 0
        || header.flags.contains(RouteFlags::Cloned)
    {
        return Ok(None);
    }
    let mut table = u32::from(header.table);
    let mut address = unspecified(header.address_family);
    let mut metric = 0;
    let mut hop = HopParts::default();
    let mut hops = Vec::new();
    let mut encapsulated = false;
    let mut source = None;
    for attribute in attributes(payload, ROUTE_HEADER_BYTES) {
        let (kind, value) = attribute?;
        match kind {
            RTA_DST => address = ip_address(value).unwrap_or(address),
            RTA_PRIORITY => metric = number(value).unwrap_or(0),
            RTA_TABLE => table = number(value).unwrap_or(table),
            RTA_OIF => hop.link = number(value),
            RTA_PREFSRC => source = ip_address(value),
            RTA_ENCAP => encapsulated = true,
            RTA_MULTIPATH => hops = decode_hops(value)?,
            _ => hop.take(kind, value),
        }
    }
    let Ok(prefix) = IpNet::new(address, header.destination_prefix_length) else {
        return Err(format!("prefix length {}", header.destination_prefix_length).into());
    };
    let protocol = header.protocol.into();
    if table != u32::from(RouteHeader::RT_TABLE_MAIN) {
        let (Some(link), Some(source), ROUTE_PROTOCOL) = (hop.link, source, protocol) else {
            return Ok(None);
        };
        let prefix = prefix.trunc();
        return Ok(Some(Found::Uplink(UplinkEntry::Route { table, prefix, link, source })));
    }
    hops.extend(hop.build());
    let path = match header.kind {
        RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit => Path::Unreachable,
        RouteType::Unicast if !encapsulated && !hops.is_empty() => Path::Hops(hops),
        RouteType::Multicast => return Ok(None),
        _ => Path::Kernel,
    };
    let placement = match (flags & NLM_F_REPLACE != 0, flags & NLM_F_APPEND != 0) {
        (true, _) => Placement::Replace,
        (false, true) => Placement::Last,
        (false, false) => Placement::First,
    };
    let route = Route { prefix: prefix.trunc(), metric, protocol, path, placement };
    Ok(Some(Found::Main(route)))
}

/// A next hop in the making.
#[derive(Default)]
struct HopParts {
    link: Option<u32>,
    gateway: Option<IpAddr>,
}

impl HopParts {
    fn take(&mut self, kind: u16, value: &[u8]) {
        match kind {
            RTA_GATEWAY => self.gateway = ip_address(value),
            // A gateway of the other family, behind two octets of family.
            RTA_VIA => self.gateway = value.get(2..).and_then(ip_address),
            _ => {}
        }
    }

    fn build(self) -> Option<Hop> {
        self.link.map(|link| Hop { link, gateway: self.gateway })
    }
}

/// Decodes RTA_MULTIPATH. A hop with an encapsulation is left out; a route of such hops only has
/// none left and goes to the kernel.
fn decode_hops(mut octets: &[u8]) -> Result<Vec<Hop>, DecodeError> {
    let mut hops = Vec::new();
    while let Some((header, _)) = octets.split_first_chunk::<NEXT_HOP_HEADER_BYTES>() {
        let [length_0, length_1, _flags, _weight, link @ ..] = *header;
        let length = usize::from(u16::from_ne_bytes([length_0, length_1]));
        let Some(attributes_octets) = octets.get(NEXT_HOP_HEADER_BYTES..length) else {
            return Err(format!("next hop of {length} octets in {}", octets.len()).into());
        };
        let mut hop = HopParts { link: Some(u32::from_ne_bytes(link)), gateway: None };
        let mut encapsulated = false;
        for attribute in attributes(attributes_octets, 0) {
            let (kind, value) = attribute?;
            encapsulated |= kind == RTA_ENCAP;
            hop.take(kind, value);
        }
        if !encapsulated {
            hops.extend(hop.build());
        }
        octets = octets.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(hops)
}

/// The attributes behind `skip` octets: number and value.
pub(super) fn attributes(
    payload: &[u8],
    skip: usize,
) -> impl Iterator<Item = Result<(u16, &[u8]), DecodeError>> {
    let octets = payload.get(skip..).unwrap_or_default();
    NlasIterator::new(octets).map(move |attribute| {
        let attribute = attribute?;
        let octets = attribute.into_inner();
        Ok((attribute.kind(), octets.get(4..usize::from(attribute.length())).unwrap_or_default()))
    })
}

pub(super) fn is_ip(family: AddressFamily) -> bool {
    matches!(family, AddressFamily::Inet | AddressFamily::Inet6)
}

fn unspecified(family: AddressFamily) -> IpAddr {
    match family {
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    }
}

pub(super) fn ip_address(value: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(value) {
        return Some(octets.into());
    }
    <[u8; 16]>::try_from(value).ok().map(IpAddr::from)
}

/// A neighbour has an address of its own; one that claims a group's or the broadcast address is not
/// believed. Packets to a subnet's broadcast address stay with the kernel this way, too.
fn individual_mac(value: &[u8]) -> Option<[u8; 6]> {
    let mac = <[u8; 6]>::try_from(value).ok()?;
    (mac[0] & 1 == 0 && mac != [0; 6]).then_some(mac)
}

pub(super) fn number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;
