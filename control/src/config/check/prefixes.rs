//! IPv6 prefixes, framed routes and what is told about them: each usable, none in two places.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};
use xlns_dataplane::api::SESSION_PREFIXES_MAX;

use super::super::Config;
use super::super::error::Problem;
use super::super::key_path::KeyPath;
use super::{addresses, root};
use crate::ipv6::{MTU_MIN, dhcp, discovery};

/// A pool's IPv6 prefix is at least this long: nobody has more.
const LENGTH_MIN: u8 = 16;

/// The prefix of a link (RFC 4291 section 2.5.1).
const LINK_LENGTH: u8 = 64;

/// The largest prefix that is delegated: what RFC 6177 has for the largest site.
const DELEGATED_LENGTH_MIN: u8 = 48;

/// Framed routes of a user: a session has an address, a /64 and a delegated prefix beside them.
const FRAMED_ROUTES_MAX: usize = SESSION_PREFIXES_MAX - 3;

/// Routes told by DHCPINFORM: an option of DHCP has 255 octets, a route at most nine of them.
const ROUTES_MAX: usize = 28;

/// Name servers in an advertisement or a DHCPv6 message.
const DNS_SERVERS_MAX: usize = discovery::DNS_SERVERS_MAX;
const _: () = assert!(DNS_SERVERS_MAX <= dhcp::message::DNS_SERVERS_MAX);

/// Why no subscriber can have an address of this prefix.
fn unusable(prefix: Ipv6Net) -> Option<&'static str> {
    let covers = |text: Ipv6Addr, length| {
        let special = Ipv6Net::new_assert(text, length);
        special.contains(&prefix) || prefix.contains(&special)
    };
    if prefix.network().is_multicast() {
        Some("multicast")
    } else if covers(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10) {
        Some("link-local")
    } else if covers(Ipv6Addr::UNSPECIFIED, 64) {
        Some("reserved")
    } else {
        None
    }
}

/// Everything of `[ppp]` that concerns IPv6 and DHCP.
pub fn check_ppp(config: &Config, problems: &mut Vec<Problem>) {
    let (path, ppp) = (root().key("ppp"), &config.ppp);
    let dns = path.key("ipv6_dns");
    if ppp.ipv6_dns.len() > DNS_SERVERS_MAX {
        let message = format!("{} servers: 0 to {DNS_SERVERS_MAX} servers", ppp.ipv6_dns.len());
        problems.push(Problem::new(&dns, message));
    }
    for (index, server) in ppp.ipv6_dns.iter().enumerate() {
        if let Some(why) = unusable(Ipv6Net::from(*server)) {
            problems.push(Problem::new(&dns.index(index), format!("{server} is {why}")));
        }
    }
    if !ppp.domain.is_empty() && dhcp::message::encode_domain(&ppp.domain).is_empty() {
        let message = format!("`{}` is no domain: labels of 1 to 63 octets", ppp.domain);
        problems.push(Problem::new(&path.key("domain"), message));
    }
    if ppp.routes.len() > ROUTES_MAX {
        let message = format!("{} routes: 0 to {ROUTES_MAX} routes", ppp.routes.len());
        problems.push(Problem::new(&path.key("routes"), message));
    }
    for (index, route) in ppp.routes.iter().enumerate() {
        let path = path.key("routes").index(index);
        addresses::check_host_bits(&path, IpNet::V4(*route), problems);
    }
    let has_prefixes = config.subscriber_prefixes().iter().any(|prefix| prefix.addr().is_ipv6());
    if ppp.ipv6 && has_prefixes && ppp.mru < MTU_MIN {
        let message = format!("{} is below {MTU_MIN}, the least that IPv6 needs", ppp.mru);
        let help = "raise it, or set ppp.ipv6 = false";
        problems.push(Problem::new(&path.key("mru"), message).with_help(help));
    }
}

