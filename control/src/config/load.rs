//! From the file to a checked [`Config`].

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::Deserialize;
use toml::de::DeTable;
use zeroize::Zeroizing;

use super::error::{ConfigError, Problem};
use super::key_path::KeyPath;
use super::{Config, check, schema};

/// The largest file taken: half a million users fit.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// More mistakes than these help nobody.
const PROBLEMS_MAX: usize = 20;

/// A longer word than this is no misspelling of any key.
const WORD_CHARS_MAX: usize = 64;

/// An unknown key at most this many edits away from a known one is taken for that one, misspelt.
const HINT_DISTANCE_MAX: usize = 3;

impl Config {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// [`ConfigError`], with every mistake found.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text =
            read(path).map_err(|error| ConfigError::Read { path: path.to_owned(), error })?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Checks `text`; `name` is what errors call it.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`], with every mistake found.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        let root = match DeTable::parse_recoverable(text) {
            (root, errors) if errors.is_empty() => root,
            (_, errors) => {
                let problems = errors.iter().take(PROBLEMS_MAX).map(syntax_problem).collect();
                return Err(ConfigError::invalid(name, text, problems, &[]));
            }
        };
        let root = root.get_ref();
        let mut problems = schema::check_ranges(root);
        let (config, unknown) = deserialize(text);
        problems.extend(unknown.iter().map(unknown_key));
        match config {
            Ok(config) => {
                // Of a value out of range, nothing more is said.
                problems.extend(check::check(&config));
                if problems.is_empty() {
                    return Ok(config);
                }
            }
            Err(problem) => {
                if problems.iter().all(|known| known.path != problem.path) {
                    problems.push(problem);
                }
            }
        }
        for problem in &mut problems {
            problem.locate(root);
        }
        problems.truncate(PROBLEMS_MAX);
        Err(ConfigError::invalid(name, text, problems, &schema::unknown_values(root)))
    }
}

fn read(path: &Path) -> io::Result<Zeroizing<String>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    if length > FILE_BYTES_MAX {
        return Err(io::Error::other(format!(
            "{length} octets, {FILE_BYTES_MAX} is the most for a configuration"
        )));
    }
    // Room for all of it from the start: a buffer that grows leaves copies of secrets behind.
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(length).unwrap_or(0) + 1));
    file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

fn syntax_problem(error: &toml::de::Error) -> Problem {
    let mut problem = Problem::new(&KeyPath::default(), error.message().trim_end());
    problem.span = error.span();
    problem
}

/// The configuration, or the first value of a wrong type; and the keys that nothing knows.
fn deserialize(text: &str) -> (Result<Config, Problem>, Vec<KeyPath>) {
    let mut unknown = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let result = toml::Deserializer::parse(text).and_then(|deserializer| {
        let deserializer = serde_path_to_error::Deserializer::new(deserializer, &mut track);
        let mut on_unknown = |path: serde_ignored::Path<'_>| unknown.push(KeyPath::from(&path));
        Config::deserialize(serde_ignored::Deserializer::new(deserializer, &mut on_unknown))
    });
    let config = result.map_err(|error| {
        let path = KeyPath::from(&track.path());
        let mut problem = Problem::new(&path, error.message().trim_end());
        problem.span = error.span();
        problem
    });
    (config, unknown)
}

fn unknown_key(path: &KeyPath) -> Problem {
    let names = schema::siblings(path);
    let word = path.last_key().unwrap_or_default();
    let nearest = names.iter().min_by_key(|name| distance(word, name));
    let help = match nearest {
        Some(name) if distance(word, name) <= HINT_DISTANCE_MAX.min(name.len() / 2) => {
            format!("did you mean `{name}`?")
        }
        Some(_) => format!("known here: {}", names.join(", ")),
        None => "xlns.example.toml has every key".to_owned(),
    };
    let what = if path.section().is_empty() { "unknown table or key" } else { "unknown key" };
    let mut problem = Problem::new(path, what).with_help(help);
    problem.at_key = true;
    problem
}

/// Insertions, deletions, replacements and exchanges of neighbouring characters that make one word
/// the other.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().take(WORD_CHARS_MAX).collect();
    let right: Vec<char> = right.chars().take(WORD_CHARS_MAX).collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=right.len()).collect()];
    for i in 1..=left.len() {
        let mut row = vec![i];
        for j in 1..=right.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(left[i - 1] != right[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "[[port]]\ninterface = \"eth0\"\n\
        [lns]\nlisten = [\"192.0.2.1\"]\ngateway = \"198.51.100.1\"\n";

    fn error(text: &str) -> String {
        Config::parse("xlns.toml", text).unwrap_err().to_string()
    }

    #[test]
    fn the_least_file_takes_every_default() {
        let config = Config::parse("xlns.toml", LEAST).unwrap();
        assert_eq!(config.lns.host_name, "xlns");
        assert_eq!(config.lns.port, 1701);
        assert!(!config.lns.allow_gateway_on_listen_address);
        assert_eq!(config.l2tp, super::super::L2tpConfig::default());
        assert_eq!(config.ppp, super::super::PppConfig::default());
    }

    #[test]
    fn text_that_is_no_toml_is_pointed_at() {
        let message = error("[lns]\nport = \n");
        assert!(message.starts_with("xlns.toml:2: "), "{message}");
    }

    #[test]
    fn an_unknown_key_gets_its_line_and_a_hint() {
        let message = error(&format!("{LEAST}gatewya = \"x\"\n[l2pt]\n"));
        assert!(
            message.contains("xlns.toml:6: lns.gatewya: unknown key (did you mean `gateway`?)"),
            "{message}"
        );
        assert!(message.contains("xlns.toml:7: l2pt: unknown table or key (did you mean `l2tp`?)"));
        let message = error(&format!("{LEAST}[admin]\ncolour = 1\n"));
        assert!(message.contains("admin.colour: unknown key (known here: socket)"), "{message}");
    }

    #[test]
    fn a_wrong_type_and_a_missing_key_name_path_and_line() {
        let message = error("[lns]\nlisten = \"192.0.2.1\"\ngateway = \"198.51.100.1\"\n");
        assert!(message.starts_with("xlns.toml:2: lns.listen: "), "{message}");
        let message = error("[lns]\nlisten = [\"192.0.2.1\"]\n");
        assert!(message.contains("missing field `gateway`"), "{message}");
        let message = error(&format!("{LEAST}[[port]]\ninterface = \"a\"\nmode = \"fast\"\n"));
        assert!(message.starts_with("xlns.toml:8: port[1].mode: unknown variant"), "{message}");
    }

    #[test]
    fn all_mistakes_are_told_in_the_order_of_the_file() {
        let message = error(&format!("{LEAST}port = 0\n[ppp]\nmru = 9000\nmrru = 1\n"));
        let lines: Vec<&str> = message.lines().collect();
        assert_eq!(lines.len(), 3, "{message}");
        assert!(lines[0].contains(":6: lns.port: 0 is out of range: 1 to 65535"), "{message}");
        assert!(lines[1].contains(":8: ppp.mru: 9000 is out of range: 576 to 1500"), "{message}");
        assert!(lines[2].contains(":9: ppp.mrru: unknown key"), "{message}");
    }

    #[test]
    fn errors_show_the_line_but_no_secret() {
        let text = format!(
            "{LEAST}[[user]]\npasswrod = \"hunter3\"\nname = 5\npassword = \"hunter2\"\n\
             [lsn]\nsecert = \"hunter4\"\n"
        );
        let error = Config::parse("xlns.toml", &text).unwrap_err();
        let report = error.report();
        assert!(report.contains("name = 5") && report.contains("passwrod = ***"), "{report}");
        for shown in [error.to_string(), report, format!("{error:?}")] {
            assert!(!shown.contains("hunter"), "{shown}");
        }
    }

    #[test]
    fn edits_are_counted() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("gatewya", "gateway"), 1);
        assert_eq!(distance("mru", "mru"), 0);
        assert_eq!(distance("tunnel_max", "tunnels_max"), 1);
    }

    #[test]
    fn a_missing_file_says_what_to_do() {
        let error = Config::load(Path::new("/nonexistent/xlns.toml")).unwrap_err().to_string();
        assert!(error.starts_with("cannot read /nonexistent/xlns.toml: "), "{error}");
        assert!(error.contains("--config"), "{error}");
    }

    const EXAMPLE: &str = include_str!("../../../xlns.example.toml");

    proptest::proptest! {
        #[test]
        fn no_text_ends_the_process(text in ".{0,200}") {
            let _ = Config::parse("x.toml", &text).map_err(|error| error.report());
        }

        #[test]
        fn no_damage_to_a_good_file_ends_the_process_or_shows_a_secret(
            at in 0..EXAMPLE.len(),
            length in 0..40_usize,
            put in "[\"'\\[\\]{}=#.,a0\n]{0,8}",
        ) {
            let end = (at + length).min(EXAMPLE.len());
            let text = format!("{}{put}{}", &EXAMPLE[..at], &EXAMPLE[end..]);
            // Where the damage joins lines or cuts the key itself, no word tells a secret.
            let is_key_whole = text.matches("password = \"change me").count() == 2
                && text.matches("secret = \"change me").count() == 1;
            if let Err(error) = Config::parse("x.toml", &text) {
                let report = error.report();
                proptest::prop_assert!(!is_key_whole || !report.contains("change me"), "{}", report);
            }
        }
    }
}
