//! Listen addresses, pools, fixed addresses: each usable, none in two places.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use xlns_dataplane::api::{HOST_ADDRESSES_MAX, SUBSCRIBER_PREFIXES_MAX};

use super::super::error::Problem;
use super::super::key_path::KeyPath;
use super::super::{Config, LnsConfig};
use super::{prefixes, root};

/// A pool's prefix is at least this long: above it lies more than one network's private space.
const POOL_PREFIX_LENGTH_MIN: u8 = 8;

/// A pool's prefix is at most this long: below it no two addresses are left beside the first and
/// the last, which are not handed out.
const POOL_PREFIX_LENGTH_MAX: u8 = 30;

/// The steering program looks up as many prefix lengths for each packet of one family.
const PREFIX_LENGTHS_MAX: usize = 8;

/// Why neither a subscriber nor a link can have this address.
pub fn unusable(address: Ipv4Addr) -> Option<&'static str> {
    if address.octets()[0] == 0 {
        Some("in 0.0.0.0/8, which no host has")
    } else if address.is_loopback() {
        Some("a loopback address")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else if address.octets()[0] >= 240 {
        Some("a reserved address")
    } else {
        None
    }
}

pub fn check_listen(lns: &LnsConfig, path: &KeyPath, problems: &mut Vec<Problem>) {
    if lns.listen.is_empty() {
        let help = "listen = [\"0.0.0.0\"] for every IPv4 address of this host";
        problems.push(Problem::new(path, "names no address").with_help(help));
    }
    if lns.listen.len() > HOST_ADDRESSES_MAX {
        let message = format!("{} addresses: 1 to {HOST_ADDRESSES_MAX}", lns.listen.len());
        problems.push(Problem::new(path, message));
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, address) in lns.listen.iter().enumerate() {
        let is_broadcast = *address == IpAddr::V4(Ipv4Addr::BROADCAST);
        let message = if !seen.insert(*address) {
            format!("{address} is named twice")
        } else if address.is_multicast() || is_broadcast {
            format!("{address} is no host's address")
        } else if !address.is_unspecified()
            && lns
                .listen
                .iter()
                .any(|any| any.is_unspecified() && any.is_ipv4() == address.is_ipv4())
        {
            format!("{address} is covered by the unspecified address of its family already")
        } else {
            continue;
        };
        problems.push(Problem::new(&path.index(index), message));
    }
}

pub fn check_host_bits(path: &KeyPath, prefix: IpNet, problems: &mut Vec<Problem>) -> bool {
    if prefix.addr() == prefix.network() {
        return true;
    }
    let message = format!("{prefix} has bits set behind its prefix");
    problems.push(Problem::new(path, message).with_help(format!("write {}", prefix.trunc())));
    false
}

/// Pools and fixed addresses.
pub fn check(config: &Config, problems: &mut Vec<Problem>) {
    let pools = root().key("pool");
    let names = config.pool.iter().map(|pool| pool.name.as_str());
    super::check_distinct(&pools, "name", names, problems);
    let mut good: Vec<(IpNet, KeyPath)> = Vec::new();
    for (index, pool) in config.pool.iter().enumerate() {
        let path = pools.index(index);
        super::check_name(&path.key("name"), &pool.name, problems);
        let has_ipv6 = !pool.ipv6_prefixes.is_empty() || !pool.delegated_prefixes.is_empty();
        if pool.prefixes.is_empty() && !has_ipv6 {
            problems.push(Problem::new(&path.key("prefixes"), "names no prefix"));
        }
        for (at, prefix) in pool.prefixes.iter().enumerate() {
            let path = path.key("prefixes").index(at);
            if let Some(prefix) = check_pool_prefix(config, &path, *prefix, problems) {
                good.push((IpNet::V4(prefix), path));
            }
        }
        prefixes::check_pool(config, index, &mut good, problems);
    }
    check_overlap(good.clone(), problems);
    check_fixed_addresses(config, problems);
    prefixes::check_users(config, &good, problems);
    check_subscriber_prefixes(config, problems);
}

fn check_pool_prefix(
    config: &Config,
    path: &KeyPath,
    prefix: IpNet,
    problems: &mut Vec<Problem>,
) -> Option<Ipv4Net> {
    let IpNet::V4(prefix) = prefix else {
        let help = format!("ipv6_prefixes = [\"{prefix}\"]");
        let message = format!("{prefix} is IPv6: these are IPv4 addresses");
        problems.push(Problem::new(path, message).with_help(help));
        return None;
    };
    let length = prefix.prefix_len();
    if !(POOL_PREFIX_LENGTH_MIN..=POOL_PREFIX_LENGTH_MAX).contains(&length) {
        let message = format!(
            "{prefix} has a prefix length out of range: \
             {POOL_PREFIX_LENGTH_MIN} to {POOL_PREFIX_LENGTH_MAX} bits"
        );
        problems.push(Problem::new(path, message));
        return None;
    }
    if !check_host_bits(path, IpNet::V4(prefix), problems) {
        return None;
    }
    if let Some(why) = unusable(prefix.network()).or_else(|| unusable(prefix.broadcast())) {
        problems.push(Problem::new(path, format!("an address of {prefix} is {why}")));
        return None;
    }
    refuse_listen(config, path, IpNet::V4(prefix), problems);
    Some(prefix)
}

