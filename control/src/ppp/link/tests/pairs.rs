//! Two links, a server and a client, over a wire that loses, duplicates and reorders.

use std::collections::BTreeMap;

use rand::Rng;

use super::*;
use crate::ppp::authenticatee;

fn server(authentication: &[Authentication]) -> Config {
    Config { authentication: authentication.to_vec(), ipv6: true, ..config() }
}

/// One end.
struct End {
    link: Link,
    events: Vec<Event>,
}

/// Both ends and the frames between them.
struct Wire {
    ends: [End; 2],
    now: Time,
    rng: StdRng,
    /// By time of arrival and a number that tells frames of one instant apart.
    flying: BTreeMap<(Time, u64), (usize, Vec<u8>)>,
    sent: u64,
    /// Of a hundred frames, how many are lost, come twice, and take up to a second.
    evils: [u32; 3],
}

impl Wire {
    fn new(server: Config, client: Config, seed: u64, evils: [u32; 3]) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let ends = [server, client]
            .map(|config| End { link: Link::new(Arc::new(config), &mut rng), events: Vec::new() });
        let mut wire = Self { ends, now: Time::ZERO, rng, flying: BTreeMap::new(), sent: 0, evils };
        for end in 0..2 {
            wire.ends[end].link.open(wire.now, &mut wire.rng);
            wire.drain(end);
        }
        wire
    }

    fn drain(&mut self, end: usize) {
        while let Some(event) = self.ends[end].link.poll_event() {
            if let Event::Authenticate(credentials) = &event {
                let verdict = verdict(credentials);
                self.ends[end].link.authenticated(self.now, verdict);
            }
            self.ends[end].events.push(event);
        }
        while let Some(frame) = self.ends[end].link.poll_transmit() {
            let [lost, doubled, late] = self.evils;
            let copies = if self.rng.random_range(0..100) < doubled { 2 } else { 1 };
            for _ in 0..copies {
                if self.rng.random_range(0..100) < lost {
                    continue;
                }
                let most = if self.rng.random_range(0..100) < late { 1000 } else { 10 };
                let delay = Duration::from_millis(self.rng.random_range(10..=most));
                self.sent += 1;
                self.flying.insert((self.now + delay, self.sent), (1 - end, frame.clone()));
            }
        }
    }

    /// Lets both ends run for a time, or until they have nothing left to do.
    fn run(&mut self, duration: Duration) {
        let until = self.now + duration;
        loop {
            let arrival = self.flying.keys().next().map(|(at, _)| *at);
            let timers = self.ends.iter().filter_map(|end| end.link.poll_timeout());
            let Some(next) = timers.chain(arrival).min().filter(|next| *next <= until) else {
                break;
            };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                let Some((_, (end, frame))) = self.flying.pop_first() else { return };
                self.ends[end].link.handle_frame(self.now, &frame, &mut self.rng);
                self.drain(end);
                continue;
            }
            for end in 0..2 {
                self.ends[end].link.handle_timeout(self.now, &mut self.rng);
                self.drain(end);
            }
        }
        self.now = until;
    }

    fn is_up(&self, end: usize) -> bool {
        self.ends[end].link.is_ipv4_up() && self.ends[end].link.is_ipv6_up()
    }

    fn down_cause(&self, end: usize) -> Option<DownCause> {
        match self.ends[end].events.last() {
            Some(Event::Down { cause }) => Some(*cause),
            _ => None,
        }
    }
}

const METHODS: [Authentication; 3] =
    [Authentication::ChapMd5, Authentication::MsChapV2, Authentication::Pap];

#[test]
fn every_method_leads_to_addresses_in_no_time() {
    for method in METHODS {
        let mut wire = Wire::new(server(&[method]), client(&METHODS), 1, [0; 3]);
        wire.run(Duration::from_millis(500));
        assert!(wire.is_up(0) && wire.is_up(1), "{method:?}");
        let [server, client] = &wire.ends;
        assert!(server.events.contains(&IPV4_UP));
        let dns = ipv4().dns;
        assert!(client.events.contains(&Event::Ipv4Up { local: PEERS, peer: OURS, dns }));
        let identifiers = |end: &End| {
            end.events.iter().find_map(|event| match event {
                Event::Ipv6Up { local, peer } => Some([*local, *peer]),
                _ => None,
            })
        };
        let mut seen = identifiers(server).unwrap();
        seen.reverse();
        assert_eq!(identifiers(client), Some(seen));
        assert_eq!(server.link.agreed().authentication, Some(method));
        assert_eq!(client.link.agreed().our_authentication, Some(method));
    }
}

#[test]
fn the_two_find_what_both_have() {
    let server = server(&[Authentication::MsChapV2, Authentication::ChapMd5]);
    let mut wire = Wire::new(server, client(&[Authentication::ChapMd5]), 1, [0; 3]);
    wire.run(SECOND);
    assert!(wire.is_up(0) && wire.is_up(1));
    assert_eq!(wire.ends[0].link.agreed().authentication, Some(Authentication::ChapMd5));
}

