//! What a shared secret is for: tunnel authentication (RFC 2661 section 5.1.1) and hidden AVPs
//! (section 4.3).

use std::fmt;

use md5::{Digest, Md5};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Octets of an MD5 digest, and so of a Challenge Response.
pub const RESPONSE_BYTES: usize = 16;
/// Octets of the Challenge that we send, and of our Random Vectors; the size that section 4.4.1
/// recommends at least.
pub const CHALLENGE_BYTES: usize = 16;

/// Octets that must not be seen: wiped when dropped, without content in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes the octets over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The octets.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for SecretBytes {
    fn from(bytes: &[u8]) -> Self {
        Self::new(bytes.to_vec())
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("<secret>")
    }
}

/// MD5 over the parts, one after the other.
fn digest(parts: &[&[u8]]) -> [u8; RESPONSE_BYTES] {
    let mut md5 = Md5::new();
    for part in parts {
        md5.update(part);
    }
    md5.finalize().into()
}

/// The answer to a tunnel's Challenge, sent in a message of `message_type` (2 for SCCRP, 3 for
/// SCCCN): that octet takes the place of the CHAP identifier (section 4.4.3).
pub fn response(message_type: u8, secret: &[u8], challenge: &[u8]) -> [u8; RESPONSE_BYTES] {
    digest(&[&[message_type], secret, challenge])
}

/// Whether `received` answers `challenge`. Some peers append octets to the sixteen (docs/peers.md
/// row 16); the comparison takes the same time wherever the difference is.
pub fn verify(message_type: u8, secret: &[u8], challenge: &[u8], received: &[u8]) -> bool {
    let expected = response(message_type, secret, challenge);
    match received.first_chunk::<RESPONSE_BYTES>() {
        Some(received) => bool::from(received.ct_eq(&expected)),
        None => false,
    }
}

/// Why a hidden AVP cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the hidden value does not hold what its length says (a different secret?)")]
pub struct UnhideError;

/// Appends the hidden form of an AVP's value: its length, the value, and `padding` octets, all
/// covered by a chain of digests.
pub fn hide(
    attribute: u16,
    secret: &[u8],
    random_vector: &[u8],
    value: &[u8],
    padding: &[u8],
    out: &mut Vec<u8>,
) {
    debug_assert!(value.len() <= usize::from(u16::MAX));
    let mut plain = Zeroizing::new(Vec::with_capacity(2 + value.len() + padding.len()));
    plain.extend_from_slice(&(value.len() as u16).to_be_bytes());
    plain.extend_from_slice(value);
    plain.extend_from_slice(padding);
    let mut mask = digest(&[&attribute.to_be_bytes(), secret, random_vector]);
    for chunk in plain.chunks(RESPONSE_BYTES) {
        let start = out.len();
        out.extend(chunk.iter().zip(mask).map(|(plain, mask)| plain ^ mask));
        mask = digest(&[secret, out.get(start..).unwrap_or_default()]);
    }
}

/// The value within a hidden AVP.
///
/// # Errors
/// [`UnhideError`] where the length found inside does not fit: mostly another secret.
pub fn unhide(
    attribute: u16,
    secret: &[u8],
    random_vector: &[u8],
    hidden: &[u8],
) -> Result<SecretBytes, UnhideError> {
    let mut plain = Zeroizing::new(Vec::with_capacity(hidden.len()));
    let mut mask = digest(&[&attribute.to_be_bytes(), secret, random_vector]);
    for chunk in hidden.chunks(RESPONSE_BYTES) {
        plain.extend(chunk.iter().zip(mask).map(|(hidden, mask)| hidden ^ mask));
        mask = digest(&[secret, chunk]);
    }
    let (length, rest) = plain.split_first_chunk::<2>().ok_or(UnhideError)?;
    let value = rest.get(..usize::from(u16::from_be_bytes(*length))).ok_or(UnhideError)?;
    Ok(SecretBytes::from(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn response_is_the_digest_of_type_secret_and_challenge() {
        // As md5sum has it for the octet 2, "secret" and "challenge".
        let expected = 0xc26b_e3d6_eb81_033f_92f1_6093_b1c7_b47b_u128.to_be_bytes();
        assert_eq!(response(2, b"secret", b"challenge"), expected);
        assert_ne!(response(3, b"secret", b"challenge"), expected);
    }

    #[test]
    fn right_and_wrong_answers() {
        let answer = response(3, b"secret", b"challenge");
        assert!(verify(3, b"secret", b"challenge", &answer));
        // docs/peers.md row 16: six more octets.
        let mut longer = answer.to_vec();
        longer.extend([1, 2, 3, 4, 5, 6]);
        assert!(verify(3, b"secret", b"challenge", &longer));
        assert!(!verify(2, b"secret", b"challenge", &answer));
        assert!(!verify(3, b"Secret", b"challenge", &answer));
        assert!(!verify(3, b"secret", b"challenge", &answer[..15]));
        assert!(!verify(3, b"secret", b"challenge", &[]));
        for bit in 0..128 {
            let mut wrong = answer;
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(!verify(3, b"secret", b"challenge", &wrong), "bit {bit}");
        }
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", SecretBytes::from(&b"hunter2"[..])), "<secret>");
    }

    #[test]
    fn the_first_block_is_as_the_rfc_says() {
        // b1 = MD5(AV + S + RV), c1 = p1 xor b1, and a value under 16 octets keeps its length.
        let mut out = Vec::new();
        hide(7, b"secret", b"vector", b"lac", b"", &mut out);
        let mask = Md5::digest(b"\x00\x07secretvector");
        let plain = [0, 3, b'l', b'a', b'c'];
        let expected: Vec<u8> = plain.iter().zip(mask).map(|(p, m)| p ^ m).collect();
        assert_eq!(out, expected);
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(unhide(7, b"secret", b"vector", &[]), Err(UnhideError));
        assert_eq!(unhide(7, b"secret", b"vector", &[1]), Err(UnhideError));
        let mut out = Vec::new();
        hide(7, b"secret", b"vector", b"lac", b"", &mut out);
        // One octet is missing, and another secret.
        assert_eq!(unhide(7, b"secret", b"vector", &out[..4]), Err(UnhideError));
        assert_eq!(unhide(7, b"other", b"vector", &out), Err(UnhideError));
    }

    proptest! {
        #[test]
        fn round_trip(attribute in any::<u16>(),
            secret in prop::collection::vec(any::<u8>(), 0..40),
            vector in prop::collection::vec(any::<u8>(), 0..140),
            value in prop::collection::vec(any::<u8>(), 0..200),
            padding in prop::collection::vec(any::<u8>(), 0..143)) {
            let mut out = vec![0xa5];
            hide(attribute, &secret, &vector, &value, &padding, &mut out);
            prop_assert_eq!(out.len(), 1 + 2 + value.len() + padding.len());
            let plain = unhide(attribute, &secret, &vector, &out[1..]).unwrap();
            prop_assert_eq!(plain.expose(), &value[..]);
        }

        #[test]
        fn never_panics(hidden in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = unhide(1, b"secret", b"vector", &hidden);
        }
    }
}
