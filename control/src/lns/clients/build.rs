//! What a client's tunnel and link are made with.

use std::time::Duration;

use md5::{Digest, Md5};
use zeroize::Zeroizing;

use crate::config::{AddressControl, AuthenticationProtocol, ClientConfig, Config, HiddenAvps};
use crate::l2tp::avp::Hide;
use crate::l2tp::secret::SecretBytes;
use crate::l2tp::tunnel;
use crate::lns::profiles::seconds_of;
use crate::ppp::{self, Account, Authentication, Ipv4Config};

/// Both kinds of bearers, where calls are left to the server: there is no line to be particular.
const BEARER_ANY: u32 = 3;

/// DUID-UUID (RFC 6355).
const DUID_UUID: u16 = 4;

/// The control connection of a client.
pub fn tunnel_config(config: &Config, client: &ClientConfig) -> tunnel::Config {
    let l2tp = &config.l2tp;
    let secret = client.secret.as_ref().map(|secret| SecretBytes::from(secret.expose().as_bytes()));
    let hello_seconds = client.hello_interval_seconds.unwrap_or(l2tp.hello_interval_seconds);
    tunnel::Config {
        host_name: client.host_name.as_ref().unwrap_or(&config.lns.host_name).clone(),
        vendor_name: "xlns".into(),
        secret,
        challenge: client.challenges(),
        hide: match client.hidden_avps {
            HiddenAvps::Never => Hide::Never,
            HiddenAvps::Secrets => Hide::Secrets,
            HiddenAvps::All => Hide::All,
        },
        tie_breaker: client.tie_breaker,
        bearer_capabilities: client.accept_outgoing_calls.then_some(BEARER_ANY),
        receive_window: l2tp.receive_window,
        retransmit_initial: Duration::from_millis(l2tp.retransmit_initial_ms),
        retransmit_max: Duration::from_millis(l2tp.retransmit_max_ms),
        retransmit_tries: l2tp.retransmit_tries,
        hello_interval: Duration::from_secs(hello_seconds),
        ..tunnel::Config::default()
    }
}

/// The PPP link of a client: it proves itself, asks nobody else to, and takes what it is given.
pub fn ppp_config(config: &Config, client: &ClientConfig) -> ppp::Config {
    let ppp = &config.ppp;
    let method = |protocol: &AuthenticationProtocol| match protocol {
        AuthenticationProtocol::ChapMd5 => Authentication::ChapMd5,
        AuthenticationProtocol::MsChapV2 => Authentication::MsChapV2,
        AuthenticationProtocol::Pap => Authentication::Pap,
    };
    let account = Account {
        name: client.user.clone(),
        password: Zeroizing::new(client.password.expose().to_owned()),
        methods: client.authentication.iter().map(method).collect(),
    };
    let ipv4 = Ipv4Config { local_address: None, ask_dns: client.ask_dns, ..Ipv4Config::default() };
    ppp::Config {
        authentication: Vec::new(),
        account: Some(account),
        ipv4: client.ipv4.then_some(ipv4),
        ipv6: client.ipv6,
        framing: match client.address_control {
            AddressControl::Negotiated => ppp::Framing::Negotiated,
            AddressControl::Always => ppp::Framing::AlwaysFf03,
        },
        mru: client.mru.unwrap_or(ppp.mru),
        mru_min: ppp.mru_min.min(client.mru.unwrap_or(ppp.mru)),
        restart_timer: Duration::from_millis(ppp.restart_timer_ms),
        max_configure: ppp.max_configure,
        max_terminate: ppp.max_terminate,
        max_failure: ppp.max_failure,
        authentication_timeout: Duration::from_secs(ppp.authentication_timeout_seconds),
        echo_interval: seconds_of(
            client.echo_interval_seconds.unwrap_or(ppp.echo_interval_seconds),
        ),
        echo_failures: ppp.echo_failures_max,
        server_name: client.host_name.as_ref().unwrap_or(&config.lns.host_name).clone(),
        ..ppp::Config::default()
    }
}

/// Who a client is to DHCPv6 servers: made of what does not change, so that a server finds the prefix
/// that it delegated before a restart.
pub fn duid(config: &Config, client: &ClientConfig) -> Box<[u8]> {
    let mut digest = Md5::new();
    digest.update(b"xlns client\0");
    digest.update(config.lns.host_name.as_bytes());
    digest.update([0]);
    digest.update(client.name.as_bytes());
    let mut uuid: [u8; 16] = digest.finalize().into();
    // Version 3, by name and MD5, of the usual variant (RFC 9562).
    uuid[6] = uuid[6] & 0x0f | 0x30;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    [&DUID_UUID.to_be_bytes()[..], &uuid].concat().into()
}
