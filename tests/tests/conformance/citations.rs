//! Citations of RFCs in sources and documents.

/// An RFC that is named, with the sections behind it; or sections alone, of an RFC that the text
/// names elsewhere.
#[derive(Debug, PartialEq, Eq)]
pub struct Citation {
    pub line: usize,
    pub rfc: Option<u32>,
    pub sections: Vec<String>,
}

/// A word and its line.
type Word<'a> = (usize, &'a str);

/// All citations of a text. A citation may go on in the next line of a comment.
pub fn of(text: &str) -> Vec<Citation> {
    let marks = ["//!", "///", "//", "/*", "*/", "*", "#"];
    let words: Vec<Word<'_>> = text
        .lines()
        .enumerate()
        .flat_map(|(number, line)| {
            let line = line.trim_start();
            let mark = marks.iter().find_map(|mark| line.strip_prefix(mark));
            mark.unwrap_or(line).split_whitespace().map(move |word| (number + 1, word))
        })
        .collect();
    let mut found = Vec::new();
    let mut place = 0;
    while let Some((line, word)) = words.get(place).copied() {
        place += 1;
        let Some((_, after)) = word.rsplit_once("RFC") else {
            let (sections, length) = sections(&words[place - 1..]);
            place += length.saturating_sub(1);
            if !sections.is_empty() {
                found.push(Citation { line, rfc: None, sections });
            }
            continue;
        };
        let number = match after.trim_start_matches('-') {
            "" => words.get(place).map_or("", |(_, word)| word),
            joined => joined,
        };
        let Some(rfc) = leading_number(number) else { continue };
        place += usize::from(after.is_empty());
        let ends = number.ends_with([')', '.', ';', ':']);
        let (sections, length) = if ends { (Vec::new(), 0) } else { sections(&words[place..]) };
        place += length;
        found.push(Citation { line, rfc: Some(rfc), sections });
        // More numbers behind commas.
        let mut comma = number.ends_with(',');
        while let Some((line, word)) = words.get(place).copied().filter(|_| comma) {
            let Some(rfc) = leading_number(word).filter(|rfc| *rfc >= 1000) else { break };
            found.push(Citation { line, rfc: Some(rfc), sections: Vec::new() });
            comma = word.ends_with(',');
            place += 1;
        }
    }
    found
}

fn leading_number(word: &str) -> Option<u32> {
    let end = word.find(|character: char| !character.is_ascii_digit()).unwrap_or(word.len());
    word[..end].parse().ok()
}

/// The sections that a list names, and how many words it takes.
fn sections(words: &[Word<'_>]) -> (Vec<String>, usize) {
    let mut found = Vec::new();
    let (mut many, mut appendix, mut goes_on) = (false, false, false);
    for (length, (_, word)) in words.iter().enumerate() {
        match word.trim_start_matches('(').to_lowercase().as_str() {
            "section" => (many, appendix) = (false, false),
            "sections" => (many, appendix) = (true, false),
            "appendix" => (many, appendix) = (false, true),
            "appendices" => (many, appendix) = (true, true),
            "and" | "to" | "or" if many && !found.is_empty() => {}
            _ => {
                let end = word.find(|found: char| found != '.' && !found.is_ascii_alphanumeric());
                let name = word[..end.unwrap_or(word.len())].trim_end_matches('.');
                if !goes_on || !is_section(name, appendix) {
                    return (found, length);
                }
                found.push(name.to_owned());
                let rest = &word[name.len()..];
                if !(rest == "," || rest.is_empty()) {
                    return (found, length + 1);
                }
                // What follows belongs to the list of a plural, or begins with a word of its own.
                goes_on = many;
                continue;
            }
        }
        goes_on = true;
    }
    (found, words.len())
}

/// `5.8`, `7.2.1`; `A`, `B.2` in appendices.
fn is_section(name: &str, appendix: bool) -> bool {
    let mut parts = name.split('.');
    let is_number =
        |part: &str| !part.is_empty() && part.chars().all(|character| character.is_ascii_digit());
    let first = parts.next().unwrap_or_default();
    let first = if appendix {
        first.len() == 1 && first.starts_with(|letter: char| letter.is_ascii_uppercase())
    } else {
        is_number(first)
    };
    first && parts.all(is_number)
}

#[test]
fn citations_are_read_in_all_their_forms() {
    // Written apart, so that these are no citations themselves.
    let read = |text: &str| {
        let text = text.replace("R-C", "RFC").replace('§', "section").replace('¶', "appendix");
        let found = of(&text);
        let found = found.into_iter();
        found.map(|c| (c.line, c.rfc.unwrap_or(0), c.sections.join(" "))).collect::<Vec<_>>()
    };
    let one = |text: &str| {
        let [(_, rfc, sections)] = &read(text)[..] else { panic!("{:?}", read(text)) };
        (*rfc, sections.clone())
    };
    let is = |rfc: u32, sections: &str| (rfc, sections.to_owned());
    assert_eq!(one("/// (R-C 2661\n/// § 7.2.1)."), is(2661, "7.2.1"));
    assert_eq!(one("R-C 2661 §s 6.9 to 6.11."), is(2661, "6.9 6.11"));
    assert_eq!(one("R-C 1661 §s 5.1 to 5.4 and 6), 7"), is(1661, "5.1 5.4 6"));
    assert_eq!(one("R-C 2661 § 5.8, ¶ A)"), is(2661, "5.8 A"));
    assert_eq!(one("R-C 2661 ¶ B.2."), is(2661, "B.2"));
    assert_eq!(one("R-C 2661 § 5.5, 7 peers"), is(2661, "5.5"));
    assert_eq!(one("R-C 1661 § 4.3 and 9 others"), is(1661, "4.3"));
    assert_eq!(one("R-C 1661 § 4.1's table"), is(1661, "4.1"));
    assert_eq!(one("(R-C 1994). A § of the code"), is(1994, ""));
    assert_eq!(one("as it was (§ 3.4, 3.5)"), is(0, "3.4"));
    assert_eq!(one("R-C2661 § 3.1"), is(2661, "3.1"));
    assert_eq!(one("of\n * R-C 1661 has no §"), is(1661, ""));
    assert_eq!(
        read("R-C 1661, 1332,\n/// 1994) and R-C 3145 § 2"),
        [
            (1, 1661, String::new()),
            (1, 1332, String::new()),
            (2, 1994, String::new()),
            (2, 3145, "2".to_owned())
        ]
    );
    assert_eq!(read("the R-C says so, § 4"), [(1, 0, "4".to_owned())]);
    assert!(read("the R-C says so in a § of its own").is_empty());
}
