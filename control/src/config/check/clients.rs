//! `[[client]]` and `[dial]`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::super::client::{
    CLIENTS_MAX, PEER_ADDRESSES_MAX, ROUTES_MAX, SERVERS_MAX, any_of_family,
};
use super::super::error::Problem;
use super::super::key_path::KeyPath;
use super::super::{ClientConfig, Config, HiddenAvps, RouteConfig};
use super::{addresses, check_distinct, check_name, check_protocols, check_secret, root};

/// Tables of Linux that are not free to use: default, main, local.
const TABLES_TAKEN: std::ops::RangeInclusive<u32> = 253..=255;

/// All clients.
pub fn check(config: &Config, problems: &mut Vec<Problem>) {
    let clients = root().key("client");
    let count = config.client.len();
    if count > CLIENTS_MAX {
        let message = format!("{count} clients: 0 to {CLIENTS_MAX} clients");
        problems.push(Problem::new(&clients, message));
    }
    let names = config.client.iter().map(|client| client.name.as_str());
    check_distinct(&clients, "name", names, problems);
    for (index, client) in config.client.iter().enumerate() {
        let path = clients.index(index);
        check_identity(client, &path, problems);
        check_local(config, client, &path.key("local"), problems);
        check_servers(config, client, &path.key("servers"), problems);
        check_families(client, &path, problems);
        check_routes(config, client, &path.key("routes"), problems);
        check_peer_addresses(client, &path.key("peer_addresses"), problems);
        check_times(client, &path, problems);
    }
    if TABLES_TAKEN.contains(&config.dial.table) {
        let message = format!("{} is a table of the system's", config.dial.table);
        problems.push(Problem::new(&root().key("dial").key("table"), message));
    }
}

fn check_identity(client: &ClientConfig, path: &KeyPath, problems: &mut Vec<Problem>) {
    check_name(&path.key("name"), &client.name, problems);
    check_name(&path.key("user"), &client.user, problems);
    check_secret(&path.key("password"), &client.password, problems);
    check_protocols(&path.key("authentication"), &client.authentication, problems);
    if let Some(host_name) = &client.host_name {
        check_name(&path.key("host_name"), host_name, problems);
    }
    if let Some(secret) = &client.secret {
        return check_secret(&path.key("secret"), secret, problems);
    }
    let help = "give the client a `secret`";
    if client.challenge == Some(true) {
        let message = "there is no secret that the server could answer with";
        problems.push(Problem::new(&path.key("challenge"), message).with_help(help));
    }
    if client.hidden_avps != HiddenAvps::Never {
        let message = "there is no secret to hide them with";
        problems.push(Problem::new(&path.key("hidden_avps"), message).with_help(help));
    }
}

fn is_served(config: &Config, address: IpAddr) -> bool {
    config.lns.listen.contains(&address) || config.lns.listen.contains(&any_of_family(address))
}

fn check_local(
    config: &Config,
    client: &ClientConfig,
    path: &KeyPath,
    problems: &mut Vec<Problem>,
) {
    let Some(local) = client.local else { return };
    if local.is_unspecified() {
        let help = "remove the key: the first address of lns.listen is taken then";
        let message = format!("{local} is no address that a tunnel can begin at");
        problems.push(Problem::new(path, message).with_help(help));
    } else if !is_served(config, local) {
        let message = format!("no tunnel ends at {local}: it is not in lns.listen");
        problems.push(Problem::new(path, message));
    }
}

