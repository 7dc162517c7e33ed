//! `xlns check`.

use std::io::{self, Write};
use std::path::Path;

use serde_json::json;
use xlns_control::config::{Config, ConfigError};

use crate::output::Failure;

/// Prints the configuration in force, or what is wrong with it.
pub fn check(path: &Path, json: bool) -> Result<(), Failure> {
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(error) if json => return report_as_json(&error),
        Err(error) => return Err(report(&error)),
    };
    warn(&config);
    let mut output = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut output, &config).map_err(io::Error::from)?;
        writeln!(output)?;
    } else {
        let text = config.to_toml().map_err(|error| Failure::Message(error.to_string()))?;
        write!(output, "{text}")?;
    }
    Ok(output.flush()?)
}

/// Says what is wrong, each mistake with its line.
pub fn report(error: &ConfigError) -> Failure {
    match error {
        ConfigError::Read { .. } => Failure::Message(error.to_string()),
        ConfigError::Invalid(_) => {
            eprint!("{}", error.report());
            Failure::Reported
        }
    }
}

/// Says what is allowed but probably not meant.
pub fn warn(config: &Config) {
    for warning in config.warnings() {
        eprintln!("xlns: warning: {warning}");
    }
}

fn report_as_json(error: &ConfigError) -> Result<(), Failure> {
    let problems: Vec<_> = error
        .problems()
        .map(|problem| {
            json!({
                "line": problem.line(),
                "key": problem.path(),
                "message": problem.message(),
                "help": problem.help(),
            })
        })
        .collect();
    let text = json!({ "error": error.to_string(), "problems": problems });
    writeln!(io::stdout(), "{text}")?;
    Err(Failure::Reported)
}
