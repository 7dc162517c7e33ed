//! The order of all runs: each is made of one server and then of the other.

use std::time::Duration;

use xlns_tests::Result;

use super::lane::Run;
use super::report::{Ceiling, Cell, Figures, Mode, Report, Side};
use super::server::{Kind, package_version};
use super::stand::{Site, Stand, inner_bytes};
use super::{Arguments, ceiling};
use crate::calls::emulator::run::pin;
use crate::clock;
use crate::search::Search;
use crate::wire::kernel::direction::Load;

/// How much is measured.
struct Extent {
    window: Duration,
    /// Runs at saturation, and at the rate at which CPU time is compared.
    runs: u32,
    /// Searches for the no-drop rate, and halvings of each.
    searches: u32,
    steps: u32,
}

/// Where a search begins: this times the rate at saturation is surely too much.
const SEARCH_FROM: f64 = 1.25;

/// Packets that may be lost at the no-drop rate, of all offered.
const LOSS_MAX: f64 = 0.001;

/// Both servers are given this share of the lower no-drop rate, to see what they take where they have
/// time to sleep.
pub const COMMON_LOAD: f64 = 0.8;

impl Extent {
    fn of(arguments: &Arguments) -> Self {
        let usual = if arguments.quick {
            Self { window: Duration::from_millis(700), runs: 3, searches: 1, steps: 6 }
        } else {
            Self { window: Duration::from_secs(2), runs: 7, searches: 3, steps: 8 }
        };
        Self {
            window: arguments.window.map_or(usual.window, Duration::from_millis),
            runs: arguments.runs.unwrap_or(usual.runs),
            ..usual
        }
    }
}

/// Makes all of it and removes it again.
pub fn run(arguments: &Arguments) -> Result<Report> {
    let start = clock::now();
    let [xlns, l2tpns] = [Site::build(Kind::Xlns)?, Site::build(Kind::L2tpns)?];
    ceiling::build(&xlns.topology)?;
    std::thread::scope(|scope| {
        let progress = Progress { start };
        progress.tell("xlns starts");
        let xlns_stand = Stand::start(Kind::Xlns, &xlns, arguments, scope)?;
        progress.tell("l2tpns starts (it listens for others of its cluster first)");
        let l2tpns_stand = Stand::start(Kind::L2tpns, &l2tpns, arguments, scope)?;
        pin(arguments.generator_core)?;
        let mut comparison = Comparison {
            arguments,
            extent: Extent::of(arguments),
            progress,
            stands: [xlns_stand, l2tpns_stand],
        };
        let ceilings = comparison.ceilings(&xlns)?;
        let cells = comparison.cells(&ceilings)?;
        let servers = comparison.servers()?;
        Ok(Report::new(arguments, start.elapsed(), servers, ceilings, cells))
    })
}

/// Tells what is done, on the error output.
#[derive(Clone, Copy)]
struct Progress {
    start: std::time::Instant,
}

impl Progress {
    fn tell(self, what: &str) {
        eprintln!("{:4} s  {what}", self.start.elapsed().as_secs());
    }
}

struct Comparison<'a> {
    arguments: &'a Arguments,
    extent: Extent,
    progress: Progress,
    /// xlns and l2tpns.
    stands: [Stand<'a>; 2],
}

