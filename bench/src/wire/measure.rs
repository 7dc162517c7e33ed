//! The order of a run: sessions, interfaces, the generator's end, then the trials of each size.

use xlns_tests::{LabError, Result};

use super::bench::Bench;
use super::ceiling::Bed;
use super::holder::{Holder, Turn};
use super::interrupt;
use super::kernel::frames::Link;
use super::options::{Arguments, Size};
use super::packet::Side;
use super::port::Port;
use super::progress;
use super::report::{Finding, Report, SizeReport};
use super::server;
use super::site::{End, Neighbors, Site};
use super::station::Station;
use super::trial::{Purpose, Trial};
use crate::clock;
use crate::search::Search;

/// Where a search begins: this times what got through at saturation is surely too much.
const SEARCH_FROM: f64 = 1.25;

/// IPv4, UDP, L2TP and PPP header in front of a subscriber's packet, octets.
const TUNNEL_BYTES: u16 = 20 + 8 + 6 + 4;

/// Offered in overload: so many times the no-drop rate.
pub const OVERLOAD: f64 = 2.0;

/// Tests an LNS.
///
/// # Errors
/// What failed, and what to do.
pub fn run(arguments: &Arguments, site: &Site<'_>) -> Result<Report> {
    let epoch = clock::now();
    interrupt::watch()?;
    // Attaching a program may take a link down for a moment: before calls come up.
    let open = |end: &End<'_>, side| {
        let Arguments { generator, mode, .. } = *arguments;
        let lns = *site.lns.ip();
        end.place.inside(|| Port::open(&end.interface, side, lns, generator, mode))
    };
    let ports = [open(&site.access, Side::Access)?, open(&site.core, Side::Core)?];
    std::thread::scope(|scope| {
        let turn = Turn { core: arguments.lac_core(), realtime: arguments.realtime };
        let (plan, place) = (site.plan.clone(), site.access.place);
        let holder = Holder::start(plan, place, turn, site.farewell, scope)?;
        progress::say(&format!(
            "{} sessions are up, {:.0} calls a second",
            holder.flows.len(),
            holder.set_up.calls_per_second
        ));
        check(arguments, site, &holder)?;
        let links = links(site, &holder)?;
        let facts = [ports[0].facts().clone(), ports[1].facts().clone()];
        let mut bench = Bench {
            arguments,
            site,
            holder: &holder,
            stations: ports.map(Station::new),
            links,
            epoch,
            ceiling: None,
        };
        let bed = Bed::new(arguments, site, epoch);
        let mut sizes = Vec::new();
        for size in &arguments.size {
            let ceiling = bed.measure(size, &holder.flows)?;
            interrupt::check()?;
            progress::say(&format!(
                "{} octets, the tester alone: sends {:.2} Mpps to XDP_DROP, sends and receives {:.2}",
                size.name,
                ceiling.sender_pps.median / 1e6,
                ceiling.through_pps.median / 1e6
            ));
            bench.set_size(size, ceiling);
            bench.probe()?;
            sizes.push(trials(&mut bench, size)?);
        }
        Ok(Report::new(arguments, site, facts, &holder, sizes))
    })
}

/// What would look like loss, and is none of the LNS's.
fn check(arguments: &Arguments, site: &Site<'_>, holder: &Holder<'_>) -> Result<()> {
    let other = holder.flows.iter().find(|flow| flow.lns.ip() != site.lns.ip());
    if let Some(flow) = other {
        return Err(LabError::new(format!(
            "the LNS answers from {}: give that as --server",
            flow.lns.ip()
        )));
    }
    let largest = arguments.size.iter().flat_map(|size| size.inner_bytes.iter().copied()).max();
    let largest = largest.unwrap_or_default();
    for (end, needed) in [(&site.access, largest + TUNNEL_BYTES), (&site.core, largest)] {
        let mtu = end.place.interface(&end.interface)?.mtu;
        if mtu < needed {
            return Err(LabError::new(format!(
                "{} has MTU {mtu}, packets of {largest} octets need {needed}: a smaller --size, or \
                 ip link set dev {} mtu {needed}, and the same on the LNS's side",
                end.interface, end.interface
            )));
        }
    }
    Ok(())
}

/// The LNS's MAC addresses, with ours.
fn links(site: &Site<'_>, holder: &Holder<'_>) -> Result<[Link; 2]> {
    let [access, core] = match &site.neighbors {
        Neighbors::Known(macs) => *macs,
        Neighbors::Asked { access, core, gateway } => {
            let subscriber = holder.flows.first().map(|flow| flow.subscriber);
            server::ask(site, [*access, *core], *gateway, subscriber)?
        }
    };
    Ok([site.access.link(access)?, site.core.link(core)?])
}

/// The trials that were asked for.
fn trials(bench: &mut Bench<'_, '_>, size: &Size) -> Result<SizeReport> {
    let arguments = bench.arguments;
    let mut trials = Vec::new();
    let mut take = |bench: &mut Bench<'_, '_>, purpose, rate| -> Result<()> {
        let trial = bench.trial(purpose, rate)?;
        progress::tell_result(&trial);
        trials.push(trial);
        Ok(())
    };
    let mut finding = None;
    if let Some(rate) = arguments.rate {
        take(bench, Purpose::Rate, Some(rate.into()))?;
    } else if let Some(ramp) = arguments.ramp {
        for rate in ramp.rates() {
            take(bench, Purpose::Ramp, Some(rate.into()))?;
        }
    } else {
        let found = search(bench, &mut trials)?;
        let overload = match &found {
            Some(best) if !arguments.search => Some(overload(bench, size, best, &trials)?),
            _ => None,
        };
        finding = Some(Finding::new(found, overload));
    }
    let ceiling = bench.ceiling.clone();
    Ok(SizeReport::new(size, ceiling, trials, finding))
}

/// The no-drop rate: what everything offered as fast as it goes shows, or a binary search below it.
fn search(bench: &mut Bench<'_, '_>, trials: &mut Vec<Trial>) -> Result<Option<Trial>> {
    use crate::search::Trial as _;
    let loss_max = bench.arguments.loss / 100.0;
    let flood = bench.trial(Purpose::Saturation, None)?;
    progress::tell_result(&flood);
    trials.push(flood.clone());
    if flood.loss() <= loss_max {
        return Ok(Some(flood));
    }
    let through = flood.directions.iter().map(|way| way.received_pps).fold(0.0, f64::max);
    let high = (through * SEARCH_FROM).min(flood.offered_pps());
    let mut search = Search::new(high, bench.arguments.steps(), loss_max);
    while let Some(rate) = search.rate() {
        let trial = bench.trial(Purpose::Search, Some(rate.into()))?;
        progress::tell_result(&trial);
        search.record(trial);
    }
    let (best, tried) = search.finish();
    trials.extend(tried);
    Ok(best)
}

/// Twice of it.
fn overload(
    bench: &mut Bench<'_, '_>,
    size: &Size,
    best: &Trial,
    trials: &[Trial],
) -> Result<Trial> {
    use crate::search::Trial as _;
    let most = trials.iter().map(Trial::offered_pps).fold(0.0, f64::max);
    let trial = bench.overload(size, OVERLOAD * best.offered_pps(), most)?;
    progress::tell_result(&trial);
    Ok(trial)
}
