//! `xlns run`: both processes in the foreground.
//!
//! Each child has a pipe as its standard input and ends when that closes (`--exit-with-stdin`), so
//! that none outlives this process however it ends. Each reports that it is ready as it would to
//! systemd, over a socket of ours. A data plane that dies is started again, a few times; control
//! fills it again. Everything ends at SIGINT or SIGTERM, and when control ends.

mod programs;
mod supervisor;

use std::fs;
use std::path::Path;

use xlns_control::config::Config;

use crate::check;
use crate::output::Failure;
use programs::Programs;
use supervisor::Supervisor;

/// Runs until told to stop.
pub fn run(path: &Path, log: Option<&str>) -> Result<(), Failure> {
    let config = Config::load(path).map_err(|error| check::report(&error))?;
    check::warn(&config);
    for socket in [&config.dataplane.socket, &config.admin.socket] {
        if let Some(folder) = socket.parent() {
            fs::create_dir_all(folder).map_err(|error| {
                Failure::Message(format!("cannot create {}: {error}", folder.display()))
            })?;
        }
    }
    let programs = Programs::find(path, &config, log)?;
    Supervisor::new(programs)?.run()
}
