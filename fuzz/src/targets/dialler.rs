//! A client of ours that dials a server of ours, and somebody between them who loses, repeats, changes
//! and invents datagrams: both roles of the root machine, as deep as two peers that mean well get.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use xlns_control::config::Config;
use xlns_control::lns::{Census, Lns};
use xlns_control::time::Time;
use xlns_control::udp::Transmit;
use xlns_dataplane::api::Command;
use xlns_dataplane::counters::SessionCounters;

use crate::script::Script;

static CONFIGURATIONS: LazyLock<[Arc<Config>; 2]> = LazyLock::new(|| {
    let parse = |text: &str| Arc::new(Config::parse("test", text).expect("a configuration"));
    [parse(include_str!("client.toml")), parse(include_str!("server.toml"))]
});

/// The client's and the server's.
const ADDRESSES: [&str; 2] = ["192.0.2.100:1701", "203.0.113.1:1701"];

/// Datagrams that are kept on their way, and after it to be repeated.
const UNDER_WAY_MAX: usize = 64;

/// Turns of a conversation that nobody disturbs.
const TURNS_MAX: usize = 60;

/// Datagrams of one end that one datagram or timer sets free.
const BURST_MAX: usize = 200;

/// After so long a silence everything is gone.
const SILENCE: Duration = Duration::from_secs(900);

/// Timers that run out meanwhile.
const TIMEOUTS_MAX: usize = 20_000;

struct World {
    now: Time,
    /// The client and the server.
    ends: [Lns; 2],
    under_way: VecDeque<Transmit>,
    delivered: Vec<Transmit>,
    /// Nothing arrives any more.
    cut: bool,
}

/// The input is a script.
pub fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let mut world = World::new();
    while !script.is_over() {
        world.step(&mut script);
        world.audit();
    }
    world.end();
}

impl World {
    fn new() -> Self {
        let end = |number: u8| {
            let config = Arc::clone(&CONFIGURATIONS[usize::from(number)]);
            let mut lns = Lns::new(config, [number; 32]).expect("pools");
            lns.handle_dataplane_ready();
            lns
        };
        Self {
            now: Time::ZERO + Duration::from_secs(1000),
            ends: [end(0), end(1)],
            under_way: VecDeque::new(),
            delivered: Vec::new(),
            cut: false,
        }
    }

    fn step(&mut self, script: &mut Script<'_>) {
        match script.octet() % 16 {
            0..=2 => (0..=script.octet() % 8).for_each(|_| self.deliver()),
            3 => drop(self.under_way.pop_front()),
            4 => self.under_way.rotate_left(usize::from(!self.under_way.is_empty())),
            5 | 6 => self.change(script),
            7 | 8 => self.repeat(script),
            9 => {
                let to = usize::from(script.flag());
                let (local, peer, payload) =
                    (address(1 - to), address(to), script.piece().to_vec());
                self.under_way.push_front(Transmit { local, peer, payload });
                self.deliver();
            }
            10 | 11 => self.wait(script.time()),
            12 | 13 => self.converse(),
            14 => {
                let lns = &mut self.ends[usize::from(script.flag())];
                match script.octet() % 8 {
                    0 => lns.handle_dataplane_away(self.now),
                    1 => {
                        lns.handle_dataplane_ready();
                        lns.handle_synchronised(self.now);
                    }
                    2 => drop(lns.clear_client(self.now, "up")),
                    _ => {}
                }
                self.drain();
            }
            _ => self.cut = script.octet() & 7 == 7,
        }
    }

    /// The next datagram arrives.
    fn deliver(&mut self) {
        let Some(datagram) = self.under_way.pop_front() else { return };
        let to_client = datagram.peer.ip() == address(0).ip();
        if !self.cut {
            let end = &mut self.ends[usize::from(!to_client)];
            end.handle_datagram(self.now, datagram.peer, datagram.local, &datagram.payload);
        }
        if self.delivered.len() == UNDER_WAY_MAX {
            self.delivered.remove(0);
        }
        self.delivered.push(datagram);
        self.drain();
    }

