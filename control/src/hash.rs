//! Hashes that a peer cannot foresee, and that a simulation with the same seed repeats.

use std::hash::{BuildHasher, DefaultHasher, Hash};

use rand::RngCore;

/// Hashes that depend on a key: whoever does not have it cannot aim at another's bucket.
#[derive(Clone)]
pub struct KeyedHasher {
    key: [u64; 4],
}

impl KeyedHasher {
    /// With a key of its own.
    pub fn new(rng: &mut impl RngCore) -> Self {
        Self { key: std::array::from_fn(|_| rng.next_u64()) }
    }
}

impl BuildHasher for KeyedHasher {
    type Hasher = DefaultHasher;

    /// The library's keyed hash always begins with a key of zeros: ours goes through it first.
    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        self.key.hash(&mut hasher);
        hasher
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn one_seed_gives_one_hash_and_another_seed_another() {
        let hasher = |seed| KeyedHasher::new(&mut StdRng::seed_from_u64(seed));
        assert_eq!(hasher(1).hash_one(b"peer"), hasher(1).hash_one(b"peer"));
        assert_ne!(hasher(1).hash_one(b"peer"), hasher(2).hash_one(b"peer"));
        assert_ne!(hasher(1).hash_one(b"peer"), hasher(1).hash_one(b"reep"));
    }
}
