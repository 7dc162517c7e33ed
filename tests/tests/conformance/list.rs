//! The list as it is on disk.

use std::collections::BTreeSet;

use serde::Deserialize;

/// One RFC.
pub struct Rfc {
    pub number: u32,
    pub title: String,
    /// In their order.
    pub sections: Vec<String>,
    pub requirements: Vec<Requirement>,
}

/// One MUST or SHOULD, in our words.
pub struct Requirement {
    pub section: String,
    pub level: String,
    pub text: String,
    pub standing: Standing,
}

/// What became of it.
pub enum Standing {
    Obeyed { code: Place, test: Place },
    Not { kind: Kind, reason: String },
}

/// A file, and a name or text in it.
pub struct Place {
    pub path: String,
    pub text: String,
}

/// Why a requirement is not obeyed: the word before the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `role`: binds a side that xlns is not.
    Role,
    /// `unused`: belongs to something that is optional and not used.
    Unused,
    /// `people`: addresses people, not programs.
    People,
    /// `later`: not obeyed yet.
    Later,
    /// `deviation`: not obeyed, or not always.
    Deviation,
    /// `no test yet`: obeyed, as far as one can see.
    Untested,
}

impl Kind {
    const WORDS: [(&str, Self); 6] = [
        ("role", Self::Role),
        ("unused", Self::Unused),
        ("people", Self::People),
        ("later", Self::Later),
        ("deviation", Self::Deviation),
        ("no test yet", Self::Untested),
    ];

    /// Whether it would have to be obeyed.
    pub fn applies(self) -> bool {
        match self {
            Self::Role | Self::Unused | Self::People => false,
            Self::Later | Self::Deviation | Self::Untested => true,
        }
    }

    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, kind)| *kind == self).map_or("", |(word, _)| word)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    rfc: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    number: u32,
    title: String,
    sections: String,
    #[serde(default)]
    requirements: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    requirement: Vec<Line>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    section: String,
    level: String,
    requirement: String,
    code: Option<String>,
    test: Option<String>,
    not: Option<String>,
}

fn read<T: serde::de::DeserializeOwned>(path: &str) -> T {
    let path = crate::root().join("tests").join(path);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    toml::from_str(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

/// Everything, by the number of the RFC.
pub fn load() -> Vec<Rfc> {
    let mut files = BTreeSet::new();
    let mut rfcs: Vec<Rfc> = read::<Index>("conformance.toml")
        .rfc
        .into_iter()
        .map(|entry| {
            let sections: Vec<_> = entry.sections.split_whitespace().map(str::to_owned).collect();
            let lines = entry.requirements.iter().flat_map(|name| {
                assert!(files.insert(name.clone()), "{name}: twice");
                let lines = read::<File>(&format!("conformance/{name}.toml")).requirement;
                let place = |line: &Line| sections.iter().position(|name| *name == line.section);
                assert!(lines.is_sorted_by_key(place), "{name}: in the order of the sections");
                lines
            });
            let requirements = lines.map(Requirement::from).collect();
            Rfc { number: entry.number, title: entry.title, requirements, sections }
        })
        .collect();
    rfcs.sort_by_key(|rfc| rfc.number);
    assert!(rfcs.windows(2).all(|pair| pair[0].number != pair[1].number), "an RFC is listed twice");
    let folder = std::fs::read_dir(crate::root().join("tests/conformance")).unwrap();
    for file in folder.flatten() {
        let name = file.file_name().to_string_lossy().replace(".toml", "");
        assert!(files.contains(&name), "conformance/{name}.toml is in no RFC's list");
    }
    rfcs
}

impl Rfc {
    /// Its requirements with its number.
    pub fn each(&self) -> impl Iterator<Item = (u32, &Requirement)> {
        self.requirements.iter().map(|requirement| (self.number, requirement))
    }
}

impl From<Line> for Requirement {
    fn from(line: Line) -> Self {
        let text = line.requirement;
        let levels = ["MUST", "MUST NOT", "SHOULD", "SHOULD NOT"];
        assert!(levels.contains(&line.level.as_str()), "{text}: level {}", line.level);
        let standing = match (line.code, line.test, line.not) {
            (Some(code), Some(test), None) => {
                Standing::Obeyed { code: Place::new(&text, &code), test: Place::new(&text, &test) }
            }
            (None, None, Some(reason)) => {
                let (word, reason) = reason.split_once(": ").unwrap_or_default();
                let kind = Kind::WORDS.iter().find(|(known, _)| *known == word);
                let (_, kind) = kind.unwrap_or_else(|| panic!("{text}: not = {word:?}"));
                Standing::Not { kind: *kind, reason: reason.to_owned() }
            }
            _ => panic!("{text}: either `code` and `test`, or `not`"),
        };
        Self { section: line.section, level: line.level, text, standing }
    }
}

impl Place {
    fn new(requirement: &str, place: &str) -> Self {
        let (path, text) =
            place.split_once(": ").unwrap_or_else(|| panic!("{requirement}: `path: text`"));
        Self { path: path.to_owned(), text: text.to_owned() }
    }
}
