//! The data path: pcap in, pcap out, counters.
//!
//! Every fixture is a capture of what comes in on the machine of `machine.rs`, the capture of what
//! leaves it, and the counters afterwards, in `tests/fixtures/data_path`. `cases.rs` says what each
//! frame is and what has to become of it. `XLNS_BLESS=1 cargo test -p xlns-tests --test data_path`
//! writes the fixtures anew; the difference is then to be read.

mod build;
mod cases;
mod fixture;
mod fragments;
mod handoff;
mod machine;
mod options;
mod random;
mod sizes;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::Command;

use xlns_dataplane::pipeline::BATCH_MAX;
use xlns_dataplane::port::PortId;
use xlns_dataplane::verdict::{DropReason, Verdict};

use cases::{Case, Expected, cases};
use machine::{Machine, Outcome};

/// Reasons that workers count, not the pipeline, as a ring or a queue was full; and the one that takes
/// time, see [`fragments_that_wait_too_long_are_dropped`].
const COUNTED_ELSEWHERE: [DropReason; 4] = [
    DropReason::TransmitFull,
    DropReason::HandoffFull,
    DropReason::HostFull,
    DropReason::FragmentTimeout,
];

fn frames(case: &Case) -> Vec<(u16, Vec<u8>)> {
    case.frames.iter().map(|(port, octets, _)| (*port, octets.clone())).collect()
}

fn sent(outcomes: &[Outcome]) -> Vec<(u16, Vec<u8>)> {
    let sent = |outcome: &Outcome| {
        let first = match outcome.verdict {
            Verdict::Transmit(PortId(port)) => Some((port, outcome.octets.clone())),
            Verdict::Drop(_) | Verdict::Hold | Verdict::Measured | Verdict::Handoff(_) => None,
        };
        first.into_iter().chain(outcome.extras.clone()).collect::<Vec<_>>()
    };
    outcomes.iter().flat_map(sent).collect()
}

fn counters(machine: &Machine) -> String {
    let mut text = String::new();
    for (reason, count) in machine.drops() {
        writeln!(text, "drop {} {count}", reason.name()).unwrap();
    }
    for (session, counters) in machine.sessions() {
        writeln!(
            text,
            "session {session:#06x} upstream {} packets {} octets downstream {} packets {} octets",
            counters.upstream_packets,
            counters.upstream_bytes,
            counters.downstream_packets,
            counters.downstream_bytes,
        )
        .unwrap();
    }
    text
}

#[test]
fn every_frame_has_the_expected_verdict() {
    for case in cases() {
        let outcomes = Machine::new().run(&frames(&case), BATCH_MAX);
        for (number, ((_, _, expected), outcome)) in case.frames.iter().zip(&outcomes).enumerate() {
            let (verdict, pieces) = match expected {
                Expected::Sent(port) | Expected::Told(port, _) => {
                    (Verdict::Transmit(PortId(*port)), 1)
                }
                Expected::Pieces(port, pieces) => (Verdict::Transmit(PortId(*port)), *pieces),
                Expected::Dropped(reason) => (Verdict::Drop(*reason), 1),
                Expected::Held => (Verdict::Hold, 1),
            };
            assert_eq!(outcome.verdict, verdict, "{} frame {number}", case.name);
            assert_eq!(outcome.extras.len() + 1, pieces, "{} frame {number}", case.name);
            let sent_alike = |(port, _): &(u16, _)| Verdict::Transmit(PortId(*port)) == verdict;
            assert!(outcome.extras.iter().all(sent_alike));
        }
    }
}

#[test]
fn what_is_told_is_counted_as_dropped_too() {
    for case in cases() {
        let mut machine = Machine::new();
        machine.run(&frames(&case), BATCH_MAX);
        let mut expected = BTreeMap::new();
        for (_, _, expectation) in &case.frames {
            if let Expected::Dropped(reason) | Expected::Told(_, reason) = expectation {
                *expected.entry(*reason).or_insert(0) += 1;
            }
        }
        for (reason, count) in &case.lost {
            *expected.entry(*reason).or_insert(0) += count;
        }
        let found: BTreeMap<_, _> = machine.drops().into_iter().collect();
        assert_eq!(found, expected, "{}", case.name);
    }
}

