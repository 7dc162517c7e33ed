//! What an owner decides about its links before they begin.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use zeroize::Zeroizing;

/// An authentication protocol, of the peer to us or of us to the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Authentication {
    /// CHAP with MD5 (RFC 1994).
    ChapMd5,
    /// MS-CHAPv2 (RFC 2759).
    MsChapV2,
    /// PAP (RFC 1334).
    Pap,
}

impl Authentication {
    /// Those that go over CHAP's protocol number.
    pub const CHAP: &'static [Self] = &[Self::ChapMd5, Self::MsChapV2];

    /// Those that go over PAP's protocol number.
    pub const PAP: &'static [Self] = &[Self::Pap];

    /// The word that the configuration and tables use.
    pub fn name(self) -> &'static str {
        match self {
            Self::ChapMd5 => "chap-md5",
            Self::MsChapV2 => "ms-chap-v2",
            Self::Pap => "pap",
        }
    }
}

/// Who we are where the peer asks.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// The name, at most [`super::NAME_OCTETS_MAX`] octets.
    pub name: String,
    /// The password.
    pub password: Zeroizing<String>,
    /// What we are ready to prove it with, the most wanted first; empty: with nothing.
    pub methods: Vec<Authentication>,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, methods, password: _ } = self;
        f.debug_struct("Account").field("name", name).field("methods", methods).finish()
    }
}

/// IPv4 on a link.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ipv4Config {
    /// Our address on the link; `None`: the peer assigns us one.
    pub local_address: Option<Ipv4Addr>,
    /// Name servers for the peer, two at most are used; those of a grant come before them.
    pub dns: Vec<Ipv4Addr>,
    /// NetBIOS name servers for the peer, likewise; without any the options are rejected.
    pub nbns: Vec<Ipv4Addr>,
    /// Whether the peer is asked for name servers (RFC 1877).
    pub ask_dns: bool,
}

/// How frames are sent; both ways are always received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// Without Address and Control octets once the peer has agreed to that (RFC 1661 section 6.6).
    #[default]
    Negotiated,
    /// With FF 03 whatever was agreed: a peer that needs them agrees all the same (docs/peers.md
    /// row 20).
    AlwaysFf03,
}

/// What becomes of an LCP and of an authentication that a LAC hands over (RFC 2661 section 4.4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CallMode {
    /// They are ignored: the link begins anew with the subscriber.
    #[default]
    Renegotiate,
    /// LCP is kept where it fits, and the subscriber is challenged again.
    MandatoryChap,
    /// Both are kept where they fit; the proof is checked here again.
    Proxy,
}

/// What all links of one profile have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What the peer may authenticate with, the most wanted first; at most
    /// [`super::lcp::AUTHENTICATIONS_MAX`] count. Empty: the peer is not asked; then there has to be
    /// an account, or the link does not come up.
    pub authentication: Vec<Authentication>,
    /// Who we are where the peer asks; `None`: its request for authentication is rejected.
    pub account: Option<Account>,
    /// `None`: no IPv4.
    pub ipv4: Option<Ipv4Config>,
    /// Whether IPv6 is spoken.
    pub ipv6: bool,
    /// How frames are sent.
    pub framing: Framing,
    /// What becomes of a proxied LCP; see [`super::Link::open_with_proxy`].
    pub call_mode: CallMode,
    /// The MRU that we ask for, and the most that a peer is sent, in octets.
    pub mru: u16,
    /// A peer that asks for a smaller MRU is offered this one, in octets.
    pub mru_min: u16,
    /// Time to an answer before a request is repeated (RFC 1661 section 4.6).
    pub restart_timer: Duration,
    /// Configure-Requests without an answer before giving up.
    pub max_configure: u32,
    /// Terminate-Requests without an answer before giving up.
    pub max_terminate: u32,
    /// Configure-Naks sent before they turn into Configure-Rejects.
    pub max_failure: u32,
    /// Time from LCP up to the end of authentication.
    pub authentication_timeout: Duration,
    /// Time between challenges to a peer that has authenticated; `None`: one is enough.
    pub rechallenge: Option<Duration>,
    /// Time between LCP Echo-Requests of ours; `None`: none are sent, because something else watches
    /// over the link.
    pub echo_interval: Option<Duration>,
    /// Echo-Requests in a row without an answer before the peer is given up, at least one.
    pub echo_failures: u32,
    /// Whether requests are sent only from [`Link::probe`](super::Link::probe) until one is answered.
    pub echo_when_probed: bool,
    /// What an Identification packet says of us when LCP is up (RFC 1570 section 1.1); `None`:
    /// none is sent.
    pub identification: Option<String>,
    /// Our name in CHAP challenges.
    pub server_name: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            authentication: vec![Authentication::ChapMd5, Authentication::Pap],
            account: None,
            ipv4: Some(Ipv4Config::default()),
            ipv6: false,
            framing: Framing::default(),
            call_mode: CallMode::default(),
            mru: 1460,
            mru_min: 576,
            restart_timer: Duration::from_secs(3),
            max_configure: 10,
            max_terminate: 2,
            max_failure: 5,
            authentication_timeout: Duration::from_secs(30),
            rechallenge: None,
            echo_interval: None,
            echo_failures: 5,
            echo_when_probed: false,
            identification: None,
            server_name: String::from("xlns"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_of_an_account_shows_no_password() {
        let account = Account {
            name: "bob".into(),
            password: Zeroizing::new("hunter2".into()),
            methods: vec![Authentication::Pap],
        };
        let text = format!("{account:?}");
        assert!(text.contains("bob") && !text.contains("hunter2"), "{text}");
    }
}
