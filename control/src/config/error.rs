//! What is wrong with a configuration, at which line, and what to write instead.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::{io, iter};

use miette::{Diagnostic, GraphicalReportHandler, LabeledSpan, NamedSource, SourceCode};

use super::key_path::{self, KeyPath};
use super::secret;
use toml::de::DeTable;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, `lac[0].peers[1]`; the root where the text is no TOML.
    pub(super) path: KeyPath,
    /// What is wrong, allowed range included.
    pub(super) message: String,
    /// What to do.
    pub(super) help: Option<String>,
    /// Whether the key rather than its value is at fault.
    pub(super) at_key: bool,
    /// Where in the text, in octets; found by `path` unless the parser said.
    pub(super) span: Option<Range<usize>>,
    /// From 1.
    line: Option<usize>,
}

impl Problem {
    pub(super) fn new(path: &KeyPath, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { path: path.clone(), message, help: None, at_key: false, span: None, line: None }
    }

    pub(super) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The key, `lac[0].peers[1]`; empty where the text is no TOML.
    pub fn path(&self) -> String {
        self.path.to_string()
    }

    /// What is wrong, allowed range included.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do.
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// The line of the file, from 1.
    pub fn line(&self) -> Option<usize> {
        self.line
    }

    pub(super) fn locate(&mut self, root: &DeTable<'_>) {
        if self.span.is_none() {
            self.span = key_path::locate(root, &self.path, self.at_key);
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.0.is_empty() {
            return f.write_str(&self.message);
        }
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// A configuration that cannot be used.
///
/// `Display` has one line for each mistake, fit for a log; [`ConfigError::report`] shows the lines
/// of the file as well, with secrets masked.
#[derive(Debug)]
pub enum ConfigError {
    /// The file could not be read.
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The file has mistakes.
    Invalid(Vec<Mistake>),
}

/// A [`Problem`] with the text that it is in.
#[derive(Debug)]
pub struct Mistake {
    problem: Problem,
    source: NamedSource<Arc<String>>,
}

impl ConfigError {
    /// The mistakes, in the order of the file; empty where the file could not be read.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        let mistakes = match self {
            Self::Read { .. } => &[][..],
            Self::Invalid(mistakes) => mistakes,
        };
        mistakes.iter().map(|mistake| &mistake.problem)
    }

    /// What is wrong as an operator at a terminal wants it: each mistake with its line.
    pub fn report(&self) -> String {
        let Self::Invalid(mistakes) = self else { return format!("{self}\n") };
        let handler = GraphicalReportHandler::new();
        let mut report = String::new();
        for mistake in mistakes {
            if handler.render_report(&mut report, mistake).is_err() {
                return format!("{self}\n");
            }
        }
        report
    }

    /// Puts the problems beside their lines. `hidden`: parts of the text never to be shown, besides
    /// what looks like a secret.
    pub(super) fn invalid(
        name: &str,
        text: &str,
        mut problems: Vec<Problem>,
        hidden: &[Range<usize>],
    ) -> Self {
        let shown = Arc::new(shown_text(text, hidden));
        problems.sort_by_key(|problem| problem.span.as_ref().map(|span| span.start));
        let mistake = |mut problem: Problem| {
            problem.line = problem.span.as_ref().map(|span| {
                shown.bytes().take(span.start).filter(|octet| *octet == b'\n').count() + 1
            });
            let source = NamedSource::new(name, Arc::clone(&shown)).with_language("TOML");
            Mistake { problem, source }
        };
        Self::Invalid(problems.into_iter().map(mistake).collect())
    }
}

fn shown_text(text: &str, hidden: &[Range<usize>]) -> String {
    let mut octets = secret::masked(text).into_bytes();
    for span in hidden {
        for octet in octets.iter_mut().take(span.end).skip(span.start) {
            if *octet != b'\n' {
                *octet = b'*';
            }
        }
    }
    String::from_utf8(octets).unwrap_or_default()
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

impl std::error::Error for Mistake {}

impl Diagnostic for Mistake {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.problem.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.problem.span.as_ref().map(|_| &self.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.problem.span.clone()?;
        let label = if self.problem.path.0.is_empty() { "here" } else { "this" };
        let label = LabeledSpan::new_with_span(Some(label.to_owned()), span);
        Some(Box::new(iter::once(label)))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, error } => {
                write!(f, "cannot read {}: {error}", path.display())?;
                if error.kind() == io::ErrorKind::NotFound {
                    f.write_str(
                        " (copy xlns.example.toml there, or name another file with --config)",
                    )?;
                }
                Ok(())
            }
            Self::Invalid(mistakes) => {
                for (index, mistake) in mistakes.iter().enumerate() {
                    let separator = if index == 0 { "" } else { "\n" };
                    write!(f, "{separator}{}", mistake.source.name())?;
                    if let Some(line) = mistake.problem.line {
                        write!(f, ":{line}")?;
                    }
                    write!(f, ": {}", mistake.problem)?;
                    if let Some(help) = &mistake.problem.help {
                        write!(f, " ({help})")?;
                    }
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { error, .. } => Some(error),
            Self::Invalid(_) => None,
        }
    }
}
