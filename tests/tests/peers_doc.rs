//! `docs/peers.md` and the source hold together: each row names tests that exist, each scripted peer
//! has a row, and each row that a comment refers to is there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use xlns_tests::source::walk;

/// Where the scripted peers are.
const PEERS: &str = "tests/tests/peers/";

/// How a comment begins to speak of the table.
const MENTION: &str = "docs/peers.md row";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Number and last cell of each row.
fn rows() -> Vec<(u32, String)> {
    let row = |line: &str| {
        let cells: Vec<_> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
        let number = cells[0].parse().ok()?;
        assert_eq!(cells.len(), 5, "{line}");
        Some((number, cells[4].to_owned()))
    };
    read("docs/peers.md").lines().filter_map(row).collect()
}

/// `path: function` of the tests that a cell names.
fn named(cell: &str) -> Vec<(String, String)> {
    let tests = cell.split('`').skip(1).step_by(2).map(|test| {
        let (path, function) = test.split_once(": ").unwrap_or_else(|| panic!("{test}"));
        (path.to_owned(), function.to_owned())
    });
    tests.collect()
}

/// The functions of a text that are tests.
fn tests_in(text: &str) -> BTreeSet<String> {
    let after = text.split("#[test]").skip(1);
    let names =
        after.filter_map(|rest| rest.split_once("fn ")?.1.split_once('(').map(|(name, _)| name));
    names.map(str::to_owned).collect()
}

/// The rows that a text mentions: "row 5", "rows 1 and 8", "rows 16, 17", also across lines.
fn mentioned(text: &str) -> Vec<u32> {
    let lines = text.lines().map(|line| line.trim().trim_start_matches(['/', '!']).trim());
    let text = lines.collect::<Vec<_>>().join(" ");
    let mut found = Vec::new();
    for rest in text.split(MENTION).skip(1) {
        let rest = rest.strip_prefix('s').unwrap_or(rest);
        let words = rest.split([' ', ',']).filter(|word| !matches!(*word, "" | "and" | "to"));
        let number =
            |word: &str| word.trim_end_matches(|end: char| !end.is_ascii_digit()).parse().ok();
        for word in words {
            let Some(number) = number(word) else { break };
            found.push(number);
            if word.ends_with(['.', ')', ':', ';']) {
                break;
            }
        }
    }
    found
}

#[test]
fn rows_are_numbered_and_name_tests_that_exist() {
    let rows = rows();
    let numbers: Vec<_> = rows.iter().map(|row| row.0).collect();
    assert_eq!(numbers, (1..=46).collect::<Vec<_>>());
    for (number, cell) in rows {
        let tests = named(&cell);
        assert!(cell == "not yet" || !tests.is_empty(), "row {number}: {cell}");
        for (path, function) in tests {
            assert!(
                tests_in(&read(&path)).contains(&function),
                "row {number}: no {path}: {function}"
            );
        }
    }
}

#[test]
fn every_scripted_peer_has_a_row() {
    let named: BTreeSet<_> = rows().iter().flat_map(|row| named(&row.1)).collect();
    for path in walk(&root().join(PEERS), &|_| true) {
        let path = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        for function in tests_in(&read(&path)) {
            let test = (path.clone(), function);
            assert!(named.contains(&test), "{}: {} is in no row", test.0, test.1);
        }
    }
}

#[test]
fn comments_refer_to_rows_that_exist() {
    let rows: BTreeSet<_> = rows().iter().map(|row| row.0).collect();
    let sources = walk(&root(), &|path| path.extension().is_some_and(|end| end == "rs"));
    let mut count = 0;
    for path in sources.iter().filter(|path| !path.ends_with("tests/tests/peers_doc.rs")) {
        for number in mentioned(&std::fs::read_to_string(path).unwrap()) {
            assert!(rows.contains(&number), "{}: there is no row {number}", path.display());
            count += 1;
        }
    }
    assert!(count > 0, "no comment refers to the table");
}

#[test]
fn mentions_are_read_in_all_their_forms() {
    assert_eq!(mentioned("// docs/peers.md row 5: it waits 6 s."), [5]);
    assert_eq!(mentioned("/// (docs/peers.md rows 16, 17).\n/// 18"), [16, 17]);
    assert_eq!(mentioned("//! docs/peers.md rows 1 and 8: in 8 octets"), [1, 8]);
    assert_eq!(mentioned("    /// so (docs/peers.md\n    /// row 38), whatever"), [38]);
    assert!(mentioned("docs/peers.md has rows").is_empty());
}
