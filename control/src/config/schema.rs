//! Every key of the configuration by name, with the range of those that are numbers.
//!
//! One list: ranges are checked by it, hints for misspelt keys come from it, and tests hold it
//! against the types in `config` and against `xlns.example.toml`.

use std::ops::{Range, RangeInclusive};

use toml::de::{DeTable, DeValue};

use super::error::Problem;
use super::key_path::KeyPath;

/// One key.
#[derive(Debug, Clone)]
pub struct Key {
    /// The table that holds it: `l2tp`; for `[[port]]` it is `port`.
    pub section: &'static str,
    /// Its name in that table.
    pub name: &'static str,
    /// For numbers, and arrays of numbers: what is allowed, and the unit.
    pub number: Option<(RangeInclusive<i64>, &'static str)>,
}

const fn key(section: &'static str, name: &'static str) -> Key {
    Key { section, name, number: None }
}

const fn number(
    section: &'static str,
    name: &'static str,
    range: RangeInclusive<i64>,
    unit: &'static str,
) -> Key {
    Key { section, name, number: Some((range, unit)) }
}

/// The least MTU of a link that carries IPv6.
const TUN_MTU_MIN: i64 = 1280;

/// What a frame of the data plane holds: an Ethernet header, two 802.1Q tags and a check sequence
/// come on top.
const TUN_MTU_MAX: i64 = xlns_dataplane::frame::FRAME_BYTES_MAX as i64 - 26;

/// The largest MTU of a port, octets.
pub const PORT_MTU_MAX: u16 = TUN_MTU_MAX as u16;

/// The size that every IPv4 host takes; a link that carries less is no use to a subscriber.
const MRU_LEAST: i64 = 576;

/// Cores are numbered below this (CPU_SETSIZE of Linux).
const CORE_MAX: i64 = 1023;

const WORKERS_MAX: i64 = xlns_dataplane::api::WORKERS_MAX as i64;

const TUNNELS_MAX: i64 = crate::lns::TUNNELS_MAX as i64;

/// 128 octets a session in the data plane: 1 GiB at the most.
const SESSIONS_MAX: i64 = 8_388_608;

/// As many as workers: more queues than that have nobody to serve them.
const SOURCE_PORTS_MAX: i64 = WORKERS_MAX;

const TUNNEL_SESSIONS_MAX: i64 = crate::l2tp::tunnel::SESSIONS_MAX as i64;

const DSCP_MAX: i64 = xlns_dataplane::api::DSCP_MAX as i64;

/// What the data plane's policers take, in kilobits.
const RATE_MIN: i64 = *xlns_dataplane::api::POLICER_RATES.start() as i64 / 1000;
const RATE_MAX: i64 = *xlns_dataplane::api::POLICER_RATES.end() as i64 / 1000;
const BURST_MIN: i64 = *xlns_dataplane::api::POLICER_BURSTS.start() as i64;
const BURST_MAX: i64 = *xlns_dataplane::api::POLICER_BURSTS.end() as i64;

/// Every key; tables in the order of the file.
pub const KEYS: &[Key] = &[
    key("lns", "host_name"),
    key("lns", "listen"),
    number("lns", "port", 1..=65_535, "UDP port"),
    key("lns", "gateway"),
    key("lns", "gateway_ipv6"),
    key("lns", "allow_gateway_on_listen_address"),
    // What may be held for one peer before it is in order; carriers' LACs offer up to 800.
    number("l2tp", "receive_window", 1..=1024, "messages"),
    number("l2tp", "retransmit_initial_ms", 100..=60_000, "milliseconds"),
    number("l2tp", "retransmit_max_ms", 100..=60_000, "milliseconds"),
    number("l2tp", "retransmit_tries", 1..=30, "tries"),
    number("l2tp", "hello_interval_seconds", 1..=3600, "seconds"),
    // IDs have 16 bits, and enough of them stay free that one is found by chance.
    number("l2tp", "tunnels_max", 1..=TUNNELS_MAX, "tunnels"),
    number("l2tp", "tunnels_per_peer_max", 1..=TUNNELS_MAX, "tunnels"),
    number("l2tp", "tunnels_half_open_max", 1..=TUNNELS_MAX, "tunnels"),
    number("l2tp", "sessions_max", 1..=SESSIONS_MAX, "sessions"),
    number("l2tp", "sessions_per_tunnel_max", 1..=TUNNEL_SESSIONS_MAX, "sessions"),
    number("l2tp", "sccrq_per_second_max", 1..=1_000_000, "messages a second"),
    number("l2tp", "sccrq_per_second_per_source_max", 1..=1_000_000, "messages a second"),
    key("ppp", "authentication"),
    number("ppp", "mru", MRU_LEAST..=1500, "octets"),
    number("ppp", "mru_min", 128..=1500, "octets"),
    key("ppp", "dns"),
    key("ppp", "nbns"),
    key("ppp", "ipv6"),
    key("ppp", "ipv6_dns"),
    key("ppp", "ipv6_managed"),
    key("ppp", "ipv6_other"),
    // A link that is lost without a word leaves its hosts with the old prefix for that long.
    number("ppp", "ipv6_lifetime_seconds", 3600..=2_592_000, "seconds"),
    key("ppp", "domain"),
    key("ppp", "routes"),
    number("ppp", "restart_timer_ms", 100..=60_000, "milliseconds"),
    number("ppp", "max_configure", 1..=100, "requests"),
    number("ppp", "max_terminate", 1..=100, "requests"),
    number("ppp", "max_failure", 1..=100, "Naks"),
    number("ppp", "authentication_timeout_seconds", 1..=300, "seconds"),
    number("ppp", "rechallenge_seconds", 0..=86_400, "seconds"),
    number("ppp", "echo_interval_seconds", 0..=3600, "seconds"),
    number("ppp", "echo_failures_max", 1..=100, "requests"),
    key("dataplane", "socket"),
    number("dataplane", "workers", 0..=WORKERS_MAX, "threads"),
    number("dataplane", "cores", 0..=CORE_MAX, "core numbers"),
    number("dataplane", "frames_per_queue", 512..=65_536, "frames"),
    number("dataplane", "routes_max", 1024..=16_777_216, "routes"),
    key("dataplane", "tun_name"),
    number("dataplane", "tun_mtu", TUN_MTU_MIN..=TUN_MTU_MAX, "octets"),
    number("dataplane", "away_seconds_max", 0..=86_400, "seconds"),
    key("dataplane", "busy_poll"),
    key("dataplane", "handoff"),
    number("dataplane", "setup_packets_per_second", 1..=10_000_000, "packets a second"),
    number("dataplane", "tunnel_packets_per_second", 1..=10_000_000, "packets a second"),
    number("dataplane", "ppp_packets_per_second", 1..=10_000_000, "packets a second"),
    number("dataplane", "control_burst_packets", 1..=1_000_000, "packets"),
    number("quality", "interval_ms", 0..=3_600_000, "milliseconds"),
    number("quality", "loss_after_ms", 100..=60_000, "milliseconds"),
    key("admin", "socket"),
    key("port", "interface"),
    number("port", "queues", 0..=WORKERS_MAX, "queues"),
    key("port", "core"),
    key("port", "mode"),
    number("port", "vlan", 1..=4094, "as VLAN"),
    key("lac", "name"),
    key("lac", "peers"),
    key("lac", "host_names"),
    key("lac", "listen"),
    key("lac", "secret"),
    key("lac", "challenge"),
    key("lac", "hidden_avps"),
    key("lac", "host_name"),
    key("lac", "authentication"),
    key("lac", "call_mode"),
    key("lac", "address_control"),
    number("lac", "mru", MRU_LEAST..=1500, "octets"),
    number("lac", "mru_min", 128..=1500, "octets"),
    number("lac", "echo_interval_seconds", 0..=3600, "seconds"),
    key("lac", "quality"),
    number("lac", "source_ports", 1..=SOURCE_PORTS_MAX, "ports"),
    key("lac", "follow_port"),
    number("lac", "hello_interval_seconds", 0..=3600, "seconds"),
    key("lac", "data_is_life"),
    number("lac", "idle_seconds", 0..=86_400, "seconds"),
    key("lac", "tunnel_id_zero"),
    key("lac", "sequencing"),
    key("lac", "drop_late"),
    key("lac", "mss_clamp"),
    key("lac", "outer_fragments"),
    key("lac", "udp_checksum"),
    key("lac", "verify_udp_checksum"),
    number("lac", "dscp", 0..=DSCP_MAX, "as DSCP"),
    key("lac", "copy_dscp"),
    key("lac", "ecn"),
    number("lac", "tunnels_max", 1..=TUNNELS_MAX, "tunnels"),
    number("lac", "sessions_max", 1..=SESSIONS_MAX, "sessions"),
    number("lac", "sessions_per_tunnel_max", 1..=TUNNEL_SESSIONS_MAX, "sessions"),
    key("client", "name"),
    key("client", "servers"),
    key("client.servers", "address"),
    number("client.servers", "port", 1..=65_535, "UDP port"),
    number("client.servers", "weight", 1..=1000, "shares"),
    key("client", "local"),
    key("client", "secret"),
    key("client", "challenge"),
    key("client", "hidden_avps"),
    key("client", "tie_breaker"),
    key("client", "host_name"),
    key("client", "user"),
    key("client", "password"),
    key("client", "authentication"),
    number("client", "mru", MRU_LEAST..=1500, "octets"),
    key("client", "address_control"),
    key("client", "ipv4"),
    key("client", "ipv6"),
    key("client", "ask_dns"),
    key("client", "routes"),
    key("client", "peer_addresses"),
    number("client", "metric", 0..=65_535, "metric"),
    key("client", "persistent"),
    key("client", "accept_outgoing_calls"),
    number("client", "redial_initial_seconds", 1..=3600, "seconds"),
    number("client", "redial_max_seconds", 1..=86_400, "seconds"),
    number("client", "setup_seconds_max", 5..=600, "seconds"),
    number("client", "hello_interval_seconds", 0..=3600, "seconds"),
    number("client", "echo_interval_seconds", 0..=3600, "seconds"),
    number("client", "idle_seconds", 0..=86_400, "seconds"),
    number("dial", "mark", 1..=0xffff_ffff, "packet mark"),
    number("dial", "table", 1..=0xffff_ffff, "routing table"),
    number("dial", "rule_priority", 1..=32_000, "rule priority"),
    key("pool", "name"),
    key("pool", "prefixes"),
    key("pool", "ipv6_prefixes"),
    key("pool", "delegated_prefixes"),
    number("pool", "delegated_length", 48..=64, "bits"),
    key("user", "name"),
    key("user", "password"),
    key("user", "address"),
    key("user", "pool"),
    number("user", "sessions_max", 1..=1000, "sessions"),
    key("user", "ipv6_prefix"),
    key("user", "delegated_prefix"),
    key("user", "framed_routes"),
    number("user", "rate_up", RATE_MIN..=RATE_MAX, "kbit/s"),
    number("user", "rate_down", RATE_MIN..=RATE_MAX, "kbit/s"),
    number("user", "rate_burst_bytes", BURST_MIN..=BURST_MAX, "octets"),
];

/// The names that may stand where `path` stands: the keys of its table, or the tables.
pub fn siblings(path: &KeyPath) -> Vec<&'static str> {
    let section = path.section();
    let mut names: Vec<&str> = if section.is_empty() {
        KEYS.iter().map(|key| key.section).filter(|section| !section.contains('.')).collect()
    } else {
        KEYS.iter().filter(|key| key.section == section).map(|key| key.name).collect()
    };
    names.dedup();
    names
}

