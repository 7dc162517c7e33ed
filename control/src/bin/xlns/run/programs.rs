//! The two programs: where they are, and how they are started.

use std::env;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::unistd::{AccessFlags, access};
use xlns_control::config::Config;

use crate::output::Failure;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `xlns-dataplane`.
    Dataplane,
    /// `xlnsd`.
    Control,
}

impl Role {
    /// Both, in the order of starting.
    pub const ALL: [Self; 2] = [Self::Dataplane, Self::Control];

    /// The program's name.
    pub fn program(self) -> &'static str {
        match self {
            Self::Dataplane => "xlns-dataplane",
            Self::Control => "xlnsd",
        }
    }

    /// What it is called in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dataplane => "data plane",
            Self::Control => "control",
        }
    }

    pub fn index(self) -> usize {
        match self {
            Self::Dataplane => 0,
            Self::Control => 1,
        }
    }
}

/// The command lines of both.
#[derive(Debug)]
pub struct Programs {
    paths: [PathBuf; 2],
    config: PathBuf,
    dataplane_socket: PathBuf,
    log: Option<String>,
}

impl Programs {
    /// Looks beside this program first, then in PATH.
    pub fn find(config_path: &Path, config: &Config, log: Option<&str>) -> Result<Self, Failure> {
        let [dataplane, control] = Role::ALL.map(Role::program);
        Ok(Self {
            paths: [find(dataplane)?, find(control)?],
            config: config_path.to_owned(),
            dataplane_socket: config.dataplane.socket.clone(),
            log: log.map(ToOwned::to_owned),
        })
    }

    /// Where sockets of this run may lie.
    pub fn folder(&self) -> &Path {
        self.dataplane_socket.parent().unwrap_or(Path::new("/"))
    }

    /// Starts one, with a pipe as its standard input that it ends with, outside of the terminal's
    /// process group: Ctrl-C is for us, who know the order of ending.
    pub fn start(&self, role: Role, notify_socket: &Path) -> Result<Child, Failure> {
        let [dataplane, control] = &self.paths;
        let mut command = match role {
            Role::Dataplane => {
                let mut command = Command::new(dataplane);
                command.arg("--socket").arg(&self.dataplane_socket);
                command
            }
            Role::Control => {
                let mut command = Command::new(control);
                command.arg("--config").arg(&self.config);
                command
            }
        };
        command.arg("--exit-with-stdin").stdin(Stdio::piped()).process_group(0);
        command.env("NOTIFY_SOCKET", notify_socket).env_remove("WATCHDOG_USEC");
        if let Some(log) = &self.log {
            command.arg("--log").arg(log);
        }
        command.spawn().map_err(|error| {
            let program = command.get_program().to_string_lossy().into_owned();
            Failure::Message(format!("cannot start {program}: {error}"))
        })
    }
}

fn find(program: &str) -> Result<PathBuf, Failure> {
    let beside = env::current_exe().ok().and_then(|own| Some(own.parent()?.join(program)));
    let search_path = env::var_os("PATH").unwrap_or_default();
    let in_path = env::split_paths(&search_path).map(|folder| folder.join(program));
    beside
        .into_iter()
        .chain(in_path)
        .find(|path| path.is_file() && access(path, AccessFlags::X_OK).is_ok())
        .ok_or_else(|| {
            Failure::Message(format!(
                "{program} is neither beside this program nor in PATH: build or install all of xlns"
            ))
        })
}