fn check_servers(
    config: &Config,
    client: &ClientConfig,
    path: &KeyPath,
    problems: &mut Vec<Problem>,
) {
    let count = client.servers.len();
    if count == 0 || count > SERVERS_MAX {
        let message = format!("{count} servers: 1 to {SERVERS_MAX} servers");
        let help = "servers = [{ address = \"192.0.2.1\" }]";
        problems.push(Problem::new(path, message).with_help(help));
    }
    let mut seen = BTreeSet::new();
    for (index, server) in client.servers.iter().enumerate() {
        let address = server.address;
        let path = path.index(index).key("address");
        let unusable = match address {
            IpAddr::V4(address) => addresses::unusable(address),
            IpAddr::V6(address) if address.is_unspecified() => Some("the unspecified address"),
            IpAddr::V6(address) if address.is_loopback() => Some("a loopback address"),
            IpAddr::V6(address) if address.is_multicast() => Some("a multicast address"),
            // There is no place for the interface that it would need.
            IpAddr::V6(address) if address.is_unicast_link_local() => Some("a link-local address"),
            IpAddr::V6(_) => None,
        };
        if let Some(why) = unusable {
            problems.push(Problem::new(&path, format!("{address} is {why}")));
        } else if !seen.insert(server.socket_address()) {
            let message = format!("{} is named twice", server.socket_address());
            problems.push(Problem::new(&path, message).with_help("give it more `weight`"));
        } else if config.lns.listen.contains(&address) {
            let message = format!("{address} is an address of ours (lns.listen)");
            problems.push(Problem::new(&path, message));
        } else if client.local.is_some_and(|local| local.is_ipv4() != address.is_ipv4()) {
            let message = format!("{address} cannot be reached from `local`, of the other family");
            problems.push(Problem::new(&path, message));
        } else if config.client_local(client, address).is_none() {
            let help = "add one to lns.listen: tunnels begin there as well";
            let message = format!("there is no address of our own to reach {address} from");
            problems.push(Problem::new(&path, message).with_help(help));
        }
    }
}

fn check_families(client: &ClientConfig, path: &KeyPath, problems: &mut Vec<Problem>) {
    if !client.ipv4 && !client.ipv6 {
        let message = "neither IPv4 nor IPv6 is left to speak";
        problems.push(Problem::new(&path.key("ipv4"), message));
    }
}

fn check_routes(
    config: &Config,
    client: &ClientConfig,
    path: &KeyPath,
    problems: &mut Vec<Problem>,
) {
    let count = client.destinations().len();
    if count > ROUTES_MAX {
        let message = format!("{count} destinations: 0 to {ROUTES_MAX} destinations");
        let help = "\"default\" is one of each family; merge prefixes where neighbours are listed";
        problems.push(Problem::new(path, message).with_help(help));
    }
    let subscribers = config.subscriber_prefixes();
    let mut seen = BTreeSet::new();
    for (index, route) in client.routes.iter().enumerate() {
        let path = path.index(index);
        if !seen.insert(String::from(*route)) {
            problems.push(Problem::new(&path, "is named twice"));
            continue;
        }
        let RouteConfig::Prefix(prefix) = *route else { continue };
        if !addresses::check_host_bits(&path, prefix, problems) {
            continue;
        }
        let spoken = if prefix.addr().is_ipv4() { client.ipv4 } else { client.ipv6 };
        let pool = subscribers.iter().find(|pool| pool.contains(&prefix));
        let message = if prefix.addr().is_multicast() {
            format!("{prefix} is multicast")
        } else if !spoken {
            format!("{prefix} is of a family that this client does not speak")
        } else if let Some(pool) = pool {
            format!("{prefix} lies in {pool}, whose addresses are our own subscribers'")
        } else {
            if prefix.prefix_len() == 0 && client.routes.contains(&RouteConfig::Default) {
                problems.push(Problem::new(&path, "is in \"default\" already"));
            }
            continue;
        };
        problems.push(Problem::new(&path, message));
    }
}

fn check_peer_addresses(client: &ClientConfig, path: &KeyPath, problems: &mut Vec<Problem>) {
    let count = client.peer_addresses.len();
    if count > PEER_ADDRESSES_MAX {
        let message = format!("{count} prefixes: 0 to {PEER_ADDRESSES_MAX} prefixes");
        problems.push(Problem::new(path, message));
    }
    for (index, prefix) in client.peer_addresses.iter().enumerate() {
        addresses::check_host_bits(&path.index(index), IpNet::V4(*prefix), problems);
    }
}

