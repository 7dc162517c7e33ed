//! Rows about the quality of sessions, and what a sweep over all of them adds up to.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, SocketAddr};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use xlns_dataplane::api::SessionKey;
use xlns_dataplane::quality::{CLASSES, SessionQuality, Settings, class_of, class_start};

/// The most sessions that are shown as the worst: one page of an answer.
pub const WORST_MAX: u16 = super::PAGE_ROWS as u16;

/// The longest latency that distributions know, microseconds: that of the longest wait that the
/// configuration allows.
const LATENCY_MAX: u64 = 60_000_000;

/// Digits of a distribution over sessions that are exact: 1 %, as the latencies that go in are no
/// better.
const DIGITS: u8 = 2;

/// The median and other ten-thousandths.
const MEDIAN: u32 = 5_000;
const P99: u32 = 9_900;

/// Which sessions' quality is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QualityFilter {
    /// Our Tunnel ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel_id: Option<u16>,
    /// The user's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The subscriber's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The LAC profile's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lac: Option<String>,
}

/// Which part of the answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QualityScope {
    /// The worst sessions, so many at most, worst first; then the summaries.
    Worst(u16),
    /// Every session, in no order; no summary.
    All,
}

/// How good a session's way is. Latencies are microseconds; none where nothing was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QualityRow {
    /// The Tunnel ID that we assigned.
    pub tunnel_id: u16,
    /// The Session ID that we assigned.
    pub session_id: u16,
    /// The user's name.
    pub user: String,
    /// The subscriber's address.
    pub address: Option<IpAddr>,
    /// The LAC profile that applies.
    pub lac: String,
    /// The LAC's address and port.
    pub peer: SocketAddr,
    /// Echo-Requests sent since the session began.
    pub sent: u32,
    /// Those of them that are lost.
    pub lost: u32,
    /// Requests of the recent past whose fate is known.
    pub recent: u32,
    /// Those of them that are lost.
    pub recent_lost: u32,
    /// Those of them that were answered without our data, so that their latency is not known.
    pub recent_untimed: u32,
    /// For how long no request has been answered, milliseconds, while that is longer than it may be; of
    /// 32 requests at most.
    pub silent_ms: u64,
    /// The last latency.
    pub last_us: Option<u32>,
    /// The smallest latency since the session began.
    pub min_us: Option<u32>,
    /// The latency that half of the recent ones do not exceed.
    pub median_us: Option<u32>,
    /// The one that 99 % of them do not exceed.
    pub p99_us: Option<u32>,
    /// The largest latency since the session began.
    pub max_us: Option<u32>,
    /// How much one latency differs from the one before, smoothed (RFC 3550 section 6.4.1).
    pub jitter_us: Option<u32>,
    /// Recent latencies by class, empty classes left out.
    pub latencies: Vec<ClassRow>,
}

/// A class of latencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassRow {
    /// From this one on, microseconds.
    pub from_us: u32,
    /// Up to below this one; none for the last class.
    pub below_us: Option<u32>,
    /// How many.
    pub count: u64,
}

/// Many sessions together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QualitySummaryRow {
    /// Those of this LAC profile; none: all.
    pub lac: Option<String>,
    /// How many are monitored.
    pub sessions: u64,
    /// How many of them do not answer now.
    pub silent: u64,
    /// How many of the others have lost something recently.
    pub lossy: u64,
    /// Requests of the recent past whose fate is known.
    pub recent: u64,
    /// Those of them that are lost.
    pub recent_lost: u64,
    /// Over the sessions' medians: the one that half of them do not exceed.
    pub median_us: Option<u64>,
    /// 90 % of them.
    pub p90_us: Option<u64>,
    /// 99 % of them.
    pub p99_us: Option<u64>,
    /// The largest of them.
    pub worst_us: Option<u64>,
    /// Sessions by the class of their median.
    pub medians: Vec<ClassRow>,
}

/// Who a session is.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The user's name; empty where there is none.
    pub user: &'a str,
    /// The subscriber's address.
    pub address: Option<IpAddr>,
    /// The name of its LAC profile.
    pub lac: &'a str,
    /// The LAC's address.
    pub peer: SocketAddr,
}

