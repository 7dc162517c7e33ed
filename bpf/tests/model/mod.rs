//! The steering decision once more, written from what it is meant to be and RFC 2661 in the plainest
//! way. The program must agree with it on every frame.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use xlns_bpf::Reason::{self, *};

use crate::stage::{
    ENDPOINT, ENDPOINT6, GATEWAY, GATEWAY6, HOST, HOST6, SUBSCRIBER_PREFIXES, address,
};

/// What the program knows on the stage.
pub struct World {
    core: bool,
    prefixes: Vec<IpNet>,
}

/// The decision, where parsing ends early.
type Step<T> = Result<T, Reason>;

impl World {
    pub fn of(core: bool) -> Self {
        let prefixes = SUBSCRIBER_PREFIXES.iter().map(|text| text.parse().expect("valid"));
        Self { core, prefixes: prefixes.collect() }
    }

    pub fn classify(&self, frame: &[u8]) -> Reason {
        self.ethernet(frame).unwrap_or_else(|reason| reason)
    }

    fn ethernet(&self, frame: &[u8]) -> Step<Reason> {
        if frame[0] & 1 == 1 {
            return Ok(PassNotUnicast);
        }
        let mut rest = &frame[12..];
        for _ in 0..2 {
            if matches!(word(rest, 0, PassMalformed)?, 0x8100 | 0x88a8) {
                rest = rest.get(4..).ok_or(PassMalformed)?;
            }
        }
        match word(rest, 0, PassMalformed)? {
            0x0800 => self.ipv4(&rest[2..]),
            0x86dd => self.ipv6(&rest[2..]),
            _ => Ok(PassNotIp),
        }
    }

    fn ipv4(&self, packet: &[u8]) -> Step<Reason> {
        let header = packet.get(..20).ok_or(PassMalformed)?;
        let length = usize::from(header[0] & 15) * 4;
        if header[0] >> 4 != 4 || length < 20 {
            return Ok(PassMalformed);
        }
        let destination = Ipv4Addr::new(header[16], header[17], header[18], header[19]);
        let [first, ..] = destination.octets();
        let local = matches!(first, 0 | 127 | 224..) || destination.is_link_local();
        self.unless_endpoint(destination.into(), local)?;
        if header[9] != 17 {
            return Ok(PassHost);
        }
        if word(header, 6, PassMalformed)? & 0x3fff != 0 {
            return Ok(PassFragment);
        }
        datagram(packet.get(length..).ok_or(PassMalformed)?)
    }

    fn ipv6(&self, packet: &[u8]) -> Step<Reason> {
        let header = packet.get(..40).ok_or(PassMalformed)?;
        if header[0] >> 4 != 6 {
            return Ok(PassMalformed);
        }
        let octets: [u8; 16] = header[24..].try_into().expect("16 octets");
        let destination = Ipv6Addr::from(octets);
        let local = destination.is_multicast() || destination.is_unicast_link_local();
        self.unless_endpoint(destination.into(), local)?;
        let mut next = header[6];
        let mut rest = &packet[40..];
        for count in 0.. {
            match next {
                17 if count <= 4 => return datagram(rest),
                0 | 43 | 44 | 60 if count <= 4 => {}
                _ => return Ok(PassHost),
            }
            let extension = rest.get(..8).ok_or(PassMalformed)?;
            if next == 44 {
                return Ok(if extension[0] == 17 { PassFragment } else { PassHost });
            }
            next = extension[0];
            rest = rest.get((usize::from(extension[1]) + 1) * 8..).ok_or(PassMalformed)?;
        }
        unreachable!("the loop returns")
    }

    /// Decides for everything but tunnel endpoints.
    fn unless_endpoint(&self, destination: IpAddr, local: bool) -> Step<()> {
        if [ENDPOINT, ENDPOINT6].map(address).contains(&destination) {
            Ok(())
        } else if [HOST, HOST6, GATEWAY, GATEWAY6].map(address).contains(&destination) {
            Err(PassHost)
        } else if local {
            Err(PassNotUnicast)
        } else if self.core {
            Err(XskCore)
        } else if self.prefixes.iter().any(|prefix| prefix.contains(&destination)) {
            Err(XskSubscriber)
        } else {
            Err(PassTransit)
        }
    }
}

fn word(octets: &[u8], at: usize, otherwise: Reason) -> Step<u16> {
    let pair = octets.get(at..at + 2).ok_or(otherwise)?;
    Ok(u16::from_be_bytes([pair[0], pair[1]]))
}

fn datagram(octets: &[u8]) -> Step<Reason> {
    let header = octets.get(..8).ok_or(PassMalformed)?;
    if word(header, 2, PassMalformed)? != 1701 {
        return Ok(PassHost);
    }
    let length = usize::from(word(header, 4, PassMalformed)?);
    // Control is not bounded by the UDP length: the kernel checks that.
    let frame = &octets[8..];
    let message = octets.get(8..length.min(octets.len())).ok_or(DropL2tpShort)?;
    let flags = word(message, 0, DropL2tpShort)?;
    if flags & 0x8000 != 0 {
        let named = flags & 0x400f == 0x4002 && frame.len() >= 6 && frame[4..6] != [0, 0];
        return Ok(if named { PassL2tpTunnel } else { PassL2tpSetup });
    }
    if flags & 15 != 2 {
        return Ok(DropL2tpVersion);
    }
    let mut start = 6;
    if flags & 0x4000 != 0 {
        start += 2;
    }
    if flags & 0x0800 != 0 {
        start += 4;
    }
    if flags & 0x0200 != 0 {
        let offset = word(message, start, DropL2tpShort)?;
        start += 2 + usize::from(offset);
        ppp(message.get(start..).ok_or(DropL2tpOffset)?, &frame[start..])
    } else {
        ppp(message.get(start..).ok_or(DropL2tpShort)?, &frame[start..])
    }
}

/// `padded`: the same with what follows the datagram in the frame, which is not the program's to
/// tell apart behind the least PPP frame.
fn ppp(octets: &[u8], padded: &[u8]) -> Step<Reason> {
    if octets.len() < 4 {
        return Ok(DropPppShort);
    }
    let rest = padded.strip_prefix(&[0xff, 3]).unwrap_or(padded);
    let (protocol, packet) = if rest[0] & 1 == 1 {
        (u16::from(rest[0]), &rest[1..])
    } else {
        (u16::from_be_bytes([rest[0], rest[1]]), &rest[2..])
    };
    let destination = packet.get(..40).map(|header| (header[24], header[25]));
    Ok(match protocol {
        0x0021 => XskL2tpIpv4,
        0x0057 => match destination {
            Some((0xff, _) | (0xfe, 0x80..0xc0)) => PassPppControl,
            _ => XskL2tpIpv6,
        },
        0xc021 if packet.first() == Some(&9) => XskLcpEcho,
        0xc021 if matches!(packet, [10, identifier, ..] if identifier & 0x80 != 0) => XskLcpEcho,
        _ => PassPppControl,
    })
}
