//! Where a key is: `lac[0].peers[1]`, and its place in the text.

use std::fmt;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// One step of a [`KeyPath`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// A key of a table.
    Key(String),
    /// A place in an array, from 0.
    Index(usize),
}

/// The way from the root of the file to a value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyPath(pub Vec<Segment>);

impl KeyPath {
    /// This path and one key more.
    pub fn key(&self, name: &str) -> Self {
        self.with(Segment::Key(name.to_owned()))
    }

    /// This path and one array place more.
    pub fn index(&self, index: usize) -> Self {
        self.with(Segment::Index(index))
    }

    /// The name of the table that holds this key, without array places: `lac` of `lac[0].name`.
    pub fn section(&self) -> String {
        let keys: Vec<&str> = self
            .0
            .iter()
            .filter_map(|segment| match segment {
                Segment::Key(name) => Some(name.as_str()),
                Segment::Index(_) => None,
            })
            .collect();
        keys.split_last().map(|(_, front)| front.join(".")).unwrap_or_default()
    }

    /// The last key.
    pub fn last_key(&self) -> Option<&str> {
        self.0.iter().rev().find_map(|segment| match segment {
            Segment::Key(name) => Some(name.as_str()),
            Segment::Index(_) => None,
        })
    }

    fn with(&self, segment: Segment) -> Self {
        let mut segments = self.0.clone();
        segments.push(segment);
        Self(segments)
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(name) if position == 0 => f.write_str(name)?,
                Segment::Key(name) => write!(f, ".{name}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

impl From<&serde_ignored::Path<'_>> for KeyPath {
    fn from(path: &serde_ignored::Path<'_>) -> Self {
        use serde_ignored::Path;
        match path {
            Path::Root => Self::default(),
            Path::Seq { parent, index } => Self::from(*parent).index(*index),
            Path::Map { parent, key } => Self::from(*parent).key(key),
            Path::Some { parent }
            | Path::NewtypeStruct { parent }
            | Path::NewtypeVariant { parent } => Self::from(*parent),
        }
    }
}

impl From<&serde_path_to_error::Path> for KeyPath {
    fn from(path: &serde_path_to_error::Path) -> Self {
        use serde_path_to_error::Segment as Step;
        path.iter().fold(Self::default(), |path, step| match step {
            Step::Seq { index } => path.index(*index),
            Step::Map { key } => path.key(key),
            Step::Enum { .. } | Step::Unknown => path,
        })
    }
}

/// Where in the text the value at `path` stands, or the key if `of_key`; where the file does not
/// name it, the nearest table around it.
pub fn locate(root: &DeTable<'_>, path: &KeyPath, of_key: bool) -> Option<Range<usize>> {
    let (Segment::Key(first), rest) = path.0.split_first()? else { return None };
    let (key, value) = root.get_key_value(first.as_str())?;
    let mut span = if of_key && rest.is_empty() { key.span() } else { value.span() };
    let mut current = value.get_ref();
    for (position, segment) in rest.iter().enumerate() {
        let is_last = position + 1 == rest.len();
        current = match (segment, current) {
            (Segment::Key(name), DeValue::Table(table)) => {
                let Some((key, value)) = table.get_key_value(name.as_str()) else { break };
                span = if of_key && is_last { key.span() } else { value.span() };
                value.get_ref()
            }
            (Segment::Index(index), DeValue::Array(array)) => {
                let Some(value) = array.get(*index) else { break };
                span = value.span();
                value.get_ref()
            }
            _ => break,
        };
    }
    Some(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[lns]\nport = 7\n[[lac]]\nname = \"a\"\npeers = [\"x\", \"yy\"]\n";

    fn located(path: &KeyPath, of_key: bool) -> &'static str {
        let table = DeTable::parse(TEXT).unwrap();
        &TEXT[locate(table.get_ref(), path, of_key).unwrap()]
    }

    #[test]
    fn prints_as_written_in_errors() {
        let path = KeyPath::default().key("lac").index(0).key("peers").index(1);
        assert_eq!(path.to_string(), "lac[0].peers[1]");
        assert_eq!(path.section(), "lac");
        assert_eq!(path.last_key(), Some("peers"));
        assert_eq!(KeyPath::default().key("lns").section(), "");
    }

    #[test]
    fn finds_keys_values_and_elements() {
        let root = KeyPath::default();
        assert_eq!(located(&root.key("lns").key("port"), false), "7");
        assert_eq!(located(&root.key("lns").key("port"), true), "port");
        assert_eq!(located(&root.key("lac").index(0).key("peers").index(1), false), "\"yy\"");
    }

    #[test]
    fn a_key_that_is_not_there_is_found_at_its_table() {
        let path = KeyPath::default().key("lns").key("gateway");
        assert!(located(&path, false).starts_with("[lns]"));
        let table = DeTable::parse(TEXT).unwrap();
        assert_eq!(locate(table.get_ref(), &KeyPath::default().key("ppp"), false), None);
    }
}
