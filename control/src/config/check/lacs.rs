//! `[[lac]]`: each profile by itself, and their order.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::error::Problem;
use super::super::key_path::KeyPath;
use super::super::{AuthenticationProtocol, CallMode, Config, HiddenAvps, LacConfig};
use super::{addresses, check_distinct, check_name, check_protocols, check_secret, root};

/// Sockets of L2TP: a listen address has one for each port that tunnels are spread over.
const SOCKETS_MAX: usize = 1024;

/// All profiles.
pub fn check(config: &Config, problems: &mut Vec<Problem>) {
    let lacs = root().key("lac");
    let names = config.lac.iter().map(|lac| lac.name.as_str());
    check_distinct(&lacs, "name", names, problems);
    let takes_all = |lac: &LacConfig| {
        lac.peers.is_empty() && lac.host_names.is_empty() && lac.listen.is_empty()
    };
    let first_for_all = config.lac.iter().position(takes_all).unwrap_or(usize::MAX);
    // Without any [[lac]] there is one, and the file has no place for what is wrong with it.
    for (index, (lac, filled)) in config.lac.iter().zip(config.lac_profiles()).enumerate() {
        let path = lacs.index(index);
        check_names(lac, &path, problems);
        check_listen(config, lac, &path.key("listen"), problems);
        check_secrecy(lac, &path, problems);
        check_ppp(lac, &filled, &path, problems);
        check_ports(config, lac, &path.key("source_ports"), problems);
        if lac.copy_dscp && lac.dscp != 0 {
            let message = "says one DSCP, and copy_dscp says another";
            let help = "remove one of the two";
            problems.push(Problem::new(&path.key("dscp"), message).with_help(help));
        }
        if index > first_for_all {
            let message = "is never used: a profile before it takes every peer";
            let help = "profiles are tried in order; the one without peers, host_names and \
                        listen goes last";
            problems.push(Problem::new(&path.key("name"), message).with_help(help));
        }
    }
}

fn check_names(lac: &LacConfig, path: &KeyPath, problems: &mut Vec<Problem>) {
    check_name(&path.key("name"), &lac.name, problems);
    for (at, peers) in lac.peers.iter().enumerate() {
        addresses::check_host_bits(&path.key("peers").index(at), *peers, problems);
    }
    for (at, host_name) in lac.host_names.iter().enumerate() {
        check_name(&path.key("host_names").index(at), host_name, problems);
    }
    if let Some(host_name) = &lac.host_name {
        check_name(&path.key("host_name"), host_name, problems);
    }
}

fn check_listen(config: &Config, lac: &LacConfig, path: &KeyPath, problems: &mut Vec<Problem>) {
    for (at, address) in lac.listen.iter().enumerate() {
        let any = match address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let path = path.index(at);
        if address.is_unspecified() {
            let help = "remove the key: without it, every address will do";
            let message = format!("{address} is no address that a peer can come to");
            problems.push(Problem::new(&path, message).with_help(help));
        } else if !config.lns.listen.contains(address) && !config.lns.listen.contains(&any) {
            let message = format!("no tunnel ends at {address}: it is not in lns.listen");
            problems.push(Problem::new(&path, message));
        }
    }
}

fn check_secrecy(lac: &LacConfig, path: &KeyPath, problems: &mut Vec<Problem>) {
    if let Some(secret) = &lac.secret {
        return check_secret(&path.key("secret"), secret, problems);
    }
    let help = "give the profile a `secret`";
    if lac.challenge == Some(true) {
        let message = "there is no secret that the peer could answer with";
        problems.push(Problem::new(&path.key("challenge"), message).with_help(help));
    }
    if lac.hidden_avps != HiddenAvps::Never {
        let message = "there is no secret to hide them with";
        problems.push(Problem::new(&path.key("hidden_avps"), message).with_help(help));
    }
}

fn check_ppp(lac: &LacConfig, filled: &LacConfig, path: &KeyPath, problems: &mut Vec<Problem>) {
    if let (Some(mru), Some(mru_min)) = (filled.mru, filled.mru_min)
        && mru_min > mru
        && (lac.mru.is_some() || lac.mru_min.is_some())
    {
        let key = if lac.mru_min.is_some() { "mru_min" } else { "mru" };
        let message = format!("mru_min ({mru_min}) is above mru ({mru}) here");
        problems.push(Problem::new(&path.key(key), message));
    }
    if let Some(protocols) = &lac.authentication {
        check_protocols(&path.key("authentication"), protocols, problems);
    }
    let only_pap = filled.authentication.as_ref().is_some_and(|protocols| {
        protocols.iter().all(|protocol| *protocol == AuthenticationProtocol::Pap)
    });
    if lac.call_mode == CallMode::MandatoryChap && only_pap {
        let message = "this profile's `authentication` has no CHAP";
        let help = "add \"chap-md5\", or take call_mode = \"renegotiate\"";
        problems.push(Problem::new(&path.key("call_mode"), message).with_help(help));
    }
}

