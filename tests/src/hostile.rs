//! An attacker on the access link: random frames, and frames mutated from those of a live session.
//!
//! What the attacker must not send is what the protocol lets the peer itself say: control messages
//! in the live tunnel, PPP control in the live session, ARP in the peer's name. L2TP does not
//! authenticate those (RFC 2661 section 9), so no LNS can tell them apart.

use std::io::{IoSlice, IoSliceMut};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike,
    SockaddrStorage, recvmsg, sendmsg, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngCore, SeedableRng};

use crate::deadline::Deadline;
use crate::netns::Netns;
use crate::{LabError, Result};

/// The longest frame made up; the access link's MTU with its Ethernet header.
const FRAME_BYTES_MAX: usize = 1514;

/// Octets in front of L2TP: Ethernet, IPv4 without options, UDP.
const L2TP_OFFSET: usize = 14 + 20 + 8;

/// A raw socket on one interface of a namespace.
#[derive(Debug)]
pub struct Wire {
    socket: OwnedFd,
    interface: LinkAddr,
}

impl Wire {
    /// Opens one.
    ///
    /// # Errors
    /// Where there is no such interface.
    pub fn open(namespace: &Netns, interface: &str) -> Result<Self> {
        namespace.inside(|| {
            let failed = |what: &str| {
                let what = format!("{what} on {interface}");
                move |error: nix::Error| LabError::io(&what, &error.into())
            };
            let interface = link_address(interface).ok_or_else(|| {
                LabError::new(format!("{} has no interface {interface}", namespace.name()))
            })?;
            let socket = socket(
                AddressFamily::Packet,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                SockProtocol::EthAll,
            )
            .map_err(failed("packet socket"))?;
            nix::sys::socket::bind(socket.as_raw_fd(), &interface).map_err(failed("bind"))?;
            setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(100))
                .map_err(failed("SO_RCVTIMEO"))?;
            Ok(Self { socket, interface })
        })
    }

    /// Sends a frame; waits while the socket's buffer is full.
    pub fn send(&self, frame: &[u8]) {
        let octets = [IoSlice::new(frame)];
        let _ = sendmsg::<LinkAddr>(
            self.socket.as_raw_fd(),
            &octets,
            &[],
            MsgFlags::empty(),
            Some(&self.interface),
        );
    }

    /// The frames of either direction in `span`, at most `count`.
    pub fn capture(&self, span: Duration, count: usize) -> Vec<Vec<u8>> {
        let deadline = Deadline::after(span);
        let mut frames = Vec::new();
        let mut octets = vec![0; 2048];
        while !deadline.passed() && frames.len() < count {
            let mut parts = [IoSliceMut::new(&mut octets)];
            let received = recvmsg::<SockaddrStorage>(
                self.socket.as_raw_fd(),
                &mut parts,
                None,
                MsgFlags::empty(),
            )
            .map_or(0, |message| message.bytes);
            if received > 14 {
                frames.push(octets[..received].to_vec());
            }
        }
        frames
    }
}

fn link_address(interface: &str) -> Option<LinkAddr> {
    // The list carries a packet address per interface, with its index.
    let found = nix::ifaddrs::getifaddrs().ok()?.find_map(|entry| {
        (entry.interface_name == interface).then(|| entry.address?.as_link_addr().copied())?
    })?;
    (found.len() > 0).then_some(found)
}

/// Hosts on the link in whose name the attacker speaks, by the last octet of their address.
const DISGUISES: std::ops::Range<u8> = 3..250;

/// Makes `namespace` know the hosts in whose name frames on `interface` come. Answers to hosts that
/// it has to look for first wait in its kernel, and there they count against senders: its ICMP
/// socket for one, which all namespaces of a machine share.
///
/// # Errors
/// What `ip` says.
pub fn know_disguises(namespace: &Netns, interface: &str, peer: Ipv4Addr) -> Result<()> {
    let [a, b, c, _] = peer.octets();
    let lines: String = DISGUISES
        .map(|host| {
            format!(
                "neigh replace {a}.{b}.{c}.{host} lladdr 02:00:00:00:00:{host:02x} \
                     dev {interface} nud permanent\n"
            )
        })
        .collect();
    namespace.ip_batch(&lines)
}

/// The session that must live on.
#[derive(Debug, Clone, Copy)]
pub struct Live {
    /// The peer's outer address.
    pub peer: Ipv4Addr,
    /// The Tunnel ID that the LNS assigned.
    pub local_tunnel_id: u16,
}

/// Makes hostile frames; the same seed makes the same ones.
#[derive(Debug)]
pub struct Attacker {
    random: StdRng,
    templates: Vec<Vec<u8>>,
    live: Live,
}

