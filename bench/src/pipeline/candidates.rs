//! The other class of route table that was looked at: a trie of 64-way nodes that are packed by bit
//! maps, behind a root of 2^18 entries. Built at once from a list of prefixes, to be compared with the
//! table in use on the same routes; it is not changed in place.

/// A prefix: bits from the most significant one on, how many count, and what it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Prefix {
    pub(super) key: u128,
    pub(super) length: u8,
    pub(super) value: u32,
}

const ROOT_BITS: u32 = 18;
const STRIDE: u32 = 6;
/// An entry of the root that is a value, not a node.
const LEAF: u32 = 1 << 31;

/// 64 ways: nodes where a bit of `children` is set, values elsewhere; equal neighbouring values are
/// stored once, at the bits of `starts`.
#[derive(Debug, Clone, Copy, Default)]
struct Node {
    children: u64,
    starts: u64,
    first_child: u32,
    first_value: u32,
}

/// The trie.
#[derive(Debug)]
pub(super) struct Packed {
    root: Vec<u32>,
    nodes: Vec<Node>,
    values: Vec<u32>,
}

impl Packed {
    /// Of these prefixes.
    pub(super) fn new(mut prefixes: Vec<Prefix>) -> Self {
        prefixes.sort_unstable();
        let mut packed = Self { root: Vec::new(), nodes: Vec::new(), values: Vec::new() };
        let root = ways(&prefixes, 0, ROOT_BITS, 0);
        for Way { value, below } in root {
            let entry = if below.is_empty() {
                LEAF | value
            } else {
                packed.nodes.push(Node::default());
                let index = packed.nodes.len() - 1;
                packed.fill(index, below, ROOT_BITS, value);
                index as u32
            };
            packed.root.push(entry);
        }
        packed
    }

    /// Makes the node at `index` of prefixes longer than `depth` bits.
    fn fill(&mut self, index: usize, prefixes: &[Prefix], depth: u32, inherited: u32) {
        let ways = ways(prefixes, depth, STRIDE, inherited);
        let first_child = self.nodes.len();
        let mut node = Node {
            first_child: first_child as u32,
            first_value: self.values.len() as u32,
            ..Node::default()
        };
        let mut last = None;
        for (bit, way) in ways.iter().enumerate() {
            if !way.below.is_empty() {
                node.children |= 1 << bit;
            } else if last != Some(way.value) {
                node.starts |= 1 << bit;
                self.values.push(way.value);
                last = Some(way.value);
            }
        }
        self.nodes[index] = node;
        self.nodes.resize(first_child + node.children.count_ones() as usize, Node::default());
        let children = ways.iter().filter(|way| !way.below.is_empty());
        for (number, way) in children.enumerate() {
            self.fill(first_child + number, way.below, depth + STRIDE, way.value);
        }
    }

    /// The value of the longest prefix that matches; 0: none.
    #[inline]
    pub(super) fn lookup(&self, key: u128) -> u32 {
        let entry = self.root[(key >> (u128::BITS - ROOT_BITS)) as usize];
        if entry & LEAF != 0 {
            return entry & !LEAF;
        }
        let (mut node, mut depth) = (&self.nodes[entry as usize], ROOT_BITS);
        loop {
            let bit = (key << depth >> (u128::BITS - STRIDE)) as u32;
            // This bit and those below it.
            let mask = u64::MAX >> (u64::BITS - 1 - bit);
            if node.children >> bit & 1 == 0 {
                let place = node.first_value + (node.starts & mask).count_ones() - 1;
                return self.values[place as usize];
            }
            let place = node.first_child + (node.children & mask).count_ones() - 1;
            node = &self.nodes[place as usize];
            depth += STRIDE;
        }
    }

    /// Octets of it all.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.root.as_slice())
            + size_of_val(self.nodes.as_slice())
            + size_of_val(self.values.as_slice())
    }
}

/// One way of a node: what the prefixes that end in the node say of it, and the longer ones.
struct Way<'a> {
    value: u32,
    below: &'a [Prefix],
}

/// All ways of a node of so many bits at `depth`, over sorted prefixes of its part alone.
fn ways(prefixes: &[Prefix], depth: u32, bits: u32, inherited: u32) -> Vec<Way<'_>> {
    let end = depth + bits;
    let at = |key: u128| (key << depth >> (u128::BITS - bits)) as usize;
    let mut ways: Vec<_> =
        (0..1usize << bits).map(|_| Way { value: inherited, below: &[] as &[Prefix] }).collect();
    // Shorter ones come first among those of one key, and cover what longer ones say later.
    // What ended above is inherited.
    let ends_here = |prefix: &&Prefix| {
        let length = u32::from(prefix.length);
        length <= end && (depth == 0 || length > depth)
    };
    let mut short: Vec<_> = prefixes.iter().filter(ends_here).collect();
    short.sort_by_key(|prefix| prefix.length);
    for prefix in short {
        let first = at(prefix.key);
        let count = 1 << (end - u32::from(prefix.length));
        ways[first..first + count].iter_mut().for_each(|way| way.value = prefix.value);
    }
    let mut rest = prefixes;
    while let Some(first) = rest.first() {
        let way = at(first.key);
        let length = rest.partition_point(|prefix| at(prefix.key) == way);
        let (here, others) = rest.split_at(length);
        if here.iter().any(|prefix| u32::from(prefix.length) > end) {
            ways[way].below = here;
        }
        rest = others;
    }
    ways
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_a_linear_search() {
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        let prefixes: Vec<_> = (1..400)
            .map(|value| {
                let length = 1 + (next() % 128) as u8;
                // Few distinct bits, so that prefixes nest.
                let bits = u128::from(next() & 0x8001_0000_0400_0003) << 64
                    | u128::from(next() & 0x8000_0000_8000_0001);
                Prefix { key: bits & (u128::MAX << (128 - u32::from(length))), length, value }
            })
            .collect();
        let mut unique = prefixes.clone();
        unique.sort_unstable();
        unique.dedup_by_key(|prefix| (prefix.key, prefix.length));
        let packed = Packed::new(unique.clone());
        for probe in prefixes.iter().flat_map(|p| [p.key, p.key | 1, p.key ^ 1 << 90, !p.key]) {
            let matches = |p: &&Prefix| (p.key ^ probe).leading_zeros() >= u32::from(p.length);
            let best = unique.iter().filter(matches).max_by_key(|prefix| prefix.length);
            assert_eq!(packed.lookup(probe), best.map_or(0, |prefix| prefix.value), "{probe:x}");
        }
    }
}
