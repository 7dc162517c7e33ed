//! What a run is made of, by its seed: the configuration, the LACs and their lines, and what happens
//! to them when.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::lac::Manners;
use super::subscriber::Habits;

/// How long there is trouble.
pub const TROUBLE: Duration = Duration::from_secs(70);

/// The most LACs, and lines of each.
const LACS_MAX: u16 = 5;
const LINES_MAX: usize = 5;

/// Right names and passwords; the last one has a fixed address.
const USERS: [(&str, &str); 4] =
    [("ann", "of green"), ("cat", "in a hat"), ("dan", "desperate"), ("bob", "builder")];

/// Something that happens from outside.
#[derive(Debug, Clone, Copy)]
pub enum Operation {
    /// A LAC dies and comes back.
    Crash(usize, Duration),
    /// A LAC hears and says nothing for a while.
    Freeze(usize, Duration),
    /// A LAC ends its tunnel.
    Stop(usize),
    /// A LAC does what it should not.
    Misbehave(usize),
    /// A line is dropped.
    HangUp(usize, usize),
    /// A subscriber says goodbye.
    Terminate(usize, usize),
    /// A subscriber begins LCP anew.
    Renegotiate(usize, usize),
    /// The operator ends the session of this user.
    ClearUser(&'static str),
    /// The operator ends some tunnel.
    ClearTunnel(u32),
    /// The data plane is away for a while, and forgets its sessions or not.
    DataPlaneLeaves(Duration, bool),
    /// Somebody else speaks of a LAC's tunnel.
    Stray(usize),
    /// The evils of the network change.
    Weather,
}

/// A run.
#[derive(Debug)]
pub struct Script {
    /// The configuration file.
    pub configuration: String,
    /// The LACs with their lines and when they start.
    pub lacs: Vec<(Manners, Vec<Habits>, Duration)>,
    /// What happens, in order.
    pub operations: Vec<(Duration, Operation)>,
    /// Corrupted datagrams pass the checksum: peers need not agree then.
    pub corrupts: bool,
    /// Probability that the data plane has no room for a session.
    pub refuses: f64,
}

impl Script {
    /// The script of a run.
    pub fn new(rng: &mut StdRng) -> Self {
        let secret = rng.random_bool(0.3).then_some("tunnel secret");
        let configuration = configuration(rng, secret);
        let mut lacs = Vec::new();
        for number in 0..rng.random_range(1..=LACS_MAX) {
            let manners = manners(rng, number, secret);
            let lines = (0..rng.random_range(1..=LINES_MAX)).map(|_| habits(rng)).collect();
            let start = Duration::from_millis(rng.random_range(0..5000));
            lacs.push((manners, lines, start));
        }
        let mut operations: Vec<_> = (0..rng.random_range(0..40))
            .map(|_| (within(rng, TROUBLE), operation(rng, &lacs)))
            .collect();
        operations.sort_by_key(|(at, _)| *at);
        let refuses = if rng.random_bool(0.2) { rng.random_range(0.0..0.3) } else { 0.0 };
        Self { configuration, lacs, operations, corrupts: rng.random_bool(0.25), refuses }
    }
}

fn within(rng: &mut StdRng, most: Duration) -> Duration {
    Duration::from_millis(rng.random_range(0..most.as_millis() as u64))
}

fn configuration(rng: &mut StdRng, secret: Option<&str>) -> String {
    let authentication = [r#"["chap-md5", "pap"]"#, r#"["pap", "chap-md5"]"#, r#"["chap-md5"]"#];
    let authentication = authentication.choose(rng).unwrap_or(&r#"["pap"]"#);
    let prefix = if rng.random_bool(0.3) { 29 } else { 27 };
    let limits = match rng.random_range(0..5) {
        0 => "sessions_max = 3",
        1 => "tunnels_max = 2",
        2 => "tunnels_per_peer_max = 1",
        _ => "",
    };
    let lac = secret.map_or(String::new(), |secret| {
        format!("[[lac]]\nname = \"all\"\nsecret = \"{secret}\"\n")
    });
    let user = |(index, (name, password)): (usize, &(&str, &str))| {
        let address = match index {
            0 | 2 => String::new(),
            1 => String::from("sessions_max = 1\n"),
            _ => format!("address = \"10.0.0.{}\"\n", 2 + index),
        };
        format!("[[user]]\nname = \"{name}\"\npassword = \"{password}\"\n{address}")
    };
    let users: String = USERS.iter().enumerate().map(user).collect();
    format!(
        r#"
[lns]
host_name = "lns"
listen = ["192.0.2.1"]
gateway = "10.0.0.1"
[l2tp]
receive_window = {window}
retransmit_tries = 4
hello_interval_seconds = 10
{limits}
sccrq_per_second_max = 100000
sccrq_per_second_per_source_max = 100000
[ppp]
authentication = {authentication}
restart_timer_ms = 1000
authentication_timeout_seconds = 12
[[port]]
interface = "none"
[[pool]]
name = "all"
prefixes = ["10.0.0.0/{prefix}"]
{users}{lac}"#,
        window = rng.random_range(1..20),
    )
}

fn manners(rng: &mut StdRng, number: u16, secret: Option<&'static str>) -> Manners {
    // Some share an address.
    let host = rng.random_range(1..=4);
    let knows = rng.random_bool(0.9);
    Manners {
        address: (std::net::Ipv4Addr::new(198, 51, 100, host), 1701).into(),
        tunnel_id: 1 + 1000 * number,
        keeps_ids: rng.random_bool(0.5),
        secret: if knows { secret } else { secret.map(|_| "another one") },
        challenges: rng.random_bool(0.5),
        window: rng.random_range(1..9),
        keeps_ahead: rng.random_bool(0.7),
    }
}

fn habits(rng: &mut StdRng) -> Habits {
    let (user, right) = *USERS.choose(rng).unwrap_or(&USERS[0]);
    let mut lcp_options = vec![5, 6, 1, 2, 3, rng.random()];
    let options: [&[u8]; 6] =
        [&[1, 4, 5, 0xd4], &[1, 4, 0, 100], &[7, 2], &[8, 2], &[2, 6, 0, 0, 0, 0], &[13, 3, 6]];
    for option in options {
        if rng.random_bool(0.4) && (option[0] != 1 || !lcp_options.contains(&0xd4)) {
            lcp_options.extend_from_slice(option);
        }
    }
    Habits {
        user,
        password: if rng.random_bool(0.85) { right } else { "wrong" },
        chap: rng.random_bool(0.5),
        lcp_options,
        rejects: rng.random_bool(0.1).then_some(5),
    }
}

fn operation(rng: &mut StdRng, lacs: &[(Manners, Vec<Habits>, Duration)]) -> Operation {
    let lac = rng.random_range(0..lacs.len());
    let line = rng.random_range(0..lacs[lac].1.len());
    let pause = Duration::from_millis(rng.random_range(50..40_000));
    match rng.random_range(0..20) {
        0 => Operation::Crash(lac, pause),
        1 => Operation::Crash(lac, pause / 20),
        2 => Operation::Freeze(lac, pause),
        3 => Operation::Stop(lac),
        4..=6 => Operation::Misbehave(lac),
        7 => Operation::HangUp(lac, line),
        8 | 9 => Operation::Terminate(lac, line),
        10 | 11 => Operation::Renegotiate(lac, line),
        12 => Operation::ClearUser(USERS.choose(rng).map_or("", |(name, _)| name)),
        13 => Operation::ClearTunnel(rng.random()),
        14 => Operation::DataPlaneLeaves(pause / 4, true),
        15 => Operation::DataPlaneLeaves(pause / 4, false),
        16 => Operation::Stray(lac),
        _ => Operation::Weather,
    }
}
