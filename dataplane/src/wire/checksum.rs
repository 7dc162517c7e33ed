//! The Internet checksum.
//!
//! Sums are kept in memory order, not swapped to host order: the one's complement sum does not mind
//! the byte order as long as the result is stored the way it was read.

use zerocopy::network_endian::U16;

/// A one's complement sum under way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// The sum that a [`Sum::seed`] was taken of.
    #[inline]
    pub fn from_seed(seed: u16) -> Self {
        Self(seed.into())
    }

    /// Adds octets that begin at an even offset; an odd last one is padded with zero.
    #[inline]
    #[must_use]
    pub fn octets(self, octets: &[u8]) -> Self {
        let mut sum = self.0;
        // Words of 4 into 8 octets: no carry to look after below 16 GiB.
        let mut words = octets.chunks_exact(4);
        for word in &mut words {
            if let Ok(word) = word.try_into() {
                sum += u64::from(u32::from_ne_bytes(word));
            }
        }
        let sum = Self(sum);
        match *words.remainder() {
            [] => sum,
            [a] => sum.pair([a, 0]),
            [a, b] => sum.pair([a, b]),
            [a, b, c, ..] => sum.pair([a, b]).pair([c, 0]),
        }
    }

    #[inline]
    fn pair(self, octets: [u8; 2]) -> Self {
        Self(self.0 + u64::from(u16::from_ne_bytes(octets)))
    }

    /// Adds a 16-bit number.
    #[inline]
    #[must_use]
    pub fn number(self, number: u16) -> Self {
        self.pair(number.to_be_bytes())
    }

    /// Adds another sum.
    #[inline]
    #[must_use]
    pub fn sum(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// Subtracts another sum: adds its complement.
    #[inline]
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0 + u64::from(!other.seed()))
    }

    /// The sum as it counts when its octets begin at an odd offset of the whole.
    #[inline]
    #[must_use]
    pub fn at_odd_offset(self) -> Self {
        Self(self.seed().swap_bytes().into())
    }

    /// Folded to 16 bits, to go on from later.
    #[inline]
    pub fn seed(self) -> u16 {
        // The halves added to one another the other way round as well: the carry of the lower ones
        // comes into the upper ones.
        let sum = (self.0.wrapping_add(self.0.rotate_left(32)) >> 32) as u32;
        (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
    }

    /// The sum over an IPv4 header without options.
    #[inline(always)]
    pub fn ipv4_header(octets: &[u8; 20]) -> Self {
        let [a @ .., _, _, _, _] = octets;
        let [_, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, last @ ..] = octets;
        let words = u128::from_ne_bytes(*a);
        // In memory order: whichever half is the first one.
        let (sum, carry) = (words as u64).overflowing_add((words >> 64) as u64);
        let last = u64::from(u32::from_ne_bytes(*last)) + u64::from(carry);
        let (sum, carry) = sum.overflowing_add(last);
        // Never both all ones and a carry: the second carry leaves at most 2^32.
        Self((sum >> 32) + (sum & 0xffff_ffff) + u64::from(carry))
    }

    /// The field's value: folded and complemented.
    #[inline]
    pub fn checksum(self) -> U16 {
        U16::from_bytes((!self.seed()).to_ne_bytes())
    }

    /// The value of a UDP checksum field, where 0 would say that there is none.
    #[inline]
    pub fn udp_checksum(self) -> U16 {
        match !self.seed() {
            0 => U16::MAX_VALUE,
            checksum => U16::from_bytes(checksum.to_ne_bytes()),
        }
    }

    /// Whether octets that hold their own checksum are correct.
    #[inline]
    pub fn is_correct(self) -> bool {
        self.seed() == 0xffff
    }
}

/// The pseudo-header of TCP and UDP over IPv4.
#[inline]
pub fn pseudo_ipv4(source: [u8; 4], destination: [u8; 4], protocol: u8, length: u16) -> Sum {
    Sum::default().octets(&source).octets(&destination).number(protocol.into()).number(length)
}

/// The pseudo-header of TCP, UDP and ICMPv6 over IPv6.
#[inline]
pub fn pseudo_ipv6(source: [u8; 16], destination: [u8; 16], protocol: u8, length: u16) -> Sum {
    Sum::default().octets(&source).octets(&destination).number(protocol.into()).number(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, word by word.
    fn naive(octets: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in octets.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    proptest! {
        #[test]
        fn sums_like_the_definition(octets: Vec<u8>) {
            prop_assert_eq!(Sum::default().octets(&octets).checksum().get(), naive(&octets));
        }

        #[test]
        fn headers_sum_like_octets(octets: [u8; 20], ones in 0usize..21) {
            let mut octets = octets;
            octets[..ones].fill(0xff);
            prop_assert_eq!(
                Sum::ipv4_header(&octets).seed(), Sum::default().octets(&octets).seed());
        }

        #[test]
        fn a_part_at_an_odd_offset(a: Vec<u8>, b: Vec<u8>) {
            let mut all = a.clone();
            all.extend(&b);
            let mut part = Sum::default().octets(&b);
            if a.len() % 2 == 1 {
                part = part.at_odd_offset();
            }
            let sum = Sum::default().octets(&a).sum(part);
            prop_assert_eq!(sum.checksum().get(), naive(&all));
        }

        #[test]
        fn minus_undoes_plus(a: [u8; 8], b: [u8; 12]) {
            let a = Sum::default().octets(&a).number(1);
            let sum = a.sum(Sum::default().octets(&b)).minus(Sum::default().octets(&b));
            prop_assert_eq!(sum.seed() % 0xffff, a.seed() % 0xffff);
        }
    }

    #[test]
    fn udp_checksum_is_never_zero() {
        let sum = Sum::default().number(0xffff);
        assert_eq!(sum.checksum().get(), 0);
        assert_eq!(sum.udp_checksum().get(), 0xffff);
    }
}
