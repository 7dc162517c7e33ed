//! IPv6 packets out of a script, with lengths and checksums that are right unless it wants them to be
//! wrong.

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;
use xlns_control::ipv6::dhcp::message::{Association, AssociationKind, Kind, Lease, Message};
use xlns_control::ipv6::dhcp::{CLIENT_PORT, SERVER_PORT};
use xlns_control::ipv6::discovery::{Prefix, RouterAdvertisement, router_solicitation};
use xlns_control::ipv6::{ALL_DHCP_SERVERS, ALL_NODES, ALL_ROUTERS, link_local, packet};

use crate::script::Script;

/// Interface identifiers of the two ends.
pub const ROUTER: u64 = 0x0200_0000_0000_0001;
/// The other one.
pub const HOST: u64 = 0x0200_0000_0000_0002;

/// Identifiers of client and server.
pub const CLIENT_ID: &[u8] = b"\0\x03client";
/// The other one.
pub const SERVER_ID: &[u8] = b"\0\x04server";

const KINDS: [Kind; 11] = [
    Kind::Solicit,
    Kind::Advertise,
    Kind::Request,
    Kind::Confirm,
    Kind::Renew,
    Kind::Rebind,
    Kind::Reply,
    Kind::Release,
    Kind::Decline,
    Kind::Reconfigure,
    Kind::InformationRequest,
];

/// A packet from one end to the other.
pub fn packet(script: &mut Script<'_>, from: u64, to: u64) -> Vec<u8> {
    let source = match script.octet() % 8 {
        0 => Ipv6Addr::UNSPECIFIED,
        1 => link_local(to),
        2 => Ipv6Addr::from_bits(u128::from(script.long()) << 96),
        _ => link_local(from),
    };
    let solicited = Ipv6Addr::from_bits(0xff02_0000_0000_0000_0000_0001_ff00_0000 | u128::from(to));
    let own = link_local(to);
    let destination =
        script.choice(&[own, ALL_NODES, ALL_ROUTERS, ALL_DHCP_SERVERS, solicited, source]);
    let mut octets = match script.octet() % 8 {
        0 => return script.piece().to_vec(),
        1 => packet::icmp(source, destination, script.piece()),
        2 => packet::icmp(source, destination, &router_solicitation()),
        3 => packet::icmp(source, destination, &advertisement(script).emit()),
        4 => {
            let asked = if script.flag() { own } else { link_local(from) };
            let solicitation = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &asked.octets()].concat();
            packet::icmp(source, destination, &solicitation)
        }
        5 => {
            let ports = (script.word(), script.choice(&[CLIENT_PORT, SERVER_PORT]));
            packet::udp((source, ports.0), (destination, ports.1), script.piece())
        }
        _ => {
            let message = message(script).encode();
            let port = if from == HOST { SERVER_PORT } else { CLIENT_PORT };
            packet::udp((source, CLIENT_PORT), (destination, port), &message)
        }
    };
    if script.octet() == 0xff {
        let at = usize::from(script.octet()) % octets.len();
        octets[at] ^= script.octet();
    }
    octets
}

fn prefix(script: &mut Script<'_>) -> Ipv6Net {
    let address = Ipv6Addr::from_bits(u128::from(script.long()) << 96);
    Ipv6Net::new(address, script.octet() % 129).unwrap_or_default().trunc()
}

fn advertisement(script: &mut Script<'_>) -> RouterAdvertisement {
    let prefixes = (0..script.octet() % 4).map(|_| Prefix {
        prefix: prefix(script),
        on_link: false,
        autonomous: script.flag(),
        valid_seconds: script.long(),
        preferred_seconds: script.octet().into(),
    });
    let prefixes = prefixes.collect();
    RouterAdvertisement {
        hop_limit: 64,
        managed: script.flag(),
        other: script.flag(),
        lifetime_seconds: script.word(),
        prefixes,
        mtu: script.flag().then(|| script.long()),
        dns: (0..script.octet() % 4).map(|last| link_local(last.into())).collect(),
        dns_seconds: script.octet().into(),
    }
}

/// A DHCPv6 message.
pub fn message(script: &mut Script<'_>) -> Message {
    let mut message = Message::new(script.choice(&KINDS), script.octet().into());
    let flags = script.octet();
    message.client_id = (flags & 1 == 0).then(|| CLIENT_ID.into());
    message.server_id = (flags & 2 == 0).then(|| SERVER_ID.into());
    message.rapid_commit = flags & 4 != 0;
    message.preference = (flags & 8 != 0).then(|| script.octet());
    message.requested = (0..flags >> 4).map(u16::from).collect();
    for _ in 0..script.octet() % 5 {
        let kind =
            if script.flag() { AssociationKind::Addresses } else { AssociationKind::Prefixes };
        let mut association = Association::new(kind, script.octet().into());
        association.renew_seconds = script.octet().into();
        association.rebind_seconds = script.octet().into();
        for _ in 0..script.octet() % 3 {
            let prefix = match kind {
                AssociationKind::Addresses => Ipv6Net::from(link_local(script.octet().into())),
                AssociationKind::Prefixes => prefix(script),
            };
            let (preferred_seconds, valid_seconds) = (script.octet().into(), script.long());
            association.leases.push(Lease { prefix, preferred_seconds, valid_seconds });
        }
        message.associations.push(association);
    }
    message
}
