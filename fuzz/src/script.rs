//! What a fuzzer's octets mean where a target is more than a parser: a list of steps and their
//! arguments. Past its end everything is 0, so that every input means something.

use std::time::Duration;

/// First octet of a length that has a second one.
const LONG: u8 = 0xf0;

/// Reads steps and arguments, one after the other.
#[derive(Debug, Clone)]
pub struct Script<'a> {
    rest: &'a [u8],
}

impl<'a> Script<'a> {
    /// At the beginning of `octets`.
    pub fn new(octets: &'a [u8]) -> Self {
        Self { rest: octets }
    }

    /// Whether nothing is left.
    pub fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next octet.
    pub fn octet(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *first
    }

    /// A bit of the next octet.
    pub fn flag(&mut self) -> bool {
        self.octet() & 1 != 0
    }

    /// The next two octets.
    pub fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.octet(), self.octet()])
    }

    /// The next four octets.
    pub fn long(&mut self) -> u32 {
        u32::from(self.word()) << 16 | u32::from(self.word())
    }

    /// The next `count` octets, or as many as are left.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// Octets behind their length: up to 239 in one octet, up to 4095 in two.
    pub fn piece(&mut self) -> &'a [u8] {
        let first = self.octet();
        let length = if first < LONG {
            first.into()
        } else {
            usize::from(first - LONG) << 8 | usize::from(self.octet())
        };
        self.take(length)
    }

    /// [`Script::piece`], or nothing at all where it is empty.
    pub fn optional_piece(&mut self) -> Option<Vec<u8>> {
        Some(self.piece().to_vec()).filter(|piece| !piece.is_empty())
    }

    /// One of a list.
    ///
    /// # Panics
    /// Where there is none.
    pub fn choice<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::from(self.octet()) % of.len()]
    }

    /// A time of 1 ms to 131 s.
    pub fn time(&mut self) -> Duration {
        let octet = self.octet();
        Duration::from_millis(u64::from(1 + (octet & 0x0f)) << (octet >> 4).min(13))
    }

    /// What is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }
}

/// Puts octets behind their length, as [`Script::piece`] reads them.
pub fn push_piece(out: &mut Vec<u8>, piece: &[u8]) {
    if piece.len() < LONG.into() {
        out.push(piece.len() as u8);
    } else {
        out.extend([LONG | (piece.len() >> 8) as u8, piece.len() as u8]);
    }
    out.extend_from_slice(piece);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_every_kind_of_length_and_zeros_behind_the_end() {
        for length in [0, 1, 239, 240, 255, 256, 4095] {
            let mut octets = Vec::new();
            push_piece(&mut octets, &vec![7; length]);
            octets.push(9);
            let mut script = Script::new(&octets);
            assert_eq!(script.piece().len(), length);
            assert_eq!((script.octet(), script.is_over()), (9, true));
            assert_eq!((script.octet(), script.long(), script.piece()), (0, 0, &[][..]));
        }
        assert_eq!(Script::new(&[200, 1]).piece(), [1], "no more than there is");
    }
}
