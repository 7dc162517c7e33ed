//! `xlns-bench tables`: the FIB with subscribers and two internet tables in it, and changes to it
//! while a worker reads.
//!
//! Prefix lengths of the internet tables are drawn as they are found in a full table; addresses are
//! random. A look-up is timed in batches of 64, with the first two lines asked for before, as the
//! pipeline does it. The worker that reads meanwhile has the other core.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use ipnet::IpNet;
use serde::Serialize;
use xlns_dataplane::api::{Command, RouteTarget, Session};
use xlns_dataplane::pipeline::BATCH_MAX;
use xlns_dataplane::tables::{Entry, Reader, Tables, Writer};

use super::candidates::{Packed, Prefix};
use super::load::{self, Load, Random};
use crate::record::Recorder;
use crate::{clock, memory};

/// Share of each prefix length in a full IPv4 table, out of 100, and the length.
const IPV4_LENGTHS: [(u32, u8); 9] =
    [(60, 24), (10, 23), (11, 22), (5, 21), (5, 20), (3, 19), (2, 18), (1, 17), (3, 16)];

/// The same for IPv6.
const IPV6_LENGTHS: [(u32, u8); 7] =
    [(47, 48), (8, 44), (10, 40), (6, 36), (17, 32), (9, 29), (3, 46)];

/// Look-ups of one window.
const WINDOW_BATCHES: usize = 500;

/// What to build.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Subscribers, with an IPv4 address and an IPv6 prefix of 64 bits each.
    #[arg(long, default_value_t = 1_000_000)]
    sessions: u32,
    /// IPv4 routes.
    #[arg(long, default_value_t = 1_000_000)]
    ipv4_routes: u32,
    /// IPv6 routes.
    #[arg(long, default_value_t = 200_000)]
    ipv6_routes: u32,
    /// Also builds the other class of table, a trie packed by bit maps, and compares look-ups.
    #[arg(long)]
    candidates: bool,
    /// How long changes are made, seconds.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
}

#[derive(Debug, Serialize)]
struct Report {
    sessions: u32,
    ipv4_routes: u32,
    ipv6_routes: u32,
    resident_bytes: u64,
    lookups: Vec<Lookup>,
    /// The packed trie on the same routes.
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate: Option<Candidate>,
    /// Routes set and removed while a worker reads: the middle, and what nine slices of ten reach.
    route_changes_per_second: f64,
    route_changes_per_second_p10: f64,
    /// Sessions added and removed while a worker reads.
    session_changes_per_second: f64,
    session_changes_per_second_p10: f64,
}

#[derive(Debug, Serialize)]
struct Candidate {
    /// Octets of both families.
    bytes: usize,
    /// How long building it anew takes, both families.
    build_seconds: f64,
    /// One after the other, as with [`Report::lookups`] behind the first step.
    lookups: Vec<Lookup>,
}

#[derive(Debug, Serialize)]
struct Lookup {
    what: &'static str,
    ns: f64,
}

/// Builds, measures and prints.
///
/// # Errors
/// Where the tables cannot be made or filled.
pub fn run(arguments: &Arguments, recorder: &Recorder) -> Result<(), Box<dyn Error>> {
    let routes_max = arguments.ipv4_routes + arguments.ipv6_routes + 65_536;
    let mut load = Load::dual_stack(arguments.sessions, routes_max)?;
    let mut random = Random::default();
    let ipv4: Vec<_> = (0..arguments.ipv4_routes).map(|_| ipv4_route(&mut random)).collect();
    let ipv6: Vec<_> = (0..arguments.ipv6_routes).map(|_| ipv6_route(&mut random)).collect();
    for prefix in ipv4.iter().chain(&ipv6) {
        load.writer.apply(&route(*prefix))?;
    }
    let resident_bytes = memory::resident_bytes()?;
    let lookups = lookups(&load, &ipv4, &ipv6);
    let candidate = arguments.candidates.then(|| candidate(&load, &ipv4, &ipv6));
    let span = Duration::from_secs(arguments.seconds);
    let routes = while_read(&mut load, span, |writer, number| {
        let prefix =
            if number % 6 == 0 { ipv6_route(&mut random) } else { ipv4_route(&mut random) };
        writer.apply(&route(prefix)).and_then(|()| writer.apply(&Command::RouteRemove { prefix }))
    })?;
    let sessions = arguments.sessions;
    let changed = while_read(&mut load, span, |writer, number| {
        let session = load::dual_stack_session(number as u32 % sessions);
        change(writer, session)
    })?;
    let report = Report {
        sessions,
        ipv4_routes: arguments.ipv4_routes,
        ipv6_routes: arguments.ipv6_routes,
        resident_bytes,
        lookups,
        candidate,
        route_changes_per_second: routes[1],
        route_changes_per_second_p10: routes[0],
        session_changes_per_second: changed[1],
        session_changes_per_second_p10: changed[0],
    };
    recorder.finish("tables", &report, || print(&report))
}

