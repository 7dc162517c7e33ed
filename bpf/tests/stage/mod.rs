//! A loaded program with known addresses, and frames to show it.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketType};
use xlns_bpf::{Action, PortSteer, Rates, Reason, Steer, SteerConfig, Way};

pub const ACCESS: usize = 0;
pub const CORE: usize = 1;
/// Like [`ACCESS`], but without a socket.
pub const NO_SOCKET: usize = 2;

pub const L2TP_PORT: u16 = 1701;
pub const ENDPOINT: &str = "192.0.2.1";
pub const ENDPOINT6: &str = "2001:db8::1";
/// Ours, no tunnels.
pub const HOST: &str = "192.0.2.9";
pub const HOST6: &str = "2001:db8::9";
/// Ours, inside a subscriber prefix.
pub const GATEWAY: &str = "100.64.0.1";
pub const GATEWAY6: &str = "2001:db8:100::1";
pub const SUBSCRIBER_PREFIXES: [&str; 5] =
    ["100.64.0.0/16", "10.1.2.0/23", "203.0.113.7/32", "2001:db8:100::/44", "2001:db8:7777::5/128"];

/// So high that no test meets it by accident.
pub const UNLIMITED: Rates = Rates {
    setup_packets_per_second: u32::MAX,
    tunnel_packets_per_second: u32::MAX,
    ppp_packets_per_second: u32::MAX,
    burst_packets: 1,
};

/// BPF needs root; a test that did not run must not look like one that passed.
pub fn require_root() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "the tests of xlns-bpf load programs into the kernel: run them as root"
    );
}

pub fn port(interface: &str, ifindex: u32, core: bool) -> PortSteer {
    PortSteer { ifindex, interface: interface.into(), core, queues: 1 }
}

pub fn load(rates: Rates) -> Steer {
    require_root();
    let ports = vec![port("access", 1, false), port("core", 1, true), port("bare", 1, false)];
    Steer::load(&SteerConfig { l2tp_port: L2TP_PORT, l2tp_port_count: 1, ports, rates })
        .expect("loads")
}

/// An AF_XDP socket, not bound: enough for a map entry, and so for XDP_REDIRECT in a test run.
pub fn xdp_socket() -> OwnedFd {
    rustix::net::socket(AddressFamily::XDP, SocketType::RAW, None).expect("AF_XDP socket")
}

pub fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub struct Stage {
    pub steer: Steer,
    _socket: OwnedFd,
}

impl Stage {
    pub fn new(rates: Rates) -> Self {
        let mut steer = load(rates);
        let socket = xdp_socket();
        for port in [ACCESS, CORE] {
            steer.set_socket(port, 0, socket.as_raw_fd()).expect("set");
        }
        for (text, endpoint) in [
            (ENDPOINT, true),
            (ENDPOINT6, true),
            (HOST, false),
            (HOST6, false),
            (GATEWAY, false),
            (GATEWAY6, false),
        ] {
            steer.set_host_address(address(text), endpoint).expect("set");
        }
        for prefix in SUBSCRIBER_PREFIXES {
            steer.set_subscriber_prefix(prefix.parse().expect("a prefix")).expect("set");
        }
        Self { steer, _socket: socket }
    }

    /// Runs one frame; exactly one counter must move by one, and the action must be its way.
    pub fn decide(&self, port: usize, frame: &[u8]) -> Reason {
        let before = self.steer.counters(port);
        let action = self.steer.test_run(port, frame, 1).expect("runs").action;
        let moved: Vec<(usize, u64)> = self
            .steer
            .counters(port)
            .iter()
            .zip(&before)
            .map(|(after, before)| after.1 - before.1)
            .enumerate()
            .filter(|(_, count)| *count != 0)
            .collect();
        let [(index, 1)] = moved[..] else { panic!("{moved:?} for {frame:02x?}") };
        let reason = Reason::ALL[index];
        let expected = match reason.way() {
            Way::ToWorkers => Action::Redirect,
            Way::ToKernel => Action::Pass,
            Way::Drop => Action::Drop,
        };
        assert_eq!(action, expected, "{} for {frame:02x?}", reason.name());
        reason
    }
}

/// The packets of one reason.
pub fn count(steer: &Steer, port: usize, reason: Reason) -> u64 {
    let counters = steer.counters(port);
    counters.iter().find(|(counted, _)| *counted == reason).expect("listed").1
}

pub const MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 1];