#[test]
fn what_leaves_and_what_is_counted_is_as_recorded() {
    let names: BTreeSet<_> = cases().iter().map(|case| case.name.to_string()).collect();
    assert_eq!(names.len(), cases().len(), "names are unique");
    for case in cases() {
        let mut machine = Machine::new();
        let outcomes = machine.run(&frames(&case), BATCH_MAX);
        machine.check_sums();
        fixture::check(case.name, &frames(&case), &sent(&outcomes), &counters(&machine));
    }
    assert_eq!(fixture::names(), names, "a fixture without a case, or the other way round");
}

#[test]
fn a_batch_is_no_different_from_one_frame_at_a_time() {
    for case in cases() {
        let (mut one, mut all) = (Machine::new(), Machine::new());
        assert_eq!(one.run(&frames(&case), 1), all.run(&frames(&case), BATCH_MAX), "{}", case.name);
        assert_eq!(one.drops(), all.drops());
        assert_eq!(one.sessions(), all.sessions());
    }
}

#[test]
fn every_reason_is_produced() {
    let mut machine = Machine::new();
    for case in cases() {
        machine.run(&frames(&case), BATCH_MAX);
    }
    machine.check_sums();
    let seen: BTreeSet<_> = machine.drops().into_iter().map(|(reason, _)| reason).collect();
    let expected: BTreeSet<_> = DropReason::ALL
        .iter()
        .copied()
        .filter(|reason| !COUNTED_ELSEWHERE.contains(reason))
        .collect();
    assert_eq!(seen, expected);
}

#[test]
fn fragments_that_wait_too_long_are_dropped() {
    let mut machine = Machine::new();
    let [first, second] = fragments::of_a_packet();
    let frame = |octets| (machine::ACCESS, octets);
    assert_eq!(machine.run(&[frame(first.clone())], 1)[0].verdict, Verdict::Hold);
    machine.now += 2_000_000_000;
    assert_eq!(machine.run(&[frame(second)], 1)[0].verdict, Verdict::Hold);
    assert_eq!(machine.drops(), [(DropReason::FragmentTimeout, 1)]);
    machine.check_sums();
    let whole = machine.run(&[frame(first)], 1)[0].verdict;
    assert_eq!(whole, Verdict::Transmit(PortId(machine::CORE)));
    machine.check_sums();
}

#[test]
fn session_counters_are_exact() {
    // The counters of a session are the octets of the inner packets that went through, no more.
    for case in cases() {
        let mut machine = Machine::new();
        let outcomes = machine.run(&frames(&case), BATCH_MAX);
        let lcp = case.name.starts_with("echo_");
        let is_transit = case.name == "fragments_of_control";
        let (mut up, mut down) = (0, 0);
        for ((from, _, expected), outcome) in case.frames.iter().zip(&outcomes) {
            // An error to a subscriber is a packet to it; the one that it is about has not passed.
            let passed = matches!(expected, Expected::Sent(_) | Expected::Pieces(..));
            if lcp || is_transit {
                continue;
            }
            let from_access = [machine::ACCESS, machine::TAGGED].contains(from);
            up += u64::from(from_access && passed && !case.name.starts_with("tagged_transit"));
            let to_access =
                [machine::ACCESS, machine::TAGGED].map(|port| Verdict::Transmit(PortId(port)));
            let to_core = case.name.starts_with("tagged_core");
            if to_access.contains(&outcome.verdict) && !to_core {
                down += 1 + if case.name.contains("outer_pieces") {
                    0
                } else {
                    outcome.extras.len() as u64
                };
            }
        }
        let sessions = machine.sessions();
        let sum = |part: fn(&xlns_dataplane::counters::SessionCounters) -> u64| {
            sessions.iter().map(|(_, counters)| part(counters)).sum::<u64>()
        };
        assert_eq!(sum(|c| c.upstream_packets), up, "{} upstream", case.name);
        assert_eq!(sum(|c| c.downstream_packets), down, "{} downstream", case.name);
    }
}