/// Refuses a prefix with an address that tunnels end at; returns whether it did.
pub fn refuse_listen(
    config: &Config,
    path: &KeyPath,
    prefix: IpNet,
    problems: &mut Vec<Problem>,
) -> bool {
    let listen = config.lns.listen.iter().find(|listen| prefix.contains(*listen));
    let Some(listen) = listen.filter(|listen| !is_allowed_gateway(config, **listen)) else {
        return false;
    };
    let message = format!(
        "{prefix} holds {listen}, which tunnels end at: packets to it would be taken for a \
         subscriber's"
    );
    problems.push(Problem::new(path, message));
    true
}

/// Whether the operator said that this listen address is the gateway, too; that may lie in a pool.
fn is_allowed_gateway(config: &Config, listen: IpAddr) -> bool {
    config.lns.allow_gateway_on_listen_address && listen == IpAddr::V4(config.lns.gateway)
}

/// Refuses prefixes inside one another; prefixes overlap in no other way.
pub fn check_overlap(mut prefixes: Vec<(IpNet, KeyPath)>, problems: &mut Vec<Problem>) {
    // Sorted, a prefix comes before all inside it; so the widest so far is the one to compare with.
    prefixes.sort_by_key(|(prefix, _)| (prefix.network(), prefix.prefix_len()));
    let mut widest: Option<&(IpNet, KeyPath)> = None;
    for entry in &prefixes {
        match widest {
            Some((outer, outer_path)) if outer.contains(&entry.0) => {
                let message = format!("{} lies in {outer} of {outer_path}", entry.0);
                problems.push(Problem::new(&entry.1, message));
            }
            _ => widest = Some(entry),
        }
    }
}

fn check_fixed_addresses(config: &Config, problems: &mut Vec<Problem>) {
    let mut first_of: BTreeMap<Ipv4Addr, usize> = BTreeMap::new();
    for (index, user) in config.user.iter().enumerate() {
        let Some(address) = user.address else { continue };
        let message = if let Some(why) = unusable(address) {
            format!("{address} is {why}")
        } else if address == config.lns.gateway {
            format!("{address} is the gateway's address (lns.gateway)")
        } else if config.lns.listen.contains(&IpAddr::V4(address)) {
            format!("{address} is an address that tunnels end at (lns.listen)")
        } else if let Some(first) = first_of.get(&address) {
            format!("{address} is taken by user[{first}]")
        } else {
            first_of.insert(address, index);
            continue;
        };
        problems.push(Problem::new(&root().key("user").index(index).key("address"), message));
    }
}

fn check_subscriber_prefixes(config: &Config, problems: &mut Vec<Problem>) {
    let (ipv4, ipv6): (Vec<IpNet>, Vec<IpNet>) =
        config.subscriber_prefixes().into_iter().partition(|prefix| prefix.addr().is_ipv4());
    check_family(&ipv4, problems);
    check_family(&ipv6, problems);
}

