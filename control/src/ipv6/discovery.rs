//! Messages of neighbour and router discovery (RFC 4861 section 4, RFC 6106 section 5.1) and the
//! echo of ICMPv6 (RFC 4443 section 4), read and written.
//!
//! A message is only taken whole: what an RFC wants discarded as a whole because of one field, an
//! option of length zero for instance, is an error here.

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use super::packet::{HOP_LIMIT, Packet};
use super::{Discard, solicited_node};

/// RFC 4861 sections 4.1 to 4.4, RFC 4443 section 4.
const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOR_SOLICITATION: u8 = 135;
const NEIGHBOR_ADVERTISEMENT: u8 = 136;

/// RFC 4861 section 4.6, RFC 6106 section 5.1.
const SOURCE_LINK_LAYER_ADDRESS: u8 = 1;
const PREFIX_INFORMATION: u8 = 3;
const MTU: u8 = 5;
const RECURSIVE_DNS_SERVERS: u8 = 25;

/// Flags of a Router Advertisement (RFC 4861 section 4.2).
const MANAGED: u8 = 0x80;
const OTHER: u8 = 0x40;

/// Flags of a Prefix Information option (RFC 4861 section 4.6.2).
const ON_LINK: u8 = 0x80;
const AUTONOMOUS: u8 = 0x40;

/// Flags of a Neighbor Advertisement (RFC 4861 section 4.4).
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// Octets of the fixed parts.
const SOLICITATION_BYTES: usize = 8;
const ADVERTISEMENT_BYTES: usize = 16;
const NEIGHBOR_BYTES: usize = 24;

/// Options looked at in one message; more than anybody sends.
const OPTIONS_MAX: usize = 32;

/// Name servers taken from one advertisement.
pub const DNS_SERVERS_MAX: usize = 4;

/// The prefix of a link, for its hosts to make addresses of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// The prefix.
    pub prefix: Ipv6Net,
    /// All addresses under it are neighbours.
    pub on_link: bool,
    /// Hosts make themselves an address (RFC 4862).
    pub autonomous: bool,
    /// How long addresses are valid, seconds; all ones: for ever.
    pub valid_seconds: u32,
    /// How long they are preferred, seconds; all ones: for ever.
    pub preferred_seconds: u32,
}

/// A Router Advertisement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouterAdvertisement {
    /// What hosts put into packets that they send; 0: unspecified.
    pub hop_limit: u8,
    /// Addresses are assigned by DHCPv6.
    pub managed: bool,
    /// Other things are told by DHCPv6.
    pub other: bool,
    /// How long this is a default router, seconds; 0: it is none.
    pub lifetime_seconds: u16,
    /// MTU of the link, octets.
    pub mtu: Option<u32>,
    /// Prefixes of the link.
    pub prefixes: Vec<Prefix>,
    /// Recursive name servers.
    pub dns: Vec<Ipv6Addr>,
    /// How long these may be used, seconds.
    pub dns_seconds: u32,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// Identifier, sequence number and data.
    EchoRequest(&'a [u8]),
    /// A host asks for routers.
    RouterSolicitation,
    /// A router says what the link is like.
    RouterAdvertisement(RouterAdvertisement),
    /// Somebody asks who has this address.
    NeighborSolicitation(Ipv6Addr),
}

/// Reads a message of `packet`, whose ICMPv6 part is `message`.
///
/// # Errors
/// [`Discard`]: of sections 6.1.1, 6.1.2 and 7.1.1 of RFC 4861.
pub fn parse<'a>(packet: &Packet<'_>, message: &'a [u8]) -> Result<Message<'a>, Discard> {
    let kind = *message.first().ok_or(Discard::Malformed)?;
    if kind == ECHO_REQUEST {
        return message.get(4..).map(Message::EchoRequest).ok_or(Discard::Malformed);
    }
    if !(ROUTER_SOLICITATION..=NEIGHBOR_SOLICITATION).contains(&kind) {
        return Err(Discard::Unknown);
    }
    if packet.hop_limit != HOP_LIMIT || message.get(1) != Some(&0) {
        return Err(Discard::Invalid);
    }
    match kind {
        ROUTER_SOLICITATION => {
            let options = message.get(SOLICITATION_BYTES..).ok_or(Discard::Malformed)?;
            refuse_link_layer_address(packet, options)?;
            Ok(Message::RouterSolicitation)
        }
        ROUTER_ADVERTISEMENT => {
            if !packet.source.is_unicast_link_local() {
                return Err(Discard::Invalid);
            }
            parse_advertisement(message).map(Message::RouterAdvertisement)
        }
        _ => parse_neighbor_solicitation(packet, message),
    }
}

