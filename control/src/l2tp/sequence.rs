//! Sequence numbers of control messages, modulo 2^16 (RFC 2661 section 5.8).

use std::fmt;

/// Ns or Nr. It has no order: of two numbers modulo 2^16 neither is the larger one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Sequence(pub u16);

impl Sequence {
    /// The first one of a control connection.
    pub const ZERO: Self = Self(0);

    /// The one after this.
    pub fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// The one `count` after this.
    pub fn advanced(self, count: u16) -> Self {
        Self(self.0.wrapping_add(count))
    }

    /// How many steps lead from `earlier` to this one.
    pub fn steps_from(self, earlier: Self) -> u16 {
        self.0.wrapping_sub(earlier.0)
    }

    /// Whether a message with this Ns was received already, where `expected` is the next one to
    /// come: it is the last one received or one of the 32767 before that.
    pub fn is_duplicate(self, expected: Self) -> bool {
        self.steps_from(expected) >= 0x8000
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc() {
        // Last received 15: 0 to 15 and 32784 to 65535 are old, the rest is new.
        let expected = Sequence(16);
        for ns in 0..=u16::MAX {
            let old = ns <= 15 || ns >= 32784;
            assert_eq!(Sequence(ns).is_duplicate(expected), old, "{ns}");
        }
    }

    #[test]
    fn every_number_at_every_edge() {
        for expected in 0..=u16::MAX {
            let expected = Sequence(expected);
            for (steps, old) in [(0, false), (1, false), (32766, false), (32767, false)] {
                assert_eq!(expected.advanced(steps).is_duplicate(expected), old);
            }
            for back in [1, 2, 32767, 32768] {
                let ns = Sequence(expected.0.wrapping_sub(back));
                assert!(ns.is_duplicate(expected), "{ns} {expected}");
                assert_eq!(expected.steps_from(ns), back);
            }
            assert_eq!(expected.next().steps_from(expected), 1);
        }
        assert_eq!(Sequence(65535).next(), Sequence::ZERO);
    }
}
