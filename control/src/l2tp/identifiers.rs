//! Identifiers for tunnels and sessions: unpredictable, never 0, not used again soon.
//!
//! A counter goes through a keyed permutation of the 16-bit numbers. So each number comes once in
//! 65,536 steps, in an order that only the key's holder knows, without memory of what was in use.

use rand::RngCore;

const ROUNDS: u64 = 4;

/// A source of identifiers.
#[derive(Clone)]
pub struct Identifiers {
    key: u64,
    counter: u16,
}

impl std::fmt::Debug for Identifiers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Who knows the key knows the identifiers to come.
        formatter.write_str("Identifiers")
    }
}

impl Identifiers {
    /// A source with an order of its own.
    pub fn new(rng: &mut impl RngCore) -> Self {
        Self { key: rng.next_u64(), counter: rng.next_u32() as u16 }
    }

    /// The next identifier that is not in use; `None` where all are.
    pub fn next(&mut self, in_use: impl Fn(u16) -> bool) -> Option<u16> {
        for _ in 0..=u16::MAX {
            let identifier = self.permuted(self.counter);
            self.counter = self.counter.wrapping_add(1);
            if identifier != 0 && !in_use(identifier) {
                return Some(identifier);
            }
        }
        None
    }

    /// A Feistel network over two octets: a permutation whatever its round function is.
    fn permuted(&self, number: u16) -> u16 {
        let [mut left, mut right] = number.to_be_bytes();
        for round in 0..ROUNDS {
            let mixed = mix(self.key ^ (round << 8 | u64::from(right)));
            (left, right) = (right, left ^ mixed.to_be_bytes()[0]);
        }
        u16::from_be_bytes([left, right])
    }
}

/// Spreads every bit of the input over the output: multiplication and shifts, as in SplitMix64.
fn mix(input: u64) -> u64 {
    let input = input.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let input = (input ^ (input >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let input = (input ^ (input >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    input ^ (input >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn each_number_once_in_a_cycle_and_never_zero() {
        for seed in 0..8 {
            let mut identifiers = Identifiers::new(&mut StdRng::seed_from_u64(seed));
            let cycle: Vec<u16> =
                (0..65_535).map(|_| identifiers.next(|_| false).unwrap()).collect();
            let distinct: BTreeSet<u16> = cycle.iter().copied().collect();
            assert_eq!(distinct.len(), 65_535);
            assert!(!distinct.contains(&0));
            // Neighbours are not neighbours: no order to guess from.
            let steps: BTreeSet<u16> =
                cycle.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
            assert!(steps.len() > 30_000, "{}", steps.len());
        }
    }

    #[test]
    fn what_is_in_use_is_passed_over() {
        let mut identifiers = Identifiers::new(&mut StdRng::seed_from_u64(1));
        assert_eq!(identifiers.next(|identifier| identifier != 4711), Some(4711));
        assert_eq!(identifiers.next(|_| true), None);
    }

    #[test]
    fn seeds_give_different_orders() {
        let first = |seed| {
            let mut identifiers = Identifiers::new(&mut StdRng::seed_from_u64(seed));
            (0..4).map(|_| identifiers.next(|_| false)).collect::<Vec<_>>()
        };
        assert_eq!(first(1), first(1));
        assert_ne!(first(1), first(2));
    }
}
