//! Host and router against each other in virtual time, over a link that loses packets.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::{Config, Router};
use super::*;

const ROUTER: u64 = 0x0200_0000_0000_0001;
const HOST: u64 = 0x0200_0000_0000_0002;

/// Time that a packet takes.
const DELAY: Duration = Duration::from_millis(20);

fn at(seconds: u64) -> Time {
    Time::ZERO + Duration::from_secs(seconds)
}

/// Two ends and what is under way between them.
struct Link {
    router: Router,
    host: Host,
    now: Time,
    rng: StdRng,
    /// Of ten packets, how many are lost.
    loss: u32,
    /// Arrival, whether to the host, and the packet.
    under_way: Vec<(Time, bool, Vec<u8>)>,
    free: Option<Ipv6Net>,
    packets: usize,
}

impl Link {
    fn new(wants_delegated: bool, loss: u32, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let config = Config {
            server_id: b"\0\x04server".as_slice().into(),
            dns: vec!["2001:db8::53".parse().unwrap()],
            other: true,
            preferred_seconds: 2700,
            valid_seconds: 5400,
            ..Config::default()
        };
        let prefix = Some("2001:db8:0:7::/64".parse().unwrap());
        let ends = (ROUTER, HOST);
        let router = Router::new(at(0), Arc::new(config), ends, prefix, 1460);
        let host =
            Host::new(at(0), HOST, b"\0\x03host".as_slice().into(), wants_delegated, &mut rng);
        let free = Some("2001:db8:100::/56".parse().unwrap());
        Self { router, host, now: at(0), rng, loss, under_way: Vec::new(), free, packets: 0 }
    }

    fn send(&mut self, to_host: bool, packet: Vec<u8>) {
        self.packets += 1;
        if self.rng.random_range(0..10) >= self.loss {
            self.under_way.push((self.now + DELAY, to_host, packet));
        }
    }

    /// Lets the next thing happen that is not after `end`; `false` where there is none.
    fn step(&mut self, end: Time) -> bool {
        let arrival = self.under_way.first().map(|(at, ..)| *at);
        let timers = [self.host.poll_timeout(), Some(self.router.poll_timeout()), arrival];
        let Some(next) = timers.into_iter().flatten().min().filter(|next| *next <= end) else {
            self.now = end;
            return false;
        };
        self.now = self.now.max(next);
        if arrival == Some(next) {
            let (_, to_host, packet) = self.under_way.remove(0);
            if to_host {
                let _ = self.host.handle_packet(self.now, &packet, &mut self.rng);
            } else {
                let free = self.free;
                let reply = self.router.handle_packet(self.now, &packet, &mut || free);
                if let Ok(Some(reply)) = reply {
                    self.send(true, reply);
                }
            }
        }
        self.host.handle_timeout(self.now, &mut self.rng);
        if let Some(packet) = self.router.handle_timeout(self.now, &mut self.rng) {
            self.send(true, packet);
        }
        while let Some(packet) = self.host.poll_transmit() {
            self.send(false, packet);
        }
        true
    }

    fn run_to(&mut self, end: Time) {
        while self.step(end) {}
    }
}

#[test]
fn everything_is_known_within_two_round_trips() {
    let mut link = Link::new(true, 0, 1);
    link.run_to(Time::ZERO + 4 * DELAY);
    let expected = Status {
        router: Some(link_local(ROUTER)),
        prefix: Some("2001:db8:0:7::/64".parse().unwrap()),
        address: Some("2001:db8:0:7:200::2".parse().unwrap()),
        delegated: Some("2001:db8:100::/56".parse().unwrap()),
        dns: vec!["2001:db8::53".parse().unwrap()],
        mtu: Some(1460),
    };
    assert_eq!(link.host.status(), &expected);
    assert!(link.router.has_delegated());
    assert!(link.host.take_changed());
    assert!(!link.host.take_changed());
}

#[test]
fn a_host_without_use_for_a_prefix_asks_for_name_servers_alone() {
    let mut link = Link::new(false, 0, 1);
    link.run_to(at(10));
    assert_eq!(link.host.status().delegated, None);
    assert_eq!(link.host.status().dns.len(), 1);
    assert!(!link.router.has_delegated());
}

