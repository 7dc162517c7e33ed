//! The targets, each in a file of its own.

mod admin;
mod api;
mod avps;
mod dhcp;
mod header;
mod host;
mod ipv6;
mod link;
mod lns;
mod messages;
mod options;
mod pipeline;
mod router;
mod subscriber;
mod tunnel;

/// One target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and that of its folder in the corpus.
    pub name: &'static str,
    /// Octets of the longest input that is tried.
    pub input_bytes_max: usize,
    /// Panics where the input breaks an invariant.
    pub run: fn(&[u8]),
}

const fn target_of(name: &'static str, input_bytes_max: usize, run: fn(&[u8])) -> Target {
    Target { name, input_bytes_max, run }
}

/// Every target.
pub const TARGETS: &[Target] = &[
    target_of("l2tp_header", 300, header::run),
    target_of("l2tp_avps", 1024, avps::run),
    target_of("l2tp_tunnel", 2048, tunnel::run),
    target_of("lns", 2048, lns::run),
    target_of("ppp_options", 512, options::run),
    target_of("ppp_link", 2048, link::run),
    target_of("ipv6_router", 1024, router::run),
    target_of("ipv6_host", 1024, host::run),
    target_of("dhcpv6_message", 1024, dhcp::run_message),
    target_of("dhcp_inform", 700, dhcp::run_inform),
    target_of("admin_socket", 2048, admin::run),
    target_of("api_socket", 2048, api::run),
    target_of("pipeline", 2048, pipeline::run),
];

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
