//! Whether the values of a configuration fit one another.

mod addresses;
mod clients;
mod dataplane;
mod lacs;
mod prefixes;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::error::Problem;
use super::key_path::KeyPath;
use super::{AuthenticationProtocol, Config, Secret, secret};

/// The longest name of anything in the file, octets: what one AVP, or the name field of a PAP or
/// CHAP packet with its one octet of length, can carry.
const NAME_BYTES_MAX: usize = 255;

/// The longest secret, octets.
const SECRET_BYTES_MAX: usize = 255;

/// The shortest time between two challenges of one session: an answer may take ten repetitions three
/// seconds apart, and a million sessions have to be asked.
const RECHALLENGE_SECONDS_MIN: u64 = 30;

/// IPCP carries a primary and a secondary server (RFC 1877).
const NAME_SERVERS_MAX: usize = 2;

/// Everything that does not fit.
pub fn check(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    check_lns(config, &mut problems);
    check_l2tp(config, &mut problems);
    check_ppp(config, &mut problems);
    lacs::check(config, &mut problems);
    clients::check(config, &mut problems);
    addresses::check(config, &mut problems);
    prefixes::check_ppp(config, &mut problems);
    check_users(config, &mut problems);
    dataplane::check(config, &mut problems);
    problems
}

fn root() -> KeyPath {
    KeyPath::default()
}

/// The gateway address equals an address that tunnels end at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatewayConflict {
    /// The address.
    pub address: Ipv4Addr,
}

impl fmt::Display for GatewayConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is also an address that tunnels end at. A subscriber's router installs a host \
             route to the PPP address of its LNS; where that is the tunnel's address as well, its \
             L2TP packets follow that route into the tunnel they carry, and the session dies \
             within seconds",
            self.address
        )
    }
}

/// What to do about a [`GatewayConflict`].
const GATEWAY_HELP: &str = "take another address, one of a pool's or any that only subscribers \
     need to reach; if no peer routes its tunnel by its own table, \
     set allow_gateway_on_listen_address = true";