impl Attacker {
    /// An attacker who has seen `captured`.
    ///
    /// # Errors
    /// Where no captured frame goes to the LNS by L2TP.
    pub fn new(seed: u64, captured: &[Vec<u8>], lns: Ipv4Addr, live: Live) -> Result<Self> {
        let towards_lns =
            |frame: &&Vec<u8>| is_l2tp(frame) && frame.get(30..34) == Some(&lns.octets());
        let templates: Vec<_> = captured.iter().filter(towards_lns).cloned().collect();
        if templates.is_empty() {
            return Err(LabError::new("no L2TP among the captured frames"));
        }
        Ok(Self { random: StdRng::seed_from_u64(seed), templates, live })
    }

    /// The next frame.
    pub fn frame(&mut self) -> Vec<u8> {
        loop {
            let mut frame = match self.random.random_range(0..10) {
                0 => self.noise(),
                1 | 2 => self.noise_behind(34),
                3 => self.noise_behind(L2TP_OFFSET),
                4 => self.header_soup(),
                _ => self.mutation(),
            };
            if self.random.random_bool(0.5) {
                self.disguise(&mut frame);
            }
            if self.random.random_bool(0.8) {
                repair(&mut frame);
            }
            if !is_peers_own_word(&frame, self.live) {
                return frame;
            }
        }
    }

    /// Nothing but noise.
    fn noise(&mut self) -> Vec<u8> {
        let mut frame = vec![0; self.random.random_range(1..=FRAME_BYTES_MAX)];
        self.random.fill_bytes(&mut frame);
        let template = self.template();
        if self.random.random_bool(0.7) {
            let length = frame.len().min(14);
            frame[..length].copy_from_slice(&template[..length]);
        }
        frame
    }

    /// A true beginning, then noise.
    fn noise_behind(&mut self, offset: usize) -> Vec<u8> {
        let template = self.template();
        let mut frame = vec![0; self.random.random_range(offset..=FRAME_BYTES_MAX)];
        self.random.fill_bytes(&mut frame);
        frame[..offset].copy_from_slice(&template[..offset]);
        frame
    }

    /// L2TP headers with every combination of bits and lengths, the live IDs among the values.
    fn header_soup(&mut self) -> Vec<u8> {
        let template = self.template();
        let mut frame = template[..L2TP_OFFSET].to_vec();
        let flags: u16 = self.random.random();
        let version =
            if self.random.random_bool(0.9) { 2 } else { self.random.random_range(0..16) };
        frame.extend(((flags & 0xfff0) | version).to_be_bytes());
        for _ in 0..self.random.random_range(0..8) {
            let word = match self.random.random_range(0..4) {
                0 => self.live.local_tunnel_id,
                1 => self.random.random_range(0..64),
                2 => 0,
                _ => self.random.random(),
            };
            frame.extend(word.to_be_bytes());
        }
        let rest = self.random.random_range(0..64);
        frame.extend((0..rest).map(|_| self.random.random::<u8>()));
        frame
    }

    /// A true frame with a few faults.
    fn mutation(&mut self) -> Vec<u8> {
        let mut frame = self.template();
        for _ in 0..self.random.random_range(1..6) {
            let place = self.random.random_range(0..frame.len());
            match self.random.random_range(0..6) {
                0 => frame[place] ^= 1 << self.random.random_range(0..8),
                1 => frame[place] = self.random.random(),
                2 => frame.truncate(place.max(14)),
                3 => frame[place] = *[0, 0xff, 0x7f, 0x80].choose(&mut self.random).unwrap_or(&0),
                4 => {
                    let other = self.template();
                    frame.truncate(place);
                    frame.extend(other.iter().skip(place));
                }
                _ => {
                    let more = self.random.random_range(1..64);
                    frame.extend((0..more).map(|_| self.random.random::<u8>()));
                }
            }
            if frame.is_empty() {
                frame.push(0);
            }
        }
        frame.truncate(FRAME_BYTES_MAX);
        frame
    }

    /// Another host on the link, or another port of the peer.
    fn disguise(&mut self, frame: &mut [u8]) {
        let Some(source) = frame.get_mut(26..36) else { return };
        if self.random.random_bool(0.5) {
            source[3] = self.random.random_range(DISGUISES);
        } else {
            source[8..10].copy_from_slice(&self.random.random::<u16>().to_be_bytes());
        }
    }

    fn template(&mut self) -> Vec<u8> {
        self.templates.choose(&mut self.random).cloned().unwrap_or_default()
    }
}

/// Whether the frame is IPv4 without options that carries UDP to the L2TP port, whole.
fn is_l2tp(frame: &[u8]) -> bool {
    frame.len() > L2TP_OFFSET + 8
        && frame[12..15] == [0x08, 0x00, 0x45]
        && frame[23] == 17
        && frame[36..38] == 1701_u16.to_be_bytes()
}

