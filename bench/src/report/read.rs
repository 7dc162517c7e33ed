//! Records from files: any of `xlns-bench`, and the summary of the zero-copy lab.

use std::path::Path;

use serde_json::Value;

use crate::record::SCHEMA;

/// A record is some kilobytes, or some megabytes with all its samples.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// What the zero-copy lab's summary counts as.
pub const ZERO_COPY: &str = "zerocopy";

/// A record.
#[derive(Debug, Clone)]
pub struct File {
    /// By which it is told from others: the file's name.
    pub name: String,
    /// Which benchmark made it.
    pub benchmark: String,
    /// All of it.
    pub record: Value,
}

/// Reads a record.
///
/// # Errors
/// What is wrong with the file; names it.
pub fn read(path: &Path) -> Result<File, String> {
    let wrong = |why: &str| format!("{}: {why}", path.display());
    let size = std::fs::metadata(path).map_err(|error| wrong(&error.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(wrong("is too large for a record"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error.to_string()))?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    parse(name, &text).map_err(|why| wrong(&why))
}

/// Reads a record from its text.
fn parse(name: String, text: &str) -> Result<File, String> {
    let record: Value =
        serde_json::from_str(text).map_err(|error| format!("is no JSON: {error}"))?;
    if record["zero_copy"].is_boolean() && record["cpu_ratio_up"].is_number() {
        return Ok(File { name, benchmark: ZERO_COPY.to_owned(), record });
    }
    let benchmark = record["benchmark"].as_str().map(str::to_owned);
    match (record["schema"].as_u64(), benchmark) {
        (Some(schema), Some(benchmark)) if schema == u64::from(SCHEMA) => {
            Ok(File { name, benchmark, record })
        }
        (Some(schema), Some(_)) => Err(format!(
            "is a record of schema {schema}, and this program knows {SCHEMA}: use the xlns-bench \
             that made it"
        )),
        _ => Err("is no record of xlns-bench (--save writes one)".to_owned()),
    }
}

impl File {
    /// The rows of a list of it; none where there is no such list.
    pub fn list(&self, name: &str) -> &[Value] {
        self.record[name].as_array().map_or(&[], Vec::as_slice)
    }
}

/// A number, or nothing.
pub fn number(value: &Value) -> Option<f64> {
    value.as_f64().filter(|value| value.is_finite())
}

/// A text; empty where there is none.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
pub fn file(name: &str, record: Value) -> File {
    File { name: name.to_owned(), benchmark: text(&record["benchmark"]).to_owned(), record }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_told_from_other_files() {
        let parsed = |text: &str| parse("a".to_owned(), text).map(|file| file.benchmark);
        assert_eq!(parsed(r#"{"schema": 1, "benchmark": "wire"}"#).as_deref(), Ok("wire"));
        let summary = r#"{"zero_copy": true, "cpu_ratio_up": 0.5}"#;
        assert_eq!(parsed(summary).as_deref(), Ok(ZERO_COPY));
        for (text, why) in [
            ("{", "no JSON"),
            ("[]", "no record"),
            (r#"{"benchmark": "wire"}"#, "no record"),
            (r#"{"schema": 99, "benchmark": "wire"}"#, "schema 99"),
        ] {
            assert!(parsed(text).unwrap_err().contains(why), "{text}");
        }
        let error = read(Path::new("/no/such/file.json")).unwrap_err();
        assert!(error.starts_with("/no/such/file.json: "), "{error}");
    }
}
