//! Packets of the Password Authentication Protocol (RFC 1334 section 2).

use super::Discard;

/// Codes of packets (RFC 1334 section 2.2).
pub mod code {
    /// Authenticate-Request.
    pub const AUTHENTICATE_REQUEST: u8 = 1;
    /// Authenticate-Ack.
    pub const AUTHENTICATE_ACK: u8 = 2;
    /// Authenticate-Nak.
    pub const AUTHENTICATE_NAK: u8 = 3;
}

/// The fields of an Authenticate-Request after the header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The Peer-ID field.
    pub name: &'a [u8],
    /// The Password field.
    pub password: &'a [u8],
}

impl<'a> Request<'a> {
    /// Takes the data of a packet apart; what follows the password is ignored.
    ///
    /// # Errors
    /// When a length points past the end of the packet.
    pub fn parse(data: &'a [u8]) -> Result<Self, Discard> {
        let (name, rest) = split_counted(data).ok_or(Discard::Content)?;
        let (password, _) = split_counted(rest).ok_or(Discard::Content)?;
        Ok(Self { name, password })
    }
}

/// The Message of an Ack or a Nak; empty where there is none, or where its length is wrong: the text
/// changes nothing (RFC 1334 section 2.2.2, docs/peers.md row 39).
pub fn message(data: &[u8]) -> &[u8] {
    split_counted(data).map_or(&[], |(message, _)| message)
}

/// Splits off a field that a length octet precedes.
fn split_counted(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = data.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn name_and_password() {
        let request = Request::parse(b"\x03bob\x06secret").unwrap();
        assert_eq!((request.name, request.password), (&b"bob"[..], &b"secret"[..]));
        let request = Request::parse(&[0, 0, 9, 9]).unwrap();
        assert_eq!((request.name, request.password), (&b""[..], &b""[..]));
    }

    #[test]
    fn lengths_past_the_end_are_refused() {
        for data in [&b""[..], b"\x03bo", b"\x03bob", b"\x03bob\x07secret", b"\xff"] {
            assert!(Request::parse(data) == Err(Discard::Content), "{data:?}");
        }
    }

    #[test]
    fn a_message_may_be_missing_or_malformed() {
        assert_eq!(message(b"\x02ok"), b"ok");
        for data in [&b""[..], b"\x00", b"\x03ok"] {
            assert_eq!(message(data), b"", "{data:?}");
        }
    }

    proptest! {
        #[test]
        fn any_data_parse_or_are_refused(data in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(request) = Request::parse(&data) {
                prop_assert!(request.name.len() + request.password.len() + 2 <= data.len());
            }
        }
    }
}