impl QualityFilter {
    /// Whether a session is wanted.
    pub fn matches(&self, key: SessionKey, subject: &Subject<'_>) -> bool {
        self.tunnel_id.is_none_or(|wanted| wanted == key.local_tunnel_id)
            && self.user.as_deref().is_none_or(|wanted| wanted == subject.user)
            && self.lac.as_deref().is_none_or(|wanted| wanted == subject.lac)
            && (self.address.is_none() || self.address == subject.address)
    }
}

impl QualityRow {
    /// Of one session.
    pub fn new(
        key: SessionKey,
        subject: &Subject<'_>,
        quality: &SessionQuality,
        settings: Settings,
    ) -> Self {
        let measured = |value: u32| (quality.last_us != 0).then_some(value);
        let counts = quality.recent.classes.iter().map(|count| u64::from(*count));
        Self {
            tunnel_id: key.local_tunnel_id,
            session_id: key.local_session_id,
            user: subject.user.to_owned(),
            address: subject.address,
            lac: subject.lac.to_owned(),
            peer: subject.peer,
            sent: quality.sent,
            lost: quality.lost,
            recent: quality.recent.requests(),
            recent_lost: quality.recent.lost.into(),
            recent_untimed: quality.recent.untimed.into(),
            silent_ms: silent_ms(quality, settings),
            last_us: measured(quality.last_us),
            min_us: measured(quality.min_us),
            median_us: quality.percentile(MEDIAN),
            p99_us: quality.percentile(P99),
            max_us: measured(quality.max_us),
            jitter_us: measured(quality.jitter_us),
            latencies: class_rows(counts),
        }
    }
}

/// See [`QualityRow::silent_ms`].
fn silent_ms(quality: &SessionQuality, settings: Settings) -> u64 {
    let unanswered = u32::from(quality.unanswered);
    match unanswered > settings.patience() {
        true => u64::from(unanswered) * u64::from(settings.interval_ms),
        false => 0,
    }
}

fn class_rows(counts: impl Iterator<Item = u64>) -> Vec<ClassRow> {
    let row = |(class, count): (usize, u64)| ClassRow {
        from_us: class_start(class),
        below_us: (class + 1 < CLASSES).then(|| class_start(class + 1)),
        count,
    };
    counts.enumerate().filter(|(_, count)| *count > 0).map(row).collect()
}

/// How bad a session is: loss first, then the latency of the slowest hundredth.
type Badness = (u32, u32);

fn badness(quality: &SessionQuality) -> Badness {
    (quality.recent.loss().unwrap_or(0), quality.percentile(P99).unwrap_or(0))
}

/// A sweep over the sessions: the worst, and distributions.
#[derive(Debug)]
pub struct QualitySweep {
    settings: Settings,
    /// How many of the worst are kept.
    worst_max: usize,
    /// The least bad one on top. By their keys where they are equally bad.
    worst: BinaryHeap<Reverse<Ranked>>,
    total: Summary,
    by_lac: BTreeMap<String, Summary>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ranked {
    badness: Badness,
    key: Reverse<SessionKey>,
    quality: SessionQuality,
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.badness, self.key).cmp(&(other.badness, other.key))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl QualitySweep {
    /// One that keeps so many of the worst, [`WORST_MAX`] at most.
    pub fn new(settings: Settings, worst_max: u16) -> Self {
        let worst_max = worst_max.min(WORST_MAX).into();
        let (worst, by_lac) = (BinaryHeap::with_capacity(worst_max + 1), BTreeMap::new());
        Self { settings, worst_max, worst, total: Summary::new(), by_lac }
    }

    /// Takes a session in.
    pub fn add(&mut self, key: SessionKey, lac: &str, quality: &SessionQuality) {
        self.total.add(quality, self.settings);
        match self.by_lac.get_mut(lac) {
            Some(summary) => summary.add(quality, self.settings),
            None => {
                let summary = self.by_lac.entry(lac.to_owned()).or_insert_with(Summary::new);
                summary.add(quality, self.settings);
            }
        }
        let badness = badness(quality);
        let ranked = Ranked { badness, key: Reverse(key), quality: *quality };
        self.worst.push(Reverse(ranked));
        if self.worst.len() > self.worst_max {
            self.worst.pop();
        }
    }

    /// The worst, worst first.
    pub fn worst(&mut self) -> Vec<(SessionKey, SessionQuality)> {
        // Ascending order of what is turned round: the worst are first.
        let sorted = std::mem::take(&mut self.worst).into_sorted_vec();
        sorted.into_iter().map(|Reverse(ranked)| (ranked.key.0, ranked.quality)).collect()
    }

    /// All together, then each LAC profile by name.
    pub fn summaries(&self) -> Vec<QualitySummaryRow> {
        let of_lacs = self.by_lac.iter().map(|(lac, summary)| summary.row(Some(lac.clone())));
        [self.total.row(None)].into_iter().chain(of_lacs).collect()
    }
}

#[derive(Debug)]
struct Summary {
    sessions: u64,
    silent: u64,
    lossy: u64,
    recent: u64,
    lost: u64,
    /// Of the sessions' medians.
    medians: Option<Histogram<u64>>,
    classes: [u64; CLASSES],
}

impl Summary {
    fn new() -> Self {
        // The bounds are right; a histogram that could not be made leaves the percentiles out.
        let medians = Histogram::new_with_bounds(1, LATENCY_MAX, DIGITS).ok();
        Self {
            sessions: 0,
            silent: 0,
            lossy: 0,
            recent: 0,
            lost: 0,
            medians,
            classes: [0; CLASSES],
        }
    }