pub fn ethernet(destination: [u8; 6], tags: &[u16], kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = destination.to_vec();
    frame.extend([2, 0, 0, 0, 0, 2]);
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend([0, 42]);
    }
    frame.extend(kind.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An untagged frame to us with this IP packet.
pub fn frame(packet: &[u8]) -> Vec<u8> {
    let kind = if packet[0] >> 4 == 6 { 0x86dd } else { 0x0800 };
    ethernet(MAC, &[], kind, packet)
}

pub struct Ipv4 {
    pub protocol: u8,
    pub ttl: u8,
    /// Flags and fragment offset.
    pub fragment: u16,
    /// Octets of options, a multiple of 4.
    pub options: usize,
}

pub const UDP: Ipv4 = Ipv4 { protocol: 17, ttl: 64, fragment: 0, options: 0 };

pub fn ipv4(header: &Ipv4, destination: &str, payload: &[u8]) -> Vec<u8> {
    let IpAddr::V4(destination) = address(destination) else { panic!("IPv4") };
    let total = u16::try_from(20 + header.options + payload.len()).expect("fits");
    let words = u8::try_from(5 + header.options / 4).expect("fits");
    let mut packet = vec![0x40 | words, 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0, 7]);
    packet.extend(header.fragment.to_be_bytes());
    packet.extend([header.ttl, header.protocol, 0, 0, 198, 51, 100, 2]);
    packet.extend(destination.octets());
    packet.resize(packet.len() + header.options, 1);
    packet.extend(payload);
    packet
}

/// `chain`: extension headers, each its number and its octets but the first.
pub fn ipv6(destination: &str, chain: &[(u8, Vec<u8>)], last: u8, payload: &[u8]) -> Vec<u8> {
    let IpAddr::V6(destination) = address(destination) else { panic!("IPv6") };
    let mut body = Vec::new();
    for (index, (_, octets)) in chain.iter().enumerate() {
        body.push(chain.get(index + 1).map_or(last, |(number, _)| *number));
        body.extend(octets);
    }
    body.extend(payload);
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(u16::try_from(body.len()).expect("fits").to_be_bytes());
    packet.push(chain.first().map_or(last, |(number, _)| *number));
    packet.push(64);
    packet.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    packet.extend(destination.octets());
    packet.extend(body);
    packet
}

pub fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = 1701_u16.to_be_bytes().to_vec();
    datagram.extend(port.to_be_bytes());
    datagram.extend(u16::try_from(8 + payload.len()).expect("fits").to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    datagram
}

/// This UDP payload to the IPv4 endpoint.
pub fn to_endpoint(payload: &[u8]) -> Vec<u8> {
    frame(&ipv4(&UDP, ENDPOINT, &udp(L2TP_PORT, payload)))
}

/// This UDP payload to the IPv6 endpoint.
pub fn to_endpoint6(payload: &[u8]) -> Vec<u8> {
    frame(&ipv6(ENDPOINT6, &[], 17, &udp(L2TP_PORT, payload)))
}

pub const L: u16 = 0x4000;
pub const S: u16 = 0x0800;
pub const O: u16 = 0x0200;
pub const P: u16 = 0x0100;

/// An L2TP data message; `flags` of L, S, O and P; `offset` counts where O is set.
pub fn l2tp_data(flags: u16, offset: u16, payload: &[u8]) -> Vec<u8> {
    let mut rest = vec![0, 5, 0, 6];
    if flags & S != 0 {
        rest.extend([0, 1, 0, 2]);
    }
    if flags & O != 0 {
        rest.extend(offset.to_be_bytes());
        rest.resize(rest.len() + usize::from(offset), 0xa5);
    }
    rest.extend(payload);
    let mut message = (flags | 2).to_be_bytes().to_vec();
    if flags & L != 0 {
        message.extend(u16::try_from(4 + rest.len()).expect("fits").to_be_bytes());
    }
    message.extend(rest);
    message
}

/// An L2TP control message with a HELLO's Message Type AVP.
pub fn l2tp_control(tunnel_id: u16) -> Vec<u8> {
    let mut message = vec![0xc8, 2, 0, 20];
    message.extend(tunnel_id.to_be_bytes());
    message.extend([0, 0, 0, 1, 0, 1, 0x80, 8, 0, 0, 0, 0, 0, 6]);
    message
}

/// A PPP frame, each part compressed or not.
pub fn ppp(acfc: bool, pfc: bool, protocol: u16, payload: &[u8]) -> Vec<u8> {
    let mut octets = if acfc { vec![] } else { vec![0xff, 3] };
    if pfc {
        octets.push(u8::try_from(protocol).expect("compressible"));
    } else {
        octets.extend(protocol.to_be_bytes());
    }
    octets.extend(payload);
    octets
}

pub fn inner4() -> Vec<u8> {
    ipv4(&UDP, "8.8.8.8", &[0; 12])
}

pub fn inner6(destination: &str) -> Vec<u8> {
    ipv6(destination, &[], 17, &[0; 12])
}
