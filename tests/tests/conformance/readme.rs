//! The README's section, made from the list.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use crate::list::{Kind, Rfc, Standing};

const HEADING: &str = "## Conformance\n";

/// What is around the figures.
const BEFORE: &str = "\
`tests/conformance/` has an entry for each MUST and SHOULD of the RFCs below, in our own words: the
line that obeys and the test that shows it, or why not. `make test` holds both ends to exist, every
citation in the sources to name a section that there is, and this section to be made from the
entries (`UPDATE=1 cargo test -p xlns-tests --test conformance`). The state tables of RFC 1661 and
RFC 2661 are in snapshots. Seen to work end to end: stock xl2tpd and pppd of Debian.
";

/// Longest line.
const COLUMNS: usize = 100;

/// How many requirements stand how.
pub struct Counts {
    obeyed: usize,
    other: usize,
    open: usize,
}

impl Counts {
    pub fn of(rfc: &Rfc) -> Self {
        let mut counts = Self { obeyed: 0, other: 0, open: 0 };
        for requirement in &rfc.requirements {
            match requirement.standing {
                Standing::Obeyed { .. } => counts.obeyed += 1,
                Standing::Not { kind, .. } if kind.applies() => counts.open += 1,
                Standing::Not { .. } => counts.other += 1,
            }
        }
        counts
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { obeyed, other, open } = self;
        write!(formatter, "{obeyed} obeyed and tested, {open} not, {other} do not apply")
    }
}

/// The section without its heading.
pub fn section(rfcs: &[Rfc]) -> String {
    let rfcs: Vec<_> = rfcs.iter().filter(|rfc| !rfc.requirements.is_empty()).collect();
    let mut text = format!("{BEFORE}\n");
    text += "| RFC | requirements | obeyed and tested | not, or not always | do not apply |\n";
    text += "|---|---|---|---|---|\n";
    for rfc in &rfcs {
        let Counts { obeyed, other, open } = Counts::of(rfc);
        let Rfc { number, title, requirements, .. } = rfc;
        let all = requirements.len();
        writeln!(text, "| {number}, {title} | {all} | {obeyed} | {open} | {other} |").unwrap();
    }
    text += "\nNot obeyed, not always, or without a test:\n\n";
    for rfc in &rfcs {
        open(rfc, &mut text);
    }
    text += "\nWhat does not apply, with the sections that say it:\n\n";
    for rfc in &rfcs {
        other(rfc, &mut text);
    }
    text
}

/// A line for each requirement that would have to be obeyed.
fn open(rfc: &Rfc, text: &mut String) {
    for requirement in &rfc.requirements {
        let Standing::Not { kind, reason } = &requirement.standing else { continue };
        if !kind.applies() {
            continue;
        }
        let (section, level) = (&requirement.section, &requirement.level);
        let word = match kind {
            Kind::Deviation => String::new(),
            kind => format!("{}: ", kind.word()),
        };
        let what = lower_first(&requirement.text);
        let number = rfc.number;
        let line = format!("- RFC {number} section {section}, {level}: {what}. *{word}{reason}.*");
        text.push_str(&wrapped(&line));
    }
}

/// The reasons why requirements do not apply, with their sections.
fn other(rfc: &Rfc, text: &mut String) {
    let mut reasons: BTreeMap<(Kind, &str), Vec<&str>> = BTreeMap::new();
    for requirement in &rfc.requirements {
        let Standing::Not { kind, reason } = &requirement.standing else { continue };
        if !kind.applies() {
            let sections = reasons.entry((*kind, reason)).or_default();
            if sections.last() != Some(&requirement.section.as_str()) {
                sections.push(&requirement.section);
            }
        }
    }
    let reasons: Vec<_> = reasons
        .into_iter()
        .map(|((_, reason), sections)| format!("{reason} ({})", sections.join(", ")))
        .collect();
    if !reasons.is_empty() {
        text.push_str(&wrapped(&format!("- RFC {}: {}.", rfc.number, reasons.join("; "))));
    }
}

/// A sentence as it goes on after a colon; names in capitals stay.
fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    match (characters.next(), characters.clone().next()) {
        (Some(first), Some(second)) if !second.is_uppercase() && second != 'P' => {
            first.to_lowercase().chain(characters).collect()
        }
        _ => text.to_owned(),
    }
}

/// An item of a list in lines of at most [`COLUMNS`].
fn wrapped(item: &str) -> String {
    let mut lines = vec![String::new()];
    for word in item.split(' ') {
        let line = lines.last_mut().unwrap();
        if line.is_empty() {
            line.push_str(word);
        } else if line.len() + 1 + word.len() <= COLUMNS {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(format!("  {word}"));
        }
    }
    lines.join("\n") + "\n"
}

/// The README with another section in the place of the one that it has.
pub fn replace(readme: &str, section: &str) -> Option<String> {
    let (before, rest) = readme.split_once(HEADING)?;
    let after = rest.find("\n## ").map_or("", |end| &rest[end..]);
    Some(format!("{before}{HEADING}\n{section}{after}"))
}
