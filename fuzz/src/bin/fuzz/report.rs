//! What libFuzzer says at the end of a run.

use std::fmt;

/// One run in a line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Inputs tried.
    executions: u64,
    /// Of them in a second.
    per_second: u64,
    /// Edges reached by the inputs of the beginning, and by all.
    coverage: (u64, u64),
    /// Inputs that are kept, as libFuzzer counts them.
    corpus: String,
}

impl Report {
    /// Reads the log: `#123 INITED cov: 45 ft: 67 corp: 8/9b ..`, `stat::number_of_..: 123`.
    pub fn read(log: &str) -> Self {
        let mut report = Self::default();
        for line in log.lines() {
            if let Some(value) = line.strip_prefix("stat::number_of_executed_units:") {
                report.executions = value.trim().parse().unwrap_or_default();
            } else if let Some(value) = line.strip_prefix("stat::average_exec_per_sec:") {
                report.per_second = value.trim().parse().unwrap_or_default();
            } else if line.starts_with('#') {
                report.progress(line);
            }
        }
        report
    }

    fn progress(&mut self, line: &str) {
        let words: Vec<_> = line.split_whitespace().collect();
        let after = |name: &str| {
            words.iter().position(|word| *word == name).and_then(|at| words.get(at + 1).copied())
        };
        let number = |text: &str| text.trim_start_matches('#').parse().unwrap_or_default();
        if let Some(coverage) = after("cov:").map(number) {
            if self.coverage.0 == 0 || words.get(1) == Some(&"INITED") {
                self.coverage.0 = coverage;
            }
            self.coverage.1 = coverage;
        }
        if let Some(corpus) = after("corp:") {
            corpus.clone_into(&mut self.corpus);
        }
        // Where the run broke off there is nothing else.
        self.executions = words.first().map_or(0, |word| number(word));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { executions, per_second, coverage: (first, last), corpus } = self;
        write!(f, "{executions:>10} runs {per_second:>7}/s  coverage {last:>5} edges ")?;
        write!(f, "(+{})  corpus {corpus}", last.saturating_sub(*first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
INFO: seed corpus: files: 23 min: 1b max: 99b total: 999b rss: 30Mb
#2\tINITED cov: 310 ft: 411 corp: 1/1b exec/s: 0 rss: 31Mb
#900\tNEW    cov: 315 ft: 420 corp: 3/40b lim: 4 exec/s: 0 rss: 33Mb L: 2/4 MS: 1 CMP-
#99901\tDONE   cov: 333 ft: 555 corp: 77/4096b lim: 300 exec/s: 9990 rss: 40Mb
stat::number_of_executed_units: 99905
stat::average_exec_per_sec:     9990
";

    #[test]
    fn a_whole_run() {
        let text = "     99905 runs    9990/s  coverage   333 edges (+23)  corpus 77/4096b";
        assert_eq!(Report::read(LOG).to_string(), text);
    }

    #[test]
    fn a_run_that_broke_off() {
        let log: String = LOG.lines().take(3).map(|line| format!("{line}\n")).collect();
        let report = Report::read(&log);
        assert_eq!((report.executions, report.coverage), (900, (310, 315)));
    }
}
