//! LAC profiles at work: which one a peer has, what it shares out, what it has refused.
//!
//! Everything that depends on a profile is made once, at the start, and shared by its tunnels and
//! calls.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use xlns_dataplane::api::SessionOptions;

use super::{Lns, LnsCounter, Policy};
use crate::admin::LacRow;
use crate::config::{
    AddressControl, AuthenticationProtocol, CallMode, Config, HiddenAvps, LacConfig,
};
use crate::l2tp::avp::{Avps, Hide};
use crate::l2tp::header::Header;
use crate::l2tp::message::{self, Reject, Unassigned};
use crate::l2tp::result::{ErrorCode, ResultCode, TunnelResult};
use crate::l2tp::secret::SecretBytes;
use crate::l2tp::tunnel;
use crate::ppp::{self, Authentication, Ipv4Config};

/// Secrets that hidden AVPs of an SCCRQ are tried with: those of profiles for the same address, told
/// apart by a host name that may be hidden itself.
const SECRETS_TRIED_MAX: usize = 8;

/// A profile, and what goes by it.
pub struct Profile {
    /// Nothing of it is left open.
    pub config: LacConfig,
    /// For its tunnels.
    pub tunnel: Arc<tunnel::Config>,
    /// For its calls.
    pub ppp: Arc<ppp::Config>,
    /// For the data plane's sessions.
    pub options: SessionOptions,
    /// Tunnels that are not closed.
    pub tunnels: u32,
    /// Calls.
    pub sessions: u32,
    /// SCCRQs answered with StopCCN.
    tunnels_refused: u64,
    /// Calls answered with CDN because of a limit.
    calls_refused: u64,
    /// Tunnels that reached established.
    pub tunnels_opened: u64,
    /// Calls that were connected.
    pub calls_connected: u64,
}

impl Profile {
    fn new(config: &Config, lac: LacConfig) -> Self {
        Self {
            tunnel: Arc::new(tunnel_config(config, &lac)),
            ppp: Arc::new(ppp_config(config, &lac)),
            options: lac.session_options(),
            config: lac,
            tunnels: 0,
            sessions: 0,
            tunnels_refused: 0,
            calls_refused: 0,
            tunnels_opened: 0,
            calls_connected: 0,
        }
    }

    /// What its tunnels go by.
    pub(super) fn policy(&self) -> Policy {
        let lac = &self.config;
        Policy { follow_port: lac.follow_port, data_is_life: lac.data_is_life }
    }

    fn has_room_for_tunnel(&self) -> bool {
        self.config.tunnels_max.is_none_or(|most| self.tunnels < most)
    }

    fn has_room_for_session(&self) -> bool {
        self.config.sessions_max.is_none_or(|most| self.sessions < most)
    }

    fn row(&self) -> LacRow {
        LacRow {
            name: self.config.name.clone(),
            tunnels: self.tunnels,
            tunnels_max: self.config.tunnels_max.unwrap_or(0),
            sessions: self.sessions,
            sessions_max: self.config.sessions_max.unwrap_or(0),
            sessions_per_tunnel_max: self.config.sessions_per_tunnel_max.unwrap_or(0),
            tunnels_opened: self.tunnels_opened,
            tunnels_refused: self.tunnels_refused,
            calls_connected: self.calls_connected,
            calls_refused: self.calls_refused,
        }
    }
}

/// The profiles of a configuration, in their order; at least one.
pub fn profiles(config: &Config) -> Vec<Profile> {
    config.lac_profiles().into_iter().map(|lac| Profile::new(config, lac)).collect()
}

fn tunnel_config(config: &Config, lac: &LacConfig) -> tunnel::Config {
    let l2tp = &config.l2tp;
    let secret = lac.secret.as_ref().map(|secret| SecretBytes::from(secret.expose().as_bytes()));
    let hello_seconds = lac.hello_interval_seconds.unwrap_or(l2tp.hello_interval_seconds);
    tunnel::Config {
        host_name: lac.host_name.as_ref().unwrap_or(&config.lns.host_name).clone(),
        vendor_name: "xlns".into(),
        challenge: lac.challenges(),
        secret,
        hide: match lac.hidden_avps {
            HiddenAvps::Never => Hide::Never,
            HiddenAvps::Secrets => Hide::Secrets,
            HiddenAvps::All => Hide::All,
        },
        tunnel_id_zero: lac.tunnel_id_zero,
        idle_timeout: Duration::from_secs(lac.idle_seconds),
        receive_window: l2tp.receive_window,
        retransmit_initial: Duration::from_millis(l2tp.retransmit_initial_ms),
        retransmit_max: Duration::from_millis(l2tp.retransmit_max_ms),
        retransmit_tries: l2tp.retransmit_tries,
        hello_interval: Duration::from_secs(hello_seconds),
        sessions_max: lac.sessions_per_tunnel_max.unwrap_or(l2tp.sessions_per_tunnel_max),
        ..tunnel::Config::default()
    }
}