fn check_ports(config: &Config, lac: &LacConfig, path: &KeyPath, problems: &mut Vec<Problem>) {
    let last = u32::from(config.lns.port) + u32::from(lac.source_ports).saturating_sub(1);
    if last > u32::from(u16::MAX) {
        let message = format!("the last one would be {last}, as lns.port is {}", config.lns.port);
        problems.push(Problem::new(path, message));
    }
    let sockets = config.lns.listen.len() * usize::from(lac.source_ports);
    if sockets > SOCKETS_MAX {
        let message = format!(
            "{sockets} sockets on the {} addresses of lns.listen: 1 to {SOCKETS_MAX} sockets",
            config.lns.listen.len()
        );
        problems.push(Problem::new(path, message));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepted, refused};

    fn lac(more: &str) -> String {
        format!("[[lac]]\nname = \"a\"\n{more}\n")
    }

    #[test]
    fn profiles_have_names_of_their_own_and_an_order() {
        let all_last = "[[lac]]\nname = \"a\"\npeers = [\"192.0.2.0/24\"]\n[[lac]]\nname = \"b\"\n";
        accepted("", "", all_last);
        let twice = "[[lac]]\nname = \"a\"\nhost_names = [\"x\"]\n[[lac]]\nname = \"a\"\n";
        refused("", "", twice, "lac[1].name: `a` is taken by lac[0]");
        let never = "[[lac]]\nname = \"a\"\n[[lac]]\nname = \"b\"\n";
        refused("", "", never, "lac[1].name: is never used");
        refused(
            "",
            "",
            &lac("peers = [\"192.0.2.7/24\"]"),
            "lac[0].peers[0]: 192.0.2.7/24 has bits set",
        );
    }

    #[test]
    fn the_dscp_is_set_or_copied() {
        accepted("", "", &lac("dscp = 63"));
        accepted("", "", &lac("copy_dscp = true"));
        refused("", "", &lac("dscp = 64"), "lac[0].dscp: 64 is out of range: 0 to 63 as DSCP");
        refused("", "", &lac("dscp = 46\ncopy_dscp = true"), "lac[0].dscp: says one DSCP");
    }

    #[test]
    fn secrets_have_a_length_and_are_no_placeholder() {
        let secret = |secret: &str| lac(&format!("secret = \"{secret}\""));
        accepted("", "", &secret(&"s".repeat(255)));
        refused("", "", &secret(&"s".repeat(256)), "lac[0].secret: 256 octets");
        refused("", "", &secret(""), "lac[0].secret: 0 octets");
        refused("", "", &secret("<set>"), "lac[0].secret: is what `xlns check` prints");
    }

    #[test]
    fn what_needs_a_secret_says_so() {
        accepted("", "", &lac("secret = \"s\"\nchallenge = true\nhidden_avps = \"all\""));
        accepted("", "", &lac("secret = \"s\"\nchallenge = false"));
        accepted("", "", &lac("challenge = false\nhidden_avps = \"never\""));
        refused("", "", &lac("challenge = true"), "lac[0].challenge: there is no secret");
        refused(
            "",
            "",
            &lac("hidden_avps = \"secrets\""),
            "lac[0].hidden_avps: there is no secret",
        );
    }

    #[test]
    fn peers_come_to_addresses_that_tunnels_end_at() {
        accepted("", "", &lac("listen = [\"192.0.2.1\"]"));
        refused("", "", &lac("listen = [\"192.0.2.2\"]"), "lac[0].listen[0]: no tunnel ends at");
        refused("", "", &lac("listen = [\"0.0.0.0\"]"), "lac[0].listen[0]: 0.0.0.0 is no address");
        accepted("192.0.2.1", "0.0.0.0", &lac("listen = [\"192.0.2.2\"]"));
        refused("192.0.2.1", "0.0.0.0", &lac("listen = [\"2001:db8::1\"]"), "lac[0].listen[0]: no");
    }

    #[test]
    fn sizes_fit_those_that_are_inherited() {
        accepted("", "", &lac("mru = 1454\nmru_min = 1454"));
        refused("", "", &lac("mru = 1454\nmru_min = 1455"), "lac[0].mru_min: mru_min (1455) is");
        refused(
            "",
            "",
            &lac("mru_min = 1461"),
            "lac[0].mru_min: mru_min (1461) is above mru (1460)",
        );
        let inherited = format!("[ppp]\nmru_min = 1400\n{}", lac("mru = 1300"));
        refused("", "", &inherited, "lac[0].mru: mru_min (1400) is above mru (1300)");
    }

    #[test]
    fn a_challenge_for_the_subscriber_is_a_chap() {
        let mandatory = "call_mode = \"mandatory-chap\"\n";
        accepted("", "", &lac(mandatory));
        let pap = format!("{mandatory}authentication = [\"pap\"]");
        refused("", "", &lac(&pap), "lac[0].call_mode: this profile's `authentication` has no");
        refused("", "", &lac("authentication = []"), "lac[0].authentication: names no protocol");
        accepted("", "", &lac("authentication = [\"pap\"]\ncall_mode = \"proxy\""));
    }

    #[test]
    fn ports_end_where_there_are_no_more() {
        accepted("", "", &lac("source_ports = 64"));
        let high = "\"192.0.2.1\"]\nport = 65533";
        accepted("\"192.0.2.1\"]", high, &lac("source_ports = 3"));
        refused("\"192.0.2.1\"]", high, &lac("source_ports = 4"), "lac[0].source_ports: the last");
        let many: Vec<String> = (0..17).map(|host| format!("\"192.0.2.{host}\"")).collect();
        let many = format!("{}]", many.join(", "));
        refused("\"192.0.2.1\"]", &many, &lac("source_ports = 64"), "lac[0].source_ports: 1088 so");
    }
}
