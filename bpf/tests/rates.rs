//! The token buckets in front of the kernel.

mod stage;

use stage::*;
use xlns_bpf::Reason::{self, *};
use xlns_bpf::{Action, Rates, Way};

/// So slow that next to nothing comes back while a test runs.
const SLOW: Rates = Rates {
    setup_packets_per_second: 1,
    tunnel_packets_per_second: 1,
    ppp_packets_per_second: 1,
    burst_packets: 1000,
};

fn kinds() -> [(Vec<u8>, Reason, Reason); 4] {
    let chap = ppp(false, false, 0xc223, &[2, 1, 0, 6, 0, 0]);
    let fragment = frame(&ipv4(&Ipv4 { fragment: 0x2000, ..UDP }, ENDPOINT, &[0; 64]));
    [
        (to_endpoint(&l2tp_control(0)), PassL2tpSetup, DropRateSetup),
        (to_endpoint(&l2tp_control(7)), PassL2tpTunnel, DropRateTunnel),
        (to_endpoint6(&l2tp_data(L, 0, &chap)), PassPppControl, DropRatePpp),
        (fragment, PassFragment, DropRateFragment),
    ]
}

/// What becomes of a kind once its sender is a peer.
fn of_a_peer(pass: Reason) -> Reason {
    if pass == PassFragment { XskFragment } else { pass }
}

#[test]
fn a_burst_passes_and_the_next_packet_is_dropped() {
    for burst in [1, 2, 1000] {
        let stage = Stage::new(Rates { burst_packets: burst, ..SLOW });
        for (frame, pass, drop) in kinds() {
            stage.steer.test_run(ACCESS, &frame, burst).expect("runs");
            assert_eq!(count(&stage.steer, ACCESS, pass), burst.into(), "{}", pass.name());
            assert_eq!(count(&stage.steer, ACCESS, drop), 0, "{}", drop.name());
            assert_eq!(stage.decide(ACCESS, &frame), drop);
        }
    }
}

#[test]
fn kinds_and_ports_have_buckets_of_their_own() {
    let stage = Stage::new(Rates { burst_packets: 1, ..SLOW });
    for port in [ACCESS, CORE, NO_SOCKET] {
        for (frame, pass, drop) in kinds() {
            assert_ne!(pass.way(), Way::ToWorkers);
            assert_eq!(stage.decide(port, &frame), pass);
            assert_eq!(stage.decide(port, &frame), drop);
        }
    }
}

#[test]
fn what_is_not_control_is_not_limited() {
    let stage = Stage::new(Rates { burst_packets: 1, ..SLOW });
    for (what, reason) in [
        (to_endpoint(&l2tp_data(0, 0, &ppp(true, true, 0x21, &inner4()))), XskL2tpIpv4),
        (to_endpoint(&l2tp_data(0, 0, &ppp(true, false, 0xc021, &[9, 1, 0, 8]))), XskLcpEcho),
        (frame(&ipv4(&UDP, HOST, &[0; 20])), PassHost),
        (ethernet(MAC, &[], 0x0806, &[0; 46]), PassNotIp),
    ] {
        stage.steer.test_run(ACCESS, &what, 5000).expect("runs");
        assert_eq!(count(&stage.steer, ACCESS, reason), 5000, "{}", reason.name());
    }
}

#[test]
fn router_solicitations_share_the_bucket_of_ppp() {
    let stage = Stage::new(Rates { burst_packets: 1, ..SLOW });
    let solicitation = to_endpoint(&l2tp_data(0, 0, &ppp(true, true, 0x57, &inner6("ff02::2"))));
    assert_eq!(stage.decide(ACCESS, &solicitation), PassPppControl);
    assert_eq!(stage.decide(ACCESS, &solicitation), DropRatePpp);
}

/// Floods a bucket of a burst of 10 and expects what the rate allows in the time it took.
#[test]
#[expect(clippy::disallowed_methods, reason = "the program reads the kernel's clock, not ours")]
fn a_flood_passes_at_the_rate() {
    const RATE: u32 = 200_000;
    const FLOOD: u32 = 1_000_000;
    let stage = Stage::new(Rates { setup_packets_per_second: RATE, burst_packets: 10, ..SLOW });
    let sccrq = to_endpoint(&l2tp_control(0));
    let start = std::time::Instant::now();
    let run = stage.steer.test_run(ACCESS, &sccrq, FLOOD).expect("runs");
    let elapsed_ns = u64::try_from(start.elapsed().as_nanos()).expect("not for centuries");
    let passed = count(&stage.steer, ACCESS, PassL2tpSetup);
    assert_eq!(passed + count(&stage.steer, ACCESS, DropRateSetup), u64::from(FLOOD));
    // The kernel's own measurement leaves out its pauses, so it is the lower bound.
    let allowed = |nanoseconds: u64| 10 + nanoseconds * u64::from(RATE) / 1_000_000_000;
    let least = allowed(u64::from(run.duration_ns) * u64::from(FLOOD)) * 9 / 10;
    assert!(passed >= least, "{passed} passed, at least {least} expected");
    assert!(passed <= allowed(elapsed_ns) + 1, "{passed} passed in {elapsed_ns} ns");
}