#[test]
fn over_a_link_that_loses_a_third_it_comes_up_and_stays() {
    for seed in 0..50 {
        let mut link = Link::new(true, 3, seed);
        link.run_to(at(600));
        let complete = |link: &Link| {
            let status = link.host.status();
            status.prefix.is_some() && status.delegated.is_some() && status.router.is_some()
        };
        assert!(complete(&link), "seed {seed}: {:?}", link.host.status());
        // Two days: some hundred renewals and advertisements.
        let (mut lost, mut hours) = (0, 0);
        while hours < 48 {
            hours += 1;
            link.run_to(at(600 + hours * 3600));
            lost += u32::from(!complete(&link));
            assert!(link.router.has_delegated() || link.host.status().delegated.is_none());
        }
        assert!(lost <= 2, "seed {seed}: incomplete at {lost} of 48 hours");
        assert!(link.packets < 3000, "seed {seed}: {} packets", link.packets);
    }
}

#[test]
fn when_the_router_falls_silent_everything_ends_in_time() {
    let mut link = Link::new(true, 0, 1);
    link.run_to(at(100));
    link.loss = 10;
    link.run_to(at(100 + 5500));
    let nothing =
        Status { mtu: Some(1460), dns: link.host.dhcp.dns().to_vec(), ..Status::default() };
    assert_eq!(link.host.status(), &nothing);
    assert!(!link.router.has_delegated());
    // And back again.
    link.loss = 0;
    link.run_to(at(100 + 5500 + 2000));
    assert!(link.host.status().delegated.is_some() && link.host.status().prefix.is_some());
}

#[test]
fn without_a_free_prefix_the_link_works_and_asks_on() {
    let mut link = Link::new(true, 0, 1);
    link.free = None;
    link.run_to(at(200));
    assert_eq!(link.host.status().delegated, None);
    assert!(link.host.status().prefix.is_some());
    link.free = Some("2001:db8:200::/56".parse().unwrap());
    link.run_to(at(400));
    assert_eq!(link.host.status().delegated, link.free);
}

#[test]
fn what_is_released_is_not_used_any_more() {
    let mut link = Link::new(true, 0, 1);
    link.run_to(at(10));
    let now = link.now;
    link.host.release(now, &mut link.rng);
    assert_eq!(link.host.status().delegated, None);
    link.run_to(at(20));
    assert!(!link.router.has_delegated());
    link.run_to(at(10_000));
    assert_eq!(link.host.status().delegated, None, "nor asked for again");
}

#[test]
fn a_prefix_that_is_no_use_is_not_taken() {
    let mut link = Link::new(false, 0, 1);
    let advertise = |prefix: &str, valid: u32, preferred: u32| {
        let advertisement = RouterAdvertisement {
            lifetime_seconds: 100,
            prefixes: vec![discovery::Prefix {
                prefix: prefix.parse().unwrap(),
                on_link: false,
                autonomous: true,
                valid_seconds: valid,
                preferred_seconds: preferred,
            }],
            ..RouterAdvertisement::default()
        };
        packet::icmp(link_local(ROUTER), ALL_NODES, &advertisement.emit())
    };
    let mut tell = |prefix: &str, valid, preferred| {
        let packet = advertise(prefix, valid, preferred);
        link.host.handle_packet(at(0), &packet, &mut link.rng).unwrap();
        link.host.status().prefix
    };
    assert_eq!(tell("2001:db8::/63", 100, 100), None);
    assert_eq!(tell("fe80::/64", 100, 100), None);
    assert_eq!(tell("::/64", 100, 100), None, "would make ::1 an address of ours");
    assert_eq!(tell("2001:db8::/64", 100, 101), None);
    assert_eq!(tell("2001:db8::/64", 0, 0), None);
    assert!(tell("2001:db8::/64", 100, 100).is_some());
    assert_eq!(tell("2001:db8::/64", 0, 0), None, "withdrawn");
}