/// The steering program holds so many of each family.
fn check_family(prefixes: &[IpNet], problems: &mut Vec<Problem>) {
    let lengths: BTreeSet<u8> = prefixes.iter().map(IpNet::prefix_len).collect();
    let help = "merge prefixes of pools; give users fixed addresses inside of a pool";
    if prefixes.len() > SUBSCRIBER_PREFIXES_MAX {
        let message = format!(
            "{} prefixes of pools and fixed addresses outside of them: 0 to \
             {SUBSCRIBER_PREFIXES_MAX} prefixes",
            prefixes.len()
        );
        problems.push(Problem::new(&root().key("pool"), message).with_help(help));
    }
    if lengths.len() > PREFIX_LENGTHS_MAX {
        let message = format!(
            "{} different prefix lengths of pools and fixed addresses outside of them: 0 to \
             {PREFIX_LENGTHS_MAX} lengths",
            lengths.len()
        );
        problems.push(Problem::new(&root().key("pool"), message).with_help(help));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepted, problems, refused};
    use super::*;

    #[test]
    fn listen_addresses_are_some_usable_and_named_once() {
        refused("[\"192.0.2.1\"]", "[]", "", "lns.listen: names no address");
        refused("192.0.2.1", "239.0.0.1", "", "lns.listen[0]: 239.0.0.1 is no host's");
        let twice = "\"192.0.2.1\", \"192.0.2.1\"";
        refused("\"192.0.2.1\"", twice, "", "lns.listen[1]: 192.0.2.1 is named twice");
        let covered = "\"0.0.0.0\", \"192.0.2.1\"";
        refused("\"192.0.2.1\"", covered, "", "lns.listen[1]: 192.0.2.1 is covered");
        accepted("\"192.0.2.1\"", "\"192.0.2.1\", \"::\"", "");
    }

    #[test]
    fn the_gateway_may_lie_in_a_pool_but_must_be_usable() {
        accepted("10.0.0.1", "10.0.0.254", "");
        refused("10.0.0.1", "0.0.0.0", "", "lns.gateway: 0.0.0.0 is in 0.0.0.0/8");
        refused("10.0.0.1", "127.0.0.1", "", "lns.gateway: 127.0.0.1 is a loopback");
        refused("10.0.0.1", "255.255.255.255", "", "lns.gateway: 255.255.255.255 is a reserved");
    }

    #[test]
    fn pool_prefixes_have_a_length_and_no_host_bits() {
        accepted("10.0.0.0/24", "10.0.0.0/30", "");
        refused("10.0.0.0/24", "10.0.0.0/31", "", "pool[0].prefixes[0]: 10.0.0.0/31 has a prefix");
        accepted("10.0.0.0/24", "10.0.0.0/8", "");
        refused("10.0.0.0/24", "10.0.0.0/7", "", "pool[0].prefixes[0]: 10.0.0.0/7 has a prefix");
        refused("10.0.0.0/24", "10.0.0.9/24", "", "pool[0].prefixes[0]: 10.0.0.9/24 has bits");
        refused("10.0.0.0/24", "2001:db8::/48", "", "pool[0].prefixes[0]: 2001:db8::/48 is IPv6");
        refused("10.0.0.0/24", "224.0.0.0/24", "", "pool[0].prefixes[0]: an address of 224.0.0.0");
        refused("[\"10.0.0.0/24\"]", "[]", "", "pool[0].prefixes: names no prefix");
    }

    #[test]
    fn pools_do_not_overlap() {
        let pool = |name: &str, prefix: &str| {
            format!("[[pool]]\nname = \"{name}\"\nprefixes = [\"{prefix}\"]\n")
        };
        accepted("", "", &pool("b", "10.0.1.0/24"));
        let inside = pool("b", "10.0.0.128/25");
        refused(
            "",
            "",
            &inside,
            "pool[1].prefixes[0]: 10.0.0.128/25 lies in 10.0.0.0/24 of pool[0]",
        );
        refused("", "", &pool("b", "10.0.0.0/16"), "pool[0].prefixes[0]: 10.0.0.0/24 lies in");
        refused("", "", &pool("b", "10.0.0.0/24"), "pool[1].prefixes[0]: 10.0.0.0/24 lies in");
        refused("", "", &pool("home", "10.0.1.0/24"), "pool[1].name: `home` is taken by pool[0]");
        // Two inside one, of which the second does not touch the first.
        let two = format!("{}{}", pool("b", "10.0.0.0/26"), pool("c", "10.0.0.192/26"));
        assert_eq!(problems("", "", &two).len(), 2);
    }

    #[test]
    fn tunnels_do_not_end_inside_a_pool() {
        refused("192.0.2.1", "10.0.0.7", "", "pool[0].prefixes[0]: 10.0.0.0/24 holds 10.0.0.7");
        accepted("192.0.2.1", "10.0.1.7", "");
    }

    #[test]
    fn fixed_addresses_belong_to_one_user_only() {
        let user = |name: &str, address: &str| {
            format!("[[user]]\nname = \"{name}\"\npassword = \"p\"\naddress = \"{address}\"\n")
        };
        accepted("", "", &format!("{}{}", user("a", "10.0.0.8"), user("b", "172.16.0.1")));
        let twice = format!("{}{}", user("a", "10.0.0.8"), user("b", "10.0.0.8"));
        refused("", "", &twice, "user[1].address: 10.0.0.8 is taken by user[0]");
        refused("", "", &user("a", "10.0.0.1"), "user[0].address: 10.0.0.1 is the gateway's");
        refused("", "", &user("a", "192.0.2.1"), "user[0].address: 192.0.2.1 is an address that");
        refused("", "", &user("a", "127.0.0.2"), "user[0].address: 127.0.0.2 is a loopback");
    }

    #[test]
    fn prefix_lengths_and_prefixes_are_bounded() {
        let pool = |lengths: std::ops::RangeInclusive<u8>| {
            let prefixes: Vec<String> =
                lengths.map(|length| format!("\"172.{length}.0.0/{length}\"")).collect();
            format!("[[pool]]\nname = \"b\"\nprefixes = [{}]\n", prefixes.join(", "))
        };
        accepted("", "", &pool(17..=23));
        refused("", "", &pool(16..=23), "pool: 9 different prefix lengths");
        let pool = |count: usize| {
            let prefixes: Vec<String> = (0..count)
                .map(|index| format!("\"172.16.{}.{}/30\"", index / 64, index % 64 * 4))
                .collect();
            format!("[[pool]]\nname = \"b\"\nprefixes = [{}]\n", prefixes.join(", "))
        };
        accepted("", "", &pool(SUBSCRIBER_PREFIXES_MAX - 1));
        refused("", "", &pool(SUBSCRIBER_PREFIXES_MAX), "pool: 1025 prefixes");
    }
}