#[test]
fn cores_share_one_bucket() {
    const FLOOD: u32 = 100_000;
    let stage = Stage::new(SLOW);
    let sccrq = to_endpoint(&l2tp_control(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| stage.steer.test_run(ACCESS, &sccrq, FLOOD).expect("runs"));
        }
    });
    let passed = count(&stage.steer, ACCESS, PassL2tpSetup);
    let dropped = count(&stage.steer, ACCESS, DropRateSetup);
    assert_eq!(passed + dropped, 4 * u64::from(FLOOD));
    // A few seconds at one packet a second may have gone by.
    assert!((1000..1010).contains(&passed), "{passed}");
}

#[test]
fn the_highest_rate_lets_all_pass() {
    let stage = Stage::new(UNLIMITED);
    for (frame, pass, _) in kinds() {
        let run = stage.steer.test_run(ACCESS, &frame, 10_000).expect("runs");
        assert_ne!(run.action, Action::Drop);
        assert_eq!(count(&stage.steer, ACCESS, pass), 10_000);
    }
}

/// Where the frames of the stage come from.
const SOURCES: [&str; 2] = ["198.51.100.2", "2001:db8::2"];

#[test]
fn a_flood_of_strangers_takes_nothing_from_a_peer() {
    let mut stage = Stage::new(Rates { burst_packets: 2, ..SLOW });
    for (frame, pass, drop) in kinds() {
        stage.steer.test_run(ACCESS, &frame, 1000).expect("runs");
        assert_eq!(stage.decide(ACCESS, &frame), drop);
        for source in SOURCES {
            stage.steer.set_peer(address(source)).expect("set");
        }
        assert_eq!(stage.decide(ACCESS, &frame), of_a_peer(pass));
        for source in SOURCES {
            stage.steer.remove_peer(address(source)).expect("removed");
        }
        assert_eq!(stage.decide(ACCESS, &frame), drop, "a stranger again");
    }
    stage.steer.remove_peer(address(SOURCES[0])).expect("removed twice");
}

#[test]
fn fragments_of_peers_are_not_limited() {
    let mut stage = Stage::new(Rates { burst_packets: 1, ..SLOW });
    for source in SOURCES {
        stage.steer.set_peer(address(source)).expect("set");
    }
    let [.., (fragment, ..)] = kinds();
    stage.steer.test_run(ACCESS, &fragment, 5000).expect("runs");
    assert_eq!(count(&stage.steer, ACCESS, XskFragment), 5000);
    assert_eq!(stage.decide(NO_SOCKET, &fragment), PassNoSocket);
}

#[test]
fn a_peer_that_is_forged_keeps_only_itself_from_new_tunnels() {
    let mut stage = Stage::new(Rates { burst_packets: 1, ..SLOW });
    for source in SOURCES {
        stage.steer.set_peer(address(source)).expect("set");
    }
    let [ipv4, ipv6] = [to_endpoint(&l2tp_control(0)), to_endpoint6(&l2tp_control(0))];
    assert_eq!(stage.decide(ACCESS, &ipv4), PassL2tpSetup);
    assert_eq!(stage.decide(ACCESS, &ipv4), DropRateSetup);
    assert_eq!(stage.decide(CORE, &ipv4), DropRateSetup, "all ports together");
    assert_eq!(stage.decide(ACCESS, &ipv6), PassL2tpSetup, "another peer");
    assert_eq!(stage.decide(ACCESS, &to_endpoint(&l2tp_control(7))), PassL2tpTunnel);
}

#[test]
fn strangers_have_the_rate_of_new_tunnels_in_every_kind() {
    let rates = Rates { setup_packets_per_second: 1, burst_packets: 3, ..UNLIMITED };
    let mut stage = Stage::new(rates);
    for (frame, pass, drop) in kinds() {
        stage.steer.test_run(ACCESS, &frame, 100).expect("runs");
        let passed = count(&stage.steer, ACCESS, pass);
        assert!((3..10).contains(&passed), "{}: {passed}", pass.name());
        for source in SOURCES {
            stage.steer.set_peer(address(source)).expect("set");
        }
        let dropped = count(&stage.steer, ACCESS, drop);
        stage.steer.test_run(ACCESS, &frame, 100).expect("runs");
        let dropped = count(&stage.steer, ACCESS, drop) - dropped;
        assert_eq!(dropped == 0, pass != PassL2tpSetup, "{}: {dropped}", drop.name());
        for source in SOURCES {
            stage.steer.remove_peer(address(source)).expect("removed");
        }
    }
}
