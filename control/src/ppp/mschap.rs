//! MS-CHAPv2: the hashes, and what its packets say beyond those of CHAP (RFC 2759).
//!
//! It proves both sides to each other, and hides the password behind three DES blocks that can be
//! searched through in a day: no more than the RFC promises today, but it is what many peers have.
//! Whatever a password can be computed from is wiped after use.

use des::Des;
use des::cipher::{BlockCipherEncrypt, KeyInit};
use md4::Md4;
use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::Discard;

/// Octets of both challenges (RFC 2759 sections 3 and 4).
pub const CHALLENGE_OCTETS: usize = 16;

/// Octets of the Value of a Response (section 4).
pub const VALUE_OCTETS: usize = 49;

/// Octets of an NT-Response (section 4).
pub const NT_RESPONSE_OCTETS: usize = 24;

/// Octets of an authenticator response before it is spelled in digits (section 5).
pub const AUTHENTICATOR_RESPONSE_OCTETS: usize = 20;

/// Where the NT-Response begins in a Value: behind the Peer-Challenge and eight reserved octets.
const NT_RESPONSE_OFFSET: usize = CHALLENGE_OCTETS + 8;

const _: () = assert!(NT_RESPONSE_OFFSET + NT_RESPONSE_OCTETS + 1 == VALUE_OCTETS);

/// Octets of an MD4 hash.
const HASH_OCTETS: usize = 16;

/// Octets of a DES key without its parity bits.
const DES_KEY_OCTETS: usize = 7;

/// What the second of the two hashes for an authenticator response is salted with (section 8.7).
const SIGNING: &[u8] = b"Magic server to client signing constant";
const ITERATION: &[u8] = b"Pad to make it do more than one iteration";

/// Why a Failure is sent (section 6).
pub mod error {
    /// Name or password are wrong.
    pub const AUTHENTICATION_FAILURE: u16 = 691;
    /// The password cannot be changed.
    pub const CHANGING_PASSWORD: u16 = 709;
}

/// The Value of a Response, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// The peer's own challenge.
    pub peer_challenge: [u8; CHALLENGE_OCTETS],
    /// The proof.
    pub nt_response: [u8; NT_RESPONSE_OCTETS],
}

impl Response {
    /// Takes a Value apart. Reserved octets and flags are not looked at.
    ///
    /// # Errors
    /// When it has another length than [`VALUE_OCTETS`].
    pub fn parse(value: &[u8]) -> Result<Self, Discard> {
        let value: &[u8; VALUE_OCTETS] = value.try_into().map_err(|_| Discard::Content)?;
        let (peer_challenge, rest) =
            value.split_first_chunk::<CHALLENGE_OCTETS>().ok_or(Discard::Content)?;
        let rest = rest.get(NT_RESPONSE_OFFSET - CHALLENGE_OCTETS..).ok_or(Discard::Content)?;
        let nt_response = rest.first_chunk::<NT_RESPONSE_OCTETS>().ok_or(Discard::Content)?;
        Ok(Self { peer_challenge: *peer_challenge, nt_response: *nt_response })
    }

    /// The Value; reserved octets and flags are zero.
    pub fn emit(&self) -> [u8; VALUE_OCTETS] {
        let mut value = [0; VALUE_OCTETS];
        let octets = self.peer_challenge.iter().chain(&[0; 8]).chain(&self.nt_response);
        for (to, from) in value.iter_mut().zip(octets) {
            *to = *from;
        }
        value
    }
}

/// What both sides hash: two challenges and a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange<'a> {
    /// The Value of the Challenge.
    pub authenticator_challenge: &'a [u8; CHALLENGE_OCTETS],
    /// Of the Response.
    pub peer_challenge: &'a [u8; CHALLENGE_OCTETS],
    /// The Name field of the Response, with or without a domain.
    pub name: &'a [u8],
}

