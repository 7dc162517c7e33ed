//! ICMP and ICMPv6 errors about packets that go no further (RFC 1812 section 4.3, RFC 4443).
//!
//! The error is made in the frame of the packet that it is about. It leaves as any packet to that
//! one's source does, from our address on that link.

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, IntoBytes};

use super::classify::{Address, Packet};
use super::special::Allowance;
use super::{Context, Origin};
use crate::frame::Frame;
use crate::tables::Entry;
use crate::verdict::{DropReason, Verdict};
use crate::wire::checksum::{Sum, pseudo_ipv6};
use crate::wire::icmp::{self, Kind};
use crate::wire::{ipv4, ipv6};

/// What one worker sends: enough for every traceroute and path MTU discovery, and no weapon for who
/// forges sources (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4).
pub(super) const ERRORS: Allowance = Allowance::new(1000, 100);

/// The longest errors: what every host takes in one piece (RFC 1812 section 4.3.2.3, RFC 4443 section
/// 2.4).
const BYTES_MAX: usize = 576;
const IPV6_BYTES_MAX: usize = 1280;

/// TTL and hop limit of errors.
const HOPS: u8 = 64;

/// DSCP CS6, internetwork control (RFC 1812 section 4.3.2.5).
const TRAFFIC_CLASS: u8 = 48 << 2;

/// What is said about a packet. Its frame begins with its IP header, and is as long as it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Complaint {
    TimeExceeded,
    /// Of this many octets the packet might have been.
    TooBig(u16),
    NoRoute,
    Unreachable,
}

impl Complaint {
    /// The error's type and code, and its parameter.
    fn ipv4(self) -> (Kind, u32) {
        match self {
            Self::TimeExceeded => (icmp::TIME_EXCEEDED, 0),
            Self::TooBig(mtu) => (icmp::FRAGMENTATION_NEEDED, mtu.into()),
            Self::NoRoute => (icmp::NETWORK_UNREACHABLE, 0),
            Self::Unreachable => (icmp::HOST_UNREACHABLE, 0),
        }
    }

    fn ipv6(self) -> (Kind, u32) {
        match self {
            Self::TimeExceeded => (icmp::IPV6_TIME_EXCEEDED, 0),
            Self::TooBig(mtu) => (icmp::IPV6_TOO_BIG, mtu.into()),
            Self::NoRoute => (icmp::IPV6_NO_ROUTE, 0),
            Self::Unreachable => (icmp::IPV6_ADDRESS_UNREACHABLE, 0),
        }
    }
}

/// Whether errors about this packet may be sent: never about an error, nor about a fragment but the
/// first (RFC 1812 section 4.3.2.7, RFC 4443 section 2.4).
fn may_be_told(packet: &[u8], is_ipv4: bool) -> Option<bool> {
    if is_ipv4 {
        let (header, lengths) = ipv4::parse(packet).ok()?;
        if header.fragment.get() & ipv4::OFFSET_MASK != 0 {
            return Some(false);
        }
        let kind = packet.get(lengths.header).copied();
        Some(header.protocol != icmp::PROTOCOL || kind.is_some_and(icmp::is_query))
    } else {
        // Neither fragments nor headers that end nowhere: what is behind them might be an error.
        let (protocol, place) = ipv6::upper_layer(packet)?;
        let kind = packet.get(place).copied();
        Some(protocol != icmp::PROTOCOL_IPV6 || kind.is_some_and(icmp::is_informational))
    }
}

impl Context<'_> {
    /// Counts a refused packet, and tells its source, if there is something to tell.
    #[cold]
    pub(super) fn refuse(&mut self, frame: &mut Frame, reason: DropReason) -> Verdict {
        self.shard.count_drop(reason);
        let told = self.special.complaint.take().and_then(|about| self.complain(frame, about));
        // The error may have failed in its turn: about errors nothing is said.
        self.special.complaint = None;
        let Some(verdict) = told else { return Verdict::Drop(reason) };
        self.shard.count_originated();
        verdict
    }

    fn complain(&mut self, frame: &mut Frame, about: Complaint) -> Option<Verdict> {
        let is_ipv4 = frame.octets().first()? >> 4 == 4;
        let packet = Packet::new(0, frame.len(), is_ipv4)?;
        let to = packet.source(frame.octets());
        if !to.is_forwardable() || !may_be_told(frame.octets(), is_ipv4)? {
            return None;
        }
        let entry = to.route(self.guard);
        let from = match entry {
            // The kernel takes nothing that comes from an address of its own: who the packet was for
            // may say it.
            Entry::Local { .. } => packet.destination(frame.octets()),
            _ => self.address_towards(to, entry)?,
        };
        if !self.special.errors.take(self.special.now) {
            return None;
        }
        match (from, to) {
            (Address::V4(from), Address::V4(to)) => {
                *self.identification = self.identification.wrapping_add(1);
                write_ipv4(frame, about, *self.identification, from, to)?;
            }
            (Address::V6(from), Address::V6(to)) => write_ipv6(frame, about, from, to)?,
            _ => return None,
        }
        let packet = Packet::new(0, frame.len(), is_ipv4)?;
        self.forward(frame, packet, entry, Origin::Own).ok()
    }

    /// Our address on the link that leads to `to`.
    fn address_towards(&self, to: Address, entry: Entry) -> Option<Address> {
        let gateways = self.guard.tables().limits().gateways;
        if let Address::V6(_) = to {
            return gateways.ipv6.map(Address::V6);
        }
        let session = match entry {
            Entry::Session(slot) => Some(self.guard.decap(slot).gateway),
            _ => None,
        };
        session.filter(|gateway| *gateway != [0; 4]).or(gateways.ipv4).map(Address::V4)
    }
}