#[test]
fn no_shared_method_ends_both() {
    let server = server(&[Authentication::MsChapV2]);
    let mut wire = Wire::new(server, client(&[Authentication::Pap]), 1, [0; 3]);
    wire.run(60 * SECOND);
    let cause = DownCause::NegotiationFailed("an authentication protocol");
    assert_eq!(wire.down_cause(0), Some(cause));
    assert_eq!(wire.down_cause(1), Some(DownCause::PeerTerminated));
}

#[test]
fn a_wrong_password_ends_both() {
    for method in METHODS {
        let mut config = client(&[method]);
        config.account.as_mut().unwrap().password = Zeroizing::new("guess".into());
        let mut wire = Wire::new(server(&[method]), config, 1, [0; 3]);
        wire.run(60 * SECOND);
        assert_eq!(wire.down_cause(0), Some(DownCause::AuthenticationFailed), "{method:?}");
        assert_eq!(wire.down_cause(1), Some(DownCause::RefusedByPeer), "{method:?}");
    }
}

/// Both have an account and both want to know.
#[test]
fn both_ends_authenticate() {
    for method in METHODS {
        let server = Config { account: client(&METHODS).account, ..server(&[method]) };
        let client = Config { authentication: vec![method], ..client(&METHODS) };
        let mut wire = Wire::new(server, client, 1, [0; 3]);
        wire.run(SECOND);
        // The client's owner grants an address that the server does not take: it has its own.
        assert!(wire.ends.iter().all(|end| end.link.is_ipv6_up()), "{method:?}");
        for end in &wire.ends {
            assert_eq!(end.link.agreed().authentication, Some(method));
            assert_eq!(end.link.agreed().our_authentication, Some(method));
            assert!(end.events.iter().any(|event| matches!(event, Event::Authenticate(_))));
        }
    }
}

#[test]
fn challenges_in_between_disturb_nothing() {
    let config = Config { rechallenge: Some(60 * SECOND), ..server(&METHODS) };
    let mut wire = Wire::new(config, client(&METHODS), 1, [0; 3]);
    wire.run(600 * SECOND);
    assert!(wire.is_up(0) && wire.is_up(1));
    let asked = wire.ends[0].events.iter().filter(|e| matches!(e, Event::Authenticate(_))).count();
    assert!((6..=15).contains(&asked), "{asked}");
    assert_eq!(wire.ends[1].events.iter().filter(|e| matches!(e, Event::Ipv4Down)).count(), 0);
}

#[test]
fn either_end_can_hang_up() {
    for end in 0..2 {
        let mut wire = Wire::new(server(&METHODS), client(&METHODS), 1, [0; 3]);
        wire.run(SECOND);
        wire.ends[end].link.close(wire.now, DownCause::Closed);
        wire.drain(end);
        wire.run(10 * SECOND);
        assert_eq!(wire.down_cause(end), Some(DownCause::Closed));
        assert_eq!(wire.down_cause(1 - end), Some(DownCause::PeerTerminated));
        for end in &wire.ends {
            assert!(end.events.contains(&Event::Ipv4Down) && end.events.contains(&Event::Ipv6Down));
            assert_eq!(end.link.poll_timeout(), None);
        }
    }
}

/// Whatever the wire did: once it is good again both ends are over, or have the same protocols up.
#[test]
fn both_ends_agree_on_the_end_over_any_wire() {
    let mut up = 0;
    for seed in 0..1000 {
        let evils = [seed as u32 % 40, seed as u32 % 30, seed as u32 % 70];
        let method = METHODS[seed as usize % 3];
        let mut wire = Wire::new(server(&[method]), client(&METHODS), seed, evils);
        wire.run(120 * SECOND);
        wire.evils = [0; 3];
        wire.run(120 * SECOND);
        let states = [0, 1].map(|end| {
            let link = &wire.ends[end].link;
            (link.is_ipv4_up(), link.is_ipv6_up(), wire.down_cause(end).is_some())
        });
        assert_eq!(states[0], states[1], "seed {seed}");
        assert_ne!(states[0], (false, false, false), "seed {seed}");
        up += u32::from(states[0] == (true, true, false));
        for end in &wire.ends {
            let pairs = [
                (Event::Ipv4Down, end.link.is_ipv4_up()),
                (Event::Ipv6Down, end.link.is_ipv6_up()),
            ];
            for (down, is_up) in pairs {
                let ups = end.events.iter().filter(|event| match (&down, event) {
                    (Event::Ipv4Down, Event::Ipv4Up { .. }) => true,
                    (_, Event::Ipv6Up { .. }) => down == Event::Ipv6Down,
                    _ => false,
                });
                let downs = end.events.iter().filter(|event| **event == down);
                assert_eq!(ups.count(), downs.count() + usize::from(is_up), "seed {seed}");
            }
        }
    }
    assert!(up > 700, "{up} of 1000 came up");
}

/// Ends at rest hold nothing but themselves.
#[test]
fn a_server_at_rest_holds_no_other_memory() {
    let mut wire = Wire::new(server(&METHODS), client(&METHODS), 1, [0; 3]);
    wire.run(60 * SECOND);
    let link = &wire.ends[0].link;
    assert_eq!(link.poll_timeout(), None);
    assert_eq!((link.events.capacity(), link.transmit.capacity()), (0, 0));
    // What an authenticatee remembers hangs off its pointer, and a server has none.
    assert!(size_of::<authenticatee::Authenticatee>() <= 16);
}
