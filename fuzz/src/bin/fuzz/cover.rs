//! Few inputs that together reach nearly all that many reach.

use std::collections::BTreeSet;

/// An input and the edges that it reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// Its file.
    pub file: String,
    /// Numbers of edges.
    pub edges: BTreeSet<u64>,
}

/// Reads what libFuzzer has noted while it merged: two counts, the files, and lines `FT file
/// edges..` where a file goes by its number.
pub fn read(control: &str) -> Vec<Reach> {
    let mut lines = control.lines();
    let count = lines.next().and_then(|count| count.parse().ok()).unwrap_or(0);
    lines.next();
    let new = |file: &str| Reach { file: file.to_owned(), edges: BTreeSet::new() };
    let mut inputs: Vec<_> = lines.by_ref().take(count).map(new).collect();
    for line in lines {
        let mut words = line.split_whitespace();
        if words.next() != Some("FT") {
            continue;
        }
        let number = words.next().and_then(|number| number.parse::<usize>().ok());
        if let Some(input) = number.and_then(|number| inputs.get_mut(number)) {
            input.edges.extend(words.filter_map(|edge| edge.parse::<u64>().ok()));
        }
    }
    inputs
}

/// At most `count` inputs, each the one that adds most to those before it; of two that add as much,
/// the first.
pub fn choose(inputs: &[Reach], count: usize) -> Vec<&Reach> {
    let mut reached = BTreeSet::new();
    let mut chosen = Vec::new();
    while chosen.len() < count {
        let adds = |input: &&Reach| input.edges.difference(&reached).count();
        let Some(best) = inputs.iter().rev().max_by_key(adds).filter(|best| adds(best) > 0) else {
            break;
        };
        reached.extend(&best.edges);
        chosen.push(best);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_add_most_and_no_more_than_needed() {
        let control = "4\n1\nc/a\nc/b\nc/c\nc/d\nSTARTED 0 9\nFT 0 1 2\nCOV 0 7 8\n\
            FT 1 2 3 4\nFT 2 4\nFT 3 5 1 2\n";
        let inputs = read(control);
        assert_eq!(inputs.len(), 4);
        let names = |count| {
            let chosen = choose(&inputs, count);
            chosen.iter().map(|input| input.file.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(names(9), ["c/b", "c/d"]);
        assert_eq!(names(1), ["c/b"]);
        assert!(choose(&read("nonsense"), 9).is_empty());
    }
}
