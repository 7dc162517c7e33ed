//! The configuration files of a run, by its seed.

use std::net::Ipv4Addr;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use xlns_control::l2tp::avp::Hide;

/// A subscriber that is known.
#[derive(Debug, Clone, Copy)]
pub struct User {
    /// Name.
    pub name: &'static str,
    /// The right password.
    pub password: &'static str,
    /// More of its section; `{n}` is the number of the LNS.
    more: &'static str,
    /// Prefixes behind it.
    pub framed: &'static [&'static str],
}

/// Every kind of user: with and without limit, of two pools, with everything fixed.
pub const USERS: &[User] = &[
    User { name: "ann", password: "of green", more: "", framed: &[] },
    User { name: "cat", password: "in a hat", more: "sessions_max = 1\n", framed: &[] },
    User { name: "dan", password: "desperate", more: "sessions_max = 2\n", framed: &[] },
    User { name: "six", password: "and no four", more: "pool = \"six\"\n", framed: &[] },
    User {
        name: "bob",
        password: "builder",
        more: "address = \"10.{n}.0.5\"\n",
        framed: &["172.20.0.0/24", "2001:db8:ffff::/48"],
    },
    User {
        name: "fay",
        password: "in the mist",
        more: "address = \"10.77.0.9\"\nipv6_prefix = \"2001:db8:77::/64\"\n\
               delegated_prefix = \"2001:db8:77:100::/56\"\n",
        framed: &["172.21.0.0/24"],
    },
];

/// The account of the dialler: anybody's who may come as often as it likes.
const DIALLED: User = USERS[0];

/// What the LNS and the peers of a profile have to agree on.
#[derive(Debug, Clone, Copy)]
pub struct Secrets {
    /// Of the LACs 1 and 2, by a profile of their own.
    pub first: Option<&'static str>,
    /// Of everybody else.
    pub others: Option<&'static str>,
}

impl Secrets {
    /// Some, or none.
    pub fn random(rng: &mut StdRng) -> Self {
        let first = rng.random_bool(0.4).then_some("first secret");
        Self { first, others: rng.random_bool(0.3).then_some("other secret") }
    }

    /// That of a LAC.
    pub fn of_host(&self, host: u8) -> Option<&'static str> {
        if host <= 2 { self.first } else { self.others }
    }
}

/// Which AVPs a side hides.
pub fn hide(rng: &mut StdRng) -> Hide {
    [Hide::Never, Hide::Never, Hide::Secrets, Hide::All].choose(rng).copied().unwrap_or_default()
}

fn hide_word(rng: &mut StdRng) -> &'static str {
    match hide(rng) {
        Hide::Never => "never",
        Hide::Secrets => "secrets",
        Hide::All => "all",
    }
}

/// One of some, the first as often as all others together.
fn pick<'a>(rng: &mut StdRng, words: &[&'a str]) -> &'a str {
    if rng.random_bool(0.5) {
        return words.first().copied().unwrap_or("");
    }
    words.choose(rng).copied().unwrap_or("")
}

fn profile(rng: &mut StdRng, name: &str, secret: Option<&str>) -> String {
    let mut text = format!("[[lac]]\nname = \"{name}\"\n");
    if let Some(secret) = secret {
        let hidden = hide_word(rng);
        text += &format!("secret = \"{secret}\"\nhidden_avps = \"{hidden}\"\n");
    }
    let authentication = pick(
        rng,
        &[
            "",
            "authentication = [\"ms-chap-v2\", \"chap-md5\", \"pap\"]",
            "authentication = [\"chap-md5\"]",
            "authentication = [\"chap-md5\", \"pap\", \"ms-chap-v2\"]",
        ],
    );
    let call_mode = pick(rng, &["renegotiate", "proxy", "proxy", "mandatory-chap"]);
    let more = [
        authentication,
        pick(rng, &["", "address_control = \"always\""]),
        pick(rng, &["", "mru = 1400"]),
        pick(rng, &["", "source_ports = 4"]),
        pick(rng, &["follow_port = true", "follow_port = false"]),
        pick(rng, &["", "data_is_life = false"]),
        pick(rng, &["", "idle_seconds = 5"]),
        pick(rng, &["", "", "", "sessions_max = 3"]),
        pick(rng, &["", "", "", "sessions_per_tunnel_max = 2"]),
        pick(rng, &["", "", "", "tunnels_max = 2"]),
        pick(rng, &["", "host_name = \"another\""]),
        pick(rng, &["", "hello_interval_seconds = 5"]),
    ];
    text + &format!("call_mode = \"{call_mode}\"\n") + &more.join("\n") + "\n"
}

