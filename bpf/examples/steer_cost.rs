//! What steering costs a frame: the program against one that passes everything.
//!
//! Run as root: `cargo run -p xlns-bpf --example steer_cost`. Both are run by the kernel
//! (BPF_PROG_TEST_RUN) in turns; the best of all turns counts, the empty program is taken off.

use std::error::Error;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;

use libbpf_rs::ProgramInput;
use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use rustix::net::{AddressFamily, SocketType};
use xlns_bpf::{PortSteer, Rates, Steer, SteerConfig};

#[path = "../tests/stage/mod.rs"]
mod stage;

#[allow(missing_docs, clippy::all, clippy::undocumented_unsafe_blocks)]
mod empty {
    include!(concat!(env!("OUT_DIR"), "/empty.skel.rs"));
}

/// Runs a turn; long enough to drown the set-up, short enough to be left alone by the scheduler.
const REPEAT: u32 = 100_000;

/// Turns; the best counts.
const TURNS: u32 = 20;

fn main() -> Result<(), Box<dyn Error>> {
    let mut place = MaybeUninit::uninit();
    let empty = empty::EmptySkelBuilder::default().open(&mut place)?.load()?;
    let steer = set_up()?;
    println!("{:42} {:>8} {:>8} {:>8}", "frame", "ns", "empty", "steer");
    for (name, port, frame) in frames() {
        let (mut with, mut without) = (u32::MAX, u32::MAX);
        for _ in 0..TURNS {
            let input =
                ProgramInput { data_in: Some(&frame), repeat: REPEAT, ..Default::default() };
            without = without.min(empty.progs.empty.test_run(input)?.duration.subsec_nanos());
            with = with.min(steer.0.test_run(port, &frame, REPEAT)?.duration_ns);
        }
        println!("{name:42} {with:>8} {without:>8} {:>8}", i64::from(with) - i64::from(without));
    }
    Ok(())
}

/// An access port, a core port, tables filled as on a busy LNS.
fn set_up() -> Result<(Steer, std::os::fd::OwnedFd), Box<dyn Error>> {
    let port = |core| PortSteer { ifindex: 1, interface: "test".into(), core, queues: 1 };
    let rates = Rates {
        setup_packets_per_second: 1000,
        tunnel_packets_per_second: 10_000,
        ppp_packets_per_second: 10_000,
        burst_packets: 1000,
    };
    let config = SteerConfig { l2tp_port: 1701, ports: vec![port(false), port(true)], rates };
    let mut steer = Steer::load(&config)?;
    let socket = rustix::net::socket(AddressFamily::XDP, SocketType::RAW, None)?;
    for port in 0..2 {
        steer.set_socket(port, 0, socket.as_raw_fd())?;
        steer.set_mac(port, stage::MAC)?;
    }
    for address in [stage::ENDPOINT, stage::ENDPOINT6] {
        steer.set_host_address(address.parse()?, true)?;
    }
    for third in 0..100 {
        steer.set_host_address(format!("198.18.{third}.1").parse()?, third % 2 == 0)?;
        steer.set_subscriber_prefix(format!("100.64.{third}.0/24").parse()?)?;
        steer.set_subscriber_prefix(format!("2001:db8:{third:x}00::/48").parse()?)?;
    }
    steer.set_subscriber_prefix("10.0.0.0/16".parse()?)?;
    Ok((steer, socket))
}

fn frames() -> Vec<(&'static str, usize, Vec<u8>)> {
    use stage::*;
    let data = l2tp_data(L, 0, &ppp(false, false, 0x21, &inner4()));
    let everything = l2tp_data(L | S | O, 4, &ppp(true, true, 0x57, &inner6("2001:db8::7")));
    let echo = l2tp_data(L, 0, &ppp(false, false, 0xc021, &[9, 1, 0, 8, 0, 0, 0, 0]));
    let tcp = Ipv4 { protocol: 6, ..UDP };
    vec![
        ("L2TP IPv4 data, IPv4 outside", ACCESS, to_endpoint(&data)),
        ("L2TP IPv6 data, L S O, IPv4 outside", ACCESS, to_endpoint(&everything)),
        ("L2TP IPv4 data, IPv6 outside", ACCESS, to_endpoint6(&data)),
        ("LCP echo", ACCESS, to_endpoint(&echo)),
        ("IPv4 to a subscriber, core port", CORE, frame(&ipv4(&tcp, "100.64.7.7", &[0; 26]))),
        (
            "IPv6 to a subscriber, core port",
            CORE,
            frame(&ipv6("2001:db8:700::1", &[], 6, &[0; 26])),
        ),
        ("IPv4 to a subscriber, other port", ACCESS, frame(&ipv4(&tcp, "100.64.7.7", &[0; 26]))),
        (
            "IPv6 to a subscriber, other port",
            ACCESS,
            frame(&ipv6("2001:db8:700::1", &[], 6, &[0; 26])),
        ),
        ("IPv4 to elsewhere, other port", ACCESS, frame(&ipv4(&tcp, "8.8.8.8", &[0; 26]))),
        ("ARP", ACCESS, ethernet(MAC, &[], 0x0806, &[0; 46])),
        ("SCCRQ over the rate", ACCESS, to_endpoint(&l2tp_control(0))),
    ]
}