/// The IPv6 prefixes of a pool; the good ones go to `good`.
pub fn check_pool(
    config: &Config,
    index: usize,
    good: &mut Vec<(IpNet, KeyPath)>,
    problems: &mut Vec<Problem>,
) {
    let Some(pool) = config.pool.get(index) else { return };
    let path = root().key("pool").index(index);
    let keys = [
        ("ipv6_prefixes", &pool.ipv6_prefixes, LINK_LENGTH),
        ("delegated_prefixes", &pool.delegated_prefixes, pool.delegated_length),
    ];
    for (key, prefixes, length_max) in keys {
        for (at, prefix) in prefixes.iter().enumerate() {
            let path = path.key(key).index(at);
            let lengths = LENGTH_MIN..=length_max;
            if check_prefix(config, &path, *prefix, lengths, problems) {
                good.push((IpNet::V6(*prefix), path));
            }
        }
    }
}

fn check_prefix(
    config: &Config,
    path: &KeyPath,
    prefix: Ipv6Net,
    lengths: std::ops::RangeInclusive<u8>,
    problems: &mut Vec<Problem>,
) -> bool {
    if !lengths.contains(&prefix.prefix_len()) {
        let (least, most) = (lengths.start(), lengths.end());
        let message = format!("{prefix} has a prefix length out of range: {least} to {most} bits");
        problems.push(Problem::new(path, message));
        return false;
    }
    if !addresses::check_host_bits(path, IpNet::V6(prefix), problems) {
        return false;
    }
    if let Some(why) = unusable(prefix) {
        problems.push(Problem::new(path, format!("{prefix} is {why}")));
        return false;
    }
    !addresses::refuse_listen(config, path, IpNet::V6(prefix), problems)
}

/// What users have of their own: not inside one another, and framed routes outside of all pools.
pub fn check_users(config: &Config, pools: &[(IpNet, KeyPath)], problems: &mut Vec<Problem>) {
    let mut good: Vec<(IpNet, KeyPath)> = Vec::new();
    for (index, user) in config.user.iter().enumerate() {
        let path = root().key("user").index(index);
        let address = user.address.map(|address| IpNet::from(IpAddr::V4(address)));
        // Two users with one address are told so elsewhere.
        if let Some(address) = address.filter(|one| good.iter().all(|(other, _)| other != one)) {
            good.push((address, path.key("address")));
        }
        let fixed = [
            ("ipv6_prefix", user.ipv6_prefix, LINK_LENGTH..=LINK_LENGTH),
            ("delegated_prefix", user.delegated_prefix, DELEGATED_LENGTH_MIN..=LINK_LENGTH),
        ];
        for (key, prefix, lengths) in fixed {
            let (Some(prefix), path) = (prefix, path.key(key)) else { continue };
            if check_prefix(config, &path, prefix, lengths, problems) {
                refuse_inside(&path, IpNet::V6(prefix), pools, problems);
                good.push((IpNet::V6(prefix), path));
            }
        }
        let path = path.key("framed_routes");
        if user.framed_routes.len() > FRAMED_ROUTES_MAX {
            let count = user.framed_routes.len();
            let message = format!("{count} routes: 0 to {FRAMED_ROUTES_MAX} routes");
            problems.push(Problem::new(&path, message));
        }
        for (at, route) in user.framed_routes.iter().enumerate() {
            let path = path.index(at);
            if check_framed_route(config, &path, *route, pools, problems) {
                good.push((*route, path));
            }
        }
    }
    addresses::check_overlap(good, problems);
}

fn check_framed_route(
    config: &Config,
    path: &KeyPath,
    route: IpNet,
    pools: &[(IpNet, KeyPath)],
    problems: &mut Vec<Problem>,
) -> bool {
    if !addresses::check_host_bits(path, route, problems) {
        return false;
    }
    let why = match route {
        IpNet::V4(net) if net.prefix_len() < 8 => Some("larger than a /8"),
        IpNet::V4(net) => {
            addresses::unusable(net.network()).or(addresses::unusable(net.broadcast()))
        }
        IpNet::V6(net) if net.prefix_len() < LENGTH_MIN => Some("larger than a /16"),
        IpNet::V6(net) => unusable(net),
    };
    if let Some(why) = why {
        problems.push(Problem::new(path, format!("{route} is {why}")));
        return false;
    }
    let gateway: Ipv4Addr = config.lns.gateway;
    if route.contains(&IpAddr::V4(gateway)) {
        let message = format!("{route} holds the gateway's address (lns.gateway)");
        problems.push(Problem::new(path, message));
        return false;
    }
    if let Some((pool, of)) = pools.iter().find(|(pool, _)| pool.contains(&route)) {
        let message = format!("{route} lies in {pool} of {of}: the pool hands it out to others");
        problems.push(Problem::new(path, message));
        return false;
    }
    refuse_inside(path, route, pools, problems);
    !addresses::refuse_listen(config, path, route, problems)
}

