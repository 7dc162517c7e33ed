//! Nonsense: nothing panics, every frame has one verdict, and what is sent is well-formed.

use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::Index;
use xlns_dataplane::frame::FRAME_BYTES_MAX;
use xlns_dataplane::pipeline::BATCH_MAX;
use xlns_dataplane::verdict::Verdict;

use super::build::checksum;
use super::cases::{Expected, cases};
use super::machine::{HOST, Machine, Outcome, TAGGED};

/// Every frame of every case.
static KNOWN: LazyLock<Vec<(u16, Vec<u8>, Expected)>> =
    LazyLock::new(|| cases().into_iter().flat_map(|case| case.frames).collect());

/// What is wrong with a frame.
#[derive(Debug, Clone)]
enum Mutation {
    Octet(Index, u8),
    Cut(Index),
    Insert(Index, Vec<u8>),
    Remove(Index, u8),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, octet)| Mutation::Octet(at, octet)),
        1 => any::<Index>().prop_map(Mutation::Cut),
        1 => (any::<Index>(), prop::collection::vec(any::<u8>(), 1..40))
            .prop_map(|(at, octets)| Mutation::Insert(at, octets)),
        1 => (any::<Index>(), 1u8..40).prop_map(|(at, count)| Mutation::Remove(at, count)),
    ]
}

fn mutate(frame: &mut Vec<u8>, mutation: &Mutation) {
    match mutation {
        Mutation::Octet(at, octet) if !frame.is_empty() => {
            let at = at.index(frame.len());
            frame[at] = *octet;
        }
        Mutation::Octet(..) => {}
        Mutation::Cut(at) => frame.truncate(at.index(frame.len() + 1)),
        Mutation::Insert(at, octets) => {
            let at = at.index(frame.len() + 1);
            frame.splice(at..at, octets.iter().copied());
        }
        Mutation::Remove(at, count) => {
            let at = at.index(frame.len() + 1);
            frame.drain(at..(at + usize::from(*count)).min(frame.len()));
        }
    }
}

/// Mends the checksum of an outer IPv4 header without options, so that a mutation gets further.
fn mend(frame: &mut [u8]) {
    if let Some(header) = frame.get_mut(14..34)
        && header[0] == 0x45
    {
        header[10..12].fill(0);
        let sum = checksum(header);
        header[10..12].copy_from_slice(&sum);
    }
}

/// Whether the IP header in front, behind Ethernet, has right lengths and checksum.
fn assert_well_formed(outcome: &Outcome) {
    let Verdict::Transmit(port) = outcome.verdict else {
        return assert!(outcome.extras.is_empty());
    };
    assert_packet(port.0, &outcome.octets);
    outcome.extras.iter().for_each(|(port, octets)| assert_packet(*port, octets));
}

fn assert_packet(port: u16, octets: &[u8]) {
    let packet = match port {
        HOST => octets,
        TAGGED => &octets[18..],
        _ => &octets[14..],
    };
    if packet[0] >> 4 == 4 {
        let header = usize::from(packet[0] & 0xf) * 4;
        assert_eq!(checksum(&packet[..header]), [0, 0]);
        assert_eq!(usize::from(u16::from_be_bytes([packet[2], packet[3]])), packet.len());
    } else {
        assert_eq!(usize::from(u16::from_be_bytes([packet[4], packet[5]])) + 40, packet.len());
    }
    if port != HOST {
        let ethertype: &[u8] = if packet[0] >> 4 == 4 { &[0x08, 0x00] } else { &[0x86, 0xdd] };
        let tag: &[u8] = if port == TAGGED { &[0x81, 0x00, 0x0a, 0xbc] } else { &[] };
        assert!(octets[12..].starts_with(&[tag, ethertype].concat()));
        assert!(packet.len() <= 1500);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn mutated_frames(
        picks in prop::collection::vec((any::<Index>(), prop::collection::vec(mutation(), 0..4),
            any::<bool>()), 1..BATCH_MAX)
    ) {
        let frames: Vec<_> = picks
            .iter()
            .map(|(pick, mutations, mended)| {
                let (port, mut octets, _) = pick.get(&KNOWN).clone();
                mutations.iter().for_each(|mutation| mutate(&mut octets, mutation));
                octets.truncate(FRAME_BYTES_MAX);
                if *mended {
                    mend(&mut octets);
                }
                (port, octets)
            })
            .collect();
        let mut machine = Machine::new();
        let outcomes = machine.run(&frames, BATCH_MAX);
        prop_assert_eq!(outcomes.len(), frames.len());
        machine.check_sums();
        outcomes.iter().for_each(assert_well_formed);
    }

    #[test]
    fn random_frames(
        frames in prop::collection::vec((0..=HOST, prop::collection::vec(any::<u8>(), 0..200)),
            1..BATCH_MAX)
    ) {
        let mut machine = Machine::new();
        let outcomes = machine.run(&frames, BATCH_MAX);
        prop_assert_eq!(outcomes.len(), frames.len());
        machine.check_sums();
        outcomes.iter().for_each(assert_well_formed);
    }
}
