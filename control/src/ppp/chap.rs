//! Packets of the Challenge Handshake Authentication Protocol, and its check with MD5 (RFC 1994).

use md5::{Digest, Md5};
use subtle::ConstantTimeEq;

use super::Discard;

/// Codes of packets (RFC 1994 section 4).
pub mod code {
    /// Challenge.
    pub const CHALLENGE: u8 = 1;
    /// Response.
    pub const RESPONSE: u8 = 2;
    /// Success.
    pub const SUCCESS: u8 = 3;
    /// Failure.
    pub const FAILURE: u8 = 4;
    /// Change-Password, of MS-CHAPv2 alone (RFC 2759 section 7).
    pub const CHANGE_PASSWORD: u8 = 7;
}

/// Octets of our Challenge Values: as many as the hash has, so that none is guessed or repeated.
pub const CHALLENGE_OCTETS: usize = 16;

/// Octets of a Response Value with MD5 (RFC 1994 section 4.1).
pub const RESPONSE_OCTETS: usize = 16;

/// The fields of a Challenge or a Response after the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fields<'a> {
    /// The Value field.
    pub value: &'a [u8],
    /// The Name field: all the rest.
    pub name: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Takes the data of a packet apart.
    ///
    /// # Errors
    /// When the Value-Size is zero or past the end of the packet.
    pub fn parse(data: &'a [u8]) -> Result<Self, Discard> {
        let (size, rest) = data.split_first().ok_or(Discard::Content)?;
        let (value, name) = rest.split_at_checked(usize::from(*size)).ok_or(Discard::Content)?;
        if value.is_empty() {
            return Err(Discard::Content);
        }
        Ok(Self { value, name })
    }
}

/// What a peer that knows `secret` answers to `challenge`: the hash of identifier, secret and
/// challenge (RFC 1994 section 4.1).
pub fn respond(identifier: u8, secret: &[u8], challenge: &[u8]) -> [u8; RESPONSE_OCTETS] {
    let mut hash = Md5::new();
    hash.update([identifier]);
    hash.update(secret);
    hash.update(challenge);
    hash.finalize().into()
}

/// Whether `response` is right. Takes the same time for every response.
pub fn verify(identifier: u8, secret: &[u8], challenge: &[u8], response: &[u8]) -> bool {
    respond(identifier, secret, challenge).as_slice().ct_eq(response).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn value_and_name() {
        let fields = Fields::parse(&[2, 0xaa, 0xbb, b'b', b'o', b'b']).unwrap();
        assert_eq!(fields, Fields { value: &[0xaa, 0xbb], name: b"bob" });
        assert_eq!(Fields::parse(&[1, 0xaa]).unwrap().name, b"");
    }

    #[test]
    fn a_value_that_does_not_fit_is_refused() {
        for data in [&[][..], &[0], &[0, 1, 2], &[1], &[3, 1, 2], &[255, 1]] {
            assert_eq!(Fields::parse(data), Err(Discard::Content), "{data:?}");
        }
    }

    /// The digest of 07 "secret" 00..0f, computed by another program.
    #[test]
    fn right_and_wrong_responses() {
        let challenge: Vec<u8> = (0..16).collect();
        let response = DIGEST;
        assert!(verify(7, b"secret", &challenge, &response));
        assert!(!verify(8, b"secret", &challenge, &response));
        assert!(!verify(7, b"Secret", &challenge, &response));
        assert!(!verify(7, b"secret", &challenge[1..], &response));
        assert!(!verify(7, b"secret", &challenge, &response[..15]));
        assert!(!verify(7, b"secret", &challenge, &[]));
    }

    const DIGEST: [u8; 16] = [
        0x82, 0x16, 0x43, 0x66, 0x5b, 0x43, 0x03, 0x59, 0xe5, 0x2a, 0xc5, 0x24, 0xd2, 0x9c, 0x8f,
        0x95,
    ];

    proptest! {
        #[test]
        fn any_data_parse_or_are_refused(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(fields) = Fields::parse(&data) {
                prop_assert_eq!(1 + fields.value.len() + fields.name.len(), data.len());
            }
        }
    }
}
