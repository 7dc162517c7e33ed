//! What a run is made of, by its seed: the configurations, the LACs and their lines, and what happens
//! to them when.

use std::net::Ipv4Addr;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use xlns_control::ppp::Authentication;

use super::configuration::{self, CLIENTS, Secrets, USERS};
use super::lac::Manners;
use super::subscriber::Habits;
use super::{engine, scripted};

/// How long there is trouble.
pub const TROUBLE: Duration = Duration::from_secs(70);

/// After the trouble: until when LACs and subscribers try again.
pub const DIALLING: Duration = Duration::from_secs(60);

/// The most LACs, and lines of each.
const LACS_MAX: u16 = 5;
const LINES_MAX: usize = 5;

/// The LNSs: the one of the LACs, and the one that the dialler may use as well.
pub const SERVERS: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)];

/// The dialler.
pub const DIALLER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

/// After the trouble, in some runs: leases are renewed, advertisements repeated, keys challenged.
const CALM: Duration = Duration::from_secs(4000);

/// Something that happens from outside.
#[derive(Debug, Clone, Copy)]
pub enum Operation {
    /// Something happens to a LAC.
    Lac(usize, LacOperation),
    /// Somebody else speaks of a LAC's tunnel.
    Stray(usize),
    /// The subscriber on a LAC's line asks by DHCPINFORM.
    Inform(usize, usize),
    /// The operator wants a LAC to call somebody, and only this user let in, or anybody.
    PlaceCall(usize, Option<&'static str>),
    /// The operator of a server wants the dialler to call somebody.
    CallDialler(usize),
    /// The operators end the sessions of this user.
    ClearUser(&'static str),
    /// An operator ends some tunnel.
    ClearTunnel(u32),
    /// The operator of the dialler hangs a client up.
    ClearClient(&'static str),
    /// A data plane is away for a while, and forgets its sessions or not.
    DataPlaneLeaves(usize, Duration, bool),
    /// An LNS or the dialler dies and comes back.
    Die(usize, Duration),
    /// Nothing passes between the dialler and a server for a while.
    Cut(usize, Duration),
    /// The evils of the network change.
    Weather,
}

/// Something that happens to a LAC.
#[derive(Debug, Clone, Copy)]
pub enum LacOperation {
    /// It dies and comes back.
    Crash(Duration),
    /// It hears and says nothing for a while.
    Freeze(Duration),
    /// It ends its tunnel.
    Stop,
    /// It goes on from another port.
    Move(u16),
    /// It does what it should not.
    Misbehave,
    /// A line is dropped.
    HangUp(usize),
    /// The subscriber on a line says goodbye.
    Terminate(usize),
    /// The subscriber on a line begins LCP anew.
    Renegotiate(usize),
    /// It reports on a line.
    Report(usize),
}

/// A run.
#[derive(Debug)]
pub struct Script {
    /// The configuration files: the LNS, and where there is a dialler, a second LNS and the dialler.
    pub configurations: Vec<(Ipv4Addr, String)>,
    /// The LACs with their lines and when they start.
    pub lacs: Vec<(Manners, Vec<Habits>, Duration)>,
    /// What happens, in order.
    pub operations: Vec<(Duration, Operation)>,
    /// Corrupted datagrams pass the checksum: peers need not agree then.
    pub corrupts: bool,
    /// Probability that the data plane has no room for a session.
    pub refuses: f64,
    /// How long nothing happens in the end.
    pub calm: Duration,
}

impl Script {
    /// The script of a run.
    pub fn new(rng: &mut StdRng) -> Self {
        let secrets = Secrets::random(rng);
        let mut configurations = vec![(SERVERS[0], configuration::lns(rng, 1, secrets))];
        let dials = rng.random_bool(0.4);
        if dials {
            configurations.push((SERVERS[1], configuration::lns(rng, 2, secrets)));
            let dialler = configuration::dialler(rng, DIALLER, &SERVERS, secrets);
            configurations.push((DIALLER, dialler));
        }
        let mut lacs = Vec::new();
        let least = u16::from(!dials);
        for number in 0..rng.random_range(least..=LACS_MAX) {
            let manners = manners(rng, number, secrets);
            let lines = (0..rng.random_range(0..=LINES_MAX)).map(|_| habits(rng)).collect();
            let start = Duration::from_millis(rng.random_range(0..5000));
            lacs.push((manners, lines, start));
        }
        let stations = configurations.len();
        let mut operations: Vec<_> = (0..rng.random_range(0..40))
            .map(|_| (within(rng, TROUBLE), operation(rng, &lacs, stations)))
            .collect();
        operations.extend(
            (0..rng.random_range(0..8)).map(|_| (late(rng), quiet_operation(rng, &lacs, stations))),
        );
        operations.sort_by_key(|(at, _)| *at);
        let refuses = if rng.random_bool(0.2) { rng.random_range(0.0..0.3) } else { 0.0 };
        let calm = if rng.random_bool(0.02) { CALM } else { Duration::ZERO };
        let corrupts = rng.random_bool(0.25);
        Self { configurations, lacs, operations, corrupts, refuses, calm }
    }
}

fn within(rng: &mut StdRng, most: Duration) -> Duration {
    Duration::from_millis(rng.random_range(0..most.as_millis() as u64))
}

fn manners(rng: &mut StdRng, number: u16, secrets: Secrets) -> Manners {
    // Some share an address.
    let host = rng.random_range(1..=4);
    let secret = secrets.of_host(host);
    let knows = rng.random_bool(0.9);
    Manners {
        address: (Ipv4Addr::new(198, 51, 100, host), 1701).into(),
        tunnel_id: 1 + 1000 * number,
        keeps_ids: rng.random_bool(0.5),
        secret: if knows { secret } else { secret.map(|_| "another one") },
        challenges: rng.random_bool(0.5),
        window: rng.random_range(1..9),
        keeps_ahead: rng.random_bool(0.7),
        hide: configuration::hide(rng),
        proxies: rng.random_bool(0.3),
        waits: rng.random_range(0..3),
    }
}

fn habits(rng: &mut StdRng) -> Habits {
    let user = USERS.choose(rng).copied().unwrap_or(USERS[0]);
    let password = if rng.random_bool(0.85) { user.password } else { "wrong" };
    if rng.random_bool(0.5) {
        return Habits::Engine(engine_habits(rng, user.name, password));
    }
    let mut lcp_options = vec![5, 6, 1, 2, 3, rng.random()];
    let options: [&[u8]; 6] =
        [&[1, 4, 5, 0xd4], &[1, 4, 0, 100], &[7, 2], &[8, 2], &[2, 6, 0, 0, 0, 0], &[13, 3, 6]];
    for option in options {
        if rng.random_bool(0.4) && (option[0] != 1 || !lcp_options.contains(&0xd4)) {
            lcp_options.extend_from_slice(option);
        }
    }
    Habits::Scripted(scripted::Habits {
        user: user.name,
        password,
        chap: rng.random_bool(0.5),
        lcp_options,
        rejects: rng.random_bool(0.1).then_some(5),
    })
}

fn engine_habits(rng: &mut StdRng, user: &'static str, password: &'static str) -> engine::Habits {
    let mut methods = vec![Authentication::MsChapV2, Authentication::ChapMd5, Authentication::Pap];
    methods.shuffle(rng);
    methods.truncate(rng.random_range(1..=3));
    let (ipv4, ipv6) = [(true, true), (true, true), (false, true), (true, false)]
        .choose(rng)
        .copied()
        .unwrap_or((true, true));
    engine::Habits {
        user,
        password,
        methods,
        ipv4,
        ipv6,
        wants_delegated: rng.random_bool(0.6),
        mru: [1460, 1460, 1492, 1280, 1000].choose(rng).copied().unwrap_or(1460),
    }
}

/// What may happen to a LAC or one of its lines.
fn lac_operation(rng: &mut StdRng, lac: usize, lines: usize, pause: Duration) -> Operation {
    if lines == 0 {
        return Operation::Lac(lac, LacOperation::Crash(pause));
    }
    let line = rng.random_range(0..lines);
    let user = USERS.choose(rng).map(|user| user.name);
    let of_lac = match rng.random_range(0..16) {
        0 => LacOperation::Crash(pause),
        1 => LacOperation::Crash(pause / 20),
        2 => LacOperation::Freeze(pause),
        3 => LacOperation::Stop,
        4..=6 => LacOperation::Misbehave,
        7 => LacOperation::HangUp(line),
        8 => LacOperation::Terminate(line),
        9 => LacOperation::Renegotiate(line),
        10 => LacOperation::Move(rng.random_range(2000..60_000)),
        11 => LacOperation::Report(line),
        12 => return Operation::Stray(lac),
        13 => return Operation::Inform(lac, line),
        _ => return Operation::PlaceCall(lac, user.filter(|_| rng.random_bool(0.5))),
    };
    Operation::Lac(lac, of_lac)
}

/// Between the end of the trouble and that of the dialling.
fn late(rng: &mut StdRng) -> Duration {
    TROUBLE + within(rng, DIALLING)
}

/// What a healed network may still see.
fn quiet_operation(
    rng: &mut StdRng,
    lacs: &[(Manners, Vec<Habits>, Duration)],
    stations: usize,
) -> Operation {
    let with_lines: Vec<usize> = (0..lacs.len()).filter(|lac| !lacs[*lac].1.is_empty()).collect();
    let Some(lac) = with_lines.choose(rng).copied() else {
        return Operation::CallDialler(stations.min(SERVERS.len()) - 1);
    };
    let line = rng.random_range(0..lacs[lac].1.len());
    match rng.random_range(0..7) {
        0 => Operation::Lac(lac, LacOperation::Move(rng.random_range(2000..60_000))),
        1 if stations > 1 => Operation::CallDialler(rng.random_range(0..SERVERS.len())),
        2 => Operation::Inform(lac, line),
        3 | 4 => Operation::PlaceCall(lac, None),
        _ => Operation::Lac(lac, LacOperation::Report(line)),
    }
}

fn operation(
    rng: &mut StdRng,
    lacs: &[(Manners, Vec<Habits>, Duration)],
    stations: usize,
) -> Operation {
    let pause = Duration::from_millis(rng.random_range(50..40_000));
    let station = rng.random_range(0..stations);
    match rng.random_range(0..20) {
        0 => Operation::ClearUser(USERS.choose(rng).map_or("", |user| user.name)),
        1 => Operation::ClearTunnel(rng.random()),
        2 => Operation::DataPlaneLeaves(station, pause / 4, true),
        3 => Operation::DataPlaneLeaves(station, pause / 4, false),
        4 if rng.random_bool(0.3) => Operation::Die(station, pause / 8),
        5 | 6 if stations > 1 => Operation::Cut(rng.random_range(0..SERVERS.len()), pause),
        7 if stations > 1 => Operation::ClearClient(CLIENTS.choose(rng).copied().unwrap_or("")),
        8 if stations > 1 => Operation::CallDialler(rng.random_range(0..SERVERS.len())),
        9..=11 => Operation::Weather,
        _ if lacs.is_empty() => Operation::Weather,
        _ => {
            let lac = rng.random_range(0..lacs.len());
            lac_operation(rng, lac, lacs[lac].1.len(), pause)
        }
    }
}