/// What leaves towards the LAC, by the builder of the tests: addresses, IDs and MACs turned round.
fn to_lac(session: u16, ppp: &[u8], identification: u8) -> Vec<u8> {
    let message = build::L2tp { tunnel: 0x2200, session: session + 0x3000, ..Default::default() };
    let mut packet = build::udp(machine::ENDPOINT, machine::LAC, [1701, 1701], &message.with(ppp));
    packet[4..6].copy_from_slice(&[0, identification]);
    build::seal(&mut packet);
    let mut frame = build::ethernet(&packet);
    frame[..12].copy_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 0xa0]);
    frame
}

#[test]
fn what_is_sent_is_what_is_built_octet_by_octet() {
    use build::{echo, ethernet, from_lac, ip_with, ping, ppp, ppp_ip};
    use machine::{ACCESS, COMPRESSED, CORE, MAGIC, ODD, PLAIN, REMOTE};

    let hop = |source: &str, destination: &str, ttl| {
        ip_with(source, destination, 1, ttl, 0, &ping(source, destination, b"text")[20..])
    };
    let down = |address: &str| (CORE, ethernet(&hop(REMOTE, address, 64)));
    let mut request = echo(9, 42, 0x2222_2222, b"are you there");
    request.extend(*b"padding");
    let outcomes = sent(&Machine::new().run(
        &[
            down("10.0.0.1"),
            down("10.0.0.2"),
            down("10.0.0.9"),
            (ACCESS, from_lac(PLAIN, &ppp(0xc021, &request))),
            (ACCESS, from_lac(COMPRESSED, &ppp(0xc021, &request))),
            (ACCESS, from_lac(PLAIN, &ppp_ip(&hop("10.0.0.1", "10.0.0.2", 64)))),
            (ACCESS, from_lac(PLAIN, &ppp_ip(&hop("10.0.0.1", REMOTE, 64)))),
        ],
        BATCH_MAX,
    ));
    let short =
        |front: &[u8], address: &str, source: &str| [front, &hop(source, address, 63)[..]].concat();
    let reply = |magic| ppp(0xc021, &echo(10, 42, magic, b"are you there"));
    let mut upstream = ethernet(&hop("10.0.0.1", REMOTE, 63));
    upstream[..12].copy_from_slice(&[2, 0, 0, 0, 0, 0xfe, 2, 0, 0, 0, 0, 0xc0]);
    let expected = [
        (ACCESS, to_lac(PLAIN, &ppp_ip(&hop(REMOTE, "10.0.0.1", 63)), 1)),
        (ACCESS, to_lac(COMPRESSED, &short(&[0x21], "10.0.0.2", REMOTE), 2)),
        (ACCESS, to_lac(ODD, &short(&[0xff, 0x03, 0x21], "10.0.0.9", REMOTE), 3)),
        (ACCESS, to_lac(PLAIN, &reply(MAGIC), 4)),
        (ACCESS, to_lac(COMPRESSED, &reply(0), 5)),
        (ACCESS, to_lac(COMPRESSED, &short(&[0x21], "10.0.0.2", "10.0.0.1"), 6)),
        (CORE, upstream),
    ];
    assert_eq!(outcomes, expected);
}

#[test]
fn an_echo_reply_is_not_longer_than_the_mru_of_the_peer() {
    use build::{echo, from_lac, ppp};
    // MRU 576: code, identifier, length and magic number, and 568 octets.
    let replies = [567, 568, 569, 1400].map(|length| {
        let request = ppp(0xc021, &echo(9, 1, 2, &vec![7; length]));
        let frame = (machine::ACCESS, from_lac(machine::SMALL_MRU, &request));
        sent(&Machine::new().run(&[frame], 1))
    });
    assert_eq!(replies[1], replies[2]);
    assert_eq!(replies[1], replies[3]);
    assert_eq!(replies[0][0].1.len() + 1, replies[1][0].1.len());
}

