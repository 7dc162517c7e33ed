//! Runs the targets under libFuzzer, one after the other, and says what came of it: `make fuzz`.

mod cover;
mod finding;
mod report;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use clap::Parser;
use xlns_fuzz::{TARGETS, Target};

use report::Report;

/// One input may take so long, seconds; they take microseconds.
const TIMEOUT_SECONDS: u32 = 10;

/// The memory that a target may hold, MiB: all have a bound, far below.
const MEMORY_MIB_MAX: u32 = 1024;

/// Inputs of a target that are committed, those with a name not counted.
const INPUTS_MAX: usize = 25;

/// Time to make a finding smaller, seconds.
const SHRINK_SECONDS: u32 = 20;

/// Fuzzes every target, or one.
#[derive(Parser)]
struct Arguments {
    /// The instrumented program.
    #[arg(long)]
    program: PathBuf,
    /// Where its inputs and logs are kept between runs.
    #[arg(long)]
    state: PathBuf,
    /// How long each target runs.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// One target alone.
    #[arg(long)]
    target: Option<String>,
    /// Fuzzes nothing: replaces the committed inputs that have no name by few that reach nearly all
    /// that was ever reached.
    #[arg(long)]
    minimise: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let wanted =
        |target: &&Target| arguments.target.as_ref().is_none_or(|name| *name == target.name);
    let targets: Vec<_> = TARGETS.iter().filter(wanted).collect();
    if targets.is_empty() {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("no such target; there are: {}", names.join(", "));
        return ExitCode::FAILURE;
    }
    let mut findings = 0;
    for target in targets {
        let run = Run { arguments: &arguments, target };
        match if arguments.minimise { run.minimise() } else { run.fuzz() } {
            Ok(found) => findings += usize::from(found),
            Err(error) => {
                eprintln!("{}: {error}", target.name);
                return ExitCode::FAILURE;
            }
        }
    }
    if findings == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One target's turn.
struct Run<'a> {
    arguments: &'a Arguments,
    target: &'a Target,
}

impl Run<'_> {
    /// Below the folder of what is kept between runs.
    fn kept(&self, what: &str) -> io::Result<PathBuf> {
        let folder = self.arguments.state.join(what).join(self.target.name);
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    fn committed(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(self.target.name)
    }

    fn command(&self, log: &Path) -> io::Result<Command> {
        let mut command = Command::new(&self.arguments.program);
        command
            .env("XLNS_FUZZ_TARGET", self.target.name)
            .arg(format!("-timeout={TIMEOUT_SECONDS}"))
            .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
            .arg("-print_final_stats=1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(log)?);
        Ok(command)
    }

    /// Runs the target; returns whether something is broken.
    fn fuzz(&self) -> io::Result<bool> {
        let (corpus, findings) = (self.kept("corpus")?, self.kept("findings")?);
        let log = self.kept("logs")?.join("fuzz");
        let artefact = findings.join("last");
        let _ = std::fs::remove_file(&artefact);
        let status = self
            .command(&log)?
            .arg(format!("-max_len={}", self.target.input_bytes_max))
            .arg(format!("-max_total_time={}", self.arguments.seconds))
            .arg(format!("-exact_artifact_path={}", artefact.display()))
            .args([&corpus, &self.committed()])
            .status()?;
        let text = String::from_utf8_lossy(&std::fs::read(&log)?).into_owned();
        let report = Report::read(&text);
        println!("{:<15} {report}", self.target.name);
        if status.success() {
            return Ok(false);
        }
        if !artefact.exists() {
            return Err(io::Error::other(format!("{status}, see {}", log.display())));
        }
        self.keep(&artefact, &text)?;
        Ok(true)
    }

    /// Puts a finding among the committed inputs, and says how to see it.
    fn keep(&self, artefact: &Path, log: &str) -> io::Result<()> {
        let small = artefact.with_file_name("small");
        let _ = std::fs::remove_file(&small);
        self.command(&self.kept("logs")?.join("shrink"))?
            .args(["-minimize_crash=1", &format!("-max_total_time={SHRINK_SECONDS}")])
            .arg(format!("-exact_artifact_path={}", small.display()))
            .arg(artefact)
            .status()?;
        // Only while it is shrunk is an input empty that breaks nothing.
        let input = std::fs::read(&small).unwrap_or_default();
        let input = if input.is_empty() { std::fs::read(artefact)? } else { input };
        let name = finding::name(log, &input);
        std::fs::write(self.committed().join(&name), &input)?;
        println!("  {}", finding::text(log));
        println!("  make fuzz FILE=fuzz/corpus/{}/{name}", self.target.name);
        Ok(())
    }

    /// Keeps few inputs that reach nearly every edge that the kept ones reach, beside those with a
    /// name.
    fn minimise(&self) -> io::Result<bool> {
        let (corpus, smallest) = (self.kept("corpus")?, self.kept("smallest")?);
        let control = self.kept("logs")?.join("merge");
        let _ = std::fs::remove_file(&control);
        std::fs::remove_dir_all(&smallest)?;
        std::fs::create_dir_all(&smallest)?;
        let status = self
            .command(&self.kept("logs")?.join("minimise"))?
            .args(["-set_cover_merge=1", "-use_counters=0", "-use_cmp=0"])
            .arg(format!("-merge_control_file={}", control.display()))
            .args([&smallest, &self.committed(), &corpus])
            .status()?;
        if !status.success() {
            return Err(io::Error::other(format!("{status}: an input is broken, fuzz first")));
        }
        let inputs = cover::read(&std::fs::read_to_string(&control)?);
        let mut chosen = Vec::new();
        for input in cover::choose(&inputs, INPUTS_MAX) {
            chosen.push((file_name(&input.file), std::fs::read(&input.file)?));
        }
        for entry in std::fs::read_dir(self.committed())? {
            let path = entry?.path();
            if is_nameless(&file_name(&path)) {
                std::fs::remove_file(path)?;
            }
        }
        for (name, octets) in chosen {
            let short = if is_nameless(&name) { name.chars().take(12).collect() } else { name };
            std::fs::write(self.committed().join(short), octets)?;
        }
        let count = std::fs::read_dir(self.committed())?.count();
        println!("{:<15} {count} inputs of {}", self.target.name, inputs.len());
        Ok(false)
    }
}

fn file_name(path: impl AsRef<Path>) -> String {
    path.as_ref().file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Whether a file has its name from libFuzzer: a number alone.
fn is_nameless(name: &str) -> bool {
    name.chars().all(|character| character.is_ascii_hexdigit())
}
