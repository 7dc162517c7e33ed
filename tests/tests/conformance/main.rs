//! The RFCs: what they require, where it is obeyed, and which test shows it.
//!
//! `tests/conformance.toml` lists the RFCs and their sections, `tests/conformance/` what each
//! requires. Here both ends of every entry are held to exist, every citation in the sources to name
//! a section that there is, and the README to say what the entries say.
//! `UPDATE=1 cargo test -p xlns-tests --test conformance` writes that part of the README anew.

mod citations;
mod list;
mod readme;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use xlns_tests::source::{Source, walk};

use list::{Place, Standing, load};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The files with one of these extensions, by their path from the workspace's folder.
fn sources(extensions: &[&str]) -> BTreeMap<String, Source> {
    let root = root();
    let wanted = |path: &Path| {
        path.extension().is_some_and(|found| extensions.iter().any(|wanted| found == *wanted))
    };
    let paths = walk(&root, &wanted).into_iter();
    let sources = paths.map(|path| {
        let name = path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
        let text = std::fs::read_to_string(&path).unwrap();
        (name.clone(), Source::new(&name, &text))
    });
    sources.collect()
}

#[track_caller]
fn assert_none(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

#[test]
fn every_requirement_is_listed_once_under_a_section_that_exists() {
    let mut found = Vec::new();
    for rfc in load() {
        let mut texts = BTreeSet::new();
        for requirement in &rfc.requirements {
            let place = format!("RFC {} {}", rfc.number, requirement.text);
            if !rfc.sections.contains(&requirement.section) {
                found.push(format!("{place}: there is no section {}", requirement.section));
            }
            if !texts.insert(&requirement.text) {
                found.push(format!("{place}: twice"));
            }
            if requirement.text.contains('\n') || requirement.text.len() > 110 {
                found.push(format!("{place}: is not one line"));
            }
        }
    }
    assert_none("requirements", &found);
}

/// Whether the place says one thing: a name that the file declares, or a text that it has once, its
/// tests left out.
fn is_found(source: &Source, text: &str) -> bool {
    let own = &source.text[..source.tests_start];
    let declared = source.declared();
    let mut names = declared.iter().filter(|(_, offset)| *offset < source.tests_start);
    names.any(|(name, _)| *name == text) || own.matches(text).count() == 1
}

#[test]
fn code_that_obeys_exists() {
    let sources = sources(&["rs", "c", "h"]);
    let mut found = Vec::new();
    for (rfc, requirement) in load().iter().flat_map(|rfc| rfc.each()) {
        let Standing::Obeyed { code: Place { path, text }, .. } = &requirement.standing else {
            continue;
        };
        match sources.get(path) {
            None => found.push(format!("RFC {rfc} {}: no file {path}", requirement.text)),
            Some(source) if !is_found(source, text) => {
                found.push(format!("RFC {rfc} {}: {path} has not once {text}", requirement.text));
            }
            Some(_) => {}
        }
    }
    assert_none("code that is said to obey", &found);
}

/// Whether a file has a test function of this name.
fn is_test(source: &Source, name: &str) -> bool {
    let functions = source.words("fn").filter(|offset| {
        let rest = source.code[offset + 2..].trim_start();
        rest.strip_prefix(name).is_some_and(|rest| rest.starts_with('('))
    });
    let mut attributes = functions.map(|offset| {
        let before = source.code[..offset].trim_end();
        let start = before.rfind(['}', ';', '{']).map_or(0, |end| end + 1);
        &before[start..]
    });
    attributes.any(|attributes| attributes.contains("#[test]"))
}

#[test]
fn tests_that_show_it_exist() {
    let sources = sources(&["rs"]);
    let mut found = Vec::new();
    for (rfc, requirement) in load().iter().flat_map(|rfc| rfc.each()) {
        let Standing::Obeyed { test: Place { path, text }, .. } = &requirement.standing else {
            continue;
        };
        if !sources.get(path).is_some_and(|source| is_test(source, text)) {
            found.push(format!("RFC {rfc} {}: no test {path}: {text}", requirement.text));
        }
    }
    assert_none("tests that are said to show it", &found);
}

/// The part of the tree that a file belongs to, such as `control/src/ppp`: in it a section may be
/// cited without its RFC.
fn part(path: &str) -> String {
    let folders: Vec<_> = path.split('/').take(3).collect();
    folders.join("/").trim_end_matches(".rs").to_owned()
}

#[test]
fn citations_name_sections_that_exist() {
    let rfcs: BTreeMap<u32, _> = load().into_iter().map(|rfc| (rfc.number, rfc)).collect();
    let cited: Vec<_> = sources(&["rs", "c", "h", "toml", "md"])
        .into_iter()
        .map(|(path, source)| (path, citations::of(&source.text)))
        .collect();
    let mut named: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
    for (path, citations) in &cited {
        let numbers = citations.iter().filter_map(|citation| citation.rfc);
        named.entry(part(path)).or_default().extend(numbers);
    }
    let mut found = Vec::new();
    let mut count = 0;
    for (path, citations) in &cited {
        for citation in citations {
            count += 1;
            let place = format!("{path}:{} cites", citation.line);
            if let Some(unknown) = citation.rfc.filter(|rfc| !rfcs.contains_key(rfc)) {
                found.push(format!("{place} RFC {unknown}, that conformance.toml does not list"));
                continue;
            }
            let of = citation.rfc.map_or(named[&part(path)].clone(), |rfc| [rfc].into());
            let exists = |section| of.iter().any(|rfc| rfcs[rfc].sections.contains(section));
            for section in citation.sections.iter().filter(|section| !exists(section)) {
                found.push(format!("{place} section {section}, that RFC {of:?} has not"));
            }
        }
    }
    assert!(count > 100, "{count} citations");
    assert_none("citations", &found);
}

#[test]
fn the_readme_says_what_the_list_says() {
    let rfcs = load();
    for rfc in rfcs.iter().filter(|rfc| !rfc.requirements.is_empty()) {
        println!("RFC {}: {}", rfc.number, readme::Counts::of(rfc));
    }
    let path = root().join("README.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let wanted = readme::replace(&text, &readme::section(&rfcs)).expect("## Conformance");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, wanted).unwrap();
        return;
    }
    let told = "README.md: UPDATE=1 cargo test -p xlns-tests --test conformance writes it anew";
    let lines = text.lines().zip(wanted.lines());
    let first = lines.enumerate().find(|(_, (there, wanted))| there != wanted);
    assert!(text == wanted, "{told}; {first:?}");
}
