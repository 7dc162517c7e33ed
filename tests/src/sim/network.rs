//! The network between LACs and LNS: it loses, duplicates, delays, so reorders, and corrupts.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use xlns_control::time::Time;

/// A datagram on its way.
#[derive(Debug, Clone)]
pub struct Datagram {
    /// Sender.
    pub from: SocketAddr,
    /// Recipient.
    pub to: SocketAddr,
    /// UDP payload.
    pub octets: Vec<u8>,
}

/// What is wrong with the network; each a probability for one datagram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evils {
    /// Never arrives. A corrupted one that the UDP checksum finds is lost as well.
    pub loss: f64,
    /// Arrives twice.
    pub duplicate: f64,
    /// Arrives after a time up to [`Evils::late_max`]: what was sent later overtakes it.
    pub late: f64,
    /// The longest extra delay.
    pub late_max: Duration,
    /// Arrives with other octets than were sent, and no checksum finds it.
    pub corrupt: f64,
    /// The delay of all.
    pub latency: Duration,
}

impl Evils {
    /// A network without any.
    pub const NONE: Self = Self {
        loss: 0.0,
        duplicate: 0.0,
        late: 0.0,
        late_max: Duration::ZERO,
        corrupt: 0.0,
        latency: Duration::from_millis(2),
    };

    /// Some of them, each absent in some runs. Corruption passes the checksum only where `corrupts`.
    pub fn random(rng: &mut StdRng, corrupts: bool) -> Self {
        let mut up_to = |most: f64| {
            let present = rng.random_bool(0.7);
            if present { rng.random_range(0.0..most) } else { 0.0 }
        };
        Self {
            loss: up_to(0.25),
            duplicate: up_to(0.2),
            late: up_to(0.3),
            corrupt: if corrupts { 0.005 + up_to(0.1) } else { 0.0 },
            late_max: Duration::from_millis(rng.random_range(10..4000)),
            latency: Duration::from_micros(rng.random_range(100..60_000)),
        }
    }
}

/// The network.
#[derive(Debug)]
pub struct Network {
    rng: StdRng,
    /// What is wrong with it now.
    pub evils: Evils,
    /// By time of arrival, then in the order of sending.
    under_way: BTreeMap<(Time, u64), Datagram>,
    sent: u64,
    /// Nothing passes between these two before that time.
    cut: Option<(IpAddr, IpAddr, Time)>,
}

impl Network {
    /// An empty one.
    pub fn new(rng: StdRng, evils: Evils) -> Self {
        Self { rng, evils, under_way: BTreeMap::new(), sent: 0, cut: None }
    }

    /// Nothing passes between two hosts before `until`.
    pub fn cut(&mut self, a: IpAddr, b: IpAddr, until: Time) {
        self.cut = Some((a, b, until));
    }

    /// All is well again.
    pub fn heal(&mut self) {
        (self.evils, self.cut) = (Evils::NONE, None);
    }

    /// Takes a datagram.
    pub fn send(&mut self, now: Time, datagram: Datagram) {
        let ends = [datagram.from.ip(), datagram.to.ip()];
        if self.cut.is_some_and(|(a, b, until)| now < until && [[a, b], [b, a]].contains(&ends)) {
            return;
        }
        let copies = if self.rng.random_bool(self.evils.duplicate) { 2 } else { 1 };
        for _ in 0..copies {
            if self.rng.random_bool(self.evils.loss) {
                continue;
            }
            let mut copy = datagram.clone();
            if self.rng.random_bool(self.evils.corrupt) {
                self.corrupt(&mut copy.octets);
            }
            let mut at = now + self.evils.latency;
            if self.rng.random_bool(self.evils.late) {
                let most = self.evils.late_max.as_micros() as u64;
                at = at + Duration::from_micros(self.rng.random_range(0..=most));
            }
            self.sent += 1;
            self.under_way.insert((at, self.sent), copy);
        }
    }

    /// Flips a few bits, cuts the end off, or appends something.
    fn corrupt(&mut self, octets: &mut Vec<u8>) {
        match self.rng.random_range(0..4) {
            0 => octets.truncate(self.rng.random_range(0..=octets.len())),
            1 => octets.extend([0xa5; 3]),
            _ => {
                for _ in 0..self.rng.random_range(1..4) {
                    let at = self.rng.random_range(0..octets.len().max(1));
                    if let Some(octet) = octets.get_mut(at) {
                        *octet ^= 1 << self.rng.random_range(0..8);
                    }
                }
            }
        }
    }

    /// When the next datagram arrives.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.under_way.keys().next().map(|(at, _)| *at)
    }

    /// The next datagram that has arrived.
    pub fn poll_arrival(&mut self, now: Time) -> Option<Datagram> {
        let entry = self.under_way.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(entry.remove())
    }
}
