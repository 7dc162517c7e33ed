//! Two of our machines against each other, over a network that loses, duplicates and reorders, in
//! virtual time and by seed.

use std::collections::BTreeMap;

use rand::Rng;

use super::*;
use crate::l2tp::avp::Hide;

/// The longest that a datagram is on its way; shorter than the first retransmission.
const DELAY_MAX_MILLISECONDS: u64 = 400;

/// One of a hundred datagrams suffers each of these that often.
#[derive(Debug, Clone, Copy)]
struct Network {
    lost: u32,
    twice: u32,
}

const PERFECT: Network = Network { lost: 0, twice: 0 };
const BAD: Network = Network { lost: 15, twice: 15 };

/// Names of the two ends: who originates, and who is asked.
const ENDS: [usize; 2] = [0, 1];

/// Both ends, and what is under way between them.
struct Both {
    now: Time,
    network: Network,
    rng: StdRng,
    /// `None` until an SCCRQ has come.
    tunnels: [Option<Tunnel>; 2],
    configs: [Arc<Config>; 2],
    /// By time of arrival and a running number: for whom, and what.
    under_way: BTreeMap<(Time, u64), (usize, Vec<u8>)>,
    count: u64,
    events: [Vec<Event>; 2],
}

impl Both {
    fn new(seed: u64, network: Network, configs: [Config; 2]) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let now = Time::ZERO + seconds(1000);
        let configs = configs.map(Arc::new);
        let originator = Tunnel::connect(now, TunnelId(0x1111), Arc::clone(&configs[0]), &mut rng);
        Self {
            now,
            network,
            rng,
            tunnels: [Some(originator), None],
            configs,
            under_way: BTreeMap::new(),
            count: 0,
            events: [Vec::new(), Vec::new()],
        }
    }

    fn up(seed: u64, network: Network, configs: [Config; 2]) -> Self {
        let mut both = Self::new(seed, network, configs);
        both.run(seconds(60));
        for end in ENDS {
            let events = both.take(end);
            assert!(matches!(events[..], [Event::Established { .. }]), "{seed}: {events:?}");
        }
        both
    }

    fn tunnel(&mut self, end: usize) -> &mut Tunnel {
        self.tunnels[end].as_mut().unwrap()
    }

    fn take(&mut self, end: usize) -> Vec<Event> {
        std::mem::take(&mut self.events[end])
    }

    fn forget_events(&mut self) {
        self.events = [Vec::new(), Vec::new()];
    }

    /// What one end has to say goes on its way.
    fn drain(&mut self, end: usize) {
        let Some(tunnel) = &mut self.tunnels[end] else { return };
        self.events[end].extend(std::iter::from_fn(|| tunnel.poll_event()));
        while let Some(datagram) = tunnel.poll_transmit() {
            let copies = if self.rng.random_range(0..100) < self.network.twice { 2 } else { 1 };
            for _ in 0..copies {
                if self.rng.random_range(0..100) < self.network.lost {
                    continue;
                }
                let delay = self.rng.random_range(1..DELAY_MAX_MILLISECONDS);
                let at = self.now + milliseconds(delay);
                self.count += 1;
                self.under_way.insert((at, self.count), (1 - end, datagram.clone()));
            }
        }
    }

    /// As the owner does: by Tunnel ID, and a new tunnel for an SCCRQ without one.
    fn deliver(&mut self, end: usize, datagram: &[u8]) {
        let (header, body) = parsed(datagram);
        let known = self.tunnels[end].is_some();
        if header.tunnel_id != TunnelId::UNASSIGNED || known {
            if let Some(tunnel) = &mut self.tunnels[end] {
                tunnel.handle(self.now, &header, body);
            }
            return;
        }
        let secret = self.configs[end].secret.as_ref().map(SecretBytes::expose);
        if let Ok(Unassigned::Sccrq(sccrq)) = decode_unassigned(&header, datagram, secret) {
            let (now, config) = (self.now, Arc::clone(&self.configs[end]));
            let tunnel = Tunnel::accept(now, TunnelId(0x2222), &sccrq, config, &mut self.rng);
            self.tunnels[end] = tunnel.ok();
        }
    }

    fn run(&mut self, time: Duration) {
        let end_of_run = self.now + time;
        loop {
            for end in ENDS {
                self.drain(end);
            }
            let arrival = self.under_way.keys().next().map(|(at, _)| *at);
            let timers = self.tunnels.iter().flatten().filter_map(Tunnel::poll_timeout);
            let Some(next) = timers.chain(arrival).min().filter(|at| *at <= end_of_run) else {
                break;
            };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                let (_, (end, datagram)) = self.under_way.pop_first().unwrap();
                self.deliver(end, &datagram);
                continue;
            }
            for tunnel in self.tunnels.iter_mut().flatten() {
                if tunnel.poll_timeout().is_some_and(|at| at <= next) {
                    tunnel.handle_timeout(next);
                }
            }
        }
        self.now = end_of_run;
    }

    /// Lets a minute pass, in which both ends take all calls that they are asked for.
    fn settle(&mut self) {
        for _ in 0..60 {
            self.run(seconds(1));
            for end in ENDS {
                for event in self.take(end) {
                    self.answer(end, &event);
                    self.events[end].push(event);
                }
            }
        }
    }

    fn answer(&mut self, end: usize, event: &Event) {
        let now = self.now;
        match event {
            Event::IncomingCall { session, .. } => self.tunnel(end).accept_call(now, *session),
            Event::OutgoingCall { session, .. } => {
                let answer = Answer {
                    tx_connect_speed: 1,
                    rx_connect_speed: None,
                    framing_type: 1,
                    sequencing_required: true,
                };
                self.tunnel(end).accept_outgoing_call(now, *session);
                self.tunnel(end).outgoing_call_connected(now, *session, answer);
            }
            _ => {}
        }
    }

    /// Whether both ends agree on which calls there are, and what they are called.
    fn agree(&mut self) {
        let [mut first, second] = ENDS.map(|end| {
            let sessions = self.tunnel(end).sessions();
            let sessions = sessions.map(|(id, call)| {
                (id, call.peer_session_id(), call.call_serial_number(), call.state())
            });
            sessions.collect::<Vec<_>>()
        });
        for (id, peer, ..) in &mut first {
            std::mem::swap(id, peer);
        }
        first.sort_by_key(|(id, ..)| *id);
        assert_eq!(first.len(), second.len());
        for (mine, theirs) in first.iter().zip(&second) {
            assert_eq!((mine.0, mine.1, mine.2), (theirs.0, theirs.1, theirs.2));
            assert!(mine.3.is_established() && theirs.3.is_established());
        }
        for end in ENDS {
            let tunnel = self.tunnel(end);
            assert!(tunnel.pending.is_empty());
            assert_eq!(tunnel.by_peer_id.len(), tunnel.session_count());
            assert_eq!(tunnel.status().queued, 0);
        }
    }
}