fn parse_neighbor_solicitation<'a>(
    packet: &Packet<'_>,
    message: &[u8],
) -> Result<Message<'a>, Discard> {
    let options = message.get(NEIGHBOR_BYTES..).ok_or(Discard::Malformed)?;
    let target = message.get(8..).and_then(address).ok_or(Discard::Malformed)?;
    refuse_link_layer_address(packet, options)?;
    let from_nobody = packet.source.is_unspecified();
    if target.is_multicast() || from_nobody && packet.destination != solicited_node(target) {
        return Err(Discard::Invalid);
    }
    Ok(Message::NeighborSolicitation(target))
}

/// Who has no address yet has no link-layer address to tell; and no option has length zero.
fn refuse_link_layer_address(packet: &Packet<'_>, options: &[u8]) -> Result<(), Discard> {
    for option in Options(options) {
        let (kind, _) = option?;
        if kind == SOURCE_LINK_LAYER_ADDRESS && packet.source.is_unspecified() {
            return Err(Discard::Invalid);
        }
    }
    Ok(())
}

fn parse_advertisement(message: &[u8]) -> Result<RouterAdvertisement, Discard> {
    let fixed = message.first_chunk::<ADVERTISEMENT_BYTES>().ok_or(Discard::Malformed)?;
    let [_, _, _, _, hop_limit, flags, high, low, ..] = *fixed;
    let mut advertisement = RouterAdvertisement {
        hop_limit,
        managed: flags & MANAGED != 0,
        other: flags & OTHER != 0,
        lifetime_seconds: u16::from_be_bytes([high, low]),
        ..RouterAdvertisement::default()
    };
    let options = message.get(ADVERTISEMENT_BYTES..).unwrap_or_default();
    for (count, option) in Options(options).enumerate() {
        let (kind, value) = option?;
        if count == OPTIONS_MAX {
            break;
        }
        match kind {
            PREFIX_INFORMATION => advertisement.prefixes.extend(parse_prefix(value)),
            MTU => advertisement.mtu = value.get(2..).and_then(number).or(advertisement.mtu),
            RECURSIVE_DNS_SERVERS => {
                let Some(seconds) = value.get(2..).and_then(number) else { continue };
                let servers = value.get(6..).unwrap_or_default().chunks_exact(16);
                advertisement.dns_seconds = seconds;
                let room = DNS_SERVERS_MAX.saturating_sub(advertisement.dns.len());
                advertisement.dns.extend(servers.filter_map(address).take(room));
            }
            _ => {}
        }
    }
    Ok(advertisement)
}

/// `None` where the option is too short, or the prefix is none that a link can have.
fn parse_prefix(value: &[u8]) -> Option<Prefix> {
    let [length, flags] = *value.first_chunk()?;
    let prefix = Ipv6Net::new(address(value.get(14..)?)?, length).ok()?.trunc();
    Some(Prefix {
        prefix,
        on_link: flags & ON_LINK != 0,
        autonomous: flags & AUTONOMOUS != 0,
        valid_seconds: number(value.get(2..)?)?,
        preferred_seconds: number(value.get(6..)?)?,
    })
}

fn number(octets: &[u8]) -> Option<u32> {
    octets.first_chunk().map(|octets| u32::from_be_bytes(*octets))
}

fn address(octets: &[u8]) -> Option<Ipv6Addr> {
    octets.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets))
}

/// The options behind a message's fixed part: type and value, or that the message is malformed.
struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = Result<(u8, &'a [u8]), Discard>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let length = self.0.get(1).map_or(0, |units| usize::from(*units) * 8);
        match self.0.split_at_checked(length) {
            Some((option @ [kind, _, value @ ..], rest)) if option.len() >= 8 => {
                self.0 = rest;
                Some(Ok((*kind, value)))
            }
            _ => {
                self.0 = &[];
                Some(Err(Discard::Malformed))
            }
        }
    }
}

