//! The generator's own ceiling: what it sends to a port that drops everything in the driver.

use xlns_tests::topology::Topology;
use xlns_tests::{LabError, Result, deadline};

use super::lane::send;
use super::stand::interface;
use crate::spread::Spread;
use crate::wire::kernel::direction::Load;
use crate::wire::kernel::frames::{Flow, Link};
use crate::wire::kernel::traffic::Traffic;

/// The ends of a link of its own: beside those of the servers, of the same kind.
const ENDS: [&str; 2] = ["ceiling0", "ceiling1"];

/// Adds the link.
///
/// # Errors
/// What `ip` or `ethtool` says.
pub fn build(topology: &Topology) -> Result<()> {
    let Topology { lac, core, .. } = topology;
    xlns_tests::topology::link(lac, ENDS[0], core, ENDS[1])
}

/// Packets a second that arrive, of several runs.
///
/// # Errors
/// What the kernel says, or that nothing arrives.
pub fn measure(
    topology: &Topology,
    inner_bytes: usize,
    flows: &[Flow],
    load: Load,
    runs: u32,
) -> Result<Spread> {
    let Topology { lac, core, .. } = topology;
    let [near, far] = [interface(lac, ENDS[0])?, interface(core, ENDS[1])?];
    let link = Link { source: near.mac, destination: far.mac };
    let frames = flows.iter().map(|flow| flow.upstream(inner_bytes, link));
    let mut traffic = Traffic::load(frames, near.index)?;
    let _drop = core.inside(|| traffic.attach_drop(far.index))?;
    lac.inside(|| traffic.attach_generator())?;
    let mut rates = Vec::new();
    for _ in 0..runs {
        let before = traffic.delivered()?;
        let sent = send(lac, &mut traffic, load, load.window)?;
        deadline::watch(super::lane::SETTLE_INTERVAL);
        let after = traffic.delivered()?;
        rates.push((after.packets - before.packets) as f64 / sent.elapsed.as_secs_f64());
    }
    let spread = Spread::of(rates.into_iter());
    if spread.median > 0.0 { Ok(spread) } else { Err(LabError::new("the generator sends nothing")) }
}