/// A prefix of one user does not swallow a pool.
fn refuse_inside(
    path: &KeyPath,
    prefix: IpNet,
    pools: &[(IpNet, KeyPath)],
    problems: &mut Vec<Problem>,
) {
    if let Some((pool, of)) = pools.iter().find(|(pool, _)| prefix.contains(pool)) {
        problems.push(Problem::new(path, format!("{prefix} holds {pool} of {of}, all of it")));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepted, problems, refused};

    const V4: &str = "prefixes = [\"10.0.0.0/24\"]";

    fn pool(more: &str) -> String {
        format!("{V4}\n{more}")
    }

    fn user(more: &str) -> String {
        format!("[[user]]\nname = \"a\"\npassword = \"p\"\n{more}\n")
    }

    #[test]
    fn pools_have_prefixes_of_some_family() {
        accepted(V4, "ipv6_prefixes = [\"2001:db8::/40\"]", "");
        accepted(V4, "delegated_prefixes = [\"2001:db8::/40\"]", "");
        let both = "ipv6_prefixes = [\"2001:db8::/40\"]\ndelegated_prefixes = [\"2001:db9::/32\"]";
        accepted(V4, &pool(both), "");
        refused(V4, "", "", "pool[0].prefixes: names no prefix");
    }

    #[test]
    fn prefixes_have_a_length_and_no_host_bits() {
        let links = |text: &str| pool(&format!("ipv6_prefixes = [\"{text}\"]"));
        accepted(V4, &links("2001:db8::/64"), "");
        accepted(V4, &links("2001::/16"), "");
        for (text, expected) in [
            ("2001:db8::/65", "2001:db8::/65 has a prefix length out of range: 16 to 64 bits"),
            ("2000::/15", "2000::/15 has a prefix length"),
            ("2001:db8::1/64", "2001:db8::1/64 has bits set"),
            ("fe80::/64", "fe80::/64 is link-local"),
            ("ff00::/16", "ff00::/16 is multicast"),
            ("::/64", "::/64 is reserved"),
        ] {
            let expected = format!("pool[0].ipv6_prefixes[0]: {expected}");
            refused(V4, &links(text), "", &expected);
        }
        let delegated = |text: &str, length: u8| {
            pool(&format!("delegated_prefixes = [\"{text}\"]\ndelegated_length = {length}"))
        };
        accepted(V4, &delegated("2001:db8::/56", 56), "");
        let expected = "pool[0].delegated_prefixes[0]: 2001:db8::/57 has a prefix length";
        refused(V4, &delegated("2001:db8::/57", 56), "", expected);
        let expected = "pool[0].delegated_length: 47 is out of range: 48 to 64 bits";
        refused(V4, &delegated("2001:db8::/40", 47), "", expected);
    }

    #[test]
    fn prefixes_lie_apart() {
        let two = "ipv6_prefixes = [\"2001:db8::/40\"]\ndelegated_prefixes = [\"2001:db8::/48\"]";
        let expected = "pool[0].delegated_prefixes[0]: 2001:db8::/48 lies in 2001:db8::/40 of";
        refused(V4, &pool(two), "", expected);
        let listen = problems("[\"192.0.2.1\"]", "[\"2001:db8::1\"]", &{
            "[[pool]]\nname = \"b\"\nipv6_prefixes = [\"2001:db8::/48\"]\n".to_owned()
        });
        assert!(listen[0].contains("2001:db8::/48 holds 2001:db8::1"), "{listen:?}");
    }

    #[test]
    fn users_have_prefixes_and_routes_of_their_own() {
        let links = pool("ipv6_prefixes = [\"2001:db8::/40\"]");
        accepted(V4, &links, &user("ipv6_prefix = \"2001:db8::/64\""));
        accepted(V4, &links, &user("ipv6_prefix = \"2001:db9::/64\""));
        accepted(V4, &links, &user("delegated_prefix = \"2001:db9::/48\""));
        let routes = "framed_routes = [\"192.0.2.128/25\", \"2001:db9::/48\"]";
        accepted(V4, &links, &user(routes));
        for (more, expected) in [
            ("ipv6_prefix = \"2001:db9::/63\"", "user[0].ipv6_prefix: 2001:db9::/63 has a prefix"),
            ("delegated_prefix = \"2001:db9::/47\"", "user[0].delegated_prefix: 2001:db9::/47 has"),
            (
                "delegated_prefix = \"2001:db9::/48\"\nipv6_prefix = \"2001:db9::/64\"",
                "user[0].ipv6_prefix: 2001:db9::/64 lies in 2001:db9::/48 of user[0].delegated",
            ),
            ("framed_routes = [\"10.0.0.8/29\"]", "user[0].framed_routes[0]: 10.0.0.8/29 lies in"),
            (
                "framed_routes = [\"10.0.0.0/23\"]",
                "user[0].framed_routes[0]: 10.0.0.0/23 holds the",
            ),
            (
                "framed_routes = [\"2001:db8::/32\"]",
                "user[0].framed_routes[0]: 2001:db8::/32 holds",
            ),
            ("framed_routes = [\"192.0.2.0/24\"]", "user[0].framed_routes[0]: 192.0.2.0/24 holds"),
            ("framed_routes = [\"240.0.0.0/24\"]", "user[0].framed_routes[0]: 240.0.0.0/24 is a"),
            ("framed_routes = [\"0.0.0.0/0\"]", "user[0].framed_routes[0]: 0.0.0.0/0 is larger"),
            ("framed_routes = [\"::/0\"]", "user[0].framed_routes[0]: ::/0 is larger"),
        ] {
            refused(V4, &links, &user(more), expected);
        }
        let many: Vec<String> = (0..6).map(|net| format!("\"10.1.{net}.0/24\"")).collect();
        let routes =
            |count: usize| user(&format!("framed_routes = [{}]", many[..count].join(", ")));
        accepted(V4, &links, &routes(5));
        refused(V4, &links, &routes(6), "user[0].framed_routes: 6 routes: 0 to 5 routes");
    }

    #[test]
    fn what_is_told_is_bounded_and_makes_sense() {
        let dns = |count: usize| {
            let servers: Vec<String> = (1..=count).map(|n| format!("\"2001:db8::{n}\"")).collect();
            format!("[ppp]\nipv6_dns = [{}]\n", servers.join(", "))
        };
        accepted("", "", &dns(4));
        refused("", "", &dns(5), "ppp.ipv6_dns: 5 servers");
        refused("", "", "[ppp]\nipv6_dns = [\"::1\"]\n", "ppp.ipv6_dns[0]: ::1 is reserved");
        accepted("", "", "[ppp]\ndomain = \"example.net\"\n");
        refused("", "", "[ppp]\ndomain = \"a..b\"\n", "ppp.domain: `a..b` is no domain");
        accepted("", "", "[ppp]\nroutes = [\"10.0.0.0/8\", \"0.0.0.0/0\"]\n");
        refused("", "", "[ppp]\nroutes = [\"10.0.0.1/8\"]\n", "ppp.routes[0]: 10.0.0.1/8 has bits");
        let links = pool("ipv6_prefixes = [\"2001:db8::/40\"]");
        accepted(V4, &links, "[ppp]\nmru = 1280\n");
        accepted(V4, &links, "[ppp]\nmru = 1279\nipv6 = false\n");
        refused(V4, &links, "[ppp]\nmru = 1279\n", "ppp.mru: 1279 is below 1280");
    }
}
