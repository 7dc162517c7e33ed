//! A guest with the root of this machine, read-only, whatever runs it: a shell agent on its console.
//!
//! A job is a script in a folder that the guest shares; its number is written to the console, its
//! lines come back with the number in front, its end as a status. The end of the console's input,
//! also by our own end, halts the guest.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ChildStdin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::deadline;
use crate::output::Output;
use crate::process::Process;
use crate::{LabError, Result};

/// How long a halt may take.
const HALT_WAIT: Duration = Duration::from_secs(5);

/// Begins what the agent itself says, after the job's number.
const MARK: char = '\u{1}';

/// What the agent says once it listens.
const READY: &str = "guest ready";

/// Where the guest sees the shared folder.
pub const SHARE: &str = "/run/share";

/// A guest; dropped, it is halted.
#[derive(Debug)]
pub struct Guest {
    process: Process,
    console: Mutex<ChildStdin>,
    jobs: Jobs,
    share: PathBuf,
}

type Jobs = Arc<Mutex<BTreeMap<u32, Job>>>;

/// A script that runs, or ran, in the guest.
#[derive(Debug, Clone, Default)]
pub struct Job {
    output: Output,
    state: Arc<Mutex<JobState>>,
}

#[derive(Debug, Default)]
struct JobState {
    process_id: Option<u32>,
    status: Option<i32>,
}

impl Job {
    /// Its lines, both streams.
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// Its process ID in the guest, once it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.state().process_id
    }

    /// Its exit status, once it has ended.
    pub fn status(&self) -> Option<i32> {
        self.state().status
    }

    fn state(&self) -> MutexGuard<'_, JobState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest {
    /// Starts the machine by `spawn`, which hands its console's lines to the sink that it gets, and
    /// waits until the agent listens. `share` is the folder that the guest sees at [`SHARE`].
    ///
    /// # Errors
    /// Where it does not come up; the console is in the log.
    pub(crate) fn start_machine(
        share: &Path,
        wait: Duration,
        spawn: impl FnOnce(Output, Box<dyn FnMut(String) + Send>) -> Result<Process>,
    ) -> Result<Self> {
        let jobs = Jobs::default();
        let ready = Output::default();
        let sink = console_sink(ready.clone(), Arc::clone(&jobs));
        let mut process = spawn(ready, Box::new(sink))?;
        let console =
            process.take_stdin().ok_or_else(|| LabError::new("a guest without its console"))?;
        process.wait_line(wait, READY)?;
        Ok(Self { process, console: Mutex::new(console), jobs, share: share.to_owned() })
    }

    /// The process that the guest runs in.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Writes a file that the guest sees; hands out its path there.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<String> {
        write_file(&self.share.join(name), text, 0o600)?;
        Ok(format!("{SHARE}/{name}"))
    }

    /// Starts a script in the guest.
    ///
    /// # Errors
    /// Where the guest is gone.
    pub fn start(&self, script: &str) -> Result<Job> {
        let job = Job::default();
        let number = {
            let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
            let number = jobs.last_key_value().map_or(1, |(last, _)| last + 1);
            jobs.insert(number, job.clone());
            number
        };
        self.write(&format!("{number}.sh"), script)?;
        let mut console = self.console.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(console, "{number}").map_err(|_| self.error("the guest is gone".to_owned()))?;
        Ok(job)
    }

    /// Runs a script to its end; the status is not looked at.
    ///
    /// # Errors
    /// Where it does not end in `wait`.
    pub fn run(&self, script: &str, wait: Duration) -> Result<Job> {
        let job = self.start(script)?;
        if self.wait(&job, wait).is_none() {
            let text = job.output().text();
            return Err(self.error(format!("in the guest, {script:?} did not end: {text}")));
        }
        Ok(job)
    }

    /// Runs a script that must succeed; hands out what it wrote.
    ///
    /// # Errors
    /// Where it fails or does not end in `wait`.
    pub fn check(&self, script: &str, wait: Duration) -> Result<String> {
        let job = self.run(script, wait)?;
        let text = job.output().text();
        match job.status() {
            Some(0) => Ok(text),
            status => {
                Err(self.error(format!("in the guest, {script:?} ended with {status:?}: {text}")))
            }
        }
    }

    /// Waits for a job's status.
    pub fn wait(&self, job: &Job, wait: Duration) -> Option<i32> {
        deadline::poll(wait, || job.status())
    }

    /// Sends a signal to a job.
    ///
    /// # Errors
    /// Where the guest is gone.
    pub fn signal(&self, job: &Job, signal: &str) -> Result<()> {
        let id = deadline::poll(HALT_WAIT, || job.process_id())
            .ok_or_else(|| self.error("a job that never started".to_owned()))?;
        self.run(&format!("kill -{signal} {id}"), HALT_WAIT).map(|_| ())
    }

    /// An error that the console's log explains.
    pub fn error(&self, what: String) -> LabError {
        LabError::with_log(what, self.process.log())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let console = self.console.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(console, "halt");
        let _ = self.process.wait(HALT_WAIT);
    }
}

/// The agent: the last part of a guest's first program, which has mounted everything by then.
pub(crate) fn agent() -> String {
    format!(
        r#"
job() {{
    {{
        sh -c 'printf "\001pid %s\n" $$; exec sh {SHARE}/'$1.sh 2>&1 < /dev/null
        printf '\001status %s\n' $?
    }} | sed -u "s/^/$1:/"
}}
stty raw -echo
echo {READY}
while read -r number; do
    [ "$number" = halt ] && break
    job "$number" &
done
halt -f -p || echo o > /proc/sysrq-trigger
"#
    )
}

/// Sorts the console's lines: a job's to the job, the rest to `console`.
fn console_sink(console: Output, jobs: Jobs) -> impl FnMut(String) + Send {
    move |line| {
        let Some((number, text)) =
            line.split_once(':').and_then(|(number, text)| Some((number.parse().ok()?, text)))
        else {
            console.push(line);
            return;
        };
        let number: u32 = number;
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).get(&number).cloned();
        let Some(job) = job else { return };
        // A last line without its newline stands in front of the mark.
        let (text, said) = text.split_once(MARK).map_or((text, None), |(a, b)| (a, Some(b)));
        if said.is_none() || !text.is_empty() {
            job.output.push(text.to_owned());
        }
        match said.and_then(|said| said.split_once(' ')) {
            Some(("pid", id)) => job.state().process_id = id.parse().ok(),
            Some(("status", status)) => {
                job.state().status = status.parse().ok();
                job.output.close();
            }
            _ => {}
        }
    }
}

pub(crate) fn write_file(path: &Path, text: &str, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let attempt = format!("write {}", path.display());
    std::fs::write(path, text).map_err(|error| LabError::io(&attempt, &error))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(|error| LabError::io(&attempt, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn console_lines_find_their_job() {
        let (console, jobs) = (Output::default(), Jobs::default());
        let job = Job::default();
        jobs.lock().unwrap().insert(7, job.clone());
        let mut sink = console_sink(console.clone(), jobs);
        for line in ["booting: yes", "7:\u{1}pid 42", "7:a: line", "8:nobody", "7:end\u{1}status 3"]
        {
            sink(line.to_owned());
        }
        assert_eq!(console.lines(), ["booting: yes"]);
        assert_eq!(job.output().lines(), ["a: line", "end"]);
        assert_eq!((job.process_id(), job.status()), (Some(42), Some(3)));
    }
}
