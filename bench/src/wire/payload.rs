//! What a test packet carries: whose it is, its number, when it was sent, and a check over all of it.
//!
//! | octets | |
//! |---|---|
//! | 0, 1 | [`MAGIC`] |
//! | 2 to 4 | flow: the number of the session |
//! | 5 to 8 | sequence number within the flow |
//! | 9 to 13 | when it was sent: the lower 40 bits of a monotonic clock's nanoseconds |
//! | 14 to 17 | check over the fields above and the payload's length |
//! | 18 on | the pattern of this flow and number |
//!
//! Numbers are big-endian. Eighteen octets fill the smallest Ethernet frame behind IPv4 and UDP.

/// What a payload begins with.
pub const MAGIC: [u8; 2] = *b"xl";

/// Octets before the pattern: the smallest payload.
pub const HEADER_BYTES: usize = 18;

/// Octets that the check covers.
const CHECKED_BYTES: usize = 14;

/// Flows that can be told apart.
pub const FLOWS_MAX: u32 = 1 << 24;

/// Of the sending time so much is carried: a quarter of an hour before it comes round.
const STAMP_MASK: u64 = (1 << 40) - 1;

/// Octets of the longest payload.
pub const BYTES_MAX: usize = 1500;

/// Places in the pattern's octets at which it may begin, each two octets after the one before.
const STARTS: usize = 512;

/// What patterns are cut out of.
static PATTERN: [u8; BYTES_MAX + 2 * STARTS] = pattern();

/// What a packet says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// Number of the session.
    pub flow: u32,
    /// Number of the packet in its flow; wraps.
    pub sequence: u32,
    /// When it was sent, nanoseconds; the lower 40 bits of it count.
    pub sent_ns: u64,
}

/// Why a payload is not what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Shorter than its header, or another magic number.
    Foreign,
    /// The check or the pattern does not fit.
    Corrupt,
}

impl Label {
    /// Fills a payload, which must have room for the header and not be longer than [`BYTES_MAX`].
    pub fn write(self, payload: &mut [u8]) {
        let length = payload.len();
        debug_assert!((HEADER_BYTES..=BYTES_MAX).contains(&length));
        let Some((header, pattern)) = payload.split_first_chunk_mut::<HEADER_BYTES>() else {
            return;
        };
        *header = self.header(length);
        if let Some(octets) = self.pattern(pattern.len()) {
            pattern.copy_from_slice(octets);
        }
    }

    fn header(self, length: usize) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        let [_, flow @ ..] = self.flow.to_be_bytes();
        let [_, _, _, stamp @ ..] = self.sent_ns.to_be_bytes();
        header[..2].copy_from_slice(&MAGIC);
        header[2..5].copy_from_slice(&flow);
        header[5..9].copy_from_slice(&self.sequence.to_be_bytes());
        header[9..CHECKED_BYTES].copy_from_slice(&stamp);
        let check = check(&header, length);
        header[CHECKED_BYTES..].copy_from_slice(&check.to_be_bytes());
        header
    }

    /// Reads a payload; every octet of it must be as it was written.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn read(payload: &[u8]) -> Result<Self, Fault> {
        let (header, pattern) =
            payload.split_first_chunk::<HEADER_BYTES>().ok_or(Fault::Foreign)?;
        if !header.starts_with(&MAGIC) {
            return Err(Fault::Foreign);
        }
        let [_, _, f0, f1, f2, s0, s1, s2, s3, t0, t1, t2, t3, t4, checked @ ..] = *header;
        if u32::from_be_bytes(checked) != check(header, payload.len()) {
            return Err(Fault::Corrupt);
        }
        let label = Self {
            flow: u32::from_be_bytes([0, f0, f1, f2]),
            sequence: u32::from_be_bytes([s0, s1, s2, s3]),
            sent_ns: u64::from_be_bytes([0, 0, 0, t0, t1, t2, t3, t4]),
        };
        match label.pattern(pattern.len()) {
            Some(octets) if octets == pattern => Ok(label),
            _ => Err(Fault::Corrupt),
        }
    }

    /// How long it was on its way at `now_ns` by the clock that it was sent by.
    pub fn age_ns(self, now_ns: u64) -> u64 {
        now_ns.wrapping_sub(self.sent_ns) & STAMP_MASK
    }

    /// Another one for each flow and number, so that octets of another packet are found as well.
    fn pattern(self, length: usize) -> Option<&'static [u8]> {
        let start = self.flow.wrapping_mul(7).wrapping_add(self.sequence) as usize % STARTS * 2;
        PATTERN.get(start..start + length)
    }
}