#[test]
fn strays_are_handed_over_at_a_bounded_rate() {
    use build::{echo, from_lac, ppp};
    let mut machine = Machine::new();
    let stray = (machine::ACCESS, from_lac(0x01ff, &ppp(0xc021, &echo(9, 1, 2, &[]))));
    let handed_over = |machine: &mut Machine| {
        let outcomes = machine.run(&vec![stray.clone(); 200], BATCH_MAX);
        let to_host =
            |outcome: &&Outcome| outcome.verdict == Verdict::Transmit(PortId(machine::HOST));
        outcomes.iter().filter(to_host).count()
    };
    assert_eq!(handed_over(&mut machine), 100);
    assert_eq!(machine.drops(), [(DropReason::NoSuchSession, 100)]);
    machine.now += 10_000_000;
    assert_eq!(handed_over(&mut machine), 10);
}

/// Runs tshark over a capture with all checksums on; what it complains about, a line per frame.
fn complaints(capture: &std::path::Path) -> String {
    let bad = [
        "_ws.malformed",
        "_ws.unreassembled.expert",
        "_ws.expert.severity >= 0x600000",
        "ip.checksum.status == 0",
        "udp.checksum.status == 0",
        "tcp.checksum.status == 0",
        "icmp.checksum.status == 0",
        "icmpv6.checksum.status == 0",
        "ip.checksum_bad.expert",
    ];
    tshark(capture, &bad.join(" or "))
}

fn tshark(capture: &std::path::Path, filter: &str) -> String {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(capture).args(["-Y", filter]);
    for option in ["ip.check_checksum", "udp.check_checksum", "tcp.check_checksum"] {
        command.args(["-o", &format!("{option}:TRUE")]);
    }
    let output = command.output().expect("tshark runs; scripts/setup installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn tshark_has_no_complaint_about_what_we_send() {
    let directory = tempfile::tempdir().unwrap();
    let capture = directory.path().join("sent.pcapng");
    let mut all = Vec::new();
    let mut data = 0;
    let mut replies = 0;
    for case in cases() {
        let outcomes = sent(&Machine::new().run(&frames(&case), BATCH_MAX));
        let all_to_access = outcomes.iter().filter(|(port, _)| *port == machine::ACCESS).count();
        // Of outer packets in pieces the last one is dissected, as a whole.
        let expected = case.frames.iter().map(|(.., expected)| *expected);
        let is_cut = |expected: &Expected| matches!(expected, Expected::Pieces(_, 2));
        let to_access = match case.name {
            "outer_pieces" | "outer_pieces_ipv6" => all_to_access - expected.filter(is_cut).count(),
            _ => all_to_access,
        };
        // The fragments there are cut out of nothing, and transit is not of our making.
        let made_by_us =
            !["fragments_of_control", "transit", "mss_left_alone", "mss_not_at_the_beginning"]
                .contains(&case.name);
        if made_by_us {
            data += to_access;
            replies += if case.name.starts_with("echo_") { to_access } else { 0 };
            all.extend(outcomes);
        }
    }
    fixture::write(&capture, &all);
    // It does look inside: all data is dissected down to PPP, all replies as LCP.
    let lines = |filter: &str| tshark(&capture, filter).lines().count();
    assert_eq!(lines("frame.interface_id == 0 and l2tp.type == 0 and ppp.protocol"), data);
    assert_eq!(lines("ppp.protocol == 0xc021 and ppp.code == 10"), replies);
    assert_eq!(complaints(&capture), "");

    // And it would complain.
    let mut spoilt = all.clone();
    let last = spoilt.iter_mut().rfind(|(port, _)| *port == machine::ACCESS).unwrap();
    let end = last.1.len() - 1;
    last.1[end] ^= 0x55;
    fixture::write(&capture, &spoilt);
    assert_eq!(complaints(&capture).lines().count(), 1);
}
