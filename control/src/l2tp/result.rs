//! Result codes, error codes and the PPP disconnect cause: why a tunnel or a call ends (RFC 2661
//! section 4.4.2, RFC 3145).

use std::fmt;

/// Declares an enum over a 16-bit code in which every value is kept, also one not known here.
macro_rules! codes {
    ($(#[$meta:meta])* $name:ident {
        $($(#[$doc:meta])* $variant:ident = $code:literal $text:literal,)+
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$doc])* $variant,)+
            /// A value that has no name here.
            Other(u16),
        }

        impl From<u16> for $name {
            fn from(code: u16) -> Self {
                match code {
                    $($code => Self::$variant,)+
                    other => Self::Other(other),
                }
            }
        }

        impl From<$name> for u16 {
            fn from(code: $name) -> Self {
                match code {
                    $($name::$variant => $code,)+
                    $name::Other(other) => other,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant => formatter.write_str($text),)+
                    Self::Other(other) => write!(formatter, "code {other}"),
                }
            }
        }
    };
}

codes! {
    /// Result Code of a StopCCN.
    TunnelResult {
        /// A general request to clear the control connection.
        Cleared = 1 "cleared",
        /// The error code says what was wrong.
        Error = 2 "general error",
        /// There is one already.
        AlreadyExists = 3 "control channel already exists",
        /// The requester may not have a control channel.
        NotAuthorized = 4 "not authorized",
        /// The protocol version is not supported; the error code is the highest that is.
        Version = 5 "protocol version not supported",
        /// The requester is being shut down.
        ShuttingDown = 6 "shutting down",
        /// A message that does not fit the state.
        StateMachine = 7 "finite state machine error",
    }
}

codes! {
    /// Result Code of a CDN.
    CallResult {
        /// The line dropped.
        LossOfCarrier = 1 "loss of carrier",
        /// The error code says what was wrong.
        Error = 2 "general error",
        /// Ended by an administrator.
        Administrative = 3 "administrative reasons",
        /// No facilities for now.
        NoFacilitiesTemporary = 4 "no facilities (temporary)",
        /// No facilities ever.
        NoFacilitiesPermanent = 5 "no facilities (permanent)",
        /// The destination does not exist.
        InvalidDestination = 6 "invalid destination",
        /// No carrier was detected.
        NoCarrier = 7 "no carrier detected",
        /// The line was busy.
        Busy = 8 "busy",
        /// No dial tone.
        NoDialTone = 9 "no dial tone",
        /// The call was not established in time.
        NotInTime = 10 "not established in time",
        /// Connected, but no framing was detected.
        NoFraming = 11 "no framing detected",
    }
}

codes! {
    /// General Error Code, beside a result code of 2.
    ErrorCode {
        /// Nothing was wrong.
        None = 0 "no error",
        /// There is no control connection yet.
        NoControlConnection = 1 "no control connection",
        /// A length is wrong.
        Length = 2 "wrong length",
        /// A field value is out of range, or a reserved field is not zero.
        Value = 3 "value out of range",
        /// Insufficient resources for now.
        Resources = 4 "insufficient resources",
        /// The session identifier is invalid in this context.
        SessionId = 5 "invalid session ID",
        /// A vendor-specific error in the LAC.
        Vendor = 6 "vendor-specific error",
        /// The LAC should try another LNS.
        TryAnother = 7 "try another",
        /// An unknown AVP had the M bit set.
        UnknownAvp = 8 "unknown mandatory AVP",
    }
}

/// The Result Code AVP: what a StopCCN or CDN says of its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultCode {
    /// A [`TunnelResult`] in a StopCCN, a [`CallResult`] in a CDN.
    pub code: u16,
    /// Where present.
    pub error: Option<ErrorCode>,
    /// For a person to read; may be empty.
    pub message: String,
}

impl ResultCode {
    /// Longest text that we send: more helps nobody and would strain small parsers.
    pub const MESSAGE_BYTES_MAX: usize = 200;

    /// A StopCCN's reason.
    pub fn tunnel(result: TunnelResult, error: Option<ErrorCode>, message: &str) -> Self {
        Self { code: result.into(), error, message: message.into() }
    }

    /// A CDN's reason.
    pub fn call(result: CallResult, error: Option<ErrorCode>, message: &str) -> Self {
        Self { code: result.into(), error, message: message.into() }
    }

    /// The code as that of a StopCCN.
    pub fn as_tunnel(&self) -> TunnelResult {
        self.code.into()
    }

