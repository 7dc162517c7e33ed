//! The habits of this code base that a compiler does not know. The lists of exceptions only shrink:
//! an entry that is not needed any more fails, too.

use std::path::{Path, PathBuf};

use xlns_tests::source::{Source, walk};

/// Lines of code in a function.
const FUNCTION_LINES_MAX: usize = 70;

/// Lines of code in a file, its unit tests not counted.
const FILE_LINES_MAX: usize = 400;

/// Functions that are longer: path and name.
const LONG_FUNCTIONS: &[(&str, &str)] = &[
    // The table of RFC 1661 section 4.1, whole.
    ("control/src/ppp/automaton.rs", "transition"),
];

/// Files that are longer.
const LONG_FILES: &[&str] = &[];

/// Where `unsafe` may stand: frames, rings on shared memory, and reclamation.
const UNSAFE_PLACES: &[&str] = &[
    "dataplane/src/frame.rs",
    "dataplane/src/port/xsk/",
    "dataplane/src/spsc.rs",
    "dataplane/src/tables/epoch.rs",
    "dataplane/src/tables/epoch/",
    // The counting allocator and the time-stamp counter.
    "bench/src/allocation.rs",
    "bench/src/clock.rs",
    // Calls of libbpf that its safe bindings do not have.
    "bpf/src/link.rs",
];

/// The seams where the clock, a sleep or true randomness may be silenced into clippy's rules.
const CLOCK_PLACES: &[&str] = &[
    "bench/",
    "bpf/tests/",
    "control/src/bin/",
    "control/src/event_loop.rs",
    "control/src/event_loop/",
    "dataplane/src/bin/",
    "dataplane/src/server.rs",
    "dataplane/src/worker.rs",
    "dataplane/src/worker/",
    "tests/src/deadline.rs",
    "control/tests/",
];

/// Which code must not name what: a folder or file, and words that its own code may not contain.
/// Inside of `control`, protocols know nothing of one another: `call.rs` alone joins them.
const WALLS: &[(&str, &[&str])] = &[
    (
        "dataplane/src/pipeline/",
        &[
            "std::time",
            "std::thread",
            "std::fs",
            "std::io",
            "std::os",
            "nix",
            "libc",
            "mio",
            "crate::worker",
            "crate::server",
            "crate::cpu",
            "crate::port::xsk",
            "crate::port::tun",
        ],
    ),
    (
        "dataplane/src/tables/",
        &["std::time", "std::fs", "crate::worker", "crate::server", "crate::pipeline"],
    ),
    (
        "dataplane/src/wire/",
        &[
            "std::time",
            "std::io",
            "crate::tables",
            "crate::pipeline",
            "crate::port",
            "crate::worker",
        ],
    ),
    (
        "control/src/l2tp/",
        &[
            "std::time::Instant",
            "std::net::UdpSocket",
            "mio",
            "crate::ppp",
            "crate::radius",
            "crate::pool",
            "crate::lns",
            "crate::call",
            "crate::config",
        ],
    ),
    (
        "control/src/ppp/",
        &[
            "std::time::Instant",
            "mio",
            "crate::l2tp",
            "crate::radius",
            "crate::pool",
            "crate::lns",
            "crate::call",
            "crate::config",
        ],
    ),
    ("control/src/pool.rs", &["mio", "crate::l2tp", "crate::ppp", "crate::lns", "crate::call"]),
    ("control/src/lns.rs", &["std::time::Instant", "std::net::UdpSocket", "mio", "nix"]),
    ("control/src/lns/", &["std::time::Instant", "std::net::UdpSocket", "mio", "nix"]),
    ("control/src/call.rs", &["std::time::Instant", "std::net::UdpSocket", "mio", "nix"]),
];

/// The parts of the data plane that control may name: the contract, and the values it carries.
const CONTRACT: &[&str] = &["api", "wire", "counters", "quality", "verdict"];

/// Names in the data plane beyond the contract that control uses: path and name.
const BEYOND_CONTRACT: &[(&str, &str)] =
    &[("control/src/config/schema.rs", "frame::FRAME_BYTES_MAX")];

/// Parsers and machines that peers feed: no octet may end the process.
const FED_BY_PEERS: &[&str] =
    &["control/src/l2tp/", "control/src/ppp/", "dataplane/src/pipeline/", "dataplane/src/wire/"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn sources(extensions: &[&str]) -> Vec<Source> {
    let root = root();
    let wanted = |path: &Path| {
        path.extension()
            .is_some_and(|extension| extensions.iter().any(|wanted| extension == *wanted))
    };
    let sources: Vec<_> = walk(&root, &wanted)
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
            Source::new(&name, &std::fs::read_to_string(&path).unwrap())
        })
        .collect();
    assert!(!sources.is_empty(), "no sources below {}", root.display());
    sources
}

