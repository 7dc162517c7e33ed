//! What a run leaves behind: one JSON object of where, when and how it was made, and of its results.
//!
//! `--json` prints it; a file has it in any case, so that no figure is ever without its machine and its
//! command line. `xlns-bench report` draws such files.

use std::error::Error;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use serde::Serialize;

use crate::host::Host;

/// Which fields there are: raised where one changes its meaning or goes.
pub const SCHEMA: u32 = 1;

/// The folder of records that nobody named a place for.
const FOLDER: &str = "xlns-bench-results";

/// Where results go.
#[derive(Debug, Clone, Args)]
pub struct Output {
    /// Print one JSON object, the record of the run, instead of text.
    #[arg(long, global = true)]
    pub json: bool,

    /// Where the record of the run is written
    /// [default: xlns-bench-results/BENCHMARK-TIME.json in this folder].
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "no_save")]
    save: Option<PathBuf>,

    /// Write no record.
    #[arg(long, global = true)]
    no_save: bool,
}

/// One run.
#[derive(Debug, Serialize)]
struct Record<'a, T> {
    schema: u32,
    benchmark: &'static str,
    /// When it began: date and time of day, UTC, as in 2026-01-31T12:00:00Z.
    started: String,
    #[serde(flatten)]
    host: &'a Host,
    #[serde(flatten)]
    results: &'a T,
}

/// Takes down what a run finds; begins with it, as a machine's load is asked for before there is any.
#[derive(Debug)]
pub struct Recorder {
    output: Output,
    host: Host,
    started: DateTime<Utc>,
}

impl Recorder {
    /// A run begins.
    #[expect(clippy::disallowed_methods, reason = "the seam where the time of day is read")]
    pub fn begin(output: Output) -> Self {
        Self { output, host: Host::read(), started: std::time::SystemTime::now().into() }
    }

    /// Prints the results, as JSON or by `text`, and writes the record.
    ///
    /// # Errors
    /// Where the record cannot be written; the results have been printed then.
    pub fn finish<T: Serialize>(
        &self,
        benchmark: &'static str,
        results: &T,
        text: impl FnOnce(),
    ) -> Result<(), Box<dyn Error>> {
        let started = self.started.to_rfc3339_opts(SecondsFormat::Secs, true);
        let record = Record { schema: SCHEMA, benchmark, started, host: &self.host, results };
        let json = serde_json::to_string(&record)?;
        if self.output.json {
            println!("{json}");
        } else {
            print!("{}", self.host);
            text();
        }
        let Some(path) = self.path(benchmark) else { return Ok(()) };
        let written = write(&path, &json);
        written.map_err(|error| {
            format!("cannot write the record {}: {error} (--save, --no-save)", path.display())
        })?;
        eprintln!("xlns-bench: the record of this run is {}", path.display());
        Ok(())
    }

    /// Where the record goes, if anywhere.
    fn path(&self, benchmark: &str) -> Option<PathBuf> {
        match &self.output {
            Output { save: Some(path), .. } => Some(path.clone()),
            Output { no_save: true, .. } => None,
            _ => {
                let time = self.started.format("%Y%m%dT%H%M%SZ");
                Some(Path::new(FOLDER).join(format!("{benchmark}-{time}.json")))
            }
        }
    }
}

fn write(path: &Path, json: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    writeln!(File::create(path)?, "{json}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorder(save: Option<PathBuf>, no_save: bool) -> Recorder {
        Recorder::begin(Output { json: true, save, no_save })
    }

    #[derive(Serialize)]
    struct Results {
        cells: [u32; 2],
    }

    #[test]
    fn a_record_has_the_run_and_its_results_side_by_side() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep").join("record.json");
        let recorder = recorder(Some(path.clone()), false);
        recorder.finish("pipeline", &Results { cells: [3, 4] }, || ()).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let record: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(record["schema"], SCHEMA);
        assert_eq!(record["benchmark"], "pipeline");
        assert_eq!(record["cells"], serde_json::json!([3, 4]));
        for field in ["command", "version", "kernel", "cpu", "clock_source"] {
            assert!(record[field].is_string(), "{field}: {record}");
        }
        let started = record["started"].as_str().unwrap();
        assert!(DateTime::parse_from_rfc3339(started).is_ok(), "{started}");
    }

    #[test]
    fn a_record_goes_where_it_is_wanted_to_or_nowhere() {
        assert_eq!(recorder(None, true).path("wire"), None);
        let named = PathBuf::from("here.json");
        assert_eq!(recorder(Some(named.clone()), false).path("wire"), Some(named));
        let path = recorder(None, false).path("wire").unwrap();
        let name = path.to_str().unwrap();
        assert!(
            name.starts_with("xlns-bench-results/wire-2") && name.ends_with("Z.json"),
            "{name}"
        );
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let recorder = recorder(Some(folder.path().into()), false);
        let error = recorder.finish("wire", &Results { cells: [0; 2] }, || ()).unwrap_err();
        assert!(error.to_string().contains(folder.path().to_str().unwrap()), "{error}");
    }
}