/// A hash that every flipped bit of the fields and every other length changes.
fn check(header: &[u8; HEADER_BYTES], length: usize) -> u32 {
    let [a @ .., _, _, _, _, _, _, _, _, _, _] = header;
    let [_, _, _, _, _, _, b @ .., _, _, _, _] = header;
    let mut hash = u64::from_be_bytes(*a) ^ (length as u64) << 48;
    hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash ^= u64::from_be_bytes(*b);
    hash = (hash ^ (hash >> 32)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (hash >> 32) as u32
}

const fn pattern() -> [u8; BYTES_MAX + 2 * STARTS] {
    let mut octets = [0; BYTES_MAX + 2 * STARTS];
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut index = 0;
    while index < octets.len() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        octets[index] = (state >> 32) as u8;
        index += 1;
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(label: Label, length: usize) -> Vec<u8> {
        let mut payload = vec![0xa5; length];
        label.write(&mut payload);
        payload
    }

    const LABEL: Label = Label { flow: 0x01_2345, sequence: 0xfedc_ba98, sent_ns: 0x12_3456_789a };

    #[test]
    fn what_was_written_is_read_at_every_length() {
        let labels = [
            LABEL,
            Label { flow: 0, sequence: 0, sent_ns: 0 },
            Label { flow: FLOWS_MAX - 1, sequence: u32::MAX, sent_ns: STAMP_MASK },
        ];
        for label in labels {
            for length in [HEADER_BYTES, HEADER_BYTES + 1, 100, 1399, BYTES_MAX] {
                assert_eq!(Label::read(&written(label, length)), Ok(label), "{length}");
            }
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        for length in [HEADER_BYTES, 77, 300] {
            let good = written(LABEL, length);
            for bit in 0..length * 8 {
                let mut payload = good.clone();
                payload[bit / 8] ^= 1 << (bit % 8);
                let fault = if bit < 16 { Fault::Foreign } else { Fault::Corrupt };
                assert_eq!(Label::read(&payload), Err(fault), "bit {bit} of {length} octets");
            }
        }
    }

    #[test]
    fn one_octet_less_or_more_is_found() {
        let good = written(LABEL, 60);
        for length in HEADER_BYTES..60 {
            assert_eq!(Label::read(&good[..length]), Err(Fault::Corrupt), "{length}");
        }
        assert_eq!(Label::read(&good[..HEADER_BYTES - 1]), Err(Fault::Foreign));
        assert_eq!(Label::read(&[&good[..], &[0]].concat()), Err(Fault::Corrupt));
    }

    #[test]
    fn octets_of_another_packet_are_found() {
        let one = written(LABEL, 200);
        for other in [
            Label { sequence: LABEL.sequence + 1, ..LABEL },
            Label { flow: LABEL.flow + 1, ..LABEL },
        ] {
            let other = written(other, 200);
            for place in [HEADER_BYTES, 100, 199] {
                let mixed = [&one[..place], &other[place..]].concat();
                assert_eq!(Label::read(&mixed), Err(Fault::Corrupt), "from {place} on");
            }
        }
    }

    #[test]
    fn an_age_is_right_where_the_stamp_comes_round() {
        let label = Label { sent_ns: STAMP_MASK - 4, ..LABEL };
        assert_eq!(label.age_ns(STAMP_MASK + 6), 10);
        assert_eq!(label.age_ns((7 << 40) + 5), 10);
    }
}