fn is_below(path: &str, places: &[&str]) -> bool {
    places
        .iter()
        .any(|place| if place.ends_with('/') { path.starts_with(place) } else { path == *place })
}

#[track_caller]
fn assert_none(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

#[test]
fn functions_are_short() {
    let mut exceptions: Vec<_> = LONG_FUNCTIONS.to_vec();
    let mut found = Vec::new();
    for source in sources(&["rs"]) {
        for function in source.functions() {
            if function.lines <= FUNCTION_LINES_MAX {
                continue;
            }
            let before = exceptions.len();
            exceptions.retain(|(path, name)| *path != source.path || *name != function.name);
            if exceptions.len() == before
                && !LONG_FUNCTIONS.contains(&(&source.path, &function.name))
            {
                found.push(format!(
                    "{}:{} {} has {}",
                    source.path, function.line, function.name, function.lines
                ));
            }
        }
    }
    found.extend(
        exceptions.iter().map(|(path, name)| format!("{path}: {name} is short now: off the list")),
    );
    assert_none("functions have at most 70 lines: split by task", &found);
}

#[test]
fn files_are_short() {
    let mut exceptions = LONG_FILES.to_vec();
    let mut found = Vec::new();
    for source in sources(&["rs", "c", "h"]) {
        if source.own_lines() <= FILE_LINES_MAX {
            continue;
        }
        let before = exceptions.len();
        exceptions.retain(|path| *path != source.path);
        if exceptions.len() == before {
            found.push(format!("{} has {}", source.path, source.own_lines()));
        }
    }
    found.extend(exceptions.iter().map(|path| format!("{path} is short now: off the list")));
    assert_none("files have at most 400 lines of code besides their tests: split by task", &found);
}

#[test]
fn unsafe_stands_where_it_may_and_says_why() {
    let mut found = Vec::new();
    for source in sources(&["rs"]) {
        let lines: Vec<_> = source.text.lines().collect();
        for offset in source.words("unsafe") {
            let line = source.line_at(offset);
            let place = format!("{}:{line}", source.path);
            if !is_below(&source.path, UNSAFE_PLACES) {
                found.push(format!("{place}: unsafe code is for {UNSAFE_PLACES:?}"));
            }
            let says_why = lines[..line]
                .iter()
                .rev()
                .take(12)
                .any(|line| line.contains("SAFETY:") || line.contains("# Safety"));
            if !says_why {
                found.push(format!("{place}: no // SAFETY: above it"));
            }
        }
    }
    assert_none("unsafe code", &found);
}

#[test]
fn the_outside_has_its_seams() {
    let mut found = Vec::new();
    for source in sources(&["rs"]) {
        for (offset, _) in source.code.match_indices("disallowed_methods") {
            if !is_below(&source.path, CLOCK_PLACES) {
                found.push(format!("{}:{}", source.path, source.line_at(offset)));
            }
        }
    }
    assert_none("clock, sleep and randomness are for the seams alone", &found);
}

#[test]
fn silenced_lints_say_why() {
    let mut found = Vec::new();
    for source in sources(&["rs"]) {
        for pattern in ["#[allow(", "#![allow(", "#[expect(", "#![expect("] {
            for (offset, _) in source.own_code().match_indices(pattern) {
                let end =
                    source.code[offset..].find(")]").map_or(source.code.len(), |end| offset + end);
                if !source.code[offset..end].contains("reason") {
                    found.push(format!("{}:{}", source.path, source.line_at(offset)));
                }
            }
        }
    }
    assert_none("a silenced lint gives its reason", &found);
}

#[test]
fn walls_stand() {
    let mut found = Vec::new();
    for source in sources(&["rs"]) {
        for (place, words) in WALLS {
            if !is_below(&source.path, &[place]) {
                continue;
            }
            for word in *words {
                for (offset, _) in source.own_code().match_indices(word) {
                    let is_whole = |character: Option<char>| {
                        !character.is_some_and(|found| found.is_alphanumeric() || found == '_')
                    };
                    let code = &source.code;
                    if is_whole(code[..offset].chars().next_back())
                        && is_whole(code[offset + word.len()..].chars().next())
                    {
                        found.push(format!(
                            "{}:{} names {word}",
                            source.path,
                            source.line_at(offset)
                        ));
                    }
                }
            }
        }
    }
    assert_none("dependencies run one way", &found);
}

#[test]
fn control_knows_the_data_plane_by_its_contract() {
    let mut exceptions = BEYOND_CONTRACT.to_vec();
    let mut found = Vec::new();
    for source in sources(&["rs"]) {
        if !source.path.starts_with("control/src/") {
            continue;
        }
        for (offset, name) in source.own_code().match_indices("xlns_dataplane::") {
            let rest = &source.code[offset + name.len()..];
            let path: String = rest
                .chars()
                .take_while(|character| character.is_alphanumeric() || "_:".contains(*character))
                .collect();
            let module = path.split("::").next().unwrap_or_default();
            if CONTRACT.contains(&module) {
                continue;
            }
            let before = exceptions.len();
            exceptions.retain(|(file, name)| *file != source.path || *name != path);
            if exceptions.len() == before {
                found.push(format!("{}:{} names {path}", source.path, source.line_at(offset)));
            }
        }
    }
    found.extend(
        exceptions.iter().map(|(file, name)| format!("{file}: {name} is gone: off the list")),
    );
    assert_none("control names the data plane's api and wire only", &found);
}

#[test]
fn names_say_something() {
    const EMPTY: &[&str] = &["manager", "helper", "helpers", "util", "utils", "common", "misc"];
    let mut found = Vec::new();
    for source in sources(&["rs"]) {
        let stem = Path::new(&source.path).file_stem().unwrap_or_default().to_string_lossy();
        if EMPTY.contains(&&*stem) {
            found.push(source.path.clone());
        }
        for (name, offset) in source.declared() {
            let words = words_of(name);
            let is_empty = words.iter().any(|word| EMPTY.contains(&word.as_str()));
            if is_empty || name.starts_with("get_") {
                found.push(format!("{}:{} {name}", source.path, source.line_at(offset)));
            }
        }
    }
    assert_none("names without meaning (get_, manager, helper, util, common, misc)", &found);
}

/// `FooBar` and `foo_bar` in lower-case words.
fn words_of(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for character in name.chars() {
        if character == '_' || character.is_uppercase() {
            words.push(String::new());
        }
        if let (true, Some(word)) = (character != '_', words.last_mut()) {
            word.extend(character.to_lowercase());
        }
    }
    words
}

#[test]
fn peers_cannot_end_the_process() {
    let mut found = Vec::new();
    for source in sources(&["rs"]) {
        if !is_below(&source.path, FED_BY_PEERS) {
            continue;
        }
        for pattern in [".unwrap()", ".expect(", "panic!(", "unreachable!(", "todo!("] {
            for (offset, _) in source.own_code().match_indices(pattern) {
                found.push(format!("{}:{} {pattern}", source.path, source.line_at(offset)));
            }
        }
    }
    assert_none("code that peers feed does not panic", &found);
}

#[test]
fn files_name_no_developers_machine() {
    // Written apart, so that this file does not find itself.
    let folders = [["/ho", "me/"], ["/ro", "ot/"], ["/wo", "rk/"], ["/tmp", "/wt"]];
    let kinds = ["rs", "c", "h", "toml", "md", "snap", "service", "yml", "sh"];
    let root = root();
    let wanted = |path: &Path| {
        path.extension().is_none_or(|extension| kinds.iter().any(|kind| extension == *kind))
    };
    let mut found = Vec::new();
    for path in walk(&root, &wanted) {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        for (number, line) in text.lines().enumerate() {
            if folders.iter().any(|[a, b]| line.contains(&format!("{a}{b}"))) {
                found.push(format!(
                    "{}:{}: {line}",
                    path.strip_prefix(&root).unwrap().display(),
                    number + 1
                ));
            }
        }
    }
    assert_none("paths of a developer's machine", &found);
}

#[test]
fn the_changelog_has_a_place_for_the_next_change() {
    let text = std::fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    let section = text.split_once("## Unreleased").expect("## Unreleased").1;
    let section = section.split("\n## ").next().unwrap_or_default();
    let bullets: Vec<_> = section.lines().filter(|line| line.starts_with("- ")).collect();
    for bullet in &bullets {
        let area = bullet.trim_start_matches("- ").split(':').next().unwrap_or_default();
        assert!(
            bullet.contains(':') && area.len() < 40,
            "a bullet begins with its area (`l2tp: ..`): {bullet}"
        );
    }
}