impl RouterAdvertisement {
    /// The message; its checksum is the packet's business.
    pub fn emit(&self) -> Vec<u8> {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let flags = flag(self.managed, MANAGED) | flag(self.other, OTHER);
        let mut message = vec![ROUTER_ADVERTISEMENT, 0, 0, 0, self.hop_limit, flags];
        message.extend(self.lifetime_seconds.to_be_bytes());
        // Reachable Time and Retrans Timer: unspecified, this link needs no neighbour discovery.
        message.extend([0; 8]);
        for prefix in &self.prefixes {
            let flags = flag(prefix.on_link, ON_LINK) | flag(prefix.autonomous, AUTONOMOUS);
            message.extend([PREFIX_INFORMATION, 4, prefix.prefix.prefix_len(), flags]);
            message.extend(prefix.valid_seconds.to_be_bytes());
            message.extend(prefix.preferred_seconds.to_be_bytes());
            message.extend([0; 4]);
            message.extend(prefix.prefix.network().octets());
        }
        if let Some(mtu) = self.mtu {
            message.extend([MTU, 1, 0, 0]);
            message.extend(mtu.to_be_bytes());
        }
        if !self.dns.is_empty() {
            let servers = self.dns.iter().take(DNS_SERVERS_MAX);
            message.extend([RECURSIVE_DNS_SERVERS, 1 + 2 * servers.len() as u8, 0, 0]);
            message.extend(self.dns_seconds.to_be_bytes());
            message.extend(servers.flat_map(Ipv6Addr::octets));
        }
        message
    }
}

/// A Router Solicitation; a PPP link has no link-layer address to tell.
pub fn router_solicitation() -> Vec<u8> {
    let mut message = vec![0; SOLICITATION_BYTES];
    if let Some(kind) = message.first_mut() {
        *kind = ROUTER_SOLICITATION;
    }
    message
}

/// A Neighbor Advertisement of `target` (RFC 4861 section 7.2.4).
pub fn neighbor_advertisement(target: Ipv6Addr, router: bool, solicited: bool) -> Vec<u8> {
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let flags = flag(router, ROUTER) | flag(solicited, SOLICITED) | OVERRIDE;
    let mut message = vec![NEIGHBOR_ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0];
    message.extend(target.octets());
    message
}

