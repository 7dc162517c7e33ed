//! What a run comes to, for programs; [`super::table`] has it for people.

use serde::Serialize;
use xlns_tests::xlns::Xlns;

use super::ceiling::Ceiling;
use super::holder::{Holder, SetUp};
use super::measure::OVERLOAD;
use super::options::{Arguments, Direction, Generator, Size};
use super::port::PortFacts;
use super::site::Site;
use super::trial::Trial;
use crate::search::Trial as _;

/// The whole report.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `lab`, or the LNS's address.
    pub target: String,
    /// What made the packets.
    pub generator: Generator,
    /// The tester's interfaces: access and core.
    pub ports: Vec<PortFacts>,
    /// The LNS's, where it is ours to ask.
    pub lns_ports: Vec<PortFacts>,
    /// Which way packets went.
    pub direction: Direction,
    /// Sessions, sent to and from in turn.
    pub sessions: usize,
    /// Tunnels that they were in.
    pub tunnels: u16,
    /// How they came up.
    pub set_up: SetUp,
    /// Length of a trial.
    pub trial_seconds: f64,
    /// What may be lost in a trial that counts as without drops, percent.
    pub loss_percent_max: f64,
    /// Cores that sent and received.
    pub generator_cores: Vec<u16>,
    /// The core that played the LACs.
    pub lac_core: u16,
    /// The core of the LNS, in the lab.
    pub lns_core: Option<u16>,
    /// Whether sender and LNS had real-time priority.
    pub realtime: bool,
    /// Each size.
    pub sizes: Vec<SizeReport>,
}

/// The trials with packets of one size.
#[derive(Debug, Serialize)]
pub struct SizeReport {
    /// As it was asked for.
    pub size: String,
    /// Octets of a subscriber's packet, on average.
    pub inner_octets_mean: f64,
    /// What the generator can do.
    pub ceiling: Option<Ceiling>,
    /// The no-drop rate, where it was searched for.
    pub finding: Option<Finding>,
    /// Every trial.
    pub trials: Vec<Trial>,
}

/// What a search found.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// Packets a second of each direction at which no more was lost than may be; `null` where more was
    /// lost at every rate tried.
    pub no_drop_pps: Option<f64>,
    /// Whether that is within a tenth of what the generator can do: the LNS may do more.
    pub generator_bound: bool,
    /// That trial.
    pub trial: Option<Trial>,
    /// Twice as much.
    pub overload: Option<Overload>,
}

/// What is left when more is offered than the LNS forwards.
#[derive(Debug, Serialize)]
pub struct Overload {
    /// Packets a second that were to be offered to each direction: twice the no-drop rate.
    pub wanted_pps: f64,
    /// What was offered over the no-drop rate; below 2 the generator was at its end.
    pub offered_times: f64,
    /// Packets a second that got through over those at the no-drop rate, both directions.
    pub through_times: f64,
    /// Whether all sessions stayed up, every HELLO was acknowledged, and how many echoes were answered
    /// is in its `control`.
    pub trial: Trial,
}

impl Report {
    /// Of a run.
    pub fn new(
        arguments: &Arguments,
        site: &Site<'_>,
        ports: [PortFacts; 2],
        holder: &Holder<'_>,
        sizes: Vec<SizeReport>,
    ) -> Self {
        Self {
            target: site.name.clone(),
            generator: arguments.generator,
            ports: ports.into(),
            lns_ports: site.xlns.map(ports_of).unwrap_or_default(),
            direction: arguments.direction,
            sessions: holder.flows.len(),
            tunnels: arguments.tunnels,
            set_up: holder.set_up,
            trial_seconds: arguments.seconds(),
            loss_percent_max: arguments.loss,
            generator_cores: arguments.generator_core.clone(),
            lac_core: arguments.lac_core(),
            lns_core: site.xlns.map(|_| arguments.lns_core),
            realtime: arguments.realtime,
            sizes,
        }
    }
}

/// The ports of an xlns; none where it does not say.
fn ports_of(xlns: &Xlns<'_>) -> Vec<PortFacts> {
    let rows = xlns.show("ports").unwrap_or_default();
    let facts = |row: &serde_json::Value| {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        (row["mode"] != "tun").then(|| PortFacts {
            interface: text("interface"),
            driver: text("driver"),
            queues: row["queues"].as_u64().unwrap_or(0) as usize,
            xdp_mode: text("mode"),
            not_better: lines(&row["not_better"]),
        })
    };
    rows.iter().filter_map(facts).collect()
}

fn lines(list: &serde_json::Value) -> Vec<String> {
    let lines = list.as_array().into_iter().flatten();
    lines.filter_map(|line| line.as_str().map(str::to_owned)).collect()
}

impl SizeReport {
    /// Of these trials.
    pub fn new(
        size: &Size,
        ceiling: Option<Ceiling>,
        trials: Vec<Trial>,
        finding: Option<Finding>,
    ) -> Self {
        let (name, inner_octets_mean) = (size.name.clone(), size.mean_bytes());
        Self { size: name, inner_octets_mean, ceiling, finding, trials }
    }
}

impl Finding {
    /// Of the best trial that passed, and of what was seen above it.
    pub fn new(found: Option<Trial>, overload: Option<Trial>) -> Self {
        let overload = found.as_ref().zip(overload).map(|(found, trial)| Overload {
            wanted_pps: OVERLOAD * found.offered_pps(),
            offered_times: trial.all_offered_pps() / found.all_offered_pps().max(1.0),
            through_times: trial.all_received_pps() / found.all_received_pps().max(1.0),
            trial,
        });
        Self {
            no_drop_pps: found.as_ref().map(Trial::offered_pps),
            generator_bound: found.as_ref().is_some_and(Trial::is_generator_bound),
            trial: found,
            overload,
        }
    }
}
