//! A trial: traffic for a time, and what came of it.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::fairness::Fairness;
use super::holder::Control;
use super::receiver::Receiver;
use super::station::{Line, Station};
use crate::search;

/// A figure of at least this share of the generator's end is the generator's.
const GENERATOR_SHARE: f64 = 0.9;

/// A generator that offers less than this share of what is wanted is at its end.
const AT_ITS_END: f64 = 0.95;

/// The first bucket of a latency distribution ends here, nanoseconds; each one after is wider by a
/// quarter.
const BUCKET_NS: u64 = 1000;
const BUCKET_GROWTH: f64 = 1.25;

/// What a trial is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// To see that packets arrive at all.
    Probe,
    /// A given rate.
    Rate,
    /// A step of a ramp.
    Ramp,
    /// As many as the generator makes.
    Saturation,
    /// A step of the search for the no-drop rate.
    Search,
    /// More than the LNS forwards without drops.
    Overload,
}

/// A trial.
#[derive(Debug, Clone, Serialize)]
pub struct Trial {
    /// What it is for.
    pub purpose: Purpose,
    /// Packets a second of each direction that were to be offered; `null`: as many as it makes.
    pub wanted_pps: Option<f64>,
    /// How long was sent.
    pub seconds: f64,
    /// Each direction.
    pub directions: Vec<Way>,
    /// How far it was after each second.
    pub samples: Vec<Sample>,
    /// Tunnels and sessions meanwhile.
    pub control: Control,
    /// What the LNS dropped, by reason; `null` where it is not ours to ask.
    pub lns_drops: Option<BTreeMap<String, u64>>,
}

/// How far a trial was at some time; numbered packets alone.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Sample {
    /// Since its start.
    pub elapsed_seconds: f64,
    /// Packets offered so far: in, out.
    pub offered: [u64; 2],
    /// Frames that had arrived: in, out.
    pub received: [u64; 2],
}

impl Sample {
    /// What a line of the progress tells.
    pub fn of(line: Line) -> Self {
        Self {
            elapsed_seconds: line.elapsed.as_secs_f64(),
            offered: line.sent,
            received: line.arrived,
        }
    }
}

/// One direction of a trial.
#[derive(Debug, Clone, Serialize)]
pub struct Way {
    /// `in`: from subscribers to the core; `out`: the other way.
    pub direction: &'static str,
    /// Packets offered.
    pub offered: u64,
    /// Packets of those that arrived, however late.
    pub received: u64,
    /// Packets of those that did not arrive, or not as they were.
    pub lost: u64,
    /// Share of the offered packets that was lost, percent.
    pub loss_percent: f64,
    /// Packets that a later one of their session had overtaken.
    pub reordered: u64,
    /// Packets that arrived again.
    pub duplicated: u64,
    /// Packets of which an octet was another one.
    pub corrupted: u64,
    /// Packets in another session or to another address than they were sent to.
    pub misdelivered: u64,
    /// Packets overtaken by so many of their session that they count as lost.
    pub too_late: u64,
    /// Packets of an earlier trial.
    pub stale: u64,
    /// Frames that are no test packets.
    pub others: u64,
    /// Packets spoilt on purpose.
    pub injected: u64,
    /// Packets offered a second.
    pub offered_pps: f64,
    /// Packets that arrived while was sent, a second.
    pub received_pps: f64,
    /// The same in bits of the subscribers' packets.
    pub offered_inner_bits_per_second: f64,
    /// See `offered_inner_bits_per_second`.
    pub received_inner_bits_per_second: f64,
    /// Bits of the frames that left, check sequences and gaps not counted.
    pub offered_frame_bits_per_second: f64,
    /// Frames that the tester's interface did not get rid of: the link or the LNS's ring was full.
    pub lost_at_link: Option<u64>,
    /// Packets that arrived and were lost in the tester: its figure, not the LNS's.
    pub lost_at_tester: Option<u64>,
    /// Whether what arrived is within a tenth of what the generator can do: the LNS may do more.
    pub generator_bound: bool,
    /// Packets beside these that only fill the LNS, where the generator does not make enough.
    pub filler: Option<Fill>,
    /// From sending to receiving.
    pub latency: Latency,
    /// Between sessions.
    pub fairness: Fairness,
}

/// Packets that the kernel made beside the numbered ones.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Fill {
    /// Packets offered a second.
    pub offered_pps: f64,
    /// Packets of those that arrived, a second.
    pub received_pps: f64,
}

/// A distribution of times from sending to receiving, nanoseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Latency {
    /// Half of all packets took no longer.
    pub p50_ns: u64,
    /// 90 percent.
    pub p90_ns: u64,
    /// 99 percent.
    pub p99_ns: u64,
    /// 99.9 percent.
    pub p99_9_ns: u64,
    /// The longest.
    pub max_ns: u64,
    /// On average.
    pub mean_ns: f64,
    /// Upper end and number of packets, in order; those of nothing left out.
    pub buckets_ns: Vec<(u64, u64)>,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        let buckets = histogram
            .iter_log(BUCKET_NS, BUCKET_GROWTH)
            .map(|step| (step.value_iterated_to(), step.count_since_last_iteration()));
        Self {
            p50_ns: at(0.5),
            p90_ns: at(0.9),
            p99_ns: at(0.99),
            p99_9_ns: at(0.999),
            max_ns: histogram.max(),
            mean_ns: histogram.mean(),
            buckets_ns: buckets.filter(|(_, count)| *count > 0).collect(),
        }
    }
}