/// The PPP side of a profile that leaves nothing open.
fn ppp_config(config: &Config, lac: &LacConfig) -> ppp::Config {
    let protocol = |protocol: &AuthenticationProtocol| match protocol {
        AuthenticationProtocol::ChapMd5 => Authentication::ChapMd5,
        AuthenticationProtocol::MsChapV2 => Authentication::MsChapV2,
        AuthenticationProtocol::Pap => Authentication::Pap,
    };
    let ppp = &config.ppp;
    ppp::Config {
        authentication: lac
            .authentication
            .as_ref()
            .unwrap_or(&ppp.authentication)
            .iter()
            .map(protocol)
            .collect(),
        framing: match lac.address_control {
            AddressControl::Negotiated => ppp::Framing::Negotiated,
            AddressControl::Always => ppp::Framing::AlwaysFf03,
        },
        call_mode: match lac.call_mode {
            CallMode::Renegotiate => ppp::CallMode::Renegotiate,
            CallMode::MandatoryChap => ppp::CallMode::MandatoryChap,
            CallMode::Proxy => ppp::CallMode::Proxy,
        },
        mru: lac.mru.unwrap_or(ppp.mru),
        mru_min: lac.mru_min.unwrap_or(ppp.mru_min),
        restart_timer: Duration::from_millis(ppp.restart_timer_ms),
        max_configure: ppp.max_configure,
        max_terminate: ppp.max_terminate,
        max_failure: ppp.max_failure,
        authentication_timeout: Duration::from_secs(ppp.authentication_timeout_seconds),
        rechallenge: seconds_of(ppp.rechallenge_seconds),
        echo_interval: seconds_of(lac.echo_interval_seconds.unwrap_or(ppp.echo_interval_seconds)),
        echo_failures: ppp.echo_failures_max,
        echo_when_probed: lac.quality && config.quality_settings().is_some(),
        server_name: lac.host_name.as_ref().unwrap_or(&config.lns.host_name).clone(),
        ipv4: Some(Ipv4Config {
            local_address: Some(config.lns.gateway),
            dns: ppp.dns.clone(),
            nbns: ppp.nbns.clone(),
            ..Ipv4Config::default()
        }),
        ipv6: ppp.ipv6,
        ..ppp::Config::default()
    }
}

/// A time that 0 turns off.
pub(super) fn seconds_of(seconds: u64) -> Option<Duration> {
    (seconds != 0).then(|| Duration::from_secs(seconds))
}

fn try_another(text: &str) -> ResultCode {
    ResultCode::tunnel(TunnelResult::Error, Some(ErrorCode::TryAnother), text)
}

impl Lns {
    /// The profile of a tunnel or call; `None` where we dialled.
    pub(super) fn profile(&self, index: Option<usize>) -> Option<&Profile> {
        self.profiles.get(index?)
    }

    pub(super) fn profile_mut(&mut self, index: Option<usize>) -> Option<&mut Profile> {
        self.profiles.get_mut(index?)
    }

    /// The first profile for a peer at this address, which came to this one of ours and has this
    /// Host Name.
    pub(super) fn profile_of(
        &self,
        local: IpAddr,
        peer: IpAddr,
        host_name: &[u8],
    ) -> Option<usize> {
        let is_its = |profile: &Profile| {
            profile.config.covers(local, peer) && profile.config.is_for_host(host_name)
        };
        self.profiles.iter().position(is_its)
    }

    /// Reads a message that names no tunnel. Whose secret its hidden AVPs are hidden with is not
    /// known before the host name is, which may be hidden itself: each profile for these addresses
    /// is tried, and one counts only where the host name that it reveals leads to it.
    ///
    /// # Errors
    /// What is wrong with an SCCRQ.
    pub(super) fn read_unassigned(
        &self,
        (local, peer): (IpAddr, IpAddr),
        header: &Header,
        datagram: &[u8],
    ) -> Result<Unassigned, Reject> {
        let is_hidden = |avps: Avps<'_>| avps.flatten().any(|avp| avp.hidden);
        if !is_hidden(Avps::new(header.payload(datagram))) {
            return message::decode_unassigned(header, datagram, None);
        }
        let candidates = self
            .profiles
            .iter()
            .enumerate()
            .filter(|(_, profile)| profile.config.covers(local, peer))
            .filter_map(|(index, profile)| Some((index, profile.config.secret.as_ref()?)));
        let mut rejected = None;
        for (index, secret) in candidates.take(SECRETS_TRIED_MAX) {
            let secret = secret.expose().as_bytes();
            match message::decode_unassigned(header, datagram, Some(secret)) {
                Ok(Unassigned::Sccrq(sccrq))
                    if self.profile_of(local, peer, &sccrq.host_name) != Some(index) => {}
                Ok(read) => return Ok(read),
                Err(reject) => rejected = rejected.or(Some(reject)),
            }
        }
        match rejected {
            Some(reject) => Err(reject),
            None => message::decode_unassigned(header, datagram, None),
        }
    }

    /// Whether a profile takes one more tunnel.
    ///
    /// # Errors
    /// What its peer is told.
    pub(super) fn admit_to_profile(&self, index: usize) -> Result<(), ResultCode> {
        match self.profiles.get(index) {
            Some(profile) if profile.has_room_for_tunnel() => Ok(()),
            _ => Err(try_another("no more tunnels for this LAC profile")),
        }
    }

    /// Counts a tunnel that was refused.
    pub(super) fn count_refused_tunnel(&mut self, profile: Option<usize>) {
        self.counters.add(LnsCounter::SetupRefused);
        if let Some(profile) = self.profile_mut(profile) {
            profile.tunnels_refused += 1;
        }
    }

    /// Counts a call that was refused.
    pub(super) fn count_refused_call(&mut self, profile: Option<usize>) {
        self.counters.add(LnsCounter::CallsRefused);
        if let Some(profile) = self.profile_mut(profile) {
            profile.calls_refused += 1;
        }
    }

    /// Why one more call of a profile is refused, if it is.
    pub(super) fn profile_refuses_call(&self, profile: Option<usize>) -> Option<&'static str> {
        let profile = self.profile(profile)?;
        (!profile.has_room_for_session()).then_some("no more sessions for this LAC profile")
    }

    /// All profiles, in the order of the configuration.
    pub fn lac_rows(&self) -> Vec<LacRow> {
        self.profiles.iter().map(Profile::row).collect()
    }
}
