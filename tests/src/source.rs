//! Source files as the style test reads them: code apart from comments and literals, functions with
//! their length, the part before the tests.

use std::ops::Range;
use std::path::{Path, PathBuf};

/// A source file.
#[derive(Debug)]
pub struct Source {
    /// Its path from the workspace's folder, with `/`.
    pub path: String,
    /// As it is.
    pub text: String,
    /// The same length and lines, comments and the contents of literals blanked out.
    pub code: String,
    /// Where the unit tests begin; the end of the text where there are none.
    pub tests_start: usize,
}

/// A function.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Lines of code in its body, without blank lines and comments.
    pub lines: usize,
    /// The line that it begins at, from 1.
    pub line: usize,
}

impl Source {
    /// Reads a text as Rust or C.
    pub fn new(path: &str, text: &str) -> Self {
        let code = blank(text);
        let tests_start = tests_start(path, &code);
        Self { path: path.to_owned(), text: text.to_owned(), code, tests_start }
    }

    /// The code before the tests.
    pub fn own_code(&self) -> &str {
        &self.code[..self.tests_start]
    }

    /// Lines of code before the tests, without blank lines and comments.
    pub fn own_lines(&self) -> usize {
        self.own_code().lines().filter(|line| !line.trim().is_empty()).count()
    }

    /// The line of an offset, from 1.
    pub fn line_at(&self, offset: usize) -> usize {
        1 + self.text[..offset].matches('\n').count()
    }

    /// The functions of a Rust file, tests and inner ones among them.
    pub fn functions(&self) -> Vec<Function> {
        self.words("fn")
            .filter_map(|offset| {
                let name = identifier(&self.code[offset + 2..])?;
                let body = self.body(offset)?;
                let lines =
                    self.code[body].lines().skip(1).filter(|line| !line.trim().is_empty()).count();
                // The last line is the brace.
                let lines = lines.saturating_sub(1);
                Some(Function { name: name.to_owned(), lines, line: self.line_at(offset) })
            })
            .collect()
    }

    /// Names that are declared: functions, types, modules, constants.
    pub fn declared(&self) -> Vec<(&str, usize)> {
        ["fn", "struct", "enum", "trait", "type", "mod", "const", "static"]
            .into_iter()
            .flat_map(|keyword| {
                self.words(keyword).filter_map(move |offset| {
                    Some((identifier(&self.code[offset + keyword.len()..])?, offset))
                })
            })
            .collect()
    }

