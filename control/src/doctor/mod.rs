//! `xlns doctor`: what of this machine keeps xlns from working, or from working well, and what to do
//! about it.
//!
//! [`gather()`](fn@gather) reads the machine into a [`Machine`]: `/proc`, `/sys`, netlink, and what a running
//! xlns says of itself. It changes nothing, and most of it needs no privileges; what could not be
//! read is part of the description. [`examine`] is a pure function of that description, one task a
//! file: `host`, `cores`, `driver`, `queues`, `frames`.

mod cores;
mod driver;
mod frames;
mod gather;
mod host;
mod kernel;
mod machine;
mod queues;
#[cfg(test)]
mod sound;

use serde::Serialize;

pub use gather::gather;
pub use machine::{Machine, Plan};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing has to be done.
    Note,
    /// xlns works, and could work better or safer.
    Warn,
    /// xlns does not start or does not forward like this.
    Fail,
}

impl Level {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What findings about the machine as a whole are about.
pub const HOST: &str = "host";

/// What one check came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check.
    pub check: &'static str,
    /// [`HOST`], or a port's interface.
    pub subject: String,
    /// How bad it is.
    pub level: Level,
    /// What was found, in a sentence.
    pub finding: String,
    /// What to change, in a sentence; empty: nothing.
    pub advice: String,
    /// The command for it; empty where there is none.
    pub command: String,
}

impl Finding {
    fn new(check: &'static str, subject: &str, level: Level, finding: impl Into<String>) -> Self {
        Self {
            check,
            subject: subject.to_owned(),
            level,
            finding: finding.into(),
            advice: String::new(),
            command: String::new(),
        }
    }

    fn ok(check: &'static str, subject: &str, finding: impl Into<String>) -> Self {
        Self::new(check, subject, Level::Ok, finding)
    }

    fn note(check: &'static str, subject: &str, finding: impl Into<String>) -> Self {
        Self::new(check, subject, Level::Note, finding)
    }

    fn warn(check: &'static str, subject: &str, finding: impl Into<String>) -> Self {
        Self::new(check, subject, Level::Warn, finding)
    }

    fn fail(check: &'static str, subject: &str, finding: impl Into<String>) -> Self {
        Self::new(check, subject, Level::Fail, finding)
    }

    /// What could not be read, and so not be judged.
    fn unread(check: &'static str, subject: &str, what: &str, why: &str) -> Self {
        Self::note(check, subject, format!("{what} could not be read ({why})"))
    }

    fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = advice.into();
        self
    }

    fn command(mut self, command: impl Into<String>) -> Self {
        self.command = command.into();
        self
    }
}

/// All checks: of the host, then of each port.
pub fn examine(machine: &Machine) -> Vec<Finding> {
    let mut findings = host::examine(machine);
    findings.extend(cores::examine(machine));
    for port in &machine.ports {
        let Ok(link) = &port.link else {
            findings.push(driver::missing(port));
            continue;
        };
        findings.extend(driver::examine(machine, port, link));
        findings.extend(queues::examine(machine, port));
        findings.extend(frames::examine(machine, port, link));
        findings.extend(cores::examine_port(machine, port));
    }
    findings
}

/// `1 queue`, `2 queues`.
fn count(number: impl Into<u64>, noun: &str) -> String {
    let number = number.into();
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// The worst of them.
pub fn worst(findings: &[Finding]) -> Level {
    findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
}

#[cfg(test)]
mod tests {
    use super::sound::machine;
    use super::*;

    #[test]
    fn a_sound_machine_has_nothing_to_be_done() {
        let findings = examine(&machine());
        let bad: Vec<_> = findings.iter().filter(|finding| finding.level != Level::Ok).collect();
        assert!(bad.is_empty(), "{bad:#?}");
        assert_eq!(worst(&findings), Level::Ok);
        assert!(findings.len() > 25, "{}", findings.len());
        let bare = findings.iter().filter(|f| !f.advice.is_empty() || !f.command.is_empty());
        assert_eq!(bare.count(), 0, "nothing to do where all is well");
    }

    #[test]
    fn each_check_speaks_once_of_each_subject() {
        let findings = examine(&machine());
        for finding in &findings {
            let same = |other: &&Finding| {
                (other.check, &other.subject) == (finding.check, &finding.subject)
            };
            assert_eq!(findings.iter().filter(same).count(), 1, "{finding:?}");
        }
    }

    #[test]
    fn a_port_that_is_not_there_is_all_that_is_said_of_it() {
        let mut machine = machine();
        machine.ports[0].link = Err("No such device".to_owned());
        let findings = examine(&machine);
        let of_it: Vec<_> = findings.iter().filter(|finding| finding.subject == "eth0").collect();
        assert_eq!(of_it.len(), 1);
        assert_eq!((of_it[0].check, of_it[0].level), ("interface", Level::Fail));
        assert_eq!(worst(&findings), Level::Fail);
    }

    #[test]
    fn levels_are_ordered_by_how_bad_they_are() {
        assert!(Level::Ok < Level::Note && Level::Note < Level::Warn && Level::Warn < Level::Fail);
        assert_eq!(worst(&[]), Level::Ok);
    }

    #[test]
    fn whatever_cannot_be_read_is_said_and_nothing_fails_for_it() {
        let findings = examine(&sound::unreadable());
        assert!(findings.iter().all(|f| f.level <= Level::Note || f.check == "data-plane"));
        assert!(findings.iter().any(|finding| finding.finding.contains("could not be read")));
    }
}