impl Config {
    /// Whether the gateway is an address that tunnels end at. `endpoints` are this host's addresses
    /// that an unspecified address in `lns.listen` stands for; the gateway on `dataplane.tun_name`,
    /// where it is for what is inside tunnels, is none.
    pub fn gateway_conflict(&self, endpoints: &[IpAddr]) -> Option<GatewayConflict> {
        let gateway = IpAddr::V4(self.lns.gateway);
        let any = self.lns.listen.contains(&IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let conflicts = self.lns.listen.contains(&gateway) || any && endpoints.contains(&gateway);
        (conflicts && !self.lns.allow_gateway_on_listen_address)
            .then_some(GatewayConflict { address: self.lns.gateway })
    }
}

fn check_lns(config: &Config, problems: &mut Vec<Problem>) {
    let lns = root().key("lns");
    check_name(&lns.key("host_name"), &config.lns.host_name, problems);
    addresses::check_listen(&config.lns, &lns.key("listen"), problems);
    let gateway = lns.key("gateway");
    if let Some(why) = addresses::unusable(config.lns.gateway) {
        problems.push(Problem::new(&gateway, format!("{} is {why}", config.lns.gateway)));
    } else if let Some(conflict) = config.gateway_conflict(&[]) {
        problems.push(Problem::new(&gateway, conflict.to_string()).with_help(GATEWAY_HELP));
    }
    let is_unusable = |address: &Ipv6Addr| {
        address.is_unspecified()
            || address.is_loopback()
            || address.is_multicast()
            || address.is_unicast_link_local()
    };
    if let Some(address) = config.lns.gateway_ipv6.filter(is_unusable) {
        let message = format!("{address} cannot be the source of packets that cross routers");
        problems.push(Problem::new(&lns.key("gateway_ipv6"), message));
    }
}

fn check_l2tp(config: &Config, problems: &mut Vec<Problem>) {
    let l2tp = &config.l2tp;
    if l2tp.retransmit_max_ms < l2tp.retransmit_initial_ms {
        let message = format!(
            "{} is below retransmit_initial_ms ({})",
            l2tp.retransmit_max_ms, l2tp.retransmit_initial_ms
        );
        problems.push(Problem::new(&root().key("l2tp").key("retransmit_max_ms"), message));
    }
}

fn check_ppp(config: &Config, problems: &mut Vec<Problem>) {
    let path = root().key("ppp");
    let ppp = &config.ppp;
    if ppp.mru_min > ppp.mru {
        let message = format!("{} is above mru ({})", ppp.mru_min, ppp.mru);
        problems.push(Problem::new(&path.key("mru_min"), message));
    }
    check_protocols(&path.key("authentication"), &ppp.authentication, problems);
    let again = ppp.rechallenge_seconds;
    if again != 0 && !(RECHALLENGE_SECONDS_MIN..).contains(&again) {
        let message = format!("{again} seconds: 0, or {RECHALLENGE_SECONDS_MIN} and more");
        let help = "0 challenges a subscriber once; an hour (3600) is a usual interval";
        problems.push(Problem::new(&path.key("rechallenge_seconds"), message).with_help(help));
    }
    check_name_servers(&path.key("dns"), &ppp.dns, problems);
    check_name_servers(&path.key("nbns"), &ppp.nbns, problems);
}

fn check_name_servers(path: &KeyPath, servers: &[Ipv4Addr], problems: &mut Vec<Problem>) {
    if servers.len() > NAME_SERVERS_MAX {
        let message = format!("{} servers: 0 to {NAME_SERVERS_MAX} servers", servers.len());
        problems.push(Problem::new(path, message));
    }
    for (index, server) in servers.iter().enumerate() {
        if let Some(why) = addresses::unusable(*server) {
            problems.push(Problem::new(&path.index(index), format!("{server} is {why}")));
        }
    }
}

fn check_protocols(
    path: &KeyPath,
    protocols: &[AuthenticationProtocol],
    problems: &mut Vec<Problem>,
) {
    if protocols.is_empty() {
        let message = "names no protocol: sessions without authentication are not offered";
        let help = "authentication = [\"chap-md5\", \"ms-chap-v2\", \"pap\"]";
        problems.push(Problem::new(path, message).with_help(help));
    }
    for (index, protocol) in protocols.iter().enumerate() {
        if protocols.iter().take(index).any(|earlier| earlier == protocol) {
            problems.push(Problem::new(&path.index(index), "is named twice"));
        }
    }
}

fn check_users(config: &Config, problems: &mut Vec<Problem>) {
    let users = root().key("user");
    check_distinct(&users, "name", config.user.iter().map(|user| user.name.as_str()), problems);
    for (index, user) in config.user.iter().enumerate() {
        let path = users.index(index);
        check_name(&path.key("name"), &user.name, problems);
        check_secret(&path.key("password"), &user.password, problems);
        let is_policed = user.rate_up.is_some() || user.rate_down.is_some();
        if user.rate_burst_bytes.is_some() && !is_policed {
            let message = "has no rate that it could exceed";
            let help = "add rate_up or rate_down, or remove it";
            problems.push(Problem::new(&path.key("rate_burst_bytes"), message).with_help(help));
        }
        if user.fixed().next().is_some() && user.sessions_max.is_some_and(|most| most > 1) {
            let message = "a user with a fixed address, prefix or route has one session at a time";
            let help = "remove `sessions_max`, or what is fixed for addresses of a pool";
            problems.push(Problem::new(&path.key("sessions_max"), message).with_help(help));
        }
        match &user.pool {
            Some(pool) if config.pool.iter().all(|known| known.name != *pool) => {
                let known: Vec<&str> = config.pool.iter().map(|pool| pool.name.as_str()).collect();
                let help = match known.as_slice() {
                    [] => "there is no [[pool]]".to_owned(),
                    names => format!("pools are: {}", names.join(", ")),
                };
                let message = format!("no pool is named `{pool}`");
                problems.push(Problem::new(&path.key("pool"), message).with_help(help));
            }
            Some(pool) if user.address.is_some() && !has_ipv6(config, pool) => {
                let message = "a user with a fixed address takes none of a pool";
                let help = "remove `pool` or `address`, or name a pool with IPv6 prefixes";
                problems.push(Problem::new(&path.key("pool"), message).with_help(help));
            }
            None if !user.has_fixed() && config.pool.is_empty() => {
                let message = "there is no address for this user: it has none, and no pool exists";
                let help = "add a [[pool]], or `address` to the user";
                problems.push(Problem::new(&path.key("name"), message).with_help(help));
            }
            _ => {}
        }
    }
}

fn has_ipv6(config: &Config, name: &str) -> bool {
    let pool = config.pool.iter().find(|pool| pool.name == name);
    pool.is_some_and(|pool| !pool.ipv6_prefixes.is_empty() || !pool.delegated_prefixes.is_empty())
}

fn check_name(path: &KeyPath, name: &str, problems: &mut Vec<Problem>) {
    if name.is_empty() {
        problems.push(Problem::new(path, format!("is empty: 1 to {NAME_BYTES_MAX} octets")));
    } else if name.len() > NAME_BYTES_MAX {
        let message = format!("{} octets: 1 to {NAME_BYTES_MAX} octets", name.len());
        problems.push(Problem::new(path, message));
    } else if name.chars().any(char::is_control) {
        problems.push(Problem::new(path, "holds a control character"));
    }
}

fn check_secret(path: &KeyPath, secret: &Secret, problems: &mut Vec<Problem>) {
    let length = secret.expose().len();
    if length == 0 || length > SECRET_BYTES_MAX {
        let message = format!("{length} octets: 1 to {SECRET_BYTES_MAX} octets");
        problems.push(Problem::new(path, message));
    } else if secret.expose() == secret::PLACEHOLDER {
        let message = "is what `xlns check` prints in place of a secret, not the secret";
        problems.push(Problem::new(path, message));
    }
}

/// Refuses the second of two entries of `array` with the same `key`.
fn check_distinct<'a>(
    array: &KeyPath,
    key: &str,
    values: impl Iterator<Item = &'a str>,
    problems: &mut Vec<Problem>,
) {
    let mut first_of: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, value) in values.enumerate() {
        if let Some(first) = first_of.get(value) {
            let message = format!("`{value}` is taken by {array}[{first}]");
            problems.push(Problem::new(&array.index(index).key(key), message));
        } else {
            first_of.insert(value, index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with a small good file after `from` was replaced by `to` and `more` added.
    pub fn problems(from: &str, to: &str, more: &str) -> Vec<String> {
        const GOOD: &str = "[lns]\nlisten = [\"192.0.2.1\"]\ngateway = \"10.0.0.1\"\n\
            [[port]]\ninterface = \"eth0\"\n\
            [[pool]]\nname = \"home\"\nprefixes = [\"10.0.0.0/24\"]\n";
        assert!(GOOD.contains(from), "{from} is not in the good file");
        let text = format!("{}{more}", GOOD.replacen(from, to, 1));
        match Config::parse("x.toml", &text) {
            Ok(_) => Vec::new(),
            Err(error) => error.problems().map(ToString::to_string).collect(),
        }
    }

    /// Whether exactly one thing is wrong and begins with `expected`.
    #[track_caller]
    pub fn refused(from: &str, to: &str, more: &str, expected: &str) {
        let problems = problems(from, to, more);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with(expected), "{problems:?}");
    }

    #[track_caller]
    pub fn accepted(from: &str, to: &str, more: &str) {
        assert_eq!(problems(from, to, more), [""; 0]);
    }

    #[test]
    fn a_gateway_on_a_listen_address_is_refused_with_the_explanation() {
        let problems = problems("10.0.0.1", "192.0.2.1", "");
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains("lns.gateway: 192.0.2.1 is also an address that tunnels end"));
        assert!(problems[0].contains("host route"), "{problems:?}");
        let allowed = "\"192.0.2.1\"\nallow_gateway_on_listen_address = true";
        accepted("\"10.0.0.1\"", allowed, "");
    }

    #[test]
    fn with_a_wildcard_the_host_addresses_decide() {
        let text = "[lns]\nlisten = [\"0.0.0.0\"]\ngateway = \"10.0.0.1\"\n\
            [[port]]\ninterface = \"eth0\"\n";
        let mut config = Config::parse("x.toml", text).unwrap();
        assert_eq!(config.gateway_conflict(&[]), None);
        let here: IpAddr = "10.0.0.1".parse().unwrap();
        let conflict = GatewayConflict { address: config.lns.gateway };
        assert_eq!(config.gateway_conflict(&[here]), Some(conflict));
        config.lns.allow_gateway_on_listen_address = true;
        assert_eq!(config.gateway_conflict(&[here]), None);
        config.lns.allow_gateway_on_listen_address = false;
        config.lns.listen = vec!["::".parse().unwrap()];
        assert_eq!(config.gateway_conflict(&[here]), None, "no IPv4 tunnel can end there");
    }

    #[test]
    fn retransmission_and_mru_have_an_order() {
        refused(
            "",
            "",
            "[l2tp]\nretransmit_max_ms = 500\n",
            "l2tp.retransmit_max_ms: 500 is below",
        );
        accepted("", "", "[l2tp]\nretransmit_max_ms = 1000\n");
        refused("", "", "[ppp]\nmru_min = 1461\n", "ppp.mru_min: 1461 is above mru (1460)");
        accepted("", "", "[ppp]\nmru_min = 1460\n");
    }

    #[test]
    fn authentication_is_some_and_named_once() {
        refused("", "", "[ppp]\nauthentication = []\n", "ppp.authentication: names no protocol");
        let twice = "[ppp]\nauthentication = [\"pap\", \"pap\"]\n";
        refused("", "", twice, "ppp.authentication[1]: is named twice");
        accepted("", "", "[ppp]\nauthentication = [\"pap\"]\n");
    }

    #[test]
    fn two_name_servers_of_each_kind_fit() {
        accepted("", "", "[ppp]\ndns = [\"9.9.9.9\", \"1.1.1.1\"]\n");
        let three = "[ppp]\ndns = [\"9.9.9.9\", \"1.1.1.1\", \"8.8.8.8\"]\n";
        refused("", "", three, "ppp.dns: 3 servers");
        refused("", "", "[ppp]\ndns = [\"224.0.0.1\"]\n", "ppp.dns[0]: 224.0.0.1 is a multicast");
        accepted("", "", "[ppp]\nnbns = [\"192.0.2.7\", \"192.0.2.8\"]\n");
        refused("", "", &three.replace("dns", "nbns"), "ppp.nbns: 3 servers");
    }

    #[test]
    fn users_have_names_of_their_own_and_a_known_pool() {
        let user = "[[user]]\nname = \"a\"\npassword = \"p\"\n";
        accepted("", "", user);
        accepted("", "", &format!("{user}pool = \"home\"\n"));
        refused("", "", &format!("{user}{user}"), "user[1].name: `a` is taken by user[0]");
        refused("", "", &format!("{user}pool = \"hmoe\"\n"), "user[0].pool: no pool is named");
        let both = format!("{user}pool = \"home\"\naddress = \"10.0.0.9\"\n");
        refused("", "", &both, "user[0].pool: a user with a fixed address");
        refused("", "", "[[user]]\nname = \"\"\npassword = \"p\"\n", "user[0].name: is empty");
    }

    #[test]
    fn a_fixed_address_is_for_one_session_at_a_time() {
        let user = "[[user]]\nname = \"a\"\npassword = \"p\"\n";
        accepted("", "", &format!("{user}sessions_max = 2\n"));
        let fixed = format!("{user}address = \"10.0.0.9\"\n");
        accepted("", "", &format!("{fixed}sessions_max = 1\n"));
        let two = format!("{fixed}sessions_max = 2\n");
        refused("", "", &two, "user[0].sessions_max: a user with a fixed address, ");
        for fixed in [
            "ipv6_prefix = \"2001:db8:8::/64\"",
            "delegated_prefix = \"2001:db8:9::/56\"",
            "framed_routes = [\"172.17.0.0/24\"]",
        ] {
            accepted("", "", &format!("{user}{fixed}\nsessions_max = 1\n"));
            let two = format!("{user}{fixed}\nsessions_max = 2\n");
            refused("", "", &two, "user[0].sessions_max: a user with a fixed address, prefix or ");
        }
        let none = format!("{user}sessions_max = 0\n");
        refused("", "", &none, "user[0].sessions_max: 0");
    }

    #[test]
    fn rates_and_their_burst() {
        let user = "[[user]]\nname = \"a\"\npassword = \"p\"\n";
        accepted("", "", &format!("{user}rate_up = 1\nrate_burst_bytes = 1500\n"));
        let alone = format!("{user}rate_burst_bytes = 1500\n");
        refused("", "", &alone, "user[0].rate_burst_bytes: has no rate");
        let none = format!("{user}rate_down = 0\n");
        refused("", "", &none, "user[0].rate_down: 0 is out of range: 1 to 1000000000 kbit/s");
    }

    #[test]
    fn errors_of_ipv6_come_from_an_address_that_crosses_routers() {
        let with = |address: &str| format!("\"10.0.0.1\"\ngateway_ipv6 = \"{address}\"");
        accepted("\"10.0.0.1\"", &with("2001:db8::1"), "");
        for address in ["::", "::1", "ff02::1", "fe80::1"] {
            refused("\"10.0.0.1\"", &with(address), "", "lns.gateway_ipv6: ");
        }
    }

    #[test]
    fn challenges_in_between_keep_a_distance() {
        for (seconds, fits) in [(0, true), (1, false), (29, false), (30, true), (86_400, true)] {
            let ppp = format!("[ppp]\nrechallenge_seconds = {seconds}\n");
            if fits {
                accepted("", "", &ppp);
            } else {
                refused(
                    "",
                    "",
                    &ppp,
                    &format!("ppp.rechallenge_seconds: {seconds} seconds: 0, or"),
                );
            }
        }
    }

    #[test]
    fn a_user_needs_an_address_from_somewhere() {
        let pool = "[[pool]]\nname = \"home\"\nprefixes = [\"10.0.0.0/24\"]\n";
        let user = "[[user]]\nname = \"a\"\npassword = \"p\"\n";
        refused(pool, "", user, "user[0].name: there is no address for this user");
        accepted(pool, "", &format!("{user}address = \"10.0.0.9\"\n"));
    }
}