    /// Where a word stands in the code.
    pub fn words<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        self.code.match_indices(word).map(|(offset, _)| offset).filter(move |offset| {
            let before = self.code[..*offset].chars().next_back();
            let after = self.code[offset + word.len()..].chars().next();
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        })
    }

    /// From the opening brace to behind the closing one; none for a declaration without a body.
    fn body(&self, start: usize) -> Option<Range<usize>> {
        let (mut depth, mut brackets, mut open) = (0_u32, 0_u32, None);
        for (offset, character) in self.code[start..].char_indices() {
            let offset = start + offset;
            match character {
                '(' | '[' => brackets += 1,
                ')' | ']' => brackets = brackets.saturating_sub(1),
                ';' if open.is_none() && brackets == 0 => return None,
                '{' => {
                    open.get_or_insert(offset);
                    depth += 1;
                }
                '}' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return Some(open?..offset + 1);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

/// Every file below `folder` that `wanted` takes, in the order of the paths; build folders and
/// hidden ones are left out.
///
/// # Panics
/// Where a folder cannot be read.
pub fn walk(folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let hidden = |path: &Path| {
        path.file_name().is_some_and(|name| {
            let name = name.to_string_lossy();
            name == "target" || name == ".git"
        })
    };
    let mut found = Vec::new();
    for path in paths {
        if hidden(&path) {
            continue;
        }
        if path.is_dir() {
            found.extend(walk(&path, wanted));
        } else if wanted(&path) {
            found.push(path);
        }
    }
    found
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn identifier(code: &str) -> Option<&str> {
    let code = code.strip_prefix(|character: char| character.is_whitespace())?.trim_start();
    let end = code.find(|character| !is_word(character)).unwrap_or(code.len());
    (end > 0).then(|| &code[..end])
}

/// A file of tests begins with them; else `mod tests` with its attribute, or the end.
fn tests_start(path: &str, code: &str) -> usize {
    let is_tests =
        path.ends_with("tests.rs") || path.contains("/tests/") || path.contains("/benches/");
    if is_tests {
        return 0;
    }
    let module = ["mod tests {", "mod loom_tests {", "mod loom {"]
        .iter()
        .filter_map(|module| code.find(module))
        .min()
        .unwrap_or(code.len());
    let attribute = code[..module].trim_end().rfind('\n').map_or(0, |offset| offset + 1);
    if module < code.len() && code[attribute..module].contains("cfg(") { attribute } else { module }
}

/// Blanks comments and the contents of literals; lines and offsets stay.
fn blank(text: &str) -> String {
    let octets = text.as_bytes();
    let mut code = octets.to_vec();
    let mut place = 0;
    while place < octets.len() {
        let end = token_end(octets, place);
        if end > place + 1 {
            let kept = usize::from(octets[place] == b'"' || octets[place] == b'r');
            for octet in &mut code[place + kept..end - kept] {
                if *octet != b'\n' {
                    *octet = b' ';
                }
            }
        }
        place = end.max(place + 1);
    }
    // Only whole characters inside of comments and literals were replaced, octet by octet.
    String::from_utf8_lossy(&code).into_owned()
}

/// The end of a comment or literal that begins at `place`; `place` where none does.
fn token_end(octets: &[u8], place: usize) -> usize {
    let rest = &octets[place..];
    let until = |pattern: &[u8], from: usize| {
        rest[from.min(rest.len())..]
            .windows(pattern.len())
            .position(|window| window == pattern)
            .map_or(octets.len(), |offset| place + from + offset + pattern.len())
    };
    let before_is_word = place > 0 && is_word(char::from(octets[place - 1]));
    match rest {
        [b'/', b'/', ..] => until(b"\n", 2) - 1,
        [b'/', b'*', ..] => until(b"*/", 2),
        [b'"', ..] => string_end(octets, place),
        [b'r', b'"' | b'#', ..] if !before_is_word => {
            let hashes = rest[1..].iter().take_while(|octet| **octet == b'#').count();
            if rest.get(1 + hashes) == Some(&b'"') {
                let mut end = vec![b'"'];
                end.extend(std::iter::repeat_n(b'#', hashes));
                until(&end, 2 + hashes)
            } else {
                place
            }
        }
        // A character, not a lifetime.
        [b'\'', b'\\', ..] => until(b"'", 3),
        [b'\'', _, b'\'', ..] => place + 3,
        _ => place,
    }
}

fn string_end(octets: &[u8], start: usize) -> usize {
    let mut place = start + 1;
    while place < octets.len() {
        match octets[place] {
            b'\\' => place += 2,
            b'"' => return place + 1,
            _ => place += 1,
        }
    }
    octets.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_no_code() {
        let source = Source::new(
            "a/src/x.rs",
            "/* fn a() {} */ let s = \"fn b() { \\\" }\"; // fn c\nlet r = r#\"fn \"d\"\"#; 'x' '{' '\\n'\n",
        );
        assert_eq!(source.words("fn").count(), 0, "{}", source.code);
        assert_eq!(source.code.len(), source.text.len());
        assert_eq!(source.code.matches('{').count(), 0, "{}", source.code);
        assert!(source.code.contains("let s") && source.code.contains("let r"));
    }

    #[test]
    fn functions_have_the_length_of_their_code() {
        let text = "fn long(a: [u8; 2]) -> u8\nwhere\n    u8: Copy,\n{\n    // why\n    one();\n\n\
                    \n    two()\n}\ntrait T {\n    fn none(&self);\n}\nfn short() {}\n";
        let functions = Source::new("a/src/x.rs", text).functions();
        let lengths: Vec<_> =
            functions.iter().map(|found| (found.name.as_str(), found.lines, found.line)).collect();
        assert_eq!(lengths, [("long", 2, 1), ("short", 0, 14)]);
    }

    #[test]
    fn tests_do_not_count() {
        let text = "// why\nfn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n";
        assert_eq!(Source::new("a/src/x.rs", text).own_lines(), 1);
        assert_eq!(Source::new("a/tests/x.rs", text).own_lines(), 0);
        assert_eq!(Source::new("a/src/x.rs", "fn a() {}\n").own_lines(), 1);
    }

    #[test]
    fn lifetimes_are_no_characters() {
        let source =
            Source::new("a/src/x.rs", "fn f<'a>(x: &'a str) -> &'a str { x }\nfn g() {}\n");
        assert_eq!(source.functions().len(), 2);
    }
}
