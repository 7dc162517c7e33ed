//! Shares of the sessions: a session has one, whatever its frames look like, and what goes elsewhere is
//! counted as such.

use std::collections::BTreeSet;

use xlns_dataplane::verdict::{Share, Verdict};

use super::build::*;
use super::fragments;
use super::machine::*;

/// A packet of [`PLAIN`] in every form that it may arrive in.
fn forms() -> Vec<(u16, Vec<u8>)> {
    let inner = udp("10.0.0.1", REMOTE, [1, 2], &[7; 40]);
    let plain = L2tp::new(PLAIN);
    let headers = [
        plain,
        L2tp { length: true, ..plain },
        L2tp { sequence: true, ns: 9, ..plain },
        L2tp { length: true, sequence: true, offset: Some(6), priority: true, ..plain },
    ];
    let mut forms = Vec::new();
    for header in headers {
        let packet = datagram(&header.with(&ppp_ip(&inner)));
        let over_ipv6 = udp(LAC6, ENDPOINT6, [1701; 2], &header.with(&ppp_ip(&inner)));
        forms.extend([
            ethernet(&packet),
            padded(&packet),
            ethernet(&with_options(&packet)),
            tagged(&[(0x8100, 7)], &packet),
            tagged(&[(0x88a8, 7), (0x8100, 8)], &packet),
            ethernet(&over_ipv6),
            tagged(&[(0x8100, 7)], &over_ipv6),
        ]);
    }
    forms.push(from_lac(PLAIN, &ppp(0xc021, &echo(9, 1, 5, b"lcp"))));
    forms.into_iter().map(|frame| (ACCESS, frame)).collect()
}

fn shares(frames: &[(u16, Vec<u8>)]) -> Vec<Option<Share>> {
    let mut machine = Machine::new();
    machine.give_everything_away();
    machine.divide(frames)
}

#[test]
fn a_session_has_one_share_whatever_its_frames_look_like() {
    let found: BTreeSet<_> = shares(&forms()).into_iter().collect();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(!found.contains(&None));
}

#[test]
fn what_is_no_data_of_a_session_stays() {
    let control = datagram(&[0xc8, 2, 0, 12, 0, 0x11, 0, 0, 0, 0, 0, 0]);
    let other_port = udp(LAC, ENDPOINT, [1701, 1700], &L2tp::new(PLAIN).with(&ppp_ip(&[0x45; 40])));
    let [first, last] = fragments::of_a_packet();
    let frames = [
        ethernet(&control),
        ethernet(&other_port),
        ethernet(&udp("10.0.0.1", REMOTE, [1, 2], b"routed")),
        first,
        last,
        vec![2; 13],
        vec![],
    ];
    let frames: Vec<_> = frames.into_iter().map(|frame| (ACCESS, frame)).collect();
    assert_eq!(shares(&frames), vec![None; frames.len()]);
    // The host's packets have no Ethernet header, and are to subscribers.
    assert_eq!(shares(&[(HOST, forms().remove(0).1)]), [None]);
}

#[test]
fn a_frame_that_was_cut_short_has_a_share_or_none_and_no_panic() {
    for (port, frame) in forms() {
        let cut: Vec<_> = (0..frame.len()).map(|length| (port, frame[..length].to_vec())).collect();
        let found: BTreeSet<_> = shares(&cut).into_iter().flatten().collect();
        assert_eq!(found.len(), 1);
    }
}

#[test]
fn a_datagram_of_fragments_is_for_whoever_has_its_session() {
    let share = shares(&forms())[0].unwrap();
    let mut machine = Machine::new();
    machine.give_everything_away();
    let [first, last] = fragments::of_a_packet();
    let outcomes = machine.run(&[(ACCESS, first), (ACCESS, last)], 1);
    assert_eq!(outcomes[0].verdict, Verdict::Hold);
    assert_eq!(outcomes[1].verdict, Verdict::Handoff(share));
    machine.check_sums();
    assert_eq!(machine.sessions(), []);
}
