//! Everything that a trial needs, in place: sessions up, interfaces open, the generator's end known.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use xlns_tests::{LabError, Result, deadline};

use super::ceiling::Ceiling;
use super::filler::Filler;
use super::holder::{Control, Holder};
use super::interrupt;
use super::kernel::frames::Link;
use super::options::{Arguments, Generator, Size};
use super::packet::{Form, Side};
use super::progress;
use super::receiver::Receiver;
use super::sender::Sender;
use super::site::Site;
use super::station::{self, Drive, Station};
use super::trial::{Purpose, Sample, Trial, Way};
use crate::calls::emulator::RETRANSMIT_AFTER;
use crate::calls::lab::drops;
use crate::search::Trial as _;

/// The packets of the trial that shows that all is well, a second, and for how long; few enough for
/// any LNS.
const PROBE_PPS: f64 = 5000.0;
const PROBE_SECONDS: f64 = 0.3;

/// What may be lost of them, percent: the machine does other things as well.
const PROBE_LOSS_PERCENT: f64 = 5.0;

/// The generator makes no more than this share of what it once made, to be relied upon.
const NEAR_THE_END: f64 = 0.9;

/// Of packets that the kernel makes beside, so many are numbered: a sample that takes little of the core.
const NUMBERED_SHARE: f64 = 0.1;
const NUMBERED_PPS_MAX: f64 = 30_000.0;

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
        let trial = self.trial_of(Purpose::Probe, Some(PROBE_PPS), 0.0, PROBE_SECONDS)?;
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
        self.trial_of(purpose, rate, 0.0, self.arguments.seconds())
    }

    /// A trial of so many packets a second of each direction, of which a part is numbered where the
    /// generator, which offered `most_pps` at its end, would not make all of them.
    ///
    /// # Errors
    /// See [`Bench::trial`].
    pub fn overload(&mut self, size: &Size, pps: f64, most_pps: f64) -> Result<Trial> {
        let seconds = self.arguments.seconds();
        if pps < NEAR_THE_END * most_pps || !self.may_fill() {
            let trial = self.trial_of(Purpose::Overload, Some(pps), 0.0, seconds)?;
            // What there is to receive takes of the core that sends, too.
            if trial.offered_pps() >= NEAR_THE_END * pps || !self.may_fill() {
                return Ok(trial);
            }
        }
        self.set_fillers(size)?;
        let numbered = (pps * NUMBERED_SHARE).min(NUMBERED_PPS_MAX);
        let trial = self.trial_of(Purpose::Overload, Some(numbered), pps - numbered, seconds);
        self.stations.iter_mut().for_each(|station| station.filler = None);
        trial.map(|trial| Trial { wanted_pps: Some(pps), ..trial })
    }

    /// Only what is in the lab is known to take live frames and to hurt nobody.
    fn may_fill(&self) -> bool {
        self.site.xlns.is_some() && self.arguments.generator == Generator::Xdp
    }

    fn set_fillers(&mut self, size: &Size) -> Result<()> {
        let Site { access, core, .. } = self.site;
        let bytes = size.mean_bytes() as usize;
        let forms = [(access, Form::Upstream), (core, Form::Downstream)];
        for ((station, link), (end, form)) in self.stations.iter_mut().zip(self.links).zip(forms) {
            if station.sender.is_some() {
                let filler = Filler::new(&self.holder.flows, form, bytes, link, end)?;
                station.filler = Some(filler);
            }
        }
        Ok(())
    }

    fn trial_of(
        &mut self,
        purpose: Purpose,
        rate: Option<f64>,
        filler_rate: f64,
        seconds: f64,
    ) -> Result<Trial> {
        interrupt::check()?;
        let before = (self.holder.look()?, self.lns_drops()?, self.link_drops());
        let drive = Drive {
            epoch: self.epoch,
            rate,
            filler_rate,
            span: Duration::from_secs_f64(seconds),
            cores: &self.arguments.generator_core,
            realtime: self.arguments.realtime,
        };
        let (mut last, mut samples) = (station::Line::default(), Vec::new());
        station::drive(&mut self.stations, drive, |line| {
            samples.push(Sample::of(line));
            progress::tell(purpose, rate, line, std::mem::replace(&mut last, line));
        })?;
        interrupt::check()?;
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
            Way::of("in", [access, core], rate, lost_at(0), ceiling),
            Way::of("out", [core, access], rate, lost_at(1), ceiling),
        ];
        Ok(Trial {
            purpose,
            wanted_pps: rate,
            seconds,
            directions: ways.into_iter().flatten().collect(),
            samples,
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
