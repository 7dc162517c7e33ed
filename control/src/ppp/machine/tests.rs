use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::ppp::frame::Frame;
use crate::ppp::lcp::Lcp;
use crate::ppp::transmit::Transmit;
use crate::time::Time;

struct Bench {
    machine: Machine<Lcp>,
    config: Config,
    transmit: Transmit,
    rng: StdRng,
    now: Time,
}

impl Bench {
    /// A machine as it is in `state` some way into a negotiation.
    fn new(state: State) -> Self {
        let config = Config::default();
        let mut rng = StdRng::seed_from_u64(3);
        let mut machine = Machine::new(Lcp::new(&config, &mut rng));
        machine.state = state;
        machine.identifier = 7;
        machine.request_identifier = 7;
        machine.restart_count = 2;
        machine.unanswered = matches!(state, State::ReqSent | State::AckSent);
        machine.repeated = true;
        machine.restart_at = state.is_timed().then_some(Time::ZERO);
        Self { machine, config, transmit: Transmit::default(), rng, now: Time::ZERO }
    }

    fn with<R>(
        &mut self,
        act: impl FnOnce(&mut Machine<Lcp>, &mut Context<'_>, &mut StdRng) -> R,
    ) -> R {
        let Self { machine, config, transmit, rng, now } = self;
        let mut context = Context { now: *now, config, transmit, peer_mru: 1500 };
        act(machine, &mut context, rng)
    }

    fn packet(&mut self, octets: &[u8]) -> Result<Option<Signal>, Stop> {
        let packet = Packet::parse(octets).unwrap();
        self.with(|machine, context, rng| machine.handle(context, &packet, rng))
    }

    fn event(&mut self, event: Event) -> Option<Signal> {
        self.with(|machine, context, _| machine.handle_event(context, event))
    }

    fn timeout(&mut self) -> Option<Signal> {
        self.with(|machine, context, _| machine.handle_timeout(context))
    }

    /// Makes `event` happen by what makes it happen on the wire.
    fn cause(&mut self, event: Event) -> Result<Option<Signal>, Stop> {
        let request = self.machine.policy.request(&self.config);
        match event {
            Event::Up | Event::Down | Event::Open | Event::Close => Ok(self.event(event)),
            Event::TimeoutPlus | Event::TimeoutMinus => {
                if event == Event::TimeoutMinus {
                    self.machine.restart_count = 0;
                }
                Ok(self.timeout())
            }
            Event::RcrPlus => self.packet(&[1, 9, 0, 4]),
            Event::RcrMinus => self.packet(&[1, 9, 0, 6, 99, 2]),
            Event::Rca => {
                let length = 4 + request.octets().len() as u8;
                self.packet(&[&[2, 7, 0, length], request.octets()].concat())
            }
            Event::Rcn => self.packet(&[3, 7, 0, 8, 1, 4, 5, 0]),
            Event::Rtr => self.packet(&[5, 9, 0, 4]),
            Event::Rta => self.packet(&[6, 9, 0, 4]),
            Event::Ruc => self.packet(&[99, 9, 0, 4]),
            Event::RxjPlus => self.packet(&[7, 9, 0, 5, 12]),
            Event::RxjMinus => self.packet(&[7, 9, 0, 5, 1]),
            Event::Rxr => {
                let packet = Packet::parse(&[9, 9, 0, 8, 0, 0, 0, 0]).unwrap();
                Ok(self.with(|machine, context, _| {
                    machine.handle_packet_event(context, event, &packet)
                }))
            }
        }
    }

    /// Codes and identifiers of what was sent.
    fn sent(&mut self) -> Vec<(u8, u8)> {
        let frames: Vec<_> = std::iter::from_fn(|| self.transmit.pop()).collect();
        let codes = frames.iter().map(|octets| {
            let packet = Packet::parse(Frame::parse(octets).unwrap().information).unwrap();
            (packet.code, packet.identifier)
        });
        codes.collect()
    }
}

/// The code that an action puts on the wire.
fn code_of(action: Action) -> Option<u8> {
    match action {
        Action::Scr => Some(code::CONFIGURE_REQUEST),
        Action::Sca => Some(code::CONFIGURE_ACK),
        Action::Scn => Some(code::CONFIGURE_REJECT),
        Action::Str => Some(code::TERMINATE_REQUEST),
        Action::Sta => Some(code::TERMINATE_ACK),
        Action::Scj => Some(code::CODE_REJECT),
        Action::Ser => Some(code::ECHO_REPLY),
        Action::Tlu | Action::Tld | Action::Tls | Action::Tlf | Action::Irc | Action::Zrc => None,
    }
}

fn signal_of(action: Action) -> Option<Signal> {
    match action {
        Action::Tlu => Some(Signal::Up),
        Action::Tld => Some(Signal::Down),
        Action::Tls => Some(Signal::Started),
        Action::Tlf => Some(Signal::Finished),
        _ => None,
    }
}

#[test]
fn every_event_in_every_state_does_what_the_table_says() {
    for state in State::ALL {
        for event in Event::ALL {
            let mut bench = Bench::new(state);
            let result = bench.cause(event);
            let sent: Vec<u8> = bench.sent().iter().map(|(code, _)| *code).collect();
            let pair = format!("{state:?} {event:?}");
            // A second answer to one request is no answer (section 4.3, RCA).
            let second_answer = matches!(event, Event::Rca | Event::Rcn)
                && matches!(state, State::AckRcvd | State::Opened);
            let expected = automaton::transition(state, event).filter(|_| !second_answer);
            let Some((actions, next)) = expected else {
                assert_eq!(bench.machine.state(), state, "{pair}");
                assert!(sent.is_empty(), "{pair}");
                assert!(!matches!(result, Ok(Some(_))), "{pair}");
                continue;
            };
            assert_eq!(bench.machine.state(), next, "{pair}");
            let signal = actions.iter().find_map(|action| signal_of(*action));
            assert_eq!(result, Ok(signal), "{pair}");
            let codes: Vec<u8> = actions.iter().filter_map(|action| code_of(*action)).collect();
            assert_eq!(sent, codes, "{pair}");
            assert_eq!(bench.machine.poll_timeout().is_some(), next.is_timed(), "{pair}");
        }
    }
}

#[test]
fn a_retransmission_keeps_its_identifier() {
    let mut bench = Bench::new(State::Starting);
    bench.event(Event::Up);
    bench.now = Time::ZERO + Duration::from_secs(3);
    bench.timeout();
    assert_eq!(bench.sent(), [(1, 8), (1, 8)]);
}

#[test]
fn a_request_after_an_answer_has_a_new_identifier() {
    for event in [Event::Rca, Event::Rcn] {
        let mut bench = Bench::new(State::ReqSent);
        bench.cause(event).unwrap();
        bench.now = Time::ZERO + Duration::from_secs(3);
        bench.timeout();
        assert!(bench.sent().iter().all(|(code, identifier)| (*code, *identifier) == (1, 8)));
    }
}

#[test]
fn timeouts_before_their_time_are_none() {
    let mut bench = Bench::new(State::Starting);
    bench.event(Event::Up);
    bench.sent();
    bench.now = Time::ZERO + Duration::from_millis(2999);
    bench.timeout();
    assert!(bench.sent().is_empty());
    bench.now = Time::ZERO + Duration::from_millis(3000);
    bench.timeout();
    assert_eq!(bench.sent().len(), 1);
}

/// A Terminate-Request received in Opened leaves one restart time for its sender.
#[test]
fn the_count_is_zero_after_a_terminate_request() {
    let mut bench = Bench::new(State::Opened);
    bench.cause(Event::Rtr).unwrap();
    assert_eq!(bench.machine.poll_timeout(), Some(Time::ZERO + Duration::from_secs(3)));
    bench.now = Time::ZERO + Duration::from_secs(3);
    assert_eq!(bench.timeout(), Some(Signal::Finished));
    assert_eq!(bench.machine.state(), State::Stopped);
}

/// In Opened a full count is left, so that the table needs no irc on the way out of it.
#[test]
fn a_negotiation_out_of_opened_has_all_its_tries() {
    let mut bench = Bench::new(State::Starting);
    bench.event(Event::Up);
    bench.cause(Event::RcrPlus).unwrap();
    bench.machine.request_identifier = 7;
    bench.cause(Event::Rca).unwrap();
    assert_eq!(bench.machine.state(), State::Opened);
    bench.cause(Event::RcrPlus).unwrap();
    assert_eq!(bench.machine.restart_count, bench.config.max_configure - 1);
}

#[test]
fn each_code_reject_has_a_new_identifier() {
    let mut bench = Bench::new(State::Opened);
    bench.cause(Event::Ruc).unwrap();
    bench.cause(Event::Ruc).unwrap();
    assert_eq!(bench.sent(), [(7, 8), (7, 9)]);
}

#[test]
fn identifiers_wrap() {
    let mut bench = Bench::new(State::Opened);
    bench.machine.identifier = 254;
    bench.cause(Event::Ruc).unwrap();
    bench.cause(Event::Ruc).unwrap();
    assert_eq!(bench.sent(), [(7, 255), (7, 0)]);
}
