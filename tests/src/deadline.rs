//! The lab's only clock: deadlines, and waiting for what can only be asked for again and again.

use std::time::{Duration, Instant};

/// How often a state of another process is asked for.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A point in time until which something is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    start: Instant,
    end: Instant,
}

impl Deadline {
    /// The point `wait` from now.
    pub fn after(wait: Duration) -> Self {
        let start = now();
        Self { start, end: start + wait }
    }

    /// What is left; zero once it has passed.
    pub fn remaining(&self) -> Duration {
        self.end.saturating_duration_since(now())
    }

    /// Whether it has passed.
    pub fn passed(&self) -> bool {
        self.remaining().is_zero()
    }

    /// Time since the deadline was set.
    pub fn elapsed(&self) -> Duration {
        now().saturating_duration_since(self.start)
    }
}

/// Asks until `ask` answers or `wait` has passed.
pub fn poll<T>(wait: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Deadline::after(wait);
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if deadline.passed() {
            return None;
        }
        std::thread::park_timeout(POLL_INTERVAL.min(deadline.remaining()));
    }
}

/// Lets `span` pass: for what must stay as it is, not for what is to happen.
pub fn watch(span: Duration) {
    poll(span, || None::<()>);
}

#[expect(clippy::disallowed_methods, reason = "the lab's clock: real programs run in real time")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poll_ends_with_the_answer_or_the_deadline() {
        let mut asked = 0;
        let answer = poll(Duration::from_secs(5), || {
            asked += 1;
            (asked == 3).then_some(asked)
        });
        assert_eq!(answer, Some(3));
        let deadline = Deadline::after(Duration::from_millis(30));
        assert_eq!(poll(Duration::from_millis(30), || None::<()>), None);
        assert!(deadline.passed());
        assert!(deadline.elapsed() >= Duration::from_millis(30));
    }
}