impl Exchange<'_> {
    /// What a peer with this password responds (section 8.1).
    pub fn nt_response(&self, password: &str) -> [u8; NT_RESPONSE_OCTETS] {
        challenge_response(&self.challenge_hash(), &nt_password_hash(password))
    }

    /// What an authenticator that knows the password proves itself with (section 8.7).
    pub fn authenticator_response(
        &self,
        password: &str,
        nt_response: &[u8; NT_RESPONSE_OCTETS],
    ) -> [u8; AUTHENTICATOR_RESPONSE_OCTETS] {
        let hash_hash = hash_nt_password_hash(&nt_password_hash(password));
        let mut digest = Sha1::new()
            .chain_update(*hash_hash)
            .chain_update(nt_response)
            .chain_update(SIGNING)
            .finalize();
        let response = Sha1::new()
            .chain_update(digest)
            .chain_update(self.challenge_hash())
            .chain_update(ITERATION)
            .finalize();
        digest.as_mut_slice().zeroize();
        response.into()
    }

    /// Whether a peer has this password; if so, what the Success proves us with. Takes the same time
    /// for every response that is wrong.
    pub fn verify(
        &self,
        password: &str,
        nt_response: &[u8; NT_RESPONSE_OCTETS],
    ) -> Option<[u8; AUTHENTICATOR_RESPONSE_OCTETS]> {
        let right = self.nt_response(password).ct_eq(nt_response);
        bool::from(right).then(|| self.authenticator_response(password, nt_response))
    }

    /// Section 8.2.
    fn challenge_hash(&self) -> [u8; 8] {
        let digest = Sha1::new()
            .chain_update(self.peer_challenge)
            .chain_update(self.authenticator_challenge)
            .chain_update(without_domain(self.name))
            .finalize();
        digest.first_chunk().copied().unwrap_or_default()
    }
}

/// The name of an account without the domain that may stand before it: `BIGCO\johndoe` is johndoe
/// (section 4).
pub fn without_domain(name: &[u8]) -> &[u8] {
    name.rsplit(|octet| *octet == b'\\').next().unwrap_or(name)
}

/// Section 8.3: of the password in UTF-16, low octets first.
fn nt_password_hash(password: &str) -> Zeroizing<[u8; HASH_OCTETS]> {
    let mut hash = Md4::new();
    for unit in password.encode_utf16() {
        hash.update(Zeroizing::new(unit.to_le_bytes()));
    }
    Zeroizing::new(hash.finalize().into())
}

/// Section 8.4.
fn hash_nt_password_hash(hash: &[u8; HASH_OCTETS]) -> Zeroizing<[u8; HASH_OCTETS]> {
    Zeroizing::new(Md4::digest(hash).into())
}

/// Section 8.5: the challenge under three keys, which are the hash and five octets of zero.
fn challenge_response(
    challenge: &[u8; 8],
    password_hash: &[u8; HASH_OCTETS],
) -> [u8; NT_RESPONSE_OCTETS] {
    let mut response = [0; NT_RESPONSE_OCTETS];
    let keys = password_hash.chunks(DES_KEY_OCTETS);
    for (key, block) in keys.zip(response.chunks_exact_mut(challenge.len())) {
        let mut octets = (*challenge).into();
        Des::new((&*des_key(key)).into()).encrypt_block(&mut octets);
        block.copy_from_slice(&octets);
    }
    response
}

/// A DES key of 56 bits, padded with zeros where there are less, with room for the parity bits, which
/// nobody looks at (section 8.6).
fn des_key(octets: &[u8]) -> Zeroizing<[u8; 8]> {
    let mut bits = octets
        .iter()
        .chain(std::iter::repeat(&0))
        .take(DES_KEY_OCTETS)
        .fold(0_u64, |bits, octet| bits << 8 | u64::from(*octet));
    let mut key = Zeroizing::new([0; 8]);
    for octet in key.iter_mut().rev() {
        // Seven bits of the key, above the parity bit.
        *octet = ((bits & 0x7f) as u8) << 1;
        bits >>= 7;
    }
    key
}

/// The Message of a Success (section 5).
pub fn success_message(
    authenticator_response: &[u8; AUTHENTICATOR_RESPONSE_OCTETS],
    text: &str,
) -> String {
    format!("S={} M={text}", hexadecimal(authenticator_response))
}

/// The Message of a Failure (section 6) after which nothing may be tried again; so `challenge` is
/// there only because a challenge has to be.
pub fn failure_message(error: u16, challenge: &[u8; CHALLENGE_OCTETS], text: &str) -> String {
    /// Of the protocol that changes passwords; fixed (section 6).
    const VERSION: u8 = 3;
    format!("E={error} R=0 C={} V={VERSION} M={text}", hexadecimal(challenge))
}

