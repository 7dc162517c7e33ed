//! What a finding is called: by what it broke.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Characters of the part that can be read.
const WORDS_MAX: usize = 60;

/// What every failed comparison begins with.
const COMPARISON: &str = "assertion `left == right` failed";

/// The sentence that a run ended with: that of the panic, or what libFuzzer says.
pub fn text(log: &str) -> String {
    let mut lines = log.lines();
    while let Some(line) = lines.next() {
        if let Some((_, place)) = line.split_once("panicked at ") {
            let is_of_it = |line: &&str| !line.starts_with("note:") && !line.starts_with("stack");
            let said: Vec<_> = lines.take_while(is_of_it).take(3).map(str::trim).collect();
            let said = said.join(" ");
            let said = said.strip_prefix(COMPARISON).unwrap_or(&said);
            return format!("{} ({})", said.trim_matches([':', ' ']), place.trim_end_matches(':'));
        }
        if let Some((_, what)) = line.split_once("ERROR: libFuzzer: ") {
            return what.to_owned();
        }
    }
    "unknown".to_owned()
}

/// A file name of lower-case words, and a number that tells two inputs apart.
pub fn name(log: &str, input: &[u8]) -> String {
    let text = text(log).to_lowercase();
    let words: Vec<_> =
        text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let words: String = words.join("_").chars().take(WORDS_MAX).collect();
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    format!("{words}-{:08x}", hasher.finish() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_and_what_libfuzzer_itself_notices() {
        let panic = "INFO: x\n\nthread '<unnamed>' (7) panicked at control/src/a.rs:1:2:\n\
            a timer that does not move\nnote: run\n==7== ERROR: libFuzzer: deadly signal\n";
        assert_eq!(text(panic), "a timer that does not move (control/src/a.rs:1:2)");
        let found = name(panic, b"x");
        assert!(found.starts_with("a_timer_that_does_not_move_control_src_a_rs_1_2-"), "{found}");
        assert_ne!(found, name(panic, b"y"));
        let comparison = "thread 'x' panicked at a.rs:1:2:\n\
            assertion `left == right` failed: sessions\n  left: 1\n right: 2\nnote: run\n";
        assert_eq!(text(comparison), "sessions left: 1 right: 2 (a.rs:1:2)");
        let slow = "==7== ERROR: libFuzzer: timeout after 11 seconds\n";
        assert_eq!(text(slow), "timeout after 11 seconds");
        assert_eq!(text(""), "unknown");
    }
}