fn check_times(client: &ClientConfig, path: &KeyPath, problems: &mut Vec<Problem>) {
    if client.redial_max_seconds < client.redial_initial_seconds {
        let message = format!(
            "{} is below redial_initial_seconds ({})",
            client.redial_max_seconds, client.redial_initial_seconds
        );
        problems.push(Problem::new(&path.key("redial_max_seconds"), message));
    }
    if client.idle_seconds > 0 && client.persistent {
        let message = "the session would be dialled again at once";
        let help = "set persistent = false, or remove idle_seconds";
        problems.push(Problem::new(&path.key("idle_seconds"), message).with_help(help));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepted, problems, refused};

    fn client(more: &str) -> String {
        format!(
            "[[client]]\nname = \"up\"\nuser = \"u\"\npassword = \"p\"\n\
             servers = [{{ address = \"203.0.113.1\" }}]\n{more}"
        )
    }

    fn servers(list: &str) -> String {
        format!("[[client]]\nname = \"up\"\nuser = \"u\"\npassword = \"p\"\nservers = {list}\n")
    }

    #[test]
    fn a_name_a_server_and_an_account_are_enough() {
        accepted("", "", &client(""));
        refused("", "", &servers("[]"), "client[0].servers: 0 servers");
        let twice = format!("{}{}", client(""), client(""));
        refused("", "", &twice, "client[1].name: `up` is taken by client[0]");
        let without = client("").replace("user = \"u\"\n", "");
        let problems = problems("", "", &without);
        assert!(problems[0].contains("missing field `user`"), "{problems:?}");
    }

    #[test]
    fn servers_are_addresses_of_others_named_once() {
        let named = problems("", "", &servers("[{ address = \"lns.example.net\" }]"));
        assert!(named[0].contains("is no IP address; names are not looked up"), "{named:?}");
        let two = "[{ address = \"203.0.113.1\" }, { address = \"203.0.113.1\", port = 1702 }]";
        accepted("", "", &servers(two));
        let twice = "[{ address = \"203.0.113.1\" }, { address = \"203.0.113.1\", weight = 2 }]";
        let expected = "client[0].servers[1].address: 203.0.113.1:1701 is named twice";
        refused("", "", &servers(twice), expected);
        for (server, expected) in [
            ("192.0.2.1", "192.0.2.1 is an address of ours"),
            ("2001:db8::1", "there is no address of our own to reach 2001:db8::1 from"),
            ("239.0.0.1", "239.0.0.1 is a multicast address"),
        ] {
            let list = servers(&format!("[{{ address = \"{server}\" }}]"));
            refused("", "", &list, &format!("client[0].servers[0].address: {expected}"));
        }
        let port = servers("[{ address = \"203.0.113.1\", port = 0 }]");
        refused("", "", &port, "client[0].servers[0].port: 0 is out of range: 1 to 65535");
        let weight = servers("[{ address = \"203.0.113.1\", weight = 1001 }]");
        refused("", "", &weight, "client[0].servers[0].weight: 1001 is out of range");
        let unknown = servers("[{ adress = \"203.0.113.1\", address = \"203.0.113.1\" }]");
        refused("", "", &unknown, "client[0].servers[0].adress: unknown key");
    }

    #[test]
    fn the_peer_may_have_its_tunnel_address_and_the_local_one_is_ours() {
        // The gateway check is for subscribers of ours; a server's PPP address may be any.
        accepted("", "", &client("local = \"192.0.2.1\"\n"));
        refused("", "", &client("local = \"192.0.2.9\"\n"), "client[0].local: no tunnel ends");
        refused("", "", &client("local = \"0.0.0.0\"\n"), "client[0].local: 0.0.0.0 is no");
        let both = "\"192.0.2.1\", \"2001:db8::1\"";
        let expected = "client[0].servers[0].address: 203.0.113.1 cannot be reached";
        refused("\"192.0.2.1\"", both, &client("local = \"2001:db8::1\"\n"), expected);
    }

    #[test]
    fn routes_are_destinations_beyond_our_subscribers() {
        accepted("", "", &client("routes = [\"default\", \"10.0.0.0/8\"]\n"));
        accepted("", "", &client("ipv6 = true\nroutes = [\"default\", \"2001:db8::/32\"]\n"));
        accepted("", "", &client("routes = [\"0.0.0.0/0\"]\n"));
        for (routes, expected) in [
            ("[\"10.0.0.0/24\"]", "routes[0]: 10.0.0.0/24 lies in 10.0.0.0/24"),
            ("[\"10.0.0.4/30\"]", "routes[0]: 10.0.0.4/30 lies in 10.0.0.0/24"),
            ("[\"10.1.0.1/8\"]", "routes[0]: 10.1.0.1/8 has bits set"),
            ("[\"::/0\"]", "routes[0]: ::/0 is of a family"),
            ("[\"default\", \"default\"]", "routes[1]: is named twice"),
            ("[\"default\", \"0.0.0.0/0\"]", "routes[1]: is in \"default\" already"),
            ("[\"224.0.0.0/8\"]", "routes[0]: 224.0.0.0/8 is multicast"),
        ] {
            let text = client(&format!("routes = {routes}\n"));
            refused("", "", &text, &format!("client[0].{expected}"));
        }
        let many = |count: u8| {
            let all: Vec<String> = (0..count).map(|n| format!("\"172.{n}.0.0/16\"")).collect();
            client(&format!("routes = [{}]\n", all.join(", ")))
        };
        accepted("", "", &many(7));
        refused("", "", &many(8), "client[0].routes: 8 destinations: 0 to 7");
        let wrong = problems("", "", &client("routes = [\"everything\"]\n"));
        assert!(wrong[0].contains("neither \"default\" nor a prefix"), "{wrong:?}");
    }

    #[test]
    fn peer_addresses_are_prefixes_of_ipv4() {
        accepted("", "", &client("peer_addresses = [\"10.0.0.0/8\", \"192.0.2.1/32\"]\n"));
        let host_bits = client("peer_addresses = [\"10.0.0.0/8\", \"192.0.2.1/24\"]\n");
        let expected = "client[0].peer_addresses[1]: 192.0.2.1/24 has bits set";
        refused("", "", &host_bits, expected);
        let many = |count: u8| {
            let all: Vec<String> = (0..count).map(|n| format!("\"10.{n}.0.0/16\"")).collect();
            client(&format!("peer_addresses = [{}]\n", all.join(", ")))
        };
        accepted("", "", &many(16));
        refused("", "", &many(17), "client[0].peer_addresses: 17 prefixes: 0 to 16");
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (more, expected) in [
            ("ipv4 = false\n", "ipv4: neither"),
            ("challenge = true\n", "challenge: there is no secret"),
            ("hidden_avps = \"all\"\n", "hidden_avps: there is no secret"),
            ("redial_max_seconds = 1\nredial_initial_seconds = 2\n", "redial_max_seconds: 1 is"),
            ("idle_seconds = 9\n", "idle_seconds: the session would be"),
            ("authentication = []\n", "authentication: names no protocol"),
        ] {
            refused("", "", &client(more), &format!("client[0].{expected}"));
        }
        accepted("", "", &client("persistent = false\nidle_seconds = 9\n"));
        accepted("", "", &client("secret = \"s\"\nchallenge = true\nhidden_avps = \"all\"\n"));
        refused("", "", "[dial]\ntable = 254\n", "dial.table: 254 is a table of the system's");
    }
}