/// Where the values of keys stand that nothing knows: a misspelt `password` may hold a secret.
pub fn unknown_values(root: &DeTable<'_>) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    for (section, value) in root {
        collect_unknown(section.get_ref(), value.get_ref(), &mut spans);
    }
    spans
}

fn collect_unknown(section: &str, value: &DeValue<'_>, spans: &mut Vec<Range<usize>>) {
    for (name, value) in tables_in(value).into_iter().flat_map(|(_, table)| table) {
        let name = name.get_ref().as_ref();
        if KEYS.iter().any(|key| key.section == section && key.name == name) {
            collect_unknown(&format!("{section}.{name}"), value.get_ref(), spans);
        } else {
            spans.push(value.span());
        }
    }
}

/// The table that a value is, or those in the array that it is, each with its place there.
fn tables_in<'a, 'text>(value: &'a DeValue<'text>) -> Vec<(Option<usize>, &'a DeTable<'text>)> {
    match value {
        DeValue::Array(elements) => (0..)
            .zip(elements.iter())
            .filter_map(|(index, element)| Some((Some(index), element.get_ref().as_table()?)))
            .collect(),
        DeValue::Table(table) => vec![(None, table)],
        _ => Vec::new(),
    }
}

/// Checks every number in the text against its range, before types are: a value that is too large
/// for its type is told its range, too.
pub fn check_ranges(root: &DeTable<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for key in KEYS {
        let Some((range, unit)) = &key.number else { continue };
        let mut tables = vec![(KeyPath::default(), root)];
        for name in key.section.split('.') {
            let below = |(path, table): (KeyPath, _)| {
                let table: &DeTable<'_> = table;
                let path = path.key(name);
                let found = table.get(name).map(|value| tables_in(value.get_ref()));
                let with_path = move |(index, table)| match index {
                    Some(index) => (path.index(index), table),
                    None => (path.clone(), table),
                };
                found.unwrap_or_default().into_iter().map(with_path)
            };
            tables = tables.into_iter().flat_map(below).collect();
        }
        for (path, table) in tables {
            check_key(table, &path.key(key.name), range, unit, &mut problems);
        }
    }
    problems
}

