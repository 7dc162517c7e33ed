use std::sync::Arc;

use xlns_control::config::Config;
use xlns_control::lns::Lns;
use xlns_control::time::Time;
use xlns_dataplane::api::Command;
use xlns_dataplane::counters::SessionCounters;

use super::subscriber::{Account, Authentication};
use super::*;

const LNS: &str = "192.0.2.1:1701";

fn plan() -> Plan {
    let account = Account {
        user: b"subscriber".to_vec(),
        password: b"password".to_vec(),
        authentication: Authentication::ChapMd5,
    };
    Plan {
        lns: LNS.parse().unwrap(),
        sources: vec!["192.0.2.2:1701".parse().unwrap(), "192.0.2.3:1701".parse().unwrap()],
        host_name: "lac".into(),
        secret: Some(b"tunnel-secret".to_vec()),
        account,
        tunnels: 5,
        calls: 300,
        sessions: 100,
        rate: None,
        outstanding: 20,
        hold: None,
        linger: Duration::from_secs(1),
        one_by_one: false,
        keep_alive: None,
    }
}

fn lns() -> Lns {
    let text = crate::calls::lac::configuration()
        + "[[lac]]\nname = \"lab\"\nsecret = \"tunnel-secret\"\n";
    let mut lns = Lns::new(Arc::new(Config::parse("bench", &text).unwrap()), [1; 32]).unwrap();
    lns.handle_dataplane_ready();
    lns
}

/// Runs a plan against a real LNS in memory and virtual time; `deliver` says whether a datagram
/// arrives.
fn run(plan: Plan, deliver: impl FnMut(u64) -> bool) -> (Outcome, Lns) {
    let (emulator, lns) = run_until(plan, deliver, |emulator| emulator.stage() == Stage::Over);
    (emulator.into_outcome(), lns)
}

/// The same as far as `is_enough`.
fn run_until(
    plan: Plan,
    mut deliver: impl FnMut(u64) -> bool,
    is_enough: impl Fn(&Emulator) -> bool,
) -> (Emulator, Lns) {
    let (mut lns, sources) = (lns(), plan.sources.clone());
    let mut emulator = Emulator::new(plan);
    let mut datagrams = 0;
    let mut arrives = || {
        datagrams += 1;
        deliver(datagrams)
    };
    for millisecond in 1..200_000u64 {
        let now = Duration::from_millis(millisecond);
        let time = Time::ZERO + now;
        emulator.handle_timeout(now);
        emulator.step(now);
        while let Some(Datagram { source, lns: to, payload }) = emulator.poll_transmit(now) {
            if arrives() {
                lns.handle_datagram(time, to, sources[source], &payload);
            }
        }
        lns.handle_timeout(time);
        while let Some(command) = lns.poll_command() {
            if let Command::SessionRemove(key) = command {
                lns.handle_session_ended(time, key, SessionCounters::default());
            }
        }
        while lns.poll_peer_change().is_some() {}
        while let Some(transmit) = lns.poll_transmit() {
            if arrives() {
                emulator.handle_datagram(now, transmit.local, &transmit.payload);
            }
        }
        if is_enough(&emulator) {
            return (emulator, lns);
        }
    }
    panic!("not over: {:?}, {:?}", emulator.stage(), emulator.in_progress());
}

#[test]
fn every_call_comes_up_and_all_end() {
    let (outcome, lns) = run(plan(), |_| true);
    assert_eq!((outcome.offered, outcome.opened), (300, 300));
    assert_eq!((outcome.held, outcome.held_max), (100, 100));
    assert_eq!((outcome.failures(), outcome.lost, outcome.tunnels_failed), (0, 0, 0));
    let repeated = (outcome.retransmissions_control, outcome.retransmissions_ppp);
    assert_eq!(repeated, (0, 0), "nobody waited for a timer");
    assert!(outcome.setup_ms(1.0) < 1000.0, "{}", outcome.setup_ms(1.0));
    assert_eq!(lns.audit().unwrap().calls, 0);
}

#[test]
fn what_is_up_shows_the_ids_and_addresses_that_the_lns_gave() {
    let plan = Plan { calls: 100, ..plan() };
    let sources = plan.sources.len();
    let (emulator, lns) = run_until(plan, |_| true, Emulator::is_complete);
    let established = emulator.established();
    assert_eq!((established.len(), lns.audit().unwrap().calls), (100, 100));
    let ids: std::collections::BTreeSet<_> =
        established.iter().map(|call| (call.tunnel_id, call.session_id)).collect();
    let addresses: std::collections::BTreeSet<_> =
        established.iter().map(|call| call.address).collect();
    let ours: std::collections::BTreeSet<_> =
        established.iter().map(|call| (call.local_tunnel_id, call.local_session_id)).collect();
    assert_eq!((ids.len(), ours.len(), addresses.len()), (100, 100, 100));
    for call in established {
        assert!(call.source < sources && call.tunnel_id > 0 && call.session_id > 0, "{call:?}");
        assert_eq!(call.lns, LNS.parse().unwrap());
        assert!(!call.address.is_unspecified());
    }
}