fn quiet(config: Config) -> Config {
    Config { hello_interval: Duration::ZERO, bearer_capabilities: Some(3), ..config }
}

fn call(call_serial_number: u32) -> CallRequest {
    CallRequest { call_serial_number, ..CallRequest::default() }
}

fn outgoing(call_serial_number: u32) -> OutgoingRequest {
    OutgoingRequest { call_serial_number, ..OutgoingRequest::default() }
}

#[test]
fn every_kind_of_set_up() {
    let challenged = with_secret(true);
    for hide in [Hide::Never, Hide::Secrets, Hide::All] {
        for secrets in [(false, false), (true, false), (false, true), (true, true)] {
            let config = |challenge| Config { hide, challenge, ..challenged.clone() };
            let configs = [config(secrets.0), config(secrets.1)];
            let mut both = Both::up(1, PERFECT, configs);
            for end in ENDS {
                assert_eq!(both.tunnel(end).state(), State::Established);
                assert_eq!(both.tunnel(end).peer_host_name(), "lns.example");
            }
        }
    }
    // One side does not know the secret, or another one; whoever asks for proof finds out.
    let other = Config { secret: Some(SecretBytes::from(&b"other"[..])), ..with_secret(true) };
    let silent = Config { challenge: false, ..other.clone() };
    for configs in [
        [with_secret(true), other.clone()],
        [other, with_secret(false)],
        [with_secret(false), Config { challenge: true, ..silent }],
        [config(), with_secret(true)],
    ] {
        let mut both = Both::new(1, PERFECT, configs);
        both.run(seconds(5));
        for end in ENDS {
            let events = both.take(end);
            // An originator whose response is wrong learns that after its SCCCN.
            assert!(matches!(events.last(), Some(Event::Closed { .. })), "{end}: {events:?}");
            assert_eq!(both.tunnel(end).state(), State::Closing);
        }
    }
}

#[test]
fn calls_of_all_four_kinds_over_a_bad_network() {
    for seed in 0..40 {
        let hide = if seed % 2 == 0 { Hide::Never } else { Hide::All };
        let config = || quiet(Config { hide, sessions_max: 1000, ..with_secret(true) });
        let mut both = Both::up(seed, BAD, [config(), config()]);
        // Each end is the LAC of some calls and the LNS of others.
        let now = both.now;
        for n in 0..10 {
            for end in ENDS {
                both.tunnel(end).place_call(now, call(n)).unwrap();
                both.tunnel(end).place_outgoing_call(now, outgoing(100 + n)).unwrap();
            }
        }
        both.settle();
        for end in ENDS {
            let events = both.take(end);
            let mut serials: Vec<u32> = events
                .iter()
                .filter_map(|event| match event {
                    Event::IncomingCall { icrq, .. } => Some(icrq.call_serial_number),
                    Event::OutgoingCall { ocrq, .. } => Some(ocrq.call_serial_number),
                    _ => None,
                })
                .collect();
            serials.sort();
            assert_eq!(serials, (0..10).chain(100..110).collect::<Vec<u32>>(), "seed {seed}");
            let connected =
                events.iter().filter(|event| matches!(event, Event::CallConnected { .. })).count();
            assert_eq!((connected, events.len()), (40, 60), "seed {seed}");
        }
        both.agree();
        assert_eq!(both.tunnel(0).session_count(), 40);
    }
}