    /// The code as that of a CDN.
    pub fn as_call(&self) -> CallResult {
        self.code.into()
    }

    /// Reads an AVP's value, in the forms seen: 2 octets, 4, or more with a text (docs/peers.md row
    /// 8), or in the host order of a little-endian machine, when only the first two octets mean
    /// something (row 1). `None`: not even a code.
    pub fn decode(value: &[u8]) -> Option<Self> {
        let (code, rest) = value.split_first_chunk::<2>()?;
        let code = u16::from_be_bytes(*code);
        if code & 0x00ff == 0 && code != 0 {
            return Some(Self { code: code.swap_bytes(), error: None, message: String::new() });
        }
        let (error, text) = match rest.split_first_chunk::<2>() {
            Some((error, text)) => (Some(ErrorCode::from(u16::from_be_bytes(*error))), text),
            None => (None, &[][..]),
        };
        Some(Self { code, error, message: printable(text) })
    }

    /// Appends the AVP's value. A text without an error code gets "no error" in between, as the
    /// text has no other place.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.code.to_be_bytes());
        let error = match self.error {
            None if self.message.is_empty() => return,
            None => 0,
            Some(error) => error.into(),
        };
        out.extend_from_slice(&error.to_be_bytes());
        out.extend_from_slice(cut(&self.message, Self::MESSAGE_BYTES_MAX).as_bytes());
    }
}

/// At most `bytes_max` octets of a text, cut between characters.
fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = bytes_max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// Text from a peer, fit for a log: what is no UTF-8 and what would move a terminal's cursor is
/// replaced, NULs at the end are dropped.
pub fn printable(bytes: &[u8]) -> String {
    let mut end = bytes.len();
    while end > 0 && bytes.get(end - 1) == Some(&0) {
        end -= 1;
    }
    let text = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default());
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

codes! {
    /// Disconnect Code of the PPP Disconnect Cause AVP (RFC 3145 section 3).
    PppDisconnectCode {
        /// Nothing is known.
        NoInformation = 0 "no information",
        /// An administrator ended it.
        Administrative = 1 "administrative disconnect",
        /// Renegotiation of LCP is off at the LNS.
        RenegotiationDisabled = 2 "LCP renegotiation disabled",
        /// A Terminate-Request was sent.
        Normal = 3 "normal disconnection",
        /// Encryption was required and refused.
        EncryptionRefused = 4 "compulsory encryption refused",
        /// LCP did not converge.
        LcpNotConverged = 5 "LCP failed to converge",
        /// No LCP packet ever came.
        LcpSilent = 6 "LCP peer silent",
        /// The link is looped back.
        LcpLooped = 7 "LCP magic number error",
        /// No answers to Echo-Requests.
        LcpEchoTimeout = 8 "LCP echo timeout",
        /// Another Endpoint-Discriminator than the bundle's.
        EndpointMismatch = 9 "unexpected endpoint discriminator",
        /// Another MRRU than the bundle's.
        MrruMismatch = 10 "unexpected MRRU",
        /// Another Short-Sequence-Number option than the bundle's.
        ShortSequenceMismatch = 11 "unexpected short sequence number option",
        /// Callback was required and refused.
        CallbackRefused = 12 "compulsory callback refused",
        /// Authentication took too long.
        AuthenticationTimeout = 13 "authentication timeout",
        /// Another name than the bundle's.
        AuthenticationName = 14 "unexpected authenticated name",
        /// The authentication protocol was refused.
        AuthenticationRefused = 15 "authentication protocol refused",
        /// Wrong name or proof.
        AuthenticationFailed = 16 "authentication failed",
        /// No network protocol came up.
        NetworkTimeout = 17 "no network protocol completed negotiation",
        /// No network protocol is available.
        NoNetworkProtocol = 18 "no network protocol available",
        /// No agreement on addresses.
        AddressNotConverged = 19 "failed to converge on addresses",
        /// The user may have no address.
        AddressNotPermitted = 20 "user not permitted to use any addresses",
    }
}

/// The PPP Disconnect Cause AVP of a CDN (RFC 3145 section 2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PppDisconnectCause {
    /// What happened.
    pub code: PppDisconnectCode,
    /// PPP protocol number that the cause belongs to, else 0.
    pub protocol: u16,
    /// 0: neither side; 1: at the peer; 2: at the sender of this AVP.
    pub direction: u8,
    /// For a person to read; may be empty.
    pub message: String,
}