/// Whether a Success has this authenticator response in it (section 8.8). Small letters will do for
/// digits.
pub fn is_proven_by(message: &[u8], expected: &[u8; AUTHENTICATOR_RESPONSE_OCTETS]) -> bool {
    let digits = message.strip_prefix(b"S=").and_then(|rest| {
        rest.get(..2 * AUTHENTICATOR_RESPONSE_OCTETS).map(<[u8]>::to_ascii_uppercase)
    });
    digits.is_some_and(|digits| hexadecimal(expected).as_bytes().ct_eq(&digits).into())
}

/// Two capital digits an octet.
fn hexadecimal(octets: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit =
        |value: u8| DIGITS.get(usize::from(value & 15)).map_or('0', |digit| char::from(*digit));
    octets.iter().flat_map(|octet| [digit(octet >> 4), digit(*octet)]).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AUTHENTICATOR_CHALLENGE: [u8; 16] = *b"[]|}{?/><,`!2&&(";
    const PEER_CHALLENGE: [u8; 16] = *b"!@#$%^&*()_+:3|~";
    const PASSWORD: &str = "clientPass";

    /// RFC 2759 section 9.2.
    const NT_RESPONSE: [u8; 24] = [
        0x82, 0x30, 0x9e, 0xcd, 0x8d, 0x70, 0x8b, 0x5e, 0xa0, 0x8f, 0xaa, 0x39, 0x81, 0xcd, 0x83,
        0x54, 0x42, 0x33, 0x11, 0x4a, 0x3d, 0x85, 0xd6, 0xdf,
    ];
    const AUTHENTICATOR_RESPONSE: &[u8] = b"407A5589115FD0D6209F510FE9C04566932CDA56";

    fn exchange(name: &[u8]) -> Exchange<'_> {
        Exchange {
            authenticator_challenge: &AUTHENTICATOR_CHALLENGE,
            peer_challenge: &PEER_CHALLENGE,
            name,
        }
    }

    /// RFC 2759 section 9.2, step by step.
    #[test]
    fn the_example_of_the_rfc() {
        let exchange = exchange(b"User");
        let challenge = exchange.challenge_hash();
        assert_eq!(challenge, [0xd0, 0x2e, 0x43, 0x86, 0xbc, 0xe9, 0x12, 0x26]);
        let hash = nt_password_hash(PASSWORD);
        let expected = 0x44eb_ba8d_5312_b8d6_1147_4411_f569_89ae_u128;
        assert_eq!(*hash, expected.to_be_bytes());
        let expected = 0x41c0_0c58_4bd2_d91c_4017_a2a1_2fa5_9f3f_u128;
        assert_eq!(*hash_nt_password_hash(&hash), expected.to_be_bytes());
        assert_eq!(challenge_response(&challenge, &hash), NT_RESPONSE);
        assert_eq!(exchange.nt_response(PASSWORD), NT_RESPONSE);
        let response = exchange.verify(PASSWORD, &NT_RESPONSE).unwrap();
        assert_eq!(hexadecimal(&response).as_bytes(), AUTHENTICATOR_RESPONSE);
    }

    /// RFC 2759 section 9.3, but for the parity bits.
    #[test]
    fn keys_of_des_have_room_for_parity() {
        let first = des_key(&[0xfc, 0x15, 0x6a, 0xf7, 0xed, 0xcd, 0x6c]);
        let expected = [0xfd, 0x0b, 0x5b, 0x5e, 0x7f, 0x6e, 0x34, 0xd9].map(|octet| octet & 0xfe);
        assert_eq!(*first, expected);
        let second = des_key(&[0x0e, 0xdd, 0xe3, 0x33, 0x7d, 0x42, 0x7f]);
        let expected = [0x0e, 0x6e, 0x79, 0x67, 0x37, 0xea, 0x08, 0xfe].map(|octet| octet & 0xfe);
        assert_eq!(*second, expected);
        assert_eq!(*des_key(&[0xff, 0xff]), [0xfe, 0xfe, 0xc0, 0, 0, 0, 0, 0]);
    }

    /// The hashes of an empty password and of letters beyond ASCII, computed by another program.
    #[test]
    fn passwords_are_hashed_in_utf_16() {
        let empty = 0x31d6_cfe0_d16a_e931_b73c_59d7_e0c0_89c0_u128;
        assert_eq!(*nt_password_hash(""), empty.to_be_bytes());
        let beyond = 0x343b_5f56_098b_ef0d_e473_9d82_d102_f3ca_u128;
        assert_eq!(*nt_password_hash("pässwörd€😀"), beyond.to_be_bytes());
    }

    #[test]
    fn a_domain_is_no_part_of_the_name() {
        for name in [&b"User"[..], b"BIGCO\\User", b"\\User", b"a\\b\\User"] {
            assert_eq!(exchange(name).nt_response(PASSWORD), NT_RESPONSE, "{name:?}");
        }
        for name in [&b"user"[..], b"User\\", b"BIGCO/User", b"User@BIGCO", b""] {
            assert_ne!(exchange(name).nt_response(PASSWORD), NT_RESPONSE, "{name:?}");
        }
    }

    #[test]
    fn nothing_but_the_right_response_is_accepted() {
        assert!(exchange(b"User").verify("clientpass", &NT_RESPONSE).is_none());
        assert!(exchange(b"user").verify(PASSWORD, &NT_RESPONSE).is_none());
        let other = Exchange { peer_challenge: &AUTHENTICATOR_CHALLENGE, ..exchange(b"User") };
        assert!(other.verify(PASSWORD, &NT_RESPONSE).is_none());
        for bit in 0..8 * NT_RESPONSE_OCTETS {
            let mut wrong = NT_RESPONSE;
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(exchange(b"User").verify(PASSWORD, &wrong).is_none(), "bit {bit}");
        }
    }

    #[test]
    fn values_have_one_length() {
        let response = Response { peer_challenge: PEER_CHALLENGE, nt_response: NT_RESPONSE };
        let value = response.emit();
        assert_eq!(Response::parse(&value), Ok(response));
        assert_eq!((value[16..24].to_vec(), value[48]), (vec![0; 8], 0));
        assert_eq!(Response::parse(&value[..48]), Err(Discard::Content));
        assert_eq!(Response::parse(&[&value[..], &[0]].concat()), Err(Discard::Content));
        assert_eq!(Response::parse(&[]), Err(Discard::Content));
    }

    #[test]
    fn messages_are_spelled_as_the_rfc_wants_them() {
        let mut response = [0; 20];
        response[0] = 0xa0;
        response[19] = 0x0f;
        let message = success_message(&response, "Welcome");
        assert_eq!(message, format!("S=A0{}0F M=Welcome", "0".repeat(36)));
        let message = failure_message(error::AUTHENTICATION_FAILURE, &[0xbc; 16], "no");
        assert_eq!(message, format!("E=691 R=0 C={} V=3 M=no", "BC".repeat(16)));
    }

    #[test]
    fn a_success_proves_the_authenticator() {
        let response = exchange(b"User").authenticator_response(PASSWORD, &NT_RESPONSE);
        let right = [b"S=", AUTHENTICATOR_RESPONSE].concat();
        assert!(is_proven_by(&right, &response));
        assert!(is_proven_by(&[&right[..], b" M=Hello"].concat(), &response));
        assert!(is_proven_by(&[b"S=", &right[2..].to_ascii_lowercase()[..]].concat(), &response));
        let mut wrong = right.clone();
        wrong[41] = b'7';
        let missing = [&right[2..], &right[..41], &wrong[..], b"", b"S=", b"M=Hello", b"s="];
        for message in missing {
            assert!(!is_proven_by(message, &response), "{message:?}");
        }
        assert!(!is_proven_by(&[b" ", &right[..]].concat(), &response));
    }

    proptest! {
        #[test]
        fn both_sides_agree(
            password in "\\PC{0,40}",
            name in proptest::collection::vec(any::<u8>(), 0..40),
            authenticator_challenge: [u8; 16],
            peer_challenge: [u8; 16],
        ) {
            let exchange = Exchange {
                authenticator_challenge: &authenticator_challenge,
                peer_challenge: &peer_challenge,
                name: &name,
            };
            let nt_response = exchange.nt_response(&password);
            let proof = exchange.verify(&password, &nt_response).expect("the same password");
            prop_assert!(is_proven_by(success_message(&proof, "").as_bytes(), &proof));
        }

        #[test]
        fn any_message_proves_nothing(message in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(!is_proven_by(&message, &[7; AUTHENTICATOR_RESPONSE_OCTETS]));
        }
    }
}