fn check_key(
    table: &DeTable<'_>,
    path: &KeyPath,
    range: &RangeInclusive<i64>,
    unit: &str,
    problems: &mut Vec<Problem>,
) {
    let Some(value) = path.last_key().and_then(|name| table.get(name)) else { return };
    match value.get_ref() {
        DeValue::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                problems.extend(check_number(element.get_ref(), &path.index(index), range, unit));
            }
        }
        number => problems.extend(check_number(number, path, range, unit)),
    }
}

fn check_number(
    value: &DeValue<'_>,
    path: &KeyPath,
    range: &RangeInclusive<i64>,
    unit: &str,
) -> Option<Problem> {
    let integer = value.as_integer()?;
    let parsed = i64::from_str_radix(integer.as_str(), integer.radix());
    if parsed.is_ok_and(|number| range.contains(&number)) {
        return None;
    }
    let (least, most) = (range.start(), range.end());
    Some(Problem::new(
        path,
        format!("{} is out of range: {least} to {most} {unit}", integer.as_str()),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::{
        AdminConfig, ClientConfig, Config, DataplaneConfig, DialConfig, L2tpConfig, LnsConfig,
        PortConfig, PppConfig, QualityConfig,
    };
    use super::*;

    fn check(text: &str) -> Vec<String> {
        let root = DeTable::parse(text).unwrap();
        check_ranges(root.get_ref()).iter().map(|problem| problem.to_string()).collect()
    }

    #[test]
    fn both_ends_of_a_range_are_inside() {
        assert_eq!(check("[l2tp]\nreceive_window = 1"), [""; 0]);
        assert_eq!(check("[l2tp]\nreceive_window = 1024"), [""; 0]);
        for (text, number) in [("0", "0"), ("1025", "1025"), ("-1", "-1"), ("0x401", "401")] {
            let problems = check(&format!("[l2tp]\nreceive_window = {text}"));
            let expected =
                format!("l2tp.receive_window: {number} is out of range: 1 to 1024 messages");
            assert_eq!(problems, [expected]);
        }
    }

    #[test]
    fn numbers_larger_than_any_type_are_told_the_range() {
        let problems = check("[lns]\nport = 99999999999999999999999");
        assert!(problems[0].ends_with("is out of range: 1 to 65535 UDP port"), "{problems:?}");
    }

    #[test]
    fn arrays_of_tables_and_of_numbers_are_checked_by_element() {
        let problems = check("[[port]]\nqueues = 1\n[[port]]\nqueues = 65\n");
        assert_eq!(problems, ["port[1].queues: 65 is out of range: 0 to 64 queues"]);
        let problems = check("[dataplane]\ncores = [0, 1024]\n");
        assert_eq!(problems, ["dataplane.cores[1]: 1024 is out of range: 0 to 1023 core numbers"]);
    }

    #[test]
    fn siblings_are_the_tables_or_the_keys_of_one() {
        let root = KeyPath::default();
        assert!(siblings(&root.key("ln")).contains(&"lns"));
        assert_eq!(siblings(&root.key("admin").key("x")), ["socket"]);
        assert_eq!(siblings(&root.key("nothing").key("x")), [""; 0]);
    }

    const EXAMPLE: &str = include_str!("../../../xlns.example.toml");

    /// The example with its commented-out keys put in force.
    fn example_in_full() -> String {
        let is_key = |line: &str| {
            let word = line.strip_prefix('#').and_then(|rest| rest.split_once(" = "));
            let is_table = line.starts_with("#[");
            is_table
                || word.is_some_and(|(word, _)| {
                    word.bytes().all(|octet| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'_'))
                })
        };
        let lines = EXAMPLE.lines().map(|line| if is_key(line) { &line[1..] } else { line });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Section, name and the place in the text of every key of a file.
    fn keys_of(text: &str) -> Vec<(String, String, usize)> {
        let root = DeTable::parse(text).unwrap();
        let mut keys = Vec::new();
        for (section, value) in root.get_ref() {
            add_keys(section.get_ref(), value.get_ref(), &mut keys);
        }
        keys
    }

    fn add_keys(section: &str, value: &DeValue<'_>, keys: &mut Vec<(String, String, usize)>) {
        for (name, value) in tables_in(value).into_iter().flat_map(|(_, table)| table) {
            keys.push((section.to_owned(), name.get_ref().to_string(), name.span().start));
            add_keys(&format!("{section}.{}", name.get_ref()), value.get_ref(), keys);
        }
    }

    #[test]
    fn the_example_is_accepted_and_commented_out_keys_show_their_defaults() {
        let example = Config::parse("xlns.example.toml", EXAMPLE).unwrap();
        assert_eq!(example.l2tp, L2tpConfig::default());
        let full = Config::parse("xlns.example.toml", &example_in_full()).unwrap();
        // What stands for one that is not there is an example.
        let gateway_ipv6 = full.lns.gateway_ipv6;
        assert!(gateway_ipv6.is_some() && example.lns.gateway_ipv6.is_none());
        assert_eq!(full.lns, LnsConfig { gateway_ipv6, ..example.lns.clone() });
        assert_eq!(full.l2tp, L2tpConfig::default());
        assert_eq!(full.ppp, PppConfig::default());
        assert_eq!(full.dataplane, DataplaneConfig::default());
        assert_eq!(full.quality, QualityConfig::default());
        assert_eq!(full.admin, AdminConfig::default());
        let untagged = |mut port: PortConfig| {
            port.vlan = None;
            port
        };
        assert_eq!(full.port.iter().cloned().map(untagged).collect::<Vec<_>>(), example.port);
        // What a profile leaves open and what it says by default are the same.
        assert_eq!(full.lac_profiles(), example.lac_profiles());
        assert_eq!(full.dial, DialConfig::default());
        assert!(example.client.is_empty(), "nobody dials by mistake");
        // Of a client, what may be left out shows its default.
        let short = "servers = [{ address = \"198.51.100.1\" }]\nuser = \"site-7@example.net\"\n\
                     password = \"change me, too\"\nname = \"uplink\"\n";
        let client: ClientConfig = toml::from_str(short).unwrap();
        let shown = full.client[0].clone();
        let inherited = ClientConfig {
            servers: shown.servers.clone(),
            local: shown.local,
            secret: shown.secret.clone(),
            challenge: shown.challenge,
            host_name: shown.host_name.clone(),
            mru: shown.mru,
            hello_interval_seconds: shown.hello_interval_seconds,
            echo_interval_seconds: shown.echo_interval_seconds,
            ..client
        };
        assert_eq!(shown, inherited);
    }

    #[test]
    fn the_example_has_every_key_with_its_range_and_unit() {
        let text = example_in_full();
        let written = keys_of(&text);
        for key in KEYS {
            let at = written
                .iter()
                .find(|(section, name, _)| section == key.section && name == key.name)
                .unwrap_or_else(|| panic!("{}.{} is not in the example", key.section, key.name))
                .2;
            let Some((range, unit)) = &key.number else { continue };
            // An inline table stands on the line of its own key.
            let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
            let above = text[..line].rsplit_once("\n\n").map_or("", |(_, block)| block);
            let above = above.replace("\n# ", " ");
            let expected = format!("{} to {} {unit}", range.start(), range.end());
            let named = above.contains(&expected)
                || (*unit == "UDP port" && above.contains(&expected.replace(" UDP port", "")));
            assert!(named, "{}.{}: `{expected}` is not above the key", key.section, key.name);
        }
    }

    #[test]
    fn the_list_has_exactly_the_keys_of_the_types() {
        // With every optional key set, what is printed has all keys that the types have.
        let printed = Config::parse("x.toml", &example_in_full()).unwrap().to_toml().unwrap();
        let mut of_types: Vec<(String, String)> =
            keys_of(&printed).into_iter().map(|(section, name, _)| (section, name)).collect();
        of_types.sort();
        of_types.dedup();
        let mut listed: Vec<(String, String)> =
            KEYS.iter().map(|key| (key.section.to_owned(), key.name.to_owned())).collect();
        listed.sort();
        assert_eq!(listed, of_types);
    }

    #[test]
    fn every_default_is_in_range() {
        let printed = Config::parse("x.toml", EXAMPLE).unwrap().to_toml().unwrap();
        assert_eq!(check(&printed), [""; 0]);
        for key in KEYS {
            assert!(key.number.as_ref().is_none_or(|(range, _)| !range.is_empty()));
        }
    }
}