/// Puts the error's headers in front of as much of the packet as fits.
fn push(frame: &mut Frame, headers: usize, most: usize) -> Option<()> {
    let length = frame.len().min(most - headers);
    (frame.set_len(length) && frame.push(headers)).then_some(())
}

fn header(kind: Kind, parameter: u32) -> icmp::Header {
    let (kind, code) = kind;
    icmp::Header { kind, code, checksum: U16::ZERO, parameter: U32::new(parameter) }
}

fn write_ipv4(
    frame: &mut Frame,
    about: Complaint,
    identification: u16,
    source: [u8; 4],
    destination: [u8; 4],
) -> Option<()> {
    push(frame, ipv4::HEADER_BYTES + icmp::HEADER_BYTES, BYTES_MAX)?;
    let total_length = U16::new(frame.len() as u16);
    let (ip, message) = ipv4::Header::mut_from_prefix(frame.octets_mut()).ok()?;
    *ip = ipv4::Header {
        version_ihl: ipv4::VERSION_IHL,
        traffic_class: TRAFFIC_CLASS,
        total_length,
        identification: U16::new(identification),
        fragment: U16::ZERO,
        ttl: HOPS,
        protocol: icmp::PROTOCOL,
        checksum: U16::ZERO,
        source,
        destination,
    };
    ip.checksum = Sum::default().octets(ip.as_bytes()).checksum();
    let (kind, parameter) = about.ipv4();
    *icmp::Header::mut_from_prefix(message).ok()?.0 = header(kind, parameter);
    let checksum = Sum::default().octets(message).checksum();
    icmp::Header::mut_from_prefix(message).ok()?.0.checksum = checksum;
    Some(())
}

fn write_ipv6(
    frame: &mut Frame,
    about: Complaint,
    source: [u8; 16],
    destination: [u8; 16],
) -> Option<()> {
    push(frame, ipv6::HEADER_BYTES + icmp::HEADER_BYTES, IPV6_BYTES_MAX)?;
    let (ip, message) = ipv6::Header::mut_from_prefix(frame.octets_mut()).ok()?;
    let length = message.len() as u16;
    *ip = ipv6::Header {
        version_class_flow: U32::new(6 << 28 | u32::from(TRAFFIC_CLASS) << 20),
        payload_length: U16::new(length),
        next_header: icmp::PROTOCOL_IPV6,
        hop_limit: HOPS,
        source,
        destination,
    };
    let (kind, parameter) = about.ipv6();
    *icmp::Header::mut_from_prefix(message).ok()?.0 = header(kind, parameter);
    let pseudo = pseudo_ipv6(source, destination, icmp::PROTOCOL_IPV6, length);
    let checksum = pseudo.octets(message).checksum();
    icmp::Header::mut_from_prefix(message).ok()?.0.checksum = checksum;
    Some(())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ipv4_packet(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
        let mut octets = vec![0x45, 0, 0, 20 + payload.len() as u8, 0, 1];
        octets.extend(fragment.to_be_bytes());
        octets.extend([1, protocol, 0, 0, 10, 0, 0, 1, 8, 8, 8, 8]);
        let sum = Sum::default().octets(&octets).checksum();
        octets[10..12].copy_from_slice(sum.as_bytes());
        octets.extend(payload);
        octets
    }

    #[test]
    fn errors_are_not_told_of_errors_or_later_fragments() {
        let told = |packet: &[u8]| may_be_told(packet, true).unwrap_or(false);
        assert!(told(&ipv4_packet(17, 0, &[3, 4])));
        assert!(told(&ipv4_packet(17, 0x2000, &[3, 4])));
        assert!(!told(&ipv4_packet(17, 0x2001, &[3, 4])));
        let queries = (0..=255).filter(|kind| told(&ipv4_packet(1, 0, &[*kind, 0])));
        assert_eq!(queries.collect::<Vec<u8>>(), [0, 8, 9, 10, 13, 14, 15, 16, 17, 18]);
        assert!(!told(&ipv4_packet(1, 0, &[])), "its type is not there");
    }

    #[test]
    fn the_same_of_ipv6() {
        let told = |next: u8, rest: &[u8]| {
            let mut octets = vec![0x60, 0, 0, 0, 0, rest.len() as u8, next, 1];
            octets.extend([1; 32]);
            octets.extend(rest);
            may_be_told(&octets, false).unwrap_or(false)
        };
        assert!(told(17, &[]) && told(59, &[]) && told(58, &[128]) && told(58, &[135]));
        assert!(!told(58, &[1]) && !told(58, &[127]) && !told(58, &[]));
        assert!(!told(60, &[58, 0, 0, 0, 0, 0, 0, 0, 3]));
        assert!(told(60, &[58, 0, 0, 0, 0, 0, 0, 0, 129]));
        assert!(!told(44, &[17, 0, 0, 1, 0, 0, 0, 0, 0, 0]));
    }

    proptest! {
        #[test]
        fn nothing_panics(octets: Vec<u8>, is_ipv4: bool) {
            may_be_told(&octets, is_ipv4);
        }
    }
}
