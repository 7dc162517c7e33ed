//! The lines that a program writes: kept, searched, waited for.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::deadline::Deadline;

/// Lines of one program, shared by the thread that reads and those that wait.
#[derive(Clone, Default)]
pub struct Output {
    shared: Arc<(Mutex<Lines>, Condvar)>,
}

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    closed: bool,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Output({} lines)", self.mark())
    }
}

impl Output {
    /// Adds a line.
    pub fn push(&self, line: String) {
        self.lock().lines.push(line);
        self.shared.1.notify_all();
    }

    /// Says that no line will follow.
    pub fn close(&self) {
        self.lock().closed = true;
        self.shared.1.notify_all();
    }

    /// Number of lines so far: a place to search from.
    pub fn mark(&self) -> usize {
        self.lock().lines.len()
    }

    /// Every line so far.
    pub fn lines(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    /// All lines so far as one text.
    pub fn text(&self) -> String {
        self.lock().lines.join("\n")
    }

    /// The first line from `mark` on in which `find` finds something; waits for it at most `wait`,
    /// and no longer than the program lives.
    pub fn wait_map<T>(
        &self,
        mark: usize,
        wait: Duration,
        mut find: impl FnMut(&str) -> Option<T>,
    ) -> Option<T> {
        let deadline = Deadline::after(wait);
        let mut next = mark;
        let mut lines = self.lock();
        loop {
            while let Some(line) = lines.lines.get(next) {
                if let Some(found) = find(line) {
                    return Some(found);
                }
                next += 1;
            }
            let remaining = deadline.remaining();
            if lines.closed || remaining.is_zero() {
                return None;
            }
            lines = self
                .shared
                .1
                .wait_timeout(lines, remaining)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// The first line from `mark` on that contains `text`.
    pub fn wait_for(&self, mark: usize, wait: Duration, text: &str) -> Option<String> {
        self.wait_map(mark, wait, |line| line.contains(text).then(|| line.to_owned()))
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_lines_that_come_later() {
        let output = Output::default();
        let writer = output.clone();
        let thread = std::thread::spawn(move || {
            for line in ["one", "two", "three"] {
                writer.push(line.into());
            }
            writer.close();
        });
        assert_eq!(output.wait_for(0, Duration::from_secs(5), "thr").as_deref(), Some("three"));
        assert_eq!(output.wait_for(1, Duration::from_secs(5), "one"), None, "before the mark");
        thread.join().unwrap();
        assert_eq!(output.text(), "one\ntwo\nthree");
        assert_eq!(output.mark(), 3);
    }
}