impl Comparison<'_> {
    fn load(&self, rate: Option<u32>) -> Load {
        Load {
            window: self.extent.window,
            rate,
            core: self.arguments.generator_core,
            realtime: self.arguments.realtime(),
        }
    }

    /// The servers' versions, and how they stand.
    fn servers(&self) -> Result<[Side; 2]> {
        let [xlns, l2tpns] = &self.stands;
        Ok([
            Side { name: "xlns", version: env!("CARGO_PKG_VERSION").into(), mode: xlns.mode()? },
            Side { name: "l2tpns", version: package_version("l2tpns"), mode: l2tpns.mode()? },
        ])
    }

    /// The generator's, by size.
    fn ceilings(&mut self, site: &Site) -> Result<Vec<Ceiling>> {
        let mut ceilings = Vec::new();
        let [xlns, _] = &self.stands;
        for size in self.arguments.sizes() {
            let load = self.load(None);
            let pps = ceiling::measure(
                &site.topology,
                inner_bytes(size),
                &xlns.flows,
                load,
                self.extent.runs,
            )?;
            let mpps = pps.median / 1e6;
            self.progress.tell(&format!("generator alone, {size} octets: {mpps:.2} Mpps"));
            ceilings.push(Ceiling { size, pps });
        }
        Ok(ceilings)
    }

    /// Everything that is compared.
    fn cells(&mut self, ceilings: &[Ceiling]) -> Result<Vec<Cell>> {
        let mut cells = Vec::new();
        for index in 0..self.stands.first().map_or(0, |stand| stand.lanes.len()) {
            let Some(lane) = self.stands.first().and_then(|stand| stand.lanes.get(index)) else {
                continue;
            };
            let (direction, size) = (lane.direction, lane.size);
            let ceiling = ceilings.iter().find(|ceiling| ceiling.size == size);
            let ceiling = ceiling.map_or(f64::INFINITY, |ceiling| ceiling.pps.median);
            let cell = |mode, figures| Cell::new(direction, size, mode, figures, ceiling);

            let flooded = self.saturation(index)?;
            let saturation = cell(Mode::Saturation, flooded);
            self.progress.tell(&saturation.line());
            let rates = [saturation.xlns_pps, saturation.peer_pps].map(|pps| pps * SEARCH_FROM);
            let [xlns, peer] = self.no_drop(index, rates)?;
            let common = xlns.pps.median.min(peer.pps.median) * COMMON_LOAD;
            let figures = self.at_same_load(index, common as u32, [xlns, peer])?;
            let no_drop = cell(Mode::Loss01Percent, figures);
            self.progress.tell(&no_drop.line());
            cells.extend([saturation, no_drop]);
            for stand in &mut self.stands {
                stand.check()?;
            }
        }
        // As the table has them: by mode, then direction and size.
        cells.sort_by_key(|cell| cell.mode);
        Ok(cells)
    }

    fn run_lane(&mut self, server: usize, index: usize, load: Load) -> Result<Option<Run>> {
        let Some(stand) = self.stands.get_mut(server) else { return Ok(None) };
        let Some(lane) = stand.lanes.get_mut(index) else { return Ok(None) };
        lane.run(&stand.meter, load).map(Some)
    }

    /// Floods both in turn.
    fn saturation(&mut self, index: usize) -> Result<[Figures; 2]> {
        Ok(self.alternate(index, None)?.map(|runs| Figures::of_flood(&runs)))
    }

    /// Runs of both in turn, all at one rate.
    fn alternate(&mut self, index: usize, rate: Option<u32>) -> Result<[Vec<Run>; 2]> {
        let load = self.load(rate);
        let mut runs = [const { Vec::new() }; 2];
        for _ in 0..self.extent.runs {
            for (server, runs) in runs.iter_mut().enumerate() {
                runs.extend(self.run_lane(server, index, load)?);
            }
        }
        Ok(runs)
    }

    /// Searches for the no-drop rates, the steps of both in turn.
    fn no_drop(&mut self, index: usize, rates: [f64; 2]) -> Result<[Figures; 2]> {
        let mut best = [const { Vec::new() }; 2];
        let mut trials = [const { Vec::new() }; 2];
        for _ in 0..self.extent.searches {
            let mut searches = rates.map(|rate| Search::new(rate, self.extent.steps, LOSS_MAX));
            while searches.iter().any(|search| search.rate().is_some()) {
                for (server, search) in searches.iter_mut().enumerate() {
                    let Some(rate) = search.rate() else { continue };
                    if let Some(run) = self.run_lane(server, index, self.load(Some(rate)))? {
                        search.record(run);
                    }
                }
            }
            for ((search, best), trials) in searches.into_iter().zip(&mut best).zip(&mut trials) {
                let (found, tried) = search.finish();
                best.extend(found);
                trials.extend(tried);
            }
        }
        let [first, second] = best;
        let [first_trials, second_trials] = trials;
        Ok([Figures::of_search(&first, first_trials), Figures::of_search(&second, second_trials)])
    }

    /// Adds runs at a rate that neither loses anything at.
    fn at_same_load(
        &mut self,
        index: usize,
        rate: u32,
        figures: [Figures; 2],
    ) -> Result<[Figures; 2]> {
        if rate == 0 {
            return Ok(figures);
        }
        let [first, second] = self.alternate(index, Some(rate))?;
        let [xlns, peer] = figures;
        Ok([xlns.with_same_load(first), peer.with_same_load(second)])
    }
}
