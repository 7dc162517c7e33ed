//! Everything that a trial needs, in place: sessions up, interfaces open, the generator's end known.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use xlns_tests::{LabError, Result, deadline};

use super::ceiling::Ceiling;
use super::holder::{Control, Holder};
use super::kernel::frames::Link;
use super::options::{Arguments, Size};
use super::packet::{Form, Side};
use super::progress;
use super::receiver::Receiver;
use super::sender::Sender;
use super::site::Site;
use super::station::{self, Drive, Station};
use super::trial::{Purpose, Trial, Way};
use crate::calls::emulator::RETRANSMIT_AFTER;
use crate::calls::lab::drops;

/// The packets of the trial that shows that all is well, a second, and for how long; few enough for
/// any LNS.
const PROBE_PPS: f64 = 5000.0;
const PROBE_SECONDS: f64 = 0.3;

/// What may be lost of them, percent: the machine does other things as well.
const PROBE_LOSS_PERCENT: f64 = 5.0;

/// Everything in place.
pub struct Bench<'a, 'scope> {
    /// The command line.
    pub arguments: &'a Arguments,
    /// What is tested.
    pub site: &'a Site<'a>,
    /// The sessions.
    pub holder: &'a Holder<'scope>,
    /// Both sides: access and core.
    pub stations: [Station; 2],
    /// The links of both.
    pub links: [Link; 2],
    /// Zero of all time stamps.
    pub epoch: Instant,
    /// What the generator can do at the size in place, packets a second.
    pub ceiling: Option<Ceiling>,
}

impl Bench<'_, '_> {
    /// Makes packets of another size.
    pub fn set_size(&mut self, size: &Size, ceiling: Ceiling) {
        let Site { core_address, .. } = *self.site;
        let flows = &self.holder.flows;
        let [access_link, core_link] = self.links;
        let [inwards, outwards] = self.arguments.direction.ways();
        let [access, core] = &mut self.stations;
        let sender = |form, link| {
            let mut sender = Sender::new(flows, core_address, form, size, link);
            sender.inject(&self.arguments.inject);
            sender
        };
        let receiver = |side| Receiver::new(Arc::clone(flows), core_address, side);
        access.sender = inwards.then(|| sender(Form::Upstream, access_link));
        core.receiver = inwards.then(|| receiver(Side::Core));
        core.sender = outwards.then(|| sender(Form::Downstream, core_link));
        access.receiver = outwards.then(|| receiver(Side::Access));
        self.ceiling = Some(ceiling);
    }

    /// A few packets: if they do not arrive, what is measured is not forwarding.
    ///
    /// # Errors
    /// What to look at.
    pub fn probe(&mut self) -> Result<()> {
        let trial = self.trial_of(Purpose::Probe, Some(PROBE_PPS), PROBE_SECONDS)?;
        for way in &trial.directions {
            // Packets spoilt on purpose are none that should arrive.
            let spoilt = 100.0 * way.injected as f64 / way.offered.max(1) as f64;
            if way.loss_percent > PROBE_LOSS_PERCENT + spoilt {
                return Err(LabError::new(self.missing(way, &trial.lns_drops)));
            }
        }
        Ok(())
    }

    fn missing(&self, way: &Way, drops: &Option<BTreeMap<String, u64>>) -> String {
        let [access, core] = &self.stations;
        let advice = match way.direction {
            "in" => format!(
                "does the LNS route {} to {}, and take packets of subscribers from this LAC?",
                self.site.core_address,
                core.port.facts().interface
            ),
            _ => format!(
                "does the LNS take packets for subscribers on the link of {}, and send them to {}?",
                core.port.facts().interface,
                access.port.facts().interface
            ),
        };
        format!(
            "{} of {} packets of the first trial were lost on their way {} ({} corrupted, {} in wrong \
             sessions, {} other frames came; the LNS dropped {:?}): {advice}",
            way.lost,
            way.offered,
            way.direction,
            way.corrupted,
            way.misdelivered,
            way.others,
            drops.as_ref().unwrap_or(&BTreeMap::new())
        )
    }

    /// A trial of the usual length.
    ///
    /// # Errors
    /// Where sessions, LNS or interfaces are not what they were.
    pub fn trial(&mut self, purpose: Purpose, rate: Option<f64>) -> Result<Trial> {
        self.trial_of(purpose, rate, self.arguments.seconds())
    }

    fn trial_of(&mut self, purpose: Purpose, rate: Option<f64>, seconds: f64) -> Result<Trial> {
        let before = (self.holder.look()?, self.lns_drops()?, self.link_drops());
        let drive = Drive {
            epoch: self.epoch,
            rate,
            span: Duration::from_secs_f64(seconds),
            cores: &self.arguments.generator_core,
            realtime: self.arguments.realtime,
        };
        let mut last = station::Line::default();
        station::drive(&mut self.stations, drive, |line| {
            progress::tell(purpose, rate, line, std::mem::replace(&mut last, line));
        })?;
        if purpose == Purpose::Overload {
            // A HELLO that was lost is only then known to be.
            deadline::watch(RETRANSMIT_AFTER);
        }
        let after = (self.link_drops(), self.lns_drops()?, self.holder.look()?);
        let [access, core] = &self.stations;
        let lost_at = |index: usize| {
            let at = |drops: &[Option<u64>; 2]| drops.get(index).copied().flatten();
            Some(at(&after.0)?.saturating_sub(at(&before.2)?))
        };
        let ceiling = self.ceiling.as_ref().map_or(f64::INFINITY, Ceiling::limit_pps);
        // The generator's core makes the packets of both directions.
        let shared = access.sender.is_some() && core.sender.is_some();
        let single = self.arguments.generator_core.len() < 2;
        let ceiling = if shared && single { ceiling / 2.0 } else { ceiling };
        let ways = [
            Way::of("in", [access, core], lost_at(0), ceiling),
            Way::of("out", [core, access], lost_at(1), ceiling),
        ];
        Ok(Trial {
            purpose,
            wanted_pps: rate,
            seconds,
            directions: ways.into_iter().flatten().collect(),
            control: Control::between(before.0, after.2),
            lns_drops: before.1.zip(after.1).map(|(before, after)| difference(&before, after)),
        })
    }

    fn lns_drops(&self) -> Result<Option<BTreeMap<String, u64>>> {
        self.site.xlns.map(drops).transpose()
    }

    fn link_drops(&self) -> [Option<u64>; 2] {
        let Site { access, core, .. } = self.site;
        [access, core].map(|end| end.place.send_drops(&end.interface))
    }
}

/// What was added to counters; what was not is left out.
fn difference(
    before: &BTreeMap<String, u64>,
    after: BTreeMap<String, u64>,
) -> BTreeMap<String, u64> {
    let added = |(name, count): (String, u64)| {
        let more = count.saturating_sub(before.get(&name).copied().unwrap_or(0));
        (more > 0).then_some((name, more))
    };
    after.into_iter().filter_map(added).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_what_was_added() {
        let map = |counts: &[(&str, u64)]| -> BTreeMap<String, u64> {
            counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
        };
        let before = map(&[("a", 1), ("b", 5)]);
        let after = map(&[("a", 1), ("b", 7), ("c", 2)]);
        assert_eq!(difference(&before, after), map(&[("b", 2), ("c", 2)]));
    }
}