impl Way {
    /// From one station to the other; `None` where nothing was sent. `wanted_pps` were to be
    /// offered, `lost_at_link` frames did not leave, and the generator can do `ceiling_pps`.
    pub fn of(
        direction: &'static str,
        [from, to]: [&Station; 2],
        wanted_pps: Option<f64>,
        lost_at_link: Option<u64>,
        ceiling_pps: f64,
    ) -> Option<Self> {
        let sender = from.sender.as_ref()?;
        let receiver = to.receiver.as_ref()?;
        let (sent, arrived) = (sender.sent(), receiver.arrived());
        let seconds = from.seconds();
        let lost = sent.packets.saturating_sub(arrived.packets);
        let offered_pps = sent.packets as f64 / seconds;
        let bits = |bytes: u64| bytes as f64 * 8.0 / seconds;
        let received_pps = to.in_time.packets as f64 / seconds;
        let [_, fillers] = to.fillers;
        let filler = from.filler.as_ref().map(|filler| Fill {
            offered_pps: filler.offered() as f64 / seconds,
            received_pps: fillers as f64 / seconds,
        });
        Some(Self {
            direction,
            offered: sent.packets,
            received: arrived.packets,
            lost,
            loss_percent: 100.0 * lost as f64 / sent.packets.max(1) as f64,
            reordered: arrived.reordered,
            duplicated: arrived.duplicated,
            corrupted: arrived.corrupted,
            misdelivered: arrived.misdelivered,
            too_late: arrived.too_late,
            stale: arrived.stale,
            others: arrived.others,
            injected: sent.injected,
            offered_pps,
            received_pps,
            offered_inner_bits_per_second: bits(sent.inner_bytes),
            received_inner_bits_per_second: bits(to.in_time.inner_bytes),
            offered_frame_bits_per_second: bits(sent.frame_bytes),
            lost_at_link,
            lost_at_tester: to.dropped,
            generator_bound: is_bound(wanted_pps, offered_pps, received_pps, ceiling_pps),
            filler,
            latency: Latency::of(receiver.latency_ns()),
            fairness: Fairness::of(sender.sent_by_flow().zip(Receiver::received_by_flow(receiver))),
        })
    }

    /// Share of the offered packets that was lost.
    pub fn loss(&self) -> f64 {
        self.loss_percent / 100.0
    }

    /// Packets offered a second, those beside among them.
    pub fn all_offered_pps(&self) -> f64 {
        self.offered_pps + self.filler.map_or(0.0, |filler| filler.offered_pps)
    }

    /// Packets that arrived a second, those beside among them.
    pub fn all_received_pps(&self) -> f64 {
        self.received_pps + self.filler.map_or(0.0, |filler| filler.received_pps)
    }
}

/// Whether what arrived is within a tenth of what the generator can do: of what it makes for a port that
/// drops all, or of all that it made here, where that was less than was wanted.
fn is_bound(wanted: Option<f64>, offered: f64, received: f64, ceiling: f64) -> bool {
    let is_at_its_end = wanted.is_none_or(|wanted| offered < AT_ITS_END * wanted);
    let end = if is_at_its_end { ceiling.min(offered) } else { ceiling };
    received >= GENERATOR_SHARE * end
}

impl search::Trial for Trial {
    /// Of the direction that was offered less.
    fn offered_pps(&self) -> f64 {
        self.directions.iter().map(|way| way.offered_pps).fold(f64::INFINITY, f64::min)
    }

    /// Of the direction that lost more.
    fn loss(&self) -> f64 {
        self.directions.iter().map(Way::loss).fold(0.0, f64::max)
    }
}

impl Trial {
    /// Whether any direction was offered as much as the generator can.
    pub fn is_generator_bound(&self) -> bool {
        self.directions.iter().any(|way| way.generator_bound)
    }

    /// Packets a second that were offered, both directions and those beside.
    pub fn all_offered_pps(&self) -> f64 {
        self.directions.iter().map(Way::all_offered_pps).sum()
    }

    /// Packets a second that got through, both directions and those beside.
    pub fn all_received_pps(&self) -> f64 {
        self.directions.iter().map(Way::all_received_pps).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_near_the_generator_s_end_is_the_generator_s() {
        // At 91 % and at 89 % of what it makes for a port that drops all.
        assert!(is_bound(Some(910.0), 910.0, 910.0, 1000.0));
        assert!(!is_bound(Some(890.0), 890.0, 890.0, 1000.0));
        // As fast as it goes, all of it through; and most of it lost.
        assert!(is_bound(None, 600.0, 600.0, 1000.0));
        assert!(!is_bound(None, 600.0, 100.0, 1000.0));
        // Less than was wanted; and twice as much as gets through.
        assert!(is_bound(Some(900.0), 600.0, 590.0, 1000.0));
        assert!(!is_bound(Some(600.0), 600.0, 300.0, 1000.0));
    }

    #[test]
    fn a_distribution_has_its_quantiles_and_all_its_packets() {
        let mut histogram = Histogram::new_with_max(60_000_000_000, 3).unwrap();
        for value in 1..=1000_u64 {
            histogram.record(value * 1000).unwrap();
        }
        let latency = Latency::of(&histogram);
        let near = |value: u64, wanted: u64| value.abs_diff(wanted) <= wanted / 500;
        assert!(near(latency.p50_ns, 500_000) && near(latency.p99_ns, 990_000), "{latency:?}");
        assert!(near(latency.p99_9_ns, 999_000) && near(latency.max_ns, 1_000_000), "{latency:?}");
        assert_eq!(latency.buckets_ns.iter().map(|(_, count)| count).sum::<u64>(), 1000);
        assert!(latency.buckets_ns.is_sorted());
    }
}