    fn add(&mut self, quality: &SessionQuality, settings: Settings) {
        self.sessions += 1;
        self.recent += u64::from(quality.recent.requests());
        self.lost += u64::from(quality.recent.lost);
        if silent_ms(quality, settings) > 0 {
            self.silent += 1;
        } else if quality.recent.lost > 0 {
            self.lossy += 1;
        }
        let Some(median) = quality.percentile(MEDIAN) else { return };
        if let Some(count) = self.classes.get_mut(class_of(median)) {
            *count += 1;
        }
        if let Some(medians) = &mut self.medians {
            medians.saturating_record(median.into());
        }
    }

    fn row(&self, lac: Option<String>) -> QualitySummaryRow {
        let medians = self.medians.as_ref().filter(|medians| !medians.is_empty());
        let quantile = |quantile| medians.map(|medians| medians.value_at_quantile(quantile));
        QualitySummaryRow {
            lac,
            sessions: self.sessions,
            silent: self.silent,
            lossy: self.lossy,
            recent: self.recent,
            recent_lost: self.lost,
            median_us: quantile(0.5),
            p90_us: quantile(0.9),
            p99_us: quantile(0.99),
            worst_us: medians.map(Histogram::max),
            medians: class_rows(self.classes.into_iter()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings { interval_ms: 1000, loss_after_ms: 3000 };

    fn key(session: u16) -> SessionKey {
        SessionKey { local_tunnel_id: 1, local_session_id: session }
    }

    /// A session with so many answers of one latency, and losses.
    fn quality(latency: u32, answers: u8, lost: u8) -> SessionQuality {
        let mut quality = SessionQuality {
            sent: u32::from(answers) + u32::from(lost),
            lost: lost.into(),
            last_us: latency,
            min_us: latency,
            max_us: latency,
            ..SessionQuality::default()
        };
        quality.recent.lost = lost;
        quality.recent.classes[class_of(latency)] = answers;
        quality
    }

    fn subject() -> Subject<'static> {
        let (user, lac) = ("alice", "access");
        Subject { user, address: "10.0.0.7".parse().ok(), lac, peer: ([192, 0, 2, 2], 1701).into() }
    }

    #[test]
    fn the_worst_come_first_by_loss_then_by_latency() {
        let mut sweep = QualitySweep::new(SETTINGS, 4);
        let sessions = [
            (1, quality(10_000, 100, 0)),
            (2, quality(10_000, 90, 10)),
            (3, quality(500_000, 100, 0)),
            (4, SessionQuality::default()),
            (5, quality(10_000, 0, 100)),
            (6, quality(10_000, 100, 0)),
        ];
        for (id, quality) in &sessions {
            sweep.add(key(*id), "access", quality);
        }
        let worst: Vec<_> = sweep.worst().iter().map(|(key, _)| key.local_session_id).collect();
        assert_eq!(worst, [5, 2, 3, 1]);
    }

    #[test]
    fn no_more_are_kept_than_a_page_has() {
        let mut sweep = QualitySweep::new(SETTINGS, u16::MAX);
        for id in 0..2 * WORST_MAX {
            sweep.add(key(id), "access", &quality(u32::from(id) + 1, 1, 0));
        }
        assert_eq!(sweep.worst().len(), usize::from(WORST_MAX));
        let mut none = QualitySweep::new(SETTINGS, 0);
        none.add(key(1), "access", &quality(1, 1, 1));
        assert!(none.worst().is_empty());
        assert_eq!(none.summaries()[0].sessions, 1);
    }

    #[test]
    fn summaries_are_of_all_and_of_each_profile() {
        let mut sweep = QualitySweep::new(SETTINGS, 1);
        for id in 0..100 {
            let lac = if id < 90 { "fibre" } else { "copper" };
            sweep.add(key(id), lac, &quality(if id < 90 { 2_000 } else { 30_000 }, 100, 0));
        }
        sweep.add(key(200), "copper", &quality(30_000, 99, 1));
        let silent = SessionQuality { unanswered: 5, ..quality(30_000, 50, 50) };
        sweep.add(key(201), "copper", &silent);
        let rows = sweep.summaries();
        let counted: Vec<_> = rows
            .iter()
            .map(|row| (row.lac.as_deref(), row.sessions, row.silent, row.lossy, row.recent_lost))
            .collect();
        let expected =
            [(None, 102, 1, 1, 51), (Some("copper"), 12, 1, 1, 51), (Some("fibre"), 90, 0, 0, 0)];
        assert_eq!(counted, expected);
        let near = |value: Option<u64>, expected: u64| {
            value.is_some_and(|value| value.abs_diff(expected) <= expected / 50)
        };
        let total = &rows[0];
        assert!(near(total.median_us, 2_000) && near(total.p90_us, 30_000), "{total:?}");
        assert!(near(total.worst_us, 30_000), "{total:?}");
        assert_eq!(total.medians.iter().map(|class| class.count).sum::<u64>(), 102);
    }

    #[test]
    fn nothing_measured_is_nothing_said() {
        let row = QualityRow::new(key(1), &subject(), &SessionQuality::default(), SETTINGS);
        assert_eq!(
            (row.last_us, row.min_us, row.median_us, row.jitter_us),
            (None, None, None, None)
        );
        assert_eq!((row.silent_ms, row.latencies.len()), (0, 0));
        let summary = QualitySweep::new(SETTINGS, 1).summaries().remove(0);
        assert_eq!((summary.sessions, summary.median_us, summary.worst_us), (0, None, None));
    }

    #[test]
    fn silence_is_longer_than_a_reply_may_take() {
        let silent = |unanswered| {
            let quality = SessionQuality { unanswered, ..quality(1000, 10, 0) };
            QualityRow::new(key(1), &subject(), &quality, SETTINGS).silent_ms
        };
        assert_eq!([0, 4, 5, 32].map(silent), [0, 0, 5_000, 32_000]);
    }

    #[test]
    fn classes_have_their_bounds_and_the_last_one_has_none() {
        let rows = class_rows((0..CLASSES).map(|class| u64::from(class == 3 || class == 29)));
        assert_eq!(rows[0], ClassRow { from_us: 512, below_us: Some(768), count: 1 });
        assert_eq!((rows.len(), rows[1].below_us), (2, None));
    }

    #[test]
    fn a_filter_wants_all_that_it_names() {
        let wants = |filter: QualityFilter| filter.matches(key(1), &subject());
        let (lac, user) = (|name: &str| Some(name.to_owned()), |name: &str| Some(name.to_owned()));
        assert!(wants(QualityFilter::default()));
        let filter = QualityFilter {
            tunnel_id: Some(1),
            user: user("alice"),
            address: "10.0.0.7".parse().ok(),
            lac: lac("access"),
        };
        assert!(wants(filter.clone()));
        assert!(!wants(QualityFilter { tunnel_id: Some(2), ..filter.clone() }));
        assert!(!wants(QualityFilter { user: user("bob"), ..filter.clone() }));
        assert!(!wants(QualityFilter { lac: lac("other"), ..filter.clone() }));
        assert!(!wants(QualityFilter { address: "10.0.0.8".parse().ok(), ..filter }));
    }
}