#[test]
fn ends_that_cross_and_a_tunnel_that_ends_over_a_bad_network() {
    for seed in 0..40 {
        let mut both = Both::up(seed, BAD, [quiet(config()), quiet(config())]);
        let now = both.now;
        let sessions: Vec<SessionId> =
            (0..12).map(|n| both.tunnel(0).place_call(now, call(n)).unwrap()).collect();
        both.settle();
        let theirs: Vec<SessionId> = both.tunnel(1).sessions().map(|(id, _)| id).collect();
        both.forget_events();
        both.agree();
        // Some end at the one side, some at the other, some at both at once.
        let now = both.now;
        let end_call = |tunnel: &mut Tunnel, session| {
            tunnel.disconnect_call(now, session, CallResult::Administrative, None, "", None);
        };
        for session in sessions.iter().take(6) {
            end_call(both.tunnel(0), *session);
        }
        for session in theirs.iter().skip(3).take(6) {
            end_call(both.tunnel(1), *session);
        }
        both.run(seconds(60));
        for end in ENDS {
            let events = both.take(end);
            assert!(events.iter().all(|event| matches!(event, Event::CallEnded { .. })));
            assert!((6..=12).contains(&events.len()), "seed {seed}: {}", events.len());
        }
        both.agree();
        let left = both.tunnel(0).session_count();
        let now = both.now;
        both.tunnel(1).close(now, TunnelResult::ShuttingDown, None, "");
        both.run(seconds(100));
        for end in ENDS {
            let events = both.take(end);
            assert_eq!(events.len(), left + 1, "seed {seed}");
            assert!(matches!(events.last(), Some(Event::Closed { .. })));
            assert!(both.tunnel(end).is_finished());
        }
    }
}

#[test]
fn reports_arrive_once_and_in_order_over_a_bad_network() {
    let mut both = Both::up(3, BAD, [quiet(config()), quiet(config())]);
    let now = both.now;
    let session = both.tunnel(0).place_call(now, call(1)).unwrap();
    both.settle();
    let (theirs, _) = both.tunnel(1).sessions().next().unwrap();
    both.forget_events();
    for n in 0..20 {
        let now = both.now;
        let sli = Sli { send_accm: n, receive_accm: 0 };
        assert!(both.tunnel(1).set_link_info(now, theirs, sli));
        let errors = CallErrors { framing: n, ..CallErrors::default() };
        assert!(both.tunnel(0).report_errors(now, session, errors));
        both.run(seconds(60));
    }
    let maps: Vec<Event> = (0..20)
        .map(|n| Event::LinkInfo { session, sli: Sli { send_accm: n, receive_accm: 0 } })
        .collect();
    assert_eq!(both.take(0), maps);
    let errors = |n| CallErrors { framing: n, ..CallErrors::default() };
    let reports: Vec<Event> =
        (0..20).map(|n| Event::WanErrors { session: theirs, errors: errors(n) }).collect();
    assert_eq!(both.take(1), reports);
}

#[test]
fn a_network_that_is_cut_ends_both_sides() {
    let config = || Config { bearer_capabilities: Some(3), ..config() };
    let mut both = Both::up(5, PERFECT, [config(), config()]);
    let now = both.now;
    both.tunnel(0).place_call(now, call(1)).unwrap();
    both.settle();
    both.forget_events();
    both.network = Network { lost: 100, twice: 0 };
    // A HELLO after a minute, and a full cycle.
    both.run(seconds(60 + 31 + 1));
    for end in ENDS {
        let events = both.take(end);
        assert!(
            matches!(
                events[..],
                [Event::CallEnded { .. }, Event::Closed { cause: TunnelCause::Dead }]
            ),
            "{events:?}"
        );
        assert!(both.tunnel(end).is_finished());
    }
}

#[test]
fn windows_of_a_set_up_and_its_calls() {
    // Appendix A over a network without loss, told by the window after each acknowledgement: slow
    // start to the peer's 16, and no further.
    let mut both = Both::up(7, PERFECT, [quiet(config()), quiet(config())]);
    let mut windows = vec![both.tunnel(0).status().congestion_window];
    for n in 0..20 {
        let now = both.now;
        both.tunnel(0).place_call(now, call(n)).unwrap();
        both.run(seconds(2));
        windows.push(both.tunnel(0).status().congestion_window);
    }
    let expected: Vec<u16> = (3..=16).chain([16; 7]).collect();
    assert_eq!(windows, expected);
    assert_eq!(both.tunnel(0).status().retransmissions, 0);
}