/// Lengths and checksums in order again, so that the fault is seen further inside.
fn repair(frame: &mut [u8]) {
    if frame.len() < L2TP_OFFSET || frame[12..15] != [0x08, 0x00, 0x45] {
        return;
    }
    let length = |octets: usize| u16::try_from(octets).unwrap_or(u16::MAX).to_be_bytes();
    let (ip_length, udp_length) = (length(frame.len() - 14), length(frame.len() - 34));
    frame[16..18].copy_from_slice(&ip_length);
    frame[24..26].fill(0);
    let checksum = checksum(&frame[14..34]);
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    if frame[23] == 17 {
        frame[38..40].copy_from_slice(&udp_length);
        frame[40..42].fill(0);
    }
}

fn checksum(octets: &[u8]) -> u16 {
    let sum: u32 = octets
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

/// Whether the frame could be the peer's own word about its link, tunnel or session. Says yes where
/// in doubt.
fn is_peers_own_word(frame: &[u8], live: Live) -> bool {
    let Some(kind) = frame.get(12..14) else { return true };
    if kind != [0x08, 0x00] {
        // ARP, and tags with ARP behind; IPv6 (neighbour discovery) is not for this link.
        return matches!(kind, [0x08, 0x06] | [0x81, 0x00] | [0x88, 0xa8] | [0x86, 0xdd]);
    }
    if frame.get(26..30) != Some(&live.peer.octets()) {
        return false;
    }
    if frame.get(23) == Some(&1) {
        return true; // ICMP errors about the tunnel's datagrams.
    }
    let Some(l2tp) = frame.get(L2TP_OFFSET..) else { return false };
    // With and without the length field; options in the IP header shift it all: in doubt, no.
    let id = live.local_tunnel_id.to_be_bytes();
    let names_tunnel =
        frame.get(14) != Some(&0x45) || l2tp.get(2..4) == Some(&id) || l2tp.get(4..6) == Some(&id);
    let is_control = l2tp.first().is_none_or(|flags| flags & 0x80 != 0);
    // Data: PPP behind 6 to 12 octets of header; anything that is not plainly IP may be control.
    let ends = [&[0xff, 0x03, 0x00, 0x21][..], &[0x00, 0x21, 0x45], &[0x21, 0x45]];
    let is_ip = (6..=12).any(|offset| {
        l2tp.get(offset..).is_some_and(|ppp| ends.iter().any(|end| ppp.starts_with(end)))
    });
    names_tunnel && (is_control || !is_ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LNS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const LIVE: Live = Live { peer: Ipv4Addr::new(192, 0, 2, 2), local_tunnel_id: 0x1234 };

    fn datagram(l2tp: &[u8]) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00];
        frame.extend([0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 2, 192, 0, 2, 1]);
        frame.extend([0x06, 0xa5, 0x06, 0xa5, 0, 0, 0, 0]);
        frame.extend(l2tp);
        repair(&mut frame);
        frame
    }

    fn data() -> Vec<u8> {
        let mut l2tp = vec![0x00, 0x02, 0x12, 0x34, 0x56, 0x78, 0xff, 0x03, 0x00, 0x21, 0x45];
        l2tp.extend([0; 19]);
        datagram(&l2tp)
    }

    #[test]
    fn the_same_seed_makes_the_same_frames() {
        let frames = |seed| {
            let mut attacker = Attacker::new(seed, &[data()], LNS, LIVE).unwrap();
            (0..200).map(|_| attacker.frame()).collect::<Vec<_>>()
        };
        assert_eq!(frames(1), frames(1));
        assert_ne!(frames(1), frames(2));
        assert!(frames(3).iter().all(|frame| (1..=FRAME_BYTES_MAX).contains(&frame.len())));
    }

    #[test]
    fn knows_what_only_the_peer_may_say() {
        let control = datagram(&[0xc8, 0x02, 0, 12, 0x12, 0x34, 0, 0, 0, 1, 0, 1]);
        let lcp = datagram(&[0, 2, 0x12, 0x34, 0x56, 0x78, 0xff, 3, 0xc0, 0x21, 5, 1, 0, 4]);
        assert!(is_peers_own_word(&control, LIVE));
        assert!(is_peers_own_word(&lcp, LIVE));
        assert!(!is_peers_own_word(&data(), LIVE));
        let mut elsewhere = control;
        elsewhere[29] = 77;
        assert!(!is_peers_own_word(&elsewhere, LIVE));
    }

    #[test]
    fn repairs_the_ipv4_checksum() {
        assert_eq!(checksum(&data()[14..34]), 0);
    }

    #[test]
    fn needs_a_capture() {
        assert!(Attacker::new(1, &[vec![0; 60]], LNS, LIVE).is_err());
    }
}
