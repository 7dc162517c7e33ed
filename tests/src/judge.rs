//! tshark as the judge of frames: captures a link, and says afterwards what makes no sense to it.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::netns::Netns;
use crate::process::{Process, run};
use crate::{Lab, Result};

/// How long tshark may take to begin, and to write the last frames.
const WAIT: Duration = Duration::from_secs(20);

/// A capture that runs.
#[derive(Debug)]
pub struct Capture {
    tshark: Process,
    file: PathBuf,
}

/// A capture that has ended.
#[derive(Debug)]
pub struct Frames {
    file: PathBuf,
}

impl Capture {
    /// Captures what crosses `interface` of `namespace` from now on; the file stays with the logs.
    ///
    /// # Errors
    /// Where tshark does not start.
    pub fn start(lab: &Lab, namespace: &Netns, interface: &str, name: &str) -> Result<Self> {
        let file = lab.log(name).with_extension("pcapng");
        let mut command = namespace.command("tshark");
        command.args(["-i", interface, "-w"]).arg(&file).stdin(Stdio::null());
        let tshark = Process::spawn("tshark", &mut command, &lab.log(&format!("{name}-tshark")))?;
        // Said once the packet socket is open.
        tshark.wait_line(WAIT, "Capture started")?;
        Ok(Self { tshark, file })
    }

    /// Ends it.
    ///
    /// # Errors
    /// Where tshark does not end.
    pub fn end(mut self) -> Result<Frames> {
        self.tshark.signal(Signal::SIGINT);
        self.tshark.wait(WAIT)?;
        Ok(Frames { file: self.file })
    }
}

impl Frames {
    /// One line for each frame that fits the display filter: these fields of it.
    ///
    /// # Errors
    /// Where tshark does not know the filter or a field.
    pub fn fields(&self, filter: &str, fields: &[&str]) -> Result<Vec<String>> {
        let mut command = Command::new("tshark");
        command.arg("-r").arg(&self.file).args(["-Y", filter, "-T", "fields"]);
        for field in fields {
            command.args(["-e", field]);
        }
        Ok(run(&mut command)?.lines().map(str::to_owned).collect())
    }

    /// Frames from `source` that tshark takes for malformed, or finds an error in.
    ///
    /// # Errors
    /// Where tshark does not run.
    pub fn complaints(&self, source: &str) -> Result<Vec<String>> {
        let filter = format!("({source}) && (_ws.malformed || _ws.expert.severity >= \"Error\")");
        self.fields(&filter, &["frame.number", "_ws.col.Info", "_ws.expert.message"])
    }
}