#[test]
fn calls_come_up_over_a_network_that_loses() {
    let (outcome, lns) = run(plan(), |number| number % 17 != 0);
    assert_eq!((outcome.opened, outcome.failures(), outcome.lost), (300, 0, 0));
    assert!(outcome.retransmissions_control > 0);
    assert_eq!(lns.audit().unwrap().calls, 0);
}

#[test]
fn a_rate_is_kept_and_calls_end_after_their_time() {
    let hold = Some(Duration::from_millis(100));
    let (outcome, _) = run(Plan { rate: Some(100.0), hold, ..plan() }, |_| true);
    assert_eq!(outcome.opened, 300);
    assert!((2.9..3.1).contains(&outcome.span().as_secs_f64()), "{:?}", outcome.span());
    assert!(outcome.held_max < 20, "{}", outcome.held_max);
}

#[test]
fn a_wrong_password_is_told_as_such() {
    let mut plan = Plan { calls: 3, ..plan() };
    plan.account.password = b"wrong".to_vec();
    let (outcome, _) = run(plan, |_| true);
    assert_eq!((outcome.opened, outcome.failures()), (0, 3));
    assert_eq!(outcome.failed.get("authentication"), Some(&3));
}

#[test]
fn a_wrong_secret_ends_the_run() {
    let (outcome, _) = run(Plan { secret: Some(b"wrong".to_vec()), ..plan() }, |_| true);
    assert_eq!((outcome.opened, outcome.tunnels_failed), (0, 5));
}

#[test]
fn pap_brings_calls_up() {
    let mut plan = plan();
    plan.account.authentication = Authentication::Pap;
    let (outcome, _) = run(plan, |_| true);
    assert_eq!((outcome.opened, outcome.failures()), (300, 0));
}

#[test]
fn one_tunnel_after_the_other_each_with_a_call() {
    let plan = Plan { tunnels: 50, calls: 50, one_by_one: true, ..plan() };
    let (outcome, lns) = run(plan, |_| true);
    assert_eq!((outcome.opened, outcome.tunnels_failed, outcome.held), (50, 0, 50));
    assert!(outcome.setup_ms(1.0) < 20.0, "a step a millisecond: {}", outcome.setup_ms(1.0));
    assert_eq!(outcome.retransmissions_control + outcome.retransmissions_ppp, 0);
    assert_eq!(lns.audit().unwrap().calls, 0);
}

#[test]
fn what_is_held_shows_that_it_lives() {
    let keep_alive = Some(KeepAlive { interval: Duration::from_millis(100), echoes: 10 });
    let (outcome, _) = run(Plan { keep_alive, linger: Duration::from_secs(2), ..plan() }, |_| true);
    assert!(outcome.echoes_sent > 100, "{}", outcome.echoes_sent);
    assert_eq!(outcome.echoes_answered, outcome.echoes_sent);
    assert_eq!((outcome.lost, outcome.held), (0, 100));
    assert_eq!(outcome.retransmissions_control, 0, "every HELLO is acknowledged");
}

#[test]
fn vitals_are_those_of_the_rounds_before() {
    let keep_alive = Some(KeepAlive { interval: Duration::from_millis(100), echoes: 10 });
    let plan = Plan { keep_alive, calls: 100, linger: Duration::from_secs(60), ..plan() };
    let (emulator, _) = run_until(plan.clone(), |_| true, |emulator| emulator.vitals().round == 30);
    let vitals = emulator.vitals();
    assert_eq!((vitals.held, vitals.calls_lost, vitals.tunnels), (100, 0, 5));
    assert_eq!((vitals.tunnels_waiting, vitals.retransmissions), (0, 0));
    assert_eq!(vitals.hellos_sent, 29 * 5, "none of the round that begins");
    assert_eq!(vitals.echoes_answered, vitals.echoes_sent);
    assert!(vitals.echoes_sent > 100);

    // From some moment on nothing arrives any more.
    let hears = std::cell::Cell::new(true);
    let is_waiting = |emulator: &Emulator| {
        hears.set(emulator.vitals().round < 10);
        emulator.vitals().tunnels_waiting == 5
    };
    let (emulator, _) = run_until(plan, |_| hears.get(), is_waiting);
    let vitals = emulator.vitals();
    assert!(vitals.round > 10 && vitals.retransmissions >= 5, "{vitals:?}");
    assert!(vitals.echoes_answered < vitals.echoes_sent, "{vitals:?}");
    assert_eq!((vitals.held, vitals.tunnels), (100, 5), "nobody has given up yet");
}
