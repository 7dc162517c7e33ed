//! `xlns doctor`.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use xlns_control::admin::SOCKET_DEFAULT;
use xlns_control::config::{Config, PATH_DEFAULT};
use xlns_control::doctor::{self, Finding, Level, Plan};

use crate::check;
use crate::output::{Failure, JsonArray};
use crate::table::printable;

/// Checks the machine against the configuration, or for these interfaces alone.
pub fn doctor(
    interfaces: &[String],
    config: Option<&Path>,
    socket: Option<&Path>,
    json: bool,
) -> Result<(), Failure> {
    let (plan, configured) = plan(interfaces, config)?;
    let socket = socket.map_or(configured, Path::to_owned);
    let findings = doctor::examine(&doctor::gather(plan, &socket));
    let mut output = BufWriter::new(io::stdout().lock());
    if json {
        let mut array = JsonArray::new(&mut output)?;
        for finding in &findings {
            array.push(&serde_json::to_value(finding).map_err(io::Error::from)?)?;
        }
        array.finish()?;
    } else {
        print(&findings, &mut output)?;
    }
    output.flush()?;
    // What is wrong has been said.
    if doctor::worst(&findings) == Level::Fail { Err(Failure::Reported) } else { Ok(()) }
}

/// What is planned, and the socket that goes with it.
fn plan(interfaces: &[String], config: Option<&Path>) -> Result<(Plan, PathBuf), Failure> {
    if config.is_none() && !interfaces.is_empty() {
        return Ok((Plan::of_interfaces(interfaces), SOCKET_DEFAULT.into()));
    }
    let path = config.unwrap_or(Path::new(PATH_DEFAULT));
    if config.is_none() && !path.exists() {
        return Err(Failure::Message(format!(
            "there is no {PATH_DEFAULT}: name a configuration with --config FILE, or interfaces \
             with --interface NAME"
        )));
    }
    let config = Config::load(path).map_err(|error| check::report(&error))?;
    check::warn(&config);
    let plan = Plan::of(&config);
    let plan = if interfaces.is_empty() { plan } else { plan.only(interfaces) };
    Ok((plan, config.admin.socket))
}

fn print(findings: &[Finding], output: &mut impl Write) -> io::Result<()> {
    let check_width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
    let mut subject = "";
    for finding in findings {
        if finding.subject != subject {
            let gap = if subject.is_empty() { "" } else { "\n" };
            subject = &finding.subject;
            writeln!(output, "{gap}{}", printable(subject))?;
        }
        let (level, check) = (finding.level.name(), finding.check);
        writeln!(output, "  {level:<4}  {check:<check_width$}  {}", printable(&finding.finding))?;
        let gap = " ".repeat(check_width + 10);
        for (mark, text) in [("->", &finding.advice), ("$", &finding.command)] {
            if !text.is_empty() {
                writeln!(output, "{gap}{mark} {}", printable(text))?;
            }
        }
    }
    writeln!(output, "\n{}", summary(findings))
}

/// How many of each there are, the worst first.
fn summary(findings: &[Finding]) -> String {
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let levels = [Level::Fail, Level::Warn, Level::Note, Level::Ok];
    let counts = levels.map(|level| format!("{} {}", count(level), level.name()));
    counts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(subject: &str, level: Level, advice: &str, command: &str) -> Finding {
        Finding {
            check: "mtu",
            subject: subject.to_owned(),
            level,
            finding: "has an MTU".to_owned(),
            advice: advice.to_owned(),
            command: command.to_owned(),
        }
    }

    #[test]
    fn findings_are_grouped_and_what_to_do_stands_below() {
        let findings = [
            finding("host", Level::Ok, "", ""),
            finding("eth0", Level::Fail, "lower it", "ip link"),
            finding("eth0", Level::Note, "", ""),
        ];
        let mut output = Vec::new();
        print(&findings, &mut output).unwrap();
        let expected = "host\n  ok    mtu  has an MTU\n\n\
                        eth0\n  fail  mtu  has an MTU\n             -> lower it\n             $ ip link\n  \
                        note  mtu  has an MTU\n\n1 fail, 0 warn, 1 note, 1 ok\n";
        assert_eq!(String::from_utf8(output).unwrap(), expected);
    }
}
