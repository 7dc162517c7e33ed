//! Our end as a host: what an LNS that is not ours may say by router discovery and DHCPv6.

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use xlns_control::ipv6::dhcp::message::Message;
use xlns_control::ipv6::packet::Payload;
use xlns_control::ipv6::{Host, packet};
use xlns_control::time::Time;

use super::ipv6::{CLIENT_ID, HOST, ROUTER, packet as packet_of};
use crate::script::Script;

/// Packets that one packet or timer makes us send.
const BURST_MAX: usize = 2;

/// Timers that run out in one step: lifetimes may be a second.
const TIMEOUTS_MAX: usize = 1000;

/// Name servers that are kept, of both kinds.
const DNS_SERVERS_MAX: usize = 16;

struct World {
    host: Host,
    now: Time,
    rng: StdRng,
    /// Transaction of the last DHCPv6 message.
    asked: Option<Message>,
}

/// The input is a script.
pub fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let mut rng = StdRng::seed_from_u64(u64::from(script.octet()));
    let now = Time::ZERO + Duration::from_secs(1000);
    let host = Host::new(now, HOST, CLIENT_ID.into(), script.flag(), &mut rng);
    let mut world = World { host, now, rng, asked: None };
    world.drain();
    while !script.is_over() {
        match script.octet() % 8 {
            0 | 1 => world.wait(script.time()),
            2 => {
                world.host.release(world.now, &mut world.rng);
                world.drain();
            }
            3..=5 => world.reply(&mut script),
            _ => {
                let octets = packet_of(&mut script, ROUTER, HOST);
                world.receive(&octets);
            }
        }
    }
}

impl World {
    fn receive(&mut self, octets: &[u8]) {
        let _ = self.host.handle_packet(self.now, octets, &mut self.rng);
        self.drain();
    }

    /// A DHCPv6 message that belongs to what was asked.
    fn reply(&mut self, script: &mut Script<'_>) {
        use xlns_control::ipv6::dhcp::{CLIENT_PORT, SERVER_PORT};
        use xlns_control::ipv6::link_local;
        let mut message = super::ipv6::message(script);
        if let Some(asked) = &self.asked {
            message.transaction = asked.transaction;
            for (answer, question) in message.associations.iter_mut().zip(&asked.associations) {
                (answer.id, answer.kind) = (question.id, question.kind);
            }
        }
        let (from, to) = ((link_local(ROUTER), SERVER_PORT), (link_local(HOST), CLIENT_PORT));
        self.receive(&packet::udp(from, to, &message.encode()));
    }

    fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        let mut timeouts = 0;
        while let Some(due) = self.host.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.host.handle_timeout(self.now, &mut self.rng);
            self.drain();
            timeouts += 1;
            assert!(timeouts < TIMEOUTS_MAX, "a timer that does not move");
        }
        self.now = end;
    }

    fn drain(&mut self) {
        let mut burst = 0;
        while let Some(octets) = self.host.poll_transmit() {
            let packet = packet::parse(&octets).expect("what we send");
            if let Payload::Udp { payload, .. } = packet.payload {
                self.asked = Some(Message::decode(payload).expect("what we send"));
            }
            burst += 1;
            assert!(burst <= BURST_MAX, "{burst} packets at once");
        }
        let status = self.host.status();
        assert!(status.dns.len() <= DNS_SERVERS_MAX);
        if let (Some(prefix), Some(address)) = (status.prefix, status.address) {
            assert!(prefix.contains(&address));
        }
    }
}
