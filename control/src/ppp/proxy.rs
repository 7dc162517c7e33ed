//! An LCP and an authentication that a LAC has already gone through with the subscriber, and hands
//! over when the call is connected (RFC 2661 section 4.4.5).

use std::fmt;

use zeroize::Zeroizing;

/// Values of the Proxy Authen Type AVP (RFC 2661 section 4.4.5).
pub mod kind {
    /// Plain user name and password out of an exchange of text.
    pub const TEXT: u16 = 1;
    /// CHAP.
    pub const CHAP: u16 = 2;
    /// PAP.
    pub const PAP: u16 = 3;
    /// None: the LAC did not authenticate.
    pub const NONE: u16 = 4;
    /// MS-CHAP, version 1.
    pub const MS_CHAP: u16 = 5;
}

/// What a LAC hands over. Configure-Requests are lists of options, without the packet's header;
/// octets of any value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proxy {
    /// The first Configure-Request of the subscriber (AVP 26).
    pub initial_received: Option<Vec<u8>>,
    /// The last Configure-Request that the LAC sent, which the subscriber acknowledged (AVP 27).
    pub last_sent: Option<Vec<u8>>,
    /// The last Configure-Request of the subscriber, which the LAC acknowledged (AVP 28).
    pub last_received: Option<Vec<u8>>,
    /// What the subscriber proved itself with.
    pub authentication: Option<ProxyAuthentication>,
}

/// What a subscriber proved itself to the LAC with (AVPs 29 to 33); octets of any value.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyAuthentication {
    /// The protocol, of [`kind`].
    pub kind: u16,
    /// The name.
    pub name: Vec<u8>,
    /// The challenge, with CHAP.
    pub challenge: Vec<u8>,
    /// The identifier of the challenge, with CHAP.
    pub identifier: u8,
    /// The response, or the password.
    pub response: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for ProxyAuthentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = String::from_utf8_lossy(&self.name);
        f.debug_struct("ProxyAuthentication")
            .field("kind", &self.kind)
            .field("name", &name)
            .finish()
    }
}