    /// Both ends do what they want, undisturbed.
    fn converse(&mut self) {
        for _ in 0..TURNS_MAX {
            if self.under_way.is_empty() {
                self.wait(Duration::from_millis(200));
            }
            self.deliver();
        }
    }

    /// The next datagram is changed on its way: an octet, or all behind a place.
    fn change(&mut self, script: &mut Script<'_>) {
        let Some(datagram) = self.under_way.front_mut() else { return };
        let payload = &mut datagram.payload;
        let place = usize::from(script.octet()) % payload.len().max(1);
        let octets = script.piece();
        match octets {
            [] => payload.truncate(place),
            [octet] => payload[place] ^= octet,
            octets => {
                payload.truncate(place);
                payload.extend_from_slice(octets);
                // Flags with a length: of what it is now.
                if payload.first().is_some_and(|flags| flags & 0x40 != 0) && payload.len() >= 4 {
                    let length = (payload.len() as u16).to_be_bytes();
                    payload[2..4].copy_from_slice(&length);
                }
            }
        }
        self.deliver();
    }

    /// What has arrived arrives once more, as it was or with one octet changed.
    fn repeat(&mut self, script: &mut Script<'_>) {
        let back = usize::from(script.octet());
        let count = self.delivered.len();
        let Some(datagram) = self.delivered.iter().rev().nth(back % count.max(1)) else { return };
        let mut again = datagram.clone();
        let place = usize::from(script.octet());
        if let Some(octet) = again.payload.get_mut(place) {
            *octet ^= script.octet();
        }
        self.under_way.push_front(again);
        self.deliver();
    }

    fn wait(&mut self, duration: Duration) {
        let until = self.now + duration;
        let mut timeouts = 0;
        loop {
            let due = |lns: &Lns| lns.poll_timeout().filter(|due| *due <= until);
            let next = self.ends.iter().filter_map(due).min();
            let Some(next) = next else { break };
            self.now = self.now.max(next);
            for end in &mut self.ends {
                end.handle_timeout(self.now);
            }
            self.drain();
            timeouts += 1;
            assert!(timeouts < TIMEOUTS_MAX, "a timer that does not move");
        }
        self.now = until;
    }

    fn drain(&mut self) {
        for end in &mut self.ends {
            let mut removed = Vec::new();
            while let Some(command) = end.poll_command() {
                if let Command::SessionRemove(key) = command {
                    removed.push(key);
                }
            }
            for key in removed {
                end.handle_session_ended(self.now, key, SessionCounters::default());
            }
            while end.poll_command().is_some() {}
            while end.poll_peer_change().is_some() {}
            end.take_uplinks();
            let mut burst = 0;
            while let Some(transmit) = end.poll_transmit() {
                super::messages::checked(&transmit.payload);
                burst += 1;
                assert!(burst < BURST_MAX, "{burst} datagrams at once");
                if self.under_way.len() < UNDER_WAY_MAX {
                    self.under_way.push_back(transmit);
                }
            }
        }
    }

    fn audit(&self) -> [Census; 2] {
        let census = |end: &Lns| end.audit().unwrap_or_else(|error| panic!("{error}"));
        [census(&self.ends[0]), census(&self.ends[1])]
    }

    /// Both stop, and nothing arrives any more.
    fn end(&mut self) {
        self.cut = true;
        for end in &mut self.ends {
            end.handle_dataplane_ready();
            end.handle_synchronised(self.now);
            end.shut_down(self.now);
        }
        for _ in 0..3 {
            self.drain();
            self.wait(SILENCE);
        }
        let left = self.audit();
        assert_eq!(left, [Census::default(); 2], "left over after a long silence");
    }
}

fn address(end: usize) -> SocketAddr {
    ADDRESSES[end].parse().expect("an address")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undisturbed_the_session_comes_up() {
        let mut world = World::new();
        world.wait(Duration::from_secs(2));
        world.converse();
        let census = world.audit();
        assert!(census.iter().all(|census| (census.tunnels, census.calls) == (1, 1)), "{census:?}");
        let rows = world.ends[0].client_rows(world.now, 0, 9).0;
        assert_eq!(rows[0].state, "up", "{rows:?}");
        world.end();
    }
}