/// Removes a session and adds it again: two changes.
fn change(writer: &mut Writer, session: Session) -> Result<(), xlns_dataplane::api::CommandError> {
    writer.apply(&Command::SessionRemove(session.key))?;
    writer.apply(&Command::SessionSet(Box::new(session)))
}

fn length(random: &mut Random, lengths: &[(u32, u8)]) -> u8 {
    let mut share = random.below(100);
    for &(part, length) in lengths {
        match share.checked_sub(part) {
            Some(rest) => share = rest,
            None => return length,
        }
    }
    lengths[0].1
}

fn network(address: IpAddr, length: u8) -> IpNet {
    IpNet::new(address, length).map(|net| net.trunc()).unwrap_or_else(|_| address.into())
}

/// Anywhere between 16.0.0.0 and 208.0.0.0: not where the subscribers are.
fn ipv4_route(random: &mut Random) -> IpNet {
    let address = Ipv4Addr::from_bits(0x1000_0000 + random.below(0xc000_0000));
    network(address.into(), length(random, &IPV4_LENGTHS))
}

/// In 2400::/6, a few thousand blocks of 32 bits.
fn ipv6_route(random: &mut Random) -> IpNet {
    let block = 0x2400_0000 | random.below(1 << 13) << 13;
    let rest = (u128::from(random.below(u32::MAX))) << 64;
    let address = Ipv6Addr::from_bits(u128::from(block) << 96 | rest);
    network(address.into(), length(random, &IPV6_LENGTHS))
}

fn route(prefix: IpNet) -> Command {
    let target = RouteTarget::Neighbor { port: 1, gateway: load::GATEWAY.into() };
    Command::RouteSet { prefix, target }
}

/// Addresses to look up: each kind and its list.
fn addresses(load: &Load, ipv4: &[IpNet], ipv6: &[IpNet]) -> [(&'static str, Vec<IpAddr>); 4] {
    let mut random = Random::default();
    let count = BATCH_MAX * WINDOW_BATCHES;
    let mut pick = |prefixes: &[IpNet]| -> Vec<IpAddr> {
        let mut address = || prefixes[random.below(prefixes.len() as u32) as usize].addr();
        (0..count).map(|_| address()).collect()
    };
    let internet = [pick(ipv4), pick(ipv6)];
    let mut number = || random.below(load.sessions);
    let subscribers: Vec<_> = (0..count).map(|_| load::address(number()).into()).collect();
    let prefixes: Vec<_> = (0..count).map(|_| load::prefix(number()).addr()).collect();
    let [internet_ipv4, internet_ipv6] = internet;
    [
        ("subscribers, IPv4", subscribers),
        ("subscribers, IPv6", prefixes),
        ("internet, IPv4", internet_ipv4),
        ("internet, IPv6", internet_ipv6),
    ]
}

fn lookups(load: &Load, ipv4: &[IpNet], ipv6: &[IpNet]) -> Vec<Lookup> {
    let mut reader = load.tables.register(0);
    let lists = addresses(load, ipv4, ipv6).into_iter();
    lists
        .map(|(what, list)| Lookup { what, ns: best(&list, |b| look_up(&mut reader, b)) })
        .collect()
}

/// The same routes in the other table.
fn candidate(load: &Load, ipv4: &[IpNet], ipv6: &[IpNet]) -> Candidate {
    let start = clock::now();
    let sessions = 0..load.sessions;
    let of_family = |subscribers: Vec<IpNet>, routes: &[IpNet]| {
        let mut prefixes: Vec<_> = subscribers.iter().chain(routes).map(prefix_of).collect();
        prefixes.sort_unstable();
        prefixes.dedup_by_key(|prefix| (prefix.key, prefix.length));
        Packed::new(prefixes)
    };
    let hosts = sessions.clone().map(|number| IpNet::from(IpAddr::from(load::address(number))));
    let tables =
        [of_family(hosts.collect(), ipv4), of_family(sessions.map(load::prefix).collect(), ipv6)];
    let build_seconds = start.elapsed().as_secs_f64();
    let [of_ipv4, of_ipv6] = &tables;
    let find = |batch: &[IpAddr]| {
        let found = batch.iter().filter(|address| match key_of(**address) {
            (key, true) => of_ipv4.lookup(key) != 0,
            (key, false) => of_ipv6.lookup(key) != 0,
        });
        found.count()
    };
    let lists = addresses(load, ipv4, ipv6).into_iter();
    let lookups = lists.map(|(what, list)| Lookup { what, ns: best(&list, find) }).collect();
    Candidate { bytes: tables.iter().map(Packed::bytes).sum(), build_seconds, lookups }
}

/// Bits from the most significant one on, and whether it is IPv4.
fn key_of(address: IpAddr) -> (u128, bool) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, true),
        IpAddr::V6(address) => (address.to_bits(), false),
    }
}