/// The configuration of the LNS with this number, at `192.0.2.number`.
pub fn lns(rng: &mut StdRng, number: u8, secrets: Secrets) -> String {
    let user = |user: &User| {
        let User { name, password, more, framed } = user;
        let more = more.replace("{n}", &number.to_string());
        let framed: Vec<String> = framed.iter().map(|prefix| format!("\"{prefix}\"")).collect();
        let framed = match framed.as_slice() {
            [] => String::new(),
            some => format!("framed_routes = [{}]\n", some.join(", ")),
        };
        format!("[[user]]\nname = \"{name}\"\npassword = \"{password}\"\n{more}{framed}")
    };
    let users: String = USERS.iter().map(user).collect();
    let peers = "peers = [\"198.51.100.1/32\", \"198.51.100.2/32\"]\n";
    let first =
        profile(rng, "first", secrets.first).replacen("call_mode", &format!("{peers}call_mode"), 1);
    let profiles = first + &profile(rng, "others", secrets.others);
    let limits = match rng.random_range(0..8) {
        0 => "sessions_max = 3",
        1 => "tunnels_max = 2",
        2 => "tunnels_per_peer_max = 1",
        3 => "tunnels_half_open_max = 1",
        _ => "",
    };
    let rate = if rng.random_bool(0.1) { 1 } else { 100_000 };
    let ipv4_length = if rng.random_bool(0.3) { 29 } else { 27 };
    // Two, or more than ever asked for.
    let links = if rng.random_bool(0.2) { 63 } else { 56 };
    let delegated = if rng.random_bool(0.3) { 55 } else { 48 };
    let authentication = pick(
        rng,
        &[
            r#"["chap-md5", "ms-chap-v2", "pap"]"#,
            r#"["pap", "chap-md5"]"#,
            r#"["ms-chap-v2", "pap", "chap-md5"]"#,
        ],
    );
    let more = [
        pick(rng, &["", "domain = \"example.net\""]),
        pick(rng, &["", "ipv6_managed = true"]),
        pick(rng, &["", "", "ipv6 = false"]),
        pick(rng, &["", "rechallenge_seconds = 30"]),
        pick(rng, &["", "ipv6_dns = [\"2001:db8::53\"]"]),
        "ipv6_lifetime_seconds = 3600",
    ];
    format!(
        r#"
[lns]
host_name = "lns{number}"
listen = ["192.0.2.{number}"]
gateway = "10.{number}.0.1"
[l2tp]
receive_window = {window}
retransmit_tries = 4
hello_interval_seconds = 10
{limits}
sccrq_per_second_max = 100000
sccrq_per_second_per_source_max = {rate}
[ppp]
authentication = {authentication}
restart_timer_ms = 1000
authentication_timeout_seconds = 12
{more}
[[port]]
interface = "none"
[[pool]]
name = "all"
prefixes = ["10.{number}.0.0/{ipv4_length}"]
ipv6_prefixes = ["2001:db8:{number}::/{links}"]
delegated_prefixes = ["2001:db8:{number}00::/{delegated}"]
[[pool]]
name = "six"
ipv6_prefixes = ["2001:db8:{number}6::/56"]
delegated_prefixes = ["2001:db8:{number}60::/48"]
{users}{profiles}"#,
        window = rng.random_range(1..20),
        more = more.join("\n"),
    )
}

/// The names of the dialler's clients.
pub const CLIENTS: &[&str] = &["left", "right"];

/// The configuration of the dialler.
pub fn dialler(
    rng: &mut StdRng,
    local: Ipv4Addr,
    servers: &[Ipv4Addr],
    secrets: Secrets,
) -> String {
    let mut clients = String::new();
    for name in CLIENTS.iter().take(rng.random_range(1..=CLIENTS.len())) {
        clients += &client(rng, name, servers, secrets.others);
    }
    format!(
        r#"
[lns]
host_name = "dialler"
listen = ["{local}"]
gateway = "10.99.0.1"
[l2tp]
retransmit_tries = 4
hello_interval_seconds = 10
[ppp]
restart_timer_ms = 1000
authentication_timeout_seconds = 12
[[port]]
interface = "none"
{clients}"#,
    )
}

fn client(rng: &mut StdRng, name: &str, servers: &[Ipv4Addr], secret: Option<&str>) -> String {
    let server = |address: &Ipv4Addr| format!("{{ address = \"{address}\" }}");
    let servers: Vec<String> = servers.iter().map(server).collect();
    let User { name: user, password, .. } = DIALLED;
    let password = if rng.random_bool(0.9) { password } else { "wrong" };
    let mut text = format!(
        "[[client]]\nname = \"{name}\"\nservers = [{}]\nuser = \"{user}\"\n\
         password = \"{password}\"\nredial_max_seconds = 8\nsetup_seconds_max = 20\n",
        servers.join(", "),
    );
    // A wrong one is found out.
    let secret = if rng.random_bool(0.1) { Some("not the secret") } else { secret };
    if let Some(secret) = secret {
        let hidden = hide_word(rng);
        text += &format!("secret = \"{secret}\"\nhidden_avps = \"{hidden}\"\n");
    }
    let more = [
        pick(
            rng,
            &[
                "authentication = [\"chap-md5\", \"ms-chap-v2\", \"pap\"]",
                "authentication = [\"ms-chap-v2\"]",
            ],
        ),
        pick(
            rng,
            &[
                "ipv6 = true\nroutes = [\"default\"]",
                "ipv6 = false\nroutes = [\"203.0.113.0/24\"]\npeer_addresses = [\"0.0.0.0/0\"]",
                "ipv6 = true\nroutes = [\"203.0.113.0/24\", \"2001:db8:5::/48\"]",
                "ipv6 = true\nipv4 = false\nroutes = [\"default\"]",
                "ipv6 = true\npeer_addresses = [\"0.0.0.0/0\"]",
            ],
        ),
        pick(rng, &["", "address_control = \"always\""]),
        pick(rng, &["", "", "persistent = false\nidle_seconds = 40"]),
        pick(rng, &["", "", "", "accept_outgoing_calls = true"]),
        pick(rng, &["", "metric = 10"]),
    ];
    text + &more.join("\n") + "\n"
}
