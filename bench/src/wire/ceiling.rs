//! The generator's own end, measured in every run: what it sends to a port that drops everything in the
//! driver, and what the whole tester sends and receives over a straight link without an LNS.
//!
//! The link is a veth pair beside the lab's, of the same kind. For an LNS on real NICs it stands in for
//! them: no flood is sent where somebody else may be listening.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use xlns_tests::{LabError, Result};

use super::options::{Arguments, Size};
use super::packet::{Flow, Form, Side};
use super::port::Port;
use super::receiver::Receiver;
use super::redirect::Redirect;
use super::sender::Sender;
use super::site::{End, Site};
use super::station::{self, Drive, Station};
use crate::spread::Spread;

/// Runs of either kind.
const RUNS: u32 = 3;
const RUNS_QUICK: u32 = 2;

/// Length of a run, milliseconds.
const RUN: Duration = Duration::from_millis(700);
const RUN_QUICK: Duration = Duration::from_millis(250);

/// What the generator can do, with packets of one size.
#[derive(Debug, Clone, Serialize)]
pub struct Ceiling {
    /// The size, as it was asked for.
    pub size: String,
    /// Packets a second that it sends: to XDP_DROP at the far end.
    pub sender_pps: Spread,
    /// Packets a second that it sends and receives over a link without an LNS: it makes, numbers and
    /// checks them, all on its core.
    pub through_pps: Spread,
    /// The driver of the link.
    pub driver: String,
}

impl Ceiling {
    /// Packets a second that can be offered and counted, both directions together.
    pub fn limit_pps(&self) -> f64 {
        self.sender_pps.median
    }
}

/// The link that is measured on: what is sent by one end arrives at the other.
pub struct Bed<'a> {
    arguments: &'a Arguments,
    site: &'a Site<'a>,
    epoch: Instant,
}

impl<'a> Bed<'a> {
    /// That of a site.
    pub fn new(arguments: &'a Arguments, site: &'a Site<'a>, epoch: Instant) -> Self {
        Self { arguments, site, epoch }
    }

    /// Measures packets of a size.
    ///
    /// # Errors
    /// What the kernel says, or that nothing arrives.
    pub fn measure(&self, size: &Size, flows: &Arc<[Flow]>) -> Result<Ceiling> {
        let [near, far] = &self.site.ceiling;
        let link = near.link(far.place.interface(&far.interface)?.mac)?;
        let core = self.site.core_address;
        let mut station = Station::new(self.open(near)?);
        station.sender = Some(Sender::new(flows, core, Form::Bare, size, link));
        let driver = station.port.facts().driver.clone();
        let (sender_pps, station) = self.to_drop(station)?;
        let through_pps = self.through(station, flows)?;
        if sender_pps.median <= 0.0 || through_pps.median <= 0.0 {
            return Err(LabError::new("nothing arrives over the generator's own link"));
        }
        Ok(Ceiling { size: size.name.clone(), sender_pps, through_pps, driver })
    }

    fn open(&self, end: &End<'_>) -> Result<Port> {
        let Arguments { generator, mode, .. } = *self.arguments;
        let lns = *self.site.lns.ip();
        end.place.inside(|| Port::open(&end.interface, Side::Core, lns, generator, mode))
    }

    fn runs(&self) -> u32 {
        if self.arguments.quick { RUNS_QUICK } else { RUNS }
    }

    fn run(&self, stations: &mut [Station]) -> Result<()> {
        let drive = Drive {
            epoch: self.epoch,
            rate: None,
            filler_rate: 0.0,
            span: if self.arguments.quick { RUN_QUICK } else { RUN },
            cores: &self.arguments.generator_core,
            realtime: self.arguments.realtime,
        };
        station::drive(stations, drive, |_| ())
    }

    /// What arrives at a port that drops all.
    fn to_drop(&self, station: Station) -> Result<(Spread, Station)> {
        let [_, far] = &self.site.ceiling;
        let redirect = Redirect::load(Side::Core, *self.site.lns.ip())?;
        let index = far.place.interface(&far.interface)?.index;
        let _link = far.place.inside(|| redirect.attach_drop(index))?;
        let mut stations = [station];
        let mut rates = Vec::new();
        for _ in 0..self.runs() {
            let before = redirect.dropped()?;
            self.run(&mut stations)?;
            let count = (redirect.dropped()? - before) as f64;
            rates.extend(stations.iter().map(|station| count / station.seconds()));
        }
        let [station] = stations;
        Ok((Spread::of(rates.into_iter()), station))
    }

    /// What the tester sends and receives by itself.
    fn through(&self, station: Station, flows: &Arc<[Flow]>) -> Result<Spread> {
        let [_, far] = &self.site.ceiling;
        let mut receiver = Station::new(self.open(far)?);
        let core = self.site.core_address;
        receiver.receiver = Some(Receiver::new(Arc::clone(flows), core, Side::Core));
        let mut stations = [station, receiver];
        let mut rates = Vec::new();
        for _ in 0..self.runs() {
            self.run(&mut stations)?;
            let [sender, receiver] = &stations;
            rates.push(receiver.in_time.packets as f64 / sender.seconds());
        }
        Ok(Spread::of(rates.into_iter()))
    }
}
