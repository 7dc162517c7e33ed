//! A secret of the configuration: wiped from memory when dropped, never printed.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// What is printed instead of a secret.
pub const PLACEHOLDER: &str = "<set>";

/// A tunnel secret or a password.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The secret itself; the place that calls this must not print or keep it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(PLACEHOLDER)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(SecretVisitor)
    }
}

/// Takes a string; serde's own messages for other types would quote the value.
struct SecretVisitor;

const NOT_A_STRING: &str = "a secret is written as a string, in quotes";

impl Visitor<'_> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
        Ok(Secret::from(text))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Secret, E> {
        Ok(Secret(Zeroizing::new(text)))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Secret, E> {
        Err(E::custom(NOT_A_STRING))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
        Err(E::custom(NOT_A_STRING))
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<Secret, E> {
        Err(E::custom(NOT_A_STRING))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
        Err(E::custom(NOT_A_STRING))
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<Secret, E> {
        Err(E::custom(NOT_A_STRING))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
        Err(E::custom(NOT_A_STRING))
    }
}

/// `text` with everything that may be a secret replaced by `*`, octet for octet, so that positions
/// stay. Errors quote lines of the file, also of a file that cannot be parsed: so this goes by
/// words, not by syntax, and rather hides too much.
pub fn masked(text: &str) -> String {
    let mut octets = text.as_bytes().to_vec();
    let mut masking_until: Option<&str> = None;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let from = match masking_until {
            Some(_) => Some(0),
            None => value_of_secret(line),
        };
        if let Some(from) = from {
            let value = line.get(from..).unwrap_or_default();
            masking_until = match masking_until {
                Some(quotes) if value.contains(quotes) => None,
                Some(quotes) => Some(quotes),
                None => ["\"\"\"", "'''"]
                    .into_iter()
                    .find(|quotes| value.matches(quotes).count() % 2 == 1),
            };
            for octet in octets.iter_mut().skip(start + from).take(line.len() - from) {
                if !octet.is_ascii_whitespace() {
                    *octet = b'*';
                }
            }
        }
        start += line.len();
    }
    String::from_utf8(octets).unwrap_or_default()
}

/// Where the value of the first secret in a line begins: behind the word and its `=`.
fn value_of_secret(line: &str) -> Option<usize> {
    let lower = line.to_ascii_lowercase();
    let word_end = ["secret", "password"]
        .iter()
        .filter_map(|word| Some(lower.find(word)? + word.len()))
        .min()?;
    let rest = line.get(word_end..)?;
    let gap = rest.len() - rest.trim_start_matches(['"', '\'', ' ', '\t', '=']).len();
    // The opening quote belongs to the value only behind an `=`; it may be hidden as well.
    Some(word_end + rest.get(..gap)?.find('=').map_or(0, |equals| equals + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_and_serialisation_say_nothing() {
        let secret = Secret::from("hunter2");
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"<set>\"");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn equality_is_of_the_whole() {
        assert_eq!(Secret::from("a"), Secret::from("a"));
        assert_ne!(Secret::from("a"), Secret::from("ab"));
        assert_ne!(Secret::from(""), Secret::from("a"));
    }

    #[test]
    fn other_types_are_refused_without_quoting_them() {
        for text in ["key = 4711", "key = 4711.5", "key = true"] {
            #[derive(Debug, serde::Deserialize)]
            struct Holder {
                #[expect(dead_code, reason = "never made")]
                key: Secret,
            }
            let message = toml::from_str::<Holder>(text).unwrap_err().message().to_owned();
            assert_eq!(message, NOT_A_STRING, "{text}");
        }
    }

    #[test]
    fn masking_hides_values_and_keeps_positions() {
        let text = "name = \"a\"\npassword = \"hünter2\" # mine\n\"secret\"=hidden\nmru = 5\n";
        let shown = masked(text);
        assert_eq!(shown.len(), text.len());
        assert!(shown.contains("name = \"a\"\npassword = ***"), "{shown}");
        assert!(shown.ends_with("\nmru = 5\n"), "{shown}");
        for word in ["nter2", "hidden", "mine"] {
            assert!(!shown.contains(word), "{shown}");
        }
    }

    proptest::proptest! {
        #[test]
        fn masking_keeps_every_position(text in "([a-z=\"' \n\u{e4}]|password|secret|\"\"\"){0,40}") {
            let shown = masked(&text);
            proptest::prop_assert_eq!(shown.len(), text.len());
            proptest::prop_assert_eq!(shown.lines().count(), text.lines().count());
        }
    }

    #[test]
    fn masking_follows_strings_over_lines_and_inline_tables() {
        let shown = masked("secret = \"\"\"one\ntwo\nthree\"\"\"\nmru = 1\n");
        assert!(!shown.contains("two") && !shown.contains("three"), "{shown}");
        assert!(shown.contains("mru = 1"), "{shown}");
        let shown = masked("user = [{name = \"a\", password = \"b1\"}, {password = 'b2'}]\n");
        assert!(shown.contains("name = \"a\"") && !shown.contains("b1") && !shown.contains("b2"));
    }
}