fn prefix_of(net: &IpNet) -> Prefix {
    let (key, _) = key_of(net.addr());
    Prefix { key, length: net.prefix_len(), value: 1 + u32::from(net.prefix_len()) }
}

/// The least time of a look-up, over windows of different addresses.
fn best(addresses: &[IpAddr], mut look_up: impl FnMut(&[IpAddr]) -> usize) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..20 {
        let start = clock::now();
        let mut found = 0;
        for batch in addresses.chunks(BATCH_MAX) {
            found += look_up(batch);
        }
        let elapsed = start.elapsed();
        assert_eq!(found, addresses.len(), "every address has a route");
        best = best.min(elapsed.as_nanos() as f64 / addresses.len() as f64);
    }
    best
}

/// Looks a batch up in stages. Returns how many lead anywhere.
fn look_up(reader: &mut Reader, batch: &[IpAddr]) -> usize {
    let guard = reader.guard();
    for address in batch {
        match address {
            IpAddr::V4(address) => guard.prefetch_route_ipv4(address.octets()),
            IpAddr::V6(address) => guard.prefetch_route_ipv6(address.octets()),
        }
    }
    for address in batch {
        match address {
            IpAddr::V4(address) => guard.begin_route_ipv4(address.octets()),
            IpAddr::V6(address) => guard.begin_route_ipv6(address.octets()),
        };
    }
    let entry = |address: &IpAddr| match address {
        IpAddr::V4(address) => guard.route_ipv4(address.octets()),
        IpAddr::V6(address) => guard.route_ipv6(address.octets()),
    };
    batch.iter().filter(|address| entry(address) != Entry::NoRoute).count()
}

/// Slices of the time that changes are made in.
const SLICES: u32 = 20;

/// Makes changes for some time, two in a call, while a worker looks subscribers up. Changes a second:
/// what nine slices of the time in ten reach, and the middle.
fn while_read(
    load: &mut Load,
    span: Duration,
    mut change: impl FnMut(&mut Writer, u64) -> Result<(), xlns_dataplane::api::CommandError>,
) -> Result<[f64; 2], Box<dyn Error>> {
    let stop = Arc::new(AtomicBool::new(false));
    let reading = read_on(Arc::clone(&load.tables), load.sessions, Arc::clone(&stop));
    let mut number = 0;
    let mut result = Ok(());
    let mut rates = Vec::new();
    for _ in 0..SLICES {
        let (start, before) = (clock::now(), number);
        while start.elapsed() < span / SLICES && result.is_ok() {
            for _ in 0..100 {
                result = result.and_then(|()| change(&mut load.writer, number));
                number += 1;
            }
            load.writer.reclaim();
        }
        rates.push(2.0 * (number - before) as f64 / start.elapsed().as_secs_f64());
    }
    stop.store(true, Ordering::Relaxed);
    reading.join().map_err(|_| "the reader ended badly")?;
    result?;
    rates.sort_by(f64::total_cmp);
    let at = |part: usize| rates.get(rates.len() * part / 10).copied().unwrap_or(0.0);
    Ok([at(1), at(5)])
}

fn read_on(
    tables: Arc<Tables>,
    sessions: u32,
    stop: Arc<AtomicBool>,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut reader = tables.register(0);
        let mut random = Random::default();
        while !stop.load(Ordering::Relaxed) {
            let batch: [IpAddr; BATCH_MAX] =
                std::array::from_fn(|_| load::address(random.below(sessions)).into());
            look_up(&mut reader, &batch);
        }
    })
}

fn print(report: &Report) {
    let Report { sessions, ipv4_routes, ipv6_routes, .. } = report;
    println!(
        "{sessions} subscribers with an address and a prefix, {ipv4_routes} IPv4 and {ipv6_routes} \
         IPv6 routes, {} MiB resident",
        report.resident_bytes >> 20
    );
    for Lookup { what, ns } in &report.lookups {
        println!("{what:<18} {ns:>6.1} ns a look-up");
    }
    if let Some(Candidate { bytes, build_seconds, lookups }) = &report.candidate {
        println!("packed trie: {} MiB, built anew in {build_seconds:.1} s", bytes >> 20);
        for Lookup { what, ns } in lookups {
            println!("{what:<18} {ns:>6.1} ns a look-up in it");
        }
    }
    println!(
        "{:.0} route changes a second beside a reader ({:.0} in nine slices of ten)",
        report.route_changes_per_second, report.route_changes_per_second_p10
    );
    println!(
        "{:.0} session changes a second beside a reader ({:.0} in nine slices of ten)",
        report.session_changes_per_second, report.session_changes_per_second_p10
    );
}