/// An Echo Reply with what the request carried behind its checksum.
pub fn echo_reply(request: &[u8]) -> Vec<u8> {
    let mut message = vec![ECHO_REPLY, 0, 0, 0];
    message.extend_from_slice(request);
    message
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::packet::Payload;
    use super::super::{ALL_NODES, ALL_ROUTERS};
    use super::*;

    fn packet<'a>(source: &str, destination: Ipv6Addr, message: &'a [u8]) -> Packet<'a> {
        let source = source.parse().unwrap();
        Packet { source, destination, hop_limit: 255, payload: Payload::Icmp(message) }
    }

    fn advertisement() -> RouterAdvertisement {
        RouterAdvertisement {
            hop_limit: 64,
            managed: false,
            other: true,
            lifetime_seconds: 5400,
            mtu: Some(1460),
            prefixes: vec![Prefix {
                prefix: "2001:db8:0:7::/64".parse().unwrap(),
                on_link: false,
                autonomous: true,
                valid_seconds: 5400,
                preferred_seconds: 2700,
            }],
            dns: vec!["2001:db8::53".parse().unwrap(), "2001:db8::54".parse().unwrap()],
            dns_seconds: 5400,
        }
    }

    #[test]
    fn an_advertisement_octet_by_octet_and_back() {
        let message = advertisement().emit();
        let text: String = message.iter().map(|octet| format!("{octet:02x}")).collect();
        let expected = "8600000040401518\
            0000000000000000\
            0304404000001518\
            00000a8c00000000\
            20010db8000000070000000000000000\
            05010000000005b4\
            1905000000001518\
            20010db8000000000000000000000053\
            20010db8000000000000000000000054";
        assert_eq!(text, expected);
        let parsed = parse(&packet("fe80::1", ALL_NODES, &message), &message).unwrap();
        assert_eq!(parsed, Message::RouterAdvertisement(advertisement()));
    }

    #[test]
    fn every_length_of_a_message_cut_short_is_refused_or_lacks_an_option() {
        let message = advertisement().emit();
        for length in 0..message.len() {
            let cut = &message[..length];
            match parse(&packet("fe80::1", ALL_NODES, cut), cut) {
                Ok(Message::RouterAdvertisement(parsed)) => {
                    assert!([16, 48, 56].contains(&length), "{length}");
                    assert_ne!(parsed, advertisement());
                }
                // Without a code, or without all of what it has.
                Err(Discard::Invalid) => assert_eq!(length, 1),
                other => assert_eq!(other, Err(Discard::Malformed), "{length}"),
            }
        }
    }

    #[test]
    fn what_the_rfc_wants_discarded_is() {
        let rs = router_solicitation();
        let ok = packet("fe80::1", ALL_ROUTERS, &rs);
        assert_eq!(parse(&ok, &rs), Ok(Message::RouterSolicitation));
        assert_eq!(parse(&Packet { hop_limit: 254, ..ok }, &rs), Err(Discard::Invalid));
        let mut code = rs.clone();
        code[1] = 1;
        assert_eq!(parse(&ok, &code), Err(Discard::Invalid));
        let with = |option: &[u8]| [&rs[..], option].concat();
        let empty = with(&[14, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(parse(&ok, &empty), Err(Discard::Malformed));
        let link_layer = with(&[1, 1, 2, 0, 0, 0, 0, 1]);
        assert_eq!(parse(&ok, &link_layer), Ok(Message::RouterSolicitation));
        let nobody = packet("::", ALL_ROUTERS, &link_layer);
        assert_eq!(parse(&nobody, &link_layer), Err(Discard::Invalid));
        let ra = advertisement().emit();
        let global = packet("2001:db8::1", ALL_NODES, &ra);
        assert_eq!(parse(&global, &ra), Err(Discard::Invalid));
        assert_eq!(parse(&ok, &[137, 0, 0, 0, 0, 0, 0, 0]), Err(Discard::Unknown), "redirect");
    }

    #[test]
    fn a_neighbor_solicitation_names_a_unicast_address() {
        let target: Ipv6Addr = "fe80::1".parse().unwrap();
        let solicitation =
            |target: Ipv6Addr| [&[135, 0, 0, 0, 0, 0, 0, 0][..], &target.octets()].concat();
        let message = solicitation(target);
        let expected = Ok(Message::NeighborSolicitation(target));
        assert_eq!(parse(&packet("fe80::2", target, &message), &message), expected);
        let group = solicited_node(target);
        assert_eq!(parse(&packet("::", group, &message), &message), expected);
        let direct = parse(&packet("::", target, &message), &message);
        assert_eq!(direct, Err(Discard::Invalid));
        let bad = solicitation(ALL_NODES);
        assert_eq!(parse(&packet("fe80::2", target, &bad), &bad), Err(Discard::Invalid));
        assert_eq!(
            parse(&packet("fe80::2", target, &message[..23]), &message[..23]),
            Err(Discard::Malformed)
        );
        assert_eq!(neighbor_advertisement(target, true, true)[4], 0xe0);
        assert_eq!(neighbor_advertisement(target, false, false)[4], 0x20);
    }

    #[test]
    fn more_servers_and_options_than_anybody_needs_are_cut_off() {
        let mut message = advertisement().emit();
        for _ in 0..200 {
            message.extend([25, 3, 0, 0, 0, 0, 0, 9]);
            message.extend([0x20; 16]);
        }
        let parsed = parse(&packet("fe80::1", ALL_NODES, &message), &message).unwrap();
        let Message::RouterAdvertisement(parsed) = parsed else { panic!("{parsed:?}") };
        assert_eq!(parsed.dns.len(), DNS_SERVERS_MAX);
    }

    proptest! {
        #[test]
        fn no_octets_end_the_process(
            kind in 128_u8..140,
            octets in proptest::collection::vec(any::<u8>(), 0..120),
        ) {
            let message = [&[kind, 0], &octets[..]].concat();
            let _ = parse(&packet("fe80::1", ALL_NODES, &message), &message);
            let _ = parse(&packet("::", ALL_NODES, &octets), &octets);
        }
    }
}
