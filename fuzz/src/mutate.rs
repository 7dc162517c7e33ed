//! Mutations by a seeded generator: what keeps the targets exercised where libFuzzer is not there.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngCore};

/// Values at which something changes.
const EDGES: [u8; 9] = [0, 1, 2, 4, 0x7f, 0x80, 0xc0, 0xfe, 0xff];

/// Changes made to one input, at most.
const CHANGES_MAX: usize = 6;

/// An input near `input`, with parts of `others`, and at most `bytes_max` long.
pub fn mutate(rng: &mut StdRng, input: &[u8], others: &[Vec<u8>], bytes_max: usize) -> Vec<u8> {
    let mut octets = input.to_vec();
    for _ in 0..rng.random_range(1..=CHANGES_MAX) {
        change(rng, &mut octets, others);
    }
    octets.truncate(bytes_max);
    octets
}

fn change(rng: &mut StdRng, octets: &mut Vec<u8>, others: &[Vec<u8>]) {
    let place = rng.random_range(0..=octets.len());
    match rng.random_range(0..7) {
        0 => {
            if let Some(octet) = octets.get_mut(place) {
                *octet ^= 1 << rng.random_range(0..8);
            }
        }
        1 => {
            if let Some(octet) = octets.get_mut(place) {
                *octet = *EDGES.choose(rng).unwrap_or(&0);
            }
        }
        2 => {
            if let Some(octet) = octets.get_mut(place) {
                *octet = octet.wrapping_add_signed(rng.random_range(-4..=4));
            }
        }
        3 => {
            let mut inserted = vec![0; rng.random_range(1..9)];
            rng.fill_bytes(&mut inserted);
            octets.splice(place..place, inserted);
        }
        4 => {
            let end = octets.len().min(place + rng.random_range(1..9));
            octets.drain(place..end);
        }
        5 => {
            let end = octets.len().min(place + rng.random_range(1..33));
            let copy = octets[place..end].to_vec();
            octets.extend(copy);
        }
        _ => {
            let Some(other) = others.choose(rng) else { return };
            let from = rng.random_range(0..=other.len());
            octets.truncate(place);
            octets.extend_from_slice(&other[from..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_seed_gives_the_same_mutations_and_they_are_many() {
        let run = |seed| {
            let mut rng = StdRng::seed_from_u64(seed);
            let others = [b"another one".to_vec()];
            let next = |_| mutate(&mut rng, b"an input", &others, 12);
            (0..100).map(next).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        let mut all = run(1);
        assert!(all.iter().all(|octets| octets.len() <= 12));
        all.sort();
        all.dedup();
        assert!(all.len() > 80, "{}", all.len());
    }
}