impl PppDisconnectCause {
    /// Reads an AVP's value.
    pub fn decode(value: &[u8]) -> Option<Self> {
        let ([c0, c1, p0, p1, direction], text) = value.split_first_chunk::<5>()?;
        Some(Self {
            code: u16::from_be_bytes([*c0, *c1]).into(),
            protocol: u16::from_be_bytes([*p0, *p1]),
            direction: *direction,
            message: printable(text),
        })
    }

    /// Appends the AVP's value.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&u16::from(self.code).to_be_bytes());
        out.extend_from_slice(&self.protocol.to_be_bytes());
        out.push(self.direction);
        out.extend_from_slice(cut(&self.message, ResultCode::MESSAGE_BYTES_MAX).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(result: &ResultCode) -> Vec<u8> {
        let mut out = Vec::new();
        result.encode(&mut out);
        out
    }

    #[test]
    fn result_code_in_its_three_lengths() {
        for (result, bytes) in [
            (ResultCode::tunnel(TunnelResult::Cleared, None, ""), &[0, 1][..]),
            (
                ResultCode::call(CallResult::Error, Some(ErrorCode::TryAnother), ""),
                &[0, 2, 0, 7][..],
            ),
            (
                ResultCode::call(CallResult::Error, Some(ErrorCode::Resources), "full"),
                &[0, 2, 0, 4, b'f', b'u', b'l', b'l'][..],
            ),
        ] {
            assert_eq!(encoded(&result), bytes);
            assert_eq!(ResultCode::decode(bytes), Some(result));
        }
        assert_eq!(ResultCode::decode(&[0]), None);
        assert_eq!(ResultCode::decode(&[]), None);
    }

    #[test]
    fn a_text_needs_an_error_code_before_it() {
        let result = ResultCode::tunnel(TunnelResult::NotAuthorized, None, "no");
        assert_eq!(encoded(&result), [0, 4, 0, 0, b'n', b'o']);
    }

    #[test]
    fn host_order_is_swapped_and_its_error_code_ignored() {
        // docs/peers.md row 1: eight octets of which two are real.
        let result = ResultCode::decode(&[1, 0, 0xde, 0xad, 0xbe, 0xef, 0, 0]).unwrap();
        assert_eq!(result, ResultCode::tunnel(TunnelResult::Cleared, None, ""));
        // The same code in network order keeps its error code.
        let result = ResultCode::decode(&[0, 1, 0, 6]).unwrap();
        assert_eq!(result.error, Some(ErrorCode::Vendor));
        // Neither octet is 0, or both are: nothing to swap.
        assert_eq!(ResultCode::decode(&[1, 1]).unwrap().code, 0x0101);
        assert_eq!(ResultCode::decode(&[0, 0]).unwrap().code, 0);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let result = ResultCode::call(CallResult::Error, None, &"ä".repeat(101));
        let bytes = encoded(&result);
        assert_eq!(bytes.len(), 4 + 200);
        let result = ResultCode::call(CallResult::Error, None, &format!("x{}", "ä".repeat(101)));
        assert_eq!(encoded(&result).len(), 4 + 199);
    }

    #[test]
    fn texts_of_peers_are_made_harmless() {
        assert_eq!(printable(b"a\x1b[2Jb\xff\0\0"), "a\u{fffd}[2Jb\u{fffd}");
        assert_eq!(printable(b"\0\0"), "");
    }

    #[test]
    fn every_code_round_trips() {
        for code in 0..=100 {
            assert_eq!(u16::from(TunnelResult::from(code)), code);
            assert_eq!(u16::from(CallResult::from(code)), code);
            assert_eq!(u16::from(ErrorCode::from(code)), code);
            assert_eq!(u16::from(PppDisconnectCode::from(code)), code);
        }
        assert_eq!(CallResult::Other(40).to_string(), "code 40");
        assert_eq!(CallResult::Busy.to_string(), "busy");
    }

    #[test]
    fn ppp_cause_round_trip_and_cut_short() {
        let cause = PppDisconnectCause {
            code: PppDisconnectCode::AuthenticationFailed,
            protocol: 0xc223,
            direction: 1,
            message: "wrong".into(),
        };
        let mut out = Vec::new();
        cause.encode(&mut out);
        assert_eq!(out, [0, 16, 0xc2, 0x23, 1, b'w', b'r', b'o', b'n', b'g']);
        assert_eq!(PppDisconnectCause::decode(&out), Some(cause));
        assert_eq!(PppDisconnectCause::decode(&out[..4]), None);
    }
}
